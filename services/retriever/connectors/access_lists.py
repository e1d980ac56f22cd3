"""Access as places write it: read from JSON or YAML, and put together where two rules hold at once. Pure; fails closed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from services.retriever.access import EVERYONE, NOBODY, Access, AccessLevel

MAX_NAMES = 10_000
MAX_NAME_CHARS = 320
_KNOWN = frozenset(("users", "groups", "everyone"))


def read(written: Any) -> Access:
    """`{"users": […], "groups": […]}` or `{"everyone": true}`. NOBODY for anything else: a rule nobody understands opens nothing."""
    if not isinstance(written, dict) or not written or not _KNOWN.issuperset(written):
        return NOBODY
    if "everyone" in written:
        return EVERYONE if written == {"everyone": True} and written["everyone"] is True else NOBODY
    users, groups = written.get("users", []), written.get("groups", [])
    if not _names(users) or not _names(groups) or not (users or groups):
        return NOBODY
    return Access.listed(users, groups)


def both(one: Access | None, other: Access | None) -> Access | None:
    """Who may read what two rules protect. None is a rule that restricts nothing.

    Who belongs to which group is not known here, so a user counts only where both rules name them, and a group likewise. That may leave
    out some who could read it at the place, and lets in nobody who could not.
    """
    if one is None or other is None:
        return one if other is None else other
    if NOBODY in (one, other):
        return NOBODY
    if AccessLevel.TENANT in (one.level, other.level):
        return other if one.level is AccessLevel.TENANT else one
    return listed(one.users & other.users, one.groups & other.groups)


def listed(users: Iterable[str], groups: Iterable[str]) -> Access:
    """Those named; NOBODY when there is none."""
    access = Access.listed(users, groups)
    return access if access.users or access.groups else NOBODY


def written(access: Access | None) -> str:
    """The rule as text, the same for the same rule: for comparing versions."""
    return "-" if access is None else access.text


def _names(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= MAX_NAMES and all(
        isinstance(name, str) and name.strip() and len(name) <= MAX_NAME_CHARS for name in value
    )  # fmt: skip
