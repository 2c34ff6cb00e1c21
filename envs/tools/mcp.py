"""Any MCP server with a task file as an environment."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..errors import InfraError
from ..text.base import TEST, flag
from .base import Item
from .calls import Call
from .mcp_client import Connection, CutOff, tools_of
from .mcp_replay import Replayed
from .mcp_tasks import Need, Task, load
from .slot_env import SlotEnv
from .slot_form import LEFT
from .spaces import Calls
from .tool import Toolbox

OURS = Path(__file__).with_name("mcp_tasks.json")
SERVER = Path(__file__).with_name("mcp_server.py")
_LOCAL = ("127.0.0.1", "::1", "localhost")
_FIGURE = re.compile(r"\d[\d:.]*\d|\d")


class MCPEnv(SlotEnv):
    """Tasks over the tools of an MCP server.

    ## Description
    Any server of the Model Context Protocol and a task file make an environment: the agent reads a question, calls the
    server's tools, and says its answer in words, which ends the episode. Without settings the server is one of our own, a
    desk with notes, to-dos and a calendar, with ten tasks. A server is reached over stdio (a command of the task file, run
    in a clean environment and in an empty folder, and ended with everything that it started) or over streamable HTTP. It
    is put to its start by a ``reset`` tool that the file names, or by a fresh process for every episode; the next one starts
    in the background.

    An MCP server cannot be saved: a snapshot is the list of the episode's calls, and after ``restore`` or in a ``fork`` they
    are made again on a server at its start, when the next call needs it. A server that answers otherwise then (clocks, random
    ids) is not deterministic: the step is ``invalid``. A call that hangs is cut off; its server is replaced, and the calls
    before it are made again.

    ## Observation Space
    ``Unicode(16384)``: at first the system text, the tools and the question; then what the tools said. Images and other
    contents are named by kind and size. ``chat.Chat`` shows chat messages instead.

    ## Action Space
    ``Calls(tools)``: tool calls in any usual form, or words. A turn without calls is the answer, and ends the episode.

    ``milepost/MCP-encoded-v0`` is for agents without words (``SlotRows``): a tool, then its arguments one after another; the
    answer is made of values that were shown. It plays the tasks that its oracle wins so: of our own 9 of 10, all but the one
    where a time has to be worked out (``fire-drill``).

    ## Rewards
    Terms, each times its weight: ``format``, ``valid_call``, ``match`` (share of the reference's calls made), ``items`` (of the
    checklist), ``outcome``: 1.0 at the end where all holds that the task asks for: ``answer``, and ``state``, which needs at
    least one call. By default the outcome alone is paid.

    ## Episode End
    Terminates with a turn without calls; truncates after ``max_steps``, or, with ``info["invalid"]``, when the server is gone.

    ## Information
    ``score``, ``max_score``, ``progress``, ``success``, ``subgoals`` (the checklist), ``tool_calls``, ``process_score``,
    ``turn``, ``valid_action``, ``admissible_actions`` (with ``candidates``), ``messages``; at the end ``answer``; in the reset
    info ``meta`` (with the ``checklist``) and, with ``expose_reference``, ``reference``. The oracle makes the reference's calls
    and says the answer; it wins unless the agent changed something that they do not put right.

    ## Arguments
    ``path``: a task file, None for our own tasks. A JSON object, or JSONL with the head in its first line and a task in each
    other. Head: ``system``; ``command`` (a list, ``{here}`` is the file's folder) with ``env``, or ``url``, or neither for
    our own server; ``reset``, a tool; ``stateless``: no reset is needed; ``hidden``, tools that are not shown; ``tasks``.
    Task: ``id``, ``question``, ``system``, ``split`` (``train``, ``test``), ``setup`` and ``reference`` (calls: ``name``,
    ``arguments``), ``answer`` (``exact``; ``contains``, in at most 400 characters and, where it has a digit, among at most 8
    words with digits; or ``number`` with ``tolerance``: the last number said counts),
    ``state`` (calls whose ``result`` must be equal, or hold the fields of ``has``, at the end), ``checklist`` (``id``,
    ``weight``, ``question``, ``depends``, ``focus``, ``required``, and ``state`` or ``called``).
    ``allow_command``: the file's command, or a url that is not on this machine, may be used.
    ``timeout``: seconds of a call; ``start``: seconds that a server may take to start.
    ``weights``, ``candidates``, ``max_calls``, ``split``, ``worlds``, ``max_steps``, ``expose_reference``, ``max_length``,
    ``render_mode``. ``reset(options={"task": n})`` picks a task.

    ## Sizes
    Our own: 10 tasks, 5 of each split, of one to three calls. Of a file without ``split``, every second task is a test task.

    ## Version History
    * v0: first version.

    Raises:
        ValueError: the file is none, its command is not allowed, or a setting is not; says what is.
        InfraError: (also of ``reset``) the server cannot be started, or ``mcp`` is not installed; says what to do.
    """

    name = "mcp"
    speaks = True

    def __init__(
        self,
        path: str | None = None,
        *,
        allow_command: bool = False,
        timeout: float = 30.0,
        start: float = 60.0,
        max_steps: int = 15,
        **settings: Any,
    ) -> None:
        super().__init__(max_steps=max_steps, **settings)
        self.file = load(OURS if path is None else path)
        if not flag("allow_command", allow_command):
            _refuse(path, self.file.command, self.file.url)
        for name, value in (("timeout", timeout), ("start", start)):
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 3600:
                raise ValueError(f"{name} is {value!r}; allowed: seconds above 0, at most 3600")
        tasks = self.file.tasks
        known = any(t.held_out is not None for t in tasks)
        test = self.split == "test"
        mine = [t for i, t in enumerate(tasks) if (bool(t.held_out) if known else i % 2 == 1) == test]
        if not mine:
            raise ValueError(f"{path or OURS.name} has no task in split {self.split!r}")
        self._tasks = mine[: self.worlds or len(mine)]
        self._task: Task | None = None
        self._said: str | None = None
        self._checked: tuple[int, dict[str, bool]] | None = None
        command, url, env = self.file.command, self.file.url, self.file.env
        if not command and not url:
            command = (sys.executable, "-I", str(SERVER))

        def connect() -> Connection:
            return Connection(list(command), url, env=env, timeout=timeout, start=start)

        spare = not url and not self.file.reset and not self.file.stateless
        self.state = Replayed(connect, self.file.reset, self.file.stateless, not url, spare)
        try:
            self.tools = self._listed_tools()
        except BaseException:
            self.state.close()
            raise
        self.action_space = Calls(tuple(self.tools.values()))

    def _listed_tools(self) -> Toolbox:
        """What the agent sees of the server's tools."""
        found = {t.name: t for t in tools_of(self.state.server(), Replayed.call)}
        for name in (self.file.reset, *self.file.hidden):
            if name and name not in found:
                raise ValueError(f"the server has no tool {name!r}; it has {', '.join(found) or 'none'}")
        for task in self._tasks:
            for call in (*task.setup, *task.reference, *task.asked()):
                if call.name not in found:
                    raise ValueError(
                        f"task {task.id!r}: the server has no tool {call.name!r}; it has {', '.join(found) or 'none'}"
                    )
        return Toolbox(t for t in found.values() if t.name not in (self.file.reset, *self.file.hidden))

    # -- tasks -----------------------------------------------------------------------------------
    def tasks(self) -> range:
        """The tasks of this split."""
        first = TEST if self.split == "test" else 0
        return range(first, first + len(self._tasks))

    def _title(self, task: int) -> str:
        return self._tasks[task - self.tasks().start].id

    def _begin(self, task: int) -> None:
        super()._begin(task)
        self.state.ready()  # now, so that a failure is one of reset

    def _open(self, task: int) -> None:
        found = self._task = self._tasks[task - self.tasks().start]
        self.system, self.opening = found.system, found.question
        self._said, self._checked = None, None
        self.state.begin(found.setup)

    # -- steps -----------------------------------------------------------------------------------
    def _reply(self, words: str) -> tuple[str, bool]:
        self._said = words
        return "Noted.", True

    def _won(self) -> bool:
        task = self._task
        assert task is not None
        if task.answer is not None and not task.answer.fits(self._said or ""):
            return False
        if task.state and not (self._known and all(map(self._holds, task.state))):
            return False
        return bool(task.answer or task.state) or all(self._checks().values())

    def _holds(self, need: Need) -> bool:
        try:
            return need.holds(*self.state.ask(need.call.name, need.call.arguments))
        except CutOff as e:
            raise InfraError(f"the grader's {need.call.name} did not answer: {e}") from None

    def _trace(self) -> tuple[Call, ...]:
        assert self._task is not None
        return self._task.reference

    def _remaining(self) -> list[Call | str]:
        if self._task is None:
            raise RuntimeError("there is no task yet: call reset() first")
        answer = self._task.answer
        return [] if self._ended else [*self._unmade(), answer.words() if answer else "Done."]

    def _needed(self) -> list[tuple[Any, bool]]:
        return [(s, not isinstance(s, Call) or self.tools[s.name].writes) for s in self._remaining()]

    def _ways(self, call: Call, argument: str) -> list[Any]:
        """What looks something up may look up more."""
        return super()._ways(call, argument) + ([] if self.tools[call.name].writes else [LEFT])

    def _items(self) -> tuple[Item, ...]:
        assert self._task is not None
        return self._task.items

    def _checks(self) -> dict[str, bool]:
        assert self._task is not None
        made = self.state.calls()
        if self._checked is None or self._checked[0] != len(made):
            now = {}
            for item, what in self._task.passes.items():
                if isinstance(what, Call):
                    now[item] = any(
                        m.fine and m.call.name == what.name and what.arguments.items() <= m.call.arguments.items()
                        for m in made
                    )
                else:
                    now[item] = all(map(self._holds, what))
            self._checked = len(made), now
        return dict(self._checked[1])

    def _phrases(self) -> tuple[str, ...]:
        """A word for the end, and what results showed: texts, and the figures in them."""
        texts = [str(v) for _, v in reversed(self._seen.named)]
        figures = [f for t in texts for f in _FIGURE.findall(t)]
        return tuple(dict.fromkeys(["Done.", *texts[:8], *figures[:8]]))

    def _answer(self) -> str | None:
        return self._said or None

    def _keep(self) -> Any:
        return self._said

    def _take(self, kept: Any) -> None:
        self._said = kept

    def close(self) -> None:
        """Ends the server."""
        self.state.close()
        super().close()


def _refuse(path: str | None, command: tuple[str, ...], url: str) -> None:
    """What a task file may not make us do without a word.

    Raises:
        ValueError: it names a command, or a url of another machine.
    """
    what = f"run {' '.join(command)[:120]!r}" if command else f"connect to {url[:120]!r}"
    if command or (url and urlsplit(url).hostname not in _LOCAL):
        raise ValueError(f"the task file {path} wants to {what}: allow_command=True (--allow-command) lets it")
