"""A warm Python that forks a child for each program: runs inside of a sandbox, from its text, with the standard library alone.

It reads frames from one file and writes frames to another: 4 bytes of length, then JSON.

    order    {programs: those before, without output, and the one; fresh: forget all first; keep: the child lives on;
              timeout: seconds of each; most: characters of output; memory: bytes of the child}
    answer   {end: "done", "late", "died", or "dirty": it was not run; code: its exit code where it died; text: output and
              errors; lost: what a child left cannot be removed, and we end now: the host is to put the sandbox back}

It trusts no program: a child has none of its files, may not look into it (PR_SET_DUMPABLE), and what a child leaves behind,
processes, files and shared memory, is removed before the next one. Between two programs a child's process group is stopped.
A program may kill it: the host then puts the sandbox back and starts another.
"""

from __future__ import annotations

import ast
import bisect  # noqa: F401  programs find these loaded; each costs pages that a fork copies, so that not all of them are here
import collections  # noqa: F401
import contextlib
import copy  # noqa: F401
import ctypes
import datetime  # noqa: F401
import decimal  # noqa: F401
import fractions  # noqa: F401
import functools  # noqa: F401
import gc
import heapq  # noqa: F401
import itertools  # noqa: F401
import json
import linecache
import math
import operator  # noqa: F401
import os
import random
import re  # noqa: F401
import resource
import select
import signal
import string  # noqa: F401
import sys
import time
import traceback
from collections.abc import Iterator

TYPE_CHECKING = False  # importing typing for it costs pages too
if TYPE_CHECKING:
    from typing import Any

FILE = "<python>"
PLACES = (".", "/tmp", "/dev/shm")
PATIENCE = 2.0  # seconds for removing files: to put the whole sandbox back is quicker then
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_libc = ctypes.CDLL(None)
_prctl = _libc.prctl


def read(fd: int) -> Any:
    """One frame, None at the end."""
    data = b""
    need = 4
    while len(data) < need:
        piece = os.read(fd, min(need - len(data), 65536))
        if not piece:
            return None
        data += piece
        if len(data) == 4 == need:
            need += int.from_bytes(data, "big")
    return json.loads(data[4:])


def write(fd: int, said: object) -> None:
    """One frame."""
    data = json.dumps(said).encode()
    data = len(data).to_bytes(4, "big") + data
    while data:
        data = data[os.write(fd, data) :]


# -- the child ---------------------------------------------------------------------------------------
def execute(program: str, space: dict[str, Any]) -> None:
    """Runs a program; the value of a last expression is shown, as a notebook does. What it raises is written to stderr."""
    linecache.cache[FILE] = (len(program), None, program.splitlines(True), FILE)
    try:
        tree = ast.parse(program, FILE)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, FILE, "exec"), space)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), FILE, "eval"), space)  # type: ignore[attr-defined]
            if value is not None:
                print(repr(value))
    except SystemExit as e:
        if e.code not in (None, 0):
            print(e.code, file=sys.stderr)
    except BaseException as e:
        at = e.__traceback__
        while at is not None and at.tb_frame.f_code.co_filename != FILE:
            at = at.tb_next
        traceback.print_exception(type(e), e, at)


def live(orders: int, done: int, output: int, memory: int) -> None:
    """Runs one program after the other until the other side closes. A copy that a program forks ends with that program."""
    os.setsid()
    me = os.getpid()
    _prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
    for fd, to in ((output, 1), (output, 2), (orders, 30), (done, 31)):
        os.dup2(fd, to)
    os.closerange(3, 30)
    os.closerange(32, 4096)
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_MSGQUEUE, (0, 0))  # POSIX queues outlive processes, and nothing lists them
    random.seed(0)  # the same programs give the same output
    space: dict[str, Any] = {"__name__": "__main__", "exit": sys.exit, "quit": sys.exit}
    while (program := read(30)) is not None:
        execute(program, space)
        with contextlib.suppress(Exception):  # it may have closed or replaced them
            sys.stdout.flush()
            sys.stderr.flush()
        if os.getpid() != me:
            os._exit(0)
        os.write(31, b".")


class Child:
    """A forked interpreter."""

    def __init__(self, memory: int) -> None:
        orders, self.orders = os.pipe()
        self.done, done = os.pipe()
        self.out, output = os.pipe()
        self.used = False
        self.pid = os.fork()
        if not self.pid:
            try:
                live(orders, done, output, memory)
            finally:
                os._exit(0)
        for fd in (orders, done, output):
            os.close(fd)
        os.set_blocking(self.out, False)
        self._poll = select.poll()
        for fd in (self.out, self.done):
            self._poll.register(fd, select.POLLIN)

    def run(self, program: str, timeout: float, most: int) -> dict[str, Any]:
        """Runs a program to its end or to the timeout."""
        self.used = True
        kept = Kept(most)
        deadline = time.monotonic() + timeout
        try:
            self.signal(signal.SIGCONT)
            write(self.orders, program)
        except OSError:
            return {"end": "died", "code": self.code(), "text": ""}
        end = ""
        while not end:
            left = deadline - time.monotonic()
            ready = dict(self._poll.poll(max(0, math.ceil(left * 1000))))
            if self.out in ready and not self.drain(kept, 16):
                self._poll.unregister(self.out)  # it closed all ends of it
            if self.done in ready:
                end = "done" if self.told() else "died"
            elif left <= 0:
                end = "late"
        if end == "done":  # or threads, and what only said that it is done, would go on without a limit of time
            self.signal(signal.SIGSTOP)
        self.drain(kept, 64)
        return {"end": end, "code": self.code() if end == "died" else 0, "text": kept.text()}

    def signal(self, number: int) -> None:
        """To all of its process group."""
        with contextlib.suppress(OSError):
            os.killpg(self.pid, number)

    def told(self) -> bool:
        """The program is over, and the child is still there."""
        try:
            return os.read(self.done, 1) == b"."
        except OSError:
            return False

    def drain(self, kept: Kept, most: int) -> bool:
        """Reads what there is of the output; False at its end."""
        for _ in range(most):
            try:
                data = os.read(self.out, 65536)
            except BlockingIOError:
                return True
            if not data:
                return False
            kept.add(data)
        return True

    def code(self) -> int:
        """Its exit code, as a shell says it."""
        with contextlib.suppress(OSError):
            os.kill(self.pid, signal.SIGKILL)
        try:
            status = os.waitpid(self.pid, 0)[1]
        except OSError:
            return 137
        return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)

    def close(self) -> None:
        """Kills it with what is in its process group still; ``Places.clear`` ends the others."""
        self.signal(signal.SIGKILL)  # at once: of many that fork, each killed alone, some get away
        for fd in (self.orders, self.done, self.out):
            os.close(fd)


class Kept:
    """Output: its beginning and its end."""

    def __init__(self, most: int) -> None:
        self.half, self.head, self.tail, self.size = most // 2, b"", b"", 0

    def add(self, data: bytes) -> None:
        """Takes a piece."""
        self.size += len(data)
        room = self.half - len(self.head)
        self.head += data[:room]
        rest = self.tail + data[room:]
        self.tail = rest[max(0, len(rest) - self.half) :]

    def text(self) -> str:
        """What was kept."""
        left = self.size - len(self.head) - len(self.tail)
        between = f"\n... {left} bytes left out ...\n".encode() if left else b""
        return (self.head + between + self.tail).decode("utf-8", "replace")


# -- the parent --------------------------------------------------------------------------------------
def children() -> Iterator[int]:
    """Processes whose parent we are: children, and orphans that came to us."""
    with open(f"/proc/self/task/{os.getpid()}/children") as f:
        yield from map(int, f.read().split())


class Places:
    """The folders that programs may write to, as they were at first."""

    def __init__(self) -> None:
        self._fds = [os.open(p, _DIRECTORY) for p in PLACES if os.path.isdir(p)]
        self._modes = [os.stat(fd).st_mode & 0o7777 for fd in self._fds]

    def clear(self) -> bool:
        """Ends all processes below us and removes all that they left; False where that cannot be done, or not in time."""
        for _ in range(50):
            left = list(children())
            if not left:
                break
            for pid in left:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            for pid in left:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, 0)
        else:
            return False
        deadline = time.monotonic() + PATIENCE
        try:
            for fd, mode in zip(self._fds, self._modes):
                mine = os.stat(fd).st_uid == os.geteuid()
                if mine:
                    os.chmod(fd, 0o700)
                empty(fd, deadline)
                if mine:  # what can be written on the folder itself goes, too
                    for name in os.listxattr(fd):
                        if not name.startswith("security."):
                            os.removexattr(fd, name)
                    os.chmod(fd, mode)
                    os.utime(fd, (0, 0))
        except OSError:
            return False
        return not shared(remove=True) or not shared()


def empty(top: int, deadline: float) -> None:
    """Removes all that is in an open folder, however deep it is, with no more than two open at a time.

    Raises:
        OSError: something cannot be removed, or not until the deadline.
    """
    fd = os.dup(top)
    try:
        left = [thin(fd, deadline)]
        while left[-1] or len(left) > 1:
            if left[-1]:
                os.chmod(left[-1][-1], 0o700, dir_fd=fd)
                to = os.open(left[-1][-1], _DIRECTORY, dir_fd=fd)
            else:
                to = os.open("..", _DIRECTORY, dir_fd=fd)
            os.close(fd)
            fd = to
            if left[-1]:
                left.append(thin(fd, deadline))
            else:
                left.pop()
                os.rmdir(left[-1].pop(), dir_fd=fd)
    finally:
        os.close(fd)


def thin(fd: int, deadline: float) -> list[str]:
    """Removes files and empty folders of a folder; names of the other folders."""
    full = []
    for name in os.listdir(fd):
        if time.monotonic() > deadline:
            raise TimeoutError
        try:
            os.unlink(name, dir_fd=fd)
        except IsADirectoryError:
            try:
                os.rmdir(name, dir_fd=fd)
            except OSError:
                full.append(name)
    return full


def shared(remove: bool = False) -> bool:
    """Is there System V memory, a semaphore or a queue? They outlive processes."""
    found = False
    for kind in ("shm", "sem", "msg"):
        with contextlib.suppress(OSError), open(f"/proc/sysvipc/{kind}") as f:
            for line in f.readlines()[1:]:
                found = True
                ident = int(line.split()[1])
                if remove and kind == "sem":
                    _libc.semctl(ident, 0, 0)  # IPC_RMID
                elif remove:
                    getattr(_libc, f"{kind}ctl")(ident, 0, None)
    return found


def main() -> None:
    """Serves until the other side closes."""
    inlet, outlet = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(nothing, fd)
    _prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
    _prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE
    for name, fd in (("stdout", 1), ("stderr", 2)):
        file = open(fd, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)
        setattr(sys, name, file)
        setattr(sys, f"__{name}__", file)
    for program in ("1", "1 / 0"):  # what a first program sets up is there for all, and no page of it is copied
        execute(program, {})
    places = Places()
    if not places.clear():
        return
    gc.collect()
    gc.freeze()
    child: Child | None = None
    while (order := read(inlet)) is not None:
        if child is not None and child.used and order["fresh"]:
            child.close()
            child = None
            if not places.clear():
                write(outlet, {"end": "dirty", "code": 0, "text": "", "lost": True})
                return
        child = child or Child(order["memory"])
        answer: dict[str, Any] = {}
        for n, program in enumerate(order["programs"], 1):
            answer = child.run(program, order["timeout"], order["most"] if n == len(order["programs"]) else 0)
            if answer["end"] != "done":
                break
        if answer["end"] != "done":
            child.close()
            answer["lost"] = not places.clear()
        write(outlet, answer)
        if answer.get("lost"):
            return
        if answer["end"] == "done" and not order["keep"]:
            child.close()
            if not places.clear():
                return
        elif answer["end"] == "done":
            continue
        child = Child(order["memory"])  # ready before it is asked for


if __name__ == "__main__":
    main()
