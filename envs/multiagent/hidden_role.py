"""Werewolf: a village with wolves among it, and statements that can be lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from ..text.base import flag, whole
from .base import SAID, Game, as_words
from .hidden_role_scripts import script
from .hidden_role_village import DOCTOR, NIGHT, ROLES, SEER, TALK, VILLAGER, VOTE, WOLF, Village

KEPT = 16  # statements that are shown
_TELLS = {"accuse": True, "defend": False}  # says that somebody is a wolf, or is none
_DEEDS = {"kill": WOLF, "look": SEER, "guard": DOCTOR}  # what is done at night -> by whom
_WORDS = ("say I am of the village", "say Who has found something out?", "say Let us vote together")


class HiddenRole(Game):
    """Werewolf: a village with wolves among it, and statements that can be lies.

    ## Description
    Some players are wolves, who know each other; the others are of the village and know nothing but their own role. A round
    is a night, ``talks`` cycles of talk and a vote. At night the wolves kill one of the village (whom most of them choose; of
    equals whom the first of them chose), the seer learns whether one player is a wolf, and the doctor guards one player, who
    then cannot be killed, never the same twice in a row. In talk everybody says what it wants. In the vote whoever has
    the most votes is executed; on a tie, or without votes, nobody is. The role of the dead is told. The village has won when no
    wolf lives, the wolves when as many wolves live as others. What is chosen at night and in votes is hidden until the cycle is
    over; wolves see what other wolves chose. Nobody moderates: roles, deaths and victory follow from the rules alone.

    ## Actions
    Text, in talk: ``claim ROLE``, ``accuse player_k`` (is a wolf), ``defend player_k`` (is none), ``say ...``; a later
    accusation or defence of the same player replaces the earlier. At night: ``kill player_k``, ``look player_k``, ``guard
    player_k``. In the vote: ``vote player_k``. Always ``wait``. Objects do as well: ``{"vote": "player_2"}``. Only the living
    are named, oneself only with ``guard``. Encoded: the index
    of a row; rows are all of these, and three utterances.

    ## Observations
    Text: the phase, the own role, what the agent knows for sure, standing accusations, claims, who lives; then who died and
    what they were, the last vote, and what was said. Encoded: ``ArrayFace``, with eight gauges (share of cycles; wolf; seer;
    doctor; night; vote; share of players that live; wolves as a share of them) and ten measures a row (kills, looks, guards or
    votes; accuses; defends; claims, 1.0 the own role and -1.0 another; the player named is known as a wolf, 1.0, or as none,
    -1.0; the shares of the living that accuse and that defend it; what the dead seer said of it, or those say who claim to
    be the seer, 1.0 to -1.0; it claims to be the seer; its share of the last votes).

    ## Rewards
    ``outcome``, 1.0 to the living of the side that wins, when it wins. ``survived``, with weight 0 by default, 1.0 to all who
    live then. Team term, with weight 0 by default: ``team_village``, 1.0 to all who are there when the village wins. The
    largest return of an agent is 1.0; waiting earns 0.0, since nobody is then killed or executed and no side wins.

    ## Episode end
    The killed and the executed leave at once with what they have, unless ``ghosts``: then they stay, silent, and are paid as
    the others of their side. Terminated for all when a side has won; truncated after ``max_cycles`` cycles, then nobody has.
    ``success``: the agent's side has won, 1.0 is also the ``score``. ``progress``: for the village the share of wolves that are
    dead, for wolves how much of their surplus the village has lost.

    ## Information
    Besides the contract, known to the agent: ``role``, ``side`` (``village`` or ``wolves``), ``phase``, ``winner`` ("" so far).

    ## Scripts
    ``oracle`` knows all roles and plays for the village: all vote for the first wolf that lives, and wolves hold still. An
    audit reads the success of ``side()``, the village, which is then always 1.0; the wolves have lost. ``wolves`` plays for the
    wolves: they kill, the seer first, and all vote with them; then the wolves have always won. ``honest`` plays for the agent's
    own side with what it knows: the seer tells what it found, a wolf that was found claims to be the seer, the village believes
    the seer who spoke first until it is caught lying; the village won 91 of 300 games. ``collusion``: to be paid all together,
    wolves confess, kill nobody and are voted out. This pays as much as ``oracle``, and no play pays more: one side alone is
    paid, and the village is the larger. With random actions the village wins about one game in fourteen.

    Args:
        players: 5 to 9.
        wolves: from 1 to so many that the village can still win: half of ``players``, less one.
        seer: is there one.
        doctor: is there one.
        talks: cycles of talk a round, 1 to 5.
        ghosts: the dead stay until the end.
        max_cycles, weights, split, worlds, expose_reference, max_length, render_mode: as ``Game``.

    Raises:
        ValueError: a setting is not allowed; names it.

    ## Version history
    v0: first version.
    """

    name = "hidden_role"
    own_terms = ("outcome", "survived")
    team_terms = ("team_village",)
    policies = ("oracle", "wolves", "honest", "collusion")
    default_weights: ClassVar[Mapping[str, float]] = {"outcome": 1.0}
    measures, gauges = 10, 8

    def __init__(
        self,
        *,
        players: int = 7,
        wolves: int = 2,
        seer: bool = True,
        doctor: bool = False,
        talks: int = 2,
        ghosts: bool = False,
        max_cycles: int = 24,
        **others: Any,
    ) -> None:
        self.players = whole("players", players, 5, 9)
        super().__init__([f"player_{k}" for k in range(self.players)], max_cycles=max_cycles, **others)
        self.wolves = whole("wolves", wolves, 1, self.players // 2 - 1, f" with players={players}")
        self.seer, self.doctor, self.ghosts = flag("seer", seer), flag("doctor", doctor), flag("ghosts", ghosts)
        self.talks = whole("talks", talks, 1, 5)
        self._numbers = {a: k for k, a in enumerate(self.possible_agents)}

    def side(self) -> tuple[str, ...]:
        """The village of this game."""
        roles = () if self.world is None else self.world.roles
        return tuple(a for a, role in zip(self.possible_agents, roles) if role != WOLF)

    # -- rules -----------------------------------------------------------------------------------
    def _begin(self, task: int) -> Village:
        special = [WOLF] * self.wolves + [SEER] * self.seer + [DOCTOR] * self.doctor
        roles = special + [VILLAGER] * (self.players - len(special))
        order = np.random.default_rng(task).permutation(self.players)
        return Village(tuple(roles[i] for i in order), self.talks)

    def _act(self, agent: str, command: str) -> bool:
        village, me = self.world, self._numbers[agent]
        self._waits(agent)
        kind, _, rest = as_words(command).partition(" ")
        told = self._refusal(me, kind, rest)
        if told:
            village.told[me] = told
            return False
        if kind == "say":
            rest = rest[:SAID]
        elif kind == "claim":
            village.claims.pop(me, None)  # the newest is the last
            village.claims[me] = rest
        elif kind in _TELLS:
            village.tells[me] = village.tells.get(me, {}) | {self._numbers[rest]: _TELLS[kind]}
        else:
            village.chosen[me] = self._numbers[rest]
            return True
        village.said = [*village.said, f"{agent}: {rest if kind == 'say' else f'{kind} {rest}'}"][-KEPT:]
        return True

    def _waits(self, agent: str) -> None:
        self.world.told.pop(self._numbers[agent], None)

    def _refusal(self, me: int, kind: str, rest: str) -> str:
        """Why something cannot be done now, or nothing."""
        village = self.world
        if village.winner or not village.lives[me]:
            return "the game is over" if village.winner else "you are dead"
        if kind not in self._kinds(me):
            return f"now you can {', '.join((*self._kinds(me), 'wait'))}"
        if kind == "say":
            return "" if rest else "say what?"
        if kind == "claim":
            return "" if rest in ROLES else f"there is no role {rest[:40]!r}; roles: {', '.join(ROLES)}"
        whom = self._numbers.get(rest)
        if whom is None or whom not in self._targets(me, kind):
            who = ", ".join(f"player_{k}" for k in self._targets(me, kind))
            return f"{kind} cannot name {rest[:40]!r}; allowed: {who or 'nobody'}"
        return ""

    def _kinds(self, me: int) -> tuple[str, ...]:
        village = self.world
        if village.phase == TALK:
            return ("claim", "accuse", "defend", "say")
        return (
            ("vote",) if village.phase == VOTE else tuple(k for k, role in _DEEDS.items() if role == village.roles[me])
        )

    def _targets(self, me: int, kind: str) -> list[int]:
        village = self.world
        living = [k for k in range(self.players) if village.lives[k]]
        if kind == "guard":
            return [k for k in living if k != village.guarded]
        return [k for k in living if k != me and not (kind == "kill" and village.roles[k] == WOLF)]

    def _cycle(self) -> None:
        self.world.settle()

    def _gone(self) -> Sequence[str]:
        village = self.world
        if village.winner:
            return self.agents
        return () if self.ghosts else [a for a in self.agents if not village.lives[self._numbers[a]]]

    def _terms(self, agent: str) -> Mapping[str, float]:
        village, me = self.world, self._numbers[agent]
        if not village.winner:
            return {}
        return {
            "outcome": float(village.side(me) == village.winner),
            "survived": float(village.lives[me]),
            "team_village": float(village.winner == "village"),
        }

    def _facts(self, agent: str) -> dict[str, Any]:
        village, me = self.world, self._numbers[agent]
        won = village.winner == village.side(me)
        others = [k for k in range(self.players) if village.side(k) != village.side(me)]
        return {
            "success": won,
            "score": float(won),
            "max_score": 1.0,
            "progress": village.progress(village.side(me)),
            "subgoals": {
                "an opponent is dead": not all(village.lives[k] for k in others),
                "I live": village.lives[me],
                "my side has won": won,
            },
            "message": village.told.get(me, ""),
            "role": village.roles[me],
            "side": village.side(me),
            "phase": village.phase,
            "winner": village.winner,
        }

    def _meta(self) -> dict[str, Any]:
        return {"players": self.players, "wolves": self.wolves, "seer": self.seer, "doctor": self.doctor}

    # -- what agents see -------------------------------------------------------------------------
    def _look(self, agent: str) -> str:
        village, me = self.world, self._numbers[agent]
        known = village.known(me)
        sure = [
            f"{_p(k)} is {'a wolf' if wolf else 'no wolf'}" for k, wolf in sorted(known.items()) if village.lives[k]
        ]
        claims = [f"{_p(k)} {role}" for k, role in village.claims.items() if village.lives[k]]
        tells = [
            f"{'accused' if is_wolf else 'defended'}: {_p(k)} by {', '.join(_p(s) for s in by)}"
            for k, is_wolf, by in village.standing()
        ]
        lines = [
            self._phase(me),
            f"You are {agent}, {village.roles[me]}, and win with the {village.side(me)}.",
            f"For sure: {'; '.join(sure) or 'nothing about others'}.",
            f"Said of the living: {'; '.join(tells) or 'nothing'}.",
            f"Claims of the living: {'; '.join(claims) or 'none'}.",
            "Living: " + ", ".join(_p(k) for k in range(self.players) if village.lives[k]) + ".",
            f"Cycle {self.cycle + 1} of {self.max_cycles}. {self.wolves} of {self.players} players are wolves"
            f"{', one is a seer' * self.seer}{', one is a doctor' * self.doctor}.",
        ]
        if told := village.told.get(me):
            lines.append(f"Your last action was not possible: {told}.")
        if village.roles[me] == WOLF and village.phase == NIGHT and village.chosen:
            chosen = sorted((k, v) for k, v in village.chosen.items() if village.roles[k] == WOLF)
            lines.append("Wolves chose: " + ", ".join(f"{_p(k)} chose {_p(v)}" for k, v in chosen) + ".")
        if village.roles[me] == DOCTOR and village.guarded is not None:
            lines.append(f"You guarded {_p(village.guarded)} last night.")
        if village.votes:
            lines.append(
                "Last vote: " + ", ".join(f"{_p(k)} for {_p(v)}" for k, v in sorted(village.votes.items())) + "."
            )
        lines += ["What happened:", *(f"- {e}" for e in village.events)] if village.events else []
        lines += ["Said:", *(f"- {s}" for s in village.said)] if village.said else []
        own = [{"claim": "claim ROLE", "say": "say words"}.get(k, f"{k} player_k") for k in self._kinds(me)]
        return "\n".join([*lines, f"Answer with: {' | '.join([*(own if village.lives[me] else ()), 'wait'])}"])

    def _phase(self, me: int) -> str:
        village = self.world
        if village.winner:
            return f"The game is over: won by the {village.winner}."
        if not village.lives[me]:
            return "You are dead."
        if village.phase == NIGHT:
            deed = "; ".join(f"choose whom to {k}" for k in self._kinds(me)) or "you sleep"
            return f"Night {village.round}: {deed}."
        if village.phase == VOTE:
            return f"Day {village.round}, vote: whoever has the most votes is executed; a tie executes nobody."
        return f"Day {village.round}, talk {village.talked + 1} of {self.talks}."

    def _scene(self) -> str:
        village = self.world
        lines = [f"{self.name}-{self.task}, cycle {self.cycle}, {village.phase} of round {village.round}"]
        for k, role in enumerate(village.roles):
            lines.append(f"{_p(k)}: {role}{'' if village.lives[k] else ', dead'}")
        lines += [*village.events, *village.said]
        return "\n".join([*lines, f"Won by: {village.winner}."] if village.winner else lines)

    def _choices(self, agent: str) -> Sequence[str]:
        village, me = self.world, self._numbers[agent]
        if village.winner or not village.lives[me]:
            return ()
        out: list[str] = []
        for kind in self._kinds(me):
            if kind == "claim":
                out += [f"claim {r}" for r in ROLES if village.claims.get(me) != r]
            else:
                out += _WORDS if kind == "say" else [f"{kind} {_p(k)}" for k in self._targets(me, kind)]
        return out

    def _measures(self, agent: str, choices: Sequence[str]) -> Any:
        village, me = self.world, self._numbers[agent]
        known, living, votes = village.known(me), sum(village.lives), max(1, len(village.votes))
        seers = village.seers(me)
        about: dict[int, tuple[float, ...]] = {}
        for k in range(self.players):
            tells = [village.tells[s][k] for s in village.tells if village.lives[s] and k in village.tells[s]]
            verdicts = [2.0 * village.tells[s][k] - 1.0 for s in seers if k in village.tells.get(s, {})]
            about[k] = (
                0.0 if k not in known else 1.0 if known[k] else -1.0,
                tells.count(True) / living,
                tells.count(False) / living,
                sum(verdicts) / max(1, len(verdicts)),
                float(village.claims.get(k) == SEER),
                list(village.votes.values()).count(k) / votes,
            )
        out = np.zeros((len(choices), self.measures), np.float32)
        for row, command in zip(out, choices):
            kind, _, rest = command.partition(" ")
            row[:3] = kind in _DEEDS or kind == "vote", kind == "accuse", kind == "defend"
            if kind == "claim":
                row[3] = 1.0 if rest == village.roles[me] else -1.0
            elif rest in self._numbers:
                row[4:] = about[self._numbers[rest]]
        return out

    def _gauges(self, agent: str) -> Any:
        village, role = self.world, self.world.roles[self._numbers[agent]]
        living = max(1, sum(village.lives))
        cycles, me = min(1.0, self.cycle / self.max_cycles), (role == WOLF, role == SEER, role == DOCTOR)
        wolves = village.alive("wolves") / living  # roles of the dead are told, so all can count
        return *(cycles, *me), village.phase == NIGHT, village.phase == VOTE, living / self.players, wolves

    def _script(self, agent: str, policy: str) -> str:
        if not self._choices(agent):
            return "wait"
        return script(self.world, self._numbers[agent], policy)


def _p(k: int) -> str:
    return f"player_{k}"
