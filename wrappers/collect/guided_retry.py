"""Plays a failed task again, with guidance: Agent-RLVR's second attempt."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import gymnasium as gym
from gymnasium.spaces import Text

from ..shaper import use
from .copies import go_back, state_of


@dataclass
class Attempt:
    """One attempt at a task, as a guide sees it.

    Attributes:
        task: ``meta["task"]``, None where the environment names none.
        number: 0 for the first.
        guidance: what this attempt was told, empty for the first.
        observations: T + 1.
        actions: T.
        infos: T + 1.
        before: earlier attempts at the same task.
    """

    task: Any
    number: int
    guidance: str
    observations: list[Any] = field(default_factory=list)
    actions: list[Any] = field(default_factory=list)
    infos: list[dict[str, Any]] = field(default_factory=list)
    before: tuple[Attempt, ...] = ()


def feedback(attempt: Attempt) -> str:
    """Guidance by rule: what the world said to the failed attempt, of the last steps, and which actions were refused."""
    said = [str(i["message"]) for i in attempt.infos[1:] if i.get("message")][-3:]
    bad = [str(a) for a, i in zip(attempt.actions, attempt.infos[1:]) if not i.get("valid_action", True)]
    lines = ["An earlier attempt at this task failed."]
    if said:
        lines.append(f"At its end the world said: {' '.join(said)}")
    if bad:
        lines.append(f"These actions could not be done: {', '.join(dict.fromkeys(bad))}.")
    return "\n".join(lines)


def plan(attempt: Attempt) -> str:
    """Guidance by a teacher: the steps of ``info["reference"]`` of the reset (make the environment with
    ``expose_reference=True``).

    Raises:
        KeyError: the environment publishes no reference.
    """
    steps = attempt.infos[0]["reference"]
    return "\n".join(["This plan solves the task:", *(f"{k}. {s}" for k, s in enumerate(steps, 1))])


def failed(info: Mapping[str, Any]) -> bool:
    """Is an attempt with this last info to be repeated?"""
    return not info.get("success", False)


class GuidedRetry(gym.Wrapper[Any, Any, Any, Any], gym.utils.RecordConstructorArgs):
    """After an episode that failed, ``reset`` starts the same task again and tells what a guide knows.

    "Agent-RLVR: training software engineering agents via guidance and environment rewards" (arXiv 2506.11425): an attempt is
    tested; if it fails, a teacher adds guidance (a plan, what the world answered) and the agent tries again;
    pairs of passing and failing attempts train it (``baselines/preference_pairs.py``). Known from its abstract and from
    summaries; how guidance is put in is ours. Each attempt is an episode of its own, so every shaper, host and trainer works
    around this wrapper: put it inside.

    The reset info's ``meta`` has ``attempt`` (0, 1 ...), ``guided`` and ``guidance`` (the text, which ``strip`` takes out
    again), and the same ``task``; the last info has ``attempt`` and ``guided`` too. There is no retry after success, nor
    after an episode that the infrastructure ended, nor where ``reset`` is told a seed or options: then a new task begins.
    ``report()`` keeps first attempts and guided ones apart, so that guidance never counts as a success in evaluation.

    A retry begins in exactly the state of the first attempt: by ``snapshot`` and ``restore``, generators included, so that,
    where steps draw no random numbers, the task after it is the one that would have come without it; or (``how="task"``) by
    ``reset(options={"task": ...})``, on environments whose world is fixed by it.

    Args:
        env: the environment.
        guide: ``"module:function"`` or a function of an ``Attempt`` -> text; an empty text means no retry.
        max_retries: attempts after the first.
        when: ``"module:function"`` or a function of the last info: was it a failure?
        inject: ``observation``: the guidance stands in front of every text of a guided attempt; ``system``: only in
            ``info["messages"]`` of the reset, as a message of the system, in front. (``observation`` puts it there too.)
        how: the way back.
        max_guidance: characters that are kept of it.

    Raises:
        ValueError: a setting is not allowed, the environment has no way back, or its observations are no text.
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        guide: Any = "milepost.wrappers.collect.guided_retry:feedback",
        max_retries: int = 1,
        when: Any = "milepost.wrappers.collect.guided_retry:failed",
        inject: Literal["observation", "system"] = "observation",
        how: Literal["snapshot", "task"] = "snapshot",
        max_guidance: int = 2048,
    ) -> None:
        gym.utils.RecordConstructorArgs.__init__(
            self, guide=guide, max_retries=max_retries, when=when, inject=inject, how=how, max_guidance=max_guidance
        )
        gym.Wrapper.__init__(self, env)
        if inject not in ("observation", "system") or how not in ("snapshot", "task"):
            raise ValueError(
                f"inject is {inject!r} and how {how!r}; allowed: 'observation' or 'system', 'snapshot' or 'task'"
            )
        for name, value in (("max_retries", max_retries), ("max_guidance", max_guidance)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} is {value!r}; allowed: a whole number from 1")
        if how == "snapshot" and not (env.has_wrapper_attr("snapshot") and env.has_wrapper_attr("restore")):
            raise ValueError(
                "the environment has no snapshot() and restore(): how='task' resets by options={\"task\": ...}"
            )
        space: Any = env.observation_space
        if inject == "observation":
            if not isinstance(space, Text):
                raise ValueError(f"observations are {space}, no text: inject='system' says it in info['messages']")
            self.observation_space = type(space)(space.max_length + max_guidance + 2)
        self.max_retries, self.inject, self.how, self.max_guidance = max_retries, inject, how, max_guidance
        self._guide: Callable[[Attempt], str] = use(guide)
        self._when: Callable[[Mapping[str, Any]], bool] = use(when)
        self._begun: Any = None  # how to begin the task again, its first observation and info
        self._attempt: Attempt | None = None
        self._due = ""  # guidance of the retry that comes next
        self.counts = {"tasks": 0, "passed": 0, "guided": 0, "guided_passed": 0, "invalid": 0}

    # -- an episode ------------------------------------------------------------------------------
    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """The same task with guidance, if one is due; else a new one."""
        last, told = self._attempt, self._due
        self._due = ""
        if not told or last is None or seed is not None or options:
            obs, info = self.env.reset(seed=seed, options=options)
            task = info.get("meta", {}).get("task")
            state = state_of(self.env) if self.how == "snapshot" else self._task()
            self._begun = (state, copy.deepcopy(obs), copy.deepcopy(info))
            self._attempt = Attempt(task, 0, "")
            return self._first(obs, info)
        state, obs, info = self._begun
        if self.how == "snapshot":
            go_back(self.env, state)
            obs, info = copy.deepcopy(obs), copy.deepcopy(info)
        else:
            obs, info = self.env.reset(options={"task": state})
        self._attempt = Attempt(last.task, last.number + 1, told, before=(*last.before, last))
        return self._first(obs, info)

    def _task(self) -> Any:
        task = getattr(self.env.unwrapped, "task", None)
        if task is None:
            raise ValueError(
                'how is "task", but the environment has no attribute task to reset to; allowed: "snapshot"'
            )
        return task

    def _first(self, obs: Any, info: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        now = self._attempt
        assert now is not None
        now.observations.append(obs)
        now.infos.append(info)
        meta = dict(info.get("meta", {})) | {"attempt": now.number, "guided": bool(now.guidance)}
        info = info | {"meta": meta | {"guidance": now.guidance}}
        if now.guidance:
            said = ({"role": "system", "content": now.guidance},)
            info["messages"] = said + tuple(info.get("messages", ()))
        return self._shown(obs), info

    def _shown(self, obs: Any) -> Any:
        told = self._attempt.guidance if self._attempt is not None else ""
        return f"{told}\n\n{obs}" if told and self.inject == "observation" else obs

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """One step; at the end of a failed attempt the guide is asked."""
        obs, reward, terminated, truncated, info = self.env.step(action)
        now = self._attempt
        assert now is not None
        now.observations.append(obs)
        now.actions.append(action)
        now.infos.append(info)
        shown = self._shown(obs)
        if terminated or truncated:
            self._over(now, info)
            info = info | {"attempt": now.number, "guided": bool(now.guidance)}
        return shown, reward, terminated, truncated, info

    def _over(self, now: Attempt, info: dict[str, Any]) -> None:
        if info.get("invalid"):
            self.counts["invalid"] += 1
            return
        lost = bool(self._when(info))
        for name, add in (
            (("guided", 1), ("guided_passed", not lost)) if now.guidance else (("tasks", 1), ("passed", not lost))
        ):
            self.counts[name] += int(add)
        if lost and now.number < self.max_retries:
            told = self._guide(now)
            if not isinstance(told, str):
                raise TypeError(f"a guide gives a text, not {type(told).__name__}")
            self._due = told[: self.max_guidance]

    # -- what came of it -------------------------------------------------------------------------
    def report(self) -> dict[str, float]:
        """``pass@1`` over first attempts, ``guided`` success over retries, ``solved`` over tasks, counts; invalid ones in
        none.
        """
        c = self.counts
        return {
            "pass@1": c["passed"] / max(c["tasks"], 1),
            "guided": c["guided_passed"] / max(c["guided"], 1),
            "solved": (c["passed"] + c["guided_passed"]) / max(c["tasks"], 1),
        } | {f"n/{k}": float(v) for k, v in c.items()}

    def snapshot(self) -> dict[str, Any]:
        """The environment's snapshot, and the attempt."""
        return {
            "inner": state_of(self.env),
            "own": copy.deepcopy((self._begun, self._attempt, self._due, self.counts)),
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Goes back to it."""
        go_back(self.env, snapshot["inner"])
        self._begun, self._attempt, self._due, self.counts = copy.deepcopy(snapshot["own"])
