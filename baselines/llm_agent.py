"""A language model behind an OpenAI-compatible endpoint as an agent: the standard library is all that it needs."""

from __future__ import annotations

import inspect
import re
from typing import Any

from ..envs.errors import InfraError
from ..wrappers.scorers.http import ChatClient, ChatError
from ..wrappers.scorers.settings import check
from ..wrappers.shaper import nearest

FORM = "openai:MODEL@http://HOST:PORT/v1"
SYSTEM = (
    "You play a text game. You see where you are and a numbered list of the actions that are possible now. "
    "Answer with the number of one action, or with its exact words, and with nothing else."
)
FREE = (
    "You call tools and talk with a user. To call a tool, answer with "
    '{"name": TOOL, "arguments": {...}} and nothing else; any other answer is said to the user.'
)
_NAME = re.compile(r"openai:(?P<model>.+?)@(?P<url>https?://.+)")
_THOUGHT = re.compile(r"(?s)<think>.*?</think>")
_LONGEST = 200  # characters of an answer that the world gets to see


class EndpointError(InfraError):
    """The endpoint cannot be reached, refuses, or does not speak the protocol: the agent is not to blame."""


class EndpointAgent:
    """Shows the text observation and the numbered admissible actions, reads a number or a command back.

    An answer that is neither is handed to the world as it is: an invalid action, counted in ``unreadable``. Where the
    environment lists no actions, as tool environments do by default, every answer is the action, whole (give it
    ``max_tokens`` enough for a tool call).

    Args:
        model: as the endpoint names it.
        url: of the API, such as ``http://127.0.0.1:8000/v1``; ``/chat/completions`` is appended.
        api_key_env: *name* of the environment variable that holds the key, or None. The key itself stands in no setting,
            no file and no message.
        temperature: of the sampling; 0 is greedy.
        max_tokens: of an answer.
        timeout: seconds that one request may stand still.
        retries: further tries after a failed connection, a busy server (429) or a server error (5xx), with growing pauses.
        turns: earlier turns of the episode that are shown again.
        system: the system prompt; by default one for worlds that list actions, or one for tools and talk.

    Raises:
        ValueError: a setting that is not allowed, or a key that is not there.
    """

    def __init__(
        self,
        model: str,
        url: str,
        api_key_env: str | None = None,
        temperature: float = 0.0,
        max_tokens: int = 64,
        timeout: float = 60.0,
        retries: int = 2,
        turns: int = 8,
        system: str | None = None,
    ) -> None:
        self._client = ChatClient(model, url, api_key_env, temperature, max_tokens, timeout, retries)
        check("endpoint", "turns", turns, 0, whole=True)
        self._client.key()  # a key that is not there is said now, not in the middle of an episode
        self.model, self.url, self.api_key_env = model, self._client.url, api_key_env
        self.temperature, self.max_tokens = temperature, max_tokens
        self.timeout, self.retries, self.turns, self.system = timeout, retries, turns, system
        self.unreadable = 0
        self._past: list[dict[str, str]] = []

    @property
    def calls(self) -> int:
        """Requests that were sent, repetitions included."""
        return self._client.calls

    @classmethod
    def named(cls, name: str, **settings: Any) -> EndpointAgent:
        """From ``openai:MODEL@http://HOST:PORT/v1``.

        Raises:
            ValueError: the name or a setting is not understood.
        """
        if not (found := _NAME.fullmatch(name)):
            raise ValueError(f"an endpoint is named {FORM}, not {name!r}")
        known = [p for p in inspect.signature(cls).parameters if p not in ("model", "url")]
        for key in settings:
            if key == "api_key":
                raise ValueError(
                    "a key is never a setting: put it into an environment variable, name that in api_key_env"
                )
            if key not in known:
                raise ValueError(f"an endpoint has no setting {key!r}{nearest(key, known)} It has: {', '.join(known)}")
        return cls(found["model"], found["url"], **settings)

    def reset(self, seed: int | None = None) -> None:
        """Begins an episode: forgets the earlier turns."""
        self._past = []

    def act(self, obs: Any, info: dict[str, Any]) -> str:
        """One of the admissible actions, or what the model said instead.

        Raises:
            ValueError: the observation is no text.
            EndpointError: the endpoint gives no answer.
        """
        if not isinstance(obs, str):
            raise ValueError(
                f"a language model reads text, and this observation is {type(obs).__name__}: use the text face"
            )
        choices = [str(c) for c in info.get("admissible_actions", ())]
        listed = "\n".join(f"{i}. {c}" for i, c in enumerate(choices))
        shown = {"role": "user", "content": f"{obs}\n\nPossible actions:\n{listed}" if choices else obs}
        try:
            system = self.system or (SYSTEM if choices else FREE)
            said = self._client.ask([{"role": "system", "content": system}, *self._past, shown]).text
        except ChatError as e:
            raise EndpointError(str(e)) from None
        action = read_action(said, choices)
        if action is None:
            self.unreadable += bool(choices)
            action = " ".join(said.split())[:_LONGEST] if choices else _THOUGHT.sub("", said).strip()
            action = action.encode(errors="replace").decode()  # no lone surrogates
        # the list of actions is left out of the past: it is most of the text and no longer true
        self._past += [{"role": "user", "content": obs}, {"role": "assistant", "content": action}]
        self._past = self._past[-2 * self.turns :] if self.turns else []
        return action


def read_action(said: str, choices: list[str]) -> str | None:
    """The action that an answer means, or None: a number of the list, the exact words, or the only action that it names."""
    said = _THOUGHT.sub("", said).strip()
    exact = {c.lower(): c for c in choices}
    bare = said.lower().strip(" \t\n.!?\"'`*>[]()")
    if bare in exact:
        return exact[bare]
    numbered = re.fullmatch(
        r"(?:the )?(?:action|answer|number|option)?\s*[:#]?\s*[\[(]?(\d+)[\])]?(?:[.):\s].*)?", bare, re.S
    )
    if numbered:
        i = int(numbered[1]) if len(numbered[1]) < 6 else len(choices)
        return choices[i] if i < len(choices) else None
    named = [c for c in choices if re.search(rf"(?<!\w){re.escape(c.lower())}(?!\w)", said.lower())]
    longest = [c for c in named if not any(c != d and c.lower() in d.lower() for d in named)]
    return longest[0] if len(longest) == 1 else None
