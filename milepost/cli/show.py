"""What there is: ``list``, ``info``, ``setup``."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
import subprocess
import sys
from typing import Any

import gymnasium as gym

from ..baselines.agent import AGENTS
from ..baselines.llm_agent import FORM
from ..envs.errors import settings
from ..envs.registry import entries, games
from ..wrappers.scorers import SCORERS, Service
from ..wrappers.shaper import catalog, use
from .games import TRAINERS
from .names import EXTRAS, SETS, UserError, installed, there, unknown
from .run import make_env

FORMS = {  # agents that are no name of ours
    "module:factory": "your own: a class or function that makes something with act(obs, info); --allow-import module",
    "FILE.zip": "a saved Stable-Baselines3 model",
    FORM: "a language model behind an OpenAI-compatible endpoint",
}


def summary(cls: type) -> str:
    """First line of the text that a shaper's file begins with."""
    module = sys.modules[cls.__module__]
    doc = cls.__doc__ if cls.__module__.endswith(".combine") else module.__doc__
    return (doc or "").strip().split("\n")[0]


def paper(cls: type) -> str:
    """Where a shaper's formula is from: the first arXiv number of its file, else the first name with a year."""
    doc = (cls.__doc__ if cls.__module__.endswith(".combine") else sys.modules[cls.__module__].__doc__) or ""
    if found := re.search(r"arXiv[\s:]+(\d{4}\.\d{4,5})", doc):
        return f"arXiv {found[1]}"
    name = r"[A-Z][\w-]+(?:,? (?:et al\.|(?:and|&) [A-Z][\w-]+))?"
    found = re.search(rf"{name}\s+\(\d{{4}}\)|[A-Z][\w-]+ et al\.\s+\d{{4}}", doc)
    return " ".join(found[0].split()) if found else "-"


def claims(cls: type) -> str:
    """Its invariance class, as it claims; ``conformance`` checks it."""
    said = []
    for claim in ("policy_invariant", "return_preserving"):
        value = inspect.getattr_static(cls, claim)
        if value is True:
            said.append(claim.replace("_", " "))
        elif isinstance(value, property):
            said.append(claim.replace("_", " ") + " (by setting)")
    return ", ".join(said) or "neither"


def list_all(kind: str | None) -> None:
    """Ids, shapers, agents, scorers, a line each."""
    if kind in (None, "env"):
        for e in entries():
            print(f"env     {e.id:38s} {e.summary}")
    if kind in (None, "game"):
        for g in games():
            print(f"game    {g.id:38s} {g.summary}")
    if kind in (None, "shaper"):
        for name, cls in sorted(catalog().items()):
            print(f"shaper  {name:38s} {summary(cls)} [{paper(cls)}; {claims(cls)}]")
    if kind in (None, "agent"):
        for name, (_, what) in AGENTS.items():
            print(f"agent   {name:38s} {what}")
        for name, what in TRAINERS.items():
            print(f"agent   {name:38s} {what}")
        for form, what in FORMS.items():
            print(f"agent   {form:38s} {what}")
    if kind in (None, "scorer"):
        for name, (_, what) in SCORERS.items():
            print(f"scorer  {name:38s} {what}")


def info(name: str) -> None:
    """All there is to know about an id, a shaper, an agent or a scorer.

    Raises:
        UserError: nothing is called that.
    """
    shapers, ids, several = catalog(), {e.id: e for e in entries()}, {g.id: g for g in games()}
    if name in shapers:
        cls = shapers[name]
        module = sys.modules[cls.__module__]
        if not cls.__module__.endswith(".combine"):
            print(inspect.cleandoc(module.__doc__ or ""), end="\n\n")
        print(inspect.getdoc(cls), end="\n\nSettings:\n")
        for f in dataclasses.fields(cls):  # type: ignore[arg-type]
            print(f"  {f.name}: {f.type} = {_default(f)}")
    elif name in ids:
        e = ids[name]
        cls = use(e.entry_point)
        print(f"{e.id}: {e.summary}\n\n{inspect.getdoc(cls)}\n\nSettings of this id: {e.kwargs or 'the defaults'}")
        for w in e.wrappers:
            print(f"Wrapper: {w.name}({w.kwargs})")
        print("All settings:")
        for p in inspect.signature(cls).parameters.values():
            if p.name != "unknown":  # there only to be refused
                print(f"  {p}")
        if e.requires and not installed(e.requires):
            print(f"\nNot installed: pip install 'milepost[{e.requires}]'")
        if e.setup and not all(map(there, SETS[e.setup][0])):
            print(f"\nNot installed: milepost setup {e.setup}")
    elif name in several:
        g = several[name]
        cls = use(g.rules)
        print(f"{g.id}: {g.summary}\n\n{inspect.getdoc(cls)}\n\nSettings of this id: {g.kwargs or 'the defaults'}")
        print(f"Made by: pettingzoo.make('parallel', '{g.id}') or 'aec', after import milepost.envs.multiagent")
        print("All settings:")
        for setting in (*settings(cls), "face", "dim, action_dim, rows (of the encoded face)"):
            print(f"  {setting}")
        for extra in g.requires.split(","):
            if not installed(extra):
                print(f"\nNot installed: pip install 'milepost[{extra}]'")
    elif name in AGENTS:
        print(f"{name}: {AGENTS[name][1]}")
        if name == "text":
            from ..baselines.text_settings import Settings

            print("\nSettings:")
            for f in dataclasses.fields(Settings):
                print(f"  {f.name}: {f.type} = {_default(f)}")
    elif name in TRAINERS:
        print(
            f"{name}: {TRAINERS[name]}\n\nSettings: see GamePPO in milepost.baselines.games.ppo, and docs/multiagent.md"
        )
    elif name in SCORERS:
        cls = use(SCORERS[name][0])
        print(f"{name}: {SCORERS[name][1]}\n\n{inspect.getdoc(cls)}\n\nSettings:")
        for f in dataclasses.fields(cls):
            print(f"  {f.name}: {f.type} = {_default(f)}")
        print("\nSettings of the service around it (cache, mode, budget ...):")
        for f in dataclasses.fields(Service):
            if f.init and f.name != "scorer":
                print(f"  {f.name}: {f.type} = {_default(f)}")
    elif name in gym.registry:  # Gymnasium's own, or somebody else's
        env = make_env(name, {})
        print(f"{name}: not one of ours\n\n{inspect.getdoc(type(env.unwrapped)) or ''}\n")
        print(f"Observations: {env.observation_space}\nActions: {env.action_space}\nMade by: {env.spec}")
        env.close()
    else:
        known = [*ids, *several, *shapers, *AGENTS, *TRAINERS, *SCORERS, *gym.registry]
        raise unknown("environment, game, shaper, agent or scorer", name, known)


def _default(f: dataclasses.Field[Any]) -> str:
    if f.default is not dataclasses.MISSING:
        return repr(f.default)
    return "required" if f.default_factory is dataclasses.MISSING else repr(f.default_factory())


def setup(names: list[str]) -> int:
    """What the extras and sets bring and whether they are there; a set that is named is installed, with pip.

    Raises:
        UserError: no extra or set is called that, or pip could not install it.
    """
    for name in names:
        if name not in EXTRAS and name not in SETS:
            raise unknown("extra", name, [*EXTRAS, *SETS])
    missing: list[str] = []
    to_set_up: list[str] = []
    for name in names or [*EXTRAS, *SETS]:
        if name in SETS and names:
            _install(name)
        packages, what = EXTRAS[name] if name in EXTRAS else (SETS[name][0], SETS[name][2])
        absent = [p for p in packages if not there(p)]
        if absent:
            (missing if name in EXTRAS else to_set_up).append(name)
        print(f"{name:12s} {'missing ' + ', '.join(absent) if absent else 'installed':28s} {what}")
    if missing:
        print(f"\npip install 'milepost[{','.join(missing)}]'")
    if to_set_up:
        print(f"milepost setup {' '.join(to_set_up)}")
    return int(bool((missing or to_set_up) and names))


def _install(name: str) -> None:
    """The pinned packages of a set, without what they ask for: one names a compiler, another a server."""
    packages = SETS[name][1]
    done = subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", *packages])
    if done.returncode:
        raise UserError(f"pip could not install {' '.join(packages)}: it ended with {done.returncode}")
    importlib.invalidate_caches()
