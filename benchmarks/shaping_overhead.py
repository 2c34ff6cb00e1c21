"""What layers cost, beside Gymnasium's own wrappers in the same run: ``python benchmarks/shaping_overhead.py``.

Every contender steps an environment that does nothing, so that only the wrapping is timed. Rounds are interleaved
(each round times every contender once, in a new order) and a cost is the median over the rounds of the difference to the
bare environment of the same round, so that a slow or a busy machine moves all of them together. Prints a Markdown
table and a verdict a target; the exit status is 1 if one is missed. Rows in which lanes end at every step have no target.
"""

from __future__ import annotations

import argparse
import gc
import os
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.vector.utils import batch_space
from gymnasium.wrappers.vector import ClipReward

import milepost
from milepost import shape
from milepost.wrappers import Clip, PotentialShaping, Uniform

LANES = 64
OBS = gym.spaces.Box(-1, 1, (4,))
ACT = gym.spaces.Discrete(2)


class Still(gym.Env[Any, Any]):
    """One environment that does nothing and ends every ``every`` steps; publishes ``progress`` if ``facts``."""

    observation_space, action_space = OBS, ACT

    def __init__(self, every: int = 10**9, facts: bool = True, first: int = 0) -> None:
        self.every, self.facts, self.first = every, facts, first  # first: the first episode is so much shorter
        self.obs = np.zeros(4, np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self.t, self.first = self.first, 0
        return self.obs, {"progress": 0.5} if self.facts else {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.t += 1
        return self.obs, 1.0, self.t >= self.every, False, {"progress": 0.5} if self.facts else {}


class StillVector(VectorEnv[Any, Any, Any]):
    """A batch that does nothing; each lane ends every ``every`` steps, never two thirds of them at once."""

    single_observation_space, single_action_space = OBS, ACT

    def __init__(self, every: int = 10**9) -> None:
        self.num_envs, self.every = LANES, every
        self.t = np.arange(LANES) % every
        self.observation_space, self.action_space = batch_space(OBS, LANES), batch_space(ACT, LANES)
        self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}
        self.obs = np.random.default_rng(0).normal(size=(LANES, 4)).astype(np.float32)
        self.ones, self.none = np.ones(LANES), np.zeros(LANES, bool)

    def _infos(self) -> dict[str, Any]:
        return {"progress": self.ones * 0.5, "_progress": ~self.none}

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        return self.obs, self._infos()

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        self.t += 1
        return self.obs, self.ones.copy(), self.t % self.every == 0, self.none.copy(), self._infos()


def height(obs: Any) -> Any:
    """A potential of one observation, or of one a lane."""
    return -abs(obs[..., 2]) * 10


class PassThrough(gym.Wrapper[Any, Any, Any, Any]):
    """The least that any Gymnasium wrapper costs."""

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        return self.env.step(action)


def eight(**kw: Any) -> list[Any]:
    """Four potentials and four clips, alternating."""
    return [x for k in range(4) for x in (PotentialShaping(gamma=0.9 + k / 100, **kw), Clip(-5.0 - k, 5.0))]


def clips(env: Any) -> Any:
    for _ in range(8):
        env = ClipReward(env, -5.0, 5.0)
    return env


SINGLE: dict[str, Callable[[], Any]] = {
    "bare environment": Still,
    "gym.Wrapper that passes everything through": lambda: PassThrough(Still()),
    "milepost, no layer": lambda: shape(Still(), []),
    "milepost, 1 Clip": lambda: shape(Still(), [Clip()]),
    "milepost, 8 layers (4 PotentialShaping on a fact, 4 Clip)": lambda: shape(Still(), eight()),
    "milepost, 8 layers (potentials call a function of the observation)": lambda: shape(Still(), eight(phi=height)),
    "gymnasium TransformReward": lambda: gym.wrappers.TransformReward(Still(), lambda r: r),
    "gymnasium NormalizeReward": lambda: gym.wrappers.NormalizeReward(Still()),
}
SYNC = "gymnasium SyncVectorEnv(64).step, no-op environments"
MANY: dict[str, Callable[[], Any]] = {
    "bare batch": StillVector,
    "bare batch, 3 lanes end a step": lambda: StillVector(20),
    "milepost, no layer": lambda: shape(StillVector(), []),
    "milepost, 8 columnar layers on a fact": lambda: shape(StillVector(), eight()),
    "milepost, 8 columnar layers on the observation": lambda: shape(StillVector(), eight(phi=height, batched=True)),
    "milepost, 8 columnar layers on a fact, 3 lanes end a step": lambda: shape(StillVector(20), eight()),
    "milepost, 8 columnar layers and Uniform, 3 lanes end a step": lambda: shape(
        StillVector(20), [*eight(), Uniform()]
    ),
    "gymnasium ClipReward": lambda: ClipReward(StillVector(), -5.0, 5.0),
    "gymnasium ClipReward x 8": lambda: clips(StillVector()),
    "gymnasium NormalizeReward": lambda: gym.wrappers.vector.NormalizeReward(StillVector()),
    SYNC: lambda: SyncVectorEnv([lambda: Still(facts=False)] * LANES),
    f"{SYNC}, 3 lanes end a step": lambda: SyncVectorEnv(
        [lambda k=k: Still(20, False, k % 20) for k in range(LANES)]  # type: ignore[misc]
    ),
}


def measure(table: dict[str, Callable[[], Any]], action: Any, steps: int, rounds: int) -> dict[str, list[float]]:
    """Microseconds a step of each contender, one number a round."""
    envs = {name: make() for name, make in table.items()}
    out: dict[str, list[float]] = {name: [] for name in envs}
    order = list(envs)
    for env in envs.values():
        env.reset(seed=0)
        for _ in range(steps // 4):
            env.step(action)
    gc.collect()
    gc.disable()
    for _ in range(rounds):
        random.Random(len(out[order[0]])).shuffle(order)
        for name in order:
            step = envs[name].step
            start = time.perf_counter()
            for _ in range(steps):
                step(action)
            out[name].append((time.perf_counter() - start) / steps * 1e6)
    gc.enable()
    return out


def over(got: dict[str, list[float]], name: str, base: str) -> float:
    """Median over the rounds of what ``name`` costs above ``base``."""
    return statistics.median(a - b for a, b in zip(got[name], got[base]))


def table(title: str, got: dict[str, list[float]], base: Callable[[str], str]) -> None:
    print(f"\n| {title} | us a step | over the bare one |\n| --- | ---: | ---: |")
    for name, v in got.items():
        print(f"| {name} | {statistics.median(v):.2f} | {over(got, name, base(name)):.2f} |")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--quick", action="store_true", help="a tenth of the steps: does it run?")
    args = parser.parse_args()
    part = 10 if args.quick else 1
    print(
        f"milepost {milepost.__version__}, gymnasium {gym.__version__}, numpy {np.__version__}, "
        f"Python {platform.python_version()}, {os.cpu_count()} cores, medians of {args.rounds} interleaved rounds"
    )
    one = measure(SINGLE, 0, 4000 // part, args.rounds)
    many = measure(MANY, np.zeros(LANES, np.int64), 300 // part, args.rounds)
    ending = "bare batch, 3 lanes end a step"
    table("one environment", one, lambda _: "bare environment")
    table(f"{LANES} lanes", many, lambda n: ending if n.endswith("3 lanes end a step") else "bare batch")

    empty = over(one, "milepost, no layer", "gym.Wrapper that passes everything through")
    layers = over(one, "milepost, 8 layers (4 PotentialShaping on a fact, 4 Clip)", "bare environment")
    peer = over(one, "gymnasium NormalizeReward", "bare environment")
    columns = over(many, "milepost, 8 columnar layers on a fact", "bare batch")
    sync = statistics.median(many[SYNC])
    clip8 = over(many, "gymnasium ClipReward x 8", "bare batch")
    targets = [
        (empty <= 1.5, f"no layer costs {empty:.2f} us over a pass-through wrapper (at most 1.5)"),
        (layers < peer, f"8 layers cost {layers:.2f} us, below one NormalizeReward ({peer:.2f} us)"),
        (
            columns < sync,
            f"8 columnar layers on {LANES} lanes cost {columns:.1f} us, below one SyncVectorEnv ({sync:.1f} us)",
        ),
        (
            clip8 >= 20 * columns,
            f"8 vector ClipReward cost {clip8:.1f} us, {clip8 / columns:.1f} times as much (at least 20)",
        ),
    ]
    print()
    for ok, sentence in targets:
        print(f"{'pass' if ok else 'FAIL'}: {sentence}")
    return 0 if all(ok for ok, _ in targets) else 1


if __name__ == "__main__":
    sys.exit(main())
