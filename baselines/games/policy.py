"""One network of SB3 in any number of seats of a game, and what its buffer is filled with."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.utils import obs_as_tensor

from ..sb3 import make_sb3
from .agents import Asked, Seat, stack_obs
from .play import Step

MASK, SEEN = "action_mask", "observation"
# more than one game's: a rollout is made of whole games of several agents
DEFAULTS: dict[str, Any] = {"n_steps": 1024, "batch_size": 256}


def marked(space: Any, count: int) -> Any:
    """The space with the one-hot number of the agent behind the observation.

    Raises:
        ValueError: the space is neither a flat Box nor a Dict with one under ``observation``.
    """
    if isinstance(space, gym.spaces.Dict) and SEEN in space.spaces:
        return gym.spaces.Dict({k: marked(s, count) if k == SEEN else s for k, s in space.spaces.items()})
    if not isinstance(space, gym.spaces.Box) or len(space.shape) != 1:
        raise ValueError(f"indicator is for observations in one row of numbers, not {space}: use share=False")
    ends = np.zeros(count), np.ones(count)
    low, high = (np.concatenate([x, e]).astype(space.dtype) for x, e in zip((space.low, space.high), ends))
    return gym.spaces.Box(low, high, dtype=space.dtype.type)


class Policy:
    """A network of SB3's as a player, and as a learner.

    Args:
        model: PPO or MaskablePPO.
        masked: it is given action masks.
        order: agents in the order of the indicator; empty: it is not told who it is.
        seed: of its choices in evaluation; those in training come from torch's generator, as in SB3.
        network: other weights of the same shape than the model's, for past selves.
    """

    def __init__(self, model: Any, masked: bool, order: Sequence[str] = (), seed: int = 0, network: Any = None) -> None:
        self.model, self.masked, self.order = model, masked, tuple(order)
        self.network = model.policy if network is None else network
        self.rng = np.random.default_rng(seed)

    @property
    def weights(self) -> dict[str, Any]:
        """A copy of the network's parameters."""
        return {k: v.detach().clone() for k, v in self.network.state_dict().items()}

    def other(self, weights: Mapping[str, Any]) -> Any:
        """A network like this one with other weights."""
        model = self.model
        with torch.random.fork_rng(devices=[]):  # its first weights are drawn, and training goes on as if they were not
            network = model.policy_class(
                model.observation_space, model.action_space, model.lr_schedule, **model.policy_kwargs
            )
        network.load_state_dict(dict(weights))
        return network.to(model.device)

    def see(self, agent: str, obs: Any) -> Any:
        """The observation as the network gets it."""
        if not self.order:
            return obs
        if isinstance(obs, Mapping):
            return {k: self.see(agent, v) if k == SEEN else v for k, v in obs.items()}
        mark = np.zeros(len(self.order), obs.dtype)
        mark[self.order.index(agent)] = 1
        return np.concatenate([obs, mark])

    def _batch(self, asked: Sequence[Asked]) -> tuple[list[Any], Any, list[Any]]:
        rows = [self.see(a, o) for a, o, _ in asked]
        masks: list[Any] = [None] * len(asked)
        if self.masked:
            masks = [
                np.asarray(o[MASK] if isinstance(o, Mapping) and MASK in o else i[MASK], bool) for _, o, i in asked
            ]
        return rows, obs_as_tensor(stack_obs(rows), self.model.device), masks

    def choose(self, asked: Sequence[Asked]) -> tuple[list[Any], list[Step]]:
        """Samples actions with what an update needs of each."""
        rows, batch, masks = self._batch(asked)
        kw = {"action_masks": np.stack(masks)} if self.masked else {}
        self.network.set_training_mode(False)
        with torch.no_grad():
            actions, values, log_probs = self.network(batch, **kw)
        raw, v, lp = actions.cpu().numpy(), values.flatten().cpu().numpy(), log_probs.cpu().numpy()
        steps = [Step(*x) for x in zip(rows, raw, v, lp, masks)]
        return [self._plain(a) for a in raw], steps

    def _plain(self, action: Any) -> Any:
        """As the game takes it."""
        space = self.model.action_space
        if isinstance(space, gym.spaces.Discrete):
            return int(action)
        return np.clip(action, space.low, space.high) if isinstance(space, gym.spaces.Box) else action

    # -- as a player -----------------------------------------------------------------------------
    def reset(self, seed: int | None = None) -> None:
        """With a seed, choices repeat."""
        if seed is not None:
            self.rng = np.random.default_rng(seed)

    def acts(self, asked: Sequence[Asked]) -> list[Any]:
        """Samples actions; training goes on as if nothing had been asked."""
        devices = [self.model.device] if self.model.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(int(self.rng.integers(2**63 - 1)))
            return self.choose(asked)[0]

    def act(self, agent: str, obs: Any, info: dict[str, Any]) -> Any:
        """One action."""
        return self.acts([(agent, obs, info)])[0]

    def values(self, seen: Sequence[Any]) -> Any:
        """``(n,)`` float32 values of observations that ``see`` gave."""
        if not seen:
            return np.zeros(0, np.float32)
        with torch.no_grad():
            out = self.network.predict_values(obs_as_tensor(stack_obs(seen), self.model.device))
        return out.flatten().cpu().numpy()


def make_policy(
    env: Any, agents: Sequence[str], order: Sequence[str], masked: bool, seed: int, settings: Mapping[str, Any]
) -> Policy:
    """A new network for these agents.

    Args:
        env: the game.
        agents: who it plays for.
        order: agents of the indicator, or none.
        masked: the game gives action masks.
        seed: of its weights.
        settings: of SB3's model.

    Raises:
        ValueError: agents of different spaces, texts, or a setting as in ``make_sb3``.
    """
    seat = Seat(env, agents[0])
    for a in agents[1:]:
        other = env.observation_space(a), env.action_space(a)
        if other != (seat.observation_space, seat.action_space):
            raise ValueError(
                f"one network for all needs equal spaces, and those of {agents[0]} and {a} differ: pad them "
                "(milepost.wrappers.games), or use independent_ppo"
            )
    if isinstance(seat.action_space, gym.spaces.Text) or isinstance(seat.observation_space, gym.spaces.Text):
        raise ValueError(f"{env} shows texts, and PPO reads numbers: use the game's encoded face")
    if order:
        seat.observation_space = marked(seat.observation_space, len(order))
    if masked:
        seat.action_masks = lambda: np.ones(1)  # type: ignore[attr-defined]  # make_sb3 asks whether there are any
    name = "maskable_ppo" if masked else "ppo"
    with (
        warnings.catch_warnings()
    ):  # that batches do not divide n_steps: rollouts of whole games have other lengths anyway
        warnings.filterwarnings("ignore", "You have specified a mini-batch size")
        model = make_sb3(name, seat, seed, **(DEFAULTS | dict(settings)))
    model.set_logger(Logger(None, []))
    return Policy(model, masked, order, seed)


def fill(model: Any, lanes: Sequence[tuple[Sequence[Step], Sequence[float], float]]) -> int:
    """Fills a model's rollout buffer with whole episodes, one behind the other, and computes advantages.

    The buffer is one column, as long as the episodes together: agents that left early take no row of others' time.

    Args:
        model: PPO or MaskablePPO.
        lanes: of each episode its steps, its ``T`` rewards and the value of where it was truncated (0 where it ended).

    Returns:
        Number of steps.
    """
    buffer = model.rollout_buffer
    steps = [s for lane, _, _ in lanes for s in lane]
    n = buffer.buffer_size = len(steps)
    buffer.n_envs = 1
    buffer.reset()
    seen = stack_obs([s.obs for s in steps])
    if isinstance(seen, dict):
        for k, v in seen.items():
            buffer.observations[k][:, 0] = v.reshape(n, *buffer.obs_shape[k])
    else:
        buffer.observations[:, 0] = seen.reshape(n, *buffer.obs_shape)
    buffer.actions[:, 0] = np.stack([np.asarray(s.action) for s in steps]).reshape(n, buffer.action_dim)
    buffer.values[:, 0] = [s.value for s in steps]
    buffer.log_probs[:, 0] = [s.log_prob for s in steps]
    if steps[0].mask is not None:
        buffer.action_masks[:, 0] = np.stack([s.mask for s in steps])
    row = 0
    for lane, rewards, beyond in lanes:
        last = row + len(lane) - 1
        buffer.episode_starts[row, 0] = 1.0
        buffer.rewards[row : last + 1, 0] = np.asarray(rewards, np.float32)
        buffer.rewards[last, 0] += np.float32(model.gamma * beyond)  # as SB3 does where a time limit cuts
        row = last + 1
    buffer.pos, buffer.full = n, True
    buffer.compute_returns_and_advantage(last_values=torch.zeros(1), dones=np.ones(1))
    return n


def train(model: Any) -> dict[str, float]:
    """SB3's own update on the filled buffer; its metrics."""
    n, size = model.rollout_buffer.buffer_size, model.batch_size
    model.num_timesteps += n
    if n < 2:
        return {}  # SB3 normalises advantages over a batch: one alone is NaN
    given = size
    while n % size == 1:
        size += 1
    model.batch_size = size
    try:
        model.train()
    finally:
        model.batch_size = given
    return {k: float(v) for k, v in model.logger.name_to_value.items() if isinstance(v, (int, float, np.number))}
