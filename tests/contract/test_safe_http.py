"""Fetching on behalf of a source, over real sockets: which addresses, how much, how often, and who gets the credentials."""

from __future__ import annotations

import contextlib
import gzip
import ssl
import sys
import time
import zlib
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

sys.path.insert(0, str(Path(__file__).parent.parent / "servers"))

from web_server import WebServer

from services.chassis.errors import CorellaError
from services.retriever.connectors.connector import PlaceRefused, PlaceUnreachable
from services.retriever.connectors.http_types import Answer, Credentials, FetchLimits, origin_of, redirected
from services.retriever.connectors.pinned_transport import AddressNotAllowed
from services.retriever.connectors.safe_http import SafeHttp
from services.retriever.structure import DocumentTooLarge

QUICK = FetchLimits(attempts=3, first_wait_seconds=0.01, most_wait_seconds=0.05, most_asked_wait_seconds=2.0, attempt_seconds=5.0)


@pytest.fixture
def site() -> Iterator[WebServer]:
    server = WebServer()
    with server:
        server.put("/", "home")
        yield server


@pytest.fixture
def other() -> Iterator[WebServer]:
    server = WebServer()
    with server:
        server.put("/", "other")
        yield server


@pytest.fixture
async def http(site: WebServer) -> AsyncIterator[SafeHttp]:
    async with contextlib.aclosing(SafeHttp(QUICK, [site.host])) as client:
        yield client


async def refused(url: str, limits: FetchLimits = QUICK, **more: object) -> CorellaError:
    async with contextlib.aclosing(SafeHttp(limits, **more)) as client:  # type: ignore[arg-type]
        with pytest.raises(CorellaError) as caught:
            await client.fetch(url)
        return caught.value


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "localhost", "LOCALHOST", "2130706433", "0x7f000001", "0x7f.1", "127.1", "0.0.0.0"),
        *("[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::]"),
    ],
)
async def test_a_server_on_this_machine_is_not_reached_however_its_address_is_written(host: str, site: WebServer) -> None:
    error = await refused(f"http://{host}:{site.port}/")
    assert isinstance(error, AddressNotAllowed)
    assert error.reason == "ADDRESS_NOT_ALLOWED"
    assert "127.0.0.1" not in error.message or "127.0.0.1" in host
    assert site.requests == []


@pytest.mark.parametrize(
    "url", ["http://0177.0.0.1/", "http://user:pw@127.0.0.1/", "file:///etc/passwd", "gopher://127.0.0.1/", "http://x\\@y/"]
)
async def test_what_is_no_plain_url_of_the_web_is_refused(url: str) -> None:
    error = await refused(url)
    assert isinstance(error, PlaceRefused)
    assert "pw" not in error.message


@pytest.mark.parametrize("host", ["169.254.169.254", "10.0.0.1", "192.168.0.1", "100.100.100.200", "[fd00:ec2::254]", "[fe80::1]"])
async def test_metadata_and_private_addresses_are_not_reached(host: str) -> None:
    assert isinstance(await refused(f"http://{host}/latest/meta-data/"), AddressNotAllowed)


async def test_a_name_that_resolves_to_loopback_is_not_reached(site: WebServer) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return ["93.184.215.14", "127.0.0.1"]

    error = await refused(f"http://inner.example.com:{site.port}/", resolve=resolve)
    assert isinstance(error, AddressNotAllowed)
    assert site.requests == []


async def test_what_is_connected_to_is_what_was_checked(site: WebServer) -> None:
    """The name server says something else each time; there is no second question between check and connection."""
    answers = [["127.0.0.1"], ["10.0.0.1"]]
    asked = []

    async def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return answers.pop(0)

    async with contextlib.aclosing(SafeHttp(QUICK, ["rebinding.example"], resolve=resolve)) as client:
        answer = await client.fetch(f"http://rebinding.example:{site.port}/")
    assert answer.content == b"home"
    assert asked == ["rebinding.example"]
    assert site.requests[0].headers["host"] == f"rebinding.example:{site.port}"


async def test_a_name_that_changes_its_mind_is_checked_anew(site: WebServer) -> None:
    """First public, then loopback: the second connection is refused, although the first was not."""
    answers = [["203.0.114.1"], ["127.0.0.1"]]

    async def resolve(host: str, port: int) -> list[str]:
        return answers.pop(0)

    limits = FetchLimits(attempts=2, connect_seconds=0.1, first_wait_seconds=0.01)
    error = await refused(f"http://rebinding.example:{site.port}/", limits, resolve=resolve)
    assert isinstance(error, AddressNotAllowed)
    assert answers == []
    assert site.requests == []


@pytest.mark.parametrize("target", ["http://169.254.169.254/latest/", "http://localhost:1/", "http://2130706433/", "//10.0.0.1/"])
async def test_a_redirect_into_the_network_is_not_followed(target: str, site: WebServer, http: SafeHttp) -> None:
    site.redirect("/away", target)
    with pytest.raises(AddressNotAllowed):
        await http.fetch(site.url + "/away")


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://x/", "http://user@x/", "http://", "javascript:1"])
async def test_a_redirect_away_from_the_web_is_refused(target: str, site: WebServer, http: SafeHttp) -> None:
    site.redirect("/away", target)
    with pytest.raises(PlaceRefused):
        await http.fetch(site.url + "/away")


async def test_a_redirect_from_https_to_http_is_refused() -> None:
    with pytest.raises(PlaceRefused, match="from https to http"):
        redirected(Answer("https://x.example/a", 302, {"location": "http://x.example/a"}, b""))
    assert redirected(Answer("http://x.example/a", 302, {"location": "/b"}, b"")) == "http://x.example/b"


async def test_redirects_come_to_an_end(site: WebServer, http: SafeHttp) -> None:
    site.redirect("/a", "/b")
    site.redirect("/b", "/a")
    with pytest.raises(PlaceRefused, match="redirects"):
        await http.fetch(site.url + "/a")
    assert len(site.requests) == QUICK.redirects + 1


async def test_credentials_go_to_their_origin_alone(site: WebServer, other: WebServer) -> None:
    site.redirect("/away", other.url + "/")
    site.redirect("/within", "/")
    credentials = Credentials("Bearer secret", origin_of(site.url))
    assert "secret" not in repr(credentials)
    async with contextlib.aclosing(SafeHttp(QUICK, [site.host, other.host])) as client:
        assert (await client.fetch(site.url + "/away", credentials=credentials)).content == b"other"
        assert (await client.fetch(site.url + "/within", credentials=credentials)).content == b"home"
    assert "authorization" not in other.requests[0].headers
    assert [asked.headers.get("authorization") for asked in site.requests] == ["Bearer secret"] * 3


async def test_cookies_and_proxies_are_not_used(site: WebServer, http: SafeHttp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    site.put("/set", "x", headers={"set-cookie": "session=1"})
    await http.fetch(site.url + "/set")
    await http.fetch(site.url + "/")
    assert "cookie" not in site.requests[-1].headers


async def test_too_much_is_refused_before_it_is_read(site: WebServer, http: SafeHttp) -> None:
    site.put("/big", b"x" * 200_000)
    site.put("/lying", b"x" * 10, headers={"content-length": "99999999999"})
    for path in ("/big", "/lying"):
        with pytest.raises(DocumentTooLarge):
            await http.fetch(site.url + path, max_bytes=100_000)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_a_bomb_is_refused_while_it_is_unpacked(coding: str, site: WebServer, http: SafeHttp) -> None:
    pack = gzip.compress if coding == "gzip" else zlib.compress
    site.put("/bomb", pack(b"\0" * 50_000_000), headers={"content-encoding": coding})
    site.put("/fine", pack(b"fine"), headers={"content-encoding": coding})
    with pytest.raises(DocumentTooLarge):
        await http.fetch(site.url + "/bomb", max_bytes=1_000_000)
    assert (await http.fetch(site.url + "/fine")).content == b"fine"


@pytest.mark.parametrize(
    ("coding", "content"),
    [("br", b"x"), ("gzip", b"no gzip"), ("gzip", gzip.compress(b"abc" * 100)[:-9])],
    ids=["not asked for", "no gzip", "cut off"],
)
async def test_a_coding_that_was_not_asked_for_or_is_broken_is_refused(
    coding: str, content: bytes, site: WebServer, http: SafeHttp
) -> None:
    site.put("/odd", content, headers={"content-encoding": coding})
    with pytest.raises(PlaceRefused):
        await http.fetch(site.url + "/odd")


async def test_busy_servers_are_asked_again_when_they_say(site: WebServer, http: SafeHttp) -> None:
    site.fail("^/$", code=429, headers={"retry-after": "1"})
    began = time.monotonic()
    assert (await http.fetch(site.url + "/")).content == b"home"
    assert time.monotonic() - began >= 1.0


async def test_failing_servers_and_lost_connections_are_asked_again(site: WebServer, http: SafeHttp) -> None:
    site.fail("^/$", code=503)
    site.fail("^/$", drop=True)
    assert (await http.fetch(site.url + "/")).content == b"home"
    assert len(site.requests) == 3


async def test_in_the_end_the_place_is_unreachable(site: WebServer, http: SafeHttp) -> None:
    site.fail("^/", code=500, times=-1)
    with pytest.raises(PlaceUnreachable) as caught:
        await http.fetch(site.url + "/?token=abc")
    assert len(site.requests) == QUICK.attempts
    assert "abc" not in caught.value.message


async def test_who_is_told_to_wait_for_long_does_not_wait_here(site: WebServer, http: SafeHttp) -> None:
    site.fail("^/$", code=429, headers={"retry-after": "3600"}, times=-1)
    with pytest.raises(PlaceUnreachable) as caught:
        await http.fetch(site.url + "/")
    assert caught.value.retry_after_seconds == 3600
    assert len(site.requests) == 1


async def test_a_server_that_drips_is_given_up(site: WebServer) -> None:
    site.fail("^/$", code=0, after_seconds=2.0, times=-1)
    async with contextlib.aclosing(SafeHttp(FetchLimits(attempts=1, attempt_seconds=0.3), [site.host])) as client:
        with pytest.raises(PlaceUnreachable, match="did not answer"):
            await client.fetch(site.url + "/")


async def test_a_server_that_is_gone_is_unreachable(site: WebServer, http: SafeHttp) -> None:
    site.stop()
    with pytest.raises(PlaceUnreachable):
        await http.fetch(site.url + "/")
    site.stop = lambda: None  # type: ignore[method-assign]


async def test_certificates_are_checked_against_the_name_and_not_the_address(tmp_path: Path) -> None:
    trusted = ssl.create_default_context(cafile=_certificate("site.example", tmp_path))
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(tmp_path / "both.pem")

    async def resolve(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    server = WebServer()
    server._server.socket = served.wrap_socket(server._server.socket, server_side=True)
    with server:
        server.put("/", "home")
        async with contextlib.aclosing(SafeHttp(QUICK, ["site.example", "other.example"], resolve, trusted)) as client:
            assert (await client.fetch(f"https://site.example:{server.port}/")).content == b"home"
            with pytest.raises(PlaceUnreachable, match="certificate"):
                await client.fetch(f"https://other.example:{server.port}/")
        async with contextlib.aclosing(SafeHttp(QUICK, ["site.example"], resolve)) as client:
            with pytest.raises(PlaceUnreachable, match="certificate"):
                await client.fetch(f"https://site.example:{server.port}/")


def _certificate(host: str, folder: Path) -> str:
    """A certificate that vouches for itself, for one host; written with its key to `both.pem`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    (folder / "both.pem").write_bytes(pem + key.private_bytes(serialization.Encoding.PEM, *plain))
    (folder / "certificate.pem").write_bytes(pem)
    return str(folder / "certificate.pem")


async def test_ports_of_other_services_are_not_asked() -> None:
    assert isinstance(await refused("http://1.1.1.1:6379/"), PlaceRefused)
