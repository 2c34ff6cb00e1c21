"""Rewards and actions of PettingZoo games through the wrappers, and what the wrappers refuse."""

import functools
import importlib.util
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, Text
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("pettingzoo", reason="the extra multiagent is not installed")
pytest.importorskip("mpe2", reason="mpe2 is not installed")
pytest.importorskip("pygame", reason="pygame, which PettingZoo's classic games draw with, is not installed")
from mpe2.simple_spread import simple_spread
from mpe2.simple_tag import simple_tag
from pettingzoo.classic.rps import rps
from pettingzoo.test.example_envs import generated_agents_parallel_v0
from pettingzoo.utils.conversions import parallel_to_aec

from milepost import shape
from milepost.envs.text.spaces import Unicode
from milepost.wrappers import Scale, Uniform
from milepost.wrappers import games as g

_spec = importlib.util.spec_from_file_location("walk", Path(__file__).parent / "walk.py")
walk = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(walk)
NAMES, Turns, Walk, plan, same = walk.NAMES, walk.Turns, walk.Walk, walk.plan, walk.same
turns_of_aec, turns_of_parallel = walk.turns_of_aec, walk.turns_of_parallel


# -- rewards -----------------------------------------------------------------------------------------
def test_rewards_of_turns_by_hand():
    # A move m pays the mover m and costs the other m / 2; agent_0 begins, moves 2, 1, 0, 2.
    # agent_0's turns: 2 - 1/2 = 1.5, then 0 - 2/2 = -1; agent_1's: -1 before it ever acted, then 1 - 0 = 1, then 2.
    moves, wanted = [2, 1, 0, 2], {"agent_0": [0, 1.5, -1], "agent_1": [-1, 1, 2]}
    for low, high in ((-9, 9), (-0.75, 1.0)):
        env = g.clip_reward(Turns(terms=True), low, high)
        env.reset()
        got, sums, left = {}, dict.fromkeys(env.agents, 0.0), list(moves)
        for a in env.agent_iter():
            _, reward, te, _, info = env.last()
            assert reward == sums[a] == pytest.approx(sum(info["reward_terms"].values()))
            assert list(info["reward_terms"]) == ["env", "clip_reward"]
            got.setdefault(a, []).append(reward)
            sums[a] = 0.0
            env.step(None if te else left.pop(0))
            for b, r in env.rewards.items():
                sums[b] += r
        assert got == {a: [min(max(r, low), high) for r in rs] for a, rs in wanted.items()}


REWARDS = st.floats(-50, 50, allow_nan=False, width=32)


class Paid(Walk):
    """Pays what it is told to."""

    def __init__(self, given, terms=True):
        super().__init__(dict.fromkeys(NAMES, len(given)))
        self.given, self.terms = given, terms

    def step(self, actions):
        obs, _, te, tr, _ = super().step(actions)
        r = dict(zip(NAMES, self.given[self.t - 1]))
        terms = {a: {"reward_terms": {"half": x / 2, "rest": x - x / 2}} if self.terms else {} for a, x in r.items()}
        return obs, r, te, tr, terms


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(REWARDS, REWARDS, REWARDS), min_size=1, max_size=8), st.booleans())
def test_rewards_and_their_account(given_rewards, turns):
    def run(wrap, terms=True):
        env = Paid(given_rewards, terms)
        acts = dict.fromkeys(NAMES, [0] * len(given_rewards))
        return turns_of_aec(wrap(parallel_to_aec(env)), acts) if turns else turns_of_parallel(wrap(env), acts)

    chain = run(lambda e: g.scale_reward(g.clip_reward(g.scale_reward(e, 3.0), -20.0, 30.0), 0.5))
    normal = run(lambda e: g.normalize_reward(e, 0.9))
    silent = run(lambda e: g.clip_reward(e, -1.0, 1.0), terms=False)
    for i, a in enumerate(NAMES):
        single = gym.wrappers.NormalizeReward(Alone([r[i] for r in given_rewards], over=a != "walker_1"), 0.9)
        single.reset()
        for t, rewards in enumerate(given_rewards, 1):
            r = chain[a][t][1]
            assert r == pytest.approx(0.5 * min(max(3.0 * rewards[i], -20.0), 30.0))
            terms = chain[a][t][4]["reward_terms"]
            assert list(terms) == ["half", "rest", "scale_reward", "clip_reward", "scale_reward_2"]
            assert sum(terms.values()) == pytest.approx(r, abs=1e-9)
            assert normal[a][t][1] == pytest.approx(single.step(0)[1], rel=1e-9, abs=1e-12)
            assert sum(normal[a][t][4]["reward_terms"].values()) == pytest.approx(normal[a][t][1], abs=1e-9)
            assert silent[a][t][1] == min(max(rewards[i], -1.0), 1.0) and silent[a][t][4] == {}


class Alone(gym.Env):
    """One agent of ``Paid``, for Gymnasium's own wrapper."""

    observation_space, action_space = Box(-9, 9, (1,)), Discrete(2)

    def __init__(self, rewards, over):
        self.rewards, self.over = rewards, over

    def reset(self, *, seed=None, options=None):
        self.t = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.t += 1
        done = self.t == len(self.rewards)
        return np.zeros(1, np.float32), self.rewards[self.t - 1], done and self.over, done and not self.over, {}


def test_normalizing_goes_on_over_episodes_as_gymnasium_does_and_can_be_frozen():
    paid = [(1.0, -2.0, 3.0), (0.0, 5.0, 1.0), (2.0, 2.0, -4.0)]
    env = g.normalize_reward(Paid(paid), 0.9)
    alone = [gym.wrappers.NormalizeReward(Alone([r[i] for r in paid], over=i != 1), 0.9) for i in range(3)]
    for _ in range(3):
        got = turns_of_parallel(env, dict.fromkeys(NAMES, [0] * 3))
        for i, a in enumerate(NAMES):
            alone[i].reset()
            assert [x[1] for x in got[a][1:]] == pytest.approx([alone[i].step(0)[1] for _ in paid])
    kept, env.rule.training = env.rule.moments, False
    turns_of_parallel(env, dict.fromkeys(NAMES, [0] * 3))
    assert env.rule.moments == kept
    other = g.normalize_reward(Paid(paid), 0.9)
    other.rule.moments, other.rule.training = kept, False
    runs = [turns_of_parallel(e, dict.fromkeys(NAMES, [0] * 3)) for e in (env, other)]
    assert same(*[{a: [x[1] for x in r[a]] for a in NAMES} for r in runs])


def test_moments_hold_the_last_rewards_of_a_game_that_nobody_played_to_its_end():
    paid = [(1.0, -2.0, 3.0), (0.0, 5.0, 1.0), (2.0, 2.0, -4.0)]
    together, turns = g.normalize_reward(Paid(paid), 0.9), g.normalize_reward(parallel_to_aec(Paid(paid)), 0.9)
    for _ in range(2):
        together.reset()
        turns.reset()
        for _ in range(2):
            together.step(dict.fromkeys(NAMES, 0))
            for _ in NAMES:
                turns.step(0)
    turns.reset()
    assert same(turns.rule.moments, together.rule.moments)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_reward_that_is_not_finite_does_not_spoil_the_moments_in_silence(bad):
    env = g.normalize_reward(Paid([(1.0, 1.0, 1.0), (1.0, 1.0, 1.0), (1.0, bad, 1.0)]))
    with pytest.raises(ValueError, match="normalize_reward: the reward of walker_1 is"):
        turns_of_parallel(env, dict.fromkeys(NAMES, [0] * 3))


def test_stacks_of_shapers_inside_and_outside():
    env = shape(g.clip_reward(shape(Walk(terms=True), [Scale(2.0)]), -0.5, 0.5), [Scale(3.0)])
    env.reset(seed=0)
    _, r, _, _, infos = env.step(dict.fromkeys(NAMES, 2))  # earns 1: doubled, clipped, tripled
    terms = infos["guard_0"]["reward_terms"]
    assert (
        terms == {"walk": 2.0, "cost": -1.0, "scale": 1.0, "clip_reward": -1.5, "scale_2": 1.0} and r["guard_0"] == 1.5
    )
    with pytest.raises(ValueError, match="clip_reward: the stack inside settles its rewards when an episode ends"):
        g.clip_reward(shape(Walk(), [Uniform()]))


# -- actions -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("mask", ["obs", "info"])
@pytest.mark.parametrize("turns", [False, True])
def test_padding_of_actions(mask, turns):
    def make():
        return Walk(mask=mask, actions={"walker_0": 2, "walker_1": 3, "guard_0": 4})

    env = g.pad_actions(parallel_to_aec(make()) if turns else make())
    assert all(env.action_space(a) == Discrete(4) and env.action_space(a) is env.action_space(a) for a in NAMES)
    acts = {a: [3, 2, 3, 3] for a in NAMES}
    got = turns_of_aec(env, acts) if turns else turns_of_parallel(env, acts)
    # 3 is no action of walker_0 (0, 1) and walker_1 (0 to 2): it counts as 0; rewards are the action less 1
    assert [x[1] for x in got["walker_0"]] == [0, -1, -1] and [x[1] for x in got["walker_1"]] == [0, -1, 1, -1, -1]
    assert [x[1] for x in got["guard_0"]] == [0, 2, 1, 2]
    masks = [x[0]["action_mask"] if mask == "obs" else x[4]["action_mask"] for x in got["walker_0"]]
    np.testing.assert_array_equal(masks, [[0, 1, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0]])
    if mask == "obs":
        assert env.observation_space("walker_0").contains(got["walker_0"][0][0])


def test_padding_of_arrays_takes_the_front_within_the_agents_own_bounds():
    class Arms(Walk):
        own = {"walker_0": Box(-1, 1, (2,)), "walker_1": Box(-3, 3, (1,)), "guard_0": Box(-2, 2, (3,))}

        def action_space(self, agent):
            return self.own[agent]

        def step(self, actions):
            self.played = actions
            return super().step({a: x[0] for a, x in actions.items()})

    env = g.pad_actions(Arms())
    # elementwise hulls: entry 0 of (-1, 1), (-3, 3), (-2, 2); entry 1 of (-1, 1), nothing, (-2, 2); entry 2 of (-2, 2)
    wide = Box(np.array([-3, -2, -2], np.float32), np.array([3, 2, 2], np.float32))
    assert all(env.action_space(a) == wide for a in NAMES)
    env.reset(seed=0)
    env.step(dict.fromkeys(NAMES, np.array([-3, 2, 1], np.float32)))
    played = {a: x.tolist() for a, x in env.unwrapped.played.items()}
    assert played == {"walker_0": [-1, 1], "walker_1": [-3], "guard_0": [-2, 2, 1]}


def test_sticky_actions():
    def run(p, seed, order=NAMES):
        env = g.sticky_actions(Walk(dict.fromkeys(NAMES, 300)), p)
        env.reset(seed=seed)
        played = []
        for t in range(300):  # always another action than before
            _, r, *_ = env.step({a: t % 3 for a in order})
            played.append([r[a] + 1.0 for a in NAMES])
        return np.array(played), env

    state = np.random.get_state()[1].copy()
    wanted = np.arange(300)[:, None] % 3
    np.testing.assert_array_equal(run(0.0, 1)[0], np.broadcast_to(wanted, (300, 3)))
    np.testing.assert_array_equal(run(1.0, 1)[0], 0)  # the first one for ever
    one, env = run(0.25, 1)
    np.testing.assert_array_equal(one, run(0.25, 1, NAMES[::-1])[0])
    assert (one != run(0.25, 2)[0]).any() and (one[:, 0] != one[:, 1]).any()
    # a new action is played with 3/4; 900 draws have a deviation of 0.0144
    assert abs((one[1:] != one[:-1]).mean() - 0.75) < 0.1
    env.reset()  # without a seed the streams go on
    again = np.array([[r + 1.0 for r in env.step(dict.fromkeys(NAMES, t % 3))[1].values()] for t in range(300)])
    assert (again != one).any() and (np.random.get_state()[1] == state).all()


@pytest.mark.parametrize("mask", ["obs", "info"])
@pytest.mark.parametrize("turns", [False, True])
def test_what_the_mask_forbids_is_not_repeated(mask, turns):
    env = Walk(dict.fromkeys(NAMES, 30), mask=mask)
    env = g.sticky_actions(parallel_to_aec(env) if turns else env, 1.0)
    # action t % 3 is forbidden at time t; the policy plays (t + 1) % 3, the last one stays until time forbids it:
    # 1 at time 0; at 1 that is forbidden, so 2; at 2 that is, so 0; ... always what the policy wanted
    acts = {a: [(t + 1) % 3 for t in range(30)] for a in NAMES}
    got = turns_of_aec(env, acts) if turns else turns_of_parallel(env, acts)
    assert all([x[1] + 1 for x in got[a][1:]] == acts[a] for a in NAMES)


@pytest.mark.parametrize("mask", ["obs", "info"])
@pytest.mark.parametrize("turns", [False, True])
def test_a_mask_begins_with_the_first_action_of_each_agents_own_space(mask, turns):
    class Shifted(Walk):  # actions 5, 6 and 7; forbidden is 5 + t % 3, and for one agent the next one
        def action_space(self, agent):
            return Discrete(3, start=5)

        def legal(self, a):
            m = np.ones(3, np.int8)
            m[(self.t + (a == "guard_0")) % 3] = 0
            return m

    env = Shifted(dict.fromkeys(NAMES, 9), mask=mask)
    env = g.sticky_actions(parallel_to_aec(env) if turns else env, 1.0)
    # the walkers play 6 at time 0, which is forbidden at 1, and there 7, which is forbidden at 2, ... as above; the guard
    # plays 5 at time 0 and 1, which is forbidden to it at 2
    acts = {a: [5 + (t + 1 - (a == "guard_0")) % 3 for t in range(9)] for a in NAMES}
    wanted = {a: acts[a] for a in NAMES} | {"guard_0": [5, 5, 7, 7, 6, 6, 5, 5, 7]}
    got = turns_of_aec(env, acts) if turns else turns_of_parallel(env, acts)
    assert {a: [x[1] + 1 for x in got[a][1:]] for a in NAMES} == wanted


def test_an_array_that_the_caller_changes_later_still_sticks():
    class Push(Walk):
        def action_space(self, agent):
            return Box(0, 9, (1,))

        def step(self, actions):
            return super().step({a: x[0] for a, x in actions.items()})

    class Changing(list):  # one array, written to again and again
        array = np.zeros(1)

        def __getitem__(self, t):
            self.array[:] = 2.0 + t
            return self.array

    for turns in (False, True):
        env = Push(dict.fromkeys(NAMES, 5))
        env = g.sticky_actions(parallel_to_aec(env) if turns else env, 1.0)
        acts = {a: Changing() for a in NAMES}
        if not turns:
            got = turns_of_parallel(env, acts)
            assert all([x[1] for x in got[a][1:]] == [1.0] * 5 for a in NAMES)  # 2 for ever, less 1
        else:
            env.reset(seed=0)
            for t in range(2):
                for a in NAMES:
                    env.step(acts[a][t])
                assert env.rewards == dict.fromkeys(NAMES, 1.0)


# -- refusals ----------------------------------------------------------------------------------------
class Words(Walk):
    def observation_space(self, agent):
        return Unicode(9) if agent == "walker_0" else Text(9)


class Lists(Walk):
    def observation_space(self, agent):
        return Dict({"position": Box(-1, 1, (2,))})


class Boxes(Walk):
    def action_space(self, agent):
        return Box(0, 1, (2,)) if agent == "walker_0" else Discrete(2)


def nameless():
    return generated_agents_parallel_v0.parallel_env()


TEXT = r"the space of walker_0 is .*; allowed: numbers \(text games have an encoded face\)"


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        *[(lambda f=f: f(Words()), ValueError, TEXT) for f in (g.frame_stack, g.flatten, g.pad_observations)],
        (lambda: g.agent_indicator(Words()), ValueError, TEXT),
        (lambda: g.dtype(Words(), "uint8"), ValueError, TEXT),
        (lambda: g.delay_observations(Words(), 1), ValueError, TEXT),
        (lambda: g.black_death(Words()), ValueError, TEXT),
        (lambda: g.to_gymnasium(Words()), ValueError, TEXT),
        (lambda: g.flatten(Lists()), ValueError, "flatten: walker_0's observation is a Dict without the key 'observation'"),
        (lambda: g.frame_stack(Walk(), 0), ValueError, "stack_size is 0; allowed: a whole number from 1"),
        (lambda: g.frame_stack(Walk(), True), ValueError, "stack_size is True"),
        (lambda: g.frame_stack(Walk(), 4, 1), ValueError, "stack_dim is 1; allowed: -1, 0"),
        (lambda: g.frame_stack(Walk(), 4, padding="none"), ValueError, "padding is 'none'; allowed: 'reset', 'zero'"),
        (lambda: g.frame_stack(Walk(shape=(1, 2, 3, 4))), ValueError, "allowed: a Box of 1 to 3 axes"),
        (lambda: g.frame_stack(rps.env(), 40), ValueError, r"a Discrete space from 0 with n \*\* 40"),
        (lambda: g.delay_observations(Walk(), -1), ValueError, "delay is -1; allowed: a whole number from 0"),
        (lambda: g.dtype(Walk(), "nope"), ValueError, "dtype is 'nope'; allowed: a numpy type of bool, integer"),
        (lambda: g.dtype(Walk(), str), ValueError, "dtype is <class 'str'>"),
        (lambda: g.dtype(Walk(), np.uint8), ValueError, "for uint8, bounds between 0 and 255"),
        (lambda: g.dtype(simple_spread.parallel_env(), np.int64), ValueError, "for int64, bounds between"),
        (lambda: g.flatten(rps.env()), ValueError, "flatten: the space of player_0 is Discrete.4.; allowed: a Box"),
        (lambda: g.pad_observations(nameless()), ValueError, "pad_observations needs to know all agents in advance"),
        (lambda: g.pad_observations(Walk(sizes={"walker_0": (2,), "walker_1": (2, 2), "guard_0": (2,)})), ValueError,
         "pad_observations: the spaces of walker_0, .* and walker_1, .* do not go together; allowed: Boxes with the same"),
        (lambda: g.pad_actions(Boxes()), ValueError, "pad_actions: the spaces of walker_0"),
        (lambda: g.agent_indicator(Walk({"a": 1, "b": 1}), type_only=True), ValueError, "'a' has no type; allowed: names"),
        (lambda: g.agent_indicator(Walk(), 1), ValueError, "type_only is 1; allowed: False, True"),
        (lambda: g.clip_reward(Walk(), 1, -1), ValueError, "clip_reward: low = 1 is above high = -1"),
        (lambda: g.scale_reward(Walk(), float("nan")), ValueError, "scale is nan; allowed: a finite number"),
        (lambda: g.scale_reward(Walk(), "2"), ValueError, "scale is '2'; allowed: a finite number"),
        (lambda: g.normalize_reward(Walk(), 1.5), ValueError, "gamma is 1.5; allowed: a finite number from 0 to 1"),
        (lambda: g.normalize_reward(Walk(), 0.9, 0), ValueError, "epsilon is 0; allowed: a finite number above 0"),
        (lambda: g.sticky_actions(Walk(), 1.5), ValueError, "repeat_action_probability is 1.5; allowed: a finite"),
        (lambda: g.black_death(Turns()), TypeError, "black_death is defined for agents that step together.*aec_to_parallel"),
        (lambda: g.black_death(nameless()), ValueError, "black_death needs to know all agents in advance"),
        (lambda: g.clip_reward(gym.make("CartPole-v1")), TypeError, "takes a PettingZoo ParallelEnv or AECEnv, not"),
        (lambda: g.to_gymnasium(Turns()), TypeError, "takes ParallelEnvs .* not Turns .*turn_based_aec_to_parallel"),
        (lambda: g.to_gymnasium(simple_tag.parallel_env()), ValueError, r"agent_0 of copy 0 .*pad_observations\(env\)"),
        (lambda: g.to_gymnasium(Walk(actions=dict(zip(NAMES, (2, 3, 2))))), ValueError, r"put pad_actions\(env\)"),
        (lambda: g.to_gymnasium(Walk(), 2), ValueError, "one environment cannot be 2 copies; allowed: a function"),
        (lambda: g.to_gymnasium([Walk, Walk], 3), ValueError, "2 functions for num_envs = 3; allowed: one for each copy"),
        (lambda: g.to_gymnasium(functools.partial(lambda e: e, Walk()), 2), ValueError, "gave the same environment twice"),
        (lambda: g.to_gymnasium(Walk, 0), ValueError, "num_envs is 0; allowed: a whole number from 1"),
        (lambda: g.to_gymnasium(Walk, 1, "Never"), ValueError, "autoreset_mode is 'Never'; allowed: 'NextStep'"),
        (lambda: g.to_gymnasium([Walk, lambda: Walk({"walker_0": 1})]), ValueError, "copy 1 has other agents than copy 0"),
        (lambda: g.to_gymnasium(Walk, 2).reset(seed=[1]), ValueError, "seed has 1 entries; allowed: one for each of the 2"),
    ],
)  # fmt: skip
def test_what_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()
