"""Anti-hacking probes: what every published reward method pays, at most, for an episode that gets nowhere."""

import math

import numpy as np
import pytest

from milepost.wrappers import (
    CaptionReward,
    Checklist,
    Clip,
    Conserve,
    Constraints,
    ContrastiveGoal,
    CountBonus,
    DifferenceReward,
    EpisodicCountDiscount,
    Focus,
    Gate,
    GatedBonus,
    GatedRewardAccumulation,
    GradedOutcome,
    GraphDistance,
    HopProgress,
    HybridReward,
    ImplicitProcess,
    InequityAversion,
    InformationGain,
    JudgementTable,
    Krc,
    LatentReward,
    LengthPenalty,
    Mix,
    ModelReward,
    MultiplicativeProgress,
    Normalize,
    PotentialShaping,
    ProgressAttribution,
    ReferenceReward,
    ReNorm,
    Scale,
    ScoreDelta,
    ScoreDeltaWin,
    SelfReferential,
    ShapleyCredit,
    ShapleySteps,
    Stack,
    SubgoalOptions,
    SweetSpot,
    TeamSpirit,
    TermBlend,
    ToolMatch,
    Trajectory,
    TurningPoints,
    Uniform,
    UtteranceAttribution,
    WeightedTests,
)
from milepost.wrappers.shaper import catalog

pytestmark = pytest.mark.core

# hack: (is the world better than at the start, at the reset and after each of n steps; what the environment pays a step)
HACKS = {
    "a useless but valid action": (lambda n: [False] * (n + 1), 0.0),
    "a repeated credited action": (lambda n: [False] + [True] * n, 2.0),
    "an oscillating score": (lambda n: [i % 2 == 1 for i in range(n + 1)], 0.0),
    "progress just before the cut": (lambda n: [False] * n + [True], 0.0),
    "progress just before a failure": (lambda n: [False] * n + [True], 0.0),
}
ZETA = 1.2020569031595942  # of 3

NEAR_THE_DOOR = ContrastiveGoal(positive=("a door opens",), negative=("you wait",), key="message", clip="auto")

# method: (an instance, most that it pays for n steps for which the environment pays x in sum), as its docstring says
ROWS = {
    "caption_reward": (
        CaptionReward(labels={"a door opens": 1.0}),
        lambda n, x: x + 0.4 * n,
    ),  # without counts: every time
    "checklist": (Checklist(), lambda n, x: x + 1.0),  # one item, once
    "clip": (Clip(-1, 1), lambda n, x: min(x, n)),
    "conserve": (Conserve(SubgoalOptions(beta=0.5)), lambda n, x: x),
    "constraints": (Constraints(upper={"costly": 0.1}), lambda n, x: x / 2),  # equal weights, no cost
    "contrastive_goal": (NEAR_THE_DOOR, lambda n, x: x + n),  # 1 for each step there
    "count_bonus": (CountBonus(0.1), lambda n, x: x + 0.1 * (2 * math.sqrt(2 * n) - 1)),  # of two things in turn
    "difference_reward": (DifferenceReward(), lambda n, x: x),  # all that a team of one gets
    "episodic_count_discount": (EpisodicCountDiscount(), lambda n, x: min(x, 2.0 * ZETA)),
    "focus": (Focus("format", EpisodicCountDiscount()), lambda n, x: min(x, 2.0 * ZETA)),
    "gate": (Gate(SubgoalOptions(beta=0.5), key="progress", threshold=0.4), lambda n, x: x + 0.5),
    "gated_bonus": (GatedBonus(), lambda n, x: x),  # the outcome is 0
    "gated_reward_accumulation": (GatedRewardAccumulation(), lambda n, x: 0.0),  # the outcome alone, and it is 0
    "graded_outcome": (GradedOutcome(), lambda n, x: x + 0.75),  # a judge that gives a 4, once
    "graph_distance": (GraphDistance(gamma=1.0), lambda n, x: x),  # nobody has succeeded: no goal on the map
    "hop_progress": (HopProgress(gamma=1.0, success_bonus=0.5, success_at=0.45), lambda n, x: x + 0.25 + 0.5),
    "hybrid_reward": (HybridReward(), lambda n, x: x + 0.5),  # a model's score, once
    "implicit_process": (ImplicitProcess(reference="start", actions=2), lambda n, x: x),  # nothing is learned yet
    "inequity_aversion": (InequityAversion(), lambda n, x: x),  # alone: nobody to compare with
    "information_gain": (InformationGain(), lambda n, x: x + 1.0),  # one rise of lp by 1, before the last step
    "judgement_table": (
        JudgementTable(table={"a door opens": 1.0}, key=lambda t: t.info["message"]),
        lambda n, x: x + 0.1 * n,  # an entry pays each time
    ),
    "krc": (Krc(facts=("progress",), gamma=1.0), lambda n, x: x + 0.25),
    "latent_reward": (LatentReward(), lambda n, x: 0.0),  # nothing is fitted yet
    "length_penalty": (LengthPenalty(), lambda n, x: x),
    "mix": (Mix([Uniform(), ScoreDelta()]), lambda n, x: x + 0.25 / 2),
    "model_reward": (ModelReward(), lambda n, x: 0.0),  # nothing is fitted yet
    "multiplicative_progress": (MultiplicativeProgress(), lambda n, x: x + 0.25),
    "normalize": (Normalize(), lambda n, x: math.inf if x else 0.0),  # keeps zeros and signs, promises no size
    "potential_shaping": (PotentialShaping(key="progress", gamma=1.0), lambda n, x: x + 0.25),
    "progress_attribution": (ProgressAttribution(), lambda n, x: x),
    "re_norm": (ReNorm(), lambda n, x: 0.0),  # without success no process score pays
    "reference_reward": (ReferenceReward(), lambda n, x: x),  # no word of the reference is said
    "scale": (Scale(2.0, ScoreDelta()), lambda n, x: x + 2 * 0.25),
    "score_delta": (ScoreDelta(), lambda n, x: x + 0.25),
    "score_delta_win": (ScoreDeltaWin(), lambda n, x: x + 0.25),
    "self_referential": (SelfReferential(), lambda n, x: x),  # no success to be near to
    "shapley_credit": (ShapleyCredit(), lambda n, x: x),
    "shapley_steps": (
        ShapleySteps(value="milepost.wrappers.episode.scar:covered", orders=4),
        lambda n, x: 1.0,
    ),  # one sub-goal
    "subgoal_options": (SubgoalOptions(beta=0.5), lambda n, x: x + 0.5),  # once
    "sweet_spot": (SweetSpot(), lambda n, x: x + 0.5 * 0.5),  # the tier of .5, once
    "team_spirit": (TeamSpirit(), lambda n, x: x),
    "term_blend": (TermBlend(("format",)), lambda n, x: x),  # the naive sum, until a trainer says otherwise
    "tool_match": (ToolMatch(), lambda n, x: x + 1.0),  # one call of the reference, once
    "turning_points": (TurningPoints(), lambda n, x: x + 0.25),  # without turns it telescopes
    "uniform": (Uniform(), lambda n, x: x),
    "utterance_attribution": (UtteranceAttribution(), lambda n, x: (n + 1) / 2),  # 1 for each that the judge likes
    "weighted_tests": (WeightedTests(), lambda n, x: x + 0.5),  # one of two equal tests, once
}


def facts(better):
    call = {"name": "open" if better else "look", "arguments": {}}
    return {
        "progress": 0.5 if better else 0.25,
        "score": 2.0 if better else 1.0,
        "max_score": 4.0,
        "subgoals": {"key": better},
        "tests": {"old": True, "new": better},
        "meta": {"checklist": ({"id": "key", "weight": 1.0},)},
        "tool_calls": (call | {"ok": True, "result": ""},),
        "reference": ({"name": "open", "arguments": {}},),
        "value": 0.5 if better else 0.25,
        "consistent": 1.0,
        "verifiable": False,
        "similarity": 0.5 if better else 0.25,
        "answer_logprob": -1.0 if better else -2.0,
        "process_score": 1.0 if better else 0.5,
        "scores": {"goal": 8.0 if better else 2.0},
        "attribution": 3 if better else 1,
        "latent_factors": [float(better)],
        "grade": 4 if better else 1,
        "message": "a door opens" if better else "you wait",
        "valid_action": True,
        "costly": False,
        "success": False,
    }


def episode(hack, n):
    where, pay = HACKS[hack]
    states = where(n)
    infos = [facts(s) for s in states]
    known = {"players": ("me",), "player": 0, "coalitions": (0, 1), "values": (0.0, pay), "orders": ()}
    team = {"team_reward": pay, "counterfactual": 0.0, "coalition_values": known}
    infos[1:] = [i | team | {"reward_terms": {"outcome": 0.0, "format": pay}} for i in infos[1:]]
    dead = hack.endswith("failure")
    return Trajectory([int(s) for s in states], [1] * n, np.full(n, pay), dead, not dead, infos)


def paid(shaper, hack, n):
    (out,) = Stack([shaper]).run([episode(hack, n)])
    assert out.rewards.shape == (n,) and np.isfinite(out.rewards).all()
    return float(out.rewards.sum())


def test_every_published_method_that_pays_has_a_row():
    assert sorted(ROWS) == sorted(n for n, c in catalog().items() if c.output == "reward")
    for name, (shaper, _) in ROWS.items():
        assert type(shaper) is catalog()[name]


@pytest.mark.parametrize("name", ROWS)
def test_no_hack_is_paid_more_than_the_docstring_says(name):
    shaper, most = ROWS[name]
    gaps = []
    for hack, (_, pay) in HACKS.items():
        for n in (1, 2, 9, 80, 800):
            got, limit = paid(shaper, hack, n), most(n, n * pay)
            assert got <= limit + 1e-9, (hack, n)
            gaps.append((got - limit) / max(1.0, abs(limit)) if math.isfinite(limit) else -math.inf)
    assert max(gaps) > -0.03  # the limit is what some hack really gets, not a number out of reach


@pytest.mark.parametrize("name", ROWS)
def test_an_empty_episode_pays_nothing(name):
    (out,) = Stack([ROWS[name][0]]).run([episode("a useless but valid action", 0)])
    assert out.rewards.shape == (0,) and all(v.shape == (0,) for v in out.terms.values())


@pytest.mark.parametrize("name", ["potential_shaping", "hop_progress"])
def test_progress_that_ends_in_a_failure_is_taken_back_and_at_a_cut_is_kept(name):
    shaper = {"potential_shaping": PotentialShaping, "hop_progress": HopProgress}[name](key="progress", gamma=1.0)
    assert paid(shaper, "progress just before the cut", 9) == pytest.approx(0.25)
    assert paid(shaper, "progress just before a failure", 9) == pytest.approx(-0.25)  # minus what the start was worth


def test_the_two_hacks_that_docstrings_warn_of_are_real():
    # a gate around a difference pays each rise and no fall; grounding pays every valid action
    assert paid(Gate(ScoreDelta(), "progress", 0.4), "an oscillating score", 80) == pytest.approx(40 * 0.25)
    grounded = ProgressAttribution(beta=0.5)
    assert paid(grounded, "a useless but valid action", 80) == pytest.approx(80 * 0.5)
