"""MatchTIR: tool calls matched to a reference trace, and its advantage of two levels."""

import itertools
import json

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.wrappers import (
    DualLevelAdvantage,
    GatedRewardAccumulation,
    MissingFact,
    Scale,
    Stack,
    ToolMatch,
    Trajectory,
    load,
    shape,
)
from milepost.wrappers import conformance as C
from milepost.wrappers.episode.match_tir import greedy, largest, same, token_f1, transport
from milepost.wrappers.hosts.jsonl import read_jsonl, write_jsonl

pytestmark = pytest.mark.core


def call(name, **arguments):
    return {"name": name, "arguments": arguments, "ok": True, "result": ""}


def episode(turns, gold=(), rewards=None, terminated=True, first=None, **last):
    """Turns are lists of calls; ``last`` is what the last info says besides."""
    infos = [{"reference": tuple(gold)} | (first or {}), *({"tool_calls": tuple(t)} if t else {} for t in turns)]
    infos[-1] = infos[-1] | last
    r = np.zeros(len(turns)) if rewards is None else np.array(rewards, float)
    return Trajectory([0] * len(infos), [0] * len(turns), r, terminated, not terminated, infos)


def paid(t, *layers, **settings):
    return Stack(layers or [ToolMatch(**settings)]).run([t])[0].rewards


def advantages(rows, **settings):
    trajs = [
        Trajectory([0] * (len(r) + 1), [0] * len(r), np.array(r, float), True, False, [{}] * (len(r) + 1)) for r in rows
    ]
    return [t.advantages for t in Stack([DualLevelAdvantage(**settings)]).run(trajs)]


PARIS = (call("search", q="paris", n=3), call("weather", city="Paris"))
TURNS = [[call("search", q="paris", n=5)], [call("weather", city="Paris", units="C"), call("search", q="london")], []]
ANSWER = {"first": {"reference_answer": "eiffel tower"}, "answer": "The Eiffel Tower"}


# -- golden: rewards -----------------------------------------------------------------------------
def test_the_cards_example():
    t = episode(TURNS, PARIS, [0, 0, 0.8])
    assert paid(t) == pytest.approx([0.75, 0.4167, 0.8], abs=1e-4)
    assert paid(t, unmatched=-0.2) == pytest.approx([0.75, 0.3167, 0.8], abs=1e-4)
    m = Stack([ToolMatch(assignment="ot")]).shapers[0]
    s = np.array([[m.similarity(c, g) for g in PARIS] for turn in TURNS for c in turn])
    assert s == pytest.approx(np.array([[0.75, 0], [0, 0.8333], [0.375, 0]]), abs=1e-4)
    assert m.worth(s) == pytest.approx([0.2447, 0.2778, 0.0651], abs=1e-4)
    assert paid(t, assignment="ot") == pytest.approx([0.2447, (0.2778 + 0.0651) / 2, 0.8], abs=1e-4)


def test_the_cards_answer_is_worth_its_f1():
    assert token_f1("The Eiffel Tower", "eiffel tower") == pytest.approx(0.8)
    t = episode(TURNS, PARIS, **ANSWER)
    assert paid(t, final="answer_f1") == pytest.approx([0.75, 0.4167, 0.8], abs=1e-4)
    wages = episode(TURNS, PARIS, [5, 5, 5], **ANSWER)  # the paper's: nothing pays beside
    assert paid(wages, Scale(0.0), ToolMatch(final="answer_f1")) == pytest.approx([0.75, 0.4167, 0.8], abs=1e-4)
    assert paid(wages, final="answer_f1") == pytest.approx([5.75, 5.4167, 5.8], abs=1e-4)


def test_greedy_is_not_the_best():
    s = np.array([[0.9, 0.8], [0.85, 0.1]])
    m = Stack([ToolMatch(assignment="greedy"), ToolMatch()]).shapers
    assert m[0].worth(s) == pytest.approx([0.9, 0.1]) and m[1].worth(s) == pytest.approx([0.8, 0.85])


def test_an_example_by_hand():
    # to A{x: 1}: a{x: 1, z: 0} names 1/2, one value: (1 + 1/2 + 1)/3 = 5/6, and a{} names 0, no value: 1/3
    # to B{}: B{} names 1: 2/2 = 1, and b{y: 2} names 0: 1/2; C{} is worth 0. So turn 1 has 1 and a call without partner,
    # turn 2 has 5/6 and two of them
    gold = (call("A", x=1), call("B"))
    t = episode([[call("B"), call("b", y=2)], [call("a", x=1, z=0), call("a"), call("C")]], gold)
    assert paid(t) == pytest.approx([1 / 2, 5 / 18])
    assert paid(t, unmatched=-0.3) == pytest.approx([(1 - 0.3) / 2, (5 / 6 - 0.6) / 3])
    assert paid(t, assignment="greedy") == pytest.approx([1 / 2, 5 / 18])


def test_transport_by_hand():
    # of one reference call every call has its share 1/m; one call has 1/n of each. Two and two, worth a = reg ln 3 where they
    # fit: exp(a / reg) = 3 against 1, so the plan is 3/8 and 1/8
    m = Stack([ToolMatch(assignment="ot")]).shapers[0]
    assert m.worth(np.array([[0.5], [1.0]])) == pytest.approx([0.25, 0.5])
    assert m.worth(np.array([[0.5, 1.0]])) == pytest.approx([0.75])
    a = 0.1 * np.log(3)
    assert transport(np.diag([a, a]), 0.1, 50) == pytest.approx(np.array([[3, 1], [1, 3]]) / 8)
    assert m.worth(np.diag([a, a])) == pytest.approx([3 / 8 * a] * 2)


@pytest.mark.parametrize(
    ("made", "gold", "s"),
    [
        (call("t", x=True), call("t", x=1), 2 / 3),  # JSON's true is not 1
        (call("t", x=1.0), call("t", x=1), 1.0),
        (call("t"), call("t", x=None), 1 / 3),  # a value that is left out is not null
        (call("t", x=[1, {"y": 2}]), call("t", x=[1, {"y": 2}]), 1.0),
        (call("T"), call("t"), 1.0),
        (call("u"), call("t"), 0.0),
    ],
)
def test_what_counts_as_equal(made, gold, s):
    assert Stack([ToolMatch()]).shapers[0].similarity(made, gold) == pytest.approx(s)


def test_equality_of_values_is_a_setting():
    t = episode([[call("t", x="Paris ")]], [call("t", x="paris")])
    assert paid(t) == pytest.approx([2 / 3])
    assert paid(t, equal=lambda a, b: same(a.strip().lower(), b.strip().lower())) == pytest.approx([1.0])


@pytest.mark.parametrize(
    ("answer", "gold", "f1"), [("", "a", 0), (None, "a", 0), ("a, b!", "B a", 1), ("a a b", "a", 2 / 3), ("c", "d", 0)]
)
def test_f1_of_answers(answer, gold, f1):
    assert token_f1(answer, gold) == pytest.approx(f1)


# -- properties: assignments -----------------------------------------------------------------------
def brute(s):
    """The largest sum over all ways to give columns to rows, by sets of columns that are taken."""
    best = {0: 0.0}
    for row in s:
        new = dict(best)
        for taken, x in best.items():
            for j, y in enumerate(row):
                if not taken >> j & 1:
                    new[taken | 1 << j] = max(new.get(taken | 1 << j, 0.0), x + y)
        best = new
    return max(best.values())


def total(s, partner):
    held = partner[partner >= 0]
    assert len(set(held)) == len(held)
    return sum(s[i, j] for i, j in enumerate(partner) if j >= 0)


def matrices(most=4, entries=None):
    entries = entries or st.one_of(st.floats(0, 1), st.integers(0, 4).map(lambda x: x / 4))  # ties too
    shapes = st.tuples(st.integers(1, most), st.integers(1, most))
    return shapes.flatmap(lambda x: st.lists(entries, min_size=x[0] * x[1], max_size=x[0] * x[1]).map(
        lambda v: np.array(v).reshape(x)
    ))  # fmt: skip


@given(matrices())
def test_the_assignment_is_the_best_that_there_is(s):
    assert total(s, largest(s)) == pytest.approx(brute(s), abs=1e-12)
    assert total(s, greedy(s)) <= brute(s) + 1e-12
    assert all(s[i, j] > 0 for p in (largest(s), greedy(s)) for i, j in enumerate(p) if j >= 0)


def test_the_assignment_is_the_best_of_all_on_many_random_tables():
    rng = np.random.default_rng(0)
    for k in range(400):
        s = rng.random(tuple(rng.integers(1, 8, 2)))
        s = np.round(5 * s) / 5 if k % 3 == 0 else s  # ties
        assert total(s, largest(s)) == pytest.approx(brute(s), abs=1e-12)


@given(matrices(12), st.randoms(use_true_random=False))
def test_large_assignments_beat_greedy_and_do_not_mind_the_order(s, rnd):
    best = total(s, largest(s))
    assert best >= total(s, greedy(s)) - 1e-12
    rows, columns = list(range(len(s))), list(range(s.shape[1]))
    rnd.shuffle(rows), rnd.shuffle(columns)
    moved = s[rows][:, columns]
    assert total(moved, largest(moved)) == pytest.approx(best)
    assert total(s.T, largest(s.T)) == pytest.approx(best)


@given(matrices(8), st.sampled_from([1e-3, 0.02, 0.1, 1.0, 50.0]), st.integers(1, 100))
def test_a_plan_shares_every_call_out_and_no_more(s, reg, iters):
    z = transport(s, reg, iters)
    assert (z >= 0).all() and z.sum(1) == pytest.approx(np.full(len(s), 1 / len(s)))
    worth = (z * s).sum(1)
    assert (worth <= 1 / len(s) + 1e-9).all() and worth.sum() <= 1 + 1e-9
    long = transport(s, max(reg, 0.1), 2000)
    assert long.sum(0) == pytest.approx(np.full(s.shape[1], 1 / s.shape[1]), abs=1e-6)


# -- properties: rewards ---------------------------------------------------------------------------
values = st.one_of(
    st.integers(0, 2), st.booleans(), st.none(), st.sampled_from("xy"), st.lists(st.integers(0, 1), max_size=2)
)
calls = st.builds(
    lambda name, arguments: call(name, **arguments),
    st.sampled_from(["go", "Go", "look"]),
    st.dictionaries(st.sampled_from("abc"), values, max_size=3),
)
traces = st.lists(calls, max_size=5)
turns = st.lists(st.lists(calls, max_size=3), min_size=1, max_size=5)
kinds = st.sampled_from(["hungarian", "greedy", "ot"])


@given(calls, calls)
def test_similarity_is_1_for_the_same_call_and_lies_between_0_and_1(a, b):
    m = Stack([ToolMatch()]).shapers[0]
    assert m.similarity(a, a) == pytest.approx(1.0) and 0 <= m.similarity(a, b) <= 1 + 1e-12
    assert (m.similarity(a, b) == 0) == (a["name"].lower() != b["name"].lower())


@given(turns, traces, kinds, st.randoms(use_true_random=False))
def test_the_order_of_the_reference_does_not_matter(made, gold, kind, rnd):
    moved = rnd.sample(gold, len(gold))
    assert (paid(episode(made, gold), assignment=kind) == paid(episode(made, moved), assignment=kind)).all()


def test_nor_where_it_would_decide_a_tie():
    made, gold = [[call("t", z=1)], [call("t", y=1)]], [call("t", x=0, z=0), call("t", y=0, z=0)]
    one, two = (paid(episode(made, g), assignment="greedy") for g in (gold, gold[::-1]))
    assert one.tolist() == two.tolist()


@given(
    st.lists(st.lists(calls, min_size=1, max_size=3), min_size=1, max_size=4), st.sampled_from(["hungarian", "greedy"])
)
def test_the_same_trace_earns_1_in_every_turn(made, kind):
    gold = [c for turn in made for c in turn]
    assert paid(episode(made, gold), assignment=kind) == pytest.approx(np.ones(len(made)))


@given(turns, traces, kinds, st.booleans())
def test_an_episode_earns_at_most_one_for_each_reference_call(made, gold, kind, terminated):
    got = paid(episode(made, gold, terminated=terminated), assignment=kind)
    assert (got >= 0).all() and (got <= 1 + 1e-9).all() and got.sum() <= (1 if kind == "ot" else len(gold)) + 1e-9
    assert not any(x for x, turn in zip(got, made) if not turn)


@given(turns, traces, st.floats(-1, 0))
def test_a_call_without_a_partner_earns_what_is_set_and_never_more(made, gold, unmatched):
    free, fined = paid(episode(made, gold)), paid(episode(made, gold), unmatched=unmatched)
    assert (fined <= free + 1e-12).all()
    assert paid(episode(made), unmatched=unmatched) == pytest.approx([unmatched if t else 0.0 for t in made])


@given(traces, traces, st.sampled_from(["hungarian", "greedy"]))
def test_the_first_of_equal_calls_is_the_one_that_counts(made, gold, kind):
    got = paid(episode([[c] for c in made + made + made], gold), assignment=kind)
    names = [json.dumps(c, sort_keys=True) for c in made] * 3
    for i, k in itertools.combinations(range(len(names)), 2):
        assert names[i] != names[k] or got[i] >= got[k]
    if made:
        assert paid(episode([[made[0]]] * 5, made[:1]), assignment=kind) == pytest.approx([1, 0, 0, 0, 0])


# -- hacks -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["hungarian", "greedy"])
def test_repeated_and_useless_calls_earn_nothing(kind):
    plain = paid(episode([[PARIS[0]], [PARIS[1]]], PARIS), assignment=kind)
    padded = [[PARIS[0]], *[[PARIS[0]]] * 40, [PARIS[1]], *[[call("noop")]] * 40]
    got = paid(episode(padded, PARIS), assignment=kind)
    assert got.sum() == pytest.approx(plain.sum()) == pytest.approx(2)
    assert np.flatnonzero(got).tolist() == [0, 41]
    beside = paid(episode([[PARIS[0], call("noop")], [PARIS[1]]], PARIS), assignment=kind)
    assert beside.sum() < plain.sum()  # in the same turn they cost


def test_transport_pays_padding_less_and_less():
    # the docstring's bound is 1 for the episode; useless calls take a share of it
    few, many = (paid(episode([[*PARIS], *[[call("noop")]] * n], PARIS), assignment="ot").sum() for n in (0, 40))
    assert many < few <= 1


def test_right_calls_that_lead_nowhere_are_vetoed_by_a_gate():
    t = episode([[c | {"ok": False}] for c in PARIS], PARIS, [0, 0])
    assert paid(t).sum() == pytest.approx(2)  # the docstring says so
    assert not paid(t, ToolMatch(), GatedRewardAccumulation()).any()


def test_empty_and_truncated_episodes():
    assert paid(episode([], PARIS)).shape == (0,) and paid(episode([], PARIS), assignment="ot").shape == (0,)
    t = episode([[PARIS[0]], []], PARIS, [0.5, 0], terminated=False, first={"reference_answer": "x"})
    assert paid(t, final="answer_f1") == pytest.approx([1.5, 0])  # no answer
    assert paid(episode([], PARIS, first={"reference_answer": "x"}), final="answer_f1").shape == (0,)


def test_calls_are_counted():
    stack = Stack([ToolMatch()])
    stack.run([episode(TURNS, PARIS), episode([[]], PARIS)])
    assert stack.stats() == {"tool_match/calls": 3, "tool_match/calls that match": 2}


def test_recorded_calls_are_paid_as_they_were(tmp_path):
    t = episode(TURNS, PARIS, [0, 0, 0.8])
    write_jsonl(tmp_path / "calls.jsonl", [t])
    (again,) = read_jsonl(tmp_path / "calls.jsonl")
    assert paid(again).tolist() == paid(t).tolist() == C.online(ToolMatch(), t).tolist()


def test_no_reference_is_named():
    with pytest.raises(MissingFact, match=r"tool_match reads info\['reference'\]"):
        Stack([ToolMatch()]).run([Trajectory([0, 0], [0], np.zeros(1), True, False, [{}, {}])])
    with pytest.raises(MissingFact, match="reference_answer"):
        paid(episode(TURNS, PARIS), final="answer_f1")


# -- golden: advantages ----------------------------------------------------------------------------
ROWS = [[0.75, 0.4167, 0.8], [0.375, 0, 0.2], [0.75, 0.8333, 1]]
MEAN = [[0.2537, 0.2021, 0.2857], [-1.1024, -1.0847, -1.1113], [0.8487, 0.8826, 0.8256]]


def test_the_cards_group():
    assert np.array(advantages(ROWS, combine="mean")) == pytest.approx(np.array(MEAN), abs=2e-4)
    assert np.array(advantages(ROWS)) == pytest.approx(2 * np.array(MEAN), abs=4e-4)


def test_a_group_by_hand_with_a_turn_that_one_episode_has_alone():
    # returns 1 and 2: A_g = -1 and 1 by the population's std 1/2. With gamma 1/2 the rests at turn 0 are 1 and 0 + 1 = 1, so
    # A_l is 0 there; turn 1 is reached by one episode, whose rest is 2
    settings = {"gamma": 0.5, "ddof": 0, "eps": 0.0}
    for more, want in (
        ({}, ([-1], [1, 1])),
        ({"combine": "mean"}, ([-0.5], [0.5, 0.5])),
        ({"alone": "raw"}, ([-1], [1, 3])),
    ):
        one, two = advantages([[1], [0, 2]], **settings, **more)
        assert one == pytest.approx(want[0]) and two == pytest.approx(want[1])


# -- properties: advantages ------------------------------------------------------------------------
groups = st.lists(st.lists(st.floats(-3, 3), max_size=5), min_size=1, max_size=6)


@given(groups, st.floats(0, 1), st.integers(0, 1), st.sampled_from(["zero", "raw"]), st.randoms(use_true_random=False))
def test_finite_for_every_group_and_moves_with_its_episodes(rows, gamma, ddof, alone, rnd):
    settings = {"gamma": gamma, "ddof": ddof, "alone": alone}
    got = advantages(rows, **settings)
    assert [a.shape for a in got] == [(len(r),) for r in rows] and all(np.isfinite(a).all() for a in got)
    order = rnd.sample(range(len(rows)), len(rows))
    for i, a in zip(order, advantages([rows[i] for i in order], **settings)):
        assert a == pytest.approx(got[i], abs=1e-6)


@given(groups, st.sampled_from(["sum", "mean"]))
def test_levels_are_centred(rows, combine):
    longest = max(map(len, rows))
    full = [r for r in rows if len(r) == longest]
    got = np.array(advantages(full, combine=combine)).reshape(len(full), longest)
    assert got.sum(0) == pytest.approx(np.zeros(longest), abs=1e-6)


@given(st.lists(st.floats(-3, 3), max_size=5), st.integers(1, 5))
def test_a_group_without_variance_and_a_group_of_one_get_0(row, n):
    assert not any(a.any() for a in advantages([row] * n))
    if n == 1:
        raw = advantages([row], alone="raw", gamma=1.0)[0]
        assert raw == pytest.approx(np.cumsum(row[::-1])[::-1], abs=1e-9)  # the code's: the rest itself


def test_a_lone_environment_and_an_empty_batch():
    with pytest.raises(ValueError, match=r"stack\.run"):
        shape(gym.make("CartPole-v1"), [DualLevelAdvantage()])
    assert DualLevelAdvantage().group([]) == []


def test_the_two_halves_of_the_paper_together():
    good, bad = episode([[PARIS[0]], [PARIS[1]]], PARIS, [0, 1]), episode([[call("noop")], [PARIS[1]]], PARIS, [0, 0])
    one, two = (t.advantages for t in Stack([ToolMatch(), DualLevelAdvantage()]).run([good, bad]))
    assert (one > 0).all() and (two < 0).all()


# -- conformance, settings -------------------------------------------------------------------------
def facts(state):
    made = ({"name": "go", "arguments": {"to": state}, "ok": True, "result": ""},)
    gold = ({"name": "go", "arguments": {"to": 3}}, {"name": "go", "arguments": {"to": 4, "by": "car"}})
    return C.facts_of(state) | {"reference": gold, "reference_answer": "3"} | ({"tool_calls": made} if state else {})


@pytest.mark.parametrize(
    "shaper",
    [
        ToolMatch(),
        ToolMatch(assignment="greedy", unmatched=-0.5),
        ToolMatch(assignment="ot", ot_reg=0.5, ot_iters=20),
        ToolMatch(final="answer_f1"),
        DualLevelAdvantage(),
        DualLevelAdvantage(gamma=1.0, combine="mean", ddof=0, alone="raw"),
    ],
    ids=repr,
)
def test_conformance(shaper):
    C.check_shaper(shaper, facts)
    assert load(json.loads(json.dumps(shaper.spec()))) == shaper


@pytest.mark.parametrize(
    ("make", "settings"),
    [
        (ToolMatch, {"assignment": "km"}),
        (ToolMatch, {"unmatched": 0.1}),
        (ToolMatch, {"unmatched": float("-inf")}),
        (ToolMatch, {"unmatched": -0.1, "assignment": "ot"}),
        (ToolMatch, {"ot_reg": 0.0}),
        (ToolMatch, {"ot_iters": 0}),
        (ToolMatch, {"final": "f1"}),
        (DualLevelAdvantage, {"gamma": 1.1}),
        (DualLevelAdvantage, {"combine": "max"}),
        (DualLevelAdvantage, {"ddof": 2}),
        (DualLevelAdvantage, {"eps": -1.0}),
        (DualLevelAdvantage, {"alone": "nan"}),
    ],
)
def test_wrong_settings_are_one_sentence(make, settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        make(**settings)
