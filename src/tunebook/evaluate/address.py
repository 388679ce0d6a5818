"""A model behind an OpenAI-compatible address: its name, and its answer to a conversation. What is sent leaves here."""

from __future__ import annotations

import http.client
import json
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

from tunebook.errors import ModelError

TIMEOUT = 120.0  # seconds for one reply
MOST_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer, its tokens where the server counts them, and whether it ended by itself, uncut."""

    text: str
    tokens: int | None
    ended: bool


@dataclass(frozen=True, slots=True)
class Address:
    """`url` ends before /chat/completions. Errors name it as `who` and say what to `do`.

    The environment variable `key` holds its key, where it wants one; the key is stored nowhere.
    """

    url: str
    who: str
    do: str
    key: str

    def first_model(self) -> str:
        """The name of the model that it serves. ModelError when it cannot be reached or names none."""
        reply = self._call("models", None)
        try:
            return str(reply["data"][0]["id"])
        except (KeyError, IndexError, TypeError) as error:
            raise ModelError(
                f"{self.who} at {self.url} names no model.", do="Give the address that ends before /chat/completions."
            ) from error

    def chat(self, model: str, messages: list[dict[str, Any]], max_tokens: int) -> Completion:
        """The likeliest answer to a conversation. ModelError when none could be had."""
        body = {"model": model, "messages": messages, "temperature": 0, "max_tokens": max_tokens}
        reply = self._call("chat/completions", body)
        try:
            choice = reply["choices"][0]
            tokens = (reply.get("usage") or {}).get("completion_tokens")
            text = str(choice["message"]["content"] or "")
            return Completion(text, tokens, choice.get("finish_reason") != "length")
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise ModelError(f"{self.who} at {self.url} replied in a form that is not OpenAI's.") from error

    def _call(self, path: str, body: dict[str, Any] | None) -> Any:
        if not self.url.startswith(("http://", "https://")):
            raise ModelError(f"The address '{self.url}' is not a web address.", do=self.do)
        url = f"{self.url.rstrip('/').removesuffix('/chat/completions')}/{path}"
        headers = {"Content-Type": "application/json"}
        if os.environ.get(self.key):
            headers["Authorization"] = f"Bearer {os.environ[self.key]}"
        try:
            request = urllib.request.Request(url, json.dumps(body).encode() if body else None, headers)
            with urllib.request.urlopen(request, timeout=TIMEOUT) as reply:
                return json.loads(reply.read(MOST_BYTES))
        except (OSError, ValueError, http.client.HTTPException) as error:  # not there, cut off, not JSON, no address
            reason = getattr(error, "reason", None) or error
            raise ModelError(f"{self.who} at {self.url} could not be asked ({reason}).", do=self.do) from error
