"""What a warm judge costs eight environments: ``python benchmarks/judge_overhead.py [--env quest minihack]``.

Eight environments play the same actions three ways, interleaved in one process: alone, shaped by SubgoalOptions that reads
the environments' own truth, and shaped by SubgoalOptions that asks an ``async`` judge whose cache knows every transition; on
both hosts that step several: ``lanes`` (our text agent's: eight environments behind one stack) and ``vector`` (``shape`` on
Gymnasium's SyncVectorEnv, which takes the batched infos apart and puts the account back into them). Reported: microseconds a
step of eight, and ratios. Target: the judge at most 1.10 of the environments alone. Which judge it is does not matter once
its answers are there, so by default it is one that says no to everything.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

import milepost  # noqa: F401
from milepost.baselines.lanes import Lanes
from milepost.wrappers import SubgoalOptions, shape
from milepost.wrappers.scorers import Reply, serve

LANES, STEPS = 8, 400
IDS: dict[str, tuple[str, dict[str, Any]]] = {
    "quest": ("milepost/Quest-medium-v0", {}),
    "minihack": ("milepost/MiniHack-v0", {"level": "KeyRoom-S5"}),
}


class No:
    """Says no to every sub-goal."""

    kinds = ("question",)
    identity = {"scorer": "no"}

    def reply(self, batch: Any) -> list[Reply]:
        return [Reply(json.dumps(dict.fromkeys(q.subgoals, False))) for q in batch]

    def read(self, raw: str, query: Any) -> Any:
        return query.parse(raw)


def play_lanes(lanes: Lanes, seed: int) -> float:
    """Seconds for ``STEPS`` steps of all lanes; worlds and actions depend on the seed alone."""
    rng = np.random.default_rng(seed)
    lanes.running = [lanes._begin(r.env, r.lane, 100 * seed + i) for i, r in enumerate(lanes.running)]
    start = time.perf_counter()
    for _ in range(STEPS):
        actions = [i["admissible_actions"][int(rng.integers(len(i["admissible_actions"])))] for i in lanes.infos]
        lanes.step(actions, [None] * LANES)
    return time.perf_counter() - start


def play(envs: Any, seed: int) -> float:
    """Seconds for ``STEPS`` steps of all; the actions depend on the seed alone."""
    if isinstance(envs, Lanes):
        return play_lanes(envs, seed)
    rng = np.random.default_rng(seed)
    _, infos = envs.reset(seed=seed)
    start = time.perf_counter()
    for _ in range(STEPS):
        choices = infos["admissible_actions"]
        actions = [c[int(rng.integers(len(c)))] if c else "" for c in choices]
        infos = envs.step(actions)[4]
    return time.perf_counter() - start


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--env", nargs="+", default=["quest"], choices=sorted(IDS))
    p.add_argument("--judge", help="a scorer by name instead of the one that says no")
    p.add_argument("--view", default="message", choices=["message", "text"], help="what the judge sees of a state")
    p.add_argument("--rounds", type=int, default=7)
    p.add_argument("--out", type=Path)
    a = p.parse_args()
    rows = []
    for name, host in itertools.product(a.env, ("lanes", "vector")):
        env_id, settings = IDS[name]
        service = serve({"scorer": a.judge or No(), "mode": "async", "queue": 100_000})

        def make(*layers: Any) -> Any:
            if host == "lanes":  # noqa: B023
                env = gym.make(env_id, disable_env_checker=True, **settings)  # noqa: B023
                return Lanes(shape(env, list(layers)) if layers else env, LANES, 0)
            envs = gym.make_vec(env_id, LANES, "sync", **settings)  # noqa: B023
            return shape(envs, list(layers)) if layers else envs

        arms = {
            "alone": make(),
            "truth": make(SubgoalOptions()),
            "judge": make(SubgoalOptions(judge=service, view=a.view)),
        }
        for _ in range(2):  # warm: every transition of the measured play has been answered, and its answer seen once
            for seed in range(a.rounds):
                play(arms["judge"], seed)
                service.wait(600.0)
        calls, before = service.stats["calls"], dict(service.stats)
        seconds: dict[str, list[float]] = {arm: [] for arm in arms}
        for seed in range(a.rounds):
            for arm, envs in arms.items():
                seconds[arm].append(play(envs, seed))
        cost = {arm: 1e6 * statistics.median(s) / STEPS for arm, s in seconds.items()}
        ratio = {arm: statistics.median(x / y for x, y in zip(s, seconds["alone"])) for arm, s in seconds.items()}
        hits = (service.stats["hits"] - before["hits"]) / (service.stats["asked"] - before["asked"])
        rows.append(
            {
                "env": env_id,
                "host": host,
                "view": a.view,
                "us_a_step_of_eight": cost,
                "over_alone": ratio,
                "hit_rate": hits,
                "calls": calls,
            }
        )
        print(
            f"{env_id}, {host}, {a.view}: {LANES} steps alone {cost['alone']:.0f} us, with truth {cost['truth']:.0f} us "
            f"({ratio['truth']:.3f}), with a warm judge {cost['judge']:.0f} us ({ratio['judge']:.3f}, at most 1.10); "
            f"hit rate {hits:.4f} after {calls} calls"
        )
        for envs in arms.values():
            envs.close()
    if a.out:
        a.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
