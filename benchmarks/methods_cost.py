"""What every published reward method costs: ``python benchmarks/methods_cost.py``.

Groups of 8 episodes of 32 steps, all facts published, memory filled by one ``learn``. A figure is the fastest of some repeats,
because a busy machine only ever adds:

    recorded   microseconds a step of ``stack.run`` over the group
    online     microseconds a step of the same episodes as an environment would play them; what waits for a batch has none
    learn      milliseconds of ``stack.learn`` on the group, for methods that learn

Then the targets: estimators of advantages over 1,024 episodes of 32 steps in 128 groups, MatchTIR's assignment of 10 calls to
10, a tournament of 16. Judges are the rules of a table here: what a model takes is its own. Prints Markdown tables and a
verdict a target, and writes docs/results/methods_cost.json; the exit status is 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

import milepost
from milepost.wrappers import Stack, TournamentAdvantage, Trajectory, load
from milepost.wrappers.episode.match_tir import largest
from milepost.wrappers.shaper import catalog
from milepost.wrappers.stack import Lane
from milepost.wrappers.types import account

OUT = Path(__file__).parent.parent / "docs" / "results" / "methods_cost.json"
STEPS, GROUP = 32, 8
JUDGE = {"scorer": "predicate", "patterns": {"make progress": "at [3-9]", "go": "at [3-9]"}}
SETTINGS: dict[str, dict[str, Any]] = {
    "caption_reward": {"judge": JUDGE},
    "conserve": {"child": {"shaper": "clip"}},
    "constraints": {"upper": {"valid_action": 0.1}},
    "contrastive_goal": {"positive": ["at 9"], "negative": ["at 0"], "key": "message", "form": "weighted"},
    "episodic_count_discount": {"child": {"shaper": "scale", "factor": 2.0}},
    "focus": {"of": "outcome", "child": {"shaper": "scale", "factor": 2.0}},
    "fused_advantage": {"process": ("step",)},
    "gate": {"child": {"shaper": "scale", "factor": 2.0}, "key": "progress"},
    "implicit_process": {"reference": "start", "actions": 4},
    "judgement_table": {"judge": JUDGE, "subgoals": ["go"], "view": "message", "task": "go"},
    "krc": {"facts": ("progress", "similarity")},
    "mix": {"parts": [{"shaper": "uniform"}, {"shaper": "clip"}]},
    "potential_shaping": {"key": "progress"},
    "scale": {"factor": 2.0},
    "shapley_steps": {"value": "milepost.wrappers.episode.scar:covered"},
    "term_blend": {"terms": ("step",)},
}
ESTIMATORS = (
    "grpo", "rloo", "centered", "per_step_norm", "outlier_filter", "dual_level_advantage", "turn_centered", "fused_advantage",
    "listwise_advantage", "value_anchored",
)  # fmt: skip


def facts(state: int, last: bool) -> dict[str, Any]:
    """What an environment publishes in a state 0 to 9."""
    call = {"name": "go", "arguments": {"to": state}, "ok": state != 1, "result": ""}
    return {
        "progress": state / 9,
        "score": float(state),
        "max_score": 9.0,
        "success": last and state >= 5,
        "valid_action": state != 1,
        "subgoals": {"near": state >= 3, "there": state >= 6},
        "tests": {f"test {k}": state >= k for k in range(6)},
        "value": state / 9,
        "verifiable": False,
        "similarity": 0.5 + state / 20,
        "message": f"you are at {state}",
        "consistent": 0.5,
        "grade": 1 + state % 5,
        "answer_logprob": state - 9.0,
        "process_score": state / 9,
        "tool_calls": (call,),
        "latent_factors": {"x": float(state), "y": float(state % 3)},
        "scores": {"goal": float(state)},
        "attribution": {"goal": state % 4},
        "team_reward": state / 9,
        "counterfactual": 0.1,
        "coalition_values": {
            "players": ("a", "b"),
            "player": 0,
            "coalitions": (0, 1, 2, 3),
            "values": (0.0, 0.5, 0.1, state / 9),
            "orders": (),
        },
    }


def episode(rng: np.random.Generator, task: int, steps: int = STEPS) -> Trajectory:
    """A random walk on the states, with two terms."""
    states = np.clip(rng.integers(10) + np.cumsum(rng.integers(-1, 2, size=steps + 1)), 0, 9).tolist()
    infos = [facts(s, k == steps) for k, s in enumerate(states)]
    terms = rng.normal(size=(steps, 2))
    for info, (a, b) in zip(infos[1:], terms.tolist()):
        info["reward_terms"] = {"outcome": a, "step": b}
    calls = tuple({"name": "go", "arguments": {"to": k}} for k in range(10))
    infos[0] |= {"reference": calls, "meta": {"checklist": ({"id": "near", "weight": 1.0},)}}
    return Trajectory(
        [f"Task: go to 9.\nYou are at {s}." for s in states],
        [f"go {k}" for k in rng.integers(4, size=steps)],
        terms.sum(1),
        True,
        False,
        infos,
        {"task": task},
    )


def fastest(act: Callable[[], Any], repeats: int) -> float:
    """Seconds of one call."""
    act()
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        act()
        best = min(best, time.perf_counter() - start)
    return best


def online(stack: Stack, group: Sequence[Trajectory]) -> None:
    """The group's episodes one after the other, step by step."""
    lane = Lane()
    for traj in group:
        stack.begin(lane, traj.obs[0], traj.infos[0])
        for t in traj:
            t.terms = account(t.info, t.reward)
            stack.step_one(lane, t)


def stack_of(name: str, group: Sequence[Trajectory]) -> Stack:
    """One layer that has seen the group."""
    stack = Stack([load({"shaper": name} | SETTINGS.get(name, {}))])
    stack.run(group)
    stack.learn(group)
    return stack


def cost(name: str, group: Sequence[Trajectory], repeats: int) -> dict[str, Any]:
    """The row of a method; ``bare`` is what walking through the episodes takes by itself."""
    stack, steps = stack_of(name, group), sum(map(len, group))
    layer = stack.shapers[0]
    learn = fastest(lambda: stack.learn(group), max(repeats // 5, 1)) * 1e3 if stack.learns else None
    stack.train(False)
    row: dict[str, Any] = {"recorded": fastest(lambda: stack.run(group), repeats) / steps * 1e6, "online": None}
    if not stack.tail and layer.pool != "joint":
        row["online"] = fastest(lambda: online(stack, group), repeats) / steps * 1e6
    return row | {"learn": learn, "level": layer.level.name.lower(), "output": layer.output}


def targets(repeats: int) -> list[dict[str, Any]]:
    """Each target: what it is, what came, whether it holds."""
    rng, found = np.random.default_rng(1), []
    many = [episode(rng, k // GROUP) for k in range(1024)]
    stacks, best = {name: stack_of(name, many) for name in ESTIMATORS}, dict.fromkeys(ESTIMATORS, float("inf"))
    for _ in range(repeats):  # all of them once a round, so that a busy second spoils no row
        for name, stack in stacks.items():
            start = time.perf_counter()
            stack.run(many)
            best[name] = min(best[name], (time.perf_counter() - start) * 1e3)
    for name, ms in best.items():
        said = f"{name} over 1,024 episodes of {STEPS} steps: under 20 ms"
        found.append({"target": said, "value": f"{ms:.1f} ms", "met": ms < 20})
    tables = rng.random((64, 10, 10))
    us = fastest(lambda: [largest(s) for s in tables], repeats) / len(tables) * 1e6
    found.append({"target": "10 calls matched to 10: under 200 us", "value": f"{us:.0f} us", "met": us < 200})
    stack = Stack([load({"shaper": "tool_match"})])
    ten = episode(rng, 0, 10)
    us = fastest(lambda: stack.run([ten]), repeats) * 1e6
    found.append(
        {
            "target": "the same as a layer on an episode, calls compared: under 1 ms",
            "value": f"{us:.0f} us",
            "met": us < 1000,
        }
    )
    arena = Stack([TournamentAdvantage()])
    arena.run(many[: 2 * GROUP // 2])
    before = arena.stats()["tournament_advantage/comparisons"]
    sixteen = [Trajectory(t.obs, t.actions, t.rewards, True, False, t.infos, {"task": 0}) for t in many[:16]]
    arena.run(sixteen)
    count = int(arena.stats()["tournament_advantage/comparisons"] - before)
    ms = fastest(lambda: arena.run(sixteen), repeats) * 1e3
    said = "a tournament of 16: 30 comparisons"
    return [*found, {"target": said, "value": f"{count} comparisons, {ms:.2f} ms", "met": count == 30}]


def machine() -> dict[str, Any]:
    """Where this runs."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    cpu = next((x.split(":")[1].strip() for x in lines if "model name" in x), platform.processor())
    found = {"cpu": cpu, "cores": os.cpu_count(), "python": platform.python_version(), "numpy": np.__version__}
    return found | {
        "milepost": milepost.__version__,
        "date": date.today().isoformat(),
        "load": round(os.getloadavg()[0], 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--out", default=str(OUT), help='a JSON file; "" for none')
    args = parser.parse_args()
    where, rng = machine(), np.random.default_rng(0)
    group = [episode(rng, 0) for _ in range(GROUP)]
    group[0].infos[-1]["success"], group[1].infos[-1]["success"] = True, False  # both kinds are there
    empty, steps = Stack([]), GROUP * STEPS
    bare = fastest(lambda: online(empty, group), args.repeats) / steps * 1e6
    print(", ".join(f"{k} {v}" for k, v in where.items()))
    print(
        f"\ngroups of {GROUP} episodes of {STEPS} steps, fastest of {args.repeats}; online, no layer: {bare:.2f} us a step\n"
    )
    print(
        "| method | level | recorded, us a step | online, us a step | learn, ms |\n| --- | --- | ---: | ---: | ---: |"
    )
    rows = {}
    for name in catalog():
        rows[name] = r = cost(name, group, args.repeats)
        cells = ("-" if r[k] is None else f"{r[k]:,.2f}" for k in ("recorded", "online", "learn"))
        print(f"| {name} | {r['level']} | {' | '.join(cells)} |", flush=True)
    found = targets(args.repeats)
    print("\n| target | measured | verdict |\n| --- | ---: | --- |")
    for v in found:
        print(f"| {v['target']} | {v['value']} | {'met' if v['met'] else 'MISSED'} |")
    if args.out:
        said = {
            "machine": where,
            "repeats": args.repeats,
            "online_without_layers": bare,
            "methods": rows,
            "targets": found,
        }
        Path(args.out).write_text(json.dumps(said, indent=1) + "\n")
    return 0 if all(v["met"] for v in found) else 1


if __name__ == "__main__":
    sys.exit(main())
