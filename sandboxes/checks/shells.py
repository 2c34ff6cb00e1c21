"""Promises about shells that stay."""

from __future__ import annotations

from ..base import Provider, Sandbox
from . import promise, refused


@promise()
def shell_state(box: Sandbox, provider: Provider) -> None:
    """A shell keeps its directory, variables and functions."""
    sh = box.shell()
    sh.run("cd dir; word=hello; f() { echo $word $1; }; export OUT=there")
    assert sh.run('f you; pwd; sh -c "echo $OUT"').stdout == f"hello you\n{box.workdir}/dir\nthere\n"
    assert sh.run("false").exit_code == 1 and sh.restarts == 0
    sh.close()


@promise()
def shell_output(box: Sandbox, provider: Provider) -> None:
    """A shell gives output exactly, with or without a newline at its end, both streams apart."""
    sh = box.shell()
    assert [sh.run(c).stdout for c in ("printf x", "echo x", "true", "printf 'a\\n\\n'")] == ["x", "x\n", "", "a\n\n"]
    r = sh.run("echo o; echo e >&2")
    assert (r.stdout, r.stderr) == ("o\n", "e\n")
    assert len(sh.run("head -c 300000 /dev/zero | tr '\\0' y").stdout) == 300_000


@promise()
def shell_errors(box: Sandbox, provider: Provider) -> None:
    """A syntax error in a shell is a result and the shell goes on."""
    sh = box.shell()
    r = sh.run("if then (")
    assert r.exit_code and "syntax error" in r.stderr
    assert sh.run("echo on").stdout == "on\n" and sh.restarts == 0


@promise()
def shell_exit(box: Sandbox, provider: Provider) -> None:
    """A command that ends the shell is a result; the next gets a fresh one in the same directory."""
    sh = box.shell()
    sh.run("cd dir")
    assert sh.run("exit 3").exit_code == 3
    assert sh.run("pwd").stdout == f"{box.workdir}/dir\n" and sh.restarts == 1
    sh.run("mkdir $'new\\nline'; cd $'new\\nline'")
    assert sh.run("exit 4").exit_code == 4
    assert sh.run("pwd").stdout == f"{box.workdir}/dir/new\nline\n"


@promise()
def shell_timeout(box: Sandbox, provider: Provider) -> None:
    """A timeout in a shell ends what runs in it and keeps its output."""
    sh = box.shell()
    r = sh.run("echo before; sleep 69 & sleep 70", timeout=0.4)
    assert r.timed_out and r.stdout == "before\n" and r.exit_code == 124
    assert sh.run("echo on").stdout == "on\n"
    assert not any(f"sleep {n}" in box.run("ps -eo args").stdout for n in (69, 70))


@promise()
def shell_redirected(box: Sandbox, provider: Provider) -> None:
    """A shell whose streams a command redirected still answers."""
    sh = box.shell()
    assert sh.run("exec >out.txt 2>&1; echo hidden").stdout == ""
    assert sh.run("echo more").exit_code == 0
    assert box.read("out.txt") == b"hidden\nmore\n"


@promise()
def shell_reads_nothing(box: Sandbox, provider: Provider) -> None:
    """A command in a shell cannot eat the next command."""
    sh = box.shell()
    assert sh.run("cat; read x; echo done").stdout == "done\n"
    assert sh.run("echo next").stdout == "next\n"


@promise()
def two_shells(box: Sandbox, provider: Provider) -> None:
    """Shells are independent, see one tree, and can be closed twice."""
    a, b = box.shell(), box.shell()
    a.run("x=1; echo seen > new.txt")
    assert b.run("echo [$x]; cat new.txt").stdout == "[]\nseen\n"
    a.close()
    a.close()
    assert "closed" in refused(RuntimeError, lambda: a.run("true"))
    assert b.run("echo on").stdout == "on\n"


@promise()
def shell_background(box: Sandbox, provider: Provider) -> None:
    """A process in the background of a shell lives on, and what it writes cannot flood us."""
    sh = box.shell()
    assert sh.run("yes & echo $!").exit_code == 0
    box.run("sleep 0.3")
    r = sh.run("echo on; kill %1")
    assert r.exit_code == 0 and len(r.stdout) <= box.limits.output
    assert sh.run("true").exit_code == 0 and sh.restarts == 0


@promise()
def shell_ends(box: Sandbox, provider: Provider) -> None:
    """A closed sandbox ends its shells."""
    with provider.create() as other:
        sh = other.shell()
        sh.run("true")
    assert "closed" in refused(RuntimeError, lambda: sh.run("true"))
