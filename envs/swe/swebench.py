"""SWE-bench's instances (Jimenez et al. 2024, arXiv 2310.06770) over local clones or snapshots of their repositories."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import posixpath
import re
import sys
import threading
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import one_of
from . import checkout, diff
from .env import SweEnv
from .grade import LIBRARY
from .instance import Instance, load
from .task import Parser, Task

_FILE = "an instance file in SWE-bench's format, .json, .jsonl or .parquet"
_FOLDER = "a folder with a clone owner__name for each repository or a snapshot instance_id"
IMAGE_FIELDS = ("image", "docker_image", "image_name")
_OUTCOME = re.compile(r"^(PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS) (\S+)", re.M)
_lock = threading.Lock()


def summary(log: str) -> dict[str, str]:
    """Test -> outcome from the summary that pytest prints with ``-rA``."""
    return {m[2]: m[1] for m in _OUTCOME.finditer(log)}


@functools.lru_cache(1)
def _swebench() -> types.ModuleType | None:
    """The log parsers for Python of the installed ``swebench``, None without it.

    Its packages import docker, datasets and more when they are imported, its log parsers need none of that: they are
    imported below empty packages, which are taken away again.
    """
    spec = importlib.util.find_spec("swebench")
    if spec is None or not spec.submodule_search_locations:
        return None
    name = "swebench.harness.log_parsers.python"
    with _lock:
        before = {n for n in sys.modules if n.startswith("swebench")}
        try:
            for package in ("swebench.harness", "swebench.harness.log_parsers"):
                if package not in sys.modules:
                    empty = types.ModuleType(package)
                    inner = package.split(".")[1:]
                    empty.__path__ = [str(Path(p, *inner)) for p in spec.submodule_search_locations]
                    sys.modules[package] = empty
            return importlib.import_module(name)
        except ImportError:  # another version, laid out in another way
            return None
        finally:
            for n in [n for n in sys.modules if n.startswith("swebench") and n not in before]:
                del sys.modules[n]


def parser(instance: Instance) -> Parser:
    """What reads the log of ``test_cmd``: swebench's parser for field ``log_parser`` or the repository, or ``summary``.

    Raises:
        ValueError: it names a parser that the installed swebench has not.
    """
    found, named = _swebench(), instance.extra.get("log_parser")
    known = {} if found is None else {n: f for n, f in vars(found).items() if n.startswith("parse_log_")}
    if named and found is None:
        raise ValueError(f"instance {instance.instance_id!r} wants log_parser {named!r}: milepost setup swe-data")
    if named and named not in known:
        raise one_of(f"instance {instance.instance_id!r}: log_parser", named, known)
    function = known.get(str(named)) or getattr(found, "MAP_REPO_TO_PARSER_PY", {}).get(instance.repo)
    if function is None:
        return summary

    def read(log: str) -> Mapping[str, str]:
        told: dict[str, str] = function(log, None)
        return told

    return read


class Instances:
    """An instance file and the repositories that it is about.

    Raises:
        ValueError: the file is none, an instance cannot be run, or its repository is not there; names it and what is allowed.
    """

    name = "swebench"

    def __init__(
        self, path: str | None, repos: str | None, only: Sequence[str] | None = None, needs: Sequence[str] = ()
    ) -> None:
        if path is None and repos is None:
            raise ValueError(f"no instances come with Milepost: path= is to be {_FILE}, and repos= {_FOLDER}")
        if path is None or not Path(path).is_file():
            raise ValueError(f"path is {path!r}; allowed: {_FILE}")
        if repos is None or not Path(repos).is_dir():
            raise ValueError(f"repos is {repos!r}; allowed: {_FOLDER}")
        self._repos, self._needs = Path(repos), tuple(needs)
        try:
            every = {i.instance_id: i for i in load(path)}
        except ModuleNotFoundError:
            raise ValueError(f"path is {path!r}; parquet is read by pyarrow: pip install 'milepost[parquet]'") from None
        for name in only or ():
            if name not in every:
                raise one_of("only", name, every)
        self._instances = [i for i in every.values() if only is None or i.instance_id in only]
        for i in self._instances:
            self._place(i)
            _check(i)
        self._task = functools.lru_cache(64)(self._make)
        self._by_id = every

    def _place(self, instance: Instance) -> Path:
        """The snapshot or clone of an instance."""
        clone = instance.repo.replace("/", "__")
        names = [instance.instance_id, clone, f"{clone}.git"]
        for name in names:
            if Path(name).name == name and (self._repos / name).is_dir():
                return self._repos / name
        raise ValueError(
            f"instance {instance.instance_id!r} has no repository in {self._repos}; allowed: a folder {' or '.join(names)}"
        )

    def instances(self) -> Sequence[Instance]:
        """All of them, in the order of the file."""
        return self._instances

    def task(self, instance: Instance) -> Task:
        """The tree of ``base_commit``, unpacked once; the test patch is for the grader alone.

        Raises:
            ValueError: the clone lacks the commit, or the test patch does not fit.
        """
        return self._task(instance.instance_id)

    def _make(self, name: str) -> Task:
        instance = self._by_id[name]
        place = self._place(instance)
        tree = checkout.commit(place, instance.base_commit) if checkout.is_clone(place) else checkout.snapshot(place)
        changes = diff.hunks(instance.test_patch)
        texts = {h.path: _text(tree / h.path) for h in changes}
        try:
            hidden = diff.apply(changes, {p: t for p, t in texts.items() if t is not None})
        except ValueError as e:
            raise ValueError(f"instance {name!r}: test_patch: {e}") from None
        extra = instance.extra
        roots = tuple(extra.get("roots") or ([".", "src"] if (tree / "src").is_dir() else ["."]))
        needs = tuple(dict.fromkeys(["pytest", *extra.get("needs", ()), *self._needs]))
        image = next((str(extra[f]) for f in IMAGE_FIELDS if extra.get(f)), "")
        wanted = extra.get("test_cmd")
        if not wanted:
            return Task(instance, str(tree), hidden=hidden, roots=roots, needs=needs, image=image)
        lines = wanted if isinstance(wanted, str) else "\n".join(wanted)
        seen = ":".join([LIBRARY, *(posixpath.join("$PWD", r) for r in roots)])
        command = ("bash", "-c", f'export PYTHONPATH="{seen}${{PYTHONPATH:+:$PYTHONPATH}}"\n{lines}')
        return Task(
            instance,
            str(tree),
            hidden=hidden,
            roots=roots,
            needs=needs,
            image=image,
            command=command,
            parser=parser(instance),
        )


def _text(file: Path) -> str | None:
    if not file.is_file():
        return None
    with file.open(encoding="utf-8", newline="") as f:
        return f.read()


def _check(instance: Instance) -> None:
    """It can be run: patches of text inside the tree, tests that pytest finds or a command of its own."""
    name = instance.instance_id
    for field, patch in (("patch", instance.patch), ("test_patch", instance.test_patch)):
        try:
            paths = diff.files_of(patch)
        except ValueError as e:
            raise ValueError(f"instance {name!r}: {field}: {e}") from None
        for path in paths:
            if path.startswith("/") or ".." in path.split("/"):
                raise ValueError(f"instance {name!r}: {field} changes {path!r}; allowed: files below the root")
    command = instance.extra.get("test_cmd")
    if command is not None and not (
        isinstance(command, str) or (isinstance(command, list) and all(isinstance(c, str) for c in command))
    ):
        raise ValueError(f"instance {name!r}: test_cmd is {command!r:.60}; allowed: a shell command, or a list of them")
    if not command:
        for test in (*instance.fail_to_pass, *instance.pass_to_pass):
            if not test.split("::")[0].endswith(".py"):
                raise ValueError(f"instance {name!r}: test {test[:80]!r}; allowed: path.py::test, or a field test_cmd")
    elif command:
        parser(instance)


class SWEBenchEnv(SweEnv):
    """Resolve an issue of a repository: instance files of SWE-bench, SWE-Gym and SWE-smith.

    ## Description
    Any file of instances in the format of SWE-bench (Jimenez et al. 2024, arXiv 2310.06770) with the repositories that it is
    about; none come with Milepost. ``repos`` holds a git clone ``owner__name`` for each repository, of which the files of
    ``base_commit`` are taken (no history, no caches), or a snapshot in a folder called like the instance. What the tests
    import comes from this machine (``needs``, of the setting or the instance) or, with ``sandbox="docker"``, from the image
    that the instance's field ``image``, ``docker_image`` or ``image_name`` names. The outcome is judged in a sandbox of the
    grader's own, with the instance's test patch, by FAIL_TO_PASS and PASS_TO_PASS; ``run_tests`` runs the tests without the
    test patch, so tests that only it brings fail there.

    Tests are run by pytest with Milepost's own plugin, or by the field ``test_cmd`` (a shell command or a list of them), whose
    log is read by swebench's parser for the repository (or the field ``log_parser``; ``milepost setup swe-data``) or as
    pytest's ``-rA`` summary. As in SWE-bench, code under test can print lines that such a log is made of; the plugin's report
    cannot be had by printing, so give no ``test_cmd`` where pytest will do. Other fields that count: ``roots`` (folders with
    modules), ``split`` (``train`` or ``test``; else a quarter of the ids is ``test``, by checksum).
    The numbers of this page are those of a small repository that Milepost's own tests make.

    ## Observation Space
    ``Unicode(16384)``: at first the problem statement (the issue's text), the tools and the files; then what the
    last tool said, long outputs without their middle.

    ## Action Space
    ``Unicode(65536)``: one tool call a turn, as OpenAI's JSON, as one fenced bash block, or from Python as a ``Call`` or a
    mapping. Tools: ``bash``, ``view``, ``edit``, ``create``, ``search``, ``run_tests``, ``submit``. Commands share nothing
    but files. ``info["admissible_actions"]`` lists ``run_tests``, ``submit``, a view of each source and, with
    ``candidates``, that many repairs made from the code alone.

    ## Rewards
    Terms, as [BugRepairEnv](BugRepairEnv.md) explains them: ``format``, ``valid_call``, ``located``, ``edited``, ``tests``,
    ``outcome``, each times its weight. By default the outcome alone is paid, 1.0 for a repair.

    ## Episode End
    Terminates with ``submit``; truncates after ``max_steps``, or, with ``info["invalid"]``, when the sandbox is lost.

    ## Information
    As [BugRepairEnv](BugRepairEnv.md): ``score``, ``max_score``, ``progress``, ``success``, ``subgoals``, ``tool_calls``,
    ``valid_action``, ``admissible_actions``, ``messages``; ``tests`` at steps at which tests ran; at the end ``answer`` and
    ``tampered``; in the reset info ``meta`` and, with ``expose_reference``, ``reference``: the oracle's calls.

    ## Arguments
    ``path``: the instance file, .json, .jsonl or .parquet (which needs the extra ``parquet``). ``repos``: the folder of clones
    and snapshots. ``only``: ids of the instances wanted. ``needs``: installed distributions that the tests of all instances
    import, for the local sandbox.
    ``sandbox`` (``local``, ``docker``) and ``sandbox_settings``; ``weights``, ``levels``; ``candidates``; ``cache``: a SQLite
    file for test results that processes share; ``timeout``, ``memory``; ``split``, ``worlds``, ``max_steps``,
    ``expose_reference``, ``render_mode``. ``reset(options={"task": n})`` picks a task.

    ## Version History
    * v0: first version.

    Raises:
        ValueError: a file or repository is missing, an instance cannot be run, or a setting is not allowed; says what is.
        InfraError: (``reset``) no sandbox can be made here, or one of ``needs`` is not installed; says what to do.
    """

    name = "swebench"

    def __init__(
        self,
        path: str | None = None,
        repos: str | None = None,
        only: Sequence[str] | None = None,
        needs: Sequence[str] = (),
        **settings: Any,
    ) -> None:
        super().__init__(Instances(path, repos, only, needs), **settings)
