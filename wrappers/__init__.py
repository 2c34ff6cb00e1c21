"""Stackable reward shaping: ``shape(env, [PotentialShaping(key="progress"), GatedRewardAccumulation()])``."""

if __name__ != "milepost.wrappers":
    raise ImportError("import this folder as milepost.wrappers")

from .combine import Clip, Conserve, Focus, Gate, Mix, Normalize, Scale
from .episode.gra import GatedRewardAccumulation
from .episode.lare import LatentReward
from .episode.match_tir import ToolMatch
from .episode.renorm import ReNorm
from .episode.score_delta_win import ScoreDeltaWin
from .episode.sotopia import UtteranceAttribution
from .episode.spa import ProgressAttribution
from .episode.sweet_spot import SweetSpot
from .episode.turning_points import TurningPoints
from .episode.uniform import Uniform
from .facts import Facts
from .group.arena import TournamentAdvantage
from .group.centered import Centered
from .group.dual_level import DualLevelAdvantage
from .group.fused import FusedAdvantage
from .group.gdro import ListwiseAdvantage
from .group.grpo import Grpo
from .group.length_penalty import LengthPenalty
from .group.outlier_filter import OutlierFilter
from .group.per_step import PerStepNorm
from .group.rloo import Rloo
from .group.srpo import SelfReferential
from .group.tree import TreeAdvantage
from .group.turn_centered import TurnCentered
from .group.verpo import DenseTestAdvantage
from .group.vgpo import ValueAnchored
from .hosts import shape
from .shaper import MissingFact, Shaper, allow_import, catalog, load
from .stack import Stack
from .step.calm import SubgoalOptions
from .step.carl import MultiplicativeProgress
from .step.cm2 import Checklist
from .step.constraints import Constraints
from .step.count_bonus import CountBonus
from .step.count_discount import EpisodicCountDiscount
from .step.difference import DifferenceReward
from .step.gated_bonus import GatedBonus
from .step.hop_progress import HopProgress
from .step.hybrid import HybridReward
from .step.igpo import InformationGain
from .step.inequity import InequityAversion
from .step.krc import Krc
from .step.potential import PotentialShaping
from .step.score_delta import ScoreDelta
from .step.shapley import ShapleyCredit
from .step.team_spirit import TeamSpirit
from .step.weighted_tests import WeightedTests
from .types import Group, Level, Trajectory, Transition

__all__ = [
    "Centered",
    "Checklist",
    "Clip",
    "Conserve",
    "Constraints",
    "CountBonus",
    "DenseTestAdvantage",
    "DifferenceReward",
    "DualLevelAdvantage",
    "EpisodicCountDiscount",
    "Facts",
    "Focus",
    "FusedAdvantage",
    "Gate",
    "GatedBonus",
    "GatedRewardAccumulation",
    "Group",
    "Grpo",
    "HopProgress",
    "HybridReward",
    "InequityAversion",
    "InformationGain",
    "Krc",
    "LatentReward",
    "LengthPenalty",
    "Level",
    "ListwiseAdvantage",
    "MissingFact",
    "Mix",
    "MultiplicativeProgress",
    "Normalize",
    "OutlierFilter",
    "PerStepNorm",
    "PotentialShaping",
    "ProgressAttribution",
    "ReNorm",
    "Rloo",
    "Scale",
    "ScoreDelta",
    "ScoreDeltaWin",
    "SelfReferential",
    "Shaper",
    "ShapleyCredit",
    "Stack",
    "SubgoalOptions",
    "SweetSpot",
    "TeamSpirit",
    "ToolMatch",
    "TournamentAdvantage",
    "Trajectory",
    "Transition",
    "TreeAdvantage",
    "TurnCentered",
    "TurningPoints",
    "Uniform",
    "UtteranceAttribution",
    "ValueAnchored",
    "WeightedTests",
    "allow_import",
    "catalog",
    "load",
    "shape",
]
