"""Texts without retrieval, memory or citations: for evaluation, and for building other things on the same engine."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace

from services.generator.adapting import Adapting
from services.generator.admission import Admission
from services.generator.domain import GenerationOptions, Message, TextScore, Turn, Usage
from services.generator.events import Completed, Delta
from services.generator.ports import Engine, UsageStore
from services.generator.remembering import Remembering
from services.generator.writing import Writing


class Completing:
    """Continues chats and condenses turns."""

    def __init__(self, engine: Engine, remembering: Remembering, admission: Admission, usage: UsageStore, adapting: Adapting) -> None:
        self.engine = engine
        self.adapting = adapting
        self._remembering = remembering
        self._admission = admission
        self._usage = usage

    async def complete(
        self, messages: Sequence[Message], options: GenerationOptions, adapter: str = ""
    ) -> AsyncIterator[Delta | Completed]:
        """The text, then what it cost. Raises `QueueFull`, `ContextTooLong`, `EngineUnavailable`, and as `Adapting.chosen`."""
        with self._admission.slot():
            began = time.perf_counter()
            async with self.adapting.chosen(adapter) as chosen:
                writing = Writing(self.engine, messages, options, "completion", chosen)
                async with aclosing(writing.pieces()) as pieces:  # type: ignore[type-var]
                    async for piece in pieces:
                        yield Delta(piece)
            usage = replace(writing.usage, total_seconds=time.perf_counter() - began)
            self._usage.add("completion", bool(chosen.name), usage)
            yield Completed(usage, writing.finish_reason, self.engine.display_name, chosen.name)

    async def score(self, messages: Sequence[Message], text: str, adapter: str = "") -> tuple[TextScore, str]:
        """How likely the model finds `text` after the chat, and the adapter asked. Raises as `complete`, and `Unimplemented`."""
        with self._admission.slot():
            async with self.adapting.chosen(adapter) as chosen:
                return await self.engine.score(messages, text, chosen), chosen.name

    async def summarize(self, previous: str, turns: tuple[Turn, ...], max_tokens: int) -> tuple[str, Usage]:
        """A summary and what it cost. Raises as `complete`."""
        with self._admission.slot():
            began = time.perf_counter()
            summary, usage = await self._remembering.summarize(previous, turns, max_tokens)
            return summary, replace(usage, total_seconds=time.perf_counter() - began)
