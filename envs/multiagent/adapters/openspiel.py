"""OpenSpiel's games as Shimmy makes them, with every reward paid once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyspiel
from pettingzoo.utils.wrappers import OrderEnforcingWrapper, TerminateIllegalWrapper
from shimmy.openspiel_compatibility import OpenSpielCompatibilityV0


def offered() -> list[str]:
    """Games that can be loaded as they are, and that a few players with numbered actions play."""
    kinds = pyspiel.GameType.Dynamics
    return sorted(
        t.short_name
        for t in pyspiel.registered_games()
        if t.default_loadable
        and t.dynamics in (kinds.SEQUENTIAL, kinds.SIMULTANEOUS)
        and (
            t.provides_observation_tensor
            or t.provides_information_state_tensor
            or t.provides_observation_string
            or t.provides_information_state_string
        )
    )


class Spiel(OpenSpielCompatibilityV0):  # type: ignore[misc]
    """Shimmy's environment; rewards are differences of returns, and agents leave as PettingZoo has it."""

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        """A new game, with chance from the seed."""
        self._paid = np.zeros(len(self.possible_agents))
        super().reset(seed=seed, options=options)
        self._paid = np.array(self.game_state.returns())

    def _update_rewards(self) -> None:
        now = np.array(self.game_state.returns())
        self.rewards = dict(zip(self.agents, (now - self._paid).tolist()))
        self._paid = now

    def _update_termination_truncation(self) -> None:
        over = (
            self.game_state.is_terminal()
        )  # Shimmy also counts chance as moves, and so cuts games off before their end
        self.terminations, self.truncations = dict.fromkeys(self.agents, over), dict.fromkeys(self.agents, False)

    def step(self, action: Any) -> None:
        """The selected player acts; one that is finished takes its one step with None."""
        if self.terminations[self.agent_selection] or self.truncations[self.agent_selection]:
            self._was_dead_step(action)
        else:
            super().step(int(action))

    def render(self) -> Any:
        """Prints the state."""
        print(self.game_state)


def make(name: str, params: Mapping[str, Any] | None) -> Any:
    """A game that enforces the order of calls and ends at an illegal action."""
    config = dict(params) if params else None
    game = Spiel(game_name=name, config=config, render_mode=None)
    return OrderEnforcingWrapper(TerminateIllegalWrapper(game, illegal_reward=-1))
