"""The issuer's keys: found by its discovery document, fetched beside the event loop, kept while the issuer is away.

    younger than `refresh_seconds`      used as they are
    older                               used, and fetched anew in the background
    older than `max_stale_seconds`      not used: calls are refused (UNAVAILABLE) until the issuer answers
    an id that is not known             fetched anew, at most once in `unknown_key_seconds`, however many calls ask

Keys come over HTTPS, from the issuer the settings name, and never by a redirect.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import urllib.request
from collections.abc import Callable
from typing import Any

from services.chassis.errors import Unavailable
from services.chassis.pyjwt_tokens import PublicKey, public_keys
from services.chassis.settings import OidcSettings, secure_url
from services.chassis.telemetry import get_logger

log = get_logger(__name__)
_MAX_ANSWER_BYTES = 2**20


class IssuerKeys:
    """The keys of one issuer."""

    def __init__(self, settings: OidcSettings, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self._keys: dict[str, PublicKey] = {}
        self._fetched_at: float | None = None
        self._tried_at: float | None = None
        self._fetching: asyncio.Task[None] | None = None
        self._failed = False
        self.revision = 0
        """Rises whenever the keys are others than before."""

    async def fresh(self) -> None:
        """Returns when there are keys that may be used. Raises `Unavailable` (ISSUER_UNAVAILABLE)."""
        if self._age() > self._settings.max_stale_seconds:
            await self._refresh()
            if self._age() > self._settings.max_stale_seconds:
                raise _unavailable()
        elif self._age() > self._settings.refresh_seconds and self._may_try():
            self._start()

    async def find(self, key_id: str) -> PublicKey | None:
        """The key of that id; None: the issuer has none. Raises `Unavailable` when the issuer could not be asked."""
        if key_id not in self._keys:
            await self._refresh()
            if key_id not in self._keys and self._failed:
                raise _unavailable()
        return self._keys.get(key_id)

    def _age(self) -> float:
        return float("inf") if self._fetched_at is None else self._clock() - self._fetched_at

    def _may_try(self) -> bool:
        return self._tried_at is None or self._clock() - self._tried_at >= self._settings.unknown_key_seconds

    async def _refresh(self) -> None:
        """Fetches, together with whoever else waits; does nothing when that was tried a moment ago."""
        if self._fetching is None and not self._may_try():
            return
        # One caller that goes away must not end it for the others.
        await asyncio.shield(self._start())

    def _start(self) -> asyncio.Task[None]:
        if self._fetching is None:
            self._tried_at = self._clock()
            self._fetching = asyncio.create_task(self._fetch())
        return self._fetching

    async def _fetch(self) -> None:
        try:
            # The socket's own time-out bounds each wait, this one bounds an issuer that sends a byte now and then.
            async with asyncio.timeout(3 * self._settings.timeout_seconds):
                document = await asyncio.to_thread(self._download)
            keys = public_keys(document)
        except Exception as error:
            # Whatever an issuer sends (half an answer, JSON nested without end), nobody is let in by it, and the keys known stay good.
            self._failed = True
            log.warning("issuer_keys_not_fetched", issuer=self._settings.issuer, error=type(error).__name__, detail=str(error)[:200])
        else:
            # The same numbers again mean that the tokens known are still good.
            changed = _fingerprints(keys) != _fingerprints(self._keys)
            self.revision += changed
            self._keys, self._fetched_at, self._failed = keys, self._clock(), False
            if changed:
                log.info("issuer_keys_changed", issuer=self._settings.issuer, count=len(keys))
        finally:
            self._fetching = None

    def _download(self) -> Any:
        """The set of keys. Blocks; called in a thread."""
        # Made anew each time: whom to trust is a file, which may have been replaced.
        context = ssl.create_default_context(cafile=str(self._settings.ca_file) if self._settings.ca_file else None)
        # Where the keys lie is said by the settings or by the issuer, not by whoever redirects.
        opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), _NoRedirects())
        where: Any = self._settings.jwks_url
        if not where:
            found = self._get(opener, self._settings.issuer.rstrip("/") + "/.well-known/openid-configuration")
            where = found.get("jwks_uri") if isinstance(found, dict) else None
            if not isinstance(where, str) or found.get("issuer") != self._settings.issuer:
                raise ValueError("the discovery document is not that of the issuer")
            if not secure_url(where):
                raise ValueError("the discovery document names keys that do not come over HTTPS")
        return self._get(opener, where)

    def _get(self, opener: urllib.request.OpenerDirector, url: str) -> Any:
        if not secure_url(url):
            raise ValueError("the issuer must be reached over HTTPS")
        with opener.open(url, timeout=self._settings.timeout_seconds) as response:
            content = response.read(_MAX_ANSWER_BYTES + 1)
        if len(content) > _MAX_ANSWER_BYTES:
            raise ValueError("the issuer's answer is too long")
        return json.loads(content)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _fingerprints(keys: dict[str, PublicKey]) -> dict[str, tuple[Any, frozenset[str]]]:
    # Numbers of RSA and EC keys compare by value; an Ed25519 key has none, and compares itself.
    return {
        key_id: (key.public.public_numbers() if hasattr(key.public, "public_numbers") else key.public, key.algorithms)
        for key_id, key in keys.items()
    }


def _unavailable() -> Unavailable:
    return Unavailable("The issuer of tokens cannot be reached, so nobody can be recognised.", reason="ISSUER_UNAVAILABLE")
