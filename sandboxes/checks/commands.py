"""Promises about commands and limits."""

from __future__ import annotations

import os
import threading
import time

from ..base import Limits, Provider, Result, Sandbox
from . import promise, refused


@promise()
def output(box: Sandbox, provider: Provider) -> None:
    """Standard output and standard error come apart, exactly."""
    r = box.run("printf 'a\\nb'; printf c >&2")
    assert (r.stdout, r.stderr, r.exit_code) == ("a\nb", "c", 0)
    assert r.ok and not r.timed_out and not r.truncated


@promise()
def silence(box: Sandbox, provider: Provider) -> None:
    """A command without output gives empty texts."""
    assert box.run("true") == Result("", "", 0)


@promise()
def exit_codes(box: Sandbox, provider: Provider) -> None:
    """A command that fails is a result with its exit code."""
    assert [box.run(f"exit {n}").exit_code for n in (0, 1, 7, 255)] == [0, 1, 7, 255]


@promise()
def signals(box: Sandbox, provider: Provider) -> None:
    """A command that a signal ended has 128 + the signal's number."""
    assert box.run("kill -9 $$").exit_code == 137
    assert box.run("kill -SEGV $$").exit_code == 139


@promise()
def not_found(box: Sandbox, provider: Provider) -> None:
    """A program that does not exist is exit code 127, one that cannot be run 126."""
    assert box.run(["no-such-program"]).exit_code == 127
    assert box.run("no-such-program").exit_code == 127
    assert box.run([f"{box.workdir}/a.txt"]).exit_code == 126


@promise()
def no_shell(box: Sandbox, provider: Provider) -> None:
    """A list of arguments is run without a shell."""
    assert box.run(["printf", "%s|", "a b", "$HOME", "*", "", "'"]).stdout == "a b|$HOME|*||'|"


@promise()
def bash(box: Sandbox, provider: Provider) -> None:
    """A text is run by bash."""
    assert box.run("x=(1 2 3); echo ${#x[@]}; [[ a == a* ]] && echo $BASH_VERSION | head -c 1").stdout.startswith("3\n")


@promise()
def working_directory(box: Sandbox, provider: Provider) -> None:
    """Commands start in the tree, or in ``cwd``, which may be relative to it."""
    assert box.run("pwd").stdout == f"{box.workdir}\n"
    assert box.run("pwd", cwd="dir").stdout == f"{box.workdir}/dir\n"
    assert box.run("pwd", cwd="/tmp").stdout == "/tmp\n"


@promise()
def missing_directory(box: Sandbox, provider: Provider) -> None:
    """A ``cwd`` that does not exist is exit code 126 and said on standard error."""
    r = box.run("pwd", cwd="nowhere")
    assert r.exit_code == 126 and "nowhere" in r.stderr


@promise()
def environment(box: Sandbox, provider: Provider) -> None:
    """Variables of ``env`` are set, any text in them, for this command alone."""
    value = "ü 'x' \"y\"\n$z"
    assert box.run('printf %s "$WORD"', env={"WORD": value}).stdout == value
    assert box.run('printf %s "$WORD"').stdout == ""


@promise()
def clean_environment(box: Sandbox, provider: Provider) -> None:
    """No variable of the machine gets in, be it of a command or of any process that can be seen."""
    os.environ["MILEPOST_SELF_CHECK"] = "a-secret-of-the-machine"
    try:
        with provider.create() as other:
            names = {line.split("=")[0] for line in other.run("env").stdout.splitlines()}
            seen = other.run("cat /proc/[0-9]*/environ | tr '\\0' '\\n'").stdout
    finally:
        del os.environ["MILEPOST_SELF_CHECK"]
    assert "PATH=" in seen and "a-secret-of-the-machine" not in seen
    known = {"PATH", "HOME", "LANG", "TERM", "TMPDIR", "PWD", "SHLVL", "_", "HOSTNAME", "OLDPWD"}
    assert names <= known, names - known


@promise()
def standard_input(box: Sandbox, provider: Provider) -> None:
    """``stdin`` is what the command reads, text or bytes, and ends."""
    assert box.run("cat", stdin="höhö").stdout == "höhö"
    assert box.run("wc -c", stdin=b"\0\xff\n").stdout.strip() == "3"
    assert box.run("cat; echo end").stdout == "end\n"


@promise()
def long_input(box: Sandbox, provider: Provider) -> None:
    """Five megabytes of input arrive, and nobody hangs when the command stops reading."""
    data = b"0123456789" * 500_000
    assert box.run("wc -c", stdin=data).stdout.strip() == str(len(data))
    assert box.run("head -c 3", stdin=data).stdout == "012"
    assert box.run("exec 0<&-; echo x", stdin=data).stdout == "x\n"


@promise()
def broken_text(box: Sandbox, provider: Provider) -> None:
    """Output that is no UTF-8 is shown with U+FFFD."""
    assert box.run("printf 'a\\377b'").stdout == "a\ufffdb"


@promise()
def timeout(box: Sandbox, provider: Provider) -> None:
    """A timeout ends the command, says so, and keeps what was written until then."""
    r = box.run("echo before; echo err >&2; sleep 60; echo after", timeout=0.5)
    assert (r.stdout, r.stderr, r.exit_code, r.timed_out) == ("before\n", "err\n", 124, True)


@promise()
def default_timeout(box: Sandbox, provider: Provider) -> None:
    """Where no timeout is given, the one of the limits holds, in shells too."""
    with provider.create(limits=Limits(timeout=0.5)) as short:
        assert short.run("sleep 60").timed_out and short.shell().run("sleep 60").timed_out


@promise()
def timeout_tree(box: Sandbox, provider: Provider) -> None:
    """A timeout ends children, grandchildren and daemons in sessions of their own."""
    r = box.run("sleep 61 & (sleep 62 & setsid sleep 63 &) ; setsid -f sleep 64; sleep 65", timeout=0.5)
    assert r.timed_out
    left = box.run("ps -eo args").stdout
    assert not any(f"sleep {n}" in left for n in range(61, 66)), left


@promise()
def stubborn(box: Sandbox, provider: Provider) -> None:
    """A timeout ends a process that ignores signals."""
    assert box.run("trap '' TERM INT HUP QUIT; while :; do sleep 1; done", timeout=0.4).timed_out


@promise()
def background(box: Sandbox, provider: Provider) -> None:
    """A process in the background does not hold its command up, and lives on."""
    r = box.run("sleep 66 & echo started")
    assert r.stdout == "started\n" and not r.timed_out
    assert "sleep 66" in box.run("ps -eo args").stdout


@promise()
def background_and_timeout(box: Sandbox, provider: Provider) -> None:
    """A timeout leaves processes alone that ran before its command."""
    box.run("sleep 67 &")
    assert box.run("sleep 68", timeout=0.3).timed_out
    left = box.run("ps -eo args").stdout
    assert "sleep 67" in left and "sleep 68" not in left


@promise("limits")
def output_limit(box: Sandbox, provider: Provider) -> None:
    """More output than the limit is cut at its first bytes, a stream at a time, and said."""
    with provider.create(limits=Limits(output=1000)) as small:
        r = small.run("yes 0123456789 | head -c 100000; echo short >&2")
        assert r.truncated and len(r.stdout) == 1000 and r.stderr == "short\n" and r.exit_code == 0
        assert not small.run("head -c 1000 /dev/zero").truncated


@promise()
def side_by_side(box: Sandbox, provider: Provider) -> None:
    """Commands from several threads run at the same time and do not mix."""
    found: dict[int, str] = {}

    def one(i: int) -> None:
        found[i] = box.run(f"for k in 1 2 3; do echo {i}; sleep 0.1; done; cat", stdin=f"in{i}").stdout

    threads = [threading.Thread(target=one, args=(i,)) for i in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert found == {i: f"{i}\n" * 3 + f"in{i}" for i in range(6)}


@promise("")
def wrong_arguments(box: Sandbox, provider: Provider) -> None:
    """A timeout, a user or a text that cannot be is refused by name."""
    for value in (0, -1, "5", True, float("nan")):
        assert "timeout" in refused(ValueError, lambda v=value: box.run("true", timeout=v))  # type: ignore[misc]
    assert "nobody-of-here" in refused(ValueError, lambda: box.run("true", user="nobody-of-here"))
    assert "NUL" in refused(ValueError, lambda: box.run("echo \0"))
    assert "NUL" in refused(ValueError, lambda: box.run("true", env={"A": "\0"}))
    assert "empty" in refused(ValueError, lambda: box.run([]))
    assert "A=B" in refused(ValueError, lambda: box.run("true", env={"A=B": "1"}))


@promise()
def killed_from_inside(box: Sandbox, provider: Provider) -> None:
    """Code that kills everything it can is a result, and the next command works."""
    r = box.run("kill -9 -1; sleep 5")
    assert r.exit_code == 137, r
    assert box.run("echo on").stdout == "on\n"


@promise()
def killed_meanwhile(box: Sandbox, provider: Provider) -> None:
    """Where code killed everything while nobody called, the next command and shell work, or say that they were killed."""
    for use in (box.run, lambda command: box.shell().run(command)):
        box.run("(sleep 0.2; kill -9 -1) > /dev/null 2>&1 &")
        time.sleep(0.6)
        r = use("echo on")
        assert (r.stdout, r.exit_code) == ("on\n", 0) or r.exit_code == 137, r
        assert use("echo on").stdout == "on\n"


@promise()
def not_root(box: Sandbox, provider: Provider) -> None:
    """Code is not root, has no capability, and can get none."""
    assert box.run("id -u").stdout.strip() not in ("", "0")
    status = box.run("cat /proc/self/status").stdout
    caps = [line.split()[1] for line in status.splitlines() if line.startswith(("CapEff", "CapPrm", "CapBnd"))]
    assert len(caps) == 3 and not any(int(c, 16) for c in caps), caps
    assert "NoNewPrivs:\t1" in status


@promise()
def no_network(box: Sandbox, provider: Provider) -> None:
    """There is no network interface but a loopback of its own, and no route."""
    lines = box.run("cat /proc/net/dev").stdout.splitlines()[2:]
    assert [line.split(":")[0].strip() for line in lines] == ["lo"], lines
    assert len(box.run("cat /proc/net/route").stdout.splitlines()) <= 1


@promise()
def outside(box: Sandbox, provider: Provider) -> None:
    """Nothing can be written but the tree, /tmp and /dev/shm."""
    for place in (
        "/",
        "/usr",
        "/usr/bin",
        "/etc",
        "/bin",
        "/dev",
        "/proc",
        "/proc/sys/kernel",
        "/var",
        "/opt",
        "/home",
    ):
        assert box.run(f"touch {place}/milepost-self-check").exit_code, place
    assert box.run("touch x /tmp/x /dev/shm/x").ok


@promise()
def process_numbers(box: Sandbox, provider: Provider) -> None:
    """Only the sandbox's own processes can be seen."""
    listed = box.run("ls /proc").stdout.split()
    assert 2 <= sum(n.isdigit() for n in listed) < 12
    me = box.run(f"cat /proc/{os.getpid()}/cmdline | tr '\\0' ' '").stdout
    assert "self_check" not in me and "pytest" not in me, me


@promise("limits")
def limits_named(box: Sandbox, provider: Provider) -> None:
    """Every limit says by which means it holds."""
    names = {"memory", "processes", "file_size", "open_files", "disk", "output", "timeout"}
    assert names <= set(box.limits.enforced) and all(box.limits.enforced.values())


@promise("limits")
def limits_hold(box: Sandbox, provider: Provider) -> None:
    """Too many processes, too big a file, too much disk and too many open files are results."""
    with provider.create(limits=Limits(processes=20, file_size=10**6, disk=3 * 10**6, open_files=64)) as small:
        r = small.run("for i in $(seq 60); do sleep 5 & done; jobs -r | wc -l", timeout=1)
        assert r.exit_code or int(r.stdout or 99) < 25, r
        small.restore()
        assert small.run("head -c 2000000 /dev/zero > big").exit_code
        assert small.run("for i in $(seq 9); do head -c 900000 /dev/zero > f$i || exit 5; done").exit_code == 5
        assert small.run("ulimit -n").stdout.strip() == "64"


@promise("limits")
def memory_limit(box: Sandbox, provider: Provider) -> None:
    """Too much memory is a result, and the sandbox goes on."""
    with provider.create(limits=Limits(memory=150 * 2**20)) as small:
        assert small.run("head -c 400000000 /dev/zero | tail -c 400000000 | wc -c").stdout.strip() != "400000000"
        assert small.run("echo on").stdout == "on\n"


@promise("limits")
def strict_or_said(box: Sandbox, provider: Provider) -> None:
    """``strict`` gives limits that hold for all processes together, or is refused."""
    from ..base import Unavailable

    try:
        with provider.create(limits=Limits(strict=True)) as hard:
            assert "each" not in hard.limits.enforced["memory"]
    except Unavailable as e:
        assert "memory" in str(e)
