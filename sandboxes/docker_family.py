"""A sandbox and its forks: what their containers have in common, and some that are started before the next forks need them."""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

from .base import Limits, SandboxError
from .docker_box import RESERVE, DockerBox, Engine
from .docker_inside import INODE
from .docker_store import Store, Tree

MOST = 4  # containers that wait


class Family:
    """Makes the boxes of one shape.

    Starting a container takes an engine a few hundred milliseconds, filling it far less. From the first fork on, one
    container waits that has the tree of the last fork, and one more each time that a fork came before it was there, up to
    ``MOST``; they go when the last box of the family does.
    """

    def __init__(
        self,
        engine: Engine,
        store: Store,
        settings: Mapping[str, Any],
        limits: Limits,
        workdir: str,
        tree: Tree,
        register: Callable[[DockerBox], None],
    ) -> None:
        self.engine, self.store, self.settings = engine, store, settings
        self.limits, self.workdir = limits, workdir
        self.room = tree.pages + limits.disk
        self.inodes = limits.disk // 4096 + 64
        self.memory = limits.memory + tree.pages + tree.count * INODE + RESERVE
        self._fits = tree.pages + limits.disk // 8, tree.count + self.inodes // 8
        self.count = tree.count
        self._register = register
        self._boxes: weakref.WeakSet[DockerBox] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._spares: deque[Future[DockerBox | None]] = deque()
        self._wanted = 1

    def make(self, tree: Tree) -> DockerBox:
        """A box with a tree.

        Raises:
            SandboxError: it could not be made.
        """
        return self._enter(DockerBox(self, tree))

    def _enter(self, box: DockerBox) -> DockerBox:
        self._boxes.add(box)
        self._register(box)
        return box

    def clone(self, token: Tree) -> DockerBox:
        """A box with the tree of a token, the spare one if there is one.

        Raises:
            SandboxError: it could not be made.
        """
        tree = Tree(token.entries, token.contents)  # outlives the snapshot
        if tree.pages > self._fits[0] or tree.count > self._fits[1]:  # it could grow by too little here
            other = Family(self.engine, self.store, self.settings, self.limits, self.workdir, tree, self._register)
            return other.make(tree)
        with self._lock:
            box = self._take()
            if box is not None:
                try:
                    box.become(tree)
                except SandboxError:  # somebody removed it
                    box.close()
                    box = None
            box = self._enter(DockerBox(self, tree) if box is None else box)
            while len(self._spares) < self._wanted:
                spare: Future[DockerBox | None] = Future()
                self._spares.append(spare)
                threading.Thread(
                    target=self._start, args=(tree, spare), name="milepost-docker-spare", daemon=True
                ).start()
            return box

    def _start(self, tree: Tree, spare: Future[DockerBox | None]) -> None:
        box = None
        try:
            with contextlib.suppress(SandboxError, RuntimeError):  # the next fork will say it
                box = DockerBox(self, tree)
        finally:
            spare.set_result(box)

    def _take(self) -> DockerBox | None:
        if not self._spares:
            return None
        spare = self._spares.popleft()
        if not spare.done():
            self._wanted = min(self._wanted + 1, MOST)
        return spare.result()

    def leave(self, box: DockerBox) -> None:
        """A box was closed; one that waited or never came to be does not count."""
        if box not in self._boxes:
            return
        self._boxes.discard(box)
        if not self._boxes:
            with self._lock:
                spares = [spare.result() for spare in self._spares]
                self._spares.clear()
            for spare in spares:
                if spare is not None:
                    spare.close()
