"""Ends an episode when a fact says so: a hard infraction, a checklist whose judge gave up, progress that stands still."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym

from ..shaper import use


class StopWhen(gym.Wrapper[Any, Any, Any, Any], gym.utils.RecordConstructorArgs):
    """Terminates (or truncates) the episode at the first step at which a condition holds.

    CaRL ends episodes at hard infractions; CM2 (arXiv 2602.12268) ends a conversation as soon as a required item of its
    checklist is lost, since the turns after it make no sense. Shapers never end episodes: put this inside, the shaper outside.
    The step has ``info["stopped"]`` with the name.

    Args:
        env: the environment.
        when: an info key of a flag, or keys -> names for ``stopped``; or ``"module:function"`` of ``(obs, reward, info)``, or
            such a function.
        truncate: the state is not terminal: a trainer bootstraps from it.

    Raises:
        ValueError: nothing to stop at.
    """

    def __init__(self, env: gym.Env[Any, Any], when: Any, truncate: bool = False) -> None:
        gym.utils.RecordConstructorArgs.__init__(self, when=when, truncate=truncate)
        gym.Wrapper.__init__(self, env)
        if not when or not (isinstance(when, (str, Mapping)) or callable(when)):
            raise ValueError(
                f"when is {when!r}; allowed: an info key, a mapping of keys to names, or a function of a step"
            )
        self.truncate = truncate
        keys = {when: when} if isinstance(when, str) and ":" not in when else when
        self._keys: dict[str, str] = dict(keys) if isinstance(keys, Mapping) else {}
        self._call: Any = None if self._keys else use(when) if isinstance(when, str) else when

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """One step of the environment, the last if a condition holds."""
        obs, reward, terminated, truncated, info = self.env.step(action)
        why = next((name for key, name in self._keys.items() if info.get(key)), "")
        if self._call is not None and self._call(obs, reward, info):
            why = getattr(self._call, "__name__", "stopped")
        if not why or terminated or truncated:
            return obs, reward, terminated, truncated, info
        return obs, reward, not self.truncate, self.truncate, info | {"stopped": why}
