"""Agents that leave, and games as vector environments of Gymnasium and Stable-Baselines3."""

import functools
import importlib.util
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import SyncVectorEnv

pytest.importorskip("pettingzoo", reason="the extra multiagent is not installed")
pytest.importorskip("mpe2", reason="mpe2 is not installed")
pytest.importorskip("pygame", reason="pygame, which PettingZoo's classic games draw with, is not installed")
from mpe2.simple_spread import simple_spread
from pettingzoo.classic.connect_four import connect_four
from pettingzoo.utils.conversions import turn_based_aec_to_parallel

from milepost import shape
from milepost.wrappers import Scale
from milepost.wrappers import games as g

_spec = importlib.util.spec_from_file_location("walk", Path(__file__).parent / "walk.py")
walk = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(walk)
NAMES, Walk, tree = walk.NAMES, walk.Walk, walk.tree


# -- agents that leave -------------------------------------------------------------------------------
def test_black_death_by_hand():
    env = g.black_death(Walk(terms=True, mask="obs"))
    obs, infos = env.reset(seed=0)
    acts = dict.fromkeys(NAMES, 2)  # earns 1 each time
    rows = []
    while env.agents:
        assert env.agents == list(NAMES)
        obs, r, te, tr, infos = env.step(acts)
        rows.append([(r[a], te[a], tr[a], infos[a].get("padding", False), infos[a].get("left")) for a in NAMES])
        assert all(env.observation_space(a).contains(obs[a]) for a in NAMES)
        assert all(sum(infos[a]["reward_terms"].values()) == r[a] for a in NAMES)
        assert all(list(infos[a]["reward_terms"]) == ["walk", "cost"] for a in NAMES)
    on, gone = (1.0, False, False, False, None), (0.0, False, False, True, None)
    left = (1.0, False, False, False, "terminated")
    assert rows[:3] == [[on, on, on], [left, on, on], [gone, on, left]]
    # the game is over: walker_1 was cut off at its limit, the others had been terminated
    assert rows[3] == [(0.0, True, False, True, None), (1.0, False, True, False, None), (0.0, True, False, True, None)]
    assert len(rows) == 4 and not obs["walker_0"]["observation"].any() and obs["walker_0"]["action_mask"].all()
    assert obs["walker_1"]["observation"].any()


def test_dead_observations_are_new_and_those_who_come_late_are_padded():
    class Late(Walk):
        def reset(self, seed=None, options=None):
            obs, infos = super().reset(seed, options)
            self.agents = ["walker_0", "guard_0"]
            return {a: obs[a] for a in self.agents}, {a: infos[a] for a in self.agents}

        def step(self, actions):
            found = super().step(actions)
            self.agents = [*self.agents, "walker_1"] if self.t == 1 else self.agents
            if self.t == 1:
                found[0]["walker_1"], found[4]["walker_1"] = self.look("walker_1")
                found[1]["walker_1"] = 0.0
                found[2]["walker_1"] = found[3]["walker_1"] = False
            return found

    env = g.black_death(Late())
    obs, infos = env.reset(seed=0)
    assert infos["walker_1"] == {"padding": True} and not obs["walker_1"].any() and env.agents == list(NAMES)
    rows = [env.step(dict.fromkeys(NAMES, 1)) for _ in range(4)]
    assert [r[4]["walker_1"].get("padding", False) for r in rows] == [False] * 4
    dead = [r[0]["walker_0"] for r in rows[2:]]
    assert dead[0] is not dead[1] and not dead[0].any() and env.agents == []


def test_blackening_twice_is_blackening_once():
    def play(env):
        steps = [env.reset(seed=1)]
        while env.agents:
            steps.append(env.step(dict.fromkeys(NAMES, 2)))
        return tree(steps)

    assert play(g.black_death(g.black_death(Walk(terms=True)))) == play(g.black_death(Walk(terms=True)))


# -- Gymnasium's vector environments -----------------------------------------------------------------
class Solo(gym.Env):
    """One agent of ``Walk`` by itself, to compare with Gymnasium's own vector environment."""

    metadata = {"render_modes": []}
    observation_space, action_space = Box(-99, 99, (2,), np.float32), Discrete(3)

    def __init__(self, life):
        self.game = Walk({"walker_1": life}, terms=True, mask="info")

    def reset(self, *, seed=None, options=None):
        obs, infos = self.game.reset(seed, options)
        return obs["walker_1"], infos["walker_1"]

    def step(self, action):
        return tuple(x["walker_1"] for x in self.game.step({"walker_1": action}))


@pytest.mark.parametrize("mode", ["NextStep", "SameStep", "Disabled"])
def test_with_one_agent_it_is_gymnasiums_own_vector_environment(mode):
    lives = (2, 3)
    ours = g.to_gymnasium(
        [functools.partial(Walk, {"walker_1": n}, terms=True, mask="info") for n in lives], None, mode
    )
    theirs = SyncVectorEnv([functools.partial(Solo, n) for n in lives], autoreset_mode=mode)
    assert ours.metadata["autoreset_mode"] == theirs.metadata["autoreset_mode"] and ours.num_envs == 2
    for name in ("single_observation_space", "observation_space", "single_action_space", "action_space"):
        assert getattr(ours, name) == getattr(theirs, name)
    got = (ours.reset(seed=[3, 4]), theirs.reset(seed=[3, 4]))
    assert tree(got[0]) == tree(got[1])
    over = np.zeros(2, bool)
    for t in range(8):
        if mode == "Disabled" and over.any():
            pair = [e.reset(options={"reset_mask": over.copy()}) for e in (ours, theirs)]
            assert tree(pair[0]) == tree(pair[1])
        x, y = (e.step(np.array([t % 3, 2])) for e in (ours, theirs))
        assert tree(x) == tree(y), t
        over = x[2] | x[3]
    if mode != "Disabled":
        assert ours.step(np.array([0, 0]))[0] is not x[0]


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_agents_that_finish_early_by_hand(mode):
    # lanes: walker_0, walker_1, guard_0; they leave at steps 2, 4 (cut off) and 3; every action 2 earns 1
    env = g.to_gymnasium(Walk, 1, mode)
    obs, infos = env.reset(seed=0)
    assert env.lanes == [(0, a) for a in NAMES] and env.num_envs == 3 and infos == {}
    np.testing.assert_array_equal(obs, [[0, 1], [1, 1], [2, 1]])
    steps = [env.step(np.full(3, 2)) for _ in range(5)]
    # sums grow by 2, time stands beside them; who has left sees zeros
    np.testing.assert_array_equal(steps[1][0], [[4, 3], [5, 3], [6, 3]])
    np.testing.assert_array_equal(steps[2][0], [[0, 0], [7, 4], [8, 4]])
    last = [[0, 0], [9, 5], [0, 0]]
    first = [[0, 1], [1, 1], [2, 1]]
    np.testing.assert_array_equal([s[1] for s in steps[:4]], [[1, 1, 1], [1, 1, 1], [0, 1, 1], [0, 1, 0]])
    np.testing.assert_array_equal([s[2] for s in steps[:4]], [[False] * 3] * 3 + [[True, False, True]])
    np.testing.assert_array_equal([s[3] for s in steps[:4]], [[False] * 3] * 3 + [[False, True, False]])
    assert steps[0][4] == {} and steps[1][4]["left"].tolist() == ["terminated", None, None]
    assert steps[2][4]["padding"].tolist() == [True, False, False]
    assert steps[2][4]["_left"].tolist() == [False, False, True]
    if mode == "NextStep":
        np.testing.assert_array_equal(steps[3][0], last)
        assert steps[3][4]["padding"].tolist() == [True, False, True]
        obs, r, te, tr, infos = steps[4]  # only resets
        np.testing.assert_array_equal(obs, first)
        assert not r.any() and not te.any() and not tr.any() and infos == {}
    else:
        np.testing.assert_array_equal(steps[3][0], first)
        np.testing.assert_array_equal(np.stack(steps[3][4]["final_obs"]), last)
        assert steps[3][4]["final_info"]["padding"].tolist() == [True, False, True] and "padding" not in steps[3][4]
        np.testing.assert_array_equal(steps[4][0], [[2, 2], [3, 2], [4, 2]])


def test_copies_play_by_themselves_and_have_their_own_seeds():
    env = g.to_gymnasium([Walk, lambda: Walk(dict.fromkeys(NAMES, 2))], autoreset_mode="SameStep")
    obs, _ = env.reset(seed=3)
    np.testing.assert_array_equal(obs[:, 0], [3, 4, 5, 4, 5, 6])  # seeds 3 and 4
    env.step(np.zeros(6, int))
    _, _, te, tr, infos = env.step(np.zeros(6, int))
    assert (te | tr).tolist() == [False] * 3 + [True] * 3 and infos["_final_obs"].tolist() == [False] * 3 + [True] * 3
    assert env.core.games[1].unwrapped.seeds == [4, None] and env.render() == (None, None)
    shaped = shape(env, [Scale(3.0)])  # a stack on the lanes
    shaped.reset(seed=0)
    _, r, _, _, infos = shaped.step(np.full(6, 2))
    assert r.tolist() == [3.0] * 6 and infos["reward_terms"]["scale"].tolist() == [2.0] * 6
    env = g.to_gymnasium(Walk, 2, "Disabled")
    env.reset(seed=0)
    for mask in (np.array([True] * 4 + [False] * 2), [True] * 6, np.zeros(6, bool)):
        with pytest.raises(ValueError, match=r"reset_mask is .*allowed"):
            env.reset(options={"reset_mask": mask})
    for _ in range(4):
        env.step(np.zeros(6, int))
    with pytest.raises(RuntimeError, match="the game of copy 0 is over: call reset"):
        env.step(np.zeros(6, int))
    env.reset(options={"reset_mask": np.array([True] * 3 + [False] * 3)})
    assert env.core.games[0].unwrapped.t == 0 and env.core.games[1].unwrapped.t == 4


# -- Stable-Baselines3 -------------------------------------------------------------------------------
def test_with_one_agent_it_is_what_sb3_makes_of_the_environment():
    pytest.importorskip("stable_baselines3", reason="the extra sb3 is not installed")
    from stable_baselines3.common.vec_env import DummyVecEnv

    lives = (2, 3)
    ours = g.to_sb3([functools.partial(Walk, {"walker_1": n}, terms=True, mask="info") for n in lives])
    theirs = DummyVecEnv([functools.partial(Solo, n) for n in lives])
    ours.seed(5), theirs.seed(5)
    assert tree(ours.reset()) == tree(theirs.reset()) and tree(ours.reset_infos) == tree(theirs.reset_infos)
    for t in range(8):
        x, y = (e.step(np.array([t % 3, 2])) for e in (ours, theirs))
        assert tree(x) == tree(y), t
        assert tree(ours.reset_infos) == tree(theirs.reset_infos)
    assert ours.step(np.array([0, 0]))[0] is not x[0]


def test_lanes_of_sb3_by_hand():
    pytest.importorskip("stable_baselines3", reason="the extra sb3 is not installed")
    from stable_baselines3.common.vec_env import VecMonitor

    env = g.to_sb3(functools.partial(Walk, mask="info"), 2)
    assert env.lanes == [(k, a) for k in range(2) for a in NAMES]
    assert not env.has_attr("action_masks")  # nothing is known yet
    assert env.seed(3) == [3, 3, 3, 4, 4, 4]
    obs = env.reset()
    np.testing.assert_array_equal(obs[:, 0], [3, 4, 5, 4, 5, 6])
    assert env.has_attr("action_masks") and not env.has_attr("nothing") and env.get_attr("t") == [0] * 6
    np.testing.assert_array_equal(env.env_method("action_masks"), [[False, True, True]] * 6)
    np.testing.assert_array_equal(env.get_attr("action_masks", [1])[0](), [False, True, True])
    rows = [env.step(np.full(6, 2)) for _ in range(4)]
    assert [r[2].tolist() for r in rows] == [[False] * 6] * 3 + [[True] * 6]
    assert [r[1][:3].tolist() for r in rows] == [[1, 1, 1], [1, 1, 1], [0, 1, 1], [0, 1, 0]]
    last = rows[3][3]
    assert [i["TimeLimit.truncated"] for i in last] == [False, True, False] * 2
    assert [i.get("padding", False) for i in last] == [True, False, True] * 2 and rows[1][3][0]["left"] == "terminated"
    np.testing.assert_array_equal(last[1]["terminal_observation"], [4 + 8, 5])
    np.testing.assert_array_equal(rows[3][0][1], [1, 1])  # the next game, unseeded
    env.set_attr("limit", 7, [0])
    assert env.core.games[0].unwrapped.limit == 7 and env.env_method("render", indices=[0, 1]) == [None, None]
    assert env.env_is_wrapped(Walk) == [True] * 6 and env.env_is_wrapped(gym.Wrapper, [0]) == [False]
    env.set_options({"x": 1})
    monitored = VecMonitor(g.to_sb3(Walk))
    monitored.reset()
    ended = [monitored.step(np.full(3, 2))[3] for _ in range(4)][3]
    assert [i["episode"]["r"] for i in ended] == [2.0, 4.0, 3.0]  # one an agent and step; padding adds nothing


def test_lanes_without_a_mask_may_do_anything():
    pytest.importorskip("stable_baselines3", reason="the extra sb3 is not installed")
    env = g.to_sb3(functools.partial(Walk, mask="info"))
    env.reset()
    for _ in range(3):
        env.step(np.full(3, 1))
    # time 3: action 0 is forbidden; walker_0 has left a step ago, guard_0 with this one
    assert [m.tolist() for m in env.action_masks()] == [[True] * 3, [False, True, True], [False, True, True]]
    plain = g.to_sb3(Walk)
    plain.reset()
    assert not plain.has_attr("action_masks")


def test_who_is_terminated_at_the_limit_is_not_bootstrapped():
    pytest.importorskip("stable_baselines3", reason="the extra sb3 is not installed")

    class Both(Walk):
        def step(self, actions):
            obs, r, te, tr, infos = super().step(actions)
            return obs, r, te, {a: te[a] or tr[a] for a in te}, infos

    env = g.to_sb3(lambda: Both(dict.fromkeys(NAMES, 1)))
    env.reset()
    _, _, done, infos = env.step(np.zeros(3, int))
    assert done.all() and [i["TimeLimit.truncated"] for i in infos] == [False, True, False]


def test_sb3_trains_on_the_lanes():
    pytest.importorskip("sb3_contrib", reason="the extra sb3 is not installed")
    import torch
    from sb3_contrib import MaskablePPO
    from stable_baselines3 import PPO

    torch.set_num_threads(1)

    def four():
        return g.flatten(turn_based_aec_to_parallel(connect_four.env()))

    env = g.to_sb3(four, 2)
    model = MaskablePPO("MultiInputPolicy", env, n_steps=16, batch_size=16, n_epochs=1, seed=0)
    model.learn(64)
    assert model.num_timesteps == 64 and (model.rollout_buffer.action_masks == 0).any()
    env = g.to_sb3(lambda: g.agent_indicator(simple_spread.parallel_env(max_cycles=8)), 2)
    first = PPO("MlpPolicy", env, n_steps=16, batch_size=32, n_epochs=1, seed=0)
    first.learn(96)
    assert first.num_timesteps == 96


def test_texts_are_refused_in_the_name_of_what_was_called():
    from milepost.envs.multiagent import negotiation_v0

    with pytest.raises(ValueError, match=r"to_gymnasium: the space of party_0 is Unicode.*encoded face"):
        g.to_gymnasium(negotiation_v0.parallel_env)
