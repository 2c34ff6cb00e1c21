"""The wrappers of PettingZoo games: PettingZoo's checks, both kinds of games, golden observations, masks, snapshots."""

import copy
import functools
import importlib.util
import subprocess
import sys
import warnings
from collections import deque
from pathlib import Path

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete, MultiDiscrete
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("pettingzoo", reason="the extra multiagent is not installed")
pytest.importorskip("mpe2", reason="mpe2 is not installed")
pytest.importorskip("pygame", reason="pygame, which PettingZoo's classic games draw with, is not installed")
from mpe2.simple_adversary import simple_adversary
from mpe2.simple_spread import simple_spread
from mpe2.simple_tag import simple_tag
from pettingzoo.classic.rps import rps
from pettingzoo.classic.tictactoe import tictactoe
from pettingzoo.test import api_test, parallel_api_test
from pettingzoo.test.example_envs import (
    generated_agents_env_action_mask_info_v0,
    generated_agents_env_action_mask_obs_v0,
    generated_agents_env_v0,
    generated_agents_parallel_v0,
)
from pettingzoo.utils.conversions import aec_to_parallel, parallel_to_aec

from milepost.wrappers import games as g

_spec = importlib.util.spec_from_file_location("walk", Path(__file__).parent / "walk.py")
walk = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(walk)
NAMES, Turns, Walk, plan, same = walk.NAMES, walk.Turns, walk.Walk, walk.plan, walk.same
turns_of_aec, turns_of_parallel = walk.turns_of_aec, walk.turns_of_parallel

ANY = {  # on every game of arrays
    "frame_stack": lambda e: g.frame_stack(e, 3),
    "frame_stack of zeros": lambda e: g.frame_stack(e, 2, padding="zero"),
    "dtype": lambda e: g.dtype(e, "float64"),
    "flatten": g.flatten,
    "delay_observations": lambda e: g.delay_observations(e, 2),
    "clip_reward": lambda e: g.clip_reward(e, -0.3, 0.4),
    "scale_reward": lambda e: g.scale_reward(e, -0.1),
    "normalize_reward": lambda e: g.normalize_reward(e, 0.9),
    "sticky_actions": lambda e: g.sticky_actions(e, 0.5),
}
KNOWN = ANY | {  # on games that know their agents
    "pad_observations": g.pad_observations,
    "pad_actions": g.pad_actions,
    "agent_indicator": g.agent_indicator,
}


def every_wrapper(env):
    """All that can stand on each other on a game of vectors, agents that leave included."""
    env = g.sticky_actions(g.pad_actions(g.pad_observations(env)), 0.3)
    env = g.delay_observations(g.frame_stack(g.dtype(env, np.float64), 3), 1)
    return g.clip_reward(g.normalize_reward(g.scale_reward(g.flatten(g.agent_indicator(env)), 0.5), 0.9), -1.5, 1.5)


# -- PettingZoo's own checks -------------------------------------------------------------------------
QUIET = (  # what PettingZoo warns about on these games themselves, or where zeros are the point
    "does not have possible_agents",
    "Observation numpy array is all zeros",
    "different observation space sizes",
    "agents to be named in the format",
    "Observations are different shapes",
    "Observation space for each agent probably should be",
    "Observation is not a NumPy array",
    "Observations between agents are different classes",
    "Observation is a single number",
)


@pytest.fixture
def strict():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for message in QUIET:
            warnings.filterwarnings("ignore", message=f"(?s).*{message}")
        yield


@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize("name", KNOWN | {"black_death": None, "all": None})
def test_parallel_api(name):
    wrap = {"black_death": g.black_death, "all": every_wrapper}.get(name) or KNOWN[name]
    parallel_api_test(wrap(Walk()), 10)
    parallel_api_test(wrap(simple_tag.parallel_env(max_cycles=8)), 10)
    if name in ANY:
        parallel_api_test(wrap(generated_agents_parallel_v0.parallel_env(max_cycles=20)), 25)


@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize("name", KNOWN | {"all": None})
def test_aec_api(name):
    wrap = every_wrapper if name == "all" else KNOWN[name]
    api_test(wrap(simple_spread.env(max_cycles=5)), 15)
    if name != "all":
        api_test(wrap(tictactoe.env()), 15)  # a Dict with a mask
    if name not in ("all", "dtype", "flatten"):
        api_test(wrap(rps.env(max_cycles=4)), 10)  # Discrete observations
    if name in ANY:
        api_test(wrap(generated_agents_env_v0.env()), 25)
        api_test(wrap(generated_agents_env_action_mask_info_v0.env()), 25)
    if name == "frame_stack":
        api_test(wrap(generated_agents_env_action_mask_obs_v0.env()), 10)


@pytest.mark.parametrize("name", KNOWN | {"all": None})
@pytest.mark.parametrize("mask", [None, "obs", "info"])
def test_a_game_with_turns_gives_what_the_parallel_game_gives(name, mask):
    if (name == "all" and mask == "obs") or (name == "flatten" and mask):
        mask = None
    make = functools.partial(Walk, terms=True, mask=mask)
    wrap, acts = every_wrapper if name == "all" else KNOWN[name], plan(3)
    wanted = turns_of_parallel(wrap(make()), acts, seed=5)
    assert [len(wanted[a]) for a in NAMES] == [3, 5, 4]
    got = turns_of_aec(wrap(parallel_to_aec(make())), acts, seed=5)
    assert same(got, {a: wanted[a] for a in got})
    back = turns_of_parallel(aec_to_parallel(wrap(parallel_to_aec(make()))), acts, seed=5)
    assert same(back, wanted)


@pytest.mark.parametrize("name", KNOWN)
def test_a_game_written_with_turns(name):
    acts = plan(1, 8, [f"agent_{i}" for i in range(3)], 5)
    wanted = turns_of_parallel(KNOWN[name](simple_spread.parallel_env(max_cycles=6)), acts, seed=2)
    got = turns_of_aec(KNOWN[name](simple_spread.env(max_cycles=6)), acts, seed=2)
    assert same(got, wanted)


# -- observations ------------------------------------------------------------------------------------
def test_frame_stack_by_hand():
    env = g.frame_stack(Walk(), 3)
    obs, _ = env.reset(seed=0)  # walker_1 starts with sum 1 at time 0: it sees (1, 1), three times
    np.testing.assert_array_equal(obs["walker_1"], [1, 1, 1, 1, 1, 1])
    obs = env.step(dict.fromkeys(NAMES, 2))[0]  # (1 + 2, time 1 + 1)
    np.testing.assert_array_equal(obs["walker_1"], [1, 1, 1, 1, 3, 2])
    obs["walker_1"][:] = -1  # what a caller does to its array changes nothing
    obs = env.step(dict.fromkeys(NAMES, 0))[0]
    np.testing.assert_array_equal(obs["walker_1"], [1, 1, 3, 2, 3, 3])
    assert env.observation_space("walker_1") == Box(-99, 99, (6,), np.float32)
    obs, _ = env.reset(seed=0)  # nothing is left of the last episode
    np.testing.assert_array_equal(obs["walker_1"], [1, 1, 1, 1, 1, 1])
    obs, _ = g.frame_stack(Walk(), 3, padding="zero").reset(seed=0)
    np.testing.assert_array_equal(obs["walker_1"], [0, 0, 0, 0, 1, 1])


@pytest.mark.parametrize("wrap", [lambda e: g.frame_stack(e, 3, padding="zero"), lambda e: g.delay_observations(e, 1)])
def test_a_game_may_make_new_agents_and_spaces_at_a_reset(wrap):
    env = wrap(generated_agents_parallel_v0.parallel_env())
    shapes = set()
    for seed in range(4):
        obs, _ = env.reset(seed=seed)
        for _ in range(20):
            assert all(env.observation_space(a).contains(o) for a, o in obs.items())
            shapes |= {o.shape for o in obs.values()}
            obs = env.step({a: 0 for a in env.agents})[0]
    assert len(shapes) > 4


@pytest.mark.parametrize(
    ("shape", "dim", "wanted"),
    [((4, 5), -1, (4, 5, 3)), ((4, 5), 0, (3, 4, 5)), ((4, 5, 2), -1, (4, 5, 6)), ((2, 4, 5), 0, (6, 4, 5))],
)
def test_frames_of_images_are_channels(shape, dim, wanted):
    env = g.frame_stack(Walk(shape=shape), 3, dim)
    env.reset(seed=0)
    env.step(dict.fromkeys(NAMES, 0))
    obs = env.step(dict.fromkeys(NAMES, 0))[0]["walker_1"]
    assert obs.shape == env.observation_space("walker_1").shape == wanted
    times = obs.reshape(3, -1)[:, -1] if dim == 0 else obs[-1, -1].reshape(3, -1)[:, -1]
    np.testing.assert_array_equal(times, [1, 2, 3])  # the oldest first


def test_frames_and_delays_of_a_game_with_turns_are_those_of_the_agents_own_turns():
    def seen(env):
        env.reset()
        out = {"agent_0": [], "agent_1": []}
        for move in (2, 1, 0, 1):
            obs = env.observe("agent_1")  # looking out of turn changes nothing
            out[env.agent_selection].append(env.last()[0].tolist())
            assert env.observe("agent_1") is obs
            env.step(move)
        return out

    # (sum + 1, moves): agent_0 sees (1, 0) and (4, 2), agent_1 (3, 1) and (4, 3)
    assert seen(g.frame_stack(Turns(), 2)) == {
        "agent_0": [[1, 0, 1, 0], [1, 0, 4, 2]],
        "agent_1": [[3, 1, 3, 1], [3, 1, 4, 3]],
    }
    assert seen(g.delay_observations(Turns(), 1)) == {"agent_0": [[0, 0], [1, 0]], "agent_1": [[0, 0], [3, 1]]}


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 5), st.booleans(), st.integers(0, 4), st.integers(0, 10**6))
def test_stacks_and_delays_are_what_a_list_of_observations_gives(k, zeros, delay, seed):
    acts = plan(seed)
    plain = turns_of_parallel(Walk(), acts)
    stacked = turns_of_parallel(g.frame_stack(Walk(reuse=True), k, padding="zero" if zeros else "reset"), acts)
    late = turns_of_parallel(g.delay_observations(Walk(reuse=True), delay), acts)
    for a in NAMES:
        frames = [o for o, *_ in plain[a]]
        blank = np.zeros_like(frames[0])
        line = deque([blank if zeros else frames[0]] * k, k)
        for t, frame in enumerate(frames):
            line.append(frame)
            np.testing.assert_array_equal(stacked[a][t][0], np.concatenate(line))
            np.testing.assert_array_equal(late[a][t][0], frames[t - delay] if t >= delay else blank)


def test_a_stack_of_numbers_has_them_as_digits():
    # rock paper scissors: what the other one played, 3 before it played; base 4
    env = g.frame_stack(rps.parallel_env(max_cycles=5), 3)
    obs, _ = env.reset(seed=0)
    assert env.observation_space("player_0") == Discrete(64) and obs["player_0"] == 3 * 16 + 3 * 4 + 3
    env.step({"player_0": 0, "player_1": 1})
    obs = env.step({"player_0": 2, "player_1": 2})[0]
    assert obs["player_0"] == 3 * 16 + 1 * 4 + 2 and obs["player_1"] == 3 * 16 + 0 * 4 + 2


def test_dtype_and_flatten():
    env = g.dtype(Walk(shape=(2, 3)), np.float16)
    assert env.observation_space("guard_0") == Box(-99, 99, (2, 3), np.float16) and str(env) == "dtype<walk_v0>"
    assert env.reset(seed=0)[0]["guard_0"].dtype == np.float16
    env = g.flatten(Walk(shape=(2, 3)))
    np.testing.assert_array_equal(env.reset(seed=0)[0]["guard_0"], [2, 1, 1, 1, 1, 1])  # third agent: sum 2
    assert env.observation_space("guard_0").shape == (6,)


def test_padding_of_observations():
    sizes = {"walker_0": (2, 3), "walker_1": (4, 1), "guard_0": (4, 3)}
    env = g.pad_observations(Walk(sizes=sizes))
    obs, _ = env.reset(seed=0)
    np.testing.assert_array_equal(obs["walker_0"], [[0, 1, 1], [1, 1, 1], [0, 0, 0], [0, 0, 0]])
    np.testing.assert_array_equal(obs["walker_1"], [[1, 0, 0], [1, 0, 0], [1, 0, 0], [1, 0, 0]])
    assert len({str(env.observation_space(a)) for a in NAMES}) == 1
    assert env.observation_space("walker_0") is not env.observation_space("walker_1")
    assert all(env.observation_space(a).contains(obs[a]) for a in NAMES)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_padding_keeps_what_is_there_and_fills_up_with_zeros(data):
    axes = data.draw(st.integers(1, 3))
    sizes = {a: tuple(data.draw(st.lists(st.integers(1, 4), min_size=axes, max_size=axes))) for a in NAMES}
    env = Walk(sizes=sizes)
    plain, _ = env.reset(seed=2)
    obs, _ = g.pad_observations(Walk(sizes=sizes)).reset(seed=2)
    for a in NAMES:
        corner = tuple(slice(n) for n in sizes[a])
        np.testing.assert_array_equal(obs[a][corner], plain[a])
        assert obs[a].shape == tuple(map(max, zip(*sizes.values()))) and obs[a].sum() == plain[a].sum()


def test_numbers_are_padded_by_larger_spaces():
    class Cards(Walk):
        cards = {"walker_0": Discrete(3), "walker_1": Discrete(5), "guard_0": Discrete(4)}

        def observation_space(self, agent):
            return self.cards[agent]

    env = g.pad_observations(Cards())
    assert all(env.observation_space(a) == Discrete(5) for a in NAMES)


@pytest.mark.parametrize("make", [simple_adversary.parallel_env, simple_tag.parallel_env])
def test_padded_games_have_one_space(make):
    env = g.pad_actions(g.agent_indicator(g.pad_observations(make())))
    assert len({(str(env.observation_space(a)), str(env.action_space(a))) for a in env.possible_agents}) == 1


class Pixels(Walk):
    """Bounds of pixels, as floats."""

    def observation_space(self, agent):
        return Box(0, 255, self.shape, np.float32)


def test_agent_indicator_by_hand():
    obs, _ = g.agent_indicator(Walk()).reset(seed=0)
    np.testing.assert_array_equal([obs[a][2:] for a in NAMES], np.eye(3))
    env = g.agent_indicator(Walk(), type_only=True)
    np.testing.assert_array_equal([o[2:] for o in env.reset(seed=0)[0].values()], [[1, 0], [1, 0], [0, 1]])
    env = g.agent_indicator(Walk(shape=(2, 2)))  # one more axis; 99 is the highest value of the space
    obs, _ = env.reset(seed=0)
    assert obs["guard_0"].shape == env.observation_space("guard_0").shape == (2, 2, 4)
    np.testing.assert_array_equal(obs["guard_0"][1, 1], [1, 0, 0, 99])
    pixels = g.agent_indicator(g.dtype(Pixels(shape=(2, 2, 3)), np.uint8))
    obs, _ = pixels.reset(seed=0)
    assert obs["guard_0"].dtype == np.uint8 and pixels.observation_space("guard_0").contains(obs["guard_0"])
    np.testing.assert_array_equal(obs["walker_1"][0, 1], [1, 1, 1, 0, 255, 0])
    obs, _ = g.agent_indicator(simple_spread.parallel_env()).reset(seed=0)  # bounds are infinite
    np.testing.assert_array_equal(obs["agent_1"][-3:], [0, 1, 0])
    obs, _ = g.agent_indicator(rps.parallel_env()).reset(seed=0)
    assert obs == {"player_0": 3 * 2 + 0, "player_1": 3 * 2 + 1}


@pytest.mark.parametrize("name", KNOWN)
@pytest.mark.parametrize("turns", [False, True])
def test_the_mask_is_passed_on_as_it_is(name, turns):
    env = KNOWN[name](Walk(mask="obs", shape=(3,)))
    plain = Walk(mask="obs", shape=(3,))
    acts = plan(7)
    got = turns_of_aec(KNOWN[name](parallel_to_aec(plain)), acts) if turns else turns_of_parallel(env, acts)
    for a in NAMES:
        for t, (obs, *_) in enumerate(got[a]):
            wanted = np.ones(3, np.int8)
            wanted[t % 3] = 0  # the mask of now, whatever is delayed or stacked
            np.testing.assert_array_equal(obs["action_mask"], wanted)
    space = env.observation_space("guard_0")
    assert space["action_mask"] == plain.spaces["guard_0"]["action_mask"] and len(space.spaces) == 2


# -- snapshots ---------------------------------------------------------------------------------------
@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 3))
def test_the_same_actions_from_a_restored_state_give_the_same_steps(seed, at):
    lives = dict.fromkeys(NAMES, 7)
    for wrap in (every_wrapper, lambda e: g.black_death(g.frame_stack(e, 3))):
        env, acts = wrap(Walk(lives, terms=True)), plan(seed, 20)
        for episode in range(2):
            env.reset(seed=seed + episode)
            for t in range(at):
                env.step({a: acts[a][t] for a in NAMES})
        saved = env.snapshot()
        moments = copy.deepcopy(env.env.rule.moments) if wrap is every_wrapper else None

        def rest(env=env, acts=acts):
            return [env.step({a: acts[a][t] for a in NAMES}) for t in range(10, 14)]

        first = rest()
        for _ in range(2):
            env.restore(saved)
            if moments is not None:
                env.env.rule.moments = moments  # running statistics are no part of a snapshot
            assert same(rest(), first)


def test_snapshots_of_a_game_with_turns():
    def wrap(env):
        env = g.sticky_actions(g.delay_observations(g.frame_stack(env, 2), 1), 0.5)
        return g.clip_reward(g.pad_actions(g.agent_indicator(env)), -0.4, 0.6)

    env = wrap(Turns(terms=True))
    env.reset(seed=4)
    for x in (1, 2):
        env.step(x)
    saved = env.snapshot()

    def rest():
        out = []
        for x in (0, 1, 0, 1):
            out.append((*env.last(), dict(env.rewards), env.agent_selection))
            env.step(None if env.terminations[env.agent_selection] else x)
        return out

    first = rest()
    env.restore(saved)
    for _ in range(2):
        env.step(0)
    env.last()  # what the same agent saw here must not come back
    env.restore(saved)
    again = rest()
    assert [x[-1] for x in again] == [x[-1] for x in first] and same([x[:-1] for x in again], [x[:-1] for x in first])


# -- imports -----------------------------------------------------------------------------------------
def test_imports_are_light():
    code = (
        "import sys, milepost; print([m for m in ('pettingzoo', 'milepost.wrappers.games') if m in sys.modules]);"
        "import milepost.wrappers.games as g; print([m for m in ('torch', 'stable_baselines3') if m in sys.modules]);"
        "print([n for n in g.__all__ if n != 'to_sb3' and not callable(getattr(g, n))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "[]", "[]"]


def test_a_copy_of_a_wrapped_game_plays_by_itself():
    env = every_wrapper(Walk())
    env.reset(seed=1)
    other = copy.deepcopy(env)
    acts = dict.fromkeys(NAMES, 2)
    first = env.step(acts)
    assert other.unwrapped.t == 0 and same(list(first), list(other.step(acts)))


def test_multidiscrete_observations_can_be_delayed_and_blackened():
    class Cards(Walk):
        def observation_space(self, agent):
            return self.cards.setdefault(agent, MultiDiscrete([5, 5]))

        cards = {}

    env = g.delay_observations(g.black_death(Cards()), 1)
    obs, _ = env.reset(seed=0)
    np.testing.assert_array_equal(obs["guard_0"], [0, 0])
    np.testing.assert_array_equal(env.step(dict.fromkeys(NAMES, 1))[0]["guard_0"], [2, 1])
