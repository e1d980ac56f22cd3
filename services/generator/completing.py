"""Texts without retrieval, memory or citations: for evaluation, and for building other things on the same engine."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace

from services.generator.admission import Admission
from services.generator.domain import GenerationOptions, Message, Turn, Usage
from services.generator.events import Completed, Delta
from services.generator.ports import Engine
from services.generator.remembering import Remembering
from services.generator.writing import Writing


class Completing:
    """Continues chats and condenses turns."""

    def __init__(self, engine: Engine, remembering: Remembering, admission: Admission) -> None:
        self.engine = engine
        self._remembering = remembering
        self._admission = admission

    async def complete(self, messages: Sequence[Message], options: GenerationOptions) -> AsyncIterator[Delta | Completed]:
        """The text, then what it cost. Raises `QueueFull`, `ContextTooLong`, `EngineUnavailable`."""
        with self._admission.slot():
            began = time.perf_counter()
            writing = Writing(self.engine, messages, options, "completion")
            async with aclosing(writing.pieces()) as pieces:  # type: ignore[type-var]
                async for piece in pieces:
                    yield Delta(piece)
            usage = replace(writing.usage, total_seconds=time.perf_counter() - began)
            yield Completed(usage, writing.finish_reason, self.engine.display_name, self.engine.adapter)

    async def summarize(self, previous: str, turns: tuple[Turn, ...], max_tokens: int) -> tuple[str, Usage]:
        """A summary and what it cost. Raises as `complete`."""
        with self._admission.slot():
            began = time.perf_counter()
            summary, usage = await self._remembering.summarize(previous, turns, max_tokens)
            return summary, replace(usage, total_seconds=time.perf_counter() - began)
