"""``hidden_role`` in PettingZoo's module style."""

from .hidden_role import HiddenRole
from .hosts import module

raw_env, env, parallel_env = module(HiddenRole)
