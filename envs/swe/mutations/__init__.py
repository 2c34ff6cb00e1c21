"""Families of bugs, one function each: a parsed file in, edits out.

Every family is closed under its own repair wherever that can be: what ``<`` becomes can become ``<`` again. What no bug can
produce and a repair needs (a copy, a guard, a call that is not there) is in ``repairs``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .arithmetic import off_by_one, operator
from .code import Code, Edit
from .conditions import comparison, control_flow, dropped_guard
from .names import swapped_arguments, wrong_call, wrong_variable
from .statements import exception_handling, removed_call, return_value, state
from .values import default_argument, string_slice

Family = Callable[[Code], Iterator[Edit]]

FAMILIES: dict[str, Family] = {
    "comparison": comparison,
    "control_flow": control_flow,
    "default_argument": default_argument,
    "dropped_guard": dropped_guard,
    "exception_handling": exception_handling,
    "off_by_one": off_by_one,
    "operator": operator,
    "removed_call": removed_call,
    "return_value": return_value,
    "state": state,
    "string_slice": string_slice,
    "swapped_arguments": swapped_arguments,
    "wrong_call": wrong_call,
    "wrong_variable": wrong_variable,
}
