"""``commons`` in PettingZoo's module style."""

from .commons import Commons
from .hosts import module

raw_env, env, parallel_env = module(Commons)
