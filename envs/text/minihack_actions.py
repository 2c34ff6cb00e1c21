"""Commands in words: which can be given now, and the keys that carry one out."""

from __future__ import annotations

from . import minihack_words as w
from .minihack_game import ESC, PICK_UP, Game

# keys of NetHack's commands, as MiniHack's action sets hold them
APPLY, EAT, KICK, OPEN, PRAY, PUT_ON, QUAFF = (ord("a"), ord("e"), 4, ord("o"), 240, ord("P"), ord("q"))
READ, SEARCH, WEAR, WIELD, ZAP = (ord("r"), ord("s"), ord("W"), ord("w"), ord("z"))

WEAPON, ARMOR, RING, AMULET, TOOL, FOOD, POTION, SCROLL, BOOK, WAND = range(2, 12)
ROCK = 14
# words in front of the name of a carried thing: key, classes of objects that NetHack takes for it
USES: dict[str, tuple[int, tuple[int, ...]]] = {
    "eat": (EAT, (FOOD,)),
    "wield": (WIELD, (WEAPON,)),
    "wear": (WEAR, (ARMOR,)),
    "put on": (PUT_ON, (RING, AMULET)),
    "quaff": (QUAFF, (POTION,)),
    "read": (READ, (SCROLL, BOOK)),
}
_WORN = ("being worn", "on left hand", "on right hand", "weapon in hand", "wielded in")
_PATIENCE = 20  # pulls at a door that sticks
Keys = tuple[int, str, str]  # the command's key, letter of a thing, direction


def key_letter(game: Game) -> str:
    """The letter of a carried key, as MiniHack looks for one: anything with "key" in its name. Empty if there is none."""
    return next((letter for letter, name, _ in game.inventory if "key" in name), "")


def commands(game: Game) -> dict[str, Keys]:
    """What can be done now, each with its keys: the commands of the level's action set that have an object here."""
    if game.over:
        return {}
    out: dict[str, Keys] = {}
    y, x = game.here
    blind = bool(int(game.blstats[25]) & w.BLIND)
    doors = []
    for where, (dy, dx, key) in w.DIRECTIONS.items():
        symbol = game.symbol((y + dy, x + dx))
        door = symbol in w.CLOSED_DOORS
        if door and where in w.STRAIGHT:
            doors.append(where)
        wall = symbol in w.SOLID or (symbol == w.STONE and not blind)
        through = (dy != 0 and dx != 0) and (door or symbol in w.OPEN_DOORS or int(game.terrain[y, x]) in w.OPEN_DOORS)
        if ord(key) in game.keys and not wall and not through:
            out[f"go {where}"] = (ord(key), "", "")
    if PICK_UP in game.keys and game.items[y, x]:
        out["pick up"] = (PICK_UP, "", "")
    if SEARCH in game.keys:
        out["search"] = (SEARCH, "", "")
    for where in doors:
        if APPLY in game.keys and (letter := key_letter(game)):
            out[f"apply key {where}"] = (APPLY, letter, where)
        if OPEN in game.keys:
            out[f"open door {where}"] = (OPEN, "", where)
        if KICK in game.keys:
            out[f"kick door {where}"] = (KICK, "", where)
    if PRAY in game.keys:
        out["pray"] = (PRAY, "", "")
    if QUAFF in game.keys and int(game.terrain[y, x]) in (30, 31):
        out["drink from here"] = (QUAFF, "here", "")
    if EAT in game.keys and game.items[y, x]:
        out["eat what lies here"] = (EAT, "here", "")
    for letter, name, kind in game.inventory:
        _uses(game, out, letter, name, kind)
    return out


def _uses(game: Game, out: dict[str, Keys], letter: str, name: str, kind: int) -> None:
    """What can be done with a carried thing; of two with one name, the first."""
    called = w.short(name)
    for verb, (key, kinds) in USES.items():
        if key in game.keys and kind in kinds and not any(worn in name for worn in _WORN):
            out.setdefault(f"{verb} {called}", (key, letter, ""))
    horn = "horn" in called
    if kind == TOOL and APPLY in game.keys and not game.key_only and "key" not in name and not horn:
        out.setdefault(f"apply {called}", (APPLY, letter, ""))
    if kind == WAND and ZAP in game.keys:
        for where in w.DIRECTIONS:
            out.setdefault(f"zap {called} {where}", (ZAP, letter, where))
    if kind == TOOL and horn and APPLY in game.keys and not game.key_only:
        for where in w.DIRECTIONS:
            out.setdefault(f"apply {called} {where}", (APPLY, letter, where))


def perform(game: Game, keys: Keys) -> None:
    """Carries a command out and leaves NetHack waiting for the next one.

    Raises:
        InfraError: NetHack broke down, or goes on asking.
    """
    key, letter, where = keys
    game.messages = []
    game.taking = key == PICK_UP or any(ord(k) == key for _, _, k in w.DIRECTIONS.values())
    _ask(game, key, letter, where)
    if key == APPLY and where and letter == key_letter(game):
        _pull(game, where)
    game.see()


def _ask(game: Game, key: int, letter: str, where: str) -> None:
    game.press(key)
    for _ in range(20):
        if not game.asking:
            return
        game.press(_answer(game.question, key, letter, where))
    for _ in range(5):
        if game.asking:
            game.press(ESC)


def _answer(question: str, key: int, letter: str, where: str) -> int:
    if "What do you want to" in question:
        return ord(letter) if len(letter) == 1 else ESC
    if "direction?" in question:
        return ord(w.DIRECTIONS[where][2]) if where else ESC
    if "nlock it?" in question or "pray?" in question or "ontinue" in question or "hand?" in question:
        return ord("y")
    if "Improvise?" in question:  # "n" asks for a tune, and only an improvised horn asks for a direction
        return ord("y")
    if "ring-finger" in question:
        return ord("r")
    if "Lock it?" in question:
        return ord("n")
    if (" here; eat " in question and key == EAT) or ("rink from" in question and key == QUAFF):
        return ord("y" if letter == "here" else "n")
    return ESC


def _pull(game: Game, where: str) -> None:
    """After the key has turned, opens the door, as MiniHack's own command does; a locked one stays."""
    dy, dx, key = w.DIRECTIONS[where]
    for _ in range(_PATIENCE):
        y, x = int(game.blstats[1]), int(game.blstats[0])
        if game.over or (y, x) != game.here or game.symbol((y + dy, x + dx)) not in w.CLOSED_DOORS:
            return
        before = len(game.messages)
        _ask(game, ord(key), "", "")
        if any("locked" in said for said in game.messages[before:]):
            return
