"""What a suite showed: a Markdown table and a picture with bands."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..baselines.statistics import interval, iqm, probability_of_improvement, speed_up, steps_to
from .game_report import game_picture, game_tables

Arm = tuple[str, str]  # agent, stack


def arms(results: list[dict[str, Any]]) -> dict[str, dict[Arm, list[dict[str, Any]]]]:
    """Results by environment, then by agent and stack, in the order of the suite."""
    out: dict[str, dict[Arm, list[dict[str, Any]]]] = {}
    for r in results:
        out.setdefault(r["env"]["name"], {}).setdefault((r["agent"]["title"], r["stack"]["name"]), []).append(r)
    return out


def _number(x: float) -> str:
    return f"{x / 1000:.1f}k" if x >= 1000 else f"{x:.0f}"


def _cell(text: str) -> str:
    """On one line of a Markdown table."""
    return " ".join(str(text).split())[:200].replace("|", "\\|")


def _success(point: dict[str, Any]) -> float:
    """NaN where the environment does not say what success is."""
    return math.nan if point["success"] is None else float(point["success"])


def _known(rows: list[dict[str, Any]]) -> bool:
    """Does every run know its success?"""
    return not any(math.isnan(_success(p)) for r in rows for p in r["curve"])


def _steps(rows: list[dict[str, Any]], target: float) -> list[float]:
    """Steps to the target, one a seed."""
    return [steps_to([p["steps"] for p in r["curve"]], [_success(p) for p in r["curve"]], target) for r in rows]


def _budget(rows: list[dict[str, Any]]) -> float:
    return float(max(p["steps"] for r in rows for p in r["curve"]))


def _reached(rows: list[dict[str, Any]], target: float) -> str:
    """Median steps to the target, how many seeds reached it; nothing for agents that do not learn or do not know."""
    each, most = _steps(rows, target), _budget(rows)
    if most == 0 or not _known(rows):
        return "-"
    middle = float(np.median(each))
    text = _number(middle) if math.isfinite(middle) else f"> {_number(most)}"
    return f"{text} ({sum(math.isfinite(x) for x in each)}/{len(rows)})"


def _faster(first: list[dict[str, Any]], rows: list[dict[str, Any]], target: float) -> str:
    """Times fewer steps to the target than the first arm; nothing where one of them does not learn or know."""
    most = _budget(rows)
    if not most or most != _budget(first) or not _known([*first, *rows]):
        return "-"
    before, after = _steps(first, target), _steps(rows, target)
    if not any(map(math.isfinite, [*before, *after])):
        return "-"
    ratio, low, high = speed_up(before, after, most)
    return f"{ratio:.1f}x [{low:.1f}, {high:.1f}]"


def table(results: list[dict[str, Any]], target: float) -> str:
    """Held-out success at the end (IQM over seeds, 95 % interval), steps to the target, return, comparison, failures."""
    goal = f"steps to {target:.0%}"
    head = [
        "environment",
        "agent",
        "stack",
        "success [95 %]",
        goal,
        "speed-up [95 %]",
        "env return",
        "length",
        "P(better)",
        "seeds",
        "failed",
    ]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for env, by_arm in arms(results).items():
        first: list[dict[str, Any]] = []
        for k, ((agent, stack), rows) in enumerate(by_arm.items()):
            good = [r for r in rows if r["status"] == "ok" and r["curve"]]
            failed, names = len(rows) - len(good), [_cell(x) for x in (env, agent, stack)]
            if not good:
                cells = [*names, *"------", "0", f"{failed}: {_cell(rows[0].get('error', ''))}"]
                lines.append("| " + " | ".join(cells) + " |")
                continue
            last = [_success(r["curve"][-1]) for r in good]
            low, high = interval(last)
            before = [_success(r["curve"][-1]) for r in first]
            better = f"{probability_of_improvement(last, before):.2f}" if first and _known([*first, *good]) else "-"
            faster = _faster(first, good, target) if first else "-"
            first = good if k == 0 else first  # where the first arm has no result, nothing is compared
            cells = [
                *names,
                f"{iqm(last):.2f} [{low:.2f}, {high:.2f}]" if _known(good) else "-",
                _reached(good, target),
                faster,
                f"{iqm([r['curve'][-1]['env_return'] for r in good]):.2f}",
                f"{iqm([r['curve'][-1]['length'] for r in good]):.1f}",
                better,
                str(len(good)),
                str(failed),
            ]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def subgoals(results: list[dict[str, Any]]) -> str:
    """Share of episodes at whose end each sub-goal held, at the last evaluation; "" where none always has the same."""
    parts = []
    for env, by_arm in arms([r for r in results if r["status"] == "ok" and r["curve"]]).items():
        last = {arm: [r["curve"][-1].get("subgoals", {}) for r in rows] for arm, rows in by_arm.items()}
        every = [shares for rows in last.values() for shares in rows]
        names = [g for g in (every[0] if every else ()) if all(g in shares for shares in every)]
        if not names:
            continue
        head = ["environment", "agent", "stack", *names]
        parts.append("| " + " | ".join(map(_cell, head)) + " |\n|" + " --- |" * len(head))
        for (agent, stack), rows in last.items():
            cells = [_cell(x) for x in (env, agent, stack)]
            for name in names:
                shares = [row[name] for row in rows]
                low, high = interval(shares)
                cells.append(f"{iqm(shares):.2f} [{low:.2f}, {high:.2f}]")
            parts.append("| " + " | ".join(cells) + " |")
    return "\n".join(parts)


def write_report(
    results: list[dict[str, Any]], target: float, folder: Path, title: str, notes: Sequence[str] = ()
) -> None:
    """``table.md``, with ``notes`` above the table, and ``curves.png`` (of games ``games.png`` too) in ``folder``."""
    said = (
        "Success on held-out worlds without shaping at the last evaluation: interquartile mean over seeds with a 95 % "
        "bootstrap interval. Steps to the target: median over seeds, and how many of them reached it. Speed-up: "
        "how many times fewer steps than the first row of the environment, by means over seeds in which a run that never "
        "got there counts with the whole budget. P(better): probability of improvement over that row."
    )
    parts = [f"# {title}", said, *(f"Note: {n}." for n in notes), table(results, target)]
    if reached := subgoals(results):
        parts += ["Episodes at whose end a sub-goal held, in the same way:", reached]
    if played := game_tables(results):
        parts += played
        game_picture(results, folder / "games.png")
    (folder / "table.md").write_text("\n\n".join(parts) + "\n")
    picture(results, target, folder / "curves.png")


def curves(rows: list[dict[str, Any]]) -> tuple[list[float], Any]:
    """The steps at which all runs were evaluated, and ``(runs, steps)`` success."""
    each = [{p["steps"]: _success(p) for p in r["curve"]} for r in rows]
    steps = sorted(set.intersection(*map(set, each)))
    return steps, np.array([[c[s] for s in steps] for c in each])


def picture(results: list[dict[str, Any]], target: float, path: Path) -> None:
    """Success against steps, one panel an environment, one curve an arm: IQM and 95 % band over seeds."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    panels = arms([r for r in results if r["status"] == "ok" and r["curve"]]) or {"no results": {}}
    names = list(dict.fromkeys(a for p in panels.values() for a in p))
    several = len({a for a, _ in names}) > 1
    fig, axes = plt.subplots(1, len(panels), figsize=(5.2 * len(panels) + 0.8, 4.2), squeeze=False, sharey=True)
    lines: dict[str, Any] = {}
    for ax, (env, by_arm) in zip(axes[0], panels.items()):
        if by_arm and not any(map(_known, by_arm.values())):
            ax.text(0.5, 0.5, "success is not known", transform=ax.transAxes, ha="center", color="0.4")
        for arm, rows in by_arm.items():
            if not _known(rows):
                continue
            steps, data = curves(rows)
            if len(steps) == 1:  # it does not learn: the same at every step
                steps, data = [0.0, float(rows[0]["steps"])], np.repeat(data, 2, axis=1)
            middle = [iqm(c) for c in data.T]
            band = np.array([interval(c, draws=500) for c in data.T])
            label = f"{arm[0]}, {arm[1]}" if several else arm[1]
            colour = f"C{names.index(arm) % 10}"  # an arm has one colour in all panels
            (lines[label],) = ax.plot(steps, middle, color=colour, linewidth=1.8)
            ax.fill_between(steps, band[:, 0], band[:, 1], color=colour, alpha=0.15, linewidth=0)
        ax.axhline(target, color="0.6", linewidth=0.8, linestyle=":")
        ax.set_title(env)
        ax.set_xlabel("environment steps")
        ax.set_ylim(-0.03, 1.03)
        ax.grid(alpha=0.2)
    axes[0][0].set_ylabel("held-out success")
    if lines:
        fig.legend(list(lines.values()), list(lines), loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    fig.tight_layout()
    fig.savefig(path, dpi=110, bbox_inches="tight")
    plt.close(fig)
