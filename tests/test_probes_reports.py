"""Reports on rewards: intent drift, rank correlation of a progress, budgets, corrected scores, the watch for hacking."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.wrappers import MissingFact, PotentialShaping, ScoreDelta, Stack, Trajectory, Transition
from milepost.wrappers.probes.budget import budget, correlation, flips, sweep
from milepost.wrappers.probes.hacking import CorrectedScore, HackingMonitor, corrected
from milepost.wrappers.probes.intent_drift import Drift, IntentDrift, overlap
from milepost.wrappers.probes.voc import both_ways, ranks, voc
from milepost.wrappers.scorers import Reply, Service

pytestmark = pytest.mark.core
unit = st.floats(0, 1)


class Graded:
    """Rates texts by a function."""

    kinds = ("rating",)

    def __init__(self, grade):
        self.grade, self.asked = grade, []
        self.identity = {"scorer": "graded"}

    def reply(self, batch):
        self.asked += batch
        said = [self.grade(q) for q in batch]
        return [None if g is None else Reply(json.dumps({"grade": g})) for g in said]

    def read(self, raw, query):
        return query.parse(raw)


# -- intent drift --------------------------------------------------------------------------------
def says(a, c, d):
    return lambda intent, answer: {"alignment": 10 * a, "compliance": 10 * c, "detail": 10 * d}


def test_intent_drift_of_the_card():
    assert IntentDrift(says(0.8, 0.5, 0.9)).score("i", "a").score == pytest.approx(0.56)
    assert IntentDrift(says(0.8, 0.5, 0.9), gate=lambda a: True).score("i", "a").score == pytest.approx(0.78)
    assert IntentDrift(says(0, 1, 1)).score("i", "a").score == 0.0
    assert IntentDrift(says(0.8, 0.5, 0.9), use_alignment=False).score("i", "a").score == pytest.approx(0.70)


def test_intent_drift_by_hand():
    # out of 5: 4, 2, 3 are .8 .4 .6: .8 * .5 = .4; in a row instead of by name; the gate says no: .2
    probe = IntentDrift(lambda i, a: (4, 2, 3), scale=5.0, gate=lambda a: "no" in a)
    assert probe.score("i", "yes") == pytest.approx((0.8, 0.4, 0.6, 0.2, False))
    rows = [[Drift(1, 1, 1, 0.2), Drift(1, 1, 1, 0.8)], [Drift(1, 1, 1, 0.4)], []]
    report = probe.report(rows, threshold=0.4)
    assert report == pytest.approx((3, 0, (0.8 + 0.4 + 0.0) / 3, 2 / 3, pytest.approx((0.3, 0.8))))
    lost = [*rows, [Drift(1, 1, 1, 0.6), Drift(0, 0, 0, 0.0, True)]]
    assert probe.report(lost, 0.4).success_rate == 0.5 and probe.report(lost, 0.4).judge_failures == 1
    left = probe.report(lost, 0.4, failures="leave out")
    assert left.success_rate == pytest.approx(2 / 3) and left.by_turn == pytest.approx((0.4, 0.8))
    none = probe.report([])
    assert none.episodes == 0 and math.isnan(none.score) and none.by_turn == ()


@given(unit, unit, unit, unit)
def test_the_score_is_bounded_and_monotone(a, c, d, more):
    score = IntentDrift(says(a, c, d)).score("i", "a").score
    assert 0.0 <= score <= a + 1e-12
    for k in range(3):
        row = [a, c, d]
        row[k] = max(row[k], more)
        assert IntentDrift(says(*row)).score("i", "a").score >= score - 1e-12


@pytest.mark.parametrize(
    "judge",
    [
        lambda i, a: None,
        lambda i, a: 1 / 0,
        lambda i, a: (1, 2),
        lambda i, a: (11, 0, 0),
        lambda i, a: {"alignment": 1},
        lambda i, a: (float("nan"), 1, 1),
        lambda i, a: "safe",
        Graded(lambda q: None),
        Graded(lambda q: 9),
    ],
)
def test_a_failed_judge_scores_0_and_is_counted(judge):
    probe = IntentDrift(judge)
    assert probe.score("i", "a") == Drift(0.0, 0.0, 0.0, 0.0, True) and probe.judge_failures == 1
    report = probe.report([[probe.score("i", "a")]])
    assert report.judge_failures == 1 and report.score == 0.0


def test_a_scorer_of_ratings_is_asked_three_times_an_answer_in_one_batch():
    judge = Graded(lambda q: 5 if q.task.startswith("The answer deals") else 3)
    probe = IntentDrift(Service(judge))
    messages = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": "a"},
        {"role": "assistant", "content": "b"},
    ]
    out = probe.dialogue(messages, "find the shelf")
    assert [d.score for d in out] == [0.5, 0.5] and len(judge.asked) == 6
    assert {q.task for q in judge.asked} == {
        "The answer deals with this wish: find the shelf",
        "The answer does what this wish asks for: find the shelf",
        "The answer is detailed.",
    }


def test_the_stub_of_a_judge():
    assert overlap("Where is the old map?", "The map is in the old room.") == pytest.approx(
        {"alignment": 0.0, "compliance": 10.0, "detail": 0.7}  # no word of more than three letters in common
    )
    assert overlap("opening hours", "I would rather not speak about hours.")["compliance"] == 0.0
    assert overlap("opening hours", "The opening hours are long.")["alignment"] == 10.0
    assert overlap("", "")["compliance"] == 0.0


def test_intent_and_conversation_of_an_episode():
    said = ({"role": "assistant", "content": "one"}, {"role": "user", "content": "?"})
    probe = IntentDrift(says(1, 1, 0))
    t = Trajectory([0, 1], [0], np.zeros(1), True, False, [{"meta": {"intent": "i"}}, {"messages": said}])
    assert [d.score for d in probe.episode(t)] == [0.5]
    assert [d.score for d in probe.episode(t, role="user")] == [0.5]
    with pytest.raises(MissingFact, match="'intent'"):
        probe.episode(Trajectory([0, 1], [0], np.zeros(1), True, False, [{}, {"messages": said}]))
    with pytest.raises(MissingFact, match="'dialogue'"):
        probe.episode(Trajectory([0, 1], [0], np.zeros(1), True, False, [{}, {}], {"intent": "i"}))


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"scale": 0.0}, "scale is 0.0"),
        ({"scale": float("nan")}, "scale is nan"),
        ({"use_alignment": 1}, "use_alignment 1"),
        ({"judge": "milepost.wrappers.maths:EXACT"}, "judge is 10, a function"),
        ({"judge": {"scorer": "predicate"}}, "not a rating"),
        ({"gate": 3}, "gate is 3"),
        ({"tasks": {"detail": "x"}}, "tasks has"),
    ],
)
def test_intent_drift_refuses(settings, words):
    with pytest.raises(ValueError, match=words):
        IntentDrift(**settings)
    for wrong in ({"threshold": 2.0}, {"failures": "drop"}):
        with pytest.raises(ValueError, match="intent_drift"):
            IntentDrift().report([], **wrong)


# -- VOC -----------------------------------------------------------------------------------------
def test_voc_by_hand():
    assert voc([0.0, 0.3, 0.6, 0.97]) == 1.0 and voc([3, 2, 1]) == -1.0
    # ranks 0 2 1 3 against 0 1 2 3: 1 - 6 * 2 / (4 * 15) = .8
    assert voc([0.1, 0.5, 0.4, 0.9]) == pytest.approx(0.8)
    # ties: ranks 0 1.5 1.5 3; sums of squares 4.5 and 5, product 4.5: 4.5 / sqrt(22.5)
    assert ranks([1, 2, 2, 5]).tolist() == [0, 1.5, 1.5, 3] and voc([1, 2, 2, 5]) == pytest.approx(4.5 / 22.5**0.5)
    assert voc([0.5, 0.5]) == voc([1.0]) == voc([]) == 0.0
    with pytest.raises(ValueError, match="without NaN"):
        voc([0.0, float("nan")])


@given(st.lists(st.integers(-50, 50), min_size=2, max_size=20))
def test_voc_depends_on_the_order_alone(x):
    got = voc(x)
    assert -1.0 - 1e-12 <= got <= 1.0 + 1e-12
    assert voc([v**3 + 7 * v for v in x]) == pytest.approx(got) and voc(x[::-1]) == pytest.approx(-got)


def test_a_clock_is_found_out_by_the_reversed_episode():
    walks = [[0, 1, 2, 3], [0, 2, 3, 5, 6]]
    assert both_ways(lambda obs: obs, walks) == (1.0, -1.0, 2)
    assert both_ways(lambda obs: range(len(obs)), walks) == (1.0, 1.0, 2)  # counts steps
    for wrong, words in (((lambda obs: obs, []), "no episode"), ((lambda obs: [0.0], walks), "4 values are expected")):
        with pytest.raises(ValueError, match=words):
            both_ways(*wrong)


# -- budgets -------------------------------------------------------------------------------------
def traj(**terms):
    rows = {k: np.array(v, float) for k, v in terms.items()}
    n = len(next(iter(rows.values())))
    return Trajectory([0] * (n + 1), [0] * n, sum(rows.values()), True, False, [{}] * (n + 1), {}, rows)


def test_a_budget_by_hand():
    # win: 0 1 | 0 0, hint: .5 -.5 .5 | 1 -1, idle: nothing
    rows = [traj(win=[0, 0, 1], hint=[0.5, -0.5, 0.5], idle=[0, 0, 0]), traj(win=[0, 0], hint=[1, -1], idle=[0, 0])]
    b = budget(rows)
    assert b.returns == pytest.approx(1.5) and b.episodes == 2
    assert b["win"].total == 1.0 and b["win"].mean == 0.5 and b["win"].active == pytest.approx(1 / 5)
    # sizes: win 1, hint 3.5 of 4.5
    assert (b["win"].size, b["hint"].size, b["idle"].size) == pytest.approx((1 / 4.5, 3.5 / 4.5, 0.0))
    assert b["hint"].flips == 1.0 and math.isnan(b["win"].flips)
    # sums over episodes: win 1 0, hint .5 0, so with each other 1; idle is constant
    assert b["win"].correlation == pytest.approx(1.0) and math.isnan(b["idle"].correlation)
    assert b.warnings == (
        "hint wavers: 100% of its neighbouring values differ in sign",
        "idle is dead: it never paid anything",
    )
    assert "| hint | 0.5 | 0.25 | 0.7778 | 1 | 1 | 1 |" in b.table()
    with pytest.raises(KeyError, match="did you mean 'hint'"):
        b["hin"]


def test_a_term_that_pays_against_the_outcome_and_one_that_drowns_it_are_named():
    rows = [traj(win=[1.0], hack=[-20.0]), traj(win=[0.0], hack=[30.0]), traj(win=[0.5], hack=[4.0])]
    b = budget(rows, against="win")
    # win 1 0 .5 and hack -20 30 4: deviations .5 -.5 0 and -24.67 25.33 -.67: -25 / sqrt(.5 * 1250.67)
    assert b["hack"].correlation == pytest.approx(
        -25 / math.sqrt(0.5 * (24.6667**2 + 25.3333**2 + 0.6667**2)), abs=1e-4
    )
    assert [w.split(":")[0] for w in b.warnings] == ["hack is dominant", "hack pays against win"]
    for wrong in ({"against": "wn"}, {"dominant": 2.0}, {"opposed": -3.0}):
        with pytest.raises(ValueError, match="budget"):
            budget(rows, **wrong)
    with pytest.raises(ValueError, match="no episode"):
        budget([])


@given(
    st.lists(st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9)), min_size=1, max_size=6), min_size=1, max_size=5)
)
def test_a_budget_sums_to_the_return(episodes):
    rows = [traj(a=[x for x, _ in e], b=[y for _, y in e]) for e in episodes]
    b = budget(rows)
    assert sum(t.total for t in b.terms) == pytest.approx(b.returns, abs=1e-9)
    assert sum(t.size for t in b.terms) == pytest.approx(1.0) or all(t.size == 0 for t in b.terms)
    assert all(0.0 <= t.active <= 1.0 and not t.flips > 1.0 and not abs(t.correlation) > 1.0 for t in b.terms)


def test_the_budget_of_a_stack_shows_who_wavers():
    infos = [{"score": s, "max_score": 4.0, "progress": s / 4, "success": False} for s in (0.0, 1.0, 0.0, 1.0, 0.0)]
    t = Trajectory([0] * 5, [0] * 4, np.zeros(4), False, True, infos)
    out = Stack([ScoreDelta(), PotentialShaping(gamma=1.0)]).run([t])
    b = budget(out)
    assert [x.name for x in b.terms] == ["env", "score_delta", "potential_shaping"]
    assert b["env"].active == 0.0 and b["potential_shaping"].flips == 1.0 and b["potential_shaping"].total == 0.0
    assert flips([np.array([1.0, 0.0, -1.0, -1.0])]) == 0.5 and math.isnan(flips([np.zeros(3)]))
    assert math.isnan(correlation(np.array([1.0]), np.array([2.0])))


def test_a_sweep_is_a_map_of_what_a_shaper_adds():
    def at(before, after):
        info = {"progress": after, "before": {"progress": before}}
        return Transition(0, 0, 5.0, 0, False, False, info, {})

    grid = [at(0.0, 0.5), at(0.5, 0.0), at(0.2, 0.2)]
    assert sweep(PotentialShaping(gamma=0.5), grid) == pytest.approx([0.25, -0.5, -0.1])


# -- corrected scores ----------------------------------------------------------------------------
def test_the_corrected_score_of_the_card():
    assert corrected(0.87, 3.5) == pytest.approx(0.635)
    assert CorrectedScore((lambda s: 4, lambda s: 3.5, lambda s: 3))(["x"], [0.87]) == pytest.approx([0.635])


def test_corrected_scores_by_hand():
    # grades 5 and 1 (a scorer's 5 of 5 is 5): 3, so only the bias; then 2 alone, the other has none: .5 * -1 + .2
    score = CorrectedScore((lambda s: {"a": 1, "b": 2}.get(s), Graded(lambda q: 5 if q.text == "a" else None)))
    assert score(["a", "b", "c"], [0.9, 0.5, 1.0]) == [pytest.approx(0.2), pytest.approx(-0.3), None]
    assert score.stats == {"no answer": 3, "no quality": 1}
    assert CorrectedScore((lambda s: 4,), centre=2.0, bias=0.0)(["a"], [0.5]) == [1.0]
    broken = CorrectedScore((lambda s: 1 / 0, lambda s: 17, lambda s: "good"))
    assert broken(["a"], [1.0]) == [None] and broken.stats["no answer"] == 3
    for wrong, words in (
        (lambda: CorrectedScore(()), "no grader"),
        (lambda: CorrectedScore((3,)), "is no function"),
        (lambda: CorrectedScore(({"scorer": "predicate"},)), "not a rating"),
        (lambda: CorrectedScore((abs,), centre=math.nan), "centre is nan"),
        (lambda: score(["a"], []), "1 samples and 0 rewards"),
    ):
        with pytest.raises(ValueError, match=words):
            wrong()


@given(unit, st.floats(1, 5), st.floats(1, 5))
def test_more_quality_is_never_worse_and_3_is_the_bias(r, u, v):
    low, high = sorted((u, v))
    assert corrected(r, low) <= corrected(r, high) + 1e-12 and corrected(r, 3.0) == pytest.approx(0.2)


def test_the_watch_by_hand():
    watch = HackingMonitor(window=1, rise=0.1, fall=0.05)
    curve = [(0.1, 0.1), (0.4, 0.3), (0.5, 0.4), (0.55, 0.36), (0.7, 0.34)]
    alarms = [watch.add(k, r, s) for k, (r, s) in enumerate(curve)]
    # the best corrected score stands at 2; at 3 it fell by .04 only, at 4 by .06 while the reward rose by .2
    assert [a.hacked for a in alarms] == [False, False, False, False, True]
    assert alarms[-1] == (True, 2.0, pytest.approx(0.2), pytest.approx(0.06))
    assert watch.add(9, 0.9, None) == watch.alarm() and watch.skipped == 1 and len(watch.steps) == 5
    both = HackingMonitor(window=1)
    for k, x in enumerate((0.5, 0.4, 0.1)):  # both fall: the training fails, nobody cheats
        assert not both.add(k, x, x).hacked
    assert HackingMonitor().alarm() == (False, None, 0.0, 0.0)
    assert HackingMonitor(window=2).smooth([1.0, 3.0, 5.0]).tolist() == [1.0, 2.0, 4.0]


@given(st.lists(st.tuples(unit, st.floats(-1, 1)), max_size=12), st.integers(1, 4))
def test_a_reward_that_never_rises_is_never_called_hacked(rows, window):
    watch = HackingMonitor(window=window)
    falling = sorted((r for r, _ in rows), reverse=True)
    assert not any(watch.add(k, r, s).hacked for k, (r, (_, s)) in enumerate(zip(falling, rows)))


def test_the_watch_refuses():
    for wrong in ({"window": 0}, {"rise": -1.0}, {"fall": math.nan}):
        with pytest.raises(ValueError, match="hacking_monitor"):
            HackingMonitor(**wrong)
    watch = HackingMonitor()
    watch.add(3, 0.0, 0.0)
    for step, reward in ((3, 0.0), (2, 0.0), (4, math.nan)):
        with pytest.raises(ValueError, match="a later step and a finite reward"):
            watch.add(step, reward, 0.0)
