"""A generated encyclopedia: people, places, works, companies, universities, with a page for each and questions over them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

KINDS = {"country": 0.01, "city": 0.12, "person": 0.45, "company": 0.14, "work": 0.22, "university": 0.06}
SMALLEST, LARGEST = 100, 200_000
HOPS = 4
_START = "b br c d dr f g gr h j k kl l m n p pr r s st t tr v w z".split()
_VOWEL = "a e i o u ai ea io ou".split()
_END = "l n r s t nd rk m th x".split()
_SUFFIX = {"country": "ia land mark ora".split(), "city": "ton burg ford haven mouth stead wick by".split()}
_FIRM = "Systems,Works,Foundry,Optics,Shipping,Textiles,Motors,Instruments,Press,Mills,Ceramics,Railways".split(",")
_LOOK = (
    "Silent,Hollow,Crimson,Distant,Broken,Gilded,Patient,Winter,Burning,Quiet,Salted,Narrow,Restless,Pale,Second,Ninth,"
    "Borrowed,Forgotten,Copper,Drifting,Folded,Iron,Late,Lesser,Painted,Sunken,Unlit,Velvet,Wandering,Wooden"
).split(",")
_THING = (
    "Harbour,Ladder,Orchard,Letter,Bridge,Mirror,Engine,Garden,Lantern,Winter,Compass,Staircase,Kingdom,River,Clock,Harvest,"
    "Window,Island,Parade,Archive,Violin,Furnace,Meadow,Signal,Cathedral,Tunnel,Anchor,Ledger,Pilgrim,Quarry"
).split(",")
_FORM = "novel,film,play,poem,opera,painting".split(",")
_JOB = "chemist,architect,composer,botanist,engineer,historian,painter,surgeon,novelist,astronomer".split(",")


class Relation(NamedTuple):
    """What a page says of its subject."""

    name: str
    to: str
    """Kind of the object, "" for a year or a number."""
    phrase: str
    """The object by its subject, inside of a question."""
    ask: str
    """A question for the object."""
    says: tuple[str, ...]
    """Sentences of the page."""


RELATIONS: dict[str, tuple[Relation, ...]] = {
    "person": (
        Relation("born_in", "city", "the birthplace of {x}", "In which city was {x} born?",
                 ("{s} was born in {o}.", "The birthplace of {s} is {o}.", "{s} comes from {o}.")),
        Relation("studied", "university", "the university where {x} studied", "At which university did {x} study?",
                 ("{s} studied at the {o}.", "The {o} was where {s} studied.")),
        Relation("works_for", "company", "the employer of {x}", "Which company does {x} work for?",
                 ("{s} works for {o}.", "The employer of {s} is {o}.")),
        Relation("spouse", "person", "the spouse of {x}", "Who is married to {x}?",
                 ("{s} is married to {o}.", "The spouse of {s} is {o}.")),
        Relation("birth_year", "", "", "In which year was {x} born?",
                 ("The year of birth of {s} is {o}.", "{s} was born in the year {o}.")),
    ),
    "work": (
        Relation("author", "person", "the author of {x}", "Who is the author of {x}?",
                 ("It was written by {o}.", "Its author is {o}.", "{o} is the author.")),
        Relation("set_in", "city", "the city in which {x} is set", "In which city is {x} set?",
                 ("It is set in {o}.", "The story takes place in {o}.")),
        Relation("year", "", "", "In which year did {x} appear?", ("It appeared in {o}.", "It came out in {o}.")),
    ),
    "company": (
        Relation("founder", "person", "the founder of {x}", "Who founded {x}?",
                 ("It was founded by {o}.", "Its founder is {o}.")),
        Relation("seat", "city", "the city where {x} has its headquarters", "In which city are the headquarters of {x}?",
                 ("Its headquarters are in {o}.", "It is run from {o}.")),
        Relation("founded", "", "", "In which year was {x} founded?", ("It was founded in {o}.", "It dates from {o}.")),
    ),
    "city": (
        Relation("country", "country", "the country of {x}", "In which country is {x}?",
                 ("It lies in {o}.", "It belongs to {o}.")),
        Relation("mayor", "person", "the mayor of {x}", "Who is the mayor of {x}?",
                 ("Its mayor is {o}.", "{o} is the mayor.")),
        Relation("people", "", "", "How many inhabitants does {x} have?",
                 ("It has {o} inhabitants.", "Its population is {o}.")),
    ),
    "university": (
        Relation("place", "city", "the city of {x}", "In which city is {x}?", ("It is in {o}.", "Its campus is in {o}.")),
        Relation("rector", "person", "the rector of {x}", "Who is the rector of {x}?",
                 ("Its rector is {o}.", "{o} leads it.")),
        Relation("opened", "", "", "In which year was {x} opened?", ("It was opened in {o}.", "It opened in {o}.")),
    ),
    "country": (
        Relation("capital", "city", "the capital of {x}", "What is the capital of {x}?",
                 ("Its capital is {o}.", "The capital is {o}.")),
        Relation("leader", "person", "the head of state of {x}", "Who is the head of state of {x}?",
                 ("Its head of state is {o}.", "{o} is the head of state.")),
        Relation("independent", "", "", "In which year did {x} become independent?",
                 ("It became independent in {o}.", "It has been independent since {o}.")),
    ),
}  # fmt: skip


class Page(NamedTuple):
    """A document."""

    title: str
    text: str
    links: tuple[str, ...] = ()
    """Titles of pages that it names."""


class Question(NamedTuple):
    """A question over pages."""

    text: str
    answers: tuple[str, ...]
    """All that are right; the first is the reference."""
    titles: tuple[str, ...] = ()
    """Pages that lead to the answer, in their order; the first is named in the question."""


class World:
    """An encyclopedia; the same seed and size give the same, in every process.

    Args:
        seed: of all names, relations and sentences.
        size: pages.

    Raises:
        ValueError: a size that is not allowed.
    """

    def __init__(self, seed: int, size: int) -> None:
        if not SMALLEST <= size <= LARGEST:
            raise ValueError(f"documents is {size!r}; allowed: a whole number from {SMALLEST} to {LARGEST}")
        rng = np.random.default_rng([seed, size, 20])
        counts = {k: max(2, round(share * size)) for k, share in KINDS.items()}
        counts["person"] += size - sum(counts.values())
        self.kind: list[str] = [k for k, n in counts.items() for _ in range(n)]
        self._of = {k: [i for i, kind in enumerate(self.kind) if kind == k] for k in KINDS}
        self.names = _names(self.kind, rng)
        self._object: list[dict[str, int | str]] = self._relate(rng)
        self.pages: tuple[Page, ...] = tuple(self._page(i, rng) for i in range(size))

    def _relate(self, rng: np.random.Generator) -> list[dict[str, int | str]]:
        out: list[dict[str, int | str]] = [{} for _ in self.kind]
        people = rng.permutation(self._of["person"]).tolist()
        for a, b in zip(people[0::2], people[1::2]):
            if rng.random() < 0.6:
                out[a]["spouse"], out[b]["spouse"] = b, a
        for i, kind in enumerate(self.kind):
            for r in RELATIONS[kind]:
                if r.name == "spouse":
                    continue
                if r.to:
                    others = self._of[r.to]
                    out[i][r.name] = others[int(rng.integers(len(others)))]
                elif r.name == "people":
                    out[i][r.name] = str(int(rng.integers(2_000, 900_000)))
                else:
                    out[i][r.name] = str(int(rng.integers(1760, 2020)))
        capitals = rng.permutation(self._of["city"])
        for country, city in zip(self._of["country"], capitals.tolist()):
            out[country]["capital"], out[city]["country"] = city, country
        return out

    def _page(self, i: int, rng: np.random.Generator) -> Page:
        kind, name = self.kind[i], self.names[i]
        what = {"person": _JOB, "work": _FORM}.get(kind)
        noun = kind if what is None else what[int(rng.integers(len(what)))]
        lines, links = [], []
        for r in RELATIONS[kind]:
            o = self._object[i].get(r.name)
            if o is None:
                continue
            said = self.names[o] if isinstance(o, int) else o
            if isinstance(o, int):
                links.append(said)
            lines.append(r.says[int(rng.integers(len(r.says)))].format(s=name, o=said))
        order = rng.permutation(len(lines))
        an = "an" if noun[0] in "aeio" else "a"
        return Page(
            name, " ".join([f"{name} is {an} {noun}.", *(lines[k] for k in order)]), tuple(dict.fromkeys(links))
        )

    def question(self, rng: np.random.Generator, hops: Sequence[int]) -> Question:
        """A question with one answer: a way of so many relations, no page twice.

        Args:
            rng: draws it.
            hops: possible numbers of relations, 1 to 4.
        """
        n = int(hops[int(rng.integers(len(hops)))])
        while True:
            at = int(rng.integers(len(self.kind)))
            way, phrase = [at], f'"{self.names[at]}"'
            for step in range(n):
                last = step == n - 1
                options = [r for r in RELATIONS[self.kind[at]] if r.name in self._object[at] and (last or r.to)]
                r = options[int(rng.integers(len(options)))]
                found = self._object[at][r.name]
                if last:
                    answer = self.names[found] if isinstance(found, int) else found
                    if found in way or answer in phrase:
                        break
                    return Question(r.ask.format(x=phrase), (answer,), tuple(self.names[i] for i in way))
                assert isinstance(found, int)
                if found in way:
                    break
                at, phrase = found, r.phrase.format(x=phrase)
                way.append(at)


@functools.lru_cache(4)
def world(seed: int, size: int) -> World:
    """The encyclopedia of a seed, made once a process."""
    return World(seed, size)


def _names(kinds: Sequence[str], rng: np.random.Generator) -> list[str]:
    """A name for each, all different."""
    draws: list[float] = []

    def pick(options: Sequence[str]) -> str:
        if not draws:  # by thousands: one at a time takes ten times as long
            draws.extend(rng.random(4096).tolist())
        return options[int(draws.pop() * len(options))]

    def word(parts: int) -> str:
        return "".join(pick(_START) + pick(_VOWEL) for _ in range(parts - 1)) + pick(_START) + pick(_VOWEL) + pick(_END)

    people = max(20, len(kinds) // 12)
    first = [word(1 + i % 2).capitalize() for i in range(people // 3 + 10)]
    family = [word(2).capitalize() for _ in range(people)]
    out: list[str] = []
    used: set[str] = set()
    cities: list[str] = []
    for kind in kinds:
        tries = 0
        while True:
            tries += 1
            if kind in _SUFFIX:
                name = (word(1 + (tries > 9)) + pick(_SUFFIX[kind])).capitalize()
            elif kind == "person":
                name = f"{pick(first)} {pick(family)}"
            elif kind == "company":
                name = f"{pick(family)} {pick(_FIRM)}"
            elif kind == "university":
                name = f"University of {pick(cities)}" if tries < 3 else f"{pick(family)} University of {pick(cities)}"
            else:
                name = f"The {pick(_LOOK)} {pick(_THING)}"
                name += f" of {pick(cities)}" if tries > 1 else ""
            if tries > 40:
                name = f"{name} {word(2).capitalize()}"
            if name.lower() not in used:
                break
        used.add(name.lower())
        out.append(name)
        if kind == "city":
            cities.append(name)
    return out
