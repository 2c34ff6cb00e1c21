"""Trees on the host: their lists, and the contents by digest, each kept once and as long as a tree needs it."""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from .docker_tree import BLOCK, Reach, pieces, scan

IN_MEMORY = 4 * 2**20


class _Spool:
    """Contents one after another, in memory while they are small, else in a file without a name."""

    def __init__(self) -> None:
        self.file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)
        self.lock = threading.Lock()
        self.size = 0

    def __del__(self) -> None:
        self.file.close()


class Content:
    """The bytes of a file."""

    def __init__(self, spool: _Spool) -> None:
        self._spool, self._start, self.size = spool, spool.size, 0
        self._sha = hashlib.sha256()

    def add(self, data: bytes) -> None:
        """Appends; only the last content of a spool may grow."""
        with self._spool.lock:
            self._spool.file.seek(self._spool.size)
            self._spool.file.write(data)
            self._spool.size += len(data)
        self.size += len(data)
        self._sha.update(data)

    def undo(self) -> None:
        """Takes the last content of a spool away again."""
        self._spool.size = self._start

    @property
    def sha(self) -> str:
        """The digest, as ``docker_tree`` has it."""
        return self._sha.hexdigest()

    def blocks(self) -> Iterator[bytes]:
        """What was added."""
        at, end = self._start, self._start + self.size
        while at < end:
            with self._spool.lock:
                self._spool.file.seek(at)
                data = self._spool.file.read(min(BLOCK, end - at))
            at += len(data)
            yield data


class Tree:
    """A tree as it was: the token of a snapshot."""

    def __init__(self, entries: list[list[Any]], contents: dict[str, Content]) -> None:
        self.entries, self.contents = entries, contents
        self.pages = sum(-(-e[4] // 4096) * 4096 for e in entries if e[1] == "f")
        """Bytes of its files in memory."""
        self.count = len(entries)

    def clear(self) -> None:
        """Frees the contents that no other tree needs."""
        self.entries, self.contents = [], {}


class Store:
    """All contents that some tree still needs, and trees made of them."""

    def __init__(self) -> None:
        self._known: weakref.WeakValueDictionary[str, Content] = weakref.WeakValueDictionary()
        self._lock = threading.Lock()

    def _keep(self, content: Content) -> Content:
        """It, or its twin."""
        with self._lock:
            held = self._known.setdefault(content.sha, content)
        if held is not content:
            content.undo()
        return held

    def copy(self, path: str) -> Tree:
        """A directory of this machine.

        Raises:
            OSError: it cannot be read.
        """
        spool = _Spool()
        contents: dict[str, Content] = {}

        def content(file: bytes, reach: Reach | None) -> tuple[int, str]:
            new = Content(spool)
            for data in pieces(file, reach):
                new.add(data)
            contents[new.sha] = self._keep(new)
            return new.size, new.sha

        return Tree(scan(os.fsencode(path), content=content), contents)

    def fetch(self, entries: list[list[Any]], bring: Callable[[str, Callable[[bytes], object]], bool]) -> Tree:
        """A tree by its list; ``bring(path, add)`` gets the bytes of a file, False where it has disappeared.

        A file that changes while this goes on is taken as it was read.
        """
        spool = _Spool()
        contents: dict[str, Content] = {}
        lost: set[str] = set()
        for entry in entries:
            if entry[1] != "f" or entry[5] in contents:
                continue
            with self._lock:
                held = self._known.get(entry[5])
            if held is None:
                new = Content(spool)
                if not bring(entry[0], new.add):
                    new.undo()
                    lost.add(entry[0])
                    continue
                held = self._keep(new)
                entry[4:] = [new.size, new.sha]
            contents[entry[5]] = held
        kept = [e for e in entries if e[0] not in lost and not (e[1] == "h" and e[4] in lost)]
        return Tree(kept, contents)
