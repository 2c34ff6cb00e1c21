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
import warnings
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
        score: int,
        won: bool,
        lost: bool,
        memory: tuple[bytes, bytes, tuple[Any, ...]],
        key: bytes,
        commands: tuple[str, ...],
    ) -> None:
        self.state, self.won, self.lost, self.memory, self.key, self.commands = state, won, lost, memory, key, commands
        self.description, self.inventory = texts["description"], texts["inventory"]
        self.score = score
        self.replies: dict[str, Reply] = {}


class Game:
    """A compiled game and its interpreter.

    ``play`` answers a command the exact way. ``recall`` answers an admissible command from memory if the same command
    was given in an equal situation before. Situations are equal if their facts, completed quests and score are, all
    objects of the interpreter (tree, order, attributes such as visited or handled) and its stack. Left out are turn
    counter, the parser's scratch and pronouns, which no admissible command reads, and property values: those that
    TextWorld changes are facts, and Inform's record of past actions is written but never read in its games.

    The room and what is carried are asked for after a command only if they look different from any time before: their
    texts depend on the objects in the room or in the player's hands and on their facts.

    Args:
        path: the ``.z8``; its ``.json`` lies beside it.
        remember: largest number of situations in memory.

    Raises:
        InfraError: the interpreter does not start, or does not answer.
    """

    def __init__(self, path: str, remember: int = 5_000) -> None:
        import textworld
        from textworld.generator.game import Game as Description

        self.path, self.remember = path, remember
        self._lock = threading.Lock()
        self._seen: dict[bytes, str] = {}
        try:
            game = Description.load(os.path.splitext(path)[0] + ".json")
            with warnings.catch_warnings():  # jericho does not know the game; score and ends are read from its answers
                warnings.filterwarnings("ignore", message=".*is not fully supported")
                env: Any = textworld.start(path)
                env.unwrapped.seed(1)
                env.reset()
            self._env = env.unwrapped
            self._player = int(self._env._send("tw-print player id").split()[0])
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
        table = _word(ram, 0x0A) + 126  # address in the header; 63 default properties come first
        first_properties = _word(ram, table + _OBJECT - 2)
        self._objects = slice(table, table + (first_properties - table) // _OBJECT * _OBJECT)
        self._first = ram
        self.start = self._situation(self.logic.start, 0, False, False, {})
        self._known = {self.start.key: self.start}

    def play(self, now: Situation, command: str) -> Reply:
        """What the interpreter does with any command."""
        with self._lock:
            before = self._unpack(now.memory)
            answer, texts = self._send(command, before)
            won, lost = "*** The End ***" in answer, "*** You lost! ***" in answer
            if won or lost:  # a game that is over answers no more questions: ask before
                self._send("tw-extra-infos description", before)
                self._send("tw-extra-infos inventory")
                _, texts = self._send(command)
                texts = {
                    "description": now.description,
                    "inventory": now.inventory,
                } | texts  # a lost game tells nothing
            events = [m.strip()[1:-1] for m in _EVENT.findall(answer)]
            done = [e.split(" - succeeded")[0] for e in events if " - succeeded" in e and "(" not in e]
            score = int(texts.pop("score", str(now.score)).split()[0])
            after = self._situation(self.logic.follow(now.state, done), score, won, lost, texts)
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

    def _send(self, command: str, memory: tuple[Any, ...] | None = None) -> tuple[str, dict[str, str]]:
        """The answer without the tagged parts, and these."""
        try:
            if memory is not None:
                self._frotz.set_state(memory)
            raw = self._env._send(command)
        except _ERRORS as e:
            raise InfraError(f"the interpreter broke at {command!r}: {e}") from e
        if not raw.strip():
            raise InfraError(f"the interpreter gave no answer to {command!r}")
        return _TAG.sub("", raw), {tag: _EVENT.sub("", text).strip() for tag, text in _TAG.findall(raw)}

    def _situation(self, state: int, score: int, won: bool, lost: bool, texts: dict[str, str]) -> Situation:
        memory = self._frotz.get_state()
        ram, stack, *registers, _ = memory
        table = ram[self._objects].copy()
        table[_MENTIONED[0] :: _OBJECT] &= ~_MENTIONED[1]
        objects = table.tobytes()
        live = stack[2 * registers[1] :].tobytes()  # from the stack pointer up; below it lies rubbish
        key = _digest(objects, live, state, score, registers[:-1])
        if not (won or lost):
            room = _word(objects, (self._player - 1) * _OBJECT + _PARENT)
            properties = state & self.logic.properties
            for tag, command, top in (("description", "look", room), ("inventory", "inventory", self._player)):
                here = _digest(_branch(objects, top, self._player), b"", tag, top, properties)
                if here not in self._seen:
                    answer, _ = self._send(command, memory)
                    if len(self._seen) >= 2 * max(1, self.remember):
                        self._seen.clear()
                    self._seen[here] = _STATUS.sub("", _EVENT.sub("", answer)).strip()
                texts[tag] = self._seen[here]
        packed = zlib.compress((ram ^ self._first).tobytes(), 1), zlib.compress(stack.tobytes(), 1), tuple(registers)
        return Situation(state, texts, score, won, lost, packed, key, self.logic.commands(state))

    def _unpack(self, memory: tuple[bytes, bytes, tuple[Any, ...]]) -> tuple[Any, ...]:
        ram = np.frombuffer(zlib.decompress(memory[0]), np.uint8) ^ self._first
        stack = np.frombuffer(bytearray(zlib.decompress(memory[1])), np.uint8)
        return ram, stack, *memory[2], b""


_OBJECT, _PARENT, _SIBLING, _CHILD = 14, 6, 8, 10  # size of an object of the Z-machine 8, and where its links stand
_MENTIONED = 3, np.uint8(0x01)  # byte and bit: "mentioned", which every description of a room clears before it reads it


def _word(data: Any, at: int) -> int:
    return int(data[at]) << 8 | int(data[at + 1])


def _branch(objects: bytes, top: int, without: int) -> bytes:
    """The object ``top`` and all below it, in order; not what is below ``without``, unless that is the top."""
    out, todo = [], [top]
    while todo:
        number = todo.pop()
        entry = objects[(number - 1) * _OBJECT : number * _OBJECT]
        out.append(entry)
        if number != top:
            if sibling := _word(entry, _SIBLING):
                todo.append(sibling)
        if number == top or number != without:
            if child := _word(entry, _CHILD):
                todo.append(child)
    return b"".join(out)


def _digest(objects: bytes, more: bytes, *rest: object) -> bytes:
    code = hashlib.blake2b(objects, digest_size=16)
    code.update(more)
    code.update(repr(rest).encode())
    return code.digest()


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
