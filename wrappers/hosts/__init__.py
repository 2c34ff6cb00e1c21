"""``shape(env, [...])``: the right host for the kind of environment."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from ..facts import Fact
from ..shaper import Shaper
from ..stack import Stack
from ..types import Level

HOSTS = {  # base class of the environment (no import of pettingzoo): host
    "gymnasium:Env": "env:ShapedEnv",
    "gymnasium:VectorEnv": "vector:ShapedVectorEnv",
    "pettingzoo:ParallelEnv": "parallel:ShapedParallelEnv",
    "pettingzoo:AECEnv": "aec:ShapedAECEnv",
}


def shape(
    env: Any,
    shapers: Shaper | Mapping[str, Any] | Sequence[Shaper | Mapping[str, Any]],
    seed: int = 0,
    facts: Mapping[str, str | Fact] | None = None,
    groups: bool = False,
) -> Any:
    """Puts a stack of shapers on any environment; the first is nearest the environment.

    On an environment that is shaped already, the two lists become one stack (compose first, then load state).

    Args:
        env: a Gymnasium ``Env`` or ``VectorEnv``, or a PettingZoo ``ParallelEnv`` or ``AECEnv``.
        shapers: shapers or their specs.
        seed: of the layers' own random streams; where the environment is shaped already, the one given there holds.
        facts: info keys that the environment lacks: key to a function of the ``Transition`` (or ``"module:function"``).
        groups: for one environment whose trainer plays groups of episodes of one task and hands each whole group to
            ``stack.run``, as ``TextAgent(group=8)`` does: layers that compare episodes may stand in it.

    Returns:
        The shaped environment; ``info["reward_terms"]`` says who added what, ``.stack`` is the stack.

    Raises:
        TypeError: there is no host for this kind of environment.
        ValueError: layers that cannot stand in this order, or a setting that is not allowed.
    """
    layers = list(shapers) if isinstance(shapers, (list, tuple)) else [shapers]
    bases = {f"{c.__module__.split('.')[0]}:{c.__name__}" for c in type(env).__mro__}
    for base, host in HOSTS.items():
        if base in bases:
            file, name = host.split(":")
            cls = getattr(importlib.import_module(f"{__name__}.{file}"), name)
            if type(env) is cls:
                old: Stack = env.stack
                if seed not in (0, old.seed):
                    raise ValueError(
                        f"the environment is shaped with seed {old.seed} already, not {seed!r}: give it there"
                    )
                more: dict[str, Any] = {} if getattr(env, "wanted", True) else {"columns": False}
                if base == "gymnasium:Env":
                    more["groups"] = groups or env.groups
                return cls(env.env, [*old.shapers, *layers], old.seed, {**old.facts, **(facts or {})} or None, **more)
            return cls(env, layers, seed, facts, **({"groups": True} if groups and base == "gymnasium:Env" else {}))
    raise TypeError(
        f"no host for {type(env).__name__}: "
        "a Gymnasium Env or VectorEnv or a PettingZoo ParallelEnv or AECEnv is expected"
    )


def inner_stack(env: Any) -> Stack | None:
    """The stack nearest outside ``env``'s core, looking through wrappers, conversions and sub-environments, or None."""
    while env is not None:
        inside = getattr(env, "__dict__", {})
        if isinstance(found := inside.get("stack"), Stack):
            return found
        env = inside.get("env") or inside.get("aec_env") or next(iter(inside.get("envs") or ()), None)
    return None


def in_groups(stack: Stack) -> list[str]:
    """The names of layers that compare episodes."""
    return [name for name, m in zip(stack.names, stack.shapers) if m.level == Level.GROUP]


def refuse_groups(stack: Stack) -> None:
    """One environment alone never has a group.

    Raises:
        ValueError: a layer compares episodes; names it and ``stack.run``.
    """
    if names := in_groups(stack):
        raise ValueError(
            f"{names[0]} compares the episodes of a group, and one environment alone never has one: collect finished "
            "episodes and call stack.run(episodes) on Stack([...]), shape a vector environment, or give groups=True for "
            "a trainer that plays groups, such as the agent text with group=8 (--agent-set group=8)"
        )
