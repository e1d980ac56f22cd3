"""Who is calling, over real sockets: tokens of people and services, roles, and acting for somebody else, through two services in a row."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from corella.client import Acting, Addresses, Corella
from corella.errors import RpcFailure
from corella.v1 import embedder_pb2, embedder_pb2_grpc, retriever_pb2, retriever_pb2_grpc
from services.chassis import identity
from services.chassis.acting import CALLER_KEY, MAX_BYTES, decode, encode
from services.chassis.channel import Remote
from services.chassis.errors import PermissionDenied, Unauthenticated
from services.chassis.identity import LOCAL, Caller, acting_for
from services.chassis.server import make_server
from services.chassis.settings import AuthSettings, ClientSettings, OidcSettings, ServerSettings
from services.embedder.rules import RULES as EMBEDDER_RULES
from services.retriever.rules import RULES as RETRIEVER_RULES

sys.path.insert(0, str(Path(__file__).parents[2] / "servers"))
from oidc_issuer import AUDIENCE, OidcIssuer

ANN = Caller("ann", "acme", "ann", frozenset({"hr", "entwicklung für alle"}), frozenset({"reader"}))
FULL_NAME = "corella.v1.RetrieverService"
OPEN = AuthSettings()


class Embedder(embedder_pb2_grpc.EmbedderServiceServicer):
    """Notes who calls."""

    def __init__(self) -> None:
        self.callers: list[Caller] = []

    async def Embed(self, request: Any, context: Any) -> embedder_pb2.EmbedResponse:
        self.callers.append(identity.current())
        return embedder_pb2.EmbedResponse()


class Retriever(retriever_pb2_grpc.RetrieverServiceServicer):
    """Notes who calls, and asks the embedder if it has one."""

    def __init__(self, embedder: Remote | None = None) -> None:
        self.embedder = embedder
        self.callers: list[Caller] = []

    async def Search(self, request: Any, context: Any) -> retriever_pb2.SearchResponse:
        caller = await asyncio.create_task(_current())
        self.callers.append(caller)
        assert await asyncio.to_thread(identity.current) == caller
        if self.embedder is not None:
            stub = embedder_pb2_grpc.EmbedderServiceStub(self.embedder.channel)
            await self.embedder.call(stub.Embed, embedder_pb2.EmbedRequest(texts=["a"]))
        return retriever_pb2.SearchResponse()

    async def DeleteCorpus(self, request: Any, context: Any) -> retriever_pb2.DeleteCorpusResponse:
        self.callers.append(identity.current())
        return retriever_pb2.DeleteCorpusResponse()


async def _current() -> Caller:
    return identity.current()


@asynccontextmanager
async def listening(servicer: Any, add: Any, name: str, rules: Any, auth: AuthSettings) -> AsyncIterator[int]:
    server, _, port = make_server(ServerSettings(port=0, auth=auth), lambda s: add(servicer, s), name, rules)
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)


@asynccontextmanager
async def retrieving(auth: AuthSettings = OPEN, rules: Any = RETRIEVER_RULES, embedder: Remote | None = None) -> Any:
    servicer = Retriever(embedder)
    add = retriever_pb2_grpc.add_RetrieverServiceServicer_to_server
    async with (
        listening(servicer, add, FULL_NAME, rules, auth) as port,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        yield servicer, retriever_pb2_grpc.RetrieverServiceStub(channel), port


def tokens(folder: Path) -> AuthSettings:
    lines = {"service": "roles=service", "script": "roles=writer tenant=acme", "old": "", "ann": "user=ann roles=reader tenant=acme"}
    path = folder / "tokens"
    path.write_text("".join(f"{name}:{hashlib.sha256(name.encode()).hexdigest()} {rest}\n" for name, rest in lines.items()))
    return AuthSettings(tokens_file=path)


def bearer(token: str) -> tuple[str, str]:
    return ("authorization", f"Bearer {token}")


async def refusal(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    failure = RpcFailure.from_rpc_error(caught.value)
    return failure.code, failure.reason


SEARCH = retriever_pb2.SearchRequest(corpus="corpora/a")
DELETE = retriever_pb2.DeleteCorpusRequest(name="corpora/a")


@pytest.fixture
def issuer() -> Iterator[OidcIssuer]:
    started = OidcIssuer()
    yield started
    started.close()


async def test_without_authentication_the_owner_of_the_machine_calls():
    async with retrieving() as (servicer, stub, _):
        await stub.Search(SEARCH)
    assert servicer.callers == [LOCAL]


async def test_a_role_opens_what_it_is_for_and_nothing_else(tmp_path: Path):
    async with retrieving(tokens(tmp_path)) as (servicer, stub, _):
        await stub.Search(SEARCH, metadata=[bearer("ann")])
        await stub.DeleteCorpus(DELETE, metadata=[bearer("script")])
        await stub.DeleteCorpus(DELETE, metadata=[bearer("old")])
        denied = await refusal(stub.DeleteCorpus(DELETE, metadata=[bearer("ann")]))
        assert denied == (grpc.StatusCode.PERMISSION_DENIED, "ROLE_MISSING")
        with pytest.raises(grpc.aio.AioRpcError, match="asks for the role `writer`"):
            await stub.DeleteCorpus(DELETE, metadata=[bearer("ann")])
        # Without a person a service reads nothing.
        assert (await refusal(stub.Search(SEARCH, metadata=[bearer("service")])))[1] == "ROLE_MISSING"
    assert [each.name for each in servicer.callers] == ["ann", "script", "old"]


async def test_a_method_without_a_rule_is_refused_to_everyone():
    rules = {method: role for method, role in RETRIEVER_RULES.items() if not method.endswith("/Search")}
    async with retrieving(rules=rules) as (servicer, stub, _):
        assert await refusal(stub.Search(SEARCH)) == (grpc.StatusCode.PERMISSION_DENIED, "RULE_MISSING")
    assert servicer.callers == []


async def test_tokens_of_both_kinds_are_known_at_once(tmp_path: Path, issuer: OidcIssuer):
    auth = tokens(tmp_path).model_copy(update={"oidc": OidcSettings(issuer=issuer.url, audience=AUDIENCE)})
    async with retrieving(auth) as (servicer, stub, _):
        await stub.Search(SEARCH, metadata=[bearer("old")])
        await stub.Search(SEARCH, metadata=[bearer(issuer.token())])
        for bad, why in [("unknown", "TOKEN_INVALID"), ("a.b.c", "TOKEN_INVALID"), (issuer.token(tenant=None), "TENANT_MISSING")]:
            assert await refusal(stub.Search(SEARCH, metadata=[bearer(bad)])) == (grpc.StatusCode.UNAUTHENTICATED, why)
        issuer.away = True
    assert [(each.tenant, each.user) for each in servicer.callers] == [("default", ""), ("acme", "ann")]


async def test_an_issuer_that_is_away_from_the_beginning_closes_the_service(issuer: OidcIssuer):
    issuer.away = True
    async with retrieving(AuthSettings(oidc=OidcSettings(issuer=issuer.url, audience=AUDIENCE))) as (_, stub, _port):
        refused = await refusal(stub.Search(SEARCH, metadata=[bearer(issuer.token())]))
        assert refused == (grpc.StatusCode.UNAVAILABLE, "ISSUER_UNAVAILABLE")


async def test_a_token_with_hundreds_of_groups_fits(issuer: OidcIssuer):
    groups = [f"{number:032x}" for number in range(250)]
    async with retrieving(AuthSettings(oidc=OidcSettings(issuer=issuer.url, audience=AUDIENCE))) as (servicer, stub, _):
        await stub.Search(SEARCH, metadata=[bearer(issuer.token(groups=groups))])
    assert servicer.callers[0].groups == frozenset(groups)


async def test_a_person_goes_along_from_service_to_service(tmp_path: Path, issuer: OidcIssuer):
    """A person calls the retriever; the retriever calls the embedder with its own token, for that person."""
    token_file = tmp_path / "own"
    token_file.write_text("service")
    embedder = Embedder()
    add = embedder_pb2_grpc.add_EmbedderServiceServicer_to_server
    async with listening(embedder, add, "corella.v1.EmbedderService", EMBEDDER_RULES, tokens(tmp_path)) as port:
        remote = Remote("embedder", ClientSettings(address=f"127.0.0.1:{port}", token_file=token_file))
        people = AuthSettings(oidc=OidcSettings(issuer=issuer.url, audience=AUDIENCE))
        async with retrieving(people, embedder=remote) as (_, stub, _port):
            await stub.Search(SEARCH, metadata=[bearer(issuer.token(groups=["hr"]))])
            await asyncio.gather(*(stub.Search(SEARCH, metadata=[bearer(issuer.token(sub=f"u{number}"))]) for number in range(8)))
        # Work for nobody is done as the service itself.
        await remote.call(embedder_pb2_grpc.EmbedderServiceStub(remote.channel).Embed, embedder_pb2.EmbedRequest(texts=["a"]))
        await remote.close()
    assert embedder.callers[0] == Caller("ann", "acme", "ann", frozenset({"hr"}), frozenset({"reader"}))
    assert sorted(each.user for each in embedder.callers[1:9]) == [f"u{number}" for number in range(8)]
    assert embedder.callers[9] == Caller("service", roles=frozenset({"service"}))


async def test_a_worker_acts_for_whoever_gave_the_work():
    async with retrieving() as (servicer, _, port):
        remote = Remote("retriever", ClientSettings(address=f"127.0.0.1:{port}"))
        stub = retriever_pb2_grpc.RetrieverServiceStub(remote.channel)
        with acting_for(ANN):
            await asyncio.create_task(remote.call(stub.Search, SEARCH))
        await remote.call(stub.Search, SEARCH)
        await remote.close()
    assert servicer.callers == [ANN, LOCAL]
    assert identity.current_or_none() is None


async def test_only_a_service_may_act_for_others(tmp_path: Path):
    async with retrieving(tokens(tmp_path)) as (servicer, stub, _):
        for name in ("ann", "script"):
            refused = await refusal(stub.Search(SEARCH, metadata=[bearer(name), (CALLER_KEY, encode(ANN))]))
            assert refused == (grpc.StatusCode.PERMISSION_DENIED, "ACTING_NOT_ALLOWED")
        refused = await refusal(stub.Search(SEARCH, metadata=[(CALLER_KEY, encode(ANN))]))
        assert refused == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING")
        await stub.Search(SEARCH, metadata=[bearer("service"), (CALLER_KEY, encode(ANN))])
        # A service has no more to say than the person it acts for.
        assert (await refusal(stub.DeleteCorpus(DELETE, metadata=[bearer("old"), (CALLER_KEY, encode(ANN))])))[1] == "ROLE_MISSING"
    assert servicer.callers == [ANN]


@pytest.mark.parametrize(
    "value",
    [
        b"", b"{", b"[]", b"null", b"[" * 50_000, b'{"tenant": "../x"}', b'{"tenant": "A"}', b'{"tenant": null}', b'{"user": 3}',
        b'{"groups": "hr"}', b'{"groups": [""]}', b'{"groups": [3]}', b'{"roles": ["root"]}', b'{"roles": null}', b'{"superuser": true}',
        b'{"reads_everything": "yes"}', b'{"user": "a\\u0000"}', json.dumps({"groups": [str(n) for n in range(1001)]}).encode(),
        b" " * (MAX_BYTES + 1),
    ],
)  # fmt: skip
def test_metadata_that_names_nobody_is_refused(value: bytes):
    with pytest.raises(Unauthenticated) as caught:
        decode(value)
    assert caught.value.reason == "CALLER_INVALID"


def test_a_caller_comes_back_as_it_was_sent():
    for caller in (ANN, LOCAL, Caller("x", groups=frozenset(f"{n:0100x}" for n in range(500)))):
        assert decode(encode(caller)) == caller


async def test_a_person_with_very_many_groups_goes_along():
    many = Caller("ann", "acme", "ann", frozenset(f"{number:0100x}" for number in range(500)), frozenset({"reader"}))
    async with retrieving() as (servicer, _, port):
        remote = Remote("retriever", ClientSettings(address=f"127.0.0.1:{port}"))
        with acting_for(many):
            await remote.call(retriever_pb2_grpc.RetrieverServiceStub(remote.channel).Search, SEARCH)
        await remote.close()
    assert servicer.callers == [many]


async def test_two_persons_in_one_call_are_refused():
    async with retrieving() as (_, stub, _port):
        twice = [(CALLER_KEY, encode(ANN)), (CALLER_KEY, encode(LOCAL))]
        assert (await refusal(stub.Search(SEARCH, metadata=twice)))[0] is grpc.StatusCode.UNAUTHENTICATED


async def test_the_client_acts_as_somebody_on_a_machine_without_authentication():
    async with retrieving() as (servicer, _, port):

        def ask() -> None:
            with Corella(Addresses(retriever=f"127.0.0.1:{port}"), acting=Acting("ann", frozenset({"hr"}), tenant="acme")) as client:
                client.retriever.Search(SEARCH)

        await asyncio.to_thread(ask)
    assert servicer.callers == [Caller("ann", "acme", "ann", frozenset({"hr"}), frozenset({"reader", "writer", "trainer"}))]


async def test_the_client_of_a_person_cannot_act_as_another(tmp_path: Path):
    async with retrieving(tokens(tmp_path)) as (_, _stub, port):
        remote = Remote("retriever", ClientSettings(address=f"127.0.0.1:{port}", token_file=_written(tmp_path, "ann")))
        with acting_for(ANN), pytest.raises(PermissionDenied):
            await remote.call(retriever_pb2_grpc.RetrieverServiceStub(remote.channel).Search, SEARCH)
        await remote.close()


def _written(folder: Path, text: str) -> Path:
    path = folder / "token"
    path.write_text(text)
    return path
