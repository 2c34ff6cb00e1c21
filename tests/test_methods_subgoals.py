"""Sub-goals (CALM) and hop progress (Robo-Dopamine)."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.wrappers import (
    HopProgress,
    MissingFact,
    PotentialShaping,
    Stack,
    SubgoalOptions,
    Trajectory,
    Transition,
    load,
)
from milepost.wrappers.step.calm import table_key
from milepost.wrappers.step.hop_progress import advance, hop, trust

pytestmark = pytest.mark.core
unit = st.floats(0, 1)


def traj(rewards, terminated=True, obs=None, actions=None, **facts):
    """An episode; each fact is a list of T + 1 values."""
    n = len(rewards)
    infos = [{k: v[i] for k, v in facts.items()} for i in range(n + 1)]
    obs = obs or list(range(n + 1))
    return Trajectory(obs, actions or [0] * n, np.array(rewards, float), terminated, not terminated, infos)


def run(shaper, t):
    return Stack([shaper]).run([t])[0].rewards


def made(shaper):
    m = load(shaper)
    m.setup(np.random.default_rng(0))
    return m


def discounted(x, gamma):
    return float(np.sum(np.asarray(x) * gamma ** np.arange(len(x))))


def flags(*rows):
    """Truths at the reset and after each step: the names that hold."""
    return [{g: g in row.split() for g in ("key", "door")} for row in rows]


# -- CALM: golden ------------------------------------------------------------------------------
CARD = traj([0, 0, 0, 0, 0, 1], subgoals=flags("", "", "key", "key", "", "door", ""))


def test_calm_card():
    # classic card 1: key flagged at t = 2 and 3, door at 5, beta .5: once sums to 2.0, not once to 2.5
    assert run(SubgoalOptions(), CARD) == pytest.approx([0, 0.5, 0, 0, 0.5, 1])
    assert run(SubgoalOptions(once=False), CARD).sum() == pytest.approx(2.5)


def test_calm_card_table():
    # counts 4, 2, 1 are worth 1, 1/3, 0; an unknown key 0; the key is (observation, action)
    t = traj([0] * 4, obs=["a", "b", "c", "d", "e"], actions=[7] * 4)
    table = {"a\n7": 4, "b\n7": 2, "c\n7": 1}
    assert run(SubgoalOptions(beta=1.0, table=table), t) == pytest.approx([1, 1 / 3, 0, 0])


def test_calm_by_hand_weights_and_order():
    # the door is open at step 1, the key taken at step 2; ordered (key, door): both count at step 2, .5 (1 + 3) = 2
    t = traj([0, 0, 0], subgoals=flags("", "door", "key door", "key door"))
    weights = {"door": 3.0}
    assert run(SubgoalOptions(weights=weights), t) == pytest.approx([1.5, 0.5, 0])
    assert run(SubgoalOptions(weights=weights, ordered=True), t) == pytest.approx([0, 2.0, 0])


def test_calm_by_hand_potential():
    # beta .5, gamma .9, one reached at step 1, the other at 2, over at 3: .9 * .5, .9 * 1 - .5, 0 - 1; discounted sum 0
    t = traj([0, 0, 0], subgoals=flags("", "key", "key door", "key door"))
    out = run(SubgoalOptions(potential=True, gamma=0.9), t)
    assert out == pytest.approx([0.45, 0.4, -1.0]) and discounted(out, 0.9) == pytest.approx(0)
    cut = traj([0, 0, 0], terminated=False, subgoals=flags("", "key", "key door", "key door"))
    assert run(SubgoalOptions(potential=True, gamma=0.9), cut)[-1] == pytest.approx(0.9 - 1.0)  # kept at truncation


# -- CALM: properties --------------------------------------------------------------------------
names = st.sampled_from(["a", "b", "c"])
truths = st.lists(st.fixed_dictionaries({g: st.booleans() for g in "abc"}), min_size=1, max_size=10)


@given(truths, st.floats(0, 2), st.dictionaries(names, st.floats(0, 3)), st.booleans(), st.none() | st.floats(0, 2))
def test_calm_never_pays_more_than_the_sub_goals_or_the_cap(truth, beta, weights, ordered, cap):
    t = traj([0] * (len(truth) - 1), subgoals=truth)
    out = run(SubgoalOptions(beta=beta, weights=weights, ordered=ordered, cap=cap), t)
    most = beta * sum(weights.get(g, 1.0) for g in "abc" if not truth[0][g])
    assert (out >= 0).all() and out.sum() <= min(most, most if cap is None else cap) + 1e-9


@given(truths)
def test_calm_beta_0_changes_nothing(truth):
    t = traj(np.arange(len(truth) - 1.0), subgoals=truth)
    assert (run(SubgoalOptions(beta=0.0), t) == t.rewards).all()
    assert (run(SubgoalOptions(beta=0.0, potential=True), t) == t.rewards).all()


@given(truths.filter(lambda x: len(x) > 1), unit, st.booleans(), st.none() | st.floats(0, 2))
def test_calm_potential_telescopes(truth, gamma, terminated, cap):
    m = SubgoalOptions(potential=True, gamma=gamma, cap=cap)
    out = run(m, traj([0] * (len(truth) - 1), terminated, subgoals=truth))
    first, ever = sum(truth[0].values()), sum(any(row[g] for row in truth) for g in "abc")
    low, high = (min(0.5 * k, cap if cap is not None else 9) for k in (first, ever))
    assert discounted(out, gamma) == pytest.approx((0 if terminated else gamma ** len(out) * high) - low, abs=1e-9)


@given(truths, st.permutations(["a", "b", "c"]))
def test_calm_without_order_does_not_depend_on_the_order_of_the_fact(truth, order):
    other = [{g: row[g] for g in order} for row in truth]
    one, two = (run(SubgoalOptions(), traj([0] * (len(truth) - 1), subgoals=x)) for x in (truth, other))
    assert one == pytest.approx(two)


# -- CALM: probes ------------------------------------------------------------------------------
def test_calm_what_holds_at_the_reset_is_not_paid():
    t = traj([0, 0], subgoals=flags("key", "key", "key door"))
    assert run(SubgoalOptions(), t) == pytest.approx([0, 0.5])
    predicates = {"key": lambda t: "key" in t.next_obs, "door": lambda t: "door" in t.next_obs}
    t = traj([0, 0], obs=["key", "key", "key door"])
    assert run(SubgoalOptions(predicates=predicates), t) == pytest.approx([0, 0.5])


def test_calm_in_order_does_not_pay_later_what_held_at_the_reset():
    t = traj([0, 0], subgoals=flags("door", "door", "key door"))  # the order is key, door
    assert run(SubgoalOptions(ordered=True), t) == pytest.approx([0, 0.5])


def test_calm_taking_and_dropping_pays_once_and_so_does_a_repeated_table_entry():
    t = traj([0] * 40, subgoals=flags("", *["key", ""] * 20))
    assert run(SubgoalOptions(), t).sum() == pytest.approx(0.5)
    repeated = traj([0] * 40, obs=["a"] * 41, actions=["push"] * 40)
    m = SubgoalOptions(beta=1.0, table={"a\npush": 9, "b\npush": 1})
    assert run(m, repeated).sum() == pytest.approx(1.0)
    assert run(SubgoalOptions(beta=1.0, table=m.table, once=False), repeated).sum() == pytest.approx(
        40.0
    )  # the authors'


def test_calm_useless_valid_actions_pay_nothing():
    t = traj([0] * 100, valid_action=[True] * 101, subgoals=flags(*[""] * 101))
    assert not run(SubgoalOptions(), t).any()


def test_calm_equal_counts_do_not_divide_by_zero():
    t = traj([0, 0], obs=["a", "b", "c"])
    for count, worth in ((3, 1.0), (0, 0.0)):
        table = {"a\n0": count, "b\n0": count}
        assert run(SubgoalOptions(beta=1.0, table=table), t) == pytest.approx([worth, worth])


def test_calm_a_predicate_that_cannot_say_pays_nothing_and_is_counted():
    stack = Stack([SubgoalOptions(predicates={"done": lambda t: None})])
    (out,) = stack.run([traj([0, 0])])
    assert not out.rewards.any() and stack.shapers[0]._stats == {"done: no answer": 3}


def test_calm_a_predicate_that_raises_stops_with_its_name():
    def broken(t):
        return t.action["x"]

    with pytest.raises(RuntimeError, match="predicate of 'done' failed at the reset, where obs and action are None"):
        run(SubgoalOptions(predicates={"done": broken}), traj([0]))

    def later(t):
        return t.action is not None and 1 / 0 > 0

    with pytest.raises(RuntimeError, match="'done' failed at action 0: ZeroDivisionError"):
        run(SubgoalOptions(predicates={"done": later}), traj([0]))


def test_calm_table_key():
    t = Transition("room", "go north", 0.0, "hall", False, False, {}, {})
    assert table_key(t) == "room\ngo north"
    arrays = [Transition(np.arange(k), 3, 0.0, None, False, False, {}, {}) for k in (2, 2, 3)]
    assert table_key(arrays[0]) == table_key(arrays[1]) != table_key(arrays[2])


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"beta": -0.5}, "beta = -0.5"),
        ({"gamma": 2.0}, "gamma = 2.0"),
        ({"cap": -1.0}, "cap = -1.0"),
        ({"weights": {"key": -1.0}}, "weights and counts are 0 or more"),
        ({"weights": {"key": "x"}}, "setting 'weights'"),
        ({"once": False, "potential": True}, "need once=True"),
        ({"once": False, "ordered": True}, "need once=True"),
        ({"table": {"a": 1}, "ordered": True}, "give one or the other"),
        ({"predicates": {"door": len}, "weights": {"dor": 2.0}}, "did you mean 'door'"),
    ],
)
def test_calm_refuses(settings, said):
    with pytest.raises(ValueError, match=said):
        SubgoalOptions(**settings)


def test_calm_refuses_at_the_first_episode():
    with pytest.raises(ValueError, match="weights names 'kye', which is no sub-goal; did you mean 'key'"):
        run(SubgoalOptions(weights={"kye": 2.0}), CARD)
    with pytest.raises(MissingFact, match="'subgoals'"):
        run(SubgoalOptions(), traj([0]))
    with pytest.raises(ValueError, match="'done' is 3, a function"):
        Stack([SubgoalOptions(predicates={"done": 3})])


# -- hop progress: golden ----------------------------------------------------------------------
def test_hop_card():
    # classic card 11: .2 -> .6 is H = .5, .6 -> .3 is H = -.5, and back
    assert hop(0.2, 0.6) == pytest.approx(0.5) and advance(0.2, 0.5) == pytest.approx(0.6)
    assert hop(0.6, 0.3) == pytest.approx(-0.5) and advance(0.6, -0.5) == pytest.approx(0.3)
    assert trust(0.5, 0.7, 1.0) == pytest.approx(0.894839, abs=1e-6)


def judged(**settings):
    """phi_{t-1} = .4 and hops that make the views .6, .5, .7: H = 1/3 from .4, .5 from the start, -.3 from the goal."""
    said = {"before": 1 / 3, "start": 0.5, "goal": -0.3}
    m = made(HopProgress(scorer=lambda before, after, start, goal: said[before], goal="goal", **settings))
    t = Transition("before", 0, 0.0, "now", False, False, {}, {})
    return m.step((0.4, 0.4, "before", "start", "goal", False), t)


def test_hop_card_fusion():
    _, state = judged()
    assert state[0] == pytest.approx(0.6)
    reward, state = judged(consistency=1.0)
    assert state[0] == pytest.approx(0.578968, abs=1e-6)
    assert reward == pytest.approx(0.99 * 0.578968 - 0.4, abs=1e-6)


def test_hop_card_rewards():
    # .6 -> .7 gives .093; .9 -> .97 with the bonus 1.0603; 0, .3, .6, .97: .941190 with phi kept, 0 with phi 0 at the end
    out = run(HopProgress(), traj([0], terminated=False, progress=[0.6, 0.7]))
    assert out == pytest.approx([0.093])
    bonus = HopProgress(success_bonus=1.0, terminal_potential=None)
    assert run(bonus, traj([0], progress=[0.9, 0.97])) == pytest.approx([1.0603])
    t = traj([0] * 3, progress=[0, 0.3, 0.6, 0.97])
    assert discounted(run(HopProgress(terminal_potential=None), t), 0.99) == pytest.approx(0.941190, abs=1e-6)
    assert discounted(run(HopProgress(), t), 0.99) == pytest.approx(0)


def test_hop_by_hand_with_a_scorer():
    # forward and backward only, gamma 1. Step 1: H from the start .4 -> .4, from the goal -.8 -> .2, mean .3. Step 2: H = -1
    # from the start cuts to 0 (phi_0 is 0), -.5 from the goal -> .5, mean .25. Paid .3 and -.05; truncated, so phi is kept
    said = {("s", 1): 0.4, ("g", 1): -0.8, ("s", 2): -1.0, ("g", 2): -0.5}
    m = HopProgress(scorer=lambda p, q, start, goal: said[p, q], goal="goal", views=("forward", "backward"), gamma=1.0)
    t = traj([0, 0], terminated=False, obs=["s", 1, 2], goal=["g", "g", "g"])
    assert run(m, t) == pytest.approx([0.3, -0.05])


# -- hop progress: properties ------------------------------------------------------------------
@given(unit, unit)
def test_hop_and_advance_are_inverse(p, q):
    assert -1 <= hop(p, q) <= 1
    assert advance(p, hop(p, q)) == pytest.approx(q, abs=1e-9)


@given(unit, st.lists(st.floats(-1, 1), max_size=20))
def test_any_hops_stay_in_the_unit_interval(phi, hops):
    for h in hops:
        phi = advance(phi, h)
        assert -1e-12 <= phi <= 1 + 1e-12


views = st.sampled_from(
    [("incremental",), ("forward",), ("backward",), ("forward", "backward"), ("incremental", "forward", "backward")]
)


@given(st.lists(unit, min_size=1, max_size=8), views, st.booleans(), st.none() | st.floats(0, 5))
def test_with_the_fact_all_views_agree_and_are_the_potential(progress, views, terminated, alpha):
    alpha = alpha if len(views) == 3 else None
    t = traj([0] * (len(progress) - 1), terminated, progress=progress)
    m = HopProgress(views=views, consistency=alpha)
    assert m.policy_invariant
    assert run(m, t) == pytest.approx(run(PotentialShaping(), t), abs=1e-6)


@given(st.lists(st.floats(-2, 2) | st.none(), min_size=1, max_size=10), unit, st.none() | st.floats(0, 3))
def test_a_scorer_telescopes_and_stays_in_bounds(said, gamma, alpha):
    answers = iter(said * 3)
    m = made(HopProgress(scorer=lambda *_: next(answers), goal="goal", gamma=gamma, consistency=alpha))
    state, out = m.init(0, {"goal": 9}), []
    for k in range(len(said)):
        r, state = m.step(state, Transition(k, 0, 0.0, k + 1, False, False, {}, {}))
        out.append(r)
        assert -1e-9 <= state[0] <= 1 + 1e-9
    assert discounted(out, gamma) == pytest.approx(gamma ** len(out) * state[0], abs=1e-9)


def test_the_claim_of_invariance_follows_the_settings():
    def judge(*_):
        return 0.0

    assert HopProgress().policy_invariant
    assert HopProgress(scorer=judge, views=("forward",)).policy_invariant
    for settings in (
        {"success_bonus": 1.0},
        {"terminal_potential": None},
        {"terminal_potential": 0.5},
        {"scorer": judge, "views": ("incremental",)},
        {"scorer": judge, "goal": "goal", "consistency": 1.0},
    ):
        assert not HopProgress(**settings).policy_invariant, settings


@given(data=st.data(), bonus=st.sampled_from([0.0, 1.0]), alpha=st.none() | st.floats(0, 3))
def test_hop_columns_equal_lanes(data, bonus, alpha):
    n = 3
    column = st.lists(unit, min_size=n, max_size=n).map(np.array)
    rows = [data.draw(column) for _ in range(4)]
    ends = data.draw(st.lists(st.booleans(), min_size=n, max_size=n).map(np.array))
    m = made(
        HopProgress(success_bonus=bonus, consistency=alpha, terminal_potential=data.draw(st.sampled_from([0, None])))
    )
    assert m.columnar
    states = m.init(None, {"progress": rows[0]})
    lanes = [m.init(None, {"progress": float(x)}) for x in rows[0]]
    for x in rows[1:]:
        got, states = m.step(states, Transition(None, None, np.zeros(n), None, ends, ~ends, {"progress": x}, {}))
        for i in range(n):
            info = {"progress": float(x[i])}
            t = Transition(None, None, 0.0, None, bool(ends[i]), not ends[i], info, {})
            want, lanes[i] = m.step(lanes[i], t)
            assert type(want) is float and got[i] == pytest.approx(want, abs=1e-9)


# -- hop progress: probes ----------------------------------------------------------------------
@given(st.integers(1, 100), st.floats(0.5, 0.94))
def test_hovering_at_high_progress_does_not_pay(n, high):
    climb = [0.0, high] + [high, high - 0.1] * n + [high]
    out = run(HopProgress(terminal_potential=None), traj([0] * (len(climb) - 1), terminated=False, progress=climb))
    assert discounted(out[1:], 0.99) <= 0


def test_the_success_bonus_is_paid_once():
    swing = [0.0, *[1.0, 0.5] * 20]
    with_bonus, without = (
        run(HopProgress(success_bonus=b), traj([0] * 40, terminated=False, progress=swing)) for b in (1.0, 0.0)
    )
    assert with_bonus - without == pytest.approx([1.0] + [0.0] * 39)


def test_a_silent_scorer_leaves_the_progress_where_it_was():
    stack = Stack([HopProgress(scorer=lambda *_: None, views=("incremental", "forward"))])
    (out,) = stack.run([traj([0] * 5)])
    assert not out.rewards.any() and stack.shapers[0]._stats == {"no answer": 10}


def test_a_scorer_that_fails_is_never_paid_for():
    with pytest.raises(ZeroDivisionError):
        run(HopProgress(scorer=lambda *_: 1 / 0, views=("forward",)), traj([0]))
    with pytest.raises(ValueError, match="answered NaN"):
        run(HopProgress(scorer=lambda *_: float("nan"), views=("forward",)), traj([0]))
    boast = run(HopProgress(scorer=lambda *_: 1e9, views=("incremental",), gamma=1.0), traj([0] * 9, terminated=False))
    assert boast.sum() == pytest.approx(1.0)


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"gamma": -0.1}, "gamma = -0.1"),
        ({"views": ()}, r"views = \(\), allowed is one or more of"),
        ({"views": ("sideways",)}, "setting 'views'"),
        ({"views": ("forward", "forward")}, "views = "),
        ({"consistency": 1.0, "views": ("forward", "backward")}, "needs the incremental"),
        ({"scorer": min}, "needs goal"),
        ({"success_at": 0.0}, "success_at in"),
        ({"success_bonus": -1.0}, "success_bonus is 0 or more"),
    ],
)
def test_hop_refuses(settings, said):
    with pytest.raises(ValueError, match=said):
        HopProgress(**settings)


def test_hop_refuses_missing_facts_and_what_is_no_function():
    with pytest.raises(MissingFact, match="'progress'"):
        run(HopProgress(), traj([0]))
    with pytest.raises(MissingFact, match="'target'"):
        run(HopProgress(scorer=min, goal="target"), traj([0]))
    with pytest.raises(ValueError, match="scorer is 3"):
        Stack([HopProgress(scorer=3, views=("forward",))])


@pytest.mark.parametrize(
    "shaper",
    [
        SubgoalOptions(weights={"key": 2.0}, ordered=True, cap=1.0),
        SubgoalOptions(table={"a": 1.0}),
        HopProgress(views=("forward", "backward")),
    ],
    ids=["subgoals", "table", "hop"],
)
def test_spec_round_trip_and_empty_episode(shaper):
    again = load(json.loads(json.dumps(shaper.spec())))
    assert again == shaper and again is not shaper
    assert run(again, traj([], subgoals=flags(""), progress=[0.2])).shape == (0,)
