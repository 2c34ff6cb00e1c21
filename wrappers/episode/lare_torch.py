"""The torch decoder of LaRe: a network from factors to rewards whose mean over an episode is its mean return."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from ..types import Floats


class Decoder:
    """Fully connected, with ReLU; state goes in and out as plain arrays, so that a stack can save it."""

    def __init__(
        self, dim: int, layers: int, hidden: int, lr: float, seed: int, device: str, state: dict[str, Any]
    ) -> None:
        self.device = torch.device(device)
        sizes = [dim, *[hidden] * (layers - 1), 1]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            parts: list[nn.Module] = []
            for a, b in itertools.pairwise(sizes):
                parts += [nn.Linear(a, b, device="cpu"), nn.ReLU()]
        self.net = nn.Sequential(*parts[:-1]).to(self.device)
        if state:
            self.net.load_state_dict({k: torch.as_tensor(v, device=self.device) for k, v in state.items()})
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr)

    def _tensor(self, x: Any) -> torch.Tensor:
        return torch.as_tensor(np.asarray(x, np.float32), device=self.device)

    @torch.no_grad()
    def predict(self, x: Floats) -> Floats:
        """``(steps,)`` rewards of ``(steps, d)`` factors."""
        return np.asarray(self.net(self._tensor(x)).squeeze(1).cpu().numpy(), np.float64)

    def fit(
        self, episodes: Sequence[Floats], totals: Floats, picks: Sequence[Sequence[Any]], unbiased: bool
    ) -> dict[str, Any]:
        """A gradient step for each of ``picks``, the steps of each episode that count; returns the network's state."""
        lengths = np.array([len(e) for e in episodes])
        want = self._tensor(totals / lengths)
        for pick in picks:
            sizes = np.array([len(i) for i in pick])
            x = self._tensor(np.concatenate([e[i] for e, i in zip(episodes, pick)]))
            owner = torch.as_tensor(np.repeat(np.arange(len(episodes)), sizes), device=self.device)
            r, k = self.net(x).squeeze(1), self._tensor(sizes)
            mean = torch.zeros(len(episodes), device=self.device).index_add(0, owner, r) / k
            loss = (mean - want).square()
            if unbiased:
                spread = torch.zeros_like(mean).index_add(0, owner, (r - mean[owner]).square()) / (k - 1).clamp(min=1)
                loss = loss - (1 - k / self._tensor(lengths)) / k * spread
            self.optimizer.zero_grad()
            loss.mean().backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
        return {k: v.detach().cpu().numpy() for k, v in self.net.state_dict().items()}
