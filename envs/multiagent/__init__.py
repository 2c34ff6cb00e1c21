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
    for row in games():
        if row.id not in pettingzoo.aec_registry:
            pettingzoo.register("aec", row.id, f"{row.module}:env", kwargs=dict(row.kwargs))
        if row.id not in pettingzoo.parallel_registry:
            pettingzoo.register("parallel", row.id, f"{row.module}:parallel_env", kwargs=dict(row.kwargs))


if find_spec("pettingzoo") is not None:  # the rules of the games can be read without it
    register_all()
