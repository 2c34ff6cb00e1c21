"""Robo-Dopamine: hops that a judge says (``wrappers/step/hop_judge.py``)."""

import importlib.util
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from milepost.wrappers import HopProgress, MissingFact, Stack, Trajectory
from milepost.wrappers import conformance as C
from milepost.wrappers.scorers import Service
from milepost.wrappers.step.hop_judge import FARTHER, NEARER, hop, hop_pairs

_spec = importlib.util.spec_from_file_location("talk", Path(__file__).with_name("talk.py"))
talk = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(talk)
Scripted, paid, check_lanes = talk.Scripted, talk.paid, talk.check_lanes
pytestmark = pytest.mark.core


def place(text):
    return float(text.split()[-1]) / 10.0


def hops(text="", **settings):
    def script(q):
        if q.kind == "rating":
            return {"grade": 1.0 + 4.0 * place(q.text)}
        h = hop(place(q.before), place(q.after))
        return {NEARER: max(h, 0.0), FARTHER: max(-h, 0.0)}

    service = Service(Scripted(script, ("question", "rating")))
    return HopProgress(judge=service, text="at", goal="target", gamma=1.0, **settings)


def walk(places, terminated=False):
    infos = [{"at": f"place {p}", "target": "place 10"} for p in places]
    n = len(places) - 1
    return Trajectory([0] * (n + 1), [0] * n, np.zeros(n), terminated, not terminated, infos)


@pytest.mark.parametrize("ask", ["question", "rating"])
@pytest.mark.parametrize(
    "views", [("incremental",), ("forward",), ("backward",), ("incremental", "forward", "backward")]
)
def test_a_judge_that_knows_the_progress_gives_the_progress(ask, views):
    # from 0 to .2, .6, .3, 1: hops .2, .5, -.5, 1; every view finds .2 .6 .3 1, of which the differences are paid
    out = paid(hops(ask=ask, views=views), walk([0, 2, 6, 3, 10]))
    assert out == pytest.approx([0.2, 0.4, -0.3, 0.7])


def test_judged_hops_with_consistency_by_hand():
    # views .6 from before, .6 from the start, .6 from the goal: they agree, w = 1: phi = 0 + 1/2 (.6 - 0 + .6 - 0)
    assert paid(hops(consistency=1.0), walk([0, 6])) == pytest.approx([0.6])
    assert not hops(consistency=1.0).policy_invariant and hops(views=("forward",)).policy_invariant


def test_streams_ask_about_all_their_pairs_at_once():
    shaper = hops()
    stack = Stack([shaper])
    batches = []
    model = stack.shapers[0]._judged.service.model
    reply, model.reply = model.reply, lambda batch: batches.append(len(batch)) or reply(batch)
    out = stack.run([walk([0, 2]), walk([0, 5])])
    assert [t.rewards[0] for t in out] == pytest.approx([0.2, 0.5]) and batches == [4]  # before and start are one pair


def test_a_judge_without_hops_leaves_the_progress_and_is_counted():
    shaper = HopProgress(judge=Service(Scripted(lambda q: {})), views=("forward",), text="at")
    stack = Stack([shaper])
    assert not paid(stack, walk([0, 5])).any() and stack.stats()["hop_progress/no answer"] == 1


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"judge": "predicate"}, "needs goal"),
        ({"judge": "predicate", "scorer": min, "goal": "g"}, "takes the place of a scorer"),
        ({"task": "t"}, "settings for a judge"),
        ({"judge": "predicate", "goal": "g", "ask": "rating"}, "not a rating"),
        ({"judge": "predicate", "goal": "g", "ask": "guess"}, "setting 'ask'"),
    ],
)
def test_judged_hops_refuse(settings, words):
    with pytest.raises(ValueError, match=words):
        Stack([HopProgress(**settings)])


def test_judged_hops_read_texts():
    with pytest.raises(MissingFact, match="'at'"):
        paid(hops(views=("forward",)), Trajectory([0, 0], [0], np.zeros(1), True, False, [{"target": ""}, {}]))
    with pytest.raises(ValueError, match="observation is int, no text"):
        paid(HopProgress(judge="predicate", views=("forward",)), walk([0, 1]))


def test_training_pairs_are_spread_over_labels_and_gaps():
    pairs = hop_pairs([10, 20], 200, np.random.default_rng(0))
    assert len(pairs) == 200 == len(set(pairs)) and sum(p.before == p.after for p in pairs) == 10
    for p in pairs:
        m = (10, 20)[p.episode]
        assert p.hop == pytest.approx(hop(p.before / m, p.after / m))
    gaps = Counter(min(int(abs(p.after - p.before) / (10, 20)[p.episode] * 4), 3) for p in pairs if p.before != p.after)
    assert min(gaps.values()) > 20  # of 190; drawn evenly from all pairs the largest gap would have about 8
    assert len(hop_pairs([1], 50, np.random.default_rng(0), zero=0.0)) == 2  # there are no more
    with pytest.raises(ValueError, match="hop_pairs: n = 0"):
        hop_pairs([3], 0, np.random.default_rng(0))


JUDGE = {"scorer": "predicate", "patterns": {NEARER: "at 4", FARTHER: "at 0"}}


@pytest.mark.parametrize(
    "shaper",
    [
        HopProgress(judge=JUDGE, views=("forward", "incremental"), text="message", task="t"),
        HopProgress(judge=JUDGE, goal="message", text="message", task="t", consistency=1.0),
    ],
    ids=["views", "consistency"],
)
def test_settings_conform(shaper):
    C.check_shaper(shaper, lambda x: C.facts_of(x) | {"message": f"at {x}"})


def test_a_vector_environment_pays_what_single_ones_pay():
    check_lanes(lambda: [HopProgress(judge="predicate", views=("forward",), gamma=1.0)])
