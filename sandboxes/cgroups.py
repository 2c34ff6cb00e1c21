"""Limits on all processes of a sandbox together, by control groups of either version, where we may write them."""

from __future__ import annotations

import contextlib
import os
import re
import time

# per version: file of a limit -> (controller, name of the limit)
_FILES = {
    1: {"memory": ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes"), "processes": ("pids.max",)},
    2: {"memory": ("memory.max", "memory.swap.max"), "processes": ("pids.max",)},
}
_CONTROLLER = {"memory": "memory", "processes": "pids"}


def _own(mounts: str = "/proc/self/mounts", groups: str = "/proc/self/cgroup") -> dict[str, tuple[int, list[str]]]:
    """For each limit: version and the folders in which a group may be made, best first."""
    paths: dict[str, str] = {}  # controller -> path of this process
    with open(groups) as f:
        for line in f:
            _, names, path = line.rstrip("\n").split(":", 2)
            for name in names.split(",") if names else [""]:
                paths[name] = path
    found: dict[str, tuple[int, list[str]]] = {}
    with open(mounts) as f:
        for line in f:
            _, root, kind, options = line.split()[:4]
            for limit, controller in _CONTROLLER.items():
                if kind == "cgroup" and controller in options.split(","):
                    here = root + paths.get(controller, "/")
                    found[limit] = 1, [here if os.path.isdir(here) else root]
                elif kind == "cgroup2" and limit not in found:
                    here = root + paths.get("", "/")
                    # a group with processes cannot hand controllers down, but for the root
                    places = [p for p in (here, root) if controller in _words(f"{p}/cgroup.subtree_control")]
                    if places:
                        found[limit] = 2, places
    return found


def _words(path: str) -> list[str]:
    try:
        with open(path) as f:
            return f.read().split()
    except OSError:
        return []


class Groups:
    """Groups of one keeper: one folder a controller, made as the user who starts it and given to ``uid``."""

    def __init__(self, name: str, uid: int) -> None:
        self.name = name
        self.tops: dict[str, tuple[int, int, str]] = {}  # limit -> (version, folder's descriptor, its path)
        for limit, (version, places) in _own().items():
            for place in places:
                sweep(place)
                path = os.path.join(place, name)
                try:
                    os.makedirs(path, exist_ok=True)
                    if version == 2:
                        with open(f"{path}/cgroup.subtree_control", "w") as f:
                            f.write(f"+{_CONTROLLER[limit]}")
                        os.makedirs(f"{path}/keeper", exist_ok=True)
                    for entry in (
                        "",
                        "cgroup.procs",
                        "tasks",
                        "cgroup.threads",
                        "cgroup.subtree_control",
                        "keeper",
                        "keeper/cgroup.procs",
                    ):
                        with contextlib.suppress(FileNotFoundError):
                            os.chown(os.path.join(path, entry), uid, -1)
                    with open(f"{path}/keeper/cgroup.procs" if version == 2 else f"{path}/cgroup.procs", "w") as f:
                        f.write(str(os.getpid()))  # who moves processes must be in the same tree
                    self.tops[limit] = version, os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), path
                    break
                except OSError:
                    with contextlib.suppress(OSError):
                        remove(path)

    def means(self) -> dict[str, str]:
        """Limit -> "cgroup v1" or "cgroup v2", for those that hold for all processes together."""
        return {limit: f"cgroup v{version}" for limit, (version, _, _) in self.tops.items()}

    def make(self, name: str, values: dict[str, int]) -> None:
        """A group with these limits."""
        for limit, (version, top, _) in self.tops.items():
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, dir_fd=top)
            for i, file in enumerate(_FILES[version][limit]):
                value = 0 if file == "memory.swap.max" else values[limit]
                try:
                    _write(top, f"{name}/{file}", str(value))
                except OSError:
                    if i == 0:  # swap accounting may be switched off; the limit itself may not
                        raise

    def join(self, name: str) -> None:
        """Puts this process into a group."""
        for _, top, _ in self.tops.values():
            _write(top, f"{name}/cgroup.procs", str(os.getpid()))

    def members(self, name: str) -> list[int] | None:
        """Processes in a group, None where there are no groups."""
        for _, top, _ in self.tops.values():
            fd = os.open(f"{name}/cgroup.procs", os.O_RDONLY | os.O_CLOEXEC, dir_fd=top)
            with open(fd) as f:
                return [int(line) for line in f.read().split()]
        return None

    def drop(self, name: str) -> None:
        """Removes a group whose processes are ending."""
        for _, top, _ in self.tops.values():
            for _ in range(200):
                try:
                    os.rmdir(name, dir_fd=top)
                except FileNotFoundError:
                    break
                except OSError:
                    time.sleep(0.005)
                    continue
                break

    def close(self) -> None:
        """Removes everything, after the last process; called by who may write the parent folder."""
        for _, top, path in self.tops.values():
            os.close(top)
            with contextlib.suppress(OSError), open(f"{os.path.dirname(path)}/cgroup.procs", "w") as f:
                f.write(str(os.getpid()))  # out of it ourselves
            remove(path)
        self.tops.clear()


def sweep(place: str) -> None:
    """Removes groups whose keepers were killed together with who would have removed them: old, and without a process."""
    with contextlib.suppress(OSError):
        for name in os.listdir(place):
            path = os.path.join(place, name)
            if not re.fullmatch(r"milepost-\d+-[0-9a-f]{8}", name) or time.time() - os.stat(path).st_mtime < 60:
                continue
            if not _words(f"{path}/cgroup.procs") and not _words(f"{path}/keeper/cgroup.procs"):
                for folder, _, _ in os.walk(path, topdown=False):
                    with contextlib.suppress(OSError):
                        os.rmdir(folder)


def remove(path: str) -> None:
    """Removes a group and those in it, when their processes have ended."""
    for folder, _, _ in os.walk(path, topdown=False):
        for _ in range(200):
            try:
                os.rmdir(folder)
            except FileNotFoundError:
                break
            except OSError:
                time.sleep(0.005)
                continue
            break


def _write(top: int, path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC, dir_fd=top)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
