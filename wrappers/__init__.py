"""Stackable reward shaping: ``shape(env, [PotentialShaping(key="progress"), GatedRewardAccumulation()])``."""

if __name__ != "milepost.wrappers":
    raise ImportError("import this folder as milepost.wrappers")

from .combine import Clip, Conserve, Focus, Gate, Mix, Normalize, Scale
from .facts import Facts
from .hosts import shape
from .shaper import MissingFact, Shaper, allow_import, catalog, load
from .stack import Stack
from .types import Group, Level, Trajectory, Transition

__all__ = [
    "Clip",
    "Conserve",
    "Facts",
    "Focus",
    "Gate",
    "Group",
    "Level",
    "MissingFact",
    "Mix",
    "Normalize",
    "Scale",
    "Shaper",
    "Stack",
    "Trajectory",
    "Transition",
    "allow_import",
    "catalog",
    "load",
    "shape",
]
