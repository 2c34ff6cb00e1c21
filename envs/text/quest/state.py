"""The state of a Quest episode and what commands do to it."""

from __future__ import annotations

from dataclasses import dataclass, field

from .world import CONTAINERS, HANDS, Goal, World

HELD, GONE = "held", "gone"


@dataclass
class State:
    """Everything that changes. ``at`` maps a thing to ``@room``, a place, ``held`` or ``gone``."""

    room: int
    at: dict[str, str]
    open: set[str] = field(default_factory=set)  # containers and doors
    cooked: set[str] = field(default_factory=set)
    meal: bool = False
    visited: set[int] = field(default_factory=set)
    seen: dict[str, int] = field(default_factory=dict)  # thing, place or door -> room where it was last seen

    def copy(self) -> State:
        """An independent copy."""
        return State(
            self.room, dict(self.at), set(self.open), set(self.cooked), self.meal, set(self.visited), dict(self.seen)
        )


def begin(world: World) -> State:
    """The first state."""
    state = State(world.start, dict(world.things))
    notice(world, state)
    return state


def held(state: State) -> list[str]:
    """What is carried, in the order of the world's things."""
    return [t for t, where in state.at.items() if where == HELD]


def here(world: World, state: State) -> tuple[list[str], dict[str, list[str]]]:
    """Things on the floor of this room, and each place here with the things that can be seen in it."""
    floor, places = [], {p: list[str]() for p, r in world.places.items() if r == state.room}
    mine = f"@{state.room}"
    for thing, where in state.at.items():
        if where == mine:
            floor.append(thing)
        elif where in places and (where not in world.closed or where in state.open):
            places[where].append(thing)
    return floor, places


def notice(world: World, state: State) -> None:
    """What is in this room has been seen here."""
    state.visited.add(state.room)
    floor, places = here(world, state)
    for name in [*floor, *places, *(t for ts in places.values() for t in ts)]:
        state.seen[name] = state.room
    for other in world.exits[state.room].values():
        if door := world.doors.get((state.room, other)):
            state.seen.setdefault(door, state.room)
    if world.stove == state.room:
        state.seen["stove"] = state.room
    for thing in held(state):
        state.seen.pop(thing, None)


def done(world: World, state: State, goal: Goal) -> bool:
    """Is the sub-goal reached in this state? A function of the state alone."""
    if goal.verb == "open":
        inside = [t for t, p in world.things.items() if p == goal.what]
        return goal.what in state.open or all(state.at[t] != goal.what for t in inside)
    if goal.verb == "unlock":
        return goal.what in state.open
    if goal.verb == "put":
        return state.at[goal.what] == goal.where
    if goal.verb == "cook":
        return goal.what in state.cooked
    if goal.verb == "prepare":
        return state.meal
    where = state.at[goal.what]
    if goal.what.endswith(" key"):
        return where == HELD or goal.what.replace("key", "door") in state.open
    targets = [g.where for g in world.quest if g.verb == "put" and g.what == goal.what]
    return where in (HELD, GONE) or where in targets


def admissible(world: World, state: State) -> list[str]:
    """All commands that do something here, sorted."""
    floor, places = here(world, state)
    mine = held(state)
    out = ["look"]
    for direction, other in world.exits[state.room].items():
        door = world.doors.get((state.room, other))
        if door is None or door in state.open:
            out.append(f"go {direction}")
        elif door.replace("door", "key") in mine:
            out.append(f"unlock {door}")
    if len(mine) < HANDS:
        out += [f"take {t}" for t in floor]
    for place, inside in places.items():
        if place in world.closed:
            if place not in state.open:
                out.append(f"open {place}")
                continue
            out.append(f"close {place}")
        if len(mine) < HANDS:
            out += [f"take {t}" for t in inside]
        out += [f"put {t} {_into(place)} {place}" for t in mine]
    out += [f"drop {t}" for t in mine]
    if world.stove == state.room:
        out += [f"cook {t}" for t in mine if t in world.recipe and t not in state.cooked]
        if can_prepare(world, state):
            out.append("prepare meal")
    return sorted(out)


def _into(place: str) -> str:
    return "in" if place in CONTAINERS else "on"


def can_prepare(world: World, state: State) -> bool:
    """Are all ingredients in hand, the first one cooked?"""
    return not state.meal and world.recipe[0] in state.cooked and all(state.at[f] == HELD for f in world.recipe)


def act(world: World, state: State, command: str) -> str:
    """Does an admissible command; returns the answer of the world."""
    verb, _, rest = command.partition(" ")
    said = f"You {command}."
    if verb == "go":
        state.room = world.exits[state.room][rest]
        said = f"You go {rest} to the {world.rooms[state.room]}."
    elif verb == "take":
        state.at[rest] = HELD
        said = f"You take the {rest}."
    elif verb == "drop":
        state.at[rest] = f"@{state.room}"
        said = f"You drop the {rest}."
    elif verb == "put":
        thing, _, place = rest.replace(" on ", " in ", 1).partition(" in ")
        state.at[thing] = place
        said = f"You put the {thing} {_into(place)} the {place}."
    elif verb in ("open", "unlock"):
        state.open.add(rest)
        said = f"You {verb} the {rest}."
    elif verb == "close":
        state.open.discard(rest)
        said = f"You close the {rest}."
    elif verb == "cook":
        state.cooked.add(rest)
        said = f"You cook the {rest} on the stove."
    elif verb == "prepare":
        for food in world.recipe:
            state.at[food] = GONE
        state.meal = True
        said = "You prepare the meal."
    else:
        said = "You look around."
    notice(world, state)
    return said
