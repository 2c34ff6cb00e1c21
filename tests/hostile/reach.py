"""Reaching what is outside: files, secrets, networks, the kernel."""

import os
import tempfile
import textwrap

from common import py


def host_files(provider, box, told):
    """No file of the machine but its system can be read, by any path or link, in the tree, in what is uploaded."""
    name = os.path.basename(told["secret"])
    with open(told["secret"]) as f:
        secret = f.read()
    ways = [
        told["secret"],
        f"/work/../..{told['secret']}",
        f"/proc/1/root{told['secret']}",
        f"/proc/self/cwd/../..{told['secret']}",
    ]
    script = 'for p in "$@" /proc/[0-9]*/root"$1" /proc/[0-9]*/cwd"$1"; do cat "$p"; done'
    r = box.run(["bash", "-c", script, "bash", *ways])
    assert secret not in r.stdout and r.exit_code and "No such file" in r.stderr, r
    assert box.run(f"find / -path /usr -prune -o -name '{name}*' -print 2>/dev/null").stdout == ""
    for path in ("/etc/shadow", "/root/.bashrc", "/proc/1/environ", "/proc/kcore", "/dev/mem", "/proc/1/mem"):
        r = box.run(f"head -c 100 {path} | wc -c")
        assert path == "/proc/1/environ" or r.stdout == "0\n", (path, r)
    with tempfile.TemporaryDirectory() as d:
        os.symlink(told["secret"], f"{d}/link")
        os.symlink(os.path.dirname(told["secret"]), f"{d}/folder")
        box.upload(d, "up")
        with provider.create(d) as other:
            for b, place in ((box, "up"), (other, ".")):
                assert b.run(f"readlink {place}/link").stdout == told["secret"] + "\n"
                r = b.run(f"cat {place}/link {place}/folder/{name}")
                assert r.exit_code and not r.stdout, r


def secrets_of_the_parent(provider, box, told):
    """No variable, argument or memory of our processes can be found in any process that is seen."""
    assert os.environ["MILEPOST_SECRET"].startswith("hidden-")
    r = py(
        box,
        """
        import os, re
        wanted, found, looked = b"hid" + b"den-in-our-environ", [], 0
        for pid in filter(str.isdigit, os.listdir("/proc")):
            if int(pid) == os.getpid():
                continue
            for name in ("environ", "cmdline"):
                try:
                    with open(f"/proc/{pid}/{name}", "rb") as f:
                        if wanted in f.read():
                            found.append((pid, name))
                except OSError:
                    pass
            try:
                with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as mem:
                    for line in maps:
                        a, b = (int(x, 16) for x in re.match("(\\\\w+)-(\\\\w+)", line).groups())
                        if " r" in line and b - a < 2**26:
                            try:
                                mem.seek(a)
                                data = mem.read(b - a)
                            except (OSError, ValueError, OverflowError):
                                continue
                            looked += len(data)
                            if wanted in data:
                                found.append((pid, "memory"))
            except OSError:
                pass
        print(found)
        """,
    )
    assert r.stdout == "[]\n", r


def loopback(provider, box, told):
    """The machine's loopback cannot be reached, over TCP, UDP or abstract unix sockets, nor is there another interface."""
    r = py(
        box,
        """
        import socket, sys
        port, name = int(sys.argv[1]), sys.argv[2]
        for family, kind, address in (
            (socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", port)),
            (socket.AF_UNIX, socket.SOCK_STREAM, "\\0" + name),
            (socket.AF_UNIX, socket.SOCK_DGRAM, "\\0" + name + "-dgram"),
        ):
            s = socket.socket(family, kind)
            s.settimeout(2)
            try:
                s.connect(address)
                print("reached", address)
            except OSError:
                pass
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            s.sendto(b"hello", ("127.0.0.1", port))
        except OSError:
            pass
        """,
        str(told["port"]),
        told["abstract"],
    )
    assert r.ok and r.stdout == "", r
    devices = [line.split(":")[0].strip() for line in box.run("cat /proc/net/dev").stdout.splitlines()[2:]]
    assert devices in (["lo"], []), devices
    routes = box.run("tail -n +2 /proc/net/route; cat /proc/net/ipv6_route; cat /proc/net/if_inet6 2>/dev/null").stdout
    assert all(line.split()[-1] == "lo" for line in routes.splitlines()), routes
    assert told["abstract"] not in box.run("cat /proc/net/unix").stdout


def siblings_apart(provider, box, told):
    """Two sandboxes share no socket, no process, no memory, no file."""
    with provider.create() as other:
        other.run("echo found > /tmp/theirs; echo found > /dev/shm/theirs; sleep 1009 & ipcmk -M 4096")
        serve = """
        import socket, time
        a = socket.socket(); a.bind(("127.0.0.1", 5999)); a.listen()
        b = socket.socket(socket.AF_UNIX); b.bind("\\0milepost-sibling"); b.listen()
        print("there", flush=True)
        """
        reach = """
        import socket
        for family, address in ((socket.AF_INET, ("127.0.0.1", 5999)), (socket.AF_UNIX, "\\0milepost-sibling")):
            s = socket.socket(family); s.settimeout(2)
            print(s.connect_ex(address) == 0)
        """
        hold = textwrap.dedent(serve) + "import os\nif os.fork(): os._exit(0)\nos.setsid(); time.sleep(99)"
        assert other.run(["python3", "-c", hold]).stdout == "there\n"
        assert py(other, reach).stdout == "True\nTrue\n"
        assert py(box, reach).stdout == "False\nFalse\n"
        r = box.run("ls /tmp /dev/shm; ps -eo args | grep '[1]009'; tail -q -n +2 /proc/sysvipc/shm")
        assert "theirs" not in r.stdout and "1009" not in r.stdout and "4096" not in r.stdout, r


def outside(provider, box, told):
    """Nothing can be written but the tree, /tmp and /dev/shm; no device but the harmless ones."""
    proc = "-path /proc -prune -o -path /dev/pts -prune -o"
    r = box.run(
        f"find / {proc} -type d -writable -print; find / {proc} -path /usr -prune -o -writable ! -type l ! -xtype c -print"
    )
    places = {"/".join(p.split("/")[:3]) if p.startswith("/dev") else "/" + p.split("/")[1] for p in r.stdout.split()}
    assert places <= {"/work", "/tmp", "/dev/shm", "/dev/mqueue"}, places
    r = box.run("find /dev \\( -type b -o -type c \\) -printf '%f\\n'")
    known = {"null", "zero", "full", "random", "urandom", "tty", "ptmx", "console"}
    assert {n for n in r.stdout.split() if not n.isdigit()} <= known, r
    for path in (
        "sysrq-trigger",
        "sys/kernel/core_pattern",
        "sys/vm/drop_caches",
    ):
        assert box.run(f": >> /proc/{path}").exit_code, path  # opens it, writes nothing
    for command in ("mknod x b 254 0", "mknod x c 1 1", "chown 0 ."):
        assert box.run(command).exit_code, command
    assert box.run("find /sys/kernel/debug /sys/fs/bpf /sys/firmware -mindepth 1 2>/dev/null").stdout == ""


def setuid(provider, box, told):
    """Set-uid programs give nothing: made inside, brought in by a tree or an upload, or of the system."""
    with tempfile.TemporaryDirectory() as d:
        os.chmod(d, 0o755)
        with open("/usr/bin/id", "rb") as f, open(f"{d}/id", "wb") as g:
            g.write(f.read())
        os.chmod(f"{d}/id", 0o6755)
        box.upload(d, "up")
        with provider.create(d) as other:
            for b, program in ((box, "up/id"), (other, "./id")):
                r = b.run(f"chmod u+s,g+s {program}; {program} -u; {program} -ru")
                assert r.stdout == 2 * b.run("id -u").stdout, r
    assert "NoNewPrivs:\t1" in box.run("cat /proc/self/status").stdout
    r = box.run("findmnt -no OPTIONS --target . ; findmnt -no OPTIONS /tmp; findmnt -no OPTIONS /dev/shm")
    assert [("nosuid" in line, "nodev" in line) for line in r.stdout.splitlines()] == [(True, True)] * 3, r
    for program in box.run("find / -xdev -perm /6000 -type f -executable 2>/dev/null").stdout.split():
        r = box.run(["timeout", "2", program, "-c", "id -u"])
        assert "0" not in r.stdout.split(), (program, r)


def namespaces(provider, box, told):
    """No mount, no namespace, no other root: nothing that gives power over what is outside."""
    r = py(
        box,
        """
        import ctypes, os
        libc, won = ctypes.CDLL(None, use_errno=True), []
        def apart(name, call):
            pid = os.fork()
            if not pid:
                os._exit(0 if call() >= 0 else 1)
            if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0:
                won.append(name)
        for name, flag in (("user", 0x10000000), ("mount", 0x20000), ("pid", 0x20000000), ("net", 0x40000000),
                           ("ipc", 0x8000000), ("uts", 0x4000000), ("cgroup", 0x2000000), ("user+mount", 0x10020000)):
            apart("unshare " + name, lambda: libc.unshare(flag))
        apart("mount", lambda: libc.mount(b"none", b"/tmp", b"tmpfs", 0, None))
        apart("bind", lambda: libc.mount(b"/usr", b"/tmp", None, 4096, None))
        apart("remount", lambda: libc.mount(None, b"/usr", None, 32 | 4096, None))
        apart("umount", lambda: libc.umount2(b"/proc/sys", 2))
        apart("umount tree", lambda: libc.umount2(b"/work", 2))
        apart("chroot", lambda: libc.chroot(b"/tmp"))
        apart("pivot", lambda: libc.syscall({"x86_64": 155, "aarch64": 41}[os.uname().machine], b"/tmp", b"/tmp"))
        apart("open_tree", lambda: libc.syscall(428, -100, b"/", 1))
        apart("fsopen", lambda: libc.syscall(430, b"tmpfs", 0))
        for pid in filter(str.isdigit, os.listdir("/proc")):
            for kind in ("mnt", "pid", "net", "user"):
                def join():
                    try:
                        return libc.setns(os.open(f"/proc/{pid}/ns/{kind}", 0), 0)
                    except OSError:
                        return -1
                apart(f"setns {pid} {kind}", join)
        apart("setuid", lambda: libc.setuid(0))
        apart("setgroups", lambda: libc.setgroups(1, (ctypes.c_uint * 1)(0)))
        print(won)
        """,
    )
    assert r.stdout == "[]\n", r


def kernel(provider, box, told):
    """Calls that reach past namespaces are refused: sockets to the hypervisor, keyrings, the kernel's log, bpf, io_uring ..."""
    r = py(
        box,
        """
        import ctypes, os, socket
        libc, won, buffer = ctypes.CDLL(None, use_errno=True), [], ctypes.create_string_buffer(4096)
        try:
            socket.socket(40, socket.SOCK_STREAM)  # AF_VSOCK
            won.append("vsock")
        except OSError:
            pass
        arm = os.uname().machine == "aarch64"
        for name, x86, other, *values in (
            ("add_key", 248, 217, b"user", b"k", b"v", 1, -5),
            ("request_key", 249, 218, b"user", b"k", None, 0),
            ("keyctl join", 250, 219, 1, None),
            ("keyctl read", 250, 219, 11, -3, buffer, 4096),
            ("bpf", 321, 280, 0, buffer, 48),
            ("perf_event_open", 298, 241, buffer, 0, -1, -1, 0),
            ("syslog", 103, 116, 3, buffer, 4096),
            ("fanotify_init", 300, 262, 0, 0),
            ("userfaultfd", 323, 282, 0),
            ("io_uring_setup", 425, 425, 4, buffer),
        ):
            if libc.syscall(other if arm else x86, *values) >= 0:
                won.append(name)
        for pid in filter(str.isdigit, os.listdir("/proc")):
            if "Seccomp:\\t2" not in open(f"/proc/{pid}/status").read() and libc.ptrace(16, int(pid), 0, 0) == 0:
                won.append(f"process {pid}, which could do all this for us")
                libc.ptrace(17, int(pid), 0, 0)
        print(won)
        """,
    )
    assert r.stdout == "[]\n", r
