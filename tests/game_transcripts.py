"""Golden transcripts and audits of the games: ``python tests/regenerate_transcripts.py`` calls this."""

from __future__ import annotations

import hashlib
import importlib
import json
from pathlib import Path

import numpy as np

import milepost.envs.multiagent  # noqa: F401  registers the games
from milepost.envs.multiagent.checks import told
from milepost.envs.registry import GameEntry, games

HERE = Path(__file__).parent / "transcripts"
AUDIT = HERE / "games.json"
FULL = 6  # cycles that a transcript shows in full


def path(entry: GameEntry) -> Path:
    return HERE / "games" / f"{entry.id.split('/')[1]}.txt"


def make(entry: GameEntry, **settings):
    return importlib.import_module(entry.module).parallel_env(**(dict(entry.kwargs) | settings))


def digest(x) -> str:
    return hashlib.sha256(told(x).encode()).hexdigest()[:16]


def shown(obs) -> str:
    return str(obs) if isinstance(obs, str) else f"sha256 {digest(obs)}"


def facts(info: dict) -> str:
    hidden = ("messages", "admissible_actions", "action_mask", "meta", "reference")
    return json.dumps(
        {k: round(v, 6) if isinstance(v, float) else v for k, v in info.items() if k not in hidden}, default=repr
    )


def random_action(env, rng, agent, obs, info):
    every = info["admissible_actions"]
    return env.face.action_for(agent, str(every[int(rng.integers(len(every)))]))


def wait(env, agent):
    return env.face.action_for(agent, "wait")


def script(env, rng, agent, obs, info, policy):
    try:
        return env.script(agent, policy)
    except ValueError:  # what was done at random left its command out of the rows
        return random_action(env, rng, agent, obs, info)


def transcript(entry: GameEntry) -> str:
    """One game: a wrong action of all, three random cycles, then the oracle to the end; late cycles by their hashes."""
    env, rng = make(entry), np.random.default_rng(0)
    obs, infos = env.reset(seed=0)
    first = env.possible_agents[0]
    out = [entry.id, f"observation {env.observation_space(first)}", f"action {env.action_space(first)}"]
    out += [f"meta {a} {infos[a]['meta']}" for a in env.agents]
    cycle = 0
    while env.agents:
        for a in env.agents:
            parts = [shown(obs[a]), facts(infos[a]), f"admissible: {', '.join(infos[a]['admissible_actions'])}"]
            out += ["", f"[{a}] {parts[0]}", *parts[1:]] if cycle < FULL else [f"[{a}] sha256 {digest(parts)}"]
        if cycle == 0:
            acts = {
                a: "nonsense" if entry.kwargs.get("face") != "encoded" else int(env.action_space(a).n) - 1
                for a in env.agents
            }
        elif cycle < 4:
            acts = {a: random_action(env, rng, a, obs[a], infos[a]) for a in env.agents}
        else:
            acts = {a: script(env, rng, a, obs[a], infos[a], "oracle") for a in env.agents}
        obs, rewards, terminated, truncated, infos = env.step(acts)
        cycle += 1
        out.append("")
        out += [
            f"cycle {cycle} {a}: {acts[a]!r} -> reward {rewards[a]:.6f} terminated {terminated[a]} truncated {truncated[a]}"
            for a in rewards
        ]
        out += [f"[{a}] {shown(obs[a])}\n{facts(infos[a])}" for a in rewards if a not in env.agents]
    env.close()
    return "\n".join(out) + "\n"


def play(entry: GameEntry, policy: str, episodes: int, **settings) -> tuple[float, float, float]:
    """Mean success of the side that the oracle plays for, return summed over agents, and cycles."""
    env, rng = make(entry, **settings), np.random.default_rng(0)
    won, returns, cycles = [], [], []
    for k in range(episodes):
        obs, infos = env.reset(seed=0 if k == 0 else None)
        total, n, success = 0.0, 0, {}
        side = env.game.side()
        while env.agents:
            if policy == "null":
                acts = {a: wait(env, a) for a in env.agents}
            elif policy == "random":
                acts = {a: random_action(env, rng, a, obs[a], infos[a]) for a in env.agents}
            else:
                acts = {a: script(env, rng, a, obs[a], infos[a], policy) for a in env.agents}
            obs, rewards, _, _, infos = env.step(acts)
            total, n = total + sum(rewards.values()), n + 1
            success |= {a: bool(infos[a]["success"]) for a in infos}
        won.append(all(success[a] for a in side))
        returns.append(total)
        cycles.append(n)
    env.close()
    return float(np.mean(won)), float(np.mean(returns)), float(np.mean(cycles))


def audit(entry: GameEntry) -> dict[str, float]:
    """What the table of the documentation shows."""
    out = {}
    policies = [("oracle", 50), ("random", 200), ("null", 5)]
    rules = make(entry).game
    policies += [("collusion", 50)] if "collusion" in rules.policies else []
    for policy, episodes in policies:
        success, returns, length = play(entry, policy, episodes)
        out |= {policy: round(success, 4), f"{policy}_return": round(returns, 4), f"{policy}_length": round(length, 2)}
    return out


def regenerate(wanted: list[str]) -> None:
    audits = json.loads(AUDIT.read_text()) if AUDIT.exists() else {}
    for entry in games():
        if wanted and entry.id not in wanted:
            continue
        path(entry).parent.mkdir(parents=True, exist_ok=True)
        path(entry).write_text(transcript(entry))
        audits[entry.id] = audit(entry)
        print(entry.id, audits[entry.id], flush=True)
    known = [e.id for e in games()]
    AUDIT.write_text(json.dumps({k: v for k, v in sorted(audits.items()) if k in known}, indent=1) + "\n")
