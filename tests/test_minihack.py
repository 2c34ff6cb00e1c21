"""milepost/MiniHack-v0: NetHack's own game in words, the same in every process, and nothing left behind."""

import hashlib
import os
import re
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

import milepost  # noqa: F401
from milepost.envs.errors import InfraError
from milepost.envs.text import minihack_game
from milepost.envs.text.minihack import MiniHackEnv

pytest.importorskip("minihack", reason="the extra minihack is not installed")
pytestmark = pytest.mark.minihack

LEVELS = ["Room-5x5", "KeyRoom-S5", "MultiRoom-N2", "Corridor-R2", "River-Narrow", "Quest-Easy"]
KEYROOM = ["pick up the key", "open the door", "reach the stairs"]


@pytest.fixture
def make():
    """Environments that are closed when the test is over."""
    made = []

    def build(level="KeyRoom-S5", face="v0", **kwargs):
        made.append(gym.make(f"milepost/MiniHack-{face}", level=level, disable_env_checker=True, **kwargs))
        return made[-1]

    yield build
    for env in made:
        env.close()


def test_a_key_room_from_end_to_end(make):
    env = make()
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


def test_what_is_not_admissible_does_nothing(make):
    env = make()
    obs, info = env.reset(options={"task": 0})
    for command in ("go east", "apply key north", "pick up", "quaff potion of sickness", "dance", ""):
        after, reward, terminated, truncated, later = env.step(command)
        assert not later["valid_action"] and (reward, terminated, truncated) == (0.0, False, False)
        assert later["screen"].split("\n")[1:] == info["screen"].split("\n")[1:]
        assert after.split("\n")[:5] == obs.split("\n")[:5] and after.endswith("> You cannot do that now.")
        assert later["message"] == "" and later["admissible_actions"] == info["admissible_actions"]


def test_the_info_shows_the_same_moment_in_three_more_ways(make):
    env = make()
    _, info = env.reset(options={"task": 0})
    assert info["message"].startswith("Hello Agent")
    crop, screen = info["crop"].split("\n"), info["screen"].split("\n")
    assert [len(row) for row in crop] == [9] * 9 and crop[4][4] == "@"
    assert len(screen) == 24 and "Agent the Footpad" in screen[22] and "T:" not in screen[23]
    assert crop[4] in screen[11].ljust(80)


@pytest.mark.parametrize("level", LEVELS)
def test_random_commands_always_leave_the_game_waiting(make, level):
    env, rng = make(level), np.random.default_rng(0)
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
def test_the_oracle_wins(make, level):
    env, won = make(level, split="test"), 0
    for task in range(5):
        env.reset(options={"task": 2**30 + task})
        over = False
        while not over:
            _, reward, terminated, truncated, info = env.step(env.unwrapped.oracle())
            over = terminated or truncated
        won += reward
        assert info["success"] == (reward == 1.0) and (not reward or all(info["subgoals"].values()))
    assert won == 5


def test_a_pile_is_picked_up_whole_and_things_are_used_by_name(make):
    env = make("Quest-Easy")
    _, info = env.reset(seed=0)
    assert {"horn", "wand"} <= {word for c in info["admissible_actions"] for word in c.split()}
    assert any(re.fullmatch(r"zap .*wand north", c) for c in info["admissible_actions"])
    worn = next(c for c in info["admissible_actions"] if c.startswith("wield"))
    *_, info = env.step(worn)
    assert worn not in info["admissible_actions"] and info["valid_action"]
    zapped = next(c for c in info["admissible_actions"] if c.startswith("zap") and c.endswith("east"))
    obs, *_, info = env.step(zapped)
    assert info["valid_action"] and "What do you want" not in obs


def test_a_horn_is_blown_in_a_direction(make):
    env = make("Quest-Easy")
    _, info = env.reset(options={"task": 0})
    *_, info = env.step(
        next(c for c in info["admissible_actions"] if c.startswith("apply") and c.endswith("horn east"))
    )
    assert info["valid_action"] and "The lava cools and solidifies." in info["message"]


@pytest.mark.parametrize(("level", "steps"), [("KeyRoom-S5", 60), ("River", 60), ("Room-Ultimate-15x15", 1000)])
def test_the_ground_and_what_lies_on_it_are_as_nethack_says(make, level, steps):
    """In River boulders are pushed over the hero's squares, in Room-Ultimate daggers are thrown and traps teleport."""
    env, rng, grounds, lay = make(level), np.random.default_rng(0), set(), 0
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
def test_another_thing_of_the_class_is_not_the_thing(make, level, other):
    from milepost.envs.text.minihack_goals import subgoals

    env = make(level)
    env.reset(seed=0)
    (name, truth), *_ = subgoals(level).items()
    game, thing = env.unwrapped.game, name.split()[-1]
    start = game.inventory
    for more, reached in ((other, False), (f"an uncursed {thing}", True), (f"2 {thing}s", True)):
        game.inventory = (*start, ("z", more, 0))
        assert truth(game) == reached


@pytest.mark.parametrize("level", ["KeyRoom-S5", "MultiRoom-N2-Locked"])
def test_the_patterns_of_the_predicate_judge_say_the_truth(make, level):
    from milepost.baselines.judge_eval import cases
    from milepost.wrappers.scorers import serve

    judge, seen = serve("predicate"), set()
    for case in cases(make(level), 150, 0):
        (said,) = judge.ask([case.question])
        assert {g for g, p in said.items() if p >= 0.5} == case.truth, case.question
        seen |= case.truth
    assert seen == set(case.question.subgoals)


def test_eating_is_the_end_of_its_level(make):
    env = make("Eat-Fixed")
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
def test_things_that_lie_there_are_taken_and_used(make, level, deed):
    env = make(f"{level}-Fixed")
    env.reset(seed=0)
    for command in ("go northwest", "go northwest", "pick up"):
        *_, info = env.step(command)
    assert list(info["subgoals"].values()) == [True, False]
    _, reward, terminated, _, info = env.step(next(c for c in info["admissible_actions"] if c.startswith(deed)))
    assert reward == 1.0 and terminated and all(info["subgoals"].values())


@pytest.mark.parametrize(("level", "deed"), [("Pray-Fixed", "pray"), ("Sink-Fixed", "drink from here")])
def test_deeds_that_need_a_place(make, level, deed):
    env = make(level)
    obs, _ = env.reset(seed=0)
    assert re.search(r"(altar|sink) \(2 north 2 west\)", obs)
    for command in ("go northwest", "go northwest"):
        env.step(command)
    _, reward, terminated, _, info = env.step(deed)
    assert (reward, terminated, info["success"]) == (1.0, True, True)


def test_death_ends_the_episode_without_success(make):
    env, rng, dead = make("Room-Ultimate-15x15"), np.random.default_rng(0), 0
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


def test_a_lock_pick_does_not_stand_in_for_the_key(make):
    env = make()
    _, info = env.reset(options={"task": 0})
    for _ in range(100):
        assert "lock pick" in env.unwrapped._look() and not any("lock pick" in c for c in info["admissible_actions"])
        *_, terminated, truncated, info = env.step(info["admissible_actions"][-1])
        if terminated or truncated:
            break


ROLLOUT = """
import hashlib, random, warnings
import numpy as np
random.seed(); np.random.seed()
from milepost.envs.text.minihack import MiniHackEnv
for level in ("KeyRoom-S5", "MultiRoom-N2", "Quest-Easy"):
    env, digest = MiniHackEnv(level), hashlib.sha256()
    for seed in (0, None, 5, None):
        rng = random.Random(1)
        *out, info = env.reset(seed=seed)
        for _ in range(40):
            digest.update(repr((out, info)).encode())
            *out, info = env.step(rng.choice(info["admissible_actions"]))
            if out[2] or out[3]:
                break
    print(level, digest.hexdigest())
    env.close()
"""


def test_the_same_seed_plays_the_same_in_two_processes():
    def played(hashseed):
        env = os.environ | {"PYTHONHASHSEED": hashseed}
        return subprocess.run([sys.executable, "-W", "ignore", "-c", ROLLOUT], capture_output=True, text=True, env=env)

    first, second = played("1"), played("4711")
    assert first.returncode == 0, first.stderr
    assert first.stdout.count("\n") == 3 and first.stdout == second.stdout


def test_the_level_does_not_depend_on_what_was_played_before(make):
    a, b = make("MultiRoom-N2"), make("MultiRoom-N2")
    for task in (3, 1, 2):
        a.reset(options={"task": task})
    assert a.reset(options={"task": 7})[0] == b.reset(options={"task": 7})[0]
    assert len({a.reset(options={"task": t})[1]["screen"] for t in range(8)}) > 6


def test_splits_share_no_task(make):
    train, test = make(worlds=3), make(split="test", worlds=3)
    assert train.unwrapped.tasks() == range(3) and test.unwrapped.tasks() == range(2**30, 2**30 + 3)
    assert train.reset(options={"task": 0})[0] != test.reset(options={"task": 2**30})[0]
    with pytest.raises(ValueError, match="task 0 is not in split 'test'"):
        test.reset(options={"task": 0})


def test_restored_games_go_on_the_same(make):
    env, rng = make("Quest-Easy"), np.random.default_rng(3)
    _, info = env.reset(seed=4)
    for _ in range(5):
        *_, info = env.step(str(rng.choice(info["admissible_actions"])))
    saved = env.unwrapped.snapshot()
    path = []
    for _ in range(10):
        command = str(rng.choice(info["admissible_actions"]))
        path.append((command, env.step(command)))
        info = path[-1][1][-1]
        if path[-1][1][2]:
            break
    other = make("Quest-Easy")
    other.reset(seed=99)
    for world in (env, other):
        world.unwrapped.restore(saved)
        for command, row in path:
            assert world.unwrapped.step(command) == row


def test_the_reference_is_the_oracles_play_and_changes_nothing(make):
    a, b = make("Corridor-R2"), make("Corridor-R2", expose_reference=True)
    (obs, info), (obs2, info2) = a.reset(seed=3), b.reset(seed=3)
    assert obs == obs2 and {k: v for k, v in info2.items() if k != "reference"} == info
    for command in info2["reference"]:
        (obs, reward, *_, info), (obs2, *_, later) = a.step(command), b.step(command)
        assert obs == obs2 and info["admissible_actions"] == later["admissible_actions"]
    assert reward == 1.0


def test_wrong_settings_are_refused_by_name():
    with pytest.raises(ValueError, match=r"level is 'KeyRom-S5'; allowed: .*did you mean 'KeyRoom-S5'"):
        MiniHackEnv("KeyRom-S5")
    with pytest.raises(ValueError, match=r"level is 5; allowed: 'Boxoban-Hard'"):
        MiniHackEnv(5)
    with pytest.raises(ValueError, match="max_steps is 0; allowed: None or a whole number from 1"):
        MiniHackEnv(max_steps=0)
    with pytest.raises(
        ValueError, match="expose_reference is True; allowed with level 'River': False, it has no oracle"
    ):
        MiniHackEnv("River", expose_reference=True)
    with pytest.raises(ImportError, match="level 'Boxoban-Hard' needs more than MiniHack: To use Boxoban"):
        MiniHackEnv("Boxoban-Hard")


def test_a_level_goes_by_its_id_too(make):
    assert make("MiniHack-KeyRoom-S5-v0").unwrapped.level == "KeyRoom-S5"
    assert make("Room-5x5").unwrapped.max_steps == 100 and make("Room-5x5", max_steps=7).unwrapped.max_steps == 7


def test_levels_without_an_oracle_say_so(make):
    env = make("River-Narrow")
    env.reset(seed=0)
    with pytest.raises(NotImplementedError, match="level 'River-Narrow' has no oracle; families that have: ClosedDoor"):
        env.unwrapped.oracle()


def test_without_minihack_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr(minihack_game.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"needs MiniHack: pip install 'milepost\[minihack\]'"):
        MiniHackEnv()


def test_a_nethack_that_breaks_down_is_no_zero(make, monkeypatch):
    env = make()
    _, info = env.reset(seed=0)
    keys = set(info) - {"meta"}

    def broken(key):
        raise RuntimeError("out of order")

    monkeypatch.setattr(env.unwrapped.game.raw.nethack, "step", broken)
    *_, terminated, truncated, info = env.step(info["admissible_actions"][0])
    assert (terminated, truncated, info["invalid"]) == (False, True, True) and "out of order" in info["infra_error"]
    assert keys <= set(info) and env.unwrapped.infra_failures == 1
    monkeypatch.setattr(env.unwrapped.game.raw, "reset", lambda: broken(0))
    with pytest.raises(InfraError, match="NetHack does not start level 'KeyRoom-S5': out of order"):
        env.reset()


@pytest.mark.parametrize("face", ["v0", "encoded-v0", "glyphs-v0", "features-v0"])
def test_gymnasium_is_content(face):
    env = gym.make(f"milepost/MiniHack-{face}", disable_env_checker=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=r".*is different from the unwrapped version.*")
        check_env(env if face != "v0" else env.unwrapped, skip_render_check=True)
    env.close()


def test_doing_nothing_earns_nothing(make):
    for env, nothing in ((make(max_steps=30), ""), (make(face="glyphs-v0", max_steps=30), 9)):
        env.reset(seed=0)
        total, over = 0.0, False
        while not over:
            _, reward, terminated, truncated, info = env.step(nothing)
            total, over = total + reward, terminated or truncated
        assert total == 0.0 and truncated and not info["success"]


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("face", ["v0", "glyphs-v0"])
def test_vectors_show_what_single_environments_show(make, face, kind, mode):
    def digest(obs):
        parts = [obs[k].tobytes() for k in sorted(obs)] if isinstance(obs, dict) else [obs.encode()]
        return hashlib.sha256(b"".join(parts)).hexdigest()

    single = make(face=face, max_steps=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        vector = gym.make_vec(
            f"milepost/MiniHack-{face}", 2, kind, {"autoreset_mode": mode}, None, max_steps=3, disable_env_checker=True
        )
    try:
        vector.reset(seed=[7, 7])
        _, info = single.reset(seed=7)
        for _ in range(3):
            command = info["admissible_actions"][0]
            act = single.get_wrapper_attr("index_of")(command) if face != "v0" else command
            obs, _, _, truncated, _ = vector.step(np.array([act] * 2) if face != "v0" else (act,) * 2)
            alone, *_, info = single.step(act)
        assert truncated.all()
        if mode == AutoresetMode.SAME_STEP:
            alone, _ = single.reset()
        first = {k: v[0] for k, v in obs.items()} if isinstance(obs, dict) else obs[0]
        assert digest(first) == digest(alone)
    finally:
        vector.close()


# -- nothing is left behind ------------------------------------------------------------------------
def leftovers():
    return {p.name for p in Path(tempfile.gettempdir()).glob("nle*")}


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder for temporary files that no other process uses."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_nothing_is_left_after_close(own):
    files, before = leftovers(), len(os.listdir("/proc/self/fd"))
    env = MiniHackEnv()
    env.reset(seed=0)
    assert leftovers() > files
    opened = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        _, info = env.reset()
        env.step(info["admissible_actions"][0])
    assert len(os.listdir("/proc/self/fd")) <= opened
    env.close()
    env.close()
    assert leftovers() == files and len(os.listdir("/proc/self/fd")) <= before
    assert env.reset(seed=0)[0]  # another NetHack
    env.close()
    assert leftovers() == files


@pytest.mark.full
def test_resets_do_not_leak(own):
    import resource

    env = MiniHackEnv("MultiRoom-N2")
    env.reset(seed=0)
    files, opened = leftovers(), len(os.listdir("/proc/self/fd"))
    kept = []
    for k in range(400):
        _, info = env.reset()
        for _ in range(5):
            *_, terminated, _, info = env.step(info["admissible_actions"][0])
            if terminated:
                break
        if k in (100, 399):
            kept.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    assert len(os.listdir("/proc/self/fd")) == opened and leftovers() == files
    assert kept[1] - kept[0] < 50_000  # kB
    env.close()


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
