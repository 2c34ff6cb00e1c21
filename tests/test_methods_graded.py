"""RoboReward: a grade of the whole episode (``wrappers/episode/graded.py``)."""

import importlib.util
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.wrappers import GradedOutcome, MissingFact, Stack, Trajectory
from milepost.wrappers.scorers import Reply, Service

_spec = importlib.util.spec_from_file_location("talk", Path(__file__).with_name("talk.py"))
talk = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(talk)
episode, run, sums = talk.episode, talk.run, talk.sums
pytestmark = pytest.mark.core


class Judge:
    """Rates by the number in a text; raises at "broken" and mumbles at "mumble"."""

    kinds, identity = ("rating",), {"scorer": "test judge"}

    def reply(self, batch):
        return [None if "broken" in q.text else Reply(json.dumps({"grade": self.grade(q.text)})) for q in batch]

    @staticmethod
    def grade(text):
        return text.split()[-1] if "mumble" in text else float(text.split()[-1])

    def read(self, raw, query):
        return query.parse(raw)


def graded(*states, **last):
    """An episode of texts."""
    infos = [{} for _ in states]
    infos[-1] = infos[-1] | last
    n = len(states) - 1
    return Trajectory(list(states), list(range(n)), np.zeros(n), True, False, infos)


def test_roboreward_of_the_card():
    group = [graded("Task: x", f"now {g}", grade=g) for g in (1, 2, 3, 4, 5)]
    assert sums(GradedOutcome(), group) == sums(GradedOutcome(judge=Service(Judge())), group) == [0, 0.25, 0.5, 0.75, 1]


def test_grades_by_hand():
    between = [graded("Task: x", "y", grade=3.4), graded("Task: x", "y", grade=4.5)]
    assert sums(GradedOutcome(), between) == [0.5, 1.0]  # the nearest grade, a half rounds up
    assert sums(GradedOutcome(discrete=False, weight=2.0), between) == pytest.approx([1.2, 1.75])
    failing = [graded("Task: x", "y", grade=g) for g in (None, math.nan, 0, 7)]
    stack = Stack([GradedOutcome()])
    assert [float(t.rewards.sum()) for t in stack.run(failing)] == [0.0] * 4
    assert stack.stats() == {"graded_outcome/grades": 4, "graded_outcome/failures": 4}
    assert sums(GradedOutcome(on_fail=3), failing) == [0.5] * 4
    rewards = run(
        GradedOutcome(), [Trajectory(["a", "b", "c"], [0, 1], np.ones(2), True, False, [{}, {}, {"grade": 5}])]
    )
    assert list(rewards[0]) == [1.0, 2.0]


def test_a_judge_reads_the_final_state_or_the_episode():
    asked = []

    class Listening(Judge):
        def reply(self, batch):
            asked.extend(batch)
            return super().reply(batch)

    t = graded("Task: climb", "halfway 3", "top 5")
    for view in ("final", "episode", lambda t: f"steps {len(t)}"):
        stack = Stack([GradedOutcome(judge=Service(Listening()), view=view)])
        stack.run([t])
        stack.release()
    final, episode, own = asked
    assert (
        final.task == "Task: climb" and final.text == "top 5" and "halfway 3" in episode.text and own.text == "steps _"
    )
    stack = Stack([GradedOutcome(judge=Service(Judge()))])
    assert [
        float(x.rewards.sum()) for x in stack.run([graded("Task: x", "broken 5"), graded("Task: x", "mumble x")])
    ] == [0, 0]
    assert stack.stats()["graded_outcome/failures"] == 2
    shaper = stack.shapers[0]
    assert shaper.curve(graded("begin 1", "halfway 3", "top 5")) == pytest.approx([0, 0.5, 1])
    with pytest.raises(ValueError, match="a curve needs a judge"):
        Stack([GradedOutcome()]).shapers[0].curve(t)
    stack.release()


@given(st.lists(st.one_of(st.none(), st.floats(-2, 8)), min_size=1, max_size=6), st.integers(1, 5))
def test_laws_of_grades(grades, on_fail):
    got = sums(GradedOutcome(on_fail=on_fail), [graded("Task: x", "y", grade=g) for g in grades])
    assert set(got) <= {0.0, 0.25, 0.5, 0.75, 1.0}
    for g, r in zip(grades, got):
        assert (g is not None and 1 <= g <= 5) or r == (on_fail - 1) / 4
    known = sorted((g, r) for g, r in zip(grades, got) if g is not None and 1 <= g <= 5)
    assert [r for _, r in known] == sorted(r for _, r in known)


def test_graded_outcome_refuses_what_it_cannot_use():
    with pytest.raises(MissingFact, match=r"graded_outcome reads info\['grade'\]"):
        Stack([GradedOutcome()]).run([graded("a", "b")])
    with pytest.raises(ValueError, match="answers question; allowed: one that rates"):
        Stack([GradedOutcome(judge="predicate")])
    for wrong in ({"on_fail": 0}, {"on_fail": 6}, {"weight": math.inf}, {"view": "all"}, {"discrete": "yes"}):
        with pytest.raises(ValueError, match="graded_outcome"):
            GradedOutcome(**wrong)
