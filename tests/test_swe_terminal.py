"""Task directories in Harbor's and Terminal-Bench's formats: our own, those that the test writes, every cheat we know."""

import copy
import io
import json
import os
import shutil

import pytest

from milepost.envs.errors import InfraError
from milepost.envs.swe import harbor, harbor_image
from milepost.envs.swe.terminal import TASKS, TerminalEnv
from milepost.envs.tools.calls import Call

pytestmark = pytest.mark.swe

SUBMIT = Call("submit", {})
TOML = '[metadata]\nsplit = "train"\n[verifier]\ntimeout_sec = 30\n'
TESTS = """from pathlib import Path


def test_word():
    assert Path("/app/out.txt").read_text() == "done\\n"


def test_more():
    assert Path("/app/given.txt").read_text() == "given\\n"
"""
SCRIPT = """#!/bin/bash
mkdir -p /logs/verifier
python3 -m pytest /tests/test_outputs.py -rA
if [ $? -eq 0 ]; then echo 1 > /logs/verifier/reward.txt; else echo 0 > /logs/verifier/reward.txt; fi
"""
FILES = {
    "task.toml": TOML,
    "instruction.md": "Write done to /app/out.txt.\n",
    "environment/Dockerfile": "FROM python:3.11-slim\nWORKDIR /app\nCOPY given.txt ./\n",
    "environment/given.txt": "given\n",
    "tests/test.sh": SCRIPT,
    "tests/test_outputs.py": TESTS,
    "solution/solve.sh": "cp /solution/word.txt /app/out.txt\n",
    "solution/word.txt": "done\n",
}


def write(root, files):
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return str(root)


def bash(command):
    return Call("bash", {"command": command})


def play(env, *commands, task=None):
    """The reward and the info of an episode that ends with submit."""
    env.reset(seed=0, options=None if task is None else {"task": task})
    for command in commands:
        *_, info = env.step(bash(command))
        assert not info.get("invalid"), info
    _, reward, terminated, _, info = env.step(SUBMIT)
    return reward, info | {"terminated": terminated}


@pytest.fixture
def made(tmp_path):
    """Makes environments over one task and closes them."""
    envs = []

    def make(changed=None, *, name="toy", **settings):
        files = {p: t for p, t in {**FILES, **(changed or {})}.items() if t is not None}
        envs.append(TerminalEnv(write(tmp_path / name, files), **settings))
        return envs[-1]

    yield make
    for env in envs:
        env.close()


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """One environment for the tests that only play: graded by its script."""
    env = TerminalEnv(write(tmp_path_factory.mktemp("toy") / "toy", FILES))
    yield env
    env.close()


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_oracle_solves_our_tasks_and_nobody_else_does(split):
    env = TerminalEnv(split=split)
    try:
        for task in env.tasks():
            env.reset(options={"task": task})
            for action in env._plan():
                said, reward, terminated, _, info = env.step(action)
                assert terminated or "[exit code 0]" in said, said
            assert terminated and reward == 1.0 and info["success"] and all(info["tests"].values()), said
            reward, info = play(env, task=task)
            assert reward == 0.0 and not info["success"] and info["answer"] == "" and "tests" not in info
            reward, info = play(env, CHEATS["everything"], task=task)
            assert reward == 0.0 and info["progress"] < 1.0 and not all(info["tests"].values())
    finally:
        env.close()


def test_our_tasks_are_as_the_format_wants_them():
    folders = harbor.load(TASKS)
    assert len(folders) >= 8 and sum(f.settings["metadata"]["split"] == "test" for f in folders) >= 2
    for f in folders:
        assert (
            f.instruction and f.solution() and f.test_files() == ["test_outputs.py"] and not harbor.installs(f.script)
        )
        assert "python3 -m pytest /tests/test_outputs.py" in f.script and f.settings["version"] == "1.0"


def test_an_episode_says_what_it_should(toy):
    env = toy
    observation, info = env.reset(seed=0)
    assert observation.startswith("Write done to /app/out.txt.") and observation.endswith("Files in /app:\ngiven.txt")
    assert info["meta"] == {"task": "toy"} and "reference" not in info
    assert [json.loads(a)["name"] for a in info["admissible_actions"]] == ["bash", "submit", "view", "view"]
    said, *_, info = env.step(Call("run_tests", {}))
    assert not info["valid_action"] and "hidden" in said
    said, *_, info = env.step(Call("view", {"path": "/app/given.txt"}))
    assert info["valid_action"] and said == "    1 given" and not info["subgoals"]["a file was changed"]
    said, *_, info = env.step(Call("view", {"path": "/etc/passwd"}))
    assert not info["valid_action"] and "outside" in said
    *_, info = env.step(Call("create", {"path": "/app/sub/note.txt", "content": "x"}))
    assert info["subgoals"]["a file was changed"] and info["progress"] == 0.0 and "answer" not in info
    env.step(bash("chmod 600 given.txt; ln -s sub link; rm sub/note.txt"))
    said, reward, terminated, _, info = env.step(SUBMIT)
    assert terminated and reward == 0.0 and "1 of 2 tests pass" in said and "No such file" in said
    assert info["answer"] == "M given.txt\nA link\nA sub" and not info["tampered"]
    assert info["tests"] == {"test_outputs.py::test_word": False, "test_outputs.py::test_more": True}
    assert (info["score"], info["max_score"], info["progress"]) == (0.5, 1.0, 0.5)
    assert env.hint() == f"A solution is:\n{chr(10).join(c.arguments['command'] for c in env._solution())}"
    with pytest.raises(ValueError, match="hint level is 'patch'; allowed: 'solution'"):
        env.hint("patch")


def test_every_term_is_paid_once_where_it_is_due(made):
    env = made(weights=dict.fromkeys(("format", "valid_call", "located", "edited", "tests", "outcome"), 1.0))
    env.levels = (-1.0, 0.0, 0.5, 1.0)
    env.reset(seed=0)
    rows = [env.step(a)[-1]["reward_terms"] for a in ("", bash("true"), bash("echo done > out.txt"), SUBMIT)]
    keys = ("format", "valid_call", "located", "edited", "tests", "outcome")
    assert [[row[k] for k in keys] for row in rows] == [
        [0, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0], [1, 1, 0, 1, 0, 0], [1, 1, 0, 0, 1, 1],
    ]  # fmt: skip


def test_a_restored_state_goes_on_as_it_went(toy):
    env = toy
    env.reset(seed=0)
    env.step(bash("mkdir d; printf '\\x00\\xff' > d/b; chmod 700 d; ln -s d/b l; echo done > out.txt; rm given.txt"))
    saved = env.snapshot()
    look = "find . -type d -printf '%P %m %T@\\n' -o -printf '%P %y %m %s %l %T@\\n' | sort; od -c d/b; cat out.txt"
    first = [env.step(a) for a in (bash(look), bash("echo given > given.txt; echo x >> d/b"), SUBMIT)]
    assert first[-1][1] == 1.0
    env.reset(seed=1)
    env.step(bash("rm -rf d; echo wrong > out.txt"))
    for _ in range(2):
        env.restore(copy.deepcopy(saved))
        assert [env.step(a) for a in (bash(look), bash("echo given > given.txt; echo x >> d/b"), SUBMIT)] == first


def test_a_state_outlives_its_environment_only_beside_others(made):
    own = {"sandbox_settings": {"memory": 2**28}}  # a provider that no other test holds
    a, b = made(**own), made(**own)
    a.reset(seed=0)
    b.reset(seed=0)
    a.step(bash("echo done > out.txt"))
    saved = a.snapshot()
    a.close()
    b.restore(saved)
    assert b.step(SUBMIT)[1] == 1.0
    b.close()
    c = made(**own)
    with pytest.raises(InfraError, match="gone"):
        c.restore(saved)


def test_the_same_files_are_graded_once(made, tmp_path):
    cache = str(tmp_path / "runs.sqlite")
    a = made(cache=cache)
    assert play(a, "echo done > out.txt")[0] == play(a, "sleep 0.01; echo done > out.txt")[0] == 1.0
    assert (a._results.hits, a._results.misses) == (1, 1)
    b = TerminalEnv(a.source._folders["toy"].path, cache=cache)
    try:
        assert play(b, "echo done > out.txt")[1]["progress"] == 1.0 and b._results.hits == 1
        assert play(b, "echo done > out.txt; chmod 600 out.txt")[0] == 1.0 and b._results.misses == 1
    finally:
        b.close()


# -- cheats ------------------------------------------------------------------------------------------
CHEATS = {
    "prepared": "mkdir -p /tmp/milepost/tests /tmp/milepost/logs/verifier; echo 1 > /tmp/milepost/logs/verifier/reward.txt;"
    " echo 'echo 1 > /tmp/milepost/logs/verifier/reward.txt' > /tmp/milepost/tests/test.sh; mkdir /tests /logs; touch x",
    "process": "nohup bash -c 'while :; do mkdir -p /tmp/milepost/logs/verifier;"
    " echo 1 > /tmp/milepost/logs/verifier/reward.txt; sleep 0.01; done' > /dev/null 2>&1 & echo x > x",
    "conftest": "mkdir -p tests; for f in . tests; do echo 'import os; os._exit(0)' > $f/conftest.py; done",
    "customize": "for f in site user; do echo 'import os; os._exit(0)' > ${f}customize.py; done;"
    " mkdir -p .local/lib/python3.11/site-packages /tmp/.local/lib/python3.11/site-packages;"
    " cp usercustomize.py .local/lib/python3.11/site-packages; cp usercustomize.py /tmp/.local/lib/python3.11/site-packages",
    "modules": "for m in pytest _pytest pluggy pathlib json milepost_report; do echo 'import os; os._exit(0)' > $m.py; done",
    "config": "printf '[pytest]\\naddopts = --collect-only\\n' > pytest.ini; cp pytest.ini tox.ini;"
    " printf '[tool.pytest.ini_options]\\naddopts = \"--collect-only\"\\n' > pyproject.toml",
    "programs": "mkdir -p bin; for p in python3 python pytest; do printf '#!/bin/sh\\nexit 0\\n' > bin/$p;"
    " cp bin/$p .; done; chmod -R 755 bin python3 python pytest",
}
CHEATS["everything"] = "; ".join(f"({c})" for c in CHEATS.values())


@pytest.mark.parametrize("cheat", [c for c in CHEATS if c != "everything"])
def test_what_an_agent_prepares_earns_nothing(shared, cheat):
    reward, info = play(shared["script"], CHEATS[cheat])
    assert reward == 0.0 and not info["success"], "the cheat paid"
    assert info["tests"]["test_outputs.py::test_more"], "the tests ran in spite of it"


@pytest.mark.parametrize("grader", ["script", "pytest"])
def test_all_of_it_neither_pays_nor_hurts(shared, grader):
    env = shared[grader]
    reward, info = play(env, CHEATS["everything"])
    assert reward == 0.0 and not info["success"] and info["tests"]["test_outputs.py::test_more"]
    assert play(env, f"echo done > out.txt; {CHEATS['everything']}")[0] == 1.0


def test_a_hash_of_the_agents_making_is_not_believed(shared):
    """A result is kept under the hash of the files: programs of the agent's have no part in it."""
    env = shared["script"]
    assert play(env, "echo done > out.txt")[0] == 1.0
    fake = "mkdir bin; for p in bash tar sha256sum find; do printf '#!/bin/sh\\necho same\\n' > bin/$p; done; chmod 755 bin/*"
    assert play(env, f"echo done > out.txt; {fake}")[0] == 1.0
    assert play(env, fake)[0] == 0.0


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A task whose Dockerfile makes it easy: its own programs come first on PATH, its modules on PYTHONPATH."""
    docker = FILES["environment/Dockerfile"] + "ENV PATH=/app/bin:/app:$PATH PYTHONPATH=/app HOME=/app\n"
    root = write(tmp_path_factory.mktemp("shared") / "toy", {**FILES, "environment/Dockerfile": docker})
    envs = {g: TerminalEnv(root, grader=g) for g in ("script", "pytest")}
    yield envs
    for env in envs.values():
        env.close()


IMPORTS = {"tests/test_outputs.py": "import sys\n\nsys.path.append('/app')\nimport work\n" + TESTS}


EXIT = "import os\nos._exit(0)\n"
LATE = "import atexit, os\natexit.register(os._exit, 0)\n"
REPORT = """import _pytest.reports as r

real = r.TestReport.from_item_and_call.__func__


def fake(cls, item, call):
    call.excinfo = None
    return real(cls, item, call)


r.TestReport.from_item_and_call = classmethod(fake)
"""
REWRITE = "open('out.txt', 'w').write('done\\n')\nopen('/tmp/milepost/tests/test_outputs.py', 'a').write('\\n')\n"


@pytest.mark.parametrize(
    ("grader", "code", "seen"),
    [
        ("script", EXIT, True),
        ("pytest", EXIT, True),
        ("script", LATE, False),  # it has no effect
        ("script", REPORT, False),  # the exit code tells
        ("pytest", REPORT, True),
        ("script", REWRITE, True),
    ],
    ids=["exit-script", "exit-pytest", "late-script", "report-script", "report-pytest", "rewrite-script"],
)
def test_code_that_tests_import_does_not_decide(made, grader, code, seen):
    env = made(IMPORTS, grader=grader)
    env.reset(seed=0)
    env.step(Call("create", {"path": "work.py", "content": code}))
    _, reward, _, _, info = env.step(SUBMIT)
    assert reward == 0.0 and not info["success"] and info["tampered"] == seen
    assert not seen or info["progress"] == 0.0


# -- graders -----------------------------------------------------------------------------------------
UV = """#!/bin/bash
# a comment may say python3 -m pytest
apt-get update && apt-get install -y curl
curl -LsSf https://astral.sh/uv/0.9.5/install.sh | sh
source $HOME/.local/bin/env
uvx -p 3.13 -w pytest==8.4.1 -w pytest-json-ctrf==0.3.5 pytest --ctrf /logs/verifier/ctrf.json /tests/test_outputs.py
if [ $? -eq 0 ]; then echo 1 > /logs/verifier/reward.txt; else echo 0 > /logs/verifier/reward.txt; fi
"""


def test_a_script_that_needs_a_network_gives_way_to_pytest(made):
    env = made({"tests/test.sh": UV})
    assert not env.source.task(env.instance(0)).script
    assert play(env, "echo done > out.txt")[0] == 1.0
    reward, info = play(env, "echo no > out.txt")
    assert reward == 0.0 and info["tests"] == {"test_outputs.py::test_word": False, "test_outputs.py::test_more": True}
    missing = made({"tests/test_outputs.py": "import nowhere_to_be_found\n"}, name="b", grader="pytest")
    reward, info = play(missing, "echo done > out.txt")
    assert reward == 0.0 and info["tests"] == {"test_outputs.py": False} and not info["tampered"]


def test_what_a_script_installs_must_be_on_this_machine(made):
    env = made({"tests/test.sh": UV.replace("-w pytest-json-ctrf==0.3.5", "-w nowhere-to-be-found==1.0")})
    assert harbor.load(env.source._folders["toy"].path)[0].needs == ("pytest", "nowhere-to-be-found")
    with pytest.raises(InfraError, match="nowhere-to-be-found is not installed"):
        env.reset(seed=0)
    pip = harbor.Folder(
        "x", TASKS, "", False, {}, "pip install -q numpy==1.0 'pandas>=2' && uv add rich\n# pip install no\n"
    )
    assert pip.needs == ("pytest", "numpy", "rich") and harbor.installs(pip.script)


@pytest.mark.parametrize(
    ("says", "reward", "progress"),
    [
        ("echo 1.0 > /logs/verifier/reward.txt", 1.0, 1.0),
        ("echo 0.25 > /logs/verifier/reward.txt", 0.0, 0.25),
        ("""echo '{"reward": 0.5, "style": 1}' > /logs/verifier/reward.json""", 0.0, 0.5),
        ("""echo '{"a": 1, "b": 0.5}' > /logs/verifier/reward.json""", 0.0, 0.75),
        (
            "[ $(cat given.txt) = given ] && [ -f /tests/data/x ] && echo 1 > ${LOGS:-/logs}/verifier/reward.txt",
            1.0,
            1.0,
        ),
    ],
)
def test_rewards_of_a_script(made, says, reward, progress):
    env = made(
        {"tests/test.sh": f"mkdir -p /logs/verifier\n{says}\n", "tests/test_outputs.py": None, "tests/data/x": ""}
    )
    got, info = play(env, "touch x")
    assert (got, info["progress"]) == (reward, progress) and info["tests"] == {"test.sh": reward == 1.0}


def test_a_script_without_a_verdict_is_no_reward_of_0(made):
    for n, says in enumerate(
        ["true", "echo nan > /logs/verifier/reward.txt", "echo '[1]' > /logs/verifier/reward.json"]
    ):
        env = made({"tests/test.sh": f"mkdir -p /logs/verifier\n{says}\n"}, name=f"t{n}", grader="script")
        _, info = play(env, "touch x")
        assert info["invalid"] and "wrote no reward" in info["infra_error"] and not info["terminated"]
        assert env.infra_failures == 1


def test_pytest_takes_the_place_of_a_script_without_a_verdict(made):
    env = made({"tests/test.sh": "nowhere-to-be-found; rm -rf /app/*; exit 3\n"})
    assert play(env, "echo done > out.txt")[0] == 1.0
    reward, info = play(env, "touch x")
    assert reward == 0.0 and info["tests"] == {"test_outputs.py::test_word": False, "test_outputs.py::test_more": True}


def test_a_script_that_does_not_end_fails(made):
    slow = {"task.toml": TOML.replace("30", "0.5"), "tests/test.sh": "echo 1 > /tmp/x; sleep 30\n"}
    reward, info = play(made(slow), "touch x")
    assert reward == 0.0 and info["tests"] == {"test.sh": False} and "did not end in time" in info["message"]


# -- Terminal-Bench's older format ---------------------------------------------------------------------
OLD = {
    "task.yaml": "instruction: |-\n  Write done to\n  /app/out.txt.\nparser_name: pytest\nmax_test_timeout_sec: 30.0\n",
    "Dockerfile": "FROM ubuntu:24.04\nCOPY . /app\nWORKDIR /app\n",
    "docker-compose.yaml": "services: {}\n",
    "given.txt": "given\n",
    "run-tests.sh": "#!/bin/bash\nsource $TEST_DIR/setup-uv-pytest.sh\nbash $TEST_DIR/run-uv-pytest.sh\n",
    "tests/test_outputs.py": TESTS,
    "solution.sh": "#!/bin/bash\necho done > /app/out.txt\n",
}


def test_the_older_format(tmp_path):
    pytest.importorskip("yaml", reason="pyyaml, which reads the older format, is not installed")
    root = tmp_path / "tasks"
    rows = [{"command": "cd /app", "min_timeout_sec": 1}, {"command": "echo done > /app/out.txt", "append_enter": True}]
    yaml = {**OLD, "solution.sh": None, "solution.yaml": json.dumps(rows)}
    write(root / "a", OLD)
    write(root / "b", {p: t for p, t in yaml.items() if t is not None})
    env = TerminalEnv(str(root), only=["b"] if harbor_split("b") == "train" else ["a"], split="train")
    try:
        observation, _ = env.reset(seed=0)
        assert observation.startswith("Write done to\n/app/out.txt.") and observation.endswith(
            "Files in /app:\ngiven.txt"
        )
        for action in env._plan():
            _, reward, _, _, info = env.step(action)
        assert reward == 1.0 and set(info["tests"]) == {"test_outputs.py::test_word", "test_outputs.py::test_more"}
        assert play(env, "echo no > out.txt")[0] == 0.0
    finally:
        env.close()
    assert [f.solution() for f in harbor.load(root)] == [
        ("#!/bin/bash\necho done > /app/out.txt\n",), ("cd /app", "echo done > /app/out.txt"),
    ]  # fmt: skip
    write(root / "a", {"task.yaml": "instruction: x\nparser_name: swebench\n"})
    with pytest.raises(ValueError, match="task 'a': parser_name is 'swebench'; allowed: 'pytest'"):
        harbor.load(root)


def harbor_split(name):
    """The split that a task without one in its settings falls into."""
    import zlib

    return "test" if zlib.crc32(name.encode()) % 4 == 0 else "train"


# -- Dockerfiles ---------------------------------------------------------------------------------------
DOCKER = """# syntax=docker/dockerfile:1
FROM golang:1 AS build
RUN go build ./...

FROM python:3.11-slim
ARG VERSION=7
ENV NAME="a b" \\
    # in between
    PLACE=/app/data
LABEL x=y
WORKDIR /app
COPY --chown=root:root --chmod=600 given.txt ${PLACE}/
COPY src/ "./"
COPY ["src/one.py", "src/deep", "both/"]
ADD *.txt texts/
COPY given.txt texts
WORKDIR sub
WORKDIR ..
RUN echo "$NAME $VERSION" > name.txt && \\
    pwd >> name.txt
RUN cat > here.txt <<'EOF'
# kept $NAME
EOF
RUN ["touch", "list form"]
CMD ["sleep"]
"""


def test_a_dockerfile_is_followed(made):
    env = made(
        {"environment/Dockerfile": DOCKER, "environment/src/one.py": "1\n", "environment/src/deep/two.py": "2\n"},
    )
    observation, _ = env.reset(seed=0)
    assert observation.partition("Files in /app:\n")[2].splitlines() == [
        "both/one.py", "both/two.py", "data/given.txt", "deep/two.py", "here.txt", "list form", "name.txt", "one.py",
        "texts/given.txt",
    ]  # fmt: skip
    said = env.step(bash("cat name.txt here.txt; stat -c %a data/given.txt; ls -d sub; echo $NAME $PLACE"))[0]
    assert said == "a b 7\n/app\n# kept $NAME\n600\nsub\na b /app/data\n[exit code 0]"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("COPY ../task.toml .", "leads out of the task directory"),
        ("COPY x/../../y .", "leads out of the task directory"),
        ("COPY none.txt .", "there is no 'none.txt' in the build context"),
        ("COPY given.txt /etc/given.txt", r"only files below WORKDIR \(/app\) can be had without a Docker image"),
        ("COPY --from=build /x /app/x", "--from cannot be had without a Docker image"),
        ("ADD https://example.org/x .", "nothing can be fetched without a Docker image"),
        ("COPY given.txt", "cannot be read; allowed: COPY source target"),
        ('COPY ["given.txt", 3]', "cannot be read; allowed: a JSON list of texts"),
        ('SHELL ["/bin/zsh"]', "SHELL cannot be had"),
        ("RUN --mount=type=cache,target=/x true", "options of RUN cannot be had"),
    ],
)
def test_what_a_dockerfile_cannot_have_is_one_error(made, line, said):
    env = made({"environment/Dockerfile": f"{FILES['environment/Dockerfile']}{line}\n"})
    with pytest.raises(ValueError, match=f"task 'toy': .*{said}"):
        env.reset(seed=0)


def test_a_run_that_needs_the_image_is_an_infrastructure_error(made):
    env = made({"environment/Dockerfile": "FROM x\nWORKDIR /app\nRUN apt-get install -y tmux\n"})
    with pytest.raises(InfraError, match=r"task 'toy': 'RUN apt-get install -y tmux' cannot be had in this .*images="):
        env.reset(seed=0)
    env = made({"environment/Dockerfile": "FROM x\nWORKDIR /app\nRUN echo why >&2; exit 3\n"}, name="b")
    with pytest.raises(InfraError, match=r"\(why\)"):
        env.reset(seed=0)


def test_what_is_installed_can_be_left_out(made):
    docker = """FROM ghcr.io/laude-institute/t-bench/ubuntu-24-04:20250624
RUN apt-get update && \\
    apt-get install -y python3-pip && ln -s /usr/bin/python3 /usr/bin/python
RUN pip3 install --no-cache-dir --break-system-packages pytest==8.4.1
RUN mkdir -p /app
COPY given.txt /app/given.txt
WORKDIR /app
"""
    env = made({"environment/Dockerfile": docker}, skip_installs=True)
    assert env.source.task(env.instance(0)).needs == ("pytest",)
    reward, info = play(env, "python3 -c 'import pytest' && echo done > out.txt")
    assert reward == 1.0 and info["answer"] == "A out.txt"
    with pytest.raises(ValueError, match="skip_installs is 'no'; allowed: True or False"):
        made(name="b", skip_installs="no")


def test_directories_that_lead_out_are_refused(tmp_path):
    write(tmp_path / "secret", {"x": "mine"})
    for place, target in [("environment/x", "../../secret/x"), ("tests/x", "/etc/passwd"), ("solution", "../secret")]:
        root = tmp_path / place.replace("/", "-")
        write(root, FILES)
        if (root / place).is_dir():
            shutil.rmtree(root / place)
        (root / place).symlink_to(target)
        with pytest.raises(ValueError, match=f"{place} leads out of the task directory"):
            harbor.load(root)
    many = tmp_path / "many"
    many.mkdir()
    write(tmp_path / "elsewhere", FILES)
    (many / "linked").symlink_to("../elsewhere")
    with pytest.raises(ValueError, match="task 'linked' is a link"):
        harbor.load(many)
    root = write(tmp_path / "pipe", FILES)
    os.mkfifo(f"{root}/environment/pipe")
    with pytest.raises(ValueError, match="environment/pipe is no file, directory or link"):
        harbor.load(root)


def test_wrong_settings_and_directories_are_one_error(tmp_path):
    good = write(tmp_path / "good", FILES)
    for settings, said in [
        ({"path": str(tmp_path / "none")}, "path is '.*none'; allowed: a task directory"),
        ({"path": str(tmp_path / "good" / "tests")}, "allowed: a directory with task.toml or task.yaml"),
        ({"only": ["no"]}, "only names 'no'; allowed: checksum-audit, csv-to-json"),
        ({"path": good, "grader": "judge"}, "grader is 'judge'; allowed: 'auto', 'script', 'pytest'"),
        ({"path": good, "images": {"good": "x"}}, "images are for sandbox='docker', not 'local'"),
        ({"path": good, "sandbox": "docker", "images": {"god": "x"}}, "images: a task is 'god'; allowed: 'good'"),
        ({"path": good, "candidates": 3}, "candidates are for repairs of code; allowed: 0"),
        ({"path": good, "split": "test"}, "no task in split 'test'"),
    ]:
        with pytest.raises(ValueError, match=said):
            TerminalEnv(**settings)
    for n, (changed, said) in enumerate(
        [
            ({"task.toml": "x ="}, "task.toml: "),
            ({"task.toml": "verifier = 3"}, "verifier is 3; allowed: a table"),
            ({"task.toml": "[[steps]]\nname = 'x'"}, "has steps; allowed: tasks of one instruction"),
            ({"instruction.md": " "}, "has no instruction.md"),
            ({"tests/test.sh": "", "tests/test_outputs.py": None}, "has no tests; allowed: tests/test_outputs.py or"),
        ]
    ):
        files = {p: t for p, t in {**FILES, **changed}.items() if t is not None}
        with pytest.raises(ValueError, match=f"task 'bad{n}'.*{said}"):
            harbor.load(write(tmp_path / f"bad{n}", files))
    env = TerminalEnv(write(tmp_path / "only", {**FILES, "tests/test.sh": ""}), grader="script")
    with pytest.raises(ValueError, match="task 'only' has nothing for grader 'script'; allowed: 'auto'"):
        env.reset(seed=0)


def test_paths_are_moved_and_others_are_not():
    for text, now in [
        ("/tests/x /tests '/logs/verifier' a=/oracle/b", "{0}/tests/x {0}/tests '{0}/logs/verifier' a={0}/solution/b"),
        ("${{D:-/tests}}:/solution", "${{D:-{0}/tests}}:{0}/solution"),
        ("/app/tests $X/tests ${{X}}/logs ./tests a/tests /tests2 /tests.tar /tests-x", None),
    ]:
        assert harbor.moved(text.format()) == (text if now is None else now).format(harbor.ASIDE)
    recipe = harbor_image.Reader("x", TASKS, ()).read("WORKDIR /a/../b\nENV A=1\nENV B $A\nRUN x", build=False)
    assert (
        recipe.workdir == "/b" and recipe.env == {"A": "1", "B": "1"} and [s.kind for s in recipe.steps] == ["WORKDIR"]
    )


@pytest.mark.docker
def test_a_docker_image_of_the_task(made, engine):
    client = pytest.importorskip("docker", reason="the extra docker is not installed").from_env()
    lines = b"FROM milepost/sandbox\nRUN mkdir /app && cd /app && echo given > given.txt && ln -s /usr/bin/env away\n"
    image, _ = client.images.build(
        fileobj=io.BytesIO(lines), tag="milepost-test-terminal", rm=True, network_mode="none"
    )
    named = None
    try:
        wanted = {"environment/Dockerfile": "FROM x\nWORKDIR /app\nRUN apt-get install -y x\nCOPY --from=y z z\n"}
        toml = f'{TOML}[environment]\ndocker_image = "{image.tags[0]}"\n'
        named = made({**wanted, "task.toml": toml}, sandbox="docker")
        assert play(named, "readlink away", "echo done > out.txt")[0] == 1.0
        none = made(wanted, name="c", sandbox="docker", images={"c": "milepost-no-such-image"})
        with pytest.raises(InfraError, match="the engine has no image milepost-no-such-image"):
            none.reset(seed=0)
    finally:
        if named is not None:
            named.close()
        client.images.remove(image.id, force=True)
        client.close()
