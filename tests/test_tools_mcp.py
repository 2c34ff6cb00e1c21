"""MCP servers as environments: the client, task files, grading, replays, and what goes wrong."""

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
import warnings
from pathlib import Path

import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from milepost.envs.errors import InfraError
from milepost.envs.tools.calls import Call

pytest.importorskip("mcp", reason="the extra tools is not installed")

from milepost.envs.tools.mcp import SERVER, MCPEnv
from milepost.envs.tools.mcp_client import Connection, CutOff, tools_of
from milepost.envs.tools.mcp_tasks import Answer, load
from milepost.envs.tools.tool import Toolbox

pytestmark = pytest.mark.tools

TINY = """
import json, os, signal, subprocess, sys, time
notes, schema = [], {"add": {"text": {"type": "string"}}}
def call(name, a):
    if name == "add": notes.append(a["text"]); return f"{len(notes)} notes"
    if name == "show": return json.dumps(notes)
    if name == "reset": notes.clear(); return "done"
    if name == "hang": notes.append("half done"); time.sleep(600)
    if name == "die": print("out of paper", file=sys.stderr, flush=True); os._exit(3)
    if name == "fail": raise ValueError("no luck")
    if name == "env": return json.dumps(dict(os.environ, cwd=os.getcwd()))
    if name == "pid": return str(os.getpid())
    if name == "stubborn": signal.signal(signal.SIGTERM, signal.SIG_IGN); globals().update(stay=True); return "ok"
    if name == "child": return str(subprocess.Popen(["sleep", "1000"], start_new_session=True).pid)
    if name == "picture":
        blob = {"type": "resource", "resource": {"uri": "x://y", "blob": "QUJD", "mimeType": "a/b"}}
        return [{"type": "text", "text": "see"}, {"type": "image", "data": "QUJD", "mimeType": "image/png"}, blob]
NAMES = "add show reset hang die fail env pid stubborn child picture".split()
stay = False
print("a greeting is no message")
for line in sys.stdin:
    m = json.loads(line); i = m.get("id")
    if i is None: continue
    if m["method"] == "initialize":
        r = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "tiny", "version": "0"}}
        r = {"result": r}
    elif m["method"] == "tools/list":  # two pages
        k = int((m.get("params") or {}).get("cursor") or 0)
        tools = [{"name": n, "inputSchema": {"type": "object", "properties": schema.get(n, {}),
                  "required": list(schema.get(n, {}))}} for n in NAMES[k:k + 6]]
        r = {"result": {"tools": tools} | ({"nextCursor": str(k + 6)} if k + 6 < len(NAMES) else {})}
    elif m["method"] == "tools/call":
        try:
            v = call(m["params"]["name"], m["params"].get("arguments") or {})
            r = {"result": {"content": v if isinstance(v, list) else [{"type": "text", "text": v}]}}
        except Exception as e: r = {"result": {"content": [{"type": "text", "text": str(e)}], "isError": True}}
    else: r = {"error": {"code": -32601, "message": "no such method"}}
    print(json.dumps({"jsonrpc": "2.0", "id": i} | r), flush=True)
if stay: time.sleep(600)
"""
PYTHON = sys._base_executable  # starts faster without the environment's packages


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    place = tmp_path_factory.mktemp("tiny") / "tiny.py"
    place.write_text(TINY)
    return place


@pytest.fixture
def make(tiny):
    """Environments over the tiny server, closed at the end."""
    made = []

    def build(head=None, timeout=0.5, tasks=None, **kwargs):
        tasks = tasks or [
            {"question": "Say hi.", "answer": "hi", "split": "train", "setup": [call("add", text="first")]}
        ]
        file = tiny.with_name(f"tasks{len(made)}.json")
        command = {"command": [PYTHON, "-I", "-S", "{here}/tiny.py"]}
        file.write_text(json.dumps({**(command if head is None else head), "tasks": tasks}))
        made.append(MCPEnv(str(file), allow_command=True, timeout=timeout, **kwargs))
        return made[-1]

    yield build
    for env in made:
        env.close()


@pytest.fixture(scope="module")
def desk():
    env = MCPEnv(candidates=60, weights={"match": 0.1, "items": 0.1})
    yield env
    env.close()


def call(name, **arguments):
    return {"name": name, "arguments": arguments}


def gone(pid, seconds=6):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.01)
    return False


def play(env, actions):
    out = [env.step(a) for a in actions]
    return [o for o, *_ in out], out[-1]


# -- our own server --------------------------------------------------------------------------------
def test_gymnasiums_checker_finds_nothing(desk):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        desk.render_mode = "ansi"
        check_env(desk, skip_render_check=True)
        desk.render_mode = None


def test_the_oracle_wins_every_task_and_others_win_none(desk):
    other = MCPEnv(split="test", weights=desk.weights, max_steps=8)
    ids = set()
    for env in (desk, other):
        for task in env.tasks():
            _, info = env.reset(options={"task": task})
            ids.add(info["meta"]["task"])
            total, over = 0.0, False
            while not over:
                _, reward, over, _, info = env.step(env.oracle())
                total += reward
            checked = 0.1 if info["subgoals"] else 0.0
            assert info["success"] and info["progress"] == 1.0 and total == pytest.approx(1.1 + checked)
            assert all(info["subgoals"].values()) and info["answer"]
            with pytest.raises(RuntimeError):
                env.oracle()
            for words in ("Done.", "I do not know."):
                env.reset(options={"task": task})
                env.step(call("find_notes"))  # looking is no deed
                _, reward, over, _, info = env.step(words)
                assert over and reward == 0.0 and not info["success"]
    assert len(ids) == 10 and desk.tasks().stop <= other.tasks().start
    # nothing, a random agent, and one that repeats a call
    _, reward, over, _, info = (other.reset(seed=1), other.step(""))[1]
    assert over and reward == 0.0 and info["answer"] is None
    spam = [call("add_note", title="x", text="x")] * 12
    for actions in ([other.action_space.sample() for _ in range(8)], [spam] * 8):
        _, (_, reward, over, cut, info) = (other.reset(seed=1), play(other, actions)[1])
        assert reward == 0.0 and cut and not over and not info["success"]
    other.close()


def test_a_snapshot_is_replayed(desk):
    desk.reset(options={"task": 2})
    play(desk, [call("add_todo", title="a", due="2031-05-05"), call("complete_todo", todo_id="t4"), call("list_todos")])
    kept, plan = (
        desk.snapshot(),
        [call("add_note", title="b", text="c"), call("list_todos"), call("find_notes"), "Done."],
    )
    first = play(desk, plan)
    desk.reset(options={"task": 1})
    desk.restore(kept)
    again = play(desk, plan)
    assert first == again and '"n6"' in first[0][0] and '"t6"' in first[0][1]


def test_choosing_among_candidates_never_needs_the_reference(desk):
    _, info = desk.reset(options={"task": 0})
    before = info["admissible_actions"]
    task, desk._task = desk._task, desk._task._replace(reference=(), answer=Answer("exact", "none"))
    assert desk._listed() == before and not any("14" in a for a in before)
    desk._task = task
    _, _, _, _, info = desk.step(call("read_note", note_id="n2"))
    assert "14" in info["admissible_actions"]
    assert desk.step("14")[4]["success"]


junk = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=8), x, max_size=3),
    max_leaves=8,
)
names = st.sampled_from(["add_note", "read_note", "move_event", "list_todos", "reset", "nothing"]) | st.text(max_size=9)
keys = st.sampled_from(["title", "text", "note_id", "date", "start", "event_id", "due"]) | st.text(max_size=9)
fuzzed = st.builds(lambda n, a: json.dumps({"name": n, "arguments": a}), names, st.dictionaries(keys, junk, max_size=4))
HARD = [
    '{"name": "add_note", "arguments": {"title": "x", "text": "' + "y" * 10_000_000 + '"}}',
    call("add_note", title="x", text="y" * 10_000_000),
    '{"name": "add_note", "arguments": ' + "[" * 100_000,
    '{"name": "read_note", "arguments": {"note_id": "\\ud800"}}',
    '{"name": "read_note", "arguments": {"note_id": "n1\\" OR 1=1; --\\u0000\\n"}}',
    '{"name": "add_note", "arguments": "x"}',
    '{"name": "add_note", "argum',
    call("read_note", note_id=["n1"]),
    call("reset"),
    [call("list_events")] * 40,
]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(fuzzed, st.text(min_size=1, max_size=30).map(lambda t: "{" + t)), max_size=4))
def test_no_action_breaks_it(desk, actions):
    desk.reset(options={"task": 0})
    for action in [*actions, *(HARD if not actions else ())]:
        obs, _, over, cut, info = desk.step(action)
        assert obs in desk.observation_space and not cut and "invalid" not in info
        if over:
            desk.reset(options={"task": 0})
    desk.reset(options={"task": 2})
    while not over_after(desk):
        pass


def over_after(env):
    _, _, over, cut, info = env.step(env.oracle())
    assert not over or info["success"]
    return over or cut


# -- a server of others ----------------------------------------------------------------------------
def test_every_episode_has_a_fresh_process_and_a_clean_environment(make, monkeypatch):
    monkeypatch.setenv("MY_API_KEY", "secret")
    env, seen = make(), []
    for _ in range(3):
        env.reset(seed=0)
        seen.append(env.step([call("pid"), call("show"), call("add", text="more")])[4]["tool_calls"])
    assert len({s[0]["result"] for s in seen}) == 3 and [s[1]["result"] for s in seen] == ['["first"]'] * 3
    found = json.loads(env.step(call("env"))[4]["tool_calls"][0]["result"].partition("... ")[0])
    assert "MY_API_KEY" not in found and found["PYTHONHASHSEED"] == "0"
    assert found["HOME"] == found["cwd"] != os.environ.get("HOME") and Path(found["cwd"]).is_dir()
    pid = int(seen[-1][0]["result"])
    env.close()
    assert gone(pid) and gone(int(seen[0][0]["result"])) and not Path(found["cwd"]).exists()
    assert env.reset()[1]["meta"]  # it can be used again
    assert env.step("hi")[4]["success"]


def test_a_named_reset_keeps_the_process(make, tiny):
    env = make({"command": [PYTHON, "-I", "-S", str(tiny)], "reset": "reset", "hidden": ["die"]})
    assert not {"reset", "die"} & set(env.tools)
    env.reset(seed=0)
    first = env.step([call("pid"), call("add", text="x")])[4]["tool_calls"][0]["result"]
    env.reset(seed=0)
    calls = env.step([call("pid"), call("show"), call("reset")])[4]["tool_calls"]
    assert calls[0]["result"] == first and calls[1]["result"] == '["first"]' and not calls[2]["ok"]


def test_a_tool_that_hangs_is_cut_off_and_leaves_nothing(make):
    env = make(timeout=0.4)
    env.reset(seed=0)
    obs, _, over, cut, info = env.step([call("add", text="x"), call("hang"), call("show"), call("fail")])
    assert not over and not cut and "invalid" not in info and not info["valid_action"]
    assert [c["ok"] for c in info["tool_calls"]] == [True, False, True, False]
    assert "cut off after 0.4 seconds" in obs and '["first", "x"]' in obs and "no luck" in obs


def test_a_server_that_dies_is_not_the_agents_fault(make):
    env = make()
    env.reset(seed=0)
    _, reward, over, cut, info = env.step(call("die"))
    assert cut and not over and reward == 0.0 and info["invalid"] and env.infra_failures == 1
    assert "exit code 3: out of paper" in info["infra_error"]
    env.reset(seed=0)
    assert env.step("hi")[4]["success"]


def test_forks_have_servers_of_their_own(make):
    env = make()
    env.reset(seed=0)
    env.step(call("add", text="both"))
    branch = env.fork()
    env.step(call("add", text="mine"))
    branch.step(call("add", text="theirs"))
    shown = [e.step([call("show"), call("pid")])[4]["tool_calls"] for e in (env, branch)]
    branch.close()
    assert [s[0]["result"] for s in shown] == ['["first", "both", "mine"]', '["first", "both", "theirs"]']
    assert shown[0][1]["result"] != shown[1][1]["result"]
    assert env.step("hi")[4]["success"]


def test_a_server_that_answers_otherwise_cannot_be_restored(make):
    env = make()
    env.reset(seed=0)
    env.step(call("pid"))
    env.restore(env.snapshot())
    _, _, _, cut, info = env.step(call("show"))
    assert cut and info["invalid"] and "answers otherwise" in info["infra_error"]


def test_what_cannot_be_written_is_answered_at_once_and_the_server_stays(make):
    env = make(timeout=5.0)
    env.reset(seed=0)
    pid = env.state.server().pid
    for value in (1 << 40_000, float("nan"), "\ud800", {1, 2}, b"x", 1j):
        began = time.perf_counter()
        fine, text = env.state.ask("add", {"text": value})
        assert not fine and text.startswith("the arguments are no JSON: ") and time.perf_counter() - began < 1.0
        assert not env.step(Call("add", {"text": value}))[4]["valid_action"]
    assert env.state.server().pid == pid
    assert env.state.ask("show", {}) == (True, '["first"]')


def test_schemas_that_are_none_keep_no_tool_from_being_called(make, tiny):
    odd = {"a": True, "b": {"type": 5}, "c": {"type": "integer", "minimum": "0", "maxLength": None}, "d": {"anyOf": 5},
           "e": {"type": "array", "items": True, "maxItems": "x"}, "f": {"enum": 3}, "g": {"type": "string", "pattern": "("},
           "h": {"anyOf": [7, {"type": {"x": 1}}]}, "text": {"type": "string"}}  # fmt: skip
    place = tiny.with_name("odd.py")
    place.write_text(TINY.replace('{"add": {"text": {"type": "string"}}}', repr({"add": odd})))
    head = {"command": [PYTHON, "-I", "-S", str(place)]}
    env = make(head, candidates=20)
    env.reset(seed=0)
    values = {"a": 1, "b": "x", "c": 0, "d": [], "e": [], "f": {}, "g": "x", "h": None, "text": "x"}
    assert env.step(Call("add", values))[4]["valid_action"]
    for _ in range(20):
        env.action_space.sample()


def test_a_call_of_a_task_that_the_server_does_not_have_is_refused(make):
    for where in ({"setup": [call("paint")]}, {"reference": [call("paint")]}, {"state": [call("paint") | {"has": 1}]},
                  {"checklist": [{"id": "a", "called": call("paint")}]}):  # fmt: skip
        with pytest.raises(ValueError, match="task 'task-0': the server has no tool 'paint'; it has add"):
            make(tasks=[{"question": "?", "answer": "x", "split": "train"} | where])


def test_before_the_first_reset_there_is_no_plan():
    env = MCPEnv()
    with pytest.raises(RuntimeError, match=r"there is no task yet: call reset\(\) first"):
        env._remaining()
    with pytest.raises(RuntimeError, match="reset"):
        env.oracle()
    env.close()


def test_state_and_checklist_are_asked_of_the_server(make):
    need = {**call("show"), "result": ["x"]}
    items = [{"id": "called", "called": call("add", text="x"), "weight": 3}, {"id": "there", "state": [need]}]
    task = {
        "question": "?",
        "split": "train",
        "state": [need],
        "checklist": items,
        "reference": [call("add", text="x")],
    }
    env = make(tasks=[task], weights={"items": 1.0})
    env.reset(seed=0)
    _, reward, _, _, info = env.step(call("add", text="x"))
    assert reward == 1.0 and info["subgoals"] == {"called": True, "there": True}
    assert env.step("Done.")[1] == 1.0
    env.reset(seed=0)
    assert env.step([call("add", text="y"), call("add", text="x")])[1] == 0.75
    assert not env.step("Done.")[4]["success"]


def test_a_failing_setup_or_an_unknown_reset_is_said(make, tiny):
    env = make(tasks=[{"question": "?", "answer": "x", "split": "train", "setup": [call("fail")]}])
    with pytest.raises(InfraError, match="the setup of the task failed: fail: no luck"):
        env.reset()
    with pytest.raises(ValueError, match="the server has no tool 'again'; it has add, show"):
        make({"command": [PYTHON, "-I", "-S", str(tiny)], "reset": "again"})
    with pytest.raises(InfraError, match="exit code 127: No such file"):
        make({"command": ["no-such-program"]})
    with pytest.raises(InfraError, match=r"no answer in 0\.3 seconds"):
        make({"command": ["sleep", "100"]}, start=0.3)


# -- the client ------------------------------------------------------------------------------------
def test_results_are_texts_and_all_processes_end(tiny):
    connection = Connection([PYTHON, "-I", "-S", str(tiny)], timeout=5)
    tools = Toolbox(tools_of(connection))
    assert list(tools)[:2] == ["add", "show"] and len(tools) == 11  # of two pages
    shown = tools.use(None, Call("picture", {})).text
    assert shown == "see\n[image image/png, 3 bytes]\n[resource x://y a/b, 3 bytes]"
    assert tools.use(None, Call("fail", {})).text == "Error: fail: no luck"
    assert not tools.use(None, Call("add", {"text": 3})).ok
    pids = [int(connection.call(name, {})[1]) for name in ("child", "pid")]
    connection.call("stubborn", {})
    with pytest.raises(CutOff):
        connection.call("hang", {}, 0.1)
    connection.close()
    connection.close()
    assert all(map(gone, [*pids, connection.pid]))
    with pytest.raises(InfraError, match="it was closed"):
        connection.call("show", {})


def test_a_killed_program_leaves_no_server(tiny):
    code = f"""
        import json, time
        from milepost.envs.tools.mcp_client import Connection
        c = Connection([{PYTHON!r}, "-I", "-S", {str(tiny)!r}])
        c.call("stubborn", {{}})
        place = json.loads(c.call("env", {{}})[1])["cwd"]
        print(c.pid, c.call("pid", {{}})[1], c.call("child", {{}})[1], place, flush=True)
        time.sleep(100)
    """
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True)
    *pids, place = parent.stdout.readline().split()
    assert len(pids) == 3 and Path(place).is_dir() and not any(gone(p, 0.05) for p in pids)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    assert all(map(gone, pids)) and not Path(place).exists()


def test_http_on_loopback(make):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    url = f"http://127.0.0.1:{port}/mcp"
    with pytest.raises(InfraError, match="could not be started: ConnectError"):
        Connection(url=url)
    server = subprocess.Popen([sys.executable, "-I", str(SERVER), "--port", str(port)])
    try:
        until = time.monotonic() + 60
        while True:
            with socket.socket() as s:
                if not s.connect_ex(("127.0.0.1", port)) or time.monotonic() > until:
                    break
            time.sleep(0.05)
        task = {"question": "?", "answer": 5, "split": "train", "setup": [call("delete_note", note_id="n1")]}
        env = make({"url": url, "reset": "reset"}, 20, [task])
        for _ in range(2):
            env.reset(seed=0)
            calls = env.step([call("find_notes", word="spare"), call("read_note", note_id="n1")])[4]["tool_calls"]
            assert calls[0]["result"] == "[]" and not calls[1]["ok"] and "there is no note" in calls[1]["result"]
            assert env.step("It is 5.")[4]["success"]
            env.close()  # the server stays as it is
        env.reset(seed=0)
    finally:
        server.kill()
        server.wait()
    _, _, _, cut, info = env.step(call("find_notes"))
    assert cut and info["invalid"]
    with pytest.raises(InfraError, match="could not be started"):
        env.reset()


# -- task files ------------------------------------------------------------------------------------
def test_a_command_of_a_file_needs_a_word(tmp_path):
    task = {"question": "?", "answer": "x"}
    for head in ({"command": ["touch", str(tmp_path / "ran")]}, {"url": "http://example.com/mcp", "stateless": True}):
        file = tmp_path / "t.jsonl"
        file.write_text("\n".join(json.dumps(x) for x in (head, task)))
        with pytest.raises(ValueError, match=r"wants to .*: allow_command=True \(--allow-command\) lets it"):
            MCPEnv(str(file))
    assert not (tmp_path / "ran").exists()


ITEM = {"id": "a", "called": {"name": "add"}}
WRONG = [
    ({"task": []}, "a field is 'task'; allowed: .*'tasks'"),
    ({"tasks": []}, "allowed: a list of at least one task"),
    ({"command": "python x", "tasks": [{}]}, "command and url; allowed"),
    ({"env": {"LD_PRELOAD": "x.so"}, "tasks": [{"question": "?", "answer": "x"}]}, "env is .*, for a command"),
    ({"url": "http://x", "tasks": [{"question": "?", "answer": "x"}]}, "needs reset"),
    ({"tasks": [{"question": "?"}]}, "task 'task-0' cannot be graded; allowed: answer, state, checklist"),
    ({"tasks": [{"question": "", "answer": 1}]}, "task 0: id, question and system are texts"),
    ({"tasks": [{"question": "?", "answer": {"regex": "x"}}]}, "allowed: one of exact, contains, number"),
    ({"tasks": [{"question": "?", "answer": {"contains": "."}}]}, "a text with a letter or digit"),
    ({"tasks": [{"question": "?", "answer": {"number": "3"}}]}, "allowed: a number"),
    ({"tasks": [{"question": "?", "state": [{"name": "x"}]}]}, "needs either result or has"),
    ({"tasks": [{"question": "?", "answer": 1, "setup": [{"name": 1}]}]}, "a call is"),
    ({"tasks": [{"question": "?", "checklist": [{"id": "a"}]}]}, "either state or called"),
    ({"tasks": [{"question": "?", "answer": 1, "split": "dev"}]}, "split is 'dev'; allowed: 'train', 'test'"),
    ({"tasks": [{"question": "?", "answer": {"number": float("nan")}}]}, "no JSON"),
    ({"tasks": [{"question": "\ud800", "answer": 1}]}, "no JSON"),
    ({"tasks": [{"question": "?", "answer": {"number": 10**400}}]}, "allowed: a number"),
    ({"tasks": [{"question": "?", "answer": {"number": 1, "tolerance": -1}}]}, "a number from 0 as tolerance"),
    ({"tasks": [{"question": "?", "answer": {"exact": ["x"]}}]}, "a text with a letter or digit"),
    ({"tasks": [{"question": "?", "answer": {"contains": "x" * 500}}]}, "at most 400 characters"),
    ({"tasks": [{"question": "?", "checklist": [ITEM | {"weight": "1"}]}]}, "item 'a': weight and depends; allowed"),
    ({"tasks": [{"question": "?", "checklist": [ITEM | {"depends": "a"}]}]}, "depends is no list"),
    ({"tasks": [{"question": "?", "checklist": [ITEM | {"depends": ["b"]}]}]}, "items before it"),
    ({"tasks": [{"question": "?", "checklist": [ITEM | {"focus": "all"}]}]}, "focus and required; allowed"),
    ({"tasks": [{"question": "?", "checklist": [ITEM | {"weight": 0}]}]}, "no item of the checklist has a weight"),
    ({"command": ["x"], "env": {"A=B": "c"}, "tasks": [{"question": "?", "answer": "x"}]}, "env is .*, for a command"),
    ({"tasks": [{"id": "a", "question": "?", "answer": 1}] * 2}, "two tasks have the id 'a'"),
]


@pytest.mark.parametrize(("file", "said"), WRONG)
def test_a_wrong_task_file_is_refused_by_name(tmp_path, file, said):
    place = tmp_path / "tasks.json"
    place.write_text(json.dumps(file))
    with pytest.raises(ValueError, match=said):
        load(place)


def test_other_wrong_settings_are_refused(tmp_path):
    (tmp_path / "x.json").write_text("{")
    for path, said in ((tmp_path / "none.json", "cannot be read"), (tmp_path / "x.json", "no JSON")):
        with pytest.raises(ValueError, match=said):
            load(path)
    for settings_, said in (({"timeout": 0}, "timeout is 0"), ({"allow_command": "no"}, "allow_command is 'no'")):
        with pytest.raises(ValueError, match=said):
            MCPEnv(**settings_)
    with pytest.raises(ValueError, match="not both"):
        Connection()
    with pytest.raises(ValueError, match="http://"):
        Connection(url="file:///etc/passwd")


RIGHT = [
    (Answer("exact", "21:05"), "21:05.", True), (Answer("exact", "21:05"), "at 21:05", False),
    (Answer("exact", "x"), "", False), (Answer("contains", "blue door"), "Behind the blue door!", True),
    (Answer("contains", "blue door"), "blue doors", False), (Answer("contains", "blue"), "blue " * 200, False),
    (Answer("number", 14), "There are 14.", True), (Answer("number", 14), "14 or 15", False),
    (Answer("number", 1200), "1,200", True), (Answer("number", -2.5), "-2.5", True), (Answer("number", 3), "none", False),
    (Answer("number", 0.333, 0.01), "0.33", True), (Answer("contains", "87"), "It is 87, not 78.", True),
    (Answer("contains", "15:00"), " ".join(f"{h}:00" for h in range(24)), False),
    (Answer("contains", "1 2 3 4 5 6 7 8 9 0"), "1 2 3 4 5 6 7 8 9 0", True),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "said", "right"), RIGHT)
def test_answers(answer, said, right):
    assert answer.fits(said) is right
    assert answer.fits(answer.words())
