"""One run: an agent on an environment under a stack with a seed, evaluated at fixed steps."""

from __future__ import annotations

import json
import os
import platform
import signal
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from .. import __version__
from ..baselines.agent import make_agent, plays_groups
from ..baselines.evaluate import Evaluation, evaluate
from ..envs.registry import entries, games
from ..wrappers.hosts import shape
from ..wrappers.hosts.env import ShapedEnv
from ..wrappers.shaper import allow_import, use
from .games import TRAINERS, is_game, run_game
from .names import EXTRAS, UserError, unknown

# where it is set, task files may start their commands; bench's workers inherit it, while no file can say it for itself
ALLOW_COMMAND = "MILEPOST_ALLOW_COMMAND"
TORCH = ("text", "ppo", "maskable_ppo", "recurrent_ppo", "dqn")


def make_env(env_id: str, settings: dict[str, Any], **more: Any) -> gym.Env[Any, Any]:
    """``gym.make`` with errors that are one sentence.

    Raises:
        UserError: an unknown id or setting, or one that gives a permission which the command line did not.
    """
    allowed = bool(os.environ.get(ALLOW_COMMAND))
    if settings.get("allow_command") and not allowed:
        raise UserError(
            f"{env_id}: allow_command is no setting here; --allow-command lets a task file start its command"
        )
    module, sep, name = env_id.rpartition(":")
    if sep:  # gym.make would import whatever stands there
        try:
            use(f"{module}:__name__")
        except (ImportError, ValueError) as e:
            raise UserError(str(e).replace(":__name__", f":{name}")) from e
    if name not in gym.registry:
        mine = [*(k for k in gym.registry if k.startswith("milepost/")), *(g.id for g in games())]
        raise unknown("environment", name, [*mine, *gym.registry])
    if allowed and str(gym.registry[name].entry_point).endswith(":MCPEnv"):
        more["allow_command"] = True
    try:
        return gym.make(name, **(settings | more), disable_env_checker=True)
    except ModuleNotFoundError as e:
        raise UserError(f"{env_id}: {e}{_extra(e)}") from e
    except (TypeError, ValueError, ImportError, OSError, gym.error.Error) as e:
        raise UserError(f"{env_id}: {e}") from e


def _extra(e: ModuleNotFoundError) -> str:
    """Which extra brings a module that is not there."""
    name = next((x for x, (packages, _) in EXTRAS.items() if (e.name or "").partition(".")[0] in packages), None)
    return f" (pip install 'milepost[{name}]')" if name else ""


def new_agent(name: str, env: gym.Env[Any, Any], seed: int, settings: dict[str, Any]) -> Any:
    """``make_agent`` with errors that are one sentence.

    Raises:
        UserError: an unknown agent or setting, or a package that is not there.
    """
    if "seed" in settings:
        raise UserError(f"agent {name} has no setting 'seed': it follows from the run's own")
    try:
        return make_agent(name, env, seed, **settings)
    except ModuleNotFoundError as e:
        raise UserError(f"agent {name}: {e}{_extra(e)}") from e
    except TypeError as e:
        if "argument" not in str(e):  # not about what it was called with: a fault inside, worth a traceback
            raise
        raise UserError(f"agent {name}: {e}") from e
    except (ValueError, ImportError, OSError) as e:
        raise UserError(f"agent {name}: {e}") from e


def held_out(env_id: str, settings: dict[str, Any]) -> gym.Env[Any, Any]:
    """The environment for evaluation: no shaping; the test split, where there is one.

    Raises:
        UserError: the settings say ``split``, so that one might train on what is called held out.
    """
    row = next((e for e in entries() if e.id == env_id.rpartition(":")[2]), None)
    if row is None:
        return make_env(env_id, settings)
    if "split" in settings:
        raise UserError(
            f"{env_id}: split is {settings['split']!r}; allowed: no split here, for training is on 'train' and the score "
            "on 'test', which is held out"
        )
    if any(w.name == "ShapedEnv" for w in row.wrappers):
        face = tuple(w for w in row.wrappers if w.name != "ShapedEnv")
        same = (e for e in entries() if (e.entry_point, e.kwargs, e.wrappers) == (row.entry_point, row.kwargs, face))
        env_id = next(same).id
    return make_env(env_id, settings, split="test")


def same_worlds(env_id: str, settings: dict[str, Any]) -> str:
    """What to say where nothing is held out: both splits are the same task, as with a game file. Empty where not."""
    if env_id.rpartition(":")[2] not in {e.id for e in entries()}:
        return ""
    envs = (make_env(env_id, settings), held_out(env_id, settings))
    train, test = (e.unwrapped.tasks() for e in envs)  # type: ignore[attr-defined]
    for e in envs:
        e.close()
    if max(train.start, test.start) >= min(train.stop, test.stop):
        return ""
    return f"{env_id} has the same game in both splits: the score is on the very game that was trained on"


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
    make: Callable[[gym.Env[Any, Any]], Any] | None = None,
    begun: int = 0,
    save: Callable[[Any], None] = lambda agent: None,
) -> dict[str, Any]:
    """Trains and evaluates.

    Args:
        spec: ``env`` {id, settings}, ``stack`` {layers}, ``agent`` {name, settings}, ``seed``, ``steps``, ``eval_every``,
            ``eval_episodes``, ``allow_import``.
        report: called with each point of the curve.
        make: makes (or loads) the agent for the training environment (of a game: None), instead of the spec.
        begun: steps that a loaded agent has learnt from, if it does not count them itself.
        save: called with the agent after each evaluation.

    Returns:
        The spec with ``versions``, ``seconds`` and ``curve``: at each evaluation steps, success (None where the
        environment does not say), env_return, length, invalid; of a game (whose length is in cycles and whose return is that of
        the judged agents together) also ``agents`` and ``measures``, and beside the curve ``cross`` (against each name in it)
        and ``league`` (past selves against each other).
    """
    if is_game(spec["env"]["id"]):
        return run_game(spec, report, make, begun, save) | {"versions": versions()}
    allow_import(*spec.get("allow_import", ()))
    start, seed = time.perf_counter(), spec["seed"]
    test = held_out(spec["env"]["id"], spec["env"]["settings"])
    env = make_env(spec["env"]["id"], spec["env"]["settings"])
    name, settings = spec["agent"]["name"], spec["agent"]["settings"]
    if spec["stack"]["layers"]:
        env = shape(env, spec["stack"]["layers"], seed=seed, groups=plays_groups(name, settings))
    agent = make(env) if make else new_agent(name, env, seed, settings)
    learns = hasattr(agent, "learn")
    if not learns:  # it may hold on to the environment that it was made for
        agent = new_agent(name, test, seed, settings)
    curve: list[dict[str, Any]] = []
    done = max(begun, _counted(agent)) if begun else 0
    goals = range(0, spec["steps"] + 1, spec["eval_every"]) if learns else [0]
    metrics: dict[str, float] = {}
    got: Evaluation | None = None
    for goal in goals:
        if begun and goal <= begun:
            continue
        if goal > done:
            history, got = agent.learn(env, goal - done), None
            if isinstance(history, (list, tuple)) and history and isinstance(history[-1], dict):
                metrics = {k: float(v) for k, v in history[-1].items() if isinstance(v, (int, float, np.number))}
            done = max(goal, _counted(agent))  # ours take whole updates and say how many steps that were
        if got is None:  # an update may reach beyond the next goals: what was learnt is then the same at all of them
            got = evaluate(agent, test, spec["eval_episodes"], seed=10_000 * (1 + seed))  # no two seeds share worlds
        # episodes that were running at ``goal`` have been played to their ends: ``taken`` counts their steps too
        point: dict[str, Any] = {"steps": float(goal), "taken": float(done)} | got.as_dict()
        point["seconds"] = time.perf_counter() - start
        curve.append(point)
        report(point | {f"train/{k}": v for k, v in metrics.items()})
        if learns:
            save(agent)
    stats = env.stack.stats() if isinstance(env, ShapedEnv) else {}  # what layers counted, such as the calls of a judge
    env.close()
    test.close()
    return spec | {
        "status": "ok",
        "versions": versions(),
        "seconds": time.perf_counter() - start,
        "steps_taken": done,
        "curve": curve,
        "train": {k: v for k, v in metrics.items() if np.isfinite(v)},
        "stats": {k: v for k, v in stats.items() if np.isfinite(v)},
    }


def _counted(agent: Any) -> int:
    """Steps that the agent says it has learnt from; 0 if it does not count them."""
    steps = getattr(agent, "steps", 0)
    return int(steps) if isinstance(steps, (int, np.integer)) else 0


def write_json(path: Path, data: Any) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(data, indent=1) + "\n")
    os.replace(part, path)


def worker(spec_file: str, out_file: str, parent: str = "") -> int:
    """What a bench process does: one run, its result (or its failure) in one file.

    Args:
        spec_file: the run.
        out_file: of the result.
        parent: file descriptor of a pipe whose other end only the bench holds.
    """
    if parent:
        _die_with_parent(int(parent))
    spec = json.loads(Path(spec_file).read_text())
    try:
        if spec["agent"]["name"] in (*TORCH, *TRAINERS):
            import torch

            torch.set_num_threads(1)
        result = run(spec)
    except Exception as e:
        error = str(e) if isinstance(e, UserError) else f"{type(e).__name__}: {e}"
        result = spec | {"status": "failed", "error": error, "trace": traceback.format_exc(), "versions": versions()}
    write_json(Path(out_file), result)
    return 0


def _die_with_parent(pipe: int) -> None:
    """A child that ends this whole process group when the bench is gone, however it went.

    The kernel closes the pipe of a killed process, so nothing has to be polled; the worker may hang in C code and its own
    children go too (``prctl`` would end neither). The bench ends the group, and so this child, after every run.
    """
    if not hasattr(os, "fork") or os.getpgrp() != os.getpid():
        return
    if os.fork():
        os.close(pipe)
        return
    try:
        os.read(pipe, 1)  # nothing is ever written: this returns when the other end is closed
    finally:
        os.killpg(0, signal.SIGKILL)
