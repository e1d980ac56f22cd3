"""Who is calling: the bearer token of a call, by whichever ways are on.

    tokens_file     services and scripts, by the hash of their token
    oidc            people, by a JSON Web Token that their organisation's issuer signed
    neither         the owner of this machine (loopback only; see `ServerSettings`)

What each gives is an `identity.Caller`; what a caller may do is said by roles, see roles.py.
"""

from __future__ import annotations

from collections.abc import Iterable

from services.chassis.errors import Unauthenticated
from services.chassis.identity import LOCAL, Caller
from services.chassis.settings import AuthSettings
from services.chassis.tokens_file import TokensFile


class Authenticator:
    """Finds the caller in a call's metadata."""

    def __init__(self, settings: AuthSettings) -> None:
        """Raises `ValueError` for a tokens file that is none. The issuer need not be there yet."""
        self._open = not settings.enabled
        self._max_token_bytes = settings.oidc.max_token_bytes
        self._file = TokensFile(settings.tokens_file) if settings.tokens_file else None
        self._oidc = None
        if settings.oidc.issuer:
            # Imported here: it brings PyJWT and cryptography, which most local starts do without.
            from services.chassis.oidc import OidcTokens

            self._oidc = OidcTokens(settings.oidc)

    async def authenticate(self, metadata: Iterable[tuple[str, str | bytes]]) -> Caller:
        """The caller. Raises `Unauthenticated`; `Unavailable` when the issuer's keys are not to be had."""
        if self._open:
            return LOCAL
        token = self._token(metadata)
        if self._file is not None and (found := self._file.find(token)) is not None:
            return found
        if self._oidc is not None and token.count(".") == 2:
            return await self._oidc.verify(token)
        raise Unauthenticated("The bearer token is not known.", reason="TOKEN_INVALID")

    def _token(self, metadata: Iterable[tuple[str, str | bytes]]) -> str:
        headers = [value for key, value in metadata if key.lower() == "authorization"]
        if not headers:
            raise Unauthenticated("This service asks for a bearer token in the `authorization` metadata.", reason="TOKEN_MISSING")
        if len(headers) > 1:
            # Two readers of such a call could each believe another one.
            raise Unauthenticated("The `authorization` metadata must be sent once.", reason="TOKEN_INVALID")
        text = headers[0].decode("latin-1") if isinstance(headers[0], bytes) else headers[0]
        scheme, _, token = text.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Unauthenticated("The `authorization` metadata must be `Bearer <token>`.", reason="TOKEN_MISSING")
        if len(token) > self._max_token_bytes:
            raise Unauthenticated(f"The bearer token has more than {self._max_token_bytes:,} bytes.", reason="TOKEN_INVALID")
        return token.strip()
