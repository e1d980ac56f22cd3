"""Opens connections for `safe_http`: resolves a host once, checks every address found, and connects to a checked one.

This is the only place that opens a socket on behalf of a source. The check is made where the socket is opened, not on the URL before, so
no way of writing an address (`0x7f.1`, `[::ffff:7f00:1]`), no second answer of a name server and no redirect gets around it. TLS names
and certificates are still checked against the host's name.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any

import httpcore
import httpx

from services.chassis.errors import PermissionDenied
from services.retriever.connectors.addresses import AllowedHosts, is_public, parse

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""Addresses of a host, as text, the preferred one first. Raises OSError."""

MAX_ADDRESSES = 8
"""Addresses of one host that are tried."""


class AddressNotAllowed(PermissionDenied):
    """A host that lies in a network which sources may not reach."""

    reason = "ADDRESS_NOT_ALLOWED"

    def __init__(self, host: str) -> None:
        # Without the address: a caller must not be able to read a network's map out of refusals.
        super().__init__(
            f"The host `{host}` is not on the public internet, and sources may not reach it. "
            "Whoever runs this deployment can allow it by name (`fetch.allowed_hosts`).",
            host=host,
        )


async def system_resolve(host: str, port: int) -> list[str]:
    """Asks the system's resolver."""
    infos = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return list(dict.fromkeys(str(info[4][0]) for info in infos))


class _PinnedBackend(httpcore.AsyncNetworkBackend):
    def __init__(self, allowed: AllowedHosts, resolve: Resolve) -> None:
        self._allowed = allowed
        self._resolve = resolve
        self._plain = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            async with asyncio.timeout(timeout):
                addresses = await self._resolve(host, port)
        except TimeoutError as exc:
            raise httpcore.ConnectTimeout("its name could not be resolved in time") from exc
        except (OSError, UnicodeError) as exc:
            raise httpcore.ConnectError("its name cannot be resolved") from exc
        if not self._allowed.covers(host, port):
            # Every one of them: a name with one inner address is either a mistake or an attempt.
            for address in addresses:
                try:
                    public = is_public(parse(address))
                except ValueError:
                    public = False
                if not public:
                    raise AddressNotAllowed(host)
        failure: Exception = httpcore.ConnectError("its name has no address")
        for address in addresses[:MAX_ADDRESSES]:
            try:
                return await self._plain.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as exc:
                failure = exc
        raise failure

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109 httpcore's signature
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        raise httpcore.UnsupportedProtocol("local sockets are not reached")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class PinnedTransport(httpx.AsyncBaseTransport):
    """Speaks HTTP/1.1 over checked connections only. Knows no proxy and no environment variable."""

    def __init__(self, allowed: AllowedHosts, resolve: Resolve, tls: ssl.SSLContext, connections: int) -> None:
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls,
            max_connections=connections,
            max_keepalive_connections=connections,
            keepalive_expiry=15.0,
            network_backend=_PinnedBackend(allowed, resolve),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Sends a request. Raises `AddressNotAllowed`, and httpcore's errors."""
        url = httpcore.URL(scheme=request.url.raw_scheme, host=request.url.raw_host, port=request.url.port, target=request.url.raw_path)
        sent = httpcore.Request(
            method=request.method, url=url, headers=request.headers.raw, content=request.stream, extensions=request.extensions
        )
        answer = await self._pool.handle_async_request(sent)
        return httpx.Response(status_code=answer.status, headers=answer.headers, stream=_Stream(answer), extensions=answer.extensions)

    async def aclose(self) -> None:
        """Closes every connection."""
        await self._pool.aclose()


class _Stream(httpx.AsyncByteStream):
    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._answer.aiter_stream():
            yield part

    async def aclose(self) -> None:
        await self._answer.aclose()
