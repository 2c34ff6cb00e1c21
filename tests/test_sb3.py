"""Stable-Baselines3 agents: they learn, keep the contract, carry over, and their checkpoints go on."""

import zipfile

import gymnasium as gym
import numpy as np
import pytest

import milepost  # noqa: F401
from milepost import shape
from milepost.baselines.agent import check_agent, load_agent, make_agent
from milepost.baselines.evaluate import evaluate
from milepost.wrappers import CountBonus, Normalize, PotentialShaping, ProgressAttribution, Uniform

pytest.importorskip("sb3_contrib", reason="the extra sb3 is not installed")
import torch
from sb3_contrib import MaskablePPO
from stable_baselines3 import PPO
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from milepost.baselines.oracle_agent import OracleAgent
from milepost.baselines.random_agent import RandomAgent
from milepost.baselines.sb3 import ALGORITHMS, SB3Agent, make_sb3

TEXT, NUMBERS = "milepost/Quest-easy-v0", "milepost/Quest-easy-encoded-v0"
PPO_LIKE = [n for n in ALGORITHMS if n != "dqn"]
SMALL = {n: {"n_steps": 128, "batch_size": 64, "n_epochs": 1} for n in PPO_LIKE} | {"dqn": {"learning_starts": 50}}


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def weights(agent):
    return np.concatenate([p.detach().numpy().ravel() for p in agent.model.policy.parameters()])


def small(name, env, seed=0, **kw):
    return SB3Agent(name, env, seed, **SMALL[name] | kw)


# -- learning --------------------------------------------------------------------------------------
def learns(name, steps, episodes):
    """The standards' sense: three times random's success and half the oracle's, on held-out worlds, without shaping."""
    test = gym.make(NUMBERS, split="test")
    chance = evaluate(RandomAgent(), test, episodes, seed=500).success
    best = evaluate(OracleAgent(test), test, 20, seed=500).success
    env = gym.make(NUMBERS)
    agent = SB3Agent(name, env, seed=1)
    agent.learn(env, steps)
    got = evaluate(agent, test, episodes, seed=500)
    assert best == 1.0 and 0.05 < chance < 0.3 and agent.steps < steps + 512
    assert got.success >= 3 * chance and got.success >= best / 2, (got, chance)
    return got.success


def test_it_learns_the_sparse_quest_on_held_out_worlds():
    assert learns("maskable_ppo", 4096, 50) >= 0.7


@pytest.mark.full
@pytest.mark.parametrize("name", ALGORITHMS)
def test_each_algorithm_learns_the_sparse_quest_on_held_out_worlds(name):
    assert learns(name, 8192, 100) >= 0.9


# -- the contract ----------------------------------------------------------------------------------
@pytest.mark.parametrize("face", [TEXT, NUMBERS])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_it_learns_acts_saves_loads_and_goes_on(name, face, tmp_path):
    layers = [PotentialShaping(key="progress")]
    env = shape(gym.make(face), layers)
    agent = small(name, env)
    start = weights(agent)
    history = agent.learn(env, 256)
    assert agent.steps == 256 and not np.array_equal(start, weights(agent))
    assert history[-1]["env_return"] <= 1.0 and "reward_terms/potential_shaping" in history[-1]
    agent.save(tmp_path / "agent.zip")
    again = load_agent(tmp_path / "agent.zip", gym.make(face, split="test"))  # to act: no shaping
    assert again.name == name and again.steps == 256 and np.array_equal(weights(agent), weights(again))
    obs, info = env.reset(seed=3)
    for a in (agent, again):
        a.reset(5)
    actions = [[a.act(obs, info) for _ in range(5)] for a in (agent, again)]
    assert actions[0] == actions[1]
    legal = set(info["admissible_actions"]) if face == TEXT else set(np.flatnonzero(obs["action_mask"]).tolist())
    assert set(actions[0]) <= legal
    again.learn(shape(gym.make(face), layers), 128)  # to learn: another environment
    assert again.steps == 384 and not np.array_equal(weights(agent), weights(again))
    assert again.credit.last["reward_terms/potential_shaping"] != 0.0


@pytest.mark.parametrize("name", ALGORITHMS)
def test_an_sb3_agent_keeps_the_contract_on_both_faces_and_on_a_strangers_environment(name):
    check_agent(make_agent(name, gym.make(TEXT)), gym.make(TEXT))
    check_agent(make_agent(name, gym.make(NUMBERS)), gym.make(NUMBERS))
    if name != "maskable_ppo":
        env = gym.make("CartPole-v1")
        agent = small(name, env)
        agent.learn(env, 256)
        check_agent(agent, gym.make("CartPole-v1"))
        assert agent.credit.last["length"] > 5


def test_continuous_actions_come_out_as_they_are():
    env = gym.make("Pendulum-v1")
    agent = small("ppo", env)
    obs, info = env.reset(seed=0)
    assert agent.act(obs, info) in env.action_space


class Counting(gym.Env):
    """A stranger's environment with masks and a flat observation: even actions only."""

    observation_space, action_space = gym.spaces.Box(0, 1, (2,), np.float32), gym.spaces.Discrete(4)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(2, np.float32), {"action_mask": self.action_masks()}

    def step(self, action):
        assert action % 2 == 0, "masked"
        self.t += 1
        return np.zeros(2, np.float32), 1.0, self.t == 5, False, {"action_mask": self.action_masks()}

    def action_masks(self):
        return np.array([1, 0, 1, 0], np.int8)


def test_masks_of_a_strangers_environment_are_respected():
    agent = small("maskable_ppo", Counting())
    agent.learn(agent.given, 128)
    check_agent(agent, Counting())
    with pytest.raises(ValueError, match=r"maskable_ppo asks the environment for action_masks\(\), .*: use ppo"):
        small("maskable_ppo", gym.make("CartPole-v1"))


def test_the_stack_is_the_callers_and_its_monitor_stands_inside():
    for face in (TEXT, NUMBERS):
        env = shape(gym.make(face), [CountBonus(0.5)])
        agent = small("ppo", env)
        agent.learn(env, 128)
        assert env.stack.shapers[0].state_dict() and env.stack.shapers[0].counts  # the caller's own memory
        last = agent.credit.last
        assert last["shaped_return"] > last["env_return"] + 1.0 and last["env_return"] <= 1.0


def test_layers_of_a_text_environment_go_on_seeing_text():
    seen = set()

    def progress(t):
        seen.add((type(t.next_obs), type(t.action)))
        return 0.0

    env = shape(gym.make(TEXT), [PotentialShaping(key="progress")], facts={"progress": progress})
    small("ppo", env).learn(env, 128)
    assert seen == {(str, str), (str, type(None))}


def test_evaluating_between_two_calls_of_learn_does_not_change_what_is_learnt():
    agents = []
    for look in (False, True):
        env = gym.make(NUMBERS)
        agent = small("maskable_ppo", env, seed=4)
        agent.learn(env, 128)
        if look:
            evaluate(agent, gym.make(NUMBERS, split="test"), 3, seed=9)
        agent.learn(env, 128)
        agents.append(weights(agent))
    assert np.array_equal(*agents)


# -- the policies ----------------------------------------------------------------------------------
def probabilities(model, obs):
    batch, _ = model.policy.obs_to_tensor({k: v[None] for k, v in obs.items()})
    with torch.no_grad():
        if hasattr(model.policy, "q_net"):
            return torch.softmax(model.policy.q_net(batch), 1)[0].numpy(), None
        if hasattr(model.policy, "lstm_actor"):
            zeros = torch.zeros(model.policy.lstm_hidden_state_shape)
            dist = model.policy.get_distribution(batch, (zeros, zeros), torch.zeros(1))[0]
            value = model.policy.predict_values(batch, (zeros, zeros), torch.zeros(1))
        else:
            dist, value = model.policy.get_distribution(batch), model.policy.predict_values(batch)
    return dist.distribution.probs[0].numpy(), float(value)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_rows_in_another_order_have_the_same_probabilities_and_masked_rows_have_none(name):
    env = gym.make(NUMBERS)
    model = make_sb3(name, env, seed=0)
    with torch.no_grad():
        for p in model.policy.parameters():  # far from the start, where all rows are alike
            p.mul_(3.0)
    obs, _ = env.reset(seed=2)
    there = obs["action_mask"].astype(bool)
    order = np.random.default_rng(0).permutation(len(there))
    moved = obs | {"actions": obs["actions"][order], "action_mask": obs["action_mask"][order]}
    (p, v), (q, w) = probabilities(model, obs), probabilities(model, moved)
    assert 1 < there.sum() < len(there) and (p[~there] == 0).all() and p[there].sum() == pytest.approx(1.0, abs=1e-5)
    assert np.allclose(p[order], q, atol=1e-6) and np.ptp(p[there]) > 1e-4
    assert v == pytest.approx(w, abs=1e-6) if v is not None else w is None


@pytest.mark.parametrize("name", ALGORITHMS)
def test_training_never_takes_an_action_that_is_not_there(name):
    class Strict(gym.Wrapper):
        taken = 0

        def reset(self, **kw):
            self.obs, info = self.env.reset(**kw)
            return self.obs, info

        def step(self, action):
            assert self.obs["action_mask"][int(action)] == 1
            self.taken += 1
            self.obs, *rest = self.env.step(action)
            return self.obs, *rest

    env = Strict(gym.make(NUMBERS))
    small(name, env).learn(env, 200)
    assert env.taken >= 200


def test_a_state_without_any_action_gives_no_number_that_would_ruin_a_target():
    env = gym.make(NUMBERS)
    obs, _ = env.reset(seed=0)
    model = make_sb3("dqn", env)
    batch, _ = model.policy.obs_to_tensor(
        {k: v[None] for k, v in (obs | {"action_mask": obs["action_mask"] * 0}).items()}
    )
    assert model.policy.q_net(batch).abs().max() < 100


# -- one sentence ----------------------------------------------------------------------------------
def test_unknown_names_and_settings_are_one_sentence():
    env = gym.make(NUMBERS)
    with pytest.raises(ValueError, match="no SB3 agent is called 'maskable_pp0'; did you mean 'maskable_ppo'"):
        make_sb3("maskable_pp0", env)
    for name in ALGORITHMS:
        with pytest.raises(ValueError, match=f"^{name} has no setting 'learning_rat'; did you mean 'learning_rate'"):
            make_agent(name, env, learning_rat=1)
    with pytest.raises(ValueError, match=r"scores the rows of actions itself: leave out policy_kwargs \['net_arch'\]"):
        make_sb3("ppo", env, policy_kwargs={"net_arch": [32]})
    with pytest.raises(ValueError, match="random has no setting 'sed'"):
        make_agent("random", env, sed=1)
    with pytest.raises(ValueError, match="oracle has no setting 'depth'"):
        make_agent("oracle", env, depth=1)


@pytest.mark.parametrize(
    ("name", "settings", "sentence"),
    [
        ("ppo", {"n_steps": 0}, "ppo: n_steps is 0; allowed: a whole number from 1"),
        ("ppo", {"n_steps": 1}, "ppo: `n_steps .* must be greater than 1"),  # SB3's own words
        ("ppo", {"n_epochs": 0}, "ppo: n_epochs is 0; allowed: a whole number from 1"),
        ("ppo", {"learning_rate": "x"}, "ppo: learning_rate is 'x'; allowed: a number from 0"),
        ("ppo", {"device": "gpu"}, "ppo: Expected one of cpu, cuda"),
        ("ppo", {"policy_kwargs": {"widths": 3}}, "ppo: .*'widths'"),
        ("maskable_ppo", {"gae_lambda": -1}, "maskable_ppo: gae_lambda is -1; allowed: a number from 0 to 1"),
        ("recurrent_ppo", {"batch_size": "many"}, "recurrent_ppo: batch_size is 'many'; allowed: a whole number"),
        ("dqn", {"gamma": 3}, "dqn: gamma is 3; allowed: a number from 0 to 1"),
        ("dqn", {"train_freq": 0}, r"dqn: train_freq is 0; allowed: \(number, 'step' or 'episode'\) or a whole number"),
        ("dqn", {"train_freq": [0, "step"]}, "dqn: train_freq is 0; allowed"),
        ("dqn", {"target_update_interval": True}, "dqn: target_update_interval is True; allowed: a whole number"),
    ],
)
def test_a_value_that_is_not_allowed_is_one_sentence_with_the_name_of_the_algorithm(name, settings, sentence):
    with pytest.raises(ValueError, match=f"^{sentence}") as e:
        make_agent(name, gym.make(NUMBERS), **settings)
    assert "\n" not in str(e.value)


def test_schedules_and_pairs_are_left_to_sb3():
    env = gym.make(NUMBERS)
    assert make_sb3("ppo", env, learning_rate=lambda left: 1e-3 * left, target_kl=None).lr_schedule(0.5) == 5e-4
    assert make_sb3("dqn", env, train_freq=(1, "episode"), gradient_steps=-1).gradient_steps == -1


def test_another_discount_than_the_potentials_is_warned_of_where_one_learns_elsewhere():
    agent = small("dqn", gym.make(NUMBERS))
    with pytest.warns(UserWarning, match="potential_shaping discounts by 0.99 and the agent by 0.9"):
        agent.learn(shape(gym.make(NUMBERS), [PotentialShaping()]), 8)
    many = DummyVecEnv([lambda: shape(gym.make(NUMBERS), [PotentialShaping(gamma=0.5)])] * 2)
    with pytest.warns(UserWarning, match="potential_shaping discounts by 0.5 and the agent by 0.99"):
        make_sb3("ppo", many)


def test_dqn_refuses_late_layers_before_it_learns():
    env = shape(Monitor(gym.make(NUMBERS)), [PotentialShaping(key="progress"), Uniform()])
    for e in (env, DummyVecEnv([lambda: env])):
        with pytest.raises(ValueError, match="DQN learns from single steps and cannot wait for uniform"):
            make_sb3("dqn", e)


# -- checkpoints -----------------------------------------------------------------------------------
LAYERS = [CountBonus(0.1), Normalize(), ProgressAttribution()]


def test_a_checkpoint_carries_the_stacks_memory_and_learning_goes_on_from_there(tmp_path):
    env = shape(gym.make(NUMBERS), LAYERS)
    agent = small("maskable_ppo", env)
    agent.learn(env, 256)
    state = env.stack.state_dict()
    agent.save(tmp_path / "agent.zip")
    fresh = shape(gym.make(NUMBERS), LAYERS)
    assert not fresh.stack.shapers[0].counts
    again = load_agent(tmp_path / "agent.zip", gym.make(NUMBERS))
    again.save(tmp_path / "second.zip")  # not lost by saving before learning
    again = load_agent(tmp_path / "second.zip", gym.make(NUMBERS))
    again.learn(fresh, 128)
    counts, old = fresh.stack.shapers[0].counts, state["count_bonus"]["counts"]
    assert sum(old.values()) >= 256 and all(counts[k] >= v for k, v in old.items())
    assert sum(counts.values()) >= sum(old.values()) + 128
    before = len(state["progress_attribution"]["totals"])
    assert before > 0 and len(fresh.stack.shapers[2].totals) > before
    assert fresh.stack.shapers[2].totals[:before].tolist() == state["progress_attribution"]["totals"].tolist()


def test_a_checkpoint_for_other_layers_or_spaces_is_one_sentence(tmp_path):
    env = shape(gym.make(NUMBERS), LAYERS)
    small("ppo", env).save(tmp_path / "agent.zip")
    again = load_agent(tmp_path / "agent.zip", gym.make(NUMBERS))
    with pytest.raises(ValueError, match=r"this stack has the layers \['uniform'\]"):
        again.learn(shape(gym.make(NUMBERS), [Uniform()]), 128)
    with pytest.raises(ValueError, match="spaces do not match"):
        load_agent(tmp_path / "agent.zip", gym.make("CartPole-v1"))
    with pytest.raises(ValueError, match="there is no checkpoint"):
        load_agent(tmp_path / "none.zip", env)
    (tmp_path / "bad.zip").write_bytes(b"garbage")
    with pytest.raises(ValueError, match="is no model that SB3 saved"):
        load_agent(tmp_path / "bad.zip", env)


def test_our_part_of_the_zip_is_read_without_pickle_and_sb3_reads_the_rest(tmp_path):
    env = shape(gym.make(NUMBERS), LAYERS)
    agent = small("maskable_ppo", env)
    agent.learn(env, 128)
    agent.save(tmp_path / "agent.zip")
    with zipfile.ZipFile(tmp_path / "agent.zip") as z:
        z.extract("milepost.pt", tmp_path)
    note = torch.load(tmp_path / "milepost.pt", weights_only=True)
    assert note["versions"]["torch"] == torch.__version__ and note["state"]["name"] == "maskable_ppo"
    assert [s["shaper"].split(":")[1] for s in note["state"]["stack_spec"]] == [type(m).__name__ for m in LAYERS]
    plain = MaskablePPO.load(tmp_path / "agent.zip", device="cpu")
    assert plain.num_timesteps == 128 and list(tmp_path.glob("tmp*")) == []


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_zip_that_sb3_itself_wrote_is_an_agent(name, tmp_path):
    """Ours by ``make_sb3`` and, where SB3's own policies are used, anybody's."""
    file = str(tmp_path / "model.zip")
    model = make_sb3(name, gym.make(NUMBERS), **SMALL[name])
    model.save(file)
    agent = make_agent(file, gym.make(TEXT), seed=1)
    assert agent.name == name
    check_agent(agent, gym.make(TEXT))
    with pytest.raises(ValueError, match="has no setting 'lerning_rate'"):
        make_agent(file, gym.make(TEXT), lerning_rate=1)
    env = Counting() if name == "maskable_ppo" else gym.make("CartPole-v1")
    make_sb3(name, env, **SMALL[name]).save(file)
    agent = make_agent(file, env)
    assert agent.name == name
    check_agent(agent, env)


def test_a_zip_of_another_algorithm_is_refused_by_name(tmp_path):
    from stable_baselines3 import A2C

    A2C("MlpPolicy", "CartPole-v1", device="cpu").save(tmp_path / "a2c.zip")
    with pytest.raises(ValueError, match="is no model of ppo, maskable_ppo, recurrent_ppo, dqn"):
        load_agent(tmp_path / "a2c.zip", gym.make("CartPole-v1"))
    PPO("MlpPolicy", "CartPole-v1", device="cpu").save(tmp_path / "ppo.zip")
    assert load_agent(tmp_path / "ppo.zip", gym.make("CartPole-v1")).name == "ppo"


def test_a_resumed_agent_meets_new_worlds_not_those_of_the_start(tmp_path):
    tasks = []

    class Note(gym.Wrapper):
        def reset(self, **kw):
            obs, info = self.env.reset(**kw)
            tasks.append(info["meta"]["task"])
            return obs, info

    env = Note(gym.make(NUMBERS))
    agent = small("ppo", env)
    agent.learn(env, 128)
    agent.save(tmp_path / "agent.zip")
    first, runs = set(tasks), []
    for _ in range(2):
        tasks.clear()
        load_agent(tmp_path / "agent.zip", Note(gym.make(NUMBERS))).model.learn(128, reset_num_timesteps=False)
        runs.append(list(tasks))
    assert len(first) > 3 and not first & set(runs[0]) and runs[0] == runs[1]  # new, and the same each time


def test_long_work_shows_a_progress_bar(capsys):
    pytest.importorskip("rich", reason="the extra sb3 is not installed")
    env = gym.make(NUMBERS)
    small("ppo", env, progress=True).learn(env, 128)
    assert "128/128" in capsys.readouterr().out
    small("ppo", env).learn(env, 128)
    assert capsys.readouterr().out == ""
