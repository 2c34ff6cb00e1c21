"""Hyper-parameters of the text agent; no torch is needed to read or to check them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..envs.text.base import whole


@dataclass
class Settings:
    """Hyper-parameters; the defaults are those of every published number.

    Raises:
        ValueError: a value is not allowed; names the setting and what is.
    """

    dim: int = 48
    """Size of the word embedding."""
    hidden: int = 64
    """Width of the scorer and of the critic."""
    vocabulary: int = 4096
    """Rows of the embedding table."""
    lanes: int = 16
    """Environments stepped side by side."""
    group: int = 1
    """Lanes that play the same task side by side, for layers that compare episodes (GRPO's group size)."""
    batch_steps: int = 1024
    """Steps of finished episodes in an update."""
    minibatch: int = 256
    """Steps in a gradient step."""
    epochs: int = 4
    """Passes over a batch."""
    lr: float = 2e-3
    """Adam's step size."""
    gamma: float = 0.99
    """Discount."""
    lam: float = 0.95
    """GAE's lambda."""
    clip: float = 0.2
    """PPO's clip range."""
    entropy: float = 0.01
    """Weight of the entropy bonus."""
    value: float = 0.5
    """Weight of the value loss."""
    grad_norm: float = 1.0
    """Largest gradient norm."""

    def __post_init__(self) -> None:
        for name in ("dim", "hidden", "vocabulary", "lanes", "group", "batch_steps", "minibatch", "epochs"):
            setattr(self, name, whole(name, getattr(self, name), 1))
        if self.lanes % self.group:
            raise ValueError(f"group is {self.group}; allowed: a divisor of lanes, which is {self.lanes}")
        for name in ("gamma", "lam"):
            in_range(name, getattr(self, name), 0, 1)
        for name in ("entropy", "value"):
            in_range(name, getattr(self, name), 0)
        for name in ("lr", "clip", "grad_norm"):
            in_range(name, getattr(self, name), 0, above=True)


def in_range(name: str, value: Any, low: float, high: float | None = None, above: bool = False) -> None:
    """A number between two ends.

    Args:
        name: of the setting.
        value: as it was given.
        low: smallest allowed.
        high: largest allowed, None for any finite one.
        above: ``low`` itself is not allowed.

    Raises:
        ValueError: it is no number, or outside; names the setting and what is allowed.
    """
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not number or value < low or (above and value == low) or (high is not None and value > high):
        said = f"a number {'above' if above else 'from'} {low}" + ("" if high is None else f" to {high}")
        raise ValueError(f"{name} is {value!r}; allowed: {said}")
