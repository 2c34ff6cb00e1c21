"""What the scenarios share. A scenario asserts what must come of what hostile code tries; ``child.py`` runs it."""

import os
import textwrap

MB = 2**20
LIMITS = {
    "memory": 256 * MB,
    "processes": 60,
    "disk": 24 * MB,
    "file_size": 16 * MB,
    "open_files": 256,
    "timeout": 20.0,
}


def py(box, code, *args, **how):
    """Runs Python inside."""
    return box.run(["python3", "-c", textwrap.dedent(code), *args], **how)


def works(box):
    """The sandbox goes on."""
    r = box.run("echo on")
    assert r.stdout == "on\n", r


def resident():
    """Bytes of memory of this process."""
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * 4096


def processes():
    """Of the whole machine."""
    return sum(n.isdigit() for n in os.listdir("/proc"))
