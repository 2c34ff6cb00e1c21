"""A bash that stays, over the server of a sandbox."""

from __future__ import annotations

import re
import secrets
import shlex
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from .base import Result, SandboxLost
from .client import Client, Gone, Job, Late

if TYPE_CHECKING:
    from .served import Served

OUT = 200  # the shell's own streams are here and at the next number, or as high as the limit lets them: commands use low ones
LONGEST = 2**16  # of the line with the mark
GRACE = 5.0  # seconds that the server may take to end a tree


class _Output:
    """The first ``limit`` bytes of a stream up to a mark that the shell writes when a command is over."""

    def __init__(self, mark: bytes, limit: int) -> None:
        self.mark, self.limit = b"\n" + mark, limit
        self.kept, self.tail = bytearray(), bytearray()
        self.size = 0
        self.last: bytes | None = None  # the rest of the mark's line

    def feed(self, data: bytes) -> None:
        """Takes a piece; sets ``last`` when the mark has come."""
        if self.last is not None:
            return
        self.tail += data
        at = self.tail.find(self.mark)
        if at < 0:
            self._keep(max(0, len(self.tail) - len(self.mark)))
        elif (end := self.tail.find(b"\n", at + 1)) >= 0 or len(self.tail) - at > LONGEST:
            self.last = bytes(self.tail[at + len(self.mark) : end if end >= 0 else None])
            self._keep(at)
            self.tail.clear()

    def _keep(self, n: int) -> None:
        self.size += n
        self.kept += self.tail[: min(n, self.limit - len(self.kept))]
        del self.tail[:n]

    def text(self) -> str:
        """What was kept, with an unfinished tail."""
        if self.last is None:
            self._keep(len(self.tail))
        return self.kept.decode("utf-8", "replace")


class BashShell:
    """One bash session; see ``base.Shell``."""

    def __init__(self, box: Served, env: Mapping[str, str]) -> None:
        self._box, self._env = box, env
        self._out = max(10, min(OUT, box.limits.open_files - 12))
        self._err = self._out + 1
        self._cwd = shlex.quote(box.workdir)  # as bash quotes it
        self._client: Client | None = None
        self._job: Job | None = None
        self._streams: dict[bytes, _Output] = {}  # of the command that runs: what comes between commands is lost
        self._busy = threading.Lock()
        self._closed = ""
        self._starts = 0

    @property
    def restarts(self) -> int:
        """How often the shell had to be started again."""
        return max(0, self._starts - 1)

    def run(self, command: str, *, timeout: float | None = None) -> Result:
        """See ``base.Shell.run``."""
        seconds = self._box.seconds(timeout)
        if "\0" in command:
            raise ValueError("a command holds a NUL character; allowed: any other text")
        with self._busy:
            if self._closed:
                raise RuntimeError(self._closed)
            try:
                return self._run(command, seconds)
            except BaseException:  # an interrupt of the caller: the command must not run on
                self._stop()
                self._drop()
                raise
            finally:
                self._streams = {}

    def _run(self, command: str, seconds: float) -> Result:
        nonce = secrets.token_hex(12).encode()
        streams = {kind: _Output(nonce, self._box.limits.output) for kind in (b"O", b"S")}
        line = (
            f"eval {shlex.quote(command)} </dev/null {self._out}>&- {self._err}>&-\n"
            f'{{ builtin printf "\\n{nonce.decode()}%d %q\\n" "$?" "$PWD" >&{self._out};'
            f' builtin printf "\\n{nonce.decode()}\\n" >&{self._err}; }} 2>/dev/null\n'
        )
        deadline = time.monotonic() + seconds
        timed_out, code = False, 137
        try:
            client, job = self._start()
            self._streams = streams
            client.say(job, line.encode("utf-8", "surrogateescape"))
            while True:
                try:
                    client.wait(job, deadline, lambda: all(s.last is not None for s in streams.values()))
                    break
                except Late:
                    if timed_out:  # even the server does not answer any more
                        self._drop()
                        self._box.revive(client)
                        break
                    timed_out, deadline = True, time.monotonic() + GRACE
                    client.kill(job)
            if job.end is not None:
                code = job.end.get("code", 137)
                self._drop()
        except Gone:
            gone = self._client
            self._drop()
            if self._closed:
                raise RuntimeError(self._closed) from None
            if gone is not None:
                self._box.revive(gone)
        out, err = streams[b"O"], streams[b"S"]
        texts = out.text(), err.text()
        if out.last is not None:
            number, _, cwd = out.last.partition(b" ")
            if (
                re.fullmatch(rb"\d{1,3}", number) and len(cwd) < LONGEST and b"\0" not in cwd
            ):  # else code inside wrote it
                code, self._cwd = int(number), cwd.decode("utf-8", "surrogateescape")
        cut = any(s.size > s.limit for s in streams.values())
        return Result(*texts, 124 if timed_out else code, timed_out, cut)

    def _start(self) -> tuple[Client, Job]:
        """The running bash, or a new one where the last one was."""
        client, job = self._client, self._job
        if client is None or job is None or not client.alive() or job.end is not None:
            self._drop()
            self._client = client = self._box.client()
            argv = [
                "bash",
                "--norc",
                "--noprofile",
                "-c",
                f"cd -- {self._cwd} 2>/dev/null; exec bash --norc --noprofile",
            ]
            order = {"argv": argv, "cwd": "/", "env": {**self._env}, "timeout": None, "output": 0}
            self._job = job = client.begin(b"R", order, self._take)
            client.say(job, f"exec {self._out}>&1 {self._err}>&2\n".encode())
            self._starts += 1
        return client, job

    def _take(self, kind: bytes, data: bytes) -> None:
        stream = self._streams.get(kind)
        if stream is not None:
            stream.feed(data)

    def _stop(self) -> None:
        if self._client is not None and self._job is not None and not self._client.gone:
            try:
                self._client.kill(self._job)
            except (Gone, SandboxLost):
                pass

    def _drop(self) -> None:
        if self._client is not None and self._job is not None:
            self._client.forget(self._job)
        self._client = self._job = None

    def end(self, why: str) -> None:
        """The sandbox says that this shell can no longer be used."""
        self._closed = self._closed or why

    def close(self) -> None:
        """Ends the shell and what runs in it; calling it again does nothing."""
        if not self._closed:
            self._closed = "the shell is closed: open another with shell()"
            self._stop()
            if self._busy.acquire(blocking=False):  # else a command runs, and ends now
                self._drop()
                self._busy.release()
