"""Copies of overlay layers: exact, and safe against whoever changes the tree meanwhile.

Every step goes through descriptors of directories and never follows a link, so that a process in the sandbox that swaps a
directory for a link cannot lead the copy elsewhere.
"""

from __future__ import annotations

import errno
import os
import stat

DEEPEST = 200  # directories in a path: each costs two descriptors and two calls while its content is copied
_DIR = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def copy(source: str, target: str) -> None:
    """Copies what is in a directory: content, modes, times, links, hard links, extended attributes, whiteouts.

    Sockets are left out. What disappears meanwhile is left out. Holes stay holes.

    Raises:
        OSError: ENAMETOOLONG: it is deeper than ``DEEPEST`` directories; ENOSPC and others.
    """
    a, b = os.open(source, _DIR), os.open(target, _DIR)
    try:
        _folder(a, b, {}, b)
    finally:
        os.close(a)
        os.close(b)


def _folder(a: int, b: int, seen: dict[tuple[int, int], str], top: int, path: str = "") -> None:
    if path.count("/") > DEEPEST:
        raise OSError(errno.ENAMETOOLONG, f"a directory is deeper than {DEEPEST} others")
    for name in os.listdir(a):
        try:
            _entry(a, b, name, seen, top, f"{path}{name}")
        except OSError as e:
            if e.errno not in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.ENXIO):
                raise
    _facts(a, b, os.fstat(a))


def _entry(a: int, b: int, name: str, seen: dict[tuple[int, int], str], top: int, path: str) -> None:
    s = os.stat(name, dir_fd=a, follow_symlinks=False)
    if stat.S_ISDIR(s.st_mode):
        inner = os.open(name, _DIR, dir_fd=a)
        try:
            os.mkdir(name, 0o700, dir_fd=b)
            to = os.open(name, _DIR, dir_fd=b)
            try:
                _folder(inner, to, seen, top, f"{path}/")
            finally:
                os.close(to)
        finally:
            os.close(inner)
        return
    key = s.st_dev, s.st_ino
    if s.st_nlink > 1:
        if key in seen:
            os.link(seen[key], name, src_dir_fd=top, dst_dir_fd=b, follow_symlinks=False)
            return
        seen[key] = path
    if stat.S_ISREG(s.st_mode):
        fd = os.open(name, _FILE, dir_fd=a)
        try:
            to = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=b)
            try:
                _bytes(fd, to)
                _facts(fd, to, os.fstat(fd))
            finally:
                os.close(to)
        finally:
            os.close(fd)
        return
    if stat.S_ISLNK(s.st_mode):
        os.symlink(os.readlink(name, dir_fd=a), name, dir_fd=b)
    elif stat.S_ISCHR(s.st_mode) and s.st_rdev == 0:  # overlayfs' whiteout: the name is deleted
        os.mknod(name, stat.S_IFCHR, 0, dir_fd=b)
    elif stat.S_ISFIFO(s.st_mode):
        os.mkfifo(name, 0o600, dir_fd=b)
        os.chmod(name, stat.S_IMODE(s.st_mode), dir_fd=b)
    else:
        return
    os.utime(name, ns=(s.st_atime_ns, s.st_mtime_ns), dir_fd=b, follow_symlinks=False)


def _bytes(fd: int, to: int) -> None:
    """The content, data piece by data piece; the size first, so that holes stay."""
    at, size = 0, os.fstat(fd).st_size
    os.ftruncate(to, size)
    while at < size:
        try:
            at = os.lseek(fd, at, os.SEEK_DATA)
            end = os.lseek(fd, at, os.SEEK_HOLE)
        except OSError as e:
            if e.errno == errno.ENXIO:  # a hole up to the end
                return
            raise
        os.lseek(to, at, os.SEEK_SET)
        while at < end:
            n = os.sendfile(to, fd, at, end - at)
            if not n:  # it became shorter
                return
            at += n


def _facts(fd: int, to: int, s: os.stat_result) -> None:
    for name in os.listxattr(fd):
        os.setxattr(to, name, os.getxattr(fd, name))
    os.fchmod(to, stat.S_IMODE(s.st_mode))
    os.utime(to, ns=(s.st_atime_ns, s.st_mtime_ns))


def remove(path: str) -> None:
    """Removes a tree, whatever its modes are."""
    parent = os.open(os.path.dirname(path), _DIR)
    try:
        _remove(parent, os.path.basename(path))
    finally:
        os.close(parent)


def _remove(parent: int, name: str) -> None:
    try:
        fd = os.open(name, _DIR, dir_fd=parent)
    except NotADirectoryError:
        os.unlink(name, dir_fd=parent)
        return
    except OSError as e:
        if e.errno == errno.ELOOP:
            os.unlink(name, dir_fd=parent)
            return
        raise
    try:
        for inner in os.listdir(fd):
            _remove(fd, inner)
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=parent)
