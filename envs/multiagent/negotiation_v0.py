"""``negotiation`` in PettingZoo's module style."""

from .hosts import module
from .negotiation import Negotiation

raw_env, env, parallel_env = module(Negotiation)
