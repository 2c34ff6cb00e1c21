"""Too much of everything."""

import errno

from common import LIMITS, MB, processes, py, resident, works


def fork_bomb(provider, box, told):
    """Bombs of bash and of sessions of their own stay small, others work meanwhile, and restore ends them."""
    before = processes()
    with provider.create() as sibling:
        for bomb in (
            ":(){ :|:& };:",
            "setsid -f python3 -c 'import os\nwhile True:\n try: os.fork() or os.setsid()\n except OSError: pass'; sleep 1",
        ):
            box.run(bomb, timeout=2)
            assert processes() < before + 300
            works(sibling)
            r = box.run("echo tried", timeout=5)  # a result in any case
            assert r.stdout in ("tried\n", "") and (r.ok or r.exit_code), r
            box.restore()
            works(box)


def thread_bomb(provider, box, told):
    """Threads count as processes."""
    r = py(
        box,
        """
        import threading, time
        n = 0
        try:
            for n in range(5000):
                threading.Thread(target=time.sleep, args=(9,), daemon=True).start()
        except RuntimeError:
            pass
        print(n, flush=True)
        import os; os._exit(0)
        """,
    )
    assert 5 < int(r.stdout) <= 64, r
    works(box)


def memory_hog(provider, box, told):
    """One process that takes all memory, and where groups hold, many small ones or a file without a name."""
    hog = "x = []\nwhile True: x.append(bytearray(2**20))"
    with provider.create() as sibling:
        r = py(box, hog)
        assert r.exit_code in (1, 137), r
        works(box)
        if told["together"]:
            small = f"import time; x = bytearray({40 * MB}); time.sleep(1); print(1)"
            many = box.run(["bash", "-c", 'for i in {1..20}; do python3 -c "$1" & done; wait', "bash", small])
            assert len(many.stdout.split()) < 8, many
            works(box)
            nameless = """
            import os
            fds = [os.memfd_create("x") for _ in range(40)]
            for fd in fds:
                for _ in range(15):
                    os.write(fd, bytes(2**20))
            print("all")
            """
            assert "all" not in py(box, nameless).stdout
            works(box)
        works(sibling)


def memory_files(provider, box, told):
    """Files in all that is in memory, up to the limit: commands are results, restore frees it.

    The kernel may choose a container's first process, for those that fill it are small: then it alone is lost.
    """
    fill = (
        "for d in . /tmp /dev/shm; do for k in $(seq 9); do head -c 16000000 /dev/zero > $d/f$k; done; done; echo over"
    )
    with provider.create(limits=type(box.limits)(memory=128 * MB, disk=100 * MB)) as full:
        for _ in range(2):
            try:
                full.run(fill)
                for _ in range(3):
                    full.run("echo tried")  # a result, whatever it is
            except RuntimeError as e:
                assert (type(e).__name__, type(provider).__name__) == ("SandboxLost", "Docker"), repr(e)
                break
            full.restore()
            works(full)
            assert full.run("head -c 5000000 /dev/zero > f && du -k f").stdout.split()[0] >= "4"
    works(box)


def disk_filler(provider, box, told):
    """Each place that can be written holds what the limit says and no more; writing says ENOSPC; restore frees it."""
    total = LIMITS["disk"]
    for place in (".", "/tmp", "/dev/shm"):
        r = box.run(f"for k in $(seq 9); do head -c 4000000 /dev/zero > {place}/f$k || break; done; du -sb {place}")
        assert "No space left" in r.stderr or "Disk quota" in r.stderr, r
        assert int(r.stdout.split()[0]) <= total + MB, r
    try:
        box.write("more", bytes(2 * MB))
    except OSError as e:
        assert e.errno in (errno.ENOSPC, errno.EDQUOT), e
    else:
        raise AssertionError("a full disk took more")
    box.restore()
    box.write("more", bytes(2 * MB))


def many_files(provider, box, told):
    """Empty files are counted too, where their memory in the kernel is not: in groups it is."""
    r = py(box, "import os\nfor p in ('.', '/tmp', '/dev/shm'): print(os.statvfs(p).f_files)")
    assert len(r.stdout.split()) == 3 and all(0 < int(n) <= 100_000 or told["together"] for n in r.stdout.split()), r


def big_file(provider, box, told):
    """One file ends at its limit, holes count."""
    assert box.run("truncate -s 17M f").exit_code and box.run("truncate -s 15M f").ok
    r = box.run("head -c 17000000 /dev/zero > g")
    assert r.exit_code and int(box.run("stat -c %s g").stdout) <= 16 * MB


def much_output(provider, box, told):
    """A gigabyte, on either stream, with and without lines, also in a shell: its first bytes, and our memory stays."""
    before = resident()
    for command in ("head -c 1000000000 /dev/zero", "yes | head -c 100000000 >&2"):
        r = box.run(command)
        kept = r.stdout or r.stderr
        assert r.truncated and len(kept) == box.limits.output and r.ok, (len(kept), r.exit_code)
    sh = box.shell()
    r = sh.run("head -c 100000000 /dev/zero")
    assert r.truncated and len(r.stdout) == box.limits.output and r.ok
    sh.run("yes & yes >&2 &")
    box.run("sleep 1")
    sh.close()
    works(box)
    assert resident() < before + 64 * MB


def endless_files(provider, box, told):
    """A file that never ends, behind a link, cannot fill our memory."""
    with provider.create(limits=type(box.limits)(memory=16 * MB * 8, disk=MB)) as small:
        for source in ("/proc/self/pagemap", "/dev/zero", "/dev/urandom", "/proc/kmsg"):
            small.run(f"ln -sf {source} link")
            try:
                small.read("link")
            except OSError:
                continue
            raise AssertionError(source)
        works(small)
