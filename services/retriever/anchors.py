"""Anchors: which name after `#` opens a section, and how a URI carries it."""

from __future__ import annotations

import unicodedata
from urllib.parse import quote, urldefrag


def slug(heading: str) -> str:
    """The anchor that GitHub gives a Markdown heading: lower case, no punctuation, `-` for each space.

    The rule is that of https://github.com/Flet/github-slugger. May be empty.
    """
    kept = (c for c in heading.strip().lower() if c in " -_" or unicodedata.category(c)[0] in "LMN" or unicodedata.category(c) == "Pc")
    return "".join(kept).replace(" ", "-")


class Slugger:
    """Gives each heading of one document an anchor of its own: a repeated slug gets `-1`, `-2`…"""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}

    def anchor(self, heading: str) -> str:
        """The anchor of the next heading. The same headings in the same order get the same anchors."""
        base = slug(heading)
        found = base
        while found in self._seen:
            self._seen[base] += 1
            found = f"{base}-{self._seen[base]}"
        self._seen[found] = 0
        return found


def with_anchor(uri: str, anchor: str) -> str:
    """The URI with that anchor in place of its own; the URI unchanged when the anchor is empty."""
    # RFC 3986, section 3.5: what a fragment may hold as it is; a `%` of the anchor's own has to be escaped.
    fragment = quote(anchor, safe="!$&'()*+,;=:@/?-._~")
    return f"{urldefrag(uri).url}#{fragment}" if anchor else uri
