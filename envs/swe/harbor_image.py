"""Dockerfiles of tasks, as far as they can be followed without Docker: files, variables, and commands without a network."""

from __future__ import annotations

import json
import posixpath
import re
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from ...sandboxes import Sandbox
from ..errors import InfraError

WORKDIR = "/app"  # of a Dockerfile that names none
PATH = "/opt/python/bin:/opt/venv/bin:/usr/local/bin:/usr/bin:/bin"  # what $PATH stands for in a Dockerfile
# what a container's start and its face are about; there is neither
_IGNORED = {
    "EXPOSE", "CMD", "ENTRYPOINT", "LABEL", "MAINTAINER", "USER", "VOLUME", "HEALTHCHECK", "STOPSIGNAL",
}  # fmt: skip


class Step(NamedTuple):
    """One instruction of a Dockerfile that makes files."""

    kind: str
    """``COPY``, ``RUN`` or ``WORKDIR``."""
    text: str
    """As it stands, for errors."""
    command: str | tuple[str, ...]
    """What ``RUN`` runs; of the others the directory."""
    sources: tuple[Path, ...]
    """Of ``COPY``, inside the build context."""
    cwd: str
    env: Mapping[str, str]
    mode: int | None = None


class Recipe(NamedTuple):
    """What a Dockerfile says."""

    workdir: str
    env: Mapping[str, str]
    steps: tuple[Step, ...] = ()
    context: Path | None = None
    """Directory that COPY copies from."""
    hidden: tuple[str, ...] = ()
    """Patterns of names that COPY of the whole context leaves out."""


class Reader:
    """Reads one Dockerfile; only what can be had without Docker is allowed.

    Args:
        name: of the task, for errors.
        context: the build context.
        hidden: names in it that no COPY of the whole context may take.
    """

    def __init__(self, name: str, context: Path, hidden: tuple[str, ...]) -> None:
        self._name, self._context, self._hidden = name, context, hidden
        self._arguments: dict[str, str] = {}

    def _no(self, text: str, why: str) -> ValueError:
        return ValueError(f"task {self._name!r}: {text[:120]!r}: {why} without a Docker image; allowed: images={{...}}")

    def read(self, text: str, build: bool) -> Recipe:
        """The recipe of a Dockerfile; without ``build`` its working directory and variables alone.

        Raises:
            ValueError: an instruction cannot be followed, or leads out of the build context; names it.
        """
        env: dict[str, str] = {}
        steps: list[Step] = []
        cwd = ""
        for line in _instructions(text):
            word, _, rest = line.partition(" ")
            word, rest = word.upper(), rest.strip()
            known = {"PATH": PATH, **self._arguments, **env}
            if word == "FROM":  # of several stages the last one counts
                env, steps, cwd = {}, [], ""
            elif word == "WORKDIR":
                cwd = posixpath.normpath(posixpath.join(cwd or "/", _expand(rest.strip("\"'"), known)))
                steps.append(Step("WORKDIR", line, cwd, (), cwd, {}))
            elif word == "ENV":
                env.update(_pairs(rest, known))
            elif word == "ARG":
                self._arguments.update({k: v for k, v in _pairs(rest, known).items() if "=" in rest})
            elif build and word == "RUN":
                steps.append(Step("RUN", line, self._command(line, rest), (), cwd or "/", {**self._arguments, **env}))
            elif build and word in ("COPY", "ADD"):
                steps.append(self._copy(line, rest, cwd or "/", known))
            elif build and word not in _IGNORED:
                raise self._no(line, f"{word} cannot be had")
        workdir = cwd if cwd not in ("", "/") else WORKDIR
        for step in steps:
            if step.kind == "COPY" and posixpath.commonpath([workdir, str(step.command)]) != workdir:
                raise self._no(step.text, f"only files below WORKDIR ({workdir}) can be had")
        return Recipe(workdir, env, tuple(steps), self._context, self._hidden)

    def _command(self, line: str, rest: str) -> str | tuple[str, ...]:
        if rest.startswith("--"):
            raise self._no(line, "options of RUN cannot be had")
        if rest.startswith("["):
            return tuple(self._list(line, rest))
        if re.match(r"<<-?\s*[\"']?\w", rest):
            return rest.split("\n", 1)[1].rsplit("\n", 1)[0] if "\n" in rest else ""
        return rest

    def _list(self, line: str, rest: str) -> list[str]:
        try:
            found = json.loads(rest)
        except ValueError:
            found = None
        if not isinstance(found, list) or not found or not all(isinstance(f, str) for f in found):
            raise ValueError(f"task {self._name!r}: {line[:120]!r} cannot be read; allowed: a JSON list of texts")
        return found

    def _copy(self, line: str, rest: str, cwd: str, known: Mapping[str, str]) -> Step:
        mode = None
        while rest.startswith("--"):
            flag, _, rest = rest.partition(" ")
            rest = rest.lstrip()
            if flag.startswith("--chmod=") and re.fullmatch(r"[0-7]{3,4}", flag[8:]):
                mode = int(flag[8:], 8) & 0o777
            elif not flag.startswith("--chown=") and flag != "--link":
                raise self._no(line, f"{flag.partition('=')[0]} cannot be had")
        words = self._list(line, rest) if rest.startswith("[") else _words(rest)
        *patterns, target = (_expand(w, known) for w in words) if len(words) > 1 else ("",)
        if not patterns or rest.startswith("<<"):
            raise ValueError(f"task {self._name!r}: {line[:120]!r} cannot be read; allowed: COPY source target")
        sources: list[Path] = []
        for pattern in patterns:
            clean = posixpath.normpath(pattern.lstrip("/") or ".")
            if "://" in pattern:
                raise self._no(line, "nothing can be fetched")
            if ".." in pattern.split("/"):
                raise ValueError(f"task {self._name!r}: {line[:120]!r} leads out of the task directory")
            found = [self._context] if clean == "." else sorted(self._context.glob(clean))
            if not found:
                raise ValueError(f"task {self._name!r}: {line[:120]!r}: there is no {pattern!r} in the build context")
            sources += found
        if line.upper().startswith("ADD") and any(re.search(r"\.(tar|tgz|tar\.\w+)$", s.name) for s in sources):
            raise self._no(line, "archives are not unpacked")
        place = posixpath.normpath(posixpath.join(cwd, target))
        into = target.endswith("/") or len(sources) > 1
        return Step("COPY", line, f"{place}/" if into else place, tuple(sources), cwd, {}, mode)


def _instructions(text: str) -> Iterator[str]:
    """Instructions, their continued lines joined and the bodies of here-documents of RUN behind them."""
    lines = iter(text.splitlines())
    whole = ""
    for line in lines:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        whole += line.rstrip()
        if whole.endswith("\\"):
            whole = whole[:-1]
            continue
        marks = re.findall(r"<<-?\s*([\"']?)(\w+)\1", whole) if whole.lstrip()[:4].upper() == "RUN " else []
        for _, end in marks:
            for body in lines:
                whole += "\n" + body
                if body.strip() == end:
                    break
        yield whole.strip()
        whole = ""
    if whole.strip():
        yield whole.strip()


def _expand(text: str, known: Mapping[str, str]) -> str:
    def value(m: re.Match[str]) -> str:
        return known.get(m[1] or m[3], "") or m[2] or ""

    return re.sub(r"\$(?:\{(\w+)(?::-([^}]*))?\}|(\w+))", value, text)


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:  # a quotation mark alone
        return text.split()


def _pairs(rest: str, known: Mapping[str, str]) -> dict[str, str]:
    """Of ENV and ARG: ``A=1 B="two words"``, or the older ``A 1``."""
    words = _words(rest)
    if "=" not in words[0] if words else True:
        key, _, value = rest.partition(" ")
        return {key: _expand(value.strip(), known)} if key else {}
    return {k: _expand(v, known) for k, _, v in (w.partition("=") for w in words)}


def build(box: Sandbox, name: str, recipe: Recipe) -> None:
    """Does what a Dockerfile says, in a sandbox without a network.

    Raises:
        InfraError: a RUN fails, which in the task's image it does not; names it.
    """
    for step in recipe.steps:
        if step.kind == "WORKDIR":
            box.run(["mkdir", "-p", step.cwd])
        elif step.kind == "RUN":
            command = step.command if isinstance(step.command, str) else list(step.command)
            done = box.run(command, cwd=step.cwd, env={**step.env})
            if not done.ok:
                why = (done.stderr or done.stdout).strip().splitlines()[-1:] or [f"exit code {done.exit_code}"]
                raise InfraError(
                    f"task {name!r}: {step.text[:200]!r} cannot be had in this sandbox ({why[0][:200]}): build the "
                    f"task's image and name it by images={{{name!r}: ...}} with sandbox='docker'"
                )
        else:
            _copy(box, step, recipe)


def _copy(box: Sandbox, step: Step, recipe: Recipe) -> None:
    target = str(step.command)
    for source in step.sources:
        place = target.rstrip("/")
        with tempfile.TemporaryDirectory() as half:
            if source.is_dir():
                staged = shutil.copytree(source, f"{half}/x", symlinks=True)
                if source == recipe.context:
                    for hidden in recipe.hidden:
                        for each in Path(staged).glob(hidden):
                            shutil.rmtree(each) if each.is_dir() else each.unlink()
            else:
                if target.endswith("/") or box.run(["test", "-d", place]).ok:
                    place = f"{place}/{source.name}"
                staged = shutil.copy(source, f"{half}/x")
            box.upload(staged, place)
        if step.mode is not None:
            box.run(["chmod", "-R", f"{step.mode:o}", place])
