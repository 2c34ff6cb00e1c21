"""CM2: a judge that says which items of a checklist hold (``wrappers/step/cm2.py``)."""

import importlib.util
import json
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from milepost.wrappers import Checklist, MissingFact, Stack, Trajectory, shape
from milepost.wrappers.scorers import Reply, Service

_spec = importlib.util.spec_from_file_location("checklists", Path(__file__).with_name("checklists.py"))
checklists = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(checklists)
item = checklists.item
pytestmark = pytest.mark.core


class Scripted:
    """Says yes to the questions that stand in the state after the step; fails where it says so."""

    kinds = ("question",)
    identity = {"scorer": "scripted"}

    def __init__(self):
        self.seen = []

    def reply(self, batch):
        self.seen += batch
        if any("broken" in q.after for q in batch):
            raise RuntimeError("out of order")
        return [None if "silent" in q.after else Reply(self._one(q)) for q in batch]

    def _one(self, q):
        return "mumble" if "mumble" in q.after else json.dumps({g: g in q.after for g in q.subgoals})

    def read(self, raw, query):
        return query.parse(raw)


def spoken(texts, items, **infos):
    """An episode in words without any facts but the checklist."""
    obs = ["the task", *texts]
    every = [dict(infos) for _ in obs]
    every[0]["meta"] = {"checklist": items}
    return Trajectory(obs, ["act"] * len(texts), np.zeros(len(texts)), True, False, every)


ASKED = (item("a", 0.5, question="greets"), item("b", 0.5, 0, "a", question="books a flight"))


def judged(texts, items=ASKED, **settings):
    scorer = Scripted()
    stack = Stack([Checklist(judge=Service(scorer), emit="step", **settings)])
    return stack.run([spoken(texts, items)])[0].rewards, scorer, stack.stats()


def test_a_judge_is_asked_about_open_items_only():
    got, scorer, stats = judged(["greets", "nothing", "books a flight", "more"])
    assert got == pytest.approx([0.5, 0, 0.5, 0])
    assert [set(q.subgoals) for q in scorer.seen] == [
        {"greets", "books a flight"},
        {"books a flight"},
        {"books a flight"},
    ]
    assert scorer.seen[1].before == "greets" and {q.task for q in scorer.seen} == {"the task"}
    assert stats["checklist/judge/calls"] == 3 and stats["checklist/no answer"] == 0


@pytest.mark.parametrize("how", ["broken", "silent", "mumble"])
def test_a_judge_that_fails_ticks_nothing_off_and_is_counted(how):
    texts = [f"greets {how}", "books a flight", "greets", "books a flight, at last"]
    if how == "broken":
        with pytest.warns(UserWarning, match="checklist: the judge fails, and nothing is ticked off: out of order"):
            got, _, stats = judged(texts)
    else:
        got, _, stats = judged(texts)
    assert got == pytest.approx([0, 0, 0.5, 0.5]) and stats["checklist/no answer"] == 1


def test_a_judge_reads_the_calls_and_messages():
    scorer = Scripted()
    t = spoken(["x"], ASKED, tool_calls=({"name": "f", "arguments": {"x": 1}, "ok": True, "result": "42"},))
    t = Trajectory([0, 1], [7], t.rewards, True, False, t.infos)
    with pytest.raises(MissingFact, match="messages"):
        Stack([Checklist(judge=Service(scorer))]).run([t])
    t.infos[0]["messages"] = ({"role": "user", "content": "book it"},)
    t.infos[1]["messages"] = ({"role": "assistant", "content": "done"}, {"role": "user", "content": "greets"})
    assert Stack([Checklist(judge=Service(scorer))]).run([t])[0].rewards == pytest.approx([0.5])
    (q,) = scorer.seen
    assert (q.task, q.before, q.action) == ("user: book it",) * 2 + ("done",)
    assert q.after == "assistant: done\nuser: greets" and q.message == "f({'x': 1}): 42"


@pytest.mark.parametrize(("threshold", "yes"), [(0.5, 0.5), (0.6, 0.0)])
def test_a_yes_begins_at_the_threshold(threshold, yes):
    scorer = Scripted()
    scorer._one = lambda q: json.dumps({"greets": 0.5})  # of the other it says nothing: no
    stack = Stack([Checklist(judge=Service(scorer), threshold=threshold)])
    assert stack.run([spoken(["x"], ASKED)])[0].rewards == pytest.approx([yes])


def test_a_step_that_the_infrastructure_failed_at_is_not_judged():
    scorer = Scripted()
    stack = Stack([Checklist(judge=Service(scorer))])
    assert not stack.run([spoken(["greets"], ASKED, invalid=True)])[0].rewards.any()
    assert not scorer.seen and stack.stats()["checklist/no answer"] == 0


def test_a_judge_is_closed_by_whoever_made_it(monkeypatch):
    closed = []
    monkeypatch.setattr(Service, "close", lambda self: closed.append(self))
    mine = Service(Scripted())
    stacks = [Stack([Checklist(judge=judge)]) for judge in (mine, {"scorer": "predicate"})]
    for stack in stacks:
        stack.release()
    assert closed == [stacks[1].shapers[0]._service]
    Checklist(judge=mine).close()  # before it was ever used


def test_streams_that_step_together_are_one_batch():
    class Talk(gym.Env):
        observation_space, action_space = gym.spaces.Text(30), gym.spaces.Discrete(2)

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            self.n = int(self.np_random.integers(100))
            return f"talk {self.n}", {"meta": {"checklist": ASKED}}

        def step(self, a):
            return f"{'greets' if a else 'sulks'} {self.n}", 0.0, False, False, {}

    scorer = Scripted()
    batches = []
    scorer.reply = lambda batch: batches.append(len(batch)) or Scripted.reply(scorer, batch)
    env = shape(gym.vector.SyncVectorEnv([Talk] * 3), [Checklist(judge=Service(scorer), emit="step")])
    env.reset(seed=[1, 2, 3])
    assert env.step(np.array([1, 0, 1]))[1] == pytest.approx([0.5, 0, 0.5])
    assert env.step(np.array([1, 1, 0]))[1] == pytest.approx([0, 0.5, 0])
    assert batches == [3, 3]
    env.close()


def test_late_answers_are_paid_by_a_rerun():
    scorer = Scripted()
    service = Service(scorer, mode="async")
    stack = Stack([Checklist(judge=service, emit="step")])
    (first,) = stack.run([spoken(["greets", "books a flight"], ASKED)])
    assert service.wait(10) and stack.rerun([first])[0].rewards[0] == pytest.approx(0.5)
    assert service.wait(10) and stack.rerun([first])[0].rewards == pytest.approx(
        [0.5, 0.5]
    )  # what is open was asked anew
    service.close()
