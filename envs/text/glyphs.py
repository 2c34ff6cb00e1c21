"""The glyph face of MiniHack: arrays as NetHack shows them in, an index into a fixed list of words out."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete

from . import minihack_actions as a
from . import minihack_words as w
from .indexed import Indexed
from .minihack_game import PICK_UP, Game, nethack

# what a square of the crop is told apart as; one feature each
SQUARES = (
    "nothing",
    "floor",
    "wall",
    "corridor",
    "doorway",
    "open door",
    "closed door",
    "stairs up",
    "stairs down",
    "water",
    "lava",
    "trap",
    "tool",
    "boulder",
    "other object",
    "creature",
    "other",
)
CLASSES = 18  # NetHack's classes of objects
_SIDE = 9
_KEYS = ("glyphs", "chars_crop", "blstats", "message", "features", "action_mask")
_LIMIT = float(2**31 - 1)


@functools.cache
def _squares() -> Any:
    """``(MAX_GLYPH + 1,)`` uint8: the place in ``SQUARES`` of every glyph."""
    n = nethack()
    place = {name: i for i, name in enumerate(SQUARES)}
    out = np.full(n.MAX_GLYPH + 1, place["other"], np.uint8)
    out[: n.GLYPH_BODY_OFF] = place["creature"]
    out[n.GLYPH_BODY_OFF : n.GLYPH_RIDDEN_OFF] = place["other object"]
    out[n.GLYPH_RIDDEN_OFF : n.GLYPH_OBJ_OFF] = place["creature"]
    out[n.GLYPH_OBJ_OFF : n.GLYPH_CMAP_OFF] = place["other object"]
    out[n.GLYPH_STATUE_OFF :] = place["other object"]
    for i in range(n.GLYPH_CMAP_OFF - n.GLYPH_OBJ_OFF):
        kind = ord(n.objclass(i).oc_class)
        if kind in (a.TOOL, a.ROCK):
            out[n.GLYPH_OBJ_OFF + i] = place["tool" if kind == a.TOOL else "boulder"]
    symbols = dict.fromkeys(w.WALLS | {w.BARS, w.TREE}, "wall")
    symbols |= {0: "nothing", 12: "doorway", 19: "floor", 20: "floor", 21: "corridor", 22: "corridor"}
    symbols |= dict.fromkeys(w.OPEN_DOORS, "open door") | dict.fromkeys(w.CLOSED_DOORS, "closed door")
    symbols |= {23: "stairs up", 24: "stairs down", 32: "water", 34: "lava", 41: "water"}
    symbols |= dict.fromkeys(range(w.FIRST_TRAP, w.LAST_TRAP + 1), "trap")
    for symbol, name in symbols.items():
        out[n.GLYPH_CMAP_OFF + symbol] = place[name]
    return out


def word_of(command: str) -> str:
    """The word that stands for a command: what it is done with, and which door, is left out.

    ``apply key east`` is ``apply key``, ``zap forked wand north`` is ``zap north``, ``quaff potion of sickness`` is
    ``quaff``; moves stay as they are.
    """
    if command.startswith("go ") or command in ("pick up", "search", "pray", "drink from here", "eat what lies here"):
        return command
    head, _, where = command.rpartition(" ")
    if head in ("apply key", "open door", "kick door"):
        return head
    if command.startswith(("zap ", "apply ")):
        verb = command.split(" ", 1)[0]
        return f"{verb} {where}" if where in w.DIRECTIONS else verb
    return next((v for v in a.USES if command.startswith(f"{v} ")), command)


def vocabulary(game: Game) -> tuple[str, ...]:
    """All words of a level, in a fixed order: those for which its action set has the key."""
    keys = game.keys
    words = [f"go {where}" for where, (*_, key) in w.DIRECTIONS.items() if ord(key) in keys]
    alone = {"pick up": PICK_UP, "search": a.SEARCH, "apply key": a.APPLY, "open door": a.OPEN, "kick door": a.KICK}
    alone |= {"pray": a.PRAY, "drink from here": a.QUAFF, "eat what lies here": a.EAT}
    words += [word for word, key in alone.items() if key in keys]
    words += [verb for verb, (key, _) in a.USES.items() if key in keys]
    if a.ZAP in keys:
        words += [f"zap {where}" for where in w.DIRECTIONS]
    if a.APPLY in keys and not game.key_only:
        words += ["apply", *(f"apply {where}" for where in w.DIRECTIONS)]
    return tuple(words)


class Glyphs(Indexed):
    """Arrays for agents that take no text.

    Observation, a flat ``Dict`` of ``keys``: ``glyphs`` int16 ``(21, 79)``, NetHack's numbers of what the map shows;
    ``chars_crop`` uint8 ``(9, 9)``, the characters around the hero; ``blstats`` float32 ``(27,)``, NetHack's status line;
    ``message`` uint8 ``(256,)``, the last message; ``features`` float32 ``(1399,)`` in [0, 1], for networks that want
    scaled numbers: each of the 81 squares around the hero as one of ``SQUARES`` (17 features, one of them 1), then for each
    of NetHack's 18 classes of objects whether one is carried, whether a key is, health, row and column; ``action_mask``
    int8, 1 for the words that can be done now.

    Action: the index of a word of ``words``, a list that stays the same for a level: the directions, ``pick up``,
    ``apply key`` (to the door beside the hero) and what else the level's action set has. A word is done to the first thing
    that it fits. A word that cannot be done now is an invalid action of the world, not an error.

    Args:
        env: ``milepost/MiniHack-v0``, shaped or not.
        keys: parts of the observation, None for all; ``("features", "action_mask")`` suits a plain MLP, to which numbers of
            glyphs mean little.

    Raises:
        ValueError: an unknown key, or an environment that is not MiniHack.
    """

    what = "an action is the index of a word"

    def __init__(self, env: gym.Env[Any, Any], keys: Sequence[str] | None = None) -> None:
        from ..errors import one_of
        from .minihack import MiniHackEnv

        chosen = _KEYS if keys is None else tuple(keys)
        for key in chosen:
            if key not in _KEYS:
                raise one_of("a key of Glyphs", key, _KEYS)
        if not isinstance(env.unwrapped, MiniHackEnv):
            raise ValueError(f"Glyphs goes around milepost/MiniHack-v0, not {env.unwrapped}")
        super().__init__(env, keys=None if keys is None else list(keys))
        self.keys, self._world = chosen, env.unwrapped
        self.words = vocabulary(self._world.game)
        spaces: dict[str, gym.Space[Any]] = {
            "glyphs": Box(0, nethack().MAX_GLYPH, (21, 79), np.int16),
            "chars_crop": Box(0, 255, (_SIDE, _SIDE), np.uint8),
            "blstats": Box(-_LIMIT, _LIMIT, self._world.game.blstats.shape, np.float32),
            "message": Box(0, 255, (256,), np.uint8),
            "features": Box(0.0, 1.0, (_SIDE * _SIDE * len(SQUARES) + CLASSES + 4,), np.float32),
            "action_mask": Box(0, 1, (len(self.words),), np.int8),
        }
        self.observation_space = Dict({key: spaces[key] for key in chosen})
        self.action_space = Discrete(len(self.words))

    def _command(self, i: int) -> str:
        word = self.words[i] if 0 <= i < len(self.words) else ""
        return next((c for c in self._choices if word_of(c) == word), "")

    def index_of(self, command: str) -> int:
        """The action that stands for a command, such as one of the oracle's.

        Raises:
            ValueError: the level has no word for it.
        """
        return self.words.index(word_of(command))

    def action_masks(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """``(words,)`` bool, as sb3-contrib's MaskablePPO asks for it."""
        can = {word_of(c) for c in self._choices}
        return np.array([word in can for word in self.words])

    def _shown(self, text: str, info: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        self._choices = tuple(info["admissible_actions"])
        game, mask = self._world.game, self.action_masks().astype(np.int8)
        make = {
            "glyphs": game.glyphs.copy,
            "chars_crop": game.chars_crop,
            "blstats": lambda: game.blstats.astype(np.float32),
            "message": game.said.copy,
            "features": lambda: self._features(game),
            "action_mask": lambda: mask,
        }
        return {key: make[key]() for key in self.keys}, info | {"action_mask": mask.copy()}

    def _features(self, game: Game) -> np.ndarray[Any, np.dtype[np.float32]]:
        y, x = game.here
        squares = np.zeros((21 + _SIDE - 1, 79 + _SIDE - 1), np.uint8)  # beyond the map there is nothing
        squares[4:25, 4:83] = _squares()[game.glyphs]
        out = np.zeros((_SIDE * _SIDE, len(SQUARES)), np.float32)
        out[np.arange(_SIDE * _SIDE), squares[y : y + _SIDE, x : x + _SIDE].ravel()] = 1.0
        rest = np.zeros(CLASSES + 4, np.float32)
        for _, _, kind in game.inventory:
            rest[kind] = 1.0
        health, most = float(game.blstats[10]), float(game.blstats[11])
        rest[CLASSES:] = bool(a.key_letter(game)), min(1.0, max(0.0, health / max(1.0, most))), y / 20, x / 78
        return np.concatenate([out.ravel(), rest])
