"""How long steps of tool environments take, beside peers in the same run: ``python benchmarks/tool_steps.py --peers PYTHON``.

Rounds are interleaved: each times every contender once, in a new order, so that a slow or a busy machine moves all of them
together; figures are medians over the rounds, of the mean of some calls in a row. Peers are skyrl-gym's SQL environment and
gem-llm's python tool and QaEnv, in a Python of their own (``pip install gem-llm skyrl-gym datasets pandas`` there), where this
file serves itself; a peer that cannot run has a row that says why. Prints Markdown tables and a verdict a target, and writes
docs/results/tool_steps.json; the exit status is 1 if a target is missed.

Both SQL environments get the same queries, a row by its key, on the same database. gem-llm's tool starts a Python of the same
version a call, without any isolation; ours runs in a sandbox without a network. Its QaEnv only grades an answer, so that its
row stands beside our reset and right answer.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

from peers import answers, cause, host, judge, measure, peers, serve, version

ROOT = Path(__file__).parent.parent
OUT = ROOT / "docs" / "results" / "tool_steps.json"
PAGES = 20_000
QUERIES = [f"SELECT name, price FROM products WHERE id = {i}" for i in range(1, 37)]
PROGRAM = "print(sum(i * i for i in range(10)))"
FOREVER = 10**9  # steps of an episode

DESK, DESK_RESET = "ServiceDesk: step", "ServiceDesk: reset"
SQL, SQL_TOOL = "SQL: step", "SQL: the tool alone"
PYTHON, PYTHON_FRESH = "PythonTool: step", "PythonTool: step, a new interpreter each"
SEARCH, SEARCH_STEP = f"SearchQA: search over {PAGES:,} pages", f"SearchQA: step with a search over {PAGES:,} pages"
QA = "SearchQA: reset and answer"
SKY, SKY_TOOL = "skyrl-gym SQL: step", "skyrl-gym SQL: the tool alone"
GEM, GEM_QA = "gem-llm python tool, unisolated", "gem-llm QaEnv: reset and answer"
CALLS = {  # in a row; one timing is their mean
    DESK: 400, DESK_RESET: 100, SQL: 200, SQL_TOOL: 200, PYTHON: 50, PYTHON_FRESH: 20, SEARCH: 50, SEARCH_STEP: 50, QA: 50,
    SKY: 100, SKY_TOOL: 100, GEM: 10, GEM_QA: 50,
}  # fmt: skip

Contender = Callable[[int], float]
"""Does it so often; the seconds that one took."""


def repeat(act: Callable[[int], Any]) -> Contender:
    """Times ``act(0)``, ``act(1)`` ..."""

    def timed(n: int) -> float:
        start = time.perf_counter()
        for i in range(n):
            act(i)
        return (time.perf_counter() - start) / n

    return timed


# -- ours --------------------------------------------------------------------------------------------
def desk(stack: contextlib.ExitStack) -> dict[str, Contender]:
    """The reference's calls as plain objects, with the full info; and a reset to a task of the shared image."""
    from milepost.envs.tools.calls import Call
    from milepost.envs.tools.servicedesk.env import ServiceDeskEnv

    env = ServiceDeskEnv(expose_reference=True, max_steps=FOREVER)
    stack.callback(env.close)

    def steps(n: int) -> float:
        done, spent, task = 0, 0.0, 0
        while done < n:
            _, info = env.reset(options={"task": task})
            task += 1
            actions = [Call(c["name"], c["arguments"]) for c in info["reference"]][: n - done]
            start = time.perf_counter()
            for action in actions:
                if env.step(action)[2]:
                    break
            spent += time.perf_counter() - start
            done += len(actions)
        return spent / done

    return {DESK: steps, DESK_RESET: repeat(lambda i: env.reset(options={"task": i}))}


def sql(stack: contextlib.ExitStack, folder: str) -> dict[str, Contender]:
    """A query for a row by its key; the database is also written for the peer."""
    from milepost.envs.tools.calls import Call
    from milepost.envs.tools.sql import SQLEnv
    from milepost.envs.tools.sql_data import image

    env = SQLEnv(domains="shop", max_steps=FOREVER)
    stack.callback(env.close)
    env.reset(options={"task": 0})
    place = Path(folder, "spider", "database", "shop")
    place.mkdir(parents=True)
    (place / "shop.sqlite").write_bytes(image("shop", (0, 0)))
    actions = [Call("sql", {"query": q}) for q in QUERIES]

    def step(i: int) -> None:
        assert env.step(actions[i % len(actions)])[4]["valid_action"]

    return {SQL: repeat(step), SQL_TOOL: repeat(lambda i: env.tools.use(env.state, actions[i % len(actions)]))}


def python(stack: contextlib.ExitStack) -> dict[str, Contender]:
    """A small program, in the child of the episode and in a new one each."""
    from milepost.envs.tools.calls import Call
    from milepost.envs.tools.pythontool import PythonToolEnv

    def contender(stateful: bool) -> Contender:
        env = PythonToolEnv(datasets=["gcd"], stateful=stateful, max_steps=FOREVER)
        stack.callback(env.close)
        env.reset(options={"task": 0})

        def step(i: int) -> None:
            assert env.step(Call("python", {"code": PROGRAM}))[0] == "python: 285\n"

        return repeat(step)

    return {PYTHON: contender(True), PYTHON_FRESH: contender(False)}


def search(stack: contextlib.ExitStack) -> dict[str, Contender]:
    """Questions as queries."""
    from milepost.envs.tools.calls import Call
    from milepost.envs.tools.searchqa import SearchQAEnv

    env = SearchQAEnv(documents=PAGES, max_steps=FOREVER)
    texts = []
    for task in range(200):
        env.reset(options={"task": task})
        texts.append(env.opening)
    actions = [Call("search", {"query": t}) for t in texts]

    def answer(i: int) -> None:
        env.reset(options={"task": i})
        assert env.step(f"<answer>{env._question.answers[0]}</answer>")[1] == 1.0

    other = SearchQAEnv(documents=PAGES, max_steps=FOREVER)
    other.reset(options={"task": 0})

    def step(i: int) -> None:
        assert other.step(actions[i % 200])[4]["valid_action"]

    return {
        SEARCH: repeat(lambda i: env._index.search(texts[i % 200], 5)),
        SEARCH_STEP: repeat(step),
        QA: repeat(answer),
    }


# -- peers, in a Python of their own -------------------------------------------------------------------
def peer_sql(folder: str) -> dict[str, Contender]:
    """The environment of skyrl-gym, and its tool alone."""
    from skyrl_gym.envs.sql.env import SQLEnv, Text2SQLEnvConfig

    extras = {"db_id": "shop", "reward_spec": {"ground_truth": QUERIES[0]}, "data": "spider", "max_turns": FOREVER}
    env = SQLEnv(Text2SQLEnvConfig(db_path=folder), extras)

    def step(i: int) -> None:
        said = env.step(f"<sql>{QUERIES[i % len(QUERIES)]}</sql>")
        assert "item" in said["observations"][0]["content"]

    def tool(i: int) -> None:
        assert "item" in env.tool_group.execute_tool("sql", "shop", QUERIES[i % len(QUERIES)], 1)

    return {SKY: repeat(step), SKY_TOOL: repeat(tool)}


def peer_python(folder: str) -> dict[str, Contender]:
    """gem-llm's tool as it comes: a new Python a call, in a directory of its own, not isolated."""
    from gem.tools.python_code_tool import PythonCodeTool

    tool = PythonCodeTool()

    def call(i: int) -> None:
        assert "285" in tool.execute_action(f"<python>{PROGRAM}</python>")[2]

    return {GEM: repeat(call)}


def peer_qa(folder: str) -> dict[str, Contender]:
    """gem-llm's environment over a data set in memory."""
    from datasets import Dataset
    from gem.envs.qa_env import QaEnv

    rows = {"question": [f"Question {i}?" for i in range(200)], "answer": [f"answer {i}" for i in range(200)]}
    env = QaEnv(dataset=Dataset.from_dict(rows), load_from_cache_file=False)

    def act(i: int) -> None:
        env.reset()
        assert env.step(f"<answer>{env.answer}</answer>")[1] == 1.0

    return {GEM_QA: repeat(act)}


def theirs(folder: str) -> tuple[dict[str, Contender], dict[str, str]]:
    """The peers' contenders, and why others are not there."""
    found: dict[str, Contender] = {}
    why: dict[str, str] = {}
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # gem-llm starts "python"
    os.chdir(folder)  # and makes directories where it is
    for maker, names in ((peer_sql, [SKY, SKY_TOOL]), (peer_python, [GEM]), (peer_qa, [GEM_QA])):
        try:
            made = maker(folder)
            for act in made.values():
                act(2)
            found |= made
        except Exception as e:  # whatever a peer lacks, the others are measured
            why |= dict.fromkeys(names, cause(e))
    return found, why


# -- the run -----------------------------------------------------------------------------------------
def verdicts(got: dict[str, float]) -> list[dict[str, Any]]:
    """Each target: what it is, what came, whether it holds (None: a side of it was not run)."""
    found: list[dict[str, Any]] = []

    def add(target: str, value: str, met: bool | None) -> None:
        found.append({"target": target, "value": value if met is not None else "not run", "met": met})

    def within(mine: str, most: float, target: str) -> None:
        value = got.get(mine)
        add(target, "" if value is None else f"{value:.1f} us, {1e6 / value:,.0f} a second", value and value <= most)

    def faster(mine: str, peer: str, least: float) -> None:
        ratio = got[peer] / got[mine] if mine in got and peer in got else None
        add(
            f"{mine} is at least {least:g} times faster than {peer}",
            f"{ratio or 0:.1f} times",
            ratio and ratio >= least,
        )

    within(DESK, 50, f"{DESK}: at least 20,000 a second")
    within(DESK_RESET, 100, f"{DESK_RESET}: at most 100 us")
    faster(SQL_TOOL, SKY_TOOL, 50)
    faster(SQL, SKY, 50)
    faster(PYTHON, GEM, 5)
    faster(PYTHON_FRESH, GEM, 5)
    within(SEARCH, 1000, f"{SEARCH}: at most 1 ms")
    return found


def machine(interpreter: str) -> dict[str, Any]:
    """Where this runs."""
    found = host() | {p: version(interpreter, p) for p in ("skyrl-gym", "gem-llm")}
    return found | {"bm25s": version(sys.executable, "bm25s"), "date": date.today().isoformat()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", default="", metavar="PYTHON", help="a Python that can import gem and skyrl_gym")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", default=str(OUT), help='a JSON file; "" for none')
    parser.add_argument("--serve", default="", metavar="FOLDER", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        return serve(answers(), *theirs(args.serve))
    where = machine(args.peers)
    load = [os.getloadavg()[0]]
    contenders: dict[str, Contender] = {}
    why: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        makers: dict[str, Callable[[], dict[str, Contender]]] = {
            "ServiceDesk": lambda: desk(stack),
            "SQL": lambda: sql(stack, folder),
            "PythonTool": lambda: python(stack),
            "SearchQA": lambda: search(stack),
        }
        for name, maker in makers.items():
            try:
                contenders |= maker()
            except Exception as e:  # the others are measured
                why[name] = cause(e)
        names = (SKY, SKY_TOOL, GEM, GEM_QA)
        more, missing = stack.enter_context(peers(args.peers, __file__, folder, names=names))
        contenders |= more
        why |= missing
        got, best = measure({k: functools.partial(act, CALLS[k]) for k, act in contenders.items()}, args.rounds)
    load.append(os.getloadavg()[0])
    where["load of the last minute, at the start and the end"] = " and ".join(f"{x:.1f}" for x in load)
    print(", ".join(f"{k} {v}" for k, v in where.items()))
    print(
        f"medians of {args.rounds} rounds\n\n| contender | median us | fastest us | a second |\n| --- | ---: | ---: | ---: |"
    )
    for name in sorted(got, key=list(CALLS).index):
        print(f"| {name} | {got[name]:,.1f} | {best[name]:,.1f} | {1e6 / got[name]:,.0f} |")
    for name, reason in why.items():
        print(f"| {name} | not run: {reason} | | |")
    found = verdicts(got)
    status = judge(found)
    if args.out:
        said = {"machine": where, "rounds": args.rounds, "calls": CALLS, "microseconds": got, "fastest": best}
        Path(args.out).write_text(json.dumps(said | {"not_run": why, "targets": found}, indent=1) + "\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
