"""``play``: a person in the terminal."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any, TextIO

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete, Text

from ..envs.registry import entries, games
from ..wrappers.hosts import shape
from ..wrappers.types import account
from .names import UserError
from .run import make_env

Read = Callable[[str, Any, dict[str, Any]], Any]  # what was typed, the observation, the info: the action


def play(env_id: str, settings: dict[str, Any], layers: list[dict[str, Any]], seed: int | None, lines: TextIO) -> None:
    """One episode; ``quit`` or the end of the input leaves. Every step shows its reward terms.

    A text environment takes a number of the list of admissible actions, or any words; any other takes what its action
    space holds: a whole number, or numbers in brackets. What is no action is asked for again and costs no step.

    Raises:
        UserError: nobody can type the actions of this environment.
    """
    if any(g.id == env_id for g in games()):
        if layers:
            raise UserError(
                f"{env_id}: --shape is for environments of one agent here; in code it is shape(game, [...])"
            )
        return play_game(env_id, settings, seed, lines)
    row = next((e for e in entries() if e.id == env_id.rpartition(":")[2]), None)
    if row is not None and any(w.name == "Encode" for w in row.wrappers):
        raise UserError(f"{env_id} shows numbers: play {env_id.replace('-encoded', '')}")
    env = _drawn(env_id, settings)
    env = shape(env, layers) if layers else env
    allowed, read = _reader(env.action_space, env_id)
    obs, info = env.reset(seed=seed)
    total, steps, over = 0.0, 0, False
    while not over:
        print(f"\n{_shown(env, obs)}\n")
        choices = info.get("admissible_actions", ())
        print("  ".join(f"[{i}] {c}" for i, c in enumerate(choices)) or allowed)
        action = None
        while action is None:
            print("> ", end="", flush=True)
            said = lines.readline()
            if not said or said.strip() in ("quit", "exit"):
                print("\nleft")
                env.close()
                return
            try:
                action = read(said.strip(), obs, info)
            except ValueError as e:
                print(e)
        obs, reward, terminated, truncated, info = env.step(action)
        total, steps, over = total + float(reward), steps + 1, terminated or truncated
        terms = "  ".join(f"{k} {float(v):+.3f}" for k, v in account(info, float(reward)).items())
        print(f"{action}: reward {float(reward):+.3f}   ({terms})")
    # an environment that says nothing of success is merely over: a positive return is no success
    how = "ended by the infrastructure" if info.get("invalid") else "solved" if info.get("success") else "over"
    print(f"\n{_shown(env, obs)}\n\n{how} after {steps} steps, return {total:+.3f}")
    if "credit" in info:
        print("credit of the steps: " + " ".join(f"{x:+.2f}" for x in info["credit"]))
    env.close()


def play_game(env_id: str, settings: dict[str, Any], seed: int | None, lines: TextIO) -> None:
    """A game of several agents, agent after agent, all of them typed; ``quit`` or the end of the input leaves.

    Raises:
        UserError: PettingZoo is not installed, or the id shows numbers.
    """
    if "-encoded" in env_id:
        raise UserError(f"{env_id} shows numbers: play {env_id.replace('-encoded', '')}")
    try:
        from ..envs import multiagent  # noqa: F401  registers the games
    except ModuleNotFoundError as e:
        raise UserError(str(e)) from None
    import pettingzoo

    env = pettingzoo.make("aec", env_id, **settings)
    env.reset(seed=seed)
    total = dict.fromkeys(env.possible_agents, 0.0)
    for agent in env.agent_iter():
        obs, reward, terminated, truncated, info = env.last()
        total[agent] += reward
        if terminated or truncated:
            print(f"\n{agent} is done: {'success' if info['success'] else 'over'}, return {total[agent]:+.3f}")
            env.step(None)
            continue
        print(f"\n[{agent}] reward {reward:+.3f}\n{obs}\n")
        print("  ".join(f"[{i}] {c}" for i, c in enumerate(info["admissible_actions"])))
        action = None
        while action is None:
            print(f"{agent}> ", end="", flush=True)
            said = lines.readline()
            if not said or said.strip() in ("quit", "exit"):
                print("\nleft")
                env.close()
                return
            try:
                action = _words(said.strip(), obs, info)
            except ValueError as e:
                print(e)
        env.step(action)
    env.close()


def _drawn(env_id: str, settings: dict[str, Any]) -> gym.Env[Any, Any]:
    """The environment; one whose observation is no text draws itself in letters, if it can."""
    env = make_env(env_id, settings)
    letters = "ansi" in (env.metadata.get("render_modes") or ())
    if isinstance(env.observation_space, Text) or not letters or "render_mode" in settings:
        return env
    env.close()
    return make_env(env_id, settings, render_mode="ansi")


def _shown(env: gym.Env[Any, Any], obs: Any) -> str:
    if isinstance(obs, str) or env.render_mode != "ansi":
        return str(obs)
    return f"{str(env.render()).rstrip()}\nobservation: {obs}"


def _reader(space: gym.Space[Any], env_id: str) -> tuple[str, Read]:
    """How actions of a space are typed, and what reads them; it raises ValueError with the sentence to say."""
    if isinstance(space, Text):
        return "say what to do", _words
    if isinstance(space, Discrete):
        low, high = int(space.start), int(space.start + space.n) - 1
        said = f"an action is a whole number from {low} to {high}"

        def number(text: str, obs: Any, info: dict[str, Any]) -> int:
            mask = info.get("action_mask", obs.get("action_mask") if isinstance(obs, dict) else None)
            try:
                i = int(text)
            except ValueError:
                raise ValueError(said) from None
            if not low <= i <= high:
                raise ValueError(said)
            if mask is not None and not mask[i - low]:
                there = ", ".join(str(low + int(k)) for k in np.flatnonzero(mask))
                raise ValueError(f"action {i} is not possible now; possible: {there}")
            return i

        return said, number
    if isinstance(space, (Box, MultiDiscrete, MultiBinary)):
        said = f"an action is {'a number or ' if space.shape in ((), (1,)) else ''}a list like {_example(space)}, of {space}"

        def numbers(text: str, obs: Any, info: dict[str, Any]) -> Any:
            try:
                action = np.asarray(ast.literal_eval(text), space.dtype).reshape(space.shape)
            except (ValueError, SyntaxError, TypeError, OverflowError, RecursionError, MemoryError):
                raise ValueError(said) from None
            if action not in space:
                raise ValueError(said)
            return action

        return said, numbers
    raise UserError(f"{env_id} cannot be played here: nobody can type actions of {space}")


def _example(space: gym.Space[Any]) -> str:
    zero = np.zeros(space.shape or (), space.dtype)
    return str((np.clip(zero, space.low, space.high) if isinstance(space, Box) else zero).tolist())


def _words(text: str, obs: Any, info: dict[str, Any]) -> str:
    choices = info.get("admissible_actions", ())
    if not text:
        raise ValueError("say a number of the list or any words; quit leaves")
    if text.isdecimal() and choices:
        if int(text) >= len(choices):
            raise ValueError(f"there is no action {text}: 0 to {len(choices) - 1}")
        return str(choices[int(text)])
    return text
