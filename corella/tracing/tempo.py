"""Traces from Grafana Tempo's HTTP API: `/api/traces/{id}` and `/api/search`."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from corella.tracing.otlp import spans_of_json
from corella.tracing.spans import Span
from corella.tracing.summary import TraceSummary

TIMEOUT_SECONDS = 30.0
MAX_BYTES = 64 * 2**20
QUESTIONS = '{ name = "corella.v1.GeneratorService/Ask" && kind = server }'


def listed(*, failed: bool, background: bool) -> str:
    """TraceQL for a list of Corella's traces; without `background` those with a call from outside."""
    conditions = ['resource.service.namespace = "corella"']
    conditions += [] if background else ["kind = server"]
    query = "{ " + " && ".join(conditions) + " }"
    return query + ' && { resource.service.namespace = "corella" && status = error }' if failed else query


class TempoError(Exception):
    """Tempo did not give what was asked for; the text says why."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    # The token would go along to wherever the answer points.
    def redirect_request(self, *_arguments: Any) -> None:
        return None


@dataclass(frozen=True)
class Tempo:
    """One Tempo. `url` is what comes before `/api`."""

    url: str
    token: str = ""
    """Sent as bearer token; over HTTPS, or on this machine, only."""
    ca_file: Path | None = None
    """PEM certificates to trust. None: the system's."""

    def spans(self, trace_id: str) -> list[Span]:
        """The spans of a trace; none when it is not there. Raises `TempoError`."""
        try:
            return spans_of_json(self._get(f"/api/traces/{quote(trace_id, safe='')}"))
        except FileNotFoundError:
            return []
        except ValueError as error:
            raise TempoError(f"{self.url} answered with something that is no trace: {error}") from error

    def search(self, query: str, limit: int, since_seconds: int, now_seconds: int) -> list[TraceSummary]:
        """Traces that TraceQL finds, the newest first. Raises `TempoError`."""
        # Without a range Tempo looks at the last minutes only.
        found = self._get("/api/search", {"q": query, "limit": limit, "start": now_seconds - since_seconds, "end": now_seconds + 60})
        try:
            summaries = [
                TraceSummary(
                    # Tempo leaves leading zeros out.
                    str(trace["traceID"]).rjust(32, "0"), str(trace.get("rootServiceName", "")), str(trace.get("rootTraceName", "")),
                    trace.get("rootServiceName", "") not in {"", "<root span not yet received>"}, int(trace.get("startTimeUnixNano", 0)),
                    int(trace.get("durationMs", 0)) * 1_000_000, None, 0, None,
                )
                for trace in found.get("traces") or []
            ]  # fmt: skip
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise TempoError(f"{self.url} answered with something that is no list of traces: {error}") from error
        return sorted(summaries, key=lambda each: -each.begin_ns)

    def _get(self, path: str, parameters: dict[str, Any] | None = None) -> dict[str, Any]:
        """A JSON object. Raises `FileNotFoundError` for 404, `TempoError` for everything else that is not one."""
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise TempoError(f"{self.url} is no http:// or https:// address.")
        if self.token and parts.scheme == "http" and parts.hostname not in {"localhost", "127.0.0.1", "::1"}:
            raise TempoError(f"A token is not sent to {self.url}: use https.")
        query = f"?{urlencode(parameters)}" if parameters else ""
        request = urllib.request.Request(self.url.rstrip("/") + path + query, headers={"Accept": "application/json"})  # noqa: S310 checked above
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        context = ssl.create_default_context(cafile=str(self.ca_file) if self.ca_file else None)
        opener = urllib.request.build_opener(_NoRedirects, urllib.request.HTTPSHandler(context=context))
        try:
            with opener.open(request, timeout=TIMEOUT_SECONDS) as answer:
                body = answer.read(MAX_BYTES + 1)
        except urllib.error.HTTPError as error:
            if error.code == 404 and parameters is None:
                raise FileNotFoundError(path) from error
            raise TempoError(f"{self.url} answered {error.code} {error.reason}.") from error
        except (OSError, ValueError) as error:
            raise TempoError(f"{self.url} cannot be read: {getattr(error, 'reason', error)}") from error
        if len(body) > MAX_BYTES:
            raise TempoError(f"{self.url} answered with more than {MAX_BYTES:,} bytes.")
        try:
            value = json.loads(body)
        except ValueError as error:
            raise TempoError(f"{self.url} did not answer in JSON.") from error
        if not isinstance(value, dict):
            raise TempoError(f"{self.url} did not answer with a JSON object.")
        return value
