"""Task directories: Harbor's format, and the older one of Terminal-Bench.

Harbor: ``task.toml``, ``instruction.md``, ``environment/Dockerfile``, ``tests/test.sh``, ``solution/solve.sh``.
Terminal-Bench: ``task.yaml``, ``Dockerfile``, ``tests/test_outputs.py``, ``run-tests.sh``, ``solution.sh`` or
``solution.yaml``. They are data of others: nothing of them runs here, and what leads out of the directory is refused.
"""

from __future__ import annotations

import base64
import os
import posixpath
import re
import shlex
import stat
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from . import harbor_image

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ASIDE = "/tmp/milepost"  # what a sandbox has in place of /tests, /logs and /solution, which cannot be made there
_MOVED = re.compile(r"(?<![\w./})\]*~])/(tests|logs|solution|oracle)(?![\w-]|\.\w)")
_INSTALLS = re.compile(
    r"(?:^|[\s;&|(])(apt-get|apt|apk|yum|dnf|pip3?|uvx?|curl|wget|npm|npx|conda|cargo|git\s+clone)\s", re.M
)
_WITH = re.compile(r"(?:-w|--with)[= ]([A-Za-z][\w.-]*)")
_PIP = re.compile(r"(?:pip3?\s+install|uv\s+add)((?:\s+[^\s;&|\\]+)+)")
_GIVEN = {"pytest", "pytest-json-ctrf"}
# of an old task's directory, which is its own build context: no agent sees them
_HIDDEN = ("solution*", "tests", "run-tests.sh", "task.yaml", "Dockerfile", "docker-compose*")


def moved(text: str) -> str:
    """A script whose ``/tests``, ``/logs``, ``/solution`` are where a sandbox can have them."""
    return _MOVED.sub(lambda m: f"{ASIDE}/{'solution' if m[1] == 'oracle' else m[1]}", text)


def installs(script: str) -> bool:
    """A script fetches programs, which needs a network."""
    return bool(_INSTALLS.search(_code(script)))


def packages(script: str) -> tuple[str, ...]:
    """Distributions of Python that a script installs, but pytest."""
    text = _code(script)
    found = [*_WITH.findall(text), *(w for line in _PIP.findall(text) for w in line.split() if w[0].isalpha())]
    names = (re.split(r"[=<>~!\[@]", w, maxsplit=1)[0].lower() for w in found)
    return tuple(dict.fromkeys(n for n in names if n not in _GIVEN))


@dataclass(frozen=True)
class Folder:
    """One task directory.

    Raises:
        ValueError: (``load``, ``recipe``, ``solution``) something is missing, is not supported or leads out; names the task.
    """

    name: str
    path: Path
    instruction: str
    old: bool
    """It is in Terminal-Bench's format."""
    settings: Mapping[str, Any]
    """Of ``task.toml`` or ``task.yaml``."""
    script: str = ""
    """``tests/test.sh`` or ``run-tests.sh``."""
    tests: Mapping[str, tuple[bytes, int]] = field(default_factory=dict)
    """Path below ``tests/`` -> content and mode."""

    @property
    def timeout(self) -> float:
        """Seconds that the tests may take."""
        verifier = self.settings if self.old else self.settings.get("verifier", {})
        found = verifier.get("max_test_timeout_sec" if self.old else "timeout_sec")
        return float(found) if isinstance(found, (int, float)) and found > 0 else 600.0

    @property
    def image(self) -> str:
        """The Docker image that ``task.toml`` names; "" for none."""
        return str(self.settings.get("environment", {}).get("docker_image") or "") if not self.old else ""

    @property
    def verifier_env(self) -> dict[str, str]:
        """Variables of the tests; those that want something of this machine are left out."""
        found = {} if self.old else self.settings.get("verifier", {}).get("env", {})
        return {str(k): str(v) for k, v in found.items() if "$" not in str(v)}

    @property
    def needs(self) -> tuple[str, ...]:
        """Distributions that the script installs for the tests, pytest first."""
        return ("pytest", *packages(self.script))

    def test_files(self) -> list[str]:
        """Paths, below ``tests/``, of what pytest runs."""
        if "test_outputs.py" in self.tests:
            return ["test_outputs.py"]
        return sorted(p for p in self.tests if re.fullmatch(r"test_.*\.py|.*_test\.py", posixpath.basename(p)))

    def solution(self) -> tuple[str, ...]:
        """Commands that solve the task, files of the solution first; () where it has none."""
        if self.old and (self.path / "solution.yaml").is_file():
            rows = _yaml(self.path / "solution.yaml", self.name)
            if not isinstance(rows, list) or not all(isinstance(r, dict) and "command" in r for r in rows):
                raise ValueError(f"task {self.name!r}: solution.yaml; allowed: a list of objects with command")
            return tuple(moved(str(r["command"])) for r in rows)
        script = self.path / ("solution.sh" if self.old else "solution/solve.sh")
        if not script.is_file():
            return ()
        out = []
        for rel, (data, _) in {} if self.old else _contents(self.path / "solution").items():
            if rel != "solve.sh":
                place = shlex.quote(f"{ASIDE}/solution/{rel}")
                text = base64.b64encode(_moved_bytes(data)).decode()
                out.append(f"mkdir -p {posixpath.dirname(place)} && base64 -d > {place} <<'END'\n{text}\nEND")
        return (*out, moved(script.read_text(encoding="utf-8")))

    def recipe(self, build: bool = True) -> harbor_image.Recipe:
        """Its Dockerfile.

        Args:
            build: with the steps that make files; without, only the working directory and the variables count.
        """
        context = self.path if self.old else self.path / "environment"
        file = context / "Dockerfile"
        if not file.is_file():
            if build and (context / "docker-compose.yaml").is_file():
                raise ValueError(f"task {self.name!r} has no Dockerfile; allowed: one, or an image (images={{...}})")
            return harbor_image.Recipe(harbor_image.WORKDIR, {})
        return harbor_image.Reader(self.name, context, _HIDDEN if self.old else ()).read(
            file.read_text(encoding="utf-8"), build
        )

    def test_contents(self) -> dict[str, tuple[bytes, int]]:
        """Path below ``tests/`` -> content and mode, as a sandbox has them."""
        return {p: (_moved_bytes(data), mode) for p, (data, mode) in self.tests.items()}


def load(path: str | Path, only: Iterable[str] | None = None) -> list[Folder]:
    """The task directories in a directory, or the one that it is, in the order of their names.

    Args:
        path: the directory.
        only: names wanted; None for all.

    Raises:
        ValueError: there is none, or one of them cannot be read; names it and what is allowed.
    """
    root = Path(path)
    if not root.is_dir():
        raise ValueError(f"path is {str(path)!r}; allowed: a task directory, or a directory of them")
    places = [root] if _is_task(root) else [p for p in sorted(root.iterdir()) if p.is_dir() and _is_task(p)]
    wanted = None if only is None else set(only)
    if wanted is not None and (unknown := sorted(wanted - {p.name for p in places})):
        raise ValueError(f"only names {unknown[0]!r}; allowed: {', '.join(p.name for p in places)[:600]}")
    chosen = [p for p in places if wanted is None or p.name in wanted]
    if not chosen:
        raise ValueError(
            f"path is {str(path)!r}; allowed: a directory with task.toml or task.yaml, or a directory of them"
        )
    return [_folder(p, p == root) for p in chosen]


def _is_task(place: Path) -> bool:
    return (place / "task.toml").exists() or (place / "task.yaml").exists()


def _folder(place: Path, given: bool) -> Folder:
    name = place.resolve().name if given else place.name
    if place.is_symlink() and not given:
        raise ValueError(f"task {name!r} is a link; allowed: a directory")
    _check(place, name)
    old = not (place / "task.toml").is_file()
    if old:
        settings = _yaml(place / "task.yaml", name)
    else:
        try:
            settings = tomllib.loads((place / "task.toml").read_text(encoding="utf-8"))
        except ValueError as e:
            raise ValueError(f"task {name!r}: task.toml: {e}") from None
    if not isinstance(settings, dict):
        raise ValueError(f"task {name!r}: task.yaml; allowed: an object with instruction")
    if "steps" in settings:
        raise ValueError(f"task {name!r} has steps; allowed: tasks of one instruction")
    if old and settings.get("parser_name", "pytest") != "pytest":
        raise ValueError(f"task {name!r}: parser_name is {settings['parser_name']!r}; allowed: 'pytest'")
    for section in () if old else ("environment", "verifier", "metadata"):
        if not isinstance(settings.get(section, {}), dict):
            raise ValueError(f"task {name!r}: {section} is {settings[section]!r:.60}; allowed: a table")
    text = settings.get("instruction", "") if old else _text(place / "instruction.md")
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"task {name!r} has no {'instruction' if old else 'instruction.md'}")
    tests = _contents(place / "tests") if (place / "tests").is_dir() else {}
    script = _text(place / ("run-tests.sh" if old else "tests/test.sh"))
    folder = Folder(name, place, text, old, settings, script, tests)
    if not folder.test_files() and (old or not script):
        raise ValueError(
            f"task {name!r} has no tests; allowed: tests/test_outputs.py{'' if old else ' or tests/test.sh'}"
        )
    return folder


def _check(place: Path, name: str) -> None:
    """Nothing leads out of a directory, and nothing in it is a device or a pipe."""
    real = os.path.realpath(place)
    for where, folders, files in os.walk(place):
        for each in (*folders, *files):
            path = os.path.join(where, each)
            if os.path.islink(path) and os.path.commonpath([real, os.path.realpath(path)]) != real:
                raise ValueError(f"task {name!r}: {os.path.relpath(path, place)} leads out of the task directory")
            if stat.S_IFMT(os.lstat(path).st_mode) not in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
                raise ValueError(f"task {name!r}: {os.path.relpath(path, place)} is no file, directory or link")


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""


def _contents(place: Path) -> dict[str, tuple[bytes, int]]:
    files = (f for f in sorted(place.rglob("*")) if f.is_file() and "__pycache__" not in f.parts)
    return {
        f.relative_to(place).as_posix(): (f.read_bytes(), 0o755 if f.stat().st_mode & 0o100 else 0o644) for f in files
    }


def _moved_bytes(data: bytes) -> bytes:
    try:
        return moved(data.decode("utf-8")).encode("utf-8")
    except UnicodeDecodeError:
        return data


def _code(script: str) -> str:
    """A script without its lines of comment."""
    return "\n".join(line for line in script.splitlines() if not line.lstrip().startswith("#"))


def _yaml(file: Path, name: str) -> Any:
    try:
        yaml = import_module("yaml")
    except ModuleNotFoundError:
        raise ValueError(f"task {name!r} is in Terminal-Bench's older format: pip install pyyaml reads it") from None
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError) as e:
        raise ValueError(f"task {name!r}: {file.name}: {str(e)[:200]}") from None
