"""PARL: the hypergradient, preferences and the trainer (``baselines/parl.py``)."""

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.baselines import bilevel as B
from milepost.baselines import parl as P
from milepost.baselines.agent import check_agent

_spec = importlib.util.spec_from_file_location("bandit", Path(__file__).with_name("bandit.py"))
bandit = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(bandit)
ARMS, Bandit, both_arms, lone, sigmoid = (
    getattr(bandit, n) for n in ("ARMS", "Bandit", "both_arms", "lone", "sigmoid")
)
pytestmark = pytest.mark.core


def parl_bandit(nu, **settings):
    """The card's bandit: all ordered pairs of the two arms, the second always preferred."""
    p = sigmoid(nu)
    pairs = P.Pairs(np.array([1, 0]), np.array([0, 1]), np.array([1.0, 0.0]), np.full(2, p * (1 - p)))
    return P.gradient(np.array([nu]), np.array([nu]), both_arms(), pairs, **settings)


def test_parl_of_the_card():
    explicit, implicit = parl_bandit(1.0)
    assert explicit[0] == pytest.approx(0.105754, abs=1e-6) and implicit[0] == pytest.approx(0.056925, abs=1e-6)
    assert explicit[0] + implicit[0] == pytest.approx(0.162679, abs=1e-6)
    assert implicit[0] / (explicit[0] + implicit[0]) == pytest.approx(0.35, abs=0.005)
    alone, nothing = parl_bandit(1.0, score_term=False)
    assert alone == pytest.approx(explicit) and nothing == pytest.approx([0.0])


@given(st.floats(-2, 2))
def test_parls_hypergradient_is_a_finite_difference(nu):
    def value(x):
        return 2 * sigmoid(x) * (1 - sigmoid(x)) * math.log(sigmoid(x))

    total = sum(float(x[0]) for x in parl_bandit(nu))
    assert total == pytest.approx((value(nu + 1e-6) - value(nu - 1e-6)) / 2e-6, abs=1e-7)


@given(st.integers(0, 10**6))
def test_parls_hypergradient_over_two_steps_is_a_finite_difference(seed):
    """All four episodes of two steps, counted by their probabilities; the inner problem is solved anew for each nu."""
    rng = np.random.default_rng(seed)
    first, second = rng.normal(size=(2, 3)), rng.normal(size=(2, 2, 3))
    paths = [(i, j) for i in (0, 1) for j in (0, 1)]
    b = B.pack([[(first, i, math.log(0.5)), (second[i], j, math.log(0.5))] for i, j in paths])
    truth = rng.permutation(4)
    two = [(x, y) for x in range(4) for y in range(4) if x != y]
    sums = np.array([first[i] + second[i, j] for i, j in paths])

    def solved(nu):
        theta = np.zeros(3)
        for _ in range(60):
            g, h = B.derivatives(theta, b, b.rows[np.arange(8), b.action] @ nu, 2.0, "episode")
            theta = theta - np.linalg.lstsq(h, g, rcond=None)[0]
        assert np.abs(g).max() < 1e-9
        return theta

    def pairs_at(theta):
        p = B.probabilities(theta, b.rows, b.mask)[np.arange(8), b.action].reshape(4, 2).prod(1)
        x, y = np.array(two).T
        return P.Pairs(x, y, (truth[x] > truth[y]).astype(float), p[x] * p[y])

    def value(nu):
        pairs = pairs_at(solved(nu))
        return float(pairs.weight @ P.likelihood(nu, sums, pairs)[0])

    nu = 0.3 * rng.normal(size=3)
    theta = solved(nu)
    got = sum(P.gradient(nu, theta, b, pairs_at(theta), entropy=2.0))
    for k, e in enumerate(np.eye(3) * 1e-4):
        assert got[k] == pytest.approx((value(nu + e) - value(nu - e)) / 2e-4, abs=1e-5, rel=1e-4)


def test_parl_by_hand():
    # labels 1/2, policy and reward at 0: l = log(1/2) for both orders, G_nu = (1/2 - 1/2) ... = 0; the two arms' scores are
    # -1/2 and 1/2 and cancel: nothing moves
    pairs = P.Pairs(np.array([1, 0]), np.array([0, 1]), np.full(2, 0.5), np.full(2, 0.25))
    for part in P.gradient(np.zeros(1), np.zeros(1), both_arms(), pairs):
        assert part == pytest.approx([0.0])
    # one pair, y = 1, nu = 0: l = log(1/2), G_nu = 1/2 (1 - 0) = 1/2; with reg 2 and nu = 0 the same
    one = P.Pairs(np.array([1]), np.array([0]), np.ones(1), np.ones(1))
    assert P.likelihood(np.zeros(1), ARMS, one)[0] == pytest.approx([math.log(0.5)])
    assert P.gradient(np.zeros(1), np.zeros(1), both_arms(), one, reg=2.0)[0] == pytest.approx([0.5])
    # centring takes all of a lone l away
    assert P.gradient(np.zeros(1), np.ones(1), both_arms(), one, center=True)[1] == pytest.approx([0.0])


def test_preferences_leave_equals_out():
    trajs = [lone({"env": x}) for x in (1.0, 0.0, 1.0)]
    pairs = P.preferences(trajs, P.by_return)
    assert list(zip(pairs.first, pairs.second, pairs.y)) == [(0, 1, 1.0), (1, 2, 0.0)]
    assert pairs.weight == pytest.approx([1 / 3, 1 / 3])


def test_parl_learns_a_reward_and_a_policy(tmp_path):
    pytest.importorskip("torch", reason="the extra torch is not installed")
    env = Bandit()
    agent = P.Parl(env, episodes=8, inner_steps=2)
    history = agent.learn(env, 250)
    assert agent.nu[1] > 0.3 > agent.nu[0] and agent.act(0, {}) == 1
    assert history[0]["pairs"] > 0 and history[-1]["return"] > 0.9
    agent.save(tmp_path / "parl.pt")
    again = P.Parl.load(tmp_path / "parl.pt", env)
    assert again.nu == pytest.approx(agent.nu) and again.policy.theta == pytest.approx(agent.policy.theta)
    check_agent(again, env, 3)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: P.Parl(Bandit(), episodes=1), "parl: episodes is 1"),
        (lambda: P.Parl(Bandit(), solver="x"), "parl: setting 'solver' is 'x'"),
        (lambda: P.Parl(Bandit(), reg=-1.0), "parl: reg is -1.0"),
        (lambda: P.Parl(Bandit(), nu=1), "parl has no setting 'nu'"),
    ],
)
def test_parl_refuses_by_name(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()
