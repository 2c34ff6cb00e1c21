"""Bilevel methods (BARFI, PARL) with their hypergradient, and ArCHer's critics and trainer."""

import math

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import milepost  # noqa: F401
from milepost import shape
from milepost.baselines import bilevel as B
from milepost.baselines import parl as P
from milepost.baselines.agent import check_agent
from milepost.baselines.archer import Archer
from milepost.baselines.barfi import Barfi
from milepost.baselines.linear import LinearPolicy, batch, play
from milepost.envs.text.hackable import HackableStepsEnv
from milepost.wrappers import MultiplicativeProgress, Stack, TermBlend, Trajectory, UtteranceCritic
from milepost.wrappers.episode.archer import utterance_features

pytestmark = pytest.mark.core
ARMS = np.array([[0.0], [1.0]])  # one parameter: pi_1 = sigmoid(theta)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def both_arms():
    """Each arm once, drawn with 1/2: the expectation over the policy is exact."""
    return B.pack([[(ARMS, k, math.log(0.5))] for k in (0, 1)])


class Bandit(gym.Env):
    """Two arms; the second pays 1, and an auxiliary term pays what it likes."""

    observation_space, action_space = gym.spaces.Discrete(1), gym.spaces.Discrete(2)

    def __init__(self, aux=(0.0, 0.0)):
        self.aux = aux

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return 0, {}

    def step(self, a):
        terms = {"env": float(a == 1), "aux": self.aux[a]}
        return 0, sum(terms.values()), True, False, {"reward_terms": terms, "success": a == 1}


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


# -- BARFI ---------------------------------------------------------------------------------------
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


def lone(terms, obs=0):
    infos = [{}, {"reward_terms": terms}]
    return Trajectory([obs, 0], [0], np.array([sum(terms.values())]), True, False, infos)


def test_the_blend_by_hand():
    blend = TermBlend(("a", "b"))
    stack = Stack([blend])
    t = lone({"env": 2.0, "a": 3.0, "b": -1.0})
    assert stack.run([t])[0].rewards == pytest.approx([4.0])  # the naive sum
    own = stack.shapers[0]
    own.weights, own.offset = np.array([[0.5], [2.0]]), np.array([0.25])
    assert stack.run([t])[0].rewards == pytest.approx([2.0 + 0.5 * 3 + 2 * -1 + 0.25])
    own.weights, own.offset = np.zeros((2, 1)), np.zeros(1)
    assert stack.run([t])[0].rewards == pytest.approx([2.0])  # the primary reward
    twin = Stack([blend])
    twin.load_state_dict(stack.state_dict())
    assert twin.run([t])[0].rewards == pytest.approx([2.0])
    by_state = Stack([TermBlend(("a",), features=lambda obs: [obs, obs**2], size=2)])
    own = by_state.shapers[0]
    own.weights, own.offset = np.array([[1.0, 10.0, 0.0]]), np.array([0.0, 0.0, 1.0])
    # state 3: weight 1 + 30, offset 9
    assert by_state.run([lone({"env": 2.0, "a": 3.0}, 3)])[0].rewards == pytest.approx([2 + 31 * 3 + 9])


@given(st.lists(st.floats(-5, 5), min_size=3, max_size=3), st.floats(0, 3))
def test_blends_are_linear_in_their_weights(terms, w):
    t = lone(dict(zip(("env", "a", "b"), terms)))

    def paid(weights):
        stack = Stack([TermBlend(("a", "b"))])
        stack.shapers[0].weights = np.array(weights)[:, None]
        return float(stack.run([t])[0].rewards[0])

    assert paid([w, 0.0]) == pytest.approx(terms[0] + w * terms[1])
    assert paid([1.0, w]) == pytest.approx(terms[0] + terms[1] + w * terms[2])


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: TermBlend(()), "term_blend: terms is"),
        (lambda: TermBlend(("a", "a")), "none twice"),
        (lambda: TermBlend(("a",), start=math.inf), "term_blend: setting 'start' is inf"),
        (lambda: TermBlend(("a",), size=2), "term_blend: features is None and size 2"),
        (lambda: Stack([TermBlend(("out",))]).run([lone({"outcome": 1.0})]), "no term is called 'out'; did you mean"),
        (
            lambda: Stack([TermBlend(("a",), features=len, size=1)]).run([lone({"a": 1.0}, "xy")]),
            "features have the shape",
        ),
    ],
)
def test_blends_refuse_by_name(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


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


# -- PARL ----------------------------------------------------------------------------------------
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


# -- ArCHer's critics ----------------------------------------------------------------------------
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


# -- ArCHer's trainer ----------------------------------------------------------------------------
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
        (lambda: Archer(Bandit(), {"shaper": "uniform"}), "critic is a Uniform"),
        (lambda: Barfi(Bandit(), warmup=1), "barfi has no setting 'warmup'"),
        (lambda: P.Parl(Bandit(), episodes=1), "parl: episodes is 1"),
        (lambda: P.Parl(Bandit(), solver="x"), "parl: setting 'solver' is 'x'"),
        (lambda: P.Parl(Bandit(), reg=-1.0), "parl: reg is -1.0"),
        (lambda: P.Parl(Bandit(), nu=1), "parl has no setting 'nu'"),
        (lambda: Archer(Bandit(), part=0), "part 0"),
        (lambda: Archer(Bandit(), lr=0.0), "archer: lr is 0.0"),
        (lambda: Archer(Bandit(), eps=1), "archer has no setting 'eps'"),
        (lambda: Barfi(Bandit(), TermBlend(("nope",))).learn(Bandit(), 1), "no term is called 'nope'"),
    ],
)
def test_trainers_refuse_by_name(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()
