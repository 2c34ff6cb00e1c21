"""TP-GRPO, VGPO and GDRO on an environment of their own kind: ``python benchmarks/own_kind_flow.py OUT.json``.

``milepost/FlowSampler-encoded-v0``: a flow-matching sampler in closed form whose noise is the agent's; the sample is judged
when it is drawn. The same linear policy (REINFORCE, groups of 8 episodes of one task) is trained with each method's
advantages; success is that of its sampled actions on held-out tasks. The step size was chosen with GRPO alone.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

import milepost  # noqa: F401  (registers the ids)
from milepost.baselines.linear import LinearPolicy, play
from milepost.baselines.statistics import interval, iqm
from milepost.cli.run import versions
from milepost.wrappers import Stack, Trajectory

ENV = "milepost/FlowSampler-encoded-v0"
GROUP, TASKS = 8, 4  # episodes of a task, tasks in a batch
UPDATES, EVERY, TEST = 120, 30, 200
RATE = 10.0
ARMS: dict[str, tuple[list[dict[str, Any]], str]] = {  # layers, what is paid for the sample: is it good, or how good
    "GRPO": ([{"shaper": "grpo"}], "outcome"),
    "TP-GRPO": ([{"shaper": "turning_points"}, {"shaper": "per_step_norm"}], "outcome"),
    "TP-GRPO without turning points": ([{"shaper": "score_delta"}, {"shaper": "per_step_norm"}], "outcome"),
    "VGPO": ([{"shaper": "value_anchored"}], "outcome"),
    "GDRO": ([{"shaper": "listwise_advantage"}], "outcome"),
    "GRPO, graded": ([{"shaper": "grpo"}], "quality"),
    "GDRO, graded": ([{"shaper": "listwise_advantage"}], "quality"),
    "GDRO, graded, beta 0.1": ([{"shaper": "listwise_advantage", "beta": 0.1}], "quality"),
}


def groups(env: gym.Env[Any, Any], policy: LinearPolicy, rng: np.random.Generator) -> list[Trajectory]:
    """Episodes of ``TASKS`` tasks, ``GROUP`` each, with the log-probabilities of the policy and of the uniform one."""
    out = []
    for task in rng.integers(2**31, size=TASKS):
        for _ in range(GROUP):
            t = play(env, policy, int(task))
            logp = np.array([c[2] for c in t.meta["choices"]])
            even = np.array([-np.log(len(c[0])) for c in t.meta["choices"]])
            out.append(replace(t, meta=t.meta | {"logp": logp, "ref_logp": even}))
    return out


def step(policy: LinearPolicy, trajs: Sequence[Trajectory]) -> None:
    """REINFORCE with the advantages that the stack gave, scaled to a deviation of 1; steps without one are left out."""
    grad, every = np.zeros_like(policy.theta), np.concatenate([t.advantages for t in trajs if t.advantages is not None])
    used = every[~np.isnan(every)]
    scale = float(used.std()) if len(used) else 0.0
    if scale < 1e-8:
        return
    for t in trajs:
        for (rows, k, _), a in zip(t.meta["choices"], t.advantages if t.advantages is not None else ()):
            if not np.isnan(a):
                grad += a / scale * (rows[k] - policy.p(rows) @ rows)
    policy.theta = policy.theta + RATE * grad / len(used)


def success(policy: LinearPolicy, episodes: int, seed: int) -> float:
    """Share of good samples on tasks of the test split."""
    env = gym.make(ENV, split="test")
    won = [bool(play(env, policy, seed + k).infos[-1]["success"]) for k in range(episodes)]
    env.close()
    return float(np.mean(won))


def learn(layers: list[dict[str, Any]], pay: str, seed: int, updates: int, every: int, episodes: int) -> list[float]:
    """Success before, and after each ``every`` updates."""
    env = gym.make(ENV, pay=pay)
    stack, policy, rng = Stack(layers, seed), LinearPolicy(env, seed=seed), np.random.default_rng(seed)
    curve = [success(policy, episodes, 10_000 * (1 + seed))]
    for update in range(1, updates + 1):
        out = stack.run(groups(env, policy, rng))
        stack.learn(out)
        step(policy, out)
        if update % every == 0:
            curve.append(success(policy, episodes, 10_000 * (1 + seed)))
    env.close()
    return curve


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: success by episodes of training."""
    marks = [u * GROUP * TASKS for u in rows[0]["updates"]]
    lines = [
        "| advantages | " + " | ".join(f"{m:,} episodes" for m in marks) + " | seeds |",
        "| --- |" + " ---: |" * (len(marks) + 1),
    ]
    for row in rows:
        shown = [(iqm(list(x)), *interval(list(x))) for x in zip(*row["curves"])]
        each = " | ".join(f"{m:.2f} [{low:.2f}, {high:.2f}]" for m, low, high in shown)
        lines.append(f"| {row['arm']} | {each} | {len(row['curves'])} |")
    return "\n".join(lines)


def main() -> None:
    """All arms."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("out", type=Path)
    p.add_argument("--seeds", type=int, default=5)
    p.add_argument("--updates", type=int, default=UPDATES)
    a = p.parse_args()
    every = max(1, min(EVERY, a.updates))
    marks = list(range(0, a.updates + 1, every))
    rows = []
    for arm, (layers, pay) in ARMS.items():
        curves = [learn(layers, pay, seed, a.updates, every, TEST) for seed in range(a.seeds)]
        rows.append({"arm": arm, "layers": layers, "pay": pay, "updates": marks, "curves": curves})
        print(f"{arm}: {[round(c[-1], 2) for c in curves]}", file=sys.stderr, flush=True)
    about = {"command": f"python benchmarks/own_kind_flow.py OUT --seeds {a.seeds} --updates {a.updates}"}
    a.out.write_text(json.dumps(about | {"versions": versions(), "rows": rows}) + "\n")
    print(table(rows))


if __name__ == "__main__":
    main()
