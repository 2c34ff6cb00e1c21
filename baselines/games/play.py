"""Plays copies of a game side by side: what trainers collect with and what evaluation is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ...wrappers.hosts import shape

Make = Callable[[], Any]  # () -> a ParallelEnv without shaping


class Step(NamedTuple):
    """What a learner keeps of one of its steps."""

    obs: Any  # as its network sees it
    action: Any  # as its network gave it
    value: float
    log_prob: float
    mask: Any


@dataclass
class Played:
    """One finished game."""

    number: int
    joint: int = 0  # its number in the stack
    cycles: int = 0
    length: dict[str, int] = field(default_factory=dict)  # agent -> steps
    returns: dict[str, float] = field(default_factory=dict)  # agent -> sum of what it was paid
    rewards: dict[str, list[float]] = field(default_factory=dict)  # agent -> what it was paid at each step
    kept: dict[str, list[Step]] = field(default_factory=dict)  # agent that learns -> its steps
    last_obs: dict[str, Any] = field(default_factory=dict)
    last_info: dict[str, dict[str, Any]] = field(default_factory=dict)
    truncated: dict[str, bool] = field(default_factory=dict)  # left without an end of its own
    terms: dict[str, dict[str, float]] = field(default_factory=dict)  # agent -> reward term -> sum

    @property
    def invalid(self) -> bool:
        """The infrastructure failed: no trainer learns from it and no evaluation counts it."""
        return any(i.get("invalid") for i in self.last_info.values())


@dataclass
class _Table:
    env: Any
    seats: dict[str, Any] = field(default_factory=dict)
    learns: frozenset[str] = frozenset()
    game: Played = field(default_factory=lambda: Played(-1))
    obs: dict[str, Any] = field(default_factory=dict)
    infos: dict[str, Any] = field(default_factory=dict)


def side_by_side(
    make: Make,
    n: int,
    layers: Sequence[Any] = (),
    seed: int = 0,
    facts: Mapping[str, Any] | None = None,
    collect: Callable[[Any], Any] | None = None,
) -> list[Any]:
    """``n`` copies of a game behind one stack, whose shared memory then sees all of them.

    Args:
        make: the game.
        n: how many.
        layers: of the stack; none: the games stay as they are.
        seed: of the stack.
        facts: as ``shape`` takes them.
        collect: puts a collector of facts (``Counterfactual``) around each copy, inside the stack.
    """
    envs = list[Any]()
    for k in range(n):
        env = make()
        if layers:
            env = collect(env) if collect is not None else env
            env = shape(env, [] if k else layers, seed, None if k else facts)
            env.count = k << 32  # games of different copies are no joint episode
            if k:
                env.stack = envs[0].stack
        envs.append(env)
    return envs


def answers(player: Any, asked: Sequence[tuple[str, Any, dict[str, Any]]]) -> list[Any]:
    """A player's actions, in one call where it can."""
    if hasattr(player, "acts"):
        return list(player.acts(asked))
    return [player.act(*q) for q in asked]


def play(
    envs: Sequence[Any],
    deal: Callable[[int, int], tuple[dict[str, Any], frozenset[str]]],
    more: Callable[[int, int], bool],
    seed: Callable[[int], int | None] = lambda number: None,
) -> Iterator[Played]:
    """Plays whole games on all copies at once, and gives each when it is over.

    Args:
        envs: the copies.
        deal: number of the game and of the copy to who plays each seat there and which of the seats learn; a learner
            answers ``choose(asked) -> (actions, steps)`` and its steps are kept.
        more: number of the next game and learners' steps so far: is it to begin?
        seed: number of the game to the seed that it is reset with; players with ``reset`` are given the same one.

    Yields:
        Games in the order in which they end.
    """
    idle, running = [(k, _Table(env)) for k, env in enumerate(envs)], list[tuple[int, _Table]]()
    number = taken = 0
    while True:
        while idle and more(number, taken):
            k, table = idle.pop(0)
            _begin(table, number, deal(number, k), seed(number))
            running.append((k, table))
            number += 1
        if not running:
            return
        taken += _tick([t for _, t in running])
        for k, table in [x for x in running if not x[1].env.agents]:
            running.remove((k, table))
            idle.append((k, table))
            yield table.game
        idle.sort(key=lambda x: x[0])


def _begin(table: _Table, number: int, dealt: tuple[dict[str, Any], frozenset[str]], seed: int | None) -> None:
    table.seats, table.learns = dealt
    for player in dict.fromkeys(table.seats.values()):
        if hasattr(player, "reset"):
            player.reset(seed)
    table.obs, table.infos = table.env.reset(seed=seed)
    table.game = Played(number, getattr(table.env, "count", 0))


def _tick(tables: list[_Table]) -> int:
    """Each agent of each game acts once; how many of them learn."""
    asked: dict[int, tuple[Any, list[tuple[_Table, str]]]] = {}
    for table in tables:
        for a in table.env.agents:
            player = table.seats[a]
            learns = a in table.learns
            asked.setdefault(2 * id(player) + learns, (player, []))[1].append((table, a))
    actions: dict[int, dict[str, Any]] = {id(t): {} for t in tables}
    taken = 0
    for key, (player, who) in asked.items():
        questions = [(a, t.obs[a], t.infos[a]) for t, a in who]
        if key % 2:
            given, steps = player.choose(questions)
            taken += len(who)
            for (t, a), step in zip(who, steps):
                t.game.kept.setdefault(a, []).append(step)
        else:
            given = answers(player, questions)
        for (t, a), action in zip(who, given):
            actions[id(t)][a] = action
    for table in tables:
        _step(table, actions[id(table)])
    return taken


def _step(table: _Table, actions: dict[str, Any]) -> None:
    game = table.game
    obs, rewards, terminated, truncated, infos = table.env.step(actions)
    game.cycles += 1
    for a in actions:
        game.rewards.setdefault(a, []).append(float(rewards[a]))
        game.returns[a] = game.returns.get(a, 0.0) + float(rewards[a])
        game.length[a] = game.length.get(a, 0) + 1
        terms = game.terms.setdefault(a, {})
        for k, v in infos[a].get("reward_terms", {}).items():
            terms[k] = terms.get(k, 0.0) + float(v)
        game.last_obs[a], game.last_info[a] = obs[a], infos[a]
        game.truncated[a] = bool(truncated[a]) and not terminated[a]
    table.obs, table.infos = obs, infos


def match_score(mine: float, theirs: float) -> float:
    """What a game scores in a match: 1 for more than they have, 0.5 for the same, 0 for less."""
    return 0.5 if abs(mine - theirs) < 1e-9 else float(mine > theirs)
