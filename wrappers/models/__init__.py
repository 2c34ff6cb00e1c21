"""Learned reward models: fitted to data, no shapers themselves; ``wrappers/episode`` pays what they say."""

from .bradley_terry import PreferenceModel, pair_loss, preferred
from .discriminator import PolicyDiscriminator
from .lexicographic import Factor, Lexicographic
from .stages import StageModel
from .texts import prefix, said, shown, task_of, text_of, transcript, words_of

__all__ = [
    "Factor",
    "Lexicographic",
    "PolicyDiscriminator",
    "PreferenceModel",
    "StageModel",
    "pair_loss",
    "preferred",
    "prefix",
    "said",
    "shown",
    "task_of",
    "text_of",
    "transcript",
    "words_of",
]
