"""What a site asks of robots: robots.txt by RFC 9309, with Google's wildcards, read by Protego.

Python's own `urllib.robotparser` takes the first rule that matches instead of the longest, and knows no wildcards.
"""

from __future__ import annotations

from protego import Protego

AGENT = "CorellaBot"
"""The product token that robots.txt may name."""
MAX_BYTES = 500 << 10
"""RFC 9309, 2.5: at least this much must be read; what is beyond is not."""
MAX_DELAY_SECONDS = 10.0


class Robots:
    """The rules of one origin."""

    def __init__(self, content: bytes) -> None:
        self._rules = Protego.parse(content[:MAX_BYTES].decode("utf-8", errors="replace"))

    @property
    def delay_seconds(self) -> float:
        """Time to leave between two requests; 0 when nothing is said. Never more than ten seconds."""
        return min(MAX_DELAY_SECONDS, max(0.0, self._rules.crawl_delay(AGENT) or 0.0))

    @property
    def sitemaps(self) -> tuple[str, ...]:
        """Where the site says its sitemaps are."""
        return tuple(self._rules.sitemaps)

    def allow(self, url: str) -> bool:
        """Whether a page may be fetched."""
        return bool(self._rules.can_fetch(url, AGENT))


ALL_ALLOWED = Robots(b"")
NOTHING_ALLOWED = Robots(b"User-agent: *\nDisallow: /")
