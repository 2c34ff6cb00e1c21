"""Any chat model behind an OpenAI-compatible endpoint as a judge, proposer and grader."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal

from ..shaper import nearest
from .http import ChatClient, ChatError
from .prompt import Prompt
from .query import Query, Reply
from .settings import check

LONGEST = 20_000  # characters of an answer that are kept
_SCHEMAS = ("json_schema", "json_object", "none")


@dataclass
class Endpoint:
    """One chat completion a query, several at a time; the answer is JSON, by a schema where the endpoint knows schemas.

    What the model says is only parsed, never evaluated; what cannot be read counts as no answer. The key of the API stands in
    an environment variable that ``api_key_env`` names, and in no setting, cache or message. The url is no part of the
    identity, so that a cache outlives a move to another machine or port: the same name must mean the same model.

    Raises:
        ValueError: a setting that is not allowed.
    """

    model: str
    """As the endpoint names it."""
    url: str
    """Of the API, such as ``http://127.0.0.1:8000/v1``."""
    api_key_env: str | None = None
    """Name of the environment variable that holds the key."""
    temperature: float = 0.0
    """Of the sampling; 0 is greedy."""
    max_tokens: int = 256
    """Of an answer."""
    timeout: float = 60.0
    """Seconds that one request may stand still."""
    retries: int = 2
    """Further tries after a failed connection, a busy server or a server error."""
    parallel: int = 4
    """Requests at a time."""
    schema: Literal["json_schema", "json_object", "none"] = "json_schema"
    """What the endpoint is told of the form: a schema, only that it is JSON, or nothing."""
    prompt: dict[str, Any] = field(default_factory=dict)
    """Settings of ``Prompt``."""
    price_in: float = 0.0
    """Of a million tokens read."""
    price_out: float = 0.0
    """Of a million tokens written."""

    kinds = ("question", "proposal", "rating")

    def __post_init__(self) -> None:
        if self.schema not in _SCHEMAS:
            raise ValueError(f"openai: schema is {self.schema!r}; allowed: {', '.join(map(repr, _SCHEMAS))}")
        check("endpoint", "parallel", self.parallel, 1, whole=True)
        for name in ("price_in", "price_out"):
            check("endpoint", name, getattr(self, name), 0)
        known = Prompt.__dataclass_fields__
        for name in self.prompt if isinstance(self.prompt, dict) else [self.prompt]:
            if name not in known:
                raise ValueError(
                    f"a prompt has no setting {name!r}{nearest(str(name), known)} It has: {', '.join(known)}"
                )
        self._prompt = Prompt(**self.prompt)
        self._client = ChatClient(
            self.model, self.url, self.api_key_env, self.temperature, self.max_tokens, self.timeout, self.retries
        )

    @property
    def identity(self) -> dict[str, Any]:
        """Model, sampling, length, schema and every word of the prompt."""
        return {
            "scorer": "openai",
            "model": self.model,
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "schema": self.schema,
            "prompt": self._prompt.identity,
        }

    def ready(self) -> None:
        """Is the key there? Asks nobody.

        Raises:
            ValueError: its variable is not set.
        """
        self._client.key()

    def reply(self, batch: Sequence[Query]) -> list[Reply | None]:
        """What the model said, with its tokens and their price; None where one request of several failed.

        Raises:
            ChatError: all failed, or nothing is there to be asked.
        """
        failed: list[ChatError] = []

        def one(query: Query) -> Reply | None:
            if any(e.status is None for e in failed):  # not there: the others need not find out as well
                return None
            try:
                return self._one(query)
            except ChatError as e:
                failed.append(e)
                return None

        with ThreadPoolExecutor(min(self.parallel, max(1, len(batch)))) as pool:
            out = list(pool.map(one, batch))
        if failed and not any(out):
            raise failed[0]
        return out

    def _one(self, query: Query) -> Reply:
        extra: dict[str, Any] = {}
        if self.schema == "json_schema":
            form = {"name": query.kind, "strict": True, "schema": self._prompt.schema(query)}
            extra["response_format"] = {"type": "json_schema", "json_schema": form}
        elif self.schema == "json_object":
            extra["response_format"] = {"type": "json_object"}
        said = self._client.ask(self._prompt.messages(query), **extra)
        price = (said.read * self.price_in + said.written * self.price_out) / 1e6
        return Reply(self._without_key(said.text)[:LONGEST], said.read + said.written, price)

    def _without_key(self, text: str) -> str:
        """An endpoint that repeats the key must not put it into the cache."""
        key = os.environ.get(self.api_key_env, "").strip() if self.api_key_env else ""
        return text.replace(key, "***") if key else text

    def read(self, raw: str, query: Query) -> Any:
        """The last JSON object of what was said; see the query's ``parse``."""
        return query.parse(raw)
