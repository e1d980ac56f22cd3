"""`corella documents access | retry | audit`, and who may read what is ingested."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from corella.v1 import operation_pb2
from corella.v1 import retriever_pb2 as pb
from services.chassis.errors import Unavailable

LISTED, TENANT, NOBODY = pb.ACCESS_LEVEL_LISTED, pb.ACCESS_LEVEL_TENANT, pb.ACCESS_LEVEL_NOBODY


@pytest.mark.parametrize(
    ("options", "access", "words"),
    [
        (("--everyone",), pb.Access(level=TENANT), "everyone may read it"),
        (("--nobody",), pb.Access(level=NOBODY), "nobody may read it"),
        (("--user", "anna", "--group", "b"), pb.Access(level=LISTED, users=["anna"], groups=["b"]), "user anna, group b may read it"),
    ],
)
def test_who_may_read_is_said_by_options(corella: Any, retriever: Any, options: tuple[str, ...], access: pb.Access, words: str) -> None:
    result = corella("documents", "access", "d1", *options)
    assert (result.code, words in result.out) == (0, True)
    assert (retriever.asked[0].name, retriever.asked[0].access) == ("corpora/default/documents/d1", access)


@pytest.mark.parametrize("options", [(), ("--everyone", "--nobody"), ("--nobody", "--user", "anna")])
def test_options_that_say_nothing_or_two_things_are_wrong_usage(corella: Any, retriever: Any, options: tuple[str, ...]) -> None:
    assert corella("documents", "access", "d1", *options).code == 2
    assert retriever.asked == []


@pytest.mark.parametrize(
    ("traces", "code", "words"),
    [
        ({"record in the catalog": 1, "chunks in the store": 3}, 0, "The document is there."),
        ({"record in the catalog": 0, "chunks in the store": 0, "records of operations": 2}, 0, "Nothing of it is left."),
        ({"record in the catalog": 0, "chunks in the store": 1}, 1, "Something of it is left."),
    ],
)
def test_an_audit_fails_only_if_something_of_a_deleted_document_is_left(
    corella: Any, retriever: Any, traces: dict[str, int], code: int, words: str
) -> None:
    retriever.traces = traces
    result = corella("documents", "audit", "https://docs.example.com/a")
    assert (result.code, words in result.out) == (code, True)
    assert (retriever.asked[0].parent, retriever.asked[0].uri) == ("corpora/default", "https://docs.example.com/a")


def test_an_audit_goes_by_name_id_or_the_path_of_a_file_that_is_gone(corella: Any, retriever: Any, tmp_path: Path) -> None:
    for name in ("corpora/books/documents/d1", "d1", str(tmp_path / "gone.md")):
        assert corella("documents", "audit", name).code == 0
    assert [request.name for request in retriever.asked[:2]] == ["corpora/books/documents/d1", "corpora/default/documents/d1"]
    assert retriever.asked[2].uri == (tmp_path / "gone.md").as_uri()


def test_an_audit_counts_what_the_generator_remembers(corella: Any, retriever: Any, generator: Any) -> None:
    generator.traces = {"turns of conversations": 2, "feedback": 0}
    result = corella("documents", "audit", "d1")
    assert (result.code, "turns of conversations" in result.out, "Something of it is left." in result.out) == (1, True, True)
    assert generator.asked[0].name == "corpora/default/documents/d1"
    retriever.traces = {"record in the catalog": 1}
    assert corella("documents", "audit", "d1").code == 0
    told = json.loads(corella("documents", "audit", "d1", "--json").out)
    assert [trace["count"] for trace in told["remembered"]] == ["2", "0"]


def test_an_audit_without_the_generator_proves_nothing(corella: Any, generator: Any) -> None:
    generator.error = Unavailable("The conversation store cannot be reached.", reason="MEMORY_UNAVAILABLE")
    result = corella("documents", "audit", "d1")
    assert (result.code, "could not be asked: The conversation store cannot be reached." in result.out) == (1, True)


def test_what_conversations_hold_of_a_deleted_document_is_forgotten(corella: Any, generator: Any) -> None:
    generator.traces = {"turns of conversations": 2, "feedback": 0}
    result = corella("documents", "delete", "d1", "d2")
    assert (result.code, "Forgotten by the generator: turns of conversations: 4" in result.out) == (0, True)
    assert [request.name for request in generator.asked] == ["corpora/default/documents/d1", "corpora/default/documents/d2"]


def test_a_deletion_without_the_generator_is_done_and_says_what_is_left_to_the_sweep(
    corella: Any, retriever: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORELLA_GENERATOR", "127.0.0.1:1")
    result = corella("documents", "delete", "d1")
    assert (result.code, len(retriever.asked), "Deleted d1" in result.out) == (0, 1, True)
    assert "The generator was not told: The service cannot be reached. Its sweep" in result.err


def test_documents_that_fail_again_are_a_failure(corella: Any, retriever: Any) -> None:
    ended = operation_pb2.Operation(name="operations/1", state=operation_pb2.OPERATION_STATE_SUCCEEDED, total_count=2)
    ended.succeeded_count, ended.failed_count = 1, 1
    retriever.ends = ended
    result = corella("documents", "retry", "d1", "d2", "--no-wait")
    assert (result.code, "1 succeeded, 1 failed again" in result.out) == (1, True)
    assert list(retriever.asked[0].names) == ["corpora/default/documents/d1", "corpora/default/documents/d2"]


def test_what_is_ingested_may_be_for_some_only(corella: Any, retriever: Any, tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# A\n")
    assert corella("ingest", str(tmp_path), "--access-group", "staff", "--access-user", "anna").code == 0
    assert corella("ingest", str(tmp_path)).code == 0
    handed = [part.document for stream in retriever.received for part in stream if part.HasField("document")]
    assert handed[0].access == pb.Access(level=LISTED, users=["anna"], groups=["staff"])
    assert not handed[1].HasField("access")


def test_a_corpus_may_be_made_nobodys_by_default(corella: Any, retriever: Any) -> None:
    assert corella("corpora", "create", "closed", "--default-access", "nobody").code == 0
    assert corella("corpora", "create", "open").code == 0
    assert corella("corpora", "create", "odd", "--default-access", "some").code == 2
    assert {name: corpus.default_access for name, corpus in retriever.corpora.items()} == {
        "corpora/closed": NOBODY,
        "corpora/open": TENANT,
    }
