"""Makes Stable-Baselines3 train on ``info["credit"]``: layers that settle when an episode ends."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from ..wrappers.hosts import inner_stack
from ..wrappers.stack import Stack
from ..wrappers.types import Level

RECENT = 100  # episodes behind ``Credit.last``, as many as SB3 averages


def stacks_of(env: Any) -> list[Stack]:
    """The stack of each environment behind ``env``; of a ``SubprocVecEnv`` they are copies.

    Raises:
        ValueError: a stack in another process cannot be copied.
    """
    if not isinstance(env, VecEnv):
        return [s for s in [inner_stack(env)] if s is not None]
    if not env.has_attr("stack"):  # asking for it outright would end a SubprocVecEnv's workers
        return []
    try:
        return [s for s in env.get_attr("stack") if isinstance(s, Stack)]
    except (EOFError, OSError) as e:
        raise ValueError(
            "the stack holds a live object that cannot leave its process: name it as 'module:name', or use DummyVecEnv"
        ) from e


def refuse_late(stack: Stack) -> None:
    """A replay buffer cannot be paid afterwards.

    Raises:
        ValueError: the stack has layers that settle when an episode ends.
    """
    if stack.body or stack.tail:
        late = ", ".join(stack.names[stack.b :])
        raise ValueError(f"DQN learns from single steps and cannot wait for {late}: use step layers only, or PPO")


def refuse_tail(stack: Stack) -> None:
    """SB3 neither takes advantages nor hands over batches of episodes.

    Raises:
        ValueError: the stack has such a layer; names it.
    """
    if stack.tail:
        gives = any(m.output == "advantage" for m in stack.tail)
        why = (
            "gives advantages, but SB3 computes its own"
            if gives
            else "waits for a batch of episodes that SB3 never has"
        )
        alone = all(m.level < Level.GROUP for m in stack.tail)
        instead = "use the text agent" + (
            "" if alone else " with its setting group, or call stack.run on groups of episodes"
        )
        raise ValueError(f"{', '.join(stack.names[stack.c :])} {why}: leave it out, or {instead}")


class Credit(BaseCallback):
    """Overwrites the rollout buffer's rewards with each episode's credit, before advantages are computed.

    By default steps of episodes that have not ended are left out of the update (their credit is not known yet), so that the
    update equals training on the redistributed rewards directly. An episode that spans rollouts is then learnt from only
    in its last one: let ``n_steps`` be several episodes long. A rollout in which no episode ended updates nothing.

    With ``masked=False``, and always for algorithms outside PPO's family, such steps keep their pay, and the last step of
    the episode pays what they are still owed: what the buffers pay for an episode sums to its credit either way.

    Episodes that the infrastructure ended (``info["invalid"]``) are left out and counted in ``invalid``; what a replay
    buffer (DQN) has stored of them stays there. Learning layers are fitted after each rollout. Every reward term, summed
    over its episode, goes to SB3's logger, and so to TensorBoard.

    Args:
        masked: leave steps of unfinished episodes out of the update.
        verbose: as SB3's.

    Raises:
        ValueError: at the start of learning, one sentence: an off-policy algorithm with layers that settle late; advantage
            layers; a learning layer in ``SubprocVecEnv``; late layers behind ``VecNormalize`` of rewards.
    """

    def __init__(self, masked: bool = True, verbose: int = 0) -> None:
        super().__init__(verbose)
        self.masked, self.invalid, self.row = masked, 0, 0
        self.terms: list[dict[str, float]] = []  # of each running episode
        self.recent: deque[dict[str, float]] = deque(maxlen=RECENT)
        self.fits: dict[str, float] = {}  # metrics of the last fit
        self._target_kl: Any = ()  # the model's own, while an update is held back

    @property
    def last(self) -> dict[str, float]:
        """Means over the latest episodes, and the metrics of the latest fit of the layers."""
        keys = {k for e in self.recent for k in e}
        return {k: float(np.mean([e[k] for e in self.recent if k in e])) for k in sorted(keys)} | self.fits

    # -- the start -------------------------------------------------------------------------------
    def _init_callback(self) -> None:
        env = self.training_env
        self.stacks = stacks_of(env)
        self.on_policy = isinstance(self.model, OnPolicyAlgorithm)
        self.late = any(s.body for s in self.stacks)
        for stack in self.stacks:
            if not self.on_policy:
                refuse_late(stack)
            refuse_tail(stack)
        if any(s.learns for s in self.stacks) and stacks_of(env)[0] is not self.stacks[0]:  # a new copy at each call
            names = [n for n, m in zip(self.stacks[0].names, self.stacks[0].shapers) if m.learns]
            raise ValueError(f"{', '.join(names)} cannot be fitted in the processes of SubprocVecEnv: use DummyVecEnv")
        scaled = self.model.get_vec_normalize_env()
        if self.late and scaled is not None and scaled.norm_reward:
            raise ValueError(
                "credit is in the stack's own units, which VecNormalize changes: VecNormalize(norm_reward=False), "
                "and Normalize() as a layer"
            )
        if self.on_policy:
            self._install()

    def _on_training_start(self) -> None:
        n = self.training_env.num_envs
        if self.locals.get("reset_num_timesteps", True) or len(self.terms) != n:  # else episodes go on
            self.terms = [{} for _ in range(n)]

    def _install(self) -> None:
        """The buffer settles credit in front of GAE and hands out usable steps only. ``_on_training_end`` undoes it."""
        buffer: Any = self.model.rollout_buffer  # type: ignore[attr-defined]
        self.buffer, self.plain = buffer, type(buffer)
        self.paid = np.zeros((buffer.buffer_size, buffer.n_envs))
        self.use = np.ones((buffer.buffer_size, buffer.n_envs), bool)
        # an update can be held back only where target_kl ends it before its first gradient step
        self.masks = hasattr(self.model, "clip_range") and hasattr(self.model, "target_kl")
        self.drops = self.masked and self.masks and self.late

        def compute(last_values: Any, dones: Any) -> None:
            self.use[:] = True
            if self.row == buffer.buffer_size:  # else somebody learns without this callback after it was interrupted
                self._settle()
            self.row = 0
            self.plain.compute_returns_and_advantage(buffer, last_values=last_values, dones=dones)

        buffer.compute_returns_and_advantage = compute
        if self.masks:
            buffer.get = self._get
        if hasattr(buffer, "hidden_states_pi"):

            def samples(indices: Any, env_change: Any, env: Any = None) -> Any:
                data = self.plain._get_samples(buffer, indices, env_change, env)
                use = buffer.pad_and_flatten(self._flat()[indices].astype(np.float32))
                return data._replace(mask=data.mask * use)

            buffer._get_samples = samples

    def _on_training_end(self) -> None:
        self._release()
        if self.on_policy:
            for name in ("compute_returns_and_advantage", "get", "_get_samples"):
                vars(self.buffer).pop(name, None)

    # -- a rollout -------------------------------------------------------------------------------
    def _on_rollout_start(self) -> None:
        self._release()
        self.row = 0
        self.ends: list[tuple[int, int, int, dict[str, Any]]] = []  # environment, first and last row, info
        self.first = [0] * self.training_env.num_envs  # row of the running episode's first step in this rollout

    def _on_step(self) -> bool:
        infos, rewards, dones = self.locals["infos"], self.locals["rewards"], self.locals["dones"]
        if self.on_policy:
            self.paid[self.row] = rewards  # SB3 adds the value of a truncated state later, in place
        for i, info in enumerate(infos):
            for k, v in info.get("reward_terms", {}).items():
                self.terms[i][k] = self.terms[i].get(k, 0.0) + float(v)
            if dones[i]:
                self.ends.append((i, self.first[i], self.row, info))
                self.first[i] = self.row + 1
                self._log_episode(i, info)
                self.terms[i] = {}
        self.row += 1
        return True

    def _log_episode(self, i: int, info: dict[str, Any]) -> None:
        if info.get("invalid"):
            self.invalid += 1
            self.logger.record("rollout/invalid", self.invalid)
            return
        shown = {f"reward_terms/{k}": v for k, v in self.terms[i].items()}
        stats = dict(info.get("episode") or {})
        if not self.stacks and "r" in stats:
            stats |= {"env_return": stats["r"], "shaped_return": stats["r"]}
        returns = {k: float(stats[k]) for k in ("env_return", "shaped_return") if k in stats}
        for k, v in (shown | {f"returns/{k}": v for k, v in returns.items()}).items():
            self.logger.record_mean(k, v)
        more = {"length": float(stats["l"])} if "l" in stats else {}
        more |= {"success": float(bool(info["success"]))} if "success" in info else {}
        self.recent.append(shown | returns | more)

    def _settle(self) -> None:
        """Credit into the buffer's rewards; which steps the update may use."""
        rewards = self.buffer.rewards
        if self.drops:
            self.use[:] = False
        for i, first, last, info in self.ends:
            rows = slice(first, last + 1)
            self.use[rows, i] = not info.get("invalid")
            if info.get("credit") is None:
                continue
            credit, paid = np.array(info["credit"], np.float64), self.paid[rows, i]
            before = len(credit) - len(paid)  # its steps in earlier rollouts
            boot = rewards[last, i] - paid[-1]  # SB3's value of a truncated state stays
            rewards[rows, i] = credit[before:]
            rewards[last, i] += boot
            if before and not self.drops:  # all that was paid online sums to the credit, see Stack
                rewards[last, i] += credit[:before].sum() - (credit.sum() - paid.sum())

    def _on_rollout_end(self) -> None:
        if any(s.learns for s in self.stacks):
            trajs = [t for s in self.stacks for t in s.take() if not t.infos[-1].get("invalid")]
            for stack in self.stacks:  # each from the episodes of all environments
                self.fits |= {f"layers/{k}": v for k, v in stack.learn(trajs).items()}
            for k, v in self.fits.items():
                self.logger.record(k, v)

    # -- what the update gets --------------------------------------------------------------------
    def _flat(self) -> Any:
        return self.use.swapaxes(0, 1).reshape(-1)  # the order of the flattened buffer

    def _get(self, batch_size: int | None = None) -> Iterator[Any]:
        """The buffer's ``get``, of usable steps."""
        empty = True
        for batch in self._batches(batch_size):
            empty = False
            yield batch
        if empty:  # SB3 cannot update on nothing: one batch for its log, and no gradient step
            self._hold()
            yield from self.plain.get(self.buffer, batch_size)

    def _batches(self, batch_size: int | None) -> Iterator[Any]:
        if self.use.all():
            yield from self.plain.get(self.buffer, batch_size)
        elif hasattr(self.buffer, "hidden_states_pi"):  # sequences stay whole: steps are masked in the loss
            for batch in self.plain.get(self.buffer, batch_size):
                if int((batch.mask > 0.5).sum()) > 1:  # SB3 normalises advantages over a batch: one alone is NaN
                    yield batch
        else:
            if not self.buffer.generator_ready:
                next(iter(self.plain.get(self.buffer, 1)))  # flattens the buffer
            order = np.random.permutation(np.flatnonzero(self._flat()))
            size = batch_size or max(1, len(order))
            for start in range(0, len(order) - 1, size):
                yield self.buffer._get_samples(order[start : start + size])

    def _hold(self) -> None:
        model: Any = self.model
        warnings.warn(
            f"no step of this rollout can be learnt from yet: n_steps={model.n_steps} is too short for these episodes",
            stacklevel=2,
        )
        self.use[:] = True
        self._target_kl = (model.target_kl,)
        model.target_kl = -1.0

    def _release(self) -> None:
        if self._target_kl:
            (self.model.target_kl,) = self._target_kl  # type: ignore[attr-defined]
            self._target_kl = ()
