"""A span as plain values, whatever it was read from. Times are nanoseconds since 1970, ids lower-case hexadecimal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Attributes = Mapping[str, Any]
"""Values are str, bool, int, float, bytes, or lists and mappings of them."""


@dataclass(frozen=True)
class Link:
    """Something that a span has to do with, without being its child."""

    trace_id: str
    span_id: str
    attributes: Attributes = field(default_factory=dict)


@dataclass(frozen=True)
class Event:
    """Something that happened at one moment of a span, such as an exception."""

    name: str
    time_ns: int
    attributes: Attributes = field(default_factory=dict)


@dataclass(frozen=True)
class Span:
    """One piece of work."""

    trace_id: str
    span_id: str
    name: str
    begin_ns: int
    end_ns: int
    parent_id: str = ""
    """Empty: nothing caused it."""
    service: str = ""
    kind: str = "internal"
    """internal, server, client, producer or consumer."""
    failed: bool = False
    status: str = ""
    """Why it failed, where it says so."""
    attributes: Attributes = field(default_factory=dict)
    resource: Attributes = field(default_factory=dict)
    """What is true of the process it ran in."""
    events: tuple[Event, ...] = ()
    links: tuple[Link, ...] = ()

    @property
    def duration_ns(self) -> int:
        """Never negative, whatever the clock did."""
        return max(self.end_ns - self.begin_ns, 0)
