"""People's tokens: JSON Web Tokens (RFC 7519) of an OpenID Connect issuer, checked here without asking the issuer.

Checked: size, form, algorithm against the list allowed, key by its id in the issuer's own set (never one that the token brings:
`jwk`, `jku`, `x5u` and `x5c` are not read), signature, `iss`, `aud`, `exp`, `nbf`, `iat`, and that the claims name a tenant and a user.
What fails is refused with a reason and without repeating any of the token. Checking takes a fraction of a millisecond; the keys are
fetched beside the event loop.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from services.chassis import pyjwt_tokens
from services.chassis.acting import are_names, is_name
from services.chassis.errors import Unauthenticated
from services.chassis.identity import TENANT_ID, Caller
from services.chassis.issuer_keys import IssuerKeys
from services.chassis.roles import ALL_ROLES, Role
from services.chassis.settings import OidcSettings

_KEPT_TOKENS = 10_000


class OidcTokens:
    """Verifies tokens of one issuer for one audience."""

    def __init__(self, settings: OidcSettings, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` measures the age of the issuer's keys, in seconds."""
        self._settings = settings
        self.keys = IssuerKeys(settings, clock)
        self._verified: OrderedDict[bytes, tuple[Caller, float, int]] = OrderedDict()

    async def verify(self, token: str) -> Caller:
        """Whose token it is.

        Raises `Unauthenticated` (TOKEN_INVALID, TOKEN_EXPIRED, TOKEN_NOT_YET_VALID, TENANT_MISSING, CLAIMS_INVALID), `Unavailable`
        (ISSUER_UNAVAILABLE) while the keys that would tell are not to be had.
        """
        await self.keys.fresh()
        digest = hashlib.sha256(token.encode()).digest()
        if (known := self._verified.get(digest)) is not None:
            caller, expires, revision = known
            # A token is good no longer than the set of keys it was checked with.
            if expires > time.time() and revision == self.keys.revision:
                self._verified.move_to_end(digest)
                return caller
            del self._verified[digest]
        header = pyjwt_tokens.header(token, self._settings.algorithms)
        key = await self.keys.find(header.key_id)
        if key is None or header.algorithm not in key.algorithms:
            raise Unauthenticated("The bearer token is not signed with a key of the issuer.", reason="TOKEN_INVALID")
        claims = pyjwt_tokens.claims(token, key.public, header.algorithm, self._settings)
        caller = caller_of(claims, self._settings)
        self._verified[digest] = (caller, float(claims["exp"]) + self._settings.clock_skew_seconds, self.keys.revision)
        if len(self._verified) > _KEPT_TOKENS:
            self._verified.popitem(last=False)
        return caller


def caller_of(claims: dict[str, Any], settings: OidcSettings) -> Caller:
    """The caller that verified claims name. Raises `Unauthenticated`."""
    user = claim(claims, settings.user_claim)
    if not is_name(user):
        raise Unauthenticated(f"The bearer token names no user (`{settings.user_claim}`).", reason="CLAIMS_INVALID")
    tenant = claim(claims, settings.tenant_claim) if settings.tenant_claim else None
    if tenant is None:
        tenant = settings.default_tenant or None
    if tenant is None:
        raise Unauthenticated(f"The bearer token names no tenant (`{settings.tenant_claim}`).", reason="TENANT_MISSING")
    if not isinstance(tenant, str) or not TENANT_ID.fullmatch(tenant):
        raise Unauthenticated("The bearer token's tenant is no name of a tenant.", reason="CLAIMS_INVALID")
    groups = _names(claims, settings.groups_claim, settings.max_groups)
    given = _names(claims, settings.roles_claim, settings.max_groups)
    roles: set[str] = {settings.role_mapping[each] for each in given if each in settings.role_mapping}
    # To act for anybody is more than a name of a role that an issuer may use for something else: it has to be mapped.
    roles |= {each for each in given if each in ALL_ROLES and each != Role.SERVICE and each not in settings.role_mapping}
    return Caller(user, tenant, user, frozenset(groups), frozenset(roles | set(settings.default_roles)))


def claim(claims: dict[str, Any], path: str) -> Any:
    """The claim of that name, else the one at the end of a dotted path; None: there is none."""
    if path in claims:
        # Names with dots are common: `https://example.com/groups`.
        return claims[path]
    found: Any = claims
    for part in path.split("."):
        if not isinstance(found, dict) or part not in found:
            return None
        found = found[part]
    return found


def _names(claims: dict[str, Any], path: str, most: int) -> list[str]:
    given = claim(claims, path) if path else None
    if given is None:
        return []
    if isinstance(given, str):
        given = re.split(r"[ ,]+", given.strip()) if given.strip() else []
    if not are_names(given) or len(given) > most:
        # Cutting the list would take away rights in no order that anybody could foresee.
        raise Unauthenticated(f"The bearer token's `{path}` must be at most {most:,} names.", reason="CLAIMS_INVALID")
    return list(given)
