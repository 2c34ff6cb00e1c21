"""What text environments share: tasks and splits, the info contract, rendering, snapshots, failures."""

from __future__ import annotations

import copy
import inspect
import operator
from collections.abc import Mapping
from typing import Any, Literal, get_args

import gymnasium as gym
import numpy as np

from ..errors import InfraError, one_of
from .render import draw
from .spaces import Unicode

TEST = 2**30  # tasks from here on belong to split="test"
Split = Literal["train", "test"]


def whole(name: str, value: Any, low: int, high: int | None = None, where: str = "", also: str = "") -> int:
    """A whole number of any kind (numpy's too; True is none), as an ``int``.

    Args:
        name: of the setting.
        value: as it was given.
        low: smallest allowed.
        high: largest allowed, None for any.
        where: said behind "allowed", such as under which condition.
        also: said in front of the range: what else is allowed.

    Raises:
        ValueError: it is none, or outside ``low`` to ``high``; names the setting and what is allowed.
    """
    try:
        n = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        n = None
    if n is None or n < low or (high is not None and n > high):
        to = "" if high is None else f" to {high}"
        raise ValueError(f"{name} is {value!r}; allowed{where}: {also}a whole number from {low}{to}")
    return n


def flag(name: str, value: Any) -> bool:
    """A truth value; a text such as ``"no"`` would count as true.

    Raises:
        ValueError: it is none; names the setting.
    """
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{name} is {value!r}; allowed: True or False")
    return bool(value)


def taken(cls: type) -> list[str]:
    """Names of the settings that a class's constructor spells out, by keyword or by place."""
    return [p.name for p in inspect.signature(cls).parameters.values() if p.kind is not p.VAR_KEYWORD]


class TextEnv(gym.Env[Any, Any]):
    """Base of the text worlds: text in, text out.

    A subclass sets ``name`` and writes ``_begin(task)``, ``_command(text) -> valid``, ``_look() -> str``,
    ``_facts() -> dict`` (at least ``score``, ``max_score``, ``progress``, ``success``, ``subgoals``,
    ``admissible_actions``; optionally ``over``), ``_plan() -> list[str]`` and ``_save() / _load(state)``; optionally
    ``_goals() -> sentences``, published as ``info["meta"]["subgoals"]`` for judges. It may raise
    ``InfraError`` anywhere: the step is then truncated with ``info["invalid"] = True`` and counted in ``infra_failures``.

    The reward is sparse: 1.0 at the step that succeeds, else 0.0, as the one term ``outcome``.

    Args:
        split: train or test worlds; they never overlap.
        worlds: number of different worlds of the split, None for all.
        max_steps: after so many steps the episode is truncated.
        expose_reference: publish the oracle's plan in the reset info as ``reference``.
        render_mode: None, ``ansi``, ``human`` or ``rgb_array``.

    Raises:
        ValueError: a setting is not allowed; names it and what is.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi", "human", "rgb_array"], "render_fps": 4}
    name = "text"
    reward_terms: tuple[str, ...] = ("outcome",)

    def __init__(
        self,
        *,
        split: Split = "train",
        worlds: int | None = None,
        max_steps: int = 50,
        expose_reference: bool = False,
        max_length: int = 4096,
        render_mode: str | None = None,
    ) -> None:
        if split not in get_args(Split):
            raise one_of("split", split, get_args(Split))
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            raise one_of("render_mode", render_mode, self.metadata["render_modes"])
        self.split, self.max_steps = split, whole("max_steps", max_steps, 1)
        self.worlds = None if worlds is None else whole("worlds", worlds, 1, TEST, also="None or ")
        self.expose_reference, self.render_mode = flag("expose_reference", expose_reference), render_mode
        self.observation_space = Unicode(max_length)
        self.action_space = Unicode(256)
        self.task: int | None = None
        self.infra_failures = 0
        self._steps = 0
        self._last = False  # this step is the last that the limit allows
        self._over = True
        self._text = ""
        self._feedback = ""  # what the world said to the last command

    # -- what a subclass writes ------------------------------------------------------------------
    def _begin(self, task: int) -> None:
        raise NotImplementedError

    def _command(self, command: Any) -> bool:
        raise NotImplementedError

    def _look(self) -> str:
        raise NotImplementedError

    def _facts(self) -> dict[str, Any]:
        raise NotImplementedError

    def _plan(self) -> list[str]:
        raise NotImplementedError

    def _title(self, task: int) -> str:
        """The name of a task in ``meta``."""
        return f"{self.name}-{task}"

    def _read(self, action: Any) -> Any:
        """An action as ``_command`` wants it.

        Raises:
            TypeError: it is of another kind.
        """
        if not isinstance(action, str):
            raise TypeError(f"an action is a string, not {type(action).__name__}")
        return " ".join(action.split())[:256]

    def _chat(self, action: Any) -> tuple[dict[str, Any], ...]:
        """The turn as chat messages: what the agent said, if it did, and what the world says now."""
        turn = ({"role": "assistant", "content": action},) if action else ()
        return (*turn, {"role": "user", "content": self._text})

    def _reference(self) -> tuple[Any, ...]:
        """What ``expose_reference`` publishes."""
        return tuple(self._plan())

    def _goals(self) -> tuple[str, ...]:
        """The sub-goals as sentences, in the order of the fact's keys; none where its keys are sentences."""
        return ()

    def _save(self) -> Any:
        raise NotImplementedError

    def _load(self, state: Any) -> None:
        raise NotImplementedError

    # -- Gymnasium -------------------------------------------------------------------------------
    def tasks(self) -> range:
        """The tasks of this split."""
        first = TEST if self.split == "test" else 0
        return range(first, first + (self.worlds or TEST))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """A new episode on a random task of the split, or on ``options["task"]``.

        Raises:
            ValueError: options that are no dictionary, an unknown option, or a task that is not in this split.
            InfraError: the world could not be started.
        """
        tasks, task = self.tasks(), self._wanted(options)  # before the seed: what is refused changes nothing
        super().reset(seed=seed)
        if task is None:
            task = int(self.np_random.integers(tasks.start, tasks.stop))
        self.task, self._steps, self._over = task, 0, True  # until the world stands
        self._begin(task)
        self._text = self._look()
        self._over = False
        meta: dict[str, Any] = {"task": self._title(task)}
        if goals := self._goals():
            meta["subgoals"] = goals
        info = self._info("", True) | {"meta": meta}
        if self.expose_reference:
            info["reference"] = self._reference()
        if self.render_mode == "human":
            self.render()
        return self._text, info

    def _wanted(self, options: Any) -> int | None:
        """The task that ``reset(options=...)`` asks for."""
        if options is not None and not isinstance(options, Mapping):
            raise ValueError(f'reset options are {options!r}; allowed: None or {{"task": number}}')
        options, tasks = dict(options or {}), self.tasks()
        task = options.pop("task", None)
        if options:
            raise one_of("a reset option", next(iter(options)), ["task"])
        if task is None:
            return None
        try:
            return whole("task", task, tasks.start, tasks.stop - 1)
        except ValueError:
            raise ValueError(
                f"task {task!r} is not in split {self.split!r}: whole numbers from {tasks.start} to {tasks.stop - 1}"
            ) from None

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One command. Unknown commands are answered in the world and have ``valid_action = False``.

        Raises:
            TypeError: the action is no string.
            RuntimeError: the episode is over.
        """
        command = self._read(action)
        if self._over:
            raise RuntimeError("the episode is over: call reset() before step()")
        self._steps += 1
        self._last = self._steps >= self.max_steps
        try:
            valid = self._command(command)
            self._text = self._look()
            info = self._info(action, valid)
        except InfraError as e:
            return self._failed(action, e)
        won = bool(info["success"])
        terminated = won or bool(info.pop("over", False))
        truncated = not terminated and self._steps >= self.max_steps
        self._over = terminated or truncated
        terms: dict[str, float] = info.setdefault("reward_terms", {"outcome": float(won)})
        reward = float(sum(terms.values()))
        if self.render_mode == "human":
            self.render()
        return self._text, reward, terminated, truncated, info

    def _failed(self, action: Any, e: InfraError) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.infra_failures += 1
        self._over = True
        info: dict[str, Any] = {"invalid": True, "infra_error": str(e), "success": False, "valid_action": False}
        info |= {"reward_terms": dict.fromkeys(self.reward_terms, 0.0), "admissible_actions": (), "subgoals": {}}
        info |= {"messages": (), "score": 0.0, "max_score": 1.0, "progress": 0.0, "message": ""}
        return self._text, 0.0, False, True, info

    def _info(self, action: Any, valid: bool) -> dict[str, Any]:
        info = self._facts()
        info["messages"] = self._chat(action)
        info.setdefault("message", self._feedback)
        info["valid_action"] = valid
        return info

    def oracle(self) -> str:
        """The next action of a plan that solves the task from here.

        Raises:
            RuntimeError: the task is solved already.
        """
        plan = self._plan()
        if not plan:
            raise RuntimeError("nothing is left to do")
        return plan[0]

    def snapshot(self) -> dict[str, Any]:
        """The whole state; the same actions after ``restore`` give the same observations."""
        return {
            "state": copy.deepcopy(self._save()),
            "task": self.task,
            "steps": self._steps,
            "over": self._over,
            "text": self._text,
            "rng": copy.deepcopy(self.np_random.bit_generator.state),
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Goes back to a snapshot of this environment, or of another one with the same settings."""
        self.task, self._steps = snapshot["task"], snapshot["steps"]
        self._over, self._text = snapshot["over"], snapshot["text"]
        self.np_random.bit_generator.state = copy.deepcopy(snapshot["rng"])
        self._load(copy.deepcopy(snapshot["state"]))

    def render(self) -> Any:
        """The last observation as text, on the terminal, or drawn."""
        if self.render_mode == "ansi":
            return self._text
        if self.render_mode == "human":
            print(self._text, end="\n\n", flush=True)
            return None
        return draw(self._text) if self.render_mode == "rgb_array" else None
