"""What every sandbox promises. ``self_check.py`` tests each promise on a provider.

Who failed decides what happens. What code does inside its own sandbox is a **result**: a command that fails, is killed,
runs out of memory or kills its helpers has an exit code. What the machine does is an **error**: a daemon that is gone, a
kernel that forbids namespaces, a sandbox that somebody removed raises ``SandboxError``, which environments turn into a
truncated step with ``info["invalid"] = True``.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from os import PathLike
from typing import Any, Protocol, runtime_checkable

MB = 2**20


class SandboxError(RuntimeError):
    """The infrastructure failed, not the code in the sandbox."""


class Unavailable(SandboxError):
    """The provider cannot make sandboxes here; the sentence says what to do about it."""


class SandboxLost(SandboxError):
    """The sandbox is gone: its container was removed, its keeper killed. Others live on."""


@dataclass(frozen=True)
class Result:
    """What a command gave. A command that fails is a result, never an exception."""

    stdout: str
    """Decoded as UTF-8; bytes that are none become U+FFFD. ``read`` a file for exact bytes."""
    stderr: str
    exit_code: int
    """As a shell says it: 128 + the signal's number where a signal ended it, 126 and 127 where the program could not be
    started, 124 where the timeout did."""
    timed_out: bool = False
    """The timeout ended it, with every process that it had started; stdout and stderr are what was written until then."""
    truncated: bool = False
    """More than ``Limits.output`` bytes came on a stream: its first bytes are kept, the rest was thrown away."""

    @property
    def ok(self) -> bool:
        """The exit code is 0."""
        return self.exit_code == 0


@dataclass(frozen=True)
class Limits:
    """What the processes of one sandbox may use together, or each.

    Raises:
        ValueError: a limit that is no positive number; names it.
    """

    memory: int = 1024 * MB
    """Bytes of all processes, the tree's changed files and /tmp included where they are kept in memory."""
    processes: int = 128
    """Processes and threads at a time."""
    file_size: int = 256 * MB
    """Bytes of one file."""
    open_files: int = 1024
    """File descriptors a process."""
    disk: int = 512 * MB
    """Bytes that the tree may grow by, and /tmp likewise."""
    output: int = MB
    """Bytes kept of each of stdout and stderr of one command."""
    timeout: float = 60.0
    """Seconds that a command may take if ``run`` is not told otherwise."""
    strict: bool = False
    """Refuse (``Unavailable``) where a limit holds a process at a time only, instead of all together."""
    enforced: Mapping[str, str] = field(default_factory=dict, compare=False)
    """Filled in by the provider: limit to the means by which it holds, such as ``{"memory": "cgroup v2"}``."""

    def __post_init__(self) -> None:
        for f in fields(self)[:7]:
            value = getattr(self, f.name)
            whole = f.name != "timeout"
            if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)) or not value > 0:
                raise ValueError(f"limit {f.name} is {value!r}; allowed: a positive {'whole ' if whole else ''}number")


def clean_workdir(workdir: str, system: Sequence[str]) -> str:
    """Where a tree is to be seen, cleaned up.

    Args:
        workdir: as it was given.
        system: directories that it must neither be nor be in.

    Raises:
        ValueError: it is not absolute, would hide the system, or holds a character that options of mounts are parted by.
    """
    path = posixpath.normpath(workdir)
    hides = path in ("/", "//") or any(path == s or path.startswith(f"{s}/") for s in system)
    if not workdir.startswith("/") or hides or any(c in path for c in ":,\0"):
        raise ValueError(f"workdir is {workdir!r}; allowed: an absolute path outside {', '.join(system)}")
    return path


class Snapshot(Protocol):
    """The state of a sandbox's tree at one moment. It outlives changes of the sandbox, not the provider."""

    def close(self) -> None:
        """Frees it; sandboxes that were made from it live on. Closing it again does nothing."""


class Shell(Protocol):
    """One bash that stays: directory, variables and functions live from command to command."""

    def run(self, command: str, *, timeout: float | None = None) -> Result:
        """As ``Sandbox.run``, in this shell.

        A command that ends the shell (``exit 3``, a kill, the timeout) is a result; the next command gets a fresh shell in
        the directory of the last, its variables lost, and ``restarts`` counts it.
        """
        ...

    @property
    def restarts(self) -> int:
        """How often the shell had to be started again."""
        ...

    def close(self) -> None:
        """Ends the shell and what runs in it."""


@runtime_checkable
class Sandbox(Protocol):
    """A tree of files at ``workdir`` and processes that see it, no network and nothing else of the machine.

    Only the tree, ``/tmp`` and ``/dev/shm`` can be written. Methods may be called from several threads. After ``close`` each
    but ``close`` raises ``RuntimeError``; where the sandbox is gone by itself, ``SandboxLost``.
    """

    workdir: str
    limits: Limits

    def run(
        self,
        command: str | Sequence[str],
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str | bytes = b"",
        timeout: float | None = None,
        user: str | None = None,
    ) -> Result:
        """Runs a command to its end.

        Processes that it leaves behind in the background live on, until a timeout of a later command that started before
        them, ``restore`` or ``close``; their later output is lost.

        Args:
            command: a text for ``bash -c``, or a program with its arguments.
            cwd: directory, relative to ``workdir``; ``workdir`` by default. A missing one is exit code 126.
            env: variables beside those of the sandbox; the machine's own never get in.
            stdin: what the command reads, UTF-8 if text.
            timeout: seconds, ``limits.timeout`` by default. After it the command's whole process tree is killed.
            user: one of the provider's; None is the ordinary one, who is not root.

        Raises:
            ValueError: a timeout that is no positive number, a name or value with a NUL, a user that the provider lacks.
            SandboxError: the sandbox is gone or cannot be reached.
        """
        ...

    def shell(self) -> Shell:
        """A new bash session; closed with the sandbox, ended by ``restore``."""
        ...

    def read(self, path: str) -> bytes:
        """The bytes of a file; relative paths start at ``workdir``.

        Raises:
            OSError: as ``open`` does: ``FileNotFoundError``, ``IsADirectoryError``, ``PermissionError`` ...; a pipe, socket
                or device is refused.
        """
        ...

    def write(self, path: str, data: bytes | str, *, mode: int = 0o644) -> None:
        """Writes a file (UTF-8 if text), making its directories; an existing one is replaced, its mode too.

        Raises:
            OSError: as ``open`` and ``write`` do; a full disk is ``OSError`` with ``errno.ENOSPC``.
        """

    def upload(self, source: str | PathLike[str], path: str) -> None:
        """Copies a file, or what is in a directory, into the sandbox; links stay links.

        Raises:
            OSError: the source cannot be read, the target not written.
        """

    def download(self, path: str, target: str | PathLike[str]) -> None:
        """Copies a file, or what is in a directory, out of the sandbox to ``target``, which must not exist.

        Nothing is written outside ``target``: links that lead out, devices and set-uid bits are refused or dropped.

        Raises:
            OSError: the path cannot be read, or the target cannot be written or exists.
            ValueError: an entry would leave ``target``; names it. What was written until then is removed.
        """

    def snapshot(self) -> Snapshot:
        """The tree as it is: content, modes, links, times to the nanosecond. Processes and /tmp are not part of it."""
        ...

    def restore(self, snapshot: Snapshot | None = None) -> None:
        """Puts the tree back exactly (None: as it was created), empties /tmp, kills all processes and shells."""

    def fork(self, snapshot: Snapshot | None = None) -> Sandbox:
        """A new sandbox with the tree as it is now, or of a snapshot. Neither sees the other's changes."""
        ...

    def close(self) -> None:
        """Ends all processes and frees everything; calling it again does nothing."""

    def __enter__(self) -> Sandbox: ...

    def __exit__(self, *exc: object) -> None: ...


class Provider(Protocol):
    """Makes sandboxes."""

    name: str

    def create(
        self,
        tree: str | PathLike[str] | None = None,
        *,
        limits: Limits | None = None,
        env: Mapping[str, str] | None = None,
        workdir: str = "/work",
    ) -> Sandbox:
        """A sandbox with a copy-on-write view of ``tree`` (a directory, which must not change meanwhile) at ``workdir``.

        Raises:
            OSError: there is no such directory.
            ValueError: a workdir that is not absolute or would hide the system.
            SandboxError: it could not be made.
        """
        ...

    def close(self) -> None:
        """Closes all its sandboxes and snapshots."""

    def __enter__(self) -> Provider: ...

    def __exit__(self, *exc: object) -> None: ...


class Box(Protocol):
    """What a provider writes for one sandbox; ``served.Served`` makes a ``Sandbox`` of it.

    ``connect`` gives a byte stream to a fresh ``server.py`` that runs inside as the sandbox's ordinary user.
    """

    users: Sequence[str]
    """Other names that ``run(user=...)`` may give; most providers have none."""

    def connect(self, user: str | None = None) -> Stream:
        """Starts a server inside.

        Raises:
            SandboxLost: there is nothing to start it in.
        """
        ...

    def kill(self) -> None:
        """Ends every process inside, servers too."""

    def save(self) -> Any:
        """A token for the tree as it is."""
        ...

    def load(self, token: Any) -> None:
        """Ends every process inside, then puts the tree back (None: as created) and empties /tmp."""

    def clone(self, token: Any) -> Box:
        """A new box with that tree."""
        ...

    def forget(self, token: Any) -> None:
        """Frees a token."""

    def close(self) -> None:
        """Frees everything; called once."""


class Stream(Protocol):
    """A connected byte stream, such as a socket."""

    def wait(self, seconds: float | None) -> bool:
        """Waits until there is something to read, or the end; False when the time is over."""
        ...

    def send(self, data: bytes) -> None:
        """Sends all of it; ``OSError`` when the other side is gone or has taken nothing for ten seconds."""

    def recv(self) -> bytes:
        """What there is to read, b"" at the end; ``OSError`` when the other side is gone."""
        ...

    def close(self) -> None:
        """Closes it, which ends the server at the other side."""
