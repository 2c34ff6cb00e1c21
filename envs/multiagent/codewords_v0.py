"""``codewords`` in PettingZoo's module style."""

from .codewords import Codewords
from .hosts import module

raw_env, env, parallel_env = module(Codewords)
