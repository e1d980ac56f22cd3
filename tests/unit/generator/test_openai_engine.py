"""The engine behind an OpenAI-compatible interface, against a small real HTTP server that speaks it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from span_recording import recorded_spans

from services.chassis.errors import CorellaError, InvalidArgument, Unimplemented
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
)
from services.generator.openai_engine import OpenAiEngine
from services.generator.settings import OpenAiSettings
from services.generator.writing import Writing

CHAT = (Message("system", "Answer."), Message("user", "How long?"))
OPTIONS = GenerationOptions(max_tokens=32, temperature=0.5, top_p=0.9, seed=7)


class Server:
    """Answers each request as its `respond` says, and keeps what it was sent."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict]] = []
        self.respond: Callable[[asyncio.StreamWriter], Awaitable[None]] = stream("36", " months")
        self.left = asyncio.Event()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next(int(line.split(":")[1]) for line in head.splitlines() if line.lower().startswith("content-length"))
        self.requests.append((head, json.loads(await reader.readexactly(length))))
        try:
            await self.respond(writer)
        except ConnectionError:
            self.left.set()
        writer.close()


def event(delta: dict, finish: str | None = None) -> bytes:
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return data({**chunk, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})


def data(content: object) -> bytes:
    return b"data: " + (content if isinstance(content, bytes) else json.dumps(content).encode()) + b"\n\n"


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


def stream(*words: str, finish: str = "stop") -> Callable[[asyncio.StreamWriter], Awaitable[None]]:
    async def respond(writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + event({"role": "assistant", "content": ""}))
        for word in words:
            writer.write(event({"content": word}))
            await writer.drain()
        usage = {"prompt_tokens": 21, "completion_tokens": 5, "total_tokens": 26, "prompt_tokens_details": {"cached_tokens": 16}}
        writer.write(event({}, finish))
        writer.write(data({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [], "usage": usage}))
        writer.write(data(b"[DONE]"))
        await writer.drain()

    return respond


def failing(code: int) -> Callable[[asyncio.StreamWriter], Awaitable[None]]:
    async def respond(writer: asyncio.StreamWriter) -> None:
        body = b'{"error": {"message": "secret detail"}}'
        writer.write(b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (code, len(body), body))
        await writer.drain()

    return respond


@pytest.fixture
async def server() -> AsyncIterator[tuple[Server, OpenAiEngine]]:
    speaking = Server()
    listener = await asyncio.start_server(speaking.handle, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    engine = OpenAiEngine(OpenAiSettings(base_url=f"http://127.0.0.1:{port}/v1", model="m", context_tokens=512))
    yield speaking, engine
    await engine.close()
    listener.close()


async def chunks(engine: OpenAiEngine, options: GenerationOptions = OPTIONS) -> list[TextChunk]:
    return [chunk async for chunk in engine.generate(CHAT, options)]


async def test_the_text_streams_with_its_counts(server: tuple[Server, OpenAiEngine]) -> None:
    _, engine = server
    found = await chunks(engine)
    assert [chunk.text for chunk in found] == ["36", " months", ""]
    last = found[-1]
    assert (last.prompt_tokens, last.cached_prompt_tokens, last.completion_tokens) == (21, 16, 5)
    assert last.finish_reason is FinishReason.STOP


async def test_the_server_can_go_on_with_the_trace_of_the_text(server: tuple[Server, OpenAiEngine]) -> None:
    speaking, engine = server
    with recorded_spans() as spans:
        writing = Writing(engine, CHAT, OPTIONS, "answer", BASE)
        assert "".join([piece async for piece in writing.pieces()]) == "36 months"
    chat = spans.one("chat m")
    head = speaking.requests[0][0].lower()
    assert f"traceparent: 00-{chat.context.trace_id:032x}-{chat.context.span_id:016x}-" in head
    assert (chat.attributes["server.address"], f":{chat.attributes['server.port']}\r\n" in head) == ("127.0.0.1", True)
    assert chat.attributes["gen_ai.request.seed"] == OPTIONS.seed
    assert chat.attributes["gen_ai.usage.cache_read.input_tokens"] == 16
    # When that server began and had its first token, nobody here knows.
    assert chat.attributes["gen_ai.response.time_to_first_chunk"] > 0
    assert len(spans.all) == 1


@pytest.mark.parametrize(
    ("url", "address", "port"),
    [("https://user:secret@models.example.com/v1?key=secret", "models.example.com", 443), ("http://[::1]:8000/v1", "::1", 8000)],
)
async def test_spans_name_the_server_without_its_secrets(url: str, address: str, port: int) -> None:
    engine = OpenAiEngine(OpenAiSettings(base_url=url, model="m"))
    assert engine.server == {"server.address": address, "server.port": port}
    await engine.close()


async def test_chat_and_options_are_sent_on(server: tuple[Server, OpenAiEngine]) -> None:
    speaking, engine = server
    await chunks(engine)
    head, body = speaking.requests[0]
    assert head.startswith("POST /v1/chat/completions")
    assert body["messages"] == [{"role": "system", "content": "Answer."}, {"role": "user", "content": "How long?"}]
    assert (body["max_tokens"], body["temperature"], body["top_p"], body["seed"]) == (32, 0.5, 0.9, 7)


async def test_a_text_cut_at_its_limit_says_so(server: tuple[Server, OpenAiEngine]) -> None:
    speaking, engine = server
    speaking.respond = stream("36", finish="length")
    assert (await chunks(engine))[-1].finish_reason is FinishReason.LENGTH


async def test_leaving_closes_the_connection(server: tuple[Server, OpenAiEngine]) -> None:
    speaking, engine = server

    async def for_ever(writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD)
        while True:
            writer.write(event({"content": "word "}))
            await writer.drain()
            await asyncio.sleep(0.01)

    speaking.respond = for_ever
    text = engine.generate(CHAT, OPTIONS)
    assert (await anext(text)).text
    await text.aclose()
    await asyncio.wait_for(speaking.left.wait(), 1)


@pytest.mark.parametrize(
    ("code", "expected"),
    [(400, InvalidArgument), (429, QueueFull), (500, EngineUnavailable), (503, EngineUnavailable), (401, EngineUnavailable)],
)
async def test_errors_are_told_in_our_words(server: tuple[Server, OpenAiEngine], code: int, expected: type[CorellaError]) -> None:
    speaking, engine = server
    speaking.respond = failing(code)
    with pytest.raises(expected) as caught:
        await chunks(engine)
    assert "secret" not in caught.value.message


async def test_a_server_that_breaks_off_is_an_error_and_no_short_answer(server: tuple[Server, OpenAiEngine]) -> None:
    speaking, engine = server

    async def break_off(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        part = event({"content": "36"})
        writer.write(b"%x\r\n%s\r\n" % (len(part), part))
        await writer.drain()

    speaking.respond = break_off
    with pytest.raises(EngineUnavailable):
        await chunks(engine)


async def test_nobody_there_is_unavailable() -> None:
    engine = OpenAiEngine(OpenAiSettings(base_url="http://127.0.0.1:1/v1", model="m"))
    with pytest.raises(EngineUnavailable):
        await chunks(engine)
    await engine.close()


async def test_what_does_not_fit_is_not_sent(server: tuple[Server, OpenAiEngine]) -> None:
    speaking, engine = server
    with pytest.raises(ContextTooLong):
        await chunks(engine, GenerationOptions(max_tokens=500))
    assert not speaking.requests


async def test_without_a_tokenizer_length_is_taken_from_the_bytes() -> None:
    engine = OpenAiEngine(OpenAiSettings(base_url="http://127.0.0.1:1/v1", model="m"))
    assert [engine.count_tokens(text) for text in ("", "abc", "abcd", "ä€")] == [0, 1, 2, 2]
    await engine.close()


async def test_it_neither_tells_how_likely_a_text_is_nor_takes_adapters(server: tuple[Server, OpenAiEngine]) -> None:
    speaking, engine = server
    with pytest.raises(Unimplemented):
        await engine.score(CHAT, "36 months.")
    with pytest.raises(AdaptersOff):
        await engine.load_adapter(Adapter("adapters/a/versions/1", "d"), Path("/nowhere"))
    assert (engine.fingerprint, engine.max_adapter_rank) == ("", 0)
    assert not speaking.requests
