"""What is known of sources and their syncs, and what can be wrong with one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from services.chassis.errors import AlreadyExists, FailedPrecondition, NotFound, Unavailable
from services.chassis.operations import ItemFailure
from services.retriever.access import NOBODY_ID, Access

DEFAULT_LOSS_LIMIT = 0.2
ALWAYS_REMOVED = 5
"""Fewer documents than these are removed without being asked, whatever share they are."""


class SourceState(Enum):
    """Where a source stands."""

    IDLE = "IDLE"
    SYNCING = "SYNCING"
    PAUSED = "PAUSED"
    WAITING_FOR_CONFIRMATION = "WAITING_FOR_CONFIRMATION"
    FAILED = "FAILED"


@dataclass(frozen=True)
class PlaceRecord:
    """Where a source is read, as it is stored and shown: secrets are names of files, never their content."""

    kind: str
    """`directory`, `web`, `jira` or `confluence`."""
    values: Mapping[str, Any]
    """Strings, numbers, booleans and lists of strings, by the contract's field names; `token` is the secret's name."""


@dataclass(frozen=True)
class SourceSpec:
    """What a caller says about a source."""

    place: PlaceRecord
    display_name: str = ""
    interval_seconds: float = 0.0
    """0: only when it is asked for."""
    loss_limit: float = DEFAULT_LOSS_LIMIT
    default_access: Access | None = None
    """None: as the corpus says."""


@dataclass(frozen=True)
class SyncSummary:
    """What a sync did."""

    operation: str
    start_time: float
    end_time: float
    added: int
    changed: int
    removed: int
    unchanged: int
    failed: int
    withheld: int
    failures: tuple[ItemFailure, ...] = ()


@dataclass(frozen=True)
class Source:
    """A source as it stands."""

    corpus: str
    id: str
    spec: SourceSpec
    state: SourceState
    create_time: float
    update_time: float
    document_count: int
    operation: str = ""
    last_sync: SyncSummary | None = None
    next_sync_time: float | None = None
    error: bytes = b""


class Phase(Enum):
    """How far a sync is."""

    READING = "READING"
    SETTLING = "SETTLING"
    """Everything was read and removed; documents that were handed in are being indexed."""


@dataclass(frozen=True, eq=False)
class ClaimedSync:
    """A sync that a worker has taken in hand."""

    corpus: str
    source: str
    operation: str
    spec: SourceSpec
    cursor: str
    full: bool
    phase: Phase
    retries: int
    last_begun: float
    """When the sync before began, seconds since 1970; 0 when there was none."""
    traceparent: str = ""
    """The trace of the call that asked for it, by W3C's form; empty for one of the schedule's."""

    @property
    def name(self) -> str:
        """Resource name of the source, with the inner id of its corpus."""
        return source_name(self.corpus, self.source)


@dataclass(frozen=True)
class Item:
    """What a source remembers of one of its documents."""

    version: str
    document: str
    digest: str
    current: bool = True
    """The document is there, kept by this source, and as it was handed in last: its version tells whether it has changed since."""
    present: bool = True
    """The document is there and kept by this source."""
    access: int = NOBODY_ID
    """Number of who may read the document now."""
    failed: bool = False
    """It could not be indexed as it was handed in last."""


class SourceNotFound(NotFound):
    """There is no such source."""

    reason = "SOURCE_NOT_FOUND"

    def __init__(self, source_id: str) -> None:
        super().__init__(f"There is no source `{source_id}` in this corpus.", source=source_id)


class SourceExists(AlreadyExists):
    """The corpus has a source of that id."""

    reason = "SOURCE_EXISTS"

    def __init__(self, source_id: str) -> None:
        super().__init__(f"There is a source `{source_id}` in this corpus already.", source=source_id)


class SourcePaused(FailedPrecondition):
    """The source is paused."""

    reason = "SOURCE_PAUSED"

    def __init__(self, source_id: str) -> None:
        super().__init__(f"The source `{source_id}` is paused; resume it first.", source=source_id)


class SourceBusy(Unavailable):
    """Something else is being done to the source at this moment."""

    reason = "SOURCE_BUSY"


class SecretMissing(FailedPrecondition):
    """The deployment's folder of secrets has no readable file of that name. Says nothing of what is in it."""

    reason = "SOURCE_SECRET_MISSING"


def source_name(corpus: str, source: str) -> str:
    """Resource name of a source."""
    return f"corpora/{corpus}/sources/{source}"
