"""A service as a process: it drains on SIGTERM, speaks TLS when told to, and dies loudly when it must."""

from __future__ import annotations

import asyncio
import datetime
import os
import signal
import socket
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from corella.v1 import embedder_pb2, embedder_pb2_grpc
from services.chassis.channel import Remote
from services.chassis.errors import Unavailable
from services.chassis.settings import ClientSettings
from tests.ports import free_port

PROGRAM = """
import asyncio, gc, sys
from contextlib import asynccontextmanager
from corella.v1 import embedder_pb2, embedder_pb2_grpc
from services.chassis.server import serve
from services.chassis.settings import ServerSettings, ServiceSettings, service_config
from services.embedder.rules import RULES

class Settings(ServiceSettings):
    model_config = service_config("SAMPLE")
    server: ServerSettings

class Servicer(embedder_pb2_grpc.EmbedderServiceServicer):
    def __init__(self, lifecycle):
        self.lifecycle = lifecycle
    async def Embed(self, request, context):
        if request.texts[0] == "break":
            self.lifecycle.fail("the model is gone")
        if request.texts[0] == "kept":
            return embedder_pb2.EmbedResponse(model_fingerprint=str(gc.get_freeze_count()))
        await asyncio.sleep(1.0)
        return embedder_pb2.EmbedResponse(model_fingerprint="done")

@asynccontextmanager
async def build(settings, lifecycle):
    yield Servicer(lifecycle)

add = embedder_pb2_grpc.add_EmbedderServiceServicer_to_server
sys.exit(asyncio.run(serve("sample", Settings(), build, add, "corella.v1.EmbedderService", rules=RULES)))
"""


async def start(port: int = 0, **environment: str) -> tuple[asyncio.subprocess.Process, int]:
    port = port or free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PROGRAM,
        env={**os.environ, "CORELLA_SAMPLE_SERVER__PORT": str(port), **environment},
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(30):
        while b'"serving"' not in await process.stderr.readline():
            pass
    return process, port


async def embed(remote: Remote, text: str) -> str:
    stub = embedder_pb2_grpc.EmbedderServiceStub(remote.channel)
    return (await remote.call(stub.Embed, embedder_pb2.EmbedRequest(texts=[text]), timeout_seconds=10)).model_fingerprint


async def test_collections_leave_out_what_was_there_before_the_first_call():
    process, port = await start()
    remote = Remote("sample", ClientSettings(address=f"127.0.0.1:{port}"))
    assert int(await embed(remote, "kept")) > 10_000
    await remote.close()
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 10) == 0


async def test_on_sigterm_a_running_call_is_finished_and_a_new_one_refused():
    process, port = await start()
    remote = Remote("sample", ClientSettings(address=f"127.0.0.1:{port}"))
    running = asyncio.create_task(embed(remote, "a"))
    await asyncio.sleep(0.4)
    process.send_signal(signal.SIGTERM)
    await asyncio.sleep(0.2)
    late = Remote("sample", ClientSettings(address=f"127.0.0.1:{port}"))
    with pytest.raises(Unavailable):
        await embed(late, "b")
    assert await running == "done"
    assert await asyncio.wait_for(process.wait(), 10) == 0
    await remote.close()
    await late.close()


async def test_a_port_that_is_held_for_a_moment_is_waited_for():
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        starting = asyncio.create_task(start(holder.getsockname()[1]))
        await asyncio.sleep(3)
        assert not starting.done()
    process, port = await starting
    remote = Remote("sample", ClientSettings(address=f"127.0.0.1:{port}"))
    assert await embed(remote, "a") == "done"
    process.terminate()
    assert await asyncio.wait_for(process.wait(), 10) == 0
    await remote.close()


async def test_a_port_that_stays_held_ends_the_service():
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        settings = {"CORELLA_SAMPLE_SERVER__PORT": str(holder.getsockname()[1]), "CORELLA_SAMPLE_SERVER__BIND_SECONDS": "0.1"}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PROGRAM, env={**os.environ, **settings}, stderr=asyncio.subprocess.PIPE
        )
        _, said = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 1
    assert b"Failed to bind" in said


async def test_a_service_that_breaks_finishes_its_call_and_exits_with_status_1():
    process, port = await start()
    remote = Remote("sample", ClientSettings(address=f"127.0.0.1:{port}"))
    assert await embed(remote, "break") == "done"
    assert await asyncio.wait_for(process.wait(), 10) == 1
    await remote.close()


def self_signed(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "cert.pem", folder / "key.pem"


async def test_with_a_certificate_only_encrypted_connections_are_answered(tmp_path):
    certificate, key = self_signed(tmp_path)
    process, port = await start(
        CORELLA_SAMPLE_SERVER__TLS__CERTIFICATE_FILE=str(certificate), CORELLA_SAMPLE_SERVER__TLS__KEY_FILE=str(key)
    )
    encrypted = Remote("sample", ClientSettings(address=f"localhost:{port}", ca_file=certificate))
    plain = Remote("sample", ClientSettings(address=f"localhost:{port}"))
    assert await embed(encrypted, "a") == "done"
    with pytest.raises(Unavailable):
        await embed(plain, "a")
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 10) == 0
    await encrypted.close()
    await plain.close()
