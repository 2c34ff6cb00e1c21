"""Every game for several agents keeps the same promises, in both protocols and on both faces."""

import copy
import importlib
import importlib.util
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from milepost import shape
from milepost.envs.errors import InfraError
from milepost.envs.registry import games
from milepost.wrappers import PotentialShaping, Scale

pytest.importorskip("pettingzoo", reason="the extra multiagent is not installed")
import pettingzoo
from pettingzoo.test import api_test, max_cycles_test, parallel_api_test, parallel_seed_test, render_test
from pettingzoo.utils.conversions import aec_to_parallel, parallel_to_aec

from milepost.envs.multiagent.checks import check_seeds, rollout, told

_spec = importlib.util.spec_from_file_location("game_transcripts", Path(__file__).parent / "game_transcripts.py")
T = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(T)

pytestmark = pytest.mark.multiagent
KNOWN = (  # PettingZoo prefers boxes; texts and dictionaries are none
    "Action space for each agent probably should be gymnasium.spaces.box or gymnasium.spaces.discrete",
    "Observation space for each agent probably should be gymnasium.spaces.box or gymnasium.spaces.discrete",
    "Observation is not a NumPy array",
)
FARMED = {"negotiation": 1.1}  # times the oracle's return: the largest sum of worths is not the largest product


def needed(entry):
    """Marks of what a row needs beside PettingZoo."""
    return [getattr(pytest.mark, mark) for mark in entry.requires.split(",") if mark != "multiagent"]


EVERY = [pytest.param(e, id=e.id, marks=needed(e)) for e in games()]
RULES = [pytest.param(e, id=e.id, marks=needed(e)) for e in games() if not e.kwargs]
AUDITS = json.loads(T.AUDIT.read_text()) if T.AUDIT.exists() else {}


@pytest.fixture(autouse=True)
def installed(request):
    if {"tools"} & {m.name for m in request.node.iter_markers()}:
        pytest.importorskip("pydantic", reason="the extra tools is not installed")


@pytest.fixture
def strict():
    """Warnings are errors, but for those that texts cannot help."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for message in KNOWN:
            warnings.filterwarnings("ignore", message=message)
        yield


def module(entry):
    return importlib.import_module(entry.module)


def drive(env, seed=0, cycles=6, rng_seed=0):
    """Random cycles of a Parallel game: what it said."""
    rng = np.random.default_rng(rng_seed)
    obs, infos = env.reset(seed=seed)
    rows = [(obs, infos)]
    for _ in range(cycles):
        if not env.agents:
            break
        acts = {a: T.random_action(env, rng, a, obs[a], infos[a]) for a in env.agents}
        obs, rewards, terminated, truncated, infos = env.step(acts)
        rows.append((obs, rewards, terminated, truncated, infos))
    return rows


@pytest.mark.smoke
@pytest.mark.parametrize("kind", ["aec", "parallel"])
@pytest.mark.parametrize("entry", EVERY)
def test_pettingzoos_registry_has_it(entry, kind):
    env = pettingzoo.make(kind, entry.id)
    assert env.possible_agents and pettingzoo.spec(kind, entry.id).id == entry.id
    env.reset(seed=0)
    for agent in env.agents:
        assert env.observation_space(agent) is env.observation_space(agent)
    env.close()


@pytest.mark.parametrize("entry", EVERY)
def test_pettingzoos_own_tests_find_nothing(entry, strict):
    cycles = 1000 if os.environ.get("HYPOTHESIS_PROFILE") == "full" else 25
    api_test(pettingzoo.make("aec", entry.id), num_cycles=cycles)
    parallel_api_test(pettingzoo.make("parallel", entry.id), num_cycles=cycles)


@pytest.mark.parametrize("entry", RULES)
def test_the_limit_is_exact_and_it_can_be_looked_at(entry, strict, capsys):
    max_cycles_test(module(entry))
    render_test(module(entry).env)
    assert capsys.readouterr().out


@pytest.mark.parametrize("entry", RULES)
def test_converted_turns_are_the_parallel_game(entry):
    here, there = T.make(entry), aec_to_parallel(module(entry).raw_env())
    acts = np.random.default_rng(1)
    for seed in (3, 4):
        (obs, infos), other = here.reset(seed=seed), there.reset(seed=seed)
        assert told((obs, infos)) == told(other)
        while here.agents:
            act = {a: T.random_action(here, acts, a, obs[a], infos[a]) for a in here.agents}
            step, other = here.step(act), there.step(act)
            assert told(step) == told(tuple(map(dict, other))) and here.agents == there.agents
            obs, infos = step[0], step[-1]


@pytest.mark.parametrize("entry", EVERY)
def test_both_protocols_are_one_game(entry):
    """With commands that both can give: who acts later in a cycle sees more, and has other rows."""
    here, there, acts = T.make(entry), module(entry).raw_env(**entry.kwargs), np.random.default_rng(1)
    obs, infos = here.reset(seed=3)
    there.reset(seed=3)
    while here.agents:
        chosen = {}
        for a in list(here.agents):
            *_, info = there.last()
            assert there.agent_selection == a
            both = [c for c in infos[a]["admissible_actions"] if c in info["admissible_actions"]]
            command = str(both[int(acts.integers(len(both)))])
            chosen[a] = here.face.action_for(a, command)
            there.step(there.face.action_for(a, command))
        obs, rewards, terminated, truncated, infos = here.step(chosen)
        assert rewards == there.rewards and (terminated, truncated) == (there.terminations, there.truncations)
        assert told(infos) == told(there.infos) and told(obs) == told({a: there.observe(a) for a in rewards})
        while there.agents and (there.terminations[there.agent_selection] or there.truncations[there.agent_selection]):
            there.step(None)
        assert here.agents == there.agents


@pytest.mark.parametrize("entry", EVERY)
def test_a_parallel_game_that_takes_turns_pays_the_same(entry):
    here, turns = T.make(entry), parallel_to_aec(T.make(entry))
    acts = np.random.default_rng(2)
    obs, infos = here.reset(seed=5)
    turns.reset(seed=5)
    while here.agents:
        act = {a: T.random_action(here, acts, a, obs[a], infos[a]) for a in here.agents}
        obs, rewards, *_, infos = here.step(act)
        for agent in act:
            assert turns.agent_selection == agent
            turns.step(act[agent])
        assert dict(turns.rewards) == rewards
        while turns.agents and (turns.terminations[turns.agent_selection] or turns.truncations[turns.agent_selection]):
            turns.step(None)
        assert turns.agents == here.agents


ROLLOUTS = """
import importlib, sys
from milepost.envs.registry import games
from milepost.envs.multiagent.checks import rollout
for e in games():
    if e.id in sys.argv[1:]:
        m = importlib.import_module(e.module)
        for make in (m.raw_env, m.parallel_env):
            env = make(**e.kwargs)
            print(e.id, [rollout(env, seed, 20) for seed in (0, None, 7)])
            env.close()
"""


@pytest.mark.parametrize("entry", RULES)
def test_the_same_seed_gives_the_same_game_in_two_processes(entry):
    ids = [e.id for e in games() if e.rules == entry.rules]
    check_seeds(lambda: T.make(entry), 20, (1,))
    found = [
        subprocess.run(
            [sys.executable, "-c", ROLLOUTS, *ids],
            env=os.environ | {"PYTHONHASHSEED": h},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for h in ("1", "4711")
    ]
    assert found[0].count("\n") == 2 * len(ids) and found[0] == found[1]


def test_our_seed_test_sees_what_pettingzoos_does_not():
    class Later(type(T.make(games()[0]))):
        """Random from the second step on."""

        def step(self, actions):
            obs, rewards, *rest = super().step(actions)
            if self.game.cycle > 1:
                rewards = {a: r + np.random.random() for a, r in rewards.items()}
            return obs, rewards, *rest

    def make():
        env = T.make(games()[1])
        env.__class__ = Later
        return env

    parallel_seed_test(make)  # stops after the first step
    with pytest.raises(AssertionError, match="the same actions gave another game"):
        check_seeds(make, 10, (0,))
    assert rollout(T.make(games()[1]), 0, 10) == rollout(T.make(games()[1]), 0, 10)


@pytest.mark.parametrize("entry", EVERY)
def test_what_each_agent_is_told(entry):
    env = T.make(entry)
    rules = env.game
    rows = drive(env, cycles=rules.max_cycles)
    keys = {
        "reward_terms",
        "success",
        "score",
        "max_score",
        "progress",
        "valid_action",
        "subgoals",
        "messages",
        "message",
    }
    for obs, *_, infos in rows:
        for a, info in infos.items():
            assert keys | {"admissible_actions"} <= set(info)
            assert (
                0.0 <= info["progress"] <= 1.0
                and isinstance(info["success"], bool)
                and "wait" in info["admissible_actions"]
            )
            assert obs[a] in env.observation_space(a) and tuple(info["reward_terms"]) == rules.terms
    assert all(infos["meta"]["agent"] == a for a, infos in rows[0][1].items())
    for _, rewards, *_, infos in rows[1:]:
        for a, r in rewards.items():
            assert sum(infos[a]["reward_terms"].values()) == pytest.approx(r)
        for term in rules.team_terms:
            assert term.startswith("team_") and len({infos[a]["reward_terms"][term] for a in rewards}) == 1
    assert all("success" in infos[a] for a in rows[-1][1])


def mutable(x, found):
    if isinstance(x, dict):
        found[id(x)] = x
        for v in x.values():
            mutable(v, found)
    elif isinstance(x, (list, set, np.ndarray)):
        found[id(x)] = x
    elif isinstance(x, tuple):
        for v in x:
            mutable(v, found)
    return found


@pytest.mark.parametrize("entry", EVERY)
def test_no_mutable_object_is_shared(entry):
    trees = [mutable(part, {}) for row in drive(T.make(entry), cycles=3) for part in row]
    for i, a in enumerate(trees):
        assert not any(a.keys() & b.keys() for b in trees[i + 1 :])
    env = T.make(entry)
    _, infos = env.reset(seed=0)
    per_agent = [mutable(info, {}) for info in infos.values()]
    assert not any(a.keys() & b.keys() for i, a in enumerate(per_agent) for b in per_agent[i + 1 :])


@pytest.mark.parametrize("host", ["raw_env", "parallel_env"])
@pytest.mark.parametrize("entry", EVERY)
def test_restored_games_go_on_the_same(entry, host):
    env = getattr(module(entry), host)(**entry.kwargs)

    def ahead():
        rng, out = np.random.default_rng(0), []
        for _ in range(6):
            if not env.agents:
                break
            if host == "parallel_env":
                shown, infos = env._shown()
                acts = {a: T.random_action(env, rng, a, shown[a], infos[a]) for a in env.agents}
                out.append(told(env.step(acts)))
            else:
                obs, *_, info = env.last()
                dead = env.terminations[env.agent_selection] or env.truncations[env.agent_selection]
                env.step(None if dead else T.random_action(env, rng, env.agent_selection, obs, info))
                out.append(told((env.agents, env.rewards, env.terminations, env.infos)))
        env.reset()
        return [*out, told(env.game.task)]

    env.reset(seed=2)
    saved = env.snapshot()
    kept = copy.deepcopy(saved)
    first = ahead()
    for _ in range(2):  # a snapshot can be used again
        env.restore(kept)
        assert ahead() == first


# a team's calls are made from what was said, and its desk may refuse one: no such customer
@pytest.mark.parametrize("entry", [p for p in RULES if "tool_team" not in p.id])
def test_admissible_actions_are_possible(entry):
    rng = np.random.default_rng(1)
    game = T.make(entry).game
    for task in game.tasks()[:4]:
        game.reset(options={"task": task})
        while game.agents and game.cycle < 8:
            for agent in game.agents:
                kept, some = game.snapshot(), game.choices(agent)
                for k in rng.permutation(len(some))[:12]:
                    game.act(agent, some[k])
                    assert game._did[agent][1], some[k]
                    game.restore(kept)
                game.act(agent, some[int(rng.integers(len(some)))])
            game.end_cycle()


@pytest.mark.parametrize("entry", RULES)
def test_tasks_splits_and_wrong_settings(entry):
    env = T.make(entry)
    task = env.game.tasks()[1]
    first, infos = env.reset(seed=0, options={"task": task})
    again, _ = env.reset(seed=9, options={"task": task})
    assert told(first) == told(again)
    assert {i["meta"]["task"] for i in infos.values()} == {f"{env.game.name}-{task}"}
    with pytest.raises(ValueError, match=r"a reset option is 'tsk'; allowed: 'task' .did you mean 'task'"):
        env.reset(options={"tsk": 1})
    with pytest.raises(ValueError, match="is not in split 'train'"):
        env.reset(options={"task": -1})
    test = T.make(entry, split="test")
    assert test.game.tasks().start >= env.game.tasks().stop
    for wrong, said in (
        ({"splt": "test"}, "did you mean 'split'"),
        ({"split": "valid"}, "split is 'valid'"),
        ({"max_cycles": 0}, "max_cycles is 0"),
        ({"weights": {"nothing": 1.0}}, "a reward term is 'nothing'"),
        ({"weights": {env.game.terms[0]: float("nan")}}, "a finite number"),
        ({"render_mode": "film"}, "render_mode is 'film'"),
        ({"face": "smiling"}, "face is 'smiling'"),
    ):
        with pytest.raises(ValueError, match=said):
            T.make(entry, **wrong)
    env.reset(seed=0)
    with pytest.raises(KeyError, match="no action for"):
        env.step({})
    with pytest.raises(TypeError, match="an action is a string"):
        env.step(dict.fromkeys(env.agents, 7.5))


@pytest.mark.parametrize("entry", EVERY)
def test_the_transcript_is_the_behaviour(entry):
    golden = T.path(entry)
    assert golden.exists(), f"no transcript: run python tests/regenerate_transcripts.py {entry.id}"
    again = T.transcript(entry)
    assert again == golden.read_text(), f"python tests/regenerate_transcripts.py {entry.id}, then read the diff"


@pytest.mark.parametrize("entry", EVERY)
def test_the_audit(entry):
    recorded = AUDITS[entry.id]
    assert recorded["null"] == 0.0 and recorded["null_return"] <= 0.0
    assert recorded["oracle"] == 1.0 and recorded["random"] < recorded["oracle"] / 2
    name = entry.rules.split(":")[0].rpartition(".")[2]
    if "collusion_return" in recorded:
        assert recorded["collusion_return"] <= FARMED.get(name, 1.0) * recorded["oracle_return"] + 1e-9
    success, returns, _ = T.play(entry, "null", 1)
    assert success == 0.0 and returns <= 0.0
    assert T.play(entry, "oracle", 2)[0] == 1.0


@pytest.mark.parametrize("entry", EVERY)
def test_what_agents_choose_from_does_not_come_from_the_reference(entry):
    a, b = T.make(entry), T.make(entry, expose_reference=True)
    (obs, infos), (obs2, infos2) = a.reset(seed=3), b.reset(seed=3)
    assert all("reference" not in i for i in infos.values()) and all(i["reference"] for i in infos2.values())
    assert told(obs) == told(obs2)
    for agent in infos:
        assert infos[agent]["admissible_actions"] == infos2[agent]["admissible_actions"]


@pytest.mark.parametrize("kind", ["aec", "parallel"])
@pytest.mark.parametrize("entry", EVERY)
def test_rewards_can_be_shaped(entry, kind):
    env = shape(pettingzoo.make(kind, entry.id), [Scale(0.5), PotentialShaping(key="progress")])
    rng = np.random.default_rng(0)
    paid = {}
    if kind == "parallel":
        obs, infos = env.reset(seed=0)
        while env.agents:
            acts = {a: T.random_action(env, rng, a, obs[a], infos[a]) for a in env.agents}
            obs, rewards, *_, infos = env.step(acts)
            for a, r in rewards.items():
                assert sum(infos[a]["reward_terms"].values()) == pytest.approx(r)
                paid[a] = paid.get(a, 0.0) + r
    else:
        env.reset(seed=0)
        for agent in env.agent_iter(400):
            obs, reward, terminated, truncated, info = env.last()
            paid[agent] = paid.get(agent, 0.0) + reward
            env.step(None if terminated or truncated else T.random_action(env.unwrapped, rng, agent, obs, info))
    assert set(paid) == set(env.possible_agents) and all(np.isfinite(v) for v in paid.values())


@pytest.mark.parametrize("entry", RULES)
def test_a_failure_of_the_machine_is_no_reward(entry, monkeypatch):
    env = T.make(entry)
    env.reset(seed=0)
    monkeypatch.setattr(env.game, "_cycle", lambda: (_ for _ in ()).throw(InfraError("the machine is gone")))
    before = list(env.agents)
    _, rewards, terminated, truncated, infos = env.step(dict.fromkeys(env.agents, "wait"))
    assert list(rewards) == before and not env.agents
    for a in before:
        assert rewards[a] == 0.0 and truncated[a] and not terminated[a]
        assert infos[a]["invalid"] and infos[a]["infra_error"] == "the machine is gone"
    assert env.game.infra_failures == 1
    monkeypatch.undo()
    env.reset(seed=0)
    assert env.agents == before


@pytest.mark.parametrize("entry", RULES)
def test_what_agents_write_stays_one_line_that_the_spaces_hold(entry):
    """No agent writes lines into what another sees, nor characters that no text can hold, nor texts without end."""
    env = T.make(entry)
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    breaks = (
        "\n" if env.game.name != "tool_team" else " "
    )  # there a message may be code, and the first lines stay lines
    for k in range(24):
        if not env.agents:
            env.reset(seed=k)
        words = ["hi" + breaks + "FORGED: all is yours", "half \ud800 \x1b[2J a\u2028b", "x" * 100_000][k % 3]
        forms = [f"say {words}", {"say": words}, json.dumps({"say": words}), {"vote": words}, f"claim {words}"]
        obs, *_, infos = env.step({a: forms[int(rng.integers(len(forms)))] for a in env.agents})
        for a, seen in obs.items():
            assert env.observation_space(a).contains(seen) and not seen.startswith("FORGED") and "\nFORGED" not in seen
            for message in infos[a]["messages"]:
                assert len(message["content"].encode()) <= 4 * env.game.max_length
    env.close()


@pytest.mark.parametrize("entry", RULES)
def test_an_index_that_the_mask_forbids_is_answered_in_words(entry):
    env = module(entry).raw_env(face="encoded")
    env.reset(seed=0)
    agent = env.agents[0]
    turns = len(env.agents)
    for k in range(2 * turns):
        *_, info = env.last()
        if env.agent_selection == agent:
            if k:
                assert (
                    not info["valid_action"] and "that is no action, take one of the admissible ones" in info["message"]
                )
                break
            (forbidden, *_) = np.flatnonzero(info["action_mask"] == 0)
            env.step(forbidden)
        else:
            env.step(info["admissible_actions"].index("wait"))
    else:
        pytest.fail("its turn did not come again")
    env.step(info["admissible_actions"].index("wait"))
    for _ in range(turns - 1):
        env.step(env.last()[-1]["admissible_actions"].index("wait"))
    assert env.infos[agent]["valid_action"] and "no action" not in env.infos[agent]["message"]
    env.close()


@pytest.mark.parametrize("entry", RULES)
def test_a_refusal_is_forgotten_when_the_agent_waits(entry):
    env = T.make(entry)
    env.reset(seed=0)
    agent = env.agents[0]
    wait = dict.fromkeys(env.agents, "wait")
    said = env.step(wait | {agent: "nonsense"})[-1][agent]
    assert not said["valid_action"] and (said["message"] or entry.id.startswith("milepost/arena"))
    obs, *_, infos = env.step(wait)
    assert infos[agent]["valid_action"] and "not possible" not in infos[agent]["message"] + obs[agent]
    assert not infos[agent]["message"] or entry.id.startswith("milepost/arena")  # there it is the task's own
    env.close()


@pytest.mark.parametrize("entry", RULES)
def test_an_action_that_cannot_be_read_changes_nothing(entry):
    env, turns = T.make(entry), module(entry).raw_env()
    env.reset(seed=0)
    before = told(env.snapshot()["kept"])
    *others, last = env.agents
    first = env.game.choices(others[0])[0]
    with pytest.raises(TypeError, match="not int"):  # nobody's action has counted then
        env.step(dict.fromkeys(env.agents, "wait") | {others[0]: first, last: 3})
    assert told(env.snapshot()["kept"]) == before
    turns.reset(seed=0)
    with pytest.raises(TypeError, match="not int"):
        turns.step(3)
    assert turns.agent_selection == turns.agents[0] and turns.game.cycle == 0
    env.close()
    turns.close()


def test_settings_of_all_games_are_refused_by_name():
    from milepost.envs.multiagent import negotiation_v0

    for wrong, said in (
        ({"weights": 3}, "weights is 3; allowed: None or a mapping"),
        ({"weights": [("utility", 1.0)]}, "weights is .*; allowed: None or a mapping"),
        ({"face": "encoded", "rows": 1}, "rows is 1; allowed: a whole number from 2"),
        ({"face": "encoded", "rows": True}, "rows is True"),
    ):
        with pytest.raises(ValueError, match=said):
            negotiation_v0.parallel_env(**wrong)


def test_a_game_that_could_not_begin_is_over(monkeypatch):
    from milepost.envs.multiagent import negotiation_v0

    for make in (negotiation_v0.parallel_env, negotiation_v0.raw_env):
        env = make()
        env.reset(seed=0)
        monkeypatch.setattr(env.game, "_begin", lambda task: (_ for _ in ()).throw(InfraError("no machine")))
        with pytest.raises(InfraError, match="no machine"):
            env.reset()
        assert env.agents == [] == env.game.agents
