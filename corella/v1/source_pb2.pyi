import datetime

from corella.v1 import operation_pb2 as _operation_pb2
from corella.v1 import retriever_pb2 as _retriever_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import field_mask_pb2 as _field_mask_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.rpc import status_pb2 as _status_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SourceState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SOURCE_STATE_UNSPECIFIED: _ClassVar[SourceState]
    SOURCE_STATE_IDLE: _ClassVar[SourceState]
    SOURCE_STATE_SYNCING: _ClassVar[SourceState]
    SOURCE_STATE_PAUSED: _ClassVar[SourceState]
    SOURCE_STATE_WAITING_FOR_CONFIRMATION: _ClassVar[SourceState]
    SOURCE_STATE_FAILED: _ClassVar[SourceState]
SOURCE_STATE_UNSPECIFIED: SourceState
SOURCE_STATE_IDLE: SourceState
SOURCE_STATE_SYNCING: SourceState
SOURCE_STATE_PAUSED: SourceState
SOURCE_STATE_WAITING_FOR_CONFIRMATION: SourceState
SOURCE_STATE_FAILED: SourceState

class Source(_message.Message):
    __slots__ = ("name", "display_name", "directory", "web", "jira", "confluence", "sync_interval", "loss_limit", "default_access", "state", "current_operation", "last_sync", "next_sync_time", "document_count", "error", "create_time", "update_time")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    DIRECTORY_FIELD_NUMBER: _ClassVar[int]
    WEB_FIELD_NUMBER: _ClassVar[int]
    JIRA_FIELD_NUMBER: _ClassVar[int]
    CONFLUENCE_FIELD_NUMBER: _ClassVar[int]
    SYNC_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    LOSS_LIMIT_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_ACCESS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    CURRENT_OPERATION_FIELD_NUMBER: _ClassVar[int]
    LAST_SYNC_FIELD_NUMBER: _ClassVar[int]
    NEXT_SYNC_TIME_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_COUNT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    name: str
    display_name: str
    directory: _retriever_pb2.DirectorySource
    web: WebSource
    jira: JiraSource
    confluence: ConfluenceSource
    sync_interval: _duration_pb2.Duration
    loss_limit: float
    default_access: _retriever_pb2.Access
    state: SourceState
    current_operation: str
    last_sync: SyncSummary
    next_sync_time: _timestamp_pb2.Timestamp
    document_count: int
    error: _status_pb2.Status
    create_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., display_name: _Optional[str] = ..., directory: _Optional[_Union[_retriever_pb2.DirectorySource, _Mapping]] = ..., web: _Optional[_Union[WebSource, _Mapping]] = ..., jira: _Optional[_Union[JiraSource, _Mapping]] = ..., confluence: _Optional[_Union[ConfluenceSource, _Mapping]] = ..., sync_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., loss_limit: _Optional[float] = ..., default_access: _Optional[_Union[_retriever_pb2.Access, _Mapping]] = ..., state: _Optional[_Union[SourceState, str]] = ..., current_operation: _Optional[str] = ..., last_sync: _Optional[_Union[SyncSummary, _Mapping]] = ..., next_sync_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., document_count: _Optional[int] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class WebSource(_message.Message):
    __slots__ = ("start_url", "max_depth", "max_pages", "hosts", "include", "exclude")
    START_URL_FIELD_NUMBER: _ClassVar[int]
    MAX_DEPTH_FIELD_NUMBER: _ClassVar[int]
    MAX_PAGES_FIELD_NUMBER: _ClassVar[int]
    HOSTS_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_FIELD_NUMBER: _ClassVar[int]
    EXCLUDE_FIELD_NUMBER: _ClassVar[int]
    start_url: str
    max_depth: int
    max_pages: int
    hosts: _containers.RepeatedScalarFieldContainer[str]
    include: _containers.RepeatedScalarFieldContainer[str]
    exclude: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, start_url: _Optional[str] = ..., max_depth: _Optional[int] = ..., max_pages: _Optional[int] = ..., hosts: _Optional[_Iterable[str]] = ..., include: _Optional[_Iterable[str]] = ..., exclude: _Optional[_Iterable[str]] = ...) -> None: ...

class SecretReference(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class JiraSource(_message.Message):
    __slots__ = ("base_url", "project_keys", "jql", "api_version", "user", "token", "include_attachments")
    BASE_URL_FIELD_NUMBER: _ClassVar[int]
    PROJECT_KEYS_FIELD_NUMBER: _ClassVar[int]
    JQL_FIELD_NUMBER: _ClassVar[int]
    API_VERSION_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_ATTACHMENTS_FIELD_NUMBER: _ClassVar[int]
    base_url: str
    project_keys: _containers.RepeatedScalarFieldContainer[str]
    jql: str
    api_version: int
    user: str
    token: SecretReference
    include_attachments: bool
    def __init__(self, base_url: _Optional[str] = ..., project_keys: _Optional[_Iterable[str]] = ..., jql: _Optional[str] = ..., api_version: _Optional[int] = ..., user: _Optional[str] = ..., token: _Optional[_Union[SecretReference, _Mapping]] = ..., include_attachments: bool = ...) -> None: ...

class ConfluenceSource(_message.Message):
    __slots__ = ("base_url", "space_keys", "user", "token", "include_attachments")
    BASE_URL_FIELD_NUMBER: _ClassVar[int]
    SPACE_KEYS_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_ATTACHMENTS_FIELD_NUMBER: _ClassVar[int]
    base_url: str
    space_keys: _containers.RepeatedScalarFieldContainer[str]
    user: str
    token: SecretReference
    include_attachments: bool
    def __init__(self, base_url: _Optional[str] = ..., space_keys: _Optional[_Iterable[str]] = ..., user: _Optional[str] = ..., token: _Optional[_Union[SecretReference, _Mapping]] = ..., include_attachments: bool = ...) -> None: ...

class SyncSummary(_message.Message):
    __slots__ = ("operation", "start_time", "end_time", "added_count", "changed_count", "removed_count", "unchanged_count", "failed_count", "failures", "withheld_removal_count")
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    ADDED_COUNT_FIELD_NUMBER: _ClassVar[int]
    CHANGED_COUNT_FIELD_NUMBER: _ClassVar[int]
    REMOVED_COUNT_FIELD_NUMBER: _ClassVar[int]
    UNCHANGED_COUNT_FIELD_NUMBER: _ClassVar[int]
    FAILED_COUNT_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    WITHHELD_REMOVAL_COUNT_FIELD_NUMBER: _ClassVar[int]
    operation: str
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    added_count: int
    changed_count: int
    removed_count: int
    unchanged_count: int
    failed_count: int
    failures: _containers.RepeatedCompositeFieldContainer[_operation_pb2.ItemFailure]
    withheld_removal_count: int
    def __init__(self, operation: _Optional[str] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., added_count: _Optional[int] = ..., changed_count: _Optional[int] = ..., removed_count: _Optional[int] = ..., unchanged_count: _Optional[int] = ..., failed_count: _Optional[int] = ..., failures: _Optional[_Iterable[_Union[_operation_pb2.ItemFailure, _Mapping]]] = ..., withheld_removal_count: _Optional[int] = ...) -> None: ...

class CreateSourceRequest(_message.Message):
    __slots__ = ("parent", "source_id", "source", "paused", "request_id")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_ID_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    parent: str
    source_id: str
    source: Source
    paused: bool
    request_id: str
    def __init__(self, parent: _Optional[str] = ..., source_id: _Optional[str] = ..., source: _Optional[_Union[Source, _Mapping]] = ..., paused: bool = ..., request_id: _Optional[str] = ...) -> None: ...

class CreateSourceResponse(_message.Message):
    __slots__ = ("source",)
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    source: Source
    def __init__(self, source: _Optional[_Union[Source, _Mapping]] = ...) -> None: ...

class GetSourceRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetSourceResponse(_message.Message):
    __slots__ = ("source",)
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    source: Source
    def __init__(self, source: _Optional[_Union[Source, _Mapping]] = ...) -> None: ...

class ListSourcesRequest(_message.Message):
    __slots__ = ("parent", "page_size", "page_token")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    parent: str
    page_size: int
    page_token: str
    def __init__(self, parent: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListSourcesResponse(_message.Message):
    __slots__ = ("sources", "next_page_token")
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    sources: _containers.RepeatedCompositeFieldContainer[Source]
    next_page_token: str
    def __init__(self, sources: _Optional[_Iterable[_Union[Source, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class UpdateSourceRequest(_message.Message):
    __slots__ = ("source", "update_mask", "request_id")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    source: Source
    update_mask: _field_mask_pb2.FieldMask
    request_id: str
    def __init__(self, source: _Optional[_Union[Source, _Mapping]] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class UpdateSourceResponse(_message.Message):
    __slots__ = ("source",)
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    source: Source
    def __init__(self, source: _Optional[_Union[Source, _Mapping]] = ...) -> None: ...

class DeleteSourceRequest(_message.Message):
    __slots__ = ("name", "delete_documents", "request_id")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DELETE_DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    name: str
    delete_documents: bool
    request_id: str
    def __init__(self, name: _Optional[str] = ..., delete_documents: bool = ..., request_id: _Optional[str] = ...) -> None: ...

class DeleteSourceResponse(_message.Message):
    __slots__ = ("deleted_document_count",)
    DELETED_DOCUMENT_COUNT_FIELD_NUMBER: _ClassVar[int]
    deleted_document_count: int
    def __init__(self, deleted_document_count: _Optional[int] = ...) -> None: ...

class SyncSourceRequest(_message.Message):
    __slots__ = ("name", "confirm_removals", "full")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CONFIRM_REMOVALS_FIELD_NUMBER: _ClassVar[int]
    FULL_FIELD_NUMBER: _ClassVar[int]
    name: str
    confirm_removals: bool
    full: bool
    def __init__(self, name: _Optional[str] = ..., confirm_removals: bool = ..., full: bool = ...) -> None: ...

class SyncSourceResponse(_message.Message):
    __slots__ = ("operation",)
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    operation: _operation_pb2.Operation
    def __init__(self, operation: _Optional[_Union[_operation_pb2.Operation, _Mapping]] = ...) -> None: ...

class PauseSourceRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class PauseSourceResponse(_message.Message):
    __slots__ = ("source",)
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    source: Source
    def __init__(self, source: _Optional[_Union[Source, _Mapping]] = ...) -> None: ...

class ResumeSourceRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ResumeSourceResponse(_message.Message):
    __slots__ = ("source",)
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    source: Source
    def __init__(self, source: _Optional[_Union[Source, _Mapping]] = ...) -> None: ...
