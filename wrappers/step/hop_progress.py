r"""Progress by hops between two observations, seen from several sides, as a potential.

    H(p, q) = (phi_q - phi_p) / (1 - phi_p)  if phi_q >= phi_p  else  (phi_q - phi_p) / phi_p          in [-1, 1]
    phi after a hop:  phi + (1 - phi) H  if H >= 0  else  phi + phi H                                   in [0, 1]
    views:  incremental from phi_{t-1} by H(s_{t-1}, s_t),  forward from phi_0 by H(s_0, s_t),  backward from 1 by H(goal, s_t)
    phi_t = mean of the views, or, with consistency alpha, m = (phi_F + phi_B) / 2, d = |phi_B - phi_F| / (m + 1e-8),
            w = exp(-alpha d^2):    phi_t = phi_{t-1} + (w / 2) (m - phi_{t-1} + phi_I - phi_{t-1})
    r'_t = r_t + gamma phi_{t+1} - phi_t + bonus 1[phi_{t+1} >= success_at, the first time]

Robo-Dopamine (arXiv 2512.23703): hop labels, fusion of three views, consistency-aware update, policy-invariant shaping.
Paying ``phi' - phi`` without the discount is the paper's "semantic trap": the discounted return then grows with every step
spent at high progress.

Invariance: the potential part is policy-invariant when phi is a function of the state and 0 at termination. That holds with
the progress fact (the three views then agree) and with a scorer without the incremental view and without consistency. The
property ``policy_invariant`` says so for the settings given; the success bonus ends it.

Departures: phi at termination is 0 (the paper keeps it, ``terminal_potential=None``; ``gamma^T phi_T`` then stays in the
return), kept at truncation. The success bonus is off (an environment pays its own success) and, where on, is paid once an
episode: the paper's indicator pays at every step spent above the mark. Forward and backward views go through the hop's
reconstruction: with ``phi_0`` = 0 it equals the paper's ``H(s_0, s_t)`` and ``1 + H(goal, s_t)`` where these lie in [0, 1],
elsewhere it cuts them. A scorer without an answer (None) leaves its view out; with none left phi stays where it was (the
authors' code also reads a parse failure as "no change").

Who says the hops: nobody (the progress fact), ``scorer``, a function of observations, or ``judge``, a scorer of ``scorers``
that reads the two states as texts, see ``hop_judge``: what the paper trains a vision-language model for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..maths import clip, number, unless
from ..scorers import serve
from ..shaper import Shaper, use
from ..types import Transition
from .hop_judge import HopJudge, advance, hop, shown

View = Literal["incremental", "forward", "backward"]
Hop = Callable[[Any, Any, Any, Any], "float | None"]


def trust(forward: Any, backward: Any, alpha: float) -> Any:
    """``w = exp(-alpha d^2)`` with ``d = |B - F| / ((F + B) / 2 + 1e-8)``: how far two views agree."""
    apart = abs(backward - forward) / ((forward + backward) / 2 + 1e-8)
    return number(np.exp(-alpha * apart**2))


@dataclass
class HopProgress(Shaper):
    """Shapes by the discounted change of a progress that is put together from hops.

    The state is ``(phi, potential paid, evidence before, evidence at the start, goal, bonus paid)``; evidence is the progress
    fact or the observation. Columnar with the fact.

    Raises:
        ValueError: a setting outside its range, no view, or a backward view of a scorer without a goal.
        MissingFact: the environment does not publish ``key`` or ``goal``.
    """

    key: str = "progress"
    """Info key of the progress in [0, 1], used when no scorer and no judge is given."""
    scorer: str | Hop = ""
    """``hop(before, after, start, goal)`` of four observations, in [-1, 1] or None; a function or ``"module:function"``."""
    goal: str = ""
    """Key of the reset info with the goal observation, for a scorer or a judge."""
    views: tuple[View, ...] = ("incremental", "forward", "backward")
    """Which views are fused."""
    consistency: float | None = None
    """alpha of the consistency weight (needs all three views); None: the plain mean."""
    gamma: float = 0.99
    """Discount of the agent."""
    success_bonus: float = 0.0
    """Paid once an episode when phi reaches ``success_at``; the paper's is 1."""
    success_at: float = 0.95
    """Progress that counts as success."""
    terminal_potential: float | None = 0.0
    """Potential of a terminal state; None keeps phi there, as the paper does."""
    judge: Any = None
    """Who says the hops of two texts: a scorer of questions or ratings, its name or settings, see ``scorers.serve``."""
    ask: Literal["question", "rating"] = "question"
    """What a judge is asked: of two states, is the second nearer or farther; or of each state, how far it is."""
    task: str = ""
    """What a judge is told about the task; empty: what the first observation says of it."""
    text: str = ""
    """Info key of what a judge sees of a state; ``""``: the observation, which is a text then."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 <= self.gamma <= 1.0:
            raise ValueError(f"hop_progress: gamma = {self.gamma}, allowed is 0 to 1")
        if not self.views or len(set(self.views)) != len(self.views):
            raise ValueError(
                f"hop_progress: views = {self.views}, allowed is one or more of incremental, forward, backward"
            )
        if self.consistency is not None and (self.consistency < 0 or len(self.views) != 3):
            raise ValueError(
                "hop_progress: consistency is 0 or more and needs the incremental, forward and backward views"
            )
        if self.scorer and self.judge is not None:
            raise ValueError("hop_progress: a judge takes the place of a scorer: give one of them")
        if self.judge is None and (self.task or self.text or self.ask != "question"):
            raise ValueError("hop_progress: task, text and ask are settings for a judge, and none is given: add judge=")
        if self._asks and "backward" in self.views and not self.goal:
            raise ValueError(
                "hop_progress: the backward view of a scorer needs goal, the info key of the goal observation"
            )
        if self.success_bonus < 0 or not 0.0 < self.success_at <= 1.0:
            raise ValueError("hop_progress: success_bonus is 0 or more and success_at in (0, 1]")

    @property
    def _asks(self) -> bool:
        """Does somebody say the hops?"""
        return bool(self.scorer) or self.judge is not None

    @property
    def policy_invariant(self) -> bool:  # type: ignore[override]
        """Only the potential part, 0 at termination, of a potential that the path cannot change."""
        of_state = not self._asks or ("incremental" not in self.views and self.consistency is None)
        return of_state and self.terminal_potential == 0 and self.success_bonus == 0

    @property
    def columnar(self) -> bool:  # type: ignore[override]
        """The fact comes as an array, a scorer sees one pair."""
        return not self._asks

    @property
    def needs(self) -> Sequence[str]:  # type: ignore[override]
        """The fact, or the goal, and what a judge sees."""
        return tuple(k for k in (self.goal, self.text) if k) if self._asks else (self.key,)

    def setup(self, rng: np.random.Generator) -> None:
        """Looks the scorer up, or serves the judge; ``_stats`` counts its silences."""
        self._services = {} if self.judge is None else {"judge": serve(self.judge, self.ask)}
        self._judged = HopJudge(self._services["judge"], self.ask, self.task) if self._services else None
        self._hop: Hop | None = use(self.scorer) if self.scorer else self._judged
        if self._hop is not None and not callable(self._hop):
            raise ValueError(f"hop_progress: scorer is {self._hop!r}, a function of four observations is expected")
        self._stats: Counter[str] = Counter()

    def init(self, obs: Any, info: dict[str, Any]) -> Any:
        """A scorer starts at 0, the fact where it stands."""
        if self._judged is not None:
            seen, goal = shown(obs, info, self.text), str(info[self.goal]) if self.goal else ""
            return 0.0, 0.0, seen, seen, goal, False
        if self._hop is not None:
            return 0.0, 0.0, obs, obs, info[self.goal] if self.goal else None, False
        phi = clip(number(info[self.key]), 0.0, 1.0)
        return phi, phi, phi, phi, 1.0, False

    def step(self, state: Any, t: Transition) -> tuple[Any, Any]:
        """Fuses the views into the new progress and pays its discounted change."""
        phi, held, before, start, goal, paid = state
        seen = self._seen(t)
        start_phi = 0.0 if self._hop is not None else start
        view: dict[str, Any] = {}
        for name in self.views:
            base = {"incremental": phi, "forward": start_phi, "backward": 1.0}[name]
            origin = {"incremental": before, "forward": start, "backward": goal}[name]
            h = hop(origin, seen) if self._hop is None else self._ask(origin, seen, start, goal)
            if h is not None:
                view[name] = advance(base, h)
        new = self._fuse(phi, view)
        potential = (
            new
            if self.terminal_potential is None
            else unless(t.terminated, new) + t.terminated * self.terminal_potential
        )
        reached = new >= self.success_at
        bonus = self.success_bonus * (reached & (1 - paid)) if self.success_bonus else 0.0
        reward = t.reward + (self.gamma * potential - held) + bonus
        return reward, (new, potential, seen, start, goal, paid | reached)

    def steps(self, states: list[Any], ts: Sequence[Transition]) -> list[Any]:
        """The same for several streams: a judge is asked about all their pairs at once."""
        if self._judged is not None:
            pairs = [
                ({"incremental": before, "forward": start, "backward": goal}[name], self._seen(t), start, goal)
                for (_, _, before, start, goal, _), t in zip(states, ts)
                for name in self.views
            ]
            self._judged.prepare(pairs)
        return super().steps(states, ts)

    def _seen(self, t: Transition) -> Any:
        """The evidence after a step."""
        if self._judged is not None:
            return shown(t.next_obs, t.info, self.text)
        return t.next_obs if self._hop is not None else clip(number(t.info[self.key]), 0.0, 1.0)

    def _ask(self, origin: Any, seen: Any, start: Any, goal: Any) -> float | None:
        assert self._hop is not None
        h = self._hop(origin, seen, start, goal)
        if h is None:
            self._stats["no answer"] += 1
            return None
        h = float(h)
        if h != h:
            raise ValueError("hop_progress: the scorer answered NaN; a number in [-1, 1] or None is expected")
        return float(clip(h, -1.0, 1.0))

    def _fuse(self, phi: Any, view: dict[str, Any]) -> Any:
        if self.consistency is None:
            return sum(view.values()) / len(view) if view else phi
        if len(view) < 3:
            return phi
        forward, backward = view["forward"], view["backward"]
        w = trust(forward, backward, self.consistency)
        return phi + w / 2 * ((forward + backward) / 2 - phi + view["incremental"] - phi)
