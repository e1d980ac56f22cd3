"""Reads the rich errors that Corella's services send.

`RpcFailure` is what a gRPC error says once `google.rpc.Status` and its details are taken apart: the code, the machine-readable
reason, the sentence for people, every violation, and when a retry may help.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

DOMAIN = "corella"
STATUS_METADATA_KEY = "grpc-status-details-bin"


@dataclass(frozen=True)
class RpcFailure:
    """One failed call, in plain values."""

    code: grpc.StatusCode
    message: str
    reason: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    violations: tuple[tuple[str, str], ...] = ()
    """(field, description) of every violation of an INVALID_ARGUMENT."""
    retry_after_seconds: float | None = None

    def __str__(self) -> str:
        lines = [self.message or self.code.name]
        lines += [f"  {name}: {text}" if name else f"  {text}" for name, text in self.violations]
        return "\n".join(lines)

    @classmethod
    def from_rpc_error(cls, error: grpc.RpcError) -> RpcFailure:
        """Takes apart the error of a synchronous or asyncio call. Never raises: what cannot be read is left out."""
        code = error.code()
        message = error.details() or ""
        for key, value in error.trailing_metadata() or ():
            if key == STATUS_METADATA_KEY:
                try:
                    return cls.from_status(status_pb2.Status.FromString(bytes(value)))
                except (DecodeError, ValueError, TypeError):
                    break
        return cls(code=code, message=message)

    @classmethod
    def from_status(cls, status: status_pb2.Status) -> RpcFailure:
        """Takes apart a `google.rpc.Status`, such as `Document.error` or `Operation.error`."""
        info = error_details_pb2.ErrorInfo()
        bad = error_details_pb2.BadRequest()
        retry = error_details_pb2.RetryInfo()
        reason, metadata = "", {}
        violations: tuple[tuple[str, str], ...] = ()
        retry_after: float | None = None
        for detail in status.details:
            if detail.Unpack(info):
                reason, metadata = info.reason, dict(info.metadata)
            elif detail.Unpack(bad):
                violations = tuple((v.field, v.description) for v in bad.field_violations)
            elif detail.Unpack(retry):
                retry_after = retry.retry_delay.ToTimedelta().total_seconds()
        return cls(code_of(status.code), status.message, reason, metadata, violations, retry_after)


def code_of(number: int) -> grpc.StatusCode:
    """The gRPC status code of that number; UNKNOWN for a number that is none."""
    return next((code for code in grpc.StatusCode if code.value[0] == number), grpc.StatusCode.UNKNOWN)
