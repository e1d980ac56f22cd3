"""What a crawl remembers for the next one: the links of each page, so that a page which answers "not modified" can be followed on. Pure.

It travels as the visit's cursor: JSON, compressed, in ASCII. A memory that would be too large is dropped, and the next crawl then reads
every page in full: dearer, and just as right.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping, Sequence

MAX_CURSOR_CHARS = 4 << 20
_MAX_UNPACKED_BYTES = 64 << 20


def packed(links: Mapping[str, Sequence[str]]) -> str:
    """The links of each page as a cursor; empty when it would be too large."""
    numbers: dict[str, int] = {}
    pages = []
    for page, targets in links.items():
        pages.append([numbers.setdefault(page, len(numbers)), *(numbers.setdefault(target, len(numbers)) for target in targets)])
    raw = json.dumps({"urls": list(numbers), "pages": pages}, separators=(",", ":")).encode()
    cursor = base64.b85encode(zlib.compress(raw, 6)).decode("ascii")
    return cursor if len(cursor) <= MAX_CURSOR_CHARS and len(raw) <= _MAX_UNPACKED_BYTES else ""


def unpacked(cursor: str) -> dict[str, tuple[str, ...]]:
    """What `packed` made a cursor of; empty for anything else."""
    if not cursor:
        return {}
    try:
        decompressor = zlib.decompressobj()
        raw = decompressor.decompress(base64.b85decode(cursor), _MAX_UNPACKED_BYTES)
        written = json.loads(raw) if decompressor.eof else {}
        urls = written["urls"]
        return {urls[page[0]]: tuple(urls[target] for target in page[1:]) for page in written["pages"]}
    except (ValueError, KeyError, IndexError, TypeError, zlib.error, RecursionError):
        return {}
