"""What a suite showed: a Markdown table and a picture with bands."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from ..baselines.statistics import interval, iqm, probability_of_improvement, steps_to

Arm = tuple[str, str]  # agent, stack


def arms(results: list[dict[str, Any]]) -> dict[str, dict[Arm, list[dict[str, Any]]]]:
    """Results by environment, then by agent and stack, in the order of the suite."""
    out: dict[str, dict[Arm, list[dict[str, Any]]]] = {}
    for r in results:
        out.setdefault(r["env"]["name"], {}).setdefault((r["agent"]["title"], r["stack"]["name"]), []).append(r)
    return out


def _number(x: float) -> str:
    return f"{x / 1000:.1f}k" if x >= 1000 else f"{x:.0f}"


def _reached(rows: list[dict[str, Any]], target: float) -> tuple[str, float]:
    """Median steps to the target, how many seeds reached it."""
    each = [steps_to([p["steps"] for p in r["curve"]], [p["success"] for p in r["curve"]], target) for r in rows]
    middle = float(np.median(each))
    most = max(p["steps"] for r in rows for p in r["curve"])
    hits = sum(math.isfinite(x) for x in each)
    text = _number(middle) if math.isfinite(middle) else f"> {_number(most)}"
    return f"{text} ({hits}/{len(rows)})", middle


def table(results: list[dict[str, Any]], target: float) -> str:
    """Held-out success at the end (IQM over seeds, 95 % interval), steps to the target, return, comparison, failures."""
    goal = f"steps to {target:.0%}"
    head = [
        "environment",
        "agent",
        "stack",
        "success [95 %]",
        goal,
        "env return",
        "length",
        "P(better)",
        "seeds",
        "failed",
    ]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for env, by_arm in arms(results).items():
        first: list[float] | None = None
        for (agent, stack), rows in by_arm.items():
            good = [r for r in rows if r["status"] == "ok" and r["curve"]]
            failed = len(rows) - len(good)
            if not good:
                why = rows[0].get("error", "")
                lines.append(
                    f"| {env} | {agent} | {stack} | - | - | - | - | - | 0 | {failed}: {why} |".replace("\n", " ")
                )
                continue
            last = [r["curve"][-1]["success"] for r in good]
            low, high = interval(last)
            better = "-" if first is None else f"{probability_of_improvement(last, first):.2f}"
            first = last if first is None else first
            cells = [
                env,
                agent,
                stack,
                f"{iqm(last):.2f} [{low:.2f}, {high:.2f}]",
                _reached(good, target)[0],
                f"{iqm([r['curve'][-1]['env_return'] for r in good]):.2f}",
                f"{iqm([r['curve'][-1]['length'] for r in good]):.1f}",
                better,
                str(len(good)),
                str(failed),
            ]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def write_report(results: list[dict[str, Any]], target: float, folder: Path, title: str) -> None:
    """``table.md`` and ``curves.png`` in ``folder``."""
    said = (
        "Success on held-out worlds without shaping at the last evaluation: interquartile mean over seeds with a 95 % "
        "bootstrap interval. Steps to the target: median over seeds, and how many of them reached it. P(better): "
        "probability of improvement over the first row of the environment."
    )
    (folder / "table.md").write_text(f"# {title}\n\n{said}\n\n{table(results, target)}\n")
    picture(results, target, folder / "curves.png")


def picture(results: list[dict[str, Any]], target: float, path: Path) -> None:
    """Success against steps, one panel an environment, one curve an arm: IQM and 95 % band over seeds."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    panels = arms([r for r in results if r["status"] == "ok" and len(r["curve"]) > 1])
    if not panels:
        panels = {"no learning curves": {}}
    several = len({a for p in panels.values() for a, _ in p}) > 1
    fig, axes = plt.subplots(1, len(panels), figsize=(5.2 * len(panels) + 0.8, 4.2), squeeze=False, sharey=True)
    for ax, (env, by_arm) in zip(axes[0], panels.items()):
        for (agent, stack), rows in by_arm.items():
            steps = sorted({p["steps"] for r in rows for p in r["curve"]})
            rows = [r for r in rows if len(r["curve"]) == len(steps)]
            data = np.array([[p["success"] for p in r["curve"]] for r in rows])
            if not len(data):
                continue
            middle = [iqm(c) for c in data.T]
            band = np.array([interval(c, draws=500) for c in data.T])
            (line,) = ax.plot(steps, middle, label=f"{agent}, {stack}" if several else stack, linewidth=1.8)
            ax.fill_between(steps, band[:, 0], band[:, 1], color=line.get_color(), alpha=0.15, linewidth=0)
        ax.axhline(target, color="0.6", linewidth=0.8, linestyle=":")
        ax.set_title(env)
        ax.set_xlabel("environment steps")
        ax.set_ylim(-0.03, 1.03)
        ax.grid(alpha=0.2)
    axes[0][0].set_ylabel("held-out success")
    handles, labels = axes[0][-1].get_legend_handles_labels()
    if labels:
        fig.legend(handles, labels, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    fig.tight_layout()
    fig.savefig(path, dpi=110, bbox_inches="tight")
    plt.close(fig)
