"""A ``Sandbox`` over a ``Box``: all that does not depend on how a provider isolates."""

from __future__ import annotations

import contextlib
import errno
import os
import posixpath
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from typing import Any

from . import transfer
from .base import MB, Box, Limits, Result, SandboxLost
from .client import Client, Gone, Job, Late, Sink
from .shell import GRACE, BashShell

ENV = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8", "TERM": "dumb", "TMPDIR": "/tmp"}
KILLED = "\n[the sandbox's processes were killed from inside, this command among them]"


class Kept:
    """The first bytes of a stream; what is inside is not trusted to count them."""

    def __init__(self, limit: int) -> None:
        self.limit, self.data, self.cut = limit, bytearray(), False

    def add(self, data: bytes) -> None:
        """Takes a piece; ``cut`` when there is no room for all of it."""
        keep = data[: self.limit - len(self.data)]
        self.data += keep
        self.cut |= len(keep) < len(data)


def _nothing(kind: bytes, data: bytes) -> None:
    """A sink for what has no output."""


class Saved:
    """A snapshot of one box."""

    def __init__(self, box: Box, token: Any) -> None:
        self.box, self.token = box, token
        self.closed = False

    def close(self) -> None:
        """Frees it; calling it again does nothing."""
        if not self.closed:
            self.closed = True
            self.box.forget(self.token)


class Served:
    """See ``base.Sandbox``."""

    def __init__(self, box: Box, *, limits: Limits, env: Mapping[str, str], workdir: str) -> None:
        self.box, self.limits, self.workdir = box, limits, workdir
        self.env = {**ENV, **env}
        self._clients: dict[str | None, Client] = {}
        self._shells: list[BashShell] = []
        self._lock = threading.RLock()
        self._proven = False  # a server has run since the last restore
        self._closed = False

    # -- commands --------------------------------------------------------------------------------
    def run(
        self,
        command: str | Sequence[str],
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str | bytes = b"",
        timeout: float | None = None,
        user: str | None = None,
    ) -> Result:
        """See ``base.Sandbox.run``."""
        argv = ["bash", "-c", command] if isinstance(command, str) else [os.fspath(a) for a in command]
        variables = {**self.env, **(env or {})}
        if not argv:
            raise ValueError("the command is empty; allowed: a text, or a program with its arguments")
        for text in (*argv, *variables, *variables.values(), cwd or ""):
            if not isinstance(text, str):
                raise ValueError(f"{text!r} in a command, its directory or its variables is no text")
            if "\0" in text:
                raise ValueError(f"{text[:40]!r} holds a NUL character; allowed: any other text")
        for name in variables:
            if not name or "=" in name:
                raise ValueError(f"variable is named {name!r}; allowed: a text without '='")
        if user is not None and user not in self.box.users:
            allowed = ", ".join(["None", *map(repr, self.box.users)])
            raise ValueError(f"user is {user!r}; allowed: {allowed}")
        seconds = self.seconds(timeout)
        order = {"argv": argv, "cwd": self.path(cwd or "."), "env": variables, "timeout": seconds}
        data = stdin.encode() if isinstance(stdin, str) else bytes(stdin)
        kept = {b"O": Kept(self.limits.output), b"S": Kept(self.limits.output)}
        said = self._call(
            b"R", order | {"output": self.limits.output}, [data], lambda k, d: kept[k].add(d), seconds, user
        )
        stdout, stderr = (bytes(kept[k].data).decode("utf-8", "replace") for k in (b"O", b"S"))
        cut = any(k.cut for k in kept.values())
        if said is None:
            return Result(stdout, stderr, 124, True, cut)
        if "killed" in said:
            return Result(stdout, stderr + KILLED, 137, False, cut)
        return Result(stdout, stderr, said["code"], said["timed_out"], said["truncated"] or cut)

    def shell(self) -> BashShell:
        """See ``base.Sandbox.shell``."""
        with self._lock:
            self._check()
            shell = BashShell(self, self.env)
            self._shells = [s for s in self._shells if not s._closed] + [shell]
            return shell

    def _call(
        self,
        kind: bytes,
        order: Mapping[str, Any],
        data: Iterable[bytes],
        sink: Sink,
        seconds: float,
        user: str | None = None,
    ) -> dict[str, Any] | None:
        """Sends a request and carries its streams; None when not even the server answered in time.

        Raises:
            OSError: a file could not be read or written.
            BaseException: what the sink raised.
        """
        client = self.client(user)
        deadline = time.monotonic() + seconds + GRACE
        job: Job | None = None
        try:
            job = client.begin(kind, order, sink)
            client.feed(job, data, deadline=deadline)
            client.wait(job, deadline)
        except (Gone, Late) as e:
            self._check()
            self.revive(client)
            return {"killed": True} if isinstance(e, Gone) else None
        except BaseException:  # an interrupt of the caller, or too much: the command must not run on
            if job is not None:
                client.forget(job)
                with contextlib.suppress(Gone, SandboxLost):
                    client.kill(job)
            raise
        said = job.end
        assert said is not None
        if "errno" in said:
            raise OSError(said["errno"], said["text"], order["path"])
        return said

    def client(self, user: str | None = None) -> Client:
        """The connection to the server that runs as ``user``, made when it is first needed."""
        with self._lock:
            self._check()
            client = self._clients.get(user)
            if client is not None and not client.alive():  # killed from inside while nobody called
                self.box.kill()
                self._disconnect()
                client = None
            if client is None:
                client = self._clients[user] = Client(self.box.connect(user), proven=self._proven)
            return client

    def revive(self, client: Client) -> None:
        """After a server was killed or stopped from inside: ends all that runs there, so that the next call starts anew.

        Raises:
            SandboxLost: it was not the server alone.
        """
        with self._lock:
            client.close()
            if client in self._clients.values():  # else another thread did it
                self.box.kill()
                self._disconnect()
                self.client()

    def _disconnect(self) -> None:
        for client in self._clients.values():
            self._proven |= client.greeted
            client.close()
        self._clients.clear()

    def seconds(self, timeout: float | None) -> float:
        """The timeout that holds for a command."""
        if timeout is None:
            return self.limits.timeout
        if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 < timeout < 1e6:
            raise ValueError(f"timeout is {timeout!r}; allowed: None or seconds from above 0 to 1,000,000")
        return float(timeout)

    def path(self, path: str) -> str:
        """An absolute path inside."""
        return posixpath.normpath(posixpath.join(self.workdir, path))

    # -- files -----------------------------------------------------------------------------------
    def read(self, path: str) -> bytes:
        """See ``base.Sandbox.read``."""
        data = Kept(self.most)

        def take(kind: bytes, piece: bytes) -> None:
            data.add(piece)
            if data.cut:  # such as /proc/self/pagemap, to which any file may be a link
                raise OSError(errno.EFBIG, f"it holds more than {self.most} bytes", path)

        self._file(b"G", {"path": self._named(path)}, (), take)
        return bytes(data.data)

    @property
    def most(self) -> int:
        """Bytes that may come out at once: what all files can hold, and what the tree held at first, within reason."""
        return self.limits.disk + self.limits.memory + 64 * MB

    def write(self, path: str, data: bytes | str, *, mode: int = 0o644) -> None:
        """See ``base.Sandbox.write``."""
        raw = data.encode() if isinstance(data, str) else bytes(data)
        self._file(b"P", {"path": self._named(path), "mode": mode & 0o777}, [raw], _nothing)

    def upload(self, source: str | PathLike[str], path: str) -> None:
        """See ``base.Sandbox.upload``."""
        transfer.upload(self, os.fspath(source), self._named(path))

    def download(self, path: str, target: str | PathLike[str]) -> None:
        """See ``base.Sandbox.download``."""
        transfer.download(self, self._named(path), os.fspath(target))

    def _named(self, path: str) -> str:
        if "\0" in path:
            raise ValueError(f"{path[:40]!r} holds a NUL character; allowed: any other text")
        return self.path(path)

    def _file(self, kind: bytes, order: Mapping[str, Any], data: Iterable[bytes], sink: Sink) -> None:
        said = self._call(kind, order, data, sink, self.limits.timeout)
        if said is None or "killed" in said:
            raise OSError(errno.EIO, "the sandbox's processes were killed from inside meanwhile", order["path"])

    def stream(
        self, argv: Sequence[str], data: Iterable[bytes], out: Callable[[bytes], object], seconds: float
    ) -> Result:
        """Runs a program with input and output of any length; ``transfer`` uses it for tar."""
        err = Kept(self.limits.output)
        order = {"argv": list(argv), "cwd": "/", "env": self.env, "timeout": seconds, "output": 0}
        said = self._call(b"R", order, data, lambda k, d: out(d) if k == b"O" else err.add(d), seconds)
        code = 137 if said is None or "killed" in said else said["code"]
        return Result("", bytes(err.data).decode("utf-8", "replace"), code)

    # -- states ----------------------------------------------------------------------------------
    def snapshot(self) -> Saved:
        """See ``base.Sandbox.snapshot``."""
        with self._lock:
            self._check()
            return Saved(self.box, self.box.save())

    def restore(self, snapshot: Any = None) -> None:
        """See ``base.Sandbox.restore``."""
        with self._lock:
            self._check()
            token = self._token(snapshot)
            self._end_shells("the shell ended with restore(): open another with shell()")
            self._disconnect()
            self.box.load(token)
            self._proven = False

    def fork(self, snapshot: Any = None) -> Served:
        """See ``base.Sandbox.fork``."""
        with self._lock:
            self._check()
            state = Saved(self.box, self.box.save()) if snapshot is None else snapshot
            try:
                box = self.box.clone(self._token(state))
            finally:
                if snapshot is None:
                    state.close()
            env = {k: v for k, v in self.env.items() if ENV.get(k) != v}
            return Served(box, limits=self.limits, env=env, workdir=self.workdir)

    def _token(self, snapshot: Any) -> Any:
        if snapshot is None:
            return None
        if not isinstance(snapshot, Saved) or type(snapshot.box) is not type(self.box):
            raise ValueError("a snapshot of another provider; allowed: one that this provider's sandboxes made")
        if snapshot.closed:
            raise ValueError("the snapshot is closed; allowed: one that is open")
        return snapshot.token

    def _end_shells(self, why: str) -> None:
        for shell in self._shells:
            shell.end(why)
        self._shells.clear()

    def close(self) -> None:
        """See ``base.Sandbox.close``."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._end_shells("the sandbox is closed")
            self._disconnect()
            self.box.close()

    def _check(self) -> None:
        if self._closed:
            raise RuntimeError("the sandbox is closed")

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
