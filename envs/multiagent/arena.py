"""Any text task, played by several agents at once and ranked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import gymnasium as gym

from ..errors import InfraError, one_of
from ..registry import entries
from ..text.base import TextEnv, whole
from .base import WAIT, Game

FACTS = ("success", "score", "max_score", "progress", "subgoals", "message")
_OURS = ("split", "worlds", "render_mode", "expose_reference")  # the arena's own settings, not to be given to the task


@dataclass
class Copy:
    """How far an agent is in its copy of the task."""

    text: str
    facts: dict[str, Any]
    choices: tuple[str, ...]
    start: float
    """The score at the beginning."""
    steps: int = 0
    over: bool = False
    paid: float = 0.0
    """Reward of the task in this cycle."""

    @property
    def key(self) -> tuple[bool, float, int]:
        """What agents are compared by: success, then score, then fewer steps of those who succeeded."""
        won = bool(self.facts["success"])
        return won, float(self.facts["score"]), -self.steps if won else 0

    @property
    def something(self) -> bool:
        """Has it succeeded, or more points than at the beginning?"""
        return bool(self.facts["success"]) or float(self.facts["score"]) > self.start


@dataclass
class Field:
    """All copies, and the ranks when the game is over."""

    copies: list[Copy]
    title: str
    ranks: list[float] = field(default_factory=list)


class Arena(Game):
    """Any text task, played by several agents at once and ranked.

    ## Description
    Each agent plays its own copy of the same task, an id of Milepost with a text face, and sees nothing of the others.
    Who is through waits until all are, or until ``max_cycles``. Then agents are compared pairwise: by success, then
    score, then, of two that succeeded, by fewer steps. ``rank`` is what comes of it:

    - ``round_robin``: the share of the opponents that the agent beats, a draw counting half;
    - ``single_elimination``: a knock-out with the usual bracket and byes, seeded by score (ArenaRL, arXiv 2601.06487; its
      order of seeds is by matches against one anchor, ours by the score; a draw goes to the better seed, as there).
      Agents that leave in one round share the mean of the places p they take; ``rank = 1 - p / (players - 1)`` with p = 0
      for the champion. Among equal scores the seeds follow the order of the agents, turned by the task's number.

    An agent that neither succeeded nor gained a point has the rank 0, so that nobody earns by waiting.

    ## Actions
    Text: commands of the task, as its page says, and ``wait``, which is no step of the task (a task's own command
    ``wait`` cannot be given). A command that the task calls invalid is a step of it all the same. Spaces and line breaks
    are kept. Encoded: the index of a row; rows are the task's ``admissible_actions``; a task that publishes none has the
    row ``wait`` alone.

    ## Observations
    Text: what the task says, then how the agent stands. Encoded: ``ArrayFace`` of it, with two gauges (share of cycles,
    through).

    ## Rewards
    ``rank``, at the end, in [0, 1]; the sum over all is at most half the number of players, whatever they do: that is the
    stated maximum of the team, which all-oracle play reaches with draws. ``task``, with weight 0 by default: the task's
    own reward.

    ## Episode end
    Terminated for all when all are through; truncated after ``max_cycles`` cycles. ``success`` and ``score``: those of
    the agent's own copy. If the infrastructure of one copy fails the game is invalid for all.

    ## Information
    Besides the contract ``rank`` (0.0 until the end), ``steps`` (of the task) and ``through``; in ``meta``, ``inner``
    with the id and the name of the task.

    Args:
        task: an id of Milepost without wrappers, such as ``milepost/Quest-easy-v0``.
        settings: of the task, by name.
        players: 2 to 8.
        topology: ``round_robin`` or ``single_elimination``.
        max_cycles: after so many cycles the game is truncated; None: as many as the task has steps.
        weights, split, worlds, expose_reference, max_length, render_mode: as ``Game``. What is longer than ``max_length``
        of an
            action is cut as well.

    Raises:
        ValueError: a setting is not allowed, or the task is none; names it.
        InfraError: by ``reset()``: a copy could not be started.

    ## Version history
    v0: first version.
    """

    name = "arena"
    own_terms = ("rank", "task")
    default_weights: ClassVar[Mapping[str, float]] = {"rank": 1.0}
    policies = ("oracle", "random", "collusion")
    gauges = 2

    def __init__(
        self,
        *,
        task: str = "milepost/Quest-easy-v0",
        settings: Mapping[str, Any] | None = None,
        players: int = 3,
        topology: str = "round_robin",
        max_cycles: int | None = None,
        **others: Any,
    ) -> None:
        players = whole("players", players, 2, 8)
        cycles = 1 if max_cycles is None else max_cycles
        super().__init__([f"player_{k}" for k in range(players)], max_cycles=cycles, **others)
        if topology not in TOPOLOGIES:
            raise one_of("topology", topology, TOPOLOGIES)
        if settings is not None and not isinstance(settings, Mapping):
            raise ValueError(f"settings are {settings!r}; allowed: None or a mapping of names to values")
        for key in set(settings or {}) & set(_OURS):
            raise ValueError(f"settings have {key!r}: the arena has it itself")
        plain = [row.id for row in entries() if not row.wrappers]
        if task not in plain:
            raise one_of("task", task, plain)
        self.inner, self.topology = task, topology
        self.envs: list[TextEnv] = []
        try:
            for _ in range(players):
                made: Any = gym.make(task, disable_env_checker=True, split=self.split, **(settings or {}))
                self.envs.append(made.unwrapped)
            if not isinstance(self.envs[0], TextEnv):
                raise ValueError(f"task {task!r} has no text face")
        except BaseException:
            self.close()
            raise
        every = len(self.envs[0].tasks())
        self.worlds = every if self.worlds is None else min(every, self.worlds)
        if max_cycles is None:
            self.max_cycles = self.envs[0].max_steps

    def close(self) -> None:
        """Closes the copies."""
        for env in self.envs:
            env.close()

    # -- rules -----------------------------------------------------------------------------------
    def _begin(self, task: int) -> Field:
        first, seed = self.envs[0].tasks().start, int(self.np_random.integers(2**31))
        copies, title = [], ""
        for env in self.envs:
            text, info = env.reset(seed=seed, options={"task": first + task - self.tasks().start})
            if "admissible_actions" not in info:
                raise ValueError(f"task {self.inner!r} publishes no admissible_actions")
            title = str(info["meta"]["task"])
            copies.append(Copy(str(text), *_read(info), float(info["score"])))
        return Field(copies, title)

    def _me(self, agent: str) -> int:
        return self.possible_agents.index(agent)

    def read(self, action: Any) -> str:
        """An action as text, with its spaces; see ``Game.read``."""
        if not isinstance(action, str):
            return super().read(action)
        return action.strip()[: self.max_length].encode(errors="replace").decode()

    def _act(self, agent: str, command: str) -> bool:
        me = self._me(agent)
        copy = self.world.copies[me]
        if copy.over:
            return False
        text, reward, terminated, truncated, info = self.envs[me].step(command)
        if info.get("invalid"):
            raise InfraError(f"{agent}: {info.get('infra_error', 'its copy failed')}")
        copy.text, copy.paid, copy.over = str(text), float(reward), terminated or truncated
        copy.facts, copy.choices = _read(info)
        copy.steps += 1
        return bool(info["valid_action"])

    def _cycle(self) -> None:
        world = self.world
        if self.cycle >= self.max_cycles or all(c.over for c in world.copies):
            task = self.task or 0
            ranks = TOPOLOGIES[self.topology]([c.key for c in world.copies], task)
            world.ranks = [r if c.something else 0.0 for r, c in zip(ranks, world.copies)]

    def _gone(self) -> Sequence[str]:
        return self.agents if all(c.over for c in self.world.copies) else ()

    def _terms(self, agent: str) -> Mapping[str, float]:
        me, world = self._me(agent), self.world
        paid, world.copies[me].paid = world.copies[me].paid, 0.0
        return {"rank": world.ranks[me] if world.ranks else 0.0, "task": paid}

    def _facts(self, agent: str) -> dict[str, Any]:
        me, world = self._me(agent), self.world
        copy = world.copies[me]
        facts = dict(copy.facts) | {"subgoals": dict(copy.facts["subgoals"])}
        return facts | {
            "rank": world.ranks[me] if world.ranks else 0.0,
            "steps": copy.steps,
            "through": copy.over,
        }

    def _meta(self) -> dict[str, Any]:
        return {"inner": {"id": self.inner, "task": self.world.title}}

    # -- what agents see -------------------------------------------------------------------------
    def _look(self, agent: str) -> str:
        me, world = self._me(agent), self.world
        copy = world.copies[me]
        done = "with success" if copy.facts["success"] else "without success"
        stand = (
            f"You are {agent}, one of {len(self.envs)} who play this task at the same time; {copy.steps} steps so far."
        )
        if world.ranks:
            return f"{copy.text}\n\n{stand} The game is over; your rank is {world.ranks[me]:.2f}."
        if copy.over:
            return f"You are through {done}: wait for the others.\n{stand}\n\n{copy.text}"
        return f"{copy.text}\n\n{stand} What counts is success, then the score, then fewer steps."

    def _scene(self) -> str:
        parts = []
        for agent, copy in zip(self.possible_agents, self.world.copies):
            state = "through" if copy.over else "playing"
            parts.append(f"[{agent}] {state}, {copy.steps} steps, score {copy.facts['score']:g}\n{copy.text}")
        return f"{self.name}-{self.task} ({self.inner}), cycle {self.cycle}\n\n" + "\n\n".join(parts)

    def _choices(self, agent: str) -> Sequence[str]:
        copy = self.world.copies[self._me(agent)]
        return () if copy.over else [c for c in copy.choices if c != WAIT]

    def _gauges(self, agent: str) -> Any:
        return min(1.0, self.cycle / self.max_cycles), float(self.world.copies[self._me(agent)].over)

    # -- scripts and state -----------------------------------------------------------------------
    def _script(self, agent: str, policy: str) -> str:
        """``random`` draws an admissible action from ``np_random``; the others ask the task's oracle, on each copy."""
        me = self._me(agent)
        if self.world.copies[me].over:
            return WAIT
        if policy == "random":
            choices = self.choices(agent)
            return choices[int(self.np_random.integers(len(choices)))]
        try:
            return str(self.envs[me].oracle())
        except RuntimeError:  # nothing is left to do, or no way
            return WAIT

    def _save(self) -> Any:
        return super()._save(), None if self.world is None else [env.snapshot() for env in self.envs]

    def _load(self, state: Any) -> None:
        world, inner = state
        super()._load(world)
        for env, snapshot in zip(self.envs, inner or ()):
            env.restore(snapshot)


def _read(info: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What an agent is told of its copy, and what it can do."""
    facts = {k: info[k] for k in FACTS}
    facts |= {"success": bool(facts["success"]), "subgoals": dict(facts["subgoals"])}
    facts |= {k: float(facts[k]) for k in ("score", "max_score", "progress")}
    return facts, tuple(map(str, info["admissible_actions"]))


Key = tuple[bool, float, int]


def round_robin(keys: Sequence[Key], turn: int = 0) -> list[float]:
    """The share of the others that each beats, a draw counting half.

    Args:
        keys: of each player; the larger one wins.
        turn: without meaning here.
    """
    n = len(keys)
    return [
        sum(1.0 if a > b else 0.5 if a == b else 0.0 for j, b in enumerate(keys) if j != i) / (n - 1)
        for i, a in enumerate(keys)
    ]


def single_elimination(keys: Sequence[Key], turn: int = 0) -> list[float]:
    """Ranks of a knock-out seeded by score: 1 for the champion, losers of a round share the mean of their places.

    Args:
        keys: of each player: success, score, less steps; the larger one wins, the better seed if they are equal.
        turn: with which player the seeds of equal scores begin.
    """
    n = len(keys)
    seeds = sorted(range(n), key=lambda i: (-keys[i][1], (i - turn) % n))
    order = [0]
    while len(order) < n:
        order = [x for s in order for x in (s, 2 * len(order) - 1 - s)]
    field_ = [s if s < n else None for s in order]  # seeds in the bracket; None: a bye
    ranks, left = [0.0] * n, n
    while len(field_) > 1:
        lost: list[int] = []
        winners: list[int | None] = []
        for a, b in zip(field_[::2], field_[1::2]):
            if a is None or b is None:
                winners.append(b if a is None else a)
                continue
            better, worse = (a, b) if (keys[seeds[a]], -a) > (keys[seeds[b]], -b) else (b, a)
            winners.append(better)
            lost.append(worse)
        left -= len(lost)
        for s in lost:  # places left, left + 1 ...
            ranks[seeds[s]] = 1.0 - (left + (len(lost) - 1) / 2) / (n - 1)
        field_ = winners
    champion = field_[0]
    assert champion is not None
    ranks[seeds[champion]] = 1.0
    return ranks


TOPOLOGIES: dict[str, Callable[[Sequence[Key], int], list[float]]] = {
    "round_robin": round_robin,
    "single_elimination": single_elimination,
}
