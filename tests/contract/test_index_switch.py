"""The moment at which a corpus gets another index, stopped at each of its steps, on a real Valkey and a real Milvus Lite."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from retriever_in_process import EVERYTHING, HereReader, Retriever, servers

from services.chassis import identity
from services.chassis.errors import CorellaError
from services.chassis.operations import OperationState
from services.chassis.operations_redis import RedisOperations
from services.retriever.access import EVERYONE, NOBODY, Access
from services.retriever.domain import DocumentFailure, DocumentState, IndexState, IndexWish, ReindexUnderWay, StoreUnavailable
from services.retriever.index_building import IndexBuilding
from services.retriever.names import document_id
from services.retriever.redis_catalog import PREFIX
from services.retriever.redis_indexing import RedisIndexing
from services.retriever.reindexing import Reindexing
from services.retriever.settings import WorkerSettings
from services.retriever.structure import StructuredDocument
from tests.waiting import PATIENCE

CORPUS = "acme.plans"
LONG = " ".join(["word"] * 60)


class Killed(BaseException):
    """What ends a process ends it here."""


def uri(name: str) -> str:
    return f"https://docs.example.com/{name}.md"


class Stage:
    """A corpus of three documents, and workers that can be killed."""

    def __init__(self, retriever: Retriever) -> None:
        self.made = retriever
        self.reader = HereReader()
        self.indexing = RedisIndexing(retriever.redis)
        self.operations = RedisOperations(retriever.redis, PREFIX, 30.0)
        arguments: Any = retriever.store, retriever.catalog, self.indexing, retriever.embedder
        queue: Any = retriever.documents._queue
        self.reindexing = Reindexing(*arguments, queue=queue, readers=retriever.readers, cache_seconds=0.0)
        self.worker = self.another_worker()

    def another_worker(self) -> IndexBuilding:
        made = self.made
        arguments: Any = made.store, made.catalog, made.blobs, made.embedder, self.indexing
        settings, reader = WorkerSettings(retry_base_seconds=0.01), self.reader
        return IndexBuilding(*arguments, sandbox=reader, settings=settings, cache_seconds=0.0)  # type: ignore[arg-type]

    async def begin(self, **options: Any) -> str:
        wish = IndexWish(max_tokens=options.pop("max_tokens", 40))
        return await self.reindexing.reindex(CORPUS, wish, force=options.pop("force", False), request_id="")

    async def work(self, worker: IndexBuilding | None = None) -> None:
        """Works until there is nothing to do for half a second."""
        idle_since = time.monotonic()
        while time.monotonic() - idle_since < 0.5:
            if await (worker or self.worker).work_once():
                idle_since = time.monotonic()

    async def build(self) -> None:
        """Writes what is missing, and stops before the switch."""
        while (noted := await self.indexing.get(CORPUS)).lacking[1]:
            assert await self.worker.work_once(), noted

    async def hand_in(self, name: str, text: str) -> None:
        await self.made.hand_in(CORPUS, (uri(name), text, None))
        await self.made.work()

    async def thaw(self) -> None:
        """What time does."""
        await self.made.redis.delete(f"{PREFIX}frozen:{CORPUS}")

    async def states(self) -> list[tuple[IndexState, int, int]]:
        """Of each index: its part, the largest chunk, what it lacks."""
        corpus = await self.made.store.get(CORPUS, now=True)
        found = await self.reindexing.indexes(EVERYTHING, corpus)
        return [(each.state, each.corpus.max_tokens, each.pending_documents) for each in found]

    async def texts(self, largest: int) -> dict[str, str]:
        """The words of each document as the index of chunks of so many tokens has them, by its name."""
        index = next(each for each in await self.made.store.indexes(CORPUS) if each.max_tokens == largest)
        names = {document_id(uri(name)): name for name in ("a", "b", "c", "d", "e")}
        found = {}
        for known, name in names.items():
            chunks = await self.made.store.positions(index, known, 0, 100, "access >= -1")
            if chunks:
                assert len({chunk.generation for chunk in chunks}) == 1
                found[name] = " ".join(chunk.text for chunk in sorted(chunks, key=lambda chunk: chunk.index)).split()[0]
        return found

    async def ended(self, operation: str) -> OperationState:
        return (await self.operations.get(operation)).state


@asynccontextmanager
async def stage(folder: Path) -> AsyncIterator[Stage]:
    with servers(folder) as at:
        retriever = Retriever(at, folder)
        identity.set_current(EVERYTHING)
        await retriever.create(CORPUS)
        made = Stage(retriever)
        for name in ("a", "b", "c"):
            await made.hand_in(name, f"# {name}\n\nfirst {LONG}\n\n## More\n\n{LONG}\n")
        yield made
        await retriever.close()


async def test_waiting_for_the_freeze_of_one_that_was_killed_does_not_make_it_last(tmp_path: Path) -> None:
    """A slow look at whether to switch shows signs of life meanwhile; these kept the freeze it waited for, and so for ever."""
    async with stage(tmp_path) as on:
        await on.begin()
        claimed = await on.indexing.claim("living", 30.0, 2, 10_000_000)
        assert claimed is not None
        frozen = f"{PREFIX}frozen:{CORPUS}"
        await on.made.redis.set(frozen, "switch:killed", px=5_000)
        await on.indexing.renew(replace(claimed, documents=()), "living", 30.0, "", 10.0)
        assert await on.made.redis.pttl(frozen) <= 5_000
        await on.indexing.renew(claimed, "living", 30.0, "", 10.0)
        assert await on.made.redis.pttl(frozen) > 5_000, "who waits for documents waits until they are written"


async def test_killed_before_the_alias_moves_the_switch_is_made_by_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with stage(tmp_path) as on:
        operation = await on.begin()
        await on.build()

        async def killed(*_: object) -> None:
            raise Killed

        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(on.made.store, "switch", killed)
            await on.work()
        assert (await on.states())[0][:2] == (IndexState.SERVING, 200)
        # Nobody begins with documents of the corpus until the freeze is over; then everything goes on.
        await on.made.hand_in(CORPUS, (uri("d"), "# d\n\nfresh\n", None))
        await on.made.work()
        assert (await on.made.catalog.get(CORPUS, document_id(uri("d")))).state is DocumentState.PENDING
        await on.thaw()
        await on.made.work()
        await on.work(on.another_worker())
        assert await on.ended(operation) is OperationState.SUCCEEDED
        assert await on.states() == [(IndexState.SERVING, 40, 0), (IndexState.PREVIOUS, 200, 0)]
        assert await on.texts(40) == await on.texts(200) == {"a": "first", "b": "first", "c": "first", "d": "fresh"}


async def test_killed_after_the_alias_moved_the_switch_is_noted_by_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with stage(tmp_path) as on:
        operation = await on.begin()
        await on.build()
        store = on.made.store
        switch = store.switch

        async def killed(*arguments: Any) -> None:
            await switch(*arguments)
            raise Killed

        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(store, "switch", killed)
            await on.work()
        await on.thaw()
        # Between the move and the note the world goes on: these are lacking in the index that answers no more.
        await on.hand_in("a", "# a\n\nsecond\n")
        await on.hand_in("d", "# d\n\nfresh\n")
        await on.made.documents.delete(CORPUS, document_id(uri("b")), allow_missing=False, request_id="", caller=EVERYTHING)
        await on.reindexing.cancel(CORPUS, operation)  # too late
        assert await on.ended(operation) is OperationState.SUCCEEDED
        await on.work(on.another_worker())
        assert await on.states() == [(IndexState.SERVING, 40, 0), (IndexState.PREVIOUS, 200, 2)]
        assert await on.texts(40) == {"a": "second", "c": "first", "d": "fresh"}
        assert await on.texts(200) == {"a": "first", "c": "first"}
        back = await on.reindexing.roll_back(CORPUS, force=False, request_id="")
        await on.work()
        assert await on.ended(back) is OperationState.SUCCEEDED
        assert await on.states() == [(IndexState.SERVING, 200, 0), (IndexState.PREVIOUS, 40, 0)]
        assert await on.texts(200) == await on.texts(40) == {"a": "second", "c": "first", "d": "fresh"}


async def test_what_comes_while_a_worker_sleeps_through_its_freeze_is_written_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stage(tmp_path) as on:
        operation = await on.begin()
        await on.build()
        store = on.made.store
        switch = store.switch

        async def slept(*arguments: Any) -> None:
            await on.thaw()
            await on.hand_in("a", "# a\n\nsecond\n")
            await on.hand_in("d", "# d\n\nfresh\n")
            with pytest.raises(StoreUnavailable):
                await switch(arguments[0], time.monotonic() - 1.0)  # too late, and so it is not made
            await switch(arguments[0], time.monotonic() + 1.0)  # the worst case: it falls asleep once more, in the call itself

        with monkeypatch.context() as patch:
            patch.setattr(store, "switch", slept)
            await on.build()
            while await on.ended(operation) is not OperationState.SUCCEEDED:
                await on.worker.work_once()
        assert (await on.states())[0] == (IndexState.SERVING, 40, 2)
        await on.work()
        assert await on.states() == [(IndexState.SERVING, 40, 0), (IndexState.PREVIOUS, 200, 0)]
        assert await on.texts(40) == {"a": "second", "b": "first", "c": "first", "d": "fresh"}


async def test_a_document_that_cannot_be_written_stops_the_switch_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stage(tmp_path) as on:
        read = on.reader.read

        async def refuses_b(content: bytes, mime_type: str, at: str, title: str = "") -> StructuredDocument:
            if at == uri("b"):
                raise DocumentFailure("It cannot be read.", reason="DOCUMENT_UNREADABLE")
            return await read(content, mime_type, at, title)

        monkeypatch.setattr(on.reader, "read", refuses_b)
        first = await on.begin()
        with pytest.raises(ReindexUnderWay):
            await on.begin()
        await on.work()
        assert await on.ended(first) is OperationState.FAILED
        assert [failed.uri for failed in (await on.operations.get(first)).failures] == [uri("b")]
        assert await on.states() == [(IndexState.SERVING, 200, 0), (IndexState.BUILDING, 40, 1)]
        # The same again takes up where that one stopped.
        second = await on.begin(force=True)
        assert (await on.operations.get(second)).total == 1
        await on.work()
        assert await on.ended(second) is OperationState.SUCCEEDED
        b = document_id(uri("b"))
        assert (await on.made.catalog.get(CORPUS, b)).state is DocumentState.FAILED
        assert set(await on.texts(40)) == {"a", "c"}
        back = await on.reindexing.roll_back(CORPUS, force=False, request_id="")
        await on.work()
        assert await on.ended(back) is OperationState.SUCCEEDED
        assert (await on.made.catalog.get(CORPUS, b)).state is DocumentState.ACTIVE
        assert set(await on.texts(200)) == {"a", "b", "c"}


async def test_a_document_that_loses_three_workers_is_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with stage(tmp_path) as on:
        read = on.reader.read

        async def kills(content: bytes, mime_type: str, at: str, title: str = "") -> StructuredDocument:
            if at == uri("b"):
                raise Killed
            return await read(content, mime_type, at, title)

        monkeypatch.setattr(on.reader, "read", kills)
        operation = await on.begin()
        for _ in range(5):
            try:
                await on.work(on.another_worker())
            except Killed:
                # Its leases run out.
                for member in await on.made.redis.zrange(f"{PREFIX}indexing:leases", 0, -1):
                    await on.made.redis.zadd(f"{PREFIX}indexing:leases", {member: 1})
                await on.made.catalog.reclaim(3)
        assert await on.ended(operation) is OperationState.FAILED
        shown = await on.operations.get(operation)
        assert [failed.uri for failed in shown.failures] == [uri("b")]
        assert (shown.succeeded, shown.failed, shown.total) == (2, 1, 3)
        # A newer version of it is tried anew.
        monkeypatch.setattr(on.reader, "read", read)
        await on.hand_in("b", "# b\n\nsecond\n")
        again = await on.begin()
        await on.work()
        assert await on.ended(again) is OperationState.SUCCEEDED
        assert await on.texts(40) == {"a": "first", "b": "second", "c": "first"}
        assert await on.made.redis.zcard(f"{PREFIX}indexing:leases") == 0


class Chaos:
    """Ends what calls it, now and then, before or after it did what it was called for."""

    def __init__(self, chance: random.Random, share: float) -> None:
        self.chance = chance
        self.share = share
        self.kills = 0

    def over(self, of: Any, *methods: str) -> None:
        for method in methods:
            setattr(of, method, self._wrapped(getattr(of, method)))

    def _wrapped(self, method: Any) -> Any:
        async def call(*arguments: Any, **options: Any) -> Any:
            self._strike()
            answer = await method(*arguments, **options)
            self._strike()
            return answer

        return call

    def _strike(self) -> None:
        if self.chance.random() < self.share:
            self.kills += 1
            raise Killed


@pytest.mark.parametrize("seed", [1, 2])
async def test_whatever_happens_in_whichever_order_both_indexes_are_right_in_the_end(tmp_path: Path, seed: int) -> None:
    """Documents come, change, go and get other readers while indexes are begun, cancelled and rolled back, and workers die anywhere."""
    chance = random.Random(seed)
    with servers(tmp_path) as at:
        # Two processes: what one knows of the indexes may be out of date in the other.
        calls, working = Retriever(at, tmp_path), Retriever(at, tmp_path)
        identity.set_current(EVERYTHING)
        await calls.create(CORPUS)
        asked, on = Stage(calls), Stage(working)
        chaos = Chaos(chance, 0.03)
        chaos.over(working.store, "upsert", "delete_document", "switch", "make_index")
        chaos.over(on.indexing, "written", "switched", "freeze", "grants", "made")
        expected: dict[str, tuple[str, Access]] = {}
        enough = asyncio.Event()
        accesses = (EVERYONE, NOBODY, Access.listed(groups=["board"]))

        async def work() -> None:
            workers = [on.another_worker(), on.another_worker()]
            while not enough.is_set():
                for each in (working.ingestion, *workers):
                    try:
                        await each.work_once()
                    except Killed:
                        for leases in ("leases", "indexing:leases"):
                            for member in await working.redis.zrange(f"{PREFIX}{leases}", 0, -1):
                                await working.redis.zadd(f"{PREFIX}{leases}", {member: 1})
                        await working.catalog.reclaim(1_000)
                        await on.thaw()
                await asyncio.sleep(0.02)

        async def change(step: int) -> None:
            name = f"d{chance.randrange(12)}"
            match chance.randrange(10):
                case 0 | 1 | 2 | 3:
                    access = chance.choice(accesses)
                    text = f"# {name}\n\nversion{step} {LONG}\n\n## More\n\n{LONG}\n"
                    await calls.hand_in(CORPUS, (uri(name), text, access))
                    expected[name] = (f"version{step}", access)
                case 4 | 5 if name in expected:
                    await calls.documents.delete(CORPUS, document_id(uri(name)), allow_missing=False, request_id="", caller=EVERYTHING)
                    del expected[name]
                    assert dict(await calls.audit.traces(CORPUS, document_id(uri(name))))["chunks in the store"] == 0
                case 6 | 7 if name in expected:
                    access = chance.choice(accesses)
                    await calls.documents.update_access(EVERYTHING, CORPUS, document_id(uri(name)), access, "")
                    expected[name] = (expected[name][0], access)
                case 8:
                    with suppress(CorellaError):
                        await asked.begin(force=True, max_tokens=chance.choice((40, 60, 100)))
                case 9:
                    with suppress(CorellaError):
                        await asked.reindexing.roll_back(CORPUS, force=True, request_id="")
                    noted = await asked.indexing.get(CORPUS)
                    if noted.operation and chance.random() < 0.3:
                        await asked.reindexing.cancel(CORPUS, noted.operation)

        task = asyncio.create_task(work())
        for step in range(80):
            await change(step)
            await asyncio.sleep(chance.random() * 0.05)
        chaos.share = 0.0

        async def at_rest() -> bool:
            documents, _, _ = await calls.catalog.list_documents(CORPUS, None, 100, "")
            noted = await asked.indexing.get(CORPUS)
            return not noted.operation and not noted.lacking[0] and {each.state for each in documents} <= {DocumentState.ACTIVE}

        async def check() -> None:
            ends_at = time.monotonic() + 60 * PATIENCE
            while not await at_rest():
                assert not task.done(), task
                assert time.monotonic() < ends_at, await asked.indexing.get(CORPUS)
                await asyncio.sleep(0.1)
            corpus = await calls.store.get(CORPUS, now=True)
            noted = await asked.indexing.get(CORPUS)
            assert not noted.serving or noted.serving == corpus.collection
            for name, (word, access) in expected.items():
                chunks = await calls.store.positions(corpus, document_id(uri(name)), 0, 100, "access >= -1")
                shown = await calls.catalog.get(CORPUS, document_id(uri(name)))
                assert shown is not None
                assert (len(chunks), {chunk.access for chunk in chunks}) == (shown.chunk_count, {access.id})
                assert len({chunk.generation for chunk in chunks}) == 1
                assert next(chunk for chunk in chunks if chunk.index == 0).text.startswith(word)
            chunks, _ = await calls.store.count(corpus)
            documents, _, _ = await calls.catalog.list_documents(CORPUS, None, 100, "")
            assert {each.version.uri for each in documents} == {uri(name) for name in expected}
            assert chunks == sum(each.chunk_count for each in documents)

        await check()
        if (await asked.indexing.get(CORPUS)).state is IndexState.PREVIOUS:
            await asked.reindexing.roll_back(CORPUS, force=False, request_id="")
        else:
            await asked.begin(force=True)
        await check()
        enough.set()
        await task
        assert chaos.kills
        for each in (calls, working):
            await each.close()
