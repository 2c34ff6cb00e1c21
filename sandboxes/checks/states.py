"""Promises about snapshots, forks and ends."""

from __future__ import annotations

import tempfile

from ..base import Limits, Provider, Sandbox
from . import TREE, facts, plant, promise, refused, state

# everything that can happen to a tree
CHANGES = (
    "echo more >> a.txt",
    "rm dir/b.txt; rmdir void",
    "chmod 700 run.sh; chmod 711 dir",
    "ln -sf dir/b.txt link",
    "rm -rf dir; mkdir dir; echo new > dir/other",
    "rm -rf dir; echo file > dir",
    "rm a.txt; mkdir a.txt; echo x > a.txt/x",
    "mv a.txt moved; ln moved twice",
    "touch -d 2001-01-01T00:00:00.123456789 a.txt dir",
    "cp -r dir copy; mkfifo pipe; ln -s nowhere broken",
    "find . -type f -delete",
    "truncate -s 1M sparse; mkdir -p p/q/r; chmod 500 p/q",
)


@promise("")
def restore_files(box: Sandbox, provider: Provider) -> None:
    """Restoring brings changed and deleted files back and takes new ones away."""
    saved = box.snapshot()
    box.write("a.txt", "changed")
    box.write("new", "1")
    box.restore(saved)
    assert box.read("a.txt") == TREE["a.txt"]
    refused(FileNotFoundError, lambda: box.read("new"))


@promise()
def restore_exact(box: Sandbox, provider: Provider) -> None:
    """A restored tree is the same: contents, modes, links, hard links, times, deletions, whatever happened."""
    box.run("ln a.txt hard; chmod 444 empty.txt; echo $RANDOM > r")
    saved, before = box.snapshot(), state(box)
    for change in CHANGES:
        box.run(change)
        assert state(box) != before, change
        box.restore(saved)
        assert state(box) == before, change


@promise()
def restore_all_changes(box: Sandbox, provider: Provider) -> None:
    """The same when many changes come together, round after round."""
    before = state(box)
    for _ in range(3):
        box.run("; ".join(CHANGES))
        box.restore()
        assert state(box) == before


@promise()
def several_snapshots(box: Sandbox, provider: Provider) -> None:
    """Snapshots can be restored in any order, and one made after a restore as well."""
    saved, states = [], []
    for i in range(4):
        box.run(f"echo {i} >> a.txt; rm -f f{i - 1}; echo {i} > f{i}; {CHANGES[i + 1]}")
        saved.append(box.snapshot())
        states.append(state(box))
    for i in (2, 0, 3, 1, 1):
        box.restore(saved[i])
        assert state(box) == states[i], i
    box.run("echo again > again; rm -f run.sh")
    late, after = box.snapshot(), state(box)
    box.restore(saved[3])
    box.restore(late)
    assert state(box) == after


@promise("")
def closed_snapshot(box: Sandbox, provider: Provider) -> None:
    """A closed snapshot is refused, and closing twice does nothing."""
    saved = box.snapshot()
    saved.close()
    saved.close()
    assert "closed" in refused(ValueError, lambda: box.restore(saved))


@promise()
def restore_ends_processes(box: Sandbox, provider: Provider) -> None:
    """Restoring ends all processes and shells and empties /tmp."""
    sh = box.shell()
    sh.run("sleep 71 & echo x > /tmp/t; echo x > /dev/shm/s")
    box.run("setsid sleep 72 &")
    box.restore()
    left = box.run("find /tmp /dev/shm -mindepth 1; ps -eo args | grep '[s]leep 7'").stdout
    assert left == "", left
    assert "restore" in refused(RuntimeError, lambda: sh.run("true"))


@promise()
def restore_ends_ipc(box: Sandbox, provider: Provider) -> None:
    """Restoring removes what outlives its processes: System V memory, semaphores and queues, POSIX queues."""
    box.run("ipcmk -M 4096; ipcmk -S 1; ipcmk -Q")
    queue = "import ctypes; print(ctypes.CDLL(None).mq_open(b'/milepost', {}, 0o600, None))"
    assert box.run(["python3", "-c", queue.format(0o102)]).stdout != "-1\n"
    left = "tail -q -n +2 /proc/sysvipc/msg /proc/sysvipc/sem /proc/sysvipc/shm"
    assert len(box.run(left).stdout.splitlines()) == 3
    box.restore()
    assert box.run(left).stdout == ""
    assert box.run(["python3", "-c", queue.format(2)]).stdout == "-1\n"


@promise()
def restore_from_anywhere(box: Sandbox, provider: Provider) -> None:
    """Restoring works when processes sit in the tree and hold its files."""
    box.run("cd dir && (sleep 73 < b.txt & tail -f deep/c.bin > /dev/null &) ")
    box.restore()
    assert box.run("cat dir/b.txt; pwd").stdout == f"beta\n{box.workdir}\n"


@promise("")
def forks_part(box: Sandbox, provider: Provider) -> None:
    """A fork has the tree as it is, and neither sees the other's changes."""
    box.write("a.txt", "at the fork")
    with box.fork() as other:
        assert other.read("a.txt") == b"at the fork" and other.workdir == box.workdir
        other.write("theirs", "1")
        box.write("a.txt", "ours")
        assert other.read("a.txt") == b"at the fork"
        refused(FileNotFoundError, lambda: box.read("theirs"))


@promise()
def fork_exact(box: Sandbox, provider: Provider) -> None:
    """A fork's tree is the same in all that ``restore`` keeps."""
    box.run("; ".join((*CHANGES[:4], "ln run.sh hard", CHANGES[8])))
    with box.fork() as other:
        assert state(other) == state(box)


@promise()
def fork_settings(box: Sandbox, provider: Provider) -> None:
    """Limits, directory and variables hold in every command, shell and fork; a fork has no process and an empty /tmp."""
    with provider.create(env={"COLOR": "red"}, workdir="/srv/x", limits=Limits(open_files=99)) as first:
        first.run("echo x > /tmp/t; sleep 77 &")
        with first.fork() as other:
            for run in (first.run, first.shell().run, other.run, other.shell().run):
                assert run("echo $COLOR; pwd; ulimit -n").stdout == "red\n/srv/x\n99\n"
            assert other.run("ls /tmp").stdout == "" and other.limits == first.limits
            assert "sleep 77" not in other.run("ps -eo args").stdout


@promise()
def fork_of_a_fork(box: Sandbox, provider: Provider) -> None:
    """Forks of forks keep what each added, and outlive their parents."""
    boxes = [box.fork()]
    for i in range(2):
        boxes[-1].run(f"echo {i} > level{i}; rm -f run.sh")
        boxes.append(boxes[-1].fork())
    for b in boxes[:-1]:
        b.close()
    assert boxes[-1].run("cat level*; ls run.sh").stdout == "0\n1\n"
    boxes[-1].restore()
    assert boxes[-1].run("cat level*").stdout == "0\n1\n"
    boxes[-1].close()


@promise("")
def fork_from_snapshot(box: Sandbox, provider: Provider) -> None:
    """A fork can be made of a snapshot, also after it was changed, and lives on when the snapshot is closed."""
    saved = box.snapshot()
    box.write("a.txt", "later")
    other = box.fork(saved)
    saved.close()
    assert other.read("a.txt") == TREE["a.txt"]
    other.write("a.txt", "x")
    other.restore()
    assert other.read("a.txt") == TREE["a.txt"]
    other.close()


@promise("")
def snapshots_between(box: Sandbox, provider: Provider) -> None:
    """A snapshot of one sandbox can be restored in its fork."""
    with box.fork() as other:
        other.write("a.txt", "from the fork")
        saved = other.snapshot()
        box.restore(saved)
        assert box.read("a.txt") == b"from the fork"


@promise("")
def siblings(box: Sandbox, provider: Provider) -> None:
    """Two sandboxes of one provider do not see each other."""
    with provider.create() as other:
        box.write("mine", "1")
        refused(FileNotFoundError, lambda: other.read("mine"))
        refused(FileNotFoundError, lambda: other.read("a.txt"))


@promise("")
def workdirs(box: Sandbox, provider: Provider) -> None:
    """The tree can be elsewhere, but not where it hides the system."""
    with provider.create(workdir="/srv/app") as other:
        other.write("x", "1")
        assert other.workdir == "/srv/app" and other.read("/srv/app/x") == b"1"
    for path in ("relative", "/", "/usr", "/usr/lib/x", "/tmp"):
        assert "workdir" in refused(ValueError, lambda p=path: provider.create(workdir=p))  # type: ignore[misc]


@promise("")
def tree_untouched(box: Sandbox, provider: Provider) -> None:
    """The directory given as the tree is never changed, whatever happens inside."""
    with tempfile.TemporaryDirectory() as folder:
        plant(folder)
        before = facts(folder)
        with provider.create(folder) as other:
            for name in TREE:
                other.write(name, "changed", mode=0o700)
            other.write("new", "1")
            if other.run("true").ok:
                other.run("rm -rf dir void link; chmod 700 .; mkdir more; touch -d 2001-01-01 .")
            other.snapshot()
            other.restore()
        assert facts(folder) == before


@promise("")
def missing_tree(box: Sandbox, provider: Provider) -> None:
    """A tree that does not exist is refused with its path."""
    assert "no-such-tree" in refused(OSError, lambda: provider.create("/no-such-tree"))


@promise("")
def closed(box: Sandbox, provider: Provider) -> None:
    """Closing twice does nothing, and a closed sandbox says so."""
    other = provider.create()
    other.close()
    other.close()
    for use in (lambda: other.run("true"), lambda: other.read("x"), other.snapshot, other.fork, other.restore):
        assert "closed" in refused(RuntimeError, use)


@promise("")
def limits_refused(box: Sandbox, provider: Provider) -> None:
    """A limit that is no positive number is refused by name."""
    for name in ("memory", "processes", "file_size", "open_files", "disk", "output", "timeout"):
        for value in (0, -1, "1", True, None):
            assert name in refused(ValueError, lambda n=name, v=value: Limits(**{n: v}))  # type: ignore[misc]
