"""How long sandboxes take, beside their peers in the same run: ``python benchmarks/sandbox_latency.py --rex PYTHON``.

Rounds are interleaved: each times every contender once, in a new order, so that a slow or a busy machine moves all of them
together. Figures are medians over the rounds; what takes long has fewer rounds. Peers are the Docker SDK's ``exec_run`` in a
running container of our image, ``docker commit`` and a start of what it made, and SWE-ReX, which runs in a Python of its own
(``pip install swe-rex aiohttp`` there) and is timed inside it. A peer that cannot run has a row that says why. Prints Markdown
tables and a verdict a target; the exit status is 1 if one is missed.

Trees are 50 MB in 500 files, of which 10 were changed before each restore, fork and snapshot.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import secrets
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

from peers import child, host, judge, measure, version

FILES, SIZE, CHANGED = 500, 100_000, 10
TRUE = "/bin/true"
CHANGE = f"for i in $(seq 0 {CHANGED - 1}); do echo changed > f$i.bin; done"
IMAGE = "milepost/sandbox"
SPARE = 2.0  # seconds in which a spare container starts for sure

Contender = Callable[[], float]
"""Does it once; the seconds that it took, without what had to be prepared."""


def seconds(act: Callable[[], Any]) -> float:
    """How long it takes."""
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def plant(folder: str) -> None:
    """The tree; its files differ."""
    for i in range(FILES):
        Path(folder, f"f{i}.bin").write_bytes(random.Random(i).randbytes(SIZE))


# -- ours --------------------------------------------------------------------------------------------
def ours(name: str, tree: str, stack: contextlib.ExitStack) -> tuple[dict[str, Contender], dict[str, Contender]]:
    """Commands, and states, of a provider."""
    from milepost.sandboxes import make

    provider = stack.enter_context(make(name))
    warm = stack.enter_context(provider.create())
    shell = warm.shell()
    full = stack.enter_context(provider.create(tree))

    def good(result: Any) -> None:
        assert result.ok, result

    def change() -> None:
        good(full.run(CHANGE))

    def life(command: bool) -> None:
        with provider.create() as box:
            if command:
                good(box.run([TRUE]))

    def restore(command: bool = False) -> float:
        change()
        spent = seconds(full.restore)
        return spent + (seconds(lambda: good(full.run([TRUE]))) if command else 0.0)

    def fork(wait: bool = False, command: bool = False) -> float:
        change()
        if wait:
            time.sleep(SPARE)
        made: list[Any] = []
        spent = seconds(lambda: made.append(full.fork()))
        if command:
            spent += seconds(lambda: good(made[0].run([TRUE])))
        made[0].close()
        return spent

    def snapshot() -> float:
        change()
        made: list[Any] = []
        spent = seconds(lambda: made.append(full.snapshot()))
        made[0].close()
        return spent

    commands: dict[str, Contender] = {
        f'{name}: shell.run("{TRUE}")': lambda: seconds(lambda: good(shell.run(TRUE))),
        f'{name}: run(["{TRUE}"])': lambda: seconds(lambda: good(warm.run([TRUE]))),
        f'{name}: run("{TRUE}; echo x"), a bash of its own': lambda: seconds(lambda: good(warm.run(f"{TRUE}; echo x"))),
    }
    states: dict[str, Contender] = {
        f"{name}: create and close": lambda: seconds(lambda: life(False)),
        f"{name}: create, first command, close": lambda: seconds(lambda: life(True)),
        f"{name}: restore": restore,
        f"{name}: restore, first command": lambda: restore(True),
        f"{name}: fork": lambda: fork(),
        f"{name}: fork, first command": lambda: fork(command=True),
        f"{name}: snapshot": snapshot,
    }
    if name == "docker":  # forks come from a container that was started before; right after a fork it still starts
        full.fork().close()
        states[f"{name}: fork"] = lambda: fork(wait=True)
        states[f"{name}: fork, first command"] = lambda: fork(wait=True, command=True)
        states[f"{name}: fork, no pause since the last"] = lambda: (fork(), fork())[1]
    return commands, states


# -- Docker ------------------------------------------------------------------------------------------
def sdk(tree: str, stack: contextlib.ExitStack) -> tuple[dict[str, Contender], dict[str, Contender]]:
    """The Docker SDK: an exec, and states by commit and start."""
    import docker

    client = docker.from_env()
    stack.callback(client.close)
    settings: dict[str, Any] = {"detach": True, "network_mode": "none", "user": "root", "working_dir": "/work"}
    idle = ["sleep", "infinity"]

    def start(image: str) -> Any:
        return client.containers.run(image, idle, **settings)

    def drop(container: Any) -> None:
        container.remove(force=True, v=True)

    warm = client.containers.run(IMAGE, idle, detach=True, network_mode="none")
    stack.callback(drop, warm)
    first = client.containers.create(IMAGE, idle, **settings)
    try:
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            tar.add(tree, "work")
        first.put_archive("/", packed.getvalue())
        base = first.commit(f"milepost-latency-{secrets.token_hex(4)}")
    finally:
        drop(first)
    stack.callback(client.images.remove, base.id, force=True)
    held = [start(base.id)]
    stack.callback(lambda: drop(held[0]))

    def executed() -> None:
        assert warm.exec_run([TRUE]).exit_code == 0

    def change() -> None:
        assert held[0].exec_run(["bash", "-c", CHANGE]).exit_code == 0

    def again() -> None:
        drop(held[0])
        held[0] = start(base.id)

    def restore() -> float:
        change()
        return seconds(again)

    def fork() -> float:
        change()
        made: list[Any] = []

        def act() -> None:
            made.append(held[0].commit())
            made.append(start(made[0].id))

        spent = seconds(act)
        drop(made[1])
        client.images.remove(made[0].id, force=True)
        return spent

    return (
        {f'Docker SDK: exec_run(["{TRUE}"])': lambda: seconds(executed)},
        {"Docker SDK: commit and start": fork, "Docker SDK: remove and start of a committed image": restore},
    )


# -- SWE-ReX -----------------------------------------------------------------------------------------
@contextlib.contextmanager
def rex_image(python: str) -> Iterator[str]:
    """Our image with the SWE-ReX of that Python in it, for a Python of the same version and kind."""
    import docker

    find = "import os, swerex; print(os.path.dirname(os.path.dirname(swerex.__file__)))"
    site = subprocess.run([python, "-c", find], capture_output=True, text=True, check=True).stdout.strip()
    text = f"""FROM {IMAGE}
USER root
COPY site /opt/rex
COPY swerex-remote /usr/local/bin/swerex-remote
"""
    program = '#!/bin/sh\nPYTHONPATH=/opt/rex exec python3 -m swerex.server "$@" --host 127.0.0.1 --port "$REX_PORT"\n'
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as tar:
        for name, content in (("Dockerfile", text), ("swerex-remote", program)):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            tar.addfile(entry, io.BytesIO(content.encode()))
        tar.add(site, "site")
    context.seek(0)
    client = docker.from_env()
    tag = f"milepost-rex-{secrets.token_hex(4)}"
    image, _ = client.images.build(fileobj=context, custom_context=True, tag=tag, rm=True, forcerm=True)
    try:
        yield image.tags[0]
    finally:
        client.images.remove(image.id, force=True)
        client.close()


def rex(kind: str, python: str, stack: contextlib.ExitStack) -> dict[str, Contender]:
    """SWE-ReX in a process of its own.

    Raises:
        RuntimeError: it cannot run; says why.
    """
    if not python:
        raise RuntimeError("no --rex PYTHON was given")
    done = subprocess.run([python, "-c", "import swerex"], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{python} cannot import swerex")
    image = stack.enter_context(rex_image(python)) if kind == "docker" else ""
    command = [python, str(Path(__file__).with_name("rex_peer.py")), kind, image]
    said, answer = stack.enter_context(child(command, 60))
    if said != "ready":
        raise RuntimeError(said or "it ended without a word")

    def ask(what: str) -> float:
        got = answer(what)
        if not isinstance(got, float):
            raise RuntimeError(got)
        return got

    return {
        f'SWE-ReX {kind}: run_in_session("{TRUE}")': lambda: ask("session"),
        f'SWE-ReX {kind}: execute(["{TRUE}"])': lambda: ask("execute"),
    }


# -- the run -----------------------------------------------------------------------------------------
def table(
    title: str, got: dict[str, float], best: dict[str, float], names: list[str], peers: list[str], why: dict[str, str]
) -> None:
    """A Markdown table: milliseconds, and how many times faster than each peer by medians."""
    peers = [p for p in peers if p in got]
    print(f"\n| {title} | median ms | fastest ms |" + "".join(f" x faster than {p} |" for p in peers))
    print("| --- | ---: | ---: |" + " ---: |" * len(peers))
    for name in names:
        print(
            f"| {name} | {got[name]:.2f} | {best[name]:.2f} |" + "".join(f" {got[p] / got[name]:.1f} |" for p in peers)
        )
    for name, reason in why.items():
        print(f"| {name} | not run: {reason} | |" + " |" * len(peers))


def verdicts(got: dict[str, float]) -> list[dict[str, Any]]:
    """Each target: what it is, what came, whether it holds (None: a side of it was not run)."""
    execute = f'Docker SDK: exec_run(["{TRUE}"])'
    again = "Docker SDK: commit and start"
    found: list[dict[str, Any]] = []

    def faster(mine: str, peer: str, least: float) -> None:
        both = mine in got and peer in got
        ratio = got[peer] / got[mine] if both else None
        target = (
            f"{mine} is at least {least:g} times faster than {peer}" if least > 1 else f"{mine} is faster than {peer}"
        )
        value = f"{ratio:.1f} times" if ratio is not None else "not run"
        met = ratio >= least and ratio > 1 if ratio is not None else None
        found.append({"target": target, "value": value, "met": met})

    def within(mine: str, most: float) -> None:
        met = got[mine] <= most if mine in got else None
        value = f"{got[mine]:.2f} ms" if met is not None else "not run"
        found.append({"target": f"{mine} takes at most {most:g} ms", "value": value, "met": met})

    for name, least in (("docker", 15), ("local", 25)):
        faster(f'{name}: shell.run("{TRUE}")', execute, least)
    for name in ("docker", "local"):
        for kind in ("local", "docker"):
            faster(f'{name}: shell.run("{TRUE}")', f'SWE-ReX {kind}: run_in_session("{TRUE}")', 40)
    within("local: create and close", 15)
    within("local: restore", 5)
    within("local: fork", 10)
    for what in ("restore", "fork", "fork, no pause since the last"):
        faster(f"docker: {what}", again, 1)
    return found


def machine(rex_python: str) -> dict[str, Any]:
    """Where this runs."""
    found = host() | {"user": "root" if os.geteuid() == 0 else "ordinary", "date": date.today().isoformat()}
    found |= {"docker SDK": version(sys.executable, "docker"), "swe-rex": version(rex_python, "swe-rex")}
    with contextlib.suppress(Exception):  # no engine: the rows say so
        import docker

        with contextlib.closing(docker.from_env()) as client:
            found |= {"docker engine": client.version()["Version"], "storage": client.info()["Driver"]}
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rex", default="", metavar="PYTHON", help="a Python that can import swerex")
    parser.add_argument("--rounds", type=int, default=40, help="of commands; states take half, docker's states a fifth")
    parser.add_argument("--out", help="also write a JSON file")
    args = parser.parse_args()
    got: dict[str, float] = {}
    best: dict[str, float] = {}
    why: dict[str, str] = {}
    commands: dict[str, Contender] = {}
    states: dict[str, dict[str, Contender]] = {"local": {}, "docker": {}}
    where = machine(args.rex)
    load = [os.getloadavg()[0]]
    with tempfile.TemporaryDirectory() as tree, contextlib.ExitStack() as stack:
        plant(tree)
        makers: dict[str, Callable[[], tuple[dict[str, Contender], dict[str, Contender]]]] = {
            "local": lambda: ours("local", tree, stack),
            "docker": lambda: ours("docker", tree, stack),
            "Docker SDK": lambda: sdk(tree, stack),
            "SWE-ReX local": lambda: (rex("local", args.rex, stack), {}),
            "SWE-ReX docker": lambda: (rex("docker", args.rex, stack), {}),
        }
        for name, maker in makers.items():
            try:
                some, others = maker()
            except Exception as e:  # whatever a peer lacks, the others are measured
                why[name] = " ".join(str(e).split())[:300]
                continue
            commands |= some
            states["local" if name == "local" else "docker"] |= others
        parts = {"commands": args.rounds, "local": max(3, args.rounds // 2), "docker": max(3, args.rounds // 5)}
        for part, acts in {"commands": commands, **states}.items():
            middle, least = measure(acts, parts[part], 1e3)
            got |= middle
            best |= least
    load.append(os.getloadavg()[0])
    where["load of the last minute, at the start and the end"] = " and ".join(f"{x:.1f}" for x in load)
    print(", ".join(f"{k} {v}" for k, v in where.items()))
    print(
        f"medians of {parts['commands']} rounds of commands, {parts['local']} of local states, {parts['docker']} of docker's"
    )
    peers = [n for n in commands if n.startswith("Docker SDK") or "run_in_session" in n]
    table("one command", got, best, list(commands), peers, why)
    names = [*states["local"], *states["docker"]]
    table("states", got, best, names, [n for n in names if n.startswith("Docker SDK")], {})
    found = verdicts(got)
    status = judge(found)
    if args.out:
        said = {
            "machine": where,
            "rounds": parts,
            "milliseconds": got,
            "fastest": best,
            "not_run": why,
            "targets": found,
        }
        Path(args.out).write_text(json.dumps(said, indent=1) + "\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
