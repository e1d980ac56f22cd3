"""How sources are written in Redis, and read again. Pure."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence

from services.chassis.operations import ItemFailure
from services.retriever.access import access_of
from services.retriever.source_domain import PlaceRecord, Source, SourceSpec, SourceState, SyncSummary

Fields = Mapping[str, str]


def spec_text(spec: SourceSpec) -> str:
    """What is kept of what a caller said. Holds names of secrets, never a secret."""
    return json.dumps(
        {
            "kind": spec.place.kind,
            "place": dict(spec.place.values),
            "display_name": spec.display_name,
            "interval_seconds": spec.interval_seconds,
            "loss_limit": spec.loss_limit,
            "default_access": None if spec.default_access is None else spec.default_access.text,
        }
    )


def spec_of(text: str) -> SourceSpec:
    """What `spec_text` wrote."""
    kept = json.loads(text)
    access = kept["default_access"]
    return SourceSpec(
        place=PlaceRecord(kept["kind"], kept["place"]),
        display_name=kept["display_name"],
        interval_seconds=kept["interval_seconds"],
        loss_limit=kept["loss_limit"],
        default_access=None if access is None else access_of(access),
    )


def source_of(corpus: str, source: str, fields: Fields, *, failures: Sequence[str], documents: int, due: float | None) -> Source:
    """A source from its hash, the failures of its last sync, how many documents it keeps, and when it is due (milliseconds)."""
    operation = fields.get("operation", "")
    return Source(
        corpus=corpus,
        id=source,
        spec=spec_of(fields["spec"]),
        state=state_of(fields),
        create_time=int(fields["create_time"]) / 1000,
        update_time=int(fields["update_time"]) / 1000,
        document_count=documents,
        operation=operation,
        last_sync=_summary(fields["last"], failures) if "last" in fields else None,
        next_sync_time=None if due is None else due / 1000,
        error=base64.b64decode(fields.get("error", "")) if fields.get("outcome") == "FAILED" else b"",
    )


def state_of(fields: Fields) -> SourceState:
    """Where a source stands, from `paused`, `operation` and `outcome` of its hash."""
    if fields.get("paused") == "1":
        return SourceState.PAUSED
    if fields.get("operation"):
        return SourceState.SYNCING
    outcomes = {"WAITING": SourceState.WAITING_FOR_CONFIRMATION, "FAILED": SourceState.FAILED}
    return outcomes.get(fields.get("outcome", ""), SourceState.IDLE)


def _summary(text: str, failures: Sequence[str]) -> SyncSummary:
    kept = json.loads(text)
    return SyncSummary(
        operation=kept["operation"],
        start_time=int(kept["start_time"]) / 1000,
        end_time=int(kept["end_time"]) / 1000,
        added=kept["added"],
        changed=kept["changed"],
        removed=kept["removed"],
        unchanged=kept["unchanged"],
        failed=kept["failed"],
        withheld=kept["withheld"],
        failures=tuple(_failure(failure) for failure in failures),
    )


def _failure(text: str) -> ItemFailure:
    entry = json.loads(text)
    return ItemFailure(entry["name"], entry["uri"], base64.b64decode(entry["error"]))
