"""What tools work on: plain Python or a database in memory, with snapshots that do not touch each other."""

from __future__ import annotations

import copy
import itertools
import sqlite3
from typing import Any


class Plain:
    """A Python value; saving copies it.

    Args:
        value: anything that ``copy.deepcopy`` copies.
    """

    def __init__(self, value: Any) -> None:
        self.value = value

    def save(self) -> Any:
        """A deep copy."""
        return copy.deepcopy(self.value)

    def load(self, saved: Any) -> None:
        """A deep copy of a saved value becomes the state."""
        self.value = copy.deepcopy(saved)

    def fork(self) -> Plain:
        """A state of its own with the same value."""
        return Plain(self.save())

    def adopt(self, branch: Plain) -> None:
        """Becomes what a fork is, which is not used any more."""
        self.value = branch.value

    def mark(self) -> Any:
        """Where ``undo`` goes back to."""
        return self.save()

    def undo(self, mark: Any) -> None:
        """Takes back what was changed since."""
        self.value = mark

    def keep(self, mark: Any) -> None:
        """The changes stay."""


def _empty() -> bytes:
    db = sqlite3.connect(":memory:")
    db.execute("CREATE TABLE t (a)")
    db.execute("DROP TABLE t")
    return db.serialize()


_EMPTY = _empty()


class Sql:
    """A SQLite database in memory. A saved value is its image, ``bytes``.

    Args:
        image: of a database, see ``image_of``; an empty database by default.
    """

    def __init__(self, image: bytes = b"") -> None:
        self.db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False, cached_statements=512)
        self.db.execute("PRAGMA trusted_schema=OFF")
        self._marks = itertools.count()
        if image:
            self.load(image)

    def save(self) -> bytes:
        """The image of the database as it is."""
        try:
            return self.db.serialize()
        except sqlite3.OperationalError:  # it was never written
            return b""

    def load(self, saved: bytes) -> None:
        """The database becomes that of an image."""
        if self.db.in_transaction:
            self.db.execute("ROLLBACK")
        self.db.deserialize(saved or _EMPTY)  # a database that was never written has no image
        self.db.execute("PRAGMA foreign_keys=ON")

    def fork(self) -> Sql:
        """A database of its own with the same content."""
        return Sql(self.save())

    def __deepcopy__(self, memo: dict[int, Any]) -> Sql:
        """A fork: a connection itself cannot be copied."""
        return self.fork()

    def adopt(self, branch: Sql) -> None:
        """Becomes what a fork is, which is not used any more."""
        self.load(branch.save())
        branch.close()

    def mark(self) -> str:
        """Where ``undo`` goes back to."""
        name = f"m{next(self._marks)}"
        self.db.execute(f"SAVEPOINT {name}")
        return name

    def undo(self, mark: str) -> None:
        """Takes back what was changed since."""
        self._end(f"ROLLBACK TO {mark}")
        self._end(f"RELEASE {mark}")

    def keep(self, mark: str) -> None:
        """The changes stay."""
        self._end(f"RELEASE {mark}")

    def _end(self, statement: str) -> None:
        try:
            self.db.execute(statement)
        except sqlite3.OperationalError as e:
            raise RuntimeError(
                f"a tool ended the transaction that it runs in (commit, executescript, with db): {e}"
            ) from e

    def interrupt(self) -> None:
        """Ends the statement that runs."""
        self.db.interrupt()

    def close(self) -> None:
        """Frees it."""
        self.db.close()
