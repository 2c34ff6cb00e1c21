"""``arena`` in PettingZoo's module style."""

from .arena import Arena
from .hosts import module

raw_env, env, parallel_env = module(Arena)
