"""Quest worlds: every one solvable, the text is enough, the facts are functions of the state."""

import gymnasium as gym
import numpy as np
import pytest

import milepost  # noqa: F401
from milepost.envs.text.quest.env import QuestEnv
from milepost.envs.text.quest.state import held
from milepost.envs.text.quest.world import HANDS, generate

pytestmark = pytest.mark.core
LEVELS = ["easy", "medium", "hard"]


def make(level, **kw):
    return gym.make(f"milepost/Quest-{level}-v0", **kw).unwrapped


@pytest.mark.parametrize("level,most", [("easy", 10), ("medium", 25), ("hard", 80)])
def test_the_oracle_wins_every_world_with_rising_progress(level, most):
    for split in ("train", "test"):
        env = make(level, split=split, expose_reference=True)
        for seed in range(100):
            _, info = env.reset(seed=seed)
            plan, last, reward = info["reference"], info["progress"], 0.0
            assert last == 0.0 and len(plan) <= most
            for command in plan:
                assert command == env.oracle()
                _, reward, terminated, _, info = env.step(command)
                assert info["valid_action"] and info["progress"] > last
                last = info["progress"]
            assert reward == 1.0 and terminated and info["success"] and last == 1.0
            assert info["score"] == info["max_score"] and all(info["subgoals"].values())


def test_every_state_of_a_random_walk_can_still_be_solved():
    env, rng = make("hard", max_steps=10_000), np.random.default_rng(0)
    for seed in range(15):
        _, info = env.reset(seed=seed)
        for _ in range(150):
            *_, terminated, _, info = env.step(str(rng.choice(info["admissible_actions"])))
            if terminated:
                break
        while not info["success"]:
            info = env.step(env.oracle())[-1]


@pytest.mark.parametrize(
    "settings",
    [
        {"quest_length": 14, "rooms": 4, "distractors": 0, "containers": 0},
        {"quest_length": 18, "rooms": 6, "recipe": True},
        {"quest_length": 14, "rooms": 9, "doors": 3, "containers": 4, "distractors": 6},
    ],
)
def test_hands_full_of_needed_things_are_no_dead_end(settings):
    """Whoever takes all but the first thing can carry nothing more; the plan lays down what it needs later."""
    env = QuestEnv(**settings, max_steps=500)
    for task in range(6):
        _, info = env.reset(options={"task": task})
        rng, first = np.random.default_rng(task), f"take {env.world.quest[0].what}"
        for _ in range(80):
            commands = [c for c in info["admissible_actions"] if c != first]
            greedy = [c for c in commands if c.startswith("take")] or [c for c in commands if c.startswith(("go", "o"))]
            *_, info = env.step(str(rng.choice(greedy)))
        assert len(held(env.state)) == HANDS
        while not info["success"]:
            *_, truncated, info = env.step(env.oracle())
            assert not truncated


def test_facts_are_functions_of_the_state_not_of_the_path():
    env = make("medium")
    seed = 0
    _, info = env.reset(seed=seed)
    while not any(a.startswith("take") for a in info["admissible_actions"]):
        seed += 1
        _, info = env.reset(seed=seed)
    before = {k: info[k] for k in ("progress", "score", "subgoals", "admissible_actions")}
    thing = next(a for a in info["admissible_actions"] if a.startswith("take"))
    *_, info = env.step(thing)
    *_, info = env.step(thing.replace("take", "drop"))
    assert {k: info[k] for k in before} == before


def test_settings_change_the_world_and_seeds_repeat_it():
    a, b = generate(7, QuestEnv(rooms=4).settings), generate(7, QuestEnv(rooms=4).settings)
    assert a == b and a != generate(8, QuestEnv(rooms=4).settings) and len(a.rooms) == 4
    for length in range(2, 12):
        env = QuestEnv(rooms=9, quest_length=length, doors=2, containers=2)
        for seed in range(20):
            env.reset(seed=seed)
            assert len(env.world.quest) == length
    with_recipe = QuestEnv(rooms=6, quest_length=6, recipe=True)
    with_recipe.reset(seed=0)
    assert [g.verb for g in with_recipe.world.quest].count("cook") == 1


def test_an_unknown_command_is_answered_in_the_world():
    env = make("easy")
    _, before = env.reset(seed=0)
    obs, reward, terminated, truncated, info = env.step("sing a song")
    assert "You cannot sing a song." in obs and not info["valid_action"] and reward == 0.0
    assert not terminated and not truncated and info["progress"] == before["progress"]
    with pytest.raises(TypeError, match="an action is a string, not int"):
        env.step(3)


@pytest.mark.parametrize(
    "settings,sentence",
    [
        ({"rooms": 1}, "rooms is 1; allowed with these settings: a whole number from 2 to 16"),
        ({"rooms": 4, "doors": 2}, "doors is 2; allowed"),
        ({"quest_length": 1}, "quest_length is 1"),
        ({"quest_length": 3, "containers": 0}, "without containers it must be even"),
        ({"split": "tset"}, "split is 'tset'; allowed: 'train', 'test' .did you mean 'test'"),
        ({"max_steps": 0}, "max_steps is 0"),
        ({"worlds": 0}, "worlds is 0"),
        ({"doors": "1"}, "doors is '1'; allowed with these settings: a whole number from 0 to 1"),
        ({"recipe": 1}, "recipe is 1; allowed: True or False"),
        ({"roms": 3}, "a setting of Quest is 'roms'; allowed: .* .did you mean 'rooms'"),
        ({"render_mode": "asni"}, "render_mode is 'asni'; allowed: .* .did you mean 'ansi'"),
    ],
)
def test_a_bad_setting_is_one_clear_sentence(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        QuestEnv(**settings)


def test_numbers_of_numpy_make_the_same_world():
    ours, theirs = QuestEnv(rooms=4), QuestEnv(rooms=np.int64(4), worlds=np.int32(5), journal=np.True_)
    assert theirs.settings == ours.settings and theirs.tasks() == range(5)
    assert theirs.reset(options={"task": np.uint8(3)}) == ours.reset(options={"task": 3})


def test_a_refused_reset_changes_nothing():
    env = make("easy")
    obs = env.reset(seed=1)[0]
    for options in ({"task": -1}, {"tsk": 1}, "abc"):
        with pytest.raises(ValueError):
            env.reset(seed=2, options=options)
    assert env.render() is None and env.step("look")[0].splitlines()[0] == obs.splitlines()[0]
    again = make("easy")
    again.reset(seed=1)
    assert env.reset()[0] == again.reset()[0]  # the seed of the refused call was not taken


def test_worlds_limits_the_tasks_and_splits_never_meet():
    train, test = make("easy", worlds=3), make("easy", split="test")
    drawn = {train.reset(seed=s)[1]["meta"]["task"] for s in range(30)}
    assert drawn == {"quest-0", "quest-1", "quest-2"}
    test.reset(seed=0)
    assert test.task >= 2**30
    with pytest.raises(ValueError, match="task 0 is not in split 'test'"):
        test.reset(options={"task": 0})


def test_the_journal_names_what_was_seen_and_can_be_switched_off():
    env = QuestEnv(rooms=6, quest_length=4, journal=False)
    assert "Journal" not in env.reset(seed=0)[0]
    env = QuestEnv(rooms=6, quest_length=4)
    assert "Journal" in env.reset(seed=0)[0]


def test_an_infrastructure_failure_is_invalid_and_never_a_plain_zero(monkeypatch):
    from milepost.envs.errors import InfraError

    env = make("easy")
    env.reset(seed=0)

    def broken(command):
        raise InfraError("the interpreter died")

    monkeypatch.setattr(env, "_command", broken)
    _, _, terminated, truncated, info = env.step("look")
    assert truncated and not terminated and info["invalid"] is True and env.infra_failures == 1
    assert "died" in info["infra_error"]
    with pytest.raises(RuntimeError, match="call reset"):
        env.step("look")
