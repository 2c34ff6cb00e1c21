"""A customer that is a language model, and what shows that it went wrong."""

from __future__ import annotations

import re
from typing import Any

from ....wrappers.scorers.http import ChatClient, ChatError
from ...errors import InfraError
from .tasks import Task
from .users import BYE, Scripted, Talk

STOP = "###STOP###"
SPARE = 6  # answers that a user may give beyond those that its requests need
PER_REQUEST = 8
_SERVES = re.compile(
    r"\"arguments\"\s*:|<tool_call>"
    r"|\bI(?: have|'ve| will|'ll) (?:now )?(?:cancel|verif|refund|process|updat|transfer|issu)\w* your"
    r"|how (?:can|may) I (?:help|assist) you|(?:anything|something) else (?:that )?I can (?:do|help)",
    re.I,
)
_EMAIL = re.compile(r"[\w.+\-]+@[\w\-]+(?:\.[\w\-]+)+")
_PIN = re.compile(r"\bPIN\b\D{0,12}(\d{4})\b", re.I)
_ZIP = re.compile(r"\bzip\b\D{0,12}(\d{5})\b", re.I)
_IDS = re.compile(r"\b(?:[WIVPCA]\d{4,8}|(?:card|gift)_\d+|card ending \d{4})\b")
_RULES = """You are a customer who writes to a shop's service desk. The other side is the agent; you never act as the agent.
Your facts:
{facts}
You want the following, one request at a time, in this order:
{wants}
Rules: write one short message a turn. Say who you are only when you are asked. Invent nothing: say no number, address or name
that is not above. If a request is declined, insist once, then accept it. When all requests were dealt with or declined, answer
exactly {stop}"""


def fault(words: str, task: Task, known: str) -> str:
    """What is wrong with a customer's message; "" for nothing.

    Args:
        words: of the message.
        task: whose customer it is.
        known: everything that the customer was told before, by its instruction and by the agent.
    """
    if _SERVES.search(words):
        return "it acts as the agent"
    own = ((_EMAIL, task.person.email, "email"), (_PIN, task.person.pin, "PIN"), (_ZIP, task.person.zip, "zip code"))
    for pattern, right, what in own:
        if any(found.rstrip(".").lower() != right for found in pattern.findall(words)):
            return f"it contradicts itself on its {what}"
    for found in _IDS.findall(words):
        if found not in known:
            return f"it says {found}, which it cannot know"
    return ""


class Model(Scripted):
    """A language model plays the customer; the first message is the scripted one.

    Args:
        task: whose customer it is.
        client: of the endpoint.

    Raises:
        InfraError: (``reply``) the endpoint gives no answer.
    """

    def __init__(self, task: Task, client: ChatClient) -> None:
        super().__init__(task)
        self.client = client
        who = task.person
        facts = (f"name {' '.join(who.name)}", f"email {who.email}", f"zip code {who.zip}", f"PIN {who.pin}")
        wants = [f"{k}. {r.said}" for k, r in enumerate(task.requests, 1)]
        self.rules = _RULES.format(facts="\n".join(f"- {f}" for f in facts), wants="\n".join(wants), stop=STOP)

    def begin(self) -> tuple[str, Talk]:
        """The scripted first message."""
        words, talk = super().begin()
        return words, talk._replace(history=(("assistant", words),), request=len(self.task.requests) - 1)

    def reply(self, words: str, talk: Talk, settled: bool) -> tuple[str, Talk, bool]:
        """See ``User``; here ``settled`` is not asked."""
        history = (*talk.history, ("user", words or "(says nothing)"))
        messages: list[dict[str, Any]] = [{"role": "system", "content": self.rules}]
        messages += [{"role": role, "content": text} for role, text in history]
        try:
            said = self.client.ask(messages).text.strip()
        except ChatError as e:
            raise InfraError(f"the user's model: {e}") from e
        over = STOP in said
        said = said.replace(STOP, "").strip()
        known = "\n".join((self.rules, *(text for _, text in history)))
        wrong = talk.fault or fault(said, self.task, known)
        if not said and not over:
            wrong = wrong or "it says nothing"
        turns = talk.turns + 1
        if not over and turns >= SPARE + PER_REQUEST * len(self.task.requests):
            wrong, over = wrong or "it never ends", True
        talk = talk._replace(history=(*history, ("assistant", said)), turns=turns, fault=wrong, identified=True)
        return said or BYE, talk, over
