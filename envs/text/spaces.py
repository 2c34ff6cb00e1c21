"""A text space that takes any Unicode text."""

from __future__ import annotations

import multiprocessing as mp
from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.spaces import Text
from gymnasium.spaces.box import Box
from gymnasium.spaces.utils import flatten, flatten_space, unflatten
from gymnasium.vector.utils import create_shared_memory, read_from_shared_memory, write_to_shared_memory

_WORDS = "look go take open close put drop unlock cook the key door chest table north south east west äöü 東 😀".split()


class Unicode(Text):
    """Strings of any characters, at most ``max_length`` of them; the empty string belongs to it.

    ``gymnasium.spaces.Text`` refuses every character that was not listed. This subclass counts only the length, samples
    readable words, and passes through vector environments with and without shared memory, flattening, JSON and Minari.
    Surrogates (not encodable as UTF-8) are no text.

    Args:
        max_length: largest number of characters.
        seed: of ``sample``.
    """

    def __init__(self, max_length: int, seed: int | np.random.Generator | None = None) -> None:
        super().__init__(int(max_length), min_length=0, charset=" ", seed=seed)

    def contains(self, x: Any) -> bool:
        """Is ``x`` a string of at most ``max_length`` characters?"""
        if not isinstance(x, str) or len(x) > self.max_length:
            return False
        return x.isascii() or not any("\ud800" <= c <= "\udfff" for c in x)

    def sample(self, mask: Any = None, probability: Any = None) -> str:
        """A few random words, cut to ``max_length``.

        Raises:
            ValueError: a mask or probability is given; there is no list of characters to weigh.
        """
        if mask is not None or probability is not None:
            raise ValueError("Unicode.sample takes no mask or probability: the space has no list of characters")
        n = int(self.np_random.integers(1, 5))
        return " ".join(str(w) for w in self.np_random.choice(_WORDS, n))[: self.max_length]

    def to_jsonable(self, sample_n: Any) -> list[str]:
        """Strings are JSON already."""
        return list(sample_n)

    def from_jsonable(self, sample_n: list[Any]) -> list[str]:
        """The strings again."""
        return [str(s) for s in sample_n]

    def __repr__(self) -> str:
        return f"Unicode({self.max_length})"

    def __eq__(self, other: object, /) -> bool:
        return type(other) is type(self) and self.max_length == other.max_length

    def __hash__(self) -> int:
        return hash((type(self).__name__, self.max_length))


def codes(text: str, size: int) -> np.ndarray[Any, np.dtype[np.int32]]:
    """``(size,)`` int32: the code points of a text, then -1."""
    out = np.full(size, -1, np.int32)  # -1 ends the text: 0 is a character
    out[: len(text)] = np.frombuffer(text.encode("utf-32-le"), np.int32)
    return out


def _text(codes: np.ndarray[Any, np.dtype[np.int32]]) -> str:
    return codes[codes >= 0].astype(np.uint32).tobytes().decode("utf-32-le")


@create_shared_memory.register(Unicode)
def _create(space: Any, n: int = 1, ctx: Any = mp) -> Any:
    return ctx.Array(np.dtype(np.int32).char, n * space.max_length)


class Texts(Sequence[str]):
    """The texts in shared memory as they are now; a copy is a plain tuple.

    AsyncVectorEnv reads shared memory once, at construction, and afterwards only copies what it got: right for arrays,
    which are views, but the strings of ``gymnasium.spaces.Text`` stay those of the empty memory for ever.
    """

    def __init__(self, codes: np.ndarray[Any, np.dtype[np.int32]]) -> None:
        self._codes = codes

    def __len__(self) -> int:
        return len(self._codes)

    def __getitem__(self, i: Any) -> Any:
        return tuple(self)[i] if isinstance(i, slice) else _text(self._codes[i])

    def __deepcopy__(self, memo: Any) -> tuple[str, ...]:
        return tuple(self)


@read_from_shared_memory.register(Unicode)
def _read(space: Unicode, shared_memory: Any, n: int = 1) -> Any:
    return Texts(np.frombuffer(shared_memory.get_obj(), np.int32).reshape((n, space.max_length)))


@write_to_shared_memory.register(Unicode)
def _write(space: Unicode, index: int, values: str, shared_memory: Any) -> None:
    size = space.max_length
    data = np.frombuffer(shared_memory.get_obj(), np.int32)
    data[index * size : (index + 1) * size] = codes(values, size)


@flatten_space.register(Unicode)
def _flatten_space(space: Any) -> Box:
    return Box(-1, 0x10FFFF, (space.max_length,), np.int32)


@flatten.register(Unicode)
def _flatten(space: Any, x: str) -> Any:  # type: ignore[misc]  # gymnasium wants Space[T] here
    return codes(x, space.max_length)


@unflatten.register(Unicode)
def _unflatten(space: Any, x: Any) -> str:  # type: ignore[misc]
    return _text(np.asarray(x, np.int32))
