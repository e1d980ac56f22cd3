"""Spans and durations of calls, on both ends, by OpenTelemetry's semantic conventions for RPC.

A client's span is an error whatever went wrong, a server's only when it is the server that failed: that a document was not found is an
answer. A call that the caller itself gave up, by leaving it, is an error of nobody's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import grpc.aio
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from services.chassis.telemetry import SECONDS, is_held_back, keep_as_callee, kept_beyond_ratio, meter, tracer

KEPT_KEY = "corella-trace-kept"
"""Trailing metadata by which a server says that it keeps its part of a trace that was not sampled (sampling.py)."""

_SERVER_ERRORS = {
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DATA_LOSS,
}

_server_duration = meter.create_histogram(
    "rpc.server.call.duration", unit="s", description="Duration of calls served.", explicit_bucket_boundaries_advisory=SECONDS
)
_client_duration = meter.create_histogram(
    "rpc.client.call.duration", unit="s", description="Duration of calls made.", explicit_bucket_boundaries_advisory=SECONDS
)


class ServedCall:
    """A call being served. Set `code` when it fails."""

    def __init__(self, span: Span) -> None:
        self.span = span
        self.code = grpc.StatusCode.OK


@contextmanager
def served(method: str, context: grpc.aio.ServicerContext) -> Iterator[ServedCall]:
    """Around the serving of a call of `method`, `package.Service/Method`: one that the server has, not whatever a caller sent."""
    started = time.perf_counter()
    attributes = {"rpc.system.name": "grpc", "rpc.method": method}
    # An error is told to the caller by raising: what that is to the span, the code decides.
    with tracer.start_as_current_span(
        method, kind=SpanKind.SERVER, attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as span:
        call = ServedCall(span)
        try:
            yield call
        finally:
            failed = call.code in _SERVER_ERRORS
            _tell(span, call.code, failed)
            # A failure is seen by the caller without being told.
            if call.code is grpc.StatusCode.OK and kept_beyond_ratio():
                context.set_trailing_metadata((*(context.trailing_metadata() or ()), (KEPT_KEY, "1")))
            _server_duration.record(time.perf_counter() - started, {**attributes, **_outcome(call.code, failed)})


def refused(method: str, code: grpc.StatusCode, seconds: float) -> None:
    """Counts a call that its caller may not make. It has no span: whoever has no token must not be able to write traces."""
    attributes = {"rpc.system.name": "grpc", "rpc.method": method}
    _server_duration.record(seconds, {**attributes, **_outcome(code, code in _SERVER_ERRORS)})


class MadeCall:
    """A call being made."""

    def __init__(self, span: Span) -> None:
        self._span = span

    async def answered(self, call: Any) -> None:
        """To be awaited when the call has ended well: keeps this process's part of the trace if the server keeps its own."""
        if is_held_back(self._span) and any(key == KEPT_KEY for key, _ in await call.trailing_metadata() or ()):
            keep_as_callee()


@contextmanager
def made(method: str, target: str) -> Iterator[MadeCall]:
    """Around a call of `method` to a gRPC target. `grpc.aio.AioRpcError` must reach it untranslated, or as another error's cause."""
    started = time.perf_counter()
    attributes: dict[str, Any] = {"rpc.system.name": "grpc", "rpc.method": method}
    code, failed = grpc.StatusCode.OK, False
    with tracer.start_as_current_span(
        method, kind=SpanKind.CLIENT, attributes={**attributes, **_server(target)}, record_exception=False, set_status_on_exception=False
    ) as span:
        try:
            yield MadeCall(span)
        except (asyncio.CancelledError, GeneratorExit):
            code = grpc.StatusCode.CANCELLED
            raise
        except Exception as error:
            cause = error if isinstance(error, grpc.aio.AioRpcError) else error.__cause__
            code = cause.code() if isinstance(cause, grpc.aio.AioRpcError) else grpc.StatusCode.UNKNOWN
            failed = True
            raise
        finally:
            _tell(span, code, failed)
            _client_duration.record(time.perf_counter() - started, {**attributes, **_outcome(code, failed)})


def _tell(span: Span, code: grpc.StatusCode, failed: bool) -> None:
    span.set_attributes(_outcome(code, failed))
    if failed:
        span.set_status(Status(StatusCode.ERROR, code.name))


def _outcome(code: grpc.StatusCode, failed: bool) -> dict[str, str]:
    told = {"rpc.response.status_code": code.name}
    return {**told, "error.type": code.name} if failed else told


def _server(target: str) -> dict[str, Any]:
    """`server.address` and `server.port` of a gRPC target: `host:port`, `dns:///host:port`, `[::1]:port`, `unix:path`."""
    address = target.rpartition("///")[2] if "///" in target else target
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal():
        return {"server.address": address}
    return {"server.address": host.strip("[]"), "server.port": int(port)}
