"""One run: an agent on an environment under a stack with a seed, evaluated at fixed steps."""

from __future__ import annotations

import json
import os
import platform
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from .. import __version__
from ..baselines.agent import make_agent
from ..baselines.evaluate import evaluate
from ..envs.registry import entries
from ..wrappers.hosts import shape
from ..wrappers.shaper import allow_import
from .names import UserError, unknown


def make_env(env_id: str, settings: dict[str, Any], **more: Any) -> gym.Env[Any, Any]:
    """``gym.make`` with errors that are one sentence.

    Raises:
        UserError: an unknown id or setting.
    """
    known = [*gym.registry]
    if env_id not in known and ":" not in env_id:
        mine = [k for k in known if k.startswith("milepost/")]
        raise unknown("environment", env_id, mine + known)
    try:
        return gym.make(env_id, **(settings | more), disable_env_checker=True)
    except TypeError as e:
        raise UserError(f"{env_id}: {e}") from e
    except (ValueError, ImportError, FileNotFoundError) as e:
        raise UserError(f"{env_id}: {e}") from e


def held_out(env_id: str, settings: dict[str, Any]) -> gym.Env[Any, Any]:
    """The environment for evaluation: no shaping; the test split, where there is one."""
    row = next((e for e in entries() if e.id == env_id), None)
    if row is None:
        return make_env(env_id, settings)
    if any(w.name == "ShapedEnv" for w in row.wrappers):
        plain = next(
            e for e in entries() if e.entry_point == row.entry_point and e.kwargs == row.kwargs and not e.wrappers
        )
        env_id = plain.id
    return make_env(env_id, settings, split="test")


def versions() -> dict[str, str]:
    """What made a result."""
    from importlib import metadata

    out = {"milepost": __version__, "python": platform.python_version()}
    for name in ("gymnasium", "numpy", "torch", "stable-baselines3", "sb3-contrib", "textworld"):
        try:
            out[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return out


def run(
    spec: dict[str, Any],
    report: Callable[[dict[str, Any]], None] = lambda point: None,
    agent: Any = None,
    save: Callable[[Any], None] = lambda agent: None,
) -> dict[str, Any]:
    """Trains and evaluates.

    Args:
        spec: ``env`` {id, settings}, ``stack`` {layers}, ``agent`` {name, settings}, ``seed``, ``steps``, ``eval_every``,
            ``eval_episodes``, ``allow_import``.
        report: called with each point of the curve.
        agent: to go on with; None makes one.
        save: called with the agent after each evaluation.

    Returns:
        The spec with ``versions``, ``seconds`` and ``curve``: at each evaluation steps, success, env_return, length, invalid.
    """
    allow_import(*spec.get("allow_import", ()))
    start, seed = time.perf_counter(), spec["seed"]
    test = held_out(spec["env"]["id"], spec["env"]["settings"])
    env = make_env(spec["env"]["id"], spec["env"]["settings"])
    if spec["stack"]["layers"]:
        env = shape(env, spec["stack"]["layers"], seed=seed)
    if agent is None:
        agent = make_agent(spec["agent"]["name"], env, seed, **spec["agent"]["settings"])
    learns = hasattr(agent, "learn")
    if not learns:  # it may hold on to the environment that it was made for
        agent = make_agent(spec["agent"]["name"], test, seed, **spec["agent"]["settings"])
    curve: list[dict[str, float]] = []
    done = int(getattr(agent, "steps", 0))
    goals = range(0, spec["steps"] + 1, spec["eval_every"]) if learns else [0]
    metrics: dict[str, float] = {}
    for goal in goals:
        if goal < done:
            continue
        if goal > done:
            history = agent.learn(env, goal - done)
            metrics = history[-1] if history else metrics
            done = int(getattr(agent, "steps", goal))
        got = evaluate(agent, test, spec["eval_episodes"], seed=10_000 + seed)
        point = {"steps": float(goal)} | got.as_dict() | {"seconds": time.perf_counter() - start}
        curve.append(point)
        report(point | {f"train/{k}": v for k, v in metrics.items()})
        if learns:
            save(agent)
    env.close()
    test.close()
    return spec | {
        "status": "ok",
        "versions": versions(),
        "seconds": time.perf_counter() - start,
        "steps_taken": done,
        "curve": curve,
        "train": {k: v for k, v in metrics.items() if np.isfinite(v)},
    }


def write_json(path: Path, data: Any) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(data, indent=1) + "\n")
    os.replace(part, path)


def worker(spec_file: str, out_file: str) -> int:
    """What a bench process does: one run, its result (or its failure) in one file."""
    _die_with_parent()
    spec = json.loads(Path(spec_file).read_text())
    try:
        if spec["agent"]["name"] in ("text", "ppo", "maskable_ppo", "recurrent_ppo", "dqn"):
            import torch

            torch.set_num_threads(1)
        result = run(spec)
    except Exception as e:
        error = f"{type(e).__name__}: {e}"
        result = spec | {"status": "failed", "error": error, "trace": traceback.format_exc(), "versions": versions()}
    write_json(Path(out_file), result)
    return 0


def _die_with_parent() -> None:
    """A killed bench leaves no worker behind (Linux)."""
    try:
        import ctypes
        import signal

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    except (AttributeError, OSError):
        return
