"""A process of its own in which hostile code is tried: child.py SANDBOXES PROVIDER TIER GROUPS...; orders come on stdin.

It imports the sandboxes alone, so that any Python 3.10 will do, and joins the control groups that its parent made for it.
Every orphan becomes its child, so that its descendants are all that it ever started.
"""

import ctypes
import gc
import importlib
import json
import os
import resource
import sys
import time
import traceback
import types
from pathlib import Path

NOBODY = 65534


def load(folder):
    """milepost.sandboxes, without milepost and what that needs."""
    package = types.ModuleType("milepost")
    package.__path__ = [str(Path(folder).parent)]
    sys.modules["milepost"] = package
    return importlib.import_module("milepost.sandboxes")


def weaken(tier):
    """As root without control groups, or as an ordinary user."""
    libc = ctypes.CDLL(None, use_errno=True)
    if tier == "no-groups":
        assert libc.unshare(0x20000) == 0 and libc.mount(b"none", b"/", None, 0x44000, None) == 0  # private
        assert libc.mount(b"none", b"/sys/fs/cgroup", b"tmpfs", 1, b"") == 0
    elif tier == "user":
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        libc.prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE, which the change took away
    libc.prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
    resource.setrlimit(resource.RLIMIT_NPROC, (2000, 2000))


def reap():
    """Orphans that ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def main(folder, name, tier, *groups):
    """One line a scenario, one answer each."""
    for group in groups:
        with open(f"{group}/cgroup.procs", "w") as f:
            f.write(str(os.getpid()))
    sandboxes = load(folder)
    sys.path.insert(0, str(Path(__file__).parent))
    weaken(tier)
    limits = importlib.import_module("common").LIMITS
    sandboxes.make(name).close()  # what is opened once
    print(json.dumps({"pid": os.getpid()}), flush=True)
    for line in sys.stdin:
        told = json.loads(line)
        gc.collect()
        fds = set(os.listdir("/proc/self/fd"))
        start, detail, means = time.monotonic(), "", {}
        try:
            scenario = getattr(importlib.import_module(told["file"]), told["name"])
            with sandboxes.make(name) as provider, provider.create(limits=sandboxes.Limits(**limits)) as box:
                means = dict(box.limits.enforced)
                told.update(provider=name, folder=folder, together="each" not in means["memory"])
                scenario(provider, box, told)
        except BaseException:
            detail = traceback.format_exc()[-3000:]
        gc.collect()
        reap()
        left = sorted(set(os.listdir("/proc/self/fd")) - fds)
        said = {"detail": detail, "fds": left, "means": means, "seconds": round(time.monotonic() - start, 2)}
        print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
