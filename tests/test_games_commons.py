"""``commons``: the game by hand, what agents see and say, the audit and its hosts (``commons.py``)."""

import copy
import importlib.util
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("pettingzoo", reason="the extra multiagent is not installed")
from milepost import shape
from milepost.envs.multiagent import commons_v0
from milepost.envs.multiagent.commons_core import STAY
from milepost.envs.multiagent.commons_plans import reference
from milepost.wrappers.collect.counterfactual import Counterfactual
from milepost.wrappers.step.difference import DifferenceReward
from milepost.wrappers.step.inequity import InequityAversion

_spec = importlib.util.spec_from_file_location("orchard", Path(__file__).with_name("orchard.py"))
orchard = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(orchard)
SIZE, placed = orchard.SIZE, orchard.placed
pytestmark = pytest.mark.multiagent


def told(state):
    return {k: np.asarray(v).tolist() for k, v in vars(state).items()}


def test_a_game_by_hand():
    env = commons_v0.parallel_env(players=2, size=SIZE, max_cycles=4)
    game = placed(env, [(3, 3), (3, 5)], [(2, 3), (2, 4)])
    look = game.look("picker_0").split("\n")
    assert look[:6] == [
        "Nearest apple: up 1 (2 in sight).",
        "Around you: up apple, down free, left free, right free.",
        "You are picker_0 at row 4, column 4 of 8 by 8, facing up.",
        "Cycle 1 of 4. You have 0 apples.",
        "To tag ahead: nobody.",
        "In sight: picker_1 right 2.",
    ]
    assert look[8:-1] == [".......", ".......", "...AA..", "...Y.P.", ".......", ".......", "......."]
    assert game.choices("picker_0") == ("up", "down", "left", "right", "wait")
    # picker_0 takes the apple above, picker_1 walks to it; the shared square (3, 4) is free
    _, rewards, *_, infos = env.step({"picker_0": {"move": "up"}, "picker_1": "Move  LEFT"})
    assert rewards == {"picker_0": 1.0, "picker_1": 0.0} and infos["picker_0"]["apples"] == 1
    assert infos["picker_0"]["score"] == 0.5 and infos["picker_1"]["score"] == 0.0  # the reference is 2 each
    assert infos["picker_0"]["progress"] == 0.25 and infos["picker_0"]["subgoals"]["a quarter of the reference harvest"]
    # 1 of 4: now picker_1 is at (3, 4), picker_0 at (2, 3). picker_1 goes left to (3, 3), below picker_0, and faces left
    env.step({"picker_0": "stay", "picker_1": "left"})
    assert "To tag ahead: nobody." in game.look("picker_1")
    env.step({"picker_0": "wait", "picker_1": "up"})  # blocked, but it faces up now
    assert "To tag ahead: picker_0." in game.look("picker_1") and "tag" in game.choices("picker_1")
    _, rewards, terminated, truncated, infos = env.step({"picker_0": "right", "picker_1": {"action": "tag"}})
    assert rewards == {"picker_0": 0.0, "picker_1": -0.1} and infos["picker_1"]["reward_terms"]["tag"] == -0.1
    assert infos["picker_0"]["message"] == "you were tagged" and infos["picker_0"]["admissible_actions"] == ("wait",)
    assert game.look("picker_0").startswith("You are off the map and come back in 5 cycles.")
    assert all(truncated.values()) and not any(terminated.values()) and not infos["picker_0"]["success"]
    assert infos["picker_0"]["efficiency"] == 0.25 and infos["picker_0"]["equality"] == 0.5


def test_what_cannot_be_done():
    env = commons_v0.parallel_env(players=2, size=SIZE)
    game = placed(env, [(0, 3), (7, 5)], [(2, 3)])
    for wrong, said in (
        ("up", "the map ends up of you"),
        ("clean", "say up, down, left, right, tag or wait"),
        ("fly", "say up"),
        ('{"move": "up"', "say up"),
        ('{"move": {"to": 1}}', "say up"),
    ):
        before = told(game.world.state)
        game.act("picker_0", wrong)
        assert not game.info("picker_0")["valid_action"] and game.world.told[0].startswith(said)
        assert f"Last: {game.world.told[0]}." in game.look("picker_0") and told(game.world.state) == before
    game.act("picker_0", "down")
    assert game.info("picker_0")["valid_action"] and "Last:" not in game.look("picker_0")
    calm = commons_v0.parallel_env(players=2, size=SIZE, timeout=0)
    placed(calm, [(0, 3), (7, 5)], [])
    assert not calm.game._act("picker_0", "tag") and "tag" not in calm.game.look("picker_0")
    *_, infos = calm.step({"picker_0": "tag", "picker_1": "wait"})
    assert not infos["picker_0"]["valid_action"] and infos["picker_1"]["valid_action"]


@pytest.mark.parametrize("kind", ["harvest", "cleanup"])
def test_what_is_out_of_sight_changes_nothing(kind):
    env = commons_v0.parallel_env(kind=kind, face="encoded", size=20)
    env.reset(seed=4, options={"task": 8})
    game, s = env.game, env.game.world.state
    y, x = game._at(0)
    far = np.ones((20, 20), bool)
    far[max(0, y - 4) : y + 3, max(0, x - 4) : x + 3] = False  # rows and columns count from 1, the view is 3
    assert far.any() and not far.all()

    def known():
        game.world.cache, game._seen = {}, {}
        rows = game.choices("picker_0")
        shown = env.face.show("picker_0", {})[0]
        return game.look("picker_0"), rows, *(x.tobytes() for x in shown.values())

    before = known()
    for field in (s.apples, s.waste):
        core = game.core.middle(field)
        core[0] ^= far & np.random.default_rng(0).integers(0, 2, far.shape).astype(bool)
    s.site[:], s.river[:] = False, False
    s.harvest[0, 1:] += 9  # what others have is not seen either
    game.world.reference = (99,) * 4
    assert known() == before
    game.core.middle(s.apples)[0, y - 1, x - 1 + (1 if x < 20 else -1)] ^= True
    assert known() != before


def test_rows_say_what_moves_do():
    env = commons_v0.parallel_env(players=2, size=SIZE, face="encoded")
    game = placed(env, [(3, 3), (3, 5)], [(2, 3), (2, 2), (1, 3)])
    rows = dict(zip(game.choices("picker_0"), game._measures("picker_0", game.choices("picker_0")).tolist()))
    # an apple, others within 2 squares of it (2), nobody, the nearest comes 1 closer, no waste, no tool
    assert rows["up"] == pytest.approx([1, 2 / 12, 0, 1, 0, 0])
    assert rows["down"][3] == -1 and rows["wait"][3] == 0 and rows["right"][3] == -1
    env.step({"picker_0": env.face.action_for("picker_0", "wait"), "picker_1": env.face.action_for("picker_1", "left")})
    right = game._measures("picker_0", ("right",))[0]
    assert right[2] == 1  # picker_1 is there
    gauges = game._gauges("picker_0")
    assert gauges.shape == (game.gauges,) and gauges.min() >= -1 and gauges.max() <= 1
    dirty = commons_v0.parallel_env(kind="cleanup", face="encoded")
    dirty.reset(seed=0)
    state, core = dirty.game.world.state, dirty.game.core
    wet = np.flatnonzero(state.waste[0])[0]
    core.step(state, [[STAY] * 4])
    state.who[0, state.pos[0, 0]], state.pos[0, 0], state.who[0, wet] = -1, wet, 0
    dirty.game.world.cache, dirty.game._seen = {}, {}
    here = int(core.middle(state.waste).sum())
    n = dirty.game._dirt(0)
    assert n >= 1 and "clean" in dirty.game.choices("picker_0")
    assert dirty.game._measures("picker_0", ("clean",))[0].tolist() == pytest.approx(
        [0, dirty.game._measures("picker_0", ("wait",))[0][1], 0, 0, n / 9, 1]
    )
    assert f"Waste to clean here: {n}." in dirty.game.look("picker_0") and here >= n


def play(env, policy, task):
    _, infos = env.reset(seed=0, options={"task": task})
    paid = dict.fromkeys(env.agents, 0.0)
    while env.agents:
        acts = {a: "wait" if policy == "null" else env.script(a, policy) for a in env.agents}
        _, rewards, _, _, infos = env.step(acts)
        paid = {a: paid[a] + r for a, r in rewards.items()}
    return paid, infos


@pytest.mark.parametrize("kind", ["harvest", "cleanup"])
def test_the_audit_by_hand(kind):
    env = commons_v0.parallel_env(kind=kind)
    for task in range(6):
        apples_of = reference(env.game.rules, 50, task)
        for policy in ("oracle", "collusion"):
            paid, infos = play(env, policy, task)
            cleaned = {a: -i["reward_terms"]["clean"] for a, i in infos.items()}
            assert [i["apples"] for i in infos.values()] == list(apples_of) and cleaned
            assert all(i["success"] and i["progress"] == 1.0 for i in infos.values())
            assert [i["score"] for i in infos.values()] == [min(1, a) for a in apples_of]
            assert kind == "cleanup" or list(paid.values()) == list(map(float, apples_of))
        _, infos = play(env, "greedy", task)
        assert not infos["picker_0"]["success"]  # 6 of 1,000 tasks of harvest are rich enough for it
        paid, infos = play(env, "null", task)
        assert set(paid.values()) == {0.0} and not infos["picker_0"]["success"] and infos["picker_0"]["score"] == 0.0


def test_restored_games_share_nothing():
    env = commons_v0.parallel_env()
    env.reset(seed=0)
    for _ in range(5):
        env.step({a: env.script(a) for a in env.agents})
    saved = env.snapshot()
    kept = told(saved["world"].state)
    first = play_on(env)
    assert told(saved["world"].state) == kept
    env.restore(saved)
    assert play_on(env) == first and told(saved["world"].state) == kept
    assert saved["world"].state.site is copy.deepcopy(saved["world"]).state.site  # what never changes is not copied


def play_on(env):
    out = []
    while env.agents:
        out.append(env.step({a: env.script(a, "greedy") for a in env.agents})[1])
    return out


def test_what_an_agent_adds_and_what_it_envies():
    # picker_0 eats, picker_1 waits: without picker_0 the team would have had nothing
    env = commons_v0.parallel_env(players=2, size=SIZE)
    both = {"picker_0": "up", "picker_1": "wait"}
    hosts = shape(Counterfactual(env, "wait"), [DifferenceReward()])
    hosts.reset(seed=0)
    placed(env, [(3, 3), (3, 5)], [(2, 3), (2, 4)])
    _, rewards, *_ = hosts.step(both)
    assert rewards == {"picker_0": 1.0, "picker_1": 0.0}
    # Hughes et al.: e = (1, 0); picker_0 pays beta * 1, picker_1 alpha * 1
    env = commons_v0.parallel_env(players=2, size=SIZE)
    hosts = shape(env, [InequityAversion(alpha=5.0, beta=0.05)])
    hosts.reset(seed=0)
    placed(env, [(3, 3), (3, 5)], [(2, 3), (2, 4)])
    _, rewards, *_ = hosts.step(both)
    assert rewards == pytest.approx({"picker_0": 0.95, "picker_1": -5.0})


# -- hostile words -------------------------------------------------------------------------------
ENV = commons_v0.parallel_env(max_cycles=1000, size=SIZE)


JSONS = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=8),
    lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=8), x, max_size=3),
    max_leaves=5,
)


OBJECTS = st.dictionaries(st.sampled_from(["move", "action", "", "tag"]), JSONS, max_size=2)


@settings(max_examples=40)
@given(st.lists(st.text(max_size=40) | OBJECTS, min_size=4, max_size=4))
def test_any_words_are_answered(actions):
    if not ENV.agents:
        ENV.reset(seed=0)
    _, rewards, *_, infos = ENV.step(dict(zip(ENV.possible_agents, actions)))
    s = ENV.game.world.state
    assert (s.pos >= 0).all() and all(np.isfinite(r) for r in rewards.values())
    assert all(infos[a]["admissible_actions"][-1] == "wait" for a in rewards)


def test_ten_megabytes_and_deep_json():
    ENV.reset(seed=0)
    long, deep = "up " * 3_500_000, '{"move":' * 5000
    *_, infos = ENV.step({"picker_0": long, "picker_1": deep, "picker_2": "\u202eup\x00", "picker_3": "[1, 2]"})
    assert not any(i["valid_action"] for i in infos.values())
    assert all(len(i["messages"][0]["content"]) <= 8192 for i in infos.values())
