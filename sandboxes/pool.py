"""Warm sandboxes: made before they are wanted, and put back instead of thrown away."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping
from os import PathLike
from typing import Any

from .base import Limits, Provider, Sandbox, SandboxError


class Pool:
    """``size`` sandboxes of one tree that wait, each as it was created and with its server running.

        with Pool(make("local"), tree, size=4) as pool:
            box = pool.take()
            ...
            pool.give(box)

    ``take`` gives one that waits, or a fork of the first one made; it never blocks for one that is in use. ``give`` restores
    it and keeps it; one that is dead is closed, counted in ``lost`` and replaced. Both may be called from several threads.

    Args:
        provider: is not closed with the pool.
        tree: as for ``Provider.create``.
        size: sandboxes that wait at most; they are made at once.
        settings: as for ``Provider.create``.

    Raises:
        ValueError: a size that is no positive whole number.
        SandboxError: the first sandbox cannot be made.
    """

    def __init__(
        self,
        provider: Provider,
        tree: str | PathLike[str] | None = None,
        *,
        size: int = 2,
        limits: Limits | None = None,
        env: Mapping[str, str] | None = None,
        workdir: str = "/work",
    ) -> None:
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ValueError(f"pool size is {size!r}; allowed: a whole number from 1")
        self._make: dict[str, Any] = {"limits": limits, "env": env, "workdir": workdir}
        self.provider, self.tree, self.size = provider, tree, size
        self.lost = 0
        """Sandboxes that were found dead."""
        self._lock = threading.Lock()  # of the lists
        self._making = threading.Lock()  # of the first one
        self._closed = False
        self._waiting: list[Sandbox] = []
        self._out: list[Sandbox] = []
        self._first: Sandbox | None = provider.create(tree, **self._make)
        try:
            for _ in range(size):
                self._put(self._new())
        except BaseException:
            self.close()
            raise

    def take(self) -> Sandbox:
        """A sandbox as it was created; the caller gives it back, closed or not.

        Raises:
            RuntimeError: the pool is closed.
            SandboxError: none waits and none can be made.
        """
        while True:
            with self._lock:
                if self._closed:
                    raise RuntimeError("the pool is closed")
                box = self._waiting.pop() if self._waiting else None
            if box is None:
                box = self._new()
            elif not self._alive(box):
                continue
            with self._lock:
                if not self._closed:
                    self._out.append(box)
                    return box
            box.close()

    def give(self, box: Sandbox) -> None:
        """Takes one back, in whatever state it is; one that its user closed is replaced.

        Raises:
            ValueError: it is not from this pool, or was given back already.
        """
        with self._lock:
            if not any(box is out for out in self._out):
                if self._closed:  # which closed it
                    return
                raise ValueError("this sandbox was not taken from this pool; allowed: one that is out")
            self._out = [out for out in self._out if out is not box]
        try:
            box.restore()
        except (SandboxError, OSError):
            self._bury(box)
        except RuntimeError:  # its user closed it
            pass
        else:
            if self._alive(box):
                self._put(box)
                return
        with contextlib.suppress(SandboxError, RuntimeError):  # the next ``take`` says it
            self._put(self._new())

    def _alive(self, box: Sandbox) -> bool:
        """Asks it; that also starts its server, which the next command then finds."""
        try:
            box.run(["true"])
            return True
        except (SandboxError, RuntimeError):
            self._bury(box)
            return False

    def _bury(self, box: Sandbox) -> None:
        with self._lock:
            self.lost += 1
        with contextlib.suppress(SandboxError):
            box.close()

    def _put(self, box: Sandbox) -> None:
        with self._lock:
            if not self._closed and len(self._waiting) < self.size:
                self._waiting.append(box)
                return
        box.close()

    def _new(self) -> Sandbox:
        with self._making:
            if self._closed:
                raise RuntimeError("the pool is closed")
            for again in (False, True):
                if self._first is None:
                    self._first = self.provider.create(self.tree, **self._make)
                try:
                    box = self._first.fork()
                    break
                except SandboxError:
                    self._bury(self._first)
                    self._first = None
                    if again:
                        raise
        if not self._alive(box):
            raise SandboxError("a new sandbox of the pool died at once")
        return box

    def close(self) -> None:
        """Closes all its sandboxes, those that are out too. Calling it again does nothing."""
        with self._making, self._lock:
            self._closed = True
            boxes = [*self._waiting, *self._out]
            self._waiting, self._out = [], []
            if self._first is not None:
                boxes.append(self._first)
                self._first = None
        for box in boxes:
            with contextlib.suppress(SandboxError):
                box.close()

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
