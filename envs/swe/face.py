"""The encoded face of the software-engineering environments: candidate repairs as rows, the index of a row out."""

from __future__ import annotations

import ast
import difflib
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete

from ..text.base import whole
from ..text.indexed import Indexed
from ..tools.calls import Call
from . import mutate, plan
from .env import SweEnv

TOOLS = ("submit", "run_tests", "undo")
FAMILIES = tuple(mutate.ALL)
STATE = 8
WIDTH = len(TOOLS) + 8 + len(FAMILIES)
KEPT = 1000  # states of code whose candidates are kept
SUBMIT, RUN = Call("submit", {}).text(), Call("run_tests", {}).text()
Rows = np.ndarray[Any, np.dtype[np.float32]]


class Offer(NamedTuple):
    """A candidate."""

    repair: plan.Repair
    command: str
    after: str
    """The file's text after it."""
    undo: str
    """The command that takes it back."""


class RepairRows(Indexed):
    """Chooses among candidate repairs, each at its place, that are made from the code alone and never from the patch.

    The first rows are ``submit``, ``run_tests`` and ``undo`` (of the last edit); then the candidates, the most suspicious
    first by which tests run which lines (``spectrum``). One edit at a time: it is tested first, and undone if no more tests
    pass by it; else, or when no edit is left, the others and ``submit`` are there. Candidates that were tried from the same
    code and did not help are not there again. Every action is one tool call of the text face.

    Observation, a flat ``Dict``: ``observation`` float32 ``(8,)`` in [-1, 1]: is it known which tests pass now, their share,
    1.0 if all do, the change by the last edit, 1.0 for an edit that is not tested, edits made / 3, candidates tried /
    ``candidates``, steps left / ``max_steps``; ``actions`` float32 ``(3 + candidates, 25)`` in [-1, 1], a row an action: which
    tool it is (3), 1.0 for a candidate, suspicion, place in the order / ``candidates``, share of its function's name in the
    problem statement, 1.0 at the top of the file, characters more (tanh of a twentieth), 1.0 if it only adds, 1.0 if it only
    removes, the kind of bug that it would undo (14); ``action_mask`` int8 ``(3 + candidates,)``. Action: the index of a row.

    Args:
        env: a software-engineering environment.
        candidates: candidate repairs at most.

    Raises:
        ValueError: ``candidates`` is no whole number from 1 to 1000.
        TypeError: the environment is another.
    """

    what = "an encoded action is the index of a row"

    def __init__(self, env: gym.Env[Any, Any], candidates: int = 29) -> None:
        super().__init__(env, candidates=candidates)
        self.candidates = whole("candidates", candidates, 1, 1000)
        if not isinstance(env.unwrapped, SweEnv):
            raise TypeError(f"RepairRows is for software-engineering environments, not {env.unwrapped!r}")
        self._inner = env.unwrapped
        rows = len(TOOLS) + candidates
        self.observation_space = Dict(
            {
                "observation": Box(-1.0, 1.0, (STATE,), np.float32),
                "actions": Box(-1.0, 1.0, (rows, WIDTH), np.float32),
                "action_mask": Box(0, 1, (rows,), np.int8),
            }
        )
        self.action_space = Discrete(rows)
        self._asked: int | None = None
        self._kept: OrderedDict[tuple[Any, ...], tuple[list[Offer], Rows]] = OrderedDict()
        self._begin()

    def _begin(self) -> None:
        self._edits: tuple[Offer, ...] = ()
        self._shares: tuple[float | None, ...] = (None,)  # of tests that pass: at first, after each edit
        self._tried: frozenset[tuple[str, str]] = frozenset()  # path and text after an edit
        self._steps = 0

    # -- actions ---------------------------------------------------------------------------------
    def _command(self, i: int) -> str:
        self._steps += 1
        there = 0 <= i < len(self._choices) and bool(self._choices[i])
        self._asked = i if there else None
        return self._choices[i] if there else ""

    def _shown(self, text: str, info: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        if "meta" in info:  # a reset
            self._begin()
            i = self._inner.instance()
            self._shares = (len(i.pass_to_pass) / max(1, len(i.pass_to_pass) + len(i.fail_to_pass)),)
        elif self._asked is not None and info["valid_action"]:
            self._follow(self._asked, info)
        self._asked = None
        over = not info["admissible_actions"]  # submitted, or the sandbox was lost
        self._choices = ("",) * (len(TOOLS) + self.candidates) if over else self._offered()
        mask = np.array([bool(c) for c in self._choices], np.int8)
        out = {"observation": self._state(), "actions": self._rows(), "action_mask": mask}
        there = tuple(c for c in self._choices if c)
        return out, info | {"action_mask": mask.copy(), "admissible_actions": there}

    def _follow(self, i: int, info: Mapping[str, Any]) -> None:
        """What an action did."""
        if i >= len(TOOLS):
            self._edits += (self._offers()[0][i - len(TOOLS)],)
            self._shares += (None,)
        elif TOOLS[i] == "undo":
            self._edits, self._shares = self._edits[:-1], self._shares[:-1]
        elif tests := info.get("tests"):
            share = sum(tests.values()) / len(tests)
            self._shares = (*self._shares[:-1], share)
            if self._edits:
                last = self._edits[-1]
                self._tried |= {(last.repair.path, last.after)}

    def _change(self) -> float:
        """By the last edit, where it is known."""
        now, before = self._shares[-1], self._shares[-2] if self._edits else None
        return 0.0 if now is None or before is None else now - before

    def _offered(self) -> tuple[str, ...]:
        """A command for each row, empty where nothing can be done."""
        edits: tuple[str, ...] = ()
        if self._open():
            edits = tuple("" if (o.repair.path, o.after) in self._tried else o.command for o in self._offers()[0])
        known, helped = self._shares[-1] is not None, not self._edits or self._change() > 0.0
        tools = (
            SUBMIT if known and helped else "",
            "" if known else RUN,
            self._edits[-1].undo if known and self._edits else "",
        )
        return (*tools, *edits, *("",) * (self.candidates - len(edits)))

    def _open(self) -> bool:
        """The next edit may be made."""
        now = self._shares[-1]
        return now is not None and now < 1.0 and (not self._edits or self._change() > 0.0)

    def _offers(self) -> tuple[list[Offer], Rows]:
        """The candidates for the code as it is, and their rows; kept, for they are the same in every episode of a task."""
        key = (self._inner.task, *((e.repair.path, e.after) for e in self._edits))
        if key not in self._kept:
            offers, sources = [], self._inner.sources()
            for repair, call in zip(*self._inner.repairs(self.candidates)):
                site, text = repair.site, sources[repair.path]
                start, end = site.span
                after = text[:start] + site.new + text[end:]
                undo = plan.edit(repair.path, after, start, start + len(site.new), site.old)
                offers.append(Offer(repair, call.text(), after, undo.text()))
            self._kept[key] = offers, self._features(offers)
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return self._kept[key]

    # -- numbers ---------------------------------------------------------------------------------
    def _state(self) -> Rows:
        share = self._shares[-1]
        return np.array(
            [
                share is not None,
                share or 0.0,
                share == 1.0,
                self._change(),
                share is None,
                min(1.0, len(self._edits) / 3),
                min(1.0, len(self._tried) / self.candidates),
                1.0 - min(1.0, self._steps / self._inner.max_steps),
            ],
            np.float32,
        )

    def _rows(self) -> Rows:
        rows = np.zeros((len(TOOLS) + self.candidates, WIDTH), np.float32)
        for k in range(len(TOOLS)):
            rows[k, k] = 1.0
        if self._open():
            rows[len(TOOLS) :] = self._offers()[1]
        rows[[not c for c in self._choices]] = 0.0
        return rows

    def _features(self, offers: list[Offer]) -> Rows:
        rows = np.zeros((self.candidates, WIDTH), np.float32)
        for place, (row, (r, *_)) in enumerate(zip(rows, offers)):
            grown = np.tanh((len(r.site.new) - len(r.site.old)) / 20)
            about = (1.0, r.suspicion, place / self.candidates, r.named, not r.site.function, grown)
            row[len(TOOLS) : len(TOOLS) + 8] = (*about, not r.site.old, not r.site.new)
            row[len(TOOLS) + 8 + FAMILIES.index(r.site.family)] = 1.0
        return rows

    # -- agents and states -----------------------------------------------------------------------
    def action_masks(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """``(3 + candidates,)`` bool, as sb3-contrib's MaskablePPO asks for it."""
        return np.array([bool(c) for c in self._choices])

    def oracle(self) -> str:
        """The next action of a plan: the candidate that comes nearest to the reference, a test, the submission, or undoing.

        Raises:
            RuntimeError: no candidate comes nearer, or the episode is over.
        """
        if not any(self._choices):
            raise RuntimeError("nothing is left to do")
        if self._shares[-1] is None:
            return self._choices[TOOLS.index("run_tests")]
        if self._shares[-1] == 1.0:
            return self._choices[TOOLS.index("submit")]
        goal, sources = self._inner.reference(), self._inner.sources()
        far = {path: _far(sources.get(path, ""), text or "") for path, text in goal.items()}
        best, nearer = "", 0
        for offer in self._offers()[0] if self._open() else ():
            path = offer.repair.path
            if offer.command in self._choices and path in goal:
                gain = far[path] - _far(offer.after, goal[path] or "")
                if gain > nearer:
                    best, nearer = offer.command, gain
        best = best or self._choices[TOOLS.index("undo")]  # of an edit that led away
        if not best:
            raise RuntimeError(f"no candidate of {self._inner.instance().instance_id} comes nearer to the reference")
        return best

    def snapshot(self) -> dict[str, Any]:
        """The environment's snapshot, and what was tried."""
        return super().snapshot() | {"face": (self._edits, self._shares, self._tried, self._steps)}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Goes back to it."""
        super().restore(snapshot)
        self._edits, self._shares, self._tried, self._steps = snapshot["face"]


def _far(text: str, goal: str) -> int:
    """How many lines two programs differ in, whatever their layout."""
    try:
        a, b = ast.unparse(ast.parse(text)).splitlines(), ast.unparse(ast.parse(goal)).splitlines()
    except SyntaxError:
        return 10**6
    same = sum(block.size for block in difflib.SequenceMatcher(None, a, b, autojunk=False).get_matching_blocks())
    return len(a) + len(b) - 2 * same
