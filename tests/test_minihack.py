"""milepost/MiniHack-v0: NetHack's own game in words."""

import re

import numpy as np
import pytest

from milepost import shape
from milepost.__main__ import main
from milepost.envs.errors import InfraError
from milepost.envs.text import minihack_game
from milepost.envs.text.minihack import MiniHackEnv
from milepost.wrappers import SubgoalOptions

pytest.importorskip("minihack", reason="the extra minihack is not installed")
pytestmark = pytest.mark.minihack

LEVELS = ["Room-5x5", "KeyRoom-S5", "MultiRoom-N2", "Corridor-R2", "River-Narrow", "Quest-Easy"]
KEYROOM = ["pick up the key", "open the door", "reach the stairs"]


def test_a_key_room_from_end_to_end(minihack):
    env = minihack()
    obs, info = env.reset(options={"task": 0})
    assert obs.startswith("Task: Pick up the key, unlock the door with it, and reach the staircase down.\nPosition: ")
    assert "northwest: a key named The Master Key of Thievery" in obs and "a: a +0 short sword" in obs
    assert list(info["subgoals"]) == KEYROOM and not any(info["subgoals"].values())
    assert not any(c.startswith(("apply", "pick")) for c in info["admissible_actions"])
    seen = []
    for command in ("go northwest", "pick up"):
        *_, info = env.step(command)
        seen.append(tuple(info["subgoals"].values()))
    assert seen == [(False,) * 3, (True, False, False)]
    assert info["message"] == "g - a key named The Master Key of Thievery." and info["progress"] == pytest.approx(1 / 3)
    unlocked = False
    while not info["success"]:
        command = env.unwrapped.oracle()
        had = info["subgoals"]["open the door"]
        obs, reward, terminated, _, info = env.step(command)
        assert info["valid_action"] and info["subgoals"]["pick up the key"]
        if command.startswith("apply key"):
            unlocked = True
            assert not had and info["subgoals"]["open the door"] and "You succeed in unlocking" in info["message"]
            assert f"{command.split()[-1]}: open door" in obs
        assert info["subgoals"]["open the door"] == unlocked
    assert unlocked and terminated and reward == 1.0 and all(info["subgoals"].values())
    assert info["score"] == info["max_score"] == 3.0 and info["progress"] == 1.0


def test_what_is_not_admissible_does_nothing(minihack):
    env = minihack()
    obs, info = env.reset(options={"task": 0})
    for command in ("go east", "apply key north", "pick up", "quaff potion of sickness", "dance", ""):
        after, reward, terminated, truncated, later = env.step(command)
        assert not later["valid_action"] and (reward, terminated, truncated) == (0.0, False, False)
        assert later["screen"].split("\n")[1:] == info["screen"].split("\n")[1:]
        assert after.split("\n")[:5] == obs.split("\n")[:5] and after.endswith("> You cannot do that now.")
        assert later["message"] == "" and later["admissible_actions"] == info["admissible_actions"]


def test_the_info_shows_the_same_moment_in_three_more_ways(minihack):
    env = minihack()
    _, info = env.reset(options={"task": 0})
    assert info["message"].startswith("Hello Agent")
    crop, screen = info["crop"].split("\n"), info["screen"].split("\n")
    assert [len(row) for row in crop] == [9] * 9 and crop[4][4] == "@"
    assert len(screen) == 24 and "Agent the Footpad" in screen[22] and "T:" not in screen[23]
    assert crop[4] in screen[11].ljust(80)


@pytest.mark.parametrize("level", LEVELS)
def test_random_commands_always_leave_the_game_waiting(minihack, level):
    env, rng = minihack(level), np.random.default_rng(0)
    _, info = env.reset(seed=0)
    keys = list(info["subgoals"])
    for _ in range(50):
        assert info["admissible_actions"] == tuple(sorted(set(info["admissible_actions"])))
        before = info
        obs, _, terminated, truncated, info = env.step(str(rng.choice(info["admissible_actions"])))
        assert info["valid_action"] and "invalid" not in info and not env.unwrapped.game.asking
        assert list(info["subgoals"]) == keys and info["progress"] >= before["progress"]
        assert obs in env.observation_space and not re.search(r"\bT:\d", obs)
        if terminated or truncated:
            _, info = env.reset()


@pytest.mark.parametrize("level", ["Room-5x5", "Room-15x15", "KeyRoom-S5", "MultiRoom-N2", "Corridor-R2"])
def test_the_oracle_wins(minihack, level):
    env, won = minihack(level, split="test"), 0
    for task in range(5):
        env.reset(options={"task": 2**30 + task})
        over = False
        while not over:
            _, reward, terminated, truncated, info = env.step(env.unwrapped.oracle())
            over = terminated or truncated
        won += reward
        assert info["success"] == (reward == 1.0) and (not reward or all(info["subgoals"].values()))
    assert won == 5


def test_a_pile_is_picked_up_whole_and_things_are_used_by_name(minihack):
    env = minihack("Quest-Easy")
    _, info = env.reset(seed=0)
    assert {"horn", "wand"} <= {word for c in info["admissible_actions"] for word in c.split()}
    assert any(re.fullmatch(r"zap .*wand north", c) for c in info["admissible_actions"])
    worn = next(c for c in info["admissible_actions"] if c.startswith("wield"))
    *_, info = env.step(worn)
    assert worn not in info["admissible_actions"] and info["valid_action"]
    zapped = next(c for c in info["admissible_actions"] if c.startswith("zap") and c.endswith("east"))
    obs, *_, info = env.step(zapped)
    assert info["valid_action"] and "What do you want" not in obs


def test_a_horn_is_blown_in_a_direction(minihack):
    env = minihack("Quest-Easy")
    _, info = env.reset(options={"task": 0})
    *_, info = env.step(
        next(c for c in info["admissible_actions"] if c.startswith("apply") and c.endswith("horn east"))
    )
    assert info["valid_action"] and "The lava cools and solidifies." in info["message"]


@pytest.mark.parametrize(("level", "steps"), [("KeyRoom-S5", 60), ("River", 60), ("Room-Ultimate-15x15", 1000)])
def test_the_ground_and_what_lies_on_it_are_as_nethack_says(minihack, level, steps):
    """In River boulders are pushed over the hero's squares, in Room-Ultimate daggers are thrown and traps teleport."""
    env, rng, grounds, lay = minihack(level), np.random.default_rng(0), set(), 0
    obs, info = env.reset(seed=1)
    for _ in range(steps):
        game = env.unwrapped.game
        game.raw.nethack.step(ord(":"))
        said = minihack_game.w.text(game.said) + (game.screen() if game._state[3] else "")
        while game._state[3]:
            game.raw.nethack.step(27)
        lies = "see here" in said or "Things that are here" in said
        assert ("pick up" in info["admissible_actions"]) == lies or ord(",") not in game.keys, said
        if found := re.search(r"There is (a staircase up|a [a-z ]*trap|a web) here", said):
            grounds.add(found[1])
            assert f", on {found[1]}. " in obs
        lay += lies
        commands = [c for c in info["admissible_actions"] if c != "pick up"]
        obs, _, terminated, truncated, info = env.step(str(rng.choice(commands)))
        if terminated or truncated:
            obs, info = env.reset()
    assert grounds and (lay or level != "Room-Ultimate-15x15")


@pytest.mark.parametrize(("level", "other"), [("Eat-Distr", "a fortune cookie"), ("Wear-Distr", "a leather armor")])
def test_another_thing_of_the_class_is_not_the_thing(minihack, level, other):
    from milepost.envs.text.minihack_goals import subgoals

    env = minihack(level)
    env.reset(seed=0)
    (name, truth), *_ = subgoals(level).items()
    game, thing = env.unwrapped.game, name.split()[-1]
    start = game.inventory
    for more, reached in ((other, False), (f"an uncursed {thing}", True), (f"2 {thing}s", True)):
        game.inventory = (*start, ("z", more, 0))
        assert truth(game) == reached


@pytest.mark.parametrize("level", ["KeyRoom-S5", "MultiRoom-N2-Locked"])
def test_the_patterns_of_the_predicate_judge_say_the_truth(minihack, level):
    from milepost.baselines.judge_eval import cases
    from milepost.wrappers.scorers import serve

    judge, seen = serve("predicate"), set()
    for case in cases(minihack(level), 150, 0):
        (said,) = judge.ask([case.question])
        assert {g for g, p in said.items() if p >= 0.5} == case.truth, case.question
        seen |= case.truth
    assert seen == set(case.question.subgoals)


def test_eating_is_the_end_of_its_level(minihack):
    env = minihack("Eat-Fixed")
    _, info = env.reset(seed=0)
    assert list(info["subgoals"]) == ["pick up the apple", "eat the apple"]
    for command in ("go northwest", "go northwest", "pick up"):
        *_, info = env.step(command)
    assert info["subgoals"] == {"pick up the apple": True, "eat the apple": False}
    eat = next(c for c in info["admissible_actions"] if c.startswith("eat") and "apple" in c)
    _, reward, terminated, _, info = env.step(eat)
    assert reward == 1.0 and terminated and all(info["subgoals"].values())


@pytest.mark.parametrize(
    ("level", "deed"),
    [("Wield", "wield dagger"), ("Wear", "wear robe"), ("PutOn", "put on"), ("Zap", "zap"), ("Read", "read")],
)
def test_things_that_lie_there_are_taken_and_used(minihack, level, deed):
    env = minihack(f"{level}-Fixed")
    env.reset(seed=0)
    for command in ("go northwest", "go northwest", "pick up"):
        *_, info = env.step(command)
    assert list(info["subgoals"].values()) == [True, False]
    _, reward, terminated, _, info = env.step(next(c for c in info["admissible_actions"] if c.startswith(deed)))
    assert reward == 1.0 and terminated and all(info["subgoals"].values())


@pytest.mark.parametrize(("level", "deed"), [("Pray-Fixed", "pray"), ("Sink-Fixed", "drink from here")])
def test_deeds_that_need_a_place(minihack, level, deed):
    env = minihack(level)
    obs, _ = env.reset(seed=0)
    assert re.search(r"(altar|sink) \(2 north 2 west\)", obs)
    for command in ("go northwest", "go northwest"):
        env.step(command)
    _, reward, terminated, _, info = env.step(deed)
    assert (reward, terminated, info["success"]) == (1.0, True, True)


def test_death_ends_the_episode_without_success(minihack):
    env, rng, dead = minihack("Room-Ultimate-15x15"), np.random.default_rng(0), 0
    for task in range(12):
        _, info = env.reset(options={"task": task})
        over = False
        while not over:
            obs, reward, terminated, truncated, info = env.step(str(rng.choice(info["admissible_actions"])))
            over = terminated or truncated
        if terminated and not info["success"]:
            dead += 1
            assert reward == 0.0 and info["admissible_actions"] == () and "die" in info["message"]
            assert obs == f"Task: Reach the staircase down.\nYour game is over.\n> {info['message']}"
            assert info["crop"] == info["screen"] == ""  # NetHack shows what others have died of in this process
    assert dead


def test_a_lock_pick_does_not_stand_in_for_the_key(minihack):
    env = minihack()
    _, info = env.reset(options={"task": 0})
    for _ in range(100):
        assert "lock pick" in env.unwrapped._look() and not any("lock pick" in c for c in info["admissible_actions"])
        *_, terminated, truncated, info = env.step(info["admissible_actions"][-1])
        if terminated or truncated:
            break


def test_the_reference_is_the_oracles_play_and_changes_nothing(minihack):
    a, b = minihack("Corridor-R2"), minihack("Corridor-R2", expose_reference=True)
    (obs, info), (obs2, info2) = a.reset(seed=3), b.reset(seed=3)
    assert obs == obs2 and {k: v for k, v in info2.items() if k != "reference"} == info
    for command in info2["reference"]:
        (obs, reward, *_, info), (obs2, *_, later) = a.step(command), b.step(command)
        assert obs == obs2 and info["admissible_actions"] == later["admissible_actions"]
    assert reward == 1.0


def test_levels_without_an_oracle_say_so(minihack, capsys, tmp_path):
    env = minihack("River-Narrow")
    env.reset(seed=0)
    said = "level 'River-Narrow' has no oracle; families that have: ClosedDoor, Corridor, KeyRoom, Labyrinth"
    with pytest.raises(ValueError, match=said):
        env.unwrapped.oracle()
    args = ["milepost/MiniHack-v0", "--set", "level=River-Narrow", "--out", str(tmp_path / "x.jsonl")]
    assert main(["collect", *args, "--agent", "oracle"]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"milepost: {said}") and told.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_level_is_one_line(capsys):
    assert main(["play", "milepost/MiniHack-v0", "--set", "level=KeyRom-S5"]) == 2
    told = capsys.readouterr().err
    assert told.endswith("(did you mean 'KeyRoom-S5'?)\n") and told.count("\n") == 1


# -- as a judge sees it ------------------------------------------------------------------------------
@pytest.mark.parametrize("view", ["text", "crop", "screen"])
def test_the_predicate_judge_pays_what_its_view_shows(minihack, view):
    env = shape(minihack(), [SubgoalOptions(beta=0.25, judge="predicate", view=view)])
    env.reset(options={"task": 0})
    oracle, paid, over = env.get_wrapper_attr("oracle"), dict[str, float](), False
    before = dict.fromkeys(KEYROOM, False)
    while not over:
        *_, terminated, truncated, info = env.step(oracle())
        new = [g for g, holds in info["subgoals"].items() if holds and not before[g]]
        if info["reward_terms"]["subgoal_options"] or new:
            paid[" and ".join(new)] = info["reward_terms"]["subgoal_options"]
        before, over = info["subgoals"], terminated or truncated
    # NetHack's map says nothing of the step that wins: the hero stands on the stairs; our own words do
    assert paid == dict(zip(KEYROOM, (0.25, 0.25, 0.25 if view == "text" else 0.0)))
    stats = {k.rpartition("/")[2]: n for k, n in env.stack.stats().items()}
    assert stats["calls"] > 0 and not {"silent", "failed", "unreadable"} & set(stats)


@pytest.mark.full
def test_every_level_plays():
    """All that MiniHack registers, but Boxoban (its maps are extra) and the Crossing levels (minigrid has changed)."""
    from milepost.envs.text.glyphs import vocabulary, word_of

    left_out, known = [], minihack_game.levels()
    for level in known:
        try:
            env = MiniHackEnv(level)
        except (ImportError, InfraError):
            left_out.append(level)
            continue
        rng = np.random.default_rng(0)
        for seed in range(2):
            _, info = env.reset(seed=seed)
            words = vocabulary(env.game)
            for _ in range(60):
                assert {word_of(c) for c in info["admissible_actions"]} <= set(words), level
                *_, terminated, truncated, info = env.step(str(rng.choice(info["admissible_actions"])))
                assert "invalid" not in info and not env.game.asking, level
                if terminated or truncated:
                    break
        env.close()
    assert len(known) - len(left_out) > 140
    assert all(level.startswith(("Boxoban", "LavaCrossing", "SimpleCrossing")) for level in left_out), left_out
