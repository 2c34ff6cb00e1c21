"""Every provider against the shipped promises; the fake; the pool; what is not a promise of one sandbox."""

import gc
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from milepost.sandboxes import Limits, Provider, Result, Sandbox, SandboxError, SandboxLost, Unavailable, make
from milepost.sandboxes.checks import PROMISES, plant
from milepost.sandboxes.fake import TIMEOUT, Fake
from milepost.sandboxes.pool import Pool
from milepost.sandboxes.self_check import main, self_check


def broken(provider, **settings):
    return [f"{r.name}: {r.detail}" for r in self_check(provider, **settings) if not r.ok]


def test_there_are_enough_promises_and_each_says_what_it_is():
    assert len(PROMISES) >= 65
    assert all(p.text.endswith(".") for p in PROMISES)
    assert len({p.name for p in PROMISES}) == len(PROMISES)


@pytest.mark.sandbox
@pytest.mark.timeout(200)
def test_local_keeps_every_promise(local):
    assert broken(local) == []


@pytest.mark.docker
@pytest.mark.timeout(600)
def test_docker_keeps_every_promise(engine):
    assert broken(engine) == []


@pytest.mark.core
def test_the_fake_keeps_the_promises_that_need_no_commands():
    with Fake() as provider:
        rows = list(self_check(provider, has=()))
    assert [f"{r.name}: {r.detail}" for r in rows if not r.ok] == []
    assert len(rows) > 15


@pytest.mark.core
def test_self_check_finds_a_broken_promise(capsys):
    class Forgetful(Fake):
        def create(self, *args, **kwargs):
            box = super().create(*args, **kwargs)
            box.restore = lambda snapshot=None: None
            return box

    rows = {r.name: r for r in self_check(Forgetful(), has=())}
    assert not rows["restore_files"].ok and "a.txt" in rows["restore_files"].detail
    assert main(["fake"]) == 0
    assert "0 broken" in capsys.readouterr().out


@pytest.mark.core
def test_the_fake_answers_and_records():
    provider = Fake({"pytest": Result("ok", "", 0), "count": lambda box, text: Result(str(len(box.files)), "", 0)})
    box = provider.create()
    assert isinstance(box, Sandbox)
    box.write("a", "1", mode=0o755)
    assert box.run("python -m pytest", timeout=5).stdout == "ok" and box.run(["count"]).stdout == "1"
    assert box.shell().run("nothing").exit_code == 127
    runs = [c for c in provider.calls if c.what == "run"]
    assert [c.detail for c in runs] == ["python -m pytest", "count", "nothing"]
    assert runs[0].box is box and runs[0].settings["timeout"] == 5
    assert provider.calls[1][:2] == ("write", "/work/a") and box.modes == {"/work/a": 0o755}


@pytest.mark.core
def test_the_fake_answers_one_after_another_or_by_a_function():
    box = Fake([Result("1", "", 0), lambda box, text: Result(text, "", 0)]).create()
    assert [box.run(c).stdout for c in ("a", "b", "c")] == ["1", "b", ""]
    assert Fake(lambda box, text: Result(text.upper(), "", 0)).create().run("loud").stdout == "LOUD"


@pytest.mark.core
def test_the_fake_fails_when_it_is_told_to():
    provider = Fake({"x": Result("ok", "", 0)})
    box, other = provider.create(), provider.create()
    provider.fail(TIMEOUT, after=1, what="run")
    provider.fail(SandboxLost("gone"), after=4)
    assert [box.run("x").timed_out for _ in range(3)] == [False, True, False]
    box.write("a", "1")
    for _ in range(2):  # it stays gone, the other lives
        with pytest.raises(SandboxLost, match="gone"):
            box.read("a")
    assert other.run("x").ok
    provider.fail(Unavailable("none here"), what="create")
    assert other.run("x").ok
    with pytest.raises(Unavailable, match="none here"):
        provider.create()
    assert provider.create().run("x").ok


@pytest.mark.core
def test_the_fake_ends_shells_as_others_do(tmp_path):
    with Fake() as provider:
        box = provider.create()
        sh = box.shell()
        box.restore()
        with pytest.raises(RuntimeError, match="restore"):
            sh.run("true")
        box.write("run.sh", "x", mode=0o700)
        box.download("run.sh", tmp_path / "out")
        assert os.access(tmp_path / "out", os.X_OK)
    with pytest.raises(RuntimeError, match="closed"):
        provider.create()


@pytest.mark.core
def test_unknown_providers_and_settings_are_refused():
    with pytest.raises(ValueError, match=r"'podman'.*'local'"):
        make("podman")
    with pytest.raises(TypeError, match="colour"):
        make("fake", colour=1)


@pytest.mark.core
def test_without_bubblewrap_it_says_what_to_install(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(Unavailable, match="bubblewrap"):
        make("local")


@pytest.mark.core
def test_the_pool_hands_out_takes_back_and_replaces():
    provider = Fake()
    with Pool(provider, size=2) as pool:
        a, b, c = pool.take(), pool.take(), pool.take()
        a.write("x", "1")
        pool.give(a)
        again = pool.take()
        assert again is a and again.files == {}
        provider.fail(SandboxLost("gone"))
        pool.give(b)  # dead: another takes its place
        assert pool.lost == 1 and pool.take() not in (a, b, c)
        c.close()
        pool.give(c)  # its user closed it: another takes its place, and nothing was lost
        assert pool.lost == 1 and pool.take() not in (a, b, c)
        with pytest.raises(ValueError, match="not taken"):
            pool.give(provider.create())
        pool.give(again)
        with pytest.raises(ValueError, match="not taken"):
            pool.give(again)
        with pytest.raises(ValueError, match="size"):
            Pool(provider, size=0)
    with pytest.raises(RuntimeError, match="closed"):
        pool.take()
    pool.give(b)  # closed with the pool
    assert sum(not box._closed for box in provider.boxes) == 1  # the one that we made


@pytest.mark.core
def test_a_pool_counts_what_died_while_it_waited_and_its_first_one_too():
    provider = Fake()
    with Pool(provider, size=1) as pool:
        provider.fail(SandboxLost("gone"), what="run")
        box = pool.take()
        assert pool.lost == 1 and box.run("x").exit_code == 127
        provider.fail(SandboxLost("gone"), what="fork")
        assert pool.take().run("x").exit_code == 127
        assert pool.lost == 2
        provider.fail(Unavailable("no more"), what="fork")
        provider.fail(Unavailable("no more"), what="create")
        with pytest.raises(Unavailable, match="no more"):
            pool.take()
        assert pool.take().run("x").exit_code == 127  # and again when it is back


@pytest.mark.core
def test_a_pool_that_cannot_be_filled_leaves_nothing_open():
    provider = Fake()
    provider.fail(Unavailable("full"), after=1, what="fork")
    provider.fail(Unavailable("full"), after=2, what="fork")
    with pytest.raises(Unavailable, match="full"):
        Pool(provider, size=3)
    assert provider.boxes and all(box._closed for box in provider.boxes)


@pytest.mark.core
def test_a_pool_is_shared_by_threads():
    provider = Fake(lambda box, text: Result(str(len(box.files)), "", 0))
    with Pool(provider, size=3) as pool:
        dirty = []

        def work():
            for i in range(40):
                box = pool.take()
                dirty.append(box.run("count").stdout != "0")
                box.write(f"f{i}", "x")
                pool.give(box)

        threads = [threading.Thread(target=work) for _ in range(6)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert len(dirty) == 240 and not any(dirty) and pool.lost == 0
        assert len(pool._waiting) == 3 and not pool._out
    assert all(box._closed for box in provider.boxes)


@pytest.mark.sandbox
def test_a_pool_of_real_sandboxes(local, tmp_path):
    plant(str(tmp_path))
    with Pool(local, tmp_path, size=2) as pool:
        box = pool.take()
        box.run("rm -rf *; sleep 74 &")
        pool.give(box)
        back = pool.take()
        assert back.read("a.txt") == b"alpha\n" and "sleep 74" not in back.run("ps -eo args").stdout
        pool.give(back)
        dead = pool.take()
        dead.box.close()  # behind its back
        pool.give(dead)
        assert pool.lost == 1
        assert [pool.take().run("echo on").stdout for _ in range(3)] == ["on\n"] * 3


@pytest.mark.sandbox
def test_a_changed_tree_is_seen_by_the_next_sandbox(local, tmp_path):
    (tmp_path / "f").write_text("1")
    with local.create(tmp_path) as a:
        (tmp_path / "f").write_text("2")
        with local.create(tmp_path) as b:
            assert (a.read("f"), b.read("f")) == (b"1", b"2")
        assert (tmp_path / "f").read_text() == "2"


@pytest.mark.sandbox
def test_read_only_mounts(tmp_path):
    (tmp_path / "data").write_text("here")
    tmp_path.chmod(0o755)
    with make("local", mounts={"/data": str(tmp_path)}) as provider, provider.create() as box:
        assert box.read("/data/data") == b"here"
        assert box.run("touch /data/x").exit_code
    for bad in ({"data": str(tmp_path)}, {"/data": "/no-such"}, {"/usr": str(tmp_path)}):
        with pytest.raises(ValueError, match="mount"):
            make("local", mounts=bad)


@pytest.mark.sandbox
def test_the_python_of_this_program_is_there(local):
    with local.create() as box:
        said = box.run(["python3", "-c", "import sys, json; print(sys.version_info[:2])"])
        assert said.stdout == f"{sys.version_info[:2]}\n"


@pytest.mark.sandbox
def test_groups_of_who_was_killed_are_removed_by_the_next():
    processes, _, groups = leftovers()
    provider = make("local")
    rooted = bool(provider.link.means) and os.geteuid() == 0
    box = provider.create()
    box.run("sleep 78 &")
    provider.link.process.kill()  # as root it is not the keeper, but who would remove the groups
    provider.link.process.wait()
    assert not rooted or box.run("echo on").stdout == "on\n"
    provider.close()
    for _ in range(300):
        if leftovers()[0] == processes:
            break
        time.sleep(0.1)
    left = leftovers()[2] - groups
    assert leftovers()[0] == processes and bool(left) == rooted
    for path in left:
        os.utime(path, (0, 0))
    with make("local") as other, other.create() as box:
        assert box.run("echo on").stdout == "on\n"
    assert leftovers()[2] == groups


@pytest.mark.sandbox
def test_an_interrupt_ends_the_command(local, interruptible):
    with local.create() as box:
        timer = threading.Timer(0.5, os.kill, (os.getpid(), 2))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            box.run("sleep 75")
        timer.join()
        assert "sleep 75" not in box.run("ps -eo args").stdout


def resident(pid):
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def leftovers():
    """What our sandboxes could leave behind: processes, mounts, control groups."""
    me, parents, ours = os.getpid(), {}, set()
    for n in filter(str.isdigit, os.listdir("/proc")):
        try:
            parents[int(n)] = int(Path(f"/proc/{n}/stat").read_text().rpartition(")")[2].split()[1])
            if f"milepost-{me}-" in Path(f"/proc/{n}/cgroup").read_text():
                ours.add(int(n))
        except (OSError, IndexError):
            pass  # it ended
    new = {me}
    while new:
        ours |= new
        new = {p for p, up in parents.items() if up in ours} - ours
    # os.walk bears groups that others remove meanwhile, glob does not
    walked = ((folder, name) for folder, inner, _ in os.walk("/sys/fs/cgroup") for name in inner)
    groups = {f"{folder}/{name}" for folder, name in walked if name.startswith(f"milepost-{me}-")}
    mounts = [m for m in Path("/proc/mounts").read_text().splitlines() if "milepost" in m or "/store" in m]
    return ours, mounts, groups


@pytest.mark.sandbox
@pytest.mark.parametrize("cycles", [40, pytest.param(1000, marks=pytest.mark.full)])
def test_cycles_leak_nothing(cycles, tmp_path, tmp_path_factory, monkeypatch):
    temporary = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    plant(str(tmp_path))
    before = leftovers()

    def keeper_memory():
        pids = subprocess.run(["pgrep", "-P", str(provider.link.process.pid)], capture_output=True, text=True).stdout
        pid = (pids.split() or [provider.link.process.pid])[0]
        return resident(pid), len(os.listdir(f"/proc/{pid}/fd"))

    def cycle():
        with provider.create(tmp_path) as box:
            box.run("echo x > new; sleep 76 &")
            saved = box.snapshot()
            box.restore()
            box.fork(saved).close()
            saved.close()

    with make("local") as provider:
        for _ in range(20):
            cycle()
        gc.collect()
        fds, ours, (memory, theirs) = len(os.listdir("/proc/self/fd")), resident(os.getpid()), keeper_memory()
        running = leftovers()
        for _ in range(cycles):
            cycle()
        gc.collect()
        assert len(os.listdir("/proc/self/fd")) == fds and resident(os.getpid()) < ours + 8 * 2**20
        after, still = keeper_memory()
        assert still == theirs and after < memory + 4 * 2**20
        assert leftovers() == running
    assert os.listdir(temporary) == []
    assert leftovers() == before


@pytest.mark.core
def test_limits_are_checked():
    with pytest.raises(ValueError, match="limit memory"):
        Limits(memory=0)


@pytest.mark.core
def test_protocols_are_what_providers_are():
    assert isinstance(Fake().create(), Sandbox)
    assert issubclass(SandboxLost, SandboxError) and issubclass(Unavailable, SandboxError)
    assert Provider.__doc__
