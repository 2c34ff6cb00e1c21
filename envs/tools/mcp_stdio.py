"""MCP servers that are programs: a transport for ``mcp.Client`` over a process that never outlives us."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

MOST = 2**25  # bytes of one message of a server
PATIENCE = 0.3  # seconds that a server may take to end by itself

# argv: pid of this program, command. As a subreaper it inherits what the server's processes leave behind, so that killing its
# own children until it has none reaches all of them.
_KEEPER = """
import ctypes, os, select, signal, sys, time
def end(code):
    me, until = str(os.getpid()).encode(), time.monotonic() + 3
    while time.monotonic() < until:
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/stat", "rb") as f:
                    if f.read().rpartition(b")")[2].split()[1] == me:
                        os.kill(int(pid), 9)
            except OSError:
                pass
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            break
        time.sleep(0.002)
    if os.getppid() != parent:  # nobody else puts the folder away
        import shutil
        shutil.rmtree(os.getcwd(), True)
    os._exit(code)
parent, watch = int(sys.argv[1]), select.poll()
try:
    watch.register(os.pidfd_open(parent), select.POLLIN)
except OSError:
    os._exit(1)
if os.getppid() != parent or ctypes.CDLL(None).prctl(36, 1, 0, 0, 0):
    os._exit(1)
signal.signal(signal.SIGTERM, lambda *_: end(143))
try:
    server = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ, setsid=True, setsigdef=[signal.SIGPIPE])
except OSError as e:
    print(e.strerror, file=sys.stderr, flush=True)
    os._exit(127)
gone = os.pidfd_open(server)
watch.register(gone, select.POLLIN)
watch.poll()
found = os.waitid(os.P_PIDFD, gone, os.WEXITED | os.WNOHANG)
end(found.si_status if found else 143)
"""


class Process:
    """A server that we start.

    Args:
        command: program and arguments.
        env: variables beside PATH, HOME, TMPDIR, LANG and PYTHONHASHSEED.
    """

    def __init__(self, command: Sequence[str], env: Mapping[str, str]) -> None:
        self.command, self.env = list(command), dict(env)
        self.pid: int | None = None
        self._said = ""  # the end of what it wrote to stderr

    @contextlib.asynccontextmanager
    async def open(self, folder: str, gone: Callable[[str], None]) -> AsyncIterator[Any]:
        """Starts it, and yields the two streams of a transport of ``mcp.Client``; ends it and what it started.

        Args:
            folder: an empty one, where it starts, and its HOME; removed with it if we are gone before.
            gone: told why when it ends by itself.

        Raises:
            OSError: there is no such program.
        """
        import anyio
        from mcp.shared.message import SessionMessage
        from mcp.types import jsonrpc_message_adapter

        env = {"PATH": os.environ.get("PATH", os.defpath), "HOME": folder, "TMPDIR": folder, "LANG": "C.UTF-8"}
        env |= {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"} | self.env
        keeper = []
        if sys.platform.startswith("linux") and hasattr(os, "pidfd_open"):
            python = sys._base_executable  # type: ignore[attr-defined]
            keeper = [python, "-I", "-S", "-c", _KEEPER, str(os.getpid())]
        process = await anyio.open_process([*keeper, *self.command], env=env, cwd=folder, start_new_session=True)
        self.pid = process.pid
        out, into, errors = process.stdout, process.stdin, process.stderr
        assert out and into and errors
        told, incoming = anyio.create_memory_object_stream[Any](0)
        outgoing, heard = anyio.create_memory_object_stream[Any](0)
        ended, explained = anyio.Event(), anyio.Event()
        over = (anyio.EndOfStream, anyio.ClosedResourceError, anyio.BrokenResourceError, OSError)

        async def read() -> None:
            rest = b""
            with contextlib.suppress(*over):
                async with told:
                    while len(rest) <= MOST:
                        *lines, rest = (rest + await out.receive()).split(b"\n")
                        for line in filter(bytes.strip, lines):
                            try:
                                message = SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False))
                            except ValueError:
                                continue  # a line that is no message, such as a greeting
                            await told.send(message)
            ended.set()
            gone(f"it sent a message of more than {MOST} bytes" if len(rest) > MOST else await self._end(process))
            explained.set()

        async def write() -> None:
            with contextlib.suppress(*over):
                async for message in heard:
                    line = message.message.model_dump_json(by_alias=True, exclude_unset=True)
                    await into.send(line.encode("utf-8", "replace") + b"\n")

        async def listen() -> None:
            with contextlib.suppress(*over):
                while True:
                    self._said = (self._said + (await errors.receive()).decode("utf-8", "replace"))[-2000:]

        async with anyio.create_task_group() as group, told, incoming, outgoing, heard:
            for task in (read, write, listen):
                group.start_soon(task)
            try:
                yield incoming, outgoing
            finally:
                with anyio.CancelScope(shield=True):
                    if ended.is_set():
                        await explained.wait()
                    await _stop(process, bool(keeper))
                group.cancel_scope.cancel()

    async def _end(self, process: Any) -> str:
        """How it ended, with its last words."""
        import anyio

        await _wait(process, 1)
        await anyio.sleep(0.01)  # for its last words
        last = self._said.strip().splitlines()[-1:]
        return f"it ended with exit code {process.returncode}" + (f": {last[0][:300]}" if last else "")


async def _wait(process: Any, seconds: float) -> bool:
    """Waits for the end of a process."""
    import anyio

    with anyio.move_on_after(seconds):
        while process.returncode is None:
            await anyio.sleep(0.005)
    return process.returncode is not None


async def _stop(process: Any, kept: bool) -> None:
    """Ends a server: by the end of its input, else by its keeper."""
    import anyio

    with contextlib.suppress(OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
        await process.stdin.aclose()
    if not await _wait(process, PATIENCE):
        with contextlib.suppress(OSError):
            os.kill(process.pid, signal.SIGTERM) if kept else os.killpg(process.pid, signal.SIGKILL)
        if not await _wait(process, 5):
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            await _wait(process, 2)
    transport = getattr(getattr(process, "_process", None), "_transport", None)
    if transport is not None:  # pipes that a survivor holds open would keep it
        transport.close()
