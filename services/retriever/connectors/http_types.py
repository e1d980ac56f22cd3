"""What goes in and out of fetching: limits, answers, credentials, and how a URL is taken apart. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx

from services.retriever.connectors.connector import PlaceRefused
from services.retriever.connectors.json_values import parsed

REDIRECTS = frozenset((301, 302, 303, 307, 308))
_MAX_URL_CHARS = 8_000


@dataclass(frozen=True)
class FetchLimits:
    """What one fetch may take."""

    max_bytes: int = 50 << 20
    """Of an answer, after decompression."""
    connect_seconds: float = 10.0
    read_seconds: float = 30.0
    """Longest silence of the server."""
    attempt_seconds: float = 120.0
    """One attempt with its redirects, to the last byte."""
    attempts: int = 5
    """The first included."""
    first_wait_seconds: float = 0.5
    most_wait_seconds: float = 30.0
    most_asked_wait_seconds: float = 120.0
    """Longest `Retry-After` that is waited for; for a longer one the fetch fails and says when to come again."""
    redirects: int = 5
    connections: int = 8
    denied_ports: frozenset[int] = frozenset((22, 23, 25, 110, 143, 465, 587, 993, 995, 6379, 11211))
    """Ports of services that are no web servers but might take a request for one of their own commands."""


@dataclass(frozen=True)
class Answer:
    """What a server said."""

    url: str
    """Where it came from, after redirects."""
    code: int
    headers: Mapping[str, str]
    """Names in lower case. Of a header sent more than once, the values with `, ` between."""
    content: bytes

    @property
    def type(self) -> str:
        """The media type without parameters, in lower case."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    def json(self) -> Any:
        """The content as JSON. Raises `PlaceRefused` for anything else: most often a page that asks a person to sign in."""
        try:
            return parsed(self.content)
        except ValueError as exc:
            raise PlaceRefused(f"`{shown(self.url)}` did not answer with JSON. Is the address that of the API?") from exc


@dataclass(frozen=True)
class Credentials:
    """A header that proves who we are, for one origin."""

    header: str = field(repr=False)
    origin: tuple[str, str, int]


def origin_of(url: str) -> tuple[str, str, int]:
    """Scheme, host and port. Raises ValueError for anything but http and https, for a user in the URL, and for no host."""
    if len(url) > _MAX_URL_CHARS or any(c <= " " or c in "\x7f\\" for c in url):
        raise ValueError("it is not a URL")
    try:
        parts = httpx.URL(url)  # what sends the request, so that what is checked is what is reached
    except httpx.InvalidURL as exc:
        raise ValueError("it is not a URL") from exc
    if parts.scheme not in ("http", "https"):
        raise ValueError("only http and https are fetched")
    if parts.userinfo or "@" in url.split("/", 3)[2]:
        raise ValueError("a URL with a user or password is not fetched")
    host = parts.host.lower().rstrip(".")
    if not host:
        raise ValueError("it has no host")
    return parts.scheme, host, parts.port or (443 if parts.scheme == "https" else 80)


def redirected(answer: Answer) -> str:
    """Where a redirect leads. Raises `PlaceRefused` when it leads nowhere, away from the web, or from https to http."""
    target = urljoin(answer.url, answer.headers.get("location", "").strip())
    try:
        scheme = origin_of(target)[0]
    except ValueError as exc:
        raise PlaceRefused(f"`{shown(answer.url)}` redirects to an address that is not followed: {exc}.") from exc
    if scheme == "http" and origin_of(answer.url)[0] == "https":
        raise PlaceRefused(f"`{shown(answer.url)}` redirects from https to http, which is not followed.")
    return target


def shown(url: str) -> str:
    """A URL for people and logs: without user, query and fragment, which may hold secrets."""
    try:
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"[:300]
    except ValueError:
        return "an address that is no URL"
