"""Bugs in our own modules: the shipped tasks, and tasks made from a tree that the test writes."""

import gymnasium as gym
import pytest

import milepost  # noqa: F401
from milepost.envs.swe import build, diff, library
from milepost.envs.swe.bugrepair import HERE, BugRepairEnv, Bugs
from milepost.envs.swe.grade import LIBRARY
from milepost.envs.swe.instance import save
from milepost.sandboxes import make


@pytest.mark.core
def test_every_shipped_task_is_whole():
    source = Bugs()
    instances = source.instances()
    assert len(instances) > 100 and len({i.instance_id for i in instances}) == len(instances)
    assert {f for i in instances for f in i.extra["families"]} >= {
        "comparison",
        "off_by_one",
        "control_flow",
        "return_value",
    }
    assert 0.1 < sum(i.held_out for i in instances) / len(instances) < 0.4
    for i in instances:
        task = source.task(i)
        assert i.fail_to_pass and i.pass_to_pass and not set(i.fail_to_pass) & set(i.pass_to_pass)
        fixed = diff.apply(diff.hunks(i.patch), {p: t for p, t in task.changes.items() if t})
        for path, text in fixed.items():
            assert text == (HERE / "modules" / i.extra["tree"] / path).read_text() != task.changes[path]
        for h in diff.hunks(i.patch):  # what the statement says is not the repair
            new = [line.strip() for line in h.new.splitlines() if line not in h.old.splitlines()]
            assert not any(len(line) > 8 and line in i.problem_statement for line in new)


@pytest.mark.core
def test_settings_are_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match="bugs"):
        Bugs(bugs=4)
    with pytest.raises(ValueError, match=r"instances\.jsonl"):
        Bugs(str(tmp_path))
    with pytest.raises(TypeError, match="colour"):
        BugRepairEnv(colour=1)


@pytest.fixture
def provider():
    with make("local", mounts={LIBRARY: str(library.folder())}) as p:
        yield p


@pytest.mark.swe
@pytest.mark.parametrize("split", ["train", "test"])
def test_the_oracle_solves_tasks_with_one_to_three_bugs(split):
    env = gym.make("milepost/BugRepair-v0", split=split, candidates=20)
    every = [env.unwrapped.instance(t) for t in env.unwrapped.tasks()]
    for bugs in (1, 3):
        number = next(n for n, i in zip(env.unwrapped.tasks(), every) if i.extra["bugs"] == bugs)
        _, info = env.reset(options={"task": number})
        assert any('"edit"' in a for a in info["admissible_actions"])
        reward = 0.0
        while not info["success"]:
            _, reward, terminated, truncated, info = env.step(env.unwrapped.oracle())
            assert not truncated
        assert reward == 1.0 and terminated
    env.close()


@pytest.mark.swe
def test_the_listed_actions_come_from_the_code_and_not_from_the_reference():
    env = BugRepairEnv(candidates=30)
    _, info = env.reset(seed=3)
    listed = info["admissible_actions"]
    real = env.source.task(env.instance())
    object.__setattr__(env.instance(), "patch", "")
    assert env._listed() == listed and len(listed) > 20
    env.close()
    assert real.changes


@pytest.mark.swe
def test_tasks_from_a_tree_that_was_written_here(provider, tmp_path):
    tree = tmp_path / "trees" / "area"
    (tree / "src").mkdir(parents=True)
    (tree / "tests").mkdir()
    (tree / "src" / "area.py").write_text(
        "def area(w, h):\n    if w < 0 or h < 0:\n        raise ValueError('negative')\n    return w * h\n\n\n"
        "def fits(w, h, box):\n    return w <= box[0] and h <= box[1]\n"
    )
    (tree / "tests" / "test_area.py").write_text(
        "import random\n\nimport pytest\n\nfrom area import area, fits\n\n\n"
        "def test_area():\n    assert area(2, 3) == 6\n\n\n"
        "def test_negative():\n    with pytest.raises(ValueError):\n        area(-1, 2)\n\n\n"
        "def test_fits():\n    assert fits(1, 2, (1, 2)) and not fits(2, 2, (1, 2))\n\n\n"
        "def test_always_fails():\n    assert False\n"
    )
    found = list(build.inject(provider, str(tree), "area", counts={1: 2, 2: 1}, roots=("src",)))
    assert [i.extra["bugs"] for i in found] == [1, 1, 2]
    again = list(build.inject(provider, str(tree), "area", counts={1: 1}, roots=("src",)))
    assert again == found[:1]
    assert all("test_always_fails" not in str(i.row()) for i in found)
    save(found, tmp_path / "instances.jsonl")
    for split in ("train", "test"):
        if any(i.held_out == (split == "test") for i in found):
            env = BugRepairEnv(str(tmp_path), split=split)
            _, info = env.reset(seed=0)
            while not info["success"]:
                info = env.step(env.oracle())[-1]
            env.close()
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="0 source files"):
        next(build.inject(provider, str(tmp_path / "empty"), "x", counts={1: 1}))
