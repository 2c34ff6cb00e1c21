"""Runs shapers in order over streams of experience and keeps the account of who added what."""

from __future__ import annotations

import math
import re
import warnings
import zlib
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .facts import Fact, at_reset, plain, resolve
from .maths import by
from .shaper import MissingFact, Shaper, load, single, snake
from .types import Floats, Group, Level, Trajectory, Transition, WrongFact

KEEP = 100_000  # steps of finished episodes kept for take()


def _holds(fact: Any, value: Any) -> bool:
    """Is the value this very fact, or somewhere in it?"""
    parts = fact.values() if isinstance(fact, Mapping) else fact if isinstance(fact, (list, tuple)) else ()
    return fact is value or any(_holds(x, value) for x in parts)


class Lane:
    """One stream's running episode: layer states, last observation, and, if needed, its record."""

    __slots__ = ("done", "meta", "obs", "record", "returns", "states", "team", "walked")

    def __init__(self, team: list[Lane] | None = None, **meta: Any) -> None:
        self.meta, self.team = meta, team  # team: the lanes of one joint episode
        self.record: list[tuple[Any, ...]] | None = None
        self.states: list[Any] | None = None  # None: no running episode
        self.done: Trajectory | None = None
        self.obs: Any = None
        self.walked = False  # has this episode a step?
        self.returns = (0.0, 0.0)  # of the environment, shaped


class Stack:
    """Layers in order, ``shapers[0]`` nearest the environment, in three segments whose levels never fall.

    ``head`` (step layers) runs online; ``body`` (from the first episode layer) runs when an episode ends, joint layers
    when the last agent has left; ``tail`` (from the first group, late or advantage layer) runs when the trainer hands
    over a batch. The contribution of a layer is its output minus its input, so contributions sum to what is paid.

    Args:
        shapers: shapers or their specs; the stack makes its own copies.
        seed: of the layers' random streams; layer ``name`` draws from ``default_rng([seed, crc32(name)])``.
        facts: info keys the environment lacks, as functions of the transition (or ``"module:function"``).
        inner: the stack nearer the environment, whose names are continued.
        keep: steps of finished episodes kept for ``take()`` at most; None: 100,000 if a layer will want them, else 0.

    Attributes:
        abandoned: episodes cut off by a reset before they ended; episode layers never saw them.
        dropped: finished episodes forgotten because nobody called ``take()``.

    Raises:
        ValueError: layers that cannot stand in this order; names them.
    """

    def __init__(
        self,
        shapers: Sequence[Shaper | Mapping[str, Any]],
        seed: int = 0,
        *,
        facts: Mapping[str, str | Fact] | None = None,
        inner: Stack | None = None,
        keep: int | None = None,
    ) -> None:
        self.shapers = [load(m) for m in shapers]
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
            raise ValueError(f"seed is {seed!r}; allowed: a whole number from 0")
        self.seed, self.facts, self.fact_spec = int(seed), resolve(facts), plain(facts)
        if inner is not None and (inner.body or inner.tail) and self.shapers:
            raise ValueError(
                f"the inner stack settles its rewards when an episode ends ({', '.join(inner.names[inner.b :])}); "
                "a stack outside it would see them too early: put all layers into one list, shape(env, [...])"
            )
        taken = list(inner.names) if inner is not None else []
        self.names: list[str] = []
        for m in self.shapers:
            name = snake(type(m).__name__)
            n = sum(re.sub(r"_\d+$", "", x) == name for x in taken + self.names)
            self.names.append(f"{name}_{n + 1}" if n else name)
        self._segments()
        self.finished: deque[Trajectory] = deque()
        wanted = bool(self.tail) or self.joint or self.learns  # somebody will call take()
        self.keep = keep if keep is not None else KEEP if wanted else 0
        self.records = bool(self.body or self.tail or self.learns or self.keep)
        self.kept = self.dropped = self.abandoned = 0
        for name, m in zip(self.names, self.shapers):
            try:
                m.setup(np.random.default_rng([seed, zlib.crc32(name.encode())]))
            except ValueError as e:  # of a scorer or of a name that settings give: they do not know whose
                if type(e) is not ValueError or str(e).startswith(f"{snake(type(m).__name__)}:"):
                    raise
                raise ValueError(f"{name}: {e}") from e
        self._calls = [(k, n, single(m)) for k, (n, m) in enumerate(zip(self.names, self.head))]

    def _segments(self) -> None:
        late = [
            m.late or (m.level == Level.GROUP and m.pool != "joint") or m.output == "advantage" for m in self.shapers
        ]
        size = len(self.shapers)
        self.b = next((i for i, m in enumerate(self.shapers) if m.level > Level.STEP or late[i]), size)
        self.c = next((i for i in range(size) if late[i]), size)
        first = next((i for i, m in enumerate(self.shapers) if m.output == "advantage"), size)
        for n, m in zip(self.names[first:], self.shapers[first:]):
            if m.output != "advantage":
                raise ValueError(
                    f"{n} gives rewards but stands after {self.names[first]}, which gives advantages: "
                    "layers that output advantages come last"
                )
        self.head, self.body, self.tail = self.shapers[: self.b], self.shapers[self.b : self.c], self.shapers[self.c :]
        self.joint = any(m.pool == "joint" for m in self.body)
        self.learns = any(m.learns for m in self.shapers)
        self.zeros = dict.fromkeys(self.names[self.b : self.c], 0.0)  # what the body says before an episode's end

    # -- online: one call per simultaneous step --------------------------------------------------
    def begin(self, lane: Lane, obs: Any, info: dict[str, Any]) -> dict[str, Any]:
        """A new episode on ``lane``; returns the facts to publish with its first observation.

        Raises:
            MissingFact: a layer reads an info key that is not published.
            WrongFact: a layer wants a number, and the key holds none.
        """
        if lane.walked:
            self._abandon()
        extra: dict[str, Any] = {}
        if self.facts:
            extra = self._known(at_reset(obs, info))
            info = info | extra
        lane.obs, lane.walked, lane.returns = obs, False, (0.0, 0.0)
        lane.states = []
        for name, m in zip(self.names, self.head):
            try:
                lane.states.append(m.init(obs, info))
            except (KeyError, WrongFact) as e:
                raise self.missing(name, m, e, [info]) from e
        lane.record = [(obs, info)] if self.records else None
        return extra

    def _abandon(self) -> None:
        self.abandoned += 1
        if self.abandoned == 1 and self.records:
            warnings.warn(
                "a reset cut off an episode before it ended, so layers that settle at its end never saw it "
                "(counted in stack.abandoned): put TimeLimit inside and shape(...) outside",
                stacklevel=4,
            )

    def _known(self, t: Transition) -> dict[str, Any]:
        return {k: f(t) for k, f in self.facts.items()}

    @staticmethod
    def missing(name: str, m: Shaper, e: KeyError | WrongFact, infos: Iterable[Mapping[str, Any]]) -> Exception:
        """``MissingFact`` if the key is one the layer (or its child) needs; ``WrongFact`` with names; else the error itself.

        Args:
            name: of the layer.
            m: the layer.
            e: what it raised.
            infos: what it could read.
        """
        if isinstance(e, WrongFact):
            facts = ((k, i[k]) for i in infos for s in m.tree() for k in s.needs if k in i)
            there = {f"info[{k!r}]": x is e.value for k, x in facts if _holds(x, e.value)}  # None is in many places
            said = " or ".join(there) + (" is" if any(there.values()) else " holds")
            return WrongFact(e.value, name, said if there else "")
        if isinstance(e, MissingFact):
            return e
        return MissingFact(name, e.args[0]) if e.args and any(e.args[0] in s.needs for s in m.tree()) else e

    def step_one(self, lane: Lane, t: Transition) -> tuple[float, dict[str, Any]]:
        """One stream's step: its reward and its new ``info`` entries. ``t.terms`` is continued in place.

        Raises:
            RuntimeError: the episode is over.
            ValueError: a reward is not finite; names the layer.
            MissingFact: a layer reads an info key that is not published.
            WrongFact: a layer wants a number, and the key holds none.
        """
        if lane.states is None:
            raise RuntimeError("the episode is over: call reset() before step()")
        extra: dict[str, Any] = {}
        if self.facts:
            extra = self._known(t)
            t.info = t.info | extra
            if "reward_terms" in extra:
                t.terms = dict(extra["reward_terms"])
        states, terms, given = lane.states, t.terms, t.reward
        k, name = 0, ""
        try:
            for k, name, call in self._calls:
                before = t.reward
                t.reward, states[k] = call(states[k], t)
                terms[name] = t.reward - before
        except (KeyError, WrongFact) as e:
            raise self.missing(name, self.head[k], e, [t.info]) from e
        reward = t.reward
        if not math.isfinite(reward):
            raise self._infinite(t, given)
        extra["reward_terms"] = terms
        if self.records or t.terminated or t.truncated or "episode" in t.info:
            reward = self._after([lane], [t], [given], [extra])[0]
        else:
            lane.obs, lane.walked = t.next_obs, True
            env, shaped = lane.returns
            lane.returns = (env + given, shaped + reward)
        return reward, extra

    def step(self, lanes: list[Lane], ts: list[Transition]) -> tuple[list[float], list[dict[str, Any]]]:
        """Simultaneous steps of several streams: rewards and new ``info`` entries, one each.

        Raises:
            RuntimeError, ValueError, MissingFact, WrongFact: as ``step_one``; ValueError also for a wrong number of rewards.
        """
        given = [t.reward for t in ts]
        extra: list[dict[str, Any]] = [{} for _ in ts]
        if self.facts:
            for i, t in enumerate(ts):
                extra[i] = self._known(t)
                t.info = t.info | extra[i]
                if "reward_terms" in extra[i]:
                    t.terms = dict(extra[i]["reward_terms"])
        for k, (name, m) in enumerate(zip(self.names, self.head)):
            states = [_running(lane)[k] for lane in lanes]
            try:
                new = m.steps(states, ts)
            except (KeyError, WrongFact) as e:
                raise self.missing(name, m, e, [t.info for t in ts]) from e
            if len(new) != len(ts):
                raise ValueError(f"{name}: one number a step is expected, not {len(new)} for {len(ts)} steps")
            for lane, t, r, s in zip(lanes, ts, new, states):
                _running(lane)[k] = s
                t.terms[name] = r - t.reward
                t.reward = r
        for t, g, row in zip(ts, given, extra):
            if not math.isfinite(t.reward):
                raise self._infinite(t, g)
            row["reward_terms"] = t.terms
        return self._after(lanes, ts, given, extra), extra

    def _infinite(self, t: Transition, given: float) -> ValueError:
        who = next((n for n in self.names if not math.isfinite(t.terms.get(n, 0.0))), "a layer")
        who = who if math.isfinite(given) else "the environment"
        return ValueError(f"{who}: a reward is not finite ({t.reward!r} after action {t.action!r})")

    def _after(
        self, lanes: list[Lane], ts: list[Transition], given: list[float], extra: list[dict[str, Any]]
    ) -> list[float]:
        """Book-keeping of a step whose head has run: records, ends of episodes, the body."""
        rewards = [t.reward for t in ts]
        ended = []
        for i, (lane, t) in enumerate(zip(lanes, ts)):
            lane.obs, lane.walked = t.next_obs, True
            lane.returns = (lane.returns[0] + given[i], lane.returns[1] + rewards[i])
            if lane.record is not None:
                lane.record.append((t.action, rewards[i], t.next_obs, t.info, dict(t.terms)))
                t.terms.update(self.zeros)
            if t.terminated or t.truncated:
                ended.append(i)
                if lane.record is not None:
                    lane.done = _trajectory(lane, t)
                lane.states = lane.record = None
                lane.walked = False
        if ended and self.records:
            groups = [[lanes[i]] for i in ended]
            if self.joint and (team := lanes[ended[0]].team):  # wait for the last agent of the joint episode
                groups = [team] if all(x.states is None for x in team) else []
            for g in groups:
                self._close_group([x for x in g if x.done is not None], lanes, ended, rewards, extra)
        for i in ended:
            if isinstance(stats := ts[i].info.get("episode"), dict):  # a Monitor inside: both returns, kept apart
                env, shaped = lanes[i].returns
                extra[i]["episode"] = stats | {"env_return": env, "shaped_return": shaped + rewards[i] - ts[i].reward}
        return rewards

    def _close_group(
        self, group: list[Lane], lanes: list[Lane], ended: list[int], rewards: list[float], extra: list[dict[str, Any]]
    ) -> None:
        done = [x.done for x in group if x.done is not None]
        for x, (late, more) in zip(group, self.settle(done)):
            x.done = None
            i = next((i for i in ended if lanes[i] is x), None)
            if i is not None:  # an agent that left early is not paid again
                rewards[i] += late
                terms = extra[i]["reward_terms"] | more.get("reward_terms", {})
                extra[i] |= more | {"reward_terms": terms}

    def settle(self, group: list[Trajectory]) -> list[tuple[float, dict[str, Any]]]:
        """The body on one finished episode (or the agents of one): what is still owed, and ``info`` entries."""
        final = self.run(group, self.b, self.c)
        for t in final if self.keep else []:
            self.finished.append(t)
            self.kept += len(t)
        while self.kept > self.keep and len(self.finished) > 1:
            self.kept -= len(self.finished.popleft())
            self.dropped += 1
            if self.dropped == 1:
                warnings.warn(
                    f"nobody calls stack.take() or stack.learn(): only the last {self.keep} steps are kept",
                    stacklevel=5,
                )
        if not self.body:
            return [(0.0, {}) for _ in group]
        names = self.names[self.b : self.c]
        return [
            (
                float(f.rewards.sum() - t.rewards.sum()),
                {"credit": tuple(f.rewards.tolist()), "reward_terms": {n: float(f.terms[n].sum()) for n in names}},
            )
            for t, f in zip(group, final)
        ]

    # -- whole episodes: recorded data, trainers -------------------------------------------------
    def run(self, group: Group, start: int = 0, stop: int | None = None) -> list[Trajectory]:
        """The layers ``start`` to ``stop`` (default: all) over finished episodes, in order.

        Raises:
            ValueError: a layer gave the wrong number of values or a reward that is not finite; names it.
            MissingFact: a layer reads an info key that the episodes lack.
            WrongFact: a layer wants a number, and the key holds none.
        """
        out = [self._with_facts(t) for t in group] if self.facts and start == 0 else list(group)
        if not out:
            return out
        for name, m in list(zip(self.names, self.shapers))[start:stop]:
            try:
                new = self._pooled(m, out)
            except (KeyError, WrongFact) as e:
                raise self.missing(name, m, e, [i for t in out for i in t.infos]) from e
            if [x.shape for x in new] != [(len(t),) for t in out]:
                raise ValueError(f"{name}: one number a step is expected, not {[x.shape for x in new]}")
            if m.output == "advantage":
                out = [replace(t, advantages=a) for t, a in zip(out, new)]
            elif not all(np.isfinite(x).all() for x in new):
                raise ValueError(f"{name}: a reward is not finite")
            else:
                out = [t.paid(name, x) for t, x in zip(out, new)]
        return out

    def _with_facts(self, traj: Trajectory) -> Trajectory:
        infos = [traj.infos[0] | self._known(at_reset(traj.obs[0], traj.infos[0]))]
        infos += [t.info | self._known(t) for t in traj]
        terms = {} if "reward_terms" in self.facts else traj.terms  # empty: built from the infos, as online
        return replace(traj, infos=infos, terms=terms)

    @staticmethod
    def _pooled(m: Shaper, group: list[Trajectory]) -> list[Floats]:
        """``m.group`` on each part of the batch that belongs together."""
        whole = m.pool == "batch" or (m.level < Level.GROUP and m.pool != "joint")
        out: list[Floats] = [np.zeros(0)] * len(group)
        for part in by(group, "" if whole else m.pool):
            for i, x in zip(part, m.group([group[i] for i in part]), strict=True):
                out[i] = np.asarray(x, np.float64)
        return out

    def take(self) -> list[Trajectory]:
        """Hands over the episodes finished since the last call (body applied, tail not)."""
        out = list(self.finished)
        self.finished.clear()
        self.kept = 0
        return out

    def close(self) -> list[Trajectory]:
        """``take``, then the tail over that batch."""
        return self.run(self.take(), self.c)

    def rerun(self, group: Group, stop: int | None = None) -> list[Trajectory]:
        """The layers up to ``stop`` (default: all) again from the environment's rewards, memory read-only: late labels,
        refitted models.
        """
        modes = [m.training for m in self.shapers]
        self.train(False)
        try:
            return self.run([t.before(self.names) for t in group], 0, stop)
        finally:
            for m, mode in zip(self.shapers, modes):
                m.train(mode)

    def learn(self, trajs: Group | None = None) -> dict[str, float]:
        """Each learner sees the episodes (default: ``take()``) as they reached it; metrics as ``layer/name``.

        Raises:
            WrongFact: a layer wants a number, and an info key holds none.
        """
        trajs = self.take() if trajs is None else trajs
        out: dict[str, float] = {}
        for i, (name, m) in enumerate(zip(self.names, self.shapers)):
            if m.learns and trajs:
                try:
                    got = m.learn([t.before(self.names[i:]) for t in trajs])
                except (KeyError, WrongFact) as e:
                    raise self.missing(name, m, e, [x for t in trajs for x in t.infos]) from e
                out |= {f"{name}/{k}": v for k, v in got.items()}
        return out

    def stats(self) -> dict[str, float]:
        """What the layers counted, as ``layer/name``."""
        return {f"{n}/{k}": v for n, m in zip(self.names, self.shapers) for k, v in m.stats().items()}

    def release(self) -> None:
        """Every layer lets go of what it holds open; hosts call it when they are closed."""
        for m in self.shapers:
            m.close()

    def check_discount(self, gamma: float) -> None:
        """Warns if a layer that is policy-invariant for its own discount meets an agent with another one."""
        for name, m in zip(self.names, self.shapers):
            for s in m.tree():
                own = getattr(s, "gamma", None)
                if s.policy_invariant and own is not None and own != gamma:
                    warnings.warn(
                        f"{name} discounts by {own} and the agent by {gamma}, so the shaping is not policy-invariant: "
                        "give both the same gamma",
                        stacklevel=3,
                    )

    def train(self, mode: bool = True) -> None:
        """``False``: every shared memory is read-only (evaluation)."""
        for m in self.shapers:
            m.train(mode)

    def spec(self) -> list[dict[str, Any]]:
        """JSON settings of the layers."""
        return [m.spec() for m in self.shapers]

    def state_dict(self) -> dict[str, Any]:
        """Shared memory of all layers by name."""
        return {n: m.state_dict() for n, m in zip(self.names, self.shapers)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes it back.

        Raises:
            ValueError: the layers' names differ.
        """
        if list(state) != self.names:
            raise ValueError(f"this stack has the layers {self.names}, the state is of {list(state)}")
        for n, m in zip(self.names, self.shapers):
            m.load_state_dict(state[n])


def _running(lane: Lane) -> list[Any]:
    if lane.states is None:
        raise RuntimeError("the episode is over: call reset() before step()")
    return lane.states


def _trajectory(lane: Lane, last: Transition) -> Trajectory:
    assert lane.record is not None
    (obs0, info0), *rows = lane.record
    names = list(dict.fromkeys(n for r in rows for n in r[4]))
    return Trajectory(
        [obs0, *(r[2] for r in rows)],
        [r[0] for r in rows],
        np.array([r[1] for r in rows], np.float64),
        bool(last.terminated),
        bool(last.truncated),
        [info0, *(r[3] for r in rows)],
        dict(lane.meta) | dict(info0.get("meta", {})),
        {n: np.array([r[4].get(n, 0.0) for r in rows], np.float64) for n in names},
    )
