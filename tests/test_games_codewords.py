"""Codewords: rules by hand, boards that can be won, clues that are refused, secrets, scripts, wild actions."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("pettingzoo", reason="the extra multiagent is not installed")

from milepost.envs.multiagent.codewords import Codewords
from milepost.envs.multiagent.codewords_v0 import parallel_env
from milepost.envs.multiagent.codewords_words import TRUE_OF, WORDS
from milepost.envs.multiagent.codewords_world import ASSASSIN, NEUTRAL, Board, deal, legal
from milepost.envs.text.base import TEST

pytestmark = pytest.mark.multiagent

# fruit is true of apple, pear and lemon; juicy of the same; mammal of lion and cow; wheels of tractor and taxi
WORDS_HERE = ("apple", "lemon", "pear", "cow", "lion", "tractor", "taxi", "igloo")
KEY = (0, ASSASSIN, 0, NEUTRAL, 0, NEUTRAL, NEUTRAL, NEUTRAL)


def by_hand(key=KEY, **settings):
    """A game on the board above."""
    game = Codewords(**{"words": 8, "targets": 3} | settings)
    game.reset(options={"task": 0})
    return put(game, Board(WORDS_HERE, key, clues={t: [] for t in range(game.teams)}))


def put(game, world):
    """Another state."""
    game._load(world)
    game._seen = {}  # what was shown of the old one
    return game


def cycle(game, *actions):
    """One cycle: who did something that was possible."""
    agents = list(game.agents)
    for agent, action in zip(agents, actions, strict=True):
        game.act(agent, action)
    game.end_cycle()
    return [game.infos[a]["valid_action"] for a in agents]


def play(game, policy, task):
    """A whole game by a script: returns and last infos."""
    game.reset(options={"task": task})
    returns, last = dict.fromkeys(game.possible_agents, 0.0), {}
    while game.agents:
        agents = list(game.agents)
        for a in agents:
            game.act(a, "wait" if policy is None else game.script(a, policy))
        game.end_cycle()
        for a in agents:
            returns[a] += game.rewards[a]
        last |= game.infos
    return returns, last


def test_a_game_by_hand():
    game = by_hand(weights={"team_found": 3.0})
    # two hidden words are fruit, so "fruit 3" is refused; then no clue stands, so no guess
    assert cycle(game, "clue fruit 3", "guess apple") == [False, False]
    assert game.infos["spymaster_0"]["message"] == "the number of fruit is from 1 to 2"
    assert game.infos["guesser_0"]["message"] == "no clue stands"
    assert cycle(game, "clue fruit 2", "guess apple") == [True, True]
    # one of three words, times the weight 3
    assert game.rewards == {"spymaster_0": 1.0, "guesser_0": 1.0}
    assert game.infos["guesser_0"]["progress"] == pytest.approx(1 / 3)
    # one of two guesses is made: no new clue yet; cow is nobody's and ends the clue
    assert cycle(game, "clue mammal 1", "guess cow") == [False, True]
    assert game.world.clue == {} and game.rewards["guesser_0"] == 0.0
    # pear is the only fruit left, so 2 is refused, 1 is not
    assert cycle(game, "clue fruit 2", "wait") == [False, True]
    assert cycle(game, "clue fruit 1", '{"guess": "pear"}') == [True, True]
    # one guess more than the number may be made, and a new clue can be given already
    assert "at most 2. A new one can be given." in game.look("spymaster_0").splitlines()[0]
    assert cycle(game, {"clue": "mammal 1"}, "guess lion") == [True, True]
    # the last third, and the game is won: 1.0 + 3 / 3
    assert game.rewards == {"spymaster_0": 2.0, "guesser_0": 2.0} and game.agents == []
    assert all(game.terminations.values())
    info = game.infos["spymaster_0"]
    assert (info["success"], info["score"], info["max_score"], info["progress"]) == (True, 3.0, 3.0, 1.0)
    assert info["reward_terms"] == {"outcome": 0.0, "found": 0.0, "team_outcome": 1.0, "team_found": 1.0}


def test_the_assassin_ends_the_game():
    game = by_hand()
    cycle(game, "clue fruit 2", "guess lemon")
    assert game.agents == [] and all(game.terminations.values())
    info = game.infos["guesser_0"]
    assert (info["success"], info["assassin"], game.rewards["guesser_0"]) == (False, True, 0.0)
    assert "your team has lost, the assassin was touched" in game.look("guesser_0")


def test_one_guess_more_than_the_number_and_passing():
    game = by_hand()
    assert cycle(game, "clue juicy 1", "guess apple") == [True, True]
    assert cycle(game, "wait", "guess lion") == [True, True]  # the extra guess, right as well
    assert game.world.clue == {}
    assert cycle(game, "wait", "guess pear") == [True, False]
    assert cycle(game, "clue juicy 1", "pass fruit") == [True, False]  # another clue than the one that stands
    assert cycle(game, "wait", "pass juicy") == [True, True]
    assert game.world.clue == {} and game.world.clues[0] == ["juicy 1", "juicy 1"]
    assert cycle(game, "clue fruit 1", "guess apple") == [True, False]  # touched already


@pytest.mark.parametrize(
    ("clue", "why"),
    [
        ("apple 1", "no listed clue word"),  # on the board
        ("app 1", "no listed clue word"),
        ("bananas 1", "no listed clue word"),
        ("fruit", "one word and a number"),
        ("fruit two", "one word and a number"),
        ("fruit ²", "one word and a number"),
        ("fruit -1", "one word and a number"),
        ("fruit 1 2", "one word and a number"),
        ("fruit 0", "from 1 to 2"),
        ("fruit 99", "from 1 to 2"),
        ("wheels 1", "true of none"),  # of tractor and taxi alone, which are nobody's
    ],
)
def test_clues_that_are_refused(clue, why):
    game = by_hand()
    assert cycle(game, f"clue {clue}", "wait") == [False, True]
    assert why in game.infos["spymaster_0"]["message"] and why in game.look("spymaster_0")
    assert game.world.clue == {} and game.world.clues[0] == []


@pytest.mark.parametrize(
    ("clue", "fine"),
    [
        ("orchard 2", True),
        ("orchard 4", False),  # three words are hidden
        ("apple 1", False),  # on the board
        ("app 1", False),  # part of apple
        ("pearl 1", False),  # holds pear
        ("APPLES 1", False),  # holds apple, in any case
        ("é 1", False),
        ("a 1", False),
        ("a-b 1", False),
    ],
)
def test_open_clues(clue, fine):
    game = by_hand(clues="any")
    assert cycle(game, f"clue {clue}", "wait") == [fine, True]


def test_a_listed_clue_word_on_the_board_is_refused():
    game = by_hand()
    put(game, Board((*WORDS_HERE[:-1], "fruit"), KEY, clues={0: []}))
    assert cycle(game, "clue fruit 1", "wait") == [False, True]
    assert "is on the board" in game.infos["spymaster_0"]["message"]
    assert not any("clue fruit" in c for c in game.choices("spymaster_0"))


def test_each_does_its_own():
    game = by_hand()
    assert cycle(game, "guess apple", "clue fruit 2") == [False, False]
    assert cycle(game, "pass fruit", "say hello") == [False, False]


RACE = (0, ASSASSIN, 0, NEUTRAL, 1, NEUTRAL, 0, NEUTRAL)  # team 0: apple, pear, taxi; team 1: lion


def test_a_race():
    game = by_hand(RACE, teams=2, weights={"found": 3.0})
    assert game.possible_agents == ("spymaster_0", "spymaster_1", "guesser_0", "guesser_1")
    # team 1 may give its own clue in the same cycle; it passes nothing on to team 0
    assert cycle(game, "clue fruit 2", "clue mammal 1", "guess pear", "wait") == [True] * 4
    assert game.rewards == {"spymaster_0": 1.0, "spymaster_1": 0.0, "guesser_0": 1.0, "guesser_1": 0.0}
    assert "Your team's clues: mammal 1." in game.look("guesser_1")
    cycle(game, "wait", "wait", "wait", "guess lion")
    assert game.agents == [] and game.rewards["guesser_1"] == 4.0 and game.rewards["guesser_0"] == 0.0
    assert [game.infos[a]["success"] for a in game.possible_agents] == [False, True, False, True]
    terms = game.infos["spymaster_1"]["reward_terms"]
    assert terms == {"outcome": 1.0, "found": 3.0, "team_outcome": 0.0, "team_found": 0.0}


@pytest.mark.parametrize(("word", "winner"), [("lion", 1), ("lemon", 1)])
def test_a_team_can_lose_a_race_by_its_own_guess(word, winner):
    # lion is team 1's only word, lemon the assassin
    game = by_hand(RACE, teams=2)
    cycle(game, "clue fruit 2", "wait", f"guess {word}", "guess apple")
    assert game.world.winner == winner and game.rewards["guesser_1"] == 1.0 and game.rewards["guesser_0"] == 0.0
    assert game.infos["guesser_1"]["valid_action"] is False  # nothing happens behind the end


def test_the_words_and_what_is_true_of_them():
    assert len(WORDS) >= 300 and len(set(WORDS)) == len(WORDS)
    assert all(w.isascii() and w.isalpha() and w.islower() for w in (*WORDS, *TRUE_OF))
    assert min(sum(w in of for of in TRUE_OF.values()) for w in WORDS) >= 3
    assert min(len(of) for of in TRUE_OF.values()) >= 3
    assert len(set(TRUE_OF.values())) == len(TRUE_OF)  # no two clue words say the same
    assert legal("fruit", ("apple", "pear")) and not legal("pet", ("carpet",)) and not legal("wheels", ("wheel",))


@pytest.mark.parametrize("sizes", [(16, (6,), 1), (8, (2,), 0), (25, (9, 8), 3), (20, (9, 8), 3), (25, (9,), 0)])
def test_every_board_can_be_won_by_who_knows_the_data(sizes):
    size, teams, assassins = sizes
    for task in range(20):
        words, key = deal(np.random.default_rng(task), size, teams, assassins)
        assert len(set(words)) == size and set(words) <= set(WORDS)
        assert [key.count(t) for t in range(len(teams))] == list(teams) and key.count(ASSASSIN) == assassins
        for team in range(len(teams)):
            mine = {w for w, k in zip(words, key) if k == team}
            clean = [of for c, of in TRUE_OF.items() if legal(c, words) and not of.intersection(set(words) - mine)]
            assert mine <= frozenset().union(*clean)


def test_worlds_of_tasks_and_splits():
    def world(task, **settings):
        game = Codewords(**settings)
        game.reset(seed=1, options={"task": task})
        return game.world.words, game.world.key

    assert world(7) == world(7) and world(7) != world(8)
    assert world(7) != world(TEST + 7, split="test")
    for task, sizes in ((6, (6, 5)), (7, (5, 6))):  # one team has one word less, each in turn
        key = world(task, teams=2)[1]
        assert (key.count(0), key.count(1)) == sizes


def test_the_guesser_does_not_know_the_key():
    game = Codewords()
    game.reset(options={"task": 3})
    first = game.script("spymaster_0")
    game.act("spymaster_0", first)
    game.act("guesser_0", game.script("guesser_0"))
    game.end_cycle()

    def seen():
        game._seen = {}
        choices = game.choices("guesser_0")
        info = game.info("guesser_0")
        return (
            game.look("guesser_0"),
            choices,
            game._measures("guesser_0", choices).tolist(),
            game._gauges("guesser_0"),
            info,
        )

    before, master = seen(), game.look("spymaster_0")
    hidden = [i for i, w in enumerate(game.world.words) if w not in game.world.open]
    rng = np.random.default_rng(0)
    for _ in range(10):
        key = list(game.world.key)
        for i, j in zip(hidden, rng.permutation(hidden)):
            key[i] = game.world.key[j]
        game.world.key = tuple(key)
        assert seen() == before
    assert game.look("spymaster_0") != master


def test_measures_of_a_row():
    game = by_hand()
    rows = ("clue fruit 2", "clue mammal 1", "wait")
    # fruit: two of three words of the team, one of five others (lemon), the assassin; mammal: one of three, cow of five
    want = [[1, 2 / 3, 1 / 5, 1, 0, 0, 0, 0], [1, 1 / 3, 1 / 5, 0, 0, 0, 0, 0], [0] * 8]
    assert game._measures("spymaster_0", rows) == pytest.approx(np.array(want))
    cycle(game, "clue mammal 1", "guess cow")
    cycle(game, "clue fruit 2", "wait")
    # fruit is true of apple, one of the two clues is; mammal was true of lion, one of the two is
    want = [[0, 0, 0, 0, 1, 1, 0.5, 0], [0, 0, 0, 0, 1, 0, 0.5, 0], [0] * 7 + [1]]
    assert game._measures("guesser_0", ("guess apple", "guess lion", "pass fruit")) == pytest.approx(np.array(want))
    # cycle 2 of 20, nothing found, a clue stands, three guesses left, no spymaster
    assert game._gauges("guesser_0") == pytest.approx((0.1, 0.0, 1.0, 0.3, 0.0))


@pytest.mark.parametrize("settings", [{}, {"teams": 2}, {"words": 25, "targets": 9, "assassins": 3}, {"clues": "any"}])
def test_the_oracle_always_wins_and_waiting_earns_nothing(settings):
    game = Codewords(**settings)
    for task in range(15):
        returns, last = play(game, "oracle", task)
        assert all(returns[a] == 1.0 and last[a]["success"] for a in game.side())
        assert all(returns[a] == 0.0 for a in game.possible_agents if a not in game.side())
    returns, last = play(game, None, 0)
    assert set(returns.values()) == {0.0} and not any(i["success"] for i in last.values())
    assert all(game.truncations.values()) and game.cycle == 20


def test_collusion_is_refused_and_a_novice_does_worse():
    game = Codewords()
    wins = 0
    for task in range(40):
        returns, last = play(game, "collusion", task)
        assert set(returns.values()) == {0.0} and not last["spymaster_0"]["valid_action"]
        wins += play(game, "novice", task)[1]["guesser_0"]["success"]
    assert 10 <= wins < 40
    game = Codewords(clues="any")  # nobody can tell a code from a clue, but it earns no more than the oracle
    assert all(set(play(game, "collusion", task)[0].values()) == {1.0} for task in range(10))


def test_random_play_seldom_wins():
    game, rng, wins = Codewords(), np.random.default_rng(0), 0
    for task in range(100):
        game.reset(options={"task": task})
        while game.agents:
            for a in list(game.agents):
                choices = game.choices(a)
                game.act(a, choices[rng.integers(len(choices))])
            game.end_cycle()
        wins += game.infos["guesser_0"]["success"]
    assert wins < 30  # of six words and one assassin the assassin is last in one of seven orders


def test_the_encoded_oracle_finds_its_rows():
    for settings in ({}, {"words": 25, "targets": 9}):
        env = parallel_env(face="encoded", **settings)
        env.reset(seed=0)
        while env.agents:
            *_, infos = env.step({a: env.script(a) for a in env.agents})
        assert infos["guesser_0"]["success"] and infos["guesser_0"]["actions_cut"] == 0


def test_admissible_actions_are_possible():
    game, rng = Codewords(teams=2), np.random.default_rng(1)
    for task in range(10):
        game.reset(options={"task": task})
        while game.agents:
            for a in list(game.agents):
                choices = game.choices(a)
                game.act(a, choices[rng.integers(len(choices))])
                assert game._did[a][1] or game._over()
            game.end_cycle()


PIECES = st.sampled_from(
    ["clue", "guess", "pass", "fruit", "apple", "2", "-1", "٣", "{", "wait", "say", '{"guess": ["a"]}']
)
ACTIONS = st.one_of(
    st.text(max_size=40),
    st.lists(PIECES, max_size=4).map(" ".join),
    st.dictionaries(st.sampled_from(["clue", "guess", "pass", "x"]), st.one_of(st.text(), st.none(), st.integers())),
    st.dictionaries(st.text(), st.lists(st.dictionaries(st.text(), st.text()))),
)


@given(st.lists(ACTIONS, min_size=1, max_size=12), st.booleans())
def test_wild_actions_corrupt_nothing(actions, race):
    game = by_hand(RACE, teams=2) if race else by_hand()
    for action in actions:
        if not game.agents:
            break
        for a in list(game.agents):
            before, text = json.dumps(game._save().open), game.world.clues
            game.act(a, action)
            if not game._did[a][1]:
                assert json.dumps(game.world.open) == before and game.world.clues == text
        game.end_cycle()
        board = game.world
        assert set(board.open) <= set(board.words) and board.words == WORDS_HERE
        for a in game.infos:
            assert 0.0 <= game.infos[a]["progress"] <= 1.0 and len(game.look(a)) <= game.max_length
            assert np.isfinite(game._measures(a, game.choices(a))).all()


def test_a_huge_action():
    game = by_hand()
    assert cycle(game, "clue " + "x" * 10**7, "guess \ud800" + "apple " * 10**6) == [False, False]
    assert len(game.infos["spymaster_0"]["message"]) < 200


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"teams": 3}, "teams is 3; allowed: a whole number from 1 to 2"),
        ({"words": 26}, "words is 26"),
        (
            {"words": 8, "targets": 9},
            "words is 8; allowed with teams=1, targets=9, assassins=1: a whole number from 10",
        ),
        ({"targets": 1}, "targets is 1"),
        ({"assassins": 4}, "assassins is 4"),
        ({"clues": "open"}, "clues is 'open'; allowed: 'listed', 'any'"),
        ({"guesses": 2}, "a setting of Codewords is 'guesses'"),
        ({"weights": {"win": 1.0}}, "a reward term is 'win'"),
    ],
)
def test_settings_that_are_refused(settings, what):
    with pytest.raises(ValueError) as e:
        Codewords(**settings)
    assert what in str(e.value)
