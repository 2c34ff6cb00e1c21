"""``to_sb3``: a game as a Stable-Baselines3 ``VecEnv`` of its agents."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from .lanes import Games, Lanes, mask


def to_sb3(games: Games, num_envs: int | None = None) -> GameVecEnv:
    """Copies of a game as one SB3 vector environment with a lane for each agent of each copy (shared parameters).

    Lane ``k * agents + i`` is agent ``i`` of copy ``k`` in the order of ``possible_agents``; ``.lanes`` lists the pairs
    ``(copy, agent)``. A lane is done when its copy's game is over for everyone. The info then holds ``terminal_observation``;
    ``TimeLimit.truncated`` is true where the agent's own last step was truncated and not terminated.

    Lanes of agents that have left early are padded as by ``black_death``: zeros, reward 0, ``info["padding"]`` True, and
    ``info["left"]`` at the agent's own last step. SB3 has no way to leave such steps out: it trains on them, with rewards of
    0 and observations of zeros whose value it learns to be 0. Returns of episodes stay right, lengths count the padding. A
    trainer of your own drops steps with ``padding`` and takes the step with ``left`` for the last. Games in which agents
    often leave early spend much of a rollout on padding.

    ``MaskablePPO`` finds masks in the observation's ``action_mask`` or in ``info["action_mask"]``; a lane without one may do
    anything. Masks in infos are seen from the first ``reset`` on. ``seed(s)`` gives copy ``k`` the seed ``s + k`` at the next
    reset. ``get_attr`` and ``env_method`` reach the copies' games, the latter once a copy.

    Args:
        games: a ``ParallelEnv``, a function that makes one, or a list of functions.
        num_envs: copies of the game (with one function), None for one or for the length of the list.

    Returns:
        The vector environment: rewards ``(lanes,)`` float32, dones ``(lanes,)`` bool, new arrays at every step.

    Raises:
        TypeError: no ``ParallelEnv``.
        ValueError: agents with different spaces (names ``pad_observations`` or ``pad_actions``), text, or a bad setting.
    """
    return GameVecEnv(Lanes("to_sb3", games, num_envs))


class GameVecEnv(VecEnv):
    """See ``to_sb3``."""

    def __init__(self, lanes: Lanes) -> None:
        self.core, self.lanes = lanes, lanes.pairs
        self._obs: list[Any] = [None] * len(lanes.pairs)
        self._infos: list[dict[str, Any]] = [{} for _ in lanes.pairs]
        self._actions: Any = None
        super().__init__(len(lanes.pairs), lanes.space, lanes.actions)

    def _fresh(self, k: int) -> None:
        n = len(self.core.agents)
        lanes = slice(k * n, k * n + n)
        self._obs[lanes], infos = self.core.reset(k, self._seeds[lanes.start], self._options[lanes.start] or None)
        self._infos[lanes] = infos
        self.reset_infos[lanes] = [dict(info) for info in infos]

    def reset(self) -> Any:
        """Resets all copies; infos are in ``reset_infos``. Seeds and options hold for one reset."""
        for k in range(len(self.core.games)):
            self._fresh(k)
        self._reset_seeds()
        self._reset_options()
        return self.core.batch(self._obs)

    def step_async(self, actions: Any) -> None:
        """Keeps the actions for ``step_wait``."""
        self._actions = actions

    def step_wait(self) -> tuple[Any, Any, Any, list[dict[str, Any]]]:
        """Steps all copies; those whose game is over begin a new one."""
        rewards, dones = np.zeros(self.num_envs, np.float32), np.zeros(self.num_envs, np.bool_)
        told: list[dict[str, Any]] = []
        n = len(self.core.agents)
        for k in range(len(self.core.games)):
            lanes = slice(k * n, k * n + n)
            obs, rewards[lanes], terminated, truncated, infos = self.core.step(k, self._actions[lanes])
            self._obs[lanes], self._infos[lanes] = obs, infos
            infos = [
                {**info, "TimeLimit.truncated": bool(c and not t)} for info, t, c in zip(infos, terminated, truncated)
            ]
            if self.core.over(k):
                dones[lanes] = True
                for info, o in zip(infos, obs):
                    info["terminal_observation"] = o
                self._fresh(k)
            told += infos
        return self.core.batch(self._obs), rewards, dones, told

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """One seed a copy, ``seed + k``, for the next reset; all lanes of a copy show the same."""
        if seed is None:
            seed = int(np.random.SeedSequence().generate_state(1)[0])
        self._seeds = [s for s in self.core.seeds(seed) for _ in self.core.agents]
        return self._seeds

    def action_masks(self) -> list[Any]:
        """A bool array a lane: what it may do now.

        Raises:
            AttributeError: nothing publishes a mask (SB3 asks so whether masking is supported).
        """
        found = [mask(obs, info) for obs, info in zip(self._obs, self._infos)]
        if all(m is None for m in found):
            raise AttributeError("no lane has an action_mask, in its observation or its info")
        size = next(len(m) for m in found if m is not None)
        return [np.ones(size, np.bool_) if m is None else np.asarray(m, np.bool_) for m in found]

    def _games(self, indices: Any) -> list[tuple[int, int]]:
        """(lane, copy) of each index."""
        which: Iterable[int] = self._get_indices(indices)
        return [(i, i // len(self.core.agents)) for i in which]

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """The attribute of each lane's game; ``action_masks`` is ours, ``render_mode`` may be missing."""
        if attr_name == "action_masks":
            if self._obs[0] is None and "action_mask" not in getattr(self.observation_space, "spaces", ()):
                raise AttributeError("there is no action_mask in the observations, and infos are known after reset()")
            if self._obs[0] is not None:
                self.action_masks()
            return [lambda i=i: self.action_masks()[i] for i, _ in self._games(indices)]
        games = self.core.games
        if attr_name == "render_mode":
            return [getattr(games[k], attr_name, None) for _, k in self._games(indices)]
        return [getattr(games[k], attr_name) for _, k in self._games(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Sets the attribute of the games themselves, inside their wrappers."""
        for k in dict.fromkeys(k for _, k in self._games(indices)):
            setattr(self.core.games[k].unwrapped, attr_name, value)

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        """Calls a method of the games, once a copy; each lane of the copy gets its answer."""
        pairs = self._games(indices)
        if method_name == "action_masks":
            masks = self.action_masks()
            return [masks[i] for i, _ in pairs]
        found = {
            k: getattr(self.core.games[k], method_name)(*method_args, **method_kwargs)
            for k in dict.fromkeys(k for _, k in pairs)
        }
        return [found[k] for _, k in pairs]

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Whether such a wrapper stands around the lane's game."""
        return [_wrapped(self.core.games[k], wrapper_class) for _, k in self._games(indices)]

    def get_images(self) -> list[Any]:
        """What each copy renders."""
        return [game.render() for game in self.core.games]

    def close(self) -> None:
        """Closes all copies."""
        self.core.close()


def _wrapped(env: Any, kind: type) -> bool:
    while env is not None:
        if isinstance(env, kind):
            return True
        env = getattr(env, "__dict__", {}).get("env")
    return False
