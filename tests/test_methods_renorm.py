"""ReNorm: process scores that never count against the outcome."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.wrappers import MissingFact, ReNorm, Scale, Stack, Trajectory, load
from milepost.wrappers import conformance as C

pytestmark = pytest.mark.core


def episode(scores, success, rewards=None, terminated=True, most=None, key="process_score"):
    """``scores`` of all steps, the last one's too; ``most`` are their maxima."""
    infos = [{}, *({key: s} for s in scores)]
    for info, m in zip(infos[1:], most or ()):
        info["process_max"] = m
    infos[-1]["success"] = success
    r = np.zeros(len(scores)) if rewards is None else np.array(rewards, float)
    return Trajectory([0] * len(infos), [0] * len(scores), r, terminated, not terminated, infos)


def paid(t, *layers, **settings):
    return Stack(layers or [ReNorm(**settings)]).run([t])[0].rewards


# -- golden ----------------------------------------------------------------------------------------
def test_the_cards_example():
    assert paid(episode([0.8, 0.5, 0.9], True)) == pytest.approx([0.8, 0.5, 1])
    assert paid(episode([0.8, 0.5, 0.9], False)) == pytest.approx([-0.2, -0.5, 0])


def test_the_cards_scores_and_maxima():
    t = episode([3, 6, 0], False, most=[5, 5, 5])
    assert paid(t, maximum="process_max") == pytest.approx([0.6 - 1, -1, 0])
    assert paid(t, maximum="process_max", invalid="skip") == pytest.approx([0.6 - 1, 0, 0])
    assert paid(t, maximum=10.0) == pytest.approx([-0.7, -0.4, 0])


def test_an_example_by_hand():
    # beta 1/2, an outcome of 1/4 under another name, scores 1 and 3 of 4: 1/4 + 1/4 - 1/2 and 3/4 + 1/4 - 1/2, then 1/4
    t = episode([1, 3, 4], True, rewards=[7, 0, 2])
    t.infos[-1]["f1"] = 0.25
    settings = {"beta": 0.5, "maximum": 4.0, "outcome": "f1"}
    assert paid(t, **settings) == pytest.approx([0, 0.5, 0.25])
    assert paid(t, combine="add", **settings) == pytest.approx([7, 0.5, 2])
    assert paid(t, min_turns=4, **settings) == pytest.approx([0, 0, 0.25])
    assert paid(t, min_turns=4, combine="add", **settings) == pytest.approx([7, 0, 2])


def test_one_turn_has_the_outcome_alone():
    for won in (True, False):
        assert paid(episode([0.7], won)) == pytest.approx([float(won)])
        assert paid(episode([0.7], won), min_turns=1) == pytest.approx([float(won)])
    assert paid(episode([0.7], True, rewards=[0.3]), combine="add") == pytest.approx([0.3])


def test_the_papers_is_zero_beside_of_other_layers():
    t = episode([0.8, 0.5, 0.9], True, rewards=[5, 5, 5])
    assert paid(t) == pytest.approx([0.8, 0.5, 1])
    assert paid(t, Scale(0.2), ReNorm(combine="add")) == pytest.approx(
        [1.8, 1.5, 1]
    )  # the outcome is the environment's 1


# -- properties ------------------------------------------------------------------------------------
shares = st.lists(st.floats(0, 1), min_size=1, max_size=8)
anything = st.one_of(st.floats(), st.none(), st.integers(-2, 7), st.floats(0, 1))


@given(st.lists(anything, min_size=1, max_size=8), st.booleans(), st.sampled_from(["zero", "skip"]), st.booleans())
def test_no_score_whatever_outweighs_the_outcome(scores, won, invalid, terminated):
    got = paid(episode(scores, won, terminated=terminated), invalid=invalid)
    assert got.shape == (len(scores),) and np.isfinite(got).all() and (np.abs(got) <= 1).all()
    assert (got >= 0).all() if won else (got <= 0).all()
    assert got[-1] == won
    good, bad = paid(episode(scores, True), invalid=invalid).sum(), paid(episode(scores, False), invalid=invalid).sum()
    assert good >= 1 and bad <= 0


@given(shares, st.booleans(), st.floats(0, 1), st.data())
def test_a_better_score_never_earns_less(scores, won, better, data):
    k = data.draw(st.integers(0, len(scores) - 1))
    up = [*scores]
    up[k] = max(scores[k], better)
    assert (paid(episode(up, won)) >= paid(episode(scores, won))).all()


@given(shares, st.booleans())
def test_beta_0_is_the_plain_sum_and_beta_shifts_it(scores, won):
    plain = paid(episode(scores, won), beta=0.0)
    assert plain[:-1] == pytest.approx(np.array(scores[:-1]) + won) and plain[-1] == won
    for beta in (0.3, 1.0, 2.0):
        shift = beta if len(scores) > 1 else 0.0
        assert plain[:-1] - paid(episode(scores, won), beta=beta)[:-1] == pytest.approx(np.full(len(scores) - 1, shift))


@given(shares, st.booleans(), st.lists(st.floats(-2, 2), min_size=8, max_size=8))
def test_the_score_of_the_last_step_and_what_was_paid_before_do_not_matter(scores, won, rewards):
    t = episode(scores, won, rewards=rewards[: len(scores)])
    assert (paid(t) == paid(episode([*scores[:-1], 0.123], won))).all()
    added = paid(t, combine="add") - t.rewards
    assert added == pytest.approx([*paid(t)[:-1], 0], abs=1e-12)


# -- hacks -----------------------------------------------------------------------------------------
def test_going_on_costs_in_a_failed_episode_and_pays_in_a_successful_one():
    # what the docstring warns of
    assert paid(episode([0.5] * 80, False)).sum() == pytest.approx(-39.5)
    assert paid(episode([0.5] * 80, True)).sum() == pytest.approx(40.5)
    assert paid(episode([0.0] * 80, True)).sum() == pytest.approx(1)  # useless turns that are scored so


def test_swinging_and_perfect_scores_earn_nothing_without_success():
    assert paid(episode([0.0, 1.0] * 40, False)).sum() == pytest.approx(
        -40
    )  # 40 turns of 0, the last one is the outcome
    assert not paid(episode([1.0] * 80, False)).any()


@pytest.mark.parametrize("no_answer", [None, float("nan"), -0.1, 1.1, float("inf")])
def test_a_judge_that_fails_earns_nothing_and_is_counted(no_answer):
    for invalid, lost in (("zero", -1), ("skip", 0)):
        stack = Stack([ReNorm(invalid=invalid)])
        assert stack.run([episode([no_answer, 0.5, 0.5], False)])[0].rewards == pytest.approx([lost, -0.5, 0])
        assert stack.run([episode([no_answer, 0.5, 0.5], True)])[0].rewards == pytest.approx([0, 0.5, 1])
        assert stack.stats() == {"re_norm/scores": 4, "re_norm/invalid scores": 2}


@pytest.mark.parametrize("most", [0, -1, None, float("nan")])
def test_a_maximum_that_is_none_makes_the_score_invalid(most):
    assert paid(episode([0, 0], False, most=[most, 1]), maximum="process_max") == pytest.approx([-1, 0])


def test_empty_and_truncated_episodes():
    t = Trajectory([0], [], np.zeros(0), False, False, [{}])
    assert paid(t).shape == (0,) and paid(t, combine="add").shape == (0,)
    assert paid(episode([0.8, 0.5], False, terminated=False)) == pytest.approx([-0.2, 0])


def test_what_is_missing_is_named():
    t = episode([0.5, 0.5], True)
    for settings, key in (({"key": "quality"}, "quality"), ({"maximum": "best"}, "best"), ({"outcome": "won"}, "won")):
        with pytest.raises(MissingFact, match=rf"re_norm reads info\['{key}'\]"):
            paid(t, **settings)
    t.infos[-1]["success"] = float("nan")
    with pytest.raises(ValueError, match=r"the outcome info\['success'\] is nan"):
        paid(t)


# -- conformance, settings -------------------------------------------------------------------------
def facts(state):
    return C.facts_of(state) | {"process_score": state - 1, "process_max": 3}  # -1 is invalid


@pytest.mark.parametrize(
    "shaper",
    [
        ReNorm(),
        ReNorm(maximum="process_max", invalid="skip", combine="add"),
        ReNorm(beta=0.0, maximum=3.0, min_turns=1, outcome="progress"),
    ],
    ids=repr,
)
def test_conformance(shaper):
    C.check_shaper(shaper, facts)
    assert load(json.loads(json.dumps(shaper.spec()))) == shaper
    assert shaper.additive == (shaper.combine == "add")


@pytest.mark.parametrize(
    "settings",
    [
        {"beta": -0.1},
        {"beta": float("inf")},
        {"invalid": "drop"},
        {"min_turns": 0},
        {"maximum": 0.0},
        {"combine": "mean"},
    ],
)
def test_wrong_settings_are_one_sentence(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        ReNorm(**settings)
