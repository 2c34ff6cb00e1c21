"""``milepost/TextWorld-v0``: real TextWorld games through the Z-machine."""

from __future__ import annotations

import os
from typing import Any

from ..errors import InfraError, one_of
from .base import Split, TextEnv, flag, taken, whole
from .textworld_games import CHALLENGES, check, existing_cache, existing_game, game_file, need_textworld
from .textworld_machine import Game, Situation, open_game

_OUTSIDE = {"quit", "q", "restart", "restore", "save", "undo", "script", "transcript", "noscript", "verify", "version"}
_PAPERS = {"cookbook", "note"}  # what the challenges write their instructions on
_LONGEST = 190  # characters that the interpreter reads
_LENGTH = 4096  # characters of an observation


def _refusal(command: str) -> str:
    """Why the game never gets to see a command; empty if it does."""
    first = command.split(" ", 1)[0].lower()
    if not command:
        return "I beg your pardon?"
    if first in _OUTSIDE or first.startswith("tw-"):
        return "That command is not part of the game."
    if not command.isascii() or not command.isprintable() or len(command) > _LONGEST:
        return f"The game reads plain letters only, at most {_LONGEST} of them."
    return ""


class TextWorldEnv(TextEnv):
    """Real TextWorld 1.7 games, played by the Z-machine interpreter.

    ## Description
    Either any game of TextWorld (``game``: a ``.z8`` with its ``.json`` beside it) or a challenge by name, whose games are
    generated when they are first wanted (1 to 4 s each, 30 s for the largest) and kept in the user's cache folder:
    ``cooking`` (the game of the First TextWorld Problems competition: read the cookbook, fetch, cut and cook the
    ingredients, prepare the meal, eat it; a spoilt or eaten ingredient loses), ``coin_collector``, ``treasure_hunter``,
    ``simple`` (cook a meal in a house of six rooms) and ``custom`` (a quest of a set length). Train and test worlds are
    made from different seeds; ``simple`` uses TextWorld's test foods in the test split.

    ## Observation Space
    ``Unicode(4096)``, one line each: objective; journal (with ``journal``: what was read in the cookbook or on the note);
    room; what is carried; the last answer. All that a policy without memory needs, except where it has been.

    ## Action Space
    ``Unicode(256)``: a command. ``info["admissible_actions"]`` lists the commands that TextWorld's rules allow here. Any
    other is answered by the game and has ``valid_action = False`` if the game did nothing. Commands to the interpreter
    (``quit``, ``save``, ``undo`` ...) are refused.

    ## Rewards
    One term, ``outcome``: 1.0 at the step that wins, else 0.0. The game's own points are ``info["score"]``.

    ## Episode End
    Terminates when the game is won or lost; truncates after ``max_steps``, or, with ``info["invalid"]``, when the
    interpreter breaks.

    ## Information
    ``score``, ``max_score`` (the game's); ``progress`` in [0, 1], a function of the state: 1 minus the remaining over the
    first number of commands to victory, 0 when the game cannot be won any more, 1 when it is won. ``meta["progress"]``
    says what it is made of: ``exact`` shortest plans, ``relaxed`` plans (large games, limited hands), or ``score`` over
    ``max_score`` (games without a goal). ``subgoals``: facts without which the game cannot be won, named after the steps
    of the first plan (``"1 open"``, ``"2 take"`` ...), true from when they first hold. ``success``, ``won``, ``lost``,
    ``valid_action``, ``admissible_actions`` (sorted), ``messages``; with ``expose_facts`` also ``facts``, sorted texts
    such as ``in(apple, fridge)``. In the reset info ``meta`` with the task and, with ``expose_reference``, ``reference``:
    the commands of the oracle.

    ## Arguments
    ``challenge`` and its settings by keyword: ``cooking`` (``recipe`` 1-5 ingredients, ``take`` of them to fetch, ``go``
    1, 6, 9 or 12 rooms, ``open``, ``cook``, ``cut``, ``drop``), ``coin_collector`` (``level`` 1-300), ``treasure_hunter``
    (``level`` 1-30), ``simple`` (``rewards``, ``goal``), ``custom`` (``rooms``, ``objects``, ``quest_length``). Or
    ``game``. ``worlds``: number of games of the split (8; None: any seed). ``cache``: folder of the games. ``remember``:
    number of situations kept in memory for each game; a command that was given before in an equal situation is not run
    again, which changes nothing but the speed (0: off). ``journal``, ``expose_facts``, ``max_steps``, ``split``,
    ``expose_reference``, ``render_mode``. ``reset(options={"task": n})`` picks a game.

    ## Version History
    * v0: first version.

    Raises:
        ValueError: a setting is not allowed, or ``game`` is no TextWorld game.
        ImportError: textworld is not installed.
    """

    name = "textworld"

    def __init__(
        self,
        challenge: str | None = None,
        *,
        game: str | os.PathLike[str] | None = None,
        worlds: int | None = 8,
        cache: str | os.PathLike[str] | None = None,
        remember: int = 5_000,
        journal: bool = True,
        expose_facts: bool = False,
        max_steps: int = 50,
        split: Split = "train",
        expose_reference: bool = False,
        render_mode: str | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(
            split=split,
            worlds=worlds,
            max_steps=max_steps,
            expose_reference=expose_reference,
            max_length=_LENGTH,
            render_mode=render_mode,
        )
        need_textworld()
        self.path: str | None = None
        self.challenge, self.settings = "", dict[str, Any]()
        if game is not None:
            if challenge is not None or settings:
                extra = f"challenge {challenge!r}" if challenge is not None else f"setting {next(iter(settings))!r}"
                raise ValueError(f"{extra} goes with a generated game; allowed is either game or challenge")
            self.path = existing_game(game)
            self.name = "textworld-game"
        else:
            self.challenge = "cooking" if challenge is None else challenge
            self._refuse_unknown(settings)
            self.settings = check(self.challenge, settings)
            self.name = f"textworld-{self.challenge}"
        self.cache, self.remember = existing_cache(cache), whole("remember", remember, 0)
        self.journal, self.expose_facts = flag("journal", journal), flag("expose_facts", expose_facts)
        self._files: dict[int, str] = {}
        self._game: Game
        self._now: Situation

    def _refuse_unknown(self, settings: dict[str, Any]) -> None:
        """With the nearest name among the challenge's settings and our own: ``check`` knows only the former."""
        challenge = self.challenge
        for name in settings:
            if isinstance(challenge, str) and challenge in CHALLENGES and name not in CHALLENGES[challenge]:
                own = [*CHALLENGES[challenge], *taken(type(self))]
                raise one_of(f"a setting of challenge {challenge!r}", name, own)

    def tasks(self) -> range:
        """The tasks of this split; a single one where a game file was given."""
        return super().tasks() if self.path is None else range(1)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """A new episode on a random game of the split, or on ``options["task"]``; makes the game if need be.

        Raises:
            ValueError: an unknown option, or a task that is not in this split.
            InfraError: the generator or the interpreter does not start.
        """
        text, info = super().reset(seed=seed, options=options)
        info["meta"] = info["meta"] | {"progress": self._measure()}
        return text, info

    def _begin(self, task: int) -> None:
        if task not in self._files:
            self._files[task] = self.path or game_file(self.challenge, self.settings, task, self.cache)
        self._game = open_game(self._files[task], self.remember)
        self._rewind()

    def _rewind(self) -> None:
        self._now = self._game.start
        self._history: list[str] = []
        self._recalling = self.remember > 0
        self._feedback, self._journal = "", ""
        self._reached = 0
        self._route: list[str] = []
        self._notice()

    def _command(self, command: str) -> bool:
        self._history.append(command)
        self._feedback = _refusal(command)
        return not self._feedback and self._play(command)

    def _play(self, command: str) -> bool:
        if self._recalling and command in self._now.commands:
            reply = self._game.recall(self._now, command)
        else:
            if self._recalling:  # such a command may read what equal situations need not share: go there step by step
                self._recalling, self._now = False, self._game.start
                for earlier in self._history[:-1]:
                    if not _refusal(earlier):
                        self._now = self._game.play(self._now, earlier).after
            reply = self._game.play(self._now, command)
        self._feedback, valid, self._now = reply
        self._route = self._route[1:] if self._route[:1] == [command] else []
        words = command.lower().split()
        if valid and words[0] in ("examine", "read", "x") and words[-1] in _PAPERS:
            self._journal = "; ".join(t for line in self._feedback.splitlines() if (t := line.strip(" -")))
        self._notice()
        return valid

    def _notice(self) -> None:
        for i, (_, mask) in enumerate(self._game.landmarks):
            if self._now.state & mask == mask:
                self._reached |= 1 << i

    def _measure(self) -> str:
        planner = self._game.planner
        if not planner.length(self._game.start.state):
            return "score"
        return "exact" if planner.exact else "relaxed"

    def _progress(self) -> float:
        now, game = self._now, self._game
        if now.won:
            return 1.0
        if now.lost:
            return 0.0
        first = game.planner.length(game.start.state)
        if not first:
            return min(1.0, max(0.0, now.score / game.max_score)) if game.max_score else 0.0
        left = game.planner.length(now.state)
        return 0.0 if left is None else max(0.0, 1.0 - left / first)

    def _facts(self) -> dict[str, Any]:
        now, game = self._now, self._game
        facts: dict[str, Any] = {
            "score": float(now.score),
            "max_score": game.max_score,
            "progress": self._progress(),
            "subgoals": {
                f"{i + 1} {command.split(' ', 1)[0]}": bool(self._reached >> i & 1)
                for i, (command, _) in enumerate(game.landmarks)
            },
            "success": now.won,
            "won": now.won,
            "lost": now.lost,
            "admissible_actions": now.commands,
        }
        if self.expose_facts:
            facts["facts"] = game.logic.texts(now.state)
        return facts | ({"over": True} if now.lost else {})

    def _goals(self) -> tuple[str, ...]:
        # the landmarks are steps of the plan: as sentences they are the reference
        return tuple(command for command, _ in self._game.landmarks) if self.expose_reference else ()

    def _failed(self, action: str, e: InfraError) -> tuple[str, float, bool, bool, dict[str, Any]]:
        text, reward, terminated, truncated, info = super()._failed(action, e)
        info |= {"won": False, "lost": False} | ({"facts": ()} if self.expose_facts else {})  # the keys stay the same
        return text, reward, terminated, truncated, info

    def _look(self) -> str:
        lines = [f"Objective: {self._game.objective or 'none is given.'}"]
        if self.journal:
            lines.append(f"Journal: {self._journal or 'nothing read yet.'}")
        lines += [f"Room: {self._now.description.lstrip('-= ')}", self._now.inventory]
        if self._feedback:
            lines.append(f"> {self._feedback}")
        return "\n".join(" ".join(line.split()) for line in lines)[:_LENGTH]

    def _plan(self) -> list[str]:
        if not self._route:
            self._route = [rule.command for rule in self._game.planner.plan(self._now.state)]
        return list(self._route)

    def _save(self) -> Any:
        return list(self._history)

    def _load(self, state: Any) -> None:
        task = self.task
        assert task is not None
        self._begin(task)
        for command in state:
            self._command(command)
