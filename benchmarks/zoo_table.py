"""One table of every method that was trained here: ``python benchmarks/zoo_table.py``.

From the published runs of method_zoo.toml (Quest and HackableSteps), tools_learn.toml (the service desk) and swe_learns.toml
(BugRepair), and from methods_cost.py. The table goes into docs/evidence.md between ``<!-- zoo table -->`` and its end. A method
of the catalog that has no row is named with its reason; one that has neither is an error.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from publish import DOCS, put

from milepost.baselines.statistics import interval, iqm, speed_up, steps_to
from milepost.wrappers.shaper import catalog

TARGET = 0.8
RESULTS = DOCS / "results"
# file, environment, its first row, the environment of its hacked variant, arms by method (None: arms are called as methods are)
SOURCES: tuple[tuple[str, str, str, str, dict[str, str] | None], ...] = (
    ("method_zoo", "Quest", "no layer", "HackableSteps", None),
    ("method_zoo", "Quest, groups", "no layer, groups", "HackableSteps, groups", None),
    (
        "tools_learn",
        "horizon 1",
        "sparse",
        "",
        {"tool_match": "MatchTIR", "checklist": "CM2 checklist", "re_norm": "PPR"},
    ),
    ("swe_learns", "BugRepair", "sparse", "", {"weighted_tests": "VeRPO"}),
)
PARTS = "a part of other methods"
AGENTS = "for several agents: multiagent_learns.toml"
JUDGED = "needs what no environment publishes without a model: judged_methods.py"
LEFT = {
    **dict.fromkeys(("clip", "conserve", "focus", "gate", "mix", "scale"), PARTS),
    **dict.fromkeys(("difference_reward", "inequity_aversion", "shapley_credit", "team_spirit"), AGENTS),
    **dict.fromkeys(("information_gain", "graded_outcome", "hybrid_reward", "gated_bonus", "utterance_attribution"), JUDGED),
    "hop_progress": "without a judge it is potential shaping: judged_methods.py, own_kind_robots.py",
    "multiplicative_progress": "needs infractions, without which it is the progress: own_kind_driving.py",
    "length_penalty": "punishes wrong answers that are short, and here a failure lasts to the limit of steps",
    "term_blend": "its weights are the trainer BARFI's, and alone it pays the plain sum",
    "constraints": "needs a cost beside the reward, which none of these worlds has",
    "krc": "needs several utilities of one state, which none of these worlds has",
    "turn_centered": "compares turns of a user over a group, and the agent of the service desk plays no groups",
    "dense_test_advantage": "compares tests over a group, and the agent of BugRepair plays no groups",
}  # fmt: skip


def runs(file: str) -> list[dict[str, Any]]:
    """The runs of a published suite that came to an end."""
    found: list[dict[str, Any]] = json.loads((RESULTS / f"{file}.json").read_text())["results"]
    return [r for r in found if r["status"] == "ok"]


def arm(results: list[dict[str, Any]], env: str, stack: str) -> list[dict[str, Any]]:
    """Its seeds."""
    return [r for r in results if r["env"]["name"] == env and r["stack"]["name"] == stack]


def reach(rows: list[dict[str, Any]]) -> list[float]:
    """Steps to the target, one a seed; infinite where it was never reached."""
    return [steps_to([p["steps"] for p in r["curve"]], [p["success"] for p in r["curve"]], TARGET) for r in rows]


def spread(values: list[float]) -> str:
    """Interquartile mean and interval."""
    low, high = interval(values)
    return f"{iqm(values):.2f} [{low:.2f}, {high:.2f}]"


def cells(rows: list[dict[str, Any]], first: list[dict[str, Any]], hacked: list[dict[str, Any]]) -> list[str]:
    """Of an arm: steps to the target, against the first row, success at the end, and what it does where steps are paid."""
    each, most = reach(rows), float(rows[0]["steps"])
    middle = float(np.median(each))
    got = f"{middle / 1000:.0f}k" if math.isfinite(middle) else f"> {most / 1000:.0f}k"
    out = [f"{got} ({sum(map(math.isfinite, each))}/{len(each)})"]
    if rows is first or not any(map(math.isfinite, [*each, *reach(first)])):
        out.append("-")
    else:
        ratio, low, high = speed_up(reach(first), each, most)
        out.append(f"{ratio:.1f} [{low:.1f}, {high:.1f}]")
    out.append(spread([r["curve"][-1]["success"] for r in rows]))
    if not hacked:
        return [*out, "-", "-"]
    ends = [r["curve"][-1] for r in hacked]
    return [*out, f"{iqm([e['env_return'] for e in ends]):.2f}", spread([e["success"] for e in ends])]


def lines(costs: dict[str, dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Methods and their rows."""
    for file, env, bare, hack, names in SOURCES:
        results = runs(file)
        first = arm(results, env, bare)
        found = dict.fromkeys(r["stack"]["name"] for r in results if r["env"]["name"] == env)
        named = {bare: bare} | (names or {n: n for n in found})
        for method, stack in named.items():
            if rows := first if stack == bare else arm(results, env, stack):
                cost = costs.get(method, {})
                each = cost.get("online") or cost.get("recorded")
                extra = f"{each:.1f}" if each else "-"
                shown = [method, env, *cells(rows, first, arm(results, hack, stack)), extra]
                yield method, "| " + " | ".join(shown) + " |"


def table() -> str:
    """Markdown, and below it the methods without a row.

    Raises:
        SystemExit: a method of the catalog has neither a row nor a reason.
    """
    head = [
        "method", "environment", f"steps to {TARGET:.0%} (seeds)", "times fewer than the first row", "success at the end",
        "hacked return", "success where steps are paid", "us a step",
    ]  # fmt: skip
    costs = json.loads((RESULTS / "methods_cost.json").read_text())["methods"]
    rows = list(lines(costs))
    have = {m for m, _ in rows}
    if silent := [n for n in catalog() if n not in have and n not in LEFT]:
        raise SystemExit(f"no row and no reason: {', '.join(silent)}")
    why: dict[str, list[str]] = {}
    for name in sorted(n for n in LEFT if n not in have):
        why.setdefault(LEFT[name], []).append(f"`{name}`")
    without = [f"- {', '.join(names)}: {reason}." for reason, names in why.items()]
    body = ["| " + " | ".join(head) + " |", "| --- | --- |" + " ---: |" * (len(head) - 2), *(line for _, line in rows)]
    return "\n".join([*body, "", "Without a row:", "", *without])


if __name__ == "__main__":
    put(DOCS / "evidence.md", "zoo table", table())
    print(table())
