"""A stack inside an LLM trainer: dialogues in, credit a turn or a token out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..stack import Stack
from ..types import Floats, Trajectory


def dialogue(prompt: Any, turns: Sequence[dict[str, Any]], reward: float = 0.0, **meta: Any) -> Trajectory:
    """A trajectory from chat messages: each assistant message is an action, what follows it is its observation.

    Args:
        prompt: first observation.
        turns: chat messages ``{"role": ..., "content": ...}`` after the prompt.
        reward: of the whole dialogue, paid on the last turn.
        **meta: ``task``, ``spans``, ``tokens`` ...

    Raises:
        ValueError: no assistant message.
    """
    obs: list[Any] = [prompt]
    actions: list[Any] = []
    for m in turns:
        if m["role"] == "assistant":
            actions.append(m)
            obs.append([])
        elif actions:
            obs[-1].append(m)
    if not actions:
        raise ValueError("a dialogue without an assistant message has no action to reward")
    rewards = np.zeros(len(actions))
    rewards[-1] = reward
    return Trajectory(obs, actions, rewards, True, False, [{} for _ in obs], dict(meta))


def at_tokens(traj: Trajectory) -> Trajectory:
    """The same episode with tokens as steps, so that the same shapers run at token grain.

    ``meta["spans"]`` has a ``(start, end)`` a turn, ``meta["ids"]`` the token ids. A reward goes on its turn's last
    token, an advantage on all of its tokens; tokens between the turns get 0 and NaN. ``meta["turn"]`` has the turn of each
    token, -1 between them.

    Raises:
        ValueError: ``spans`` is missing or does not fit the turns, or a turn has no token.
    """
    spans = traj.meta.get("spans")
    if spans is None or len(spans) != len(traj):
        raise ValueError('meta["spans"] must have one (start, end) a turn')
    edges = [0, *(x for span in spans for x in span)]
    if edges != sorted(edges) or any(a == b for a, b in spans):
        raise ValueError(f"spans follow each other and hold at least one token each, not {spans!r}")
    n = edges[-1]

    def put(x: Floats, every: bool) -> Floats:
        out = np.full(n, np.nan if every else 0.0)  # a token of no turn has no advantage: out of the loss
        for (a, b), v in zip(spans, x):
            out[a if every else b - 1 : b] = v
        return out

    turn = np.full(n, -1)
    for i, (a, b) in enumerate(spans):
        turn[a:b] = i
    infos: list[dict[str, Any]] = [dict(traj.infos[0]), *({} for _ in range(n))]
    for (_, b), info in zip(spans, traj.infos[1:]):
        infos[b] = {k: v for k, v in info.items() if k != "reward_terms"}
    return Trajectory(
        [None] * (n + 1),
        list(traj.meta.get("ids", range(n))),
        put(traj.rewards, False),
        traj.terminated,
        traj.truncated,
        infos,
        traj.meta | {"turn": turn},
        {k: put(v, False) for k, v in traj.terms.items()},
        None if traj.advantages is None else put(traj.advantages, True),
    )


def trl_reward(stack: Stack, outcome: Callable[..., Sequence[float]]) -> Callable[..., list[float]]:
    """A ``reward_funcs`` entry for ``trl.GRPOTrainer``: groups by prompt, returns one number a completion.

    Args:
        stack: the layers; with advantage layers the number is the mean advantage, else the return.
        outcome: ``outcome(prompts=, completions=, **columns) -> rewards``, the task's own verdict.
    """

    def reward(prompts: list[Any], completions: list[Any], **kw: Any) -> list[float]:
        scores = outcome(prompts=prompts, completions=completions, **kw)
        turns = [[{"role": "assistant", "content": c}] if isinstance(c, str) else c for c in completions]
        trajs = [dialogue(p, c, s, task=str(p)) for p, c, s in zip(prompts, turns, scores)]
        final = stack.run(trajs)
        if final and (log := kw.get("log_metric")):
            for n in final[0].terms:
                log(f"reward_terms/{n}", float(np.mean([t.terms[n].sum() for t in final])))
        return [float(t.rewards.sum() if t.advantages is None else np.nanmean(t.advantages)) for t in final]

    return reward
