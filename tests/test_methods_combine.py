"""Combinators: transforms of a reward, and shapers made of shapers."""

import json

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.wrappers import (
    Clip,
    Conserve,
    CountBonus,
    Focus,
    Gate,
    Grpo,
    MissingFact,
    Mix,
    Normalize,
    PotentialShaping,
    Scale,
    ScoreDelta,
    Stack,
    Trajectory,
    Transition,
    Uniform,
    load,
    shape,
)

numbers = st.lists(st.floats(-5, 5), max_size=8)
core = pytest.mark.core


def traj(rewards, terminated=True, terms=None, **facts):
    """An episode; each fact is a list of T + 1 values."""
    n = len(rewards)
    infos = [{k: v[i] for k, v in facts.items()} for i in range(n + 1)]
    terms = {k: np.array(v, float) for k, v in (terms or {}).items()}
    obs = list(range(n + 1))
    return Trajectory(obs, [0] * n, np.array(rewards, float), terminated, not terminated, infos, {}, terms)


def run(shaper, t):
    return Stack([shaper]).run([t])[0].rewards


# -- clip, scale -------------------------------------------------------------------------------
@core
@given(numbers, st.floats(-2, 0), st.floats(0, 2), st.floats(-3, 3))
def test_clip_and_scale(r, low, high, factor):
    assert run(Clip(low, high), traj(r)) == pytest.approx(np.clip(r, low, high))
    assert run(Scale(factor), traj(r)) == pytest.approx(factor * np.array(r))


@core
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(-3, 3))
def test_scale_of_a_child_scales_what_it_adds(progress, factor):
    t = traj(np.arange(len(progress) - 1.0), progress=progress)
    added = run(PotentialShaping(), t) - t.rewards
    assert run(Scale(factor, PotentialShaping()), t) == pytest.approx(t.rewards + factor * added)
    assert run(Scale(0.0, PotentialShaping()), t) == pytest.approx(t.rewards)


# -- normalise ---------------------------------------------------------------------------------
def test_normalize_equals_gymnasium_step_by_step():
    # within an episode: at a terminal step Gymnasium drops the return so far before it adds the reward, and carries
    # that reward into the next episode; we count the last step like any other and start each episode at 0
    ours = shape(gym.make("CartPole-v1"), [Normalize("return", gamma=0.9)])
    theirs = gym.wrappers.NormalizeReward(gym.make("CartPole-v1"), gamma=0.9)
    a, _ = ours.reset(seed=3)
    b, _ = theirs.reset(seed=3)
    for k in range(300):
        act = int(a[2] + a[3] > 0)  # balances
        a, ra, terminated, truncated, _ = ours.step(act)
        b, rb, *_ = theirs.step(act)
        assert (a == b).all() and not terminated and not truncated and ra == pytest.approx(float(rb), rel=1e-9), k


def test_normalize_equals_vec_normalize_over_many_episodes():
    pytest.importorskip("stable_baselines3", reason="VecNormalize is the reference across ends of episodes")
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

    theirs = VecNormalize(
        DummyVecEnv([lambda: gym.make("Pendulum-v1", max_episode_steps=7)]), norm_obs=False, clip_reward=1e9
    )
    theirs.seed(5)
    theirs.reset()
    ours = shape(gym.make("Pendulum-v1", max_episode_steps=7), [Normalize()])
    ours.reset(seed=5)
    for k in range(60):
        act = np.array([np.sin(k)], np.float32)
        _, ra, terminated, truncated, _ = ours.step(act)
        _, rb, _, _ = theirs.step(act[None])
        assert ra == pytest.approx(float(rb[0]), rel=1e-4), k
        if terminated or truncated:
            ours.reset()


@core
def test_normalize_reward_by_hand_and_frozen():
    # rewards 1, 3 from count 1e-4, mean 0, var 1: almost the moments of {1} (0 variance), then of {1, 3}: mean 2, std 1
    stack = Stack([Normalize("reward", eps=0.0)])
    out = stack.run([traj([1, 3])])[0].rewards
    assert out[1] == pytest.approx(1.0, abs=1e-3)
    stack.train(False)
    before = stack.state_dict()
    assert stack.run([traj([2, 4])])[0].rewards == pytest.approx([0.0, 2.0], abs=1e-3)
    assert stack.state_dict() == before


@core
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=20))
def test_normalize_keeps_signs_and_resumes(r):
    stack = Stack([Normalize()])
    out = stack.run([traj(r)])[0].rewards
    assert (np.sign(out) == np.sign(r)).all()
    other = Stack([Normalize()])
    other.load_state_dict(stack.state_dict())
    assert (other.run([traj(r)])[0].rewards == stack.run([traj(r)])[0].rewards).all()


# -- focus, gate -------------------------------------------------------------------------------
@core
@given(numbers.map(np.array), st.floats(-1, 0), st.floats(0, 1))
def test_focus_touches_one_term(r, low, high):
    t = traj(r + 10.0, terms={"a": r, "b": np.full(len(r), 10.0)})
    assert run(Focus("a", Clip(low, high)), t) == pytest.approx(np.clip(r, low, high) + 10.0)
    assert run(Focus("absent", Clip(low, high)), t) == pytest.approx(t.rewards)


@core
def test_focus_of_an_episode_shaper_by_hand():
    # of the two terms only "late" is spread: 6 / 3 each, "now" stays where it was
    t = traj([1, 0, 6], terms={"now": [1, 0, 0], "late": [0, 0, 6]})
    assert run(Focus("late", Uniform()), t) == pytest.approx([3, 2, 2])


@core
@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=1, max_size=8))
def test_gate_pays_the_child_where_it_is_open(rows):
    t = traj([1.0] * (len(rows) - 1), ok=[o for o, _ in rows], progress=[p for _, p in rows])
    added = run(PotentialShaping(), t) - t.rewards
    is_open = np.array([o for o, _ in rows[1:]], float)
    assert run(Gate(PotentialShaping(), "ok"), t) == pytest.approx(1.0 + is_open * added)


@core
def test_gate_of_an_episode_shaper_and_its_facts():
    t = traj([0, 0, 6], level=[0, 0.5, 0.4, 1.0])
    assert run(Gate(Uniform(), "level"), t) == pytest.approx([2, 0, 2])  # open at steps 1 and 3
    with pytest.raises(MissingFact, match="'level'"):
        run(Gate(Uniform(), "level"), traj([1.0]))
    with pytest.raises(MissingFact, match="'progress'"):  # what a child of a child needs
        run(Gate(Scale(1.0, PotentialShaping()), "level"), traj([1.0], level=[1, 1]))
    with pytest.raises(MissingFact, match="'progress'"):
        run(Scale(1.0, Mix((Clip(), PotentialShaping()))), traj([1.0]))


@core
@given(data=st.data())
def test_combinators_columns_equal_lanes(data):
    n = 3
    column = st.lists(st.floats(0, 1), min_size=n, max_size=n).map(np.array)
    for shaper in (Clip(0.2, 0.5), Scale(2.0), Gate(PotentialShaping(), "ok"), Focus("a", Scale(3.0)), Normalize()):
        m = load(shaper)
        m.setup(np.random.default_rng(0))
        m.train(False)
        assert m.columnar
        first, info, r = ({k: data.draw(column) for k in ("ok", "progress")} for _ in range(3))
        states = m.init(None, first)
        got, _ = m.step(
            states, Transition(None, None, r["ok"], None, r["ok"] > 2, r["ok"] < 2, info, {"a": r["progress"]})
        )
        for i in range(n):
            lane = m.init(None, {k: float(v[i]) for k, v in first.items()})
            one = {k: float(v[i]) for k, v in info.items()}
            terms = {"a": float(r["progress"][i])}
            want, _ = m.step(lane, Transition(None, None, float(r["ok"][i]), None, False, True, one, terms))
            assert got[i] == pytest.approx(want)


# -- mix, conserve -----------------------------------------------------------------------------
@core
@given(numbers, st.floats(0, 1))
def test_mix_of_redistributors(r, w):
    t = traj(r)
    out = run(Mix((Uniform(), Scale(1.0)), (w, 1 - w)), t)
    assert out == pytest.approx(w * run(Uniform(), t) + (1 - w) * np.array(r), abs=1e-9)
    assert out.sum() == pytest.approx(sum(r), abs=1e-9)
    assert Mix((Uniform(), Uniform())).return_preserving and not Mix((Uniform(), Clip())).return_preserving


@core
def test_mix_online_by_hand():
    # half of clip to 1 and half of doubling: 3 -> .5 + 3, .5 -> .25 + .5
    assert run(Mix((Clip(-1, 1), Scale(2.0))), traj([3, 0.5])) == pytest.approx([3.5, 0.75])


@core
@given(numbers, st.sampled_from(["uniform", "last"]), st.booleans())
def test_conserve_gives_the_return_back(r, how, terminated):
    out = run(Conserve(Clip(-1, 1), how), traj(r, terminated))
    assert out.shape == (len(r),) and out.sum() == pytest.approx(sum(r), abs=1e-9)


@core
def test_conserve_by_hand():
    # 3, 0, 3 clipped to 1, 0, 1 lacks 4: 4 / 3 on each step, or all on the last
    assert run(Conserve(Clip(-1, 1)), traj([3, 0, 3])) == pytest.approx([7 / 3, 4 / 3, 7 / 3])
    assert run(Conserve(Clip(-1, 1), "last"), traj([3, 0, 3])) == pytest.approx([1, 0, 5])


# -- refusals, specs ---------------------------------------------------------------------------
@core
@pytest.mark.parametrize(
    "make, said",
    [
        (lambda: Clip(1.0, -1.0), "clip: low = 1.0 is above high = -1.0"),
        (lambda: Clip("a"), "clip: setting 'low'"),
        (lambda: Normalize("median"), "allowed is one of 'return', 'reward'"),
        (lambda: Conserve(Uniform(), "first"), "allowed is one of 'uniform', 'last'"),
        (lambda: Mix((Uniform(), Clip()), (0.5, 0.6)), "2 weights that sum to 1"),
        (lambda: Mix((Grpo(),)), "not advantages"),
        (lambda: Scale(2.0, Grpo()), "scale: the child gives rewards, not advantages"),
        (lambda: Focus("a", Grpo()), "focus: the child gives rewards, not advantages"),
        (lambda: Focus("a", {"shaper": "clop"}), "did you mean 'clip'"),
        (lambda: Focus("a", {"shaper": "clip", "hihg": 1.0}), "did you mean 'high'"),
    ],
)
def test_combinators_refuse(make, said):
    with pytest.raises(ValueError, match=said):
        make()


@core
@pytest.mark.parametrize(
    "shaper",
    [
        Focus("a", Clip()),
        Scale(2.0, CountBonus(beta=0.3)),
        Gate(ScoreDelta(), "ok"),
        Mix((Uniform(), Scale(1.0)), (0.25, 0.75)),
        Conserve(Uniform(), "last"),
        Normalize("reward"),
    ],
    ids=lambda m: type(m).__name__,
)
def test_spec_and_memory_round_trip(shaper):
    again = load(json.loads(json.dumps(shaper.spec())))
    assert again == shaper
    t = traj([1.0, 2.0], terms={"a": [1, 2]}, ok=[1, 1, 1], score=[0, 1, 2], max_score=[2, 2, 2])
    one, two = Stack([shaper]), Stack([again])
    one.run([t])
    two.load_state_dict(json.loads(json.dumps(one.state_dict())))
    assert (one.run([t])[0].rewards == two.run([t])[0].rewards).all()
    assert run(again, traj([], ok=[1], score=[0], max_score=[1])).shape == (0,)
