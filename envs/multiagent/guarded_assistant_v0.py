"""``guarded_assistant`` in PettingZoo's module style."""

from .guarded_assistant import GuardedAssistant
from .hosts import module

raw_env, env, parallel_env = module(GuardedAssistant)
