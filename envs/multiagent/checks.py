"""Checks that anybody can call on a PettingZoo environment."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


def told(value: Any) -> str:
    """A tree of plain values and arrays as a text: equal trees give equal texts, in every process."""

    def plain(x: Any) -> Any:
        if isinstance(x, np.ndarray):
            return {"shape": x.shape, "dtype": str(x.dtype), "data": x.tolist()}
        if isinstance(x, np.generic):
            return x.item()
        if isinstance(x, (set, frozenset)):
            return sorted(map(repr, x))
        return repr(x)

    return json.dumps(_keys(value), default=plain)


def _keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {f"{type(k).__name__} {k}": _keys(v) for k, v in value.items()}
    return [_keys(v) for v in value] if isinstance(value, (list, tuple)) else value


def rollout(env: Any, seed: int | None, cycles: int, chooser: int = 0) -> str:
    """A hash of all that an AEC or Parallel environment says in one game of random actions that its masks allow.

    Args:
        env: the environment.
        seed: given to ``reset``; None for a reset that goes on with the randomness that is there.
        cycles: steps of a Parallel, turns of each agent of an AEC environment, at most.
        chooser: seed of the actions.
    """
    digest, rng = hashlib.sha256(), np.random.default_rng(chooser)

    def note(*what: Any) -> None:
        digest.update(told(what).encode())

    def choose(agent: str, obs: Any, info: dict[str, Any]) -> Any:
        mask = obs.get("action_mask") if isinstance(obs, dict) else info.get("action_mask")
        if mask is not None and np.any(mask):
            return int(rng.choice(np.flatnonzero(mask)))
        if choices := info.get("admissible_actions"):
            return str(choices[int(rng.integers(len(choices)))])
        space = env.action_space(agent)
        space.seed(int(rng.integers(2**31)))
        return space.sample()

    if hasattr(env, "agent_iter"):
        env.reset(seed=seed)
        for agent in env.agent_iter(cycles * max(1, len(env.agents))):
            obs, reward, terminated, truncated, info = env.last()
            note(agent, obs, reward, terminated, truncated, info)
            env.step(None if terminated or truncated else choose(agent, obs, info))
    else:
        obs, infos = env.reset(seed=seed)
        note(obs, infos)
        for _ in range(cycles):
            if not env.agents:
                break
            obs, *rest, infos = env.step({a: choose(a, obs[a], infos[a]) for a in env.agents})
            note(obs, rest, infos)
    return digest.hexdigest()


def check_seeds(make: Callable[[], Any], cycles: int = 100, seeds: Sequence[int] = (0, 1, 2)) -> None:
    """Whole games repeat under one seed, also those after unseeded resets, whatever the state of the global generators.

    PettingZoo's ``parallel_seed_test`` stops after the first step, since it asks the keys of ``terminations`` instead of its
    values. Compare ``rollout`` in two processes with different PYTHONHASHSEED to find what depends on hashes.

    Args:
        make: gives a new AEC or Parallel environment.
        cycles: of each game, at most.
        seeds: to try.

    Raises:
        AssertionError: two games that should be equal are not.
    """
    kept = random.getstate(), np.random.get_state()
    try:
        for seed in seeds:
            found = []
            for noise in (1, 2):
                random.seed(noise)
                np.random.seed(noise)
                env = make()
                found.append([rollout(env, s, cycles, chooser) for chooser, s in enumerate((seed, None, seed))])
                env.close()
            assert found[0] == found[1], f"seed {seed}: the same actions gave another game"
            again = make()
            assert rollout(again, seed, cycles) == found[0][0], (
                f"seed {seed}: the game depends on what was played before"
            )
            again.close()
    finally:
        random.setstate(kept[0])
        np.random.set_state(kept[1])
