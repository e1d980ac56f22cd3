"""Calls to another service: one channel for the life of the process, with deadline, trace context, token, caller, errors in our words.

embedder = Remote("embedder", settings.embedder)
response = await embedder.call(embedder_pb2_grpc.EmbedderServiceStub(embedder.channel).Embed, request)
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from corella.errors import RpcFailure
from corella.service_config import channel_options
from services.chassis import acting, deadline, identity
from services.chassis.errors import Unavailable, from_failure
from services.chassis.settings import ClientSettings
from services.chassis.telemetry import carrier, get_logger
from services.chassis.telemetry_rpc import made
from services.chassis.watched_files import FilesRefused, WatchedFiles, read_token

log = get_logger(__name__)


class Remote:
    """Another service, named for error texts. Open it inside a running event loop and `close` it at the end."""

    def __init__(self, name: str, settings: ClientSettings) -> None:
        self.name = name
        self._settings = settings
        self._told = ""
        self._token = _token(settings.token_file) if settings.token_file else None
        options: list[tuple[str, Any]] = [
            ("grpc.max_receive_message_length", settings.max_message_bytes),
            ("grpc.max_send_message_length", settings.max_message_bytes),
            *channel_options(),
        ]
        if settings.server_name:
            options.append(("grpc.ssl_target_name_override", settings.server_name))
        self.channel: Any
        if settings.ca_file is None:
            self.channel = grpc.aio.insecure_channel(settings.address, options=options)
        else:
            # Imported here: certificates are for clusters, and a local start does without.
            from services.chassis.certificates import Certificates, channel_credentials, client_files
            from services.chassis.rotating_channel import RotatingChannel

            def connect(certificates: Certificates) -> grpc.aio.Channel:
                return grpc.aio.secure_channel(settings.address, channel_credentials(certificates), options=options)

            self.channel = RotatingChannel(client_files(settings), connect)

    async def call(self, method: Any, request: Any, *, timeout_seconds: float | None = None) -> Any:
        """One request (or an async iterator of requests), one response.

        `method` is the bound method of a stub. Raises the other service's error as one of ours.
        """
        with made(_path(method) or self.name, self._settings.address) as told:
            call = method(request, **self._options(timeout_seconds))
            try:
                response = await call
            except grpc.aio.AioRpcError as error:
                raise self._translate(error) from error
            await told.answered(call)
            return response

    async def stream(self, method: Any, request: Any, *, timeout_seconds: float | None = None) -> AsyncIterator[Any]:
        """One request (or an async iterator of requests), a stream of responses. Leaving the loop early cancels the call."""
        with made(_path(method) or self.name, self._settings.address) as told:
            call = method(request, **self._options(timeout_seconds))
            try:
                async for response in call:
                    yield response
                await told.answered(call)
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
            metadata.append(("authorization", f"Bearer {self._token.current()}"))
        # In work for nobody there is none, and the other service then sees this service itself.
        if (caller := identity.current_or_none()) is not None:
            metadata.append((acting.CALLER_KEY, acting.encode(caller)))
        return {"timeout": deadline.remaining(timeout_seconds or self._settings.timeout_seconds), "metadata": metadata}

    def _translate(self, error: grpc.aio.AioRpcError) -> Exception:
        failure = RpcFailure.from_rpc_error(error)
        if failure.code is grpc.StatusCode.UNAVAILABLE and not failure.reason:
            # gRPC's own text names sockets and file descriptors; the caller needs to know who is missing, and the log why.
            if failure.message != self._told:
                self._told = failure.message
                log.warning("unreachable", remote=self.name, address=self._settings.address, grpc=failure.message)
            return Unavailable(f"The {self.name} cannot be reached.", reason=f"{self.name.upper()}_UNAVAILABLE")
        return from_failure(failure)


def files_refused(clients: Iterable[ClientSettings]) -> bool:
    """Whether files of clients that are opened later cannot be used, which the log then says: such a process ends at its start."""
    from services.chassis.certificates import client_files

    try:
        for client in clients:
            if client.token_file is not None:
                read_token(client.token_file)
            if client.ca_file is not None:
                client_files(client)
    except FilesRefused as error:
        log.error("not_started", problem=str(error))
        return True
    return False


def _token(path: Path) -> WatchedFiles[str]:
    return WatchedFiles([path], lambda: read_token(path))


def _path(method: Any) -> str:
    raw = getattr(method, "_method", b"")
    return (raw.decode() if isinstance(raw, bytes) else str(raw)).removeprefix("/")
