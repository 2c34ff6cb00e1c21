"""Social scenes by number: thirteen families, each a function from random choices to a scene; no end of them."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .social_scene import Deal, Duty, Person, Scene, Topic, Want

AIM = 6  # what an agreement must be worth to both
RELATIONS = ("strangers", "acquaintances", "friends", "family")
NAMES = tuple(
    "Ada Ben Cleo Dan Edda Finn Gwen Hugo Ines Jon Kaja Leo Mira Nils Oda Paul Quin Rosa Sven Tess Udo Vera Wim Yara".split()
)
VALUES: dict[str, tuple[str, ...]] = {  # label of a fact -> what it can be; every word stands once
    "job": tuple("baker plumber teacher gardener tailor librarian carpenter optician".split()),
    "town": tuple("ashford brindle calder dunmore elsworth fenwick garlow hatherley".split()),
    "hobby": tuple("chess pottery rowing knitting juggling astronomy archery origami".split()),
    "plan": tuple("boathouse lighthouse orchard planetarium vineyard windmill aquarium greenhouse".split()),
    "use": tuple("roof pump fence stove tent canoe bench ramp".split()),
    "mark": tuple("scratch initials sticker ribbon dent stripe stain button".split()),
    "key": tuple("flowerpot doormat gutter shed mailbox windowsill lantern birdhouse".split()),
    "skill": tuple("welding typing cooking driving painting sewing coding singing".split()),
    "hours": tuple("mornings evenings weekends nights afternoons holidays summers winters".split()),
    "theme": tuple("pirates robots jungle circus castles dinosaurs ocean space".split()),
    "meeting-point": tuple("fountain station bridge market museum tower harbour library".split()),
    "reason": tuple("allergy debt homesickness promotion eyesight vertigo insomnia bet".split()),
}
PROFILE = ("job", "town", "hobby")
_OPEN = {"strangers": 0, "acquaintances": 1, "friends": 2, "family": 3}  # facts of the profile that the other knows


class Draft(NamedTuple):
    """What a family says about a scene: everything but the two profiles."""

    setting: str
    intros: tuple[str, str]
    wants: tuple[tuple[Want, ...], tuple[Want, ...]]
    deals: tuple[Deal, ...] = ()
    duties: tuple[Duty, ...] = ()
    facts: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())  # labels beyond profile and plan
    keeps: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())  # labels
    curious: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())  # labels of the other's facts
    vetoes: bool = False
    relation: str | None = None


def deal(least: int = AIM) -> Want:
    """An agreement worth at least so much."""
    return Want("deal", least=least)


def of(label: str, name: str) -> str:
    """The name of a topic."""
    return f"{label}-of-{name.lower()}"


def ladder(
    rng: np.random.Generator, names: Callable[[int], str], coins: Callable[[int], int] | None = None
) -> tuple[Deal, ...]:
    """5 or 7 deals, each better for the first and worse for the second than the one before; the middle serves both."""
    n, one, two = int(rng.choice([5, 7])), *rng.choice([0.5, 0.6, 0.7], 2)
    worth = [(round(10 * (i / (n - 1)) ** one), round(10 * (1 - i / (n - 1)) ** two)) for i in range(n)]
    return tuple(Deal(names(i), (a, b), coins(i) if coins else 0) for i, (a, b) in enumerate(worth))


def scatter(rng: np.random.Generator, names: Sequence[str]) -> tuple[Deal, ...]:
    """Deals in no order: one serves both, one is all for the first, one all for the second, the others fail one of them."""
    worth = [(int(rng.integers(6, 10)), int(rng.integers(6, 10))), (10, 0), (0, 10)]
    for _ in names[3:]:
        one, two = int(rng.integers(1, 6)), int(rng.integers(1, 10))
        worth.append((one, two) if rng.random() < 0.5 else (two, one))
    order = rng.permutation(len(names))
    return tuple(Deal(str(names[int(k)]), worth[i]) for i, k in sorted(enumerate(order), key=lambda x: int(x[1])))


def trade(rng: np.random.Generator, a: str, b: str, thing: str, place: str) -> Draft:
    """Goods for coins."""
    low, step = int(rng.integers(5, 30)), int(rng.integers(2, 6))
    deals = ladder(rng, lambda i: f"{low + step * i}-coins", lambda i: low + step * i)
    hand, pay = f"hand-over-{thing}", "pay-price"
    middle = low + step * (len(deals) // 2)
    return Draft(
        f"At the {place}, {a} sells a {thing} and {b} looks for one.",
        (
            f"You want to sell your {thing} to {b} for a good price.",
            f"You want to buy the {thing} of {a} for a good price.",
        ),
        ((deal(), Want("done", pay)), (deal(), Want("done", hand))),
        deals,
        (Duty(hand, 0, terms=True, coins=middle), Duty(pay, 1, terms=True, priced=True)),
    )


def lend(rng: np.random.Generator, a: str, b: str, thing: str, place: str) -> Draft:
    """A loan that comes back."""
    first = int(rng.integers(1, 4))
    deals = ladder(rng, lambda i: f"{first + 9 - i}-days")
    give, back, value = f"lend-{thing}", f"return-{thing}", int(rng.integers(10, 60))
    return Draft(
        f"{b} needs a {thing} for the {place} and knows that {a} has one.",
        (
            f"You may lend your {thing}, not for long, and want it back.",
            f"You want to borrow the {thing} for long enough.",
        ),
        ((deal(), Want("done", back)), (deal(), Want("done", give))),
        deals,
        (Duty(give, 0, terms=True, coins=value), Duty(back, 1, terms=True, after=(give,), coins=value)),
    )


def meet(rng: np.random.Generator, a: str, b: str, thing: str, place: str) -> Draft:
    """A time that suits both, where, and what for."""
    slots = [f"{d}-{t}" for d in ("tuesday", "friday", "sunday") for t in ("morning", "noon", "evening")]
    picked = [slots[int(k)] for k in np.sort(rng.choice(len(slots), int(rng.integers(6, 9)), replace=False))]
    return Draft(
        f"{a} and {b} plan a {thing} at the {place}; {a} knows where they will meet, {b} knows the theme.",
        (
            f"You want a time for the {thing} that suits you, and the theme.",
            "You want a time that suits you, and where to meet.",
        ),
        ((deal(), Want("learned", of("theme", b))), (deal(), Want("learned", of("meeting-point", a)))),
        scatter(rng, picked),
        facts=(("meeting-point",), ("theme",)),
    )


def secret(rng: np.random.Generator, a: str, b: str, thing: str, place: str) -> Draft:
    """Being asked, and keeping one thing back."""
    return Draft(
        f"{a} and {b} sit side by side at the {thing} of the {place} and get to talk.",
        (
            f"You want {b} to know your job and your hobby, and not what you plan as a surprise.",
            f"You want to know job and hobby of {a} and to tell your town, and not what you plan as a surprise.",
        ),
        (
            (Want("told", of("job", a)), Want("told", of("hobby", a))),
            (Want("learned", of("job", a)), Want("learned", of("hobby", a)), Want("told", of("town", b))),
        ),
        keeps=(("plan",), ("plan",)),
        curious=(("plan",), ("plan",)),
        relation="strangers",
    )


def learn(rng: np.random.Generator, a: str, b: str, thing: str, place: str) -> Draft:
    """The right question, and saying the answer back."""
    return Draft(
        f"{b} will look after the {thing} of {a} at the {place}; {a} needs to know when {b} has time, {b} where the key is.",
        (
            f"You want to know the hours of {b}, and to say them back.",
            f"You want to know where the key of {a} is, and to say it back.",
        ),
        (
            (Want("learned", of("hours", b)), Want("restated", of("hours", b))),
            (Want("learned", of("key", a)), Want("restated", of("key", a))),
        ),
        facts=(("key",), ("hours",)),
    )


def apology(rng: np.random.Generator, a: str, b: str, thing: str, place: str) -> Draft:
    """Making good what was broken."""
    low, step = int(rng.integers(2, 10)), int(rng.integers(2, 6))
    deals = ladder(rng, lambda i: f"{low + step * (6 - i)}-coins", lambda i: low + step * (6 - i))
    return Draft(
        f"{a} has broken the {thing} of {b} at the {place}.",
        (f"You want {b} to forgive you, without paying too much.", f"You want {a} to apologise and to pay enough."),
        ((deal(), Want("done", "forgive")), (deal(), Want("done", "apologise"), Want("done", "pay-damage"))),
        deals,
        (
            Duty("apologise", 0),
            Duty("pay-damage", 0, terms=True, priced=True),
            Duty("forgive", 1, terms=True, after=("apologise", "pay-damage")),
        ),
    )


def chores(rng: np.random.Generator, a: str, b: str, thing: str, place: str) -> Draft:
    """Who does what."""
    parts = [
        thing,
        *(str(x) for x in rng.choice(["dishes", "laundry", "windows", "shopping", "stairs"], 2, replace=False)),
    ]
    splits = ["-".join(p for k, p in enumerate(parts) if m >> k & 1) or "nothing" for m in range(8)]
    mine, yours = f"share-of-{a.lower()}", f"share-of-{b.lower()}"
    return Draft(
        f"{a} and {b} split the chores at the {place}: {', '.join(parts)}. Terms name what {a} does; {b} does the rest.",
        (
            f"You want a split that suits you, and {b} to do the rest.",
            f"You want a split that suits you, and {a} to do it.",
        ),
        ((deal(), Want("done", yours)), (deal(), Want("done", mine))),
        scatter(rng, [f"{a.lower()}-does-{s}" for s in splits]),
        (Duty(mine, 0, terms=True), Duty(yours, 1, terms=True)),
    )


def charity(rng: np.random.Generator, a: str, b: str, thing: str, place: str) -> Draft:
    """A gift for a cause."""
    low, step = int(rng.integers(5, 20)), int(rng.integers(3, 9))
    return Draft(
        f"{a} collects for the {place} after the {thing} and asks {b}.",
        (
            f"You want a gift from {b} that is large enough.",
            "You want to give no more than suits you, and to know what for.",
        ),
        ((deal(), Want("done", "give-gift")), (deal(), Want("learned", of("use", a)), Want("done", "write-receipt"))),
        ladder(rng, lambda i: f"{low + step * i}-coins", lambda i: low + step * i),
        (Duty("write-receipt", 0, terms=True, after=("give-gift",)), Duty("give-gift", 1, terms=True, priced=True)),
        facts=(("use",), ()),
    )


def choice(rng: np.random.Generator, a: str, b: str, thing: str, place: str) -> Draft:
    """One thing for both, and each may strike things off."""
    pool = ["red", "blue", "green", "white", "old", "new", "small", "large"]
    picked = [f"{pool[int(k)]}-{thing}" for k in np.sort(rng.choice(len(pool), int(rng.integers(5, 9)), replace=False))]
    return Draft(
        f"{a} and {b} choose one {thing} for the {place}; what one of them declines is off the list for good.",
        ("You want one that suits you, without saying why.", "You want one that suits you, without saying why."),
        ((deal(),), (deal(),)),
        scatter(rng, picked),
        facts=(("reason",), ("reason",)),
        keeps=(("reason",), ("reason",)),
        curious=(("reason",), ()),
        vetoes=True,
    )


def deadline(rng: np.random.Generator, a: str, b: str, thing: str, place: str) -> Draft:
    """One machine, two deadlines."""
    give, clean = f"hand-over-{thing}", f"clean-{thing}"
    return Draft(
        f"{a} and {b} both need the {thing} of the {place} before tonight; {a} has it now.",
        (f"You want to keep the {thing} for long enough, and to find it clean.", f"You want the {thing} soon enough."),
        ((deal(), Want("done", clean)), (deal(), Want("done", give))),
        ladder(rng, lambda i: f"after-{i + 1}-hours"),
        (Duty(give, 0, terms=True), Duty(clean, 1, terms=True, after=(give,))),
    )


def found(rng: np.random.Generator, a: str, b: str, thing: str, place: str) -> Draft:
    """Lost property, and whose it is."""
    low, step = int(rng.integers(1, 6)), int(rng.integers(1, 4))
    deals = ladder(rng, lambda i: f"{low + step * (6 - i)}-coins", lambda i: low + step * (6 - i))
    back, value = f"give-back-{thing}", low + step * 6
    mark = of("mark", a)
    return Draft(
        f"{b} found a {thing} at the {place}; {a} says that it is theirs.",
        (
            f"You want your {thing} back for a small reward: tell its mark.",
            "You want to know the mark, and a fair reward.",
        ),
        ((deal(), Want("told", mark), Want("done", back)), (deal(), Want("learned", mark), Want("done", "pay-reward"))),
        deals,
        (
            Duty("pay-reward", 0, terms=True, after=(back,), priced=True),
            Duty(back, 1, terms=True, after=(mark,), coins=value),
        ),
        facts=(("mark",), ()),
        relation="strangers",
    )


def noise(rng: np.random.Generator, a: str, b: str, thing: str, place: str) -> Draft:
    """A neighbour who plays, a neighbour who sleeps."""
    return Draft(
        f"{a} plays the {thing} at night in the {place}; {b} lives next door and has complained.",
        (
            "You want to play late enough, and the complaint withdrawn.",
            "You want quiet early enough, and the promise of a warning before parties.",
        ),
        ((deal(), Want("done", "withdraw-complaint")), (deal(), Want("promised", "warn-before-parties"))),
        ladder(rng, lambda i: f"quiet-from-{17 + i}-h"),
        (
            Duty("keep-quiet", 0, terms=True),
            Duty("warn-before-parties", 0),
            Duty("withdraw-complaint", 1, terms=True, after=("keep-quiet",)),
        ),
    )


def hire(rng: np.random.Generator, a: str, b: str, thing: str, place: str) -> Draft:
    """Work for a wage."""
    low, step = int(rng.integers(8, 15)), int(rng.integers(1, 4))
    deals = ladder(rng, lambda i: f"{low + step * (6 - i)}-coins", lambda i: low + step * (6 - i))
    work, pay = f"work-on-{thing}", "pay-wage"
    return Draft(
        f"{a} looks for help with the {thing} of the {place}, and {b} for work.",
        (
            f"You want {b} for a wage that suits you, and to know the skill.",
            "You want a wage that suits you, and the hours; your plan to move away is nobody's business.",
        ),
        (
            (deal(), Want("learned", of("skill", b)), Want("done", work)),
            (deal(), Want("learned", of("hours", a)), Want("done", pay)),
        ),
        deals,
        (Duty(pay, 0, terms=True, after=(work,), priced=True), Duty(work, 1, terms=True, coins=low + step * 3)),
        facts=(("hours",), ("skill",)),
        keeps=((), ("plan",)),
        curious=(("plan",), ()),
    )


FAMILIES: dict[str, tuple[Callable[..., Draft], tuple[str, ...], tuple[str, ...]]] = {  # things, places
    "trade": (trade, tuple("lamp bicycle kettle violin globe".split()), tuple("fair bazaar arcade jetty".split())),
    "lend": (lend, tuple("ladder drill trailer projector saw".split()), tuple("attic barn garage balcony".split())),
    "meet": (meet, tuple("picnic rehearsal workshop party walk".split()), tuple("park club school lake".split())),
    "secret": (secret, tuple("table counter stand booth".split()), tuple("festival ferry hostel cafe".split())),
    "learn": (learn, tuple("cat garden parrot bakery".split()), tuple("cottage farm flat villa".split())),
    "apology": (apology, tuple("vase window flute kite mug".split()), tuple("office studio yard hall".split())),
    "chores": (chores, tuple("floors garbage kitchen lawn".split()), tuple("cabin dormitory houseboat loft".split())),
    "charity": (charity, tuple("storm concert sale race".split()), tuple("shelter playground choir clinic".split())),
    "choice": (choice, tuple("sofa car carpet poster tree".split()), tuple("lobby flat shop kitchen".split())),
    "deadline": (deadline, tuple("printer oven van loom press".split()), tuple("lab guild workshop team".split())),
    "found": (found, tuple("wallet umbrella camera scarf phone".split()), tuple("pier tram stadium pool".split())),
    "noise": (noise, tuple("trumpet drums piano accordion".split()), tuple("backyard tenement terrace mill".split())),
    "hire": (hire, tuple("harvest archive hedges boats".split()), tuple("estate marina abbey nursery".split())),
}


@functools.lru_cache(1)
def named() -> tuple[dict[str, str], ...]:
    """The scenes that have names: family, thing and place of tasks 0 to 49."""
    rows = json.loads(Path(__file__).with_name("social_named.json").read_text(encoding="utf-8"))
    return tuple(rows)


def scene(task: int, families: Sequence[str]) -> Scene:
    """The scene of a task: a named one where all families are allowed and the number is below 50, else a drawn one."""
    rng = np.random.default_rng(task)
    row: dict[str, Any]
    if task < len(named()) and len(families) == len(FAMILIES):
        row = dict(named()[task])
    else:
        family = str(families[int(rng.integers(len(families)))])
        _, things, places = FAMILIES[family]
        row = {"family": family, "thing": str(rng.choice(things)), "place": str(rng.choice(places))}
        row["name"] = f"{family}: the {row['thing']}, the {row['place']}"
    a, b = (str(n) for n in rng.choice(NAMES, 2, replace=False))
    draft = FAMILIES[row["family"]][0](rng, a, b, row["thing"], row["place"])
    relation = draft.relation or str(rng.choice(RELATIONS))
    topics: dict[str, Topic] = {}
    for who, name in enumerate((a, b)):
        known = PROFILE[: _OPEN[relation]]
        for label in (*PROFILE, "plan", *draft.facts[who]):
            used = {t.value for t in topics.values()}
            value = str(rng.choice([v for v in VALUES[label] if v not in used]))
            hidden = label == "plan" or label in draft.keeps[who]
            topics[of(label, name)] = Topic(of(label, name), who, label, value, label in known, hidden)
    people = tuple(
        Person(
            name,
            draft.intros[k],
            draft.wants[k],
            tuple(of(label, name) for label in draft.keeps[k]),
            tuple(of(label, (a, b)[1 - k]) for label in draft.curious[k]),
        )
        for k, name in enumerate((a, b))
    )
    duties, deals = {d.name: d for d in draft.duties}, {d.name: d for d in draft.deals}
    both = (people[0], people[1])
    return Scene(row["name"], row["family"], relation, draft.setting, both, topics, duties, deals, draft.vetoes)
