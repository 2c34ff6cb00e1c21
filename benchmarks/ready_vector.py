"""Steps a minute of eight BugRepair lanes, one after another, in lockstep, and ready by ready.

``python benchmarks/ready_vector.py --out docs/results/ready_vector.json``

Each contender does the same work: every lane plays the same scripted episodes, by its number and seed, until all are done. A
step is a view (60 %), a new line in the source (20 %) or a run of the tests (20 %); the new lines keep the cache from answering
for the tests. In the second load one step in twenty also waits two seconds: a slow test run that waits for something, and not
for the processor. SyncVectorEnv and AsyncVectorEnv (a process and a keeper of sandboxes a lane) are Gymnasium's; ``ready,
step()`` is ours used as they are, ``ready, recv()`` ours with ``send`` and ``recv``. Rounds are interleaved, figures medians.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv, VectorEnv
from sandbox_latency import machine

import milepost  # noqa: F401
from milepost.envs.vector import ReadyVectorEnv

ID, LANES, EPISODES, STEPS = "milepost/BugRepair-v0", 8, 2, 8
LOADS = {"views, edits and test runs": 0.0, "one step in twenty waits 2 s": 0.05}
TOTAL = EPISODES * (STEPS + 1)  # of a lane, with the steps that reset it in NEXT_STEP
FIRST = "f=$(ls *.py | grep -v ^test_ | head -1)"


def make() -> gym.Env[Any, Any]:
    """One environment; episodes are ended by their length alone."""
    return gym.make(ID, max_steps=STEPS, disable_env_checker=True)


def script(lane: int, waiting: float) -> list[str]:
    """What a lane does, the same for every contender."""
    rng, actions = random.Random(lane), []
    for n in range(TOTAL):
        wait = "sleep 2; " if rng.random() < waiting else ""
        kind = rng.choices(["view", "edit", "tests"], [60, 20, 20])[0]
        if kind == "tests" and not wait:
            actions.append('{"name": "run_tests", "arguments": {}}')
        else:
            what = {"view": "cat -n $f", "edit": f"echo '# {lane}-{n}' >> $f", "tests": "python -m pytest -q"}[kind]
            actions.append(f"```bash\n{wait}{FIRST}; {what}\n```")
    return actions


def in_step(env: VectorEnv[Any, Any, Any], scripts: list[list[str]]) -> int:
    """All lanes together; the episodes that ended."""
    ended = 0
    for actions in zip(*scripts):
        _, _, terminated, truncated, infos = env.step(actions)
        assert "invalid" not in infos, infos["infra_error"]
        ended += int((terminated | truncated).sum())
    return ended


def by_ready(env: VectorEnv[Any, Any, Any], scripts: list[list[str]]) -> int:
    """Each lane as soon as it is ready; the episodes that ended."""
    assert isinstance(env, ReadyVectorEnv)
    rest, left, ended = [iter(s) for s in scripts], LANES * TOTAL, 0
    env.send([next(actions) for actions in rest])
    while left:
        _, _, terminated, truncated, infos = env.recv()
        assert "invalid" not in infos, infos["infra_error"]
        ended, left = ended + int((terminated | truncated).sum()), left - len(terminated)
        more = {int(i): action for i in infos["env_id"] if (action := next(rest[i], None)) is not None}
        if more:
            env.send(list(more.values()), list(more))
    return ended


Play = Callable[[VectorEnv[Any, Any, Any], list[list[str]]], int]
CONTENDERS: dict[str, tuple[Callable[[], VectorEnv[Any, Any, Any]], Play]] = {
    "SyncVectorEnv": (lambda: SyncVectorEnv([make] * LANES), in_step),
    "AsyncVectorEnv": (lambda: AsyncVectorEnv([make] * LANES), in_step),
    "ready, step()": (lambda: ReadyVectorEnv([make] * LANES), in_step),
    "ready, recv()": (lambda: ReadyVectorEnv([make] * LANES), by_ready),
}


def measure(name: str, waiting: float) -> dict[str, float]:
    """One round of a contender."""
    build, play = CONTENDERS[name]
    scripts = [script(i, waiting) for i in range(LANES)]
    start = time.perf_counter()
    with contextlib.closing(build()) as env:
        env.reset(seed=0)
        begun = time.perf_counter()
        ended = play(env, scripts)
        minutes = (time.perf_counter() - begun) / 60
    assert ended == LANES * EPISODES, ended
    return {"steps": LANES * EPISODES * STEPS / minutes, "episodes": ended / minutes, "start": begun - start}


def report(where: dict[str, Any], found: dict[str, dict[str, dict[str, list[float]]]], out: str | None) -> None:
    """Prints the tables and writes the file."""
    medians = {
        w: {n: {k: statistics.median(v) for k, v in f.items()} for n, f in rows.items()} for w, rows in found.items()
    }
    rounds = len(found[next(iter(LOADS))]["SyncVectorEnv"]["steps"])
    print(", ".join(f"{k} {v}" for k, v in where.items()))
    print(f"medians of {rounds} rounds; {LANES} lanes, {EPISODES} episodes a lane, {STEPS} steps an episode")
    for what, rows in medians.items():
        print(
            f"\n| {what} | steps a minute | of Sync | episodes a minute | s to start |\n| --- | ---: | ---: | ---: | ---: |"
        )
        for name, f in rows.items():
            share = f["steps"] / rows["SyncVectorEnv"]["steps"]
            print(f"| {name} | {f['steps']:.0f} | {share:.2f} | {f['episodes']:.1f} | {f['start']:.1f} |")
    if out:
        said = {"machine": where, "rounds": rounds, "lanes": LANES, "medians": medians, "all": found}
        Path(out).write_text(json.dumps(said, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", help="also write a JSON file")
    args = parser.parse_args()
    where, load = {k: v for k, v in machine("").items() if k != "swe-rex"}, [os.getloadavg()[0]]
    found: dict[str, dict[str, dict[str, list[float]]]] = {what: {n: {} for n in CONTENDERS} for what in LOADS}
    for n in range(args.rounds):
        for what, waiting in LOADS.items():
            for name in random.sample(list(CONTENDERS), len(CONTENDERS)):
                for key, value in measure(name, waiting).items():
                    found[what][name].setdefault(key, []).append(value)
                print(f"round {n + 1}: {what}: {name}", file=sys.stderr)
        load.append(os.getloadavg()[0])
        where["load of the last minute, before and after each round"] = ", ".join(f"{x:.1f}" for x in load)
        report(where, found, args.out)


if __name__ == "__main__":
    main()
