"""A language model behind an OpenAI-compatible endpoint as an agent: the standard library is all that it needs."""

from __future__ import annotations

import inspect
import json
import os
import re
import time
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

from ..envs.errors import InfraError
from ..wrappers.shaper import nearest

FORM = "openai:MODEL@http://HOST:PORT/v1"
SYSTEM = (
    "You play a text game. You see where you are and a numbered list of the actions that are possible now. "
    "Answer with the number of one action, or with its exact words, and with nothing else."
)
_NAME = re.compile(r"openai:(?P<model>.+?)@(?P<url>https?://.+)")
_LONGEST = 200  # characters of an answer that the world gets to see


class EndpointError(InfraError):
    """The endpoint cannot be reached, refuses, or does not speak the protocol: the agent is not to blame."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the key to another host."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


class EndpointAgent:
    """Shows the text observation and the numbered admissible actions, reads a number or a command back.

    An answer that is neither is handed to the world as it is: an invalid action, counted in ``unreadable``.

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
        system: the system prompt.

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
        system: str = SYSTEM,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"an endpoint's url is http://HOST:PORT/v1 or https://HOST/v1, not {url!r}")
        if parts.username or parts.password or parts.query:
            raise ValueError("the url of an endpoint holds no credentials: name an environment variable in api_key_env")
        for name, value, low, kind in (
            ("temperature", temperature, 0, (int, float)),
            ("max_tokens", max_tokens, 1, (int,)),
            ("timeout", timeout, 0.001, (int, float)),
            ("retries", retries, 0, (int,)),
            ("turns", turns, 0, (int,)),
        ):
            if isinstance(value, bool) or not isinstance(value, kind) or value < low:
                what = "a number" if float in kind else "a whole number"
                raise ValueError(f"the endpoint's setting {name!r} is {value!r}, allowed is {what} from {low}")
        self._key = self._read_key(api_key_env)
        self.model, self.url, self.api_key_env = model, url.rstrip("/"), api_key_env
        self.temperature, self.max_tokens = temperature, max_tokens
        self.timeout, self.retries, self.turns, self.system = timeout, retries, turns, system
        self.calls = self.unreadable = 0
        self._past: list[dict[str, str]] = []
        here = parts.hostname in ("localhost", "127.0.0.1", "::1")  # a proxy has no business with this machine
        proxies = [urllib.request.ProxyHandler({})] if here else []
        self._opener = urllib.request.build_opener(_NoRedirect, *proxies)

    @staticmethod
    def _read_key(name: str | None) -> str:
        if name is None:
            return ""
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise ValueError("api_key_env is the name of an environment variable (letters, digits, _), never a key")
        if not (key := os.environ.get(name, "").strip()):
            # a key that was put where its name belongs often looks like a name: it is not repeated here
            raise ValueError("api_key_env names an environment variable that is not set (or empty)")
        return key

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
        said = self._ask([{"role": "system", "content": self.system}, *self._past, shown])
        action = read_action(said, choices)
        if action is None:
            self.unreadable += bool(choices)
            action = " ".join(said.split())[:_LONGEST].encode(errors="replace").decode()  # no lone surrogates
        # the list of actions is left out of the past: it is most of the text and no longer true
        self._past += [{"role": "user", "content": obs}, {"role": "assistant", "content": action}]
        self._past = self._past[-2 * self.turns :] if self.turns else []
        return action

    # -- the wire --------------------------------------------------------------------------------
    def _ask(self, messages: list[dict[str, str]]) -> str:
        body = {
            "model": self.model,
            "messages": messages,
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
        }
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self._key}"} if self._key else {})
        request = urllib.request.Request(f"{self.url}/chat/completions", json.dumps(body).encode(), headers)
        why = ""
        for k in range(self.retries + 1):
            if k:
                time.sleep(min(0.25 * 2**k, 8.0))
            self.calls += 1
            try:
                with self._opener.open(request, timeout=self.timeout) as answer:
                    return self._content(answer.read(1_000_000))
            except urllib.error.HTTPError as e:
                with e:
                    why = f"answers {e.code} {e.reason}: {self._excerpt(e)}"
                if e.code != 429 and e.code < 500:  # asking again would not change it
                    break
            except (OSError, HTTPException) as e:  # refused, unknown host, timed out, cut off
                why = f"cannot be reached: {getattr(e, 'reason', None) or e or type(e).__name__}"
        raise EndpointError(self._without_key(f"the endpoint {self.url} {why}"))

    def _content(self, raw: bytes) -> str:
        try:
            content = json.loads(raw)["choices"][0]["message"]["content"]
        except (ValueError, LookupError, TypeError):
            start = " ".join(raw[:_LONGEST].decode(errors="replace").split())
            raise EndpointError(
                self._without_key(f"the endpoint {self.url} gave no chat completion: {start!r}")
            ) from None
        return content if isinstance(content, str) else ""

    @staticmethod
    def _excerpt(e: urllib.error.HTTPError) -> str:
        try:
            return " ".join(e.read(2_000).decode(errors="replace").split())[:_LONGEST]
        except (OSError, HTTPException):
            return ""

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text


def read_action(said: str, choices: list[str]) -> str | None:
    """The action that an answer means, or None: a number of the list, the exact words, or the only action that it names."""
    said = re.sub(r"(?s)<think>.*?</think>", "", said).strip()
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
