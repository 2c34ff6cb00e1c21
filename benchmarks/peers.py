"""What benchmarks beside peers share: peers in a Python of their own, rounds in a mixed order, the machine, verdicts.

A peer's Python runs the benchmark itself with ``--serve``, or a program of its own: it says what it has in a line of JSON, and
answers each line with the seconds that one took. Nothing but the standard library is imported, because peers' Pythons run this.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import random
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO


# -- in the peers' Python ------------------------------------------------------------------------------
def answers() -> TextIO:
    """Standard output for answers only; what peers print goes to standard error from now on."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return out


def serve(out: TextIO, found: Mapping[str, Callable[..., float]], why: Mapping[str, str]) -> int:
    """Says which contenders there are and why others are not, then times what is asked for, a line of JSON each."""
    print(json.dumps({"found": list(found), "why": dict(why)}), file=out, flush=True)
    for line in sys.stdin:
        name, *settings = json.loads(line)
        print(json.dumps(found[name](*settings)), file=out, flush=True)
    return 0


def cause(e: Exception) -> str:
    """Why something was not run, in one short line."""
    return " ".join(f"{type(e).__name__}: {e}".split())[:200]


# -- in ours -------------------------------------------------------------------------------------------
@contextlib.contextmanager
def child(command: list[str], patience: float = 30) -> Iterator[tuple[Any, Callable[[str], Any]]]:
    """A peer's process: what it said first (None: it ended without a word), and what asks it, a line for a line.

    When the block ends its input does too, and after ``patience`` seconds it is killed.
    """
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdin is not None and process.stdout is not None
    pipe, said = process.stdin, process.stdout

    def ask(line: str) -> Any:
        pipe.write(line + "\n")
        pipe.flush()
        return json.loads(said.readline())

    try:
        first = said.readline()
        yield json.loads(first) if first else None, ask
    finally:
        pipe.close()
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def peers(
    interpreter: str, program: str, *settings: str, names: Iterable[str]
) -> Iterator[tuple[dict[str, Callable[..., float]], dict[str, str]]]:
    """The contenders of ``program --serve`` in that Python, and why others are not there (``names``, if none is)."""
    if not interpreter:
        yield {}, dict.fromkeys(names, "no --peers PYTHON was given")
        return
    with child([interpreter, os.path.abspath(program), "--serve", *settings]) as (said, ask):
        if said is None:
            said = {"found": [], "why": dict.fromkeys(names, f"{interpreter} ended without a word")}
        yield {name: (lambda *n, name=name: float(ask(json.dumps([name, *n])))) for name in said["found"]}, said["why"]


def measure(
    contenders: Mapping[str, Callable[[], float]], rounds: int, unit: float = 1e6
) -> tuple[dict[str, float], dict[str, float]]:
    """Median and least of each, in microseconds (``unit`` of a second); the first round is not counted.

    Each round times every contender once, in a new order, so that a busy machine moves all of them together.
    """
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    order = list(contenders)
    for i in range(rounds + 1):
        random.Random(i).shuffle(order)
        for name in order:
            spent = contenders[name]()
            if i:
                taken[name].append(spent * unit)
    return {k: statistics.median(v) for k, v in taken.items()}, {k: min(v) for k, v in taken.items()}


def version(interpreter: str, package: str) -> str:
    """Of a package in a Python; "none" without either."""
    code = f"from importlib.metadata import version; print(version({package!r}))"
    done = subprocess.run([interpreter, "-c", code], capture_output=True, text=True) if interpreter else None
    return done.stdout.strip() if done is not None and not done.returncode else "none"


def host() -> dict[str, Any]:
    """Where this runs: processor, cores, kernel, Python."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((x.split(":")[1].strip() for x in lines if "model name" in x), "")
    return {"cpu": cpu, "cores": os.cpu_count(), "kernel": platform.release(), "python": platform.python_version()}


def judge(found: list[dict[str, Any]]) -> int:
    """Prints a row for each target (``target``, ``value``, ``met``; None: not run); 1 if one is missed, else 0."""
    print("\n| target | measured | verdict |\n| --- | ---: | --- |")
    for v in found:
        said = "not run" if v["met"] is None else "met" if v["met"] else "MISSED"
        print(f"| {v['target']} | {v['value']} | {said} |")
    return 1 if any(v["met"] is False for v in found) else 0
