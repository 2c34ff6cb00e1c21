"""Episodes in words, a scripted judge and what layers pay, for tests of methods that read texts."""

import json

import gymnasium as gym
import numpy as np

import milepost  # noqa: F401
from milepost.wrappers import Stack, Trajectory, shape
from milepost.wrappers.scorers import Reply

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


def episode(messages, rewards=None, terminated=True, last=None):
    n = len(messages)
    infos = [{"message": ""}, *({"message": m} for m in messages)]
    infos[-1] |= last or {}
    obs, acts = [f"state {i}" for i in range(n + 1)], [f"act {i}" for i in range(n)]
    return Trajectory(obs, acts, np.array(rewards or [0.0] * n, float), terminated, not terminated, infos)


def paid(stack, traj):
    stack = stack if isinstance(stack, Stack) else Stack([stack])
    return stack.run([traj])[0].rewards


def run(shaper, group):
    """Rewards of each episode of a group."""
    return [t.rewards for t in Stack([shaper]).run(group)]


def sums(shaper, group):
    """What each episode of a group earns."""
    return [float(r.sum()) for r in run(shaper, group)]


def check_lanes(layers):
    """A vector environment pays what single ones pay; ``layers()`` makes new layers."""
    seeds, rewards, words = [3, 4], [], ("look", "inventory", "look")
    envs = shape(gym.make_vec("milepost/Quest-easy-v0", 2, "sync"), layers())
    envs.reset(seed=seeds)
    many = [envs.step(np.array([a, a]))[1].tolist() for a in words]
    for seed in seeds:
        env = shape(gym.make("milepost/Quest-easy-v0"), layers())
        env.reset(seed=seed)
        rewards.append([env.step(a)[1] for a in words])
    assert np.allclose(np.array(many).T, rewards)
    envs.close()
