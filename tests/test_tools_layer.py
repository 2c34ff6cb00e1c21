"""The tool layer: forms of calls, typed tools, spaces, states, candidates, and the turns of a small environment."""

import copy
import json
import re
import threading
import time
import warnings
from typing import Annotated, Literal

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv
from gymnasium.vector.utils import batch_space
from hypothesis import given
from hypothesis import strategies as st

from milepost.envs.tools.base import Item, ToolEnv
from milepost.envs.tools.calls import MOST, Call, Turn, dump, parse
from milepost.envs.tools.candidates import Seen, offers
from milepost.envs.tools.chat import Chat
from milepost.envs.tools.spaces import Calls, Messages
from milepost.envs.tools.state import Plain, Sql
from milepost.envs.tools.tool import LONGEST, BadCall, Tool, Toolbox, ToolFailed
from milepost.sandboxes import SandboxLost

pydantic = pytest.importorskip("pydantic", reason="the extra tools is not installed")
pytestmark = pytest.mark.tools
Id = Annotated[str, pydantic.Field(pattern=r"^W\d+$", description="such as W7")]


# -- a small environment -----------------------------------------------------------------------------
def get_order(state, *, order_id: Id):
    """Shows an order."""
    row = state.db.execute("SELECT id, status FROM orders WHERE id = ?", (order_id,)).fetchone()
    if row is None:
        raise ToolFailed(f"there is no order {order_id}")
    return {"order_id": row[0], "status": row[1]}


def cancel(state, *, order_id: Id, reason: Literal["late", "unwanted"], note: str = ""):
    """Cancels an open order."""
    done = state.db.execute("UPDATE orders SET status = 'cancelled', note = ? WHERE id = ?", (note, order_id))
    if not done.rowcount:
        raise ToolFailed(f"there is no order {order_id}")
    if reason == "unwanted":
        raise RuntimeError("the warehouse said no")  # after the change: it is taken back
    return "ok"


def stuck(state, *, seconds: float):
    """Waits, having changed something."""
    state.db.execute("DELETE FROM orders")
    time.sleep(seconds)


def with_title(state, *, title: str):
    """A parameter called like a key of JSON schema."""


TOOLS = [Tool.of(get_order, writes=False), Tool.of(cancel), Tool.of(stuck, timeout=0.1)]


def rows(state):
    return state.db.execute("SELECT * FROM orders ORDER BY id").fetchall()


def image():
    state = Sql()
    state.db.execute("CREATE TABLE orders (id TEXT PRIMARY KEY, status TEXT, note TEXT)")
    state.db.executemany("INSERT INTO orders VALUES (?, 'open', '')", [(f"W{i}",) for i in range(20)])
    return state.save()


class Desk(ToolEnv):
    """One order is to be cancelled."""

    name = "desk"

    def __init__(self, **settings):
        super().__init__(**settings)
        self.tools, self.action_space, self.image = Toolbox(TOOLS), Calls(TOOLS), image()

    def _open(self, task):
        self.state = self.state or Sql()
        self.state.load(self.image)
        self.system, self.opening = "Be kind.", f"Please cancel order W{task % 20}, it is late."

    def _status(self):
        return self.state.db.execute("SELECT status FROM orders WHERE id = ?", (f"W{self.task % 20}",)).fetchone()

    def _reply(self, words):
        return ("Bye.", True) if self._status() == ("cancelled",) or not words else ("But my order?", False)

    def _won(self):
        return self._status() == ("cancelled",)

    def _trace(self):
        order = f"W{self.task % 20}"
        return Call("get_order", {"order_id": order}), Call("cancel", {"order_id": order, "reason": "late"})

    def _remaining(self):
        return self._unmade() or ["Done."]

    def _items(self):
        return Item("cancelled", 0.7, depends=("seen",)), Item("seen", 0.3)

    def _checks(self):
        return {"cancelled": self._won(), "seen": self._matched > 0}

    def _phrases(self):
        return ("Done.",)


@pytest.fixture
def env():
    env = Desk(candidates=30, weights={"format": 0.1, "valid_call": 0.1, "match": 0.4, "items": 0.2, "outcome": 1})
    yield env
    env.close()


# -- forms -------------------------------------------------------------------------------------------
GET = Call("get_order", {"order_id": "W7"})
JSON = '{"name": "get_order", "arguments": {"order_id": "W7"}}'
FORMS = [
    JSON,
    f"  {JSON}\n",
    f"```json\n{JSON}\n```",
    f"I look it up. {JSON}",
    f"[{JSON}]",
    '{"tool_calls": [{"id": "c", "function": {"name": "get_order", "arguments": "{\\"order_id\\": \\"W7\\"}"}}]}',
    '{"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "get_order", "input": {"order_id": "W7"}}]}',
    f"<tool_call>\n{JSON}\n</tool_call>",
    f"I look it up.\n<tool_call>{JSON}",
    '<tool_call><function=get_order>\n<parameter=order_id>\nW7\n</parameter>\n</function></tool_call>',
    '<invoke name="get_order"><parameter name="order_id">W7</parameter></invoke>',
    '<function_calls>\n<invoke name="get_order"><parameter name="order_id">W7</parameter></invoke>\n</function_calls>',
    'Thought: look it up.\nAction: get_order\nAction Input: {"order_id": "W7"}',
    "Action: get_order\nAction Input: W7\nObservation: made up",
    "[get_order(order_id='W7')]",
    "get_order('W7')",
    "```python\nget_order(order_id='W7')\n```",
    GET,
    Turn("", (GET,)),
    {"name": "get_order", "arguments": {"order_id": "W7"}},
    {"content": None, "tool_calls": [{"function": {"name": "get_order", "arguments": '{"order_id": "W7"}'}}]},
    {"content": [{"type": "tool_use", "name": "get_order", "input": {"order_id": "W7"}}]},
    [GET],
    [{"type": "tool_use", "name": "get_order", "input": {"order_id": "W7"}}],
    ["get_order(order_id='W7')"],
]  # fmt: skip


@pytest.mark.parametrize("form", FORMS, ids=range(len(FORMS)))
def test_every_form_of_a_call_is_understood(form, env):
    turn = parse(form)
    assert not turn.error and [c.name for c in turn.calls] == ["get_order"]
    assert Toolbox(TOOLS).find(turn.calls[0])[1] == {"order_id": "W7"}
    env.reset(options={"task": 7})
    obs, reward, *_, info = env.step(form)
    assert obs == 'get_order: {"order_id": "W7", "status": "open"}'
    assert info["valid_action"] and reward == pytest.approx(0.1 + 0.1 + 0.4 / 2 + 0.2 * 0.3)
    assert form in env.action_space


def test_several_calls_in_a_turn_come_in_their_order():
    for form in (
        f"<tool_call>{JSON}</tool_call> and <tool_call>{JSON.replace('7', '8')}</tool_call>",
        "[get_order(order_id='W7'), get_order(order_id='W8')]",
        f"[{JSON}, {JSON.replace('7', '8')}]",
        "Action: get_order\nAction Input: W7\nAction: get_order\nAction Input: W8\n",
        [GET, {"function": {"name": "get_order", "arguments": {"order_id": "W8"}}}],
    ):
        found = [Toolbox(TOOLS).find(c)[1]["order_id"] for c in parse(form).calls]
        assert found == ["W7", "W8"]


@pytest.mark.parametrize(
    "words",
    [
        "Hello, is W7 yours?",
        "",
        "f(x) is a function.",
        "1 + 1",
        "[sic] he said",
        "ü 東 \0",
        "[1, 2]",
        "Foo (film)",
        "[a, b]",
    ],
)
def test_words_are_words(words):
    turn = parse(words)
    assert turn == Turn(words.strip())


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ('{"name": "get_order", "arguments": {', "cannot be read"),
        ('{"name": "get_order", "arguments": "W7"}', "cannot be read"),
        ('{"name": "get_order", "arguments": [1]}', "arguments are an object"),
        ('{"name": 1}', "a tool call is"),
        ('{"name": "x", "arguments": {"a": NaN}}', "NaN is no JSON"),
        ('[{"a": ' + "[" * 1000 + "]" * 1000 + "}]", "nested"),
        ('[{"a": 1}, 2]', "a tool call is"),
        ('{"a": ' * 100000, "characters|nested"),
        ("get_order(" * 60 + ")" * 60, "is no literal"),
        ("get_order(order_id=" + "-" * 30000 + "1)", "nested|is no literal"),
        ('{"name": "\\ud800x", "arguments": {}}', "a tool's name is a text"),
        ('x {"name": "get_order", "arguments": {"order_id": NaN}}', "NaN is no JSON"),
        ("\ud800 hello", "surrogate"),
        ({"role": "assistant", "content": "x" * 10**7}, "words are a text of at most"),
        ([GET] * 300, "at most 256 calls"),
        (Call(5, {}), "a tool call is"),
        (Call("get_order", {1: 2}), "arguments are an object"),
        (Call("get_order", None), "arguments are an object"),
        (Call("x" * 101, {}), "at most 100"),
        (Turn(None), "words are a text"),
        (Turn("x", ("a",)), "a tool call is"),
        ([10**5000], "a tool call is"),
        ("get_order(order_id=open('x').read())", "is no literal"),
        ("get_order(**{'order_id': 'W7'})", "not unpacked"),
        ("x" * (MOST + 1), "at most"),
        ({"tool_calls": "get_order"}, "is a list"),
        ({"tool_calls": [1]}, "a tool call is"),
        ({"name": "f", "arguments": {1: 2}}, "arguments are an object"),
        ({"role": "assistant", "content": 3}, "content is"),
        ([3], "a tool call is"),
        (Call("get_order", ["W7"]), "arguments are an object"),
    ],
)  # fmt: skip
def test_what_is_no_call_says_why_and_the_episode_goes_on(form, said, env):
    env.reset(options={"task": 7})
    obs, _, terminated, truncated, info = env.step(form)
    assert obs.startswith("Error: ") and not info["valid_action"] and not terminated and not truncated
    assert re.search(said, obs), obs
    assert form not in env.action_space or isinstance(form, str)


@pytest.mark.parametrize("action", [None, 3, 1.5, b"get_order", object(), {1, 2}])
def test_another_kind_of_action_is_a_type_error(action, env):
    env.reset(seed=0)
    with pytest.raises(TypeError, match="an action is"):
        env.step(action)
    assert action not in env.action_space


# -- tools -------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("call", "said"),
    [
        (Call("get_orders", {}), r"there is no tool 'get_orders' \(did you mean get_order\?\); there are get_order, cancel"),
        (Call("get_order", {}), "order_id: Field required"),
        (Call("get_order", {"order_id": 7}), "order_id: Input should be a valid string"),
        (Call("get_order", {"order_id": "7"}), "order_id: String should match pattern"),
        (Call("get_order", {"order_id": "W7", "x": 1}), "no argument 'x'; it takes order_id"),
        (Call("cancel", {"order_id": "W7", "reason": "rain"}), "reason: Input should be 'late' or 'unwanted'"),
        (Call("stuck", {"seconds": float("nan")}), "nan is no JSON"),
        (Call("stuck", {"seconds": True}), "seconds: Input should be a valid number"),
        ("get_order('W7', 'W8')", "2 came without a name"),
        (Call("get_order", {"order_id": "W" + "7" * 10**7}), "too long"),
        (Call("get_order", {"order_id": "W7\ud800"}), "surrogate"),
        (Call("get_order", {"order_id": {"a": [{}] * 10**5}}), "too long"),
        (Call("get_order", {"order_id": [10**5000]}), "more than 4096 bits"),
        (Call("get_order", {"order_id": {(1, 2): 3}}), "keys of an object are texts"),
        (Call("get_order", {"order_id": {1, 2}}), "a set is no JSON"),
        (Call("get_order", {"order_id": b"W7"}), "a bytes is no JSON"),
        (Call("get_order", {"order_id": float("inf")}), "inf is no JSON"),
        ('{"name": "get_order", "arguments": {"*": 5}}', "order_id: Field required"),
        ('{"name": "get_order", "arguments": {"*": ["W7"]}}', "order_id: Field required"),
        (Call("get_order", {"order_id": "W99"}), "there is no order W99"),
        (Call("cancel", {"order_id": "W7", "reason": "unwanted"}), "RuntimeError: the warehouse said no"),
        (Call("stuck", {"seconds": 0.5}), "cut off after 0.1 seconds"),
        (Call("stuck", {"seconds": -1.0}), "ValueError"),
    ],
)  # fmt: skip
def test_a_wrong_call_is_answered_and_changes_nothing(call, said, env):
    env.reset(options={"task": 7})
    before = rows(env.state)
    obs, _, terminated, truncated, info = env.step(call)
    assert re.search(said, obs), obs
    assert not (info["valid_action"] or terminated or truncated) and rows(env.state) == before
    assert env.step(GET)[-1]["valid_action"]


def test_a_tool_that_is_cut_off_changes_nothing_later_either(env):
    env.reset(options={"task": 7})
    env.step(Call("stuck", {"seconds": 0.3}))
    time.sleep(0.4)
    assert env.step(GET)[-1]["valid_action"]
    assert not [t for t in threading.enumerate() if t.name == "milepost-tool-stuck"]


def test_deep_objects_of_callers_are_refused_and_not_a_crash(env):
    deep = {}
    inner = deep
    for _ in range(5000):
        inner["a"] = inner = {}
    env.reset(seed=0)
    for call in (Call("get_order", {"order_id": deep}), {"name": "get_order", "arguments": {"order_id": deep}}):
        assert not env.step(call)[-1]["valid_action"]


def big(state):
    """A value that JSON cannot show."""
    return 10**5000


class Mute(Exception):
    """Cannot even be shown."""

    def __str__(self):
        raise RuntimeError


def mute(state):
    """Fails without words."""
    raise Mute


def script(state):
    """Ends the transaction that it runs in."""
    state.db.executescript("DELETE FROM orders;")


def spin(state):
    """Never ends."""
    while True:
        time.sleep(0.01)


def test_what_tools_give_and_raise_is_shown_whatever_it_is(env):
    env.reset(seed=0)
    for tool, said in ((big, "a int that cannot be shown"), (mute, "Error: mute: Mute: a Mute that cannot be shown")):
        assert Toolbox([Tool.of(tool)]).use(env.state, Call(tool.__name__, {})).text == said
    with pytest.raises(RuntimeError, match="a tool ended the transaction"):
        Toolbox([Tool.of(script)]).use(env.state, Call("script", {}))


def test_a_tool_that_never_ends_is_ended():
    box = Toolbox([Tool.of(spin, timeout=0.05)])
    assert "cut off" in box.use(Plain({}), Call("spin", {})).text
    deadline = time.monotonic() + 10
    while any(t.name == "milepost-tool-spin" for t in threading.enumerate()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not [t for t in threading.enumerate() if t.name == "milepost-tool-spin"]


def test_schemas_from_elsewhere_that_are_none_allow_all():
    wrong = {"properties": {"a": True, "b": {"items": 3}, "c": {"pattern": "^\\p{L}+$"}, "d": None}, "required": 1}
    tool = Tool.of_schema("f", "", wrong, lambda state, arguments: arguments)
    assert tool.arguments({"a": 1, "b": 2, "c": "x", "d": []}) and tool.schema()
    assert offers([tool], Seen().hear("x y"), 9) and Calls([tool], seed=0).sample().calls


def test_an_answer_that_is_all_tags_is_read_in_one_pass():
    begun = time.process_time()
    for text in (
        "<invoke name=a>" * 4000,
        "<parameter name=a>" * 3000 + "<invoke name=a>",
        "<tool_call>" * 5000,
        "```json\n" * 8000,
    ):
        parse(text)
    assert time.process_time() - begun < 2


def test_before_a_reset_there_is_nothing_to_do():
    env = Desk()
    for what in (env.oracle, env.snapshot, env.fork):
        with pytest.raises(RuntimeError, match="reset"):
            what()
    with pytest.raises(ValueError, match=r"a setting of Desk is 'candidats'; allowed: .*did you mean 'candidates'\?"):
        Desk(candidats=3)
    with pytest.raises(ValueError, match="finite"):
        Desk(weights={"outcome": float("nan")})


def test_schemas_are_those_of_openai():
    about = TOOLS[1].schema()["function"]
    assert about["name"] == "cancel" and about["description"] == "Cancels an open order."
    assert about["parameters"] == {
        "type": "object",
        "properties": {
            "order_id": {"type": "string", "pattern": r"^W\d+$", "description": "such as W7"},
            "reason": {"type": "string", "enum": ["late", "unwanted"]},
            "note": {"type": "string"},
        },
        "required": ["order_id", "reason"],
        "additionalProperties": False,
    }
    titled = Tool.of(with_title)
    assert titled.parameters["properties"] == {"title": {"type": "string"}}
    with pytest.raises(TypeError, match="a has no type"):
        Tool.of(lambda state, a: a)


def test_tools_of_a_schema_check_names_and_types():
    schema = {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}, "b": {"enum": ["x", "y"]}}}
    tool = Tool.of_schema("f", "", schema, lambda state, arguments: arguments)
    assert tool.arguments({"a": 1, "b": "x"}) == {"a": 1, "b": "x"}
    for wrong in ({"a": "1"}, {"a": True}, {"a": 1, "b": "z"}, {}, {"a": 1, "c": 2}):
        with pytest.raises(BadCall):
            tool.arguments(wrong)


def test_a_lost_sandbox_is_no_tools_fault(env):
    def gone(state, arguments):
        raise SandboxLost("it is gone")

    env.reset(seed=0)
    env.tools = Toolbox([Tool("gone", "", {}, gone, dict)])
    *_, truncated, info = env.step(Call("gone", {}))
    assert truncated and info["invalid"] and env.infra_failures == 1 and info["tool_calls"] == ()


# -- turns -------------------------------------------------------------------------------------------
def test_terms_pay_once_and_process_scores_fall_for_what_is_repeated(env):
    obs, info = env.reset(options={"task": 7})
    assert obs.startswith("Be kind.\n\nTools:\n- get_order(order_id: string): Shows an order.\n- cancel(")
    assert obs.endswith("User: Please cancel order W7, it is late.")
    assert [m["role"] for m in info["messages"]] == ["system", "user"]
    late = Call("cancel", {"order_id": "W7", "reason": "late"})
    paid = []
    for action in (GET, GET, Call("get_order", {"order_id": "W8"}), (late, late), "Done."):
        *_, info = env.step(action)
        paid.append([round(v / env.weights[k], 3) for k, v in info["reward_terms"].items()] + [info["process_score"]])
    assert paid == [
        [1, 1, 0.5, 0.3, 0, 1.0],
        [1, 1, 0, 0, 0, 0.0],  # the same again
        [1, 1, 0, 0, 0, 0.5],  # valid, new, not of the reference
        [1, 1, 0.5, 0.7, 0, 0.5],
        [1, 0, 0, 0, 1, 0.5],
    ]
    assert info["success"] and info["progress"] == 1 and info["subgoals"] == {"cancelled": True, "seen": True}


def test_infos_share_nothing_with_the_agent_or_each_other(env):
    env.reset(options={"task": 7})
    call = Call("get_order", {"order_id": "W7", "more": ["x"]})
    one, two = env.step(call)[-1], env.step(call)[-1]
    call.arguments["more"].append("y")
    for a, b in ((one, two), (one["messages"][0], two["messages"][0])):
        a, b = a["tool_calls"][0]["arguments"], b["tool_calls"][0]["arguments"]
        assert a == b == {"order_id": "W7", "more": ["x"]} and a is not b and a["more"] is not b["more"]


def test_calls_beyond_the_most_are_not_made():
    env = Desk(max_calls=2)
    env.reset(options={"task": 7})
    obs, *_, info = env.step([GET] * 3)
    assert "1 calls were not made: at most 2 in a turn" in obs and len(info["tool_calls"]) == 2
    assert not info["valid_action"]


def test_words_reach_the_user_and_silence_does_not_win(env):
    env.reset(options={"task": 7})
    obs, *_, info = env.step("I cannot do that.")
    assert obs == "User: But my order?" and info["messages"][0]["content"] == "I cannot do that."
    *_, terminated, _, info = env.step("")
    assert terminated and not info["success"]


def test_the_oracle_wins_and_publishes_its_trace():
    env = Desk(expose_reference=True)
    _, info = env.reset(options={"task": 3})
    assert info["reference"][0] == {"name": "get_order", "arguments": {"order_id": "W3"}}
    done = False
    while not done:
        _, reward, done, _, info = env.step(env.oracle())
    assert reward == 1 and info["success"]


def test_gymnasiums_checker_finds_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(Desk(render_mode="ansi"), skip_render_check=True)
        warnings.filterwarnings("ignore", message=r".*is different from the unwrapped version.*")
        check_env(Chat(Desk()), skip_render_check=True)


# -- states ------------------------------------------------------------------------------------------
def test_branches_do_not_touch_each_other(env):
    env.reset(options={"task": 7})
    env.step(GET)
    kept, branch = env.snapshot(), env.fork()
    late = Call("cancel", {"order_id": "W7", "reason": "late"})
    first = [branch.step(late)[:4], branch.step("Done.")[:4]]
    assert rows(env.state) != rows(branch.state) and not env._won() and branch._won()
    assert [env.step(late)[:4], env.step("Done.")[:4]] == first
    env.restore(kept)
    assert not env._won() and [env.step(late)[:4], env.step("Done.")[:4]] == first
    other = Desk(candidates=30, weights=env.weights)
    other.restore(kept)
    assert [other.step(late)[:4], other.step("Done.")[:4]] == first


def test_an_empty_database_is_saved_too():
    state = Sql()
    state.adopt(state.fork())
    state.load(state.save())
    state.db.execute("CREATE TABLE t (a)")
    state.load(b"")
    assert state.db.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)


@pytest.mark.parametrize("make", [lambda: Plain({"a": [1]}), lambda: Sql(image())], ids=["plain", "sql"])
def test_states_save_undo_and_fork(make):
    state = make()

    def now(s):
        return copy.deepcopy(s.value) if isinstance(s, Plain) else rows(s)

    def change(s):
        if isinstance(s, Plain):
            s.value["a"].append(2)
        else:
            s.db.execute("DELETE FROM orders WHERE id = 'W3'")

    start, image = now(state), state.save()
    outer = state.mark()
    inner = state.mark()
    change(state)
    state.undo(inner)
    assert now(state) == start
    change(state)
    state.undo(outer)
    assert now(state) == start
    mark = state.mark()
    change(state)
    state.keep(mark)
    changed = now(state)
    assert changed != start
    branch = state.fork()
    state.load(image)
    assert now(state) == start and now(branch) == changed
    state.adopt(branch)
    assert now(state) == changed


# -- spaces ------------------------------------------------------------------------------------------
def test_samples_are_valid_calls_and_spaces_are_values():
    space = Calls(TOOLS, seed=3)
    assert {space.sample().calls[0].name for _ in range(30)} == {"get_order", "cancel", "stuck"}
    assert (
        space.sample(mask=["cancel"]).calls[0].name == "cancel"
        and Calls(TOOLS, seed=1).sample() == Calls(TOOLS, seed=1).sample()
    )
    for _ in range(30):
        turn = space.sample()
        assert turn in space and Toolbox(TOOLS).find(turn.calls[0])
    assert Calls(TOOLS) == Calls(TOOLS) != Calls(TOOLS[:1]) and Messages(100) == Messages(100) != Messages(99)
    assert len({Calls(TOOLS), Calls(TOOLS), Messages(9), Messages(9)}) == 2
    turns = [space.sample(), "hello", GET]
    back = space.from_jsonable(json.loads(json.dumps(space.to_jsonable(turns))))
    assert back == [turns[0], "hello", Turn("", (GET,))]
    with pytest.raises(ValueError, match="mask"):
        space.sample(mask=["other"])
    chat = Messages(1000, seed=1)
    sample = chat.sample()
    assert sample in chat and list(sample) not in chat and ({"role": "judge", "content": ""},) not in chat
    assert chat.from_jsonable(json.loads(json.dumps(chat.to_jsonable([sample])))) == [sample]
    batch = batch_space(chat, 3)
    assert batch.sample() in batch


@pytest.mark.parametrize("kind", [SyncVectorEnv, AsyncVectorEnv])
@pytest.mark.parametrize("wrap", [lambda e: e, Chat], ids=["text", "chat"])
def test_vectors_carry_turns_and_messages(kind, wrap):
    with_vector = kind([lambda: wrap(Desk())] * 2)
    alone = [wrap(Desk()) for _ in range(2)]
    try:
        obs, _ = with_vector.reset(seed=[1, 2])
        assert tuple(copy.deepcopy(obs)) == tuple(e.reset(seed=s)[0] for e, s in zip(alone, (1, 2)))
        for actions in ((GET, "hello"), (Turn("", (GET, GET)), dump(Turn("x", (GET,))))):
            obs, rewards, *_ = with_vector.step(actions)
            want = [e.step(a) for e, a in zip(alone, actions)]
            assert tuple(copy.deepcopy(obs)) == tuple(w[0] for w in want) and list(rewards) == [w[1] for w in want]
    finally:
        with_vector.close()


# -- candidates --------------------------------------------------------------------------------------
def test_candidates_come_from_the_conversation_alone(env):
    _, info = env.reset(options={"task": 7})
    assert info["admissible_actions"][:2] == ("Done.", JSON)
    env.step(Call("get_order", {"order_id": "W8"}))
    offered = [parse(a).calls[0] for a in env._listed()[1:]]
    assert {c.arguments["order_id"] for c in offered if c.name == "get_order"} == {"W7", "W8"}
    assert {c.arguments.get("reason") for c in offered if c.name == "cancel"} == {"late", "unwanted"}
    shown = env._listed()
    env._trace = lambda: ()
    env._open_calls.clear()
    assert env._listed() == shown


def test_values_fit_arguments_by_name_pattern_and_type():
    seen = (
        Seen()
        .hear('I am "Ada Byron", zip 12345.')
        .read('{"items": [{"item_id": "I3", "qty": 2, "price": 1.5}], "user_id": "u_1"}')
    )
    schema = {
        "properties": {"item_ids": {"type": "array", "items": {"type": "string"}}, "qty": {"type": "integer"},
                       "user_id": {"type": "string"}, "really": {"type": "boolean"}},
        "required": ["item_ids", "qty", "user_id", "really"],
    }  # fmt: skip
    found = offers([Tool.of_schema("f", "", schema, dict)], seen, 100)
    assert Call("f", {"item_ids": ["I3"], "qty": 2, "user_id": "u_1", "really": True}) in found
    assert all(isinstance(c.arguments["qty"], int) for c in found) and len(found) <= 12


def test_tools_that_ask_for_the_same_are_offered_the_same_and_share_nothing():
    texts = {"type": "string"}
    tools = [
        Tool.of_schema(name, "", {"properties": {key: schema}, "required": [key]}, dict)
        for name, key, schema in [
            ("one", "item_ids", {"type": "array", "items": texts}),
            ("two", "item_ids", {"type": "array", "items": texts}),
            ("three", "item_id", texts),  # what the arrays' items are
            ("four", "item_id", texts | {"pattern": "^I[0-9]$"}),
            ("five", "other_id", texts | {"pattern": "^I[0-9]$"}),
            ("six", "item_id", texts | {"pattern": "^J[0-9]$"}),
            ("seven", "qty", {"type": "integer"}),
            ("eight", "qty", {"type": "integer", "maximum": 2}),
            ("nine", "qty", {"type": "number"}),
        ]
    ]
    seen = Seen().read('[{"item_id": "I3", "qty": 2.5}, {"item_id": "J4", "qty": 2}, {"item_id": "I5", "qty": 7}]')

    def offered():
        found = {t.name: [] for t in tools}
        for call in offers(tools, seen, 100):
            found[call.name] += call.arguments.values()
        return found

    wanted = {"three": ["I5", "J4", "I3"], "four": ["I5", "I3"], "five": ["I5", "I3"], "six": ["J4"]}
    wanted |= {k: [["I5"], ["J4"], ["I3"], ["I5", "J4", "I3"]] for k in ("one", "two")}
    wanted |= {"seven": [7, 2], "eight": [2], "nine": [7, 2, 2.5]}
    assert offered() == wanted
    first = offers(tools, seen, 100)
    for call in first[:4]:
        call.arguments["item_ids"].append("changed")
    assert not any("changed" in c.arguments.get("item_ids", ()) for c in first[4:]) and offered() == wanted


# -- anything ----------------------------------------------------------------------------------------
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(["get_order", "cancel", "", "drop"]) | st.text(max_size=8)
HOSTILE = st.sampled_from(
    ["W7'; DROP TABLE orders; --", "W7", "\0", "{}", "W" * 100, "<tool_call>", "Action: x\nAction Input: {"]
)
KEYS = st.sampled_from(["order_id", "reason", "note", "*"]) | st.text(max_size=5)
FIELDS = st.sampled_from(["name", "arguments", "tool_calls", "content", "role", "function"])
TEXTS = st.text(max_size=20) | HOSTILE
ACTIONS = (
    st.text(max_size=60)
    | HOSTILE
    | st.builds(Call, NAMES, st.dictionaries(KEYS, VALUES | HOSTILE, max_size=3))
    | st.builds(lambda n, a: json.dumps({"name": n, "arguments": a}), NAMES, VALUES)
    | st.builds(lambda n, a, k: json.dumps({"name": n, "arguments": a})[:k], NAMES, VALUES, st.integers(0, 60))
    | st.builds(lambda n, t: f"{n}({t})", NAMES, TEXTS)
    | st.builds(lambda n, t: f'<invoke name="{n}"><parameter name="order_id">{t}</parameter></invoke>', NAMES, TEXTS)
    | st.dictionaries(FIELDS, VALUES, max_size=4)
    | st.lists(VALUES, max_size=3)
)


@given(st.lists(ACTIONS, min_size=1, max_size=6))
def test_nothing_that_is_said_raises_or_corrupts(actions):
    env = Desk(candidates=20)
    env.reset(options={"task": 7})
    for action in actions:
        obs, reward, terminated, truncated, info = env.step(action)
        assert isinstance(obs, str) and np.isfinite(reward) and not truncated
        assert obs in env.observation_space
        json.dumps(info["messages"], default=str)
        there = env.state.db.execute("SELECT count(*), sum(status IN ('open', 'cancelled')) FROM orders").fetchone()
        assert there == (20, 20) and env.state.db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        if terminated:
            break
    assert LONGEST >= 2**16


def test_ids_made_through_gymnasium_carry_the_chat_wrapper():
    spec = gym.envs.registration.EnvSpec("Desk-v0", entry_point=Desk, additional_wrappers=())
    env = Chat(gym.make(spec, disable_env_checker=True))
    obs, info = env.reset(seed=0)
    assert obs in env.observation_space and obs[1]["role"] == "user" and len(info["tools"]) == 3
    obs, *_ = env.step(GET)
    assert obs[0]["role"] == "tool" and obs[0]["name"] == "get_order"
