"""The system calls of Linux that the standard library lacks: namespaces, mounts, capabilities.

Everything raises ``OSError`` with the call's name. See namespaces(7), mount(2), open_tree(2), move_mount(2), capabilities(7).
"""

from __future__ import annotations

import ctypes
import os

NEWUSER, NEWNS, NEWPID, NEWNET, NEWIPC, NEWUTS = 0x10000000, 0x20000, 0x20000000, 0x40000000, 0x8000000, 0x4000000
NOSUID, NODEV, REMOUNT, BIND, REC, PRIVATE = 0x2, 0x4, 0x20, 0x1000, 0x4000, 0x40000
DETACH = 2
_OPEN_TREE, _MOVE_MOUNT = 428, 429  # the same on every architecture
_AT_FDCWD, _AT_EMPTY_PATH, _CLONE, _F_EMPTY_PATH = -100, 0x1000, 1, 4

_libc = ctypes.CDLL(None, use_errno=True)


def _check(value: int, what: str) -> int:
    if value < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return value


def unshare(flags: int) -> None:
    """New namespaces for this process."""
    _check(_libc.unshare(flags), "unshare")


def enter(pidfd: int, flags: int) -> None:
    """Namespaces of another process; the pid namespace holds for children of this thread."""
    _check(_libc.setns(pidfd, flags), "setns")


def unshare_folder() -> None:
    """Root and working directory of this thread become its own, as ``enter(..., NEWNS)`` wants it."""
    _check(_libc.unshare(0x200), "unshare")


def pivot(root: str) -> None:
    """Makes a mount the root directory and takes the old one, with all that is mounted in it, away."""
    os.chdir(root)
    _check(_libc.pivot_root(b".", b"."), "pivot_root")
    _check(_libc.umount2(b".", DETACH), "umount the old root")
    os.chdir("/")


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """Mounts a file system, or changes a mount."""
    _check(_libc.mount(source.encode(), target.encode(), kind.encode(), flags, data.encode()), f"mount {target}")


def unmount(target: str) -> None:
    """Takes a mount away at once; who still has files open in it keeps them."""
    _check(_libc.umount2(target.encode(), DETACH), f"umount {target}")


def take_mount(path: str) -> int:
    """A descriptor of a copy of the mount at ``path``, which is nowhere yet."""
    flags = ctypes.c_uint(_CLONE | os.O_CLOEXEC)
    return _check(_libc.syscall(_OPEN_TREE, _AT_FDCWD, path.encode(), flags), f"open_tree {path}")


def put_mount(fd: int, target: str) -> None:
    """Puts such a mount somewhere."""
    _check(_libc.syscall(_MOVE_MOUNT, fd, b"", _AT_FDCWD, target.encode(), _F_EMPTY_PATH), f"move_mount {target}")


def prctl(option: int, value: int = 0) -> None:
    """Sets something of this process."""
    _check(_libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0), f"prctl {option}")


def drop_powers() -> None:
    """No capability is left, nor can one be had again by running a program."""
    with open("/proc/sys/kernel/cap_last_cap") as f:
        last = int(f.read())
    for cap in range(last + 1):
        prctl(24, cap)  # PR_CAPBSET_DROP
    prctl(47, 4)  # PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL
    prctl(38, 1)  # PR_SET_NO_NEW_PRIVS
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    _check(_libc.capset(ctypes.byref(header), ctypes.byref((ctypes.c_uint32 * 6)())), "capset")
