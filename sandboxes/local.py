"""Sandboxes on this machine without a daemon: bubblewrap, an overlay and control groups, as root or as an ordinary user.

Inside: a user, pid, network, mount, ipc and host-name namespace; the machine's ``/usr`` and a small ``/etc`` read-only; the
tree at ``workdir`` as an overlay whose changes are kept in memory; an own ``/tmp``; no network but a loopback of its own; no
capability, and no way to get one. On the machine it is an ordinary user even where we are root. A reset discards a layer, a
fork copies one.

The tree is copied into the keeper's memory once, and again when it changed. A directory of the tree cannot be renamed by
rename(2) (overlayfs says EXDEV; ``mv`` and ``shutil.move`` copy it instead), all else is as on any file system.
"""

from __future__ import annotations

import array
import contextlib
import errno
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from typing import Any

from . import transfer
from .base import Limits, SandboxError, SandboxLost, Unavailable, clean_workdir
from .served import Served

# the files of this folder as a package of the same name, without importing milepost and what that needs; nothing of the machine
# is in the arguments, because servers are forked from this process and code inside sees theirs
_START = """
import json, socket, sys, types
link = socket.socket(fileno=0)
hello = json.loads(link.recv(65536))
for name, path in (("milepost", []), ("milepost.sandboxes", [hello["folder"]])):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = path
from milepost.sandboxes.keeper import main
sys.exit(main(link, hello))
"""
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc", "/proc", "/dev", "/sys", "/tmp", "/opt/python")


class _Link:
    """The connection to the keeper: one request at a time."""

    def __init__(self, name: str, mounts: dict[str, str], memory: int) -> None:
        bwrap = shutil.which("bwrap")
        if not sys.platform.startswith("linux") or not hasattr(os, "pidfd_open"):
            raise Unavailable("local sandboxes need Linux 5.3 or newer; use the docker provider")
        if bwrap is None:
            raise Unavailable("local sandboxes need bubblewrap: install the package bubblewrap of your system")
        python, folder = sys._base_executable, os.path.dirname(os.path.abspath(__file__))  # type: ignore[attr-defined]
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self.process = subprocess.Popen(
                [python, "-I", "-S", "-c", _START],
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
                cwd="/",
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        self.socket, self.lock = ours, threading.Lock()
        self.owner = os.getpid()
        hello = {"name": name, "mounts": mounts, "memory": memory, "bwrap": bwrap}
        hello |= {"folder": folder, "parent": os.getpid()}
        try:
            self.means: dict[str, str] = self.ask(**hello)["means"]
        except OSError as e:
            self.close()
            raise Unavailable(f"{_why()} ({e})") from None

    def ask(self, *fds: int, feed: Any = None, **order: Any) -> dict[str, Any]:
        """Sends a request and waits for its answer.

        Raises:
            SandboxLost: the keeper is gone.
            OSError: it could not do it.
        """
        with self.lock:
            if os.getpid() != self.owner:
                raise SandboxLost("this sandbox belongs to another process: make one after the fork")
            try:
                extra = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
                self.socket.sendmsg([json.dumps(order).encode()], extra)
                if feed is not None:
                    feed()
                data = self.socket.recv(2**20)
            except OSError:
                data = b""
        if not data:
            raise SandboxLost("the keeper of the local sandboxes is gone, and they with it: make a new provider")
        said: dict[str, Any] = json.loads(data)
        if "error" in said:
            raise OSError(said["errno"], said["error"])
        return said

    def close(self) -> None:
        """Ends the keeper and waits until it has put everything away."""
        if os.getpid() != self.owner:
            return
        self.socket.close()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _why() -> str:
    """What forbids namespaces here, and what to do."""

    def value(name: str) -> str:
        try:
            with open(f"/proc/sys/{name}") as f:
                return f.read().strip()
        except OSError:
            return ""

    if value("user/max_user_namespaces") == "0":
        what = "user namespaces are switched off: sysctl -w user.max_user_namespaces=10000"
    elif value("kernel/unprivileged_userns_clone") == "0":
        what = "user namespaces are for root alone here: sysctl -w kernel.unprivileged_userns_clone=1"
    elif value("kernel/apparmor_restrict_unprivileged_userns") == "1":
        what = "AppArmor forbids user namespaces: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
    else:
        what = (
            "this kernel or container forbids user namespaces or mounts in them: allow them, or use the docker provider"
        )
    return f"local sandboxes cannot be made: {what}"


class _Stream:
    """A socket; see ``base.Stream``."""

    def __init__(self, sock: socket.socket) -> None:
        import select

        self._socket, self._poll = sock, select.poll()
        self._poll.register(sock, select.POLLIN)
        sock.settimeout(10)

    def wait(self, seconds: float | None) -> bool:
        return bool(self._poll.poll(None if seconds is None else seconds * 1000))

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def recv(self) -> bytes:
        return self._socket.recv(2**18)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes who waits for it
        self._socket.close()


class _State:
    """Layers of one keeper; the same paths mean something else in another."""

    def __init__(self, link: _Link, lowers: list[str]) -> None:
        self.link, self.lowers = link, lowers

    def of(self, link: _Link) -> list[str]:
        """The layers.

        Raises:
            ValueError: they are another keeper's.
        """
        if link is not self.link:
            raise ValueError("a snapshot of another provider; allowed: one that this provider's sandboxes made")
        return self.lowers


class _LocalBox:
    """See ``base.Box``."""

    users: Sequence[str] = ()

    def __init__(self, provider: Local, lowers: list[str], order: dict[str, Any]) -> None:
        self._provider, self._order = provider, order
        try:
            self._ident = provider.link.ask(do="create", lowers=lowers, **order)["box"]
        except OSError as e:
            raise SandboxError(f"a local sandbox could not be made: {e}") from None

    def _ask(self, *fds: int, **order: Any) -> dict[str, Any]:
        try:
            return self._provider.link.ask(*fds, box=self._ident, **order)
        except OSError as e:
            raise SandboxLost(f"the local sandbox does not answer: {e}") from None

    def connect(self, user: str | None = None) -> _Stream:
        ours, theirs = socket.socketpair()
        with theirs:
            self._ask(theirs.fileno(), do="connect")
        return _Stream(ours)

    def kill(self) -> None:
        self._ask(do="kill")

    def save(self) -> _State:
        try:
            lowers: list[str] = self._provider.link.ask(box=self._ident, do="save")["lowers"]
        except OSError as e:
            if e.errno == errno.ESRCH:
                raise SandboxLost(f"the local sandbox does not answer: {e}") from None
            raise OSError(e.errno, f"no snapshot: {e.strerror}", self._order["workdir"]) from None
        return _State(self._provider.link, lowers)

    def load(self, token: _State | None) -> None:
        self._ask(do="load", lowers=None if token is None else token.of(self._provider.link))

    def clone(self, token: _State) -> _LocalBox:
        return _LocalBox(self._provider, token.of(self._provider.link), self._order)

    def forget(self, token: _State) -> None:
        with contextlib.suppress(SandboxError, OSError):
            token.link.ask(do="forget", lowers=token.lowers)

    def close(self) -> None:
        with contextlib.suppress(SandboxError):
            self._ask(do="drop")


class Local:
    """The provider ``local``; see ``base.Provider``.

    Args:
        mounts: directories of this machine that are seen read-only inside: path inside -> path here. Where we are root, code
            inside sees what others may read.
        python: put the Python that runs this program at /opt/python and first on the path, without its site-packages' venv.
        memory: bytes that all trees and snapshots of this provider may take; half of the machine's by default.

    Raises:
        Unavailable: it is no Linux, bubblewrap is missing, or the kernel forbids namespaces; says what to do.
        ValueError: a mount that is not absolute or no directory.
    """

    name = "local"

    def __init__(
        self, *, mounts: Mapping[str, str] | None = None, python: bool = True, memory: int | None = None
    ) -> None:
        binds = dict(mounts or {})
        for inside, path in binds.items():
            if not os.path.isabs(inside) or not os.path.isdir(path) or inside in ("/", *_SYSTEM):
                raise ValueError(
                    f"mount {inside!r}: {path!r}; allowed: an absolute path that hides nothing, and a directory"
                )
            binds[inside] = os.path.realpath(path)
        self._path = "/usr/local/bin:/usr/bin:/bin"
        if python and not sys.base_prefix.startswith("/usr"):
            binds["/opt/python"] = os.path.realpath(sys.base_prefix)
        if python:
            self._path = f"{'/opt/python' if '/opt/python' in binds else sys.base_prefix}/bin:{self._path}"
        if memory is None:
            memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
        self.link = _Link(f"milepost-{os.getpid()}-{secrets.token_hex(4)}", binds, memory)
        self._trees: dict[str, tuple[Any, str]] = {}  # real path -> (its signature, layer)
        self._empty: str | None = None
        self._boxes: weakref.WeakSet[Served] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._closed = False

    def create(
        self,
        tree: str | PathLike[str] | None = None,
        *,
        limits: Limits | None = None,
        env: Mapping[str, str] | None = None,
        workdir: str = "/work",
    ) -> Served:
        """See ``base.Provider.create``."""
        if self._closed:
            raise RuntimeError("the provider is closed")
        place = clean_workdir(workdir, _SYSTEM)
        limits = self._enforced(limits or Limits())
        with self._lock:
            layer = self._layer(None if tree is None else os.path.realpath(os.fspath(tree)))
        order = {"limits": {k: getattr(limits, k) for k in ("memory", "processes", "file_size", "open_files", "disk")}}
        box = _LocalBox(self, [layer], order | {"workdir": place})
        served = Served(box, limits=limits, env={"PATH": self._path, **(env or {})}, workdir=place)
        self._boxes.add(served)
        return served

    def _enforced(self, limits: Limits) -> Limits:
        means = {"memory": "rlimit, each process", "processes": "rlimit", "file_size": "rlimit", "open_files": "rlimit"}
        means |= {"disk": "tmpfs", "output": "counted", "timeout": "counted"} | self.link.means
        if limits.strict and means["memory"].startswith("rlimit"):
            raise Unavailable(
                "memory of all processes together needs a control group that this program may write, and there is none: "
                "run it in one (systemd-run --user --scope -p Delegate=yes ...), as root, or without strict"
            )
        return replace(limits, enforced=means)

    def _layer(self, tree: str | None) -> str:
        """The layer with a copy of a tree as it is now."""
        if tree is None:
            if self._empty is None:
                self._empty = self._bring(iter([b"\0" * 10240]))  # an empty tar
            return self._empty
        signature = _signature(tree)
        known = self._trees.get(tree)
        if known is not None and known[0] == signature:
            return known[1]
        layer = self._bring(transfer.pack(tree))
        if known is not None:
            self.link.ask(do="forget", lowers=[known[1]])
        self._trees[tree] = signature, layer
        return layer

    def _bring(self, pieces: Iterator[bytes]) -> str:
        out, into = os.pipe()

        def feed() -> None:
            os.close(out)
            with open(into, "wb") as f, contextlib.suppress(BrokenPipeError):
                for piece in pieces:
                    f.write(piece)

        try:
            layer: str = self.link.ask(out, feed=feed, do="bring")["layer"]
        except OSError as e:
            raise SandboxError(str(e)) from None
        return layer

    def close(self) -> None:
        """Closes all sandboxes and ends the keeper; calling it again does nothing."""
        if not self._closed:
            self._closed = True
            for box in list(self._boxes):
                with contextlib.suppress(SandboxError):
                    box.close()
            self.link.close()

    def __enter__(self) -> Local:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):
            try:
                self.close()
            except Exception:  # the interpreter is ending, and half of it has gone: the keeper sees that and ends too
                pass


def _signature(tree: str) -> list[tuple[Any, ...]]:
    """What changes when anything in a tree does."""
    found, stack = [], [tree]
    while stack:
        with os.scandir(stack.pop()) as entries:
            for e in entries:
                s = e.stat(follow_symlinks=False)
                found.append((e.path, s.st_ino, s.st_mode, s.st_size, s.st_mtime_ns, s.st_ctime_ns))
                if e.is_dir(follow_symlinks=False):
                    stack.append(e.path)
    return sorted(found)
