"""Games for the tests of the wrappers of games, and what plays and compares them."""

import copy

import numpy as np
from gymnasium.spaces import Box, Dict, Discrete
from pettingzoo import AECEnv, ParallelEnv

from milepost.wrappers.games.observations import AECView

NAMES = ("walker_0", "walker_1", "guard_0")
LIVES = {"walker_0": 2, "walker_1": 4, "guard_0": 3}  # steps after which an agent leaves; the last is cut off


class Walk(ParallelEnv):
    """Each agent adds its action to its sum and earns it, less 1. Agent by agent leaves; ``walker_1`` is truncated."""

    metadata = {"name": "walk_v0", "render_modes": [], "is_parallelizable": True}
    render_mode = None

    def __init__(self, lives=LIVES, terms=False, mask=None, shape=(2,), sizes=None, reuse=False, actions=3):
        self.lives, self.terms, self.mask, self.shape, self.reuse = dict(lives), terms, mask, shape, reuse
        self.possible_agents, self.agents, self.seeds = list(lives), [], []
        sizes = sizes or dict.fromkeys(lives, shape)
        counts = actions if isinstance(actions, dict) else dict.fromkeys(lives, actions)
        self.arrays = {a: Box(-99, 99, sizes[a], np.float32) for a in lives}
        self.counts = {a: Discrete(n) for a, n in counts.items()}
        masked = {
            a: Dict({"observation": s, "action_mask": Box(0, 1, (counts[a],), np.int8)}) for a, s in self.arrays.items()
        }
        self.spaces = masked if mask == "obs" else self.arrays
        self.buffers = {a: np.zeros(s.shape, np.float32) for a, s in self.arrays.items()}

    def observation_space(self, agent):
        return self.spaces[agent]

    def action_space(self, agent):
        return self.counts[agent]

    def legal(self, a):
        m = np.ones(self.counts[a].n, np.int8)
        m[self.t % self.counts[a].n] = 0
        return m

    def look(self, a):
        out = self.buffers[a] if self.reuse else np.zeros(self.arrays[a].shape, np.float32)
        out[...] = self.t + 1
        out.flat[0] = self.x[a]
        obs = {"observation": out, "action_mask": self.legal(a)} if self.mask == "obs" else out
        return obs, {"action_mask": self.legal(a)} if self.mask == "info" else {}

    def reset(self, seed=None, options=None):
        self.seeds.append(seed)
        self.agents, self.t = list(self.lives), 0
        self.x = {a: (seed or 0) % 7 + i for i, a in enumerate(self.lives)}
        both = {a: self.look(a) for a in self.agents}
        return {a: o for a, (o, _) in both.items()}, {a: i for a, (_, i) in both.items()}

    def step(self, actions):
        who, self.t = self.agents, self.t + 1
        r = {a: float(actions[a]) - 1.0 for a in who}
        for a in who:
            self.x[a] += int(actions[a])
        both = {a: self.look(a) for a in who}
        infos = {a: i for a, (_, i) in both.items()}
        if self.terms:
            infos = {a: i | {"reward_terms": {"walk": r[a] + 1.0, "cost": -1.0}} for a, i in infos.items()}
        over = {a: self.t >= self.lives[a] for a in who}
        te = {a: over[a] and a != "walker_1" for a in who}
        tr = {a: over[a] and a == "walker_1" for a in who}
        self.agents = [a for a in who if not over[a]]
        return {a: o for a, (o, _) in both.items()}, r, te, tr, infos

    def snapshot(self):
        return copy.deepcopy((self.t, self.x, self.agents))

    def restore(self, snapshot):
        self.t, self.x, self.agents = copy.deepcopy(snapshot)

    def render(self):
        return None


class Turns(AECEnv):
    """Two agents take turns to add 0, 1 or 2; a move pays the mover its number and costs the other half of it.

    It ends at a sum of ``goal``, and is cut off after ``most`` moves, if that is said.
    """

    metadata = {"name": "turns_v0", "render_modes": [], "is_parallelizable": False}
    render_mode = None

    def __init__(self, terms=False, goal=5, most=None):
        super().__init__()
        self.possible_agents, self.terms, self.goal, self.most = ["agent_0", "agent_1"], terms, goal, most
        self.spaces = {a: (Box(0, 99, (2,), np.float64), Discrete(3)) for a in self.possible_agents}

    def observation_space(self, agent):
        return self.spaces[agent][0]

    def action_space(self, agent):
        return self.spaces[agent][1]

    def observe(self, agent):
        return np.array([self.total + 1.0, self.moves])

    def tell(self):
        sums = {a: {"env": float(r)} for a, r in self._cumulative_rewards.items()}
        self.infos = {a: {"reward_terms": sums[a]} if self.terms else {} for a in self.agents}

    def reset(self, seed=None, options=None):
        self.agents, self.total, self.moves = list(self.possible_agents), 0, 0
        self.rewards = dict.fromkeys(self.agents, 0.0)
        self._cumulative_rewards = dict.fromkeys(self.agents, 0.0)
        self.terminations, self.truncations = dict.fromkeys(self.agents, False), dict.fromkeys(self.agents, False)
        self.agent_selection = self.agents[0]
        self.tell()

    def step(self, action):
        me = self.agent_selection
        if self.terminations[me] or self.truncations[me]:
            return self._was_dead_step(action)
        other = next(a for a in self.agents if a != me)
        self._cumulative_rewards[me] = 0.0
        self.total, self.moves = self.total + int(action), self.moves + 1
        self.rewards = {me: float(action), other: -0.5 * float(action)}
        if self.total >= self.goal:
            self.terminations = dict.fromkeys(self.agents, True)
        elif self.moves == self.most:
            self.truncations = dict.fromkeys(self.agents, True)
        self.agent_selection = other
        self._accumulate_rewards()
        self.tell()
        return None

    def close(self):
        pass

    def snapshot(self):
        keys = ("agents", "total", "moves", "rewards", "_cumulative_rewards", "terminations", "truncations", "infos")
        return copy.deepcopy({k: getattr(self, k) for k in (*keys, "agent_selection")})

    def restore(self, snapshot):
        self.__dict__.update(copy.deepcopy(snapshot))


# -- playing -----------------------------------------------------------------------------------------
def plan(seed, steps=6, names=NAMES, n=3):
    rng = np.random.default_rng(seed)
    return {a: [int(x) for x in rng.integers(0, n, steps)] for a in names}


def turns_of_parallel(env, acts, seed=0):
    """Agent to what it saw and earned, turn by turn."""
    obs, infos = env.reset(seed=seed)
    seen = {a: [(o, 0.0, False, False, infos[a])] for a, o in obs.items()}
    t = 0
    while env.agents:
        obs, *rest = env.step({a: acts[a][t] for a in env.agents})
        for a, o in obs.items():
            seen[a].append((o, *(x[a] for x in rest)))
        t += 1
    return seen


def turns_of_aec(env, acts, seed=0):
    env.reset(seed=seed)
    seen, t = {}, {}
    for a in env.agent_iter():
        obs, reward, te, tr, info = env.last()
        assert env.observation_space(a) is env.observation_space(a)
        assert env.observe(a) is obs if isinstance(env, AECView) else same(env.observe(a), obs)
        seen.setdefault(a, []).append((obs, reward, te, tr, info))
        t[a] = t.get(a, -1) + 1
        env.step(None if te or tr else acts[a][t[a]])
    return seen


def same(x, y):
    if isinstance(x, dict):
        assert x.keys() == y.keys()
        return all(same(x[k], y[k]) for k in x)
    if isinstance(x, (tuple, list)):
        assert len(x) == len(y), (len(x), len(y))
        return all(map(same, x, y))
    if isinstance(x, np.ndarray):
        assert x.dtype == y.dtype and x.shape == y.shape
    np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-12)
    return True


def tree(x):
    """Arrays as (dtype, shape, values), so that trees can be compared by ``==``."""
    if isinstance(x, dict):
        return {k: tree(v) for k, v in x.items()}
    if isinstance(x, (tuple, list)):
        return [tree(v) for v in x]
    if isinstance(x, np.ndarray):
        return str(x.dtype), x.shape, [tree(v) for v in x] if x.dtype == object else x.tolist()
    return x
