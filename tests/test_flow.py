"""Two small environments for reward methods: the flow sampler, and the clock whose dense reward can be hacked."""

import math

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import milepost  # noqa: F401
from milepost import shape
from milepost.envs.flow import COMMANDS, FlowFace, FlowSamplerEnv, build, complete, quality, velocity
from milepost.envs.text.hackable import HackableStepsEnv
from milepost.wrappers import (
    Focus,
    GatedRewardAccumulation,
    ListwiseAdvantage,
    PerStepNorm,
    Scale,
    Stack,
    Trajectory,
    TurningPoints,
    ValueAnchored,
)

pytestmark = pytest.mark.core


def played(env, choose, seed=None, **options):
    """One episode as a trajectory; ``choose(env, info) -> action``."""
    obs, info = env.reset(seed=seed, options=options or None)
    seen, infos, actions, rewards, done = [obs], [info], [], [], False
    while not done:
        actions.append(choose(env, infos[-1]))
        obs, r, terminated, truncated, info = env.step(actions[-1])
        seen, infos, done = [*seen, obs], [*infos, info], terminated or truncated
        rewards.append(r)
    return Trajectory(seen, actions, np.array(rewards), terminated, truncated, infos, dict(infos[0]["meta"]))


def chance(seed):
    rng = np.random.default_rng(seed)
    return lambda env, info: COMMANDS[rng.integers(len(COMMANDS))]


def oracle(env, info):
    return env.oracle()


# -- the flow ------------------------------------------------------------------------------------
def test_the_velocity_by_hand():
    # one mode (2, 0) of width .5: at t = .5 var = .25 + .25 * .25 = .3125, off = (1, 0) - (1, 0) = 0: v = the centre
    assert velocity(np.array([1.0, 0.0]), 0.5, np.array([[2.0, 0.0]]), 0.5) == pytest.approx([2.0, 0.0])
    # one off by (0, 1): (.5 * .25 - .5) / .3125 = -1.2
    assert velocity(np.array([1.0, 1.0]), 0.5, np.array([[2.0, 0.0]]), 0.5) == pytest.approx([2.0, -1.2])
    # at t = 0 nothing is known of the end: v = mean of the modes - x
    two = np.array([[2.0, 0.0], [-1.0, 3.0]])
    assert velocity(np.array([0.3, -0.4]), 0.0, two) == pytest.approx([0.5 - 0.3, 1.5 + 0.4])
    # two modes, x halfway: equal shares, no way to either
    mirror = np.array([[2.0, 0.0], [-2.0, 0.0]])
    assert velocity(np.array([0.0, 0.7]), 0.6, mirror)[0] == pytest.approx(0.0)


@given(st.integers(0, 10_000), st.floats(0.05, 0.95))
def test_the_velocity_is_the_mean_of_straight_paths(seed, t):
    """E[x_1 - x_0 | x_t] by weighing samples of x_1: x_0 = (x - t x_1) / (1 - t) is standard normal."""
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(3, 2))
    x = t * centers[0] + (1 - t) * rng.normal(size=2) * 0.3
    ends = np.concatenate([c + 0.4 * rng.normal(size=(4000, 2)) for c in centers])
    begins = (x - t * ends) / (1 - t)
    w = np.exp(-(begins**2).sum(1) / 2)
    if (w.sum() ** 2 / (w**2).sum()) < 300:  # too few of the samples count for an estimate
        return
    guess = w @ (ends - begins) / w.sum()
    spread = np.sqrt((w**2) @ (ends - begins - guess) ** 2) / w.sum()
    assert np.all(np.abs(velocity(x, t, centers, 0.4) - guess) < 6 * spread + 1e-3)


def test_the_flow_alone_draws_from_the_modes():
    centers = build(0, 6, 10).centers
    rng = np.random.default_rng(0)
    ends = np.array([complete(rng.normal(size=2), 0, 50, centers) for _ in range(200)])
    near = np.sqrt(((ends[:, None] - centers[None]) ** 2).sum(2))
    assert np.mean(near.min(1) < 0.5) > 0.9 and len(set(near.argmin(1))) == 6


@pytest.mark.parametrize("modes", [4, 6, 12])
def test_the_wanted_mode_is_no_neighbour_of_where_the_flow_ends(modes):
    for task in range(60):
        w = build(task, modes, 10)
        nearest = int(np.argmin(((w.centers - complete(w.start, 0, 10, w.centers)) ** 2).sum(1)))
        assert (w.wanted - nearest) % modes not in (0, 1, modes - 1)
        assert np.linalg.norm(w.centers, axis=1) == pytest.approx(2.0)


def test_a_step_is_the_flow_the_push_and_noise_that_fades():
    env = FlowSamplerEnv(noise=0.0)
    env.reset(seed=0, options={"task": 3})
    before = env.x.copy()
    expected = before + velocity(before, 0.0, env.world.centers) / 10 + 0.6 * np.array([0.0, 1.0])
    env.step("push north")
    assert env.x == pytest.approx(expected)
    flow = velocity(env.x, 0.1, env.world.centers) / 10
    expected = env.x + flow + 0.6 * 0.9 * np.array([1.0, -1.0]) / math.sqrt(2)
    env.step("push southeast")
    assert env.x == pytest.approx(expected)
    noisy, again = FlowSamplerEnv(noise=0.5), FlowSamplerEnv(noise=0.5)
    moved = []
    for e, seed in ((noisy, 1), (again, 2)):
        e.reset(seed=seed, options={"task": 3})
        e.step("drift")
        moved.append(e.x)
    assert not np.allclose(*moved)


@given(st.integers(0, 500))
def test_values_are_what_the_flow_alone_would_get(task):
    env = FlowSamplerEnv(noise=0.0)
    t = played(env, chance(task), task, task=task)
    assert len(t) == 10 and t.terminated
    values = t.trace("value")
    # drifting without noise keeps the value: the rest of the way is the same
    _, info = env.reset(options={"task": task})
    first = info["value"]
    for _ in range(10):
        _, _, done, _, info = env.step("drift")
        assert info["value"] == pytest.approx(first, abs=2e-6)
    assert done and not info["success"] and values[0] == first
    assert values[-1] == pytest.approx(quality(_end(t), env.target), abs=0.02)
    assert t.rewards.sum() == float(values[-1] >= 0.5)


def _end(t):
    place = t.obs[-1].split("drawn: (")[1].split(")")[0]
    return np.array([float(x) for x in place.split(",")])


def test_the_oracle_wins_and_drifting_never_does():
    env = FlowSamplerEnv()
    for seed in range(15):
        won = played(env, oracle, seed)
        assert won.infos[-1]["success"] and won.rewards.sum() == 1.0
        assert not played(env, lambda env, info: "drift", seed).infos[-1]["success"]


def test_what_is_paid_can_be_the_quality():
    t = played(FlowSamplerEnv(pay="quality"), oracle, 0)
    assert t.rewards[:-1].sum() == 0.0 and t.rewards[-1] == t.infos[-1]["value"] > 0.5


def test_turning_points_values_and_rankings_on_the_sampler():
    """TP-GRPO, VGPO and GDRO on groups of samples of one task."""
    env = FlowSamplerEnv()
    group = [played(env, chance(k) if k % 2 else oracle, k, task=5) for k in range(6)]
    for t in group:
        assert t.trace("value").shape == (11,) and not t.infos[0]["success"]
    turned = Stack([Scale(0.0), TurningPoints(), PerStepNorm()]).run(group)
    for t, out in zip(group, turned):
        v = t.trace("value")
        turns = TurningPoints().turns(v)
        assert out.rewards == pytest.approx(np.where(turns, v[-1] - v[:-1], np.diff(v)))
        assert np.isfinite(out.advantages).all()
    wins = np.array([t.infos[-1]["success"] for t in group])
    assert wins[::2].all() and not wins[1::2].all()
    for layer in (ValueAnchored(k=0.0, temporal=False), ListwiseAdvantage()):
        means = np.array([t.advantages.mean() for t in Stack([layer]).run(group)])
        assert means[wins].min() > means[~wins].max()  # who got there is preferred


def test_the_numeric_face():
    env = gym.make("milepost/FlowSampler-encoded-v0", disable_env_checker=True)
    text = gym.make("milepost/FlowSampler-v0", disable_env_checker=True)
    obs, info = env.reset(seed=4)
    said, _ = text.reset(seed=4)
    core = env.unwrapped
    assert obs["observation"] == pytest.approx(core.features(), abs=1e-6) and obs["action_mask"].tolist() == [1] * 9
    assert f"({core.x[0]:.2f}, {core.x[1]:.2f})" in said and info["action_mask"].tolist() == [1] * 9
    for k in range(10):
        i = env.get_wrapper_attr("index_of")(core.oracle())
        obs, reward, done, _, info = env.step(np.int64(i))
        assert obs in env.observation_space and done == (k == 9)
        assert env.get_wrapper_attr("action_masks")().tolist() == [True] * 9
    assert info["success"] and reward == 1.0 and obs["action_mask"].sum() == 0
    env.reset(seed=4)
    assert not env.step(99)[-1]["valid_action"]
    with pytest.raises(ValueError, match=r"FlowFace goes around milepost/FlowSampler-v0, not <Hackable"):
        FlowFace(HackableStepsEnv())


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"modes": 3}, "modes is 3; allowed: a whole number from 4 to 12"),
        ({"strength": -1.0}, "strength is -1.0; allowed: a finite number from 0"),
        ({"noise": float("nan")}, "noise is nan"),
        ({"noise": True}, "noise is True"),
        ({"pay": "qualty"}, "pay is 'qualty'; allowed: 'outcome', 'quality' .did you mean 'quality'"),
        ({"max_steps": 3}, "max_steps is 3; allowed: a whole number from 4"),
        ({"mods": 4}, "a setting of FlowSampler is 'mods'; allowed: .*did you mean 'modes'"),
    ],
)
def test_wrong_settings_of_the_sampler(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        FlowSamplerEnv(**settings)


# -- the clock that can be hacked ----------------------------------------------------------------
def harmless(env, info):
    return env.unwrapped.idle[0]


def test_the_clock_by_hand():
    env = HackableStepsEnv(length=2)
    obs, info = env.reset(options={"task": 7})
    a, b = env.parts
    assert obs.startswith(f"Next: fit the {a}.\nThen: {b}.\nFitted: nothing.")
    assert info["meta"]["subgoals"] == (f"fit the {a}", f"fit the {b}")
    _, r, done, _, info = env.step(f"fit the {b}")  # out of turn
    assert r == 0.0 and not info["valid_action"] and info["process_score"] == 0.0
    _, r, done, _, info = env.step(f"fit the {a}")
    assert (
        r == pytest.approx(0.05) and info["subgoals"] == {f"1 {a}": True, f"2 {b}": False} and info["progress"] == 0.5
    )
    _, r, done, _, info = env.step(f"take off the {a}")
    assert r == pytest.approx(0.05) and info["score"] == 0.0
    assert [env.oracle(), env.step(env.oracle())[1], env.oracle()] == [f"fit the {a}", 0.05, f"fit the {b}"]
    _, r, done, _, info = env.step(f"fit the {b}")
    assert done and info["success"] and r == pytest.approx(1.05)
    assert info["reward_terms"] == {"outcome": 1.0, "step": 0.05}


def test_the_raw_reward_is_exploited_and_the_page_says_how_much():
    env = gym.make("milepost/HackableSteps-v0", disable_env_checker=True)
    hacked, built = played(env, harmless, 0), played(env, lambda e, i: e.unwrapped.oracle(), 0)
    assert hacked.rewards.sum() == pytest.approx(2.0) and hacked.truncated and not hacked.infos[-1]["success"]
    assert built.rewards.sum() == pytest.approx(1.3) and built.infos[-1]["success"]
    undo = played(env, lambda e, i: next((a for a in i["admissible_actions"] if "take" in a), e.unwrapped.oracle()), 0)
    assert undo.rewards.sum() == pytest.approx(2.0) and not undo.infos[-1]["success"]
    late = iter([harmless] * 34 + [lambda e, i: e.unwrapped.oracle()] * 6)
    assert played(env, lambda e, i: next(late)(e, i), 0).rewards.sum() == pytest.approx(3.0)
    sparse = gym.make("milepost/HackableSteps-sparse-v0", disable_env_checker=True)
    assert played(sparse, harmless, 0).rewards.sum() == 0.0


@pytest.mark.parametrize(
    ("layers", "resists"),
    [
        ([], False),
        ([Scale(2.0)], False),
        ([GatedRewardAccumulation(high=("outcome",))], True),
        ([Focus("step", Scale(0.0))], True),
    ],
)
def test_which_layers_resist(layers, resists):
    """Building the clock is worth more than a harmless step repeated."""
    env = shape(HackableStepsEnv(), layers)
    returns = [played(env, a, 0).infos[-1] for a in (harmless, lambda e, i: e.unwrapped.oracle())]
    hacked, built = (sum(i.get("credit", ())) for i in returns)
    if not any("credit" in i for i in returns):
        hacked, built = (played(env, a, 0).rewards.sum() for a in (harmless, lambda e, i: e.unwrapped.oracle()))
    assert (built > hacked) == resists


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"length": 13}, "length is 13; allowed: a whole number from 2 to 12"),
        ({"weights": {"stp": 1.0}}, "a reward term is 'stp'; allowed: 'outcome', 'step' .did you mean 'step'"),
        ({"weights": {"step": float("inf")}}, "the weight of 'step' is inf"),
        ({"weights": 3}, "weights is 3"),
        ({"lenght": 3}, "did you mean 'length'"),
    ],
)
def test_wrong_settings_of_the_clock(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        HackableStepsEnv(**settings)
