"""People's tokens against an issuer of our own: what is believed, and every attack we could think of."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from pydantic import ValidationError

from services.chassis.authentication import Authenticator
from services.chassis.errors import CorellaError, Unauthenticated, Unavailable
from services.chassis.identity import Caller
from services.chassis.oidc import OidcTokens, claim
from services.chassis.settings import AuthSettings, OidcSettings, ServerSettings

sys.path.insert(0, str(Path(__file__).parents[2] / "servers"))
from oidc_issuer import AUDIENCE, OidcIssuer


@pytest.fixture
def issuer() -> Iterator[OidcIssuer]:
    started = OidcIssuer()
    yield started
    started.close()


def settings(issuer: OidcIssuer, **changes: Any) -> OidcSettings:
    return OidcSettings(issuer=issuer.issuer, audience=AUDIENCE, **changes)


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def reason(call: Awaitable[Any]) -> str:
    with pytest.raises(CorellaError) as caught:
        await call
    return caught.value.reason


async def test_a_good_token_names_its_caller(issuer: OidcIssuer):
    found = await OidcTokens(settings(issuer)).verify(issuer.token())
    assert found == Caller("ann", "acme", "ann", frozenset({"hr", "eng"}), frozenset({"reader"}))


async def test_rsa_keys_work_too(issuer: OidcIssuer):
    issuer.rotate("rsa", kind="RSA")
    assert (await OidcTokens(settings(issuer)).verify(issuer.token())).user == "ann"


def part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def unsigned(issuer: OidcIssuer, algorithm: str) -> str:
    return f"{part({'alg': algorithm, 'kid': issuer.key_id})}.{part(issuer.claims())}."


def signed_with_the_public_key(issuer: OidcIssuer) -> str:
    import hashlib
    import hmac

    body = f"{part({'alg': 'HS256', 'kid': issuer.key_id})}.{part(issuer.claims())}"
    digest = hmac.new(issuer.public_pem(), body.encode(), hashlib.sha256).digest()
    return f"{body}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


def changed_payload(issuer: OidcIssuer) -> str:
    header, _, signature = issuer.token().split(".")
    return f"{header}.{part(issuer.claims(tenant='other'))}.{signature}"


def own_key(issuer: OidcIssuer, **header: Any) -> str:
    return issuer.token(key=ec.generate_private_key(ec.SECP256R1()), header=header)


ATTACKS: dict[str, tuple[str, Callable[[OidcIssuer], str]]] = {
    "no algorithm": ("TOKEN_INVALID", lambda i: unsigned(i, "none") + "x"),
    "no algorithm, no signature": ("TOKEN_INVALID", lambda i: unsigned(i, "none")),
    "no algorithm, otherwise written": ("TOKEN_INVALID", lambda i: unsigned(i, "NoNe") + "x"),
    "HMAC with the public key": ("TOKEN_INVALID", signed_with_the_public_key),
    "an algorithm that is not allowed": (
        "TOKEN_INVALID", lambda i: i.token(key=rsa.generate_private_key(65537, 2048), algorithm="RS512")
    ),
    "an algorithm that does not fit the key": (
        "TOKEN_INVALID", lambda i: i.token(key=rsa.generate_private_key(65537, 2048), algorithm="RS256")
    ),
    "another's key under our id": ("TOKEN_INVALID", own_key),
    "an id that is not known": ("TOKEN_INVALID", lambda i: own_key(i, kid="key-9")),
    "no id": ("TOKEN_INVALID", lambda i: own_key(i, kid=None)),
    "a key of its own in the header": ("TOKEN_INVALID", lambda i: own_key(i, jwk={"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"})),
    "an address of keys in the header": ("TOKEN_INVALID", lambda i: own_key(i, jku="http://127.0.0.1:9/keys", x5u="http://127.0.0.1:9/")),
    "a demand in the header": ("TOKEN_INVALID", lambda i: i.token(header={"crit": ["b64"], "b64": True})),
    "a path as id": ("TOKEN_INVALID", lambda i: own_key(i, kid="../../dev/null")),
    "changed claims": ("TOKEN_INVALID", changed_payload),
    "another audience": ("TOKEN_INVALID", lambda i: i.token(aud="mail")),
    "no audience": ("TOKEN_INVALID", lambda i: i.token(aud=None)),
    "another issuer": ("TOKEN_INVALID", lambda i: i.token(iss="https://evil.example")),
    "an issuer that begins like ours": ("TOKEN_INVALID", lambda i: i.token(iss=i.issuer + "/")),
    "no issuer": ("TOKEN_INVALID", lambda i: i.token(iss=None)),
    "expired": ("TOKEN_EXPIRED", lambda i: i.token(exp=int(time.time()) - 60)),
    "never expires": ("TOKEN_INVALID", lambda i: i.token(exp=None)),
    "expires in words": ("TOKEN_INVALID", lambda i: i.token(exp="tomorrow")),
    "not valid yet": ("TOKEN_NOT_YET_VALID", lambda i: i.token(nbf=int(time.time()) + 120)),
    "made in the future": ("TOKEN_NOT_YET_VALID", lambda i: i.token(iat=int(time.time()) + 120)),
    "not said when made": ("TOKEN_INVALID", lambda i: i.token(iat=None)),
    "no tenant": ("TENANT_MISSING", lambda i: i.token(tenant=None)),
    "a path as tenant": ("CLAIMS_INVALID", lambda i: i.token(tenant="../x")),
    "a tenant in capitals": ("CLAIMS_INVALID", lambda i: i.token(tenant="ACME")),
    "a tenant with a line end": ("CLAIMS_INVALID", lambda i: i.token(tenant="acme\n")),
    "a list of tenants": ("CLAIMS_INVALID", lambda i: i.token(tenant=["acme", "other"])),
    "no user": ("CLAIMS_INVALID", lambda i: i.token(sub="")),
    "a user with a control character": ("CLAIMS_INVALID", lambda i: i.token(sub="ann\x00")),
    "too many groups": ("CLAIMS_INVALID", lambda i: i.token(groups=[f"g{number}" for number in range(501)])),
    "groups that are none": ("CLAIMS_INVALID", lambda i: i.token(groups=[{"name": "hr"}])),
    "roles that are none": ("CLAIMS_INVALID", lambda i: i.token(roles={"admin": True})),
    "too long": ("TOKEN_INVALID", lambda i: i.token(padding="x" * 20_000)),
    "no token at all": ("TOKEN_INVALID", lambda i: "a.b.c"),
    "nested beyond reason": ("TOKEN_INVALID", lambda i: part({"alg": "ES256"})[:-2] + "." + "W1tb" * 3000 + ".AA"),
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
async def test_an_attack_is_refused_with_its_reason_and_without_the_token(issuer: OidcIssuer, name: str):
    expected, make = ATTACKS[name]
    token = make(issuer)
    authenticator = Authenticator(AuthSettings(oidc=settings(issuer)))
    with pytest.raises(Unauthenticated) as caught:
        await authenticator.authenticate([("authorization", f"Bearer {token}")])
    assert caught.value.reason == expected
    told = f"{caught.value.message} {dict(caught.value.metadata)} {caught.value.__cause__}"
    assert not any(piece in told for piece in token.split(".") if len(piece) > 3)
    assert not {path for path in issuer.asked if path not in ("/.well-known/openid-configuration", "/keys")}


async def test_clocks_may_differ_a_little(issuer: OidcIssuer):
    now = int(time.time())
    assert await OidcTokens(settings(issuer)).verify(issuer.token(exp=now - 10, nbf=now + 10, iat=now + 10))


async def test_a_verified_token_is_not_believed_beyond_its_end(issuer: OidcIssuer, monkeypatch: pytest.MonkeyPatch):
    # Long enough to be verified on a busy machine.
    ends = int(time.time()) + 3
    tokens, token = OidcTokens(settings(issuer, clock_skew_seconds=0)), issuer.token(exp=ends)
    assert await tokens.verify(token)
    await asyncio.sleep(ends + 0.1 - time.time())
    assert await reason(tokens.verify(token)) == "TOKEN_EXPIRED"


async def test_after_a_rotation_new_tokens_are_good_and_old_ones_are_not(issuer: OidcIssuer):
    clock = Clock()
    tokens, old = OidcTokens(settings(issuer), clock), issuer.token()
    assert await tokens.verify(old)
    issuer.rotate("key-2")
    clock.now += 20
    assert await tokens.verify(issuer.token())
    assert await reason(tokens.verify(old)) == "TOKEN_INVALID"


async def test_unknown_ids_do_not_make_us_ask_the_issuer_over_and_over(issuer: OidcIssuer):
    clock = Clock()
    tokens = OidcTokens(settings(issuer), clock)
    assert await tokens.verify(issuer.token())
    clock.now += 20
    before = issuer.asked.count("/keys")
    forged = [own_key(issuer, kid=f"key-{number}") for number in range(50)]
    assert await asyncio.gather(*(reason(tokens.verify(each)) for each in forged)) == ["TOKEN_INVALID"] * 50
    assert issuer.asked.count("/keys") == before + 1


async def test_while_the_issuer_is_away_its_keys_are_kept_for_the_stated_time_and_no_longer(issuer: OidcIssuer):
    clock = Clock()
    tokens, token = OidcTokens(settings(issuer, refresh_seconds=60, max_stale_seconds=600), clock), issuer.token()
    assert await tokens.verify(token)
    issuer.away = True
    for _ in range(9):
        clock.now += 60
        assert await tokens.verify(token)
        await asyncio.sleep(0.02)
    clock.now += 120
    assert await reason(tokens.verify(token)) == "ISSUER_UNAVAILABLE"
    issuer.away = False
    clock.now += 20
    assert await tokens.verify(token)


async def test_a_new_key_that_cannot_be_fetched_is_no_fault_of_the_caller(issuer: OidcIssuer):
    clock = Clock()
    tokens = OidcTokens(settings(issuer), clock)
    assert await tokens.verify(issuer.token())
    issuer.rotate("key-2")
    issuer.away = True
    clock.now += 20
    with pytest.raises(Unavailable):
        await tokens.verify(issuer.token())


async def test_an_issuer_that_was_never_there_lets_nobody_in():
    absent = OidcSettings(issuer="http://127.0.0.1:1", audience=AUDIENCE)
    assert await reason(OidcTokens(absent).verify("a.b.c")) == "ISSUER_UNAVAILABLE"


@pytest.mark.parametrize("answer", [b"", b"[]", b'{"keys": 3}', b"[" * 100_000, b"x" * (2**20 + 2), b'{"keys": [{"kid": "key-1"}]}'])
async def test_an_answer_that_is_no_set_of_keys_opens_nothing(issuer: OidcIssuer, answer: bytes):
    issuer.answer = answer
    assert await reason(OidcTokens(settings(issuer)).verify(issuer.token())) in {"ISSUER_UNAVAILABLE", "TOKEN_INVALID"}


async def test_an_issuer_does_not_send_us_elsewhere(issuer: OidcIssuer):
    issuer.redirect_to = f"{issuer.url}/elsewhere"
    assert await reason(OidcTokens(settings(issuer)).verify(issuer.token())) == "ISSUER_UNAVAILABLE"
    assert "/elsewhere" not in issuer.asked


async def test_a_discovery_document_of_another_issuer_is_not_believed(issuer: OidcIssuer):
    issuer.issuer = "https://other.example"
    here = OidcSettings(issuer=issuer.url, audience=AUDIENCE)
    assert await reason(OidcTokens(here).verify(issuer.token())) == "ISSUER_UNAVAILABLE"


async def test_weak_and_secret_keys_of_a_set_are_left_out(issuer: OidcIssuer):
    weak = rsa.generate_private_key(65537, 1024)
    issuer.keys["weak"] = weak
    assert await reason(OidcTokens(settings(issuer)).verify(issuer.token(key=weak, header={"kid": "weak"}))) == "TOKEN_INVALID"


async def test_fetching_keys_does_not_hold_up_other_work(issuer: OidcIssuer):
    slow = OidcIssuer._content

    def delayed(self: OidcIssuer, path: str) -> bytes | None:
        time.sleep(0.3)
        return slow(self, path)

    issuer._content = delayed.__get__(issuer)  # type: ignore[method-assign]
    verifying = asyncio.create_task(OidcTokens(settings(issuer)).verify(issuer.token()))
    turns = 0
    while not verifying.done():
        await asyncio.sleep(0.005)
        turns += 1
    assert (await verifying).user == "ann"
    # However busy the machine is: a loop that was held up would have had a turn or two in 0.6 s.
    assert turns > 10


@pytest.mark.parametrize(
    ("changes", "claims", "roles"),
    [
        ({"roles_claim": "realm_access.roles"}, {"realm_access": {"roles": ["writer", "offline_access"]}}, {"writer"}),
        ({"roles_claim": "https://x.example/roles"}, {"https://x.example/roles": ["admin"]}, {"admin"}),
        ({"roles_claim": "scope"}, {"scope": "openid reader trainer"}, {"reader", "trainer"}),
        ({"role_mapping": {"Docs Editors": "writer"}}, {"roles": ["Docs Editors", "reader"]}, {"writer", "reader"}),
        ({"role_mapping": {"admin": "reader"}}, {"roles": ["admin"]}, {"reader"}),
        ({}, {"roles": ["service", "root"]}, set()),
        ({"role_mapping": {"backend": "service"}}, {"roles": ["backend"]}, {"service"}),
        ({"default_roles": ["reader"]}, {"roles": None}, {"reader"}),
        ({"roles_claim": ""}, {"roles": ["admin"]}, set()),
    ],
)
async def test_roles_come_from_where_the_settings_say(issuer: OidcIssuer, changes: dict, claims: dict, roles: set):
    assert (await OidcTokens(settings(issuer, **changes)).verify(issuer.token(**claims))).roles == roles


async def test_a_default_tenant_takes_in_tokens_without_one(issuer: OidcIssuer):
    tokens = OidcTokens(settings(issuer, default_tenant="acme"))
    assert (await tokens.verify(issuer.token(tenant=None))).tenant == "acme"
    assert (await tokens.verify(issuer.token(tenant="other"))).tenant == "other"


async def test_a_token_that_says_it_reads_everything_does_not(issuer: OidcIssuer):
    assert not (await OidcTokens(settings(issuer)).verify(issuer.token(reads_everything=True))).reads_everything


def test_a_path_through_what_is_no_object_leads_nowhere():
    assert claim({"a": ["b"]}, "a.b") is None
    assert claim({"a": {"b": {"c": 1}}}, "a.b.c") == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"issuer": "https://x.example"},
        {"issuer": "http://x.example", "audience": "a"},
        {"issuer": "https://x.example", "audience": "a", "jwks_url": "http://x.example/keys"},
        {"issuer": "https://x.example", "audience": "a", "jwks_url": "file:///etc/passwd"},
        {"issuer": "https://x.example", "audience": "a", "algorithms": ["HS256"]},
        {"issuer": "https://x.example", "audience": "a", "algorithms": ["none"]},
        {"issuer": "https://x.example", "audience": "a", "algorithms": []},
        {"issuer": "https://x.example", "audience": "a", "default_tenant": "../x"},
        {"issuer": "https://x.example", "audience": "a", "role_mapping": {"x": "root"}},
    ],
)
def test_settings_that_would_let_others_in_are_refused(wrong: dict):
    with pytest.raises(ValidationError):
        OidcSettings(**wrong)


def test_an_issuer_is_authentication_enough_to_listen_to_others():
    oidc = OidcSettings(issuer="https://x.example", audience="a")
    assert ServerSettings(port=0, host="0.0.0.0", auth=AuthSettings(oidc=oidc))
    with pytest.raises(ValidationError):
        ServerSettings(port=0, host="0.0.0.0")


async def test_verifying_costs_less_than_a_millisecond(issuer: OidcIssuer):
    """The best of several runs, because the machine may be busy."""
    tokens = OidcTokens(settings(issuer))
    made = [issuer.token(number=number) for number in range(60)]
    await tokens.verify(made.pop())
    best = float("inf")
    for token in made:
        began = time.perf_counter()
        await tokens.verify(token)
        best = min(best, time.perf_counter() - began)
    assert best < 1e-3
