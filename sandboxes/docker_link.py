"""The host's end of a container's attached streams: many threads, one socket, orders and the bytes of servers.

There is no thread of our own: whoever waits and finds nobody reading reads for all.
"""

from __future__ import annotations

import json
import os
import select
import ssl
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from .base import SandboxLost
from .server import HEAD

PATIENCE = 10.0  # seconds that the other side may take nothing
PIECE = 2**18
MOST = 2**28  # bytes of a server that may wait here while others read


class Failed(OSError):
    """The order could not be carried out inside."""


# a channel's kind and data are appended and taken in this order, so that whoever sees data finds its kind


class Link:
    """Speaks with ``docker_inside`` over the socket of an attach request, be it a unix socket, TCP or TLS."""

    def __init__(self, sock: Any, name: str) -> None:
        self._sdk = sock  # holds the response, and that the socket
        self._socket = getattr(sock, "_sock", sock)
        self._tls = isinstance(self._socket, ssl.SSLSocket)
        self._socket.settimeout(PATIENCE)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        self._name = name
        self._owner = os.getpid()
        self._turn = threading.Condition()  # guards all but sending
        self._sending = threading.Lock()
        self._making = threading.Lock()
        self._reading = False
        self._raw, self._frames = bytearray(), bytearray()
        self._errors = bytearray()
        self._channels: dict[int, Channel] = {0: Channel(self, 0)}
        self._next = 0
        self.gone = False

    # -- sending ---------------------------------------------------------------------------------
    def send(self, kind: bytes, channel: int, data: bytes = b"") -> None:
        """Sends an order.

        Raises:
            SandboxLost: the container is gone, or takes nothing.
        """
        if os.getpid() != self._owner:
            raise SandboxLost("this sandbox belongs to another process: make one after the fork")
        with self._sending:
            self._send(HEAD.pack(kind[0], channel, len(data)) + data)

    def _send(self, data: bytes) -> None:
        """Sends bare bytes; called with the lock held."""
        if self.gone:
            raise self.lost()
        left = memoryview(data)
        try:
            while left:
                left = left[self._socket.send(left) :]
        except (OSError, ValueError):
            self._end()
            raise self.lost() from None

    def lost(self) -> SandboxLost:
        """The error that says so."""
        said = self._errors.decode("utf-8", "replace").strip()
        return SandboxLost(
            f"the container {self._name} is gone: it was removed, or its engine stopped{f' ({said})' if said else ''}"
        )

    # -- reading ---------------------------------------------------------------------------------
    def until(self, ready: Callable[[], bool], deadline: float | None) -> bool:
        """Reads until something is so, or the link is gone (True), or the time is over (False)."""
        with self._turn:
            late = False
            while not ready() and not self.gone:
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                if late or (self._reading and left == 0):
                    return False
                if self._reading:
                    self._turn.wait(left)
                    continue
                late = left == 0  # looks once even then
                self._reading = True
                self._turn.release()
                data: bytes | None = None
                try:
                    data = self._receive(left)
                except (OSError, ValueError):
                    data = b""
                finally:
                    self._turn.acquire()
                    self._reading = False
                    if data is not None:
                        self._take(data)
                    self._turn.notify_all()
        return True

    def _receive(self, seconds: float | None) -> bytes | None:
        if self._tls:
            with self._sending:  # OpenSSL reads and writes one connection in turn
                if self._socket.pending():
                    data: bytes = self._socket.recv(PIECE)
                    return data
        if not self._poll.poll(None if seconds is None else seconds * 1000):
            return None
        if self._tls:
            with self._sending:
                self._socket.settimeout(0)
                try:
                    return bytes(self._socket.recv(PIECE))
                except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    return None  # half a record
                finally:
                    self._socket.settimeout(PATIENCE)
        return bytes(self._socket.recv(PIECE))

    def _take(self, data: bytes) -> None:
        """Hands out what came; called with the lock held."""
        if not data:
            self.gone = True
            return
        self._raw += data
        start = 0
        while len(self._raw) - start >= 8:  # the engine's own frames: stream, three zeros, length
            stream, n = struct.unpack_from(">BxxxI", self._raw, start)
            if len(self._raw) - start < 8 + n:
                break
            (self._errors if stream == 2 else self._frames).extend(self._raw[start + 8 : start + 8 + n])
            start += 8 + n
        del self._raw[:start], self._errors[:-2000]
        start = 0
        while len(self._frames) - start >= HEAD.size:
            kind, ident, n = HEAD.unpack_from(self._frames, start)
            if len(self._frames) - start < HEAD.size + n:
                break
            payload = bytes(self._frames[start + HEAD.size : start + HEAD.size + n])
            start += HEAD.size + n
            channel = self._channels.get(ident)
            if channel is None:
                continue  # nobody waits for it any more
            if kind == ord("C"):
                channel.ended = True
            elif not channel.ended:
                channel.kinds.append(kind)
                channel.data.append(payload)
                channel.size += n
                if kind == ord("D") and channel.size > MOST:  # an honest server sends what was asked for
                    channel.ended = True
        del self._frames[:start]

    # -- orders ----------------------------------------------------------------------------------
    def hello(self, seconds: float) -> dict[str, Any]:
        """What the first process says when it has started.

        Raises:
            SandboxLost: it did not start.
        """
        said: dict[str, Any] = json.loads(self._answer(self._channels[0], seconds)[1])
        return said

    def ask(
        self, kind: bytes, order: Any = None, *, seconds: float = 60.0, pieces: Callable[[bytes], object] | None = None
    ) -> Any:
        """Gives an order and waits until it is carried out; ``pieces`` takes the bytes of a file.

        Raises:
            Failed: it could not be carried out.
            SandboxLost: the container is gone, or does not answer within ``seconds`` and is given up.
        """
        channel = self._channel()
        try:
            self.send(kind, channel.ident, json.dumps(order).encode())
            while True:
                what, data = self._answer(channel, seconds)
                if what == ord("A"):
                    return json.loads(data)
                if pieces is not None:
                    pieces(data)
        finally:
            self.forget(channel)

    def make(self, order: Any, contents: Callable[[str], Iterable[bytes]], *, seconds: float = 120.0) -> None:
        """Gives the order L and brings the contents that are missing, by their digests.

        Raises:
            Failed, SandboxLost: as ``ask``.
        """
        channel = self._channel()
        with self._making:
            try:
                self.send(b"L", channel.ident, json.dumps(order).encode())
                for sha in json.loads(self._answer(channel, seconds)[1]):
                    for data in contents(sha):
                        with self._sending:
                            self._send(data)
                self._answer(channel, seconds)
            except Failed:
                raise
            except BaseException:  # half a tree, which nobody may take for a whole one
                self._end()
                raise
            finally:
                self.forget(channel)

    def _answer(self, channel: Channel, seconds: float) -> tuple[int, bytes]:
        if not self.until(lambda: bool(channel.data), time.monotonic() + seconds):
            self._errors += b"it does not answer"
            self._end()
        with self._turn:
            if not channel.data:
                raise self.lost()
            kind, data = channel.kinds.popleft(), channel.data.popleft()
        if kind == ord("F"):
            said = json.loads(data)
            raise Failed(said["errno"], said["text"])
        return kind, data

    def _channel(self) -> Channel:
        with self._turn:
            self._next += 1
            channel = self._channels[self._next] = Channel(self, self._next)
            return channel

    def open(self, limits: dict[str, int]) -> Channel:
        """A stream to a new server.

        Raises:
            SandboxLost: as ``send``.
        """
        channel = self._channel()
        self.send(b"N", channel.ident, json.dumps(limits).encode())
        return channel

    def forget(self, channel: Channel) -> None:
        """Throws away what still comes for a stream, and wakes who waits for it."""
        with self._turn:
            self._channels.pop(channel.ident, None)
            channel.ended = True
            self._turn.notify_all()

    def _end(self) -> None:
        with self._turn:
            self.gone = True
            self._turn.notify_all()

    def close(self) -> None:
        """Lets go: the engine closes the container's input, and that ends it."""
        self._end()
        try:
            self._socket.shutdown(2)
        except OSError:
            pass
        for thing in (getattr(self._sdk, "_response", None), self._sdk, self._socket):
            try:
                if thing is not None:
                    thing.close()
            except (OSError, ValueError):
                pass


class Channel:
    """A stream to one server; see ``base.Stream``."""

    def __init__(self, link: Link, ident: int) -> None:
        self._link, self.ident = link, ident
        self.data: deque[bytes] = deque()
        self.kinds: deque[int] = deque()
        self.size = 0  # of data
        self.ended = False

    def wait(self, seconds: float | None) -> bool:
        """See ``base.Stream.wait``."""
        deadline = None if seconds is None else time.monotonic() + seconds
        return self._link.until(lambda: self.ended or bool(self.data), deadline)

    def send(self, data: bytes) -> None:
        """See ``base.Stream.send``."""
        if self.ended:
            raise BrokenPipeError("the server ended")
        try:
            self._link.send(b"D", self.ident, data)
        except SandboxLost as e:
            raise BrokenPipeError(str(e)) from None

    def recv(self) -> bytes:
        """See ``base.Stream.recv``."""
        if not self.data:
            return b""
        kind = self.kinds.popleft()
        data = self.data.popleft()
        self.size -= len(data)
        return data if kind == ord("D") else b""  # F: it could not be started

    def close(self) -> None:
        """See ``base.Stream.close``."""
        if not self.ended and not self._link.gone:
            try:
                self._link.send(b"C", self.ident)
            except SandboxLost:
                pass
        self._link.forget(self)
