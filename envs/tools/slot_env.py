"""What a tool environment says of itself for agents that make a call one choice after another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .base import ToolEnv
from .calls import Call
from .slot_form import LEFT


class SlotEnv(ToolEnv):
    """A tool environment that says of itself what ``SlotRows`` cannot know; every method has a default."""

    speaks = False
    """Words can be made of values that were shown."""

    def _at_once(self) -> int:
        """Calls at most that a turn needs."""
        return 1

    def _worth(self, tool: str, argument: str) -> Sequence[Any] | None:
        """Values for an argument that are made of the conversation in a way of its own; None: there is none."""
        return None

    # the oracle's; rows are made without them
    def _needed(self) -> list[tuple[Any, bool]]:
        """(a call, calls of one turn, words or a list of texts to say; it must be made) for all that wins from here."""
        return [(step, True) for step in self._remaining()]

    def _ways(self, call: Call, argument: str) -> list[Any]:
        """Values of an argument that do as well as each other, ``LEFT`` for none."""
        return [call.arguments.get(argument, LEFT)]

    def _plainly(self, text: Any) -> Any:
        """A value that is no list or object, as it is compared."""
        return text

    def _looks(self) -> tuple[str, ...]:
        """Names of tools that look things up and change nothing."""
        return ()

    def _peek(self, call: Call) -> str | None:
        """What such a call says now, without making it; None where it fails or changes something."""
        return None
