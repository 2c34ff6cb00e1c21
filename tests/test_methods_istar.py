"""iStar: what a process model implies (``wrappers/episode/istar.py``), and how fast that learns."""

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.wrappers import FusedAdvantage, ImplicitProcess, MissingFact, ModelReward, Rloo, Stack, Trajectory
from milepost.wrappers.episode.istar import log_softmax, pair_features

_spec = importlib.util.spec_from_file_location("talk", Path(__file__).with_name("talk.py"))
talk = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(talk)
episode, paid, run = talk.episode, talk.paid, talk.run
pytestmark = pytest.mark.core


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


# -- learning ------------------------------------------------------------------------------------
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
