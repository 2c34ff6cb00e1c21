"""What a level asks for, and which of its sub-goals have been reached, read from the state of the game."""

from __future__ import annotations

import re
from collections.abc import Callable

from . import minihack_actions as a
from . import minihack_words as w
from .minihack_game import Game, Item

Truth = Callable[[Game], bool]
_STAIRS = "reach the stairs"
_COUNT = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth")

# first words of a level's name: the task in one sentence. The longest that fits counts.
_TASKS = {
    "": "Reach the staircase down.",
    "KeyRoom": "Pick up the key, unlock the door with it, and reach the staircase down.",
    "LockedDoor": "Open the locked door, and reach the staircase down.",
    "ClosedDoor": "Open the door, and reach the staircase down.",
    "MultiRoom": "Go through the doors from room to room, and reach the staircase down in the last one.",
    "Corridor": "Find the room with the staircase down, and reach it.",
    "CorridorBattle": "Fight your way through the corridor, and reach the staircase down.",
    "MazeWalk": "Find your way through the maze to the staircase down.",
    "ExploreMaze": "Eat the apples of the maze, and reach the staircase down.",
    "River": "Push boulders into the water to make a crossing, and reach the staircase down on the other side.",
    "Quest": "Cross the lava with what you find, and reach the staircase down.",
    "Quest-Hard": "Find your way through the maze, cross the lava, defeat the demon, and reach the staircase down.",
    "LavaCross": "Cross the lava with what you find or carry, and reach the staircase down.",
    "LavaCrossing": "Reach the staircase down without stepping into the lava.",
    "HideNSeek": "Avoid the monster, and reach the staircase down.",
    "Sokoban": "Push the boulders into the pits, and reach the staircase down.",
    "Boxoban": "Push every boulder onto a fountain.",
    "Memento": "Remember what you were shown: kill the grid bug, and do not wake the other one.",
    "Labyrinth": "Find your way through the labyrinth to the staircase down.",
    "Eat": "Pick up the apple and eat it.",
    "Wield": "Pick up the dagger and wield it.",
    "Wear": "Pick up the robe and wear it.",
    "PutOn": "Pick up the amulet and put it on.",
    "Zap": "Pick up the wand and zap it.",
    "Read": "Pick up the scroll and read it.",
    "Pray": "Pray on the altar.",
    "Sink": "Drink from the sink.",
    "Levitate": "Float in the air with the help of what you find.",
    "Freeze": "Make a bolt of cold bounce off a wall.",
    "WoD": "Kill the minotaur with the wand of death.",
}
# levels that end with something else than stairs: (word for the thing, the last sub-goal)
_THINGS: dict[str, tuple[str, str]] = {
    "Eat": ("apple", "eat the apple"),
    "Wield": ("dagger", "wield the dagger"),
    "Wear": ("robe", "wear the robe"),
    "PutOn": ("amulet", "put on the amulet"),
    "Zap": ("wand", "zap the wand"),
    "Read": ("scroll", "read the scroll"),
}
_DEEDS = {
    "Boxoban": "push every boulder onto a fountain",
    "Memento": "kill the grid bug",
    "Pray": "pray on the altar",
    "Sink": "drink from the sink",
    "Levitate": "float in the air",
    "Freeze": "make a bolt of cold bounce",
    "WoD": "kill the minotaur",
    "WoD-Medium": "kill the minotaur",
}


def _longest(level: str, names: dict[str, str]) -> str:
    return max((n for n in names if level == n or level.startswith(n)), key=len, default="")


def family(level: str) -> str:
    """The first word of a level's name, without sizes: ``KeyRoom``, ``SimpleCrossing``."""
    return re.split(r"-|S\d", level, maxsplit=1)[0]


def task(level: str) -> str:
    """The task in one sentence."""
    return _TASKS[_longest(level, _TASKS)]


def _won(game: Game) -> bool:
    return game.won


def _key(game: Game) -> bool:
    return bool(a.key_letter(game))


def _doors(n: int) -> Truth:
    return lambda game: len(game.opened) >= n


def _count(thing: str, things: tuple[Item, ...]) -> int:
    """How many are carried; what is picked up may join a stack ("2 apples")."""
    named = (re.match(rf"(?:(\d+) )?.*\b{thing}s?\b", name) for _, name, _ in things)
    return sum(int(found[1] or 1) for found in named if found)


def _more(thing: str) -> Truth:
    """More of these are carried than at the beginning."""
    return lambda game: _count(thing, game.inventory) > _count(thing, game.first)


def _across(game: Game) -> bool:
    """Every square of water or lava that is known lies to the west of the hero."""
    liquid = [x for s in w.LIQUID for x in (game.terrain == s).any(0).nonzero()[0].tolist()]
    return bool(liquid) and game.here[1] > max(liquid)


def _stairs_seen(game: Game) -> bool:
    return game.won or bool((game.terrain == w.STAIRS_DOWN).any())


def subgoals(level: str) -> dict[str, Truth]:
    """The sub-goals of a level in the order of a solution, each with its truth; the last one is success."""
    kind = family(level)
    if kind == "KeyRoom":
        return {"pick up the key": _key, "open the door": _doors(1), _STAIRS: _won}
    if kind in ("LockedDoor", "ClosedDoor"):
        return {"open the door": _doors(1), _STAIRS: _won}
    if kind == "MultiRoom" and "OpenDoor" not in level:
        n = int(re.findall(r"N(\d+)", level)[0]) - 1
        names = ["open the door"] if n == 1 else [f"open the {_COUNT[i]} door" for i in range(n)]
        return {name: _doors(i + 1) for i, name in enumerate(names)} | {_STAIRS: _won}
    if kind == "River":
        return {"cross the river": _across, _STAIRS: _won}
    if kind == "LavaCross" or level == "Quest-Easy":
        return {"cross the lava": _across, _STAIRS: _won}
    if kind in ("Corridor", "MazeWalk", "Labyrinth", "HideNSeek"):
        return {"find the stairs": _stairs_seen, _STAIRS: _won}
    if kind in _THINGS:
        thing, last = _THINGS[kind]
        return {f"pick up the {thing}": _more(thing), last: _won}
    return {_DEEDS.get(kind, _STAIRS): _won}
