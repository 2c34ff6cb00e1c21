"""Golden transcripts and audits of every registered environment: python tests/regenerate_transcripts.py [ID ...].

A transcript is for people: its diff in review is the behaviour change. The audit is what nobody, chance and the oracle
achieve.
"""

from __future__ import annotations

import hashlib
import json
import sys
import warnings
from pathlib import Path

import gymnasium as gym
import numpy as np

import milepost  # noqa: F401
from milepost.envs.registry import Entry, entries

HERE = Path(__file__).parent / "transcripts"
AUDIT = HERE / "audit.json"


def make(entry: Entry, **kwargs) -> gym.Env:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return gym.make(entry.id, disable_env_checker=True, **kwargs)


def is_encoded(env: gym.Env) -> bool:
    return isinstance(env.action_space, gym.spaces.Discrete)


def action(env: gym.Env, info: dict, command: str):
    """The command, or its index on a face of numbers."""
    if env.has_wrapper_attr("index_of"):
        return env.get_wrapper_attr("index_of")(command)
    return sorted(info["admissible_actions"]).index(command) if is_encoded(env) else command


def null_action(env: gym.Env):
    return env.action_space.n - 1 if is_encoded(env) else ""


def shown(obs) -> str:
    if isinstance(obs, str):
        return obs
    digest = hashlib.sha256(b"".join(np.ascontiguousarray(obs[k]).tobytes() for k in sorted(obs))).hexdigest()[:16]
    sizes = ", ".join(f"{k} {obs[k].shape} sum {float(np.sum(obs[k])):.4f}" for k in sorted(obs))
    return f"{sizes}\nsha256 {digest}"


def facts(info: dict) -> str:
    known = {k: info[k] for k in ("score", "max_score", "progress", "success", "valid_action", "subgoals") if k in info}
    known["progress"] = round(known["progress"], 6)
    terms = {k: round(v, 6) for k, v in info.get("reward_terms", {}).items()}
    return json.dumps(known | ({"reward_terms": terms} if terms else {}))


def transcript(entry: Entry) -> str:
    """One episode: a wrong command, three random ones, then the oracle to the end."""
    env = make(entry)
    rng = np.random.default_rng(0)
    obs, info = env.reset(seed=0)
    out = [entry.id, f"observation {env.observation_space}", f"action {env.action_space}", f"meta {info['meta']}", ""]
    step, done = 0, False
    while not done:
        out += [shown(obs), facts(info), f"admissible: {', '.join(info['admissible_actions'])}", ""]
        if step == 0:
            act = null_action(env)
        elif step < 4:
            act = action(env, info, str(rng.choice(info["admissible_actions"])))
        else:
            act = action(env, info, env.get_wrapper_attr("oracle")())
        obs, reward, terminated, truncated, info = env.step(act)
        done, step = terminated or truncated, step + 1
        out.append(f"step {step}: {act!r} -> reward {reward:.6f} terminated {terminated} truncated {truncated}")
    out += [shown(obs), facts(info)]
    env.close()
    return "\n".join(out) + "\n"


def play(entry: Entry, agent: str, episodes: int) -> tuple[float, float, float]:
    """Mean success, return and length of null, random or oracle over episodes of the train split."""
    env, rng = make(entry), np.random.default_rng(0)
    success, returns, lengths = [], [], []
    for k in range(episodes):
        _, info = env.reset(seed=0 if k == 0 else None)
        total, steps, done = 0.0, 0, False
        while not done:
            if agent == "null":
                act = null_action(env)
            elif agent == "random":
                act = action(env, info, str(info["admissible_actions"][rng.integers(len(info["admissible_actions"]))]))
            else:
                act = action(env, info, env.get_wrapper_attr("oracle")())
            _, reward, terminated, truncated, info = env.step(act)
            total, steps, done = total + reward, steps + 1, terminated or truncated
        success.append(bool(info["success"]))
        returns.append(total)
        lengths.append(steps)
    env.close()
    return float(np.mean(success)), float(np.mean(returns)), float(np.mean(lengths))


def audit(entry: Entry) -> dict[str, float]:
    """What the table of the documentation shows."""
    out = {}
    for agent, episodes in (("oracle", 50), ("random", 200), ("null", 5)):
        success, returns, length = play(entry, agent, episodes)
        out |= {agent: round(success, 4), f"{agent}_return": round(returns, 4), f"{agent}_length": round(length, 2)}
    return out


def path(entry: Entry) -> Path:
    return HERE / f"{entry.id.split('/')[1]}.txt"


def main() -> None:
    wanted = sys.argv[1:]
    audits = json.loads(AUDIT.read_text()) if AUDIT.exists() else {}
    for entry in entries():
        if wanted and entry.id not in wanted:
            continue
        HERE.mkdir(exist_ok=True)
        path(entry).write_text(transcript(entry))
        audits[entry.id] = audit(entry)
        print(entry.id, audits.get(entry.id, ""))
    known = [e.id for e in entries()]
    AUDIT.write_text(json.dumps({k: v for k, v in sorted(audits.items()) if k in known}, indent=1) + "\n")


if __name__ == "__main__":
    main()
