"""A teacher behind an OpenAI-compatible interface, against a small real HTTP server that speaks it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from services.chassis.errors import DeadlineExceeded, FailedPrecondition, InvalidArgument, ResourceExhausted, Unavailable
from services.trainer.domain import Message
from services.trainer.openai_teacher import OpenAiTeacher
from services.trainer.settings import TeacherSettings

CHAT = (Message("system", "Ask something."), Message("user", "A passage."))
Respond = Callable[[asyncio.StreamWriter], Awaitable[None]]


def answering(code: int, body: bytes, *headers: bytes) -> Respond:
    async def respond(writer: asyncio.StreamWriter) -> None:
        lines = [
            b"HTTP/1.1 %d X" % code,
            b"Content-Type: application/json",
            b"Content-Length: %d" % len(body),
            b"Connection: close",
            *headers,
        ]
        writer.write(b"\r\n".join(lines) + b"\r\n\r\n" + body)
        await writer.drain()

    return respond


def text(content: str | None) -> Respond:
    message = {"role": "assistant", "content": content}
    answer = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [{"index": 0, "message": message}]}
    return answering(200, json.dumps(answer).encode())


async def trickling(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(100):
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.05)


class Server:
    """Answers as it is told, and keeps what it was sent."""

    def __init__(self) -> None:
        self.respond: list[Respond] = []
        self.requests: list[tuple[str, dict]] = []
        self.url = ""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next(int(line.split(":")[1]) for line in head.splitlines() if line.lower().startswith("content-length"))
        self.requests.append((head, json.loads(await reader.readexactly(length))))
        with suppress(ConnectionError):
            await self.respond.pop(0)(writer)
        writer.close()


@asynccontextmanager
async def listening() -> AsyncIterator[Server]:
    server = Server()
    listener = await asyncio.start_server(server.handle, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/v1"
    try:
        yield server
    finally:
        listener.close()


@asynccontextmanager
async def teaching(server: Server, patience_seconds: float = 0.0, **settings: object) -> AsyncIterator[OpenAiTeacher]:
    allowed = TeacherSettings(**{"allowed_urls": (server.url,), **settings})  # type: ignore[arg-type]
    teacher = OpenAiTeacher(allowed, server.url, "large", patience_seconds=patience_seconds)
    try:
        yield teacher
    finally:
        await teacher.close()


async def test_the_teacher_writes_what_the_server_answers(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("sesame\n")
    async with listening() as server, teaching(server, api_key_file=key) as teacher:
        server.respond = [text(" What is it? ")]
        assert await teacher.write(CHAT, 40, temperature=0.5, seed=7) == "What is it?"
        assert teacher.name == f"large at {server.url}"
    head, body = server.requests[0]
    assert head.startswith("POST /v1/chat/completions ")
    assert "authorization: bearer sesame" in head.lower()
    assert body == {
        "model": "large",
        "messages": [{"role": "system", "content": "Ask something."}, {"role": "user", "content": "A passage."}],
        "max_tokens": 40,
        "temperature": 0.5,
        "seed": 7,
    }


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/v1", "http://127.0.0.1:9/v1/../x", "http://127.0.0.1:9/v1@evil.example", "", "http://127.0.0.1:9"]
)
def test_a_url_that_is_not_allowed_is_refused(url: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        OpenAiTeacher(TeacherSettings(allowed_urls=("http://127.0.0.1:9/v1",)), url, "")
    assert {field for field, _ in caught.value.violations} == {"teacher.base_url", "teacher.model"}


def test_by_default_no_url_is_allowed() -> None:
    with pytest.raises(InvalidArgument):
        OpenAiTeacher(TeacherSettings(), "http://127.0.0.1:9/v1", "large")


async def test_a_redirect_is_not_followed() -> None:
    async with listening() as server, listening() as elsewhere, teaching(server) as teacher:
        elsewhere.respond = [text("stolen")]
        server.respond = [answering(307, b"{}", b"Location: " + elsewhere.url.encode() + b"/chat/completions")]
        with pytest.raises(FailedPrecondition, match="307"):
            await teacher.write(CHAT, 40)
    assert not elsewhere.requests


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with listening() as server, listening() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("ALL_PROXY", proxy.url)
        async with teaching(server) as teacher:
            server.respond = [text("direct")]
            assert await teacher.write(CHAT, 40) == "direct"


async def test_a_server_that_trickles_is_left_after_the_deadline() -> None:
    async with listening() as server, teaching(server, timeout_seconds=0.3) as teacher:
        server.respond = [trickling]
        with pytest.raises(DeadlineExceeded):
            await asyncio.wait_for(teacher.write(CHAT, 40), 3)


@pytest.mark.parametrize(
    ("code", "kind"),
    [(400, FailedPrecondition), (401, FailedPrecondition), (404, FailedPrecondition), (429, ResourceExhausted), (503, Unavailable)],
)
async def test_a_refusal_is_told_in_our_words(code: int, kind: type[Exception]) -> None:
    async with listening() as server, teaching(server) as teacher:
        server.respond = [answering(code, b'{"error": {"message": "secret detail"}}')]
        with pytest.raises(kind) as caught:
            await teacher.write(CHAT, 40)
    assert "secret" not in str(caught.value)


async def test_a_busy_server_is_waited_for() -> None:
    async with listening() as server, teaching(server, patience_seconds=10) as teacher:
        server.respond = [answering(429, b"{}"), text("now")]
        assert await teacher.write(CHAT, 40) == "now"


@pytest.mark.parametrize("body", [b"no json", b"{}", b'{"choices": []}', b"[]", b'"x"'])
async def test_an_answer_that_is_none_is_an_error_of_ours(body: bytes) -> None:
    async with listening() as server, teaching(server) as teacher:
        server.respond = [answering(200, body)]
        with pytest.raises(FailedPrecondition) as caught:
            await teacher.write(CHAT, 40)
    assert caught.value.reason == "TEACHER_FAILED"


async def test_a_teacher_that_has_nothing_to_say_writes_an_empty_text() -> None:
    async with listening() as server, teaching(server) as teacher:
        server.respond = [text(None)]
        assert await teacher.write(CHAT, 40) == ""


async def test_a_server_that_is_away_is_unavailable() -> None:
    async with listening() as server, teaching(server) as teacher:
        pass
    async with teaching(server) as teacher:
        with pytest.raises(Unavailable):
            await teacher.write(CHAT, 40)
