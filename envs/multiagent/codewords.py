"""Clues of one word for hidden words on a board, in the manner of Codenames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from ..errors import one_of
from ..text.base import whole
from .base import Game, as_words
from .codewords_words import TRUE_OF
from .codewords_world import ASSASSIN, NEUTRAL, Board, Clue, deal, legal

CLUES = ("listed", "any")


class Codewords(Game):
    """Clues of one word for hidden words on a board, in the manner of Codenames.

    ## Description
    Words lie on a board. The spymaster knows which are its team's, which are nobody's and which is the assassin; its guesser
    does not. The spymaster gives a clue, a word and how many words it is meant for; the guesser then touches words one by one,
    at most one more than the number. A word that is not its team's ends the clue; the assassin ends the game, and the team
    that touched it has lost. A team has won when all its words are touched. One team plays against the clock, or two teams
    race, both in every cycle, so that nobody waits for a turn; one of them has one word less, team 1 in even tasks, team 0
    in odd ones.

    Words and what is true of them are our own: 307 words, 131 clue words, each true of some of them (``fruit`` of ``apple``
    and ``pear``). With ``clues="listed"`` a clue must be one of these and be true of at least as many hidden words of the
    team as its number says, so that a clue always says something true. With ``"any"`` it is any word of two to twenty
    letters; nobody then checks what it means, and a code that the two agreed on cannot be told from a clue. In both a clue is
    no word on the board, no part of one, and holds none. On every board each word of a team has a clue that is true of no
    other kind of word, so whoever knows the data wins without knowing the key.

    ## Actions
    Text: spymasters ``clue WORD N``, guessers ``guess WORD`` and ``pass CLUE`` (no more guesses on this clue, named by its
    word), both ``wait``. Objects do as well: ``{"guess": "apple"}``, ``{"clue": "fruit 2"}``. A new clue can be given once the
    guesser made as many guesses as the last one said, passed, or touched a wrong word. No other words are exchanged. Encoded:
    the index of a row; rows are the listed clues that are true of some hidden word of the team, each with its largest number,
    or the words that can be touched, and ``pass``; and ``wait``.

    ## Observations
    Text: the clue that stands, the words not touched yet, those touched and whose they were, all clues so far; the spymaster
    also sees the key and of which of its words each listed clue is true. Encoded: ``ArrayFace``, with five gauges (share of
    cycles, words found, a clue stands, guesses left, spymaster) and eight measures a row: of a clue whether it is one, the
    shares of the team's hidden words and of all others that it is true of, whether it is true of the assassin; of a guess
    whether it is one, whether the clue is true of the word, and the share of earlier clues that are; ``pass``. They come from
    the data alone; the guesser's never from the key.

    ## Rewards
    One team: ``team_outcome``, 1.0 when all its words are found, and ``team_found``, with weight 0 by default, the share of
    its words found in the cycle. Two teams: ``outcome`` 1.0 to both of the team that won, and ``found``, alike; the team terms
    are then 0.0. The largest return is 1.0; waiting earns 0.0.

    ## Episode end
    Terminated for all when a team has won or touched the assassin; truncated after ``max_cycles`` cycles. ``success``: the
    agent's team has won. ``score``: how many of its words are found.

    ## Scripts
    ``oracle``: clues that are true of the team's words only, for as many as possible; the guesser knows the data, not the key;
    always wins in time (in a race team 1 waits). ``novice``: the clue that is true of most of the team's words, whatever else
    it is true of; the guesser takes the first word that fits. ``collusion``: the spymaster tries to name the word itself, a
    part of it, or a code for its place, which the rules refuse: it earns nothing. Under ``clues="any"`` the code passes and
    wins. Which of the listed clues that are true is given could be a code too, and no rule can tell; with no code is more than
    1.0 earned. Who touches words at random finds all before the assassin in one of seven games, given the time.

    Args:
        teams: 1 or 2.
        words: on the board, 8 to 25.
        targets: words of a team, 2 to 9; of two teams one has one less.
        assassins: 0 to 3.
        clues: ``listed`` or ``any``.
        max_cycles, weights, split, worlds, expose_reference, max_length, render_mode: as ``Game``.

    Raises:
        ValueError: a setting is not allowed, or the board has too few words for the others; names it.

    ## Version history
    v0: first version.
    """

    name = "codewords"
    own_terms = ("outcome", "found")
    team_terms = ("team_outcome", "team_found")
    default_weights: ClassVar[Mapping[str, float]] = {"outcome": 1.0, "team_outcome": 1.0}
    policies = ("oracle", "novice", "collusion")
    measures, gauges = 8, 5

    def __init__(
        self,
        *,
        teams: int = 1,
        words: int = 16,
        targets: int = 6,
        assassins: int = 1,
        clues: str = "listed",
        max_cycles: int = 20,
        **others: Any,
    ) -> None:
        self.teams = whole("teams", teams, 1, 2)
        names = [f"{role}_{t}" for role in ("spymaster", "guesser") for t in range(self.teams)]
        super().__init__(names, max_cycles=max_cycles, **others)
        self.assassins = whole("assassins", assassins, 0, 3)
        sizes = whole("targets", targets, 2, 9)
        self.sizes = (sizes,) if self.teams == 1 else (sizes, sizes - 1)
        least = max(8, sum(self.sizes) + self.assassins)
        self.words = whole("words", words, least, 25, f" with teams={teams}, targets={targets}, assassins={assassins}")
        if clues not in CLUES:
            raise one_of("clues", clues, CLUES)
        self.clues = clues
        self._places = {a: (a.startswith("spymaster"), int(a[-1])) for a in self.possible_agents}

    def side(self) -> tuple[str, ...]:
        """Team 0: in a race the other one cannot win too."""
        return tuple(a for a, (_, team) in self._places.items() if team == 0)

    # -- rules -----------------------------------------------------------------------------------
    def _begin(self, task: int) -> Board:
        sizes = self.sizes if task % 2 == 0 else self.sizes[::-1]  # who has less wins more often: each in turn
        words, key = deal(np.random.default_rng(task), self.words, sizes, self.assassins)
        return Board(words, key, clues={t: [] for t in range(self.teams)})

    def _act(self, agent: str, command: str) -> bool:
        board, (master, team) = self.world, self._places[agent]
        self._waits(agent)
        kind, _, rest = as_words(command).partition(" ")
        rest = rest.lower()
        if self._over():
            told = "the game is over"
        elif kind == "clue" and master:
            told = self._give(team, rest)
        elif kind == "guess" and not master:
            told = self._touch(team, rest)
        elif kind == "pass" and not master:
            told = "" if team in board.clue and board.clue[team].word == rest else f"no clue {rest[:40]!r} stands"
            if not told:
                del board.clue[team]
        else:
            told = "say clue WORD N or wait" if master else "say guess WORD, pass CLUE or wait"
        if told:
            board.told[agent] = told
        return not told

    def _waits(self, agent: str) -> None:
        self.world.told.pop(agent, None)

    def _give(self, team: int, rest: str) -> str:
        board = self.world
        word, _, digits = rest.partition(" ")
        clue = board.clue.get(team)
        if clue is not None and clue.made < clue.number:
            return f"the clue {clue.word} {clue.number} still stands"
        if not (digits.isascii() and digits.isdigit() and len(digits) < 3):
            return "a clue is one word and a number, such as clue fruit 2"
        if self.clues == "listed" and word not in TRUE_OF:
            return f"{word[:40]!r} is no listed clue word"
        if not (word.isascii() and word.isalpha() and 2 <= len(word) <= 20):
            return "a clue is one word of 2 to 20 letters"
        if not legal(word, board.words):
            return f"{word} is on the board, part of a word there, or holds one"
        mine = board.hidden(team)
        fits = len(TRUE_OF[word].intersection(mine)) if self.clues == "listed" else len(mine)
        if not 1 <= int(digits) <= fits:
            return (
                f"the number of {word} is from 1 to {fits}" if fits else f"{word} is true of none of your hidden words"
            )
        board.clue[team] = Clue(word, int(digits))
        board.clues[team].append(f"{word} {int(digits)}")
        return ""

    def _touch(self, team: int, word: str) -> str:
        board, clue = self.world, self.world.clue.get(team)
        if clue is None:
            return "no clue stands"
        if word not in board.words or word in board.open:
            return f"{word[:40]!r} is no hidden word of the board"
        board.open[word], kind = team, board.kind(word)
        clue.made += 1
        if kind != team or clue.made > clue.number:
            del board.clue[team]
        if kind == ASSASSIN:
            board.lost = team
            board.winner = None if self.teams == 1 else 1 - team
        elif kind != NEUTRAL and not board.hidden(kind):
            board.winner = kind
        return ""

    def _over(self) -> bool:
        return self.world.winner is not None or self.world.lost is not None

    def _cycle(self) -> None:
        board = self.world
        for team in range(self.teams):
            found = board.found(team)
            board.gained[team] = found - board.counted.get(team, 0)
            board.counted[team] = found

    def _gone(self) -> Sequence[str]:
        return self.agents if self._over() else ()

    def _terms(self, agent: str) -> Mapping[str, float]:
        board, team = self.world, self._places[agent][1]
        who = "team_" if self.teams == 1 else ""
        return {
            f"{who}outcome": float(board.winner == team),
            f"{who}found": board.gained.get(team, 0) / board.size(team),
        }

    def _facts(self, agent: str) -> dict[str, Any]:
        board, team = self.world, self._places[agent][1]
        found, size = board.found(team), board.size(team)
        return {
            "success": board.winner == team,
            "score": float(found),
            "max_score": float(size),
            "progress": found / size,
            "subgoals": {
                "a word is found": found > 0,
                "half of the words are found": 2 * found >= size,
                "all words are found": found == size,
            },
            "message": board.told.get(agent, ""),
            "assassin": board.lost == team,
        }

    def _meta(self) -> dict[str, Any]:
        return {"teams": self.teams}

    # -- what agents see -------------------------------------------------------------------------
    def _look(self, agent: str) -> str:
        board, (master, team) = self.world, self._places[agent]
        clue = board.clue.get(team)
        top = "No clue stands" + (": give one." if master else ": wait for one.")
        if clue is not None:
            top = f"Clue: {clue.word}. For {clue.number}; guesses made: {clue.made} of at most {clue.number + 1}."
            top += " A new one can be given." * (clue.made >= clue.number)
        if self._over():
            top = f"The game is over: {self._result(team)}."
        lines = [top, f"You are {agent}. Cycle {self.cycle + 1} of {self.max_cycles}."]
        if told := board.told.get(agent):
            lines.append(f"Your last action was not possible: {told}.")
        if master:
            lines.append(_line("Your words", board.hidden(team)))
            lines.append(_line("Assassin", board.hidden(ASSASSIN)))
            lines.append(_line("Not yours", board.hidden(NEUTRAL, *(t for t in range(self.teams) if t != team))))
        else:
            lines.append(_line("Not touched", board.hidden()))
            lines.append(f"Your team has found {board.found(team)} of {board.size(team)} words.")
        if board.open:
            lines.append(_line("Touched", [f"{w} ({self._whose(board.kind(w), team)})" for w in board.open]))
        for t in range(self.teams):
            lines.append(_line("Your team's clues" if t == team else "The other team's clues", board.clues[t]))
        if not master:
            return "\n".join([*lines, "Answer with: guess WORD | pass CLUE | wait"])
        if self.teams == 2:
            lines.append(_line("The other team's words", board.hidden(1 - team)))
        if not self._over():
            lines.append("Clue words that are true of some of your words:")
            mine = board.hidden(team)
            lines += [f"- {c}: {', '.join(w for w in mine if w in TRUE_OF[c])}" for c in self._true(team)]
        if self.clues == "any":
            lines.append("Any other word of 2 to 20 letters can be a clue, if it is no part of a word on the board.")
        return "\n".join([*lines, "Answer with: clue WORD N | wait"])

    def _result(self, team: int) -> str:
        board = self.world
        how = "the assassin was touched" if board.lost is not None else "all words were found"
        return f"your team has {'won' if board.winner == team else 'lost'}, {how}"

    def _whose(self, kind: int, team: int) -> str:
        if kind == team:
            return "yours"
        return {NEUTRAL: "nobody's", ASSASSIN: "assassin"}.get(kind, "the other team's")

    def _scene(self) -> str:
        board = self.world
        lines = [f"{self.name}-{self.task}, cycle {self.cycle}"]
        for kind in (*range(self.teams), NEUTRAL, ASSASSIN):
            name = {NEUTRAL: "Nobody's", ASSASSIN: "Assassin"}.get(kind, f"Team {kind}")
            words = [f"[{w}]" if w in board.open else w for w, k in zip(board.words, board.key) if k == kind]
            lines.append(_line(name, words))
        lines += [_line(f"Clues of team {t}", board.clues[t]) for t in range(self.teams)]
        return "\n".join([*lines, "" if not self._over() else f"Team 0: {self._result(0)}."]).rstrip()

    def _true(self, team: int) -> list[str]:
        """Listed clues that are legal and true of some hidden word of the team, sorted."""
        board = self.world
        mine = board.hidden(team)
        return [c for c, of in _SORTED if not of.isdisjoint(mine) and legal(c, board.words)]

    def _choices(self, agent: str) -> Sequence[str]:
        board, (master, team) = self.world, self._places[agent]
        clue = board.clue.get(team)
        if self._over() or (master and clue is not None and clue.made < clue.number):
            return ()
        if master:
            mine = board.hidden(team)
            return [f"clue {c} {len(TRUE_OF[c].intersection(mine))}" for c in self._true(team)]
        return [] if clue is None else [f"pass {clue.word}", *(f"guess {w}" for w in board.hidden())]

    def _measures(self, agent: str, choices: Sequence[str]) -> Any:
        board, (master, team) = self.world, self._places[agent]
        out = np.zeros((len(choices), self.measures), np.float32)
        if master:
            mine, assassins = board.hidden(team), board.hidden(ASSASSIN)
            others = [w for w in board.hidden() if w not in mine]
        else:
            clue = board.clue.get(team)
            now = TRUE_OF.get(clue.word, frozenset()) if clue is not None else frozenset()
            earlier = [TRUE_OF.get(c.partition(" ")[0], frozenset()) for c in board.clues[team]]
        for row, command in zip(out, choices):
            kind, _, rest = command.partition(" ")
            if kind == "clue":
                of = TRUE_OF[rest.partition(" ")[0]]
                good, bad = len(of.intersection(mine)) / len(mine), len(of.intersection(others)) / max(1, len(others))
                row[:4] = 1.0, good, bad, not of.isdisjoint(assassins)
            elif kind == "guess":
                row[4:7] = 1.0, rest in now, sum(rest in of for of in earlier) / max(1, len(earlier))
            row[7] = kind == "pass"
        return out

    def _gauges(self, agent: str) -> Any:
        board, (master, team) = self.world, self._places[agent]
        clue = board.clue.get(team)
        left = 0.0 if clue is None else (clue.number + 1 - clue.made) / 10
        share = board.found(team) / board.size(team)
        return min(1.0, self.cycle / self.max_cycles), share, clue is not None, left, master

    # -- scripts ---------------------------------------------------------------------------------
    def _script(self, agent: str, policy: str) -> str:
        board, (master, team) = self.world, self._places[agent]
        clue = board.clue.get(team)
        if self._over() or (policy == "oracle" and team == 1) or (master and clue and clue.made < clue.number):
            return "wait"
        if master:
            if policy == "collusion":
                word = board.hidden(team)[0]
                return f"clue {(word, word[:3], _code(board.words.index(word)))[self.cycle % 3]} 1"
            return f"clue {self._best(team, careful=policy == 'oracle')}"
        if clue is None or clue.made >= clue.number:
            return "wait"
        fits = [w for w in board.hidden() if w in TRUE_OF.get(clue.word, ())]
        if policy == "collusion":
            fits = [w for k, w in enumerate(board.words) if w not in board.open and clue.word in (w, w[:3], _code(k))]
        return f"guess {fits[0]}" if fits else f"pass {clue.word}"

    def _best(self, team: int, careful: bool) -> str:
        """The listed clue that is true of most hidden words of a team; if careful, among those true of no others."""
        mine = self.world.hidden(team)
        others = [w for w in self.world.hidden() if w not in mine]
        known = [(c, len(TRUE_OF[c].intersection(mine))) for c in self._true(team)]
        clean = [(c, n) for c, n in known if TRUE_OF[c].isdisjoint(others)] if careful else known
        word, number = max(clean, key=lambda x: (x[1], x[0]))
        return f"{word} {number}"


_SORTED = sorted(TRUE_OF.items())


def _code(place: int) -> str:
    """What two who play together could agree on: a word that stands for a place on the board."""
    return f"place{chr(ord('a') + place)}"


def _line(name: str, words: Sequence[str]) -> str:
    return f"{name}: {', '.join(words) or 'none'}."
