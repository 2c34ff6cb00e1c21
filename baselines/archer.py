"""ArCHer, light: a linear policy over utterances, trained by critics that learn from a replay buffer.

Each iteration plays ``episodes`` episodes, draws an action a~ of the current policy in every state of the replayed ones, fits
``UtteranceCritic`` to them, and then, after ``warm`` iterations, moves the policy ``actor_epochs`` times by REINFORCE with the
critics' advantages of actions that it draws in replayed states:  loss = - E[A(h, a) log pi(a | h)].

"ArCHer" (arXiv 2402.19446), with the numbers of the authors' code, but for 50 critic and 3 actor epochs over a part of the
buffer here, and steps sizes that suit linear functions. A policy over admissible commands has one log-probability an
utterance; the sum over its tokens is the language model's.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from ..wrappers.episode.archer import UtteranceCritic
from ..wrappers.shaper import check_settings
from ..wrappers.shaper import load as load_shaper
from ..wrappers.types import Trajectory
from .bilevel import RMSprop, gradient, pack
from .linear import LinearPolicy, play, settings_of, step_layers_only, valid


@dataclass
class ArcherSettings:
    """Numbers of a small run.

    Raises:
        ValueError: a setting outside its range.
    """

    episodes: int = 16
    """Played in an iteration; the paper has 128."""
    replay: int = 100_000
    """Steps that the buffer holds."""
    part: int = 512
    """Steps of the buffer that an iteration learns from, in whole episodes, the newest among them."""
    warm: int = 2
    """Iterations of the critics alone; the paper has 20."""
    actor_epochs: int = 3
    """Steps of the policy in an iteration."""
    lr: float = 0.03
    """Step of the policy (RMSprop)."""
    entropy: float = 0.01
    """Weight of the policy's entropy."""

    def __post_init__(self) -> None:
        check_settings(self, "archer")
        if min(self.episodes, self.replay, self.part, self.actor_epochs) < 1 or self.warm < 0:
            raise ValueError(
                f"archer: episodes is {self.episodes}, replay {self.replay}, part {self.part}, actor_epochs "
                f"{self.actor_epochs} "
                f"and warm {self.warm}; allowed: whole numbers from 1, warm from 0"
            )
        if not self.lr > 0 or not self.entropy >= 0:
            raise ValueError(f"archer: lr is {self.lr} and entropy {self.entropy}; allowed: above 0, and from 0")


class Archer:
    """Policy, critics and replay buffer.

    Args:
        env: what it acts in.
        critic: an ``UtteranceCritic`` or its spec; a copy is made. None: one with 10 passes.
        seed: of the actions and the critics.
        **settings: of ``ArcherSettings``.

    Raises:
        ValueError: an unknown setting, or one outside its range; an environment that a linear policy cannot act in.
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        critic: UtteranceCritic | Mapping[str, Any] | None = None,
        seed: int = 0,
        **settings: Any,
    ) -> None:
        self.settings = settings_of(ArcherSettings, "archer", settings)
        self.policy = LinearPolicy(env, seed=seed)
        layer = load_shaper(critic or UtteranceCritic(epochs=10))
        if not isinstance(layer, UtteranceCritic):
            raise ValueError(f"archer: critic is a {type(layer).__name__}; allowed: an UtteranceCritic or its spec")
        self.critic = layer
        self.critic.setup(np.random.default_rng(seed))
        self._step = RMSprop(self.settings.lr)
        self.buffer: deque[Trajectory] = deque()
        self.held = self.steps = self.iterations = 0

    def act(self, obs: Any, info: dict[str, Any]) -> Any:
        """The likeliest action."""
        return self.policy.greedy(obs, info)

    def _keep(self, new: list[Trajectory]) -> None:
        self.buffer.extend(new)
        self.held += sum(map(len, new))
        while self.held > self.settings.replay and len(self.buffer) > 1:
            self.held -= len(self.buffer.popleft())

    def _part(self, new: list[Trajectory]) -> list[Trajectory]:
        """The new episodes, and older ones at random up to ``part`` steps."""
        out, size = list(new), sum(map(len, new))
        old = list(self.buffer)[: len(self.buffer) - len(new)]
        for i in self.policy.rng.permutation(len(old)):
            if size >= self.settings.part:
                break
            out.append(old[i])
            size += len(old[i])
        return out

    def _drawn(self, traj: Trajectory) -> tuple[list[Any], list[tuple[Any, int, float]]]:
        """An action of the current policy in each state, and how it was chosen."""
        actions, how = [], []
        for obs, info in zip(traj.obs[:-1], traj.infos):
            action, rows, k, logp = self.policy.sample(obs, info)
            actions.append(action)
            how.append((rows, k, logp))
        return actions, how

    def learn(self, env: gym.Env[Any, Any], steps: int) -> list[dict[str, float]]:
        """Trains for at least ``steps`` environment steps, in whole iterations.

        Returns:
            One dict an iteration: the return, the critics' losses, the mean size of the advantages.

        Raises:
            ValueError: the environment is shaped by layers other than step layers.
        """
        step_layers_only("archer", env)
        s, history, goal = self.settings, list[dict[str, float]](), self.steps + steps
        while self.steps < goal:
            new = [play(env, self.policy, int(self.policy.rng.integers(2**31))) for _ in range(s.episodes)]
            self.steps += sum(map(len, new))
            new = [t for t in valid(new) if len(t)]
            self._keep(new)
            if not self.buffer:
                continue
            part = self._part(new)
            said = [self._drawn(t)[0] for t in part]
            row = self.critic.learn([replace(t, meta=t.meta | {"sampled": a}) for t, a in zip(part, said)])
            self.iterations += 1
            if self.iterations > s.warm:
                for _ in range(s.actor_epochs):
                    row["advantage"] = self._improve(part)
            row["return"] = float(np.mean([t.rewards.sum() for t in new])) if new else 0.0
            history.append(row)
        return history

    def _improve(self, part: list[Trajectory]) -> float:
        """One step of the policy; the mean size of the advantages."""
        drawn = [self._drawn(t) for t in part]
        advantage = np.concatenate([self.critic.advantage(t.obs[:-1], a) for t, (a, _) in zip(part, drawn)])
        b = pack([how for _, how in drawn], np.full(len(part), 1.0 / len(advantage)))
        g = gradient(self.policy.theta, b, advantage, self.settings.entropy)
        self.policy.theta = self._step.step(self.policy.theta, g)
        return float(np.abs(advantage).mean())

    def save(self, path: str | Path) -> None:
        """The policy and the critics; not the buffer, the optimiser's averages and the random state, which begin anew."""
        from .checkpoint import save_checkpoint

        state = {"theta": self.policy.theta, "critic": self.critic.state_dict(), "iterations": self.iterations}
        state["spec"] = self.critic.spec()
        save_checkpoint(path, "archer", state | {"settings": dataclasses.asdict(self.settings)})

    @classmethod
    def load(
        cls, path: str | Path, env: gym.Env[Any, Any], critic: UtteranceCritic | None = None, seed: int = 0
    ) -> Archer:
        """An agent that acts as the saved one; ``critic`` is needed again where its features were a live function.

        Raises:
            ValueError: no checkpoint of this trainer.
        """
        from .checkpoint import load_checkpoint

        state = load_checkpoint(path, "archer")
        agent = cls(env, critic or state["spec"], seed, **state["settings"])
        agent.policy.theta, agent.iterations = state["theta"], state["iterations"]
        agent.critic.load_state_dict(state["critic"])
        return agent
