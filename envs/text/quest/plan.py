"""A plan that solves a quest from any state, and its length."""

from __future__ import annotations

from .state import HELD, State, done
from .world import HANDS, World


class Planner:
    """Works through the sub-goals in their order, from a state that it does not change.

    A plan is a list of stops ``(room, command)``; walking between them takes the shortest way.
    """

    def __init__(self, world: World, state: State) -> None:
        self.world, self.stops = world, list[tuple[int, str]]()
        self.at, self.open, self.cooked = dict(state.at), set(state.open), set(state.cooked)
        self.room = state.room
        self.inside = {p: d for (p, q), d in world.doors.items() if q == world.outside[d] and p != q}
        for goal in world.quest:
            if done(world, state, goal):
                continue
            if goal.verb == "take":
                self._hold(goal.what)
            elif goal.verb == "unlock":
                self._unlock(goal.what)
            elif goal.verb == "open":
                self._enter(world.places[goal.what])
                self._unclose(goal.what)
            elif goal.verb == "put" and self.at[goal.what] != goal.where:
                self._hold(goal.what)
                self._unclose(goal.where)
                preposition = "in" if goal.where in world.closed else "on"
                self._stop(world.places[goal.where], f"put {goal.what} {preposition} {goal.where}")
                self.at[goal.what] = goal.where
            elif goal.verb == "cook":
                self._hold(goal.what)
                self._stop(world.stove, f"cook {goal.what}")
            elif goal.verb == "prepare":
                for food in world.recipe:
                    self._hold(food)
                self._stop(world.stove, "prepare meal")
                for food in world.recipe:
                    self.at[food] = "gone"

    def _stop(self, room: int, command: str) -> None:
        self.stops.append((room, command))
        self.room = room

    def _enter(self, room: int) -> None:
        """Makes sure that a room can be entered."""
        if (door := self.inside.get(room)) is not None:
            self._unlock(door)

    def _unlock(self, door: str) -> None:
        if door not in self.open:
            self._hold(door.replace("door", "key"))
            self._stop(self.world.outside[door], f"unlock {door}")
            self.open.add(door)

    def _unclose(self, place: str) -> None:
        if place in self.world.closed and place not in self.open:
            self._stop(self.world.places[place], f"open {place}")
            self.open.add(place)

    def _hold(self, thing: str) -> None:
        where = self.at[thing]
        if where == HELD:
            return
        room = int(where[1:]) if where[0] == "@" else self.world.places[where]
        self._enter(room)
        if where[0] != "@":
            self._unclose(where)
        carried = [t for t, w in self.at.items() if w == HELD]
        if len(carried) >= HANDS:
            spare = [t for t in carried if t not in self.world.recipe] or carried
            # what is needed later is fetched again then; ingredients are needed all at once
            least = next((t for t in carried if not self._needed(t)), spare[-1])
            self._stop(self.room, f"drop {least}")
            self.at[least] = f"@{self.room}"
        self._stop(room, f"take {thing}")
        self.at[thing] = HELD

    def _needed(self, thing: str) -> bool:
        return thing in self.world.recipe or any(g.what == thing for g in self.world.quest)


def commands(world: World, state: State) -> list[str]:
    """The plan as commands."""
    out, room = [], state.room
    for target, command in Planner(world, state).stops:
        while room != target:
            direction = world.way[room][target]
            out.append(f"go {direction}")
            room = world.exits[room][direction]
        out.append(command)
    return out


def length(world: World, state: State) -> int:
    """Number of commands of the plan."""
    steps, room = 0, state.room
    for target, _ in Planner(world, state).stops:
        steps += world.far[room][target] + 1
        room = target
    return steps
