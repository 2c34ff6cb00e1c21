"""One file of answers that many processes share: SQLite, content-addressed, raw text kept."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from .query import SCHEMA, Proposal, Query, Question, Rating, Reply, Text

WAIT = 30.0  # seconds that a writer waits for other processes
_KINDS: dict[str, Any] = {"question": Question, "proposal": Proposal, "rating": Rating, "text": Text}
_TABLES = (  # identities stand once: that of a model with examples is longer than its answers
    "CREATE TABLE scorers (id TEXT PRIMARY KEY, identity TEXT NOT NULL)",
    """CREATE TABLE answers (
    key TEXT PRIMARY KEY, scorer TEXT NOT NULL REFERENCES scorers, kind TEXT NOT NULL, query TEXT NOT NULL,
    raw TEXT NOT NULL, tokens INTEGER NOT NULL, cost REAL NOT NULL, seconds REAL NOT NULL)""",
)

# One lock for all caches of a process, and a fork waits for it: a child then never inherits a lock that is held, nor a
# transaction that it would roll back in the parent's file when it lets go of the parent's connection.
_LOCK = threading.Lock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_LOCK.acquire, after_in_parent=_LOCK.release, after_in_child=_LOCK.release)


class Row(NamedTuple):
    """One kept answer."""

    key: str
    scorer: dict[str, Any]
    query: Query
    raw: str
    tokens: int
    cost: float
    seconds: float


class Cache:
    """Answers by key. The first answer under a key stays: every process then reads the same one.

    A file that fails (locked for 30 seconds, full disk, deleted) raises ``sqlite3.Error`` and is opened anew next time.

    Args:
        path: of the file, made with its folder if it is missing; ``":memory:"`` for none.
        frozen: only read; the file must be there, may lie where nothing can be written, and is never changed.

    Raises:
        FileNotFoundError: ``frozen`` and there is no such file.
        ValueError: the file is no cache, is of another schema, or cannot be written.
    """

    def __init__(self, path: str | Path, frozen: bool = False) -> None:
        self.path, self.frozen = str(path), frozen
        self._db: sqlite3.Connection | None = None
        self._pid = 0
        if frozen and not Path(path).is_file():
            raise FileNotFoundError(f"there is no cache of answers at {path}: a frozen judge needs one")
        if not frozen and self.path != ":memory:":
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            for place in (Path(path).parent, Path(path)):  # SQLite would open it and refuse the first answer
                if place.exists() and not os.access(place, os.W_OK):
                    raise ValueError(f"{place} cannot be written: a cache that lies there can only be frozen")
        try:
            with self._using():
                pass
        except sqlite3.Error as e:
            raise ValueError(f"{path} cannot be used as a cache of answers: {e}") from e

    @contextmanager
    def _using(self, wait: float = WAIT) -> Iterator[sqlite3.Connection]:
        """The connection of this process, for one thread at a time."""
        if not _LOCK.acquire(timeout=wait):
            raise sqlite3.OperationalError("database is locked by another thread")
        try:
            if self._db is None or self._pid != os.getpid():  # a connection must not be used across a fork
                self._db, self._pid = self._open(), os.getpid()
            self._db.execute(f"PRAGMA busy_timeout = {int(1000 * wait)}")
            yield self._db
        except BaseException:
            if self._db is not None and self.path != ":memory:":
                self._db.close()  # rolls back
                self._db = None
            raise
        finally:
            _LOCK.release()

    def _open(self) -> sqlite3.Connection:
        where = f"{Path(self.path).resolve().as_uri()}?mode=ro" if self.frozen else self.path
        db = sqlite3.connect(where, WAIT, isolation_level=None, check_same_thread=False, uri=self.frozen)
        try:
            if not self.frozen:
                db.execute("PRAGMA synchronous = NORMAL")
            db.execute("BEGIN" if self.frozen else "BEGIN IMMEDIATE")
            found = db.execute("PRAGMA user_version").fetchone()[0]
            tables = {r[0] for r in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if not tables and not found and not self.frozen:
                for table in _TABLES:
                    db.execute(table)
                db.execute(f"PRAGMA user_version = {SCHEMA}")
            elif found != SCHEMA or not tables >= {"answers", "scorers"}:
                raise ValueError(
                    f"{self.path} is another database or a cache of schema {found}; allowed: schema {SCHEMA}"
                )
            db.execute("COMMIT")
        except BaseException:
            db.close()
            raise
        return db

    def get(self, keys: Sequence[str], wait: float = WAIT) -> dict[str, str]:
        """The raw texts of those keys that are known; ``wait`` is how long others may lock the file, in seconds."""
        out: dict[str, str] = {}
        with self._using(wait) as db:
            for i in range(0, len(keys), 500):
                part = keys[i : i + 500]
                marks = ",".join("?" * len(part))
                out.update(db.execute(f"SELECT key, raw FROM answers WHERE key IN ({marks})", part).fetchall())
        return out

    def put(
        self, rows: Sequence[tuple[str, Query, Reply]], scorer: dict[str, Any], seconds: float = 0.0
    ) -> dict[str, str]:
        """Keeps answers (``seconds`` is what each took) and returns what now stands under their keys.

        Raises:
            ValueError: the cache is frozen.
        """
        if self.frozen:
            raise ValueError(f"{self.path} is frozen: answers are only read")
        identity = json.dumps(scorer, sort_keys=True)
        name = hashlib.sha256(identity.encode()).hexdigest()[:16]
        values = [
            (k, name, q.kind, json.dumps(list(q)), _storable(r.raw), int(r.tokens), float(r.cost), float(seconds))
            for k, q, r in rows
        ]
        with self._using() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                db.execute("INSERT OR IGNORE INTO scorers VALUES (?, ?)", (name, identity))
                db.executemany("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
        return self.get([k for k, _, _ in rows])

    def rows(self, kind: str = "question") -> Iterator[Row]:
        """All answers to queries of one kind, by key."""
        with self._using() as db:
            found = db.execute(
                "SELECT key, identity, kind, query, raw, tokens, cost, seconds "
                "FROM answers JOIN scorers ON scorer = id WHERE kind = ? ORDER BY key",
                (kind,),
            ).fetchall()
        for k, scorer, kind, query, raw, tokens, cost, seconds in found:
            fields = json.loads(query)
            if kind == "question":
                fields[0] = tuple(fields[0])
            yield Row(k, json.loads(scorer), _KINDS[kind](*fields), raw, tokens, cost, seconds)

    def __len__(self) -> int:
        with self._using() as db:
            return int(db.execute("SELECT count(*) FROM answers").fetchone()[0])

    def close(self) -> None:
        """Closes the file; using the cache again opens it again."""
        with _LOCK:
            if self._db is not None and self._pid == os.getpid():
                self._db.close()
            self._db = None


def _storable(text: str) -> str:
    """Without lone surrogates, which SQLite refuses."""
    return text.encode(errors="replace").decode()
