"""The host's side of ``inside/warm.py``: a Python in a sandbox, as a state that can be saved, put back and forked."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ...sandboxes import Limits, Provider, SandboxError, SandboxLost
from ...sandboxes.client import Client, Gone, Job, Late
from ...sandboxes.served import Served

MB = 2**20
_TEXT = Path(__file__).parent / "inside" / "warm.py"
_GRACE = 5.0  # seconds more than the programs' own, until the sandbox itself is held to be stuck
_ENV = {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
_LONGEST = MB  # of an answer; nothing inside is trusted to count


class Ran(NamedTuple):
    """What became of a program."""

    end: str
    """``done``, ``late`` (the timeout ended it) or ``died`` (it ended the interpreter)."""
    code: int
    """Exit code of an interpreter that died, as a shell says it."""
    text: str
    """Output and errors, in their order, long ones without their middle."""


class Interpreter:
    """A Python in a sandbox of its own, made when it is first needed. Close it.

    One warm process inside forks a child for each program, or with ``stateful`` for each episode: variables then live from
    program to program. Saving keeps the programs, and putting back runs them again in a new child, so that what they drew from
    the clock or from addresses may differ. What a child leaves (processes, files, shared memory) is removed before the next
    one, or the whole sandbox is put back.

    Args:
        sandbox: provider: ``local`` or ``docker``.
        settings: of the provider.
        stateful: variables live from program to program.
        timeout: seconds of a program.
        memory: bytes of a program.
        most: bytes of output that are kept.
        restore: put the whole sandbox back before each new child (100 ms). Without it a program that takes over the
            sandbox's own server, which runs as the same user, can live on in the same sandbox.
    """

    def __init__(
        self,
        sandbox: str = "local",
        settings: Mapping[str, Any] | None = None,
        *,
        stateful: bool = True,
        timeout: float = 5.0,
        memory: int = 512 * MB,
        most: int = 3000,
        restore: bool = False,
    ) -> None:
        self._made_with: dict[str, Any] = {"stateful": stateful, "timeout": timeout, "memory": memory, "most": most}
        self._made_with["restore"] = self._restore = restore
        self._sandbox, self._settings = sandbox, dict(settings or {})
        self._stateful, self._timeout, self._memory, self._most = stateful, float(timeout), memory, most
        self._limits = Limits(timeout=timeout, memory=memory + 256 * MB, processes=64, disk=64 * MB, file_size=32 * MB)
        self._history: tuple[str, ...] = ()  # programs whose variables live
        self._fresh = True  # the child inside is another episode's
        self._key = ""
        self._provider: Provider | None = None
        self._box: Served | None = None
        self._client: Client | None = None
        self._job: Job | None = None
        self._buffer = bytearray()

    # -- a state, see tool.State -----------------------------------------------------------------
    def save(self) -> tuple[str, ...]:
        """The programs whose variables live."""
        return self._history

    def load(self, saved: tuple[str, ...]) -> None:
        """They are run again before the next program."""
        self._history, self._fresh = saved, True

    def fork(self) -> Interpreter:
        """One in a sandbox of its own with the same history."""
        branch = Interpreter(self._sandbox, self._settings, **self._made_with)
        branch.load(self._history)
        return branch

    def adopt(self, branch: Interpreter) -> None:
        """Becomes what a fork is, which is closed."""
        self.load(branch.save())
        branch.close()

    def mark(self) -> tuple[str, ...]:
        """Where ``undo`` goes back to."""
        return self._history

    def undo(self, mark: tuple[str, ...]) -> None:
        """Takes back what was run since."""
        if mark != self._history:
            self.load(mark)

    def keep(self, mark: tuple[str, ...]) -> None:
        """It stays."""

    # -- programs --------------------------------------------------------------------------------
    def run(self, program: str) -> Ran:
        """Runs a program.

        Raises:
            SandboxError: the infrastructure failed.
        """
        programs = [*self._history, program]
        order = {"programs": programs, "fresh": True} if self._fresh else {"programs": [program], "fresh": False}
        order |= {"keep": self._stateful, "timeout": self._timeout, "most": self._most, "memory": self._memory}
        try:
            ran = self._ask(order, len(programs) * self._timeout + _GRACE)
            if ran.end == "dirty":  # what the last episode left could not be removed: it went with the sandbox's state
                ran = self._ask(order, len(programs) * self._timeout + _GRACE)
        except SandboxError as e:
            self._history, self._fresh = (), True
            self._drop(lost=isinstance(e, SandboxLost))
            raise
        done = ran.end == "done"
        self._history = (*self._history, program) if done and self._stateful else ()
        self._fresh = not done or not self._stateful
        return ran

    def _ask(self, order: Mapping[str, Any], seconds: float) -> Ran:
        box = self._open()
        dead = self._job is not None and (self._client is None or not self._client.alive() or self._job.end is not None)
        if dead or (self._restore and order["fresh"] and self._job is not None):
            self._renew(box)
        if dead and not order["fresh"]:  # something ended it after the last program
            return Ran("died", 137, "")
        late = False
        try:
            client, job = self._start(box)
            data = json.dumps(order).encode()
            client.say(job, len(data).to_bytes(4, "big") + data)
            client.wait(job, time.monotonic() + seconds, self._complete)
            if self._complete():
                ran, lost = self._read()
                if lost:
                    self._renew(box)
                return ran
        except (Gone, Late) as e:
            late = isinstance(e, Late)
        # the program killed or stopped what serves it
        self._renew(box)
        return Ran("late", 0, "") if late else Ran("died", 137, "")

    def _renew(self, box: Served) -> None:
        """Ends all that runs inside and removes all that it left; the next program starts another warm process."""
        self._forget()
        box.restore()

    def ready(self) -> None:
        """Can a sandbox be made here?

        Raises:
            SandboxError: no; says what to do.
            ValueError, TypeError: there is no such provider or setting.
        """
        if self._provider is None:
            from ..swe.repo import borrow

            self._key, self._provider = borrow(self._sandbox, self._settings)

    def _open(self) -> Served:
        if self._box is None:
            self.ready()
            assert self._provider is not None
            box = self._provider.create(limits=self._limits, env=_ENV)
            if not isinstance(box, Served):
                box.close()
                raise SandboxError(f"sandbox {self._sandbox!r} cannot hold an interpreter; allowed: 'local', 'docker'")
            self._box = box
        return self._box

    def _start(self, box: Served) -> tuple[Client, Job]:
        """The warm process, or a new one where the last one was."""
        if self._client is None or self._job is None:
            argv = ["python3", "-s", "-S", "-c", _TEXT.read_text(encoding="utf-8")]
            order = {"argv": argv, "cwd": box.workdir, "env": box.env, "timeout": None, "output": 0}
            self._client = box.client()
            self._job = self._client.begin(b"R", order, self._take)
        return self._client, self._job

    def _take(self, kind: bytes, data: bytes) -> None:
        if kind == b"O" and len(self._buffer) < _LONGEST:
            self._buffer += data

    def _complete(self) -> bool:
        n = len(self._buffer)
        return n >= _LONGEST or (n >= 4 and n >= 4 + int.from_bytes(self._buffer[:4], "big"))

    def _read(self) -> tuple[Ran, bool]:
        """The answer, and whether everything inside is to be ended; what is none was written by a program."""
        data = bytes(self._buffer[4:])
        self._buffer.clear()
        try:
            said = json.loads(data)
            ran = Ran(str(said["end"]), int(said["code"]), str(said["text"]))
            if ran.end in ("done", "late", "died", "dirty"):
                return ran, bool(said.get("lost"))
        except (ValueError, KeyError, TypeError, RecursionError):
            pass
        return Ran("died", 137, ""), True

    def _forget(self) -> None:
        if self._client is not None and self._job is not None:
            self._client.forget(self._job)
        self._client = self._job = None
        self._buffer.clear()

    def _drop(self, lost: bool = False) -> None:
        self._forget()
        if self._box is not None:
            try:
                self._box.close()
            except SandboxError:  # what is lost has no end to wait for
                pass
        if self._key:
            from ..swe.repo import give

            give(self._key, lost)
        self._box, self._provider, self._key = None, None, ""

    def close(self) -> None:
        """Closes the sandbox; nothing is left running. A later ``run`` makes another."""
        self._history, self._fresh = (), True
        self._drop()
