"""TextWorld games: settings of the challenges, generation in a child process, and the cache of compiled games."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import InfraError, one_of

_VERSION = 1  # part of every file name in the cache; changes when the same settings give other games
_PATIENCE = 600.0  # seconds for one game


class Setting(NamedTuple):
    """Default and allowed values of one setting: a range of whole numbers, or a tuple of values."""

    default: Any
    allowed: range | tuple[Any, ...]


_FLAG = (False, True)
CHALLENGES: dict[str, dict[str, Setting]] = {
    "simple": {
        "rewards": Setting("dense", ("dense", "balanced", "sparse")),
        "goal": Setting("detailed", ("detailed", "brief", "none")),
    },
    "coin_collector": {"level": Setting(5, range(1, 301))},
    "treasure_hunter": {"level": Setting(5, range(1, 31))},
    "cooking": {
        "recipe": Setting(2, range(1, 6)),
        "take": Setting(1, range(0, 6)),
        "go": Setting(1, (1, 6, 9, 12)),
        "open": Setting(True, _FLAG),
        "cook": Setting(False, _FLAG),
        "cut": Setting(False, _FLAG),
        "drop": Setting(False, _FLAG),
    },
    "custom": {
        "rooms": Setting(3, range(1, 51)),
        "objects": Setting(6, range(1, 101)),
        "quest_length": Setting(4, range(1, 31)),
    },
}


def check(challenge: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """All settings of a challenge, defaults filled in.

    Raises:
        ValueError: an unknown challenge or setting, or a value that is not allowed; names it and what is.
    """
    if not isinstance(challenge, str) or challenge not in CHALLENGES:
        raise one_of("challenge", challenge, CHALLENGES)
    known = CHALLENGES[challenge]
    for name, value in settings.items():
        if name not in known:
            raise one_of(f"a setting of challenge {challenge!r}", name, known)
        allowed = known[name].allowed
        same = [a for a in (() if isinstance(allowed, range) else allowed) if type(a) is type(value) and a == value]
        if isinstance(allowed, range) and (type(value) is not int or value not in allowed):
            raise ValueError(f"{name} is {value!r}; allowed: whole numbers from {allowed[0]} to {allowed[-1]}")
        if not isinstance(allowed, range) and not same:
            raise one_of(name, value, allowed)
    full = {name: settings.get(name, s.default) for name, s in known.items()}
    if challenge == "cooking" and full["take"] > full["recipe"]:
        raise ValueError(f"take is {full['take']}; allowed: at most recipe, which is {full['recipe']}")
    if challenge == "coin_collector" and full["level"] > 100 and ((full["level"] - 1) % 100 + 1) * 2 > 100:
        raise ValueError(
            f"level is {full['level']}; allowed: levels of at most 100 rooms, such as 1 to 100 or 101 to 150"
        )
    return full


def existing_cache(cache: Any) -> str | None:
    """``cache`` if games can lie there: a folder, or the path of one to be made.

    Raises:
        ValueError: it is no path, or a file stands there.
    """
    if cache is None:
        return None
    if not isinstance(cache, (str, os.PathLike)) or not os.fspath(cache):
        raise ValueError(f"cache is {cache!r}; allowed: None or the path of a folder")
    folder = Path(cache).absolute()
    if file := next((str(p) for p in (folder, *folder.parents) if p.is_file()), None):
        raise ValueError(f"cache is {str(cache)!r}; allowed: the path of a folder, and {file!r} is a file")
    return str(cache)


def cache_folder(cache: str | None) -> Path:
    """Where games lie: ``cache``, else ``milepost/textworld`` in the user's cache folder."""
    if cache is not None:
        return Path(cache)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "milepost" / "textworld"


def game_file(challenge: str, settings: Mapping[str, Any], task: int, cache: str | None = None) -> str:
    """Path of the ``.z8`` of this game, generated (1 to 30 s) if it is not in the cache.

    Raises:
        ValueError: a setting is not allowed, or no such game can be generated.
        ImportError: textworld is not installed.
        InfraError: the generator broke or took more than ten minutes.
    """
    full = check(challenge, settings)
    path = _path(challenge, full, task, cache)
    if not path.is_file():
        _generate(challenge, full, task, cache)
    return str(path)


def prepare(
    challenge: str,
    settings: Mapping[str, Any],
    tasks: Iterable[int],
    cache: str | None = None,
    processes: int = 2,
    progress: bool = True,
) -> list[str]:
    """Generates the games of ``tasks`` that are not in the cache, several at a time; returns all their paths.

    Raises:
        ValueError, ImportError, InfraError: as ``game_file``.
    """
    full, tasks = check(challenge, settings), list(tasks)
    paths = [_path(challenge, full, task, cache) for task in tasks]
    missing = [task for task, path in zip(tasks, paths) if not path.is_file()]
    done = 0

    def one(task: int) -> None:
        nonlocal done
        _generate(challenge, full, task, cache)
        done += 1
        if progress:
            print(f"\rTextWorld {challenge}: {done} of {len(missing)} games made", end="", file=sys.stderr, flush=True)

    with ThreadPoolExecutor(max(1, processes)) as pool:
        list(pool.map(one, missing))
    if progress and missing:
        print(file=sys.stderr)
    return [str(path) for path in paths]


def existing_game(game: Any) -> str:
    """The path ``game`` if it is a game with its description beside it.

    Raises:
        ValueError: no ``.z8`` file, or no TextWorld ``.json`` beside it.
    """
    path = os.fspath(game) if isinstance(game, (str, os.PathLike)) else game
    if not isinstance(path, str) or not path.endswith(".z8"):
        raise ValueError(f"game is {path!r}; allowed: the path of a .z8 file made by TextWorld")
    if not os.path.isfile(path):
        raise ValueError(f"game is {path!r}; there is no such file")
    facts = path[: -len(".z8")] + ".json"
    if not os.path.isfile(facts):
        raise ValueError(f"game is {path!r}; its description {os.path.basename(facts)!r} must lie beside it")
    try:
        with open(facts, encoding="utf-8") as file:
            found = json.load(file)
        ok = isinstance(found, dict) and {"version", "world", "quests", "KB"} <= set(found)
    except ValueError:
        ok = False
    with open(path, "rb") as file:
        ok = ok and file.read(1) == b"\x08"
    if not ok:
        raise ValueError(f"game is {path!r}; the two files are no game of TextWorld (.z8 for Z-machine 8, .json of it)")
    return path


def need_textworld() -> None:
    """Raises:
    ImportError: textworld is not installed.
    """
    if importlib.util.find_spec("textworld") is None:
        raise ImportError("this environment needs TextWorld: pip install 'milepost[textworld]'")


def _path(challenge: str, settings: Mapping[str, Any], task: int, cache: str | None) -> Path:
    text = json.dumps([_VERSION, challenge, dict(settings)], sort_keys=True)
    return cache_folder(cache) / f"{challenge}-{hashlib.sha256(text.encode()).hexdigest()[:12]}-{task}.z8"


def _generate(challenge: str, settings: dict[str, Any], task: int, cache: str | None) -> None:
    """In a child process: what the generator draws depends on the order of sets, so PYTHONHASHSEED must be fixed."""
    need_textworld()
    folder = cache_folder(cache).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"PYTHONHASHSEED": "0", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    with tempfile.TemporaryDirectory(dir=folder, prefix=".making-") as scratch:
        made = Path(scratch, "game.z8")
        job = json.dumps({"challenge": challenge, "settings": settings, "task": task, "path": str(made)})
        command = [sys.executable, "-m", __name__, job]
        try:
            run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_PATIENCE)
        except subprocess.TimeoutExpired as e:
            raise InfraError(f"TextWorld made no {challenge} game {task} within {_PATIENCE:.0f} s") from e
        if run.returncode == _IMPOSSIBLE:
            raise ValueError(f"no {challenge} game can be made with {settings}: {run.stderr.strip().splitlines()[-1]}")
        if run.returncode:
            raise InfraError(f"TextWorld's generator broke at {challenge} game {task}: {run.stderr.strip()[-500:]}")
        target = _path(challenge, settings, task, cache)
        # the description first: a .z8 in the cache is complete, and of two processes either may win
        for suffix in (".json", ".z8"):
            os.replace(made.with_suffix(suffix), target.with_suffix(suffix))


_IMPOSSIBLE = 3
_TRIES = 10


def _make(challenge: str, settings: dict[str, Any], task: int, path: str) -> None:
    """The generator itself; only the child calls it. Settings for which a draw fails get another one, up to ten."""
    import numpy as np
    import textworld
    from textworld.challenges import CHALLENGES as MAKERS
    from textworld.generator import QuestGenerationError, compile_game, make_game

    for attempt in range(_TRIES):
        options = textworld.GameOptions()
        draws = np.random.default_rng([task, attempt]).integers(0, 65_635, 4)
        options.seeds = dict(zip(("map", "objects", "quest", "grammar"), map(int, draws)))
        options.path, options.file_ext, options.force_recompile = path, ".z8", True
        textworld.g_rng.set_seed(task % 2**31)
        try:
            if challenge == "custom":
                options.nb_rooms, options.nb_objects = settings["rooms"], settings["objects"]
                options.quest_length = settings["quest_length"]
                game = make_game(options)
            else:
                extra: dict[str, dict[str, Any]] = {
                    "cooking": {"recipe_seed": 0, "split": None},
                    "simple": {"test": task >= 2**30},
                }
                _, maker, _ = MAKERS[f"tw-{challenge}"]
                game = maker({**settings, **extra.get(challenge, {})}, options)
            compile_game(game, options)
            return
        except (QuestGenerationError, AssertionError, AttributeError, IndexError, ValueError) as e:
            error = f"{type(e).__name__}: {' '.join(str(e).split())[:200]}"
    print(error, file=sys.stderr)
    raise SystemExit(_IMPOSSIBLE)


if __name__ == "__main__":
    _job = json.loads(sys.argv[1])
    _make(_job["challenge"], _job["settings"], _job["task"], _job["path"])
