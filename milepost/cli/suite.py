"""Suites: agents x environments x stacks x seeds, read from TOML."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..wrappers.shaper import nearest
from .names import UserError, parse_shape

SUITE = {
    "name": "suite",
    "steps": 20_000,
    "eval_every": 2_000,
    "eval_episodes": 100,
    "seeds": 5,
    "timeout": 1_800,
    "target": 0.8,
}
TABLES = {
    "env": {"id", "name", "settings", "steps", "eval_every", "eval_episodes", "seeds", "requires"},
    "stack": {"name", "shape"},
    "agent": {"name", "title", "settings"},
}


@dataclass
class Suite:
    """A checked suite; ``runs`` are the specs of all its runs."""

    name: str
    target: float
    timeout: float
    runs: list[dict[str, Any]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def load_suite(path: str | Path, allow: tuple[str, ...] = (), quick: bool = False) -> Suite:
    """Reads and checks a suite.

    Args:
        path: of the TOML file.
        allow: modules that its names may import.
        quick: a tenth of the steps, two seeds, 20 evaluation episodes: a trial of the machinery, no evidence.

    Raises:
        UserError: what is wrong with it.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:  # pragma: no cover
        import tomli as tomllib
    try:
        data = tomllib.loads(Path(path).read_text())
    except FileNotFoundError:
        raise UserError(f"there is no suite {path}") from None
    except tomllib.TOMLDecodeError as e:
        raise UserError(f"{path} is no TOML: {e}") from e
    _known(f"{path}", data, {"suite", *TABLES})
    head = SUITE | data.get("suite", {})
    _known(f"[suite] of {path}", head, set(SUITE))
    for table, keys in TABLES.items():
        for row in data.get(table, []):
            _known(f"[[{table}]] of {path}", row, keys)
    if not data.get("env"):
        raise UserError(f"{path} has no [[env]]")
    suite = Suite(str(head["name"]), float(head["target"]), float(head["timeout"]))
    stacks = data.get("stack") or [{"name": "sparse", "shape": ""}]
    agents = data.get("agent") or [{"name": "text"}]
    for env in data["env"]:
        title = env.get("name", env["id"])
        if (need := env.get("requires")) and not installed(need):
            suite.left_out.append(f"{title}: {need} is not installed (pip install 'milepost[{need}]')")
            continue
        budget = {k: env.get(k, head[k]) for k in ("steps", "eval_every", "eval_episodes")}
        seeds = env.get("seeds", head["seeds"])
        seeds = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
        if quick:
            every = max(256, budget["steps"] // 50)
            budget, seeds = {"steps": 5 * every, "eval_every": every, "eval_episodes": 20}, seeds[:2]
        for seed in seeds:  # a suite that is stopped early has compared all arms
            for agent in agents:
                for stack in stacks:
                    suite.runs.append(
                        {
                            "env": {"id": env["id"], "name": title, "settings": env.get("settings", {})},
                            "stack": {
                                "name": stack["name"],
                                "shape": stack.get("shape", ""),
                                "layers": parse_shape(stack.get("shape", "")),
                            },
                            "agent": {
                                "name": agent["name"],
                                "title": agent.get("title", agent["name"]),
                                "settings": agent.get("settings", {}),
                            },
                            "seed": seed,
                            "allow_import": list(allow),
                        }
                        | budget
                    )
    return suite


def installed(package: str) -> bool:
    """Is an optional package there?"""
    from importlib.util import find_spec

    return find_spec(package) is not None


def _known(where: str, row: dict[str, Any], keys: set[str]) -> None:
    for key in row:
        if key not in keys:
            raise UserError(f"{where} has no key {key!r}{nearest(key, keys)} It has: {', '.join(sorted(keys))}")
