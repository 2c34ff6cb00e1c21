"""Repair tasks out of real packages: ``python benchmarks/swe_packages.py``; needs a package index and bubblewrap.

Builds tasks of each package, then plays two of each: the oracle's repair must pass and an empty submission must not. Prints a
Markdown table and writes ``docs/results/swe_packages.json``; the exit status is 1 if fewer than ten packages gave tasks or one
of the tasks that were played came out otherwise. Test files of some packages need ``pip install freezegun simplejson pytz``;
where these are missing, the files are left out and the table says so.

Seconds are of one package from the index to its last checked task, with whatever else the machine did.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

PACKAGES = [
    "first", "markupsafe", "inflection", "schema", "cachetools", "parse", "itsdangerous", "isodate", "pathspec", "tabulate",
    "humanize", "boltons", "marshmallow", "toolz",
]  # fmt: skip
ENOUGH, PLAYED = 10, 2
RESULTS = Path(__file__).parent.parent / "docs/results/swe_packages.json"


def play(out: Path) -> list[bool]:
    """For some of a package's tasks, whether the oracle repaired it and an empty submission did not."""
    from milepost.envs.swe.bugrepair import BugRepairEnv, Bugs

    fine: list[bool] = []
    for split in sorted({"test" if i.held_out else "train" for i in Bugs(str(out)).instances()}):
        env = BugRepairEnv(str(out), split=split)
        try:
            for task in env.tasks()[: PLAYED - len(fine)]:
                env.reset(options={"task": task})
                _, nothing, over, _, info = env.step('{"name": "submit", "arguments": {}}')
                empty = over and nothing <= 0.0 and not info["success"]
                env.reset(options={"task": task})
                over, reward = False, 0.0
                while not over:
                    _, reward, over, _, info = env.step(env.oracle())
                fine.append(empty and info["success"] and reward == 1.0)
        finally:
            env.close()
    return fine


def row(spec: str, out: Path, counts: dict[int, int], seed: int, timeout: float) -> dict[str, Any]:
    """Builds one package and plays some of its tasks."""
    from milepost.envs.swe.packages_build import build_all

    built = build_all(
        [spec],
        out,
        counts=counts,
        seed=seed,
        timeout=timeout,
        say=lambda line: print(line, file=sys.stderr, flush=True),
    )[0]
    fine = play(out) if built.instances else []
    # not the address: an index may be a mirror of this machine
    facts = {k: v for k, v in built.facts.items() if k not in ("url", "package", "version")}
    about = {"package": built.name or spec, "version": built.version, "seconds": round(built.seconds, 1)}
    return about | {"error": built.error, "played": len(fine), "played_well": sum(fine)} | facts


def main() -> int:
    """The whole of it."""
    from milepost.cli.swe import parse_counts

    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("packages", nargs="*", default=PACKAGES)
    p.add_argument("--counts", default="1=6,2=2,3=1", metavar="BUGS=TASKS,...", help="tasks of each package")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--timeout", type=float, default=60.0)
    a = p.parse_args()
    counts = parse_counts(a.counts)
    table: list[dict[str, Any]] = []
    print("| package | version | licence | tests | tasks | families | test files left out | played well | seconds |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    for spec in a.packages:
        with tempfile.TemporaryDirectory() as folder:
            r = row(spec, Path(folder), counts, a.seed, a.timeout)
        table.append(r)
        print(
            f"| {r['package']} | {r['version']} | {r.get('license', r['error'])} | {r.get('tests', 0)} "
            f"| {r.get('tasks', 0)} | {len(r.get('families', ()))} | {len(r.get('left_out', ()))} "
            f"| {r['played_well']}/{r['played']} | {r['seconds']:.0f} |",
            flush=True,
        )
        result = {
            "date": date.today().isoformat(), "python": platform.python_version(), "cores": os.cpu_count(),
            "counts": a.counts, "seed": a.seed, "timeout": a.timeout, "packages": table,
            "tasks": sum(r.get("tasks", 0) for r in table),
            "families": sorted({f for r in table for f in r.get("families", ())}),
        }  # fmt: skip
        RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")  # what there is, when it is stopped
    built = [r for r in table if r.get("tasks")]
    print(f"\n{len(built)} of {len(table)} packages, {result['tasks']} tasks, {len(result['families'])} families")
    well = all(0 < r["played_well"] == r["played"] for r in built)
    return int(len(built) < min(ENOUGH, len(table)) or not well)


if __name__ == "__main__":
    sys.exit(main())
