"""Counterfactuals by replays of a game."""

import importlib.util
import json
import warnings
from pathlib import Path

import numpy as np
import pytest

from milepost import shape
from milepost.wrappers import Clip
from milepost.wrappers.step.difference import DifferenceReward
from milepost.wrappers.step.team_spirit import TeamSpirit

pytest.importorskip("pettingzoo", reason="the extra multiagent is not installed")
from pettingzoo.utils import BaseParallelWrapper
from pettingzoo.utils.conversions import parallel_to_aec

from milepost.wrappers.collect.counterfactual import Counterfactual, first_allowed

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of the way its example games are made
    from pettingzoo.test import parallel_api_test

_spec = importlib.util.spec_from_file_location("levers", Path(__file__).parent / "levers.py")
levers = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(levers)
V, Foreign, Levers, play = levers.V, levers.Foreign, levers.Levers, levers.play
ALL = [(1, 1, 1)]


def values(info):
    """Coalition to value."""
    v = info["coalition_values"]
    return dict(zip(v["coalitions"], v["values"], strict=True))


@pytest.mark.parametrize("make", [Levers, Foreign])
def test_counterfactuals_and_coalitions_by_hand(make):
    replay = "snapshot" if make is Levers else "copy"
    (_, infos), *_ = play(Counterfactual(make(luck=False), coalitions=True, replay=replay), ALL)
    assert [i["team_reward"] for i in infos.values()] == pytest.approx([4] * 3)
    assert [i["counterfactual"] for i in infos.values()] == pytest.approx([0, 1, 3])  # v(23), v(13), v(12)
    for k, a in enumerate(infos):
        v = infos[a]["coalition_values"]
        assert values(infos[a]) == pytest.approx(V) and v["players"] == ("p0", "p1", "p2") and v["player"] == k
        assert v["orders"] == () and "team" not in infos[a]


def test_a_replay_changes_nothing_and_has_the_same_luck():
    script = [(1, 1, 0), (1, 0, 1), (1, 1, 1)]
    plain = play(Levers(), script)
    told = play(Counterfactual(Levers(), coalitions=True), script)
    for (r, i), (q, j), row in zip(plain, told, script):
        assert r == q and all(i[a].items() <= j[a].items() for a in i)
        luck = sum(r.values()) / V[sum(x << k for k, x in enumerate(row))]
        for k, a in enumerate(i):
            without = sum(x << m for m, x in enumerate(row) if m != k)
            assert j[a]["counterfactual"] == pytest.approx(V[without] * luck)  # what others got is as lucky
            assert values(j[a])[7] == j[a]["team_reward"]


class Late(Levers):
    """The team earns one step later."""

    def reset(self, seed=None, options=None):
        self.owed = 0.0
        return super().reset(seed, options)

    def step(self, actions):
        before = self.owed
        obs, r, *rest = super().step(actions)
        self.owed = sum(r.values())
        return obs, dict.fromkeys(r, before / len(r)), *rest

    def snapshot(self):
        return self.owed, super().snapshot()

    def restore(self, snapshot):
        self.owed, core = snapshot
        super().restore(core)


def test_what_shows_later_needs_a_longer_replay():
    _, infos = play(Counterfactual(Late()), ALL)[0]
    assert all(i["team_reward"] == i["counterfactual"] == 0 for i in infos.values())
    for horizon, settings in ((2, {}), (9, {"default": lambda a, o, i: 0})):  # a replay ends with the game
        env = Counterfactual(Late(luck=False), horizon=horizon, coalitions=True, **settings)
        (_, infos), (r, after) = play(env, ALL * 2)
        assert [i["team_reward"] for i in infos.values()] == pytest.approx([4] * 3)
        assert [i["counterfactual"] for i in infos.values()] == pytest.approx([0, 1, 3])
        assert values(infos["p1"]) == pytest.approx(V)
        assert sum(r.values()) == pytest.approx(4) and after["p0"]["team_reward"] == pytest.approx(8)


def test_facts_are_plain_and_not_shared():
    (_, infos), (_, later), *_ = play(Counterfactual(Levers(), coalitions=True), ALL * 3)
    before = json.dumps(infos["p1"]["coalition_values"])
    infos["p0"]["coalition_values"].clear()
    assert json.dumps(infos["p1"]["coalition_values"]) == before and len(later["p0"]["coalition_values"]) == 5


def test_default_actions_by_agent_by_mask_and_as_they_act():
    count = []

    class Counting(Levers):
        def step(self, actions):
            count.append(dict(actions))
            return super().step(actions)

    def facts(script=ALL, **settings):
        count.clear()
        (_, infos), *_ = play(Counterfactual(Counting(luck=False), verify=False, **settings), script)
        return [infos[a]["counterfactual"] for a in infos]

    assert (
        facts(default={"p0": 0, "p1": 1, "p2": 0}) == pytest.approx([0, 4, 3]) and len(count) == 3
    )  # p1 does that anyway
    assert facts([(0, 0, 1)], default=1) == pytest.approx([1, 0, 0]) and len(count) == 3
    assert facts(default=lambda agent, obs, info: int(agent == "p2")) == pytest.approx([0, 1, 4])
    assert facts(actions="all") == pytest.approx(
        [2, 2.5, 3.5]
    )  # the mean of both actions: (0 + 4) / 2, (1 + 4) / 2, (3 + 4) / 2
    assert facts(reward="mean") == pytest.approx([0, 1 / 3, 1])
    assert facts(reward=lambda r: 10.0 * r["p0"]) == pytest.approx([0, 10 / 3, 10])
    assert first_allowed("a", None, {"action_mask": np.array([0, 1, 1])}) == 1
    assert first_allowed("a", {"action_mask": [1, 1]}, {}) == 0
    for info in ({}, {"action_mask": [0, 0]}):
        with pytest.raises(ValueError, match="a has no action mask"):
            first_allowed("a", None, info)


def test_teams_have_their_own_rewards_and_coalitions():
    def value(s):
        return float(s.bit_count())

    teams = {"p0": "red", "p1": "red", "p2": "blue"}
    env = Counterfactual(Levers(luck=False, value=value), teams=teams, coalitions=True)
    _, infos = env.reset(seed=0)
    assert {a: i["team"] for a, i in infos.items()} == teams
    _, _, _, _, infos = env.step(dict.fromkeys(teams, 1))
    # everybody gets a third of those who pull: red has 2 of 3, with one of red less 2 / 3 of 2
    assert {a: i["team_reward"] for a, i in infos.items()} == pytest.approx({"p0": 2, "p1": 2, "p2": 1})
    assert infos["p0"]["counterfactual"] == pytest.approx(4 / 3) and infos["p2"]["counterfactual"] == pytest.approx(
        2 / 3
    )
    assert values(infos["p1"]) == pytest.approx({0: 2 / 3, 1: 4 / 3, 2: 4 / 3, 3: 2})
    assert infos["p2"]["coalition_values"]["players"] == ("p2",) and infos["p2"]["team"] == "blue"
    shaped = shape(Counterfactual(Levers(luck=False), teams=teams), [TeamSpirit(1.0, team="team")])
    r, _ = play(shaped, ALL)[0]
    assert r == pytest.approx({"p0": 0, "p1": 0, "p2": 0})  # all got the same


def test_many_players_are_sampled_with_the_seed():
    def value(s):
        return float(s.bit_count())

    def run(seed, **settings):
        env = Counterfactual(Levers(12, value=value, luck=False), coalitions=True, orders=5, seed=seed, **settings)
        return play(env, [(1,) * 12] * 2)

    (_, a), (_, b) = run(0)
    v, w = a["p3"]["coalition_values"], b["p3"]["coalition_values"]
    assert len(v["orders"]) == 5 and v["orders"] != w["orders"] and sorted(v["orders"][0]) == list(range(12))
    assert (
        v["orders"]
        == run(0)[0][1]["p3"]["coalition_values"]["orders"]
        != run(1)[0][1]["p3"]["coalition_values"]["orders"]
    )
    found = values(a["p3"])
    assert 12 < len(found) <= 2 + 5 * 11 and all(x == pytest.approx(s.bit_count()) for s, x in found.items())


def test_agents_that_left_are_no_players():
    told = play(Counterfactual(Levers(leaves=True, luck=False), coalitions=True), [(1, 1, 1)] * 3)
    assert set(told[0][1]) == {"p0", "p1", "p2"} and set(told[1][1]) == {"p1", "p2"}
    assert told[1][1]["p2"]["coalition_values"]["players"] == ("p1", "p2")
    assert values(told[1][1]["p1"]) == {0: 0, 1: 0, 2: 0, 3: 0}  # v(2), v(3), v(23)


def test_snapshots_of_the_collector_itself():
    for make, replay in ((Levers, "snapshot"), (Foreign, "copy")):
        env = Counterfactual(make(), coalitions=True, replay=replay, exact=1, orders=2)
        env.reset(seed=0)
        env.step(dict.fromkeys(env.agents, 1))
        saved = env.snapshot()
        runs = []
        for _ in range(2):
            runs.append([str(env.step(dict.fromkeys(env.agents, 1))) for _ in range(2)])
            env.restore(saved)
        assert runs[0] == runs[1]


class Clockwork(Levers):
    """Forgets its luck in snapshots."""

    def restore(self, snapshot):
        rng = self.rng
        super().restore(snapshot)
        self.rng = rng


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (lambda: Counterfactual(Foreign()), TypeError, r'no snapshot\(\) and restore\(\): give replay="copy"'),
        (
            lambda: Counterfactual(parallel_to_aec(Levers())),
            TypeError,
            r"is no ParallelEnv: use aec_to_parallel\(env\)",
        ),
        (lambda: Counterfactual(Levers(), 5), ValueError, "default action 5 of p0 is none of Discrete"),
        (lambda: Counterfactual(Levers(), {"p0": 0}), ValueError, r"default has actions of \['p0'\], the agents are"),
        (lambda: Counterfactual(Levers(), teams={"p0": 0}), ValueError, r"teams are of \['p0'\], the agents are"),
        (
            lambda: Counterfactual(Levers(), actions="some"),
            ValueError,
            "actions is 'some', allowed are 'default' and 'all'",
        ),
        (lambda: Counterfactual(Levers(), replay="fork"), ValueError, "replay is 'fork', allowed are"),
        (lambda: Counterfactual(Levers(), exact=30), ValueError, "exact = 30"),
        (lambda: Counterfactual(Levers(), orders=0), ValueError, "orders = 0"),
        (lambda: Counterfactual(Levers(), horizon=0), ValueError, "horizon = 0"),
        (lambda: Counterfactual(Levers(), "wait"), ValueError, "default action 'wait' of p0 is none of Discrete"),
        (lambda: Counterfactual(Levers(), reward="most"), ValueError, "'most' names no object"),
        (
            lambda: Counterfactual(Levers(), reward=3),
            ValueError,
            "reward is 3, allowed are 'total', 'mean' or a function",
        ),
        (lambda: Counterfactual(shape(Levers(), [Clip()])), ValueError, "shaped already"),
        (lambda: play(Counterfactual(Clockwork()), ALL * 3, 1), RuntimeError, "random numbers too"),
        (lambda: play(Counterfactual(Levers(), lambda a, o, i: 7), ALL), ValueError, "default action 7 of p0"),
        (
            lambda: play(Counterfactual(Levers(value={7: 1.0}.__getitem__)), ALL),
            RuntimeError,
            "a replay fails after the joint action",
        ),
    ],
)
def test_refusals(make, error, said):
    with pytest.raises(error, match=said):
        make()


def test_it_goes_through_wrappers_and_onto_a_game_of_others():
    class Double(BaseParallelWrapper):
        def step(self, actions):
            obs, r, *rest = super().step(actions)
            return obs, {a: 2 * x for a, x in r.items()}, *rest

    _, infos = play(Counterfactual(Double(Levers(luck=False))), ALL)[0]
    assert infos["p2"]["team_reward"] == pytest.approx(8) and infos["p2"]["counterfactual"] == pytest.approx(6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the way these are imported
        from pettingzoo.test.example_envs.generated_agents_parallel_v0 import parallel_env

    env = shape(Counterfactual(parallel_env(), replay="copy"), [DifferenceReward()])
    env.reset(seed=1)
    for _ in range(3):
        _, r, _, _, infos = env.step({a: env.action_space(a).sample() for a in env.agents})
        for a in r:
            if "counterfactual" in infos[a]:
                assert r[a] == infos[a]["team_reward"] - infos[a]["counterfactual"]


def test_pettingzoos_own_test_finds_nothing(capsys):
    parallel_api_test(Counterfactual(Levers(), coalitions=True), num_cycles=20)
    parallel_api_test(Counterfactual(Foreign(leaves=True), replay="copy", actions="all"), num_cycles=20)
    assert capsys.readouterr().out.count("Passed") == 2


def test_games_of_ours():
    from milepost.envs.multiagent.negotiation_v0 import parallel_env

    env = shape(Counterfactual(parallel_env(), "wait"), [DifferenceReward()])
    env.reset(seed=0)
    while env.agents:
        _, r, _, _, infos = env.step({a: env.script(a) for a in env.agents})
    # the deal is made by the one who agrees at last: without it there is none
    assert max(r.values()) == pytest.approx(infos["party_0"]["team_reward"]) and min(r.values()) == pytest.approx(0)
