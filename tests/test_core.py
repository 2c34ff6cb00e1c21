"""Laws of the stack: the account, segments, names and seeds, memory, specs, names to objects."""

import dataclasses
import itertools
import json
import os
import warnings
from dataclasses import dataclass

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec

import milepost
from milepost import shape
from milepost.wrappers import (
    Checklist,
    Clip,
    Conserve,
    CountBonus,
    Facts,
    Focus,
    GatedRewardAccumulation,
    Grpo,
    MissingFact,
    Mix,
    Normalize,
    PotentialShaping,
    ProgressAttribution,
    ReNorm,
    Rloo,
    Scale,
    ScoreDelta,
    Shaper,
    Stack,
    SubgoalOptions,
    ToolMatch,
    Trajectory,
    Uniform,
    load,
)
from milepost.wrappers import conformance as C
from milepost.wrappers.shaper import catalog, use

pytestmark = pytest.mark.core


def height(t):
    return float(abs(t.next_obs[2]))


def called(x, **subgoals):
    """What tool environments publish on top, in a state that is a number."""
    call = {"name": "go", "arguments": {"to": x}}
    items = tuple({"id": i, "weight": 1.0 / len(subgoals)} for i in subgoals)
    return {
        "subgoals": subgoals,
        "process_score": x / 5,
        "tool_calls": (call | {"ok": x != 1, "result": ""},),
        "reference": ({"name": "go", "arguments": {"to": 3}}, {"name": "go", "arguments": {"to": 4}}),
        "meta": {"checklist": items},
        "latent_factors": {"x": float(x)},
        "scores": {"goal": float(x)},
        "attribution": {"goal": x - 2},
        "team_reward": x / 5,
        "counterfactual": 0.1,
        "coalition_values": {
            "players": ("a", "b"),
            "player": x % 2,
            "coalitions": (0, 1, 2, 3),
            "values": (0.0, 0.5, 0.1, x / 5),
            "orders": (),
        },
    }


def judged(state):
    """What others know of a state: values, verdicts, similarities."""
    return {
        "value": state / 5,
        "verifiable": False,
        "similarity": state / 10,
        "message": f"you are at {state}",
        "consistent": 0.5,
        "grade": 1 + state % 5,
        "answer_logprob": state - 5.0,
    }


def facts_of(state):
    return C.facts_of(state) | judged(state) | called(state, a=state >= 1, b=state >= 3)


class Corridor(gym.Env):
    """Six cells, +1 at the right end; outcome and format reward are separate terms; all facts are published."""

    observation_space, action_space = gym.spaces.Discrete(6), gym.spaces.Discrete(2)
    metadata = {"render_modes": []}

    def __init__(self, limit=8, render_mode=None):
        self.limit, self.render_mode = limit, render_mode

    def facts(self):
        return (
            {
                "progress": self.x / 5,
                "score": float(self.x),
                "max_score": 5.0,
                "valid_action": True,
                "success": self.x == 5,
            }
            | judged(self.x)
            | called(self.x, half=self.x >= 3)
        )

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x, self.t = 2, 0
        facts = self.facts()
        return self.x, facts | {"meta": facts["meta"] | {"task": f"c{seed}"}}

    def step(self, a):
        self.x, self.t = self.x + (1 if a else -1), self.t + 1
        te = self.x in (0, 5)
        win = float(self.x == 5)
        info = self.facts() | {"reward_terms": {"outcome": win, "format": 0.1}}
        return self.x, win + 0.1, te, not te and self.t >= self.limit, info


def roll(env, actions, seed=0):
    env.reset(seed=seed)
    out = []
    for a in actions:
        out.append(env.step(a))
        if out[-1][2] or out[-1][3]:
            break
    return out


def rewards(env, actions, seed=0):
    return [x[1] for x in roll(env, actions, seed)]


def episodes(env, n=12, seed=0):
    """Whole random episodes as lists of step results."""
    rng, out = np.random.default_rng(seed), []
    for k in range(n):
        env.reset(seed=k)
        rows, done = [], False
        while not done:
            rows.append(env.step(int(rng.integers(2))))
            done = rows[-1][2] or rows[-1][3]
        out.append(rows)
    return out


STACKS = [
    [],
    [Clip(0, 0.5)],
    [PotentialShaping(key="progress"), CountBonus(0.1)],
    [Uniform()],
    [ScoreDelta(), SubgoalOptions(beta=0.2), Normalize(), Uniform()],
    [PotentialShaping(key="progress"), ProgressAttribution(), GatedRewardAccumulation(high=("outcome",))],
    [Uniform(), Clip(0, 0.5)],
    [Checklist(emit="step", eta=0.5), ToolMatch(), ReNorm(combine="add")],
    [Focus("format", Scale(3.0)), Mix([Uniform(), Clip()]), Conserve(Scale(2.0))],
]
IDS = [" ".join(type(s).__name__ for s in stack) or "empty" for stack in STACKS]


# -- the account ---------------------------------------------------------------------------------
@pytest.mark.parametrize("layers", STACKS, ids=IDS)
def test_terms_have_constant_keys_and_sum_to_the_reward(layers):
    env = shape(Corridor(), layers)
    keys = None
    for rows in episodes(env):
        for _, reward, *_, info in rows:
            assert sum(info["reward_terms"].values()) == pytest.approx(reward, abs=1e-12)
            keys = keys or list(info["reward_terms"])
            assert list(info["reward_terms"]) == keys == ["outcome", "format", *env.stack.names]


@pytest.mark.parametrize("layers", STACKS, ids=IDS)
def test_credit_sums_to_the_return_and_body_terms_wait_for_the_end(layers):
    env = shape(Corridor(), layers)
    late = env.stack.names[env.stack.b :]
    for rows in episodes(env):
        total = sum(r[1] for r in rows)
        if late:
            assert len(rows[-1][4]["credit"]) == len(rows) and sum(rows[-1][4]["credit"]) == pytest.approx(total)
            assert isinstance(rows[-1][4]["credit"], tuple)
        for row in rows[:-1]:
            assert "credit" not in row[4] and all(row[4]["reward_terms"][n] == 0.0 for n in late)


@pytest.mark.parametrize("layers", STACKS, ids=IDS)
def test_a_recorded_episode_gets_the_rewards_that_it_got_online(layers):
    env, plain = shape(Corridor(), layers), Corridor()
    env.stack.train(False)
    stack = Stack(layers)
    stack.train(False)
    for rows, raw in zip(episodes(env), episodes(plain)):
        plain.reset(seed=0)
        infos = [plain.reset(seed=0)[1], *(r[4] for r in raw)]
        obs = [2, *(r[0] for r in raw)]
        acts = [int(b > a) for a, b in itertools.pairwise(obs)]
        t = Trajectory(obs, acts, np.array([r[1] for r in raw]), raw[-1][2], raw[-1][3], infos)
        want = rows[-1][4].get("credit", [r[1] for r in rows])
        np.testing.assert_allclose(stack.run([t])[0].rewards, want, atol=1e-12)


def test_the_gate_vetoes_an_earlier_layer():
    env = shape(Corridor(), [CountBonus(1.0), GatedRewardAccumulation(high=("outcome",))])
    lose, win = roll(env, [0, 1, 0, 0]), roll(env, [1, 1, 1])
    assert sum(r[1] for r in lose) == pytest.approx(0) and lose[-1][4]["credit"] == pytest.approx((0.0,) * 4)
    assert sum(r[1] for r in win) > 1.3 + 1


def test_a_monitor_inside_gets_both_returns_apart():
    for layers in ([PotentialShaping(key="progress")], [Clip(0, 0.05), Uniform()]):
        env = shape(gym.wrappers.RecordEpisodeStatistics(Corridor()), layers)
        rows = roll(env, [1, 1, 1])
        said = rows[-1][4]["episode"]
        assert said["r"] == said["env_return"] == pytest.approx(1.3) and said["l"] == 3
        assert said["shaped_return"] == pytest.approx(sum(r[1] for r in rows)) != pytest.approx(1.3)


def test_nothing_mutable_is_shared_between_infos():
    env = shape(Corridor(), [PotentialShaping(key="progress"), Uniform()])
    rows = [r for e in episodes(env, 3) for r in e]
    ids = [id(r[4]) for r in rows] + [id(r[4]["reward_terms"]) for r in rows]
    assert len(set(ids)) == len(ids)
    rows[0][4]["reward_terms"]["outcome"] = 99.0  # what a caller does to an info reaches no trajectory


# -- order, names, seeds ---------------------------------------------------------------------------
def test_nested_step_stacks_equal_one_list():
    a = shape(Corridor(), [PotentialShaping(key="progress"), Clip(0, 0.3)])
    b = Clip(0, 0.3)(gym.wrappers.TimeLimit(PotentialShaping(key="progress")(Corridor()), 99))
    assert b.stack.names == ["clip"] and b.env.env.stack.names == ["potential_shaping"]
    assert rewards(a, [1, 0, 1, 1, 1]) == pytest.approx(rewards(b, [1, 0, 1, 1, 1]))


def test_shape_on_a_shaped_environment_merges_the_lists():
    env = shape(shape(Corridor(), [Uniform()], seed=3), Clip(0, 0.05))
    assert env.stack.names == ["uniform", "clip"] and isinstance(env.env, Corridor) and env.stack.seed == 3


def test_a_stack_outside_one_that_settles_late_is_refused():
    with pytest.raises(ValueError, match="one list"):
        shape(gym.wrappers.TimeLimit(shape(Corridor(), [Uniform()]), 5), [Clip()])
    shape(gym.wrappers.TimeLimit(shape(Corridor(), [Clip()]), 5), [Uniform()])  # late outside steps is fine


def test_names_and_seeds_do_not_move_when_layers_are_added():
    @dataclass
    class Noise(Shaper):
        def setup(self, rng):
            self.x = float(rng.normal())

        def step(self, state, t):
            return t.reward + self.x, None

    a, b = Stack([Noise()]), Stack([Noise(), Clip(), Noise()])
    assert b.names == ["noise", "clip", "noise_2"] and a.shapers[0].x == b.shapers[0].x != b.shapers[2].x
    assert Stack([Noise()], seed=1).shapers[0].x != a.shapers[0].x
    assert Stack([Clip()], inner=Stack([Clip(), Clip()])).names == ["clip_3"]


def test_advantages_come_last():
    with pytest.raises(ValueError, match="clip gives rewards but stands after grpo"):
        Stack([Grpo(), Clip()])


def test_a_group_layer_on_a_lone_environment_names_stack_run():
    for layer in (Grpo(), Rloo()):
        with pytest.raises(ValueError, match=r"one environment alone never has one.*stack\.run"):
            shape(Corridor(), [Clip(), layer])


def test_an_outer_time_limit_that_can_be_seen_is_refused():
    gym.register("Shaped-v0", lambda: shape(Corridor(), [Uniform()]), max_episode_steps=5)
    env = gym.make("Shaped-v0")
    with pytest.raises(ValueError, match=r"put TimeLimit inside and shape.* outside"):
        env.reset()
    with pytest.raises(ValueError, match="TimeLimit stands outside"):
        gym.wrappers.TimeLimit(shape(Corridor(), [Clip(), Uniform()]), 5).reset(seed=0)
    roll(gym.wrappers.TimeLimit(shape(Corridor(), [Clip()]), 5), [1, 0])  # step layers do not mind
    gym.register("Inside-v0", Corridor, max_episode_steps=3)
    roll(shape(gym.make("Inside-v0"), [Uniform()]), [1, 0, 1])


def test_abandoned_episodes_are_counted_and_warned_about_once():
    env = shape(Corridor(), [Uniform()])
    env.reset(seed=0)
    env.step(1)
    with pytest.warns(UserWarning, match=r"put TimeLimit inside and shape.* outside"):
        env.reset()
    env.step(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env.reset()
    assert env.stack.abandoned == 2
    env.reset()  # an episode without a step is not abandoned
    assert env.stack.abandoned == 2
    roll(env, [1, 1, 1])
    env.reset()
    assert env.stack.abandoned == 2


def test_a_step_after_the_end_is_refused():
    env = shape(Corridor(), [Clip()])
    roll(env, [1, 1, 1])
    with pytest.raises(RuntimeError, match="call reset"):
        env.step(1)


def test_a_reward_that_is_not_finite_names_the_layer():
    @dataclass
    class Bad(Shaper):
        def step(self, state, t):
            return t.reward / 0.0 if t.reward == 0 else float("nan"), None

    with pytest.raises(ValueError, match="bad: a reward is not finite"):
        rewards(shape(Corridor(), [Clip(), Bad(), Clip()]), [1, 1])
    with pytest.raises(ValueError, match="bad: a reward is not finite"):
        Stack([Bad()]).run([C.sample(np.random.default_rng(0))])

    class Broken(Corridor):
        def step(self, a):
            obs, _, *rest = super().step(a)
            rest[-1].pop("reward_terms")
            return obs, float("nan"), *rest

    with pytest.raises(ValueError, match="the environment: a reward is not finite"):
        rewards(shape(Broken(), [Clip()]), [1])


def test_one_number_a_step_is_expected():
    @dataclass
    class Short(Shaper):
        def episode(self, traj):
            return np.zeros(1)

    with pytest.raises(ValueError, match="short: one number a step"):
        Stack([Short()]).run([C.sample(np.random.default_rng(0))])


# -- facts -----------------------------------------------------------------------------------------
def test_a_missing_fact_names_layer_key_and_the_line_to_add():
    cart = gym.make("CartPole-v1")
    for layer, key in ((PotentialShaping(key="progress"), "progress"), (ScoreDelta(), "score")):
        with pytest.raises(MissingFact) as e:
            shape(cart, [Clip(), layer]).reset(seed=0)
        assert str(e.value) == (
            f"{load(layer).spec()['shaper'].split(':')[1] and Stack([layer]).names[0]} reads info['{key}'], which this "
            f'environment does not publish: add it with shape(env, [...], facts={{"{key}": "module:function"}}), '
            "a function of the Transition"
        )
    traj = Trajectory([0, 1], [0], np.ones(1), True, False, [{}, {}])
    with pytest.raises(MissingFact, match="subgoal_options"):
        Stack([SubgoalOptions()]).run([traj])


def test_another_key_error_stays_what_it_is():
    @dataclass
    class Slip(Shaper):
        needs = ("progress",)

        def step(self, state, t):
            return {}["oops"], None

    with pytest.raises(KeyError, match="oops"):
        rewards(shape(Corridor(), [Slip()]), [1])


@pytest.mark.parametrize(
    "env_id,progress",
    [
        ("CartPole-v1", lambda t: 1.0 - abs(float(t.next_obs[2]))),
        ("FrozenLake-v1", lambda t: (int(t.next_obs) // 4 + int(t.next_obs) % 4) / 6),
        ("MountainCar-v0", lambda t: float((t.next_obs[0] + 1.2) / 1.8)),
    ],
)
def test_facts_serve_foreign_environments(env_id, progress):
    layers = [PotentialShaping(key="progress", gamma=1.0)]
    a = shape(gym.make(env_id), layers, facts={"progress": progress})
    b = shape(Facts(gym.make(env_id), {"progress": progress}), layers)
    for env in (a, b):
        _, first = env.reset(seed=1)
        total, done, info = 0.0, False, first
        for k in range(60):
            _, _, te, tr, info = env.step(k % env.action_space.n)
            total += info["reward_terms"]["potential_shaping"]
            done = te
            if te or tr:
                break
        end = 0.0 if done else info["progress"]
        assert total == pytest.approx(end - first["progress"])  # telescopes


# -- specs and names to objects --------------------------------------------------------------------
@pytest.mark.parametrize("layers", [*STACKS[:-2], [Focus("outcome", Scale(3.0)), Mix([Uniform(), Clip()])]])
def test_a_shaped_environment_survives_json(layers):
    env = shape(gym.make("milepost/Quest-easy-v0"), layers, seed=5)
    again = gym.make(EnvSpec.from_json(env.spec.to_json()))
    assert again.spec == env.spec and again.stack.seed == 5
    for e in (env, again):
        e.reset(seed=3)
        e.paid = []
        for _ in range(4):
            e.paid.append(e.step(e.get_wrapper_attr("oracle")())[1])
            if e.unwrapped._over:
                break
    assert env.paid == again.paid


def test_a_live_object_has_a_spec_that_refuses_to_load():
    env = shape(gym.make("CartPole-v1"), [PotentialShaping(phi=lambda o: float(o[0]))])
    rewards(env, [0, 1])
    assert "live:" in json.dumps(env.stack.spec())
    with pytest.raises(ValueError, match="live object"):
        Stack(env.stack.spec())
    with pytest.raises(ValueError, match="live object"):
        gym.make(EnvSpec.from_json(shape(gym.make("CartPole-v1"), [], facts={"h": height}).spec.to_json()))


def test_strings_import_only_what_is_allowed(monkeypatch):
    with pytest.raises(ImportError, match=r"'os:system' would import 'os'.*allow_import\('os'\)"):
        use("os:system")
    with pytest.raises(ImportError, match="not allowed"):
        shape(gym.make("CartPole-v1"), [PotentialShaping(phi="os:system")])
    with pytest.raises(ImportError, match="not allowed"):
        Stack([{"shaper": "subprocess:Popen", "args": "true"}])
    with pytest.raises(ValueError, match="is no shaper"):
        load({"shaper": "milepost.wrappers.shaper:use"})
    monkeypatch.setattr("milepost.wrappers.shaper._allowed", {"milepost"})
    milepost.allow_import("posixpath")
    assert use("posixpath:join") is os.path.join


@pytest.mark.parametrize(
    "spec,sentence",
    [
        ({"shaper": "clp"}, r"no shaper is called 'clp'; did you mean 'clip'\?"),
        ({"shaper": "clip", "lo": 1}, r"clip has no setting 'lo'; did you mean 'low'\?"),
        ({"shaper": "clip", "low": "a"}, r"clip: setting 'low' is 'a', allowed is float"),
        ({"shaper": "normalize", "how": "x"}, "allowed is one of 'return', 'reward'"),
        ({"shaper": "clip", "low": 2.0}, "clip: low = 2.0 is above high = 1.0"),
        ({"shaper": "milepost.wrappers.combine:Clp"}, "has no 'Clp'; did you mean 'Clip'"),
        ("clip", "a layer is a shaper or"),
    ],
)
def test_bad_specs_are_one_sentence(spec, sentence):
    with pytest.raises(ValueError, match=sentence):
        load(spec)


def test_shape_refuses_what_is_no_environment():
    with pytest.raises(TypeError, match="no host for int"):
        shape(3, [])


# -- memory ------------------------------------------------------------------------------------------
def test_stacks_own_their_shapers():
    c = CountBonus()
    a, b = Stack([c]), Stack([c])
    a.shapers[0].counts["x"] = 5
    assert not b.shapers[0].counts


def test_take_learn_rerun_and_close():
    env = shape(Corridor(), [CountBonus(0.1), ProgressAttribution(conserve="last")])
    episodes(env, 5)
    metrics = env.stack.learn()
    assert metrics["progress_attribution/loss"] >= 0 and env.stack.take() == []
    episodes(env, 3)
    batch = env.stack.take()
    again = env.stack.rerun(batch)
    for a, b in zip(batch, again):
        assert list(a.terms) == list(b.terms) and b.before(env.stack.names).rewards == pytest.approx(
            a.terms["outcome"] + a.terms["format"]
        )
    env.stack.train(False)
    before = env.stack.state_dict()
    episodes(env, 2)
    assert env.stack.state_dict()["count_bonus"] == before["count_bonus"]


def test_a_batch_runs_through_the_tail_by_task():
    stack = Stack([Clip(0, 9), Grpo(eps=0)])
    batch = [
        Trajectory([0, 0], [0], np.array([r]), True, False, [{}, {}], {"task": k})
        for k, r in (("p", 0.0), ("p", 1.0), ("q", 5.0), ("q", 6.0))
    ]
    assert [t.advantages[0] for t in stack.run(batch)] == pytest.approx([-1, 1, -1, 1])


def test_finished_episodes_are_bounded_with_one_warning():
    env = shape(Corridor(), [ProgressAttribution()])
    env.stack.keep = 30
    with pytest.warns(UserWarning, match="only the last 30 steps"):
        for _ in range(50):
            roll(env, [1, 1, 1])
    assert env.stack.kept <= 30 and env.stack.dropped == 40 and len(env.stack.take()) == 10 and env.stack.kept == 0
    assert not shape(Corridor(), [Clip()]).stack.records  # nobody will ask: nothing is kept


@pytest.mark.parametrize("layers", STACKS, ids=IDS)
def test_memory_survives_state_dict(layers):
    env = shape(Corridor(), layers)
    episodes(env, 5)
    env.stack.learn()
    twin = shape(Corridor(), layers)
    twin.stack.load_state_dict(env.stack.state_dict())
    for s in (env.stack, twin.stack):
        s.train(False)
    for a, b in zip(episodes(env, 4, seed=9), episodes(twin, 4, seed=9)):
        assert [x[1] for x in a] == [x[1] for x in b]
    with pytest.raises(ValueError, match="this stack has the layers"):
        Stack([Clip(), Clip()]).load_state_dict({"clip": {}})


# -- the conformance kit -----------------------------------------------------------------------------
SETTINGS = {
    "caption_reward": {"labels": {"you are at 3": 1.0, "you are at 1": 0.2}},
    "contrastive_goal": {"positive": ["at 4"], "negative": ["at 0"], "key": "message", "form": "weighted"},
    "judgement_table": {
        "judge": {"scorer": "predicate", "patterns": {"go": "at [34]"}},
        "subgoals": ["go"],
        "view": "message",
        "task": "go",
    },
    "shapley_steps": {"value": "milepost.wrappers.episode.scar:covered"},
    "focus": {"of": "env", "child": {"shaper": "scale", "factor": 2.0}},
    "scale": {"factor": 2.0},
    "gate": {"child": {"shaper": "scale", "factor": 2.0}, "key": "progress"},
    "mix": {"parts": [{"shaper": "uniform"}, {"shaper": "clip"}]},
    "conserve": {"child": {"shaper": "clip"}},
    "potential_shaping": {"key": "progress"},
    "krc": {"facts": ("progress",)},
    "constraints": {"upper": {"valid_action": 0.1}},
    "gated_bonus": {"gate": "env"},
    "gated_reward_accumulation": {"high": ("env",)},
    "fused_advantage": {"process": ("env",)},
    "implicit_process": {"reference": "start", "actions": 2},
    "episodic_count_discount": {"child": {"shaper": "scale", "factor": 2.0}},
    "term_blend": {"terms": ("env",), "start": 0.5},
}


@pytest.mark.parametrize("name", catalog())
def test_every_published_shaper_conforms(name):
    C.check_shaper(load({"shaper": name} | SETTINGS.get(name, {})), facts_of)


def test_every_pair_of_layers_is_either_fine_or_refused_with_a_reason():
    every = [load({"shaper": n} | SETTINGS.get(n, {})) for n in catalog()]
    for a in every:
        for b in every:
            why = C.compatible(a, b)
            if "advantages come last" in why:
                with pytest.raises(ValueError, match="come last"):
                    Stack([a, b])
            elif "needs a group" in why:
                with pytest.raises(ValueError, match="alone never has one"):
                    shape(Corridor(), [a, b])
            else:
                for rows in episodes(shape(FullCorridor(), [a, b]), 2):
                    total = sum(r[1] for r in rows)
                    assert sum(rows[-1][4].get("credit", [r[1] for r in rows])) == pytest.approx(total)


@pytest.mark.parametrize("name", catalog())
def test_additive_layers_leave_a_potential_its_effect(name):
    """What the potential adds is the same with and without the layer behind it, for those that say so, and only for those."""
    layer, before = load({"shaper": name} | SETTINGS.get(name, {})), PotentialShaping()
    if layer.output != "reward":
        with pytest.raises(ValueError, match="advantages come last"):
            Stack([layer, before])
        return
    rng = np.random.default_rng(0)
    trajs = [C.sample(rng, 6, info=facts_of) for _ in range(20)]
    runs = [Stack(layers).run(trajs) for layers in ([before, layer], [layer], [before], [])]
    gaps = [np.abs(a.rewards - b.rewards - (c.rewards - d.rewards)).max() for a, b, c, d in zip(*runs)]
    if name == "focus":  # it says the careful thing: in front of it the term that it changes might be the potential
        assert not layer.additive
    else:
        assert layer.additive == bool(max(gaps) < 1e-9)
    why = C.compatible(before, layer)
    assert bool(why) != layer.additive or "needs a group" in why


def test_another_discount_than_the_agents_is_warned_about():
    stack = Stack([Scale(2.0, PotentialShaping(gamma=0.9)), CountBonus()])
    with pytest.warns(UserWarning, match=r"scale discounts by 0.9 and the agent by 0.99, .*give both the same gamma"):
        stack.check_discount(0.99)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stack.check_discount(0.9)
        Stack([Normalize(gamma=0.5)]).check_discount(0.9)  # claims nothing


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: shape(Corridor(), [], seed=-1), "seed is -1; allowed: a whole number from 0"),
        (lambda: shape(Corridor(), [], seed="a"), "seed is 'a'; allowed"),
        (lambda: shape(shape(Corridor(), [], seed=3), [Clip()], seed=7), "shaped with seed 3 already, not 7"),
        (lambda: shape(Corridor(), [], facts=["progress"]), r"facts is \['progress'\]: a dict of info keys"),
        (
            lambda: rewards(shape(Corridor(), [PotentialShaping()], facts={"progress": lambda t: None}), [1]),
            "is None, a number",
        ),
        (lambda: CountBonus(beta=float("nan")), "setting 'beta' is nan, allowed is float"),
        (lambda: Normalize(gamma=3.0), r"gamma = 3.0.*allowed are gamma in \[0, 1\]"),
        (lambda: Mix([]), "parts is empty, at least one shaper is expected"),
        (lambda: Conserve(None), "child is None, a shaper or its spec is expected"),
    ],
)
def test_wrong_arguments_are_one_sentence(make, sentence):
    with pytest.raises((ValueError, TypeError), match=sentence):
        make()


class FullCorridor(Corridor):
    """With a term called env, which some settings above name."""

    def step(self, a):
        obs, r, te, tr, info = super().step(a)
        return obs, r, te, tr, info | {"reward_terms": {"env": info["reward_terms"]["outcome"], "format": 0.1}}


def test_the_kit_catches_shapers_that_break_their_word():
    def kept(self, phi, t):  # the potential is kept at the end: the classic mistake
        new = t.info[self.key]
        return t.reward + self.gamma * new - phi, new

    class NoEnd(PotentialShaping):
        step = kept

    with pytest.raises(AssertionError, match="claims to be policy_invariant"):
        C.check_shaper(dataclasses.dataclass(NoEnd)(key="progress", gamma=0.9))

    class Liar(Clip):
        return_preserving = True

    with pytest.raises(AssertionError, match="claims to be return_preserving"):
        C.check_shaper(dataclasses.dataclass(Liar)(0, 0.1))

    class Leaky(CountBonus):
        def step(self, state, t):
            self.counts[str(t.next_obs)] = len(self.counts)
            self.counts["n"] = self.counts.get("n", 0) + 1
            return t.reward, None

    with pytest.raises(AssertionError, match="changes its memory although training is off"):
        C.check_shaper(dataclasses.dataclass(Leaky)())

    class Scalar(Clip):
        def step(self, state, t):
            return t.reward * (2.0 if np.ndim(t.reward) else 1.0), None

    with pytest.raises(AssertionError, match="columnar"):
        C.check_shaper(dataclasses.dataclass(Scalar)())

    class Moody(Shaper):
        def step(self, state, t):
            return t.reward + float(np.random.default_rng().normal()), None

    with pytest.raises(AssertionError, match="not the same twice"):
        C.check_shaper(dataclasses.dataclass(Moody)())
    assert not C.policy_invariant(Clip(0, 0.1)) and C.return_preserving(Clip(0, 0.1)) > 0.1
    assert C.policy_invariant(PotentialShaping(key="progress", gamma=0.9))
