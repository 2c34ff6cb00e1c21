"""HERON, POLAR, iStar and RoboReward on hosts: online, recorded and in lanes."""

import gymnasium as gym
import numpy as np
import pytest

from milepost.wrappers import GradedOutcome, ImplicitProcess, ModelReward, ReferenceReward, shape
from milepost.wrappers import conformance as C

pytestmark = pytest.mark.core


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
