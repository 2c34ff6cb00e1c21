"""The game ``social``: its rules, its seven scores, its scripts, what its characters can know."""

import copy
import dataclasses
import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("pettingzoo", reason="the extra multiagent is not installed")

from milepost.envs.multiagent import social_v0
from milepost.envs.multiagent.social import Social
from milepost.envs.multiagent.social_families import AIM, FAMILIES, NAMES, VALUES, named, scene
from milepost.envs.multiagent.social_scene import Deal, Duty, Person, Scene, Topic, Want, World
from milepost.envs.multiagent.social_scores import DIMENSIONS, scores

TEST = 2**30
A, B = "person_0", "person_1"


def lamp(**others):
    """Ann sells a lamp to Bob: 10 coins are worth 2 to her and 9 to him, 20 coins 7 and 7, 30 coins 10 and 1."""
    topics = [
        Topic("town-of-ann", 0, "town", "calder"),
        Topic("plan-of-ann", 0, "plan", "windmill", secret=True),
        Topic("job-of-bob", 1, "job", "baker", open=True),
        Topic("town-of-bob", 1, "town", "garlow"),
        Topic("plan-of-bob", 1, "plan", "orchard", secret=True),
    ]
    duties = [Duty("hand-over", 0, terms=True, coins=20), Duty("pay", 1, terms=True, priced=True), Duty("wrap-it", 0)]
    deals = [Deal("10-coins", (2, 9), 10), Deal("20-coins", (7, 7), 20), Deal("30-coins", (10, 1), 30)]
    people = (
        Person("Ann", "You sell.", (Want("deal", least=6), Want("done", "pay")), ("plan-of-ann",)),
        Person("Bob", "You buy.", (Want("deal", least=6), Want("done", "hand-over"), Want("learned", "town-of-ann"))),
    )
    made = Scene(
        "a lamp",
        "trade",
        "acquaintances",
        "At the fair.",
        people,
        {t.name: t for t in topics},
        {d.name: d for d in duties},
        {d.name: d for d in deals},
    )
    return dataclasses.replace(made, **others)


def at(made, cycles=20, **settings):
    """A game in a scene made by hand."""
    game = Social(max_cycles=cycles, **settings)
    game.reset(seed=0)
    known = [{t.name for t in made.topics.values() if t.open and t.owner != me} for me in (0, 1)]
    game.world = World(made, tuple(known))
    game._seen.clear()
    return game


def turn(game, a="wait", b="wait"):
    game.act(A, a)
    game.act(B, b)
    game.end_cycle()
    return game.infos


def play(task, policies, **settings):
    game = Social(split="test" if task >= TEST else "train", **settings)
    game.reset(options={"task": task})
    total = {A: 0.0, B: 0.0}
    while game.agents:
        for agent, policy in zip((A, B), policies):
            game.act(agent, game.script(agent, policy))
        game.end_cycle()
        for agent in total:
            total[agent] += game.rewards[agent]
    return game, total


def test_golden_trade():
    game = at(lamp())
    turn(game, "offer 30-coins", "ask town-of-ann")
    infos = turn(game, "tell town-of-ann", "offer 20-coins")
    assert infos[A]["kind"] == "speak" and infos[B]["kind"] == "action"
    # Ann answered a question: +1 for the relationship; Bob made an offer, which no dimension counts, but he was believed before
    assert infos[A]["gains"]["relationship"] == 1.0 and not any(infos[B]["gains"].values())
    assert infos[A]["progress"] == 0.0 and infos[B]["progress"] == pytest.approx(1 / 3)  # one of three wants
    infos = turn(game, "agree 20-coins", 'say Thank you! So your town is Calder. And my town is "Garlow".')
    # a deal worth 7 of 6: one of two, two of three
    assert infos[A]["score"] == 5.0 and infos[B]["score"] == pytest.approx(20 / 3)
    assert infos[A]["agreement"] == "20-coins" and "scores" not in infos[A]
    assert game.rewards == {A: 0.0, B: 0.0}
    infos = turn(game, "deliver hand-over", "deliver pay")
    assert not game.agents and game.terminations == {A: True, B: True}
    assert game.rewards == {A: 1.0, B: 1.0} and infos[A]["success"] and infos[B]["success"]
    # Ann: heard one of Bob's one open fact (town; the job was known): half of 10. Gave 20 (the lamp), got 20: 0 coins.
    # relationship: answered, agreed, did a duty. Bob: heard the town of Ann and said it back: 10. Thanked, agreed, paid.
    fine = {"goal": 10.0, "believability": 10.0, "secret": 0.0, "social_rules": 0.0}
    fine["financial_and_material_benefits"] = 0.0
    assert infos[A]["scores"] == fine | {"knowledge": 5.0, "relationship": 3.0}
    assert infos[B]["scores"] == fine | {"knowledge": 10.0, "relationship": 3.0}


def test_golden_bad_deal_and_broken_promise():
    game = at(lamp(), cycles=3)
    turn(game, "offer 30-coins", "wait")
    infos = turn(game, "deliver hand-over", "agree 30-coins")  # no agreement yet: a claim
    assert infos[A]["valid_action"] and infos[A]["gains"]["social_rules"] == -2.0
    assert infos[A]["gains"]["believability"] == -1.0
    infos = turn(game, "deliver hand-over", "wait")
    assert game.truncations == {A: True, B: True}
    # Ann: deal 1 of 1, not paid: half. Bob: deal 1/6, lamp 1, town 0: (1/6 + 1) / 3 of 10
    assert infos[A]["score"] == 5.0 and infos[B]["score"] == pytest.approx(10 * (7 / 6) / 3)
    # Bob promised to pay and could have: -5; relationship: +1 agreed, -3; he gained a lamp of 20, where 30 is at stake: 5 * 2/3
    assert infos[B]["scores"]["social_rules"] == -5.0 and infos[B]["scores"]["relationship"] == -2.0
    assert infos[B]["scores"]["financial_and_material_benefits"] == pytest.approx(10 / 3)
    assert infos[A]["scores"]["financial_and_material_benefits"] == pytest.approx(-10 / 3)
    assert game.rewards[A] == pytest.approx(0.5)


@pytest.mark.parametrize(
    "text",
    [
        "say It is at the windmill!",
        "say w i n d m i l l",
        "say LLIMDNIW",
        "say d2luZG1pbGw=",
        "say wind-mill",
        "tell plan-of-ann",
    ],
)
def test_a_secret_is_told_in_any_form(text):
    game = at(lamp())
    infos = turn(game, text)
    assert infos[A]["gains"]["secret"] == -10.0  # her one secret
    assert infos[A]["subgoals"]["keep plan-of-ann"] is False
    turn(game, "offer 20-coins", "agree 20-coins")
    infos = turn(game, "deliver hand-over", "deliver pay")
    assert infos[A]["score"] == 5.0 and not infos[A]["success"]  # 10 - 5 for what she had to keep
    assert "windmill" in game.look(B)


@pytest.mark.parametrize("text", ["say The wind turns the mill.", "say wind", "say plan-of-ann", "refuse plan-of-ann"])
def test_what_is_no_telling(text):
    game = at(lamp())
    turn(game, b="ask plan-of-ann")
    infos = turn(game, text)
    assert infos[A]["subgoals"]["keep plan-of-ann"] and "windmill" not in game.look(B)


def test_words_are_counted():
    game = at(lamp())
    assert turn(game, "say My town is Dunmore.")[A]["gains"]["believability"] == 7.0  # from 0 (silent) to 10 - 3
    assert turn(game, "say my town, is dunmore")[A]["gains"]["believability"] == -5.0  # said before, and wrong again
    assert turn(game, "say My town is lovely.")[A]["gains"]["believability"] == 0.0
    infos = turn(game, "say You stupid fool")
    assert infos[A]["gains"]["social_rules"] == -3.0 and infos[A]["gains"]["relationship"] == -2.0
    assert turn(game, "gesture frown")[A]["gains"]["relationship"] == -1.0
    assert turn(game, "gesture bow")[A]["gains"]["relationship"] == 1.0
    assert turn(game, "gesture bow")[A]["gains"]["relationship"] == 0.0  # once
    assert turn(game, "say I am sorry.")[A]["gains"]["relationship"] == 1.0
    infos = turn(game)
    assert infos[A]["kind"] == "none" and infos[A]["gains"] == dict.fromkeys(DIMENSIONS, 0.0)
    infos = turn(game, "leave", "say What?")
    assert infos[A]["kind"] == "leave" and infos[A]["gains"]["relationship"] == -1.0  # Bob's goal was open
    assert infos[B]["valid_action"] is False and "has left" in infos[B]["message"]
    assert game.terminations == {A: True, B: True}


def test_objects_and_what_cannot_be_done():
    game = at(lamp())
    assert turn(game, {"offer": "30-coins"}, {"say": "No."})[A]["valid_action"]
    for command, why in [
        ("agree 30-coins", "does not offer"),
        ("agree 99-coins", "no terms"),
        ("offer 30-coins", "already"),
        ("deliver pay", "not yours"),
        ("promise pay", "not yours"),
        ("tell town-of-bob", "cannot tell"),
        ("ask town-of-ann", "nothing called"),
        ("refuse town-of-ann", "has not asked"),
        ("gesture dance", "say, ask, tell"),
        ("leave now", "say, ask, tell"),
        ("say", "say, ask, tell"),
        ({"offer": ["30-coins"]}, "no terms"),
    ]:
        infos = turn(game, command)
        assert not infos[A]["valid_action"] and why in infos[A]["message"] and why in game.look(A), command
        game.cycle = 0
    turn(game, "promise wrap-it")
    assert "promised" in turn(game, "promise wrap-it")[A]["message"]
    turn(game, "wait", "agree 30-coins")
    assert turn(game, "wait", "offer 10-coins")[B]["message"] == "you have agreed already"
    assert turn(game, "wait", "agree 30-coins")[B]["valid_action"]  # two may agree at the same time
    turn(game, "deliver wrap-it")
    assert not turn(game, "deliver wrap-it")[A]["valid_action"]


def test_declining():
    game = at(lamp())
    turn(game, "offer 30-coins", "decline 30-coins")
    assert game.world.offers == [None, None] and "offer 30-coins" in game.choices(A)
    game = at(lamp(vetoes=True))
    turn(game, "offer 30-coins", "decline 30-coins")
    assert "offer 30-coins" not in game.choices(A) and "- 30-coins:" not in game.look(A)
    assert turn(game, "offer 30-coins")[A]["message"] == "there are no terms '30-coins'"


def test_duties_in_order():
    duties = {
        "lend": Duty("lend", 0, terms=True, coins=20),
        "return": Duty("return", 1, terms=True, after=("lend", "town-of-ann"), coins=20),
    }
    people = (
        Person("Ann", "", (Want("done", "return"), Want("promised", "return"))),
        Person("Bob", "", (Want("done", "lend"),)),
    )
    game = at(lamp(duties=duties, people=people))
    infos = turn(game, "ask return", "promise return")
    assert infos[A]["subgoals"] == {"done return": False, "promised return": True}
    turn(game, "offer 10-coins", "agree 10-coins")
    turn(game, "wait", "deliver return")
    assert game.world.counts[1].claims == 1
    turn(game, "deliver lend", "wait")
    assert "deliver return" not in game.choices(B)  # he does not know where to
    infos = turn(game, "tell town-of-ann", "deliver return")
    assert infos[A]["success"] and infos[B]["success"] and not game.agents
    assert infos[B]["scores"]["financial_and_material_benefits"] == 0.0


def test_all_weights_and_the_team_term():
    weights = dict.fromkeys((*DIMENSIONS, "team_goal"), 1.0)
    game, total = play(0, ("winner", "loser"), weights=weights)
    for agent in (A, B):
        info = game.infos[agent]
        want = {k: v / max(map(abs, DIMENSIONS[k])) for k, v in info["scores"].items()}
        assert info["reward_terms"] == pytest.approx(want | {"team_goal": game.infos[B]["score"] / 10})
        assert total[agent] == pytest.approx(sum(info["reward_terms"].values()))
        assert all(low <= info["scores"][k] <= high for k, (low, high) in DIMENSIONS.items())
    assert game.infos[A]["scores"]["goal"] == 10.0 > game.infos[B]["scores"]["goal"]
    assert game.infos[B]["scores"]["secret"] == -10.0 and game.infos[B]["scores"]["social_rules"] == -3.0
    game = Social(weights=weights, max_cycles=3)
    game.reset(seed=1)
    while game.agents:
        turn(game)
        assert game.rewards == {A: 0.0, B: 0.0} and not game.infos[A]["success"] and game.infos[B]["progress"] == 0.0


def test_fifty_named_scenes():
    rows = named()
    assert len(rows) == 50 and len({r["name"] for r in rows}) == 50
    assert {r["family"] for r in rows} == set(FAMILIES) and len(FAMILIES) >= 10
    for task, row in enumerate(rows):
        made = scene(task, tuple(FAMILIES))
        assert (made.title, made.family) == (row["name"], row["family"]) and row["thing"] in made.setting
    every = [v for values in VALUES.values() for v in values]
    assert len(set(every)) == len(every) and all(v.isalpha() and v == v.lower() for v in every)
    assert len(set(NAMES)) == len(NAMES)


@pytest.mark.parametrize("pair", list(itertools.product(Social.policies, repeat=2)))
def test_winners_win_and_losers_lose(pair):
    for task in (*range(50), *range(50, 70), *range(TEST, TEST + 20)):
        game, total = play(task, pair)
        for agent, policy in zip((A, B), pair):
            assert game.infos[agent]["success"] == (policy != "loser"), (task, game.world.scene.family)
            assert (total[agent] == 1.0) == (policy != "loser")


@given(st.integers(0, 2**31))
def test_every_scene_can_be_won_by_both(task):
    made = scene(task, tuple(FAMILIES))
    values = [t.value for t in made.topics.values()]
    assert len(set(values)) == len(values)
    names = [*made.topics, *made.duties, *made.deals]
    assert len(set(names)) == len(names)
    if made.deals:
        worths = [d.worths for d in made.deals.values()]
        assert any(min(w) >= AIM for w in worths) and len(set(worths)) > 2
        for me in (0, 1):  # what is best for one does not do for the other
            assert max(worths, key=lambda w: w[me])[1 - me] < AIM
            assert min(worths, key=lambda w: (w[me], -w[1 - me]))[1 - me] >= AIM
    for me, person in enumerate(made.people):
        assert person.wants and all(made.topics[k].owner == me and made.topics[k].secret for k in person.keeps)
        for want in person.wants:
            assert want.kind == "deal" or want.what in (
                made.topics if want.kind in ("learned", "told", "restated") else made.duties
            )
    shown = [game_text for game_text in (made.setting, *(p.intro for p in made.people))]
    assert not any(v in text.casefold().replace(".", " ").split() for v in values for text in shown)


def test_families():
    game = Social(families=["lend", "hire"])
    seen = {(game.reset(seed=k), game.world.scene.family)[1] for k in range(12)}
    assert seen == {"lend", "hire"}
    for given_families, why in (
        (["barter"], "'barter'.*'trade'"),
        ([], "at least one"),
        (3, "at least one"),
        ([[]], "a family"),
    ):
        with pytest.raises(ValueError, match=why):
            Social(families=given_families)
    with pytest.raises(ValueError, match=r"'familes'.*families"):
        Social(familes=None)
    with pytest.raises(ValueError, match="max_cycles"):
        Social(max_cycles=0)
    with pytest.raises(ValueError, match=r"a reward term.*goal"):
        Social(weights={"goals": 1.0})


def test_random_play_rarely_wins():
    env, rng, won = social_v0.parallel_env(), np.random.default_rng(0), []
    for seed in range(60):
        _, infos = env.reset(seed=seed)
        while env.agents:
            picks = {a: infos[a]["admissible_actions"] for a in env.agents}
            assert max(map(len, picks.values())) <= 64  # the encoded face has rows for all
            *_, infos = env.step({a: c[int(rng.integers(len(c)))] for a, c in picks.items()})
        won += [i["success"] for i in infos.values()]
    assert np.mean(won) < 0.25


def test_nobody_sees_what_the_other_alone_knows():
    rng = np.random.default_rng(2)
    for task in range(26):
        game = Social()
        game.reset(options={"task": task})
        while game.agents:
            for agent in (A, B):
                me = game._me(agent)
                seen = (game._look(agent), game._choices(agent))
                numbers = game._measures(agent, seen[1]), game._gauges(agent)
                world = game.world
                made = world.scene
                topics = {
                    n: t._replace(value="xyzzy") if t.owner != me and n not in world.knows[me] else t
                    for n, t in made.topics.items()
                }
                deals = {
                    n: d._replace(worths=(d.worths[0], 3) if me == 0 else (3, d.worths[1]))
                    for n, d in made.deals.items()
                }
                people = list(made.people)
                people[1 - me] = people[1 - me]._replace(
                    wants=(Want("told", "xyzzy"),), keeps=(), curious=(), intro="xyzzy"
                )
                game.world = copy.deepcopy(world)
                game.world.scene = dataclasses.replace(made, topics=topics, deals=deals, people=tuple(people))
                assert (game._look(agent), game._choices(agent)) == seen
                assert np.array_equal(game._measures(agent, seen[1]), numbers[0]) and game._gauges(agent) == numbers[1]
                game.world = world
                some = (*seen[1], "wait")
                game.act(agent, some[int(rng.integers(len(some)))])
            game.end_cycle()


KINDS = ("say", "ask", "tell", "refuse", "offer", "agree", "decline", "promise", "deliver", "gesture", "leave", "wait")
COMMANDS = st.one_of(
    st.text(max_size=60),
    st.builds("{} {}".format, st.sampled_from(KINDS), st.text(max_size=20)),
    st.builds(
        "{} {}".format,
        st.sampled_from(KINDS),
        st.sampled_from(
            ["30-coins", "20-coins", "pay", "wrap-it", "hand-over", "town-of-ann", "plan-of-bob", "smile", ""]
        ),
    ),
    st.dictionaries(
        st.sampled_from([*KINDS, "", "x"]), st.one_of(st.none(), st.integers(), st.lists(st.text())), max_size=2
    ),
    st.sampled_from(['{"offer": ', "{}", "[1]", '{"say": {"a": 1}}', "{" * 500, "\x00", "＠ﬁ", "agree １０-coins"]),
)


@given(st.lists(st.tuples(COMMANDS, COMMANDS), max_size=8))
def test_any_action_is_answered(commands):
    game = at(lamp())
    for pair in commands:
        for agent, command in zip((A, B), pair):
            if not game.agents:
                return
            before = copy.deepcopy(game.world)
            game.act(agent, command)
            if not game._did[agent][1]:  # what cannot be done changes nothing but the reason
                before.told = game.world.told
                assert before == game.world
        game.end_cycle()
        for me in (0, 1):
            assert all(low <= scores(game.world, me)[k] <= high for k, (low, high) in DIMENSIONS.items())
            assert 0.0 <= game.infos[A]["progress"] <= 1.0
        json.dumps(game.infos)
        assert len(game.look(A)) <= game.max_length and len(game.world.lines) <= 10


def test_ten_megabytes():
    game = at(lamp())
    infos = turn(game, "say " + "windmills " * 10**6, "say " + "x" * 10**7)
    assert infos[A]["valid_action"] and len(game.look(B)) < 8192 and max(map(len, game.world.lines)) < 450


def test_collusion_earns_no_more_than_the_oracle():
    sums = {p: [sum(play(t, (p, p))[1].values()) for t in range(26)] for p in ("oracle", "collusion")}
    assert sums["oracle"] == [2.0] * 26 and max(sums["collusion"]) <= 2.0
    game, _ = play(0, ("collusion", "collusion"))
    plain, _ = play(0, ("oracle", "oracle"))
    for agent in (A, B):  # it farms what the goal does not count; by default that pays nothing
        assert game.infos[agent]["scores"]["knowledge"] == 10.0 > plain.infos[agent]["scores"]["knowledge"]


def test_spectators_see_the_scores():
    game, _ = play(0, ("winner", "loser"), render_mode="ansi")
    text = game.render()
    assert "(reached)" in text and "social_rules -3" in text and "secret -10" in text
