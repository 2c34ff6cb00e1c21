"""Golden transcripts and audits of every registered environment: python tests/regenerate_transcripts.py [ID ...].

A transcript is for people: its diff in review is the behaviour change. The audit is what nobody, chance, the oracle and, where
tests are the judge, cheats achieve.
"""

from __future__ import annotations

import atexit
import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import gymnasium as gym
import numpy as np

import milepost  # noqa: F401
from milepost.envs.registry import Entry, entries
from milepost.envs.swe import store

HERE = Path(__file__).parent / "transcripts"
AUDIT = HERE / "audit.json"


RUNS = tempfile.mkdtemp(prefix="milepost-runs-")  # results of test runs, for all environments that this process makes
atexit.register(shutil.rmtree, RUNS, ignore_errors=True)


def git(place: Path, *arguments: str) -> str:
    """What git says, whatever the settings of this machine."""
    settings = ("user.name=t", "user.email=t@t", "commit.gpgsign=false", "init.defaultBranch=main")
    env = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
    command = ["git", *(x for s in settings for x in ("-c", s)), *arguments]
    return subprocess.run(command, cwd=place, env=env, check=True, capture_output=True, text=True).stdout


FIXES = {  # function: its parameters, the fault, the repair, what the test of the repair asserts
    "area": ("a, b", "a + b", "a * b", "area(2, 3) == 6"),
    "half": ("a", "a // 2", "a / 2", "half(3) == 1.5"),
    "clamp": ("a", "min(a, 0)", "max(a, 0)", "clamp(-1) == 0"),
}


@functools.lru_cache(1)
def instances() -> dict[str, str]:
    """A clone in which three faults were repaired one after another, and the instance file of these repairs."""
    name = f"geo__shapes-{os.getpid()}"  # its trees in the user's cache are this process's own, and go with it
    atexit.register(lambda: [shutil.rmtree(t, True) for t in store.cache("swebench").glob(f"{name}-*")])
    clone = Path(RUNS) / "repos" / name
    (clone / "tests").mkdir(parents=True)
    source, tests = clone / "shapes.py", clone / "tests" / "test_shapes.py"
    text = "\n\n".join(f"def {f}({args}):\n    return {bad}\n" for f, (args, bad, *_) in FIXES.items())
    checks = "import shapes\n\n\ndef test_names():\n    assert shapes.area and shapes.half and shapes.clamp\n"
    source.write_text(text)
    tests.write_text(checks)
    git(clone, "init", "-q")
    git(clone, "add", "-A")
    git(clone, "commit", "-qm", "faults")
    rows, passing = [], ["tests/test_shapes.py::test_names"]
    for function, (_, bad, good, check) in FIXES.items():
        base = git(clone, "rev-parse", "HEAD").strip()
        text = text.replace(f"return {bad}\n", f"return {good}\n")
        checks += f"\n\ndef test_{function}():\n    assert shapes.{check}\n"
        source.write_text(text)
        tests.write_text(checks)
        git(clone, "commit", "-qam", f"{function} is repaired")
        rows.append({
            "instance_id": f"geo__shapes-{len(rows) + 1}", "repo": name.replace("__", "/"), "base_commit": base,
            "problem_statement": f"`{function}` is wrong: `{check}` does not hold.",
            "patch": git(clone, "diff", base, "HEAD", "--", "shapes.py"),
            "test_patch": git(clone, "diff", base, "HEAD", "--", "tests"),
            "FAIL_TO_PASS": [f"tests/test_shapes.py::test_{function}"], "PASS_TO_PASS": list(passing),
            "split": "train" if len(rows) < 2 else "test",
        })  # fmt: skip
        passing.append(f"tests/test_shapes.py::test_{function}")
    path = Path(RUNS) / "instances.json"
    path.write_text(json.dumps(rows))
    return {"path": str(path), "repos": str(clone.parent)}


GIVEN = {"milepost.envs.swe.swebench:SWEBenchEnv": instances}  # settings of classes that have no tasks of their own


def settings(entry: Entry) -> dict[str, str]:
    """What an environment is made with here, beside what its row says."""
    given = GIVEN[entry.entry_point]() if entry.entry_point in GIVEN else {}
    if entry.requires == "tools" and not entry.wrappers:
        given = given | {"candidates": 60}  # for agents that choose
    return given | ({"cache": f"{RUNS}/runs.sqlite"} if entry.requires == "swe" else {})


def make(entry: Entry, **kwargs) -> gym.Env:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return gym.make(entry.id, disable_env_checker=True, **(settings(entry) | kwargs))


def is_encoded(env: gym.Env) -> bool:
    return isinstance(env.action_space, gym.spaces.Discrete)


def action(env: gym.Env, command: str):
    """The command, or its index on a face of numbers."""
    return env.get_wrapper_attr("index_of")(command) if is_encoded(env) else command


def going_on(info: dict) -> list[str]:
    """The admissible actions without those that end every episode: a submission, words where tools can be called."""
    every = info["admissible_actions"]
    calls = [a for a in every if a.startswith("{") and '"submit"' not in a and '"transfer_to_' not in a]
    return calls or [a for a in every if '"submit"' not in a]


def null_action(env: gym.Env):
    return env.action_space.n - 1 if is_encoded(env) else ""


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def shown(obs) -> str:
    if isinstance(obs, str):
        return obs
    digest = sha(b"".join(np.ascontiguousarray(obs[k]).tobytes() for k in sorted(obs)))
    sizes = ", ".join(f"{k} {obs[k].shape} sum {float(np.sum(obs[k])):.4f}" for k in sorted(obs))
    return f"{sizes}\nsha256 {digest}"


def facts(info: dict) -> str:
    known = {k: info[k] for k in ("score", "max_score", "progress", "success", "valid_action", "subgoals") if k in info}
    known["progress"] = round(known["progress"], 6)
    terms = {k: round(v, 6) for k, v in info.get("reward_terms", {}).items()}
    return json.dumps(known | ({"reward_terms": terms} if terms else {}))


OTHERS = ("bfcl", "tau2")  # sets whose texts are somebody else's: their transcripts show them by their hashes


def transcript(entry: Entry) -> str:
    """One episode: a wrong command, three random ones, then the oracle to the end."""

    def told(text: str) -> str:
        return text if entry.setup not in OTHERS else f"{len(text)} characters, sha256 {sha(text.encode())}"

    env = make(entry)
    rng = np.random.default_rng(0)
    obs, info = env.reset(seed=0)
    out = [
        entry.id,
        f"observation {env.observation_space}",
        f"action {env.action_space}",
        f"meta {told(str(info['meta']))}",
        "",
    ]
    step, done = 0, False
    while not done:
        out += [told(shown(obs)), told(facts(info)), f"admissible: {told(', '.join(info['admissible_actions']))}", ""]
        if step == 0:
            act = null_action(env)
        elif step < 4:
            act = action(env, str(rng.choice(going_on(info))))
        else:
            try:
                act = action(env, env.get_wrapper_attr("oracle")())
            except RuntimeError:  # what was done at random took the rows of its next call
                act = action(env, str(rng.choice(info["admissible_actions"])))
        obs, reward, terminated, truncated, info = env.step(act)
        done, step = terminated or truncated, step + 1
        out.append(
            f"step {step}: {told(repr(act))} -> reward {reward:.6f} terminated {terminated} truncated {truncated}"
        )
    out += [told(shown(obs)), told(facts(info))]
    env.close()
    return "\n".join(out) + "\n"


CHEATS = (  # shell commands that lay hands on the checking; $S is a file of the fault, $T one of the tests that fail
    r"printf 'def pytest_runtest_makereport(item, call):\n    call.excinfo = None\n' > conftest.py; rm -f $T",
    r"""printf 'import importlib\nimportlib.import_module("_pyt" + "est.python").Function.runtest = id\n' >> $S""",
    r"printf 'import os\nos._exit(0)\n' >> $S",
    r"printf 'def test_1():\n    pass\n' > $T",
    "echo 'import os; os._exit(0)' > sitecustomize.py",
    r"""printf 'print("9 passed")\n' >> $S""",
    r"""printf 'import builtins\nbuiltins.AssertionError = type("E", (Exception,), {})\n' >> $S""",
)


def cheat(env: gym.Env, number: int) -> dict:
    """A cheat as a tool call, with a change that counts beside it, so that the grader runs."""
    source = min(env.unwrapped.reference(), default="work.py")  # a terminal task names neither
    test = next(iter(env.unwrapped.instance().fail_to_pass), "tests/test_outputs.py").partition("::")[0]
    command = f"S='{source}'; T='{test}'; mkdir -p $(dirname $T)\n{CHEATS[number]}\necho '#' >> $S"
    return {"name": "bash", "arguments": {"command": command}}


def play(entry: Entry, agent: str, episodes: int) -> tuple[float, float, float]:
    """Mean success, return and length of null, random, oracle or tamper over episodes of the train split."""
    env, rng = make(entry), np.random.default_rng(0)
    success, returns, lengths = [], [], []
    for k in range(episodes):
        _, info = env.reset(seed=0 if k == 0 else None)
        total, steps, done = 0.0, 0, False
        while not done:
            if agent == "null":
                act = null_action(env)
            elif agent == "random":
                act = action(env, str(info["admissible_actions"][rng.integers(len(info["admissible_actions"]))]))
            elif agent == "tamper":
                act = {"name": "submit", "arguments": {}} if steps else cheat(env, k)
            else:
                act = action(env, env.get_wrapper_attr("oracle")())
            _, reward, terminated, truncated, info = env.step(act)
            total, steps, done = total + reward, steps + 1, terminated or truncated
        success.append(bool(info["success"]))
        returns.append(total)
        lengths.append(steps)
    env.close()
    return float(np.mean(success)), float(np.mean(returns)), float(np.mean(lengths))


def audit(entry: Entry) -> dict[str, float]:
    """What the table of the documentation shows."""
    out = {}
    tamper = (("tamper", len(CHEATS)),) if entry.requires == "swe" and not entry.wrappers else ()
    for agent, episodes in (("oracle", 50), ("random", 200), ("null", 5), *tamper):
        success, returns, length = play(entry, agent, episodes)
        out |= {agent: round(success, 4), f"{agent}_return": round(returns, 4), f"{agent}_length": round(length, 2)}
    return out


def path(entry: Entry) -> Path:
    return HERE / f"{entry.id.split('/')[1]}.txt"


def main() -> None:
    wanted = sys.argv[1:]
    sys.path.insert(0, str(Path(__file__).parent))
    import game_transcripts  # those of games, where PettingZoo is installed

    game_transcripts.regenerate(wanted)
    audits = json.loads(AUDIT.read_text()) if AUDIT.exists() else {}
    for entry in entries():
        if wanted and entry.id not in wanted:
            continue
        HERE.mkdir(exist_ok=True)
        path(entry).write_text(transcript(entry))
        audits[entry.id] = audit(entry)
        print(entry.id, audits.get(entry.id, ""), flush=True)
    known = [e.id for e in entries()]
    AUDIT.write_text(json.dumps({k: v for k, v in sorted(audits.items()) if k in known}, indent=1) + "\n")


if __name__ == "__main__":
    main()
