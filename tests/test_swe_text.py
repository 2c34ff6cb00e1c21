"""Diffs, instances, calls and guards: all that is text, without a sandbox."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.envs.swe import actions, diff, plan
from milepost.envs.swe.guard import grips, may_change
from milepost.envs.swe.instance import Instance, load, save

pytestmark = pytest.mark.core

LINES = st.lists(
    st.sampled_from(["a\n", "b\n", "", "  x = 1\n", "é\n", "@@ -1 +1 @@\n", "--- a\n", "+++ b\n", "\\ No\n"]),
    max_size=14,
)
FILES = st.dictionaries(st.sampled_from(["m.py", "p/q.py", "z"]), LINES.map("".join), max_size=3)


@given(FILES, FILES)
def test_a_diff_leads_from_one_tree_to_the_other_and_back(before, after):
    before = {p: t for p, t in before.items() if t}
    after = {p: t for p, t in after.items() if t}
    patch = diff.make(before, after)
    if before == after:
        assert patch == ""
        return
    changes = diff.hunks(patch)
    there = {**before, **diff.apply(changes, before)}
    assert {p: t for p, t in there.items() if t} == after
    back = {**after, **diff.apply(diff.reverse(changes), after)}
    assert {p: t for p, t in back.items() if t} == before


def test_a_diff_as_git_writes_it():
    patch = (
        "diff --git a/m.py b/m.py\nindex 1..2 100644\n--- a/m.py\n+++ b/m.py\n@@ -1,2 +1,2 @@ def f\n-old\n+new\n same\n"
        "diff --git a/n.py b/n.py\nnew file mode 100644\n--- /dev/null\n+++ b/n.py\n@@ -0,0 +1 @@\n+fresh\n"
        "\\ No newline at end of file\n"
    )
    assert diff.files_of(patch) == ("m.py", "n.py")
    assert diff.apply(diff.hunks(patch), {"m.py": "old\nsame\n"}) == {"m.py": "new\nsame\n", "n.py": "fresh"}


@pytest.mark.parametrize(
    "patch, said",
    [
        ("hello", "changes nothing"),
        ("Binary files a and b differ", "line 1"),
        ("@@ -1 +1 @@\n-a\n+b\n", "without a file"),
    ],
)
def test_what_is_no_diff_is_refused(patch, said):
    with pytest.raises(ValueError, match=said):
        diff.hunks(patch)


def test_a_hunk_that_does_not_fit_is_refused_by_file():
    changes = diff.hunks(diff.make({"m": "a\nb\n"}, {"m": "a\nc\n"}))
    with pytest.raises(ValueError, match="fit m at line"):
        diff.apply(changes, {"m": "x\n"})
    with pytest.raises(ValueError, match="m, which does not exist"):
        diff.apply(changes, {})


@given(LINES.map("".join), LINES.map("".join))
def test_edits_lead_to_the_reference(before, after):
    now = before
    for call in plan.towards({"f": before}, {"f": after}):
        if call.name == "create":
            now = call.arguments["content"]
        else:
            assert now.count(call.arguments["old"]) == 1
            now = now.replace(call.arguments["old"], call.arguments["new"])
    assert now == after


ROW = {
    "instance_id": "o__r-1", "repo": "o/r", "base_commit": "abc", "problem_statement": "p", "patch": "", "test_patch": "",
    "FAIL_TO_PASS": '["t::a"]', "PASS_TO_PASS": ["t::b"], "version": "1.0",
}  # fmt: skip


def test_instances_come_from_json_jsonl_and_go_back(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([ROW]))
    (tmp_path / "b.json").write_text(json.dumps({"dev": [ROW]}))
    (tmp_path / "c.jsonl").write_text(json.dumps(ROW) + "\n\n")
    found = [load(tmp_path / n) for n in ("a.json", "b.json", "c.jsonl")]
    assert found[0] == found[1] == found[2]
    assert found[0][0].fail_to_pass == ("t::a",) and found[0][0].extra == {"version": "1.0"}
    save(found[0], tmp_path / "d.jsonl")
    assert load(tmp_path / "d.jsonl") == found[0]
    assert Instance.parse({**ROW, "split": "test"}).held_out and not Instance.parse({**ROW, "split": "train"}).held_out


@pytest.mark.parametrize(
    "name, text, said",
    [
        ("x.csv", "", "allowed: .json"),
        ("x.json", "{", "x.json"),
        ("x.json", "[]", "no instances"),
        ("x.jsonl", '{"a": 1}\n{', "line 2"),
        ("x.json", json.dumps([{**ROW, "patch": None}]), "'o__r-1': patch"),
        ("x.json", json.dumps([{**ROW, "FAIL_TO_PASS": "t"}]), "FAIL_TO_PASS"),
    ],
)
def test_files_that_hold_none_are_refused(tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=said):
        load(tmp_path / name)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(), lambda c: st.lists(c) | st.dictionaries(st.text(), c)
    )
)
def test_any_json_is_a_call_or_a_reason(value):
    for text in (json.dumps(value), f"so: {json.dumps(value)}", json.dumps({"name": "view", "arguments": value})):
        try:
            call = actions.parse(text)
        except actions.BadAction as e:
            assert str(e)
        else:
            assert actions.parse(call.text()) == call


@given(st.text())
def test_any_text_is_a_call_or_a_reason(text):
    try:
        actions.parse(text)
    except actions.BadAction as e:
        assert str(e)


def test_schemas_are_those_of_openai():
    assert [s["function"]["name"] for s in actions.schemas()] == list(actions.TOOLS)
    view = actions.schemas()[1]["function"]["parameters"]
    assert view["required"] == ["path"] and view["properties"]["start"]["type"] == "integer"


def test_which_changes_count():
    files = {"pkg/a.py", "pkg/data.txt", "tests/test_a.py", "tests/helper.py", "setup.py", "main.py"}
    good = ("pkg/a.py", "pkg/new.py", "pkg/data.txt", "main.py", "other.py")
    bad = (
        "tests/test_a.py", "tests/helper.py", "pkg/test_b.py", "conftest.py", "pkg/conftest.py", "setup.py", "pytest.ini",
        "sitecustomize.py", "json.py", "pytest.py", "new/deep.py", "pkg/new.txt", "pkg/a.pyc", "x.pth", "../out.py",
        "/etc/x.py",
    )  # fmt: skip
    assert all(may_change(p, files, (".",)) for p in good)
    assert not any(may_change(p, files, (".",)) for p in bad)
    assert may_change("pkg/json.py", files, (".",)) and not may_change("pkg/json.py", files, ("pkg",))


def test_what_takes_hold_of_the_tests_is_seen():
    before = "import os\n\ndef f():\n    return os.environ.get('A')\n"
    assert grips(before, before.replace("'A'", "'B'")) == ""
    assert grips("", before) == "os.environ"
    for text, grip in (
        ("import _pytest.runner", "_pytest"),
        ("import os\nos._exit(0)", "_exit"),
        ("from os import _exit as e", "_exit"),
        ("import sys\nsys.modules['x'] = 1", "sys.modules"),
        ("import gc\ngc.get_objects()", "get_objects"),
        ("exec('x')", "exec"),
        ("AssertionError = ValueError", "AssertionError"),
        ("x = getattr(y, '_getframe')", "_getframe"),
    ):
        assert grip in grips("", text), text
    assert grips("", "raise AssertionError('no')") == ""
    assert grips("", "def broken(") == ""


def test_a_file_that_is_broken_for_the_moment_has_no_candidates():
    assert plan.repairs({"m.py": "def broken("}, {}, "m") == []
    assert plan.repairs({"m.py": "def f(a):\n    return a + 1\n"}, {}, "f") != []
