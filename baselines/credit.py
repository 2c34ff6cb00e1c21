"""Makes Stable-Baselines3 train on ``info["credit"]``: layers that settle when an episode ends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from ..wrappers.stack import Stack


def refuse_late(stack: Stack) -> None:
    """A replay buffer cannot be paid afterwards.

    Raises:
        ValueError: the stack has layers that settle when an episode ends.
    """
    if stack.body or stack.tail:
        late = ", ".join(stack.names[stack.b :])
        raise ValueError(f"DQN learns from single steps and cannot wait for {late}: use step layers only, or PPO")


class Credit(BaseCallback):
    """Overwrites the rollout buffer's rewards with each episode's credit, before the update.

    By default steps of episodes that have not ended are left out of the update (their credit is not known yet), so that the
    update equals training on the redistributed rewards directly. With ``masked=False``, and always for RecurrentPPO,
    they keep their pay, and an episode that began in an earlier rollout pays what those steps are still owed on its
    last step: the return is conserved either way.

    It also fits learning layers after each rollout and logs every reward term. ``last`` has the latest means.

    Args:
        masked: leave steps of unfinished episodes out of the update.
        verbose: as SB3's.

    Raises:
        ValueError: at the start of learning: an off-policy algorithm with layers that settle late, or advantage layers.
    """

    def __init__(self, masked: bool = True, verbose: int = 0) -> None:
        super().__init__(verbose)
        self.masked = masked
        self.last: dict[str, float] = {}

    def _init_callback(self) -> None:
        self.stacks: list[Stack] = [s for s in self._stacks() if s is not None]
        self.on_policy = isinstance(self.model, OnPolicyAlgorithm)
        for stack in self.stacks:
            if not self.on_policy:
                refuse_late(stack)
            if stack.tail:
                raise ValueError(f"{stack.names[stack.c]} gives advantages, but SB3 computes its own: leave it out")
        n = self.training_env.num_envs
        self.paid: list[list[float]] = [[] for _ in range(n)]  # of each running episode
        self.terms: list[dict[str, float]] = [{} for _ in range(n)]
        self.ends: list[tuple[int, int, Any, Any]] = []  # (env, row of the last step, credit, what was paid)
        self.row = 0
        if self.on_policy and self.masked and hasattr(self._buffer(), "_get_samples") and not self._recurrent():
            self._install()

    def _stacks(self) -> list[Any]:
        try:
            return list(self.training_env.get_attr("stack"))
        except AttributeError:
            return []

    def _buffer(self) -> Any:
        return self.model.rollout_buffer  # type: ignore[attr-defined]

    def _recurrent(self) -> bool:
        return hasattr(self._buffer(), "hidden_states_pi")

    def _on_rollout_start(self) -> None:
        self.row, self.ends = 0, []

    def _on_step(self) -> bool:
        infos, rewards, dones = self.locals["infos"], np.array(self.locals["rewards"], np.float64), self.locals["dones"]
        for i, info in enumerate(infos):
            self.paid[i].append(float(rewards[i]))
            for k, v in info.get("reward_terms", {}).items():
                self.terms[i][k] = self.terms[i].get(k, 0.0) + float(v)
            if dones[i]:
                self.ends.append((i, self.row, info.get("credit"), self.paid[i]))
                self._log_episode(i, info)
                self.paid[i], self.terms[i] = [], {}
        self.row += 1
        return True

    def _log_episode(self, i: int, info: dict[str, Any]) -> None:
        shown = {f"reward_terms/{k}": v for k, v in self.terms[i].items()}
        stats = info.get("episode") or {}
        shown |= {f"returns/{k}": float(stats[k]) for k in ("env_return", "shaped_return") if k in stats}
        for k, v in shown.items():
            self.logger.record_mean(k, v)
        self.last = shown

    def _on_rollout_end(self) -> None:
        if self.on_policy:
            self._settle()
        self._fit()

    def _settle(self) -> None:
        buffer = self._buffer()
        finished = np.zeros((buffer.buffer_size, buffer.n_envs), bool)
        changed = False
        for i, row, credit, paid in self.ends:
            k = min(len(paid), row + 1)  # its steps in this rollout
            finished[row + 1 - k : row + 1, i] = True
            if credit is None:
                continue
            changed = True
            owed = np.array(credit) - np.array(paid)  # SB3's own bootstrap of a truncated step stays in the buffer
            owed[-1] += 0.0 if self._drops() else owed[: len(paid) - k].sum()
            buffer.rewards[row + 1 - k : row + 1, i] += owed[len(paid) - k :].astype(buffer.rewards.dtype)
        self.finished = finished
        if changed:
            values, dones = self.locals["values"], self.locals["dones"]
            buffer.compute_returns_and_advantage(last_values=values, dones=dones)

    def _drops(self) -> bool:
        """Were the steps of earlier rollouts left out of their updates? Then nobody was mispaid."""
        return self.masked and not self._recurrent() and self._late()

    def _late(self) -> bool:
        return any(s.body for s in self.stacks)

    def _install(self) -> None:
        """Makes the buffer hand out steps of finished episodes only, where a layer settles late."""
        buffer, plain = self._buffer(), type(self._buffer()).get

        def get(batch_size: int | None = None) -> Iterator[Any]:
            if not self._late():
                yield from plain(buffer, batch_size)
                return
            if not buffer.generator_ready:
                next(iter(plain(buffer, 1)))  # flattens the buffer
            usable = np.flatnonzero(self.finished.swapaxes(0, 1).reshape(-1))
            order, size = np.random.permutation(usable), batch_size or max(1, len(usable))
            for start in range(0, len(order), size):
                if len(order) - start > 1 or start == 0:  # SB3 normalises advantages over a batch: one alone is NaN
                    yield buffer._get_samples(order[start : start + size])

        buffer.get = get

    def _fit(self) -> None:
        """All stacks learn from the episodes of all environments."""
        if any(s.learns for s in self.stacks):
            trajs = [t for s in self.stacks for t in s.take()]
            for stack in self.stacks:
                for k, v in stack.learn(trajs).items():
                    self.logger.record(f"layers/{k}", v)
