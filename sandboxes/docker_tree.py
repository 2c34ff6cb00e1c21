"""Trees described as lists, with a digest for each content, and made from such a list.

Runs in the sandbox, as part of ``docker_inside``, and on the host. It has no imports from milepost and needs Python 3.7.

An entry is ``[path, kind, mode, mtime in ns, ...]``, parents first, the root as "": ``["d"]`` a directory, ``["p"]`` a pipe,
``["f", size, sha256]`` a file, ``["h", path]`` another name of a file listed before, ``["l", target]`` a link. Sockets and
devices are left out, and so are owners, access times and extended attributes.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import sys
from collections.abc import Callable, Iterator
from typing import Any

CHUNK = 2**16
BLOCK = 2**20
LONGEST = 3000  # of a directory's path, so that what is in it can still be named
ZEROS = bytes(CHUNK)
OPEN = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
KINDS = {stat.S_IFDIR: "d", stat.S_IFLNK: "l", stat.S_IFREG: "f", stat.S_IFIFO: "p"}


def text(path: bytes) -> str:
    """A path as JSON can carry it."""
    return path.decode("utf-8", "surrogateescape")


def raw(path: str) -> bytes:
    """And back."""
    return path.encode("utf-8", "surrogateescape")


class Reach:
    """Gives the owner access where a mode forbids it, and puts the modes back."""

    def __init__(self) -> None:
        self.modes: list[tuple[bytes, int]] = []

    def into(self, path: bytes, mode: int, bits: int) -> None:
        """Makes sure that ``bits`` are set."""
        if mode & bits != bits:
            os.chmod(path, (mode & 0o7777) | bits)
            self.modes.append((path, mode & 0o7777))

    def along(self, root: bytes, path: bytes) -> None:
        """Makes sure that a path below ``root`` can be reached."""
        here = root
        for name in path.split(b"/"):
            self.into(here, os.lstat(here).st_mode, 0o700)
            here = os.path.join(here, name)

    def back(self) -> None:
        """Undoes it."""
        for path, mode in reversed(self.modes):
            try:
                os.chmod(path, mode)
            except OSError:
                pass
        self.modes.clear()


def walk(
    root: bytes, reach: Reach | None, enter: Callable[[bytes, os.stat_result], bool] | None = None
) -> Iterator[tuple[bytes, os.stat_result]]:
    """(path below root, lstat) of everything in a tree, parents first; what disappears meanwhile is left out.

    ``enter`` says after a directory whether to look into it.
    """
    stack = [b""]
    while stack:
        folder = stack.pop()
        here = os.path.join(root, folder) if folder else root
        try:
            s = os.lstat(here)
            if not stat.S_ISDIR(s.st_mode):
                continue
            yield folder, s
            if enter is not None and not enter(folder, s):
                continue
            if len(folder) > LONGEST:
                raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
            if reach is not None:
                reach.into(here, s.st_mode, 0o700)
            names = sorted(os.listdir(here))
        except (FileNotFoundError, NotADirectoryError):
            continue
        for name in names:
            path = os.path.join(folder, name)
            try:
                s = os.lstat(os.path.join(root, path))
            except (FileNotFoundError, NotADirectoryError):
                continue
            if stat.S_ISDIR(s.st_mode):
                stack.append(path)
            else:
                yield path, s


def pieces(path: bytes, reach: Reach | None) -> Iterator[bytes]:
    """The content of a regular file, block by block.

    Raises:
        OSError: as ``open`` does; FileNotFoundError where it is no regular file.
    """
    try:
        if reach is not None:
            reach.into(path, os.lstat(path).st_mode, 0o400)
        fd = os.open(path, os.O_RDONLY | OPEN)
    finally:
        if reach is not None:
            reach.back()
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        while True:
            data = os.read(fd, BLOCK)
            if not data:
                return
            yield data
    finally:
        os.close(fd)


def digest(path: bytes, reach: Reach | None) -> tuple[int, str]:
    """Size and sha256 of a file's content."""
    size, sha = 0, hashlib.sha256()
    for data in pieces(path, reach):
        size += len(data)
        sha.update(data)
    return size, sha.hexdigest()


def scan(
    root: bytes,
    *,
    most: int = sys.maxsize,
    inside: bool = False,
    content: Callable[[bytes, Reach | None], tuple[int, str]] = digest,
) -> list[list[Any]]:
    """The list of a tree; ``content`` reads each file and gives its size and digest.

    ``inside``, modes that forbid the owner to read are lifted for a moment.

    Raises:
        OSError: it cannot be read; ENAMETOOLONG: a path is too long; EFBIG: the files hold more than ``most`` bytes.
    """
    found: list[list[Any]] = []
    first: dict[tuple[int, int], str] = {}
    total = 0
    reach = Reach() if inside else None
    try:
        for path, s in walk(root, reach):
            full, kind = os.path.join(root, path), KINDS.get(stat.S_IFMT(s.st_mode))
            key = s.st_dev, s.st_ino
            entry: list[Any] = [text(path), kind, stat.S_IMODE(s.st_mode), s.st_mtime_ns]
            try:
                if kind is None:
                    continue
                if kind == "l":
                    entry.append(text(os.readlink(full)))
                elif kind == "f" and s.st_nlink > 1 and key in first:
                    entry[1] = "h"
                    entry.append(first[key])
                elif kind == "f":
                    total += s.st_size
                    if total > most:
                        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
                    entry += content(full, Reach() if inside else None)
                    first[key] = entry[0]
            except FileNotFoundError:
                continue
            found.append(entry)
    finally:
        if reach is not None:
            reach.back()
    return found


def remove(path: bytes) -> None:
    """Removes a file or a tree, whatever its modes and however deep it is."""
    try:
        os.unlink(path)
        return
    except OSError as e:
        if e.errno not in (errno.EISDIR, errno.EPERM):
            raise
    parent, count, work = os.path.dirname(path), 0, [path]
    while work:
        folder = work.pop()
        os.chmod(folder, 0o700)
        for name in os.listdir(folder):
            inner = os.path.join(folder, name)
            if not stat.S_ISDIR(os.lstat(inner).st_mode):
                os.unlink(inner)
                continue
            os.chmod(inner, 0o700)
            up = inner
            while os.path.lexists(up):  # moved up, so that no path gets too long
                count += 1
                up = os.path.join(parent, b".removed-%d" % count)
            os.rename(inner, up)
            work.append(up)
        os.rmdir(folder)


def empty(folder: bytes) -> None:
    """Removes what is in a directory, if there is one."""
    try:
        names = os.listdir(folder)
    except OSError:
        return
    for name in names:
        remove(os.path.join(folder, name))


def _attributes(path: bytes, clear: bool) -> bool:
    """Whether it has extended attributes, access lists among them; ``clear`` removes them."""
    try:
        names = os.listxattr(path, follow_symlinks=False)
        for name in names if clear else ():
            os.removexattr(path, name, follow_symlinks=False)
    except OSError:
        return False
    return bool(names)


def _write(fd: int, data: bytes) -> None:
    """Writes all, leaving holes where there are only zeros."""
    view = memoryview(data)
    for i in range(0, len(data), CHUNK):
        block = view[i : i + CHUNK]
        if block[0] == 0 and block.tobytes() == ZEROS[: len(block)]:
            os.lseek(fd, len(block), os.SEEK_CUR)
            continue
        while block:
            block = block[os.write(fd, block) :]


def _end(fd: int) -> None:
    os.ftruncate(fd, os.lseek(fd, 0, os.SEEK_CUR))
    os.close(fd)


class Making:
    """Makes a directory as a list says, from what is there and from contents that somebody brings.

    A file stays only if its content is the same, byte for byte: times can be set and a mapping in memory changes none.
    Nothing else may run meanwhile.
    """

    def __init__(self, root: bytes, tree: list[list[Any]]) -> None:
        self.root, self.tree = root, tree
        self.want = {raw(e[0]): e for e in tree}
        self.kept: set[bytes] = set()
        self.need: list[str] = []  # digests of contents that are missing, in the order in which they are to come
        self.places: dict[str, list[bytes]] = {}  # digest -> the files that lack it
        self._compare()
        for entry in tree:
            path = raw(entry[0])
            if entry[1] == "d" and path not in self.kept:
                os.mkdir(self._full(path), 0o700)
            elif entry[1] == "f" and path not in self.kept:
                if entry[5] not in self.places:
                    self.places[entry[5]] = []
                    self.need.append(entry[5])
                self.places[entry[5]].append(path)

    def _full(self, path: bytes) -> bytes:
        return os.path.join(self.root, path) if path else self.root

    def _compare(self) -> None:
        """Removes what is not as it should be, notes what is."""
        owners: dict[int, bytes] = {}
        links: list[tuple[bytes, int]] = []
        for path, s in walk(self.root, Reach(), lambda p, _: p in self.kept):  # all modes are set in the end
            full, kind = self._full(path), KINDS.get(stat.S_IFMT(s.st_mode))
            entry = self.want.get(path)
            extra = _attributes(full, kind == "d") and kind != "d"
            if entry is not None and entry[1] == "h" and kind == "f" and not extra:
                links.append((path, s.st_ino))
                continue
            same = entry is not None and entry[1] == kind and not extra
            if entry is None or not same:
                pass
            elif kind == "f":
                same = s.st_ino not in owners and s.st_size == entry[4] and digest(full, Reach())[1] == entry[5]
                if same:
                    owners[s.st_ino] = path
            elif kind != "d":
                same = s.st_nlink == 1 and (kind == "p" or text(os.readlink(full)) == entry[4])
            if same:
                self.kept.add(path)
            else:
                remove(full)
        for path, inode in links:
            if owners.get(inode) == raw(self.want[path][4]):
                self.kept.add(path)
            else:
                remove(self._full(path))

    def fill(self, read: Callable[[int], bytes]) -> None:
        """Writes the contents that are missing; ``read(n)`` gives their next bytes, at most n.

        All are read even if one cannot be written.

        Raises:
            OSError: the first that could not.
        """
        wrong: OSError | None = None
        for sha in self.need:
            first, *others = self.places[sha]
            left, fd = self.want[first][4], -1
            try:
                fd = self._open(first)
            except OSError as e:
                wrong = wrong or e
            while left:
                data = read(min(left, BLOCK))
                left -= len(data)
                try:
                    if wrong is None:
                        _write(fd, data)
                except OSError as e:
                    wrong = e
            if fd >= 0:
                _end(fd)
            for path in others if wrong is None else ():
                try:
                    fd = self._open(path)
                    for data in pieces(self._full(first), None):
                        _write(fd, data)
                    _end(fd)
                except OSError as e:
                    wrong = e
        if wrong is not None:
            raise wrong

    def _open(self, path: bytes) -> int:
        return os.open(self._full(path), os.O_WRONLY | os.O_CREAT | os.O_EXCL | OPEN, 0o600)

    def finish(self) -> None:
        """Makes what has no content of its own; sets modes and times."""
        for entry in self.tree:
            path = raw(entry[0])
            if path not in self.kept:
                if entry[1] == "l":
                    os.symlink(raw(entry[4]), self._full(path))
                elif entry[1] == "p":
                    os.mkfifo(self._full(path), 0o600)
                elif entry[1] == "h":
                    os.link(self._full(raw(entry[4])), self._full(path), follow_symlinks=False)
        for entry in reversed(self.tree):  # a directory after what is in it
            full = self._full(raw(entry[0]))
            if entry[1] != "l":
                os.chmod(full, entry[2])
            os.utime(full, ns=(entry[3], entry[3]), follow_symlinks=False)
