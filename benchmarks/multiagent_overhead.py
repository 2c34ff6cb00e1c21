"""What a wrapper of a game costs, beside SuperSuit: ``python benchmarks/multiagent_overhead.py --peers PYTHON``.

A game of 4 agents does nothing: its step gives the same dicts again, so what a wrapped step takes longer is the wrapper.
Observation wrappers stand beside their numpy work, the same calls in a loop over the agents and nothing else (that of a delay
is a copy). Rounds are interleaved: each times every contender once, in a new order; a timing is the fastest of some short rows
of calls, and a figure the fastest of the rounds, because a busy machine only ever adds (medians over the rounds stand beside
it). SuperSuit runs in a Python of its own (``pip install supersuit stable_baselines3`` there), where this file serves itself;
a peer that cannot run has a row that says why. Prints Markdown tables and a verdict a target, and writes
docs/results/multiagent_overhead.json; the exit status is 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete
from peers import answers, cause, host, judge, measure, peers, serve, version
from pettingzoo import ParallelEnv
from pettingzoo.utils.conversions import parallel_to_aec

ROOT = Path(__file__).parent.parent
OUT = ROOT / "docs" / "results" / "multiagent_overhead.json"
AGENTS = [f"agent_{i}" for i in range(4)]
VECTOR, IMAGE = (18,), (84, 84, 3)  # what agents of simple_spread see, and a small picture
SIZES = (10, 12, 14, 18)  # of observations that need padding
ROWS, LEAST = 20, 20  # rows of calls a timing, calls a row
COPIES = 2

Contender = Callable[[], float]
"""Seconds of one call: the fastest mean of some short rows."""


class Idle(ParallelEnv):  # type: ignore[misc]
    """Four agents, nothing happens, and it never ends."""

    metadata = {"name": "idle_v0", "render_modes": [], "is_parallelizable": True}
    render_mode = None

    def __init__(
        self, shape: tuple[int, ...] = VECTOR, sizes: tuple[int, ...] = (), actions: tuple[int, ...] = (5,) * 4
    ) -> None:
        kind = np.uint8 if len(shape) == 3 else np.float32
        shapes = {a: (sizes[i],) if sizes else shape for i, a in enumerate(AGENTS)}
        self.possible_agents, self.agents = list(AGENTS), list(AGENTS)
        self.seen = {a: Box(0, 255 if kind is np.uint8 else 1, s, kind) for a, s in shapes.items()}
        self.acts = {a: Discrete(n) for a, n in zip(AGENTS, actions)}
        rng = np.random.default_rng(0)
        obs = {a: rng.integers(0, 2, s).astype(kind) for a, s in shapes.items()}
        flags, infos = dict.fromkeys(AGENTS, False), {a: dict[str, Any]() for a in AGENTS}
        self.given = obs, {a: 0.5 * i for i, a in enumerate(AGENTS)}, flags, dict(flags), infos

    def observation_space(self, agent: str) -> Any:
        return self.seen[agent]

    def action_space(self, agent: str) -> Any:
        return self.acts[agent]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self.agents = list(AGENTS)
        return self.given[0], self.given[4]

    def step(self, actions: dict[str, Any]) -> Any:
        return self.given


def timed(act: Callable[[], Any]) -> Contender:
    """Rows long enough for the clock."""
    calls = LEAST

    def run() -> float:
        nonlocal calls
        best = float("inf")
        for _ in range(ROWS):
            start = time.perf_counter()
            for _ in range(calls):
                act()
            spent = time.perf_counter() - start
            best = min(best, spent / calls)
        calls = max(LEAST, min(2000, int(2e-4 / best)))
        return best

    return run


def steps(env: Any) -> Contender:
    """Steps of a parallel game."""
    env.reset(seed=0)
    actions, step = dict.fromkeys(AGENTS, 1), env.step
    return timed(lambda: step(actions))


def turns(env: Any) -> Contender:
    """Rounds of a game with turns: each agent looks and acts once."""
    env.reset(seed=0)

    def act() -> None:
        for _ in AGENTS:
            env.last()
            env.step(1)

    return timed(act)


def work(shape: tuple[int, ...], f: Callable[[Any], Any], sizes: tuple[int, ...] = ()) -> Contender:
    """One numpy call after the other."""
    obs = [o for i, o in enumerate(Idle(shape, sizes).given[0].values()) if not sizes or sizes[i] < max(sizes)]

    def act() -> None:
        for o in obs:
            f(o)

    return timed(act)


def pad(obs: Any) -> Any:
    out = np.zeros(max(SIZES), np.float32)
    out[: len(obs)] = obs
    return out


ONE = np.eye(len(AGENTS), dtype=np.float32)[0]
PLANES = np.zeros((*IMAGE[:2], len(AGENTS)), np.uint8)
ACTIONS = (5, 4, 5, 5)
# name: what the game is, our wrapper, SuperSuit's (by g and s), the numpy work or None
Layer = tuple[tuple[Any, ...], Callable[[Any, Any], Any], Callable[[Any, Any], Any] | None, Callable[[Any], Any] | None]
LAYERS: dict[str, Layer] = {
    "clip_reward": ((), lambda g, e: g.clip_reward(e), lambda s, e: s.clip_reward_v0(e), None),
    "scale_reward": ((), lambda g, e: g.scale_reward(e, 0.5), lambda s, e: s.reward_lambda_v0(e, lambda r: 0.5 * r), None),
    "normalize_reward": ((), lambda g, e: g.normalize_reward(e), None, None),
    "black_death": ((), lambda g, e: g.black_death(e), lambda s, e: s.black_death_v3(e), None),
    "sticky_actions": ((), lambda g, e: g.sticky_actions(e, 0.25), lambda s, e: s.sticky_actions_v0(e, 0.25), None),
    "pad_actions": ((VECTOR, (), ACTIONS), lambda g, e: g.pad_actions(e), lambda s, e: s.pad_action_space_v0(e), None),
    "delay_observations": (
        (), lambda g, e: g.delay_observations(e, 2), lambda s, e: s.delay_observations_v0(e, 2), None),
    "frame_stack, vectors": (
        (), lambda g, e: g.frame_stack(e, 4), lambda s, e: s.frame_stack_v1(e, 4), lambda o: np.concatenate((o, o, o, o))),
    "frame_stack, images": (
        (IMAGE,), lambda g, e: g.frame_stack(e, 4), lambda s, e: s.frame_stack_v1(e, 4),
        lambda o: np.concatenate((o, o, o, o), -1)),
    "dtype, vectors": (
        (), lambda g, e: g.dtype(e, np.float64), lambda s, e: s.dtype_v0(e, np.float64), lambda o: o.astype(np.float64)),
    "dtype, images": (
        (IMAGE,), lambda g, e: g.dtype(e, np.float32), lambda s, e: s.dtype_v0(e, np.float32), lambda o: o.astype(np.float32)),
    "flatten, images": ((IMAGE,), lambda g, e: g.flatten(e), lambda s, e: s.flatten_v0(e), np.ndarray.flatten),
    "pad_observations": ((VECTOR, SIZES), lambda g, e: g.pad_observations(e), lambda s, e: s.pad_observations_v0(e), pad),
    "agent_indicator, vectors": (
        (), lambda g, e: g.agent_indicator(e), lambda s, e: s.agent_indicator_v0(e), lambda o: np.concatenate((o, ONE))),
    "agent_indicator, images": (
        (IMAGE,), lambda g, e: g.agent_indicator(e), lambda s, e: s.agent_indicator_v0(e),
        lambda o: np.concatenate((o, PLANES), -1)),
}  # fmt: skip
TURNS = ("clip_reward", "frame_stack, vectors")
LANES = ("to_gymnasium", "to_sb3")


def ours() -> tuple[dict[str, Contender], dict[str, str]]:
    """Ours, the bare games, and the numpy work."""
    import milepost.wrappers.games as g

    found: dict[str, Contender] = {}
    for name, (game, wrap, _, numpy_work) in LAYERS.items():
        found[f"{name}: bare"] = steps(Idle(*game))
        found[f"{name}: ours"] = steps(wrap(g, Idle(*game)))
        if numpy_work:
            found[f"{name}: numpy"] = work(*(game[:1] or (VECTOR,)), numpy_work, game[1] if len(game) > 1 else ())
    for name in TURNS:
        found[f"{name}, turns: bare"] = turns(parallel_to_aec(Idle()))
        found[f"{name}, turns: ours"] = turns(LAYERS[name][1](g, parallel_to_aec(Idle())))
    for name in LANES:
        env = getattr(g, name)(Idle, COPIES)
        env.reset()
        actions = np.ones(len(AGENTS) * COPIES, int)
        found[f"{name}: ours"] = timed(lambda env=env, actions=actions: env.step(actions))
    return found, {}


def theirs() -> tuple[dict[str, Contender], dict[str, str]]:
    """SuperSuit's, and its bare games: another process, another speed."""
    import supersuit as s

    warnings.simplefilter("ignore")
    found: dict[str, Contender] = {}
    why: dict[str, str] = {}

    def vector() -> Any:
        env = s.concat_vec_envs_v1(s.pettingzoo_env_to_vec_env_v1(Idle()), COPIES, num_cpus=0, base_class="gymnasium")
        env.reset()
        return timed(lambda: env.step(np.ones(len(AGENTS) * COPIES, int)))

    def sb3() -> Any:
        base = "stable_baselines3"
        env = s.concat_vec_envs_v1(s.pettingzoo_env_to_vec_env_v1(Idle()), COPIES, num_cpus=0, base_class=base)
        env.reset()
        return timed(lambda: env.step(np.ones(len(AGENTS) * COPIES, int)))

    makers: dict[str, Callable[[], Contender]] = {}
    for name, (game, _, wrap, _) in LAYERS.items():
        if wrap:
            makers[f"{name}: SuperSuit bare"] = lambda game=game: steps(Idle(*game))
            makers[f"{name}: SuperSuit"] = lambda game=game, wrap=wrap: steps(wrap(s, Idle(*game)))
            if name in TURNS:
                makers[f"{name}, turns: SuperSuit bare"] = lambda: turns(parallel_to_aec(Idle()))
                makers[f"{name}, turns: SuperSuit"] = lambda wrap=wrap: turns(wrap(s, parallel_to_aec(Idle())))
    makers["to_gymnasium: SuperSuit"], makers["to_sb3: SuperSuit"] = vector, sb3
    for key, make in makers.items():
        try:
            found[key] = make()
            found[key]()
        except Exception as e:  # whatever it cannot do, the others are measured
            found.pop(key, None)
            why[key] = cause(e)
    return found, why


# -- the run -----------------------------------------------------------------------------------------
def rows(got: dict[str, float]) -> dict[str, dict[str, float | None]]:
    """A wrapper's own microseconds, SuperSuit's, and the numpy work."""

    def layer(name: str, who: str, bare: str) -> float | None:
        both = got.get(f"{name}: {who}"), got.get(f"{name}: {bare}", 0.0 if name in LANES else None)
        return None if both[0] is None or both[1] is None else both[0] - both[1]

    names = [*LAYERS, *(f"{t}, turns" for t in TURNS), *LANES]
    return {
        n: {
            "ours": layer(n, "ours", "bare"),
            "SuperSuit": layer(n, "SuperSuit", "SuperSuit bare"),
            "numpy": got.get(f"{n}: numpy"),
        }
        for n in names
    }


def verdicts(table: dict[str, dict[str, float | None]]) -> list[dict[str, Any]]:
    """Each target: what it is, what came, whether it holds (None: a side of it was not run)."""
    found: list[dict[str, Any]] = []
    for name, row in table.items():
        mine, peer, numpy_work = row["ours"], row["SuperSuit"], row["numpy"]
        assert mine is not None
        if numpy_work is not None:
            target, value = f"{name}: at most 1.5 times its numpy work", mine / numpy_work
            found.append({"target": target, "value": f"{value:.2f} times", "met": value <= 1.5})
        elif name in LAYERS:
            found.append({"target": f"{name}: at most 1 us a layer", "value": f"{mine:.2f} us", "met": mine <= 1.0})
        if peer is not None and not name.endswith("turns"):  # no target is set there
            value = peer / mine
            found.append(
                {"target": f"{name}: faster than SuperSuit", "value": f"{value:.1f} times", "met": value > 1.0}
            )
    return found


def machine(interpreter: str) -> dict[str, Any]:
    """Where this runs."""
    found = host() | {p: version(sys.executable, p) for p in ("pettingzoo", "gymnasium", "numpy")}
    return found | {"supersuit": version(interpreter, "supersuit"), "date": date.today().isoformat()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", default="", metavar="PYTHON", help="a Python that can import supersuit")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", default=str(OUT), help='a JSON file; "" for none')
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        return serve(answers(), *theirs())
    where = machine(args.peers)
    load = [os.getloadavg()[0]]
    contenders, why = ours()
    with peers(args.peers, __file__, names=["SuperSuit"]) as (more, missing):
        middle, best = measure(contenders | more, args.rounds)
    load.append(os.getloadavg()[0])
    where["load of the last minute, at the start and the end"] = " and ".join(f"{x:.1f}" for x in load)
    table, middles = rows(best), rows(middle)
    print(", ".join(f"{k} {v}" for k, v in where.items()))
    print(
        f"\nmicroseconds that a wrapper adds to a step of {len(AGENTS)} agents, fastest of {args.rounds} rounds (and median)\n"
    )
    print("| wrapper | numpy work | ours | SuperSuit |\n| --- | ---: | ---: | ---: |")
    for name, row in table.items():
        cells = (
            "" if x is None else f"{x:,.2f} ({middles[name][k]:,.2f})"
            for k, x in ((k, row[k]) for k in ("numpy", "ours", "SuperSuit"))
        )
        print(f"| {name} | {' | '.join(cells)} |")
    for name, reason in (why | missing).items():
        print(f"| {name} | not run: {reason} | | |")
    found = verdicts(table)
    status = judge(found)
    if args.out:
        said = {"machine": where, "rounds": args.rounds, "fastest": best, "median": middle, "layers": table}
        Path(args.out).write_text(json.dumps(said | {"not_run": why | missing, "targets": found}, indent=1) + "\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
