"""``milepost judge-eval``: a judge's verdicts against the environments' own truth."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from ..baselines.judge_eval import FAMILIES, Case, balanced, cases, score, warm
from ..envs.registry import entries
from ..wrappers.scorers import Service, serve
from .names import UserError, installed, unknown
from .run import make_env, versions, write_json

COLUMNS = ("accuracy", "precision", "recall", "f1", "auc", "brier", "calibration_error")
TITLES = ("acc", "prec", "recall", "F1", "AUC", "Brier", "ECE")
SAMPLES = ("balanced", "natural")
POOL = 20  # so many times as many transitions are played as a balanced sample has


def families(names: list[str]) -> list[str]:
    """Those named, or all whose packages are there.

    Raises:
        UserError: an unknown family, or one whose package is missing.
    """
    need = {f: next(e.requires for e in entries() if e.id == FAMILIES[f][0]) for f in FAMILIES}
    for name in names:
        if name not in FAMILIES:
            raise unknown("family of environments", name, FAMILIES)
        if need[name] and not installed(need[name]):
            raise UserError(f"{name} needs: pip install 'milepost[{need[name]}]'")
    return names or [f for f in FAMILIES if not need[f] or installed(need[f])]


def judge_eval(
    judges: list[str],
    settings: dict[str, Any],
    envs: list[str],
    env_settings: dict[str, Any],
    samples: list[str],
    view: str,
    subgoals: list[str],
    n: int,
    seed: int,
    out: Path | None,
) -> list[dict[str, Any]]:
    """Prints a table, a row a judge and sample; returns the rows.

    Columns behind the scores: transitions without an answer, questions put to the judge, share answered from its cache, tokens,
    their price, and milliseconds a question that was put to it. A throw-away question comes first, counted nowhere, so
    that these are without the loading of a model.

    Raises:
        UserError: an unknown judge, setting, family or view, or a judge that fails and answers nothing.
    """
    rows: list[dict[str, Any]] = []
    chosen_envs = families(envs)
    for name in judges:
        _judge(name, settings).close()  # what is wrong is said before anything is played
    print(f"{'judge':16s} {'environment':12s} {'sample':9s} {'n':>5s} " + " ".join(f"{t:>6s}" for t in TITLES), end="")
    print(f" {'silent':>6s} {'calls':>6s} {'hits':>5s} {'tokens':>7s} {'cost':>7s} {'ms/call':>8s}")
    try:
        for family in chosen_envs:
            env_id, fixed = FAMILIES[family]
            pool = _pool(family, fixed | env_settings, n, seed, view, subgoals)
            for sample in samples:
                chosen = balanced(pool, n, seed) if sample == "balanced" else pool[:n]
                for name in judges:
                    row = {"judge": name, "env": family, "id": env_id, "view": view, "sample": sample, "seed": seed}
                    rows.append(row | _scored(name, settings, chosen))
                    _print(rows[-1])
    finally:
        if out is not None and rows:  # what one judge said is worth keeping when the next one fails
            write_json(out, {"rows": rows, "settings": settings, "versions": versions()})
    return rows


def _pool(family: str, settings: dict[str, Any], n: int, seed: int, view: str, subgoals: list[str]) -> list[Case]:
    env = make_env(FAMILIES[family][0], settings, split="test")
    try:
        return cases(env, POOL * n, seed, view, subgoals)
    except ValueError as e:
        raise UserError(f"{family}: {e}") from e
    finally:
        env.close()


def _scored(name: str, settings: dict[str, Any], sample: list[Case]) -> dict[str, Any]:
    judge = _judge(name, settings)
    try:
        warm(judge)
        got = score(judge, sample)
        if judge.trouble and got.silent == got.n:  # a judge that is not there has no score
            raise UserError(f"judge {name}: {judge.trouble}")
        return dataclasses.asdict(got) | {"judge_stats": judge.report(), "identity": judge.model.identity}
    finally:
        judge.close()


def _judge(name: str, settings: dict[str, Any]) -> Service:
    try:
        return serve({"scorer": name} | settings)
    except (ValueError, TypeError, ImportError, FileNotFoundError) as e:
        raise UserError(f"judge {name}: {e}") from e


def _print(row: dict[str, Any]) -> None:
    stats = row["judge_stats"]
    calls = stats.get("calls", 0.0)
    numbers = " ".join(f"{row[c]:6.3f}" for c in COLUMNS)
    each = 1e3 * stats.get("seconds", 0.0) / calls if calls else 0.0
    print(
        f"{row['judge'][:16]:16s} {row['env']:12s} {row['sample']:9s} {row['n']:5d} {numbers} {row['silent']:6d} "
        f"{calls:6.0f} {stats['hit_rate']:5.2f} {stats.get('tokens', 0.0):7.0f} {stats.get('cost', 0.0):7.4f} {each:8.1f}",
        flush=True,
    )
