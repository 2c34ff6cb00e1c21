"""``train`` one agent, ``eval`` a checkpoint, ``demo`` the main job."""

from __future__ import annotations

import inspect
import json
import math
import os
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym

from ..baselines.agent import AGENTS, make_agent
from ..baselines.evaluate import evaluate
from .games import TRAINERS, eval_game, is_game, new_trainer, same_game
from .names import UserError
from .run import TORCH, held_out, make_env, new_agent, run, same_worlds, versions, write_json


def checkpoint(folder: Path, agent: str) -> Path:
    """Where ``train`` keeps the agent."""
    return folder / (
        "agent.pt" if agent == "text" or agent in TRAINERS else "agent.zip" if agent in TORCH else "agent.bin"
    )


def restore(path: Path, spec: dict[str, Any], env: gym.Env[Any, Any], **settings: Any) -> Any:
    """The agent of a checkpoint of ``train``, for ``env``.

    Args:
        path: of the file.
        spec: what ``run.json`` says.
        env: what it will act or learn in.
        **settings: ``log`` and ``progress`` of our own agents.

    Raises:
        UserError: it cannot be loaded.
    """
    name = spec["agent"]["name"]
    try:
        if name == "text":
            from ..baselines.text_agent import TextAgent

            return TextAgent.load(path, **settings)
        if name in TORCH:
            from ..baselines.sb3 import SB3Agent

            return SB3Agent.load(path, env, **settings)
    except ValueError as e:
        raise UserError(str(e)) from e
    agent = new_agent(name, env, spec["seed"], spec["agent"]["settings"])
    if not hasattr(agent, "load"):
        raise UserError(f"the agent {name!r} has no load(path)")
    more = {"env": env} if "env" in inspect.signature(agent.load).parameters else {}
    return agent.load(str(path), **more) or agent  # a class method gives a new one


def train(spec: dict[str, Any], folder: Path, resume: bool) -> None:
    """Trains with a curve on held-out worlds; the agent and ``run.json`` are written after each evaluation.

    The folder is made when there is something to write: what cannot be trained leaves nothing behind.

    Raises:
        UserError: the agent cannot learn, the settings choose the split, or there is nothing to resume.
    """
    name = spec["agent"]["name"]
    path, curve = checkpoint(folder, name), list[dict[str, Any]]()
    live = {"log": str(folder / "tensorboard"), "progress": sys.stderr.isatty()} if name in TORCH else {}
    game = is_game(spec["env"]["id"])
    if game and name not in TRAINERS:
        raise UserError(f"the agent {name!r} does not learn a game of several agents: {', '.join(TRAINERS)} do")
    if name in TRAINERS and not game:
        raise UserError(f"the agent {name!r} plays games of several agents, and {spec['env']['id']} is for one")
    if resume:
        before = _read_run(folder, f"there is nothing to resume in {folder}")
        _same_run(before, spec, folder)
        if not path.exists():
            raise UserError(f"there is nothing to resume in {folder}: no {path.name}")
        curve = before["curve"]
        if curve and curve[-1]["steps"] + spec["eval_every"] > spec["steps"]:
            raise UserError(
                f"{folder} has been trained for {curve[-1]['steps']:.0f} steps: go on with a larger --steps"
            )

    same = same_game(spec["env"]["id"]) if game else same_worlds(spec["env"]["id"], spec["env"]["settings"])
    if same:
        print(same, flush=True)
    held = "" if same else "held-out "

    def make(env: gym.Env[Any, Any]) -> Any:
        if game:
            log, load = str(folder / "tensorboard"), path if resume else None
            return new_trainer(spec["env"], spec["stack"], spec["agent"], spec["seed"], load, log=log)
        if resume:
            return restore(path, spec, env, **live)
        agent = new_agent(name, env, spec["seed"], spec["agent"]["settings"] | live)
        if not hasattr(agent, "learn"):
            learn = [n for n in AGENTS if n not in ("random", "oracle")]
            raise UserError(f"the agent {name!r} does not learn: {', '.join(learn)} or your own module:factory do")
        if not hasattr(agent, "save"):
            print(f"the agent {name!r} has no save(path): no checkpoint is kept", file=sys.stderr)
        return agent

    def report(point: dict[str, Any]) -> None:
        kept = {k: v for k, v in point.items() if not k.startswith("train/")}
        curve[:] = [p for p in curve if p["steps"] < point["steps"]] + [kept]
        print(
            f"{point['steps']:>9.0f} steps  {held}success {_share(point['success'], 2)}  "
            f"return {point['env_return']:.2f}  length {point['length']:.1f}  {point['seconds']:.0f} s",
            flush=True,
        )

    def save(agent: Any) -> None:
        _writable(folder).mkdir(parents=True, exist_ok=True)
        if hasattr(agent, "save"):
            agent.save(str(path))
        write_json(folder / "run.json", spec | {"status": "running", "versions": versions(), "curve": curve})

    _writable(folder)  # said before the first evaluation, not after it
    result = run(spec, report, make, int(curve[-1]["steps"]) if curve else 0, save)
    write_json(folder / "run.json", result | {"curve": curve})
    print(f"saved: {path}, {folder / 'run.json'}" if path.exists() else f"saved: {folder / 'run.json'}")


def _writable(folder: Path) -> Path:
    """``folder``, if it is one to write to or can be made."""
    there = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        why = "may not be written to" if there.is_dir() else "is a file"
        raise UserError(f"{folder} is no folder to write to: {there} {why}")
    return folder


def _share(success: float | None, digits: int) -> str:
    """A success, or a dash where the environment does not say."""
    return "-" if success is None or math.isnan(success) else f"{success:.{digits}f}"


def _read_run(folder: Path, why: str) -> dict[str, Any]:
    file = folder / "run.json"
    try:
        spec: dict[str, Any] = json.loads(file.read_text())
        assert isinstance(spec["agent"]["name"], str) and isinstance(spec["env"]["id"], str)
        assert isinstance(spec["env"]["settings"], dict) and isinstance(spec["agent"]["settings"], dict)
        assert isinstance(spec["curve"], list)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{why}: no run.json, which train writes") from None
    except (ValueError, KeyError, TypeError, AssertionError):
        raise UserError(f"{why}: its run.json is not what train writes") from None
    return spec


def _same_run(before: dict[str, Any], spec: dict[str, Any], folder: Path) -> None:
    """Going on with something else would give a curve of nothing in particular."""
    for what in ("env", "stack", "agent", "seed"):
        if before[what] != spec[what]:
            raise UserError(f"{folder} was trained with {what} {_short(before[what])}, not {_short(spec[what])}")


def _short(x: Any) -> str:
    kept = {k: v for k, v in x.items() if v and k not in ("layers", "title")} if isinstance(x, dict) else x
    return json.dumps(kept)


def eval_checkpoint(path: Path, episodes: int, seed: int) -> None:
    """A checkpoint on held-out worlds, without shaping.

    Raises:
        UserError: there is no checkpoint, or its settings chose the split.
    """
    folder = path.parent if path.is_file() else path
    spec = _read_run(folder, f"there is nothing to evaluate in {folder} (give the folder that train wrote)")
    game = is_game(spec["env"]["id"])
    file = path if path.is_file() and path.suffix != ".json" else checkpoint(folder, spec["agent"]["name"])
    if not file.exists():
        raise UserError(f"there is no checkpoint {file}")
    got: Any
    if game:
        got, same = eval_game(spec, file, episodes, seed), same_game(spec["env"]["id"])
    else:
        env = held_out(spec["env"]["id"], spec["env"]["settings"])
        got = evaluate(restore(file, spec, env), env, episodes, seed)
        env.close()
        same = same_worlds(spec["env"]["id"], spec["env"]["settings"])
    if same:
        print(same)
    print(f"{spec['env']['id']}, {got.episodes} {'' if same else 'held-out '}episodes without shaping:")
    print(
        f"success {_share(got.success, 3)}  return {got.env_return:.3f}  length {got.length:.1f}  invalid {got.invalid}"
    )
    if game and got.measures:
        print("  ".join(f"{k} {v:.3f}" for k, v in got.measures.items()))


def demo(folder: Path, jobs: int, quick: bool) -> None:
    """With and without shaping on our text world and on a real TextWorld game: a table and a picture."""
    from .bench import bench
    from .suite import load_suite

    print(
        "The demo trains one agent that reads text, with and without potential-based shaping (Ng et al. 1999), on\n"
        "Quest (our procedural text world) and on a real TextWorld game. It is scored on worlds that it never saw,\n"
        "without shaping. Expect a few minutes on two cores; a second call goes on where the first one stopped.\n",
        flush=True,
    )
    suite = load_suite(Path(__file__).parent / "demo.toml", quick=quick)
    _prepare(suite.runs)
    bench(suite, folder, jobs)
    shown = next((s for s in suite.runs if s["stack"]["layers"]), suite.runs[0])
    watch(shown, quick)


def _prepare(runs: list[dict[str, Any]]) -> None:
    """Makes all games before the clocks of the runs start."""
    seen = set()
    for spec in runs:
        where = json.dumps([spec["env"]["id"], spec["env"]["settings"]], sort_keys=True)
        if where not in seen and "TextWorld" in spec["env"]["id"]:
            seen.add(where)
            print(f"making the games of {spec['env']['name']} (kept for the next time) ...", flush=True)
            for env in (
                make_env(spec["env"]["id"], spec["env"]["settings"]),
                held_out(spec["env"]["id"], spec["env"]["settings"]),
            ):
                for task in list(env.unwrapped.tasks()):  # type: ignore[attr-defined]
                    env.reset(options={"task": task})
                env.close()


def watch(spec: dict[str, Any], quick: bool) -> None:
    """Trains briefly in this process and plays one held-out episode aloud."""
    from ..wrappers.hosts import shape

    print(f"\nOne held-out episode of {spec['env']['name']} after a short training in this process:\n", flush=True)
    train_env = shape(make_env(spec["env"]["id"], spec["env"]["settings"]), spec["stack"]["layers"])
    agent = make_agent(spec["agent"]["name"], train_env, 0, progress=True, **spec["agent"]["settings"])
    agent.learn(train_env, 1_000 if quick else 10_000)
    env = shape(held_out(spec["env"]["id"], spec["env"]["settings"]), spec["stack"]["layers"])
    obs, info = env.reset(seed=1)
    agent.reset(1)
    print(obs)
    done = False
    while not done:
        action = agent.act(obs, info)
        obs, reward, terminated, truncated, info = env.step(action)
        done = terminated or truncated
        terms = "  ".join(f"{k} {v:+.2f}" for k, v in info["reward_terms"].items())
        print(f"> {action:28s} reward {reward:+.2f}  ({terms})")
    print("solved" if info["success"] else "not solved")
