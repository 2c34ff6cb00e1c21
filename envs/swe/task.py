"""A task as the environment needs it, whatever collection it comes from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from .instance import Instance

Parser = Callable[[str], Mapping[str, str]]


@dataclass(frozen=True)
class Task:
    """One repository at one moment with a fault in it."""

    instance: Instance
    tree: str
    """Directory of this machine with the repository; it is only read."""
    changes: Mapping[str, str | None] = field(default_factory=dict)
    """Path -> text over the tree (None: removed) that the agent starts with, the fault among them."""
    hidden: Mapping[str, str | None] = field(default_factory=dict)
    """The same for tests that only the grader has."""
    roots: tuple[str, ...] = (".",)
    """Directories, relative to the tree, from which the tests import."""
    command: tuple[str, ...] = ()
    """Program and arguments that run the tests; () for pytest on the files of the tests that count."""
    parser: Parser | None = None
    """Log of ``command`` -> test -> "passed" or another word; None for our pytest plugin."""
    needs: tuple[str, ...] = ("pytest",)
    """Distributions of this machine that the tests import, made visible inside."""
    image: str = ""
    """Docker image that holds what the tests need."""


class Source(Protocol):
    """A collection of tasks."""

    name: str

    def instances(self) -> Sequence[Instance]:
        """All of them, in an order that does not change."""
        ...

    def task(self, instance: Instance) -> Task:
        """What the environment needs for one; may unpack its tree."""
        ...
