"""Calls to another service: one channel for the life of the process, with deadline, trace context, token, caller, errors in our words.

embedder = Remote("embedder", settings.embedder)
response = await embedder.call(embedder_pb2_grpc.EmbedderServiceStub(embedder.channel).Embed, request)
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
from opentelemetry.trace import SpanKind

from corella.errors import RpcFailure
from services.chassis import acting, deadline, identity
from services.chassis.errors import Unavailable, from_failure
from services.chassis.settings import ClientSettings
from services.chassis.telemetry import carrier, tracer

# Calls that never reached a server are tried again; everything else is for the caller to decide, who knows what may be repeated.
_SERVICE_CONFIG = json.dumps({
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [{
        "name": [{}],
        "retryPolicy": {
            "maxAttempts": 3, "initialBackoff": "0.1s", "maxBackoff": "1s", "backoffMultiplier": 3, "retryableStatusCodes": ["UNAVAILABLE"],
        },
    }],
})  # fmt: skip


class Remote:
    """Another service, named for error texts. Open it inside a running event loop and `close` it at the end."""

    def __init__(self, name: str, settings: ClientSettings) -> None:
        self.name = name
        self._settings = settings
        self._token = settings.token_file.read_text().strip() if settings.token_file else None
        options: list[tuple[str, Any]] = [
            ("grpc.max_receive_message_length", settings.max_message_bytes),
            ("grpc.max_send_message_length", settings.max_message_bytes),
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.service_config", _SERVICE_CONFIG),
            # A service that was restarted is found again within a second, not after gRPC's two minutes.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1_000),
        ]
        if settings.ca_file is None:
            self.channel = grpc.aio.insecure_channel(settings.address, options=options)
        else:
            credentials = grpc.ssl_channel_credentials(
                settings.ca_file.read_bytes(),
                settings.key_file.read_bytes() if settings.key_file else None,
                settings.certificate_file.read_bytes() if settings.certificate_file else None,
            )
            self.channel = grpc.aio.secure_channel(settings.address, credentials, options=options)

    async def call(self, method: Any, request: Any, *, timeout_seconds: float | None = None) -> Any:
        """One request (or an async iterator of requests), one response.

        `method` is the bound method of a stub. Raises the other service's error as one of ours.
        """
        with self._span(method):
            try:
                return await method(request, **self._options(timeout_seconds))
            except grpc.aio.AioRpcError as error:
                raise self._translate(error) from error

    async def stream(self, method: Any, request: Any, *, timeout_seconds: float | None = None) -> AsyncIterator[Any]:
        """One request (or an async iterator of requests), a stream of responses. Leaving the loop early cancels the call."""
        with self._span(method):
            call = method(request, **self._options(timeout_seconds))
            try:
                async for response in call:
                    yield response
            except grpc.aio.AioRpcError as error:
                raise self._translate(error) from error
            finally:
                call.cancel()

    async def close(self) -> None:
        """Closes the channel; calls under way are cancelled."""
        await self.channel.close()

    def _options(self, timeout_seconds: float | None) -> dict[str, Any]:
        metadata: list[tuple[str, str | bytes]] = list(carrier().items())
        if self._token is not None:
            metadata.append(("authorization", f"Bearer {self._token}"))
        # In work for nobody there is none, and the other service then sees this service itself.
        if (caller := identity.current_or_none()) is not None:
            metadata.append((acting.CALLER_KEY, acting.encode(caller)))
        return {"timeout": deadline.remaining(timeout_seconds or self._settings.timeout_seconds), "metadata": metadata}

    def _span(self, method: Any) -> Any:
        path = _path(method)
        attributes = {"rpc.system.name": "grpc", "rpc.method": path, "server.address": self._settings.address}
        return tracer.start_as_current_span(path or self.name, kind=SpanKind.CLIENT, attributes=attributes)

    def _translate(self, error: grpc.aio.AioRpcError) -> Exception:
        failure = RpcFailure.from_rpc_error(error)
        if failure.code is grpc.StatusCode.UNAVAILABLE and not failure.reason:
            # gRPC's own text names sockets and file descriptors; the caller needs to know who is missing.
            return Unavailable(f"The {self.name} cannot be reached.", reason=f"{self.name.upper()}_UNAVAILABLE")
        return from_failure(failure)


def _path(method: Any) -> str:
    raw = getattr(method, "_method", b"")
    return (raw.decode() if isinstance(raw, bytes) else str(raw)).removeprefix("/")
