"""A database that can only be read, by queries whose work is bounded before they run and while they do."""

from __future__ import annotations

import functools
import math
import re
import sqlite3
from collections import Counter
from collections.abc import Callable
from typing import Any

from .tool import ToolFailed

MOST_TEXT, MOST_VALUE = 4000, 1000  # characters of a query, bytes of a value
CELL = 200  # characters of a column's name
TICK = 1000  # of SQLite's instructions between two looks at their number
SHARE = 5  # a query with a slow function gets a fifth of the steps
_LIMITS = (  # bytes of a value and of a query; depth, columns, parts of a union, characters of a pattern, attached files
    ("LENGTH", MOST_VALUE), ("SQL_LENGTH", 3 * MOST_TEXT), ("EXPR_DEPTH", 100), ("COLUMN", 50), ("COMPOUND_SELECT", 20),
    ("LIKE_PATTERN_LENGTH", 30), ("ATTACHED", 0),
)  # fmt: skip
_READS = frozenset(getattr(sqlite3, f"SQLITE_{a}") for a in ("SELECT", "READ", "FUNCTION", "RECURSIVE"))
_DATES = ("date", "time", "datetime", "julianday", "unixepoch", "strftime")
_FUNCTIONS = frozenset(  # no clock, no chance, and none whose work grows faster than its words, but for the slow ones
    "abs avg ceil ceiling char coalesce count cume_dist dense_rank first_value floor format glob group_concat hex ifnull"
    " iif instr lag last_value lead length like lower max min mod nth_value ntile nullif percent_rank pow power printf"
    " quote rank replace round row_number sign sqrt substr substring sum total typeof unicode upper".split()
) | set(_DATES)
_SLOW = re.compile(r"like|glob|printf|format|instr|replace|date|time|julian|epoch", re.I)
_CLOCK = re.compile(r"now|local|utc", re.I)
_NAME = r"(?:\"[^\"]*\"|`[^`]*`|\[[^\]]*\]|(?:[a-z_]|[^\x00-\x7f])(?:[\w$]|[^\x00-\x7f])*)(?:\s*\.)?"
# a name with a point behind it names no column
_TOKEN = re.compile(rf"--[^\n]*|/\*.*?(?:\*/|\Z)|'[^']*'|{_NAME}|[()*]", re.S)
_WORDS = frozenset("and as by case else end from in is join not null on or then union when where".split())
MOST_COPIES = 100_000  # of a name, when every query is put in the place of its name


class Database:
    """A database in memory that can only be read, in bounded work; a state that never changes.

    Args:
        most_work: instructions of SQLite's machine that a query may take; one with a slow function (LIKE, printf, dates) a
            fifth, as each of its calls is one instruction whatever it takes.
    """

    def __init__(self, most_work: int) -> None:
        self.db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self.db.text_factory = lambda raw: raw.decode("utf-8", "replace")
        for name, value in _LIMITS:
            self.db.setlimit(getattr(sqlite3, f"SQLITE_LIMIT_{name}"), value)
        plain = functools.cache(_plain_sqlite)
        for name in _DATES:
            self.db.create_function(name, -1, _dated(name, plain), deterministic=True)
        self.most_work, self._ticks, self._most_ticks = most_work, 0, 0.0
        self._image = b""
        # the query that was run last, and how many rows it gave, as far as they were wanted
        self.last, self.counted = "", 0
        self.db.set_progress_handler(self._tick, TICK)

    def _tick(self) -> bool:
        self._ticks += 1
        return self._ticks > self._most_ticks

    def open(self, content: bytes) -> None:
        """Becomes the database of an image."""
        if content is not self._image:
            self.db.set_authorizer(None)
            self.db.deserialize(content)
            self.db.set_authorizer(_allowed)
            self._image = content

    def query(self, text: str, most: int, width: int | None = None) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Names of the columns, and at most ``most + 1`` rows; ``width``: how many columns there must be.

        Raises:
            ToolFailed: it is no query that may be run; says why.
        """
        if len(text) > MOST_TEXT:
            raise ToolFailed(f"the query has more than {MOST_TEXT} characters")
        copies, slow = _weighed(text)
        if copies > MOST_COPIES:
            raise ToolFailed("the same names come too often in queries inside of queries: make it simpler")
        work = self.most_work // SHARE if slow else self.most_work
        self._ticks, self._most_ticks = 0, work / TICK
        try:
            cursor = self.db.execute(text)
            if not cursor.description:
                raise ToolFailed("that is no query: it starts with SELECT or WITH")
            columns = [str(d[0])[:CELL] for d in cursor.description]
            if width not in (None, len(columns)):
                cursor.close()
                raise ToolFailed(f"the query has {len(columns)} columns, not {width}")
            rows = cursor.fetchmany(most + 1)
            cursor.close()
        except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError) as e:
            said = str(e)
            if said == "interrupted":
                said = f"the query was ended after {work} steps: join the tables by their keys"
            elif said in ("not authorized", "authorization denied"):
                said = "only queries that read are allowed: SELECT"
            elif said.startswith("user-defined function"):
                said = "no such date: dates are columns or text, there is no clock"
            raise ToolFailed(said[:500]) from None
        self.last, self.counted = text, len(rows)
        return columns, rows

    def save(self) -> bytes:
        """Its image."""
        return self._image

    def load(self, saved: bytes) -> None:
        """That image is opened."""
        self.open(saved)

    def fork(self) -> Database:
        """Another with the same content."""
        branch = Database(self.most_work)
        branch.open(self._image)
        return branch

    def adopt(self, branch: Database) -> None:
        """Becomes what a fork is."""
        self.open(branch._image)

    def mark(self) -> None:
        """Nothing is to be taken back."""

    def undo(self, mark: None) -> None:
        """Nothing was changed."""

    def keep(self, mark: None) -> None:
        """Nothing was changed."""

    def interrupt(self) -> None:
        """Ends the query that runs."""
        self.db.interrupt()


def _allowed(action: int, first: str | None, second: str | None, *_: Any) -> int:
    """What SQLite may compile: reading, and the functions that are listed."""
    if action not in _READS or (action == sqlite3.SQLITE_FUNCTION and second not in _FUNCTIONS):
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK


def _dated(name: str, plain: Callable[[], sqlite3.Connection]) -> Callable[..., Any]:
    """SQLite's own function of that name, but for what asks the clock or the place."""
    least = 2 if name == "strftime" else 1

    def call(*given: Any) -> Any:
        if len(given) < least or any(isinstance(v, bytes) or _CLOCK.search(str(v)) for v in given):
            raise ValueError("there is no clock")
        return plain().execute(f"SELECT {name}({', '.join('?' * len(given))})", given).fetchone()[0]

    return call


def _plain_sqlite() -> sqlite3.Connection:
    db = sqlite3.connect(":memory:", check_same_thread=False)
    db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_VALUE)
    return db


@functools.lru_cache(256)
def _weighed(text: str) -> tuple[int, bool]:
    """Copies of a name that a query's compilation may make, and whether it has a slow function."""
    return _copies(text.lower()), bool(_SLOW.search(text))


def _copies(text: str) -> int:
    """SQLite puts inner queries in the place of their names when it compiles, and neither its limits nor its steps count that.
    Never too low: the product, over the queries, of how often the most frequent name comes in each.
    """
    if text.count("select") < 2:
        return 1
    tokens = [t for t in _TOKEN.findall(text) if not (t.startswith(("--", "/*")) or t.endswith(".") or t in _WORDS)]
    names: Counter[str] = Counter()
    every, inside = [names], [names]
    for token, following in zip(tokens, [*tokens[1:], ""]):
        if token == "(":
            if following in ("select", "with", "values"):
                every.append(Counter())
                inside.append(every[-1])
            else:
                inside.append(inside[-1])
        elif token == ")":
            if len(inside) > 1:
                inside.pop()
        else:
            inside[-1][token.strip("'\"`[]")] += 1
    return math.prod(max(c.values(), default=1) for c in every)
