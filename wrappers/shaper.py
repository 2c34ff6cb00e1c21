"""What a shaper is: a dataclass of settings and exactly one of step, steps, episode, group."""

from __future__ import annotations

import copy
import dataclasses
import difflib
import functools
import importlib
import importlib.metadata
import math
import re
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np

from .types import Floats, Group, Level, Trajectory, Transition


class MissingFact(KeyError):
    """A layer reads a key of ``info`` that the environment does not publish."""

    def __init__(self, layer: str, key: str) -> None:
        super().__init__(key)
        self.layer, self.key = layer, key

    def __str__(self) -> str:
        return (
            f"{self.layer} reads info[{self.key!r}], which this environment does not publish: "
            f'add it with shape(env, [...], facts={{"{self.key}": "module:function"}}), a function of the Transition'
        )


class Shaper:
    """Maps rewards to rewards (or to advantages).

    Subclasses are dataclasses. Fields are settings: JSON values, ``"module:name"`` strings, shapers or live objects.
    Every other public attribute is shared memory (counts, running statistics, networks), made of plain values, numpy
    arrays or torch tensors: it is what ``state_dict`` saves, and it changes only in ``learn``, or in ``step`` while
    ``self.training``. What belongs to one episode is *not* an attribute: it is the state that ``init`` makes and
    ``step`` hands on, so one shaper serves any number of environments or agents at once.

    Override exactly one of ``step`` (or its batched form ``steps``), ``episode`` and ``group``; the wider ones default
    to the narrower one applied in time order, and every host calls the widest it can.
    """

    output: ClassVar[Literal["reward", "advantage"]] = (
        "reward"  # advantage: written to Trajectory.advantages, never paid
    )
    pool: ClassVar[Literal["task", "joint", "batch"]] = "task"  # what group() gets; joint: the agents of one episode
    stateless: ClassVar[bool] = False  # steps() ignores states: whole episodes go through in one batch
    unbounded: ClassVar[Sequence[str]] = ()  # settings that may be infinite; all others are finite
    version: ClassVar[int] = 1  # raised when the same settings give other rewards
    late: bool = False  # reads facts that only a trainer adds to meta: runs in the tail
    columnar: bool = False  # init and step are array operations: one call serves all lanes
    needs: Sequence[str] = ()  # info keys; a missing one raises MissingFact
    return_preserving: bool = False  # claims: conformance.claims checks them
    policy_invariant: bool = False
    additive: bool = True  # what it adds does not depend on the reward given: a potential in front keeps its effect
    training: bool = True  # False: shared memory is read-only

    def __post_init__(self) -> None:
        check_settings(self)

    def setup(self, rng: np.random.Generator) -> None:
        """Makes shared memory. Called once by the stack, never by ``reset(seed=...)``; ``rng`` is the layer's own."""
        kids = self.children().values()
        for child, stream in zip(kids, rng.spawn(len(kids))):
            child.setup(stream)

    def init(self, obs: Any, info: dict[str, Any]) -> Any:
        """The state of a new episode."""
        return None

    def step(self, state: Any, t: Transition) -> tuple[Any, Any]:
        """One step: ``(reward', state')``."""
        raise NotImplementedError(f"{type(self).__name__} overrides none of step, steps, episode and group")

    def steps(self, states: list[Any], ts: Sequence[Transition]) -> list[Any]:
        """Simultaneous steps of several streams, one reward each; replaces ``states`` in place."""
        out = []
        for i, t in enumerate(ts):
            r, states[i] = self.step(states[i], t)
            out.append(r)
        return out

    def episode(self, traj: Trajectory) -> Floats:
        """``(T,)`` new rewards of one finished episode."""
        return self.group([traj])[0]

    def group(self, group: Group) -> list[Floats]:
        """``(T_i,)`` new rewards (or advantages) of each episode of a group."""
        if type(self).episode is not Shaper.episode:
            return [self.episode(t) for t in group]
        rows = [list(t) for t in group]
        out = [np.zeros(len(t)) for t in group]
        if self.stateless:
            flat = self.steps([None] * sum(map(len, rows)), [t for r in rows for t in r])
            return list(np.split(np.asarray(flat, np.float64), np.cumsum([len(r) for r in rows])[:-1]))
        states = [self.init(t.obs[0], t.infos[0]) for t in group]
        for k in range(max(map(len, rows), default=0)):  # the episodes of a group run side by side
            who = [i for i, r in enumerate(rows) if k < len(r)]
            part = [states[i] for i in who]
            for i, r in zip(who, self.steps(part, [rows[i][k] for i in who])):
                out[i][k] = r
            for i, x in zip(who, part):
                states[i] = x
        return out

    def learn(self, trajs: Sequence[Trajectory]) -> dict[str, float]:
        """Fits shared memory to episodes as they reached this layer; returns metrics."""
        return {}

    def stats(self) -> dict[str, float]:
        """Counts of what went by (failures of a judge ...), empty where nothing is counted.

        Children's are ``child/name``, those of a service that a setting names ``setting/name``.
        """
        own = {k: float(v) for k, v in getattr(self, "_stats", {}).items()}
        own |= {f"{n}/{k}": v for n, s in self._served().items() for k, v in s.report().items()}
        return own | {f"{n}/{k}": v for n, c in self.children().items() for k, v in c.stats().items()}

    def close(self) -> None:
        """Lets go of what is open outside the process's own memory (a judge's worker and file); use opens it again."""
        for name, service in self._served().items():
            if service is not getattr(self, name):  # else it is somebody else's
                service.close()
        for c in self.children().values():
            c.close()

    def _served(self) -> dict[str, Any]:
        """Services of scorers that ``setup`` made, by the setting that names them: ``self._services``."""
        return getattr(self, "_services", {})

    # -- derived -------------------------------------------------------------------------------
    @property
    def level(self) -> Level:
        """How much the shaper must see; override it where a setting decides."""
        cls = type(self)
        if cls.group is not Shaper.group:
            return Level.GROUP
        return Level.EPISODE if cls.episode is not Shaper.episode else Level.STEP

    @property
    def learns(self) -> bool:
        """Does ``learn`` do anything, here or in a child?"""
        return type(self).learn is not Shaper.learn or any(c.learns for c in self.children().values())

    def children(self) -> dict[str, Shaper]:
        """Shapers held in fields (combinators)."""
        out: dict[str, Shaper] = {}
        for f in dataclasses.fields(self):  # type: ignore[arg-type]
            v = getattr(self, f.name)
            items: Iterable[tuple[Any, Any]] = enumerate(v) if isinstance(v, (list, tuple)) else [("", v)]
            out |= {f"{f.name}{i}": x for i, x in items if isinstance(x, Shaper)}
        return out

    def tree(self) -> Iterator[Shaper]:
        """The shaper itself and all below it."""
        yield self
        for c in self.children().values():
            yield from c.tree()

    def train(self, mode: bool = True) -> None:
        """``False`` makes shared memory read-only (evaluation, rerun)."""
        self.training = mode
        for c in self.children().values():
            c.train(mode)

    def spec(self) -> dict[str, Any]:
        """JSON settings from which ``load`` makes an equal shaper."""
        cls = type(self)
        fields = {f.name: _plain(getattr(self, f.name)) for f in dataclasses.fields(self)}  # type: ignore[arg-type]
        return {"shaper": f"{cls.__module__}:{cls.__qualname__}"} | fields

    def state_dict(self) -> dict[str, Any]:
        """A copy of the shared memory, children under ``/name``."""
        names = {f.name for f in dataclasses.fields(self)} | {"training"}  # type: ignore[arg-type]
        own = {k: copy.deepcopy(v) for k, v in vars(self).items() if k not in names and k[0] != "_"}
        return own | {f"/{k}": c.state_dict() for k, c in self.children().items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes shared memory back; call it after ``setup``."""
        vars(self).update(copy.deepcopy({k: v for k, v in state.items() if k[0] != "/"}))
        for k, c in self.children().items():
            c.load_state_dict(state[f"/{k}"])

    def __call__(self, env: Any) -> Any:
        """``Clip()(env)`` reads like a Gymnasium wrapper."""
        return importlib.import_module(f"{__package__}.hosts").shape(env, [self])


def single(m: Shaper) -> Callable[[Any, Transition], tuple[Any, Any]]:
    """``step`` of one stream, also for a shaper that only has the batched form."""
    if type(m).step is not Shaper.step or type(m).steps is Shaper.steps:
        return m.step

    def call(state: Any, t: Transition) -> tuple[Any, Any]:
        box = [state]
        return m.steps(box, [t])[0], box[0]

    return call


def _plain(v: Any) -> Any:
    if isinstance(v, Shaper):
        return v.spec()
    if isinstance(v, (list, tuple)):
        return [_plain(x) for x in v]
    if isinstance(v, dict):
        return {k: _plain(x) for k, x in v.items()}
    if v is None or isinstance(v, (bool, int, float, str)):
        return v
    return f"live:{getattr(v, '__qualname__', type(v).__name__)}"


def snake(name: str) -> str:
    """``GatedRewardAccumulation`` to ``gated_reward_accumulation``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of an error sentence: ``"; did you mean 'x'?"`` when something known is close, else ``"."``."""
    close = difflib.get_close_matches(name, list(known), 1)
    return f"; did you mean {close[0]!r}?" if close else "."


# -- settings ----------------------------------------------------------------------------------
@functools.cache
def _hints(cls: Any) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _fits(value: Any, hint: Any) -> bool:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if origin is Literal:
        return value in args
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, a) for a in args)
    if hint is float:
        return (
            isinstance(value, (int, float, np.floating, np.integer)) and not isinstance(value, bool) and value == value
        )
    if hint is int:
        return isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if origin is tuple and args[-1:] == (Ellipsis,):
        return isinstance(value, tuple) and all(_fits(v, args[0]) for v in value)
    if origin in (dict, Mapping):
        return isinstance(value, origin) and all(_fits(k, args[0]) and _fits(v, args[1]) for k, v in value.items())
    return not isinstance(hint, type) or isinstance(value, hint)


def _infinite(value: Any, hint: Any) -> bool:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return False  # another layer's spec, or what the class itself checks
    if origin in (typing.Union, types.UnionType):
        return any(_infinite(value, a) for a in args)
    if origin is tuple:
        return isinstance(value, tuple) and any(_infinite(v, args[0]) for v in value)
    if origin in (dict, Mapping):
        return isinstance(value, Mapping) and any(_infinite(v, args[1]) for v in value.values())
    return isinstance(value, (float, np.floating)) and math.isinf(value)


def check_settings(thing: Any, name: str = "") -> None:
    """Refuses settings of the wrong type, and infinite ones where they mean nothing, by name.

    A list (from JSON) becomes a tuple where the field says tuple.

    Args:
        thing: a shaper, or another dataclass of settings.
        name: what it is called; empty: the name of its class.

    Raises:
        ValueError: names the setting, what was given and what is allowed.
    """
    cls: Any = type(thing)
    name, hints = name or snake(cls.__name__), _hints(cls)
    for f in dataclasses.fields(thing):
        value, hint = getattr(thing, f.name), hints[f.name]
        if isinstance(value, list) and (
            typing.get_origin(hint) is tuple or any(typing.get_origin(a) is tuple for a in typing.get_args(hint))
        ):
            value = tuple(value)
            setattr(thing, f.name, value)
        if not _fits(value, hint):
            allowed = getattr(hint, "__name__", None) if isinstance(hint, type) else None
            if typing.get_origin(hint) is Literal:
                allowed = "one of " + ", ".join(map(repr, typing.get_args(hint)))
            raise ValueError(
                f"{name}: setting {f.name!r} is {value!r}, allowed is "
                f"{allowed or str(hint).replace('typing.', '').replace('collections.abc.', '')}"
            )
        if f.name not in getattr(cls, "unbounded", ()) and _infinite(value, hint):
            raise ValueError(f"{name}: setting {f.name!r} is {value!r}, allowed is what is finite")


# -- names to objects --------------------------------------------------------------------------
_allowed = {"milepost"}


def allow_import(*modules: str) -> None:
    """Lets ``"module:name"`` strings of specs import from these top-level modules.

    Specs, TOML files and data sets are data: without this, only milepost itself and installed plug-ins (entry-point
    group ``milepost.plugins``) can be named in them.
    """
    _allowed.update(m.partition(".")[0] for m in modules)


@functools.cache
def _plugins() -> frozenset[str]:
    found = importlib.metadata.entry_points(group="milepost.plugins")
    return frozenset(e.value.partition(":")[0].partition(".")[0] for e in found)


def importable(module: str) -> bool:
    """May a spec name something in this module?"""
    root = module.partition(".")[0]
    return root in _allowed or root in _plugins()


def use(value: Any) -> Any:
    """The object that ``"module:name"`` names; a live object is used as it is (its spec is not loadable).

    Raises:
        ValueError: the string names no object, or was the spec of a live object.
        ImportError: the module is neither milepost's, nor a plug-in's, nor allowed by ``allow_import``.
    """
    if not isinstance(value, str):
        return value
    module, sep, name = value.partition(":")
    if module == "live":
        raise ValueError(f"{name} was a live object: pass the object itself again instead of its spec")
    if not sep or not name:
        raise ValueError(f"{value!r} names no object: write 'module:name'")
    root = module.partition(".")[0]
    if not importable(module):
        raise ImportError(
            f"{value!r} would import {root!r}, which is not allowed from a spec: pass the object itself, or call "
            f"milepost.allow_import({root!r}) first (command line: --allow-import {root})"
        )
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        if not hasattr(found, part):
            raise ValueError(f"{module} has no {name!r}{nearest(part, dir(found))}")
        found = getattr(found, part)
    return found


def catalog() -> dict[str, type[Shaper]]:
    """The published shapers of this package by ``snake_case`` name."""
    package = importlib.import_module(__package__ or "")
    found = [getattr(package, n) for n in package.__all__]
    return {snake(c.__name__): c for c in found if isinstance(c, type) and issubclass(c, Shaper) and c is not Shaper}


def load(spec: Shaper | Mapping[str, Any]) -> Shaper:
    """A fresh shaper from ``{"shaper": "module:Class" or a catalog name, **settings}`` or from another's settings.

    Raises:
        ValueError: an unknown shaper or setting; names the nearest known one.
    """
    if isinstance(spec, Shaper):
        return dataclasses.replace(spec)  # type: ignore[type-var]
    if not isinstance(spec, Mapping) or not isinstance(spec.get("shaper"), str):
        raise ValueError(f"a layer is a shaper or {{'shaper': name, **settings}}, not {spec!r}")
    name = spec["shaper"]
    if ":" in name:
        cls = use(name)
    else:
        known = catalog()
        if name not in known:
            raise ValueError(f"no shaper is called {name!r}{nearest(name, known)} Known: {', '.join(known)}")
        cls = known[name]
    if not (isinstance(cls, type) and issubclass(cls, Shaper)):
        raise ValueError(f"{name!r} is no shaper")
    settings = {k: v for k, v in spec.items() if k != "shaper"}
    fields = [f.name for f in dataclasses.fields(cls)]  # type: ignore[arg-type]
    for key in settings:
        if key not in fields:
            raise ValueError(
                f"{snake(cls.__name__)} has no setting {key!r}{nearest(key, fields)} "
                f"It has: {', '.join(fields) or 'none'}"
            )
    return cls(**settings)
