"""Puts the results of a suite into docs/results: ``python benchmarks/publish.py runs/shaping_helps``.

``NAME.json`` (every run with its spec, versions and curve), ``NAME.md`` (the table), ``NAME.png`` (all environments), and one
picture a class of environments, which its page shows as the baseline curve.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from milepost.cli.report import picture
from milepost.envs.registry import entries

RESULTS = Path(__file__).parent.parent / "docs" / "results"


def publish(folder: Path, target: float, out: Path = RESULTS) -> list[Path]:
    """The files that were written."""
    data = json.loads((folder / "results.json").read_text())
    name = data["suite"]
    out.mkdir(parents=True, exist_ok=True)
    written = [out / f"{name}.json", out / f"{name}.md", out / f"{name}.png"]
    written[0].write_text(json.dumps(data, separators=(",", ":")) + "\n")
    shutil.copy(folder / "table.md", written[1])
    shutil.copy(folder / "curves.png", written[2])
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
    parser.add_argument("folder", type=Path, help="of the results, such as runs/shaping_helps")
    parser.add_argument("--target", type=float, default=0.8, help="the line in the pictures")
    args = parser.parse_args()
    print("\n".join(map(str, publish(args.folder, args.target))))
