"""The VectorEnv host: the same rewards as one environment after another, in each of the three autoreset modes."""

import functools
from dataclasses import dataclass

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from milepost import shape
from milepost.wrappers import (
    Clip,
    CountBonus,
    GatedRewardAccumulation,
    HopProgress,
    MissingFact,
    Normalize,
    PotentialShaping,
    ProgressAttribution,
    Scale,
    ScoreDelta,
    Shaper,
    SubgoalOptions,
    Uniform,
)
from milepost.wrappers.hosts.vector import ShapedVectorEnv

pytestmark = pytest.mark.core
NEXT, SAME, DISABLED = AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED
MODES = pytest.mark.parametrize("mode", [NEXT, SAME, DISABLED], ids=lambda m: m.value)
FLAT, TREE = gym.spaces.Box(-9, 9, (2,), np.float64), gym.spaces.Dict
SPACES = {
    "box": FLAT,
    "dict": TREE({"x": FLAT, "seen": gym.spaces.MultiBinary(6)}),
    "nested": TREE({"x": FLAT, "deep": TREE({"x": gym.spaces.Discrete(6)})}),
}


class Walk(gym.Env):
    """A random walk on six cells with slips: lanes end apart from each other, by both ends and by the limit.

    The reset alone publishes ``meta``, the step alone ``valid_action``: what the next episode's reset says must never be
    read as a fact of the old episode's last step, nor the other way round.
    """

    action_space = gym.spaces.Discrete(2)
    metadata = {"render_modes": []}

    def __init__(self, limit=7, obs="box", terms=True, facts=True):
        self.limit, self.kind, self.terms, self.facts = limit, obs, terms, facts
        self.observation_space = SPACES[obs]

    def look(self):
        x = np.array([self.x, self.t], np.float64)
        if self.kind == "box":
            return x
        return {"x": x, "seen": self.seen.copy()} if self.kind == "dict" else {"x": x, "deep": {"x": self.x}}

    def info(self):
        score = {"score": float(self.x), "max_score": 5.0, "subgoals": {"half": self.x >= 3, "end": self.x == 5}}
        return {"progress": self.x / 5} | score if self.facts else {}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x, self.t, self.seen = int(self.np_random.integers(2, 4)), 0, np.zeros(6, np.int8)
        return self.look(), self.info() | {"meta": {"task": f"t{self.x}"}}

    def step(self, a):
        slip = self.np_random.random() < 0.2
        self.x, self.t = self.x + (1 if bool(a) != slip else -1), self.t + 1
        self.seen[self.x] = 1
        over, win = self.x in (0, 5), float(self.x == 5)
        account = {"reward_terms": {"outcome": win, "format": 0.1}} if self.terms else {}
        info = self.info() | {"valid_action": not slip} | account
        return self.look(), win + 0.1, over, not over and self.t >= self.limit, info


def vector(mode, n=4, wrap=lambda e: e, cls=SyncVectorEnv, **kw):
    return cls([lambda: wrap(Walk(**kw))] * n, autoreset_mode=mode)


def first(x):
    return x["x"] if isinstance(x, dict) else x


def squeeze(obs):
    """A potential of arrays of observations."""
    return np.tanh(first(obs)[..., 0]) / 2


def run(env, steps=60, seed=0, resets=True):
    """Random actions; resets what ended where the environment does not."""
    rng = np.random.default_rng(seed)
    yield env.reset(seed=seed)
    for _ in range(steps):
        out = env.step(rng.integers(2, size=env.num_envs))
        yield out
        done = out[2] | out[3]
        if resets and done.any() and env.metadata["autoreset_mode"] == DISABLED:
            yield env.reset(options={"reset_mask": done.copy()})


def same(a, b, where=""):
    """The same tree, masks included."""
    if isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for k in a:
            same(a[k], b[k], f"{where}/{k}")
    elif isinstance(a, np.ndarray) and a.dtype == object:
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            same(x, y, f"{where}[{i}]")
    elif a is None or isinstance(a, str):
        assert a == b, where
    else:
        assert np.shape(a) == np.shape(b) and np.allclose(a, b, rtol=0, atol=1e-12), where


STACKS = [
    [],
    [Clip(0, 0.5)],
    [PotentialShaping(key="progress"), Clip(-1, 0.9)],
    [ScoreDelta(), HopProgress(success_bonus=0.5)],
    [SubgoalOptions(), CountBonus(0.1)],
    [PotentialShaping(phi=squeeze, batched=True), Clip(-1, 1), Uniform()],
    [PotentialShaping(key="progress"), GatedRewardAccumulation(high=("outcome",))],
    [Scale(2.0), ProgressAttribution(beta=0.25, conserve="none"), Clip(-1, 2)],
]
COLUMNAR = [s for s in STACKS if s and all(m.columnar or m.level for m in s)]
IDS = ["+".join(type(s).__name__ for s in stack) or "empty" for stack in STACKS]
LAYERS = pytest.mark.parametrize("layers", STACKS, ids=IDS)


@functools.cache
def learnt(k):
    """Memory of stack ``k`` after some episodes, so that no learner is compared while it still knows nothing."""
    env = shape(vector(NEXT), STACKS[k])
    for _ in run(env, 40):
        pass
    env.stack.learn()
    return env.stack.state_dict()


def freeze(env, layers):
    env.stack.load_state_dict(learnt(STACKS.index(layers)))
    env.stack.train(False)
    return env


@MODES
@LAYERS
def test_shaping_the_vector_pays_what_a_vector_of_shaped_environments_pays(mode, layers):
    a = vector(mode, wrap=lambda env: freeze(shape(env, layers), layers))
    b, ended = freeze(shape(vector(mode), layers), layers), 0
    for x, y in zip(run(a), run(b), strict=True):
        for p, q in zip(x, y, strict=True):
            same(p, q)  # rewards, terms, credit, final_info and all masks
        ended += int((x[2] | x[3]).sum()) if len(x) == 5 else 0
    assert ended > 20


@MODES
@pytest.mark.parametrize(
    "layers,obs", [*((s, "box") for s in COLUMNAR), *((s, o) for s in COLUMNAR[-3:] for o in ("dict", "nested"))]
)
def test_columns_equal_lanes_with_their_infos_records_and_masks(mode, layers, obs):
    a, b = (ShapedVectorEnv(vector(mode, 5, obs=obs), layers, columns=c) for c in (True, False))
    assert a.columns and not b.columns
    for env in (a, b):
        freeze(env, layers)
        env.stack.keep, env.stack.records = 10**5, True
    for x, y in zip(run(a, 40, 1), run(b, 40, 1), strict=True):
        for p, q in zip(x, y, strict=True):
            same(p, q)
    assert len(a.stack.finished) == len(b.stack.finished) > 20
    for p, q in zip(a.stack.take(), b.stack.take()):
        assert (p.actions, p.terminated, p.truncated, p.meta) == (q.actions, q.terminated, q.truncated, q.meta)
        same(np.array([*p.obs, None], object), np.array([*q.obs, None], object))
        same(p.terms, q.terms)
        for i, j in zip(p.infos, q.infos, strict=True):
            same(i, j)


@MODES
@pytest.mark.parametrize("columns", [True, False])
def test_the_account_of_an_ended_lane_stands_where_its_info_stands(mode, columns):
    env = ShapedVectorEnv(vector(mode), [Clip(0, 0.5), Uniform()], columns=columns)
    given, length = np.zeros(4), np.zeros(4, int)
    fresh = np.zeros(4, bool)
    for out in run(env, 80):
        if len(out) == 2:
            continue
        _, r, te, tr, infos = out
        done = te | tr
        acting = ~fresh if mode == NEXT else np.ones(4, bool)
        fresh = done.copy()
        top = acting & ~done if mode == SAME else acting
        if top.any():
            assert infos["_reward_terms"].tolist() == top.tolist()
        terms, final = infos.get("reward_terms", {}), infos.get("final_info", {})
        where = final if mode == SAME else infos
        assert ("credit" in where) == bool(done.any()) and (mode != SAME or "credit" not in infos)
        given, length = np.where(acting, given + r, 0.0), np.where(acting, length + 1, 0)
        for i in np.flatnonzero(acting):
            own = where["reward_terms"] if done[i] else terms
            named = {k: v[i] for k, v in own.items() if k[0] != "_"}
            assert list(named) == ["outcome", "format", "clip", "uniform"] and all(own[f"_{k}"][i] for k in named)
            if done[i]:
                credit = where["credit"][i]
                assert where["_credit"][i] and isinstance(credit, tuple) and len(credit) == length[i]
                assert sum(credit) == pytest.approx(given[i]) and named["uniform"] == pytest.approx(0.0)
            else:
                assert sum(named.values()) == pytest.approx(r[i]) and named["uniform"] == 0.0
        given[done], length[done] = 0.0, 0


@pytest.mark.parametrize("columns", [True, False])
def test_the_reset_call_of_next_step_is_no_transition(columns):
    @dataclass
    class Calls(Shaper):
        columnar = True

        def setup(self, rng):
            self.steps_seen = self.calls = 0

        def step(self, state, t):
            assert t.action is not None
            self.steps_seen += np.size(t.reward)
            self.calls += 1
            return t.reward + 1.0, None

    # a limit that every lane reaches together: then a call resets all lanes and steps none
    env = ShapedVectorEnv(vector(NEXT, 3, limit=1), [Calls()], columns=columns)
    paid = [out[1].tolist() for out in run(env, 6) if len(out) == 5]
    assert paid == [[1.1] * 3, [0.0] * 3] * 3
    assert env.stack.shapers[0].steps_seen == 9 and env.stack.shapers[0].calls == (3 if columns else 9)


def test_running_moments_survive_a_call_that_only_resets():
    env = shape(vector(NEXT, 3, limit=1), [Normalize()])
    assert env.columns
    for out in run(env, 9):
        assert len(out) == 2 or np.isfinite(out[1]).all()
    assert env.stack.shapers[0].count == pytest.approx(15 + 1e-4)


@pytest.mark.parametrize("columns", [True, False])
def test_a_lane_that_was_not_reset_is_refused_where_nobody_resets_it(columns):
    class Free(SyncVectorEnv):  # does not check by itself
        def step(self, actions):
            self._autoreset_envs[:] = False
            return super().step(actions)

    env = ShapedVectorEnv(Free([lambda: Walk(limit=1)] * 2, autoreset_mode=DISABLED), [Clip()], columns=columns)
    env.reset(seed=0)
    env.step(np.ones(2, int))
    with pytest.raises(RuntimeError, match="reset_mask"):
        env.step(np.ones(2, int))


@MODES
@pytest.mark.parametrize("columns", [True, False])
def test_a_lane_that_publishes_no_fact_raises_and_its_batch_zero_is_never_read(mode, columns):
    # the batch has a progress array, with a zero that nobody said for the silent lane
    fns = [lambda: Walk(), lambda: Walk(facts=False)]
    env = ShapedVectorEnv(SyncVectorEnv(fns, autoreset_mode=mode), [PotentialShaping(key="progress")], columns=columns)
    with pytest.raises(MissingFact, match="potential_shaping reads info"):
        env.reset(seed=0)

    class Late(Walk):  # says it at the reset, but not at the end of an episode
        def step(self, a):
            *rest, info = super().step(a)
            if rest[2] or rest[3]:
                del info["progress"]
            return *rest, info

    late = SyncVectorEnv([Walk, lambda: Late(limit=1)], autoreset_mode=mode)
    env = ShapedVectorEnv(late, [PotentialShaping(key="progress")], columns=columns)
    with pytest.raises(MissingFact, match="'progress'"):
        for out in run(env, 40):
            assert len(out) == 2 or not (out[2] | out[3])[1]  # its first end is the end


@pytest.mark.parametrize("columns", [True, False])
def test_the_env_term_is_a_copy(columns):
    env = ShapedVectorEnv(vector(NEXT, terms=False), [Scale(2.0)], columns=columns)
    env.reset(seed=0)
    _, r, *_, infos = env.step(np.ones(4, int))
    np.testing.assert_allclose(infos["reward_terms"]["env"], 0.1)
    r[:] = 99.0  # what a caller does to its rewards
    np.testing.assert_allclose(infos["reward_terms"]["env"], 0.1)
    infos["reward_terms"]["scale"][:] = 7.0
    later = env.step(np.ones(4, int))
    np.testing.assert_allclose(later[4]["reward_terms"]["env"] * 2, later[1])


@MODES
@pytest.mark.parametrize("columns", [True, False])
def test_an_environment_without_an_account_among_others_keeps_a_sum_that_holds(mode, columns):
    fns = [Walk, lambda: Walk(terms=False)]
    env = ShapedVectorEnv(SyncVectorEnv(fns, autoreset_mode=mode), [Scale(3.0)], columns=columns)
    for out in run(env, 30):
        if len(out) == 2 or "reward_terms" not in out[4]:
            continue
        _, r, _, _, infos = out
        here = infos["_reward_terms"]
        total = sum(np.where(here, v, 0.0) for k, v in infos["reward_terms"].items() if k[0] != "_")
        np.testing.assert_allclose(total[here], r[here])


@pytest.mark.parametrize("columns", [True, False])
def test_one_number_for_all_lanes_is_a_reward_for_each(columns):
    @dataclass
    class Nothing(Shaper):
        columnar = True

        def step(self, state, t):
            return 0.0, None

    env = ShapedVectorEnv(vector(NEXT), [Nothing(), PotentialShaping(key="progress")], columns=columns)
    env.reset(seed=0)
    _, r, *_, infos = env.step(np.ones(4, int))
    terms = infos["reward_terms"]
    assert r.shape == terms["nothing"].shape == (4,) and terms["nothing"] == pytest.approx([-0.1] * 4)
    assert r == pytest.approx(terms["potential_shaping"])


@pytest.mark.parametrize("columns", [True, False])
def test_abandoned_lanes_are_counted(columns):
    env = ShapedVectorEnv(vector(DISABLED), [Clip(), Uniform()], columns=columns)
    env.reset(seed=0)
    env.step(np.ones(4, int))
    mask = np.array([True, True, False, False])
    options = {"reset_mask": mask}
    with pytest.warns(UserWarning, match="a reset cut off an episode"):
        env.reset(options=options)
    assert env.stack.abandoned == 2 and options["reset_mask"] is mask  # Gymnasium pops it from what it is given
    env.reset(options={"reset_mask": mask})  # these two have not stepped again
    assert env.stack.abandoned == 2
    env.reset()
    assert env.stack.abandoned == 4


@MODES
@pytest.mark.parametrize("columns", [True, False])
@pytest.mark.parametrize("outside", [True, False], ids=["vector monitor", "monitors"])
def test_both_returns_of_an_episode_stand_apart_beside_a_monitors(mode, columns, outside):
    monitor = gym.wrappers.RecordEpisodeStatistics
    inner = vector(mode) if outside else vector(mode, wrap=monitor)
    inner = gym.wrappers.vector.RecordEpisodeStatistics(inner) if outside else inner
    env = ShapedVectorEnv(inner, [Scale(3.0), Uniform()], columns=columns)
    total, ended = np.zeros(4), 0
    for out in run(env, 60):
        if len(out) == 2:
            continue
        _, r, te, tr, infos = out
        total += r
        for i in np.flatnonzero(te | tr):
            stats = infos["episode"] if outside or mode != SAME else infos["final_info"]["episode"]
            assert stats["_env_return"][i] and stats["_shaped_return"][i]
            assert stats["shaped_return"][i] == pytest.approx(total[i])
            assert stats["shaped_return"][i] == pytest.approx(3 * stats["env_return"][i])
            if (
                not outside or mode == NEXT
            ):  # Gymnasium's own miscounts: after a partial reset, in 1.2 also in SAME_STEP
                assert stats["env_return"][i] == pytest.approx(stats["r"][i], abs=1e-6)
            total[i], ended = 0.0, ended + 1
    assert ended > 20


@pytest.mark.parametrize("columns", [True, False])
def test_memory_stays_bounded_in_long_runs(columns):
    env = ShapedVectorEnv(vector(NEXT, 3), [Clip(0, 0.5), ProgressAttribution(dim=4)], columns=columns)
    env.stack.keep = 50
    rows = 0
    with pytest.warns(UserWarning, match="only the last 50 steps"):
        for _ in run(env, 900):
            rows = max(rows, len(env.rows), *(len(lane.record or ()) for lane in env.lanes))
    assert rows <= 64 + 2 * 7 and env.stack.kept <= 50 and env.stack.dropped > 200
    plain = ShapedVectorEnv(vector(NEXT, 3), [Clip(0, 0.5)], columns=columns)
    for _ in run(plain, 200):
        assert not plain.rows and not plain.stack.finished  # nobody will ask


def test_facts_serve_a_vector_environment_lane_by_lane():
    facts = {"progress": lambda t: float(t.next_obs[0]) / 5}
    layers = [PotentialShaping(key="progress", gamma=1.0)]
    for mode in (NEXT, SAME):
        a = shape(vector(mode, facts=False), layers, facts=facts)
        b = shape(vector(mode), layers)
        assert not a.columns and b.columns
        for x, y in zip(run(a), run(b), strict=True):
            if len(x) == 5:
                np.testing.assert_allclose(x[1], y[1])
                same(x[4]["progress"], y[4]["progress"])
    cart = shape(gym.make_vec("CartPole-v1", 2), layers, facts={"progress": lambda t: 1 - abs(float(t.next_obs[2]))})
    _, infos = cart.reset(seed=0)
    start = infos["progress"]
    _, r, *_, infos = cart.step(np.array([0, 1]))
    np.testing.assert_allclose(r - 1.0, infos["progress"] - start)
