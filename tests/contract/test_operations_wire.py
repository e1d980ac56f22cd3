"""Operations as a client sees them: listed newest first, waited for, counted once."""

from __future__ import annotations

import time

from google.protobuf import duration_pb2
from retriever_stack import CALL_SECONDS, RetrieverStack, ToyEmbedder

from corella.v1 import operation_pb2
from corella.v1 import retriever_pb2 as pb


def page(number: int) -> list[tuple[str, str]]:
    return [(f"https://docs.example.com/{number}.md", f"# {number}\n\ntext {number}\n")]


def test_operations_are_listed_newest_first_in_pages(toy_stack: RetrieverStack) -> None:
    toy_stack.create("listed")
    made = [toy_stack.ingest("listed", page(number)).name for number in range(5)]
    seen, token = [], ""
    while True:
        request = pb.ListOperationsRequest(target="corpora/listed", page_size=2, page_token=token)
        response = toy_stack.stub.ListOperations(request, timeout=CALL_SECONDS)
        seen += [operation.name for operation in response.operations]
        token = response.next_page_token
        if not token:
            break
    assert seen == made[::-1]


def test_waiting_returns_as_soon_as_more_is_done(toy_stack: RetrieverStack, toy_embedder: ToyEmbedder) -> None:
    toy_stack.create("waited")
    operation = toy_stack.ingest("waited", page(1))
    request = pb.WaitOperationRequest(name=operation.name, until_done_count_exceeds=0)
    waited = toy_stack.stub.WaitOperation(request, timeout=CALL_SECONDS).operation
    assert waited.done_count == 1
    assert waited.state == operation_pb2.OPERATION_STATE_SUCCEEDED
    assert waited.HasField("start_time")
    assert waited.create_time.ToMilliseconds() <= waited.start_time.ToMilliseconds() <= waited.end_time.ToMilliseconds()


def test_waiting_ends_with_its_timeout_and_shows_where_the_work_stands(toy_stack: RetrieverStack, toy_embedder: ToyEmbedder) -> None:
    toy_stack.create("patient")
    toy_embedder.seconds_per_text = 3.0
    try:
        operation = toy_stack.ingest("patient", page(1))
        started = time.monotonic()
        request = pb.WaitOperationRequest(name=operation.name, timeout=duration_pb2.Duration(seconds=1))
        waited = toy_stack.stub.WaitOperation(request, timeout=CALL_SECONDS).operation
        assert 0.9 <= time.monotonic() - started < 2.5
        assert waited.state in (operation_pb2.OPERATION_STATE_QUEUED, operation_pb2.OPERATION_STATE_RUNNING)
        assert waited.message.startswith("0 of 1 documents")
    finally:
        toy_embedder.seconds_per_text = 0.0
    assert toy_stack.wait(operation).succeeded_count == 1
