"""Tasks in the format of FTRL and MatchTIR: every tool is a piece of Python that comes with the task."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from ...sandboxes import Limits, Sandbox, SandboxError, SandboxLost
from ..errors import one_of
from ..swe.repo import borrow, give
from ..text.base import TEST
from .base import Item
from .calls import Call
from .ftrl_grade import TAG, f1, holds, said, solves, words_of
from .slot_env import SlotEnv
from .tool import Result, Tool, Toolbox, ToolFailed

OURS = Path(__file__).with_name("ftrl_tasks.jsonl")
INSIDE = Path(__file__).with_name("inside_ftrl.py")
Grade = Literal["exact", "contains", "f1"]


class FtrlTask(NamedTuple):
    """One row of a task file."""

    id: str
    system: str
    question: str
    held_out: bool | None
    """Of the test split; None: the file says nothing of splits."""
    schemas: tuple[Mapping[str, Any], ...]
    """Of the tools: name, description, parameters."""
    codes: Mapping[str, str]
    """Tool -> its source, which defines a function of that name."""
    unsolved: tuple[tuple[str, str], ...]
    """(tool, what one of its results must say)."""
    answer: str
    reference: tuple[Call, ...]


def load(path: str | Path) -> tuple[FtrlTask, ...]:
    """Reads a task file: Parquet by its ending, else JSONL. No code in it is run.

    Columns: ``messages``, ``tools``, ``codes``, ``unsolved_set`` (values or their JSON), ``answer``; and, where they are,
    ``id``, ``split`` (``train``, ``test``) and ``reference`` (calls).

    Raises:
        ValueError: it cannot be read, or a row lacks something; names the row. Parquet without pyarrow.
    """
    place = Path(path)
    try:
        if place.suffix == ".parquet":
            try:
                import pyarrow.parquet as parquet
            except ImportError:
                raise ValueError("Parquet is read by pyarrow: pip install 'milepost[parquet]'") from None
            rows = parquet.read_table(place).to_pylist()
        else:
            rows = [json.loads(line) for line in place.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, ValueError, RecursionError) as e:
        raise ValueError(f"path is {str(path)!r}, which cannot be read: {e}") from None
    if not rows:
        raise ValueError(f"path is {str(path)!r}; allowed: a file with at least one task")
    out = []
    for i, row in enumerate(rows):
        try:
            out.append(_task(row, i))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as e:
            raise ValueError(f"{place}: row {i}: {e if isinstance(e, ValueError) else repr(e)}") from None
    return tuple(out)


def _task(row: Any, number: int) -> FtrlTask:
    if not isinstance(row, dict) or not {"messages", "tools", "codes"} <= set(row):
        raise ValueError("allowed: an object with messages, tools, codes, unsolved_set, answer")
    messages, tools, codes = (_json(row[k]) for k in ("messages", "tools", "codes"))
    said = [m for m in messages if m["role"] != "system"]
    question = said[0]["content"] if len(said) == 1 else "\n".join(f"{m['role']}: {m['content']}" for m in said)
    if not said or not all(isinstance(m["content"], str) for m in messages):
        raise ValueError("messages; allowed: at least one of the user, contents are texts")
    schemas = [dict(t["function"] if isinstance(t.get("function"), dict) else t) for t in tools]
    for s in schemas:
        if not isinstance(s.get("name"), str) or not isinstance(codes.get(s["name"], ""), str):
            raise ValueError(f"the tool {s.get('name')!r}; allowed: one with a name, whose code is a text")
        s["parameters"] = {"properties": {}, **(s.get("parameters") or {"type": "object"})}
        if not isinstance(s["parameters"]["properties"], dict):
            raise ValueError(f"the tool {s['name']!r} has no schema of an object")
    wanted = _json(row.get("unsolved_set")) or {}
    unsolved = tuple((t, str(a)) for t, answers in wanted.items() for a in answers if str(a).strip(" ,"))
    answer = "" if row.get("answer") is None else str(row["answer"])
    if TAG.search(answer):
        raise ValueError(f"answer is {answer[:60]!r}; allowed: a text without <answer>")
    if not unsolved and not words_of(answer):
        raise ValueError("it cannot be graded; allowed: an answer with a letter or digit, or an unsolved_set")
    split = row.get("split")
    if split not in (None, "train", "test"):
        raise one_of("split", split, ("train", "test"))
    return FtrlTask(
        str(row.get("id") or f"task-{number}"),
        "\n".join(m["content"] for m in messages if m["role"] == "system"),
        question,
        None if split is None else split == "test",
        tuple(schemas),
        {k: str(v) for k, v in codes.items()},
        unsolved,
        answer,
        tuple(Call(str(c["name"]), dict(c["arguments"])) for c in _json(row.get("reference")) or ()),
    )


def _json(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


class Runner:
    """Runs tools in a sandbox, each call in a process of its own on a clean tree.

    Args:
        sandbox, settings: the provider.
        limits: of a call.
    """

    def __init__(self, sandbox: str, settings: Mapping[str, Any], limits: Limits) -> None:
        self._provider, self._limits = (sandbox, dict(settings)), limits
        self._flags = ["-S"] if sandbox == "local" else []  # an image may have packages for its tools
        self._key = ""
        self._box: Sandbox | None = None
        self._program = INSIDE.read_text("utf-8")

    def fresh(self) -> Runner:
        """Another one with the same settings."""
        return Runner(*self._provider, self._limits)

    def call(self, name: str, source: str, arguments: Mapping[str, Any]) -> tuple[bool, str]:
        """It worked, and what it said.

        Raises:
            SandboxError: the infrastructure failed.
        """
        request = json.dumps({"name": name, "source": source, "arguments": arguments}).encode()
        word = secrets.token_hex(16)
        stdin = b"%d\n%s%s" % (len(request), request, word.encode())
        try:
            if self._box is None:
                self._key, provider = borrow(*self._provider)
                self._box = provider.create(limits=self._limits, env={"PYTHONHASHSEED": "0"})
            done = self._box.run(["python3", *self._flags, "-c", self._program], stdin=stdin)
            try:
                found = json.loads(done.stdout) if done.exit_code == 0 else None
            except ValueError:
                found = None
            if not isinstance(found, dict) or found.get("word") != word or found["left"]:
                self._box.restore()  # nothing that a tool leaves behind meets the next call
        except SandboxError as e:
            self.close(lost=isinstance(e, SandboxLost))
            raise
        if done.timed_out:
            return False, f"it was cut off after {self._limits.timeout:g} seconds"
        if not isinstance(found, dict) or found.get("word") != word:
            return False, "it ended without a result"
        return found["fine"], found["text"].encode("utf-8", "replace").decode()

    def close(self, lost: bool = False) -> None:
        """Closes the sandbox."""
        box, self._box = self._box, None
        key, self._key = self._key, ""
        if box is not None:
            box.close()
        if key:
            give(key, lost)


class FTRLEnv(SlotEnv):
    """Questions whose tools are Python that comes with the task.

    ## Description
    A loader for task files in the format of FTRL (bytedance/FTRL) and MatchTIR (arXiv 2601.10712): the messages, the schemas
    of the tools, the source of each tool, which results the tools must have given (``unsolved_set``), and the final answer.
    The sources are untrusted: they run only in a sandbox without a network, each call in a process of its own with limits on
    time, memory, processes and output, on a clean tree; what a call leaves behind is gone before the next. What a tool prints
    is thrown away, what it returns is its result, and a tool that fails, hangs or exits is an error for the agent to read.
    Without ``path`` there are six small tasks of our own; none of the data of others comes with Milepost.

    ## Observation Space
    ``Unicode(16384)``: at first the system text, the tools and the question; then what the tools said. ``chat.Chat`` shows
    chat messages instead.

    ## Action Space
    ``Calls()``: tool calls in any usual form, or words. A turn without calls is the answer, and ends the episode. Of longer
    words the last ``<answer>...</answer>`` or else what follows the last ``Answer:`` in its line counts.

    ``milepost/FTRL-encoded-v0`` is for agents without words (``SlotRows``): a tool, then its arguments one after another; the
    answer is made of values that were shown. It plays the tasks that its oracle wins so: of our own all six.

    ## Rewards
    Terms, each times its weight: ``format``, ``valid_call``, ``match`` (where the file has reference calls), ``items``
    (share of ``unsolved_set`` that a result solved, upstream's solve rate), ``outcome``: 1.0 at the end for the right answer;
    where a task has no answer, for a solved ``unsolved_set``. By default the outcome alone is paid. A result solves one entry
    of its tool, where all of its parts stand in it, as upstream: a tool that repeats its arguments gives that for a guess.

    ## Episode End
    Terminates with a turn without calls; truncates after ``max_steps``, or, with ``info["invalid"]``, when the sandbox is lost.

    ## Information
    ``score``, ``max_score``, ``progress``, ``success``, ``subgoals`` (entries of ``unsolved_set``), ``tool_calls``,
    ``process_score``, ``turn``, ``valid_action``, ``admissible_actions`` (with ``candidates``), ``messages``; at the end
    ``answer`` and ``scores``: ``exact`` and ``f1`` of the answer, upstream's ``solve_rate``, ``solve_precision`` (per call)
    and ``solve_f1``; in the reset info ``meta`` (with the ``checklist``) and, with ``expose_reference``, ``reference``. The
    oracle makes the reference's calls, where there are any, and says the answer; it wins every task that has one.

    ## Arguments
    ``path``: a Parquet or JSONL file, None for our own tasks; see ``load``. ``grade``: ``exact`` (words without case, commas
    and punctuation; a sign, point, colon or slash right before a digit counts), ``contains`` (its parts as whole words, with
    at most 12 words more: a short list of guesses can win), ``f1`` (at least ``least``).
    ``sandbox`` (``local``, ``docker``) and ``sandbox_settings``; ``timeout``: seconds of a call; ``memory``: bytes.
    ``weights``, ``candidates``, ``max_calls``, ``split``, ``worlds``, ``max_steps``, ``expose_reference``, ``max_length``,
    ``render_mode``. ``reset(options={"task": n})`` picks a task.

    ## Sizes
    Our own: 6 tasks, 3 of each split, of one to four calls. Of a file without ``split``, every second task is a test task.

    ## Version History
    * v0: first version.

    Raises:
        ValueError: the file is none, or a setting is not allowed; says what is.
        InfraError: (``step``: as ``invalid``) no sandbox can be made here; says what to do.
    """

    name = "ftrl"
    speaks = True

    def __init__(
        self,
        path: str | None = None,
        *,
        grade: Grade = "exact",
        least: float = 0.8,
        sandbox: str = "local",
        sandbox_settings: Mapping[str, Any] | None = None,
        timeout: float = 10.0,
        memory: int = 2**29,
        max_steps: int = 15,
        **settings: Any,
    ) -> None:
        super().__init__(max_steps=max_steps, **settings)
        if grade not in get_args(Grade):
            raise one_of("grade", grade, get_args(Grade))
        if isinstance(least, bool) or not isinstance(least, (int, float)) or not 0 < least <= 1:
            raise ValueError(f"least is {least!r}; allowed: a number above 0, at most 1")
        self.grade, self.least = grade, float(least)
        limits = Limits(timeout=timeout, memory=memory, processes=64, file_size=2**24, disk=2**26, output=2**20)
        self._runner = Runner(sandbox, sandbox_settings or {}, limits)
        tasks = load(OURS if path is None else path)
        known, test = any(t.held_out is not None for t in tasks), self.split == "test"
        mine = [t for i, t in enumerate(tasks) if (bool(t.held_out) if known else i % 2 == 1) == test]
        if not mine:
            raise ValueError(f"{path or OURS.name} has no task in split {self.split!r}")
        self._tasks = mine[: self.worlds or len(mine)]
        self._task: FtrlTask | None = None
        self._said: str | None = None
        self._solved: frozenset[int] = frozenset()
        self._count = 0  # of calls

    # -- tasks -----------------------------------------------------------------------------------
    def tasks(self) -> range:
        """The tasks of this split."""
        first = TEST if self.split == "test" else 0
        return range(first, first + len(self._tasks))

    def _title(self, task: int) -> str:
        return self._tasks[task - self.tasks().start].id

    def _open(self, task: int) -> None:
        found = self._task = self._tasks[task - self.tasks().start]
        self.system, self.opening = found.system, found.question
        self._said, self._solved, self._count = None, frozenset(), 0
        self.tools = Toolbox(self._tool(s, found) for s in found.schemas)

    def _tool(self, schema: Mapping[str, Any], task: FtrlTask) -> Tool:
        name, source = schema["name"], task.codes.get(schema["name"])

        def run(state: Any, arguments: dict[str, Any]) -> str:
            if source is None:
                raise ToolFailed("it has no code")
            fine, text = self._runner.call(name, source, arguments)
            if not fine:
                raise ToolFailed(text)
            return text

        about = " ".join(str(schema.get("description") or "").split())
        return Tool.of_schema(name, about, schema["parameters"], run, writes=False)

    # -- steps -----------------------------------------------------------------------------------
    def _after(self, made: tuple[Call, ...], results: tuple[Result, ...]) -> bool:
        assert self._task is not None
        self._count += len(made)
        for call, result in zip(made, results):
            for i, (tool, answer) in enumerate(self._task.unsolved):
                if result.ok and tool == call.name and i not in self._solved and solves(result.text, answer):
                    self._solved |= {i}
                    break
        return False

    def _reply(self, words: str) -> tuple[str, bool]:
        self._said = said(words)
        return "Noted.", True

    def _won(self) -> bool:
        task, answer = self._task, self._said or ""
        assert task is not None
        if not words_of(task.answer):
            return len(self._solved) == len(task.unsolved)
        if self.grade == "f1":
            return f1(answer, task.answer) >= self.least
        if self.grade == "contains":
            return holds(answer, task.answer)
        return words_of(answer) == words_of(task.answer)

    def _items(self) -> tuple[Item, ...]:
        names = self._checks()
        return tuple(Item(name, 1.0 / len(names), focus="tool_content") for name in names)

    def _checks(self) -> dict[str, bool]:
        assert self._task is not None
        return {f"{tool} {i}": i in self._solved for i, (tool, _) in enumerate(self._task.unsolved)}

    def _trace(self) -> tuple[Call, ...]:
        assert self._task is not None
        return self._task.reference

    def _remaining(self) -> list[Call | str]:
        assert self._task is not None
        last = f"<answer>{self._task.answer}</answer>" if self._task.answer else "Done."  # bare ones may read as calls
        return [] if self._ended else [*self._unmade(), last]

    def _needed(self) -> list[tuple[Any, bool]]:
        assert self._task is not None
        steps: list[tuple[Any, bool]] = [(c, not self._task.answer) for c in self._unmade()]
        return [] if self._ended else [*steps, ([self._task.answer] if self._task.answer else "Done.", True)]

    def _plainly(self, value: Any) -> Any:
        """As answers are compared."""
        return " ".join(words_of(value)) if isinstance(value, str) else value

    def _phrases(self) -> tuple[str, ...]:
        """What results showed, the latest first."""
        return tuple(dict.fromkeys(str(v) for _, v in reversed(self._seen.named)))[:12] or ("Done.",)

    def _facts(self) -> dict[str, Any]:
        facts = super()._facts()
        if self._ended or self._last:
            assert self._task is not None
            answer, n, all_ = self._said or "", len(self._solved), len(self._task.unsolved)
            facts["scores"] = {
                "exact": float(bool(words_of(answer)) and words_of(answer) == words_of(self._task.answer)),
                "f1": f1(answer, self._task.answer),
                "solve_rate": n / all_ if all_ else 1.0,
                "solve_precision": n / self._count if self._count else 1.0,
                "solve_f1": 2 * n / (self._count + all_) if self._count + all_ else 1.0,
            }
        return facts

    def _answer(self) -> str | None:
        return self._said or None

    # -- states ----------------------------------------------------------------------------------
    def _keep(self) -> Any:
        return self._said, self._solved, self._count

    def _take(self, kept: Any) -> None:
        self._said, self._solved, self._count = kept

    def fork(self) -> FTRLEnv:
        """An environment of its own in the same state, with a sandbox of its own."""
        branch = super().fork()
        assert isinstance(branch, FTRLEnv)
        branch._runner = self._runner.fresh()
        return branch

    def close(self) -> None:
        """Closes the sandbox."""
        self._runner.close()
        super().close()
