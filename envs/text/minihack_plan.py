"""A walker that solves levels whose stairs can be walked to: it knows what the hero has seen, nothing else."""

from __future__ import annotations

import heapq
from collections.abc import Callable

import numpy as np

from . import minihack_actions as a
from . import minihack_words as w
from .minihack_game import COLUMNS, PICK_UP, ROWS, Cell, Game
from .minihack_goals import family

# families of levels that it was made for: walking, keys, doors, hidden corridors; no boulders to push, no tools to try
FAMILIES = frozenset("Room KeyRoom MultiRoom Corridor MazeWalk ClosedDoor LockedDoor Labyrinth".split())
_MOVES = [(where, dy, dx) for where, (dy, dx, _) in w.DIRECTIONS.items()]
_TRAP, _CREATURE = 30, 8  # what a detour may cost


def solvable(level: str) -> bool:
    """Whether the walker was made for this level."""
    return family(level) in FAMILIES


class Walker:
    """Says the next command; remembers where moves failed and where it has searched.

    Args:
        game: the game, before its first command.
    """

    def __init__(self, game: Game) -> None:
        self.game = game
        self.failed: dict[tuple[Cell, str], int] = {}
        self.searched: dict[Cell, int] = {}
        self.locked: set[Cell] = set()

    def notice(self, before: Cell, command: str) -> None:
        """After every command: what it tells about the level."""
        game = self.game
        verb, _, where = command.rpartition(" ")
        if command == "search":
            self.searched[before] = self.searched.get(before, 0) + 1
        elif where in w.DIRECTIONS:
            dy, dx, _ = w.DIRECTIONS[where]
            target = before[0] + dy, before[1] + dx
            if any("locked" in said for said in game.messages):
                self.locked.add(target)
            if verb == "go" and game.here == before and not game.over and target not in game.closed:
                self.failed[before, where] = self.failed.get((before, where), 0) + 1

    def next(self) -> str:
        """The next command.

        Raises:
            RuntimeError: it does not know what to do.
        """
        game, can = self.game, a.commands(self.game)
        goal = self._goals(can)
        found = self._path(goal)
        if found is None:
            found = self._path(self._unsearched(), beside=False) if "search" in can else None
            if found is None:
                raise RuntimeError(f"the oracle sees no way to the stairs of level {game.level!r} from here")
        if not found:
            return "search"
        command = found[0]
        if command.startswith("go ") and command not in can:
            where = command[3:]
            door = f"apply key {where}"
            return door if door in can else next(iter(can), "search")
        where = command.rpartition(" ")[2]
        dy, dx, _ = w.DIRECTIONS.get(where, (0, 0, ""))
        target = game.here[0] + dy, game.here[1] + dx
        if target in game.closed and (target in self.locked or f"apply key {where}" in can):
            for way in (f"apply key {where}", f"kick door {where}"):
                if way in can:
                    return way
        return command

    def _goals(self, can: dict[str, a.Keys]) -> Callable[[Cell], float | None]:
        """What it is worth walking to, as costs on top of the way; None for squares that are not."""
        game = self.game
        key = a.key_letter(game)
        wants_key = not key and a.APPLY in game.keys
        opens = bool(key) or a.KICK in game.keys or a.APPLY not in game.keys

        def cost(cell: Cell) -> float | None:
            if int(game.terrain[cell]) == w.STAIRS_DOWN:
                return 0.0
            if wants_key and game.items[cell] and (cell == game.here or "key" in game.name(cell)):
                return 0.0
            if cell in game.closed:
                locked = cell in self.locked
                return None if (locked and not opens) or (wants_key and a.SEARCH not in game.keys) else 40.0
            if cell not in game.visited and self._dark_beside(cell):
                return 20.0
            return None

        return cost

    def _dark_beside(self, cell: Cell) -> bool:
        y, x = cell
        known = self.game.terrain
        return any(
            self._inside(y + dy, x + dx) and x + dx > 0 and int(known[y + dy, x + dx]) < 0 for _, dy, dx in _MOVES
        )

    def _unsearched(self) -> Callable[[Cell], float | None]:
        """Squares that something hidden may be beside: dead ends first, those searched least first."""
        known = self.game.terrain

        def cost(cell: Cell) -> float | None:
            if cell in self.game.closed:
                return None
            y, x = cell
            open_sides = sum(self._walkable((y + dy, x + dx)) for _, dy, dx in _MOVES)
            corridor = int(known[cell]) in (w.CORRIDOR, w.LIT_CORRIDOR)
            if open_sides == 8 or not (corridor or self._solid_beside(cell)):
                return None
            return 12.0 * (self.searched.get(cell, 0) // 5) + (0.0 if corridor and open_sides == 1 else 15.0)

        return cost

    def _solid_beside(self, cell: Cell) -> bool:
        y, x = cell
        near = [(y + dy, x + dx) for _, dy, dx in _MOVES if self._inside(y + dy, x + dx)]
        return any(int(self.game.terrain[cell]) in w.WALLS for cell in near)

    def _inside(self, y: int, x: int) -> bool:
        return 0 <= y < ROWS and 0 <= x < COLUMNS

    def _walkable(self, cell: Cell) -> bool:
        if not self._inside(*cell):
            return False
        symbol = int(self.game.terrain[cell])
        seen = symbol >= 0 or cell in self.game.visited or self.game.items[cell] != 0 or self.game.symbol(cell) < 0
        return bool(seen) and symbol not in w.SOLID and symbol not in w.LIQUID and not self._boulder(cell)

    def _boulder(self, cell: Cell) -> bool:
        return bool(self.game.items[cell]) and "boulder" in self.game.name(cell)

    def _door(self, cell: Cell) -> bool:
        return cell in self.game.closed or int(self.game.terrain[cell]) in w.OPEN_DOORS

    def _path(self, goal: Callable[[Cell], float | None], beside: bool = True) -> list[str] | None:
        """The cheapest way to a goal as commands; empty if the hero stands there; None if there is none."""
        game, start = self.game, self.game.here
        key = a.key_letter(game)
        opens = bool(key) or a.KICK in game.keys
        best: dict[Cell, float] = {start: 0.0}
        via: dict[Cell, tuple[Cell, str]] = {}
        queue: list[tuple[float, int, Cell, bool]] = [(0.0, 0, start, False)]
        count = 0
        while queue:
            so_far, _, cell, end = heapq.heappop(queue)
            if end:
                return self._commands(start, cell, via)
            if so_far > best.get(cell, np.inf):
                continue
            extra = goal(cell)
            if extra is not None and not (cell == start and beside and not game.items[cell]):
                count += 1
                heapq.heappush(queue, (so_far + extra, count, cell, True))
            if cell in game.closed and cell != start:
                continue  # what lies behind a closed door is not known
            y, x = cell
            for where, dy, dx in _MOVES:
                to = y + dy, x + dx
                if not self._walkable(to) or self.failed.get((cell, where), 0) > 1:
                    continue
                if dy and dx and (self._door(cell) or self._door(to)):
                    continue
                if to in self.locked and to in game.closed and not opens:
                    continue
                symbol = game.symbol(to)
                price = 1.0 + (_TRAP if w.FIRST_TRAP <= int(game.terrain[to]) <= w.LAST_TRAP else 0)
                price += _CREATURE if symbol < 0 and not game.items[to] else 0.0
                price += 5.0 * self.failed.get((cell, where), 0) + (0.001 if dy and dx else 0.0)
                if so_far + price < best.get(to, np.inf):
                    best[to] = so_far + price
                    via[to] = cell, where
                    count += 1
                    heapq.heappush(queue, (so_far + price, count, to, False))
        return None

    def _commands(self, start: Cell, cell: Cell, via: dict[Cell, tuple[Cell, str]]) -> list[str]:
        if cell == start:
            wanted = self.game.items[cell] and not a.key_letter(self.game) and PICK_UP in self.game.keys
            return ["pick up"] if wanted else []
        out = []
        while cell != start:
            cell, where = via[cell]
            out.append(f"go {where}")
        return out[::-1]
