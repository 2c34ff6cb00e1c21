r"""A map of the states that were met, made on the way: how few steps it is from the goal on that map is a potential.

    a state within ``eps`` of a node is that node, else it is a new one;  consecutive states are joined by an edge
    phi(s) = weight decay^(steps on the map from s to the goal),  0 where no way is known
    r'_t = r_t + gamma phi(s') - phi(s),      phi(terminal) = 0, kept at a truncation

G4RL in "Towards better dense rewards" (arXiv 2512.04302), from public notes [T]: at most N nodes, a new node where
``min |f(s) - f(v)| > eps``, edges with the number of passages as weights, the oldest or the least connected node is
replaced. There an encoder is fitted to the weights and the likeness of two codes is added to the rewards of a
hierarchical agent. Here the distance on the map itself is a potential: the card's domain-free form, ours [I].

The goal: ``info[goal]`` at the reset (an observation, as ``desired_goal``), or, without a key, all nodes at which an
episode has ended in success so far. The map is memory, changed only while training. What is paid for the step before is
remembered, so a map that changes still telescopes (Devlin and Kudenko 2012, "Dynamic potential-based reward shaping",
AAMAS).

Invariance: policy-invariant for a map that stands still, phi being a function of the state and of the episode's goal;
while it is made, by the reference above. With ``decay`` below ``gamma`` every step along a shortest way pays more than
0 before its end.

Hacks: walking in circles pays nothing in sum. A map of noise (an ``eps`` below that of the observations) has no ways.

Departures: edges go both ways, ``directed`` only the way that was walked; a step counts as one, however often it was
taken. Texts are compared by hashed words, ``features`` gives others. In evaluation a state stands at its nearest node.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..scorers.hashed import vector
from ..shaper import Shaper, use
from ..types import Floats, Transition

SIZE = 128  # hashed features of a text
Place = tuple[int, int] | None  # a node and its birth


def features_of(x: Any) -> Floats:
    """``(d,)`` numbers of an observation: hashed words of a text, an array flat, a dict's and a sequence's parts one
    after another.

    Raises:
        TypeError: something else, or ragged.
    """
    if isinstance(x, str):
        return np.asarray(vector(x, SIZE, 0), np.float64)
    if isinstance(x, dict):
        return np.concatenate([features_of(x[k]) for k in sorted(x)]) if x else np.zeros(0)
    if isinstance(x, tuple):
        return np.concatenate([features_of(v) for v in x]) if x else np.zeros(0)
    try:
        return np.asarray(x, np.float64).ravel()
    except (TypeError, ValueError):
        raise TypeError(
            f"graph_distance: a {type(x).__name__} has no features: give features, a function of it"
        ) from None


def steps_from(near: Any, starts: Sequence[int]) -> Floats:
    """``(n,)`` fewest steps to any of ``starts`` by the ``(n, n)`` truth of edges i -> j; infinity where there is no way."""
    far = np.full(len(near), np.inf)
    front, steps = np.zeros(len(near), bool), 0
    front[list(starts)] = True
    while front.any():
        far[front] = steps
        front = near[:, front].any(1) & np.isinf(far)
        steps += 1
    return far


@dataclass
class GraphDistance(Shaper):
    """Shapes by the distance to the goal on a map of the states met.

    The state is ``(place of the last observation, potential paid, features of the goal)``. Memory: ``nodes`` ``(n,
    d)``, ``edges`` ``(n, n)`` passages, ``births`` ``(n,)``, ``goals`` ``(n,)`` bool and ``clock``.

    Raises:
        ValueError: a setting outside its range, or features of another size or that are not finite.
        MissingFact: the environment does not publish ``goal``, or at an episode's end ``success``.
    """

    features: str | Callable[[Any], Any] = "milepost.wrappers.step.g4rl:features_of"
    """``observation -> (d,)``, a function or ``"module:function"``."""
    key: str = ""
    """Info key of what ``features`` is taken of; ``""``: the observation."""
    goal: str = ""
    """Key of the reset info with the goal, of the kind that ``features`` takes; ``""``: where episodes have
    succeeded."""
    success: str = "success"
    """Info key that says so, at an episode's end."""
    eps: float = 0.5
    """Distance from which a state is a new node."""
    nodes_max: int = 256
    """N."""
    replace: Literal["oldest", "least"] = "oldest"
    """Which node goes when there are N: the oldest, or the least walked."""
    directed: bool = False
    """Ways lead only where somebody went."""
    decay: float = 0.9
    """Factor of a step on the map."""
    weight: float = 1.0
    """Potential at the goal."""
    gamma: float = 0.99
    """Discount of the agent."""
    policy_invariant = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 < self.decay < 1.0 or not 0.0 <= self.gamma <= 1.0:
            raise ValueError(
                f"graph_distance: decay = {self.decay} and gamma = {self.gamma}, allowed are between 0 and 1, and 0 to 1"
            )
        if not 0.0 <= self.eps < math.inf or self.nodes_max < 2 or not 0.0 <= self.weight < math.inf:
            raise ValueError(
                f"graph_distance: eps = {self.eps}, nodes_max = {self.nodes_max}, weight = {self.weight}; allowed are 0 or "
                "more, 2 or more, 0 or more"
            )

    @property
    def needs(self) -> Sequence[str]:  # type: ignore[override]
        """The goal, or success; the key, if the map is of a fact."""
        own = (self.goal,) if self.goal else (self.success,)
        return (*own, self.key) if self.key else own

    def setup(self, rng: np.random.Generator) -> None:
        """An empty map."""
        self._features = use(self.features)
        if not callable(self._features):
            raise ValueError(
                f"graph_distance: features is {self._features!r}, a function of an observation is expected"
            )
        self.nodes, self.edges = np.zeros((0, 0)), np.zeros((0, 0), np.int64)
        self.births, self.goals, self.clock = np.zeros(0, np.int64), np.zeros(0, bool), 0
        self._far: dict[Any, Floats] = {}  # goal node, or None for all successes, to distances

    def load_state_dict(self, state: Any) -> None:
        """Takes the map back."""
        super().load_state_dict(state)
        self._far = {}

    def init(self, obs: Any, info: dict[str, Any]) -> Any:
        """Finds the first observation and the goal on the map."""
        x = self._seen(obs, info)
        goal = self._numbers(info[self.goal]) if self.goal else None
        place = self._place(x)
        return place, self._phi(x, goal), goal

    def step(self, state: Any, t: Transition) -> tuple[Any, Any]:
        """Walks on the map, draws it on, and pays the discounted change of the potential."""
        last, held, goal = state
        x = self._seen(t.next_obs, t.info)
        place = self._place(x)
        if self.training:
            self._walk(last, place)
        if not self.goal and (t.terminated or t.truncated) and t.info[self.success] and self.training and place:
            self.goals[place[0]] = True
            self._far = {}
        phi = 0.0 if t.terminated else self._phi(x, goal)
        return t.reward + (self.gamma * phi - held), (place, phi, goal)

    # -- the map -----------------------------------------------------------------------------------
    def _seen(self, obs: Any, info: dict[str, Any]) -> Floats:
        return self._numbers(info[self.key] if self.key else obs)

    def _numbers(self, x: Any) -> Floats:
        out = np.asarray(self._features(x), np.float64).ravel()
        if len(self.nodes) and out.shape != self.nodes[0].shape:
            raise ValueError(f"graph_distance: {out.size} features after nodes of {self.nodes.shape[1]}")
        if not np.isfinite(out).all():  # such a node would be the nearest of every state
            raise ValueError("graph_distance: features are not finite; finite numbers are expected")
        return out

    def _nearest(self, x: Floats) -> tuple[int, float]:
        d = np.sqrt(((self.nodes - x) ** 2).sum(1))
        k = int(d.argmin())
        return k, float(d[k])

    def _place(self, x: Floats) -> Place:
        """The node that the features belong to; a new one is drawn while training. None on an empty map."""
        if len(self.nodes):
            k, d = self._nearest(x)
            if d <= self.eps or not self.training:
                return k, int(self.births[k])
        elif not self.training:
            return None
        self.clock += 1
        if len(self.nodes) < self.nodes_max:
            k, n = len(self.nodes), len(self.nodes) + 1
            self.nodes = np.concatenate([self.nodes.reshape(k, x.size), x[None]])
            self.edges = np.pad(self.edges, ((0, 1), (0, 1)))
            self.births, self.goals = np.append(self.births, self.clock), np.append(self.goals, False)
            self._far = {g: np.append(far, np.inf) for g, far in self._far.items() if len(far) == n - 1}
        else:
            walked = self.edges.sum(0) + self.edges.sum(1)
            order = np.lexsort((self.births, walked)) if self.replace == "least" else np.argsort(self.births)
            k = int(
                next(i for i in order if not self.goals[i] or self.goals.all())
            )  # goals stay while there are others
            self.nodes[k], self.edges[k], self.edges[:, k] = x, 0, 0
            self.births[k], self.goals[k] = self.clock, False
            self._far = {}
        return k, self.clock

    def _walk(self, last: Place, place: Place) -> None:
        if last is None or place is None or last[0] == place[0] or self.births[last[0]] != last[1]:
            return  # no step on the map, or the node that it began at is gone
        if not self.edges[last[0], place[0]]:
            self._far = {}
        self.edges[last[0], place[0]] += 1

    def _phi(self, x: Floats, goal: Floats | None) -> float:
        """Potential of a state on the map as it is now."""
        if not len(self.nodes):
            return 0.0
        to: int | None = None
        if goal is not None:
            to, d = self._nearest(goal)
            if d > self.eps:
                return 0.0
        if to not in self._far:
            near = self.edges > 0
            starts = np.flatnonzero(self.goals).tolist() if to is None else [to]
            self._far[to] = steps_from(near if self.directed else near | near.T, starts)
        far = self._far[to][self._nearest(x)[0]]
        return float(self.weight * self.decay**far)
