"""CALM: the table of judgements, discovered sub-goals and their names (``wrappers/step/calm_table.py`` and its kin)."""

import importlib.util
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.wrappers import JudgementTable, Stack, SubgoalOptions
from milepost.wrappers import conformance as C
from milepost.wrappers.scorers import Service
from milepost.wrappers.step.calm_discover import Found, discover, story
from milepost.wrappers.step.calm_judge import Judged, shares, table_of, view_of
from milepost.wrappers.step.calm_names import distinct
from milepost.wrappers.step.calm_table import read, write

_spec = importlib.util.spec_from_file_location("talk", Path(__file__).with_name("talk.py"))
talk = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(talk)
GOAL, Scripted, episode, paid, check_lanes = (
    getattr(talk, n) for n in ("GOAL", "Scripted", "episode", "paid", "check_lanes")
)
pytestmark = pytest.mark.core


KEY, DOOR = "pick up the key", "open the door"


def calm_script(q):
    if q.kind == "proposal":
        return {"subgoals": [KEY, "Pick up key", "dance", DOOR]}
    held = {KEY: "key" in q.message, DOOR: "door" in q.message, "dance": "dance" in q.message}
    return {g: held.get(g, False) for g in q.subgoals}


def annotator(**settings):
    service = Service(Scripted(calm_script, ("question", "proposal")), **settings)
    return {"judge": service, "subgoals": (KEY, DOOR), "view": "message", "task": "leave"}


def by_message(t):
    return t.info["message"]


# -- the table -----------------------------------------------------------------------------------
def test_calms_table_of_the_card():
    assert shares({"a": 4, "b": 2, "c": 1}) == {"a": 1.0, "b": pytest.approx(1 / 3), "c": 0.0}
    table = JudgementTable(table={"a": 4.0, "b": 2.0, "c": 1.0}, key=by_message, beta=1.0)
    assert paid(table, episode(["a", "b", "c", "d", "a"])) == pytest.approx([1.0, 1 / 3, 0.0, 0.0, 1.0])
    assert paid(JudgementTable(table={"a": 1.0}, key=by_message, once=True), episode(["a", "a"])).tolist() == [0.1, 0.0]


def test_a_table_learned_by_hand():
    stack = Stack([JudgementTable(**annotator(), key=by_message, beta=0.5)])
    first = episode(["a key", "key and door", "nothing", "a key"])
    assert not paid(stack, first).any()  # an empty table changes nothing
    # a key: 1 + 1, key and door: 2 (each sub-goal counts), nothing: 0
    assert stack.learn([first]) == {"judgement_table/keys": 3.0, "judgement_table/flagged": pytest.approx(2 / 3)}
    assert stack.shapers[0].counts == {"a key": 2.0, "key and door": 2.0, "nothing": 0.0}
    stack.learn([episode(["a key", "a key"])])
    # counts 4, 2, 0: shares 1, .5, 0
    assert paid(stack, first) == pytest.approx([0.5, 0.25, 0.0, 0.5])
    stack.train(False)
    assert stack.learn([first]) == {}
    twin = Stack([JudgementTable(**annotator(), key=by_message, beta=0.5)])
    twin.load_state_dict(stack.state_dict())
    assert np.array_equal(paid(twin, first), paid(stack, first))


def test_tables_count_transitions_or_sub_goals_and_live_in_files(tmp_path):
    judge = Judged(annotator()["judge"], (KEY, DOOR), view_of("message"), "leave", 0.5, False, Counter())
    rows = [episode(["key and door", "a key", "none"])]
    each, some = (table_of(rows, judge, by_message, count) for count in ("each", "any"))
    assert each == {"key and door": 2.0, "a key": 1.0, "none": 0.0}
    assert some == {"key and door": 1.0, "a key": 1.0, "none": 0.0} == table_of(rows, judge, by_message)
    path = tmp_path / "table.json"
    write(path, each)
    assert read(path) == each
    stack = Stack([JudgementTable(file=str(path), table={"a key": 3.0}, key=by_message, beta=1.0)])
    assert stack.shapers[0].counts == {"a key": 4.0, "key and door": 2.0, "none": 0.0}
    assert paid(SubgoalOptions(table=read(path), table_key=by_message, beta=1.0), rows[0]).tolist() == [1.0, 0.5, 0.0]
    for wrong in ("[1]", '{"a": -1}', '{"a": "x"}', "{"):
        path.write_text(wrong)
        with pytest.raises(ValueError, match=r"judgement_table: .*table\.json"):
            read(path)


@given(st.dictionaries(st.text(max_size=5), st.floats(0, 1e6), max_size=6))
def test_shares_are_shares(counts):
    out = shares(counts)
    assert list(out) == list(counts) and all(0.0 <= x <= 1.0 for x in out.values())
    if len(set(counts.values())) > 1:
        assert max(out.values()) == 1.0 and min(out.values()) == 0.0


@pytest.mark.parametrize(
    "settings, words",
    [
        ({}, "nothing to pay from"),
        ({"table": {"a": 1.0}, "beta": -0.1}, "beta = -0.1"),
        ({"table": {"a": -1.0}}, "count below 0"),
        ({"table": {"a": 1.0}, "subgoals": "guess"}, "subgoals is 'guess'"),
        ({"table": {"a": 1.0}, "count": "all"}, "setting 'count'"),
        ({"table": {"a": 1.0}, "key": 3}, "key is 3, a function"),
        ({"judge": "predicate", "view": "look"}, "view is 'look'"),
        ({"judge": {"scorer": "predicate", "mode": "async"}}, "mode 'async'"),
    ],
)
def test_judgement_table_refuses(settings, words):
    with pytest.raises(ValueError, match=words):
        Stack([JudgementTable(**settings)])


def test_settings_conform():
    judge = {"scorer": "predicate", "patterns": {GOAL: "at [34]"}}
    shaper = JudgementTable(judge=judge, subgoals=(GOAL,), view="message", task="t", once=True, count="any")
    C.check_shaper(shaper, lambda x: C.facts_of(x) | {"message": f"at {x}"})


def test_a_vector_environment_pays_what_single_ones_pay():
    check_lanes(lambda: [JudgementTable(table={"look": 1.0}, key=lambda t: str(t.action))])


# -- discovered sub-goals ------------------------------------------------------------------------
def test_names_that_say_the_same_are_one():
    assert distinct([KEY, "Pick up key", "picking up the keys", "pick up the lamp"]) == (KEY, "pick up the lamp")
    assert distinct(["the", "a", " "]) == ("the", "a")  # of fillers alone all words count
    stack = Stack([SubgoalOptions(**annotator() | {"subgoals": "discover"}, beta=0.5)])
    # proposed: key twice in other words, dance, door; the key is paid once
    assert paid(stack, episode(["a key", "door", "a key"])).tolist() == [0.5, 0.5, 0.0]


@given(st.lists(st.text(max_size=12), max_size=8))
def test_distinct_names_are_a_fixed_point(names):
    once = distinct(names)
    assert distinct(once) == once and set(once) <= set(names)


def test_sub_goals_are_discovered_from_episodes_that_succeed():
    judge = Judged(annotator()["judge"], "discover", view_of("message"), "leave", 0.5, False, Counter())
    win = [episode(m, last={"success": True}) for m in (["a key", "door"], ["a key", "dance", "door"])]
    lose = [episode(m, last={"success": False}) for m in (["a key"], ["dance"], ["dance"], ["wait"])]
    # of 2 successes: key 2, dance 1, door 2; of 4 failures: key 1, dance 2, door 0
    assert discover([*win, *lose], judge) == (Found(DOOR, 1.0, 0.0), Found(KEY, 1.0, 0.25), Found("dance", 0.5, 0.5))
    assert [f.name for f in discover([*win, *lose], judge, least=0.6)] == [DOOR, KEY]
    assert [f.name for f in discover([*win, *lose], judge, limit=1)] == [DOOR]
    with pytest.raises(ValueError, match="none of 4 episodes"):
        discover(lose, judge)
    told = story(episode(["a key"]))
    assert told == "state 0\n> act 0 a key"
    asked = [q.task for q in judge.service.model.asked if q.kind == "proposal"]
    assert any("> act 1 door" in t for t in asked)
