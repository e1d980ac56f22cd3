"""Embedding: tokenise, refuse what is too long, wait for the model, and say for each text what became of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from services.chassis.steps import detail
from services.embedder.batcher import Batcher
from services.embedder.domain import Embedding, InputType, ModelCard, TextTooLong, TokenizedText
from services.embedder.ports import Tokenizer

READ_AHEAD = 2
"""Requests of one stream that may be under way: one computes while the next is tokenised and waits."""

PROVIDER = "transformers"
"""What computes, as spans name it: the library, in this process."""

_TOKENIZED_AT_ONCE = 2_000
"""Characters tokenised on the event loop: under half a millisecond, about what handing them to a thread costs."""


class Embedder:
    """Embeds texts with one model, described by `card`."""

    def __init__(self, card: ModelCard, prompts: dict[InputType, str], tokenizer: Tokenizer, batcher: Batcher) -> None:
        self.card = card
        self._prompts = prompts
        self._tokenizer = tokenizer
        self._batcher = batcher

    async def embed(self, texts: Sequence[str], kind: InputType, *, truncate: bool, patient: bool = False) -> list[Embedding]:
        """One embedding for each text. Raises `TextTooLong` unless `truncate`, and `QueueFull` unless `patient`."""
        # Names and attributes: OpenTelemetry's semantic conventions for generative AI.
        attributes: dict[str, str | int] = {
            "gen_ai.operation.name": "embeddings",
            "gen_ai.provider.name": PROVIDER,
            "gen_ai.request.model": self.card.display_name,
            "gen_ai.embeddings.dimension.count": self.card.dimensions,
            "corella.embedder.input_type": kind.value,
            "corella.embedder.texts": len(texts),
        }
        with detail(f"embeddings {self.card.display_name}", attributes) as span:
            if not patient:
                self._batcher.check_room()
            tokenized = await self._tokenize(texts, self._prompts[kind])
            span.set_attribute("gen_ai.usage.input_tokens", sum(len(text.ids) for text in tokenized))
            if not truncate and (error := TextTooLong.among("texts", tokenized, self.card.max_tokens)):
                raise error
            vectors = await self._batcher.compute(tokenized, urgent=kind is InputType.QUERY, patient=patient)
            return [
                Embedding(vector, len(text.ids), text.truncated) for vector, text in zip(vectors, tokenized, strict=True)
            ]  # fmt: skip

    async def embed_stream(self, requests: AsyncIterator[tuple[Sequence[str], InputType, bool]]) -> AsyncIterator[list[Embedding]]:
        """One list of embeddings for each (texts, kind, truncate), in order. Reads no further ahead than `READ_AHEAD` requests."""
        running: asyncio.Queue[asyncio.Task[list[Embedding]] | None] = asyncio.Queue()
        free = asyncio.Semaphore(READ_AHEAD - 1)
        started: set[asyncio.Task[Any]] = set()

        async def read() -> None:
            try:
                async for texts, kind, truncate in requests:
                    task = asyncio.create_task(self.embed(texts, kind, truncate=truncate, patient=True))
                    started.add(task)
                    running.put_nowait(task)
                    await free.acquire()
            finally:
                running.put_nowait(None)

        # A task of its own, so that a client that waits for each answer before it asks again gets it.
        reader = asyncio.create_task(read())
        started.add(reader)
        try:
            while (task := await running.get()) is not None:
                yield await task
                started.discard(task)
                free.release()
            await reader  # raises what was wrong with a request
        finally:
            for task_left in started:
                task_left.cancel()
            await asyncio.gather(*started, return_exceptions=True)

    async def _tokenize(self, texts: Sequence[str], prompt: str) -> list[TokenizedText]:
        if sum(map(len, texts)) <= _TOKENIZED_AT_ONCE:
            return self._tokenizer.tokenize(texts, prompt=prompt)
        return await asyncio.to_thread(self._tokenizer.tokenize, texts, prompt=prompt)

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, special tokens not included."""
        return await asyncio.to_thread(self._tokenizer.count, texts)
