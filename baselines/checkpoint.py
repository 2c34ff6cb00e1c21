"""Checkpoints without pickled code: tensors and plain values, read with ``weights_only``."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch


def _plain(x: Any) -> Any:
    """Numpy and counters as what torch reads back without pickle."""
    if isinstance(x, np.ndarray):
        return {"__array__": torch.from_numpy(np.ascontiguousarray(x)), "shape": list(x.shape)}
    if isinstance(x, np.generic):
        return x.item()
    if isinstance(x, Counter):
        return {"__counter__": [[_plain(k), v] for k, v in x.items()]}
    if isinstance(x, Mapping):
        return {k: _plain(v) for k, v in x.items()}
    if isinstance(x, (list, tuple)):
        return type(x)(_plain(v) for v in x)
    return x


def _back(x: Any) -> Any:
    if isinstance(x, dict):
        if "__array__" in x:
            return x["__array__"].numpy().reshape(x["shape"])
        if "__counter__" in x:
            return Counter({_back(k): v for k, v in x["__counter__"]})
        return {k: _back(v) for k, v in x.items()}
    return type(x)(_back(v) for v in x) if isinstance(x, (list, tuple)) else x


def save_checkpoint(path: str | Path, kind: str, state: dict[str, Any]) -> None:
    """Writes ``state`` with the versions it was made by; a crash leaves the old file whole."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    versions = {"torch": str(torch.__version__), "gymnasium": gymnasium.__version__, "numpy": np.__version__}
    part = path.with_suffix(path.suffix + ".part")
    torch.save({"kind": kind, "versions": versions, "state": _plain(state)}, part)
    os.replace(part, path)


def load_checkpoint(path: str | Path, kind: str) -> dict[str, Any]:
    """The state again.

    Raises:
        ValueError: the file is no checkpoint, or of another kind of agent.
    """
    try:
        data = torch.load(Path(path), map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ValueError(f"there is no checkpoint {path}") from None
    except Exception as e:
        raise ValueError(f"{path} is no checkpoint of milepost: {type(e).__name__}") from e
    if not isinstance(data, dict) or data.get("kind") != kind:
        raise ValueError(
            f"{path} is a checkpoint of {data.get('kind') if isinstance(data, dict) else '?'}, not of {kind}"
        )
    state: dict[str, Any] = _back(data["state"])
    return state
