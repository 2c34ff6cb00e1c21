"""Does a provider keep its promises? ``python -m milepost.sandboxes.self_check local`` prints a table.

For authors of providers: ``self_check(provider)`` gives one row a promise, and every row must be ok.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import traceback
from collections.abc import Collection, Iterator
from typing import NamedTuple

from . import make
from .base import Provider
from .checks import PROMISES, plant


class Row(NamedTuple):
    """How one promise was kept."""

    name: str
    promise: str
    ok: bool
    detail: str
    """Where it failed, "" where it did not."""


def self_check(provider: Provider, *, has: Collection[str] = ("commands", "limits")) -> Iterator[Row]:
    """Tries every promise on a sandbox that is restored between them.

    Args:
        provider: any that follows ``base.Provider``; it is not closed.
        has: what it really has: ``fake`` runs no commands and holds no limits.

    Yields:
        One row a promise. A promise that fails leaves the next a new sandbox.
    """
    with tempfile.TemporaryDirectory() as tree:
        plant(tree)
        box = provider.create(tree)
        for p in PROMISES:
            if p.needs and p.needs not in has:
                continue
            try:
                p.check(box, provider)
                box.restore()
                yield Row(p.name, p.text, True, "")
            except Exception as e:
                where = traceback.extract_tb(e.__traceback__)
                line = next((f"{f.line}" for f in reversed(where) if "checks" in f.filename), "")
                yield Row(p.name, p.text, False, f"{line}: {type(e).__name__}: {str(e)[:1000]}")
                box.close()
                box = provider.create(tree)
        box.close()


def main(arguments: list[str] | None = None) -> int:
    """The command; 1 when a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m milepost.sandboxes.self_check", description=__doc__)
    parser.add_argument("provider", help="local, docker or fake")
    name = parser.parse_args(arguments).provider
    broken = 0
    with make(name) as provider:
        for row in self_check(provider, has=() if name == "fake" else ("commands", "limits")):
            broken += not row.ok
            print(f"{'ok    ' if row.ok else 'BROKEN'} {row.name:24} {row.promise}", flush=True)
            if not row.ok:
                print(f"       {row.detail}")
    print(f"{broken} broken")
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())
