"""Sources as messages of `corella.v1`. Names are shown as the tenant knows them; secrets by their names only."""

from __future__ import annotations

from typing import Any

from google.protobuf import duration_pb2
from google.protobuf.message import Message
from google.rpc import status_pb2

from corella.v1 import retriever_pb2, source_pb2
from services.chassis.operations_messages import timestamp
from services.retriever.messages import access_message
from services.retriever.source_domain import PlaceRecord, Source, SyncSummary, source_name
from services.retriever.tenancy import shown, shown_name


def source_message(source: Source) -> source_pb2.Source:
    """A source."""
    spec = source.spec
    message = source_pb2.Source(
        name=source_name(shown(source.corpus), source.id),
        display_name=spec.display_name,
        loss_limit=spec.loss_limit,
        state=f"SOURCE_STATE_{source.state.value}",
        current_operation=f"operations/{source.operation}" if source.operation else "",
        document_count=source.document_count,
        create_time=timestamp(source.create_time),
        update_time=timestamp(source.update_time),
    )
    getattr(message, spec.place.kind).CopyFrom(place_message(spec.place))
    if spec.interval_seconds:
        interval = duration_pb2.Duration()
        interval.FromNanoseconds(round(spec.interval_seconds * 1e9))
        message.sync_interval.CopyFrom(interval)
    if spec.default_access is not None:
        message.default_access.CopyFrom(access_message(spec.default_access))
    if source.last_sync is not None:
        message.last_sync.CopyFrom(_summary(source.last_sync))
    if source.next_sync_time is not None:
        message.next_sync_time.CopyFrom(timestamp(source.next_sync_time))
    if source.error:
        message.error.ParseFromString(source.error)
    return message


def _summary(summary: SyncSummary) -> source_pb2.SyncSummary:
    message = source_pb2.SyncSummary(
        operation=f"operations/{summary.operation}",
        start_time=timestamp(summary.start_time),
        end_time=timestamp(summary.end_time),
        added_count=summary.added,
        changed_count=summary.changed,
        removed_count=summary.removed,
        unchanged_count=summary.unchanged,
        failed_count=summary.failed,
        withheld_removal_count=summary.withheld,
    )
    for failure in summary.failures:
        message.failures.add(name=shown_name(failure.name), uri=failure.uri, error=status_pb2.Status.FromString(failure.error))
    return message


def place_message(record: PlaceRecord) -> Message:
    """The place as it is shown."""
    kinds: dict[str, Any] = {
        "directory": retriever_pb2.DirectorySource,
        "web": source_pb2.WebSource,
        "jira": source_pb2.JiraSource,
        "confluence": source_pb2.ConfluenceSource,
    }
    values = dict(record.values)
    if "token" in values:
        values["token"] = source_pb2.SecretReference(name=values["token"])
    made: Message = kinds[record.kind](**values)
    return made
