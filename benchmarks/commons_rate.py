"""How many agent-steps a second the array core of ``commons`` makes: ``python benchmarks/commons_rate.py``.

For several numbers of games B and agents N, both kinds: the core's step alone, and ``BatchedCommons.step`` with the views
of all agents and the rewards. Actions are random and drawn before. The same games are played in every round, contenders
in a new order; a cycle's time is its fastest over the rounds, since the work is the same and another process can only take
time away, and the time of a game is the sum over its cycles. The median round stands beside it. Prints a Markdown table
and a verdict on the target, at least 500,000 agent-steps a second with the default of four agents, and writes
docs/results/commons_rate.json; the exit status is 1 if the target is missed. The text game is measured too, for comparison:
it is the same core with B = 1 and a text for each agent and cycle.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from milepost.envs.multiagent.commons_batch import BatchedCommons

OUT = Path(__file__).parent.parent / "docs" / "results" / "commons_rate.json"
TARGET = 500_000
SIZES = ((1, 4), (16, 4), (128, 4), (1024, 4), (128, 8), (1024, 8), (256, 16))
CYCLES = 50  # of a game, and of a timing


def clock(act: Callable[[], Any]) -> float:
    """The seconds that it takes."""
    begun = time.perf_counter()
    act()
    return time.perf_counter() - begun


def core(kind: str, games: int, players: int) -> Callable[[], list[float]]:
    """One game of the core alone; the seconds of each cycle."""
    env = BatchedCommons(games, kind=kind, players=players, max_cycles=CYCLES)
    actions = np.random.default_rng(0).integers(0, env.actions, (CYCLES, *env.action_shape))
    env.reset(seed=0)
    start = env.state

    def play() -> list[float]:
        state = start.copy()
        return [clock(lambda a=a: env.core.step(state, a)) for a in actions]

    return play


def batch(kind: str, games: int, players: int) -> Callable[[], list[float]]:
    """One game with observations and rewards."""
    env = BatchedCommons(games, kind=kind, players=players, max_cycles=CYCLES)
    actions = np.random.default_rng(0).integers(0, env.actions, (CYCLES, *env.action_shape))
    env.reset(seed=0)
    start = env.state

    def play() -> list[float]:
        env.state = start.copy()
        return [clock(lambda a=a: env.step(a)) for a in actions]

    return play


def text(kind: str) -> Callable[[], list[float]]:
    """One game in words, without its reset."""
    from milepost.envs.multiagent.commons_v0 import parallel_env

    env = parallel_env(kind=kind, max_cycles=CYCLES)

    def play() -> list[float]:
        _, infos = env.reset(seed=0)
        spent, rng = [], np.random.default_rng(0)
        while env.agents:
            actions = {a: str(rng.choice(infos[a]["admissible_actions"])) for a in env.agents}
            begun = time.perf_counter()
            infos = env.step(actions)[-1]
            spent.append(time.perf_counter() - begun)
        return spent

    return play


def measure(rounds: int) -> list[dict[str, Any]]:
    """A row a contender; the first round is not counted."""
    rows: list[dict[str, Any]] = []
    plays: list[Callable[[], list[float]]] = []
    for kind in ("harvest", "cleanup"):
        for games, players in SIZES:
            for what, make in (("core", core), ("with views", batch)):
                rows.append({"what": what, "kind": kind, "games": games, "players": players, "seconds": []})
                plays.append(make(kind, games, players))
        rows.append({"what": "text game", "kind": kind, "games": 1, "players": 4, "seconds": []})
        plays.append(text(kind))
    order = list(range(len(rows)))
    for i in range(rounds + 1):
        random.Random(i).shuffle(order)
        for k in order:
            spent = plays[k]()
            if i:
                rows[k]["seconds"].append(spent)
    for row in rows:
        steps = row["games"] * row["players"] * CYCLES
        taken = np.array(row.pop("seconds"))  # (rounds, cycles)
        row |= {
            "fastest": steps / float(taken.min(0).sum()),
            "median": steps / statistics.median(taken.sum(1).tolist()),
        }
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", default=str(OUT), help='a JSON file; "" for none')
    args = parser.parse_args()
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    where: dict[str, Any] = {"cpu": next((x.split(":")[1].strip() for x in lines if "model name" in x), "")}
    where |= {"cores": os.cpu_count(), "python": platform.python_version(), "numpy": np.__version__}
    load = [os.getloadavg()[0]]
    rows = measure(args.rounds)
    load.append(os.getloadavg()[0])
    where |= {"date": date.today().isoformat(), "load at the start and the end": " and ".join(f"{x:.1f}" for x in load)}
    print(", ".join(f"{k} {v}" for k, v in where.items()))
    print(f"\nagent-steps a second, of {args.rounds} rounds; one process, one thread\n")
    print("| what | kind | games | agents | fastest | median |\n| --- | --- | ---: | ---: | ---: | ---: |")
    for r in rows:
        print(
            f"| {r['what']} | {r['kind']} | {r['games']} | {r['players']} | {r['fastest']:,.0f} | {r['median']:,.0f} |"
        )
    targets = []
    for kind in ("harvest", "cleanup"):
        mine = [r for r in rows if (r["what"], r["kind"], r["players"]) == ("core", kind, 4)]
        best = max(mine, key=lambda r: float(r["fastest"]))
        value = f"{best['fastest']:,.0f} with {best['games']} games of {best['players']}"
        what = f"{kind}: the batched core makes at least {TARGET:,} agent-steps a second"
        targets.append({"target": what, "value": value, "met": best["fastest"] >= TARGET})
    print("\n| target | measured | verdict |\n| --- | ---: | --- |")
    for t in targets:
        print(f"| {t['target']} | {t['value']} | {'met' if t['met'] else 'MISSED'} |")
    if args.out:
        said = {"machine": where, "rounds": args.rounds, "cycles": CYCLES, "rows": rows, "targets": targets}
        Path(args.out).write_text(json.dumps(said, indent=1) + "\n")
    return 1 if any(not t["met"] for t in targets) else 0


if __name__ == "__main__":
    sys.exit(main())
