"""The torch estimator of SPA-RL: a small network whose outputs over an episode sum to its return."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from ..types import Floats


class Estimator:
    """Two layers; state goes in and out as plain arrays, so that a stack can save it."""

    def __init__(
        self, dim: int, hidden: int, lr: float, l2: float, seed: int, device: str, state: dict[str, Any]
    ) -> None:
        self.device = torch.device(device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            first, last = nn.Linear(dim, hidden, device="cpu"), nn.Linear(hidden, 1, device="cpu")
        self.net = nn.Sequential(first, nn.Tanh(), last).to(self.device)
        if state:
            self.net.load_state_dict({k: torch.as_tensor(v, device=self.device) for k, v in state.items()})
        # a decay of l2 itself would hold so small a network at 0
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr, weight_decay=l2 * 1e-3)

    def _tensor(self, x: Any) -> torch.Tensor:
        return torch.as_tensor(np.asarray(x, np.float32), device=self.device)

    @torch.no_grad()
    def predict(self, x: Floats) -> Floats:
        """``(T,)`` shares of ``(T, dim)`` features."""
        return np.asarray(self.net(self._tensor(x)).squeeze(1).cpu().numpy(), np.float64)

    def fit(self, episodes: Sequence[Floats], totals: Floats, epochs: int) -> tuple[dict[str, Any], float]:
        """Gradient steps on (sum_t c_t - R)^2; returns the network's state and the last loss."""
        x = self._tensor(np.concatenate(list(episodes)))
        owner = torch.as_tensor(np.repeat(np.arange(len(episodes)), [len(e) for e in episodes]), device=self.device)
        want, loss = self._tensor(totals), 0.0
        for _ in range(epochs):
            total = torch.zeros(len(episodes), device=self.device).index_add(0, owner, self.net(x).squeeze(1))
            error = (total - want).square().mean()
            self.optimizer.zero_grad()
            error.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            loss = float(error.detach())
        return {k: v.detach().cpu().numpy() for k, v in self.net.state_dict().items()}, loss
