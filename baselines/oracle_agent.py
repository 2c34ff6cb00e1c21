"""The scripted expert: asks the environment for the next action of a plan that solves the task."""

from __future__ import annotations

from typing import Any

import gymnasium as gym


class OracleAgent:
    """Plays ``env.oracle()``. It must act in the environment that it was made for.

    Args:
        env: an environment with ``oracle()``, wrapped or not.

    Raises:
        ValueError: the environment has no oracle.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        if not env.has_wrapper_attr("oracle"):
            raise ValueError(f"{env.unwrapped.spec.id if env.unwrapped.spec else env} has no oracle")
        self._next = env.get_wrapper_attr("oracle")
        # the faces for agents without words say themselves where a command stands
        self._index = env.get_wrapper_attr("index_of") if env.has_wrapper_attr("index_of") else None

    def act(self, obs: Any, info: dict[str, Any]) -> Any:
        """The next command of the plan; on the encoded face its index."""
        command = self._next()
        return command if self._index is None else self._index(command)
