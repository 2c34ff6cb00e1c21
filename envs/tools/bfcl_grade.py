"""How BFCL grades: its own checkers, and answers that pass them."""

from __future__ import annotations

import builtins
import functools
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

from . import bfcl_data
from .bfcl_apis import Apis, Truth
from .bfcl_data import Problem
from .calls import Call
from .spaces import Calls
from .tool import Tool

LIMIT = 20  # steps with calls in a turn; after one more the leaderboard gives the problem up
_TRIED = 200  # combinations of accepted values
_MODELS = "bfcl_eval.constants.model_config"


# -- several turns -----------------------------------------------------------------------------------
def turn(state: Apis, truth: Truth, number: int, called: bool) -> str:
    """What the leaderboard finds wrong at the end of a turn, by its name for it; "" where it finds nothing.

    Args:
        state: of the agent, with the results of all its calls.
        truth: of the problem.
        number: of the turn, from 0.
        called: the agent made a call in this turn.
    """
    from bfcl_eval.eval_checker.multi_turn_eval import multi_turn_checker as checker

    if not truth.calls[number]:
        return ""  # it looks at no turn that should have no call
    if not called:
        return "multi_turn:empty_turn_model_response"
    try:
        verdict = checker.state_checker(state.apis, truth.states[number])
        if verdict["valid"]:
            verdict = checker.response_checker(state.results, list(truth.results[number]), number)
    except RecursionError:  # the agent put a folder inside itself
        return "multi_turn:instance_state_mismatch"
    except Exception as e:  # it fails at states that no model is expected to leave
        return f"checker_error:{type(e).__name__}"
    return "" if verdict["valid"] else str(verdict["error_type"])


def same(a: Apis, b: Apis) -> bool:
    """Both have the same public attributes, as the leaderboard compares them."""
    from bfcl_eval.eval_checker.multi_turn_eval import multi_turn_checker as checker

    try:
        return bool(checker.state_checker(a.apis, b.apis)["valid"])
    except Exception:  # it fails at states that no model is expected to leave
        return False


# -- one turn ----------------------------------------------------------------------------------------
def single(problem: Problem, made: Iterable[Call], underscores: bool = False) -> str:
    """What the leaderboard finds wrong with an answer of one turn, by its name for it; "" where it finds nothing.

    Args:
        problem: of a single-turn category.
        made: the calls, with named arguments.
        underscores: names of functions have "_" where the problem has ".".
    """
    output = [{c.name: dict(c.arguments)} for c in made]
    if "irrelevance" in problem.category:
        return "irrelevance_error:decoder_success" if output else ""
    if "relevance" in problem.category:
        return "" if output else "relevance_error:decoder_failed"
    from bfcl_eval.constants.enums import Language

    languages = {"simple_java": Language.JAVA, "simple_javascript": Language.JAVASCRIPT}
    try:
        verdict = _ast_space()["ast_checker"](
            list(problem.entry["function"]),
            output,
            list(problem.truth),
            languages.get(problem.category, Language.PYTHON),
            problem.category,
            "underscores" if underscores else "dots",
        )
    except Exception as e:  # it fails at values that no model is expected to give
        return f"checker_error:{type(e).__name__}"
    return "" if verdict["valid"] else str(verdict["error_type"])


@functools.cache
def _ast_space() -> dict[str, Any]:
    """The module with the leaderboard's checker, without the clients of all models that its module imports.

    Of them it only asks whether a model's function names have "_" for "."; here that is the name of the model.
    """
    file = bfcl_data.root() / "eval_checker" / "ast_eval" / "ast_checker.py"
    known = {"underscores": SimpleNamespace(underscore_to_dot=True), "dots": SimpleNamespace(underscore_to_dot=False)}

    def find(name: str, *args: Any, **kwargs: Any) -> Any:
        return SimpleNamespace(MODEL_CONFIG_MAPPING=known) if name == _MODELS else __import__(name, *args, **kwargs)

    space = {"__builtins__": vars(builtins) | {"__import__": find}, "__name__": "bfcl_ast_checker"}
    exec(compile(file.read_text(encoding="utf-8"), str(file), "exec"), space)
    return space


def answer(problem: Problem, tools: Mapping[str, Tool], underscores: bool = False) -> tuple[Call, ...]:
    """Calls that the leaderboard accepts; none where it wants none."""
    if "irrelevance" in problem.category:
        return ()
    if "relevance" in problem.category:
        return Calls(tuple(tools.values()), seed=0).sample().calls
    parts = [list(itertools.islice(_calls(problem, t, underscores), _TRIED)) for t in problem.truth]
    found = []
    for accepted, options in zip(problem.truth, parts):
        alone = problem._replace(truth=(accepted,))
        found.append(next((c for c in options if not single(alone, (c,), underscores)), options[0]))
    return tuple(found)


def _calls(problem: Problem, accepted: Mapping[str, Any], underscores: bool) -> Iterator[Call]:
    """Calls with accepted values: as few arguments as can be, first values first."""
    name, options = next(iter(accepted)), values(problem, accepted)
    name = name.replace(".", "_") if underscores else name
    for chosen in itertools.product(*options.values()):
        yield Call(name, {a: v for a, v in zip(options, chosen) if v is not ...})


def values(problem: Problem, accepted: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Accepted values of an accepted call's arguments, ``...`` where one may be left out.

    Args:
        problem: of a single-turn category.
        accepted: one of its ``truth``.
    """
    (name, arguments), *_ = accepted.items()
    function = next((f for f in problem.entry["function"] if f["name"] == name), problem.entry["function"][0])
    properties, needed = function["parameters"]["properties"], function["parameters"].get("required", ())
    options = {}
    for a, values in arguments.items():
        given = [w for v in values if v != "" or a in needed for w in _written(v, properties.get(a, {}), problem)]
        options[a] = ([] if a in needed or "" not in values else [...]) + given or [...]
    return options


def plain(text: str) -> str:
    """A text as the leaderboard's syntax-tree checker compares it."""
    return str(_ast_space()["standardize_string"](text))


def _written(value: Any, schema: Mapping[str, Any], problem: Problem) -> list[Any]:
    """An accepted value in the forms that a call may have it in."""
    if problem.category == "simple_java":
        return _java(_plain(value), str(schema.get("type")), schema.get("items", {}).get("type"))
    if problem.category == "simple_javascript":
        return _javascript(_plain(value), str(schema.get("type")))
    return [_plain(value)]


def _plain(value: Any) -> Any:
    """A value without the lists of choices that objects have inside."""
    if isinstance(value, dict):
        chosen = {k: v[0] if isinstance(v, list) and v else v for k, v in value.items() if v != [""]}
        return {k: _plain(v) for k, v in chosen.items() if not (v == "" and "" in value[k])}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return value


def _java(value: Any, kind: str, inner: str | None = None) -> list[str]:
    if isinstance(value, bool):
        return [str(value).lower()]
    if isinstance(value, (int, float)):
        return [str(value) + {"long": "L", "float": "f"}.get(kind, "")]
    if isinstance(value, list):
        quoted = [_quoted(v) if inner in ("String", None) else _java(v, inner)[0] for v in value]
        raw = [v if isinstance(v, str) else q for v, q in zip(value, quoted)]
        forms = [f"new ArrayList<>(Arrays.asList({', '.join(q)}))" for q in (quoted, raw)] if value else []
        return [*forms, "new ArrayList<>()", *(f"new Object[]{{{', '.join(q)}}}" for q in (quoted, raw))]
    if isinstance(value, dict):
        puts = [" ".join(f'put("{k}", {f(v)});' for k, v in value.items()) for f in (_quoted, str)]
        return [*(f"new HashMap<>() {{{{ {p} }}}}" for p in puts), "new HashMap<>()"]
    return [str(value)]


def _quoted(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _javascript(value: Any, kind: str) -> list[str]:
    if isinstance(value, bool):
        return [str(value).lower()]
    if isinstance(value, (int, float)):
        return [f"{value}{'n' if kind == 'Bigint' else ''}"]
    if isinstance(value, list):
        raw = ", ".join(v if isinstance(v, str) else json.dumps(v) for v in value)
        return [_quoted(value), f"[{raw}]"]
    if isinstance(value, dict):
        raw = ", ".join(f"{k}: {v if isinstance(v, str) else json.dumps(v)}" for k, v in value.items())
        return [_quoted(value), f"{{{raw}}}"]
    return [str(value)]
