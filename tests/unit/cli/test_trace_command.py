"""`corella trace`: the waterfall, the list, Tempo, and that nothing in a trace is obeyed by a terminal."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from opentelemetry.proto.trace.v1 import trace_pb2

from corella.cli.trace_view import bar, took
from corella.local.trace_store import FILE_NAME, QUESTION, TraceStore
from corella.tracing.spans import Span
from corella.tracing.tree import lay_out

Run = Callable[..., Any]
ID = "0af7651916cd43dd8448eb211c80319c"
OTHER = "1bf7651916cd43dd8448eb211c80319c"
NEW = "2cf7651916cd43dd8448eb211c80319c"
BEGIN = 1_800_000_000_000_000_000
MS = 1_000_000


def spans_of(service: str, *spans: dict[str, Any], trace_id: str = ID) -> trace_pb2.ResourceSpans:
    made = trace_pb2.ResourceSpans()
    made.resource.attributes.add(key="service.name").value.string_value = f"corella-{service}"
    for given in spans:
        begin, end = given.get("at", (0, 1000))
        span = made.scope_spans.add().spans.add(
            trace_id=bytes.fromhex(trace_id), span_id=int(given["id"]).to_bytes(8), name=given["name"],
            parent_span_id=int(given["parent"]).to_bytes(8) if "parent" in given else b"", kind=given.get("kind", 1),
            start_time_unix_nano=BEGIN + int(begin * MS), end_time_unix_nano=BEGIN + int(end * MS),
        )  # fmt: skip
        for key, value in given.get("attributes", {}).items():
            pair = span.attributes.add(key=key).value
            setattr(pair, {str: "string_value", int: "int_value", float: "double_value", bool: "bool_value"}[type(value)], value)
        if "error" in given:
            span.status.code, span.status.message = trace_pb2.Status.STATUS_CODE_ERROR, given["error"]
        if "exception" in given:
            event = span.events.add(name="exception", time_unix_nano=BEGIN)
            event.attributes.add(key="exception.type").value.string_value = "ValueError"
            event.attributes.add(key="exception.message").value.string_value = given["exception"]
        if "link" in given:
            span.links.add(trace_id=bytes.fromhex(given["link"]), span_id=bytes(7) + b"\1")
    return made


def question() -> list[trace_pb2.ResourceSpans]:
    return [
        spans_of("cli", {"id": 1, "name": "corella ask", "at": (0, 2000)}),
        spans_of(
            "generator",
            {"id": 2, "name": QUESTION, "parent": 1, "kind": 2, "at": (100, 1900), "link": OTHER,
             "attributes": {"corella.adapter.name": "adapters/devices/versions/2", "corella.answer.id": "answers/77"}},
            {"id": 3, "name": "chat SmolLM2", "parent": 2, "kind": 3, "at": (500, 1500),
             "attributes": {"gen_ai.usage.input_tokens": 502, "gen_ai.usage.output_tokens": 17,
                            "gen_ai.usage.cache_read.input_tokens": 448}},
        ),
        spans_of("retriever", {"id": 4, "name": "search", "parent": 2, "at": (150, 450), "error": "Milvus is away."}),
    ]  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TraceStore]:
    made = TraceStore(tmp_path / "home" / "traces")
    yield made
    made.close()


def test_last_is_the_newest_question_as_a_waterfall(corella: Run, store: TraceStore) -> None:
    store.add(question())
    store.add([spans_of("retriever", {"id": 1, "name": "newer, but no question", "at": (9000, 9001)}, trace_id="ff" * 16)])
    result = corella("trace")
    assert result.code == 0
    lines = result.out.splitlines()
    assert f"corella ask  trace {ID}" in lines[0]
    assert "2.00 s · 4 spans · 3 services · 1 failed" in lines[1]
    tree = [line for line in lines if "├" in line or "└" in line]
    assert all(line.startswith(f"{name} ") for line, name in zip(tree, (f"└ {QUESTION}", "  ├ ✗ search", "  └ chat SmolLM2"), strict=True))
    ask, search, chat = (next(line for line in lines if name in line) for name in ("└ corella.v1", "✗ search", "chat Smol"))
    assert "1.80 s" in ask
    assert "500 ms" in ask, "its own time"
    assert "adapter.name=adapters/devices/versions/2" in ask
    assert "answer.id=answers/77" in ask
    assert "Milvus is away." in search
    assert "502 tokens in · 448 of them cached · 17 out" in chat
    assert f"{QUESTION} → trace {OTHER}" in result.out


@pytest.mark.parametrize("which", [(), (NEW,)])
def test_a_question_that_has_only_just_ended_is_waited_for(corella: Run, store: TraceStore, which: tuple[str, ...]) -> None:
    ended = (time.time_ns() - BEGIN) / MS
    store.add([spans_of("generator", {"id": 2, "name": QUESTION, "kind": 2, "at": (ended - 9000, ended - 8000)}, trace_id=OTHER)])
    store.add([spans_of("cli", {"id": 1, "name": "corella ask", "at": (ended - 60, ended)}, trace_id=NEW)])

    def export() -> None:
        store.add([spans_of("generator", {"id": 2, "name": QUESTION, "parent": 1, "kind": 2, "at": (ended - 50, ended)}, trace_id=NEW)])

    later = threading.Timer(0.5, export)
    later.start()
    result = corella("trace", *which)
    later.join()
    assert f"corella ask  trace {NEW}" in result.out
    assert "2 spans · 2 services" in result.out


def test_a_link_to_a_trace_that_is_kept_says_what_it_was(corella: Run, store: TraceStore) -> None:
    store.add(question())
    store.add([spans_of("cli", {"id": 1, "name": "corella train", "at": (0, 65_000)}, trace_id=OTHER)])
    assert f"→ trace {OTHER} (corella train, 65.00 s)" in corella("trace", ID).out


def test_a_beginning_of_the_id_is_enough_and_must_be_of_one_trace(corella: Run, store: TraceStore) -> None:
    store.add([spans_of("cli", {"id": 1, "name": "first"}), spans_of("cli", {"id": 1, "name": "second"}, trace_id=ID[:-1] + "d")])
    store.add([spans_of("cli", {"id": 1, "name": "third"}, trace_id=OTHER)])
    assert "third" in corella("trace", OTHER[:6].upper()).out
    both = corella("trace", ID[:10])
    assert both.code == 2
    assert ID in both.err
    assert corella("trace", "dead").code == 1
    assert corella("trace", "xyz").code == 2
    assert corella("trace", "0a").code == 2


def test_json_has_every_span_with_attributes_and_links(corella: Run, store: TraceStore) -> None:
    store.add(question())
    told = json.loads(corella("trace", "last", "--json").out)
    assert (told["trace_id"], told["duration_ms"], told["failed_spans"], told["orphans"]) == (ID, 2000.0, 1, 0)
    assert [(span["name"], span["depth"], span["own_ms"]) for span in told["spans"]] == [
        ("corella ask", 0, 200.0), (QUESTION, 1, 500.0), ("search", 2, 300.0), ("chat SmolLM2", 2, 1000.0),
    ]  # fmt: skip
    assert told["spans"][1]["links"][0]["trace_id"] == OTHER
    assert told["spans"][3]["attributes"]["gen_ai.usage.output_tokens"] == 17


def test_the_list_shows_what_when_how_long_and_failures(corella: Run, store: TraceStore) -> None:
    store.add(question())
    store.add([spans_of("retriever", {"id": 2, "name": "search", "parent": 1, "at": (3000, 9000)}, trace_id=OTHER)])
    lines = corella("trace", "--list").out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == [OTHER, ID]
    assert "search (its beginning is missing)" in lines[1]
    assert "2.00 s" in lines[2]
    assert [json.loads(line)["trace_id"] for line in corella("trace", "--list", "--slowest", "--json").out.splitlines()] == [OTHER, ID]
    assert [json.loads(line)["trace_id"] for line in corella("trace", "-l", "--failed", "--json").out.splitlines()] == [ID]
    assert len(corella("trace", "--list", "-n", "1").out.splitlines()) == 2
    store.add([spans_of("retriever", {"id": 1, "name": "look at the clock", "at": (9000, 9001)}, trace_id="ff" * 16)])
    assert "look at the clock" not in corella("trace", "--list").out, "what a service does by itself"
    assert "look at the clock" in corella("trace", "--list", "--all").out


def test_without_any_trace_it_says_how_to_get_one(corella: Run, tmp_path: Path) -> None:
    assert "corella up" in corella("trace").err
    store = TraceStore(tmp_path / "home" / "traces")
    assert "corella ask" in corella("trace").err
    assert corella("trace", "--list").out == "No traces yet.\n"
    store.close()


def test_a_store_that_cannot_be_read_is_said_in_a_sentence(corella: Run, tmp_path: Path) -> None:
    folder = tmp_path / "home" / "traces"
    folder.mkdir(parents=True)
    (folder / FILE_NAME).write_bytes(b"no database" * 999)
    result = corella("trace")
    assert result.code == 1
    assert "cannot be read" in result.err
    assert "fault of the program" not in result.err


def test_orphans_and_clocks_that_differ_are_said(corella: Run, store: TraceStore) -> None:
    store.add([
        spans_of("generator", {"id": 1, "name": "ask", "at": (100, 200)}),
        spans_of("retriever", {"id": 2, "name": "search", "parent": 1, "at": (60, 150)}),
        spans_of("retriever", {"id": 3, "name": "lost", "parent": 99, "at": (120, 130)}),
    ])  # fmt: skip
    out = corella("trace", ID).out
    assert "its parent is missing" in out
    assert "1 span without a parent here" in out
    assert "begins 40.0 ms before its parent" in out
    assert "The clocks of corella-generator and corella-retriever differ by at least 40.0 ms" in out


def test_many_spans_of_a_kind_are_one_line_unless_asked_for_and_failures_are_never_hidden(corella: Run, store: TraceStore) -> None:
    children = [{"id": 10 + number, "name": "GET", "parent": 1, "at": (number, number + 1)} for number in range(20)]
    children[12]["error"] = "broken"
    store.add([spans_of("cli", {"id": 1, "name": "corella ask"}, *children)])
    out = corella("trace", ID).out
    assert "GET ×17" in out
    assert "17 more, alike" in out
    assert "✗ GET" in out
    assert corella("trace", ID, "--all").out.count("GET") == 20


HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m[bold]x[/bold]\u202eevil\nline"


def test_nothing_in_a_trace_is_obeyed_by_the_terminal(corella: Run, store: TraceStore) -> None:
    span = {
        "id": 1, "name": HOSTILE, "attributes": {"corella.adapter.name": HOSTILE, HOSTILE: HOSTILE}, "error": HOSTILE, "exception": HOSTILE,
        "link": OTHER,
    }  # fmt: skip
    store.add([spans_of(HOSTILE, span)])
    for arguments in (("trace", ID), ("trace", ID, "--attributes"), ("trace", "--list"), ("trace", ID, "--json"), ("status",)):
        out = corella(*arguments).out
        assert not set(out) & {"\x1b", "\x07", "\x9b", "\u202e"}, arguments
    assert "[bold]x[/bold]" in corella("trace", ID).out, "shown as it is, not as markup"


def test_every_attribute_and_event_is_there_when_asked_for(corella: Run, store: TraceStore) -> None:
    store.add([spans_of("cli", {"id": 1, "name": "corella ask", "attributes": {"rpc.system.name": "grpc"}, "exception": "too much"})])
    out = corella("trace", ID, "-A").out
    assert "rpc.system.name = grpc" in out
    assert "exception.message = too much" in out
    assert "ValueError: too much" in corella("trace", ID).out


@pytest.mark.parametrize(("begin", "end", "expected"), [
    (0, 1000, "████████"), (0, 0, "▏"), (500, 1000, "    ████"), (1000, 1000, "       ▏"), (0, 125, "█"), (0, 1, "▏"), (250, 437, "  █▌"),
])  # fmt: skip
def test_bars_lie_where_the_time_was(begin: int, end: int, expected: str) -> None:
    waterfall = lay_out([Span(ID, "1", "all", 0, 1000)])
    assert bar(waterfall, begin, end, 8) == expected


def test_times_read_in_three_digits() -> None:
    times = (0, 310_000, 12_000_000, 512_000_000, 1_750_000_000, 200_000_000_000)
    assert [took(each) for each in times] == ["0.00 ms", "0.31 ms", "12.0 ms", "512 ms", "1.75 s", "3 min 20 s"]


class FakeTempo(ThreadingHTTPServer):
    """Answers as Tempo does."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[str, dict[str, list[str]], str]] = []
        self.status = 200
        self.redirect = ""
        self.body: bytes | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/tempo"


def _base64(value: int, size: int) -> str:
    return base64.b64encode(value.to_bytes(size)).decode()


class _Handler(BaseHTTPRequestHandler):
    server: FakeTempo

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        self.server.asked.append((parts.path, parse_qs(parts.query), self.headers.get("Authorization", "")))
        body = self.server.body
        status = self.server.status
        if body is None and parts.path == "/tempo/api/search":
            traces = [
                {"traceID": ID.removeprefix("0"), "rootServiceName": "corella-cli", "rootTraceName": "corella ask",
                 "startTimeUnixNano": str(BEGIN), "durationMs": 2000},
                {"traceID": OTHER, "rootServiceName": "<root span not yet received>",
                 "startTimeUnixNano": str(BEGIN - 1), "durationMs": 9000},
            ]  # fmt: skip
            body = json.dumps({"traces": traces, "metrics": {}}).encode()
        elif body is None and parts.path == f"/tempo/api/traces/{ID}":
            attributes = [{"key": "service.name", "value": {"stringValue": "corella-cli"}}]
            span = {"traceId": _base64(int(ID, 16), 16), "spanId": _base64(1, 8), "name": "corella ask", "kind": "SPAN_KIND_INTERNAL",
                    "startTimeUnixNano": str(BEGIN), "endTimeUnixNano": str(BEGIN + 5 * MS), "status": {}}  # fmt: skip
            body = json.dumps({"batches": [{"resource": {"attributes": attributes}, "scopeSpans": [{"spans": [span]}]}]}).encode()
        elif body is None:
            status, body = 404, b"trace not found"
        self.send_response(status)
        if self.server.redirect:
            self.send_header("Location", self.server.redirect)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def tempo() -> Iterator[FakeTempo]:
    server = FakeTempo()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_a_trace_of_a_deployment_comes_from_tempo(corella: Run, tempo: FakeTempo, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret\n")
    result = corella("trace", ID, "--tempo", tempo.url, "--tempo-token-file", str(token))
    assert f"corella ask  trace {ID}" in result.out
    assert tempo.asked == [(f"/tempo/api/traces/{ID}", {}, "Bearer secret")]


def test_tempos_newest_question_and_its_list(corella: Run, tempo: FakeTempo) -> None:
    assert f"trace {ID}" in corella("trace", "--tempo", tempo.url).out
    path, parameters, _ = tempo.asked[0]
    assert path == "/tempo/api/search"
    assert QUESTION in parameters["q"][0]
    assert int(parameters["end"][0]) - int(parameters["start"][0]) > 86_000
    lines = corella("trace", "--list", "--tempo", tempo.url).out.splitlines()
    assert lines[1].startswith(ID), "with the zero that Tempo leaves out"
    assert "its beginning is missing" in lines[2]
    slowest = corella("trace", "--list", "--slowest", "--json", "--tempo", tempo.url).out.splitlines()
    assert json.loads(slowest[0])["duration_ms"] == 9000


def test_what_tempo_does_not_have_or_say_is_told_in_one_sentence(corella: Run, tempo: FakeTempo) -> None:
    assert "There is no trace" in corella("trace", OTHER, "--tempo", tempo.url).err
    tempo.body = b"<html>"
    assert "did not answer in JSON" in corella("trace", ID, "--tempo", tempo.url).err
    tempo.body, tempo.status = b"no", 401
    assert "answered 401" in corella("trace", ID, "--tempo", tempo.url).err
    assert "cannot be read" in corella("trace", ID, "--tempo", "http://127.0.0.1:9").err
    assert "no http" in corella("trace", ID, "--tempo", "file:///etc/passwd").err


def test_the_token_goes_nowhere_else(corella: Run, tempo: FakeTempo, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret")
    tempo.status, tempo.redirect = 302, f"{tempo.url}/elsewhere"
    result = corella("trace", ID, "--tempo", tempo.url, "--tempo-token-file", str(token))
    assert "answered 302" in result.err
    assert len(tempo.asked) == 1
    assert "use https" in corella("trace", ID, "--tempo", "http://tempo.example", "--tempo-token-file", str(token)).err
