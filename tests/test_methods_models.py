"""Reward models by themselves: Bradley-Terry, rankings of factors, discriminators, stages; and the bench that measures them."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from milepost.wrappers import PotentialShaping, Stack, SubgoalOptions, Trajectory
from milepost.wrappers import conformance as C
from milepost.wrappers.collect.negatives import Graded, NegativeForge, grade_of, replay
from milepost.wrappers.models import (
    Factor,
    Lexicographic,
    PolicyDiscriminator,
    PreferenceModel,
    StageModel,
    pair_loss,
    preferred,
    prefix,
    said,
    task_of,
    text_of,
    transcript,
)
from milepost.wrappers.models.bradley_terry import newton
from milepost.wrappers.models.stages import cuts, deviations, useful
from milepost.wrappers.models.texts import shown
from milepost.wrappers.probes.reward_bench import mae, pairwise_accuracy, reward_bench, table, win_rates

pytestmark = pytest.mark.core
rows = st.lists(st.lists(st.floats(-3, 3).map(lambda x: round(x, 2)), min_size=2, max_size=2), min_size=3, max_size=8)


def number(x):
    return [float(x)]


# -- Bradley-Terry -------------------------------------------------------------------------------
def test_bradley_terry_of_the_cards():
    # IXC-2.5's README: 5.76 against -2.84375; POLAR's: -.57 against -11.03; HERON: a gap of 1
    model = PreferenceModel(number, state={"weights": np.ones(1)})
    assert pair_loss(model.score(5.76) - model.score(-2.84375)) == pytest.approx(0.000183400, abs=1e-9)
    assert model.probability(5.76, -2.84375) == pytest.approx(0.999817, abs=1e-6)
    assert pair_loss(-0.57 + 11.03) == pytest.approx(2.866e-5, abs=1e-8)
    assert preferred(-0.57 + 11.03) == pytest.approx(0.99997, abs=1e-5)
    assert pair_loss(1.0) == pytest.approx(0.3133, abs=1e-4)


def test_newton_by_hand():
    # three pairs with d = 1 and one with d = -1: mean loss 3/4 softplus(-w) + 1/4 softplus(w), least at sigma(w) = 3/4
    d = np.array([[1.0], [1.0], [1.0], [-1.0]])
    assert newton(d, 1e-9) == pytest.approx([math.log(3)], abs=1e-6)
    # separable: l2 w = sigma(-w); at w = 1 that is sigma(-1) = .2689414
    assert newton(np.ones((1, 1)), 0.2689414213699951) == pytest.approx([1.0], abs=1e-8)
    # a margin of 1 moves the same optimum: l2 w = sigma(1 - w), at w = 1: 1/2
    assert newton(np.ones((1, 1)), 0.5, 1.0) == pytest.approx([1.0], abs=1e-8)


@pytest.mark.parametrize("hidden", [0, 8])
def test_separable_pairs_are_learned(hidden):
    if hidden:
        pytest.importorskip("torch", reason="the extra torch is not installed")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 3))
    worth = x @ [2.0, -1.0, 0.0]
    pairs = [(a, b) for a in range(40) for b in range(40) if worth[a] > worth[b] + 0.5]
    model = PreferenceModel(lambda i: x[i], l2=1e-4, hidden=hidden, epochs=60, lr=0.05)
    out = model.fit(pairs)
    assert out["accuracy"] == 1.0 and out["loss"] < 0.1 and out["pairs"] == len(pairs)
    assert model.best_of_n(range(40)) == int(np.argmax(worth))
    again = PreferenceModel(lambda i: x[i], hidden=hidden, state=model.state)  # plain arrays are all of it
    assert np.array_equal(again.scores(range(40)), model.scores(range(40)))


@given(rows, st.floats(-5, 5))
def test_laws_of_a_preference_model(x, constant):
    x = np.unique(np.array(x), axis=0)
    assume(len(x) > 2)
    model = PreferenceModel(lambda i: x[i], l2=0.1)
    out = model.fit([(i, i + 1) for i in range(len(x) - 1)])
    things = list(range(len(x)))
    scores = model.scores(things)
    for a in things:
        for b in things:
            assert model.compare(a, b) == -model.compare(b, a) == np.sign(scores[a] - scores[b])
            assert model.probability(a, b) + model.probability(b, a) == pytest.approx(1.0)
    assert np.mean(scores[:-1] + scores[1:]) == pytest.approx(0.0, abs=1e-9)  # over what stood in the pairs
    order = model.rank(things)
    assert sorted(order) == things and (np.diff(scores[np.argsort(order)]) <= 0).all()
    assert model.best_of_n(things) == int(np.argmin(order))
    moved = PreferenceModel(lambda i: np.append(x[i], constant), l2=0.1)  # a constant feature: the same loss and scores
    assert moved.fit([(i, i + 1) for i in range(len(x) - 1)])["loss"] == pytest.approx(out["loss"])
    assert moved.scores(things) == pytest.approx(scores, abs=1e-9)
    assert set(model.filter_low(things, 0.25)) == {i for i in things if scores[i] >= np.quantile(scores, 0.25)}
    assert model.filter_low(things, 0.0) == things and model.filter_low([]) == []


def test_length_control_unlearns_length():
    # quality decides little, length much: chosen answers are longer. With the control only pairs of like length remain.
    rng = np.random.default_rng(0)
    quality, length = rng.normal(size=200), rng.integers(10, 200, 200).astype(float)
    pairs = []
    for _ in range(600):
        a, b = rng.integers(200, size=2)
        win = quality[a] - quality[b] + 0.03 * (length[a] - length[b]) > 0
        pairs.append((a, b) if win else (b, a))

    def features(i):
        return [quality[i], length[i] / 100]

    found = {}
    for ratio in (None, 1.1):
        model = PreferenceModel(features, lambda i: length[i], length_ratio_max=ratio)
        out = model.fit(pairs)
        found[ratio] = np.corrcoef(model.scores(range(200)), length)[0, 1]
        assert (out["too_long"] > 0) == (ratio is not None)
    assert found[None] > 0.8 and found[1.1] < found[None] - 0.3


def test_a_preference_model_by_hand():
    model = PreferenceModel(number, state={"weights": np.array([2.0]), "mean": 4.0, "std": 2.0})
    assert list(model.scores([1, 2, 5])) == [-2.0, 0.0, 6.0]
    assert list(model.normalized(np.array([[1.0], [5.0]]), 2.0)) == [-1.0, 2.0]  # (10 - 4) / 2 = 3, cut at 2
    assert list(model.rank([1, 5, 2, 5])) == [3, 0, 2, 1] and model.best_of_n([1, 5, 2]) == 5
    assert PreferenceModel(number).score(3) == 0.0 and PreferenceModel(number).fit([]) == {
        "pairs": 0.0,
        "too_long": 0.0,
    }
    held = PreferenceModel(number, l2=0.2689414213699951)  # w = 1 as above; mean and deviation of what is held out
    held.fit([(1, 0)], held_out=[2, 4])
    assert held.state["mean"] == pytest.approx(3.0) and held.state["std"] == pytest.approx(1.0)
    with pytest.raises(ValueError, match="best_of_n of nothing"):
        model.best_of_n([])
    for wrong in ({"l2": 0.0}, {"margin": -1.0}, {"hidden": -1}, {"length_ratio_max": float("nan")}, {"epochs": 0.5}):
        with pytest.raises(ValueError, match="preference_model"):
            PreferenceModel(**wrong)


# -- HERON ---------------------------------------------------------------------------------------
def made(success, steps):
    return {"success": success, "steps": steps}


CARD = [made(1, 120), made(1, 60), made(0, 10), made(1, 50)]


def test_heron_of_the_card():
    order = Lexicographic([("success", 1), ("steps", -1, 0.5)])
    # std of 120, 60, 10, 50 is 39.37, half of it 19.69; b and d differ by 10: left out
    assert order.margins(order.values(CARD)) == pytest.approx([0.0, 19.685], abs=1e-3)
    assert {tuple(p) for p in order.pairs(CARD)} == {(1, 0), (3, 0), (0, 2), (1, 2), (3, 2)}
    assert list(order.rank(CARD)) == [2, 0, 3, 1]


def test_heron_by_hand():
    # margin 2 fixed: 5 beats 2, ties with 3 and 4; ties go to the second level, where less is better
    order = Lexicographic([Factor("x", 1, 0.0, 2.0), ("y", -1)])
    assert order.compare({"x": 5, "y": 9}, {"x": 2, "y": 0}) == 1
    assert order.compare({"x": 5, "y": 9}, {"x": 3, "y": 0}) == -1
    assert order.compare({"x": 5, "y": 9}, {"x": 4, "y": 9}) == 0
    assert order.judge({"x": 5, "y": 9}, {"x": 2, "y": 0}) == (1.0, 0.0)
    assert order.judge({"x": 5, "y": 9}, {"x": 4, "y": 9}) == (0.5, 0.5)
    # indifference is not transitive: 0 ~ 2, 2 ~ 4, 4 beats 0
    plain = Lexicographic([Factor("x", 1, 0.0, 2.0)])
    assert [tuple(p) for p in plain.pairs([{"x": 0}, {"x": 2}, {"x": 4}])] == [(2, 0)]
    assert Lexicographic(["x"]).compare({"x": None}, {"x": 1}) == 0  # unknown: decides nothing
    sample = Lexicographic([("x", 1, 1.0)], ddof=1)  # std of 0, 2: 1 as population, sqrt 2 as sample
    assert sample.margins(np.array([[0.0], [2.0]])) == pytest.approx([math.sqrt(2)])
    long, short = (Trajectory([0] * (n + 1), [0] * n, np.ones(n), True, False, [{}] * (n + 1)) for n in (3, 2))
    assert Lexicographic([("return",)]).compare(long, short) == 1
    assert Lexicographic([("length", -1)]).compare(long, short) == -1
    for wrong in ([], [("x", 2)], [("x", 1, -1.0)], [(3,)], [("x", 1, 0.0, 0.0, 0.0)]):
        with pytest.raises(ValueError, match="lexicographic"):
            Lexicographic(wrong)


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(-9, 9)), min_size=2, max_size=7),
    st.sampled_from([0.25, 0.5, 2.0, 4.0]),
    st.integers(-8, 8),
)
def test_laws_of_heron(points, factor, constant):
    batch = [{"a": a, "b": b} for a, b in points]
    order = Lexicographic([("a", 1), ("b", -1, 0.5)])
    signs = order.signs(order.values(batch))
    assert (signs == -signs.T).all() and not np.diag(signs).any()
    for i, x in enumerate(points):
        for j, y in enumerate(points):
            assert x[0] <= y[0] or signs[i, j] == 1  # what the first level has decided stands
    moved = [{"a": factor * a, "b": factor * b + constant} for a, b in points]  # exact in binary
    assert (order.signs(order.values(moved)) == signs).all()
    strict = Lexicographic([("a", 1), ("b", -1)])  # no margins: the lexicographic order itself
    want = sorted(range(len(points)), key=lambda i: (-points[i][0], points[i][1]))
    assert [points[i] for i in np.argsort(strict.rank(batch))] == [points[i] for i in want]


# -- POLAR's fallback ----------------------------------------------------------------------------
def speak(rng, words, n=8):
    return " ".join(rng.choice(words, n))


def test_a_discriminator_knows_policies_apart():
    rng = np.random.default_rng(0)
    voices = {"terse": ["ok", "done", "yes", "no"], "wordy": ["certainly", "perhaps", "indeed", "please", "ok"]}
    seen = {k: [speak(rng, v) for _ in range(8)] for k, v in voices.items()}
    new = {k: [speak(rng, v) for _ in range(8)] for k, v in voices.items()}
    judge = PolicyDiscriminator(triples=400)
    assert judge.accuracy(new) == 0.5  # nothing is fitted: all alike
    assert judge.fit(seen)["accuracy"] > 0.95 and judge.accuracy(new) > 0.9
    for samples in seen.values():
        assert judge("", samples[0], samples[0]) == 0.0
    assert judge("", seen["terse"][0], new["terse"][0]) > judge("", seen["terse"][0], new["wordy"][0])


def test_a_discriminator_by_hand():
    # one feature; A: 0 and 1, B: 3. Triples (0, 1, 3) and (1, 0, 3): gaps (-1 + 3) w = 2w and (-1 + 2) w = w
    judge = PolicyDiscriminator(number, l2=0.3)
    judge.fit({"a": [0, 1], "b": [3]})
    (w,) = judge.model.state["weights"]
    slope = (2 / (1 + math.exp(2 * w)) + 1 / (1 + math.exp(w))) / 2
    assert slope == pytest.approx(0.3 * w, abs=1e-9) and judge("", 0, 3) == pytest.approx(-3 * w)
    for wrong in ({"a": [1, 2]}, {"a": [1], "b": [2]}):
        with pytest.raises(ValueError, match="at least two policies"):
            judge.fit(wrong)
    with pytest.raises(ValueError, match="triples is 0"):
        PolicyDiscriminator(triples=0)


# -- perceptual stages ---------------------------------------------------------------------------
ORACLE = np.array([0, 0.1, 0, 5, 5.1, 5])[:, None]


def test_stages_of_the_card():
    d = deviations(ORACLE)
    want = [2.4418, 2.2299, 0.0943, 2.2010, 2.4581]
    assert [d[0, k] + d[k, 6] for k in range(1, 6)] == pytest.approx(want, abs=1e-4) and cuts(ORACLE, 2) == (3,)
    inside = np.array([[4.95, 0.5], [5.05, 1.5]])  # mu 5 and 1, sigma .05 and .5
    outside = np.array([[-0.05, 0.5], [0.05, 1.3]])  # mu 0 and .9, sigma .05 and .4
    assert useful(inside, outside, 5.0) == pytest.approx([24.9, -0.4])
    model = StageModel(stages=3)
    assert model.combine([1.0, 0.9, 0.1]) == pytest.approx(2.2) and model.combine([0, 0.95, 0.9]) == pytest.approx(5.5)


def test_stages_by_hand():
    # two stages 0, 0 | 2, 2 of one feature: standardised -1 and 1 (mean 1, deviation 1), deviation 0 -> the floor .5
    model = StageModel(stages=2, floor=0.5).fit([np.array([[0.0], [0.0], [2.0], [2.0]])])
    assert model.bounds == ((2,),) and model.means.ravel() == pytest.approx([-1, 1])
    # at 1.5: standardised .5, a distance of .5 to stage 2: exp(-(.5 / .5)^2) = 1/e; R is 2 of that, the potential 1 of it
    assert model.reward([1.5]) == pytest.approx(2 / math.e) and model([1.5]) == pytest.approx(1 / math.e)
    assert [model.stage([x]) for x in (0.0, 0.9, 1.1, 2.0)] == [1, 1, 2, 2]
    assert model.subgoals([2.0]) == {"stage 2": True} and model.subgoals([0.1]) == {"stage 2": False}
    squares = StageModel(stages=2, floor=0.5, score="quadratic").fit([[[0.0], [0.0], [2.0], [2.0]]])
    assert squares.reward([1.5]) == pytest.approx(-2.0) and squares([1.5]) == pytest.approx(-1.0)
    assert list(StageModel(stages=3, weight="linear").weights()) == [0, 2, 3]
    assert list(model.boundaries([[0.0], [0.1], [0.0], [1.9], [2.0]])) == [3]


@given(
    st.lists(st.floats(-4, 4).map(lambda x: round(x, 1)), min_size=4, max_size=9),
    st.integers(2, 3),
    st.integers(1, 2),
)
def test_cuts_are_the_best_there_are(x, n, least):
    x = np.array(x)[:, None]
    assume(len(x) >= n * least)
    edges = [0, *cuts(x, n, least), len(x)]
    assert all(b - a >= least for a, b in itertools.pairwise(edges))

    def cost(edges):
        return sum(float(x[a:b].std()) for a, b in itertools.pairwise(edges))

    every = [[0, i, len(x)] for i in range(1, len(x))] if n == 2 else []
    every += [[0, i, j, len(x)] for i in range(1, len(x)) for j in range(i + 1, len(x))] if n == 3 else []
    allowed = [e for e in every if all(b - a >= least for a, b in itertools.pairwise(e))]
    assert cost(edges) == pytest.approx(min(map(cost, allowed)), abs=1e-6)


def walk(rng, order=(0, 1, 2), scale=1.0, shift=0.0):
    """Three plateaus in two of four features; the third is noise, the fourth never moves."""
    plateaus = np.array([[0, 0], [4, 0], [4, 6]])[list(order)]
    steps = np.repeat(plateaus, rng.integers(4, 8, 3), axis=0) + rng.normal(scale=0.1, size=(1, 2))
    out = np.column_stack([steps + rng.normal(scale=0.05, size=steps.shape), rng.normal(scale=0.3, size=len(steps))])
    return np.column_stack([out * scale + shift, np.full(len(out), 7.0)])


@given(st.integers(0, 30), st.floats(0.5, 20), st.floats(-5, 5), st.permutations([0, 1, 2, 3]))
def test_laws_of_stages(seed, scale, shift, order):
    demos = [walk(np.random.default_rng([seed, k])) for k in range(3)]
    model = StageModel(stages=3, m=2, min_len=3).fit(demos)
    assert not model.chosen[:, 3].any() and (model.chosen.sum(1) == 2).all()  # a constant feature is never chosen
    for demo, (a, b) in zip(demos, model.bounds):
        means = [demo[:a].mean(0), demo[a:b].mean(0), demo[b:].mean(0)]
        potential = [model(s) for s in means]
        assert potential == sorted(potential) and 0 <= potential[0] and potential[-1] <= 1
        assert [model.stage(s) for s in means] == [1, 2, 3]
    # other units and another order of the features: the same potentials
    other = [(d * scale + shift)[:, order] for d in demos]
    again = StageModel(stages=3, m=2, min_len=3).fit(other)
    assert again.bounds == model.bounds
    assert [again(s) for s in other[0]] == pytest.approx([model(s) for s in demos[0]], abs=1e-6)


def test_stages_as_a_potential_and_as_subgoals():
    demo = np.repeat(np.arange(5.0), 3)[:, None]
    model = StageModel(stages=5).fit([demo])
    shaper = PotentialShaping(phi=lambda o: model([o]), gamma=0.9)
    assert C.policy_invariant(shaper)
    obs = [0, 1, 2, 3, 4]
    t = Trajectory(obs, [0] * 4, np.zeros(4), False, True, [{} for _ in obs])
    paid = Stack([PotentialShaping(phi=lambda o: model([o]), gamma=1.0)]).run([t])[0].rewards
    assert (paid > 0).all() and paid.sum() == pytest.approx(model([4]) - model([0])) and paid.sum() > 0.5
    t = Trajectory(obs, [0] * 4, np.zeros(4), False, True, [{"subgoals": model.subgoals([o])} for o in obs])
    assert Stack([SubgoalOptions(beta=0.5)]).run([t])[0].rewards == pytest.approx([0.5] * 4)  # a new stage each step


@pytest.mark.parametrize(
    "wrong", [{"stages": 1}, {"m": 0}, {"alpha": -1.0}, {"min_len": 0}, {"floor": 0.0}, {"weight": "x"}, {"score": 1}]
)
def test_wrong_stages_are_named(wrong):
    with pytest.raises(ValueError, match="stage_model"):
        StageModel(**wrong)


def test_stages_need_demonstrations():
    for demos in ([], [[[0.0], [1.0]], [[0.0, 1.0]]], [[[0.0], [float("nan")]]], [np.ones((9, 1))]):
        with pytest.raises(ValueError, match="stage_model"):
            StageModel(stages=2).fit(demos)
    with pytest.raises(ValueError, match="2 steps has no 3 stages"):
        StageModel(stages=3).fit([[[0.0], [1.0]]])
    with pytest.raises(RuntimeError, match="call fit"):
        StageModel()([0.0])


# -- episodes in words ---------------------------------------------------------------------------
def test_episodes_in_words():
    def talk(*turns):
        return {"messages": tuple({"role": r, "content": c} for r, c in turns)}

    infos = [{}, talk(("assistant", "look"), ("user", "a room")), talk(("assistant", "go"), ("user", "a hall"))]
    t = Trajectory(["Objective: leave\nhere", 1, 2], [0, 3], np.zeros(2), True, False, infos)
    assert said(t) == "look\ngo" and task_of(t) == "Objective: leave"
    assert transcript(t) == "Objective: leave\nhere\n> look\na room\n> go\na hall"
    bare = Trajectory(["begin", "end"], ["open door"], np.zeros(1), True, False, [{}, {}])
    assert said(bare) == "open door" and task_of(bare) == "begin" and shown(5, {}) == "5"
    assert text_of(({"name": "go", "arguments": {"to": 3}}, "x", None)) == "go arguments to 3\nx\n"
    cut = prefix(t, 1)
    assert len(cut) == 1 and cut.truncated and not cut.terminated and prefix(t, 2) is t


# -- negatives -----------------------------------------------------------------------------------
def stairs(goals, success=True, task="Task: climb"):
    """Sub-goals that hold after each of the steps, as numbers of them out of 4."""
    infos = [{"subgoals": {i: i < g for i in range(4)}, "success": False} for g in (0, *goals)]
    infos[-1]["success"] = success
    n = len(goals)
    return Trajectory([task, *map(str, goals)], list(range(n)), np.ones(n), True, False, infos)


def test_negatives_by_hand():
    forge = NegativeForge([stairs([1, 2, 1, 4])])
    (whole,) = forge.positives()
    assert whole.grade == 5 and whole.task == "Task: climb"
    # after 1, 2, 3 of 4 steps: 1/4, 2/4, 1/4 of the goals: grades 2, 3, and 3 again: what was lost is still in the film
    assert [(len(x.traj), x.grade) for x in forge.clip()] == [(1, 2), (2, 3), (3, 3)]
    assert [(len(x.traj), x.grade) for x in forge.clip((0.0, 0.1))] == [(0, 1)]  # the same prefix once
    verdicts = {"a": 0.5, "b": 1.0, "c": None, "d": 0.55, "e": 0.0}
    tasks = [(k, f"Task: {k}") for k in verdicts]
    assert [(x.task, x.grade) for x in forge.relabel(tasks, lambda t, k: verdicts[k])] == [
        ("Task: a", 3),
        ("Task: e", 1),
    ]
    assert len(forge.relabel(tasks, lambda t, k: verdicts[k], per_grade=None)) == 3
    again = forge.paraphrase([whole], [str.upper, lambda s: s])
    assert [(x.task, x.grade, x.kind, x.asked) for x in again] == [("TASK: CLIMB", 5, "paraphrase", "Task: climb")]
    assert [grade_of(x) for x in (0.0, 0.25, 0.5, 0.75, 1.0)] == [1, 2, 3, 4, 4] and grade_of(1.0, True) == 5
    for wrong, said_ in (([], "no episode"), ([stairs([1], success=False)], "is no success")):
        with pytest.raises(ValueError, match=said_):
            NegativeForge(wrong)
    with pytest.raises(ValueError, match=r"1.0 is not in \[0, 1\)"):
        forge.clip((1.0,))
    lost = stairs([4])
    lost.infos[0].pop("subgoals")
    with pytest.raises(ValueError, match="neither subgoals nor progress"):
        NegativeForge([lost]).clip((0.0,))


@given(st.lists(st.integers(0, 4), min_size=1, max_size=9), st.lists(st.floats(0, 0.99), min_size=1, max_size=5))
def test_prefixes_never_deserve_more(goals, fractions):
    found = NegativeForge([stairs(goals)]).clip(fractions)
    grades = [x.grade for x in found]
    assert grades == sorted(grades) and all(1 <= g < 5 for g in grades)
    assert [len(x.traj) for x in found] == sorted({int(f * len(goals)) for f in fractions})


def test_the_environments_own_verifier():
    import gymnasium as gym

    import milepost  # noqa: F401  registers the ids

    env = gym.make("milepost/Quest-easy-v0").unwrapped
    obs, info = env.reset(options={"task": 3})
    seen, actions, infos, done = [obs], [], [info], False
    while not done:
        actions.append(env.oracle())
        obs, _, te, tr, info = env.step(actions[-1])
        seen.append(obs)
        infos.append(info)
        done = te or tr
    t = Trajectory(seen, actions, np.zeros(len(actions)), True, False, infos, {"task": infos[0]["meta"]["task"]})
    forge, verify = NegativeForge([t]), replay(env)
    assert verify(t, 3) == 1.0  # on its own task it is a success
    texts = {
        k: task_of(Trajectory([env.reset(options={"task": k})[0]], [], np.zeros(0), False, True, [{}]))
        for k in range(9)
    }
    found = forge.relabel(list(texts.items()), verify, per_grade=None)
    assert found and all(x.grade < 5 and x.task != texts[3] for x in found)
    assert all(x.grade == 1 for x in forge.clip((0.0,)))
    assert forge.clip((0.9,))[0].grade > 1


# -- the bench -----------------------------------------------------------------------------------
def test_roboreward_of_the_card():
    assert mae([5, 3, 1, 4], [5, 4, 1, 2]) == pytest.approx(0.75)


def test_the_metrics_by_hand():
    # truth 1 2 2 3: five pairs differ; scores 1 1 3 2: (0,1) tie .5, (0,2) right, (0,3) right, (1,3) right, (2,3) wrong
    assert pairwise_accuracy([1, 1, 3, 2], [1, 2, 2, 3]) == pytest.approx(3.5 / 5)
    assert math.isnan(pairwise_accuracy([1, 2], [3, 3])) and math.isnan(mae([], []))
    # errors a 0 1, b 1 1, c no answer and 0: a beats b (1, tie): .75; a against c: 1, 0: .5
    rates = win_rates({"a": [0, 1], "b": [1, 1], "c": [math.nan, 0]})
    assert rates == pytest.approx({"a": 0.625, "b": (0.25 + 0.5) / 2, "c": 0.5})


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=2, max_size=12))
def test_laws_of_the_bench(pairs):
    said_, truth = np.array(pairs).T
    examples = [Graded("task", stairs([1]), int(g), "clip", i, "task") for i, g in enumerate(truth)]
    judges = {"told": lambda x: x.grade, "other": lambda x: float(said_[x.source]), "dumb": lambda x: None}
    out = reward_bench(examples, judges)
    assert out["told"].mae == 0 and out["told"].accuracy in (1.0, pytest.approx(math.nan, nan_ok=True))
    assert out["dumb"].failures == len(truth) and math.isnan(out["dumb"].mae) and out["dumb"].win_rate == 0.0
    assert sum(r.win_rate for r in out.values()) == pytest.approx(1.5)  # of three judges, half each on average
    assert out["other"].mae == pytest.approx(mae(said_, truth))


def test_the_bench_sees_paraphrases_curves_and_failures():
    t = stairs([1, 2, 3, 4])
    base = [Graded("climb", t, 5, "success", 0, "climb")]
    examples = [*base, *NegativeForge.paraphrase(base, [str.upper]), Graded("sink", t, 1, "relabel", 0, "sink")]
    out = reward_bench(
        examples,
        {"loud": lambda x: 5.0 if x.task.islower() else 3.0, "broken": lambda x: 9.0},
        {"loud": lambda t: [sum(i["subgoals"].values()) for i in t.infos]},
    )
    assert out["loud"].unlike == 2.0 and out["loud"].voc == pytest.approx(1.0) and out["loud"].failures == 0
    assert out["broken"].failures == 3 and math.isnan(out["broken"].voc)
    assert "| loud | 2.000 |" in table(out) and "3 of 3" in table(out)
    for args in (([], {"a": len}), (examples, {"a": lambda x: 1}, {"b": len})):
        with pytest.raises(ValueError, match="reward_bench"):
            reward_bench(*args)
