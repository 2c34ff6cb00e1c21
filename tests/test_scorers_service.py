"""The service: modes, budgets, failures, threads and processes."""

import itertools
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
import time

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.wrappers.scorers import (
    MissingAnswer,
    Question,
    Rating,
    Reply,
    Service,
    serve,
    service,
)

pytestmark = pytest.mark.core


class Judge:
    """Grades a text by its length, or does what it is told to; remembers what it was asked."""

    kinds = ("rating", "question", "text", "proposal")

    def __init__(self, answer=None, identity=None):
        self.answer, self.calls = answer or (lambda q: Reply(f'{{"grade": {1 + len(q.text) % 5}}}', 2, 0.5)), []
        self.identity = identity or {"scorer": "test judge"}

    def reply(self, batch):
        self.calls.append(list(batch))
        return [self.answer(q) for q in batch]

    def read(self, raw, query):
        return query.parse(raw)

    @property
    def asked(self):
        return list(itertools.chain(*self.calls))


class Held(Judge):
    """Answers only once the gate is open."""

    def __init__(self):
        super().__init__()
        self.gate, self.begun = threading.Event(), threading.Event()

    def reply(self, batch):
        self.begun.set()
        assert self.gate.wait(10)
        return super().reply(batch)


def rating(text):
    return Rating("a task", text)


def counts(s, *names):
    return tuple(s.stats[n] for n in names)


def alive(s):
    return s._worker is not None and s._worker.is_alive()


# -- sync ----------------------------------------------------------------------------------------
def test_the_same_transition_twice_is_one_call():
    judge = Judge()
    s = Service(judge)
    assert (
        s.ask([rating("a"), rating("bb"), rating("a")])
        == [0.25, 0.5, 0.25]
        == s.ask([rating("a"), rating("bb"), rating("a")])
    )
    assert judge.calls == [[rating("a"), rating("bb")]]
    assert counts(s, "asked", "hits", "misses", "calls", "tokens", "cost") == (6, 3, 3, 2, 4, 1.0)
    assert s.report()["hit_rate"] == 0.5 and s.ask([]) == []


def test_the_scorer_sees_the_canonical_query_and_counters_do_not_cost_calls():
    judge = Judge()
    s = Service(judge)
    assert len({s.ask([rating(f"a room\nT:{t}")])[0] for t in range(50)}) == 1
    assert judge.asked == [rating("a room\nT:_")]


def test_a_rule_that_is_not_idempotent_mixes_nothing_up():
    s = Service(Judge(), canon=lambda text: text[1:])
    for order in (("xab", "ab", "b"), ("b", "ab", "xab")):
        assert [s.ask([rating(t)])[0] for t in order] == [{"xab": 0.5, "ab": 0.25, "b": 0.0}[t] for t in order]


def test_sub_goals_in_any_order_are_one_question():
    judge = Judge(lambda q: Reply('{"a": true, "b": 0.25}'))
    s = Service(judge)
    q = Question(("b", "a"), "", "", "", "", "")
    expected = {"a": 1.0, "b": 0.25}
    assert s.ask([q, q._replace(subgoals=("a", "b"))]) == [expected] * 2 and len(judge.asked) == 1


def test_batches_are_bounded_and_in_order():
    judge = Judge()
    Service(judge, batch=4, queue=1).ask([rating("x" * i) for i in range(10)])
    assert [len(c) for c in judge.calls] == [4, 4, 2] and judge.asked == [rating("x" * i) for i in range(10)]


def test_memory_is_bounded_and_forgetting_costs_no_call(monkeypatch):
    monkeypatch.setattr(service, "MEMO", 10)
    monkeypatch.setattr(service, "PART", 4)
    judge = Judge()
    s = Service(judge)
    queries = [rating("x" * i) for i in range(50)]
    first = s.ask(queries)
    assert first == s.ask(queries) and None not in first and len(judge.asked) == 50
    assert len(s._memo) <= 10 and len(s._known) <= 10


def test_many_threads_ask_and_nothing_is_asked_or_counted_twice():
    judge = Judge()
    s = Service(judge, batch=3)
    wrong = []

    def ask(seed):
        rng = np.random.default_rng(seed)
        for _ in range(40):
            texts = ["x" * int(n) for n in rng.integers(0, 60, 5)]
            if s.ask([rating(t) for t in texts]) != [len(t) % 5 / 4 for t in texts]:
                wrong.append(texts)

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong and len(judge.asked) == len(set(judge.asked)) == s.stats["calls"]
    assert s.stats["asked"] == 6 * 40 * 5 == s.stats["hits"] + s.stats["misses"]


def test_what_becomes_known_between_looking_and_asking_is_not_asked_again():
    for mode in ("sync", "async"):
        judge = Judge()
        s = Service(judge, mode=mode)
        s.ask([rating("a")])
        assert s.wait(5)
        s._memo.clear()
        s._recall = lambda asked, wait=0: {}  # as if the answer came right after
        assert s.ask([rating("a")]) == [0.25] and s.wait(5) and len(judge.asked) == 1


# -- the file ------------------------------------------------------------------------------------
def test_a_second_run_asks_nothing(tmp_path):
    path = str(tmp_path / "a")
    first = Service(Judge(), path).ask([rating("a"), rating("bb")])
    judge = Judge()
    s = Service(judge, path)
    assert s.ask([rating("a"), rating("bb")]) == first and judge.calls == [] and s.stats["hits"] == 2
    Service(other := Judge(identity={"scorer": "test judge", "temperature": 1}), path).ask([rating("a")])
    assert len(other.asked) == 1


def test_a_new_rule_reads_old_texts_without_a_call(tmp_path):
    path = str(tmp_path / "a")
    q = Question(("a",), "", "", "", "", "")
    talk = Judge(lambda q: Reply("Yes, a was reached."))
    s = Service(talk, path)
    assert s.ask([q]) == [None] and s.ask([q]) == [None] and counts(s, "calls", "unreadable") == (1, 1)
    better = Judge()
    better.read = lambda raw, query: {g: float(f"{g} was reached" in raw) for g in query.subgoals}
    assert Service(better, path, mode="frozen").ask([q]) == [{"a": 1.0}] and better.calls == []


def test_what_another_process_answered_meanwhile_is_not_paid_for(tmp_path):
    path = str(tmp_path / "a")
    held = Held()
    s = Service(held, path, mode="async", batch=1)
    s.ask([rating("first")])
    assert held.begun.wait(5)
    s.ask([rating("second")])  # waits in the queue while another service answers it
    Service(Judge(), path).ask([rating("second")])
    held.gate.set()
    assert s.wait(5) and held.asked == [rating("first")] and s.ask([rating("second")]) == [0.25]


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_file_that_fails_costs_no_answer_and_no_run(tmp_path, mode):
    s = Service(Judge(), str(tmp_path / "a"), mode=mode)

    def broken(*_):
        raise OSError("no space left on device")

    s._cache.put = s._cache.get = broken
    s.ask([rating("a")])
    assert s.wait(5) and s.ask([rating("a")]) == [0.25] and s.stats["error: OSError"] >= 2 and s.stats["calls"] == 1


def test_async_does_not_wait_for_a_locked_file(tmp_path):
    import sqlite3

    s = Service(Judge(), str(tmp_path / "a"), mode="async")
    other = sqlite3.connect(tmp_path / "a", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    start = time.perf_counter()
    assert s.ask([rating("a")]) == [None] and time.perf_counter() - start < 0.2
    other.execute("COMMIT")
    assert s.wait(5) and s.ask([rating("a")]) == [0.25]


# -- frozen --------------------------------------------------------------------------------------
def test_frozen_answers_from_the_file_or_says_what_is_missing(tmp_path):
    path = str(tmp_path / "a")
    Service(Judge(), path).ask([rating("a")])
    before = (tmp_path / "a").read_bytes()
    judge = Judge()
    s = Service(judge, path, mode="frozen")
    assert s.ask([rating("a")]) == [0.25]
    with pytest.raises(MissingAnswer, match=r"test judge.*'unknown'.*mode='sync'"):
        s.ask([rating("a"), rating("unknown")])
    default = Service(judge, path, mode="frozen", on_miss="default")
    assert default.ask([rating("unknown"), rating("a")]) == [None, 0.25] and counts(default, "hits", "misses") == (1, 1)
    assert judge.calls == [] and not alive(s) and (tmp_path / "a").read_bytes() == before
    with pytest.raises(FileNotFoundError):
        Service(judge, mode="frozen")


FROZEN = """
import hashlib, sys
from milepost.wrappers.scorers import Question, serve
s = serve({"scorer": "predicate", "cache": sys.argv[1], "mode": sys.argv[2], "patterns": {"a": "x+", "b": "y", "c": "z"}})
qs = [Question(tuple({"a", "b", "c"}), "t", "", "go", "xyz"[: i % 4], f"T:{i} " + "xz" * (i % 3)) for i in range(60)]
print(hashlib.sha256(repr([sorted(v.items()) for v in s.ask(qs)]).encode()).hexdigest())
"""


def test_frozen_is_bit_for_bit_the_same_in_every_process(tmp_path):
    def run(mode, seed):
        env = os.environ | {"PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", FROZEN, str(tmp_path / "a"), mode]
        return subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout

    assert run("sync", "0") == run("frozen", "1") == run("frozen", "2") != ""


# -- async ---------------------------------------------------------------------------------------
def test_async_never_waits_and_the_answer_counts_from_then_on():
    judge = Judge()
    slow = judge.reply
    judge.reply = lambda batch: (time.sleep(0.2), slow(batch))[1]
    s = Service(judge, mode="async")
    s.ask([rating("warm")])  # starts the worker
    start = time.perf_counter()
    assert s.ask([rating(str(i)) for i in range(20)]) == [None] * 20
    assert time.perf_counter() - start < 0.05
    assert s.wait(5) and s.ask([rating(str(i)) for i in range(20)]).count(None) == 0


def test_the_newest_are_asked_first_the_oldest_fall_out_and_each_waits_once():
    judge = Held()
    s = Service(judge, mode="async", batch=2, queue=4)
    s.ask([rating("first")])
    assert judge.begun.wait(5)
    for text in ("a", "b", "c", "d", "b", "e", "first"):  # b is seen again: newer than c and d; a falls out
        assert s.ask([rating(text)]) == [None]
    judge.gate.set()
    assert s.wait(5)
    assert judge.calls == [[rating(t) for t in part] for part in (["first"], ["e", "b"], ["d", "c"])]
    assert counts(s, "dropped", "calls") == (1, 5)
    assert s.ask([rating("a")]) == [None] and s.wait(5) and s.ask([rating("a")]) == [0.25]  # it may be asked again


@given(st.lists(st.integers(0, 9), max_size=30), st.integers(1, 4), st.integers(1, 5))
def test_whatever_is_asked_async_each_is_called_once_or_dropped(order, batch, queue):
    judge = Judge()
    s = Service(judge, mode="async", batch=batch, queue=queue)
    for i in order:
        s.ask([rating("x" * i)])
    assert s.wait(5) and len(judge.asked) == len(set(judge.asked)) and max(map(len, judge.calls), default=0) <= batch
    assert len(set(order)) - s.stats["dropped"] <= len(judge.asked) <= len(set(order))
    s.close()


def test_what_arrives_late_is_found_by_its_handle():
    judge = Held()
    s = Service(judge, mode="async")
    judge.answer = lambda q: Reply('{"grade": 5}') if q.text == "good" else None
    handles = [s.handle(rating(t)) for t in ("good", "bad", "never asked")]
    assert s.ask([rating("good"), rating("bad")]) == [None, None] and s.arrived(handles) == {}
    judge.gate.set()
    assert s.wait(5) and s.arrived(handles) == {handles[0]: 1.0, handles[1]: None}


# -- budget --------------------------------------------------------------------------------------
@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize("budget", [0, 5, 6, 7])
def test_a_budget_of_calls_is_met_exactly_and_then_it_is_as_if_frozen(mode, budget):
    judge = Judge()
    s = Service(judge, mode=mode, batch=3, max_calls=budget)
    queries = [rating("x" * i) for i in range(9)]
    s.ask(queries)
    assert s.wait(5)
    values = s.ask(queries)
    assert len(judge.asked) == budget == s.stats["calls"] and s.stats["over_budget"] >= 9 - budget
    assert sum(v is not None for v in values) == budget
    assert s.ask([rating("another")]) == [None] and len(judge.asked) == budget


def test_a_budget_of_seconds():
    judge = Judge()
    answer = judge.reply
    judge.reply = lambda batch: (time.sleep(0.03), answer(batch))[1]
    s = Service(judge, batch=1, max_seconds=0.05)
    values = s.ask([rating(str(i)) for i in range(6)])
    assert values == [0.25, 0.25, None, None, None, None] and s.stats["over_budget"] == 4


# -- failures ------------------------------------------------------------------------------------
def raising(error):
    def answer(q):
        raise error

    return answer


NONSENSE = {
    "an exception": raising(RuntimeError("out of memory")),
    "an exit": raising(SystemExit(1)),
    "an interrupt": raising(KeyboardInterrupt()),
    "nothing": lambda q: None,
    "no reply": lambda q: "true",
    "no text": lambda q: Reply(b'{"a": true, "grade": 5}'),
    "not a number": lambda q: Reply('{"a": NaN, "grade": NaN}'),
    "too much": lambda q: Reply('{"a": 1e99, "grade": 1e99}'),
    "prose": lambda q: Reply("true, yes, 5 of 5"),
    "a broken text": lambda q: Reply('{"a": true, "grade": 5'),
    "a lone surrogate": lambda q: Reply("\ud800"),
    "a cost that is no number": lambda q: Reply('{"a": true, "grade": 5}', 0, float("nan")),
}


@pytest.mark.parametrize("what", NONSENSE)
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_failure_is_never_a_value_and_is_counted_and_not_asked_again(mode, what):
    judge = Judge(NONSENSE[what])
    s = Service(judge, mode=mode)
    queries = [rating("x"), Question(("a",), "", "", "", "", "")]
    assert s.ask(queries) == [None, None] and s.wait(5)
    assert s.ask(queries) == [None, None] == s.ask(queries) and len(judge.calls) == 1
    assert sum(counts(s, "failed", "silent", "unreadable")) == 2
    assert s.stats["errors"] == ("exception" in what or "exit" in what or "interrupt" in what)
    judge.answer = Judge().answer  # it recovers
    assert s.ask([rating("y")]) == [None if mode == "async" else 0.25] and s.wait(5) and s.ask([rating("y")]) == [0.25]


def test_replies_that_do_not_match_the_queries_are_no_replies():
    for wrong in ([], [Reply('{"grade": 5}')] * 3, None, 5):
        judge = Judge()
        judge.reply = lambda batch, wrong=wrong: wrong
        s = Service(judge)
        assert s.ask([rating("a"), rating("b")]) == [None, None] and counts(s, "failed", "errors") == (2, 1)


@pytest.mark.parametrize(
    "value", [{"a": 2.0}, {"a": float("nan")}, {"win": 1.0}, {"a": "yes"}, 1.0, [1.0], True], ids=str
)
def test_what_a_scorer_reads_into_its_text_must_be_an_answer(value):
    judge = Judge(lambda q: Reply("..."))
    judge.read = lambda raw, query: value
    s = Service(judge)
    assert s.ask([Question(("a",), "", "", "", "", "")]) == [None] and s.stats["unreadable"] == 1
    judge.read = raising(RecursionError())
    assert Service(judge).ask([Question(("a",), "", "", "", "", "")]) == [None]


def test_a_scorer_that_hangs_costs_its_timeout_once_and_its_late_answer_is_kept():
    judge = Held()
    s = Service(judge, timeout=0.05)
    start = time.perf_counter()
    assert s.ask([rating("a")]) == [None]
    for i in range(20):
        assert s.ask([rating(f"b{i}")]) == [None]
    assert time.perf_counter() - start < 0.3 and s.stats["timeouts"] == 21
    judge.gate.set()
    assert s.wait(5) and judge.asked == [rating("a")]
    s.timeout = 5
    assert s.ask([rating("a"), rating("cc")]) == [0.25, 0.5] and judge.asked == [rating("a"), rating("cc")]


def test_a_scorer_that_hangs_for_ever_does_not_keep_the_process():
    code = (
        "import threading; from milepost.wrappers.scorers import Service, Text, Reply\n"
        "class Hangs:\n    kinds = ('text',); identity = {}\n"
        "    def reply(self, batch): threading.Event().wait()\n    def read(self, raw, query): ...\n"
        "s = Service(Hangs(), timeout=0.05); print(s.ask([Text('a')]), Service(Hangs(), mode='async').ask([Text('a')]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout) == (0, "[None] [None]\n") and done.stderr == ""


def test_a_broken_identity_is_an_error_of_the_run_and_not_of_the_worker():
    judge = Judge(identity={"model": object()})
    for mode in ("sync", "async"):
        with pytest.raises(TypeError, match="JSON"):
            Service(judge, mode=mode).ask([rating("a")])


def test_a_model_that_is_not_installed_is_an_error_at_once_and_frozen_needs_none(tmp_path):
    path = str(tmp_path / "a")
    Service(judge := Judge(), path).ask([rating("a")])
    judge.ready = lambda: raising(ModuleNotFoundError("install it"))(None)
    for mode in ("sync", "async"):
        with pytest.raises(ModuleNotFoundError, match="install it"):
            Service(judge, path, mode=mode)
    assert Service(judge, path, mode="frozen").ask([rating("a")]) == [0.25]


# -- threads and processes -----------------------------------------------------------------------
def test_nothing_runs_some_time_after_the_last_question_nor_after_close(monkeypatch):
    monkeypatch.setattr(service, "IDLE", 0.05)
    s = Service(Judge(), mode="async")
    s.ask([rating("a")])
    worker = s._worker
    worker.join(2)
    assert not worker.is_alive() and not alive(s) and s.wait(1)
    monkeypatch.setattr(service, "IDLE", 60)
    s.ask([rating("bb")])
    assert s.wait(5) and alive(s)
    worker = s._worker
    s.close()
    assert not worker.is_alive() and s.ask([rating("a"), rating("bb")]) == [0.25, 0.5]
    s.ask([rating("ccc")])  # the next question opens it again
    assert s.wait(5) and s.ask([rating("ccc")]) == [0.75]
    s.close()
    s.close()


def test_close_drops_the_queue_and_keeps_the_batch_that_was_under_way(tmp_path):
    judge = Held()
    s = Service(judge, str(tmp_path / "a"), mode="async", batch=1)
    s.ask([rating("a")])
    assert judge.begun.wait(5)
    s.ask([rating("bb")])
    threading.Timer(0.05, judge.gate.set).start()
    s.close()
    assert judge.asked == [rating("a")] and not alive(s)
    assert Service(judge, str(tmp_path / "a"), mode="frozen").ask([rating("a")]) == [0.25]


def test_a_call_that_outlives_close_is_kept_and_the_file_closed_again(tmp_path, monkeypatch):
    monkeypatch.setattr(service, "LAST", 0.02)
    judge = Held()
    s = Service(judge, str(tmp_path / "a"), mode="async")
    s.ask([rating("a")])
    worker = s._worker
    assert judge.begun.wait(5)
    s.close()
    judge.gate.set()
    worker.join(5)
    assert s._cache._db is None and s.ask([rating("a")]) == [0.25]


def test_a_fork_while_the_worker_runs(tmp_path):
    judge = Judge()
    judge.reply = lambda batch: (time.sleep(0.1), Judge.reply(judge, batch))[1]
    s = Service(judge, str(tmp_path / "a"), mode="async")
    s.ask([rating("parent")])

    def child(n):
        for i in range(5):
            s.ask([rating(f"{n} {i}")])
        ok = s.wait(5) and s.ask([rating(f"{n} 1")]) == [len(f"{n} 1") % 5 / 4]
        ok &= s.stats["errors"] == s.stats["error: OperationalError"]  # others may hold the file: it is looked up later
        s.close()
        os._exit(0 if ok else 1)

    children = [multiprocessing.get_context("fork").Process(target=child, args=(n,)) for n in range(3)]
    for p in children:
        p.start()
    for p in children:
        p.join(20)
    assert [p.exitcode for p in children] == [0] * 3
    assert s.wait(5) and len(s._cache) == 16


def test_a_pickled_service_is_one_of_its_own_with_the_same_settings(tmp_path):
    s = serve(
        {"scorer": "predicate", "cache": str(tmp_path / "a"), "patterns": {"a": "x"}, "max_calls": 3, "student": {}}
    )
    q = Question(("a",), "", "", "go", "x", "")
    assert s.ask([q]) == [{"a": 1.0}]
    copy = pickle.loads(pickle.dumps(s))
    assert copy.max_calls == 3 and copy.ask([q]) == [{"a": 1.0}] and counts(copy, "calls", "hits") == (0, 1)


class Asks(gym.Wrapper):
    """Rewards by the judge's answer about the step."""

    def __init__(self, env, judge):
        super().__init__(env)
        self.judge = serve(judge)

    def step(self, action):
        obs, _, *rest = self.env.step(action)
        (said,) = self.judge.ask([Question(("right",), "", "", str(action), "", "")])
        return obs, said["right"] if said else 0.0, *rest


def asking(judge):
    return Asks(gym.make("FrozenLake-v1", is_slippery=False), judge)


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_an_async_vector_environment(tmp_path, context):
    right = {"fork": {"functions": {"right": lambda q: q.action == "2"}}, "spawn": {"patterns": {"right": "^$"}}}
    s = serve({"scorer": "predicate", "cache": str(tmp_path / "a")} | right[context])
    s.ask([Question(("right",), "", "", "0", "", "")])  # the worker runs while it forks
    envs = gym.vector.AsyncVectorEnv([lambda: asking(s)] * 2, context=context, shared_memory=False)
    envs.reset(seed=0)
    rewards = envs.step(np.array([2, 1]))[1]
    envs.close()
    assert rewards.tolist() == ([1.0, 0.0] if context == "fork" else [1.0, 1.0])
    assert len(s._cache) == 3
