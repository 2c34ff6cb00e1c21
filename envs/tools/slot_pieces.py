"""What stands out in a text: words, quotes, names, numbers, dates, times, lists; read from the text alone."""

from __future__ import annotations

import ast
import functools
import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

LENGTH = 12000  # characters of a text that are read
_WORD = re.compile(r"\S+")
_EDGES = re.compile(r"^[(\[{<\"'`“‘«*]*(.*?)(?:[)\]}>\"'`”’»*.,;:!?]|'s|’s)*$", re.S)
_QUOTED = re.compile(
    r"\"([^\"\n]{1,2000})\"|(?<!\w)'((?:[^'\n]|(?<=\w)'(?=\w)){1,2000})'|`([^`\n]{1,2000})`|“([^”]{1,2000})”|‘([^’]{1,2000})’"
)
_LETTERS = r"(?:[\w&.\-]|'(?=\w))*"
_PROPER = re.compile(rf"[A-Z]{_LETTERS}(?:,? (?:(?:of|the|and|de|in|for|del|la|von|van) )*[A-Z0-9]{_LETTERS})*")
_FIGURE = re.compile(r"(?<![\w.])[-+]?\$?(\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)")
_PARTS = re.compile(r"[A-Za-z0-9][\w@.#\-]*|[#$@][\w.\-]+")
_LISTED = re.compile(r"-?\d+(?:\.\d+)?(?:(?:, and |, ?| and |; ?| )-?\d+(?:\.\d+)?)+")
_LITERAL = re.compile(r"[\[{][^\[\]{}]*(?:[\[{][^\[\]{}]*[\]}][^\[\]{}]*)*[\]}]")
_CLOCK = re.compile(r"\b(\d{1,2})(?::(\d\d))? ?([ap])\.?m\b|\b(\d{1,2}):(\d\d)\b|\b(noon|midnight)\b", re.I)
_ISO = re.compile(r"\b(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})\b")
YEAR = re.compile(r"\b20\d\d(?=\b|-)")
_SLASHED = re.compile(r"\b(\d{1,2})[-/.](\d{1,2})[-/.](\d{4})\b")
_MONTHS = "january february march april may june july august september october november december".split()
_MONTH = "|".join(f"{m}|{m[:3]}" for m in _MONTHS) + "|sept"
_NAMED = re.compile(
    rf"\b(?:({_MONTH})\.? (\d{{1,2}})(?:st|nd|rd|th)?|(\d{{1,2}})(?:st|nd|rd|th)?(?: of)? ({_MONTH})),?(?: (\d{{4}}))?\b",
    re.I,
)
_NUMBERS = (
    "one first two second three third four fourth five fifth six sixth seven seventh eight eighth nine ninth ten tenth eleven "
    "eleventh twelve twelfth thirteen thirteenth fourteen fourteenth fifteen fifteenth sixteen sixteenth seventeen seventeenth "
    "eighteen eighteenth nineteen nineteenth twenty twentieth"
).split()
_MORE = {
    "thirty": 30,
    "forty": 40,
    "fifty": 50,
    "sixty": 60,
    "hundred": 100,
    "dozen": 12,
    "once": 1,
    "twice": 2,
    "half": 0.5,
}
_COUNTED = {w: 1 + k // 2 for k, w in enumerate(_NUMBERS)} | {"zero": 0, "none": 0} | _MORE
_TIMES = {"thousand": 10**3, "k": 10**3, "million": 10**6, "m": 10**6, "billion": 10**9, "%": 0.01, "percent": 0.01}


class Token(NamedTuple):
    """A word in a text, without the marks around it."""

    text: str
    start: int
    end: int
    mark: int
    """End with the marks behind it, as far as they end a sentence."""


class Piece(NamedTuple):
    """A value in a text."""

    value: Any
    form: str
    start: int


@functools.lru_cache(2000)
def tokens(text: str) -> tuple[Token, ...]:
    """The words of a text, in order."""
    out = []
    for m in _WORD.finditer(text[:LENGTH]):
        edges = _EDGES.match(m[0])
        core = edges[1] if edges else ""
        if core:
            start = m.start() + (edges.start(1) if edges else 0)
            behind = re.match(r"[.!?)]+", text[start + len(core) : m.end()])
            out.append(Token(core, start, start + len(core), start + len(core) + (behind.end() if behind else 0)))
    return tuple(out)


def _figures(text: str) -> Iterator[Piece]:
    for m in _FIGURE.finditer(text):
        number = json.loads(m[1].replace(",", "") if m[1][0] != "." else f"0{m[1]}") if is_figure(m[1]) else None
        if number is None:
            continue
        number = -number if m[0][0] == "-" else number
        yield Piece(number, "figure", m.start())
        behind = re.match(r" ?(%|[a-z]+)", text[m.end() :], re.I)
        times = _TIMES.get(behind[1].lower()) if behind else None
        if times:
            scaled = round(number * times, 12)
            yield Piece(int(scaled) if scaled == int(scaled) and times > 1 else scaled, "figure", m.start())
    for t in tokens(text):
        for part in t.text.lower().split("-"):
            if part in _COUNTED:
                yield Piece(_COUNTED[part], "figure", t.start)
        ordinal = re.fullmatch(r"(\d+)(?:st|nd|rd|th)", t.text)
        if ordinal:
            yield Piece(int(ordinal[1]), "figure", t.start)


def is_figure(figure: str) -> bool:
    """Digits that JSON reads as a number, and not as endless."""
    plain = figure.replace(",", "")
    return len(plain) < 300 and not (len(plain) > 1 and plain[0] == "0" and plain[1] != ".")


@functools.lru_cache(2000)
def dates(text: str, years: tuple[str, ...]) -> tuple[tuple[tuple[str, int, int], int], ...]:
    """((year, month, day), place); of a day without a year those that the conversation has."""
    out: list[tuple[tuple[str, int, int], int]] = []
    for m in _ISO.finditer(text):
        out.append(((m[1], int(m[2]), int(m[3])), m.start()))
    for m in _SLASHED.finditer(text):
        for month, day in ((m[1], m[2]), (m[2], m[1])):
            if 1 <= int(month) <= 12:
                out.append(((m[3], int(month), int(day)), m.start()))
    for m in _NAMED.finditer(text):
        name, day = m[1] or m[4], m[2] or m[3]
        month = next(n for n, long in enumerate(_MONTHS, 1) if long.startswith(name.lower()[:3]))
        out += (((year, month, int(day)), m.start()) for year in ([m[5]] if m[5] else years))
    return tuple(out)


def _clocks(text: str) -> Iterator[Piece]:
    for m in _CLOCK.finditer(text):
        if m[6]:
            hour, minute = (12, 0) if m[6].lower() == "noon" else (0, 0)
        elif m[3]:
            hour, minute = int(m[1]) % 12 + 12 * (m[3].lower() == "p"), int(m[2] or 0)
        else:
            hour, minute = int(m[4]), int(m[5])
        if hour < 24 and minute < 60:
            yield Piece(f"{hour:02d}:{minute:02d}", "figure", m.start())


def _lists(text: str) -> Iterator[Piece]:
    """Lists and objects that are written out."""
    for m in _LITERAL.finditer(text):
        for read in (json.loads, ast.literal_eval):
            try:
                value = read(m[0])
            except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
                continue
            if isinstance(value, (list, dict)) and value and is_json(value):
                yield Piece(value, "listed", m.start())
                break
    for m in _LISTED.finditer(text):
        value = [json.loads(n) for n in re.findall(r"-?\d+(?:\.\d+)?", m[0]) if is_figure(n.lstrip("-"))]
        if len(value) > 1:
            yield Piece(value, "listed", m.start())


def is_json(value: Any) -> bool:
    """It is a value of JSON."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return False
    return not isinstance(value, dict) or all(isinstance(k, str) for k in value)


@functools.lru_cache(2000)
def pieces(text: str) -> tuple[tuple[Piece, ...], tuple[Piece, ...], tuple[Piece, ...]]:
    """(texts, numbers, lists and objects) that stand out in a text."""
    text = text[:LENGTH]
    texts = [Piece(next(g for g in m.groups() if g), "quoted", m.start()) for m in _QUOTED.finditer(text)]
    texts += [Piece(q.value.rstrip(".,"), "quoted", q.start) for q in list(texts) if q.value[-1] in ".,"]
    for m in _PROPER.finditer(text):
        name = m[0].rstrip(".,'-")
        texts += [Piece(name, "proper", m.start())]
        texts += [Piece(name[:-2], "proper", m.start())] if name.endswith("'s") else []
        split = [p for p in re.split(r",? (?:and|in|for|of) |, ", name) if p != name and p[:1].isupper()]
        texts += (Piece(p, "proper", m.start() + name.index(p)) for p in split)
    for t in tokens(text):
        if re.search(r"\d|[_@#/\\.=]", t.text):
            texts.append(Piece(t.text, "figure", t.start))
        if not t.text.isalnum():
            parts = {p[0]: 0 for p in _PARTS.finditer(t.text)} | dict.fromkeys(re.findall(r"\w+", t.text), 0)
            texts += [Piece(p, "figure", t.start) for p in parts if p != t.text]
    return tuple(texts + list(_clocks(text))), tuple(_figures(text)), tuple(_lists(text))
