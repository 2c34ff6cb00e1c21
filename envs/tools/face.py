"""The encoded face of tool environments: calls and phrases worth choosing from as rows, the index of a row out."""

from __future__ import annotations

import copy
import functools
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete

from ..text.base import whole
from ..text.encode import hashed, words
from ..text.indexed import Indexed
from .base import ToolEnv
from .calls import Call, parse

TOOLS, PHRASES = 32, 16  # that have a feature of their own
HEARD, KNOWN = 64, 96  # hashed words: of the last message; of all messages, of all results
STATE = 8 + TOOLS + PHRASES + HEARD + 2 * KNOWN
OWN = 23
BESIDE = 18  # among a row's own, as the next
MEANT = (8, 10, 14, 16, BESIDE)  # by which a tool's rows are ordered: said, how recently, named, names, records
DOUBT = 0.25  # calls that are less likely meant than the tool's best by more are not offered
WIDTH = TOOLS + PHRASES + OWN
FADES = 0.8  # what the words of older messages and results count, by each newer one
NEAR = 3  # words in front of a value, among which its name may be
KEEPS = 400  # values and words that are remembered
Array = np.ndarray[Any, np.dtype[np.float32]]


class CallRows(Indexed):
    """Chooses among calls and phrases that are made from the tools' schemas and the conversation, never from the reference.

    The rows are the environment's ``admissible_actions`` in their order, so it needs ``candidates``. Calls that were fine are
    not there again, other calls and phrases only when something new was heard since. Of a tool's calls those are there whose
    values are most likely meant, by what was said of them, how recently and by name, and by what stands beside them in results:
    the best, and as many up to ``per_tool`` as are hardly less likely.
    All features come from what users and tools said and from the calls that were made.

    Observation, a flat ``Dict``: ``observation`` float32 ``(312,)`` in [-1, 1]: is there a last call, was it fine, share of
    calls that were fine, share of steps, messages of the user / 10, calls / 30, calls since the user's last message / 5, rows /
    ``rows``; was each tool used, 1.0 if its last call was fine, -1.0 if not (32); was each phrase said (16); hashed words and
    word pairs without digits: of the user's last message (64), of all its messages (96), of all results (96), older ones
    fading. ``actions`` float32 ``(rows, 71)`` in [-1, 1], a row an action: which tool it is, by the order of the names (32),
    which phrase (16), 1.0 for a phrase; was the same made before, was it fine, how recently; was the tool used, was it fine,
    and since the last message; arguments / 5; of the words of its values (of a phrase, those that no other phrase has) the
    share that the user said, that results showed, both by how recently, the least of an argument of the first two; share of
    arguments in front of which their name was said; of the names under which results showed its values, and of the texts beside
    them there, the share that the user said, at most and on average, the last also as a share of the tool's best; share of the
    tool's name that the last and that all messages had; 1 / its place among the tool's calls. ``action_mask`` int8 ``(rows,)``.
    Action: the index of a row.

    Args:
        env: a tool environment with ``candidates``, of which there should be some hundreds.
        rows: at most; those behind them are left out.
        per_tool: calls of one tool at most.
        doubt: calls whose values are less likely meant than those of the tool's best call, by more than this, are left out;
            None leaves out none.

    Raises:
        TypeError: the environment is another.
        ValueError: it has no ``candidates``, or a setting is none that is allowed.
    """

    what = "an encoded action is the index of a row"

    def __init__(self, env: gym.Env[Any, Any], rows: int = 64, per_tool: int = 3, doubt: float | None = DOUBT) -> None:
        super().__init__(env, rows=rows, per_tool=per_tool, doubt=doubt)
        if doubt is not None and (isinstance(doubt, bool) or not isinstance(doubt, (int, float)) or not doubt >= 0):
            raise ValueError(f"doubt is {doubt!r}; allowed: None or a number from 0")
        self.doubt = math.inf if doubt is None else float(doubt)
        self.rows, self.per_tool = whole("rows", rows, 1, 1000), whole("per_tool", per_tool, 1, 1000)
        if not isinstance(env.unwrapped, ToolEnv):
            raise TypeError(f"CallRows is for tool environments, not {env.unwrapped!r}")
        self._inner = env.unwrapped
        if not self._inner.candidates:
            raise ValueError("candidates is 0; allowed for CallRows: a whole number from 1, better some hundreds")
        self.observation_space = Dict(
            {
                "observation": Box(-1.0, 1.0, (STATE,), np.float32),
                "actions": Box(-1.0, 1.0, (rows, WIDTH), np.float32),
                "action_mask": Box(0, 1, (rows,), np.int8),
            }
        )
        self.action_space = Discrete(rows)
        self._memory = Memory()

    def _command(self, i: int) -> str:
        return self._choices[i] if 0 <= i < len(self._choices) else ""

    def _shown(self, text: str, info: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        if "meta" in info:  # a reset
            self._memory = Memory()
        self._memory.follow(info)
        every = info["admissible_actions"]
        fresh = tuple(c for c in every if self._memory.opens(c)) or tuple(every)
        names = {name: min(k, TOOLS - 1) for k, name in enumerate(sorted(self._inner.tools))}
        phrases = tuple(c for c in every if not _turn(c).calls)
        found = self._memory.rows(fresh, phrases, names, self.per_tool, self.doubt)[: self.rows]
        self._choices = tuple(choice for choice, _ in found)
        mask, rows = np.zeros(self.rows, np.int8), np.zeros((self.rows, WIDTH), np.float32)
        mask[: len(found)] = 1
        for row, (_, about) in zip(rows, found):
            row[:] = about
        state = self._memory.state(self._inner.max_steps, len(found) / self.rows, names, phrases)
        out = {"observation": state, "actions": rows, "action_mask": mask}
        return out, info | {"action_mask": mask.copy(), "admissible_actions": self._choices}

    def action_masks(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """``(rows,)`` bool, as sb3-contrib's MaskablePPO asks for it."""
        return np.arange(self.rows) < len(self._choices)

    def oracle(self) -> str:
        """The environment's next right action.

        Raises:
            RuntimeError: nothing is left to do, or the action is none of the rows.
        """
        best = self._inner.oracle()
        if best not in self._choices:
            raise RuntimeError(
                f"{best[:200]} is not among the rows: the conversation does not show it, or there are too few"
            )
        return best

    def snapshot(self) -> dict[str, Any]:
        """The environment's snapshot, and what was heard."""
        return super().snapshot() | {"face": copy.deepcopy(self._memory)}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Goes back to it."""
        super().restore(snapshot)
        self._memory = copy.deepcopy(snapshot["face"])


class Memory:
    """What a conversation showed so far."""

    def __init__(self) -> None:
        self.step = -1
        self.said: dict[str, int] = {}  # by the user: word -> number of the message
        self.shown: dict[str, int] = {}  # by tools: word -> step
        self.before: dict[str, tuple[str, ...]] = {}  # the words in front of a word that the user said
        self.records: dict[str, tuple[str, ...]] = {}  # value -> the words beside it
        self.keys: dict[str, tuple[str, ...]] = {}  # value -> the names under which it was shown
        self.made: dict[str, tuple[int, bool]] = {}  # action -> step, was it fine
        self.used: dict[str, tuple[int, bool]] = {}  # tool -> step, was it fine
        self.calls = self.fine = self.messages = self.since = 0
        self._at, self._values = -1, dict[tuple[str, str], tuple[float, ...]]()
        self.last: bool | None = None
        self.news = -1  # the last step with a call that was fine, or a message unlike the one before
        self.last_words: tuple[str, ...] = ()
        self.heard = np.zeros(HEARD, np.float32)
        self.all_heard, self.all_shown = np.zeros(KNOWN, np.float32), np.zeros(KNOWN, np.float32)

    def follow(self, info: Mapping[str, Any]) -> None:
        """A step (or the reset) by its info."""
        self.step += 1
        for made in info["tool_calls"]:
            fine = bool(made["ok"])
            self.calls, self.fine, self.last, self.since = self.calls + 1, self.fine + fine, fine, self.since + 1
            text = Call(made["name"], made["arguments"]).text()
            self.news = self.step if fine else self.news
            self.made[text] = self.used[made["name"]] = (self.step, fine)
            self._read(made["result"])
        for message in info["messages"]:
            if message["role"] == "user":
                self._hear(message["content"])
            elif message["role"] == "assistant" and not message.get("tool_calls"):
                self.made[message["content"]] = (self.step, True)

    def _hear(self, text: str) -> None:
        found = words(text)
        self.news = self.step if found != self.last_words else self.news
        self.last_words = found
        self.messages, self.since = self.messages + 1, 0
        for k, word in enumerate(found):
            _keep(self.said, word, self.messages)
            _keep(self.before, word, found[max(0, k - NEAR) : k])
        plain = _plain(text)
        self.heard = hashed(plain, HEARD)
        self.all_heard = FADES * self.all_heard + hashed(plain, KNOWN)

    def _read(self, text: str) -> None:
        for word in words(text):
            _keep(self.shown, word, self.step)
        self.all_shown = FADES * self.all_shown + hashed(_plain(text), KNOWN)
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            return
        for record in _records(found):
            beside = tuple(w for v in record.values() if isinstance(v, str) for w in words(v))
            for key, value in record.items():
                if isinstance(value, (str, int, float)):
                    name = _name(value)
                    own = words(name)
                    _keep(self.records, name, tuple(w for w in beside if w not in own) if len(own) == 1 else beside)
                    _keep(self.keys, name, tuple(dict.fromkeys((*self.keys.get(name, ()), key))))

    def opens(self, action: str) -> bool:
        """It may bring something new: not made before, or something new was heard since and it is no call that was fine."""
        if action not in self.made:
            return True
        step, fine = self.made[action]
        return not fine and step < self.news if _turn(action).calls else step <= self.news

    # -- numbers ---------------------------------------------------------------------------------
    def state(self, max_steps: int, rows: float, names: Mapping[str, int], phrases: Sequence[str]) -> Array:
        """``(STATE,)``: where the conversation is."""
        out = np.zeros(STATE, np.float32)
        out[:8] = (
            self.last is not None,
            bool(self.last),
            self.fine / max(1, self.calls),
            min(1.0, self.step / max_steps),
            min(1.0, self.messages / 10),
            min(1.0, self.calls / 30),
            min(1.0, self.since / 5),
            rows,
        )
        for name, (_, fine) in self.used.items():
            out[8 + names.get(name, TOOLS - 1)] = 1.0 if fine else -1.0
        for k, phrase in enumerate(phrases[:PHRASES]):
            out[8 + TOOLS + k] = phrase in self.made
        heard = (self.heard, _unit(self.all_heard), _unit(self.all_shown))
        out[8 + TOOLS + PHRASES :] = np.concatenate(heard)
        return out

    def rows(
        self,
        actions: Sequence[str],
        phrases: tuple[str, ...],
        names: Mapping[str, int],
        per_tool: int,
        doubt: float,
    ) -> list[tuple[str, Array]]:
        """Actions with their ``(WIDTH,)`` features, in order, of every tool those whose values are most likely meant."""
        own = dict(zip(phrases, _unlike(phrases)))
        found: list[tuple[str, Array]] = []
        groups: dict[str, list[tuple[float, int]]] = {}
        for k, action in enumerate(actions):
            calls, row = _turn(action).calls, np.zeros(WIDTH, np.float32)
            if calls:
                name = calls[0].name
                row[names.get(name, TOOLS - 1)] = 1.0
                row[TOOLS + PHRASES :] = about = self.call(action, calls[0])
                groups.setdefault(name, []).append((-sum(about[k] for k in MEANT), k))
            else:
                row[TOOLS + min(phrases.index(action), PHRASES - 1)] = 1.0
                row[TOOLS + PHRASES :] = self.phrase(action, own[action])
            found.append((action, row))
        out = set(range(len(actions)))
        for group in groups.values():
            best = max(found[k][1][BESIDE - OWN] for _, k in group)
            group.sort()
            for place, (score, k) in enumerate(group):
                row = found[k][1]
                row[BESIDE - OWN + 1] = row[BESIDE - OWN] / best if best else 0.0
                row[-1] = 1.0 / (1 + place)
                if place >= per_tool or score > group[0][0] + doubt:
                    out.discard(k)
        return [found[k] for k in sorted(out)]

    def _ago(self, step: int | None) -> float:
        return 0.0 if step is None else 1.0 / (1.0 + self.step - step)

    def _lately(self, word: str) -> float:
        """1.0 for a word of the user's last message, 1/4, 1/9 ... for older ones."""
        message = self.said.get(word)
        return 0.0 if message is None else 1.0 / (1 + self.messages - message) ** 2

    def _history(self, action: str, tool: str) -> tuple[float, ...]:
        made, used = self.made.get(action), self.used.get(tool)
        same = (0.0, 0.0, 0.0) if made is None else (1.0, float(made[1]), self._ago(made[0]))
        if used is None:
            return (*same, 0.0, 0.0, 0.0)
        return (*same, 1.0, float(used[1]), float(self.step - used[0] < self.since))

    def _shares(self, found: Sequence[str]) -> tuple[float, float, float, float]:
        """Of words: the share that was said, that was shown, and both by how recently."""
        n = max(1, len(found))
        said, shown = sum(w in self.said for w in found) / n, sum(w in self.shown for w in found) / n
        return said, shown, sum(map(self._lately, found)) / n, sum(self._ago(self.shown.get(w)) for w in found) / n

    def phrase(self, text: str, own: tuple[str, ...]) -> tuple[float, ...]:
        """``(OWN,)``: a phrase whose ``own`` words no other phrase has."""
        shares = self._shares(own)
        return (1.0, *self._history(text, ""), 0.0, *shares, *(0.0,) * 11)

    def call(self, text: str, call: Call) -> tuple[float, ...]:
        """``(OWN,)``: a call."""
        parts = [(name, v) for name, vs in call.arguments.items() for v in (vs if isinstance(vs, list) else [vs])]
        per = [self._value(name, _name(v)) for name, v in parts]
        every = max(1, len(per))
        said, shown, said_ago, shown_ago, named, key, beside = zip(*per) if per else ((0.0,),) * 7
        tool = call.name.split("_")
        return (
            0.0,
            *self._history(text, call.name),
            min(1.0, len(call.arguments) / 5),
            sum(said) / every,
            sum(shown) / every,
            sum(said_ago) / every,
            sum(shown_ago) / every,
            min(said),
            min(shown),
            sum(named) / every,
            max(key),
            sum(key) / every,
            max(beside),
            sum(beside) / every,  # at BESIDE
            0.0,  # how near that is to the best of the tool
            sum(w in self.last_words for w in tool) / len(tool),
            sum(w in self.said for w in tool) / len(tool),
            0.0,  # its place among the tool's rows
        )

    def _value(self, name: str, value: str) -> tuple[float, ...]:
        """Of an argument: said, shown, both by how recently, was its name said in front, its name in a result, its record."""
        key = name, value
        if self._at != self.step:
            self._at, self._values = self.step, {}  # rows share them
        if key not in self._values:
            found, names = words(value), name.split("_")
            named = any(n in self.before.get(w, ()) for n in names for w in found)
            keys = max((self._known(k.split("_")) for k in self.keys.get(value, ())), default=0.0)
            beside = self._known(self.records.get(value, ()))
            self._values[key] = (*self._shares(found), float(named), keys, beside)
        return self._values[key]

    def _known(self, beside: Sequence[str]) -> float:
        """The share of words that the user said lately."""
        return sum(map(self._lately, beside)) / len(beside) if beside else 0.0


@functools.lru_cache(100_000)
def _turn(action: str) -> Any:
    return parse(action)


@functools.lru_cache(1000)
def _unlike(phrases: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """The words of each phrase that no other has."""
    found = [words(p) for p in phrases]
    return tuple(
        tuple(w for w in mine if not any(w in other for j, other in enumerate(found) if j != k))
        for k, mine in enumerate(found)
    )


@functools.lru_cache(10_000)
def _plain(text: str) -> str:
    """Without words that have digits: they are another task's tomorrow."""
    return " ".join(w for w in re.findall(r"\w+", text[:4000]) if not any(c.isdigit() for c in w))


def _name(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _records(value: Any) -> Iterable[dict[str, Any]]:
    todo = [value]
    while todo:
        node = todo.pop()
        if isinstance(node, dict):
            yield node
            todo += node.values()
        elif isinstance(node, list):
            todo += node


def _keep(where: dict[str, Any], key: str, value: Any) -> None:
    where.pop(key, None)  # the latest last
    where[key] = value
    if len(where) > KEEPS:
        del where[next(iter(where))]


def _unit(v: Array) -> Array:
    return v / np.float32(max(1.0, float(np.sqrt(v @ v))))
