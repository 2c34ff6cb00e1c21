"""``milepost/Quest-v0``: our own procedural text world."""

from __future__ import annotations

from typing import Any

from ...errors import one_of
from ..base import Split, TextEnv, flag, taken, whole
from .plan import commands, length
from .state import State, act, admissible, begin, done, held, here
from .world import COLOURS, CONTAINERS, RECIPE, ROOMS, SURFACES, THINGS, Goal, Settings, World, generate


class QuestEnv(TextEnv):
    """A procedural text world: rooms, doors and keys, containers, a recipe, distractors, and a quest over them.

    ## Description
    Each task is a world of its own, generated from the task's number and the settings. The quest is a list of sub-goals
    in order, such as ``take the red key; unlock the red door; open the chest; take the lamp; put the lamp on the
    table``. Every world can be solved from every state. The text is written so that a policy without memory can solve
    it: the next sub-goal stands first, exits that were never taken are marked, and (``journal``) what the next sub-goal
    needs is named with the way to it once it has been seen. Reward is sparse.

    ## Observation Space
    ``Unicode(4096)``: objective, room, exits, what is seen and carried, journal, the last answer; one line each.

    ## Action Space
    ``Unicode(256)``: a command, such as ``go north``, ``take lamp``, ``open chest``, ``unlock red door``,
    ``put lamp on table``, ``drop lamp``, ``cook egg``, ``prepare meal``, ``look``. ``info["admissible_actions"]`` lists
    all that do something here. Anything else is answered in the world and has ``valid_action = False``.

    ## Rewards
    One term, ``outcome``: 1.0 at the step that completes the quest, else 0.0.

    ## Episode End
    Terminates when every sub-goal holds at once; truncates after ``max_steps``.

    ## Information
    ``score`` (sub-goals that hold) and ``max_score``; ``progress`` in [0, 1]: 1 minus the length of the oracle's plan from
    this state over its length from the first state, a function of the state; ``subgoals`` (``"1 take": bool`` ...),
    ``success``, ``valid_action``, ``admissible_actions`` (sorted), ``message`` (what the world said to the command),
    ``messages``; in the reset info ``meta`` with the task and the sub-goals as sentences, and, with ``expose_reference``,
    ``reference``: the oracle's plan.

    ## Arguments
    ``rooms`` 2-16, ``quest_length`` (number of sub-goals), ``doors`` (locked, each with a key), ``containers`` (closed),
    ``distractors`` (things of no use), ``recipe`` (cook and prepare a meal, 4 of the sub-goals), ``journal``,
    ``max_steps``, ``split``, ``worlds``, ``expose_reference``, ``render_mode``. ``-easy``: 3 rooms, 2 sub-goals, 30 steps;
    ``-medium``: 6 rooms, a locked door, 5 sub-goals, 60 steps; ``-hard``: 10 rooms, 2 locked doors, a recipe, 13
    sub-goals, 200 steps. ``reset(options={"task": n})`` picks a world.

    ## Version History
    * v0: first version.

    Raises:
        ValueError: a setting is unknown or not allowed; names it and what is.
    """

    name = "quest"

    def __init__(
        self,
        rooms: int = 5,
        quest_length: int = 4,
        doors: int = 0,
        containers: int = 2,
        distractors: int = 3,
        recipe: bool = False,
        journal: bool = True,
        max_steps: int = 50,
        split: Split = "train",
        worlds: int | None = None,
        expose_reference: bool = False,
        render_mode: str | None = None,
        **unknown: Any,  # only to be refused in our words
    ) -> None:
        for name in unknown:
            raise one_of("a setting of Quest", name, taken(type(self)))
        super().__init__(
            split=split, worlds=worlds, max_steps=max_steps, expose_reference=expose_reference, render_mode=render_mode
        )
        where = " with these settings"
        rooms = whole("rooms", rooms, 2, len(ROOMS), where)
        doors = whole("doors", doors, 0, min(len(COLOURS), rooms // 3), where)
        containers = whole("containers", containers, 0, len(CONTAINERS), where)
        distractors = whole("distractors", distractors, 0, len(THINGS) - len(SURFACES), where)
        recipe, journal = flag("recipe", recipe), flag("journal", journal)
        cooking = 2 + RECIPE if recipe else 0
        longest = 2 * (len(SURFACES) - 1) + cooking
        quest_length = whole("quest_length", quest_length, 2 + cooking, longest, where)
        if (quest_length - cooking) % 2 and not containers:
            raise ValueError(f"quest_length is {quest_length}; without containers it must be even: set containers=1")
        self.settings = Settings(rooms, quest_length, doors, containers, distractors, recipe)
        self.journal = journal
        self.world: World
        self.state: State
        self._feedback = ""
        self._first = 1

    def _begin(self, task: int) -> None:
        self.world = generate(task, self.settings)
        self.state = begin(self.world)
        self._feedback = ""
        self._first = length(self.world, self.state)
        self._names = [f"{i} {g.verb}" for i, g in enumerate(self.world.quest, 1)]

    def _goals(self) -> tuple[str, ...]:
        return tuple(g.text for g in self.world.quest)

    def _command(self, command: str) -> bool:
        valid = command in self._admissible
        self._feedback = act(self.world, self.state, command) if valid else f"You cannot {command or 'do nothing'}."
        return valid

    def _facts(self) -> dict[str, Any]:
        reached = [done(self.world, self.state, g) for g in self.world.quest]
        won = all(reached)
        left = 0 if won else length(self.world, self.state)
        return {
            "score": float(sum(reached)),
            "max_score": float(len(reached)),
            "progress": max(0.0, 1.0 - left / self._first),
            "subgoals": dict(zip(self._names, reached)),
            "success": won,
            "admissible_actions": tuple(self._admissible),
        }

    def _look(self) -> str:
        world, state = self.world, self.state
        self._admissible = admissible(world, state)
        todo = [g for g in world.quest if not done(world, state, g)]
        floor, places = here(world, state)
        if todo:
            later = f" Then: {'; '.join(g.text for g in todo[1:])}." if todo[1:] else ""
            lines = [f"Objective: {todo[0].text}.{later}"]
        else:
            lines = ["Objective: none, the quest is complete."]
        lines.append(f"Room: {world.rooms[state.room]}{' with a stove' if world.stove == state.room else ''}.")
        lines.append(f"Exits: {', '.join(self._exits())}.")
        seen = [f"{t}" for t in floor]
        for place, inside in places.items():
            if place in world.closed and place not in state.open:
                seen.append(f"{place} (closed)")
            else:
                seen.append(f"{place} with {' and '.join(inside)}" if inside else place)
        lines.append(f"You see: {', '.join(seen) or 'nothing'}.")
        mine = [f"cooked {t}" if t in state.cooked else t for t in held(state)]
        lines.append(f"You carry: {', '.join(mine) or 'nothing'}.")
        if self.journal and todo and (note := self._note(todo[0])):
            lines.append(f"Journal: {note}.")
        if self._feedback:
            lines.append(f"> {self._feedback}")
        return "\n".join(lines)

    def _exits(self) -> list[str]:
        world, state, out = self.world, self.state, []
        for direction, other in sorted(world.exits[state.room].items()):
            door = world.doors.get((state.room, other))
            if door is not None and door not in state.open:
                out.append(f"{direction} is the {door} (locked)")
            elif other in state.visited:
                out.append(f"{direction} to the {world.rooms[other]}")
            else:
                out.append(f"{direction} (not visited)")
        return out

    def _note(self, goal: Goal) -> str:
        """Where the next sub-goal leads, if that has been seen; else which way there is something new."""
        world, state = self.world, self.state
        wanted = {"put": goal.where, "cook": "stove", "prepare": "stove"}.get(goal.verb, goal.what)
        room = state.seen.get(wanted)
        if goal.verb in ("take", "cook", "put") and state.at[goal.what] not in ("held", "gone"):
            wanted, room = goal.what, state.seen.get(goal.what)  # it was laid down somewhere
        if room is None:
            return self._unexplored(wanted)
        if room == state.room:
            return f"the {wanted} is here"
        return f"the {wanted} is in the {world.rooms[room]}, go {world.way[state.room][room]}"

    def _unexplored(self, wanted: str) -> str:
        """The way to the nearest room that was not visited and is not locked."""
        world, state = self.world, self.state
        shut = {r for (r, q), d in world.doors.items() if d not in state.open and q == world.outside[d]}
        fresh = [r for r in range(len(world.rooms)) if r not in state.visited and r not in shut]
        if not fresh:
            return f"you have not seen the {wanted}, look into what is closed"
        near = min(fresh, key=lambda r: world.far[state.room][r])
        return f"you have not seen the {wanted}, new rooms lie {world.way[state.room][near]}"

    def _plan(self) -> list[str]:
        return commands(self.world, self.state)

    def _save(self) -> Any:
        return (self.world, self.state, self._feedback, self._first, self._names, self._admissible)

    def _load(self, state: Any) -> None:
        self.world, self.state, self._feedback, self._first, self._names, self._admissible = state
