"""Wrappers of PettingZoo games; they take the place of SuperSuit's common ones.

Each is a function of a game that picks by its kind, ``ParallelEnv`` or ``AECEnv``: ``frame_stack(env, 4)``. What differs from
SuperSuit is said at each: observations are new arrays and the action mask of Dict observations is left alone, rewards keep
their account (``info["reward_terms"]`` sums to the reward), randomness comes from the seed of ``reset``, and ``snapshot`` and
``restore`` go through. ``to_gymnasium`` and ``to_sb3`` make vector environments with one lane an agent. Needs the extra
``multiagent``, ``to_sb3`` also ``sb3``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .actions import pad_actions, sticky_actions
from .deaths import black_death
from .frames import delay_observations, frame_stack
from .rewards import clip_reward, normalize_reward, scale_reward
from .shapes import agent_indicator, dtype, flatten, pad_observations
from .vector import to_gymnasium

if TYPE_CHECKING:
    from .sb3 import to_sb3

__all__ = [
    "agent_indicator",
    "black_death",
    "clip_reward",
    "delay_observations",
    "dtype",
    "flatten",
    "frame_stack",
    "normalize_reward",
    "pad_actions",
    "pad_observations",
    "scale_reward",
    "sticky_actions",
    "to_gymnasium",
    "to_sb3",
]


def __getattr__(name: str) -> Any:
    """Stable-Baselines3 brings torch: it is loaded when it is asked for."""
    if name == "to_sb3":
        from .sb3 import to_sb3

        return to_sb3
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
