"""Sandboxes in which code from a model runs: one protocol, providers ``local``, ``docker`` and ``fake``.

from milepost.sandboxes import make
with make("local").create(tree) as box:
    print(box.run("python -m pytest -q", timeout=30).stdout)
"""

if __name__ != "milepost.sandboxes":
    raise ImportError("import this folder as milepost.sandboxes")

from importlib import import_module
from typing import Any

from .base import Limits, Provider, Result, Sandbox, SandboxError, SandboxLost, Snapshot, Unavailable

PROVIDERS = {"local": "local:Local", "docker": "docker:Docker", "fake": "fake:Fake"}

__all__ = [
    "PROVIDERS",
    "Limits",
    "Provider",
    "Result",
    "Sandbox",
    "SandboxError",
    "SandboxLost",
    "Snapshot",
    "Unavailable",
    "make",
]


def make(name: str, **settings: Any) -> Provider:
    """The provider of that name with its settings.

    Raises:
        ValueError: no such provider.
        TypeError: no such setting.
        Unavailable: it cannot work here; the sentence says what to do.
    """
    if name not in PROVIDERS:
        raise ValueError(f"sandbox provider is {name!r}; allowed: {', '.join(map(repr, PROVIDERS))}")
    module, cls = PROVIDERS[name].split(":")
    provider: Provider = getattr(import_module(f".{module}", __name__), cls)(**settings)
    return provider
