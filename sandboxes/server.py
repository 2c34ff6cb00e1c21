"""The one program that runs inside a sandbox: starts commands, carries their streams, ends their process trees.

It reads frames from one file descriptor and writes frames to another: kind (1 byte), id (4), length (4), payload. It trusts
nobody and is trusted by nobody: code in the sandbox can kill or stop it, and the host then kills all processes inside and
starts another. It is a file without imports from milepost, because providers also send its text into images that hold an
older Python (3.7 is enough).

    to the server    R run {argv, cwd, env, timeout, output}    G get {path}    P put {path, mode}
                     I input bytes    E end of input    K kill
    from the server  H it has started    O, S bytes of stdout, stderr or a file (O)    A input bytes taken
                     X ended {code, timed_out, truncated}    F OSError {errno, text}
"""

from __future__ import annotations

import errno
import json
import math
import os
import select
import signal
import stat
import struct
import subprocess
import sys
import time
from collections import deque
from typing import Any

HEAD = struct.Struct(">BII")
CHUNK = 65536
HIGH = 2**22  # with so many bytes waiting to be sent, nothing more is read from commands and files
ROUNDS = 16  # of looking again before what came is sent
BASH_EXIT_NOT_STARTED, BASH_EXIT_NOT_FOUND, TIMED_OUT = 126, 127, 124


def processes() -> dict[int, tuple[int, int]]:
    """Each process that can be seen: pid -> (parent, start time in ticks)."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open("/proc/" + name + "/stat", "rb") as f:
                    rest = f.read().rpartition(b")")[2].split()  # a name may hold spaces and brackets
                found[int(name)] = int(rest[1]), int(rest[19])
            except (OSError, IndexError):
                pass  # it ended meanwhile
    return found


def children() -> set[int]:
    """Our own processes now: commands, and orphans that came to us."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", "rb") as f:
            return set(map(int, f.read().split()))
    except OSError:  # a kernel without it; start times then decide alone
        return set()


class Job:
    """A command that runs, or a file that is read or written."""

    def __init__(self, ident: int) -> None:
        self.ident = ident
        self.pid = 0
        self.before: set[int] = set()  # orphans that were there when it started
        self.pipes: dict[int, bytes] = {}  # descriptor that is read -> kind of its frames
        self.left: dict[bytes, int] = {}  # bytes that may still be sent, by kind
        self.input = -1
        self.waiting: list[bytes] = []  # input that could not be written yet
        self.taken = 0  # bytes of input of which the sender does not know yet
        self.ends = False  # no more input comes
        self.deadline: float | None = None
        self.timed_out = self.truncated = False
        self.file = False


class Server:
    """The loop; see the module's text."""

    def __init__(self, inlet: int, outlet: int) -> None:
        self.inlet, self.outlet = inlet, outlet
        self.jobs: dict[int, Job] = {}
        self.pids: dict[int, Job] = {}
        self.void: set[int] = set()  # pipes of processes that outlived their command
        self.inbox = bytearray()
        self.outbox: deque[memoryview] = deque()
        self.size = 0  # of the outbox, in bytes
        self.wakeup = os.pipe()
        for fd in (*self.wakeup, inlet, outlet):
            os.set_blocking(fd, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self.wakeup[1], warn_on_full_buffer=False)
        self.open = True

    # -- frames ----------------------------------------------------------------------------------
    def send(self, kind: bytes, ident: int, data: bytes = b"") -> None:
        """Queues a frame."""
        frame = HEAD.pack(kind[0], ident, len(data)) + data
        self.outbox.append(memoryview(frame))
        self.size += len(frame)

    def fail(self, job: Job, e: OSError) -> None:
        """Tells that a file could not be read or written."""
        text = json.dumps({"errno": e.errno or errno.EIO, "text": os.strerror(e.errno or errno.EIO)})
        self.send(b"F", job.ident, text.encode())
        self.drop(job)

    def flush(self) -> None:
        """Writes what the other side takes."""
        while self.outbox:
            try:
                n = os.write(self.outlet, self.outbox[0])
            except BlockingIOError:
                return
            except OSError:
                self.open = False
                return
            self.size -= n
            if n == len(self.outbox[0]):
                self.outbox.popleft()
            else:
                self.outbox[0] = self.outbox[0][n:]

    def receive(self) -> None:
        """Reads frames and acts on them."""
        try:
            data = os.read(self.inlet, 4 * CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.open = False
            return
        self.inbox += data
        while len(self.inbox) >= HEAD.size:
            kind, ident, n = HEAD.unpack_from(self.inbox)
            if len(self.inbox) < HEAD.size + n:
                return
            payload = bytes(self.inbox[HEAD.size : HEAD.size + n])
            del self.inbox[: HEAD.size + n]
            self.act(bytes([kind]), ident, payload)

    def act(self, kind: bytes, ident: int, payload: bytes) -> None:
        """One frame."""
        if kind in b"RGP":
            job = self.jobs[ident] = Job(ident)
            {b"R": self.start, b"G": self.get, b"P": self.put}[kind](job, json.loads(payload.decode()))
            return
        job_or_none = self.jobs.get(ident)
        if job_or_none is None:  # it ended meanwhile; the sender waits for its input to be taken
            if kind == b"I":
                self.send(b"A", ident, struct.pack(">I", len(payload)))
        elif kind == b"I":
            job_or_none.waiting.append(payload)
            self.feed(job_or_none)
        elif kind == b"E":
            job_or_none.ends = True
            self.feed(job_or_none)
        elif kind == b"K":
            self.kill(job_or_none)

    # -- commands --------------------------------------------------------------------------------
    def start(self, job: Job, order: dict[str, Any]) -> None:
        """Starts a program in a session of its own."""
        job.before = children()
        try:
            p = subprocess.Popen(
                order["argv"],
                cwd=order["cwd"],
                env=order["env"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
            )
        except (OSError, ValueError) as e:
            missing = getattr(e, "filename", None) == order["argv"][0] and getattr(e, "errno", 0) == errno.ENOENT
            self.send(b"S", job.ident, f"cannot start {order['argv'][0]}: {e}\n".encode("utf-8", "replace"))
            self.end(job, BASH_EXIT_NOT_FOUND if missing else BASH_EXIT_NOT_STARTED)
            return
        assert p.stdin and p.stdout and p.stderr
        job.pid, p.returncode = p.pid, 0  # reaped here, not by subprocess
        job.input = os.dup(p.stdin.fileno())
        for stream, kind in ((p.stdout, b"O"), (p.stderr, b"S")):
            fd = os.dup(stream.fileno())
            os.set_blocking(fd, False)
            job.pipes[fd], job.left[kind] = kind, order["output"] or sys.maxsize
        for stream in (p.stdin, p.stdout, p.stderr):
            stream.close()
        os.set_blocking(job.input, False)
        if order["timeout"] is not None:
            job.deadline = time.monotonic() + order["timeout"]
        self.pids[job.pid] = job

    def feed(self, job: Job) -> None:
        """Writes waiting input. What a program no longer reads is dropped and not taken: no more need come until it ends."""
        taken = 0
        while job.waiting and job.input >= 0:
            try:
                n = os.write(job.input, job.waiting[0])
            except BlockingIOError:
                break
            except OSError as e:
                if job.file:
                    self.fail(job, e)
                    return
                os.close(job.input)
                job.input = -1
                break
            taken += n
            if n == len(job.waiting[0]):
                job.waiting.pop(0)
            else:
                job.waiting[0] = job.waiting[0][n:]
        if job.input < 0:
            job.waiting.clear()
        job.taken += taken
        if job.taken >= CHUNK:  # the sender may have many times as much on its way
            self.send(b"A", job.ident, struct.pack(">I", job.taken))
            job.taken = 0
        if job.ends and not job.waiting and job.input >= 0:
            os.close(job.input)
            job.input = -1
            if job.file:
                self.end(job, 0)

    def pump(self, fd: int, job: Job) -> bool:
        """Reads once from a pipe; False when there is nothing (now or for ever)."""
        kind = job.pipes[fd]
        try:
            data = os.read(fd, CHUNK)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            os.close(fd)
            del job.pipes[fd]
            if job.file:
                self.end(job, 0)
            return False
        keep = data[: job.left[kind]]
        job.truncated |= len(keep) < len(data)
        job.left[kind] -= len(keep)
        if keep:
            self.send(kind, job.ident, keep)
        return True

    def reap(self) -> None:
        """Collects what ended: commands, and orphans that came to us."""
        try:
            os.read(self.wakeup[0], 4096)
        except BlockingIOError:
            pass
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            job = self.pids.pop(pid, None)
            if job is not None:
                self.finish(job, 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))

    def finish(self, job: Job, code: int) -> None:
        """A command ended: sends what is left in its pipes, at most what a pipe can hold."""
        for fd in list(job.pipes):
            for _ in range(64):
                if not self.pump(fd, job):
                    break
        for fd in job.pipes:  # a process in the background may go on writing: to nobody
            self.void.add(fd)
        job.pipes.clear()
        self.end(job, TIMED_OUT if job.timed_out else code)

    def end(self, job: Job, code: int) -> None:
        """Tells how it ended."""
        said = {"code": code, "timed_out": job.timed_out, "truncated": job.truncated}
        self.send(b"X", job.ident, json.dumps(said).encode())
        self.drop(job)

    def drop(self, job: Job) -> None:
        """Forgets it."""
        for fd in (job.input, *job.pipes):
            if fd >= 0:
                os.close(fd)
        job.input = -1
        job.pipes.clear()
        self.jobs.pop(job.ident, None)
        if any(job.waiting):
            self.send(b"A", job.ident, struct.pack(">I", sum(map(len, job.waiting))))

    def kill(self, job: Job) -> None:
        """Ends a command's whole tree: its descendants, and orphans younger than it that are no other command's.

        Everything is stopped before anything is killed, round after round until no new process appears, so that nothing
        can fork away. A file is no longer read or written.
        """
        if job.file:
            self.drop(job)
            return
        if not job.pid or job.pid not in self.pids:
            return
        stopped: set[int] = set()
        for _ in range(1000):
            every = processes()
            born = every.get(job.pid, (0, 0))[1]
            others = {p for p in self.pids if p != job.pid} | job.before
            mine = {job.pid} | {
                p for p, (up, at) in every.items() if up == os.getpid() and at >= born and p not in others
            }
            grown = True
            while grown:
                new = {p for p, (up, _) in every.items() if up in mine and p not in mine and p not in others}
                grown = bool(new)
                mine |= new
            mine -= {os.getpid()}
            fresh = mine - stopped
            if not fresh:
                break
            for pid in fresh:
                _signal(pid, signal.SIGSTOP)
            stopped |= fresh
        for pid in stopped:
            _signal(pid, signal.SIGKILL)

    # -- files -----------------------------------------------------------------------------------
    def get(self, job: Job, order: dict[str, Any]) -> None:
        """Reads a regular file."""
        job.file = True
        try:
            fd = os.open(order["path"], os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            job.pipes[fd], job.left[b"O"] = b"O", sys.maxsize
            mode = os.fstat(fd).st_mode
            if not stat.S_ISREG(mode):
                raise OSError(errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL, "")
        except OSError as e:
            self.fail(job, e)

    def put(self, job: Job, order: dict[str, Any]) -> None:
        """Writes a regular file; the data comes as input."""
        job.file = True
        try:
            os.makedirs(os.path.dirname(order["path"]), exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC
            job.input = os.open(order["path"], flags, 0o600)
            if not stat.S_ISREG(os.fstat(job.input).st_mode):
                raise OSError(errno.EINVAL, "")
            os.ftruncate(job.input, 0)
            os.fchmod(job.input, order["mode"])
        except OSError as e:
            self.fail(job, e)

    # -- the loop --------------------------------------------------------------------------------
    def serve(self) -> None:
        """Until the other side closes."""
        self.send(b"H", 0)
        self.flush()  # before a command can kill us
        while self.open:
            now = time.monotonic()
            for job in list(self.jobs.values()):
                if job.deadline is not None and job.deadline <= now:
                    job.deadline, job.timed_out = None, True
                    self.kill(job)
            deadlines = [j.deadline for j in self.jobs.values() if j.deadline is not None]
            self.once(min(deadlines) - now if deadlines else None)

    def once(self, wait: float | None) -> None:
        """What is ready, until nothing more is; then all that it gave is sent together."""
        for look in range(ROUNDS):
            poll, owners = self.wanted(blocked=not look and bool(self.outbox))
            # late rather than early: a deadline that is not there yet would be waited for again
            ready = poll.poll(None if wait is None else max(0, math.ceil(wait * 1000)))
            for fd, events in ready:
                job = owners.get(fd)
                if fd in self.void:
                    self.swallow(fd)
                elif fd == self.wakeup[0]:
                    self.reap()
                elif job is not None and fd in job.pipes:
                    self.pump(fd, job)
                elif job is not None and fd == job.input:
                    self.feed(job)
                elif fd in (self.inlet, self.outlet) and events & ~select.POLLOUT:
                    self.receive()
            if not ready or not self.open:
                break
            wait = 0.0
        self.flush()

    def wanted(self, blocked: bool) -> tuple[select.poll, dict[int, Job]]:
        """What to wait for, and whose it is; also for the other side where it took nothing more."""
        poll, owners = select.poll(), {}
        for fd in (self.wakeup[0], self.inlet, *self.void):
            poll.register(fd, select.POLLIN)
        if blocked:
            poll.register(self.outlet, select.POLLOUT | (select.POLLIN if self.inlet == self.outlet else 0))
        for job in self.jobs.values():
            if self.size < HIGH:
                for fd in job.pipes:
                    poll.register(fd, select.POLLIN)
                    owners[fd] = job
            if job.waiting and job.input >= 0:
                poll.register(job.input, select.POLLOUT)
                owners[job.input] = job
        return poll, owners

    def swallow(self, fd: int) -> None:
        """Reads what nobody wants."""
        try:
            if os.read(fd, CHUNK):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self.void.discard(fd)
        os.close(fd)


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except OSError:
        pass


def refusals() -> bytes:
    """A seccomp filter (an array of struct sock_filter) against what reaches past namespaces on most kernels.

    It refuses sockets but unix, internet and netlink ones (AF_VSOCK leads to the hypervisor), keyrings, bpf, performance
    counters, userfaultfd and io_uring, and the calls of other architectures, which would go round it. Empty where the machine's
    numbers are not known.
    """
    known = {  # the audit number, socket(2), and the calls that are refused
        "x86_64": (0xC000003E, 41, (248, 249, 250, 298, 321, 323, 425, 426, 427)),
        "aarch64": (0xC00000B7, 198, (217, 218, 219, 241, 280, 282, 425, 426, 427)),
    }
    if os.uname().machine not in known:
        return b""
    arch, sock, calls = known[os.uname().machine]
    allow, refuse = 0x7FFF0000, 0x00050000
    code = [(0x20, 0, 0, 4), (0x15, 1, 0, arch), (0x06, 0, 0, refuse | errno.ENOSYS), (0x20, 0, 0, 0)]
    code += [(0x35, 0, 1, 0x40000000), (0x06, 0, 0, refuse | errno.ENOSYS)]  # x32
    for call in calls:
        code += [(0x15, 0, 1, call), (0x06, 0, 0, refuse | errno.EPERM)]
    families = (0, 1, 2, 10, 16)
    code += [(0x15, 0, len(families) + 2, sock), (0x20, 0, 0, 16)]
    code += [(0x15, len(families) - i, 0, family) for i, family in enumerate(families)]
    code += [(0x06, 0, 0, refuse | errno.EAFNOSUPPORT), (0x06, 0, 0, allow)]
    return b"".join(struct.pack("=HBBI", *line) for line in code)


def forbid() -> None:
    """Sets that filter for ever, for us and all that we start. Needs PR_SET_NO_NEW_PRIVS."""
    import ctypes

    code = refusals()
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("@HP", len(code) // 8, ctypes.addressof(buffer))
    ctypes.CDLL(None).prctl(22, 2, program, 0, 0)  # PR_SET_SECCOMP; an empty one is refused


def main(inlet: int, outlet: int) -> None:
    """Serves until the other side closes, then kills what it started."""
    import ctypes

    forbid()
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: orphans come to us and not to pid 1
    os.umask(0o022)
    server = Server(inlet, outlet)
    try:
        server.serve()
    finally:
        for job in list(server.pids.values()):
            server.kill(job)


if __name__ == "__main__":
    main(0, 1)
