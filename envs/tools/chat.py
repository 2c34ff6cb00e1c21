"""Chat messages as observations."""

from __future__ import annotations

import copy
from typing import Any

import gymnasium as gym

from .spaces import Messages


class Chat(gym.Wrapper[Any, Any, Any, Any], gym.utils.RecordConstructorArgs):
    """Shows the messages of a turn, but for the agent's own, instead of their text.

    Observation: ``Messages(max_length)``, a tuple of mappings with ``role`` and ``content``. The reset info also has ``tools``,
    a tuple of OpenAI's tool schemas.

    Args:
        env: a tool environment.
        max_length: characters of the messages' JSON, at most; longer contents are cut.

    Raises:
        ValueError: ``max_length`` is below 1000.
    """

    def __init__(self, env: gym.Env[Any, Any], max_length: int = 32768) -> None:
        if isinstance(max_length, bool) or not isinstance(max_length, int) or max_length < 1000:
            raise ValueError(f"max_length is {max_length!r}; allowed: a whole number from 1000")
        gym.utils.RecordConstructorArgs.__init__(self, max_length=max_length)
        gym.Wrapper.__init__(self, env)
        self.observation_space = Messages(max_length)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Resets the environment and shows its first messages."""
        _, info = self.env.reset(seed=seed, options=options)
        return self._shown(info), info | {"tools": copy.deepcopy(self.env.get_wrapper_attr("tools").schemas())}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """One turn."""
        _, reward, terminated, truncated, info = self.env.step(action)
        return self._shown(info), reward, terminated, truncated, info

    def _shown(self, info: dict[str, Any]) -> tuple[dict[str, Any], ...]:
        shown = tuple(dict(m) for m in info["messages"] if m["role"] != "assistant")
        room = self.observation_space
        most = 8000
        while shown not in room and most:
            shown, most = tuple(m | {"content": m["content"][:most]} for m in shown), most // 2
        return shown
