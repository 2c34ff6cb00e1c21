"""Checks that anybody can run on a shaper: the claims it makes and the laws it must keep.

``check_shaper(MyShaper(...))`` runs them all on random episodes and small decision processes, and says in one sentence what
is wrong.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import numpy as np

from .hosts.columns import pick
from .shaper import MissingFact, Shaper, load
from .stack import Lane, Stack
from .types import Floats, Level, Trajectory, Transition, account

Info = Callable[[int], dict[str, Any]]
TOLERANCE = 1e-9


def facts_of(state: int) -> dict[str, Any]:
    """What the sample episodes publish in state 0 to 4: every key of the info contract that a shaper may need."""
    return {
        "progress": state / 4,
        "score": float(state),
        "max_score": 4.0,
        "success": state == 4,
        "valid_action": state != 1,
        "subgoals": {"a": state >= 1, "b": state >= 3},
    }


def sample(rng: np.random.Generator, steps: int = 6, terminated: bool = True, info: Info = facts_of) -> Trajectory:
    """A random episode on five states with two reward terms.

    Args:
        rng: of everything.
        steps: T.
        terminated: or truncated.
        info: facts of a state.
    """
    obs = [int(x) for x in rng.integers(5, size=steps + 1)]
    infos = [info(o) for o in obs]
    terms = rng.normal(size=(steps, 2)).tolist()
    infos = infos[:1] + [i | {"reward_terms": {"env": a, "aux": b}} for i, (a, b) in zip(infos[1:], terms)]
    rewards = np.array([a + b for a, b in terms], np.float64)
    return Trajectory(
        obs, rng.integers(2, size=steps).tolist(), rewards, terminated, not terminated, infos, {"task": 0}
    )


def return_preserving(shaper: Shaper, n: int = 20, seed: int = 0, info: Info = facts_of) -> float:
    """Largest |sum after - sum before| over random episodes (over the team for a shaper of joint episodes)."""
    rng, worst = np.random.default_rng(seed), 0.0
    for k in range(n):
        group = [sample(rng, int(rng.integers(1, 9)), bool(k % 2), info) for _ in range(3)]
        after = Stack([shaper]).run(group)
        gap = np.array([b.rewards.sum() - a.rewards.sum() for a, b in zip(group, after)])
        worst = max(worst, float(abs(gap.sum()) if shaper.pool == "joint" else np.abs(gap).max()))
    return worst


class Ring:
    """A small decision process: five states in a ring, random but fixed rewards, two actions, slips, a horizon."""

    def __init__(self, seed: int, depth: int = 4) -> None:
        rng = np.random.default_rng(seed)
        self.depth, self.rewards = depth, rng.normal(size=(5, 2, 5)).round(2)

    def outcomes(self, state: int, action: int) -> list[tuple[float, int]]:
        """(probability, next state) of an action."""
        return [(0.8, (state + (1 if action else -1)) % 5), (0.2, state)]


def policy_invariant(
    shaper: Shaper, info: Info = facts_of, gamma: float | None = None, seeds: int = 5, depth: int = 4
) -> bool:
    """Exact dynamic programming over all histories of small decision processes: the same actions are best, and no others.

    The shaper runs on each history with frozen memory, so the check holds for any level.

    Args:
        shaper: what is checked.
        info: facts of a state.
        gamma: the agent's discount; None: the shaper's own ``gamma``, else 1.
        seeds: number of decision processes.
        depth: their horizon.
    """
    gamma = float(getattr(shaper, "gamma", 1.0) if gamma is None else gamma)
    for seed in range(seeds):
        stack, mdp = Stack([shaper]), Ring(seed, depth)
        stack.train(False)
        same = [True]

        def returns(path: list[Any], stack: Stack = stack) -> tuple[float, float]:
            obs = [p[0] for p in path] + [path[-1][2]]
            infos = [info(o) for o in obs]
            infos = infos[:1] + [i | {"reward_terms": {"env": p[3]}} for i, p in zip(infos[1:], path)]
            t = Trajectory(obs, [p[1] for p in path], np.array([p[3] for p in path]), True, False, infos)
            weights = gamma ** np.arange(len(path))
            return float(t.rewards @ weights), float(stack.run([t])[0].rewards @ weights)

        def best(path: list[Any], s: int, mdp: Ring = mdp, same: list[bool] = same) -> tuple[float, float]:
            if len(path) == mdp.depth or (path and s == 0):  # state 0 ends an episode early
                return returns(path)
            q = np.zeros((2, 2))
            for a in (0, 1):
                for p, after in mdp.outcomes(s, a):
                    q[a] += p * np.array(best([*path, (s, a, after, float(mdp.rewards[s, a, after]))], after))
            top = q >= q.max(0) - TOLERANCE
            same[0] &= bool((top[:, 0] == top[:, 1]).all())
            return float(q[:, 0].max()), float(q[:, 1].max())

        best([], 2)
        if not same[0]:
            return False
    return True


def claims(shaper: Shaper, info: Info = facts_of, gamma: float | None = None) -> dict[str, bool]:
    """Each claim of a shaper, checked."""
    out = {}
    if shaper.return_preserving:
        out["return_preserving"] = return_preserving(shaper, info=info) < TOLERANCE
    if shaper.policy_invariant:
        out["policy_invariant"] = policy_invariant(shaper, info, gamma)
    return out


def _memory(stack: Stack) -> str:
    def plain(x: Any) -> Any:
        if isinstance(x, dict):
            return sorted((repr(k), plain(v)) for k, v in x.items())
        if isinstance(x, (list, tuple)):
            return [plain(v) for v in x]
        if isinstance(x, np.ndarray):
            return [str(x.dtype), list(x.shape), x.tobytes().hex()]
        if hasattr(x, "state_dict"):
            return plain({k: np.asarray(v) for k, v in x.state_dict().items()})
        return repr(x)

    return json.dumps(plain(stack.state_dict()))


def frozen(shaper: Shaper, group: list[Trajectory]) -> bool:
    """With ``training`` off a run leaves the shared memory as it was."""
    stack = Stack([shaper])
    stack.run(group)
    stack.train(False)
    before = _memory(stack)
    stack.run(group)
    return _memory(stack) == before


def columns_equal_lanes(shaper: Shaper, n: int = 7, steps: int = 6, seed: int = 0) -> float:
    """Largest difference between one call on arrays and ``n`` calls on numbers, memory frozen.

    Observations are ``(n, 4)`` float64; facts are the progress, score and validity of a random state a lane.
    """
    rng, m = np.random.default_rng(seed), load(shaper)
    m.setup(np.random.default_rng(1))
    m.train(False)

    def facts(states: Any) -> dict[str, Any]:
        return {
            "progress": states / 4,
            "score": states.astype(float),
            "max_score": np.full(n, 4.0),
            "valid_action": states != 1,
            "success": states == 4,
        }

    obs, info = rng.normal(size=(n, 4)), facts(rng.integers(5, size=n))
    state, states = m.init(obs, info), [m.init(obs[i], pick(info, i)) for i in range(n)]
    worst = 0.0
    for _ in range(steps):
        new, after = rng.normal(size=(n, 4)), facts(rng.integers(5, size=n))
        r, te = rng.normal(size=n), rng.random(n) < 0.2
        whole = Transition(obs, np.zeros(n, int), r, new, te, ~te, after, account({}, r))
        got, state = m.step(state, whole)
        for i in range(n):
            one = Transition(obs[i], 0, float(r[i]), new[i], bool(te[i]), bool(~te[i]), pick(after, i), {})
            one.terms = account({}, one.reward)
            want, states[i] = m.step(states[i], one)
            worst = max(worst, abs(float(np.broadcast_to(got, (n,))[i]) - float(want)))
        obs = new
    return worst


def online(shaper: Shaper, traj: Trajectory) -> Floats:
    """The rewards of one episode as the Env host would settle them, step by step."""
    stack, lane, paid = Stack([shaper]), Lane(), []
    stack.train(False)
    stack.begin(lane, traj.obs[0], traj.infos[0])
    extra: dict[str, Any] = {}
    for t in traj:
        t.terms = account(t.info, t.reward)
        reward, extra = stack.step_one(lane, t)
        paid.append(reward)
    return np.array(extra.get("credit", paid), np.float64)


def check_shaper(shaper: Shaper, info: Info = facts_of, seed: int = 0) -> None:
    """All checks that apply to ``shaper``.

    Args:
        shaper: an instance with its settings.
        info: facts of a state 0 to 4, if it needs others than ``facts_of`` publishes.
        seed: of the random episodes.

    Raises:
        AssertionError: what is wrong, in one sentence.
    """
    name = type(shaper).__name__
    rng = np.random.default_rng(seed)
    group = [sample(rng, k, bool(k % 2), info) for k in (6, 1, 3)]
    for claim, holds in claims(shaper, info).items():
        assert holds, f"{name} claims to be {claim}, which it is not"
    try:
        first = Stack([shaper], seed).run(group)
    except MissingFact as e:
        raise AssertionError(f"{name} needs info[{e.key!r}]: give check_shaper an info function that has it") from e
    again = Stack([shaper], seed).run(copy.deepcopy(group))
    for a, b, t in zip(first, again, group):
        assert np.array_equal(a.signal, b.signal, equal_nan=True), f"{name} is not the same twice under one seed"
        assert np.array_equal(t.rewards, sum(t.terms.values())), f"{name} changed the episode that it was shown"
        if shaper.output == "reward":
            assert np.allclose(sum(a.terms.values()), a.rewards), f"{name}'s account does not sum to what it pays"
        else:
            assert np.array_equal(a.rewards, t.rewards), f"{name} gives advantages and must not change rewards"
    assert frozen(shaper, group), f"{name} changes its memory although training is off"
    _check_spec(shaper, group, name, seed)
    if shaper.level < Level.GROUP and not shaper.late and shaper.pool != "joint" and shaper.output == "reward":
        whole = Stack([shaper])
        whole.train(False)
        for t in group:
            gap = np.abs(online(shaper, t) - whole.run([t])[0].rewards).max()
            assert gap < TOLERANCE, f"{name} pays otherwise online than on the recorded episode (by {gap:.3g})"
    if shaper.columnar and "subgoals" not in shaper.needs:
        gap = columns_equal_lanes(shaper)
        assert gap < TOLERANCE, f"{name} is columnar, but one call on arrays differs from calls on numbers by {gap:.3g}"


def _check_spec(shaper: Shaper, group: list[Trajectory], name: str, seed: int) -> None:
    spec = shaper.spec()
    if "live:" in json.dumps(spec):
        return  # live objects refuse to load, which is their law
    stack = Stack([shaper], seed)
    settings = {k: v for k, v in json.loads(json.dumps(spec)).items() if k != "shaper"}
    twin = Stack([type(shaper)(**settings)], seed)
    assert twin.spec() == stack.spec(), f"{name}'s spec does not survive JSON"
    stack.run(group)
    stack.learn(group)
    twin.load_state_dict(stack.state_dict())
    assert _memory(twin) == _memory(stack), f"{name}'s state_dict does not restore its memory"
    for s in (stack, twin):
        s.train(False)
    for a, b in zip(stack.run(group), twin.run(group)):
        assert np.array_equal(a.signal, b.signal, equal_nan=True), f"{name} restored from its state_dict pays otherwise"


def compatible(inner: Shaper, outer: Shaper) -> str:
    """Why ``[inner, outer]`` is no good stack, by levels and claims; an empty string if it is one.

    The first two reasons are refused by ``Stack`` itself; the third works but is rarely meant.
    """
    if inner.output == "advantage" and outer.output != "advantage":
        return "layers that output advantages come last"
    if outer.level == Level.GROUP or inner.level == Level.GROUP:
        return "needs a group: stack.run(group)"
    if inner.policy_invariant and not outer.additive:
        return "what it pays depends on the reward given, which breaks a potential's telescoping: put the potential behind it"
    return ""
