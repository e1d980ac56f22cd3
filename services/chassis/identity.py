"""Who makes the current call: tenant, user, groups and roles, known to every task the call starts.

The interceptor sets it for each call; nothing else does. Code that runs for no call (a worker, the upkeep) has no caller, and `current`
then raises: whoever would return a document's text has to know for whom. A worker that does somebody's work says so with `acting_for`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from services.chassis.errors import CorellaError
from services.chassis.roles import ALL_ROLES

DEFAULT_TENANT = "default"
TENANT_ID = re.compile(r"[a-z](?:[a-z0-9-]{0,38}[a-z0-9])?")
"""What a tenant may be called; the same rule as for corpora."""


@dataclass(frozen=True)
class Caller:
    """Who is calling."""

    name: str
    """For logs: the user, or the name beside a token's hash."""
    tenant: str = DEFAULT_TENANT
    user: str = ""
    """As documents' access lists name users. Empty: no person."""
    groups: frozenset[str] = frozenset()
    """As documents' access lists name groups."""
    roles: frozenset[str] = frozenset()
    reads_everything: bool = False
    """Documents' access lists do not bind this caller (within the tenant): a service's own work, or the owner of a machine without
    authentication."""


LOCAL = Caller("local", roles=ALL_ROLES, reads_everything=True)
"""Whoever calls a service without authentication, which only this machine can reach."""

_current: ContextVar[Caller | None] = ContextVar("corella_caller", default=None)


def set_current(caller: Caller) -> None:
    """States who makes the current call."""
    _current.set(caller)


@contextmanager
def acting_for(caller: Caller) -> Iterator[None]:
    """Does the work of the block, and whatever it starts, for `caller`: what other services are asked is asked on its behalf."""
    before = _current.set(caller)
    try:
        yield
    finally:
        _current.reset(before)


def current() -> Caller:
    """Who makes the current call. Raises `CorellaError` (INTERNAL) where there is none: nothing may be returned to nobody."""
    caller = _current.get()
    if caller is None:
        raise CorellaError("There is no caller here, so nothing may be returned.")
    return caller


def current_or_none() -> Caller | None:
    """Who makes the current call; None in work that no call waits for."""
    return _current.get()
