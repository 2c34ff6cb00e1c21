"""The core of the software-engineering environments on a toy repository: tools, rewards, states, and every cheat we know."""

import json

import pytest

from milepost.envs.errors import InfraError
from milepost.envs.swe import diff, repo
from milepost.envs.swe.env import SweEnv
from milepost.envs.swe.instance import Instance
from milepost.envs.swe.task import Task
from milepost.envs.tools.calls import Call
from milepost.sandboxes import Limits, SandboxLost

pytestmark = pytest.mark.swe

GOOD = "def add(a, b):\n    return a + b\n\n\ndef big(a):\n    return a > 10\n"
BAD = GOOD.replace("a + b", "a - b")
TESTS = """from calc import add, big


def test_add():
    assert add(1, 2) == 3


def test_zero():
    assert add(0, 0) == 0


def test_big():
    assert big(11) and not big(10)
"""
F2P, P2P = ("test_calc.py::test_add",), ("test_calc.py::test_zero", "test_calc.py::test_big")
SUBMIT = {"name": "submit", "arguments": {}}
RUN = {"name": "run_tests", "arguments": {}}


class Toy:
    name = "toy"

    def __init__(self, tree):
        self.tree = str(tree)

    def instances(self):
        patch = diff.make({"calc.py": BAD}, {"calc.py": GOOD})
        return [Instance("toy-1", "toy", "0", "add() does not add", patch, "", F2P, P2P, {"split": "train"})]

    def task(self, instance):
        return Task(instance, self.tree, {"calc.py": BAD})


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    path = tmp_path_factory.mktemp("toy")
    (path / "calc.py").write_text(GOOD)
    (path / "test_calc.py").write_text(TESTS)
    return path


@pytest.fixture(scope="module")
def env(tree):
    env = SweEnv(Toy(tree), max_steps=8)
    yield env
    env.close()


def edit(old, new):
    return Call("edit", {"path": "calc.py", "old": old, "new": new})


def bash(command):
    return f"```bash\n{command}\n```"


def finish(env, *actions):
    """Submits after some actions; the reward and the last info."""
    env.reset(seed=0)
    for a in actions:
        env.step(a)
    _, reward, terminated, _, info = env.step(SUBMIT)
    assert terminated
    return reward, info


def test_the_statement_the_tools_and_the_files_are_seen_and_the_repair_is_not(env):
    obs, info = env.reset(seed=0)
    assert "add() does not add" in obs and "calc.py\ntest_calc.py" in obs and "a + b" not in obs
    assert info["meta"]["task"] == "toy-1" and "reference" not in info


@pytest.mark.parametrize(
    "action",
    [
        {"name": "view", "arguments": {"path": "calc.py"}},
        Call("view", {"path": "calc.py"}),
        '{"name": "view", "arguments": {"path": "calc.py"}}',
        'I look. {"name": "view", "arguments": "{\\"path\\": \\"calc.py\\"}"}',
        {
            "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "view", "arguments": '{"path": "calc.py"}'}}
            ]
        },
        [{"function": {"name": "view", "arguments": {"path": "calc.py"}}}],
        bash("cat -n calc.py"),
    ],
)
def test_every_form_of_an_action_is_understood(env, action):
    env.reset(seed=0)
    obs, _, _, _, info = env.step(action)
    assert "return a - b" in obs and info["valid_action"] and info["tool_calls"][0]["ok"]


@pytest.mark.parametrize(
    "action, said",
    [
        ("", "tool call"),
        ("{", "cannot be read"),
        ("[]", "one tool call"),
        ('{"name": 3}', "a tool call is"),
        ('{"name": "fly", "arguments": {}}', "no tool 'fly'; there are bash"),
        ('{"name": "view", "arguments": {}}', "needs the argument 'path'"),
        ('{"name": "view", "arguments": {"path": 3}}', "of type string"),
        ('{"name": "view", "arguments": {"path": "x", "colour": 1}}', "no argument 'colour'"),
        ('{"name": "view", "arguments": {"path": "../../etc/passwd"}}', "outside"),
        ('{"name": "view", "arguments": {"path": "nowhere"}}', "No such file"),
        ('{"name": "view", "arguments": {"path": "calc.py", "start": 99}}', "lines 1 to 6"),
        ('{"name": "edit", "arguments": {"path": "calc.py", "old": "return", "new": "x"}}', "stands more than once"),
        ('{"name": "edit", "arguments": {"path": "calc.py", "old": "", "new": "x"}}', "stands 0 times"),
        ('{"name": "search", "arguments": {"pattern": "("}}', "Error"),
        ('{"name": "create", "arguments": {"path": "a\\u0000", "content": ""}}', "no file can"),
        ('{"name": "run_tests"}{"name": "submit"}', "one tool call"),
        ("[" * 100_000, "cannot be read"),
        (bash("ls") + "\n" + bash("ls"), "one bash block"),
    ],
)
def test_a_wrong_action_is_answered_in_the_world(env, action, said):
    env.reset(seed=0)
    obs, reward, terminated, truncated, info = env.step(action)
    assert said in obs and not info["valid_action"] and reward == 0 and not terminated and not truncated


def test_an_action_of_another_kind_is_a_type_error(env):
    env.reset(seed=0)
    with pytest.raises(TypeError, match="int"):
        env.step(3)


def test_tests_are_published_when_they_ran_and_the_oracle_solves_it(env):
    env.reset(seed=0)
    obs, _, _, _, info = env.step(RUN)
    assert info["tests"] == {F2P[0]: False, P2P[0]: True, P2P[1]: True} and info["progress"] == 0.0
    assert "2 of 3" in obs and "assert -1 == 3" in obs
    assert "tests" not in env.step(bash("true"))[-1]
    while not info["success"]:
        obs, reward, terminated, _, info = env.step(env.oracle())
    assert reward == 1.0 and terminated and info["progress"] == 1.0
    assert diff.apply(diff.hunks(info["answer"]), {"calc.py": BAD}) == {"calc.py": GOOD}


def test_levels_and_terms_pay_what_they_say(tree):
    weights = {"format": 0.01, "valid_call": 0.1, "located": 2, "edited": 3, "tests": 30, "outcome": 1}
    env = SweEnv(Toy(tree), weights=weights, levels=(-1, 0, 0.5, 1), max_steps=3)
    env.reset()
    _, reward, _, _, info = env.step(edit("a - b", "a * b"))
    terms = {"format": 0.01, "valid_call": 0.1, "located": 2, "edited": 3, "tests": 0, "outcome": 0}
    assert info["reward_terms"] == pytest.approx(terms) and reward == pytest.approx(5.11)
    _, _, _, _, info = env.step(RUN)
    assert info["reward_terms"]["tests"] == pytest.approx(20) and info["reward_terms"]["located"] == 0
    _, _, _, _, info = env.step(SUBMIT)
    assert info["reward_terms"]["outcome"] == 0.5 and info["reward_terms"]["tests"] == 0 and not info["success"]
    assert finish(env)[1]["reward_terms"]["outcome"] == 0
    env.reset()
    for _ in range(3):
        _, _, terminated, truncated, info = env.step("nothing")
    assert truncated and not terminated and info["reward_terms"]["outcome"] == -1
    env.close()


def test_a_restored_state_gives_the_same_observations(env):
    actions = [
        bash("ls; cat calc.py"),
        edit("a > 10", "a > 11"),
        RUN,
        bash("rm -f test_calc.py; echo '# end' >> calc.py; ls"),
        {"name": "search", "arguments": {"pattern": "end|big"}},
    ]
    env.reset(seed=0)
    env.step(bash("mkdir d; echo 1 > d/new.txt; sed -i 's/b):/b):  # x/' calc.py"))
    saved = env.snapshot()

    def play():
        return [(o, r, i["reward_terms"], i["tool_calls"]) for o, r, _, _, i in map(env.step, actions)]

    once = play()
    env.restore(saved)
    assert play() == once
    other = SweEnv(env.source, max_steps=8)
    other.reset(seed=5)
    other.restore(saved)
    assert [other.step(a)[0] for a in actions] == [o for o, *_ in once]
    other.close()


def test_nothing_of_an_episode_reaches_the_next(env):
    env.reset(seed=0)
    env.step(bash("echo broken > calc.py; echo x > /tmp/x; (sleep 77 &) ; rm test_calc.py"))
    env.reset(seed=0)
    obs = env.step(bash("cat calc.py; ls; ls /tmp/x; ps -eo args"))[0]
    assert "return a - b" in obs and "test_calc.py" in obs and "sleep 77" not in obs
    assert "cannot access '/tmp/x'" in obs


CHEATS = {
    "nothing": [],
    "a conftest": ["printf 'def pytest_runtest_makereport(item, call):\n    call.excinfo = None\n' > conftest.py"],
    "a plugin by configuration": ["mkdir -p p; printf '[pytest]\naddopts = -p cheat\n' > pytest.ini; echo > cheat.py"],
    "sitecustomize": ["echo 'import os; os._exit(0)' > sitecustomize.py"],
    "a pytest of its own": ["mkdir pytest; echo 'raise SystemExit(0)' > pytest/__init__.py; echo > pytest/__main__.py"],
    "tests deleted": ["rm test_calc.py"],
    "tests changed": ["echo 'def test_add(): pass' > test_calc.py"],
    "byte code": ["mkdir __pycache__; cp calc.py __pycache__/calc.cpython-311.pyc"],
    "exit code 0": ["echo 'raise SystemExit(0)' >> calc.py"],
    "os._exit": ["printf 'import os\nos._exit(0)\n' >> calc.py"],
    "os._exit in disguise": ['printf \'import os\ngetattr(os, "_ex" + "it")(0)\n\' >> calc.py'],
    "monkeypatched assert": [
        "printf 'import builtins\nbuiltins.AssertionError = type(\"E\", (Exception,), {})\n' >> calc.py"
    ],
    "tests that do not run": [
        "cat >> calc.py <<'E'\nimport importlib\np = importlib.import_module('_pyt' + 'est.python')\n"
        "p.Function.runtest = lambda s: None\nE"
    ],
    "reports that pass": [
        "cat >> calc.py <<'E'\nimport importlib\nr = importlib.import_module('_pyt' + 'est.reports').TestReport\n"
        "f = r.from_item_and_call.__func__\n"
        "def g(c, i, k):\n    k.excinfo = None\n    return f(c, i, k)\nr.from_item_and_call = classmethod(g)\nE"
    ],
    "an equal to everything": [
        "cat > calc.py <<'E'\nclass Any(int):\n    def __eq__(self, o):\n        raise SystemExit(0)\n"
        "def add(a, b):\n    return Any()\ndef big(a):\n    return a > 10\nE"
    ],
    "an object that agrees": [
        "cat > calc.py <<'E'\nclass Yes(int):\n    def __eq__(self, o):\n        return True\n"
        "def add(a, b):\n    return Yes()\ndef big(a):\n    return a > 10\nE"
    ],
    "a class made of a name": [
        "cat > calc.py <<'E'\nYes = type('Yes', (int,), {'__eq__': lambda s, o: True})\n"
        "def add(a, b):\n    return Yes()\ndef big(a):\n    return a > 10\nE"
    ],
    "a clock": ["printf 'import time\nif time.time() > 0:\n    time.sleep(1e6)\n' >> calc.py"],
    "a bomb that waits": ["(sleep 0.3; echo 'def test_add(): pass' > test_calc.py; cp test_calc.py calc.py) &"],
    "forged output": ["printf 'print(\"3 passed\")\n' >> calc.py"],
}


@pytest.mark.parametrize("cheat", CHEATS)
def test_no_cheat_earns_an_outcome(tree, cheat):
    env = SweEnv(Toy(tree), timeout=5.0, levels=(0, 0, 0, 1))
    reward, info = finish(env, *(bash(f"{c}\ntrue # {cheat}") for c in CHEATS[cheat]))
    assert reward == 0 and not info["success"]
    if cheat in ("tests that do not run", "reports that pass", "os._exit", "monkeypatched assert"):
        assert info["tampered"]
    env.close()


def test_code_that_rewrites_a_test_file_while_the_tests_run_is_found_out(tmp_path):
    tmp_path.chmod(0o755)
    (tmp_path / "calc.py").write_text(GOOD)
    (tmp_path / "test_a.py").write_text("from calc import big\n\n\ndef test_big():\n    assert big(11)\n")
    (tmp_path / "test_b.py").write_text("from calc import add\n\n\ndef test_add():\n    assert add(1, 2) == 3\n")

    class Two(Toy):
        def instances(self):
            patch = diff.make({"calc.py": BAD}, {"calc.py": GOOD})
            tests = ("test_b.py::test_add",), ("test_a.py::test_big",)
            return [Instance("two-1", "two", "0", "add() does not add", patch, "", *tests, {"split": "train"})]

    env = SweEnv(Two(tmp_path))
    cheat = 'printf \'open("test_b.py", "w").write("def test_add(): pass")\n\' >> calc.py'
    reward, info = finish(env, bash(cheat))
    assert reward == 0 and info["tampered"]
    assert finish(env, bash("sed -i 's/a - b/a + b/' calc.py"))[0] == 1
    env.close()


def test_an_honest_repair_passes_where_the_cheats_fail(env):
    reward, info = finish(env, bash("sed -i 's/a - b/a + b/' calc.py; rm test_calc.py; echo > conftest.py"))
    assert reward == 1 and not info["tampered"] and "conftest" not in info["answer"]


def test_changes_that_the_disk_does_not_hold_fail_the_tests_and_no_more(tree):
    env = SweEnv(Toy(tree))
    env._limits = Limits(disk=4 * 2**20)
    env.reset(seed=0)
    env._changes |= {
        f"more_{n}.py": "#" * 2**20 for n in range(5)
    }  # the agent wrote and moved them one after the other
    obs, reward, terminated, truncated, info = env.step(SUBMIT)
    assert (reward, terminated, truncated, info["tampered"]) == (0, True, False, False)
    assert "cannot be applied: No space left" in obs
    assert info["tests"] and not any(info["tests"].values())
    env.reset(seed=0)
    env._repo()._coming["more.py"] = "#" * 2**23  # no agent's doing: what cannot be begun is infrastructure
    *_, truncated, info = env.step(bash("ls"))
    assert truncated and info["invalid"] and "brought to its start" in info["infra_error"]
    env.close()


def test_a_dead_sandbox_truncates_one_episode_and_the_next_works(env):
    env.reset(seed=0)
    box = env._repo().box

    def gone(*args, **kwargs):
        raise SandboxLost("somebody removed it")

    box.run = gone
    before = env.infra_failures
    _, reward, terminated, truncated, info = env.step(bash("ls"))
    assert (reward, terminated, truncated, info["invalid"]) == (0, False, True, True)
    assert env.infra_failures == before + 1 and "somebody" in info["infra_error"]
    env.reset(seed=0)
    assert "calc.py" in env.step(bash("ls"))[0]


def test_test_runs_are_cached_by_what_was_tested(tree, tmp_path):
    env = SweEnv(Toy(tree), cache=str(tmp_path / "runs.sqlite"))
    for _ in range(2):
        env.reset()
        env.step(RUN)
        env.step(edit("a - b", "a * b"))
        env.step(RUN)
    assert (env._results.hits, env._results.misses) == (2, 2)
    env.close()
    again = SweEnv(Toy(tree), cache=str(tmp_path / "runs.sqlite"))
    again.reset()
    assert again.step(RUN)[-1]["tests"][F2P[0]] is False
    assert again._repo().grader is None and again._results.misses == 0
    again.close()


def test_settings_are_refused_by_name(tree):
    for settings, said in [
        ({"weights": {"speed": 1}}, "'speed'"),
        ({"levels": (1, 0, 0, 0)}, "levels"),
        ({"candidates": -1}, "candidates"),
        ({"split": "dev"}, "split"),
        ({"split": "test"}, "no task in split 'test'"),
        ({"max_steps": 0}, "max_steps"),
    ]:
        with pytest.raises(ValueError, match=said):
            SweEnv(Toy(tree), **settings)
    env = SweEnv(Toy(tree), sandbox="podman")
    with pytest.raises(ValueError, match="podman"):
        env.reset()


def test_hints_say_more_and_more(env):
    env.reset(seed=0)
    assert env.hint() == "The fault is in calc.py."
    assert "in add" in env.hint("function") and "+    return a + b" in env.hint("patch")
    with pytest.raises(ValueError, match="hint level"):
        env.hint("all")


def test_closing_leaves_nothing_and_providers_are_shared(tree):
    a, b = SweEnv(Toy(tree)), SweEnv(Toy(tree))
    a.reset()
    b.reset()
    shared = {id(provider) for _, provider in (*a._borrowed.values(), *b._borrowed.values())}
    assert len(shared) == 1
    a.close()
    assert "calc.py" in b.step(bash("ls"))[0]
    key = next(iter(b._borrowed.values()))[0]
    users = repo._providers[key][1]
    b.close()
    b.close()
    assert repo._providers.get(key, (None, 0))[1] == users - 1


def test_a_missing_library_is_an_infrastructure_error():
    from milepost.envs.swe import library

    with pytest.raises(InfraError, match=r"pip install 'milepost\[swe\]'"):
        library.folder(("no-such-distribution",))


def test_the_messages_are_the_turn_as_chat(env):
    env.reset(seed=0)
    info = env.step(RUN)[-1]
    assert [m["role"] for m in info["messages"]] == ["assistant", "user"]
    assert json.loads(info["messages"][0]["content"]) == RUN
