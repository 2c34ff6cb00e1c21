"""The process that keeps the sandboxes of one ``Local`` provider, apart from the program that uses them.

It gives up root if it had it, moves into a user and a mount namespace of its own with a root directory that holds only what a
sandbox needs, and puts all files that it makes into memory that only this namespace sees: when it ends, however it ends,
nothing is mounted and no file is left. It ends when the program that started it does. All modules are imported at the start,
because afterwards they may be out of reach. Each sandbox is a bubblewrap of its own, whose first process does nothing;
``server.py`` is forked from here and enters it.

The program and the keeper speak JSON over one ``SOCK_SEQPACKET`` socket, a request and its answer at a time; descriptors
travel beside them.
"""

from __future__ import annotations

import array
import json
import os
import select
import signal
import socket
from typing import Any

from . import layers
from .boxes import STORE, USER, Keeper
from .cgroups import Groups
from .namespaces import BIND, NEWNS, NEWUSER, NODEV, NOSUID, PRIVATE, REC, mount, pivot, prctl, unshare

NOBODY = 65432  # who it is outside where we were root: nobody's number, of the range for users made on the fly
ETC = {
    "passwd": f"root:x:0:0:root:/:/bin/sh\nagent:x:{USER}:{USER}:agent:/tmp:/bin/bash\n",
    "group": f"root:x:0:\nagent:x:{USER}:\n",
    "hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
    "hostname": "sandbox\n",
}


def _settle(uid: int, mounts: dict[str, str], memory: int) -> dict[str, str]:
    """Moves into our own namespaces; where the read-only directories are in them."""
    places = {}
    root = os.geteuid() == 0
    me = NOBODY if root else uid

    def room() -> None:
        """A root directory with only what a sandbox needs: fewer mounts are also faster to copy."""
        mount("none", "/", flags=REC | PRIVATE)
        new = "/sys"  # is everywhere, and what it holds is needed by nobody here
        mount("tmpfs", new, "tmpfs", NOSUID | NODEV, "mode=755")
        for name in ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "proc", "dev"):
            if os.path.islink(f"/{name}"):
                os.symlink(os.readlink(f"/{name}"), f"{new}/{name}")
            elif os.path.isdir(f"/{name}"):
                os.mkdir(f"{new}/{name}")
                mount(f"/{name}", f"{new}/{name}", flags=BIND if name == "dev" and root else BIND | REC)
        for name in (STORE, "/etc", "/tmp", "/mounts"):
            os.mkdir(f"{new}{name}")
        for name, text in ETC.items():
            with open(f"{new}/etc/{name}", "w") as f:
                f.write(text)
        for name in ("alternatives", "terminfo"):
            if os.path.isdir(f"/etc/{name}"):
                os.mkdir(f"{new}/etc/{name}")
                layers.copy(f"/etc/{name}", f"{new}/etc/{name}")
        for name in ("ld.so.cache", "localtime", "mime.types"):
            if os.path.isfile(f"/etc/{name}"):
                with open(f"/etc/{name}", "rb") as source, open(f"{new}/etc/{name}", "wb") as target:
                    target.write(source.read())
        for i, (inside, path) in enumerate(mounts.items()):
            places[inside] = f"/mounts/{i}"
            os.mkdir(f"{new}/mounts/{i}")
            mount(path, f"{new}/mounts/{i}", flags=BIND | REC)
        pivot(new)

    if root:  # while we can still read what root can
        unshare(NEWNS)
        room()
        os.setgroups([])
        os.setresgid(me, me, me)
        os.setresuid(me, me, me)
        prctl(4, 1)  # PR_SET_DUMPABLE, else /proc/self is root's
    gid = os.getegid()
    unshare(NEWUSER | NEWNS)
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {me} 1"), ("gid_map", f"0 {gid} 1")):
        with open(f"/proc/self/{name}", "w") as f:
            f.write(text)
    if not root:
        room()
    mount("tmpfs", STORE, "tmpfs", NOSUID | NODEV, f"size={memory},mode=755")
    return places


def main(link: socket.socket, hello: dict[str, Any]) -> int:
    """Serves one program over a socket until either ends."""
    alive = os.pidfd_open(hello["parent"])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # Ctrl-C ends the program, and that ends us
    uid = os.geteuid()
    groups = Groups(hello["name"], NOBODY if uid == 0 else uid)
    pid = os.fork() if uid == 0 and groups.tops else 0
    if pid:  # root's part: waits, then removes the groups, which nobody else may
        link.close()
        os.waitpid(pid, 0)
        groups.close()
        return 0
    try:
        places = _settle(uid, hello["mounts"], hello["memory"])
        keeper = Keeper(groups, places, hello["bwrap"])
    except OSError as e:
        link.send(json.dumps({"errno": e.errno, "error": str(e)}).encode())
        return 1
    link.send(json.dumps({"means": groups.means()}).encode())
    try:
        while link.fileno() in select.select([link.fileno(), alive], [], [])[0]:
            data, fds = _receive(link)
            if not data:
                break
            try:
                said = keeper.answer(json.loads(data), fds)
            except KeyError:
                said = {"errno": 3, "error": "no such sandbox"}
            except Exception as e:  # whatever it was, it is no reason to end all other sandboxes
                said = {"errno": getattr(e, "errno", None) or 5, "error": str(e) or repr(e)}
            for n in fds:
                os.close(n)
            keeper.reap()
            link.send(json.dumps(said).encode())
    except OSError:
        pass
    finally:
        keeper.close()
        if uid != 0:
            groups.close()
    return 0


def _receive(link: socket.socket) -> tuple[bytes, list[int]]:
    data, extra, _, _ = link.recvmsg(2**20, socket.CMSG_SPACE(16))
    fds = array.array("i")
    for level, kind, raw in extra:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(raw[: len(raw) - len(raw) % fds.itemsize])
    return data, list(fds)
