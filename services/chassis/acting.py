"""For whom a service calls another one: the caller as metadata, and who may send it.

The metadata `corella-caller-bin` is JSON: `tenant`, `user`, `groups`, `roles`, `reads_everything`, `name`; all optional. A peer with the
role `service` is believed; from anybody else it is refused, never ignored: who sends it means to act for somebody.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from services.chassis.errors import PermissionDenied, Unauthenticated
from services.chassis.identity import DEFAULT_TENANT, TENANT_ID, Caller
from services.chassis.roles import ALL_ROLES, Role, holds

CALLER_KEY = "corella-caller-bin"
MAX_BYTES = 96 * 1024
MAX_NAMES = 1_000
MAX_NAME_CHARACTERS = 256


def effective(peer: Caller, sent: list[str | bytes]) -> Caller:
    """Whom a call is made for: the one named in the metadata's values `sent`, else the `peer` itself.

    Raises `PermissionDenied` (ACTING_NOT_ALLOWED) where the peer may not act for others, `Unauthenticated` (CALLER_INVALID).
    """
    if not sent:
        return peer
    if not holds(peer.roles, Role.SERVICE):
        raise PermissionDenied("Only a caller with the role `service` may act for somebody else.", reason="ACTING_NOT_ALLOWED")
    if len(sent) > 1 or not isinstance(sent[0], bytes):
        raise _invalid("it must be sent once, as bytes")
    return decode(sent[0])


@lru_cache(1024)
def encode(caller: Caller) -> bytes:
    """The caller as the metadata's value."""
    fields: dict[str, Any] = {"name": caller.name, "tenant": caller.tenant, "user": caller.user}
    fields |= {"groups": sorted(caller.groups), "roles": sorted(caller.roles), "reads_everything": caller.reads_everything}
    return json.dumps(fields, separators=(",", ":")).encode()


@lru_cache(1024)
def decode(value: bytes) -> Caller:
    """The caller in the metadata's value; without `roles` it has the role `reader`. Raises `Unauthenticated` (CALLER_INVALID)."""
    if len(value) > MAX_BYTES:
        raise _invalid("it is too long")
    try:
        fields = json.loads(value)
    except (ValueError, RecursionError) as error:
        raise _invalid("it is not JSON") from error
    if not isinstance(fields, dict) or set(fields) - {"name", "tenant", "user", "groups", "roles", "reads_everything"}:
        raise _invalid("it must be an object of the known fields")
    tenant, user, everything = fields.get("tenant", DEFAULT_TENANT), fields.get("user", ""), fields.get("reads_everything", False)
    groups, roles = fields.get("groups", []), fields.get("roles", [Role.READER])
    name = fields.get("name", "") or user
    if not isinstance(tenant, str) or not TENANT_ID.fullmatch(tenant):
        raise _invalid("`tenant` is no name of a tenant")
    if not all(isinstance(each, str) and (not each or is_name(each)) for each in (user, name)):
        raise _invalid(f"`user` and `name` must be text of at most {MAX_NAME_CHARACTERS} characters")
    if not are_names(groups):
        raise _invalid(f"`groups` must be a list of at most {MAX_NAMES} names")
    if not are_names(roles) or not set(roles) <= ALL_ROLES:
        raise _invalid("`roles` must be a list of roles")
    if not isinstance(everything, bool):
        raise _invalid("`reads_everything` must be true or false")
    return Caller(name, tenant, user, frozenset(groups), frozenset(roles), everything)


def is_name(given: object) -> bool:
    """Whether something can be the name of a user or group: 1 to 256 characters that can be shown."""
    return isinstance(given, str) and 0 < len(given) <= MAX_NAME_CHARACTERS and given.isprintable()


def are_names(given: object) -> bool:
    """Whether something is a list of at most 1,000 such names."""
    return isinstance(given, list) and len(given) <= MAX_NAMES and all(is_name(each) for each in given)


def _invalid(why: str) -> Unauthenticated:
    return Unauthenticated(f"The metadata `{CALLER_KEY}` cannot be used: {why}.", reason="CALLER_INVALID")
