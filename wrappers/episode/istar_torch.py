"""The torch process model of iStar: the shared network of learned rewards, its scores read as a policy's logits."""

from __future__ import annotations

from typing import Any

import torch

from ..types import Floats


def fit(net: Any, x: Floats, choices: Any, old: Floats, scale: Floats, pairs: Any, epochs: int) -> dict[str, Any]:
    """Gradient steps on the pairs' loss; returns the network's state.

    Args:
        net: a ``Network``.
        x: ``(rows, dim)`` features of every action that there was.
        choices: which rows belong to which step and episode.
        old: ``(steps,)`` log-probabilities of the reference.
        scale: ``(episodes,)`` what a step's log-ratio weighs in Q.
        pairs: ``(p, 2)`` episodes, a success and a failure.
        epochs: number of steps.
    """
    step = torch.as_tensor(choices.spread(), device=net.device)
    taken = torch.as_tensor(choices.taken, device=net.device)
    episode = torch.as_tensor(choices.episode, device=net.device)
    before, weight = net.tensor(old), net.tensor(scale)

    def quality(logits: torch.Tensor) -> torch.Tensor:
        top = torch.full_like(before, -torch.inf).scatter_reduce(0, step, logits.detach(), "amax")
        z = logits - top[step]
        logp = z[taken] - torch.zeros_like(before).index_add(0, step, z.exp()).log()
        q: torch.Tensor = weight * torch.zeros_like(weight).index_add(0, episode, logp - before)
        return q

    return net.fit(x, pairs, epochs, quality)[0]  # type: ignore[no-any-return]
