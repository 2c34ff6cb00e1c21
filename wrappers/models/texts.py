"""Episodes in words: what reward models and judges of whole episodes read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..types import Trajectory


def text_of(x: Any) -> str:
    """In words: a text as it is, a message's content, a call's name and arguments, a sequence line by line."""
    if isinstance(x, str):
        return x
    if isinstance(x, Mapping):
        if isinstance(x.get("content"), str):
            return str(x["content"])
        return " ".join(f"{text_of(v)}" if k == "name" else f"{k} {text_of(v)}" for k, v in x.items())
    if isinstance(x, (list, tuple)):
        return "\n".join(map(text_of, x))
    return "" if x is None else str(x)


def shown(obs: Any, info: Mapping[str, Any]) -> str:
    """A state in words: a text observation, else what ``info["messages"]`` tells the agent, else the observation printed."""
    if isinstance(obs, str):
        return obs
    said = [str(m["content"]) for m in info.get("messages") or () if m["role"] != "assistant"]
    return "\n".join(said) if said else text_of(obs)


def said(traj: Trajectory) -> str:
    """What the agent said or did, a line a step: the assistant's messages where they are published, else the actions."""
    out = []
    for action, info in zip(traj.actions, traj.infos[1:]):
        own = [str(m["content"]) for m in info.get("messages") or () if m["role"] == "assistant"]
        out.append("\n".join(own) if own else text_of(action))
    return "\n".join(out)


def task_of(traj: Trajectory) -> str:
    """What the first observation asks for: its line ``Objective: ...`` or ``Task: ...`` where it has one, else all of it."""
    first = shown(traj.obs[0], traj.infos[0])
    return next((x for x in first.split("\n") if x.startswith(("Objective: ", "Task: "))), first)


def transcript(traj: Trajectory) -> str:
    """The whole episode: what was shown and what was done, in turn."""
    parts = [shown(traj.obs[0], traj.infos[0])]
    for t in traj:
        own = [str(m["content"]) for m in t.info.get("messages") or () if m["role"] == "assistant"]
        parts += [f"> {own[0] if own else text_of(t.action)}", shown(t.next_obs, t.info)]
    return "\n".join(parts)


def prefix(traj: Trajectory, steps: int) -> Trajectory:
    """The first ``steps`` steps of an episode, cut off there; the whole episode as it is."""
    if steps >= len(traj):
        return traj
    return Trajectory(
        traj.obs[: steps + 1],
        traj.actions[:steps],
        traj.rewards[:steps],
        False,
        True,
        traj.infos[: steps + 1],
        traj.meta,
        {k: v[:steps] for k, v in traj.terms.items()},
    )


def words_of(text: str) -> Sequence[str]:
    """The words of a text, without case and punctuation."""
    return re.findall(r"\w+", text.lower())
