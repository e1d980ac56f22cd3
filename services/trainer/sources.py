"""Tells whether a citation points to where an answer is written: the one rule for examples, preparing and judging.

A source is one of
- a name of a chunk, `corpora/docs/documents/…/chunks/…`;
- a URI, with an anchor or without: `https://intranet.example/policies/warranty.md#warranty-periods`;
- the ending of one, from a whole part of the path on: `policies/warranty.md#warranty-periods`.
Without an anchor every section of the document is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import unquote, urldefrag


def is_right(uri: str, chunk: str, sources: Sequence[str]) -> bool:
    """Whether a citation of `chunk` (a name, or empty) at `uri` is one of `sources`; False when there are none."""
    return any(_matches(uri, chunk, source) for source in sources)


def _matches(uri: str, chunk: str, source: str) -> bool:
    if chunk and source == chunk:
        return True
    wanted, cited = urldefrag(source), urldefrag(uri)
    if wanted.fragment and unquote(wanted.fragment) != unquote(cited.fragment):
        return False
    # `%20` and a space are the same place; who writes a source by hand writes the space.
    path, whole = unquote(wanted.url), unquote(cited.url)
    if not path.strip("/"):
        return False
    return whole == path or whole.endswith("/" + path.lstrip("/"))
