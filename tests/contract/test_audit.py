"""A deletion proven: what is left of a document, place by place, on a real Valkey and a real Milvus Lite."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from retriever_in_process import EVERYTHING, Retriever, servers

from services.chassis import identity
from services.retriever.access import Access
from services.retriever.audit import BYTES, CHUNKS
from services.retriever.domain import CorpusNotFound, EmbeddingMode
from services.retriever.names import document_id, fresh_id
from services.retriever.redis_catalog import PREFIX
from services.retriever.redis_traces import INDEXES, OPERATIONS, QUEUES, RECORD, SOURCES, SWEEPING

URI, WORD = "https://docs.example.com/secret-plan.md", "zugzwang"
TEXT = f"# Plan\n\nOne {WORD} here.\n\n## Later\n\nAnother {WORD} there.\n"
GONE = document_id(URI)
HARMLESS = {OPERATIONS, SOURCES}
"""Places that hold its name, as the contract says."""


@asynccontextmanager
async def retriever(folder: Path, mode: EmbeddingMode = EmbeddingMode.EAGER) -> AsyncIterator[Retriever]:
    with servers(folder) as at:
        made = Retriever(at, folder)
        identity.set_current(EVERYTHING)
        await made.create("acme.plans", mode)
        await made.hand_in(
            "acme.plans", (URI, TEXT, Access.listed(groups=["board"])), ("https://docs.example.com/b.md", "# B\n\nb\n", None)
        )
        await made.work()
        yield made
        await made.close()


async def left(of: Retriever) -> dict[str, int]:
    return {place: count for place, count in await of.audit.traces("acme.plans", GONE) if place not in HARMLESS}


async def contents(of: Retriever, key: str) -> object:
    """What a key of Valkey holds."""
    redis = of.redis
    match await redis.type(key):
        case "hash":
            return await redis.hgetall(key)  # type: ignore[misc]
        case "zset":
            return await redis.zrange(key, 0, -1)
        case "list":
            return await redis.lrange(key, 0, -1)  # type: ignore[misc]
        case "set":
            return await redis.smembers(key)  # type: ignore[misc]
    return await redis.get(key)


@pytest.mark.parametrize("mode", list(EmbeddingMode))
async def test_nothing_is_left_of_a_deleted_document_anywhere(tmp_path: Path, mode: EmbeddingMode) -> None:
    async with retriever(tmp_path, mode) as made:
        assert await left(made) == {RECORD: 1, INDEXES: 4, QUEUES: 0, SWEEPING: 0, CHUNKS: 2, BYTES: 1}
        await made.documents.delete("acme.plans", GONE, allow_missing=False, request_id="deletion-1", caller=EVERYTHING)
        assert set((await left(made)).values()) == {0}
        # Asked of Valkey key by key, and of the disk file by file: neither its address nor its words.
        for key in await made.redis.keys("*"):
            text = f"{key} {await contents(made, key)}"
            assert "secret-plan" not in text
            assert WORD not in text
        blobs = [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()]
        assert len(blobs) == 1
        assert WORD not in blobs[0].read_text()


async def test_what_is_left_behind_is_found_in_its_place(tmp_path: Path) -> None:
    async with retriever(tmp_path) as made:
        corpus = await made.store.get("acme.plans")
        chunks = await made.store.positions(corpus, GONE, 0, 9, "access >= -1")
        await made.documents.delete("acme.plans", GONE, allow_missing=False, request_id="", caller=EVERYTHING)
        # An older collection of the corpus counts too, and so does a chunk that nobody may read.
        other = replace(corpus, collection=corpus.collection[:-8] + fresh_id()[:8])
        await made.store.upsert(corpus, [replace(chunks[0], access=-1)])
        assert (await left(made))[CHUNKS] == 1
        blob = tmp_path / "blobs" / "acme.plans" / GONE / "0"
        blob.parent.mkdir(exist_ok=True)
        blob.write_text(WORD)
        await made.redis.zadd(f"{PREFIX}staged", {f"acme.plans/{GONE}/0": 1.0})
        await made.redis.zadd(f"{PREFIX}leases", {f"acme.plans/{GONE}": 1.0})
        await made.redis.zadd(f"{PREFIX}read:acme.plans:7", {GONE: 0})
        assert await left(made) == {RECORD: 0, INDEXES: 1, QUEUES: 1, SWEEPING: 1, CHUNKS: 1, BYTES: 1}
        assert other.collection != corpus.collection


async def test_a_document_that_never_was_leaves_nothing_and_a_corpus_that_is_not_there_is_said(tmp_path: Path) -> None:
    async with retriever(tmp_path) as made:
        assert {count for _, count in await made.audit.traces("acme.plans", "0" * 32)} == {0}
        with pytest.raises(CorpusNotFound):
            await made.audit.traces("plans", GONE)
