"""Episodes of BugRepair a minute on two cores, and where the time goes: ``--out docs/results/swe_throughput.json``.

An episode reads the source, runs the tests, asks a shell, repairs as the reference does, runs the tests and submits: with the
submission, whose result is known by then, two test runs. ``first time``: no result of a test is known before. ``again``: the
same episodes once more, so that tests need no run. ``rows``: the encoded face, whose first edit is wrong and taken back.
Processes play side by side, one a core; parts are means over them, without the time spent in parts inside.
"""

from __future__ import annotations

import argparse
import functools
import json
import multiprocessing
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
from sandbox_latency import machine

from milepost.envs.swe import env as env_module
from milepost.envs.swe import face, grade, plan
from milepost.sandboxes.local import Local

TEXT, ROWS = "milepost/BugRepair-v0", "milepost/BugRepair-encoded-v0"
PARTS: dict[str, list[tuple[Any, str]]] = {
    "a sandbox is made": [(Local, "create")],
    "a tree is put to its start": [(grade, "begin")],
    "pytest on the change": [(grade, "outcomes")],
    "the agent's tools": [(env_module.SweEnv, "_use")],
    "the oracle": [(env_module.SweEnv, "oracle"), (face.RepairRows, "oracle")],
    "candidates": [(plan, "repairs")],
    "the patch as a diff": [(env_module.SweEnv, "patch")],
}


class Clock:
    """Exclusive time by part."""

    def __init__(self) -> None:
        self.spent: Counter[str] = Counter()
        self._open: list[list[float]] = []  # of a running part: its start, and the time of the parts inside

    def measured(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed."""

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            self._open.append([time.perf_counter(), 0.0])
            try:
                return function(*args, **kwargs)
            finally:
                start, inside = self._open.pop()
                whole = time.perf_counter() - start
                self.spent[part] += whole - inside
                if self._open:
                    self._open[-1][1] += whole

        return timed


def text_episode(env: gym.Env[Any, Any], task: int) -> None:
    """One of the text face."""
    env.reset(options={"task": task})
    inner: Any = env.unwrapped
    path = next(iter(inner.sources()))
    for call in ({"name": "view", "arguments": {"path": path}}, {"name": "run_tests", "arguments": {}}):
        env.step(json.dumps(call))
    env.step("```bash\nls -l; wc -l *.py\n```")
    over = False
    while not over:
        action = inner.oracle()
        if '"submit"' in action:
            env.step('{"name": "run_tests", "arguments": {}}')
        *_, terminated, truncated, info = env.step(action)
        over = terminated or truncated
    assert info["success"], info


def row_episode(env: gym.Env[Any, Any], task: int) -> None:
    """One of the encoded face."""
    env.reset(options={"task": task})
    find: Any = env.get_wrapper_attr("index_of")
    oracle: Any = env.get_wrapper_attr("oracle")
    right = find(oracle())
    for action in (3 if right != 3 else 4, 1, 2):
        env.step(action)
    over = False
    while not over:
        *_, terminated, truncated, info = env.step(find(oracle()))
        over = terminated or truncated
    assert info["success"], info


def play(job: tuple[int, int, int]) -> dict[str, Any]:
    """What one process does: seconds an episode, and by part, of each of the three."""
    number, processes, episodes = job
    clock = Clock()
    for part, places in PARTS.items():
        for owner, name in places:
            setattr(owner, name, clock.measured(part, getattr(owner, name)))
    out = {}
    for name, id_, episode in (
        ("first time", TEXT, text_episode),
        ("again", TEXT, text_episode),
        ("rows", ROWS, row_episode),
    ):
        if name != "again":
            env = gym.make(id_, disable_env_checker=True)
        unwrapped: Any = env.unwrapped
        tasks = list(unwrapped.tasks())[number::processes][:episodes]
        clock.spent.clear()
        start = time.perf_counter()
        for task in tasks:
            episode(env, task)
        whole = time.perf_counter() - start
        parts = {p: clock.spent[p] / len(tasks) for p in PARTS}
        out[name] = {
            "seconds": whole / len(tasks),
            "parts": parts | {"the rest": (whole - sum(clock.spent.values())) / len(tasks)},
        }
        if name != "first time":
            env.close()
    return out


def main() -> None:
    """Prints a table; writes the figures."""
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--episodes", type=int, default=40, help="of each process")
    p.add_argument("--processes", type=int, default=2)
    p.add_argument("--out", type=Path)
    a = p.parse_args()
    with multiprocessing.get_context("spawn").Pool(a.processes) as pool:
        got = pool.map(play, [(n, a.processes, a.episodes) for n in range(a.processes)], chunksize=1)
    names = list(got[0])
    mean = {
        n: {"seconds": sum(g[n]["seconds"] for g in got) / len(got)}
        | {"parts": {p: sum(g[n]["parts"][p] for g in got) / len(got) for p in got[0][n]["parts"]}}
        for n in names
    }
    for figures in mean.values():
        figures["episodes a minute"] = 60 * a.processes / figures["seconds"]
    print("| | " + " | ".join(names) + " |\n| --- |" + " ---: |" * len(names))
    print("| episodes a minute | " + " | ".join(f"{mean[n]['episodes a minute']:.0f}" for n in names) + " |")
    for part in mean[names[0]]["parts"]:
        print(f"| {part}, ms | " + " | ".join(f"{1000 * mean[n]['parts'][part]:.1f}" for n in names) + " |")
    if a.out:
        text = {"machine": machine(""), "processes": a.processes, "episodes": a.episodes, "figures": mean}
        a.out.write_text(json.dumps(text, indent=1) + "\n")


if __name__ == "__main__":
    main()
