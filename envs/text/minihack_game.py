"""One game of NetHack as MiniHack sets it up: keys in, and what a player remembers of the map.

MiniHack's own ``step`` takes one key of a level's action set and pays a penalty for each; here keys go to NetHack directly,
so that a command in words may answer the questions that NetHack asks about it. Whether the task is solved is asked of
MiniHack after every key, as its own ``step`` does.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import random
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import load_env_creator

from ..errors import InfraError, one_of
from . import minihack_words as w

ROWS, COLUMNS = 21, 79  # of the map
ESC, SPACE, RETURN, PICK_UP, LOOK = 27, 32, 13, ord(","), ord(":")
Cell = tuple[int, int]  # row, column
Item = tuple[str, str, int]  # letter, description, class of objects
_TAKEN = re.compile(r"(?:^| )[a-zA-Z$] - ")  # f - a key.
_GROUND = re.compile(r"There is ((?:an? )?[\w ]+?)(?: named [^.]*)? here\.")  # a staircase up, molten lava
_LYING = re.compile(r"You see here|Things that are here|objects? here\.(?<!no objects here\.)")


def need_minihack() -> None:
    """Raises:
    ImportError: minihack is not installed.
    """
    if importlib.util.find_spec("minihack") is None:
        raise ImportError("this environment needs MiniHack: pip install 'milepost[minihack]'")


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about pkg_resources and ids registered twice: nobody here can help it
        yield


def nethack() -> Any:
    """The module ``nle.nethack``: NetHack's own numbers."""
    return importlib.import_module("nle.nethack")


@functools.cache
def levels() -> dict[str, str]:
    """All levels that MiniHack registers, by short name, each with its id: ``{"KeyRoom-S5": "MiniHack-KeyRoom-S5-v0"}``.

    Raises:
        ImportError: minihack is not installed.
    """
    need_minihack()
    with _quiet():
        importlib.import_module("minihack")  # registers them
    ids = sorted(i for i in gym.registry if i.startswith("MiniHack-") and "Custom" not in i)
    return {i.removeprefix("MiniHack-").rsplit("-v", 1)[0]: i for i in ids}


def level_name(level: Any) -> str:
    """The short name of a level given by its short name or its id.

    Raises:
        ValueError: MiniHack has no such level; names the nearest.
    """
    known = levels()
    if isinstance(level, str):
        name = next((k for k, v in known.items() if level in (k, v)), None)
        if name is not None:
            return name
        level = level.removeprefix("MiniHack-")
    raise one_of("level", level, known)


@functools.cache
def _kinds() -> Any:
    """``(MAX_GLYPH + 1,)`` uint8: 1 for symbols of the map, 2 for objects, 0 for monsters and the rest."""
    n = nethack()
    kind = np.zeros(n.MAX_GLYPH + 1, np.uint8)
    kind[n.GLYPH_CMAP_OFF : n.GLYPH_CMAP_OFF + w.SYMBOLS] = 1
    kind[n.GLYPH_OBJ_OFF : n.GLYPH_CMAP_OFF] = 2
    kind[n.GLYPH_BODY_OFF : n.GLYPH_RIDDEN_OFF] = 2
    kind[n.GLYPH_STATUE_OFF :] = 2
    return kind


@functools.cache
def _notable() -> Any:
    """``(MAX_GLYPH + 1,)`` bool: what is worth a mention."""
    n = nethack()
    out = np.ones(n.MAX_GLYPH + 1, np.bool_)
    out[[n.GLYPH_CMAP_OFF + s for s in w.PLAIN]] = False
    out[n.MAX_GLYPH] = False
    return out


@functools.lru_cache(10_000)
def _described(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("latin-1")


class Game:
    """A level of MiniHack in its own NetHack.

    Args:
        level: short name of the level.

    Raises:
        ImportError: minihack, or what the level needs besides, is not installed.
        InfraError: the level cannot be built.
    """

    def __init__(self, level: str) -> None:
        self.level = level
        creator = gym.spec(levels()[level])
        with _quiet():
            try:
                raw: Any = load_env_creator(str(creator.entry_point))(**creator.kwargs, fix_moon_phase=True)
            except ModuleNotFoundError as e:  # minigrid, or Boxoban's maps
                raise ImportError(f"level {level!r} needs more than MiniHack: {' '.join(str(e).split())}") from e
            except (RuntimeError, OSError, AssertionError) as e:  # the Crossing levels do not suit today's minigrid
                raise InfraError(f"level {level!r} cannot be built: {type(e).__name__} {e}".rstrip()) from e
        self.raw = raw
        if hasattr(raw, "_levels"):
            raw._levels.sort()  # Boxoban's maps come in the order of the file system
        # MiniHack's own apply knows the key alone in these levels: the thief's lock pick would make the key needless
        self.key_only = level.startswith("KeyRoom")
        self.keys = frozenset(int(a) for a in raw.actions)
        self._index = {int(a): i for i, a in reversed(list(enumerate(raw.actions)))}
        self._offset = nethack().GLYPH_CMAP_OFF
        buffers = raw.nethack._obs_buffers  # NetHack writes into the same arrays at every key
        self.glyphs, self.chars, self.blstats = buffers["glyphs"], buffers["chars"], buffers["blstats"]
        self.tty, self._cursor = buffers["tty_chars"], buffers["tty_cursor"]
        self._descriptions = buffers["screen_descriptions"]
        self._state, self.said = buffers["internal"], buffers["message"]
        self._letters, self._strings, self._classes = (buffers[f"inv_{k}"] for k in ("letters", "strs", "oclasses"))
        self._padded = np.full((29, 87), 32, np.uint8)
        self.max_steps = int(raw._max_episode_steps)

    # -- an episode ------------------------------------------------------------------------------
    def begin(self, task: int) -> None:
        """A new game, decided by the number of the task alone.

        Raises:
            InfraError: NetHack does not start.
        """
        core, disp, other = (int(n) for n in np.random.default_rng(task).integers(1, 2**31 - 1, 3))
        raw, kept = self.raw, random.getstate()
        with _quiet():
            try:
                raw.nethack.set_initial_seeds(core, disp, False, None)  # MiniGrid levels override seed(), wrongly
                if hasattr(raw, "minigrid_env"):
                    raw.minigrid_env.reset(seed=other)  # the map is drawn from its generator
                random.seed(other)  # Boxoban chooses by Python's own generator
                raw.reset()
            except (RuntimeError, AssertionError, OSError) as e:
                raise InfraError(f"NetHack does not start level {self.level!r}: {e}") from e
            finally:
                random.setstate(kept)
        self.won = self.over = False
        self.taking = True  # the command may pick things up: a message such as "f - a key." then says what
        self.messages: list[str] = []
        self._question = ""
        self._bag = b""
        self.inventory: tuple[Item, ...] = ()
        self.opened: set[Cell] = set()
        self.ground = ""  # under the hero, in NetHack's words; empty for a plain floor
        self._floor: tuple[int, int] | None = None
        self._forget()
        self._hear()
        self.see()
        self.first = self.inventory

    def _forget(self) -> None:
        """Another level of the dungeon: nothing of the map is known."""
        shape = self.glyphs.shape
        self.terrain = np.full(shape, -1, np.int16)  # symbol of the map, last seen; -1 for never
        self.items = np.zeros(shape, np.int16)  # glyph of the object that lies there
        self.visited: set[Cell] = set()
        self.closed: set[Cell] = set()

    def press(self, key: int) -> None:
        """Gives NetHack one key, and says what MiniHack says about it.

        Raises:
            InfraError: NetHack broke down.
        """
        if self.over:
            return
        raw = self.raw
        if raw.reward_manager is not None:
            raw._previous_obs = tuple(a.copy() for a in raw.last_observation)
        raw._previous_action = self._index.get(key)
        obs, done = self._key(key)
        for _ in range(100):  # more to read, or a menu
            if done or not self._state[3]:
                break
            if key == PICK_UP and b"Pick up what?" in self.tty.tobytes():
                self._key(PICK_UP)  # the same key marks all of it
                obs, done = self._key(RETURN)
            else:
                obs, done = self._key(SPACE)
        raw.last_observation = obs
        status = 1 if done else int(raw._is_episode_end(obs))
        paid = 1.0 if raw.reward_manager is None else raw.reward_manager.collect_reward()
        self.won, self.over = status == 2 and paid > 0, status != 0  # Memento also ends well when it was the wrong bug

    def _key(self, key: int) -> tuple[Any, bool]:
        try:
            obs, done = self.raw.nethack.step(key)
        except (RuntimeError, ValueError) as e:
            raise InfraError(f"NetHack broke down: {e}") from e
        self._hear()
        return obs, bool(done)

    @property
    def lost(self) -> bool:
        """Over without success."""
        return self.over and not self.won

    @property
    def asking(self) -> bool:
        """NetHack waits for an answer, not for a command."""
        return not self.over and bool(self._state[1] or self._state[2])

    @property
    def question(self) -> str:
        """What NetHack asks."""
        return w.text(self.said)

    def _hear(self) -> None:
        said = w.text(self.said).strip()
        if self._state[1] or self._state[2]:
            self._question = said
        elif said and said != self._question and (not self.messages or self.messages[-1] != said):
            self.messages.append(said)

    # -- what is known ---------------------------------------------------------------------------
    def see(self) -> None:
        """Brings memory up to date with the screen; called once a command, when NetHack waits for the next."""
        if self.lost:
            return  # the screen shows the end of the game
        bl, glyphs = self.blstats, self.glyphs
        self.here: Cell = int(bl[1]), int(bl[0])
        floor = int(bl[23]), int(bl[24])
        if floor != self._floor:
            if self._floor is not None:
                self._forget()
            self._floor = floor
        kind = _kinds()[glyphs]
        symbols = glyphs - self._offset
        on_map = kind == 1
        np.copyto(self.terrain, symbols, where=on_map & (symbols > 0))
        np.copyto(self.items, 0, where=on_map & (symbols > 0))
        np.copyto(self.items, glyphs, where=kind == 2)
        self.visited.add(self.here)
        shut = (symbols == 15) | (symbols == 16)
        if shut.any():
            self.closed.update((int(y), int(x)) for y, x in zip(*np.nonzero(shut)))
        for cell in [c for c in self.closed if c == self.here or int(self.terrain[c]) not in w.CLOSED_DOORS]:
            self.closed.discard(cell)
            self.opened.add(cell)
        bag = self._strings.tobytes()
        if bag != self._bag:
            self._bag = bag
            self.inventory = tuple(
                (chr(letter), w.text(line), int(kind))
                for letter, line, kind in zip(self._letters, self._strings, self._classes)
                if letter
            )
        if int(bl[25]) & w.BLIND:  # to look would be to feel, which takes time
            self._believe()
        else:
            self._look_down()

    def _believe(self) -> None:
        """What lies here, by what NetHack has said."""
        self.ground = ""
        for said in self.messages:
            if self.taking and _TAKEN.search(said):
                self.items[self.here] = 0
            elif said.startswith(("You see here", "There are several", "There are many", "You feel here")):
                self.items[self.here] = self.items[self.here] or 1
            elif "nothing here to pick up" in said:
                self.items[self.here] = 0

    def _look_down(self) -> None:
        """Asks NetHack what lies under the hero and on what, which takes no time; its screen stays as it was.

        The hero hides the square, and things come there unseen: a dagger that missed, a boulder that was pushed on.
        """
        shown = [(b, b.copy()) for b in (self.said, self.tty, self._cursor)]
        nethack, told = self.raw.nethack, ""
        nethack.step(LOOK)
        for _ in range(20):
            told += f"{w.text(self.said)}\n{self.screen() if self._state[3] else ''}\n"
            if not any(self._state[1:4]):
                break
            nethack.step(SPACE if self._state[3] else ESC)
        for buffer, before in shown:
            buffer[...] = before
        self.ground = found[1] if (found := _GROUND.search(told)) else ""
        if self.terrain[self.here] < 0:
            self.terrain[self.here] = next((s for s, name in w.UNDERFOOT.items() if name == self.ground), -1)
        here = _LYING.search(told) is not None
        self.items[self.here] = (self.items[self.here] or 1) if here else 0

    def name(self, cell: Cell) -> str:
        """NetHack's description of a square; empty for stone and beyond the map."""
        y, x = cell
        if not (0 <= y < ROWS and 0 <= x < COLUMNS):
            return ""
        return _described(self._descriptions[y, x].tobytes())

    def symbol(self, cell: Cell) -> int:
        """Symbol of the map that a square shows now; -1 for a creature or an object, 0 for stone and beyond the map."""
        y, x = cell
        if not (0 <= y < ROWS and 0 <= x < COLUMNS):
            return w.STONE
        symbol = int(self.glyphs[y, x]) - self._offset
        return symbol if 0 <= symbol < w.SYMBOLS else -1

    def around(self) -> dict[str, str]:
        """What is on the eight neighbouring squares, by direction."""
        y, x = self.here
        return {d: self.name((y + dy, x + dx)) for d, (dy, dx, _) in w.DIRECTIONS.items()}

    def things(self) -> list[tuple[int, int, str]]:
        """What is worth a mention: rows down, columns right, name."""
        y, x = self.here
        ys, xs = np.nonzero(_notable()[self.glyphs])
        cells = [(int(a), int(b)) for a, b in zip(ys, xs)]
        return [(a - y, b - x, self.name((a, b)) or "something") for a, b in cells if (a, b) != (y, x)]

    def chars_crop(self) -> Any:
        """``(9, 9)`` uint8, a copy: the characters around the hero, blanks beyond the map."""
        y, x = self.here
        self._padded[4:25, 4:83] = self.chars
        return self._padded[y : y + 9, x : x + 9].copy()

    def crop(self) -> str:
        """The 9 x 9 characters around the hero, as nine lines."""
        part = self.chars_crop().tobytes().decode("latin-1")
        return "\n".join(part[i : i + 9] for i in range(0, 81, 9))

    def screen(self) -> str:
        """The terminal, 24 lines without the blanks at their ends."""
        rows = self.tty.tobytes().decode("latin-1")
        return "\n".join(rows[i : i + 80].rstrip() for i in range(0, 1920, 80))

    def close(self) -> None:
        """Ends NetHack and removes its folder."""
        self.raw.close()
        if hasattr(self.raw, "minigrid_env"):
            self.raw.minigrid_env.close()
