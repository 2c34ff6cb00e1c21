"""What BFCL's wheel holds: problems, their answers and functions, read where it is installed."""

from __future__ import annotations

import functools
import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import one_of

MULTI = ("multi_turn_base", "multi_turn_miss_func", "multi_turn_miss_param", "multi_turn_long_context")
NON_LIVE = (
    "simple_python", "simple_java", "simple_javascript", "multiple", "parallel", "parallel_multiple", "irrelevance",
)  # fmt: skip
LIVE = (
    "live_simple", "live_multiple", "live_parallel", "live_parallel_multiple", "live_irrelevance", "live_relevance",
)  # fmt: skip
SINGLE = NON_LIVE + LIVE
GROUPS = {"multi_turn": MULTI, "single_turn": SINGLE, "non_live": NON_LIVE, "live": LIVE}
_WANTED = ("bfcl_eval", "mpmath")  # mpmath: one of its API classes computes with it
_LANGUAGES = {"simple_java": "Java 8", "simple_javascript": "JavaScript"}


class Problem(NamedTuple):
    """One problem of the leaderboard."""

    id: str
    category: str
    number: int
    """In its category, from 0."""
    entry: Mapping[str, Any]
    """As its file has it; for reading only."""
    truth: tuple[Any, ...]
    """Multi-turn: calls in Python's syntax of each turn. Single-turn: function -> argument -> accepted values. Else none."""


def root() -> Path:
    """The folder of the installed package.

    Raises:
        ValueError: bfcl-eval or what it needs is not installed.
    """
    if any(importlib.util.find_spec(name) is None for name in _WANTED):
        raise ValueError("the Berkeley Function Calling Leaderboard is not installed: milepost setup bfcl")
    spec = importlib.util.find_spec("bfcl_eval")
    assert spec is not None and spec.submodule_search_locations
    return Path(next(iter(spec.submodule_search_locations)))


def categories(name: Any) -> tuple[str, ...]:
    """The categories that a name stands for.

    Raises:
        ValueError: there is no such category or group.
    """
    if name in GROUPS:
        return GROUPS[name]
    if name in MULTI + SINGLE:
        return (name,)
    raise one_of("category", name, (*GROUPS, *MULTI, *SINGLE))


@functools.cache
def problems(category: str) -> tuple[Problem, ...]:
    """All problems of a category, in the order of its file.

    Raises:
        ValueError: bfcl-eval is not installed.
    """
    folder = root() / "data"
    entries = _lines(folder / f"BFCL_v4_{category}.json")
    answers = folder / "possible_answer" / f"BFCL_v4_{category}.json"
    truth = {a["id"]: tuple(a["ground_truth"]) for a in _lines(answers)} if answers.is_file() else {}
    return tuple(Problem(e["id"], category, n, e, truth.get(e["id"], ())) for n, e in enumerate(entries))


@functools.cache
def of_class(name: str) -> tuple[dict[str, Any], ...]:
    """The functions of an API class, as the leaderboard describes them."""
    from bfcl_eval.constants.executable_backend_config import MULTI_TURN_FUNC_DOC_FILE_MAPPING as files

    return tuple(_lines(root() / "data" / "multi_turn_func_doc" / files[name]))


def _lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]


def shown(function: Mapping[str, Any], category: str) -> tuple[str, dict[str, Any]]:
    """Description and JSON schema of a function, with the types of JSON.

    Arguments of Java's and JavaScript's functions are texts in these languages, as the leaderboard asks for them.
    """
    about, language = str(function.get("description", "")), _LANGUAGES.get(category)
    if language is None:
        return about, _schema(function["parameters"])
    properties = {}
    for name, given in function["parameters"]["properties"].items():
        kind = f"{language.split()[0]} {given['type']}"
        inner = given.get("items", {}).get("type") or ""
        of = f" of {inner}" if inner else ""
        fields = f", with the fields {json.dumps(given['properties'])}" if given.get("properties") else ""
        text = f"{given.get('description', '')} ({kind}{of} in {language} syntax, as a text{fields})"
        properties[name] = {"type": "string", "description": text.strip()}
    schema = {"type": "object", "properties": properties, "required": list(function["parameters"].get("required", ()))}
    return f"{about} ({language} syntax)", schema


def _schema(given: Any) -> Any:
    from bfcl_eval.constants.type_mappings import GORILLA_TO_OPENAPI as json_types

    if not isinstance(given, Mapping):
        return given
    out = {k: v for k, v in given.items() if k != "optional"}
    if isinstance(out.get("type"), str):
        out["type"] = json_types.get(out["type"], "string")
    if isinstance(out.get("properties"), Mapping):
        out["properties"] = {k: _schema(v) for k, v in out["properties"].items()}
    if isinstance(out.get("items"), Mapping):
        out["items"] = _schema(out["items"])
    return out
