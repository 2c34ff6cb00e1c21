"""Questions over many pages: search, read, search again, answer in words."""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from ...wrappers.shaper import use
from ..errors import one_of
from ..text.base import TEST, Split, whole
from . import scoring
from .base import Item, ToolEnv
from .calls import Call, Turn
from .knowledge import HOPS, LARGEST, SMALLEST, Page, Question, world
from .spaces import Calls
from .tool import Tool, Toolbox, ToolFailed

Metric = Literal["em", "f1"]
Logprob = Callable[[str, str], float]
MOST_HITS, SNIPPET, PAGE = 20, 120, 3000  # hits, and characters
_WORD = re.compile(r"\w+")
_STOP = frozenset(
    "a an and are as at by for from has have in is it its of on or s that the to was what where which who with".split()
)

SYSTEM = (
    "Answer the question from the pages. Search them and open those that help, as often as you need; names may have to be "
    "followed from page to page. Then say <answer>the answer alone</answer> without a tool call: the episode ends with it."
)


class Index:
    """Pages with a BM25 index over title and text (Lucene's form, k1 1.5, b 0.75).

    Args:
        pages: at least one.

    Raises:
        ModuleNotFoundError: bm25s is not installed.
    """

    def __init__(self, pages: Sequence[Page]) -> None:
        try:
            import bm25s
        except ModuleNotFoundError:
            raise ModuleNotFoundError("SearchQA searches with bm25s: pip install 'milepost[tools]'") from None
        self.pages = pages
        self._by_title = {" ".join(p.title.lower().split()): p for p in pages}
        self._bm25 = bm25s.BM25(backend="numpy")
        self._bm25.index([_tokens(f"{p.title} {p.text}") or ["-"] for p in pages], show_progress=False)
        self._known = self._bm25.vocab_dict

    def search(self, query: str, k: int) -> list[Page]:
        """At most ``k`` pages that share a word with the query, the best first; of equals the first page first."""
        tokens = [t for t in dict.fromkeys(_tokens(query)) if t in self._known]
        if not tokens:
            return []
        scores = self._bm25.get_scores(tokens)
        k = min(k, len(scores))
        least = max(float(np.partition(scores, -k)[-k]), 1e-9)
        best = np.flatnonzero(scores >= least)
        order = np.argsort(-scores[best], kind="stable")[:k]
        return [self.pages[i] for i in best[order]]

    def page(self, title: str) -> Page | None:
        """The page of a title, whatever its capitals."""
        return self._by_title.get(" ".join(title.lower().split()))


def _tokens(text: str) -> list[str]:
    return [w for w in _WORD.findall(text.lower()) if w not in _STOP]


@functools.lru_cache(4)
def _generated(seed: int, size: int) -> Index:
    return Index(world(seed, size).pages)


@functools.lru_cache(4)
def _of_file(path: str, stamp: int) -> Index:
    pages = []
    for n, row in _rows(path):
        title = row.get("title") or row.get("id")
        if not isinstance(title, str) or not isinstance(row.get("text"), str):
            raise ValueError(f"{path} line {n}: a page has a text and a title or an id")
        pages.append(Page(title, row["text"]))
    if not pages:
        raise ValueError(f"{path} holds no page")
    return Index(pages)


def _questions(path: str, index: Index) -> list[tuple[Question, str]]:
    """Questions of a file, each with its split."""
    out: list[tuple[Question, str]] = []
    for n, row in _rows(path):
        said = row.get("answers", row.get("answer"))
        answers = tuple(str(a) for a in said) if isinstance(said, list) else (str(said),) if said is not None else ()
        if not isinstance(row.get("question"), str) or not any(scoring.plain(a) for a in answers):
            raise ValueError(f"{path} line {n}: a question has a question, and an answer or answers")
        titles = tuple(row.get("titles") or ())
        for t in titles:
            if not isinstance(t, str) or index.page(t) is None:
                raise ValueError(f"{path} line {n}: no page is called {t!r}")
        split = row.get("split", get_args(Split)[len(out) % 2])
        if split not in get_args(Split):
            raise one_of(f"{path} line {n}: split", split, get_args(Split))
        out.append((Question(row["question"], answers, titles), split))
    return out


def _rows(path: str) -> Iterable[tuple[int, Mapping[str, Any]]]:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise ValueError(f"{path} cannot be read: {e}") from None
    for n, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                row = json.loads(line)
            except ValueError as e:
                raise ValueError(f"{path} line {n} is no JSON: {e}") from None
            if not isinstance(row, dict):
                raise ValueError(f"{path} line {n} is no object")
            yield n, row


def _tools(index: Index) -> list[Tool]:
    def search(state: Any, given: dict[str, Any]) -> list[dict[str, str]]:
        k = int(given.get("k", 5))
        if not 1 <= k <= MOST_HITS:
            raise ToolFailed(f"k is {k}; allowed: 1 to {MOST_HITS}")
        return [{"title": p.title, "snippet": _first(p.text)} for p in index.search(given["query"], k)]

    def open_page(state: Any, given: dict[str, Any]) -> dict[str, Any]:
        page = index.page(given["title"])
        if page is None:
            raise ToolFailed(f"no page is called {given['title'][:80]!r}: search for it")
        return {"title": page.title, "text": page.text[:PAGE], "linked_title": list(page.links)}

    about = f"Finds pages by words (BM25); shows titles and first sentences of the k best, 5 if not said, at most {MOST_HITS}."
    number = {"type": "integer", "minimum": 1, "maximum": MOST_HITS}
    wanted = {"type": "object", "properties": {"query": {"type": "string"}, "k": number}, "required": ["query"]}
    named = {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]}
    return [
        Tool.of_schema("search", about, wanted, search, writes=False),
        Tool.of_schema(
            "open_page", "Shows the page of that title, and which titles it names.", named, open_page, writes=False
        ),
    ]


def _first(text: str) -> str:
    sentence = text.split(". ", 1)[0]
    return sentence if len(sentence) <= SNIPPET else sentence[:SNIPPET] + " ..."


class SearchQAEnv(ToolEnv):
    """Multi-hop questions over thousands of pages, with a search tool.

    ## Description
    An encyclopedia is generated from a seed: people, cities, countries, companies, works and universities, each with a page of
    a few sentences. A question follows 1 to 4 relations from a name in quotes ("In which year was the employer of the author
    of "The Broken River" founded?"), and each relation is said on the page of its subject alone, so that it takes as many
    pages. All names are invented: a model cannot know them. Train and test have encyclopedias of their own. Nothing is
    generated twice in a process: 4,000 pages take 0.3 s. With ``path`` and ``questions`` any corpus takes its place.

    The answer is what the agent says in a turn without a tool call; of a longer turn what stands inside of
    ``<answer>...</answer>`` or behind ``Answer:``. It is right where it equals the reference as SQuAD compares (without
    capitals, punctuation, articles). An empty turn is no answer.

    ## Observation Space
    ``Unicode(16384)``: at first the instruction, the tools and the question; then what the tools said.

    ## Action Space
    ``Calls``: words or tool calls, in any form that ``calls.parse`` reads. ``search(query, k=5)``: titles and first sentences
    by BM25 (bm25s, MIT, installed as a dependency); ``open_page(title)``: a page and the titles that it names. With
    ``candidates``, ``info["admissible_actions"]`` has answers and calls made from what was seen.

    ## Rewards
    Terms, each times its weight (``weights``): ``outcome`` (1), by default alone: 1.0 for the right answer, or with
    ``metric="f1"`` the F1 of its words; ``items``: 1/n for each of the n pages of the reference way when it is first
    opened; ``match``, ``valid_call``, ``format`` as in all tool environments.

    ## Episode End
    Terminates with the answer, right or wrong; truncates after ``max_steps``.

    ## Information
    ``score``, ``max_score``, ``progress`` (share of the way's pages that were opened), ``success`` (exact match in both
    metrics), ``subgoals``, ``process_score``, ``tool_calls``, ``valid_action``, ``admissible_actions``, ``messages``;
    ``token_f1``: of the answer, 0.0 before; with a ``scorer`` ``answer_logprob``, also at reset, which InformationGain
    (IGPO) needs; at the end ``answer``. In the reset info ``meta`` (``task``, ``hops``) and, with ``expose_reference``,
    ``reference`` (the calls of the way) and ``reference_answer``.

    ## Arguments
    ``hops``: numbers of relations that questions have, of 1 to 4. ``documents``: pages, 100 to 200,000. ``world``: seed of the
    encyclopedias. ``metric``: ``em`` or ``f1``.
    ``path``: a JSONL file of pages (``id``, ``title``, ``text``); ``questions``: a JSONL file (``question``, ``answer`` or
    ``answers``, optional ``titles`` of the way's pages and ``split``; without it every second one is of the test split).
    ``scorer``: log-probability of the answer in view of the conversation: ``"unigram"`` (a unigram model of the
    conversation's words; no more than counting), ``"smollm2"`` (SmolLM2-135M, needs ``milepost setup judges``), a function
    ``(context, answer) -> float`` or its ``module:name``.
    ``weights``, ``candidates``, ``max_calls``, ``split``, ``worlds``, ``max_steps``, ``expose_reference``, ``render_mode``.
    ``reset(options={"task": n})`` picks a task.

    ## Version History
    * v0: first version.

    Raises:
        ValueError: a setting is not allowed, or a file is none of that format; says what is.
        ModuleNotFoundError: a package is missing; says how to install it.
    """

    name = "searchqa"

    def __init__(
        self,
        *,
        hops: Sequence[int] = (1, 2, 3, 4),
        documents: int = 4000,
        world: int = 0,
        metric: Metric = "em",
        path: str | None = None,
        questions: str | None = None,
        scorer: str | Logprob | None = None,
        max_steps: int = 20,
        **settings: Any,
    ) -> None:
        super().__init__(max_steps=max_steps, **settings)
        if metric not in get_args(Metric):
            raise one_of("metric", metric, get_args(Metric))
        if (path is None) != (questions is None):
            raise ValueError("path and questions are given together: a file of pages and a file of questions")
        self.metric = metric
        self.scorer = None if scorer is None else _scorer(scorer)
        self._finite: list[Question] | None = None
        if path is not None and questions is not None:
            self._index = _of_file(path, os.stat(path).st_mtime_ns if os.path.exists(path) else 0)
            every = [q for q, split in _questions(questions, self._index) if split == self.split]
            if not every:
                raise ValueError(f"{questions} has no question in split {self.split!r}")
            self._finite = every[: self.worlds or len(every)]
        else:
            listed = [hops] if isinstance(hops, int) else list(hops)
            self.hops = tuple(whole("hops", h, 1, HOPS) for h in listed)
            if not self.hops:
                raise ValueError(f"hops is {hops!r}; allowed: numbers from 1 to {HOPS}, at least one")
            self._seed = whole("world", world, 0, TEST - 1) + (TEST if self.split == "test" else 0)
            self._size = whole("documents", documents, SMALLEST, LARGEST)
            self._index = _generated(self._seed, self._size)
        tools = _tools(self._index)
        self.tools, self.action_space = Toolbox(tools), Calls(tools)
        self.system = SYSTEM
        self._question = Question("", ("",))
        self._forget()

    def _forget(self) -> None:
        self._opened: frozenset[str] = frozenset()
        self._heard: tuple[str, ...] = ()
        self._said: str | None = None
        self._offered: tuple[str, ...] = ()

    def tasks(self) -> range:
        """The tasks of this split; a corpus by path has as many as questions."""
        every = super().tasks()
        return every if self._finite is None else range(every.start, every.start + len(self._finite))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """As ``TextEnv.reset``; ``meta`` has ``hops``, and with ``expose_reference`` there is ``reference_answer``."""
        text, info = super().reset(seed=seed, options=options)
        info["meta"]["hops"] = len(self._question.titles)
        if self.expose_reference:
            info["reference_answer"] = self._question.answers[0]
        return text, info

    def _open(self, task: int) -> None:
        self._forget()
        if self._finite is not None:
            self._question = self._finite[task - self.tasks().start]
        else:
            self._question = world(self._seed, self._size).question(np.random.default_rng([task, 21]), self.hops)
        self.opening = self._question.text
        self._heard = (self.opening,)

    def _trace(self) -> tuple[Call, ...]:
        first = self._question.titles[0] if self._question.titles and self._finite is None else self._question.text
        return Call("search", {"query": first}), *(Call("open_page", {"title": t}) for t in self._question.titles)

    def _remaining(self) -> list[Call | str]:
        if self._ended:
            return []
        return [*self._unmade(), f"<answer>{self._question.answers[0]}</answer>"]

    def _items(self) -> tuple[Item, ...]:
        n = len(self._question.titles)
        names = [f"page {i + 1} of the way was opened" for i in range(n)]
        return tuple(Item(name, 1 / n, question=f"Was {name}?") for name in names)

    def _checks(self) -> dict[str, bool]:
        return {i.id: t in self._opened for i, t in zip(self._items(), self._question.titles)}

    def _after(self, made: tuple[Call, ...], results: tuple[Any, ...]) -> bool:
        for call, result in zip(made, results):
            if result.ok and call.name == "open_page":
                page = self._index.page(result.arguments["title"])
                if page is not None:
                    self._opened |= {page.title}
                    self._offer(page)
        if self.scorer is not None:
            # no errors: they repeat the agent's own words
            self._heard += tuple(r.text for r in results if r.ok)
        return False

    def _offer(self, page: Page) -> None:
        """What a page may answer: the titles and the numbers that it names; the latest last."""
        new = (*page.links, *re.findall(r"\b\d{3,}\b", page.text[:PAGE]))
        self._offered = (*(o for o in self._offered if o not in new), *dict.fromkeys(new))[-32:]

    def _phrases(self) -> tuple[str, ...]:
        return tuple(f"<answer>{a}</answer>" for a in self._offered[::-1][: self.candidates // 2])

    def _reply(self, words: str) -> tuple[str, bool]:
        answer = scoring.said(words)
        if not answer:
            return "Say the answer in words, or call a tool.", False
        self._said = answer
        return "", True

    def _won(self) -> bool:
        return self._said is not None and scoring.exact(self._said, self._question.answers)

    def _answer(self) -> str | None:
        return self._said

    def _f1(self) -> float:
        return 0.0 if self._said is None else scoring.token_f1(self._said, self._question.answers)

    def _command(self, turn: Turn) -> bool:
        valid = super()._command(turn)
        if self.metric == "f1" and self._ended:
            self._terms["outcome"] = self._f1() * self.weights["outcome"]
        return valid

    def _facts(self) -> dict[str, Any]:
        facts = super()._facts() | {"token_f1": self._f1()}
        if self.scorer is not None:
            facts["answer_logprob"] = float(self.scorer("\n".join(self._heard), self._question.answers[0]))
        return facts

    def _keep(self) -> Any:
        return self._opened, self._heard, self._said, self._offered

    def _take(self, kept: Any) -> None:
        self._opened, self._heard, self._said, self._offered = kept


def _scorer(wanted: str | Logprob) -> Logprob:
    """The function that a setting names."""
    found: Any = wanted
    if isinstance(wanted, str):
        if wanted in scoring.SCORERS:
            return scoring.SCORERS[wanted]()
        if ":" not in wanted:
            raise one_of("scorer", wanted, [*scoring.SCORERS, "module:name"])
        found = use(wanted)
    if not callable(found):
        raise ValueError(f"scorer is {wanted!r}; allowed: a function logprob(context, answer) -> float, or its name")
    return found  # type: ignore[no-any-return]
