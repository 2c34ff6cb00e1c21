"""A stack on a ``gymnasium.vector.VectorEnv``, in each of the three autoreset modes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from gymnasium.vector.utils import iterate

from ..facts import Fact
from ..shaper import MissingFact, Shaper
from ..stack import Lane, Stack
from ..types import Floats, Trajectory, Transition, WrongFact, account
from . import inner_stack
from .columns import merge, overlay, pick, put, spread


class ShapedVectorEnv(VectorWrapper):
    """One stack with shared memory over ``num_envs`` lanes, all lanes in one call if every head layer is columnar.

    ``infos["reward_terms"]`` has one ``(num_envs,)`` array a term with the usual masks; in SAME_STEP the account of an
    ended lane is in ``infos["final_info"]``. Arguments as ``shape``; ``columns=False`` forces one lane after another.

    Raises:
        ValueError: a layer needs the agents of one game.
    """

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        shapers: Sequence[Shaper | Mapping[str, Any]],
        seed: int = 0,
        facts: Mapping[str, str | Fact] | None = None,
        columns: bool = True,
    ) -> None:
        self.stack = Stack(shapers, seed, facts=facts, inner=inner_stack(env))
        for name, m in zip(self.stack.names, self.stack.shapers):
            if m.pool == "joint":
                raise ValueError(f"{name} mixes the agents of one game, sub-environments are separate games")
        super().__init__(env)  # after what may be refused: Gymnasium 1.2 closes env when a wrapper of it goes
        self.mode = AutoresetMode(env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP))
        spaces = (env.single_observation_space, env.single_action_space)
        able = all(m.columnar for m in self.stack.head) and all(map(_arrays, spaces))
        self.wanted = columns
        self.columns = columns and able and not self.stack.facts
        self.lanes = [Lane(index=i) for i in range(env.num_envs)]
        # columns: layer states, lanes with a running episode, lanes that have stepped, and the record
        self.states: list[Any] = [None] * len(self.stack.head)
        pairs = zip(self.stack.names, self.stack.head)
        self.needs = {key: name for name, m in reversed(list(pairs)) for key in m.needs}  # a fact: who first reads it
        self.live = np.zeros(env.num_envs, bool)
        self.walked = np.zeros(env.num_envs, bool)
        self.returns = np.zeros((2, env.num_envs))
        self.rows: list[tuple[Any, ...]] = []
        self.first: list[Any] = [None] * env.num_envs  # a lane's (first row, first obs, first info)
        self.obs: Any = None
        self._fresh_buffers = getattr(env.unwrapped, "copy", True)  # False: the next step overwrites the observations
        self._checked = not self.stack.shapers

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Resets all lanes, or those of ``options["reset_mask"]``."""
        mask = np.array((options or {}).get("reset_mask", np.ones(self.num_envs, bool)))
        # a copy: Gymnasium pops the mask, and whoever stands outside may still want it
        obs, infos = self.env.reset(seed=seed, options=options and dict(options))
        if self.columns:
            for _ in range(int((mask & self.live & self.walked).sum())):
                self.stack._abandon()
            if mask.all():
                self.rows, self.first = [], [None] * self.num_envs
            self.obs = self._own(obs)
            self._fresh(mask, self.obs, infos)
            return obs, infos
        own = every(infos, self.num_envs)
        for i, o in enumerate(iterate(self.observation_space, obs)):
            if mask[i]:
                extra = self.stack.begin(self.lanes[i], _copy(o), own[i])
                infos = self.env.unwrapped._add_info(infos, extra, i) if extra else infos
        return obs, infos

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Steps all lanes; ``rewards`` is a new ``(num_envs,)`` float64 array."""
        obs, rewards, term, trunc, infos = self.env.step(actions)
        rewards = np.array(rewards, np.float64)
        term, trunc = np.asarray(term), np.asarray(trunc)
        if self.columns:
            return self._columns(actions, obs, rewards, term, trunc, infos)
        lanes, ts, where, fresh = [], [], [], []
        own = every(infos, self.num_envs)
        rows = zip(iterate(self.action_space, actions), iterate(self.observation_space, obs))
        for i, (a, o) in enumerate(rows):
            lane, done = self.lanes[i], bool(term[i] or trunc[i])
            if lane.states is None:  # NEXT_STEP: this call only reset sub-environment i
                self._may_reset()
                fresh.append((i, _copy(o), own[i]))
                continue
            info = own[i]
            if done and self.mode == AutoresetMode.SAME_STEP:  # o already belongs to the next episode
                fresh.append((i, _copy(o), _of_next(info)))
                o, info = info["final_obs"], info["final_info"] | {k: info[k] for k in ("episode",) if k in info}
            lanes.append(lane)
            where.append(i)
            r = float(rewards[i])
            t = Transition(lane.obs, _copy(a), r, _copy(o), bool(term[i]), bool(trunc[i]), info, account(info, r))
            ts.append(t)
        if ts and not self._checked:
            self._refuse_twice(ts[0].terms)
        new, extra = self.stack.step(lanes, ts) if lanes else ([], [])
        accounts: dict[int, dict[str, float]] = {}
        for i, r, e in zip(where, new, extra):
            rewards[i] = r
            done = bool(term[i] or trunc[i])
            if len(e) == 1 and not (
                done and self.mode == AutoresetMode.SAME_STEP
            ):  # the account alone, by far the most
                accounts[i] = e["reward_terms"]
            else:
                infos = self._tell(infos, e, i, done)
        _write(infos, accounts, self.num_envs)
        for i, o, info in fresh:
            facts = self.stack.begin(self.lanes[i], o, info)
            infos = self.env.unwrapped._add_info(infos, facts, i) if facts else infos
        return obs, rewards, term, trunc, infos

    def close(self, **kwargs: Any) -> None:
        """Closes the environments and what the layers hold open."""
        super().close(**kwargs)
        self.stack.release()

    def _tell(self, infos: dict[str, Any], extra: dict[str, Any], i: int, done: bool) -> dict[str, Any]:
        if done and self.mode == AutoresetMode.SAME_STEP:  # the top level is the next episode's
            stats = {k: extra[k] for k in ("episode",) if k in extra and k in infos}  # but not a Monitor's
            extra = {"final_info": {k: v for k, v in extra.items() if k not in stats}} | stats
        return self.env.unwrapped._add_info(infos, extra, i)

    def _own(self, obs: Any) -> Any:
        return obs if self._fresh_buffers else _copy(obs)

    def _may_reset(self) -> None:
        if self.mode == AutoresetMode.DISABLED:
            raise RuntimeError('the episode of a lane is over: call reset(options={"reset_mask": ...}) before step()')

    def _refuse_twice(self, terms: Mapping[str, Any]) -> None:
        """Sub-environments in other processes do not show their stacks, but their account does."""
        self._checked = True
        for name in self.stack.names:
            if name in terms:
                raise ValueError(
                    f"the sub-environments are shaped already, their account has a term {name!r}: "
                    "put all layers into one list, shape(vector_env, [...])"
                )

    # -- all lanes at once -----------------------------------------------------------------------
    def _fresh(self, mask: Any, obs: Any, infos: dict[str, Any]) -> None:
        """New episodes on the lanes of ``mask``: their states are merged into the running ones."""
        every = bool(mask.all())
        idx = slice(None) if every else np.flatnonzero(mask)
        o, info = pick(obs, idx), pick(infos, idx)
        self._check(infos, mask)
        for k, (name, m) in enumerate(zip(self.stack.names, self.stack.head)):
            try:
                state = m.init(o, info)
            except (KeyError, WrongFact) as e:
                raise self.stack.missing(name, m, e, [info]) from e
            self.states[k] = merge(self.states[k], idx, state, int(mask.sum()))
        self.live[idx] = True
        self.walked[idx] = False
        self.returns[:, idx] = 0.0
        if self.stack.records:
            for i in np.flatnonzero(mask):
                self.first[i] = (len(self.rows), _copy(pick(obs, i)), _of_next(one(infos, int(i))))

    def _check(self, infos: dict[str, Any], lanes: Any) -> None:
        """A batched info has zeros where a sub-environment said nothing: never take them for facts."""
        for key, name in self.needs.items():
            said = infos.get(f"_{key}")
            if key in infos and said is not None and not (said | ~lanes).all():
                raise MissingFact(name, key)

    def _columns(
        self, actions: Any, obs: Any, rewards: Floats, term: Any, trunc: Any, infos: dict[str, Any]
    ) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        stack, live, done = self.stack, self.live, term | trunc
        ended, same = bool(done.any()), self.mode == AutoresetMode.SAME_STEP
        every = bool(live.all())
        idx: Any = slice(None) if every else np.flatnonzero(live)
        now = self._own(obs)
        if not every:
            self._may_reset()
            if not live.any():  # NEXT_STEP: this call only reset all of them, there is no step to show to a layer
                self.live, self.obs = ~done, now
                self._fresh(~live, now, infos)
                return obs, rewards, term, trunc, infos
        actions = actions if isinstance(actions, (dict, np.ndarray)) else np.asarray(actions)
        last, info = now, infos
        if same and ended:  # the end of the old episode, not the start of the new one
            last = put(now, np.flatnonzero(done), infos["final_obs"])
            info = overlay(infos, infos.get("final_info", {}), done)
        info_ = pick(info, idx)
        given = rewards[idx].copy()
        terms = {k: v for k, v in account(info_, given).items() if k[0] != "_"}
        said = info_.get("_reward_terms") if "reward_terms" in info_ else None
        if said is not None and not said.all():  # a sub-environment without an account: its reward is one term
            terms["env"] = np.where(said, terms.get("env", 0.0), given)
        if not self._checked:
            self._refuse_twice(terms)
        old, acted, new_obs = pick(self.obs, idx), pick(actions, idx), pick(last, idx)
        t = Transition(old, acted, given, new_obs, term[idx], trunc[idx], info_, terms)
        self._check(info, live)
        for k, (name, m) in enumerate(zip(stack.names, stack.head)):
            try:
                new, state = m.step(pick(self.states[k], idx), t)
            except (KeyError, WrongFact) as e:
                raise stack.missing(name, m, e, [info_]) from e
            self.states[k] = merge(self.states[k], idx, state, len(given))
            if np.shape(new) != given.shape:  # one number for all lanes
                new = np.full(given.shape, new, np.float64)
            terms[name] = new - t.reward
            t.reward = new
        if not np.isfinite(np.sum(t.reward)):
            who = next((n for n, v in terms.items() if not np.isfinite(v).all()), "a layer")
            raise ValueError(f"{who}: a reward is not finite")
        rewards[idx] = t.reward
        terms = {k: spread(v, idx, self.num_envs) for k, v in terms.items()}
        self.walked |= live
        self.returns[0, idx] += given
        self.returns[1, idx] += t.reward
        if stack.records:
            self.rows.append((_copy(actions), rewards.copy(), last, dict(info), terms))
        self._publish(infos, terms | dict.fromkeys(stack.zeros, np.zeros(self.num_envs)), live, done, same and ended)
        if ended:
            infos = self._end(np.flatnonzero(done & live), rewards, term, trunc, info, infos)
        fresh = done if same else ~live if self.mode == AutoresetMode.NEXT_STEP else None
        self.live, self.obs = ~done, now
        if fresh is not None and fresh.any():
            self._fresh(fresh, now, infos)
        self._forget()
        return obs, rewards, term, trunc, infos

    def _end(
        self, who: Any, rewards: Floats, term: Any, trunc: Any, info: dict[str, Any], infos: dict[str, Any]
    ) -> Any:
        """Settles the episodes of the lanes ``who``; pays and publishes what the body owes."""
        self.walked[who] = False
        for i in who:
            late, extra = 0.0, dict[str, Any]()
            if self.stack.records:
                ((late, extra),) = self.stack.settle([self._episode(i, bool(term[i]), bool(trunc[i]))])
                self.first[i] = None
            rewards[i] += late
            if isinstance(info.get("episode"), dict):
                env, shaped = self.returns[:, i]
                extra = extra | {"episode": {"env_return": float(env), "shaped_return": float(shaped + late)}}
            if extra:
                infos = self._tell(infos, extra, i, True)
        return infos

    def _publish(self, infos: dict[str, Any], terms: dict[str, Any], live: Any, done: Any, final: bool) -> None:
        def shown(mask: Any, part: bool) -> dict[str, Any]:
            out = {}
            for k, v in terms.items():
                out[k] = np.where(mask, v, 0.0) if part else v.copy()
                out[f"_{k}"] = mask
            return out

        if final:  # SAME_STEP: the top level belongs to the next episode
            infos.setdefault("final_info", {})
            infos["final_info"]["reward_terms"], infos["final_info"]["_reward_terms"] = shown(done, True), done
            live = live & ~done
        live = live.copy()
        infos["reward_terms"], infos["_reward_terms"] = shown(live, final), live  # terms of idle lanes are 0.0

    def _episode(self, i: int, terminated: bool, truncated: bool) -> Trajectory:
        start, obs0, info0 = self.first[i]
        rows = self.rows[start:]
        return Trajectory(
            [obs0, *(pick(r[2], i) for r in rows)],
            [pick(r[0], i) for r in rows],
            np.array([r[1][i] for r in rows]),
            terminated,
            truncated,
            [info0, *(one(r[3], i) for r in rows)],
            {"index": i} | dict(info0.get("meta", {})),
            {k: np.array([r[4][k][i] for r in rows]) for k in rows[0][4]},
        )

    def _forget(self) -> None:
        """Rows that no running episode reaches back to."""
        if len(self.rows) > 64:
            old = min((f[0] for f in self.first if f), default=len(self.rows))
            if old > len(self.rows) // 2:
                del self.rows[:old]
                self.first = [(f[0] - old, *f[1:]) if f else None for f in self.first]


def _arrays(space: Any) -> bool:
    if isinstance(space, Dict):
        return all(map(_arrays, space.values()))
    return isinstance(space, (Box, Discrete, MultiBinary, MultiDiscrete))


def _copy(o: Any) -> Any:
    """The same tree with arrays of its own."""
    if isinstance(o, dict):
        return {k: _copy(v) for k, v in o.items()}
    if isinstance(o, tuple) and not hasattr(o, "_fields"):
        return tuple(map(_copy, o))
    return o.copy() if isinstance(o, np.ndarray) else o


def _of_next(info: dict[str, Any]) -> dict[str, Any]:
    """The reset info of the next episode, without what SAME_STEP says about the old one beside it."""
    return {k: v for k, v in info.items() if k not in ("final_obs", "final_info", "episode")}


def every(infos: dict[str, Any], n: int) -> list[dict[str, Any]]:
    """Each environment's own info out of the batched dictionary; numbers are Python's."""
    out: list[dict[str, Any]] = [{} for _ in range(n)]
    for k, v in infos.items():
        if k[0] == "_":
            continue
        if isinstance(v, dict):
            values: Any = every(v, n)
        else:
            values = v.tolist() if isinstance(v, np.ndarray) and v.ndim == 1 else v
        mask = infos.get("_" + k)
        there = [True] if mask is None else mask.tolist()  # for so few numbers Python is faster than numpy
        if False not in there:
            for own, value in zip(out, values):
                own[k] = value
        else:
            for own, value, is_there in zip(out, values, there):
                if is_there:
                    own[k] = value
    return out


def one(infos: dict[str, Any], i: int) -> dict[str, Any]:
    """The ``i``-th environment's own info; where all are wanted, ``every`` is much faster."""
    out: dict[str, Any] = {}
    for k, v in infos.items():
        if k[0] == "_":
            continue
        mask = infos.get("_" + k)
        if mask is None or mask[i]:
            x = one(v, i) if isinstance(v, dict) else v[i]
            out[k] = x.item() if isinstance(x, np.generic) else x
    return out


def _write(infos: dict[str, Any], accounts: dict[int, dict[str, float]], n: int) -> None:
    """The lanes' accounts into the batch, as Gymnasium's ``_add_info`` does lane by lane, but an array a term."""
    if not accounts:
        return
    batch = infos["reward_terms"] = dict(infos.get("reward_terms", {}))
    infos["_reward_terms"] = _marked(infos.get("_reward_terms"), accounts, n)
    for name in dict.fromkeys(k for terms in accounts.values() for k in terms):
        there = [i for i, terms in accounts.items() if name in terms]
        values = [accounts[i][name] for i in there]
        if len(there) == n:  # in the order of the lanes
            batch[name], batch["_" + name] = np.array(values, np.float64), np.ones(n, np.bool_)
            continue
        old = batch[name].astype(np.float64) if name in batch else np.zeros(n)
        old[there] = values
        batch[name], batch["_" + name] = old, _marked(batch.get("_" + name), there, n)


def _marked(mask: Any, lanes: Any, n: int) -> Any:
    out = np.zeros(n, np.bool_) if mask is None else mask.copy()
    out[list(lanes)] = True
    return out
