"""The one network behind learned rewards: a score a row, fitted to pairs of which one is better."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from ..types import Floats


class Network:
    """Two layers; state goes in and out as plain arrays, so that a stack can save it.

    Args:
        dim: number of features.
        hidden: width.
        lr: step size of Adam.
        l2: its weight decay.
        seed: of the first weights.
        device: torch device.
        state: weights to go on from; empty: the first ones.
    """

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
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr, weight_decay=l2)

    def tensor(self, x: Any) -> torch.Tensor:
        """As float32 on the network's device."""
        return torch.as_tensor(np.asarray(x, np.float32), device=self.device)

    @torch.no_grad()
    def predict(self, x: Floats) -> Floats:
        """``(rows,)`` scores of ``(rows, dim)`` features."""
        return np.asarray(self.net(self.tensor(x)).squeeze(1).cpu().numpy(), np.float64)

    def fit(
        self,
        x: Floats,
        pairs: Any,
        epochs: int,
        value: Callable[[torch.Tensor], torch.Tensor] | None = None,
        margin: float = 0.0,
    ) -> tuple[dict[str, Any], float]:
        """Gradient steps on ``mean -log sigma(v_better - v_worse - margin)``.

        Args:
            x: ``(rows, dim)`` features.
            pairs: ``(p, 2)`` indices of the better and the worse among the values.
            epochs: number of steps, each over all pairs.
            value: what of the rows' scores is compared, ``(rows,) -> (values,)``; None: the scores themselves.
            margin: by how much the better shall lead.

        Returns:
            The network's state, and the loss before the last step.
        """
        rows, loss = self.tensor(x), 0.0
        better, worse = torch.as_tensor(np.asarray(pairs).T.copy(), device=self.device)
        for _ in range(epochs):
            scores = self.net(rows).squeeze(1)
            v = scores if value is None else value(scores)
            error = nn.functional.softplus(margin - (v[better] - v[worse])).mean()
            self.optimizer.zero_grad()
            error.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            loss = float(error.detach())
        return {k: v.detach().cpu().numpy() for k, v in self.net.state_dict().items()}, loss
