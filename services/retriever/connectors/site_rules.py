"""The robots.txt of every host that a crawl comes by, fetched once per visit."""

from __future__ import annotations

import asyncio

from services.chassis.errors import CorellaError
from services.chassis.telemetry import get_logger
from services.retriever.connectors.connector import PlaceUnreachable
from services.retriever.connectors.pinned_transport import AddressNotAllowed
from services.retriever.connectors.protego_robots import ALL_ALLOWED, MAX_BYTES, Robots
from services.retriever.connectors.safe_http import SafeHttp
from services.retriever.structure import DocumentTooLarge

log = get_logger(__name__)
_ATTEMPTS = 3


class SiteRules:
    """Rules by origin."""

    def __init__(self, http: SafeHttp) -> None:
        self._http = http
        self._rules: dict[str, asyncio.Task[Robots | None]] = {}

    async def of(self, url: str) -> Robots | None:
        """The rules for a URL in its one form; None when the server fails to say them, and nothing may be read (RFC 9309, 2.3.1.4).

        A host without robots.txt (4xx) allows everything. Raises `AddressNotAllowed`.
        """
        origin = "/".join(url.split("/", 3)[:3])
        if origin not in self._rules:
            self._rules[origin] = asyncio.create_task(self._fetch(origin))
        return await asyncio.shield(self._rules[origin])

    async def _fetch(self, origin: str) -> Robots | None:
        try:
            answer = await self._http.fetch(f"{origin}/robots.txt", accept="text/plain", max_bytes=8 * MAX_BYTES, attempts=_ATTEMPTS)
        except (AddressNotAllowed, DocumentTooLarge):
            raise
        except PlaceUnreachable as error:
            log.info("robots_unreachable", origin=origin, reason=error.reason)
            return None
        except CorellaError:
            return ALL_ALLOWED  # redirects that lead nowhere count as not there (RFC 9309, 2.3.1.2)
        if answer.code != 200:
            return ALL_ALLOWED
        return await asyncio.to_thread(Robots, answer.content)
