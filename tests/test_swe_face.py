"""Where a fault may be, which repairs the code alone suggests, and the face of rows for agents without words."""

import copy
import math

import gymnasium as gym
import numpy as np
import pytest

from milepost.baselines.oracle_agent import OracleAgent
from milepost.envs.swe import diff, plan, spectrum
from milepost.envs.swe.env import SweEnv
from milepost.envs.swe.face import STATE, TOOLS, WIDTH, RepairRows
from milepost.envs.swe.instance import Instance
from milepost.envs.swe.task import Task

GOOD = (
    "def small(a, low):\n    if a < low:\n        return True\n    return False\n\n\ndef double(a):\n    return a * 2\n\n\n"
    "def late(a):\n    return a > 7\n"
)
BUGS = {1: GOOD.replace("a < low", "a <= low"), 2: GOOD.replace("a < low", "a <= low").replace("a > 7", "a >= 7")}
TESTS = """from calc import double, late, small


def test_small():
    assert small(1, 2) and not small(2, 2)


def test_double():
    assert double(4) == 8


def test_late():
    assert late(8) and not late(7)
"""
SUBMIT, RUN, UNDO = range(3)


class Toy:
    name = "toy"

    def __init__(self, tree, bugs=1):
        self.tree, self.bad = str(tree), BUGS[bugs]
        self.fails = ("test_calc.py::test_small", "test_calc.py::test_late")[:bugs]

    def instances(self):
        patch = diff.make({"calc.py": self.bad}, {"calc.py": GOOD})
        fine = tuple({"test_calc.py::test_double", "test_calc.py::test_late"} - set(self.fails))
        return [Instance("toy-1", "toy", "0", "small() goes wrong", patch, "", self.fails, fine, {"split": "train"})]

    def task(self, instance):
        return Task(instance, self.tree, {"calc.py": self.bad})


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    path = tmp_path_factory.mktemp("toy")
    (path / "calc.py").write_text(GOOD)
    (path / "test_calc.py").write_text(TESTS)
    return path


@pytest.fixture(scope="module")
def env(tree):
    env = RepairRows(SweEnv(Toy(tree), max_steps=40), candidates=12)
    yield env
    env.close()


def right(env):
    """The row of the repair."""
    return env.index_of(env.oracle())


def test_suspicion_is_ochiais_worked_out_by_hand():
    lines = {"a": {"m.py": [1, 2]}, "b": {"m.py": [1, 3]}, "c": {"m.py": [1, 3], "n.py": [5]}}
    got = spectrum.ochiai(lines, {"a": False, "b": True, "c": False, "d": False})
    # three failing tests, of which d ran nothing: line 1 is run by a, c and b, line 2 by a, line 3 by c and b
    assert got == {
        "m.py": {1: 2 / math.sqrt(3 * 3), 2: 1 / math.sqrt(3 * 1), 3: 1 / math.sqrt(3 * 2)},
        "n.py": {5: 1 / math.sqrt(3)},
    }
    assert spectrum.ochiai(lines, {"a": True, "b": True}) == {}


def test_suspicion_moves_with_its_lines():
    before, now = "a\nb\nc\n", "new\na\nB\nB2\nc\n"
    assert spectrum.moved({1: 0.1, 2: 0.9, 3: 0.3}, before, now) == {2: 0.1, 3: 0.9, 4: 0.9, 5: 0.3}
    assert spectrum.moved({2: 0.5}, before, before) == {2: 0.5}


def test_repairs_stand_in_the_order_of_suspicion_then_of_the_names_in_the_statement():
    found = plan.repairs({"calc.py": GOOD}, {"calc.py": {2: 0.9, 12: 0.9, 8: 0.2}}, "late() is wrong")
    assert found[0].site.function == "late"
    assert [r.suspicion for r in found] == sorted((r.suspicion for r in found), reverse=True)
    everywhere = plan.repairs({"calc.py": GOOD}, {}, "")
    assert {r.site.function for r in everywhere} == {"small", "double", "late"}
    assert plan.repairs({"calc.py": GOOD, "b.py": GOOD}, {"b.py": {2: 1.0}}, "")[0].path == "b.py"


@pytest.mark.swe
def test_the_lines_that_the_failing_test_runs_are_the_suspicious_ones(env):
    env.reset(seed=0)
    inner = env.unwrapped
    found = inner._repo().suspicion(inner._task, inner._results)
    # line 2 is run by the failing test alone, and so is the return behind it that it reaches
    assert found["calc.py"][2] == 1.0 and 8 not in found["calc.py"]


@pytest.mark.swe
def test_an_episode_of_rows(env):
    obs, info = env.reset(seed=0)
    assert env.observation_space.contains(obs) and obs["observation"].shape == (STATE,)
    assert obs["actions"].shape == (15, WIDTH) and list(np.flatnonzero(obs["action_mask"])[:2]) == [SUBMIT, 3]
    assert np.array_equal(env.action_masks(), obs["action_mask"] == 1) and obs["observation"][1] == np.float32(2 / 3)
    wrong = next(i for i in np.flatnonzero(obs["action_mask"]) if i > 2 and i != right(env))
    obs, *_, info = env.step(wrong)
    assert list(np.flatnonzero(obs["action_mask"])) == [RUN], "an edit is tested first"
    assert info["subgoals"]["a source file is changed"]
    obs, *_, info = env.step(RUN)
    assert info["tests"] and obs["observation"][4] == 0.0
    assert list(np.flatnonzero(obs["action_mask"])) == [UNDO], "one that did not help is undone"
    assert env.index_of(env.oracle()) == UNDO
    obs, *_, info = env.step(UNDO)
    assert env.unwrapped.sources()["calc.py"] == BUGS[1] and not info["subgoals"]["a source file is changed"]
    assert obs["action_mask"][wrong] == 0 and obs["action_mask"][right(env)] == 1, (
        "what did not help is not there again"
    )
    obs, *_ = env.step(right(env))
    obs, *_ = env.step(RUN)
    assert obs["observation"][2] == 1.0 and list(np.flatnonzero(obs["action_mask"])) == [SUBMIT, UNDO]
    _, reward, terminated, _, info = env.step(SUBMIT)
    assert terminated and reward == 1.0 and info["success"]


@pytest.mark.swe
def test_a_second_edit_may_follow_one_that_helped(tree):
    env = RepairRows(SweEnv(Toy(tree, bugs=2)), candidates=30)
    agent, (obs, info), edits = OracleAgent(env), env.reset(seed=0), 0
    while not info["success"]:
        action = agent.act(obs, info)
        edits += action >= len(TOOLS)
        obs, _, terminated, truncated, info = env.step(action)
        assert terminated == info["success"] and not truncated
    assert edits == 2 and env.unwrapped.sources()["calc.py"] == GOOD
    env.close()


@pytest.mark.swe
def test_rows_come_from_the_code_and_not_from_the_reference(env, tree):
    obs, _ = env.reset(seed=0)
    source = Toy(tree)
    (bare,) = source.instances()
    object.__setattr__(bare, "patch", "")
    source.instances = lambda: [bare]
    other = RepairRows(SweEnv(source, max_steps=40), candidates=12)
    blind, _ = other.reset(seed=0)
    assert all(np.array_equal(obs[k], blind[k]) for k in obs)
    with pytest.raises(RuntimeError, match="no candidate of toy-1"):
        other.oracle()
    other.close()


@pytest.mark.swe
def test_the_same_actions_from_a_snapshot_give_the_same_observations(env):
    obs, _ = env.reset(seed=0)
    wrong = next(i for i in np.flatnonzero(obs["action_mask"]) if i > 2 and i != right(env))
    for action in (wrong, RUN):
        env.step(action)
    saved, seen = copy.deepcopy(env.snapshot()), []
    for _ in range(2):
        env.restore(saved)
        seen.append([env.step(a)[0] for a in (UNDO, 4, RUN)])
    for one, two in zip(*seen):
        assert all(np.array_equal(one[k], two[k]) for k in one)


@pytest.mark.swe
def test_a_row_that_is_not_there_is_an_invalid_action_and_no_error(env):
    obs, _ = env.reset(seed=0)
    for action in (UNDO, 15, 99):
        again, reward, terminated, _, info = env.step(action)
        assert not info["valid_action"] and reward == 0.0 and not terminated
        assert np.array_equal(again["action_mask"], obs["action_mask"])
    with pytest.raises(TypeError, match="index of a row"):
        env.step("submit")


def test_settings_and_environments_that_are_none_are_refused(tree):
    inner = SweEnv(Toy(tree))
    for wrong in (0, 1001, True, "many"):
        with pytest.raises(ValueError, match="candidates is"):
            RepairRows(inner, candidates=wrong)
    with pytest.raises(TypeError, match="software-engineering"):
        RepairRows(gym.make("CartPole-v1"))
