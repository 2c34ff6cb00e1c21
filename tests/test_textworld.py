"""milepost/TextWorld-v0: the games are TextWorld's own, whatever is remembered or computed beside them."""

import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import warnings
from collections import deque
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import milepost  # noqa: F401
from milepost.envs.errors import InfraError
from milepost.envs.text import textworld_games as games
from milepost.envs.text.textworld import TextWorldEnv

textworld = pytest.importorskip("textworld", reason="the extra textworld is not installed")
pytestmark = pytest.mark.textworld

BIG = {"recipe": 2, "take": 2, "go": 6, "cook": True, "cut": True, "drop": True}
KINDS = {
    "simple": ("simple", {}),
    "coins": ("coin_collector", {"level": 105}),
    "treasure": ("treasure_hunter", {"level": 15}),
    "cooking": ("cooking", {}),
    "drop": ("cooking", BIG),
    "custom": ("custom", {}),
}


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """All games of this file, made once."""
    folder = str(tmp_path_factory.mktemp("games"))
    for challenge, settings in KINDS.values():
        games.prepare(challenge, settings, [0], folder, progress=False)
    games.prepare("custom", {}, [1, 2**30], folder, progress=False)
    return folder


@pytest.fixture
def make(cache):
    def build(kind, **kwargs):
        challenge, settings = KINDS[kind]
        return TextWorldEnv(challenge, cache=cache, **{"worlds": 1, **settings, **kwargs})

    return build


def walk(env, rng, steps, odd=0.0):
    """A random episode: (observation, reward, terminated, truncated, info) of each step, and the commands."""
    strange = ["xyzzy", "", "go up", "take all", "examine it", "wait", "eat table", "g", "quit", "open fridge. look"]
    out, commands = [env.reset(seed=0)], []
    for _ in range(steps):
        command = rng.choice(strange) if rng.random() < odd else rng.choice(out[-1][-1]["admissible_actions"])
        out.append(env.step(command))
        commands.append(command)
        if out[-1][2] or out[-1][3]:
            break
    return out, commands


@pytest.mark.parametrize("kind", KINDS)
def test_the_oracle_wins(make, kind):
    env = make(kind, max_steps=100)
    _, info = env.reset(seed=0)
    keys, progress, done = list(info["subgoals"]), [info["progress"]], False
    assert not any(info["subgoals"].values())
    while not done:
        _, reward, terminated, truncated, info = env.step(env.oracle())
        assert info["valid_action"] and list(info["subgoals"]) == keys
        progress.append(info["progress"])
        done = terminated or truncated
    assert (reward, terminated, info["success"], info["won"], info["lost"]) == (1.0, True, True, True, False)
    assert info["score"] == info["max_score"] and all(info["subgoals"].values())
    assert progress[0] == 0.0 and progress[-1] == 1.0
    if env._measure() == "exact":
        assert all(a < b for a, b in itertools.pairwise(progress))


@pytest.mark.parametrize("kind", KINDS)
def test_everything_is_what_textworld_says(make, kind):
    """Facts, commands, room, hands, score and answers, beside TextWorld's own environment with all its tracking."""
    env = make(kind, expose_facts=True, remember=0)
    env.reset(seed=0)
    path = env._files[0]
    wanted = ("description", "inventory", "admissible_commands", "facts", "score", "won", "lost")
    theirs = textworld.start(path, textworld.EnvInfos(**dict.fromkeys(wanted, True)))
    rng, odd = random.Random(1), ["xyzzy", "go up", "take all", "wait", "eat table"]
    for _ in range(3):
        state, (_, info) = theirs.reset(), env.reset(seed=0)
        for _ in range(15):
            facts = tuple(sorted(f"{f.name}({', '.join(v.name for v in f.arguments)})" for f in state.facts))
            if kind != "drop":  # which of the free hands took a thing is TextWorld's order of sets
                assert info["facts"] == facts
            assert info["admissible_actions"] == tuple(state.admissible_commands)
            assert env._now.description == state.description.strip() and env._now.inventory == state.inventory.strip()
            assert (info["score"], info["won"], info["lost"]) == (state.score or 0, state.won, state.lost)
            if state.won or state.lost:
                break
            command = rng.choice(odd) if rng.random() < 0.1 else rng.choice(state.admissible_commands)
            state, *_ = theirs.step(command)
            *_, info = env.step(command)
            first = state.feedback.split("\n>   ")[0].strip().split(", in ")[0]
            assert env._feedback.startswith(first)


@pytest.mark.parametrize("kind", ["custom", "cooking", "simple", "treasure"])
def test_what_is_remembered_is_what_would_have_happened(make, kind):
    exact, quick, small = make(kind, remember=0), make(kind), make(kind, remember=5)
    for k in range(5):
        for odd in (0.0, 0.05):
            runs = [walk(env, random.Random(k), 25, odd) for env in (exact, quick, small)]
            assert runs[0] == runs[1] == runs[2]
    assert len(quick._game._known) > 10 and len(small._game._known) <= 5


def test_progress_is_a_function_of_the_state(make):
    """The map has a loop: TextWorld's repaired walkthrough has several lengths for one state."""
    env, seen = make("treasure", expose_facts=True), {}
    again = 0
    for k in range(15):
        for *_, info in walk(env, random.Random(k), 40)[0]:
            if not info["won"] and not info["lost"]:
                again += info["facts"] in seen
                assert seen.setdefault(info["facts"], info["progress"]) == info["progress"]
    assert again > 50 and len(set(seen.values())) > 3


@pytest.mark.parametrize("kind", ["custom", "coins", "treasure"])
def test_exact_distances_are_shortest(make, kind):
    """Against a plain search over all rules, from states that useless commands have changed."""
    env = make(kind)
    env.reset(seed=0)
    logic, planner = env._game.logic, env._game.planner
    assert planner.exact
    rng, state = random.Random(3), logic.start
    for _ in range(6):
        for _ in range(2):
            rule = rng.choice([r for r in logic.rules if state & r.pre == r.pre])
            state, lost = logic.apply(state, rule)
            assert not lost
        if state & logic.goal == logic.goal:
            break
        assert planner.length(state) == shortest(logic, state, limit=planner.length(state))
        steps = planner.plan(state)
        assert len(steps) == planner.length(state)


def shortest(logic, start, limit):
    """Plain search, first layers only: None if there is nothing within ``limit``."""
    todo, seen = deque([(start, 0)]), {start}
    while todo:
        state, far = todo.popleft()
        if state & logic.goal == logic.goal:
            return far
        if far < min(limit, 5):
            for rule in logic.rules:
                if state & rule.pre == rule.pre and (then := logic.apply(state, rule))[0] not in seen and not then[1]:
                    seen.add(then[0])
                    todo.append((then[0], far + 1))
    return limit if limit > 5 else None  # nothing shorter among the first five layers


def test_a_lost_game_ends_with_nothing(make):
    env = make("cooking")
    for k in range(40):
        steps, commands = walk(env, random.Random(k), 50)
        _, reward, terminated, _, info = steps[-1]
        if info["lost"]:
            break
    assert info["lost"] and terminated and reward == 0.0 and not info["success"] and info["progress"] == 0.0
    assert commands[-1].split()[0] in ("eat", "cook", "chop", "slice", "dice") and "over" not in info
    with pytest.raises(RuntimeError, match="the episode is over"):
        env.step("look")


@pytest.mark.parametrize("remember", [0, 5_000])
def test_restored_games_go_on_the_same(make, remember):
    for odd in ((), ("xyzzy",)):
        env, other = make("custom", remember=remember), make("custom", remember=remember)
        _, info = env.reset(seed=0)
        for command in (*info["admissible_actions"][-1:], *odd, "look", "take all"):
            env.step(command)
        saved = json.loads(json.dumps(env.snapshot()["state"]))
        whole = env.snapshot() | {"state": saved}
        ahead = [env.step(c) for c in ("look", "inventory", "examine it", env.oracle())]
        other.reset(seed=5)
        for copy in (env, other):
            copy.restore(whole)
            assert [copy.step(c) for c in ("look", "inventory", "examine it", copy.oracle())][:3] == ahead[:3]


def test_commands_that_are_none(make):
    env = make("cooking")
    _, before = env.reset(seed=0)
    for command in ("quit", "SAVE", "undo", "tw-print max_score", "", "x" * 250, "take ä", "dance", "take moon"):
        obs, reward, terminated, truncated, info = env.step(command)
        assert not info["valid_action"] and (reward, terminated, truncated) == (0.0, False, False)
        assert info["admissible_actions"] == before["admissible_actions"] and info["score"] == before["score"]
        assert obs.splitlines()[-1].startswith("> ") and len(obs.splitlines()[-1]) > 5
    *_, info = env.step("Open  FRIDGE")
    assert info["valid_action"] and info["subgoals"]["1 open"]
    with pytest.raises(TypeError, match="an action is a string, not int"):
        env.step(3)


def test_what_was_read_stays_in_sight(make):
    env = make("cooking", max_steps=4)
    obs, _ = env.reset(seed=0)
    assert [line.split(":")[0] for line in obs.splitlines()] == ["Objective", "Journal", "Room", "You are carrying"]
    assert "nothing read yet" in obs
    read = env.step("examine cookbook")[0]
    assert "Ingredients:; " in read and "prepare meal" in read
    *_, truncated, info = [env.step("look") for _ in range(3)][-1]
    assert truncated
    assert read.splitlines()[1] in info["messages"][-1]["content"].splitlines()
    assert "Journal" not in make("cooking", journal=False).reset(seed=0)[0]


def test_a_broken_interpreter_is_nobodys_failure(make, monkeypatch):
    env = make("custom", remember=0, expose_facts=True)
    env.reset(seed=0)
    usual = env.step("look")[-1]
    monkeypatch.setattr(env._game._env, "_send", lambda command: (_ for _ in ()).throw(RuntimeError("core dumped")))
    _, reward, terminated, truncated, info = env.step("look")
    assert (reward, terminated, truncated, info["invalid"], env.infra_failures) == (0.0, False, True, True, 1)
    assert "core dumped" in info["infra_error"]
    assert set(info) - {"invalid", "infra_error"} == set(usual)  # the keys stay the same
    assert (info["won"], info["lost"], info["facts"]) == (False, False, ())
    monkeypatch.setattr(env._game._env, "_send", lambda command: "")
    env._over = False
    assert env.step("look")[-1]["invalid"]
    monkeypatch.undo()
    env.reset(seed=0)
    assert env.step("look")[-1]["valid_action"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"challenge": "coking"}, r"challenge is 'coking'; allowed: .* \(did you mean 'cooking'\?\)"),
        ({"challenge": "cooking", "recpe": 2}, r"a setting of challenge 'cooking' is 'recpe'; .*did you mean 'recipe'"),
        ({"challenge": "cooking", "recipe": 9}, r"recipe is 9; allowed: whole numbers from 1 to 5"),
        ({"challenge": "cooking", "go": 2}, r"go is 2; allowed: 1, 6, 9, 12"),
        ({"challenge": "cooking", "open": 1}, r"open is 1; allowed: False, True"),
        ({"challenge": "cooking", "recipe": 1, "take": 2}, r"take is 2; allowed: at most recipe, which is 1"),
        ({"challenge": "coin_collector", "level": 199}, r"level is 199; allowed: levels of at most 100 rooms"),
        ({"challenge": "custom", "rooms": True}, r"rooms is True; allowed: whole numbers from 1 to 50"),
        ({"split": "valid"}, r"split is 'valid'; allowed: 'train', 'test'"),
        ({"remember": -1}, r"remember is -1; allowed: a whole number from 0"),
        ({"game": "x.z8", "challenge": "custom"}, r"challenge 'custom' goes with a generated game"),
        ({"game": "x.z8", "rooms": 3}, r"setting 'rooms' goes with a generated game"),
        ({"game": "x.z5"}, r"game is 'x.z5'; allowed: the path of a .z8 file"),
        ({"game": "nowhere.z8"}, r"game is 'nowhere.z8'; there is no such file"),
        ({"max_stepz": 3}, r"a setting of challenge 'cooking' is 'max_stepz'; .*did you mean 'max_steps'"),
        ({"cache": __file__}, r"cache is '.*'; allowed: the path of a folder, and '.*test_textworld.py' is a file"),
        ({"cache": f"{__file__}/deeper"}, r"test_textworld.py' is a file"),
        ({"cache": ""}, r"cache is ''; allowed: None or the path of a folder"),
        ({"remember": True}, r"remember is True; allowed: a whole number from 0"),
        ({"journal": 1}, r"journal is 1; allowed: True or False"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        TextWorldEnv(**settings)


def test_a_game_by_its_file(make, cache, tmp_path):
    made = Path(games.game_file("custom", {}, 0, cache))
    assert TextWorldEnv(game=made, cache=tmp_path).path == str(made)  # paths of pathlib will do
    env = TextWorldEnv(game=str(made), expose_reference=True)
    obs, info = env.reset(seed=3)
    assert obs == make("custom").reset(seed=0)[0] and info["meta"]["task"] == "textworld-game-0"
    for command in info["reference"]:
        *_, info = env.step(command)
    assert info["success"]
    with pytest.raises(ValueError, match="task 1 is not in split 'train': whole numbers from 0 to 0"):
        env.reset(options={"task": 1})
    lone = tmp_path / "lone.z8"
    shutil.copy(made, lone)
    with pytest.raises(ValueError, match=r"its description 'lone.json' must lie beside it"):
        TextWorldEnv(game=str(lone))
    for wrong in ("{}", "[1", '{"version": 1}'):
        lone.with_suffix(".json").write_text(wrong)
        with pytest.raises(ValueError, match="the two files are no game of TextWorld"):
            TextWorldEnv(game=str(lone))


def test_without_textworld_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr(games.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"needs TextWorld: pip install 'milepost\[textworld\]'"):
        TextWorldEnv()


def test_splits_and_worlds(make):
    train, test = make("custom", worlds=2), make("custom", split="test")
    assert train.tasks() == range(0, 2) and test.tasks() == range(2**30, 2**30 + 1)
    assert {train.reset(seed=s)[1]["meta"]["task"] for s in range(8)} == {"textworld-custom-0", "textworld-custom-1"}
    assert test.reset(seed=0)[0] != train.reset(options={"task": 0})[0]
    with pytest.raises(ValueError, match="task 0 is not in split 'test'"):
        test.reset(options={"task": 0})


MADE = "import sys; from milepost.envs.text.textworld_games import game_file; game_file('custom', {}, 0, sys.argv[1])"
ROLLOUT = """
import hashlib, random, sys
from milepost.envs.text.textworld import TextWorldEnv
for challenge in ("custom", "cooking"):
    env = TextWorldEnv(challenge, cache=sys.argv[1], worlds=1, expose_facts=True, expose_reference=True)
    digest = hashlib.sha256()
    for seed in (0, None, 5):
        rng = random.Random(1)
        *out, info = env.reset(seed=seed)
        done = False
        while not done:
            digest.update(repr((out, info)).encode())
            *out, info = env.step(rng.choice(info["admissible_actions"]))
            done = out[2] or out[3]
    print(challenge, digest.hexdigest())
"""


def python(code, hashseed, *args):
    env = os.environ | {"PYTHONHASHSEED": hashseed}
    return subprocess.run(
        [sys.executable, "-c", code, *args], capture_output=True, text=True, env=env, check=True
    ).stdout


def test_the_same_seed_makes_the_same_game_in_any_process(cache, tmp_path):
    python(MADE, "4711", str(tmp_path))
    first = Path(games.game_file("custom", {}, 0, cache))
    second = tmp_path / first.name
    assert first.with_suffix(".json").read_bytes() == second.with_suffix(".json").read_bytes()
    a, b = first.read_bytes(), second.read_bytes()
    # bytes 18 to 23 are the date of compilation, 28 and 29 the checksum over it
    assert len(a) == len(b) and a[0x40:] == b[0x40:]
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".making")]


def test_the_same_seed_plays_the_same_in_two_processes(cache):
    first = python(ROLLOUT, "1", cache)
    assert first.count("\n") == 2 and first == python(ROLLOUT, "99", cache)


def test_two_at_once_make_one_game(tmp_path, capsys):
    paths = games.prepare("coin_collector", {"level": 2}, [7, 7], str(tmp_path), processes=2)
    assert paths[0] == paths[1] and "2 of 2 games made" in capsys.readouterr().err
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".json", ".z8"]


def test_a_generator_that_fails_is_told_apart(tmp_path, monkeypatch):
    impossible = games.check("cooking", {}) | {"recipe": 99}  # whatever `check` lets through, TextWorld makes
    with pytest.raises(ValueError, match=r"no cooking game can be made with .*'recipe': 99"):
        games._generate("cooking", impossible, 0, str(tmp_path))
    monkeypatch.setattr(games, "_PATIENCE", 0.01)
    with pytest.raises(InfraError, match=r"TextWorld made no custom game 1 within"):
        games.game_file("custom", {}, 1, str(tmp_path))
    assert not list(tmp_path.iterdir())


def test_gymnasium_is_content(cache):
    kwargs = {"challenge": "custom", "cache": cache, "worlds": 1}
    env = gym.make("milepost/TextWorld-v0", **kwargs)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped, skip_render_check=True)
    for kind in ("sync", "async"):
        vector = gym.make_vec("milepost/TextWorld-v0", 2, kind, **kwargs)
        obs, info = vector.reset(seed=1)
        assert obs[0] == obs[1] and obs[0] == env.reset(seed=1)[0]
        *_, info = vector.step(("look", "xyzzy"))
        assert info["valid_action"].tolist() == [True, False]
        vector.close()


def test_the_encoded_face(cache):
    env = gym.make("milepost/TextWorld-encoded-v0", challenge="cooking", cache=cache, worlds=1)
    obs, info = env.reset(seed=0)
    assert obs in env.observation_space and obs["action_mask"].sum() == len(info["admissible_actions"])
    for command in env.unwrapped._plan():
        obs, reward, *_, info = env.step(info["admissible_actions"].index(command))
    assert reward == 1.0
    env.reset(seed=0)
    obs, *_, info = env.step(63)
    assert obs["action_mask"][63] == 0 and not info["valid_action"] and np.isfinite(obs["observation"]).all()
