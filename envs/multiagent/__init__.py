"""Games for several agents. Importing this package registers them with PettingZoo's own registry."""

from __future__ import annotations

from importlib.util import find_spec

from ..registry import games


def register_all() -> None:
    """Registers every game as AEC and as Parallel, as strings; calling it again changes nothing.

    Raises:
        ModuleNotFoundError: PettingZoo is not installed.
    """
    try:
        import pettingzoo
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "games for several agents need PettingZoo: pip install 'milepost[multiagent]'"
        ) from None
    registries = {"aec": pettingzoo.aec_registry, "parallel": pettingzoo.parallel_registry}
    for row in games():
        for kind, factory in (("aec", "env"), ("parallel", "parallel_env")):
            if row.id not in registries[kind]:
                pettingzoo.register(kind, row.id, f"{row.module}:{factory}", kwargs=dict(row.kwargs))


if find_spec("pettingzoo") is not None:  # the rules of the games can be read without it
    register_all()
