"""Queries, keys, parsing and the shared file of answers."""

import hashlib
import json
import multiprocessing
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from milepost.wrappers.scorers import Cache, Proposal, Question, Rating, Reply, Text, strip_volatile
from milepost.wrappers.scorers.cache import WAIT
from milepost.wrappers.scorers.query import SCHEMA, find_object, key

pytestmark = pytest.mark.core
ME = {"scorer": "test", "model": "m", "temperature": 0.0, "prompt": "p"}
Q = Question(("open the door", "take the key"), "leave", "a room", "open door", "The door opens.", "a hall")
texts = st.one_of(
    st.text(st.characters(codec=None, exclude_categories=()), max_size=30),
    st.lists(st.sampled_from(["Step ", "T:", "Turn", " 1", "2", "/3", " of 4", "moves", "\n", "#", "door"])).map(
        "".join
    ),
)
questions = st.builds(
    Question, st.lists(st.sampled_from("abc"), max_size=3).map(tuple), texts, texts, texts, texts, texts
)
queries = st.one_of(
    questions, st.builds(Proposal, texts, st.integers(1, 9)), st.builds(Rating, texts, texts), st.builds(Text, texts)
)


# -- canonical form and key ----------------------------------------------------------------------
def test_the_key_of_a_question_by_hand():
    # the JSON list [schema, identity, kind, fields], names sorted, ", " and ": " between, written out here by hand
    text = '[1, {"model": "m", "temperature": 0.5}, "question", [["key", "t\\u00fcr"], "leave", "a \\"room\\"", "go", "", "b"]]'
    asked = Question(("tür", "key", "key"), "leave", 'a "room"', "go", "", "b").canonical(str)
    assert key({"temperature": 0.5, "model": "m"}, asked) == hashlib.sha256(text.encode("ascii")).hexdigest()
    assert SCHEMA == 1  # raise it, and this test with it, when the same words mean another question


def test_counters_are_stripped_and_what_is_not_a_counter_stays():
    status = "Dlvl:1 $:0 HP:14(14) Pw:4(4) AC:4 Xp:1/0 T:{}"
    assert strip_volatile(status.format(7)) == strip_volatile(status.format(8123)) == status.format("_")
    assert strip_volatile("Turn 3/20, step: 4, Moves 9 of 12, time 5") == "Turn _, step: _, Moves _, time _"
    for kept in ("don't 5", "HP:3", "T5 torx", "2 steps north", "timeout 3", "turns"):
        assert strip_volatile(kept) == kept


def test_the_rule_that_strips_is_overridable():
    assert Q.canonical(str.upper).after == "A HALL" and Q.canonical(str.upper).subgoals == Q.subgoals


@given(queries)
@example(Text("Step Step 1 2"))
def test_canonical_is_idempotent(q):
    once = q.canonical(strip_volatile)
    assert once.canonical(strip_volatile) == once


@given(queries, queries)
def test_keys_are_equal_where_the_canonical_queries_are(a, b):
    a, b = a.canonical(strip_volatile), b.canonical(strip_volatile)
    assert (key(ME, a) == key(ME, b)) == ((a.kind, a) == (b.kind, b))


@pytest.mark.parametrize("field", ME)
def test_another_model_temperature_or_prompt_is_another_key(field):
    assert key(ME, Q) != key(ME | {field: "other"}, Q)


def test_the_order_of_sub_goals_is_no_part_of_the_key():
    other = Q._replace(subgoals=Q.subgoals[::-1])
    assert key(ME, Q.canonical(str)) == key(ME, other.canonical(str))


# -- parsing -------------------------------------------------------------------------------------
MODEL_TALK = st.lists(
    st.sampled_from(['{"', '":', "{", "}", "[", "]", ",", "true", "NaN", "Infinity", "1e999", "9" * 5000, "\\u", '"grade"',
                     '"vector"', '"subgoals"', '"a"', '"', ":", "3", "-1", "null", "```json\n", "\ud800", "\x00"])
).map("".join)  # fmt: skip


@given(queries, st.one_of(MODEL_TALK, texts))
@example(Text(""), '{"vector": [1, %s]}' % ("9" * 400))
@example(Text(""), '{"vector": [1, "2"]}')
@example(Text(""), '{"vector": [1, [2]]}')
@example(Text(""), '{"vector": [1e308, 1e308]}')
@example(Proposal(""), '{"subgoals": [[], {}, 3]}')
@example(Q, '{"a": ' * 5_000)
@example(Q, "[" * 100_000 + '{"open the door": true}')
@example(Q, '{"open the door": %s}' % ("9" * 5_000))
@pytest.mark.filterwarnings("error")
def test_parse_never_raises_and_gives_only_what_a_query_allows(q, raw):
    value = q.parse(raw)
    assert value is None or q.allows(value)


@given(st.dictionaries(st.sampled_from(Q.subgoals), st.floats(0, 1)), st.text())
def test_an_answer_that_is_rendered_and_parsed_comes_back(said, prose):
    raw = prose.replace("{", "(") + "```json\n" + json.dumps(said, indent=1) + "\n```"
    assert Q.parse(raw) == said
    assert Rating("", "").parse('{"grade": 4}') == 0.75 and Rating("", "").parse('{"why": {}, "grade": 1}') == 0.0
    assert Proposal("", 2).parse('{"subgoals": ["Take  the key.", "take the key", "", "b", "c"]}') == (
        "take the key",
        "b",
    )
    assert Text("").parse('{"vector": [3, -4]}') == pytest.approx([0.6, -0.8])


def test_only_true_false_and_shares_of_known_sub_goals_count():
    raw = json.dumps({"open the door": True, "take the key": "yes", "win the game": True})
    assert Q.parse(raw) == {"open the door": 1.0}
    for nonsense in ("NaN", "Infinity", "-1", "1.01", "1e999", '"true"', "[true]", "null", '{"open the door": true}'):
        assert Q.parse(f'{{"open the door": {nonsense}}}') is None, nonsense
    assert Q.parse('{"win the game": true}') == {}  # understood: of the sub-goals it said nothing
    for nonsense in ("NaN", "0", "6", "true", '"5"', "[5]"):
        assert Rating("", "").parse(f'{{"grade": {nonsense}}}') is None


def test_what_is_evaluated_is_only_json():
    for raw in ("{'open the door': True}", "{open the door: true}", "dict(a=1)", "__import__('os')", "true", "[1]", ""):
        assert Q.parse(raw) is None, raw


def test_the_last_whole_object_counts_and_no_part_of_a_broken_one():
    assert find_object('{"a": 1} then {"a": {"b": 2}} and {c}') == {"a": {"b": 2}}
    assert find_object('{ hmm {"a": 1}') == {"a": 1}
    # cut off: what stands inside is reasoning, not the answer
    assert find_object('{"if it had opened": {"open the door": true}, "open the d') is None
    assert find_object('{"why": "an answer is {\\"open the door\\": true}, but') is None


def test_a_name_that_stands_twice_makes_no_answer():
    assert Q.parse('{"open the door": false, "open the door": true}') is None


def test_a_long_text_is_read_in_one_go():
    assert find_object('{"a": [' + "{}," * 100_000) is None
    assert find_object("{" * 200_000 + '{"a": 1}') == {"a": 1}
    assert find_object('{"' * 10_000 + '{"a": 1}') in (None, {"a": 1})


# -- the file ------------------------------------------------------------------------------------
def row(i, raw=None):
    q = Text(f"text {i}")
    return key(ME, q), q, Reply(raw if raw is not None else f'{{"vector": [{i}, 1]}}', 3, 0.25)


def test_an_answer_is_kept_with_all_that_made_it(tmp_path):
    cache = Cache(tmp_path / "deep" / "answers.sqlite")
    k = key(ME, Q)
    assert cache.put([(k, Q, Reply('{"open the door": true}', 7, 0.5))], ME, 0.125) == {k: '{"open the door": true}'}
    assert [tuple(r) for r in cache.rows()] == [(k, ME, Q, '{"open the door": true}', 7, 0.5, 0.125)]
    assert isinstance(next(cache.rows()).query, Question) and list(cache.rows("text")) == [] and len(cache) == 1


def test_the_first_answer_stays():
    cache = Cache(":memory:")
    k = row(1)[0]
    cache.put([row(1, "first")], ME)
    assert cache.put([row(1, "second")], ME) == {k: "first"} == cache.get([k, "unknown"])


def test_any_text_can_be_kept(tmp_path):
    cache = Cache(tmp_path / "a")
    huge = "x" * 5_000_000
    said = cache.put([row(1, "a\x00b\ud800c"), row(2, huge), row(3, "")], ME)
    assert said == {row(1)[0]: "a\x00b?c", row(2)[0]: huge, row(3)[0]: ""}
    q = Question(("\ud800",), *"\x00\ud8ffüab")
    cache.put([(key(ME, q), q, Reply("", np.int64(3), np.float32(0.5)))], ME)
    assert next(cache.rows()).query == q and next(cache.rows()).tokens == 3


def writer(path, who, gate):
    gate.wait()
    cache = Cache(path)
    for i in range(200):  # 150 of its own, 50 that all answer
        n = i if i < 50 else 1000 * who + i
        cache.put([row(n, f"{who}:{i}")], ME)
        assert cache.get([row(n)[0]])


def test_four_processes_share_a_file_without_loss(tmp_path):
    path = tmp_path / "answers.sqlite"
    context = multiprocessing.get_context("fork")
    gate = context.Barrier(4)
    running = [context.Process(target=writer, args=(path, who, gate)) for who in range(4)]
    for p in running:
        p.start()
    for p in running:
        p.join()
    assert [p.exitcode for p in running] == [0] * 4
    rows = {r.key: r.raw for r in Cache(path, frozen=True).rows("text")}
    assert len(rows) == 50 + 4 * 150
    for who in range(4):
        assert all(rows[row(1000 * who + i)[0]] == f"{who}:{i}" for i in range(50, 200))
    assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_fork_gets_a_connection_of_its_own(tmp_path):
    cache = Cache(tmp_path / "a")
    cache.put([row(1)], ME)
    inherited = cache._db

    def child():
        cache.put([row(2)], ME)
        ok = cache._db is not inherited
        cache.close()
        os._exit(0 if ok else 1)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join()
    cache.put([row(3)], ME)
    assert process.exitcode == 0 and len(cache) == 3 and cache._db is inherited


def test_a_frozen_cache_changes_nothing_and_needs_its_file(tmp_path):
    path = tmp_path / "answers.sqlite"
    with pytest.raises(FileNotFoundError, match="needs one"):
        Cache(path, frozen=True)
    with pytest.raises(FileNotFoundError):
        Cache(":memory:", frozen=True)
    cache = Cache(path)
    cache.put([row(1)], ME)
    cache.close()
    before = path.read_bytes(), path.stat().st_mtime_ns
    frozen = Cache(path, frozen=True)
    assert frozen.get([row(1)[0]]) and len(frozen) == 1
    with pytest.raises(ValueError, match="frozen"):
        frozen.put([row(2)], ME)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before and os.listdir(tmp_path) == [path.name]


def test_what_is_no_cache_is_refused_and_left_as_it_is(tmp_path):
    (tmp_path / "text").write_text("no database " * 500)
    (tmp_path / "folder").mkdir()
    for name, statement in (("other", "CREATE TABLE answers (x)"), ("newer", f"PRAGMA user_version = {SCHEMA + 1}")):
        db = sqlite3.connect(tmp_path / name)
        db.execute(statement)
        db.close()
    for frozen in (False, True):
        for name in ("text", "other", "newer"):
            before = (tmp_path / name).read_bytes()
            with pytest.raises(ValueError, match=name):
                Cache(tmp_path / name, frozen)
            assert (tmp_path / name).read_bytes() == before
    with pytest.raises(ValueError, match="folder"):
        Cache(tmp_path / "folder")
    (tmp_path / "empty").touch()
    with pytest.raises(ValueError, match="empty"):
        Cache(tmp_path / "empty", frozen=True)
    Cache(tmp_path / "empty").put([row(1)], ME)  # an empty file is a new one


def test_a_place_that_cannot_be_written_is_refused_before_the_first_call(tmp_path, monkeypatch):
    Cache(tmp_path / "a").put([row(1)], ME)
    monkeypatch.setattr(os, "access", lambda place, _: place != tmp_path)  # the tests may run as root
    with pytest.raises(ValueError, match="can only be frozen"):
        Cache(tmp_path / "a")
    assert len(Cache(tmp_path / "a", frozen=True)) == 1


def test_a_file_that_was_deleted_is_made_again(tmp_path):
    cache = Cache(tmp_path / "a")
    (tmp_path / "a").unlink()
    with pytest.raises(sqlite3.Error):
        cache.put([row(1)], ME)
    cache.put([row(2)], ME)
    assert len(Cache(tmp_path / "a", frozen=True)) == 1


def test_a_process_that_dies_while_it_writes_leaves_a_sound_file(tmp_path):
    path = tmp_path / "a"
    cache = Cache(path)
    cache.put([row(i) for i in range(50)], ME)
    code = (
        f"import os, sqlite3; db = sqlite3.connect({str(path)!r}, isolation_level=None); db.execute('PRAGMA cache_size = 1');"
        "db.execute('BEGIN IMMEDIATE'); db.execute(\"UPDATE answers SET raw = printf('%0*d', 9000, 0)\"); os._exit(1)"
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    assert Path(f"{path}-journal").stat().st_size > 0
    with pytest.raises(ValueError):  # half written: nothing that a frozen run may read
        Cache(path, frozen=True)
    cache.put([row(50)], ME)
    assert {r.raw for r in cache.rows("text")} == {row(i)[2].raw for i in range(51)}


def test_a_locked_file_is_waited_for_and_then_an_error(tmp_path):
    cache = Cache(tmp_path / "a")
    other = sqlite3.connect(tmp_path / "a", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        cache.get([row(1)[0]], wait=0.05)
    other.execute("COMMIT")
    assert cache.get([row(1)[0]], wait=0.05) == {} and WAIT >= 10
