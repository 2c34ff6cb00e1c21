"""A bandit of two arms, for tests of bilevel methods and their trainers."""

import math

import gymnasium as gym
import numpy as np

from milepost.baselines import bilevel as B
from milepost.wrappers import Trajectory

ARMS = np.array([[0.0], [1.0]])  # one parameter: pi_1 = sigmoid(theta)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def both_arms():
    """Each arm once, drawn with 1/2: the expectation over the policy is exact."""
    return B.pack([[(ARMS, k, math.log(0.5))] for k in (0, 1)])


class Bandit(gym.Env):
    """Two arms; the second pays 1, and an auxiliary term pays what it likes."""

    observation_space, action_space = gym.spaces.Discrete(1), gym.spaces.Discrete(2)

    def __init__(self, aux=(0.0, 0.0)):
        self.aux = aux

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return 0, {}

    def step(self, a):
        terms = {"env": float(a == 1), "aux": self.aux[a]}
        return 0, sum(terms.values()), True, False, {"reward_terms": terms, "success": a == 1}


def lone(terms, obs=0):
    infos = [{}, {"reward_terms": terms}]
    return Trajectory([obs, 0], [0], np.array([sum(terms.values())]), True, False, infos)
