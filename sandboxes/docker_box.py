"""One container: a ``Box`` whose tree and /tmp are in memory and whose states are kept on the host."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .base import MB, SandboxError, SandboxLost, Unavailable
from .docker_link import Channel, Failed, Link
from .docker_store import Tree

if TYPE_CHECKING:
    from .docker_family import Family

USER = 1000
RESERVE = 32 * MB  # for our own processes, beside what the limit gives to theirs
BOOT = """
import sys, types
for name in ("milepost", "milepost.sandboxes"):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = []
for name, text in zip(("server", "docker_tree", "docker_inside"), sys.argv[1:]):
    module = sys.modules["milepost.sandboxes." + name] = types.ModuleType("milepost.sandboxes." + name)
    module.__package__ = "milepost.sandboxes"
    exec(compile(text, name + ".py", "exec", dont_inherit=True), module.__dict__)
module.main(sys.argv[4:])
"""


def program(workdir: str) -> list[str]:
    """The command of a container: Python with the texts of the files that run inside."""
    here = Path(__file__).parent
    texts = [(here / f"{name}.py").read_text("utf-8") for name in ("server", "docker_tree", "docker_inside")]
    return ["python3", "-I", "-S", "-c", BOOT, *texts, workdir, "/tmp", "/dev/shm"]


class Engine:
    """The Docker engine as the SDK shows it; its errors become ours."""

    def __init__(self, sdk: Any, client: Any, image: str) -> None:
        self.sdk, self.api, self.image = sdk, client.api, image

    @contextlib.contextmanager
    def errors(self, doing: str) -> Iterator[None]:
        """Turns what the SDK raises into ``SandboxError``."""
        try:
            yield
        except self.sdk.errors.APIError as e:
            text = str(e.explanation or e)
            if "executable file not found" in text or ("no such file or directory" in text and "python3" in text):
                raise Unavailable(f"the image {self.image} has no python3, which sandboxes need") from None
            raise SandboxError(f"the engine cannot {doing}: {text}") from None
        except (self.sdk.errors.DockerException, OSError) as e:  # what comes from requests is an OSError
            raise SandboxError(f"the engine cannot {doing}: it does not answer ({e})") from None

    def remove(self, ident: str) -> None:
        """Removes a container and waits until it is gone."""
        for _ in range(2000):
            with self.errors("remove a container"):
                try:
                    self.api.remove_container(ident, force=True, v=True)
                    return
                except self.sdk.errors.NotFound:
                    return
                except self.sdk.errors.APIError as e:
                    if e.status_code != 409:  # the engine removes it already
                        raise
            time.sleep(0.01)


class DockerBox:
    """See ``base.Box``."""

    users: Sequence[str] = ()

    def __init__(self, family: Family, tree: Tree) -> None:
        self._family, self._engine, self._created = family, family.engine, tree
        self._workdir, self._memory = family.workdir, family.memory
        self._owner = os.getpid()
        self._raised = self._closed = False
        engine = family.engine
        with engine.errors("make a container"):
            self.ident: str = engine.api.create_container(**self._order())["Id"]
        try:
            with engine.errors("start a container"):
                self._link = Link(
                    engine.api.attach_socket(self.ident, {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}),
                    self.ident[:12],
                )
                engine.api.start(self.ident)
            if not self._link.hello(60)["bash"]:
                raise Unavailable(f"the image {engine.image} has no bash, which sandboxes need")
            self.load(None)
        except BaseException:
            self.close()
            raise

    def _order(self) -> dict[str, Any]:
        """The container as the engine is asked for it."""
        family, api = self._family, self._engine.api
        limits, settings, inodes = family.limits, family.settings, family.inodes
        flags = "rw,exec,nosuid,nodev"
        owner = f"mode=755,uid={USER},gid={USER}"
        host = api.create_host_config(
            auto_remove=True,
            cap_drop=["ALL"],
            ipc_mode="private",
            log_config={"Type": "none", "Config": {}},
            mem_limit=self._memory,
            memswap_limit=self._memory,
            nano_cpus=settings["nano_cpus"],
            network_mode=settings["network"],
            pids_limit=limits.processes + 2,  # the first process and the server
            read_only=True,
            security_opt=["no-new-privileges:true"],
            shm_size=limits.disk,
            tmpfs={
                self._workdir: f"{flags},size={family.room},nr_inodes={family.count + inodes},{owner}",
                "/tmp": f"{flags},size={limits.disk},nr_inodes={inodes},mode=1777",
            },
            ulimits=[{"Name": "core", "Soft": 0, "Hard": 0}],
        )
        return {
            "image": self._engine.image,
            "command": [],
            "entrypoint": program(self._workdir),
            "user": f"{USER}:{USER}",
            "hostname": "sandbox",
            "working_dir": "/",
            "stdin_open": True,  # and the input ends with the connection, because the container is not detached
            "detach": False,
            "labels": settings["labels"],
            "host_config": host,
            "healthcheck": {"test": ["NONE"]},
        }

    # -- processes -------------------------------------------------------------------------------
    def connect(self, user: str | None = None) -> Channel:
        """See ``base.Box.connect``."""
        if self._closed:
            raise RuntimeError("the provider is closed")
        return self._link.open(self._family.settings["rlimits"](self._family.limits))

    def kill(self) -> None:
        """See ``base.Box.kill``. Files may fill all memory: then the limit is raised, so that a server can start."""
        used = self._ask(b"K")["used"]
        if used + 2 * RESERVE > self._memory:
            self._memorize(used + 2 * RESERVE)
            self._raised = True

    def _memorize(self, size: int) -> None:
        with self._engine.errors("change a limit"):
            self._engine.api.update_container(self.ident, mem_limit=size, memswap_limit=size)

    def _ask(self, kind: bytes, order: Any = None, **how: Any) -> Any:
        try:
            return self._link.ask(kind, order, **how)
        except Failed as e:
            raise SandboxError(f"the container {self.ident[:12]} failed: {e.strerror}") from None

    # -- states ----------------------------------------------------------------------------------
    def save(self) -> Tree:
        """See ``base.Box.save``; what changes meanwhile is saved in one state or the other.

        Raises:
            OSError: a path is longer than 3,000 bytes, or the files hold more than twice what there is room for (holes).
        """
        most = 2 * self._family.room
        try:
            entries = self._link.ask(b"S", {"path": self._workdir, "most": most}, seconds=300)
        except Failed as e:
            raise OSError(e.errno, f"no snapshot: {e.strerror}", self._workdir) from None

        def bring(path: str, add: Callable[[bytes], object]) -> bool:
            try:
                order = {"path": self._workdir, "file": path, "most": most}
                self._link.ask(b"R", order, seconds=300, pieces=add)
            except Failed as e:
                if e.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                    return False
                raise OSError(e.errno, f"no snapshot: {e.strerror}", path) from None
            return True

        return self._family.store.fetch(entries, bring)

    def load(self, token: Tree | None) -> None:
        """See ``base.Box.load``."""
        tree = self._created if token is None else token
        order = {"path": self._workdir, "tree": tree.entries, "empty": ["/tmp", "/dev/shm"]}
        try:
            self._link.make(order, lambda sha: tree.contents[sha].blocks(), seconds=300)
        except Failed as e:
            self._link.close()
            raise SandboxLost(f"the tree could not be put into the container: {e.strerror}") from None
        if self._raised:
            self._memorize(self._memory)
            self._raised = False

    def become(self, tree: Tree) -> None:
        """Makes a box that nobody has used yet one that was created with ``tree``.

        Raises:
            SandboxLost: it is gone.
        """
        if tree.entries != self._created.entries:
            self.load(tree)
        else:
            self.kill()  # nothing runs there; but is it still there?
        self._created = tree

    def clone(self, token: Tree) -> DockerBox:
        """See ``base.Box.clone``."""
        return self._family.clone(token)

    def forget(self, token: Tree) -> None:
        """See ``base.Box.forget``."""
        token.clear()

    def close(self) -> None:
        """See ``base.Box.close``."""
        if self._closed or os.getpid() != self._owner:
            return
        self._closed = True
        if hasattr(self, "_link"):
            self._link.close()
        with contextlib.suppress(SandboxError):
            self._engine.remove(self.ident)
        self._family.leave(self)

    def __del__(self) -> None:
        if hasattr(self, "_link") and not self._closed and os.getpid() == self._owner:
            self._link.close()  # the container ends and is removed by its engine
