"""The roles a caller may have, what each includes, and the table that says which one a method asks for.

    admin ──┬── writer ──┐
            └── trainer ─┴── reader
    service                        includes nothing: it is about who calls, not about what a person may do

Each service has its table in `rules.py`; a method without a line in it is refused.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum


class Role(StrEnum):
    """What a caller may do. Which documents it may read is another matter: see `identity.Caller`."""

    READER = "reader"
    """Ask, search, and look at what is there."""
    WRITER = "writer"
    """Bring documents in, change and remove them; keep sources."""
    TRAINER = "trainer"
    """Keep datasets, jobs and schedules; read what people thought of answers."""
    ADMIN = "admin"
    """Everything a person can do, audits and what serves included."""
    SERVICE = "service"
    """Use the services that serve services, and say for whom one acts."""


ALL_ROLES: frozenset[str] = frozenset(Role)

_INCLUDED: dict[str, frozenset[str]] = {
    Role.ADMIN: frozenset({Role.ADMIN, Role.WRITER, Role.TRAINER, Role.READER}),
    Role.WRITER: frozenset({Role.WRITER, Role.READER}),
    Role.TRAINER: frozenset({Role.TRAINER, Role.READER}),
}

Rules = Mapping[str, Role]
"""The role a method asks for, by the method's full name: `corella.v1.EmbedderService/Embed`."""


def holds(roles: Collection[str], wanted: Role) -> bool:
    """Whether one of `roles` is `wanted` or includes it."""
    return any(wanted == role or wanted in _INCLUDED.get(role, ()) for role in roles)


def rules_of(service: str, methods: Mapping[Role, str]) -> dict[str, Role]:
    """The rules of one service from the names of its methods by role, separated by spaces. A method named twice is a mistake."""
    rules: dict[str, Role] = {}
    for role, names in methods.items():
        for name in names.split():
            if f"{service}/{name}" in rules:
                raise ValueError(f"{service}/{name} has two rules")
            rules[f"{service}/{name}"] = role
    return rules
