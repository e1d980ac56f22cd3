"""One text being written by the engine, with what it costs, as spans and metrics of the semantic conventions for generative AI."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

from opentelemetry.trace import SpanKind, Status, StatusCode

from services.chassis.telemetry import meter, text_attribute, tracer
from services.generator.domain import Adapter, FinishReason, GenerationOptions, Message, TextChunk, Usage
from services.generator.ports import Engine

# Names, units and bucket boundaries: https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics/
_SECONDS = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92]
_FIRST = [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0]
_PER_TOKEN = [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5]
_TOKENS = [1, 4, 16, 64, 256, 1024, 4096, 16384, 65536]
_duration = meter.create_histogram(
    "gen_ai.server.request.duration", unit="s", description="Time to write a text.", explicit_bucket_boundaries_advisory=_SECONDS
)
_first_token = meter.create_histogram(
    "gen_ai.server.time_to_first_token", unit="s", description="Time to the first token.", explicit_bucket_boundaries_advisory=_FIRST
)
_per_token = meter.create_histogram(
    "gen_ai.server.time_per_output_token",
    unit="s",
    description="Time for each token after the first.",
    explicit_bucket_boundaries_advisory=_PER_TOKEN,
)
_tokens = meter.create_histogram(
    "gen_ai.client.token.usage", unit="{token}", description="Tokens read and written.", explicit_bucket_boundaries_advisory=_TOKENS
)


class Writing:
    """One text. Iterate `pieces` to its end; `text`, `usage` and `finish_reason` then tell how it went.

    `purpose` names what the text is for (`answer`, `summary`, `completion`); it tells the spans and metrics apart. `adapter` must be
    held ready until the end; see `Adapting.chosen`.
    """

    def __init__(self, engine: Engine, messages: Sequence[Message], options: GenerationOptions, purpose: str, adapter: Adapter) -> None:
        self._engine = engine
        self._messages = messages
        self._options = options
        self._purpose = purpose
        self._adapter = adapter
        self._parts: list[str] = []
        self.usage = Usage()
        self.finish_reason = FinishReason.STOP

    @property
    def text(self) -> str:
        """What has been written so far."""
        return "".join(self._parts)

    async def pieces(self) -> AsyncIterator[str]:
        """The text as it comes. Closing this stops the engine's work on it."""
        engine, options, adapter = self._engine, self._options, self._adapter
        common = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": engine.kind,
            "gen_ai.request.model": engine.display_name,
            "corella.purpose": self._purpose,
        }
        # Not made the current span: the consumer's own spans begin between two pieces and are no part of this one.
        span = tracer.start_span(f"chat {engine.display_name}", kind=SpanKind.CLIENT, attributes=common)
        span.set_attribute("gen_ai.request.max_tokens", options.max_tokens)
        span.set_attribute("gen_ai.request.temperature", options.temperature)
        span.set_attribute("gen_ai.request.top_p", options.top_p)
        span.set_attribute("gen_ai.request.stream", True)
        started = time.perf_counter()
        first: float | None = None
        last = TextChunk("")
        outcome: dict[str, str] = {}
        try:
            async with aclosing(engine.generate(self._messages, options, adapter)) as chunks:  # type: ignore[type-var]
                async for chunk in chunks:
                    last = chunk
                    if first is None and chunk.completion_tokens:
                        first = time.perf_counter() - started
                    if chunk.text:
                        self._parts.append(chunk.text)
                        yield chunk.text
        except BaseException as error:
            outcome = {"error.type": type(error).__qualname__}
            if isinstance(error, Exception):
                span.set_status(Status(StatusCode.ERROR, type(error).__qualname__))
            raise
        finally:
            seconds = time.perf_counter() - started
            self.finish_reason = last.finish_reason or FinishReason.STOP
            self.usage = usage = Usage(
                prompt_tokens=last.prompt_tokens,
                cached_prompt_tokens=last.cached_prompt_tokens,
                completion_tokens=last.completion_tokens,
                first_token_seconds=first or 0.0,
                generation_seconds=seconds,
            )
            span.set_attribute("gen_ai.response.model", adapter.name or engine.display_name)
            span.set_attribute("corella.adapter.name", adapter.name)
            span.set_attribute("corella.adapter.job", adapter.job)
            if last.finish_reason is not None:
                span.set_attribute("gen_ai.response.finish_reasons", [last.finish_reason.value])
            span.set_attribute("gen_ai.usage.input_tokens", usage.prompt_tokens)
            span.set_attribute("gen_ai.usage.output_tokens", usage.completion_tokens)
            span.set_attribute("gen_ai.usage.cache_read.input_tokens", usage.cached_prompt_tokens)
            span.set_attribute("gen_ai.output.messages", text_attribute(self.text))
            span.set_attributes(outcome)
            if first is not None:
                span.set_attribute("gen_ai.response.time_to_first_chunk", first)
                _first_token.record(first, common)
                _tokens.record(usage.prompt_tokens, {**common, "gen_ai.token.type": "input"})
                _tokens.record(usage.completion_tokens, {**common, "gen_ai.token.type": "output"})
                if usage.completion_tokens > 1:
                    _per_token.record((usage.generation_seconds - first) / (usage.completion_tokens - 1), common)
            _duration.record(seconds, {**common, **outcome})
            span.end()
