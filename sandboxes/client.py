"""The host's side of ``server.py``: many threads share one stream, each waits for its own job.

There is no thread of our own: whoever waits and finds nobody reading reads for all. What comes may have been written by code in
the sandbox that took the server over: a frame that is none ends the connection, and no job keeps more than its sink does.
"""

from __future__ import annotations

import json
import os
import struct
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

from .base import SandboxLost, Stream
from .server import HEAD

WINDOW = 2**20  # bytes of input on their way that the server has not taken yet
PIECE = 2**16
LONGEST = 2**17  # of a frame; the server's own are half as long

Sink = Callable[[bytes, bytes], object]
"""Takes a stream's kind (O or S) and a piece of it, for whichever thread reads; what it raises ends the job."""


class Gone(Exception):
    """The server ended: it was killed from inside, or the sandbox is gone. The caller finds out which."""


class Late(Exception):
    """The server did not answer in time."""


class Job:
    """One request on its way."""

    def __init__(self, ident: int, sink: Sink) -> None:
        self.ident, self.sink = ident, sink
        self.end: dict[str, Any] | None = None  # how it ended
        self.error: BaseException | None = None  # what its sink raised
        self.flying = 0  # input bytes sent and not taken yet


def _ending(kind: bytes, payload: bytes) -> dict[str, Any]:
    """What a last frame says: {code, timed_out, truncated} or {errno, text}.

    Raises:
        ValueError, KeyError, TypeError: it is none.
    """
    said = json.loads(payload)
    if kind == b"F":
        return {"errno": int(said["errno"]), "text": str(said["text"])[:200]}
    code = said["code"]
    if isinstance(code, bool) or not isinstance(code, int) or not 0 <= code < 256:
        raise ValueError(code)
    return {"code": code, "timed_out": bool(said["timed_out"]), "truncated": bool(said["truncated"])}


class Client:
    """Speaks with one server; every method may be called from several threads.

    Args:
        stream: to a fresh server.
        proven: servers could be started there before: if this one cannot, code inside is why, and that is ``Gone`` too.
    """

    def __init__(self, stream: Stream, *, proven: bool = False) -> None:
        self._stream = stream
        self._owner = os.getpid()
        self._jobs: dict[int, Job] = {}
        self._next = 0
        self._turn = threading.Condition()  # guards all of this but sending
        self._sending = threading.Lock()
        self._reading = False
        self._buffer = bytearray()
        self._closed = False
        self.greeted = proven
        self.gone = False

    def begin(self, kind: bytes, order: Mapping[str, Any], sink: Sink) -> Job:
        """Sends a request: R, G or P.

        Raises:
            Gone.
        """
        with self._turn:
            self._next = (self._next + 1) % 2**32
            job = self._jobs[self._next] = Job(self._next, sink)
        self._send(kind, job, json.dumps(order).encode())
        return job

    def feed(self, job: Job, data: Iterable[bytes], *, deadline: float | None) -> None:
        """Sends input piece by piece, never more ahead than the server takes, until the job ends.

        Raises:
            Gone, Late.
        """
        for block in data:
            for i in range(0, len(block), PIECE):
                piece = block[i : i + PIECE]
                self.wait(job, deadline, lambda: job.flying < WINDOW)
                if job.end is not None:
                    return
                with self._turn:
                    job.flying += len(piece)
                self._send(b"I", job, piece)
        self._send(b"E", job)

    def say(self, job: Job, data: bytes) -> None:
        """Sends input and keeps it open, for a shell."""
        self._send(b"I", job, data)

    def kill(self, job: Job) -> None:
        """Asks the server to end a command's process tree, or to stop with a file."""
        self._send(b"K", job)

    def wait(self, job: Job, deadline: float | None, ready: Callable[[], bool] = lambda: False) -> None:
        """Waits until a job has ended, or something else is so.

        Raises:
            Gone: the server ended; what came before went to the sink.
            Late: it was not so at the deadline (``time.monotonic()``).
            BaseException: what the sink raised.
        """
        self._until(lambda: job.end is not None or job.error is not None or ready(), deadline)
        if job.error is not None:
            raise job.error

    def alive(self) -> bool:
        """False where the server has ended; takes what has come without waiting for more."""
        with self._turn:
            for _ in range(8):
                if self.gone or self._reading or self._owner != os.getpid():
                    break
                try:
                    if not self._stream.wait(0):
                        break
                    self._take(self._stream.recv())
                except (OSError, ValueError):
                    self.gone = True
            return not self.gone

    def forget(self, job: Job) -> None:
        """Throws away what still comes for a job."""
        with self._turn:
            self._jobs.pop(job.ident, None)

    def close(self) -> None:
        """Ends the server, and with it what it started. Waiting threads get ``Gone``."""
        with self._turn:
            self.gone = self._closed = True
            self._turn.notify_all()
        if self._owner == os.getpid():  # else it is the parent's, who goes on using it
            self._stream.close()

    def _send(self, kind: bytes, job: Job, data: bytes = b"") -> None:
        self._mine()
        try:
            with self._sending:
                if self.gone:
                    self._lost()
                self._stream.send(HEAD.pack(kind[0], job.ident, len(data)) + data)
        except (OSError, ValueError):
            self.alive()  # its greeting may have come before its end
            with self._turn:
                self.gone = True
            self._lost()

    def _mine(self) -> None:
        if self._owner != os.getpid():
            raise SandboxLost("this sandbox belongs to another process: make one after the fork")

    def _lost(self) -> NoReturn:
        if not self.greeted and not self._closed:
            raise SandboxLost("the sandbox is there, but nothing can be started in it")
        raise Gone

    def _until(self, ready: Callable[[], bool], deadline: float | None) -> None:
        self._mine()
        with self._turn:
            while not ready():
                if self.gone:
                    self._lost()
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    raise Late
                if self._reading:
                    self._turn.wait(left)
                    continue
                self._reading = True
                self._turn.release()
                data: bytes | None = None
                try:
                    if self._stream.wait(left):
                        data = self._stream.recv()
                except (OSError, ValueError):
                    data = b""
                finally:
                    self._turn.acquire()
                    self._reading = False
                    if data is not None:
                        self._take(data)
                    self._turn.notify_all()

    def _take(self, data: bytes) -> None:
        """Hands out frames; called with the lock held."""
        if not data:
            self.gone = True
            return
        self._buffer += data
        start = 0
        while len(self._buffer) - start >= HEAD.size:
            code, ident, n = HEAD.unpack_from(self._buffer, start)
            if n > LONGEST:
                self.gone = True
                break
            if len(self._buffer) - start < HEAD.size + n:
                break
            payload = bytes(self._buffer[start + HEAD.size : start + HEAD.size + n])
            start += HEAD.size + n
            self.greeted = True
            job = self._jobs.get(ident)
            if job is not None:
                try:
                    self._hand(bytes([code]), job, payload)
                except (ValueError, KeyError, TypeError, RecursionError, struct.error):
                    self.gone = True
                    break
        del self._buffer[:start]

    def _hand(self, kind: bytes, job: Job, payload: bytes) -> None:
        """One frame; raises where it is none."""
        if kind in (b"O", b"S"):
            try:
                job.sink(kind, payload)
            except BaseException as e:
                job.error = e
                del self._jobs[job.ident]
        elif kind == b"A":
            job.flying -= struct.unpack(">I", payload)[0]
        elif kind in (b"X", b"F"):
            job.end = _ending(kind, payload)
            del self._jobs[job.ident]
        else:
            raise ValueError(kind)
