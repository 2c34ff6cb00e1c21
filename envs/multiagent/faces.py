"""The two faces of a game: texts, and arrays for agents without words."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, Space

from ..text.base import whole
from ..text.encode import Encoder
from ..text.spaces import Unicode
from .base import Game


class Words(str):
    """A text that says its dtype, which PettingZoo's ``api_test`` asks every observation for."""

    __slots__ = ()
    dtype = np.dtype(str)


class TextFace:
    """What an agent sees as a text, ``Unicode(max_length)``; what it does as a text, ``Unicode(max_length)``."""

    def __init__(self, game: Game) -> None:
        self.game = game
        self.observation: Space[Any] = Unicode(game.max_length)
        self.action: Space[Any] = Unicode(game.max_length)
        self.state: Space[Any] = Unicode(game.max_length * len(game.possible_agents))

    def show(self, agent: str, info: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """The observation, and the info with what belongs to it."""
        return Words(self.game.look(agent)), info

    def command(self, agent: str, action: Any) -> Any:
        """The command that an action stands for."""
        return action

    def action_for(self, agent: str, command: str) -> Any:
        """The action that stands for a command."""
        return command

    def whole_state(self) -> Any:
        """All that a spectator sees."""
        return self.game._scene()[: self.state.max_length]  # type: ignore[attr-defined]


class ArrayFace:
    """Arrays in, an index into the admissible actions out.

    Observation, a flat ``Dict``: ``observation`` float32 ``(dim + gauges,)`` in [-1, 1], hashed words and word pairs of the
    text, then the game's gauges; ``actions`` float32 ``(rows, action_dim + 3 * 6 + measures)`` in [-1, 1], a row an admissible
    action, sorted: its hashed words, how much of it each of the first six lines of the text has, the game's measures of it;
    ``action_mask`` int8 ``(rows,)``. Action: the index of a row; one without an action is invalid in the world, not an error.
    More admissible actions than rows are cut and counted in ``info["actions_cut"]``; ``wait`` always stays.

    The state, for centralised critics, is all agents' ``observation`` in one array, zeros for those who left.

    Args:
        game: the rules.
        dim: features of the text.
        action_dim: hashed features of an action.
        rows: of actions, from 2.

    Raises:
        ValueError: a size that is not allowed; names it.
    """

    def __init__(self, game: Game, dim: int = 64, action_dim: int = 32, rows: int = 64) -> None:
        self.game, self.rows = game, whole("rows", rows, 2)  # one would hold nothing but ``wait``
        self.encoder = Encoder(dim, action_dim, rows)
        self.width = self.encoder.width + game.measures
        self.length = dim + game.gauges
        self.observation: Space[Any] = Dict(
            {
                "observation": Box(-1.0, 1.0, (self.length,), np.float32),
                "actions": Box(-1.0, 1.0, (rows, self.width), np.float32),
                "action_mask": Box(0, 1, (rows,), np.int8),
            }
        )
        self.action: Space[Any] = Discrete(rows)
        self.state: Space[Any] = Box(-1.0, 1.0, (self.length * len(game.possible_agents),), np.float32)

    def _rows(self, agent: str) -> tuple[str, ...]:
        *some, wait = self.game.choices(agent)
        return tuple(sorted([*sorted(some)[: self.rows - 1], wait]))

    def show(self, agent: str, info: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """The observation, and the info with what belongs to it."""
        game, rows = self.game, self._rows(agent)
        out = self.encoder.features(game.look(agent), rows)
        if game.gauges:
            out["observation"] = np.concatenate([out["observation"], np.asarray(game._gauges(agent), np.float32)])
        if game.measures:
            measures = np.zeros((self.rows, game.measures), np.float32)
            measures[: len(rows)] = game._measures(agent, rows)
            out["actions"] = np.concatenate([out["actions"], measures], axis=1)
        cut = len(game.choices(agent)) - len(rows)
        info = info | {"action_mask": out["action_mask"].copy(), "admissible_actions": rows, "actions_cut": cut}
        return out, info

    def command(self, agent: str, action: Any) -> Any:
        """The command that an index stands for; one that is none is answered as invalid.

        Raises:
            TypeError: the action is no whole number.
        """
        try:
            i = operator.index(action)
        except TypeError:
            raise TypeError(f"an encoded action is the index of a row, a whole number, not {action!r}") from None
        rows = self._rows(agent)
        return rows[i] if 0 <= i < len(rows) else ""

    def action_for(self, agent: str, command: str) -> Any:
        """The index that stands for a command.

        Raises:
            ValueError: it is none of the rows.
        """
        rows = self._rows(agent)
        if command not in rows:
            raise ValueError(
                f"{command[:80]!r} is none of the {len(rows)} rows of {agent}: more rows, or more choices, may hold it"
            )
        return rows.index(command)

    def whole_state(self) -> Any:
        """All agents' observations."""
        zeros = np.zeros(self.length, np.float32)
        shown = [
            self.show(a, {})[0]["observation"] if a in self.game.agents else zeros for a in self.game.possible_agents
        ]
        return np.concatenate(shown)


FACES = {"text": TextFace, "encoded": ArrayFace}
