"""Suites: what is checked before a run, what a broken agent costs, resuming, the report, nothing left running."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from milepost.__main__ import main
from milepost.cli import bench as bench_module
from milepost.cli.bench import estimate, key
from milepost.cli.names import UserError
from milepost.cli.suite import load_suite
from milepost.wrappers import shaper

STRANGERS = '''
import os, subprocess, sys, time
from pathlib import Path


def note(word):
    with open(Path(__file__).with_name("notes"), "a") as f:
        f.write(word + "\\n")


class First:
    def act(self, obs, info):
        return info["admissible_actions"][0]


class Raises(First):
    def act(self, obs, info):
        note("tried")
        raise RuntimeError("out of | ideas\\nfor ever")


class Exits(First):
    def act(self, obs, info):
        os._exit(3)


class Asks(First):
    def act(self, obs, info):
        return input("what now? ")


class Hangs(First):
    """Starts a process of its own and both never end."""

    def act(self, obs, info):
        child = subprocess.Popen(["sleep", "600"])
        note(f"{os.getpid()} {child.pid}")
        time.sleep(600)


class Learns(First):
    steps = "many"  # not the count of steps that ours have

    def __init__(self, env, seed, speed=1):
        self.env, self.speed = env, speed

    def learn(self, env, steps):
        assert env is self.env
        note(f"learns {steps} {self.speed} {type(env).__name__}")
        return {"loss": 0.0}
'''
ENV = '[[env]]\nid = "milepost/Quest-easy-v0"\nname = "easy"\n'
BUDGET = "[suite]\nsteps = 40\neval_every = 20\neval_episodes = 3\nseeds = 2\ntimeout = 60\n"


def agents(*names):
    return "".join(f'[[agent]]\nname = "{n}"\n' for n in names)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with strangers.py; what a call allows and adds to the path is forgotten afterwards."""
    pytest.importorskip("matplotlib", reason="the extra bench is not installed")
    (tmp_path / "strangers.py").write_text(STRANGERS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    allowed = {*shaper._allowed}
    yield tmp_path
    shaper._allowed.intersection_update(allowed)


def written(place, text, name="suite.toml"):
    path = place / name
    path.write_text(text)
    return path


def notes(place):
    try:
        return (place / "notes").read_text().split("\n")[:-1]
    except FileNotFoundError:
        return []


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def soon(condition, seconds=40):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "this never came"
        time.sleep(0.05)


# -- runs ----------------------------------------------------------------------------------------
def test_a_suite_runs_resumes_and_loses_only_the_rows_of_broken_agents(place, capsys):
    text = BUDGET + ENV + agents("random", "oracle")
    text += "".join(f'[[agent]]\nname = "strangers:{n}"\ntitle = "{n}"\n' for n in ("Raises", "Exits", "Asks"))
    text += '[[agent]]\nname = "strangers:Learns"\nsettings = {speed = 3}\n'
    text += '[[stack]]\nname = "shaped"\nshape = "potential_shaping(key=\'progress\')"\n'
    argv = ["bench", str(written(place, text)), "--allow-import", "strangers", "--jobs", "3"]
    assert main(argv) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("suite: 12 runs, 0 already done, less than a minute on 3 cores")
    folder = place / "runs" / "suite"
    data = json.loads((folder / "results.json").read_text())
    assert {"milepost", "python", "gymnasium", "numpy"} <= data["versions"].keys()
    rows = {(r["agent"]["title"], r["seed"]): r for r in data["results"]}
    assert len(rows) == len(data["results"]) == 12
    for seed in (0, 1):
        for title in ("random", "oracle", "strangers:Learns"):
            r = rows[title, seed]
            assert r["status"] == "ok" and r["versions"]["milepost"] == data["versions"]["milepost"]
            assert r["env"] == {"id": "milepost/Quest-easy-v0", "name": "easy", "settings": {}}
            assert r["stack"]["layers"] == [{"shaper": "potential_shaping", "key": "progress"}]
            assert (r["steps"], r["eval_every"], r["eval_episodes"]) == (40, 20, 3)
            assert [p["steps"] for p in r["curve"]] == ([0, 20, 40] if title == "strangers:Learns" else [0])
        assert rows["oracle", seed]["curve"][0]["success"] == rows["oracle", seed]["curve"][0]["env_return"] == 1.0
        assert rows["Raises", seed]["error"] == "RuntimeError: out of | ideas\nfor ever"
        assert "in act" in rows["Raises", seed]["trace"]
        assert rows["Exits", seed]["error"] == "the process ended with code 3"
        assert rows["Asks", seed]["error"].startswith("EOFError")
    # it learns in the shaped environment, 20 steps at a time, whatever its attribute `steps` says
    assert [n for n in notes(place) if "learns" in n] == ["learns 20 3 ShapedEnv"] * 4
    table = (folder / "table.md").read_text()
    lines = [line for line in table.splitlines() if line.startswith("| easy")]
    # six arms, then the two sub-goals of the three that did not fail
    assert [line.count(" | ") for line in lines] == [10] * 6 + [4] * 3
    assert "| 2: RuntimeError: out of \\| ideas for ever |" in table
    assert "| easy | oracle | shaped | 1.00 [1.00, 1.00] | - | - | 1.00 |" in table
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert lines[5] in out and any("6 runs failed" in line for line in out)

    # a second call: finished runs are left alone, failed ones are tried again
    tried = notes(place).count("tried")
    before = {p: p.stat().st_mtime_ns for p in (folder / "runs").glob("*.json")}
    assert main(argv) == 0 and "12 runs, 6 already done" in capsys.readouterr().out
    changed = {p.name.split("-")[1] for p, t in before.items() if p.stat().st_mtime_ns != t}
    assert changed == {"Raises", "Exits", "Asks"} and notes(place).count("tried") == 2 * tried == 4


def test_a_hanging_agent_loses_its_row_and_its_processes(place, capsys):
    text = BUDGET.replace("60", "10").replace("seeds = 2", "seeds = 1") + ENV + agents("strangers:Hangs", "oracle")
    start = time.monotonic()
    assert main(["bench", str(written(place, text)), "--allow-import", "strangers", "--jobs", "2"]) == 0
    assert 10 < time.monotonic() - start < 25
    results = json.loads((place / "runs/suite/results.json").read_text())["results"]
    assert [r["status"] for r in results] == ["failed", "ok"]
    assert results[0]["error"] == "no result after 10 seconds"
    pids = notes(place)[0].split()
    soon(lambda: not any(map(alive, pids)), 5)


def test_ending_a_worker_ends_what_it_started_also_when_it_is_over_itself():
    for last in ("wait", "exit 3"):
        script = f"sleep 600 & echo $!; {last}"
        worker = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, start_new_session=True, text=True)
        child = worker.stdout.readline().strip()
        if last == "exit 3":
            soon(lambda w=worker: bench_module._over(w), 10)
        assert alive(child) and bench_module._over(worker) == (last == "exit 3")
        assert bench_module._end(worker) == (3 if last == "exit 3" else -signal.SIGKILL)
        soon(lambda c=child: not alive(c), 5)
        worker.stdout.close()


def test_a_suite_without_one_good_run_says_so_with_its_exit_code(place, capsys):
    text = BUDGET.replace("seeds = 2", "seeds = [7]") + ENV + agents("strangers:Raises")
    assert main(["bench", str(written(place, text)), "--allow-import", "strangers"]) == 1
    assert "-7-" in next((place / "runs/suite/runs").glob("*.json")).name


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda s: s.name)
def test_nothing_runs_on_when_the_bench_is_ended(place, how):
    suite = written(place, BUDGET + ENV + agents("strangers:Hangs"))
    command = [sys.executable, "-m", "milepost", "bench", str(suite), "--allow-import", "strangers", "--jobs", "2"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background job would ignore it
    )
    try:
        soon(lambda: len(notes(place)) == 2)
        pids = " ".join(notes(place)).split()
        assert len(pids) == 4 and all(map(alive, pids))
        process.send_signal(how)
        _, err = process.communicate(timeout=20)
    finally:
        process.kill()
    soon(lambda: not any(map(alive, pids)), 10)
    if how == signal.SIGINT:
        assert process.returncode == 130 and err.endswith("stopped\n") and "Traceback" not in err
    assert not list((place / "runs/suite/runs").glob("*.json"))  # nothing is taken for a result


def test_the_example_suite_of_the_readme_runs(tmp_path):
    root = Path(__file__).parent.parent
    if not (root / "examples").is_dir():
        pytest.skip("no checkout")
    command = [
        sys.executable,
        "-m",
        "milepost",
        "bench",
        str(root / "examples/my_suite.toml"),
        "--allow-import",
        "my_agent",
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    rows = [line for line in done.stdout.splitlines() if line.startswith("| milepost/Quest-easy-v0")]
    assert done.returncode == 0 and [r.split(" | ")[1] for r in rows] == ["random", "my agent", "oracle"]
    assert all(r.endswith("| 3 | 0 |") for r in rows) and "1.00 [1.00, 1.00]" in rows[2]
    done = subprocess.run(
        [sys.executable, str(root / "examples/my_agent.py")], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0 and "in 20 episodes" in done.stdout


# -- the demo ------------------------------------------------------------------------------------
def test_the_demo_shows_a_table_and_plays_an_episode_aloud(place, capsys, monkeypatch):
    pytest.importorskip("torch", reason="the extra torch is not installed")
    text = BUDGET.replace("seeds = 2", "seeds = 1") + ENV + '[[stack]]\nname = "sparse"\n'
    text += '[[agent]]\nname = "text"\nsettings = {lanes = 2, batch_steps = 512}\n'
    tiny = written(place, stack("potential", 'potential_shaping(key="progress")', text))
    monkeypatch.setattr("milepost.cli.suite.load_suite", lambda path, quick: load_suite(tiny))
    assert main(["demo", "--quick", "--jobs", "2"]) == 0
    out = capsys.readouterr().out
    assert "| easy | text | sparse | " in out and "| easy | text | potential | " in out
    steps = [line for line in out.splitlines() if line.startswith("> ")]
    assert steps and all("outcome +" in s and "potential_shaping " in s for s in steps)
    assert out.rstrip().endswith("solved") and (place / "runs/demo/curves.png").exists()


@pytest.mark.full
def test_the_demo_as_shipped_runs_quickly(place):
    command = [sys.executable, "-m", "milepost", "demo", "--quick", "--jobs", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0 and "| Quest-medium | text | potential shaping | " in done.stdout, done.stderr[-2000:]


# -- estimate, names of runs -----------------------------------------------------------------------
def test_the_estimate_is_printed_before_the_first_run(place, capsys, monkeypatch):
    said = []
    monkeypatch.setattr(bench_module, "_work", lambda *a: said.append(capsys.readouterr().out))
    monkeypatch.setattr(os, "cpu_count", lambda: 2)  # with many it is less than a minute
    main(["bench", str(written(place, ENV + agents("text")))])
    (first,) = said[0].splitlines()
    # five runs of 20,000 steps at 900 steps a second and four seconds each, on two cores
    minutes = 5 * (20_000 / bench_module.RATE + bench_module.START) / 2 / 60
    assert f"5 runs, 0 already done, about {minutes:.0f} minutes" in first


def test_the_estimate_learns_from_runs_that_are_done(place, monkeypatch):
    monkeypatch.syspath_prepend(place)
    suite = load_suite(
        written(place, BUDGET + "name = 's'\n" + ENV + agents("random", "strangers:First")), ("strangers",)
    )
    folder = place / "out"
    (folder / "runs").mkdir(parents=True)
    for spec, taken in zip(suite.runs[:2], (0, 20)):  # of the other seed: one does not learn, one took half the steps
        done = spec | {"status": "ok", "seconds": 30.0, "steps_taken": taken}
        (folder / "runs" / f"{key(spec)}.json").write_text(json.dumps(done))
    assert estimate(suite, folder, 1) * 60 == pytest.approx(30 + 60 + 2 * bench_module.START)
    assert estimate(suite, folder, 8) * 60 == pytest.approx(45 + bench_module.START)  # two runs keep two cores busy


def test_every_different_spec_has_its_own_file(place):
    a, b = load_suite(written(place, BUDGET + ENV + agents("random"))).runs
    assert key(a) == key(json.loads(json.dumps(a))) != key(b)
    assert key(a | {"eval_episodes": 4}) != key(a) and key(a).startswith("easy-random-sparse-0-")
    long = a | {"agent": a["agent"] | {"title": "openai:m@http://h/v1 " * 40}}
    assert len(key(long)) < 250 and "/" not in key(long)


# -- what is wrong with a suite is said before anything runs -----------------------------------------
def stack(name, layers, before=ENV):
    return f"{before}[[stack]]\nname = '{name}'\nshape = '{layers}'\n"


WRONG = {
    "an unknown table": ("[[envs]]\nid = 'x'\n", "has no key 'envs'; did you mean 'env'?"),
    "an unknown key": (ENV + "sead = 3\n", "has no key 'sead'; did you mean 'seeds'?"),
    "an unknown key of the suite": ("[suite]\nstep = 3\n" + ENV, "[suite] of suite.toml has no key 'step'; did"),
    "an unknown id": ("[[env]]\nid = 'milepost/Quest-esy-v0'\n", "did you mean 'milepost/Quest-easy-v0'?"),
    "an unknown setting": (ENV + "settings = {romms = 3}\n", "romms"),
    "a setting that is not allowed": (ENV + "settings = {max_steps = 0}\n", "max_steps is 0; allowed: a whole number from 1"),
    "an id that would import": ("[[env]]\nid = 'evil:X-v0'\n", "'evil:X-v0' would import 'evil'"),
    "an unknown layer": (stack("a", "unifrom"), "'a': no shaper is called 'unifrom'; did you mean 'uniform'?"),
    "a layer that needs a group": (stack("a", "grpo"), "stack 'a' on easy: grpo compares the episodes"),
    "an unknown agent": (ENV + agents("randon"), "no agent is called 'randon'; did you mean 'random'?"),
    "an agent's setting": (ENV + "[[agent]]\nname = 'random'\nsettings = {greed = 1}\n", "agent random: "),
    "an agent that would import": (ENV + agents("evil:Agent"), "--allow-import evil"),
    "a permission": (ENV + "settings = {allow_command = true}\n", "--allow-command lets a task file start its command"),
    "no such module": (ENV + agents("strangers.more:Agent"), "no module is called 'strangers.more'"),
    "no such model": (ENV + agents("ppo-best.zip"), "there is no file ppo-best.zip"),
    "an endpoint without a url": (ENV + agents("openai:gpt"), "openai:MODEL@http://HOST:PORT/v1"),
    "a key in a suite": (ENV + agents("openai:m@http://h/v1") + "settings = {api_key = 'sk'}\n", "a key is never a setting"),
    "no TOML": ("[[env]\n", "suite.toml is no TOML: "),
    "no environment": ("[suite]\nsteps = 10\n", "has no [[env]]"),
    "one table for many": ("[env]\nid = 'milepost/Quest-easy-v0'\n", "write [[env]]"),
    "an environment without an id": ("[[env]]\nname = 'x'\n", "[[env]] of suite.toml has no 'id'"),
    "a stack without a name": (ENV + "[[stack]]\nshape = 'uniform'\n", "has no 'name'"),
    "a text for a number": (ENV + "steps = 'many'\n", "'steps' is 'many', allowed is a whole number"),
    "true for a number": (ENV + "steps = true\n", "'steps' is True, allowed is a whole number"),
    "a date for a setting": (ENV + "settings = {worlds = 2024-01-01}\n", "settings are texts, numbers, booleans"),
    "rare evaluations": (ENV + "steps = 10\neval_every = 11\n", "'eval_every' is 11, allowed is 1 to 'steps' (10)"),
    "no evaluations": (ENV + "eval_every = 0\n", "'eval_every' is 0, allowed is a whole number from 1"),
    "no episodes": ("[suite]\neval_episodes = 0\n" + ENV, "'eval_episodes' is 0, allowed is a whole number from 1"),
    "no seeds": (ENV + "seeds = 0\n", "'seeds' is 0, allowed is a whole number from 1"),
    "a seed twice": (ENV + "seeds = [1, 1]\n", "'seeds' is [1, 1], allowed"),
    "a seed below 0": (ENV + "seeds = [-1]\n", "'seeds' is [-1], allowed"),
    "no time": ("[suite]\ntimeout = 0\n" + ENV, "'timeout' is 0, allowed is a number above 0"),
    "a name that is a path": ("[suite]\nname = '../x'\n" + ENV, "'name' is '../x', allowed"),
    "two arms of one name": (stack("a", "clip") + stack("a", "uniform", ""), "two stacks of suite.toml are called 'a'"),
    "two agents of one name": (ENV + agents("random", "random"), "another 'title'"),
    "an unknown extra": (ENV + "requires = 'textwrld'\n", "no extra is called 'textwrld'; did you mean 'textworld'?"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_a_suite_is_refused_in_one_sentence_before_any_run(place, capsys, monkeypatch, what):
    text, said = WRONG[what]
    written(place, text)
    monkeypatch.setattr(bench_module, "_start", lambda *a: pytest.fail("a run was started"))
    assert main(["bench", "suite.toml", "--allow-import", "strangers"]) == 2
    out = capsys.readouterr()
    assert said in out.err and out.err.startswith("milepost: ") and out.err.count("\n") == 1 and not out.out
    assert not (place / "runs").exists() and not notes(place)


def test_a_suite_that_cannot_be_read_and_a_folder_that_cannot_be_written(place, capsys):
    assert main(["bench", "none.toml"]) == 2 and "there is no suite none.toml" in capsys.readouterr().err
    assert main(["bench", "."]) == 2 and ". cannot be read" in capsys.readouterr().err
    written(place, "x = '\xff'").write_bytes(b"\xff\xfe")
    assert main(["bench", "suite.toml"]) == 2 and "is no TOML" in capsys.readouterr().err
    (place / "file").write_text("")
    written(place, ENV + agents("random"))
    assert (
        main(["bench", "suite.toml", "--out", "file"]) == 2
        and "results cannot be written to file" in capsys.readouterr().err
    )


def test_missing_extras_are_told_before_the_runs(place, capsys, monkeypatch):
    from milepost.cli.names import EXTRAS

    text = (
        BUDGET
        + ENV
        + "[[env]]\nid = 'milepost/Quest-easy-v0'\nname = 'later'\nrequires = 'multiagent'\n"
        + agents("random")
    )
    monkeypatch.setitem(EXTRAS, "multiagent", (["no_such_package"], ""))
    suite = load_suite(written(place, text))
    assert suite.left_out == ["later: multiagent is not installed (pip install 'milepost[multiagent]')"]
    assert {r["env"]["name"] for r in suite.runs} == {"easy"}
    monkeypatch.setitem(EXTRAS, "sb3", (["no_such_package"], ""))
    with pytest.raises(UserError, match=r"agent 'dqn' is not installed: pip install 'milepost\[sb3\]'"):
        load_suite(written(place, ENV + agents("dqn")))
    monkeypatch.setitem(EXTRAS, "bench", (["no_such_package"], ""))
    assert main(["bench", str(written(place, ENV + agents("random")))]) == 2
    assert "no_such_package are not installed: pip install 'milepost[bench]'" in capsys.readouterr().err


def test_quick_is_a_tenth_of_the_steps_and_two_seeds(place):
    full, quick = (load_suite(written(place, ENV + agents("text")), quick=q) for q in (False, True))
    assert len(full.runs) == 5 and len(quick.runs) == 2
    assert [quick.runs[0][k] for k in ("steps", "eval_every", "eval_episodes")] == [2_000, 400, 20]
