"""The three sizes of experience a shaper can look at: one step, one episode, one group."""

from __future__ import annotations

import enum
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Level(enum.IntEnum):
    """How much experience a shaper must see before it can answer."""

    STEP = 0
    EPISODE = 1
    GROUP = 2


class WrongFact(TypeError):
    """A fact, or what a function gave, is no number where a layer wants one; the stack says which layer's, and which key."""

    def __init__(self, value: Any, layer: str = "", where: str = "") -> None:
        said = repr(value)
        said = said if len(said) <= 80 else said[:77] + "..."
        what = f"{where} {said}, a number is expected"
        what = what if where else f"a number is expected from a fact or a function, not {said}"
        super().__init__(f"{layer}: {what}" if layer else what)
        self.value = value


def as_float(x: Any) -> float:
    """A Python float.

    Raises:
        WrongFact: a text (also one of digits), None, or what else is no number.
    """
    if x is None or isinstance(x, (str, bytes)):
        raise WrongFact(x)
    try:
        return float(x)
    except (TypeError, ValueError):
        raise WrongFact(x) from None


class Transition:
    """One step of one stream (an environment, a sub-environment, an agent, or a dialogue turn).

    The stack hands the same record to every layer of a step and updates ``reward`` and ``terms`` in between, so a
    layer reads what the layers before it made. A shaper never writes to it. For a columnar shaper every field holds
    the lanes' values as an array (or a dict of arrays).

    Attributes:
        obs: observation before the action (None at a reset).
        action: the action (None at a reset).
        reward: reward so far, a float (or ``(lanes,)`` float64).
        next_obs: observation after the action.
        terminated: the episode reached a terminal state.
        truncated: the episode was cut off; the state is not terminal.
        info: what the environment published with ``next_obs``.
        terms: the account so far, environment and earlier layers in order; sums to ``reward``.
    """

    __slots__ = ("action", "info", "next_obs", "obs", "reward", "terminated", "terms", "truncated")

    def __init__(
        self,
        obs: Any,
        action: Any,
        reward: Any,
        next_obs: Any,
        terminated: Any,
        truncated: Any,
        info: dict[str, Any],
        terms: dict[str, Any],
    ) -> None:
        self.obs = obs
        self.action = action
        self.reward = reward
        self.next_obs = next_obs
        self.terminated = terminated
        self.truncated = truncated
        self.info = info
        self.terms = terms

    def having(self, **changes: Any) -> Transition:
        """A copy with some fields changed (combinators show their child another reward)."""
        fields = {k: getattr(self, k) for k in self.__slots__} | changes
        return Transition(**fields)

    def __repr__(self) -> str:
        return f"Transition({', '.join(f'{k}={getattr(self, k)!r}' for k in self.__slots__)})"


def account(info: Mapping[str, Any], reward: Any) -> dict[str, Any]:
    """A new account of one step: what the environment (or an inner stack) published, else ``{"env": reward}``."""
    terms = info.get("reward_terms")
    return dict(terms) if terms else {"env": reward}


@dataclass(frozen=True, slots=True)
class Trajectory:
    """One whole episode: ``T`` steps and ``T + 1`` observations.

    Attributes:
        obs: ``T + 1`` observations.
        actions: ``T`` actions.
        rewards: ``(T,)`` float64.
        terminated: the last step reached a terminal state.
        truncated: the last step was cut off.
        infos: ``T + 1`` dicts; ``infos[0]`` is the reset info.
        meta: plain facts of the episode: task, view, agent, joint, tokens, log-probabilities ...
        terms: the account, one ``(T,)`` float64 array a term in layer order; sums to ``rewards``. Built from
            ``infos[t]["reward_terms"]`` when not given and consistent, else ``{"env": rewards}``.
        advantages: ``(T,)`` float64 or None; NaN means "leave this step out of the loss".

    Raises:
        ValueError: the lengths do not fit together.
    """

    obs: Sequence[Any]
    actions: Sequence[Any]
    rewards: Floats
    terminated: bool
    truncated: bool
    infos: Sequence[dict[str, Any]]
    meta: dict[str, Any] = field(default_factory=dict)
    terms: dict[str, Floats] = field(default_factory=dict)
    advantages: Floats | None = None

    def __post_init__(self) -> None:
        n = len(self.actions)
        sizes = (len(self.obs) - 1, len(self.rewards), len(self.infos) - 1)
        if sizes != (n, n, n):
            raise ValueError(
                f"a trajectory of T = {n} actions has T rewards and T + 1 observations and infos, "
                f"not {sizes[1]} rewards, {sizes[0] + 1} observations and {sizes[2] + 1} infos"
            )
        if not self.terms:
            rows = [i.get("reward_terms") for i in self.infos[1:]]
            terms = {"env": self.rewards}
            said = [r for r in rows if isinstance(r, dict)]
            if said and len(said) == n and all(r.keys() == said[0].keys() for r in said):
                known = {k: np.array([r[k] for r in said], np.float64) for k in said[0]}
                terms = known if known and np.allclose(sum(known.values()), self.rewards) else terms
            object.__setattr__(self, "terms", terms)

    def __len__(self) -> int:
        return len(self.actions)

    def __iter__(self) -> Iterator[Transition]:
        """The steps in time order, each with its own account."""
        last = len(self) - 1
        for i in range(len(self)):
            yield Transition(
                self.obs[i],
                self.actions[i],
                float(self.rewards[i]),
                self.obs[i + 1],
                self.terminated and i == last,
                self.truncated and i == last,
                self.infos[i + 1],
                {k: float(v[i]) for k, v in self.terms.items()},
            )

    @property
    def signal(self) -> Floats:
        """What an advantage layer works on: the advantages so far, else the rewards."""
        return self.rewards if self.advantages is None else self.advantages

    def trace(self, key: str, default: float | None = None) -> Floats:
        """``(T + 1,)`` numbers published in ``info[key]``: progress, value, score ...; NaN for None.

        Raises:
            KeyError: a step lacks the key and no ``default`` is given (a stack reports it as ``MissingFact``).
            WrongFact: what is published is no number.
        """
        row = [i[key] if default is None else i.get(key, default) for i in self.infos]
        return np.array([math.nan if x is None else as_float(x) for x in row], np.float64)

    def paid(self, name: str, rewards: Floats) -> Trajectory:
        """The same episode after layer ``name`` turned its rewards into these."""
        return replace(self, rewards=rewards, terms=self.terms | {name: rewards - self.rewards})

    def before(self, names: Sequence[str]) -> Trajectory:
        """The same episode before the first of the layers ``names`` acted."""
        order = list(self.terms)
        cut = min((order.index(n) for n in names if n in order), default=len(order))
        terms = {n: self.terms[n] for n in order[:cut]}
        rewards = np.sum(list(terms.values()), axis=0) if terms else np.zeros(len(self))
        return replace(self, terms=terms or {"env": rewards}, rewards=rewards, advantages=None)


Group = Sequence[Trajectory]  # episodes of the same task (or the agents of one joint episode)
