"""Trees into and out of a sandbox, as tar streams. What comes out was written by code that nobody trusts."""

from __future__ import annotations

import errno
import io
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING

from .base import MB

if TYPE_CHECKING:
    from .served import Served


DEEPEST, LONGEST, MOST = 200, 3000, 10**6  # directories in a path, characters of a name, entries that come out
_DIR = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class _Pieces(io.RawIOBase):
    """Collects what tarfile writes, to be taken piece by piece."""

    def __init__(self) -> None:
        self.data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, b: object) -> int:
        data = bytes(b)  # type: ignore[call-overload]
        self.data += data
        return len(data)

    def take(self) -> bytes:
        data = bytes(self.data)
        self.data.clear()
        return data


def _add(tar: tarfile.TarFile, path: str, name: str) -> None:
    member = tar.gettarinfo(path, name)
    if member is None:  # a socket
        return
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    ns = os.lstat(path).st_mtime_ns
    member.pax_headers = {"mtime": f"{ns // 10**9}.{ns % 10**9:09d}"} if ns > 0 else {}  # to the nanosecond
    if member.isreg():
        with open(path, "rb") as f:
            tar.addfile(member, f)
    else:
        tar.addfile(member)


def pack(source: str) -> Iterator[bytes]:
    """A tar stream of what is in a directory: sorted, links as links, without names of users.

    What is in a directory comes right behind it, which tar needs to set its mode and time in the end.
    """
    sink = _Pieces()
    with tarfile.open(fileobj=sink, mode="w|", format=tarfile.PAX_FORMAT, bufsize=MB) as tar:
        stack = [(source, name) for name in sorted(os.listdir(source), reverse=True)]
        while stack:
            folder, name = stack.pop()
            path = os.path.join(folder, name)
            _add(tar, path, os.path.relpath(path, source))
            if os.path.isdir(path) and not os.path.islink(path):
                stack += [(path, inner) for inner in sorted(os.listdir(path), reverse=True)]
            if len(sink.data) > MB:
                yield sink.take()
    yield sink.take()


def upload(box: Served, source: str, path: str) -> None:
    """See ``base.Sandbox.upload``."""
    if not os.path.isdir(source):
        with open(source, "rb") as f:
            box.write(path, f.read(), mode=os.fstat(f.fileno()).st_mode & 0o777)
        return
    script = 'mkdir -p -- "$1" && exec tar -xpf - --no-same-owner -C "$1"'
    done = box.stream(["sh", "-c", script, "sh", path], pack(source), bytes, box.limits.timeout)
    if done.exit_code:
        raise OSError(5, f"upload failed: {done.stderr.strip()[:300]}", path)


def download(box: Served, path: str, target: str) -> None:
    """See ``base.Sandbox.download``."""
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, "the target exists", target)
    kind = box.run(["stat", "-Lc", "%F", "--", path])
    if kind.exit_code or "directory" not in kind.stdout:
        data = box.read(path)
        with open(target, "xb") as f:
            f.write(data)
        return
    size = 0
    with tempfile.TemporaryFile() as spool:

        def store(data: bytes) -> None:
            nonlocal size
            size += len(data)
            if size > box.most:
                raise OSError(errno.EFBIG, f"it holds more than {box.most} bytes", path)
            spool.write(data)

        done = box.stream(["tar", "-cf", "-", "-C", path, "."], (), store, box.limits.timeout)
        if done.exit_code:
            raise OSError(errno.EIO, f"download failed: {done.stderr.strip()[:300]}", path)
        spool.seek(0)
        half = tempfile.mkdtemp(dir=os.path.dirname(os.path.abspath(target)), prefix=".milepost-")
        try:
            unpack(spool, half)
            os.chmod(half, 0o755)
            os.rename(half, target)
        except BaseException as e:
            shutil.rmtree(half, ignore_errors=True)
            if isinstance(e, ValueError):
                raise ValueError(f"{path}: {e}") from None
            if isinstance(e, tarfile.TarError):
                raise OSError(errno.EIO, f"download failed: what came is no tar archive ({e})", path) from None
            raise


def unpack(archive: IO[bytes], target: str) -> None:
    """Extracts a tar archive that nobody trusts into an empty directory.

    Every step goes through descriptors of directories and follows no link; links are made last. ``tarfile``'s own filter is
    not used: what it lets through depends on the version (CVE-2025-4517).

    Raises:
        ValueError: an entry would leave the directory, or is neither file, directory nor link; names it.
        OSError, tarfile.TarError.
    """
    links: dict[tuple[str, ...], str] = {}
    files: set[tuple[str, ...]] = set()
    times: list[tuple[tuple[str, ...], float]] = []
    top = os.open(target, _DIR)
    try:
        with tarfile.open(fileobj=archive, mode="r:") as tar:
            while (member := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # else it keeps them all
                parts = _parts(member.name)
                member.mtime = member.mtime if 0 <= member.mtime < 2**33 else 0
                if member.isdir():
                    os.close(_folder(top, parts, member.name))
                    times.append((parts, member.mtime))
                    continue
                if not parts or parts in files or parts in links:
                    raise ValueError(f"{member.name!r} comes twice; allowed: one entry a name")
                if len(files) + len(links) + len(times) > MOST:
                    raise ValueError(f"{member.name!r} is one too many; allowed: {MOST} entries")
                if member.issym():
                    links[parts] = member.linkname
                elif member.islnk():
                    source = _parts(member.linkname)
                    if source in links:
                        links[parts] = links[source]
                        continue
                    if source not in files:
                        raise ValueError(f"{member.name!r} is another name of {member.linkname!r}, which did not come")
                    _link(top, source, parts, member.name)
                    files.add(parts)
                elif member.isfile() and not member.issparse():
                    _file(top, parts, tar, member)
                    files.add(parts)
                else:
                    raise ValueError(f"{member.name!r} is a device or pipe; allowed: files, directories and links")
        for parts, value in links.items():
            _inside(parts, links)
            folder = _folder(top, parts[:-1], "/".join(parts))
            try:
                os.symlink(value, parts[-1], dir_fd=folder)
            except FileExistsError:
                raise ValueError(f"{'/'.join(parts)!r} is a link and a directory") from None
            finally:
                os.close(folder)
        for parts, when in reversed(times):
            folder = _folder(top, parts, "/".join(parts))
            try:
                os.utime(folder, (when, when))
            finally:
                os.close(folder)
    finally:
        os.close(top)


def _parts(name: str) -> tuple[str, ...]:
    parts = tuple(p for p in name.split("/") if p not in ("", "."))
    if name.startswith("/") or ".." in parts or "\0" in name:
        raise ValueError(f"{name!r} leads out; allowed: entries that stay inside the target")
    if len(parts) > DEEPEST or len(name) > LONGEST:
        raise ValueError(f"{name[:100]!r}... is deeper than {DEEPEST} directories or longer than {LONGEST} characters")
    return parts


def _folder(top: int, parts: tuple[str, ...], name: str) -> int:
    """A descriptor of a directory, made where it is missing."""
    here = os.dup(top)
    for part in parts:
        try:
            try:
                inner = os.open(part, _DIR, dir_fd=here)
            except FileNotFoundError:
                os.mkdir(part, 0o755, dir_fd=here)
                inner = os.open(part, _DIR, dir_fd=here)
        except (FileExistsError, NotADirectoryError):
            raise ValueError(f"{name!r} is in what is no directory") from None
        finally:
            os.close(here)
        here = inner
    return here


def _file(top: int, parts: tuple[str, ...], tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
    folder = _folder(top, parts[:-1], member.name)
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(parts[-1], flags, 0o600, dir_fd=folder), "wb") as f:
            source = tar.extractfile(member)
            assert source is not None
            shutil.copyfileobj(source, f, MB)
            f.flush()
            os.fchmod(f.fileno(), member.mode & 0o755 | 0o600)
            os.utime(f.fileno(), (member.mtime, member.mtime))
    except FileExistsError:
        raise ValueError(f"{member.name!r} is a directory already") from None
    finally:
        os.close(folder)


def _link(top: int, source: tuple[str, ...], parts: tuple[str, ...], name: str) -> None:
    a = _folder(top, source[:-1], name)
    try:
        b = _folder(top, parts[:-1], name)
        try:
            os.link(source[-1], parts[-1], src_dir_fd=a, dst_dir_fd=b, follow_symlinks=False)
        finally:
            os.close(b)
    finally:
        os.close(a)


def _inside(parts: tuple[str, ...], links: dict[tuple[str, ...], str]) -> None:
    """Follows a link through the other links of the archive as the kernel would.

    Raises:
        ValueError: it leads out.
    """
    name, here = "/".join(parts), list(parts[:-1])
    todo, followed = [parts[-1]], 0
    while todo and followed <= 40:  # the kernel follows no more: such a link leads nowhere
        part = todo.pop()
        if part == ".." and not here:
            raise ValueError(f"{name!r} is a link that leads out; allowed: entries that stay inside the target")
        if part == "..":
            here.pop()
        elif part not in ("", "."):
            here.append(part)
            value = links.get(tuple(here))
            if value is not None:
                here.pop()
                followed += 1
                if value.startswith("/"):
                    raise ValueError(f"{name!r} is a link that leads out; allowed: entries that stay inside the target")
                todo += reversed(value.split("/"))
