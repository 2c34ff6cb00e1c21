"""What multiagent_learns.toml needs beside the product: factors, a late team return, the action that is "not there"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from pettingzoo.utils import BaseParallelWrapper

from milepost import Shaper, Transition


@dataclass
class AtTheEnd(Shaper):
    """Pays an episode's return on its last step: the same return, but nobody is told what it was for."""

    return_preserving = True

    def episode(self, traj: Any) -> Any:
        """``(T,)``, zeros and the sum."""
        out = np.zeros(len(traj))
        out[-1:] = traj.rewards.sum()
        return out


def spread(t: Transition) -> dict[str, float]:
    """Factors of mpe2's ``simple_spread`` for ``LatentReward``, of an agent's own view after its step.

    Its observation, of three agents, has its velocity and place (4 numbers), then the landmarks' (6) and the others' places (4)
    as seen from it. A good team has an agent near each landmark and none near another.
    """
    view = np.asarray(t.next_obs, np.float64)
    own, landmarks, others = np.zeros(2), view[4:10].reshape(3, 2), view[10:14].reshape(2, 2)
    agents = np.vstack([own[None], others])
    far = np.linalg.norm(landmarks[:, None] - agents[None], axis=2)  # (landmark, agent)
    return {
        "nearest landmark": float(far[:, 0].min()),
        "uncovered": float(far.min(1).sum()),  # of each landmark, how far the nearest agent is
        "mine": float(far[far.argmin(1) == 0, 0].sum()),  # the part of it that this agent is the nearest to
        "touching": float((np.linalg.norm(others, axis=1) < 0.3).sum()),
        "speed": float(np.linalg.norm(view[:2])),
    }


class Removed(BaseParallelWrapper):  # type: ignore[misc]
    """What the team of mpe2's ``simple_spread`` would be paid if some agents were not there: the facts of ``Counterfactual``.

    The team's reward is minus the sum over landmarks of the distance to the nearest agent, so that of any coalition follows
    from what its agents see. Without any agent each landmark counts as 2 away, the width of the map. The product's
    ``Counterfactual`` would replay copies of the game, which costs most of a run, and a replay of one step is blind here: mpe2
    moves bodies before it accelerates them, so an action shows one step later.
    """

    def step(self, actions: dict[str, int]) -> tuple[Any, ...]:
        """Steps the game and publishes the facts."""
        obs, rewards, terminated, truncated, infos = self.env.step(actions)
        who = list(actions)
        far = np.array([np.linalg.norm(obs[a][4:10].reshape(3, 2), axis=1) for a in who])  # (agent, landmark)
        far = np.vstack([far, np.full((1, 3), 2.0)])

        def value(coalition: int) -> float:
            there = [k for k in range(len(who)) if coalition >> k & 1] or [-1]
            return -float(far[there].min(0).sum())

        everyone = (1 << len(who)) - 1
        coalitions = tuple(range(everyone + 1))
        values = tuple(map(value, coalitions))
        for k, a in enumerate(who):
            facts = {"team_reward": values[everyone], "counterfactual": values[everyone & ~(1 << k)]}
            shares = {"players": tuple(who), "player": k, "coalitions": coalitions, "values": values, "orders": ()}
            infos[a] = infos[a] | facts | {"coalition_values": shares}
        return obs, rewards, terminated, truncated, infos
