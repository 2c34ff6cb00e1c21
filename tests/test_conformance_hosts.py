"""Every published shaper on every host: the same scripted episodes, and the rewards that the recorded ones get.

Memory is filled first and then frozen, since hosts differ in the order in which lanes reach a layer. Where a layer is not
defined on a host the sentence that refuses it is checked instead.
"""

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

pytest.importorskip("pettingzoo", reason="the extra multiagent is not installed")
from pettingzoo import ParallelEnv
from pettingzoo.utils.conversions import parallel_to_aec

from milepost import shape
from milepost.wrappers import Stack, Trajectory, load
from milepost.wrappers import conformance as C
from milepost.wrappers.hosts.offline import relabel
from milepost.wrappers.hosts.vector import ShapedVectorEnv
from milepost.wrappers.shaper import catalog
from milepost.wrappers.types import Level

_spec = importlib.util.spec_from_file_location("core_of_tests", Path(__file__).parent / "test_core.py")
core = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(core)

pytestmark = pytest.mark.core

LENGTHS = [
    (4, 1),
    (1, 3),
    (6, 2),
]  # of the episodes of each lane or agent, one after the other: ragged, and of one step
SPACES = gym.spaces.Box(0, 9, (1,), np.float64), gym.spaces.Discrete(2)


def known(state):
    return core.facts_of(state) | {
        "tests": {"old": state != 1, "new": state >= 3},
        "turn": state // 2,
        "goal": np.array([4.0]),
    }


def script(lane, k):
    """Episode ``k`` of a lane: every other one ends in a terminal state, the others are cut off."""
    rng = np.random.default_rng([lane, k])
    t = C.sample(rng, LENGTHS[lane][k], (lane + k) % 2 == 0, known)
    infos = [dict(i) for i in t.infos]
    infos[0]["meta"] = infos[0]["meta"] | {"task": 0, "id": f"{lane}.{k}"}
    obs = [np.array([float(x)]) for x in t.obs]
    return Trajectory(obs, t.actions, t.rewards, t.terminated, t.truncated, infos, dict(infos[0]["meta"]))


SCRIPTS = [[script(lane, k) for k in (0, 1)] for lane in range(len(LENGTHS))]
EVERY = [t for lane in SCRIPTS for t in lane]


class Scripted(gym.Env):
    """Plays its episodes one after the other, and then again."""

    observation_space, action_space = SPACES

    def __init__(self, episodes):
        self.episodes, self.n = episodes, -1

    def reset(self, *, seed=None, options=None):
        self.n, self.k = self.n + 1, 0
        self.now = self.episodes[self.n % len(self.episodes)]
        return self.now.obs[0].copy(), dict(self.now.infos[0])

    def step(self, action):
        assert action == self.now.actions[self.k]
        self.k += 1
        last, t = self.k == len(self.now), self.now
        r = float(t.rewards[self.k - 1])
        return t.obs[self.k].copy(), r, last and t.terminated, last and t.truncated, dict(t.infos[self.k])


class ScriptedGame(ParallelEnv):
    """The same with an agent for each lane, who leave when their episodes end."""

    metadata = {"name": "scripted_v0", "render_modes": [], "is_parallelizable": True}
    render_mode = None

    def __init__(self):
        self.possible_agents = [f"p{lane}" for lane in range(len(SCRIPTS))]
        self.parts, self.agents = {a: Scripted(s) for a, s in zip(self.possible_agents, SCRIPTS)}, []

    def observation_space(self, agent):
        return SPACES[0]

    def action_space(self, agent):
        return SPACES[1]

    def reset(self, seed=None, options=None):
        self.agents = list(self.possible_agents)
        rows = {a: self.parts[a].reset() for a in self.agents}
        return {a: o for a, (o, _) in rows.items()}, {a: i for a, (_, i) in rows.items()}

    def step(self, actions):
        rows = {a: self.parts[a].step(actions[a]) for a in self.agents}
        obs, rewards, te, tr, infos = ({a: x[k] for a, x in rows.items()} for k in range(5))
        self.agents = [a for a in self.agents if not (te[a] or tr[a])]
        return obs, rewards, te, tr, infos


# -- drivers: {episode: (rewards as they came, the credit if there is one)} -----------------------------
def by_env(stack):
    out = {}
    for lane in SCRIPTS:
        env = stack(Scripted(lane))
        for t in lane:
            env.reset()
            rows = [env.step(a) for a in t.actions]
            out[t.meta["id"]] = [x[1] for x in rows], rows[-1][4].get("credit")
        env.close()
    return out


def by_vector(stack, mode):
    env = stack(SyncVectorEnv([lambda s=s: Scripted(s) for s in SCRIPTS], autoreset_mode=mode))
    env.reset()
    at, fresh, out = [(0, 0)] * len(SCRIPTS), [False] * len(SCRIPTS), {}
    rows = {t.meta["id"]: [] for t in EVERY}
    while len(out) < len(EVERY):
        now = [SCRIPTS[i][e % 2] for i, (e, _) in enumerate(at)]
        actions = np.array([0 if fresh[i] else t.actions[at[i][1]] for i, t in enumerate(now)])
        _, rewards, te, tr, infos = env.step(actions)
        for i, t in enumerate(now):
            if fresh[i]:  # NEXT_STEP: only reset
                assert rewards[i] == 0.0
                fresh[i] = False
                continue
            (e, k), name = at[i], t.meta["id"]
            at[i] = (e, k + 1)
            if e < 2:
                rows[name].append(float(rewards[i]))
            if te[i] or tr[i]:
                at[i], fresh[i] = (e + 1, 0), mode == AutoresetMode.NEXT_STEP
                told = infos if mode == AutoresetMode.NEXT_STEP else infos["final_info"]
                credit = told["credit"][i] if "credit" in told else None
                out.setdefault(name, (rows[name], credit))
    return out, env


def by_parallel(stack):
    env, out = stack(ScriptedGame()), {}
    for k in (0, 1):
        env.reset()
        rows, step = {a: [] for a in env.possible_agents}, 0
        while env.agents:
            actions = {a: SCRIPTS[int(a[1])][k].actions[step] for a in env.agents}
            _, rewards, _, _, infos = env.step(actions)
            step += 1
            for a in actions:
                rows[a].append(rewards[a])
                if len(rows[a]) == LENGTHS[int(a[1])][k]:
                    out[f"{a[1]}.{k}"] = rows[a], infos[a].get("credit")
    return out, env


def by_turns(stack):
    env, out = stack(parallel_to_aec(ScriptedGame())), {}
    for k in (0, 1):
        env.reset()
        rows = {a: [] for a in env.possible_agents}
        for a in env.agent_iter():
            _, reward, te, tr, info = env.last()
            rows[a].append(reward)
            if te or tr:
                out[f"{a[1]}.{k}"] = rows[a][1:], info.get("credit")  # before its first turn nobody was paid
                env.step(None)
            else:
                env.step(SCRIPTS[int(a[1])][k].actions[len(rows[a]) - 1])
    return out, env


@dataclasses.dataclass
class Episode:
    """The fields of ``minari.EpisodeData``."""

    id: int
    observations: Any
    actions: Any
    rewards: Any
    terminations: Any
    truncations: Any
    infos: Any


def columns(infos):
    """Infos as a data set keeps them: a list of values for each key, of the steps alone where the reset lacks it."""
    out = {}
    for key in infos[-1]:
        values = [i[key] for i in infos if key in i]
        out[key] = columns(values) if isinstance(values[0], dict) and values[0].keys() == values[-1].keys() else values
    return out


def by_relabel(layers):
    out = {}
    for n, t in enumerate(EVERY):
        ends = [np.arange(1, len(t) + 1) == len(t) * end for end in (t.terminated, t.truncated)]
        (new,) = relabel([Episode(n, np.array(t.obs), np.array(t.actions), t.rewards, *ends, columns(t.infos))], layers)
        out[t.meta["id"]] = new.rewards
    return out


# -- the matrix ------------------------------------------------------------------------------------------
JUDGE = {"scorer": "predicate", "patterns": {"make progress": "at [34]"}}
CASES = {name: {"shaper": name} | core.SETTINGS.get(name, {}) for name in catalog()}
CASES |= {  # settings that change the level, or what a layer remembers
    "sweet_spot, steps": {"shaper": "sweet_spot", "level_of": "step"},
    "judgement_table, once": {"shaper": "judgement_table", "once": True} | core.SETTINGS["judgement_table"],
    "krc of terms": {"shaper": "krc", "of": ("env", "aux"), "sign": "product"},
    "multiplicative_progress, sticky": {
        "shaper": "multiplicative_progress",
        "soft": {"valid_action": (0.5, 2), "similarity": None},
        "hard": {"success": -1.0},
    },
    "information_gain, invalid": {"shaper": "information_gain", "mode": "prob", "invalid": -2.0},
    "constraints, both ways": {
        "shaper": "constraints",
        "upper": {"valid_action": 0.1},
        "lower": {"success": 0.9},
        "bootstrap": "success",
    },
    "hop_progress, consistent": {"shaper": "hop_progress", "consistency": 1.0, "success_bonus": 1.0},
    "graph_distance, a goal": {"shaper": "graph_distance", "goal": "goal", "directed": True},
    "caption_reward, ranking": {"shaper": "caption_reward", "source": "ranking", "judge": JUDGE},
    "turning_points, balanced": {"shaper": "turning_points", "balance": True},
    "utterance_attribution, batch": {
        "shaper": "utterance_attribution",
        "over": "batch",
        "scheme": "scaled",
        "normalize": "minmax",
    },
    "reference_reward, group": {"shaper": "reference_reward", "baseline": "group", "squash": "sigmoid"},
    "implicit_process, linear": {
        "shaper": "implicit_process",
        "reference": "start",
        "actions": 2,
        "model": "linear",
        "dim": 32,
    },
    "latent_reward, kept": {"shaper": "latent_reward", "residual": "uniform"},
    "model_reward, by steps": {"shaper": "model_reward", "pay": "delta", "combine": "add", "factors": (("return", 1),)},
}


def layer_of(name):
    return load(CASES[name])


@pytest.fixture(scope="module", params=CASES)
def case(request):
    """A layer, its memory after some episodes, and a function that puts both on an environment."""
    layer = layer_of(request.param)
    fed, rng = Stack([layer]), np.random.default_rng(5)
    trajs = [C.sample(rng, k, bool(k % 2), known) for k in (5, 3, 1, 4, 2)]
    fed.run(trajs)
    fed.learn(trajs)
    state = fed.state_dict()

    def frozen(stack):
        stack.load_state_dict(state)
        stack.train(False)
        return stack

    def put(env, make=shape):
        shaped = make(env, [layer])
        frozen(shaped.stack)
        return shaped

    return layer, put, lambda: frozen(Stack([layer]))


def expected(stack, groups):
    """What hosts should pay: the recorded episodes', settled at the last step where the layer waits for it."""
    out = {}
    for group in groups:
        for before, after in zip(group, stack.run(group), strict=True):
            paid = after.rewards
            if stack.body:
                paid = before.rewards.copy()
                paid[-1] += after.rewards.sum() - before.rewards.sum()
            out[before.meta["id"]] = paid, after.rewards if stack.body else None
    return out


def same(got, want):
    assert got.keys() == want.keys()
    for name, (paid, credit) in want.items():
        np.testing.assert_allclose(got[name][0], paid, atol=1e-9, err_msg=name)
        assert (got[name][1] is None) == (credit is None)
        if credit is not None:
            np.testing.assert_allclose(got[name][1], credit, atol=1e-9, err_msg=name)


def same_tail(env, stack):
    """A layer that runs over finished episodes gets the same from those that the host has kept."""
    kept = {}
    for t in env.stack.take():
        kept.setdefault(t.meta["id"], t)
    host = [kept[t.meta["id"]] for t in EVERY]
    for a, b in zip(env.stack.run(host, env.stack.c), stack.run(EVERY), strict=True):
        assert len(a) == len(b) and (a.terminated, a.truncated) == (b.terminated, b.truncated)
        np.testing.assert_allclose(a.signal, b.signal, atol=1e-9)
        np.testing.assert_allclose(a.rewards, b.rewards, atol=1e-9)


def tail(layer):
    return bool(Stack([layer]).tail)


def test_one_environment(case):
    layer, put, stack = case
    if layer.level == Level.GROUP and layer.pool != "joint":
        with pytest.raises(ValueError, match=r"compares the episodes of a group.*stack\.run"):
            put(Scripted(SCRIPTS[0]))
    elif tail(layer):
        one = stack()
        for lane in SCRIPTS:
            env = put(Scripted(lane))
            for t in lane:
                env.reset()
                for a in t.actions:
                    env.step(a)
            for a, b in zip(env.stack.close(), one.run(lane), strict=True):
                np.testing.assert_allclose(a.signal, b.signal, atol=1e-9)
    else:
        same(by_env(put), expected(stack(), [[t] for t in EVERY]))


HOSTS = {
    "next step": (AutoresetMode.NEXT_STEP, True),
    "same step": (AutoresetMode.SAME_STEP, True),
    "same step, lane by lane": (AutoresetMode.SAME_STEP, False),
}


@pytest.mark.parametrize("host", HOSTS)
def test_lanes_of_a_vector(case, host):
    layer, put, stack = case
    mode, together = HOSTS[host]

    def make(env, layers):
        return shape(env, layers) if together else ShapedVectorEnv(env, layers, columns=False)

    if layer.pool == "joint":
        with pytest.raises(ValueError, match="mixes the agents of one game, sub-environments are separate games"):
            put(SyncVectorEnv([lambda: Scripted(SCRIPTS[0])]), make)
        return
    got, env = by_vector(lambda e: put(e, make), mode)
    if tail(layer):
        same_tail(env, stack())
    else:
        assert env.columns == (together and all(m.columnar for m in env.stack.head))
        same(got, expected(stack(), [[t] for t in EVERY]))


def test_agents_that_step_together(case):
    layer, put, stack = case
    got, env = by_parallel(put)
    if tail(layer):
        same_tail(env, stack())
    else:
        groups = [[lane[k] for lane in SCRIPTS] for k in (0, 1)]
        same(got, expected(stack(), groups if layer.pool == "joint" else [[t] for t in EVERY]))


def test_agents_that_take_turns(case):
    layer, put, stack = case
    if layer.pool == "joint" and not tail(layer):
        with pytest.raises(
            ValueError, match=r"mixes agents that step together, here they take turns: use aec_to_parallel"
        ):
            by_turns(put)
        return
    got, env = by_turns(put)
    if tail(layer):
        same_tail(env, stack())
    else:
        same(got, expected(stack(), [[t] for t in EVERY]))


def test_recorded_episodes(case):
    layer, _, stack = case
    if layer.output == "reward" and not tail(layer):
        got = by_relabel(stack())
        for t in EVERY:
            (want,) = stack().run([t])
            np.testing.assert_allclose(got[t.meta["id"]], want.rewards, atol=1e-9)


@pytest.mark.parametrize("mode", [None, AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP], ids=str)
def test_memory_moves_as_over_recorded_episodes(case, mode):
    """One stream while training: the same rewards again, and the same memory at the end."""
    layer, put, stack = case
    if tail(layer) or (mode and layer.pool == "joint"):
        return  # refused, or run over finished episodes: above
    env, one = (
        put(Scripted(EVERY) if mode is None else SyncVectorEnv([lambda: Scripted(EVERY)], autoreset_mode=mode)),
        stack(),
    )
    env.stack.train(True)
    one.train(True)
    env.reset()
    for t in EVERY:
        paid, want = [], expected(one, [[t]])[t.meta["id"]][0]
        for a in t.actions:
            reward = env.step(a if mode is None else np.array([a]))[1]
            paid.append(float(reward if mode is None else reward[0]))
        np.testing.assert_allclose(paid, want, atol=1e-9, err_msg=t.meta["id"])
        if t is EVERY[-1]:
            break
        if mode is None:
            env.reset()
        elif mode == AutoresetMode.NEXT_STEP:
            env.step(np.array([0]))
    if mode != AutoresetMode.SAME_STEP:  # there the next episode has begun
        close(env.stack.state_dict(), one.state_dict())


def close(a, b):
    """Two memories, up to rounding."""
    assert type(a) is type(b) or np.isscalar(a)
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for k in a:
            close(a[k], b[k])
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for x, y in zip(a, b):
            close(x, y)
    elif isinstance(a, (float, np.ndarray, np.number)):
        np.testing.assert_allclose(a, b, atol=1e-9)
    else:
        assert a == b


def test_the_scripts_tell_layers_apart():
    """Of the layers that pay rewards most pay these episodes something: the matrix compares more than zeros."""
    idle = set()
    for name in CASES:
        layer = layer_of(name)
        if layer.output == "reward":
            stack = Stack([layer])
            stack.run(EVERY)
            stack.learn(EVERY)
            if all(np.allclose(a.rewards, b.rewards) for a, b in zip(stack.run(EVERY), EVERY)):
                idle.add(name)
    assert idle <= {"length_penalty", "reference_reward", "turning_points, balanced"}
