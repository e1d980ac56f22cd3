"""The retriever with everything it needs, as `corella up` starts it, in a folder of its own and on free ports, for measurements.

The commands, settings and health checks are those of `corella/local/stack.py`. Of the generator and the trainer there is only what they
would be told. Every process ends with the measurement, however that ends.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from corella.evaluation.beir import TestDocument, TestSet
from corella.evaluation.retrieval import ingest
from corella.local.home import WITH_METRICS, Home, Ports
from corella.local.prepare_models import GENERATION_MODEL
from corella.local.stack import ProcessSpec, common_environment, local_stack
from corella.v1 import embedder_pb2, operation_pb2, retriever_pb2
from corella.v1.embedder_pb2_grpc import EmbedderServiceStub
from corella.v1.retriever_pb2_grpc import RetrieverServiceStub

ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT / ".corella/models/all-MiniLM-L6-v2"
PARTS = ("valkey", "milvus", "embedder", "retriever", "worker")
KEPT = ("embedder",)
"""Has nothing on disk, so it stays when the others move to another folder."""
STOP_SECONDS = 60.0
CALL_SECONDS = 300.0
"""Longest call: a busy machine makes a measurement slow, not void."""


class RetrieverStack:
    """The processes by name, and stubs to talk to them."""

    def __init__(self, folder: Path, model: Path = MODEL) -> None:
        self._model = model
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        metrics = dict(zip(WITH_METRICS, free_ports(len(WITH_METRICS)), strict=True))
        embedder, retriever, generator, trainer, milvus, valkey, traces = free_ports(7)
        self._ports = Ports(embedder, retriever, generator, trainer, milvus, valkey, traces, metrics)
        self._specs = self._specs_in(folder)
        self._channels = ExitStack()
        self.embedder_address = f"127.0.0.1:{self._ports.embedder}"
        self.retriever_address = f"127.0.0.1:{self._ports.retriever}"
        self.retriever: Any = RetrieverServiceStub(
            self._channels.enter_context(grpc.insecure_channel(f"127.0.0.1:{self._ports.retriever}"))
        )
        self.embedder: Any = EmbedderServiceStub(self._channels.enter_context(grpc.insecure_channel(self.embedder_address)))

    def start(self, *names: str) -> None:
        """Starts these, all when none is named, and waits until each is healthy."""
        for name in names or PARTS:
            spec = self._specs[name]
            environment = {**os.environ, **common_environment(), **spec.environment}
            tether = (sys.executable, "-I", str(ROOT / "corella/local/tether.py"), str(os.getpid()))
            with self.home.log_file(name).open("ab") as log:
                process = subprocess.Popen([*tether, *spec.command], cwd=ROOT, env=environment, stdout=log, stderr=log)
            self._processes[name] = process
            ends_at = time.monotonic() + spec.start_seconds
            while not asyncio.run(_asked(spec, process.pid)):
                if process.poll() is not None or time.monotonic() > ends_at:
                    raise SystemExit(f"{name} did not start; its log ends:\n{self.log(name)}")
                time.sleep(0.1)

    def environment(self, name: str) -> dict[str, str]:
        """What a process is told when it is started; a measurement may tell it more."""
        return self._specs[name].environment

    def stop(self, *names: str) -> None:
        """Stops these, all when none is named, the last started first; each may finish what it has in hand."""
        for name in reversed(names or PARTS):
            process = self._processes.pop(name, None)
            if process is not None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def move(self, folder: Path) -> None:
        """Stops all but the embedder and goes on in another folder, in which nothing runs yet."""
        self.stop(*(name for name in PARTS if name not in KEPT))
        self._specs = self._specs_in(folder)

    def log(self, name: str) -> str:
        """The end of a process's log; the folder with all of it goes when the measurement ends."""
        return self.home.log_file(name).read_text(errors="replace")[-2000:]

    def close(self) -> None:
        """Ends everything."""
        self.stop()
        self._channels.close()

    def _specs_in(self, folder: Path) -> dict[str, ProcessSpec]:
        self.home = Home(folder)
        self.home.make()
        specs = {spec.name: spec for spec in local_stack(self.home, self._ports)}
        specs["embedder"].environment["CORELLA_EMBEDDER_MODEL__FOLDER"] = str(self._model)
        specs["generator"].environment["CORELLA_GENERATOR_VLLM__MODEL_FOLDER"] = str(MODEL.parent / GENERATION_MODEL)
        # Nobody receives traces here, unless a measurement says who.
        for spec in specs.values():
            spec.environment.update({name: "" for name in spec.environment if name.endswith("TELEMETRY__OTLP_ENDPOINT")})
        return specs

    # What measurements do with it ----------------------------------------------------------------------------------------------------

    def warm_up(self) -> None:
        """Has every process do once what it does slower the first time: a page of `samples/` for each, in a corpus that is deleted."""
        self.ingest(SAMPLE_PAGES, "warm-up", lambda _: None)
        self.retriever.Search(retriever_pb2.SearchRequest(corpus="corpora/warm-up", query="warranty"), timeout=CALL_SECONDS)
        self.retriever.DeleteCorpus(retriever_pb2.DeleteCorpusRequest(name="corpora/warm-up", force=True), timeout=CALL_SECONDS)

    def ingest(
        self,
        documents: TestSet,
        corpus: str,
        progress: Callable[[operation_pb2.Operation], None],
        mode: retriever_pb2.EmbeddingMode = retriever_pb2.EMBEDDING_MODE_EAGER,
    ) -> float:
        """Hands all documents in to a new corpus, waits for the end, and returns the seconds. Ends the program if one failed."""
        fields = retriever_pb2.Corpus(embedding_mode=mode)
        self.retriever.CreateCorpus(retriever_pb2.CreateCorpusRequest(corpus_id=corpus, corpus=fields), timeout=CALL_SECONDS)
        started = time.perf_counter()
        operation = ingest(self.retriever, documents, corpus, progress)
        seconds = time.perf_counter() - started
        if operation.succeeded_count != operation.total_count:
            failures = "; ".join(f"{item.uri}: {item.error.message}" for item in operation.failures[:3])
            raise SystemExit(f"{operation.failed_count} of {operation.total_count} documents failed: {failures}")
        return seconds

    def corpus(self, corpus: str) -> retriever_pb2.Corpus:
        """The corpus with its counts."""
        response: retriever_pb2.GetCorpusResponse = self.retriever.GetCorpus(
            retriever_pb2.GetCorpusRequest(name=f"corpora/{corpus}"), timeout=60
        )
        return response.corpus

    def model_card(self) -> str:
        """What embeds, in words."""
        card = self.embedder.GetModel(embedder_pb2.GetModelRequest(), timeout=CALL_SECONDS).model
        return f"{card.display_name} ({card.device}, {card.dtype})"


@contextmanager
def running(folder: Path, *names: str, model: Path = MODEL) -> Iterator[RetrieverStack]:
    """A stack with these processes running, all when none is named; ended whatever happens."""
    # Ending from outside must also end what this starts.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    stack = RetrieverStack(folder, model)
    try:
        stack.start(*names)
        yield stack
    finally:
        stack.close()


@dataclass(frozen=True)
class SamplePages:
    """The Markdown pages of `samples/`."""

    name: str = "sample pages"

    def documents(self) -> Iterator[TestDocument]:
        """The pages."""
        for path in sorted((ROOT / "samples/pages").rglob("*.md")):
            yield TestDocument(path.relative_to(ROOT).as_posix(), "", path.read_bytes(), "text/markdown")


SAMPLE_PAGES: Any = SamplePages()


def free_ports(count: int) -> list[int]:
    """So many ports that nobody has at this moment."""
    # Held together until all are chosen, so that none is chosen twice.
    with ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


async def _asked(spec: ProcessSpec, pid: int) -> bool:
    return await spec.probe(pid)
