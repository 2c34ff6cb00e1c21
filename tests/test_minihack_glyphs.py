"""The glyph face of MiniHack: arrays in, an index into a fixed list of words out."""

import gymnasium as gym
import numpy as np
import pytest

import milepost  # noqa: F401
from milepost.envs.text.glyphs import Glyphs, word_of

pytest.importorskip("minihack", reason="the extra minihack is not installed")
pytestmark = pytest.mark.minihack


def test_the_words_of_the_glyph_face_stay_the_same(minihack):
    env = minihack(face="glyphs-v0")
    obs, info = env.reset(options={"task": 0})
    assert env.unwrapped.level == "KeyRoom-S5" and env.get_wrapper_attr("words") == (
        *(f"go {d}" for d in "north northeast east southeast south southwest west northwest".split()),
        "pick up",
        "apply key",
    )
    assert obs["glyphs"].shape == (21, 79) and obs["chars_crop"][4, 4] == ord("@") and obs["blstats"][10] == 12
    assert bytes(obs["message"]).startswith(b"Hello Agent")
    mask = env.get_wrapper_attr("action_masks")()
    assert mask.tolist() == obs["action_mask"].astype(bool).tolist() == info["action_mask"].astype(bool).tolist()
    assert {w for w, m in zip(env.get_wrapper_attr("words"), mask) if m} == set(info["admissible_actions"])
    *_, info = env.step(9)  # no door here
    assert not info["valid_action"]
    *_, info = env.step(99)
    assert not info["valid_action"]


def test_the_glyph_face_can_be_solved_by_its_indices(minihack):
    env = minihack(face="features-v0")
    obs, info = env.reset(options={"task": 0})
    start, held, over = obs["features"], [], False
    assert (
        start.min() >= 0
        and start.max() <= 1
        and start[: 81 * 17].sum() == 81
        and set(obs) == {"features", "action_mask"}
    )
    while not over:
        act = env.get_wrapper_attr("index_of")(env.unwrapped.oracle())
        assert obs["action_mask"][act]
        obs, reward, over, _, info = env.step(act)
        held.append(float(obs["features"][-4]))
        assert held[-1] == float(info["subgoals"]["pick up the key"])
    assert reward == 1.0 and 0.0 in held and 1.0 in held


def test_the_glyph_face_refuses_what_it_does_not_know(minihack):
    with pytest.raises(ValueError, match=r"a key of Glyphs is 'glyph'; allowed: 'glyphs', .*did you mean 'glyphs'"):
        Glyphs(minihack(), keys=["glyph"])
    with pytest.raises(ValueError, match=r"Glyphs goes around milepost/MiniHack-v0, not <QuestEnv"):
        Glyphs(gym.make("milepost/Quest-v0"))
    env = minihack(face="glyphs-v0")
    env.reset(seed=0)
    with pytest.raises(TypeError, match="an action is the index of a word, a whole number, not 'north'"):
        env.step("north")


@pytest.mark.parametrize("level", ["Corridor-R2", "Quest-Easy", "Freeze-Horn-Restricted"])
def test_every_command_has_a_word(minihack, level):
    env, rng = minihack(level, face="glyphs-v0"), np.random.default_rng(0)
    _, info = env.reset(seed=1)
    for _ in range(30):
        words = env.get_wrapper_attr("words")
        assert {word_of(c) for c in info["admissible_actions"]} <= set(words)
        *_, terminated, _, info = env.step(int(rng.choice(np.flatnonzero(info["action_mask"]))))
        if terminated:
            _, info = env.reset()
        assert info.get("valid_action", True)
