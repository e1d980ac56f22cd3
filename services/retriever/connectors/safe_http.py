"""The one HTTP client for everything that is fetched on behalf of a source: bounded in size, time, redirects and repeats.

    async with contextlib.aclosing(SafeHttp(FetchLimits(), allowed_hosts=("jira.internal:8443",))) as http:
        answer = await http.fetch("https://example.com/", accept="text/html")

Which addresses it reaches is `pinned_transport`'s to say. It keeps no cookies, reads no environment, and sends credentials to the origin
they are for and to no other.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import NoReturn
from urllib.parse import urlsplit

import httpcore
import httpx

from services.chassis.telemetry import get_logger
from services.retriever.connectors.addresses import AllowedHosts
from services.retriever.connectors.connector import PlaceRefused, PlaceUnreachable
from services.retriever.connectors.decoding import ACCEPTED, Decoder, UnknownCoding
from services.retriever.connectors.http_types import REDIRECTS, Answer, Credentials, FetchLimits, origin_of, redirected, shown
from services.retriever.connectors.pinned_transport import PinnedTransport, Resolve, system_resolve
from services.retriever.connectors.waiting import asked_for, back_off
from services.retriever.structure import DocumentTooLarge

log = get_logger(__name__)

USER_AGENT = "CorellaBot/1.0"
_PASSING = frozenset((408, 425, 429, 500, 502, 503, 504))


class SafeHttp:
    """Fetches. One per visit or per connector; may be used by several tasks at a time."""

    def __init__(
        self,
        limits: FetchLimits = FetchLimits(),  # noqa: B008 frozen
        allowed_hosts: Iterable[str] = (),
        resolve: Resolve = system_resolve,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._limits = limits
        self._transport = PinnedTransport(AllowedHosts(allowed_hosts), resolve, tls or _trusted(), limits.connections)

    async def aclose(self) -> None:
        """Closes every connection."""
        await self._transport.aclose()

    async def fetch(
        self,
        url: str,
        *,
        accept: str = "*/*",
        headers: Mapping[str, str] | None = None,
        credentials: Credentials | None = None,
        params: Mapping[str, str] | None = None,
        max_bytes: int | None = None,
        follow: bool = True,
        attempts: int | None = None,
    ) -> Answer:
        """Gets a URL; repeats while the server is busy or away. Returns whatever it says in the end below 500 but 429.

        Without `follow` a redirect is returned as the answer. Raises `AddressNotAllowed`, `PlaceUnreachable` (no answer, 429 or 5xx after
        all attempts), `PlaceRefused` (no URL of http or https, a redirect that is not followed) and `DocumentTooLarge`.
        """
        if params:
            url = str(httpx.URL(url).copy_merge_params(dict(params)))
        sent = {"user-agent": USER_AGENT, "accept": accept, "accept-encoding": ACCEPTED, **(headers or {})}
        most = self._limits.max_bytes if max_bytes is None else min(max_bytes, self._limits.max_bytes)
        attempt, tries = 0, attempts or self._limits.attempts
        while True:
            attempt += 1
            wait = back_off(attempt, self._limits.first_wait_seconds, self._limits.most_wait_seconds)
            try:
                async with asyncio.timeout(self._limits.attempt_seconds):
                    answer = await self._follow(url, sent, credentials, most, follow)
            except TimeoutError as exc:
                error = PlaceUnreachable(f"`{shown(url)}` did not answer in full within {self._limits.attempt_seconds:g} s.")
                error.__cause__ = exc
            except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, httpcore.ConnectionNotAvailable) as exc:
                error = PlaceUnreachable(f"`{shown(url)}` cannot be reached: {_said(exc)}.")
                error.__cause__ = exc
            else:
                if answer.code not in _PASSING:
                    return answer
                asked = asked_for(answer.headers, datetime.now(UTC))
                what = "is being asked too often" if answer.code == 429 else "has trouble"
                error = PlaceUnreachable(f"`{shown(url)}` {what} (status {answer.code}).", retry_after_seconds=asked, status=answer.code)
                if asked is not None and asked > self._limits.most_asked_wait_seconds:
                    raise error
                wait = max(wait, asked or 0.0)
            if attempt >= tries:
                raise error
            log.info("fetch_repeated", host=urlsplit(url).hostname, attempt=attempt, seconds=round(wait, 2))
            await asyncio.sleep(wait)

    async def _follow(self, url: str, headers: Mapping[str, str], credentials: Credentials | None, most: int, follow: bool) -> Answer:
        for _ in range(self._limits.redirects + 1):
            answer = await self._once(url, headers, credentials, most)
            if answer.code not in REDIRECTS or not follow:
                return answer
            url = redirected(answer)
        raise PlaceRefused(f"`{shown(url)}` leads on after {self._limits.redirects} redirects.")

    async def _once(self, url: str, headers: Mapping[str, str], credentials: Credentials | None, most: int) -> Answer:
        origin = self._checked(url)
        sent = dict(headers)
        if credentials is not None and credentials.origin == origin:
            sent["authorization"] = credentials.header
        limits = self._limits
        timeout = {"connect": limits.connect_seconds, "read": limits.read_seconds, "write": limits.read_seconds, "pool": None}
        # No client of httpx's around the transport: nothing that keeps cookies, looks for a proxy, or follows by itself.
        response = await self._transport.handle_async_request(httpx.Request("GET", url, headers=sent, extensions={"timeout": timeout}))
        try:
            content = await self._content(response, url, most)
        finally:
            await response.aclose()
        return Answer(url, response.status_code, {name.lower(): value for name, value in response.headers.items()}, content)

    async def _content(self, response: httpx.Response, url: str, most: int) -> bytes:
        declared = response.headers.get("content-length", "")
        if declared.isascii() and declared.isdigit() and int(declared[:20]) > most:
            _too_large(url, most)
        parts: list[bytes] = []
        size = 0
        try:
            decoder = Decoder(response.headers.get("content-encoding", ""))
            async for raw in response.stream:  # type: ignore[union-attr]
                part = decoder.decode(raw, most - size)
                size += len(part)
                if size > most:
                    _too_large(url, most)
                parts.append(part)
            if parts:
                decoder.finish()
        except UnknownCoding as exc:
            raise PlaceRefused(f"`{shown(url)}` cannot be read. {exc}") from exc
        return b"".join(parts)

    def _checked(self, url: str) -> tuple[str, str, int]:
        try:
            origin = origin_of(url)
        except ValueError as exc:
            _no_address(url, exc)
        if origin[2] in self._limits.denied_ports:
            raise PlaceRefused(f"`{shown(url)}` has a port that is not one of the web.")
        return origin


@cache
def _trusted() -> ssl.SSLContext:
    """The system's certificate authorities; read once, since that takes longer than many a fetch."""
    return ssl.create_default_context()


def _said(exc: Exception) -> str:
    if isinstance(exc, httpcore.TimeoutException):
        return str(exc) or "it did not answer in time"
    if isinstance(exc.__cause__, ssl.SSLCertVerificationError) or "CERTIFICATE_VERIFY_FAILED" in str(exc):
        return "its certificate is not valid"
    return "it does not speak HTTP as it should" if isinstance(exc, httpcore.ProtocolError) else str(exc) or "the connection failed"


def _no_address(url: str, exc: Exception) -> NoReturn:
    raise PlaceRefused(f"`{shown(url)}` is not fetched: {exc}.") from exc


def _too_large(url: str, most: int) -> NoReturn:
    size = f"{most / (1 << 20):.1f} MiB" if most >= 1 << 19 else f"{most:,} bytes"
    raise DocumentTooLarge(f"`{shown(url)}` is larger than {size}, which is the most that is read.")
