"""Gated reward accumulation (G-RA)."""

import json

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.wrappers import CountBonus, GatedRewardAccumulation, Stack, Trajectory, load, shape

pytestmark = pytest.mark.core
LOW = [0.1, 0.1, -0.1, 0.1]


def traj(rewards, terminated=True, terms=None):
    """An episode with an account."""
    n = len(rewards)
    terms = {k: np.array(v, float) for k, v in (terms or {}).items()}
    obs, infos = list(range(n + 1)), [{} for _ in range(n + 1)]
    return Trajectory(obs, [0] * n, np.array(rewards, float), terminated, not terminated, infos, {}, terms)


def run(shaper, t):
    return Stack([shaper]).run([t])[0].rewards


def outcome(x, low=LOW, **more):
    high = [0.0] * (len(low) - 1) + [x]
    terms = {"outcome": high, "format": low} | more
    return traj(np.sum(list(terms.values()), axis=0), terms=terms)


@pytest.mark.parametrize("x, strict, total", [(-1, 0, -1), (0, 0, 0), (0.5, 0, 0.7), (0.5, 1, 0.5), (1, 0, 1.2)])
def test_gra_card(x, strict, total):
    # agentic card 5: dense .1, .1, -.1, .1, threshold .5
    out = run(GatedRewardAccumulation(strict=bool(strict)), outcome(x))
    assert out.sum() == pytest.approx(total)
    if x == 0.5 and not strict:
        assert out == pytest.approx([0.1, 0.1, -0.1, 0.6])


def test_gra_by_hand_three_levels_and_release():
    # outcome .6 clears .5, so the tests (.2 + .3) count; their .5 does not clear 1, so the format does not: 0, .2, .3, .6
    t = outcome(0.6, tests=[0, 0.2, 0.3, 0])
    levels = ((("outcome",), 0.5), (("tests",), 1.0))
    assert run(GatedRewardAccumulation(levels=levels), t) == pytest.approx([0, 0.2, 0.3, 0.6])
    assert run(GatedRewardAccumulation(levels=levels, release="terminal"), t) == pytest.approx([0, 0, 0, 1.1])
    # with the threshold of the tests at .5 all three count; with the outcome's at .7 only the outcome, though the tests clear
    opened = ((("outcome",), 0.5), (("tests",), 0.5))
    assert run(GatedRewardAccumulation(levels=opened), t) == pytest.approx(t.rewards)
    closed = ((("outcome",), 0.7), (("tests",), 0.5))
    assert run(GatedRewardAccumulation(levels=closed), t) == pytest.approx([0, 0, 0, 0.6])


dense = st.lists(st.floats(-3, 3), min_size=1, max_size=8)


@given(dense, st.floats(-1, 1), st.floats(-1, 1), st.booleans(), st.sampled_from(["per_step", "terminal"]))
def test_gra_pays_all_or_the_outcome_alone(low, x, threshold, strict, release):
    t = outcome(x, low)
    out = run(GatedRewardAccumulation(threshold=threshold, strict=strict, release=release), t)
    is_open = x > threshold if strict else x >= threshold
    assert out.sum() == pytest.approx(t.rewards.sum() if is_open else x, abs=1e-9)


@given(dense, st.floats(-1, 1))
def test_gra_at_the_extremes(low, x):
    t = outcome(x, low)
    assert run(GatedRewardAccumulation(threshold=-np.inf), t) == pytest.approx(t.rewards)
    assert run(GatedRewardAccumulation(threshold=np.inf), t) == pytest.approx(t.terms["outcome"])


@given(dense, dense)
def test_a_closed_gate_makes_all_dense_rewards_equal(one, two):
    got = [run(GatedRewardAccumulation(), outcome(0.2, low)).sum() for low in (one, two)]
    assert got[0] == got[1] == 0.2


def test_gra_a_hundred_useless_calls_change_nothing():
    few, many = (run(GatedRewardAccumulation(), outcome(0.0, [0.1] * n)).sum() for n in (1, 100))
    assert few == many == 0.0


def test_gra_vetoes_earlier_layers_online():
    class Corridor(gym.Env):
        observation_space, action_space = gym.spaces.Discrete(6), gym.spaces.Discrete(2)

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            self.x = 2
            return 2, {}

        def step(self, a):
            self.x += 1 if a else -1
            return (
                self.x,
                float(self.x == 5) + 0.1,
                self.x in (0, 5),
                False,
                {"reward_terms": {"outcome": float(self.x == 5), "format": 0.1}},
            )

    env = shape(Corridor(), [CountBonus(beta=1.0), GatedRewardAccumulation()])
    for actions, paid in (((0, 0), 0.0), ((1, 1, 1), None)):
        env.reset(seed=0)
        steps = [env.step(a) for a in actions]
        total, info = sum(s[1] for s in steps), steps[-1][4]
        assert sum(info["credit"]) == pytest.approx(total)
        assert total == pytest.approx(paid) if paid is not None else total > 1.3 + 1
        assert list(info["reward_terms"]) == ["outcome", "format", "count_bonus", "gated_reward_accumulation"]


def test_gra_reads_env_where_there_is_no_account_and_a_truncated_episode():
    assert run(GatedRewardAccumulation(), traj([0.1, 0.6])) == pytest.approx([0.1, 0.6])
    cut = traj(LOW, terminated=False, terms={"outcome": [0] * 4, "format": LOW})
    assert not run(GatedRewardAccumulation(), cut).any()  # no outcome: the lowest level, nothing dense


def test_gra_refuses_unknown_terms():
    said = "no term is called 'outcom'; did you mean 'outcome'. The account has: outcome, format".replace(
        ".", r"\??\.?", 1
    )
    with pytest.raises(ValueError, match=said):
        run(GatedRewardAccumulation(high=("outcom",)), outcome(1.0))
    with pytest.raises(ValueError, match="no term is called 'tests'"):
        run(GatedRewardAccumulation(high=("outcome", "tests")), outcome(1.0))  # a name that is given must be there
    with pytest.raises(ValueError, match="no term is called 'outcome' or 'env'"):
        run(GatedRewardAccumulation(), traj([1.0], terms={"a": [1.0]}))


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"release": "never"}, "setting 'release'"),
        ({"threshold": "high"}, "setting 'threshold'"),
        ({"levels": (("outcome", 0.5),)}, "a level is"),
        ({"levels": ((("a",), 0.5), (("a",), 0.1))}, "each term stands in one level"),
        ({"levels": ((("a",), 0.5),), "high": ("b",)}, "give one or the other"),
        ({"high": ()}, "each term stands in one level"),
    ],
)
def test_gra_refuses(settings, said):
    with pytest.raises(ValueError, match=said):
        GatedRewardAccumulation(**settings)


@pytest.mark.parametrize(
    "shaper",
    [
        GatedRewardAccumulation(high=("outcome",)),
        GatedRewardAccumulation(levels=((("outcome",), 0.5), (("format",), 0.1))),
    ],
    ids=["two levels", "three levels"],
)
def test_spec_round_trip_and_empty_episode(shaper):
    again = load(json.loads(json.dumps(shaper.spec())))
    assert again == shaper and again is not shaper
    assert run(again, traj([], terms={"outcome": [], "format": []})).shape == (0,)
