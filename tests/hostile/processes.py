"""Processes that hide, kill, stop, trace, or lose their parent."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

from common import MB, py, resident, works


def endless_sleep(provider, box, told):
    """Sleeping, stubborn and hidden processes end at the timeout."""
    script = """
    trap '' TERM INT HUP; (setsid nohup sleep 1001 &) ; sleep 1002 & setsid -f bash -c 'trap "" TERM; sleep 1003'
    exec -a 'no sleep 1004' sleep 1004
    """
    r = box.run(script, timeout=0.5)
    assert r.timed_out and r.exit_code == 124
    left = box.run("ps -eo args").stdout
    assert not any(f"sleep 100{n}" in left for n in range(1, 5)), left


def killed(provider, box, told):
    """The shell, the server, everything at once, again and again: results, and the next command works."""
    sh = box.shell()
    assert sh.run("kill -9 $$").exit_code == 137
    assert sh.run("echo on").stdout == "on\n" and sh.restarts == 1
    for command in ("kill -9 $PPID; sleep 5", "kill -9 -1; sleep 5"):
        assert box.run(command).exit_code == 137
        works(box)
    again = "import os\nwhile True:\n try: os.kill(-1, 9)\n except OSError: pass"
    assert box.run(["bash", "-c", 'setsid -f python3 -c "$1"; sleep 5', "bash", again]).exit_code == 137
    works(box)
    assert sh.run("echo on").stdout == "on\n"


def stopped(provider, box, told):
    """A stopped server costs a timeout, in a command and in a shell."""
    found = {}

    def one(name, run):
        found[name] = run()

    with provider.create() as second:
        sh = second.shell()
        threads = [
            threading.Thread(target=one, args=("run", lambda: box.run("kill -STOP $PPID; sleep 60", timeout=0.5))),
            threading.Thread(target=one, args=("shell", lambda: sh.run("kill -STOP -1; sleep 60", timeout=0.5))),
        ]
        for t in threads:
            t.start()
        for t in threads:
            t.join(60)
        assert found["run"].timed_out and found["shell"].timed_out, found
        works(box)
        works(second)
        assert sh.run("echo on").stdout == "on\n"


def taken_over(provider, box, told):
    """Code that gets at its server's connection can send us what it likes: still a result, and our memory stays."""
    before = resident()
    for what in (
        "b'O' + struct.pack('>II', 1, 2**32 - 1) + bytes(2**16)",
        "(b'O' + struct.pack('>II', 1, 2**16) + bytes(2**16)) * 400",
        "b'X' + struct.pack('>II', 1, 2) + b'[]'",
        "b'X' + struct.pack('>II', 1, 60000) + b'[' * 60000",
        "b'F' + struct.pack('>II', 1, 25) + b'{\"errno\": 5, \"text\": \"no\"}'",
    ):
        r = py(
            box,
            f"""
            import ctypes, os, struct, time
            data, libc = {what}, ctypes.CDLL(None)
            pidfd = os.pidfd_open(os.getppid())
            fd = libc.syscall(438, pidfd, 3, 0)  # pidfd_getfd
            if fd < 0:
                print("refused")
            else:
                os.set_blocking(fd, True)
                while data:
                    data = data[os.write(fd, data):]
                time.sleep(0.3)
            """,
            timeout=10,
        )
        assert isinstance(r.exit_code, int) and len(r.stdout) <= box.limits.output, r
        works(box)
    assert resident() < before + 64 * MB


def first_process(provider, box, told):
    """Whatever is done to the first process, the sandbox goes on, or the next command does."""
    for code in (
        "os.kill(1, 9); os.kill(1, 15); os.kill(1, 19)",
        "print(libc.ptrace(16, 1, 0, 0)); time.sleep(0.1); libc.ptrace(8, 1, 0, 0)",  # ATTACH, KILL
        "print(libc.ptrace(16, 1, 0, 0)); time.sleep(0.1); libc.ptrace(17, 1, 0, 19)",  # DETACH, stopped
        "libc.prlimit(1, 0, ctypes.byref((ctypes.c_ulong * 2)(1, 1)), None)",  # RLIMIT_CPU
        "libc.prlimit(1, 7, ctypes.byref((ctypes.c_ulong * 2)(0, 0)), None)",  # RLIMIT_NOFILE
    ):
        py(box, f"import ctypes, os, time\nlibc = ctypes.CDLL(None)\n{code}", timeout=5)
        works(box)
    box.restore()
    works(box)


def outsiders(provider, box, told):
    """No process outside can be seen, signalled, traced or read."""
    pids = [told["pid"], os.getpid(), os.getppid(), *told["victims"]]
    r = py(
        box,
        """
        import ctypes, os, sys
        libc, here = ctypes.CDLL(None), {int(n) for n in os.listdir("/proc") if n.isdigit()}
        for pid in map(int, sys.argv[1:]):
            if pid not in here:
                try:
                    os.kill(pid, 0)
                    print(pid, "signalled")
                except OSError:
                    pass
                if libc.ptrace(16, pid, 0, 0) != -1:
                    print(pid, "traced")
        print(max(here), len(here))
        """,
        *map(str, pids),
    )
    assert len(r.stdout.splitlines()) == 1 and int(r.stdout.split()[1]) < 10, r


def keeper_killed(provider, box, told):
    """kill -9 of the process that keeps local sandboxes: theirs are lost, each call says so, and the next provider works."""
    with provider.create() as other:
        sh = other.shell()
        sh.run("sleep 1009 &")
        box.run("setsid -f sleep 1010; sleep 1011 &")
        keeper = provider.link.process.pid
        if provider.link.means and os.geteuid() == 0:  # this one only waits, to remove the groups
            with open(f"/proc/{keeper}/task/{keeper}/children") as f:
                keeper = int(f.read())
        os.kill(keeper, signal.SIGKILL)
        provider.link.process.wait(30)
        until(lambda: not any(f"sleep {n}" in seen() for n in (1009, 1010, 1011)), "processes outlived their keeper")
        for use in (box.fork, box.snapshot, box.restore, lambda: box.run("true"), lambda: sh.run("true")):
            try:
                use()
            except RuntimeError as e:  # SandboxLost is one
                assert type(e).__name__ == "SandboxLost", repr(e)
            else:
                raise AssertionError(use)
    with type(provider)() as fresh, fresh.create() as again:
        works(again)


def parent_killed(provider, box, told):
    """kill -9 of a program with sandboxes, with processes, shells and snapshots: everything goes."""
    code = f"""
    import sys
    sys.argv = ["x"]
    sys.path.insert(0, {os.path.dirname(__file__)!r})
    import child
    make = child.load({told["folder"]!r}).make
    boxes = [make({told["provider"]!r}).create()]
    boxes.append(boxes[0].fork())
    for b in boxes:
        b.run("setsid -f sleep 1005; sleep 1006 &")
        b.shell().run("sleep 1007 &")
        b.snapshot()
    print("ready", flush=True)
    boxes[0].run("sleep 1008")
    """
    child = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout.readline() == "ready\n"
        if told["provider"] != "docker":  # whose engine may be elsewhere
            until(lambda: "sleep 1008" in seen(), "its last command never started")
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
    until(lambda: not any(f"sleep 100{n}" in seen() for n in range(5, 9)), "processes outlived their program")


def until(holds, otherwise):
    """Waits, for at most 30 seconds."""
    for _ in range(300):
        if holds():
            return
        time.sleep(0.1)
    raise AssertionError(otherwise)


def seen():
    return subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
