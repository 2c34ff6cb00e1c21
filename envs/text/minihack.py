"""``milepost/MiniHack-v0``: the levels of MiniHack in words."""

from __future__ import annotations

from typing import Any

from ..errors import InfraError
from . import minihack_words as w
from .base import Split, TextEnv, flag, whole
from .minihack_actions import commands, perform
from .minihack_game import Game, level_name, need_minihack
from .minihack_goals import subgoals, task
from .minihack_plan import FAMILIES, Walker, solvable

_LENGTH = 4096  # characters of an observation


class MiniHackEnv(TextEnv):
    """The levels of MiniHack, played in NetHack 3.6, with words in and out.

    ## Description
    Any level that MiniHack registers, by name: ``KeyRoom-S5``, ``Room-15x15``, ``MultiRoom-N4``, ``Corridor-R3``,
    ``River-Narrow``, ``Quest-Easy`` ... The number of the task decides the game wholly: NetHack's two seeds, the moon, and
    the generator of levels that are drawn in Python. Levels without chance (such as ``Room-5x5`` and those with
    ``Fixed`` in their names) look the same in every task.

    ## Observation Space
    ``Unicode(4096)``, one line each: the task in a sentence; position, ground and health; the eight neighbouring squares;
    everything else worth a mention on the map, nearest first, with its distance; what is carried; NetHack's messages about
    the last command. No count of turns.

    ## Action Space
    ``Unicode(256)``: a command in words. ``info["admissible_actions"]`` lists those that can be given now, within the
    level's own action set: ``go north`` and the seven other directions (walls and solid stone are left out; walking into a
    closed door opens it), ``pick up``, ``search``, ``apply key east``, ``open door east``, ``kick door east``, ``pray``,
    ``drink from here``, ``eat what lies here``, and for what is carried ``eat``, ``wield``, ``wear``, ``put on``,
    ``quaff``, ``read`` and ``apply`` with its name, ``zap`` and (horns) ``apply`` with name and direction. A command gives
    NetHack all keys that it takes, answers its questions, and leaves it waiting for the next: ``apply key`` unlocks the
    door and pulls it open, as MiniHack's own key rooms do; ``pick up`` takes all that lies here. Any other command does
    nothing and has ``valid_action = False``. Not offered: throwing, firing, spells, dropping, taking off.

    ## Rewards
    One term, ``outcome``: 1.0 at the step that solves the level, else 0.0. MiniHack's penalties for steps that take no
    time are not paid.

    ## Episode End
    Terminates when MiniHack says that the task is solved, or when the hero dies or leaves; truncates after ``max_steps``
    commands (the level's own number of steps, unless given), or, with ``info["invalid"]``, when NetHack breaks down.

    ## Information
    ``subgoals``: by level, read from the state of the game and true from when they first hold: ``pick up the key`` (one is
    carried), ``open the door`` (a square that was a closed door is none any more), ``reach the stairs`` (MiniHack's
    success) and so on. ``score`` and ``max_score`` count them; ``progress`` is their share, which makes it a function of
    the state together with what has been reached, and never falls. ``success``, ``valid_action``, ``admissible_actions``
    (sorted), ``messages``. As other observations of the same moment: ``message`` (NetHack's own words about the last
    command), ``crop`` (9 lines of the 9 x 9 characters around the hero), ``screen`` (the terminal, 24 lines); the last two are
    empty when the hero is dead or gone, and the observation then is the task, ``Your game is over.`` and why. In the reset
    info ``meta`` with the task and, with ``expose_reference``, ``reference``: the commands of the oracle.

    The oracle knows what the hero has seen. It is declared for levels whose stairs can be walked to: ``Room``,
    ``KeyRoom``, ``MultiRoom``, ``Corridor``, ``MazeWalk``, ``ClosedDoor``, ``LockedDoor``, ``Labyrinth``; elsewhere
    ``oracle()`` raises ``ValueError``.

    ## Arguments
    ``level``: a name or an id of MiniHack. ``max_steps``: None for the level's own. ``worlds``, ``split``,
    ``expose_reference``, ``render_mode``. ``reset(options={"task": n})`` picks a game.

    ## Installation
    ``pip install 'milepost[minihack]'`` brings gymnasium 1.2.0, which nle 1.3 pins. With a newer gymnasium (1.4.0 passes the
    same tests): ``pip install minigrid pybind11 'setuptools<81' pillow`` and then ``pip install --no-deps nle minihack``.
    MiniHack 1.0.2 itself cannot build ``SimpleCrossing`` and ``LavaCrossing`` with minigrid 3, and ``Boxoban`` needs maps
    that its script downloads.

    ## Version History
    * v0: first version.

    Raises:
        ValueError: a setting is not allowed.
        ImportError: minihack, or what the level needs besides (minigrid, Boxoban's maps), is not installed.
        InfraError: the level cannot be built.
    """

    name = "minihack"

    def __init__(
        self,
        level: str = "KeyRoom-S5",
        *,
        max_steps: int | None = None,
        split: Split = "train",
        worlds: int | None = None,
        expose_reference: bool = False,
        render_mode: str | None = None,
    ) -> None:
        if max_steps is not None:
            whole("max_steps", max_steps, 1, also="None or ")
        super().__init__(
            split=split,
            worlds=worlds,
            max_steps=1 if max_steps is None else max_steps,
            expose_reference=expose_reference,
            max_length=_LENGTH,
            render_mode=render_mode,
        )
        need_minihack()
        self.level = level_name(level)
        if flag("expose_reference", expose_reference) and not solvable(self.level):
            raise ValueError(f"expose_reference is True; allowed with level {self.level!r}: False, it has no oracle")
        self.name = f"minihack-{self.level}"
        self._truths = subgoals(self.level)
        self._task = f"Task: {task(self.level)}"
        self._game: Game | None = Game(self.level)
        if max_steps is None:
            self.max_steps = self._game.max_steps
        self._walker: Walker
        self._can: dict[str, Any] = {}
        self._history: list[str] = []
        self._reached: dict[str, bool] = {}

    @property
    def game(self) -> Game:
        """The game; a new one where it was closed."""
        if self._game is None:
            self._game = Game(self.level)
        return self._game

    def _begin(self, task: int) -> None:
        self.game.begin(task)
        self._history, self._refused = [], ""
        self._reached = dict.fromkeys(self._truths, False)
        self._walker = Walker(self.game)
        self._notice()

    def _notice(self) -> None:
        game = self.game
        for name, truth in self._truths.items():
            if not self._reached[name] and truth(game):
                self._reached[name] = True
        self._can = commands(game)

    def _command(self, command: str) -> bool:
        self._history.append(command)
        keys = self._can.get(command)
        if keys is None:
            self.game.messages, self._refused = [], "You cannot do that now."
            return False
        self._refused = ""
        before = self.game.here
        perform(self.game, keys)
        self._walker.notice(before, command)
        self._notice()
        return True

    def _facts(self) -> dict[str, Any]:
        game, reached = self.game, sum(self._reached.values())
        return {
            "score": float(reached),
            "max_score": float(len(self._reached)),
            "progress": reached / len(self._reached),
            "subgoals": dict(self._reached),
            "success": game.won,
            "admissible_actions": tuple(sorted(self._can)),
            "message": " ".join(game.messages),
            "crop": "" if game.lost else game.crop(),
            "screen": "" if game.lost else game.screen(),  # it would show the best games of this process
        } | ({"over": True} if game.lost else {})

    def _failed(self, action: str, e: InfraError) -> tuple[str, float, bool, bool, dict[str, Any]]:
        text, reward, terminated, truncated, info = super()._failed(action, e)
        info |= {"message": "", "crop": "", "screen": ""}  # the keys stay the same
        return text, reward, terminated, truncated, info

    def _look(self) -> str:
        game = self.game
        said = self._refused or " ".join(game.messages)
        if game.lost:  # NetHack has cleared map and status
            return "\n".join([self._task, "Your game is over.", *([f"> {said}"] if said else [])])[:_LENGTH]
        y, x = game.here
        ground = w.UNDERFOOT.get(int(game.terrain[y, x])) or game.ground or "the floor of a room"
        lines = [
            self._task,
            f"Position: row {y}, column {x}, on {ground}. {w.condition(game.blstats)}",
            w.surroundings(game.around()),
            w.seen(game.things()),
            w.carried(game.inventory),
        ]
        if said:
            lines.append(f"> {said}")
        return "\n".join(lines)[:_LENGTH]

    def oracle(self) -> str:
        """The next command of a walker that knows what the hero has seen.

        Raises:
            ValueError: the level has no oracle; names those that have.
            RuntimeError: the task is solved already, or the walker sees no way.
        """
        if not solvable(self.level):
            raise ValueError(f"level {self.level!r} has no oracle; families that have: {', '.join(sorted(FAMILIES))}")
        if self.game.over:
            raise RuntimeError("nothing is left to do")
        return self._walker.next()

    def _plan(self) -> list[str]:
        """Plays on as the oracle does, and goes back: what a walker will do is known only when it has seen it."""
        played, plan = list(self._history), list[str]()
        try:
            while not self.game.over and len(self._history) < self.max_steps:
                plan.append(self.oracle())
                self._command(plan[-1])
        except RuntimeError:
            plan = []
        won = self.game.won
        self._load(played)
        return plan if won else []

    def _save(self) -> Any:
        return list(self._history)

    def _load(self, state: Any) -> None:
        assert self.task is not None
        self._begin(self.task)
        for command in state:
            self._command(command)

    def close(self) -> None:
        """Ends NetHack and removes its temporary folder; a later ``reset`` starts another."""
        if self._game is not None:
            self._game.close()
            self._game = None
