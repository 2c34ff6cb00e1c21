"""Text to settings, never to code: stacks, key=value pairs, and words that were not understood."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterable
from typing import Any

from ..wrappers.shaper import catalog, load, nearest


class UserError(Exception):
    """Something the user wrote is not understood; the message is the whole answer."""


def unknown(what: str, name: str, known: Iterable[str]) -> UserError:
    """``no environment is called 'x'; did you mean 'y'?``."""
    return UserError(f"no {what} is called {name!r}{nearest(name, known)}")


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
    except SyntaxError as e:
        raise UserError(f"the stack {text!r} is not written as name(setting=value), ...: {e.msg}") from e
    assert isinstance(tree, ast.List)
    specs = [_layer(node) for node in tree.elts]
    for spec in specs:
        try:
            load(spec)
        except (ValueError, TypeError, ImportError) as e:
            raise UserError(str(e)) from e
    return specs


def _layer(node: ast.AST) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    if isinstance(node, ast.Call):
        if node.args:
            raise UserError(f"settings have names: {ast.unparse(node)!r} has one without")
        for k in node.keywords:
            if k.arg is None:
                raise UserError(f"settings have names: {ast.unparse(node)!r} has none for one")
            settings[k.arg] = _value(k.value)
        node = node.func
    if isinstance(node, ast.Attribute):
        module, _, name = ast.unparse(node).rpartition(".")
        return {"shaper": f"{module}:{name}"} | settings
    if not isinstance(node, ast.Name):
        raise UserError(f"a layer is a name or name(setting=value), not {ast.unparse(node)!r}")
    if node.id not in catalog():
        raise unknown("shaper", node.id, catalog())
    return {"shaper": node.id} | settings


def _value(node: ast.AST) -> Any:
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_value(x) for x in node.elts]
    if isinstance(node, ast.Name) and node.id == "inf":
        return math.inf
    if isinstance(node, ast.UnaryOp) and isinstance(node.operand, ast.Name) and node.operand.id == "inf":
        return -math.inf
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
        except (ValueError, SyntaxError):
            out[key] = value
    return out
