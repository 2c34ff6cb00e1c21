"""Trees that are made to break who copies them."""

import os
import tempfile
import time

from common import MB, py, works


def deep_tree(provider, box, told):
    """A tree too deep for paths: saved or refused, and every sandbox lives on."""
    dig = "import os\nfor i in range(int(__import__('sys').argv[1])): os.mkdir('d'); os.chdir('d')\nopen('end', 'w').write('x')"
    with provider.create() as sibling:
        for depth in ("300", "1500"):
            assert py(box, dig, depth).ok
            try:
                saved = box.snapshot()
                box.restore(saved)
                saved.close()
            except OSError:
                pass  # a refusal is no loss
            works(box)
            works(sibling)
            with tempfile.TemporaryDirectory() as d:
                try:
                    box.download("d", f"{d}/x")
                except (OSError, ValueError):
                    assert os.listdir(d) == []
            box.restore()
            assert box.run("ls").stdout == ""
        works(sibling)


def holes(provider, box, told):
    """Files of holes do not grow in snapshots and forks, nor cost others their room."""
    start = time.monotonic()
    box.run("for i in 1 2 3; do truncate -s 15M hole$i; done; echo x >> hole1")
    with box.fork() as other:
        assert other.run("stat -c %s hole1 hole3; tail -c 2 hole1").stdout == f"{15 * MB + 2}\n{15 * MB}\nx\n"
        assert int(other.run("du -sk .").stdout.split()[0]) < 4000
        box.run("for i in $(seq 400); do truncate -s 15M hole$i; done")
        for _ in range(3):
            try:
                box.snapshot().close()
            except OSError:  # a refusal is no loss
                pass
        works(other)
        other.fork().close()
    assert time.monotonic() - start < 60


def odd_names(provider, box, told):
    """Names of bytes, pipes, sockets, loops and files without rights are no trouble for snapshots and forks."""
    made = py(
        box,
        """
        import os, socket
        open(b"\\xff\\xfe", "w").close()
        os.mkfifo("pipe"); os.symlink("loop", "loop"); os.symlink("x" * 4000, "long")
        socket.socket(socket.AF_UNIX).bind("socket")
        os.mkdir("locked"); open("locked/in", "w").write("in"); os.chmod("locked/in", 0); os.chmod("locked", 0)
        os.mkdir(b"d\\n\\xff")
        """,
    )
    assert made.ok, made
    listing = "find . -name socket -prune -o -printf '%P %y %m %l\\n' | LC_ALL=C sort | sha256sum"
    with box.fork() as other:
        assert other.run(listing).stdout == box.run(listing).stdout
        assert other.run("chmod 700 locked; chmod 600 locked/in; cat locked/in").stdout == "in"
        other.restore()
        assert other.run(listing).stdout == box.run(listing).stdout


def traversal(provider, box, told):
    """Links that are planted, changed and chained lead neither an upload nor a download out of the sandbox or its target."""
    with tempfile.TemporaryDirectory() as d:
        os.mkdir(f"{d}/source")
        with open(f"{d}/source/f", "w") as f:
            f.write("ours")
        box.run(f"ln -s {d} a; ln -s /tmp b; ln -s ../../../../../../../..{d} c; mkdir e; ln -s {d}/planted e/f")
        for place in ("a/x", "b", "c/y", "e"):
            try:
                box.upload(f"{d}/source", place)
            except OSError:
                pass
        try:
            box.write("e/f", "ours")
        except OSError:
            pass
        assert os.listdir(d) == ["source"] and os.listdir(f"{d}/source") == ["f"]
        box.run("rm -rf *; mkdir t; echo x > t/x; chmod 6777 t/x")
        for plant in (
            f"ln -s {d} t/out",
            "ln -s .. t/out",
            "mkdir -p t/1/2; ln -s ../.. t/1/2/up; ln -s 1/2/up/.. t/out",
            "ln -s /proc/self/root t/out",
            "mkfifo t/out",
        ):
            box.run(f"rm -rf t/out t/1; {plant}")
            try:
                box.download("t", f"{d}/got")
            except ValueError as e:
                assert "out" in str(e)
            else:
                raise AssertionError(plant)
            assert os.listdir(d) == ["source"], plant
        # while the tree is being changed
        swap = f"while :; do rm -rf t/z; mkdir t/z; echo x > t/z/x; rm -rf t/z; ln -s {d} t/z; done"
        box.run(["bash", "-c", 'rm -rf t/out; setsid -f bash -c "$1"', "bash", swap])
        for i in range(10):
            try:
                box.download("t", f"{d}/got{i}")
            except (ValueError, OSError):
                continue
            assert not os.path.islink(f"{d}/got{i}/z") and not os.stat(f"{d}/got{i}/x").st_mode & 0o7000
        box.restore()
