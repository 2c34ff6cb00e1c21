"""The face of rows for agents without words: what is offered, by what it is described, and that it is the conversation's."""

import copy
import json
import warnings
from typing import Annotated

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

pytest.importorskip("pydantic", reason="the extra tools is not installed")

from pydantic import Field

from milepost.baselines.oracle_agent import OracleAgent
from milepost.envs.tools.base import ToolEnv
from milepost.envs.tools.calls import Call
from milepost.envs.tools.face import BESIDE, OWN, PHRASES, STATE, TOOLS, WIDTH, CallRows
from milepost.envs.tools.servicedesk.env import ServiceDeskEnv
from milepost.envs.tools.tool import Tool, Toolbox, ToolFailed

pytestmark = pytest.mark.tools
Id = Annotated[str, Field(pattern=r"^X\d+$")]
Part = Annotated[str, Field(pattern=r"^W\d+$")]
ITEMS = {"W1": "red lamp", "W2": "blue chair", "W3": "green chair"}


def look(state, *, order_id: Id):
    """Lists what is in an order."""
    if order_id != "X9":
        raise ToolFailed("no such order")
    return [{"item_id": i, "what": what, "price": 3.5} for i, what in ITEMS.items()]


def drop(state, *, item_id: Part):
    """Takes an item out."""
    return "dropped"


class Toy(ToolEnv):
    """The blue chair is to be taken out of the order X9."""

    name = "toy"

    def _open(self, task):
        self.tools = Toolbox([Tool.of(look, writes=False), Tool.of(drop)])
        self.opening = "Please drop the blue chair from X9, not from X8."

    def _reply(self, words):
        return "Please go on.", words == "Done."

    def _won(self):
        return "drop" + json.dumps({"item_id": "W2"}) in self._known

    def _trace(self):
        return Call("look", {"order_id": "X9"}), Call("drop", {"item_id": "W2"})

    def _remaining(self):
        return [c for c in self._trace() if self._open_calls[self._key(c)]] or ["Done."]

    def _phrases(self):
        return ("Wait.", "Done.")


def toy(**settings):
    return CallRows(Toy(candidates=50), **settings)


def row(env, obs, choice):
    return obs["actions"][env.index_of(choice)]


# -- what is offered ---------------------------------------------------------------------------------
def test_rows_are_calls_and_phrases_of_the_conversation():
    env = toy()
    obs, info = env.reset(seed=0)
    assert obs["actions"].shape == (64, WIDTH) and obs["observation"].shape == (STATE,)
    look8, look9 = (Call("look", {"order_id": i}).text() for i in ("X8", "X9"))
    assert {"Wait.", "Done.", look8, look9} <= set(info["admissible_actions"])
    assert (
        obs["action_mask"].sum() == len(info["admissible_actions"])
        and not obs["actions"][len(info["admissible_actions"]) :].any()
    )
    assert row(env, obs, "Wait.")[TOOLS] == 1.0 and row(env, obs, "Done.")[TOOLS + 1] == 1.0
    assert row(env, obs, look9)[1] == 1.0  # the second tool by name
    obs, _, _, _, info = env.step(env.index_of(look8))
    assert not info["tool_calls"][0]["ok"] and look8 not in info["admissible_actions"], "it failed and nothing is new"
    obs, _, _, _, info = env.step(env.index_of(look9))
    assert look9 not in info["admissible_actions"], "it was fine"
    assert look8 in info["admissible_actions"], "something is new"


def test_what_is_meant_comes_first():
    best = Call("drop", {"item_id": "W2"}).text()

    def drops(per_tool, **settings):
        env = toy(per_tool=per_tool, **settings)
        env.reset(seed=0)
        obs, _, _, _, info = env.step(env.index_of(Call("look", {"order_id": "X9"}).text()))
        return env, obs, [c for c in info["admissible_actions"] if '"drop"' in c]

    assert drops(2)[2] == [best], "the others are far less likely meant"
    env, obs, found = drops(2, doubt=None)
    assert len(found) == 2 and len(drops(3, doubt=9.0)[2]) == 3
    with pytest.raises(ValueError, match="doubt is -1"):
        toy(doubt=-1)
    other = row(env, obs, Call("drop", {"item_id": "W3"}).text())
    assert row(env, obs, best)[BESIDE - OWN] == 1.0 and other[BESIDE - OWN] == 0.5  # blue chair, green chair
    assert row(env, obs, best)[-1] == 1.0 and other[-1] == 0.5 and other[BESIDE - OWN + 1] == 0.5


def test_the_state_says_what_was_done():
    env = toy()
    obs, _ = env.reset(seed=0)
    assert obs["observation"][0] == 0.0 and obs["observation"][4] == np.float32(0.1)
    obs = env.step(env.index_of(Call("look", {"order_id": "X8"}).text()))[0]
    assert obs["observation"][0] == 1.0 and obs["observation"][1] == 0.0 and obs["observation"][8 + 1] == -1.0
    obs = env.step(env.index_of(Call("look", {"order_id": "X9"}).text()))[0]
    assert obs["observation"][1] == 1.0 and obs["observation"][2] == 0.5 and obs["observation"][8 + 1] == 1.0
    obs = env.step(env.index_of("Wait."))[0]
    assert obs["observation"][8 + TOOLS] == 1.0 and obs["observation"][8 + TOOLS + 1] == 0.0
    assert row(env, obs, "Wait.")[TOOLS + PHRASES + 1] == 1.0, "it was said before"


def test_an_index_without_a_row_says_nothing():
    env = toy()
    env.reset(seed=0)
    obs, reward, over, _, info = env.step(63)
    assert reward == 0.0 and not over and info["tool_calls"] == () and obs in env.observation_space
    with pytest.raises(TypeError, match="index of a row"):
        env.step("Done.")


def test_the_oracle_of_the_toy_wins_through_the_face():
    env = toy()
    agent = OracleAgent(env)
    obs, info = env.reset(seed=0)
    for _ in range(3):
        obs, reward, over, _, info = env.step(agent.act(obs, info))
    assert over and reward == 1.0 and not obs["action_mask"].any() and not obs["actions"].any()


# -- on the service desk -----------------------------------------------------------------------------
@pytest.fixture(scope="module")
def desk():
    return CallRows(ServiceDeskEnv(horizon=1, candidates=300, max_steps=30), rows=48, per_tool=2)


def test_gymnasiums_checker_has_nothing_to_say(desk):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*is different from the unwrapped version")
        check_env(desk, skip_render_check=True)


@pytest.mark.parametrize("horizon", [1, 3])
def test_the_oracle_finds_its_actions_among_the_rows(horizon):
    desk = CallRows(ServiceDeskEnv(horizon=horizon, candidates=300), rows=48, per_tool=2)
    for task in range(30):
        desk.reset(options={"task": task})
        while True:
            obs, reward, over, cut, _ = desk.step(desk.index_of(desk.oracle()))
            assert obs in desk.observation_space
            if over or cut:
                break
        assert over and reward == 1.0


class Bare(ServiceDeskEnv):
    """Without anything that knows the answer."""

    def _trace(self):
        return ()

    def _remaining(self):
        return []

    def _items(self):
        return ()

    def _checks(self):
        return {}


def test_rows_and_masks_do_not_know_the_reference(desk):
    bare = CallRows(Bare(horizon=1, candidates=300, max_steps=30), rows=48, per_tool=2)
    rng = np.random.default_rng(0)
    for task in range(6):
        a, b = desk.reset(options={"task": task}), bare.reset(options={"task": task})
        while True:
            assert all(np.array_equal(a[0][k], b[0][k]) for k in a[0])
            assert a[-1]["admissible_actions"] == b[-1]["admissible_actions"]
            i = int(rng.choice(np.flatnonzero(a[0]["action_mask"])))
            a, b = desk.step(i), bare.step(i)
            if a[2] or a[3]:
                break


def test_replay_from_a_snapshot_is_the_same(desk):
    desk.reset(options={"task": 3})
    for _ in range(3):
        desk.step(desk.index_of(desk.oracle()))
    snap = desk.snapshot()
    kept = copy.deepcopy(snap["face"].__dict__)
    runs = []
    for _ in range(2):
        steps, rng = [], np.random.default_rng(5)
        for _ in range(6):
            obs, *_, info = desk.step(int(rng.choice(np.flatnonzero(desk.action_masks()))))
            steps.append((obs["actions"].tobytes(), obs["observation"].tobytes(), info["admissible_actions"]))
            if info.get("answer"):
                break
        runs.append(steps)
        desk.restore(snap)
    assert runs[0] == runs[1]
    assert repr(kept) == repr(snap["face"].__dict__)


def test_settings_and_environments_that_are_none_are_refused():
    for name in ("rows", "per_tool"):
        with pytest.raises(ValueError, match=f"{name} is 0; allowed"):
            toy(**{name: 0})
    with pytest.raises(ValueError, match="candidates is 0"):
        CallRows(Toy())
    with pytest.raises(TypeError, match="tool environments"):
        CallRows(gym.make("CartPole-v1"))
