"""Games for several agents on the command line: what is made, what is checked, and one run."""

from __future__ import annotations

import ast
import importlib
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from ..baselines.games.agents import FORMS, Team, make_player, make_team, seats
from ..baselines.games.evaluate import GameEvaluation, duel, evaluate_games
from ..envs.registry import games
from ..wrappers.hosts import shape
from ..wrappers.shaper import allow_import, nearest, use
from .names import EXTRAS, UserError, installed, unknown

TRAINERS = {
    "shared_ppo": "PPO of Stable-Baselines3 in a game of several agents: one network for all",
    "independent_ppo": "PPO of Stable-Baselines3 in a game of several agents: a network each",
    "selfplay_ppo": "PPO of Stable-Baselines3 in a game of several agents: one network against its past selves",
}
COLLECTORS = {"counterfactual": "milepost.wrappers.collect.counterfactual:Counterfactual"}
EXTRA_KEYS = ("agents", "opponents", "cross")  # of an [[env]] that is a game
CROSS = 40  # games against each opponent at the end, and of each pair of the league


def is_game(env_id: str) -> bool:
    """An id of PettingZoo's parallel registry, or ``module:factory`` of a foreign game; Gymnasium's ids are neither.

    Nothing is imported for this.
    """
    module, sep, name = env_id.rpartition(":")
    if sep and module:
        return name.isidentifier() and name not in gym.registry
    return env_id in {g.id for g in games()} or (env_id not in gym.registry and _registered(env_id))


def _registered(env_id: str) -> bool:
    if not installed("multiagent") or "/" not in env_id:
        return False
    import pettingzoo

    return env_id in pettingzoo.parallel_registry


def make_game(env_id: str, settings: dict[str, Any], **more: Any) -> Any:
    """A ``ParallelEnv``, with errors that are one sentence.

    Raises:
        UserError: an unknown game or setting, or a module that is not allowed.
    """
    row = next((g for g in games() if g.id == env_id), None)
    try:
        if row is not None:
            factory, given = importlib.import_module(row.module).parallel_env, row.kwargs | settings | more
        elif ":" in env_id:
            factory, given = use(env_id), settings | more
        else:
            import pettingzoo

            def factory(**kw: Any) -> Any:
                return pettingzoo.make("parallel", env_id, **kw)

            given = settings | more
        env = factory(**given)
    except ModuleNotFoundError as e:
        extra = next((x for x, (names, _) in EXTRAS.items() if (e.name or "").partition(".")[0] in names), None)
        raise UserError(f"{env_id}: {e}" + (f" (pip install 'milepost[{extra}]')" if extra else "")) from e
    except Exception as e:  # a foreign factory may refuse its settings in any way
        raise UserError(f"{env_id}: {' '.join(str(e).split()) or type(e).__name__}") from e
    if not all(hasattr(env, k) for k in ("possible_agents", "step", "reset", "observation_space")):
        raise UserError(f"{env_id} made {type(env).__name__}, which is no ParallelEnv of PettingZoo")
    return env


def ours(env_id: str) -> bool:
    """A game of ours, with a test split."""
    return env_id in {g.id for g in games()}


def held_out_game(env_id: str, settings: dict[str, Any]) -> Any:
    """The game for evaluation; of ours the test split.

    Raises:
        UserError: the settings say ``split``, so that one might train on what is called held out.
    """
    if not ours(env_id):
        return make_game(env_id, settings)
    if "split" in settings:
        raise UserError(
            f"{env_id}: split is {settings['split']!r}; allowed: no split here, for training is on 'train' and the score "
            "on 'test', which is held out"
        )
    return make_game(env_id, settings, split="test")


def same_game(env_id: str) -> str:
    """What to say of a foreign game, whose worlds come from the seed alone."""
    return "" if ours(env_id) else f"{env_id} has no test split: the score is on games of other seeds"


# -- before the runs -----------------------------------------------------------------------------
def parse_collect(text: str) -> dict[str, Any]:
    """``"counterfactual(coalitions=True)"`` or ``"module.Class(...)"`` to ``{"collector": "module:Class", **settings}``.

    Raises:
        UserError: what was not understood, with the nearest known name. Nothing is evaluated.
    """
    form = f"collect is written name(setting=value), not {text!r}; known: {', '.join(COLLECTORS)}, module.Class"
    try:
        node = ast.parse(text.strip(), mode="eval").body
        named = node.keywords if isinstance(node, ast.Call) and not node.args else []
        if isinstance(node, ast.Call) and node.args:
            raise UserError(form)
        settings = {k.arg: ast.literal_eval(k.value) for k in named}
        name = ast.unparse(node.func if isinstance(node, ast.Call) else node)
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError) as e:
        raise UserError(form) from e
    if None in settings or "collector" in settings or not all(p.isidentifier() for p in name.split(".")):
        raise UserError(form)
    module, sep, cls = name.rpartition(".")
    if not sep and name not in COLLECTORS:
        raise unknown("collector", name, COLLECTORS)
    return {"collector": f"{module}:{cls}" if sep else COLLECTORS[name]} | {str(k): v for k, v in settings.items()}


def collector(spec: dict[str, Any] | None) -> Callable[[Any], Any] | None:
    """What puts the collector of a stack around a game.

    Raises:
        UserError: a module that is not allowed.
    """
    if spec is None:
        return None
    settings = {k: v for k, v in spec.items() if k != "collector"}
    try:
        cls = use(spec["collector"])
    except (ImportError, ValueError) as e:
        raise UserError(str(e)) from e
    return lambda env: cls(env, **settings)


def check_game(env: dict[str, Any], stacks: Sequence[dict[str, Any]]) -> None:
    """Makes it once with every stack: ids, settings, seats, and layers that cannot stand where they stand.

    Raises:
        UserError: what is wrong.
    """
    game = held_out_game(env["id"], env["settings"])
    try:
        _seats(env, game)
        for name in env.get("cross", []):
            make_player(name, game)
    except (ValueError, TypeError, ImportError) as e:
        raise UserError(f"{env['name']}: {e}") from e
    finally:
        game.close()
    for stack in stacks:
        made = make_game(env["id"], env["settings"])
        try:
            put = collector(stack.get("collect"))
            shape(put(made) if put else made, stack["layers"]).close()
        except (ValueError, TypeError) as e:
            raise UserError(f"stack {stack['name']!r} on {env['name']}: {e}") from e


def _seats(env: dict[str, Any], game: Any, seed: int = 0) -> tuple[tuple[str, ...], Team]:
    """Who is judged (and learns), and who plays the others."""
    possible, given = game.possible_agents, env.get("opponents")
    agents = env.get("agents")
    if agents is None and isinstance(given, dict):
        agents = [a for a in possible if a not in given]
    mine = seats("agents", agents, possible)
    rest = [a for a in possible if a not in mine]
    if isinstance(given, dict):
        seats("opponents", list(given), possible)
        if both := [a for a in given if a in mine]:
            raise ValueError(f"opponents: {', '.join(both)} cannot be an agent that is judged as well")
        if alone := [a for a in rest if a not in given]:
            raise ValueError(f"nobody plays {', '.join(alone)}: name them in opponents")
    elif rest and given is None:
        raise ValueError(f"nobody plays {', '.join(rest)}: name them in agents, or give opponents")
    elif given is not None and not rest:
        raise ValueError("opponents play the agents that are not in 'agents', and there are none")
    if not rest:
        return mine, Team({})
    return mine, make_team(given if isinstance(given, dict) else {"": str(given)}, game, seed + 1, rest)


def check_trainer(agent: dict[str, Any], envs: Sequence[dict[str, Any]]) -> None:
    """Is the agent there, and can it play these games?

    Raises:
        UserError: what is wrong.
    """
    name = agent["name"]
    if name in TRAINERS and not installed("sb3"):
        raise UserError(f"agent {name!r} is not installed: pip install 'milepost[sb3]'")
    if name not in TRAINERS and ":" not in name and name != "random" and not name.endswith((".pt", ".zip")):
        known = [*TRAINERS, "random"]
        raise UserError(
            f"no agent of games is called {name!r}{nearest(name, known)} Known: {', '.join(TRAINERS)}, {FORMS}"
        )
    if name.endswith((".pt", ".zip")) and not Path(name).is_file():
        raise UserError(f"agent {agent['title']!r}: there is no file {name}")
    for env in envs:
        env, settings = _own(env, agent)
        if name in TRAINERS:
            new_trainer(env, {"layers": []}, agent, 0, copies=1).close()
        elif name == "random" or name.startswith("script:"):
            game = held_out_game(env["id"], env["settings"])
            try:
                player = make_player(name, game, **settings)
                for a in _seats(env, game)[0]:
                    player.sit(game, a)
            except (ValueError, TypeError, ImportError) as e:
                raise UserError(f"agent {agent['title']!r} on {env['name']}: {e}") from e
            finally:
                game.close()


def _own(env: dict[str, Any], agent: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """An agent's settings may choose its seats: the environment with them, the settings without."""
    seated = {k: v for k, v in agent["settings"].items() if k in ("agents", "opponents")}
    return env | seated, {k: v for k, v in agent["settings"].items() if k not in seated}


def new_trainer(
    env: dict[str, Any], stack: dict[str, Any], agent: dict[str, Any], seed: int, load: Path | None = None, **live: Any
) -> Any:
    """A ``GamePPO`` for the run, or the one of a checkpoint.

    Raises:
        UserError: a setting that is not allowed, layers that it cannot learn from, or a game that it cannot play.
    """
    from ..baselines.games.ppo import GamePPO

    def make() -> Any:
        return make_game(env["id"], env["settings"])

    probe, (env, settings) = make(), _own(env, agent)
    try:
        agents, opponents = _seats(env, probe, seed)
        more = {"opponents": opponents if opponents.players else None, "collect": collector(stack.get("collect"))}
        if load is not None:
            return GamePPO.load(load, make, stack["layers"], **(more | live))
        given: dict[str, Any] = {"agents": list(agents)} | more | settings | live
        return GamePPO(agent["name"], make, stack["layers"], seed, **given)
    except (ValueError, TypeError, ImportError) as e:
        raise UserError(f"agent {agent['title']!r} on {env['name']}: {e}") from e
    finally:
        probe.close()


# -- a run ---------------------------------------------------------------------------------------
def run_game(
    spec: dict[str, Any],
    report: Callable[[dict[str, Any]], None],
    make: Callable[[Any], Any] | None,
    begun: int,
    save: Callable[[Any], None],
) -> dict[str, Any]:
    """``run`` for a game: trains and evaluates; what it adds to the result is described there.

    Args:
        spec: as of ``run``; ``env`` may have ``agents``, ``opponents`` and ``cross``, ``stack`` may have ``collect``.
        report: called with each point of the curve.
        make: makes (or loads) the trainer instead of the spec.
        begun: steps that a loaded trainer has learnt from.
        save: called with the trainer after each evaluation.
    """
    allow_import(*spec.get("allow_import", ()))
    start, seed, agent = time.perf_counter(), spec["seed"], spec["agent"]
    env, settings = _own(spec["env"], agent)

    def test() -> Any:
        return held_out_game(env["id"], env["settings"])

    probe = test()
    judged, opponents = _seats(env, probe, seed)
    learns = agent["name"] in TRAINERS
    trainer: Any = None
    if learns:
        trainer = make(None) if make else new_trainer(env, spec["stack"], agent, seed)
    player = trainer.player() if learns else make_player(agent["name"], probe, seed, **settings)
    team = opponents.but(dict.fromkeys(judged, player))
    curve: list[dict[str, Any]] = []
    metrics: dict[str, float] = {}
    done = max(begun, trainer.steps) if learns and begun else 0
    got: GameEvaluation | None = None
    first = 10_000 * (1 + seed)  # no two seeds share worlds
    for goal in range(0, spec["steps"] + 1, spec["eval_every"]) if learns else [0]:
        if begun and goal <= begun:
            continue
        if goal > done:
            metrics, got = trainer.learn(goal - done)[-1], None
            done = max(goal, trainer.steps)
        if got is None:  # a rollout may reach beyond the next goals: what was learnt is then the same at all of them
            got = evaluate_games(team, test, spec["eval_episodes"], first, judged)
        point: dict[str, Any] = {"steps": float(goal), "taken": float(done)} | got.as_dict()
        point["seconds"] = time.perf_counter() - start
        curve.append(point)
        report(point | {f"train/{k}": v for k, v in metrics.items()})
        if learns:
            save(trainer)
    out = spec | {"status": "ok", "steps_taken": done, "curve": curve}
    out["cross"] = {}
    for n in env.get("cross", []):
        try:
            out["cross"][n] = _against(player, n, test, probe, judged, opponents, first, seed)
        except Exception as e:  # a stranger's player: it loses its column, the trained team keeps its curve
            out["cross"][n] = {"failed": f"{type(e).__name__}: {e}"}
    if learns and trainer.league is not None:
        ladder = trainer.ladder(test, min(CROSS, spec["eval_episodes"]), first)
        out["league"] = {k: _plain(v) for k, v in ladder.as_dict().items()}
    stats = trainer.stack.stats() if learns and trainer.stack is not None else {}
    probe.close()
    if learns:
        trainer.close()
    out["seconds"] = time.perf_counter() - start
    out["train"] = {k: v for k, v in metrics.items() if np.isfinite(v)}
    return out | {"stats": {k: v for k, v in stats.items() if np.isfinite(v)}}


def eval_game(spec: dict[str, Any], path: Path, episodes: int, seed: int) -> GameEvaluation:
    """A checkpoint of ``train`` on held-out games, without shaping.

    Raises:
        UserError: it cannot be loaded.
    """
    env, _ = _own(spec["env"], spec["agent"])
    probe = held_out_game(env["id"], env["settings"])
    try:
        judged, opponents = _seats(env, probe, spec["seed"])
        team = opponents.but(dict.fromkeys(judged, make_player(str(path), probe, seed)))
        return evaluate_games(team, lambda: held_out_game(env["id"], env["settings"]), episodes, seed, judged)
    except ValueError as e:
        raise UserError(str(e)) from e
    finally:
        probe.close()


def _against(
    player: Any, name: str, test: Any, probe: Any, judged: tuple[str, ...], opponents: Team, first: int, seed: int
) -> dict[str, Any]:
    """The player in one of the judged seats, ``name`` in the others."""
    other = make_player(name, probe, seed + 2)
    rows, measures = duel(player, other, test, CROSS, first, judged, opponents)
    mine, score = np.mean(rows, axis=0) if rows else (math.nan, math.nan)
    return {"env_return": _plain(float(mine)), "score": _plain(float(score)), "measures": measures}


def _plain(x: Any) -> Any:
    """NaN as JSON knows it."""
    if isinstance(x, (list, tuple)):
        return [_plain(v) for v in x]
    return None if isinstance(x, float) and math.isnan(x) else x
