"""Writes the pages of environments and methods from the code: python docs/generate.py [--check].

The class docstring of an environment and the module docstring of a shaper are the text; tables of ids, spaces, settings and
measured audits are added, and of every method what it does to three episodes (effects.py). ``--check`` writes nothing and
fails when a page is not what the code says.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import json
import re
import sys
from pathlib import Path

from effects import effect  # beside this file

import milepost  # noqa: F401  registers the ids
from milepost.cli.show import claims, paper
from milepost.envs.registry import entries, games
from milepost.wrappers.shaper import Shaper, catalog, use

DOCS = Path(__file__).parent
AUDIT = DOCS.parent / "tests" / "transcripts" / "audit.json"
GAMES = AUDIT.with_name("games.json")


def field_docs(cls: type) -> dict[str, str]:
    """The one-line docstring under each setting."""
    (body,) = ast.parse(inspect.getsource(cls)).body
    assert isinstance(body, ast.ClassDef)
    out = {}
    for field, text in itertools.pairwise(body.body):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            out[ast.unparse(field.target)] = re.sub(r"\s+", " ", str(text.value.value))
    return out


def default(f: dataclasses.Field) -> str:
    if f.default is not dataclasses.MISSING:
        return repr(f.default)
    return "required" if f.default_factory is dataclasses.MISSING else repr(f.default_factory())


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(c.replace("|", "\\|") for c in r) + " |" for r in rows])


def method_page(name: str, cls: type[Shaper]) -> str:
    module = inspect.getmodule(cls)
    own = inspect.getdoc(cls) or ""
    shared = module is not None and module.__name__.endswith(".combine")
    text = own if shared else f"{inspect.cleandoc(module.__doc__ or '')}\n\n{own}"
    docs = field_docs(cls)
    fields = [f for f in dataclasses.fields(cls) if f.init]
    rows = [[f"`{f.name}`", f"`{f.type}`", f"`{default(f)}`", docs.get(f.name, "")] for f in fields]
    path = module.__name__.removeprefix("milepost.").replace(".", "/") + ".py"
    parts = [f"# {cls.__name__}", f"`{name}` in `{path}`, version {cls.version}", text]
    parts += ["## What it does", effect(name, cls)]
    parts += ["## Settings", table(["setting", "type", "default", "meaning"], rows) if rows else "None."]
    return "\n\n".join(parts) + "\n"


def folder(cls: type[Shaper]) -> str:
    part = cls.__module__.split(".")[2]
    return {"combine": "combinator"}.get(part, part)


def methods() -> dict[str, str]:
    pages, rows = {}, []
    for name, cls in sorted(catalog().items(), key=lambda x: (folder(x[1]), x[0])):
        pages[f"methods/{name}.md"] = method_page(name, cls)
        doc = inspect.cleandoc((inspect.getmodule(cls).__doc__ if folder(cls) != "combinator" else cls.__doc__) or "")
        rows.append([f"[{cls.__name__}](methods/{name}.md)", folder(cls), paper(cls), claims(cls), doc.split("\n")[0]])
    toc = "```{toctree}\n:hidden:\n:glob:\n\nmethods/*\n```\n"
    pages["methods.md"] = (
        "# Methods\n\nEach published method is one file of `wrappers/`; the folder says when it runs: at every "
        "**step**, at the end of an **episode**, or over a **group** of episodes (advantages). The claims are checked, "
        "not believed (`milepost.wrappers.conformance`). What one and the same agent learns by each, and which can be hacked, "
        'is in [evidence.md](evidence.md), "All methods in one table".\n\n'
        + table(["method", "runs at", "paper", "invariance", "in one line"], rows)
        + "\n\n"
        + toc
    )
    return pages


def numbers(env_id: str) -> list[str]:
    audit = json.loads(AUDIT.read_text()) if AUDIT.exists() else {}
    row = audit.get(env_id, {})
    return [str(row.get(k, "-")) for k in ("oracle", "random", "null")]


def environment_pages() -> dict[str, str]:
    """One page a class; the ids that share it stand in its table."""
    classes: dict[str, list] = {}
    for e in entries():
        classes.setdefault(e.entry_point, []).append(e)
    pages, rows = {}, []
    for entry_point, group in classes.items():
        cls = use(entry_point)
        page = f"environments/{cls.__name__}.md"
        ids = []
        for e in group:
            layers = ", ".join(w.name for w in e.wrappers) or "-"
            ids.append([f"`{e.id}`", json.dumps(e.kwargs) if e.kwargs else "-", layers, *numbers(e.id)])
            rows.append([f"[`{e.id}`]({page})", e.summary])
        pages[page] = (
            f"# {cls.__name__}\n\n{inspect.getdoc(cls)}\n\n## Registered ids\n\n"
            "Success of the oracle, of uniformly random admissible actions "
            "(200 episodes) and of doing nothing, as the tests record it.\n\n"
            + table(["id", "settings", "wrappers", "oracle", "random", "null"], ids)
            + "\n"
        )
        curve = DOCS / "results" / f"{cls.__name__}.png"
        if curve.exists():
            pages[page] += f"\n## Baseline curve\n\n![held-out success](../results/{curve.name})\n"
    toc = "```{toctree}\n:hidden:\n:glob:\n\nenvironments/*\n```\n"
    pages["environments.md"] = "# Environments\n\n" + table(["id", "what it is"], rows) + "\n\n" + toc
    return pages


def game_pages() -> dict[str, str]:
    """One page a game, for both of its faces."""
    audit = json.loads(GAMES.read_text()) if GAMES.exists() else {}
    groups: dict[str, list] = {}
    for g in games():
        groups.setdefault(g.rules, []).append(g)
    pages, rows = {}, []
    for rules, group in groups.items():
        cls = use(rules)
        page = f"games/{cls.__name__}.md"
        ids = []
        for g in group:
            row = audit.get(g.id, {})
            policies = [
                f"{row.get(p, '-')} ({row.get(f'{p}_return', '-')})" for p in ("oracle", "random", "null", "collusion")
            ]
            ids.append([f"`{g.id}`", json.dumps(g.kwargs) if g.kwargs else "-", *policies])
            rows.append([f"[`{g.id}`]({page})", g.summary])
        pages[page] = (
            f"# {cls.__name__}\n\n{inspect.getdoc(cls)}\n\n## Registered ids\n\n"
            "In PettingZoo's registries `aec` and `parallel`, after `import milepost.envs.multiagent`; in its module style "
            f"`from milepost.envs.multiagent import {group[0].module.rpartition('.')[2]}`. Success of the side that the oracle "
            "plays for and, in brackets, the return summed over agents: of the oracle (50 games), of uniformly random "
            "admissible actions (200), of waiting (5) and of agents who play together to be paid (50).\n\n"
            + table(["id", "settings", "oracle", "random", "null", "collusion"], ids)
            + "\n"
        )
    toc = "```{toctree}\n:hidden:\n:glob:\n\ngames/*\n```\n"
    pages["games.md"] = (
        "# Games for several agents\n\nReal PettingZoo environments, each as AEC and as Parallel, with texts or with numbers; "
        "[multiagent](multiagent.md) says how they are used.\n\n" + table(["id", "what it is"], rows) + "\n\n" + toc
    )
    return pages


def main() -> int:
    pages = methods() | environment_pages() | game_pages()
    stale = []
    for name, text in pages.items():
        path = DOCS / name
        if not path.exists() or path.read_text() != text:
            stale.append(name)
            if "--check" not in sys.argv:
                path.parent.mkdir(exist_ok=True)
                path.write_text(text)
    for path in [*DOCS.glob("methods/*.md"), *DOCS.glob("environments/*.md"), *DOCS.glob("games/*.md")]:
        if str(path.relative_to(DOCS)) not in pages:
            stale.append(str(path.relative_to(DOCS)))
            if "--check" not in sys.argv:
                path.unlink()
    print(
        f"{len(pages)} pages, {len(stale)} changed: {', '.join(stale)}" if stale else f"{len(pages)} pages, all current"
    )
    return int(bool(stale) and "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
