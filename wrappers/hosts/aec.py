"""A stack on a PettingZoo ``AECEnv``: an agent's step runs from its turn to its next turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pettingzoo.utils import BaseWrapper

from ..facts import Fact
from ..shaper import Shaper
from ..stack import Lane, Stack
from ..types import Transition, account
from . import inner_stack


class ShapedAECEnv(BaseWrapper):  # type: ignore[misc]
    """Shadows ``rewards``, ``infos`` and the running sums, so that ``last()`` stays their total.

    ``meta`` of a finished episode has ``agent`` and ``joint`` (the count of resets). Arguments as ``shape``.

    Raises:
        ValueError: a layer that pays rewards needs all agents at once.
    """

    def __init__(
        self,
        env: Any,
        shapers: Sequence[Shaper | Mapping[str, Any]],
        seed: int = 0,
        facts: Mapping[str, str | Fact] | None = None,
    ) -> None:
        super().__init__(env)
        self.stack = Stack(shapers, seed, facts=facts, inner=inner_stack(env))
        for name, m in zip(self.stack.names[: self.stack.c], self.stack.shapers):  # the tail pays nobody: it may
            if m.pool == "joint":
                raise ValueError(
                    f"{name} mixes agents that step together, here they take turns: use aec_to_parallel(env)"
                )
        self.lanes: dict[Any, Lane] = {}
        self.actions: dict[Any, Any] = {}
        self.count = 0

    def close(self) -> None:
        """Closes the game and what the layers hold open."""
        super().close()
        self.stack.release()

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        """Resets the game; an agent's episode begins at its first turn."""
        self.env.reset(seed=seed, options=options)
        if any(lane.walked for lane in self.lanes.values()):
            self.stack._abandon()
        self.lanes, self.actions, self.count = {}, {}, self.count + 1
        self._cumulative_rewards = dict.fromkeys(self.env.agents, 0.0)
        self._turn()

    def step(self, action: Any) -> None:
        """The agent whose turn it is acts; whoever is next sees the outcome of its previous action."""
        agent = self.env.agent_selection
        if action is not None:
            self.actions[agent] = action
        self._cumulative_rewards[agent] = 0.0
        self.env.step(action)
        self._turn()

    def _turn(self) -> None:
        self.rewards, self.infos = dict(self.env.rewards), dict(self.env.infos)
        if self.env.agents:
            a = self.env.agent_selection
            obs, reward, term, trunc, info = self.env.last()
            lane = self.lanes.setdefault(a, Lane(agent=a, joint=self.count))
            if lane.states is not None and a in self.actions:
                r = float(reward)
                t = Transition(lane.obs, self.actions.pop(a), r, obs, term, trunc, info, account(info, r))
                new, extra = self.stack.step_one(lane, t)
                self.rewards[a] += new - r
                self.infos[a] = info | extra
            elif lane.states is None and a not in self.actions and not (term or trunc):
                self.infos[a] = info | self.stack.begin(lane, obs, info)
        sums = self._cumulative_rewards
        self._cumulative_rewards = {a: sums.get(a, 0.0) + r for a, r in self.rewards.items()}
