"""A small game of coalitions, for tests of what several agents earn together."""

import copy

import gymnasium as gym
import numpy as np
from pettingzoo import ParallelEnv

V = {0: 0, 1: 1, 2: 0, 4: 0, 3: 3, 5: 1, 6: 0, 7: 4}  # the card's game of coalitions: agent k is bit k


class Levers(ParallelEnv):
    """Each pulls a lever (1) or not (0). The team earns V of those who pull, times a luck of 1 to 3, evenly shared.

    ``leaves``: agent 0 is gone after the first step.
    """

    metadata = {"name": "levers_v0", "render_modes": [], "is_parallelizable": True}
    render_mode = None

    def __init__(self, n=3, limit=3, luck=True, leaves=False, value=None):
        self.possible_agents, self.agents = [f"p{k}" for k in range(n)], []
        self.spaces = gym.spaces.Box(0, 99, (1,), np.float64), gym.spaces.Discrete(2)
        self.limit, self.luck, self.leaves, self.value = limit, luck, leaves, value or V.__getitem__

    def observation_space(self, agent):
        return self.spaces[0]

    def action_space(self, agent):
        return self.spaces[1]

    def look(self, who):
        info = {"latent_factors": {"time": float(self.t)}, "score": float(self.pulls)}
        return {a: np.array([float(self.t)]) for a in who}, {a: dict(info) for a in who}

    def reset(self, seed=None, options=None):
        if seed is not None or not hasattr(self, "rng"):
            self.rng = np.random.default_rng(seed)
        self.agents, self.t, self.pulls = list(self.possible_agents), 0, 0
        return self.look(self.agents)

    def step(self, actions):
        who, self.t = self.agents, self.t + 1
        pulled = sum(1 << self.possible_agents.index(a) for a in who if actions[a])
        self.pulls += pulled.bit_count()
        luck = int(self.rng.integers(1, 4)) if self.luck else 1
        r = dict.fromkeys(who, self.value(pulled) * luck / len(who))
        over = self.t >= self.limit
        te = {a: over or (self.leaves and a == "p0") for a in who}
        obs, infos = self.look(who)
        for k, a in enumerate(who):
            infos[a] |= {"pulled": bool(actions[a]), "scores": {"goal": 9.0}, "attribution": [3, 1, 0][: self.t]}
            infos[a]["latent_factors"]["pulled"] = float(actions[a]) * (k + 1)
        self.agents = [a for a in who if not te[a]]
        return obs, r, te, dict.fromkeys(who, False), infos

    def snapshot(self):
        return copy.deepcopy((self.agents, self.t, self.pulls, self.rng))

    def restore(self, snapshot):
        self.agents, self.t, self.pulls, self.rng = copy.deepcopy(snapshot)


class Foreign(Levers):
    snapshot = restore = None


def play(env, script, seed=0):
    """(rewards, infos) of each step."""
    env.reset(seed=seed)
    out = []
    for row in script:
        _, r, _, _, infos = env.step({a: x for a, x in zip(env.possible_agents, row) if a in env.agents})
        out.append((r, infos))
    return out
