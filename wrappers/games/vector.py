"""``to_gymnasium``: a game as a ``gymnasium.vector.VectorEnv`` of its agents."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space, iterate

from .base import choice
from .lanes import Games, Lanes


def to_gymnasium(
    games: Games, num_envs: int | None = None, autoreset_mode: str | AutoresetMode = "NextStep"
) -> VectorEnv:
    """Copies of a game as one Gymnasium vector environment with a lane for each agent of each copy (shared parameters).

    ``num_envs`` of the result is ``copies * agents``; lane ``k * agents + i`` is agent ``i`` of copy ``k`` in the order of
    ``possible_agents``, and ``.lanes`` lists the pairs ``(copy, agent)``. A lane's episode is its copy's game: it ends for all
    of them at the step at which the last agent leaves, each with the flags of its own last step. Lanes of agents that have
    left early, or have not come yet, are padded as by ``black_death``: zeros, reward 0.0, ``infos["padding"]`` True; at an
    agent's own last step ``infos["left"]`` says how it left. A trainer leaves padding out of its loss and takes the step with
    ``left`` for the lane's last.

    Resets are Gymnasium's own, for all lanes of a copy together: NEXT_STEP (the next step only resets: reward 0, actions
    ignored), SAME_STEP (``infos["final_obs"]`` and ``infos["final_info"]``) or DISABLED (``options["reset_mask"]``, a bool
    array over lanes, whole copies). ``reset(seed=s)`` gives copy ``k`` the seed ``s + k``; a list has one seed a copy.

    Args:
        games: a ``ParallelEnv``, a function that makes one, or a list of functions.
        num_envs: copies of the game (with one function), None for one or for the length of the list.
        autoreset_mode: ``"NextStep"``, ``"SameStep"`` or ``"Disabled"``, also as ``AutoresetMode``.

    Returns:
        The vector environment: rewards ``(lanes,)`` float64, flags ``(lanes,)`` bool, new arrays at every step.

    Raises:
        TypeError: no ``ParallelEnv``.
        ValueError: agents with different spaces (names ``pad_observations`` or ``pad_actions``), text, or a bad setting.
    """
    known = tuple(m.value for m in AutoresetMode)
    mode = AutoresetMode(choice("autoreset_mode", getattr(autoreset_mode, "value", autoreset_mode), known))
    return GameVectorEnv(Lanes("to_gymnasium", games, num_envs), mode)


class GameVectorEnv(VectorEnv):
    """See ``to_gymnasium``."""

    def __init__(self, lanes: Lanes, mode: AutoresetMode) -> None:
        self.core, self.mode, self.envs = lanes, mode, lanes.games
        self.lanes, self.num_envs = lanes.pairs, len(lanes.pairs)
        self.metadata = {**getattr(lanes.games[0], "metadata", {}), "autoreset_mode": mode}
        self.render_mode = getattr(lanes.games[0], "render_mode", None)
        self.single_observation_space, self.single_action_space = lanes.space, lanes.actions
        self.observation_space = batch_space(lanes.space, self.num_envs)
        self.action_space = batch_space(lanes.actions, self.num_envs)
        self._over = [False] * len(lanes.games)
        self._obs: list[Any] = [None] * self.num_envs

    def _of(self, k: int) -> slice:
        n = len(self.core.agents)
        return slice(k * n, k * n + n)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Resets all copies, or those whose lanes ``options["reset_mask"]`` names.

        Raises:
            ValueError: another number of seeds than copies, or a mask that is none or cuts a copy in two.
        """
        seeds, options, which = self.core.seeds(seed), dict(options or {}), [True] * len(self._over)
        if "reset_mask" in options:
            which = self._copies(options.pop("reset_mask"))
        infos: dict[str, Any] = {}
        for k, wanted in enumerate(which):
            if wanted:
                self._over[k] = False
                infos = self._fresh(k, seeds[k], options or None, infos)
        return self.core.batch(self._obs), infos

    def _copies(self, mask: Any) -> list[bool]:
        if (
            not isinstance(mask, np.ndarray)
            or mask.dtype != np.bool_
            or mask.shape != (self.num_envs,)
            or not mask.any()
        ):
            raise ValueError(
                f"reset_mask is {mask!r}; allowed: a bool array of shape ({self.num_envs},) with a True in it"
            )
        rows = mask.reshape(len(self._over), -1)
        if (rows.any(1) != rows.all(1)).any():
            raise ValueError(
                f"reset_mask is {mask!r}; allowed: all {rows.shape[1]} lanes of a copy or none, they play one game"
            )
        return [bool(x) for x in rows[:, 0]]

    def _fresh(self, k: int, seed: int | None, options: Any, infos: dict[str, Any]) -> dict[str, Any]:
        lanes = self._of(k)
        self._obs[lanes], own = self.core.reset(k, seed, options)
        for i, info in enumerate(own, lanes.start):
            infos = self._add_info(infos, info, i)
        return infos

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Steps all copies.

        Raises:
            RuntimeError: a copy's game is over and autoreset is disabled.
        """
        rewards = np.zeros(self.num_envs)
        infos: dict[str, Any] = {}
        terminated, truncated = np.zeros(self.num_envs, np.bool_), np.zeros(self.num_envs, np.bool_)
        each = list(iterate(self.action_space, actions))
        for k, over in enumerate(self._over):
            lanes = self._of(k)
            if over and self.mode == AutoresetMode.NEXT_STEP:
                self._over[k] = False
                infos = self._fresh(k, None, None, infos)
                continue
            if over:
                raise RuntimeError(
                    f'the game of copy {k} is over: call reset(options={{"reset_mask": ...}}) before step()'
                )
            obs, rewards[lanes], terminated[lanes], truncated[lanes], own = self.core.step(k, each[lanes])
            if not self.core.over(k):
                self._obs[lanes] = obs
            elif self.mode == AutoresetMode.SAME_STEP:
                own = [{"final_obs": o, "final_info": info} for o, info in zip(obs, own)]
                infos = self._tell(infos, own, lanes.start)
                infos = self._fresh(k, None, None, infos)
                continue
            else:
                self._obs[lanes], self._over[k] = obs, True
            infos = self._tell(infos, own, lanes.start)
        return self.core.batch(self._obs), rewards, terminated, truncated, infos

    def _tell(self, infos: dict[str, Any], own: list[dict[str, Any]], start: int) -> dict[str, Any]:
        for i, info in enumerate(own, start):
            infos = self._add_info(infos, info, i)
        return infos

    def render(self) -> tuple[Any, ...]:
        """What each copy renders."""
        return tuple(game.render() for game in self.core.games)

    def close_extras(self, **kwargs: Any) -> None:
        """Closes all copies."""
        self.core.close()
