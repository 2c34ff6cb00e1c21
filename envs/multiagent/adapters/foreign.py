"""mpe2's worlds, PettingZoo's classic games and OpenSpiel's games under the info contract."""

from __future__ import annotations

import functools
import importlib
import importlib.util
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ...errors import one_of
from .aside import Aside
from .contract import Won, contract, wins


class Adapter(NamedTuple):
    """The two factories of a game, as PettingZoo's modules have them; both take its settings by keyword."""

    env: Callable[..., Any]
    """AEC."""
    parallel_env: Callable[..., Any]
    """Parallel; where agents take turns only the action of the one whose turn it is counts."""


def needs(package: str, install: str, what: str) -> None:
    """Refuses in one sentence where a package is missing.

    Raises:
        ModuleNotFoundError: it is; says how to install it.
    """
    if importlib.util.find_spec(package) is None:
        raise ModuleNotFoundError(f"{what} needs {package}: pip install {install}")


def built(make: Callable[[], Any], name: str, draws: bool = True, **facts: Any) -> Any:
    """An environment under the contract, made without drawing from the global generators."""
    aside = Aside()
    with aside(0):
        env = make()
    return contract(env, name=name, draws=draws, aside=aside, **facts)


def by_turns(env: Any) -> Any:
    """A game of turns as a Parallel environment."""
    from pettingzoo.utils.conversions import turn_based_aec_to_parallel

    return turn_based_aec_to_parallel(env)


def mpe2(name: str, **defaults: Any) -> Adapter:
    """A world of mpe2 (the particle worlds of Lowe et al. 2017, arXiv 1706.02275; Mordatch and Abbeel 2018).

    Observations are ``Box`` float32, actions ``Discrete``, or ``Box`` with ``continuous_actions=True``. Nobody wins: the
    infos have no ``success``, ``progress`` and ``max_score``.

    Args:
        name: such as ``simple_spread_v3``.
        **defaults: of the settings, such as ``N=3``.

    Raises:
        ValueError: there is no such world.
        ModuleNotFoundError: mpe2 is not installed.
    """
    needs("mpe2", "'mpe2>=1.1'", "mpe2")
    known = [n.removeprefix("mpe/") for n in importlib.import_module("mpe2.all_modules").mpe_environments]
    if name not in known:
        raise one_of("a world of mpe2", name, known)
    module = importlib.import_module(f"mpe2.{name}")

    def env(**settings: Any) -> Any:
        return built(lambda: module.env(**(defaults | settings)), name, draws=False)

    def parallel_env(**settings: Any) -> Any:
        return built(lambda: module.parallel_env(**(defaults | settings)), name, draws=False)

    return Adapter(env, parallel_env)


def classic(name: str, **defaults: Any) -> Adapter:
    """A classic game of PettingZoo: chess, Go, Connect Four, Hanabi, poker, rock-paper-scissors, tic-tac-toe.

    An illegal action ends the game with a reward of -1, as in PettingZoo. ``success``: at the end the agent has more than
    nothing, and nobody more; in Hanabi, that all cards were played.

    Args:
        name: such as ``connect_four_v3``.
        **defaults: of the settings.

    Raises:
        ValueError: there is no such game.
        ModuleNotFoundError: a package that it needs is not installed.
    """
    needs("pygame", "'pettingzoo[classic]>=1.27'", "PettingZoo's classic games")
    needs("rlcard", "'pettingzoo[classic]>=1.27'", "PettingZoo's classic games")
    needs("chess", "'pettingzoo[classic]>=1.27'", "PettingZoo's classic games")
    known = importlib.import_module("pettingzoo.classic.all_modules").classic_environments
    if f"classic/{name}" not in known:
        if name == "hanabi_v5":
            needs("pyspiel", "'shimmy[openspiel]>=2'", name)
        raise one_of("a classic game", name, [n.removeprefix("classic/") for n in known])
    module = known[f"classic/{name}"]

    def facts(given: Mapping[str, Any]) -> dict[str, Any]:
        if name != "hanabi_v5":
            return {"won": wins}
        full = given.get("colors", 5) * given.get("ranks", 5)
        return {"won": functools.partial(_all_of, full), "max_score": float(full)}

    def env(**settings: Any) -> Any:
        given = defaults | settings
        return built(lambda: module.env(**given), name, draws=False, **facts(given))

    def parallel_env(**settings: Any) -> Any:
        given = defaults | settings
        if hasattr(module, "parallel_env"):
            return built(lambda: module.parallel_env(**given), name, draws=False, **facts(given))
        return built(lambda: by_turns(module.env(**given)), name, draws=False, **facts(given))

    return Adapter(env, parallel_env)


def open_spiel(name: str, params: Mapping[str, Any] | None = None) -> Adapter:
    """A game of OpenSpiel (Lanctot et al. 2019, arXiv 1908.09453) through Shimmy: ``bargaining``, ``negotiation`` and others.

    The observation is a ``Dict`` of ``observation`` (OpenSpiel's tensor, else its text) and ``action_mask``. Chance is
    drawn from the seed. Shimmy pays the last rewards again when agents leave, and while players of a simultaneous move
    are asked; here every reward is paid once, as the difference of OpenSpiel's returns. Shimmy also cuts games off when
    moves and chance together are more than OpenSpiel's longest game has moves; here they end by their own rules. An
    illegal action ends the game with a reward of -1.

    ``success`` at the end: in a zero-sum game, that the player has more than nothing and nobody more; in one where all
    have the same, that it is all there is; else, as in bargaining, that there is a deal: everybody has more than nothing.
    ``max_score``: the game's largest utility.

    Args:
        name: of the game.
        params: its parameters, as ``pyspiel.load_game`` takes them.

    Raises:
        ValueError: there is no such game, or it has no such parameter, or neither numbers nor texts to see.
        ModuleNotFoundError: OpenSpiel or Shimmy is not installed.
    """
    needs("pyspiel", "'shimmy[openspiel]>=2'", "an OpenSpiel game")
    needs("shimmy", "'shimmy[openspiel]>=2'", "an OpenSpiel game")
    pyspiel = importlib.import_module("pyspiel")

    from .openspiel import make, offered

    if name not in offered():
        raise one_of("a game of OpenSpiel", name, offered())
    try:
        game = pyspiel.load_game(name, dict(params or {}))
    except pyspiel.SpielError as e:
        raise ValueError(f"params is {params!r}; OpenSpiel's {name} does not take it: {e}") from None
    best, utility = float(game.max_utility()), game.get_type().utility
    kinds: dict[Any, Won] = {
        pyspiel.GameType.Utility.ZERO_SUM: wins,
        pyspiel.GameType.Utility.IDENTICAL: functools.partial(_all_of, best),
    }
    won = kinds.get(utility, _deal)
    facts: dict[str, Any] = {"won": won, "max_score": best}

    def env() -> Any:
        return built(lambda: make(name, params), name, draws=False, **facts)

    def parallel_env() -> Any:
        return built(lambda: by_turns(make(name, params)), name, draws=False, **facts)

    return Adapter(env, parallel_env)


def _all_of(most: float, agent: str, returns: Mapping[str, float]) -> bool:
    return returns[agent] >= most


def _deal(agent: str, returns: Mapping[str, float]) -> bool:
    return all(r > 0 for r in returns.values())
