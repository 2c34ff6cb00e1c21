"""What a chat model is shown: CALM's nine blocks, each a preset or your own text."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from typing import Any

from ..shaper import nearest
from .query import Proposal, Query, Question, Rating
from .settings import check

PRESETS: dict[str, dict[str, str]] = {  # all words ours; {placeholders} are filled from the query
    "role": {
        "generic": "You judge what happens in a game.",
        "analyst": "You are a careful and honest analyst. You judge what happens in a game, and you do not guess.",
        "expert": "You know the {environment} by heart. You judge what happens in it.",
    },
    "symbols": {
        "grid": "In maps: . is floor, | and - are walls or an open door, + is a closed door, ( is something useful, "
        "< and > are stairs up and down, @ is the player.",
        "grid+fields": "In maps: . is floor, | and - are walls or an open door, + is a closed door, ( is something useful, "
        "< and > are stairs up and down, @ is the player. 'Action' is what the player does, 'message' is what the game "
        "answers, 'before' and 'after' are what the player sees.",
    },
    "task": {
        "full": "The player's task: {task}",
        "manual": "The player's task: {task} Things are picked up by standing on them; what is locked is opened with the "
        "right tool from next to it; doors are not passed diagonally.",
        "win": "The player wants to win the game.",
    },
    "subgoals": {
        "preset": "The sub-goals: {subgoals}.",
        "identify": "First think, for yourself, which sub-goals lead to the end of the task. Then look at these: {subgoals}.",
    },
    "instruction": {
        "identify": "Say which of the sub-goals have been reached in what you see.",
        "progress": "Say which of the sub-goals the player made progress on.",
        "optimality": "Say for which of the sub-goals the player did the best that could be done.",
        "transition": "Say which of the sub-goals were reached between before and after.",
        "transition-action": "Say which of the sub-goals were reached between before and after by this action.",
    },
    "remark": {
        "message": "Look closely at the message.",
        "action": "Look closely at the action.",
        "both": "Look closely at the action and at the message.",
    },
    "output": {
        "json": "Answer with one JSON object and nothing else: {form}",
    },
    "trajectory": {
        "full": "before action message after",
        "no-message": "before action after",
        "no-action": "before message after",
        "states": "before after",
    },
    "closing": {
        "only-json": "Only the JSON object counts, and you have one try.",
    },
}
BLOCKS = tuple(PRESETS)
_ASKED = {  # the other kinds have an instruction of their own: CALM's are about transitions
    "proposal": "Name up to {limit} sub-goals that lead to the end of the task, in order, each in two to six words that begin "
    "with a verb.",
    "rating": "Grade how well the text below does the task: 1 nothing of it, 2 little, 3 half, 4 most, 5 all of it.",
}


@dataclass(frozen=True)
class Prompt:
    """The nine blocks in the order in which they are shown.

    CALM, "Assessing the zero-shot capabilities of LLMs for action evaluation in RL" (arXiv 2409.12798), builds its prompt
    from these blocks and removes them one by one. A block is the name of a preset (``PRESETS``), a text of your own (more than
    one word; of placeholders it may use {environment}, {task}, {subgoals}, {limit}, {form}), or empty: left out. Texts are
    ours. Departures: one transition instead of a sequence is the only form; the output is JSON instead of a Python dict.

    Proposals and ratings use role, task, output and closing; instruction and trajectory are replaced by what they ask.

    Raises:
        ValueError: neither a preset, nor a text, nor empty; names the presets.
    """

    role: str = "analyst"
    """``generic``, ``analyst``, ``expert`` (names the environment)."""
    symbols: str = ""
    """``grid``, ``grid+fields``: what the characters of a map mean, and the fields of a step."""
    task: str = "full"
    """``full``, ``manual`` (with rules), ``win`` (says nothing of the task)."""
    subgoals: str = "preset"
    """``preset``, ``identify`` (think for yourself first)."""
    instruction: str = "transition-action"
    """``identify``, ``progress``, ``optimality``, ``transition``, ``transition-action``."""
    remark: str = "both"
    """``message``, ``action``, ``both``: what to look at."""
    output: str = "json"
    """``json``: the form of the answer."""
    trajectory: str = "full"
    """``full``, ``no-message``, ``no-action``, ``states``; or names among before, action, message, after."""
    closing: str = "only-json"
    """``only-json``."""
    separator: str = ""
    """Between the cells of a map: a blank tells a tokenizer that each is one."""
    environment: str = "game"
    """What {environment} stands for."""
    longest: int = 6000
    """Characters of a state, a message, a task or a text that are shown; the rest is cut off."""

    def __post_init__(self) -> None:
        for block in BLOCKS:
            value, known = getattr(self, block), PRESETS[block]
            if not isinstance(value, str) or (value and " " not in value.strip() and value not in known):
                raise ValueError(
                    f"prompt: {block} is {value!r}{nearest(str(value), known)} Allowed: {', '.join(known)}, "
                    "a text of more than one word, or nothing"
                )
        if self.trajectory and (wrong := set(self._parts()) - {"before", "action", "message", "after"}):
            raise ValueError(f"prompt: trajectory shows {sorted(wrong)[0]!r}; allowed: before, action, message, after")
        for name in ("separator", "environment"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"prompt: {name} is {getattr(self, name)!r}; allowed: a text")
        check("prompt", "longest", self.longest, 1, whole=True)

    def _parts(self) -> list[str]:
        return PRESETS["trajectory"].get(self.trajectory, self.trajectory).split()

    @property
    def identity(self) -> dict[str, Any]:
        """The words of all blocks and the settings: another wording of a preset makes another key."""
        words = {b: PRESETS[b].get(getattr(self, b), getattr(self, b)) for b in BLOCKS}
        return asdict(self) | words | {"asked": _ASKED}

    # -- the messages ----------------------------------------------------------------------------
    def messages(self, query: Query) -> list[dict[str, str]]:
        """Chat messages: what always holds as ``system``, the case as ``user``.

        Raises:
            ValueError: a kind of query that is not put to a chat model.
        """
        blocks = [self._block(b, query) for b in BLOCKS]
        system = "\n\n".join(b for b in blocks[:4] if b)
        user = "\n\n".join(b for b in blocks[4:] if b)
        return [{"role": r, "content": c} for r, c in (("system", system), ("user", user)) if c]

    def _block(self, block: str, query: Query) -> str:
        asked = _ASKED.get(query.kind)
        if not isinstance(query, Question):
            if asked is None:
                raise ValueError(f"a {query.kind} is nothing for a chat model; allowed: question, proposal, rating")
            if block in ("symbols", "subgoals", "remark"):
                return ""
            if block == "instruction":
                return self._fill(asked, query)
            if block == "trajectory":
                return f"Text: {self._cut(query.text)}" if isinstance(query, Rating) else ""
        elif block == "trajectory":
            return self._transition(query)
        value = getattr(self, block)
        if block == "task" and not isinstance(query, Question):
            value = value or "full"  # a proposal without its task would be about nothing
        return self._fill(PRESETS[block].get(value, value), query)

    def _fill(self, text: str, query: Query) -> str:
        names = query.subgoals if isinstance(query, Question) else ()
        fill = {
            "environment": self.environment,
            "task": self._cut(getattr(query, "task", "")),
            "subgoals": ", ".join(json.dumps(g, ensure_ascii=False) for g in names),
            "limit": str(getattr(query, "limit", "")),
            "form": self._form(query),
        }
        # in one pass, so that braces of a task are no placeholders
        return re.sub(r"\{(\w+)\}", lambda m: fill.get(m[1], m[0]), text).strip()

    def _form(self, query: Query) -> str:
        if isinstance(query, Question):
            return "{" + ", ".join(f"{json.dumps(g, ensure_ascii=False)}: true or false" for g in query.subgoals) + "}"
        return '{"subgoals": [a list of texts]}' if isinstance(query, Proposal) else '{"grade": 1 to 5}'

    def _transition(self, q: Question) -> str:
        shown = []
        for part in self._parts() if self.trajectory else ():
            text = self._cut(getattr(q, part))
            if part in ("before", "after"):
                text = "\n" + "\n".join(self._spaced(line) for line in text.splitlines())
            shown.append(f"{part.capitalize()}: {text if text.strip() else '(nothing)'}")
        return "\n".join(shown)

    def _spaced(self, line: str) -> str:
        """A line of a map with the separator between its cells; a line of words as it is."""
        is_words = re.search(r"[A-Za-z]{2}", line) is not None
        return line if is_words or not self.separator else self.separator.join(line)

    def _cut(self, text: str) -> str:
        return text if len(text) <= self.longest else text[: self.longest] + " ..."

    def schema(self, query: Query) -> dict[str, Any]:
        """JSON schema of the answer, for ``response_format``."""
        if isinstance(query, Question):
            properties: dict[str, Any] = {g: {"type": "boolean"} for g in query.subgoals}
        elif isinstance(query, Proposal):
            # no length of a text: endpoints with strict schemas refuse that word
            items = {"type": "string"}
            properties = {"subgoals": {"type": "array", "items": items, "minItems": 1, "maxItems": query.limit}}
        else:
            properties = {"grade": {"type": "integer", "enum": [1, 2, 3, 4, 5]}}
        return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
