"""Stackable reward shaping: ``shape(env, [PotentialShaping(key="progress"), GatedRewardAccumulation()])``."""

if __name__ != "milepost.wrappers":
    raise ImportError("import this folder as milepost.wrappers")

from .combine import Clip, Conserve, Focus, Gate, Mix, Normalize, Scale
from .episode.archer import UtteranceCritic
from .episode.gra import GatedRewardAccumulation
from .episode.graded import GradedOutcome
from .episode.istar import ImplicitProcess
from .episode.lare import LatentReward
from .episode.match_tir import ToolMatch
from .episode.model_reward import ModelReward
from .episode.reference_reward import ReferenceReward
from .episode.renorm import ReNorm
from .episode.scar import ShapleySteps
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
from .step.blend import TermBlend
from .step.calm import SubgoalOptions
from .step.calm_table import JudgementTable
from .step.carl import MultiplicativeProgress
from .step.cm2 import Checklist
from .step.constraints import Constraints
from .step.count_bonus import CountBonus
from .step.count_discount import EpisodicCountDiscount
from .step.difference import DifferenceReward
from .step.g4rl import GraphDistance
from .step.gated_bonus import GatedBonus
from .step.hop_progress import HopProgress
from .step.hybrid import HybridReward
from .step.igpo import InformationGain
from .step.inequity import InequityAversion
from .step.krc import Krc
from .step.oni import CaptionReward
from .step.potential import PotentialShaping
from .step.score_delta import ScoreDelta
from .step.shapley import ShapleyCredit
from .step.team_spirit import TeamSpirit
from .step.vlm_rl import ContrastiveGoal
from .step.weighted_tests import WeightedTests
from .types import Group, Level, Trajectory, Transition

__all__ = [
    "CaptionReward",
    "Centered",
    "Checklist",
    "Clip",
    "Conserve",
    "Constraints",
    "ContrastiveGoal",
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
    "GradedOutcome",
    "GraphDistance",
    "Group",
    "Grpo",
    "HopProgress",
    "HybridReward",
    "ImplicitProcess",
    "InequityAversion",
    "InformationGain",
    "JudgementTable",
    "Krc",
    "LatentReward",
    "LengthPenalty",
    "Level",
    "ListwiseAdvantage",
    "MissingFact",
    "Mix",
    "ModelReward",
    "MultiplicativeProgress",
    "Normalize",
    "OutlierFilter",
    "PerStepNorm",
    "PotentialShaping",
    "ProgressAttribution",
    "ReNorm",
    "ReferenceReward",
    "Rloo",
    "Scale",
    "ScoreDelta",
    "ScoreDeltaWin",
    "SelfReferential",
    "Shaper",
    "ShapleyCredit",
    "ShapleySteps",
    "Stack",
    "SubgoalOptions",
    "SweetSpot",
    "TeamSpirit",
    "TermBlend",
    "ToolMatch",
    "TournamentAdvantage",
    "Trajectory",
    "Transition",
    "TreeAdvantage",
    "TurnCentered",
    "TurningPoints",
    "Uniform",
    "UtteranceAttribution",
    "UtteranceCritic",
    "ValueAnchored",
    "WeightedTests",
    "allow_import",
    "catalog",
    "load",
    "shape",
]
