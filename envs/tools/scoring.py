"""Answers in words: what was said, whether it is right, and how probable it is in view of a conversation.

Scorers ``logprob(context, answer) -> float`` give the mean log-probability of the answer's tokens, in nats, as IGPO
(arXiv 2510.14967) takes it.
"""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...wrappers.scorers.llama import Llama

_WORD = re.compile(r"\w+")
WORDS = 50_000  # of a language: what the unigram model spreads its smoothing over
_OPEN, _CLOSE = "<answer>", "</answer>"
_MARKED = re.compile(r"^(?:final )?answer:[ \t]*(.+)$", re.I | re.M)
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
MOST = 4000  # characters of an answer
MOST_TOKENS = 1500  # of the context that SmolLM2 reads, its end


def plain(text: str) -> str:
    """As SQuAD compares answers (Rajpurkar et al. 2016): no capitals, punctuation, articles or extra blanks."""
    bare = text[:MOST].lower().translate(_NO_PUNCTUATION)
    return " ".join(w for w in bare.split() if w not in ("a", "an", "the"))


def exact(said: str, answers: Iterable[str]) -> bool:
    """The answer is one of those, as SQuAD compares them; an empty one is none."""
    mine = plain(said)
    return bool(mine) and any(mine == plain(a) for a in answers)


def token_f1(said: str, answers: Iterable[str]) -> float:
    """Largest F1 of the words of an answer and of one of those, in [0, 1]."""
    mine, best = plain(said).split(), 0.0
    for answer in answers:
        theirs = plain(answer).split()
        same = sum((Counter(mine) & Counter(theirs)).values())
        if same:
            best = max(best, 2 * same / (len(mine) + len(theirs)))
    return best


def said(words: str) -> str:
    """The answer in what an agent says: inside of ``<answer>``, behind ``Answer:``, or all of it."""
    tagged = _tagged(words)
    if tagged is None:
        marked = _MARKED.findall(words)
        tagged = marked[-1] if marked else words
    return tagged.strip()[:MOST]


def _tagged(words: str) -> str | None:
    """Inside of the last pair of tags; a pair goes from an opening tag to the first closing one, in one pass."""
    found, at = None, words.find(_OPEN)
    while at >= 0:
        start = at + len(_OPEN)
        end = words.find(_CLOSE, start)
        if end < 0:
            break
        found, at = words[start:end], words.find(_OPEN, end)
    return found


class Unigram:
    """A unigram model of the conversation's own words, add-0.01 smoothing over a vocabulary of 50,000.

    No language is understood here: the value grows where words of the answer are seen more often, and no more. It is for
    tests and for comparing with a scorer that reads.
    """

    def __call__(self, context: str, answer: str) -> float:
        """Mean log-probability of the answer's words; of an empty answer 0.0."""
        seen, words = Counter(_WORD.findall(context.lower())), _WORD.findall(answer.lower())
        total = sum(seen.values()) + 0.01 * WORDS
        return sum(math.log((seen[w] + 0.01) / total) for w in words) / len(words) if words else 0.0


class SmolLM2:
    """SmolLM2-135M-Instruct: mean log-probability of the answer's tokens behind ``context`` and "Answer:".

    Raises:
        ModuleNotFoundError: at the first use, where the model's package is missing; names the command that installs it.
    """

    def __init__(self) -> None:
        from ...wrappers.scorers.smollm2 import SmolLM2 as Judge

        self._judge = Judge()
        self._judge.ready()

    def __call__(self, context: str, answer: str) -> float:
        """Mean log-probability of the answer's tokens; of an empty answer 0.0."""
        if not answer.strip():
            return 0.0
        import torch

        model: Llama = self._judge.model
        rest = model.tokens(f" {answer.strip()}")
        start = model.tokens(context)[-MOST_TOKENS:] + model.tokens("\nAnswer:")
        with torch.inference_mode():
            ids = torch.tensor([start + rest])
            logits = model.model(input_ids=ids, logits_to_keep=len(rest) + 1).logits[0, :-1]
            told = logits.float().log_softmax(-1)[torch.arange(len(rest)), ids[0, -len(rest) :]]
        return float(told.mean())


SCORERS: dict[str, Callable[[], Callable[[str, str], float]]] = {"unigram": Unigram, "smollm2": SmolLM2}
