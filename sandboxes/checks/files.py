"""Promises about files in and out."""

from __future__ import annotations

import errno
import os
import tempfile

from ..base import Limits, Provider, Sandbox
from . import TREE, promise, refused


@promise("")
def tree(box: Sandbox, provider: Provider) -> None:
    """The sandbox starts with the tree's files."""
    assert all(box.read(name) == data for name, data in TREE.items())


@promise("")
def text_and_bytes(box: Sandbox, provider: Provider) -> None:
    """Text is written as UTF-8, bytes as they are, empty files as empty files."""
    for name, data in (("t", "ä\r\n"), ("b", bytes(range(256)) * 9), ("e", b"")):
        box.write(name, data)
        assert box.read(name) == (data.encode() if isinstance(data, str) else data)


@promise("")
def huge(box: Sandbox, provider: Provider) -> None:
    """A file of 64 MB goes in and out."""
    data = os.urandom(2**20) * 64
    box.write("huge", data)
    assert box.read("huge") == data


@promise("")
def names(box: Sandbox, provider: Provider) -> None:
    """Any name will do: spaces, quotes, newlines, a dash in front, other scripts."""
    for name in ("a b", "q'\"$x", "new\nline", "-rf", "日本/語.txt", "..dots", "x" * 200):
        box.write(name, name)
        assert box.read(name) == name.encode()
        assert box.read(f"{box.workdir}/{name}") == name.encode()


@promise("")
def parents(box: Sandbox, provider: Provider) -> None:
    """Writing makes the directories that are missing."""
    box.write("x/y/z/file", "1")
    assert box.read("x/y/z/file") == b"1"


@promise()
def modes(box: Sandbox, provider: Provider) -> None:
    """Writing sets the mode, of a file that exists too."""
    box.write("m", "#!/bin/sh\necho ok\n", mode=0o755)
    assert box.run("./m").stdout == "ok\n"
    box.write("m", "x", mode=0o640)
    assert box.run("stat -c %a m").stdout == "640\n"


@promise("")
def replaced(box: Sandbox, provider: Provider) -> None:
    """Writing replaces a longer file wholly."""
    box.write("a.txt", "1")
    assert box.read("a.txt") == b"1"


@promise("")
def read_errors(box: Sandbox, provider: Provider) -> None:
    """Reading what is missing or a directory raises what ``open`` raises, with the path."""
    assert "nowhere" in refused(FileNotFoundError, lambda: box.read("nowhere"))
    refused(IsADirectoryError, lambda: box.read("dir"))
    refused((NotADirectoryError, FileNotFoundError), lambda: box.read("a.txt/b"))
    refused((IsADirectoryError, OSError), lambda: box.write("dir", "x"))
    assert "NUL" in refused(ValueError, lambda: box.read("a\0"))


@promise()
def no_permission(box: Sandbox, provider: Provider) -> None:
    """Reading without permission raises ``PermissionError``, as does writing outside."""
    box.write("secret", "1", mode=0)
    refused(PermissionError, lambda: box.read("secret"))
    refused(OSError, lambda: box.write("/usr/milepost-self-check", "x"))


@promise()
def special_files(box: Sandbox, provider: Provider) -> None:
    """A pipe or a device is refused, at once."""
    box.run("mkfifo pipe")
    for path in ("pipe", "/dev/zero"):
        refused(OSError, lambda p=path: box.read(p))  # type: ignore[misc]
    refused(OSError, lambda: box.write("pipe", "x"))


@promise("limits")
def full_disk(box: Sandbox, provider: Provider) -> None:
    """A full disk raises ENOSPC where we write, and the sandbox goes on."""
    with provider.create(limits=Limits(disk=2**20, file_size=2**26)) as small:
        try:
            small.write("big", bytes(2**23))
        except OSError as e:
            assert e.errno in (errno.ENOSPC, errno.EDQUOT), e
        else:
            raise AssertionError("8 MB went into 1 MB")
        assert small.run("rm -f big; echo on").stdout == "on\n"


@promise("")
def upload_file(box: Sandbox, provider: Provider) -> None:
    """A file goes in, making the directories that are missing."""
    with tempfile.TemporaryDirectory() as d:
        path = os.path.join(d, "f")
        with open(path, "wb") as f:
            f.write(b"\0data")
        box.upload(path, "up/f")
    assert box.read("up/f") == b"\0data"


@promise()
def upload_tree(box: Sandbox, provider: Provider) -> None:
    """A tree goes in with links, hard links, modes, times, empty directories and odd names; a file with its mode."""
    with tempfile.TemporaryDirectory() as d:
        os.makedirs(f"{d}/sub/empty")
        os.mkdir(f"{d}/zebra")
        for name in ("x", "sub/new\nline", "sub/ü"):
            with open(f"{d}/{name}", "w") as f:
                f.write(name)
        os.chmod(f"{d}/x", 0o750)
        box.upload(f"{d}/x", "one")
        os.symlink("../x", f"{d}/sub/link")
        os.link(f"{d}/x", f"{d}/zebra/hard")
        os.utime(f"{d}/x", ns=(0, 10**18 + 123456789))
        os.utime(f"{d}/sub", ns=(0, 10**18 + 5))
        os.chmod(f"{d}/sub", 0o555)
        box.upload(d, "up")
        os.chmod(f"{d}/sub", 0o755)
    assert box.read("up/sub/new\nline") == b"sub/new\nline" and box.read("up/sub/ü") == "sub/ü".encode()
    said = box.run("stat -c '%a %h' up/x; stat -c %a one; readlink up/sub/link; ls -d up/sub/empty; cat up/zebra/hard")
    assert said.stdout == "750 2\n750\n../x\nup/sub/empty\nx", said
    said = box.run("stat -c '%.9Y %a' up/x up/sub; test up/x -ef up/zebra/hard && chmod 755 up/sub")
    assert said.stdout == "1000000000.123456789 750\n1000000000.000000005 555\n" and said.ok, said


@promise()
def download_tree(box: Sandbox, provider: Provider) -> None:
    """A file or a tree comes out with links, hard links and modes, but without set-uid bits."""
    box.run(
        "mkdir -p out/sub/empty; printf 1 > out/x; chmod 4751 out/x; ln -s ../x out/sub/link; printf 2 > 'out/sub/a b';"
        "ln out/x out/sub/hard; chmod 555 out/sub"
    )
    with tempfile.TemporaryDirectory() as d:
        box.download("out", f"{d}/got")
        box.download("out/x", f"{d}/file")
        with open(f"{d}/got/sub/a b") as f, open(f"{d}/file") as g:
            assert f.read() + g.read() == "21"
        assert os.readlink(f"{d}/got/sub/link") == "../x" and os.path.isdir(f"{d}/got/sub/empty")
        mode = os.stat(f"{d}/got/x").st_mode
        assert mode & 0o700 == 0o700 and not mode & 0o7000, oct(mode)
        assert os.path.samefile(f"{d}/got/x", f"{d}/got/sub/hard")


@promise()
def download_stays_inside(box: Sandbox, provider: Provider) -> None:
    """What would leave the target is refused by name, and nothing is left of the half."""
    for script in (
        "ln -s /etc/passwd out/evil",
        "ln -s ../../../etc out/evil",
        "mkfifo out/evil",
        "mkdir -p out/a/b; ln -s ../.. out/a/b/up; ln -s a/b/up/.. out/evil",
    ):
        box.run(f"rm -rf out; mkdir out; echo 1 > out/ok; {script}")
        with tempfile.TemporaryDirectory() as d:
            assert "evil" in refused(ValueError, lambda to=f"{d}/got": box.download("out", to))  # type: ignore[misc]
            assert os.listdir(d) == []


@promise()
def download_errors(box: Sandbox, provider: Provider) -> None:
    """A target that exists and a path that does not are refused."""
    with tempfile.TemporaryDirectory() as d:
        refused(FileExistsError, lambda: box.download("dir", d))
        refused(FileNotFoundError, lambda: box.download("nowhere", f"{d}/x"))
        assert os.listdir(d) == []
