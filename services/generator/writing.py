"""One text being written by the engine, with what it costs, as a span of the semantic conventions for generative AI.

    chat {model}
    ├── queue       the engine had it and had not begun
    ├── prefill     it read the prompt, up to the first token
    └── decode      it wrote the rest

The three are there with an engine that tells its times.
https://github.com/open-telemetry/semantic-conventions-genai/blob/main/docs/gen-ai/gen-ai-spans.md
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind

from services.chassis.steps import link, mark_failed
from services.chassis.telemetry import captures_text, tracer
from services.generator.domain import Adapter, EngineTimes, FinishReason, GenerationOptions, Message, TextChunk, Usage
from services.generator.ports import Engine
from services.generator.writing_metrics import measure


class Writing:
    """One text. Iterate `pieces` to its end; `text`, `usage` and `finish_reason` then tell how it went.

    `purpose` names what the text is for (`answer`, `summary`, `completion`); it tells the spans and metrics apart. `adapter` must be
    held ready until the end; see `Adapting.chosen`.
    """

    def __init__(self, engine: Engine, messages: Sequence[Message], options: GenerationOptions, purpose: str, adapter: Adapter) -> None:
        self._engine = engine
        self._messages = messages
        self._options = options
        self._adapter = adapter
        self._parts: list[str] = []
        self._common = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": engine.kind,
            "gen_ai.request.model": engine.display_name,
            "corella.purpose": purpose,
        }
        self.usage = Usage()
        self.finish_reason = FinishReason.STOP

    @property
    def text(self) -> str:
        """What has been written so far."""
        return "".join(self._parts)

    async def pieces(self) -> AsyncIterator[str]:
        """The text as it comes. Closing this stops the engine's work on it."""
        span = self._begin()
        started = time.perf_counter()
        first = 0.0
        last = TextChunk("")
        error: dict[str, str] = {}
        try:
            async with aclosing(self._engine.generate(self._messages, self._options, self._adapter)) as chunks:  # type: ignore[type-var]
                while (chunk := await _next(chunks, span)) is not None:
                    last = chunk
                    if not first and chunk.completion_tokens:
                        first = time.perf_counter() - started
                    if chunk.text:
                        self._parts.append(chunk.text)
                        yield chunk.text
        except BaseException as raised:
            error = {"error.type": type(raised).__qualname__}
            mark_failed(span, raised)
            raise
        finally:
            self.finish_reason = last.finish_reason or FinishReason.STOP
            self.usage = Usage(
                prompt_tokens=last.prompt_tokens,
                cached_prompt_tokens=last.cached_prompt_tokens,
                completion_tokens=last.completion_tokens,
                first_token_seconds=first,
                generation_seconds=time.perf_counter() - started,
            )
            measure(self._common, self.usage, last.times, error)
            self._end(span, last)

    def _begin(self) -> Span:
        options = self._options
        attributes: dict[str, str | int | float | bool] = {
            **self._common,
            **self._engine.server,
            "gen_ai.output.type": "text",
            "gen_ai.request.max_tokens": options.max_tokens,
            "gen_ai.request.temperature": options.temperature,
            "gen_ai.request.top_p": options.top_p,
            "gen_ai.request.stream": True,
            "corella.adapter.name": self._adapter.name,
            "corella.adapter.job": self._adapter.job,
        }
        if options.seed is not None:
            attributes["gen_ai.request.seed"] = options.seed
        if captures_text():
            attributes["gen_ai.input.messages"] = _messages(*((each.role, each.text) for each in self._messages))
        # Not made the current span: the consumer's own spans begin between two pieces and are no part of this one.
        name = f"chat {self._engine.display_name}"
        return tracer.start_span(
            name, kind=SpanKind.CLIENT, attributes=attributes, links=link(self._adapter.traceparent, "adapter.training")
        )

    def _end(self, span: Span, last: TextChunk) -> None:
        usage = self.usage
        span.set_attribute("gen_ai.response.model", self._adapter.name or self._engine.display_name)
        if last.finish_reason is not None:
            span.set_attribute("gen_ai.response.finish_reasons", [last.finish_reason.value])
        span.set_attribute("gen_ai.usage.input_tokens", usage.prompt_tokens)
        span.set_attribute("gen_ai.usage.output_tokens", usage.completion_tokens)
        span.set_attribute("gen_ai.usage.cache_read.input_tokens", usage.cached_prompt_tokens)
        if usage.completion_tokens:
            span.set_attribute("gen_ai.response.time_to_first_chunk", usage.first_token_seconds)
        if captures_text():
            span.set_attribute("gen_ai.output.messages", _messages(("assistant", self.text)))
        if last.times is not None:
            _phases(span, last.times, usage)
        span.end()


async def _next(chunks: AsyncIterator[TextChunk], span: Span) -> TextChunk | None:
    """The engine's next piece, with the text's span as the current one while it works; None at the end."""
    with trace.use_span(span, record_exception=False, set_status_on_exception=False):
        return await anext(chunks, None)


def _phases(span: Span, times: EngineTimes, usage: Usage) -> None:
    within = trace.set_span_in_context(span)
    for name, start, end, tokens in (
        ("queue", times.queued, times.scheduled, 0),
        ("prefill", times.scheduled, times.first_token, usage.prompt_tokens - usage.cached_prompt_tokens),
        ("decode", times.first_token, times.last_token, usage.completion_tokens),
    ):
        phase = tracer.start_span(name, within, start_time=start, attributes={"corella.tokens": tokens} if tokens else None)
        phase.end(max(start, end))


def _messages(*messages: tuple[str, str]) -> str:
    """Messages in the form of the conventions, which is JSON."""
    return json.dumps([{"role": role, "parts": [{"type": "text", "content": text}]} for role, text in messages], ensure_ascii=False)
