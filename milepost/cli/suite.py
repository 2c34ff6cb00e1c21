"""Suites: agents x environments x stacks x seeds, read from TOML and checked before anything runs."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..baselines.agent import AGENTS, plays_groups, refuse_numbers
from ..baselines.llm_agent import EndpointAgent
from ..wrappers.hosts import shape
from ..wrappers.shaper import allow_import, importable, nearest
from .games import EXTRA_KEYS, TRAINERS, check_game, check_trainer, is_game, parse_collect, same_game
from .names import UserError, installed, parse_shape
from .run import TORCH, held_out, make_env, new_agent, same_worlds

SUITE: dict[str, Any] = {
    "name": "suite",
    "steps": 20_000,
    "eval_every": 2_000,
    "eval_episodes": 100,
    "seeds": 5,
    "timeout": 1_800,
    "target": 0.8,
}
FORMS = "module:factory, *.zip, openai:MODEL@URL"
BUDGET = ("steps", "eval_every", "eval_episodes")
TABLES: dict[str, dict[str, Any]] = {  # the keys of a row and what they hold
    "env": dict.fromkeys(BUDGET, int)
    | {"id": str, "name": str, "settings": dict, "seeds": (int, list), "requires": str}
    | {"agents": list, "opponents": (str, dict), "cross": list},  # of games for several agents
    "stack": {"name": str, "shape": str, "collect": str, "envs": list},  # envs: names of those that it is for
    "agent": {"name": str, "title": str, "settings": dict, "envs": list},
}
KINDS: dict[type, str] = {int: "a whole number", str: "a text", dict: "a table", list: "a list"}
NEEDED = {"env": "id", "stack": "name", "agent": "name"}


@dataclass
class Suite:
    """A checked suite; ``runs`` are the specs of all its runs."""

    name: str
    target: float
    timeout: float
    runs: list[dict[str, Any]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # what a reader of the table must know


def load_suite(path: str | Path, allow: tuple[str, ...] = (), quick: bool = False) -> Suite:
    """Reads and checks a suite: whatever can be known to be wrong is said here, before the first run.

    Args:
        path: of the TOML file.
        allow: modules that its names may import.
        quick: a tenth of the steps, two seeds, 20 evaluation episodes: a trial of the machinery, no evidence.

    Raises:
        UserError: what is wrong with it.
    """
    allow_import(*allow)
    data = _read(path)
    head = SUITE | data["suite"]
    where = f"[suite] of {path}"
    for key, low in (("timeout", 0), ("target", 0)):
        if isinstance(head[key], bool) or not isinstance(head[key], (int, float)) or head[key] <= low:
            raise UserError(f"{where}: {key!r} is {head[key]!r}, allowed is a number above {low}")
    suite = Suite(_file_name(where, head["name"]), float(head["target"]), float(head["timeout"]))
    stacks = [
        {"name": s["name"], "shape": s.get("shape", ""), "layers": _layers(f"[[stack]] of {path}", s)}
        | ({"collect": parse_collect(s["collect"])} if s.get("collect") else {})
        for s in data["stack"] or [{"name": "sparse"}]
    ]
    agents = [
        {"name": a["name"], "title": a.get("title", a["name"]), "settings": a.get("settings", {})}
        for a in data["agent"] or [{"name": "text"}]
    ]
    envs = [
        {"id": e["id"], "name": e.get("name", e["id"]), "settings": e.get("settings", {})}
        | {k: e[k] for k in EXTRA_KEYS if k in e}
        for e in data["env"]
    ]
    for what, names in (
        ("environments", [e["name"] for e in envs]),
        ("agents", [a["title"] for a in agents]),
        ("stacks", [s["name"] for s in stacks]),
    ):
        if twice := next((n for i, n in enumerate(names) if n in names[:i]), None):
            key = {"environments": "name", "agents": "title", "stacks": "name"}[what]
            raise UserError(f"two {what} of {path} are called {twice!r}: give one of them another {key!r}")
    for_env = [_meant(path, data[what], envs, what) for what in ("stack", "agent")]
    for row, env in zip(data["env"], envs):
        mine, who = ([r for r, e in zip(rows, f) if env["name"] in e] for rows, f in zip((stacks, agents), for_env))
        if (need := row.get("requires")) and not installed(need):
            suite.left_out.append(f"{env['name']}: {need} is not installed (pip install 'milepost[{need}]')")
            continue
        budget, seeds = _budget(f"[[env]] {env['name']!r} of {path}", head | row)
        if quick:
            every = max(256, budget["steps"] // 50)
            budget, seeds = {"steps": 5 * every, "eval_every": every, "eval_episodes": 20}, seeds[:2]
        _check_env(env, mine, all(plays_groups(a["name"], a["settings"]) for a in who))
        if same := (same_game(env["id"]) if is_game(env["id"]) else same_worlds(env["id"], env["settings"])):
            suite.notes.append(f"{env['name']}: {same}")
        for seed in seeds:  # a suite that is stopped early has compared all arms
            for agent in who:
                for stack in mine:
                    parts = {"env": env, "stack": stack, "agent": agent, "seed": seed, "allow_import": list(allow)}
                    suite.runs.append(parts | budget)
    for agent in agents:
        played = {r["env"]["name"]: r["env"] for r in suite.runs if r["agent"] == agent}
        _check_agent(agent, list(played.values()))
    return suite


def _meant(path: str | Path, rows: list[dict[str, Any]], envs: list[dict[str, Any]], table: str) -> list[list[str]]:
    """Of each row the names of the environments that it is for: its ``envs``, or all."""
    names = [e["name"] for e in envs]
    for row in rows:
        for name in row.get("envs", []):
            if name not in names:
                known = f"{nearest(str(name), names)} It has: {', '.join(names)}"
                raise UserError(f"[[{table}]] of {path}, {row['name']!r}: no environment is called {name!r}{known}")
    return [r.get("envs", names) for r in rows or [{}]]


def _read(path: str | Path) -> dict[str, Any]:
    """The tables of the file with only known keys of the right types."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:  # pragma: no cover
        import tomli as tomllib
    try:
        data = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"there is no suite {path}") from None
    except OSError as e:
        raise UserError(f"{path} cannot be read: {e.strerror}") from e
    except ValueError as e:  # TOMLDecodeError, or bytes that are no UTF-8
        raise UserError(f"{path} is no TOML: {e}") from e
    _known(str(path), data, ["suite", *TABLES])
    head = data.setdefault("suite", {})
    if not isinstance(head, dict):
        raise UserError(f"'suite' of {path} is a table: write [suite]")
    _known(f"[suite] of {path}", head, SUITE)
    for table, keys in TABLES.items():
        rows = data.setdefault(table, [])
        if not isinstance(rows, list) or not all(isinstance(r, dict) for r in rows):
            raise UserError(f"{table!r} of {path} is a list of tables: write [[{table}]]")
        for row in rows:
            where = f"[[{table}]] of {path}"
            _known(where, row, keys)
            if NEEDED[table] not in row:
                raise UserError(f"{where} has no {NEEDED[table]!r}")
            for key, value in row.items():
                if not isinstance(value, keys[key]) or isinstance(value, bool):
                    kinds = keys[key] if isinstance(keys[key], tuple) else (keys[key],)
                    said = " or ".join(KINDS[k] for k in kinds)
                    raise UserError(f"{where}: {key!r} is {value!r}, allowed is {said}")
                if key == "settings":
                    _plain(where, value)
    if not data["env"]:
        raise UserError(f"{path} has no [[env]]")
    return data


def _plain(where: str, settings: dict[str, Any]) -> None:
    try:
        json.dumps(settings)
    except TypeError as e:  # TOML has dates, specs have not
        raise UserError(f"{where}: settings are texts, numbers, booleans, lists and tables: {e}") from e


def _known(where: str, row: dict[str, Any], keys: Any) -> None:
    for key in row:
        if key not in keys:
            raise UserError(f"{where} has no key {key!r}{nearest(key, keys)} It has: {', '.join(sorted(keys))}")


def _file_name(where: str, name: Any) -> str:
    """It names the folder of the results."""
    if not isinstance(name, str) or not name.strip() or "/" in name or name.startswith("."):
        raise UserError(f"{where}: 'name' is {name!r}, allowed is a text without '/' that does not begin with '.'")
    return name


def _budget(where: str, row: dict[str, Any]) -> tuple[dict[str, int], list[int]]:
    """Steps, evaluations and seeds that make sense together."""
    for key in BUDGET:
        value = row[key]
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise UserError(f"{where}: {key!r} is {value!r}, allowed is a whole number from 1")
    if row["eval_every"] > row["steps"]:
        raise UserError(f"{where}: 'eval_every' is {row['eval_every']}, allowed is 1 to 'steps' ({row['steps']})")
    given = row["seeds"]
    number = isinstance(given, int) and not isinstance(given, bool)
    seeds: list[Any] = list(range(given)) if number else given if isinstance(given, list) else []
    whole = all(isinstance(s, int) and not isinstance(s, bool) and s >= 0 for s in seeds)
    if not whole or not seeds or len(set(seeds)) < len(seeds):
        said = "a whole number from 1, or a list of different whole numbers from 0"
        raise UserError(f"{where}: 'seeds' is {row['seeds']!r}, allowed is {said}")
    return {k: row[k] for k in BUDGET}, seeds


def _layers(where: str, stack: dict[str, Any]) -> list[dict[str, Any]]:
    try:
        return parse_shape(stack.get("shape", ""))
    except UserError as e:
        raise UserError(f"{where}, {stack['name']!r}: {e}") from e


def _check_env(env: dict[str, Any], stacks: list[dict[str, Any]], groups: bool) -> None:
    """Makes it once with every stack: ids, settings, and layers that cannot stand where they stand.

    Args:
        env: the row.
        stacks: those that are for it.
        groups: all agents that are for it play groups of episodes.
    """
    if is_game(env["id"]):
        return check_game(env, stacks)
    if key := next((k for k in EXTRA_KEYS if k in env), None):
        raise UserError(f"{env['name']}: {key!r} is for games of several agents, and this is for one")
    if collects := [s["name"] for s in stacks if "collect" in s]:
        raise UserError(f"stack {collects[0]!r} on {env['name']}: 'collect' is for games of several agents")
    held_out(env["id"], env["settings"]).close()
    for stack in stacks:
        made = make_env(env["id"], env["settings"])
        try:
            shape(made, stack["layers"], groups=groups).close()
        except (ValueError, TypeError) as e:
            raise UserError(f"stack {stack['name']!r} on {env['name']}: {e}") from e


def _check_agent(agent: dict[str, Any], envs: list[dict[str, Any]]) -> None:
    """Is it there, and can it read what it is shown?

    A stranger's module is not imported for this: if it breaks, it loses its rows, not the suite.
    """
    name, settings = agent["name"], agent["settings"]
    if played := [e for e in envs if is_game(e["id"])]:
        check_trainer(agent, played)
        envs = [e for e in envs if not is_game(e["id"])]
    if (name in TRAINERS or name.startswith("script:")) and envs:
        raise UserError(f"agent {agent['title']!r} plays games of several agents, and {envs[0]['name']} is for one")
    if played and not envs and (name in TRAINERS or name == "random" or name.startswith("script:")):
        return
    if name in AGENTS:
        extra = ("torch" if name == "text" else "sb3") if name in TORCH else None
        if extra and not installed(extra):
            raise UserError(f"agent {name!r} is not installed: pip install 'milepost[{extra}]'")
        for env in envs if name == "text" else ():
            made = make_env(env["id"], env["settings"])
            try:
                refuse_numbers(made)
            except ValueError as e:
                raise UserError(f"agent {agent['title']!r} on {env['name']}: {e}") from e
            finally:
                made.close()
        if settings and envs:  # costs an import of torch, so only where something can be wrong
            made = make_env(envs[0]["id"], envs[0]["settings"])
            new_agent(name, made, 0, settings)
            made.close()
    elif name.startswith("openai:"):
        try:
            EndpointAgent.named(name, **settings)  # sends nothing
        except ValueError as e:
            raise UserError(f"agent {agent['title']!r}: {e}") from e
    elif name.endswith(".zip") or (played and name.endswith(".pt")):
        if not Path(name).is_file():
            raise UserError(f"agent {agent['title']!r}: there is no file {name}")
    elif ":" in name:
        _check_factory(name)
    else:
        raise UserError(f"no agent is called {name!r}{nearest(name, AGENTS)} Known: {', '.join(AGENTS)}, {FORMS}")


def _check_factory(name: str) -> None:
    """``module:factory``: allowed, and there. It is not imported, so a wrong name in it loses only its rows.

    Raises:
        UserError: it is not.
    """
    module, _, _ = name.partition(":")
    root = module.partition(".")[0]
    if not importable(module):
        raise UserError(
            f"agent {name!r} would import {root!r}, which is not allowed from a suite: --allow-import {root}"
        )
    try:
        found = find_spec(module)  # of a.b it imports a, which is allowed
    except ModuleNotFoundError:
        found = None
    except Exception:
        return  # a broken package: its rows will say
    if found is None:
        raise UserError(f"agent {name!r}: no module is called {module!r} beside the suite or among what is installed")
