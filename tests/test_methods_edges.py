"""Edges of all published methods at once: settings that mean nothing, empty episodes, missing facts, memory in a file."""

import dataclasses
import importlib.util
import math
import types
import typing
from collections.abc import Mapping
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.wrappers import (
    CaptionReward,
    Checklist,
    Constraints,
    GatedBonus,
    GradedOutcome,
    GraphDistance,
    HopProgress,
    HybridReward,
    InformationGain,
    JudgementTable,
    LengthPenalty,
    ListwiseAdvantage,
    MissingFact,
    MultiplicativeProgress,
    SelfReferential,
    Stack,
    SubgoalOptions,
    SweetSpot,
    Trajectory,
    TurningPoints,
    ValueAnchored,
    load,
    shape,
)
from milepost.wrappers import conformance as C
from milepost.wrappers.collect.negatives import share_of
from milepost.wrappers.models import PolicyDiscriminator, PreferenceModel
from milepost.wrappers.scorers import Service, serve
from milepost.wrappers.shaper import catalog
from milepost.wrappers.step.krc import closeness

_spec = importlib.util.spec_from_file_location("core_of_edges", Path(__file__).parent / "test_core.py")
core = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(core)

AT_THE_END = {"success", "grade", "scores", "attribution"}  # facts of the last step alone


def known(state):
    return core.facts_of(state) | {"tests": {"old": state != 1, "new": state >= 3}}


def made(name, **settings):
    return load({"shaper": name} | core.SETTINGS.get(name, {}) | settings)


def episodes(*lengths, seed=0):
    rng = np.random.default_rng(seed)
    return [C.sample(rng, n, bool(k % 2), known) for k, n in enumerate(lengths)]


def nothing():
    """An episode that was cut off before its first step."""
    info = {k: v for k, v in known(2).items() if k not in AT_THE_END}
    return Trajectory([2], [], np.zeros(0), False, True, [info], {"task": 0})


# -- settings --------------------------------------------------------------------------------------------
def kinds(hint):
    origin = typing.get_origin(hint)
    return (
        set().union(*map(kinds, typing.get_args(hint)))
        if origin in (typing.Union, types.UnionType)
        else {origin or hint}
    )


def nonsense(cls, field, hint):
    """Values that no setting of this type may have."""
    of = kinds(hint)
    if of & {typing.Any, str} or typing.Literal in of:
        return [object()] if of == {str} else []
    if of & {float, int}:
        endless = [] if float not in of or field in cls.unbounded else [math.inf, -math.inf]
        return [math.nan, "much", True, object(), [], *endless] if bool not in of else []
    if bool in of:
        return ["yes", 1.5, object()]
    if tuple in of:
        return [3, object()]
    if of & {dict, Mapping}:
        numbers = (
            [{"x": math.nan}, {"x": True}, {"x": "y"}, {"x": math.inf}] if typing.get_args(hint)[-1] is float else []
        )
        return [3, "x", ["x"], None, object(), *numbers]
    return []


@pytest.mark.parametrize("name", catalog())
def test_settings_that_mean_nothing_are_refused_by_name(name):
    cls, tried = catalog()[name], 0
    hints = typing.get_type_hints(cls)
    for f in dataclasses.fields(cls):
        for value in nonsense(cls, f.name, hints[f.name]):
            with pytest.raises(ValueError, match=rf"(?s){name}: setting '{f.name}'"):
                made(name, **{f.name: value})
            tried += 1
        if kinds(hints[f.name]) == {int} and f.name not in cls.unbounded:
            with pytest.raises(ValueError, match=rf"(?s){name}.*{f.name}"):
                made(name, **{f.name: -1})
    assert tried or not dataclasses.fields(cls) or name in {"conserve", "mix"}


@pytest.mark.parametrize("name", ["barfi", "parl", "archer"])
def test_trainers_refuse_settings_that_mean_nothing(name):
    module = pytest.importorskip(f"milepost.baselines.{name}", reason="the extra torch is not installed")
    cls = getattr(module, f"{name.capitalize()}Settings")
    hints = typing.get_type_hints(cls)
    for f in dataclasses.fields(cls):
        for value in nonsense(types.SimpleNamespace(unbounded=()), f.name, hints[f.name]):
            with pytest.raises(ValueError, match=rf"{name}: setting '{f.name}'"):
                cls(**{f.name: value})
        if kinds(hints[f.name]) == {int}:
            with pytest.raises(ValueError, match=rf"(?s){name}.*{f.name}"):
                cls(**{f.name: -1})


def test_models_and_helpers_refuse_what_means_nothing():
    for name in ("triples", "seed"):
        for value in ("x", None, -1, 1.5, True):
            with pytest.raises(ValueError, match=f"policy_discriminator: {name} is"):
                PolicyDiscriminator(**{name: value})
    with pytest.raises(ValueError, match="preference_model: seed is"):
        PreferenceModel(seed=-1)
    for wrong in ((-1.0, 1.0), (1.0, 0.0), (1.0, math.nan), (1.0, 1.0, 0.0), (1.0, 1.0, 1.0, -1.0)):
        with pytest.raises(ValueError, match="closeness: d = "):
            closeness(*wrong)
    with pytest.raises(ValueError, match="neither subgoals nor progress is published"):
        share_of(bare({}, {"progress": math.nan}))


def test_what_may_be_infinite_says_so():
    for name, cls in catalog().items():
        assert set(cls.unbounded) <= {f.name for f in dataclasses.fields(cls)}
        for setting in set(cls.unbounded) - {"low"}:
            made(name, **{setting: math.inf})


def test_an_error_of_a_scorer_names_the_layer():
    with pytest.raises(ValueError, match=r"caption_reward_2: no scorer is called 'zzz'"):
        Stack([CaptionReward(labels={"a": 1.0}), CaptionReward(judge="zzz")])


SAYS = {"scorer": "predicate", "patterns": {"go": "x"}}


@pytest.mark.parametrize(
    ("layer", "sentence"),
    [
        (CaptionReward(judge="hashed"), "caption_reward: the scorer Hashed answers text, not a question"),
        (Checklist(judge="hashed"), "checklist: the scorer Hashed answers text, not a question"),
        (SubgoalOptions(judge="hashed"), "subgoal_options: the scorer Hashed answers text, not a question"),
        (JudgementTable(judge="hashed"), "judgement_table: the scorer Hashed answers text, not a question"),
        (
            HopProgress(judge="hashed", goal="goal", ask="rating"),
            "hop_progress: the scorer Hashed answers text, not a rating",
        ),
        (GradedOutcome(judge="predicate"), "graded_outcome: the judge answers question; allowed: one that rates"),
        (SubgoalOptions(judge=SAYS, view="smell"), "subgoal_options: view is 'smell'; allowed: 'text', 'message'"),
        (JudgementTable(judge=SAYS, view="smell"), "judgement_table: view is 'smell'; allowed: 'text', 'message'"),
    ],
    ids=str,
)
def test_a_judge_that_cannot_answer_is_refused_before_the_first_episode(layer, sentence):
    with pytest.raises(ValueError, match=sentence):
        Stack([layer])


class Broken:
    """A judge that nobody reaches."""

    kinds, identity = ("question",), "broken"

    def reply(self, queries):
        raise OSError("no connection")

    def read(self, query, text):
        return None


@pytest.mark.parametrize("layer", [JudgementTable, SubgoalOptions])
def test_the_warning_of_a_failing_judge_names_the_layer(layer):
    stack = Stack([layer(judge=Broken(), subgoals=("go",), view="message", task="go")])
    with pytest.warns(RuntimeWarning, match=f"^{stack.names[0]}: the judge fails"):
        stack.learn([bare({"message": ""}, {"message": "went"})])
        stack.run([bare({"message": ""}, {"message": "went"})])


# -- episodes --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", catalog())
def test_an_empty_episode_beside_others_changes_nothing(name):
    """Alone it gives nothing; in a group the others get what they get without it; learning passes it over."""
    full = episodes(6, 1, 3)
    alone, beside = Stack([made(name)]).run([nothing()]), Stack([made(name)])
    assert alone[0].signal.shape == (0,)
    for t in beside.run([*full, nothing()]):
        assert np.isfinite(t.signal).all() and len(t.signal) == len(t)
    beside.learn([*full, nothing()])


@pytest.mark.parametrize("name", ["length_penalty", "self_referential"])
def test_in_a_group_an_empty_episode_neither_succeeds_nor_fails(name):
    full, layer = episodes(6, 2, 3), made(name)
    full[0].infos[-1]["success"] = True
    for a, b in zip(Stack([layer]).run([*full, nothing()]), Stack([layer]).run(full)):
        assert a.rewards == pytest.approx(b.rewards)
    assert not np.allclose(Stack([layer]).run(full)[1].rewards, full[1].rewards)


@pytest.mark.parametrize("name", catalog())
def test_memory_goes_through_a_file_without_pickled_code(name, tmp_path):
    pytest.importorskip("torch", reason="the extra sb3 is not installed")
    from milepost.baselines.checkpoint import load_checkpoint, save_checkpoint

    full, a, b = episodes(6, 1, 3, 5, 4), Stack([made(name)]), Stack([made(name)])
    a.run(full)
    a.learn(full)
    save_checkpoint(tmp_path / "note.pt", "test", a.state_dict())
    b.load_state_dict(load_checkpoint(tmp_path / "note.pt", "test"))
    a.train(False)
    b.train(False)
    for x, y in zip(a.run(full), b.run(full)):
        np.testing.assert_array_equal(x.signal, y.signal)
    assert C._memory(a) == C._memory(b)


# -- facts -----------------------------------------------------------------------------------------------
def bare(*infos, rewards=None):
    n = len(infos) - 1
    return Trajectory([0] * (n + 1), [0] * n, np.zeros(n) if rewards is None else rewards, True, False, list(infos))


def test_what_nobody_publishes_is_missing_and_not_0():
    rows = [
        (InformationGain(), bare({}, {}), "information_gain", "answer_logprob"),
        (HybridReward(surrogate="similar"), bare({}, {"verifiable": False}), "hybrid_reward", "similar"),
        (Constraints(upper={"harm": 0.1}), bare({}, {}), "constraints", "harm"),
        (SweetSpot(level_of="step"), bare({}, {}), "sweet_spot", "progress"),
        (SweetSpot(), bare({}, {"progress": 1.0}, {}), "sweet_spot", "progress"),
    ]
    for layer, traj, name, key in rows:
        with pytest.raises(MissingFact, match=rf"{name} reads info\['{key}'\]"):
            Stack([layer]).run([traj])
    table = Stack([JudgementTable(judge=SAYS, subgoals=("go",), view="message", task="go")])
    with pytest.raises(MissingFact, match=r"judgement_table reads info\['message'\]"):
        table.learn([bare({}, {})])


def test_what_is_known_late_or_not_needed_is_not_missing():
    # a tier needs no nearness at the reset; a cost may be known at the end alone, or not at all after a failure
    assert Stack([SweetSpot(alpha=1.0)]).run([bare({}, {"progress": 1.0})])[0].rewards == pytest.approx([1.0])
    late = Stack([Constraints(upper={"harm": 0.1})])
    late.run([bare({}, {}, {"harm": True}), bare({}, {"invalid": True})])
    assert late.shapers[0].costs == [[1.0]]


NUMBERS = {  # method -> an info key under which it reads a number, and its settings for that
    "conserve": ("score", {"child": {"shaper": "score_delta"}}),
    "constraints": ("turned_back", {"upper": {"turned_back": 0.1}}),
    "difference_reward": ("counterfactual", {}),
    "episodic_count_discount": ("score", {"child": {"shaper": "score_delta"}}),
    "gate": ("progress", {"child": {"shaper": "scale", "factor": 2.0}, "key": "progress"}),
    "graded_outcome": ("grade", {}),
    "hop_progress": ("progress", {}),
    "hybrid_reward": ("similarity", {}),
    "implicit_process": ("success", {"reference": "start", "actions": 2}),
    "information_gain": ("answer_logprob", {}),
    "krc": ("progress", {"facts": ("progress",)}),
    "latent_reward": ("latent_factors", {}),
    "length_penalty": ("tokens", {"length": "tokens"}),
    "mix": ("score", {"parts": [{"shaper": "uniform"}, {"shaper": "score_delta"}]}),
    "model_reward": ("success", {}),
    "multiplicative_progress": ("progress", {}),
    "potential_shaping": ("progress", {}),
    "re_norm": ("process_score", {}),
    "score_delta": ("max_score", {}),
    "score_delta_win": ("score", {}),
    "sweet_spot": ("progress", {}),
    "tournament_advantage": ("grade", {"key": "grade"}),
    "turning_points": ("value", {}),
    "value_anchored": ("value", {}),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_a_text_where_a_number_is_expected_is_refused_by_name(name):
    key, settings = NUMBERS[name]
    stack = Stack([made(name, **settings)])
    told = known(2) | dict.fromkeys(("turned_back", "tokens", "similarity", "team_reward", "counterfactual"), 0.0)
    rows = [[told | {"success": won, key: "high"}] * 3 for won in (True, False)]
    with pytest.raises(TypeError, match=rf"^{name}: info\['{key}'\] is 'high', a number is expected$"):
        stack.run([bare(*r) for r in rows])
        stack.learn([bare(*r) for r in rows])


def test_a_number_in_a_fact_of_many_and_one_of_a_function():
    grades = {"attribution": {"goal": (1.0, "high")}, "scores": {"goal": 1.0}}
    with pytest.raises(TypeError, match=r"^utterance_attribution: info\['attribution'\] holds 'high', a number is"):
        Stack([made("utterance_attribution")]).run([bare({}, grades, grades)])
    worth = {"players": ("a",), "player": 0, "coalitions": (0, 1), "values": (0.0, "0.5"), "orders": ()}
    with pytest.raises(TypeError, match=r"^shapley_credit: info\['coalition_values'\] holds '0.5', a number is"):
        Stack([made("shapley_credit")]).run([bare({}, {"coalition_values": worth})])
    with pytest.raises(TypeError, match=r"^gated_bonus: a number is expected from a fact or a function, not 'yes'$"):
        Stack([made("gated_bonus")]).run([bare({}, {"consistent": "yes"}, rewards=np.ones(1))])
    with pytest.raises(
        TypeError, match=r"^potential_shaping: a number is expected from a fact or a function, not 'x'$"
    ):
        Stack([load({"shaper": "potential_shaping", "phi": lambda obs: "x"})]).run([bare({}, {})])


class Garbled(core.Corridor):
    """Says its progress in words: from the reset on, or only later."""

    def __init__(self, late):
        super().__init__()
        self.late = late

    def facts(self):
        return super().facts() | ({} if self.late and not self.t else {"progress": "high"})


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("lanes", [0, 2])
@pytest.mark.parametrize("layers", [["potential_shaping"], ["potential_shaping", "sweet_spot"]])
def test_a_text_is_refused_online_as_well(late, lanes, layers):
    env = gym.vector.SyncVectorEnv([lambda: Garbled(late)] * lanes) if lanes else Garbled(late)
    env = shape(env, [load({"shaper": n}) for n in layers])
    with pytest.raises(TypeError, match=r"^potential_shaping: info\['progress'\] is .*'high'.*, a number is expected$"):
        env.reset(seed=0)
        env.step(np.ones(lanes, int) if lanes else 1)


@pytest.mark.parametrize("nobody", [None, math.nan])
def test_no_answer_pays_nothing_and_is_counted(nobody):
    gated, hybrid = Stack([GatedBonus(gate="env")]), Stack([HybridReward()])
    assert gated.run([bare({}, {"consistent": nobody}, rewards=np.ones(1))])[0].rewards == pytest.approx([1.0])
    told = {"verifiable": False, "similarity": nobody}
    assert hybrid.run([bare({}, told, rewards=np.ones(1))])[0].rewards == pytest.approx([1.0])
    assert gated.stats()["gated_bonus/unanswered"] == hybrid.stats()["hybrid_reward/unanswered"] == 1


def ones(*lengths, **meta):
    """Episodes of one task that end in a success, and then a failure."""
    out = []
    for k, n in enumerate(lengths):
        infos = [{} for _ in range(n)] + [{"success": k == 0, "value": math.nan}]
        out.append(Trajectory([0] * (n + 1), [k] * n, np.zeros(n), True, False, infos, {"task": 0} | meta))
    return out


@pytest.mark.parametrize("embed", [lambda t: np.ones(len(t)), lambda t: np.full(3, math.nan), lambda t: 3.0])
def test_embeddings_are_rows_of_finite_numbers_of_one_length(embed):
    with pytest.raises(ValueError, match="self_referential: an embedding has the shape"):
        Stack([SelfReferential(embed=embed)]).run(ones(2, 3))


@pytest.mark.parametrize("logp", [[0.0], [0.0, math.nan]])
def test_log_probabilities_are_finite_and_one_an_action(logp):
    with pytest.raises(ValueError, match="listwise_advantage: meta"):
        Stack([ListwiseAdvantage()]).run(ones(2, 2, logp=logp, ref_logp=[0.0, 0.0]))


def test_a_value_that_nobody_knows_leaves_the_running_mean_alone():
    stack = Stack([ValueAnchored(anchor="running")])
    stack.learn(ones(1))
    assert stack.shapers[0].mean == 0.0 and stack.shapers[0].count == 0
    assert np.isnan(stack.run(ones(1))[0].advantages).all()  # out of the loss


@pytest.mark.parametrize("name", ["model_reward", "progress_attribution", "implicit_process", "utterance_critic"])
def test_features_without_numbers_never_reach_a_model(name):
    def lost(*args):
        return np.full(args[-1], math.nan)

    layer = made(name, features=lost, **({"model": "linear"} if name == "implicit_process" else {}))
    stack = Stack([layer])
    with pytest.raises(ValueError, match=f"{name}: features are not finite"):
        stack.run(episodes(4, 3, 5, 4))
        stack.learn(episodes(4, 3, 5, 4))


class Words:
    """Rates every text by its number of words."""

    kinds, identity = ("rating",), "words"

    def reply(self, queries):
        return [str(min(len(q.text.split()) / 10, 1.0)) for q in queries]

    def read(self, query, text):
        return float(text)


@pytest.mark.parametrize("layer", [CaptionReward, Checklist, GradedOutcome, JudgementTable, SubgoalOptions])
def test_a_judge_of_somebody_else_stays_open_and_ones_own_is_closed(layer, monkeypatch):
    """What a judge was asked is counted in the same words everywhere."""
    ended = []
    monkeypatch.setattr(Service, "close", lambda self: ended.append(self))
    judge = Words() if layer is GradedOutcome else {"scorer": "predicate", "patterns": {"go": "x"}}
    shared = serve(judge)
    for named, closed in ((shared, 0), (judge, 1)):
        stack, before = Stack([layer(judge=named)]), len(ended)
        assert any("/judge/" in k for k in stack.stats())
        stack.release()
        assert len(ended) - before == closed


def test_a_state_without_numbers_is_not_drawn_on_the_map():
    # it would be a node, and the nearest one of every state from then on
    stack = Stack([GraphDistance()])
    with pytest.raises(ValueError, match="graph_distance: features are not finite"):
        stack.run(
            [
                Trajectory(
                    [np.array([0.0]), np.array([math.nan])], [0], np.zeros(1), True, False, [{}, {"success": True}]
                )
            ]
        )


# -- no pay for going round ------------------------------------------------------------------------------
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=12), st.floats(0, 1))
def test_progress_that_comes_back_under_penalties_never_pays(rows, factor):
    """Falling while a penalty holds costs the whole fall, else breaking a rule before each retreat would pay."""
    infos = [
        {"progress": 0.5, "rule": False},
        *({"progress": p, "rule": f} for p, f in rows),
        {"progress": 0.5, "rule": False},
    ]
    (out,) = Stack([MultiplicativeProgress(soft={"rule": factor})]).run([bare(*infos)])
    assert out.rewards.sum() <= 1e-9


def test_a_retreat_under_a_penalty_by_hand():
    # down by .4 with the flag up, and up again without: -.4 and .4, not -.2 and .4
    infos = [{"progress": 0.5, "rule": False}, {"progress": 0.1, "rule": True}, {"progress": 0.5, "rule": False}]
    (out,) = Stack([MultiplicativeProgress(soft={"rule": 0.5})]).run([bare(*infos)])
    assert out.rewards == pytest.approx([-0.4, 0.4])


def valued(*values):
    """An episode with these values, paid 1 at its end."""
    rewards = np.zeros(len(values) - 1)
    rewards[-1] = 1.0
    return bare(*({"value": v} for v in values), rewards=rewards)


def test_the_hacks_that_docstrings_warn_of_are_real():
    # a retreat of .1 at a distance of .5 from the end costs .1, the return is a turn and pays .6: .5 each, ten times
    straight, dithers = valued(0.0, 0.5, 1.0), valued(0.0, *[0.5, 0.4] * 10, 0.5, 1.0)
    a, b = (Stack([TurningPoints()]).run([t])[0].rewards.sum() for t in (straight, dithers))
    assert (a, b) == pytest.approx((2.5, 2.5 + 10 * 0.5))
    # ten steps at .5 before the end have a larger Q than none
    quick, slow = Stack([ValueAnchored()]).run([straight, valued(0.0, *[0.5] * 10, 1.0)])
    assert slow.advantages[0] > quick.advantages[0] + 1.0


def test_groups_of_one_and_equal_groups_give_no_reason_to_move():
    """Estimators that compare whole episodes give 0 to one alone, and to copies of one another."""
    one, copies = episodes(4)[:1], episodes(4)[:1] * 4
    for name in ("grpo", "rloo", "centered", "per_step_norm", "listwise_advantage", "tournament_advantage", "tree_advantage",
                 "dual_level_advantage", "turn_centered"):  # fmt: skip
        for group in (one, copies):
            for t in Stack([made(name)]).run(group):
                assert not t.advantages.any(), name
    for layer in (LengthPenalty(), SelfReferential()):
        for t in Stack([layer]).run(one):
            assert t.rewards == pytest.approx(one[0].rewards)
