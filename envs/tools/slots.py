"""The encoded face of tool environments whose calls are made one choice after another: a tool, then its arguments."""

from __future__ import annotations

import copy
import functools
import json
import math
import operator
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete

from ..errors import InfraError
from ..text.base import flag, whole
from ..text.encode import hashed, words
from ..text.indexed import Indexed
from .base import VALID
from .calls import Turn
from .face import PHRASES, TOOLS, Memory, _plain
from .face import STATE as KNOWN
from .slot_env import SlotEnv
from .slot_form import KINDS, Broken, Choosing, Option, Rows, Slot, turn
from .slot_plan import Plan, same
from .slot_values import FORMS, Found, Heard, kinds_of, likely

TYPES = ("string", "integer", "number", "boolean", "array", "object", "null")
SLOTS = ("turn", "more", "value", "text")
NAMED, MEANT, OWN = 32, 16, 22  # hashed words of an argument, of a value; other features of a row
STATE = KNOWN + len(SLOTS) + TOOLS + NAMED + len(TYPES) + 5
WIDTH = len(KINDS) + TOOLS + PHRASES + MEANT + len(FORMS) + OWN
CHOSEN, GIVEN = WIDTH - OWN + 14, WIDTH - OWN + 15  # was a value chosen in this turn, was it given before
VERDICTS = 100_000  # that are kept
TRIAL = 1000  # turns of the oracle's trial, whatever max_steps is: whether a task is played does not depend on that
DRAWS = 1000  # tasks that are drawn, until one can be reached
Array = np.ndarray[Any, np.dtype[np.float32]]


class SlotRows(Indexed):
    """Makes calls one choice after another: a tool or words, then the value of each argument in the schema's order.

    Values are those that the conversation shows, never the reference: what users said (quoted texts, names, numbers, dates,
    lists, words), what results showed under their keys, and what the schemas list (choices, defaults, truth values, words of a
    description, 0 to 10). A text of several words is begun by its first one (``"word ..."``), then its end is chosen. Optional
    arguments can be left out; lists are filled value after value up to their end, objects field after field, or taken as they
    stood somewhere. Where several calls may be made in one turn, each is followed by another one or ``that is all``; where
    words can be made of values, ``say ...`` asks for these. Where nothing fits an argument, ``break off`` is the only row,
    and the call goes to the world as it is.

    Only a turn that is complete is given to the environment: what it pays, and its ``max_steps``, are for turns. The choices
    in between have the reward 0.0, no message and no call. They are bounded (16 elements of a list, 8 values that are said), so
    that every turn ends. An index without a row drops what was begun and says nothing.

    With ``reachable`` the only tasks that are played are those that can be won by these rows: at a reset, tasks are drawn until
    the oracle wins one in a trial, which is then taken back; what came out is kept by the task's number. The page of an
    environment says how many of its tasks that are. The rows are the same without it.

    Observation, a flat ``Dict``: ``observation`` float32 ``(392,)`` in [-1, 1]: what ``CallRows`` tells of the conversation
    (312); what is asked for: a turn, another call, a value, the end of a text (4); of which tool (32), hashed words of the
    argument's name (32), its types (7), may it be left out, elements so far / 10, choices of this turn / 20, its calls / 10,
    was a text begun. ``actions`` float32 ``(rows, 106)`` in [-1, 1], a row a choice, those most likely meant in front: what it
    is (13); of a tool, which (32); of a phrase, which (16); hashed words of it without digits (16); how the value stood there:
    quoted, a name, with digits, a list, in a schema, under a key, a word (7); said and shown, both by how recently, where in
    its text, share of the argument's words near it (of the end of a text: does a sentence end there), likeness of its key and
    the argument, how likely it is meant by all these; share of its words that the user said, that results showed, both also by
    how recently, and that the last message has; share of the words beside it in results that the user said; of a tool's
    description the share that the last message and all messages have; was it chosen in this turn, was it given before; of a
    tool: was it used, was that fine, since the last message; words / 10; 1 / its place; 1.0 for true, -1.0 for false.
    ``action_mask`` int8 ``(rows,)``. Action: the index of a row.

    Args:
        env: a tool environment that is a ``SlotEnv``.
        rows: at most; values behind them are left out.
        reachable: play only tasks that can be won by the rows.

    Raises:
        TypeError: the environment is another.
        ValueError: a setting is none that is allowed.
    """

    what = "an encoded action is the index of a row"

    def __init__(self, env: gym.Env[Any, Any], rows: int = 64, reachable: bool = True) -> None:
        super().__init__(env, rows=rows, reachable=reachable)
        self.rows, self.reachable = whole("rows", rows, 8, 1000), flag("reachable", reachable)
        if not isinstance(env.unwrapped, SlotEnv):
            raise TypeError(f"SlotRows is for tool environments that are a SlotEnv, not {env.unwrapped!r}")
        self._inner = env.unwrapped
        self.observation_space = Dict(
            {
                "observation": Box(-1.0, 1.0, (STATE,), np.float32),
                "actions": Box(-1.0, 1.0, (rows, WIDTH), np.float32),
                "action_mask": Box(0, 1, (rows,), np.int8),
            }
        )
        self.action_space = Discrete(rows)
        self._verdicts: OrderedDict[int, bool] = OrderedDict()
        self._memory, self._heard = Memory(), Heard()
        self._over = True
        self._begin()

    # -- an episode ------------------------------------------------------------------------------
    def _begin(self) -> None:
        """A new turn."""
        inner = self._inner
        self._rows = self._showing(self._heard)
        self._made: tuple[Option, ...] = ()
        self._asking: Choosing = turn(inner.tools, inner._at_once())
        self._drawn: dict[int, Array] = {}
        self._known: dict[str, tuple[float, ...]] = {}
        self._script: tuple[Option, ...] | None = None  # of the oracle, for this turn
        self._slot: Slot = next(self._asking)
        self._options: tuple[Option, ...] = () if self._over else self._rows.options(self._slot)

    def _showing(self, heard: Heard) -> Rows:
        inner = self._inner
        phrases = () if self._over else tuple(dict.fromkeys(inner._phrases()))
        return Rows(heard, inner.tools, phrases, inner.speaks, inner._worth, self.rows)

    def _follow(self, info: Mapping[str, Any]) -> None:
        self._memory.follow(info)
        self._heard.follow(info)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """A new episode, of a task that can be reached where only these are played.

        Raises:
            ValueError: as the environment; and ``options`` name a task that cannot be reached.
        """
        text, info = self._opened(seed, options)
        for _ in range(DRAWS):
            if not self.reachable or self.can_be_reached():
                return self._shown(text, info)
            if (options or {}).get("task") is not None:
                raise ValueError(
                    f"task {(options or {})['task']} cannot be won by the rows: reachable=False plays it all the same"
                )
            if len(self._verdicts) == len(self._inner.tasks()) and not any(self._verdicts.values()):
                break
            text, info = self._opened(None, options)
        raise ValueError(
            f"of {len(self._verdicts)} tasks none can be won by the rows: reachable=False plays them all the same"
        )

    def _opened(self, seed: int | None, options: dict[str, Any] | None) -> tuple[str, dict[str, Any]]:
        text, info = self.env.reset(seed=seed, options=options)
        self._memory, self._heard, self._over = Memory(), Heard(), False
        self._follow(info)
        self._begin()
        return text, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Makes a choice; the one that completes a turn gives it to the environment.

        Raises:
            TypeError: the action is no whole number.
            RuntimeError: the episode is over.
        """
        try:
            i = operator.index(action)
        except TypeError:
            raise TypeError(f"{self.what}, a whole number, not {action!r}") from None
        said: Any = ""  # by an index without a row
        if 0 <= i < len(self._options):
            said = self._choose(self._options[i])
            if said is None:
                obs, info = self._shown("", self._between())
                return obs, 0.0, False, False, info
        _, reward, terminated, truncated, info = self.env.step(said)
        self._over = bool(terminated or truncated)
        self._follow(info)
        self._begin()
        obs, info = self._shown("", info)
        return obs, reward, terminated, truncated, info

    def _choose(self, option: Option) -> Turn | None:
        """Goes on with a choice; a turn that is complete by it."""
        self._made += (option,)
        try:
            self._slot = self._asking.throw(Broken()) if option.kind == "break" else self._asking.send(option)
        except StopIteration as done:
            made: Turn = done.value
            return made
        self._options = self._rows.options(self._slot)
        return None

    def _between(self) -> dict[str, Any]:
        """The info of a step within a turn: nothing happened."""
        facts = self._inner._facts()
        kept = {k: v for k, v in facts.items() if k != "over"}
        terms = dict.fromkeys(facts["reward_terms"], 0.0)
        nothing = {"process_score": VALID, "tool_calls": (), "messages": (), "message": "", "valid_action": True}
        return kept | nothing | {"reward_terms": terms}

    def _shown(self, text: str, info: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        self._choices = tuple(o.label for o in self._options)
        mask = np.zeros(self.rows, np.int8)
        mask[: len(self._options)] = 1
        names = {name: min(k, TOOLS - 1) for k, name in enumerate(sorted(self._inner.tools))}
        out = {"observation": self._state(names), "actions": self._matrix(names), "action_mask": mask}
        return out, info | {"action_mask": mask.copy(), "admissible_actions": self._choices}

    def action_masks(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """``(rows,)`` bool, as sb3-contrib's MaskablePPO asks for it."""
        return np.arange(self.rows) < len(self._options)

    # -- numbers ---------------------------------------------------------------------------------
    def _state(self, names: Mapping[str, int]) -> Array:
        """``(STATE,)``: where the conversation is, and what is asked for."""
        slot, out = self._slot, np.zeros(STATE, np.float32)
        out[:KNOWN] = self._memory.state(
            self._inner.max_steps, len(self._options) / self.rows, names, self._rows.phrases
        )
        at = KNOWN
        out[at + SLOTS.index(slot.kind)] = 1.0
        at += len(SLOTS)
        if slot.tool:
            out[at + names.get(slot.tool, TOOLS - 1)] = 1.0
        at += TOOLS
        out[at : at + NAMED] = hashed(slot.name.replace("_", " "), NAMED)
        at += NAMED
        if slot.kind in ("value", "text"):
            for kind in kinds_of(slot.schema):
                out[at + TYPES.index(kind)] = 1.0
        at += len(TYPES)
        calls = sum(o.kind == "tool" for o in self._made)
        out[at:] = (
            float(slot.optional),
            min(1.0, (slot.listed + 1) / 10),
            min(1.0, len(self._made) / 20),
            min(1.0, calls / 10),
            float(bool(slot.begin)),
        )
        return out

    def _matrix(self, names: Mapping[str, int]) -> Array:
        """``(rows, WIDTH)``; a slot that comes again within a turn has the same but for what was chosen."""
        key = id(self._options)  # they are kept for as long as this is
        if key not in self._drawn:
            rows, asked = np.zeros((self.rows, WIDTH), np.float32), (self._slot.tool, self._slot.name)
            given = {g[2] for g in self._heard.given if g[:2] == asked}  # to the argument in earlier calls
            for k, (row, option) in enumerate(zip(rows, self._options)):
                self._row(row, option, k, names)
                if option.kind == "phrase":
                    row[GIVEN] = option.value in self._memory.made
                elif given and option.found:
                    row[GIVEN] = json.dumps(option.value, sort_keys=True) in given
            self._drawn[key] = rows
        out = self._drawn[key].copy()
        made = [o.value for o in self._made if o.kind in ("value", "text", "whole")]
        for row, option in zip(out, self._options if made else ()):
            row[CHOSEN] = any(same(v, option.value) for v in made)
        return out

    def _row(self, out: Array, option: Option, place: int, names: Mapping[str, int]) -> None:
        """``(WIDTH,)``: a row."""
        memory, found = self._memory, option.found or _NONE
        out[KINDS.index(option.kind)] = 1.0
        at = len(KINDS)
        if option.kind == "tool":
            out[at + names.get(option.value, TOOLS - 1)] = 1.0
        at += TOOLS
        if option.kind == "phrase":
            out[at + min(self._rows.phrases.index(option.value), PHRASES - 1)] = 1.0
        at += PHRASES
        text = _words_of(option)
        out[at : at + MEANT] = hashed(_plain(text), MEANT)
        at += MEANT
        if option.found:
            out[at + FORMS.index(found.form)] = 1.0
        at += len(FORMS)
        about = _own(self._inner.tools[option.value].description) if option.kind == "tool" else ()
        used = memory.used.get(option.value) if option.kind == "tool" else None
        out[at:] = (
            found.said, found.shown, found.at, found.named, found.key,
            math.tanh(likely(found) / 3) if option.found else 0.0,
            *self._shares(text),
            memory._known(memory.records.get(text, ())) if option.kind in ("value", "text") else 0.0,
            sum(w in memory.last_words for w in about) / max(1, len(about)),
            sum(w in memory.said for w in about) / max(1, len(about)),
            0.0, 0.0,  # at CHOSEN, GIVEN
            0.0 if used is None else 1.0,
            0.0 if used is None else float(used[1]),
            0.0 if used is None else float(memory.step - used[0] < memory.since),
            min(1.0, len(words(text)) / 10),
            1.0 / (1 + place),
            float(option.value is True) - float(option.value is False),
        )  # fmt: skip

    def _shares(self, text: str) -> tuple[float, ...]:
        """Of a text's words: the share that was said, lately, shown, lately, and is in the last message."""
        if text not in self._known:
            memory, mine = self._memory, words(text)
            said = lately = shown = ago = last = 0.0
            for w in mine:
                if w in memory.said:
                    said, lately = said + 1.0, lately + memory._lately(w)
                if w in memory.shown:
                    shown, ago = shown + 1.0, ago + memory._ago(memory.shown[w])
                last += w in memory.last_words
            n = max(1, len(mine))
            self._known[text] = said / n, lately / n, shown / n, ago / n, last / n
        return self._known[text]

    # -- the oracle ------------------------------------------------------------------------------
    def oracle(self) -> str:
        """The next choice of the environment's plan.

        Raises:
            RuntimeError: nothing is left to do, or the rows do not hold what there is.
        """
        if self._over:
            raise RuntimeError("nothing is left to do")
        if self._script is None:
            way = self._plan().turn()
            self._script = () if way is None else way[0]
        n = len(self._made)
        if self._script[:n] == self._made and n < len(self._script):
            return self._script[n].label
        if not n:
            raise RuntimeError("the rows do not hold what is left to do: the conversation does not show it")
        short = (o for o in self._options if o.kind in ("leave", "end", "all", "break"))
        return next(short, self._options[0]).label  # another call was begun: it is made as short as can be

    def _plan(self) -> Plan:
        return Plan(self._inner, self._rows, self._memory.made, self._showing)

    def can_be_reached(self) -> bool:
        """The oracle wins the running task by the rows, from its start; what was found is kept."""
        inner, task = self._inner, self._inner.task
        assert task is not None
        if task not in self._verdicts:
            kept, settings = self.snapshot(), (inner.render_mode, inner.max_steps)
            inner.render_mode, inner.max_steps, won = None, TRIAL, False
            while not self._over:
                way = self._plan().turn()
                if way is None:
                    break
                _, _, terminated, truncated, info = inner.step(way[1])
                if info.get("invalid"):
                    raise InfraError(info["infra_error"])
                won, self._over = bool(info["success"]), terminated or truncated
                self._follow(info)
                self._begin()
            inner.render_mode, inner.max_steps = settings
            self.restore(kept)
            self._verdicts[task] = won
            if len(self._verdicts) > VERDICTS:
                self._verdicts.popitem(last=False)
        return self._verdicts[task]

    # -- states ----------------------------------------------------------------------------------
    def snapshot(self) -> dict[str, Any]:
        """The environment's snapshot, what was heard, and the choices of the turn that is being made."""
        face = copy.deepcopy(self._memory), copy.copy(self._heard), self._made, self._over
        return super().snapshot() | {"face": face}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Goes back to it."""
        super().restore(snapshot)
        memory, heard, made, self._over = snapshot["face"]
        self._memory, self._heard = copy.deepcopy(memory), copy.copy(heard)
        self._begin()
        for option in made:
            self._choose(option)
        self._choices = tuple(o.label for o in self._options)


_NONE = Found(None, form="word")


def _words_of(option: Option) -> str:
    if option.kind == "tool":
        return str(option.value).replace("_", " ").replace(".", " ")
    return option.value if isinstance(option.value, str) else option.label


@functools.lru_cache(1000)
def _own(about: str) -> tuple[str, ...]:
    """The longer words of a description."""
    return tuple(w for w in dict.fromkeys(words(about)) if len(w) > 3)
