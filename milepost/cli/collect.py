"""``collect``: an agent's episodes on disk, as JSON lines or as a Minari data set."""

from __future__ import annotations

import re
import shutil
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec

from ..wrappers.hosts import shape
from ..wrappers.hosts.jsonl import write_jsonl
from ..wrappers.shaper import nearest
from ..wrappers.types import Trajectory
from .names import UserError
from .run import make_env, new_agent, versions


def parse_out(out: str, env_id: str, agent: str) -> tuple[str, str]:
    """``("jsonl", file)`` or ``("minari", name of the data set)``.

    Args:
        out: ``jsonl``, ``jsonl:FILE``, a file that ends in ``.jsonl``, ``minari`` or ``minari:NAME/DATA-v0``.
        env_id: for the places that are not given.
        agent: likewise.

    Raises:
        UserError: it is none of them.
    """
    if out.endswith(".jsonl") and not out.startswith(("jsonl:", "minari:")):
        return "jsonl", out
    form, sep, place = out.partition(":")
    if form not in ("jsonl", "minari") or (sep and not place):
        allowed = "jsonl, jsonl:FILE, minari, minari:NAME/DATA-v0, or a file that ends in .jsonl"
        raise UserError(f"--out is {out!r}{nearest(form, ('jsonl', 'minari'))} Allowed is {allowed}")
    short = re.sub(r"\W+", "-", Path(agent).stem if agent.endswith(".zip") else agent).strip("-")
    bare = env_id.rpartition(":")[2]
    if form == "jsonl":
        return form, place or str(Path("runs") / "collect" / f"{bare.replace('/', '-')}-{short}.jsonl")
    return form, place or "/".join(re.sub(r"[^-\w]+", "-", w) for w in bare.lower().split("/")) + f"/{short.lower()}-v0"


def collect(
    env_id: str,
    settings: dict[str, Any],
    layers: list[dict[str, Any]],
    agent_name: str,
    agent_settings: dict[str, Any],
    episodes: int,
    seed: int,
    out: str,
) -> None:
    """Plays and records; the k-th episode begins with ``reset(seed=seed + k)``.

    Raises:
        UserError: something is not understood, or Minari is asked for and not there.
    """
    form, place = parse_out(out, env_id, agent_name)
    if form == "minari":
        check_name(place)
    env = make_env(env_id, settings)
    env = shape(env, layers) if layers else env
    agent = new_agent(agent_name, env, seed, agent_settings)
    about = {"env": env_id, "settings": settings, "stack": layers, "agent": agent_name, "versions": versions()}
    counts = [0, 0, 0]  # episodes, steps, solved
    known = True  # does the environment say whether an episode was solved?

    def played() -> Iterator[Trajectory]:
        nonlocal known
        for k in range(episodes):
            episode = one(env, agent, seed + k, about)
            if episode is None:
                print(f"episode {k} was ended by the infrastructure and is left out", file=sys.stderr)
                continue
            counts[0] += 1
            counts[1] += len(episode)
            counts[2] += bool(episode.infos[-1].get("success"))
            known &= "success" in episode.infos[-1]
            yield episode

    if form == "jsonl":
        write_jsonl(place, played())
    else:
        write_minari(env, list(played()), place, agent_name)
    env.close()
    solved = f", {counts[2]} solved" if known else ""  # a positive return is no success
    print(f"{counts[0]} episodes, {counts[1]} steps{solved}: {form} {place}")


def one(env: gym.Env[Any, Any], agent: Any, seed: int, about: dict[str, Any]) -> Trajectory | None:
    """One episode; None if the infrastructure ended it."""
    if hasattr(agent, "reset"):
        agent.reset(seed)
    obs, info = env.reset(seed=seed)
    observations, infos, actions, rewards = [obs], [info], list[Any](), list[float]()
    done = terminated = truncated = False
    while not done:
        action = agent.act(obs, info)
        obs, reward, terminated, truncated, info = env.step(action)
        observations.append(obs)
        actions.append(action)
        rewards.append(float(reward))
        infos.append(info)
        done = terminated or truncated
    if info.get("invalid"):
        return None
    meta = dict(infos[0].get("meta", {})) | about | {"seed": seed}
    return Trajectory(observations, actions, np.array(rewards), bool(terminated), bool(truncated), infos, meta)


# -- Minari --------------------------------------------------------------------------------------
def check_name(name: str) -> None:
    """Before anything is played: Minari is there, the name is one, and it is free.

    Raises:
        UserError: it is not.
    """
    try:
        from minari.dataset.minari_dataset import parse_dataset_id
        from minari.storage import get_dataset_path
    except ImportError as e:
        raise UserError("--out minari needs Minari: pip install 'milepost[minari]'") from e
    try:
        parse_dataset_id(name)
        if not re.search(r"-v\d+$", name):
            raise ValueError
    except (ValueError, TypeError):
        raise UserError(
            f"a Minari data set is named NAME/DATA-v0 (letters, digits, - and _; NAME at least two), not {name!r}"
        ) from None
    if Path(get_dataset_path(name)).exists():
        again = re.sub(r"\d+$", lambda m: str(int(m[0]) + 1), name)
        raise UserError(f"there is a Minari data set {name} already: write --out minari:{again}, or delete the old one")


def stacked(values: list[Any]) -> Any:
    """T values of a space as Minari stores them: dicts and tuples outside, the steps inside."""
    if isinstance(values[0], dict):
        return {k: stacked([v[k] for v in values]) for k in values[0]}
    if isinstance(values[0], tuple):
        return tuple(stacked(list(v)) for v in zip(*values))
    return values


def columns(infos: list[dict[str, Any]]) -> tuple[dict[str, Any], list[str]]:
    """The infos of an episode as arrays of T + 1, and the names of those that cannot be stored so.

    Numbers, booleans and arrays of one shape can, also in dicts, under a key that every step has. The reset may lack
    it (``reward_terms``): its row is then zeros. Texts and tuples cannot: Minari hands texts back as bytes and knows
    no lists of changing length.
    """
    kept: dict[str, Any] = {}
    left: list[str] = []
    for key in dict.fromkeys(k for i in infos for k in i):
        values = [i.get(key) for i in infos]
        if key == "credit" and isinstance(values[-1], tuple) and len(values[-1]) == len(infos) - 1:
            values = [0.0, *values[-1]]  # the final rewards of all steps, published with the last one
        if values[0] is None and values[1:]:
            values[0] = _zero(values[1])
        column = None if "/" in str(key) else _column(values)
        if column is None:
            left.append(str(key))
        else:
            kept[str(key)] = column
    return kept, left


def _zero(x: Any) -> Any:
    if isinstance(x, dict):
        return {k: _zero(v) for k, v in x.items()}
    return np.zeros_like(x) if isinstance(x, (bool, int, float, np.number, np.bool_, np.ndarray)) else None


def _column(values: list[Any]) -> Any:
    first = values[0]
    if isinstance(first, dict):
        if not first or any(not isinstance(v, dict) or v.keys() != first.keys() for v in values):
            return None
        parts = {str(k): None if "/" in str(k) else _column([v[k] for v in values]) for k in first}
        return None if any(p is None for p in parts.values()) else parts
    if not all(isinstance(v, (bool, int, float, np.number, np.bool_, np.ndarray)) for v in values):
        return None
    arrays = [np.asarray(v) for v in values]
    if any(a.shape != arrays[0].shape or a.dtype.kind not in "biuf" for a in arrays):
        return None
    return np.stack(arrays)


def write_minari(env: gym.Env[Any, Any], episodes: list[Trajectory], name: str, agent: str) -> None:
    """A local data set with spaces, the environment's spec and the infos that can be stored.

    Raises:
        UserError: there is no episode, or Minari refuses them.
    """
    import minari
    from minari.data_collector import EpisodeBuffer
    from minari.storage import get_dataset_path

    if not episodes:
        raise UserError("no episode was left to store")
    every = [columns(list(t.infos)) for t in episodes]
    left = sorted({k for _, names in every for k in names})  # a data set has the same infos in all its episodes
    buffers = []
    for k, (t, (infos, _)) in enumerate(zip(episodes, every)):
        n = len(t)
        buffers.append(
            EpisodeBuffer(
                id=k,
                seed=t.meta["seed"],
                observations=stacked(list(t.obs)),
                actions=stacked(list(t.actions)),
                rewards=list(t.rewards),
                terminations=[False] * (n - 1) + [t.terminated],
                truncations=[False] * (n - 1) + [t.truncated],
                infos={key: v for key, v in infos.items() if key not in left},
            )
        )
    spec = plain_spec(env)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # it asks for an author, a link and a reference score
            minari.create_dataset_from_buffers(
                name,
                buffers,
                env=spec,
                observation_space=env.observation_space,
                action_space=env.action_space,
                algorithm_name=agent,
                description=f"{agent} in {t.meta['env']}, shaped by {t.meta['stack'] or 'nothing'}, collected by milepost",
                requirements=[f"milepost=={t.meta['versions']['milepost']}"],
            )
    except Exception as e:
        shutil.rmtree(get_dataset_path(name), ignore_errors=True)  # half a data set would block its name
        raise UserError(f"Minari cannot store these episodes: {type(e).__name__}: {e}") from e
    if spec is None:
        print("the data set holds no spec of the environment: it is not made of plain values", file=sys.stderr)
    if left:
        print(f"infos that a Minari data set cannot hold are left out: {', '.join(left)}", file=sys.stderr)


def plain_spec(env: gym.Env[Any, Any]) -> EnvSpec | None:
    """What makes the environment again, with its stack; None where it cannot be written down."""
    try:
        if env.spec is None:
            return None
        env.spec.to_json()
        return env.spec
    except (ValueError, TypeError, AttributeError):
        return None
