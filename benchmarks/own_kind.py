"""Methods from driving and robotics on environments of their own kind: ``python benchmarks/own_kind.py OUT.json``.

    CaRL, VLM-RL                       highway-env, traffic on three lanes    own_kind_driving.py
    SRPO, Robo-Dopamine, RoboReward    PointMaze (gymnasium-robotics, MuJoCo) own_kind_robots.py, own_kind_grades.py

No agent is trained: scripted drivers and balls play seeded episodes, good ones and bad ones, and each method is asked for what
its paper says it is for, through ``shape`` and ``Stack.run``. Whoever judges is a rule over the simulator's facts, but for
MiniLM (captions of traffic) and SmolLM2-135M (grades of runs). Prints Markdown tables. Needs the extras robots and llm.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from own_kind_driving import DRIVERS, carl, drives, vlm
from own_kind_grades import grades
from own_kind_robots import hops, maze, runs, srpo

from milepost.cli.run import versions


def said(x: Any) -> str:
    """A cell."""
    if isinstance(x, float):
        return "-" if math.isnan(x) else f"{x:.3f}"
    if isinstance(x, (list, tuple)):
        return ", ".join(map(said, x))
    return "-" if x is None else {True: "yes", False: "no"}.get(x, str(x)) if isinstance(x, bool) else str(x)


def table(title: str, rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> None:
    """Prints rows; ``columns`` are heads by key."""
    print(f"\n### {title}\n\n| {' | '.join(columns.values())} |\n|{' --- |' * len(columns)}")
    for r in rows:
        print(f"| {' | '.join(said(r[k]) for k in columns)} |", flush=True)


def plain(x: Any) -> Any:
    """For JSON: no NaN."""
    if isinstance(x, Mapping):
        return {k: plain(v) for k, v in x.items()}
    if isinstance(x, (list, tuple)):
        return [plain(v) for v in x]
    return None if isinstance(x, float) and math.isnan(x) else x


def driving(episodes: int, embedder: str = "minilm_embedder") -> dict[str, Any]:
    """CaRL's and VLM-RL's tables."""
    group = drives(episodes)
    a, b = carl(group), vlm(group, embedder)
    drivers = [{"driver": k} | v for k, v in a["drivers"].items()]
    heads = {
        "driver": "driver",
        "progress": "route",
        "crashed": "crashed",
        "steps_unlawful": "steps too fast or too close",
    }
    table(f"Drivers, {episodes} episodes each", drivers, heads | {"seconds": "seconds"})
    heads = {"reward": "reward", "far_over_crash": "far over crash", "far_over_still": "far over dawdling"}
    heads |= {"lawful_over_unlawful": "lawful over unlawful", "ranking": "drivers by mean return"}
    table(f"CaRL: pairs of episodes ordered rightly ({a['counts']})", a["rows"], heads)
    print(f"\n`shape` on the environment and `Stack.run` on the record differ by {a['online_differs_by']:.1e} at most.")
    heads = {"reward": "reward of a step", "embedder": "embedder", "auc_before": "AUC, two steps before a crash"}
    heads |= {"auc_crash": "AUC, the crash", "spread": "spread"}
    table(f"VLM-RL: safe steps against dangerous ones ({b['steps']})", b["rows"], heads)
    table("VLM-RL: c by caption", [{"caption": k} | v for k, v in b["captions"].items()],
          {"caption": "caption begins", "c": "mean c", "steps": "steps"})  # fmt: skip
    table("VLM-RL: with pace, mean of a step", [b["paced"]], {d: d for d in DRIVERS})
    return {"carl": a, "vlm_rl": b}


def robots(seeds: int, model: str = "smollm2", most: int = 20) -> dict[str, Any]:
    """SRPO's, Robo-Dopamine's and RoboReward's tables."""
    env = maze()
    train, test = runs(env, range(seeds)), runs(env, range(seeds, 2 * seeds))
    a = srpo(train)
    heads = {"reward": "reward", "correlation": "rank correlation of failures", "pairs_right": "pairs right"}
    heads |= {"failures_paid": "failures, mean", "best_failure": "best failure", "worst_success": "worst success"}
    table(f"SRPO: failures against the way that they had left ({a['counts']})", a["rows"], heads)
    b = hops(train)
    heads = {"judge": "judge", "views": "views", "correlation": "rank correlation", "error": "error"}
    heads |= {"voc_forward": "VOC+", "voc_backward": "VOC-"}
    table(f"Robo-Dopamine: progress over {b['successes']} successes", b["rows"], heads)
    heads = {
        "shaping": "shaping",
        "policy_invariant": "says it is invariant",
        "successes": "adds to a success, least, most",
    }
    heads |= {"a_step_of_hovering": "a step of hovering", "faster_over_slower": "faster over slower"}
    table("Robo-Dopamine: what shaping adds to discounted returns", b["returns"], heads)
    c = grades(env, train, test, model, most)
    env.close()
    heads = {"judge": "judge", "mae_real": "MAE, real runs", "pairs_real": "pairs right", "mae_forged": "MAE, forged"}
    heads |= {
        "pairs_forged": "pairs right",
        "voc": "VOC",
        "no_answer": "no answer",
        "failures_by_way": "failures by way",
    }
    table(f"RoboReward: grades of held-out runs ({c['counts']})", c["rows"], heads)
    print(f"\nTrue grades, 1 to 5: {c['grades_1_to_5']}")
    return {"srpo": a, "robo_dopamine": b, "roboreward": c}


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("out", type=Path)
    p.add_argument("--parts", nargs="+", choices=("driving", "robots"), default=["driving", "robots"])
    p.add_argument("--episodes", type=int, default=10, help="of each driver")
    p.add_argument("--seeds", type=int, default=1, help="of each task in the maze, to learn from and to test on")
    p.add_argument(
        "--most", type=int, default=12, help="real and forged runs that SmolLM2 is asked about; 0: it is not"
    )
    a = p.parse_args()
    rows = driving(a.episodes) if "driving" in a.parts else {}
    rows |= robots(a.seeds, "smollm2" if a.most else "", a.most) if "robots" in a.parts else {}
    made = versions() | {k: metadata.version(k) for k in ("highway-env", "gymnasium-robotics", "mujoco")}
    command = f"python benchmarks/own_kind.py OUT.json --episodes {a.episodes} --seeds {a.seeds} --most {a.most}"
    a.out.write_text(json.dumps({"command": command, "versions": made, "rows": plain(rows)}, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
