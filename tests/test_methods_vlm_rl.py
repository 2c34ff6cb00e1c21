"""VLM-RL: contrasting goals (``wrappers/step/vlm_rl.py``)."""

import importlib.util
import json
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import milepost  # noqa: F401
from milepost.wrappers import ContrastiveGoal, MissingFact, Stack, Trajectory, load, shape
from milepost.wrappers import conformance as C
from milepost.wrappers.scorers import Reply, Service
from milepost.wrappers.step.vlm_rl import falloff, paced, projected

_spec = importlib.util.spec_from_file_location("talk", Path(__file__).with_name("talk.py"))
talk = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(talk)
Talk, episode, paid, check_lanes = talk.Talk, talk.episode, talk.paid, talk.check_lanes
pytestmark = pytest.mark.core


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


# -- settings and hosts --------------------------------------------------------------------------
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


@pytest.mark.parametrize(
    "shaper",
    [
        ContrastiveGoal(("at 4",), ("at 0",), key="message", clip="auto", override=False, gates={"progress": None}),
        ContrastiveGoal(("at 4",), ("at 0",), key="message", form="projection", pace="score", target=4.0),
    ],
    ids=["clip", "projection"],
)
def test_settings_conform(shaper):
    C.check_shaper(shaper, lambda x: C.facts_of(x) | {"message": f"at {x}"})


def test_a_vector_environment_pays_what_single_ones_pay():
    check_lanes(lambda: [ContrastiveGoal(("you carry it",), ("a locked door",), clip="auto")])
