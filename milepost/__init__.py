"""Milepost: Gymnasium environments for agents, stackable reward shaping, baseline agents.

``import milepost`` registers the environment ids (as strings: nothing heavy is imported) and gives ``shape``.
"""

from importlib import import_module as _import_module
from pathlib import Path as _Path

__version__ = "0.1.0"

if not (_Path(__file__).parent / "wrappers").is_dir():
    raise ImportError(
        "milepost/wrappers is not a folder: this checkout has no symbolic links; install the wheel (pip install .) "
        "or run `git config core.symlinks true` and check the files out again"
    )

from .envs.registry import register_all as _register_all
from .wrappers import Shaper, Stack, Trajectory, Transition, allow_import, shape

_register_all()


def __getattr__(name: str) -> object:
    if name in ("envs", "wrappers", "sandboxes", "baselines"):
        return _import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["Shaper", "Stack", "Trajectory", "Transition", "__version__", "allow_import", "shape"]
