"""Runs one tool of a task file inside a sandbox; this text is given to the sandbox's own Python, standard library alone.

On stdin: the length of the request in a line, the request, and a word that only the parent reads, after the fork. The child
runs the tool; it has no stdin, stdout and stderr. The parent, which no other process of its user may look into, prints one
JSON line with the word, so that no tool can answer for another, and says whether anything was left behind.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import resource
import select
import sys

TYPE_CHECKING = False  # typing is slow to import, and nothing here needs it at run time
if TYPE_CHECKING:
    from typing import Any, NoReturn

MOST = 100_000  # characters of a result
PLACES = ("/tmp", "/dev/shm", ".")


def use(request: Any) -> str:
    """A tool's result as text."""
    space: dict[str, Any] = {"__name__": "tools", "__builtins__": __builtins__}
    random.seed(0)
    exec(compile(request["source"], "<tool>", "exec", dont_inherit=True), space)
    value = space[request["name"]](**request["arguments"])
    if isinstance(value, (dict, list)):
        value = json.dumps(value, ensure_ascii=False)
    return str(value)[:MOST]


def child(request: Any, into: int) -> NoReturn:
    """Never returns."""
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    resource.setrlimit(resource.RLIMIT_MSGQUEUE, (0, 0))  # POSIX queues outlive processes, and nothing lists them
    try:
        answer = {"fine": True, "text": use(request)}
    except BaseException as e:  # sys.exit and the like are the tool's, too
        answer = {"fine": False, "text": f"{type(e).__name__}: {e}"[:2000]}
    data = json.dumps(answer, ensure_ascii=False).encode("utf-8", "replace")
    while data:
        data = data[os.write(into, data) :]
    os._exit(0)


def hear(out: int, pid: int) -> bytes:
    """What the child wrote until it ended, whoever else may hold its pipe."""
    pieces: list[bytes] = []
    size = 0
    gone = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(out, select.POLLIN)
    poll.register(gone, select.POLLIN)
    over = False
    while size < 20 * MOST:
        ready = dict(poll.poll(0 if over else None))
        if out in ready:
            piece = os.read(out, 65536)
            if not piece:
                break
            pieces.append(piece)
            size += len(piece)
        elif over:
            break
        over = over or gone in ready
    return b"".join(pieces)


def processes() -> set[str]:
    """Those that are here."""
    return {p for p in os.listdir("/proc") if p.isdigit()}


def traces() -> list[object]:
    """What else a tool can leave: files in the places, or what is noted on these, and System V memory."""
    out: list[object] = [os.stat(p).st_ctime_ns for p in PLACES if os.path.isdir(p)]
    for kind in ("shm", "sem", "msg"):
        path = f"/proc/sysvipc/{kind}"
        if os.path.exists(path):
            with open(path) as f:
                out.append(f.read())
    return out


def read(size: int) -> bytes:
    """So many bytes of stdin, and not one more."""
    data = b""
    while len(data) < size:
        piece = os.read(0, size - len(data))
        if not piece:
            break
        data += piece
    return data


def main() -> None:
    """Runs the request and prints its answer."""
    ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)  # not dumpable: neither its memory nor its streams are anybody else's
    size = b""
    while not size.endswith(b"\n"):
        size += read(1)
    request = json.loads(read(int(size)))
    before, clean = processes(), traces()
    out, into = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(out)
        child(request, into)
    os.close(into)
    try:
        answer = json.loads(hear(out, pid))
        answer = {"fine": answer["fine"] is True, "text": str(answer["text"])}
    except (ValueError, KeyError, TypeError):
        answer = {"fine": False, "text": "it ended without a result"}
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    left = bool(processes() - before) or traces() != clean
    said = json.dumps({**answer, "left": left, "word": read(32).decode()}, ensure_ascii=False)
    sys.stdout.buffer.write(said.encode("utf-8", "replace"))


if __name__ == "__main__":
    main()
