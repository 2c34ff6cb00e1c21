"""What a ``tool_team`` works on: an environment for one agent, stepped by all of the team."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from ..errors import InfraError, one_of
from ..text.base import Split
from ..tools.calls import Call

LONG = 2**31  # steps: the team's limit is its own
Info = dict[str, Any]


class Desk:
    """An inner environment, and what a team has to know about it.

    ``env`` is the environment, ``talks`` whether somebody is there to talk to, ``reads`` the tools that change nothing,
    ``terms`` its reward terms that are paid to the team, ``briefing`` what the planner and ``tools`` what all may know.
    """

    talks: ClassVar[bool] = False
    settings: ClassVar[tuple[str, ...]] = ()
    terms: ClassVar[tuple[str, ...]] = ()
    env: Any
    reads: frozenset[str]
    briefing, tools, opening = "", "", ""

    def given(self, inner: Mapping[str, Any] | None) -> dict[str, Any]:
        """The settings of the inner environment.

        Raises:
            ValueError: one that is not for a team to set, or no mapping.
        """
        if inner is not None and not isinstance(inner, Mapping):
            raise ValueError(f"inner is {inner!r}; allowed: None or settings of the inner environment by name")
        for name in inner or ():
            if name not in self.settings:
                raise one_of("a setting of inner", name, self.settings)
        return dict(inner or {})

    def parse(self, text: str) -> tuple[Call, ...] | str:
        """The calls of an action, or why it has none."""
        raise NotImplementedError

    def begin(self, task: int) -> Info:
        """A new case: its info.

        Raises:
            InfraError: it could not be started.
        """
        raise NotImplementedError

    def use(self, made: tuple[Call, ...]) -> Info:
        """Makes calls: the info of the step.

        Raises:
            InfraError: the infrastructure failed.
        """
        raise NotImplementedError

    def say(self, words: str) -> Info:
        """Says words to whoever is there to talk to."""
        raise NotImplementedError

    def next(self) -> str:
        """What has to be done next, words or a call, by one who knows everything."""
        return str(self.env.oracle())

    def _step(self, action: Any) -> Info:
        _, _, terminated, truncated, info = self.env.step(action)
        if info.get("invalid"):
            raise InfraError(info["infra_error"])
        return dict(info) | {"ended": terminated or truncated}


class Service(Desk):
    """A ``ServiceDeskEnv``: a customer to talk to, tools over a database, a policy."""

    talks = True
    settings = ("user", "horizon", "families", "max_calls")
    terms = ("match", "items", "outcome")

    def __init__(self, split: Split, worlds: int | None, candidates: int, inner: Mapping[str, Any] | None) -> None:
        given = self.given(inner)
        if given.get("user") == "model":
            raise one_of("user", "model", ("scripted", "stochastic"))
        try:
            from ..tools.servicedesk.env import ServiceDeskEnv
            from ..tools.tool import Tool  # noqa: F401

            paid = dict.fromkeys((*self.terms, "valid_call"), 1.0)
            self.env = ServiceDeskEnv(split=split, worlds=worlds, max_steps=LONG, weights=paid, **given)
        except ModuleNotFoundError as e:
            raise ModuleNotFoundError(
                f"tool_team with desk='service' needs {e.name}: pip install 'milepost[tools]'"
            ) from None
        self.reads = frozenset(t.name for t in self.env.tools.values() if not t.writes)

    def parse(self, text: str) -> tuple[Call, ...] | str:
        """See ``Desk``."""
        from ..tools.calls import parse

        turn = parse(text)
        return turn.error or turn.calls or "that is no tool call"

    def begin(self, task: int) -> Info:
        """See ``Desk``."""
        obs, info = self.env.reset(seed=task, options={"task": task})
        self.briefing, _, self.opening = obs.rpartition("\n\nUser: ")
        self.tools = self.briefing[self.briefing.index("Tools:\n") :]
        return dict(info)

    def use(self, made: tuple[Call, ...]) -> Info:
        """See ``Desk``."""
        from ..tools.calls import Turn

        return self._step(Turn("", made))

    def say(self, words: str) -> Info:
        """See ``Desk``; words are never read as calls."""
        from ..tools.calls import Turn

        return self._step(Turn(words))


class Repair(Desk):
    """A ``BugRepairEnv``: a repository with a fault, in a sandbox."""

    settings = ("path", "bugs", "listed", "sandbox", "sandbox_settings", "cache", "timeout", "memory")
    terms = ("located", "edited", "tests", "outcome")
    reads = frozenset({"view", "search", "run_tests"})

    def __init__(self, split: Split, worlds: int | None, candidates: int, inner: Mapping[str, Any] | None) -> None:
        from ..swe.bugrepair import BugRepairEnv
        from ..swe.env import HELP

        given, paid = self.given(inner), dict.fromkeys((*self.terms, "valid_call"), 1.0)
        self.env = BugRepairEnv(
            split=split, worlds=worlds, max_steps=LONG, weights=paid, candidates=candidates, **given
        )
        self.tools = HELP

    def __deepcopy__(self, memo: dict[int, Any]) -> Repair:
        """Not of a sandbox.

        Raises:
            TypeError: always.
        """
        raise TypeError(
            "tool_team with desk='repair' holds a sandbox, which cannot be copied: use snapshot(), and restore() on "
            "another game"
        )

    def parse(self, text: str) -> tuple[Call, ...] | str:
        """See ``Desk``."""
        from ..swe.actions import BadAction, parse

        try:
            return (parse(text),)
        except BadAction as e:
            return str(e)

    def begin(self, task: int) -> Info:
        """See ``Desk``."""
        self.briefing, info = self.env.reset(seed=task, options={"task": task})
        self.opening = self.briefing.partition("\n")[0]
        return dict(info)

    def use(self, made: tuple[Call, ...]) -> Info:
        """See ``Desk``."""
        return self._step(made[0])

    def next(self) -> str:
        """See ``Desk``; one of the listed edits where it makes the file what the reference makes of it."""
        goal, sources = self.env.reference(), self.env.sources()
        for text in self.env._listed() if self.env.candidates else ():
            call = self.parse(text)
            assert not isinstance(call, str)
            name, about = call[0]
            path = about.get("path")
            if name != "edit" or path not in goal or _same(sources.get(path), goal[path]):
                continue
            if _same(sources[path].replace(about["old"], about["new"], 1), goal[path]):
                return str(text)
        return super().next()


def _same(a: str | None, b: str | None) -> bool:
    """Two programs are one, whatever their layout."""
    try:
        return ast.unparse(ast.parse(a or "")) == ast.unparse(ast.parse(b or ""))
    except SyntaxError:
        return False


DESKS: dict[str, Callable[..., Desk]] = {"service": Service, "repair": Repair}
