"""Whose a conversation is: a tenant's user's, and nobody else's."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from services.chassis import identity


@dataclass(frozen=True)
class Owner:
    """Somebody of a tenant. `user` tells persons and tokens without a person apart, also where they have one name."""

    tenant: str
    user: str

    @property
    def key(self) -> str:
        """The owner within a key of the store, whatever characters its name has."""
        return f"{self.tenant}:{hashlib.sha256(self.user.encode()).hexdigest()[:32]}"


def owner() -> Owner:
    """Who makes the current call. Raises `CorellaError` where there is no call."""
    caller = identity.current()
    return Owner(caller.tenant, f"user {caller.user}" if caller.user else f"token {caller.name}")
