"""A message and what it causes are in the trace of whoever sent it; a message of nobody's leaves no trace."""

from __future__ import annotations

import sys
from pathlib import Path

from opentelemetry.trace import SpanKind, StatusCode

sys.path.insert(0, str(Path(__file__).parents[2]))

import pytest
from span_recording import recorded_spans

from services.chassis.celery_options import celery_options
from services.chassis.message_spans import processing, sending
from services.chassis.steps import step


def test_what_a_message_causes_is_a_child_of_its_sending() -> None:
    with recorded_spans() as spans:
        with step("IngestDocuments"), sending("ingest", "corella.drain", 3) as headers:
            pass
        # Another process, in the midst of something else.
        with step("something else"), processing("ingest", "corella.drain", {**headers, "retries": 0, "lang": "py"}), step("work"):
            pass
    sent, processed = spans.one("send ingest"), spans.one("process ingest")
    assert [spans.parent(each) for each in (spans.one("work"), processed, sent)] == ["process ingest", "send ingest", "IngestDocuments"]
    assert (sent.kind, processed.kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER)
    assert dict(sent.attributes or {}) == {
        "messaging.system": "celery",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": "ingest",
        "messaging.batch.message_count": 3,
        "corella.task": "corella.drain",
    }
    assert "messaging.batch.message_count" not in (processed.attributes or {})


@pytest.mark.parametrize("headers", [None, {}, {"traceparent": "nonsense"}])
def test_a_message_of_nobodys_leaves_no_span_and_what_it_causes_is_its_own_trace(headers: dict[str, object] | None) -> None:
    with recorded_spans() as spans:
        with sending("ingest", "corella.drain") as sent:
            assert sent == {}
        with step("something else"), processing("ingest", "corella.drain", headers), step("work"):
            pass
    assert sorted(span.name for span in spans.all) == ["something else", "work"]
    assert spans.one("work").parent is None


def test_a_message_that_could_not_be_sent_says_so_without_the_errors_text() -> None:
    with recorded_spans() as spans, pytest.raises(OSError, match="secret"), step("call"), sending("ingest", "corella.drain"):
        raise OSError("secret text")
    sent = spans.one("send ingest")
    assert (sent.status.status_code, (sent.attributes or {})["error.type"]) == (StatusCode.ERROR, "OSError")
    assert "secret" not in spans.everything()


def test_both_queues_leave_stderr_alone_and_take_json_only() -> None:
    options = celery_options("train", "{prefix}:", visibility_timeout=60)
    assert (options["worker_redirect_stdouts"], options["accept_content"], options["task_default_queue"]) == (False, ["json"], "train")
    assert options["broker_transport_options"] == {
        "global_keyprefix": "{prefix}:",
        "socket_timeout": 10,
        "socket_connect_timeout": 2,
        "visibility_timeout": 60,
    }
