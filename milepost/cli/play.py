"""``play``: a person in the terminal; ``collect``: an agent's episodes on disk."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from ..baselines.agent import make_agent
from ..envs.registry import entries
from ..wrappers.hosts import shape
from .names import UserError
from .run import make_env


def play(env_id: str, settings: dict[str, Any], layers: list[dict[str, Any]], seed: int | None, lines: TextIO) -> None:
    """One episode; a number picks an admissible action, ``quit`` leaves. Every step shows its reward terms."""
    row = next((e for e in entries() if e.id == env_id), None)
    if row is not None and any(w.name == "Encode" for w in row.wrappers):
        raise UserError(f"{env_id} shows numbers: play {env_id.replace('-encoded', '')}")
    env = make_env(env_id, settings)
    env = shape(env, layers) if layers else env
    obs, info = env.reset(seed=seed)
    total, steps = 0.0, 0
    while True:
        choices = info.get("admissible_actions", ())
        print(f"\n{obs}\n\n" + "  ".join(f"[{i}] {c}" for i, c in enumerate(choices)))
        print("> ", end="", flush=True)
        said = lines.readline()
        if not said or said.strip() in ("quit", "exit"):
            print("\nleft")
            break
        said = said.strip()
        action = choices[int(said)] if said.isdigit() and int(said) < len(choices) else said
        obs, reward, terminated, truncated, info = env.step(action)
        total, steps = total + float(reward), steps + 1
        terms = "  ".join(f"{k} {v:+.3f}" for k, v in info["reward_terms"].items())
        print(f"{action}: reward {float(reward):+.3f}   ({terms})")
        if terminated or truncated:
            print(f"\n{obs}\n\n{'solved' if info.get('success') else 'over'} after {steps} steps, return {total:+.3f}")
            if "credit" in info:
                print("credit of the steps: " + " ".join(f"{x:+.2f}" for x in info["credit"]))
            break
    env.close()


def _plain(x: Any) -> Any:
    if isinstance(x, dict):
        return {str(k): _plain(v) for k, v in x.items()}
    if isinstance(x, (list, tuple)):
        return [_plain(v) for v in x]
    return x.tolist() if isinstance(x, (np.ndarray, np.generic)) else x


def collect(
    env_id: str,
    settings: dict[str, Any],
    layers: list[dict[str, Any]],
    agent_name: str,
    episodes: int,
    seed: int,
    out: str,
    form: str,
) -> None:
    """Episodes of an agent as JSON lines, or as a local Minari data set.

    Raises:
        UserError: Minari is asked for and not there.
    """
    env = make_env(env_id, settings)
    env = shape(env, layers) if layers else env
    agent = make_agent(agent_name, env, seed)
    rows = []
    for k in range(episodes):
        obs, info = env.reset(seed=seed + k)
        row: dict[str, list[Any]] = {"observations": [obs], "actions": [], "rewards": [], "infos": [info]}
        done = False
        while not done:
            action = agent.act(obs, info)
            obs, reward, terminated, truncated, info = env.step(action)
            for key, value in (("observations", obs), ("actions", action), ("rewards", float(reward)), ("infos", info)):
                row[key].append(value)
            done = terminated or truncated
        if info.get("invalid"):
            print(f"episode {k} was ended by the infrastructure and is left out", file=sys.stderr)
            continue
        rows.append(row | {"terminated": [terminated], "truncated": [truncated]})
    if form == "jsonl":
        path = Path(out)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as f:
            for row in rows:
                flat = _plain(row) | {
                    "env": env_id,
                    "terminated": row["terminated"][0],
                    "truncated": row["truncated"][0],
                }
                f.write(json.dumps(flat) + "\n")
    else:
        _minari(env, rows, out, agent_name)
    wins = sum(bool(r["infos"][-1].get("success")) for r in rows)
    print(f"{len(rows)} episodes, {sum(len(r['actions']) for r in rows)} steps, {wins} solved: {out}")


def _minari(env: Any, rows: list[dict[str, list[Any]]], name: str, agent: str) -> None:
    try:
        import minari
        from minari.data_collector import EpisodeBuffer
    except ImportError as e:
        raise UserError("--format minari needs Minari: pip install 'milepost[minari]'") from e
    buffers = []
    for k, row in enumerate(rows):
        n = len(row["actions"])
        ends = [[False] * (n - 1) + row[x] for x in ("terminated", "truncated")]
        buffers.append(
            EpisodeBuffer(
                id=k,
                observations=row["observations"],
                actions=row["actions"],
                rewards=row["rewards"],
                terminations=ends[0],
                truncations=ends[1],
            )
        )
    minari.create_dataset_from_buffers(
        name,
        buffers,
        observation_space=env.observation_space,
        action_space=env.action_space,
        algorithm_name=agent,
        description=f"{agent} in {env.unwrapped.spec.id}, collected by milepost",
    )
