"""Methods over traces of values and over groups: turning points, per-step norms, anchored values, rankings, filters."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.wrappers import (
    Centered,
    Grpo,
    LengthPenalty,
    ListwiseAdvantage,
    OutlierFilter,
    PerStepNorm,
    Stack,
    Trajectory,
    TurningPoints,
    ValueAnchored,
)
from milepost.wrappers.group.outlier_filter import safe_ratio

pytestmark = pytest.mark.core
values = st.lists(st.floats(-5, 5).map(lambda x: round(x, 3)), min_size=1, max_size=8)


def trace(values, rewards=None, **meta):
    """An episode with ``len(values) - 1`` steps."""
    n = len(values) - 1
    rewards = np.zeros(n) if rewards is None else np.array(rewards, float)
    return Trajectory([0] * (n + 1), [0] * n, rewards, True, False, [{"value": v} for v in values], {"task": 0} | meta)


def episode(total, steps=1, success=False, **meta):
    r = np.zeros(steps)
    r[-1:] = total
    infos = [{"success": success} for _ in range(steps + 1)]
    return Trajectory([0] * (steps + 1), [0] * steps, r, True, False, infos, {"task": 0} | meta)


def paid(shaper, group):
    return [t.rewards for t in Stack([shaper]).run(group)]


def advantages(shaper, group):
    return [t.advantages for t in Stack([shaper]).run(group)]


# -- turning points ------------------------------------------------------------------------------
def test_turning_points_of_the_card():
    # d = -.05, .15, -.05, .15; s = - + - +; step 2 turns and agrees with the rest (.70 - .45); step 4 has no rest
    assert paid(TurningPoints(), [trace([0.5, 0.45, 0.6, 0.55, 0.7])])[0] == pytest.approx([-0.05, 0.25, -0.05, 0.15])


def test_turning_points_by_hand():
    # V 0 2 1 3: the first step agrees with what follows (3 - 2): pays 3; step 2 falls: -1; step 3 turns but has no rest
    v = trace([0, 2, 1, 3], [10, 0, 0])
    assert paid(TurningPoints(), [v])[0] == pytest.approx([10 + 3, -1, 2])
    assert paid(TurningPoints(first_step=False), [v])[0] == pytest.approx([10 + 2, -1, 2])
    assert paid(TurningPoints(consistent=False, eta=0.5, first_step=False), [v])[0] == pytest.approx([12, -1, 0.5 * 2])
    assert paid(TurningPoints(replace=False), [v])[0] == pytest.approx([10 + 2 + 3, -1, 2])


def test_balanced_turning_points():
    # two episodes turn up (rest 3 and 2), one down (rest -2): of the two the larger stays
    up, small, down = trace([0, 2, 3]), trace([0, 1, 2]), trace([0, -1, -2])
    assert [list(r) for r in paid(TurningPoints(balance=True), [up, small, down])] == [[3, 1], [1, 1], [-2, -1]]
    assert [list(r) for r in paid(TurningPoints(balance=True), [up, small])] == [[2, 1], [1, 1]]  # no negative one
    with pytest.raises(ValueError, match="turning_points: eta"):
        TurningPoints(eta=-1.0)


@given(values, st.floats(0.1, 3))
def test_turning_points_turn_over_and_scale(v, factor):
    once = paid(TurningPoints(), [trace(v)])[0]
    assert paid(TurningPoints(), [trace([-x for x in v])])[0] == pytest.approx(-once)
    assert paid(TurningPoints(), [trace([factor * x for x in v])])[0] == pytest.approx(factor * once)
    assert paid(TurningPoints(eta=0.0, replace=False), [trace(v)])[0].sum() == pytest.approx(v[-1] - v[0])
    rising = np.cumsum(np.abs(v))
    assert not TurningPoints().turns(rising)[1:].any()


# -- the norm of each step -----------------------------------------------------------------------
def test_per_step_norm_by_hand():
    # step 0: 1, 3 -> -1, 1; step 1: 5 alone -> 0
    got = advantages(PerStepNorm(eps=0.0), [trace([0, 0, 0], [1, 5]), trace([0, 0], [3])])
    assert got[0] == pytest.approx([-1, 0]) and got[1] == pytest.approx([1])
    # 99 zeros and one 1: mean .01, std sqrt(.01 * .99) = .0995 -> 9.95, cut at 5
    many = [trace([0, 0], [float(k == 0)]) for k in range(100)]
    assert advantages(PerStepNorm(eps=0.0), many)[0] == pytest.approx([5.0])
    assert advantages(PerStepNorm(eps=0.0, limit=99.0), many)[0] == pytest.approx([9.9498744])
    # eps .5 halves z where std is .5
    assert advantages(PerStepNorm(eps=0.5), [trace([0, 0], [0]), trace([0, 0], [1])])[1] == pytest.approx([0.5])
    for wrong in ({"eps": -1.0}, {"ddof": 2}, {"limit": 0.0}):
        with pytest.raises(ValueError, match="per_step_norm"):
            PerStepNorm(**wrong)


# -- anchored values -----------------------------------------------------------------------------
def test_vgpo_of_the_card():
    # Q_A (.74, .6), Q_B (1.12, .8); w_A (1.104478, .895522), w_B (1.166667, .833333); z -1 and 1
    a, b = advantages(ValueAnchored(gamma=0.9, eps=0.0), [trace([9, 0.2, 0.6]), trace([9, 0.4, 0.8])])
    assert a == pytest.approx([-0.287164, -0.358209], abs=1e-6) and b == pytest.approx([2.473333, 1.5], abs=1e-6)
    (alike,) = advantages(ValueAnchored(gamma=0.9), [trace([9, 0.2, 0.6])])
    assert alike == pytest.approx([0.74 * 1.104478, 0.6 * 0.895522], abs=1e-5)


def test_vgpo_by_hand():
    group = [trace([0, 1.0]), trace([0, 3.0])]  # one step each: w = 1; z = -1, 1; k = 2
    assert [float(a[0]) for a in advantages(ValueAnchored(k=2.0, eps=0.0), group)] == pytest.approx([-1 + 2, 1 + 6])
    stack = Stack([ValueAnchored(k=1.0, eps=0.0, anchor="running", anchor_batches=2)])
    stack.learn(group)  # the mean of Q is 2
    assert [float(t.advantages[0]) for t in stack.run(group)] == pytest.approx([-1 + (1 - 2), 1 + (3 - 2)])
    stack.learn(group)  # two batches: no anchor any more
    assert [float(t.advantages[0]) for t in stack.run(group)] == pytest.approx([-1, 1])
    for wrong in ({"gamma": 2.0}, {"k": -1.0}, {"eps": -1.0}, {"anchor_batches": -1}):
        with pytest.raises(ValueError, match="value_anchored"):
            ValueAnchored(**wrong)


@given(st.lists(st.lists(st.floats(0, 5), min_size=3, max_size=3), min_size=1, max_size=5))
def test_vgpo_without_an_anchor_is_the_z_score(rows):
    group = [trace([0.0, *r]) for r in rows]
    plain = advantages(ValueAnchored(gamma=0.0, k=0.0, temporal=False, eps=1e-4), group)
    again = advantages(PerStepNorm(limit=99.0), [trace([0.0, *r], r) for r in rows])
    for a, b in zip(plain, again):
        assert a == pytest.approx(b)
    for t, a in zip(group, advantages(ValueAnchored(), group)):
        assert np.isfinite(a).all() and len(a) == len(t)


# -- rankings ------------------------------------------------------------------------------------
def with_scores(rewards, scores):
    return [episode(r, logp=np.array([s]), ref_logp=np.zeros(1)) for r, s in zip(rewards, scores)]


def test_gdro_of_the_card():
    # q_1 = (.665241, .244728, .090031); terms .979900 + .635038
    assert ListwiseAdvantage(tau=0.5).loss(with_scores([1, 0.5, 0], [0.3, 0.1, -0.2])) == pytest.approx(
        1.614938, abs=1e-6
    )
    assert ListwiseAdvantage(tau=1e-3).loss(with_scores([1, 0], [0.3, 0.1])) == pytest.approx(
        0.598139, abs=1e-6
    )  # DPO's


def test_gdro_by_hand():
    # two episodes, no log-probabilities, tau 1: q = e / (e + 1) = .731059, p = .5
    got = advantages(ListwiseAdvantage(tau=1.0), [episode(1, 2), episode(0)])
    assert got[0] == pytest.approx([0.231059] * 2, abs=1e-6) and got[1] == pytest.approx([-0.231059], abs=1e-6)
    assert advantages(ListwiseAdvantage(), [episode(5)])[0] == pytest.approx([0.0])
    for wrong in ({"tau": 0.0}, {"beta": -1.0}):
        with pytest.raises(ValueError, match="listwise_advantage"):
            ListwiseAdvantage(**wrong)


@given(st.lists(st.tuples(st.floats(-3, 3), st.floats(-3, 3)), min_size=1, max_size=6), st.floats(-5, 5))
def test_rankings_sum_to_nothing_and_are_the_losss_gradient(rows, shift):
    rewards, scores = [r for r, _ in rows], [s for _, s in rows]
    shaper = ListwiseAdvantage(tau=0.7)
    got = np.array([a[0] for a in advantages(shaper, with_scores(rewards, scores))])
    assert got.sum() == pytest.approx(0.0, abs=1e-9)
    moved = [a[0] for a in advantages(shaper, with_scores([r + shift for r in rewards], [s + shift for s in scores]))]
    if len({round(r, 6) for r in rewards}) == len(rewards):  # ties may be ordered otherwise by rounding
        assert np.array(moved) == pytest.approx(got, abs=1e-6)
    for j in range(len(rows)):
        up, down = list(scores), list(scores)
        up[j], down[j] = up[j] + 1e-5, down[j] - 1e-5
        slope = (shaper.loss(with_scores(rewards, up)) - shaper.loss(with_scores(rewards, down))) / 2e-5
        assert got[j] == pytest.approx(-slope, abs=1e-5)


# -- filters and centres -------------------------------------------------------------------------
def test_outliers_of_the_card():
    # 20 zeros and a 10: mean .476190, std 2.129589, z of the 10 is 4.472136 -> 0; the others -.223607
    got = np.concatenate(advantages(OutlierFilter(eps=0.0), [trace([0] * 22, [0.0] * 20 + [10.0])]))
    assert got[:20] == pytest.approx([-0.223607] * 20, abs=1e-6) and got[20] == 0.0
    assert advantages(OutlierFilter(eps=0.0, mode="clip"), [trace([0] * 22, [0.0] * 20 + [10.0])])[0][20] == 3.0
    assert safe_ratio(12.0, 0.0) == pytest.approx(1000.0) and safe_ratio(-1e9, 0.0) == pytest.approx(1e-3)
    assert np.isfinite(safe_ratio(np.array([np.inf, -np.inf]), 0.0)).all()


def test_outliers_by_hand():
    # behind a group layer: leave the advantages 1, -1 of two episodes; z over the batch the same
    group = [episode(1), episode(0)]
    out = Stack([Grpo(eps=0.0), OutlierFilter(eps=0.0)]).run(group)
    assert [float(t.advantages[0]) for t in out] == pytest.approx([1.0, -1.0])
    assert advantages(OutlierFilter(), [episode(4)])[0] == pytest.approx([0.0])
    for wrong in ({"sigma": 0.0}, {"ddof": 2}, {"eps": -1.0}):
        with pytest.raises(ValueError, match="outlier_filter"):
            OutlierFilter(**wrong)


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=30), st.sampled_from(["zero", "clip"]))
def test_filtered_advantages_are_bounded_and_nan_stays(rewards, mode):
    (got,) = advantages(OutlierFilter(mode=mode), [trace([0] * (len(rewards) + 1), rewards)])
    assert np.isfinite(got).all() and np.abs(got).max() <= 3.0


def test_harmo_of_the_card():
    # lengths 100 and 120 right, 40 wrong: L_ref 110, the gap 70 is more than half of it: -.5; A = R - mean
    group = [episode(1.5, 100, True), episode(1.5, 120, True), episode(0.5, 40)]
    got = paid(LengthPenalty(), group)
    assert [r.sum() for r in got] == pytest.approx([1.5, 1.5, 0.0]) and got[2][-1] == pytest.approx(0.0)
    both = Stack([LengthPenalty(), Centered()]).run(group)
    assert [float(t.advantages[0]) for t in both] == pytest.approx([0.5, 0.5, -1.0])
    four = [float(a[0]) for a in advantages(Centered(), [episode(r) for r in (1.5, 1.3, 0.5, 0.6)])]
    assert four == pytest.approx([0.525, 0.325, -0.475, -0.375])


def test_length_penalty_by_hand():
    # L_ref 10; a wrong one of 8 steps: gap 2 of tau L_ref = 5 -> .4 of p_max 2 = .8; one of 12 only if two-sided
    group = [episode(1, 10, True), episode(0, 8), episode(0, 12)]
    assert [r.sum() for r in paid(LengthPenalty(p_max=2.0), group)] == pytest.approx([1, -0.8, 0])
    assert [r.sum() for r in paid(LengthPenalty(p_max=2.0, two_sided=True), group)] == pytest.approx([1, -0.8, -0.8])
    assert [r.sum() for r in paid(LengthPenalty(), group[1:])] == [0, 0]  # nobody is right
    for wrong in ({"p_max": -1.0}, {"tau": 0.0}):
        with pytest.raises(ValueError, match="length_penalty"):
            LengthPenalty(**wrong)


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=8), st.floats(0.1, 10))
def test_centred_returns_sum_to_nothing_and_scale(rewards, factor):
    got = np.array([a[0] for a in advantages(Centered(), [episode(r) for r in rewards])])
    scaled = np.array([a[0] for a in advantages(Centered(), [episode(factor * r) for r in rewards])])
    assert got.sum() == pytest.approx(0, abs=1e-9) and scaled == pytest.approx(factor * got, abs=1e-9)
