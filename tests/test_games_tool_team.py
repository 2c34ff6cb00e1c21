"""A planner and workers on one service desk, or on one repository."""

import copy
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("pettingzoo", reason="the extra multiagent is not installed")
pytest.importorskip("pydantic", reason="the extra tools is not installed")
from milepost.envs.multiagent.checks import told
from milepost.envs.multiagent.tool_team_v0 import parallel_env, raw_env

pytestmark = [pytest.mark.multiagent, pytest.mark.tools]
CANCEL = {"horizon": 1, "families": ["cancel"]}
# task 0 of CANCEL: customer C100076 wants order W1000761 cancelled, "ordered by mistake"; PIN 2976
ASK = "say May I have your email address and your PIN to verify your identity?"
FIND = '{"name": "find_customer_by_email", "arguments": {"email": "hugo.dalton76@mail.example"}}'
VERIFY = '{"name": "verify_customer", "arguments": {"customer_id": "C100076", "pin": "2976"}}'
LOOK = '{"name": "get_order", "arguments": {"order_id": "W1000761"}}'
WRITE = '{"name": "cancel_order", "arguments": {"order_id": "W1000761", "reason": "ordered by mistake"}}'


def desk(task=0, **settings):
    env = parallel_env(inner=CANCEL, **settings)
    _, infos = env.reset(seed=0, options={"task": task})
    return env, infos


def do(env, planner="wait", worker="wait"):
    return env.step({"planner_0": planner, "worker_0": worker})


def finish(env, policy="oracle"):
    total = dict.fromkeys(env.possible_agents, 0.0)
    while env.agents:
        *_, infos = step = env.step({a: env.script(a, policy) for a in env.agents})
        total = {a: total[a] + step[1].get(a, 0.0) for a in total}
    return total, infos


def test_a_copy_is_a_game_of_its_own():
    env, _ = desk()
    do(env, FIND)
    do(env, worker=VERIFY)
    twin = copy.deepcopy(env)
    do(env, LOOK, WRITE)
    assert env.game.world.facts["progress"] == pytest.approx(1.0) and twin.game.world.facts["progress"] < 0.5
    env.close()
    total, infos = finish(twin)  # all that is left, on a database of its own
    assert infos["planner_0"]["success"] and set(total.values()) == {1.0}
    twin.reset(seed=0, options={"task": 1})
    assert finish(twin)[1]["planner_0"]["success"]


def test_a_game_with_a_sandbox_is_not_copied():
    env = parallel_env(desk="repair", inner={"sandbox": "local"})
    with pytest.raises(TypeError, match=r"holds a sandbox, which cannot be copied: use snapshot\(\), and restore\(\)"):
        copy.deepcopy(env)
    env.close()


def test_a_game_by_hand():
    # the checklist has three items, each 1/3: verify, look-0, do-0; the reference has four calls: find, verify, look, write
    env, _ = desk(weights={"team_items": 1.0, "team_match": 0.5, "valid_call": 0.1})
    do(env, ASK)
    _, paid, *_ = do(env, FIND)
    assert paid == pytest.approx(
        {"planner_0": 0.5 / 4 + 0.1, "worker_0": 0.5 / 4}
    )  # one of four calls; its own is valid
    do(env, f"tell worker_0 {VERIFY}")
    obs, paid, *_ = do(env, worker=VERIFY)
    assert paid == pytest.approx({"planner_0": 1 / 3 + 0.125, "worker_0": 1 / 3 + 0.125 + 0.1})
    assert "identity verified" in obs["worker_0"] and "identity verified" not in obs["planner_0"]
    obs, paid, *_, infos = do(env, worker="report")
    assert paid == {"planner_0": 0.0, "worker_0": 0.0} and infos["planner_0"]["progress"] == pytest.approx(1 / 3)
    assert obs["planner_0"].splitlines()[2] == f"worker_0 reports: {VERIFY} -> identity verified"
    do(env, LOOK, WRITE)  # the worker may guess; look and write count, in this order
    assert env.game.world.facts["progress"] == pytest.approx(1.0)
    _, paid, terminated, _, infos = do(env, "say That is done.")
    assert paid == {"planner_0": 1.0, "worker_0": 1.0} and all(terminated.values()) and infos["worker_0"]["success"]


def test_only_workers_write_and_only_the_planner_talks():
    env, _ = desk()
    for planner, why in (
        (VERIFY, "may not call verify_customer"),
        ('{"name": "no_tool", "arguments": {}}', "may not call no_tool"),
        (f"[{LOOK}, {WRITE}]", "may not call cancel_order"),
        ("tell planner_0 hello", "tell one of worker_0"),
        ("tell worker_1 hello", "tell one of worker_0"),
        ("tell worker_0", "tell one of worker_0"),
        ("say", "say what"),
        ("report", "nothing new to report"),
        ("hello", "that is no tool call"),
    ):
        before = told(env.game.world.talk)
        obs, *_, infos = do(env, planner)
        assert not infos["planner_0"]["valid_action"] and why in infos["planner_0"]["message"], planner
        assert why in obs["planner_0"] and told(env.game.world.talk) == before
    *_, infos = do(env, worker="say Hello.")
    assert "no customer for you" in infos["worker_0"]["message"]
    *_, infos = do(env, f"say {VERIFY}")  # words, whatever they look like
    assert infos["planner_0"]["valid_action"] and not env.game.desk.env._marks["verify"]
    *_, infos = do(env, {"tell": {"worker_0": "look"}}, {"name": "get_order", "arguments": {"order_id": "W1000761"}})
    assert infos["planner_0"]["valid_action"] and infos["worker_0"]["valid_action"]
    for may, fine in (("none", False), ("all", True)):
        other, _ = desk(planner=may)
        assert do(other, LOOK)[-1]["planner_0"]["valid_action"] is fine


def test_a_worker_knows_what_it_was_told_and_nothing_else():
    first, infos = desk(0)
    other, others = desk(1)
    one, two = first.game.look("worker_0"), other.game.look("worker_0")
    assert one == two and infos["worker_0"]["admissible_actions"] == others["worker_0"]["admissible_actions"] == (
        "wait",
    )
    assert first.game.look("planner_0") != other.game.look("planner_0")
    for env in (first, other):  # customers say other things, and workers are told the same
        do(env, "tell worker_0 cancel W1000761", "wait")
        do(env, ASK)
    assert first.game.look("worker_0") == other.game.look("worker_0")
    assert first.game.choices("worker_0") == other.game.choices("worker_0") != ("wait",)
    encoded = [e.game._measures("worker_0", e.game.choices("worker_0")) for e in (first, other)]
    assert np.array_equal(*encoded) and "PIN" not in first.game.look("worker_0").partition("Tools:")[0]


def test_a_call_that_was_told_is_a_row():
    env, _ = desk()
    *_, infos = do(env, f"tell worker_0 please call {VERIFY}")
    assert VERIFY in infos["worker_0"]["admissible_actions"]
    row = env.game._measures("worker_0", [VERIFY])[0]
    assert row[-4:].tolist() == [0.0, 0.0, 1.0, 0.0]  # says, tells, was told, reports
    *_, infos = do(env, worker=VERIFY)
    assert VERIFY not in infos["worker_0"]["admissible_actions"] and "report" in infos["worker_0"]["admissible_actions"]


def test_turns_are_seen_at_once_where_agents_take_turns():
    env = raw_env(inner=CANCEL)
    env.reset(seed=0, options={"task": 0})
    env.step(f"tell worker_0 {VERIFY}")
    assert env.agent_selection == "worker_0" and VERIFY in env.last()[-1]["admissible_actions"]


@pytest.mark.parametrize("settings", [{}, {"workers": 3}, {"planner": "none"}, {"planner": "all"}, {"face": "encoded"}])
def test_the_oracle_wins(settings):
    env = parallel_env(**settings)
    for seed in range(3):
        env.reset(seed=seed)
        total, infos = finish(env)
        assert set(total.values()) == {1.0} and infos["planner_0"]["success"]


def test_all_that_the_oracle_can_be_paid():
    terms = ("team_outcome", "team_match", "team_items")
    for term in terms:
        env, _ = desk(weights=dict.fromkeys(terms, 0.0) | {term: 1.0})
        assert finish(env)[0] == pytest.approx(dict.fromkeys(env.possible_agents, 1.0))


def test_calling_for_the_sake_of_it_pays_only_where_it_is_asked_for():
    env, _ = desk(max_cycles=6)
    total, infos = finish(env, "collusion")
    assert set(total.values()) == {0.0} and not infos["planner_0"]["success"]
    env, _ = desk(max_cycles=6, weights={"valid_call": 0.1})
    assert finish(env, "collusion")[0] == pytest.approx({"planner_0": 0.6, "worker_0": 0.6})  # as the page says


def test_nobody_does_anything():
    env, _ = desk(max_cycles=4)
    while env.agents:
        _, paid, terminated, truncated, infos = do(env)
    assert env.game.cycle == 4 and not any(paid.values()) and all(truncated.values()) and not any(terminated.values())
    assert not infos["planner_0"]["success"]


_SHARED = desk(max_cycles=10**6)[0]
_ACTIONS = st.one_of(
    st.text(max_size=60),
    st.sampled_from(
        [
            VERIFY[:-1],
            "tell worker_0 \ud800",
            '{"tell": 3}',
            '{"tell": {}}',
            "{" * 5000,
            "[" * 9000,
            "say " + "x" * 10**5,
        ]
    ),
    st.sampled_from(["tell worker_0 ", "tell planner_0 ", "say ", "report "]).flatmap(
        lambda v: st.text().map(v.__add__)
    ),
    st.dictionaries(
        st.sampled_from(["say", "tell", "report", "name"]), st.text(max_size=5) | st.integers(), max_size=2
    ),
)


@given(_ACTIONS, _ACTIONS)
def test_whatever_is_said_is_answered(planner, worker):
    env = _SHARED
    if not env.agents:
        env.reset(seed=1)
    obs, *_, infos = do(env, planner, worker)
    assert all(obs[a] in env.observation_space(a) for a in obs) and told(infos)


def test_very_long_words_and_blanks():
    env, _ = desk()
    *_, infos = do(env, "tell worker_0 " + "word " * 2 * 10**6)
    assert infos["planner_0"]["valid_action"] and len(env.game.world.members["worker_0"].heard[-1]) <= 4020
    assert env.game.read("  a\n    b ") == "a\n    b"  # code keeps its blanks


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"desk": "sevice"}, r"desk is 'sevice'; allowed: 'service', 'repair' .did you mean 'service'"),
        ({"workers": 4}, "workers is 4; allowed: a whole number from 1 to 3"),
        ({"planner": "read"}, r"planner is 'read'; allowed: 'none', 'reads', 'all' .did you mean 'reads'"),
        ({"inner": {"max_steps": 3}}, "a setting of inner is 'max_steps'"),
        ({"inner": 3}, "inner is 3; allowed: None or settings"),
        ({"inner": {"user": "model"}}, "user is 'model'; allowed: 'scripted', 'stochastic'"),
        ({"inner": {"horizon": 9}}, "horizon is 9"),
        ({"candidates": -1}, "candidates is -1"),
        ({"desk": "repair", "inner": {"user": "scripted"}}, "a setting of inner is 'user'; allowed: 'path', 'bugs'"),
        ({"wrkers": 2}, r"a setting of ToolTeam is 'wrkers'.*did you mean 'workers'"),
    ],
)
def test_wrong_settings_are_refused_by_name(settings, said):
    with pytest.raises(ValueError, match=said):
        parallel_env(**settings)


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydantic", None)
    monkeypatch.delitem(sys.modules, "milepost.envs.tools.servicedesk.tools", raising=False)
    with pytest.raises(ModuleNotFoundError, match=r"desk='service' needs pydantic: pip install 'milepost\[tools\]'"):
        parallel_env()


def test_an_inner_failure_is_nobodys_fault(monkeypatch):
    env, _ = desk()

    def lost(action):
        return "", 0.0, False, True, {"invalid": True, "infra_error": "the sandbox is gone"}

    monkeypatch.setattr(env.game.desk.env, "step", lost)
    _, paid, _, truncated, infos = do(env, LOOK, LOOK)
    assert not any(paid.values()) and all(truncated.values()) and not env.agents
    assert all(i["invalid"] and i["infra_error"] == "the sandbox is gone" for i in infos.values())


def test_a_snapshot_goes_to_another_game():
    env, _ = desk()
    do(env, ASK)
    do(env, FIND)
    saved = env.snapshot()
    first = finish(env)
    other = parallel_env(inner=CANCEL)
    other.restore(saved)
    assert told(finish(other)) == told(first) and first[1]["planner_0"]["success"]


@pytest.mark.swe
def test_a_repository():
    env = parallel_env(desk="repair", inner={"bugs": 1, "listed": 20}, face="text", workers=2, max_cycles=12)
    obs, infos = env.reset(seed=0)
    problem = env.game.desk.opening
    assert problem in obs["planner_0"] and problem not in obs["worker_0"] and "run_tests" in obs["worker_0"]
    assert infos["planner_0"]["meta"]["desk"] == "repair"
    for wrong, why in (("say hello", "no customer"), ('{"name": "submit", "arguments": {}}', "may not call submit")):
        *_, infos = env.step({"planner_0": wrong, "worker_0": "wait", "worker_1": "wait"})
        assert why in infos["planner_0"]["message"]
    saved = env.snapshot()
    told_first = env.script("planner_0")
    total, infos = finish(env)
    assert set(total.values()) == {1.0} and infos["worker_1"]["success"]
    env.restore(saved)
    assert env.script("planner_0") == told_first and env.agents == env.possible_agents
    env.close()


def test_a_sandbox_that_does_not_exist_is_one_error():
    env = parallel_env(desk="repair", inner={"sandbox": "nowhere"})
    with pytest.raises(ValueError, match="sandbox provider is 'nowhere'; allowed: 'local', 'docker'"):
        env.reset(seed=0)


def test_half_a_character_that_json_writes_is_no_part_of_what_is_seen():
    env = parallel_env()
    env.reset(seed=0)
    call = '{"name": "get_customer", "arguments": {"customer_id": "\\ud800"}}'
    for does in ("wait", call, "report"):
        obs, *_, infos = env.step(
            {"planner_0": f"tell worker_0 {call}" if does == "wait" else "wait", "worker_0": does}
        )
        for a, seen in obs.items():
            assert env.observation_space(a).contains(seen)
            assert all(c.encode() for c in infos[a]["admissible_actions"])
        assert ('- {"name": "get_customer", "arguments": {"customer_id": "?"}}' in obs["worker_0"]) == (does == "wait")
