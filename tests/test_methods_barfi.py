"""BARFI: the hypergradient and the trainer (``baselines/barfi.py``)."""

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost import shape
from milepost.baselines import bilevel as B
from milepost.baselines.barfi import Barfi
from milepost.baselines.linear import batch
from milepost.envs.text.hackable import HackableStepsEnv
from milepost.wrappers import MultiplicativeProgress, TermBlend, Trajectory

_spec = importlib.util.spec_from_file_location("bandit", Path(__file__).with_name("bandit.py"))
bandit = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(bandit)
Bandit, both_arms, sigmoid = bandit.Bandit, bandit.both_arms, bandit.sigmoid
pytestmark = pytest.mark.core


PRIMARY, AUX = np.array([0.0, 1.0]), np.array([1.0, 0.0])


def barfi_bandit(phi, **solver):
    """dJ/dphi of the card's bandit at theta* = 1 - phi."""
    theta, b = np.array([1.0 - phi]), both_arms()
    g, h = B.derivatives(theta, b, PRIMARY + phi * AUX, 1.0, "episode")
    assert g == pytest.approx([0.0], abs=1e-9)  # it is the maximum
    push = B.gradient(theta, b, PRIMARY, 0.0, "episode")
    return float(B.hypergradient(h, B.mixed(theta, b, AUX[:, None], "episode"), push, **solver)[0])


def test_barfi_of_the_card():
    assert barfi_bandit(1.0) == pytest.approx(-0.25)  # finite differences give the same
    assert barfi_bandit(1.0, how="neumann", terms=6, alpha=0.5) == pytest.approx(-0.137801, abs=1e-6)
    assert sigmoid(1 - (1.0 - 0.25)) == pytest.approx(0.562177, abs=1e-6)  # after a step of size 1


@given(st.floats(-2, 2))
def test_barfis_hypergradient_is_a_finite_difference(phi):
    # J(theta*(phi)) = sigmoid(1 - phi)
    slope = (sigmoid(1 - phi - 1e-6) - sigmoid(1 - phi + 1e-6)) / 2e-6
    assert barfi_bandit(phi) == pytest.approx(slope, abs=1e-8)
    assert barfi_bandit(phi, how="cg") == pytest.approx(slope, abs=1e-8)


@pytest.mark.parametrize(("form", "solver"), [("episode", "exact"), ("episode", "identity"), ("log", "cg")])
def test_a_misleading_term_loses_its_weight_and_a_helpful_one_keeps_it(form, solver):
    weights = {}
    for name, aux in (("bad", (2.0, 0.0)), ("good", (0.0, 1.0))):
        settings = {"warm": 15, "learn_gamma": False, "outer_lr": 0.1, "inner_lr": 0.1, "window": 15, "entropy": 1.0}
        agent = Barfi(Bandit(aux), TermBlend(("aux",)), form=form, solver=solver, **settings)
        history = agent.learn(Bandit(aux), 120)
        weights[name] = history[-1]["weight/aux"]
        assert history[0]["weight/aux"] == 1.0  # the naive sum while it is warming up
    assert weights["bad"] < 0.75 and weights["good"] >= 0.99
    assert agent.act(0, {}) == 1


def test_barfis_gradient_by_discount_and_regularisers_is_a_finite_difference():
    """All of phi at once, on two-step episodes, by solving the inner problem anew for each phi."""
    rng = np.random.default_rng(3)
    infos = [{} for _ in range(3)]
    data = []
    for k in range(6):
        terms = [{"env": float(rng.normal()) + 2, "aux": float(rng.normal())} for _ in range(2)]
        steps = [(np.eye(2), int(rng.integers(2)), math.log(0.5)) for _ in range(2)]
        rows = infos[:1] + [{"reward_terms": t} for t in terms]
        rewards = np.array([sum(t.values()) for t in terms])
        data.append(
            Trajectory([0] * 3, [s[1] for s in steps], rewards, True, False, rows, {"choices": steps, "task": k})
        )
    agent = Barfi(
        Bandit(), TermBlend(("aux",)), solver="exact", entropy=1.0, gamma=0.9, reward_penalty=0.3, gamma_penalty=0.2
    )
    agent.logit = 0.4
    b = batch(data)

    def solved(phi):
        agent._set(phi)
        credit, theta = np.concatenate([agent.credit(t)[0] for t in data]), np.zeros(2)
        for _ in range(100):
            g, h = B.derivatives(theta, b, credit, 1.0)
            theta = theta + np.linalg.lstsq(-h, g, rcond=None)[0]
        return theta

    def outer(phi):
        theta = solved(phi)
        gains = [np.cumsum((agent.credit(t)[2] * 0.9 ** np.arange(2))[::-1])[::-1] / 0.9 ** np.arange(2) for t in data]
        own = -0.3 * np.linalg.norm(phi[:2]) - 0.2 * agent.discount
        return B.objective(theta, b, np.concatenate(gains), 0.0) + own

    phi = agent.phi()
    assert phi.tolist() == [0.0, 1.0, 0.4]  # offset, weight, logit
    agent.policy.theta = solved(phi)
    got = agent.outer_gradient(data, data)
    for k, e in enumerate(np.eye(3) * 1e-4):
        expected = (outer(phi + e) - outer(phi - e)) / 2e-4
        assert got[k] == pytest.approx(expected, abs=1e-5)


def test_barfi_learns_on_an_environment_whose_layer_adds_the_term(tmp_path):
    pytest.importorskip("torch", reason="the extra torch is not installed")
    env = shape(HackableStepsEnv(length=2, max_steps=6, worlds=2), [MultiplicativeProgress()])
    agent = Barfi(env, TermBlend(("step",)), warm=6, window=9)
    history = agent.learn(env, 80)
    assert {"return", "discount", "weight/step"} <= set(history[-1]) and history[-1]["weight/step"] != 1.0
    assert 0.98 < history[-1]["discount"] < 1.0
    agent.save(tmp_path / "barfi.pt")
    again = Barfi.load(tmp_path / "barfi.pt", env)
    assert again.phi() == pytest.approx(agent.phi()) and again.policy.theta == pytest.approx(agent.policy.theta)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Barfi(Bandit(), form="loge"), "barfi: setting 'form' is 'loge'"),
        (lambda: Barfi(Bandit(), alpha=0.0), "barfi: alpha is 0.0"),
        (lambda: Barfi(Bandit(), entropy=math.nan), "barfi: setting 'entropy' is nan"),
        (lambda: Barfi(Bandit(), loops=0), "barfi: loops is 0"),
        (lambda: Barfi(Bandit(), {"shaper": "uniform"}), "blend is a Uniform; allowed: a TermBlend"),
        (lambda: Barfi(Bandit()), r"barfi: blend is missing: .*'term_blend'"),
        (lambda: Barfi(Bandit(), warmup=1), "barfi has no setting 'warmup'"),
        (lambda: Barfi(Bandit(), TermBlend(("nope",))).learn(Bandit(), 1), "no term is called 'nope'"),
    ],
)
def test_barfi_refuses_by_name(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()
