"""kill -9 of any process at any moment loses nothing and doubles nothing. Slow because leases of killed workers must run out."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
import redis
from retriever_stack import CALL_SECONDS, RetrieverStack, ToyEmbedder, failure

from corella.v1 import operation_pb2
from corella.v1 import retriever_pb2 as pb
from tests.waiting import until

PREFIX = "{corella:retriever}:"


@pytest.fixture
def slow_embedder(toy_embedder: ToyEmbedder) -> Iterator[ToyEmbedder]:
    toy_embedder.seconds_per_text = 0.05
    toy_embedder.embedded_texts.clear()
    yield toy_embedder
    toy_embedder.seconds_per_text = 0.0


def pages(count: int) -> list[tuple[str, str]]:
    """Pages of two chunks each."""
    return [(f"https://docs.example.com/{i}.md", f"# Page {i}\n\nnumber{i} alpha\n\n## Part\n\nsecond{i} beta\n") for i in range(count)]


def wait_until_done(stack: RetrieverStack, operation: operation_pb2.Operation, count: int) -> operation_pb2.Operation:
    request = pb.WaitOperationRequest(name=operation.name, until_done_count_exceeds=count - 1)
    return stack.stub.WaitOperation(request, timeout=CALL_SECONDS, wait_for_ready=True).operation


def check_whole(stack: RetrieverStack, corpus: str, count: int) -> None:
    documents = stack.documents(corpus)
    assert len(documents) == count
    assert {document.state for document in documents.values()} == {pb.DOCUMENT_STATE_ACTIVE}
    assert {document.chunk_count for document in documents.values()} == {2}
    shown = stack.corpus(corpus)
    assert (shown.document_count, shown.chunk_count, shown.embedded_chunk_count) == (count, 2 * count, 2 * count)
    for number in (0, count // 2, count - 1):
        assert stack.search(corpus, f"second{number}", mode=pb.SEARCH_MODE_KEYWORD).passages[0].uri.endswith(f"/{number}.md#part")


def test_a_killed_worker_is_replaced_and_every_count_is_exact(toy_stack: RetrieverStack, slow_embedder: ToyEmbedder) -> None:
    toy_stack.create("worker-killed")
    operation = toy_stack.ingest("worker-killed", pages(60))
    assert 0 < wait_until_done(toy_stack, operation, 16).done_count < 60
    toy_stack.kill("worker")
    killed_at = time.monotonic()
    toy_stack.start_worker()
    done = toy_stack.stub.GetOperation(pb.GetOperationRequest(name=operation.name), timeout=CALL_SECONDS).operation.done_count
    wait_until_done(toy_stack, operation, done + 1)
    assert time.monotonic() - killed_at < 15.0
    ended = toy_stack.wait(operation)
    assert (ended.state, ended.succeeded_count, ended.failed_count) == (operation_pb2.OPERATION_STATE_SUCCEEDED, 60, 0)
    assert (ended.chunk_count, ended.embedded_chunk_count) == (120, 120)
    check_whole(toy_stack, "worker-killed", 60)


def test_a_killed_retriever_comes_back_to_its_operations(toy_stack: RetrieverStack, slow_embedder: ToyEmbedder) -> None:
    toy_stack.create("retriever-killed")
    operation = toy_stack.ingest("retriever-killed", pages(40))
    toy_stack.kill("retriever")
    toy_stack.start_retriever()
    again = toy_stack.ingest("retriever-killed", pages(40))
    ended = toy_stack.wait(operation)
    assert (ended.state, ended.succeeded_count) == (operation_pb2.OPERATION_STATE_SUCCEEDED, 40)
    repeated = toy_stack.wait(again)
    assert repeated.succeeded_count + repeated.unchanged_count == 40
    check_whole(toy_stack, "retriever-killed", 40)


def test_documents_are_indexed_although_the_call_for_a_worker_was_lost(toy_stack: RetrieverStack, toy_embedder: ToyEmbedder) -> None:
    toy_stack.create("message-lost")
    toy_stack.kill("worker")
    operation = toy_stack.ingest("message-lost", pages(3))
    queue = redis.Redis.from_url(toy_stack.redis_url)
    assert queue.delete(f"{PREFIX}ingest") == 1
    toy_stack.start_worker()
    assert toy_stack.wait(operation).succeeded_count == 3
    check_whole(toy_stack, "message-lost", 3)


def test_a_document_that_loses_three_workers_is_set_aside_and_the_others_go_on(
    toy_stack: RetrieverStack, toy_embedder: ToyEmbedder
) -> None:
    toy_stack.create("poison")
    toy_embedder.calls_begun = 0
    toy_embedder.seconds_per_text = 30.0
    poison = "https://docs.example.com/poison.md"
    try:
        operation = toy_stack.ingest("poison", [(poison, "# Poison\n\nkills\n")])
        for attempt in range(1, 4):
            until(lambda attempt=attempt: toy_embedder.calls_begun == attempt, 20)
            toy_stack.kill("worker")
            toy_stack.start_worker()
        until(lambda: toy_stack.documents("poison")[poison].state == pb.DOCUMENT_STATE_FAILED, 20)
    finally:
        toy_embedder.seconds_per_text = 0.0
    ended = toy_stack.wait(operation)
    assert ended.failed_count == 1
    document = toy_stack.documents("poison")[poison]
    assert document.state == pb.DOCUMENT_STATE_FAILED
    assert "WORKER_LOST" in str(document.error.details[0].value)
    fine = ("https://docs.example.com/fine.md", "# Fine\n\nwell\n")
    retried = toy_stack.wait(toy_stack.ingest("poison", [(poison, "# Poison\n\nkills\n"), fine]))
    assert retried.succeeded_count == 2


def test_an_embedder_that_is_away_delays_documents_and_fails_none(toy_stack: RetrieverStack, toy_embedder: ToyEmbedder) -> None:
    toy_stack.create("embedder-away")
    toy_embedder.stop()
    try:
        operation = toy_stack.ingest("embedder-away", pages(3))
        states = set()
        ends_at = time.monotonic() + 12
        while operation_pb2.OPERATION_STATE_WAITING_TO_RETRY not in states and time.monotonic() < ends_at:
            shown = toy_stack.stub.GetOperation(pb.GetOperationRequest(name=operation.name), timeout=CALL_SECONDS).operation
            states.add(shown.state)
            time.sleep(0.05)
        assert operation_pb2.OPERATION_STATE_WAITING_TO_RETRY in states
        assert shown.HasField("next_attempt_time")
        with pytest.raises(grpc.RpcError) as error:
            toy_stack.search("embedder-away", "alpha")
        assert failure(error.value).reason == "EMBEDDER_UNAVAILABLE"
        assert list(toy_stack.search("embedder-away", "alpha", mode=pb.SEARCH_MODE_KEYWORD).passages) == []
    finally:
        toy_embedder.start()
    assert toy_stack.wait(operation).succeeded_count == 3
    check_whole(toy_stack, "embedder-away", 3)


def test_an_embedder_slower_than_a_search_would_wait_is_waited_for(toy_stack: RetrieverStack, toy_embedder: ToyEmbedder) -> None:
    toy_stack.create("patience")
    toy_embedder.seconds_per_text = 3.5
    toy_embedder.calls_begun = 0
    try:
        operation = toy_stack.wait(toy_stack.ingest("patience", pages(1)))
    finally:
        toy_embedder.seconds_per_text = 0.0
    assert operation.succeeded_count == 1
    assert toy_embedder.calls_begun == 1


def test_a_killed_store_comes_back_with_everything_that_was_acknowledged(toy_stack: RetrieverStack, toy_embedder: ToyEmbedder) -> None:
    toy_stack.fill("store-killed", pages(5))
    operation = toy_stack.ingest("store-killed", pages(10))
    toy_stack.kill("milvus")
    try:
        with pytest.raises(grpc.RpcError) as error:
            toy_stack.search("store-killed", "alpha")
        assert failure(error.value).code is grpc.StatusCode.UNAVAILABLE
        # What is known of a corpus is remembered for two seconds.
        time.sleep(2.1)
        with pytest.raises(grpc.RpcError) as error:
            toy_stack.ingest("store-killed", pages(11))
        assert failure(error.value).reason == "MILVUS_UNAVAILABLE"
    finally:
        toy_stack.start_milvus()
    ended = toy_stack.wait(operation)
    assert (ended.succeeded_count, ended.unchanged_count, ended.failed_count) == (5, 5, 0)
    check_whole(toy_stack, "store-killed", 10)


def test_a_store_killed_at_the_end_of_a_flush_has_every_chunk_once(toy_stack: RetrieverStack, toy_embedder: ToyEmbedder) -> None:
    """Milvus Lite by itself would replay from its log what is in a segment: each chunk counted twice, and twice among the nearest."""
    toy_stack.kill("milvus")
    toy_stack.start_milvus([str(Path(__file__).parent / "milvus_killed_in_flush.py")])
    try:
        toy_stack.fill("flush-killed", pages(5))
        # A worker that has nothing left to do flushes what it wrote.
        until(lambda: toy_stack.processes["milvus"].poll() == -signal.SIGKILL, 30)
    finally:
        toy_stack.processes["milvus"].kill()
        toy_stack.start_milvus()
    until(lambda: answers(toy_stack, "flush-killed"), 30)
    check_whole(toy_stack, "flush-killed", 5)
    found = toy_stack.search("flush-killed", "alpha", mode=pb.SEARCH_MODE_VECTOR, limit=10, vector_limit=10).passages
    assert len({passage.name for passage in found}) == 10
    assert toy_stack.wait(toy_stack.ingest("flush-killed", pages(8))).succeeded_count == 3
    check_whole(toy_stack, "flush-killed", 8)


def answers(stack: RetrieverStack, corpus: str) -> bool:
    """Whether it can be searched."""
    try:
        return bool(stack.search(corpus, "alpha").passages)
    except grpc.RpcError:
        return False


def test_search_goes_on_while_the_catalog_is_away(toy_stack: RetrieverStack, toy_embedder: ToyEmbedder) -> None:
    toy_stack.fill("catalog-away", pages(3))
    valkey = redis.Redis.from_url(toy_stack.redis_url)
    pid = toy_stack.processes["valkey"].pid
    assert valkey.ping()
    os.kill(pid, signal.SIGSTOP)
    try:
        started = time.monotonic()
        assert toy_stack.search("catalog-away", "second1").passages[0].uri.endswith("/1.md#part")
        assert time.monotonic() - started < 2.0
    finally:
        os.kill(pid, signal.SIGCONT)


def test_cancelling_leaves_out_what_was_not_begun(toy_stack: RetrieverStack, slow_embedder: ToyEmbedder) -> None:
    toy_stack.create("cancelled")
    operation = toy_stack.ingest("cancelled", pages(80))
    wait_until_done(toy_stack, operation, 1)
    toy_stack.stub.CancelOperation(pb.CancelOperationRequest(name=operation.name), timeout=CALL_SECONDS)
    ended = toy_stack.wait(operation)
    assert ended.state == operation_pb2.OPERATION_STATE_CANCELLED
    assert ended.succeeded_count > 0
    assert ended.cancelled_count > 0
    assert ended.succeeded_count + ended.cancelled_count == ended.total_count == 80
    assert len(toy_stack.documents("cancelled")) == ended.succeeded_count
    again = toy_stack.stub.CancelOperation(pb.CancelOperationRequest(name=operation.name), timeout=CALL_SECONDS).operation
    assert again == ended
