"""``train`` one agent, ``eval`` a checkpoint, ``demo`` the main job."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..baselines.agent import load_agent, make_agent
from ..baselines.evaluate import evaluate
from .names import UserError
from .run import held_out, make_env, run, write_json


def checkpoint(folder: Path, agent: str) -> Path:
    """Where ``train`` keeps the agent."""
    return folder / ("agent.pt" if agent == "text" else "agent.zip")


def train(spec: dict[str, Any], folder: Path, resume: bool) -> None:
    """Trains with a curve on held-out worlds; the agent is saved after each evaluation.

    Raises:
        UserError: the agent cannot learn, or there is nothing to resume.
    """
    name = spec["agent"]["name"]
    path, agent = checkpoint(folder, name), None
    env = make_env(spec["env"]["id"], spec["env"]["settings"])
    if resume:
        if not path.exists():
            raise UserError(f"there is nothing to resume in {folder}: no {path.name}")
        agent = load_agent(path, env)
    else:
        settings = dict(spec["agent"]["settings"])
        if name in ("text", "ppo", "maskable_ppo", "recurrent_ppo", "dqn"):
            settings |= {"log": str(folder / "tensorboard"), "progress": True}
        spec["agent"]["settings"] = settings
        if not hasattr(make_agent(name, env, spec["seed"], **spec["agent"]["settings"]), "learn"):
            raise UserError(f"the agent {name!r} does not learn")
    env.close()

    def report(point: dict[str, Any]) -> None:
        print(
            f"{point['steps']:>9.0f} steps  held-out success {point['success']:.2f}  return {point['env_return']:.2f}  "
            f"length {point['length']:.1f}  {point['seconds']:.0f} s",
            flush=True,
        )

    folder.mkdir(parents=True, exist_ok=True)
    result = run(spec, report, agent, lambda a: a.save(path))
    write_json(folder / "run.json", result)
    print(f"saved: {path}, {folder / 'run.json'}")


def eval_checkpoint(path: Path, episodes: int, seed: int) -> None:
    """A checkpoint on held-out worlds, without shaping.

    Raises:
        UserError: there is no checkpoint.
    """
    folder = path if path.is_dir() else path.parent
    try:
        spec = json.loads((folder / "run.json").read_text())
    except FileNotFoundError:
        raise UserError(f"there is no run.json in {folder}: give the folder that train wrote") from None
    env = held_out(spec["env"]["id"], spec["env"]["settings"])
    file = path if path.is_file() and path.suffix != ".json" else checkpoint(folder, spec["agent"]["name"])
    if not file.exists():
        raise UserError(f"there is no checkpoint {file}")
    got = evaluate(load_agent(file, env), env, episodes, seed)
    print(f"{spec['env']['id']}, {got.episodes} held-out episodes without shaping:")
    print(f"success {got.success:.3f}  return {got.env_return:.3f}  length {got.length:.1f}  invalid {got.invalid}")


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
