"""CM2: checklists as a reward, and the advantage of each turn."""

import json
import math

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.wrappers import Checklist, MissingFact, Stack, Trajectory, TurnCentered, load, shape
from milepost.wrappers import conformance as C
from milepost.wrappers.scorers import Reply, Service
from milepost.wrappers.step.cm2 import checklist

pytestmark = pytest.mark.core


def item(id, weight=1.0, turn=0, *depends, **more):
    return {"id": id, "weight": weight, "turn": turn, "depends": depends} | more


def episode(items, steps, turns=None, first=(), rewards=None, terminated=True, errors=(), **more):
    """``steps`` are the names of what holds after each step, ``turns`` the turn that each step belongs to (then one after)."""
    ids = [i["id"] for i in items]
    infos = [{"subgoals": {i: i in held for i in ids}} for held in [first, *steps]]
    for k, info in enumerate(infos):
        if turns is not None:
            info["turn"] = [*turns, turns[-1] if turns else 0][k]
        if k:
            info["tool_calls"] = ({"name": "t", "arguments": {}, "ok": k - 1 not in errors, "result": "r"},)
    infos[0]["meta"] = {"checklist": tuple(items), "task": 0}
    r = np.zeros(len(steps)) if rewards is None else np.array(rewards, float)
    obs = [f"state {k}" for k in range(len(infos))]
    return Trajectory(obs, ["act"] * len(steps), r, terminated, not terminated, infos, {"task": 0} | more)


def paid(t, **settings):
    return Stack([Checklist(**settings)]).run([t])[0].rewards


TWO = [item("A", 0.6), item("B", 0.4), item("C", 1.0, 1)]


# -- golden: the reward --------------------------------------------------------------------------
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


# -- properties: the reward ------------------------------------------------------------------------
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


# -- hacks -----------------------------------------------------------------------------------------
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


# -- a judge ---------------------------------------------------------------------------------------
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


# -- wrong checklists ------------------------------------------------------------------------------
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


# -- the advantage ---------------------------------------------------------------------------------
def rollouts(rows, turns=None, failed=()):
    """Episodes by their rewards; ``failed`` are (episode, step)."""
    out = []
    for i, row in enumerate(rows):
        infos = [{} for _ in range(len(row) + 1)]
        for k, info in enumerate(infos):
            if turns is not None:
                info["turn"] = [*turns[i], 99][k]
            if (i, k - 1) in failed:
                info["judge_failed"] = True
        out.append(Trajectory([0] * (len(row) + 1), [0] * len(row), np.array(row, float), True, False, infos))
    return out


def advantages(trajs, **settings):
    return [t.advantages for t in Stack([TurnCentered(**settings)]).run(trajs)]


def test_the_cards_turn_scores():
    scores = [[1], [0.6], [0.4], [0], [1]]
    assert np.concatenate(advantages(rollouts(scores))) == pytest.approx([0.4, 0, -0.2, -0.6, 0.4])
    assert not np.concatenate(advantages(rollouts(scores[:4]))).any()


def test_turns_by_hand():
    # turn 0: 1 + 1 of two steps, 0, 4: mean 2; turn 1: 3 and 5, mean 4, the third has none
    rows, turns = [[1, 1, 3], [0, 5], [4]], [[0, 0, 1], [0, 1], [0]]
    one, two, three = advantages(rollouts(rows, turns), min_holders=2)
    assert one == pytest.approx([0, 0, -1]) and two == pytest.approx([-2, 1]) and three == pytest.approx([2])
    one, two, three = advantages(rollouts(rows, turns), min_holders=3)
    assert one == pytest.approx([0, 0, 0]) and two == pytest.approx([-2, 0]) and three == pytest.approx([2])
    # the sample's std of 2, 0, 4 is 2
    one, two, three = advantages(rollouts(rows, turns), min_holders=3, use_std=True)
    assert two == pytest.approx([-1, 0], abs=1e-5) and three == pytest.approx([1], abs=1e-5)
    # nobody says which turn it is: the whole episode, 5, 5 and 4; or every step is one: 1, 0, 4 and 1, 5
    assert advantages(rollouts(rows), min_holders=2)[0] == pytest.approx([1 / 3] * 3)
    one, two, three = advantages(rollouts(rows), min_holders=2, turn="")
    assert one == pytest.approx([-2 / 3, -2, 0]) and two == pytest.approx([-5 / 3, 2])


def test_a_turn_goes_on_until_another_is_published():
    rows, turns = [[1, 1, 3], [0, 5, 0]], [[0, 1, 1], [0, 1, 1]]
    trajs = rollouts(rows, turns)
    del trajs[0].infos[2]["turn"]  # said before step 2, which goes on with turn 1
    one, two = advantages(trajs, min_holders=2)
    assert one == pytest.approx([0.5, -0.5, -0.5]) and two == pytest.approx([-0.5, 0.5, 0.5])
    t = episode(TWO, ["A", "", "C"], [0, 1, 1])
    del t.infos[2]["turn"]
    assert paid(t).sum() == pytest.approx(0.8)


def test_a_turn_without_a_judge_is_left_out():
    rows, turns = [[1, 1, 3], [0, 5], [4]], [[0, 0, 1], [0, 1], [0]]
    one, two, three = advantages(rollouts(rows, turns, failed=[(0, 1)]), min_holders=2)
    assert np.isnan(one[:2]).all() and one[2] == pytest.approx(-1)  # turn 1 has its two holders still
    assert two == pytest.approx([-2, 1]) and three == pytest.approx([2])  # 0 and 4
    one, two, three = advantages(rollouts(rows, turns, failed=[(0, 1)]), min_holders=3)
    assert np.isnan(one[:2]).all() and not two.any() and not three.any()


groups = st.lists(
    st.lists(st.tuples(st.floats(-3, 3), st.integers(0, 2)), max_size=5), min_size=1, max_size=7
)  # (reward, turn) of each step


@given(groups, st.integers(1, 5), st.booleans(), st.booleans(), st.randoms(use_true_random=False))
def test_centred_finite_and_moved_with_the_episodes(rows, holders, std, published, rnd):
    rows = [sorted(r, key=lambda x: x[1]) for r in rows]
    turns = [[x[1] for x in r] for r in rows] if published else None
    trajs = rollouts([[x[0] for x in r] for r in rows], turns)
    got = advantages(trajs, min_holders=holders, use_std=std)
    assert [a.shape for a in got] == [(len(r),) for r in rows] and all(np.isfinite(a).all() for a in got)
    for turn in range(3):
        one_each = [a[ts.index(turn)] for a, ts in zip(got, turns or []) if turn in ts]
        assert sum(one_each) == pytest.approx(0, abs=1e-6)
        assert len(one_each) >= holders or not any(one_each)
    order = rnd.sample(range(len(rows)), len(rows))
    for i, a in zip(order, advantages([trajs[i] for i in order], min_holders=holders, use_std=std)):
        assert a == pytest.approx(got[i], abs=1e-6)


@given(st.lists(st.floats(-3, 3), max_size=5), st.integers(1, 8), st.booleans())
def test_a_group_without_variance_and_a_group_of_one_get_0(row, n, std):
    got = advantages(rollouts([row] * n), min_holders=1, use_std=std)
    assert np.concatenate(got) == pytest.approx(np.zeros(n * len(row)), abs=1e-9)


def test_a_lone_environment_and_an_empty_batch():
    with pytest.raises(ValueError, match=r"stack\.run"):
        shape(gym.make("CartPole-v1"), [TurnCentered()])
    assert TurnCentered().group([]) == []


def test_the_two_halves_of_the_paper_together():
    good, bad = episode(TWO, ["AB", "", "C"], [0, 0, 1]), episode(TWO, ["A", "", ""], [0, 0, 1])
    out = Stack([Checklist(emit="turn"), TurnCentered()]).run([good, good, bad, bad, bad])
    # turn 0 is worth .5 and .3 (mean .38), turn 1 .5 and 0 (mean .2)
    assert out[0].advantages == pytest.approx([0.12, 0.12, 0.3]) and out[4].advantages == pytest.approx(
        [-0.08, -0.08, -0.2]
    )


# -- conformance, settings -------------------------------------------------------------------------
def facts(state):
    items = (item("a", 0.5), item("b", 0.5, 0, "a", focus="tool_calls"), item("c", 1.0, 1, "a"))
    calls = ({"name": "go", "arguments": {}, "ok": state != 2, "result": ""},)
    known = C.facts_of(state)
    subgoals = known["subgoals"] | {"c": state % 2 == 0}
    return known | {"subgoals": subgoals, "tool_calls": calls, "turn": state // 3, "meta": {"checklist": items}}


def told(state):
    return facts(state) | {"messages": ({"role": "user", "content": f"in {state}"},)}


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
        TurnCentered(),
        TurnCentered(min_holders=1, use_std=True, turn=""),
    ],
    ids=repr,
)
def test_conformance(shaper):
    C.check_shaper(shaper, told)
    assert load(json.loads(json.dumps(shaper.spec()))).spec() == shaper.spec()


@pytest.mark.parametrize(
    ("make", "settings"),
    [
        (Checklist, {"emit": "token"}),
        (Checklist, {"eta": 1.5, "emit": "step"}),
        (Checklist, {"eta": 0.9}),
        (Checklist, {"max_turns": 0}),
        (Checklist, {"threshold": 0.0}),
        (Checklist, {"on_tool_error": "raise"}),
        (TurnCentered, {"min_holders": 0}),
        (TurnCentered, {"use_std": 1}),
    ],
)
def test_wrong_settings_are_one_sentence(make, settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        make(**settings)
