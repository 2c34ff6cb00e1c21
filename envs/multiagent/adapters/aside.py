"""Keeps what others do with the process's global generators apart from everybody else's use of them."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np


class Aside:
    """A state of ``random`` and of ``numpy.random`` that belongs to one environment.

    Inside ``with aside():`` the global generators go on from this state; outside they are as if nothing had been drawn.
    """

    def __init__(self) -> None:
        self.state: tuple[Any, Any] | None = None

    @contextlib.contextmanager
    def __call__(self, seed: int | None = None) -> Iterator[None]:
        """Puts the state in place, a new one where a ``seed`` is given, 0 where there is none yet."""
        outside = random.getstate(), np.random.get_state()
        if seed is None and self.state is not None:
            random.setstate(self.state[0])
            np.random.set_state(self.state[1])
        else:
            random.seed(seed or 0)
            np.random.seed((seed or 0) % 2**32)
        try:
            yield
        finally:
            self.state = random.getstate(), np.random.get_state()
            random.setstate(outside[0])
            np.random.set_state(outside[1])
