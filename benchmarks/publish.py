"""Puts the results of a suite into docs/results: ``python benchmarks/publish.py runs/shaping_helps``.

``NAME.json`` (every run with its spec, versions and curve), ``NAME.png`` (all environments; of games their measures), with
``--baseline`` also one picture a class of environments, which its page shows as the baseline curve. The table goes into
docs/evidence.md, between the lines ``<!-- NAME -->`` and ``<!-- /NAME -->``; what judges cost, if any were asked, between
``<!-- NAME costs -->`` and its end. A suite that was interrupted is published as far as it is. ``--unpack FILE`` puts the
runs of a published file back into the folder, so that ``milepost bench`` goes on where it stopped. ``--judges FILE``
publishes the rows of judge_quality.py, between ``<!-- judges -->`` and its end.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from milepost.cli.bench import key
from milepost.cli.game_report import game_picture, game_tables
from milepost.cli.report import picture, subgoals, table
from milepost.cli.run import versions
from milepost.envs.registry import entries

SPEC = ("env", "stack", "agent", "seed", "allow_import", "steps", "eval_every", "eval_episodes")  # what names a run
DOCS = Path(__file__).parent.parent / "docs"


def put(page: Path, name: str, rows: str) -> None:
    """A table between its marks."""
    text, count = re.subn(
        f"(?s)(<!-- {name} -->\n).*?(<!-- /{name} -->)", lambda m: f"{m[1]}\n{rows}\n\n{m[2]}", page.read_text()
    )
    if not count:
        raise SystemExit(f"{page} has no <!-- {name} --> for the table")
    page.write_text(text)


def costs(results: list[dict[str, Any]]) -> str:
    """What judges were asked, a row an arm; sums over its runs, which share a cache. Empty if none was."""
    mark = "/judge/"
    arms: dict[tuple[str, str], Counter[str]] = {}
    for r in results:
        counts = Counter({k.partition(mark)[2]: v for k, v in r.get("stats", {}).items() if mark in k})
        if counts:
            arm = arms.setdefault((r["env"]["name"], r["stack"]["name"]), Counter())
            arm.update(counts)
            arm["run"] += r["seconds"]
    lines = [
        "| environment | stack | asked | calls | hit rate | no answer | ms a call | seconds of judging | of all |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for (env, stack), n in arms.items():
        silent = n["silent"] + n["unreadable"] + n["failed"] + n["timeouts"] + n["over_budget"]
        each = 1e3 * n["seconds"] / n["calls"] if n["calls"] else 0.0
        lines.append(
            f"| {env} | {stack} | {n['asked']:,.0f} | {n['calls']:,.0f} | {n['hits'] / n['asked']:.4f} | {silent:,.0f} "
            f"| {each:.1f} | {n['seconds']:,.1f} | {n['seconds'] / n['run']:.1%} |"
        )
    return "\n".join(lines) if arms else ""


def quality(rows: list[dict[str, Any]]) -> str:
    """Judges on balanced and natural samples, a row a judge and condition."""
    lines = [
        "| transitions | view | judge | F1, balanced | precision | recall | accuracy | AUC | ECE | F1, natural |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    natural = {(r["env"], r["view"], r["judge"]): r for r in rows if r["sample"] == "natural"}
    for r in rows:
        if r["sample"] == "balanced":
            cells = [r[k] for k in ("f1", "precision", "recall", "accuracy", "auc", "calibration_error")]
            cells.append(natural[r["env"], r["view"], r["judge"]]["f1"])
            shown = " | ".join("-" if x != x else f"{x:.3f}" for x in cells)
            lines.append(f"| {r['env']} | {r['view']} | {r['judge']} | {shown} |")
    return "\n".join(lines)


def unpack(published: Path, folder: Path) -> int:
    """How many runs of a published file stand in the folder again."""
    (folder / "runs").mkdir(parents=True, exist_ok=True)
    results = json.loads(published.read_text())["results"]
    for r in results:
        name = key({k: r[k] for k in SPEC if k in r})
        (folder / "runs" / f"{name}.json").write_text(json.dumps(r))
    return len(results)


def gathered(folder: Path) -> dict[str, Any]:
    """The results of a suite, or of its finished runs where it did not get to its end."""
    whole = folder / "results.json"
    if whole.exists():
        data: dict[str, Any] = json.loads(whole.read_text())
        return data
    runs = [json.loads(p.read_text()) for p in sorted((folder / "runs").glob("*.json"))]
    done = [r for r in runs if r["status"] == "ok"]
    done.sort(
        key=lambda r: (r["env"]["name"], bool(r["stack"]["layers"]), r["stack"]["name"], r["seed"])
    )  # the bare arm first
    return {"suite": folder.name, "versions": versions(), "results": done}


def publish(folder: Path, target: float, baseline: bool, docs: Path = DOCS) -> list[Path]:
    """The files that were written."""
    data = gathered(folder)
    name, out = data["suite"], docs / "results"
    out.mkdir(parents=True, exist_ok=True)
    written = [out / f"{name}.json", out / f"{name}.png", docs / "evidence.md"]
    written[0].write_text(json.dumps(data, separators=(",", ":")) + "\n")
    if played := game_tables(data["results"]):
        game_picture(data["results"], written[1])
        put(written[2], name, "\n\n".join(played))
        return written
    if (folder / "curves.png").exists():
        shutil.copy(folder / "curves.png", written[1])
    else:
        picture(data["results"], target, written[1])
    tables = table(data["results"], target), subgoals(data["results"])
    put(written[2], name, "\n\n".join(filter(None, tables)))
    if rows := costs(data["results"]):
        put(written[2], f"{name} costs", rows)
    if not baseline:
        return written
    classes = {e.id: e.entry_point.split(":")[1] for e in entries()}
    families: dict[str, list[dict[str, Any]]] = {}
    for result in data["results"]:
        families.setdefault(classes[result["env"]["id"]], []).append(result)
    for family, results in families.items():
        written.append(out / f"{family}.png")
        picture(results, target, written[-1])
    return written


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="of the results, such as runs/shaping_helps")
    parser.add_argument("--judges", type=Path, help="rows of judge_quality.py")
    parser.add_argument("--target", type=float, default=0.8, help="the line in the pictures")
    parser.add_argument("--baseline", action="store_true", help="also the curves of the environments' pages")
    parser.add_argument("--unpack", type=Path, help="a published file, whose runs go back into the folder")
    args = parser.parse_args()
    if args.unpack:
        print(f"{unpack(args.unpack, args.folder)} runs in {args.folder}")
        raise SystemExit
    if args.judges:
        found = json.loads(args.judges.read_text())
        (DOCS / "results" / "judges.json").write_text(json.dumps(found, separators=(",", ":")) + "\n")
        put(DOCS / "evidence.md", "judges", quality(found["rows"]))
    if args.folder:
        print("\n".join(map(str, publish(args.folder, args.target, args.baseline))))
