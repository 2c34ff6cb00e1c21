"""Recorded episodes as JSON lines: an episode a line, written and read back without loss and without pickle."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..types import Trajectory

_ARRAY = "__array__"


def _out(x: Any) -> Any:
    if isinstance(x, np.ndarray):
        return {_ARRAY: x.tolist(), "dtype": str(x.dtype), "shape": list(x.shape)}
    if isinstance(x, np.generic):
        return x.item()
    if isinstance(x, dict):
        return {str(k): _out(v) for k, v in x.items()}
    return [_out(v) for v in x] if isinstance(x, (list, tuple)) else x


def _in(x: Any) -> Any:
    if isinstance(x, dict):
        if _ARRAY in x:
            return np.array(x[_ARRAY], np.dtype(x["dtype"])).reshape(x["shape"])
        return {k: _in(v) for k, v in x.items()}
    return tuple(_in(v) for v in x) if isinstance(x, list) else x  # infos hold tuples: nothing in them is changed


def write_jsonl(path: str | Path, episodes: Iterable[Trajectory]) -> None:
    """Writes episodes as they come; the file appears when it is whole.

    Args:
        path: of the file; its folder is made.
        episodes: what they hold must be plain values and numpy arrays.

    Raises:
        TypeError: an observation, action or info is neither.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        with part.open("w", encoding="utf-8") as f:
            for t in episodes:
                row = {
                    "meta": t.meta,
                    "observations": list(t.obs),
                    "actions": list(t.actions),
                    "rewards": np.asarray(t.rewards, np.float64).tolist(),
                    "terminated": bool(t.terminated),
                    "truncated": bool(t.truncated),
                    "infos": list(t.infos),
                    "terms": {k: np.asarray(v, np.float64).tolist() for k, v in t.terms.items()},
                    "advantages": None if t.advantages is None else t.advantages.tolist(),
                }
                f.write(json.dumps(_out(row)) + "\n")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def read_jsonl(path: str | Path) -> Iterator[Trajectory]:
    """Yields the episodes of a file that ``write_jsonl`` or ``milepost collect --out jsonl`` wrote.

    Raises:
        ValueError: a line is no episode; names the file and the line.
    """
    with Path(path).open(encoding="utf-8") as f:
        for n, line in enumerate(f, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                advantages = row.get("advantages")
                episode = Trajectory(
                    _in(row["observations"]),
                    _in(row["actions"]),
                    np.array(row["rewards"], np.float64),
                    row["terminated"],
                    row["truncated"],
                    _in(row["infos"]),
                    _in(row.get("meta", {})),
                    {k: np.array(v, np.float64) for k, v in row.get("terms", {}).items()},
                    None if advantages is None else np.array(advantages, np.float64),
                )
            except (KeyError, TypeError, AttributeError, ValueError) as e:
                raise ValueError(f"line {n} of {path} is no episode: {type(e).__name__}: {e}") from e
            yield episode
