"""``clip_reward``, ``scale_reward``, ``normalize_reward``: each agent's reward, and its account.

Where the game (or a stack of shapers) publishes ``info["reward_terms"]``, what the wrapper adds or takes away stands there
under its name, so that the terms still sum to the reward; where it publishes none, infos stay as they are.

In a game with turns a reward is what ``last()`` gives, the sum since the agent's last turn. It is settled at every step: what
an agent gets at one step is the difference that the step makes, so sums are right at any time, also for conversions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isfinite, sqrt
from typing import Any, Protocol

from ..hosts import inner_stack
from .base import AECWrapper, ParallelWrapper, finite, host


class Rule(Protocol):
    """How one kind of wrapper changes rewards."""

    word: str
    still: bool
    """Whether 0.0 stays 0.0 and nothing is remembered: then an agent that was paid nothing need not be looked at."""

    def many(self, rewards: dict[Any, Any], terminated: dict[Any, Any]) -> dict[Any, float]:
        """The new rewards of agents that stepped together."""
        ...

    def one(self, agent: Any, reward: float, terminated: bool) -> tuple[float, Any]:
        """The new reward of one agent, and what ``keep`` takes if it is final; changes nothing."""
        ...

    def keep(self, agent: Any, memory: Any) -> None:
        """The reward was final."""

    def save(self) -> Any:
        """What belongs to the running episode."""

    def load(self, saved: Any) -> None:
        """Goes back to it."""


class Plain:
    """A rule without memory; a subclass says what it does to one number."""

    word = ""

    @property
    def still(self) -> bool:
        """Whether 0.0 stays 0.0."""
        return bool(self(0.0) == 0.0)

    def __call__(self, reward: Any) -> Any:
        """The new reward."""
        raise NotImplementedError

    def one(self, agent: Any, reward: float, terminated: bool) -> tuple[float, Any]:
        """Nothing is remembered."""
        return self(reward), None

    def keep(self, agent: Any, memory: Any) -> None:
        """Nothing is remembered."""

    def save(self) -> Any:
        """Nothing is remembered."""
        return None

    def load(self, saved: Any) -> None:
        """Nothing is remembered."""


class Clip(Plain):
    """``min(max(r, low), high)``."""

    word = "clip_reward"

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = finite("low", low), finite("high", high)
        if self.low > self.high:
            raise ValueError(f"clip_reward: low = {low} is above high = {high}")

    def __call__(self, reward: Any) -> Any:
        """One number."""
        return self.low if reward < self.low else self.high if reward > self.high else reward

    def many(self, rewards: dict[Any, Any], terminated: dict[Any, Any]) -> dict[Any, float]:
        """Written out: a call an agent would cost more than the rest."""
        low, high = self.low, self.high
        return {a: low if r < low else high if r > high else r for a, r in rewards.items()}


class Scale(Plain):
    """``scale * r``."""

    word = "scale_reward"

    def __init__(self, scale: float) -> None:
        self.scale = finite("scale", scale)

    def __call__(self, reward: Any) -> Any:
        """One number."""
        return reward * self.scale

    def many(self, rewards: dict[Any, Any], terminated: dict[Any, Any]) -> dict[Any, float]:
        """Written out: a call an agent would cost more than the rest."""
        scale = self.scale
        return {a: r * scale for a, r in rewards.items()}


@dataclass(slots=True)
class Track:
    """An agent's running return and its moments, which begin as Gymnasium's: mean 0, variance 1, weight 1e-4."""

    total: float = 0.0
    weight: float = 1e-4
    mean: float = 0.0
    squares: float = 1e-4


class Normalize:
    """Running moments of each agent's discounted return."""

    word, still = "normalize_reward", False

    def __init__(self, gamma: float, epsilon: float) -> None:
        self.gamma, self.epsilon = finite("gamma", gamma, 0.0, 1.0), finite("epsilon", epsilon, 0.0)
        if self.epsilon == 0:
            raise ValueError("epsilon is 0; allowed: a finite number above 0")
        self.training = True
        self.tracks: dict[Any, Track] = {}

    @property
    def moments(self) -> dict[Any, tuple[float, float, float]]:
        """Agent to weight, mean and sum of squared deviations of its returns; may be set."""
        return {a: (t.weight, t.mean, t.squares) for a, t in self.tracks.items()}

    @moments.setter
    def moments(self, moments: dict[Any, tuple[float, float, float]]) -> None:
        self.tracks = {a: Track(self.tracks.get(a, Track()).total, *m) for a, m in moments.items()}

    def many(self, rewards: dict[Any, Any], terminated: dict[Any, Any]) -> dict[Any, float]:
        """``one`` and ``keep``; in the common case written out, as calls would cost as much as the arithmetic."""
        out: dict[Any, float] = {}
        tracks, check = self.tracks, 0.0
        if self.training and not any(terminated.values()):
            gamma, epsilon, root = self.gamma, self.epsilon, sqrt
            try:
                for a, r in rewards.items():
                    track = tracks[a]
                    mean = track.mean
                    track.total = total = track.total * gamma + r
                    track.weight = weight = track.weight + 1.0
                    gap = total - mean
                    track.mean = mean = mean + gap / weight
                    track.squares = squares = track.squares + gap * (total - mean)
                    check += squares
                    out[a] = r / root(squares / weight + epsilon)
                if check - check == 0.0:
                    return out
            except KeyError:
                pass  # an agent's first reward
        for a, r in rewards.items():
            if a not in out or check - check != 0.0:
                out[a], tracks[a] = self.one(a, r, terminated[a])
        return out

    def one(self, agent: Any, reward: float, terminated: bool) -> tuple[float, Any]:
        """Gymnasium drops the running return at a terminal step before it adds the reward, and keeps it over a reset."""
        track = self.tracks.get(agent) or Track()
        total = float(reward) if terminated else track.total * self.gamma + float(reward)
        weight, mean, squares = track.weight, track.mean, track.squares
        if self.training:
            weight, gap = weight + 1.0, total - mean
            mean += gap / weight
            squares += gap * (total - mean)
        if not isfinite(squares):
            raise ValueError(
                f"{self.word}: the reward of {agent} is {reward!r}; the moments would never be finite again"
            )
        return reward / sqrt(squares / weight + self.epsilon), Track(total, weight, mean, squares)

    def keep(self, agent: Any, memory: Any) -> None:
        """The next reward builds on it."""
        self.tracks[agent] = memory

    def save(self) -> Any:
        """The running returns; the moments are shared by all episodes."""
        return {a: t.total for a, t in self.tracks.items()}

    def load(self, saved: Any) -> None:
        """Goes back to them."""
        self.tracks = {a: replace(t, total=saved.get(a, 0.0)) for a, t in self.tracks.items()}


def named(word: str, env: Any) -> str:
    """The term's name: the wrapper's, with ``_2``, ``_3`` where others of its kind stand inside.

    Raises:
        ValueError: a stack inside settles rewards when an episode ends, which a wrapper outside would see too early.
    """
    stack = inner_stack(env)
    if stack is not None and (stack.body or stack.tail):
        raise ValueError(
            f"{word}: the stack inside settles its rewards when an episode ends ({', '.join(stack.names[stack.b :])}): wrap "
            "the game first and shape it then, or put Clip, Scale or Normalize into the list of shapers"
        )
    n = 1
    while env is not None:
        inside = getattr(env, "__dict__", {})
        n += isinstance(env, (ParallelRewards, AECRewards)) and env.word == word
        env = inside.get("env") or inside.get("aec_env")
    return word if n == 1 else f"{word}_{n}"


def told(infos: dict[Any, Any], name: str, old: dict[Any, Any], new: dict[Any, Any]) -> dict[Any, Any]:
    """New infos, whose accounts sum to the new rewards; where there is no account they are the same object."""
    out = infos
    for a, info in infos.items():
        if "reward_terms" in info and a in new:
            if out is infos:
                out = dict(infos)
            out[a] = {**info, "reward_terms": {**info["reward_terms"], name: float(new[a]) - float(old[a])}}
    return out


class ParallelRewards(ParallelWrapper):
    """A rule on a ``ParallelEnv``."""

    def __init__(self, env: Any, rule: Rule) -> None:
        super().__init__(env)
        self.word, self.name, self.rule, self._many = rule.word, named(rule.word, env), rule, rule.many

    def step(self, actions: dict[Any, Any]) -> tuple[Any, ...]:
        """Steps the game; rewards are new, infos where they hold an account."""
        obs, rewards, terminated, truncated, infos = self._step(actions)
        new = self._many(rewards, terminated)
        if any(infos.values()):  # it costs less to see that all are empty
            infos = told(infos, self.name, rewards, new)
        return obs, new, terminated, truncated, infos

    def _save(self) -> Any:
        return self.rule.save()

    def _load(self, saved: Any) -> None:
        self.rule.load(saved)


class AECRewards(AECWrapper):
    """A rule on an ``AECEnv``; shadows ``rewards``, ``infos`` and the sums that ``last()`` gives."""

    def __init__(self, env: Any, rule: Rule) -> None:
        super().__init__(env)
        self.word, self.name, self.rule, self.still = rule.word, named(rule.word, env), rule, rule.still
        self.rewards: dict[Any, float] = {}
        self.infos: dict[Any, Any] = {}
        self._begin()

    def _begin(self) -> None:
        self.raw: dict[Any, float] = {}  # since an agent's last turn: what the game paid
        self.paid: dict[Any, float] = {}  # and what the wrapper paid
        # who has acted: was it terminated when it was last looked at? None: not looked at
        self.flags: dict[Any, bool | None] = {}
        self.next: dict[Any, Any] = {}  # what the rule is to keep when the turn comes
        self._cumulative_rewards: dict[Any, float] = {}

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        """Resets the game."""
        for agent, memory in self.next.items():  # of a game that nobody played to its end
            self.rule.keep(agent, memory)
        self.env.reset(seed=seed, options=options)
        self._begin()
        self._settle()

    def step(self, action: Any) -> None:
        """The agent whose turn it is acts; everybody's reward is settled."""
        agent = self.agent_selection
        if agent in self.next:
            self.rule.keep(agent, self.next.pop(agent))
        self.flags.pop(agent, None)
        if action is not None:
            self.raw[agent] = self.paid[agent] = self._cumulative_rewards[agent] = 0.0
            if not self.still:
                self.flags[agent] = None  # so that it is looked at, whatever it will be paid
        else:
            self._cumulative_rewards.pop(agent, None)
        self.env.step(action)
        self._settle()

    def _settle(self) -> None:
        env, flags, paid, sums = self.env, self.flags, self.paid, self._cumulative_rewards  # env.x costs most here
        over = env.terminations if flags or not self.still else {}
        self.rewards = rewards = {}
        for a, r in env.rewards.items():
            rewards[a] = 0.0
            if r or (a in flags and flags[a] is not over[a]):
                before, self.raw[a] = paid.get(a, 0.0), self.raw.get(a, 0.0) + float(r)
                paid[a], memory = self.rule.one(a, self.raw[a], over.get(a, False))
                if a in flags:  # what comes before an agent's first action is no step of its own
                    flags[a], self.next[a] = over[a], memory
                rewards[a] = paid[a] - before
                sums[a] = sums.get(a, 0.0) + rewards[a]
            elif a not in sums:
                sums[a] = self.raw[a] = paid[a] = 0.0
        self.infos, self.agent_selection = told(env.infos, self.name, self.raw, paid), env.agent_selection

    def last(self, observe: bool = True) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """What the agent whose turn it is sees; its reward is the sum since its last turn."""
        obs, _, terminated, truncated, _ = self.env.last(observe=observe)
        agent = self.agent_selection
        return obs, self._cumulative_rewards[agent], terminated, truncated, self.infos[agent]

    def _save(self) -> Any:
        parts = (self.raw, self.paid, self.flags, self.next, self._cumulative_rewards, self.rewards)
        return self.rule.save(), [dict(x) for x in parts], self.infos

    def _load(self, saved: Any) -> None:
        rule, parts, self.infos = saved
        self.rule.load(rule)
        self.raw, self.paid, self.flags, self.next, self._cumulative_rewards, self.rewards = (dict(x) for x in parts)
        self.agent_selection = self.env.agent_selection


def clip_reward(env: Any, low: float = -1.0, high: float = 1.0) -> Any:
    """Rewards between two numbers: ``min(max(r, low), high)``. Mnih et al. (2015), Nature 518, "Methods".

    Args:
        env: a ``ParallelEnv`` or ``AECEnv``.
        low: smallest reward.
        high: largest reward.

    Returns:
        The wrapped game.

    Raises:
        ValueError: ``low`` above ``high``, a number that is not finite, or a stack inside that settles late.
    """
    return host("clip_reward", env, ParallelRewards, AECRewards)(env, Clip(low, high))


def scale_reward(env: Any, scale: float) -> Any:
    """Rewards times a number.

    Args:
        env: a ``ParallelEnv`` or ``AECEnv``.
        scale: a finite number.

    Returns:
        The wrapped game.

    Raises:
        ValueError: a number that is not finite, or a stack inside that settles late.
    """
    return host("scale_reward", env, ParallelRewards, AECRewards)(env, Scale(scale))


def normalize_reward(env: Any, gamma: float = 0.99, epsilon: float = 1e-8) -> Any:
    """``r / sqrt(var(G) + epsilon)`` with ``G <- gamma G + r``, for each agent by itself.

    Engstrom et al. (2020), "Implementation matters in deep policy gradients", sec. 2; step by step equal to Gymnasium's
    ``NormalizeReward``, with what that one does at the end of an episode: a terminal step drops G before it adds r, and a
    reset keeps G. ``env.rule.training = False`` freezes the moments for evaluation; ``env.rule.moments``, agent to (weight,
    mean, sum of squared deviations), can be saved and set. They are shared by all episodes and no part of a snapshot.

    Args:
        env: a ``ParallelEnv`` or ``AECEnv``.
        gamma: discount, 0 to 1.
        epsilon: guards the division, above 0.

    Returns:
        The wrapped game.

    Raises:
        ValueError: a setting that is not allowed, or a stack inside that settles late.
    """
    return host("normalize_reward", env, ParallelRewards, AECRewards)(env, Normalize(gamma, epsilon))
