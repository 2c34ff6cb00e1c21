"""The sandboxes of a keeper: their layers, their bubblewraps, and what can be done to them.

Runs in the keeper's process and namespaces; see ``keeper.py``.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource as r
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

from . import layers, server
from .cgroups import Groups
from .namespaces import (
    NEWIPC,
    NEWNET,
    NEWNS,
    NEWPID,
    NEWUSER,
    NEWUTS,
    NODEV,
    NOSUID,
    REMOUNT,
    drop_powers,
    enter,
    mount,
    put_mount,
    take_mount,
    unmount,
    unshare,
    unshare_folder,
)

USER = 1000  # who code is inside
STORE = "/store"
DEEPEST = 60  # layers below a tree before they are made one


class Box:
    """One sandbox: its layers, its bubblewrap."""

    def __init__(self, ident: int, lowers: list[str], order: dict[str, Any]) -> None:
        self.ident, self.lowers, self.created = ident, lowers, lowers
        self.limits: dict[str, int] = order["limits"]
        self.workdir: str = order["workdir"]
        self.round = 0
        self.top = ""  # the mount that holds the writable layer
        self.process: subprocess.Popen[bytes] | None = None
        self.init = -1  # pidfd of its first process


class Keeper:
    """Answers requests."""

    def __init__(self, groups: Groups, mounts: dict[str, str], bwrap: str) -> None:
        self.groups, self.mounts, self.bwrap = groups, mounts, bwrap
        self.boxes: dict[int, Box] = {}
        self.next = 0
        self.uses: dict[str, int] = {}  # layer -> boxes and tokens that stand on it

    def _name(self) -> int:
        self.next += 1
        return self.next

    # -- layers ----------------------------------------------------------------------------------
    def _hold(self, lowers: list[str], by: int) -> None:
        for layer in lowers:
            self.uses[layer] = self.uses.get(layer, 0) + by
            if not self.uses[layer]:
                del self.uses[layer]
                layers.remove(layer)

    def bring(self, fd: int) -> dict[str, Any]:
        """A new layer from a tar stream."""
        path = f"{STORE}/{self._name()}"
        os.mkdir(path, 0o755)
        tar = ["tar", "-xpf", "-", "--no-same-owner", "-C", path]
        done = subprocess.run(
            tar, stdin=fd, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env={"PATH": os.defpath}
        )
        if done.returncode:
            layers.remove(path)
            raise OSError(5, f"the tree could not be copied: {done.stderr.decode(errors='replace').strip()[:300]}")
        self._hold([path], 1)
        return {"layer": path}

    def forget(self, lowers: list[str]) -> dict[str, Any]:
        """Nothing outside stands on these layers any more."""
        self._hold(lowers, -1)
        return {}

    def save(self, ident: int) -> dict[str, Any]:
        """The tree of a box as layers."""
        box = self.boxes[ident]
        path = f"{STORE}/{self._name()}"
        os.mkdir(path, 0o755)
        few = len(box.lowers) < DEEPEST
        try:
            layers.copy(f"{box.top}/{'up' if few else 'tree'}", path)
        except BaseException:
            layers.remove(path)
            raise
        lowers = [path, *box.lowers] if few else [path]
        self._hold(lowers, 1)
        return {"lowers": lowers}

    def _overlay(self, box: Box, lowers: list[str]) -> str:
        """Mounts a fresh writable layer over lowers; its mount point."""
        box.round += 1
        top = f"{STORE}/box-{box.ident}-{box.round}"
        os.mkdir(top)
        mount("tmpfs", top, "tmpfs", NOSUID | NODEV, f"{self._size(box)},mode=755")
        for name in ("up", "work", "tree"):
            os.mkdir(f"{top}/{name}")
        os.chmod(f"{top}/up", 0o755)
        low = ":".join(lowers)
        data = f"lowerdir={low},upperdir={top}/up,workdir={top}/work,userxattr"
        mount("overlay", f"{top}/tree", "overlay", NOSUID | NODEV, data)
        s = os.stat(lowers[0])
        os.utime(f"{top}/up", ns=(s.st_atime_ns, s.st_mtime_ns))
        os.chmod(f"{top}/up", s.st_mode & 0o7777)
        return top

    @staticmethod
    def _size(box: Box) -> str:
        """Of a tmpfs: bytes, and files, which cost memory of the kernel even when they are empty."""
        return f"size={box.limits['disk']},nr_inodes={box.limits['disk'] // 4096 + 64}"

    def _discard(self, top: str) -> None:
        if top:
            for path in (f"{top}/tree", top):
                with contextlib.suppress(OSError):
                    unmount(path)
            with contextlib.suppress(OSError):
                os.rmdir(top)

    # -- boxes -----------------------------------------------------------------------------------
    def create(self, order: dict[str, Any]) -> dict[str, Any]:
        """A new box over layers."""
        box = Box(self._name(), list(order["lowers"]), order)
        try:
            box.top = self._overlay(box, box.lowers)
            self.groups.make(f"box-{box.ident}", box.limits)
            self._start(box)
        except BaseException:
            self._end(box)
            self._discard(box.top)
            self.groups.drop(f"box-{box.ident}")
            raise
        self._hold(box.lowers, 1)
        self._hold(box.created, 1)
        self.boxes[box.ident] = box
        return {"box": box.ident}

    def _start(self, box: Box) -> None:
        """A bubblewrap whose first process sleeps for ever."""
        size = str(box.limits["disk"])
        args = [self.bwrap, "--unshare-user", "--disable-userns", "--uid", str(USER), "--gid", str(USER)]
        args += ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--hostname", "sandbox"]
        args += ["--die-with-parent", "--new-session", "--as-pid-1", "--cap-drop", "ALL", "--clearenv"]
        for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
            if os.path.islink(f"/{name}"):
                args += ["--symlink", os.readlink(f"/{name}"), f"/{name}"]
            elif os.path.isdir(f"/{name}"):
                args += ["--ro-bind", f"/{name}", f"/{name}"]
        args += ["--ro-bind", "/usr", "/usr", "--ro-bind", "/etc", "/etc"]
        for inside, path in self.mounts.items():
            args += ["--ro-bind", path, inside]
        args += ["--proc", "/proc", "--dev", "/dev", "--size", size, "--perms", "1777", "--tmpfs", "/dev/shm"]
        args += ["--size", size, "--perms", "1777", "--tmpfs", "/tmp", "--bind", f"{box.top}/tree", box.workdir]
        args += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/"]
        back, info = os.pipe()
        args += ["--info-fd", str(info)]
        calls = os.memfd_create(
            "calls"
        )  # the first process can be traced: it must not be able to do what others cannot
        if os.write(calls, server.refusals()):
            os.lseek(calls, 0, os.SEEK_SET)
            args += ["--seccomp", str(calls)]
        # who ignores SIGCHLD leaves no zombies of the orphans that come to it
        args += ["env", "--ignore-signal=CHLD", "sleep", "infinity"]
        box.process = subprocess.Popen(
            args,
            pass_fds=[info, calls],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={"PATH": "/usr/bin:/bin"},
        )
        os.close(info)
        os.close(calls)
        said = b""
        with open(back, "rb", buffering=0) as f:
            while b"}" not in said and (piece := f.read(4096)):
                said += piece
        try:
            pid = json.loads(said)["child-pid"]
            box.init = os.pidfd_open(pid)
            for _ in range(20000):  # its mounts are done when it has become another program
                program = os.path.basename(os.readlink(f"/proc/{pid}/exe"))
                if program not in ("bwrap", os.path.basename(self.bwrap)):
                    if "memory" not in self.groups.tops:  # a group counts what files cost the kernel
                        _apart(lambda: self._count(box))
                    return
                time.sleep(0.0002)
        except (ValueError, KeyError, OSError):
            pass
        box.process.kill()
        _, error = box.process.communicate()
        raise OSError(5, f"bubblewrap failed: {error.decode(errors='replace').strip()[:400]}")

    def _count(self, box: Box) -> None:
        """Limits the number of files in what bubblewrap mounted."""
        unshare_folder()
        enter(box.init, NEWNS)
        for path in ("/tmp", "/dev/shm"):
            mount("tmpfs", path, "tmpfs", REMOUNT | NOSUID | NODEV, self._size(box))

    def _alive(self, box: Box) -> bool:
        return box.init >= 0 and not select.select([box.init], [], [], 0)[0]

    def _end(self, box: Box) -> None:
        """Ends a bubblewrap with all in it."""
        if box.init >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(box.init, signal.SIGKILL)
            for _ in range(10000):  # it ends when those that came to us have been collected
                self.reap()
                if select.select([box.init], [], [], 0.001)[0]:
                    break
            os.close(box.init)
            box.init = -1
        if box.process is not None:
            box.process.kill()
            box.process.wait()
            self.reap()
            if box.process.stderr:
                box.process.stderr.close()
            box.process = None

    def connect(self, ident: int, fd: int) -> dict[str, Any]:
        """A server in the box that speaks over a descriptor."""
        box = self.boxes[ident]
        if not self._alive(box):  # what code inside did to its first process is no failure of ours
            self._end(box)
            self._start(box)

        def fork() -> None:
            enter(box.init, NEWPID)
            if not os.fork():
                try:
                    self.groups.join(f"box-{ident}")
                    self._limit(box)
                    enter(box.init, NEWUSER | NEWNS | NEWNET | NEWUTS)
                    unshare(NEWIPC)  # of this server alone: what is in it ends with the processes
                    _serve(fd)
                finally:
                    os._exit(1)

        _apart(fork)
        return {}

    def reap(self) -> None:
        """Collects processes that ended: servers are our children."""
        known = {b.process.pid: b.process for b in self.boxes.values() if b.process is not None}
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                if found[0] in known:
                    known[found[0]].returncode = os.waitstatus_to_exitcode(found[1])

    def _limit(self, box: Box) -> None:
        values = box.limits
        pairs = [(r.RLIMIT_FSIZE, values["file_size"]), (r.RLIMIT_NOFILE, values["open_files"]), (r.RLIMIT_CORE, 0)]
        if "memory" not in self.groups.tops:
            pairs.append((r.RLIMIT_AS, values["memory"]))
        if "processes" not in self.groups.tops:
            pairs.append((r.RLIMIT_NPROC, values["processes"]))
        for which, value in pairs:
            hard = r.getrlimit(which)[1]
            value = value if hard == r.RLIM_INFINITY else min(value, hard)
            r.setrlimit(which, (value, value))

    def _kill(self, box: Box) -> None:
        """Ends every process but the first."""
        for _ in range(200):
            self.reap()
            found = self.groups.members(f"box-{box.ident}")
            if found is None:
                break
            if not found:
                return
            for pid in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

        def fork() -> None:
            enter(box.init, NEWPID)
            pid = os.fork()
            if not pid:
                try:
                    for _ in range(2):  # again, for what was being born
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(-1, signal.SIGKILL)
                    os._exit(0)
                finally:
                    os._exit(1)
            killed.append(os.waitpid(pid, 0)[1] == 0)

        killed: list[bool] = []
        _apart(fork)
        self.reap()
        if not all(killed):  # code inside killed the killer: without its first process nothing lives
            self._end(box)
            self._start(box)

    def kill(self, ident: int) -> dict[str, Any]:
        """Ends every process in a box."""
        box = self.boxes[ident]
        if self._alive(box):
            self._kill(box)
        return {}

    def load(self, ident: int, lowers: list[str] | None) -> dict[str, Any]:
        """Ends every process, discards the writable layer, puts an empty one over ``lowers`` and empties /tmp."""
        box = self.boxes[ident]
        lowers = box.created if lowers is None else lowers
        old, new = box.top, self._overlay(box, lowers)
        tree = take_mount(f"{new}/tree")
        try:
            if self._alive(box):
                size = f"{self._size(box)},mode=1777"

                def swap() -> None:
                    unshare_folder()
                    enter(box.init, NEWNS)
                    for path in (box.workdir, "/tmp", "/dev/shm"):
                        unmount(path)
                    put_mount(tree, box.workdir)
                    for path in ("/tmp", "/dev/shm"):
                        mount("tmpfs", path, "tmpfs", NOSUID | NODEV, size)

                self._kill(box)
                _apart(swap)
        except OSError:
            self._discard(new)
            raise
        finally:
            os.close(tree)
        self._hold(lowers, 1)
        self._hold(box.lowers, -1)
        box.top, box.lowers = new, lowers
        if not self._alive(box):
            self._end(box)
            self._start(box)
        self._discard(old)
        return {}

    def drop(self, ident: int) -> dict[str, Any]:
        """Ends a box."""
        box = self.boxes.pop(ident)
        self._end(box)
        self._discard(box.top)
        self.groups.drop(f"box-{ident}")
        self._hold(box.lowers, -1)
        self._hold(box.created, -1)
        return {}

    def close(self) -> None:
        """Ends all boxes."""
        for ident in list(self.boxes):
            self.drop(ident)

    def answer(self, order: dict[str, Any], fds: list[int]) -> dict[str, Any]:
        """One request."""
        what = order["do"]
        if what == "create":
            return self.create(order)
        if what == "bring":
            return self.bring(fds[0])
        if what == "connect":
            return self.connect(order["box"], fds[0])
        if what == "load":
            return self.load(order["box"], order["lowers"])
        if what == "forget":
            return self.forget(order["lowers"])
        simple = {"save": self.save, "kill": self.kill, "drop": self.drop}
        return simple[what](order["box"])


def _apart(function: Callable[[], None]) -> None:
    """Runs a function in a thread of its own: namespaces that it enters are the thread's, and end with it."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            function()
        except BaseException as e:
            errors.append(e)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]


def _serve(fd: int) -> None:
    """Becomes the server: nothing of the keeper is kept but the stream."""
    os.setsid()
    drop_powers()
    os.dup2(fd, 3)
    null = os.open("/dev/null", os.O_RDWR)
    for n in (0, 1, 2):
        os.dup2(null, n)
    os.closerange(4, 4096)
    os.environ.clear()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    server.main(3, 3)
    os._exit(0)
