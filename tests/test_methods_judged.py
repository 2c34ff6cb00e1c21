"""Methods with judges and embedders: ONI's captions, VLM-RL's goals, CALM's table and discovered sub-goals, judged hops."""

import json
import threading
import warnings
from collections import Counter

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import milepost  # noqa: F401
from milepost.wrappers import (
    CaptionReward,
    ContrastiveGoal,
    HopProgress,
    JudgementTable,
    MissingFact,
    Stack,
    SubgoalOptions,
    Trajectory,
    load,
    shape,
)
from milepost.wrappers import conformance as C
from milepost.wrappers.scorers import Reply, Service, Text, make
from milepost.wrappers.scorers.hashed import Hashed
from milepost.wrappers.step.calm_discover import Found, discover, story
from milepost.wrappers.step.calm_judge import Judged, shares, table_of, view_of
from milepost.wrappers.step.calm_names import distinct
from milepost.wrappers.step.calm_table import read, write
from milepost.wrappers.step.hop_judge import FARTHER, NEARER, hop, hop_pairs
from milepost.wrappers.step.oni import above, layers
from milepost.wrappers.step.vlm_rl import falloff, paced, projected

pytestmark = pytest.mark.core
GOAL = "make progress"


class Scripted:
    """A judge that a function of the query plays; counts its calls."""

    def __init__(self, script, kinds=("question",), gate=None):
        self.script, self.kinds, self.gate, self.asked = script, kinds, gate, []
        self.identity = {"scorer": "scripted"}

    def reply(self, batch):
        assert self.gate is None or self.gate.wait(10)
        self.asked += batch
        said = [self.script(q) for q in batch]
        return [None if s is None else Reply(s if isinstance(s, str) else json.dumps(s)) for s in said]

    def read(self, raw, query):
        return query.parse(raw)


def helpful(*words):
    """Says yes to captions with one of these words."""
    return Scripted(lambda q: {GOAL: any(w in q.message for w in words)})


def episode(messages, rewards=None, terminated=True, last=None):
    n = len(messages)
    infos = [{"message": ""}, *({"message": m} for m in messages)]
    infos[-1] |= last or {}
    obs, acts = [f"state {i}" for i in range(n + 1)], [f"act {i}" for i in range(n)]
    return Trajectory(obs, acts, np.array(rewards or [0.0] * n, float), terminated, not terminated, infos)


def paid(stack, traj):
    stack = stack if isinstance(stack, Stack) else Stack([stack])
    return stack.run([traj])[0].rewards


class Talk(gym.Env):
    """Says its lines, one a step."""

    observation_space = gym.spaces.Text(20)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, lines):
        self.lines = lines

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return "start", {"message": ""}

    def step(self, action):
        self.t += 1
        return f"state {self.t}", 0.0, self.t == len(self.lines), False, {"message": self.lines[self.t - 1]}


# -- ONI: retrieval ------------------------------------------------------------------------------
def test_oni_of_the_card():
    # a helpful caption seen three times, c_int .4 and b = 3: .4, .4 / 8, .4 / 27
    stack = Stack(layers(judge=Service(helpful("key"))))
    assert paid(stack, episode(["a key"] * 3)) == pytest.approx([0.4, 0.05, 0.0148148], abs=1e-7)
    # ranking with mu 1 and sigma 2: 2 is .5; .5 is -.25, above the floor; -1 is z = -1, below it
    assert [above(r, 1.0, 2.0, -0.5) for r in (2.0, 0.5, -1.0)] == [0.5, -0.25, 0.0]


def test_retrieval_by_hand():
    # coef .5; labels .9 and .2 given, the judge says yes to a door; c_ext 10 for the environment's 1, no counts (b = 0)
    caption = {"labels": {"a key": 0.9, "a wall": 0.2}, "judge": Service(helpful("door")), "coef": 0.5}
    out = paid(
        Stack(layers(10.0, 0.0, **caption)), episode(["a key", "a wall", "the door", "", "a key"], [0, 0, 0, 0, 1])
    )
    assert out.tolist() == [0.5, 0.0, 0.5, 0.0, 10.5]


def test_a_caption_costs_one_call_and_labels_are_memory():
    judge = helpful("key")
    stack = Stack([CaptionReward(judge=Service(judge))])
    for _ in range(3):
        paid(stack, episode(["a key", "a wall", "a key"]))
    assert [q.message for q in judge.asked] == ["a key", "a wall"]
    assert stack.shapers[0].known == {"a key": 1.0, "a wall": 0.0}
    other = helpful()  # it would say no: the labels are read first
    twin = Stack([CaptionReward(judge=Service(other))])
    twin.load_state_dict(stack.state_dict())
    assert paid(twin, episode(["a key"])) == pytest.approx([0.4]) and not other.asked
    twin.train(False)
    paid(twin, episode(["something new"]))
    assert [q.message for q in other.asked] == ["something new"]
    assert twin.shapers[0].known == stack.shapers[0].known  # asked, and not remembered: memory is read-only


@pytest.mark.parametrize("script", [lambda q: None, lambda q: "nonsense", lambda q: {"another": True}, lambda q: 1 / 0])
def test_a_judge_without_an_answer_pays_nothing_and_is_counted(script):
    stack = Stack([CaptionReward(judge=Service(Scripted(script)))])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out = paid(stack, episode(["a key", "a wall"], [0.0, 1.0]))
    assert out.tolist() == [0.0, 1.0] and stack.stats()["caption_reward/no answer"] == 2
    assert stack.shapers[0].known == {}


def test_the_annotator_never_blocks_and_labels_count_from_the_next_occurrence_on():
    gate = threading.Event()
    service = Service(Scripted(lambda q: {GOAL: True}, gate=gate), mode="async")
    env = shape(Talk(["a key"] * 3), [CaptionReward(judge=service)])
    env.stack.keep = env.stack.records = 100
    env.reset()
    first = env.step(0)[1]  # the judge hangs: nothing is paid, nothing waits
    gate.set()
    assert service.wait(10)
    assert [first, env.step(0)[1], env.step(0)[1]] == [0.0, 0.4, 0.4]
    (traj,) = env.stack.take()
    assert traj.rewards.tolist() == [0.0, 0.4, 0.4]  # what was handed out stays
    assert env.stack.rerun([traj])[0].rewards.tolist() == [0.4, 0.4, 0.4]  # late labels at their own steps
    env.close()


@given(st.lists(st.sampled_from(["a key", "a wall", ""]), min_size=1, max_size=30), st.floats(0, 2))
def test_one_caption_earns_at_most_zeta_in_an_episode(messages, coef):
    out = paid(Stack(layers(labels={"a key": 1.0}, coef=coef)), episode(messages))
    assert out.sum() <= coef * 1.2020569031595942 + 1e-9
    again = paid(Stack(layers(labels={"a key": 1.0}, coef=coef)), episode(messages))
    assert np.array_equal(out, again)


def test_an_empty_table_is_the_environments_reward_times_c_ext():
    out = paid(Stack(layers(0.1, labels={"never said": 1.0})), episode(["a", "b"], [1.0, 2.0]))
    assert out == pytest.approx([0.1, 0.2])


# -- ONI: classification -------------------------------------------------------------------------
def test_a_student_speaks_after_its_lessons_of_captions_that_nobody_labelled():
    things = ["key", "door", "stair", "coin"]
    judge = Scripted(lambda q: {GOAL: "you find" in q.message})
    settings = {"source": "classification", "judge": Service(judge), "student": {"min_lessons": 40}}
    stack = Stack([CaptionReward(**settings)])
    lines = [f"{v} a {t} in room {n}" for t in things for n in "abcdef" for v in ("you find", "you miss")]
    assert not paid(stack, episode(lines[:39])).any()  # not ready
    paid(stack, episode(lines))
    assert len(judge.asked) == len(lines) == len(stack.shapers[0].known)
    stack.train(False)
    silent = Stack(
        [CaptionReward(source="classification", labels=dict(stack.shapers[0].known), student={"min_lessons": 40})]
    )
    new = ["you find a lamp in room z", "you miss a lamp in room z"]
    for s in (stack, silent):  # the labels alone make the same student
        assert paid(s, episode(new)).tolist() == [0.4, 0.0]
    twin = Stack([CaptionReward(**settings)])
    twin.load_state_dict(stack.state_dict())
    assert paid(twin, episode(new)).tolist() == [0.4, 0.0]


def test_learning_ends_at_max_labels():
    stack = Stack([CaptionReward(source="classification", judge=Service(helpful("a")), max_labels=2)])
    paid(stack, episode(["a", "b", "c", "d"]))
    assert list(stack.shapers[0].known) == ["a", "b"] and stack.shapers[0]._taught.report()["lessons"] == 2


# -- ONI: ranking --------------------------------------------------------------------------------
def worth(text):
    return {"far": 0, "near": 1, "there": 2}.get(text.split()[-1], 0)


def ranked(**settings):
    judge = Scripted(lambda q: {GOAL: worth(q.after) > worth(q.before)})
    return judge, Stack([CaptionReward(source="ranking", judge=Service(judge), coef=1.0, **settings)])


def test_a_ranker_puts_captions_in_the_order_of_the_comparisons():
    judge, stack = ranked()
    traj = episode(["you are far", "you are near", "you are there"])
    assert not paid(stack, traj).any()  # nothing is compared yet
    for _ in range(3):
        metrics = stack.learn([traj])
    assert metrics["caption_reward/comparisons"] == 3 and metrics["caption_reward/accuracy"] == 1.0
    assert len(judge.asked) == 6  # three pairs in both orders, each once
    stack.train(False)
    # by symmetry of the design the three scores are -a, 0, a: mean 0, std a sqrt(2 / 3), so z is -1.22, 0, 1.22
    out = paid(stack, traj)
    assert out[0] == 0.0 and out[1] == pytest.approx(0.0, abs=0.35) and out[2] == pytest.approx(1.2, abs=0.15)
    before = stack.state_dict()["caption_reward"]["w"]
    assert stack.learn([traj]) == {} and np.array_equal(before, stack.shapers[0].w)
    twin = ranked()[1]
    twin.load_state_dict(stack.state_dict())
    twin.train(False)
    assert np.array_equal(paid(twin, traj), out)


def test_ties_and_a_judge_that_likes_what_comes_last_prefer_nothing():
    for script in (lambda q: {GOAL: False}, lambda q: {GOAL: True}):
        stack = Stack([CaptionReward(source="ranking", judge=Service(Scripted(script)))])
        stack.learn([episode(["a key", "a wall"])])
        assert [y for *_, y in stack.shapers[0].compared] == [0.5]
        assert (
            stack.shapers[0].w == pytest.approx(np.zeros(256), abs=1e-9) and not paid(stack, episode(["a key"])).any()
        )


def test_comparisons_that_come_late_are_taken_in_by_the_next_learning():
    gate = threading.Event()
    judge = Scripted(lambda q: {GOAL: worth(q.after) > worth(q.before)}, gate=gate)
    service = Service(judge, mode="async")
    stack = Stack([CaptionReward(source="ranking", judge=service)])
    traj = episode(["you are far", "you are there"])
    stack.learn([traj])
    assert stack.shapers[0].compared == []
    gate.set()
    assert service.wait(10)
    stack.learn([traj])
    stack.learn([traj])
    assert stack.shapers[0].compared == [("you are far", "you are there", 1.0)]
    service.close()


@pytest.mark.parametrize(
    "settings, words",
    [
        ({}, "a judge, or labels"),
        ({"source": "ranking", "labels": {"a": 1.0}}, "a judge, or labels"),
        ({"source": "guess", "judge": "predicate"}, "setting 'source'"),
        ({"labels": {"a": 2.0}}, "from 0 to 1"),
        ({"labels": {"a": 1.0}, "coef": -1.0}, "coef = -1.0"),
        ({"labels": {"a": 1.0}, "coef": float("nan")}, "'coef' is nan"),
        ({"labels": {"a": 1.0}, "threshold": 1.0}, "threshold = 1.0"),
        ({"labels": {"a": 1.0}, "student": {"rate": 1.0}}, "student is of source"),
        ({"judge": "predicat"}, "did you mean 'predicate'"),
        ({"source": "classification", "judge": "predicate", "student": {"rates": 1}}, "rates"),
    ],
)
def test_caption_reward_refuses(settings, words):
    with pytest.raises((ValueError, TypeError), match=words):
        Stack([CaptionReward(**settings)])


def test_captions_are_facts_or_texts():
    with pytest.raises(MissingFact, match="'caption'"):
        paid(CaptionReward(labels={"a": 1.0}, key="caption"), episode(["a"]))
    assert paid(CaptionReward(labels={"state 1": 1.0}, key=""), episode(["a", "b"])).tolist() == [0.4, 0.0]
    with pytest.raises(ValueError, match="observation is int, a text is expected"):
        paid(CaptionReward(labels={"a": 1.0}, key=""), Trajectory([0, 1], [0], np.zeros(1), True, False, [{}, {}]))


# -- the hashed embedder -------------------------------------------------------------------------
def test_hashed_vectors_by_hand():
    # without pieces, the words and pairs of "a b" are a, b, "a b": three places of equal size, unless two collide
    v, w = Hashed(4096, 0).embed(["a b", "b a"])
    assert np.sort(np.abs(v))[-3:] == pytest.approx([3**-0.5] * 3) and float(v @ v) == pytest.approx(1.0)
    assert float(v @ w) == pytest.approx(2 / 3)  # a and b in common, the pairs not
    same = Service("hashed").ask([Text("Pick up the KEY!"), Text("pick up the key"), Text("...")])
    assert np.allclose(same[0], same[1]) and same[2] is None and same[0].shape == (512,)
    near, far = (float(same[1] @ Hashed().embed([x])[0]) for x in ("you pick up the keys", "a dragon sleeps"))
    assert near > 0.4 > far
    with pytest.raises(ValueError, match="hashed: dim is 0"):
        make({"scorer": "hashed", "dim": 0})


# -- VLM-RL --------------------------------------------------------------------------------------
class Vectors:
    """An embedder with a dictionary."""

    kinds = ("text",)

    def __init__(self, known):
        self.known, self.batches = known, []
        self.identity = {"scorer": "vectors"}

    def reply(self, batch):
        self.batches.append(len(batch))
        said = [self.known.get(q.text) for q in batch]
        return [None if v is None else Reply(json.dumps({"vector": list(v)})) for v in said]

    def read(self, raw, query):
        return query.parse(raw)


def on_axes(**texts):
    """Vectors whose cosines with "good" (x axis) and "bad" (y axis) are the given pairs."""
    rest = {k: (a, b, (1 - a * a - b * b) ** 0.5) for k, (a, b) in texts.items()}
    return Service(Vectors({"good": (1, 0, 0), "bad": (0, 1, 0)} | rest))


def goal(embedder, **settings):
    return ContrastiveGoal(("good",), ("bad",), embedder, key="message", **settings)


def test_contrasting_goals_of_the_card():
    # sims .25 to bad, .24 to good: z = .01, c = 1 - .01 / .03 = 2/3, v* = 16.667; v = 20: 1 - 3.333 / 25 = .8667; .9 .8 1
    assert paced(2 / 3, 20.0, 25.0) == pytest.approx(0.866667, abs=1e-6)
    traj = episode(["road"], last={"speed": 20.0, "off": 0.3, "angle": -18.0, "std": 0.0})
    gates = {"off": 3.0, "angle": 90.0, "std": 0.4}
    out = paid(goal(on_axes(road=(0.24, 0.25)), pace="speed", gates=gates), traj)
    assert out == pytest.approx([0.624], abs=1e-4)
    assert paid(goal(on_axes(road=(0.24, 0.25))), traj) == pytest.approx([2 / 3], abs=1e-3)


def test_contrasting_goals_by_hand():
    one = on_axes(x=(0.6, 0.2))
    traj = episode(["x"], [0.5])
    assert paid(goal(one, form="weighted", alpha=0.25), traj) == pytest.approx(
        [0.5 + 0.25 * 0.6 - 0.75 * 0.2], abs=1e-5
    )
    assert paid(goal(one, weight=2.0), traj) == pytest.approx([0.5 + 2.0])  # nearer to good: z < 0, c = 1
    # auto: low = z(good) = -1, high = z(bad) = 1, z = -.4: c = 1 - .6 / 2
    assert paid(goal(one, clip="auto"), traj) == pytest.approx([0.5 + 0.7], abs=1e-5)
    # projection, alpha 1: x = (.6, .2) onto the line from (0, 1) to (1, 0): (.7, .3); to good: .09 + .09, half of it off 1
    assert paid(goal(one, form="projection", alpha=1.0), traj) == pytest.approx([0.5 + 0.91], abs=1e-5)
    # alpha 0: the cosine with good, 1 - |x - g|^2 / 2 = x . g
    assert paid(goal(one, form="projection", alpha=0.0), traj) == pytest.approx([0.5 + 0.6], abs=1e-5)
    assert [falloff(x, w) for x, w in ((-1.5, 3.0), (4.0, 3.0), (0.4, None), (-1.0, None))] == [0.5, 0.0, 0.4, 0.0]


def test_a_crash_stands_alone():
    traj = episode(["x", "x"], [-10.0, 0.0])
    assert paid(goal(on_axes(x=(0.6, 0.2))), traj).tolist() == [-10.0, 1.0]
    assert paid(goal(on_axes(x=(0.6, 0.2)), override=False), traj).tolist() == [-9.0, 1.0]


TEXTS = st.lists(
    st.sampled_from(["the road is clear", "two cars collide", "a road", "a cat", "cars", ""]), min_size=1, max_size=8
)


def words(**settings):
    return ContrastiveGoal(("the road is clear",), ("two cars collide",), key="message", **settings)


@given(TEXTS, st.sampled_from(["clip", "weighted", "projection"]))
def test_a_batch_pays_what_single_steps_pay(messages, form):
    shaper = words(form=form, clip="auto")
    together = paid(shaper, episode(messages))
    env = shape(Talk(messages), [shaper])
    env.reset()
    assert [env.step(0)[1] for _ in messages] == pytest.approx(together.tolist(), abs=1e-9)
    if form == "clip":
        assert ((together >= 0) & (together <= 1)).all()
        best = paid(shaper, episode(["the road is clear", "two cars collide"]))
        assert best == pytest.approx([1.0, 0.0]) and best[0] >= together.max()


@given(TEXTS)
def test_swapped_goals_change_the_sign_and_equal_ones_pay_a_constant(messages):
    a = paid(words(form="weighted"), episode(messages))
    b = paid(
        ContrastiveGoal(("two cars collide",), ("the road is clear",), key="message", form="weighted"),
        episode(messages),
    )
    assert a == pytest.approx(-b, abs=1e-9)
    same = ContrastiveGoal(("a road",), ("a road",), key="message", clip="auto")
    assert not paid(same, episode(messages)).any()
    assert not paid(words(gates={"zero": None}), episode([messages[-1]], last={"zero": 0.0})).any()


def test_a_recorded_episode_is_one_batch_and_goals_are_embedded_once():
    model = Vectors({"good": (1, 0), "bad": (0, 1)} | {f"x{i}": (1, i) for i in range(5)})
    stack = Stack([goal(Service(model))])
    for _ in range(2):
        paid(stack, episode([f"x{i}" for i in range(5)]))
    assert model.batches == [5, 2]


def test_a_text_without_a_vector_pays_nothing_and_is_counted():
    stack = Stack([goal(on_axes(x=(0.6, 0.2)))])
    assert paid(stack, episode(["x", "unknown", ""])).tolist() == [1.0, 0.0, 0.0]
    assert stack.stats()["contrastive_goal/no answer"] == 2
    with pytest.raises(ValueError, match="no vector for the goal 'good'"):
        paid(goal(Service(Vectors({"x": (1, 0)}))), episode(["x"]))


@pytest.mark.parametrize(
    "settings, words",
    [
        ({}, "positive is"),
        ({"positive": ("a",), "negative": (" ",)}, "one text or more"),
        ({"positive": ("a",), "negative": ("b",), "clip": (0.5, 0.1)}, "low below high"),
        ({"positive": ("a",), "negative": ("b",), "clip": "often"}, "setting 'clip'"),
        ({"positive": ("a",), "negative": ("b",), "alpha": 2.0}, "alpha = 2.0"),
        ({"positive": ("a",), "negative": ("b",), "gates": {"x": 0.0}}, "the gate 'x' is 0.0"),
        ({"positive": ("a",), "negative": ("b",), "embedder": "hash"}, "did you mean 'hashed'"),
        ({"positive": ("a",), "negative": ("b",), "embedder": "predicate", "key": "message"}, "not a text"),
    ],
)
def test_contrastive_goal_refuses(settings, words):
    with pytest.raises(ValueError, match=words):
        paid(ContrastiveGoal(**settings), episode(["x"]))


def test_contrastive_goal_reads_texts():
    with pytest.raises(MissingFact, match="'crop'"):
        paid(ContrastiveGoal(("a",), ("b",), key="crop"), episode(["x"]))
    with pytest.raises(ValueError, match="observation is int, a text is expected"):
        paid(ContrastiveGoal(("a",), ("b",)), Trajectory([0, 1], [0], np.zeros(1), True, False, [{}, {}]))
    assert load(json.loads(json.dumps(words().spec()))) == words()
    g = np.array([[1.0, 0.0]])
    assert projected(np.array([[0.0, 1.0]]), g, g, 1.0) == pytest.approx([0.0])  # no line: the plain likeness


def test_goals_on_a_textual_environment_with_the_hashed_embedder():
    env = shape(
        gym.make("milepost/Quest-easy-v0"), [ContrastiveGoal(("you have it",), ("a locked door",), clip="auto")]
    )
    env.reset(seed=0)
    rewards = [env.step(env.unwrapped.oracle())[1] for _ in range(2)]
    assert all(0.0 <= r <= 2.0 for r in rewards) and len(set(rewards)) > 1
    assert env.stack.stats()["contrastive_goal/no answer"] == 0


# -- CALM: the table -----------------------------------------------------------------------------
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


# -- CALM: discovered sub-goals ------------------------------------------------------------------
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


# -- Robo-Dopamine: judged hops ------------------------------------------------------------------
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


# -- conformance and hosts -----------------------------------------------------------------------------------------
JUDGE = {"scorer": "predicate", "patterns": {GOAL: "at [34]", NEARER: "at 4", FARTHER: "at 0"}}


@pytest.mark.parametrize(
    "shaper",
    [
        CaptionReward(judge=JUDGE),
        CaptionReward(judge=JUDGE, source="classification", student={"min_lessons": 2}),
        CaptionReward(judge=JUDGE, source="ranking", pairs=3),
        ContrastiveGoal(("at 4",), ("at 0",), key="message", clip="auto", override=False, gates={"progress": None}),
        ContrastiveGoal(("at 4",), ("at 0",), key="message", form="projection", pace="score", target=4.0),
        JudgementTable(judge=JUDGE, subgoals=(GOAL,), view="message", task="t", once=True, count="any"),
        HopProgress(judge=JUDGE, views=("forward", "incremental"), text="message", task="t"),
        HopProgress(judge=JUDGE, goal="message", text="message", task="t", consistency=1.0),
    ],
    ids=lambda s: type(s).__name__,
)
def test_settings_conform(shaper):
    C.check_shaper(shaper, lambda x: C.facts_of(x) | {"message": f"at {x}"})


LAYERS = {
    "caption": lambda: layers(
        labels={"You pick up the lamp.": 1.0}, judge={"scorer": "predicate", "patterns": {GOAL: "open|pick"}}
    ),
    "goal": lambda: [ContrastiveGoal(("you carry it",), ("a locked door",), clip="auto")],
    "table": lambda: [JudgementTable(table={"look": 1.0}, key=_said)],
    "hop": lambda: [HopProgress(judge="predicate", views=("forward",), gamma=1.0)],
}


def _said(t):
    return str(t.action)


@pytest.mark.parametrize("name", LAYERS)
def test_a_vector_environment_pays_what_single_ones_pay(name):
    seeds, rewards = [3, 4], []
    envs = shape(gym.make_vec("milepost/Quest-easy-v0", 2, "sync"), LAYERS[name]())
    envs.reset(seed=seeds)
    many = [envs.step(np.array([a, a]))[1].tolist() for a in ("look", "inventory", "look")]
    for seed in seeds:
        env = shape(gym.make("milepost/Quest-easy-v0"), LAYERS[name]())
        env.reset(seed=seed)
        rewards.append([env.step(a)[1] for a in ("look", "inventory", "look")])
    assert np.allclose(np.array(many).T, rewards)
    envs.close()
