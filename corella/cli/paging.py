"""Reads lists that come in pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

PAGE_SIZE = 1000
"""The most a service returns at once."""


def every(call: Callable[[Any], Any], request: Any, field: str, limit: int = 0) -> Iterator[Any]:
    """The entries of `field` over all pages, at most `limit` of them unless that is 0. `request` is changed."""
    left = limit
    while True:
        request.page_size = min(left, PAGE_SIZE) if limit else PAGE_SIZE
        response = call(request)
        entries = list(getattr(response, field))
        yield from entries[:left] if limit else entries
        left -= len(entries)
        if not response.next_page_token or (limit and left <= 0):
            return
        request.page_token = response.next_page_token
