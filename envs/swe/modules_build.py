"""Makes ``bugrepair.jsonl``, the tasks over our own modules: ``python -m milepost.envs.swe.modules_build``."""

from __future__ import annotations

from ...sandboxes import make
from . import build, library
from .bugrepair import HERE
from .grade import LIBRARY
from .instance import save

COUNTS = {1: 24, 2: 3, 3: 1}


def main() -> None:
    """Writes the file; the same code gives the same tasks."""
    instances = []
    with make("local", mounts={LIBRARY: str(library.folder())}) as provider:
        for tree in sorted((HERE / "modules").iterdir()):
            if (tree / f"test_{tree.name}.py").is_file():
                found = list(build.inject(provider, str(tree), tree.name, counts=COUNTS))
                print(f"{tree.name}: {len(found)}", flush=True)
                instances += found
    save(instances, HERE / "bugrepair.jsonl")


if __name__ == "__main__":
    main()
