"""Difference reward: what the team has with an agent's action, less what it would have had without.

    D_i = G(z) - G(z_-i + c_i)

G is the team's reward, z what all agents did, c_i a fixed default action in the place of agent i's. Wolpert and Tumer
(2002), "Optimal payoff functions for members of collectives" (their wonderful life utility); Agogino and Tumer (2008).

By facts (the default): ``collect.Counterfactual`` plays each step again from a snapshot of the game with the default
action of i and publishes ``info["team_reward"]`` = G(z) and ``info["counterfactual"]`` = G(z_-i + c_i). With its
``actions="all"`` the second is the mean over all actions of i: the aristocrat utility of the same paper, with an even
policy.

By ``value``: a function of the joint episode gives G of any set of agents, and each agent has ``value(all) - value(all
but i)`` on its last step, 0 before.

What comes from where: the formula is common knowledge of the field, written from memory [I]; no card describes it.

Invariance: none for a whole episode. At each step it is factored: the second term does not depend on i's action, so two
actions of i differ in D_i by what they differ in G, whatever the others do. What an action does to later steps shows
only in later rewards, unless the replay has a longer ``horizon``.

Hacks: a default action that harms (or an empty one in a game where doing nothing costs) makes every other one look
good; take one that stands for "not there". An agent whose default is what it does earns 0.

Hosts: Parallel, and AEC by ``parallel_to_aec`` around the collector, since an agent's facts are its own; ``value``
needs all agents at once, so there Parallel alone. The sum over agents is not the team's reward: for that see
``ShapleyCredit``.

Departures: ``combine="add"`` keeps the rewards so far and adds D_i [I].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..maths import number
from ..shaper import Shaper, use
from ..types import Floats, Group, Level, Transition


@dataclass
class DifferenceReward(Shaper):
    """Pays what an agent's action adds to the team's reward.

    Raises:
        ValueError: ``value`` is no function.
        MissingFact: the game does not publish the counterfactual or the team's reward: put ``collect.Counterfactual``
            around it.
    """

    combine: Literal["replace", "add"] = "replace"
    """D_i instead of the rewards so far, or beside them."""
    counterfactual: str = "counterfactual"
    """Info key of the team's reward without the agent."""
    team: str = "team_reward"
    """Info key of the team's reward; ``""``: the reward so far is the team's (all agents get the same)."""
    value: Any = ""
    """``"module:function"`` or a function ``(joint episode, frozenset of agents) -> float``; ``""``: facts."""

    @property
    def pool(self) -> Any:  # type: ignore[override]
        """The joint episode, if there is a value function of it."""
        return "joint" if self.value else "task"

    @property
    def level(self) -> Level:
        """Facts come step by step; a value function wants all agents' episodes."""
        return Level.GROUP if self.value else Level.STEP

    @property
    def needs(self) -> Sequence[str]:  # type: ignore[override]
        """The facts, if they are read."""
        return () if self.value else tuple(k for k in (self.counterfactual, self.team) if k)

    @property
    def additive(self) -> bool:  # type: ignore[override]
        """Where the rewards so far stay and do not enter G."""
        return self.combine == "add" and bool(self.team or self.value)

    def setup(self, rng: np.random.Generator) -> None:
        """Looks the function up."""
        self._value = use(self.value) if self.value else None
        if self._value is not None and not callable(self._value):
            raise ValueError(f"difference_reward: value is {self._value!r}, a function is expected")

    def step(self, state: Any, t: Transition) -> tuple[Any, Any]:
        """D_i of one step."""
        total = number(t.info[self.team]) if self.team else t.reward
        d = total - number(t.info[self.counterfactual])
        return (t.reward + d if self.combine == "add" else d), None

    def group(self, group: Group) -> list[Floats]:
        """D_i of a joint episode, on each agent's last step."""
        if self._value is None:
            return super().group(group)
        who = [t.meta.get("agent", i) for i, t in enumerate(group)]
        out = [t.rewards * float(self.combine == "add") for t in group]
        every = frozenset(who)
        for a, x in zip(who, out):
            x[-1:] += number(self._value(group, every)) - number(self._value(group, every - {a}))
        return out
