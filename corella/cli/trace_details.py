"""What of a span's attributes a person wants to read beside its name. The rest is a matter of `--attributes`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from corella.cli.output import line
from corella.tracing.spans import Span

MAX_VALUE = 60
MAX_DETAILS = 8


def _seconds(value: Any) -> str:
    return f"{float(value) * 1000:.0f} ms" if float(value) < 1 else f"{float(value):.2f} s"


# Attribute -> how it reads; in this order. Names are those of OpenTelemetry's semantic conventions.
_KNOWN: dict[str, Callable[[Any], str]] = {
    "gen_ai.usage.input_tokens": lambda value: f"{value} tokens in",
    "gen_ai.usage.cache_read.input_tokens": lambda value: f"{value} of them cached" if value else "",
    "gen_ai.usage.output_tokens": lambda value: f"{value} out",
    "gen_ai.response.time_to_first_token": lambda value: f"first after {_seconds(value)}",
    "gen_ai.response.time_to_first_chunk": lambda value: f"first after {_seconds(value)}",
    "gen_ai.response.finish_reasons": lambda value: "finished: " + ", ".join(map(str, value if isinstance(value, list) else [value])),
    "db.operation.name": str,
    "db.collection.name": lambda value: f"on {value}",
    "db.response.returned_rows": lambda value: f"{value} rows",
    "db.operation.batch.size": lambda value: f"{value} at once",
    "messaging.destination.name": lambda value: f"queue {value}",
    "rpc.response.status_code": lambda value: "" if value == "OK" else str(value),
    "error.type": str,
}
_OURS = "corella."
_FIRST = (
    "corella.adapter.name",
    "corella.adapter.serving",
    "corella.answer.outcome",
    "corella.documents",
    "corella.chunks",
    "corella.passages",
)


def details(span: Span) -> list[str]:
    """The most telling attributes as short texts, and why it failed. What the span's name says already is left out."""
    attributes = {name: value for name, value in span.attributes.items() if value not in ("", None, [])}
    said = {name for name, value in attributes.items() if isinstance(value, str) and value in span.name}
    found = [_KNOWN[name](attributes[name]) for name in _KNOWN if name in attributes and name not in said]
    ours = sorted((name for name in attributes if name.startswith(_OURS)), key=lambda name: (name not in _FIRST, name))
    found += [f"{name.removeprefix(_OURS)}={_short(attributes[name])}" for name in ours]
    told = [line(text, MAX_VALUE) for text in dict.fromkeys(found) if text]
    if span.failed and span.status and line(span.status) not in told and not exceptions(span):
        told.insert(0, line(span.status, 2 * MAX_VALUE))
    return told[:MAX_DETAILS]


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def exceptions(span: Span) -> list[str]:
    """The exceptions that were recorded, as `ValueError: what it says`."""
    found = []
    for event in span.events:
        if event.name == "exception":
            kind, message = event.attributes.get("exception.type", "exception"), event.attributes.get("exception.message", "")
            found.append(line(f"{kind}: {message}" if message else str(kind), 200))
    return found
