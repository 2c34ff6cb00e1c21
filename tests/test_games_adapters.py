"""Games of others under the info contract: spaces, seeds, snapshots, facts."""

import importlib.util
import os
import random
import subprocess
import sys
import warnings

import numpy as np
import pytest
from gymnasium.spaces import Dict, Discrete

pytest.importorskip("pettingzoo", reason="the extra multiagent is not installed")
from pettingzoo.test import api_test, parallel_api_test

from milepost import shape
from milepost.envs.multiagent.adapters import classic, contract, mpe2, open_spiel, textarena
from milepost.envs.multiagent.checks import check_seeds, told
from milepost.wrappers import Scale

pytestmark = pytest.mark.multiagent
PACKAGES = {mpe2: "mpe2", classic: "rlcard", open_spiel: "pyspiel", textarena: "textarena"}
GAMES = [
    (mpe2, "simple_spread_v3"),
    (mpe2, "simple_speaker_listener_v4"),
    (classic, "tictactoe_v3"),
    (classic, "rps_v2"),
    (classic, "leduc_holdem_v4"),
    (classic, "hanabi_v5"),
    (open_spiel, "bargaining"),
    (open_spiel, "negotiation"),
    (open_spiel, "goofspiel"),
    (open_spiel, "coin_game"),
    (textarena, "TicTacToe-v0"),
    (textarena, "LiarsDice-v0"),
    (textarena, "SimpleNegotiation-v0"),
]
ALL = [pytest.param(make, name, id=f"{make.__name__}-{name}") for make, name in GAMES]


def game(make, name, **settings):
    if importlib.util.find_spec(PACKAGES[make]) is None:
        pytest.skip(f"{PACKAGES[make]} is not installed")
    return make(name, **settings)


def choose(env, rng, agent, info):
    space, every = env.action_space(agent), info.get("admissible_actions")
    if isinstance(space, Discrete):
        return int(rng.choice(every)) if every else 0
    return str(rng.choice(every)) if every else "[1]"


def aec(env, turns, rng=None):
    """Random legal turns: what was seen."""
    rng, out = rng or np.random.default_rng(0), []
    for agent in env.agent_iter(turns):
        obs, reward, terminated, truncated, info = env.last()
        out.append((agent, obs, reward, terminated, truncated, info))
        env.step(None if terminated or truncated else choose(env, rng, agent, info))
    return out


def parallel(env, infos, steps):
    rng, out = np.random.default_rng(0), []
    while env.agents and len(out) < steps:
        out.append(env.step({a: choose(env, rng, a, infos[a]) for a in env.agents}))
        infos = out[-1][-1]
    return out


@pytest.mark.parametrize(("make", "name"), ALL)
def test_pettingzoos_tests(make, name, capsys):
    made = game(make, name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of spaces that are theirs
        api_test(made.env(), num_cycles=12)
        parallel_api_test(made.parallel_env(), num_cycles=12)


@pytest.mark.parametrize(("make", "name"), ALL)
def test_games_repeat_and_leave_the_global_generators_alone(make, name):
    made = game(make, name)
    check_seeds(made.env, 8, (1,))
    check_seeds(made.parallel_env, 8, (1,))
    random.seed(5)
    np.random.seed(5)
    expected = random.random(), np.random.random()
    random.seed(5)
    np.random.seed(5)
    env = made.env()
    env.reset(seed=0)
    aec(env, 4)
    assert (random.random(), np.random.random()) == expected


ROLLOUTS = """
import sys
from milepost.envs.multiagent import adapters
from milepost.envs.multiagent.checks import rollout
for game in sys.argv[1:]:
    make, _, name = game.partition(" ")
    env = getattr(adapters, make)(name).env()
    print(game, [rollout(env, seed, 20) for seed in (0, None)])
"""


def test_the_same_seed_gives_the_same_game_in_two_processes():
    there = [(m, n) for m, n in GAMES if importlib.util.find_spec(PACKAGES[m])]
    assert there, "none of the packages is installed"
    found = []
    for seed in ("1", "4711"):
        done = subprocess.run(
            [sys.executable, "-c", ROLLOUTS, *(f"{m.__name__} {n}" for m, n in there)],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        found.append([line for line in done.stdout.splitlines() if "[" in line])
    assert len(found[0]) == len(there) and found[0] == found[1]


@pytest.mark.parametrize(("make", "name"), ALL)
def test_restored_games_go_on_the_same(make, name):
    made = game(make, name)
    env, other = made.env(), made.env()
    env.reset(seed=3)
    aec(env, 2)
    saved = env.snapshot()
    first = told(aec(env, 8))
    env.restore(saved)
    assert told(aec(env, 8)) == first
    other.reset(seed=8)
    other.restore(saved)
    assert told(aec(other, 8)) == first
    env = made.parallel_env()
    _, infos = env.reset(seed=3)
    saved = env.snapshot()
    first = told(parallel(env, infos, 4))
    env.restore(saved)
    assert told(parallel(env, infos, 4)) == first


@pytest.mark.parametrize(("make", "name"), ALL)
def test_what_each_agent_is_told(make, name):
    made = game(make, name)
    env = made.env()
    env.reset(seed=0)
    for a, info in env.infos.items():
        assert info["meta"]["agent"] == a and info["score"] == 0.0 and info["reward_terms"] == {"env": 0.0}
    scores = {}
    for agent, obs, reward, terminated, _, info in aec(env, 400):
        assert obs in env.observation_space(agent) and info["reward_terms"] == {"env": pytest.approx(reward)}
        scores[agent] = scores.get(agent, 0.0) + reward
        assert info["score"] == pytest.approx(scores[agent])
        if isinstance(env.action_space(agent), Discrete):
            assert np.flatnonzero(info["action_mask"]).tolist() == list(info["admissible_actions"])
            if isinstance(env.observation_space(agent), Dict) and not terminated:
                assert np.array_equal(obs["action_mask"], info["action_mask"])
        assert ("success" in info) == (make is not mpe2)
    obs, infos = made.parallel_env().reset(seed=0)
    assert set(obs) == set(infos) and all("score" in i and "valid_action" in i for i in infos.values())


def test_who_has_won():
    env = game(classic, "tictactoe_v3").env()
    env.reset(seed=0)
    for action in (0, 3, 1, 4, 2):  # the first takes the cells of one column
        env.step(action)
    assert env.infos["player_1"]["success"] and env.infos["player_1"]["progress"] == 1.0
    assert not env.infos["player_2"]["success"] and env.infos["player_2"]["score"] == -1.0


def test_an_illegal_action_ends_a_game_and_another_is_an_error():
    for made in (game(classic, "tictactoe_v3"), game(open_spiel, "tic_tac_toe")):
        env = made.env()
        env.reset(seed=0)
        first = env.agent_selection
        with pytest.raises(ValueError, match=r"action is 99; allowed: a whole number in Discrete\(9\)"):
            env.step(99)
        env.step(0)
        second = env.agent_selection
        env.step(0)
        assert env.infos[first]["valid_action"] and not env.infos[second]["valid_action"]
        assert env.infos[second]["score"] == -1.0 and not env.infos[second]["success"]


def test_openspiel_pays_once():
    # Shimmy alone pays the last rewards again to whoever is removed later; in Kuhn poker returns are zero-sum
    env = game(open_spiel, "kuhn_poker").env()
    for seed in range(5):
        env.reset(seed=seed)
        paid = {}
        for agent, _, reward, *_ in aec(env, 30, np.random.default_rng(seed)):
            paid[agent] = paid.get(agent, 0.0) + reward
        assert sum(paid.values()) == 0.0 and {abs(r) for r in paid.values()} <= {1.0, 2.0}
    # Goofspiel's moves are simultaneous: +1 to the winner, once
    env = game(open_spiel, "goofspiel", params={"num_cards": 3, "players": 2}).env()
    env.reset(seed=0)
    last = {a: i["score"] for a, *_, i in aec(env, 60)}
    assert sorted(last.values()) in ([-1.0, 1.0], [0.0, 0.0])


def test_textarena_by_hand():
    env = game(textarena, "TicTacToe-v0").env()
    env.reset(seed=0)
    assert (
        "You are Player 0 in Tic Tac Toe" in env.last()[0] and env.infos["player_0"]["admissible_actions"][4] == "[4]"
    )
    env.step("no move")  # the first is answered, and the player may go on
    assert env.agent_selection == "player_0" and not env.infos["player_0"]["valid_action"]
    for move in ("[0]", "3", "I take [1]", "[4]", "[2]"):  # brackets are added
        env.step(move)
    assert {a: i["score"] for a, i in env.infos.items()} == {"player_0": 1.0, "player_1": -1.0}
    assert env.infos["player_0"]["success"] and env.terminations == {"player_0": True, "player_1": True}
    assert "[Player 0] I take [1]" in env.observe("player_1")
    short = textarena("SimpleNegotiation-v0", max_steps=3).env()
    short.reset(seed=0)
    for _ in range(3):
        short.step("let us talk")
    assert all(short.truncations.values()) or all(short.terminations.values())
    with pytest.raises(TypeError, match="an action is a string, not int"):
        env.reset(seed=0)
        env.step(4)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("Hangman-v0", "reads lists of words that NLTK downloads"),
        ("Debate-v0", "through OpenRouter and with a key"),
        ("SettlersOfCatan-v0", "the order of a set"),
        ("UsedCar-v0-balanced", "not in TextArena's package"),
        ("TicTacTo-v0", "did you mean 'TicTacToe-v0'"),
    ],
)
def test_what_cannot_be_played_says_why(name, why, monkeypatch):
    if importlib.util.find_spec("textarena"):
        monkeypatch.setattr("milepost.envs.multiagent.adapters.arena._has_words", lambda: False)
        with pytest.raises(ValueError, match=why):
            textarena(name)
    else:
        with pytest.raises(ModuleNotFoundError, match="a game of TextArena needs textarena"):
            textarena(name)


def test_a_game_that_raises_is_nobodys_fault(monkeypatch):
    env = game(textarena, "TicTacToe-v0").env()
    env.reset(seed=0)
    monkeypatch.setattr(
        env.unwrapped, "_game", type("Broken", (), {"state": env.unwrapped._game.state, "step": None})()
    )
    env.step("[4]")
    assert all(env.truncations.values()) and all(i["invalid"] for i in env.infos.values())
    assert "TypeError" in env.infos["player_0"]["infra_error"] and env.infos["player_0"]["score"] == 0.0


def test_names_and_settings_are_refused():
    for make, name, said in (
        (mpe2, "simple_sprad_v3", "a world of mpe2 is 'simple_sprad_v3'.*did you mean 'simple_spread_v3'"),
        (classic, "ches_v6", "a classic game is 'ches_v6'.*did you mean 'chess_v6'"),
        (open_spiel, "bargainin", "a game of OpenSpiel is 'bargainin'.*did you mean 'bargaining'"),
    ):
        if importlib.util.find_spec(PACKAGES[make]):
            with pytest.raises(ValueError, match=said):
                make(name)
    with pytest.raises(ValueError, match="params is"):
        game(open_spiel, "bargaining", params={"colour": 3})
    with pytest.raises(ValueError, match="players is 3"):
        game(textarena, "TicTacToe-v0", players=3)
    with pytest.raises(TypeError, match="contract is for PettingZoo's AEC and Parallel environments, not int"):
        contract(3)


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for make, name, said in (
        (mpe2, "simple_v3", "mpe2 needs mpe2: pip install"),
        (classic, "chess_v6", "classic games needs pygame"),
        (open_spiel, "bargaining", "needs pyspiel"),
        (textarena, "TicTacToe-v0", "needs textarena"),
    ):
        with pytest.raises(ModuleNotFoundError, match=said):
            make(name)


def test_no_mutable_object_is_shared():
    env = game(mpe2, "simple_spread_v3").parallel_env()
    obs, infos = env.reset(seed=0)
    step = env.step(dict.fromkeys(env.agents, 0))
    kept = told((obs, infos))
    for a in env.agents:
        step[0][a][:] = 7.0
        step[-1][a]["action_mask"][:] = 0
        step[-1][a]["reward_terms"]["env"] = 9.0
    again = env.step(dict.fromkeys(env.agents, 0))
    assert told((obs, infos)) == kept and all(i["action_mask"].all() for i in again[-1].values())
    assert not any((o == 7.0).all() for o in again[0].values())


def test_rewards_can_be_shaped():
    env = shape(game(mpe2, "simple_spread_v3").parallel_env(), [Scale(0.5)])
    env.reset(seed=0)
    _, rewards, *_, infos = env.step(dict.fromkeys(env.agents, 1))
    bare = mpe2("simple_spread_v3").parallel_env()
    bare.reset(seed=0)
    _, before, *_ = bare.step(dict.fromkeys(bare.agents, 1))
    assert rewards == pytest.approx({a: 0.5 * r for a, r in before.items()})
    assert all(sum(infos[a]["reward_terms"].values()) == pytest.approx(r) for a, r in rewards.items())


@pytest.mark.parametrize("late", [False, True])
def test_hanabis_maximum_is_that_of_the_settings_wherever_they_are_given(late):
    for package in ("rlcard", "pyspiel"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    small = {"colors": 2, "ranks": 3, "players": 2, "hand_size": 2, "max_information_tokens": 3, "max_life_tokens": 1}
    env = classic("hanabi_v5").env(**small) if late else classic("hanabi_v5", **small).env()
    env.reset(seed=0)
    assert env.last()[-1]["max_score"] == 6.0  # two colours of three cards each
