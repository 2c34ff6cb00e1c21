"""``milepost swe build``: repair tasks out of packages."""

from __future__ import annotations

import sys
from pathlib import Path

from .names import UserError

COUNTS = "1=8,2=3,3=1"


def parse_counts(text: str) -> dict[int, int]:
    """``"1=8,2=3"`` to a dict: number of bugs -> tasks.

    Raises:
        UserError: it is written otherwise.
    """
    counts: dict[int, int] = {}
    for part in text.split(","):
        bugs, _, tasks = part.partition("=")
        if bugs.strip() not in ("1", "2", "3") or not tasks.strip().isdecimal() or not int(tasks):
            raise UserError(f"--counts is {text!r}; allowed: BUGS=TASKS with 1 to 3 bugs and a task or more: {COUNTS}")
        counts[int(bugs)] = int(tasks)
    return counts


def build(
    packages: list[str], out: Path, counts: str, seed: int, needs: list[str], sandbox: str, timeout: float
) -> int:
    """Fetches packages, puts bugs into them, writes tasks for ``milepost/BugRepair-v0``; prints a row a package.

    Returns:
        0, or 1 where no package gave a task.

    Raises:
        UserError: ``counts`` is not understood, or a package that tests need is not installed.
    """
    wanted = parse_counts(counts)
    try:
        from ..envs.swe.packages_build import build_all
    except ModuleNotFoundError as e:
        raise UserError(f"{e.name} is missing: pip install 'milepost[swe]'") from e

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    rows = build_all(
        packages, out, counts=wanted, seed=seed, needs=needs, sandbox=sandbox, timeout=timeout, say=say
    )  # fmt: skip
    print(f"{'package':20s} {'version':10s} {'tests':>6s} {'tasks':>5s} {'families':>8s} {'seconds':>8s}  licence")
    for r in rows:
        print(
            f"{(r.name or r.spec)[:20]:20s} {r.version[:10]:10s} {r.tests:6d} {len(r.instances):5d} "
            f"{len(r.families):8d} {r.seconds:8.1f}  {r.error or r.facts['license']}"
        )
    if not any(r.instances for r in rows):
        return 1
    print(
        f"\n{out}: instances.jsonl, trees/, and packages.json with where each came from. The sources stay under their own "
        f"licences.\ngym.make('milepost/BugRepair-v0', path={str(out)!r})"
    )
    return 0
