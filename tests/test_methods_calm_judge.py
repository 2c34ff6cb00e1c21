"""SubgoalOptions that asks a judge: what is asked, what is paid, and what never is."""

import json
import re
import threading
import warnings

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import milepost  # noqa: F401
from milepost.wrappers import MissingFact, Stack, SubgoalOptions, Trajectory, shape
from milepost.wrappers.scorers import MissingAnswer, Reply, Service, serve
from milepost.wrappers.step.calm import table_key
from milepost.wrappers.step.calm_judge import Judged, table_of, view_of

pytestmark = pytest.mark.core
KEY, DOOR = "pick up the key", "open the door"


class Scripted:
    """Says of each message what the script says; counts its calls."""

    kinds = ("question", "proposal")

    def __init__(self, script, proposals=(), gate=None):
        self.script, self.proposals, self.gate, self.batches = script, proposals, gate, []

    @property
    def identity(self):
        return {"scorer": "scripted"}

    def reply(self, batch):
        if self.gate is not None:
            assert self.gate.wait(10)
        self.batches.append(list(batch))
        return [self._one(q) for q in batch]

    def _one(self, q):
        if q.kind == "proposal":
            return Reply(json.dumps({"subgoals": list(self.proposals)}))
        if callable(self.script):
            return Reply(self.script(q))
        return Reply(json.dumps(self.script.get(q.message, dict.fromkeys(q.subgoals, False))))

    def read(self, raw, query):
        return query.parse(raw)

    @property
    def calls(self):
        return sum(map(len, self.batches))


SCRIPT = {"a key": {KEY: True, DOOR: False}, "still a key": {KEY: True, DOOR: False}, "open": {KEY: False, DOOR: True}}


def episode(messages, rewards, terminated=True):
    infos = [{"message": ""}, *({"message": m} for m in messages)]
    obs = [f"state {i}" for i in range(len(infos))]
    return Trajectory(
        obs, [f"act {i}" for i in range(len(messages))], np.array(rewards, float), terminated, False, infos, {}, {}
    )


CARD = (["", "a key", "still a key", "", "open", "win"], [0, 0, 0, 0, 0, 1])


def layer(scorer, **settings):
    mode = settings.pop("mode", "sync")
    return SubgoalOptions(judge=Service(scorer, mode=mode), **({"subgoals": (KEY, DOOR), "view": "message"} | settings))


def test_the_cards_example_with_a_judge():
    (out,) = Stack([layer(Scripted(SCRIPT), beta=0.5)]).run([episode(*CARD)])
    assert out.rewards.tolist() == [0, 0.5, 0, 0, 0.5, 1]
    (out,) = Stack([layer(Scripted(SCRIPT), beta=0.5, once=False)]).run([episode(*CARD)])
    assert out.rewards.tolist() == [0, 0.5, 0.5, 0, 0.5, 1]


def test_a_derived_example_with_weights_a_cap_and_a_potential():
    # weights 2 and 1, beta 0.25: key 0.5, door 0.25 cut to the cap of 0.6 -> 0.1
    s = layer(Scripted(SCRIPT), beta=0.25, weights={KEY: 2.0}, cap=0.6)
    (out,) = Stack([s]).run([episode(*CARD)])
    np.testing.assert_allclose(out.rewards, [0, 0.5, 0, 0, 0.1, 1], atol=1e-12)
    # gamma 0.5, beta 1: phi = 0 0 1 1 1 2, then 0 at the end: gamma phi' - phi
    s = layer(Scripted(SCRIPT), beta=1.0, potential=True, gamma=0.5)
    (out,) = Stack([s]).run([episode(*CARD)])
    np.testing.assert_allclose(out.rewards, [0, 0.5, -0.5, -0.5, 0.0, 1 - 2], atol=1e-12)


def test_with_beta_zero_the_rewards_are_the_environments():
    (out,) = Stack([layer(Scripted(SCRIPT), beta=0.0)]).run([episode(*CARD)])
    assert out.rewards.tolist() == CARD[1]


@given(st.lists(st.sampled_from(["", *SCRIPT]), min_size=1, max_size=12), st.floats(0, 2))
def test_once_bounds_what_an_episode_earns(messages, beta):
    (out,) = Stack([layer(Scripted(SCRIPT), beta=beta)]).run([episode(messages, [0.0] * len(messages))])
    assert out.rewards.sum() <= beta * 2 + 1e-9


def test_the_same_transition_costs_one_call():
    scorer = Scripted(SCRIPT)
    stack = Stack([layer(scorer, task="fetch it")])
    for _ in range(3):
        stack.run([episode(*CARD)])
    stack.run([episode(["new"] * 1, [0])] * 2)  # twice at once: one call too
    assert scorer.calls == 7
    stats = stack.stats()
    assert stats["subgoal_options/judge/calls"] == 7
    assert stats["subgoal_options/judge/hit_rate"] == pytest.approx(12 / 20)


def test_streams_that_step_together_are_one_batch():
    scorer = Scripted(lambda q: json.dumps({g: False for g in q.subgoals}))
    envs = shape(
        gym.make_vec("milepost/Quest-easy-v0", 4, "sync"), [SubgoalOptions(judge=Service(scorer), subgoals=(KEY,))]
    )
    envs.reset(seed=1)
    envs.step(["look"] * 4)
    assert [len(b) for b in scorer.batches] == [4]
    envs.close()


@pytest.mark.parametrize(
    "script",
    [
        lambda q: "yes, certainly",
        lambda q: json.dumps({KEY: True})[:-1],
        lambda q: json.dumps({KEY: "true", DOOR: 7}),
        lambda q: 1 / 0,
        lambda q: None,
    ],
)
def test_a_judge_that_fails_or_talks_nonsense_pays_nothing(script):
    stack = Stack([layer(Scripted(script))])
    (out,) = stack.run([episode(*CARD)])
    assert out.rewards.tolist() == CARD[1]
    assert stack.stats()["subgoal_options/no answer"] == 6


def test_that_a_judge_fails_is_said_once():
    stack = Stack([layer(Scripted(lambda q: 1 / 0))])
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        stack.run([episode(*CARD)] * 2)
    (only,) = told
    assert "the judge fails, and what it does not answer pays nothing: division by zero" in str(only.message)


def test_an_async_judge_never_blocks_and_pays_nothing_before_it_answers():
    gate = threading.Event()
    scorer = Scripted(SCRIPT, gate=gate)
    stack = Stack([layer(scorer, mode="async")])
    (out,) = stack.run([episode(*CARD)])
    assert out.rewards.tolist() == CARD[1]
    gate.set()
    assert stack.shapers[0]._judged.service.wait(10)
    (again,) = stack.rerun([out])  # late answers stand at their own steps
    assert again.rewards.tolist() == [0, 0.5, 0, 0, 0.5, 1]
    (second,) = stack.run([episode(*CARD)])  # and count from the next occurrence
    assert second.rewards.tolist() == [0, 0.5, 0, 0, 0.5, 1]


class Talk(gym.Env):
    """Says the next line of a script at every step."""

    observation_space = action_space = gym.spaces.Text(20)

    def __init__(self, lines):
        self.lines = lines

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.k = 0
        return "start", {"message": ""}

    def step(self, action):
        self.k += 1
        return f"state {self.k}", 0.0, self.k == len(self.lines), False, {"message": self.lines[self.k - 1]}


@pytest.mark.parametrize("retro", [True, False])
def test_a_late_answer_counts_for_the_episode_that_is_still_running(retro):
    gate = threading.Event()
    env = shape(Talk(["a key", "x", "y", "z"]), [layer(Scripted(SCRIPT, gate=gate), mode="async", retro=retro)])
    env.reset()
    assert env.step("go")[1] == 0.0
    gate.set()
    assert env.stack.shapers[0]._judged.service.wait(10)
    assert env.step("go")[1] == (0.5 if retro else 0.0)
    assert env.stack.shapers[0]._judged.service.wait(10)
    assert env.step("go")[1] == 0.0
    assert env.stack.stats().get("subgoal_options/late answers", 0.0) >= retro


def test_a_late_answer_does_not_break_the_order():
    """The door is opened first and judged late; it must not be paid as if it had come after the key."""
    gate = threading.Event()
    env = shape(Talk(["open", "a key", "x"]), [layer(Scripted(SCRIPT, gate=gate), mode="async", ordered=True)])
    env.reset()
    paid = [env.step("go")[1], env.step("go")[1]]
    gate.set()
    assert env.stack.shapers[0]._judged.service.wait(10)
    paid.append(env.step("go")[1])
    assert paid == [0.0, 0.0, 0.0] and env.stack.stats()["subgoal_options/no answer"] == 3


def test_a_sub_goal_that_is_named_twice_is_paid_once():
    (out,) = Stack([layer(Scripted(SCRIPT), subgoals=(KEY, KEY, DOOR))]).run([episode(*CARD)])
    assert out.rewards.tolist() == [0, 0.5, 0, 0, 0.5, 1]


def test_a_frozen_judge_repeats_itself_and_says_what_it_misses(tmp_path):
    file = str(tmp_path / "answers.sqlite")
    first = SubgoalOptions(judge=Service(Scripted(SCRIPT), cache=file), subgoals=(KEY, DOOR), view="message")
    (want,) = Stack([first]).run([episode(*CARD)])
    silent = Scripted({})
    frozen = Service(silent, cache=file, mode="frozen")
    (got,) = Stack([SubgoalOptions(judge=frozen, subgoals=(KEY, DOOR), view="message")]).run([episode(*CARD)])
    assert got.rewards.tolist() == want.rewards.tolist()
    assert silent.calls == 0
    with pytest.raises(MissingAnswer, match="has no answer"):
        Stack([SubgoalOptions(judge=frozen, subgoals=(KEY, DOOR), view="message")]).run([episode(["new"], [0])])
    lenient = Service(silent, cache=file, mode="frozen", on_miss="default")
    (out,) = Stack([SubgoalOptions(judge=lenient, subgoals=(KEY,), view="message")]).run([episode(["new"], [0])])
    assert out.rewards.tolist() == [0]


def test_sub_goals_are_proposed_once_for_a_task():
    scorer = Scripted(SCRIPT, proposals=[KEY, DOOR])
    stack = Stack([layer(scorer, subgoals="discover", task="leave the room")])
    (out,) = stack.run([episode(*CARD)])
    stack.run([episode(*CARD)])
    assert out.rewards.tolist() == [0, 0.5, 0, 0, 0.5, 1]
    assert sum(q.kind == "proposal" for b in scorer.batches for q in b) == 1


def test_sub_goals_that_are_proposed_late_count_from_then_on():
    gate = threading.Event()
    scorer = Scripted(SCRIPT, proposals=[KEY], gate=gate)
    env = shape(Talk(["x", "a key", "y"]), [layer(scorer, mode="async", subgoals="discover", task="t")])
    env.reset()
    gate.set()
    service = env.stack.shapers[0]._judged.service
    assert service.wait(10)
    assert env.step("go")[1] == 0.0  # from here on it knows what to ask for
    env.step("go")
    assert service.wait(10)
    assert env.step("go")[1] == 0.5


def test_the_environments_own_sub_goals_are_asked_for_as_sentences():
    asked = []
    scorer = Scripted(lambda q: asked.append(q) or json.dumps({g: False for g in q.subgoals}))
    env = shape(gym.make("milepost/Quest-easy-v0"), [SubgoalOptions(judge=Service(scorer))])
    _, info = env.reset(seed=3)
    env.step("look")
    assert set(asked[0].subgoals) == set(info["meta"]["subgoals"])
    assert asked[0].action == "look"
    assert asked[0].before.startswith("Objective: ")
    assert "look" in asked[0].action


def test_numbers_are_asked_about_in_the_words_of_the_messages():
    asked = []
    scorer = Scripted(lambda q: asked.append(q) or json.dumps({g: False for g in q.subgoals}))
    env = shape(gym.make("milepost/Quest-easy-encoded-v0"), [SubgoalOptions(judge=Service(scorer))])
    _, info = env.reset(seed=3)
    env.step(0)
    assert asked[0].before.startswith("Objective: ") and asked[0].after.startswith("Objective: ")
    assert asked[0].action == sorted(info["admissible_actions"])[0]


def test_the_truth_as_a_judge_pays_what_the_fact_pays():
    """A judge that reads the objective line knows all: the same rewards as from the environment's own truth."""

    def script(q):
        left = lambda text: text.partition("Objective: ")[2].partition("\n")[0].replace("Then: ", "")  # noqa: E731
        todo = lambda text: {s.strip(" .") for s in left(text).replace(".", ";").split(";")}  # noqa: E731
        gone = todo(q.before) - todo(q.after)
        return json.dumps({g: g in gone for g in q.subgoals})

    returns = []
    for s in (SubgoalOptions(), SubgoalOptions(judge=Service(Scripted(script)))):
        env = shape(gym.make("milepost/Quest-medium-v0"), [s])
        env.reset(seed=5)
        total, over = [], False
        while not over:
            _, r, te, tr, _ = env.step(env.unwrapped.oracle())
            total.append(r)
            over = te or tr
        returns.append(total)
    assert returns[0] == returns[1]
    assert sum(returns[0]) > 1.0


@pytest.mark.parametrize(("view", "key"), [("message", "message"), ("crop", "crop"), ("screen", "screen")])
def test_a_view_that_is_not_published_is_a_missing_fact(view, key):
    layer = SubgoalOptions(judge=Service(Scripted({})), view=view, subgoals=(KEY,), task="cross the lake")
    env = shape(gym.make("FrozenLake-v1"), [layer])
    with pytest.raises(MissingFact, match=key):
        env.reset(seed=0)


def test_steps_whose_infrastructure_failed_are_not_asked_about():
    scorer = Scripted(SCRIPT)
    bad = episode(*CARD)
    bad.infos[1]["invalid"], bad.infos[2]["invalid"] = False, True
    (out,) = Stack([layer(scorer)]).run([bad])
    assert out.rewards.tolist() == [0, 0, 0.5, 0, 0.5, 1]
    assert scorer.calls == 5


def test_the_authors_table_is_counted_from_judgements():
    judge = Judged(
        Service(Scripted(SCRIPT)), (KEY, DOOR), view_of("message"), "t", 0.5, False, __import__("collections").Counter()
    )
    table = table_of([episode(*CARD), episode(["a key", "", ""], [0, 0, 0])], judge, table_key)
    assert table["state 1\nact 1"] == 1.0 and table["state 0\nact 0"] == 1.0 and table["state 3\nact 3"] == 0.0
    (out,) = Stack([SubgoalOptions(table=table, beta=1.0)]).run([episode(*CARD)])
    assert out.rewards.tolist() == [
        1,
        1,
        1,
        0,
        1,
        1,
    ]  # the first repeats a key of the second episode; the last pays the win


def test_a_judge_by_name_survives_the_way_through_a_spec(tmp_path):
    judge = {"scorer": "predicate", "patterns": {KEY: "key"}, "cache": str(tmp_path / "a.sqlite")}
    env = shape(gym.make("milepost/Quest-easy-v0"), [SubgoalOptions(judge=judge, subgoals=(KEY,))])
    again = gym.make(gym.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    assert again.get_wrapper_attr("stack").spec() == env.stack.spec()
    again.reset(seed=0)
    again.step("look")
    assert (tmp_path / "a.sqlite").exists()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"judge": "minilmm"}, "no scorer is called 'minilmm'; did you mean 'minilm'"),
        ({"judge": {"scorer": "predicate", "mood": "sync"}}, "no setting 'mood'"),
        ({"judge": {"scorer": "predicate", "mode": "frozn"}}, "mode is 'frozn'; allowed: 'sync', 'async', 'frozen'"),
        ({"judge": "predicate", "predicates": {"x": "milepost.wrappers.step.calm:table_key"}}, "give one of them"),
        ({"judge": "predicate", "subgoals": "find"}, "allowed: names, 'given' or 'discover'"),
        ({"judge": "predicate", "view": "tty"}, "allowed: 'text', 'message', 'crop', 'screen'"),
        ({"judge": "predicate", "threshold": 0.0}, "threshold = 0.0"),
        (
            {"judge": "predicate", "subgoals": (KEY,), "weights": {"pick up the kee": 1.0}},
            "did you mean 'pick up the key'",
        ),
        ({"judge": 7}, "a scorer is a name"),
        ({"judge": "predicate", "subgoals": ()}, "subgoals is (); allowed: one name or more, none empty"),
        ({"judge": "predicate", "subgoals": (" ",)}, "one name or more, none empty"),
        ({"subgoals": "discover"}, "'subgoals' is a setting for a judge, and none is given"),
        ({"view": "tty"}, "'view' is a setting for a judge, and none is given"),
    ],
)
def test_settings_of_a_judge_are_refused_by_name(settings, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        shape(gym.make("milepost/Quest-easy-v0"), [SubgoalOptions(**settings)]).reset(seed=0)


def test_a_scorer_that_cannot_propose_says_so():
    with pytest.raises(ValueError, match="answers question, not a proposal"):
        env = shape(gym.make("milepost/Quest-easy-v0"), [SubgoalOptions(judge="predicate", subgoals="discover")])
        env.reset(seed=0)
    assert serve("predicate").model.kinds == ("question",)


def test_closing_the_environment_ends_its_judge_but_nobody_elses(tmp_path):
    spec = {"scorer": "predicate", "patterns": {KEY: "key"}, "cache": str(tmp_path / "a.sqlite")}
    shared = serve(spec)
    for judge, closes in ((spec, True), (shared, False)):
        env = shape(gym.make("milepost/Quest-easy-v0"), [SubgoalOptions(judge=judge, subgoals=(KEY,))])
        env.reset(seed=0)
        env.step("look")
        service = env.stack.shapers[0]._judged.service
        env.close()
        assert (service._worker is None and service._cache._db is None) == closes
        env.reset(seed=0)  # using it again opens it again
        env.step("look")
        env.close()
    shared.close()
