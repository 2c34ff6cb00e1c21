"""Environments that are not ours: PettingZoo's games under its own tests, a MiniGrid world, facts for both."""

import warnings
from dataclasses import dataclass

import gymnasium as gym
import numpy as np
import pytest

from milepost import shape
from milepost.wrappers import Clip, CountBonus, Facts, MissingFact, PotentialShaping, Shaper, Uniform

pytest.importorskip("pettingzoo")
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of the way PettingZoo's tests import its games
    from pettingzoo.test import api_test, parallel_api_test
    from pettingzoo.test.api_test import missing_attr_warning


@dataclass
class Share(Shaper):
    """A joint layer: at a step, and over a game, all get the mean."""

    pool = "joint"

    def steps(self, states, ts):
        return [sum(t.reward for t in ts) / len(ts)] * len(ts)


@dataclass
class Late(Share):
    def group(self, group):
        total = sum(t.rewards.sum() for t in group) / len(group)
        return [np.full(len(t), total / len(t)) for t in group]


# -- PettingZoo's own tests, warnings are errors ---------------------------------------------------------
KNOWN = {  # by exact message: what these games are warned about without us, and that the tests leave games unfinished
    "Observation numpy array is all zeros.",
    "Observations are different shapes",
    "Agents have different observation space sizes",
    'We recommend agents to be named in the format <descriptor>_<number>, like "player_0"',
    missing_attr_warning.format(name="possible_agents"),
    "a reset cut off an episode before it ended, so layers that settle at its end never saw it "
    "(counted in stack.abandoned): put TimeLimit inside and shape(...) outside",
}


def strictly(check, *args):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        check(*args)
    assert [str(w.message) for w in said if str(w.message) not in KNOWN] == []


def first(t):
    return float(np.ravel(t.next_obs["observation"] if isinstance(t.next_obs, dict) else t.next_obs)[0])


LAYERS = [PotentialShaping(key="first"), Clip(-5, 5), Uniform()]
FACTS = {"first": first}


def test_turn_games_pass_pettingzoos_own_test(capsys):
    from pettingzoo.test.example_envs import generated_agents_env_v0

    strictly(api_test, shape(generated_agents_env_v0.env(), LAYERS, facts=FACTS), 60)
    assert "Passed" in capsys.readouterr().out


def test_parallel_games_pass_pettingzoos_own_test(capsys):
    from pettingzoo.test.example_envs import generated_agents_parallel_v0

    joint = [Share(), PotentialShaping(key="first"), Late(), Clip(-9, 9)]
    strictly(parallel_api_test, shape(generated_agents_parallel_v0.parallel_env(), joint, facts=FACTS), 200)
    assert "Passed" in capsys.readouterr().out


def test_classic_games_pass_pettingzoos_own_tests(capsys):
    pytest.importorskip("pygame", reason="pettingzoo's classic games draw with pygame")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the way these are imported
        from pettingzoo.classic import rps_v2, tictactoe_v3

    strictly(api_test, shape(tictactoe_v3.env(), LAYERS, facts=FACTS), 60)
    strictly(api_test, shape(rps_v2.env(), LAYERS, facts=FACTS), 60)
    strictly(parallel_api_test, shape(rps_v2.parallel_env(), [Share(), Late()]), 60)
    env = shape(tictactoe_v3.env(), [PotentialShaping(key="free", gamma=1.0)], facts={"free": free})
    env.reset()
    paid = {"player_1": [], "player_2": []}
    for player, move in zip(env.agent_iter(), (0, 3, 1, 4, 2, None, None)):
        paid[player].append(env.last()[1])
        env.step(move)
    # what each saw go: two cells between its turns; player_1 has won, and the potential ends at 0 of 5 / 9
    assert paid["player_1"] == pytest.approx([0, -2 / 9, -2 / 9, 1 - 5 / 9])
    assert paid["player_2"] == pytest.approx([0, -2 / 9, -1 - 6 / 9]) and not env.agents


def free(t):
    """The share of the board that is free."""
    return 1.0 - float(t.next_obs["observation"].sum()) / 9


# -- facts for a MiniGrid world ----------------------------------------------------------------------
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_facts_serve_a_minigrid_world():
    pytest.importorskip("minigrid")

    class Where(gym.Wrapper):
        """Facts are functions of the transition, so the place of the agent has to be in what is observed."""

        def step(self, a):
            obs, *rest, info = self.env.step(a)
            return obs, *rest, info | {"place": tuple(map(int, self.unwrapped.agent_pos))}

        def reset(self, **kw):
            obs, info = self.env.reset(**kw)
            return obs, info | {"place": tuple(map(int, self.unwrapped.agent_pos))}

    def near(t):
        return sum(t.info["place"]) / 6  # the goal of the 5x5 room is at (3, 3), the agent starts at (1, 1)

    layers = [PotentialShaping(key="progress", gamma=1.0), CountBonus(0.1, key="place")]
    forward = [2, 2, 1, 2, 2]  # two ahead, turn right, two ahead: the goal
    with pytest.raises(MissingFact, match="progress"):
        shape(gym.make("MiniGrid-Empty-5x5-v0"), layers).reset(seed=0)
    inner = Where(gym.make("MiniGrid-Empty-5x5-v0"))
    for env in (shape(inner, layers, facts={"progress": near}), shape(Facts(inner, {"progress": near}), layers)):
        obs, info = env.reset(seed=0)
        assert info["progress"] == pytest.approx(2 / 6) and obs["image"].shape == (7, 7, 3)
        rows = [env.step(a) for a in forward]
        added = [row[4]["reward_terms"] for row in rows]
        assert [x["potential_shaping"] for x in added] == pytest.approx([1 / 6, 1 / 6, 0, 1 / 6, -5 / 6])
        assert [x["count_bonus"] for x in added] == pytest.approx([0.1, 0.1, 0.1 / 2**0.5, 0.1, 0.1])
        assert rows[-1][2] and rows[-1][1] == pytest.approx(sum(added[-1].values())) and added[-1]["env"] > 0.9
