"""What a ``tool_team`` knows, and how its actions are read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..tools.calls import Call
from ..tools.candidates import Seen
from ..tools.face import Memory

LINE = 300  # characters of a first line
VERBS = ("say", "tell", "report")


@dataclass
class Member:
    """What one of the team knows."""

    memory: Memory = field(default_factory=Memory)
    seen: Seen = field(default_factory=Seen)
    heard: list[str] = field(default_factory=list)  # from the team, the latest last
    results: list[str] = field(default_factory=list)  # of its own calls
    made: tuple[dict[str, Any], ...] = ()  # its last calls, as the inner environment tells of them
    reported: bool = True
    orders: list[str] = field(default_factory=list)  # calls that it was told and has not made
    said: str = ""  # what it told somebody last
    wrong: str = ""  # why its last action was not possible
    changes: int = 0

    def follow(self, made: Sequence[Mapping[str, Any]], messages: Sequence[Mapping[str, Any]]) -> None:
        """Calls that it made or learnt of, and messages."""
        self.memory.follow({"tool_calls": made, "messages": messages})
        for call in made:
            self.seen = self.seen.read(call["result"])
        for message in messages:
            if message["role"] == "user":
                self.seen = self.seen.hear(message["content"])
        self.changes += 1


@dataclass
class Case:
    """The state of a team's work, beside the inner environment."""

    members: dict[str, Member]
    facts: dict[str, Any]
    listed: tuple[str, ...] = ()  # calls that the inner environment lists, where they come from what all may look at
    talk: list[str] = field(default_factory=list)  # with the customer
    log: list[str] = field(default_factory=list)  # of the team, for spectators
    tells: int = 0
    due: dict[str, float] = field(default_factory=dict)  # term -> earned in this cycle
    own: dict[str, float] = field(default_factory=dict)  # agent -> share of its calls that were fine
    pays: dict[str, float] = field(default_factory=dict)
    pays_own: dict[str, float] = field(default_factory=dict)
    over: bool = False


def verb_of(command: str) -> tuple[str, str]:
    """What an action wants, and the rest of it; "" for a call."""
    for verb in VERBS:
        if command == verb or command.startswith(f"{verb} "):
            return verb, command[len(verb) :].strip()
    if command.startswith("{"):
        try:
            given = json.loads(command)
        except (ValueError, RecursionError):
            return "", command
        if len(given) == 1 and (verb := next(iter(given))) in VERBS:
            what = given[verb]
            if isinstance(what, dict):
                what = " ".join(f"{k} {v}" for k, v in what.items())
            return verb, whole_characters(str(what)).strip()
    return "", command


def whole_characters(text: str) -> str:
    """A text without lone surrogates, which JSON can write and no text can hold."""
    return text.encode(errors="replace").decode()


def told(made: Mapping[str, Any]) -> str:
    """A call that was made, as an info tells of it, as a text."""
    try:
        return whole_characters(Call(made["name"], made["arguments"]).text())
    except (TypeError, ValueError, RecursionError):
        return whole_characters(str(made["name"]))


def line(text: str) -> str:
    """A text as the first lines show it."""
    return " ".join(text[: 2 * LINE].split())[:LINE]
