"""Hidden roles: rules by hand, votes and nights, what stays hidden, scripts, wild actions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("pettingzoo", reason="the extra multiagent is not installed")

from milepost.envs.multiagent.hidden_role import HiddenRole
from milepost.envs.multiagent.hidden_role_v0 import parallel_env, raw_env
from milepost.envs.multiagent.hidden_role_village import DOCTOR, NIGHT, SEER, TALK, VILLAGER, VOTE, WOLF, Village
from milepost.envs.text.base import TEST

pytestmark = pytest.mark.multiagent
ROLES = (WOLF, SEER, VILLAGER, VILLAGER, VILLAGER)
SEVEN = (WOLF, WOLF, SEER, DOCTOR, VILLAGER, VILLAGER, VILLAGER)


def by_hand(roles=ROLES, **settings):
    """A game with these roles."""
    wolves = roles.count(WOLF)
    given = {"players": len(roles), "wolves": wolves, "doctor": DOCTOR in roles, "talks": 1} | settings
    game = HiddenRole(**given)
    game.reset(options={"task": 0})
    game.world, game._seen = Village(tuple(roles), game.talks), {}  # nothing of the old one is shown
    return game


def cycle(game, **actions):
    """One cycle, ``p0="wait"``; who is not named waits. Who did something that was not possible."""
    agents = list(game.agents)
    for agent in agents:
        game.act(agent, actions.get("p" + agent[-1], "wait"))
    game.end_cycle()
    return [a for a in agents if not game.infos[a]["valid_action"]]


def play(game, policies, task):
    """A whole game: returns and last infos. ``policies``: of the village and of the wolves."""
    game.reset(options={"task": task})
    returns, last, side = dict.fromkeys(game.possible_agents, 0.0), {}, game.side()
    while game.agents:
        agents = list(game.agents)
        for a in agents:
            policy = policies[a not in side]
            game.act(a, "wait" if policy is None else game.script(a, policy))
        game.end_cycle()
        for a in agents:
            returns[a] += game.rewards[a]
        last |= game.infos
    return returns, last


def test_the_village_wins_by_hand():
    game = by_hand(weights={"survived": 0.5, "team_village": 2.0})
    # night 1: the wolf kills player_2, the seer looks at the wolf
    assert cycle(game, p0="kill player_2", p1="look player_0") == []
    assert game.terminations == {
        "player_0": False,
        "player_1": False,
        "player_2": True,
        "player_3": False,
        "player_4": False,
    }
    assert game.agents == ["player_0", "player_1", "player_3", "player_4"]
    assert game.rewards["player_2"] == 0.0 and game.infos["player_2"]["success"] is False
    assert game.look("player_2").startswith("You are dead.")
    assert "For sure: player_0 is a wolf." in game.look("player_1")
    assert "Night 1: player_2 was killed, a villager." in game.look("player_3")
    assert game.world.phase == TALK
    assert cycle(game, p0="claim seer", p1="accuse player_0", p3="say I listen", p4="defend player_3") == []
    text = game.look("player_4")
    assert "Said of the living: accused: player_0 by player_1; defended: player_3 by player_4." in text
    assert "Claims of the living: player_0 seer." in text and "- player_3: I listen" in text
    assert game.world.phase == VOTE
    # three votes against one: the only wolf is executed, and the village has won
    assert cycle(game, p0="vote player_1", p1="vote player_0", p3="vote player_0", p4="vote player_0") == []
    assert game.agents == [] and all(game.terminations.values())
    # 1.0 + 0.5 for living + 2.0 for all who are there when the village wins, the wolf too
    assert game.rewards == {"player_0": 2.0, "player_1": 3.5, "player_3": 3.5, "player_4": 3.5}
    assert [game.infos[f"player_{k}"]["success"] for k in (0, 1, 3, 4)] == [False, True, True, True]
    assert game.infos["player_1"]["progress"] == 1.0 and game.infos["player_0"]["winner"] == "village"


def test_the_wolves_win_by_hand():
    game = by_hand()
    cycle(game, p0="kill player_1")
    cycle(game)
    # of three votes two are for player_2: 1 wolf, 2 of the village live; at night one more dies, and the wolf is equal to them
    cycle(game, p0="vote player_2", p2="vote player_3", p3="vote player_2")
    assert game.agents == ["player_0", "player_3", "player_4"]
    # the village was 4 to 1, a surplus of 3, and has 2 to 1 now
    assert game.infos["player_0"]["progress"] == pytest.approx(2 / 3)
    cycle(game, p0="kill player_3")
    assert game.agents == [] and game.rewards == {"player_0": 1.0, "player_3": 0.0, "player_4": 0.0}
    assert game.infos["player_0"]["success"] and game.infos["player_0"]["progress"] == 1.0
    assert not game.infos["player_4"]["success"] and game.infos["player_4"]["progress"] == 0.0


def test_a_tie_executes_nobody_and_nobody_votes_nobody_dies():
    game = by_hand()
    cycle(game)
    assert "Night 1: nobody died." in game.look("player_1")
    cycle(game)
    cycle(game, p0="vote player_1", p1="vote player_0")
    assert all(game.world.lives) and "Day 1: nobody was executed." in game.look("player_1")
    assert "Last vote: player_0 for player_1, player_1 for player_0." in game.look("player_4")
    assert game.world.phase == NIGHT and game.world.round == 2


def test_nights_with_a_doctor():
    game = by_hand(SEVEN)
    # wolves disagree: one vote each, the first of them decides; the doctor guards whom the first chose
    assert cycle(game, p0="kill player_5", p1="kill player_6", p3="guard player_5") == []
    assert all(game.world.lives)
    cycle(game)
    cycle(game)
    # not the same twice in a row, but oneself
    assert cycle(game, p0="kill player_3", p1="kill player_3", p3="guard player_5") == ["player_3"]
    assert game.world.lives == [True, True, True, False, True, True, True]
    assert game.world.events[-1] == "Night 2: player_3 was killed, a doctor."
    game = by_hand(SEVEN)
    cycle(game, p0="kill player_3", p1="wait", p3="guard player_3")
    assert all(game.world.lives)


def test_ghosts_stay_and_are_paid():
    game = by_hand(ghosts=True)
    cycle(game, p0="kill player_2")
    assert game.agents == list(game.possible_agents) and not game.terminations["player_2"]
    assert game.choices("player_2") == ("wait",)
    assert cycle(game, p2="say I am a ghost") == ["player_2"]
    assert game.infos["player_2"]["message"] == "you are dead"
    assert cycle(game, p1="vote player_0", p2="vote player_0") == ["player_2"]
    assert game.rewards == {"player_0": 0.0, "player_1": 1.0, "player_2": 1.0, "player_3": 1.0, "player_4": 1.0}


@pytest.mark.parametrize(
    ("when", "who", "action", "why"),
    [
        (NIGHT, 2, "kill player_1", "now you can wait"),
        (NIGHT, 0, "vote player_1", "now you can kill, wait"),
        (NIGHT, 0, "kill player_0", "kill cannot name 'player_0'; allowed: player_1, player_2"),
        (NIGHT, 0, "kill player_9", "cannot name 'player_9'"),
        (NIGHT, 0, "kill", "cannot name ''"),
        (NIGHT, 1, "look player_1", "look cannot name 'player_1'"),
        (NIGHT, 1, "say hello", "now you can look, wait"),
        (TALK, 2, "vote player_1", "now you can claim, accuse, defend, say, wait"),
        (TALK, 2, "claim king", "there is no role 'king'; roles: villager, wolf, seer, doctor"),
        (TALK, 2, "accuse player_2", "accuse cannot name"),
        (TALK, 2, "accuse player_4", "accuse cannot name"),  # dead
        (TALK, 2, "say", "say what?"),
        (VOTE, 2, "vote player_2", "vote cannot name"),
        (VOTE, 2, "vote player_4", "vote cannot name"),
        (VOTE, 2, '{"vote": null}', "cannot name 'None'"),
    ],
)
def test_what_is_refused(when, who, action, why):
    game = by_hand()
    if when != NIGHT:
        cycle(game, p0="kill player_4")
    if when == VOTE:
        cycle(game)
    assert cycle(game, **{f"p{who}": action}) == [f"player_{who}"]
    assert why in game.infos[f"player_{who}"]["message"] and why in game.look(f"player_{who}")


def test_votes_are_hidden_until_all_have_voted():
    env = raw_env(players=5, wolves=1, talks=1)
    env.reset(seed=0)
    for _ in range(10):  # a night and a talk
        env.step("wait")
    assert env.game.world.phase == VOTE and env.agent_selection == "player_0"
    before = env.observe("player_4")
    env.step("vote player_1")
    env.step("vote player_0")
    assert env.observe("player_4") == before
    for _ in range(3):
        env.step("wait")
    assert "Last vote: player_0 for player_1, player_1 for player_0." in env.observe("player_4")


def test_wolves_know_each_other_and_see_what_they_chose():
    game = by_hand(SEVEN)
    assert "player_1 is a wolf" in game.look("player_0") and "player_2 is no wolf" in game.look("player_0")
    assert not any("kill player_1" in c for c in game.choices("player_0"))
    seen = game.look("player_4"), game.look("player_2")
    game.act("player_0", "kill player_5")
    assert "Wolves chose: player_0 chose player_5." in game.look("player_1")
    assert (game.look("player_4"), game.look("player_2")) == seen


@pytest.mark.parametrize("cycles", [0, 1, 2, 3, 5])
def test_nobody_sees_roles_that_it_does_not_know(cycles):
    """Roles of players whom an agent does not know are exchanged among them: it sees, chooses and measures the same."""
    game = HiddenRole(players=9, wolves=3, doctor=True, talks=1)
    rng = np.random.default_rng(cycles)
    for task in range(8):
        game.reset(options={"task": task})
        for _ in range(cycles):
            for a in list(game.agents):
                choices = [c for c in game.choices(a) if not c.startswith("vote")]
                game.act(a, choices[rng.integers(len(choices))])
            game.end_cycle()
        for a in game.agents:
            village, me = game.world, game._numbers[a]
            unknown = [k for k in range(9) if k != me and k not in village.known(me)]

            def seen(agent=a):
                game._seen = {}
                choices = game.choices(agent)
                measures = game._measures(agent, choices).tolist()
                return game.look(agent), choices, measures, game._gauges(agent), game.info(agent)

            before, roles = seen(), village.roles
            for _ in range(3):
                changed = list(roles)
                for k, other in zip(unknown, rng.permutation(unknown)):
                    changed[k] = roles[other]
                village.roles = tuple(changed)
                assert seen() == before
            village.roles = roles


def test_measures_and_gauges():
    game = by_hand()
    cycle(game, p0="kill player_4", p1="look player_0")
    cycle(game, p0="claim seer", p1="accuse player_0", p2="defend player_0", p3="accuse player_0")
    game.world.phase = TALK
    row = game._measures("player_1", ("accuse player_0",))[0]
    # accuses; known as a wolf; accused by two of four that live, defended by one; the seer itself counts no other seer's
    # word, and player_0, who claims to be it, said nothing of itself
    assert row == pytest.approx([0, 1, 0, 0, 1.0, 0.5, 0.25, 0.0, 1.0, 0.0])
    assert game._measures("player_1", ("claim seer", "claim wolf"))[:, 3].tolist() == [1.0, -1.0]
    game.world.lives[1] = False  # the dead seer's word counts for all
    assert game._measures("player_2", ("defend player_0",))[0][7] == 1.0
    game.world.lives[1] = True
    # cycle 2 of 24, the seer, in talk, four of five live, a quarter of them are wolves
    assert game._gauges("player_1") == pytest.approx((2 / 24, 0, 0 + 1, 0, 0, 0, 0.8, 0.25))


def test_worlds_of_tasks_and_splits():
    def roles(task, **settings):
        game = HiddenRole(players=9, wolves=3, doctor=True, **settings)
        game.reset(seed=1, options={"task": task})
        return game.world.roles

    assert roles(3) == roles(3) and sorted(roles(3)) == sorted(roles(4))
    assert [roles(t) for t in range(20)] != [roles(TEST + t, split="test") for t in range(20)]
    assert "seer" not in str(HiddenRole(seer=False)._begin(0).roles)


@pytest.mark.parametrize(
    "settings", [{}, {"players": 9, "wolves": 3, "doctor": True}, {"players": 5, "wolves": 1, "talks": 5}]
)
def test_the_audit(settings):
    game = HiddenRole(**settings)
    for task in range(17):
        for policy in ("oracle", "collusion"):
            returns, last = play(game, (policy, policy), task)
            assert all(returns[a] == 1.0 and last[a]["success"] for a in game.side())
            assert sum(returns.values()) == len(game.side())  # the most that all together can get
            assert len(game.side()) == game.players - game.wolves > game.wolves
        returns, last = play(game, ("wolves", "wolves"), task)
        wolves = [a for a in game.possible_agents if a not in game.side()]
        assert all(returns[a] == 1.0 and last[a]["success"] for a in wolves)
        assert all(returns[a] == 0.0 for a in game.side())
    returns, last = play(game, (None, None), 0)
    assert set(returns.values()) == {0.0} and not any(i["success"] for i in last.values())
    assert all(game.truncations.values()) and game.cycle == 24


@pytest.mark.parametrize("players, wolves", [(5, 1), (6, 2), (7, 2), (8, 3), (9, 3)])
def test_a_village_that_knows_all_wins_against_wolves_that_kill(players, wolves):
    game = HiddenRole(players=players, wolves=wolves)
    for task in range(10):
        play(game, ("oracle", "wolves"), task)
        assert game.world.winner == "village"


def test_honest_play_is_won_by_either_side():
    game, won = HiddenRole(), {"village": 0, "wolves": 0}
    for task in range(100):
        play(game, ("honest", "honest"), task)
        won[game.world.winner] += 1
    assert won["village"] >= 20 and won["wolves"] >= 20 and sum(won.values()) == 100


def test_random_play_seldom_saves_the_village():
    game, rng, wins = HiddenRole(), np.random.default_rng(0), []
    for task in range(60):
        game.reset(options={"task": task})
        last = {}
        while game.agents:
            for a in list(game.agents):
                choices = game.choices(a)
                game.act(a, choices[rng.integers(len(choices))])
                assert game._did[a][1]
            game.end_cycle()
            last |= game.infos
        wins.append(np.mean([last[a]["success"] for a in game.side()]))
    assert np.mean(wins) < 0.5


@pytest.mark.parametrize("policy", HiddenRole.policies)
def test_scripts_do_what_is_admissible(policy):
    game = HiddenRole(players=9, wolves=3, doctor=True, ghosts=True)
    for task in range(10):
        game.reset(options={"task": task})
        while game.agents:
            for a in list(game.agents):
                command = game.script(a, policy)
                assert command in game.choices(a)
                game.act(a, command)
            game.end_cycle()
        assert game.world.winner


def test_the_encoded_oracle_finds_its_rows():
    env = parallel_env(face="encoded", players=9, wolves=3, doctor=True)
    env.reset(seed=0)
    while env.agents:
        *_, infos = env.step({a: env.script(a) for a in env.agents})
    assert all(infos[a]["success"] for a in env.game.side() if a in infos) and infos["player_0"]["actions_cut"] == 0


PIECES = st.sampled_from(
    [
        "kill",
        "look",
        "guard",
        "vote",
        "accuse",
        "defend",
        "claim",
        "say",
        "seer",
        "player_0",
        "player_1",
        "player_²",
        "{",
        "wait",
    ]
)
ACTIONS = st.one_of(
    st.text(max_size=40),
    st.lists(PIECES, max_size=3).map(" ".join),
    st.dictionaries(st.sampled_from(["vote", "kill", "say", "x"]), st.one_of(st.text(), st.none(), st.integers())),
    st.dictionaries(st.text(), st.lists(st.dictionaries(st.text(), st.text()))),
)


@given(st.lists(ACTIONS, min_size=1, max_size=20), st.integers(0, 2**31), st.booleans())
def test_wild_actions_corrupt_nothing(actions, seed, ghosts):
    game, rng = by_hand(SEVEN, ghosts=ghosts), np.random.default_rng(seed)
    for _ in range(12):
        if not game.agents:
            break
        dead = [k for k, lives in enumerate(game.world.lives) if not lives]
        some = {a: [*actions, *game.choices(a)] for a in game.agents}  # so that games go on
        cycle(game, **{f"p{a[-1]}": c[rng.integers(len(c))] for a, c in some.items()})
        village = game.world
        assert village.roles == SEVEN and not any(village.lives[k] for k in dead)
        assert sum(village.lives) >= 7 - len(dead) - 1
        for a in game.infos:
            assert 0.0 <= game.infos[a]["progress"] <= 1.0 and len(game.look(a)) <= game.max_length
            choices = game.choices(a)
            measures = game._measures(a, choices)
            assert measures.shape == (len(choices), game.measures) and np.abs(measures).max() <= 1.0
            assert np.abs(game._gauges(a)).max() <= 1.0 and len(game._gauges(a)) == game.gauges


def test_a_huge_action():
    game = by_hand()
    cycle(game)
    assert cycle(game, p0="say " + "x" * 10**7, p1="accuse \ud800" + "player_0 " * 10**6) == ["player_1"]
    assert len(game.look("player_2")) < 2000


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"players": 4}, "players is 4; allowed: a whole number from 5 to 9"),
        ({"players": 7, "wolves": 3}, "wolves is 3; allowed with players=7: a whole number from 1 to 2"),
        ({"seer": "no"}, "seer is 'no'; allowed: True or False"),
        ({"doctor": 1}, "doctor is 1"),
        ({"ghosts": None}, "ghosts is None"),
        ({"talks": 0}, "talks is 0"),
        ({"wolfs": 2}, "a setting of HiddenRole is 'wolfs'"),
        ({"weights": {"survival": 1.0}}, "a reward term is 'survival'"),
    ],
)
def test_settings_that_are_refused(settings, what):
    with pytest.raises(ValueError) as e:
        HiddenRole(**settings)
    assert what in str(e.value)
