"""Judges, embedders and reward models: one protocol, one cache, names that keep specs JSON."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from ..shaper import nearest, use
from .cache import Cache
from .query import Proposal, Query, Question, Rating, Reply, Scorer, Text, strip_volatile
from .service import MissingAnswer, Service

_HERE = "milepost.wrappers.scorers"
SCORERS = {  # name: class, and a line about it
    "predicate": (f"{_HERE}.predicate:Predicates", "patterns or functions over the words of a transition; no model"),
    "minilm": (f"{_HERE}.minilm:EmbeddingJudge", "similarity of what is new to the sub-goal (MiniLM, 23 M parameters)"),
    "minilm_embedder": (f"{_HERE}.minilm:MiniLM", "sentence vectors (MiniLM, 384 numbers)"),
    "hashed": (f"{_HERE}.hashed:Hashed", "vectors of hashed words; no model"),
    "smollm2": (f"{_HERE}.smollm2:SmolLM2", "yes or no by log-probability, few-shot and calibrated (SmolLM2-135M)"),
    "split": (f"{_HERE}.split:Split", "one scorer for questions, another for proposals or ratings"),
    "openai": (f"{_HERE}.endpoint:Endpoint", "openai:MODEL@URL, any compatible endpoint; JSON by schema"),
}
_SERVICE = {f.name for f in fields(Service) if f.init} - {"scorer"}
_ENDPOINT = re.compile(r"openai:(?P<model>.+?)@(?P<url>https?://.+)")

__all__ = [
    "SCORERS",
    "Cache",
    "MissingAnswer",
    "Proposal",
    "Query",
    "Question",
    "Rating",
    "Reply",
    "Scorer",
    "Service",
    "Text",
    "make",
    "serve",
    "strip_volatile",
]


def make(spec: Any) -> Scorer:
    """A scorer from its name (``"minilm"``, ``"openai:MODEL@URL"``, ``"module:Class"``), from
    ``{"scorer": name, **settings}``, or a live one as it is.

    Raises:
        ValueError: an unknown name or setting; names the nearest known one.
        ImportError: a module that specs may not import.
    """
    if isinstance(spec, str):
        spec = {"scorer": spec}
    if not isinstance(spec, Mapping):
        if not all(hasattr(spec, a) for a in ("kinds", "identity", "reply", "read")):
            raise ValueError(
                f"a scorer is a name, settings or an object with kinds, identity, reply and read, not {spec!r}"
            )
        return spec  # type: ignore[no-any-return]
    settings = {k: v for k, v in spec.items() if k != "scorer"}
    name = spec.get("scorer")
    if not isinstance(name, str):
        return make(name) if name is not None and not settings else _no_scorer(spec)
    if found := _ENDPOINT.fullmatch(name):
        name, settings = "openai", {"model": found["model"], "url": found["url"]} | settings
    if ":" not in name and name not in SCORERS:
        raise ValueError(f"no scorer is called {name!r}{nearest(name, SCORERS)} Known: {', '.join(SCORERS)}")
    cls = use(SCORERS[name][0] if name in SCORERS else name)
    if not callable(cls):
        raise ValueError(f"{name!r} is no scorer")
    known = list(inspect.signature(cls).parameters)
    for k in settings:
        if k not in known:
            close = nearest(k, [*known, *_SERVICE])
            raise ValueError(f"the scorer {name} has no setting {k!r}{close} It has: {', '.join(known) or 'none'}")
    try:
        inspect.signature(cls).bind(**settings)
    except TypeError as e:
        raise ValueError(f"the scorer {name}: {e}") from None
    return make(cls(**settings))


def _no_scorer(spec: Any) -> Scorer:
    raise ValueError(f"a scorer is {{'scorer': name, **settings}}, not {dict(spec)!r}")


def serve(spec: Any, kind: str = "") -> Service:
    """A scorer behind its cache, from one flat spec: ``{"scorer": name, "mode": "frozen", "cache": "answers.sqlite",
    **settings of the scorer}``, a name, or a live ``Service`` as it is. A scorer's setting that is also one of the
    service's goes into an inner spec: ``{"scorer": {"scorer": name, "batch": 8}, "batch": 32}``.

    Args:
        spec: as above.
        kind: what it will be asked (``"question"``, ``"rating"``, ``"text"`` ...); empty: anything.

    Raises:
        ValueError, ImportError, ModuleNotFoundError: as ``make`` and ``Service``; ValueError also where it answers nothing of
            that kind.
    """
    if isinstance(spec, Mapping):
        of_service = {k: v for k, v in spec.items() if k in _SERVICE}
        service = Service({k: v for k, v in spec.items() if k not in _SERVICE}, **of_service)
    else:
        service = spec if isinstance(spec, Service) else Service(spec)
    if kind and kind not in service.model.kinds:
        if service is not spec:
            service.close()
        name = type(service.model).__name__
        raise ValueError(f"the scorer {name} answers {', '.join(service.model.kinds)}, not a {kind}")
    return service
