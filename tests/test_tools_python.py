"""PythonTool: a warm interpreter in a sandbox, and tasks graded by their generators."""

import contextlib
import json
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st

from milepost.envs.errors import InfraError
from milepost.envs.text.base import TEST
from milepost.envs.tools import interpreter as interpreter_module
from milepost.envs.tools.calls import Call
from milepost.envs.tools.interpreter import Interpreter, Ran
from milepost.envs.tools.pythontool import CHOICE, DATASETS, POOL, PythonToolEnv, programs
from milepost.sandboxes import SandboxError

pytestmark = [pytest.mark.tools, pytest.mark.sandbox]


def run(code):
    return Call("python", {"code": code})


def running(part):
    """Processes of this machine, those in sandboxes too, whose arguments hold this."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if part in path.read_bytes():
                found.append(path.parent.name)
    return found


@pytest.fixture(scope="module")
def interpreter():
    made = Interpreter(timeout=2.0)
    yield made
    made.close()


@pytest.fixture(scope="module")
def shared():
    env = PythonToolEnv(datasets=CHOICE, candidates=30, timeout=2.0)
    yield env
    env.close()


@pytest.fixture
def fresh(interpreter):
    interpreter.load(())
    return interpreter


# -- the interpreter ---------------------------------------------------------------------------------
def test_output_and_the_last_value_are_shown(fresh):
    assert fresh.run("print('a')\nx = 2\nx + 1") == Ran("done", 0, "a\n3\n")
    assert fresh.run("x = 5") == Ran("done", 0, "")
    assert fresh.run("None") == Ran("done", 0, "")
    assert fresh.run("import sys; print('ü東', file=sys.stderr)").text == "ü東\n"
    assert fresh.run("print('\\ud800')").text == "\\ud800\n"
    assert fresh.run("exit()") == Ran("done", 0, "") and fresh.run("x") == Ran("done", 0, "5\n")


def test_errors_are_shown_from_the_programs_own_lines(fresh):
    said = fresh.run("def f():\n    return 1 / 0\nf()")
    assert said.end == "done" and said.text.splitlines() == [
        "Traceback (most recent call last):",
        '  File "<python>", line 3, in <module>',
        "    f()",
        '  File "<python>", line 2, in f',
        "    return 1 / 0",
        "           ~~^~~",
        "ZeroDivisionError: division by zero",
    ]
    assert "SyntaxError" in fresh.run("1 +").text and "null bytes" in fresh.run("a\0").text
    assert "RecursionError" in fresh.run("def g(): g()\ng()").text
    assert "MemoryError" in fresh.run("'x' * 10**10").text


def test_long_output_loses_its_middle(fresh):
    said = fresh.run("print('a' * 10**6 + 'b')").text
    assert said.startswith("aaa") and said.endswith("ab\n") and "997002 bytes left out" in said and len(said) < 3100


def test_the_same_programs_say_the_same(fresh):
    program = "import random\nrandom.random(), list({'a', 'b', 'c'}), hash('x')"
    first = fresh.run(program)
    other = Interpreter()
    assert other.run(program) == first
    other.close()


def test_a_program_that_does_not_end_is_killed_with_what_it_started(fresh):
    start = time.monotonic()
    said = fresh.run("import subprocess, time\nprint('on')\nsubprocess.Popen(['sleep', '7654'], start_new_session=True)\n"
                     "time.sleep(7654)")  # fmt: skip
    assert said == Ran("late", 0, "on\n") and 1.9 < time.monotonic() - start < 6
    assert not running(b"sleep\x007654")
    assert "NameError" in fresh.run("subprocess").text


def test_nothing_is_left_for_the_next_episode(fresh):
    fresh.run("1")
    before = len(running(b"A warm Python"))
    fresh.run("import os\nx = 1\nos.makedirs('d/e')\nopen('d/e/f', 'w').write('x')\nos.chmod('d', 0)\nopen('/tmp/t', 'w')\n"
              "open('/dev/shm/s', 'w')\nif not os.fork():\n    os.setsid()\n    import time\n    time.sleep(100)")  # fmt: skip
    fresh.load(())
    assert fresh.run(
        "import os\n'x' in globals(), os.listdir('.'), os.listdir('/tmp'), os.listdir('/dev/shm')"
    ).text == ("(False, [], [], [])\n")
    assert len(running(b"A warm Python")) == before


SHARED = "import ctypes\nc = ctypes.CDLL(None)\nc.{}get(4242, {} 0o{})"
LEAVING = [  # a program, another that looks in the next episode, what this sees
    ("import os\nopen('/tmp/x', 'w').write('1')\nos.chmod('/tmp', 0)", "import os\nos.listdir('/tmp')", "[]\n"),
    ("import os\nos.chmod(os.getcwd(), 0)", "open('notes', 'w').write('x')", "1\n"),
    ("import os\nos.setxattr('/tmp', 'user.x', b'1')\nos.utime('/tmp', (5, 5))",
     "import os\ns = os.stat('/tmp')\nos.listxattr('/tmp'), s.st_mtime, oct(s.st_mode)", "([], 0.0, '0o41777')\n"),
    ("import os\nos.chdir('/tmp')\nfor _ in range(2500):\n    os.mkdir('d' * 20)\n    os.chdir('d' * 20)",
     "import os\nos.listdir('/tmp')", "[]\n"),
    ("import os\nos.chdir('/tmp')\nfor _ in range(1500):\n    os.mkdir('d')\n    os.chdir('d')",
     "import os\nos.listdir('/tmp')", "[]\n"),
    (SHARED.format("shm", "64,", 1600), SHARED.format("shm", "64,", 600), "-1\n"),
    (SHARED.format("sem", "1,", 1600), SHARED.format("sem", "1,", 600), "-1\n"),
    (SHARED.format("msg", "", 1600), SHARED.format("msg", "", 600), "-1\n"),
    ("import ctypes\nctypes.CDLL(None).mq_open(b'/q', 0o102, 0o600, None)",
     "import ctypes\nctypes.CDLL(None).mq_open(b'/q', 2)", "-1\n"),
]  # fmt: skip


@pytest.mark.parametrize(("leaves", "looks", "sees"), LEAVING)
def test_an_episode_starts_clean(fresh, leaves, looks, sees):
    assert "Error" not in fresh.run(leaves).text
    fresh.load(())
    assert fresh.run(looks) == Ran("done", 0, sees)


def test_what_cannot_be_removed_in_time_goes_with_the_sandboxs_state(monkeypatch, tmp_path):
    hurried = tmp_path / "warm.py"
    hurried.write_text(interpreter_module._TEXT.read_text().replace("PATIENCE = 2.0", "PATIENCE = 0.01"))
    monkeypatch.setattr(interpreter_module, "_TEXT", hurried)
    made = Interpreter()
    made.run("import os\nfor k in range(20000):\n    os.close(os.open(f'/tmp/{k}', os.O_CREAT))")
    made.load(())
    assert made.run("import os\nos.listdir('/tmp')") == Ran("done", 0, "[]\n")
    made.close()


def test_a_copy_that_a_program_forks_ends_with_it(fresh):
    fresh.run("import os\nwho = 'child' if os.fork() == 0 else 'parent'")
    assert [fresh.run("who").text for _ in range(12)] == ["'parent'\n"] * 12


def test_nothing_runs_between_programs(fresh):
    fresh.run("import threading, time\nn = 0\ndef f():\n    global n\n    while True:\n        n += 1\n"
              "        time.sleep(0.01)\nthreading.Thread(target=f, daemon=True).start()")  # fmt: skip
    before = int(fresh.run("n").text)
    time.sleep(0.5)
    assert int(fresh.run("n").text) < before + 25
    fresh.load(())
    fresh.run("import os, time\nstart = time.process_time()\nend = time.monotonic() + 0.5\nos.write(31, b'.')\n"
              "while time.monotonic() < end:\n    pass\nprint(time.process_time() - start)")  # fmt: skip
    time.sleep(0.7)
    assert float((fresh.run("''").text + fresh.run("''").text).split()[0]) < 0.4


def test_an_interpreter_that_was_ended_between_programs_is_told(fresh):
    fresh.run("x = 1")
    fresh.run("import os, time\nwarm = os.getppid()\nif not os.fork():\n    os.setsid()\n    time.sleep(0.1)\n"
              "    os.kill(warm, 9)\n    time.sleep(765)\ntime.sleep(0.05)")  # fmt: skip
    time.sleep(0.3)
    assert fresh.run("x") == Ran("died", 137, "") and "NameError" in fresh.run("x").text


@pytest.mark.parametrize(
    "program",
    [
        "import os\nos._exit(7)",
        "import os, signal, time\nos.kill(os.getppid(), signal.SIGKILL)\ntime.sleep(1)",
        "import ctypes\nctypes.string_at(0)",
        "import os\nos.closerange(0, 256)",
        "import os, signal\nos.kill(os.getpid(), 9)",
        "import os\nos.write(31, b'x' * 10)\nos._exit(0)",
        "import os, signal\nfor p in os.listdir('/proc'):\n    if p.isdigit() and int(p) != os.getpid():\n"
        "        try:\n            os.kill(int(p), 9)\n        except OSError:\n            pass\nos._exit(1)",
    ],
)
def test_a_program_that_ends_its_interpreter_loses_its_variables_and_no_more(fresh, program):
    fresh.run("x = 1")
    said = fresh.run(program)
    assert said.end == "died" and (said.code != 0 or "closerange" in program or "31" in program)
    assert fresh.save() == () and fresh.run("'x' in globals()").text == "False\n"


def test_a_program_cannot_reach_what_serves_it(fresh):
    for what in ("mem", "fd/0", "environ"):
        assert "PermissionError" in fresh.run(f"import os\nopen(f'/proc/{{os.getppid()}}/{what}', 'rb')").text
    assert "OSError" in fresh.run("import socket\nsocket.create_connection(('1.1.1.1', 53), 1)").text


def test_a_fork_bomb_ends(fresh):
    said = fresh.run("import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass")
    assert said.end == "late" and fresh.run("1").text == "1\n"


def test_states_are_put_back_and_branches_do_not_touch_each_other(fresh):
    fresh.run("x = [1]")
    saved = fresh.save()
    fresh.run("x.append(2)")
    fresh.run("print('much ' * 10**6)")
    branch = fresh.fork()
    assert branch.run("x").text == "[1, 2]\n"  # what the programs before wrote is not shown again
    branch.run("x.append(3)")
    assert fresh.run("x").text == "[1, 2]\n"
    fresh.load(saved)
    assert fresh.run("x").text == "[1]\n" and branch.run("x").text == "[1, 2, 3]\n"
    branch.close()


def test_a_sandbox_that_is_put_back_has_other_processes():
    made = Interpreter(restore=True)
    born = "import os\nprint(open('/proc/2/stat').read().split()[21])"
    first = made.run(born).text
    assert made.run(born).text == first  # the same episode
    made.load(())
    assert made.run("1").text == "1\n" and made.fork()._restore
    assert made.run(born).text != first
    made.close()


def test_without_a_state_every_program_begins_anew():
    made = Interpreter(stateful=False)
    assert made.run("x = 1\nx").text == "1\n"
    assert made.run("import os\n'x' in globals(), os.listdir('.')").text == "(False, [])\n" and made.save() == ()
    made.close()


def test_closing_leaves_nothing_running_and_opens_again():
    before = set(running(b"A warm Python"))
    made = Interpreter()
    assert made.run("1").text == "1\n" and len(set(running(b"A warm Python")) - before) == 2  # it, and its child
    made.close()
    made.close()
    assert set(running(b"A warm Python")) <= before
    assert made.run("2").text == "2\n"
    made.close()


@pytest.mark.docker
def test_the_same_in_a_container(engine):
    made = Interpreter("docker", timeout=2.0)
    assert made.run("x = 1\nx").text == "1\n" and made.run("while True: pass") == Ran("late", 0, "")
    assert made.run("import os\n'x' in globals(), os.listdir('/tmp')").text == "(False, [])\n"
    made.close()


# -- the environment ---------------------------------------------------------------------------------
def test_gymnasium_has_no_complaint():
    env = PythonToolEnv()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env, skip_render_check=True, skip_close_check=True)
    env.close()


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_oracle_wins_on_every_dataset(split):
    env = PythonToolEnv(datasets=POOL, split=split)
    seen, first = set(), env.tasks().start
    for task in range(first, first + 250):
        _, info = env.reset(options={"task": task})
        seen.add(info["meta"]["dataset"])
        _, reward, terminated, _, info = env.step(env.oracle())
        assert reward == 1.0 and terminated and info["answer_score"] == 1.0, info
    env.close()
    assert len(seen) > 45


def test_long_answers_are_not_cut():
    env = PythonToolEnv(datasets={"tower_of_hanoi": {"min_disks": 8, "max_disks": 8, "min_pegs": 3, "max_pegs": 3}})
    env.reset(seed=0)
    assert len(env.oracle()) > 4050 and env.step(env.oracle())[1] == 1.0
    env.close()


def test_splits_share_no_task_and_tasks_are_the_same_everywhere():
    train, test, again = PythonToolEnv(), PythonToolEnv(split="test"), PythonToolEnv(datasets=DATASETS)
    texts = [train.reset(options={"task": n})[0] for n in range(60)]
    assert texts == [again.reset(options={"task": n})[0] for n in range(60)]
    assert not set(texts) & {test.reset(options={"task": TEST + n})[0] for n in range(60)}
    for env in (train, test, again):
        env.close()


def test_a_program_and_its_output_win(shared):
    rng, wins, chance = np.random.default_rng(0), 0, 0
    for task in range(30):
        _, info = shared.reset(options={"task": task})
        listed, won = info["admissible_actions"], False
        assert [json.loads(a)["arguments"]["code"] for a in listed] == programs(shared.opening)
        saved, pick = shared.snapshot(), int(rng.integers(len(listed)))
        for n, action in enumerate(listed):
            shared.restore(saved)
            info = shared.step(action)[4]
            answers = [a for a in info["admissible_actions"] if a.startswith("<answer>")]
            if answers and shared.step(answers[0])[1] == 1.0:
                won, chance = True, chance + (n == pick)
                break
        wins += won
    assert wins == 30 and chance < 15


def test_variables_last_through_an_episode_and_come_back_with_a_snapshot(shared):
    shared.reset(options={"task": 1})
    shared.step(run("x = 1"))
    saved = shared.snapshot()
    assert shared.step(run("x += 1; x"))[0] == "python: 2\n"
    branch = shared.fork()
    assert branch.step(run("x"))[0] == "python: 2\n" and shared.step(run("x = 9"))[4]["valid_action"]
    assert branch.step(run("x"))[0] == "python: 2\n"
    branch.close()
    shared.restore(saved)
    assert shared.step(run("x += 1; x"))[0] == "python: 2\n"
    shared.reset(options={"task": 1})
    assert "NameError" in shared.step(run("x"))[0]


def test_what_is_cut_off_is_told(shared):
    shared.reset(options={"task": 1})
    text, reward, _, _, info = shared.step(run("print('so far', flush=True)\nwhile True: pass"))
    assert "cut off after 2 seconds; all variables are lost" in text and "so far" in text
    assert not info["valid_action"] and reward == 0.0
    assert shared.step(run("1 / 0"))[4]["valid_action"]  # a program that raises was run


def test_null_words_and_spam_earn_nothing(shared):
    for action in ("", " ", run("print(1)"), [run("1")] * 5):
        shared.reset(options={"task": 2})
        total, truncated = 0.0, False
        while not truncated:
            _, reward, terminated, truncated, info = shared.step(action)
            total += reward
            assert not terminated
        assert total == 0.0 and not info["success"] and info["answer"] is None
    shared.reset(options={"task": 2})
    _, reward, terminated, _, info = shared.step("I do not know.")
    assert terminated and reward == 0.0 and info["answer"] == "I do not know."


def test_no_answer_is_run(shared, tmp_path):
    env = PythonToolEnv(datasets=POOL)
    attack = f"__import__('os').mkdir({str(tmp_path / 'run')!r})"
    for task in range(150):
        for text in (attack, f"[{attack}]", f"<answer>{attack}</answer>", "1e99999999", "9" * 4000):
            env.reset(options={"task": task})
            assert env.step(text)[1] == 0.0
    assert not (tmp_path / "run").exists()
    env.close()


def test_bad_settings_are_named():
    for given_, said in (
        ({"datasets": ["chain_sun"]}, "did you mean 'chain_sum'"),
        ({"datasets": ["countdown"]}, "datasets: a name is 'countdown'"),  # it would run the answer
        ({"datasets": {"chain_sum": {"terms": 3}}}, "takes no"),
        ({"datasets": []}, "at least one"),
        ({"timeout": 0}, "timeout is 0"),
        ({"memory": 5}, "memory is 5"),
        ({"timeouts": 5}, "did you mean 'timeout'"),
        ({"stateful": "yes"}, "stateful is 'yes'"),
    ):
        with pytest.raises(ValueError, match=said):
            PythonToolEnv(**given_)
    env = PythonToolEnv(datasets={"chain_sum": {"min_terms": 7, "max_terms": 7}})
    assert env.reset(seed=1)[0].count("+") + env.reset(seed=1)[0].split("User:")[1].count("-") >= 4
    env.close()


def test_a_lost_sandbox_is_no_fault_of_the_agent(monkeypatch):
    env = PythonToolEnv()
    env.reset(seed=1)

    def broken(*args, **kwargs):
        raise SandboxError("the machine is full")

    env.state.ready()
    monkeypatch.setattr(env.state._provider, "create", broken)
    _, reward, terminated, truncated, info = env.step(run("1"))
    assert truncated and not terminated and info["invalid"] and reward == 0.0 and env.infra_failures == 1
    monkeypatch.undo()
    env.reset(seed=1)
    assert env.step(run("1"))[0] == "python: 1\n"
    env.close()
    nowhere = PythonToolEnv(sandbox="local")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(InfraError, match="bubblewrap"):
        nowhere.state._settings["memory"] = 2**29 + 1  # a provider that nobody shares
        nowhere.reset(seed=1)


TEXT = st.text(max_size=60) | st.sampled_from(
    ["\0", "(" * 3000, "a" * 10_000_000, "'''", "import os; os._exit(0)", "ü東"]
)


@settings(max_examples=15)
@given(st.lists(st.one_of(
    st.builds(run, TEXT),
    st.builds(lambda n, v: Call(n, {"code": v}), st.sampled_from(["python", "nope"]),
              st.none() | st.integers() | st.lists(st.integers(), max_size=3)),
    st.builds(lambda c: '{"name": "python", "arguments": {"code": ' + json.dumps(c) + "}}", TEXT),
    st.just('{"name": "python", "arguments": ' + "[" * 200),
), min_size=1, max_size=4))  # fmt: skip
def test_no_action_raises_or_breaks_the_interpreter(shared, actions):
    shared.reset(options={"task": 5})
    for action in actions:
        _, reward, terminated, truncated, info = shared.step(action)
        assert reward == 0.0 and not terminated and "invalid" not in info
    if not truncated:
        assert shared.step(run("print(6 * 7)"))[0] == "python: 42\n"
