"""One way to write each URL, so that a page has one key however it is linked to. Pure.

Rules are those of RFC 3986, 6.2 that change nothing for a server (case, default port, dot segments, needless percent-encoding), and two
that hardly ever do: the fragment and parameters that only track where a click came from are dropped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from urllib.parse import quote, unquote_to_bytes, urljoin

import httpx

from services.retriever.connectors.http_types import origin_of

MAX_URL_CHARS = 2_000
_TRACKING = re.compile(r"(?:utm_[a-z_]+|gclid|fbclid|msclkid|dclid|mc_cid|mc_eid|igshid|_hsenc|_hsmi)", re.IGNORECASE)
_ENCODED = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def normal(url: str, base: str = "") -> str | None:
    """The URL in its one form, taken from `base` when it is relative; None when it is none of http or https, or too long."""
    stripped = re.sub(r"[\t\r\n]", "", url.strip()).partition("#")[0]
    try:
        joined = urljoin(base, stripped) if base else stripped
        scheme_and_host = re.match(r"[^/?]*//[^/?]*", joined)
        split = scheme_and_host.end() if scheme_and_host else 0
        # What people write and browsers encode: blanks, letters beyond ASCII.
        joined = joined[:split] + quote(joined[split:], safe="%/:=&?~#+!$,;'@()*[]-._")
        scheme, host, port = origin_of(joined)
        path, _, query = httpx.URL(joined).raw_path.decode("ascii").partition("?")
    except ValueError:
        return None
    shown_host = f"[{host}]" if ":" in host else httpx.URL(f"http://{host}/").raw_host.decode("ascii")
    shown_port = "" if port == (443 if scheme == "https" else 80) else f":{port}"
    kept = "&".join(part for part in query.split("&") if part and not _TRACKING.fullmatch(part.partition("=")[0]))
    written = f"{scheme}://{shown_host}{shown_port}{_without_dots(_plain(path)) or '/'}" + (f"?{_plain(kept)}" if kept else "")
    return written if len(written) <= MAX_URL_CHARS else None


def path_of(url: str) -> str:
    """The path of a URL in its one form, decoded, for patterns."""
    path = httpx.URL(url).raw_path.decode("ascii").partition("?")[0]
    return unquote_to_bytes(path).decode("utf-8", errors="replace")


def host_of(url: str) -> str:
    """Host, and the port if it is not the scheme's own, of a URL in its one form."""
    return url.split("/", 3)[2]


class Scope:
    """Which URLs belong to a place: those of its hosts whose path is included and not excluded."""

    def __init__(self, hosts: Iterable[str], include: Iterable[str], exclude: Iterable[str]) -> None:
        self._hosts = frozenset(host.lower() for host in hosts)
        self._include = tuple(include)
        self._exclude = tuple(exclude)

    def same_site(self, url: str) -> bool:
        """Whether it is of one of the hosts."""
        return host_of(url) in self._hosts

    def holds(self, url: str) -> bool:
        """Whether a page of this URL is a document of the place."""
        if not self.same_site(url):
            return False
        path = path_of(url)
        if self._include and not any(fnmatchcase(path, pattern) for pattern in self._include):
            return False
        return not any(fnmatchcase(path, pattern) for pattern in self._exclude)


def _plain(text: str) -> str:
    def one(found: re.Match[str]) -> str:
        byte = int(found.group(1), 16)
        return chr(byte) if byte in _UNRESERVED else f"%{byte:02X}"

    return _ENCODED.sub(one, text)


def _without_dots(path: str) -> str:
    kept: list[str] = []
    segments = path.split("/")[1:]
    for number, segment in enumerate(segments):
        if segment in (".", ".."):
            if segment == ".." and kept:
                kept.pop()
            if number == len(segments) - 1:
                kept.append("")
        else:
            kept.append(segment)
    return "/" + "/".join(kept)
