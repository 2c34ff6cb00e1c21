"""Vectors of texts without a model: hashed words, pairs of words and pieces of words."""

from __future__ import annotations

import functools
import itertools
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .query import Query, Reply, Text
from .settings import check

Vectors = np.ndarray[Any, np.dtype[np.float32]]


def tokens(text: str, grams: int) -> Iterator[str]:
    """Words in lower case, pairs of neighbours, and the ``grams`` letters long pieces of each word with its ends."""
    words = re.findall(r"\w+", text.lower())
    yield from words
    for a, b in itertools.pairwise(words):
        yield f"{a} {b}"
    for word in words if grams else ():
        whole = f"<{word}>"
        yield from (f"#{whole[i : i + grams]}" for i in range(len(whole) - grams + 1))


@functools.lru_cache(20_000)
def vector(text: str, dim: int, grams: int) -> Vectors:
    """``(dim,)`` float32 of length 1; zeros where the text has no word. Do not write to it."""
    out = np.zeros(dim)
    for token, n in Counter(tokens(text, grams)).items():
        code = zlib.crc32(token.encode(errors="replace"))
        out[(code >> 1) % dim] += (1.0 + np.log(n)) * (1.0 if code & 1 else -1.0)
    norm = float(np.sqrt(out @ out))
    made: Vectors = (out / norm if norm > 0 else out).astype(np.float32)
    made.setflags(write=False)
    return made


@dataclass
class Hashed:
    """Embeds texts by what words they have: signed hashed counts (1 + log n), of length 1.

    Source: Weinberger et al. 2009, arXiv 0902.2206 (signed hashing); pieces of words as in fastText (Bojanowski et al.
    2017, arXiv 1607.04606). No package, no weights, the same in every process; it knows no meaning: "key" and "door"
    are as far apart as "key" and "cat". Texts without a word have no vector.

    Raises:
        ValueError: a setting that is not allowed.
    """

    dim: int = 512
    """Length of a vector."""
    grams: int = 3
    """Letters of a piece of a word; 0: whole words alone."""

    kinds = ("text",)

    def __post_init__(self) -> None:
        check("hashed", "dim", self.dim, 1, whole=True)
        check("hashed", "grams", self.grams, 0, whole=True)

    @property
    def identity(self) -> dict[str, Any]:
        """All settings."""
        return {"scorer": "hashed", "form": 1, "dim": self.dim, "grams": self.grams}

    def embed(self, texts: Sequence[str]) -> Vectors:
        """``(n, dim)`` float32 vectors of length 1, zeros for a text without a word."""
        return (
            np.stack([vector(t, self.dim, self.grams) for t in texts]) if texts else np.zeros((0, self.dim), np.float32)
        )

    def reply(self, batch: Sequence[Query]) -> list[Reply | None]:
        """JSON of the vector, six decimals; None for a text without a word."""
        out: list[Reply | None] = []
        for q in batch:
            v = vector(q.text, self.dim, self.grams) if isinstance(q, Text) else np.zeros(1, np.float32)
            said = json.dumps({"vector": [round(float(x), 6) for x in v]}, separators=(",", ":"))
            out.append(Reply(said) if v.any() else None)
        return out

    def read(self, raw: str, query: Query) -> Any:
        """The vector, ``(dim,)`` float32."""
        return query.parse(raw)
