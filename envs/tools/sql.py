"""Questions over generated databases, answered by a query."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import one_of
from ..text.base import whole
from .base import Item, ToolEnv
from .calls import Call
from .spaces import Calls
from .sql_data import DOMAINS, filled, guesses, image, parameters, tables
from .sql_database import CELL, Database
from .tool import Tool, Toolbox, ToolFailed

ROWS, MOST_ROWS = 50, 5000  # rows that are shown; of a reference
LEAST_WORK, MOST_MORE = 10_000, 20  # steps of a query; hidden databases more than wanted
LEVELS = (1, 2, 3)

SYSTEM = (
    "Answer the question with one query for SQLite. schema() shows the tables, sql(query) runs a query that reads and shows "
    "its rows; submit(query) hands in the answer and ends the episode. The query is judged by the rows that it gives, also on "
    "other contents of the same tables: do not write what you read into it. Columns stand in the order of the question."
)


@functools.lru_cache(256)
def _image(domain: str, seed: tuple[int, ...]) -> bytes:
    return image(domain, seed)


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= CELL else value[:CELL] + " ..."
    if isinstance(value, bytes):
        return f"x'{value[: CELL // 2].hex()}'"
    return value if not isinstance(value, float) or math.isfinite(value) else str(value)


def _plain(value: Any) -> Any:
    """Values that are the same answer: 3 and 3.0, 0.1 + 0.2 and 0.3."""
    if isinstance(value, float) and math.isfinite(value):
        return float(f"{value:.9g}")
    return float(value) if isinstance(value, int) and abs(value) < 2**53 else value


def same(a: Sequence[tuple[Any, ...]], b: Sequence[tuple[Any, ...]], ordered: bool) -> bool:
    """The results of two queries are the same rows, as often, and in the same order where that counts."""
    mine, theirs = ([tuple(_plain(v) for v in row) for row in rows] for rows in (a, b))
    return mine == theirs if ordered else Counter(mine) == Counter(theirs)


_NOTHING = {"type": "object", "properties": {}}
_QUERY = {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]}


def _show(state: Database, given: dict[str, Any]) -> str:
    rows = state.db.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL").fetchall()
    return "\n".join(f"{r[0]};" for r in rows)


def _run(state: Database, given: dict[str, Any]) -> dict[str, Any]:
    columns, rows = state.query(given["query"], ROWS)
    out: dict[str, Any] = {"columns": columns, "rows": [[_cell(v) for v in row] for row in rows[:ROWS]]}
    if len(rows) > ROWS:
        out["more"] = f"only the first {ROWS} rows are shown"
    return out


def _submit(state: Database, given: dict[str, Any]) -> str:
    state.query(given["query"], 0)  # one that cannot be run is told so and ends nothing
    return "Submitted."


_TOOLS = (
    Tool.of_schema("schema", "Shows the tables.", _NOTHING, _show, writes=False),
    Tool.of_schema("sql", f"Runs a query that reads; shows at most {ROWS} rows.", _QUERY, _run, writes=False),
    Tool.of_schema("submit", "Hands in the query that answers the question.", _QUERY, _submit, writes=False),
)


_ITEMS = (
    Item("a query gave the question's rows", 0.5, question="Did a query give the rows that the question wants?"),
    Item("the right query was handed in", 0.5, depends=("a query gave the question's rows",)),
)


class SQLEnv(ToolEnv):
    """Questions over databases, answered by a query and graded by its result.

    ## Description
    Every task has a database of its own, generated from its number: one of five domains (``shop``, ``library``, ``flights``,
    ``school``, ``firm``) with four tables and some hundred rows, and one of 53 kinds of questions: filters and counts
    (level 1), joins and groups (level 2), nested queries and what is not there (level 3). The agent may look at the tables and
    run queries, and hands in one.

    The query is graded by its rows, on this database and on ``hidden`` others with the same tables and other contents, as
    test suites do (Zhong et al. 2020, arXiv 2010.02840), so that an answer copied from what was read, or right by chance,
    does not pass; where the right rows are the same as here, or none, up to 20 more databases are taken. Rows count as often as
    they come; their order counts where the question names one; names of columns do not count, their order does; numbers are
    equal to nine digits.

    Databases can only be read: everything but reading is refused when it is compiled, and a query is ended after ``max_work``
    steps of SQLite's machine, so that none hangs; one with the word of a slow function (LIKE, GLOB, instr, replace, printf,
    format, dates) after a fifth of them. A value has at most 1,000 bytes, a query 4,000 characters, a pattern 30. Functions
    that read a clock or draw numbers are refused, and so is ``'now'``; of the usual ones ``trim`` is not there. A query whose
    inner queries would be copied too often is refused.

    ## Observation Space
    ``Unicode(16384)``: at first the instruction, the tools and the question; then what the tools said.

    ## Action Space
    ``Calls``: words or tool calls, in any form that ``calls.parse`` reads. ``schema()``, ``sql(query)``, ``submit(query)``.
    Words do nothing. With ``candidates``, ``info["admissible_actions"]`` has ``submit`` and ``sql`` with the query of each
    kind of question of the domain that the question's words can fill in, a look at each table, and ``schema()``.

    ## Rewards
    Terms, each times its weight (``weights``): ``outcome`` (1), by default alone: 1.0 for a query that is right on all
    databases; ``items``: 0.5 when a query gave the question's rows on this database for the first time, by ``sql`` or
    ``submit``, and 0.5 for the right ``submit``; ``match``, ``valid_call``, ``format`` as in all tool environments.

    ## Episode End
    Terminates with a ``submit`` that can be run, right or wrong; truncates after ``max_steps``.

    ## Information
    ``score``, ``max_score``, ``progress``, ``success``, ``subgoals`` (the two items), ``process_score``, ``tool_calls``,
    ``valid_action``, ``admissible_actions``, ``messages``; at the end ``answer``: the query. In the reset info ``meta``
    (``task``, ``domain``, ``level``) and, with ``expose_reference``, ``reference`` (the calls) and ``reference_answer``.

    ## Arguments
    ``domains``: names. ``levels``: of 1 to 3. ``hidden``: other databases that a query must be right on, 0 to 10.
    ``max_work``: steps of a query. ``weights``, ``candidates``, ``max_calls``, ``split``, ``worlds``, ``max_steps``,
    ``expose_reference``, ``render_mode``. ``reset(options={"task": n})`` picks a task.

    ## Version History
    * v0: first version.

    Raises:
        ValueError: a setting is not allowed; says what is.
    """

    name = "sql"

    def __init__(
        self,
        *,
        domains: str | Sequence[str] = tuple(DOMAINS),
        levels: Sequence[int] = LEVELS,
        hidden: int = 2,
        max_work: int = 1_000_000,
        max_steps: int = 12,
        **settings: Any,
    ) -> None:
        super().__init__(max_steps=max_steps, **settings)
        self._domains = [domains] if isinstance(domains, str) else list(domains)
        for d in self._domains:
            if d not in DOMAINS:
                raise one_of("domains: a name", d, DOMAINS)
        self._levels = {whole("levels", n, 1, 3) for n in ([levels] if isinstance(levels, int) else levels)}
        self._forms = {d: [f for f in DOMAINS[d].forms if f.level in self._levels] for d in self._domains}
        if not any(self._forms.values()):
            raise ValueError("domains and levels are empty; allowed: at least one of each")
        self.hidden = whole("hidden", hidden, 0, 10)
        work = whole("max_work", max_work, LEAST_WORK)
        self.tools, self.action_space = Toolbox(_TOOLS), Calls(_TOOLS)
        self.state = Database(work)
        self._judge = Database(work)
        self.system = SYSTEM
        self._form = DOMAINS[self._domains[0]].forms[0]
        self._domain, self._query = self._domains[0], ""
        self._clear()

    def _clear(self) -> None:
        self._rows: list[tuple[Any, ...]] = []  # of the reference
        self._found = self._right = False
        self._submitted: str | None = None
        self._guesses: tuple[str, ...] = ()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """As ``TextEnv.reset``; ``meta`` has domain and level, and with ``expose_reference`` there is ``reference_answer``."""
        text, info = super().reset(seed=seed, options=options)
        info["meta"] |= {"domain": self._domain, "level": self._form.level}
        if self.expose_reference:
            info["reference_answer"] = self._query
        return text, info

    def _open(self, task: int) -> None:
        self._clear()
        rng = np.random.default_rng([task, 23])
        while True:
            domain = self._domains[int(rng.integers(len(self._domains)))]
            if self._forms[domain]:
                break
        forms = self._forms[domain]
        for attempt in range(40):
            form = forms[int(rng.integers(len(forms)))]
            options = {n: DOMAINS[domain].parameters[n] for n in parameters(form)}
            values = {n: o[int(rng.integers(len(o)))] for n, o in options.items()}
            seed = (task, attempt)
            self.state.open(_image(domain, seed))
            self.opening, self._query = filled(form, values)
            self._rows = self.state.query(self._query, MOST_ROWS)[1]
            if self._rows and self._rows not in ([(0,)], [(None,)]):  # an empty answer is found by too many
                break
        self._domain, self._form, self._seed = domain, form, seed
        if self.candidates:
            found = guesses(domain, self.opening)
            looks = [*found, *(f"SELECT * FROM {t} LIMIT 5" for t in tables(domain))]
            calls = [("submit", q) for q in found] + [("sql", q) for q in looks]
            self._guesses = (*(Call(n, {"query": q}).text() for n, q in calls), Call("schema", {}).text())

    def _trace(self) -> tuple[Call, ...]:
        query = {"query": self._query}
        return Call("schema", {}), Call("sql", query), Call("submit", query)

    def _remaining(self) -> list[Call | str]:
        if self._submitted is not None:
            return []
        left = [c for c in self._trace() if self._open_calls[self._key(c)]]
        return [*left] or [self._trace()[-1]]

    def _items(self) -> tuple[Item, ...]:
        return _ITEMS

    def _checks(self) -> dict[str, bool]:
        return {_ITEMS[0].id: self._found, _ITEMS[1].id: self._right}

    def _after(self, made: tuple[Call, ...], results: tuple[Any, ...]) -> bool:
        for call, result in zip(made, results):
            if not result.ok or call.name == "schema":
                continue
            query = result.arguments["query"]
            if not self._found and (call.name == "submit" or self.state.last != query or self._may_fit()):
                self._found = self._fits(self.state, query, self._rows)
            if call.name == "submit":
                self._submitted = query
                self._right = self._grade(query)
                return True
        return False

    def _may_fit(self) -> bool:
        """The last query gave as many rows as the question wants, or more than are known: only then it is run again."""
        return bool(self.state.counted == min(len(self._rows), ROWS + 1))

    def _fits(self, database: Database, query: str, wanted: list[tuple[Any, ...]]) -> bool:
        try:
            width = len(wanted[0]) if wanted else None
            return same(database.query(query, len(wanted), width)[1], wanted, self._form.ordered)
        except ToolFailed:
            return False

    def _grade(self, query: str) -> bool:
        """The query is right on this database and on the hidden ones.

        One whose answer is this one's, or has no row, tells too little: it does not count, and others come after it.
        """
        if not self._fits(self.state, query, self._rows):
            return False
        telling = 0
        for n in range(self.hidden and self.hidden + MOST_MORE):
            self._judge.open(_image(self._domain, (*self._seed, n + 1)))
            wanted = self._judge.query(self._query, MOST_ROWS)[1]
            if not self._fits(self._judge, query, wanted):
                return False
            telling += bool(wanted) and not same(wanted, self._rows, self._form.ordered)
            if telling == self.hidden:
                break
        return True

    def _reply(self, words: str) -> tuple[str, bool]:
        return "Hand in the answer with submit(query).", False

    def _won(self) -> bool:
        return self._right

    def _answer(self) -> str | None:
        return self._submitted

    def _listed(self) -> tuple[str, ...]:
        return self._guesses[: self.candidates]

    def _keep(self) -> Any:
        return self._found, self._right, self._submitted

    def _take(self, kept: Any) -> None:
        self._found, self._right, self._submitted = kept

    def fork(self) -> SQLEnv:
        """As ``ToolEnv.fork``, with a judge's database of its own."""
        branch = super().fork()
        assert isinstance(branch, SQLEnv)
        branch._judge = Database(self._judge.most_work)
        return branch
