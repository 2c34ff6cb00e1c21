"""What NetHack shows, in words: directions, map symbols, things seen, things carried."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from typing import Any

# name of a direction: (rows down, columns right, key)
DIRECTIONS: dict[str, tuple[int, int, str]] = {
    "north": (-1, 0, "k"),
    "northeast": (-1, 1, "u"),
    "east": (0, 1, "l"),
    "southeast": (1, 1, "n"),
    "south": (1, 0, "j"),
    "southwest": (1, -1, "b"),
    "west": (0, -1, "h"),
    "northwest": (-1, -1, "y"),
}
STRAIGHT = ("north", "east", "south", "west")

# map symbols, in the order of NetHack's defsym.h, counted from GLYPH_CMAP_OFF
STONE, BARS, TREE, ROOM, DARK, CORRIDOR, LIT_CORRIDOR, STAIRS_DOWN = 0, 17, 18, 19, 20, 21, 22, 24
FIRST_TRAP, LAST_TRAP, SYMBOLS = 42, 64, 87
WALLS = frozenset(range(1, 12))
OPEN_DOORS, CLOSED_DOORS = frozenset({13, 14}), frozenset({15, 16})
LIQUID = frozenset({32, 34, 41})  # pool, lava, water
SOLID = WALLS | {BARS, TREE}
PLAIN = WALLS | {STONE, ROOM, DARK, CORRIDOR, LIT_CORRIDOR}  # what is not worth a mention
UNDERFOOT = {
    12: "a doorway",
    13: "an open door",
    14: "an open door",
    20: "the floor of a dark room",
    21: "a corridor",
    22: "a corridor",
    23: "a staircase up",
    24: "a staircase down",
    27: "an altar",
    30: "a sink",
    31: "a fountain",
    33: "ice",
}
_CONDITIONS = (  # bits of NLE_BL_CONDITION
    (0x1, "turning to stone"),
    (0x2, "turning into slime"),
    (0x4, "strangled"),
    (0x8, "food poisoned"),
    (0x10, "terminally ill"),
    (0x20, "blind"),
    (0x40, "deaf"),
    (0x80, "stunned"),
    (0x100, "confused"),
    (0x200, "hallucinating"),
    (0x400, "levitating"),
    (0x800, "flying"),
    (0x1000, "riding"),
)
BLIND = 0x20
_HUNGER = {0: "satiated", 2: "hungry", 3: "weak from hunger", 4: "fainting"}
_ARTICLE = re.compile(r"^(?:an?|the|\d+) ")
_BLESSING = re.compile(r"\b(?:uncursed|blessed|cursed) ")
_BEHIND = re.compile(r" (?:\(.*\)|named .*)$")
MOST = 24  # things that "You see" lists, nearest first


def text(buffer: Any) -> str:
    """The characters in front of the first NUL of a uint8 array."""
    return str(bytes(buffer).split(b"\0", 1)[0].decode("latin-1"))


def away(rows: int, columns: int) -> str:
    """How far something is: ``2 north 1 east``; empty for (0, 0)."""
    parts = []
    if rows:
        parts.append(f"{abs(rows)} {'south' if rows > 0 else 'north'}")
    if columns:
        parts.append(f"{abs(columns)} {'east' if columns > 0 else 'west'}")
    return " ".join(parts)


@functools.lru_cache(10_000)
def short(item: str) -> str:
    """The name of a carried thing as commands say it: no number, article, blessing, state or given name."""
    name = _ARTICLE.sub("", _BLESSING.sub("", item))
    while (cut := _BEHIND.sub("", name)) != name:
        name = cut
    return name.strip()


def condition(blstats: Any) -> str:
    """Health, hunger and what ails: ``Health 12 of 12. You are blind.``"""
    mask, hunger = int(blstats[25]), _HUNGER.get(int(blstats[21]), "")
    ails = [name for bit, name in _CONDITIONS if mask & bit] + ([hunger] if hunger else [])
    return f"Health {int(blstats[10])} of {int(blstats[11])}." + (f" You are {', '.join(ails)}." if ails else "")


def surroundings(names: Mapping[str, str]) -> str:
    """The eight neighbouring squares."""
    return "Around you: " + "; ".join(f"{where}: {name or 'solid stone'}" for where, name in names.items()) + "."


def seen(things: Iterable[tuple[int, int, str]]) -> str:
    """Everything that is not floor, wall or stone, as (rows down, columns right, name), nearest first."""
    near = sorted(things, key=lambda t: (max(abs(t[0]), abs(t[1])), t))
    listed = [f"{name} ({away(rows, columns)})" for rows, columns, name in near[:MOST]]
    if len(near) > MOST:
        listed.append(f"{len(near) - MOST} more things")
    return f"You see: {'; '.join(listed) or 'nothing special'}."


@functools.lru_cache(1_000)
def carried(inventory: tuple[tuple[str, str, int], ...]) -> str:
    """The inventory, each thing with its letter."""
    return f"You carry: {'; '.join(f'{letter}: {name}' for letter, name, _ in inventory) or 'nothing'}."
