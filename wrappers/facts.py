"""Facts for environments that publish none: functions of the transition, added to ``info``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym

from .shaper import use
from .types import Transition

Fact = Callable[[Transition], Any]


def resolve(facts: Mapping[str, str | Fact] | None) -> dict[str, Fact]:
    """Names to functions.

    Raises:
        TypeError: ``facts`` is no dict, or something in it is no function.
    """
    out: dict[str, Fact] = {}
    if facts is not None and not isinstance(facts, Mapping):
        raise TypeError(f"facts is {facts!r}: a dict of info keys and functions of the Transition is expected")
    for key, value in (facts or {}).items():
        f = use(value)
        if not callable(f):
            raise TypeError(f"fact {key!r} is {f!r}: a function of the Transition is expected")
        out[key] = f
    return out


def plain(facts: Mapping[str, str | Fact] | None) -> dict[str, str] | None:
    """The JSON form of ``facts``; a live function refuses to load again."""
    if facts is None:
        return None
    return {
        k: v if isinstance(v, str) else f"live:{getattr(v, '__qualname__', type(v).__name__)}" for k, v in facts.items()
    }


def at_reset(obs: Any, info: dict[str, Any]) -> Transition:
    """What a fact function sees at a reset: only ``next_obs`` and ``info`` are there."""
    return Transition(None, None, 0.0, obs, False, False, info, {})


class Facts(gym.Wrapper[Any, Any, Any, Any], gym.utils.RecordConstructorArgs):
    """Publishes ``info[key] = function(transition)`` at every reset and step.

    At a reset ``t.obs`` and ``t.action`` are None and ``t.next_obs`` is the first observation, so a fact that is a
    function of the state reads ``t.next_obs``.

    Args:
        env: any Gymnasium environment.
        facts: info key to a function of the ``Transition``, or to a ``"module:function"`` string.
    """

    def __init__(self, env: gym.Env[Any, Any], facts: Mapping[str, str | Fact]) -> None:
        gym.utils.RecordConstructorArgs.__init__(self, facts=plain(facts))
        gym.Wrapper.__init__(self, env)
        self._facts = resolve(facts)
        self._obs: Any = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Resets the environment and publishes the facts of its first state."""
        self._obs, info = self.env.reset(seed=seed, options=options)
        t = at_reset(self._obs, info)
        return self._obs, info | {k: f(t) for k, f in self._facts.items()}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Steps the environment and publishes the facts of this transition."""
        obs, reward, terminated, truncated, info = self.env.step(action)
        t = Transition(
            self._obs, action, float(reward), obs, terminated, truncated, info, dict(info.get("reward_terms") or {})
        )
        self._obs = obs
        return obs, reward, terminated, truncated, info | {k: f(t) for k, f in self._facts.items()}
