"""POLAR: rewards by a reference (``wrappers/episode/reference_reward.py``)."""

import importlib.util
import math
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.wrappers import FusedAdvantage, MissingFact, ReferenceReward, Stack, shape
from milepost.wrappers.episode.reference_reward import token_f1, without_thinking
from milepost.wrappers.hosts.trainer import dialogue

_spec = importlib.util.spec_from_file_location("talk", Path(__file__).with_name("talk.py"))
talk = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(talk)
sums = talk.sums
pytestmark = pytest.mark.core


def answer(text, reference="the red key", **meta):
    return dialogue("Task: find it", [{"role": "assistant", "content": text}], reference=reference, **meta)


def test_token_f1_by_hand():
    # "a a b" and "a b c": shared a, b: 2 of 3 each: 2/3
    assert token_f1("", "a a b", "a b c") == pytest.approx(2 / 3)
    assert token_f1("", "a b", "A, b.") == 1.0 and token_f1("", "a", "") == token_f1("", "", "") == 0.0
    assert token_f1("", "a", "a a a") == pytest.approx(0.5)  # saying it again costs


def readme(prompt, reference, candidate):
    """The pair of POLAR's README."""
    return {"right": -0.57, "wrong": -11.03, "silence": None, "the red key": -0.5}[candidate]


def test_polar_of_the_card():
    right, wrong = sums(ReferenceReward(scorer=readme), [answer("right"), answer("wrong")])
    assert np.logaddexp(0, wrong - right) == pytest.approx(2.866e-5, abs=1e-8)
    assert 1 / (1 + math.exp(wrong - right)) == pytest.approx(0.99997, abs=1e-5)


def test_reference_reward_by_hand():
    group = [answer("right"), answer("wrong"), answer("silence")]
    assert sums(ReferenceReward(scorer=readme), group) == pytest.approx([-0.57, -11.03, 0.0])
    # the reference scores -.5 against itself: -.07, -10.53, and nothing for silence
    assert sums(ReferenceReward(scorer=readme, baseline="reference"), group) == pytest.approx([-0.07, -10.53, 0.0])
    # the mean of the two answers is -5.8; the failure stays out of it
    assert sums(ReferenceReward(scorer=readme, baseline="group"), group) == pytest.approx([5.23, -5.23, 0.0])
    got = sums(ReferenceReward(scorer=readme, baseline="group", squash="sigmoid", weight=2.0, on_failure=-1.0), group)
    assert got == pytest.approx([2 / (1 + math.exp(-5.23)), 2 / (1 + math.exp(5.23)), -2.0])
    stack = Stack([ReferenceReward(scorer=readme)])
    stack.run(group)
    assert stack.stats() == {"reference_reward/scores": 3, "reference_reward/failures": 1}
    # by default: the token F1, of a list of calls too
    assert sums(ReferenceReward(), [answer("red key")]) == pytest.approx([2 * 2 / 5])
    calls = ({"name": "open", "arguments": {"door": "red"}},)
    assert sums(ReferenceReward(), [answer("open arguments door red", calls)]) == pytest.approx([1.0])
    cut = ReferenceReward(max_words=2)
    assert sums(cut, [answer("red key and so on")]) == sums(cut, [answer("red key")])


def test_thinking_does_not_count():
    strip = ("<think>", "</think>")
    cases = {
        "a <think>b</think> c": "a  c",
        "b</think>c": "c",
        "a<think>b": "a",
        "<think>x</think>y<think>z</think>w": "yw",
        "plain": "plain",
    }
    assert {k: without_thinking(k, *strip) for k in cases} == cases
    shaper = ReferenceReward()
    assert sums(shaper, [answer("<think>anything at all</think>red key")]) == sums(shaper, [answer("red key")])
    open_ = ReferenceReward(strip=())
    assert sums(open_, [answer("<think>x</think>red key")]) != sums(open_, [answer("red key")])


words = st.lists(st.sampled_from("abcd"), max_size=6).map(" ".join)


@given(st.lists(words, min_size=2, max_size=5), words.filter(bool), st.floats(-3, 3))
def test_laws_of_the_reference_reward(texts, reference, constant):
    group = [answer(x, reference) for x in texts]
    plain = sums(ReferenceReward(), group)
    best = sums(ReferenceReward(), [answer(reference, reference)])[0]
    assert best == 1.0 and all(0 <= r <= best for r in plain)

    def moved(prompt, reference, candidate):
        return token_f1(prompt, reference, candidate) + constant

    for baseline in ("group", "reference"):
        a, b = (sums(ReferenceReward(scorer=s, baseline=baseline), group) for s in (token_f1, moved))
        assert a == pytest.approx(b, abs=1e-9)
    a, b = (
        Stack([ReferenceReward(scorer=s), FusedAdvantage(process=("reference_reward",))]) for s in (token_f1, moved)
    )
    for x, y in zip(a.run(group), b.run(group)):
        assert x.advantages == pytest.approx(y.advantages, abs=1e-9)


def test_reference_reward_refuses_what_it_cannot_use():
    with pytest.raises(MissingFact, match=r"reference_reward reads info\['reference'\]"):
        Stack([ReferenceReward()]).run([dialogue("x", [{"role": "assistant", "content": "y"}])])
    with pytest.raises(ValueError, match="the score is inf"):
        sums(ReferenceReward(scorer=lambda p, r, c: math.inf), [answer("x")])
    lone = shape(gym.make("CartPole-v1"), [])
    with pytest.raises(ValueError, match=r"stack\.run"):
        shape(lone, [ReferenceReward(baseline="group")])
    for wrong in (
        {"strip": ("<think>",)},
        {"strip": ("", "x")},
        {"on_failure": math.inf},
        {"weight": math.inf},
        {"max_words": 0},
        {"baseline": "x"},
        {"squash": "tanh"},
    ):
        with pytest.raises(ValueError, match="reference_reward"):
            ReferenceReward(**wrong)
