"""Quest worlds: rooms on a grid, doors and keys, containers and surfaces, things, a recipe, and a quest over them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

ROOMS = (
    "kitchen hall pantry cellar attic library bedroom bathroom study workshop garage garden parlour nursery chapel armoury"
).split()
COLOURS = "red blue green white black brass silver golden".split()
CONTAINERS = "chest box cupboard drawer crate basket trunk cabinet safe wardrobe".split()
SURFACES = "table shelf desk bench counter stand altar pedestal".split()
THINGS = (
    "lamp book coin rope map cup candle hammer mirror bell flute ring letter brush vase knife compass jar pillow hat "
    "clock feather shell marble"
).split()
FOODS = "carrot potato onion egg fish mushroom pepper tomato".split()
STEPS = {"north": (0, 1), "south": (0, -1), "east": (1, 0), "west": (-1, 0)}
BACK = {"north": "south", "south": "north", "east": "west", "west": "east"}
HANDS = 6  # things that can be carried
RECIPE = 2  # ingredients of a meal


class Goal(NamedTuple):
    """One sub-goal of a quest: a verb, what it is done to, and where to."""

    verb: str  # take, unlock, open, put, cook, prepare
    what: str
    where: str = ""

    @property
    def text(self) -> str:
        """As the quest says it."""
        if self.verb == "put":
            return f"put the {self.what} {'in' if self.where in CONTAINERS else 'on'} the {self.where}"
        return "prepare the meal" if self.verb == "prepare" else f"{self.verb} the {self.what}"


@dataclass
class World:
    """What never changes in an episode."""

    rooms: list[str]
    exits: list[dict[str, int]]  # room -> direction -> room
    doors: dict[tuple[int, int], str] = field(default_factory=dict)  # both directions -> door
    outside: dict[str, int] = field(default_factory=dict)  # door -> the room on the side of its key
    places: dict[str, int] = field(default_factory=dict)  # container or surface -> room
    stove: int = -1
    start: int = 0
    things: dict[str, str] = field(default_factory=dict)  # thing -> where it starts: "@room" or a place
    closed: frozenset[str] = frozenset()  # containers that start closed
    recipe: tuple[str, ...] = ()  # ingredients; the first is cooked
    quest: list[Goal] = field(default_factory=list)
    far: list[list[int]] = field(default_factory=list)  # room -> room: steps
    way: list[list[str]] = field(default_factory=list)  # room -> room: first direction

    def measure(self) -> None:
        """Shortest paths between all rooms (locked rooms are dead ends, so they never lie on another's path)."""
        n = len(self.rooms)
        self.far = [[0] * n for _ in range(n)]
        self.way = [[""] * n for _ in range(n)]
        for a in range(n):
            queue, seen = deque([(a, 0, "")]), {a}
            while queue:
                room, steps, first = queue.popleft()
                self.far[a][room], self.way[a][room] = steps, first
                for direction, b in self.exits[room].items():
                    if b not in seen:
                        seen.add(b)
                        queue.append((b, steps + 1, first or direction))


@dataclass(frozen=True)
class Settings:
    """What kind of world: see ``QuestEnv``."""

    rooms: int = 5
    quest_length: int = 4
    doors: int = 0
    containers: int = 2
    distractors: int = 3
    recipe: bool = False


def _tree(rng: np.random.Generator, n: int) -> tuple[list[dict[str, int]], list[tuple[int, str, int]]]:
    """Rooms grown at random on a grid; also the neighbours that could be joined."""
    cells, exits = {(0, 0): 0}, [dict[str, int]()]
    while len(cells) < n:
        free = [
            (room, d, (x + dx, y + dy))
            for (x, y), room in cells.items()
            for d, (dx, dy) in STEPS.items()
            if (x + dx, y + dy) not in cells
        ]
        room, d, cell = free[int(rng.integers(len(free)))]
        cells[cell] = len(exits)
        exits.append({BACK[d]: room})
        exits[room][d] = cells[cell]
    loops = []
    for (x, y), room in cells.items():
        for d in ("north", "east"):
            other = cells.get((x + STEPS[d][0], y + STEPS[d][1]))
            if other is not None and d not in exits[room]:
                loops.append((room, d, other))
    return exits, loops


def _fetches(length: int, doors: int, containers: int) -> list[tuple[bool, bool]]:
    """The quest's fetches as (behind a door, in a closed container); each has 2 sub-goals, +2 and +1."""
    out = []
    while length:
        locked = doors > 0 and length >= 4
        boxed = containers > 0 and length >= (5 if locked else 3)
        size = 2 + 2 * locked + boxed
        if length - size == 1:  # one sub-goal alone is no fetch: make this one bigger or smaller by one
            if boxed:
                boxed, size = False, size - 1
            elif containers > 0:
                boxed, size = True, size + 1
            else:
                raise ValueError(f"no quest of these parts has a remainder of {length}: add a container")
        out.append((locked, boxed))
        doors, containers, length = doors - locked, containers - boxed, length - size
    return out


def _draw(rng: np.random.Generator, names: Sequence[str], k: int) -> list[str]:
    return [names[int(i)] for i in rng.permutation(len(names))[:k]]


def generate(task: int, s: Settings) -> World:
    """The world of a task: the same task and settings give the same world on every machine."""
    rng = np.random.default_rng([task, s.rooms, s.quest_length, s.doors, s.containers, s.distractors, int(s.recipe)])
    exits, loops = _tree(rng, s.rooms)
    while sum(len(e) == 1 for e in exits[1:]) < s.doors:  # too few dead ends to lock: grow another
        exits, loops = _tree(rng, s.rooms)
    leaves = [i for i in range(1, s.rooms) if len(exits[i]) == 1]
    locked = [leaves[i] for i in rng.permutation(len(leaves))[: s.doors]]
    unlocked = [i for i in range(s.rooms) if i not in locked]
    for a, d, b in loops:
        if a in unlocked and b in unlocked and rng.random() < 0.3:
            exits[a][d], exits[b][BACK[d]] = b, a
    kitchen = int(rng.choice(unlocked))
    names = _draw(rng, ROOMS[1:], s.rooms - 1)
    names.insert(kitchen, ROOMS[0])
    world = World(names, exits, stove=kitchen if s.recipe else -1)
    doors = [f"{c} door" for c in _draw(rng, COLOURS, s.doors)]
    for room, door in zip(locked, doors):
        out = next(iter(exits[room].values()))
        world.doors[room, out] = world.doors[out, room] = door
        world.outside[door] = out
    _furnish(world, s, rng, unlocked, dict(zip(doors, locked)))
    world.measure()
    return world


def _furnish(world: World, s: Settings, rng: np.random.Generator, unlocked: list[int], behind: dict[str, int]) -> None:
    """Places, things and the quest over them."""

    def somewhere() -> int:
        return int(rng.choice(unlocked))

    cooking = 2 + RECIPE if s.recipe else 0
    fetches = _fetches(s.quest_length - cooking, s.doors, s.containers)
    boxes, surfaces = _draw(rng, CONTAINERS, s.containers), _draw(rng, SURFACES, len(fetches) + 1)
    things = _draw(rng, THINGS, len(fetches) + s.distractors)
    world.start = somewhere()
    world.places = {p: somewhere() for p in [*boxes, *surfaces]}
    goals: list[Goal] = []
    if s.recipe:
        world.recipe = tuple(_draw(rng, FOODS, RECIPE))
        world.things |= {f: f"@{somewhere()}" for f in world.recipe}
        first, *rest = world.recipe
        goals += [Goal("take", first), Goal("cook", first), *(Goal("take", f) for f in rest), Goal("prepare", "meal")]
    left, doors = list(boxes), list(behind)
    for (locked, boxed), thing, target in zip(fetches, things, surfaces):
        room = somewhere()
        if locked:
            door = doors.pop()
            key, room = door.replace("door", "key"), behind[door]
            world.things[key] = f"@{somewhere()}"
            goals += [Goal("take", key), Goal("unlock", door)]
        world.things[thing] = f"@{room}"
        if boxed:
            box = left.pop()
            world.places[box], world.things[thing] = room, box
            goals.append(Goal("open", box))
        elif not locked and room == world.places[target]:  # else it would lie beside its target
            world.places[target] = int(rng.choice([r for r in unlocked if r != room] or unlocked))
        goals += [Goal("take", thing), Goal("put", thing, target)]
    for thing in things[len(fetches) :]:
        spots = [f"@{somewhere()}", surfaces[-1], *left[:1]]
        world.things[thing] = spots[int(rng.integers(len(spots)))]
    for door in doors:  # a door that the quest does not need: its key lies about
        world.things[door.replace("door", "key")] = f"@{somewhere()}"
    world.closed = frozenset(boxes)
    world.quest = goals
