"""Methods that settle when an episode ends: even shares, SPA-RL."""

import json

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.wrappers import (
    MissingFact,
    ProgressAttribution,
    Stack,
    Trajectory,
    Uniform,
    load,
    shape,
)
from milepost.wrappers.episode.spa import hashed_features

rewards = st.lists(st.floats(-5, 5), max_size=9)


def traj(rewards, terminated=True, obs=None, **facts):
    """An episode; each fact is a list of T + 1 values."""
    n = len(rewards)
    infos = [{k: v[i] for k, v in facts.items()} for i in range(n + 1)]
    return Trajectory(obs or list(range(n + 1)), [0] * n, np.array(rewards, float), terminated, not terminated, infos)


def run(shaper, t):
    return Stack([shaper]).run([t])[0].rewards


# -- uniform -----------------------------------------------------------------------------------
@pytest.mark.core
def test_uniform_by_hand():
    assert run(Uniform(), traj([0, 0, 6])) == pytest.approx([2, 2, 2])
    assert run(Uniform(), traj([3, -4, 0, 0], terminated=False)) == pytest.approx([-0.25] * 4)


@pytest.mark.core
@given(rewards)
def test_uniform_keeps_the_return(r):
    out = run(Uniform(), traj(r))
    assert out.shape == (len(r),) and out.sum() == pytest.approx(sum(r), abs=1e-9)
    assert len(set(out)) <= 1


# -- SPA-RL ------------------------------------------------------------------------------------
def itself(t, dim):
    """One feature: the number that was observed before the action."""
    return np.array([t.obs], float)


def spa(**settings):
    return ProgressAttribution(features=itself, dim=1, **settings)


def fitted(weight, **settings):
    """A stack whose estimator credits ``weight`` times the feature."""
    stack = Stack([spa(**settings)])
    stack.shapers[0].weights = np.array([weight])
    return stack


CARD = traj([0, 0, 1], obs=[0.1, 0.3, 0.4, None], valid_action=[True, True, False, True])


@pytest.mark.core
def test_spa_card():
    # agentic card 8: c = .1, .3, .4 and R = 1: loss .04; with g = 1, 0, 1 and beta .5: .6, .3, .9; conserved, beta 0: .1667,
    # .3667, .4667
    stack = fitted(1.0, beta=0.5, conserve="none")
    c = stack.shapers[0].predict(CARD)
    assert c == pytest.approx([0.1, 0.3, 0.4]) and (c.sum() - 1) ** 2 == pytest.approx(0.04)
    assert stack.run([CARD])[0].rewards == pytest.approx([0.6, 0.3, 0.9])
    assert fitted(1.0).run([CARD])[0].rewards == pytest.approx([0.1667, 0.3667, 0.4667], abs=1e-4)
    assert fitted(1.0, conserve="last").run([CARD])[0].rewards == pytest.approx([0.1, 0.3, 0.6])


@pytest.mark.core
def test_spa_ridge_by_hand():
    # two episodes with summed features 1 and 3 and returns 1 and 3; centred -1, 1 and -1, 1; w = 2 / (2 + l2) = .5 for l2 = 2;
    # base = 2 - .5 * 2 = 1; fitted returns 1.5 and 2.5, mean squared error .25; features 1, 0 give c = .5 + .5, 0 + .5
    stack = Stack([spa(l2=2.0, conserve="none")])
    metrics = stack.learn([traj([1], obs=[1, None]), traj([0, 3], obs=[1, 2, None])])
    m = stack.shapers[0]
    assert m.weights == pytest.approx([0.5]) and m.base == pytest.approx(1.0)
    assert metrics == {"progress_attribution/loss": pytest.approx(0.25)}
    assert stack.run([traj([0, 9], obs=[1, 0, None])])[0].rewards == pytest.approx([1.0, 0.5])


@pytest.mark.core
@given(rewards, st.sampled_from(["uniform", "last"]), st.floats(-3, 3), st.floats(-3, 3), st.booleans())
def test_spa_keeps_the_return(r, conserve, weight, alpha, terminated):
    stack = fitted(weight, conserve=conserve, alpha=alpha)
    assert stack.shapers[0].return_preserving
    (out,) = stack.run([traj(r, terminated)])
    assert out.rewards.shape == (len(r),) and out.rewards.sum() == pytest.approx(sum(r), abs=1e-9)


@pytest.mark.core
@given(rewards)
def test_spa_before_any_learn(r):
    t = traj(r)
    assert run(ProgressAttribution(), t) == pytest.approx(run(Uniform(), t))
    at_the_end = [0.0] * (len(r) - 1) + [sum(r)] if r else []
    assert run(ProgressAttribution(conserve="last"), t) == pytest.approx(at_the_end)
    assert not run(ProgressAttribution(conserve="none"), t).any()


episodes = st.lists(
    st.tuples(st.lists(st.floats(-2, 2), min_size=1, max_size=5), st.floats(-2, 2)), min_size=2, max_size=6
)


def made(data):
    return [traj([0] * (len(x) - 1) + [r], obs=[*x, None]) for x, r in data]


@pytest.mark.core
@given(episodes)
def test_spa_fit_lowers_the_error_and_ignores_what_never_varies(data):
    def two(t, dim):
        return np.array([t.obs, float(t.obs is data[0][0][0])])  # the second feature is rarely, the third never there

    group, m = made(data), Stack([ProgressAttribution(features=lambda t, d: np.append(two(t, d), 0.0), dim=3)])
    returns = np.array([r for _, r in data])
    loss = m.learn(group)["progress_attribution/loss"]
    assert (
        loss <= returns.var() + 1e-9 <= np.mean(returns**2) + 2e-9
    )  # not above the best constant, so not above "nothing"
    assert m.shapers[0].weights[2] == 0.0
    got = [m.shapers[0].predict(t).sum() for t in group]
    assert np.mean((got - returns) ** 2) == pytest.approx(loss, abs=1e-9)


@pytest.mark.core
def test_spa_a_feature_whose_sum_is_always_the_same_gets_no_weight():
    group = [traj([0, r], obs=[x, 3 - x, None]) for x, r in ((1, 5.0), (2, -1.0), (0, 2.0))]
    stack = Stack([spa(conserve="none")])
    stack.learn(group)
    assert stack.shapers[0].weights == pytest.approx([0.0])
    assert stack.run(group)[0].rewards == pytest.approx([1.0, 1.0])  # mean return 2, spread evenly


@pytest.mark.core
def test_spa_finds_the_step_that_decides():
    rng = np.random.default_rng(0)
    group = []
    for k in range(60):  # every other episode is won, by one action at a random step
        words = [str(w) for w in rng.choice(["wait", "look", "sing"], size=5)]
        if k % 2:
            words[rng.integers(5)] = "take the key"
        t = traj([0, 0, 0, 0, k % 2], obs=["room"] * 6)
        group.append(Trajectory(t.obs, words, t.rewards, True, False, t.infos))
    stack = Stack([ProgressAttribution(conserve="none", l2=1e-3)])
    before = stack.learn(group[:30])
    test = Trajectory(["room"] * 4, ["wait", "take the key", "sing"], np.array([0, 0, 1.0]), True, False, [{}] * 4)
    c = stack.run([test])[0].rewards
    assert c.argmax() == 1 and c[1] > 3 * abs(c[[0, 2]]).max()
    assert stack.learn(group[30:]).keys() == before.keys()  # refitted on both halves
    assert len(stack.shapers[0].totals) == 60


@pytest.mark.core
def test_spa_window_and_nothing_to_learn():
    stack = Stack([spa(window=2)])
    assert stack.learn([]) == {} and stack.shapers[0].learn([traj([])]) == {}
    stack.learn(made([([1.0], 1.0), ([2.0], 2.0), ([3.0], 3.0)]))
    assert stack.shapers[0].totals == pytest.approx([2.0, 3.0]) and stack.shapers[0].sums.shape == (2, 1)


@pytest.mark.core
def test_spa_learns_online_from_the_returns_that_reached_it():
    class Lever(gym.Env):
        observation_space, action_space = gym.spaces.Discrete(2), gym.spaces.Discrete(2)

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            self.k, self.pulled = 0, 0.0
            return 0, {}

        def step(self, a):
            self.k, self.pulled = self.k + 1, max(self.pulled, float(a))
            return 0, self.pulled * (self.k == 3), self.k == 3, False, {}

    env = shape(Lever(), [ProgressAttribution(l2=1e-3)])
    for actions in ((0, 0, 0), (0, 1, 0), (1, 0, 0), (0, 0, 1)) * 3:
        env.reset(seed=0)
        info = [env.step(a) for a in actions][-1][4]
        assert info["credit"] == pytest.approx([max(actions) / 3] * 3)  # nothing learnt yet: even shares
    assert len(env.stack.take()) == 12
    for actions in ((0, 0, 0), (0, 1, 0)) * 4:
        env.reset(seed=0)
        for a in actions:
            env.step(a)
    env.stack.learn()
    env.reset(seed=0)
    for a in (0, 1, 0):
        *_, info = env.step(a)
    assert info["credit"][1] > 0.9 and sum(info["credit"]) == pytest.approx(1.0)


@pytest.mark.core
def test_spa_useless_valid_actions():
    def idle(n):
        return traj([0] * n, valid_action=[True] * (n + 1))

    assert run(ProgressAttribution(), idle(100)).sum() == 0.0
    # the documented weakness of the authors' grounding term, off by default: prolonging pays
    assert run(ProgressAttribution(beta=0.5), idle(100)).sum() == pytest.approx(50.0)
    bad = traj([0] * 4, valid_action=[True, True, False, True, False])
    # an ungrounded step loses exactly beta, the last one always counts as grounded
    assert run(ProgressAttribution(beta=0.5), bad) == pytest.approx([0.5, 0.0, 0.5, 0.5])


@pytest.mark.core
@pytest.mark.parametrize(
    "settings, said",
    [
        ({"conserve": "all"}, "'conserve' is 'all', allowed is one of 'none', 'uniform', 'last'"),
        ({"estimator": "forest"}, "'estimator'"),
        ({"l2": 0.0}, "l2 is 0.0, allowed is a number above 0"),
        ({"lr": -1.0}, "lr is -1.0"),
        ({"dim": 0}, "dim is 0, allowed is a number from 1"),
        ({"window": 0}, "window is 0"),
    ],
)
def test_spa_refuses(settings, said):
    with pytest.raises(ValueError, match=said):
        ProgressAttribution(**settings)


@pytest.mark.core
def test_spa_refuses_missing_facts_and_wrong_features():
    with pytest.raises(MissingFact, match="'valid_action'"):
        run(ProgressAttribution(beta=0.5), traj([1.0]))
    with pytest.raises(ValueError, match=r"features have the shape \(1,\), \(7,\) is expected"):
        run(ProgressAttribution(features=itself, dim=7), traj([1.0]))


@pytest.mark.core
def test_hashed_features():
    def step(obs, action, next_obs):
        t = Trajectory([obs, next_obs], [action], np.zeros(1), True, False, [{}, {}])
        return hashed_features(next(iter(t)), 4096)  # wide: no collisions here

    base = step("hall", "take key", "you have it")
    assert abs(base).sum() == 6 and (step("hall", "take key", "you have it") == base).all()
    assert abs(step("hall", "take", "you have it") - base).sum() == 1  # one word less
    assert (step("a long story\nhall", "take key", "you have it") == base).all()  # the last line counts
    assert abs(step(3, 1, 4)).sum() == 3 and (step(3, 1, 4) != step(3, 2, 4)).any()  # states and actions by number
    x = np.array([0.5, -2.0], np.float32)
    assert sorted(abs(step(x, x, x))[abs(step(x, x, x)) > 0]) == pytest.approx([0.5] * 3 + [2.0] * 3)
    assert (step({"a": "key", "b": x}, 0, None) != step({"a": x, "b": "key"}, 0, None)).any()


@pytest.mark.core
def test_spa_saves_what_it_learnt():
    group = made([([1.0, 2.0], 1.0), ([0.5], -1.0), ([2.0, 2.0], 3.0)])
    stack, other = Stack([spa()]), Stack([spa()])
    stack.learn(group)
    other.load_state_dict(stack.state_dict())
    assert (other.run(group)[0].rewards == stack.run(group)[0].rewards).all()
    assert stack.learn(group) == other.learn(group)


def torch_stack(seed=0, **settings):
    pytest.importorskip("torch", reason="the torch estimator needs the torch extra")
    return Stack([spa(estimator="torch", hidden=8, epochs=200, **settings)], seed)


def test_spa_torch_learns_keeps_the_return_and_is_seeded():
    group = made([([1.0, 2.0], 3.0), ([0.5], 0.5), ([2.0, 2.0], 4.0), ([0.0, 1.0], 1.0)])
    stack = torch_stack()
    assert stack.run(group)[0].rewards == pytest.approx([1.5, 1.5])  # nothing learnt: even shares
    first = stack.learn(group)["progress_attribution/loss"]
    for _ in range(3):
        last = stack.learn(group)["progress_attribution/loss"]
    assert last < first < np.mean([9, 0.25, 16, 1])
    for t, s in zip(group, stack.run(group)):
        assert s.rewards.sum() == pytest.approx(t.rewards.sum(), abs=1e-6)
    again, else_ = torch_stack(), torch_stack(seed=1)
    assert again.learn(group)["progress_attribution/loss"] == first != else_.learn(group)["progress_attribution/loss"]


def test_spa_torch_resumes_exactly():
    group = made([([1.0, 2.0], 3.0), ([0.5], 0.5)])
    one, two = torch_stack(), torch_stack(seed=5)
    one.learn(group)
    two.load_state_dict(one.state_dict())
    assert one.learn(group) == two.learn(group)
    assert (one.run(group)[0].rewards == two.run(group)[0].rewards).all()


# -- all of them -------------------------------------------------------------------------------
@pytest.mark.core
@pytest.mark.parametrize(
    "shaper",
    [
        Uniform(),
        ProgressAttribution(conserve="last", beta=0.5),
    ],
    ids=["uniform", "spa"],
)
def test_spec_round_trip_and_empty_episode(shaper):
    again = load(json.loads(json.dumps(shaper.spec())))
    assert again == shaper and again is not shaper
    assert run(again, traj([], valid_action=[True])).shape == (0,)
