"""Stackable reward shaping: ``shape(env, [PotentialShaping(key="progress"), GatedRewardAccumulation()])``."""

if __name__ != "milepost.wrappers":
    raise ImportError("import this folder as milepost.wrappers")

from .combine import Clip, Conserve, Focus, Gate, Mix, Normalize, Scale
from .episode.gra import GatedRewardAccumulation
from .episode.match_tir import ToolMatch
from .episode.renorm import ReNorm
from .episode.score_delta_win import ScoreDeltaWin
from .episode.spa import ProgressAttribution
from .episode.sweet_spot import SweetSpot
from .episode.uniform import Uniform
from .facts import Facts
from .group.dual_level import DualLevelAdvantage
from .group.fused import FusedAdvantage
from .group.grpo import Grpo
from .group.rloo import Rloo
from .group.tree import TreeAdvantage
from .group.turn_centered import TurnCentered
from .group.verpo import DenseTestAdvantage
from .hosts import shape
from .shaper import MissingFact, Shaper, allow_import, catalog, load
from .stack import Stack
from .step.calm import SubgoalOptions
from .step.cm2 import Checklist
from .step.count_bonus import CountBonus
from .step.count_discount import EpisodicCountDiscount
from .step.hop_progress import HopProgress
from .step.igpo import InformationGain
from .step.potential import PotentialShaping
from .step.score_delta import ScoreDelta
from .step.weighted_tests import WeightedTests
from .types import Group, Level, Trajectory, Transition

__all__ = [
    "Checklist",
    "Clip",
    "Conserve",
    "CountBonus",
    "DenseTestAdvantage",
    "DualLevelAdvantage",
    "EpisodicCountDiscount",
    "Facts",
    "Focus",
    "FusedAdvantage",
    "Gate",
    "GatedRewardAccumulation",
    "Group",
    "Grpo",
    "HopProgress",
    "InformationGain",
    "Level",
    "MissingFact",
    "Mix",
    "Normalize",
    "PotentialShaping",
    "ProgressAttribution",
    "ReNorm",
    "Rloo",
    "Scale",
    "ScoreDelta",
    "ScoreDeltaWin",
    "Shaper",
    "Stack",
    "SubgoalOptions",
    "SweetSpot",
    "ToolMatch",
    "Trajectory",
    "Transition",
    "TreeAdvantage",
    "TurnCentered",
    "Uniform",
    "WeightedTests",
    "allow_import",
    "catalog",
    "load",
    "shape",
]
