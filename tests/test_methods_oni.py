"""ONI: rewards of captions by retrieval, by classification and by ranking (``wrappers/step/oni.py``)."""

import importlib.util
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.wrappers import CaptionReward, MissingFact, Stack, Trajectory, shape
from milepost.wrappers import conformance as C
from milepost.wrappers.scorers import Service
from milepost.wrappers.step.oni import above, layers

_spec = importlib.util.spec_from_file_location("talk", Path(__file__).with_name("talk.py"))
talk = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(talk)
GOAL, Scripted, Talk, episode, paid, check_lanes = (
    getattr(talk, n) for n in ("GOAL", "Scripted", "Talk", "episode", "paid", "check_lanes")
)
pytestmark = pytest.mark.core


def helpful(*words):
    """Says yes to captions with one of these words."""
    return Scripted(lambda q: {GOAL: any(w in q.message for w in words)})


# -- retrieval -----------------------------------------------------------------------------------
def test_oni_of_the_card():
    # a helpful caption seen three times, c_int .4 and b = 3: .4, .4 / 8, .4 / 27
    stack = Stack(layers(judge=Service(helpful("key"))))
    assert paid(stack, episode(["a key"] * 3)) == pytest.approx([0.4, 0.05, 0.0148148], abs=1e-7)
    # ranking with mu 1 and sigma 2: 2 is .5; .5 is -.25, above the floor; -1 is z = -1, below it
    assert [above(r, 1.0, 2.0, -0.5) for r in (2.0, 0.5, -1.0)] == [0.5, -0.25, 0.0]


def test_retrieval_by_hand():
    # coef .5; labels .9 and .2 given, the judge says yes to a door; c_ext 10 for the environment's 1, no counts (b = 0)
    caption = {"labels": {"a key": 0.9, "a wall": 0.2}, "judge": Service(helpful("door")), "coef": 0.5}
    out = paid(
        Stack(layers(10.0, 0.0, **caption)), episode(["a key", "a wall", "the door", "", "a key"], [0, 0, 0, 0, 1])
    )
    assert out.tolist() == [0.5, 0.0, 0.5, 0.0, 10.5]


def test_a_caption_costs_one_call_and_labels_are_memory():
    judge = helpful("key")
    stack = Stack([CaptionReward(judge=Service(judge))])
    for _ in range(3):
        paid(stack, episode(["a key", "a wall", "a key"]))
    assert [q.message for q in judge.asked] == ["a key", "a wall"]
    assert stack.shapers[0].known == {"a key": 1.0, "a wall": 0.0}
    other = helpful()  # it would say no: the labels are read first
    twin = Stack([CaptionReward(judge=Service(other))])
    twin.load_state_dict(stack.state_dict())
    assert paid(twin, episode(["a key"])) == pytest.approx([0.4]) and not other.asked
    twin.train(False)
    paid(twin, episode(["something new"]))
    assert [q.message for q in other.asked] == ["something new"]
    assert twin.shapers[0].known == stack.shapers[0].known  # asked, and not remembered: memory is read-only


@pytest.mark.parametrize("script", [lambda q: None, lambda q: "nonsense", lambda q: {"another": True}, lambda q: 1 / 0])
def test_a_judge_without_an_answer_pays_nothing_and_is_counted(script):
    stack = Stack([CaptionReward(judge=Service(Scripted(script)))])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out = paid(stack, episode(["a key", "a wall"], [0.0, 1.0]))
    assert out.tolist() == [0.0, 1.0] and stack.stats()["caption_reward/no answer"] == 2
    assert stack.shapers[0].known == {}


def test_the_annotator_never_blocks_and_labels_count_from_the_next_occurrence_on():
    gate = threading.Event()
    service = Service(Scripted(lambda q: {GOAL: True}, gate=gate), mode="async")
    env = shape(Talk(["a key"] * 3), [CaptionReward(judge=service)])
    env.stack.keep = env.stack.records = 100
    env.reset()
    first = env.step(0)[1]  # the judge hangs: nothing is paid, nothing waits
    gate.set()
    assert service.wait(10)
    assert [first, env.step(0)[1], env.step(0)[1]] == [0.0, 0.4, 0.4]
    (traj,) = env.stack.take()
    assert traj.rewards.tolist() == [0.0, 0.4, 0.4]  # what was handed out stays
    assert env.stack.rerun([traj])[0].rewards.tolist() == [0.4, 0.4, 0.4]  # late labels at their own steps
    env.close()


@given(st.lists(st.sampled_from(["a key", "a wall", ""]), min_size=1, max_size=30), st.floats(0, 2))
def test_one_caption_earns_at_most_zeta_in_an_episode(messages, coef):
    out = paid(Stack(layers(labels={"a key": 1.0}, coef=coef)), episode(messages))
    assert out.sum() <= coef * 1.2020569031595942 + 1e-9
    again = paid(Stack(layers(labels={"a key": 1.0}, coef=coef)), episode(messages))
    assert np.array_equal(out, again)


def test_an_empty_table_is_the_environments_reward_times_c_ext():
    out = paid(Stack(layers(0.1, labels={"never said": 1.0})), episode(["a", "b"], [1.0, 2.0]))
    assert out == pytest.approx([0.1, 0.2])


# -- classification ------------------------------------------------------------------------------
def test_a_student_speaks_after_its_lessons_of_captions_that_nobody_labelled():
    things = ["key", "door", "stair", "coin"]
    judge = Scripted(lambda q: {GOAL: "you find" in q.message})
    settings = {"source": "classification", "judge": Service(judge), "student": {"min_lessons": 40}}
    stack = Stack([CaptionReward(**settings)])
    lines = [f"{v} a {t} in room {n}" for t in things for n in "abcdef" for v in ("you find", "you miss")]
    assert not paid(stack, episode(lines[:39])).any()  # not ready
    paid(stack, episode(lines))
    assert len(judge.asked) == len(lines) == len(stack.shapers[0].known)
    stack.train(False)
    silent = Stack(
        [CaptionReward(source="classification", labels=dict(stack.shapers[0].known), student={"min_lessons": 40})]
    )
    new = ["you find a lamp in room z", "you miss a lamp in room z"]
    for s in (stack, silent):  # the labels alone make the same student
        assert paid(s, episode(new)).tolist() == [0.4, 0.0]
    twin = Stack([CaptionReward(**settings)])
    twin.load_state_dict(stack.state_dict())
    assert paid(twin, episode(new)).tolist() == [0.4, 0.0]


def test_learning_ends_at_max_labels():
    stack = Stack([CaptionReward(source="classification", judge=Service(helpful("a")), max_labels=2)])
    paid(stack, episode(["a", "b", "c", "d"]))
    assert list(stack.shapers[0].known) == ["a", "b"] and stack.shapers[0]._taught.report()["lessons"] == 2


# -- ranking -------------------------------------------------------------------------------------
def worth(text):
    return {"far": 0, "near": 1, "there": 2}.get(text.split()[-1], 0)


def ranked(**settings):
    judge = Scripted(lambda q: {GOAL: worth(q.after) > worth(q.before)})
    return judge, Stack([CaptionReward(source="ranking", judge=Service(judge), coef=1.0, **settings)])


def test_a_ranker_puts_captions_in_the_order_of_the_comparisons():
    judge, stack = ranked()
    traj = episode(["you are far", "you are near", "you are there"])
    assert not paid(stack, traj).any()  # nothing is compared yet
    for _ in range(3):
        metrics = stack.learn([traj])
    assert metrics["caption_reward/comparisons"] == 3 and metrics["caption_reward/accuracy"] == 1.0
    assert len(judge.asked) == 6  # three pairs in both orders, each once
    stack.train(False)
    # by symmetry of the design the three scores are -a, 0, a: mean 0, std a sqrt(2 / 3), so z is -1.22, 0, 1.22
    out = paid(stack, traj)
    assert out[0] == 0.0 and out[1] == pytest.approx(0.0, abs=0.35) and out[2] == pytest.approx(1.2, abs=0.15)
    before = stack.state_dict()["caption_reward"]["w"]
    assert stack.learn([traj]) == {} and np.array_equal(before, stack.shapers[0].w)
    twin = ranked()[1]
    twin.load_state_dict(stack.state_dict())
    twin.train(False)
    assert np.array_equal(paid(twin, traj), out)


def test_ties_and_a_judge_that_likes_what_comes_last_prefer_nothing():
    for script in (lambda q: {GOAL: False}, lambda q: {GOAL: True}):
        stack = Stack([CaptionReward(source="ranking", judge=Service(Scripted(script)))])
        stack.learn([episode(["a key", "a wall"])])
        assert [y for *_, y in stack.shapers[0].compared] == [0.5]
        assert (
            stack.shapers[0].w == pytest.approx(np.zeros(256), abs=1e-9) and not paid(stack, episode(["a key"])).any()
        )


def test_comparisons_that_come_late_are_taken_in_by_the_next_learning():
    gate = threading.Event()
    judge = Scripted(lambda q: {GOAL: worth(q.after) > worth(q.before)}, gate=gate)
    service = Service(judge, mode="async")
    stack = Stack([CaptionReward(source="ranking", judge=service)])
    traj = episode(["you are far", "you are there"])
    stack.learn([traj])
    assert stack.shapers[0].compared == []
    gate.set()
    assert service.wait(10)
    stack.learn([traj])
    stack.learn([traj])
    assert stack.shapers[0].compared == [("you are far", "you are there", 1.0)]
    service.close()


# -- settings and hosts --------------------------------------------------------------------------
@pytest.mark.parametrize(
    "settings, words",
    [
        ({}, "a judge, or labels"),
        ({"source": "ranking", "labels": {"a": 1.0}}, "a judge, or labels"),
        ({"source": "guess", "judge": "predicate"}, "setting 'source'"),
        ({"labels": {"a": 2.0}}, "from 0 to 1"),
        ({"labels": {"a": 1.0}, "coef": -1.0}, "coef = -1.0"),
        ({"labels": {"a": 1.0}, "coef": float("nan")}, "'coef' is nan"),
        ({"labels": {"a": 1.0}, "threshold": 1.0}, "threshold = 1.0"),
        ({"labels": {"a": 1.0}, "student": {"rate": 1.0}}, "student is of source"),
        ({"judge": "predicat"}, "did you mean 'predicate'"),
        ({"source": "classification", "judge": "predicate", "student": {"rates": 1}}, "rates"),
    ],
)
def test_caption_reward_refuses(settings, words):
    with pytest.raises((ValueError, TypeError), match=words):
        Stack([CaptionReward(**settings)])


def test_captions_are_facts_or_texts():
    with pytest.raises(MissingFact, match="'caption'"):
        paid(CaptionReward(labels={"a": 1.0}, key="caption"), episode(["a"]))
    assert paid(CaptionReward(labels={"state 1": 1.0}, key=""), episode(["a", "b"])).tolist() == [0.4, 0.0]
    with pytest.raises(ValueError, match="observation is int, a text is expected"):
        paid(CaptionReward(labels={"a": 1.0}, key=""), Trajectory([0, 1], [0], np.zeros(1), True, False, [{}, {}]))


JUDGE = {"scorer": "predicate", "patterns": {GOAL: "at [34]"}}


@pytest.mark.parametrize(
    "shaper",
    [
        CaptionReward(judge=JUDGE),
        CaptionReward(judge=JUDGE, source="classification", student={"min_lessons": 2}),
        CaptionReward(judge=JUDGE, source="ranking", pairs=3),
    ],
    ids=["retrieval", "classification", "ranking"],
)
def test_settings_conform(shaper):
    C.check_shaper(shaper, lambda x: C.facts_of(x) | {"message": f"at {x}"})


def test_a_vector_environment_pays_what_single_ones_pay():
    judge = {"scorer": "predicate", "patterns": {GOAL: "open|pick"}}
    check_lanes(lambda: layers(labels={"You pick up the lamp.": 1.0}, judge=judge))
