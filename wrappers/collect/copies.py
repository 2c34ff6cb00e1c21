"""States to go back to: snapshots with the time limits around them, and copies of games that have no snapshots."""

from __future__ import annotations

import copy
from typing import Any

import gymnasium as gym


def state_of(env: gym.Env[Any, Any]) -> Any:
    """An environment's snapshot, and what each ``TimeLimit`` around it has counted: these know of no snapshots."""
    return env.get_wrapper_attr("snapshot")(), [limit._elapsed_steps for limit in _limits(env)]


def go_back(env: gym.Env[Any, Any], state: Any) -> None:
    """Goes back to what ``state_of`` gave, as often as wanted."""
    inner, counted = state
    env.get_wrapper_attr("restore")(copy.deepcopy(inner))
    for limit, steps in zip(_limits(env), counted):
        limit._elapsed_steps = steps


def _limits(env: Any) -> list[Any]:
    out = []
    while isinstance(env, gym.Wrapper):
        out += [env] if isinstance(env, gym.wrappers.TimeLimit) else []
        env = env.env
    return out


def twin(game: Any) -> Any:
    """A copy of a game and of the wrappers around it, with its state and its generators.

    ``copy.deepcopy`` alone is no copy of a game that inherits Gymnasium's ``EzPickle``: it makes a new one of the constructor's
    arguments. So the attributes of each layer are copied, whatever it says about pickling. What pygame draws with is
    shared, since it cannot be copied and is no state.

    Raises:
        TypeError: names an attribute that cannot be copied.
    """
    layers: list[Any] = []
    inner: Any = game
    while inner is not None:
        layers.append(inner)
        inside = vars(inner)
        inner = inside.get("env") or inside.get("aec_env")
    copies = [object.__new__(type(x)) for x in layers]
    memo: dict[int, Any] = {id(x): c for x, c in zip(layers, copies)}
    for x in layers:
        memo |= {id(v): v for v in vars(x).values() if type(v).__module__.partition(".")[0] == "pygame"}
    for x, c in zip(layers, copies):
        for name, value in vars(x).items():
            try:
                vars(c)[name] = copy.deepcopy(value, memo)
            except Exception as e:
                raise TypeError(f"{type(x).__name__}.{name} cannot be copied: {e}") from e
    return copies[0]
