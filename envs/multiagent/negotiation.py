"""Bargaining over several issues with private valuations."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ..text.base import whole
from .base import SAID, Game, as_words
from .negotiation_files import load

Deal = tuple[int, ...]  # the option of each issue
_ISSUES = {
    "price": ("low", "fair", "high", "premium"),
    "delivery": ("express", "week", "month", "pickup"),
    "warranty": ("none", "one-year", "two-year", "five-year"),
    "payment": ("cash", "credit", "instalments", "barter"),
    "support": ("none", "email", "phone", "on-site"),
    "quantity": ("ten", "fifty", "hundred", "thousand"),
}
KEPT = 8  # utterances and offers that are shown


class Domain(NamedTuple):
    """What is bargained over."""

    issues: tuple[str, ...]
    options: tuple[tuple[str, ...], ...]
    """Of each issue."""
    values: tuple[tuple[tuple[float, ...], ...], ...]
    """Party, issue, option -> points; the best deal of a party is worth 1.0 to it."""
    walk_away: tuple[float, ...]
    """What no deal is worth to a party."""

    def worth(self, party: int, deal: Deal) -> float:
        """What a deal is worth to a party, 0 to 1."""
        return sum(v[o] for v, o in zip(self.values[party], deal))

    def deals(self) -> list[Deal]:
        """Every deal there is."""
        return list(itertools.product(*(range(len(o)) for o in self.options)))


@dataclass
class Table:
    """The state of a bargain."""

    domain: Domain
    offers: dict[int, tuple[int, Deal]] = field(default_factory=dict)  # number -> party, deal; one of each party
    number: int = 0
    accepted: dict[int, set[int]] = field(default_factory=dict)  # offer -> parties that said yes
    deal: Deal | None = None
    paid: bool = False
    said: list[str] = field(default_factory=list)
    told: dict[int, str] = field(default_factory=dict)  # party -> what became of its last action


class Negotiation(Game):
    """Bargaining over several issues with private valuations.

    ## Description
    Two or three parties settle two to six issues, each with a few options. How many points an option is worth is known to the
    party alone; parties weigh issues differently, so that there is something to gain for all. An offer is a whole deal and
    stands until its party makes another; it becomes the deal when all the others have accepted it. After ``max_cycles`` cycles
    without a deal each party has what walking away is worth to it.

    Own domains are drawn without end; ``path`` reads dialogues' scenarios instead, in the format of CaSiNo (Chawla et al.
    2021, arXiv 2103.15721: JSON with ``participant_info``, priorities worth 5, 4 and 3 points, three packages of each kind) or
    of Deal or No Deal (Lewis et al. 2017, arXiv 1706.05125: lines with ``<input>`` and ``<partner_input>``). No such file comes
    with Milepost.

    ## Actions
    Text: ``offer issue=option, ...`` (all issues), ``accept N`` (an offer by its number), ``say ...`` (words that bind nobody),
    ``wait``. Objects do as well: ``{"offer": {"price": "low", ...}}``, ``{"accept": 3}``, ``{"say": "..."}``. An offer that was
    replaced in the meantime can no longer be accepted. Encoded: the index of a row; rows are offers (the
    ``listed`` best for the agent itself), what can be accepted, and ``wait``. Where there are more deals than that a script
    may want one that is no row, which is a ValueError.

    ## Observations
    Text: what the agent's own options are worth, offers on the table with their worth to it, and what was said last. Encoded:
    ``ArrayFace``, with two gauges (share of cycles, worth of walking away) and four measures a row (worth to me, accepts,
    offers, the share of issues as in the newest offer of another).

    ## Rewards
    ``utility``, at the end: what the deal is worth to the agent, without one ``walk_away``. Team terms, with weight 0 by
    default: ``team_nash``, the product over parties of what they gained over walking away, as a share of the largest possible;
    ``team_welfare``, the sum of worths as a share of the largest possible.

    ## Episode end
    Terminated for all with a deal; truncated after ``max_cycles`` cycles. ``success``: the deal is Pareto-efficient and its
    Nash product at least 0.9 of the largest. ``score``: worth to the agent.

    ## Information
    Besides the contract ``nash``, ``welfare``, ``pareto`` and ``agreement``, of the deal so far; in ``meta``, ``walk_away``.

    Args:
        parties: 2 or 3.
        issues: number of issues of own domains, 2 to 6.
        choices: options of each issue, 2 to 4.
        opposed: 0.0 (parties draw points independently) to 1.0 (what one wants the other does not).
        walk_away: what no deal is worth, 0.0 to 0.9, to every party.
        listed: offers at most among the admissible actions.
        path: a file of scenarios.
        max_cycles, weights, split, worlds, expose_reference, max_length, render_mode: as ``Game``.

    Raises:
        ValueError: a setting is not allowed, or the file has no scenario; names it.
        OSError: the file cannot be read.

    ## Version history
    v0: first version.
    """

    name = "negotiation"
    own_terms = ("utility",)
    team_terms = ("team_nash", "team_welfare")
    default_weights: ClassVar[Mapping[str, float]] = {"utility": 1.0}
    policies = ("oracle", "stubborn", "collusion")
    measures, gauges = 4, 2

    def __init__(
        self,
        *,
        parties: int = 2,
        issues: int = 3,
        choices: int = 3,
        opposed: float = 0.5,
        walk_away: float = 0.0,
        listed: int = 32,
        path: str | None = None,
        max_cycles: int = 10,
        **others: Any,
    ) -> None:
        self.parties = whole("parties", parties, 2, 3)
        super().__init__([f"party_{k}" for k in range(self.parties)], max_cycles=max_cycles, **others)
        self.issues, self.options = whole("issues", issues, 2, len(_ISSUES)), whole("choices", choices, 2, 4)
        self.opposed, self.walk_away = _share("opposed", opposed, 1.0), _share("walk_away", walk_away, 0.9)
        self.listed = whole("listed", listed, 1, 4096)
        self.scenarios: tuple[Domain, ...] = ()
        if path is not None:
            if parties != 2:
                raise ValueError(f"parties is {parties}; allowed with path: 2, these files are of two")
            self.scenarios = tuple(Domain(*parts, (self.walk_away,) * 2) for parts in load(path))
            last = max(1, len(self.scenarios) // 5)  # for testing; a single scenario is one task in both splits
            self.worlds = last if self.split == "test" else max(1, len(self.scenarios) - last)

    # -- rules -----------------------------------------------------------------------------------
    def _begin(self, task: int) -> Table:
        if self.scenarios:
            number = task - self.tasks().start
            return Table(self.scenarios[number if self.split == "train" else len(self.scenarios) - 1 - number])
        rng = np.random.default_rng(task)
        names = tuple(str(n) for n in rng.choice(list(_ISSUES), self.issues, replace=False))
        options = tuple(_ISSUES[n][: self.options] for n in names)
        common = rng.random((self.issues, self.options))
        values = []
        for party in range(self.parties):
            mine = rng.random((self.issues, self.options))
            other = common if party % 2 == 0 else 1.0 - common
            points = self.opposed * other + (1.0 - self.opposed) * mine
            points = (points - points.min(1, keepdims=True)) * rng.dirichlet(np.full(self.issues, 2.0))[:, None]
            points = np.floor(100 * points / points.max(1).sum()) / 100  # whole hundredths, so that texts say all
            points[int(points.max(1).argmax()), int(points[points.max(1).argmax()].argmax())] += (
                1.0 - points.max(1).sum()
            )
            values.append(tuple(tuple(round(float(v), 2) for v in row) for row in points))
        return Table(Domain(names, options, tuple(values), (self.walk_away,) * self.parties))

    def _party(self, agent: str) -> int:
        return self.possible_agents.index(agent)

    def _act(self, agent: str, command: str) -> bool:
        table, me = self.world, self._party(agent)
        self._waits(agent)
        if table.deal is not None:
            return False
        kind, _, rest = as_words(command).partition(" ")
        if kind == "say" and rest:
            table.said = [*table.said, f"{agent}: {rest[:SAID]}"][-KEPT:]
            return True
        if kind == "accept":
            return self._accept(me, rest)
        deal = self._deal(rest) if kind == "offer" else "say offer, accept, say or wait"
        if isinstance(deal, str):
            table.told[me] = deal
            return False
        for n in [n for n, (party, _) in table.offers.items() if party == me]:
            del table.offers[n]
        table.number += 1
        table.offers[table.number], table.accepted[table.number] = (me, deal), set()
        return True

    def _waits(self, agent: str) -> None:
        self.world.told.pop(self._party(agent), None)

    def _accept(self, me: int, rest: str) -> bool:
        table = self.world
        number = int(rest) if rest.isascii() and rest.isdigit() and len(rest) < 9 else -1
        if number not in table.offers or table.offers[number][0] == me:
            table.told[me] = f"offer {rest[:20]} is not on the table for you"
            return False
        table.accepted[number].add(me)
        if len(table.accepted[number]) == self.parties - 1:
            table.deal = table.offers[number][1]
        return True

    def _deal(self, text: str) -> Deal | str:
        domain, chosen = self.world.domain, {}
        for part in filter(None, (p.strip() for p in text.split(","))):
            issue, _, option = (p.strip() for p in part.partition("="))
            if issue not in domain.issues:
                return f"there is no issue {issue[:40]!r}; issues: {', '.join(domain.issues)}"
            options = domain.options[domain.issues.index(issue)]
            if option not in options:
                return f"{issue} cannot be {option[:40]!r}; options: {', '.join(options)}"
            chosen[issue] = options.index(option)
        missing = [i for i in domain.issues if i not in chosen]
        if missing:
            return f"an offer names every issue; missing: {', '.join(missing)}"
        return tuple(chosen[i] for i in domain.issues)

    def _gone(self) -> Sequence[str]:
        return self.agents if self.world.deal is not None else ()

    def _terms(self, agent: str) -> Mapping[str, float]:
        if self.world.deal is None and self.cycle < self.max_cycles:
            return {}
        facts = self._outcome()
        return {
            "utility": facts["worths"][self._party(agent)],
            "team_nash": facts["nash"],
            "team_welfare": facts["welfare"],
        }

    def _outcome(self) -> dict[str, Any]:
        domain, deal = self.world.domain, self.world.deal
        if deal is None:
            return {"worths": domain.walk_away, "nash": 0.0, "welfare": 0.0, "pareto": False, "agreement": False}
        worths = tuple(domain.worth(p, deal) for p in range(self.parties))
        best = _best(domain)
        pareto = not any(
            all(x >= y - 1e-9 for x, y in zip(other, worths)) and any(x > y + 1e-9 for x, y in zip(other, worths))
            for other in best.worths
        )
        return {
            "worths": worths,
            "nash": _nash(worths, domain.walk_away) / best.nash if best.nash else 0.0,
            "welfare": sum(worths) / best.welfare,
            "pareto": pareto,
            "agreement": True,
        }

    def _facts(self, agent: str) -> dict[str, Any]:
        facts = self._outcome()
        worths = facts.pop("worths")
        facts["success"] = facts["pareto"] and facts["nash"] >= 0.9
        facts |= {"score": float(worths[self._party(agent)]), "max_score": 1.0, "progress": self._progress()}
        facts["subgoals"] = {"an offer stands": bool(self.world.offers), "there is a deal": facts["agreement"]}
        facts["message"] = self.world.told.get(self._party(agent), "")
        return facts

    def _progress(self) -> float:
        """The largest Nash product on the table as a share of the largest there is, half of it while nobody accepted."""
        domain, best = self.world.domain, _best(self.world.domain)
        if self.world.deal is not None:
            return 1.0
        nash = [
            _nash([domain.worth(p, d) for p in range(self.parties)], domain.walk_away)
            for _, d in self.world.offers.values()
        ]
        return 0.5 * max(nash, default=0.0) / best.nash if best.nash else 0.0

    def _meta(self) -> dict[str, Any]:
        return {"walk_away": self.walk_away}

    # -- what agents see -------------------------------------------------------------------------
    def _look(self, agent: str) -> str:
        table, me = self.world, self._party(agent)
        domain = table.domain
        newest = max(((n, d) for n, (p, d) in table.offers.items() if p != me), default=None)
        top = "No other party has an offer on the table."
        if newest is not None:
            worth = f"worth {domain.worth(me, newest[1]):.2f} to you"
            top = f"Newest offer to you, {newest[0]}: {self._words(newest[1])} ({worth})."
        lines = [
            top,
            f"You are {agent}. Cycle {self.cycle + 1} of {self.max_cycles}. No deal is worth {domain.walk_away[me]:.2f}.",
        ]
        if table.deal is not None:
            lines = [f"Deal: {self._words(table.deal)} (worth {domain.worth(me, table.deal):.2f} to you).", *lines[1:]]
        if told := table.told.get(me):
            lines.append(f"Your last action was not possible: {told}.")
        lines.append("What options are worth to you:")
        for issue, options, values in zip(domain.issues, domain.options, domain.values[me]):
            lines.append(f"- {issue}: " + ", ".join(f"{o} {v:.2f}" for o, v in zip(options, values)))
        lines.append("On the table:" if table.offers else "Nothing is on the table.")
        for n, (party, deal) in sorted(table.offers.items()):
            yes = "".join(f", accepted by party_{p}" for p in sorted(table.accepted[n]))
            lines.append(
                f"- {n} of party_{party}: {self._words(deal)} (worth {domain.worth(me, deal):.2f} to you{yes})"
            )
        lines += ["Said:", *(f"- {s}" for s in table.said)] if table.said else []
        lines.append("Answer with: offer issue=option, ... | accept N | say words | wait")
        return "\n".join(lines)

    def _scene(self) -> str:
        table = self.world
        lines = [f"{self.name}-{self.task}, cycle {self.cycle}"]
        for n, (party, deal) in sorted(table.offers.items()):
            worth = ", ".join(f"{table.domain.worth(p, deal):.2f}" for p in range(self.parties))
            lines.append(f"{n} of party_{party}: {self._words(deal)} (worth {worth})")
        lines += table.said
        return "\n".join([*lines, f"Deal: {self._words(table.deal)}" if table.deal is not None else "No deal."])

    def _words(self, deal: Deal) -> str:
        domain = self.world.domain
        return ", ".join(f"{i}={domain.options[k][o]}" for k, (i, o) in enumerate(zip(domain.issues, deal)))

    def _choices(self, agent: str) -> Sequence[str]:
        table, me = self.world, self._party(agent)
        if table.deal is not None:
            return ()
        yes = [f"accept {n}" for n, (p, _) in sorted(table.offers.items()) if p != me and me not in table.accepted[n]]
        mine = next((d for p, d in table.offers.values() if p == me), None)
        return [*yes, *(f"offer {self._words(d)}" for d in _ranked(table.domain, me)[: self.listed] if d != mine)]

    def _measures(self, agent: str, choices: Sequence[str]) -> Any:
        table, me = self.world, self._party(agent)
        newest = max(((n, d) for n, (p, d) in table.offers.items() if p != me), default=(0, None))[1]
        out = np.zeros((len(choices), self.measures), np.float32)
        for row, command in zip(out, choices):
            kind, _, rest = command.partition(" ")
            deal = table.offers[int(rest)][1] if kind == "accept" else self._deal(rest) if kind == "offer" else None
            if deal is not None and not isinstance(deal, str):
                alike = float(np.mean([a == b for a, b in zip(deal, newest)])) if newest is not None else 0.0
                row[:] = table.domain.worth(me, deal), kind == "accept", kind == "offer", alike
        return out

    def _gauges(self, agent: str) -> Any:
        return min(1.0, self.cycle / self.max_cycles), self.world.domain.walk_away[self._party(agent)]

    # -- scripts ---------------------------------------------------------------------------------
    def _script(self, agent: str, policy: str) -> str:
        """``oracle`` wants the largest Nash product, ``collusion`` the largest sum of worths, ``stubborn`` its own best."""
        table, me = self.world, self._party(agent)
        if table.deal is not None:
            return "wait"
        best = _best(table.domain)
        if policy == "oracle" and any(
            table.domain.worth(p, best.deal) < w for p, w in enumerate(table.domain.walk_away)
        ):
            return "wait"  # every deal is worse for somebody than none
        wanted = {"oracle": best.deal, "collusion": best.richest, "stubborn": _ranked(table.domain, me)[0]}[policy]
        offered = [(n, p) for n, (p, d) in sorted(table.offers.items()) if d == wanted]
        if not offered:
            return f"offer {self._words(wanted)}"
        number, party = offered[0]
        return "wait" if party == me or me in table.accepted[number] else f"accept {number}"


class Best(NamedTuple):
    """What is possible in a domain."""

    deal: Deal
    nash: float
    richest: Deal
    welfare: float
    worths: tuple[tuple[float, ...], ...]


def _nash(worths: Sequence[float], walk_away: Sequence[float]) -> float:
    return math.prod(max(0.0, w - d) for w, d in zip(worths, walk_away))


@functools.lru_cache(4096)
def _best(domain: Domain) -> Best:
    deals = domain.deals()
    worths = tuple(tuple(domain.worth(p, d) for p in range(len(domain.values))) for d in deals)
    products = [_nash(w, domain.walk_away) for w in worths]
    k = max(range(len(deals)), key=lambda i: (products[i], sum(worths[i]), -i))
    rich = max(range(len(deals)), key=lambda i: (sum(worths[i]), -i))
    return Best(deals[k], products[k], deals[rich], sum(worths[rich]), worths)


@functools.lru_cache(4096)
def _ranked(domain: Domain, party: int) -> tuple[Deal, ...]:
    """All deals, the best for a party first."""
    return tuple(sorted(domain.deals(), key=lambda d: (-domain.worth(party, d), d)))


def _share(name: str, value: Any, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= high:
        raise ValueError(f"{name} is {value!r}; allowed: a number from 0 to {high}")
    return float(value)
