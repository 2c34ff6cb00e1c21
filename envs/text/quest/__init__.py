"""``milepost/Quest-v0``: ``world`` generates, ``state`` plays, ``plan`` solves, ``env`` speaks."""

from .env import QuestEnv

__all__ = ["QuestEnv"]
