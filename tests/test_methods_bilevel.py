"""What BARFI and PARL share: derivatives, inverses (``baselines/bilevel.py``) and the linear policy (``linear.py``)."""

import math

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import milepost  # noqa: F401
from milepost.baselines import bilevel as B
from milepost.baselines.linear import LinearPolicy, batch, play

pytestmark = pytest.mark.core


# -- derivatives and inverses --------------------------------------------------------------------
def episodes(seed, sizes=(2, 3, 1), width=4):
    rng = np.random.default_rng(seed)
    rows = [[(rng.normal(size=(3 + t % 2, width)), int(rng.integers(3)), math.log(rng.uniform(0.2, 0.8)))
             for t in range(n)] for n in sizes]  # fmt: skip
    return B.pack(rows, rng.uniform(0.2, 1.0, len(sizes))), rng


@pytest.mark.parametrize("form", B.FORMS)
@given(seed=st.integers(0, 10**6), entropy=st.floats(0.0, 1.0))
def test_derivatives_are_finite_differences(form, seed, entropy):
    b, rng = episodes(seed)
    theta, credit, change = rng.normal(size=4), rng.normal(size=6), rng.normal(size=(6, 2))
    g, h = B.derivatives(theta, b, credit, entropy, form)
    assert g == pytest.approx(B.gradient(theta, b, credit, entropy, form))
    assert h == pytest.approx(h.T, abs=1e-9)
    for k, e in enumerate(np.eye(4) * 1e-5):
        slope = (
            B.objective(theta + e, b, credit, entropy, form) - B.objective(theta - e, b, credit, entropy, form)
        ) / 2e-5
        assert g[k] == pytest.approx(slope, abs=1e-5, rel=1e-5)
        bend = (
            B.gradient(theta + e, b, credit, entropy, form) - B.gradient(theta - e, b, credit, entropy, form)
        ) / 2e-5
        assert h[k] == pytest.approx(bend, abs=1e-4, rel=1e-4)
    cross = B.mixed(theta, b, change, form)
    for k, e in enumerate(np.eye(2)):  # the objective is linear in the credit
        moved = B.gradient(theta, b, credit + change @ e, entropy, form) - g
        assert cross[:, k] == pytest.approx(moved, abs=1e-9)


@given(st.integers(0, 10**6), st.floats(0.05, 0.5))
def test_the_inverses_agree_in_the_limit(seed, damping):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(4, 4))
    h, b = -(root @ root.T) - 0.1 * np.eye(4), rng.normal(size=4)
    exact = np.linalg.solve(h - damping * np.eye(4), b)
    alpha = 1 / float(np.linalg.norm(h - damping * np.eye(4), 2))
    assert B.inverse(h, b, "exact", damping=damping) == pytest.approx(exact, rel=1e-6, abs=1e-8)
    assert B.inverse(h, b, "cg", 50, damping=damping) == pytest.approx(exact, rel=1e-5, abs=1e-6)
    errors = [np.abs(B.inverse(h, b, "neumann", n, alpha, damping) - exact).max() for n in (1, 20, 3_000)]
    assert errors[2] < 1e-6 and errors[2] <= errors[1] + 1e-12 <= errors[0] + 2e-12
    assert B.inverse(h, b, "identity").tolist() == (-b).tolist()


def test_neumann_of_the_card():
    # the inverse of .25 with alpha .5 and 6 terms: .5 (1 - .875^6) / .125 = 2.204819, on its way to 4
    assert -B.inverse(np.array([[-0.25]]), np.ones(1), "neumann", 6, 0.5)[0] == pytest.approx(2.204819, abs=1e-6)
    assert -B.inverse(np.array([[-0.25]]), np.ones(1))[0] == pytest.approx(4.0)
    for wrong in ({"how": "lu"}, {"terms": 0}, {"alpha": 0.0}, {"damping": -1.0}):
        with pytest.raises(ValueError, match="solver is"):
            B.inverse(np.eye(1), np.ones(1), **wrong)


# -- the linear policy ---------------------------------------------------------------------------
@pytest.mark.parametrize(
    "env_id", ["CartPole-v1", "FrozenLake-v1", "milepost/HackableSteps-v0", "milepost/FlowSampler-encoded-v0",
               "milepost/HackableSteps-encoded-v0"],
)  # fmt: skip
def test_the_policy_acts_on_numbers_states_rows_and_text(env_id):
    env = gym.make(env_id, disable_env_checker=True)
    policy = LinearPolicy(env, seed=1)
    t = play(env, policy, 0)
    b = batch([t])
    assert b.rows.shape == (len(t), b.mask.shape[1], policy.size) and len(t.actions) == len(t)
    assert all(a in env.action_space for a in t.actions)
    p = B.probabilities(policy.theta, b.rows, b.mask)
    assert p.sum(1) == pytest.approx(np.ones(len(t))) and np.exp(b.logp) == pytest.approx(1 / b.mask.sum(1))
    with pytest.raises(ValueError, match="a linear policy cannot act on"):
        LinearPolicy(gym.make("Pendulum-v1"))
