"""BARFI's blend of reward terms (``wrappers/step/blend.py``); its trainer is in test_methods_barfi.py."""

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.wrappers import Stack, TermBlend

_spec = importlib.util.spec_from_file_location("bandit", Path(__file__).with_name("bandit.py"))
bandit = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(bandit)
lone = bandit.lone
pytestmark = pytest.mark.core


def test_the_blend_by_hand():
    blend = TermBlend(("a", "b"))
    stack = Stack([blend])
    t = lone({"env": 2.0, "a": 3.0, "b": -1.0})
    assert stack.run([t])[0].rewards == pytest.approx([4.0])  # the naive sum
    own = stack.shapers[0]
    own.weights, own.offset = np.array([[0.5], [2.0]]), np.array([0.25])
    assert stack.run([t])[0].rewards == pytest.approx([2.0 + 0.5 * 3 + 2 * -1 + 0.25])
    own.weights, own.offset = np.zeros((2, 1)), np.zeros(1)
    assert stack.run([t])[0].rewards == pytest.approx([2.0])  # the primary reward
    twin = Stack([blend])
    twin.load_state_dict(stack.state_dict())
    assert twin.run([t])[0].rewards == pytest.approx([2.0])
    by_state = Stack([TermBlend(("a",), features=lambda obs: [obs, obs**2], size=2)])
    own = by_state.shapers[0]
    own.weights, own.offset = np.array([[1.0, 10.0, 0.0]]), np.array([0.0, 0.0, 1.0])
    # state 3: weight 1 + 30, offset 9
    assert by_state.run([lone({"env": 2.0, "a": 3.0}, 3)])[0].rewards == pytest.approx([2 + 31 * 3 + 9])


@given(st.lists(st.floats(-5, 5), min_size=3, max_size=3), st.floats(0, 3))
def test_blends_are_linear_in_their_weights(terms, w):
    t = lone(dict(zip(("env", "a", "b"), terms)))

    def paid(weights):
        stack = Stack([TermBlend(("a", "b"))])
        stack.shapers[0].weights = np.array(weights)[:, None]
        return float(stack.run([t])[0].rewards[0])

    assert paid([w, 0.0]) == pytest.approx(terms[0] + w * terms[1])
    assert paid([1.0, w]) == pytest.approx(terms[0] + terms[1] + w * terms[2])


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: TermBlend(()), "term_blend: terms is"),
        (lambda: TermBlend(("a", "a")), "none twice"),
        (lambda: TermBlend(("a",), start=math.inf), "term_blend: setting 'start' is inf"),
        (lambda: TermBlend(("a",), size=2), "term_blend: features is None and size 2"),
        (lambda: Stack([TermBlend(("out",))]).run([lone({"outcome": 1.0})]), "no term is called 'out'; did you mean"),
        (
            lambda: Stack([TermBlend(("a",), features=len, size=1)]).run([lone({"a": 1.0}, "xy")]),
            "features have the shape",
        ),
    ],
)
def test_blends_refuse_by_name(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()
