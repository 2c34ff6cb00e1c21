"""What a suite showed of games for several agents: returns, the games' own measures, cross-play, the league."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..baselines.statistics import interval, iqm, probability_of_improvement

Rows = list[dict[str, Any]]
SHOWN = 4  # panels a game at most: the return and its first measures


def _by_arm(results: Rows, keep: Callable[[dict[str, Any]], Any]) -> dict[str, dict[tuple[str, str], Rows]]:
    """Finished runs of games, by environment, then by agent and stack, in the order of the suite."""
    out: dict[str, dict[tuple[str, str], Rows]] = {}
    for r in results:
        if r["status"] == "ok" and r["curve"] and "agents" in r["curve"][-1] and keep(r):
            out.setdefault(r["env"]["name"], {}).setdefault((r["agent"]["title"], r["stack"]["name"]), []).append(r)
    return out


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(" ".join(c.split()).replace("|", "\\|") for c in cells) + " |"


def _head(cells: list[str]) -> list[str]:
    return [_line(cells), "|" + " --- |" * len(cells)]


def _said(x: list[float], digits: int = 2) -> str:
    """The interquartile mean with its interval; a dash where it is not known."""
    if not x or not np.isfinite(x).all():
        return "-"
    low, high = interval(x)
    return f"{iqm(x):.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _number(x: Any) -> float:
    return float("nan") if x is None else float(x)


def measured(rows: Rows) -> list[str]:
    """Measures that every run has at its last evaluation."""
    last = [r["curve"][-1]["measures"] for r in rows]
    return [k for k in (last[0] if last else ()) if all(k in m for m in last)]


def game_tables(results: Rows) -> list[str]:
    """Markdown with a table an environment; [] where no run was of a game."""
    parts: list[str] = []
    for env, by_arm in _by_arm(results, lambda r: True).items():
        names = measured([r for rows in by_arm.values() for r in rows])
        lines, first = _head(["agent", "stack", "return [95 %]", "P(better)", *names, "seeds"]), list[float]()
        for (agent, stack), rows in by_arm.items():
            paid = [r["curve"][-1]["env_return"] for r in rows]
            better = f"{probability_of_improvement(paid, first):.2f}" if first else "-"
            first = first or paid
            shown = [_said([r["curve"][-1]["measures"][n] for r in rows]) for n in names]
            lines.append(_line([agent, stack, _said(paid), better, *shown, str(len(rows))]))
        said = (
            f"{env}: return of the judged agents together and the game's own measures at the last evaluation, without "
            "shaping, in the same way; P(better) by return, over the first row."
        )
        parts += [said, "\n".join(lines)]
    return parts + _cross(results) + _league(results)


def _cross(results: Rows) -> list[str]:
    """One of the judged seats against others in the rest."""
    lines = []
    for env, by_arm in _by_arm(results, lambda r: r.get("cross")).items():
        for (agent, stack), rows in by_arm.items():
            for name in rows[0]["cross"]:
                got = [x for r in rows if (x := r["cross"].get(name)) and "failed" not in x]
                if not got:
                    why = next(r["cross"][name]["failed"] for r in rows if name in r["cross"])
                    lines.append(_line([env, agent, stack, name, "-", "-", f"failed: {why}"]))
                    continue
                known = [k for k in got[0]["measures"] if all(k in g["measures"] for g in got)]
                shown = [f"{k} {_said([g['measures'][k] for g in got])}" for k in known]
                paid, score = (_said([_number(g[k]) for g in got]) for k in ("env_return", "score"))
                lines.append(_line([env, agent, stack, name, paid, score, ", ".join(shown)]))
    if not lines:
        return []
    said = (
        "Cross-play at the end: the agent in one seat, each in turn, the other player in all others. Score: 1 for more than "
        "the others have on average, 0.5 for the same."
    )
    head = _head(["environment", "agent", "stack", "against", "own return [95 %]", "score [95 %]", "measures"])
    return [said, "\n".join([*head, *lines])]


def _league(results: Rows) -> list[str]:
    """Elo of past selves against the current one, each over seeds."""
    lines = []
    for env, by_arm in _by_arm(results, lambda r: r.get("league")).items():
        for (agent, stack), rows in by_arm.items():
            size = min(len(r["league"]["names"]) for r in rows)
            for k in range(size):
                steps = np.mean([int(r["league"]["names"][k].split()[0]) for r in rows])
                inside = [r["league"]["elo"][k] for r in rows]
                elo = _said([e for e, _, _ in inside], 0)
                widest = max(high - low for _, low, high in inside)
                lines.append(_line([env, agent, stack, f"{steps:.0f}", elo, f"{widest:.0f}", str(len(rows))]))
    if not lines:
        return []
    said = (
        "The league: Elo (Bradley-Terry, mean 1000 in each run, draws half) of selves by the steps that they had learnt from, "
        "in games against each other: interquartile mean over seeds with its interval, and the widest interval within one seed."
    )
    head = _head(["environment", "agent", "stack", "steps", "Elo [95 %]", "widest in a seed", "seeds"])
    return [said, "\n".join([*head, *lines])]


def game_picture(results: Rows, path: Path) -> None:
    """Return and measures against steps: a row a game, a curve an arm, IQM and 95 % band over seeds."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    games = _by_arm(results, lambda r: True)
    fig, axes = plt.subplots(len(games), SHOWN, figsize=(4.2 * SHOWN, 3.2 * len(games)), squeeze=False)
    arms = list(dict.fromkeys(a for g in games.values() for a in g))
    lines: dict[str, Any] = {}
    for row, (env, by_arm) in zip(axes, games.items()):
        names = ["env_return", *measured([r for rows in by_arm.values() for r in rows])][:SHOWN]
        for ax in row[len(names) :]:
            ax.axis("off")
        for ax, name in zip(row, names):
            for arm, rows in by_arm.items():
                k = arms.index(arm) % 20
                steps, data = _curve(rows, name)
                if len(steps) == 1:  # it does not learn: the same at every step
                    steps, data = [0.0, float(rows[0]["steps"])], np.repeat(data, 2, axis=1)
                band = np.array([interval(c, draws=300) for c in data.T])
                colour = plt.get_cmap("tab20")((2 * k + k // 10) % 20)  # an arm has one colour in all panels
                (line,) = ax.plot(steps, [iqm(c) for c in data.T], color=colour, linewidth=1.6)
                lines[f"{arm[0]}, {arm[1]}"] = line
                ax.fill_between(steps, band[:, 0], band[:, 1], color=colour, alpha=0.15, linewidth=0)
            ax.set_title(f"{env}: {name.replace('env_return', 'return')}")
            ax.set_xlabel("steps of learning agents")
            ax.grid(alpha=0.2)
    fig.legend(list(lines.values()), list(lines), loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    fig.tight_layout()
    fig.savefig(path, dpi=110, bbox_inches="tight")
    plt.close(fig)


def _curve(rows: Rows, name: str) -> tuple[list[float], Any]:
    """The steps at which all runs were evaluated, and ``(runs, steps)`` of a measure."""
    each = [{p["steps"]: p[name] if name == "env_return" else p["measures"][name] for p in r["curve"]} for r in rows]
    steps = sorted(set.intersection(*map(set, each)))
    return steps, np.array([[c[s] for s in steps] for c in each])
