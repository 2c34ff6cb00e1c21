"""Runs a suite: one process a run, resumable, parallel over cores; a table and a picture at the end."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from .names import EXTRAS, UserError, there
from .report import table, write_report
from .run import versions, write_json
from .suite import Suite

RATE = 900.0  # steps a second of one core, until a run of this suite has been measured
START = 4.0  # seconds of a process that do not grow with the steps


def key(spec: dict[str, Any]) -> str:
    """The name of a run's file: readable, and different for every different spec."""
    digest = hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:10]
    words = [spec["env"]["name"], spec["agent"]["title"], spec["stack"]["name"], str(spec["seed"])]
    return "-".join(re.sub(r"[\s/]", "_", w)[:60] for w in words) + f"-{digest}"


def stored(spec: dict[str, Any], folder: Path) -> dict[str, Any] | None:
    """What a run left behind, also if it failed."""
    try:
        got = json.loads((folder / "runs" / f"{key(spec)}.json").read_text())
    except (FileNotFoundError, ValueError):
        return None
    return got if isinstance(got, dict) and "status" in got else None


def finished(spec: dict[str, Any], folder: Path) -> dict[str, Any] | None:
    """The stored result, unless it failed."""
    got = stored(spec, folder)
    return got if got is not None and got["status"] == "ok" else None


def estimate(suite: Suite, folder: Path, jobs: int) -> float:
    """Minutes that the runs without a result will take: from those with one, else from a usual rate."""
    known: dict[tuple[str, str], list[tuple[float, float]]] = {}
    todo = []
    for spec in suite.runs:
        if (got := finished(spec, folder)) is None:
            todo.append(spec)
        else:
            who = (spec["env"]["name"], spec["agent"]["title"])
            known.setdefault(who, []).append((got["seconds"], got["steps_taken"] / spec["steps"]))
    seconds = 0.0
    for spec in todo:
        if rows := known.get((spec["env"]["name"], spec["agent"]["title"])):
            # an agent that does not learn takes no steps: its time is that of the evaluation
            each = [s / share if share > 0 else s for s, share in rows]
            seconds += sum(each) / len(each) + START
        else:
            learns = spec["agent"]["name"] not in ("random", "oracle") and not spec["agent"]["name"].startswith(
                "script:"
            )
            seconds += (spec["steps"] / RATE if learns else 0.0) + START
    return seconds / max(1, min(jobs, len(todo))) / 60


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
    need_extra()
    try:
        (folder / "runs").mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise UserError(f"results cannot be written to {folder}: {e.strerror}") from e
    todo = [s for s in suite.runs if finished(s, folder) is None]
    minutes = estimate(suite, folder, jobs)
    print(
        f"{suite.name}: {len(suite.runs)} runs, {len(suite.runs) - len(todo)} already done, "
        f"{_said(minutes)} on {jobs} cores for the rest; results in {folder}",
        flush=True,
    )
    for line in suite.left_out:
        print(f"left out: {line}", flush=True)
    for line in suite.notes:
        print(line, flush=True)
    _work(todo, suite.timeout, folder, jobs, paths, quiet)
    results = [r for s in suite.runs if (r := stored(s, folder)) is not None]
    write_json(folder / "results.json", {"suite": suite.name, "versions": versions(), "results": results})
    write_report(results, suite.target, folder, suite.name, suite.notes)
    print(table(results, suite.target))
    failed = sum(r["status"] != "ok" for r in results)
    if failed:
        print(
            f"{failed} runs failed: their .log and .json in {folder / 'runs'} say why; the same command tries them again"
        )
    print(f"written: {folder / 'table.md'}, {folder / 'curves.png'}, {folder / 'results.json'}")
    return results


def _said(minutes: float) -> str:
    return "less than a minute" if minutes < 0.75 else f"about {max(1.0, minutes):.0f} minutes"


def need_extra() -> None:
    """Before the runs, not after them.

    Raises:
        UserError: what the report is drawn with is not installed.
    """
    if absent := [p for p in EXTRAS["bench"][0] if not there(p)]:
        raise UserError(f"{' and '.join(absent)} are not installed: pip install 'milepost[bench]'")


def _work(
    todo: list[dict[str, Any]], timeout: float, folder: Path, jobs: int, paths: tuple[str, ...], quiet: bool
) -> None:
    running: list[tuple[subprocess.Popen[bytes], dict[str, Any], float]] = []
    waiting, bar = list(todo), _bar(len(todo), quiet)
    alive, held = (
        os.pipe()
    )  # workers read from it: they end when this process, which alone holds the other end, is gone
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                spec = waiting.pop(0)
                running.append((_start(spec, folder, paths, alive), spec, time.monotonic()))
            time.sleep(0.1)
            for row in list(running):
                process, spec, since = row
                late = time.monotonic() - since > timeout
                if not _over(process) and not late:
                    continue
                code = _end(process)  # also what a finished worker has left running
                running.remove(row)
                got = stored(spec, folder)
                if got is None:
                    why = f"no result after {timeout:g} seconds" if late else f"the process ended with code {code}"
                    got = _fail(spec, folder, why)
                last = got["curve"][-1]["success"] if got.get("curve") else got.get("error", "?")
                last = "-" if last is None else last  # the environment does not say
                bar.update(1)
                bar.set_postfix_str(f"{spec['env']['name']} {spec['stack']['name']} {spec['seed']}: {last}"[:100])
    finally:
        for process, _, _ in running:
            _end(process)
        os.close(alive)
        os.close(held)
        bar.close()


def _start(spec: dict[str, Any], folder: Path, paths: tuple[str, ...], alive: int) -> subprocess.Popen[bytes]:
    out = folder / "runs" / f"{key(spec)}.json"
    given = out.with_suffix(".spec")
    write_json(given, spec)
    out.unlink(missing_ok=True)
    env = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    env["PYTHONPATH"] = os.pathsep.join([*paths, *filter(None, [env.get("PYTHONPATH")])])
    log = out.with_suffix(".log").open("wb")
    with log:
        command = [sys.executable, "-m", "milepost", "_run", str(given), str(out), str(alive)]
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,  # an agent that asks the terminal would wait for ever
            stdout=log,
            stderr=log,
            env=env,
            start_new_session=True,  # its own group: a Ctrl-C reaches this process only, which then ends the groups
            pass_fds=(alive,),
        )


def _over(process: subprocess.Popen[bytes]) -> bool:
    """Has it ended? It is not reaped, so that its number stays the group's and nobody else's."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _end(process: subprocess.Popen[bytes]) -> int:
    """Ends the worker and whatever it started; its exit code."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    return process.wait()


def _fail(spec: dict[str, Any], folder: Path, why: str) -> dict[str, Any]:
    result = spec | {"status": "failed", "error": why, "versions": versions()}
    write_json(folder / "runs" / f"{key(spec)}.json", result)
    return result


def _bar(total: int, quiet: bool) -> Any:
    from tqdm import tqdm

    return tqdm(total=total, unit="run", dynamic_ncols=True, disable=quiet or not total)
