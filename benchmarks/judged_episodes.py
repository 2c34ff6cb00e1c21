"""What ``judged_methods.py`` works on: real episodes, the judges in one form each, and how a signal is held against truth.

A judge is one of MODELS. ``truth`` says what the environment published, ``chance`` a number drawn from the words of the
question, ``words`` needs no model (vectors of hashed words), ``minilm`` and ``smollm2`` are the models. All answer through the
same scorers, so that a method cannot know who judges.
"""

from __future__ import annotations

import functools
import itertools
import json
import re
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from milepost.baselines.judge_eval import auc
from milepost.wrappers import Trajectory
from milepost.wrappers.models import task_of
from milepost.wrappers.probes.reward_bench import pairwise_accuracy
from milepost.wrappers.probes.voc import ranks
from milepost.wrappers.scorers import Query, Question, Rating, Reply, Service, Text, make, serve, strip_volatile
from milepost.wrappers.step.hop_judge import NEARER, hop
from milepost.wrappers.types import Floats

MODELS = ("truth", "chance", "words", "minilm", "smollm2")
STEPS = 16  # of a quest at most: the oracle needs about ten
SHARES = (1.0, 0.75, 0.5, 0.35, 0.2, 0.0)  # of the oracle's actions, in the episodes of one world
DIM = 384  # of MiniLM's vectors; hashed words are folded to as many


class Size(NamedTuple):
    """How much is played."""

    worlds: int = 4  # that a signal is measured on, in six episodes each
    train: int = 12  # others, that what learns is fitted to, in four episodes each
    asked: int = 2  # worlds where a judge is asked about every state
    talks: int = 3  # conversations and games; of short ones three or four times as many


OTHER = {  # of a sub-goal's verb, thing and place
    "take": "Now I am holding {0}.",
    "put": "{0} is lying upon {1} now.",
    "unlock": "With the key I got through {0}.",
    "open": "One can see the inside of {0}.",
}
TINY = Size(worlds=2, train=4, asked=1, talks=1)


# -- judges ----------------------------------------------------------------------------------------
class Told:
    """A scorer that says what a function says: probabilities of sub-goals, a share for a rating, a vector of a text."""

    kinds = ("question", "rating", "text")

    def __init__(self, answer: Callable[[Any], Any]) -> None:
        self.answer = answer
        self.identity = {"scorer": "told"}

    def reply(self, batch: Sequence[Query]) -> list[Reply | None]:
        """The function's answers as JSON."""
        out: list[Reply | None] = []
        for q in batch:
            said = self.answer(q)
            if isinstance(q, Rating):
                said = {"grade": 1.0 + 4.0 * float(said)}
            out.append(Reply(json.dumps({"vector": list(map(float, said))} if isinstance(q, Text) else said)))
        return out

    def read(self, raw: str, query: Query) -> Any:
        """As written."""
        return query.parse(raw)


def drawn(query: Query, draw: str = "chance") -> Any:
    """An answer that only a checksum of the words and of the draw's name decides."""
    rng = np.random.default_rng(zlib.crc32(f"{draw} {query!r}".encode()))
    if isinstance(query, Question):
        return {g: float(rng.random()) for g in query.subgoals}
    return rng.random() if isinstance(query, Rating) else rng.normal(size=DIM)


class Coverage:
    """Rates by an embedder: the mean over what the task asks for of the nearest line of the text, from cosine 0 to 1."""

    kinds = ("rating",)

    def __init__(self, embedder: str) -> None:
        self.model: Any = make(embedder)
        self.identity = {"scorer": "coverage", "of": self.model.identity}

    def reply(self, batch: Sequence[Query]) -> list[Reply | None]:
        """A grade a rating."""
        pairs = [
            (wished(q.task) or [q.task], [x for x in q.text.split("\n") if x] or ["."])
            for q in batch
            if isinstance(q, Rating)
        ]
        texts = list(dict.fromkeys(x for pair in pairs for side in pair for x in side))
        at = dict(zip(texts, self.model.embed(texts)))
        out: list[Reply | None] = []
        for goals, lines in pairs:
            near = np.stack([at[g] for g in goals]) @ np.stack([at[x] for x in lines]).T
            out.append(Reply(json.dumps({"grade": 1.0 + 4.0 * min(1.0, max(0.0, float(near.max(1).mean())))})))
        return out

    def read(self, raw: str, query: Query) -> Any:
        """The share."""
        return query.parse(raw)


def judge(model: str, kind: str, truth: Callable[[Any], Any]) -> Service:
    """A model as a judge of questions or ratings, loaded, with an empty memory; ``truth`` answers for the truth."""
    live: Any = Told(truth) if model == "truth" else None
    if model.startswith("chance"):
        live = Told(functools.partial(drawn, draw=model))
    if live is None and kind == "rating" and model != "smollm2":
        live = Coverage({"words": "hashed", "minilm": "minilm_embedder"}[model])
    spec = {"scorer": model, "max_tokens": 160 if kind == "rating" else 96} if model == "smollm2" else model
    service = serve({"scorer": live if live is not None else spec, "timeout": None})
    if model != "truth":
        _begin(service, Rating("begin", "begin") if kind == "rating" else Question(("begin",), "", "", "", "begin", ""))
    return service


class Embedder:
    """Vectors of texts by the name of a model; counts as a service does."""

    def __init__(self, model: str) -> None:
        specs: dict[str, Any] = {
            "words": {"scorer": "hashed", "dim": DIM},
            "minilm": "minilm_embedder",
        }
        chance = Told(functools.partial(drawn, draw=model))
        self.service = serve({"scorer": chance if model.startswith("chance") else specs[model], "timeout": None})
        _begin(self.service, Text("begin"))

    def __call__(self, texts: Sequence[str]) -> Floats:
        """``(n, 384)`` of length 1."""
        return np.array(self.service.ask([Text(t or "nothing") for t in texts]), np.float64)

    def one(self, text: str) -> Floats:
        """``(384,)`` of one text."""
        return np.asarray(self([text])[0], np.float64)


def _begin(service: Service, query: Query) -> None:
    """Asks beside the counts, so that the loading of a model is in no time that is told."""
    aside = Service(service.model, timeout=None)
    aside.ask([query])
    aside.close()


# -- episodes --------------------------------------------------------------------------------------
def todo(text: str) -> tuple[str, ...]:
    """The open sub-goals that a quest's observation or task names, in order."""
    line = next((x for x in text.split("\n") if x.startswith("Objective: ")), "")
    return tuple(g.strip(" .") for g in re.split(r"\. Then: |; ", line.removeprefix("Objective: ")) if g.strip(" ."))


def wished(text: str) -> list[str]:
    """The same in other words than the world's, which answers "You ``sub-goal``.": equal texts would be no test of a model."""
    out = []
    for g in todo(text):
        verb, _, what = g.partition(" ")
        thing, _, place = what.partition(" on ")
        out.append(OTHER.get(verb, "Somebody has done this: {0} {1}.").format(thing, place or what))
    return out


def message(text: str) -> str:
    """What the world answered, the line that begins with ``>``."""
    return next((x[2:] for x in text.split("\n") if x.startswith("> ")), "")


def play(env: gym.Env[Any, Any], task: int, share: float, rng: np.random.Generator) -> Trajectory:
    """An episode whose actions are the oracle's with probability ``share``, else drawn from what is admissible."""
    obs, info = env.reset(options={"task": task})
    seen, infos, actions, rewards, over = [obs], [info], list[Any](), list[float](), False
    while not over:
        listed = info["admissible_actions"]
        action = env.get_wrapper_attr("oracle")() if rng.random() < share else listed[int(rng.integers(len(listed)))]
        obs, reward, ended, cut, info = env.step(action)
        seen, infos = [*seen, obs], [*infos, info | ({"message": message(obs)} if message(obs) else {})]
        actions, rewards, over = [*actions, action], [*rewards, float(reward)], ended or cut
    return Trajectory(
        seen, actions, np.array(rewards), bool(ended), bool(cut), infos, {"share": share} | infos[0]["meta"]
    )


def quests(split: str, worlds: int, shares: Sequence[float] = SHARES, seed: int = 0) -> list[list[Trajectory]]:
    """Episodes of Quest-medium, a list a world; the first is the oracle's, whose actions are the others' reference."""
    env, out = gym.make("milepost/Quest-medium-v0", split=split, max_steps=STEPS), []
    first = env.unwrapped.tasks().start  # type: ignore[attr-defined]
    for task in range(first, first + worlds):
        rng = np.random.default_rng([seed, task])
        group = [play(env, task, s, rng) for s in shares]
        said = "\n".join(group[0].actions)
        out.append([replace(t, meta=t.meta | {"reference": said}) for t in group])
    env.close()
    return out


def reached(traj: Trajectory) -> list[set[str]]:
    """The sub-goals, as sentences, that each step reached."""
    names = traj.infos[0]["meta"].get("subgoals") or tuple(traj.infos[0]["subgoals"])
    held = [i["subgoals"] for i in traj.infos]
    new = [[k for k in b if b[k] and not a[k]] for a, b in itertools.pairwise(held)]
    sentence = dict(zip(held[0], names))
    return [{sentence[k] for k in ks} for ks in new]


def flags(group: Iterable[Trajectory]) -> Floats:
    """``(steps,)`` 1 where a step reached a sub-goal, of all episodes in order."""
    return np.array([float(bool(x)) for t in group for x in reached(t)])


def score(traj: Trajectory) -> float:
    """The share of the task that an episode did."""
    return float(traj.infos[-1]["score"]) / float(traj.infos[-1]["max_score"])


def story(traj: Trajectory) -> str:
    """What the world answered, each line once, a line a step."""
    return "\n".join(dict.fromkeys(str(i.get("message", "")) for i in traj.infos[1:] if i.get("message")))


def known(groups: Iterable[Sequence[Trajectory]]) -> Callable[[Query], Any]:
    """The truth about quests for any question that the methods ask, looked up by task, action, message and state."""
    steps: dict[tuple[str, str, str], set[str]] = {}
    captions: dict[tuple[str, str], list[bool]] = {}
    states: dict[tuple[str, str], float] = {}
    for t in itertools.chain(*groups):
        task = task_of(t)
        states[task, strip_volatile(story(t))] = score(t)
        states |= {(task, strip_volatile(o)): float(i["progress"]) for o, i in zip(t.obs, t.infos)}
        for s, new in zip(t, reached(t)):
            steps.setdefault((task, s.action, s.info["message"]), set()).update(new)
            captions.setdefault((task, s.info["message"]), []).append(bool(new))

    def worth(task: str, caption: str) -> float:
        return float(np.mean(captions.get((task, caption), [False])))

    def answer(q: Query) -> Any:
        if isinstance(q, Rating):
            return states[q.task, q.text]
        assert isinstance(q, Question)
        if NEARER in q.subgoals:
            h = float(hop(states[q.task, q.before], states[q.task, q.after]))
            return {g: max(h if g == NEARER else -h, 0.0) for g in q.subgoals}
        if q.before and not q.action:  # which of two captions is the better one
            return {g: float(worth(q.task, q.after) > worth(q.task, q.before)) for g in q.subgoals}
        if not q.action:
            return {g: worth(q.task, q.message) for g in q.subgoals}
        new = steps.get((q.task, q.action, q.message), set())
        return {g: float(g in new) for g in q.subgoals}

    return answer


# -- how good is a signal? -------------------------------------------------------------------------
def separates(paid: Iterable[Floats], truth: Floats) -> tuple[float, int]:
    """AUC of what steps were paid, and of how many steps."""
    x = np.concatenate(list(paid))
    return auc(x, truth), len(x)


def orders(said: Sequence[Sequence[float]], truth: Sequence[Sequence[float]]) -> tuple[float, int]:
    """Share of pairs within a group that are ordered as in truth (ties half), over all groups; and how many pairs."""
    right, pairs = 0.0, 0
    for a, b in zip(said, truth):
        n = sum(x != y for x, y in itertools.combinations(b, 2))
        right += n * pairwise_accuracy(a, b) if n else 0.0
        pairs += n
    return (right / pairs if pairs else float("nan")), pairs


def correlation(a: Floats, b: Floats) -> float:
    """Spearman's; 0 where one side is constant."""
    x, y = (ranks(v) - (len(v) - 1) / 2 for v in (a, b))
    size = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y / size) if size else 0.0


class Timed:
    """A function that counts its calls and its seconds."""

    def __init__(self, f: Callable[..., Any]) -> None:
        self.f, self.calls, self.seconds = f, 0, 0.0

    def __call__(self, *args: Any) -> Any:
        begun = time.perf_counter()
        out = self.f(*args)
        self.calls, self.seconds = self.calls + 1, self.seconds + time.perf_counter() - begun
        return out


def spent(*who: Any) -> tuple[float, float]:
    """Calls and milliseconds a call of services and timed functions."""
    calls = sum(w.stats["calls"] if isinstance(w, Service) else w.calls for w in who)
    seconds = sum(w.stats["seconds"] if isinstance(w, Service) else w.seconds for w in who)
    return float(calls), 1000.0 * float(seconds) / calls if calls else 0.0
