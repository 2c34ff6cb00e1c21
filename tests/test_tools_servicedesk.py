"""The service desk: its database, tools, policy and tasks; who wins and who does not; states, forks, wild actions."""

import copy
import json
import subprocess
import sys
import warnings

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("pydantic", reason="the extra tools is not installed")

from milepost import shape
from milepost.envs.text.base import TEST
from milepost.envs.tools.calls import Call, parse
from milepost.envs.tools.servicedesk.data import Desk, image, people
from milepost.envs.tools.servicedesk.env import ServiceDeskEnv
from milepost.envs.tools.servicedesk.tasks import FAMILIES, build
from milepost.envs.tools.servicedesk.tools import TOOLS, WRITES
from milepost.envs.tools.servicedesk.users import ASK, DONE, PHRASES, SORRY
from milepost.envs.tools.tool import Toolbox
from milepost.wrappers import Checklist

pytestmark = pytest.mark.tools
BOX = Toolbox(TOOLS)


def play(env, task, agent=None, most=80):
    """An episode by an agent (the oracle by default): rewards and the last info."""
    env.reset(options={"task": task})
    rewards = []
    for k in range(most):
        action = env.oracle() if agent is None else agent(k, env)
        _, reward, terminated, truncated, info = env.step(action)
        rewards.append(reward)
        if terminated or truncated:
            break
    return rewards, info


def one(family, **settings):
    return ServiceDeskEnv(horizon=1, families=[family], **settings)


def find(test, family="forbidden"):
    """The first task of a family whose request passes a test."""
    for n in range(500):
        request = build(n, 1, (family,)).requests[0]
        if test(request):
            return n, request
    raise AssertionError("no such task")


def verified(env, task):
    """Behind the identification."""
    env.reset(options={"task": task})
    for _ in range(3):
        env.step(env.oracle())
    return env


# -- the database ------------------------------------------------------------------------------------
def test_the_image_is_the_same_in_every_process_and_not_too_big():
    code = "from milepost.envs.tools.servicedesk.data import image; import hashlib; print(hashlib.sha256(image()).hexdigest())"
    import hashlib

    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert out == hashlib.sha256(image()).hexdigest()
    assert 100_000 < len(image()) < 400_000


def test_a_desk_goes_back_to_the_image_and_saves_what_is_open():
    desk, task = Desk(), build(3)
    desk.begin(task.rows)
    fresh = desk.save()
    desk.db.execute("UPDATE orders SET status = 'lost' WHERE id = ?", (task.rows["orders"][0][0],))
    changed = desk.save()
    assert changed != fresh
    other = Desk(changed)
    assert other.same(desk) and not Desk(fresh).same(desk)
    desk.begin(task.rows)
    assert desk.one("SELECT status FROM orders WHERE id = ?", task.rows["orders"][0][0])[0] != "lost"
    desk.load(changed)
    assert desk.same(other)
    desk.begin(build(4).rows)  # from a loaded state the image is copied again
    assert not desk.all("SELECT * FROM changed")
    assert desk.one("SELECT count(*) FROM orders")[0] == len(people()) + len(build(4).rows["orders"])


def test_a_change_that_is_made_good_again_is_no_difference():
    task = build(0, 1, ("payment",))
    write = task.requests[0].writes[0]
    a, b = Desk(), Desk()
    for desk in (a, b):
        desk.begin(task.rows)
        BOX.use(desk, task.trace[1])
    address = Call("modify_address", {"order_id": write.arguments["order_id"], "address_id": f"A{task.person.code}2"})
    assert BOX.use(a, address).ok and not a.same(b)
    assert BOX.use(a, Call("modify_address", address.arguments | {"address_id": f"A{task.person.code}1"})).ok
    assert a.same(b)


# -- the tools ---------------------------------------------------------------------------------------
def test_there_are_enough_tools_and_each_says_what_it_does():
    assert len(BOX) == 19
    assert all(t.description and t.parameters["type"] == "object" for t in BOX.values())


@pytest.mark.parametrize("tool", [f.__name__ for f in WRITES])
def test_nothing_changes_before_the_identity_is_verified(tool):
    tasks = (build(n, 1, (family,)) for n in range(20) for family in FAMILIES)
    task, call = next((t, c) for t in tasks for c in t.trace if c.name == tool)
    desk = Desk()
    desk.begin(task.rows)
    result = BOX.use(desk, call)
    assert not result.ok and "not verified" in result.text
    assert not desk.all("SELECT * FROM changed") and not desk.all("SELECT * FROM transfers")


def test_the_back_end_refuses_what_it_must():
    n, request = find(lambda r: True, "exchange")
    task = build(n, 1, ("exchange",))
    desk = Desk()
    desk.begin(task.rows)
    item, order = request.writes[0].arguments["item_id"], request.order
    assert "PIN is wrong" in BOX.use(desk, Call("verify_customer", {"customer_id": task.customer, "pin": "0000"})).text
    assert BOX.use(desk, task.trace[1]).ok
    stranger = next(p for p in people() if p.code != task.person.code)
    refused = {
        "cancelled": Call("cancel_order", {"order_id": order, "reason": "found cheaper"}),
        "another customer": Call("return_item", {"item_id": item, "payment_id": f"card_{stranger.code}1"}),
        "not verified": Call("cancel_order", {"order_id": f"W{stranger.code}0", "reason": "found cheaper"}),
        "no other variant": Call("exchange_item", {"item_id": item, "variant_id": "V100390"}),
        "no item": Call("exchange_item", {"item_id": "I99999999", "variant_id": "V100390"}),
    }
    for why, call in refused.items():
        result = BOX.use(desk, call)
        assert not result.ok and why in result.text, result
    sold_out = desk.one(
        "SELECT id FROM variants WHERE stock = 0 AND product_id = ?", request.reads[1].arguments["product_id"]
    )
    assert "sold out" in BOX.use(desk, Call("exchange_item", {"item_id": item, "variant_id": sold_out[0]})).text
    assert not desk.all("SELECT * FROM changed") and not desk.all("SELECT * FROM refunds")


def test_a_gift_card_cannot_be_overdrawn_and_money_is_kept():
    n, request = find(lambda r: "gift card" in r.said, "payment")
    task = build(n, 1, ("payment",))
    desk = Desk()
    desk.begin(task.rows)
    assert BOX.use(desk, task.trace[1]).ok
    total = desk.one("SELECT sum(price) FROM items WHERE order_id = ?", request.order)[0]
    desk.db.execute(
        "UPDATE payments SET balance = ? WHERE id = ?", (total - 1, request.writes[0].arguments["payment_id"])
    )
    result = BOX.use(desk, request.writes[0])
    assert not result.ok and "gift card holds" in result.text
    desk.db.execute(
        "UPDATE payments SET balance = balance + 1 WHERE id = ?", (request.writes[0].arguments["payment_id"],)
    )
    assert BOX.use(desk, request.writes[0]).ok
    assert desk.one("SELECT balance FROM payments WHERE id = ?", request.writes[0].arguments["payment_id"])[0] == 0
    assert (
        desk.one("SELECT sum(amount) FROM refunds WHERE order_id = ?", request.order)[0] == 0
    )  # taken here, given there


@pytest.mark.parametrize(
    ("text", "value"),
    [("1+2*3", "7.0"), ("-(2.5-1)/2", "-0.75"), ("1/0", "Error"), ("9**9", "Error"), ("1(2)", "Error")],
)
def test_calculate_knows_four_signs(text, value):
    assert value in BOX.use(None, Call("calculate", {"expression": text})).text


# -- the tasks ---------------------------------------------------------------------------------------
def test_tasks_are_numbers_of_disjoint_customers():
    assert build(5, 2) == build(5, 2)
    train = {build(n).person.code for n in range(300)}
    test = {build(TEST + n).person.code for n in range(300)}
    assert len(train) > 90 and not train & test
    assert {r.family for n in range(300) for r in build(n).requests} == set(FAMILIES)
    assert {len(build(n).requests) for n in range(50)} == {1, 2, 3}
    assert len(build(0, 5).requests) == 5
    for n in range(200):  # nothing can follow a transfer
        assert "transfer" not in [r.family for r in build(n, 4).requests[:-1]]


@pytest.mark.parametrize("user", ["scripted", "stochastic"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_oracle_wins_every_family(family, user):
    env = one(family, user=user)
    for task in (*range(12), *range(TEST, TEST + 4)):
        env.split = "test" if task >= TEST else "train"
        rewards, info = play(env, task)
        assert info["success"] and sum(rewards) == 1.0 and info["score"] == 1.0, (task, info["answer"])
        assert info["answer"] == {"goal": True, "told": True, "violations": (), "families": (family,)}


@pytest.mark.parametrize("horizon", [None, 5])
def test_the_oracle_wins_long_conversations_and_gets_every_term(horizon):
    env = ServiceDeskEnv(horizon=horizon, weights={"match": 1.0, "items": 1.0, "format": 0.0})
    for task in range(40):
        rewards, info = play(env, task)
        assert info["success"] and abs(sum(rewards) - 3.0) < 1e-6, (task, sum(rewards))


def test_the_reference_leads_to_the_goal_and_less_does_not():
    env = ServiceDeskEnv(horizon=2)
    lost = 0
    for task in range(30):
        env.reset(options={"task": task})
        writes = [c for r in build(task, 2).requests for c in r.writes]
        if not writes:
            continue
        skipped = writes[0].text()

        def agent(k, env, skipped=skipped):
            action = env.oracle()
            return DONE if action == skipped else action

        rewards, info = play(env, task, agent)
        assert sum(rewards) == 0.0 and not info["answer"]["goal"]
        lost += 1
    assert lost > 15


def test_golden_conversation():
    env = one("cancel", weights={"items": 1.0})
    obs, info = env.reset(options={"task": 0})
    assert "Identity first" in obs and "- cancel_order(order_id: string, reason: " in obs
    assert [i["id"] for i in info["meta"]["checklist"]] == ["verify", "look-0", "do-0"]
    order = build(0, 1, ("cancel",)).requests[0].order
    assert obs.endswith(f"User: {env.opening}") and order in env.opening
    early = env.step(Call("cancel_order", {"order_id": order, "reason": "found cheaper"}))
    assert "not verified" in early[0] and early[4]["valid_action"] is False and early[1] == 0.0
    who = env.step(ASK)
    person = build(0, 1, ("cancel",)).person
    assert who[0] == f"User: My email is {person.email} and my PIN is {person.pin}."
    assert env.step("All done, goodbye.")[0].startswith("User: That is not settled yet.")
    found = env.step(env.oracle())
    assert json.loads(found[0].partition(": ")[2]) == {"customer_id": f"C{person.code}"}
    assert abs(env.step(env.oracle())[1] - 1 / 3) < 1e-9  # verified
    looked = env.step(env.oracle())
    assert '"status": "pending"' in looked[0] and looked[4]["subgoals"]["look-0"]
    assert "cancelled" in env.step(env.oracle())[0]
    last = env.step(DONE)
    assert last[2] and last[4]["success"] and last[1] == 1.0 and last[0] == "User: Thank you, that was all. Goodbye."


# -- who does not win --------------------------------------------------------------------------------
def test_null_declining_and_talking_agents_earn_nothing():
    agents = {
        "null": lambda k, env: "",
        "declines": lambda k, env: SORRY,
        "talks": lambda k, env: PHRASES[k % len(PHRASES)],
        "tells": lambda k, env: "It is pending, processed, shipped, delivered or cancelled.",
    }
    env = ServiceDeskEnv(weights={"items": 1.0, "match": 1.0})
    for name, agent in agents.items():
        for task in range(12):
            rewards, info = play(env, task, agent)
            assert sum(rewards) == 0.0 and not info["success"], (name, task)


def test_spamming_calls_wins_nothing():
    env = ServiceDeskEnv(candidates=60, max_steps=40)
    env.action_space.seed(0)
    rng = np.random.default_rng(0)
    for task in range(8):
        rewards, _ = play(env, task, lambda k, env: env.action_space.sample())
        assert sum(rewards) == 0.0

    def everything(k, env):  # every candidate at once
        made = [parse(a).calls for a in env._listed()]
        calls = [c for found in made for c in found]
        return [calls[int(i)] for i in rng.permutation(len(calls))[:16]] if k % 3 else PHRASES[k // 3 % len(PHRASES)]

    assert sum(sum(play(env, task, everything)[0]) for task in range(8)) <= 1.0


def test_a_random_agent_wins_rarely():
    env, rng = ServiceDeskEnv(horizon=1, candidates=100, max_steps=30), np.random.default_rng(1)
    wins = 0
    for task in range(40):
        wins += sum(play(env, task, lambda k, env: str(rng.choice(env._listed())))[0])
    assert wins <= 4


KINDS = {"cancel_order": "cancel", "modify_address": "send", "return_item": "return", "exchange_item": "exchange"}


@pytest.mark.parametrize("tool", KINDS)
def test_doing_what_the_policy_forbids_loses_even_where_the_tool_does_it(tool):
    n, request = find(
        lambda r: (
            r.forbidden[0].name == tool and r.order.startswith(f"W{build(0).customer[1]}") and "friend" not in r.said
        )
    )
    env = verified(one("forbidden"), n)
    call = request.forbidden[0]
    task = build(n, 1, ("forbidden",))
    more = {
        "cancel_order": {"reason": "found cheaper"},
        "modify_address": {"address_id": f"A{task.person.code}2"},
        "return_item": {"payment_id": f"card_{task.person.code}1"},
        "exchange_item": {},
    }[tool]
    if tool == "exchange_item":
        old = env.state.one("SELECT variant_id FROM items WHERE id = ?", call.arguments["item_id"])[0]
        more = {"variant_id": old[:-1] + str((int(old[-1]) + 1) % 4)}
    _, _, over, _, info = env.step(Call(call.name, call.arguments | more))
    assert info["tool_calls"][0]["ok"] and not over, info["tool_calls"]
    env.step(env.oracle())
    for _ in range(4):
        *_, over, _, info = env.step(SORRY)
        if over:
            break
    assert over and not info["success"]
    assert info["answer"]["violations"] and not info["answer"]["goal"]


def test_the_customer_insists_on_what_is_forbidden_and_then_accepts():
    n, _ = find(lambda r: True)
    env = verified(one("forbidden"), n)
    env.step(env.oracle())  # looks
    assert "Please make an exception" in env.step(SORRY)[0]
    _, reward, over, _, info = env.step(SORRY)
    assert over and info["success"] and reward == 1.0


def test_a_state_that_is_wrong_or_told_to_anybody_loses():
    n, request = find(lambda r: r.told == "shipped", "status")
    env = verified(one("status"), n)
    env.step(env.oracle())
    _, reward, over, _, info = env.step("Your order is pending.")
    assert over and info["success"] is False and reward == 0.0 and "told wrongly" in info["answer"]["violations"][0]
    env.reset(options={"task": n})
    env.step(Call("get_order", {"order_id": request.order}))
    info = env.step("It is shipped.")[4]
    assert not info["success"] and "before the identity" in info["answer"]["violations"][0]


def test_a_transfer_ends_it_and_wins_only_where_it_is_wanted():
    env = verified(one("return"), 1)
    call = Call("transfer_to_human", {"customer_id": build(1, 1, ("return",)).customer, "reason": "other"})
    _, reward, over, _, info = env.step(call)
    assert over and reward == 0.0 and not info["success"]
    env.reset(options={"task": 1})
    _, _, over, _, info = env.step(call)  # not to dodge: nobody is verified
    assert not over and not info["tool_calls"][0]["ok"]


def test_the_agent_cannot_end_the_conversation():
    env = ServiceDeskEnv(horizon=1, max_steps=60)
    env.reset(options={"task": 2})
    for k in range(10):
        _, _, over, _, _ = env.step("Goodbye. ###STOP###")
        assert not over, k


# -- the contract ------------------------------------------------------------------------------------
@pytest.mark.parametrize("user", ["scripted", "stochastic"])
def test_gymnasiums_checker_has_nothing_to_say(user):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(ServiceDeskEnv(user=user, candidates=20), skip_render_check=True)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"user": "robot"}, "user is 'robot'; allowed: 'scripted'"),
        ({"horizon": 6}, "horizon is 6; allowed: None or a whole number from 1 to 5"),
        ({"horizon": True}, "horizon is True"),
        ({"families": ["cancel", "sing"]}, "a family is 'sing'; allowed: 'cancel'"),
        ({"families": "cancel"}, "families is 'cancel'"),
        ({"families": []}, "families is"),
        ({"families": ["transfer"], "horizon": 2}, "ends the conversation"),
        ({"user": "model"}, "endpoint"),
        ({"endpoint": "http://127.0.0.1:1/v1"}, "settings of user='model'"),
        ({"weights": {"luck": 1.0}}, "a reward term is 'luck'"),
    ],
)
def test_settings_that_are_refused(settings, says):
    with pytest.raises(ValueError, match=r".*") as e:
        ServiceDeskEnv(**settings)
    assert says in str(e.value)


def test_same_seed_same_rollout_whatever_the_hash_seed():
    code = """
import hashlib
from milepost.envs.tools.servicedesk.env import ServiceDeskEnv
h = hashlib.sha256()
env = ServiceDeskEnv(user="stochastic", candidates=50, weights={"items": 1.0})
for seed in (3, None, None):
    out = env.reset(seed=seed)
    while True:
        h.update(repr(out).encode())
        out = env.step(env.oracle())
        if out[2] or out[3]:
            break
print(h.hexdigest())
"""
    outs = [
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": s}
        ).stdout
        for s in ("0", "77")
    ]
    assert outs[0] == outs[1] and len(outs[0]) > 60


def test_replay_from_a_snapshot_is_the_same():
    env = ServiceDeskEnv(user="stochastic", horizon=3, candidates=40, weights={"items": 1.0})
    for task in range(5):
        env.reset(options={"task": task})
        for _ in range(6):
            env.step(env.oracle())
        snap = env.snapshot()
        kept = copy.deepcopy({k: v for k, v in snap.items() if k != "rng"})
        runs, actions = [], None
        for _ in range(2):
            made, steps = [], []
            while True:
                action = env.oracle() if actions is None else actions[len(made)]
                made.append(action)
                steps.append(env.step(action))
                if steps[-1][2] or steps[-1][3]:
                    break
            actions = made
            runs.append(steps)
            env.restore(snap)
        assert repr(runs[0]) == repr(runs[1]) and runs[0][-1][4]["success"]
        assert kept == {k: v for k, v in snap.items() if k != "rng"}


def test_forks_do_not_touch_each_other():
    n, request = find(lambda r: True, "cancel")
    env = verified(one("cancel"), n)
    env.step(env.oracle())
    branch = env.fork()
    wrong = Call("cancel_order", {"order_id": request.order, "reason": "found cheaper"})
    if wrong == request.writes[0]:
        wrong = Call("cancel_order", {"order_id": request.order, "reason": "ordered by mistake"})
    branch.step(Call("modify_address", {"order_id": request.order, "address_id": f"A{build(n).customer[1:]}9"}))
    branch.step(wrong)
    assert env.state.one("SELECT status FROM orders WHERE id = ?", request.order)[0] == "pending"
    assert branch.state.one("SELECT status FROM orders WHERE id = ?", request.order)[0] == "cancelled"
    env.step(env.oracle())
    assert env.step(env.oracle())[4]["success"]
    for _ in range(30):
        *_, over, _, info = branch.step(DONE)
        if over:
            break
    assert over and not info["success"]


def test_infos_share_nothing_mutable():
    env = ServiceDeskEnv(horizon=1, candidates=30)
    infos = [env.reset(options={"task": 1})[1]]
    while True:
        out = env.step(env.oracle())
        infos.append(out[4])
        if out[2]:
            break
    seen = {}

    def walk(x, owner):
        if isinstance(x, (dict, list, set)):
            assert seen.setdefault(id(x), owner) == owner
            for v in x.values() if isinstance(x, dict) else x:
                walk(v, owner)
        elif isinstance(x, tuple):
            for v in x:
                walk(v, owner)

    for k, info in enumerate(infos):
        walk(info, k)


# -- wild actions ------------------------------------------------------------------------------------
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["'; DROP TABLE orders; --", "W1000000", "🙂"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
keys = st.sampled_from(
    ["order_id", "customer_id", "pin", "reason", "item_id", "variant_id", "payment_id", "email", "text"]
) | st.text(max_size=8)
wild_calls = st.builds(
    lambda name, arguments: {"name": name, "arguments": arguments},
    st.sampled_from([*BOX, "drop_table", "", "get_order'"]) | st.text(max_size=10),
    st.dictionaries(keys, values, max_size=4) | values,
)
wild = st.one_of(
    wild_calls,
    st.lists(wild_calls, max_size=3),
    st.text(max_size=60),
    wild_calls.map(lambda c: json.dumps(c)[:-1]),
    st.just("[" * 5000),
    st.just(json.dumps({"name": "get_order", "arguments": {"order_id": "W" * 10**7}})),
    st.builds(lambda v: {"name": "get_order", "arguments": {"order_id": v}}, st.just("x" * 10**7)),
)
_ENV = []


@given(actions=st.lists(wild, min_size=1, max_size=4))
def test_wild_actions_never_raise_and_leave_the_state_whole(actions):
    if not _ENV:
        _ENV.append(ServiceDeskEnv(horizon=1, families=["cancel"], max_steps=100))
    env = _ENV[0]
    verified(env, 4)
    before = env.state.one("SELECT count(*), group_concat(status) FROM orders")
    for action in actions:
        try:
            out = env.step(action)
        except TypeError as e:  # what is no action at all
            assert "an action is" in str(e)
            continue
        assert out[1] == 0.0 and not out[2] and len(out[0]) <= env.max_length
    assert env.state.one("SELECT count(*), group_concat(status) FROM orders") == before
    assert env.state.one("PRAGMA integrity_check")[0] == "ok"
    while True:
        out = env.step(env.oracle())
        if out[2]:
            break
    assert out[4]["success"]


@pytest.mark.parametrize("horizon", [1, 3])
@pytest.mark.parametrize("emit", ["step", "turn", "episode"])
def test_the_checklist_pays_the_oracle_all_of_it(horizon, emit):
    env = shape(ServiceDeskEnv(horizon=horizon), [Checklist(emit=emit)])
    for seed in range(4):
        env.reset(seed=seed)
        total, over = 0.0, False
        while not over:
            _, reward, over, *_, info = env.step(env.unwrapped.oracle())
            total += reward
        assert total == pytest.approx(2.0) and info["turn"] == horizon - 1
