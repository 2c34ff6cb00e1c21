"""The first process of a Docker sandbox: starts servers, ends processes, lists and makes the tree, as the host orders.

It reads orders from its standard input and answers on its standard output, to which the host is attached; when the input
ends, so does the container. Code in the sandbox runs as the same user and still cannot harm it: the kernel lets no signal
through to the first process of a namespace, its memory and descriptors are out of reach because it is not dumpable, and
``guard`` keeps its limits. It needs no file of the sandbox but the read-only Python, and its text is sent to whatever engine
there is (Python 3.7 is enough).

An order is a frame: kind (1 byte), channel (4), length (4), payload. An order that is answered gets A, or F (OSError).

    to it      N start a server on a channel {rlimits}    D bytes for the server    C end it
               K kill all processes: A {used}    S list the tree {path, most}: A list
               R read {path, file, most}: B... A {size, sha}
               L kill all, make the tree {path, tree, empty}: A digests of what is missing; the host sends all of it, bare; A
    from it    H hello    D bytes of a server    C it ended    B bytes of a file    A, F
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import json
import os
import resource
import select
import signal
import socket
import struct
import sys
import time
from typing import Any

from . import server
from .docker_tree import CHUNK, Making, Reach, empty, pieces, raw, scan
from .server import HEAD

HIGH = 2**18  # with so many bytes waiting to be sent, nothing more is read from servers
INODE = 2048  # bytes of memory that a file takes beside its content


# -- processes ---------------------------------------------------------------------------------------
def kill_all(seconds: float = 20) -> None:
    """Every process of the sandbox but this one. The kernel marks them all at one moment: none can fork away.

    Raises:
        TimeoutError: they do not end.
    """
    start = time.monotonic()
    while True:
        try:
            os.kill(-1, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):  # nobody is left, or an administrator's process
            return
        spent = time.monotonic() - start
        if spent > 1 and not any(_ours(int(n)) for n in os.listdir("/proc") if n.isdigit() and n != "1"):
            return
        if spent > seconds:
            raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
        time.sleep(0.0005)


def _ours(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def clear_ipc() -> None:
    """Removes what outlives its processes: System V memory, semaphores and queues, POSIX queues."""
    libc = ctypes.CDLL(None)
    for kind in ("shm", "sem", "msg"):
        try:
            with open("/proc/sysvipc/" + kind) as f:
                idents = [int(line.split()[1]) for line in f.readlines()[1:]]
        except (OSError, IndexError, ValueError):
            continue
        for ident in idents:  # 0: IPC_RMID
            if kind == "sem":
                libc.semctl(ident, 0, 0)
            else:
                getattr(libc, kind + "ctl")(ident, 0, None)
    empty(b"/dev/mqueue")


def guard() -> None:
    """Forbids this process and its children prlimit(2) on others, with which they could starve the first process."""
    calls = {
        "x86_64": ((0xC000003E, 302), (0xC000003E, 0x4000012E), (0x40000003, 340)),
        "aarch64": ((0xC00000B7, 261), (0x40000028, 369)),
    }
    code = b""
    for arch, number in calls.get(os.uname().machine, ()):
        for op, yes, no, value in (
            (0x20, 0, 0, 4),  # load the architecture
            (0x15, 0, 5, arch),
            (0x20, 0, 0, 0),  # the call
            (0x15, 0, 3, number),
            (0x20, 0, 0, 16),  # its first argument: a process, 0 is the caller
            (0x15, 1, 0, 0),
            (0x06, 0, 0, 0x00050000 | errno.EPERM),
        ):
            code += struct.pack("=HBBI", op, yes, no, value)
    code += struct.pack("=HBBI", 0x06, 0, 0, 0x7FFF0000)  # allow all else
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("@HP", len(code) // 8, ctypes.addressof(buffer))
    ctypes.CDLL(None).prctl(22, 2, program, 0, 0)  # PR_SET_SECCOMP, which exec keeps


def serve(fd: int, limits: dict[str, int]) -> None:
    """Becomes a server: nothing of the first process is kept but one stream."""
    os.setsid()
    os.dup2(fd, 3)
    null = os.open("/dev/null", os.O_RDWR)
    for n in (0, 1, 2):
        os.dup2(null, n)
    os.closerange(4, 1024)
    for number in (signal.SIGINT, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    libc = ctypes.CDLL(None)
    libc.prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE for a moment, else this file is root's
    try:
        with open("/proc/self/oom_score_adj", "w") as f:  # where memory is short, this goes before the first process
            f.write("500")
    except OSError:
        pass
    libc.prctl(4, 0, 0, 0, 0)
    for name, value in limits.items():
        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))
    guard()
    os.environ.clear()
    server.main(3, 3)


# -- the loop ----------------------------------------------------------------------------------------
class First:
    """The first process; ``mounts`` are the places that can be written."""

    def __init__(self, mounts: list[str]) -> None:
        self.mounts = mounts
        self.servers: dict[int, int] = {}  # descriptor -> channel
        self.waiting: dict[int, tuple[int, bytearray]] = {}  # channel -> descriptor, what it has not taken yet
        self.inbox, self.outbox = bytearray(), bytearray()
        for fd in (0, 1):
            os.set_blocking(fd, False)
            try:
                fcntl.fcntl(fd, 1031, 2**20)  # F_SETPIPE_SZ
            except OSError:
                pass

    def say(self, kind: bytes, channel: int, data: bytes = b"") -> None:
        """Sends what can be sent at once."""
        self.outbox += HEAD.pack(kind[0], channel, len(data)) + data
        self.flush()

    def answer(self, channel: int, said: Any) -> None:
        """An order was carried out."""
        self.say(b"A", channel, json.dumps(said).encode())

    def flush(self) -> None:
        """Writes what the host takes."""
        try:
            while self.outbox:
                del self.outbox[: os.write(1, self.outbox)]
        except BlockingIOError:
            pass

    def drain(self, left: int) -> None:
        """Waits until no more than so many bytes wait to be sent."""
        while len(self.outbox) > left:
            select.select([], [1], [])
            self.flush()

    def run(self) -> None:
        """Until the host is gone."""
        going = True
        while going:
            poll = select.poll()
            poll.register(0, select.POLLIN)
            if self.outbox:
                poll.register(1, select.POLLOUT)
            for fd, channel in self.servers.items():
                events = select.POLLIN if len(self.outbox) < HIGH else 0
                poll.register(fd, events | (select.POLLOUT if self.waiting[channel][1] else 0))
            for fd, events in poll.poll():
                if fd == 0:
                    going = self.receive()
                elif fd == 1:
                    self.flush()
                elif fd in self.servers:
                    if events & select.POLLOUT:
                        self.feed(self.servers[fd])
                    if events & ~select.POLLOUT and fd in self.servers:
                        self.relay(fd)

    def receive(self) -> bool:
        """Orders that came; False when there will be no more."""
        try:
            data = os.read(0, 4 * CHUNK)
        except BlockingIOError:
            return True
        self.inbox += data
        while len(self.inbox) >= HEAD.size:
            kind, channel, n = HEAD.unpack_from(self.inbox)
            if len(self.inbox) < HEAD.size + n:
                break
            payload = bytes(self.inbox[HEAD.size : HEAD.size + n])
            del self.inbox[: HEAD.size + n]
            try:
                self.act(bytes([kind]), channel, payload)
            except OSError as e:
                text = json.dumps({"errno": e.errno or errno.EIO, "text": os.strerror(e.errno or errno.EIO)})
                self.say(b"F", channel, text.encode())
        return bool(data)

    def act(self, kind: bytes, channel: int, payload: bytes) -> None:
        """One order."""
        if kind == b"D":
            if channel in self.waiting:
                self.waiting[channel][1].extend(payload)
                self.feed(channel)
        elif kind == b"C":
            self.drop(channel)
        elif kind == b"N":
            self.start(channel, json.loads(payload.decode()))
        elif kind == b"K":
            self.kill()
            self.answer(channel, {"used": self.used()})
        elif kind == b"L":
            self.make(channel, json.loads(payload.decode()))
        else:
            order = json.loads(payload.decode())
            path, most = raw(order["path"]), order["most"]
            if kind == b"S":
                self.answer(channel, scan(path, most=most, inside=True))
            else:
                self.read(channel, path, raw(order["file"]), most)

    # -- servers ---------------------------------------------------------------------------------
    def start(self, channel: int, limits: dict[str, int]) -> None:
        """A server in a process of its own."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            if not os.fork():
                try:
                    serve(theirs.detach(), limits)
                finally:
                    os._exit(0)
            ours.setblocking(False)
            fd = ours.detach()
        self.servers[fd], self.waiting[channel] = channel, (fd, bytearray())

    def feed(self, channel: int) -> None:
        """Gives a server what waits for it."""
        fd, data = self.waiting[channel]
        try:
            while data:
                del data[: os.write(fd, data)]
        except BlockingIOError:
            pass
        except OSError:
            self.drop(channel)

    def relay(self, fd: int) -> None:
        """Sends on what a server says."""
        try:
            data = os.read(fd, CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self.say(b"D", self.servers[fd], data)
        else:
            self.drop(self.servers[fd])

    def drop(self, channel: int) -> None:
        """A server ended, or should."""
        if channel in self.waiting:
            fd, _ = self.waiting.pop(channel)
            del self.servers[fd]
            os.close(fd)
            self.say(b"C", channel)

    def kill(self) -> None:
        """Ends all but this process."""
        kill_all()
        for channel in list(self.waiting):
            self.drop(channel)

    # -- the tree --------------------------------------------------------------------------------
    def used(self) -> int:
        """Bytes of memory that files take."""
        total = 0
        for mount in self.mounts:
            s = os.statvfs(mount)
            total += (s.f_blocks - s.f_bfree) * s.f_frsize + (s.f_files - s.f_ffree) * INODE
        return total

    def read(self, channel: int, root: bytes, path: bytes, most: int) -> None:
        """Sends a file, then what it was: it may have changed since the tree was listed."""
        size, sha, reach = 0, hashlib.sha256(), Reach()
        try:
            reach.along(root, path)
            for data in pieces(os.path.join(root, path), Reach()):
                size += len(data)
                if size > most:
                    raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
                sha.update(data)
                self.say(b"B", channel, data)
                self.drain(HIGH)
        finally:
            reach.back()
        self.answer(channel, {"size": size, "sha": sha.hexdigest()})

    def make(self, channel: int, order: dict[str, Any]) -> None:
        """Makes the tree; nothing else is done meanwhile."""
        self.kill()
        for folder in order["empty"]:
            empty(raw(folder))
        clear_ipc()
        making = Making(raw(order["path"]), order["tree"])
        self.answer(channel, making.need)
        self.drain(0)
        os.set_blocking(0, True)
        try:
            making.fill(self.bare)
        finally:
            os.set_blocking(0, False)
        making.finish()
        self.answer(channel, None)

    def bare(self, most: int) -> bytes:
        """The next bytes from the host, which are no frame."""
        if self.inbox:
            data = bytes(self.inbox[:most])
            del self.inbox[:most]
            return data
        data = os.read(0, most)
        if not data:
            sys.exit()
        return data


def main(mounts: list[str]) -> None:
    """Serves the host until it is gone."""
    for number in (signal.SIGCHLD, signal.SIGINT):  # who ignores SIGCHLD leaves no zombies of orphans
        signal.signal(number, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE
    os.umask(0)
    first = First(mounts)
    bash = any(os.access(f"{p}/bash", os.X_OK) for p in os.get_exec_path())
    first.say(b"H", 0, json.dumps({"bash": bash}).encode())
    first.run()
