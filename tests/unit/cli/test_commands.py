"""Commands against services that say what the test tells them to."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from corella.cli import ingesting
from corella.v1 import generator_pb2, operation_pb2, retriever_pb2
from services.chassis.errors import FailedPrecondition, InvalidArgument, ResourceExhausted, Unavailable

Run = Callable[..., Any]
ESC = "\x1b]0;owned\x07\x1b[31m"


def events(text: str, *, streamed: str = "", refused: bool = False, title: str = "Warranty") -> list[generator_pb2.AskResponse]:
    citation = generator_pb2.Citation(number=1, uri="file:///srv/warranty.md#periods", title=title, heading_path=[title, "Periods"])
    answer = generator_pb2.Answer(text=text, citations=[] if refused else [citation], refused=refused)
    if refused:
        answer.refusal_reason = generator_pb2.REFUSAL_REASON_WEAK_EVIDENCE
    response = generator_pb2.AskResponse
    passage = retriever_pb2.Passage(title=title, text=f"The warranty is long.{ESC}", uri=citation.uri)
    return [
        response(started=generator_pb2.AnswerStarted(answer="answers/1")),
        response(passages=generator_pb2.PassagesFound(passages=[passage], answerability=0.8)),
        *[response(delta=generator_pb2.TextDelta(text=piece)) for piece in (streamed or text).split(" ")],
        response(citations=generator_pb2.CitationsResolved(answer=answer)),
        response(completion=generator_pb2.Completion(finish_reason=generator_pb2.FINISH_REASON_STOP, model="small")),
        response(memory=generator_pb2.Memory(topic_changed=True)),
    ]


def test_an_answer_ends_with_its_citations_and_their_urls(corella: Run, generator: Any) -> None:
    generator.events = events("36 months. [1]")
    result = corella("ask", "How long?")
    assert result.code == 0
    assert "36 months. [1]" in result.out
    assert "[1] Warranty › Periods — file:///srv/warranty.md#periods" in result.out
    assert generator.asked[0].skip_memory, "nobody will follow up"
    assert generator.asked[0].corpus == "corpora/default"


def test_what_counts_is_shown_where_it_differs_from_what_was_streamed(corella: Run, generator: Any) -> None:
    generator.events = events("36 months. [1]", streamed="36 months. And it is made of cheese.")
    result = corella("ask", "How long?")
    assert "36 months. [1]" in result.out
    assert "cheese" not in result.out


def test_a_refusal_says_why_and_is_no_failure(corella: Run, generator: Any) -> None:
    generator.events = events("I do not know.", refused=True)
    result = corella("ask", "How long?")
    assert result.code == 0
    assert "I do not know." in result.out
    assert "most likely does not hold the answer" in result.out


def test_control_sequences_of_documents_and_models_reach_no_terminal(corella: Run, generator: Any, retriever: Any) -> None:
    generator.events = events(f"36{ESC} months. [1]", title=f"War{ESC}ranty")
    passage = retriever_pb2.Passage(title=f"T{ESC}", text=f"x{ESC}", uri=f"https://x.example/{ESC}", heading_path=[f"h{ESC}"])
    retriever.response.passages.append(passage)
    retriever.documents.append(retriever_pb2.Document(name="corpora/default/documents/1", uri="file:///a", title=f"T{ESC}"))
    for arguments in (("ask", "q", "--show-passages"), ("search", "q"), ("documents", "list")):
        result = corella(*arguments)
        assert result.code == 0
        assert "owned" in result.out or arguments[0] == "documents"
        assert not {"\x1b", "\x07"} & set(result.out + result.err)


def test_every_event_is_a_line_of_json_when_asked_for(corella: Run, generator: Any) -> None:
    generator.events = events(f"36 months.{ESC} [1]")
    result = corella("ask", "How long?", "--json")
    lines = [json.loads(line) for line in result.out.splitlines()]
    assert [next(iter(line)) for line in lines][:2] == ["started", "passages"]
    assert next(line for line in lines if "citations" in line)["citations"]["answer"]["citations"][0]["number"] == 1
    assert "\x1b" not in result.out


def test_style_filters_and_conversation_reach_the_generator(corella: Run, generator: Any) -> None:
    generator.events = events("36 months. [1]")
    corella(
        "ask", "q", "--conversation", "c1", "--tone", "friendly", "--filter", "team=a", "--filter", "team=b", "--filter", "old!=yes",
        "--filter", "kind", "--mode", "keyword", "--refuse-below", "0", "--temperature", "0.5",
    )  # fmt: skip
    request = generator.asked[0]
    assert (request.conversation, request.style.tone, request.skip_memory) == ("conversations/c1", "friendly", False)
    assert request.retrieval.refusal_threshold == 0
    assert request.retrieval.HasField("refusal_threshold")
    assert request.generation.temperature == 0.5
    conditions = [(c.key, list(c.any_of), c.negate) for c in request.retrieval.filter]
    assert conditions == [("team", ["a", "b"], False), ("old", ["yes"], True), ("kind", [], False)]


def test_an_error_in_the_middle_of_an_answer_is_told_in_words(corella: Run, generator: Any) -> None:
    generator.events = events("36 months.")[:3]
    generator.error = ResourceExhausted("64 answers wait already.", retry_after_seconds=3)
    result = corella("ask", "q")
    assert result.code == 1
    assert "64 answers wait already. (QUEUE_FULL)" in result.err
    assert "Try again in 3 s." in result.err


def test_questions_typed_one_after_the_other_share_a_conversation(corella: Run, generator: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    generator.events = events("36 months. [1]")
    monkeypatch.setattr(sys, "stdin", io.StringIO("first\n\nsecond\n/new\nthird\n/help\n/quit\nnever\n"))
    result = corella("ask")
    assert result.code == 0
    assert [request.question for request in generator.asked] == ["first", "second", "third"]
    first, second, third = [request.conversation for request in generator.asked]
    assert first == second != third
    assert "another topic" in result.out
    assert "/new begins" in result.out


def test_an_error_does_not_end_the_session(corella: Run, generator: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    generator.error = Unavailable("The retriever cannot be reached.", reason="RETRIEVER_UNAVAILABLE")
    monkeypatch.setattr(sys, "stdin", io.StringIO("first\nsecond\n"))
    result = corella("ask")
    assert len(generator.asked) == 2
    assert result.err.count("The retriever cannot be reached.") == 2


def test_nobody_listening_says_how_to_start(corella: Run) -> None:
    result = corella("--retriever", "127.0.0.1:9", "search", "x")
    assert result.code == 3
    assert "corella up" in result.err
    assert "Traceback" not in result.err
    told = json.loads(corella("--retriever", "127.0.0.1:9", "search", "x", "--json").out)
    assert told["error"]["reason"] == "UNREACHABLE"


def test_every_violation_is_listed(corella: Run, retriever: Any) -> None:
    retriever.error = InvalidArgument.of([("query", "must not be empty"), ("limit", "must be at most 100")])
    result = corella("search", "")
    assert result.code == 1
    assert "query: must not be empty" in result.err
    assert "limit: must be at most 100" in result.err
    told = json.loads(corella("search", "", "--json").out)["error"]
    assert [v["field"] for v in told["violations"]] == ["query", "limit"]


def test_a_known_reason_brings_what_to_do_next(corella: Run, retriever: Any) -> None:
    retriever.error = FailedPrecondition("Another model.", reason="EMBEDDING_MODEL_MISMATCH")
    assert "--mode keyword" in corella("search", "x").err


@pytest.mark.parametrize(
    "arguments",
    [
        ("serach", "x"), ("search",), ("search", "x", "--mode", "psychic"), ("search", "x", "--limit", "0"), ("search", "x", "-f", "=y"),
        ("ask", "--json"), ("ingest", "/nowhere/at/all"), ("documents", "list", "--state", "odd"),
    ],
)  # fmt: skip
def test_wrong_use_exits_with_two(corella: Run, arguments: tuple[str, ...]) -> None:
    assert corella(*arguments).code == 2


def test_a_fault_of_the_program_shows_no_traceback(corella: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ValueError("surprise")

    monkeypatch.setattr("corella.client.Corella.__init__", broken)
    result = corella("search", "x")
    assert result.code == 1
    assert "ValueError: surprise" in result.err
    assert "Traceback" not in result.err


def test_search_shows_rank_score_provenance_place_and_url(corella: Run, retriever: Any) -> None:
    provenance = retriever_pb2.Provenance(keyword_rank=3, vector_rank=1, embedded_now=True)
    retriever.response.passages.append(
        retriever_pb2.Passage(
            title="Warranty",
            heading_path=["Warranty", "Periods"],
            uri="https://x.example/w#p",
            text="36 months",
            score=0.81234,
            provenance=provenance,
        )
    )
    retriever.response.mode = retriever_pb2.SEARCH_MODE_HYBRID
    result = corella("search", "x", "--fusion", "rrf")
    for part in ("0.812", "kw #3, vec #1 new", "Warranty › Periods", "https://x.example/w#p", "36 months", "hybrid"):
        assert part in result.out
    assert retriever.asked[0].fusion == retriever_pb2.FUSION_RECIPROCAL_RANK


def folder(tmp_path: Path, count: int = 3) -> Path:
    root = tmp_path / "docs"
    root.mkdir()
    for number in range(count):
        (root / f"{number}.md").write_text(f"# {number}\n" * 10)
    return root


def test_ingest_makes_the_corpus_sends_everything_and_sums_up(corella: Run, retriever: Any, tmp_path: Path) -> None:
    retriever.ends = operation_pb2.Operation(state=retriever.ends.state, total_count=3, done_count=3, succeeded_count=2, unchanged_count=1)
    result = corella("ingest", str(folder(tmp_path)), "--lazy", "--metric", "l2", "--chunk-tokens", "100", "--metadata", "team=a=b")
    assert result.code == 0
    corpus = retriever.corpora["corpora/default"]
    assert corpus.embedding_mode == retriever_pb2.EMBEDDING_MODE_LAZY
    assert (corpus.metric, corpus.chunking.max_tokens) == (retriever_pb2.METRIC_L2, 100)
    [stream] = retriever.received
    assert stream[0].start.parent == "corpora/default"
    documents = [part.document for part in stream if part.HasField("document")]
    assert [document.uri.rpartition("/")[2] for document in documents] == ["0.md", "1.md", "2.md"]
    assert documents[0].metadata == {"team": "a=b"}
    assert result.out.split("\n")[0].split() == ["added", "unchanged", "failed", "cancelled"]
    assert result.out.split("\n")[1].split() == ["2", "1", "0", "0"]


def test_ingesting_again_says_that_nothing_changed(corella: Run, retriever: Any, tmp_path: Path) -> None:
    retriever.ends = operation_pb2.Operation(state=retriever.ends.state, total_count=3, done_count=3, unchanged_count=3)
    assert "Nothing changed: all 3 documents" in corella("ingest", str(folder(tmp_path))).out


def test_failed_documents_are_listed_with_their_reasons(corella: Run, retriever: Any, tmp_path: Path) -> None:
    failure = operation_pb2.ItemFailure(
        uri="file:///a.md", error=InvalidArgument("It is not UTF-8.", reason="DOCUMENT_UNREADABLE").to_status()
    )
    retriever.ends = operation_pb2.Operation(state=retriever.ends.state, total_count=1, done_count=1, failed_count=1, failures=[failure])
    root = folder(tmp_path)
    result = corella("ingest", str(root))
    assert result.code == 1
    assert "file:///a.md" in result.out
    assert "It is not UTF-8." in result.out
    told = json.loads(corella("ingest", str(root), "--json").out)
    assert told["failures"] == [{"uri": "file:///a.md", "reason": "It is not UTF-8.", "code": "DOCUMENT_UNREADABLE"}]


def test_a_retriever_that_restarts_meanwhile_is_waited_for(
    corella: Run, retriever: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingesting.time, "sleep", lambda _seconds: None)
    away = Unavailable("The queue cannot be reached.")
    retriever.fail_ingest, retriever.fail_wait = [away], [away, away, away]
    assert corella("ingest", str(folder(tmp_path))).code == 0
    first, second = retriever.received
    assert first[0].start.request_id == second[0].start.request_id != "", "so that nothing is done twice"


def test_files_that_are_left_out_are_named(corella: Run, tmp_path: Path) -> None:
    root = folder(tmp_path, 1)
    (root / "gone.md").symlink_to(tmp_path / "nowhere.md")
    (root / "picture.png").write_bytes(b"x")
    result = corella("ingest", str(root))
    assert "gone.md is a symbolic link that leads out of the folder" in result.err
    assert "1 files of other types" in result.err


def test_a_folder_without_documents_is_a_failure(corella: Run, tmp_path: Path) -> None:
    assert corella("ingest", str(tmp_path)).code == 1


def test_settings_of_an_existing_corpus_are_not_silently_ignored(corella: Run, retriever: Any, tmp_path: Path) -> None:
    retriever.corpora["corpora/default"] = retriever_pb2.Corpus(name="corpora/default", embedding_mode=retriever_pb2.EMBEDDING_MODE_EAGER)
    result = corella("ingest", str(folder(tmp_path)), "--lazy")
    assert result.code == 1
    assert "--lazy" in result.err
    assert retriever.received == []


def test_a_document_is_found_by_path_on_any_page_and_deleted(corella: Run, retriever: Any, tmp_path: Path) -> None:
    root = folder(tmp_path)
    for number in range(3):
        retriever.documents.append(
            retriever_pb2.Document(name=f"corpora/default/documents/d{number}", uri=(root / f"{number}.md").as_uri())
        )
    assert corella("documents", "delete", str(root / "2.md")).code == 0
    assert retriever.asked[0].name == "corpora/default/documents/d2"
    assert corella("documents", "delete", "d1").code == 0
    assert retriever.asked[1].name == "corpora/default/documents/d1"
    assert corella("documents", "delete", "https://nowhere.example/").code == 1


def test_documents_are_listed_over_all_pages(corella: Run, retriever: Any) -> None:
    for number in range(3):
        retriever.documents.append(retriever_pb2.Document(name=f"corpora/default/documents/d{number}", state=3))
    result = corella("documents", "list", "--json")
    assert [json.loads(line)["name"][-2:] for line in result.out.splitlines()] == ["d0", "d1", "d2"]
    assert "2 of 3 documents" in corella("documents", "list", "-n", "2").out


def test_addresses_of_the_local_run_are_used_where_none_are_given(corella: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    from corella.local.home import Home, Ports, RunRecord

    address = os.environ["CORELLA_RETRIEVER"]
    monkeypatch.delenv("CORELLA_RETRIEVER")
    home = Home(tmp_path / "home")
    home.make()
    # Nobody listens at the first of these.
    for port, code in ((9, 3), (int(address.rpartition(":")[2]), 0)):
        home.write(RunRecord(1, 0.0, "run", {**Ports.from_base().numbers(), "retriever": port}, 0.0))
        assert corella("search", "x").code == code
