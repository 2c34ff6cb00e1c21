"""The encoded face of a text environment: hashed features in, an index into the admissible actions out."""

from __future__ import annotations

import functools
import itertools
import re
import zlib
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete

from .indexed import Indexed

Features = np.ndarray[Any, np.dtype[np.float32]]
LINES = 6  # the first lines of the observation, each compared with every action


@functools.lru_cache(100_000)
def words(text: str) -> tuple[str, ...]:
    """Lower-case words of a text."""
    return tuple(re.findall(r"\w+", text.lower()))


@functools.lru_cache(100_000)
def hashed(text: str, dim: int) -> Features:
    """``(dim,)`` signed bag of the words and word pairs of ``text`` (crc32, never Python's ``hash``), of length 1."""
    out = np.zeros(dim, np.float32)
    found = words(text)
    for token in (*found, *(f"{a} {b}" for a, b in itertools.pairwise(found))):
        code = zlib.crc32(token.encode())
        out[(code >> 1) % dim] += 1.0 if code & 1 else -1.0
    norm = float(np.sqrt(out @ out))
    out /= norm or 1.0
    out.setflags(write=False)  # the cache hands the same array to everybody
    return out


@functools.lru_cache(100_000)
def _parts(line: str) -> tuple[frozenset[str], frozenset[str]]:
    """The words of a line, and those of its first sentence."""
    return frozenset(words(line)), frozenset(words(re.split(r"[.;]", line, maxsplit=1)[0]))


@functools.lru_cache(200_000)
def overlap(action: str, line: str) -> tuple[float, float, float]:
    """Share of the action's words that the line has, share in its first sentence, and 1.0 if it has all in order."""
    mine = words(action)
    if not mine:
        return 0.0, 0.0, 0.0
    (there, first), rest = _parts(line), iter(words(line))
    n, found = len(mine), sum(w in there for w in mine)
    return found / n, sum(w in first for w in mine) / n, float(found == n and all(w in rest for w in mine))


class Encoder:
    """Texts and the actions that can be taken as arrays of fixed sizes.

    Args:
        dim: features of the text.
        action_dim: hashed features of an action.
        max_actions: rows.

    Raises:
        ValueError: a size below 1.
    """

    def __init__(self, dim: int = 256, action_dim: int = 64, max_actions: int = 32) -> None:
        for what, n in (("dim", dim), ("action_dim", action_dim), ("max_actions", max_actions)):
            if isinstance(n, bool) or not isinstance(n, int) or n < 1:
                raise ValueError(f"{what} is {n!r}; allowed: a whole number from 1")
        self.dim, self.action_dim, self.max_actions = dim, action_dim, max_actions
        self.width = action_dim + 3 * LINES

    def space(self) -> Dict:
        """The space of what ``features`` gives."""
        return Dict(
            {
                "observation": Box(-1.0, 1.0, (self.dim,), np.float32),
                "actions": Box(-1.0, 1.0, (self.max_actions, self.width), np.float32),
                "action_mask": Box(0, 1, (self.max_actions,), np.int8),
            }
        )

    def features(self, text: str, choices: Sequence[str]) -> dict[str, Any]:
        """The encoded observation of a text and its admissible actions."""
        choices = sorted(choices)[: self.max_actions]
        lines = text.split("\n")[:LINES]
        observation = np.zeros(self.dim, np.float32)
        for line in text.split("\n"):
            observation += hashed(line, self.dim)
        observation /= np.float32(max(1.0, float(np.abs(observation).max())))
        rows = np.zeros((self.max_actions, self.width), np.float32)
        for row, action in zip(rows, choices):
            row[: self.action_dim] = hashed(action, self.action_dim)
            for k, line in enumerate(lines):
                row[self.action_dim + 3 * k : self.action_dim + 3 * k + 3] = overlap(action, line)
        mask = (np.arange(self.max_actions) < len(choices)).astype(np.int8)
        return {"observation": observation, "actions": rows, "action_mask": mask}


class Encode(Indexed):
    """Numbers for agents that take no text.

    Observation, a flat ``Dict``: ``observation`` float32 ``(dim,)`` in [-1, 1], hashed words and word pairs of the text;
    ``actions`` float32 ``(max_actions, action_dim + 3 * 6)``, a row an admissible action: its hashed words and how much of
    it each of the first six lines of the text has (so that scoring rows carries over to unseen worlds); ``action_mask``
    int8 ``(max_actions,)``, 1 for rows that are there. Action: the index of a row.

    Features come from the observation and the admissible actions only. More admissible actions than rows are cut after
    the first ``max_actions`` in sorted order and counted in ``info["actions_cut"]``. An index without an action is an
    invalid action of the world, not an error.

    Args:
        env: a text environment that publishes ``info["admissible_actions"]``.
        dim: features of the text.
        action_dim: hashed features of an action.
        max_actions: rows.

    Raises:
        ValueError: a size below 1.
        KeyError: the environment publishes no ``admissible_actions``.
    """

    what = "an encoded action is the index of a row"

    def __init__(self, env: gym.Env[Any, Any], dim: int = 256, action_dim: int = 64, max_actions: int = 32) -> None:
        super().__init__(env, dim=dim, action_dim=action_dim, max_actions=max_actions)
        self.encoder, self.max_actions = Encoder(dim, action_dim, max_actions), max_actions
        self.observation_space = self.encoder.space()
        self.action_space = Discrete(max_actions)

    def _command(self, i: int) -> str:
        return self._choices[i] if 0 <= i < len(self._choices) else ""

    def action_masks(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """``(max_actions,)`` bool, as sb3-contrib's MaskablePPO asks for it."""
        return np.arange(self.max_actions) < len(self._choices)

    def _shown(self, text: str, info: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        if "admissible_actions" not in info:
            raise KeyError("Encode needs info['admissible_actions'], which this environment does not publish")
        every = sorted(info["admissible_actions"])
        self._choices = tuple(every[: self.max_actions])
        out = self.encoder.features(text, self._choices)
        return out, info | {"action_mask": out["action_mask"].copy(), "actions_cut": len(every) - len(self._choices)}
