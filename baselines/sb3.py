"""Stable-Baselines3 on the encoded face: PPO, MaskablePPO, RecurrentPPO, DQN.

The policies score every row of ``obs["actions"]`` with the same weights, so that what is learnt carries over to worlds whose
admissible actions stand in another order. RecurrentPPO keeps SB3's own network behind its LSTM.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import torch
from gymnasium.spaces import Dict
from sb3_contrib import MaskablePPO, RecurrentPPO
from sb3_contrib.common.maskable.policies import MaskableMultiInputActorCriticPolicy
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.policies import MultiInputActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.dqn.policies import MultiInputPolicy as DQNPolicy
from torch import Tensor, nn

from ..envs.text.encode import Encode
from ..wrappers.hosts import inner_stack
from ..wrappers.hosts.env import ShapedEnv
from ..wrappers.shaper import nearest
from .credit import Credit, refuse_late

STATE = 64  # features of the state in front of the scores


class ActionScores(BaseFeaturesExtractor):
    """``(batch, STATE + max_actions)``: features of the state, then a score for every action (very low where masked)."""

    def __init__(self, observation_space: Dict, hidden: int = 64) -> None:
        rows, width = observation_space["actions"].shape or (0, 0)
        super().__init__(observation_space, STATE + rows)
        size = int(np.prod(observation_space["observation"].shape or (0,)))
        self.state = nn.Sequential(nn.Linear(size, STATE), nn.Tanh())
        self.score = nn.Sequential(nn.Linear(STATE + width, hidden), nn.Tanh(), nn.Linear(hidden, 1))

    def forward(self, obs: dict[str, Tensor]) -> Tensor:
        """Scores rows with shared weights."""
        state = self.state(obs["observation"].flatten(1))
        rows = obs["actions"]
        own = state.unsqueeze(1).expand(-1, rows.shape[1], -1)
        scores = self.score(torch.cat([own, rows], 2)).squeeze(2)
        return torch.cat([state, scores.masked_fill(obs["action_mask"] < 0.5, -1e6)], 1)


class _Scores(nn.Module):
    def forward(self, features: Tensor) -> Tensor:
        return features[:, STATE:]


class _State(nn.Module):
    """The critic sees the state, not the scores."""

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Sequential(nn.Linear(STATE, 64), nn.Tanh(), nn.Linear(64, 1))

    def forward(self, features: Tensor) -> Tensor:
        out: Tensor = self.value(features[:, :STATE])
        return out


class _Scoring:
    """Puts the scores where SB3 has a linear layer over the features."""

    def _build(self, lr_schedule: Any) -> None:
        super()._build(lr_schedule)  # type: ignore[misc]
        self.action_net, self.value_net = _Scores(), _State()
        self.optimizer = self.optimizer_class(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)  # type: ignore[attr-defined]


class ScoringPolicy(_Scoring, MultiInputActorCriticPolicy):  # type: ignore[misc]
    """For PPO."""


class MaskedScoringPolicy(_Scoring, MaskableMultiInputActorCriticPolicy):  # type: ignore[misc]
    """For MaskablePPO."""


class ScoringDQNPolicy(DQNPolicy):
    """For DQN: the scores are the action values."""

    def make_q_net(self) -> Any:
        """SB3's network with its last layers replaced."""
        net = super().make_q_net()
        net.q_net = _Scores()  # type: ignore[assignment]
        return net


_SCORES: dict[str, Any] = {"features_extractor_class": ActionScores, "net_arch": []}
_PPO: dict[str, Any] = {"n_steps": 512, "batch_size": 128, "n_epochs": 4, "learning_rate": 1e-3, "ent_coef": 0.01}
ALGORITHMS: dict[str, tuple[type[BaseAlgorithm], Any, dict[str, Any]]] = {
    "ppo": (PPO, ScoringPolicy, _PPO | {"policy_kwargs": _SCORES}),
    "maskable_ppo": (MaskablePPO, MaskedScoringPolicy, _PPO | {"policy_kwargs": _SCORES}),
    "recurrent_ppo": (RecurrentPPO, "MultiInputLstmPolicy", {"n_steps": 256, "batch_size": 128, "learning_rate": 1e-3}),
    "dqn": (
        DQN,
        ScoringDQNPolicy,
        {
            "learning_rate": 5e-4,
            "buffer_size": 20_000,
            "learning_starts": 500,
            "train_freq": 2,
            "target_update_interval": 500,
            "exploration_fraction": 0.3,
            "policy_kwargs": _SCORES,
        },
    ),
}


def encoded(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
    """``env`` with the encoded face inside its stack, if it shows text.

    Raises:
        ValueError: the environment has neither numbers nor admissible actions to offer.
    """
    if not isinstance(env.action_space, gym.spaces.Text):
        return env
    if isinstance(env, ShapedEnv):
        return ShapedEnv(Encode(env.env), env.stack.spec(), env.stack.seed, env.stack.fact_spec)
    return Encode(env)


def make_sb3(name: str, env: gym.Env[Any, Any], seed: int = 0, **settings: Any) -> BaseAlgorithm:
    """An SB3 model with our defaults on an encoded environment.

    Args:
        name: ``ppo``, ``maskable_ppo``, ``recurrent_ppo`` or ``dqn``.
        env: Monitor inside, ``shape`` outside.
        seed: of the model.
        **settings: override the defaults of the model.

    Raises:
        ValueError: an unknown name, or layers that the algorithm cannot learn from.
    """
    if name not in ALGORITHMS:
        raise ValueError(f"no SB3 agent is called {name!r}{nearest(name, ALGORITHMS)} Known: {', '.join(ALGORITHMS)}")
    cls, policy, defaults = ALGORITHMS[name]
    if name == "dqn" and (stack := inner_stack(env)) is not None:
        refuse_late(stack)
    known = isinstance(env.observation_space, Dict) and "actions" in env.observation_space.spaces
    if policy in (ScoringPolicy, MaskedScoringPolicy, ScoringDQNPolicy) and not known:  # somebody's own environment
        policy = "MultiInputPolicy" if isinstance(env.observation_space, Dict) else "MlpPolicy"
        defaults = {k: v for k, v in defaults.items() if k != "policy_kwargs"}
    return cls(policy, env, seed=seed, **(defaults | settings))


class SB3Agent:
    """An SB3 model as an agent of ours: text environments are encoded, credit is trained on.

    Args:
        name: of the algorithm.
        env: what it will learn in, shaped or not.
        seed: of the model.
        log: folder of TensorBoard files, or None.
        progress: show SB3's progress bar.
        **settings: of the model.
    """

    SUFFIX: ClassVar[str] = ".zip"

    def __init__(
        self,
        name: str,
        env: gym.Env[Any, Any],
        seed: int = 0,
        log: str | None = None,
        progress: bool = False,
        **settings: Any,
    ) -> None:
        self.name, self.progress, self.steps = name, progress, 0
        self.env = self._inside(env)
        self.model = make_sb3(name, self.env, seed, tensorboard_log=log, **settings)
        self._memory: Any = None
        self._encoder: Encode | None = None

    @staticmethod
    def _inside(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
        """The encoded face, with a Monitor between environment and stack."""
        env = encoded(env)
        if isinstance(env, ShapedEnv):
            return ShapedEnv(Monitor(env.env), env.stack.spec(), env.stack.seed, env.stack.fact_spec)
        return Monitor(env)

    def reset(self, seed: int | None = None) -> None:
        """Begins an episode: forgets the recurrent state."""
        self._memory = None
        if seed is not None:
            self.model.set_random_seed(seed)

    def act(self, obs: Any, info: dict[str, Any]) -> Any:
        """An index on the encoded face, a command on the text face."""
        text = isinstance(obs, str)
        shown = self._encode(obs, info) if text else obs
        kw: dict[str, Any] = {}
        if self.name == "maskable_ppo":
            kw["action_masks"] = np.asarray(shown["action_mask"], bool)
        start = np.array([self._memory is None])
        if self.name == "recurrent_ppo":
            kw |= {"state": self._memory, "episode_start": start}
        action, memory = self.model.predict(shown, deterministic=self.name == "dqn", **kw)
        self._memory = memory
        i = int(action)
        choices = sorted(info.get("admissible_actions", ()))
        return (choices[i] if i < len(choices) else choices[0]) if text else i

    def _encode(self, obs: str, info: dict[str, Any]) -> Any:
        if self._encoder is None:
            inner = self.env
            while not isinstance(inner, Encode):
                inner = inner.env  # type: ignore[attr-defined]
            self._encoder = inner
        return self._encoder.features(obs, info["admissible_actions"])

    def learn(self, env: gym.Env[Any, Any], steps: int) -> list[dict[str, float]]:
        """Goes on learning in the environment that it was made for, for ``steps`` steps."""
        credit = Credit()
        fresh = self.steps == 0
        self.model.learn(steps, callback=credit, reset_num_timesteps=fresh, progress_bar=self.progress)
        self.steps += steps
        return [credit.last]

    def save(self, path: str | Path) -> None:
        """SB3's own zip."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self.model.save(str(path))

    @classmethod
    def load(cls, path: str | Path, env: gym.Env[Any, Any]) -> SB3Agent:
        """An agent from SB3's zip.

        Raises:
            ValueError: the file is there for none of our algorithms.
        """
        agent = cls.__new__(cls)
        agent.progress, agent._memory, agent._encoder = False, None, None
        agent.env = cls._inside(env)
        errors = []
        for name, (algorithm, policy, _) in ALGORITHMS.items():
            try:
                model = algorithm.load(str(path), env=agent.env)
            except Exception as e:  # another algorithm's file
                errors.append(f"{name}: {type(e).__name__}")
                continue
            wanted = policy if isinstance(policy, type) else algorithm.policy_aliases.get(policy, nn.Module)
            if isinstance(model.policy, (wanted, *_plain_policies(algorithm))):
                agent.name, agent.model, agent.steps = name, model, int(model.num_timesteps)
                return agent
        raise ValueError(f"{path} is no model of {', '.join(ALGORITHMS)} ({'; '.join(errors)})")


def _plain_policies(algorithm: type[BaseAlgorithm]) -> tuple[type, ...]:
    return tuple(algorithm.policy_aliases.values())
