"""The text agent: it learns, resumes exactly, trains on credit, and makes no tensor without a device."""

import contextlib
import dataclasses
import warnings

import gymnasium as gym
import numpy as np
import pytest

import milepost  # noqa: F401
from milepost import shape
from milepost.baselines.agent import check_agent, make_agent
from milepost.baselines.evaluate import evaluate
from milepost.baselines.random_agent import RandomAgent
from milepost.envs.text.quest.env import QuestEnv
from milepost.wrappers import (
    CountBonus,
    GatedRewardAccumulation,
    Grpo,
    PotentialShaping,
    ProgressAttribution,
    Rloo,
    Shaper,
    Uniform,
)
from milepost.wrappers.types import Level

torch = pytest.importorskip("torch", reason="the extra torch is not installed")
from milepost.baselines.checkpoint import load_checkpoint, save_checkpoint  # noqa: E402
from milepost.baselines.lanes import Lanes  # noqa: E402
from milepost.baselines.text_agent import TextAgent  # noqa: E402

EASY = "milepost/Quest-easy-v0"
SMALL = {"batch_steps": 128, "lanes": 4, "minibatch": 64, "epochs": 2}


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def weights(agent):
    return np.concatenate([p.detach().cpu().numpy().ravel() for p in agent.policy.parameters()])


def test_it_learns_quest_and_carries_over_to_unseen_worlds():
    agent = TextAgent(seed=1)
    env = shape(gym.make(EASY), [PotentialShaping(key="progress")])
    before = evaluate(agent, gym.make(EASY, split="test"), 50, seed=3).success
    agent.learn(env, 7000)
    after = evaluate(agent, gym.make(EASY, split="test"), 50, seed=3)
    assert before < 0.4 and after.success >= 0.8 and after.invalid == 0


@pytest.mark.parametrize(
    "layers", [[], [CountBonus(0.01), ProgressAttribution()], [PotentialShaping(key="progress"), Uniform()]]
)
def test_a_saved_agent_goes_on_exactly_as_if_it_had_never_stopped(tmp_path, layers):
    straight = TextAgent(seed=2, device="cpu", **SMALL)  # cuda adds in no fixed order
    env = shape(gym.make(EASY), layers)
    straight.learn(env, 300)
    straight.save(tmp_path / "agent.pt")
    resumed = TextAgent.load(tmp_path / "agent.pt", device="cpu")
    assert np.array_equal(weights(straight), weights(resumed))
    a = straight.learn(env, 300)
    b = resumed.learn(shape(gym.make(EASY), layers), 300)
    assert a == b and np.array_equal(weights(straight), weights(resumed))
    obs, info = env.reset(seed=0)
    for agent in (straight, resumed):
        agent.reset(5)
    assert [straight.act(obs, info) for _ in range(5)] == [resumed.act(obs, info) for _ in range(5)]


def test_a_checkpoint_of_another_kind_or_none_is_one_sentence(tmp_path):
    with pytest.raises(ValueError, match="there is no checkpoint"):
        TextAgent.load(tmp_path / "none.pt")
    (tmp_path / "bad.pt").write_bytes(b"garbage")
    with pytest.raises(ValueError, match="is no checkpoint of milepost"):
        TextAgent.load(tmp_path / "bad.pt")
    save_checkpoint(tmp_path / "other.pt", "other", {"x": np.arange(3.0), "y": (1, "a")})
    with pytest.raises(ValueError, match="is a checkpoint of other, not of text"):
        TextAgent.load(tmp_path / "other.pt")
    back = load_checkpoint(tmp_path / "other.pt", "other")
    assert back["x"].tolist() == [0.0, 1.0, 2.0] and back["y"] == (1, "a")


def test_an_agent_keeps_the_contract():
    check_agent(make_agent("text", gym.make(EASY), seed=0), gym.make(EASY))
    check_agent(make_agent("random", gym.make(EASY), seed=0), gym.make(EASY))
    env = gym.make(EASY)
    check_agent(make_agent("oracle", env), env)
    with pytest.raises(ValueError, match="no agent is called 'txt'; did you mean 'text'"):
        make_agent("txt", gym.make(EASY))
    with pytest.raises(ValueError, match="no setting 'epoch'"):
        make_agent("text", gym.make(EASY), epoch=3)


class Meddler:
    def act(self, obs, info):
        info["x"] = 1
        return info["admissible_actions"][0]


def test_the_check_catches_an_agent_that_changes_what_it_sees():
    with pytest.raises(AssertionError, match="act changed"):
        check_agent(Meddler(), gym.make(EASY))


def test_lanes_hand_over_the_rewards_that_the_whole_stack_settled():
    env = shape(gym.make(EASY), [PotentialShaping(key="progress"), GatedRewardAccumulation()])
    lanes = Lanes(env, 3, 0)
    rng, done = np.random.default_rng(0), []
    while len(done) < 20:
        actions = [str(rng.choice(i["admissible_actions"])) for i in lanes.infos]
        done += lanes.step(actions, list(actions))
    for e in done:
        assert len(e.rewards) == len(e.extras) and e.env_return == float(e.success)
        assert e.rewards.sum() == pytest.approx(sum(e.terms.values()))
        if not e.success:  # the gate is closed: nothing of the potential is paid
            assert e.rewards.tolist() == [0.0] * len(e.rewards)
    assert any(e.success for e in done) and len(env.stack.names) == 2


def test_evaluation_says_how_often_sub_goals_that_every_episode_has_were_reached():
    class Named(gym.Wrapper):
        def step(self, action):
            *rest, info = self.env.step(action)
            return *rest, info | {"subgoals": {"won": info["success"], str(info["score"]): True}}

    got = evaluate(RandomAgent(), Named(gym.make(EASY)), 20, seed=1)
    assert got.subgoals == {"won": got.success} and 0.0 < got.success < 1.0


def test_evaluation_refuses_shaped_environments():
    with pytest.raises(ValueError, match="without shaping"):
        evaluate(TextAgent(), shape(gym.make(EASY), [Uniform()]), 1)


class Broken(gym.Wrapper):
    """Every third episode ends by a failure of the infrastructure."""

    count = 0

    def reset(self, **kw):
        Broken.count += 1
        return self.env.reset(**kw)

    def step(self, action):
        obs, reward, te, tr, info = self.env.step(action)
        if Broken.count % 3 == 0:
            return obs, 0.0, False, True, info | {"invalid": True}
        return obs, reward, te, tr, info


def test_invalid_episodes_are_dropped_and_counted():
    agent = TextAgent(**SMALL | {"lanes": 1})
    history = agent.learn(Broken(gym.make(EASY)), 300)
    assert agent.invalid > 0 and history[-1]["invalid"] == agent.invalid
    got = evaluate(agent, Broken(gym.make(EASY)), 9)
    assert got.invalid == 3 and got.episodes == 6


def test_no_step_is_counted_and_then_thrown_away():
    agent = TextAgent(seed=3, **SMALL)
    env = gym.make(EASY)
    for _ in range(3):
        before = agent.steps
        history = agent.learn(env, 150)
        assert sum(h["episodes"] * h["length"] for h in history) == pytest.approx(agent.steps - before)
        assert 150 <= agent.steps - before <= 150 + SMALL["lanes"] * 30  # an episode has at most 30 steps


def test_an_episode_that_never_ends_does_not_hold_training_up():
    class Endless(gym.Wrapper):
        def step(self, action):
            obs, reward, _, _, info = self.env.step("look")
            self.env.unwrapped._steps = 0
            return obs, reward, False, False, info

    assert TextAgent(lanes=1).learn(Endless(gym.make(EASY)), 10) == []


def test_layers_never_see_what_the_infrastructure_ended():
    seen = []

    @dataclasses.dataclass
    class Spy(Shaper):
        def step(self, state, t):
            return t.reward, None

        def learn(self, trajs):
            seen.extend(bool(t.infos[-1].get("invalid")) for t in trajs)
            return {}

    agent = TextAgent(seed=0, **(SMALL | {"lanes": 1}))
    history = agent.learn(shape(Broken(gym.make(EASY)), [Spy()]), 300)
    assert agent.invalid > 0 and seen and not any(seen)
    assert len(seen) == sum(h["episodes"] for h in history)


def test_every_tensor_is_made_on_the_agents_device():
    """A tensor made without a device would land on meta here and could not meet the others."""
    torch.set_default_device("meta")
    try:
        agent = TextAgent(device="cpu", **SMALL)
        torch.set_default_device("cpu")  # torch's Adam counts its steps in a tensor on the default device: let it begin
        agent.learn(shape(gym.make(EASY), [PotentialShaping(key="progress")]), 200)
        torch.set_default_device("meta")
        agent.learn(shape(gym.make(EASY), [PotentialShaping(key="progress")]), 200)
        obs, info = gym.make(EASY).reset(seed=0)
        assert agent.act(obs, info) in info["admissible_actions"]
        assert all(p.device.type == "cpu" for p in agent.policy.parameters())
    finally:
        torch.set_default_device("cpu")


def test_every_reward_term_goes_to_tensorboard(tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    agent = TextAgent(log=tmp_path, **SMALL)
    agent.learn(shape(gym.make(EASY), [PotentialShaping(key="progress"), Uniform()]), 200)
    found = EventAccumulator(str(tmp_path)).Reload().Tags()["scalars"]
    assert {f"reward_terms/{k}" for k in ("outcome", "potential_shaping", "uniform")} <= set(found)
    assert {"env_return", "shaped_return", "loss"} <= set(found)


@pytest.mark.parametrize("half", [True, False])
def test_advantages_of_a_tail_replace_gae(half):
    seen = []

    @dataclasses.dataclass
    class Half(Shaper):
        output = "advantage"

        def episode(self, traj):
            seen.append(len(traj))
            skipped = np.nan if half else 0.0  # NaN: the agent does not learn from the step
            return np.where(np.arange(len(traj)) % 2, skipped, traj.rewards.sum())

    agent, used = TextAgent(**SMALL), []
    loss = agent.loss
    agent.loss = lambda rows, adv, ret: used.extend(adv) or loss(rows, adv, ret)
    history = agent.learn(shape(gym.make(EASY), [Half()]), 400)
    assert len(seen) == sum(h["episodes"] for h in history) and np.isfinite(history[-1]["loss"])
    assert set(used) == {0.0, 1.0}  # what the layer gave, and nothing of GAE
    kept = sum((n + 1) // 2 for n in seen) if half else sum(seen)
    assert len(used) == kept * SMALL["epochs"]


def test_layers_that_compare_episodes_are_refused_on_one_environment():
    with pytest.raises(ValueError, match=r"grpo compares the episodes of a group.*stack\.run.*groups=True"):
        shape(gym.make(EASY), [Grpo()])
    env = shape(gym.make(EASY), [Grpo()], groups=True)
    with pytest.raises(ValueError, match=r"grpo: compares the episodes of a group, .* give it group=8"):
        TextAgent(**SMALL).learn(env, 10)  # it plays no groups
    assert shape(env, [Rloo()]).groups  # the two lists are one stack, and the permission stays
    env = shape(gym.make(EASY), [PotentialShaping(key="progress")])
    with pytest.raises(ValueError, match="grpo compares the episodes of a group"):
        shape(env, [Grpo()])


@pytest.mark.parametrize("late", [False, True])
def test_a_group_is_so_many_whole_episodes_of_one_task(late):
    groups, used = [], []

    @dataclasses.dataclass
    class Compared(Shaper):
        level = Level.GROUP
        output = "reward" if late else "advantage"
        learns = True

        def learn(self, trajs):
            assert all(t.advantages is None for t in trajs)
            return {"fits": 1.0}

        def group(self, group):
            groups.append([t.meta["task"] for t in group])
            assert all(len(t.meta["logp"]) == len(t) and (t.meta["logp"] <= 0).all() for t in group)
            assert all(t.terminated or t.truncated for t in group)
            return [np.full(len(t), float(i)) for i, t in enumerate(group)]

    agent = TextAgent(**SMALL | {"lanes": 8, "group": 4, "batch_steps": 300})
    advantages = agent._advantages
    agent._advantages = lambda e, rewards, given: used.append((rewards, given)) or advantages(e, rewards, given)
    history = agent.learn(shape(gym.make(EASY), [Compared()], groups=True), 900)
    assert len(history) >= 2 and all(h["compared/fits"] == 1.0 for h in history)
    assert sum(map(len, groups)) == sum(h["episodes"] for h in history)  # once each, though a fit runs layers again
    assert all(len(g) % 4 == 0 and len(set(g)) == 1 for g in groups) and len({g[0] for g in groups}) > 3
    for rewards, given in used:
        assert (given is None) == late and len(set(rewards if late else given)) == 1


class Nameless(gym.Wrapper, gym.utils.RecordConstructorArgs):
    """A text environment that does not say which task it plays."""

    def __init__(self, env):
        gym.utils.RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)

    def reset(self, **kw):
        obs, info = self.env.reset(**kw)
        return obs, {k: v for k, v in info.items() if k != "meta"}


def test_groups_of_nameless_tasks_are_kept_apart_by_their_seeds():
    groups = []

    @dataclasses.dataclass
    class Compared(Shaper):
        level = Level.GROUP
        output = "advantage"

        def group(self, group):
            groups.append([t.obs[0] for t in group])
            return [np.zeros(len(t)) for t in group]

    agent = TextAgent(**SMALL | {"lanes": 8, "group": 4, "batch_steps": 300})
    agent.learn(shape(Nameless(gym.make(EASY)), [Compared()], groups=True), 300)
    assert groups and all(len(g) == 4 and len(set(g)) == 1 for g in groups)


def test_a_batch_that_is_left_out_whole_updates_nothing():
    @dataclasses.dataclass
    class Down(Shaper):
        output = "advantage"

        def episode(self, traj):
            return np.full(len(traj), np.nan)

    agent = TextAgent(**SMALL)
    before = weights(agent)
    history = agent.learn(shape(gym.make(EASY), [Down()]), 300)
    assert np.array_equal(before, weights(agent)) and agent.updates == 0 and history[-1]["episodes"] > 0


def test_a_batch_larger_than_what_the_stack_keeps_is_one_sentence():
    env = shape(gym.make(EASY), [Grpo()], groups=True)
    env.stack.keep = 100
    with pytest.raises(ValueError, match=r"batch_steps is 300, and the stack kept .* episodes, for it keeps 100 steps"):
        with warnings.catch_warnings(action="ignore"):
            TextAgent(**SMALL | {"group": 4, "batch_steps": 300}).learn(env, 400)


def test_an_agent_of_groups_learns_by_a_layer_that_compares(tmp_path):
    agent = TextAgent(seed=1, group=8)
    env = shape(gym.make(EASY), [Grpo()], groups=True)
    history = agent.learn(env, 6000)
    assert np.mean([h["success"] for h in history[-2:]]) > np.mean([h["success"] for h in history[:2]]) + 0.2
    agent.save(tmp_path / "a.pt")
    assert TextAgent.load(tmp_path / "a.pt").settings.group == 8


# -- what it cannot read, and settings ---------------------------------------------------------------
class Wordless(gym.Wrapper):
    """A text environment that publishes no admissible actions."""

    def reset(self, **kw):
        obs, info = self.env.reset(**kw)
        return obs, {k: v for k, v in info.items() if k != "admissible_actions"}


def test_what_it_cannot_read_is_refused_before_the_first_step():
    for env_id, shown in (("CartPole-v1", "shows a Box"), ("milepost/Quest-easy-encoded-v0", "shows a Dict")):
        env = gym.make(env_id)
        for call in (lambda e: TextAgent(**SMALL).learn(e, 10), lambda e: make_agent("text", e)):
            with pytest.raises(ValueError, match=f"needs observations that are text .* {shown}: .*, or the agent ppo"):
                call(env)
    env, agent = Wordless(gym.make(EASY)), TextAgent(**SMALL | {"lanes": 1})
    before = weights(agent)
    with pytest.raises(ValueError, match=r"info\['admissible_actions'\], and this environment publishes none"):
        agent.learn(env, 10)
    with pytest.raises(ValueError, match="publishes none"):
        evaluate(agent, env, 1)
    with pytest.raises(ValueError, match="shows ndarray"):
        agent.act(np.zeros(3), {"admissible_actions": ("look",)})
    assert agent.steps == 0 and np.array_equal(before, weights(agent))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        *(
            ({n: v}, f"{n} is {v!r}; allowed: a whole number from 1")
            for n in ("lanes", "dim", "epochs")
            for v in (0, "4")
        ),
        ({"minibatch": 2.5}, "minibatch is 2.5; allowed: a whole number from 1"),
        ({"batch_steps": True}, "batch_steps is True; allowed: a whole number from 1"),
        ({"group": 0}, "group is 0; allowed: a whole number from 1"),
        ({"group": 3}, "group is 3; allowed: a divisor of lanes, which is 16"),
        ({"lr": 0}, "lr is 0; allowed: a number above 0"),
        ({"lr": float("nan")}, "lr is nan; allowed: a number above 0"),
        ({"gamma": 1.01}, "gamma is 1.01; allowed: a number from 0 to 1"),
        ({"lam": -0.1}, "lam is -0.1; allowed: a number from 0 to 1"),
        ({"clip": 0.0}, "clip is 0.0; allowed: a number above 0"),
        ({"entropy": -1}, "entropy is -1; allowed: a number from 0"),
        ({"value": "x"}, "value is 'x'; allowed: a number from 0"),
        ({"grad_norm": 0}, "grad_norm is 0; allowed: a number above 0"),
        ({"device": "gpu"}, "device is 'gpu'; allowed: auto, cpu"),
        ({"greedy": "no"}, "greedy is 'no'; allowed: True or False"),
        ({"epoch": 3}, "no setting 'epoch'; did you mean 'epochs'"),
    ],
)
def test_a_setting_that_is_not_allowed_is_named(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        TextAgent(**settings)
    assert TextAgent(gamma=1, lam=0, entropy=0, lanes=np.int64(2)).settings.lanes == 2


def test_it_warns_where_its_discount_is_not_that_of_a_potential():
    env = shape(gym.make(EASY), [PotentialShaping(key="progress", gamma=0.9)])
    with pytest.warns(UserWarning, match="potential_shaping discounts by 0.9 and the agent by 0.99"):
        TextAgent(**SMALL).learn(env, 50)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*discounts by")
        TextAgent(gamma=0.9, **SMALL).learn(env, 50)


@pytest.mark.parametrize("breaks", [True, False])
def test_evaluation_closes_its_copies_also_when_the_agent_breaks(monkeypatch, breaks):
    closed = []
    monkeypatch.setattr(QuestEnv, "close", lambda self: closed.append(self))

    class Acts:
        def acts(self, observations, infos):
            if breaks:
                raise RuntimeError("out of ideas")
            return ["look"] * len(observations)

    with pytest.raises(RuntimeError, match="out of ideas") if breaks else contextlib.nullcontext():
        evaluate(Acts(), gym.make(EASY), 4)
    assert len(closed) == 3  # the environment itself stays the caller's
