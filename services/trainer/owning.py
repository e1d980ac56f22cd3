"""Whose datasets, jobs and schedules are: their tenant's."""

from __future__ import annotations

from services.chassis import identity


def of_caller(tenant: str) -> bool:
    """Whether something of `tenant` is there for whoever makes the current call."""
    return identity.current().tenant == tenant
