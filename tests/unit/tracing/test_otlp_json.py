"""Traces as JSON: in OTLP's own form and in the forms that Tempo has had."""

from __future__ import annotations

import base64
import copy
from typing import Any

import pytest

from corella.tracing.otlp import spans_of_json

TRACE, SPAN, PARENT, OTHER = "5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174", "eee19b7ec3c1b173", "5b8efff798038103d269b633813fc60d"
OTLP: dict[str, Any] = {
    "resourceSpans": [{
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "corella-generator"}}]},
        "scopeSpans": [{
            "scope": {"name": "corella"},
            "spans": [{
                "traceId": TRACE, "spanId": SPAN, "parentSpanId": PARENT, "name": "chat", "kind": 3, "aFieldOfTomorrow": 1,
                "startTimeUnixNano": "1544712660000000000", "endTimeUnixNano": "1544712661000000000",
                "attributes": [
                    {"key": "tokens", "value": {"intValue": "12"}}, {"key": "share", "value": {"doubleValue": 0.5}},
                    {"key": "streamed", "value": {"boolValue": True}},
                    {"key": "reasons", "value": {"arrayValue": {"values": [{"stringValue": "stop"}]}}},
                    {"key": "more", "value": {"kvlistValue": {"values": [{"key": "a", "value": {"intValue": 1}}]}}},
                ],
                "status": {"code": 2, "message": "it broke"},
                "events": [{"name": "exception", "timeUnixNano": "1544712660500000000", "attributes": []}],
                "links": [{"traceId": OTHER, "spanId": SPAN, "attributes": []}],
            }],
        }],
    }]
}  # fmt: skip


def in_base64(value: dict[str, Any]) -> dict[str, Any]:
    changed = copy.deepcopy(value)
    for group in changed["resourceSpans"]:
        for scope in group["scopeSpans"]:
            for span in scope["spans"]:
                for part in (span, *span["links"]):
                    for key in ("traceId", "spanId", "parentSpanId"):
                        if key in part:
                            part[key] = base64.b64encode(bytes.fromhex(part[key])).decode()
                span["kind"], span["status"]["code"] = "SPAN_KIND_CLIENT", "STATUS_CODE_ERROR"
    return changed


def former_names(value: dict[str, Any]) -> dict[str, Any]:
    changed = in_base64(value)
    for group in changed["resourceSpans"]:
        group["instrumentationLibrarySpans"] = group.pop("scopeSpans")
    return {"batches": changed["resourceSpans"]}


FORMS: dict[str, Any] = {
    "OTLP": copy.deepcopy,
    "base64 ids": in_base64,
    "batches": lambda value: {"batches": in_base64(value)["resourceSpans"]},
    "within trace": lambda value: {"trace": in_base64(value)},
    "former names": former_names,
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_every_form_gives_the_same_spans(form: Any) -> None:
    [span] = spans_of_json(form(OTLP))
    assert (span.trace_id, span.span_id, span.parent_id) == (TRACE, SPAN, PARENT)
    assert (span.service, span.name, span.kind, span.failed, span.status) == ("corella-generator", "chat", "client", True, "it broke")
    assert span.duration_ns == 1_000_000_000
    assert span.attributes == {"tokens": 12, "share": 0.5, "streamed": True, "reasons": ["stop"], "more": {"a": 1}}
    assert (span.events[0].name, span.links[0].trace_id) == ("exception", OTHER)


@pytest.mark.parametrize("value", [
    {"trace": []}, {"batches": 5}, {"batches": [5]}, {"batches": [{"scopeSpans": [{"spans": [{"traceId": "zz"}]}]}]},
    {"batches": [{"scopeSpans": [{"spans": [{"startTimeUnixNano": "soon"}]}]}]},
])  # fmt: skip
def test_what_is_no_trace_is_refused_in_one_way(value: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        spans_of_json(value)


def test_an_empty_trace_has_no_spans() -> None:
    assert spans_of_json({"batches": []}) == []
    assert spans_of_json({}) == []
