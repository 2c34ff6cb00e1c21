"""``commons``: many games at once (``commons_batch.py``)."""

import numpy as np
import pytest

pytest.importorskip("pettingzoo", reason="the extra multiagent is not installed")
from milepost.envs.multiagent import commons_v0
from milepost.envs.multiagent.commons_batch import BatchedCommons
from milepost.envs.multiagent.commons_core import STAY, TOOL

pytestmark = pytest.mark.multiagent


@pytest.mark.parametrize("kind", ["harvest", "cleanup"])
def test_the_game_is_the_batch(kind):
    env, rng = commons_v0.parallel_env(kind=kind, weights={"team_harvest": 0.5}), np.random.default_rng(1)
    batch = BatchedCommons(3, kind=kind, weights={"team_harvest": 0.5})
    tasks = [5, 11, 17]
    env.reset(seed=0, options={"task": 11})
    seen, told = batch.reset(tasks=tasks)
    assert seen.shape == batch.observation_shape and told["tasks"].tolist() == tasks
    words = ("up", "down", "left", "right", "wait", env.game.tool)
    for t in range(50):
        a = rng.integers(0, 6, batch.action_shape)
        a[:, 0] = [TOOL, t % 4, STAY][t % 3]
        _, rewards, _, truncated, infos = env.step({f"picker_{k}": words[a[1, k]] for k in range(4)})
        seen, paid, over, late, said = batch.step(a)
        assert list(rewards.values()) == pytest.approx(paid[1].tolist()) and not over.any()
        assert late.all() == all(truncated.values()) == (t == 49)
        assert all(np.array_equal(env.game._view(k), seen[1, k]) for k in range(4))
    assert said["harvest"][1].tolist() == [i["apples"] for i in infos.values()]
    for name in ("efficiency", "equality", "sustainability", "peace"):
        assert {i[name] for i in infos.values()} == {float(said[name][1])}
    assert batch.planes(seen).shape == (3, 4, 4, 7, 7) and set(np.unique(batch.planes(seen)).tolist()) <= {0.0, 1.0}
    with pytest.raises(RuntimeError, match="call reset"):
        batch.step(a)


def test_the_batch_refuses_and_repeats():
    batch = BatchedCommons(2)
    with pytest.raises(RuntimeError, match="call reset"):
        batch.step(np.zeros((2, 4), int))
    first, told = batch.reset(seed=3)
    again, other = batch.reset(seed=3)
    assert np.array_equal(first, again) and np.array_equal(told["tasks"], other["tasks"])
    assert not np.array_equal(batch.reset()[1]["tasks"], told["tasks"])
    assert (BatchedCommons(2, split="test").reset(seed=0)[1]["tasks"] >= 2**30).all()
    for wrong, said in (
        ({"tasks": [1]}, "tasks are 1; allowed: 2"),
        ({"tasks": [1, 2**30]}, "a task is 1073741824"),
    ):
        with pytest.raises(ValueError, match=said):
            batch.reset(**wrong)
    for wrong, said in (
        ({"weights": {"apple": 1.0}}, "a reward term is 'apple'"),
        ({"player": 3}, "a setting of BatchedCommons is 'player'.*did you mean 'players'"),
        ({"split": "all"}, "split is 'all'"),
        ({"max_cycles": 0}, "max_cycles is 0"),
    ):
        with pytest.raises(ValueError, match=said):
            BatchedCommons(2, **wrong)
