"""Packing repeated items: run lengths, bit masks and differences."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")
LONGEST = 255


class DecodeError(ValueError):
    """What cannot have been packed here."""


def runs(items: Iterable[T], longest: int | None = None) -> Iterator[tuple[T, int]]:
    """Each item with how often it is repeated; a run longer than the limit is cut."""
    current: list[T] = []
    for item in items:
        if current and (item != current[0] or len(current) == longest):
            yield current[0], len(current)
            current = []
        current.append(item)
    if current:
        yield current[0], len(current)


def encode(text: str) -> str:
    """``aaab`` as ``3ab``; digits and backslashes are written behind a backslash."""
    out = ""
    for char, count in runs(text):
        if char.isdigit() or char == "\\":
            char = "\\" + char
        out += char if count == 1 else f"{count}{char}"
    return out


def decode(packed: str) -> str:
    """The text of what ``encode`` made."""
    out: list[str] = []
    digits = ""
    i = 0
    while i < len(packed):
        char = packed[i]
        if char.isdigit():
            digits += char
            i += 1
            continue
        if char == "\\":
            i += 1
            if i >= len(packed):
                raise DecodeError("nothing is behind the backslash")
            char = packed[i]
        count = int(digits) if digits else 1
        if count < 1:
            raise DecodeError("a run has no length")
        out.append(char * count)
        digits = ""
        i += 1
    if digits:
        raise DecodeError("a number is at the end")
    return "".join(out)


def pack(data: bytes) -> bytes:
    """Pairs of a length, up to 255, and a byte."""
    out = bytearray()
    for byte, count in runs(data, LONGEST):
        out.append(count)
        out.append(byte)
    return bytes(out)


def unpack(packed: bytes) -> bytes:
    """The bytes of what ``pack`` made."""
    if len(packed) % 2 != 0:
        raise DecodeError("a pair is cut")
    out = bytearray()
    for count, byte in zip(packed[::2], packed[1::2]):
        if count == 0:
            raise DecodeError("a run has no length")
        out.extend([byte] * count)
    return bytes(out)


def mask(flags: Sequence[bool]) -> int:
    """Flags as the bits of a number, the first one as the lowest."""
    number = 0
    for i, flag in enumerate(flags):
        if flag:
            number |= 1 << i
    return number


def flags(number: int, size: int) -> list[bool]:
    """The lowest bits of a number."""
    if number < 0 or number >> size:
        raise DecodeError(f"{number} has more than {size} bits")
    return [bool((number >> i) & 1) for i in range(size)]


def deltas(numbers: Sequence[int], first: int = 0) -> list[int]:
    """Each number less the one before it."""
    return [b - a for a, b in zip([first, *numbers[:-1]], numbers)]


def undelta(steps: Iterable[int], first: int = 0) -> list[int]:
    """The numbers of what ``deltas`` made."""
    out: list[int] = []
    total = first
    for step in steps:
        total += step
        out.append(total)
    return out


def ratio(text: str) -> float:
    """Length of the packed text over that of the text; 1.0 for none."""
    if not text:
        return 1.0
    return len(encode(text)) / len(text)
