"""Agents of games: names and contract, whole games in SB3's buffers, trainers that learn, self-play, Elo, cross-play."""

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

pytest.importorskip("pettingzoo", reason="the extra multiagent is not installed")
pytest.importorskip("sb3_contrib", reason="the extra sb3 is not installed")
import torch
from hypothesis import given
from hypothesis import strategies as st

from milepost import shape
from milepost.baselines.games import elo
from milepost.baselines.games.agents import Seat, Team, check_player, make_player, make_team, parse_team
from milepost.baselines.games.evaluate import cross_play, duel, evaluate_games, games
from milepost.baselines.games.league import League
from milepost.baselines.games.ppo import GamePPO, load_players
from milepost.envs.multiagent import negotiation_v0
from milepost.wrappers import Clip, Shaper, Uniform, shaper

pytestmark = pytest.mark.multiagent
_spec = importlib.util.spec_from_file_location("toy_games", Path(__file__).with_name("toy_games.py"))
toy_games = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(toy_games)
Apart, Bids, Cued, Praised, Toy = (getattr(toy_games, n) for n in ("Apart", "Bids", "Cued", "Praised", "Toy"))
SMALL = {"n_steps": 64, "batch_size": 32, "n_epochs": 2, "policy_kwargs": {"net_arch": [8]}, "copies": 3}
NEGOTIATION = {
    "face": "encoded",
    "issues": 2,
    "choices": 2,
    "rows": 8,
    "listed": 4,
    "dim": 16,
    "action_dim": 16,
    "max_cycles": 4,
}


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@dataclass
class Praise(Shaper):
    """Settles late what could have been paid at once."""

    def episode(self, traj):
        return np.array([i["good"] - 0.25 for i in traj.infos[1:]])


@dataclass
class Shared(Shaper):
    """A joint layer: the team's good deeds, by the number of agents, on each agent's last step."""

    pool = "joint"

    def group(self, group):
        total = sum(i["good"] for t in group for i in t.infos[1:])
        return [np.eye(len(t))[-1] * total / len(group) for t in group]


def weights(trainer):
    return np.concatenate([w.numpy().ravel() for p in trainer.policies.values() for w in p.weights.values()])


# -- names and contract ---------------------------------------------------------------------------
def test_teams_are_written_as_names_and_errors_say_what_there_is():
    assert parse_team("toy_0=random, toy_1=script:high") == {"toy_0": "random", "toy_1": "script:high"}
    env = Bids()
    team = make_team("toy_0=script:high, toy_1=random", env)
    assert [g.returns["toy_0"] > 1.5 for g in games(team, Bids, 5, 0)] == [True] * 5
    assert make_team("random", env).players.keys() == {"toy_0", "toy_1"}
    for names, said in {
        "toy_0=random": "nobody plays toy_1",
        "toy_7=random, random": "no agent 'toy_7'; it has: toy_0, toy_1",
        "randon": "no player is called 'randon'; did you mean 'random'?",
        "script:hihg": "no script 'hihg'; did you mean 'high'?",
        "ppo": "'ppo' plays alone",
        "none.pt": "there is no checkpoint none.pt",
        "toy_0=": "a team is written",
        "": "this is empty",
    }.items():
        with pytest.raises(ValueError, match=said.replace("?", r"\?")):
            make_team(names, env)
    with pytest.raises(ValueError, match="has no scripted policies"):
        make_player("script:oracle", Cued())
    with pytest.raises(RuntimeError, match="cannot be played alone"):
        Seat(env, "toy_0").reset()


class Alone:
    """A single agent's contract; each seat has its own."""

    def __init__(self, env, button=1):
        self.agent, self.button = env.agent, button

    def act(self, obs, info):
        return self.button


class Together(Alone):
    def act(self, agent, obs, info):
        assert agent == self.agent
        return int(agent[-1])


def test_a_factory_makes_one_player_a_seat_with_either_contract(monkeypatch):
    monkeypatch.setattr(shaper, "_allowed", {*shaper._allowed, __name__.partition(".")[0]})
    played = evaluate_games(make_team(f"{__name__}:Together", Apart()), Apart, 3)
    assert played.agents["toy_0"]["env_return"] == played.agents["toy_1"]["env_return"] == 3.0
    player = make_player(f"{__name__}:Alone", Apart(), button=0)
    assert evaluate_games(Team(dict.fromkeys(Apart().possible_agents, player)), Apart, 3).env_return == 3.0


def test_check_player_finds_what_breaks_the_contract():
    check_player(make_player("random", Cued()), Cued())

    class Wild:
        def act(self, agent, obs, info):
            return 7

    class Vandal(Wild):
        def act(self, agent, obs, info):
            obs[0] = 5
            return 0

    class Fickle(Wild):
        rng = np.random.default_rng(0)

        def reset(self, seed=None):
            pass

        def act(self, agent, obs, info):
            return int(self.rng.integers(2))

    for player, said in (
        (object(), "has no act"),
        (Wild(), "is not in"),
        (Vandal(), "changed what"),
        (Fickle(), "other actions"),
    ):
        with pytest.raises(AssertionError, match=said):
            check_player(player, Cued(), games=6)


# -- whole games ----------------------------------------------------------------------------------
def test_games_are_played_side_by_side_and_give_what_they_give_alone():
    team = make_team("random", Toy(3))
    alone, beside = (games(team, lambda: Toy(3), 7, 5, side) for side in (1, 4))
    assert [g.number for g in beside] == list(range(7))
    for g in alone + beside:
        assert g.length == {"toy_0": 2, "toy_1": 3, "toy_2": 4} and g.cycles == 4 and not any(g.truncated.values())
    assert [g.returns for g in alone] == [g.returns for g in beside]
    (cut,) = games(team, lambda: Toy(3, limit=3), 1, 5)
    assert cut.truncated == {"toy_0": False, "toy_1": False, "toy_2": True} and cut.length["toy_2"] == 3


def rolled(make, layers, **more):
    """A trainer after one rollout, its games, and its filled buffer before SB3's update."""
    seen = {}
    trainer = GamePPO("shared_ppo", make, layers, seed=3, **(SMALL | more))
    model = trainer.policies["all"].model
    update = model.train

    def spy():
        keys = ("observations", "actions", "rewards", "advantages", "returns", "values", "log_probs", "episode_starts")
        seen.update({k: getattr(model.rollout_buffer, k).copy() for k in keys})
        update()

    model.train = spy
    played = trainer.rollout()
    trainer.update(played)
    return trainer, played, seen


def test_late_credit_gives_bit_for_bit_the_buffer_and_weights_of_training_on_the_redistributed_rewards():
    make = {"agents": 3}
    late, played, a = rolled(lambda: Toy(**make), [Praise()])
    direct, _, b = rolled(lambda: Praised(**make), [])
    plain, _, c = rolled(lambda: Toy(**make), [])
    assert a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)
    assert np.array_equal(weights(late), weights(direct))
    assert not np.array_equal(a["rewards"], c["rewards"]) and not np.array_equal(weights(late), weights(plain))
    assert {len(s) for g in played for s in g.kept.values()} == {2, 3, 4}  # agents left early and nothing was padded
    assert len(a["rewards"]) == sum(sum(g.length.values()) for g in played) == late.steps


def test_an_agent_that_left_early_is_paid_its_share_of_a_joint_layer():
    """Online it cannot be paid later; in the buffer its last step has the team's total over 3."""
    _, played, seen = rolled(lambda: Toy(3), [Shared()])
    starts = np.flatnonzero(seen["episode_starts"][:, 0])
    lanes = iter(np.split(seen["rewards"][:, 0], starts[1:]))  # in the order of games, then of agents
    for g in played:
        share = g.last_info["toy_2"]["total"] / 3  # the last to leave has seen them all
        for _, lane in zip(g.kept, lanes):
            assert lane[-1] == pytest.approx(share) and not lane[:-1].any()
    assert next(lanes, None) is None and len({g.last_info["toy_2"]["total"] for g in played}) > 2


def test_a_truncated_lane_goes_on_with_the_value_of_what_comes_next_and_an_ended_one_does_not():
    _, played, seen = rolled(lambda: Toy(3, limit=3), [], gamma=0.5)
    ends = np.append(np.flatnonzero(seen["episode_starts"][:, 0])[1:], len(seen["rewards"])) - 1
    left = [(g, a) for g in played for a in g.kept]
    assert len(ends) == len(left)
    for (g, a), end in zip(left, ends):
        beyond = float(seen["rewards"][end, 0]) - g.rewards[a][-1]
        assert (abs(beyond) > 1e-6) == g.truncated[a] == (a == "toy_2")
        # GAE of a last step: r - V(s), whatever row comes behind it
        assert seen["advantages"][end, 0] == pytest.approx(seen["rewards"][end, 0] - seen["values"][end, 0], abs=1e-6)


def test_invalid_games_are_learnt_from_by_nobody_and_odd_rollouts_update_without_nan():
    class Breaks(Toy):
        def pay(self, pressed):
            rewards, infos = super().pay(pressed)
            return rewards, {a: i | {"invalid": self.t == 4 and self.total < 5} for a, i in infos.items()}

    trainer, played, seen = rolled(lambda: Breaks(3), [Uniform()], batch_size=8)
    assert trainer.invalid > 0 and not any(g.invalid for g in played)
    assert len(seen["rewards"]) == sum(len(s) for g in played for s in g.kept.values()) < trainer.steps
    # 9 steps a game: with batches of 8 one step would be left over and its advantages would be divided by nothing
    trainer, _, seen = rolled(lambda: Toy(3), [], n_steps=2, batch_size=8, copies=1)
    assert len(seen["rewards"]) == 9 and np.isfinite(weights(trainer)).all()
    shown = evaluate_games(make_team("random", Breaks(3)), lambda: Breaks(3), 10)
    assert shown.invalid > 0 and shown.episodes + shown.invalid == 10


def test_actions_of_any_space_and_masks_reach_the_buffer():
    class Floats(Cued):
        def __init__(self):
            super().__init__()
            box = gym.spaces.Box(-1, 1, (2,), np.float32)
            self.spaces = {a: (self.spaces[a][0], box) for a in self.possible_agents}

        def step(self, actions):
            assert all(x in self.action_space(a) for a, x in actions.items())
            return super().step(dict.fromkeys(actions, 0))

    trainer = GamePPO("independent_ppo", Floats, seed=1, **SMALL)
    trainer.learn(64)
    assert type(trainer.policies["toy_0"].model).__name__ == "PPO"
    trainer = GamePPO("shared_ppo", lambda: negotiation_v0.parallel_env(**NEGOTIATION), n_steps=32, copies=2)
    trainer.learn(32)
    buffer = trainer.policies["all"].model.rollout_buffer
    chosen = buffer.actions.astype(int).ravel()
    assert type(trainer.policies["all"].model).__name__ == "MaskablePPO"
    masks = buffer.action_masks.reshape(len(chosen), -1)
    assert masks[np.arange(len(chosen)), chosen].all() and not masks.all()


# -- trainers -------------------------------------------------------------------------------------
def test_independent_networks_learn_each_its_own():
    trainer = GamePPO("independent_ppo", Cued, n_steps=256, learning_rate=1e-2, gamma=0.5)
    assert list(trainer.policies) == ["toy_0", "toy_1"]
    before = evaluate_games(trainer.team(), Cued, 100, 9)
    got = trainer.learn(2500)[0]
    after = evaluate_games(trainer.team(), Cued, 100, 9)
    assert before.env_return < 4.0 < 5.4 < after.env_return <= 6.0  # chance 3, best 6
    assert after.success > 0.85 and after.measures["share"] == pytest.approx(after.env_return / 6)
    assert got["env_return"] == got["shaped_return"] > 5.0 and "toy_1/train/loss" in got


def test_one_network_for_all_tells_agents_apart_by_the_indicator_alone():
    def end(**more):
        trainer = GamePPO("shared_ppo", Apart, n_steps=256, learning_rate=1e-2, gamma=0.5, **more)
        trainer.learn(1500)
        return evaluate_games(trainer.team(), Apart, 50).env_return

    assert end(indicator=True) > 5.4 and end() < 4.2  # 3 is all that one policy for both can expect


def test_shared_ppo_bargains_better_than_chance_on_held_out_domains():
    def test():
        return negotiation_v0.parallel_env(**NEGOTIATION, split="test")

    settings = {"n_steps": 512, "batch_size": 128, "learning_rate": 3e-3, "gamma": 0.95, "copies": 16}
    trainer = GamePPO("shared_ppo", lambda: negotiation_v0.parallel_env(**NEGOTIATION), **settings)
    trainer.learn(3000)
    chance = evaluate_games(make_team("random", test()), test, 100)
    got = evaluate_games(trainer.team(), test, 100)
    assert got.measures["nash"] > 1.4 * chance.measures["nash"]
    assert got.measures["agreement"] > chance.measures["agreement"]
    assert set(got.measures) == {"agreement", "nash", "pareto", "welfare"}


def test_opponents_keep_their_seats_and_only_the_others_learn():
    trainer = GamePPO("shared_ppo", Bids, agents=["toy_1"], opponents="script:high", **SMALL)
    played = trainer.rollout()
    assert all(list(g.kept) == ["toy_1"] and g.returns["toy_0"] >= 1.5 for g in played)
    shown = evaluate_games(trainer.team(), Bids, 5, judged=["toy_1"])
    assert (
        shown.env_return
        == shown.agents["toy_1"]["env_return"]
        == pytest.approx(3 - shown.agents["toy_0"]["env_return"])
    )


def test_what_cannot_be_trained_is_one_sentence():
    def text():
        return negotiation_v0.parallel_env()

    class Unequal(Cued):
        def __init__(self):
            super().__init__()
            self.spaces["toy_1"] = (gym.spaces.Box(0, 1, (5,), np.float32), self.spaces["toy_1"][1])

    for name, make, more, said in (
        ("shared_ppp", Cued, {}, "did you mean 'shared_ppo'"),
        ("shared_ppo", Unequal, {}, "toy_0 and toy_1 differ: pad them"),
        ("shared_ppo", text, {}, "use the game's encoded face"),
        ("shared_ppo", Cued, {"agents": ["toy_0"]}, "nobody plays toy_1"),
        ("shared_ppo", Cued, {"agents": ["toy_5"]}, "no agent 'toy_5'"),
        ("shared_ppo", Cued, {"opponents": "random"}, "here all do"),
        ("shared_ppo", Cued, {"layers": [{"shaper": "grpo"}]}, "grpo gives advantages"),
        ("shared_ppo", Cued, {"every": 3}, "has no setting 'every'"),
        ("selfplay_ppo", Cued, {"pick": "best"}, "allowed: 'uniform', 'elo'"),
        ("independent_ppo", Cued, {"indicator": True}, "here each has its own"),
        ("shared_ppo", Cued, {"copies": 0}, "copies is 0"),
    ):
        with pytest.raises(ValueError, match=said):
            GamePPO(name, make, **more)
    with pytest.raises(ValueError, match="without shaping"):
        evaluate_games(make_team("random", Cued()), lambda: shape(Cued(), [Clip()]))


def test_a_team_comes_back_from_its_checkpoint_and_goes_on(tmp_path):
    trainer = GamePPO("selfplay_ppo", Bids, [Uniform()], seed=2, indicator=True, every=1, **SMALL)
    trainer.learn(200)
    path = tmp_path / "team.pt"
    trainer.save(path)
    player = load_players(path, Bids(), seed=4)
    check_player(player, Bids())
    back = make_team(str(path), Bids(), 4)
    assert evaluate_games(back, Bids, 20, 7) == evaluate_games(trainer.team(), Bids, 20, 7)
    again = GamePPO.load(path, Bids, [Uniform()])
    assert again.steps == trainer.steps and np.array_equal(weights(again), weights(trainer))
    assert again.league.steps == trainer.league.steps and np.array_equal(again.league.points, trainer.league.points)
    again.learn(100)
    assert again.steps >= trainer.steps + 100 and not np.array_equal(weights(again), weights(trainer))
    with pytest.raises(ValueError, match="of a game with other spaces"):
        load_players(path, Cued())
    (tmp_path / "not.pt").write_text("no")
    with pytest.raises(ValueError, match=r"not.pt is no checkpoint"):
        make_player(str(tmp_path / "not.pt"), Bids())
    with pytest.raises(ValueError, match="has the layers"):
        GamePPO.load(path, Bids, [Clip()])


# -- self-play --------------------------------------------------------------------------------------
def test_a_later_self_has_the_higher_elo_and_the_league_repeats_by_its_seed():
    settings = {"n_steps": 128, "batch_size": 64, "learning_rate": 5e-3, "gamma": 0.5, "every": 2, "copies": 4}
    found = []
    for seed in (1, 1, 2):
        first = GamePPO("selfplay_ppo", Bids, seed=seed, **settings)
        first.learn(500)
        found.append((weights(first), first.league.points))
    (a, x), (b, y), (c, _) = found
    assert np.array_equal(a, b) and not np.array_equal(a, c) and np.array_equal(x, y) and x.sum() > 10
    first.learn(700)
    found = first.ladder(Bids, 20)
    assert found.names[0] == "0 steps" and len(found.names) == 5
    assert found.elo[0].high < found.elo[-1].low  # the beginner against the last
    assert found.returns[-1][0] > 2.0 > 1.0 > found.returns[0][-1]  # three points are shared in a game


def test_the_learning_seat_rotates_and_in_games_against_itself_all_learn():
    trainer = GamePPO("selfplay_ppo", Bids, latest=0.5, seed=0, **SMALL)
    played = trainer.rollout()
    against_past = [g for g in played if trainer.against[g.number] is not None]
    assert 0 < len(against_past) < len(played)
    for g in played:
        seats = ["toy_0", "toy_1"] if trainer.against[g.number] is None else [f"toy_{g.number % 2}"]
        assert sorted(g.kept) == seats
    assert {a for g in against_past for a in g.kept} == {"toy_0", "toy_1"}


def test_the_league_draws_by_elo_and_forgets_all_but_the_first_and_the_newest():
    league = League(latest=0.0, pick="elo", size=3, seed=1)
    for k in range(5):
        league.add({"w": k}, 10 * k)
    assert [w["w"] for w in league.past] == [0, 3, 4] and league.steps == [0, 30, 40] and league.points.shape == (4, 4)
    for _ in range(20):
        league.record(0, 1.0)  # the first always loses to the current one, the last always wins
        league.record(2, 0.0)
    first, _, last = league.chances()
    assert first < 0.1 and last > 0.5 and league.chances().sum() == pytest.approx(1.0)
    drawn = [league.draw() for _ in range(200)]
    assert drawn.count(2) > 100 > drawn.count(0)
    copy = League(latest=0.0, pick="elo", size=3, seed=9)
    copy.load_state_dict(league.state_dict())
    assert [copy.draw() for _ in range(20)] == [league.draw() for _ in range(20)]
    assert League(latest=1.0).draw() is None and League(pick="uniform").chances().size == 0


def test_elo_by_hand():
    """Three points to one: the likelihood is largest at P = 3/4, so 10^(d/400) = 3 and d = 400 log10 3 = 190.85."""
    games = [(0, 1, 1.0), (1, 0, 0.0), (0, 1, 0.5), (0, 1, 0.5)]  # two won and two drawn are three of four
    a, b = elo.ratings(games, 2, prior=1e-9)
    assert a.elo - b.elo == pytest.approx(400 * np.log10(3), abs=1e-3) and a.elo + b.elo == pytest.approx(2000)
    assert a.low <= a.elo <= a.high and elo.expected(a.elo, b.elo) == pytest.approx(0.75, abs=1e-6)
    # all won: with one game drawn with the phantom, p0 = (1 + 1/2) / (1/(p0 + p1) + 1/(p0 + 1)); by symmetry p1 = 1/p0:
    # with p = p0, (3/2) = p^2/(p^2 + 1) + p/(p + 1), so p^3 - p^2 - p - 3 = 0, p = 2.1304
    a, b = elo.ratings([(0, 1, 1.0)], 2)
    assert a.elo - b.elo == pytest.approx(800 * np.log10(2.1304), abs=0.05)
    with pytest.raises(ValueError, match="no game of 2 players"):
        elo.ratings([(0, 2, 1.0)], 2)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.sampled_from([0.0, 0.5, 1.0])), max_size=30))
def test_elo_does_not_depend_on_the_order_of_games_and_points_decide_at_the_maximum(games):
    games = [g for g in games if g[0] != g[1]]
    first, again = elo.ratings(games, 4, draws=0), elo.ratings(games[::-1], 4, draws=0)
    assert [r.elo for r in first] == pytest.approx([r.elo for r in again])
    points = np.zeros((4, 4))
    for i, j, s in games:
        points[i, j], points[j, i] = points[i, j] + s, points[j, i] + 1 - s
    # at the maximum each player's expected points are those that it has (the phantom's strength is free of the mean)
    r = elo.fit(points, prior=1e-6)
    for i in range(4):
        played = points[i] + points[:, i]
        assert sum(n * elo.expected(r[i], x) for n, x in zip(played, r)) == pytest.approx(points[i].sum(), abs=1e-3)


def test_cross_play_sets_each_player_alone_against_each_other():
    env = Bids()
    players = {"high": make_player("script:high", env), "random": make_player("random", env)}
    found = cross_play(players, Bids, 20, 3)
    assert found.scores[0] == [0.5, 1.0] and found.returns[0][0] == 1.5 and found.returns[0][1] > 2.2
    assert found.elo[0].low > found.elo[1].high and found.scores[1][0] < 0.2
    rows, measures = duel(players["high"], players["random"], Bids, 10)
    assert len(rows) == 10 and 0.5 < measures["bids"] < 1.0
    json.dumps(found.as_dict(), allow_nan=False)
    with pytest.raises(ValueError, match="at least two are needed"):
        cross_play(players, Bids, 2, agents=["toy_0"])
