"""Who may read a document, whether somebody may, and the number that stands for it in the store. Pure.

The store filters by numbers: 0 is everyone of the tenant, -1 is nobody, and any other number is made from the list itself. So a number
means the same for ever, in every corpus, whatever a catalog forgets, and a number whose list is not known admits nobody.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from services.chassis.identity import Caller

EVERYONE_ID = 0
NOBODY_ID = -1
_DIGITS = 13
"""Of a SHA-1, hexadecimal: 52 bits, the most that Lua's numbers hold. Two lists of one number are refused where they are kept."""


class AccessLevel(Enum):
    """How the lists of an `Access` are to be taken."""

    TENANT = "TENANT"
    LISTED = "LISTED"
    NOBODY = "NOBODY"


@dataclass(frozen=True)
class Access:
    """Who may read a document. `users` and `groups` count with LISTED only; a list without names is nobody."""

    level: AccessLevel
    users: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()

    @staticmethod
    def listed(users: Iterable[str] = (), groups: Iterable[str] = ()) -> Access:
        """Those named and nobody else."""
        return Access(AccessLevel.LISTED, frozenset(users), frozenset(groups))

    def allows(self, caller: Caller) -> bool:
        """Whether the caller, who is of the document's tenant, may read it."""
        if self.level is AccessLevel.NOBODY or (self.level is AccessLevel.LISTED and not (self.users or self.groups)):
            return False
        if caller.reads_everything or self.level is AccessLevel.TENANT:
            return True
        return (bool(caller.user) and caller.user in self.users) or not self.groups.isdisjoint(caller.groups)

    @property
    def text(self) -> str:
        """The one way to write it: `tenant`, `nobody`, or a line for each name, in order.

        A line is `g"…"` or `u"…"`, JSON in ASCII, so that the catalog's scripts can take lists apart and put them together again.
        A list without names is `nobody`.
        """
        if self.level is AccessLevel.TENANT:
            return "tenant"
        if self.level is AccessLevel.NOBODY or not (self.users or self.groups):
            return "nobody"
        return "\n".join(sorted([*(f"u{json.dumps(name)}" for name in self.users), *(f"g{json.dumps(name)}" for name in self.groups)]))

    @property
    def id(self) -> int:
        """The number that stands for it in the store."""
        return access_id(self.text)


EVERYONE = Access(AccessLevel.TENANT)
NOBODY = Access(AccessLevel.NOBODY)


def access_id(text: str) -> int:
    """The number of an access written as `Access.text` does; `catalog_scripts.py` computes the same."""
    if text in {"tenant", "nobody"}:
        return EVERYONE_ID if text == "tenant" else NOBODY_ID
    return 1 + int(hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()[:_DIGITS], 16)


def access_of(text: str) -> Access:
    """The access written by `Access.text`."""
    if text in {"tenant", "nobody"}:
        return EVERYONE if text == "tenant" else NOBODY
    users: set[str] = set()
    groups: set[str] = set()
    for line in text.split("\n"):
        (users if line[0] == "u" else groups).add(json.loads(line[1:]))
    return Access.listed(users, groups)


@dataclass(frozen=True)
class Readable:
    """What one caller may read in one corpus."""

    ids: frozenset[int] | None
    """Numbers of the accesses that admit the caller; None: all but nobody's, for callers whom lists do not bind."""
    sees_all: bool = False
    """The caller, an administrator, is told that documents exist which it may not read."""

    def admits(self, access: int) -> bool:
        """Whether the caller may read a document of this access."""
        return access != NOBODY_ID and (self.ids is None or access in self.ids)

    @property
    def expression(self) -> str:
        """What chunks must fulfil, for the store. Always by what is allowed, never by what is forbidden: unknown numbers admit nobody."""
        if self.ids is None:
            return f"access >= {EVERYONE_ID}"
        return f"access in {sorted(self.ids)}"


UNRESTRICTED = Readable(None, sees_all=True)
"""For the service's own work, which returns nothing to anybody."""
