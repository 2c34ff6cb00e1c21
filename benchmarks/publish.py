"""Puts the results of a suite into docs/results: ``python benchmarks/publish.py runs/shaping_helps``.

``NAME.json`` (every run with its spec, versions and curve), ``NAME.png`` (all environments), with ``--baseline`` also one
picture a class of environments, which its page shows as the baseline curve. The table goes into docs/evidence.md, between
the lines ``<!-- NAME -->`` and ``<!-- /NAME -->``.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
from pathlib import Path
from typing import Any

from milepost.cli.report import picture, table
from milepost.envs.registry import entries

DOCS = Path(__file__).parent.parent / "docs"


def publish(folder: Path, target: float, baseline: bool, docs: Path = DOCS) -> list[Path]:
    """The files that were written."""
    data = json.loads((folder / "results.json").read_text())
    name, out = data["suite"], docs / "results"
    out.mkdir(parents=True, exist_ok=True)
    written = [out / f"{name}.json", out / f"{name}.png", docs / "evidence.md"]
    written[0].write_text(json.dumps(data, separators=(",", ":")) + "\n")
    shutil.copy(folder / "curves.png", written[1])
    text, count = re.subn(
        f"(?s)(<!-- {name} -->\n).*?(<!-- /{name} -->)",
        lambda m: f"{m[1]}\n{table(data['results'], target)}\n\n{m[2]}",
        written[2].read_text(),
    )
    if not count:
        raise SystemExit(f"{written[2]} has no <!-- {name} --> for the table")
    written[2].write_text(text)
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
    parser.add_argument("folder", type=Path, help="of the results, such as runs/shaping_helps")
    parser.add_argument("--target", type=float, default=0.8, help="the line in the pictures")
    parser.add_argument("--baseline", action="store_true", help="also the curves of the environments' pages")
    args = parser.parse_args()
    print("\n".join(map(str, publish(args.folder, args.target, args.baseline))))
