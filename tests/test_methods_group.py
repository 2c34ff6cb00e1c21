"""Advantages over a group of sibling episodes: GRPO, RLOO."""

import json

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.wrappers import Grpo, Rloo, Stack, Trajectory, load, shape
from milepost.wrappers.maths import zscore

pytestmark = pytest.mark.core
returns = st.lists(st.floats(-10, 10), min_size=1, max_size=8)
BOTH = pytest.mark.parametrize("make", [Grpo, Rloo])


def episode(total, steps=1, **meta):
    r = np.zeros(steps)
    r[-1:] = total
    return Trajectory([0] * (steps + 1), [0] * steps, r, True, False, [{}] * (steps + 1), {"task": 0} | meta)


def advantages(shaper, group):
    return [t.advantages for t in Stack([shaper]).run(group)]


def firsts(shaper, values):
    return np.array([a[0] for a in advantages(shaper, [episode(v) for v in values])])


# -- golden ------------------------------------------------------------------------------------
def test_grpo_by_hand():
    # returns 1, 0, 0, 1: mean .5; population std .5 -> 1, -1, -1, 1; sample std sqrt(1 / 3) = .577350 -> .866025 in size
    assert firsts(Grpo(eps=0.0), [1, 0, 0, 1]) == pytest.approx([1, -1, -1, 1])
    assert firsts(Grpo(eps=0.0, ddof=1), [1, 0, 0, 1]) == pytest.approx(
        [0.866025, -0.866025, -0.866025, 0.866025], abs=1e-6
    )
    # with eps .5 the divisor is 1
    assert firsts(Grpo(eps=0.5), [1, 0, 0, 1]) == pytest.approx([0.5, -0.5, -0.5, 0.5])


def test_grpo_a_second_example():
    # returns 3, 6, 9 (std sqrt 6 = 2.449490): -1.224745, 0, 1.224745, the same at every step of an episode
    got = advantages(Grpo(eps=0.0), [episode(3, 2), episode(6, 1), episode(9, 3)])
    assert (
        got[0] == pytest.approx([-1.224745] * 2)
        and got[1] == pytest.approx([0])
        and got[2] == pytest.approx([1.224745] * 3)
    )


def test_rloo_by_hand():
    # 3 - (1 + 2) / 2, 1 - (3 + 2) / 2, 2 - (3 + 1) / 2
    assert firsts(Rloo(), [3, 1, 2]) == pytest.approx([1.5, -1.5, 0.0])
    # two episodes: each against the other; the one step is repeated over the episode
    got = advantages(Rloo(), [episode(1, 3), episode(0, 2)])
    assert got[0] == pytest.approx([1, 1, 1]) and got[1] == pytest.approx([-1, -1])


# -- properties --------------------------------------------------------------------------------
@BOTH
@given(returns, st.randoms(use_true_random=False))
def test_advantages_sum_to_0_and_move_with_their_episodes(make, values, rnd):
    got = firsts(make(), values)
    assert got.sum() == pytest.approx(0, abs=1e-6) and np.isfinite(got).all()
    order = list(range(len(values)))
    rnd.shuffle(order)
    assert firsts(make(), [values[i] for i in order]) == pytest.approx(got[order], abs=1e-9)


@given(returns, st.floats(-5, 5), st.floats(0.5, 4))
def test_shift_and_scale(values, shift, scale):
    moved = [scale * v + shift for v in values]
    assert firsts(Rloo(), moved) == pytest.approx(scale * firsts(Rloo(), values), abs=1e-6)
    if np.std(values) > 0.1:
        assert firsts(Grpo(eps=0.0), moved) == pytest.approx(firsts(Grpo(eps=0.0), values), abs=1e-6)


@given(returns)
def test_rloo_is_the_mean_of_the_others(values):
    want = [v - np.mean(np.delete(values, i)) if len(values) > 1 else 0.0 for i, v in enumerate(values)]
    assert firsts(Rloo(), values) == pytest.approx(want, abs=1e-9)


@BOTH
@given(st.lists(st.floats(-3, 3), min_size=2, max_size=6), st.lists(st.floats(-3, 3), min_size=2, max_size=6))
def test_tasks_and_sides_are_groups_of_their_own(make, one, two):
    for key, settings in (("task", {}), ("view", {"by": "view"})):
        mixed = [episode(v, **{key: 1}) for v in one] + [episode(v, **{key: 2}) for v in two]
        got = np.array([a[0] for a in advantages(make(**settings), mixed)])
        assert got == pytest.approx(np.concatenate([firsts(make(), one), firsts(make(), two)]), abs=1e-9)


# -- probes ------------------------------------------------------------------------------------
@BOTH
@given(st.floats(-1e6, 1e6), st.integers(2, 7))
def test_a_group_without_variance_gets_0(make, value, n):
    assert (firsts(make(), [value] * n) == pytest.approx(0, abs=1e-9 * max(1, abs(value)))) and (
        make is Rloo or not firsts(Grpo(eps=0.0), [value] * n).any()
    )


def test_rounding_is_not_blown_up_where_nothing_varies():
    # the mean of three times .1 is not .1 in floating point: with eps 0 the rest over its own std would be 1 in size
    assert np.mean([0.1] * 3) != 0.1
    assert not firsts(Grpo(eps=0.0), [0.1] * 3).any()
    x = np.array([[0.1, 1.0, np.nan], [0.1, 3.0, np.nan], [0.1, np.nan, 5.0]])
    want = [[0, -1, np.nan], [0, 1, np.nan], [0, np.nan, 0]]
    assert np.allclose(zscore(x, eps=0.0, axis=0), want, equal_nan=True)
    assert zscore(np.zeros(0)).shape == (0,)


@BOTH
def test_a_group_of_one_and_empty_and_truncated_episodes(make):
    assert firsts(make(), [7.0]) == pytest.approx([0.0])
    assert advantages(make(), []) == []
    cut = Trajectory([0] * 3, [0] * 2, np.array([0.0, 2.0]), False, True, [{}] * 3, {"task": 0})
    got = advantages(make(), [episode(0, 0), cut, episode(1, 1)])
    assert [a.shape for a in got] == [(0,), (2,), (1,)] and np.isfinite(np.concatenate(got)).all()


@BOTH
def test_rewards_stay_and_advantages_are_no_terms(make):
    (t, _) = Stack([make()]).run([episode(1, 2), episode(0, 2)])
    assert t.rewards == pytest.approx([0, 1]) and list(t.terms) == ["env"]


@BOTH
def test_a_lone_environment_is_refused(make):
    with pytest.raises(ValueError, match=r"stack\.run"):
        shape(gym.make("CartPole-v1"), [make()])


@BOTH
def test_spec_round_trip(make):
    again = load(json.loads(json.dumps(make(by="view").spec())))
    assert again == make(by="view")


@pytest.mark.parametrize("settings", [{"eps": -1.0}, {"ddof": 2}, {"ddof": 0.5}, {"by": 3}])
def test_grpo_refuses(settings):
    with pytest.raises(ValueError, match=f"grpo: .*{next(iter(settings))}"):
        Grpo(**settings)
