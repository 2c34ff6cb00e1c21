"""A planner and workers who share one service desk, or one repository."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from ..errors import one_of
from ..text.base import whole
from ..tools.calls import Call
from ..tools.candidates import offers
from ..tools.face import DOUBT, OWN, STATE, TOOLS
from ..tools.servicedesk.users import PHRASES
from .base import NONE, SAID, WAIT, Game
from .tool_team_case import LINE, Case, Member, line, told, verb_of, whole_characters
from .tool_team_desks import DESKS

MAY = ("none", "reads", "all")  # which tools the planner may call
TOLD = 4000  # characters of a message among the team
KEPT, SHOWN = 8, 1000  # messages and results that are shown; characters of one
ORDERS = 4  # calls that a worker was told and has not made: the latest
OFFERS, PER_TOOL = 300, 2  # calls that are thought of, and of each tool those that are rows
HEARD = STATE - 2 * 96  # of the memory's numbers: all but what was heard and shown long ago


class ToolTeam(Game):
    """A planner and workers who share one service desk, or one repository with a fault.

    ## Description
    ``planner_0`` has the case, ``worker_0`` to ``worker_2`` have the tools; all act on one inner environment. With
    ``desk="service"`` that is ``ServiceDeskEnv``: the planner alone sees the policy and the customer, and talks to the
    customer; the workers know nothing but what they were told. With ``desk="repair"`` it is ``BugRepairEnv``: the planner
    alone sees what is wrong; the repository is there for all. The planner may call tools that only look
    (``planner="reads"``), none, or all; a worker may call every tool. What a call said is seen by who made it; a worker can
    report it. The team has one return: what the inner environment pays.

    ## Actions
    Text: a tool call as the inner environment takes it (``{"name": ..., "arguments": {...}}``); ``tell NAME words`` to one of
    the team, ``say words`` to the customer (the planner, ``service``), ``report``, by which a worker shows the planner its
    last calls and what they said, ``wait``. Objects do as well: ``{"tell": {"worker_0": "..."}}``, ``{"say": "..."}``.
    Encoded: the index of a row. The planner's rows are phrases for the customer, calls that it may make, and ``tell`` with a
    call that it may not make, to the workers by turns; a worker's are calls that it was told, ``report``, and calls. On a
    service desk calls are made from the tools' schemas and what the agent itself has heard and read, as in ``CallRows``; over
    a repository they are those that the inner environment lists, made from the code alone.

    ## Observations
    Text: who said what last, the agent's last call and what it said, its orders; then conversation, messages, results; at the
    end the policy or the problem (planner) and the tools. Encoded: ``ArrayFace``, with 124 gauges (120 of what ``CallRows``
    has: last call, shares, tools used, phrases said, words of the last message; then planner or worker, share of cycles,
    orders, a report is due) and 27 measures a row (23 of what ``CallRows`` has, then says, tells, was told, reports).

    ## Rewards
    ``team_outcome``, 1.0 to everybody when the case is won. With weight 0 by default: ``team_match``, ``team_items``
    (service), ``team_located``, ``team_edited``, ``team_tests`` (repair), as the inner environment explains them, each at
    most 1 in a game; terms that the desk does not have stay 0. Own: ``valid_call``, the share of the agent's calls in this
    cycle that a tool took; with a weight it can be farmed by calling for the sake of it. By default nothing but the outcome
    is paid, and no collusion gets more than 1.0 each. Waiting earns 0.

    ## Episode end
    Terminated for all when the inner episode ends (the customer leaves, is transferred; the repair is submitted); truncated
    after ``max_cycles`` cycles. ``success``, of the team: the inner environment's.

    ## Information
    Besides the contract ``desk``, and in ``meta`` the inner ``case`` and its ``checklist``. ``score``, ``max_score``,
    ``progress``, ``subgoals`` are the inner environment's. A sandbox that is lost ends the game for all with ``invalid``.

    ## Policies
    ``oracle``: the planner looks, says and tells the next call; a worker makes what it was told if it is right, and reports.
    ``collusion``: all make a call that changes nothing, again and again.

    Args:
        desk: ``service`` (needs the extra ``tools``) or ``repair`` (needs a sandbox and the extra ``swe``).
        workers: 1 to 3.
        planner: which tools the planner may call: ``none``, ``reads`` (those that change nothing) or ``all``.
        inner: settings of the inner environment: ``user`` (``scripted``, ``stochastic``), ``horizon``, ``families``,
            ``max_calls``; or ``path``, ``bugs``, ``listed``, ``sandbox``, ``sandbox_settings``, ``cache``, ``timeout``,
            ``memory``. Agents that choose among rows can win a repair with ``{"bugs": 1, "listed": candidates}``, and most
            cases of a customer who is ``stochastic``, whose words do not always give all that a row needs.
        candidates: repairs among the rows (``repair``).
        max_cycles, weights, split, worlds, expose_reference, max_length, render_mode: as ``Game``.

    Raises:
        ValueError: a setting is not allowed; names it and what is.
        ModuleNotFoundError: the desk needs an extra that is not installed; names it.
        InfraError: (``reset``) no sandbox can be made here; says what to do.

    ## Version history
    v0: first version.
    """

    name = "tool_team"
    own_terms = ("valid_call",)
    team_terms = ("team_outcome", "team_match", "team_items", "team_located", "team_edited", "team_tests")
    default_weights: ClassVar[Mapping[str, float]] = {"team_outcome": 1.0}
    policies = ("oracle", "collusion")
    measures, gauges = OWN + 4, HEARD + 4

    def __init__(
        self,
        *,
        desk: str = "service",
        workers: int = 1,
        planner: str = "reads",
        inner: Mapping[str, Any] | None = None,
        candidates: int = 20,
        max_cycles: int = 80,
        max_length: int = 16384,
        **others: Any,
    ) -> None:
        if desk not in tuple(DESKS):
            raise one_of("desk", desk, DESKS)
        if planner not in MAY:
            raise one_of("planner", planner, MAY)
        names = [f"worker_{k}" for k in range(whole("workers", workers, 1, 3))]
        super().__init__(["planner_0", *names], max_cycles=max_cycles, max_length=max_length, **others)
        self.workers, self.planner, self.kind = tuple(names), planner, desk
        self.desk = DESKS[desk](self.split, self.worlds, whole("candidates", candidates, 0, 100), inner)
        self.worlds = len(self.desk.env.tasks())
        self._cache: dict[str, tuple[Any, dict[str, Any]]] = {}

    # -- rules -----------------------------------------------------------------------------------
    def _begin(self, task: int) -> Case:
        self._cache = {}
        info = self.desk.begin(task)
        case = Case({a: Member() for a in self.possible_agents}, {})
        case.facts = {"meta": {k: v for k, v in info["meta"].items() if k != "task"} | {"case": info["meta"]["task"]}}
        self._learn(case, info)
        case.members["planner_0"].follow((), ({"role": "user", "content": self.desk.opening},))
        if self.desk.talks:
            case.talk.append(f"Customer: {self.desk.opening}")
        return case

    def _learn(self, case: Case, info: Mapping[str, Any]) -> None:
        """What a step of the inner environment means for the team."""
        case.facts |= {k: info[k] for k in ("score", "max_score", "progress", "success")}
        case.facts["subgoals"] = dict(info["subgoals"])
        case.over = case.over or info.get("ended", False)
        if not self.desk.talks:
            case.listed = tuple(info["admissible_actions"])
        for term in self.desk.terms:
            case.due[f"team_{term}"] = case.due.get(f"team_{term}", 0.0) + info["reward_terms"].get(term, 0.0)

    def read(self, action: Any) -> str:
        """See ``Game.read``; blanks stay as they are, for they may be code."""
        if isinstance(action, str):
            return whole_characters(action[: self.max_length].strip())
        return super().read(action)

    def _act(self, agent: str, command: str) -> bool:
        case, me = self.world, self.world.members[agent]
        me.wrong = ""
        if case.over:
            return self._refused(me, "the case is closed")
        verb, rest = verb_of(command)
        if verb == "say":
            return self._say(agent, me, rest)
        if verb == "tell":
            return self._tell(agent, me, rest)
        if verb == "report":
            return self._report(agent, me)
        made = self.desk.parse(command)
        if isinstance(made, str):
            return self._refused(me, made[:LINE])
        for call in made:
            if not self._may(agent, call.name):
                return self._refused(me, f"{agent} may not call {call.name[:40]}: tell a worker")
        info = self.desk.use(made)
        self._learn(case, info)
        me.made, me.reported = info["tool_calls"], agent == "planner_0"
        me.follow(me.made, ())
        me.results = [*me.results, *(f"{told(c)} -> {c['result'][:SHOWN]}" for c in me.made)][-KEPT:]
        for call in made:
            if (text := whole_characters(call.text())) in me.orders:
                me.orders.remove(text)
        case.own[agent] = float(info["reward_terms"].get("valid_call", 0.0))
        case.log = [*case.log, *(f"{agent} calls {line(told(c))} -> {line(c['result'])}" for c in me.made)][-KEPT:]
        return bool(info["valid_action"])

    def _refused(self, me: Member, why: str) -> bool:
        me.wrong = why
        return False

    def _may(self, agent: str, tool: str) -> bool:
        return agent != "planner_0" or self.planner == "all" or (self.planner == "reads" and tool in self.desk.reads)

    def _say(self, agent: str, me: Member, words: str) -> bool:
        if agent != "planner_0" or not self.desk.talks:
            return self._refused(me, "there is no customer for you to talk to: tell the planner or a worker")
        if not words:
            return self._refused(me, "say what?")
        case, words = self.world, words[:SAID]
        info = self.desk.say(words)
        self._learn(case, info)
        me.follow((), info["messages"])
        answers = [m["content"] for m in info["messages"] if m["role"] == "user"]
        case.talk = [*case.talk, f"{agent}: {words}", *(f"Customer: {a}" for a in answers)][-2 * KEPT :]
        return bool(info["valid_action"])

    def _tell(self, agent: str, me: Member, rest: str) -> bool:
        name, _, words = rest.partition(" ")
        words = words.strip()[:TOLD]
        if name not in self.possible_agents or name == agent or not words:
            others = ", ".join(a for a in self.possible_agents if a != agent)
            return self._refused(me, f"tell one of {others} something")
        case, other = self.world, self.world.members[name]
        other.heard = [*other.heard, f"{agent}: {words}"][-KEPT:]
        other.follow((), ({"role": "user", "content": words},))
        made = self.desk.parse(words)
        calls = [] if isinstance(made, str) else [whole_characters(c.text()) for c in made]
        if name != "planner_0":
            other.orders = [*(o for o in other.orders if o not in calls), *calls][-ORDERS:]
        me.said = f"{name}: {words}"
        me.follow((), ())
        for text in calls:  # told is not made: it is a row again when there is news
            me.memory.made[text] = (me.memory.step, False)
        case.tells += agent == "planner_0"
        case.log = [*case.log, f"{agent} tells {name}: {line(words)}"][-KEPT:]
        return True

    def _report(self, agent: str, me: Member) -> bool:
        if agent == "planner_0" or me.reported:
            return self._refused(me, "there is nothing new to report")
        case, planner = self.world, self.world.members["planner_0"]
        me.reported, me.changes = True, me.changes + 1
        planner.follow(me.made, ())
        shown = [f"{agent} reports: {told(c)} -> {c['result'][:SHOWN]}" for c in me.made]
        planner.heard = [*planner.heard, *shown][-KEPT:]
        case.log = [*case.log, f"{agent} reports"][-KEPT:]
        return True

    def _cycle(self) -> None:
        case = self.world
        case.pays, case.pays_own, case.due, case.own = case.due, case.own, {}, {}

    def _terms(self, agent: str) -> Mapping[str, float]:
        own: float = self.world.pays_own.get(agent, 0.0)
        return dict(self.world.pays) | {"valid_call": own}

    def _gone(self) -> Sequence[str]:
        return self.agents if self.world.over else ()

    def _facts(self, agent: str) -> dict[str, Any]:
        facts = self.world.facts
        shown = {k: float(facts[k]) for k in ("score", "max_score", "progress")} | {"success": facts["success"]}
        return shown | {"subgoals": dict(facts["subgoals"]), "message": self._fate(agent), "desk": self.kind}

    def _meta(self) -> dict[str, Any]:
        return dict(self.world.facts["meta"]) | {"desk": self.kind}

    def _save(self) -> Any:
        return copy.deepcopy(self.world), self.desk.env.snapshot(), (self.desk.briefing, self.desk.opening)

    def _load(self, state: Any) -> None:
        self._cache = {}
        self.world = copy.deepcopy(state[0])
        if self.desk.env.task is None:  # another game's: what is the same for all cases is learnt at a reset
            self.desk.begin(self.desk.env.tasks()[0])
        self.desk.env.restore(state[1])
        self.desk.briefing, self.desk.opening = state[2]

    def close(self) -> None:
        """Ends the inner environment: frees its database, closes its sandboxes."""
        self.desk.env.close()

    # -- what agents see -------------------------------------------------------------------------
    def _look(self, agent: str) -> str:
        case, me, planner = self.world, self.world.members[agent], agent == "planner_0"
        talk = self.desk.talks and planner
        top = f"Problem: {line(self.desk.opening)}" if planner else "Nobody has told you anything."
        if talk:
            top = line(next((t for t in reversed(case.talk) if t.startswith("Customer: ")), ""))
        elif not planner and me.heard:
            top = line(me.heard[-1])
        heard = line(me.heard[-1]) if planner and me.heard else "Nobody has reported anything."
        due = "You have not reported your last call." if not me.reported else "Nothing is to be reported."
        lines = [
            top,
            f"Your last call: {line(me.results[-1])}" if me.results else "You have called no tool.",
            heard if planner else due,
            f"You told {line(me.said)}" if me.said else "You have told nobody anything.",
            f"You are {agent}, with {', '.join(a for a in self.possible_agents if a != agent)}."
            f" Cycle {self.cycle + 1} of {self.max_cycles}." + (" The case is closed." if case.over else ""),
            self._fate(agent) or "Your last action was possible.",
        ]
        lines += ["Told to call:", *(f"- {o}" for o in me.orders)] if me.orders else []
        lines += ["Conversation:", *(f"- {t}" for t in case.talk)] if talk else []
        lines += ["Messages:", *(f"- {h}" for h in me.heard)] if me.heard else []
        lines += ["Your calls:", *(f"- {r}" for r in me.results)] if me.results else []
        say, report = ("say words to the customer | " if talk else ""), "" if planner else "report | "
        lines.append(f'Answer with: {{"name": tool, "arguments": {{...}}}} | tell NAME words | {say}{report}wait')
        if planner:
            may = {"none": "You may call no tool", "all": "You may call every tool"}
            lines.append(may.get(self.planner, f"You may call only {', '.join(sorted(self.desk.reads))}"))
        return "\n".join([*lines, "", self.desk.briefing if planner else self.desk.tools])

    def _fate(self, agent: str) -> str:
        """Why its last action was not possible."""
        did, valid = self._did.get(agent, ("", True))
        why = (self.world.members[agent].wrong or "the call went wrong") if did else NONE
        return "" if valid else f"Your last action was not possible: {line(why)}."

    def _scene(self) -> str:
        case = self.world
        lines = [f"{self.name}-{self.task}, cycle {self.cycle}", *case.talk, *case.log]
        return "\n".join([*lines, "The case is closed." if case.over else "The case is open."])

    def _choices(self, agent: str) -> Sequence[str]:
        return tuple(self._rows(agent))

    def _rows(self, agent: str) -> dict[str, Any]:
        """Commands with their ``(measures,)``; the same until the agent or the repository changes."""
        case, me = self.world, self.world.members[agent]
        if case.over:
            return {}
        key = me.changes, case.listed
        if agent not in self._cache or self._cache[agent][0] != key:
            self._cache[agent] = key, self._made(agent, me)
        return self._cache[agent][1]

    def _made(self, agent: str, me: Member) -> dict[str, Any]:
        planner, rows = agent == "planner_0", dict[str, Any]()
        worker = self.workers[self.world.tells % len(self.workers)]

        def add(command: str, own: Any, *flags: bool) -> None:  # says, tells, was told, reports
            if command not in rows:
                rows[command] = np.array([*own, *flags], np.float32)

        for text in me.orders:
            add(text, me.memory.call(text, self._read_call(text)), False, False, True, False)
        if not me.reported:
            add("report", (0.0,) * OWN, False, False, False, True)
        for text, own in self._thought_of(me, PHRASES if planner and self.desk.talks else ()):
            if text in PHRASES:
                add(f"say {text}", own, True, False, False, False)
            elif self._may(agent, self._read_call(text).name):
                add(text, own, False, False, False, False)
            else:
                add(f"tell {worker} {text}", own, False, True, False, False)
        return rows

    def _thought_of(self, me: Member, phrases: tuple[str, ...]) -> list[tuple[str, Any]]:
        """Calls and phrases worth choosing from, with what ``CallRows`` knows of them."""
        if not self.desk.talks:
            return [(text, me.memory.call(text, self._read_call(text))) for text in self.world.listed]
        every = [*phrases, *(c.text() for c in offers(self.desk.env.tools.values(), me.seen, OFFERS))]
        fresh = [c for c in every if me.memory.opens(c)] or every
        found = me.memory.rows(fresh, phrases, self._names(), PER_TOOL, DOUBT)
        return [(text, row[-OWN:]) for text, row in found]

    def _read_call(self, text: str) -> Call:
        made = json.loads(text)
        return Call(made["name"], made["arguments"])

    def _names(self) -> dict[str, int]:
        tools = self.desk.env.tools if self.desk.talks else sorted({self._read_call(t).name for t in self.world.listed})
        return {name: min(k, TOOLS - 1) for k, name in enumerate(sorted(tools))}

    def _measures(self, agent: str, choices: Sequence[str]) -> Any:
        rows, none = self._rows(agent), np.zeros(self.measures, np.float32)
        return np.clip([rows.get(c, none) for c in choices], -1.0, 1.0)

    def _gauges(self, agent: str) -> Any:
        me, share = self.world.members[agent], min(1.0, self.cycle / self.max_cycles)
        phrases = PHRASES if agent == "planner_0" and self.desk.talks else ()
        known = me.memory.state(self.max_cycles, min(1.0, len(self._rows(agent)) / 64), self._names(), phrases)[:HEARD]
        return np.clip([*known, agent == "planner_0", share, len(me.orders) / ORDERS, not me.reported], -1.0, 1.0)

    # -- scripts ---------------------------------------------------------------------------------
    def _script(self, agent: str, policy: str) -> str:
        case, planner = self.world, agent == "planner_0"
        if case.over:
            return WAIT
        if policy == "collusion":
            name, about = ("calculate", {"expression": "1+1"}) if self.desk.talks else ("view", {"path": "."})
            return Call(name, about).text()
        me = case.members[agent]
        if not planner and not me.reported:
            return "report"
        step = self.desk.next()
        calls = None if step in PHRASES else self.desk.parse(step)
        if not calls or isinstance(calls, str):
            return f"say {step}" if planner and not self._busy() else WAIT
        if not planner:
            return step if step in me.orders else WAIT
        if self._busy() or any(step in case.members[w].orders for w in self.workers):
            return WAIT
        return (
            step if self._may(agent, calls[0].name) else f"tell {self.workers[case.tells % len(self.workers)]} {step}"
        )

    def _busy(self) -> bool:
        return any(not self.world.members[w].reported for w in self.workers)
