"""A dense reward that can be hacked, on purpose: it pays for every action that the world accepts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from milepost import Shaper, Transition


@dataclass
class ValidActionBonus(Shaper):
    """``r' = r + bonus`` whenever ``info["valid_action"]``: looking around for ever beats solving the task."""

    bonus: float = 0.1
    """Paid for every valid action."""
    needs = ("valid_action",)

    def step(self, state: None, t: Transition) -> tuple[Any, None]:
        """Pays for being valid."""
        return t.reward + self.bonus * bool(t.info["valid_action"]), None
