"""Snapshots of environments that offer none: what is in them is copied, not made again."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from gymnasium.spaces import Space
from gymnasium.utils import EzPickle
from pettingzoo import AECEnv, ParallelEnv


class Saved:
    """A copied state. Nobody changes it, so that a copy of it is the same."""

    def __init__(self, places: list[object], states: list[dict[str, Any]]) -> None:
        self.places, self.states = places, states

    def __deepcopy__(self, memo: dict[int, Any]) -> Saved:
        return self


class _Place:
    """Stands for an environment inside a saved state."""


def _parts(env: Any) -> list[Any]:
    """The environment and all those inside it, in a fixed order."""
    found = [env]
    for part in found:
        for value in vars(part).values():
            if isinstance(value, (AECEnv, ParallelEnv, EzPickle)) and not any(value is f for f in found):
                found.append(value)
    return found


def _shared(values: Iterable[Any], depth: int = 3) -> dict[int, Any]:
    """What is not copied: spaces, which do not change, and what pygame draws with."""
    found: dict[int, Any] = {}
    for value in values:
        if isinstance(value, Space) or type(value).__module__.startswith("pygame"):
            found[id(value)] = value
        elif depth and isinstance(value, (dict, list, tuple)):
            found |= _shared(value.values() if isinstance(value, dict) else value, depth - 1)
    return found


def save(env: Any) -> Saved:
    """Copies the state of an environment and of all environments inside it, but for windows, fonts and spaces.

    ``copy.deepcopy`` alone would not do: ``EzPickle``, from which most of them inherit, makes a new one from the constructor's
    arguments.

    Raises:
        TypeError: something in it cannot be copied; names the environment.
    """
    parts, places = _parts(env), list[object](_Place() for _ in _parts(env))
    memo: dict[int, Any] = {id(p): place for p, place in zip(parts, places)}
    memo |= _shared(vars(p) for p in parts)
    try:
        return Saved(places, [copy.deepcopy(vars(p), memo) for p in parts])
    except (TypeError, RuntimeError, AttributeError) as e:
        raise TypeError(f"{env} cannot be copied, so it has no snapshot: {e}") from e


def load(env: Any, saved: Saved) -> None:
    """Goes back to what ``save`` copied, of this environment or of another one that was made alike."""
    parts = _parts(env)
    memo: dict[int, Any] = {id(place): p for place, p in zip(saved.places, parts)} | _shared(saved.states)
    for part, state in zip(parts, saved.states):
        new = copy.deepcopy(state, memo)
        vars(part).clear()
        vars(part).update(new)
