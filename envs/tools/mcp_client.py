"""Tools of MCP servers (Model Context Protocol): a plain, synchronous face over the official ``mcp`` package.

A connection has one thread with an event loop, ended by ``close``. A server that we start runs in a clean environment below a
keeper of its own, a tiny process that ends the server with everything that it started, also where that left its process group,
as soon as the connection is closed or this program is gone, however it went.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import shutil
import tempfile
import threading
import weakref
from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as Late  # another class than TimeoutError before Python 3.11
from typing import Any

from ..errors import InfraError
from .mcp_stdio import Process
from .tool import Tool, ToolFailed, text_of

LONGEST = 2**20  # characters of a result that are kept
PAGES = 100  # of tools, at most
_BOUNDS = (
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
)
_LOST = ("Connection closed", "Session terminated", "Server returned an error response")


class CutOff(ToolFailed):
    """A call took too long; what it did until then is not known."""


class Connection:
    """A connection to one MCP server, made when the object is.

    Args:
        command: a server that talks over its standard streams: a program, found on this program's PATH, and its arguments.
            It starts in an empty folder of its own, which is also its HOME, and sees none of our other variables.
        url: a server that talks streamable HTTP, in place of a command.
        env: variables of a command beside PATH, HOME, TMPDIR, LANG and PYTHONHASHSEED (0).
        headers: sent with every request to a url.
        timeout: seconds that a call may take.
        start: seconds that making the connection may take.

    Raises:
        ValueError: not exactly one of command and url, or one that is none; says what is allowed.
        InfraError: the server cannot be started or reached, or ``mcp`` is not installed; says what to do.
    """

    def __init__(
        self,
        command: Sequence[str] = (),
        url: str = "",
        *,
        env: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 30.0,
        start: float = 60.0,
    ) -> None:
        words = isinstance(command, (list, tuple)) and all(isinstance(w, str) and "\0" not in w for w in command)
        if not words or bool(command) == bool(url):
            raise ValueError(
                f"command is {command!r} and url {url!r}; allowed: a list of texts, or a url, and not both"
            )
        if url and not url.startswith(("http://", "https://")):
            raise ValueError(f"url is {url!r}; allowed: one that starts with http:// or https://")
        self.timeout = float(timeout)
        self._link = _Link(list(command), url, dict(env or {}), dict(headers or {}))
        self._end = weakref.finalize(self, self._link.stop)
        self._link.thread.start()
        if not self._link.ready.wait(start) or self._link.why:
            self._link.why = self._link.why or f"no answer in {start:g} seconds"
            self.close()
            raise InfraError(f"the MCP server {url or command[0]} could not be started: {self._link.why}")

    @property
    def alive(self) -> bool:
        """The server is there as far as we know, and this is the process that connected to it."""
        return not self._link.why and self._link.owner == os.getpid()

    @property
    def pid(self) -> int | None:
        """Of the keeper of a server that we started."""
        return self._link.process.pid

    def listed(self) -> tuple[Any, ...]:
        """The server's tools, as ``mcp.types.Tool``, in its order."""
        return self._link.tools

    def call(self, name: str, arguments: Mapping[str, Any], timeout: float | None = None) -> tuple[bool, str]:
        """Calls a tool.

        Args:
            name: of the tool.
            arguments: JSON values; others are not sent, and the answer says why.
            timeout: seconds, that of the connection by default.

        Returns:
            It worked, and what it said: its texts, and other content by kind and size.

        Raises:
            CutOff: it took too long.
            InfraError: the server is gone.
        """
        from mcp import MCPError
        from mcp.types import REQUEST_TIMEOUT

        link, seconds = self._link, self.timeout if timeout is None else timeout
        if not self.alive:
            raise InfraError(f"the MCP server is gone: {link.why or 'it belongs to another process'}")
        try:  # what cannot be written would be waited for in vain
            json.dumps(dict(arguments), allow_nan=False, ensure_ascii=False).encode()
        except (TypeError, ValueError, RecursionError) as e:
            return False, f"the arguments are no JSON: {e}"[:500]
        work = link.client.call_tool(name, dict(arguments), read_timeout_seconds=seconds)
        future = asyncio.run_coroutine_threadsafe(work, link.loop)
        link.calls.add(future)
        try:
            return _shown(future.result(seconds + 2))
        except MCPError as e:
            if e.code == REQUEST_TIMEOUT:
                raise CutOff(f"it was cut off after {seconds:g} seconds") from None
            if link.why or e.message in _LOST:
                link.finished.wait(1)  # it may be about to say why
                raise InfraError(f"the MCP server is gone: {link.why or e.message}") from None
            return False, e.message
        except Late:
            if not future.done():
                future.cancel()
                raise CutOff(f"it was cut off after {seconds:g} seconds") from None
            return False, "it answered too late"
        except CancelledError:
            raise InfraError(f"the MCP server is gone: {link.why}") from None
        except Exception as e:  # an answer that breaks the protocol or the tool's own schema
            return False, f"the server's answer is wrong: {type(e).__name__}: {e}"[:500]
        finally:
            link.calls.discard(future)

    def close(self) -> None:
        """Ends the thread, and a server that we started with everything that it started; again it does nothing."""
        self._end()


def tools_of(connection: Connection, run: Any = None) -> list[Tool]:
    """The tools of a server for a ``Toolbox``.

    Args:
        connection: to the server.
        run: ``run(state, name, arguments) -> text``, which makes the calls; by default they go to this connection.

    Raises:
        InfraError: a tool has no name, or a schema that is none of an object.
    """

    def direct(state: Any, name: str, arguments: dict[str, Any]) -> str:
        fine, text = connection.call(name, arguments)
        if not fine:
            raise ToolFailed(text)
        return text

    made = run or direct
    out = []
    for t in connection.listed():
        schema = _usable(t.input_schema or {})
        if not t.name or not isinstance(schema.setdefault("properties", {}), Mapping):
            raise InfraError(f"the MCP server's tool {t.name!r} has no name or no schema of an object")
        hint = t.annotations.read_only_hint if t.annotations else None
        text = " ".join((t.description or t.title or "").split())
        work = _bound(made, t.name)
        out.append(Tool.of_schema(t.name, text, schema, work, writes=not hint))
    return out


def _usable(schema: Any) -> Any:
    """A JSON schema without the fields that are none: the server has the last word on its arguments anyway."""
    if not isinstance(schema, Mapping):
        return {}
    out = dict(schema)
    for key, value in schema.items():
        if key == "type":
            fine = isinstance(value, str) or _texts(value)
        elif key in _BOUNDS:
            fine = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        elif key == "required":
            fine = _texts(value)
        elif key in ("enum", "anyOf", "oneOf"):
            fine = isinstance(value, list)
        else:
            fine = True
        if not fine:
            del out[key]
        elif key in ("anyOf", "oneOf") and isinstance(value, list):
            out[key] = [_usable(v) for v in value]
        elif key == "items":
            out[key] = _usable(value)
        elif key == "properties" and isinstance(value, Mapping):
            out[key] = {k: _usable(v) for k, v in value.items()}
    return out


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(v, str) for v in value)


def _bound(run: Any, name: str) -> Any:
    return lambda state, arguments: run(state, name, arguments)


def _shown(result: Any) -> tuple[bool, str]:
    """A result as text."""
    parts = []
    for block in result.content:
        kind = block.type
        if kind == "text":
            parts.append(block.text)
        elif kind in ("image", "audio"):
            parts.append(f"[{kind} {block.mime_type}, {len(block.data) * 3 // 4} bytes]")
        elif kind == "resource" and hasattr(block.resource, "text"):
            parts.append(block.resource.text)
        elif kind == "resource":
            size = len(block.resource.blob) * 3 // 4
            parts.append(f"[resource {block.resource.uri} {block.resource.mime_type or ''}, {size} bytes]")
        else:
            parts.append(f"[{kind} {getattr(block, 'uri', '')}]")
    if not parts and result.structured_content is not None:
        parts.append(text_of(result.structured_content))
    return not result.is_error, "\n".join(parts)[:LONGEST].encode("utf-8", "replace").decode()


class _Link:
    """What the thread holds; it knows nothing of the ``Connection``, so that a forgotten one can be collected."""

    def __init__(self, command: list[str], url: str, env: dict[str, str], headers: dict[str, str]) -> None:
        self.url, self.headers = url, headers
        self.thread = threading.Thread(target=self._work, name="milepost-mcp", daemon=True)
        self.ready, self.finished = threading.Event(), threading.Event()
        self.owner = os.getpid()
        self.loop: Any = None
        self.client: Any = None
        self.tools: tuple[Any, ...] = ()
        self.calls: set[Any] = set()
        self.process = Process(command, env)
        self.why = ""  # it is over
        self._over: asyncio.Event | None = None

    def stop(self) -> None:
        """Ends the thread; what another process inherited from a fork is not its own to end."""
        if self.owner != os.getpid() or self.thread.ident is None:
            return
        self.why = self.why or "it was closed"
        if self.loop is not None and self._over is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed already
                self.loop.call_soon_threadsafe(self._over.set)
        if threading.current_thread() is not self.thread:  # a collector may run anywhere
            self.thread.join(15)

    def _work(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as e:  # a thread has nobody to raise to
            self.why = self.why or _plainly(e)
        finally:
            self.why = self.why or "the connection ended"
            for call in list(self.calls):
                call.cancel()
            self.finished.set()
            self.ready.set()

    async def _serve(self) -> None:
        try:
            import mcp
        except ImportError:
            self.why = "mcp is not installed: pip install 'milepost[tools]'"
            return
        self.loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        if self.why:
            return
        async with contextlib.AsyncExitStack() as stack:
            if self.url:
                transport = await self._http(stack)
            else:
                folder = tempfile.mkdtemp(prefix="milepost-mcp-")
                stack.callback(shutil.rmtree, folder, True)
                transport = self.process.open(folder, self._gone)
            who = mcp.types.Implementation(name="milepost", version="1")
            main = asyncio.current_task()
            watch = asyncio.ensure_future(self._watch(main))
            stack.callback(watch.cancel)
            self.client = await stack.enter_async_context(mcp.Client(transport, cache=None, client_info=who))
            cursor = None
            for _ in range(PAGES):
                page = await self.client.list_tools(cursor=cursor)
                self.tools += tuple(page.tools)
                cursor = page.next_cursor
                if cursor is None:
                    break
            self.ready.set()
            await self._over.wait()

    def _gone(self, why: str) -> None:
        self.why = self.why or why
        assert self._over is not None
        self._over.set()

    async def _watch(self, main: Any) -> None:
        """A server that is gone, or a connection that is closed, ends the handshake too."""
        assert self._over is not None
        await self._over.wait()
        if not self.ready.is_set():
            main.cancel()

    async def _http(self, stack: contextlib.AsyncExitStack) -> Any:
        import httpx2
        from mcp.client.streamable_http import streamable_http_client

        # no proxy of the machine's: what it is told to reach is what it reaches
        limits = httpx2.Timeout(10.0, read=None)
        client = httpx2.AsyncClient(headers=self.headers, timeout=limits, trust_env=False)
        return streamable_http_client(self.url, http_client=await stack.enter_async_context(client))


def _plainly(error: BaseException) -> str:
    """The innermost error of a group, in one line."""
    while isinstance(getattr(error, "exceptions", None), tuple):
        error = error.exceptions[0]  # type: ignore[attr-defined]
    return f"{type(error).__name__}: {error}".strip(": ")[:300]
