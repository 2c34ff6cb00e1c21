"""``milepost/FlowSampler-v0``: a small flow-matching sampler whose noise is the agent's."""

from __future__ import annotations

import inspect
import math
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete
from numpy.typing import NDArray

from .errors import one_of
from .text.base import Split, TextEnv, whole
from .text.indexed import Indexed

Point = NDArray[np.float64]
RADIUS, WIDTH = 2.0, 0.15  # of the ring of modes, of a mode
GOOD = 0.5  # quality from which a sample is what was asked for
PUSHES = ("east", "northeast", "north", "northwest", "west", "southwest", "south", "southeast")
COMMANDS = (*(f"push {d}" for d in PUSHES), "drift")
WAYS = np.array([*((math.cos(k * math.pi / 4), math.sin(k * math.pi / 4)) for k in range(8)), (0.0, 0.0)])


class World(NamedTuple):
    """What a task fixes: ``(modes, 2)`` centres, the mode that is wanted, the first point."""

    centers: Point
    wanted: int
    start: Point


def velocity(x: Point, t: float, centers: Point, width: float = WIDTH) -> Point:
    """``(2,)`` E[x_1 - x_0 | x_t = x] on the straight path x_t = (1 - t) x_0 + t x_1, in closed form.

    x_0 is standard normal, x_1 an equal mixture of normals of this width around the centres ``(modes, 2)``: the field that a
    flow-matching model learns.
    """
    var = (1 - t) ** 2 + t**2 * width**2
    off = x - t * centers
    logs = -(off**2).sum(1) / (2 * var)
    share = np.exp(logs - logs.max())
    flows = centers + (t * width**2 - (1 - t)) / var * off
    return np.asarray(share @ flows / share.sum(), np.float64)


def complete(x: Point, step: int, steps: int, centers: Point) -> Point:
    """``(2,)`` where the flow ends from ``x`` after ``step`` of ``steps`` Euler steps, without noise."""
    for k in range(step, steps):
        x = x + velocity(x, k / steps, centers) / steps
    return x


def quality(x: Point, center: Point) -> float:
    """exp(-|x - center|^2 / 2): 1 at the centre."""
    return math.exp(-0.5 * float(((x - center) ** 2).sum()))


def build(task: int, modes: int, steps: int) -> World:
    """The world of a task: a mode is wanted that the flow alone does not reach, and that is no neighbour of where it ends."""
    rng = np.random.default_rng([task, 20_601])
    turn = rng.uniform(0, 2 * math.pi) + 2 * math.pi * np.arange(modes) / modes
    centers = RADIUS * np.stack([np.cos(turn), np.sin(turn)], 1)
    start = rng.normal(size=2)
    while float(start @ start) < 0.25:  # near the middle noise alone would decide
        start = rng.normal(size=2)
    end = complete(start, 0, steps, centers)
    nearest = int(np.argmin(((centers - end) ** 2).sum(1)))
    return World(centers, (nearest + int(rng.integers(2, modes - 1))) % modes, start)


class FlowSamplerEnv(TextEnv):
    """A flow-matching sampler in the plane: push its noise so that it draws from the mode that was asked for.

    ## Description
    The environment of TP-GRPO, VGPO and GDRO in small. A flow model (in closed form, nothing is trained) turns a point of
    a normal distribution into one of a mixture of modes on a ring, in ``max_steps`` Euler steps. A step is
    ``x <- x + v(x, t) / T + s_t u + n_t e``: the flow, the push ``u`` that the agent chooses among eight directions and none,
    and noise ``e``; ``s_t = strength (1 - t)`` and ``n_t = noise (1 - t) / sqrt(T)`` vanish as the sample gets sharp.
    Each task is a ring, a first point and a wanted mode, which the flow alone does not reach. Early pushes
    decide which mode it will be, late ones hardly move it: which step turned the sample is the question of
    credit that these methods ask.

    ## Observation Space
    ``Unicode(4096)``: the wanted mode, the step, the point, what the flow adds, how far a push goes. ``-encoded``: a ``Dict``
    with ``observation`` float32 ``(8,)`` (point, flow, wanted mode, time, size of a push) and ``action_mask`` int8 ``(9,)``.

    ## Action Space
    ``Unicode(256)``: ``drift``, or ``push`` with a direction (``push east``, ``push northeast`` ...). Anything else drifts
    and has ``valid_action = False``. ``-encoded``: ``Discrete(9)``, the pushes and then ``drift``.

    ## Rewards
    One term, ``outcome``: 1.0 at the last step if the quality of the sample is at least .5, else 0.0. Its quality is
    ``exp(-d^2 / 2)`` with the distance ``d`` to the wanted mode's centre. ``pay="quality"`` pays the quality itself instead,
    which is not 0 for a bad sample.

    ## Episode End
    Terminates after ``max_steps`` steps.

    ## Information
    ``value``: the quality of the sample if the rest is completed by the flow alone, without pushes or noise: the
    trace R_0 ... R_T of TP-GRPO; a function of the state, also published as ``score`` (``max_score`` is 1) and ``progress``.
    ``subgoals`` (``basin``: the value is at least .5; ``sample``: it is, and the sample is drawn), ``success``,
    ``valid_action``, ``admissible_actions``, ``message``, ``messages``; in the reset info ``meta`` with the task, and, with
    ``expose_reference``, ``reference``: the oracle's plan. The oracle takes the push that brings the point nearest to the
    wanted mode, and drifts where none does; with the default settings it always wins, with fewer steps or shorter pushes
    not every time.

    ## Arguments
    ``modes`` 4 to 12, ``strength`` of a push, ``noise`` (0: steps are deterministic), ``pay`` (``outcome`` or ``quality``),
    ``max_steps`` (T, from 4), ``split``, ``worlds``, ``expose_reference``, ``render_mode``. ``reset(options={"task": n})``
    picks a task.

    ## Version History
    * v0: first version.

    Raises:
        ValueError: a setting is unknown or not allowed; names it and what is.
    """

    name = "flow"

    def __init__(
        self,
        modes: int = 6,
        strength: float = 0.6,
        noise: float = 0.1,
        pay: str = "outcome",
        max_steps: int = 10,
        split: Split = "train",
        worlds: int | None = None,
        expose_reference: bool = False,
        render_mode: str | None = None,
        **unknown: Any,  # only to be refused in our words
    ) -> None:
        if unknown:
            known = [p.name for p in inspect.signature(type(self)).parameters.values() if p.kind != p.VAR_KEYWORD]
            raise one_of("a setting of FlowSampler", next(iter(unknown)), known)
        super().__init__(
            split=split, worlds=worlds, max_steps=whole("max_steps", max_steps, 4, 1000),
            expose_reference=expose_reference, render_mode=render_mode,
        )  # fmt: skip
        self.modes = whole("modes", modes, 4, 12)
        self.strength, self.noise = _size("strength", strength), _size("noise", noise)
        if pay not in ("outcome", "quality"):
            raise one_of("pay", pay, ("outcome", "quality"))
        self.pay = pay
        self.world = build(0, self.modes, self.max_steps)
        self.x, self._drawn = self.world.start.copy(), False

    def _begin(self, task: int) -> None:
        self.world = build(task, self.modes, self.max_steps)
        self.x, self._drawn, self._feedback = self.world.start.copy(), False, ""

    # -- the sampler -----------------------------------------------------------------------------
    @property
    def target(self) -> Point:
        """``(2,)`` the centre of the wanted mode."""
        return np.asarray(self.world.centers[self.world.wanted], np.float64)

    def _flow(self, x: Point, step: int) -> Point:
        return velocity(x, step / self.max_steps, self.world.centers) / self.max_steps

    def _reach(self, step: int) -> float:
        return self.strength * (1 - step / self.max_steps)

    def _command(self, command: str) -> bool:
        valid = command in COMMANDS
        k = COMMANDS.index(command) if valid else len(COMMANDS) - 1
        step = self._steps - 1  # this one is counted already
        self.x = self.x + self._flow(self.x, step) + self._reach(step) * WAYS[k]
        if self.noise:
            size = self.noise * (1 - step / self.max_steps) / math.sqrt(self.max_steps)
            self.x = self.x + size * self.np_random.normal(size=2)
        self._drawn = self._steps >= self.max_steps
        done = "it drifts" if k == len(COMMANDS) - 1 else f"pushed {PUSHES[k]}"
        self._feedback = (
            f"{done[0].upper()}{done[1:]}." if valid else f"You cannot {command or 'do nothing'}; it drifts."
        )
        return valid

    def _value(self) -> float:
        return quality(complete(self.x, self._steps, self.max_steps, self.world.centers), self.target)

    def _facts(self) -> dict[str, Any]:
        value = round(self._value(), 6)
        won = self._drawn and value >= GOOD
        facts: dict[str, Any] = {
            "score": value,
            "max_score": 1.0,
            "progress": value,
            "value": value,
            "subgoals": {"basin": value >= GOOD, "sample": won},
            "success": won,
            "over": self._drawn,
            "admissible_actions": () if self._drawn else COMMANDS,
        }
        if self.pay == "quality":
            facts["reward_terms"] = {"outcome": value if self._drawn else 0.0}
        if not self._steps:
            facts.pop("over")
            facts.pop("reward_terms", None)
        return facts

    def _look(self) -> str:
        def place(p: Point) -> str:
            return f"({p[0] + 0.0:.2f}, {p[1] + 0.0:.2f})"

        lines = [f"Wanted: a sample near {place(self.target)}."]
        if self._drawn:
            lines.append(f"The sample is drawn: {place(self.x)}.")
        else:
            lines.append(f"Step {self._steps + 1} of {self.max_steps}: the point is at {place(self.x)}.")
            push = self._reach(self._steps)
            lines.append(f"The flow moves it by {place(self._flow(self.x, self._steps))}, a push by {push:.2f}.")
        if self._feedback:
            lines.append(f"> {self._feedback}")
        return "\n".join(lines)

    def _plan(self) -> list[str]:
        """The push that brings the point nearest to the wanted mode, step by step, without noise."""
        x, plan = self.x, []
        for step in range(self._steps, self.max_steps):
            ends = x + self._flow(x, step) + self._reach(step) * WAYS
            k = int(np.argmin(((ends - self.target) ** 2).sum(1)))
            plan.append(COMMANDS[k])
            x = ends[k]
        return plan

    def features(self) -> Point:
        """``(8,)`` point, flow, wanted mode, time, size of a push."""
        flow = self._flow(self.x, self._steps) * self.max_steps if not self._drawn else np.zeros(2)
        rest = (self._steps / self.max_steps, self._reach(self._steps))
        return np.concatenate([self.x, flow, self.target, rest])

    def _save(self) -> Any:
        return self.world, self.x, self._drawn, self._feedback

    def _load(self, state: Any) -> None:
        self.world, self.x, self._drawn, self._feedback = state


def _size(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise ValueError(f"{name} is {value!r}; allowed: a finite number from 0")
    return float(value)


class FlowFace(Indexed):
    """The sampler in numbers.

    Observation: ``observation`` float32 ``(8,)``, cut to [-20, 20]: point, flow, wanted mode, time, size of a push;
    ``action_mask`` int8 ``(9,)``. Action: the index of a push, or 8 to drift.

    Args:
        env: a FlowSampler.

    Raises:
        ValueError: it is something else.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        if not isinstance(env.unwrapped, FlowSamplerEnv):
            raise ValueError(f"FlowFace goes around milepost/FlowSampler-v0, not {env.unwrapped}")
        mask = Box(0, 1, (len(COMMANDS),), np.int8)
        self.observation_space = Dict({"observation": Box(-20.0, 20.0, (8,), np.float32), "action_mask": mask})
        self.action_space = Discrete(len(COMMANDS))
        self._choices = COMMANDS

    def _command(self, i: int) -> str:
        return COMMANDS[i] if 0 <= i < len(COMMANDS) else ""

    def action_masks(self) -> NDArray[np.bool_]:
        """``(9,)`` bool, as sb3-contrib's MaskablePPO asks for it: everything can always be done."""
        return np.ones(len(COMMANDS), bool)

    def _shown(self, text: str, info: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        sampler: Any = self.env.unwrapped
        mask = np.full(len(COMMANDS), bool(info["admissible_actions"]), np.int8)
        seen = np.clip(sampler.features(), -20.0, 20.0).astype(np.float32)
        return {"observation": seen, "action_mask": mask}, info | {"action_mask": mask.copy()}
