"""Who is calling: bearer tokens against a file of their hashes.

Only hashes are kept, so the file gives nobody access. Comparison takes the same time wherever two hashes differ.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from services.chassis.errors import Unauthenticated


@dataclass(frozen=True)
class Caller:
    """Who is calling."""

    name: str


ANONYMOUS = Caller("anonymous")


class Authenticator:
    """Finds the caller in a call's metadata. Without a file everyone is `ANONYMOUS` (loopback only; see `ServerSettings`)."""

    def __init__(self, tokens_file: Path | None) -> None:
        self._hashes = None if tokens_file is None else _read(tokens_file)

    def authenticate(self, metadata: Iterable[tuple[str, str | bytes]]) -> Caller:
        """The caller. Raises `Unauthenticated` when there is no token or it is not known."""
        if self._hashes is None:
            return ANONYMOUS
        header = next((value for key, value in metadata if key.lower() == "authorization"), None)
        if header is None:
            raise Unauthenticated("This service asks for a bearer token in the `authorization` metadata.", reason="TOKEN_MISSING")
        text = header.decode("latin-1") if isinstance(header, bytes) else header
        scheme, _, token = text.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Unauthenticated("The `authorization` metadata must be `Bearer <token>`.", reason="TOKEN_MISSING")
        digest = hashlib.sha256(token.strip().encode()).hexdigest()
        found = [name for name, known in self._hashes if hmac.compare_digest(known, digest)]
        if not found:
            raise Unauthenticated("The bearer token is not known.", reason="TOKEN_INVALID")
        return Caller(found[0])


def _read(path: Path) -> list[tuple[str, str]]:
    entries = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, digest = line.strip().rpartition(":")
        if not name or len(digest) != 64 or set(digest.lower()) - set("0123456789abcdef"):
            raise ValueError(f"{path}, line {number}: expected `name:sha256-of-token`")
        entries.append((name, digest.lower()))
    if not entries:
        raise ValueError(f"{path} holds no token: nobody could call")
    return entries
