"""F1 of the judges on transitions whose truth is known: ``python benchmarks/judge_quality.py OUT.json``.

KeyRoom-S5 with CALM's two preset sub-goals under its two observation conditions (the 9x9 crop, the whole screen) and from the
message alone; Quest and TextWorld in words. Balanced samples (as many of each kind of transition) and natural ones, on worlds
of the test split. ``minilm without examples`` is MiniLM's similarity alone: its examples for KeyRoom were written by us with
NetHack's messages before our eyes, so with them it is close to a hand-made rule. Needs the extra minihack for KeyRoom.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import json
from pathlib import Path
from typing import Any

from milepost.baselines.judge_eval import FAMILIES, balanced, cases, score
from milepost.cli.judge import POOL, families
from milepost.cli.run import make_env, versions
from milepost.wrappers.scorers import serve

JUDGES: dict[str, dict[str, Any]] = {
    "predicate": {"scorer": "predicate"},
    "MiniLM": {"scorer": "minilm"},
    "MiniLM without examples": {"scorer": "minilm", "examples": {}, "counter": {}},
    "SmolLM2, 4 shots": {"scorer": "smollm2", "shots": None},
    "SmolLM2, 6 shots": {"scorer": "smollm2"},
    "SmolLM2, 6 shots, not calibrated": {"scorer": "smollm2", "calibrate": False, "threshold": 0.0},
}
CONDITIONS = [("minihack", v) for v in ("crop", "screen", "message")] + [("quest", "text"), ("textworld", "text")]
PRESET = {"minihack": ("pick up the key", "open the door")}


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("out", type=Path)
    p.add_argument("-n", type=int, default=300)
    p.add_argument("--seed", type=int, default=0)
    a = p.parse_args()
    there, rows = families([]), []
    for family, view in CONDITIONS:
        if family not in there:
            print(f"{family}: not installed, left out")
            continue
        env_id, settings = FAMILIES[family]
        env = make_env(env_id, settings, split="test")
        pool = cases(env, POOL * a.n, a.seed, view, PRESET.get(family, ()))
        env.close()
        for sample, chosen in (("balanced", balanced(pool, a.n, a.seed)), ("natural", pool[: a.n])):
            for name, spec in JUDGES.items():
                if name == "predicate" and family != "minihack":
                    continue  # its rules are KeyRoom's
                if name.startswith("SmolLM2, 4"):
                    from milepost.wrappers.scorers.smollm2 import SHOTS

                    spec = spec | {"shots": [dict(s) for s in SHOTS[:4]]}
                judge = serve(spec | {"timeout": None})
                with contextlib.redirect_stderr(io.StringIO()):  # progress bars of a model that loads
                    got = dataclasses.asdict(score(judge, chosen))
                stats = judge.report()
                rows.append({"env": family, "view": view, "sample": sample, "judge": name} | got | {"stats": stats})
                print(
                    f"{family:9s} {view:8s} {sample:9s} {name:33s} acc {got['accuracy']:.3f} P {got['precision']:.3f} "
                    f"R {got['recall']:.3f} F1 {got['f1']:.3f} AUC {got['auc']:.3f} calls {stats.get('calls', 0):.0f}",
                    flush=True,
                )
                judge.close()
    a.out.write_text(json.dumps({"n": a.n, "seed": a.seed, "rows": rows, "versions": versions()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
