"""Runs a suite: one process a run, resumable, parallel over cores; a table and a picture at the end."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from .report import table, write_report
from .run import versions, write_json
from .suite import Suite

RATE = 900.0  # steps a second of one core, until a run of this suite has been measured


def key(spec: dict[str, Any]) -> str:
    """The name of a run's file: readable, and different for every different spec."""
    digest = hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:10]
    words = [spec["env"]["name"], spec["agent"]["title"], spec["stack"]["name"], str(spec["seed"])]
    return "-".join(w.replace("/", "_").replace(" ", "_") for w in words) + f"-{digest}"


def finished(spec: dict[str, Any], folder: Path) -> dict[str, Any] | None:
    """The stored result, unless it failed."""
    path = folder / "runs" / f"{key(spec)}.json"
    try:
        got: dict[str, Any] = json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return got if got.get("status") == "ok" else None


def estimate(suite: Suite, folder: Path, jobs: int) -> float:
    """Minutes that the runs without a result will take, from the measured ones."""
    todo = 0.0
    rates: dict[tuple[str, str], list[float]] = {}
    for spec in suite.runs:
        if (got := finished(spec, folder)) is not None and got["seconds"] > 0:
            who = (spec["env"]["name"], spec["agent"]["title"])
            rates.setdefault(who, []).append(max(got["steps_taken"], 1) / got["seconds"])
    for spec in suite.runs:
        if finished(spec, folder) is None:
            known = rates.get((spec["env"]["name"], spec["agent"]["title"]), [RATE])
            todo += spec["steps"] / (sum(known) / len(known)) + 4
    return todo / jobs / 60


def bench(
    suite: Suite, folder: Path, jobs: int, paths: tuple[str, ...] = (), quiet: bool = False
) -> list[dict[str, Any]]:
    """Runs what has no result yet, then writes ``results.json``, ``table.md`` and ``curves.png``.

    A run that crashes or takes longer than the suite's ``timeout`` gives a failed row and stops nothing. Interrupted,
    every worker is ended and finished runs are kept.

    Args:
        suite: the runs.
        folder: of the results.
        jobs: processes at once.
        paths: folders that workers may import allowed modules from.
        quiet: print only the table.
    """
    (folder / "runs").mkdir(parents=True, exist_ok=True)
    todo = [s for s in suite.runs if finished(s, folder) is None]
    for line in suite.left_out:
        print(f"left out: {line}")
    minutes = estimate(suite, folder, jobs)
    print(
        f"{suite.name}: {len(suite.runs)} runs, {len(suite.runs) - len(todo)} already done, "
        f"about {minutes:.0f} minutes on {jobs} cores for the rest; results in {folder}",
        flush=True,
    )
    _work(todo, suite.timeout, folder, jobs, paths, quiet)
    results = [r for s in suite.runs if (r := _stored(s, folder)) is not None]
    write_json(folder / "results.json", {"suite": suite.name, "versions": versions(), "results": results})
    write_report(results, suite.target, folder, suite.name)
    print(table(results, suite.target))
    print(f"written: {folder / 'table.md'}, {folder / 'curves.png'}, {folder / 'results.json'}")
    return results


def _stored(spec: dict[str, Any], folder: Path) -> dict[str, Any] | None:
    path = folder / "runs" / f"{key(spec)}.json"
    got: dict[str, Any] | None = json.loads(path.read_text()) if path.exists() else None
    return got


def _work(
    todo: list[dict[str, Any]], timeout: float, folder: Path, jobs: int, paths: tuple[str, ...], quiet: bool
) -> None:
    running: list[tuple[subprocess.Popen[bytes], dict[str, Any], float]] = []
    waiting, bar = list(todo), _bar(len(todo), quiet)
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                spec = waiting.pop(0)
                running.append((_start(spec, folder, paths), spec, time.monotonic()))
            time.sleep(0.1)
            for row in list(running):
                process, spec, since = row
                late = time.monotonic() - since > timeout
                if process.poll() is None and not late:
                    continue
                if process.poll() is None:
                    _end(process)
                    _fail(spec, folder, f"no result after {timeout:.0f} seconds")
                elif not (folder / "runs" / f"{key(spec)}.json").exists():
                    _fail(spec, folder, f"the process ended with code {process.returncode} and no result")
                running.remove(row)
                got = _stored(spec, folder) or {}
                last = got["curve"][-1]["success"] if got.get("curve") else got.get("error", "?")
                bar.update(1)
                bar.set_postfix_str(f"{spec['env']['name']} {spec['stack']['name']} {spec['seed']}: {last}")
    finally:
        for process, _, _ in running:
            _end(process)
        bar.close()


def _start(spec: dict[str, Any], folder: Path, paths: tuple[str, ...]) -> subprocess.Popen[bytes]:
    out = folder / "runs" / f"{key(spec)}.json"
    given = out.with_suffix(".spec")
    write_json(given, spec)
    out.unlink(missing_ok=True)
    env = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    env["PYTHONPATH"] = os.pathsep.join([*paths, *filter(None, [env.get("PYTHONPATH")])])
    log = out.with_suffix(".log").open("wb")
    with log:
        command = [sys.executable, "-m", "milepost", "_run", str(given), str(out)]
        return subprocess.Popen(command, stdout=log, stderr=log, env=env, start_new_session=True)


def _end(process: subprocess.Popen[bytes]) -> None:
    """The worker and whatever it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def _fail(spec: dict[str, Any], folder: Path, why: str) -> None:
    write_json(folder / "runs" / f"{key(spec)}.json", spec | {"status": "failed", "error": why, "versions": versions()})


def _bar(total: int, quiet: bool) -> Any:
    from tqdm import tqdm

    return tqdm(total=total, unit="run", dynamic_ncols=True, disable=quiet or not total)
