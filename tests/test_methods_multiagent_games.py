"""Layers for several agents on the hosts of games."""

import importlib.util
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from milepost import shape
from milepost.wrappers import MissingFact, Stack
from milepost.wrappers.episode.lare import LatentReward
from milepost.wrappers.episode.sotopia import UtteranceAttribution
from milepost.wrappers.group.arena import TournamentAdvantage
from milepost.wrappers.hosts.trainer import dialogue, trl_reward
from milepost.wrappers.step.difference import DifferenceReward
from milepost.wrappers.step.inequity import InequityAversion
from milepost.wrappers.step.shapley import ShapleyCredit
from milepost.wrappers.step.team_spirit import TeamSpirit

pytest.importorskip("pettingzoo", reason="the extra multiagent is not installed")
from pettingzoo import ParallelEnv
from pettingzoo.utils.conversions import aec_to_parallel, parallel_to_aec

from milepost.wrappers.collect.counterfactual import Counterfactual

_spec = importlib.util.spec_from_file_location("levers", Path(__file__).parent / "levers.py")
levers = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(levers)
Levers, play = levers.Levers, levers.play
ALL = [(1, 1, 1)]


# -- hosts: agents that step together ---------------------------------------------------------------------
def test_difference_rewards_and_shapley_credit_online():
    def game():
        return Counterfactual(Levers(luck=False), coalitions=True)

    r, _ = play(shape(game(), [DifferenceReward()]), ALL)[0]
    assert r == pytest.approx({"p0": 4, "p1": 3, "p2": 1})
    r, _ = play(shape(Counterfactual(Levers(luck=False), actions="all"), [DifferenceReward()]), ALL)[0]
    assert r == pytest.approx({"p0": 2, "p1": 1.5, "p2": 0.5})  # aristocrat utility
    env = shape(game(), [ShapleyCredit()])
    for r, infos in play(env, ALL * 3):
        assert r == pytest.approx({"p0": 7 / 3, "p1": 4 / 3, "p2": 1 / 3})
        assert all(sum(i["reward_terms"].values()) == pytest.approx(r[a]) for a, i in infos.items())
    with pytest.raises(MissingFact, match="difference_reward reads info"):
        play(shape(Levers(), [DifferenceReward()]), ALL)


@pytest.mark.parametrize("seed", range(3))
def test_a_difference_reward_moves_with_the_teams_and_shapley_credit_sums_to_it(seed):
    rng = np.random.default_rng(seed)
    table = rng.normal(size=8).tolist()
    script = rng.integers(2, size=(3, 3)).tolist()

    def run(layer, rows):
        return play(shape(Counterfactual(Levers(value=table.__getitem__), coalitions=True), [layer]), rows)

    base = run(DifferenceReward(), script)
    for k in range(3):
        flipped = [[x ^ (m == k) for m, x in enumerate(row)] for row in script]
        other = run(DifferenceReward(), flipped)
        a = f"p{k}"
        for (r, i), (q, j) in zip(base, other):
            assert r[a] - q[a] == pytest.approx(i[a]["team_reward"] - j[a]["team_reward"])  # factored
    for (r, i), (q, _) in zip(run(ShapleyCredit(), script), run(ShapleyCredit(conserve=True), script)):
        v = i["p0"]["coalition_values"]["values"]
        assert sum(r.values()) == pytest.approx(v[7] - v[0]) and sum(q.values()) == pytest.approx(v[7])


JOINT = [
    TeamSpirit(0.4),
    InequityAversion(),
    TeamSpirit(1.0, team="team"),
    LatentReward(over="agents", residual="uniform"),
]
OWN = [DifferenceReward(), ShapleyCredit(conserve=True), UtteranceAttribution(), LatentReward(residual="last")]
TEAMS = {"p0": "a", "p1": "b", "p2": "b"}
SCRIPT = [(1, 1, 0), (1, 0, 1), (1, 1, 1)]


@pytest.mark.parametrize("layer", JOINT + OWN, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("leaves", [False, True], ids=["to the end", "one leaves"])
def test_recorded_games_get_the_rewards_that_they_got_online(layer, leaves):
    env = shape(Counterfactual(Levers(leaves=leaves), coalitions=True, teams=TEAMS), [layer])
    env.stack.keep, env.stack.records = 99, True
    paid = {a: [] for a in TEAMS}
    for r, infos in play(env, SCRIPT) + play(env, SCRIPT[::-1]):
        for a, x in r.items():
            paid[a].append(x)
            if "credit" not in infos[a]:
                assert sum(infos[a]["reward_terms"].values()) == pytest.approx(x)
    games = env.stack.take()
    assert len(games) == 6 and [t.meta["joint"] for t in games] == [1] * 3 + [2] * 3
    for p, q in zip(games, Stack([layer]).run([t.before(env.stack.names) for t in games]), strict=True):
        np.testing.assert_allclose(p.rewards, q.rewards, atol=1e-12)
    late = env.stack.joint
    for a in TEAMS:
        total = sum(t.rewards.sum() for t in games if t.meta["agent"] == a)
        if not (late and leaves and a == "p0"):  # who left is not paid again
            assert sum(paid[a]) == pytest.approx(total)


# -- hosts: agents that take turns -------------------------------------------------------------------------
def by_turns(env, script):
    """Agent to what it is paid at each of its turns but the first."""
    env.reset(seed=0)
    out = {a: [] for a in env.possible_agents}
    for a in env.agent_iter():
        _, r, te, tr, info = env.last()
        out[a].append((r, info))
        k = len(out[a]) - 1
        env.step(None if te or tr else script[k][env.possible_agents.index(a)])
    return {a: rows[1:] for a, rows in out.items()}


@pytest.mark.parametrize("layer", OWN, ids=lambda s: type(s).__name__)
def test_what_reads_an_agents_own_facts_pays_the_same_where_agents_take_turns(layer):
    def game():
        return Counterfactual(Levers(), coalitions=True)

    together = play(shape(game(), [layer]), SCRIPT)
    turns = by_turns(shape(parallel_to_aec(game()), [layer]), SCRIPT)
    for a, rows in turns.items():
        assert [r for r, _ in rows] == pytest.approx([r[a] for r, _ in together])
        for (_, i), (_, infos) in zip(rows, together):
            assert i["reward_terms"] == pytest.approx(infos[a]["reward_terms"])


@pytest.mark.parametrize(
    "layer",
    [*JOINT[:2], JOINT[3], DifferenceReward(value=lambda g, w: 0.0), ShapleyCredit(value=lambda g, w: 0.0)],
    ids=lambda s: type(s).__name__,
)
def test_what_pays_several_agents_at_once_is_refused_there_and_converted(layer):
    with pytest.raises(ValueError, match=r"mixes agents that step together.*aec_to_parallel"):
        shape(parallel_to_aec(Levers()), [layer])
    first = shape(Levers(), [layer])
    then = shape(aec_to_parallel(parallel_to_aec(Levers())), [layer])
    for (r, _), (q, _) in zip(play(first, SCRIPT), play(then, SCRIPT), strict=True):
        assert r == pytest.approx(dict(q))
    if not first.stack.body:  # shaped first, then by turns
        rows = by_turns(parallel_to_aec(shape(Levers(), [layer])), SCRIPT)
        for a, got in rows.items():
            assert [r for r, _ in got] == pytest.approx([r[a] for r, _ in play(shape(Levers(), [layer]), SCRIPT)])


@pytest.mark.parametrize("convert", [lambda e: e, parallel_to_aec], ids=["parallel", "aec"])
def test_a_tournament_of_the_agents_of_one_game(convert):
    env = shape(
        convert(Levers(luck=False)), [TournamentAdvantage(compare=more_pulls, over="agents", bidirectional=False)]
    )
    for script in ([(1, 1, 0), (1, 0, 0), (1, 0, 0)], [(0, 0, 1), (0, 1, 1), (0, 0, 0)]):
        if isinstance(env, ParallelEnv):
            play(env, script)
        else:
            by_turns(env, script)
    games = sorted(env.stack.close(), key=lambda t: (t.meta["joint"], t.meta["agent"]))
    assert [t.meta["joint"] for t in games] == [1] * 3 + [2] * 3
    # 3, 1 and 0 pulls, then 0, 1 and 2: r is 1, .5, 0 and 0, .5, 1, of std .5
    assert [t.advantages[0] for t in games] == pytest.approx([1, 0, -1, -1, 0, 1], abs=1e-5)
    assert all(len(t.advantages) == 3 and (t.advantages == t.advantages[0]).all() for t in games)
    assert env.stack.stats()["tournament_advantage/comparisons"] == 2 * 4


def more_pulls(a, b):
    return float(sum(i["pulled"] for i in a.infos[1:])), float(sum(i["pulled"] for i in b.infos[1:]))


# -- other hosts -----------------------------------------------------------------------------------------
LATE = {
    "latent_factors": lambda t: (0.0, float(t.next_obs[0])),
    "scores": lambda t: {"goal": 2.0},
    "attribution": lambda t: 3.0 * float(abs(t.next_obs[2])),
}


@pytest.mark.parametrize(
    "layer",
    [LatentReward(residual="last"), UtteranceAttribution(), UtteranceAttribution("scaled")],
    ids=lambda s: type(s).__name__,
)
def test_lanes_of_a_vector_are_paid_as_one_environment_after_another(layer):
    def make():
        return gym.make("CartPole-v1", max_episode_steps=6)

    moves = np.random.default_rng(0).integers(2, size=(6, 2))
    many = shape(gym.vector.SyncVectorEnv([make, make]), [layer], facts=LATE)
    many.reset(seed=3)
    for row in moves:
        info = many.step(row)[4]
    for k in range(2):
        lone = shape(make(), [layer], facts=LATE)
        lone.reset(seed=3 + k)
        for row in moves:
            alone = lone.step(int(row[k]))[4]
        assert info["credit"][k] == pytest.approx(alone["credit"]) and np.ptp(alone["credit"]) > 0


def test_a_tournament_inside_a_trainer():
    reward = trl_reward(
        Stack([TournamentAdvantage(normalize="rank")]), lambda completions, **kw: [len(c) for c in completions]
    )
    assert reward(["p"] * 3, ["a", "abc", "ab"]) == [0.0, 1.0, 0.5]
    said = [
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": "no"},
    ]
    talk = dialogue("hello", said)
    talk.infos[-1].update(scores={"goal": 8.0}, attribution=[0, 3])
    (paid,) = Stack([UtteranceAttribution("scaled")]).run([talk])
    assert paid.rewards.tolist() == [0.0, 8.0]
