"""SQL: databases that nobody can change, questions that only the right query answers."""

import itertools
import json
import time
import tracemalloc
import warnings

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given
from hypothesis import strategies as st

from milepost.envs.text.base import TEST
from milepost.envs.tools.calls import Call
from milepost.envs.tools.sql import SQLEnv, same
from milepost.envs.tools.sql_data import DOMAINS, filled, guesses, image, parameters
from milepost.envs.tools.sql_database import Database
from milepost.envs.tools.tool import ToolFailed

pytestmark = pytest.mark.tools


def submit(query):
    return Call("submit", {"query": query})


def look(query):
    return Call("sql", {"query": query})


def made(task=3, **settings):
    env = SQLEnv(**settings)
    return env, env.reset(options={"task": task})


def test_gymnasium_has_no_complaint():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(SQLEnv(), skip_render_check=True)


def test_one_database_by_hand():
    env, (text, info) = made(task=2, domains="firm", levels=[1], expose_reference=True)
    assert "User: " in text and (info["meta"]["domain"], info["meta"]["level"]) == ("firm", 1)
    assert info["reference_answer"] == info["reference"][-1]["arguments"]["query"]
    tables = env.step(Call("schema", {}))[4]["tool_calls"][0]["result"]
    assert [line.split()[2] for line in tables.splitlines() if line.startswith("CREATE")] == [
        "departments", "employees", "projects", "work",
    ]  # fmt: skip
    rows = json.loads(env.step(look("SELECT name FROM departments ORDER BY id"))[4]["tool_calls"][0]["result"])
    assert rows == {
        "columns": ["name"],
        "rows": [["design"], ["finance"], ["legal"], ["research"], ["sales"], ["support"]],
    }
    _, reward, terminated, _, info = env.step(submit(env._query))
    assert (reward, terminated, info["success"], info["answer"]) == (1.0, True, True, env._query)
    assert info["subgoals"] == {"a query gave the question's rows": True, "the right query was handed in": True}


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_oracle_wins_everywhere(split):
    env = SQLEnv(split=split)
    seen = set()
    for task in range(env.tasks().start, env.tasks().start + 120):
        env.reset(options={"task": task})
        seen.add(env._form.text)
        assert env._rows and env._rows not in ([(0,)], [(None,)])
        if task % 3:  # also behind a detour
            env.step(look("SELECT 1"))
            env.step("well")
        for _ in range(4):
            _, reward, terminated, _, info = env.step(env.oracle())
            if terminated:
                break
        assert reward == 1.0 and info["progress"] == 1.0, env.opening
    assert len(seen) > 35


def test_every_form_can_be_run_and_has_rows_somewhere():
    for domain, about in DOMAINS.items():
        database = Database(1_000_000)
        for form in about.forms:
            values = [about.parameters[p] for p in parameters(form)]
            some = 0
            for seed in range(4):
                database.open(image(domain, (seed, 9)))
                for choice in itertools.islice(itertools.product(*values), 12):
                    some += len(database.query(filled(form, dict(zip(parameters(form), choice)))[1], 100)[1])
            assert some, form.text


def test_the_same_seed_gives_the_same_database_and_another_gives_another():
    assert image("shop", (1, 0)) == image("shop", (1, 0)) != image("shop", (2, 0))
    a, b = SQLEnv(), SQLEnv()
    for task in (0, 7, TEST - 1):
        assert a.reset(options={"task": task})[0] == b.reset(options={"task": task})[0]
        assert a.state.save() == b.state.save()


def test_an_answer_that_was_read_or_is_right_by_chance_does_not_pass():
    env, _ = made(task=1, domains="shop", levels=[1])
    for task in range(40):
        env.reset(options={"task": task})
        rows = env._rows
        if len(rows) == 1 and len(rows[0]) == 1:
            copied = f"SELECT {rows[0][0]!r}"
        elif len(rows[0]) == 1 and len(rows) < 15:
            copied = " UNION ALL ".join(f"SELECT {r[0]!r}" for r in rows)
        else:
            continue
        _, reward, terminated, _, info = env.step(submit(copied))
        assert terminated and reward == 0.0 and info["subgoals"]["a query gave the question's rows"], copied
        assert info["progress"] == 0.5
    easy = SQLEnv(hidden=0, domains="shop", levels=[1])
    easy.reset(options={"task": task})
    text = " UNION ALL ".join(f"SELECT {', '.join(map(repr, r))}" for r in easy._rows[:18])
    assert len(easy._rows) > 18 or easy.step(submit(text))[1] == 1.0


def test_rows_are_compared_as_the_page_says():
    assert same([(1, "a"), (2, "b")], [(2.0, "b"), (1, "a")], ordered=False)
    assert not same([(1,), (2,)], [(2,), (1,)], ordered=True)
    assert not same([(1,), (1,)], [(1,)], ordered=False)
    assert same([(0.1 + 0.2,)], [(0.3,)], ordered=False) and not same([(0.3001,)], [(0.3,)], ordered=False)
    assert not same([("1",)], [(1,)], ordered=False) and not same([("a", 1)], [(1, "a")], ordered=False)
    assert same([(None,)], [(None,)], ordered=True)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("DELETE FROM customers", "only queries that read"),
        ("UPDATE customers SET name = 'x'", "only queries that read"),
        ("INSERT INTO customers VALUES (999, 'x', 'y', 'z')", "only queries that read"),
        ("DROP TABLE customers", "only queries that read"),
        ("CREATE TEMP TABLE t (a)", "only queries that read"),
        ("PRAGMA query_only = OFF", "only queries that read"),
        ("PRAGMA writable_schema = ON", "only queries that read"),
        ("ATTACH '/tmp/x.db' AS x", "only queries that read"),
        ("VACUUM INTO '/tmp/x.db'", "only queries that read"),
        ("BEGIN", "only queries that read"),
        ("SELECT 1; DELETE FROM customers", "one statement"),
        ("SELECT load_extension('x')", "load_extension"),
        ("SELECT random()", "random"),
        ("SELECT strftime('%s', 'now')", "no clock"),
        ("SELECT strftime('%Y')", "no clock"),
        ("SELECT date()", "no clock"),
        ("SELECT datetime('n' || 'OW', '+1 day')", "no clock"),
        ("SELECT julianday(CAST('now' AS BLOB))", "no clock"),
        ("SELECT datetime('2020-02-03', 'localtime')", "no clock"),
        ("SELECT unixepoch()", "no clock"),
        ("SELECT CURRENT_TIMESTAMP", "CURRENT_TIMESTAMP"),
        ("SELECT sqlite_version()", "sqlite_version"),
        ("SELECT trim('aab', 'a')", "trim"),
        ("", "that is no query"),
        ("-- SELECT 1", "that is no query"),
        ("/* */ ;", "that is no query"),
        ("SELECT " + "1," * 2000 + "1", "more than 4000 characters"),
        ("SELECT 'a' LIKE '" + "a" * 31 + "'", "pattern too complex"),
        ("SELECT ?", "bindings"),
        ("SELECT nope FROM customers", "no such column"),
        ("SELEC 1", "syntax error"),
        ("SELECT '\0'", ""),
        ("SELECT " + "(" * 400 + "1" + ")" * 400, ""),
        ("SELECT 1" + " UNION ALL SELECT 1" * 100, "too many terms"),
    ],
)
def test_nothing_but_reading_is_done_and_the_agent_is_told(query, said):
    env, _ = made(domains="shop")
    before = env.state.save()
    _, reward, terminated, _, info = env.step(look(query))
    assert not info["valid_action"] and not terminated and reward == 0.0 and said in info["tool_calls"][0]["result"]
    _, _, terminated, _, info = env.step(submit(query))
    assert not terminated and not info["valid_action"]  # and one that cannot be run is no answer
    env.state.db.set_authorizer(None)
    assert env.state.db.serialize() == before


@pytest.mark.parametrize(
    "query",
    [
        "WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM r) SELECT count(*) FROM r",
        "SELECT count(*) FROM orders a, orders b, orders c, orders d, orders e",
        "WITH RECURSIVE r(x, y) AS (SELECT 1, '' UNION SELECT x + 1, printf('%.*c', 900, 'x') FROM r) SELECT * FROM r"
        " ORDER BY y, x",
    ],
)
def test_a_query_without_end_is_ended(query):
    env, _ = made(domains="shop")
    start = time.monotonic()
    result = env.step(look(query))[4]["tool_calls"][0]["result"]
    assert (
        f"ended after {200_000 if 'printf' in query else 1_000_000} steps" in result and time.monotonic() - start < 10
    )
    assert env.step(look("SELECT 1"))[4]["valid_action"]


LONG = f"WITH m(y) AS MATERIALIZED (SELECT '{'a' * 990}' || id FROM products LIMIT 1)"


@pytest.mark.parametrize(
    ("query", "said"),
    [
        (f"{LONG} SELECT sum(y LIKE '%{'a' * 28}b') FROM m, orders a, orders b, orders c", "ended after 200000 steps"),
        (f"{LONG} SELECT sum(y GLOB '*{'a' * 28}b') FROM m, orders a, orders b, orders c", "ended after 200000 steps"),
        (f"{LONG} SELECT sum(instr(y, '{'a' * 400}b')) FROM m, orders a, orders b, orders c", "ended after 200000 steps"),
        (f"{LONG} SELECT sum(julianday(a.day)) FROM m, orders a, orders b, orders c", "ended after 200000 steps"),
        ("WITH a0 AS (SELECT 1 AS x), " + ", ".join(f"a{i + 1} AS (SELECT 1 FROM a{i}, a{i})" for i in range(40))
         + " SELECT 1 FROM a40", "come too often"),
        ("WITH A0 AS (SELECT 1 AS x), " + ", ".join(f"a{i + 1} AS (SELECT 1 FROM a{i}, [A{i}])" for i in range(40))
         + " SELECT 1 FROM a40", "come too often"),
        (f"SELECT {'+'.join('d' * 50)} FROM (SELECT {'+'.join('c' * 50)} AS d FROM (SELECT {'+'.join('b' * 50)} AS c FROM "
         f"(SELECT {'+'.join('x' * 50)} AS b FROM (SELECT id AS x FROM orders))))", "come too often"),
        (f"WITH {', '.join(f'😀{i} AS (SELECT 1 FROM 😀{i - 1} a JOIN 😀{i - 1} b)' for i in range(1, 40))} SELECT 1 FROM 😀39",
         "come too often"),
        ("SELECT count(*) FROM " + ", ".join(["(SELECT 1 FROM orders" + " UNION ALL SELECT 1 FROM orders" * 15 + ")"] * 6),
         "come too often"),
    ],
)  # fmt: skip
def test_a_step_of_the_machine_that_takes_long_is_counted_so(query, said):
    database = Database(1_000_000)
    database.open(image("shop", (0, 0)))
    start = time.process_time()
    with pytest.raises(ToolFailed, match=said):
        database.query(query, 50)
    assert time.process_time() - start < 4


def test_a_submit_holds_no_more_rows_than_the_answer_has():
    env, _ = made(domains="shop", levels=[1])
    rows = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 5001)"
    # hex and ||: no word of a slow function, so that all rows could be made
    for columns in (len(env._rows[0]), 50):
        env.reset(options={"task": 3})
        wide = f"{rows}, m(y) AS (SELECT hex('{'a' * 450}')) SELECT {', '.join(['y || x AS y'] * columns)} FROM c, m"
        tracemalloc.start()
        _, reward, terminated, _, info = env.step(submit(wide))
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert terminated and reward == 0.0 and info["valid_action"] and most < 2_000_000


def test_dates_of_columns_can_be_read():
    env, _ = made(domains="shop")
    shown = json.loads(env.step(look(
        "SELECT strftime('%Y', '2020-02-03'), DATE('2020-02-28', '+2 days'), julianday('2020-01-01'), date(NULL), date('x')"
    ))[4]["tool_calls"][0]["result"])  # fmt: skip
    assert shown["rows"] == [["2020", "2020-03-01", 2458849.5, None, None]]
    one = "SELECT count(*) FROM orders WHERE strftime('%Y', day) = '2021'"
    assert env.state.query(one, 5)[1] == env.state.query("SELECT count(*) FROM orders WHERE day LIKE '2021-%'", 5)[1]


def test_usual_queries_are_not_refused():
    database = Database(1_000_000)
    database.open(image("flights", (0, 0)))
    for query in (
        "SELECT f.id, (SELECT count(*) FROM bookings b WHERE b.day LIKE '2020-%' AND b.flight_id = f.id) AS n FROM flights f",
        "WITH y AS (SELECT b.*, strftime('%Y', b.day) AS y FROM bookings b), c AS (SELECT y, flight_id, count(*) AS n FROM y"
        " GROUP BY y, flight_id), r AS (SELECT y, flight_id, n, rank() OVER (PARTITION BY y ORDER BY n DESC) AS k FROM c)"
        " SELECT r.y, f.airline, r.n FROM r JOIN flights f ON f.id = r.flight_id WHERE r.k = 1 ORDER BY r.y",
        "SELECT p.name FROM passengers p WHERE p.age > (SELECT avg(q.age) FROM passengers q) AND p.id IN (SELECT"
        " b.passenger_id FROM bookings b JOIN flights f ON f.id = b.flight_id WHERE f.price > (SELECT avg(g.price) FROM"
        " flights g WHERE g.airline = f.airline)) AND p.id NOT IN (SELECT b.passenger_id FROM bookings b WHERE b.class ="
        " 'business' AND b.day >= '2024-01-01')",
    ):
        assert database.query(query, 50)[1]


def test_which_rows_nothing_refers_to_differs():
    unused = {
        "shop": ("products", "SELECT product_id FROM order_items"),
        "library": ("authors", "SELECT author_id FROM books"),
        "flights": ("flights", "SELECT flight_id FROM bookings"),
        "school": ("teachers", "SELECT teacher_id FROM courses"),
        "firm": ("employees", "SELECT employee_id FROM work"),
    }
    for domain, (table, refers) in unused.items():
        seen, database = [], Database(1_000_000)
        for seed in range(8):
            database.open(image(domain, (seed, 5)))
            idle = database.query(f"SELECT id FROM {table} WHERE id NOT IN ({refers})", 100)[1]
            seen.append({r[0] for r in idle})
        assert all(seen) and not set.intersection(*seen), domain


def test_a_wrong_query_about_numbers_of_rows_does_not_pass():
    env, won = SQLEnv(domains="shop", levels=[3]), 0
    for task in range(60):
        env.reset(options={"task": task})
        if "never ordered" in env.opening:
            won += env.step(submit(env._query.split(" AND NOT")[0] + " AND id > 33"))[4]["success"]
    assert won == 0


def test_long_results_are_cut():
    env, _ = made(domains="shop")
    shown = json.loads(env.step(look("SELECT id FROM orders"))[4]["tool_calls"][0]["result"])
    assert len(shown["rows"]) == 50 and "first 50" in shown["more"]
    rows = env.state.query("SELECT printf('%.*c', 900, 'x'), 9e999, x'00ff'", 5)[1]
    assert len(rows[0][0]) == 900
    shown = json.loads(env.step(look("SELECT printf('%.*c', 900, 'x'), 9e999, x'00ff'"))[4]["tool_calls"][0]["result"])
    assert len(shown["rows"][0][0]) < 300 and shown["rows"][0][1:] == ["inf", "x'00ff'"]


def test_null_words_and_spam_earn_nothing():
    for action in ("", "I do not know.", look("SELECT 1"), Call("schema", {}), [Call("schema", {})] * 20):
        env, _ = made(max_steps=12)
        total, truncated = 0.0, False
        while not truncated:
            _, reward, terminated, truncated, info = env.step(action)
            total += reward
            assert not terminated
        assert total == 0.0 and not info["success"] and info["answer"] is None


def test_candidates_come_from_the_question_and_hold_the_right_query():
    env = SQLEnv(candidates=30)
    rng, wins = np.random.default_rng(0), 0
    for task in range(100):
        _, info = env.reset(options={"task": task})
        listed = info["admissible_actions"]
        found = guesses(env._domain, env.opening)
        assert [json.loads(a)["arguments"]["query"] for a in listed if '"submit"' in a] == found
        assert submit(env._query).text() in listed and listed[-1] == Call("schema", {}).text()
        env._query = env._rows = None  # the reference has no part in it
        assert env._listed() == listed
        env.reset(options={"task": task})
        wins += env.step(submit(found[int(rng.integers(len(found)))]))[1]
    assert wins < 50


def test_states_come_back_and_branches_do_not_touch_each_other():
    env, _ = made(task=11)
    env.step(Call("schema", {}))
    saved = env.snapshot()
    branch = env.fork()
    plan = [look("SELECT 1"), look(env._query), submit(env._query)]
    first = [env.step(a)[:4] for a in plan]
    assert branch._submitted is None and not branch._found
    assert [branch.step(a)[:4] for a in plan] == first and branch.state.db is not env.state.db
    env.restore(saved)
    assert not env._found and [env.step(a)[:4] for a in plan] == first
    other = SQLEnv()
    other.reset(seed=5)
    other.restore(saved)
    assert [other.step(a)[:4] for a in plan] == first


def test_bad_settings_are_named():
    for settings, said in (
        ({"domains": "shp"}, "did you mean 'shop'"),
        ({"levels": [4]}, "levels is 4; allowed.*1 to 3"),
        ({"hidden": -1}, "hidden is -1"),
        ({"level": [1]}, "did you mean 'levels'"),
        ({"max_work": 5}, "max_work is 5"),
        ({"domains": []}, "at least one"),
    ):
        with pytest.raises(ValueError, match=said):
            SQLEnv(**settings)


TEXT = st.text(max_size=80) | st.sampled_from(
    ["'; DROP TABLE customers; --", "SELECT * FROM customers", "\0", "a" * 10_000_000, "[" * 3000, '"', "SELECT 'ü東'"]
)


@given(st.lists(st.one_of(
    TEXT,
    st.builds(lambda q: look(q), TEXT),
    st.builds(lambda n, v: Call(n, {"query": v}), st.sampled_from(["sql", "submit", "schema", "nope"]),
              st.none() | st.integers() | st.lists(st.integers(), max_size=3) | st.just("SELECT 1") | st.floats()),
    st.builds(lambda q: '{"name": "sql", "arguments": {"query": ' + json.dumps(q) + "}}", TEXT),
    st.just('{"name": "sql", "arguments": ' + "[" * 200),
), min_size=1, max_size=6))  # fmt: skip
def test_no_action_raises_or_changes_the_database(actions):
    env = FUZZED
    env.reset(options={"task": 17})
    before = env.state.save()
    for action in actions:
        _, reward, terminated, truncated, _ = env.step(action)
        assert reward == 0.0
        if terminated or truncated:
            break
    env.state.db.set_authorizer(None)
    assert env.state.db.serialize() == before
    env.state.load(b"" + before)
    env.state._image = b""  # opened anew, with the authorizer


FUZZED = SQLEnv()


def test_a_database_says_why():
    database = Database(1_000_000)
    database.open(image("shop", (0, 0)))
    with pytest.raises(ToolFailed, match="no such table"):
        database.query("SELECT * FROM nope", 5)
