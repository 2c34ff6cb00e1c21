"""The Unicode space: membership, equality, sampling, JSON, batching with and without shared memory."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces.utils import flatten, flatten_space, unflatten
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv

from milepost.envs.text.spaces import Unicode

pytestmark = pytest.mark.core
WORDS = ["", "plain", "äöü ß", "東京\n", "😀 non-BMP 𝔘", "\x00 zero", "x" * 40]


class Echo(gym.Env):
    """Answers with the texts above in turn."""

    def __init__(self):
        self.observation_space, self.action_space, self.k = Unicode(40), Unicode(40), 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.k = 0
        return WORDS[0], {}

    def step(self, action):
        self.k += 1
        return WORDS[self.k % len(WORDS)], float(len(action)), False, False, {}


def test_membership_counts_only_the_length():
    space = Unicode(40)
    assert all(w in space for w in WORDS)
    assert "x" * 41 not in space and 3 not in space and None not in space and "\ud800" not in space


def test_equal_spaces_hash_alike_and_differ_by_length():
    assert Unicode(5) == Unicode(5) and hash(Unicode(5)) == hash(Unicode(5)) and Unicode(5) != Unicode(6)
    assert Unicode(5) != gym.spaces.Text(5)


def test_samples_repeat_under_a_seed_and_belong():
    a, b = Unicode(12, seed=3), Unicode(12, seed=3)
    drawn = [a.sample() for _ in range(50)]
    assert drawn == [b.sample() for _ in range(50)] and len(set(drawn)) > 10 and all(d in a for d in drawn)
    with pytest.raises(ValueError, match="no mask"):
        a.sample(mask=(3, None))


def test_json_and_flattening_round_trip():
    space = Unicode(40)
    assert space.from_jsonable(space.to_jsonable(WORDS)) == WORDS
    flat = flatten_space(space)
    for w in WORDS:
        assert flatten(space, w) in flat and unflatten(space, flatten(space, w)) == w


@pytest.mark.parametrize("vector", [SyncVectorEnv, AsyncVectorEnv, lambda f: AsyncVectorEnv(f, shared_memory=False)])
def test_vector_environments_carry_every_text(vector):
    env = vector([Echo, Echo])
    try:
        obs, _ = env.reset(seed=0)
        assert tuple(obs) == ("", "")
        for k in range(1, 2 * len(WORDS)):
            obs, reward, *_ = env.step(("é", "😀😀"))
            assert tuple(obs) == (WORDS[k % len(WORDS)],) * 2
            np.testing.assert_array_equal(reward, [1.0, 2.0])
    finally:
        env.close()
