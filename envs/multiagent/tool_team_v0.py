"""``tool_team`` in PettingZoo's module style."""

from .hosts import module
from .tool_team import ToolTeam

raw_env, env, parallel_env = module(ToolTeam)
