"""Mutual TLS over real sockets: who has no certificate gets nowhere, certificates change without a restart and without a lost call."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from structlog.testing import capture_logs

from corella.client import Addresses, Corella
from corella.errors import RpcFailure
from corella.v1 import embedder_pb2, embedder_pb2_grpc
from services.chassis.channel import Remote
from services.chassis.errors import Unauthenticated, Unavailable
from services.chassis.server import make_server
from services.chassis.settings import AuthSettings, ClientSettings, ServerSettings, TlsSettings
from services.embedder.rules import RULES

sys.path.insert(0, str(Path(__file__).parents[1] / "servers"))
from certificate_authority import CertificateAuthority, MountedSecret, Pair

NAME = "embedder.corella.svc"
TOKEN = "open sesame"

PROGRAM = """
import asyncio, sys
from contextlib import asynccontextmanager
from corella.v1 import embedder_pb2, embedder_pb2_grpc
from services.chassis.server import serve
from services.chassis.settings import ServerSettings, ServiceSettings, service_config
from services.embedder.rules import RULES

class Settings(ServiceSettings):
    model_config = service_config("SAMPLE")
    server: ServerSettings

class Servicer(embedder_pb2_grpc.EmbedderServiceServicer):
    async def Embed(self, request, context):
        await asyncio.sleep(float(request.texts[0]))
        return embedder_pb2.EmbedResponse(model_fingerprint="done")

@asynccontextmanager
async def build(settings, lifecycle):
    yield Servicer()

add = embedder_pb2_grpc.add_EmbedderServiceServicer_to_server
sys.exit(asyncio.run(serve("sample", Settings(), build, add, "corella.v1.EmbedderService", rules=RULES)))
"""


class Servicer(embedder_pb2_grpc.EmbedderServiceServicer):
    """Takes as long as the text says, and tells from which socket it was asked."""

    async def Embed(self, request: Any, context: Any) -> embedder_pb2.EmbedResponse:
        await asyncio.sleep(float(request.texts[0]))
        return embedder_pb2.EmbedResponse(model_fingerprint=context.peer())


@dataclass
class World:
    """A service with mutual TLS and tokens, and what it takes to call it."""

    folder: Path
    authority: CertificateAuthority
    server: MountedSecret
    client: MountedSecret
    port: int = 0

    @classmethod
    def prepare(cls, folder: Path) -> World:
        authority = CertificateAuthority()
        server = MountedSecret(folder / "server", authority.issue(NAME), authority.certificate)
        client = MountedSecret(folder / "client", authority.issue("retriever"), authority.certificate)
        (folder / "tokens").write_text(line(TOKEN))
        (folder / "token").write_text(TOKEN)
        return cls(folder, authority, server, client)

    def remote(self, **changed: Any) -> Remote:
        given = {
            "address": f"127.0.0.1:{self.port}",
            "server_name": NAME,
            "ca_file": self.client.ca_file,
            "certificate_file": self.client.certificate_file,
            "key_file": self.client.key_file,
            "token_file": self.folder / "token",
            "timeout_seconds": 10,
        }
        return Remote("embedder", ClientSettings(**{**given, **changed}))


def environment(folder: Path, server: MountedSecret, port: int, health_port: int, metrics_port: int) -> dict[str, str]:
    settings = {
        "SERVER__PORT": port,
        "SERVER__HEALTH_PORT": health_port,
        "SERVER__TLS__CERTIFICATE_FILE": server.certificate_file,
        "SERVER__TLS__KEY_FILE": server.key_file,
        "SERVER__TLS__CLIENT_CA_FILE": server.ca_file,
        "SERVER__AUTH__TOKENS_FILE": folder / "tokens",
        "SERVER__DRAIN_DELAY_SECONDS": 1,
        "TELEMETRY__METRICS_PORT": metrics_port,
    }
    return {**os.environ, **{f"CORELLA_SAMPLE_{name}": str(value) for name, value in settings.items()}}


def line(token: str) -> str:
    return f"caller:{hashlib.sha256(token.encode()).hexdigest()} roles=service\n"


def free_ports() -> list[int]:
    """Three."""
    sockets = [socket.socket() for _ in range(3)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


async def start(variables: dict[str, str]) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", PROGRAM, env=variables, stderr=asyncio.subprocess.PIPE)
    assert process.stderr is not None
    async with asyncio.timeout(30):
        while b'"serving"' not in (said := await process.stderr.readline()):
            assert said, "the service ended at its start"
    return process


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World.prepare(tmp_path)
    tls = TlsSettings(certificate_file=made.server.certificate_file, key_file=made.server.key_file, client_ca_file=made.server.ca_file)
    settings = ServerSettings(port=0, tls=tls, auth=AuthSettings(tokens_file=tmp_path / "tokens"))

    def add(server: grpc.aio.Server) -> None:
        embedder_pb2_grpc.add_EmbedderServiceServicer_to_server(Servicer(), server)

    server, _, made.port = make_server(settings, add, "corella.v1.EmbedderService", RULES)
    await server.start()
    yield made
    await server.stop(0)


async def embed(remote: Remote, seconds: float = 0.0) -> str:
    """The caller's socket, as the server sees it."""
    stub = embedder_pb2_grpc.EmbedderServiceStub(remote.channel)
    response = await remote.call(stub.Embed, embedder_pb2.EmbedRequest(texts=[str(seconds)]))
    return str(response.model_fingerprint)


async def probe(port: int) -> str:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


async def test_only_who_shows_a_certificate_and_a_token_is_let_in(world: World):
    stranger = CertificateAuthority("another authority")
    foreign = MountedSecret(world.folder / "foreign", stranger.issue("retriever"), world.authority.certificate)
    good = world.remote()
    assert await embed(good)
    for bad in (
        {"certificate_file": None, "key_file": None},
        {"certificate_file": foreign.certificate_file, "key_file": foreign.key_file},
        {"server_name": "generator.corella.svc"},
        {"server_name": "", "ca_file": None, "certificate_file": None, "key_file": None},
    ):
        remote = world.remote(**bad)
        with pytest.raises(Unavailable):
            await embed(remote)
        await remote.close()
    # A certificate says that the call comes from within; who is calling is still for the token to say.
    without = world.remote(token_file=None)
    with pytest.raises(Unauthenticated) as caught:
        await embed(without)
    assert caught.value.reason == "TOKEN_MISSING"
    await asyncio.gather(good.close(), without.close())


async def test_the_public_client_shows_its_certificate(world: World):
    def ask(**files: Path) -> str:
        with Corella(
            Addresses(embedder=f"127.0.0.1:{world.port}"), token=TOKEN, ca_file=world.client.ca_file, server_name=NAME, **files
        ) as corella:
            return str(corella.embedder.Embed(embedder_pb2.EmbedRequest(texts=["0"]), timeout=10).model_fingerprint)

    assert await asyncio.to_thread(ask, certificate_file=world.client.certificate_file, key_file=world.client.key_file)
    with pytest.raises(grpc.RpcError) as caught:
        await asyncio.to_thread(ask)
    assert RpcFailure.from_rpc_error(caught.value).code is grpc.StatusCode.UNAVAILABLE


async def test_a_new_authority_replaces_the_old_one_while_calls_go_on(world: World):
    """As it is done for real: first both are trusted, then the certificates are issued by the new one, then only that is trusted."""
    following, remote = CertificateAuthority("the next authority"), world.remote()
    both = world.authority.certificate + following.certificate
    under_way = asyncio.create_task(embed(remote, 6.0))
    lost: list[Exception] = []
    stopping = asyncio.Event()

    async def keep_calling() -> int:
        count = 0
        while not stopping.is_set():
            try:
                await embed(remote)
                count += 1
            except Exception as error:
                lost.append(error)
            await asyncio.sleep(0.02)
        return count

    calling = asyncio.create_task(keep_calling())
    await asyncio.sleep(0.3)
    first = await embed(remote)
    for pairs, trusted in [
        ((None, None), both),
        ((following.issue(NAME), following.issue("retriever")), both),
        ((None, None), following.certificate),
    ]:
        for secret, pair in zip((world.server, world.client), pairs, strict=True):
            secret.swap(pair or Pair(secret.certificate_file.read_bytes(), secret.key_file.read_bytes()), trusted)
        await asyncio.sleep(1.5)
    last = await embed(remote)
    stopping.set()
    assert await calling > 50
    assert lost == []
    assert await under_way == first, "it ended on the connection it had begun on"
    assert last != first
    # Who still comes with what the old authority signed is a stranger now.
    old = MountedSecret(world.folder / "old", world.authority.issue("retriever"), following.certificate)
    stale = world.remote(certificate_file=old.certificate_file, key_file=old.key_file)
    with pytest.raises(Unavailable):
        await embed(stale)
    await asyncio.gather(remote.close(), stale.close())


async def test_a_half_replaced_pair_changes_nothing_until_it_is_whole(world: World):
    renewed = world.authority.issue(NAME)
    world.server.certificate_file.unlink()
    world.server.certificate_file.write_bytes(renewed.certificate)
    with capture_logs() as logs:
        for _ in range(2):
            await asyncio.sleep(1.1)
            remote = world.remote()
            assert await embed(remote)
            await remote.close()
    assert [each["event"] for each in logs] == ["changed_files_not_taken"]
    world.server.key_file.unlink()
    world.server.key_file.write_bytes(renewed.key)
    await asyncio.sleep(1.1)
    with capture_logs() as logs:
        remote = world.remote()
        assert await embed(remote)
        await remote.close()
    assert [each["event"] for each in logs] == ["changed_files_taken"]


async def test_tokens_are_replaced_on_both_sides_without_a_restart(world: World):
    remote = world.remote()
    assert await embed(remote)
    new = line("another word")
    (world.folder / "tokens").write_text(line(TOKEN) + new)
    (world.folder / "token").write_text("another word")
    await asyncio.sleep(1.1)
    assert await embed(remote)
    (world.folder / "tokens").write_text(new)
    await asyncio.sleep(1.1)
    assert await embed(remote)
    (world.folder / "token").write_text(TOKEN)
    await asyncio.sleep(1.1)
    with pytest.raises(Unauthenticated):
        await embed(remote)
    await remote.close()


async def test_probes_need_no_certificate_learn_first_that_it_ends_and_are_told_nothing_else(tmp_path: Path):
    world = World.prepare(tmp_path)
    world.port, health_port, metrics_port = free_ports()
    process = await start(environment(tmp_path, world.server, world.port, health_port, metrics_port))
    assert await probe(health_port) == "SERVING"
    metrics = await asyncio.to_thread(httpx.get, f"http://127.0.0.1:{metrics_port}/metrics")
    ends = re.findall(r'^corella_tls_certificate_expiry_seconds{.*corella_tls_side="server".*} (\S+)$', metrics.text, re.MULTILINE)
    assert [abs(float(each) - time.time() - 86_400) < 120 for each in ends] == [True]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{health_port}") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await embedder_pb2_grpc.EmbedderServiceStub(channel).Embed(embedder_pb2.EmbedRequest(texts=["0"]), timeout=5)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    remote = world.remote()
    under_way = asyncio.create_task(embed(remote, 3.0))
    await asyncio.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    await asyncio.sleep(0.3)
    assert await probe(health_port) == "NOT_SERVING"
    # Whoever has not heard of it yet is still served for the delay.
    assert await embed(remote)
    assert await under_way
    assert await asyncio.wait_for(process.wait(), 20) == 0
    await remote.close()


async def test_a_pair_that_does_not_match_ends_the_start_with_a_sentence(tmp_path: Path):
    world = World.prepare(tmp_path)
    key = world.authority.issue(NAME).key
    wrong = MountedSecret(tmp_path / "wrong", Pair(world.server.certificate_file.read_bytes(), key), world.authority.certificate)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, env=environment(tmp_path, wrong, *free_ports()), stderr=asyncio.subprocess.PIPE
    )
    _, said = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 1
    assert f"the key in {wrong.key_file} is not that of the certificate in {wrong.certificate_file}".encode() in said
    assert b"Traceback" not in said
