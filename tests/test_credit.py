"""Credit: SB3 trains on what the whole stack settled, as if it had been paid at each step; nothing is lost."""

from dataclasses import dataclass

import gymnasium as gym
import numpy as np
import pytest

from milepost import shape
from milepost.wrappers import Clip, CountBonus, PotentialShaping, ProgressAttribution, Shaper, Uniform

pytest.importorskip("sb3_contrib", reason="the extra sb3 is not installed")
import torch
from sb3_contrib import MaskablePPO, RecurrentPPO
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecNormalize

from milepost.baselines.credit import Credit


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


class Levers(gym.Env):
    """Two levers; the observation says which is right. ``length`` steps, or random lengths from 2 to ``length``."""

    observation_space, action_space = gym.spaces.Box(-1, 1, (3,), np.float32), gym.spaces.Discrete(2)

    def __init__(self, length=8, random=False, truncates=False, invalid=0):
        self.length, self.random, self.truncates, self.invalid = length, random, truncates, invalid
        self.count = 0

    def _obs(self):
        self.right = int(self.np_random.integers(2))
        return np.array([self.right, self.t / self.end, 1.0], np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t, self.end = 0, int(self.np_random.integers(2, self.length + 1)) if self.random else self.length
        self.count += 1
        return self._obs(), {"progress": 0.0}

    def step(self, action):
        self.t += 1
        good, over = int(action) == self.right, self.t == self.end
        info = {"good": good, "progress": self.t / self.end}
        if over and self.invalid and self.count % self.invalid == 0:
            return self._obs(), 0.0, False, True, info | {"invalid": True}
        return self._obs(), float(over), over and not self.truncates, over and self.truncates, info

    def action_masks(self):
        return np.array([self.t < 2 or self.t % 3 != 0, True])  # sometimes only the second lever is there


@dataclass
class Praise(Shaper):
    """Settles late what could have been paid at once: 1 for each right lever, in place of what the environment said."""

    def episode(self, traj):
        return np.array([float(i["good"]) - 0.25 for i in traj.infos[1:]])


class PaidAtOnce(gym.Wrapper):
    """The same rewards, directly."""

    def step(self, action):
        obs, _, terminated, truncated, info = self.env.step(action)
        return obs, float(info["good"]) - 0.25, terminated, truncated, info


class Spy(BaseCallback):
    """What the buffers held after each rollout."""

    def __init__(self):
        super().__init__()
        self.seen, self.info = [], []

    def _on_step(self):
        self.info.append([dict(i, done=bool(d)) for i, d in zip(self.locals["infos"], self.locals["dones"])])
        return True

    def _on_rollout_end(self):
        b = self.model.rollout_buffer
        names = ("rewards", "returns", "advantages", "values", "episode_starts", "actions")
        self.seen.append({k: getattr(b, k).copy() for k in names})

    def rewards(self):
        return np.concatenate([s["rewards"] for s in self.seen])


class Watch(Credit):
    """Keeps the advantages that the update was handed."""

    def _batches(self, batch_size):
        self.handed = []
        for batch in super()._batches(batch_size):
            keep = batch.mask > 0.5 if hasattr(batch, "mask") else slice(None)
            self.handed.append(batch.advantages[keep].numpy())
            yield batch


ALGORITHMS = {
    "ppo": (PPO, "MlpPolicy"),
    "maskable": (MaskablePPO, "MlpPolicy"),
    "recurrent": (RecurrentPPO, "MlpLstmPolicy"),
}


def train(algorithm, env, steps, credit=None, gamma=0.9, **kw):
    """A small model after learning, and what its buffers held."""
    cls, policy = ALGORITHMS[algorithm]
    net = {"net_arch": [8]} | ({"lstm_hidden_size": 8} if algorithm == "recurrent" else {})
    kw = {"n_steps": 64, "batch_size": 16, "n_epochs": 2, "seed": 3} | kw
    model, spy = cls(policy, env, gamma=gamma, policy_kwargs=net, device="cpu", **kw), Spy()
    model.learn(steps, callback=[credit, spy] if credit else spy)
    return model, spy


def weights(model):
    return np.concatenate([p.detach().numpy().ravel() for p in model.policy.parameters()])


# -- the default -----------------------------------------------------------------------------------
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_training_on_credit_is_training_on_the_redistributed_rewards_to_the_last_bit(algorithm):
    """Whole episodes fill the rollouts, so nothing is left out, and both models must end with the same weights."""
    late, _ = train(algorithm, shape(Monitor(Levers()), [Praise()]), 256, Credit())
    direct, _ = train(algorithm, PaidAtOnce(Monitor(Levers())), 256)
    plain, _ = train(algorithm, Monitor(Levers()), 256)
    assert np.array_equal(weights(late), weights(direct))
    assert not np.allclose(weights(late), weights(plain))  # the layer does change what is learnt


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_finished_steps_have_the_advantages_of_direct_training_and_no_other_step_is_learnt_from(algorithm):
    """Random lengths: the first rollout is cut inside an episode, and the update must never see the rest."""
    watch = Watch()
    kw = {"n_steps": 60, "batch_size": 15, "n_epochs": 1}
    _, a = train(algorithm, shape(Monitor(Levers(random=True)), [Praise()]), 60, watch, **kw)
    _, b = train(algorithm, PaidAtOnce(Monitor(Levers(random=True))), 60, **kw)
    x, y = a.seen[0], b.seen[0]
    assert np.array_equal(x["actions"], y["actions"])
    last = np.flatnonzero([row[0]["done"] for row in a.info])[-1] + 1  # steps of finished episodes
    assert 40 < last < 60
    for k in ("rewards", "advantages", "returns"):
        assert np.array_equal(x[k][:last], y[k][:last]), k
    got = np.concatenate(watch.handed)
    want = np.sort(x["advantages"][:last, 0])
    missing = len(want) - len(got)  # a batch of one step cannot be normalised
    assert missing <= 1 and np.isin(got, want).all() and len(np.unique(want)) > 20


@pytest.mark.filterwarnings("ignore:no step of this rollout")
def test_an_episode_over_several_rollouts_is_learnt_from_in_its_last_one_with_its_own_credit():
    _, spy = train("ppo", shape(Monitor(Levers(24)), [Praise()]), 96, Credit(), n_steps=16, batch_size=8)
    for k, row in enumerate(spy.info):
        if row[0]["done"]:
            end, credit = k + 1, row[0]["credit"]
            part = end - (k // 16) * 16  # its steps in this rollout
            part = min(part, len(credit))
            assert np.allclose(spy.rewards()[end - part : end, 0], credit[-part:])


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.filterwarnings("ignore:no step of this rollout")
def test_a_rollout_without_a_finished_episode_changes_no_weight(algorithm):
    env = shape(Monitor(Levers(100)), [Praise()])
    model, _ = train(algorithm, env, 16, Credit(), n_steps=16, batch_size=8)
    cls, policy = ALGORITHMS[algorithm]
    net = {"net_arch": [8]} | ({"lstm_hidden_size": 8} if algorithm == "recurrent" else {})
    untouched = cls(policy, env, policy_kwargs=net, seed=3, device="cpu", n_steps=16, batch_size=8)
    assert np.array_equal(weights(model), weights(untouched)) and model.target_kl is None
    model.learn(112, callback=Credit(), reset_num_timesteps=False)  # the episode ends in the seventh rollout
    assert not np.array_equal(weights(model), weights(untouched)) and np.isfinite(weights(model)).all()
    assert model.target_kl is None


def test_too_short_rollouts_are_warned_about_by_name():
    with pytest.warns(UserWarning, match="n_steps=16 is too short"):
        train("ppo", shape(Monitor(Levers(100)), [Praise()]), 16, Credit(), n_steps=16, batch_size=8)


def test_learning_may_stop_and_go_on_inside_an_episode():
    """48 steps a call, 20 an episode: calls end inside episodes, and each call has a new callback."""
    env = shape(Monitor(Levers(20)), [Praise()])
    model, _ = train("ppo", env, 48, Credit(), n_steps=48)
    spy = Spy()
    model.learn(48, callback=[Credit(), spy], reset_num_timesteps=False)
    first = next(k for k, row in enumerate(spy.info) if row[0]["done"])
    assert first == 11  # 8 of its 20 steps were in the call before
    assert np.allclose(spy.rewards()[:12, 0], spy.info[first][0]["credit"][8:])


def test_the_buffer_is_its_own_again_after_learning():
    """A later learn() without Credit must train on plain rewards, not on stale masks."""
    env = shape(Monitor(Levers()), [Praise()])
    model, _ = train("ppo", env, 64, Credit())
    assert not {"get", "compute_returns_and_advantage"} & set(vars(model.rollout_buffer))
    spy = Spy()
    model.learn(64, callback=spy, reset_num_timesteps=False)
    assert np.count_nonzero(spy.rewards()) == 8  # paid at the ends only


def test_learning_without_credit_after_an_interruption_is_plain_learning():
    class Interrupt(BaseCallback):
        def _on_step(self):
            return True

        def _on_rollout_end(self):
            raise KeyboardInterrupt

    env = shape(Monitor(Levers(random=True)), [Praise()])
    model = PPO("MlpPolicy", env, n_steps=60, batch_size=15, device="cpu", seed=3)
    with pytest.raises(KeyboardInterrupt):
        model.learn(60, callback=[Credit(), Interrupt()])
    spy = Spy()
    model.learn(60, callback=spy, reset_num_timesteps=False)  # the buffer still has what Credit put into it
    paid = [row[0]["reward_terms"] for row in spy.info]
    assert np.allclose(spy.rewards()[:, 0], [sum(t.values()) for t in paid])


def test_the_value_of_a_truncated_state_stays():
    """Credit replaces what was paid, never SB3's bootstrap."""
    env = shape(Monitor(Levers(truncates=True)), [Praise()])
    _, spy = train("ppo", env, 64, Credit(), n_epochs=1)
    untrained = PPO("MlpPolicy", env, gamma=0.9, policy_kwargs={"net_arch": [8]}, seed=3, device="cpu", n_steps=64)
    for k, row in enumerate(spy.info):
        if row[0]["done"]:
            obs = untrained.policy.obs_to_tensor(row[0]["terminal_observation"])[0]
            value = float(untrained.policy.predict_values(obs).detach())
            assert abs(value) > 1e-3
            assert spy.rewards()[k, 0] == pytest.approx(row[0]["credit"][-1] + 0.9 * value, abs=1e-5)


# -- conservation ----------------------------------------------------------------------------------
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("layers", [[Praise()], [Clip(0, 0.5), Uniform()]], ids=["praise", "uniform"])
def test_without_masking_what_the_buffers_pay_for_an_episode_sums_to_its_credit(algorithm, layers):
    """Episodes of 24 steps over rollouts of 10: consumed steps keep their pay, the last one pays what is owed."""
    env = shape(Monitor(Levers(24)), layers)
    _, spy = train(algorithm, env, 120, Credit(masked=False), n_steps=10, batch_size=5)
    paid, start = spy.rewards()[:, 0], 0
    ends = [k for k, row in enumerate(spy.info) if row[0]["done"]]
    assert len(ends) == 5
    for end in ends:
        credit = np.array(spy.info[end][0]["credit"])
        assert len(credit) == 24 and paid[start : end + 1].sum() == pytest.approx(credit.sum(), abs=1e-5)
        cut = max(start, end // 10 * 10)  # its steps in the rollout where it ended
        assert np.allclose(paid[cut:end], credit[cut - start : -1])
        assert np.allclose(paid[start:cut], 0.0)  # consumed steps kept their pay
        start = end + 1
    assert any((end + 1) % 10 for end in ends)


def test_an_algorithm_whose_update_cannot_be_held_back_conserves_the_return():
    env = shape(Monitor(Levers(24)), [Praise()])
    model, spy = A2C("MlpPolicy", env, n_steps=10, seed=0, device="cpu"), Spy()
    model.learn(120, callback=[Credit(), spy])
    ends = [k for k, row in enumerate(spy.info) if row[0]["done"]]
    for start, end in zip([0, *(e + 1 for e in ends)], ends):
        assert spy.rewards()[start : end + 1].sum() == pytest.approx(sum(spy.info[end][0]["credit"]), abs=1e-5)


# -- several environments --------------------------------------------------------------------------
def make(k, layers=None, **kw):
    return lambda: shape(Monitor(Levers(8, random=True, **kw)), layers or [Praise()], seed=k)


@pytest.mark.parametrize("vector", [DummyVecEnv, SubprocVecEnv])
def test_each_environment_of_a_vector_gets_its_own_credit(vector):
    env = vector([make(k) for k in range(3)])
    try:
        _, spy = train("ppo", env, 192, Credit(), n_steps=32)
    finally:
        env.close()
    paid = spy.rewards()
    for i in range(3):
        start = 0
        for k, row in enumerate(spy.info):
            if row[i]["done"]:
                cut = max(start, k // 32 * 32)
                assert np.allclose(paid[cut : k + 1, i], row[i]["credit"][cut - start :])
                start = k + 1
        assert start > 40
    assert len(np.unique(paid.sum(0))) > 1


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_only_finished_steps_of_each_environment_are_handed_out(algorithm):
    watch = Watch()
    env = DummyVecEnv([make(k) for k in range(3)])
    _, spy = train(algorithm, env, 96, watch, n_steps=32)
    want = np.zeros((32, 3), bool)
    for i in range(3):
        want[: max(k for k in range(32) if spy.info[k][i]["done"]) + 1, i] = True
    assert np.array_equal(watch.use, want) and not want.all()
    got, mine = np.concatenate(watch.handed), spy.seen[0]["advantages"][want]
    assert len(mine) - len(got) <= 1 and np.isin(got, mine).all()  # a batch of one step cannot be normalised


def test_a_learning_layer_in_other_processes_is_refused_in_one_sentence():
    env = SubprocVecEnv([make(0, [ProgressAttribution()])])
    try:
        with pytest.raises(ValueError, match="progress_attribution cannot be fitted in the processes of SubprocVecEnv"):
            train("ppo", env, 64, Credit())
    finally:
        env.close()


def test_a_live_object_that_cannot_leave_its_process_is_one_sentence():
    env = SubprocVecEnv([make(0, [PotentialShaping(phi=lambda obs: float(obs[1]))])])
    try:
        with pytest.raises(ValueError, match="live object that cannot leave its process"):
            train("ppo", env, 64, Credit())
    finally:
        for p in env.processes:  # the worker is gone, a close would wait for it
            p.kill()


def test_a_vector_without_any_stack_is_left_alone():
    env = SubprocVecEnv([lambda: Monitor(Levers())])  # asking a worker for what it lacks would end it
    try:
        model, _ = train("ppo", env, 64, Credit())
    finally:
        env.close()
    plain, _ = train("ppo", DummyVecEnv([lambda: Monitor(Levers())]), 64)
    assert np.array_equal(weights(model), weights(plain))


# -- learning, refusing, logging -------------------------------------------------------------------
def test_learning_layers_are_fitted_after_each_rollout_from_all_environments():
    env = DummyVecEnv([make(k, [Praise(), ProgressAttribution(window=10_000)]) for k in range(2)])
    credit = Credit()
    _, spy = train("ppo", env, 256, credit)
    done = sum(r["done"] for row in spy.info for r in row)
    for e in env.envs:
        m = e.stack.shapers[1]
        assert len(m.totals) == done and np.abs(m.weights).max() > 0  # every environment's episodes, in every stack
        assert not e.stack.finished and not e.stack.dropped
    assert credit.last["layers/progress_attribution/loss"] >= 0.0


def test_invalid_episodes_are_left_out_of_the_update_the_fit_and_the_log():
    for layers in ([], [ProgressAttribution()]):
        credit = Credit()
        env = shape(Monitor(Levers(invalid=3)), layers)
        _, spy = train("ppo", env, 64, credit)
        bad = [k for k, row in enumerate(spy.info) if row[0].get("invalid")]
        assert credit.invalid == len(bad) == 2
        want = np.ones(64, bool)
        for k in bad:
            want[k - 7 : k + 1] = False
        assert np.array_equal(credit.use[:, 0], want) and len(credit.recent) == 6
        if layers:
            assert env.stack.shapers[0].totals.tolist() == [1.0] * 6


@dataclass
class Late(Shaper):
    late = True

    def step(self, state, t):
        return t.reward, None


@dataclass
class Advantages(Shaper):
    output = "advantage"

    def episode(self, traj):
        return traj.rewards


@pytest.mark.parametrize(
    "layers, named",
    [([CountBonus(0.1), Uniform()], "uniform"), ([Late()], "late"), ([Clip(), Uniform(), Praise()], "uniform, praise")],
)
def test_dqn_refuses_layers_that_settle_late_in_one_sentence(layers, named):
    model = DQN("MlpPolicy", shape(Monitor(Levers()), layers), device="cpu", buffer_size=100)
    with pytest.raises(ValueError, match=f"^DQN learns from single steps and cannot wait for {named}: ") as e:
        model.learn(64, callback=Credit())
    assert str(e.value).count(". ") == 0


def test_dqn_trains_on_step_layers_and_says_what_they_paid():
    model = DQN(
        "MlpPolicy", shape(Monitor(Levers()), [CountBonus(0.5)]), device="cpu", buffer_size=100, learning_starts=16
    )
    credit = Credit()
    model.learn(64, callback=credit)
    assert model.replay_buffer.rewards[:64].sum() == pytest.approx(8 * credit.last["shaped_return"], rel=1e-4)
    assert credit.last["env_return"] == 1.0 and credit.last["reward_terms/count_bonus"] > 0


@pytest.mark.parametrize(
    "layer, why",
    [(Advantages(), "advantages gives advantages, but SB3"), (Late(), "late waits for a batch of episodes")],
)
def test_layers_that_wait_for_a_trainer_are_refused_in_one_sentence(layer, why):
    with pytest.raises(ValueError, match=f"^{why}"):
        train("ppo", shape(Monitor(Levers()), [layer]), 64, Credit())


def test_scaled_rewards_are_refused_where_credit_would_be_in_other_units():
    env = VecNormalize(DummyVecEnv([make(0)]))
    with pytest.raises(ValueError, match="norm_reward=False"):
        train("ppo", env, 64, Credit())
    train("ppo", VecNormalize(DummyVecEnv([make(0)]), norm_reward=False), 64, Credit())


def test_every_reward_term_goes_to_tensorboard_with_its_mean_over_the_episodes(tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    layers = [PotentialShaping(key="progress", gamma=1.0), ProgressAttribution(), Praise()]
    _, spy = train("ppo", shape(Monitor(Levers()), layers), 64, Credit(), tensorboard_log=str(tmp_path))
    events = EventAccumulator(str(next(tmp_path.iterdir()))).Reload()
    tags = events.Tags()["scalars"]
    assert {"layers/progress_attribution/loss", "returns/env_return", "returns/shaped_return"} <= set(tags)
    credits = [row[0]["credit"] for row in spy.info if row[0]["done"]]
    terms = {k: events.Scalars(f"reward_terms/{k}")[0].value for k in env_terms(spy)}
    assert list(terms) == ["env", "potential_shaping", "progress_attribution", "praise"] and terms["env"] == 1.0
    assert sum(terms.values()) == pytest.approx(np.mean([sum(c) for c in credits]), abs=1e-5)
    assert events.Scalars("returns/shaped_return")[0].value == pytest.approx(sum(terms.values()), abs=1e-5)
    assert events.Scalars("returns/env_return")[0].value == 1.0


def env_terms(spy):
    return next(row[0]["reward_terms"] for row in spy.info if row[0]["done"])
