"""Shaping of agents that act together: team spirit, inequity aversion, difference rewards, Shapley credit."""

import json
import math

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.wrappers import MissingFact, Stack, Trajectory, Transition, load, shape
from milepost.wrappers import conformance as C
from milepost.wrappers.maths import orders, shapley
from milepost.wrappers.step.difference import DifferenceReward
from milepost.wrappers.step.inequity import InequityAversion
from milepost.wrappers.step.shapley import ShapleyCredit
from milepost.wrappers.step.team_spirit import TeamSpirit

core = pytest.mark.core
few = st.lists(st.floats(-5, 5), min_size=1, max_size=6)
V = {0: 0, 1: 1, 2: 0, 4: 0, 3: 3, 5: 1, 6: 0, 7: 4}  # the card's game: player k is bit k


def together(shaper, rows, teams=None):
    """Rewards of agents that step together, step by step; ``rows`` is steps by agents."""
    m = load(shaper)
    m.setup(np.random.default_rng(0))
    states = [m.init(None, {"team": t}) for t in teams or [""] * len(rows[0])]
    out = []
    for row in rows:
        ts = [Transition(None, 0, float(r), None, False, False, {}, {"env": float(r)}) for r in row]
        out.append(m.steps(states, ts))
    return np.array(out)


def facts(values=V, player=0, players=("a", "b", "c"), orders=(), **more):
    return more | {
        "coalition_values": {"players": players, "player": player, "coalitions": tuple(values), "orders": orders}
        | {"values": tuple(values.values())},
    }


def one(shaper, reward, **info):
    return Stack([shaper]).run([Trajectory([0, 0], [0], np.array([reward]), True, False, [{}, info])])[0].rewards[0]


# -- team spirit -------------------------------------------------------------------------------------
@core
def test_team_spirit_by_hand():
    # three against three, one of the first team scores 100, tau .3: (1 - .3) 100 + .3 100 / 3 = 80 for it, .3 100 / 3 = 10 for
    # its mates, minus 100 / 3 for each opponent (the example that users of OpenAI Five's formula give)
    got = together(TeamSpirit(0.3, team="team"), [[100, 0, 0, 0, 0, 0]], [*"aaabbb"])[0]
    assert got == pytest.approx([80, 10, 10, -100 / 3, -100 / 3, -100 / 3])
    # one team of two, tau .5: 3, 1 -> 1.5 + 1, .5 + 1
    assert together(TeamSpirit(0.5), [[3, 1]])[0] == pytest.approx([2.5, 1.5])
    # half the opponents' weight, tau 1, teams (4, 0) and (1): 2 - .5, 2 - .5, 1 - .5 * 2
    assert together(TeamSpirit(1.0, 0.5, "team"), [[4, 0, 1]], [*"aab"])[0] == pytest.approx([1.5, 1.5, 0])


@core
def test_where_the_opponents_term_stands_changes_nothing():
    # before the team shares (each minus the opponents' mean, then mixed) or after: r = 4, 0 against 1, 3
    first = np.array([4.0, 0]) - 2.0
    want = 0.7 * first + 0.3 * first.mean()
    assert together(TeamSpirit(0.3, team="team"), [[4, 0, 1, 3]], [*"aabb"])[0][:2] == pytest.approx(want)


@core
@given(few, st.floats(0, 1))
def test_one_team_keeps_its_sum_and_nobody_changes_place(r, tau):
    got = together(TeamSpirit(tau), [r])[0]
    assert got.sum() == pytest.approx(sum(r), abs=1e-9)
    assert got - got.mean() == pytest.approx((1 - tau) * (np.array(r) - np.mean(r)), abs=1e-9)  # the order stays


@core
@given(few, st.floats(0, 1), st.data())
def test_equal_teams_are_a_zero_sum_game_and_tau_0_alone_is_the_identity(r, tau, data):
    other = data.draw(st.lists(st.floats(-5, 5), min_size=len(r), max_size=len(r)))
    names = [*"a" * len(r), *"b" * len(r)]
    assert together(TeamSpirit(tau, team="team"), [r + other], names)[0].sum() == pytest.approx(0, abs=1e-9)
    assert together(TeamSpirit(0.0, 0.0, "team"), [r + other], names)[0] == pytest.approx(r + other, abs=1e-9)
    kept = together(TeamSpirit(tau, 0.0, "team"), [r + other], names)[0]
    assert kept[: len(r)].sum() == pytest.approx(sum(r), abs=1e-9)
    assert together(TeamSpirit(tau), [r[:1]])[0] == pytest.approx(r[:1])  # a team of one


# -- inequity aversion -------------------------------------------------------------------------------
@core
def test_inequity_by_hand():
    # Fehr and Schmidt, rewards 4, 1, 0, envy 1, guilt .5, N - 1 = 2: 4 - .5 (3 + 4) / 2 = 2.25; 1 - 3 / 2 - .5 / 2 = -.75;
    # 0 - (4 + 1) / 2 = -2.5
    assert together(InequityAversion(1.0, 0.5, lam=0.0), [[4, 1, 0]])[0] == pytest.approx([2.25, -0.75, -2.5])
    # smoothed: gamma lambda = .8 * .5 = .4; e = (1, 0), then (.4, 2): step 1: 1 - .1 * 1, 0 - 2 * 1;
    # step 2: 0 - 2 * 1.6, 2 - .1 * 1.6
    got = together(InequityAversion(2.0, 0.1, gamma=0.8, lam=0.5), [[1, 0], [0, 2]])
    assert got == pytest.approx(np.array([[0.9, -2.0], [-3.2, 1.84]]))
    # the paper's settings: e decays by .99 * .975 = .96525; alone in step 2 with e = (.96525, 0)
    got = together(InequityAversion(), [[1, 0], [0, 0]])
    assert got == pytest.approx(np.array([[0.95, -5.0], [-0.05 * 0.96525, -5 * 0.96525]]))


@core
@given(st.lists(st.lists(st.floats(-5, 5), min_size=3, max_size=3), min_size=1, max_size=4), st.permutations(range(3)))
def test_inequity_never_pays_and_follows_its_agents(rows, order):
    m = InequityAversion()
    got = together(m, rows)
    assert (got <= np.array(rows) + 1e-12).all()
    assert together(m, [[r[i] for i in order] for r in rows]) == pytest.approx(got[:, order])
    assert together(InequityAversion(0.0, 0.0), rows) == pytest.approx(np.array(rows))
    assert together(m, [[r[0]] * 3 for r in rows]) == pytest.approx(np.array([[r[0]] * 3 for r in rows]))
    assert together(m, [r[:1] for r in rows]) == pytest.approx(np.array([r[:1] for r in rows]))


# -- Shapley values ----------------------------------------------------------------------------------
@core
def test_the_cards_shapley_values():
    assert shapley(3, V.__getitem__) == pytest.approx([7 / 3, 4 / 3, 1 / 3])
    by_hand = np.zeros(
        3
    )  # over the six orders: 1 2 3: 1, 2, 1; 1 3 2: 1, 3, 0; 2 1 3: 3, 0, 1; 2 3 1: 4, 0, 0; 3 1 2: 1, 3, 0
    for row in ((1, 2, 1), (1, 3, 0), (3, 0, 1), (4, 0, 0), (1, 3, 0), (4, 0, 0)):
        by_hand += np.array(row) / 6
    assert by_hand == pytest.approx([7 / 3, 4 / 3, 1 / 3])
    every = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
    assert shapley(3, V.__getitem__, every) == pytest.approx([7 / 3, 4 / 3, 1 / 3])
    assert shapley(3, V.__getitem__, every[:1]) == pytest.approx([1, 2, 1]) and shapley(0, lambda s: 9.0).shape == (0,)


values = st.integers(1, 4).flatmap(lambda n: st.lists(st.floats(-9, 9), min_size=2**n, max_size=2**n))


@core
@given(values, values, st.integers(0, 99))
def test_efficiency_symmetry_dummy_and_additivity(v, w, seed):
    n = len(v).bit_length() - 1
    phi, drawn = shapley(n, v.__getitem__), orders(n, 3, np.random.default_rng(seed))
    for got in (phi, shapley(n, v.__getitem__, drawn)):
        assert got.sum() == pytest.approx(v[-1] - v[0], abs=1e-9)
    both = [a + w[i % len(w)] for i, a in enumerate(v)]
    assert shapley(n, both.__getitem__) == pytest.approx(phi + shapley(n, lambda s: w[s % len(w)]), abs=1e-9)
    assert shapley(n + 1, lambda s: v[s & (2**n - 1)]) == pytest.approx(
        [*phi, 0], abs=1e-9
    )  # one more that adds nothing
    size = [v[s.bit_count()] for s in range(2**n)]  # who is in it does not matter
    assert np.ptp(shapley(n, size.__getitem__)) == pytest.approx(0, abs=1e-9)


@core
def test_orders_give_an_unbiased_estimate_for_many_players():
    weight = np.arange(12.0)

    def value(s):  # additive but for a bonus if 0 and 1 are both in: each has half of it
        return float(sum(w for i, w in enumerate(weight) if s >> i & 1)) + 10.0 * (s & 3 == 3)

    got = shapley(12, value, orders(12, 400, np.random.default_rng(0)))
    assert got[2:] == pytest.approx(weight[2:]) and got.sum() == pytest.approx(weight.sum() + 10)
    assert got[:2] == pytest.approx(weight[:2] + 5, abs=4 * 10 * 0.5 / math.sqrt(400))  # four standard errors


# -- credit from facts and from values of joint episodes -------------------------------------------------
@core
def test_facts_by_hand():
    info = {"team_reward": 4.0, "counterfactual": 1.5}
    assert one(DifferenceReward(), 9.0, **info) == 2.5 and one(DifferenceReward("add"), 9.0, **info) == 11.5
    assert one(DifferenceReward(team=""), 9.0, counterfactual=1.5) == 7.5  # the reward so far is the team's
    got = [one(ShapleyCredit(), 9.0, **facts(player=k)) for k in range(3)]
    assert got == pytest.approx([7 / 3, 4 / 3, 1 / 3])
    shifted = {k: x + 6.0 for k, x in V.items()}
    got = [one(ShapleyCredit(conserve=True), 0.0, **facts(shifted, k)) for k in range(3)]
    assert got == pytest.approx([7 / 3 + 2, 4 / 3 + 2, 1 / 3 + 2])  # v(none) = 6 in three parts; sum v(all) = 10
    two = facts(orders=((0, 1, 2), (1, 2, 0)))  # 1, 2, 1 and 4, 0, 0
    assert one(ShapleyCredit(0.5), 3.0, **two) == pytest.approx(0.5 * 2.5 + 0.5 * 3.0)


def worth(group, who):
    return float(V[sum(1 << (a - 1) for a in who)])


def team(rewards, steps=2):
    out = []
    for k, r in enumerate(rewards):
        x = np.zeros(steps)
        x[-1:] = r
        meta = {"agent": k + 1, "joint": 1}
        out.append(Trajectory([0] * (steps + 1), [0] * steps, x, True, False, [{}] * (steps + 1), meta))
    return out


@core
def test_the_cards_mixture_and_values_of_a_joint_episode():
    got = Stack([ShapleyCredit(0.5, value=worth)]).run(team([0, 0, 4]))
    assert [t.rewards[-1] for t in got] == pytest.approx([1.166667, 0.666667, 2.166667], abs=1e-6)
    assert sum(t.rewards.sum() for t in got) == pytest.approx(4) and not any(t.rewards[0] for t in got)
    got = Stack([DifferenceReward(value=worth)]).run(team([7, 7, 7]))  # 4 - v(23), 4 - v(13), 4 - v(12)
    assert [t.rewards.tolist() for t in got] == [[0, 4], [0, 3], [0, 1]]
    got = Stack([DifferenceReward("add", value=worth)]).run(team([7, 7, 7]))
    assert [t.rewards.tolist() for t in got] == [[0, 11], [0, 10], [0, 8]]
    two = [*team([0, 0, 4]), *[Trajectory(**{**vars_of(t), "meta": t.meta | {"joint": 2}}) for t in team([0, 0, 4])]]
    assert [t.rewards.sum() for t in Stack([ShapleyCredit(value=worth)]).run(two)] == pytest.approx(
        [7 / 3, 4 / 3, 1 / 3] * 2
    )
    assert [t.rewards.shape for t in Stack([ShapleyCredit(value=worth)]).run(team([0, 0, 0], 0))] == [(0,)] * 3


def vars_of(t):
    return {k: getattr(t, k) for k in ("obs", "actions", "rewards", "terminated", "truncated", "infos", "meta")}


@core
def test_many_agents_are_estimated_with_the_layers_seed():
    shaper = ShapleyCredit(value=lambda group, who: float(sum(who)) + 10.0 * ({1, 2} <= who), exact=2, orders=20)
    runs = [[t.rewards[-1] for t in Stack([shaper], seed).run(team([0] * 12))] for seed in (0, 0, 1)]
    assert runs[0] == runs[1] != runs[2]
    for r in runs:
        assert sum(r) == pytest.approx(78 + 10) and r[2:] == pytest.approx(range(3, 13))


# -- conformance, settings ---------------------------------------------------------------------------
def of_state(state):
    return C.facts_of(state) | facts(team_reward=float(state), counterfactual=state / 2) | {"team": "ab"[state % 2]}


@core
@pytest.mark.parametrize(
    "shaper",
    [
        TeamSpirit(),
        TeamSpirit(0.7, 0.0, "team"),
        TeamSpirit(1.0, 1.0, "team"),
        InequityAversion(),
        InequityAversion(0.0, 0.2, lam=0.0),
        DifferenceReward(),
        DifferenceReward("add", team=""),
        DifferenceReward("add"),
        DifferenceReward(value=lambda group, who: float(len(who))),
        ShapleyCredit(),
        ShapleyCredit(0.25, True),
        ShapleyCredit(value=lambda group, who: float(len(who)) ** 2),
    ],
    ids=lambda s: type(s).__name__,
)
def test_conformance(shaper):
    C.check_shaper(shaper, of_state)
    assert "live" in json.dumps(shaper.spec()) or load(json.loads(json.dumps(shaper.spec()))) == shaper


@core
@pytest.mark.parametrize("make", [TeamSpirit, InequityAversion])
def test_sub_environments_are_no_team_and_a_lone_environment_keeps_its_reward(make):
    with pytest.raises(ValueError, match="sub-environments are separate games"):
        shape(gym.make_vec("CartPole-v1", num_envs=2), [make()])
    env = shape(gym.make("CartPole-v1"), [make()])
    env.reset(seed=0)
    assert env.step(0)[1] == 1.0


@core
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: TeamSpirit(1.5), "tau = 1.5, allowed is 0 to 1"),
        (lambda: TeamSpirit(0.3, -1.0), "opponents = -1.0, allowed is 0 or more"),
        (lambda: TeamSpirit("a"), "team_spirit: setting 'tau'"),
        (lambda: InequityAversion(-1.0), "alpha = -1.0, allowed is 0 or more"),
        (lambda: InequityAversion(beta=math.inf), "setting 'beta' is inf"),
        (lambda: InequityAversion(lam=1.1), "lam = 1.1, allowed is 0 to 1"),
        (lambda: DifferenceReward("mean"), "allowed is one of 'replace', 'add'"),
        (lambda: Stack([DifferenceReward(value=3)]), "value is 3, a function is expected"),
        (lambda: ShapleyCredit(2.0), "alpha = 2.0, allowed is 0 to 1"),
        (lambda: ShapleyCredit(orders=0), "orders = 0"),
        (lambda: ShapleyCredit(exact=21), "exact = 21"),
        (lambda: Stack([ShapleyCredit(value=3)]), "value is 3, a function is expected"),
        (
            lambda: load({"shaper": "milepost.wrappers.step.inequity:InequityAversion", "alhpa": 1.0}),
            "did you mean 'alpha'",
        ),
    ],
)
def test_wrong_settings_are_one_sentence(make, said):
    with pytest.raises(ValueError, match=said):
        make()


@core
def test_what_is_missing_is_named():
    for shaper, key in (
        (DifferenceReward(), "team_reward"),
        (DifferenceReward(team=""), "counterfactual"),
        (ShapleyCredit(), "coalition_values"),
        (TeamSpirit(team="team"), "team"),
    ):
        with pytest.raises(MissingFact, match=rf"reads info\['{key}'\]"):
            one(shaper, 1.0)
