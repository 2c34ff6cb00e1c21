"""Scenarios of CaSiNo's and Deal or No Deal's files. No such file comes with Milepost: the second is CC BY-NC."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Parts = tuple[tuple[str, ...], tuple[tuple[str, ...], ...], tuple[tuple[tuple[float, ...], ...], ...]]
_POINTS = {"High": 5, "Medium": 4, "Low": 3}
_ITEMS = ("book", "hat", "ball")


def load(path: str) -> list[Parts]:
    """Issues, options and values of each scenario, the same one once.

    Raises:
        ValueError: the file is of another format, or has no scenario; names the file and the line or entry.
        OSError: it cannot be read.
    """
    text = Path(path).read_text(encoding="utf-8")
    found = list(_casino(path, text) if text.lstrip().startswith(("[", "{")) else _deal_or_no_deal(path, text))
    if not found:
        raise ValueError(f"{path} has no scenario")
    return list(dict.fromkeys(found))


def _division(names: Iterable[str], counts: Iterable[int], values: Iterable[Iterable[int]]) -> Parts | None:
    """Things to divide between two as issues: an option is how many each gets. None where a party wants nothing."""
    names, counts = tuple(names), tuple(counts)
    options = tuple(tuple(f"{k}-{n - k}" for k in range(n + 1)) for n in counts)
    worth = []
    for party, points in enumerate(values):
        points = tuple(points)
        most = sum(p * n for p, n in zip(points, counts))
        if most <= 0:
            return None
        worth.append(
            tuple(tuple(p * (k if party == 0 else n - k) / most for k in range(n + 1)) for p, n in zip(points, counts))
        )
    return names, options, tuple(worth)


def _casino(path: str, text: str) -> Iterable[Parts]:
    try:
        rows = json.loads(text)
    except ValueError as e:
        raise ValueError(f"{path} is no JSON: {e}") from None
    for k, row in enumerate(rows if isinstance(rows, list) else [rows]):
        try:
            people = [row["participant_info"][a]["value2issue"] for a in sorted(row["participant_info"])]
            if len(people) != 2:
                raise TypeError(f"{len(people)} participants")
            points = [{issue: _POINTS[level] for level, issue in p.items()} for p in people]
            names = sorted(points[0])
            parts = _division([n.lower() for n in names], [3] * 3, [[p[n] for n in names] for p in points])
        except (KeyError, TypeError, AttributeError, IndexError) as e:
            raise ValueError(f"{path}, entry {k}: no CaSiNo dialogue, {type(e).__name__} {e}") from None
        if parts is not None:
            yield parts


def _deal_or_no_deal(path: str, text: str) -> Iterable[Parts]:
    for k, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            mine, theirs = _between(line, "input"), _between(line, "partner_input")
            if not len(mine) == len(theirs) == 6 or mine[::2] != theirs[::2]:
                raise ValueError
            parts = _division(_ITEMS, mine[::2], [mine[1::2], theirs[1::2]])
        except ValueError:
            raise ValueError(f"{path}, line {k}: no scenario of Deal or No Deal, {line[:60]!r}") from None
        if parts is not None:
            yield parts


def _between(line: str, tag: str) -> list[Any]:
    inside = line.partition(f"<{tag}>")[2].partition(f"</{tag}>")[0].split()
    return [int(x) for x in inside] if all(x.isdigit() for x in inside) else []
