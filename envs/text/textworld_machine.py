"""One TextWorld game in the Z-machine: situations, commands, and a memory of both.

A ``Situation`` is everything about one moment of a game, the interpreter's memory included, and never changes. ``Game``
turns a situation and a command into the next situation by running the real interpreter from that memory, so one
interpreter serves all environments of a process.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
import zlib
from collections import OrderedDict
from typing import Any, NamedTuple

import numpy as np

from ..errors import InfraError
from .textworld_logic import Logic
from .textworld_plan import Planner

_TAGS = ("description", "inventory", "score", "moves")
_TAG = re.compile(rf"<({'|'.join(_TAGS)})>\n(.*?)</\1>", re.DOTALL)
_EVENT = re.compile(r"\[[^]]+\]\n?")
_STATUS = re.compile(r"\n>\s+-= .*\Z", re.DOTALL)
_END = re.compile(r", in \d+ turns?\.\s.*\Z", re.DOTALL)
_ERRORS = (OSError, RuntimeError, ValueError, AttributeError)


class Reply(NamedTuple):
    """What one command did: the answer, whether the game carried out anything, the situation after it."""

    feedback: str
    valid: bool
    after: Situation


class Situation:
    """One moment of one game.

    Attributes:
        state: the facts and completed quests, for ``Logic``.
        description: the room.
        inventory: what the player carries.
        score: the game's own score.
        won, lost: how the game has ended, if it has.
        commands: the admissible ones, sorted.
        key: equal keys have equal futures under admissible commands.
        replies: to commands that were given here before.
    """

    __slots__ = ("commands", "description", "inventory", "key", "lost", "memory", "replies", "score", "state", "won")

    def __init__(
        self,
        state: int,
        texts: dict[str, str],
        won: bool,
        lost: bool,
        memory: tuple[bytes, bytes, tuple[Any, ...]],
        key: bytes,
        commands: tuple[str, ...],
    ) -> None:
        self.state, self.won, self.lost, self.memory, self.key, self.commands = state, won, lost, memory, key, commands
        self.description, self.inventory = texts["description"], texts["inventory"]
        self.score = int(texts["score"].split()[0])
        self.replies: dict[str, Reply] = {}


class Game:
    """A compiled game and its interpreter.

    ``play`` answers a command the exact way. ``recall`` answers an admissible command from memory if the same command
    was given in an equal situation before. Two situations are equal if their facts, completed quests, score and the
    interpreter's whole object table (tree, order, attributes, properties) are; what is left out are turn counter,
    parser scratch and pronouns, which no admissible command reads.

    Args:
        path: the ``.z8``; its ``.json`` lies beside it.
        remember: largest number of situations in memory.

    Raises:
        InfraError: the interpreter does not start.
    """

    def __init__(self, path: str, remember: int = 20_000) -> None:
        import textworld
        from textworld.generator.game import Game as Description

        self.path, self.remember = path, remember
        self._lock = threading.Lock()
        try:
            game = Description.load(os.path.splitext(path)[0] + ".json")
            env = textworld.start(path, textworld.EnvInfos(description=True, inventory=True))
            env.unwrapped.seed(1)
            state = env.reset()
            self._env = env.unwrapped
            self._env._send("tw-trace-actions")
            self._frotz = self._env._jericho
            ram = self._frotz.get_state()[0]
        except _ERRORS as e:
            raise InfraError(f"the interpreter does not start {path}: {e}") from e
        self.logic = Logic(game)
        self.planner = Planner(self.logic)
        self.landmarks = self.planner.landmarks()
        self.max_score = float(game.max_score)
        self.objective = " ".join(str(game.objective).split())
        table, variables = (int(ram[at]) << 8 | int(ram[at + 1]) for at in (0x0A, 0x0C))  # addresses in the header
        self._objects = slice(table, variables)
        self._first = ram
        texts = {tag: str(state[tag]).strip() for tag in ("description", "inventory", "score")}
        self.start = self._situation(self.logic.start, texts, False, False)
        self._known = {self.start.key: self.start}

    def play(self, now: Situation, command: str) -> Reply:
        """What the interpreter does with any command."""
        with self._lock:
            try:
                self._frotz.set_state(self._unpack(now.memory))
                raw = self._env._send(command)
            except _ERRORS as e:
                raise InfraError(f"the interpreter broke at {command!r}: {e}") from e
            if not raw.strip():
                raise InfraError(f"the interpreter gave no answer to {command!r}")
            texts = {"description": now.description, "inventory": now.inventory, "score": str(now.score)}
            texts |= {tag: _EVENT.sub("", text).strip() for tag, text in _TAG.findall(raw)}
            answer = _TAG.sub("", raw)
            events = [m.strip()[1:-1] for m in _EVENT.findall(answer)]
            done = [e.split(" - succeeded")[0] for e in events if " - succeeded" in e and "(" not in e]
            won, lost = "*** The End ***" in answer, "*** You lost! ***" in answer
            after = self._situation(self.logic.follow(now.state, done), texts, won, lost)
        feedback = _END.sub(".", _STATUS.sub("", _EVENT.sub("", answer))).strip()
        return Reply(feedback, bool(done), after)

    def recall(self, now: Situation, command: str) -> Reply:
        """What the interpreter does with an admissible command, from memory where that is known."""
        reply = now.replies.get(command)
        if reply is None:
            feedback, valid, after = self.play(now, command)
            if len(self._known) >= self.remember:
                self.start.replies.clear()
                self._known = {self.start.key: self.start}
            now.replies[command] = reply = Reply(feedback, valid, self._known.setdefault(after.key, after))
        return reply

    def _situation(self, state: int, texts: dict[str, str], won: bool, lost: bool) -> Situation:
        ram, stack, *registers, _ = self._frotz.get_state()
        key = hashlib.blake2b(ram[self._objects].tobytes(), digest_size=16)
        key.update(stack[2 * registers[1] :].tobytes())  # from the stack pointer up; below it lies rubbish
        key.update(repr((state, texts["score"], registers[:-1])).encode())
        packed = zlib.compress((ram ^ self._first).tobytes(), 1), zlib.compress(stack.tobytes(), 1), tuple(registers)
        return Situation(state, texts, won, lost, packed, key.digest(), self.logic.commands(state))

    def _unpack(self, memory: tuple[bytes, bytes, tuple[Any, ...]]) -> tuple[Any, ...]:
        ram = np.frombuffer(zlib.decompress(memory[0]), np.uint8) ^ self._first
        stack = np.frombuffer(bytearray(zlib.decompress(memory[1])), np.uint8)
        return ram, stack, *memory[2], b""


_OPEN: OrderedDict[tuple[str, int, int], Game] = OrderedDict()


def open_game(path: str, remember: int) -> Game:
    """The game of this file, shared by the process; at most 64 stay open.

    Raises:
        InfraError: the interpreter does not start.
    """
    key = os.path.realpath(path), os.stat(path).st_mtime_ns, remember
    game = _OPEN.pop(key, None) or Game(path, remember)
    _OPEN[key] = game
    while len(_OPEN) > 64:
        _OPEN.popitem(last=False)
    return game
