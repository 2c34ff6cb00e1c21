"""Results of test runs, kept by what was tested."""

from __future__ import annotations

import json
import os
import sqlite3
from pathlib import Path
from typing import Any, NamedTuple


class Graded(NamedTuple):
    """What a run of tests showed."""

    tests: dict[str, bool]
    """Every test that counts -> it passed."""
    text: str
    """For the agent: how many passed, and what the first failures said."""
    tamper: str
    """Why the run proves nothing, "" where it does."""


class Cache:
    """Results of test runs by what was tested; of this process, and of a SQLite file that processes share.

    Args:
        path: of the file, None for memory alone.
        most: results kept in memory.
    """

    def __init__(self, path: str | None = None, most: int = 50_000) -> None:
        self.path, self.most = path, most
        self._memory: dict[str, Any] = {}
        self.hits = self.misses = 0
        self._owner = 0
        self._file: sqlite3.Connection | None = None

    def _open(self) -> sqlite3.Connection | None:
        if self.path is None:
            return None
        if self._file is None or self._owner != os.getpid():  # a connection does not outlive a fork
            Path(self.path).absolute().parent.mkdir(parents=True, exist_ok=True)
            self._file, self._owner = sqlite3.connect(self.path, timeout=30, check_same_thread=False), os.getpid()
            self._file.execute("PRAGMA journal_mode=WAL")
            self._file.execute("CREATE TABLE IF NOT EXISTS runs (key TEXT PRIMARY KEY, result TEXT)")
        return self._file

    def get(self, key: str) -> Any:
        """A result as ``put`` was given it, with lists for tuples; None for none."""
        found = self._memory.get(key)
        if found is None and (file := self._open()) is not None:
            row = file.execute("SELECT result FROM runs WHERE key = ?", (key,)).fetchone()
            if row:
                found = self._memory[key] = json.loads(row[0])
        self.hits, self.misses = self.hits + (found is not None), self.misses + (found is None)
        return found

    def put(self, key: str, result: Any) -> None:
        """Keeps a result that JSON can hold."""
        if len(self._memory) >= self.most:
            del self._memory[next(iter(self._memory))]
        self._memory[key] = result
        if (file := self._open()) is not None:
            with file:
                file.execute("INSERT OR REPLACE INTO runs VALUES (?, ?)", (key, json.dumps(result)))

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()
            self._file = None
