"""Stable-Baselines3 on the encoded face: PPO, MaskablePPO, RecurrentPPO, DQN.

The policies score every row of ``obs["actions"]`` with the same weights, so that what is learnt carries over to worlds whose
admissible actions stand in another order. RecurrentPPO's LSTM reads the observation; its output takes part in the scores.
Environments without such rows get SB3's own networks.
"""

from __future__ import annotations

import inspect
import json
import os
import tempfile
import zipfile
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import torch
from gymnasium.spaces import Dict, Discrete
from sb3_contrib import MaskablePPO, RecurrentPPO
from sb3_contrib.common.maskable.policies import MaskableMultiInputActorCriticPolicy
from sb3_contrib.common.recurrent.policies import RecurrentMultiInputActorCriticPolicy
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import is_wrapped
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.policies import MultiInputActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.dqn.policies import MultiInputPolicy as DQNPolicy
from torch import Tensor, nn

from ..envs.text.encode import Encode
from ..wrappers.hosts import inner_stack
from ..wrappers.hosts.env import ShapedEnv
from ..wrappers.shaper import nearest
from .checkpoint import load_checkpoint, save_checkpoint
from .credit import Credit, refuse_late, stacks_of
from .sb3_settings import check_numbers

STATE = 64  # features of the state in front of the scores
NOTE = "milepost.pt"  # our part of SB3's zip
FORMAT = 1  # of that part


class Rows(BaseFeaturesExtractor):
    """``(batch, STATE + rows * width + rows)``: features of the state, then the actions' own, then which are there."""

    def __init__(self, observation_space: Dict) -> None:
        rows, width = observation_space["actions"].shape or (0, 0)
        super().__init__(observation_space, STATE + rows * width + rows)
        size = int(np.prod(observation_space["observation"].shape or (0,)))
        self.state = nn.Sequential(nn.Linear(size, STATE), nn.Tanh())

    def forward(self, obs: dict[str, Tensor]) -> Tensor:
        """Only the observation is transformed."""
        state = self.state(obs["observation"].flatten(1))
        return torch.cat([state, obs["actions"].flatten(1), obs["action_mask"].float()], 1)


class Scorer(nn.Module):
    """``(batch, rows)``: a score for every row of ``Rows``' output (or with an LSTM's in place of the state)."""

    def __init__(self, state: int, rows: int, width: int, hidden: int = 64) -> None:
        super().__init__()
        self.size, self.rows = state, rows
        self.score = nn.Sequential(nn.Linear(state + width, hidden), nn.Tanh(), nn.Linear(hidden, 1))

    def forward(self, features: Tensor) -> Tensor:
        """Scores with shared weights; rows without an action are far below all others."""
        state, mask = features[:, : self.size], features[:, -self.rows :] > 0.5
        rows = features[:, self.size : -self.rows].reshape(len(features), self.rows, -1)
        own = state.unsqueeze(1).expand(-1, self.rows, -1)
        scores = self.score(torch.cat([own, rows], 2)).squeeze(2)
        # after a failure of the infrastructure no action is there: no number this low may reach a target then
        out: Tensor = scores.masked_fill(~mask & mask.any(1, keepdim=True), -1e6)
        return out


class Critic(nn.Module):
    """The value of the state: it does not see the actions."""

    def __init__(self, state: int) -> None:
        super().__init__()
        self.size = state
        self.value = nn.Sequential(nn.Linear(state, 64), nn.Tanh(), nn.Linear(64, 1))

    def forward(self, features: Tensor) -> Tensor:
        """``(batch, 1)``."""
        out: Tensor = self.value(features[:, : self.size])
        return out


def _scorer(space: Any, state: int) -> Scorer:
    return Scorer(state, *space["actions"].shape)


class _Scoring:
    """Puts the scores where SB3 has a linear layer over the features."""

    def _build(self, lr_schedule: Any) -> None:
        super()._build(lr_schedule)  # type: ignore[misc]
        size = getattr(self, "lstm_output_dim", STATE)
        self.action_net, self.value_net = _scorer(self.observation_space, size), Critic(size)  # type: ignore[attr-defined]
        self.optimizer = self.optimizer_class(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)  # type: ignore[attr-defined]


class ScoringPolicy(_Scoring, MultiInputActorCriticPolicy):  # type: ignore[misc]
    """For PPO."""


class MaskedScoringPolicy(_Scoring, MaskableMultiInputActorCriticPolicy):  # type: ignore[misc]
    """For MaskablePPO."""


class RecurrentScoringPolicy(_Scoring, RecurrentMultiInputActorCriticPolicy):  # type: ignore[misc]
    """For RecurrentPPO: the LSTMs read the state, the actions pass by them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **({"lstm_hidden_size": 64} | kwargs))
        layers, _, hidden = self.lstm_hidden_state_shape
        self.lstm_actor = nn.LSTM(STATE, hidden, layers)
        if self.lstm_critic is not None:
            self.lstm_critic = nn.LSTM(STATE, hidden, layers)
        kw: Any = {"lr": self.optimizer.param_groups[0]["lr"]} | self.optimizer_kwargs
        self.optimizer = self.optimizer_class(self.parameters(), **kw)

    @staticmethod
    def _process_sequence(features: Tensor, lstm_states: Any, episode_starts: Tensor, lstm: nn.LSTM) -> Any:
        process = RecurrentMultiInputActorCriticPolicy._process_sequence
        out, states = process(features[:, :STATE], lstm_states, episode_starts, lstm)
        return torch.cat([out, features[:, STATE:]], 1), states


class ScoringDQNPolicy(DQNPolicy):
    """For DQN: the scores are the action values."""

    def make_q_net(self) -> Any:
        """SB3's network with its last layers replaced."""
        net = super().make_q_net()
        net.q_net = _scorer(self.observation_space, STATE)  # type: ignore[assignment]
        return net


class MaskedDQN(DQN):
    """SB3's DQN that explores among the actions that are there, if the observation says which."""

    def _sample_action(self, learning_starts: int, action_noise: Any = None, n_envs: int = 1) -> Any:
        known = isinstance(self.observation_space, Dict) and "action_mask" in self.observation_space.spaces
        return super()._sample_action(0 if known else learning_starts, action_noise, n_envs)  # 0: asks predict

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[Any, Any]:
        """Epsilon-greedy, within the mask."""
        mask = observation.get("action_mask") if isinstance(observation, dict) else None
        if mask is None or deterministic or np.random.rand() >= self.exploration_rate:
            return super().predict(observation, state, episode_start, deterministic or mask is not None)
        many = np.asarray(mask, np.int8).reshape(-1, int(self.action_space.n))  # type: ignore[attr-defined]
        actions = np.array([self.action_space.sample(m) for m in many])
        return (actions if np.ndim(mask) > 1 else actions[0]), state


_SCORES: dict[str, Any] = {"features_extractor_class": Rows, "net_arch": []}
_PPO: dict[str, Any] = {"n_steps": 512, "batch_size": 128, "n_epochs": 4, "learning_rate": 1e-3, "ent_coef": 0.01}
_DQN: dict[str, Any] = {
    "learning_rate": 5e-4,
    "buffer_size": 20_000,
    "learning_starts": 500,
    "train_freq": 2,
    "target_update_interval": 500,
    "exploration_fraction": 0.3,
    "gamma": 0.9,  # at 0.99 the values of neighbouring states are too alike for a greedy choice on sparse Quest-easy
}
# Name: algorithm, policy of the encoded face, and our defaults. With them, on the sparse Quest-easy, 100 held-out worlds
# (random 0.17, oracle 1.00), all four reach 1.00 after 8,192 steps; after 4,096 MaskablePPO 0.99 to 1.00, DQN 0.62 to 1.00.
ALGORITHMS: dict[str, tuple[type[BaseAlgorithm], type[Any], dict[str, Any]]] = {
    "ppo": (PPO, ScoringPolicy, _PPO),
    "maskable_ppo": (MaskablePPO, MaskedScoringPolicy, _PPO),
    "recurrent_ppo": (RecurrentPPO, RecurrentScoringPolicy, _PPO),
    "dqn": (MaskedDQN, ScoringDQNPolicy, _DQN),
}


def encoded(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
    """``env`` with the encoded face around it, if it shows text: layers inside go on seeing the text."""
    return Encode(env) if isinstance(env.action_space, gym.spaces.Text) else env


def make_sb3(name: str, env: gym.Env[Any, Any] | VecEnv, seed: int = 0, **settings: Any) -> BaseAlgorithm:
    """An SB3 model with our defaults on an encoded (or on somebody's own) environment.

    Args:
        name: ``ppo``, ``maskable_ppo``, ``recurrent_ppo`` or ``dqn``.
        env: Monitor inside, ``shape`` outside; or a ``VecEnv`` of such.
        seed: of the model.
        **settings: of the model, before our defaults; ``policy_kwargs`` are added to ours.

    Raises:
        ValueError: an unknown name or setting, a value that is not allowed (with what SB3 says of it), layers that the
            algorithm cannot learn from, or no masks for MaskablePPO.
    """
    if name not in ALGORITHMS:
        raise ValueError(f"no SB3 agent is called {name!r}{nearest(name, ALGORITHMS)} Known: {', '.join(ALGORITHMS)}")
    cls, policy, defaults = ALGORITHMS[name]
    allowed = [k for k in inspect.signature(cls.__init__).parameters if k not in ("self", "policy", "env", "seed")]
    for key in settings:
        if key not in allowed:
            raise ValueError(f"{name} has no setting {key!r}{nearest(key, allowed)} It has: {', '.join(allowed)}")
    check_numbers(name, settings)
    if name == "dqn":
        for stack in stacks_of(env):
            refuse_late(stack)
    masks = env.has_attr("action_masks") if isinstance(env, VecEnv) else env.has_wrapper_attr("action_masks")
    if name == "maskable_ppo" and not masks:
        raise ValueError("maskable_ppo asks the environment for action_masks(), and this one has none: use ppo")
    space = env.observation_space
    chosen: Any = policy
    if isinstance(space, Dict) and {"observation", "actions", "action_mask"} <= set(space.spaces):
        more = settings.get("policy_kwargs") or {}
        if fixed := [k for k in _SCORES if k in more]:
            raise ValueError(f"{policy.__name__} scores the rows of actions itself: leave out policy_kwargs {fixed}")
        settings = settings | {"policy_kwargs": _SCORES | more}
    else:  # somebody's own environment: what was found on ours says nothing about it
        defaults = {k: v for k, v in defaults.items() if k != "gamma"}
        kind = "MultiInput" if isinstance(space, Dict) else "Mlp"
        chosen = f"{kind}LstmPolicy" if name == "recurrent_ppo" else f"{kind}Policy"
    given: dict[str, Any] = {"device": "cpu"} | defaults | settings  # small networks are faster there
    try:
        model = cls(chosen, env, seed=seed, **given)
    except ImportError:
        raise
    except Exception as e:  # SB3 says what is wrong by assertions, TypeErrors and whatever torch raises
        raise ValueError(f"{name}: {' '.join(str(e).split()) or type(e).__name__}") from e
    _check_discount(model, env)
    return model


def _check_discount(model: Any, env: gym.Env[Any, Any] | VecEnv) -> None:
    for stack in stacks_of(env):
        stack.check_discount(model.gamma)


def _monitored(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
    """A Monitor nearest the environment, so that ``info["episode"]["r"]`` is the environment's own return."""
    if is_wrapped(env, Monitor):
        return env
    host: Any = env
    while host is not None and not isinstance(host, ShapedEnv):
        host = vars(host).get("env")
    if host is None:
        return Monitor(env)
    host.env = Monitor(host.env)  # in place: the stack (and its memory) stays the one that the caller holds
    return env


class SB3Agent:
    """An SB3 model as an agent of ours: text environments are encoded, credit is trained on.

    Args:
        name: of the algorithm.
        env: what it will learn in, shaped or not.
        seed: of the model.
        log: folder of TensorBoard files, or None.
        progress: show SB3's progress bar.
        **settings: of the model.

    Raises:
        ValueError: see ``make_sb3``.
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
        model = make_sb3(name, encoded(_monitored(env)), seed, tensorboard_log=log, **settings)
        self._set(name, model, env, seed, progress)

    def _set(self, name: str, model: BaseAlgorithm, env: gym.Env[Any, Any], seed: int, progress: bool) -> None:
        self.name, self.model, self.given, self.seed, self.progress = name, model, env, seed, progress
        self.credit = Credit()
        self.stack_state: dict[str, Any] | None = None  # of a loaded checkpoint, for the stack of the next learn()
        self._memory: Any = None
        self._acting = np.random.default_rng(seed)

    @property
    def steps(self) -> int:
        """Environment steps that it has learnt from: whole rollouts, so a few more than asked for."""
        return int(self.model.num_timesteps)

    @property
    def _stack(self) -> Any:
        return inner_stack(self.given)

    # -- acting ----------------------------------------------------------------------------------
    def reset(self, seed: int | None = None) -> None:
        """Begins an episode: forgets the recurrent state; with a seed, sampled actions repeat."""
        self._memory = None
        if seed is not None:
            self._acting = np.random.default_rng(seed)

    def act(self, obs: Any, info: dict[str, Any]) -> Any:
        """An index on the encoded face, a command on the text face, else an action of the environment's space."""
        text = isinstance(obs, str)
        shown = self._encoder.encoder.features(obs, info["admissible_actions"]) if text else obs
        kw: dict[str, Any] = {}
        if self.name == "maskable_ppo":
            mask = shown["action_mask"] if isinstance(shown, dict) and "action_mask" in shown else info["action_mask"]
            kw["action_masks"] = np.asarray(mask, bool)
        if self.name == "recurrent_ppo":
            kw |= {"state": self._memory, "episode_start": np.array([self._memory is None])}
        device = self.model.device
        with torch.random.fork_rng(
            devices=[device] if device.type == "cuda" else []
        ):  # acting leaves training as it is
            torch.manual_seed(int(self._acting.integers(2**63 - 1)))
            action, self._memory = self.model.predict(shown, deterministic=self.name == "dqn", **kw)
        if not isinstance(self.model.action_space, Discrete):
            return action
        i = int(action)
        if not text:
            return i
        choices = sorted(info["admissible_actions"])
        return choices[min(i, len(choices) - 1)] if choices else "look"

    @property
    def _encoder(self) -> Encode:
        env: Any = self.model.get_env().envs[0]  # type: ignore[union-attr]
        while not isinstance(env, Encode):
            env = env.env
        return env

    # -- learning --------------------------------------------------------------------------------
    def learn(self, env: gym.Env[Any, Any], steps: int) -> list[dict[str, float]]:
        """Goes on learning in ``env`` for at least ``steps`` steps; returns the means of the latest episodes.

        Raises:
            ValueError: the spaces of ``env`` are not those that the agent was made for, or a stack that ``Credit`` refuses.
        """
        if env is not self.given:
            self.model.set_env(encoded(_monitored(env)))
            self.given = env
            self._reseed()
            _check_discount(self.model, env)
        if self.stack_state is not None:
            if (stack := inner_stack(env)) is not None:
                stack.load_state_dict(self.stack_state)
            self.stack_state = None
        fresh = self.steps == 0
        self.model.learn(steps, callback=self.credit, reset_num_timesteps=fresh, progress_bar=self.progress)
        return [self.credit.last]

    def _reseed(self) -> None:
        """New random numbers after a break, not those of the start once more."""
        self.model.set_random_seed(self.seed + self.steps)

    # -- checkpoints -----------------------------------------------------------------------------
    def save(self, path: str | Path) -> None:
        """SB3's own zip, with the stack's memory, its spec and the versions added; a replay buffer is not saved."""
        path, stack = Path(path), inner_stack(self.given)
        path.parent.mkdir(parents=True, exist_ok=True)
        state = {
            "format": FORMAT,
            "name": self.name,
            "seed": self.seed,
            "progress": self.progress,
            "stack": stack.state_dict() if stack is not None and self.stack_state is None else self.stack_state,
            "stack_spec": None if stack is None else stack.spec(),
        }
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:  # a crash leaves the old file whole
            save_checkpoint(Path(folder) / NOTE, "sb3", state)
            self.model.save(Path(folder) / "model.zip")
            with zipfile.ZipFile(Path(folder) / "model.zip", "a") as z:
                z.write(Path(folder) / NOTE, NOTE)
            os.replace(Path(folder) / "model.zip", path)

    @classmethod
    def load(cls, path: str | Path, env: gym.Env[Any, Any], log: str | None = None, progress: bool = False) -> SB3Agent:
        """An agent from our zip or from one that SB3 wrote; it goes on learning, with the stack's memory.

        Args:
            path: the zip.
            env: to act or learn in; ``learn`` may be given another one.
            log: folder of TensorBoard files; None: the saved one.
            progress: show SB3's progress bar, whatever was saved.

        Raises:
            ValueError: the file is no model of our algorithms, or of other spaces than ``env`` has.
        """
        note = _note(path)
        name, seed = note["name"], note.get("seed", 0)
        model = ALGORITHMS[name][0].load(str(path), env=encoded(_monitored(env)), device="cpu")
        model.tensorboard_log = log or model.tensorboard_log
        agent = cls.__new__(cls)
        agent._set(name, model, env, seed, progress or note.get("progress", False))
        agent.stack_state = note.get("stack")
        agent._reseed()
        return agent


def _note(path: str | Path) -> dict[str, Any]:
    """Our part of a zip; of a zip that SB3 itself wrote, at least the ``name``."""
    if not Path(path).exists():
        raise ValueError(f"there is no checkpoint {path}")
    try:
        with zipfile.ZipFile(path) as z, tempfile.TemporaryDirectory() as folder:
            if NOTE in z.namelist():
                note = load_checkpoint(z.extract(NOTE, folder), "sb3")
                if note["format"] != FORMAT:
                    raise ValueError(f"{path} has checkpoint format {note['format']}, this version reads {FORMAT}")
                return note
            data = json.loads(z.read("data"))
    except (zipfile.BadZipFile, KeyError) as e:
        raise ValueError(f"{path} is no model that SB3 saved: {type(e).__name__}") from e
    if "clip_range" in data:  # the classes are pickled, their modules and attributes are in plain sight
        policy, buffer = data.get("policy_class") or {}, data.get("rollout_buffer_class") or {}
        modules = f"{policy.get('__module__')} {buffer.get('__module__')}"
        recurrent = "recurrent" in modules or "_process_sequence" in policy
        return {"name": "recurrent_ppo" if recurrent else "maskable_ppo" if "maskable" in modules else "ppo"}
    if "exploration_fraction" in data and "n_quantiles" not in str(data.get("policy_kwargs")):
        return {"name": "dqn"}
    raise ValueError(f"{path} is no model of {', '.join(ALGORITHMS)}")
