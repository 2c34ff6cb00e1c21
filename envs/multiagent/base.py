"""What games for several agents share: cycles, tasks and splits, the info contract per agent, snapshots, failures."""

from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, get_args

import numpy as np
from gymnasium.utils.seeding import np_random

from ..errors import InfraError, one_of, settings
from ..text.base import TEST, Split, flag, whole
from ..text.render import draw

MODES = ("ansi", "human", "rgb_array")
WAIT = "wait"
NONE = "that is no action, take one of the admissible ones"  # silence, or an index of no row
SAID = 400  # characters of one utterance that are kept
_CONTROL = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]"
)  # line ends, terminal codes, halves of characters


class Game:
    """Rules of a game, without any protocol: ``hosts`` makes PettingZoo's AEC and Parallel environments of it.

    A game runs in cycles. In each every living agent acts once, in the order of ``agents``; what the agents before it did in
    the cycle counts already (agents that take turns see it, agents that act together do not). Rewards are paid and agents leave
    when the cycle is over, never in the middle, so that both protocols give the same rewards for the same actions.

    A subclass sets ``name``, ``own_terms`` and ``team_terms``, hands its agents' names (``word_0``) to ``__init__``, keeps all
    that changes in ``self.world`` (anything that ``copy.deepcopy`` copies) and writes:

    - ``_begin(task) -> world``: a new world, from the number of the task and ``self.np_random`` alone;
    - ``_act(agent, command) -> bool``: what the agent does; False if it cannot be done, which then changes nothing. ``wait``
      and the empty command do not come here;
    - ``_waits(agent)``: optional, forgets why the agent's action before could not be done;
    - ``_cycle()``: optional, what happens when all have acted;
    - ``_look(agent) -> str``: all that the agent knows, the six lines that matter most first; of agents that left too;
    - ``_choices(agent) -> commands``: what the agent could do, made from what it sees, ``wait`` left out; where any words can
      be said, a few worth saying;
    - ``_terms(agent) -> term -> float``: what this cycle pays the agent, before ``weights``; missing terms are 0.0;
    - ``_gone() -> agents`` that have finished, asked when a cycle is over;
    - ``_facts(agent) -> dict``: at least ``score``, ``max_score``, ``progress`` and ``success``;
    - ``_script(agent, policy) -> command``: what a scripted policy of ``policies`` does now; it may know everything.

    Optional: ``side() -> agents`` for whom the oracle plays, where not all can win; ``_scene() -> str`` for spectators,
    ``_meta() -> dict``, ``_measures(agent, choices) -> (n, measures)`` and
    ``_gauges(agent) -> (gauges,)``, numbers in [-1, 1] for the encoded face, from what the agent knows alone; ``_save()`` and
    ``_load(state)`` where the world cannot be copied; ``close()``.

    It may raise ``InfraError`` in ``_act``, ``_cycle``, ``_terms`` and ``_gone``: the game is then truncated for all with
    ``info["invalid"] = True``. In ``_begin`` it goes on to who resets; what agents see must not fail.

    Args:
        agents: their names, in the order in which they act.
        max_cycles: after so many cycles the game is truncated.
        weights: reward term -> weight, beside ``default_weights``.
        split: train or test worlds; they never overlap.
        worlds: number of different worlds of the split, None for all.
        expose_reference: publish what the oracle would do first in the reset info as ``reference``.
        max_length: characters of an observation; what is longer loses its middle.
        render_mode: None, ``ansi``, ``human`` or ``rgb_array``.

    Raises:
        ValueError: a setting is not allowed; names it and what is.
    """

    name: ClassVar[str] = "game"
    own_terms: ClassVar[tuple[str, ...]] = ("outcome",)
    team_terms: ClassVar[tuple[str, ...]] = ()  # paid to all alike
    default_weights: ClassVar[Mapping[str, float]] = {"outcome": 1.0}
    policies: ClassVar[tuple[str, ...]] = ("oracle",)
    measures, gauges = 0, 0  # how many numbers ``_measures`` and ``_gauges`` give

    def __init__(
        self,
        agents: Sequence[str],
        *,
        max_cycles: int = 30,
        weights: Mapping[str, float] | None = None,
        split: Split = "train",
        worlds: int | None = None,
        expose_reference: bool = False,
        max_length: int = 8192,
        render_mode: str | None = None,
        **others: Any,
    ) -> None:
        for unknown in others:  # subclasses hand on what they do not take themselves
            raise one_of(f"a setting of {type(self).__name__}", unknown, settings(type(self)))
        if split not in get_args(Split):
            raise one_of("split", split, get_args(Split))
        if render_mode is not None and render_mode not in MODES:
            raise one_of("render_mode", render_mode, MODES)
        self.possible_agents = tuple(agents)
        self.split, self.max_cycles = split, whole("max_cycles", max_cycles, 1)
        self.worlds = None if worlds is None else whole("worlds", worlds, 1, TEST, also="None or ")
        self.expose_reference, self.render_mode = flag("expose_reference", expose_reference), render_mode
        self.max_length = whole("max_length", max_length, 256)
        self.terms = (*self.own_terms, *self.team_terms)
        self.weights = dict.fromkeys(self.terms, 0.0) | dict(self.default_weights)
        if weights is not None and not isinstance(weights, Mapping):
            raise ValueError(f"weights is {weights!r}; allowed: None or a mapping of reward terms to numbers")
        for key, value in (weights or {}).items():
            if key not in self.terms:
                raise one_of("a reward term", key, self.terms)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
                raise ValueError(f"weights[{key!r}] is {value!r}; allowed: a finite number")
            self.weights[key] = float(value)
        self.np_random, _ = np_random(None)
        self.infra_failures = 0
        self.world: Any = None
        self.task: int | None = None
        self.agents: list[str] = []
        self.cycle = 0
        self.rewards: dict[str, float] = {}
        self.terminations: dict[str, bool] = {}
        self.truncations: dict[str, bool] = {}
        self.infos: dict[str, dict[str, Any]] = {}
        self._did: dict[str, tuple[str, bool]] = {}  # agent -> what it did last, was it valid
        self._paid: dict[str, dict[str, float]] = {}  # agent -> terms of the last cycle
        self._failure: InfraError | None = None
        self._seen: dict[tuple[str, str], Any] = {}  # what agents see and can do, until somebody acts

    # -- what a subclass writes ------------------------------------------------------------------
    def _begin(self, task: int) -> Any:
        raise NotImplementedError

    def _act(self, agent: str, command: str) -> bool:
        raise NotImplementedError

    def _waits(self, agent: str) -> None:
        pass

    def _cycle(self) -> None:
        pass

    def _look(self, agent: str) -> str:
        raise NotImplementedError

    def _choices(self, agent: str) -> Sequence[str]:
        raise NotImplementedError

    def _terms(self, agent: str) -> Mapping[str, float]:
        raise NotImplementedError

    def _gone(self) -> Sequence[str]:
        raise NotImplementedError

    def _facts(self, agent: str) -> dict[str, Any]:
        raise NotImplementedError

    def _script(self, agent: str, policy: str) -> str:
        raise NotImplementedError

    def side(self) -> tuple[str, ...]:
        """The agents for whom the oracle plays; in an audit their success counts."""
        return self.possible_agents

    def _scene(self) -> str:
        return "\n\n".join(f"[{a}]\n{self._look(a)}" for a in self.agents)

    def _meta(self) -> dict[str, Any]:
        return {}

    def _measures(self, agent: str, choices: Sequence[str]) -> Any:
        return np.zeros((len(choices), 0), np.float32)

    def _gauges(self, agent: str) -> Any:
        return np.zeros(0, np.float32)

    def _save(self) -> Any:
        return copy.deepcopy(self.world)

    def _load(self, state: Any) -> None:
        self.world = copy.deepcopy(state)

    def close(self) -> None:
        """Ends what the game holds open."""

    # -- a game ----------------------------------------------------------------------------------
    def tasks(self) -> range:
        """The tasks of this split."""
        first = TEST if self.split == "test" else 0
        return range(first, first + (self.worlds or TEST))

    def reset(self, seed: int | None = None, options: Any = None) -> None:
        """A new game on a random task of the split, or on ``options["task"]``.

        Raises:
            ValueError: options that are no mapping, an unknown option, or a task that is not in this split.
        """
        tasks, task = self.tasks(), self._wanted(options)  # before the seed: what is refused changes nothing
        if seed is not None:
            self.np_random, _ = np_random(seed)
        if task is None:
            task = int(self.np_random.integers(tasks.start, tasks.stop))
        self.task, self.cycle, self.agents, self._failure = task, 0, [], None
        self._did, self._paid, self._seen = {}, {}, {}
        self.world = self._begin(task)
        self.agents = list(self.possible_agents)
        self.rewards = dict.fromkeys(self.agents, 0.0)
        self.terminations = dict.fromkeys(self.agents, False)
        self.truncations = dict.fromkeys(self.agents, False)
        self.infos = {a: self.info(a) for a in self.agents}

    def _wanted(self, options: Any) -> int | None:
        if options is not None and not isinstance(options, Mapping):
            raise ValueError(f'reset options are {options!r}; allowed: None or {{"task": number}}')
        given = {
            k: v for k, v in (options or {}).items() if k != "options"
        }  # PettingZoo's own tests give {"options": 1}
        task = given.pop("task", None)
        if given:
            raise one_of("a reset option", next(iter(given)), ["task"])
        if task is None:
            return None
        tasks = self.tasks()
        try:
            return whole("task", task, tasks.start, tasks.stop - 1)
        except ValueError:
            raise ValueError(
                f"task {task!r} is not in split {self.split!r}: whole numbers from {tasks.start} to {tasks.stop - 1}"
            ) from None

    def act(self, agent: str, action: Any) -> None:
        """What an agent does in this cycle. What cannot be done counts as waiting, with ``valid_action = False``.

        Raises:
            TypeError: the action is neither a text nor an object that JSON can hold.
        """
        command = self.read(action)
        valid = True
        if command in ("", WAIT):
            self._waits(agent)
        elif self._failure is None:
            try:
                valid = bool(self._act(agent, command))
            except InfraError as e:
                self._failure = e
        self._seen = {}
        self._did[agent] = (command, valid and command != "")

    def read(self, action: Any) -> str:
        """An action as text: words as they are, without double spaces; objects such as ``{"accept": 3}`` as JSON.

        Raises:
            TypeError: it is neither.
        """
        if isinstance(action, str):
            return one_line(action)[: self.max_length]
        if isinstance(action, Mapping):
            try:
                return json.dumps(dict(action))[: self.max_length]
            except (TypeError, ValueError, RecursionError):
                pass
        raise TypeError(f"an action is a string, or a mapping that JSON can hold, not {type(action).__name__}")

    def end_cycle(self) -> None:
        """All have acted: rewards, who is done, and infos, for those who lived when the cycle began."""
        self.cycle, self._seen = self.cycle + 1, {}
        try:
            if self._failure is None:
                self._cycle()
                return self._settle()
        except InfraError as e:
            self._failure = e
        self.infra_failures += 1
        self.rewards = dict.fromkeys(self.agents, 0.0)
        self.terminations, self.truncations = dict.fromkeys(self.agents, False), dict.fromkeys(self.agents, True)
        lost: dict[str, Any] = {
            "invalid": True,
            "infra_error": str(self._failure),
            "success": False,
            "valid_action": False,
        }
        lost |= {
            "score": 0.0,
            "max_score": 1.0,
            "progress": 0.0,
            "admissible_actions": (),
            "messages": (),
            "message": "",
        }
        self.infos = {a: lost | {"reward_terms": dict.fromkeys(self.terms, 0.0), "subgoals": {}} for a in self.agents}
        self.agents = []

    def _settle(self) -> None:
        for a in self.agents:
            terms = dict.fromkeys(self.terms, 0.0) | dict(self._terms(a))
            self._paid[a] = {k: float(v) * self.weights[k] for k, v in terms.items()}
        gone = set(self._gone())
        late = self.cycle >= self.max_cycles
        self.rewards = {a: float(sum(self._paid[a].values())) for a in self.agents}
        self.terminations = {a: a in gone for a in self.agents}
        self.truncations = {a: late and a not in gone for a in self.agents}
        self.infos = {a: self.info(a) for a in self.agents}
        self.agents = [a for a in self.agents if not (late or a in gone)]

    def info(self, agent: str) -> dict[str, Any]:
        """What the info contract asks for, as it is now; ``reward_terms`` are those of the last cycle."""
        did, valid = self._did.get(agent, ("", True))
        said = ({"role": "assistant", "content": did},) if did else ()
        info: dict[str, Any] = {"subgoals": {}, "message": ""} | self._facts(agent)
        info["reward_terms"] = dict.fromkeys(self.terms, 0.0) | self._paid.get(agent, {})
        info["valid_action"] = valid
        if not did and not valid:
            info["message"] = info["message"] or NONE
        info["admissible_actions"] = self.choices(agent)
        info["messages"] = (*said, {"role": "user", "content": self.look(agent)})
        if self.cycle == 0 and agent not in self._did:
            info["meta"] = {"task": f"{self.name}-{self.task}", "agent": agent} | copy.deepcopy(self._meta())
            if self.expose_reference:
                info["reference"] = (self.script(agent),)
        return info

    def look(self, agent: str) -> str:
        """What the agent sees, at most ``max_length`` characters."""
        if (agent, "look") not in self._seen:
            text, cut = self._look(agent), "\n[...]\n"
            half = (self.max_length - len(cut)) // 2
            long = len(text) > self.max_length
            self._seen[agent, "look"] = text[:half] + cut + text[len(text) - half :] if long else text
        return str(self._seen[agent, "look"])

    def choices(self, agent: str) -> tuple[str, ...]:
        """The admissible actions, ``wait`` among them."""
        if (agent, "choices") not in self._seen:
            self._seen[agent, "choices"] = (*self._choices(agent), WAIT)
        found: tuple[str, ...] = self._seen[agent, "choices"]
        return found

    def script(self, agent: str, policy: str = "oracle") -> str:
        """What a scripted policy does now.

        Raises:
            ValueError: this game has no such policy.
        """
        if policy not in self.policies:
            raise one_of("a policy", policy, self.policies)
        return self._script(agent, policy)

    def render(self) -> Any:
        """What a spectator sees, as text, on the terminal, or drawn."""
        if self.render_mode is None:
            return None
        text = self._scene()
        if self.render_mode == "ansi":
            return text
        if self.render_mode == "human":
            print(text, end="\n\n", flush=True)
            return None
        return draw(text)

    def snapshot(self) -> dict[str, Any]:
        """The whole state; the same actions after ``restore`` give the same."""
        kept = (self.task, self.cycle, self.agents, self._did, self._paid, self._failure)
        paid = (self.rewards, self.terminations, self.truncations, self.infos)
        rng = self.np_random.bit_generator.state
        return {
            "world": self._save(),
            "kept": copy.deepcopy(kept),
            "paid": copy.deepcopy(paid),
            "rng": copy.deepcopy(rng),
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Goes back to a snapshot of this game, or of another one with the same settings."""
        self.task, self.cycle, self.agents, self._did, self._paid, self._failure = copy.deepcopy(snapshot["kept"])
        self.rewards, self.terminations, self.truncations, self.infos = copy.deepcopy(snapshot["paid"])
        self.np_random.bit_generator.state = copy.deepcopy(snapshot["rng"])
        self._seen = {}
        self._load(snapshot["world"])


def one_line(text: str) -> str:
    """A text without line ends, control characters, lone surrogates and double spaces: what an agent says is one line."""
    return " ".join(_CONTROL.sub(" ", text).split())


def as_words(command: str) -> str:
    """``{"offer": {...}}`` as the text that means the same, in one line."""
    if not command.startswith("{"):
        return command
    try:
        given = json.loads(command)
        kind, what = next(iter(given.items()))
    except (ValueError, RecursionError, StopIteration):
        return command
    if isinstance(what, dict):
        what = ", ".join(f"{k}={v}" for k, v in what.items())
    return one_line(f"{kind} {what}")
