"""The student: learns a judge's rule, says what it is sure of, is audited, and falls silent when it is wrong."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.wrappers.scorers import Question, Reply, serve
from milepost.wrappers.scorers.student import REPLAY, Student, _features, new_lines

pytestmark = pytest.mark.core
COLOURS, THINGS = ("red", "green", "blue"), ("key", "door", "lamp", "box")


def question(rng, goals=("red key", "blue lamp")):
    """Something of a colour is taken in a room where other things lie."""
    colour, thing = rng.choice(COLOURS), rng.choice(THINGS)
    return Question(
        goals, "take things", "a room", f"take {colour} {thing}", f"You take the {colour} {thing}.", "a room"
    )


def rule(q):
    return {g: float(f"the {g}." in q.message) for g in q.subgoals}


def taught(student, rng, lessons, teacher=rule):
    for _ in range(lessons):
        q = question(rng)
        student.learn(q, teacher(q))
    return student


def agreement(student, rng, n=100):
    """(share of questions that it answers, share of these that are right)"""
    said = [(student.answer(q), rule(q)) for q in (question(rng) for _ in range(n))]
    spoken = [(a, b) for a, b in said if a is not None]
    right = sum(all((a[g] >= 0.5) == b[g] for g in b) for a, b in spoken)
    return len(spoken) / n, right / len(spoken) if spoken else 1.0


def test_it_learns_a_rule_and_says_only_what_it_is_sure_of():
    rng = np.random.default_rng(0)
    student = Student(min_lessons=100, audit=0.0)
    taught(student, rng, 99)
    assert agreement(student, rng) == (0.0, 1.0)  # not before it has had its lessons
    taught(student, rng, 101)
    spoken, right = agreement(student, rng)
    assert spoken > 0.9 and right == 1.0
    unheard = question(rng)._replace(message="A goblin laughs.", action="wait")
    assert Student(min_lessons=1).answer(unheard) is None


def test_sub_goals_are_told_apart_by_pairs_of_their_words_and_what_is_new():
    # "open" and "closed" are equally common and only the pair with the sub-goal says which is right
    rng = np.random.default_rng(1)
    student = Student(min_lessons=50, audit=0.0)
    goals = ("door open", "door closed")

    def ask(state):
        return Question(goals, "", "a hall", "wait", "", f"a hall\nthe door is {state}")

    for _ in range(150):
        state = rng.choice(["open", "closed"])
        student.learn(ask(state), {g: float(g.endswith(state)) for g in goals})
    assert {g: p > 0.5 for g, p in student.answer(ask("open")).items()} == {"door open": True, "door closed": False}
    assert {g: p > 0.5 for g, p in student.answer(ask("closed")).items()} == {"door open": False, "door closed": True}


def test_it_falls_silent_when_the_teacher_changes_its_mind_and_may_come_back():
    rng = np.random.default_rng(2)
    student = taught(Student(min_lessons=50, audit=0.0), rng, 300)
    assert student.ready and agreement(student, rng)[0] > 0.9
    before = student.report()

    def opposite(q):
        return {g: 1.0 - p for g, p in rule(q).items()}

    lessons = 0
    while student.ready and lessons < 60:
        taught(student, rng, 1, opposite)
        lessons += 1
    assert lessons < 20 and student.report()["agreement"] < before["agreement"] == 1.0
    assert agreement(student, rng) == (0.0, 1.0)
    taught(student, rng, 1500, rule)
    assert student.ready and agreement(student, rng)[1] == 1.0


def test_a_random_share_goes_to_the_teacher():
    rng = np.random.default_rng(3)
    student = taught(Student(min_lessons=50, audit=0.3), rng, 300)
    q = question(rng)
    silent = sum(student.answer(q) is None for _ in range(1000))
    assert 250 < silent < 350
    student.audit = 1.0
    assert student.answer(q) is None


def test_what_the_teacher_leaves_out_is_learnt_as_not_reached():
    rng = np.random.default_rng(4)
    student = taught(Student(min_lessons=50, audit=0.0), rng, 200, lambda q: {g: 1.0 for g, p in rule(q).items() if p})
    spoken, right = agreement(student, rng)
    assert spoken > 0.9 and right == 1.0


def weights(seed, asked):
    rng = np.random.default_rng(5)
    student = Student(min_lessons=20, seed=seed)
    for _ in range(80):
        q = question(rng)
        for _ in range(asked):
            student.answer(q)
        student.learn(q, rule(q))
    return student._w


def test_it_is_bit_for_bit_reproducible_and_learns_the_same_however_often_it_is_asked():
    assert np.array_equal(weights(7, 0), weights(7, 0)) and np.array_equal(weights(7, 0), weights(7, 3))
    assert not np.array_equal(weights(7, 0), weights(8, 0))


@given(st.text(st.characters(codec=None, exclude_categories=())), st.text(), st.sampled_from([1, 7, 4096]))
def test_features_of_any_text_have_length_one_or_none(text, other, dim):
    at, value = _features(text, other, text, other, dim)
    assert np.linalg.norm(value) == pytest.approx(1.0) or not value.any()
    assert len(set(at.tolist())) == len(at) and all(0 <= i < dim for i in at)


def test_a_feature_by_hand():
    # one word "go" as the message, no sub-goal: tokens "m:go" and "m:*go", signs and places by crc32
    import zlib

    expected = np.zeros(64)
    for token in (b"m:go", b"m:*go"):
        code = zlib.crc32(token)
        expected[(code >> 1) % 64] += 1.0 if code & 1 else -1.0
    dense = np.zeros(64)
    at, value = _features("", "", "Go!", "", 64)
    dense[at] = value
    assert dense == pytest.approx(expected / np.linalg.norm(expected))


def test_what_is_new_are_lines_that_were_not_there():
    assert new_lines("a\nb", "b\nc\na\nd") == "c\nd" and new_lines("", "a") == "a" and new_lines("a", "") == ""


def test_old_lessons_go_when_there_is_no_room():
    student = Student(dim=16, replay=0)
    q = Question(("a",), "", "", "b", "", "")
    for i in range(REPLAY + 5):
        student.learn(q, {"a": float(i < REPLAY)})
    assert len(student._lessons) == REPLAY and [y for _, y in student._lessons[:6]] == [0.0] * 5 + [1.0]


@pytest.mark.parametrize(
    "setting",
    [{"min_lessons": 0}, {"dim": 1.5}, {"replay": True}, {"seed": -1}, {"confidence": 0.4}, {"audit": "much"},
     {"min_agreement": float("nan")}, {"rate": 0.0}, {"rate": float("inf")}],
    ids=str,
)  # fmt: skip
def test_settings_outside_their_range_are_refused_by_name(setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        Student(**setting)


# -- behind the service --------------------------------------------------------------------------
class Teacher:
    """Judges by the rule."""

    kinds, identity = ("question",), {"scorer": "rule"}

    def __init__(self):
        self.asked = 0

    def reply(self, batch):
        import json

        self.asked += len(batch)
        return [Reply(json.dumps(rule(q))) for q in batch]

    def read(self, raw, query):
        return query.parse(raw)


def numbered(rng, i):
    return question(rng)._replace(task=f"task {i}")  # no two questions are equal


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_student_spares_calls_and_is_audited(mode):
    teacher, rng = Teacher(), np.random.default_rng(0)
    s = serve({"scorer": teacher, "mode": mode, "student": {"min_lessons": 100, "audit": 0.1}})
    wrong = 0
    for i in range(400):
        q = numbered(rng, i)
        (said,) = s.ask([q])
        assert s.wait(5)
        wrong += said is not None and any((p >= 0.5) != rule(q)[g] for g, p in said.items())
    report = s.report()
    assert teacher.asked < 250 and report["student"] > 150 and wrong == 0
    assert report["student_audits"] > 5 and report["student_agreement"] > 0.9
    assert report["asked"] == report["hits"] + report["misses"] + report["student"]


def test_a_student_learns_from_kept_answers_and_is_silent_where_frozen(tmp_path):
    path, rng = str(tmp_path / "a"), np.random.default_rng(0)
    questions = [numbered(rng, i) for i in range(150)]
    first = Teacher()
    serve({"scorer": first, "cache": path}).ask(questions)
    second = Teacher()
    s = serve({"scorer": second, "cache": path, "student": {"min_lessons": 100, "audit": 0.0}})
    s.ask(questions)
    assert s.ask([numbered(rng, 999)]) != [None] and second.asked == 0 and s.stats["student"] == 1
    frozen = serve(
        {"scorer": second, "cache": path, "mode": "frozen", "on_miss": "default", "student": {"min_lessons": 1}}
    )
    frozen.ask(questions)
    assert frozen.ask([numbered(rng, 998)]) == [None]
