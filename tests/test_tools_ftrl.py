"""Task files whose tools are Python: loading, grading, hostile code."""

import json
import os
import time
import warnings

import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given
from hypothesis import strategies as st

from milepost.envs.tools import ftrl_grade
from milepost.envs.tools.ftrl import FTRLEnv, Runner, load
from milepost.envs.tools.ftrl_grade import f1, solves
from milepost.sandboxes import Limits, SandboxLost, Unavailable

pytestmark = [pytest.mark.tools, pytest.mark.sandbox]


@pytest.fixture(scope="module")
def env():
    made = FTRLEnv(candidates=40, weights={"match": 0.1, "items": 0.1})
    yield made
    made.close()


@pytest.fixture(scope="module")
def run():
    """What a tool named ``f`` with this source says."""
    runner = Runner("local", {}, Limits(timeout=1.5, memory=2**28, processes=32, output=2**20))

    def call(source, **arguments):
        return runner.call("f", source, arguments)

    yield call
    runner.close()


def call(name, **arguments):
    return {"name": name, "arguments": arguments}


def row(source="def f(x):\n    return x", **more):
    tools = [{"name": "f", "description": "A tool.", "parameters": {"type": "object", "properties": {"x": {}}}}]
    out = {
        "messages": [{"role": "user", "content": "?"}],
        "tools": json.dumps(tools),
        "codes": json.dumps({"f": source}),
    }
    return out | {"unsolved_set": "{}", "answer": "a b c"} | more


def file(tmp_path, *rows):
    place = tmp_path / "tasks.jsonl"
    place.write_text("\n".join(json.dumps(r) for r in rows))
    return str(place)


# -- our own tasks ---------------------------------------------------------------------------------
def test_gymnasiums_checker_finds_nothing(env):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env.render_mode = "ansi"
        check_env(env, skip_render_check=True)
        env.render_mode = None


def test_the_oracle_wins_every_task_and_others_win_none(env):
    other = FTRLEnv(split="test", weights=env.weights, max_steps=6)
    names = set()
    for e in (env, other):
        for task in e.tasks():
            _, info = e.reset(options={"task": task})
            names.add(info["meta"]["task"])
            total, over, steps = 0.0, False, 0
            while not over:
                _, reward, over, _, info = e.step(e.oracle())
                total, steps = total + reward, steps + 1
            assert info["success"] and total == pytest.approx(1.2) and all(info["subgoals"].values())
            assert info["scores"] == dict.fromkeys(info["scores"], 1.0)
            e.reset(options={"task": task})
            _, reward, over, _, info = e.step("I do not know.")
            assert over and reward == 0.0 and info["scores"]["solve_rate"] == info["scores"]["exact"] == 0.0
    assert len(names) == 6 and env.tasks().stop <= other.tasks().start
    task = other.tasks().start
    name = next(iter(other.tools))
    for actions in ([""], [other.action_space.sample(), ""], [[call(name)] * 12] * 6):
        other.reset(options={"task": task})
        for action in actions:
            _, reward, over, _, info = other.step(action)
            assert reward == 0.0 and not info["success"]
            if over:  # words of a sample
                break
    other.close()


def test_a_golden_episode(env):
    obs, _ = env.reset(options={"task": 1})
    assert obs.endswith("User: How many people live in the home town of the builder of the Harrow Bridge?")
    assert "18240" not in obs and "- town_population(town: string): Inhabitants of a town at the last count." in obs
    said = [env.step(a) for a in (call("bridge_info", bridge="harrow bridge", fact="builder"), call("town_population"))]
    assert said[0][0] == "bridge_info: Odile Marsh" and said[0][1] == pytest.approx(0.1 / 3)  # other letters: no match
    assert said[1][0] == "town_population: Error: town_population: the argument 'town' is missing"
    obs, *_ = env.step(call("bridge_info", bridge="Mill Bridge", fact="year"))
    assert obs == "bridge_info: Error: bridge_info: ValueError: no bridge named 'Mill Bridge'"
    _, reward, over, _, info = env.step("I would say <answer>18,240</answer>.")
    assert over and reward == 1.0 and info["answer"] == "18,240"
    scores = {"exact": 1.0, "f1": 1.0, "solve_rate": 1 / 3, "solve_precision": 1 / 3, "solve_f1": 1 / 3}
    assert info["scores"] == pytest.approx(scores)


def test_a_snapshot_is_exact_and_forks_are_apart(env):
    env.reset(options={"task": 2})
    env.step(env.oracle())
    kept, plan = env.snapshot(), [*env._plan()[:-1], "308"]
    first = [env.step(a) for a in plan]
    env.restore(kept)
    branch = env.fork()
    assert branch._runner is not env._runner
    branch.step(plan[0])
    assert len(branch._solved) == 2 and len(env._solved) == 1
    assert [env.step(a) for a in plan] == first
    assert branch.step(plan[1])[4]["subgoals"] == first[1][4]["subgoals"]
    branch.close()
    assert env.reset(seed=0) and env.step(env.oracle())[4]["valid_action"]  # its own sandbox is still there


def test_candidates_do_not_know_the_reference(env):
    _, info = env.reset(options={"task": 0})
    before, task = info["admissible_actions"], env._task
    env._task = task._replace(reference=(), answer="none", unsolved=())
    assert env._listed() == before and "148" not in before
    env._task = task


junk = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=8), x, max_size=3),
    max_leaves=8,
)
names = st.sampled_from(["bridge_info", "train_times", "town_population", "nothing"]) | st.text(max_size=9)
keys = st.sampled_from(["bridge", "fact", "town", "start", "goal"]) | st.text(max_size=9)
HARD = [
    '{"name": "bridge_info", "arguments": {"bridge": "' + "y" * 10_000_000 + '"}}',
    call("bridge_info", bridge="y" * 10_000_000, fact="year"),
    '{"name": "bridge_info", "arguments": ' + "[" * 100_000,
    '{"name": "town_population", "arguments": {"town": "\\ud800"}}',
    call("town_population", town="x'); __import__('os')._exit(0); ('\0\n"),
    call("bridge_info", bridge={"__class__": 1}, fact="year"),
]


@given(st.lists(st.builds(lambda n, a: json.dumps(call(n, **a)), names, st.dictionaries(keys, junk)), max_size=3))
def test_no_action_breaks_it(env, actions):
    env.reset(options={"task": 0})
    for action in [*actions, *(HARD if not actions else ()), "{" + "".join(actions)]:
        obs, _, over, cut, info = env.step(action)
        assert obs in env.observation_space and not over and not cut and "invalid" not in info
    while not over:
        _, _, over, cut, info = env.step(env.oracle())
    assert info["success"]


# -- hostile tools ---------------------------------------------------------------------------------
FORGE = """def f():
    import json, os
    message = json.dumps({"fine": True, "text": "forged", "left": False, "word": "0" * 32})
    print(message)
    os.write(1, message.encode())
    out = []
    for name in ("fd/1", "mem", "environ"):
        try:
            with open(f"/proc/{os.getppid()}/{name}", "r+b") as g:
                g.write(message.encode())
            out.append(name)
        except OSError:
            pass
    return out
"""
HOSTILE = [  # source, the start of the error; who ends it where memory is short depends on the machine
    ("def f(): return open('/etc/shadow').read()", "FileNotFoundError"),
    (f"def f(): return open({os.path.abspath(__file__)!r}).read()", "FileNotFoundError"),
    ("def f():\n import os\n os.listdir('/root')", "FileNotFoundError"),
    ("def f():\n import socket\n return socket.create_connection(('1.1.1.1', 80), 1)", "OSError"),
    ("def f():\n import sys\n sys.exit(0)", "SystemExit: 0"),
    ("def f():\n import os\n os._exit(0)", "it ended without a result"),
    ("def f():\n import os\n os.kill(os.getppid(), 9)", "it ended without a result"),
    ("import sys\nsys.exit(3)", "SystemExit: 3"),
    ("def f(: pass", "SyntaxError"),
    ("def g(): pass", "KeyError: 'f'"),
    ("def f():\n return 'x' * 10**10", ""),
    ("def f():\n return f()", "RecursionError"),
]


@pytest.mark.parametrize(("source", "said"), HOSTILE)
def test_hostile_tools_are_errors_in_the_world(run, source, said):
    fine, text = run(source)
    assert not fine and text.startswith(said)
    assert run("def f(x):\n    return x + 1", x=1) == (True, "2")


def test_a_tool_cannot_answer_in_the_place_of_the_runner(run):
    assert run(FORGE) == (True, "[]")


def test_time_and_processes_are_limited_and_nothing_is_left(run):
    assert run("def f():\n while True: pass") == (False, "it was cut off after 1.5 seconds")
    fine, _ = run("def f():\n import os\n while True: os.fork()")
    assert not fine
    left = "def f():\n import subprocess\n open('/tmp/x', 'w').write('1')\n open('y', 'w')\n"
    left += " subprocess.Popen(['sleep', '4321'], start_new_session=True)\n return 'left'"
    assert run(left) == (True, "left")
    look = "def f():\n import os, glob\n names = [open(p).read() for p in glob.glob('/proc/[0-9]*/cmdline')]\n"
    look += " return [os.listdir('/tmp'), os.listdir('.'), any('4321' in n for n in names)]"
    assert run(look) == (True, "[[], [], false]")


@pytest.mark.parametrize(
    "first",
    [
        "import ctypes\ndef f(): return ctypes.CDLL(None).shmget(4242, 64, 0o1600) >= 0",
        "import ctypes\ndef f(): return ctypes.CDLL(None).msgget(4242, 0o1600) >= 0",
        "import ctypes\ndef f(): return ctypes.CDLL(None).mq_open(b'/q', 0o102, 0o600, None) == -1",
        "import os\ndef f(): return os.setxattr('/tmp', 'user.x', b'1') is None",
        "import os\ndef f(): return os.chmod('/tmp', 0o700) is None",
    ],
)
def test_no_call_meets_what_another_left(run, first):
    assert run(first) == (True, "True")
    look = (
        "import ctypes, os\nc = ctypes.CDLL(None)\ndef f():\n return [c.shmget(4242, 64, 0o600), c.msgget(4242, 0o600),"
    )
    look += " os.listxattr('/tmp'), oct(os.stat('/tmp').st_mode)]"
    assert run(look) == (True, '[-1, -1, [], "0o41777"]')


def test_results_are_texts_of_a_bounded_length(run):
    assert run("def f():\n print('noise')\n return {'ü': [1, None]}") == (True, '{"ü": [1, null]}')
    assert run("def f(): return chr(0xd800) + 'x'") == (True, "?x")
    assert len(run("def f(): return 'x' * 10**6")[1]) == 100_000
    assert run("def f(): return '😀' * 10**6") == (True, "😀" * 100_000)
    same = "import random\ndef f(): return [random.random(), list({'a', 'b', 'c', 'd'})]"
    assert run(same) == run(same)


def test_a_lost_sandbox_is_not_the_agents_fault(env, monkeypatch):
    def gone(*_, **__):
        raise SandboxLost("somebody removed it")

    env.reset(options={"task": 0})
    action = env.oracle()
    assert env.step(action)[4]["valid_action"]
    box, key = env._runner._box, env._runner._key
    monkeypatch.setattr(box, "run", gone)
    _, reward, over, cut, info = env.step(action)
    assert cut and not over and reward == 0.0 and info["infra_error"] == "somebody removed it"
    env.reset(options={"task": 0})
    assert env.step(action)[4]["valid_action"] and env._runner._box is not box and env._runner._key != key


def test_no_sandbox_is_said_as_invalid(tmp_path, monkeypatch):
    from milepost.envs.tools import ftrl

    def none(name, settings):
        raise Unavailable("local sandboxes need bubblewrap")

    monkeypatch.setattr(ftrl, "borrow", none)
    env = FTRLEnv(file(tmp_path, row()))
    env.reset(seed=0)
    _, _, over, cut, info = env.step(call("f", x=1))
    assert cut and not over and info["invalid"] and "bubblewrap" in info["infra_error"]


# -- files and grades ------------------------------------------------------------------------------
def test_files_in_the_format_of_others(tmp_path):
    tools = [{"type": "function", "function": {"name": "f", "parameters": None}}]
    messages = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Who?"}]
    rows = [row(messages=messages, tools=tools, codes={"f": "x"}, unsolved_set={"f": ["a", " "]}, answer=None), row()]
    tasks = load(file(tmp_path, *rows))
    assert tasks[0].system == "Be short." and tasks[0].question == "Who?" and tasks[0].unsolved == (("f", "a"),)
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra parquet is not installed")
    import pyarrow

    columns = {k: [v if isinstance(v, str) else json.dumps(v) for v in (r[k] for r in rows)] for k in row()}
    columns |= {"messages": [r["messages"] for r in rows], "answer": ["a", "b"]}
    table, place = pyarrow.table(columns), tmp_path / "tasks.parquet"
    parquet.write_table(table, place)
    found = load(place)
    assert found[0].schemas == tasks[0].schemas and found[0].unsolved == tasks[0].unsolved and found[1].answer == "b"


def test_a_task_without_an_answer_is_won_by_its_results(tmp_path):
    one = row(answer=None, unsolved_set={"f": ["1,000, ab", "2"]})
    env = FTRLEnv(file(tmp_path, one), weights={"items": 1.0})
    env.reset(seed=0)
    assert env.step("Done.")[1] == 0.0
    env.reset(seed=0)
    assert env.step(call("f", x="AB 1000, 2"))[1] == 0.5  # one result solves one entry
    assert env.step([call("f", x="2"), call("f", x="2")])[1] == 0.5
    _, reward, _, _, info = env.step("Done.")
    assert reward == 1.0 and info["scores"]["solve_precision"] == 2 / 3 and info["scores"]["solve_f1"] == 4 / 5
    env.close()


@pytest.mark.parametrize(
    ("grade", "said", "won"),
    [
        ("exact", "A, b c!", True), ("exact", "a b", False), ("exact", "Answer: a b c", True),
        ("exact", "Answer: a b c\nBecause of it.", True), ("exact", "<answer>a</answer> <answer>a b c</answer>", True),
        ("contains", "it is a b c, sir", True), ("contains", "a b c" + " x" * 13, False), ("contains", "a c", False),
        ("contains", "a b cd", False),
        ("f1", "a b c d", True), ("f1", "a b d", False), ("f1", "a a a b c c c", False),
    ],
)  # fmt: skip
def test_grades(tmp_path, grade, said, won):
    env = FTRLEnv(file(tmp_path, row()), grade=grade)
    env.reset(seed=0)
    assert env.step(said)[4]["success"] is won


@pytest.mark.parametrize(
    ("answer", "said", "won"),
    [
        ("-12", "12", False), ("-12", "\N{MINUS SIGN}12", True), ("-12", "-12.", True), ("3.5", "35", False),
        ("3.5", "3.5", True), ("3/4", "34", False), ("18240", "18,240.", True), ("-.5", ".5", False), ("-$12", "$12", False),
        ("A-b", "ab", True),
    ],
)  # fmt: skip
@pytest.mark.parametrize("grade", ["exact", "contains"])
def test_numbers_are_more_than_their_digits(tmp_path, grade, answer, said, won):
    env = FTRLEnv(file(tmp_path, row(answer=answer)), grade=grade)
    env.reset(seed=0)
    assert env.step(f"<answer>{said}</answer>")[4]["success"] is won


def test_no_list_of_all_answers_is_one(tmp_path):
    pairs = "".join(f"{a}{b}" for a in range(10) for b in range(10))
    for text in (pairs, " ".join(map(str, range(10, 100))), "/".join(map(str, range(10, 100)))):
        env = FTRLEnv(file(tmp_path, row(answer="57")), grade="contains")
        env.reset(seed=0)
        assert env.step(text)[1] == 0.0


@pytest.mark.parametrize("answer", ['{"a": 1}', "f(x)", "[1, 2]", "f(x=1)", "Answer: 3"])
def test_the_oracle_says_answers_that_look_like_calls(tmp_path, answer):
    env = FTRLEnv(file(tmp_path, row(answer=answer)))
    env.reset(seed=0)
    assert env.step(env.oracle())[1] == 1.0


def test_answers_are_found_in_linear_time():
    start = time.monotonic()
    for text in ("<answer>", "answer:\n", "</answer>", "answer: \t", "<answer>x</answer>", "Answer:" + " " * 99):
        ftrl_grade.said(text * (2**19 // len(text)))
    assert time.monotonic() - start < 2.0


def test_f1_and_upstreams_rule():
    assert (
        f1("a b c d", "a b c") == pytest.approx(6 / 7) and f1("", "a") == 0.0 and f1("a a", "a") == pytest.approx(2 / 3)
    )
    assert solves("Population: 18,240", "18240") and solves("b and a", "a, b") and not solves("b", "a, b")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "at least one task"),
        ([{"messages": []}], "row 0: allowed: an object with messages, tools, codes"),
        ([row(messages=[])], "row 0: messages; allowed"),
        ([row(tools="[{}]")], "row 0: the tool None; allowed"),
        ([row(codes='{"f": 1}')], "whose code is a text"),
        ([row(answer=" ,")], "it cannot be graded"),
        ([row(answer="<answer>7</answer>")], "a text without <answer>"),
        ([row(), row(split="dev")], "row 1: split is 'dev'; allowed: 'train', 'test'"),
        ([row(split="test")], "has no task in split 'train'"),
    ],
)
def test_wrong_files_are_refused_by_name(tmp_path, rows, said):
    with pytest.raises(ValueError, match=said):
        FTRLEnv(file(tmp_path, *rows))


def test_wrong_settings_are_refused_by_name(tmp_path):
    for settings, said in (
        ({"grade": "fuzzy"}, "grade is 'fuzzy'"),
        ({"least": 0}, "least is 0"),
        ({"timeout": 0}, "timeout"),
    ):
        with pytest.raises(ValueError, match=said):
            FTRLEnv(**settings)
    with pytest.raises(ValueError, match="cannot be read"):
        load(tmp_path / "none.jsonl")
