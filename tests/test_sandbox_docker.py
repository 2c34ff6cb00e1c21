"""What the docker provider promises beside what every provider does (self_check): isolation, orphans, remote engines, leaks."""

import contextlib
import errno
import gc
import io
import os
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import sys
import tarfile
import textwrap
import threading
import time
import types

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.sandboxes import Limits, SandboxError, SandboxLost, Unavailable
from milepost.sandboxes.base import MB
from milepost.sandboxes.docker import HOST, IMAGE, LABEL, OWNER, Docker, orphan, owner, this_host
from milepost.sandboxes.docker_tree import Making, pieces, scan

SOCKET = "/var/run/docker.sock"


@pytest.fixture
def box(engine):
    with engine.create(limits=Limits(timeout=30)) as box:
        yield box


def containers(engine, **filters):
    return engine._engine.api.containers(all=True, filters={"label": f"{LABEL}={engine.ident}", **filters})


def inspect(engine, box):
    return engine._engine.api.inspect_container(box.box.ident)


def gone(engine, ident, seconds=20):
    """Whether a container disappears within some time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not engine._engine.api.containers(all=True, filters={"id": ident}):
            return True
        time.sleep(0.05)
    return False


# -- isolation ---------------------------------------------------------------------------------------
@pytest.mark.docker
def test_what_can_be_seen_from_inside(box):
    facts = dict(line.split(":\t", 1) for line in box.run("cat /proc/self/status").stdout.splitlines() if ":\t" in line)
    assert {facts[f"Cap{k}"] for k in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
    assert facts["NoNewPrivs"] == "1" and facts["Seccomp"] == "2"
    assert facts["Uid"].split() == facts["Gid"].split() == ["1000"] * 4
    assert os.listdir("/sys/class/net") and box.run("ls /sys/class/net").stdout == "lo\n"
    assert box.run("cat /proc/net/route /proc/net/ipv6_route | grep -vc lo$").stdout == "1\n"  # the heading
    assert box.run("for d in / /etc /usr /var/tmp /run /opt /home; do touch $d/x && echo $d; done").stdout == ""
    found = box.run("find / -xdev -type d -writable 2>/dev/null").stdout.splitlines()
    assert sorted(found) == ["/tmp", "/work"]
    mounts = [line.split() for line in box.run("cat /proc/mounts").stdout.splitlines()]
    writable = {m[1] for m in mounts if m[2] == "tmpfs" and "rw" in m[3].split(",")}
    assert {"/work", "/tmp"} <= writable and not any("nosuid" not in m[3] for m in mounts if m[1] in ("/work", "/tmp"))
    assert "nosuid,nodev" in next(m[3] for m in mounts if m[1] == "/dev/shm")


@pytest.mark.docker
def test_what_the_engine_was_asked_for(engine):
    limits = Limits(memory=300 * MB, processes=40, disk=100 * MB)
    with engine.create(limits=limits) as box:
        said = inspect(engine, box)
        host = said["HostConfig"]
        assert host["NetworkMode"] == "none" and host["ReadonlyRootfs"] and host["CapDrop"] == ["ALL"]
        assert host["SecurityOpt"] == ["no-new-privileges:true"] and host["IpcMode"] == "private" and host["AutoRemove"]
        assert host["PidsLimit"] == 42 and host["ShmSize"] == 100 * MB and host["NanoCpus"] == 10**9
        assert 300 * MB <= host["Memory"] == host["MemorySwap"] <= 340 * MB
        assert not host["Binds"] and not said["Mounts"] and not host["Privileged"] and not host["Devices"]
        assert said["Config"]["User"] == "1000:1000" and host["LogConfig"]["Type"] == "none"
        assert said["Config"]["StdinOnce"] and said["Config"]["OpenStdin"]
        assert box.limits.enforced["memory"].startswith("cgroup v") and box.limits.enforced["disk"] == "tmpfs"


@pytest.mark.docker
def test_the_first_process_cannot_be_harmed(box):
    code = """
        import ctypes, os, resource
        libc = ctypes.CDLL(None, use_errno=True)
        for n in range(1, 65):
            try: os.kill(1, n)
            except OSError as e: print(n, e)
        print(libc.ptrace(16, 1, 0, 0), ctypes.get_errno())
        for what in (lambda: resource.prlimit(1, resource.RLIMIT_NOFILE, (3, 3)), lambda: open("/proc/1/mem", "rb"),
                     lambda: open("/proc/1/oom_score_adj", "w"), lambda: os.listdir("/proc/1/fd")):
            try: print(what())
            except OSError as e: print(e.errno)
        print(resource.getrlimit(resource.RLIMIT_NOFILE), resource.getrlimit(resource.RLIMIT_CORE))
    """
    said = box.run(["python3", "-c", textwrap.dedent(code)])
    assert said.stdout.splitlines() == ["-1 1", "1", "13", "13", "13", "(1024, 1024) (0, 0)"], said
    assert box.run("echo alive").stdout == "alive\n"


@pytest.mark.docker
def test_files_that_fill_all_memory_are_a_result(engine):
    with engine.create(limits=Limits(memory=64 * MB, disk=64 * MB, timeout=20)) as box:
        before = inspect(engine, box)["HostConfig"]["Memory"]
        fill = box.run("for d in /tmp /dev/shm /work; do head -c 100M /dev/zero >$d/full; done; echo survived")
        assert fill.exit_code in (0, 1, 137)
        assert box.run("echo on; rm /tmp/full").stdout == "on\n"
        assert inspect(engine, box)["HostConfig"]["Memory"] <= before + 3 * 64 * MB
        box.restore()
        assert inspect(engine, box)["HostConfig"]["Memory"] == before
        assert box.run("ls -A /tmp /dev/shm /work | grep -c full").stdout == "0\n"


@pytest.mark.docker
def test_a_server_that_was_killed_between_commands_is_replaced(box):
    box.run("(sleep 0.1; kill -9 $PPID) >/dev/null 2>&1 &")
    time.sleep(0.5)
    assert box.run("echo next").stdout == "next\n"


# -- states ------------------------------------------------------------------------------------------
@pytest.mark.docker
def test_restore_sees_what_leaves_no_trace_in_times(box):
    """Writing to a mapping changes no time on a tmpfs, and times can be set."""
    box.write("mapped", "aaaa")
    box.write("set", "aaaa")
    box.run("sleep 0.05; touch -d @1000000000.5 set")
    kept = box.snapshot()
    code = """
        import mmap, os
        before = os.stat("mapped")
        with open("mapped", "r+b") as f, mmap.mmap(f.fileno(), 4) as m: m[0:2] = b"zz"
        after = os.stat("mapped")
        print(before.st_mtime_ns == after.st_mtime_ns, before.st_ctime_ns == after.st_ctime_ns)
    """
    print(box.run(["python3", "-c", textwrap.dedent(code)]).stdout)  # True True on the kernels that we know
    box.run("printf zzzz >set; touch -d @1000000000.5 set")
    assert box.read("mapped") == b"zzaa" and box.read("set") == b"zzzz"
    box.restore(kept)
    assert box.read("mapped") == b"aaaa" and box.read("set") == b"aaaa"
    assert box.run("stat -c %y set").stdout.startswith("2001-09-09 01:46:40.500000000")


@pytest.mark.docker
def test_modes_that_lock_the_owner_out_are_no_obstacle(box):
    empty = box.snapshot()
    assert box.run("mkdir -p a/b; echo in >a/b/f; chmod 0 a/b/f; chmod 0 a/b; chmod 111 a; chmod 555 .").ok
    kept = box.snapshot()
    box.restore(empty)
    assert box.run("ls -A; stat -c %a .").stdout == "755\n"
    box.restore(kept)
    look = "stat -c %a . a; chmod 755 . a; stat -c %a a/b; chmod 700 a/b; stat -c %a a/b/f; chmod 600 a/b/f; cat a/b/f"
    assert box.run(look).stdout.split() == ["555", "111", "0", "0", "in"]


@pytest.mark.docker
def test_restore_clears_what_is_no_file(box):
    box.run("ipcmk -M 100000 -S 2 -Q; setfattr -n user.note -v secret . ; :")
    code = "import os; os.setxattr('.', 'user.note', b'x'); open('f', 'w'); os.setxattr('f', 'user.note', b'x')"
    kept = box.snapshot()
    box.run(["python3", "-c", code])
    assert box.run("grep -c 1000 /proc/sysvipc/shm").stdout == "1\n"
    box.restore(kept)
    assert box.run("cat /proc/sysvipc/shm /proc/sysvipc/sem /proc/sysvipc/msg | grep -vc key").stdout == "0\n"
    assert box.run(["python3", "-c", "import os; print(os.listxattr('.'), os.listdir('.'))"]).stdout == "[] []\n"


@pytest.mark.docker
def test_trees_that_cannot_be_kept_are_refused_and_removed(box):
    empty = box.snapshot()
    deep = "import os\nfor _ in range(3000): os.mkdir('deeper'); os.chdir('deeper')"
    assert box.run(["python3", "-c", deep]).ok
    with pytest.raises(OSError) as e:
        box.snapshot()
    assert e.value.errno == errno.ENAMETOOLONG
    box.restore(empty)
    assert box.run("ls -A").stdout == ""
    assert box.run("for i in $(seq 20); do truncate -s 200M hole$i; done").ok
    with pytest.raises(OSError) as e:
        box.snapshot()
    assert e.value.errno == errno.EFBIG
    box.restore(empty)
    assert box.run("ls -A; truncate -s 200M hole; echo end >>hole").stdout == ""
    hole = box.snapshot()
    box.restore(empty)
    box.restore(hole)
    blocks, size = map(int, box.run("stat -c '%b %s' hole").stdout.split())
    assert size == 200 * MB + 4 and blocks * 512 < MB


NAMES = st.sampled_from(["a", "b", "é\n", "\udcff"])
NODES = st.recursive(
    st.tuples(
        st.just("f"),
        st.binary(max_size=3).map(lambda b: bytes(70000) if b == b"\0" else b),
        st.sampled_from([0o644, 0o400, 0o755]),
    ),
    lambda inner: (
        st.tuples(st.just("d"), st.dictionaries(NAMES, inner, max_size=3), st.sampled_from([0o755, 0o1700]))
        | st.tuples(st.just("l"), st.sampled_from(["a", "nowhere", "/etc"]), st.just(0))
        | st.tuples(st.just("h"), st.just(""), st.just(0))
        | st.tuples(st.just("p"), st.just(""), st.just(0o600))
    ),
    max_leaves=12,
)


def plant(path, node, files):
    kind, content, mode = node
    if kind == "d":
        os.makedirs(path, exist_ok=True)
        for name, inner in content.items():
            plant(os.path.join(path, os.fsencode(name)), inner, files)
    elif kind == "l":
        os.symlink(content, path)
    elif kind == "p":
        os.mkfifo(path)
    elif kind == "h" and files:
        os.link(files[0], path)
    else:
        files.append(path)
        with open(path, "wb") as f:
            f.write(content or b"")
    if kind in "dfp":
        os.chmod(path, mode)
    os.utime(path, ns=(0, 10**18 + len(path)), follow_symlinks=False)


@given(st.dictionaries(NAMES, NODES, max_size=4), st.dictionaries(NAMES, NODES, max_size=4))
def test_any_tree_becomes_any_other(tmp_path_factory, one, other):
    top = os.fsencode(tmp_path_factory.mktemp("trees"))
    a, b = os.path.join(top, b"a"), os.path.join(top, b"b")
    plant(a, ("d", one, 0o755), [])
    plant(b, ("d", other, 0o750), [])
    goal = scan(b)
    contents = {e[5]: b"".join(pieces(os.path.join(b, os.fsencode(e[0])), None)) for e in goal if e[1] == "f"}
    making = Making(a, goal)
    stream = io.BytesIO(b"".join(contents[sha] for sha in making.need))
    making.fill(stream.read)
    making.finish()
    assert stream.read() == b"" and scan(a) == goal
    again = Making(a, goal)
    assert again.need == [] and len(again.kept) == len(goal)
    shutil.rmtree(top)


@pytest.mark.docker
def test_containers_wait_for_the_next_forks(engine):
    with Docker() as provider:
        box = provider.create(limits=Limits(disk=64 * MB))
        box.write("f", "1")
        assert len(containers(provider)) == 1
        first = box.fork()
        family = box.box._family
        waits = family._spares[0].result(60).ident
        assert len(containers(provider)) == 3
        box.write("f", "2")
        second = box.fork()
        assert second.box.ident == waits and (first.read("f"), second.read("f")) == (b"1", b"2")
        second.write("f", "3")
        second.restore()  # as it was created
        assert second.read("f") == b"2"
        engine._engine.api.remove_container(family._spares[0].result(60).ident, force=True)
        with box.fork() as third:  # one that is dead is no reason to fail
            assert third.read("f") == b"2"
        with box.fork():  # it does not wait yet, so that two will
            assert len(family._spares) == 2
        assert box.run("head -c 30M /dev/zero >big").ok
        with box.fork() as fourth:  # its tree may grow as much as its parent's
            assert fourth.box._family is not family
            assert fourth.run("head -c 60M /dev/zero >more").ok
        for each in (box, first, second):
            assert containers(provider)
            each.close()
        assert not containers(provider)


# -- orphans -----------------------------------------------------------------------------------------
@pytest.mark.docker
def test_labels_name_the_owner(engine, box):
    labels = inspect(engine, box)["Config"]["Labels"]
    assert labels[LABEL] == engine.ident and labels[HOST] == this_host() and labels[OWNER] == owner(os.getpid())
    assert socket.gethostname() in labels[HOST] and f" {os.getpid()} " in labels[OWNER]


def test_an_owner_is_dead_only_for_sure():
    ours = owner(os.getpid())
    boot, space, pid, start = ours.split(" ")
    assert not orphan(ours) and not orphan("") and not orphan("anything else")
    assert orphan(f"{boot} {space} {pid} {int(start) + 1}")  # another process with that number
    assert orphan(f"another-boot {space} {pid} {start}")
    assert not orphan(f"{boot} pid:[1] {pid} 1")  # another pid namespace: nobody here can tell
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    label = owner(child.pid)
    assert not orphan(label)
    child.kill()
    time.sleep(0.1)
    assert orphan(label)  # a zombie is dead
    child.communicate()
    assert orphan(label) and owner(child.pid) == ""


@pytest.mark.docker
def test_sweep_removes_containers_of_dead_owners_alone(engine):
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    dead, alive = owner(child.pid), owner(os.getpid())
    child.communicate(b"\n")
    api, made = engine._engine.api, []
    try:
        for who, host in ((dead, this_host()), (alive, this_host()), (dead, "elsewhere 0")):
            labels = {LABEL: "test", OWNER: who, HOST: host}
            made.append(api.create_container(IMAGE, ["true"], labels=labels)["Id"])
        with Docker():  # at its start
            left = {c["Id"] for c in api.containers(all=True, filters={"label": f"{LABEL}=test"})}
        assert left == set(made[1:])
        assert engine.sweep() == 0
    finally:
        for ident in made:
            engine._engine.remove(ident)


@pytest.mark.docker
def test_containers_go_with_their_program(engine):
    code = """
        import os, sys
        from milepost.sandboxes import make
        provider = make("docker")
        box = provider.create()
        fork = box.fork()
        shell = box.shell()
        shell.run("sleep 1000 & setsid sleep 1000 &")
        print(provider.ident, box.box.ident, fork.box.ident, flush=True)
        sys.stdin.read()
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        ident, *idents = child.stdout.readline().split()
        assert len(engine._engine.api.containers(filters={"label": f"{LABEL}={ident}"})) == 2
        child.send_signal(signal.SIGKILL)
    assert all(gone(engine, each) for each in idents)


@pytest.mark.docker
def test_a_box_that_nobody_holds_goes(engine):
    box = engine.create()
    ident = box.box.ident
    assert box.run("true").ok
    del box
    gc.collect()
    assert gone(engine, ident)


@pytest.mark.docker
def test_a_container_that_is_removed_is_lost_alone(engine, box):
    with engine.create() as victim:
        victim.write("f", "x")
        kept = victim.snapshot()
        shell = victim.shell()
        assert shell.run("true").ok
        engine._engine.api.remove_container(victim.box.ident, force=True)
        for call in (
            lambda: victim.run("true"),
            lambda: shell.run("true"),
            victim.snapshot,
            victim.restore,
            victim.fork,
        ):
            with pytest.raises(SandboxLost, match="gone"):
                call()
        box.restore(kept)  # a snapshot outlives its sandbox
        assert box.read("f") == b"x"


@pytest.mark.docker
def test_a_child_process_does_not_use_its_parents_box(engine, box):
    assert box.run("true").ok
    out, into = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            with contextlib.suppress(SandboxError):
                box.run("true")
                os.write(into, b"it ran")
            box.close()
            os.write(into, b"closed")
        finally:
            os._exit(0)
    os.close(into)
    os.waitpid(pid, 0)
    with open(out, "rb") as f:
        assert f.read() == b"closed"
    assert box.run("echo mine").stdout == "mine\n"


# -- engines elsewhere -------------------------------------------------------------------------------
class Proxy(threading.Thread):
    """An engine on the loopback: every connection is handed on to the real one."""

    def __init__(self, context=None):
        super().__init__(daemon=True)
        self.listener, self.context, self.ends = socket.create_server(("127.0.0.1", 0)), context, []
        self.port = self.listener.getsockname()[1]
        self.start()

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                threading.Thread(target=self.join_up, args=(near,), daemon=True).start()

    def join_up(self, near):
        with contextlib.suppress(OSError):
            if self.context is not None:
                near = self.context.wrap_socket(near, server_side=True)
            far = socket.socket(socket.AF_UNIX)
            far.connect(SOCKET)
            self.ends += [near, far]
            threading.Thread(target=self.pour, args=(near, far), daemon=True).start()
            self.pour(far, near)

    def pour(self, source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self):
        for end in (self.listener, *self.ends):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@pytest.fixture
def certificates(tmp_path):
    """An authority, a server and a client of it, as the engine wants them."""
    names = {"ca": "/CN=ca", "server": "/CN=127.0.0.1", "client": "/CN=client"}
    for name, subject in names.items():
        signed = ["-CA", "ca.pem", "-CAkey", "ca-key.pem"] if name != "ca" else []
        extra = ["-addext", "subjectAltName=IP:127.0.0.1"] if name == "server" else []
        make = [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ]
        files = ["-keyout", f"{name}-key.pem", "-out", f"{name}.pem", "-subj", subject]
        subprocess.run([*make, *files, *signed, *extra], cwd=tmp_path, check=True, capture_output=True)
    shutil.copy(tmp_path / "client.pem", tmp_path / "cert.pem")
    shutil.copy(tmp_path / "client-key.pem", tmp_path / "key.pem")
    return tmp_path


def use(provider):
    """All that goes over the stream."""
    with provider, provider.create() as box:
        data = os.urandom(3 * MB)
        box.write("big", data)
        kept = box.snapshot()
        assert box.run("cat; rm big", stdin=data[:1000].hex()).stdout == data[:1000].hex()
        box.restore(kept)
        with box.fork() as fork:
            assert fork.read("big") == data
        found = []
        threads = [threading.Thread(target=lambda: found.append(box.run("sleep 0.1; echo x").stdout)) for _ in range(4)]
        for t in threads:
            t.start()
        assert box.shell().run("cd /tmp; pwd").stdout == "/tmp\n"
        for t in threads:
            t.join()
        assert found == ["x\n"] * 4


@pytest.mark.docker
def test_an_engine_over_tcp(engine, monkeypatch):
    proxy = Proxy()
    try:
        monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{proxy.port}")
        use(Docker())
        monkeypatch.delenv("DOCKER_HOST")
        provider = Docker(base_url=f"tcp://127.0.0.1:{proxy.port}")
        box = provider.create()
        ident = box.box.ident
        assert box.run("true").ok
        proxy.close()  # the connection breaks
        with pytest.raises(SandboxLost):
            box.run("true")
        assert gone(engine, ident)
        provider.close()
    finally:
        proxy.close()


@pytest.mark.docker
def test_an_engine_over_tls(engine, monkeypatch, certificates):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem", certificates / "server-key.pem")
    context.load_verify_locations(certificates / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    proxy = Proxy(context)
    try:
        monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("DOCKER_CERT_PATH", str(certificates))
        monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
        use(Docker())
    finally:
        proxy.close()


@pytest.mark.docker
def test_an_engine_of_a_context(engine, monkeypatch, tmp_path):
    import docker

    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    docker.ContextAPI.create_context("here", host=f"unix://{SOCKET}")
    docker.ContextAPI.create_context("nowhere", host="unix:///nowhere/docker.sock")
    with Docker(context="here") as provider, provider.create() as box:
        assert box.run("echo hi").stdout == "hi\n"
    with pytest.raises(Unavailable, match=r"no docker engine at unix:///nowhere/docker\.sock"):
        Docker(context="nowhere")
    (tmp_path / "config.json").write_text('{"currentContext": "nowhere"}')
    with pytest.raises(Unavailable, match="nowhere"):
        Docker()
    with pytest.raises(ValueError, match="docker context is 'other'; allowed: 'default', 'here', 'nowhere'"):
        Docker(context="other")


# -- what is missing ---------------------------------------------------------------------------------
def test_no_sdk(monkeypatch):
    monkeypatch.setitem(sys.modules, "docker", types.ModuleType("docker"))  # the folder docker/ of this repository
    with pytest.raises(Unavailable, match=r"pip install 'milepost\[docker\]'"):
        Docker()


def test_no_engine():
    for url in ("unix:///nowhere/docker.sock", "tcp://127.0.0.1:9"):
        with pytest.raises(Unavailable, match=f"there is no docker engine at {url}: start one"):
            Docker(base_url=url)


@pytest.mark.parametrize(
    "wrong", [{"network": "host"}, {"network": ""}, {"cpus": 0}, {"base_url": "x", "context": "y"}]
)
def test_wrong_settings(wrong):
    with pytest.raises(ValueError, match="allowed:"):
        Docker(**wrong)


@pytest.mark.docker
def test_no_permission(engine):
    if os.geteuid() or stat.S_IMODE(os.stat(SOCKET).st_mode) & 0o6:
        pytest.skip("everybody may use this engine, or we may not become somebody else")
    out, into = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            Docker(base_url=f"unix://{SOCKET}")
        except Unavailable as e:
            os.write(into, str(e).encode())
        finally:
            os._exit(0)
    os.close(into)
    os.waitpid(pid, 0)
    with open(out) as f:
        assert "join its group" in f.read()


@pytest.mark.docker
def test_images_that_will_not_do(engine):
    with pytest.raises(Unavailable, match=r"no image milepost/swe:none: docker/build\.sh swe makes it"):
        Docker("milepost/swe:none")
    with pytest.raises(Unavailable, match=r"no image nothing:none: docker pull nothing:none"):
        Docker("nothing:none")
    api, made = engine._engine.api, []
    try:
        tar = io.BytesIO()
        with tarfile.open(fileobj=tar, mode="w") as t:
            t.addfile(tarfile.TarInfo("empty"))
        api.import_image_from_data(tar.getvalue(), repository="milepost/test-empty")
        made.append("milepost/test-empty")
        with Docker("milepost/test-empty") as provider:
            with pytest.raises(Unavailable, match="image milepost/test-empty has no python3"):
                provider.create()
            assert not containers(provider)
        text = f"FROM {IMAGE}\nUSER 0\nRUN mkdir /only && ln -s /usr/bin/python3 /only/python3\nENV PATH=/only\n"
        for _ in api.build(
            fileobj=io.BytesIO(text.encode()), tag="milepost/test-bashless", network_mode="none", rm=True
        ):
            pass
        made.append("milepost/test-bashless")
        with Docker("milepost/test-bashless") as provider:
            with pytest.raises(Unavailable, match="image milepost/test-bashless has no bash"):
                provider.create()
            assert not containers(provider)
    finally:
        for image in made:
            api.remove_image(image, force=True)


# -- leaks -------------------------------------------------------------------------------------------
@pytest.mark.docker
@pytest.mark.parametrize("cycles", [50, pytest.param(1000, marks=[pytest.mark.full, pytest.mark.timeout(1500)])])
def test_cycles_leak_nothing(tmp_path, engine, cycles):
    (tmp_path / "f").write_text("x" * 100_000)
    with Docker() as provider:

        def cycle():
            with provider.create(tmp_path) as box:
                assert box.run("rm f; echo y >g").ok
                kept = box.snapshot()
                box.restore()
                assert box.run("ls").stdout == "f\n"
                box.restore(kept)
                kept.close()

        def held():
            gc.collect()
            with open("/proc/self/statm") as f:
                pages = int(f.read().split()[1])
            return len(os.listdir("/proc/self/fd")), threading.active_count(), pages * 4096

        for _ in range(12):  # the SDK keeps up to ten connections
            cycle()
        files, threads, memory = held()
        for _ in range(cycles - 12):
            cycle()
        after = held()
        assert after[0] <= files and after[1] <= threads and after[2] < memory + 20 * MB
        for _ in range(100):  # a busy engine lists one that it has removed for a while
            if not containers(provider):
                break
            time.sleep(0.2)
        assert not containers(provider)
        assert len(provider._store._known) == 1  # of the tree
