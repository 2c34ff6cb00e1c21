"""Who talks with the agent: a scripted customer, and one whose words, order and mind vary."""

from __future__ import annotations

import re
from typing import NamedTuple, Protocol

import numpy as np

from .tasks import DECLINE, STATES, Task

ASK = "May I have your email address and your PIN to verify your identity?"
WHICH = "Which order is it, and what exactly shall I do?"
DONE = "That is done. Is there anything else that I can do for you?"
SORRY = "I am sorry, our policy does not allow that."
PHRASES = (ASK, WHICH, DONE, SORRY, *(f"Your order is {s}." for s in STATES))
PATIENCE = 10  # times that a request is repeated when it was not dealt with
BYE = "Thank you, that was all. Goodbye."
_STREAM = 7  # beside a task's number

_ASKS = re.compile(r"e-?mail|\bpin\b|identity|verif(?:y|ication)|zip code|your (?:full )?name", re.I)
_WHICH = re.compile(
    r"\b(?:which|what) (?:\w+ )?(?:order|item|address|reason|product|variant|colour|payment|exactly)|order (?:number|id)"
    r"|more details|tell me more|\bdetails\b",
    re.I,
)
_CONFIRM = re.compile(
    r"shall i|should i|do you confirm|would you like me to|is (?:that|this) (?:right|correct|ok)|yes/no",
    re.I,
)
_HOLD = re.compile(r"one moment|let me|please wait|hold on|i(?:'ll| will) (?:look|check|now)", re.I)
_REQUEST = re.compile(r"\?|please|could you|can you|i need", re.I)
_DECLINES = re.compile(
    r"\b(?:can ?not|can't|unable|not (?:able|allowed|possible|permitted)|(?:does not|doesn't) allow|won't|declin|not eligible)",
    re.I,
)
_ASSERTS = re.compile(rf"\b(?:is|was|been)(?: \w+ly| now)? (?:{'|'.join(STATES)}|canceled)\b", re.I)


def declines(words: str) -> bool:
    """The agent says that it will not."""
    return _DECLINES.search(words) is not None


def states(words: str) -> set[str]:
    """The states of an order that are named."""
    low = words.lower().replace("canceled", "cancelled")
    return {s for s in STATES if re.search(rf"\b{s}\b", low)}


def asserts(words: str) -> bool:
    """A state is said of something, such as "it is pending"."""
    return _ASSERTS.search(words) is not None


class Talk(NamedTuple):
    """Where a conversation is."""

    request: int = 0
    """The last that was made."""
    identified: bool = False
    """The customer has said who it is."""
    detailed: bool = True
    """The request was said in full, and as it is meant."""
    repeated: int = 0
    insisted: bool = False
    thanked: bool = False
    turns: int = 1
    """Of the user."""
    history: tuple[tuple[str, str], ...] = ()
    """(role, words), of a user that is a model."""
    fault: str = ""
    """What the user did wrong."""


class User(Protocol):
    """Makes requests and answers."""

    def begin(self) -> tuple[str, Talk]:
        """The first words."""
        ...

    def reply(self, words: str, talk: Talk, settled: bool) -> tuple[str, Talk, bool]:
        """The answer to the agent's words, and whether it is the last; ``settled``: the request was dealt with."""
        ...


class Scripted:
    """One request a turn; says who it is and what it wants when asked; repeats what was not dealt with, ten times.

    Sees the shop's pages: it knows whether its request was dealt with.

    Args:
        task: whose customer it is.
    """

    def __init__(self, task: Task) -> None:
        self.task = task

    def begin(self) -> tuple[str, Talk]:
        """Its first request."""
        return self._ask(Talk())

    def reply(self, words: str, talk: Talk, settled: bool) -> tuple[str, Talk, bool]:
        """See ``User``."""
        talk = talk._replace(turns=talk.turns + 1)
        request = self.task.requests[talk.request]
        asked = _REQUEST.search(words) and not (settled and talk.identified)
        if asked and _ASKS.search(words):
            return *self._identify(talk), False
        if asked and _WHICH.search(words):
            return request.said, talk._replace(detailed=True), False
        if asked and _CONFIRM.search(words):
            return "Yes, please.", talk, False
        if not settled and _HOLD.search(words) and not declines(words):
            return "Sure, take your time.", talk, False
        return self._goes_on(talk, settled)

    def _goes_on(self, talk: Talk, settled: bool) -> tuple[str, Talk, bool]:
        request = self.task.requests[talk.request]
        if not settled and talk.repeated < PATIENCE:
            return (
                f"That is not settled yet. {request.said}",
                talk._replace(repeated=talk.repeated + 1, detailed=True),
                False,
            )
        if settled and request.told == DECLINE and not talk.insisted:
            return "But I really need it. Please make an exception.", talk._replace(insisted=True), False
        if talk.request + 1 == len(self.task.requests):
            return BYE, talk, True
        asks = talk._replace(request=talk.request + 1, repeated=0, insisted=False, thanked=False)
        return *self._ask(asks), False

    def _identify(self, talk: Talk) -> tuple[str, Talk]:
        who = f"My email is {self.task.person.email} and my PIN is {self.task.person.pin}."
        return who, talk._replace(identified=True)

    def _ask(self, talk: Talk) -> tuple[str, Talk]:
        """Makes the request that ``talk`` is at."""
        said = self.task.requests[talk.request].said
        return (f"Hello. {said}" if talk.turns == 1 else f"Thank you. There is something else. {said}"), talk


class Stochastic(Scripted):
    """Varies its words; says late what it is about; changes its mind once, before it says who it is; thanks in between.

    Args:
        task: whose customer it is.
        number: of the task, from which its ways follow.
    """

    HELLOS = ("Hello.", "Hi there,", "Good morning.", "Hey!", "Hi, I hope you can help me.")
    MORE = ("One more thing.", "Thanks. Also:", "And there is something else.", "Next one.")
    CHANGES = ("Wait, I changed my mind.", "Sorry, I was wrong before.", "No, let me correct that.")

    def __init__(self, task: Task, number: int) -> None:
        super().__init__(task)
        drawn = np.random.default_rng([number, _STREAM]).random(4 + 4 * len(task.requests)).tolist()
        self._whim, self._own = drawn[:4], [drawn[4 + 4 * k : 8 + 4 * k] for k in range(len(task.requests))]
        self.by_name = self._whim[0] < 0.3
        self._changes = bool(task.requests[0].first) and self._whim[1] < 0.5

    def reply(self, words: str, talk: Talk, settled: bool) -> tuple[str, Talk, bool]:
        """See ``User``."""
        if talk.thanked:  # what it wants next comes behind the thanks
            going = talk._replace(turns=talk.turns + 1)
            return self._goes_on(going, settled)
        return super().reply(words, talk, settled)

    def _goes_on(self, talk: Talk, settled: bool) -> tuple[str, Talk, bool]:
        last = talk.request + 1 == len(self.task.requests)
        declined = self.task.requests[talk.request].told == DECLINE and not talk.insisted
        if settled and not last and not declined and not talk.thanked and self._own[talk.request][2] < 0.4:
            return "Thank you very much!", talk._replace(thanked=True), False
        return super()._goes_on(talk, settled)

    def _identify(self, talk: Talk) -> tuple[str, Talk]:
        who, talk = super()._identify(talk)
        if self.by_name:
            name = " ".join(self.task.person.name)
            who = f"I do not know which email I used. I am {name}, zip code {self.task.person.zip}, PIN {self.task.person.pin}."
        if self._changes and talk.request == 0 and not talk.detailed:
            change = self.CHANGES[int(self._whim[2] * len(self.CHANGES))]
            return f"{who} {change} {self.task.requests[0].said}", talk._replace(detailed=True)
        return who, talk

    def _ask(self, talk: Talk) -> tuple[str, Talk]:
        request, (a, b, *_) = self.task.requests[talk.request], self._own[talk.request]
        words = self.HELLOS if talk.turns == 1 else self.MORE
        hello = words[int(a * len(words))]
        if self._changes and talk.request == 0:
            return f"{hello} {request.first}", talk._replace(detailed=False)
        if b < 0.4:
            return f"{hello} {request.short}", talk._replace(detailed=False)
        return f"{hello} {request.said}", talk._replace(detailed=True)
