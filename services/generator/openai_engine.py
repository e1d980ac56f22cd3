"""Any server that speaks the OpenAI chat completions interface (vLLM's own, llama.cpp's, a provider's)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import openai

from services.chassis import deadline
from services.chassis.errors import DeadlineExceeded, InvalidArgument, Unimplemented
from services.chassis.telemetry import carrier
from services.generator.domain import (
    BASE,
    Adapter,
    AdaptersOff,
    ContextTooLong,
    EngineUnavailable,
    FinishReason,
    GenerationOptions,
    Message,
    QueueFull,
    TextChunk,
    TextScore,
)
from services.generator.hf_chat_tokenizer import HfChatTokenizer
from services.generator.settings import OpenAiSettings

_BYTES_PER_TOKEN = 3
_TOKENS_PER_MESSAGE = 8


class OpenAiEngine:
    """The engine. The server applies the model's chat template; that it keeps text apart from control tokens is up to it."""

    kind = "openai"
    # What lies behind that server cannot be looked at, and its adapters are its own.
    fingerprint = ""
    max_adapter_rank = 0

    def __init__(self, settings: OpenAiSettings) -> None:
        key = settings.api_key_file.read_text().strip() if settings.api_key_file else "none"
        self._client = openai.AsyncOpenAI(
            base_url=settings.base_url, api_key=key, timeout=settings.timeout_seconds, max_retries=0, _strict_response_validation=False
        )
        self._settings = settings
        self._tokenizer = HfChatTokenizer(settings.tokenizer_folder) if settings.tokenizer_folder else None
        self.server = _server(settings.base_url)
        self.display_name = settings.model
        self.context_tokens = settings.context_tokens
        self.special_tokens: tuple[str, ...] = self._tokenizer.special_tokens if self._tokenizer else ()

    def count_tokens(self, text: str) -> int:
        return len(self._tokenizer.encode(text)) if self._tokenizer else -(-len(text.encode()) // _BYTES_PER_TOKEN)

    def count_prompt_tokens(self, messages: Sequence[Message]) -> int:
        if self._tokenizer:
            return len(self._tokenizer.render(messages))
        return sum(self.count_tokens(message.text) + _TOKENS_PER_MESSAGE for message in messages)

    def render(self, messages: Sequence[Message]) -> list[int]:
        return self._tokenizer.render(messages) if self._tokenizer else []

    async def generate(self, messages: Sequence[Message], options: GenerationOptions, adapter: Adapter = BASE) -> AsyncIterator[TextChunk]:
        counted = self.count_prompt_tokens(messages)
        if counted + options.max_tokens > self.context_tokens:
            raise ContextTooLong(counted, options.max_tokens, self.context_tokens)
        try:
            # Leaving the block, also by cancellation, closes the connection, which is how these servers learn that they may stop.
            async with await self._client.chat.completions.create(**self._request(messages, options)) as stream:
                prompt, cached, written = counted, 0, 0
                finish: FinishReason | None = None
                async for event in stream:
                    if event.usage:
                        prompt, written = event.usage.prompt_tokens, event.usage.completion_tokens
                        details = event.usage.prompt_tokens_details
                        cached = (details.cached_tokens or 0) if details else 0
                    for choice in event.choices:
                        finish = _finish_reason(choice.finish_reason) or finish
                        if choice.delta.content:
                            written += 1
                            yield TextChunk(choice.delta.content, prompt, cached, written)
                yield TextChunk("", prompt, cached, written, finish or FinishReason.STOP)
        except openai.OpenAIError as error:
            raise _translated(error) from error

    async def score(self, messages: Sequence[Message], text: str, adapter: Adapter = BASE) -> TextScore:
        raise Unimplemented("The engine cannot tell how likely a text is.")

    async def load_adapter(self, adapter: Adapter, folder: Path) -> None:
        raise AdaptersOff

    async def unload_adapter(self, adapter: Adapter) -> None:
        raise AdaptersOff

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.close()

    def _request(self, messages: Sequence[Message], options: GenerationOptions) -> dict[str, Any]:
        request: dict[str, Any] = {
            "model": self._settings.model,
            "messages": [{"role": message.role, "content": message.text} for message in messages],
            "max_tokens": options.max_tokens,
            "temperature": options.temperature,
            "top_p": options.top_p,
            "stream": True,
            "stream_options": {"include_usage": True},
            "timeout": deadline.remaining(self._settings.timeout_seconds),
            # A server that traces continues this trace; any other does not mind.
            "extra_headers": carrier(),
        }
        return request if options.seed is None else request | {"seed": options.seed}


def _server(base_url: str) -> Mapping[str, str | int]:
    """Where it is, as spans name it: without credentials, path or query."""
    url = urlsplit(base_url)
    return {"server.address": url.hostname or "", "server.port": url.port or (443 if url.scheme == "https" else 80)}


def _finish_reason(reason: str | None) -> FinishReason | None:
    if reason is None:
        return None
    return FinishReason.LENGTH if reason == "length" else FinishReason.STOP


def _translated(error: openai.OpenAIError) -> Exception:
    match error:
        case openai.APITimeoutError():
            return DeadlineExceeded("The engine did not answer in time.")
        case openai.RateLimitError():
            return QueueFull("The engine takes no more texts at the moment.")
        case openai.BadRequestError():
            return InvalidArgument("The engine refuses the prompt or an option.")
        case openai.APIConnectionError():
            return EngineUnavailable("The engine cannot be reached.")
        case openai.APIStatusError():
            return EngineUnavailable(f"The engine answered with HTTP {error.status_code}.")
        case _:
            return EngineUnavailable("The engine broke off.")
