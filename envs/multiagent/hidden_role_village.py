"""The state of a game of ``hidden_role``, and what follows from what was chosen."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

VILLAGER, WOLF, SEER, DOCTOR = "villager", "wolf", "seer", "doctor"
ROLES = (VILLAGER, WOLF, SEER, DOCTOR)
NIGHT, TALK, VOTE = "night", "talk", "vote"


@dataclass
class Village:
    """Players are numbers."""

    roles: tuple[str, ...]
    talks: int
    """Cycles of talk a round."""
    lives: list[bool] = field(default_factory=list)
    phase: str = NIGHT
    round: int = 1
    talked: int = 0  # cycles of talk that are over
    chosen: dict[int, int] = field(default_factory=dict)  # what was chosen in this cycle, by whom
    found: dict[int, bool] = field(default_factory=dict)  # what the seer knows: player -> is a wolf
    guarded: int | None = None  # in the last night
    claims: dict[int, str] = field(default_factory=dict)  # who claims which role, in time order
    tells: dict[int, dict[int, bool]] = field(default_factory=dict)  # who says of whom that it is a wolf, or is none
    votes: dict[int, int] = field(default_factory=dict)  # the last vote
    events: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    winner: str = ""
    told: dict[int, str] = field(default_factory=dict)  # player -> what became of its last action

    def __post_init__(self) -> None:
        self.lives = self.lives or [True] * len(self.roles)

    def side(self, k: int) -> str:
        """``village`` or ``wolves``."""
        return "wolves" if self.roles[k] == WOLF else "village"

    def alive(self, side: str) -> int:
        """How many of a side live."""
        return sum(lives and self.side(k) == side for k, lives in enumerate(self.lives))

    def known(self, me: int) -> dict[int, bool]:
        """Whom a player knows for sure to be a wolf or to be none, itself left out."""
        others = [k for k in range(len(self.roles)) if k != me]
        if self.roles[me] == WOLF:
            return {k: self.roles[k] == WOLF for k in others}
        dead = {k: self.roles[k] == WOLF for k in others if not self.lives[k]}
        return dead | self.found if self.roles[me] == SEER else dead

    def seers(self, me: int) -> list[int]:
        """The seer, if it is dead; else the living others who claim to be it, in time order."""
        dead = [k for k, role in enumerate(self.roles) if role == SEER and not self.lives[k]]
        return dead or [k for k, role in self.claims.items() if role == SEER and self.lives[k] and k != me]

    def standing(self) -> list[tuple[int, bool, list[int]]]:
        """Of each of the living: said to be a wolf or to be none, by whom, be it dead or alive; sorted."""
        by: dict[tuple[int, bool], list[int]] = {}
        for speaker, tells in sorted(self.tells.items()):
            for k, wolf in tells.items():
                if self.lives[k]:
                    by.setdefault((k, not wolf), []).append(speaker)
        return [(k, not none, who) for (k, none), who in sorted(by.items())]

    def progress(self, side: str) -> float:
        """0.0 to 1.0, when the side has won."""
        wolves = sum(role == WOLF for role in self.roles)
        if side == "village":
            return 1.0 - self.alive("wolves") / wolves
        surplus = len(self.roles) - 2 * wolves
        return min(1.0, max(0.0, 1.0 - (self.alive("village") - self.alive("wolves")) / surplus))

    def settle(self) -> None:
        """The cycle is over: what was chosen takes place, and the next phase begins."""
        if self.phase == NIGHT:
            self._night()
            self.phase, self.talked = TALK, 0
        elif self.phase == TALK:
            self.talked += 1
            self.phase = VOTE if self.talked == self.talks else TALK
        else:
            self._vote()
            self.phase, self.round = NIGHT, self.round + 1
        self.chosen = {}
        if not self.alive("wolves"):
            self.winner = "village"
        elif self.alive("wolves") >= self.alive("village"):
            self.winner = "wolves"

    def _night(self) -> None:
        by_role = {role: {k: v for k, v in sorted(self.chosen.items()) if self.roles[k] == role} for role in ROLES}
        self.guarded = next(iter(by_role[DOCTOR].values()), None)
        for whom in by_role[SEER].values():
            self.found[whom] = self.roles[whom] == WOLF
        votes = Counter(by_role[WOLF].values())  # most_common keeps the order of those with as many
        victim = votes.most_common(1)[0][0] if votes else None
        if victim is None or victim == self.guarded:
            self.events.append(f"Night {self.round}: nobody died.")
        else:
            self._die(victim, f"Night {self.round}: player_{victim} was killed")

    def _vote(self) -> None:
        self.votes = dict(sorted(self.chosen.items()))
        first, *others = [*Counter(self.votes.values()).most_common(2), (None, 0)]
        if first[0] is None or others[0][1] == first[1]:
            self.events.append(f"Day {self.round}: nobody was executed.")
        else:
            self._die(first[0], f"Day {self.round}: player_{first[0]} was executed")

    def _die(self, k: int, how: str) -> None:
        self.lives[k] = False
        self.events.append(f"{how}, a {self.roles[k]}.")
