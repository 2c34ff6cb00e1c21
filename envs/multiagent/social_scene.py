"""What a social scene is made of, and what has happened in it so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Topic(NamedTuple):
    """A fact about one of the two."""

    name: str
    owner: int
    label: str
    """The kind of fact, such as ``town``."""
    value: str
    """One word; who says it has told the fact."""
    open: bool = False
    """The other knows it from the start."""
    secret: bool = False


class Duty(NamedTuple):
    """Something that one of the two can do for the other, once."""

    name: str
    who: int
    terms: bool = False
    """Part of any agreement: promised by agreeing, possible only then."""
    after: tuple[str, ...] = ()
    """Duties that must be done, or topics that must be known, before."""
    coins: int = 0
    """What it costs the one and is worth to the other."""
    priced: bool = False
    """It costs, and is worth, the coins of the agreement instead."""


class Deal(NamedTuple):
    """One way to agree."""

    name: str
    worths: tuple[int, int]
    """0 to 10, known to each for itself."""
    coins: int = 0


class Want(NamedTuple):
    """One thing to reach. ``deal``: an agreement worth at least ``least``; ``done``: a duty is done; ``promised``: the
    other has promised a duty, or done it; ``learned``: know a topic of the other; ``restated``: and said it back; ``told``:
    the other knows a topic.
    """

    kind: str
    what: str = ""
    least: int = 0


class Person(NamedTuple):
    """One of the two characters."""

    name: str
    intro: str
    wants: tuple[Want, ...]
    keeps: tuple[str, ...] = ()
    """Topics that the other must not learn."""
    curious: tuple[str, ...] = ()
    """Topics that the scripts ask for beyond the goal."""


@dataclass(frozen=True)
class Scene:
    """A scenario; nothing in it changes."""

    title: str
    family: str
    relation: str
    setting: str
    people: tuple[Person, Person]
    topics: dict[str, Topic]
    duties: dict[str, Duty]
    deals: dict[str, Deal]
    vetoes: bool = False
    """Declining an offer strikes it off for good."""

    def __deepcopy__(self, memo: Any) -> Scene:
        return self


@dataclass
class Scored:
    """What one of the two has done, counted."""

    spoke: int = 0
    repeats: int = 0
    contradictions: int = 0
    insults: int = 0
    claims: int = 0  # of duties that are not theirs, or not to be done now
    thanks: bool = False
    warm: bool = False
    cold: int = 0
    answered: bool = False


@dataclass
class World:
    """A scene as it stands."""

    scene: Scene
    knows: tuple[set[str], set[str]]  # topics of the other
    restated: tuple[set[str], set[str]] = field(default_factory=lambda: (set(), set()))
    asked: tuple[list[str], list[str]] = field(default_factory=lambda: ([], []))  # of each, not answered yet
    asks: tuple[dict[str, int], dict[str, int]] = field(default_factory=lambda: ({}, {}))  # by each: name -> last cycle
    refused: tuple[set[str], set[str]] = field(default_factory=lambda: (set(), set()))
    offers: list[str | None] = field(default_factory=lambda: [None, None])
    offered: tuple[list[str], list[str]] = field(default_factory=lambda: ([], []))
    struck: set[str] = field(default_factory=set)
    deal: str | None = None
    promised: set[str] = field(default_factory=set)
    done: set[str] = field(default_factory=set)
    counts: tuple[Scored, Scored] = field(default_factory=lambda: (Scored(), Scored()))
    lines: list[str] = field(default_factory=list)  # what is shown, the last ones
    said: tuple[list[str], list[str]] = field(default_factory=lambda: ([], []))  # plain words of each, the last ones
    last: list[str] = field(default_factory=lambda: ["", ""])  # what each did last, as the other sees it
    told: dict[int, str] = field(default_factory=dict)  # why the last action was not possible
    kinds: list[str] = field(default_factory=lambda: ["none", "none"])
    gains: list[dict[str, float]] = field(default_factory=lambda: [{}, {}])
    acted: bool = False
    idle: int = 0  # cycles in which nobody did anything
    left: int | None = None
    closed: bool = False  # somebody left, or both goals are reached
    over: bool = False  # closed, or out of time

    def can(self, me: int, name: str) -> bool:
        """Can this duty be done now?"""
        duty = self.scene.duties[name]
        ready = all(n in self.done or n in self.knows[me] for n in duty.after)
        return duty.who == me and name not in self.done and ready and (self.deal is not None or not duty.terms)

    def owed(self, me: int) -> list[str]:
        """What I promised and have not done."""
        return [d.name for d in self.scene.duties.values() if d.who == me and d.name in self.promised - self.done]

    def worth(self, me: int, deal: str) -> int:
        """What a deal is worth to me."""
        return self.scene.deals[deal].worths[me]

    def aim(self, me: int) -> int:
        """What a deal must be worth to me."""
        return next((w.least for w in self.scene.people[me].wants if w.kind == "deal"), 0)

    def met(self, me: int, want: Want) -> float:
        """How much of a want is reached, 0 to 1."""
        if want.kind == "deal":
            return 0.0 if self.deal is None else min(1.0, self.worth(me, self.deal) / want.least)
        there = {
            "done": self.done,
            "promised": self.promised | self.done,
            "learned": self.knows[me],
            "restated": self.restated[me],
            "told": self.knows[1 - me],
        }
        return float(want.what in there[want.kind])

    def leaks(self, me: int) -> list[str]:
        """Topics that I had to keep and that the other knows."""
        return [t for t in self.scene.people[me].keeps if t in self.knows[1 - me]]

    def reached(self, me: int) -> bool:
        """Is my goal reached, all of it?"""
        return not self.leaks(me) and all(self.met(me, w) >= 1.0 for w in self.scene.people[me].wants)
