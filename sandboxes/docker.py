"""Sandboxes in containers of a Docker engine, here or elsewhere: the provider ``docker``.

A container has no network, a read-only root, no capability and no way to get one, and an ordinary user; its tree, ``/tmp``
and ``/dev/shm`` are in memory and limited. Its first process is ours (``docker_inside``): the engine starts it once, and
commands, kills, restores and snapshots go through the one stream to it. So none pays for an ``exec``, and nothing depends on
a file system that is shared with the engine. The stream's end is the container's end: when this program is killed, its
containers go by themselves. From a sandbox's first fork on, containers wait for the next ones: one, and up to four where
forks come faster than an engine starts them.

``memory`` counts the processes and what they write; the tree as created and our own processes come on top. Where files fill
it all, so that nothing could start any more, the limit is raised by what a server needs, until ``restore``. Code that keeps
memory full with processes smaller than ours can make the kernel end its container: that is ``SandboxLost`` for it alone.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
import weakref
from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from os import PathLike
from typing import Any

from .base import Limits, Unavailable, clean_workdir
from .docker_box import DockerBox, Engine
from .docker_family import Family
from .docker_store import Store, Tree
from .served import Served

IMAGE = "milepost/sandbox"
LABEL = "milepost.sandbox"
HOST, OWNER = f"{LABEL}.host", f"{LABEL}.owner"
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc", "/proc", "/dev", "/sys", "/tmp", "/run")


# -- who owns a container ----------------------------------------------------------------------------
def _read(path: str) -> str:
    try:
        with open(path) as f:
            return f.read().strip()
    except OSError:
        return ""


def this_host() -> str:
    """Names this machine; several may use one engine."""
    return f"{socket.gethostname()} {_read('/etc/machine-id')}"


def owner(pid: int) -> str:
    """Names a process for good: boot, pid namespace, pid, start; empty when it is none. Elsewhere than on Linux pid alone."""
    boot = _read("/proc/sys/kernel/random/boot_id")
    if not boot:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return ""
        except PermissionError:
            pass
        return f"- - {pid} -"
    started = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    if not started or started[0] in "ZX":
        return ""
    return f"{boot} {os.readlink('/proc/self/ns/pid')} {pid} {started[19]}"


def orphan(label: str) -> bool:
    """Whether the process of this host that a label names is dead for sure."""
    ours = owner(os.getpid()).split(" ")
    parts = label.split(" ")
    if len(parts) != 4 or not parts[2].isdigit():
        return False
    if parts[0] != ours[0]:
        return parts[0] != "-" and ours[0] != "-"  # another boot
    return parts[1] == ours[1] and owner(int(parts[2])) != label


# -- the engine --------------------------------------------------------------------------------------
def _client(base_url: str | None, context: str | None) -> tuple[Any, Any]:
    """The SDK and a client of it.

    Raises:
        Unavailable: no SDK, no engine, no permission; ValueError: no such context.
    """
    try:
        sdk: Any = import_module("docker")
    except ImportError:
        sdk = None
    if not hasattr(sdk, "DockerClient"):  # a folder of that name on the path is none
        raise Unavailable("docker sandboxes need the Docker SDK: pip install 'milepost[docker]'")
    settings: dict[str, Any] = sdk.utils.kwargs_from_env()
    if base_url is not None:
        settings["base_url"] = base_url
        if base_url.startswith(("unix:", "npipe:", "ssh:")):
            settings.pop("tls", None)
    elif context is not None or "base_url" not in settings:
        known = {c.Name: c for c in sdk.ContextAPI.contexts()}
        name = context or os.environ.get("DOCKER_CONTEXT")
        if name and name not in known:
            raise ValueError(f"docker context is {name!r}; allowed: {', '.join(map(repr, sorted(known)))}")
        found = sdk.ContextAPI.get_context(name)
        settings = {"base_url": found.Host, "tls": found.TLSConfig} if found is not None and found.Host else {}
    where = (settings.get("base_url") or "unix:///var/run/docker.sock").removeprefix("http+")
    try:
        version = "1.41"  # for the one question that has none
        for _ in range(2):
            client = sdk.DockerClient(**settings, version=version, timeout=60)
            client.api.trust_env = False  # else REQUESTS_CA_BUNDLE takes the place of the engine's own authority
            version = client.api.version(api_version=False)["ApiVersion"]
    except (sdk.errors.DockerException, OSError) as e:
        text = str(e)
        if "Permission denied" in text:
            raise Unavailable(
                f"the docker engine at {where} may not be used by this user: join its group (usermod -aG docker NAME)"
            ) from None
        raise Unavailable(
            f"there is no docker engine at {where}: start one (dockerd), or name one by DOCKER_HOST, context= or "
            f"base_url= ({text[-300:]})"
        ) from None
    return sdk, client


class Docker:
    """The provider ``docker``; see ``base.Provider``.

    Args:
        image: an image that the engine has, with python3 (3.7 or newer) and bash.
        network: ``none``, or a network of the engine that the sandboxes join.
        cpus: processors that one sandbox may use; no more than the engine's machine has.
        context: a docker context, as ``docker context ls`` shows them.
        base_url: the engine's address (``unix://``, ``tcp://``), TLS as DOCKER_TLS_VERIFY and DOCKER_CERT_PATH say. With
            neither, DOCKER_HOST holds, then the current context.

    Raises:
        Unavailable: no SDK, no engine, no permission, no such image; says what to do.
        ValueError: a setting that is none.
    """

    name = "docker"

    def __init__(
        self,
        image: str = IMAGE,
        *,
        network: str = "none",
        cpus: float = 1.0,
        context: str | None = None,
        base_url: str | None = None,
    ) -> None:
        if network == "host" or network.startswith("container:") or not network:
            raise ValueError(f"network is {network!r}; allowed: 'none' or the name of a network of the engine")
        if isinstance(cpus, bool) or not isinstance(cpus, (int, float)) or not 0.01 <= cpus:
            raise ValueError(f"cpus is {cpus!r}; allowed: a number from 0.01")
        if base_url is not None and context is not None:
            raise ValueError("both base_url and context are given; allowed: one of them")
        sdk, self._client = _client(base_url, context)
        self._engine = Engine(sdk, self._client, image)
        with self._engine.errors("tell about itself"):
            self._info: dict[str, Any] = self._client.info()
            try:
                config = self._client.images.get(image).attrs["Config"]
            except sdk.errors.ImageNotFound:
                self._client.close()
                name = image.removeprefix("milepost/").partition(":")[0]
                how = f"docker/build.sh {name} makes it" if image.startswith("milepost/") else f"docker pull {image}"
                raise Unavailable(f"the engine has no image {image}: {how}") from None
        self._env = dict(v.partition("=")[::2] for v in config.get("Env") or ())
        self.ident = secrets.token_hex(6)
        self._settings = {
            "network": network,
            "nano_cpus": int(min(cpus, self._info["NCPU"]) * 1e9) if self._info.get("CpuCfsQuota") else None,
            "labels": {LABEL: self.ident, HOST: this_host(), OWNER: owner(os.getpid())},
            "rlimits": self._rlimits,
        }
        self._store = Store()
        self._trees: dict[str, tuple[Any, Tree]] = {}  # real path -> (its signature, copy)
        self._boxes: weakref.WeakSet[DockerBox] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._closed = False
        self.sweep()

    def sweep(self) -> int:
        """Removes containers whose owners on this machine are dead; says how many.

        Raises:
            SandboxError: the engine does not answer.
        """
        found = 0
        with self._engine.errors("list containers"):
            wanted = {"label": f"{HOST}={this_host()}"}
            every = self._engine.api.containers(all=True, filters=wanted)
        for each in every:
            if orphan(each["Labels"].get(OWNER, "")):
                self._engine.remove(each["Id"])
                found += 1
        return found

    def create(
        self,
        tree: str | PathLike[str] | None = None,
        *,
        limits: Limits | None = None,
        env: Mapping[str, str] | None = None,
        workdir: str = "/work",
    ) -> Served:
        """See ``base.Provider.create``. Variables of the image are kept, those of ``env`` win."""
        if self._closed:
            raise RuntimeError("the provider is closed")
        place = clean_workdir(workdir, _SYSTEM)
        limits = self._enforced(limits or Limits())
        with self._lock:
            copy = self._copy(None if tree is None else os.path.realpath(os.fspath(tree)))
        family = Family(self._engine, self._store, self._settings, limits, place, copy, self._boxes.add)
        box = family.make(copy)
        return Served(box, limits=limits, env={**self._env, **(env or {})}, workdir=place)

    def _enforced(self, limits: Limits) -> Limits:
        group = f"cgroup v{self._info.get('CgroupVersion', '1')}"
        memory, pids = self._info.get("MemoryLimit", True), self._info.get("PidsLimit", True)
        swap = "" if self._info.get("SwapLimit", True) else ", swap not counted"
        means = {
            "memory": f"{group}{swap}" if memory else "rlimit, each process",
            "processes": group if pids else "rlimit, all of the engine's user 1000",
            "file_size": "rlimit",
            "open_files": "rlimit",
            "disk": "tmpfs",
            "output": "counted",
            "timeout": "counted",
        }
        if limits.strict and not (memory and pids):
            raise Unavailable(
                "memory and processes of a sandbox together need control groups, which this engine lacks (a rootless one "
                "needs cgroup v2 with delegation): change that, or do without strict"
            )
        return replace(limits, enforced=means)

    def _rlimits(self, limits: Limits) -> dict[str, int]:
        values = {"RLIMIT_FSIZE": limits.file_size, "RLIMIT_NOFILE": limits.open_files, "RLIMIT_CORE": 0}
        if not self._info.get("MemoryLimit", True):
            values["RLIMIT_AS"] = limits.memory
        if not self._info.get("PidsLimit", True):
            values["RLIMIT_NPROC"] = limits.processes
        return values

    def _copy(self, path: str | None) -> Tree:
        """A directory as it is now, read once while it does not change."""
        if path is None:
            return Tree([["", "d", 0o755, 0]], {})
        signature = _signature(path)
        known = self._trees.get(path)
        if known is None or known[0] != signature:
            known = self._trees[path] = signature, self._store.copy(path)
        return known[1]

    def close(self) -> None:
        """Closes all sandboxes; calling it again does nothing."""
        if self._closed:
            return
        self._closed = True
        for box in list(self._boxes):
            box.close()
        self._trees.clear()
        self._client.close()

    def __enter__(self) -> Docker:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


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
