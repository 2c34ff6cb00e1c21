"""HERON and IXC: a reward model of one's own episodes (``wrappers/episode/model_reward.py``)."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.wrappers import MissingFact, ModelReward, Stack, Trajectory

pytestmark = pytest.mark.core


def walk(actions, success, task=0, **facts):
    """An episode of numbered actions."""
    n = len(actions)
    infos = [{} for _ in range(n + 1)]
    infos[-1] = {"success": success} | facts
    return Trajectory([0] * (n + 1), list(actions), np.zeros(n), True, False, infos, {"task": task})


def which(t, dim):
    """One feature: was it action 1?"""
    return np.array([float(t.action == 1)] + [0.0] * (dim - 1))


def test_model_reward_by_hand():
    # one success of action 1 (x = 1) against one failure of action 0 (x = 0): l2 w = sigma(-w), w = 1 at l2 = .2689...
    settings = {"features": which, "dim": 1, "l2": 0.2689414213699951, "held_out": 0.0, "factors": (("success",),)}
    stack = Stack([ModelReward(**settings)])
    good, bad, half = walk([1, 1], True), walk([0, 0], False), walk([1, 0], False)
    assert [list(t.rewards) for t in stack.run([good])] == [[0.0, 0.0]]  # nothing is fitted yet
    out = stack.learn([good, bad])
    assert out["model_reward/loss"] == pytest.approx(math.log(1 + math.exp(-1))) and out["model_reward/pairs"] == 1
    # scores 1 and 0: mean .5, deviation .5: 1 -> 1, 0 -> -1, 1/2 -> 0
    assert [list(t.rewards) for t in stack.run([good, bad, half])] == [
        pytest.approx([0, 1]),
        pytest.approx([0, -1]),
        pytest.approx([0, 0]),
    ]
    # as a delta: half's first step has x = 1 (pays 1), after the second x = 1/2 (takes it back)
    delta = Stack([ModelReward(**settings, pay="delta", weight=2.0, combine="add")])
    delta.learn([good, bad])
    paid = delta.run([Trajectory([0] * 3, [1, 0], np.array([5.0, 7.0]), True, False, [{}] * 3)])[0].rewards
    assert paid == pytest.approx([5 + 2, 7 - 2])
    assert delta.stats() == {"model_reward/pairs": 1, "model_reward/undecided": 0, "model_reward/too long": 0}


def test_factors_decide_in_their_order():
    # success first, then fewer steps: (1, 3 steps) > (1, 9) > (0, 1); margin half of the deviation of 3, 9, 1 (3.40): 1.70
    stack = Stack([ModelReward(features=which, dim=1, held_out=0.0)])
    group = [walk([1] * 3, True), walk([1, 0, 0] * 3, True), walk([0], False)]
    assert stack.learn(group)["model_reward/pairs"] == 3
    quick, slow, lost = [float(t.rewards.sum()) for t in stack.run(group)]
    assert quick > slow > lost
    # within a task: of tasks 0 0 1 only one pair can be compared
    within = Stack([ModelReward(features=which, dim=1, held_out=0.0, within="task")])
    tasks = [walk([1], True, 0), walk([0], False, 0), walk([0], False, 1)]
    assert within.learn(tasks)["model_reward/pairs"] == 1
    # better ones that are more than twice as long are left out
    short = Stack([ModelReward(features=which, dim=1, held_out=0.0, length_ratio_max=2.0, factors=(("success",),))])
    out = short.learn([walk([1] * 5, True), walk([0] * 2, False), walk([0] * 4, False)])
    assert out["model_reward/pairs"] == 1 and out["model_reward/too_long"] == 1


def play(rng, n=30):
    """Random episodes of six steps; what succeeds took action 1 at least four times."""
    out = []
    for k in range(n):
        actions = rng.integers(2, size=6).tolist()
        out.append(walk(actions, sum(actions) >= 4, task=k))
    return out


@pytest.mark.parametrize("settings", [{}, {"pay": "delta"}, {"hidden": 4, "epochs": 20, "lr": 0.1}])
def test_a_model_learns_what_success_is_made_of(settings):
    if "hidden" in settings:
        pytest.importorskip("torch", reason="the extra torch is not installed")
    stack = Stack([ModelReward(factors=(("success", 1),), dim=16, limit=2.0, weight=0.5, **settings)])
    rng = np.random.default_rng(0)
    assert stack.learn(play(rng))["model_reward/accuracy"] > 0.9
    new = play(rng)
    paid = np.array([t.rewards.sum() for t in stack.run(new)])
    won = np.array([t.infos[-1]["success"] for t in new])
    assert paid[won].mean() > paid[~won].mean() + 0.4 and np.abs(paid).max() <= 0.5 * 2.0 + 1e-9
    twin = Stack(stack.spec())
    twin.load_state_dict(stack.state_dict())
    assert [float(t.rewards.sum()) for t in twin.run(new)] == pytest.approx(list(paid))
    before = json.dumps(stack.state_dict(), default=repr)
    stack.train(False)
    assert stack.learn(new) == {} and json.dumps(stack.state_dict(), default=repr) == before


def test_what_a_fitted_model_pays_does_not_grow_with_length():
    stack = Stack([ModelReward(factors=(("success", 1),), dim=16, limit=2.0)])
    stack.learn(play(np.random.default_rng(1)))
    for n in (1, 10, 1000):
        for actions in ([1] * n, [0] * n, [0, 1] * n):
            assert abs(float(stack.run([walk(actions, False)])[0].rewards.sum())) <= 2.0
    assert stack.run([walk([], False)])[0].rewards.shape == (0,)


@given(st.sampled_from([0.25, 2.0, 8.0]), st.integers(-4, 4))
def test_units_of_factors_do_not_matter(factor, constant):
    rng = np.random.default_rng(0)
    cost = rng.integers(0, 9, 20).astype(float)
    plain = [walk([k % 2] * 3, k % 3 == 0, cost=cost[k]) for k in range(20)]
    other = [walk([k % 2] * 3, k % 3 == 0, cost=factor * cost[k] + constant) for k in range(20)]
    paid = []
    for group in (plain, other):
        stack = Stack([ModelReward(features=which, dim=1, factors=(("success",), ("cost", -1, 0.5)))])
        stack.learn(group)
        paid.append([float(t.rewards.sum()) for t in stack.run(plain)])
    assert paid[0] == pytest.approx(paid[1]) and any(paid[0])


def test_model_reward_refuses_what_it_cannot_use():
    with pytest.raises(MissingFact, match=r"model_reward reads info\['success'\]"):
        Stack([ModelReward()]).learn([Trajectory([0, 0], [0], np.zeros(1), True, False, [{}, {}])])
    with pytest.raises(ValueError, match=r"features have the shape \(1,\), \(2,\) is expected"):
        Stack([ModelReward(features=lambda t, d: np.zeros(1), dim=2)]).learn([walk([0], True)])
    broken = [walk([0], True, invalid=True)]
    assert Stack([ModelReward()]).learn(broken) == {} and Stack([ModelReward()]).learn([]) == {}
    for wrong in (
        {"dim": 0},
        {"pairs": 0},
        {"window": 0},
        {"weight": -1.0},
        {"limit": 0.0},
        {"held_out": 0.9},
        {"l2": 0.0},
        {"factors": ()},
        {"factors": (("success", 3),)},
        {"pay": "now"},
        {"length_ratio_max": -1.0},
        {"hidden": 1.5},
    ):
        with pytest.raises(ValueError, match="model_reward"):
            ModelReward(**wrong)
