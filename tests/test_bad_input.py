"""What is not understood is one sentence that says what is allowed; what cannot be known is not claimed."""

import json
import math
import re

import gymnasium as gym
import numpy as np
import pytest

import milepost  # noqa: F401
from milepost.__main__ import main
from milepost.baselines.evaluate import evaluate
from milepost.baselines.random_agent import RandomAgent
from milepost.envs.text.quest.env import QuestEnv

QUEST = "milepost/Quest-easy-v0"


@pytest.mark.core
@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"rooms": "a"}, "rooms is 'a'; allowed.*a whole number from 2"),
        ({"worlds": "8"}, "worlds is '8'; allowed: None or a whole number from 1"),
        ({"worlds": 8.5}, "worlds is 8.5; allowed"),
        ({"worlds": True}, "worlds is True; allowed"),
        ({"max_steps": True}, "max_steps is True; allowed: a whole number from 1"),
        ({"journal": "no"}, "journal is 'no'; allowed: True or False"),
        ({"expose_reference": "no"}, "expose_reference is 'no'; allowed: True or False"),
        ({"romms": 4}, r"'romms'.*did you mean 'rooms'"),
    ],
)
def test_a_bad_setting_of_quest_is_named_when_it_is_made(settings, sentence):
    for make in (QuestEnv, lambda **kw: gym.make("milepost/Quest-v0", **kw)):
        with pytest.raises(ValueError, match=sentence):
            make(**settings)


@pytest.mark.textworld
@pytest.mark.parametrize("settings", [{"game": 3}, {"challenge": ["x"]}, {"cache": 3}, {"expose_facts": "no"}])
def test_a_bad_setting_of_textworld_is_named_when_it_is_made(settings):
    pytest.importorskip("textworld", reason="the extra textworld is not installed")
    ((name, value),) = settings.items()
    with pytest.raises(ValueError, match=re.escape(f"{name} is {value!r}; allowed")):
        gym.make("milepost/TextWorld-v0", **settings)


@pytest.mark.core
def test_a_task_may_be_any_whole_number_and_options_are_a_dict():
    env = QuestEnv()
    _, info = env.reset(options={"task": np.int64(3)})
    assert info["meta"]["task"] == "quest-3"
    for options in (5, "abc", []):
        with pytest.raises(ValueError, match=r"options"):
            env.reset(options=options)
    with pytest.raises(ValueError, match="task True is not in split"):
        env.reset(options={"task": True})


@pytest.mark.core
def test_an_encoded_action_is_a_whole_number():
    env = gym.make("milepost/Quest-easy-encoded-v0", disable_env_checker=True)
    env.reset(seed=0)
    for action in ("look", None, 1.7):
        with pytest.raises(TypeError, match="an encoded action is the index of a row, a whole number, not"):
            env.step(action)
    assert not env.step(np.int64(31))[-1]["valid_action"]


class Silent(gym.Wrapper):
    """Says nothing of success."""

    def step(self, action):
        *row, info = self.env.step(action)
        return *row, {k: v for k, v in info.items() if k != "success"}


@pytest.mark.core
def test_a_positive_return_is_no_success():
    cart = gym.make("CartPole-v1")
    got = evaluate(RandomAgent(cart.action_space), cart, 3)
    assert math.isnan(got.success) and got.env_return > 0 and got.as_dict()["success"] is None
    assert json.loads(json.dumps(got.as_dict(), allow_nan=False))["success"] is None
    quest = gym.make(QUEST)
    assert evaluate(RandomAgent(quest.action_space), quest, 3).success in (0.0, 1 / 3, 2 / 3, 1.0)
    assert math.isnan(evaluate(RandomAgent(quest.action_space), Silent(quest), 3).success)


def said(capsys, *args):
    code = main(args)
    err = capsys.readouterr().err
    assert code == 2 and err.startswith("milepost: ") and err.count("\n") == 1, err
    return err


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        ((QUEST, "--set", "split=test"), "split is 'test'; allowed: no split here"),
        (("CartPole-v1",), "the text agent needs observations that are text"),
        (("milepost/Quest-easy-encoded-v0",), "use an id's text face"),
        ((QUEST, "--agent-set", "lanes=0"), "lanes is 0; allowed: a whole number from 1"),
        ((QUEST, "--agent-set", "lr=x"), "lr is 'x'; allowed: a number above 0"),
        ((QUEST, "--agent-set", "gamma=3"), "gamma is 3; allowed: a number from 0 to 1"),
        ((QUEST, "--agent", "ppo", "--agent-set", "n_steps=0"), "ppo: n_steps is 0; allowed: a whole number from 1"),
        ((QUEST, "--agent", "dqn", "--agent-set", "learning_rate=x"), "dqn: learning_rate is 'x'; allowed"),
        ((QUEST, "--shape", "mix(parts=[])"), "parts is empty"),
        ((QUEST, "--shape", "conserve(child=None)"), "child is None"),
        ((QUEST, "--shape", "grpo"), "compares the episodes of a group"),
    ],
)
def test_training_says_what_is_wrong_and_leaves_nothing_behind(capsys, tmp_path, args, sentence):
    pytest.importorskip("stable_baselines3", reason="the extra sb3 is not installed")
    out = tmp_path / "run"
    assert sentence in said(capsys, "train", *args, "--steps", "10", "--eval-every", "10", "--out", str(out))
    assert not out.exists()


def test_a_suite_on_the_test_split_or_of_an_agent_that_cannot_read_is_refused(capsys, tmp_path):
    file = tmp_path / "suite.toml"
    file.write_text(f"[[env]]\nid = '{QUEST}'\nsettings = {{ split = 'test' }}\n[[agent]]\nname = 'random'\n")
    assert "split is 'test'" in said(capsys, "bench", str(file), "--out", str(tmp_path / "out"))
    file.write_text("[[env]]\nid = 'milepost/Quest-easy-encoded-v0'\n")
    assert "the text agent needs observations that are text" in said(
        capsys, "bench", str(file), "--out", str(tmp_path / "out")
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.textworld
def test_a_game_by_its_file_is_scored_on_itself_and_says_so(capsys, tmp_path):
    pytest.importorskip("textworld", reason="the extra textworld is not installed")
    from milepost.cli.run import same_worlds
    from milepost.envs.text.textworld_games import game_file

    made = game_file("coin_collector", {"level": 1}, 0, str(tmp_path))
    assert "the score is on the very game that was trained on" in same_worlds("milepost/TextWorld-v0", {"game": made})
    assert same_worlds(QUEST, {}) == same_worlds("CartPole-v1", {}) == ""


def test_an_id_is_found_without_its_namespace(capsys):
    assert "did you mean 'milepost/Quest-v0'?" in said(capsys, "info", "Qest-v0")


def test_shaped_ids_are_scored_without_their_layers_on_the_same_face():
    from milepost.cli.run import held_out

    for face, space in (("", "Unicode"), ("-encoded", "Dict")):
        env = held_out(f"milepost/Quest-easy-shaped{face}-v0", {})
        assert env.spec.id == f"milepost/Quest-easy{face}-v0" and type(env.observation_space).__name__ == space


def test_sb3_is_warned_where_its_discount_is_not_that_of_a_potential():
    sb3 = pytest.importorskip("milepost.baselines.sb3", reason="the extra sb3 is not installed")
    from milepost import shape
    from milepost.wrappers import PotentialShaping

    env = shape(gym.make("milepost/Quest-easy-encoded-v0"), [PotentialShaping()])
    with pytest.warns(UserWarning, match=r"potential_shaping discounts by 0.99 and the agent by 0.9"):
        sb3.make_sb3("dqn", env)
    import warnings

    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*discounts by.*")
        sb3.make_sb3("ppo", env)
        sb3.make_sb3("dqn", env, gamma=0.99)
