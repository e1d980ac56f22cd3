"""The errors a service may answer with, and how they cross the wire.

    CorellaError
    ├── InvalidArgument        a request that can never succeed as it is; lists every violation
    ├── NotFound
    ├── AlreadyExists
    ├── FailedPrecondition     would succeed in another state of the system
    ├── PermissionDenied
    ├── Unauthenticated
    ├── ResourceExhausted      too much at once; retry after the delay
    ├── Unavailable            something needed cannot be reached; retry after the delay
    ├── DeadlineExceeded
    └── Unimplemented

A service derives its own errors from these in its `domain.py` and raises them; the interceptor turns them into
`google.rpc.Status` with ErrorInfo, BadRequest and RetryInfo. Anything else that is raised is a bug: logged, and INTERNAL.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from corella.errors import DOMAIN, RpcFailure

# https://github.com/grpc/proposal/blob/master/A6-client-retries.md#pushback
_NO_RETRY = ("grpc-retry-pushback-ms", "-1")

Violation = tuple[str, str]
"""(field path as in the request, what is wrong with it)"""


class CorellaError(Exception):
    """An error that a caller is meant to see. `reason` is an UPPER_SNAKE_CASE constant clients may switch on."""

    code: ClassVar[grpc.StatusCode] = grpc.StatusCode.INTERNAL
    reason: str = "INTERNAL"
    retry_after_seconds: float | None = None

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        violations: Iterable[Violation] = (),
        retry_after_seconds: float | None = None,
        **metadata: object,
    ) -> None:
        super().__init__(message)
        self.message = message
        if reason is not None:
            self.reason = reason
        if retry_after_seconds is not None:
            self.retry_after_seconds = retry_after_seconds
        self.violations = tuple(violations)
        self.metadata: Mapping[str, str] = {key: str(value) for key, value in metadata.items()}

    def to_status(self) -> status_pb2.Status:
        """This error as `google.rpc.Status`, for the wire or for storing with a document or an operation."""
        details: list[any_pb2.Any] = []

        def add(detail: Message) -> None:
            packed = any_pb2.Any()
            packed.Pack(detail)
            details.append(packed)

        add(error_details_pb2.ErrorInfo(reason=self.reason, domain=DOMAIN, metadata=dict(self.metadata)))
        if self.violations:
            fields = [error_details_pb2.BadRequest.FieldViolation(field=f, description=d) for f, d in self.violations]
            add(error_details_pb2.BadRequest(field_violations=fields))
        if self.retry_after_seconds is not None:
            delay = duration_pb2.Duration()
            delay.FromNanoseconds(int(self.retry_after_seconds * 1e9))
            add(error_details_pb2.RetryInfo(retry_delay=delay))
        return status_pb2.Status(code=self.code.value[0], message=self.message, details=details)

    def to_grpc_status(self) -> grpc.Status:
        """This error as gRPC sends it."""
        status = rpc_status.to_status(self.to_status())
        if self.code is grpc.StatusCode.UNAVAILABLE:
            # A lost connection is worth another try at once, and gRPC clients make it. What a service itself says is not, least of all by
            # everyone between here and the person who asks; `retry_after_seconds` tells when it may be.
            return status._replace(trailing_metadata=(*status.trailing_metadata, _NO_RETRY))
        return status


class InvalidArgument(CorellaError):
    """A request that can never succeed as it is."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = "REQUEST_INVALID"

    @classmethod
    def of(cls, violations: Iterable[Violation], *, reason: str | None = None) -> InvalidArgument:
        """An error that names every violation in its text as well, for clients that show only the text."""
        listed = tuple(violations)
        text = "; ".join(f"{name}: {what}" if name else what for name, what in listed[:5])
        more = f"; and {len(listed) - 5} more" if len(listed) > 5 else ""
        return cls(f"The request is not valid: {text}{more}.", reason=reason, violations=listed)


class NotFound(CorellaError):
    """What was named does not exist."""

    code = grpc.StatusCode.NOT_FOUND
    reason = "NOT_FOUND"


class AlreadyExists(CorellaError):
    """What was to be created is there already."""

    code = grpc.StatusCode.ALREADY_EXISTS
    reason = "ALREADY_EXISTS"


class FailedPrecondition(CorellaError):
    """The system is not in a state in which this can be done."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "FAILED_PRECONDITION"


class PermissionDenied(CorellaError):
    """The caller is known and may not do this."""

    code = grpc.StatusCode.PERMISSION_DENIED
    reason = "PERMISSION_DENIED"


class Unauthenticated(CorellaError):
    """The caller is not known."""

    code = grpc.StatusCode.UNAUTHENTICATED
    reason = "TOKEN_INVALID"


class ResourceExhausted(CorellaError):
    """Too much at once. Nothing was done."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = "QUEUE_FULL"
    retry_after_seconds = 1.0


class Unavailable(CorellaError):
    """Something this service needs cannot be reached."""

    code = grpc.StatusCode.UNAVAILABLE
    reason = "UNAVAILABLE"
    retry_after_seconds = 2.0


class DeadlineExceeded(CorellaError):
    """The time is over."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED
    reason = "DEADLINE_EXCEEDED"


class Unimplemented(CorellaError):
    """This version does not do this."""

    code = grpc.StatusCode.UNIMPLEMENTED
    reason = "NOT_IMPLEMENTED"


_BY_CODE: dict[grpc.StatusCode, type[CorellaError]] = {
    kind.code: kind
    for kind in (
        InvalidArgument, NotFound, AlreadyExists, FailedPrecondition, PermissionDenied, Unauthenticated,
        ResourceExhausted, Unavailable, DeadlineExceeded, Unimplemented,
    )
}  # fmt: skip


def from_failure(failure: RpcFailure) -> CorellaError:
    """What another service said, as an error of ours, so that it reaches the caller with its own code, reason and text.

    A code that has no class here (INTERNAL, UNKNOWN…) becomes a plain `CorellaError`, which is INTERNAL.
    """
    kind = _BY_CODE.get(failure.code, CorellaError)
    error = kind(
        failure.message or failure.code.name,
        reason=failure.reason or None,
        violations=failure.violations,
        retry_after_seconds=failure.retry_after_seconds,
    )
    error.metadata = dict(failure.metadata)
    return error
