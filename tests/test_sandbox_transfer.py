"""Trees in and out: exact where they are ours, harmless where code that nobody trusts made them."""

import io
import os
import socket
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milepost.sandboxes.checks import facts
from milepost.sandboxes.transfer import DEEPEST, pack, unpack

pytestmark = pytest.mark.core


def entry(name, kind=tarfile.REGTYPE, link="", data=b"x", **facts):
    """A member and its content."""
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    member.size = len(data) if kind == tarfile.REGTYPE else 0
    for key, value in facts.items():
        setattr(member, key, value)
    return member, data


def link(name, to):
    return entry(name, tarfile.SYMTYPE, to)


def hard(name, to):
    return entry(name, tarfile.LNKTYPE, to)


def folder(name, **facts):
    return entry(name, tarfile.DIRTYPE, **facts)


def archive(*entries):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for member, data in entries:
            tar.addfile(member, io.BytesIO(data) if member.isreg() else None)
    out.seek(0)
    return out


@pytest.fixture
def target(tmp_path):
    """An empty directory beside a file that must not change."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_text("ours")
    (tmp_path / "target").mkdir()
    before = facts(str(tmp_path / "outside"))
    yield tmp_path / "target"
    assert facts(str(tmp_path / "outside")) == before
    assert sorted(os.listdir(tmp_path)) == ["outside", "target"]


LONG = "d" * 200
# CVE-2025-4517: a path that realpath gives up on, because it is too long
CHAIN = [
    part
    for i in range(16)
    for step in ["/".join("abcdefghijklmnop"[:i])]
    for part in (folder(f"{step}/{LONG}"), link(f"{step}/{'abcdefghijklmnop'[i]}", LONG))
]

HOSTILE = {
    "absolute": [entry("/tmp/milepost-escaped")],
    "up": [entry("../outside/file")],
    "up later": [entry("a/../../outside/file")],
    "through a link": [link("a", "../outside"), entry("a/file")],
    "through a link that stays": [folder("b"), link("a", "b"), entry("a/file"), link("b/c", "../../outside")],
    "a link over a directory": [entry("a/file"), link("a", "../outside")],
    "a directory over a link": [link("a", "../outside"), folder("a"), entry("a/file")],
    "a file over a link": [link("a", "../outside/file"), entry("a")],
    "a link out": [link("a", "../outside/file")],
    "a link to the root": [link("a", "/etc/passwd")],
    "a link over two": [folder("x/y"), link("x/y/up", "../.."), link("a", "x/y/up/../outside")],
    "a link over a shallow one": [
        folder("p/q"),
        link("p/q/d", "../../s"),
        folder("s"),
        link("p/q/e", "d/../../outside"),
    ],
    "a hard link out": [hard("a", "../outside/file")],
    "a hard link to the root": [hard("a", "/etc/passwd")],
    "a hard link over a link": [link("a", "../outside"), hard("b", "a/file")],
    "a hard link to a link": [link("a", "../outside/file"), hard("b", "a")],
    "a hard link to nothing": [hard("a", "b")],
    "a device": [entry("a", tarfile.CHRTYPE, devmajor=1, devminor=3)],
    "a disk": [entry("a", tarfile.BLKTYPE, devmajor=8)],
    "a pipe": [entry("a", tarfile.FIFOTYPE)],
    "twice": [entry("a"), entry("a", data=b"y")],
    "a file as a directory": [entry("a"), entry("a/b")],
    "a directory as a file": [folder("a"), entry("a")],
    "too deep": [entry("/".join("a" * (DEEPEST + 2)))],
    "a chain too long to follow": [*CHAIN, link("a/b/c/z", "../" * 20 + "outside"), entry("a/b/c/z/file")],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_would_leave_the_target_is_refused(name, target):
    with pytest.raises(ValueError, match=r"allowed|is in what|is a directory|is a link and|did not come|deeper"):
        unpack(archive(*HOSTILE[name]), str(target))


@pytest.mark.parametrize("size", [1, 511, 513, 1000, 3000])
def test_what_is_no_archive_or_half_of_one_is_an_error(size, target):
    whole = archive(entry("a", data=bytes(5000)), entry("b")).getvalue()
    with pytest.raises((tarfile.TarError, OSError)):
        unpack(io.BytesIO(whole[:size]), str(target))
    for noise in (b"x" * size, b"\xff" * 2048):
        with pytest.raises((tarfile.TarError, OSError)):
            unpack(io.BytesIO(noise), str(target))


def test_modes_times_and_owners_are_tamed(target):
    unpack(
        archive(
            entry("suid", mode=0o6777, uid=0, gid=0),
            entry("locked", mode=0),
            folder("closed", mode=0),
            entry("closed/in", mtime=2**40),
            entry("old", mtime=-5),
            folder("dated", mtime=1e9),
            entry("dated/in"),
            hard("same", "dated/in"),
        ),
        str(target),
    )
    modes = {name: oct((target / name).stat().st_mode & 0o7777) for name in ("suid", "locked", "closed", "closed/in")}
    assert modes == {"suid": "0o755", "locked": "0o600", "closed": "0o755", "closed/in": "0o644"}
    assert (target / "closed/in").stat().st_mtime == (target / "old").stat().st_mtime == 0
    assert (target / "dated").stat().st_mtime == 1e9 and os.path.samefile(target / "same", target / "dated/in")


def test_links_that_stay_are_kept(target):
    links = [
        link("a/up", "../b/file"),
        link("loop", "loop"),
        link("dot", "."),
        link("broken", "a/nowhere"),
        link("c", "a/up"),
    ]
    unpack(archive(folder("a"), entry("b/file"), *links), str(target))
    assert (target / "a/up").read_bytes() == (target / "c").read_bytes() == b"x"
    assert os.readlink(target / "loop") == "loop" and os.readlink(target / "broken") == "a/nowhere"


names = st.lists(st.sampled_from(["a", "b", "c", "..", ".", ""]), min_size=1, max_size=4).map("/".join)
members = st.one_of(names.map(entry), names.map(folder), st.builds(link, names, names), st.builds(hard, names, names))


@settings(deadline=None)
@given(st.lists(members, max_size=8))
def test_no_archive_leads_out(entries):
    with tempfile.TemporaryDirectory() as d:
        os.makedirs(f"{d}/x/target")
        for name in ("a", "b", "c"):  # what a wrong step would hit
            Path(d, "x", name).write_text("ours")
            Path(d, name).write_text("ours")
        before = facts(d)
        try:
            unpack(archive(*entries), f"{d}/x/target")
        except (ValueError, OSError):
            pass
        outside = [f for f in facts(d) if "/target" not in str(f[0])]
        assert outside == [f for f in before if "/target" not in str(f[0])]
        for where, folders, files in os.walk(f"{d}/x/target"):
            for name in (*folders, *files):
                path = os.path.join(where, name)
                if os.path.islink(path) and os.path.exists(path):
                    assert os.path.realpath(path).startswith(os.path.realpath(f"{d}/x/target")), path


def test_a_packed_tree_comes_out_the_same(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    for name in ("deep/er/file", "deep/z", "empty/x", "a\nb", "ü"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(name)
    (source / "empty/x").unlink()
    os.symlink("deep/er/file", source / "link")
    os.link(source / "deep/z", source / "deep/er/hard")
    (source / "deep/er").chmod(0o755)
    (source / "ü").chmod(0o700)
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(source / "socket"))
    for i, name in enumerate(("deep/er/file", "deep/z", "a\nb", "deep/er", "deep", "empty")):
        os.utime(source / name, ns=(0, 10**18 + 1000 * i))
    target.mkdir()
    data = b"".join(pack(str(source)))
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        order = tar.getnames()
        assert {m.uname for m in tar.getmembers()} == {""} and {m.uid for m in tar.getmembers()} == {0}
        assert tar.getmember("deep/z").pax_headers["mtime"].endswith(".000001000")
    assert order == ["a\nb", "deep", "deep/er", "deep/er/file", "deep/er/hard", "deep/z", "empty", "link", "ü"]
    unpack(io.BytesIO(data), str(target))
    os.unlink(source / "socket")

    def seen(root):
        found = {}
        for path in sorted(root.rglob("*")):
            s = path.lstat()
            content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
            when = None if path.is_symlink() else round(s.st_mtime, 3)
            found[str(path.relative_to(root))] = (s.st_mode, s.st_nlink, when, content)
        return found

    assert seen(target) == seen(source)
