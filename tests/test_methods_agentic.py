"""IGPO, the fused advantage, PORTool's tree, sweet spots."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.wrappers import FusedAdvantage, Grpo, InformationGain, Stack, SweetSpot, Trajectory, TreeAdvantage

pytestmark = pytest.mark.core


def episode(rewards, infos=None, actions=None, terminated=True, **meta):
    n = len(rewards)
    infos = infos or [{} for _ in range(n + 1)]
    return Trajectory(
        list(range(n + 1)), actions or [0] * n, np.array(rewards, float), terminated, not terminated, infos, meta
    )


def asked(values, rewards):
    return episode(rewards, [{"answer_logprob": v} for v in values])


def paid(shaper, traj):
    return Stack([shaper]).run([traj])[0].rewards


# -- information gain ----------------------------------------------------------------------------
CARD = (asked([-3, -2, -0.5, -0.5], [0, 0, 1]), asked([-3, -3.2, -2, -2], [0, 0, 0]))
IGPO = [InformationGain(), FusedAdvantage(process=("information_gain",), norm="zscore", gamma=1.0, last=False, eps=0.0)]


def test_igpo_the_cards_example():
    # gains [1, 1.5] and [-.2, 1.2]: mean .875, std .6457; outcomes 1 and 0 -> 1 and -1; sums from each turn on
    assert paid(InformationGain(), CARD[0]) == pytest.approx([1, 1.5, 1])
    assert paid(InformationGain(), CARD[1]) == pytest.approx([-0.2, 1.2, 0])
    a, b = (t.advantages for t in Stack(IGPO).run(list(CARD)))
    assert a == pytest.approx([2.1616, 1.968, 1.0], abs=1e-4)
    assert b == pytest.approx([-2.1616, -0.4966, -1.0], abs=1e-4)


def test_igpo_by_hand():
    # probabilities .5, .25, 1: the first turn loses .25, the last is the environment's
    half, quarter = float(np.log(0.5)), float(np.log(0.25))
    assert paid(InformationGain(mode="prob"), asked([half, quarter, 0.0], [0, 7])) == pytest.approx([-0.25, 7])
    # an unknown value pays nothing, and the next counts from the last that was known
    assert paid(InformationGain(), asked([-4, None, -1, -1], [0, 0, 0])) == pytest.approx([0, 3, 0])
    assert paid(InformationGain(), asked([None, -3, -1, 0], [0, 0, 0])) == pytest.approx([0, 2, 0])
    wrong = asked([-1, -1, -1], [0, 1])
    wrong.infos[2]["valid_action"] = False
    wrong.infos[1]["valid_action"] = True
    assert paid(InformationGain(invalid=-2.0), wrong) == pytest.approx([0, -2])


@given(st.lists(st.floats(-20, 0), min_size=3, max_size=9), st.floats(-5, 5))
def test_gains_telescope_and_forget_constants(values, shift):
    got = paid(InformationGain(), asked(values, [0.0] * (len(values) - 1)))
    assert got.sum() == pytest.approx(values[-2] - values[0], abs=1e-9) and got[-1] == 0.0
    assert paid(InformationGain(), asked([v + shift for v in values], [0.0] * (len(values) - 1))) == pytest.approx(
        got, abs=1e-9
    )


# -- the fused advantage -------------------------------------------------------------------------
def process(outcome, steps):
    """An episode whose account has an outcome at the end and a process term."""
    n = len(steps)
    total = np.zeros(n)
    total[-1] = outcome
    terms = {"outcome": total, "implicit_process": np.array(steps, float)}
    return Trajectory([0] * (n + 1), [0] * n, sum(terms.values()), True, False, [{}] * (n + 1), {}, terms)


def fused(group, **settings):
    return [t.advantages for t in Stack([FusedAdvantage(**settings)]).run(group)]


def test_istar_the_cards_example():
    # rewards [.1, .05] and [-.05, 0], outcomes 1 and 0: leave-one-out over 4 steps and over 2 outcomes
    group = [process(1, [0.1, 0.05]), process(0, [-0.05, 0.0])]
    a, b = fused(group)
    assert a == pytest.approx([1.1, 1.0333], abs=1e-4) and b == pytest.approx([-1.1, -1.0333], abs=1e-4)
    a, b = fused(
        group, norm="zscore", ddof=1, eps=0.0
    )  # the card: steps [1.1619, .3873, -1.1619, -.3873], outcomes +-.7071
    assert a == pytest.approx([1.1619 + 0.7071, 0.3873 + 0.7071], abs=1e-4)
    assert b == pytest.approx([-1.1619 - 0.7071, -0.3873 - 0.7071], abs=1e-4)


def test_fused_by_hand():
    # steps 3 | 0, 0: leave-one-out 3 - 0 = 3, 0 - 1.5 = -1.5 twice; outcomes 2 and 4: -2 and 2; alpha 2, gamma .5
    a, b = fused([process(2, [3]), process(4, [0, 0])], alpha=2.0, gamma=0.5)
    assert a == pytest.approx([2 * 3 - 2]) and b == pytest.approx([2 * -1.5 + 0.5 * (2 * -1.5 + 2), 2 * -1.5 + 2])


def test_fused_edges():
    assert fused([process(1, [0.0, 0.0])])[0] == pytest.approx([0, 0])
    (short,) = fused([process(1, [0.5])], last=False, gamma=1.0)
    assert short == pytest.approx([0.0])
    with pytest.raises(ValueError, match=r"no term is called 'implicit_proces'.*implicit_process"):
        fused([process(1, [0.5])], process=("implicit_proces",))
    for wrong in ({"process": ()}, {"eps": -1.0}, {"ddof": 2}, {"gamma": 1.5}):
        with pytest.raises(ValueError, match="fused_advantage"):
            FusedAdvantage(**wrong)


# -- the tree ------------------------------------------------------------------------------------
def rollout(actions, outcome, seen=None):
    n = len(actions)
    obs = seen or ["".join(actions[:k]) for k in range(n + 1)]
    rewards = np.zeros(n)
    rewards[-1] = outcome
    infos = [{"valid_action": True} for _ in range(n + 1)]
    return Trajectory(obs, list(actions), rewards, True, False, infos)


def tree(group, **settings):
    return [t.advantages for t in Stack([TreeAdvantage(eps=0.0, **settings)]).run(group)]


def test_the_tree_of_the_card():
    # root -> a (-> 1 right, 2 wrong), b -> 1 wrong; R(a) = .475, R(b) = 0; A_traj = [1.4142, -.7071, -.7071]
    group = [rollout("ax", 1), rollout("ay", 0), rollout("bx", 0)]
    for agg in ("mean", "any"):
        a, b, c = tree(group, agg=agg)
        assert a == pytest.approx([2.4142, 2.4142], abs=1e-4)
        assert b == pytest.approx([0.2929, -1.7071], abs=1e-4)
        assert c == pytest.approx([-1.7071, -0.7071], abs=1e-4)


def test_the_tree_by_hand():
    # three siblings of one step, returns 0, 1, 2; two rollouts share the last: fork z-scores of 0, 1, 2 -> -1.2247, 0, 1.2247
    group = [rollout("a", 0), rollout("b", 1), rollout("c", 2), rollout("c", 2)]
    got = tree(group, w_traj=0.0)
    assert [g[0] for g in got] == pytest.approx([-1.224745, 0, 1.224745, 1.224745], abs=1e-6)
    # discounts: from a the answer is 1 step away, from b 2: R = 1 and .5, so a +1 and b -1
    near, far = rollout("a", 1), rollout("bz", 1)
    assert tree([near, far], gamma=0.5, w_traj=0.0)[0] == pytest.approx([1.0])
    assert tree([near, far], gamma=0.5, w_traj=0.0)[1] == pytest.approx([-1.0, 0.0])
    # a valid action adds to R(s) where it counts
    bad = rollout("b", 1)
    bad.infos[1]["valid_action"] = False
    assert tree([near, bad], w_traj=0.0, w_format=0.1)[0] == pytest.approx([1.0])
    assert tree([near, bad], w_traj=0.0)[0] == pytest.approx([0.0])


@given(st.lists(st.tuples(st.text("ab", min_size=1, max_size=4), st.integers(0, 1)), min_size=1, max_size=6))
def test_shared_steps_share_and_siblings_cancel(rows):
    group = [rollout(actions, outcome) for actions, outcome in rows]
    got = tree(group, w_traj=0.0)
    seen = {}
    for (actions, _), a in zip(rows, got):
        for k, x in enumerate(a):
            assert seen.setdefault(actions[: k + 1], x) == pytest.approx(x)
    parents = {}
    for prefix, x in seen.items():
        parents.setdefault(prefix[:-1], []).append(x)
    assert all(abs(sum(v)) < 1e-6 for v in parents.values())
    renamed = [rollout(a.translate(str.maketrans("ab", "yz")), r) for a, r in rows]
    assert [list(x) for x in tree(renamed, w_traj=0.0)] == [list(x) for x in got]


def test_without_forks_the_tree_is_grpo():
    group = [rollout("ab", 1), rollout("ab", 1)]
    ours = tree(group)
    assert all(a == pytest.approx([0, 0]) for a in ours)
    chain = [rollout("a", 1, ["s", "t"]), rollout("a", 0, ["s", "u"])]  # one action, another outcome
    assert [a[0] for a in tree(chain)] == pytest.approx([t.advantages[0] for t in Stack([Grpo(eps=0.0)]).run(chain)])
    for wrong in ({"gamma": 1.5}, {"eps": -1.0}, {"ddof": 3}):
        with pytest.raises(ValueError, match="tree_advantage"):
            TreeAdvantage(**wrong)


# -- sweet spots ---------------------------------------------------------------------------------
def near(values, outcome):
    return episode([0.0] * (len(values) - 1) + [outcome], [{"progress": p} for p in (0.0, *values)])


def test_sweet_spots_of_the_card():
    # K 4, alpha .5: S .62 -> tier .5; S 1 -> 1; S .2 -> 0; ceil: .62 -> .75
    for s, won, total in ((0.62, 0, 0.25), (0.62, 1, 1.25), (1.0, 1, 1.5), (0.2, 0, 0.0)):
        assert paid(SweetSpot(), near([s], won)).sum() == pytest.approx(total)
    assert paid(SweetSpot(rounding="ceil"), near([0.62], 0)).sum() == pytest.approx(0.375)


def test_sweet_spots_by_hand():
    # nearness .2, .4, .9: mean .5 -> tier .5 of 4 zones; alpha 2 pays 1.0 at the last step; per step: 0, .25, .75 times 2
    assert paid(SweetSpot(alpha=2.0), near([0.2, 0.4, 0.9], 0)) == pytest.approx([0, 0, 1.0])
    assert paid(SweetSpot(alpha=2.0, level_of="step"), near([0.2, 0.4, 0.9], 0)) == pytest.approx([0, 0.5, 1.5])
    # edges .3 and .8: three zones; .5 lies in the second: 1/3, from above 2/3
    assert SweetSpot(edges=(0.3, 0.8)).tier(0.5) == pytest.approx(1 / 3)
    assert SweetSpot(edges=(0.3, 0.8), rounding="ceil").tier(0.5) == pytest.approx(2 / 3)
    assert SweetSpot(edges=(0.3, 0.8)).tier(1.0) == 1.0 and SweetSpot(edges=(0.3, 0.8)).tier(0.0) == 0.0


@given(st.floats(0, 1), st.floats(0, 1), st.integers(1, 9), st.sampled_from(["floor", "ceil"]))
def test_tiers_are_few_and_never_fall(a, b, zones, rounding):
    shaper = SweetSpot(zones=zones, rounding=rounding)
    low, high = sorted((a, b))
    assert 0.0 <= shaper.tier(low) <= shaper.tier(high) <= 1.0
    assert shaper.tier(low) * zones == pytest.approx(round(shaper.tier(low) * zones))
    for wrong in ({"zones": 0}, {"alpha": -1.0}, {"edges": (0.5, 0.4)}, {"edges": (0.0, 0.4)}):
        with pytest.raises(ValueError, match="sweet_spot"):
            SweetSpot(**wrong)
