"""Bargaining: hand-played games, files of others, actions of every form."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.envs.multiagent.negotiation import Domain, Negotiation, Table, _best
from milepost.envs.registry import games  # noqa: F401  the table knows the game without PettingZoo

A, B, C = "party_0", "party_1", "party_2"
# two issues of two options; party 0 wants a high price (0.6) and a week (0.4), party 1 a low price (0.3) and express (0.7)
DOMAIN = Domain(
    ("price", "delivery"),
    (("low", "high"), ("express", "week")),
    (((0.0, 0.6), (0.0, 0.4)), ((0.3, 0.0), (0.7, 0.0))),
    (0.0, 0.0),
)


def table(domain=DOMAIN, **settings):
    """A game whose task is ``domain``."""
    game = Negotiation(**settings)
    game._begin = lambda task: Table(domain)
    game.reset(seed=0)
    return game


def cycle(game, *actions):
    for agent, action in zip(game.possible_agents, actions):
        game.act(agent, action)
    game.end_cycle()


def test_a_bargain_by_hand():
    """Products: low+express 0 x 1; low+week 0.4 x 0.3; high+express 0.6 x 0.7 = 0.42, the largest; high+week 1 x 0."""
    game = table(weights={"team_nash": 1.0, "team_welfare": 2.0})
    best = _best(DOMAIN)
    assert best.deal == (1, 0) and best.nash == pytest.approx(0.42) and best.welfare == pytest.approx(1.3)
    cycle(game, "offer price=high, delivery=week", "offer price=low, delivery=express")
    assert "Newest offer to you, 2: price=low, delivery=express (worth 0.00 to you)." in game.look(A)
    assert game.infos[A]["progress"] == 0.0 and game.agents == [A, B]
    cycle(game, "offer price=low, delivery=week", "accept 1")  # 1 was replaced before party 1 could take it
    assert game.infos[B]["valid_action"] is False
    assert game.infos[B]["message"] == "offer 1 is not on the table for you"
    assert game.infos[A]["progress"] == pytest.approx(0.5 * 0.12 / 0.42)
    cycle(game, "wait", "accept 3")
    assert game.agents == [] and game.terminations == {A: True, B: True}
    # worths 0.4 and 0.3; product 0.12 of 0.42; sum 0.7 of 1.3
    for agent, worth in ((A, 0.4), (B, 0.3)):
        terms = game.infos[agent]["reward_terms"]
        expected = {"utility": worth, "team_nash": 0.12 / 0.42, "team_welfare": 2 * 0.7 / 1.3}
        assert terms == pytest.approx(expected) and game.rewards[agent] == pytest.approx(sum(expected.values()))
        assert not game.infos[agent]["success"] and not game.infos[agent]["pareto"]  # high+express is better for both
        assert game.infos[agent]["agreement"] and game.infos[agent]["progress"] == 1.0


def test_rounding_makes_no_deal_efficient():
    """low+express and high+week are both worth 0.3 to party 0 (0.1 + 0.2 is a little more), the second more to party 1."""
    domain = DOMAIN._replace(values=(((0.1, 0.3), (0.2, 0.0)), ((0.5, 0.6), (0.0, 0.0))))
    game = table(domain)
    cycle(game, "offer price=low, delivery=express", "accept 1")
    assert game.world.deal == (0, 0) and game.infos[A]["pareto"] is False
    assert domain.worth(0, (0, 0)) > domain.worth(0, (1, 1))  # by 5.6e-17


def test_the_oracle_makes_no_deal_that_is_worse_than_none():
    """The largest product is 0.6 x 0.7: with 0.65 for walking away party 0 would lose, whatever is agreed on."""
    game = table(DOMAIN._replace(walk_away=(0.65, 0.65)), max_cycles=2)
    assert [game.script(a) for a in (A, B)] == ["wait", "wait"]
    assert table().script(A) == "offer price=high, delivery=express"


def test_who_walks_away_has_what_that_is_worth():
    game = table(DOMAIN._replace(walk_away=(0.25, 0.25)), max_cycles=2, walk_away=0.25)
    for _ in range(2):
        cycle(game, "wait", "")
    assert game.truncations == {A: True, B: True} and game.rewards == {A: 0.25, B: 0.25}
    assert game.infos[A]["nash"] == 0.0 and not game.infos[A]["success"]
    assert game.infos[B]["valid_action"] is False and game.infos[A]["valid_action"]


def test_three_parties_need_everybody():
    game = Negotiation(parties=3)
    game.reset(seed=1)
    first = game._choices(A)[0]
    cycle(game, first, "accept 1", "wait")
    assert game.world.deal is None and game.agents == [A, B, C]
    cycle(game, "accept 1", "wait", "accept 1")  # one's own offer cannot be accepted
    assert game.infos[A]["valid_action"] is False and game.world.deal is not None and game.agents == []
    game.reset(seed=1)
    while game.agents:
        cycle(game, *(game.script(a) for a in game.possible_agents))
        if game.agents:
            continue
    assert all(game.infos[a]["success"] for a in game.possible_agents)


def test_objects_are_actions_too():
    said = []
    for actions in (
        ("offer price=high, delivery=express", "accept 1"),
        ({"offer": {"price": "high", "delivery": "express"}}, {"accept": 1}),
        ('{"offer": {"delivery": "express", "price": "high"}}', '{"accept": "1"}'),
    ):
        game = table()
        cycle(game, *actions)
        said.append((game.rewards, game.infos[A]["success"]))
    assert said == [({A: 0.6, B: 0.7}, True)] * 3
    game = table()
    cycle(game, {"say": "shall we?"}, "say no")
    assert "- party_0: shall we?" in game.look(B) and "- party_1: no" in game.look(A)


@pytest.mark.parametrize(
    ("action", "said"),
    [
        ("offer price=high", "an offer names every issue; missing: delivery"),
        ("offer price=high, colour=red", "there is no issue 'colour'; issues: price, delivery"),
        ("offer price=huge, delivery=week", "price cannot be 'huge'; options: low, high"),
        ("accept 7", "offer 7 is not on the table for you"),
        ("accept \u0663", "offer \u0663 is not on the table for you"),
        ("please", "say offer, accept, say or wait"),
    ],
)
def test_what_cannot_be_done_says_why(action, said):
    game = table()
    cycle(game, action, "wait")
    assert game.infos[A]["valid_action"] is False and said in game.infos[A]["message"] and said in game.look(A)
    assert not game.world.offers


WORDS = (
    "offer",
    "accept",
    "say",
    "price=high",
    "delivery=week,",
    "{",
    '"offer":',
    "1",
    "-1",
    "9" * 40,
    "=",
    ",",
    "é😀",
    "\x00",
)


@given(st.one_of(st.text(max_size=200), st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join)))
def test_no_text_breaks_the_table(text):
    game = table()
    before = game.snapshot()["world"]
    cycle(game, text, "wait")
    assert game.agents and len(game.world.offers) <= 1 and len(game.world.said) <= 1
    if not game.infos[A]["valid_action"]:
        assert (game.world.offers, game.world.said) == (before.offers, before.said)


def test_a_huge_or_deep_text_is_answered():
    game = table()
    cycle(game, "say " + "x" * 10_000_000, '{"offer":' * 5000)
    assert len(game.world.said[0]) < 500 and game.infos[B]["valid_action"] is False
    deep = {}
    for _ in range(5000):
        deep = {"offer": deep}
    with pytest.raises(TypeError, match="a mapping that JSON can hold"):
        game.act(A, deep)


def test_what_others_value_is_not_shown():
    other = ((0.0, 0.6), (0.0, 0.4)), ((0.9, 0.0), (0.0, 0.1))
    first, second = table(), table(DOMAIN._replace(values=other))
    for game in (first, second):
        cycle(game, "offer price=high, delivery=week", "offer price=low, delivery=express")
    assert first.look(A) == second.look(A) and first.choices(A) == second.choices(A)
    assert np.array_equal(first._measures(A, first.choices(A)), second._measures(A, second.choices(A)))


@pytest.mark.parametrize("opposed", [0.0, 0.5, 1.0])
def test_own_domains_are_sound(opposed):
    game = Negotiation(opposed=opposed, issues=4, choices=4)
    for seed in range(20):
        game.reset(seed=seed)
        domain = game.world.domain
        for party in range(2):
            best = max(domain.worth(party, d) for d in domain.deals())
            assert best == pytest.approx(1.0) and min(map(min, domain.values[party])) >= 0.0
        assert _best(domain).nash > 0.0


def test_who_is_not_there_waits_on_the_face_of_numbers():
    """One offers, then the other accepts: without the yes there is no deal, without who waits there is."""
    pytest.importorskip("pettingzoo", reason="the extra multiagent is not installed")
    from milepost.envs.multiagent.negotiation_v0 import parallel_env
    from milepost.wrappers.collect.counterfactual import Counterfactual, waits

    env = Counterfactual(parallel_env(face="encoded"), default=waits)
    obs, infos = env.reset(seed=0)
    obs, _, *_, infos = env.step({A: env.unwrapped.script(A), B: waits(B, obs[B], infos[B])})
    obs, rewards, *_, infos = env.step({A: waits(A, obs[A], infos[A]), B: env.unwrapped.script(B)})
    assert env.agents == [] and infos[A]["team_reward"] == pytest.approx(sum(rewards.values())) and rewards[A] > 0
    assert infos[A]["counterfactual"] == pytest.approx(sum(rewards.values())) and infos[B]["counterfactual"] == 0.0
    with pytest.raises(ValueError, match="party_0 cannot wait by its admissible actions"):
        waits(A, obs[A], {})


CASINO = [
    {
        "participant_info": {
            "mturk_agent_1": {"value2issue": {"High": "Food", "Medium": "Water", "Low": "Firewood"}},
            "mturk_agent_2": {"value2issue": {"High": "Firewood", "Medium": "Water", "Low": "Food"}},
        }
    }
]
DEALS = "<input> 1 4 4 1 1 2 </input> <dialogue> x </dialogue> <partner_input> 1 0 4 2 1 2 </partner_input>\n"


def test_casinos_files(tmp_path):
    """Three packages each for 5, 4, 3 points, in all 36. Food 3-0, water 2-1, firewood 0-3: 15 + 8 = 23 and 15 + 4 = 19."""
    path = tmp_path / "casino.json"
    path.write_text(json.dumps(CASINO * 2))
    game = Negotiation(path=str(path))
    game.reset(seed=0)
    assert len(game.scenarios) == 1 and game.world.domain.issues == ("firewood", "food", "water")
    cycle(game, "offer food=3-0, water=2-1, firewood=0-3", "accept 1")
    assert game.rewards == pytest.approx({A: 23 / 36, B: 19 / 36})


def test_deal_or_no_deals_files(tmp_path):
    """Counts 1, 4, 1 worth 4, 1, 2 and 0, 2, 2: 10 in all. Book and ball to the first: 4 + 2; hats to the second: 8."""
    path = tmp_path / "train.txt"
    path.write_text(DEALS)
    game = Negotiation(path=str(path))
    game.reset(seed=0)
    cycle(game, "offer book=1-0, hat=0-4, ball=1-0", "accept 1")
    assert game.rewards == pytest.approx({A: 0.6, B: 0.8})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no scenario"),
        ("[{}]", "entry 0: no CaSiNo dialogue"),
        ("{", "is no JSON"),
        ("<input> 1 4 4 1 </input>", "line 1: no scenario of Deal or No Deal"),
        ("<input> 1 2 3 ² 1 1 </input> <partner_input> 1 2 3 1 1 1 </partner_input>", "line 1: no scenario of Deal"),
        ('[{"participant_info": {"a": {"value2issue": {"Low": "Food"}}}}]', "entry 0: .* 1 participants"),
    ],
)
def test_other_files_are_refused(tmp_path, text, said):
    path = tmp_path / "file"
    path.write_text(text)
    with pytest.raises(ValueError, match=said):
        Negotiation(path=str(path))
    with pytest.raises(OSError, match="missing"):
        Negotiation(path=str(tmp_path / "missing"))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"parties": 4}, "parties is 4"),
        ({"issues": 1}, "issues is 1"),
        ({"choices": True}, "choices is True"),
        ({"opposed": 1.5}, "opposed is 1.5"),
        ({"walk_away": float("nan")}, "walk_away is nan"),
        ({"listed": 0}, "listed is 0"),
        ({"parties": 3, "path": "x"}, "parties is 3"),
        ({"issus": 2}, "did you mean 'issues'"),
    ],
)
def test_wrong_settings_are_named(wrong, said):
    with pytest.raises(ValueError, match=said):
        Negotiation(**wrong)


@pytest.mark.parametrize("settings", [{}, {"opposed": 1.0}, {"parties": 3}])
def test_by_default_every_deal_is_a_row_so_that_scripts_can_play_the_encoded_face(settings):
    """3 issues with 3 options make 27 deals; with 16 rows the oracle's was missing in 4 to 20 of 100 games."""
    pytest.importorskip("pettingzoo", reason="the extra multiagent is not installed")
    from milepost.envs.multiagent.negotiation_v0 import parallel_env

    env = parallel_env(face="encoded", **settings)
    for task in range(60):
        env.reset(options={"task": task})
        for policy in ("oracle", "collusion", "stubborn"):
            assert {env.script(a, policy) for a in env.agents} <= set(range(27))
