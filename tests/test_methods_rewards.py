"""Methods that pay what a model or a judge says of an episode: HERON, POLAR, iStar, RoboReward."""

import json
import math

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.wrappers import (
    FusedAdvantage,
    GradedOutcome,
    ImplicitProcess,
    MissingFact,
    ModelReward,
    ReferenceReward,
    Rloo,
    Stack,
    Trajectory,
    shape,
)
from milepost.wrappers import conformance as C
from milepost.wrappers.episode.istar import log_softmax, pair_features
from milepost.wrappers.episode.reference_reward import token_f1, without_thinking
from milepost.wrappers.hosts.trainer import dialogue
from milepost.wrappers.scorers import Reply, Service

pytestmark = pytest.mark.core


def run(shaper, group):
    return [t.rewards for t in Stack([shaper]).run(group)]


def sums(shaper, group):
    return [float(r.sum()) for r in run(shaper, group)]


# -- HERON and IXC: a reward model of one's own episodes --------------------------------------------
def walk(actions, success, task=0, **facts):
    """An episode of numbered actions."""
    n = len(actions)
    infos = [{} for _ in range(n + 1)]
    infos[-1] = {"success": success} | facts
    return Trajectory([0] * (n + 1), list(actions), np.zeros(n), True, False, infos, {"task": task})


def which(t, dim):
    """One feature: was it action 1?"""
    return np.array([float(t.action == 1)] + [0.0] * (dim - 1))


def test_model_reward_by_hand():
    # one success of action 1 (x = 1) against one failure of action 0 (x = 0): l2 w = sigma(-w), w = 1 at l2 = .2689...
    settings = {"features": which, "dim": 1, "l2": 0.2689414213699951, "held_out": 0.0, "factors": (("success",),)}
    stack = Stack([ModelReward(**settings)])
    good, bad, half = walk([1, 1], True), walk([0, 0], False), walk([1, 0], False)
    assert [list(t.rewards) for t in stack.run([good])] == [[0.0, 0.0]]  # nothing is fitted yet
    out = stack.learn([good, bad])
    assert out["model_reward/loss"] == pytest.approx(math.log(1 + math.exp(-1))) and out["model_reward/pairs"] == 1
    # scores 1 and 0: mean .5, deviation .5: 1 -> 1, 0 -> -1, 1/2 -> 0
    assert [list(t.rewards) for t in stack.run([good, bad, half])] == [
        pytest.approx([0, 1]),
        pytest.approx([0, -1]),
        pytest.approx([0, 0]),
    ]
    # as a delta: half's first step has x = 1 (pays 1), after the second x = 1/2 (takes it back)
    delta = Stack([ModelReward(**settings, pay="delta", weight=2.0, combine="add")])
    delta.learn([good, bad])
    paid = delta.run([Trajectory([0] * 3, [1, 0], np.array([5.0, 7.0]), True, False, [{}] * 3)])[0].rewards
    assert paid == pytest.approx([5 + 2, 7 - 2])
    assert delta.stats() == {"model_reward/pairs": 1, "model_reward/undecided": 0, "model_reward/too long": 0}


def test_factors_decide_in_their_order():
    # success first, then fewer steps: (1, 3 steps) > (1, 9) > (0, 1); margin half of the deviation of 3, 9, 1 (3.40): 1.70
    stack = Stack([ModelReward(features=which, dim=1, held_out=0.0)])
    group = [walk([1] * 3, True), walk([1, 0, 0] * 3, True), walk([0], False)]
    assert stack.learn(group)["model_reward/pairs"] == 3
    quick, slow, lost = [float(t.rewards.sum()) for t in stack.run(group)]
    assert quick > slow > lost
    # within a task: of tasks 0 0 1 only one pair can be compared
    within = Stack([ModelReward(features=which, dim=1, held_out=0.0, within="task")])
    tasks = [walk([1], True, 0), walk([0], False, 0), walk([0], False, 1)]
    assert within.learn(tasks)["model_reward/pairs"] == 1
    # better ones that are more than twice as long are left out
    short = Stack([ModelReward(features=which, dim=1, held_out=0.0, length_ratio_max=2.0, factors=(("success",),))])
    out = short.learn([walk([1] * 5, True), walk([0] * 2, False), walk([0] * 4, False)])
    assert out["model_reward/pairs"] == 1 and out["model_reward/too_long"] == 1


def play(rng, n=30):
    """Random episodes of six steps; what succeeds took action 1 at least four times."""
    out = []
    for k in range(n):
        actions = rng.integers(2, size=6).tolist()
        out.append(walk(actions, sum(actions) >= 4, task=k))
    return out


@pytest.mark.parametrize("settings", [{}, {"pay": "delta"}, {"hidden": 4, "epochs": 20, "lr": 0.1}])
def test_a_model_learns_what_success_is_made_of(settings):
    if "hidden" in settings:
        pytest.importorskip("torch", reason="the extra torch is not installed")
    stack = Stack([ModelReward(factors=(("success", 1),), dim=16, limit=2.0, weight=0.5, **settings)])
    rng = np.random.default_rng(0)
    assert stack.learn(play(rng))["model_reward/accuracy"] > 0.9
    new = play(rng)
    paid = np.array([t.rewards.sum() for t in stack.run(new)])
    won = np.array([t.infos[-1]["success"] for t in new])
    assert paid[won].mean() > paid[~won].mean() + 0.4 and np.abs(paid).max() <= 0.5 * 2.0 + 1e-9
    twin = Stack(stack.spec())
    twin.load_state_dict(stack.state_dict())
    assert [float(t.rewards.sum()) for t in twin.run(new)] == pytest.approx(list(paid))
    before = json.dumps(stack.state_dict(), default=repr)
    stack.train(False)
    assert stack.learn(new) == {} and json.dumps(stack.state_dict(), default=repr) == before


def test_what_a_fitted_model_pays_does_not_grow_with_length():
    stack = Stack([ModelReward(factors=(("success", 1),), dim=16, limit=2.0)])
    stack.learn(play(np.random.default_rng(1)))
    for n in (1, 10, 1000):
        for actions in ([1] * n, [0] * n, [0, 1] * n):
            assert abs(float(stack.run([walk(actions, False)])[0].rewards.sum())) <= 2.0
    assert stack.run([walk([], False)])[0].rewards.shape == (0,)


@given(st.sampled_from([0.25, 2.0, 8.0]), st.integers(-4, 4))
def test_units_of_factors_do_not_matter(factor, constant):
    rng = np.random.default_rng(0)
    cost = rng.integers(0, 9, 20).astype(float)
    plain = [walk([k % 2] * 3, k % 3 == 0, cost=cost[k]) for k in range(20)]
    other = [walk([k % 2] * 3, k % 3 == 0, cost=factor * cost[k] + constant) for k in range(20)]
    paid = []
    for group in (plain, other):
        stack = Stack([ModelReward(features=which, dim=1, factors=(("success",), ("cost", -1, 0.5)))])
        stack.learn(group)
        paid.append([float(t.rewards.sum()) for t in stack.run(plain)])
    assert paid[0] == pytest.approx(paid[1]) and any(paid[0])


def test_model_reward_refuses_what_it_cannot_use():
    with pytest.raises(MissingFact, match=r"model_reward reads info\['success'\]"):
        Stack([ModelReward()]).learn([Trajectory([0, 0], [0], np.zeros(1), True, False, [{}, {}])])
    with pytest.raises(ValueError, match=r"features have the shape \(1,\), \(2,\) is expected"):
        Stack([ModelReward(features=lambda t, d: np.zeros(1), dim=2)]).learn([walk([0], True)])
    broken = [walk([0], True, invalid=True)]
    assert Stack([ModelReward()]).learn(broken) == {} and Stack([ModelReward()]).learn([]) == {}
    for wrong in (
        {"dim": 0},
        {"pairs": 0},
        {"window": 0},
        {"weight": -1.0},
        {"limit": 0.0},
        {"held_out": 0.9},
        {"l2": 0.0},
        {"factors": ()},
        {"factors": (("success", 3),)},
        {"pay": "now"},
        {"length_ratio_max": -1.0},
        {"hidden": 1.5},
    ):
        with pytest.raises(ValueError, match="model_reward"):
            ModelReward(**wrong)


# -- POLAR: a reference -----------------------------------------------------------------------------
def answer(text, reference="the red key", **meta):
    return dialogue("Task: find it", [{"role": "assistant", "content": text}], reference=reference, **meta)


def test_token_f1_by_hand():
    # "a a b" and "a b c": shared a, b: 2 of 3 each: 2/3
    assert token_f1("", "a a b", "a b c") == pytest.approx(2 / 3)
    assert token_f1("", "a b", "A, b.") == 1.0 and token_f1("", "a", "") == token_f1("", "", "") == 0.0
    assert token_f1("", "a", "a a a") == pytest.approx(0.5)  # saying it again costs


def readme(prompt, reference, candidate):
    """The pair of POLAR's README."""
    return {"right": -0.57, "wrong": -11.03, "silence": None, "the red key": -0.5}[candidate]


def test_polar_of_the_card():
    right, wrong = sums(ReferenceReward(scorer=readme), [answer("right"), answer("wrong")])
    assert np.logaddexp(0, wrong - right) == pytest.approx(2.866e-5, abs=1e-8)
    assert 1 / (1 + math.exp(wrong - right)) == pytest.approx(0.99997, abs=1e-5)


def test_reference_reward_by_hand():
    group = [answer("right"), answer("wrong"), answer("silence")]
    assert sums(ReferenceReward(scorer=readme), group) == pytest.approx([-0.57, -11.03, 0.0])
    # the reference scores -.5 against itself: -.07, -10.53, and nothing for silence
    assert sums(ReferenceReward(scorer=readme, baseline="reference"), group) == pytest.approx([-0.07, -10.53, 0.0])
    # the mean of the two answers is -5.8; the failure stays out of it
    assert sums(ReferenceReward(scorer=readme, baseline="group"), group) == pytest.approx([5.23, -5.23, 0.0])
    got = sums(ReferenceReward(scorer=readme, baseline="group", squash="sigmoid", weight=2.0, on_failure=-1.0), group)
    assert got == pytest.approx([2 / (1 + math.exp(-5.23)), 2 / (1 + math.exp(5.23)), -2.0])
    stack = Stack([ReferenceReward(scorer=readme)])
    stack.run(group)
    assert stack.stats() == {"reference_reward/scores": 3, "reference_reward/failures": 1}
    # by default: the token F1, of a list of calls too
    assert sums(ReferenceReward(), [answer("red key")]) == pytest.approx([2 * 2 / 5])
    calls = ({"name": "open", "arguments": {"door": "red"}},)
    assert sums(ReferenceReward(), [answer("open arguments door red", calls)]) == pytest.approx([1.0])
    cut = ReferenceReward(max_words=2)
    assert sums(cut, [answer("red key and so on")]) == sums(cut, [answer("red key")])


def test_thinking_does_not_count():
    strip = ("<think>", "</think>")
    cases = {
        "a <think>b</think> c": "a  c",
        "b</think>c": "c",
        "a<think>b": "a",
        "<think>x</think>y<think>z</think>w": "yw",
        "plain": "plain",
    }
    assert {k: without_thinking(k, *strip) for k in cases} == cases
    shaper = ReferenceReward()
    assert sums(shaper, [answer("<think>anything at all</think>red key")]) == sums(shaper, [answer("red key")])
    open_ = ReferenceReward(strip=())
    assert sums(open_, [answer("<think>x</think>red key")]) != sums(open_, [answer("red key")])


words = st.lists(st.sampled_from("abcd"), max_size=6).map(" ".join)


@given(st.lists(words, min_size=2, max_size=5), words.filter(bool), st.floats(-3, 3))
def test_laws_of_the_reference_reward(texts, reference, constant):
    group = [answer(x, reference) for x in texts]
    plain = sums(ReferenceReward(), group)
    best = sums(ReferenceReward(), [answer(reference, reference)])[0]
    assert best == 1.0 and all(0 <= r <= best for r in plain)

    def moved(prompt, reference, candidate):
        return token_f1(prompt, reference, candidate) + constant

    for baseline in ("group", "reference"):
        a, b = (sums(ReferenceReward(scorer=s, baseline=baseline), group) for s in (token_f1, moved))
        assert a == pytest.approx(b, abs=1e-9)
    a, b = (
        Stack([ReferenceReward(scorer=s), FusedAdvantage(process=("reference_reward",))]) for s in (token_f1, moved)
    )
    for x, y in zip(a.run(group), b.run(group)):
        assert x.advantages == pytest.approx(y.advantages, abs=1e-9)


def test_reference_reward_refuses_what_it_cannot_use():
    with pytest.raises(MissingFact, match=r"reference_reward reads info\['reference'\]"):
        Stack([ReferenceReward()]).run([dialogue("x", [{"role": "assistant", "content": "y"}])])
    with pytest.raises(ValueError, match="the score is inf"):
        sums(ReferenceReward(scorer=lambda p, r, c: math.inf), [answer("x")])
    lone = shape(gym.make("CartPole-v1"), [])
    with pytest.raises(ValueError, match=r"stack\.run"):
        shape(lone, [ReferenceReward(baseline="group")])
    for wrong in (
        {"strip": ("<think>",)},
        {"strip": ("", "x")},
        {"on_failure": math.inf},
        {"weight": math.inf},
        {"max_words": 0},
        {"baseline": "x"},
        {"squash": "tanh"},
    ):
        with pytest.raises(ValueError, match="reference_reward"):
            ReferenceReward(**wrong)


# -- iStar: what a process model implies --------------------------------------------------------------
def rolled(log_ratio, success, task=0):
    """The trainer's own process model: log-ratios are given."""
    n = len(log_ratio)
    meta = {"task": task, "logp": np.full(n, -1.0), "model_logp": np.array(log_ratio) - 1.0}
    infos = [{"success": success} for _ in range(n + 1)]
    rewards = np.append(np.zeros(n - 1), float(success)) if n else np.zeros(0)
    return Trajectory([0] * (n + 1), [0] * n, rewards, True, False, infos, meta)


def test_istar_of_the_card():
    a, b = rolled([2, 1], True), rolled([-1, 0], False)
    assert Stack([ImplicitProcess(model="trainer")]).learn([a, b])["implicit_process/loss"] == pytest.approx(
        0.5981, abs=1e-4
    )
    mean = Stack([ImplicitProcess(model="trainer", reduce="mean")])
    assert mean.learn([a, b])["implicit_process/loss"] == pytest.approx(0.6444, abs=1e-4)
    x, y = Stack([ImplicitProcess(model="trainer"), FusedAdvantage()]).run([a, b])
    assert x.terms["implicit_process"] == pytest.approx([0.1, 0.05])
    assert y.terms["implicit_process"] == pytest.approx([-0.05, 0])
    assert x.advantages == pytest.approx([1.1, 1.0333], abs=1e-4) and y.advantages == pytest.approx(
        [-1.1, -1.0333], abs=1e-4
    )
    z = Stack([ImplicitProcess(model="trainer"), FusedAdvantage(norm="zscore", ddof=1, eps=0.0, alpha=1.0)]).run([a, b])
    outcome = 1 / math.sqrt(2)  # of 1 and 0, by the sample's deviation
    assert z[0].advantages - outcome == pytest.approx([1.1619, 0.3873], abs=1e-4)
    assert z[1].advantages + outcome == pytest.approx([-1.1619, -0.3873], abs=1e-4)


def chain(actions, success, task=0, n=2, **meta):
    """Discrete actions in a corridor of states."""
    infos = [{"action_mask": np.ones(n, np.int8), "success": success} for _ in range(len(actions) + 1)]
    return Trajectory(
        list(range(len(actions) + 1)), list(actions), np.zeros(len(actions)), True, False, infos, {"task": task} | meta
    )


def test_istar_by_hand():
    # one step, two actions, uniform: Q = 0 for both, loss log 2. The slope on log pi of each is 1/2 beta = .5 at beta 1;
    # d log pi(1) / d logit = (-1/2, 1/2): the success lifts logit 1 by lr/4 and sinks 0, the failure does the same again
    stack = Stack([ImplicitProcess(beta=1.0, reference="start", lr=1.0)])
    good, bad = chain([1], True), chain([0], False)
    out = stack.learn([good, bad])
    assert out["implicit_process/loss"] == pytest.approx(math.log(2)) and out["implicit_process/pairs"] == 1
    assert sorted(stack.shapers[0].table.values()) == pytest.approx([-0.5, 0.5])
    # pi = sigma(1), sigma(-1): rewards log pi - log 1/2
    paid = [float(t.rewards[0]) for t in stack.run([good, bad])]
    assert paid == pytest.approx([math.log(2 / (1 + math.exp(-1))), math.log(2 / (1 + math.exp(1)))])
    # against a policy that had .8 for the action
    policy = Stack([ImplicitProcess(beta=1.0)])
    assert policy.run([chain([1], True, logp=[math.log(0.8)])])[0].rewards == pytest.approx([math.log(0.5 / 0.8)])


@pytest.mark.parametrize("model", ["tabular", "linear", "torch"])
def test_the_loss_falls_and_its_gradient_is_right(model):
    if model == "torch":
        pytest.importorskip("torch", reason="the extra torch is not installed")
    group = [chain([1, 1, 0], True), chain([0, 1, 0], False), chain([1, 0, 0], False), chain([1, 1, 1], True)]
    group += [chain([0], False, task=1)]  # alone in its task: no pair
    stack = Stack([ImplicitProcess(model=model, reference="start", beta=0.5, dim=64, hidden=8, reduce="mean")])
    shaper = stack.shapers[0]
    assert all(not t.rewards.any() for t in stack.run(group))  # its own first weights: 0 everywhere
    losses = [stack.learn(group)["implicit_process/loss"] for _ in range(12)]
    assert losses[0] == pytest.approx(math.log(2)) and (np.diff(losses) < 0).all()
    paid = [t.rewards for t in stack.run(group)]
    assert paid[0][1] > 0 > paid[2][1] and paid[3][0] > 0 > paid[1][0]  # the step that made the difference
    assert shaper.pairs(group).tolist() == [[0, 1], [0, 2], [3, 1], [3, 2]]
    twin = Stack(stack.spec())
    twin.load_state_dict(stack.state_dict())
    assert np.allclose(np.concatenate([t.rewards for t in twin.run(group)]), np.concatenate(paid))
    if model == "tabular":  # by finite differences: one step of size lr against the slope of the measured loss
        before, h = dict(shaper.table), 1e-6
        shaper.lr, slopes = 1.0, {}
        for key in before:
            around = []
            for sign in (1, -1):
                shaper.table = before | {key: before[key] + sign * h}
                shaper.training = False
                around.append(shaper.learn(group)["loss"])
            slopes[key] = (around[0] - around[1]) / (2 * h)
        shaper.table, shaper.training = dict(before), True
        shaper.learn(group)
        for key, slope in slopes.items():
            assert shaper.table[key] - before[key] == pytest.approx(-slope, abs=1e-8)


actions = st.lists(st.integers(0, 2), min_size=1, max_size=5)


@given(st.lists(st.tuples(actions, st.booleans()), min_size=2, max_size=5), st.floats(0.01, 0.2))
def test_laws_of_istar(rows, floor):
    group = [chain(a, won, n=3, logp=np.full(len(a), math.log(1 / 3))) for a, won in rows]
    stack = Stack([ImplicitProcess(lr=1.0)])
    shaper = stack.shapers[0]
    assert all(np.allclose(r, 0) for r in run(ImplicitProcess(), group))  # phi is the policy: nothing is paid
    metrics = stack.learn(group)
    mixed = len({won for _, won in rows}) == 2
    assert metrics["implicit_process/loss"] == pytest.approx(math.log(2) if mixed else 0.0)
    assert (metrics["implicit_process/pairs"] > 0) == mixed
    up = dict(shaper.table)
    other = Stack([ImplicitProcess(lr=1.0)])  # labels the other way round: the other direction
    other.learn([chain(a, not won, n=3, logp=np.full(len(a), math.log(1 / 3))) for a, won in rows])
    assert other.shapers[0].table == pytest.approx({k: -v for k, v in up.items()})
    for t, r in zip(group, stack.run(group)):
        own = shaper._ratios([t])
        assert r.rewards.sum() == pytest.approx(0.05 * own.sum())  # the whole ratio, whatever the length
        assert (np.abs(r.rewards) <= 0.05 * math.log(1 / min(1 / 3, np.exp(own + math.log(1 / 3)).min())) + 1e-9).all()


def test_what_could_have_been_done():
    shaper = Stack([ImplicitProcess(reference="start")]).shapers[0]
    words = {"admissible_actions": ("go", "look", "go"), "success": True}
    t = Trajectory(["a", "b", "c"], ["look", "sing"], np.zeros(2), True, False, [words] * 3)
    c = shaper.choices([t])
    assert (
        c.actions == ["go", "look", "go", "look", "sing"] and c.taken.tolist() == [1, 4] and c.first.tolist() == [0, 2]
    )
    rowed = Trajectory(["a", "b"], [np.int64(1)], np.zeros(1), True, False, [words] * 2)  # the encoded face: a row
    assert shaper.choices([rowed]).taken.tolist() == [1]
    masked = {"action_mask": np.array([1, 0, 1]), "success": True}
    t = Trajectory([0, 0], [2], np.zeros(1), True, False, [masked] * 2)
    assert shaper.choices([t]).actions == [0, 2]
    assert log_softmax(
        np.array([0.0, 0.0, 700.0, 0.0, 0.0]), np.array([0, 2]), np.array([0, 0, 1, 1, 1])
    ) == pytest.approx([-math.log(2)] * 2 + [0, -700, -700])
    assert not np.array_equal(pair_features("a key", "take", 32), pair_features("a door", "take", 32))
    assert np.array_equal(pair_features(np.array([0.5, 0.0]), 1, 32), pair_features(np.array([0.5, 0.0]), 1, 32))
    with pytest.raises(MissingFact, match=r"implicit_process reads info\['admissible_actions'\]"):
        Stack([ImplicitProcess(reference="start")]).run([Trajectory([0, 0], [0], np.zeros(1), True, False, [{}, {}])])
    with pytest.raises(MissingFact, match=r"info\['success'\]"):
        Stack([ImplicitProcess()]).learn([Trajectory([0, 0], [0], np.zeros(1), True, False, [{}, {}])])


def test_istar_refuses_what_it_cannot_use():
    with pytest.raises(ValueError, match=r"meta\['logp'\] is missing.*reference='start'"):
        Stack([ImplicitProcess()]).run([chain([0], True)])
    with pytest.raises(ValueError, match=r"meta\['logp'\] has the shape \(2,\).*\(1,\)"):
        Stack([ImplicitProcess()]).run([chain([0], True, logp=[0.0, 0.0])])
    for wrong in (
        {"beta": 0.0},
        {"beta": math.inf},
        {"lr": 0.0},
        {"dim": 0},
        {"hidden": 0},
        {"epochs": 0},
        {"actions": -1},
        {"model": "x"},
        {"model": "trainer", "reference": "start"},
    ):
        with pytest.raises(ValueError, match="implicit_process"):
            ImplicitProcess(**wrong)
    with pytest.raises(ValueError, match="features have the shape"):
        Stack([ImplicitProcess(model="linear", reference="start", features=lambda o, a, d: np.zeros(1))]).run(
            [chain([0], True)]
        )


def test_collect_learn_rerun_update():
    """The order of the paper, on a corridor whose ends are a win and a loss: the right way is paid before the end."""
    rng = np.random.default_rng(0)

    def episode(task):
        x, obs, acts = 2, [2], []
        while 0 < x < 5 and len(acts) < 12:
            acts.append(int(rng.integers(2)))
            x += 1 if acts[-1] else -1
            obs.append(x)
        infos = [{"success": x == 5} for _ in obs]
        rewards = np.append(np.zeros(len(acts) - 1), float(x == 5))
        meta = {"task": task, "logp": np.full(len(acts), math.log(0.5))}
        return Trajectory(obs, acts, rewards, True, False, infos, meta)

    stack, batch = Stack([ImplicitProcess(actions=2, beta=0.5), FusedAdvantage()]), []
    for _ in range(10):
        batch = [episode(k // 8) for k in range(32)]
        stack.learn(stack.run(batch))
    right = [float(r) for t in stack.rerun(batch) for a, r in zip(t.actions, t.terms["implicit_process"]) if a == 1]
    left = [float(r) for t in stack.rerun(batch) for a, r in zip(t.actions, t.terms["implicit_process"]) if a == 0]
    assert np.mean(right) > 0.02 and np.mean(left) < -0.02


def batches_to_success(layers, seed, learn, most=60):
    """Batches of 16 until 80 % of a tabular policy, which at first walks the wrong way of a corridor of seven, succeed."""
    rng, stack = np.random.default_rng(seed), Stack(layers, seed)
    z = np.append(0.0, np.append(np.full(6, -0.7), 0.0))

    def episode(task):
        x, obs, acts, logp = 3, [3], [], []
        while 0 < x < 7 and len(acts) < 20:
            p = 1 / (1 + math.exp(-z[x]))
            acts.append(int(rng.random() < p))
            logp.append(math.log(p if acts[-1] else 1 - p))
            x += 1 if acts[-1] else -1
            obs.append(x)
        rewards = np.append(np.zeros(len(acts) - 1), float(x == 7))
        infos = [{"success": x == 7} for _ in obs]
        return Trajectory(obs, acts, rewards, True, False, infos, {"task": task, "logp": np.array(logp)})

    for k in range(most):
        batch = [episode(i // 8) for i in range(16)]
        if np.mean([t.infos[-1]["success"] for t in batch]) >= 0.8:
            return k
        out = stack.run(batch)
        if learn:
            stack.learn(out)
            out = stack.rerun(out)
        slope = np.zeros(len(z))
        for t in out:
            for o, a, adv in zip(t.obs, t.actions, t.advantages):
                slope[o] += adv * (a - 1 / (1 + math.exp(-z[o])))
        z = z + 0.15 * slope / 4
    return most


def test_step_rewards_and_a_model_of_success_are_faster_than_the_outcome():
    def median(learn, *layers):
        return np.median([batches_to_success(list(layers), seed, learn) for seed in range(5)])

    outcome = median(True, ImplicitProcess(actions=2), FusedAdvantage(norm="zscore", alpha=0.0))
    steps = median(True, ImplicitProcess(actions=2), FusedAdvantage(norm="zscore"))
    assert steps <= 0.5 * outcome
    model = ModelReward(combine="add", factors=(("success",),), dim=64)
    assert median(True, model, Rloo()) <= 0.6 * median(False, Rloo())


# -- RoboReward: a grade ------------------------------------------------------------------------------
class Judge:
    """Rates by the number in a text; raises at "broken" and mumbles at "mumble"."""

    kinds, identity = ("rating",), {"scorer": "test judge"}

    def reply(self, batch):
        return [None if "broken" in q.text else Reply(json.dumps({"grade": self.grade(q.text)})) for q in batch]

    @staticmethod
    def grade(text):
        return text.split()[-1] if "mumble" in text else float(text.split()[-1])

    def read(self, raw, query):
        return query.parse(raw)


def graded(*states, **last):
    """An episode of texts."""
    infos = [{} for _ in states]
    infos[-1] = infos[-1] | last
    n = len(states) - 1
    return Trajectory(list(states), list(range(n)), np.zeros(n), True, False, infos)


def test_roboreward_of_the_card():
    group = [graded("Task: x", f"now {g}", grade=g) for g in (1, 2, 3, 4, 5)]
    assert sums(GradedOutcome(), group) == sums(GradedOutcome(judge=Service(Judge())), group) == [0, 0.25, 0.5, 0.75, 1]


def test_grades_by_hand():
    between = [graded("Task: x", "y", grade=3.4), graded("Task: x", "y", grade=4.5)]
    assert sums(GradedOutcome(), between) == [0.5, 1.0]  # the nearest grade, a half rounds up
    assert sums(GradedOutcome(discrete=False, weight=2.0), between) == pytest.approx([1.2, 1.75])
    failing = [graded("Task: x", "y", grade=g) for g in (None, math.nan, 0, 7)]
    stack = Stack([GradedOutcome()])
    assert [float(t.rewards.sum()) for t in stack.run(failing)] == [0.0] * 4
    assert stack.stats() == {"graded_outcome/grades": 4, "graded_outcome/failures": 4}
    assert sums(GradedOutcome(on_fail=3), failing) == [0.5] * 4
    rewards = run(
        GradedOutcome(), [Trajectory(["a", "b", "c"], [0, 1], np.ones(2), True, False, [{}, {}, {"grade": 5}])]
    )
    assert list(rewards[0]) == [1.0, 2.0]


def test_a_judge_reads_the_final_state_or_the_episode():
    asked = []

    class Listening(Judge):
        def reply(self, batch):
            asked.extend(batch)
            return super().reply(batch)

    t = graded("Task: climb", "halfway 3", "top 5")
    for view in ("final", "episode", lambda t: f"steps {len(t)}"):
        stack = Stack([GradedOutcome(judge=Service(Listening()), view=view)])
        stack.run([t])
        stack.release()
    final, episode, own = asked
    assert (
        final.task == "Task: climb" and final.text == "top 5" and "halfway 3" in episode.text and own.text == "steps _"
    )
    stack = Stack([GradedOutcome(judge=Service(Judge()))])
    assert [
        float(x.rewards.sum()) for x in stack.run([graded("Task: x", "broken 5"), graded("Task: x", "mumble x")])
    ] == [0, 0]
    assert stack.stats()["graded_outcome/failures"] == 2
    shaper = stack.shapers[0]
    assert shaper.curve(graded("begin 1", "halfway 3", "top 5")) == pytest.approx([0, 0.5, 1])
    with pytest.raises(ValueError, match="a curve needs a judge"):
        Stack([GradedOutcome()]).shapers[0].curve(t)
    stack.release()


@given(st.lists(st.one_of(st.none(), st.floats(-2, 8)), min_size=1, max_size=6), st.integers(1, 5))
def test_laws_of_grades(grades, on_fail):
    got = sums(GradedOutcome(on_fail=on_fail), [graded("Task: x", "y", grade=g) for g in grades])
    assert set(got) <= {0.0, 0.25, 0.5, 0.75, 1.0}
    for g, r in zip(grades, got):
        assert (g is not None and 1 <= g <= 5) or r == (on_fail - 1) / 4
    known = sorted((g, r) for g, r in zip(grades, got) if g is not None and 1 <= g <= 5)
    assert [r for _, r in known] == sorted(r for _, r in known)


def test_graded_outcome_refuses_what_it_cannot_use():
    with pytest.raises(MissingFact, match=r"graded_outcome reads info\['grade'\]"):
        Stack([GradedOutcome()]).run([graded("a", "b")])
    with pytest.raises(ValueError, match="answers question; allowed: one that rates"):
        Stack([GradedOutcome(judge="predicate")])
    for wrong in ({"on_fail": 0}, {"on_fail": 6}, {"weight": math.inf}, {"view": "all"}, {"discrete": "yes"}):
        with pytest.raises(ValueError, match="graded_outcome"):
            GradedOutcome(**wrong)


# -- hosts ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("layer", [ModelReward(dim=32), ReferenceReward(), GradedOutcome(key="mark")])
def test_on_quest_online_and_recorded_alike(layer):
    import milepost  # noqa: F401  registers the ids

    def mark(t):
        return 1 + int(4 * t.info.get("progress", 0.0))

    env = shape(gym.make("milepost/Quest-easy-v0", expose_reference=True), [layer], facts={"mark": mark})
    env.stack.train(False)
    env.stack.keep = 10_000
    env.stack.records = True
    for task in range(2):
        env.reset(options={"task": task})
        done, total = False, 0.0
        while not done:
            _, r, te, tr, info = env.step(env.get_wrapper_attr("oracle")())
            total, done = total + r, te or tr
        assert sum(info["credit"]) == pytest.approx(total)
    recorded = env.stack.take()
    assert len(recorded) == 2
    for t, again in zip(recorded, env.stack.rerun(recorded)):
        assert np.array_equal(t.rewards, again.rewards)
    if not isinstance(layer, ModelReward):
        assert all(t.terms[env.stack.names[0]].sum() > 0 for t in recorded)
        if isinstance(layer, ReferenceReward):  # the oracle's plan, said as it is
            assert all(t.terms["reference_reward"].sum() == pytest.approx(1.0) for t in recorded)


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_lanes_of_a_vector_are_paid_as_one_environment_is(mode):
    class Marked(gym.Env):
        """Three steps; the reference and the grade depend on the world."""

        observation_space, action_space = gym.spaces.Discrete(9), gym.spaces.Discrete(3)

        def __init__(self, world):
            self.world = world

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            self.t = 0
            return 0, {"reference": f"{self.world} 1 2", "grade": 1, "success": False}

        def step(self, action):
            self.t += 1
            info = {"reference": "", "grade": 2 + self.world, "success": self.world == 1}
            return self.t, 0.0, self.t == 3, False, info

    def total(env, count):
        env.reset(seed=0)
        for a in (0, 1, 2):
            actions = np.full(count, a) if count else a
            _, r, *_ = env.step(actions)
        return r

    def layers():
        return [ReferenceReward(), GradedOutcome(), ModelReward(combine="add", dim=8)]

    lone = [float(total(shape(Marked(k), layers()), 0)) for k in range(3)]
    mode = gym.vector.AutoresetMode(mode)
    vector = gym.vector.SyncVectorEnv([lambda k=k: Marked(k) for k in range(3)], autoreset_mode=mode)
    assert total(shape(vector, layers()), 3) == pytest.approx(lone) and len(set(lone)) == 3


def test_the_kit_passes_them_with_other_settings():
    def info(state):
        return C.facts_of(state) | {"grade": 1 + state, "reference": "go", "cost": float(state)}

    for shaper in (
        ModelReward(pay="delta", combine="add", dim=8),
        ModelReward(factors=(("success",), ("cost", -1, 0.5), ("return",)), within="task", dim=8),
        ReferenceReward(baseline="reference"),
        ReferenceReward(baseline="group"),
        GradedOutcome(discrete=False),
        ImplicitProcess(model="linear", reference="start", actions=2, dim=16),
    ):
        C.check_shaper(shaper, info)
