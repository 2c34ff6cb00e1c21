"""``judged_methods.py`` on quests: each method of sub-goals, whole episodes, fits and trees, with a model by its name."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym
import numpy as np
from judged_episodes import (
    DIM,
    MODELS,
    STEPS,
    Embedder,
    Size,
    Timed,
    correlation,
    flags,
    judge,
    known,
    message,
    orders,
    quests,
    reached,
    score,
    separates,
    spent,
    story,
    todo,
    wished,
)

from milepost.wrappers import Stack, Trajectory, Transition
from milepost.wrappers.collect.prefix_tree import Leaf, PrefixTree, preferences, random_policy
from milepost.wrappers.models import PolicyDiscriminator, StageModel, said, task_of
from milepost.wrappers.scorers import Rating, Service
from milepost.wrappers.types import Floats

Found = tuple[float, int, tuple[float, float]]  # the number, of how many, and (calls, ms a call) of the model


@dataclass
class Data:
    """Quests: groups of the test split, and others of the train split to fit to."""

    size: Size

    def __post_init__(self) -> None:
        self.groups = quests("test", self.size.worlds)
        self.train = quests("train", self.size.train, (1.0, 0.5, 0.3, 0.0))
        self.truth = known([*self.groups, *self.train])
        self.flat = [t for g in self.groups for t in g]
        self.fit = [t for g in self.train for t in g]
        self.flags = flags(self.flat)


def pays(layer: dict[str, Any], group: Sequence[Trajectory], learn: Sequence[Trajectory] = ()) -> list[Floats]:
    """What a layer adds at each step of these episodes, after it has learned from others."""
    stack = Stack([layer])
    if learn:
        stack.learn(list(learn))
    with contextlib.redirect_stderr(io.StringIO()):
        out = stack.rerun(list(group)) if learn else stack.run(list(group))
    return [b.rewards - a.rewards for a, b in zip(group, out)]


# -- sub-goals, step by step -----------------------------------------------------------------------
def subgoal_options(model: str, data: Data) -> Found:
    service = judge(model, "question", data.truth)
    layer = {"shaper": "subgoal_options", "judge": service, "view": "message", "once": False}
    paid = pays(layer, data.flat)
    return *separates(paid, data.flags), spent(service)


def judgement_table(model: str, data: Data) -> Found:
    service, paid, rest = judge(model, "question", data.truth), list[Floats](), list[Trajectory]()
    for group in data.groups[: data.size.asked]:  # a table is of one world: every other episode fills it
        layer = {"shaper": "judgement_table", "judge": service, "view": "message", "key": world_key}
        paid += pays(layer, group[1::2], group[::2])
        rest += group[1::2]
    return *separates(paid, flags(rest)), spent(service)


def world_key(t: Transition) -> str:
    """Action and answer; with the whole observation hardly any key comes twice."""
    return f"{t.action} {t.info['message']}"


def caption_reward(source: str) -> Callable[[str, Data], Found]:
    def run(model: str, data: Data) -> Found:
        service, paid, rest = judge(model, "question", data.truth), list[Floats](), list[Trajectory]()
        for group in data.groups:
            task = task_of(group[0])
            layer = {"shaper": "caption_reward", "source": source, "judge": service, "task": task}
            layer |= {"goal": ", then ".join(todo(task))}
            layer |= {"classification": {"student": {"min_lessons": 8}}, "ranking": {"pairs": 15}}.get(source, {})
            stack = Stack([layer])
            if source == "classification":
                stack.run(group[::2])  # labels come at the steps
            elif source == "ranking":
                stack.learn(group[::2])
            out = stack.rerun(group[1::2])
            paid += [b.rewards - a.rewards for a, b in zip(group[1::2], out)]
            rest += group[1::2]
        return *separates(paid, flags(rest)), spent(service)

    return run


def contrastive_goal(model: str, data: Data) -> Found:
    service, paid = Embedder(model).service, list[Floats]()
    for group in data.groups:
        layer = {"shaper": "contrastive_goal", "embedder": service, "key": "message", "form": "weighted"}
        layer |= {"positive": wished(task_of(group[0]))}
        layer |= {"negative": ["You cannot do that.", "You go to another room.", "You drop it."]}
        paid += pays(layer, group)
    return *separates(paid, data.flags), spent(service)


def hop_progress(ask: str) -> Callable[[str, Data], Found]:
    def run(model: str, data: Data) -> Found:
        service = judge(model, ask, data.truth)
        some = [t for g in data.groups[: data.size.asked] for t in g[1:4]]
        layer = {"shaper": "hop_progress", "judge": service, "ask": ask, "views": ["incremental"], "gamma": 1.0}
        paid = pays(layer | {"terminal_potential": None}, some)
        rises = np.concatenate([np.diff(t.trace("progress")) > 1e-9 for t in some]).astype(np.float64)
        return *separates(paid, rises), spent(service)

    return run


# -- whole episodes --------------------------------------------------------------------------------
def graded_outcome(model: str, data: Data) -> Found:
    service = judge(model, "rating", data.truth)
    layer = {"shaper": "graded_outcome", "judge": service, "view": story, "discrete": False}
    paid = [[float(x.sum()) for x in pays(layer, g)] for g in data.groups]
    return *orders(paid, [[score(t) for t in g] for g in data.groups]), spent(service)


def tournament_advantage(model: str, data: Data) -> Found:
    service = judge(model, "rating", data.truth)

    def compare(a: Trajectory, b: Trajectory) -> Any:
        return service.ask([Rating(task_of(t), story(t)) for t in (a, b)])

    stack, won = Stack([{"shaper": "tournament_advantage", "compare": compare}]), []
    for g in data.groups:
        won.append([float(t.signal[0]) for t in stack.run(g)])
    return *orders(won, [[score(t) for t in g] for g in data.groups]), spent(service)


def sweet_spot(model: str, data: Data) -> Found:
    service = judge(model, "rating", data.truth)
    tasks = {id(i): task_of(t) for t in data.flat for i in t.infos}

    def nearness(t: Transition) -> float:
        if model == "truth":
            return float(t.info["progress"])
        return float(service.ask([Rating(tasks[id(t.info)], message(t.next_obs))])[0])

    some = data.groups[: data.size.asked]
    rows = [[nearness(s) for s in t] for g in some for t in g]  # quartiles as limits: judges use a narrow range
    edges = sorted({float(x) for x in np.quantile(np.concatenate(rows), (0.25, 0.5, 0.75))} - {0.0, 1.0})
    layer = {"shaper": "sweet_spot", "key": "near", "edges": edges}
    near = [
        [replace(t, infos=[t.infos[0], *(i | {"near": nearness(s)} for i, s in zip(t.infos[1:], t))]) for t in g]
        for g in some
    ]
    paid = [[float(x.sum()) for x in pays(layer, g)] for g in near]
    return *orders(paid, [[float(np.mean(t.trace("progress")[1:])) for t in g] for g in some]), spent(service)


def self_referential(model: str, data: Data) -> Found:
    vectors = None if model in ("truth", "actions") else Embedder(model)

    def embed(t: Trajectory) -> Floats:
        if vectors is None:
            return np.array([1.0, score(t)])
        return vectors(story(t).split("\n")).mean(0)

    said_, truth = [], []
    for g in data.groups:
        layer: dict[str, Any] = {"shaper": "self_referential", "embed": embed}
        if model == "actions":
            layer.pop("embed")
        lost = [k for k, t in enumerate(g) if not t.infos[-1]["success"]]
        paid = pays(layer, g)
        said_.append([float(paid[k].sum()) for k in lost])
        truth.append([score(g[k]) for k in lost])
    return *orders(said_, truth), spent(*([vectors.service] if vectors else []))


def reference_reward(model: str, data: Data) -> Found:
    vectors = None if model in ("truth", "words") else Embedder(model)
    scores = {(task_of(t), said(t)): score(t) for t in data.flat}

    def alike(prompt: str, reference: str, candidate: str) -> float:
        if vectors is None:
            return scores[prompt, candidate]
        a, b = vectors([reference, candidate])
        return float(a @ b)

    scorer: Any = Timed(alike)
    layer: dict[str, Any] = {"shaper": "reference_reward"} | ({} if model == "words" else {"scorer": scorer})
    paid = [[float(x.sum()) for x in pays(layer, g[1:])] for g in data.groups]
    truth = [[score(t) for t in g[1:]] for g in data.groups]
    return *orders(paid, truth), spent(*([vectors.service] if vectors else []))


def policy_discriminator(model: str, data: Data) -> Found:
    """Held-out triples; ``words`` is the model's own features."""

    def samples(groups: Sequence[Sequence[Trajectory]]) -> dict[Any, list[str]]:
        return {s: [story(g[k]) for g in groups] for k, s in ((0, "oracle"), (-1, "random"))}

    if model == "words":
        found, vectors = PolicyDiscriminator(), None
    else:
        vectors = Embedder(model)
        rows = {x: v for x, v in _stories(vectors, [*data.train, *data.groups])}
        found = PolicyDiscriminator(features=rows.__getitem__)
    found.fit(samples(data.train))
    held = samples(data.groups)
    return found.accuracy(held), 2 * len(data.groups), spent(*([vectors.service] if vectors else []))


def _stories(vectors: Embedder, groups: Sequence[Sequence[Trajectory]]) -> list[tuple[str, Floats]]:
    return [(story(t), vectors(story(t).split("\n")).mean(0)) for g in groups for t in g]


# -- fitted to episodes ----------------------------------------------------------------------------
def features(model: str, data: Data) -> tuple[Callable[[Transition, int], Floats] | None, Embedder | None]:
    """Of a step: what the world answered and how much it is like what was asked for; None: the method's own."""
    if model == "words":
        return None, None
    new = {id(i): float(bool(x)) for t in [*data.flat, *data.fit] for i, x in zip(t.infos[1:], reached(t))}
    if model == "truth":
        return lambda t, dim: np.eye(dim)[0] * new[id(t.info)], None
    vectors = Embedder(model)

    def of(t: Transition, dim: int) -> Floats:
        said_, wanted = vectors([t.info["message"], (wished(t.obs) or [""])[0]])
        return np.append(said_, 3.0 * (said_ @ wanted))

    return of, vectors


def progress_attribution(model: str, data: Data) -> Found:
    f, vectors = features(model, data)
    more = {} if f is None else {"features": f, "dim": 2 if model == "truth" else DIM + 1}
    stack = Stack([{"shaper": "progress_attribution", "conserve": "none"} | more])
    stack.learn(data.fit)
    paid = [t.rewards for t in stack.rerun(data.flat)]
    return *separates(paid, data.flags), spent(*([vectors.service] if vectors else []))


KINDS = ("You take something.", "You put something somewhere.", "You open or unlock something.", "You go somewhere.")


def latent_reward(model: str, data: Data) -> Found:
    new = {id(i): float(bool(x)) for t in [*data.flat, *data.fit] for i, x in zip(t.infos[1:], reached(t))}
    vectors = None if model == "truth" else Embedder(model)

    def factors(t: Transition) -> Any:
        if vectors is None:
            return [new[id(t.info)]]
        said_, *rest = vectors([t.info["message"], (wished(t.obs) or [""])[0], *KINDS])
        return [float(said_ @ x) for x in rest]

    stack = Stack([{"shaper": "latent_reward", "factors": factors}])
    stack.learn(data.fit)
    paid = [t.rewards for t in stack.rerun(data.flat)]
    return *separates(paid, data.flags), spent(*([vectors.service] if vectors else []))


def implicit_process(model: str, data: Data) -> Found:
    vectors = None if model == "words" else Embedder(model)
    layer: dict[str, Any] = {"shaper": "implicit_process", "model": "linear", "reference": "start", "epochs": 20}
    if vectors is not None:

        def pair(obs: str, action: str, dim: int) -> Floats:
            a, g = vectors([action, (todo(obs) or ("",))[0]])
            return np.append(a, a @ g)

        layer |= {"features": pair, "dim": DIM + 1}
    paid = pays(layer, data.flat, data.fit)
    return *separates(paid, data.flags), spent(*([vectors.service] if vectors else []))


def model_reward(model: str, data: Data) -> Found:
    f, vectors = features(model, data)
    more = {} if f is None else {"features": f, "dim": 2 if model == "truth" else DIM + 1}
    layer = {"shaper": "model_reward", "factors": [["score", 1, 0.0], ["length", -1, 0.5]], "within": "task"} | more
    stack = Stack([layer])
    stack.learn(data.fit)
    paid = [[float(t.rewards.sum()) for t in stack.rerun(g)] for g in data.groups]
    return *orders(paid, [[score(t) for t in g] for g in data.groups]), spent(*([vectors.service] if vectors else []))


def stage_model(model: str, data: Data) -> Found:
    vectors = Embedder(model)
    found = StageModel(features=vectors.one).fit([g[0].obs for g in data.train if len(g[0]) >= 6])
    demos = [g[0] for g in data.groups if g[0].infos[-1]["success"]]
    rise = [[found(o) for o in t.obs] for t in demos]
    return *orders(rise, [range(len(x)) for x in rise]), spent(vectors.service)


# -- trees -----------------------------------------------------------------------------------------
def trees(data: Data) -> list[list[Leaf]]:
    """Eight leaves a world, that share their first steps; half of the actions are the oracle's."""
    env = gym.make("milepost/Quest-medium-v0", split="test", max_steps=STEPS)

    def policy(obs: Any, info: dict[str, Any], rng: np.random.Generator) -> Any:
        return env.get_wrapper_attr("oracle")() if rng.random() < 0.5 else random_policy(obs, info, rng)

    tree, first = PrefixTree(env, policy, 2, 3, 3), env.unwrapped.tasks().start  # type: ignore[attr-defined]
    out = [tree.grow(options={"task": first + k}) for k in range(data.size.asked)]
    env.close()
    for leaf in (x for leaves in out for x in leaves):
        for info, obs in zip(leaf.episode.infos[1:], leaf.episode.obs[1:]):
            info["message"] = message(obs)
    return out


def rater(model: str, data: Data) -> tuple[Service, list[list[Trajectory]], list[list[float]]]:
    grown = [[x.episode for x in leaves] for leaves in trees(data)]
    service = judge(model, "rating", known(grown))
    return service, grown, [service.ask([Rating(task_of(t), story(t)) for t in g]) for g in grown]


def prefix_preferences(model: str, data: Data) -> Found:
    service, grown, said_ = rater(model, data)
    leaves = [[Leaf((k,), (0,), t) for k, t in enumerate(g)] for g in grown]
    right = pairs = 0.0
    for row, of in zip(said_, leaves):
        found = {id(x.episode): s for x, s in zip(of, row)}
        for p in preferences(of, lambda a, b, f=found: (1.0 + np.sign(f[id(a)] - f[id(b)])) / 2):
            gap = score(of[p.first].episode) - score(of[p.second].episode)
            right += (p.y if gap > 0 else 1.0 - p.y) if gap else 0.0
            pairs += bool(gap)
    return right / pairs, int(pairs), spent(service)


def tree_advantage(model: str, data: Data) -> Found:
    service, grown, said_ = rater(model, data)
    rows: list[list[float]] = [[], []]
    for g, row in zip(grown, said_):
        for out, worth in zip(rows, (row, [score(t) for t in g])):
            paid = [replace(t, rewards=np.eye(len(t))[-1] * w, terms={}) for t, w in zip(g, worth)]
            out += [float(x) for t in Stack([{"shaper": "tree_advantage"}]).run(paid) for x in t.signal]
    return (1.0 + correlation(*map(np.array, rows))) / 2.0, len(rows[0]), spent(service)


ALL, NO_WORDS = MODELS, ("truth", "chance", "minilm", "smollm2")
STEP, PAIRS = "AUC: a step reached a sub-goal", "pairs of a world in the order of their scores"
EMBED = ("truth", "chance", "words", "minilm")
QUESTS: list[tuple[str, str, str, tuple[str, ...], Callable[[str, Data], Found]]] = [
    ("subgoal_options (CALM)", "Quest", STEP, NO_WORDS, subgoal_options),
    ("judgement_table (CALM)", "Quest", STEP, NO_WORDS, judgement_table),
    ("caption_reward, retrieval (ONI)", "Quest", STEP, NO_WORDS, caption_reward("retrieval")),
    ("caption_reward, classification", "Quest", STEP, NO_WORDS, caption_reward("classification")),
    ("caption_reward, ranking", "Quest", STEP, NO_WORDS, caption_reward("ranking")),
    ("contrastive_goal (VLM-RL)", "Quest", STEP, EMBED[1:], contrastive_goal),
    ("hop_progress, question", "Quest", "AUC: progress rose in a step", NO_WORDS, hop_progress("question")),
    ("hop_progress, rating", "Quest", "AUC: progress rose in a step", ALL, hop_progress("rating")),
    ("graded_outcome (RoboReward)", "Quest", PAIRS, ALL, graded_outcome),
    ("tournament_advantage (ArenaRL)", "Quest", PAIRS, ALL, tournament_advantage),
    ("sweet_spot (SSL)", "Quest", "pairs of a world in the order of their mean progress", ALL, sweet_spot),
    (
        "self_referential (SRPO)",
        "Quest",
        "failures of a world in the order of their scores",
        (*EMBED, "actions"),
        self_referential,
    ),
    ("reference_reward (POLAR)", "Quest", PAIRS, EMBED, reference_reward),
    ("policy_discriminator (POLAR)", "Quest", "held-out triples: oracle or chance", EMBED[1:], policy_discriminator),
    ("prefix_tree, preferences", "Quest", "pairs of leaves in the order of their scores", ALL, prefix_preferences),
    ("tree_advantage (PORTool)", "Quest", "(1 + rank correlation with true advantages) / 2", ALL, tree_advantage),
    ("progress_attribution (SPA)", "Quest", STEP + ", held out", EMBED, progress_attribution),
    ("latent_reward (LaRe)", "Quest", STEP + ", held out", EMBED, latent_reward),
    ("implicit_process (iStar)", "Quest", STEP + ", held out", EMBED[1:], implicit_process),
    ("model_reward (HERON)", "Quest", PAIRS + ", held out", EMBED, model_reward),
    ("stage_model", "Quest", "states of a demonstration in order, held out", EMBED[1:], stage_model),
]
