"""The PettingZoo hosts: agents that step together, agents that take turns, agents that leave early."""

import functools
import importlib.util
import warnings
from dataclasses import dataclass
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from milepost import shape
from milepost.wrappers import (
    Clip,
    CountBonus,
    GatedRewardAccumulation,
    MissingFact,
    PotentialShaping,
    Scale,
    Shaper,
    Stack,
    SubgoalOptions,
    Uniform,
)

pytest.importorskip("pettingzoo", reason="the extra multiagent is not installed")
from pettingzoo import ParallelEnv
from pettingzoo.utils.conversions import aec_to_parallel, parallel_to_aec

_spec = importlib.util.spec_from_file_location("walk", Path(__file__).with_name("walk.py"))
walk = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(walk)
Turns = functools.partial(walk.Turns, goal=7, most=9)
NAMES = ("agent_0", "agent_1", "agent_2")


class Relay(ParallelEnv):
    """Three runners; one that gets to cell 3 has won and leaves, the others go on until the limit."""

    metadata = {"name": "relay_v0", "render_modes": [], "is_parallelizable": True}
    render_mode = None

    def __init__(self, limit=5, facts=True):
        self.limit, self.facts, self.possible_agents, self.agents = limit, facts, list(NAMES), []
        self.spaces = {a: (gym.spaces.Box(-9, 9, (2,), np.float64), gym.spaces.Discrete(2)) for a in NAMES}

    def observation_space(self, agent):
        return self.spaces[agent][0]

    def action_space(self, agent):
        return self.spaces[agent][1]

    def look(self, a):
        x = self.x[a]
        facts = {"progress": x / 3, "subgoals": {"half": x >= 2}, "meta": {"task": "relay"}} if self.facts else {}
        return np.array([x + 1, self.t], np.float64), facts

    def reset(self, seed=None, options=None):
        self.agents, self.t = list(NAMES), 0
        self.x = dict.fromkeys(NAMES, 0)
        both = {a: self.look(a) for a in self.agents}
        return {a: o for a, (o, _) in both.items()}, {a: i for a, (_, i) in both.items()}

    def step(self, actions):
        who, self.t = self.agents, self.t + 1
        for a in who:
            self.x[a] += int(actions[a])
        both = {a: self.look(a) for a in who}
        te = {a: self.x[a] >= 3 for a in who}
        tr = {a: not te[a] and self.t >= self.limit for a in who}
        r = {a: float(te[a]) + 0.1 for a in who}
        infos = {a: both[a][1] | {"reward_terms": {"outcome": float(te[a]), "format": 0.1}} for a in who}
        self.agents = [a for a in who if not te[a] and not tr[a]]
        return {a: both[a][0] for a in who}, r, te, tr, infos


@dataclass
class Team(Shaper):
    """A joint layer of whole episodes: all agents share what the team earned evenly."""

    pool = "joint"
    return_preserving = True  # over the team

    def group(self, group):
        share = sum(t.rewards.sum() for t in group) / len(group)
        return [np.full(len(t), share / len(t)) for t in group]


@dataclass
class Envy(Shaper):
    """A joint layer of steps: less for an agent that got less than the best of those that stepped with it."""

    pool = "joint"

    def steps(self, states, ts):
        return [t.reward - 0.5 * (max(x.reward for x in ts) - t.reward) for t in ts]


SCRIPT = {"agent_0": [1, 1, 1], "agent_1": [0, 1, 1, 0, 1], "agent_2": [1, 0, 0, 1, 0]}


def parallel(env, script=SCRIPT):
    """Agent to the list of its (reward, terminated, truncated, info), the reset info first."""
    _, infos = env.reset(seed=0)
    out = {a: [(0.0, False, False, infos[a])] for a in env.agents}
    k = 0
    while env.agents:
        _, r, te, tr, infos = env.step({a: script[a][k] for a in env.agents})
        for a in r:
            out[a].append((r[a], te[a], tr[a], infos[a]))
        k += 1
    return out


def turns(env, script):
    """The same of a game of turns: what ``last`` says at each turn of an agent."""
    env.reset(seed=0)
    out, seen = {a: [] for a in env.agents}, {}
    for a in env.agent_iter():
        for b, r in env.rewards.items():  # what everybody is paid in each step
            seen[b] = seen.get(b, 0.0) + r
        first, again = env.last(), env.last()
        assert first[1:] == again[1:] and first[1] == pytest.approx(seen[a])
        _, r, te, tr, info = first
        out[a].append((r, te, tr, info))
        seen[a] = 0.0
        k = len(out[a]) - 1
        env.step(None if te or tr else script[a][k])
    return out


STEPS = [
    [Clip(0, 0.5)],
    [PotentialShaping(key="progress", gamma=0.9), CountBonus(0.1)],
    [SubgoalOptions(beta=0.3), Scale(2.0), Clip(-1, 1.5)],
]
BODIES = [[Uniform()], [PotentialShaping(key="progress"), GatedRewardAccumulation(high=("outcome",)), Clip(0, 1)]]


# -- agents that step together -----------------------------------------------------------------------
@pytest.mark.parametrize("layers", [[], *STEPS, *BODIES, [Envy(), Team()]], ids=str)
def test_each_agent_has_an_account_that_sums_to_its_reward(layers):
    env = shape(Relay(), layers)
    late = env.stack.names[env.stack.b :]
    played = parallel(env)
    assert {a: len(rows) - 1 for a, rows in played.items()} == {"agent_0": 3, "agent_1": 5, "agent_2": 5}
    for a, (_, *rows) in played.items():
        for r, te, tr, info in rows:
            assert list(info["reward_terms"]) == ["outcome", "format", *env.stack.names]
            if te or tr:
                owed = "credit" in info
                assert owed == (bool(late) and (a != "agent_0" or not env.stack.joint))
                if owed:
                    assert sum(info["credit"]) == pytest.approx(sum(x[0] for x in rows))
            if not (te or tr) or not owed:
                assert sum(info["reward_terms"].values()) == pytest.approx(r)
                assert all(info["reward_terms"][n] == 0.0 for n in late)


@pytest.mark.parametrize("layers", [*STEPS[:1], *STEPS[2:], *BODIES, [Envy(), Team()], [Envy(), Uniform()]], ids=str)
def test_recorded_games_get_the_rewards_that_they_got_online(layers):
    env, twin = shape(Relay(), layers), Stack(layers)
    env.stack.keep, env.stack.records = 99, True
    for _ in range(2):  # two games, so that a layer would see if they were mixed
        parallel(env)
    team = env.stack.take()
    assert [t.meta["joint"] for t in team] == [1] * 3 + [2] * 3 and {t.meta["agent"] for t in team} == set(NAMES)
    assert all(t.meta["task"] == "relay" for t in team)
    for p, q in zip(team, twin.run([t.before(env.stack.names) for t in team]), strict=True):
        np.testing.assert_allclose(p.rewards, q.rewards, atol=1e-12)
        assert list(p.terms) == list(q.terms)
        np.testing.assert_allclose(sum(p.terms.values()), p.rewards, atol=1e-12)


def test_a_joint_layer_settles_when_the_last_agent_has_left_and_pays_nobody_who_is_gone():
    env = shape(Relay(), [Team()])
    played = parallel(env)
    paid = {a: sum(x[0] for x in rows) for a, rows in played.items()}
    # by hand: 1.3, 1.5 and 0.5 were earned, 3.3 / 3 = 1.1 is each one's share; agent_0 had left with its 1.3
    assert paid == pytest.approx({"agent_0": 1.3, "agent_1": 1.1, "agent_2": 1.1})
    assert "credit" not in played["agent_0"][-1][3] and played["agent_0"][-1][3]["reward_terms"]["team"] == 0.0
    assert played["agent_1"][-1][3]["credit"] == pytest.approx((0.22,) * 5)
    assert played["agent_1"][-1][3]["reward_terms"]["team"] == pytest.approx(1.1 - 1.5)
    final = {t.meta["agent"]: t for t in env.stack.take()}
    assert {a: t.rewards.sum() for a, t in final.items()} == pytest.approx(dict.fromkeys(NAMES, 1.1))
    assert final["agent_0"].rewards == pytest.approx([1.1 / 3] * 3)  # its share is in its trajectory
    parallel(env)
    assert len(env.stack.take()) == 3 and env.stack.abandoned == 0


def test_a_joint_layer_of_steps_sees_only_who_steps_together():
    rows = parallel(shape(Relay(), [Envy()]))
    assert rows["agent_1"][3][0] == pytest.approx(0.1 - 0.5) and rows["agent_0"][3][0] == pytest.approx(1.1)
    assert rows["agent_1"][4][0] == pytest.approx(0.1)  # agent_0 has left
    assert rows["agent_2"][5][0] == pytest.approx(0.1 - 0.5)


def test_one_agent_alone_is_a_team_of_one():
    env = shape(gym.make("CartPole-v1", max_episode_steps=3), [Uniform()])
    team = shape(gym.make("CartPole-v1", max_episode_steps=3), [Joined()])
    for e in (env, team):
        e.reset(seed=0)
        e.step(0), e.step(1)
    assert team.step(0)[4]["credit"] == env.step(0)[4]["credit"] == (1.0, 1.0, 1.0)


@dataclass
class Joined(Uniform):
    pool = "joint"


def test_agents_that_join_in_mid_game_have_episodes_of_their_own():
    class Late(Relay):
        def reset(self, seed=None, options=None):
            obs, infos = super().reset(seed, options)
            self.agents = ["agent_0", "agent_1"]
            return {a: obs[a] for a in self.agents}, {a: infos[a] for a in self.agents} | {"__common__": {"n": 2}}

        def step(self, actions):
            obs, r, te, tr, infos = super().step(actions)
            if self.t == 2:
                self.agents = [*self.agents, "agent_2"]
                obs["agent_2"], infos["agent_2"] = self.look("agent_2")
            return obs, r, te, tr, infos

    env = shape(Late(), [PotentialShaping(key="progress"), Team()])
    assert env.reset()[1]["__common__"] == {"n": 2}  # what belongs to no agent stays
    rows = {a: [] for a in NAMES}
    script = {a: iter(x) for a, x in SCRIPT.items()}
    while env.agents:
        _, r, *_ = env.step({a: next(script[a]) for a in env.agents})
        for a in r:
            rows[a].append(r[a])
    assert {a: len(x) for a, x in rows.items()} == {"agent_0": 3, "agent_1": 5, "agent_2": 3}
    final = env.stack.take()
    assert [len(t) for t in final] == [3, 5, 3] and len({t.meta["joint"] for t in final}) == 1
    for t in final:  # all three are one team: the share is one third
        assert t.rewards.sum() == pytest.approx(sum(f.rewards.sum() for f in final) / 3)


@pytest.mark.parametrize("convert", [lambda e: e, parallel_to_aec], ids=["parallel", "aec"])
def test_abandoned_games_are_counted_and_warned_about_once(convert):
    env = shape(convert(Relay()), [Uniform()])

    def step():
        return env.step(dict.fromkeys(env.agents, 0)) if isinstance(env, ParallelEnv) else [env.step(0) for _ in NAMES]

    env.reset()
    env.reset()  # nobody has acted yet
    assert env.stack.abandoned == 0
    step()
    with pytest.warns(UserWarning, match="a reset cut off an episode"):
        env.reset()
    step()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env.reset()
    assert env.stack.abandoned == 2


def test_facts_serve_a_game_that_publishes_none():
    facts = {"progress": lambda t: (float(t.next_obs[0]) - 1) / 3}
    layers = [PotentialShaping(key="progress", gamma=1.0)]
    with pytest.raises(MissingFact, match="potential_shaping reads info"):
        shape(Relay(facts=False), layers).reset()
    for convert in (lambda e: e, parallel_to_aec):
        env = shape(convert(Relay(facts=False)), layers, facts=facts)
        played = parallel(env) if isinstance(env, ParallelEnv) else turns(env, SCRIPT)
        for rows in played.values():
            assert rows[0][3]["progress"] == 0.0 and rows[1][3]["progress"] in (0.0, 1 / 3)
            added = sum(info["reward_terms"]["potential_shaping"] for *_, info in rows[1:])
            end = 0.0 if rows[-1][1] else rows[-1][3]["progress"]
            assert added == pytest.approx(end)  # telescopes


def test_one_list_on_a_shaped_game_and_names_through_conversions():
    env = shape(shape(Relay(), [Clip()], seed=4), Uniform())
    assert env.stack.names == ["clip", "uniform"] and isinstance(env.env, Relay) and env.stack.seed == 4
    outer = shape(parallel_to_aec(shape(Relay(), [Clip()])), [Clip(0, 0.05)])
    assert outer.stack.names == ["clip_2"]
    outer = shape(aec_to_parallel(shape(parallel_to_aec(Relay()), [Clip()])), [Clip(0, 0.05)])
    assert outer.stack.names == ["clip_2"]  # the inner stack is seen through both conversions
    with pytest.raises(ValueError, match="one list"):
        shape(aec_to_parallel(shape(parallel_to_aec(Relay()), [Uniform()])), [Clip()])
    merged = shape(
        aec_to_parallel(parallel_to_aec(shape(Relay(), [Uniform()]))), [Clip()]
    )  # PettingZoo undoes the pair
    assert merged.stack.names == ["uniform", "clip"]


# -- agents that take turns ----------------------------------------------------------------------------
@pytest.mark.parametrize("layers", [*STEPS[:1], *STEPS[2:], *BODIES], ids=str)
def test_turns_of_a_game_pay_what_stepping_together_pays(layers):
    together, one_by_one = parallel(shape(Relay(), layers)), turns(shape(parallel_to_aec(Relay()), layers), SCRIPT)
    assert together.keys() == one_by_one.keys()
    for a in together:
        for p, q in zip(together[a], one_by_one[a], strict=True):
            assert p[0] == pytest.approx(q[0]) and p[1:3] == q[1:3]
            assert p[3].get("credit") == pytest.approx(q[3].get("credit"))
            assert p[3].get("reward_terms") == pytest.approx(q[3].get("reward_terms"))


@pytest.mark.parametrize("layers", [[], [Scale(3.0)], [Clip(-0.5, 1.0), Scale(2.0)], [Uniform()]], ids=str)
@pytest.mark.parametrize("moves", [[2, 1, 2, 1], [0, 1, 0, 1, 0]], ids=["won", "cut off"])
def test_an_agents_step_runs_from_its_turn_to_its_next_turn(layers, moves):
    script = {"agent_0": moves, "agent_1": moves}
    plain, played = turns(Turns(), script), turns(shape(Turns(), layers), script)
    want, names = Stack(layers), ["env", *Stack(layers).names]
    for a, rows in plain.items():
        got = played[a]
        start = rows[0][0]  # what agent_1 got before it ever acted belongs to no step of its own
        assert got[0][0] == start and "reward_terms" not in got[0][3]
        traj = trajectory([r for r, *_ in rows[1:]], rows[-1][1])
        (final,) = want.run([traj])
        assert len(rows) > 2 and got[-1][1:3] == rows[-1][1:3]
        paid = [r for r, *_ in got[1:]]
        assert sum(paid) == pytest.approx(final.rewards.sum())
        np.testing.assert_allclose(got[-1][3].get("credit", paid), final.rewards)
        for r, *_, info in got[1:-1]:
            assert list(info["reward_terms"]) == names and sum(info["reward_terms"].values()) == pytest.approx(r)


def trajectory(rewards, terminated):
    from milepost.wrappers import Trajectory

    n = len(rewards)
    return Trajectory([0] * (n + 1), [0] * n, np.array(rewards), terminated, not terminated, [{}] * (n + 1))


@pytest.mark.parametrize("layer", [Envy(), Team()], ids=["steps", "episodes"])
def test_joint_layers_are_refused_where_agents_take_turns(layer):
    with pytest.raises(ValueError, match=r"mixes agents that step together.*aec_to_parallel"):
        shape(Turns(), [Clip(), layer])


def test_turns_keep_finished_episodes_of_each_agent():
    env = shape(Turns(), [Clip(-9, 9), Uniform()])
    env.stack.keep = 99
    turns(env, {"agent_0": [2, 1, 2, 1], "agent_1": [1, 2, 1, 1]})
    a, b = sorted(env.stack.take(), key=lambda t: t.meta["agent"])
    assert (len(a), len(b)) == (3, 2) and a.actions == [2, 1, 2] and b.actions == [1, 2] and a.terminated
    assert [o[1] for o in a.obs] == [0, 2, 4, 5]  # the world at its own turns, the last one after the game's end
