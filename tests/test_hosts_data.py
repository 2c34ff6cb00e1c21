"""The hosts of finished episodes, recorded data and trainers, and the same stacks on every host."""

import dataclasses
import itertools

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from milepost import shape
from milepost.wrappers import (
    Checklist,
    Clip,
    Conserve,
    CountBonus,
    EpisodicCountDiscount,
    Focus,
    Gate,
    GatedRewardAccumulation,
    Grpo,
    HopProgress,
    MissingFact,
    Mix,
    Normalize,
    PotentialShaping,
    ProgressAttribution,
    ReNorm,
    Scale,
    ScoreDelta,
    ScoreDeltaWin,
    Stack,
    SubgoalOptions,
    ToolMatch,
    Trajectory,
    Uniform,
)
from milepost.wrappers.hosts.offline import relabel, trajectory
from milepost.wrappers.hosts.trainer import at_tokens, dialogue, trl_reward
from milepost.wrappers.hosts.vector import ShapedVectorEnv

pytestmark = pytest.mark.core
WORDS = "äéß… →日本 \n\N{SLIGHTLY SMILING FACE}abcdefghijklmnopqrstuvwxyz0123456789"
TEXT = gym.spaces.Text(40, min_length=1, charset=WORDS)


class Path(gym.Env):
    """Five cells in a row, +1 at the end, fixed by the actions alone; every fact is published."""

    metadata = {"render_modes": []}
    observation_space, action_space = gym.spaces.Discrete(5), gym.spaces.Discrete(2)

    def __init__(self, limit=6):
        self.limit = limit

    def info(self):
        facts = {"score": float(self.x), "max_score": 4.0, "valid_action": True, "success": self.x == 4}
        facts |= {"progress": self.x / 4, "subgoals": {"half": self.x >= 2, "end": self.x == 4}}
        call = {"name": "go", "arguments": {"to": self.x}}
        facts |= {"reference": ({"name": "go", "arguments": {"to": 3}},), "process_score": self.x / 4}
        facts |= {"tool_calls": (call | {"ok": True, "result": ""},), "turn": self.x // 3}
        items = ({"id": "half", "weight": 1.0}, {"id": "end", "weight": 1.0, "turn": 1, "depends": ("half",)})
        return facts | {"meta": {"checklist": items}}

    def look(self):
        return self.x

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x, self.t = 1, 0
        return self.look(), self.info()

    def step(self, a):
        self.x, self.t = self.x + (1 if a in (1, "vör") else -1), self.t + 1
        te, win = self.x in (0, 4), float(self.x == 4)
        info = self.info() | {"reward_terms": {"outcome": win, "format": 0.1}}
        return self.look(), win + 0.1, te, not te and self.t >= self.limit, info


class Spoken(Path):
    """The same in words that are not ASCII."""

    observation_space = TEXT
    action_space = gym.spaces.Text(5, charset="vörzuk")

    def info(self):
        facts = {k: v for k, v in super().info().items() if k not in ("reference", "tool_calls", "meta")}
        return facts | {"room": f"zimmer … {self.x}"}  # HDF5, in which Minari keeps it, holds no tool calls

    def look(self):
        return f"日本 {self.x}\n→ \N{SLIGHTLY SMILING FACE} äé"


ACTIONS = {"won": [1, 1, 1], "lost": [1, 0, 0], "cut off": [1, 0, 1, 0, 1, 0]}


def play(env, actions, seed=0):
    """(observations, infos, rewards, end) of one episode of a single environment."""
    obs, info = env.reset(seed=seed)
    rows, infos, paid, end = [obs], [info], [], (False, False)
    for a in actions:
        assert end == (False, False)
        obs, r, *end, info = env.step(a)
        end = tuple(end)
        rows.append(obs), infos.append(info), paid.append(r)
    assert any(end)
    return rows, infos, paid, end


def final(infos, paid):
    return np.array(infos[-1].get("credit", paid))


def cell(obs, info):
    """What a judge sees."""
    return str(int(obs))


HALF = {
    "scorer": "predicate",
    "patterns": {"half": "^2$", "end": "^4$"},
}  # a judge without a model, asked like any other

# -- the same stacks on every host --------------------------------------------------------------------
DOZEN = [
    [],
    [Clip(0, 0.5)],
    [PotentialShaping(key="progress")],
    [CountBonus(0.1), Scale(2.0)],
    [ScoreDelta(), HopProgress(success_bonus=0.5), Clip(-1, 1)],
    [SubgoalOptions(beta=0.2), EpisodicCountDiscount(of="format", exponent=1.0)],
    [SubgoalOptions(beta=0.2, judge=HALF, subgoals=("half", "end"), view=cell, task="walk"), Uniform()],
    [Focus("format", Scale(3.0)), Gate(ScoreDelta(), "progress", 0.5), Normalize()],
    [Uniform()],
    [PotentialShaping(key="progress"), GatedRewardAccumulation(high=("outcome",))],
    [ScoreDelta(), ScoreDeltaWin(), Clip(-1, 1)],
    [Mix([Uniform(), Clip(0, 0.3)]), PotentialShaping(key="progress", gamma=0.9)],
    [Conserve(Clip(0, 0.3)), ProgressAttribution(alpha=0.5, conserve="last")],
    [Checklist(emit="turn"), ToolMatch(unmatched=-0.1), ReNorm(combine="add")],
    [Checklist(emit="step", eta=0.5, turn=""), ToolMatch(assignment="ot")],
    [ReNorm(beta=0.5), ToolMatch(assignment="greedy", unmatched=-0.1), Clip(-0.4, 0.4)],
]


def frozen(env):
    env.stack.train(False)  # so that a count of one host's lanes is no other's
    return env


def on_env(layers, actions):
    return final(*play(frozen(shape(Path(), layers)), actions)[1:3])


def on_vector(columns, mode):
    def host(layers, actions):
        inner = SyncVectorEnv([Path] * 2, autoreset_mode=mode)
        env = frozen(ShapedVectorEnv(inner, layers, columns=columns))
        assert env.columns == (columns and all(m.columnar for m in env.stack.head))
        env.reset(seed=0)
        other, paid = itertools.cycle([1, 0, 0]), []  # the lane beside it ends at other steps
        for a in actions:
            _, r, te, tr, infos = env.step(np.array([next(other), a]))
            paid.append(r[1])
            if mode == AutoresetMode.DISABLED and (te | tr)[0] and not (te | tr)[1]:
                env.reset(options={"reset_mask": te | tr})
        where = infos["final_info"] if mode == AutoresetMode.SAME_STEP else infos
        assert te[1] or tr[1]
        return np.array(where["credit"][1] if "credit" in where else paid)

    return host


def game():
    pettingzoo = pytest.importorskip("pettingzoo", reason="the extra multiagent is not installed")

    class Pair(pettingzoo.ParallelEnv):
        """Two that walk apart; the other one goes left at once."""

        metadata = {"name": "pair_v0"}
        render_mode, possible_agents = None, ["a_0", "a_1"]

        def observation_space(self, agent):
            return Path.observation_space

        def action_space(self, agent):
            return Path.action_space

        def reset(self, seed=None, options=None):
            self.agents, self.envs = list(self.possible_agents), {a: Path() for a in self.possible_agents}
            got = {a: e.reset(seed=seed) for a, e in self.envs.items()}
            return {a: g[0] for a, g in got.items()}, {a: g[1] for a, g in got.items()}

        def step(self, actions):
            got = {a: self.envs[a].step(actions[a]) for a in self.agents}
            self.agents = [a for a in self.agents if not (got[a][2] or got[a][3])]
            return tuple({a: g[i] for a, g in got.items()} for i in range(5))

    return Pair()


def on_parallel(layers, actions):
    env, paid = frozen(shape(game(), layers)), []
    env.reset(seed=0)
    for a in actions:
        _, r, _, _, infos = env.step({"a_0": 0, "a_1": a} if "a_0" in env.agents else {"a_1": a})
        paid.append(r["a_1"])
    return final([infos["a_1"]], paid)


def on_aec(layers, actions):
    both = game()
    from pettingzoo.utils.conversions import parallel_to_aec

    env, rows = frozen(shape(parallel_to_aec(both), layers)), []
    env.reset(seed=0)
    for a in env.agent_iter():
        _, r, te, tr, info = env.last()
        if a == "a_1":
            rows.append((r, info))
        env.step(None if te or tr else 0 if a == "a_0" else actions[len(rows) - 1])
    return final([rows[-1][1]], [r for r, _ in rows[1:]])


@dataclasses.dataclass
class Episode:
    """The fields of ``minari.EpisodeData``."""

    id: int
    observations: object
    actions: object
    rewards: object
    terminations: object
    truncations: object
    infos: dict


def batch(infos):
    """Dicts as a dict of arrays, as data sets hold them; only what every info has."""
    keys = [k for k in infos[0] if all(k in i for i in infos)]
    columns = {k: [i[k] for i in infos] for k in keys}
    return {k: batch(v) if isinstance(v[0], dict) else as_one(v) for k, v in columns.items()}


def as_one(values):
    return values if isinstance(values[0], str) else np.array(values)


def recorded(env, actions, k=0):
    obs, infos, paid, (te, tr) = play(env, actions)
    last = np.arange(len(paid)) == len(paid) - 1
    said = batch(infos) | {"reward_terms": batch([i["reward_terms"] for i in infos[1:]])}
    return Episode(k, as_one(obs), as_one(actions), np.array(paid), last & te, last & tr, said)


def on_data(layers, actions):
    stack = Stack(layers)
    stack.train(False)
    (got,) = relabel([recorded(Path(), actions)], stack)
    assert list(got.infos["reward_terms"]) == ["outcome", "format", *stack.names]
    return got.rewards


def on_trainer(layers, actions):
    obs, infos, paid, end = play(Path(), actions)
    stack = Stack(layers)
    stack.train(False)
    (got,) = stack.run([Trajectory(obs, actions, np.array(paid), *end, infos)])
    return got.rewards


HOSTS = {"data": on_data, "trainer": on_trainer, "parallel": on_parallel, "aec": on_aec} | {
    f"{'columns' if c else 'lanes'} {m.value}": on_vector(c, m) for c in (True, False) for m in AutoresetMode
}


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("layers", DOZEN, ids=["+".join(type(s).__name__ for s in x) or "empty" for x in DOZEN])
def test_the_same_episode_is_paid_the_same_on_every_host(layers, host):
    for name, actions in ACTIONS.items():
        want = on_env(layers, actions)
        assert len(want) == len(actions)
        np.testing.assert_allclose(HOSTS[host](layers, actions), want, atol=1e-12, err_msg=name)


def test_the_dozen_tells_the_identity_from_what_it_tests():
    paid = [np.round(np.concatenate([on_env(x, a) for a in ACTIONS.values()]), 9) for x in DOZEN]
    assert len({tuple(p) for p in paid}) == len(DOZEN) == 16


# -- recorded data -----------------------------------------------------------------------------------
LAYERS = [PotentialShaping(key="progress"), CountBonus(0.1, key="room"), SubgoalOptions(beta=0.2), Uniform()]
SPEECH = {k: ["vör" if a else "zurük" for a in x] for k, x in ACTIONS.items()}


@pytest.mark.filterwarnings("ignore::UserWarning")  # a data set for one test has no author
def test_a_minari_data_set_of_text_is_relabelled_as_it_was_paid_online(tmp_path, monkeypatch):
    minari = pytest.importorskip("minari", reason="the extra minari is not installed")
    from minari.data_collector.episode_buffer import EpisodeBuffer

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    episodes = [recorded(Spoken(), SPEECH[k], i) for i, k in enumerate(SPEECH)]
    buffers = [EpisodeBuffer(**(dataclasses.asdict(e) | {"seed": 0, "options": None})) for e in episodes]
    minari.create_dataset_from_buffers(
        "milepost/spoken-v0", buffers, observation_space=TEXT, action_space=Spoken.action_space, data_format="hdf5"
    )
    assert list(tmp_path.rglob("*.hdf5"))  # on disk, and read back from there
    data = minari.load_dataset("milepost/spoken-v0")
    assert data.observation_space == TEXT and data.total_episodes == 3
    env, stack = shape(Spoken(), LAYERS), Stack(LAYERS)
    for new, old, (name, actions) in zip(relabel(data, stack), data, SPEECH.items(), strict=True):
        obs, infos, paid, _ = play(env, actions)
        assert new.observations == obs and list(new.actions) == actions, name
        np.testing.assert_allclose(new.rewards, final(infos, paid), atol=1e-12)
        assert new.rewards.sum() == pytest.approx(sum(paid)) != pytest.approx(old.rewards.sum())
        terms = new.infos["reward_terms"]
        assert set(terms) == {"outcome", "format", *stack.names}  # HDF5 sorts what the environment had
        np.testing.assert_allclose(sum(terms.values()), new.rewards, atol=1e-12)
        np.testing.assert_allclose(terms["format"], 0.1)
        for layer in stack.names[:3]:
            np.testing.assert_allclose(terms[layer], [i["reward_terms"][layer] for i in infos[1:]])
    for new, old in zip(relabel(data, Stack([Uniform()])), data, strict=True):
        assert new.rewards.sum() == pytest.approx(old.rewards.sum()) and len(set(new.rewards)) == 1


def test_relabelled_episodes_can_be_relabelled_again():
    episodes = [recorded(Path(), a) for a in ACTIONS.values()]
    one = list(relabel(episodes, Stack([ScoreDelta(), Clip(-1, 0.5), Uniform()])))
    two = list(relabel(relabel(episodes, Stack([ScoreDelta()])), Stack([Clip(-1, 0.5), Uniform()])))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(a.rewards, b.rewards)
        assert list(a.infos["reward_terms"]) == list(b.infos["reward_terms"])


def test_an_episode_without_infos_has_only_the_env_term_and_lacks_facts():
    episode = dataclasses.replace(recorded(Path(), ACTIONS["won"]), infos={})
    (new,) = relabel([episode], Stack([Clip(0, 0.5)]))
    assert list(new.infos["reward_terms"]) == ["env", "clip"] and episode.infos == {}
    with pytest.raises(MissingFact, match="score_delta"):
        list(relabel([episode], Stack([ScoreDelta()])))
    facts = {"score": lambda t: float(t.next_obs), "max_score": lambda t: 4.0}
    (new,) = relabel([episode], Stack([ScoreDelta()], facts=facts))
    assert new.rewards == pytest.approx([0.35, 0.35, 1.35])


def test_an_account_given_as_a_fact_counts_on_recorded_episodes_too():
    facts = {"reward_terms": lambda t: {"win": t.reward - 0.5, "rent": 0.5}}
    layers = [Focus("win", Scale(2.0))]
    (new,) = relabel([dataclasses.replace(recorded(Path(), ACTIONS["won"]), infos={})], Stack(layers, facts=facts))

    class Silent(Path):
        def step(self, a):
            *rest, _ = super().step(a)
            return *rest, {}

    paid = play(shape(Silent(), layers, facts=facts), ACTIONS["won"])[2]
    np.testing.assert_allclose(new.rewards, paid)
    assert list(new.infos["reward_terms"]) == ["win", "rent", "focus"]


def test_trees_of_observations_and_the_task_of_an_episode_are_read():
    n = 2
    tree = {"a": np.arange(3), "b": (np.arange(3) * 2, np.zeros((3, 2)))}
    infos = {"room": np.array([b"f\xc3\xbcr", b"x", b"y"], object), "meta": {"task": np.array([b"t1"] * 3, object)}}
    got = trajectory(Episode(7, tree, {"x": np.ones(n)}, [1, 2], [False, True], [False, False], infos))
    assert got.obs[2]["a"] == 2 and got.obs[1]["b"][0] == 2 and got.actions == [{"x": 1.0}] * 2
    assert got.infos[0]["room"] == "für" and got.meta == {"id": 7, "task": "t1"} and got.terminated
    assert len(trajectory(Episode(0, np.zeros(1), [], [], [], [], {}))) == 0


# -- trainers ----------------------------------------------------------------------------------------
def test_a_dialogue_is_an_episode_of_its_assistant_turns():
    turns = [
        {"role": r, "content": c} for r, c in (("assistant", "a"), ("tool", "t"), ("user", "u"), ("assistant", "b"))
    ]
    t = dialogue("prompt", turns, 2.0, task="q")
    assert t.actions == [turns[0], turns[3]] and t.obs == ["prompt", turns[1:3], []]
    assert t.rewards.tolist() == [0.0, 2.0] and t.terminated and t.meta == {"task": "q"}
    with pytest.raises(ValueError, match="no action to reward"):
        dialogue("prompt", turns[1:3])


def test_a_reward_function_for_trl_groups_by_prompt_and_logs_the_account():
    def right(completions, answer, **_):
        return [float(a in str(c)) for c, a in zip(completions, answer)]

    talk = [
        [{"role": "assistant", "content": "?"}, {"role": "user", "content": "!"}, {"role": "assistant", "content": "4"}]
    ]
    seen, completions = {}, ["4", "5", "6", *talk]
    columns = {"prompts": ["p", "p", "q", "q"], "completions": completions, "answer": ["4", "4", "4", "4"]}
    f = trl_reward(Stack([Scale(3.0), Grpo(eps=0.0)]), right)
    assert f(**columns, log_metric=seen.__setitem__) == pytest.approx([1.0, -1.0, -1.0, 1.0])
    assert seen == pytest.approx({"reward_terms/env": 0.5, "reward_terms/scale": 1.0})  # an advantage is no term
    assert trl_reward(Stack([Scale(3.0), Uniform()]), right)(**columns) == pytest.approx([3.0, 0.0, 0.0, 3.0])
    assert trl_reward(Stack([Clip()]), right)(prompts=[], completions=[], answer=[], log_metric=print) == []


def test_tokens_are_steps_with_a_turns_reward_on_its_last_token():
    traj = Trajectory(
        list("abc"), ["x", "y"], np.array([0.5, 1.0]), True, False,
        [{}, {"score": 1.0, "reward_terms": {"env": 0.5}}, {"score": 2.0, "reward_terms": {"env": 1.0}}],
        {"spans": [(0, 3), (4, 6)], "ids": [9, 8, 7, 6, 5, 4]},
    )  # fmt: skip
    t = at_tokens(traj)
    assert t.rewards.tolist() == [0, 0, 0.5, 0, 0, 1.0] == t.terms["env"].tolist() and t.actions == [9, 8, 7, 6, 5, 4]
    assert t.meta["turn"].tolist() == [0, 0, 0, -1, 1, 1] and t.advantages is None
    assert t.infos[3] == {"score": 1.0} and t.infos[6] == {"score": 2.0} and t.infos[1] == {}
    (paid,) = Stack([Clip(0, 0.7)]).run([t])  # the same shapers run at token grain
    assert paid.rewards.tolist() == [0, 0, 0.5, 0, 0, 0.7] and list(paid.terms) == ["env", "clip"]
    spread = at_tokens(dataclasses.replace(traj, advantages=np.array([2.0, -1.0]))).advantages
    np.testing.assert_array_equal(spread, [2, 2, 2, np.nan, -1, -1])  # a tool's token is left out of the loss
    with pytest.raises(ValueError, match="one \\(start, end\\) a turn"):
        at_tokens(dataclasses.replace(traj, meta={}))
    for spans in ([(0, 3), (3, 3)], [(0, 3), (2, 5)], [(3, 6), (0, 3)], [(-1, 2), (2, 6)]):
        with pytest.raises(ValueError, match="spans follow each other"):
            at_tokens(dataclasses.replace(traj, meta=traj.meta | {"spans": spans}))
