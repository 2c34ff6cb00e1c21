"""Small games for several agents that tests play; the file stands alone, so that suites of tests can import a copy."""

import gymnasium as gym
import numpy as np
from pettingzoo import ParallelEnv


class Toy(ParallelEnv):
    """What the games below share: agents that see three numbers and press one of ``actions`` buttons."""

    metadata = {"name": "toy_v0", "render_modes": []}
    render_mode = None

    def __init__(self, agents=2, actions=2, limit=6):
        self.possible_agents, self.agents, self.limit = [f"toy_{k}" for k in range(agents)], [], limit
        self.spaces = {
            a: (gym.spaces.Box(-1, 9, (3,), np.float32), gym.spaces.Discrete(actions)) for a in self.possible_agents
        }
        self.rng = np.random.default_rng()

    def observation_space(self, agent):
        return self.spaces[agent][0]

    def action_space(self, agent):
        return self.spaces[agent][1]

    def reset(self, seed=None, options=None):
        if seed is not None:
            self.rng = np.random.default_rng(seed)
        self.agents, self.t = list(self.possible_agents), 0
        self.cue = {a: int(self.rng.integers(2)) for a in self.agents}
        return {a: self.look(a) for a in self.agents}, {a: {} for a in self.agents}

    def look(self, a):
        return np.array([self.cue[a], self.t / self.limit, 1.0], np.float32)

    def step(self, actions):
        who, self.t = list(self.agents), self.t + 1
        rewards, infos = self.pay({a: int(actions[a]) for a in who})
        self.cue = {a: int(self.rng.integers(2)) for a in self.possible_agents}
        # toy_k leaves after k + 2 steps of its own accord, who is still there at the limit is truncated
        done = {a: self.t >= int(a[-1]) + 2 for a in who}
        late = {a: not done[a] and self.t >= self.limit for a in who}
        self.agents = [a for a in who if not (done[a] or late[a])]
        return {a: self.look(a) for a in who}, rewards, done, late, infos

    def pay(self, pressed):
        """Pays each agent for the button of its own cue, on its last step alone."""
        good = {a: float(p == self.cue[a]) for a, p in pressed.items()}
        last = {a: self.t >= min(int(a[-1]) + 2, self.limit) for a in pressed}
        self.total = (self.total if self.t > 1 else 0.0) + sum(good.values())
        facts = {a: {"good": good[a], "total": self.total, "invalid": False} for a in pressed}
        return {a: float(last[a]) for a in pressed}, facts


class Praised(Toy):
    """The rewards that ``Praise`` redistributes, directly."""

    def pay(self, pressed):
        _, infos = super().pay(pressed)
        return {a: i["good"] - 0.25 for a, i in infos.items()}, infos


class Cued(Toy):
    """Two agents, three steps each; the button of one's own cue pays."""

    def step(self, actions):
        out = super().step(actions)
        self.agents = [a for a in self.possible_agents if self.t < 3]
        return out[0], out[1], dict.fromkeys(out[0], self.t >= 3), dict.fromkeys(out[0], False), out[4]

    def pay(self, pressed):
        right = {a: float(p == self.cue[a]) for a, p in pressed.items()}
        return right, {a: {"success": right[a] == 1.0, "share": float(np.mean(list(right.values())))} for a in pressed}


class Apart(Cued):
    """Both see the same; the first must press 0 and the second 1."""

    def look(self, a):
        return np.array([0.0, 0.0, 1.0], np.float32)

    def pay(self, pressed):
        right = {a: float(p == int(a[-1])) for a, p in pressed.items()}
        return right, {a: {} for a in pressed}


class Bids(Cued):
    """The higher bid of four wins everything, equal bids share: the highest bid beats all others."""

    policies = ("high",)

    def __init__(self, limit=3):
        super().__init__(actions=4, limit=limit)
        self.game = self

    def look(self, a):
        return np.array([0.0, 0.0, 1.0], np.float32)

    def script(self, agent, policy):
        return 3

    def pay(self, pressed):
        x, y = pressed.values()
        won = dict(zip(pressed, (float(x > y) + (x == y) / 2, float(y > x) + (x == y) / 2)))
        return won, {a: {"bids": (x + y) / 6.0, "success": won[a] == 1.0} for a in pressed}


class Falls:
    """A player that breaks at its first move."""

    def act(self, agent, obs, info):
        raise RuntimeError("the player fell")
