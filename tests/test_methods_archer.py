"""ArCHer: the critics (``wrappers/episode/archer.py``) and the trainer (``baselines/archer.py``)."""

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.baselines import bilevel as B
from milepost.baselines.archer import Archer
from milepost.envs.text.hackable import HackableStepsEnv
from milepost.wrappers import Stack, Trajectory, UtteranceCritic
from milepost.wrappers.episode.archer import utterance_features

_spec = importlib.util.spec_from_file_location("bandit", Path(__file__).with_name("bandit.py"))
bandit = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(bandit)
ARMS, Bandit = bandit.ARMS, bandit.Bandit
pytestmark = pytest.mark.core


# -- the critics ---------------------------------------------------------------------------------
def chain(rewards, terminated=True, obs=None, actions=None, **meta):
    n = len(rewards)
    obs = list(range(n + 1)) if obs is None else obs
    return Trajectory(
        obs, actions or [0] * n, np.array(rewards, float), terminated, not terminated, [{}] * (n + 1), meta
    )


def places(state, action, dim):
    """State s: place s; with action a: place 10 + 5 s + a."""
    return np.eye(dim)[state if action is None else 10 + 5 * state + action]


TABLE = {"features": places, "dim": 64}


def critic(**settings):
    out = UtteranceCritic(**(TABLE | settings))
    out.setup(np.random.default_rng(0))
    return out


def test_archer_of_the_card():
    c = critic(epochs=1, lr=1.0, spread=0.0, tau=0.0)
    c.target_v[:, 1] = 0.6
    c.learn([chain([0.0], terminated=False)])  # r 0, V'(h') .6: Q -> .57
    assert c.q[:, 10] == pytest.approx([0.57, 0.57])
    c.learn([chain([1.0])])  # the end: V' does not count
    assert c.q[:, 10] == pytest.approx([1.0, 1.0])
    c.q[:, 10], c.v[:, 0] = (0.5, 0.55), (0.4, 0.42)
    assert c.advantage([0], [0]) == pytest.approx([0.1])
    # the actor's loss with log pi(utterance) = -2: logits 0 and log(e^2 - 1)
    b = B.pack([[(ARMS, 0, -2.0)]])
    theta = np.array([math.log(math.e**2 - 1)])
    assert -B.objective(theta, b, c.advantage([0], [0]), 0.0) == pytest.approx(0.2)
    assert Stack([UtteranceCritic(**TABLE)]).names == ["utterance_critic"]


def test_archer_by_hand():
    # V -> Q'(h, a~): the drawn action 2 and not the taken 0; targets move by tau
    c = critic(epochs=1, lr=1.0, spread=0.0, tau=0.25)
    c.target_q[:, 12] = 0.8
    c.learn([chain([1.0], sampled=[2])])
    assert c.v[:, 0] == pytest.approx([0.8, 0.8]) and c.q[:, 10] == pytest.approx([1.0, 1.0])
    assert c.target_q[:, 10] == pytest.approx([0.25, 0.25]) and c.target_q[:, 12] == pytest.approx([0.6, 0.6])
    assert c.target_v[:, 0] == pytest.approx([0.2, 0.2])
    # lr .5 goes half the way; two equal rows of a batch share one step
    half = critic(epochs=1, lr=0.5, spread=0.0, twin=False)
    half.learn([chain([1.0])])
    assert half.q.shape == (1, 64) and half.q[0, 10] == pytest.approx(0.5)
    pair = critic(epochs=1, lr=1.0, spread=0.0)
    pair.learn([chain([1.0]), chain([0.0])])
    assert pair.q[:, 10] == pytest.approx([0.5, 0.5])


def test_values_of_a_chain_are_the_returns_to_go():
    c = critic(gamma=1.0, tau=1.0, lr=1.0, epochs=60)
    t = chain([0.0, 2.0, -1.0, 3.0])
    before = c.learn([t])
    assert c.values([0, 1, 2, 3]) == pytest.approx([4.0, 4.0, 2.0, 3.0], abs=1e-6)
    (out,) = Stack([c]).run([t])
    assert out.rewards.tolist() == t.rewards.tolist()  # advantages are never paid
    assert c.episode(t).sum() == pytest.approx(0.0, abs=1e-6)
    assert before["q_loss"] < 1e-9 and before["v_loss"] < 1e-9


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=5), st.floats(0, 1), st.booleans())
def test_targets_stand_still_or_are_the_critics(rewards, lr, terminated):
    t = chain(rewards, terminated)
    frozen, copied = critic(tau=0.0, epochs=3), critic(tau=1.0, epochs=3, lr=max(lr, 0.01))
    start = frozen.target_q.copy()
    frozen.learn([t])
    copied.learn([t])
    assert np.array_equal(frozen.target_q, start) and np.array_equal(copied.target_v, copied.v)
    states, actions = list(t.obs[:-1]), list(t.actions)
    smaller = copied.values(states, actions)
    for head in copied.q:
        assert np.all(smaller <= copied.matrix(states, actions) @ head + 1e-12)
    assert np.isfinite(copied.episode(t)).all()
    copied.train(False)
    kept = copied.q.copy()
    assert copied.learn([t]) == {} and np.array_equal(copied.q, kept)


@given(st.text(max_size=40), st.text(max_size=20))
def test_features_are_of_length_one_and_know_their_words(state, action):
    x, y = utterance_features(state, None, 256), utterance_features(state, action, 256)
    assert x.shape == y.shape == (256,) and {round(float(np.linalg.norm(v)), 6) for v in (x, y)} <= {0.0, 1.0}
    assert (
        np.array_equal(y, utterance_features(state.upper().lower(), action, 256))
        or state.upper().lower() != state.lower()
    )


def test_utterances_are_judged_by_state_and_words():
    # "red" is right behind the red door, "blue" behind the blue one; words alone could not tell
    rows = [
        ("a red door", "say red", 1),
        ("a red door", "say blue", 0),
        ("a blue door", "say blue", 1),
        ("a blue door", "say red", 0),
    ]
    c = UtteranceCritic(epochs=60, tau=1.0)
    c.setup(np.random.default_rng(0))
    c.learn([chain([r], obs=[o, ""], actions=[a]) for o, a, r in rows])
    a = c.advantage([r[0] for r in rows], [r[1] for r in rows])
    assert min(a[0], a[2]) > 0.2 and max(a[1], a[3]) < -0.2


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"gamma": 1.5}, "utterance_critic: gamma is 1.5, allowed is 0, to 1"),
        ({"tau": -0.1}, "utterance_critic: tau is -0.1"),
        ({"lr": 0.0}, "utterance_critic: lr is 0.0, allowed is above 0, to 1"),
        ({"epochs": 0}, "utterance_critic: epochs is 0"),
        ({"spread": -1.0}, "spread -1.0"),
        ({"twin": "yes"}, "setting 'twin' is 'yes'"),
        ({"gamma": math.nan}, "setting 'gamma' is nan"),
    ],
)
def test_wrong_settings_of_the_critic(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        UtteranceCritic(**settings)
    with pytest.raises(ValueError, match=r"meta\['sampled'\] has 2 actions for 1 steps"):
        critic().learn([chain([1.0], sampled=[0, 0])])


# -- the trainer ---------------------------------------------------------------------------------
def test_archer_learns_to_build_the_clock(tmp_path):
    pytest.importorskip("torch", reason="the extra torch is not installed")
    env = HackableStepsEnv(length=2, weights={"step": 0.0}, max_steps=8, worlds=3)
    agent = Archer(env, UtteranceCritic(epochs=10), episodes=8, part=128, warm=1)
    history = agent.learn(env, 300)
    assert history[0]["return"] < 0.9 and "advantage" not in history[0]  # the critics alone
    assert np.mean([h["return"] for h in history[-2:]]) > history[0]["return"] and history[-1]["return"] > 0.9
    obs, info = env.reset(seed=5)
    assert agent.act(obs, info) == env.oracle()
    agent.save(tmp_path / "archer.pt")
    again = Archer.load(tmp_path / "archer.pt", env)
    assert again.critic.q == pytest.approx(agent.critic.q) and again.act(obs, info) == env.oracle()


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Archer(Bandit(), {"shaper": "uniform"}), "critic is a Uniform"),
        (lambda: Archer(Bandit(), part=0), "part 0"),
        (lambda: Archer(Bandit(), lr=0.0), "archer: lr is 0.0"),
        (lambda: Archer(Bandit(), eps=1), "archer has no setting 'eps'"),
    ],
)
def test_archer_refuses_by_name(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()
