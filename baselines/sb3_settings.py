"""Checks the numbers that an SB3 algorithm is given: SB3 itself takes a discount of 3 and fails at ``n_epochs=0`` later."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..envs.text.base import whole
from .text_settings import in_range

_WHOLE = {
    "n_steps": 1,
    "batch_size": 1,
    "n_epochs": 1,
    "buffer_size": 1,
    "learning_starts": 0,
    "target_update_interval": 1,
    "stats_window_size": 1,
    "gradient_steps": -1,  # as many as steps were taken
}
_SHARE = ("gamma", "gae_lambda", "tau", "exploration_fraction", "exploration_initial_eps", "exploration_final_eps")
_NUMBER = ("learning_rate", "clip_range", "clip_range_vf", "ent_coef", "vf_coef", "max_grad_norm", "target_kl")


def check_numbers(name: str, settings: Mapping[str, Any]) -> None:
    """Every number is of the right kind and size; None and schedules (functions) are left to SB3.

    Args:
        name: of the algorithm.
        settings: of the model.

    Raises:
        ValueError: names the algorithm, the setting and what is allowed.
    """
    try:
        for key, value in settings.items():
            if value is None or callable(value):
                continue
            if key in _WHOLE:
                whole(key, value, _WHOLE[key])
            elif key in _SHARE:
                in_range(key, value, 0, 1)
            elif key in _NUMBER:
                in_range(key, value, 0)
            elif key == "train_freq":
                pair = isinstance(value, (list, tuple)) and len(value) == 2 and value[1] in ("step", "episode")
                whole(key, value[0] if pair else value, 1, also="(number, 'step' or 'episode') or ")
    except ValueError as e:
        raise ValueError(f"{name}: {e}") from e
