"""``arena``: ranks by hand, copies that know nothing of one another, failures, and any task of Milepost."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("pettingzoo", reason="the extra multiagent is not installed")
from milepost.envs.errors import InfraError
from milepost.envs.multiagent import arena_v0
from milepost.envs.multiagent.arena import TOPOLOGIES, round_robin, single_elimination
from milepost.envs.multiagent.checks import told

pytestmark = pytest.mark.multiagent


def key(won, score, steps=0):
    return won, float(score), -steps if won else 0


# -- ranks, by hand ------------------------------------------------------------------------------
def test_round_robin_by_hand():
    # success before score before steps; steps count for those who succeeded alone
    keys = [key(True, 1, 5), key(True, 1, 7), key(False, 3, 2), key(False, 3, 9), key(False, 0, 1)]
    # 0 beats 4 of 4; 1 beats 3; 2 and 3 draw and beat 4: 1.5 of 4; 4 beats nobody
    assert round_robin(keys) == [1.0, 0.75, 0.375, 0.375, 0.0]
    assert round_robin([key(True, 1, 3)] * 3) == [0.5, 0.5, 0.5]


def test_single_elimination_by_hand():
    # ArenaRL's example: q = .9, .5, .7, .1. Seeds 0, 2, 1, 3; 0 beats 3, 2 beats 1, 0 beats 2. The losers of the first round
    # have the places 2 and 3, on average 2.5: rank 1 - 2.5 / 3
    keys = [key(False, q) for q in (0.9, 0.5, 0.7, 0.1)]
    assert single_elimination(keys) == pytest.approx([1.0, 1 / 6, 2 / 3, 1 / 6])
    # The score seeds, the whole comparison plays: 2 has the lowest score but alone succeeded, so it wins from the last seed.
    # Seeds 0, 1, 2 and a bye for seed 0: first 1 against 2, which 2 wins (1 is third), then 0 against 2
    keys = [key(False, 3), key(False, 2), key(True, 1, 9)]
    assert single_elimination(keys) == pytest.approx([0.5, 0.0, 1.0])
    # All alike: seeds follow the turn; of two, the better seed wins
    assert single_elimination([key(True, 1, 3)] * 2, 0) == [1.0, 0.0]
    assert single_elimination([key(True, 1, 3)] * 2, 1) == [0.0, 1.0]


KEYS = st.lists(st.builds(key, st.booleans(), st.integers(0, 3), st.integers(1, 4)), min_size=2, max_size=8)


@given(KEYS, st.integers(0, 2**30))
def test_what_ranks_keep(keys, turn):
    best = max(keys)
    for name, topology in TOPOLOGIES.items():
        ranks = topology(keys, turn)
        assert sum(ranks) == pytest.approx(len(keys) / 2) and all(0.0 <= r <= 1.0 for r in ranks)
        first = max(range(len(keys)), key=lambda i: ranks[i])
        assert keys[first] == best, name  # the champion is one of the best
        scaled = topology([(won, 10 * score + 3, steps) for won, score, steps in keys], turn)
        assert scaled == ranks  # an affine change of all scores changes nothing
    alone = [i for i, k in enumerate(keys) if k == best]
    if len(alone) == 1:
        assert round_robin(keys)[alone[0]] == 1.0 == single_elimination(keys, turn)[alone[0]]


# -- the game ------------------------------------------------------------------------------------
def test_a_game_by_hand():
    """One follows the oracle, one does a useless step first, one does nothing useful: 1, one half and nothing."""
    env = arena_v0.parallel_env(expose_reference=True, weights={"task": 1.0})
    obs, infos = env.reset(seed=0, options={"task": 3})
    own = [o.split("\n\nYou are")[0] for o in obs.values()]
    assert len(set(own)) == 1  # the same task for all
    assert infos["player_0"]["meta"]["inner"] == {"id": "milepost/Quest-easy-v0", "task": "quest-3"}
    assert infos["player_0"]["reference"] == (env.script("player_1"),)
    ended = {}
    while env.agents:
        acts = {"player_0": env.script("player_0"), "player_1": env.script("player_1"), "player_2": "dance"}
        if env.game.cycle == 0:
            acts["player_1"] = "dance"
        obs, rewards, terminated, truncated, infos = env.step(acts)
        for a, info in infos.items():
            if info["through"] and a not in ended:
                ended[a] = info["steps"]
                assert info["success"] == (a != "player_2")
        if not ended.get("player_1") and ended.get("player_0"):
            assert obs["player_0"].startswith("You are through with success: wait for the others.")
            assert infos["player_0"]["admissible_actions"] == ("wait",) and rewards["player_0"] in (0.0, 1.0)
    assert ended["player_1"] == ended["player_0"] + 1 and ended["player_2"] == 30 == env.game.cycle
    assert all(terminated.values()) and not any(truncated.values())
    assert rewards == {"player_0": 1.0, "player_1": 0.5, "player_2": 0.0}  # two beaten, one beaten, none
    assert [i["rank"] for i in infos.values()] == [1.0, 0.5, 0.0]
    assert "The game is over; your rank is 0.50." in obs["player_1"]
    assert not infos["player_2"]["valid_action"] and infos["player_0"]["valid_action"]


def test_the_tasks_own_reward_is_paid_when_it_comes():
    env = arena_v0.parallel_env(players=2, weights={"rank": 0.0, "task": 1.0})
    env.reset(seed=0)
    paid = dict.fromkeys(env.agents, 0.0)
    while env.agents:
        _, rewards, *_ = env.step({"player_0": env.script("player_0"), "player_1": "wait"})
        paid = {a: paid[a] + r for a, r in rewards.items()}
    assert paid == {"player_0": 1.0, "player_1": 0.0}


def play(env, policies, task):
    _, infos = env.reset(seed=0, options={"task": task})
    total = dict.fromkeys(env.agents, 0.0)
    while env.agents:
        acts = {a: env.face.action_for(a, "wait") if p == "null" else env.script(a, p) for a, p in policies.items()}
        _, rewards, *_, infos = env.step(acts)
        total = {a: total[a] + r for a, r in rewards.items()}
    return total, infos


@pytest.mark.parametrize("topology", list(TOPOLOGIES))
@pytest.mark.parametrize("face", ["text", "encoded"])
def test_the_audit_by_hand(topology, face):
    env = arena_v0.parallel_env(topology=topology, face=face)
    agents = env.possible_agents
    for task in range(4):
        for policy in ("oracle", "collusion"):
            total, infos = play(env, dict.fromkeys(agents, policy), task)
            assert sum(total.values()) == pytest.approx(1.5)  # half of three: the most there is
            assert all(i["success"] and i["score"] == i["max_score"] and i["progress"] == 1.0 for i in infos.values())
        total, infos = play(env, dict.fromkeys(agents, "null"), task)
        assert set(total.values()) == {0.0} and not any(i["success"] for i in infos.values())
        assert env.game.cycle == 30 and not any(i["through"] for i in infos.values())
        total, _ = play(env, {"player_0": "null", "player_1": "oracle", "player_2": "random"}, task)
        assert total["player_1"] >= total["player_2"] >= total["player_0"] == 0.0
    env.close()


def test_a_restored_game_plays_the_same_and_shares_nothing():
    env = arena_v0.parallel_env(topology="single_elimination")
    env.reset(seed=1)
    env.step({a: env.script(a) for a in env.agents})
    saved = env.snapshot()
    before = told(saved)

    def ahead():
        out = []
        while env.agents:
            out.append(told(env.step({a: env.script(a, "random") for a in env.agents})))
        return out

    first = ahead()
    assert told(saved) == before
    env.restore(saved)
    assert ahead() == first
    other = arena_v0.parallel_env(topology="single_elimination")
    other.reset(seed=9)
    other.restore(saved)  # of another one with the same settings
    assert told(other.step({a: other.script(a, "random") for a in other.agents})) == first[0]


def test_copies_know_nothing_of_one_another():
    a, b = arena_v0.parallel_env(), arena_v0.parallel_env()
    for env in (a, b):
        env.reset(seed=0, options={"task": 5})
    for _ in range(2):  # what the others do changes nothing for player_0
        x = a.step({"player_0": a.script("player_0"), "player_1": "wait", "player_2": "dance"})
        y = b.step({"player_0": b.script("player_0"), "player_1": b.script("player_1"), "player_2": "wait"})
        assert x[0]["player_0"] == y[0]["player_0"] and told(x[4]["player_0"]) == told(y[4]["player_0"])


def test_a_failing_copy_makes_the_game_invalid(monkeypatch):
    env = arena_v0.parallel_env()
    env.reset(seed=0)

    def broken(command):
        raise InfraError("the sandbox is gone")

    monkeypatch.setattr(env.game.envs[1], "_command", broken)
    _, rewards, terminated, truncated, infos = env.step({a: env.script(a) for a in env.agents})
    assert not env.agents and all(truncated.values()) and not any(terminated.values()) and not any(rewards.values())
    assert all(i["invalid"] and i["infra_error"] == "player_1: the sandbox is gone" for i in infos.values())
    assert env.game.infra_failures == 1
    monkeypatch.undo()
    env.reset(seed=0)
    assert env.agents == env.possible_agents


def test_close_closes_the_copies(monkeypatch):
    env, closed = arena_v0.parallel_env(players=2), []
    for k, copy in enumerate(env.game.envs):
        monkeypatch.setattr(copy, "close", lambda k=k: closed.append(k))
    env.close()
    assert closed == [0, 1]


def test_any_text_task_can_be_played():
    env = arena_v0.parallel_env(
        task="milepost/Quest-v0", settings={"rooms": 4, "max_steps": 7}, split="test", players=2
    )
    assert env.max_cycles == 7 and env.game.envs[0].split == "test"
    _, infos = env.reset(seed=0)
    assert infos["player_0"]["meta"]["inner"]["task"].startswith("quest-")
    assert int(infos["player_0"]["meta"]["inner"]["task"][6:]) == env.game.task >= 2**30
    short = arena_v0.parallel_env(max_cycles=2)
    short.reset(seed=0)
    short.step({a: "dance" for a in short.agents})
    *_, truncated, _ = short.step({a: "dance" for a in short.agents})
    assert all(truncated.values())


def test_a_task_with_tools():
    pytest.importorskip("pydantic", reason="the extra tools is not installed")
    env, said = arena_v0.parallel_env(task="milepost/SQL-v0", players=2), ""
    env.reset(seed=0)
    while env.agents:
        command = env.script("player_0")
        if command.startswith("{"):
            command = json.loads(command)  # an object does as well
        _, rewards, *_, infos = env.step({"player_0": command, "player_1": "SELECT\n  1"})
        said = said or infos["player_1"]["messages"][0]["content"]
    assert said == "SELECT\n  1"  # as it was said
    assert rewards == {"player_0": 1.0, "player_1": 0.0} and infos["player_0"]["success"]


def test_as_many_worlds_as_the_task_has():
    pytest.importorskip("packaging", reason="the extra swe is not installed")
    env = arena_v0.parallel_env(task="milepost/BugRepair-v0", players=2)
    assert len(env.game.tasks()) == len(env.game.envs[0].tasks()) < 1000
    with pytest.raises(ValueError, match="is not in split 'train'"):
        env.reset(options={"task": 1000})
    few = arena_v0.parallel_env(worlds=2)
    assert {few.reset(seed=s)[1]["player_0"]["meta"]["task"] for s in range(12)} == {"arena-0", "arena-1"}


def test_settings_are_refused_by_name():
    for wrong, said in (
        ({"task": "milepost/Quest-esy-v0"}, r"task is 'milepost/Quest-esy-v0'.*did you mean 'milepost/Quest-easy-v0'"),
        ({"task": "milepost/Quest-easy-shaped-v0"}, "task is 'milepost/Quest-easy-shaped-v0'"),
        ({"task": "CartPole-v1"}, "task is 'CartPole-v1'"),
        ({"players": 1}, "players is 1; allowed: a whole number from 2 to 8"),
        ({"players": 9}, "players is 9"),
        ({"topology": "swiss"}, "topology is 'swiss'; allowed: 'round_robin', 'single_elimination'"),
        ({"settings": {"split": "test"}}, "settings have 'split': the arena has it itself"),
        ({"settings": {"rooms": 0}}, "rooms is 0"),
        ({"settings": 3}, "settings are 3"),
        ({"max_cycles": 0}, "max_cycles is 0"),
        ({"player": 3}, "did you mean 'players'"),
    ):
        with pytest.raises(ValueError, match=said):
            arena_v0.parallel_env(**wrong)


ENV = arena_v0.parallel_env(max_cycles=1000, settings={"max_steps": 10})
JSONS = st.dictionaries(
    st.text(max_size=6), st.none() | st.integers() | st.lists(st.text(max_size=4), max_size=2), max_size=3
)


@settings(max_examples=40)
@given(st.lists(st.text(max_size=40) | JSONS, min_size=3, max_size=3))
def test_any_words_are_answered(actions):
    if not ENV.agents:
        ENV.reset(seed=0)
    _, rewards, *_, infos = ENV.step(dict(zip(ENV.possible_agents, actions)))
    assert all(np.isfinite(r) and infos[a]["steps"] <= 10 for a, r in rewards.items())


def test_ten_megabytes():
    ENV.reset(seed=0)
    *_, infos = ENV.step({"player_0": "x" * 10_000_000, "player_1": "\u202e\x00😀", "player_2": '{"a":' * 5000})
    assert not any(i["valid_action"] for i in infos.values())
    assert all(len(i["messages"][0]["content"]) <= 8192 for i in infos.values())
