"""A command is the beginning of a trace: what it sends along, what it exports, and that no service is left with a parent nobody sees."""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace as otel_trace
from opentelemetry.sdk.trace import TracerProvider

from corella.client import Addresses, Corella
from corella.local.home import Home, Ports, RunRecord
from corella.tracing.endpoint import chosen_endpoint
from corella.v1 import generator_pb2
from services.chassis.errors import NotFound

sys.path.insert(0, str(Path(__file__).parents[2]))

from otlp_receiver import OtlpReceiver, orphans, otlp_receiver, path

Run = Callable[..., Any]
ANSWERED = [
    generator_pb2.AskResponse(started=generator_pb2.AnswerStarted(answer="answers/1", trace_id="ab" * 16)),
    generator_pb2.AskResponse(citations=generator_pb2.CitationsResolved(answer=generator_pb2.Answer(text="36 months [1]."))),
    generator_pb2.AskResponse(completion=generator_pb2.Completion(model="m")),
]


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[OtlpReceiver]:
    """Named by OpenTelemetry's own variable."""
    with otlp_receiver() as made:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", made.endpoint)
        yield made


@pytest.fixture
def sent(retriever: Any, generator: Any) -> list[str]:
    """The traceparent of each call that arrived; empty where there was none."""
    found: list[str] = []

    def noting(method: Any) -> Any:
        def noted(request: Any, context: Any) -> Any:
            found.append(dict(context.invocation_metadata()).get("traceparent", ""))
            return method(request, context)

        return noted

    retriever.Search, generator.Ask = noting(retriever.Search), noting(generator.Ask)
    generator.events = ANSWERED
    return found


def test_a_question_is_one_trace_that_the_services_go_on_with(receiver: OtlpReceiver, sent: list[str], corella: Run) -> None:
    assert corella("ask", "How long is the warranty?").code == 0
    root, call = sorted(receiver.spans, key=lambda span: span.begin_ns)
    assert path(receiver.spans, call) == ["cli: corella ask", "cli: corella.v1.GeneratorService/Ask"]
    assert sent == [f"00-{call.trace_id}-{call.span_id}-01"]
    assert (root.service, root.kind, call.kind) == ("corella-cli", "internal", "client")
    assert call.attributes["rpc.response.status_code"] == "OK"
    assert call.attributes["rpc.system.name"] == "grpc"
    assert root.begin_ns <= call.begin_ns < call.end_ns <= root.end_ns
    assert not root.failed
    assert not call.failed
    assert "warranty" not in str(receiver.spans), "no text of the question"
    assert root.resource["service.namespace"] == "corella"


def test_the_answer_ends_with_the_id_of_its_trace(sent: list[str], corella: Run) -> None:
    assert f"trace {'ab' * 16}" in corella("ask", "x").out


def test_subcommands_have_their_whole_name_and_what_fails_is_marked(receiver: OtlpReceiver, corella: Run) -> None:
    assert corella("corpora", "show", "nowhere").code == 1
    assert {(span.name, span.failed, span.attributes["error.type"]) for span in receiver.spans} == {
        ("corella corpora show", True, "NOT_FOUND"),
        ("corella.v1.RetrieverService/GetCorpus", True, "NOT_FOUND"),
    }


def test_where_nothing_is_exported_services_are_told_of_no_parent(sent: list[str], corella: Run) -> None:
    assert corella("search", "x").code == 0
    assert sent == [""]


def test_nor_where_the_receiver_is_away(sent: list[str], corella: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{closed.getsockname()[1]}")
        assert corella("search", "x").code == 0
    assert sent == [""]


def test_nor_when_switched_off(receiver: OtlpReceiver, sent: list[str], corella: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    corella("search", "x")
    monkeypatch.delenv("OTEL_SDK_DISABLED")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    corella("search", "x")
    assert (sent, receiver.spans) == (["", ""], [])


@pytest.mark.parametrize("elsewhere", [False, True], ids=["services of the local run", "services elsewhere"])
def test_the_local_runs_store_is_for_calls_to_the_local_run(
    sent: list[str], corella: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, elsewhere: bool
) -> None:
    import os

    port = int(os.environ["CORELLA_RETRIEVER"].rpartition(":")[2])
    if not elsewhere:
        for name in ("EMBEDDER", "RETRIEVER", "GENERATOR", "TRAINER"):
            monkeypatch.delenv(f"CORELLA_{name}")
    home = Home(tmp_path / "home")
    home.make()
    with otlp_receiver() as receiver:
        home.write(RunRecord(1, 0.0, "run", {**Ports.from_base().numbers(), "retriever": port}, 0.0, otlp_endpoint=receiver.endpoint))
        assert corella("search", "x").code == 0
    assert len(receiver.spans) == (0 if elsewhere else 2)
    assert (sent == [""]) is elsewhere


def test_at_the_prompt_every_question_is_a_trace_of_its_own(
    receiver: OtlpReceiver, sent: list[str], corella: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    import io

    monkeypatch.setattr(sys, "stdin", io.StringIO("one\ntwo\n/new\nthree\n"))
    assert corella("ask").code == 0
    assert len({span.trace_id for span in receiver.spans}) == 3
    assert len(receiver.spans) == 6
    assert orphans(receiver.spans) == []
    assert {value.split("-")[1] for value in sent} == {span.trace_id for span in receiver.spans}


def test_a_command_that_calls_again_and_again_leaves_no_span_without_parent(
    receiver: OtlpReceiver, sent: list[str], corella: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    import io

    from corella.tracing import recorder

    monkeypatch.setattr(recorder, "MAX_CALLS", 0)
    monkeypatch.setattr(sys, "stdin", io.StringIO("one\n"))
    corella("ask")
    [root] = receiver.spans
    assert sent == [f"00-{root.trace_id}-{root.span_id}-01"]


def test_headers_of_the_environment_are_sent(receiver: OtlpReceiver, corella: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "Api-Key=a%20b,tenant=one")
    corella("search", "x")
    assert {key: receiver.metadata[0][key] for key in ("api-key", "tenant")} == {"api-key": "a b", "tenant": "one"}


def test_a_call_of_a_program_with_opentelemetry_belongs_to_its_span(sent: list[str], corella: Run) -> None:
    import os

    tracer = TracerProvider().get_tracer("mine")
    with (
        tracer.start_as_current_span("mine") as span,
        Corella(Addresses(generator=os.environ["CORELLA_GENERATOR"])) as client,
    ):
        client.ask("x")
        context = span.get_span_context()
    assert sent[0].startswith(f"00-{otel_trace.format_trace_id(context.trace_id)}-{otel_trace.format_span_id(context.span_id)}-")


def test_the_variables_of_this_terminal_do_not_take_a_trace_apart(receiver: OtlpReceiver) -> None:
    """A run sends its spans where it was told to when it began."""
    with otlp_receiver() as of_run:
        chosen = chosen_endpoint(of_run.endpoint)
        assert chosen is not None
        assert chosen.port == of_run.port
    assert chosen_endpoint("") is None, "its services send them to different places"
    elsewhere = chosen_endpoint(None)
    assert elsewhere is not None
    assert elsewhere.port == receiver.port


@pytest.mark.parametrize("url", ["", "http://", "http://[::1", "http://host:notaport"])
def test_an_address_that_is_none_switches_tracing_off(url: str) -> None:
    assert chosen_endpoint(url) is None


def test_an_ask_that_failed_has_a_failed_trace(receiver: OtlpReceiver, sent: list[str], generator: Any, corella: Run) -> None:
    generator.error = NotFound("No.", reason="CORPUS_NOT_FOUND")
    assert corella("ask", "x").code == 1
    assert all(span.failed for span in receiver.spans)
    assert re.fullmatch("[0-9a-f]{32}", receiver.spans[0].trace_id)
