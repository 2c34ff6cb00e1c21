"""CM2: checklists as a reward (``wrappers/step/cm2.py``); with a judge in test_methods_cm2_judge.py."""

import importlib.util
import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.wrappers import Checklist, MissingFact, Stack, load
from milepost.wrappers import conformance as C
from milepost.wrappers.step.cm2 import checklist

_spec = importlib.util.spec_from_file_location("checklists", Path(__file__).with_name("checklists.py"))
checklists = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(checklists)
TWO, episode, item, paid, told = (getattr(checklists, n) for n in ("TWO", "episode", "item", "paid", "told"))
pytestmark = pytest.mark.core


# -- golden --------------------------------------------------------------------------------------
def test_the_cards_two_turns():
    t = episode(TWO, ["A", "", "C"], [0, 0, 1])
    assert paid(t) == pytest.approx([0, 0, 0.8])
    assert paid(t, emit="turn") == pytest.approx([0, 0.3, 0.5])
    assert paid(t, emit="step") == pytest.approx([0.3, 0, 0.5])


def test_the_cards_late_item():
    # A of weight .6 is passed two steps after what it depends on: .6 * .9^2
    t = episode([item("P", 0.4), item("A", 0.6, 0, "P")], ["", "P", "", "A"])
    assert paid(t, emit="step", eta=0.9) == pytest.approx([0, 0.4 * 0.9, 0, 0.486])


def test_an_example_by_hand():
    # turn 0 has the steps 0 and 1, turn 1 the steps 2 to 4, and all is over 2 turns; eta 1/2. Step 1: a waited one step, b none
    # since a: (.25/2 + .75)/2 = .4375. Step 2: d holds, but c was not passed. Step 3: c waited one step, and e, whose b was
    # passed in turn 0, one since its own turn began: (.5/2 + .1/2)/2 = .15. Step 4: d waited one step since c: .4/2/2 = .1
    items = [
        item("b", 0.75, 0, "a"),
        item("a", 0.25),
        item("c", 0.5, 1),
        item("d", 0.4, 1, "c"),
        item("e", 0.1, 1, "b"),
    ]
    t = episode(items, ["", "ab", "d", "ce", "d"], [0, 0, 1, 1, 1])
    assert paid(t, emit="step", eta=0.5) == pytest.approx([0, 0.4375, 0, 0.15, 0.1])
    assert paid(t, emit="turn") == pytest.approx([0, 0.5, 0, 0, 0.5])
    assert paid(t, max_turns=4) == pytest.approx([0, 0, 0, 0, 0.5])
    # with 0 ** 0 = 1 only what needs no time is paid
    assert paid(t, emit="step", eta=0.0) == pytest.approx([0, 0.375, 0, 0, 0])


def test_an_item_holds_only_in_its_own_turn():
    assert paid(episode(TWO, ["C", "A"], [0, 1])).sum() == 0
    assert paid(episode(TWO, ["C", "A"])).sum() == pytest.approx(0.8)  # nobody says which turn it is
    assert paid(episode(TWO, ["A", "C"]), turn="").sum() == pytest.approx(0.8)  # every step is one
    assert paid(episode(TWO, ["C", "A"]), turn="").sum() == 0


def test_errors_of_tools_fail_what_is_about_tools():
    items = [item("x", 0.5, focus="tool_calls"), item("y", 0.25, focus="tool_content"), item("z", 0.25)]
    t = episode(items, ["xyz"], errors=[0])
    assert paid(t) == pytest.approx([0.25]) and paid(t, on_tool_error="ignore") == pytest.approx([1])
    assert paid(episode(items, ["xyz", "xy"], errors=[0]), emit="step") == pytest.approx([0.25, 0.75])


def test_what_holds_at_the_reset_is_passed_unpaid_and_counted():
    stack = Stack([Checklist(emit="step")])
    t = episode([item("a", 0.5), item("b", 0.5, 0, "a")], ["a", "ab"], first="a")
    assert stack.run([t])[0].rewards == pytest.approx([0, 0.5])
    assert stack.stats() == {
        "checklist/items passed": 1,
        "checklist/passed at a reset": 1,
        "checklist/no answer": 0,
    }


def test_items_can_be_given():
    t = episode(TWO, ["A", "B"], [0, 0])
    t.infos[0].pop("meta")
    assert paid(t, items=TWO[:2]) == pytest.approx([0, 1])
    with pytest.raises(MissingFact, match=r"checklist reads info\['checklist'\]"):
        paid(t)
    t.infos[0]["checklist"] = TWO[:2]  # a fact for an environment that is not ours
    assert paid(t) == pytest.approx([0, 1])
    t.infos[0] = {"meta": {"checklist": ()}, "subgoals": {}}
    assert not paid(t).any()


# -- properties ----------------------------------------------------------------------------------
@st.composite
def lists(draw):
    """A checklist of one to three turns, with dependencies on earlier items."""
    out = []
    for turn in range(draw(st.integers(1, 3))):
        parts = draw(st.lists(st.integers(1, 9), min_size=1, max_size=4))
        for k, p in enumerate(parts):
            known = [i["id"] for i in out]
            needs = draw(st.lists(st.sampled_from(known), max_size=2, unique=True)) if known else []
            focus = draw(st.sampled_from(["assistant", "tool_calls", "tool_content"]))
            out.append(item(f"{turn}{k}", p / sum(parts), turn, *needs, focus=focus))
    return draw(st.permutations(out))


@st.composite
def episodes(draw, published=None, **more):
    """A checklist and an episode in which items come and go."""
    items = draw(lists())
    ids, n = [i["id"] for i in items], draw(st.integers(0, 7))
    steps = [draw(st.lists(st.sampled_from(ids), unique=True)) for _ in range(n)]
    turns = sorted(draw(st.integers(0, 2)) for _ in range(n)) if draw(st.booleans()) else None
    errors = draw(st.lists(st.integers(0, 6), max_size=2))
    return items, episode(items, steps, turns, errors=errors, terminated=draw(st.booleans()), **more)


@given(episodes())
def test_an_episode_earns_between_0_and_1_however_it_is_paid(case):
    items, t = case
    whole, steps = paid(t), paid(t, emit="step")
    assert (whole >= 0).all() and (steps >= 0).all() and whole.sum() <= 1 + 1e-9
    assert whole.sum() == pytest.approx(steps.sum(), abs=1e-9) and not whole[:-1].any()
    if "turn" in t.infos[0] or len({i["turn"] for i in items}) == 1:
        assert paid(t, emit="turn").sum() == pytest.approx(whole.sum(), abs=1e-9)
    else:
        with pytest.raises(MissingFact, match=r"checklist reads info\['turn'\]"):
            paid(t, emit="turn")


@given(lists(), st.booleans(), st.sampled_from(["episode", "turn", "step"]), st.booleans())
def test_all_items_passed_earn_1_and_again_nothing(items, terminated, emit, published):
    last = max(i["turn"] for i in items)
    turns = [k for k in range(last + 1) for _ in range(2)]
    ids = [i["id"] for i in items]
    t = episode(items, [ids] * len(turns), turns, terminated=terminated)
    assert paid(t, emit=emit).sum() == pytest.approx(1.0)
    assert paid(episode(items, [ids] * 9), emit="step") == pytest.approx([1] + [0] * 8)


@given(episodes(), st.floats(0, 1))
def test_haste_pays_and_waiting_never_does(case, eta):
    _, t = case
    slow = paid(t, emit="step", eta=eta)
    assert (slow <= paid(t, emit="step") + 1e-12).all() and (slow >= 0).all()


@given(episodes(), st.data())
def test_more_that_holds_never_earns_less(case, data):
    items, t = case
    if not len(t):
        return
    before, k = paid(t).sum(), data.draw(st.integers(1, len(t)))
    name = data.draw(st.sampled_from([i["id"] for i in items]))
    t.infos[k]["subgoals"][name] = True
    assert paid(t).sum() >= before - 1e-12


@given(episodes())
def test_an_item_never_scores_before_what_it_depends_on(case):
    items, t = case
    m = Stack([Checklist(emit="step")]).shapers[0]
    state, need = m.init(t.obs[0], t.infos[0]), {i["id"]: i["depends"] for i in items}
    for x in t:
        box = [state]
        m.steps(box, [x])
        (state,) = box
        for name, at in state.passed.items():
            assert all(d in state.passed and state.passed[d] <= at for d in need[name])


@given(episodes(), st.randoms(use_true_random=False))
def test_the_order_of_the_items_does_not_matter(case, rnd):
    items, t = case
    for emit, eta in (("episode", 1.0), ("step", 0.7)):
        want = paid(t, emit=emit, eta=eta)
        t.infos[0]["meta"] = {"checklist": tuple(rnd.sample(list(items), len(items)))}
        assert paid(t, emit=emit, eta=eta) == pytest.approx(want, abs=1e-12)


# -- hacks ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("emit", ["episode", "turn", "step"])
def test_repeating_swinging_and_useless_steps_earn_nothing_more(emit):
    items = [item("a", 0.5), item("b", 0.5)]
    for steps in (["a"] * 80, ["a", ""] * 40, ["", *["a"] * 2, *[""] * 77]):
        assert paid(episode(items, steps), emit=emit).sum() == pytest.approx(0.5)
    assert paid(episode(items, [""] * 80), emit=emit).sum() == 0
    assert paid(episode(items, []), emit=emit).shape == (0,)


def test_a_truncated_episode_is_paid_once():
    t = episode(TWO, ["A", "AB"], [0, 0], rewards=[1, 2], terminated=False)
    assert paid(t) == pytest.approx([1, 2.5]) and paid(t, emit="turn") == pytest.approx([1, 2.5])


# -- wrong checklists ----------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("items", "sentence"),
    [
        ([item("a", 0.5), item("b", 0.4)], "the weights of turn 0 sum to 0.9, 1 is expected"),
        ([item("a"), item("b", 0.7, 1)], "the weights of turn 1 sum to 0.7"),
        ([item("a", 0.5), item("b", 0.50001)], "the weights of turn 0 sum to 1.00001"),
        ([item("a", 0.5, 0, "b"), item("b", 0.5, 0, "a")], r"items depend on each other: (a <- b <- a|b <- a <- b)"),
        ([item("a", 1.0, 0, "a")], "depend on each other: a <- a"),
        ([item("alpha", 1.0, 0, "alpa")], r"'alpha' depends on 'alpa', which is no item; did you mean 'alpha'\?"),
        ([item("a", 0.5), item("a", 0.5)], "'a' .* an id that stands once"),
        ([item("a", 1.5), item("b", -0.5)], "the weight 1.5"),
        ([item("a", math.nan)], "the weight nan"),
        ([item("a", "1")], "the weight '1'"),
        ([item("a", focus="tools")], "the focus 'tools'; allowed"),
        ([{"id": "a", "wieght": 1.0}], r"an item has no 'wieght'; did you mean 'weight'\?"),
        ([{"id": "a"}], "at least an id and a weight"),
    ],
)
def test_a_wrong_checklist_is_one_sentence(items, sentence):
    with pytest.raises(ValueError, match=sentence):
        Checklist(items=tuple(items))
    with pytest.raises(ValueError, match=sentence):
        Stack([Checklist()]).shapers[0].init(None, {"meta": {"checklist": items}, "subgoals": {}})


def test_weights_may_be_off_by_a_millionth():
    assert [i.id for i in checklist([item("a", 1 / 3 + 5e-7), item("b", 2 / 3)])] == ["a", "b"]


def test_what_the_facts_do_not_say_is_named():
    t = episode(TWO, ["A"])
    del t.infos[0]["subgoals"]["B"]
    with pytest.raises(ValueError, match=r"info\['subgoals'\] does not say whether 'B' holds"):
        paid(t)
    with pytest.raises(MissingFact, match=r"checklist reads info\['subgoals'\]"):
        del t.infos[0]["subgoals"]
        paid(t)
    with pytest.raises(ValueError, match="max_turns = 1, but items of 2 turns"):
        paid(episode(TWO, ["A"]), max_turns=1)


# -- conformance, settings -----------------------------------------------------------------------
@pytest.mark.parametrize(
    "shaper",
    [
        Checklist(),
        Checklist(emit="turn", max_turns=5),
        Checklist(emit="step", eta=0.5, on_tool_error="ignore", turn=""),
        Checklist(items=[item("a", 0.25), item("b", 0.75, 0, "a", required=True, question="is it b?")]),
        Checklist(
            judge={"scorer": "predicate", "patterns": {"a": "in [1-4]", "b": "in 3", "c": "in 0"}}, threshold=1.0
        ),
    ],
    ids=repr,
)
def test_conformance(shaper):
    C.check_shaper(shaper, told)
    assert load(json.loads(json.dumps(shaper.spec()))).spec() == shaper.spec()


@pytest.mark.parametrize(
    "settings",
    [
        {"emit": "token"},
        {"eta": 1.5, "emit": "step"},
        {"eta": 0.9},
        {"max_turns": 0},
        {"threshold": 0.0},
        {"on_tool_error": "raise"},
    ],
)
def test_wrong_settings_are_one_sentence(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        Checklist(**settings)
