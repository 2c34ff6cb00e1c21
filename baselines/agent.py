"""What an agent is, how one is named, and a check that anybody can run on one."""

from __future__ import annotations

import copy
import importlib
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from ..wrappers.shaper import nearest, use

NO_TEXT = (
    "the text agent needs observations that are text and info['admissible_actions'], and this environment {}: "
    "use an id's text face (without -encoded), or the agent ppo"
)


@runtime_checkable
class Agent(Protocol):
    """``act`` is all that is needed; ``reset(seed)``, ``learn(env, steps)``, ``save(path)`` and ``load(path)`` are optional."""

    def act(self, obs: Any, info: dict[str, Any]) -> Any:
        """The action for an observation and the info that came with it."""


def _refuse_unknown(what: str, factory: Callable[..., Any], settings: dict[str, Any], *given: str) -> None:
    """A setting that ``factory`` does not take, or that is ``given`` already, is one sentence."""
    taken = inspect.signature(factory).parameters
    if any(p.kind == p.VAR_KEYWORD for p in taken.values()):
        return
    known = [k for k in taken if k not in given]
    for key in settings:
        if key not in known:
            raise ValueError(f"{what} has no setting {key!r}{nearest(key, known)} It has: {', '.join(known) or 'none'}")


def refuse_numbers(env: gym.Env[Any, Any]) -> None:
    """The text agent's first condition, without a reset and without torch.

    Raises:
        ValueError: the observations are numbers; says what the text agent needs and what serves instead.
    """
    numbers = (spaces.Box, spaces.Dict, spaces.Discrete, spaces.MultiBinary, spaces.MultiDiscrete, spaces.Tuple)
    if isinstance(env.observation_space, numbers):
        raise ValueError(NO_TEXT.format(f"shows a {type(env.observation_space).__name__}"))


def _random(env: gym.Env[Any, Any], **kw: Any) -> Any:
    from .random_agent import RandomAgent

    _refuse_unknown("random", RandomAgent, kw, "space")
    return RandomAgent(env.action_space, **kw)


def _oracle(env: gym.Env[Any, Any], seed: int = 0, **kw: Any) -> Any:
    from .oracle_agent import OracleAgent

    _refuse_unknown("oracle", OracleAgent, kw, "env")
    return OracleAgent(env, **kw)


def _text(env: gym.Env[Any, Any], **kw: Any) -> Any:
    refuse_numbers(env)
    from .text_agent import TextAgent

    return TextAgent(**kw)


def _sb3(name: str) -> Callable[..., Any]:
    def make(env: gym.Env[Any, Any], **kw: Any) -> Any:
        from .sb3 import SB3Agent

        return SB3Agent(name, env, **kw)

    return make


def _linear(name: str) -> Callable[..., Any]:
    def make(env: gym.Env[Any, Any], **kw: Any) -> Any:
        module = importlib.import_module(f".{name}", __package__)
        return getattr(module, name.title())(env, **kw)

    return make


AGENTS: dict[str, tuple[Callable[..., Any], str]] = {
    "random": (_random, "uniform over the admissible actions"),
    "oracle": (_oracle, "the environment's own expert"),
    "text": (_text, "our torch agent: reads text, scores the admissible commands, PPO"),
    "ppo": (_sb3("ppo"), "Stable-Baselines3 PPO on the encoded face"),
    "maskable_ppo": (_sb3("maskable_ppo"), "sb3-contrib MaskablePPO on the encoded face"),
    "recurrent_ppo": (_sb3("recurrent_ppo"), "sb3-contrib RecurrentPPO on the encoded face"),
    "dqn": (_sb3("dqn"), "Stable-Baselines3 DQN on the encoded face (no layers that settle at an episode's end)"),
    "archer": (_linear("archer"), "ArCHer: a linear policy with twin critics of whole utterances, off-policy"),
    "parl": (_linear("parl"), "PARL: a linear policy and a reward learnt from preferences between its episodes"),
    "barfi": (_linear("barfi"), "BARFI: a linear policy and learnt weights of the account's auxiliary terms"),
}


def plays_groups(name: str, settings: Mapping[str, Any]) -> bool:
    """Does an agent of this name with these settings hand groups of episodes of one task to the layers?"""
    return name == "text" and settings.get("group", 1) != 1


def make_agent(name: str, env: gym.Env[Any, Any], seed: int = 0, **settings: Any) -> Any:
    """An agent for ``env`` by name.

    Args:
        name: one of ``AGENTS``; ``module:factory``, called as ``factory(env=..., seed=..., **settings)`` with those of the
            first two that it takes; the path of an SB3 ``.zip``; or ``openai:MODEL@http://HOST:PORT/v1``.
        env: what it will act in.
        seed: of its own randomness.
        **settings: of the agent.

    Raises:
        ValueError: an unknown name or setting, or an environment that the agent cannot act in.
        ImportError: a module that is not allowed.
    """
    if name in AGENTS:
        return AGENTS[name][0](env, seed=seed, **settings)
    if name.endswith(".zip"):
        from .sb3 import SB3Agent

        _refuse_unknown(name, SB3Agent.load, settings, "path", "env")
        agent = SB3Agent.load(name, env, **settings)
        agent.reset(seed)
        return agent
    if name.startswith("openai:"):
        from .llm_agent import EndpointAgent

        return EndpointAgent.named(name, **settings)
    if ":" not in name:
        forms = "module:factory, *.zip, openai:MODEL@URL"
        raise ValueError(f"no agent is called {name!r}{nearest(name, AGENTS)} Known: {', '.join(AGENTS)}, {forms}")
    factory = use(name)
    given = {"env": env, "seed": seed}
    _refuse_unknown(name, factory, settings)
    taken = inspect.signature(factory).parameters
    extra = {k: v for k, v in given.items() if k in taken and k not in settings}
    agent = factory(**extra, **settings)
    if not isinstance(agent, Agent):
        raise ValueError(f"{name} made {type(agent).__name__}, which has no act(obs, info)")
    return agent


def load_agent(path: str | Path, env: gym.Env[Any, Any]) -> Any:
    """The agent of a checkpoint that ``save`` wrote: ``.zip`` is SB3's, anything else the text agent's."""
    if str(path).endswith(".zip"):
        from .sb3 import SB3Agent

        return SB3Agent.load(path, env)
    from .text_agent import TextAgent

    return TextAgent.load(path)


def check_agent(agent: Any, env: gym.Env[Any, Any], steps: int = 50, seed: int = 0) -> None:
    """Checks the contract in ``env``: actions belong, repeat under ``reset(seed)``, and nothing it is shown is changed.

    Raises:
        AssertionError: what is wrong, in one sentence.
    """
    assert callable(getattr(agent, "act", None)), f"{type(agent).__name__} has no act(obs, info)"

    def play() -> list[Any]:
        if hasattr(agent, "reset"):
            agent.reset(seed)
        actions = []
        obs, info = env.reset(seed=seed)
        for _ in range(steps):
            shown = copy.deepcopy((obs, info))
            action = agent.act(obs, info)
            assert _same(shown, (obs, info)), "act changed the observation or the info that it was shown"
            assert action in env.action_space, f"action {action!r} is not in {env.action_space}"
            actions.append(action)
            obs, _, terminated, truncated, info = env.step(action)
            if terminated or truncated:
                break
        return actions

    first = play()
    if hasattr(agent, "reset"):
        assert _same(first, play()), "the same reset(seed) gave other actions"


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(_same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(_same, a, b))
    return bool(np.array_equal(a, b)) if isinstance(a, np.ndarray) else bool(a == b)
