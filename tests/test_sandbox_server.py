"""The server inside and the host's side of it, without a sandbox around them; and servers that lie."""

import ast
import ctypes
import errno
import json
import os
import random
import selectors
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milepost.sandboxes import Limits, Result, SandboxError, SandboxLost, served, server, shell
from milepost.sandboxes.client import PIECE
from milepost.sandboxes.served import Served
from milepost.sandboxes.server import HEAD

pytestmark = pytest.mark.core
MB = 2**20


class Stream:
    """A socket to a server."""

    def __init__(self, sock, process=None):
        self.sock, self.process, self.sent = sock, process, 0
        sock.settimeout(10)

    def wait(self, seconds):
        with selectors.PollSelector() as poll:
            poll.register(self.sock, selectors.EVENT_READ)
            return bool(poll.select(seconds))

    def send(self, data):
        self.sent += len(data)
        self.sock.sendall(data)

    def recv(self):
        return self.sock.recv(2**18)

    def close(self):
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()


class Bare:
    """A box that isolates nothing: its commands are ours."""

    users = ()

    def __init__(self):
        self.streams = []

    def connect(self, user=None):
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen([sys.executable, "-I", "-S", server.__file__], stdin=theirs, stdout=theirs)
        self.streams.append(Stream(ours, process))
        return self.streams[-1]

    def kill(self):
        for s in self.streams:
            s.process.kill()
            s.process.wait()

    def close(self):
        self.kill()
        for s in self.streams:
            s.close()


@pytest.fixture
def box(tmp_path, monkeypatch):
    monkeypatch.setattr(served, "GRACE", 0.4)
    monkeypatch.setattr(shell, "GRACE", 0.4)
    with Served(Bare(), limits=Limits(), env={}, workdir=str(tmp_path)) as box:
        yield box


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_the_server_is_one_file_for_python_3_7():
    tree = ast.parse(Path(server.__file__).read_text(), feature_version=(3, 7))
    names = {
        name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in ([a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or "."])
    }
    assert names <= set(sys.stdlib_module_names)


# -- servers that die --------------------------------------------------------------------------------
@pytest.mark.parametrize("use", ["run", "shell"])
def test_a_server_that_was_killed_while_nobody_called_is_replaced(box, use):
    run = box.run if use == "run" else box.shell().run
    assert run("echo one").stdout == "one\n"
    box.box.streams[-1].process.kill()
    box.box.streams[-1].process.wait()
    assert run("echo two") == Result("two\n", "", 0)
    assert len(box.box.streams) == 2


def test_a_server_that_is_killed_by_its_command_costs_a_result(box):
    sh = box.shell()
    assert box.run("kill -9 $PPID; sleep 60").exit_code == 137
    assert sh.run("kill -9 $PPID; sleep 60").exit_code == 137
    assert box.run("echo on").stdout == sh.run("echo on").stdout == "on\n"


def test_a_server_that_is_stopped_costs_a_timeout(box):
    r = box.run("echo before; sleep 0.2; kill -STOP $PPID; sleep 60", timeout=0.5)
    assert (r.stdout, r.timed_out, r.exit_code) == ("before\n", True, 124)
    sh = box.shell()
    r = sh.run("echo before; sleep 0.2; kill -STOP $PPID; sleep 60", timeout=0.5)
    assert (r.stdout, r.timed_out) == ("before\n", True)
    assert box.run("echo on").stdout == sh.run("echo on").stdout == "on\n"


def test_a_server_that_never_starts_is_no_fault_of_the_code(tmp_path):
    class Dead(Bare):
        def connect(self, user=None):
            ours, theirs = socket.socketpair()
            theirs.close()
            return Stream(ours)

        def kill(self):
            pass

    with pytest.raises(SandboxLost, match="nothing can be started"):
        Served(Dead(), limits=Limits(), env={}, workdir=str(tmp_path)).run("true")


def test_a_server_that_code_keeps_from_starting_is_a_result_until_restore(tmp_path):
    class Full(Bare):
        full = False

        def connect(self, user=None):
            if not self.full:
                return super().connect(user)
            ours, theirs = socket.socketpair()
            theirs.close()
            self.streams.append(Stream(ours, self.streams[0].process))
            return self.streams[-1]

        def load(self, token):
            self.full = False

    with Served(Full(), limits=Limits(), env={}, workdir=str(tmp_path)) as box:
        sh = box.shell()
        assert box.run("echo on").ok and sh.run("echo on").ok
        box.box.full = True
        assert box.run("kill -9 $PPID; sleep 60").exit_code == 137
        assert box.run("echo on").exit_code == sh.run("echo on").exit_code == 137
        with pytest.raises(OSError, match="killed from inside"):
            box.read("x")
        box.restore()
        assert box.run("echo on").ok
        box.restore()
        box.box.full = True
        with pytest.raises(SandboxLost):
            box.run("echo on")


def test_a_child_process_cannot_use_or_break_its_parents_sandbox(box):
    sh = box.shell()
    assert sh.run("x=5; echo $x").stdout == "5\n"
    pid = os.fork()
    if not pid:
        code = 1
        try:
            for use in (lambda: box.run("true"), lambda: sh.run("true"), lambda: box.read("x")):
                try:
                    use()
                except SandboxLost as e:
                    assert "another process" in str(e)
                else:
                    os._exit(2)
            box._disconnect()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
    assert sh.run("echo $x").stdout == "5\n" and box.run("echo on").stdout == "on\n"


# -- too much ----------------------------------------------------------------------------------------
def test_what_a_shell_writes_in_the_background_is_not_kept(box):
    sh = box.shell()
    sh.run("yes & yes >&2 &")
    before = resident()
    box.run("sleep 1")
    assert resident() < before + 32 * MB
    assert sh.run("kill %1 %2; wait").exit_code == 0  # what was under way still came, up to the limit
    assert sh.run("echo on").stdout.endswith("on\n")


def test_input_ends_with_its_command(box):
    box.run("true")
    before = box.box.streams[-1].sent
    assert box.run("exit 7", stdin=bytes(64 * MB)).exit_code == 7
    assert box.box.streams[-1].sent - before < 8 * MB


def test_a_file_without_an_end_is_refused_and_no_longer_read(box, tmp_path):
    small = Served(box.box, limits=Limits(disk=MB, memory=MB), env={}, workdir=str(tmp_path))
    with open(tmp_path / "big", "wb") as f:
        f.truncate(2**36)
    start = resident()
    with pytest.raises(OSError, match="big") as e:
        small.read("big")
    assert e.value.errno == errno.EFBIG and resident() < start + 160 * MB
    assert small.run("echo on", timeout=10).stdout == "on\n"


def test_names_of_variables_and_texts_are_checked(box):
    for bad, said in (({"A=B": "1"}, "'A=B'"), ({"": "1"}, "''"), ({"A": 1}, "1"), ({"A\0": "1"}, "NUL")):
        with pytest.raises(ValueError, match=said):
            box.run("true", env=bad)
    with pytest.raises(ValueError, match="is no text"):
        box.run(["echo", b"bytes"])


# -- shells ------------------------------------------------------------------------------------------
def test_closing_a_shell_ends_its_command_at_once(box):
    sh = box.shell()
    found = []
    thread = threading.Thread(target=lambda: found.append(sh.run("sleep 60")))
    thread.start()
    time.sleep(0.3)
    sh.close()
    thread.join(10)
    assert found[0].exit_code == 137 and len(box.box.streams) == 1
    with pytest.raises(RuntimeError, match="closed"):
        sh.run("true")


def test_an_interrupt_ends_the_command_of_a_shell(box, interruptible):
    sh = box.shell()
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        sh.run("sleep 88")
    timer.join()
    assert sh.run("echo on", timeout=5) == Result("on\n", "", 0)
    assert "sleep 88" not in box.run("ps -o args --ppid $PPID").stdout


def test_a_shell_that_forges_its_marks_gets_a_result(box):
    sh = box.shell()
    steal = "read -r line < /proc/$$/fd/0; mark=${line#*n}; mark=${mark%%\\%*}; printf '\\n%s%s\\n' \"$mark\" "
    for forged in ("'999999999 /'", "'x /'", "'0'", "''", '"$(head -c 100000 /dev/zero | tr "\\0" x)"'):
        r = sh.run(f"{steal}{forged} >&{shell.OUT}; echo gone", timeout=0.5)
        assert 0 <= r.exit_code < 256
    assert sh.run("echo on", timeout=5).stdout.endswith("on\n")


# -- servers that lie --------------------------------------------------------------------------------
class Liar(Bare):
    """A server that says what it was told to, whatever it is asked."""

    def __init__(self, said):
        super().__init__()
        self.said = said

    def connect(self, user=None):
        ours, theirs = socket.socketpair()

        def lie():
            with theirs:
                try:
                    theirs.recv(2**16)
                    theirs.sendall(HEAD.pack(ord("H"), 0, 0) + self.said)
                except OSError:
                    pass

        threading.Thread(target=lie, daemon=True).start()
        return Stream(ours)

    def kill(self):
        pass

    def close(self):
        pass


def frame(kind, data, ident=1):
    return HEAD.pack(kind[0], ident, len(data)) + data


END = {"code": 0, "timed_out": False, "truncated": False}


@pytest.mark.parametrize(
    "said",
    [
        HEAD.pack(ord("O"), 1, 2**32 - 1) + bytes(MB),
        frame(b"X", b"[]"),
        frame(b"X", b"{}"),
        frame(b"X", b"\xff"),
        frame(b"X", b"[" * 60000),
        frame(b"X", b'{"code": 1e999, "timed_out": 0, "truncated": 0}'),
        frame(b"X", json.dumps({**END, "code": 256}).encode()),
        frame(b"X", json.dumps({**END, "code": True}).encode()),
        frame(b"A", b"x"),
        frame(b"?", b""),
        frame(b"F", b'{"errno": "none", "text": 1}'),
        frame(b"X", json.dumps(END).encode(), ident=2),
        b"HTTP/1.1 200 OK\r\n\r\n",
    ],
)
def test_what_is_no_frame_ends_the_connection_and_nothing_else(said, tmp_path):
    with Served(Liar(said), limits=Limits(timeout=2), env={}, workdir=str(tmp_path)) as box:
        assert box.run("true").exit_code == 137
        with pytest.raises(OSError):
            box.read("x")


def test_a_lying_server_cannot_give_more_than_the_limit(tmp_path):
    said = frame(b"O", bytes(PIECE)) * 64 + frame(b"X", json.dumps(END).encode())
    with Served(Liar(said), limits=Limits(output=1000), env={}, workdir=str(tmp_path)) as box:
        r = box.run("true")
        assert len(r.stdout) == 1000 and r.truncated and r.exit_code == 0


frames = st.builds(
    frame,
    st.sampled_from([b"O", b"S", b"X", b"F", b"A", b"H", b"Z"]),
    st.one_of(st.binary(max_size=40), st.sampled_from([json.dumps(END).encode(), struct.pack(">I", 2**31), b"{}"])),
    st.integers(0, 3),
)


@settings(deadline=None)
@given(st.lists(st.one_of(frames, st.binary(max_size=30)), max_size=12).map(b"".join))
def test_whatever_a_server_says_is_a_result(said):
    with Served(Liar(said), limits=Limits(timeout=5, output=100), env={}, workdir="/nowhere") as box:
        r = box.run("true", stdin="x")
        assert isinstance(r, Result) and 0 <= r.exit_code < 256 and len(r.stdout) <= 100
        sh = box.shell()
        try:
            assert 0 <= sh.run("true", timeout=5).exit_code < 256
        except SandboxError:
            pass


# -- the frames themselves ---------------------------------------------------------------------------
def test_frames_in_pieces_and_many_jobs_at_once(tmp_path):
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen([sys.executable, "-I", "-S", server.__file__], stdin=theirs, stdout=theirs)
    asked = b""
    for i in range(1, 21):
        order = {
            "argv": ["sh", "-c", f"cat; echo {i}"],
            "cwd": "/",
            "env": dict(os.environ),
            "timeout": 20,
            "output": 100,
        }
        asked += frame(b"R", json.dumps(order).encode(), i) + frame(b"I", b"in", i) + frame(b"E", b"", i)
    draw, at = random.Random(0), 0
    while at < len(asked):
        n = draw.randint(1, 200)
        ours.sendall(asked[at : at + n])
        at += n
    said, found, ends = bytearray(), {}, set()
    ours.settimeout(30)
    while len(ends) < 20:
        said += ours.recv(2**16)
        while len(said) >= HEAD.size:
            kind, ident, n = HEAD.unpack_from(said)
            if len(said) < HEAD.size + n:
                break
            data = bytes(said[HEAD.size : HEAD.size + n])
            del said[: HEAD.size + n]
            if kind == ord("O"):
                found[ident] = found.get(ident, b"") + data
            elif kind == ord("X"):
                assert json.loads(data) == END
                ends.add(ident)
    assert found == {i: f"in{i}\n".encode() for i in range(1, 21)}
    ours.close()
    assert process.wait(10) == 0


@pytest.mark.skipif(os.uname().machine not in ("x86_64", "aarch64"), reason="the numbers of its calls are not known")
def test_the_filter_refuses_what_it_names_and_nothing_else():
    code = f"""
import ctypes, os, socket, sys, types
module = types.ModuleType("server")
exec(compile(open({server.__file__!r}).read(), "server", "exec"), module.__dict__)
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
module.forbid()
assert "Seccomp:\\t2" in open("/proc/self/status").read()
socket.socketpair(); socket.socket(); socket.socket(socket.AF_INET6); socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)
for family in (40, 17, 38, 31):
    try:
        socket.socket(family, socket.SOCK_RAW)
    except OSError as e:
        print(e.errno)
keyctl = {{"x86_64": 250, "aarch64": 219}}[os.uname().machine]
print(libc.syscall(keyctl, 1, None), ctypes.get_errno(), libc.syscall(425, 4, ctypes.create_string_buffer(200)))
import subprocess
print(subprocess.run(["echo", "on"], capture_output=True, text=True).stdout)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert said.stdout.split() == [str(errno.EAFNOSUPPORT)] * 4 + ["-1", str(errno.EPERM), "-1", "on"], said
    assert len(server.refusals()) % 8 == 0 and ctypes.sizeof(ctypes.c_char) == 1
