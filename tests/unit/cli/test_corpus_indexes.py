"""The indexes of a corpus on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from corella.v1 import operation_pb2, retriever_pb2
from services.retriever.domain import ReindexIncomplete, ReindexNotNeeded

Run = Callable[..., Any]


@pytest.fixture
def handbook(retriever: Any) -> Any:
    chunking = retriever_pb2.Chunking(max_tokens=200, overlap_tokens=-1)
    serving = retriever_pb2.Index(
        state=retriever_pb2.INDEX_STATE_SERVING, embedding_model_fingerprint="0a1b", chunking=chunking, chunk_count=1234, embedding_mode=1
    )
    former = retriever_pb2.Index(state=retriever_pb2.INDEX_STATE_PREVIOUS, embedding_model_fingerprint="9f8e", pending_document_count=3)
    retriever.corpora["corpora/handbook"] = retriever_pb2.Corpus(name="corpora/handbook", document_count=7, indexes=[serving, former])
    return retriever


def test_a_corpus_is_shown_with_its_indexes(corella: Run, handbook: Any) -> None:
    result = corella("corpora", "show", "handbook")
    assert result.code == 0
    for word in ("handbook: 7 documents", "serving", "previous", "0a1b", "9f8e", "1,234", "200", "eager"):
        assert word in result.out
    assert len(json.loads(corella("corpora", "show", "handbook", "--json").out)["indexes"]) == 2


def test_what_is_not_given_stays_as_it_is(corella: Run, handbook: Any) -> None:
    assert corella("corpora", "reindex", "handbook").code == 0
    asked = handbook.asked[-1]
    assert (asked.name, asked.chunking.max_tokens, asked.chunking.overlap_tokens, asked.embedding_mode, asked.force) == (
        "corpora/handbook", 0, 0, 0, False,
    )  # fmt: skip
    assert len(asked.request_id) == 32
    assert corella("corpora", "reindex", "handbook", "--max-tokens", "90", "--overlap-tokens", "-1", "--lazy", "--force").code == 0
    asked = handbook.asked[-1]
    assert (asked.chunking.max_tokens, asked.chunking.overlap_tokens, asked.force) == (90, -1, True)
    assert asked.embedding_mode == retriever_pb2.EMBEDDING_MODE_LAZY
    corella("corpora", "reindex", "handbook", "--eager")
    assert handbook.asked[-1].embedding_mode == retriever_pb2.EMBEDDING_MODE_EAGER


def test_an_index_that_could_not_be_completed_is_a_failure_with_its_documents(corella: Run, handbook: Any) -> None:
    error = ReindexIncomplete("handbook", 1).to_status()
    failure = operation_pb2.ItemFailure(name="corpora/handbook/documents/1", uri="file:///a.md", error=error)
    handbook.ends = operation_pb2.Operation(state=operation_pb2.OPERATION_STATE_FAILED, error=error, failures=[failure])
    result = corella("corpora", "reindex", "handbook")
    assert result.code == 1
    assert "file:///a.md" in result.out
    assert "was not switched" in result.err


def test_going_back_shows_what_answers_then_and_need_not_be_waited_for(corella: Run, handbook: Any) -> None:
    result = corella("corpora", "rollback", "handbook")
    assert result.code == 0
    assert handbook.asked[-1].name == "corpora/handbook"
    assert "serving" in result.out
    assert "corella operations get 1" in corella("corpora", "rollback", "handbook", "--no-wait").out


def test_what_is_not_needed_says_what_to_do(corella: Run, handbook: Any) -> None:
    handbook.error = ReindexNotNeeded("handbook")
    result = corella("corpora", "reindex", "handbook")
    assert result.code == 1
    assert "--force" in result.err
