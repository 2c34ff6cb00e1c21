"""An MCP server as the state of an episode: what was called is kept, and called again where a fresh server takes over."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..errors import InfraError
from .calls import Call
from .mcp_client import Connection, CutOff
from .tool import ToolFailed


class Made(NamedTuple):
    """A call that was made."""

    call: Call
    fine: bool
    mark: str
    """Of what the server said."""


class Replayed:
    """The server of one environment, see ``tool.State``.

    An MCP server cannot be saved or copied. So a saved state is the list of calls, and going back to it means a server at its
    start, the task's setup, and the same calls: when the next call needs it, not before. A server that then answers
    otherwise is no deterministic one, and refused. A call that was cut off is not in the list: what it did is undone with the
    server that still works on it.

    Args:
        connect: makes a connection to a server.
        reset: tool that puts a server to its start; "" where a fresh process does.
        stateless: no reset is needed.
        fresh: a new connection has a server at its start.
        spare: keep the next process ready, started in the background.
    """

    def __init__(
        self, connect: Callable[[], Connection], reset: str, stateless: bool, fresh: bool, spare: bool = False
    ) -> None:
        self._connect, self._reset, self._stateless = connect, reset, stateless
        self._fresh, self._keep_spare = fresh, spare
        self._server: Connection | None = None
        self._spare: _Spare | None = None
        self._used = False  # the server is not at its start
        self._setup: tuple[Call, ...] = ()
        self._made: tuple[Made, ...] = ()
        self._current = False  # the server is where the calls lead

    # -- an episode ------------------------------------------------------------------------------
    def server(self) -> Connection:
        """The server, started if there is none.

        Raises:
            InfraError: it cannot be.
        """
        if self._server is not None and not self._server.alive:
            self._drop()
        if self._server is None:
            spare, self._spare = self._spare, None
            self._server = (spare.take() if spare else None) or self._connect()
            self._used = not self._fresh
        return self._server

    def begin(self, setup: Sequence[Call]) -> None:
        """An episode starts: nothing is called, and ``setup`` comes before the first call."""
        self._setup, self._made, self._current = tuple(setup), (), False

    def ready(self) -> None:
        """Brings a server to where the episode is.

        Raises:
            InfraError: it cannot be; the next try has another server.
        """
        if self._current and self._server is not None and self._server.alive:
            return
        self._current = False
        try:
            self._bring()
        except (InfraError, ToolFailed) as e:
            self._drop()
            raise InfraError(str(e)) from None
        if self._keep_spare and self._spare is None:
            self._spare = _Spare(self._connect)
        self._current = True

    def _bring(self) -> None:
        if self._used and not self._reset and not self._stateless:
            self._drop()
        server = self.server()
        if self._used and self._reset:
            fine, text = server.call(self._reset, {})
            if not fine:
                raise InfraError(f"the MCP server's {self._reset} failed: {text[:200]}")
        self._used = True
        for call in self._setup:
            fine, text = server.call(call.name, call.arguments)
            if not fine:
                raise InfraError(f"the setup of the task failed: {call.name}: {text[:200]}")
        for made in self._made:
            fine, text = server.call(made.call.name, made.call.arguments)
            if (fine, _mark(text)) != made[1:]:
                raise InfraError(f"the MCP server cannot be put back: {made.call.name} answers otherwise now")

    def call(self, name: str, arguments: dict[str, Any]) -> str:
        """A call of the agent's.

        Raises:
            ToolFailed: the tool said so, or was cut off.
            InfraError: the server is gone.
        """
        fine, text = self.ask(name, arguments)
        self._made += (Made(Call(name, copy.deepcopy(arguments)), fine, _mark(text)),)
        if not fine:
            raise ToolFailed(text)
        return text

    def ask(self, name: str, arguments: dict[str, Any]) -> tuple[bool, str]:
        """A call of a grader's, which is not kept.

        Raises:
            CutOff: it took too long.
            InfraError: the server is gone.
        """
        self.ready()
        assert self._server is not None
        try:
            return self._server.call(name, arguments)
        except (InfraError, CutOff):
            self._drop()
            raise

    def calls(self) -> tuple[Made, ...]:
        """What was called since the setup."""
        return self._made

    def _drop(self) -> None:
        self._current = False
        server, self._server = self._server, None
        if server is not None:
            server.close()

    def close(self) -> None:
        """Ends the servers."""
        self._drop()
        spare, self._spare = self._spare, None
        if spare is not None:
            spare.close()

    # -- tool.State ------------------------------------------------------------------------------
    def save(self) -> tuple[Made, ...]:
        """The calls."""
        return self._made

    def load(self, saved: tuple[Made, ...]) -> None:
        """The calls of a saved state become those of this."""
        self._made, self._current = tuple(saved), False

    def fork(self) -> Replayed:
        """The same calls for a server of its own."""
        branch = Replayed(self._connect, self._reset, self._stateless, self._fresh)
        branch._setup, branch._made = self._setup, self._made
        return branch

    def adopt(self, branch: Replayed) -> None:
        """Becomes what a fork is."""
        self.load(branch.save())

    def mark(self) -> None:
        """What a failing tool of a server changes is the server's to take back."""

    def undo(self, mark: Any) -> None:
        """Nothing, see ``mark``."""

    def keep(self, mark: Any) -> None:
        """Nothing, see ``mark``."""


class _Spare:
    """A server that starts in the background."""

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self._found: Connection | None = None
        self._thread = threading.Thread(target=self._work, args=(connect,), name="milepost-mcp-spare", daemon=True)
        self._thread.start()

    def _work(self, connect: Callable[[], Connection]) -> None:
        with contextlib.suppress(InfraError):  # who needs it tries again, and says why it fails
            self._found = connect()

    def take(self) -> Connection | None:
        """The server, None where it could not be started or is gone."""
        self._thread.join()
        found, self._found = self._found, None
        if found is not None and not found.alive:
            found.close()
            return None
        return found

    def close(self) -> None:
        """Ends it."""
        found = self.take()
        if found is not None:
            found.close()


def _mark(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).hexdigest()
