"""Instance files in SWE-bench's format over repositories that the test makes itself."""

import importlib.util
import json
import os
import sys
from pathlib import Path

import pytest

from milepost.envs.swe import checkout, diff, grade
from milepost.envs.swe.instance import Instance
from milepost.envs.swe.swebench import SWEBenchEnv, _swebench, parser, summary

pytestmark = pytest.mark.sandbox

BAD = "def area(a, b):\n    return a + b\n\n\ndef twice(a):\n    return 2 * a\n"
GOOD = BAD.replace("a + b", "a * b")
OLD = "from shapes import twice\n\n\ndef test_twice():\n    assert twice(2) == 4\n"
NEW = OLD.replace("import twice", "import area, twice") + "\n\ndef test_area():\n    assert area(2, 3) == 6\n"
F2P, P2P = ["tests/test_shapes.py::test_area"], ["tests/test_shapes.py::test_twice"]
SUBMIT = {"name": "submit", "arguments": {}}


_spec = importlib.util.spec_from_file_location("transcripts", Path(__file__).parent / "regenerate_transcripts.py")
_transcripts = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_transcripts)
git = _transcripts.git


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A clone with the fault in its first commit and the fix in its second; a cache of its own."""
    root = tmp_path_factory.mktemp("world")
    clone = root / "repos" / "geo__shapes"
    for folder in ("src", "tests", "__pycache__"):
        (clone / folder).mkdir(parents=True)
    (clone / "src/shapes.py").write_text(BAD)
    (clone / "tests/test_shapes.py").write_text(OLD)
    (clone / "__pycache__/shapes.cpython-311.pyc").write_bytes(b"the fix")
    (clone / ".gitattributes").write_text("tests export-ignore\nsrc/*.py filter=evil\n")
    (clone / "run.sh").write_text("#!/bin/sh\n")
    (clone / "run.sh").chmod(0o755)
    (clone / "inside").symlink_to("src/shapes.py")
    (clone / "outside").symlink_to("/etc/passwd")
    git(clone, "init", "-q")
    git(clone, "config", "filter.evil.clean", "cat")
    git(clone, "config", "filter.evil.smudge", "touch ../../ran; cat")
    git(clone, "add", "-fA")
    git(clone, "commit", "-qm", "fault")
    base = git(clone, "rev-parse", "HEAD").strip()
    (clone / "src/shapes.py").write_text(GOOD)
    (clone / "tests/test_shapes.py").write_text(NEW)
    git(clone, "commit", "-qam", "fix")
    row = {
        "instance_id": "geo__shapes-2", "repo": "geo/shapes", "base_commit": base,
        "problem_statement": "The area of a rectangle is wrong.", "patch": git(clone, "diff", base, "HEAD", "--", "src"),
        "test_patch": git(clone, "diff", base, "HEAD", "--", "tests"),
        "FAIL_TO_PASS": json.dumps(F2P), "PASS_TO_PASS": json.dumps(P2P), "split": "train",
    }  # fmt: skip
    patch = pytest.MonkeyPatch()
    patch.setenv("XDG_CACHE_HOME", str(root / "cache"))
    (root / "cache").mkdir()
    yield root, row
    patch.undo()


def write(root, rows, name):
    path = root / name
    path.write_text(json.dumps(rows) if name.endswith(".json") else "".join(json.dumps(r) + "\n" for r in rows))
    return str(path)


def env_of(world, name="a.json", **changed):
    root, row = world
    return SWEBenchEnv(write(root, [{**row, **changed}], name), str(root / "repos"))


def solve(env, plan=True):
    env.reset(seed=0)
    actions = env._plan() if plan else [SUBMIT]
    for action in actions:
        _, reward, over, _, info = env.step(action)
    assert over
    return reward, info


def test_the_oracle_solves_and_doing_nothing_earns_nothing(world):
    env = env_of(world, "a.jsonl")
    try:
        assert env.source.instances() == env_of(world, "a.json").source.instances()
        reward, info = solve(env)
        assert (
            (reward, info["success"]) == (1.0, True)
            and set(info["tests"]) == {*F2P, *P2P}
            and all(info["tests"].values())
        )
        reward, info = solve(env, plan=False)
        assert (reward, info["success"]) == (0.0, False)
        observation, _ = env.reset(seed=0)
        assert "area of a rectangle" in observation and "src/shapes.py" in observation
        env.step("```bash\necho '# nothing' >> src/shapes.py\n```")
        _, reward, _, _, info = env.step(SUBMIT)
        assert reward == 0.0 and info["tests"] == {F2P[0]: False, P2P[0]: True}
    finally:
        env.close()


@pytest.mark.docker
@pytest.mark.parametrize("command", [None, "python3 -m pytest -rA -p no:cacheprovider tests"])
def test_an_image_of_the_instance_runs_its_tests(world, engine, command):
    name = "milepost/sandbox:latest"
    root, row = world
    image = {"image": name} | ({"test_cmd": command} if command else {})
    env = SWEBenchEnv(
        write(root, [{**row, **image}], "docker.json"),
        str(root / "repos"),
        sandbox="docker",
        sandbox_settings={"image": "no/such"},
    )
    try:
        reward, info = solve(env)
        assert (reward, info["success"]) == (1.0, True) and info["tests"] == dict.fromkeys([*F2P, *P2P], True)
        assert env._repo().box.run("cat src/shapes.py; id -u").stdout.startswith(GOOD)
        reward, info = solve(env, plan=False)
        assert (reward, info["success"]) == (0.0, False)
        env.reset(seed=0)
        env.step("```bash\necho '# nothing' >> src/shapes.py\n```")
        _, reward, _, _, info = env.step(SUBMIT)
        assert reward == 0.0 and info["tests"] == {F2P[0]: False, P2P[0]: True}
    finally:
        env.close()


@pytest.mark.docker
def test_an_image_without_pytest_is_the_infrastructures_failure(world, engine):
    root, row = world
    env = SWEBenchEnv(
        write(root, [{**row, "image": "milepost/base:bookworm"}], "bare.json"), str(root / "repos"), sandbox="docker"
    )
    try:
        env.reset(seed=0)
        _, reward, terminated, truncated, info = env.step({"name": "run_tests", "arguments": {}})
        assert (reward, terminated, truncated, info["invalid"]) == (0.0, False, True, True)
        assert "milepost/base:bookworm has no pytest" in info["infra_error"]
    finally:
        env.close()


def test_names_cut_at_their_first_blank_stand_for_all_tests_that_begin_so():
    ran = {"a.py::t[1 2]": "passed", "a.py::t[1 3]": "passed", "a.py::u[x y]": "passed", "a.py::u[x z]": "failed"}
    tests, _ = grade.judge(ran, {}, ["a.py::t[1", "a.py::u[x", "a.py::t[1 2]", "a.py::none"])
    assert tests == {"a.py::t[1": True, "a.py::u[x": False, "a.py::t[1 2]": True, "a.py::none": False}


def test_parquet_is_read(world, monkeypatch):
    root, row = world
    path = root / "a.parquet"
    path.write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "pyarrow.parquet", raising=False)
    with pytest.raises(ValueError, match=r"parquet is read by pyarrow: pip install 'milepost\[parquet\]'"):
        SWEBenchEnv(str(path), str(root / "repos"))
    monkeypatch.undo()
    pa = pytest.importorskip("pyarrow", reason="the extra parquet is not installed")
    importlib.import_module("pyarrow.parquet").write_table(pa.Table.from_pylist([row]), path)
    same = SWEBenchEnv(str(path), str(root / "repos")).source.instances()
    assert same == env_of(world).source.instances() and same[0].fail_to_pass == tuple(F2P)


def test_nothing_of_the_fix_is_in_the_tree(world):
    env = env_of(world)
    try:
        env.reset(seed=0)
        said = env.step("```bash\nfind . | sort; cat tests/test_shapes.py; grep -rn 'a \\* b' . || echo none\n```")[0]
        assert ".git\n" not in said and "pycache" not in said and "test_area" not in said and "none" in said
        assert "./run.sh" in said and "./inside" in said and "./outside" not in said
        assert "./tests/test_shapes.py" in said, "what export-ignore names is part of the tree"
        task = env.source.task(env.instance())
        assert (Path(task.tree) / "src/shapes.py").read_text() == BAD and task.roots == (".", "src")
        assert os.access(Path(task.tree) / "run.sh", os.X_OK) and not (world[0] / "ran").exists()
        assert dict(task.hidden) == {"tests/test_shapes.py": NEW}
    finally:
        env.close()


def test_a_command_of_the_instance_runs_its_tests(world):
    env = env_of(world, test_cmd=["where=tests", "python3 -m pytest -rA -p no:cacheprovider $where"])
    try:
        assert solve(env)[0] == 1.0
        assert solve(env, plan=False)[0] == 0.0
    finally:
        env.close()


def test_a_snapshot_takes_the_place_of_a_clone(world, tmp_path):
    row = world[1]
    place = tmp_path / "repos" / row["instance_id"]
    for path, text in {
        "src/shapes.py": BAD,
        "tests/test_shapes.py": OLD,
        "src/__pycache__/a.pyc": "x",
    }.items():
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_text(text)
    env = SWEBenchEnv(write(tmp_path, [row], "a.json"), str(tmp_path / "repos"), only=[row["instance_id"]])
    try:
        assert not list(Path(env.source.task(env.instance(0)).tree).rglob("*.pyc"))
        assert solve(env)[0] == 1.0
    finally:
        env.close()


def test_links_out_of_the_tree_are_dropped_by_any_way_round(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    place = tmp_path / "tree"
    (place / "a/b").mkdir(parents=True)
    (place / "secret").write_text("mine")
    (place / "a/b/up").symlink_to("../..")
    (place / "away").symlink_to("a/b/up/../secret")
    (place / "fine").symlink_to("a/b/up/secret")
    found = checkout.snapshot(place)
    assert (found / "fine").read_text() == "mine" and not (found / "away").is_symlink()
    (place / "secret").write_text("another")
    assert (checkout.snapshot(place) / "secret").read_text() == "another"


def test_logs_are_read_by_swebench_or_as_a_summary():
    log = "PASSED tests/a.py::test_x\nFAILED tests/a.py::test_y - assert 1 == 2\nERROR tests/b.py\nnoise PASSED x\n"
    assert summary(log) == {"tests/a.py::test_x": "PASSED", "tests/a.py::test_y": "FAILED", "tests/b.py": "ERROR"}
    row = Instance("a-1", "a/a", "0" * 40, "", "", "", (), ())
    assert parser(row)(log) == summary(log)
    if _swebench() is None:
        pytest.skip("swebench is not installed: milepost setup swe-data")
    django = Instance("d-1", "django/django", "0" * 40, "", "", "", (), ())
    assert parser(django)("test_a (x.T) ... ok\ntest_b (x.T) ... FAIL\n") == {
        "test_a (x.T)": "PASSED",
        "test_b (x.T)": "FAILED",
    }
    named = Instance("a-1", "a/a", "0" * 40, "", "", "", (), (), {"log_parser": "parse_log_pytest"})
    assert parser(named)(log) == summary(log)
    with pytest.raises(ValueError, match=r"log_parser is 'no'; allowed: 'parse_log_"):
        parser(Instance("a-1", "a/a", "0" * 40, "", "", "", (), (), {"log_parser": "no"}))


def test_wrong_settings_are_refused_in_one_sentence(world, tmp_path):
    root, row = world
    good, repos = write(root, [row], "a.json"), str(root / "repos")
    for settings, said in [
        ({}, "path= is to be an instance file .*, and repos= a folder with a clone"),
        ({"repos": repos}, "path is None; allowed: an instance file"),
        ({"path": good}, "repos is None; allowed: a folder with a clone"),
        (
            {"path": good, "repos": str(tmp_path)},
            "has no repository in .*; allowed: a folder geo__shapes-2 or geo__shapes",
        ),
        ({"path": good, "repos": repos, "only": ["x"]}, "only is 'x'; allowed: 'geo__shapes-2'"),
        ({"path": good, "repos": repos, "split": "test"}, "no task in split 'test'"),
    ]:
        with pytest.raises(ValueError, match=said):
            SWEBenchEnv(**settings)
    with pytest.raises(TypeError, match="unknown"):
        SWEBenchEnv(good, repos, unknown=1)
    out = diff.make({"x": "a\n"}, {"x": "b\n"}).replace("/x", "/../x")
    for changed, said in [
        ({"FAIL_TO_PASS": ["test_x (app.Tests)"]}, "allowed: path.py::test, or a field test_cmd"),
        ({"test_patch": out}, "test_patch changes '../x'; allowed: files below the root"),
        ({"patch": "nonsense"}, "patch: the patch 'nonsense' changes nothing"),
        ({"test_cmd": 3}, "test_cmd is 3; allowed: a shell command"),
    ]:
        with pytest.raises(ValueError, match=said):
            env_of(world, **changed)
    for changed, said in [
        ({"base_commit": "HEAD"}, "base_commit is 'HEAD'; allowed: 7 or more hexadecimal digits"),
        ({"base_commit": "0" * 40}, "has no commit 0+; allowed: a clone with its full history"),
        ({"test_patch": diff.make({"tests/no.py": "a\n"}, {"tests/no.py": "b\n"})}, "test_patch: .*does not exist"),
    ]:
        env = env_of(world, **changed)
        try:
            with pytest.raises(ValueError, match=said):
                env.reset(seed=0)
        finally:
            env.close()
