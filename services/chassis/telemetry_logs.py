"""Logs of a process: one line an event, as JSON or for a terminal, with the trace and the span it happened in."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

import structlog
from opentelemetry import trace

from services.chassis.settings import TelemetrySettings
from services.chassis.tracebacks import without_text


def get_logger(name: str) -> Any:
    """A structured logger: `log.info("document_ingested", document=name, chunks=12)`."""
    return structlog.get_logger(name)


_last: dict[str, Any] = {}
"""What the logs of this process were set up with."""


def setup_logging(service: str, settings: TelemetrySettings) -> None:
    """Sets up logs alone, for a process that forks: providers and exporters belong into its children."""
    _last.update(service=service, settings=settings)
    level = getattr(logging, settings.log_level.upper())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_trace,
        structlog.processors.format_exc_info if settings.capture_text else structlog.processors.ExceptionRenderer(_without_text),
    ]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    as_json = settings.log_format == "json"
    last: Any = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            # Never with local variables: they hold questions and documents.
            exception_formatter=structlog.dev.plain_traceback,
        )
    )
    handler = logging.StreamHandler(sys.stderr)
    # Lines of libraries take the same form as ours, so that a log reader meets one format only.
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last]
        )
    )
    logging.captureWarnings(True)
    logging.root.handlers[:] = [handler]
    logging.root.setLevel(level)
    structlog.contextvars.bind_contextvars(service=service)
    for noisy in ("httpx", "urllib3", "pymilvus", "asyncio"):
        logging.getLogger(noisy).setLevel(max(level, logging.WARNING))


def hand_on() -> str:
    """What a process that others start for this one needs to log as this one does, to be sent along in its environment. Empty: nothing."""
    return json.dumps({"service": _last["service"], "settings": _last["settings"].model_dump()}) if _last else ""


def setup_handed_on(handed_on: str, *, process: str) -> None:
    """In such a process: sets up its logs. `process` says on each line which one it is."""
    told = json.loads(handed_on)
    setup_logging(told["service"], TelemetrySettings(**told["settings"]))
    structlog.contextvars.bind_contextvars(process=process)


def _without_text(exc_info: Any) -> str:
    return without_text(exc_info[1])


def _add_trace(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = trace.format_trace_id(context.trace_id)
        event["span_id"] = trace.format_span_id(context.span_id)
    return event
