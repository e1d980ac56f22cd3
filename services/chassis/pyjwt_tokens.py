"""JSON Web Tokens and keys by PyJWT, which is imported here only."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import jwt
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from services.chassis.errors import Unauthenticated
from services.chassis.settings import OidcSettings

_FORM = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_RSA = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_BY_CURVE = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512", "Ed25519": "EdDSA"}
_MIN_RSA_BITS = 2048
_MAX_KEY_ID = 256


@dataclass(frozen=True)
class Header:
    """What of a token's header is believed, before anything is verified: only what selects among our own keys and algorithms."""

    algorithm: str
    key_id: str


@dataclass(frozen=True)
class PublicKey:
    """A key of the issuer and the algorithms it is for."""

    public: Any
    algorithms: frozenset[str]


def header(token: str, allowed: tuple[str, ...]) -> Header:
    """The header. Raises `Unauthenticated`."""
    if not _FORM.fullmatch(token):
        raise _refused("is not a JSON Web Token")
    try:
        fields = jwt.get_unverified_header(token)
    except (jwt.InvalidTokenError, RecursionError):
        raise _refused("is not a JSON Web Token") from None
    algorithm, key_id = fields.get("alg"), fields.get("kid")
    if not isinstance(algorithm, str) or algorithm not in allowed:
        raise _refused("is signed in a way that is not allowed here")
    if not isinstance(key_id, str) or not 0 < len(key_id) <= _MAX_KEY_ID:
        raise _refused("does not say which key signed it")
    if "crit" in fields:
        raise _refused("asks for something that is not understood here")
    return Header(algorithm, key_id)


def claims(token: str, key: Any, algorithm: str, settings: OidcSettings) -> dict[str, Any]:
    """The claims of a token that `key` signed with `algorithm`, for us, now. Raises `Unauthenticated`."""
    try:
        found: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            audience=settings.audience,
            issuer=settings.issuer,
            leeway=settings.clock_skew_seconds,
            options={"require": ["exp", "iat", "iss", "aud"], "enforce_minimum_key_length": True},
        )
    except jwt.ExpiredSignatureError:
        raise Unauthenticated("The bearer token has expired.", reason="TOKEN_EXPIRED") from None
    except jwt.ImmatureSignatureError:
        raise Unauthenticated("The bearer token is not valid yet; look at the clocks.", reason="TOKEN_NOT_YET_VALID") from None
    except jwt.InvalidAudienceError:
        raise _refused("is for somebody else") from None
    except jwt.InvalidIssuerError:
        raise _refused("is of another issuer") from None
    except jwt.MissingRequiredClaimError:
        raise _refused("lacks one of `exp`, `iat`, `iss` and `aud`") from None
    except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError):
        raise _refused("is not signed by the issuer") from None
    return found


def public_keys(document: Any) -> dict[str, PublicKey]:
    """The keys of a JSON Web Key Set (RFC 7517) by their ids; what is not for signatures, secret or too weak is left out.

    Raises `ValueError` when it is no set of keys.
    """
    if not isinstance(document, dict) or not isinstance(document.get("keys"), list):
        raise ValueError("the issuer's answer is no set of keys")
    found: dict[str, PublicKey] = {}
    for each in document["keys"]:
        if isinstance(each, dict) and isinstance(each.get("kid"), str) and each["kid"] not in found:
            key = _public_key(each)
            if key is not None:
                found[each["kid"]] = key
    return found


def _public_key(fields: dict[str, Any]) -> PublicKey | None:
    if fields.get("use", "sig") != "sig" or "d" in fields:
        return None
    public: Any
    try:
        match fields.get("kty"):
            case "RSA":
                public, fits = RSAAlgorithm.from_jwk(json.dumps(fields)), _RSA
                if public.key_size < _MIN_RSA_BITS:
                    return None
            case "EC":
                public, fits = ECAlgorithm.from_jwk(json.dumps(fields)), frozenset({_BY_CURVE[fields["crv"]]})
            case "OKP":
                public, fits = OKPAlgorithm.from_jwk(json.dumps(fields)), frozenset({_BY_CURVE[fields["crv"]]})
            case _:
                return None
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
    stated = fields.get("alg")
    return PublicKey(public, fits if stated is None else fits & {stated})


def _refused(why: str) -> Unauthenticated:
    return Unauthenticated(f"The bearer token {why}.", reason="TOKEN_INVALID")
