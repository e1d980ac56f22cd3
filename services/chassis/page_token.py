"""Page tokens (AIP-158): where the next page begins, in a form clients do not take apart.

A token is bound to the request it continues: with another parent or filter it is refused.
"""

from __future__ import annotations

import base64
import hashlib
import json

from services.chassis.errors import InvalidArgument

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 1000


def page_size(asked: int) -> int:
    """The page size to use: the default for 0, never more than the maximum. Raises `InvalidArgument` when negative."""
    if asked < 0:
        raise InvalidArgument.of([("page_size", "must not be negative")])
    return min(asked or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)


def encode(position: str, *bound_to: str) -> str:
    """A token that continues after `position`, valid only for the same `bound_to` values. Empty position: no further page."""
    if not position:
        return ""
    return base64.urlsafe_b64encode(json.dumps([position, _digest(bound_to)]).encode()).decode().rstrip("=")


def decode(token: str, *bound_to: str) -> str:
    """The position a token stands for; empty for an empty token. Raises `InvalidArgument` for anything not made by `encode`."""
    if not token:
        return ""
    try:
        position, digest = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (ValueError, TypeError) as error:
        raise InvalidArgument.of([("page_token", "is not a token of this service")]) from error
    if not isinstance(position, str) or digest != _digest(bound_to):
        raise InvalidArgument.of([("page_token", "belongs to a request with other parameters")])
    return position


def _digest(values: tuple[str, ...]) -> str:
    return hashlib.sha256("\0".join(values).encode()).hexdigest()[:16]
