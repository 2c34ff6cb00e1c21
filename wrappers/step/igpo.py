"""Information gain: each turn is paid for how much likelier it made the right answer.

    r_t = lp_t - lp_{t-1},    lp_t = (1 / L) sum_j log pi(a_j | what was seen after turn t, a_<j)

"Information Gain-based Policy Optimization" (IGPO, arXiv 2510.14967 v2); a is the right answer of L tokens, and the turn that
answers keeps the environment's reward. The first version has the change of the probability: ``mode="prob"``. The advantage that
goes with it is ``FusedAdvantage(process=("information_gain",), norm="zscore", gamma=1.0, last=False)``.

Who computes lp is the environment or a wrapper of your own: it publishes ``info["answer_logprob"]`` at the reset and at every
step (``milepost/SearchQA-v0`` with ``scorer``).

Invariance: none. The gains telescope to lp of the last turn before the answer minus lp of the question, so walking in circles
pays nothing; without the paper's gap at the answer it would be a potential with gamma = 1.

Departures: a gain that is no number is 0 (as third-party code has it) and the next one counts from the last known lp. The
authors' code pays -2.0 for an answer in a wrong form: ``invalid=-2.0``. Their curriculum of weights is ``Scale`` here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..maths import known
from ..shaper import Shaper
from ..types import Transition


@dataclass
class InformationGain(Shaper):
    """Adds the change of the answer's log-probability at every turn but the last.

    The state is the last known value.

    Raises:
        MissingFact: the environment does not publish ``key`` at the reset.
    """

    key: str = "answer_logprob"
    """Info key of lp, a float; None or NaN where it is not known."""
    mode: Literal["logprob", "prob"] = "logprob"
    """The change of lp, or of exp(lp)."""
    invalid: float | None = None
    """What replaces the reward of a last turn that was not valid; None: nothing."""

    @property
    def needs(self) -> Sequence[str]:  # type: ignore[override]
        """The value and, if it is read, whether the action was valid."""
        return (self.key,) if self.invalid is None else (self.key, "valid_action")

    def _value(self, info: dict[str, Any]) -> float | None:
        lp: float = known(info.get(self.key))
        if not math.isfinite(lp):
            return None
        return lp if self.mode == "logprob" else math.exp(lp)

    def init(self, obs: Any, info: dict[str, Any]) -> Any:
        """The value of the question."""
        info[self.key]  # MissingFact where nobody publishes it; later on a turn may lack it
        return self._value(info)

    def step(self, state: Any, t: Transition) -> tuple[Any, Any]:
        """Pays the gain."""
        if t.terminated or t.truncated:
            wrong = self.invalid is not None and not t.info["valid_action"]
            return (self.invalid if wrong else t.reward), state
        value = self._value(t.info)
        if value is None:
            return t.reward, state
        return t.reward + (0.0 if state is None else value - state), value
