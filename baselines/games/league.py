"""A league of past selves: whom the current one meets in training."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from ...envs.errors import one_of
from ...envs.text.base import whole
from ..text_settings import in_range
from .elo import expected, fit


class League:
    """Weights of past selves and what games between them and the current one showed.

    Args:
        latest: share of games against the current self, 0 to 1.
        pick: of the other games: ``uniform`` over past selves, or ``elo``: in proportion to what a past self is expected to
            score against the current one, so that those who still win are met more often (Vinyals et al. 2019, prioritised
            fictitious self-play, with Elo in place of the win rate).
        every: updates between two snapshots.
        size: past selves at most; then the oldest but the first falls out.
        seed: of the draws.

    Raises:
        ValueError: a setting that is not allowed.
    """

    def __init__(
        self,
        latest: float = 0.5,
        pick: Literal["uniform", "elo"] = "elo",
        every: int = 5,
        size: int = 20,
        seed: int = 0,
    ) -> None:
        in_range("latest", latest, 0, 1)
        if pick not in ("uniform", "elo"):
            raise one_of("pick", pick, ("uniform", "elo"))
        self.latest, self.pick = float(latest), pick
        self.every, self.size = whole("every", every, 1), whole("size", size, 2)
        self.rng = np.random.default_rng(seed)
        self.past: list[dict[str, Any]] = []  # weights
        self.steps: list[int] = []  # at which each was the current one
        self.points = np.zeros((1, 1))  # what the row scored against the column; the last is the current self

    def __len__(self) -> int:
        return len(self.past)

    def add(self, weights: dict[str, Any], steps: int) -> None:
        """A snapshot of the current self; what it scored goes with it."""
        self.past.append(weights)
        self.steps.append(steps)
        self.points = np.pad(self.points, (0, 1))
        if len(self.past) > self.size:
            self.past.pop(1)
            self.steps.pop(1)
            self.points = np.delete(np.delete(self.points, 1, 0), 1, 1)

    def record(self, past: int, score: float) -> None:
        """What the current self scored against a past one, 0 to 1."""
        self.points[-1, past] += score
        self.points[past, -1] += 1.0 - score

    def elo(self) -> Any:
        """``(past + 1,)`` ratings from games in training; the last is the current self's."""
        return fit(self.points, tolerance=1e-6)

    def chances(self) -> Any:
        """``(past,)`` how likely each past self is drawn, given that one is."""
        if self.pick == "uniform":
            return np.full(len(self.past), 1.0 / max(1, len(self.past)))
        *others, mine = self.elo()
        weight = np.array([expected(r, mine) for r in others])
        return weight / weight.sum()

    def draw(self) -> int | None:
        """A past self's number, or None: the current one."""
        if not self.past or self.rng.random() < self.latest:
            return None
        return int(self.rng.choice(len(self.past), p=self.chances()))

    def state_dict(self) -> dict[str, Any]:
        """All that changes."""
        return {
            "past": self.past,
            "steps": self.steps,
            "points": self.points,
            "rng": self.rng.bit_generator.state,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes it back."""
        self.past, self.steps = list(state["past"]), [int(s) for s in state["steps"]]
        self.points = np.asarray(state["points"], np.float64)
        self.rng.bit_generator.state = state["rng"]
