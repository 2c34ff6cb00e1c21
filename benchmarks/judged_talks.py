"""``judged_methods.py`` on conversations: a service desk, questions over pages, social scenes, guarded assistants."""

from __future__ import annotations

import contextlib
import io
import itertools
import re
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym
import numpy as np
from judged_episodes import Embedder, Size, Timed, auc, drawn, judge, play, separates, spent

from milepost.wrappers import Stack, Trajectory, Transition
from milepost.wrappers.probes.intent_drift import TASKS, IntentDrift
from milepost.wrappers.scorers import Rating
from milepost.wrappers.scorers.query import strip_volatile

Found = tuple[float, int, tuple[float, float]]
DONE = {  # what a judge is asked about an item of a service desk, by the first word of its id
    "verify": "verify the customer's identity",
    "look": "look at the order",
    "do": "change the order",
    "tell": "answer the customer",
}


# -- checklists of a service desk ------------------------------------------------------------------
def desk(n: int) -> list[Trajectory]:
    """Conversations with two requests: the oracle's, and some with every second action drawn from what is possible."""
    env, out = gym.make("milepost/ServiceDesk-v0", split="test", horizon=2, candidates=24, max_steps=20), []
    first = env.unwrapped.tasks().start  # type: ignore[attr-defined]
    for task, share in itertools.product(range(first, first + n), (1.0, 0.6)):
        out.append(play(env, task, share, np.random.default_rng([1, task])))
    env.close()
    return out


def checklist(model: str, size: Size) -> Found:
    paid, truth, services = [], [], []
    for traj in desk(size.talks):
        new = ticked(traj)
        items = [
            dict(i) | {"question": f"{DONE[i['id'].split('-')[0]]} {number(i['id'])}".strip()}
            for i in traj.meta["checklist"]
        ]
        asked = {i["id"]: i["question"] for i in items}
        table = {(str(s.action), strip_volatile(str(s.next_obs))): {asked[k] for k in x} for s, x in zip(traj, new)}

        def told(q: Any, table: dict[Any, set[str]] = table) -> Any:
            return {g: float(g in table.get((q.action, q.after), ())) for g in q.subgoals}

        services.append(judge(model, "question", told))
        layer = {"shaper": "checklist", "items": items, "judge": services[-1], "emit": "step"}
        paid.append(Stack([layer]).run([traj])[0].rewards - traj.rewards)
        truth.append([float(bool(x)) for x in new])
    return *separates(paid, np.concatenate(truth)), _sum(services)


def number(item: str) -> str:
    """Which of the requests an item is about, in words."""
    return {"0": "of the first request", "1": "of the second request"}.get(item.split("-")[-1], "")


def ticked(traj: Trajectory) -> list[set[str]]:
    """The items that each step fulfilled."""
    held = [i["subgoals"] for i in traj.infos]
    return [{k for k in b if b[k] and not a.get(k)} for a, b in itertools.pairwise(held)]


def _sum(services: list[Any]) -> tuple[float, float]:
    return spent(*services)


# -- questions over pages --------------------------------------------------------------------------
def pages(n: int, scorer: Any) -> Iterator[Trajectory]:
    """Questions of two hops; every second action is drawn from what is possible."""
    more = {"scorer": scorer} if scorer is not None else {}
    with contextlib.redirect_stderr(io.StringIO()):
        env = gym.make(
            "milepost/SearchQA-v0", split="test", hops=(2,), documents=400, candidates=24, max_steps=8,
            expose_reference=True, **more,
        )  # fmt: skip
    first = env.unwrapped.tasks().start  # type: ignore[attr-defined]
    for task in range(first, first + n):
        yield play(env, task, 0.5, np.random.default_rng([2, task]))
    env.close()


def information_gain(model: str, size: Size) -> Found:
    """Gains of the turns before the answer: does a turn open a page of the way?"""
    if model == "truth":
        scorer: Any = None
    elif model.startswith("chance"):
        scorer = Timed(lambda context, answer: -float(drawn(Rating(answer, context), model)))
    else:
        from milepost.envs.tools.scoring import SCORERS

        scorer = Timed(SCORERS["unigram" if model == "words" else model]())
    if model == "smollm2":
        scorer("begin", "begin")
        scorer.calls, scorer.seconds = 0, 0.0
    paid, truth = [], []
    for t in pages(4 * size.talks, scorer):
        if scorer is None:
            for i in t.infos:
                i["answer_logprob"] = float(sum(i["subgoals"].values()))
        paid.append((Stack([{"shaper": "information_gain"}]).run([t])[0].rewards - t.rewards)[:-1])
        truth.append([float(bool(x)) for x in ticked(t)][:-1])
    return *separates(paid, np.concatenate(truth)), spent(*([scorer] if scorer is not None else []))


def hybrid_reward(model: str, size: Size) -> Found:
    """Right answers and wrong ones in sentences of the same words, which no rule can compare."""
    vectors = Embedder(model) if model in ("words", "minilm") else None
    service = judge(model, "rating", lambda q: float(q.text.endswith(f"{q.task}."))) if vectors is None else None
    paid, truth = [], []
    for t in pages(4 * size.talks, None):
        right, last = str(t.infos[0]["reference_answer"]), t.infos[-2]
        offered = [re.sub(r"</?answer>", "", a) for a in last["admissible_actions"] if a.startswith("<answer>")]
        wrong = next(a for a in [*offered, "Nobody"] if a != right)
        for said, other in ((right, wrong), (wrong, right)):  # the same words, so that they have to be read
            text = f"Many would say {other}, but the pages say that it is {said}."

            def similarity(step: Transition, right: str = right, text: str = text) -> float:
                if vectors is None:
                    assert service is not None
                    return float(service.ask([Rating(right, text)])[0])
                a, b = vectors([right, text])
                return float(a @ b)

            one = Trajectory(["", ""], [text], np.zeros(1), True, False, [{}, {"verifiable": False}])
            layer = {"shaper": "hybrid_reward", "surrogate": similarity}
            paid.append(Stack([layer]).run([one])[0].rewards)
            truth.append(float(said == right))
    return *separates(paid, np.array(truth)), spent(vectors.service if vectors else service)


# -- games -----------------------------------------------------------------------------------------
def scenes(n: int) -> list[Trajectory]:
    """Each character of social scenes, a winner against a loser and the other way round; waiting is left out."""
    from milepost.envs.multiagent.social import Social

    game, out = Social(split="test"), []
    for task, first in itertools.product(game.tasks()[:n], ("winner", "loser")):
        game.reset(options={"task": task})
        policy = {"person_0": first, "person_1": "loser" if first == "winner" else "winner"}
        rows: dict[str, list[Any]] = {a: [[], [dict(game.infos[a])]] for a in game.agents}
        while game.agents:
            there = list(game.agents)
            did = {a: game.script(a, policy[a]) for a in there}
            for a in there:
                game.act(a, did[a])
            game.end_cycle()
            for a in there:
                rows[a][0].append(did[a])
                rows[a][1].append(dict(game.infos[a]))
        for acts, infos in rows.values():
            keep = [k for k, act in enumerate(acts) if act != "wait"]
            told = [infos[0], *(infos[k + 1] for k in keep)]
            told[-1] = told[-1] | {"scores": infos[-1]["scores"]}
            if keep:
                n_ = len(keep)
                out.append(Trajectory([""] * (n_ + 1), [acts[k] for k in keep], np.zeros(n_), True, False, told))
    return out


def utterance_attribution(model: str, size: Size) -> Found:
    """Grades of utterances: does one raise the own goal, relationship or knowledge?"""
    from milepost.wrappers.episode.sotopia import PAPER

    worth = {
        (wish(t), said(a)): float(sum(i["gains"][d] for d in PAPER) > 0)
        for t in scenes(size.talks)
        for a, i in zip(t.actions, t.infos[1:])
    }
    service = judge(model, "rating", lambda q: worth[q.task, q.text])

    def attribute(t: Trajectory) -> list[float]:
        return [3.0 * float(x) for x in service.ask([Rating(wish(t), said(a)) for a in t.actions])]

    layer = {"shaper": "utterance_attribution", "attributor": attribute, "normalize": "none", "weights": {"goal": 1.0}}
    paid, truth = [], []
    for t in scenes(size.talks):
        flat = t.infos[-1] | {"scores": t.infos[-1]["scores"] | {"goal": 10.0}}  # a loser's goal of 0 hides its grades
        t = Trajectory(t.obs, t.actions, t.rewards, True, False, [*t.infos[:-1], flat])
        paid.append(Stack([layer]).run([t])[0].rewards)
        truth += [float(sum(i["gains"][d] for d in PAPER) > 0) for i in t.infos[1:]]
    return *separates(paid, np.array(truth)), spent(service)


def wish(t: Trajectory) -> str:
    """What a character has to reach."""
    text = str(t.infos[0]["messages"][0]["content"])
    start = "Open of your goal: "
    return next(x.removeprefix(start) for x in text.split("\n") if x.startswith(start)).replace("-", " ")


def said(act: str) -> str:
    """An act as a sentence."""
    return f"You {act.replace('-', ' ')}."


def intent_drift(model: str, size: Size) -> Found:
    """The same answers against the own intent and against that of another conversation."""
    talks = [t for t in guarded(3 * size.talks) if t[1]]
    own = {
        (TASKS[p].replace("{}", i), a) for i, answers, _ in talks for a in answers for p in ("alignment", "compliance")
    }
    service = judge(model, "rating", lambda q: float((q.task, q.text) in own or q.task == TASKS["detail"]))
    probe, scores, truth = IntentDrift(service), list[Any](), list[float]()
    for k, (intent, answers, theme) in enumerate(talks):
        other = next(i for i, _, about in [*talks[k + 1 :], *talks] if about != theme)
        for asked, right in ((intent, 1.0), (other, 0.0)):
            scores += [d.score for d in probe.scores(asked, answers)]
            truth += [right] * len(answers)
    return auc(np.array(scores), np.array(truth)), len(truth), spent(service)


def guarded(n: int) -> list[tuple[str, list[str], str]]:
    """Intents of askers, and what a careful assistant answered that was no refusal."""
    from milepost.envs.multiagent.guarded_assistant import GuardedAssistant

    game, out = GuardedAssistant(split="test"), []
    for task in game.tasks()[:n]:
        game.reset(options={"task": task})
        meta = game.infos["keeper_0"]["meta"]
        while game.agents:
            for agent in ("asker_0", "keeper_0"):
                game.act(agent, game.script(agent, "oracle"))
            game.end_cycle()
        lines = [m["content"] for m in game.infos["keeper_0"]["dialogue"] if m["role"] == "assistant"]
        out.append((meta["intent"], [x for x in dict.fromkeys(lines) if "rather not" not in x][:3], meta["theme"]))
    return out


ALL, NO_WORDS = ("truth", "chance", "words", "minilm", "smollm2"), ("truth", "chance", "minilm", "smollm2")
TALKS: list[tuple[str, str, str, tuple[str, ...], Callable[[str, Any], Found]]] = [
    ("checklist (CM2)", "ServiceDesk", "AUC: a step fulfilled an item", NO_WORDS, checklist),
    ("information_gain (IGPO)", "SearchQA", "AUC: a turn opened a page of the way",
     ("truth", "chance", "words", "smollm2"), information_gain),
    ("hybrid_reward (HARMO)", "SearchQA", "AUC: the answer is right", ALL, hybrid_reward),
    ("utterance_attribution (Sotopia-RL)", "social", "AUC: an utterance raised a score", ALL, utterance_attribution),
    ("intent_drift (SEMA)", "guarded_assistant", "AUC: own intent against another's", ALL, intent_drift),
]  # fmt: skip
