"""CM2: the advantage of each turn (``wrappers/group/turn_centered.py``)."""

import importlib.util
import json
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.wrappers import Checklist, Stack, Trajectory, TurnCentered, load, shape
from milepost.wrappers import conformance as C

_spec = importlib.util.spec_from_file_location("checklists", Path(__file__).with_name("checklists.py"))
checklists = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(checklists)
TWO, episode, paid, told = checklists.TWO, checklists.episode, checklists.paid, checklists.told
pytestmark = pytest.mark.core


def rollouts(rows, turns=None, failed=()):
    """Episodes by their rewards; ``failed`` are (episode, step)."""
    out = []
    for i, row in enumerate(rows):
        infos = [{} for _ in range(len(row) + 1)]
        for k, info in enumerate(infos):
            if turns is not None:
                info["turn"] = [*turns[i], 99][k]
            if (i, k - 1) in failed:
                info["judge_failed"] = True
        out.append(Trajectory([0] * (len(row) + 1), [0] * len(row), np.array(row, float), True, False, infos))
    return out


def advantages(trajs, **settings):
    return [t.advantages for t in Stack([TurnCentered(**settings)]).run(trajs)]


def test_the_cards_turn_scores():
    scores = [[1], [0.6], [0.4], [0], [1]]
    assert np.concatenate(advantages(rollouts(scores))) == pytest.approx([0.4, 0, -0.2, -0.6, 0.4])
    assert not np.concatenate(advantages(rollouts(scores[:4]))).any()


def test_turns_by_hand():
    # turn 0: 1 + 1 of two steps, 0, 4: mean 2; turn 1: 3 and 5, mean 4, the third has none
    rows, turns = [[1, 1, 3], [0, 5], [4]], [[0, 0, 1], [0, 1], [0]]
    one, two, three = advantages(rollouts(rows, turns), min_holders=2)
    assert one == pytest.approx([0, 0, -1]) and two == pytest.approx([-2, 1]) and three == pytest.approx([2])
    one, two, three = advantages(rollouts(rows, turns), min_holders=3)
    assert one == pytest.approx([0, 0, 0]) and two == pytest.approx([-2, 0]) and three == pytest.approx([2])
    # the sample's std of 2, 0, 4 is 2
    one, two, three = advantages(rollouts(rows, turns), min_holders=3, use_std=True)
    assert two == pytest.approx([-1, 0], abs=1e-5) and three == pytest.approx([1], abs=1e-5)
    # nobody says which turn it is: the whole episode, 5, 5 and 4; or every step is one: 1, 0, 4 and 1, 5
    assert advantages(rollouts(rows), min_holders=2)[0] == pytest.approx([1 / 3] * 3)
    one, two, three = advantages(rollouts(rows), min_holders=2, turn="")
    assert one == pytest.approx([-2 / 3, -2, 0]) and two == pytest.approx([-5 / 3, 2])


def test_a_turn_goes_on_until_another_is_published():
    rows, turns = [[1, 1, 3], [0, 5, 0]], [[0, 1, 1], [0, 1, 1]]
    trajs = rollouts(rows, turns)
    del trajs[0].infos[2]["turn"]  # said before step 2, which goes on with turn 1
    one, two = advantages(trajs, min_holders=2)
    assert one == pytest.approx([0.5, -0.5, -0.5]) and two == pytest.approx([-0.5, 0.5, 0.5])
    t = episode(TWO, ["A", "", "C"], [0, 1, 1])
    del t.infos[2]["turn"]
    assert paid(t).sum() == pytest.approx(0.8)


def test_a_turn_without_a_judge_is_left_out():
    rows, turns = [[1, 1, 3], [0, 5], [4]], [[0, 0, 1], [0, 1], [0]]
    one, two, three = advantages(rollouts(rows, turns, failed=[(0, 1)]), min_holders=2)
    assert np.isnan(one[:2]).all() and one[2] == pytest.approx(-1)  # turn 1 has its two holders still
    assert two == pytest.approx([-2, 1]) and three == pytest.approx([2])  # 0 and 4
    one, two, three = advantages(rollouts(rows, turns, failed=[(0, 1)]), min_holders=3)
    assert np.isnan(one[:2]).all() and not two.any() and not three.any()


groups = st.lists(
    st.lists(st.tuples(st.floats(-3, 3), st.integers(0, 2)), max_size=5), min_size=1, max_size=7
)  # (reward, turn) of each step


@given(groups, st.integers(1, 5), st.booleans(), st.booleans(), st.randoms(use_true_random=False))
def test_centred_finite_and_moved_with_the_episodes(rows, holders, std, published, rnd):
    rows = [sorted(r, key=lambda x: x[1]) for r in rows]
    turns = [[x[1] for x in r] for r in rows] if published else None
    trajs = rollouts([[x[0] for x in r] for r in rows], turns)
    got = advantages(trajs, min_holders=holders, use_std=std)
    assert [a.shape for a in got] == [(len(r),) for r in rows] and all(np.isfinite(a).all() for a in got)
    for turn in range(3):
        one_each = [a[ts.index(turn)] for a, ts in zip(got, turns or []) if turn in ts]
        assert sum(one_each) == pytest.approx(0, abs=1e-6)
        assert len(one_each) >= holders or not any(one_each)
    order = rnd.sample(range(len(rows)), len(rows))
    for i, a in zip(order, advantages([trajs[i] for i in order], min_holders=holders, use_std=std)):
        assert a == pytest.approx(got[i], abs=1e-6)


@given(st.lists(st.floats(-3, 3), max_size=5), st.integers(1, 8), st.booleans())
def test_a_group_without_variance_and_a_group_of_one_get_0(row, n, std):
    got = advantages(rollouts([row] * n), min_holders=1, use_std=std)
    assert np.concatenate(got) == pytest.approx(np.zeros(n * len(row)), abs=1e-9)


def test_a_lone_environment_and_an_empty_batch():
    with pytest.raises(ValueError, match=r"stack\.run"):
        shape(gym.make("CartPole-v1"), [TurnCentered()])
    assert TurnCentered().group([]) == []


def test_the_two_halves_of_the_paper_together():
    good, bad = episode(TWO, ["AB", "", "C"], [0, 0, 1]), episode(TWO, ["A", "", ""], [0, 0, 1])
    out = Stack([Checklist(emit="turn"), TurnCentered()]).run([good, good, bad, bad, bad])
    # turn 0 is worth .5 and .3 (mean .38), turn 1 .5 and 0 (mean .2)
    assert out[0].advantages == pytest.approx([0.12, 0.12, 0.3]) and out[4].advantages == pytest.approx(
        [-0.08, -0.08, -0.2]
    )


@pytest.mark.parametrize("shaper", [TurnCentered(), TurnCentered(min_holders=1, use_std=True, turn="")], ids=repr)
def test_conformance(shaper):
    C.check_shaper(shaper, told)
    assert load(json.loads(json.dumps(shaper.spec()))).spec() == shaper.spec()


@pytest.mark.parametrize("settings", [{"min_holders": 0}, {"use_std": 1}])
def test_wrong_settings_are_one_sentence(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        TurnCentered(**settings)
