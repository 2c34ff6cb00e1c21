"""What the faces for agents without words share: an index in, arrays out, snapshots with what can be done."""

from __future__ import annotations

import operator
from typing import Any

import gymnasium as gym


class Indexed(gym.Wrapper[Any, Any, Any, Any], gym.utils.RecordConstructorArgs):
    """Turns an index into a command, and what the text environment says into arrays.

    A subclass writes ``_command(index) -> command`` (empty for what cannot be done) and ``_shown(text, info) ->
    (observation, info)``, which sets ``_choices``.

    Args:
        env: a text environment that publishes ``info["admissible_actions"]``.
        **settings: of the subclass, as it was made.
    """

    what = "an action is the index of a row"

    def __init__(self, env: gym.Env[Any, Any], **settings: Any) -> None:
        gym.utils.RecordConstructorArgs.__init__(self, **settings)
        gym.Wrapper.__init__(self, env)
        self._choices: tuple[str, ...] = ()  # the commands that can be given now

    def _command(self, i: int) -> str:
        raise NotImplementedError

    def _shown(self, text: str, info: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        raise NotImplementedError

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Resets the environment and shows its first state."""
        return self._shown(*self.env.reset(seed=seed, options=options))

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Gives the command that the index stands for.

        Raises:
            TypeError: the action is no whole number.
        """
        try:
            i = operator.index(action)
        except TypeError:
            raise TypeError(f"{self.what}, a whole number, not {action!r}") from None
        text, reward, terminated, truncated, info = self.env.step(self._command(i))
        obs, info = self._shown(text, info)
        return obs, reward, terminated, truncated, info

    def index_of(self, command: str) -> int:
        """The index that stands for a command of those that can be given now.

        Raises:
            ValueError: it is none of them.
        """
        return self._choices.index(command)

    def snapshot(self) -> dict[str, Any]:
        """The environment's snapshot, and what can be done."""
        return {"inner": self.env.get_wrapper_attr("snapshot")(), "choices": self._choices}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Goes back to it."""
        self.env.get_wrapper_attr("restore")(snapshot["inner"])
        self._choices = snapshot["choices"]
