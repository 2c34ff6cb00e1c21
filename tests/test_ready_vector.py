"""Ready-set stepping: what SyncVectorEnv gives, without waiting for the slowest lane, and with sandboxes that die."""

import contextlib
import dataclasses
import threading
import time

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import AlreadyPendingCallError, ClosedEnvironmentError, NoAsyncCallError
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from milepost import shape
from milepost.envs import vector
from milepost.envs.errors import InfraError
from milepost.envs.swe import repo
from milepost.envs.vector import ReadyVectorEnv, ready
from milepost.wrappers import ScoreDelta

NEXT, SAME, DISABLED = AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED
MODES = pytest.mark.parametrize("mode", [NEXT, SAME, DISABLED], ids=lambda m: m.value)
LONG = 60  # seconds after which a test that waits for ever fails
BUGS = "milepost/BugRepair-v0"
VIEW = '{"name": "view", "arguments": {"path": "."}}'
RUN, SUBMIT = '{"name": "run_tests", "arguments": {}}', '{"name": "submit", "arguments": {}}'


class Walk(gym.Env):
    """Episodes of random lengths. Its steps wait for ``gate``; its resets fail as often as ``fails`` says."""

    observation_space, action_space = gym.spaces.Box(-99, 99, (2,), np.float64), gym.spaces.Discrete(3)

    def __init__(self, gate=None, fails=0):
        self.gate, self.fails, self.closed, self.threads = gate, fails, 0, set()

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if self.fails:
            self.fails -= 1
            raise InfraError("no sandbox today")
        self.x, self.left = np.zeros(2), int(self.np_random.integers(2, 6))
        return self.x.copy(), {"meta": {"length": self.left}, "options": str(options)}

    def step(self, action):
        self.threads.add(threading.current_thread().name)
        if self.gate is not None:
            assert self.gate.acquire(timeout=LONG)
        if action == 2:
            raise ZeroDivisionError("a bug of the environment")
        self.x, self.left = self.x + self.np_random.normal(size=2) * action, self.left - 1
        return self.x.copy(), float(self.x[0]), self.left == 0, False, {"left": self.left}

    def close(self):
        self.closed += 1


@contextlib.contextmanager
def lanes(*envs, **settings):
    """A vector environment over these; nothing is left of it."""
    with contextlib.closing(ReadyVectorEnv([lambda e=e: e for e in envs], **settings)) as env:
        yield env
    assert all(e.closed for e in envs) and not running()


def running():
    return [t.name for t in threading.enumerate() if t.name.startswith("lane-")]


@pytest.fixture
def lent(monkeypatch):
    """The providers of sandboxes that the test's environments share; none at first."""
    monkeypatch.setattr(repo, "_providers", {})
    return repo._providers


def equal(a, b):
    assert data_equivalence(a, b), f"{a!s:.2000}\n\n{b!s:.2000}"


def rollout(env, steps, act, seed=3):
    """Yields all that a vector environment says; resets what ended where it does not."""
    out = env.reset(seed=seed)
    yield out
    rng = np.random.default_rng(0)
    for _ in range(steps):
        out = env.step(act(env, rng, out[-1]))
        yield out
        done = out[2] | out[3]
        if env.metadata["autoreset_mode"] is DISABLED and done.any():
            out = env.reset(options={"reset_mask": done})
            yield out


def command(env, rng, infos):
    """A command that can be given, for each lane."""
    choices = [infos["admissible_actions"][i] or ("look",) for i in range(env.num_envs)]
    return tuple(c[rng.integers(len(c))] for c in choices)


def number(env, rng, infos):
    return rng.integers(env.single_action_space.n, size=env.num_envs)


def script(turns):
    """What is to be done, said beforehand."""
    rest = iter(turns)
    return lambda env, rng, infos: next(rest)


# -- the same as SyncVectorEnv ------------------------------------------------------------------------
@pytest.mark.core
@MODES
@pytest.mark.parametrize(
    "env_id, act", [("milepost/Quest-easy-v0", command), ("milepost/Quest-easy-encoded-v0", number)]
)
def test_it_gives_what_sync_gives(env_id, act, mode):
    settings = {"max_steps": 7, "disable_env_checker": True}
    sync = SyncVectorEnv([lambda: gym.make(env_id, **settings)] * 3, autoreset_mode=mode)
    with contextlib.closing(sync), contextlib.closing(ready(env_id, 3, autoreset_mode=mode.value, **settings)) as ours:
        assert ours.metadata == sync.metadata and ours.action_space == sync.action_space
        assert ours.observation_space == sync.observation_space and ours.num_envs == 3
        ends = 0
        for a, b in zip(rollout(sync, 20, act), rollout(ours, 20, act), strict=True):
            equal(a, b)
            ends += int((a[2] | a[3]).sum()) if len(a) == 5 else 0
        assert ends >= 6
        equal(sync.get_attr("np_random_seed"), ours.get_attr("np_random_seed"))
        equal(sync.call("has_wrapper_attr", "oracle"), ours.call("has_wrapper_attr", "oracle"))


@pytest.mark.core
@MODES
def test_layers_over_it_pay_the_same(mode):
    settings = {"max_steps": 7, "disable_env_checker": True}
    env_id = "milepost/Quest-easy-encoded-v0"
    sync = shape(SyncVectorEnv([lambda: gym.make(env_id, **settings)] * 3, autoreset_mode=mode), [ScoreDelta()])
    ours = shape(ready(env_id, 3, autoreset_mode=mode, **settings), [ScoreDelta()])
    with contextlib.closing(sync), contextlib.closing(ours):
        for a, b in zip(rollout(sync, 15, number), rollout(ours, 15, number), strict=True):
            equal(a, b)


@pytest.mark.core
def test_seeds_options_and_masks_go_where_they_go_in_sync():
    mask = np.array([True, False, True])
    resets = [{"seed": [5, None, 7]}, {"seed": 4, "options": {"task": 2}}, {"seed": 9, "options": {"reset_mask": mask}}]
    sync = SyncVectorEnv([Walk] * 3)
    with lanes(Walk(), Walk(), Walk()) as ours:
        sync.reset(seed=1)
        ours.reset(seed=1)
        for kwargs in resets[1:]:
            given = {k: dict(v) if isinstance(v, dict) else v for k, v in kwargs.items()}
            equal(sync.reset(**given), ours.reset(**kwargs))
        assert "reset_mask" in resets[-1]["options"]  # the caller's dictionary is not emptied
        obs = [env.reset(**resets[0])[1]["meta"]["length"][[0, 2]].tolist() for env in (sync, ours)]
        assert obs[0] == obs[1]
        ours.set_attr("fails", [0, 1, 2])
        assert ours.get_attr("fails") == (0, 1, 2)
        ours.set_attr("fails", 0)
        assert ours.get_attr("fails") == (0, 0, 0)


@pytest.mark.swe
def test_sandboxes_give_what_sync_gives(lent):
    turns = [(VIEW, RUN), (SUBMIT, "no call"), (RUN, SUBMIT)]
    sync = SyncVectorEnv([lambda: gym.make(BUGS, disable_env_checker=True)] * 2)
    with contextlib.closing(sync), contextlib.closing(ready(BUGS, 2)) as ours:
        for a, b in zip(rollout(sync, 3, script(turns)), rollout(ours, 3, script(turns)), strict=True):
            equal(a, b)
    assert not running() and not lent


# -- lanes that are ready -----------------------------------------------------------------------------
@pytest.mark.core
def test_a_slow_lane_does_not_hold_up_the_others():
    gate = threading.Semaphore(0)
    with lanes(Walk(gate), Walk(), Walk()) as env:
        env.reset(seed=0)
        env.send(np.array([1, 1, 1]))
        seen = []
        for _ in range(20):
            obs, rewards, _, _, infos = env.recv()
            assert len(obs) == len(rewards) == len(infos["env_id"])
            assert all(len(mask) == len(obs) for key, mask in infos.items() if key[0] == "_")
            seen += infos["env_id"].tolist()
            env.send(np.ones(len(obs), int), infos["env_id"])
        assert set(seen) == {1, 2} and len(seen) >= 20
        gate.release()
        while 0 not in env.recv()[-1]["env_id"]:
            pass


@pytest.mark.core
@MODES
@pytest.mark.parametrize("order", [0, 1])
def test_what_a_lane_goes_through_does_not_depend_on_who_is_first(mode, order):
    rng = np.random.default_rng(order)
    gates = [threading.Semaphore(0) for _ in range(3)]
    got, left = {i: [] for i in range(3)}, dict.fromkeys(range(3), 15)
    with lanes(*map(Walk, gates), autoreset_mode=mode) as env:
        env.async_reset(seed=1)
        while any(left.values()):
            obs, rewards, term, _, infos = env.recv(least=len(env._flying) if all(left.values()) else 1)
            for row, i in enumerate(infos["env_id"]):
                got[i].append((obs[row].tolist(), rewards[row], bool(term[row])))
                left[i] -= 1
            for row, i in enumerate(infos["env_id"]):
                if left[i] > 0 and mode is DISABLED and term[row]:
                    env.async_reset(env_id=i)
                elif left[i] > 0:
                    env.send(np.array([i % 2]), [i])
            for i in rng.permutation(list(env._flying)):
                gates[i].release()
    for i, mine in got.items():
        alone = SyncVectorEnv([Walk], autoreset_mode=mode)
        obs, _ = alone.reset(seed=1 + i)
        expected = [(obs[0].tolist(), 0.0, False)]
        while len(expected) < len(mine):
            if mode is DISABLED and expected[-1][2]:
                obs, _ = alone.reset(options={"reset_mask": np.ones(1, bool)})
                expected.append((obs[0].tolist(), 0.0, False))
                continue
            obs, rewards, term, _, _ = alone.step(np.array([i % 2]))
            expected.append((obs[0].tolist(), rewards[0], bool(term[0])))
        assert mine == expected and len(mine) == 15


@pytest.mark.core
def test_lanes_come_in_the_order_in_which_they_were_ready_and_stay_in_their_threads():
    gates = [threading.Semaphore(0) for _ in range(3)]
    envs = [Walk(g) for g in gates]
    with lanes(*envs) as env:
        env.reset(seed=0)
        env.send([1, 1, 1])
        for n, i in enumerate([2, 0, 1], 1):
            gates[i].release()
            with env._news:
                assert env._news.wait_for(lambda n=n: len(env._ready) == n, LONG)
        assert env.recv(least=3)[-1]["env_id"].tolist() == [2, 0, 1]
    assert [len(e.threads) for e in envs] == [1, 1, 1] and len(set.union(*(e.threads for e in envs))) == 3


@pytest.mark.core
def test_wrong_calls_are_refused_and_change_nothing():
    gate = threading.Semaphore(0)
    with lanes(Walk(gate), Walk(gate), autoreset_mode=DISABLED) as env:
        with pytest.raises(ValueError, match="never had an episode"):
            env.reset(options={"reset_mask": np.array([True, False])})
        for mask in ([True, True], np.array([1, 1]), np.zeros(2, bool), np.ones(3, bool)):
            with pytest.raises(ValueError, match="a bool array of 2"):
                env.reset(options={"reset_mask": mask})
        with pytest.raises(ValueError, match="3 seeds for 2 lanes"):
            env.reset(seed=[1, 2, 3])
        env.reset(seed=0)
        with pytest.raises(NoAsyncCallError, match="no lane is in flight"):
            env.recv()
        for ids, why in (([2], "a lane is 2"), ([0, 0], "each once"), ([], "at least one"), ([0.5], "a whole number")):
            with pytest.raises(ValueError, match=why):
                env.send(np.ones(len(ids), int), ids)
        with pytest.raises(ValueError, match="1 actions for 2 lanes"):
            env.send([1])
        env.send([1], [0])
        for call in (
            lambda: env.send([1, 1]),
            lambda: env.step([1, 1]),
            lambda: env.reset(),
            lambda: env.async_reset(env_id=[0]),
            lambda: env.call("left"),
        ):
            with pytest.raises(AlreadyPendingCallError, match=r"lanes \[0\] are in flight"):
                call()
        with pytest.raises(ValueError, match="from 1 to 1"):
            env.recv(least=2)
        with pytest.raises(TimeoutError, match="0 lanes were ready"):
            env.recv(timeout=0.01)
        gate.release()
        assert env.recv()[-1]["env_id"].tolist() == [0] and env.get_attr("x")[1].tolist() == [0, 0]
        env.call("reset")
        env.set_attr("left", 1)
        for _ in range(2):
            gate.release()
        assert env.step([1, 1])[2].all()
        with pytest.raises(RuntimeError, match=r"lanes \[1\] are over"):
            env.send([1], [1])
        with pytest.raises(ValueError, match="1 values for 2 lanes"):
            env.set_attr("left", [1])
    with pytest.raises(ClosedEnvironmentError):
        env.step([1, 1])


@pytest.mark.core
def test_wrong_settings_are_refused():
    with pytest.raises(ValueError, match=r"autoreset_mode is 'Never'.*'NextStep', 'SameStep', 'Disabled'"):
        ready("milepost/Quest-easy-v0", 2, autoreset_mode="Never")
    with pytest.raises(ValueError, match="num_envs is 0"):
        ready("milepost/Quest-easy-v0", 0)
    with pytest.raises(ValueError, match="env_fns is empty"):
        ReadyVectorEnv([])
    with pytest.raises(AttributeError, match="Nowhere"):
        vector.__getattr__("milepost/Nowhere-v0")
    odd = Walk()
    odd.action_space = gym.spaces.Discrete(4)
    first = Walk()
    with pytest.raises(ValueError, match="spaces of lane 1"):
        ReadyVectorEnv([lambda: first, lambda: odd])
    assert first.closed and odd.closed and not running()


# -- failures -----------------------------------------------------------------------------------------
@pytest.mark.core
def test_an_error_names_its_lane_and_the_others_go_on():
    with lanes(Walk(), Walk(), Walk()) as env:
        env.reset(seed=0)
        env.send([1, 2, 1])
        with env._news:
            assert env._news.wait_for(lambda: len(env._ready) == 3, LONG)
        with pytest.raises(ZeroDivisionError) as e:
            env.recv()
        assert e.value.__notes__ == ["in lane 1"]
        assert sorted(env.recv(least=2)[-1]["env_id"]) == [0, 2]
        with pytest.raises(ZeroDivisionError):
            env.step([1, 1, 2])
        env.reset(seed=0)
        assert env.step([1, 1, 1])[1].all()


@pytest.mark.core
@MODES
def test_a_reset_is_tried_three_times(mode):
    envs = Walk(), Walk(fails=2), Walk()
    with lanes(*envs, autoreset_mode=mode) as env:
        env.reset(seed=0)
        assert env.infra_failures == 2
        envs[2].fails = 3
        with pytest.raises(InfraError, match="lane 2: 3 resets in a row failed: no sandbox today"):
            list(zip(rollout(env, 9, lambda *_: [1, 1, 1]), range(9)))
        assert env.infra_failures == 5
        env.reset(seed=0)
        env.step([1, 1, 1])


def play(env, turns, before=lambda turn: None):
    """The same calls in all lanes, lane -> what it showed."""
    env.reset(seed=0)
    shown = {i: [] for i in range(env.num_envs)}
    for n, action in enumerate(turns):
        before(n)
        obs, rewards, term, trunc, infos = env.step((action,) * env.num_envs)
        invalid = infos.get("invalid", np.zeros(env.num_envs, bool))
        for i in shown:
            shown[i].append((obs[i], rewards[i], term[i], trunc[i], bool(invalid[i])))
    return shown


def repo_of(env, lane):
    """Of the running task."""
    return list(env._lanes[lane].env.unwrapped._repos.values())[-1]


def lose(env, lane):
    """Takes a sandbox away behind its environment's back, with all that runs in it."""
    box = repo_of(env, lane).box.box
    box._provider.link.ask(do="drop", box=box._ident)


@pytest.mark.swe
def test_a_dead_sandbox_makes_one_episode_invalid_and_not_the_run():
    turns = [VIEW, VIEW, RUN, SUBMIT, VIEW, VIEW]
    with contextlib.closing(ready(BUGS, 3)) as env:
        calm = play(env, turns)
        assert env.infra_failures == 0
        shown = play(env, turns, lambda turn: lose(env, 1) if turn == 1 else None)
        assert shown[0] == calm[0] and shown[2] == calm[2]
        assert shown[1][0] == calm[1][0] and shown[1][1][1:] == (0, False, True, True)
        assert "Files:" in shown[1][2][0] and shown[1][2][1:] == (0, False, False, False)  # the next episode
        assert not any(s[3] for s in shown[1][2:]) and shown[1][3][2]
        assert env.infra_failures == 1


@pytest.mark.swe
def test_a_sandbox_that_dies_under_a_command_is_received_as_an_invalid_episode():
    with contextlib.closing(ready(BUGS, 2)) as env:
        env.reset(seed=0)
        env.send(("```bash\nsleep 50\n```", VIEW))
        assert env.recv()[-1]["env_id"].tolist() == [1]
        while (
            repo_of(env, 0)._coming is not None
        ):  # the lane's thread begins its sandbox, which must not be begun here too
            time.sleep(0.01)
        lose(env, 0)
        _, rewards, _, truncated, infos = env.recv()
        assert (rewards[0], truncated[0], infos["invalid"][0], infos["env_id"][0]) == (0, True, True, 0)
        env.step((VIEW, VIEW))
        assert env.step((VIEW, VIEW))[-1]["valid_action"].all() and env.infra_failures == 1


@pytest.mark.swe
def test_when_all_sandboxes_die_at_once_all_lanes_begin_anew(lent):
    with contextlib.closing(ready(BUGS, 2)) as env:
        env.reset(seed=0)
        ((provider, _),) = lent.values()
        provider.link.socket.close()  # the keeper of the sandboxes ends, and all with it
        assert env.step((VIEW, VIEW))[-1]["invalid"].all()
        env.step((VIEW, VIEW))
        assert env.step((VIEW, VIEW))[-1]["valid_action"].all() and env.infra_failures == 2


# -- the end ------------------------------------------------------------------------------------------
@pytest.mark.core
def test_it_closes_at_any_time_and_leaves_no_thread():
    gate, broken = threading.Semaphore(0), Walk()
    broken.close = lambda: 1 / 0
    envs = Walk(), broken, Walk(gate)
    env = ReadyVectorEnv([lambda e=e: e for e in envs])
    env.reset(seed=0)
    env.send([1, 1, 1])
    gate.release()
    with pytest.raises(ZeroDivisionError):
        env.close()
    assert envs[0].closed and envs[2].closed and not running()
    with lanes(Walk()) as unused:
        unused.close()
        unused.close()


@pytest.mark.swe
def test_it_closes_under_a_command_that_runs_for_long(lent):
    env = ready(BUGS, 2)
    env.reset(seed=0)
    env.send(("```bash\nsleep 50\n```", VIEW))
    env.close(timeout=0.1)
    assert not running() and not lent


# -- make_vec -----------------------------------------------------------------------------------------
@pytest.mark.swe
def test_make_vec_makes_it():
    dense = "milepost/BugRepair-dense-v0"
    spec = dataclasses.replace(gym.spec(dense), vector_entry_point=f"milepost.envs.vector:{dense}")
    with contextlib.closing(gym.make_vec(spec, 2, max_steps=2, autoreset_mode="SameStep")) as env:
        assert type(env) is ReadyVectorEnv and env.num_envs == 2 and env.metadata["autoreset_mode"] is SAME
        assert env.get_attr("max_steps") == (2, 2) and env.get_attr("levels")[1][0] == -1
        assert [e.spec.id for e in env.get_attr("unwrapped")] == [dense] * 2
        with contextlib.closing(gym.make_vec(env.spec)) as again:
            assert type(again) is ReadyVectorEnv and again.num_envs == 2 and again.metadata == env.metadata
    with contextlib.closing(gym.make_vec(spec, 2, "sync", {"autoreset_mode": SAME})) as sync:
        assert type(sync) is SyncVectorEnv
    assert not running()


@pytest.mark.swe
def test_a_lane_begins_anew_while_another_still_holds_the_dead_provider(lent):
    with contextlib.closing(ready(BUGS, 2)) as env:
        env.reset(seed=0)
        env.step((VIEW, VIEW))
        ((provider, _),) = lent.values()
        provider.link.socket.close()
        provider.link.process.wait(30)  # what is connected to a sandbox is cut off only then
        for invalid in (True, False, False):
            env.send((VIEW,), [0])
            assert bool(env.recv()[-1].get("invalid", [False])[0]) is invalid
        assert env.infra_failures == 1
