"""Self-referential progress, constraints with multipliers, episodes that are stopped."""

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.wrappers import Constraints, Grpo, SelfReferential, Stack, Trajectory, shape
from milepost.wrappers.collect.stop import StopWhen
from milepost.wrappers.group.srpo import centres

pytestmark = pytest.mark.core


def at(place, success, task=0):
    """One step whose embedding is ``place``."""
    infos = [{"success": False}, {"success": success}]
    return Trajectory([0, 0], [0], np.zeros(1), True, False, infos, {"task": task, "place": place})


def place(traj):
    return np.array(traj.meta["place"], float)


def paid(shaper, group):
    return [float(t.rewards.sum()) for t in Stack([shaper]).run(group)]


# -- SRPO ----------------------------------------------------------------------------------------
SRPO = {"embed": place, "success_reward": 1.0}


def test_srpo_of_the_card():
    # one centre (1, 0), failures at distances 1, 2, 3 -> 0, .5, 1 -> .595984, .3, .004016
    group = [at((1, 0), True), at((1, 0), True), at((1, 1), False), at((1, 2), False), at((1, 3), False)]
    got = paid(SelfReferential(**SRPO), group)
    assert got == pytest.approx([1, 1, 0.595984, 0.3, 0.004016], abs=1e-6)
    z = [float(t.advantages[0]) for t in Stack([SelfReferential(**SRPO), Grpo(eps=0.0)]).run(group)]
    assert z == pytest.approx([1.075004, 1.075004, 0.040912, -0.716670, -1.474251], abs=1e-5)


def test_srpo_by_hand():
    # successes (2, 0) and (4, 0): mean (3, 0); nearest: distance 1 of (3, 0) to both; failures at (3, 0) and (3, 4)
    group = [at((2, 0), True), at((4, 0), True), at((3, 0), False), at((3, 4), False)]
    low, high = 0.6 / (1 + np.exp(5)), 0.6 / (1 + np.exp(-5))
    for reference in ("mean", "nearest", "dbscan"):
        assert paid(SelfReferential(embed=place, reference=reference), group) == pytest.approx([0, 0, high, low])
    # the fixed scale: distances 0 and 4 with width 4: 0 and 1 - 1/e
    fixed = paid(
        SelfReferential(embed=place, reference="mean", scale="fixed", width=4.0, steepness=1.0, cap=1.0), group
    )
    assert fixed[2:] == pytest.approx([1 / (1 + np.exp(-0.5)), 1 / (1 + np.exp(-(0.5 - (1 - np.exp(-1)))))])
    # one failure alone: half of the cap; no success: nothing; zeros are no embedding
    assert paid(SelfReferential(embed=place), group[:3])[2] == pytest.approx(0.3)
    assert paid(SelfReferential(embed=place), group[2:]) == [0, 0]
    assert paid(SelfReferential(embed=place), [at((1, 0), True), at((0, 0), False), at((5, 0), False)])[1] == 0.0


def test_a_bank_remembers_successes_of_the_task():
    stack = Stack([SelfReferential(embed=place, bank=2)])
    lost = [at((1, 1), False), at((1, 2), False)]
    assert [float(t.rewards.sum()) for t in stack.run(lost)] == [0, 0]
    stack.learn([at((1, 0), True), at((9, 9), False)])
    assert [float(t.rewards.sum()) for t in stack.run(lost)] == pytest.approx([0.595984, 0.004016], abs=1e-6)
    assert [float(t.rewards.sum()) for t in stack.run([at((1, 1), False, task=5)])] == [0]
    stack.learn([at((2, 0), True), at((3, 0), True)])
    assert len(stack.shapers[0].kept["0"]) == 2
    for wrong in ({"cap": -1.0}, {"steepness": 0.0}, {"width": 0.0}, {"bank": -1}):
        with pytest.raises(ValueError, match="self_referential"):
            SelfReferential(**wrong)


def test_an_episode_counts_once_in_the_bank():
    # successes (0, 0.5) and (4, 0.5): mean (2, 0.5); with the first one twice it would be (4/3, 0.5)
    batch = [at((0, 0.5), True), at((4, 0.5), True), at((2, 0.5), False), at((2, 3.5), False), at((1.3, 0.5), False)]
    stack = Stack([SelfReferential(embed=place, reference="mean", bank=9)])
    first = [float(t.rewards.sum()) for t in stack.run(batch)]
    assert first[2] == max(first)
    for kept in (2.0, 2.0):  # what is learned from again is not kept again
        assert stack.learn(batch) == {"self_referential/kept": kept}
        assert [float(t.rewards.sum()) for t in stack.rerun(batch)] == first
    # one that only looks the same is another episode, and another group has the whole bank
    assert stack.learn([at((0, 0.5), True)]) == {"self_referential/kept": 3.0}
    others = [at((4 / 3, 0.5), False), at((2, 0.5), False)]
    assert [float(t.rewards.sum()) for t in stack.run(others)] == pytest.approx([0.595984, 0.004016], abs=1e-6)
    # a bank from a file is of the past
    twin = Stack([SelfReferential(embed=place, reference="mean", bank=9)])
    twin.load_state_dict(stack.state_dict())
    assert [float(t.rewards.sum()) for t in twin.run(others)] == pytest.approx([0.595984, 0.004016], abs=1e-6)
    assert twin.learn([at((9, 9), True)]) == {"self_referential/kept": 4.0}


def test_clusters_by_hand():
    # two clouds of three and a stray point, columns of one size: each cloud one centre, the stray belongs to none
    x = np.array([[0, 0], [0.1, 0], [0, 0.1], [9, 9], [9.1, 9], [9, 9.1], [4, 5.0]])
    assert centres(x) == pytest.approx(np.array([[0.1 / 3, 0.1 / 3], [9 + 0.1 / 3, 9 + 0.1 / 3]]))
    assert centres(np.array([[0.0, 0], [5, 5]])) == pytest.approx(np.array([[2.5, 2.5]]))  # no cluster: the mean
    assert centres(np.ones((1, 3))) == pytest.approx(np.ones((1, 3)))


@given(st.lists(st.tuples(st.floats(0.1, 9), st.booleans()), min_size=1, max_size=7))
def test_failures_stay_below_the_cap_and_order_does_not_matter(rows):
    group = [at((x, 0), won) for x, won in rows]
    got = paid(SelfReferential(**SRPO), group)
    assert all(g == 1.0 if won else 0 <= g < 0.6 for g, (_, won) in zip(got, rows))
    assert paid(SelfReferential(**SRPO), group[::-1]) == pytest.approx(got[::-1], abs=1e-9)


def test_the_default_embedding_counts_actions():
    def did(actions, success):
        infos = [{"success": success} for _ in range(len(actions) + 1)]
        return Trajectory([0] * len(infos), actions, np.zeros(len(actions)), True, False, infos)

    group = [did(["go", "take"], True), did(["go", "take", "go"], False), did(["look", "look"], False)]
    got = paid(SelfReferential(), group)
    assert got[0] == 0.0 and got[1] > 0.59 and 0 < got[2] < 0.01


# -- constraints ---------------------------------------------------------------------------------
def costs(*rows, reward=1.0):
    infos = [{}, *({"a": a, "b": b} for a, b in rows)]
    return Trajectory([0] * len(infos), [0] * len(rows), np.full(len(rows), reward), True, False, infos)


def test_dbs_of_the_card():
    # limits .01 and .1, rates .05 and .08, logits .02: lambda 1/3 each; lr 10
    stack = Stack([Constraints(upper={"a": 0.01, "b": 0.1}, lr=10.0)])
    shaper = stack.shapers[0]
    shaper.costs = [[0.05] * 4, [0.08] * 4]
    shaper.learn([])
    assert shaper.logits == pytest.approx([-0.002222, 0.131111, -0.068889], abs=1e-6)
    assert shaper.multipliers() == pytest.approx([0.324872, 0.371208, 0.303920], abs=1e-6)


def test_constraints_by_hand():
    # one upper, one lower limit: lambda 1/3 each; reward 3 - cost 1 * 1/3 + gain 1 * 1/3
    shaper = Constraints(upper={"a": 0.5}, lower={"b": 0.5})
    assert paid(shaper, [costs((1, 0), reward=3.0)]) == pytest.approx([1 - 1 / 3])
    assert paid(shaper, [costs((0, 1), reward=3.0)]) == pytest.approx([1 + 1 / 3])
    assert paid(shaper, [costs((None, float("nan")), reward=3.0)]) == pytest.approx([1.0])
    # the bootstrap's multiplier is lent to the reward
    stack = Stack([Constraints(lower={"b": 0.9}, bootstrap="b", lr=1.0)])
    stack.shapers[0].logits = np.log([0.2, 0.8])
    assert stack.run([costs((0, 0))])[0].rewards == pytest.approx([0.8])


@pytest.mark.parametrize("endless", [float("inf"), float("-inf")])
def test_an_infinite_cost_is_refused_and_not_remembered(endless):
    stack = Stack([Constraints(upper={"a": 0.5})])
    with pytest.raises(
        ValueError, match=rf"constraints: the cost info\['a'\] is {endless}, a finite number is expected"
    ):
        stack.run([costs((0.25, 0), (endless, 0))])
    stack.run([costs((float("nan"), 0), (0.75, 0))])
    assert stack.shapers[0].costs == [[0.25, 0.75]]
    assert (
        stack.learn([costs((0, 0))])["constraints/rate/a"] == 0.5 and np.isfinite(stack.shapers[0].multipliers()).all()
    )


class Costly(gym.Env):
    """Every step costs; five steps."""

    observation_space, action_space = gym.spaces.Discrete(6), gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return 0, {}

    def step(self, action):
        self.t += 1
        return self.t, 1.0, self.t == 5, False, {"a": float(action), "lost": action == 1, "late": self.t == 3}


def test_multipliers_move_while_training_only():
    env = shape(Costly(), [Constraints(upper={"a": 0.1}, every=1, window=3)])
    shaper = env.stack.shapers[0]
    env.reset(seed=0)
    weights = []
    for _ in range(5):
        env.step(1)
        weights.append(shaper.multipliers()[1])
    assert weights == sorted(weights) and weights[-1] > 0.5 and shaper.costs == [[1.0] * 3]
    env.stack.train(False)
    env.reset()
    before = shaper.multipliers().copy()
    env.step(1)
    assert np.array_equal(before, shaper.multipliers())
    env.stack.train(True)
    for _ in range(6):
        env.reset()
        for _ in range(5):
            env.step(0)
    assert shaper.multipliers()[1] < before[1]


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=20), st.floats(-3, 3))
def test_multipliers_are_shares_and_without_costs_only_weigh(rows, reward):
    stack = Stack([Constraints(upper={"a": 0.3}, lower={"b": 0.7}, lr=5.0)])
    shaper = stack.shapers[0]
    shaper.costs = [[a for a, _ in rows], [b for _, b in rows]]
    shaper.learn([])
    weights = shaper.multipliers()
    assert (weights > 0).all() and weights.sum() == pytest.approx(1.0)
    free = stack.run([costs((0, 0), reward=reward)])[0].rewards
    assert free == pytest.approx([weights[0] * reward])


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"upper": {"a": "x"}},
        {"upper": {"a": float("nan")}},
        {"upper": {"a": 1.0}, "bootstrap": "a"},
        {"upper": {"a": 1.0}, "lr": 0.0},
        {"upper": {"a": 1.0}, "window": 0},
        {"upper": {"a": 1.0}, "every": -1},
    ],
)
def test_wrong_constraints_are_named(wrong):
    with pytest.raises(ValueError, match="constraints: "):
        Constraints(**wrong)


# -- stops ---------------------------------------------------------------------------------------
def lately(obs, reward, info):
    return info["late"]


@pytest.mark.parametrize(
    ("when", "actions", "length", "why"),
    [
        ("lost", (0, 1), 2, "lost"),
        ({"lost": "fell off"}, (0, 0, 0, 1), 4, "fell off"),
        (lately, (0, 0, 0, 0, 0), 3, "lately"),
        ("lost", (0,) * 5, 5, None),
    ],
)
@pytest.mark.parametrize("truncate", [False, True])
def test_episodes_are_stopped(when, actions, length, why, truncate):
    env = StopWhen(Costly(), when, truncate)
    env.reset(seed=0)
    played = 0
    for action in actions:
        *_, terminated, truncated, info = env.step(action)
        played += 1
        if terminated or truncated:
            break
    assert played == length and info.get("stopped") == why
    assert truncated == (truncate and why is not None) and terminated != truncated


def test_stops_need_a_reason():
    for wrong in ("", {}, None, 3):
        with pytest.raises(ValueError, match="when is"):
            StopWhen(Costly(), wrong)
