"""The embedder that hashes words (``wrappers/scorers/hashed.py``)."""

import numpy as np
import pytest

from milepost.wrappers.scorers import Service, Text, make
from milepost.wrappers.scorers.hashed import Hashed

pytestmark = pytest.mark.core


def test_hashed_vectors_by_hand():
    # without pieces, the words and pairs of "a b" are a, b, "a b": three places of equal size, unless two collide
    v, w = Hashed(4096, 0).embed(["a b", "b a"])
    assert np.sort(np.abs(v))[-3:] == pytest.approx([3**-0.5] * 3) and float(v @ v) == pytest.approx(1.0)
    assert float(v @ w) == pytest.approx(2 / 3)  # a and b in common, the pairs not
    same = Service("hashed").ask([Text("Pick up the KEY!"), Text("pick up the key"), Text("...")])
    assert np.allclose(same[0], same[1]) and same[2] is None and same[0].shape == (512,)
    near, far = (float(same[1] @ Hashed().embed([x])[0]) for x in ("you pick up the keys", "a dragon sleeps"))
    assert near > 0.4 > far
    with pytest.raises(ValueError, match="hashed: dim is 0"):
        make({"scorer": "hashed", "dim": 0})
