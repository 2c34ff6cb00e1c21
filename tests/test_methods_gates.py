"""Step methods that multiply: KRC, CaRL's progress, gated bonuses, hybrid rewards."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.wrappers import GatedBonus, HybridReward, Krc, MissingFact, MultiplicativeProgress, Stack, Trajectory
from milepost.wrappers.step.krc import closeness, combine

pytestmark = pytest.mark.core


def episode(infos, terms=None, terminated=True):
    """Infos of the reset and of every step; ``terms`` name -> rewards."""
    n = len(infos) - 1
    terms = {k: np.array(v, float) for k, v in (terms or {"env": [0.0] * n}).items()}
    rewards = sum(terms.values())
    return Trajectory([0] * (n + 1), [0] * n, rewards, terminated, not terminated, infos, {}, terms)


def paid(shaper, traj):
    return Stack([shaper]).run([traj])[0].rewards


# -- KRC -----------------------------------------------------------------------------------------
def test_krc_of_the_card():
    assert combine([0.8, 0.5, 0.9]) == pytest.approx(0.711379, abs=1e-6)
    assert combine([0.8, -0.5, 0.9]) == pytest.approx(-0.711379, abs=1e-6)
    assert combine([0.8, 0.0, 0.9]) == 0.0
    # by the product of the signs two wrongs make a right
    assert combine([-0.8, -0.5, 0.9]) < 0 < combine([-0.8, -0.5, 0.9], "product")
    assert closeness(1000, 2300, 1.1, 1.1) == pytest.approx(0.835552, abs=1e-6)
    assert closeness(1000, 2300, 1.1) == pytest.approx(0.820675, abs=1e-6)


def test_krc_by_hand():
    # facts (.25, 1) -> .5, (1, 1) -> 1, then the end: .5 * 1 - .5, 0 - 1; cut off: the potential is kept
    infos = [{"near": 0.25, "fast": 1.0}, {"near": 1.0, "fast": 1.0}, {"near": 1.0, "fast": 1.0}]
    shaper = Krc(facts=("near", "fast"), gamma=0.5)
    assert paid(shaper, episode(infos)) == pytest.approx([0.0, -1.0])
    assert paid(shaper, episode(infos, terminated=False)) == pytest.approx([0.0, -0.5])
    # terms 4 and 9 and another of 1: their sum 13 becomes 6, twice 3 with weight .5
    terms = {"a": [4.0], "b": [9.0], "c": [1.0]}
    assert paid(Krc(of=("a", "b")), episode([{}, {}], terms)) == pytest.approx([7.0])
    assert paid(Krc(of=("a", "b"), weight=0.5), episode([{}, {}], terms)) == pytest.approx([4.0])
    with pytest.raises(ValueError, match="no term is called 'd'"):
        paid(Krc(of=("a", "d")), episode([{}, {}], terms))
    with pytest.raises(MissingFact, match="near"):
        paid(shaper, episode([{}, {}]))
    for wrong in ({}, {"facts": ("a",), "of": ("b",)}, {"of": ("a",), "gamma": 1.5}):
        with pytest.raises(ValueError, match="krc"):
            Krc(**wrong)


@given(st.lists(st.floats(-2, 2), min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_krc_is_a_mean(values, random):
    got = combine(values)
    sizes = [abs(v) for v in values]
    assert min(sizes) - 1e-9 <= abs(got) <= max(sizes) + 1e-9
    mixed = list(values)
    random.shuffle(mixed)
    assert combine(mixed) == pytest.approx(got)
    assert combine([values[0]] * 4) == pytest.approx(values[0]) and combine([*values, 0.0]) == 0.0


# -- CaRL ----------------------------------------------------------------------------------------
def test_carl_of_the_card():
    # change 2 of 100, overspeed .5, time to collision .5, comfort .75: .375; with a collision -.625
    flags = {"speed": 0.5, "close": True, "comfort": 0.75}
    soft = {"speed": None, "close": 0.5, "comfort": None}
    start, step = {"progress": 0.0, "crash": False} | flags, {"progress": 0.02, "crash": False} | flags
    shaper = MultiplicativeProgress(soft=soft, hard={"crash": -1.0}, scale=100.0)
    assert paid(shaper, episode([start, step])) == pytest.approx([0.375])
    assert paid(shaper, episode([start, step | {"crash": True}])) == pytest.approx([-0.625])


def test_carl_by_hand():
    # a sticky half for two more steps: changes .1 .1 .1 .1 of which the flag is up at the first only; then it falls by .2
    rows = [(0.0, False), (0.1, True), (0.2, False), (0.3, False), (0.4, False), (0.2, False), (0.5, False)]
    infos = [{"progress": p, "lint": f} for p, f in rows]
    shaper = MultiplicativeProgress(soft={"lint": (0.5, 2)})
    assert paid(shaper, episode(infos)) == pytest.approx([0.05, 0.05, 0.05, 0.1, -0.2, 0.3])
    high = MultiplicativeProgress(soft={"lint": (0.5, 2)}, high_water=True)
    assert paid(high, episode(infos)) == pytest.approx([0.05, 0.05, 0.05, 0.1, 0.0, 0.1])
    for wrong in ({"soft": {"a": 1.5}}, {"soft": {"a": (0.5, -1)}}, {"soft": {"a": "x"}}, {"hard": {"a": True}}):
        with pytest.raises(ValueError, match="multiplicative_progress"):
            MultiplicativeProgress(**wrong)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans(), st.floats(0, 1)), min_size=2, max_size=8))
def test_penalties_only_take(rows):
    infos = [{"progress": p, "flag": f, "share": s} for p, f, s in rows]
    free = paid(MultiplicativeProgress(), episode(infos))
    assert free.sum() == pytest.approx(rows[-1][0] - rows[0][0])
    both = paid(MultiplicativeProgress(soft={"flag": 0.5, "share": None}), episode(infos))
    other = paid(MultiplicativeProgress(soft={"share": None, "flag": 0.5}), episode(infos))
    assert both == pytest.approx(other) and (np.abs(both) <= np.abs(free) + 1e-12).all()
    assert (paid(MultiplicativeProgress(soft={"share": None}, high_water=True), episode(infos)) >= 0).all()


# -- gated bonus ---------------------------------------------------------------------------------
def test_r1_reward_of_the_card():
    for fmt, acc, cons, total in ((1, 1, 1, 2.0), (1, 1, -1, 1.0), (1, 0, 1, 0.5), (0, 1, 0, 1.0)):
        traj = episode([{}, {"consistent": cons}], {"format": [0.5 * fmt], "outcome": [float(acc)]})
        assert paid(GatedBonus(), traj) == pytest.approx([total])


def test_gated_bonus_by_hand():
    # 2 earned, verdicts 1 and .5 with weights .25 and 1: 2 + 2 * (.25 + .5)
    traj = episode([{}, {"plan": 1.0, "tools": 0.5}], {"score": [2.0]})
    assert paid(GatedBonus(gate="score", bonus={"plan": 0.25, "tools": 1.0}), traj) == pytest.approx([3.5])
    stack = Stack([GatedBonus()])
    lost = episode([{}, {"consistent": None}], {"outcome": [1.0]})  # the judge failed
    assert stack.run([lost])[0].rewards == pytest.approx([1.0]) and stack.stats()["gated_bonus/unanswered"] == 1
    with pytest.raises(ValueError, match="no term is called 'outcome'"):
        paid(GatedBonus(), episode([{}, {}]))
    with pytest.raises(ValueError, match="gated_bonus: setting 'bonus'"):
        GatedBonus(bonus={"x": "y"})


@given(st.floats(-1, 1))
def test_nothing_earned_nothing_added(verdict):
    traj = episode([{}, {"consistent": verdict}], {"format": [0.3], "outcome": [0.0]})
    assert paid(GatedBonus(), traj) == pytest.approx([0.3])


# -- hybrid --------------------------------------------------------------------------------------
def test_hybrid_by_hand():
    asked = []

    def similar(t):
        asked.append(t.info)
        return 0.8 if t.info["answer"] else None

    def run(shaper, **info):
        return paid(shaper, episode([{"verifiable": True}, {"verifiable": True}, info], {"env": [0.0, 1.0]}))

    shaper = HybridReward(surrogate=similar, weight=0.5)
    assert run(shaper, verifiable=True, answer="a") == pytest.approx([0, 1]) and not asked
    assert run(shaper, verifiable=False, answer="a") == pytest.approx([0, 1.4]) and len(asked) == 1
    stack = Stack([shaper])
    none = episode([{"verifiable": False}, {"verifiable": False, "answer": ""}], {"env": [1.0]})
    assert stack.run([none])[0].rewards == pytest.approx([1.0])
    assert stack.stats() == {"hybrid_reward/asked": 1, "hybrid_reward/unanswered": 1}
    assert run(HybridReward(), verifiable=False, similarity=0.25) == pytest.approx([0, 1.25])
    with pytest.raises(MissingFact, match="verifiable"):
        run(HybridReward())
    with pytest.raises(ValueError, match="hybrid_reward: surrogate"):
        HybridReward(surrogate=3)
