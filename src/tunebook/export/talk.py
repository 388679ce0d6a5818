"""Talk to a model: a conversation whose answers come piece by piece."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import DynamicCache

from tunebook.data.template import Refused, prompt_text
from tunebook.errors import ModelError
from tunebook.evaluate.generate import stop_token_ids
from tunebook.evaluate.mode import base_of, device_of, longest, reading


@dataclass(slots=True)
class Talker:
    """One model in one conversation. `without_adapter` makes a PeftModel answer as its base."""

    name: str
    model: Any
    tokenizer: Any
    without_adapter: bool = False
    temperature: float = 0.0
    max_new_tokens: int = 512
    chat: list[dict[str, str]] = field(default_factory=list)

    def ask(self, text: str) -> Generator[str, None, None]:
        """Add `text` to the conversation and yield the answer piece by piece. ModelError when it cannot be asked.

        An answer that is broken off is not kept in the conversation, nor is a question that was refused.
        """
        chat = [*self.chat, {"role": "user", "content": text}]
        try:
            prompt = self.tokenizer(prompt_text(self.tokenizer, chat), add_special_tokens=False)["input_ids"]
        except Refused as error:
            raise ModelError(f"The model's chat template refuses this conversation: {error}.") from error
        limit = longest(self.model)
        if limit is not None and len(prompt) >= limit:
            raise ModelError(
                f"The conversation has {len(prompt)} tokens and the model takes {limit}.",
                do="Begin a new one with /new.",
            )
        pieces = []
        for piece in self._stream(prompt):
            pieces.append(piece)
            yield piece
        self.chat = [*chat, {"role": "assistant", "content": "".join(pieces)}]

    def forget(self) -> None:
        """Begin a new conversation; a system message stays."""
        self.chat = [message for message in self.chat if message["role"] == "system"]

    def _stream(self, prompt: Sequence[int]) -> Iterator[str]:
        ids: list[int] = []
        shown = ""
        with self._as_base(), reading(self.model):
            for token in self._tokens(prompt):
                ids.append(token)
                text = self.tokenizer.decode(ids, skip_special_tokens=True)
                if not text.endswith("\ufffd"):  # the bytes of one letter may come as several tokens
                    yield text[len(shown) :]
                    shown = text
        rest = self.tokenizer.decode(ids, skip_special_tokens=True)[len(shown) :]
        if rest:
            yield rest

    def _tokens(self, prompt: Sequence[int]) -> Iterator[int]:
        """Token ids of the answer until a stop token, the longest answer, or the model's longest input."""
        stops, limit = stop_token_ids(self.model, self.tokenizer), longest(self.model)
        cache = DynamicCache(config=base_of(self.model).config)
        given = torch.tensor([list(prompt)], device=device_of(self.model))
        for count in range(self.max_new_tokens):
            if limit is not None and len(prompt) + count >= limit:
                return
            logits = self.model(input_ids=given, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[0, -1]
            token = self._choose(logits.float())
            if token in stops:
                return
            yield token
            given = torch.tensor([[token]], device=given.device)

    def _choose(self, logits: torch.Tensor) -> int:
        if self.temperature <= 0:
            return int(logits.argmax())
        return int(torch.multinomial((logits / self.temperature).softmax(-1), 1))

    def _as_base(self) -> AbstractContextManager[Any]:
        return self.model.disable_adapter() if self.without_adapter else nullcontext()
