"""``social`` in PettingZoo's module style."""

from .hosts import module
from .social import Social

raw_env, env, parallel_env = module(Social)
