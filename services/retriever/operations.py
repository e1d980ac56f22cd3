"""What a caller is shown of an operation. Pure."""

from __future__ import annotations

from dataclasses import replace

from services.chassis.identity import Caller
from services.chassis.operations import Operation
from services.chassis.roles import Role, holds
from services.retriever.tenancy import shown_name


def as_shown(operation: Operation, caller: Caller) -> Operation:
    """The operation with the names its tenant knows.

    Failures and the sentence on what is happening name documents, whoever may read these: they are for those who bring documents in.
    Others see states and counts.
    """
    if holds(caller.roles, Role.WRITER):
        failures = tuple(replace(each, name=shown_name(each.name)) for each in operation.failures)
        return replace(operation, target=shown_name(operation.target), failures=failures)
    return replace(operation, target=shown_name(operation.target), failures=(), message=operation.message.partition(";")[0])
