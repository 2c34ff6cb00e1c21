"""One scorer for questions, another for proposals: a small embedder judges what a language model has proposed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .query import Query, Reply, Scorer


@dataclass
class Split:
    """Hands each kind of query to the scorer that is named for it.

    Raises:
        ValueError: none is named, or one that does not answer its kind.
    """

    question: Any = None
    """Scorer (name, settings or live) of questions."""
    proposal: Any = None
    """Of proposals."""
    rating: Any = None
    """Of ratings."""

    def __post_init__(self) -> None:
        from . import make

        named = {k: getattr(self, k) for k in ("question", "proposal", "rating") if getattr(self, k) is not None}
        self._scorers: dict[str, Scorer] = {k: make(s) for k, s in named.items()}
        if not self._scorers:
            raise ValueError("split: no scorer is named; allowed: question, proposal, rating")
        for kind, scorer in self._scorers.items():
            if kind not in scorer.kinds:
                raise ValueError(f"split: {named[kind]!r} answers {', '.join(scorer.kinds)}, not a {kind}")
        self.kinds = tuple(self._scorers)

    @property
    def identity(self) -> dict[str, Any]:
        """Those of all."""
        return {"scorer": "split"} | {k: s.identity for k, s in self._scorers.items()}

    def ready(self) -> None:
        """Asks each of them that can say so.

        Raises:
            ModuleNotFoundError: a model's package is missing.
        """
        for s in self._scorers.values():
            if (ready := getattr(s, "ready", None)) is not None:
                ready()

    def reply(self, batch: Sequence[Query]) -> list[Reply | None]:
        """A batch for each scorer, answers in the order of the queries."""
        out: list[Reply | None] = [None] * len(batch)
        for kind, scorer in self._scorers.items():
            where = [i for i, q in enumerate(batch) if q.kind == kind]
            for i, r in zip(where, scorer.reply([batch[i] for i in where]) if where else [], strict=True):
                out[i] = r
        return out

    def read(self, raw: str, query: Query) -> Any:
        """As the one that answered reads it."""
        return self._scorers[query.kind].read(raw, query)
