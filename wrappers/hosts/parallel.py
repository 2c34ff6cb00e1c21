"""A stack on a PettingZoo ``ParallelEnv``: one lane an agent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pettingzoo.utils import BaseParallelWrapper

from ..facts import Fact
from ..shaper import Shaper
from ..stack import Lane, Stack
from ..types import Transition, account
from . import inner_stack


class ShapedParallelEnv(BaseParallelWrapper):  # type: ignore[misc]
    """Agents that step together reach each layer's ``steps`` together; their episodes reach ``group`` together.

    ``meta`` of a finished episode has ``agent`` and ``joint`` (the count of resets). Arguments as ``shape``.
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
        self.lanes: dict[Any, Lane] = {}
        self.team: list[Lane] = []
        self.count = 0

    def close(self) -> None:
        """Closes the game and what the layers hold open."""
        super().close()
        self.stack.release()

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[Any, Any], dict[Any, Any]]:
        """Resets the game and begins an episode for every agent."""
        obs, infos = self.env.reset(seed=seed, options=options)
        if any(lane.walked for lane in self.lanes.values()):
            self.stack._abandon()
        self.lanes, self.team, self.count = {}, [], self.count + 1
        return obs, infos | {a: infos[a] | self._join(a, o, infos[a]) for a, o in obs.items()}

    def _join(self, agent: Any, obs: Any, info: dict[str, Any]) -> dict[str, Any]:
        self.lanes[agent] = Lane(self.team, agent=agent, joint=self.count)
        self.team.append(self.lanes[agent])
        return self.stack.begin(self.lanes[agent], obs, info)

    def step(self, actions: dict[Any, Any]) -> tuple[dict[Any, Any], ...]:
        """Steps all agents; each agent's reward is what the layers make of it."""
        obs, rewards, term, trunc, infos = self.env.step(actions)
        who = [a for a in rewards if a in actions and a in self.lanes]
        ts = []
        for a in who:
            r = float(rewards[a])
            t = Transition(self.lanes[a].obs, actions[a], r, obs[a], term[a], trunc[a], infos[a], account(infos[a], r))
            ts.append(t)
        new, extra = self.stack.step([self.lanes[a] for a in who], ts)
        rewards, infos = dict(rewards), dict(infos)
        for a, r, e in zip(who, new, extra):
            rewards[a], infos[a] = r, infos[a] | e
        for a in [a for a in obs if a not in self.lanes]:  # an agent that joined in mid-game
            infos[a] = infos[a] | self._join(a, obs[a], infos[a])
        return obs, rewards, term, trunc, infos
