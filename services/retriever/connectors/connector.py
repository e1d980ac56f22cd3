"""The port every connector implements, and what it hands over.

    visit = Visit(known={"OPS-1": "2026-01-02T…"}, cursor="2026-01-02T…", full=False)
    async with contextlib.aclosing(connector.seen(visit)) as found:
        async for each in found: ...
    visit.complete, visit.next_cursor

A visit is for one reading; a connector may be visited again, and is closed in the end.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from services.chassis.errors import CorellaError, FailedPrecondition, Unavailable
from services.retriever.access import Access


@dataclass(frozen=True)
class Found:
    """A document that is new, or that may have changed. Whether it has is decided by content, not here."""

    key: str
    """Names it within its source, for ever: a relative path, a canonical URL, `OPS-12`, a page's id."""
    version: str
    """What the place says about its version (an ETag, an update time, size and mtime); empty when it says nothing."""
    uri: str
    title: str
    """Empty: the document's own."""
    mime_type: str
    content: bytes
    metadata: Mapping[str, str] = field(default_factory=dict)
    access: Access | None = None
    """None: the place says nothing, and the source's default holds. A place that has permissions which could not be read gives NOBODY."""


@dataclass(frozen=True)
class Unchanged:
    """A known document that is as it was at the last visit, by what the place says."""

    key: str
    access: Access | None = None
    """Who may read it from now on, where the place says so although the document itself was not looked at. None: as before."""


@dataclass(frozen=True)
class Unreadable:
    """A document that is there and could not be read; what is known of it stays."""

    key: str
    uri: str
    error: CorellaError
    access: Access | None = None
    """Who may read from now on what is known of it, where the place says so. None: as before."""


Seen = Found | Unchanged | Unreadable


@dataclass
class Visit:
    """One reading of a place: what is known before, and, after the last of `seen`, what came of it."""

    known: Mapping[str, str]
    """Version of each document at the last visit, by key."""
    cursor: str = ""
    """What the last visit left for this one; empty at the first."""
    full: bool = False
    """Hand everything over as `Found`, whatever the place says has not changed."""

    complete: bool = False
    """Set by the connector: everything that is there was seen, so what was not seen is gone."""
    next_cursor: str = ""
    """Set by the connector: `cursor` of the next visit."""
    expected: int | None = None
    """Set by the connector as soon as it is known: about how many documents will be seen. For progress."""


class Connector(Protocol):
    """Reads one place."""

    def seen(self, visit: Visit) -> AsyncGenerator[Seen]:
        """What is there, one after the other. A failure of one document is an `Unreadable`.

        Raises `PlaceUnreachable` when the place as a whole cannot be read, `PlaceRefused` when it does not let us in; both leave
        `complete` False. A caller that stops early closes the generator.
        """

    async def close(self) -> None:
        """Closes connections."""


class PlaceUnreachable(Unavailable):
    """The place cannot be reached, or answers with errors; tried again later."""

    reason = "SOURCE_UNREACHABLE"


class PlaceRefused(FailedPrecondition):
    """The place does not let us in, or is not what the source says it is. Trying again does not help."""

    reason = "SOURCE_REFUSED"
