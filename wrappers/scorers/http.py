"""One client for OpenAI-compatible chat completions, for judges and agents: the standard library is all that it needs."""

from __future__ import annotations

import json
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from .settings import check

_EXCERPT = 200  # characters of a strange answer that an error repeats
_MOST = 1_000_000  # bytes of an answer that are read


class ChatError(RuntimeError):
    """The endpoint cannot be reached, refuses, or does not speak the protocol.

    Attributes:
        status: the HTTP status, 200 where the answer was no chat completion, None where none came.
    """

    def __init__(self, said: str, status: int | None = None) -> None:
        super().__init__(said)
        self.status = status


class Said(NamedTuple):
    """One answer."""

    text: str
    read: int = 0
    """Tokens of the prompt, as the endpoint counts them; 0 where it does not."""
    written: int = 0
    """Tokens of the answer."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the key to another host."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


class ChatClient:
    """Puts chat messages to an endpoint, again where that may help.

    Args:
        model: as the endpoint names it.
        url: of the API, such as ``http://127.0.0.1:8000/v1``; ``/chat/completions`` is appended.
        api_key_env: *name* of the environment variable that holds the key, or None. The key itself stands in no setting,
            no file and no message.
        temperature: of the sampling; 0 is greedy.
        max_tokens: of an answer.
        timeout: seconds that one request may stand still.
        retries: further tries after a failed connection, a busy server (429) or a server error (5xx), with growing pauses.

    Raises:
        ValueError: a setting that is not allowed.
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
    ) -> None:
        if not isinstance(model, str) or not model:
            raise ValueError(f"an endpoint's model is the name that it gives it, not {model!r}")
        parts = urlsplit(url) if isinstance(url, str) else None
        if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"an endpoint's url is http://HOST:PORT/v1 or https://HOST/v1, not {url!r}")
        if parts.username or parts.password or parts.query:
            raise ValueError("the url of an endpoint holds no credentials: name an environment variable in api_key_env")
        check("endpoint", "temperature", temperature, 0)
        check("endpoint", "max_tokens", max_tokens, 1, whole=True)
        check("endpoint", "timeout", timeout, 0.001)
        check("endpoint", "retries", retries, 0, whole=True)
        if api_key_env is not None and (
            not isinstance(api_key_env, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", api_key_env)
        ):
            raise ValueError("api_key_env is the name of an environment variable (letters, digits, _), never a key")
        self.model, self.url, self.api_key_env = model, url.rstrip("/"), api_key_env
        self.temperature, self.max_tokens = temperature, max_tokens
        self.timeout, self.retries = timeout, retries
        self.calls = 0
        here = parts.hostname in ("localhost", "127.0.0.1", "::1")  # a proxy has no business with this machine
        proxies = [urllib.request.ProxyHandler({})] if here else []
        self._opener = urllib.request.build_opener(_NoRedirect, *proxies)

    def key(self) -> str:
        """The key, read from the environment each time; empty where none is named.

        Raises:
            ValueError: the variable is not set.
        """
        if self.api_key_env is None:
            return ""
        if not (key := os.environ.get(self.api_key_env, "").strip()):
            # a key that was put where its name belongs often looks like a name: it is not repeated here
            raise ValueError("api_key_env names an environment variable that is not set (or empty)")
        return key

    def ask(self, messages: Sequence[Mapping[str, str]], **extra: Any) -> Said:
        """What the model says to ``messages``; ``extra`` joins the request's body (``response_format`` ...).

        Raises:
            ChatError: no answer, after all tries.
            ValueError: see ``key``.
        """
        body = {
            "model": self.model,
            "messages": list(messages),
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
        } | extra
        key = self.key()
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        request = urllib.request.Request(f"{self.url}/chat/completions", json.dumps(body).encode(), headers)
        why, status = "", None
        for k in range(self.retries + 1):
            if k:
                time.sleep(min(0.25 * 2**k, 8.0))
            self.calls += 1
            try:
                with self._opener.open(request, timeout=self.timeout) as answer:
                    raw = answer.read(_MOST)
            except urllib.error.HTTPError as e:
                with e:
                    why, status = f"answers {e.code} {e.reason}: {_excerpt(e)}", e.code
                if e.code != 429 and e.code < 500:  # asking again would not change it
                    break
            except (OSError, HTTPException) as e:  # refused, unknown host, timed out, cut off
                why, status = f"cannot be reached: {getattr(e, 'reason', None) or e or type(e).__name__}", None
            else:
                if (said := _said(raw)) is not None:
                    return said
                start = " ".join(raw[:_EXCERPT].decode(errors="replace").split())
                why, status = f"gave no chat completion: {start!r}", 200
                break
        told = f"the endpoint {self.url} {why}"
        raise ChatError(told.replace(key, "***") if key else told, status)


def _said(raw: bytes) -> Said | None:
    try:
        found = json.loads(raw)
        content = found["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    usage = found.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    counts = (usage.get(k) for k in ("prompt_tokens", "completion_tokens"))
    read, written = (c if isinstance(c, int) and not isinstance(c, bool) and c >= 0 else 0 for c in counts)
    return Said(content if isinstance(content, str) else "", read, written)


def _excerpt(e: urllib.error.HTTPError) -> str:
    try:
        return " ".join(e.read(2_000).decode(errors="replace").split())[:_EXCERPT]
    except (OSError, HTTPException):
        return ""
