"""The service desk of a shop: a conversation with a customer, tools over a database, a policy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from ....wrappers.scorers.http import ChatClient
from ...errors import InfraError, one_of
from ...text.base import whole
from ..base import Item, ToolEnv
from ..calls import Call, Turn
from ..spaces import Calls
from ..tool import Result, Toolbox
from .data import Desk
from .model_user import Model
from .tasks import DECLINE, ENDS, FAMILIES, LONGEST, Request, Task, build
from .users import ASK, DONE, PHRASES, SORRY, WHICH, Scripted, Stochastic, User, asserts, declines, states

POLICY = Path(__file__).with_name("policy.md").read_text()
Kind = Literal["scripted", "stochastic", "model"]
_NAMED = 2  # states that one message may name: more is guessing


class ServiceDeskEnv(ToolEnv):
    """Serve a shop's customer by tools and by the policy.

    ## Description
    Our own domain in the manner of tau-bench (arXiv 2406.12045), with nothing copied from it. A customer writes to the service
    desk of a shop with 1 to 5 requests, one at a time: cancel, return, exchange, change the address, the payment method or an
    item, refund to a gift card, the state of an order, a fraud that goes to a human, and requests that the policy forbids and
    that must be declined, also where a tool would do them. The policy is the first message. 19 tools work on a SQLite database
    in memory with 40 products and 400 customers, which all tasks share; a task adds a customer's orders. Tasks are numbers:
    those of ``train`` from 0, with one half of the customers, of ``test`` from 2**30, with the other. Reading costs nothing. An
    episode is won if at its end the database is what the reference makes of it, everything was told that the customer had to
    hear, and no forbidden action was done: no change that the policy forbids, even if it was made good again, and no state of
    an order told wrongly or before the identity was verified. The tools change nothing before that either. What was told counts
    only after the identity was verified and the order was looked at.

    ## Observation Space
    ``Unicode(16384)``: at first the policy, the tools and the customer's first message; then what the tools or the customer
    said. ``Chat`` shows chat messages instead.

    ## Action Space
    ``Calls``: words for the customer, or tool calls in any form that ``calls.parse`` reads. Tools: ``verify_customer``,
    ``cancel_order``, ``modify_address``, ``modify_payment``, ``modify_item``, ``return_item``, ``exchange_item``,
    ``issue_gift_card``, ``transfer_to_human``, ``find_customer_by_email``, ``find_customer_by_name``, ``get_customer``,
    ``list_orders``, ``get_order``, ``get_product``, ``search_products``, ``get_variant``, ``refund_status``, ``calculate``.

    ## Rewards
    Terms, each times its weight: ``format``, ``valid_call``, ``match``, ``items``, ``outcome``, as ``ToolEnv`` explains
    them. By default the outcome alone is paid, 1.0 for an episode that is won. Checklist, for every request with equal weights:
    ``look`` at its order, ``do`` what is right, ``tell`` what must be heard; in the first one also ``verify``.

    ## Episode End
    Terminates when the customer ends the conversation, or with ``transfer_to_human``, which wins only where the policy wants
    it; the agent's words do not end it. Truncates after ``max_steps``, or, with ``info["invalid"]``, when the episode is lost
    and the model that plays the customer had gone wrong (it acts as the agent, says what it cannot know, contradicts itself on
    an identifier, says nothing, never ends) or did not answer.

    ## Information
    As ``ToolEnv``: ``score``, ``max_score``, ``progress``, ``success``, ``subgoals`` (the checklist), ``process_score``,
    ``reward_terms``, ``tool_calls``, ``valid_action``, ``admissible_actions`` with ``candidates``, ``messages``; at the end
    ``answer``: ``goal`` (the database is right), ``told``, ``violations`` (forbidden actions in words), ``families``.

    ## Arguments
    ``user``: ``scripted`` answers what it is asked and repeats, ten times, what was not dealt with (it sees the shop's pages);
    ``stochastic`` also varies its words, says details late, may know only name and zip code, changes its mind once, thanks in
    between, all by the task's number; ``model`` is a language model behind an OpenAI-compatible endpoint: ``endpoint`` (its
    url), ``model``, ``api_key_env`` (*name* of the variable with the key). ``horizon``: requests in a conversation, 1 to 5;
    None for 1 to 3, by the task. ``families``: from which the requests are, all by default. ``weights``, ``candidates``,
    ``max_calls``, ``split``, ``worlds``, ``max_steps``, ``expose_reference``, ``max_length``, ``render_mode``: as ``ToolEnv``.
    ``reset(options={"task": n})`` picks a task.

    ## Sizes
    The shared image has about 0.35 MB and is made once a process; all of it is generated, no data of others is in it. The
    oracle needs 10 steps on average, 29 at most with five requests.

    ## Version History
    * v0: first version.

    Raises:
        ValueError: a setting is not allowed; names it and what is.
        InfraError: inside a step, see above; the step is then truncated.
    """

    name = "servicedesk"

    def __init__(
        self,
        *,
        user: Kind = "scripted",
        horizon: int | None = None,
        families: Sequence[str] | None = None,
        endpoint: str | None = None,
        model: str | None = None,
        api_key_env: str | None = None,
        max_steps: int = 60,
        **settings: Any,
    ) -> None:
        super().__init__(max_steps=max_steps, **settings)
        if user not in get_args(Kind):
            raise one_of("user", user, get_args(Kind))
        self.user = user
        self.horizon = None if horizon is None else whole("horizon", horizon, 1, LONGEST, also="None or ")
        self.families = _families(families)
        if self.families == (ENDS,) and self.horizon not in (None, 1):
            raise ValueError(
                f"horizon is {horizon}; allowed where families is {ENDS!r} alone: 1, for it ends the conversation"
            )
        self._client: ChatClient | None = None
        if user == "model":
            if endpoint is None or model is None:
                raise ValueError("user='model' needs endpoint (such as 'http://127.0.0.1:8000/v1') and model")
            self._client = ChatClient(model, endpoint, api_key_env, max_tokens=200)
        elif endpoint is not None or model is not None or api_key_env is not None:
            raise ValueError(f"endpoint, model and api_key_env are settings of user='model', not of {user!r}")
        from .tools import TOOLS, WRITING  # here, since the page of this class is read where pydantic is not

        self.tools, self._writing = Toolbox(TOOLS), WRITING
        self.action_space = Calls(TOOLS)
        self.system = POLICY
        self.state = Desk()
        self._twin: Desk | None = None  # on which the reference is run
        self._head = ""
        self._begin_talk(build(0))

    def _begin_talk(self, task: Task) -> None:
        number = 0 if self.task is None else self.task
        self._now = task
        self._user: User
        if self._client is not None:
            self._user = Model(task, self._client)
        else:
            self._user = Stochastic(task, number) if self.user == "stochastic" else Scripted(task)
        self.opening, self._talk = self._user.begin()
        self._marks: dict[str, bool] = {i.id: False for i in task.items}
        self._done: frozenset[str] = frozenset()  # right writes, by their texts
        self._violations: tuple[str, ...] = ()
        self._goal = False

    # -- an episode ------------------------------------------------------------------------------
    def _open(self, task: int) -> None:
        now = build(task, self.horizon, self.families)
        self.state.begin(now.rows)
        self._begin_talk(now)

    def _key(self, call: Call) -> str:
        # as the base has it, quicker: the reference has the arguments as tools take them, plain texts
        return f"{call.name}{{{', '.join([f'{k!r}: {v!r}' for k, v in sorted(call.arguments.items())])}}}".replace(
            "'", '"'
        )

    def _command(self, turn: Turn) -> bool:
        valid = super()._command(turn)
        if self._talk.fault and not self._success and (self._ended or self._last):
            raise InfraError(f"the user went wrong: {self._talk.fault}")
        return valid

    def _reply(self, words: str) -> tuple[str, bool]:
        for k in range(self._talk.request + 1):
            self._hear(k, words)
        answer, self._talk, over = self._user.reply(words, self._talk, self._settled(self._talk.request))
        return answer, over

    def _hear(self, k: int, words: str) -> None:
        """Notes what the customer was told about a request, once the agent can know it."""
        told, tell = self._now.requests[k].told, f"tell-{k}"
        if not told or not self._marks[f"look-{k}"] or self._marks[tell]:
            return
        verified = self._marks["verify"]
        if told == DECLINE:
            self._marks[tell] = verified and declines(words)
        elif told in (named := states(words)):
            if len(named) <= _NAMED and verified:
                self._marks[tell] = True
            elif len(named) <= _NAMED:
                self._violations += (f"{k}: a state was told before the identity was verified",)
        elif verified and asserts(words):
            self._violations += (f"{k}: a state was told wrongly",)

    def _settled(self, k: int) -> bool:
        """The request was dealt with, as the customer sees it."""
        told = all(self._marks.get(f"{what}-{k}", True) for what in ("do", "tell"))
        return told or any(v.startswith(f"{k}:") for v in self._violations)

    def _after(self, made: tuple[Call, ...], results: tuple[Result, ...]) -> bool:
        over = False
        for call, result in zip(made, results):
            if result.ok:
                assert result.arguments is not None
                self._note(Call(call.name, result.arguments))
                over = over or call.name == "transfer_to_human"
        return over

    def _note(self, call: Call) -> None:
        """What a call that a tool took means for the task."""
        about, now = call.arguments, self._now
        if call.name == "verify_customer":
            self._marks["verify"] |= about["customer_id"] == now.customer
        elif call.name == "get_order":
            for k, r in enumerate(now.requests):
                self._marks[f"look-{k}"] |= about["order_id"] == r.order
        elif call.name in self._writing:
            self._judge(call)

    def _judge(self, call: Call) -> None:
        """Is a change the right one, or a forbidden one?"""
        text = _text(call)
        for k, r in enumerate(self._now.requests):
            for bad in r.forbidden:
                if bad.name == call.name and bad.arguments.items() <= call.arguments.items():
                    self._violations += (f"{k}: {call.name} against the policy",)
            if any(_text(c) == text for c in r.writes):
                self._done |= {text}
                self._marks[f"do-{k}"] = all(_text(c) in self._done for c in r.writes)

    def _won(self) -> bool:
        if self._twin is None:
            self._twin = Desk()
        self._twin.begin(self._now.rows)
        for call in (self._now.trace[1], *(c for r in self._now.requests for c in r.writes)):
            result = self.tools.use(self._twin, call)
            assert result.ok, f"task {self.task}: the reference goes wrong: {result.text}"
        self._goal = self.state.same(self._twin)
        return self._goal and self._told() and not self._violations

    def _told(self) -> bool:
        return self._marks["verify"] and all(ok for i, ok in self._marks.items() if i.startswith("tell-"))

    def _user_turn(self) -> int:
        return self._talk.request

    def _answer(self) -> dict[str, Any]:
        families = tuple(r.family for r in self._now.requests)
        about = {"told": self._told(), "violations": self._violations, "families": families}
        return {"goal": self._goal if self._ended else self._won() or self._goal} | about

    # -- the reference ---------------------------------------------------------------------------
    def _trace(self) -> tuple[Call, ...]:
        return self._now.trace

    def _items(self) -> tuple[Item, ...]:
        return self._now.items

    def _checks(self) -> dict[str, bool]:
        return self._marks

    def _phrases(self) -> tuple[str, ...]:
        return PHRASES

    def _remaining(self) -> list[Call | str]:
        now, marks = self._now, self._marks
        plan: list[Call | str] = []
        if not marks["verify"]:
            plan += [] if self._talk.identified else [ASK]
            plan += self._identify()
        elif not self._talk.detailed:
            plan.append(WHICH)
        for k, r in enumerate(now.requests[: self._talk.request + 1]):
            plan += self._serve(k, r)
        if not plan or isinstance(plan[-1], Call):
            plan.append(SORRY if now.requests[self._talk.request].told == DECLINE else DONE)
        return plan

    def _identify(self) -> list[Call | str]:
        now = self._now
        find = now.trace[0]
        if self._key(find) in self._known:
            return [now.trace[1]]
        if isinstance(self._user, Stochastic) and self._user.by_name:
            if self._key(_by_name(now)) in self._known:
                return [now.trace[1]]
            find = _by_name(now)
        return [find, now.trace[1]]

    def _serve(self, k: int, r: Request) -> list[Call | str]:
        """What is left to do about a request."""
        plan: list[Call | str] = []
        if not self._marks.get(f"do-{k}", True):
            plan += [c for c in r.reads if self._key(c) not in self._known]
            plan += [c for c in r.writes if _text(c) not in self._done]
        if not self._marks.get(f"tell-{k}", True):
            plan += [] if self._marks[f"look-{k}"] else list(r.reads)
            plan.append(SORRY if r.told == DECLINE else f"Your order is {r.told}.")
        return plan

    # -- what is seen, states --------------------------------------------------------------------
    def _look(self) -> str:
        if self._steps:
            return super()._look()
        if not self._head:  # the same for all tasks
            self._head = super()._look().removesuffix(self.opening)
        return self._head + self.opening

    def _keep(self) -> Any:
        return self.opening, self._talk, dict(self._marks), self._done, self._violations

    def _take(self, kept: Any) -> None:
        self.opening, self._talk, self._marks, self._done, self._violations = kept

    def fork(self) -> ToolEnv:
        """An environment of its own in the same state; what one does does not reach the other."""
        branch = super().fork()
        branch._twin = None  # type: ignore[attr-defined]
        return branch

    def close(self) -> None:
        """Frees the databases."""
        self.state.close()
        if self._twin is not None:
            self._twin.close()
        super().close()


def _families(given: Sequence[str] | None) -> tuple[str, ...]:
    if given is None:
        return FAMILIES
    if isinstance(given, str) or not isinstance(given, Sequence) or not given:
        raise ValueError(f"families is {given!r}; allowed: None or a list of {', '.join(FAMILIES)}")
    for f in given:
        if f not in FAMILIES:
            raise one_of("a family", f, FAMILIES)
    return tuple(f for f in FAMILIES if f in given)


def _text(call: Call) -> str:
    """By which changes are compared."""
    return call.name + repr(sorted(call.arguments.items()))


def _by_name(task: Task) -> Call:
    first, last = task.person.name
    return Call("find_customer_by_name", {"first_name": first, "last_name": last, "zip": task.person.zip})
