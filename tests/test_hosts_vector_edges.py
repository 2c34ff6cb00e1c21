"""The VectorEnv host at its edges: reused buffers, other kinds of actions, other processes, what it refuses."""

import gc
from dataclasses import dataclass

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

from milepost import shape
from milepost.wrappers import Clip, Grpo, PotentialShaping, Scale, Shaper, Uniform
from milepost.wrappers.hosts.columns import overlay, put
from milepost.wrappers.hosts.vector import ShapedVectorEnv

pytestmark = pytest.mark.core
NEXT, SAME, DISABLED = AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED
MODES = pytest.mark.parametrize("mode", [NEXT, SAME, DISABLED], ids=lambda m: m.value)


class Walk(gym.Env):
    """A random walk on six cells with slips; the second number of the observation is the clock."""

    action_space = gym.spaces.Discrete(2)
    observation_space = gym.spaces.Box(-9, 9, (2,), np.float64)
    metadata = {"render_modes": []}

    def __init__(self, limit=7):
        self.limit = limit

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x, self.t = int(self.np_random.integers(2, 4)), 0
        return np.array([self.x, 0.0]), {"progress": self.x / 5, "meta": {"task": f"t{self.x}"}}

    def step(self, a):
        slip = self.np_random.random() < 0.2
        self.x, self.t = self.x + (1 if bool(a) != slip else -1), self.t + 1
        over, win = self.x in (0, 5), float(self.x == 5)
        info = {"progress": self.x / 5, "reward_terms": {"outcome": win, "format": 0.1}}
        return np.array([self.x, self.t], np.float64), win + 0.1, over, not over and self.t >= self.limit, info


def vector(mode, n=4, wrap=lambda e: e, cls=SyncVectorEnv, **kw):
    return cls([lambda: wrap(Walk(**kw))] * n, autoreset_mode=mode)


def squeeze(obs):
    """A potential of arrays of observations."""
    return np.tanh(obs[..., 0]) / 2


def steps(env, n, seed=0):
    env.reset(seed=seed)
    rng = np.random.default_rng(seed)
    return [env.step(rng.integers(2, size=env.num_envs)) for _ in range(n)]


@MODES
@pytest.mark.parametrize("columns", [True, False])
def test_a_vector_that_reuses_its_buffers_is_recorded_as_it_was(mode, columns):
    def episodes(copy):
        inner = SyncVectorEnv([Walk] * 3, autoreset_mode=mode, copy=copy)
        env = ShapedVectorEnv(inner, [PotentialShaping(phi=squeeze, batched=True), Uniform()], columns=columns)
        env.stack.keep = 10**4
        buffer, paid = np.zeros(3, int), []
        env.reset(seed=4)
        rng = np.random.default_rng(0)
        for _ in range(40):
            buffer[:] = rng.integers(2, size=3)  # a trainer's storage
            _, r, te, tr, _ = env.step(buffer)
            paid.append(r)
            if mode == DISABLED and (te | tr).any():
                env.reset(options={"reset_mask": te | tr})
        return np.array(paid), env.stack.take()

    (r, a), (s, b) = episodes(True), episodes(False)
    np.testing.assert_allclose(r, s)
    assert len(a) == len(b) > 10
    for p, q in zip(a, b):
        np.testing.assert_array_equal(np.array(p.obs), np.array(q.obs))
        np.testing.assert_array_equal(p.actions, q.actions)
        assert (np.diff(np.array(p.obs)[:, 1]) == 1).all()  # the clock of the walk


@pytest.mark.parametrize("columns", [True, False])
def test_actions_that_are_no_array_are_lists_or_go_lane_by_lane(columns):
    env = ShapedVectorEnv(vector(NEXT, 3, limit=2), [Clip(0, 0.5), Uniform()], columns=columns)
    env.stack.keep = 99
    env.reset(seed=0)
    for _ in range(7):
        env.step([1, 0, 1])
    assert [t.actions for t in env.stack.take()] == [[1, 1], [0, 0], [1, 1]] * 2

    class Spoken(Walk):
        action_space = gym.spaces.Text(5)

        def step(self, a):
            return super().step(a == "right")

    env = shape(SyncVectorEnv([lambda: Spoken(limit=2)] * 2), [Clip(0, 0.5), Uniform()])
    env.stack.keep = 99
    env.reset(seed=0)
    for _ in range(2):
        env.step(("right", "left"))
    assert not env.columns and [t.actions for t in env.stack.take()] == [["right"] * 2, ["left"] * 2]


def test_sub_environments_in_other_processes_get_the_same_rewards():
    a = shape(vector(SAME, 2, cls=AsyncVectorEnv), [PotentialShaping(key="progress"), Uniform()])
    b = shape(vector(SAME, 2), [PotentialShaping(key="progress"), Uniform()])
    try:
        credits = 0
        for x, y in zip(steps(a, 20), steps(b, 20), strict=True):
            for p, q in zip(x[:4], y[:4], strict=True):
                np.testing.assert_allclose(p, q)
            assert str(x[4].get("reward_terms")) == str(y[4].get("reward_terms"))
            assert str(x[4].get("final_info")) == str(y[4].get("final_info"))
            credits += "credit" in x[4].get("final_info", {})
        assert credits > 2
    finally:
        a.close()


@pytest.mark.parametrize("cls", [SyncVectorEnv, AsyncVectorEnv])
@pytest.mark.parametrize("columns", [True, False])
def test_one_name_never_stands_for_two_layers_of_an_account(cls, columns):
    inner = vector(NEXT, 2, wrap=Scale(2.0), cls=cls)
    env = ShapedVectorEnv(inner, [Scale(3.0)], columns=columns)
    try:
        env.reset(seed=0)
        if cls is SyncVectorEnv:  # its inner stack is seen, so the names go on
            infos = env.step(np.ones(2, int))[4]
            assert [k for k in infos["reward_terms"] if k[0] != "_"] == ["outcome", "format", "scale", "scale_2"]
        else:
            with pytest.raises(ValueError, match=r"shaped already.* 'scale'.*one list"):
                env.step(np.ones(2, int))
    finally:
        env.close()


def test_layers_that_cannot_stand_on_a_vector_are_refused_and_lists_are_merged():
    @dataclass
    class Team(Shaper):
        pool = "joint"

        def steps(self, states, ts):
            return [t.reward for t in ts]

    kept = vector(NEXT)
    with pytest.raises(ValueError, match="team mixes the agents of one game"):
        shape(kept, [Team()])
    gc.collect()
    assert not kept.closed and len(steps(kept, 3)) == 3  # a refusal leaves the environment as it was
    with pytest.raises(ValueError, match="one list"):
        shape(vector(NEXT, wrap=Uniform()), [Clip()])
    env = shape(ShapedVectorEnv(vector(NEXT), [Clip()], seed=3, columns=False), Uniform())
    assert env.stack.names == ["clip", "uniform"] and env.stack.seed == 3 and not env.columns
    grouped = shape(vector(NEXT), [Clip(), Grpo()])  # lanes make groups: the tail runs when a batch is handed over
    steps(grouped, 30)
    batch = grouped.stack.close()
    assert len(batch) > 10 and all(t.advantages is not None and t.meta["task"] in ("t2", "t3") for t in batch)


@pytest.mark.parametrize("columns", [True, False])
def test_a_reward_that_is_not_finite_names_the_layer(columns):
    @dataclass
    class Bad(Shaper):
        columnar = True

        def step(self, state, t):
            return t.reward * float("nan"), None

    env = ShapedVectorEnv(vector(NEXT), [Clip(), Bad()], columns=columns)
    env.reset(seed=0)
    with pytest.raises(ValueError, match="bad: a reward is not finite"):
        env.step(np.ones(4, int))


def test_a_layer_that_answers_for_too_few_lanes_is_named():
    @dataclass
    class Short(Shaper):
        def steps(self, states, ts):
            return [t.reward for t in ts][:-1]

    env = shape(vector(NEXT), [Short()])
    env.reset(seed=0)
    with pytest.raises(ValueError, match="short: one number a step is expected, not 3 for 4 steps"):
        env.step(np.ones(4, int))


def test_the_last_observations_of_ended_lanes_are_put_back_whatever_their_tree():
    obs = {"x": np.zeros((3, 2)), "deep": {"n": np.array([0, 0, 0])}}
    last = {"x": np.ones(2), "deep": {"n": 7}}
    rows = np.array([None, last, None], object)
    for final in (rows, {"x": np.ones((3, 2)), "deep": {"n": np.full(3, 7)}}):  # a row a lane, or batched
        got = put(obs, np.array([1]), final)
        assert got["x"].tolist() == [[0, 0], [1, 1], [0, 0]] and got["deep"]["n"].tolist() == [0, 7, 0]
    assert obs["x"].sum() == 0
    done = np.array([True, False])
    top = {"a": np.array([1.0, 2.0]), "_a": np.array([True, True]), "final_info": {}}
    assert overlay(top, {}, done)["_a"].tolist() == [False, True]  # the old episode's last step did not say it
