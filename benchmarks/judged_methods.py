"""How good is each judged or learned method's signal with a real small model? ``python benchmarks/judged_methods.py OUT.json``.

Every method of the catalog that takes a judge, an embedder or a reward model, or is fitted to episodes, runs once on real
episodes with MiniLM and SmolLM2 as far as they can answer, and beside them with the truth, with chance and, where there is such
a thing, with words alone. One number each: AUC of what steps are paid against what they did, or the share of pairs that are
ordered as in truth; 0.50 is chance in both. Prints a Markdown table. Fits are made on worlds of the train split, and
everything is measured on worlds of the test split. Needs the extras llm, multiagent and tools, and ``milepost setup judges``.

Every row is written as it is there; the same command goes on where an earlier one stopped.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from judged_episodes import MODELS, TINY, Size
from judged_quests import QUESTS, Data, Found
from judged_talks import TALKS

from milepost.cli.run import versions

DRAWS = 5  # of chance, whose range says how much a number of so few episodes means


def measure(name: str, models: Sequence[str], run: Callable[[str], Found]) -> dict[str, Any]:
    """A method with each of its models."""
    row: dict[str, Any] = {"method": name, "values": {}, "n": 0, "calls": {}, "ms_a_call": {}, "seconds": {}}
    if "chance" in models:
        draws = [float(run(f"chance {k}")[0]) for k in range(DRAWS)]
        row["values"]["chance"], row["chance"] = (
            round(float(np.mean(draws)), 4),
            [round(min(draws), 4), round(max(draws), 4)],
        )
    for model in [m for m in models if m != "chance"]:
        begun = time.perf_counter()
        with contextlib.redirect_stderr(io.StringIO()):  # progress bars of a model that loads
            value, n, (calls, ms) = run(model)
        row["values"][model], row["n"] = round(float(value), 4), n
        row["calls"][model], row["ms_a_call"][model] = calls, round(ms, 3)
        row["seconds"][model] = round(time.perf_counter() - begun, 2)
    return row


def rows(size: Size, models: Sequence[str], only: str = "", done: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """The table's rows, method by method, but for those that are done."""
    quest: Data | None = None
    for name, where, what, can, run in [*QUESTS, *TALKS]:
        use = [m for m in can if m in models or m in ("words", "actions")]
        if only not in name or name in done or not use:
            continue
        if where == "Quest":
            quest = quest or Data(size)
        data: Any = quest if where == "Quest" else size
        yield measure(name, use, lambda m: run(m, data)) | {"environment": where, "measure": what}  # noqa: B023


def markdown(found: Sequence[dict[str, Any]]) -> str:
    """The table."""
    out = [
        "| method | episodes | what is right | n | truth | chance | no model | MiniLM | SmolLM2 | calls | ms a call |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for r in found:
        v = r["values"]
        v = v | {"words": v.get("actions", v.get("words"))}
        low, high = r.get("chance", (None, None))
        shown = [
            f"{v[m]:.2f}" if v.get(m) is not None else "-" for m in ("truth", "chance", "words", "minilm", "smollm2")
        ]
        shown[1] = f"{low:.2f}-{high:.2f}" if low is not None else "-"
        asked = [m for m in ("minilm", "smollm2") if m in r["calls"]]
        calls = " / ".join(f"{r['calls'][m]:,.0f}" for m in asked) or "-"
        ms = " / ".join(f"{r['ms_a_call'][m]:.1f}" for m in asked) or "-"
        cells = [r["method"], r["environment"], r["measure"], f"{r['n']:,}", *shown, calls, ms]
        out.append(f"| {' | '.join(cells)} |")
    return "\n".join(out)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("out", type=Path)
    p.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    p.add_argument("--only", default="", help="methods whose name has this in it")
    for name, n in Size()._asdict().items():
        p.add_argument(f"--{name}", type=int, default=n, help=f"see Size; {n} if not said")
    p.add_argument("--quick", action="store_true", help="a few episodes, to see whether it runs")
    a = p.parse_args()
    size = TINY if a.quick else Size(a.worlds, a.train, a.asked, a.talks)
    said: dict[str, Any] = {"settings": {"models": a.models, "size": size._asdict()}}
    before = json.loads(a.out.read_text()) if a.out.exists() else {}
    found = before["rows"] if before.get("settings") == said["settings"] else []
    said |= {"command": "python benchmarks/judged_methods.py " + " ".join(sys.argv[1:]), "versions": versions()}
    for row in rows(size, a.models, a.only, [r["method"] for r in found]):
        found.append(row)
        print(f"{row['method']}: {row['values']} seconds {row['seconds']}", file=sys.stderr, flush=True)
        a.out.write_text(json.dumps(said | {"rows": found}, indent=1) + "\n")
    print(markdown(found))


if __name__ == "__main__":
    main()
