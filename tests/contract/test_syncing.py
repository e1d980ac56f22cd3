"""The engine of syncs on a real Valkey, with places that do what a test says and documents that are indexed in no time."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.trace import format_span_id, format_trace_id

sys.path.insert(0, str(Path(__file__).parents[1]))

from span_recording import recorded_spans

from services.chassis.operations import Operation, OperationState
from services.chassis.operations_redis import RedisOperations
from services.chassis.steps import step
from services.retriever.access import EVERYONE, Access
from services.retriever.connectors.connector import Found, PlaceRefused, PlaceUnreachable, Seen, Unchanged, Unreadable, Visit
from services.retriever.documents import Documents, Incoming
from services.retriever.domain import Corpus, DocumentFailure, DocumentState, EmbeddingMode, Metric
from services.retriever.fsspec_blobs import FsspecBlobs
from services.retriever.idempotency import Request
from services.retriever.redis_catalog import PREFIX, RedisCatalog, open_redis
from services.retriever.redis_readers import RedisReaders
from services.retriever.redis_sources import RedisSources
from services.retriever.settings import SyncSettings, WorkerSettings
from services.retriever.source_domain import PlaceRecord, Source, SourceNotFound, SourcePaused, SourceSpec, SourceState
from services.retriever.sources import Sources
from services.retriever.sync_visit import SyncTools
from services.retriever.syncing import Syncing

CORPUS = Corpus(
    id="acme.handbook", display_name="", max_tokens=200, overlap_tokens=0, metric=Metric.COSINE, mode=EmbeddingMode.EAGER, fingerprint="f",
    dimensions=2, create_time=0.0, collection="c",
)  # fmt: skip
SPEC = SourceSpec(PlaceRecord("directory", {"path": "/srv", "include": [], "exclude": [], "base_uri": ""}))
BASE = "https://docs.example.com/"


class Store:
    """A store without chunks."""

    def __init__(self) -> None:
        self.deleted: list[str] = []

    async def get(self, corpus_id: str) -> Corpus:
        assert corpus_id == CORPUS.id
        return CORPUS

    async def delete_everywhere(self, corpus_id: str, document: str) -> None:
        self.deleted.append(document)

    async def regrant_everywhere(self, *_: Any) -> bool:
        return True


class Queue:
    """Nobody needs waking here."""

    async def wake(self, documents: int) -> None:
        pass


class Places:
    """Every place is allowed."""

    def check(self, record: PlaceRecord, tenant: str) -> None:
        assert tenant == "acme"


class Place:
    """A place whose pages are a mapping of key to text."""

    def __init__(self, **pages: str) -> None:
        self.pages = dict(pages)
        self.access: dict[str, Access] = {}
        self.unreadable: set[str] = set()
        self.error: Exception | None = None
        self.error_after = 0
        self.complete = True
        self.versions = True
        self.delay = 0.0
        self.read: list[str] = []
        self.visits: list[Visit] = []
        self.closed = 0
        self.uri_prefix = BASE

    async def seen(self, visit: Visit) -> AsyncGenerator[Seen]:
        self.visits.append(visit)
        visit.expected = len(self.pages)
        for number, (key, text) in enumerate(sorted(self.pages.items())):
            await asyncio.sleep(self.delay)
            if self.error and number >= self.error_after:
                raise self.error
            uri = f"{self.uri_prefix}{key}.md"
            version = f"{hash((text, self.access.get(key)))}" if self.versions else ""
            if key in self.unreadable:
                yield Unreadable(key, uri, DocumentFailure("It is locked.", reason="LOCKED"), self.access.get(key))
            elif version and not visit.full and visit.known.get(key) == version:
                yield Unchanged(key)
            else:
                self.read.append(key)
                yield Found(key, version, uri, "", "text/markdown", text.encode(), {}, self.access.get(key))
        if self.error:
            raise self.error
        visit.complete = self.complete
        visit.next_cursor = f"after {len(self.visits)}"

    async def close(self) -> None:
        self.closed += 1


class World:
    """Everything a sync touches, and a worker that indexes what it hands in."""

    def __init__(self, url: str, folder: Path, place: Place) -> None:
        self.redis = open_redis(url)
        self.place = place
        self.store = Store()
        self.catalog = RedisCatalog(self.redis)
        self.blobs = FsspecBlobs(str(folder / "blobs"))
        store: Any = self.store
        queue: Any = Queue()
        places: Any = Places()
        self.documents = Documents(store, self.catalog, self.blobs, queue, RedisReaders(self.redis))
        self.records = RedisSources(self.redis)
        self.sources = Sources(store, self.records, self.documents, queue, places)
        worker = WorkerSettings(lease_seconds=2.0, retry_base_seconds=0.05, retry_max_seconds=0.1)
        sync = SyncSettings(batch_documents=3, attempts=3)
        self.tools = SyncTools(self.records, store, self.documents, queue, worker, sync, 1 << 20)
        self.syncing = Syncing(self.tools, lambda record, tenant: self.place)
        self.operations = RedisOperations(self.redis, PREFIX, 30.0)
        self.failing: set[str] = set()
        self.indexed: list[str] = []

    async def index(self, enough: asyncio.Event) -> None:
        """Indexes documents as they come."""
        while not enough.is_set():
            for claimed in await self.catalog.claim("indexer", 10.0, 16, 1 << 20):
                if claimed.version.uri in self.failing:
                    await self.catalog.fail(claimed, "indexer", DocumentFailure("It cannot be read.", reason="DOCUMENT_UNREADABLE"))
                else:
                    self.indexed.append(claimed.version.uri.removeprefix(BASE).removesuffix(".md"))
                    await self.documents.drop_blobs(await self.catalog.finish(claimed, "indexer", 1, 1, "") or [])
            await asyncio.sleep(0.01)

    async def create(self, spec: SourceSpec = SPEC, source: str = "docs") -> Source:
        return await self.sources.create(CORPUS.id, source, spec, paused=False, request_id="")

    async def work(self, source: str = "docs", seconds: float = 60.0) -> Source:
        """Works until the sync that goes on has ended."""
        ends_at = time.monotonic() + seconds
        enough = asyncio.Event()
        indexing = asyncio.create_task(self.index(enough))
        try:
            while time.monotonic() < ends_at:
                await self.syncing.take_up()
                await self.catalog.reclaim(3)
                found = await self.records.get(CORPUS.id, source)
                if found.state is not SourceState.SYNCING:
                    return found
                await asyncio.sleep(0.02)
            raise AssertionError(f"still {found}")
        finally:
            enough.set()
            await indexing

    async def sync(self, source: str = "docs", *, full: bool = False, confirm: bool = False) -> Source:
        await self.sources.sync(CORPUS.id, source, full=full, confirm=confirm)
        return await self.work(source)

    async def hand_in(self, key: str, text: str) -> Operation:
        async def content() -> AsyncIterator[bytes]:
            yield text.encode()

        received = await self.documents.receive(CORPUS, Incoming(f"{BASE}{key}.md", "", "text/markdown", {}), content(), 1000)
        return await self.operations.get(await self.documents.commit(CORPUS, [received], ""))

    async def texts(self) -> dict[str, str]:
        found, _, _ = await self.catalog.list_documents(CORPUS.id, DocumentState.ACTIVE, 1000, "")
        contents = {each.version.uri: (await self.blobs.read(each.version.blob)).decode() for each in found}
        return {uri.removeprefix(BASE).removesuffix(".md"): text for uri, text in contents.items()}

    async def operation(self, source: Source) -> Operation:
        assert source.last_sync is not None
        return await self.operations.get(source.last_sync.operation)


def counts(source: Source) -> tuple[int, int, int, int, int]:
    """Added, changed, removed, unchanged, failed."""
    last = source.last_sync
    assert last is not None
    return last.added, last.changed, last.removed, last.unchanged, last.failed


async def until(condition: Callable[[], bool]) -> None:
    """Waits; the test's own time limit ends it."""
    while not condition():
        await asyncio.sleep(0.01)


def pages(count: int) -> dict[str, str]:
    return {f"p{number:02d}": f"text {number}" for number in range(count)}


@pytest.fixture
def place() -> Place:
    return Place(**pages(10))


@pytest.fixture
async def world(trainer_valkey: str, tmp_path: Path, place: Place) -> AsyncIterator[World]:
    made = World(trainer_valkey, tmp_path, place)
    await made.redis.flushdb()
    yield made
    await made.syncing.stop()
    await made.redis.aclose()


async def test_a_first_sync_ends_when_its_documents_answer(world: World, place: Place) -> None:
    created = await world.create()
    assert created.state is SourceState.SYNCING
    source = await world.work()
    assert source.state is SourceState.IDLE
    assert counts(source) == (10, 0, 0, 0, 0)
    assert source.document_count == 10
    assert await world.texts() == pages(10)
    operation = await world.operation(source)
    assert (operation.kind, operation.target) == ("SYNC_SOURCE", f"corpora/{CORPUS.id}/sources/docs")
    assert (operation.state, operation.total, operation.succeeded) == (OperationState.SUCCEEDED, 10, 10)
    assert place.closed == 1
    listed, _ = await world.operations.list_operations(f"corpora/{CORPUS.id}", 10, "")
    assert [each.id for each in listed] == [operation.id]


@pytest.mark.parametrize("versions", [True, False])
async def test_a_sync_touches_only_what_changed(world: World, place: Place, versions: bool) -> None:
    place.versions = versions
    await world.create()
    await world.work()
    world.indexed.clear()
    place.pages["p03"] = "new text"
    place.pages["more"] = "added"
    del place.pages["p05"]
    source = await world.sync()
    assert counts(source) == (1, 1, 1, 8, 0)
    assert sorted(world.indexed) == ["more", "p03"]
    assert await world.texts() == place.pages
    operation = await world.operation(source)
    assert (operation.total, operation.succeeded, operation.unchanged) == (11, 3, 8)
    assert place.visits[1].cursor == "after 1"
    blobs = sum(1 for each in Path(world.blobs._root).rglob("*") if each.is_file())
    assert blobs == 10


async def test_nothing_is_indexed_when_only_versions_differ(world: World, place: Place) -> None:
    await world.create()
    await world.work()
    world.indexed.clear()
    source = await world.sync(full=True)
    assert counts(source) == (0, 0, 0, 10, 0)
    assert world.indexed == []
    assert len(place.read) == 20


async def test_a_large_loss_is_asked_about_and_then_done(world: World, place: Place) -> None:
    await world.create()
    await world.work()
    gone = [f"p{number:02d}" for number in range(6)]
    for key in gone:
        del place.pages[key]
    source = await world.sync()
    assert source.state is SourceState.WAITING_FOR_CONFIRMATION
    assert source.last_sync is not None
    assert source.last_sync.withheld == 6
    assert counts(source) == (0, 0, 0, 4, 0)
    assert len(await world.texts()) == 10
    source = await world.sync(confirm=True)
    assert source.state is SourceState.IDLE
    assert counts(source) == (0, 0, 6, 4, 0)
    assert await world.texts() == place.pages
    assert len(set(world.store.deleted)) == 6


async def test_what_comes_back_after_a_large_loss_goes_on_as_if_nothing_had_been(world: World, place: Place) -> None:
    await world.create()
    await world.work()
    before = dict(place.pages)
    place.pages.clear()
    assert (await world.sync()).state is SourceState.WAITING_FOR_CONFIRMATION
    place.pages.update(before)
    source = await world.sync()
    assert (source.state, counts(source)) == (SourceState.IDLE, (0, 0, 0, 10, 0))


async def test_fewer_than_five_are_removed_without_being_asked(world: World, place: Place) -> None:
    place.pages = pages(4)
    await world.create()
    await world.work()
    place.pages.clear()
    assert counts(await world.sync()) == (0, 0, 4, 0, 0)


async def test_nothing_is_removed_when_not_everything_was_seen(world: World, place: Place) -> None:
    await world.create()
    await world.work()
    del place.pages["p01"]
    place.complete = False
    assert counts(await world.sync()) == (0, 0, 0, 9, 0)
    assert len(await world.texts()) == 10


async def test_a_place_that_cannot_be_reached_is_tried_again_and_then_given_up_with_nothing_lost(world: World, place: Place) -> None:
    spec = SourceSpec(SPEC.place, interval_seconds=60.0)
    await world.create(spec)
    await world.work()
    place.error, place.error_after = PlaceUnreachable("The disk is away."), 4
    del place.pages["p01"]
    place.pages["p02"] = "read before it broke off"
    source = await world.sync()
    assert source.state is SourceState.FAILED
    assert b"SOURCE_UNREACHABLE" in source.error
    assert len(place.visits) == 4
    assert source.next_sync_time is not None
    operation = await world.operation(source)
    assert operation.state is OperationState.FAILED
    assert len(await world.texts()) == 10
    assert (await world.texts())["p02"] == "read before it broke off"
    place.error = None
    source = await world.sync()
    assert (source.state, source.error, counts(source)) == (SourceState.IDLE, b"", (0, 0, 1, 9, 0))


async def test_waiting_for_the_next_attempt_is_shown(world: World, place: Place) -> None:
    await world.create()
    place.error = PlaceUnreachable("Away.", retry_after_seconds=1.0)
    await world.syncing.take_up()
    await world.syncing.idle()
    source = await world.records.get(CORPUS.id, "docs")
    assert (await world.operations.get(source.operation)).state is OperationState.WAITING_TO_RETRY
    assert await world.syncing.take_up() == 0


async def test_a_place_that_refuses_fails_at_once(world: World, place: Place) -> None:
    await world.create()
    place.error = PlaceRefused("The token is not accepted.")
    source = await world.work()
    assert source.state is SourceState.FAILED
    assert b"SOURCE_REFUSED" in source.error
    assert len(place.visits) == 1


async def test_a_connector_that_breaks_fails_the_sync_and_says_nothing_of_what_it_knew(world: World, place: Place) -> None:
    await world.create()
    place.error = RuntimeError("Authorization: Basic c2VjcmV0")
    source = await world.work()
    assert source.state is SourceState.FAILED
    assert b"RuntimeError" in source.error
    assert b"c2VjcmV0" not in source.error


async def test_what_cannot_be_read_keeps_its_last_good_version(world: World, place: Place) -> None:
    await world.create()
    await world.work()
    place.pages["p03"] = "cannot be indexed"
    world.failing.add(f"{BASE}p03.md")
    place.unreadable.add("p04")
    source = await world.sync()
    assert counts(source) == (0, 0, 0, 8, 2)
    assert source.last_sync is not None
    assert {failure.uri for failure in source.last_sync.failures} == {f"{BASE}p03.md", f"{BASE}p04.md"}
    assert len(world.store.deleted) == 0
    source = await world.sync()
    assert counts(source) == (0, 0, 0, 8, 2), "it is still failed, and is not tried again for nothing"
    assert place.visits[2].cursor == "after 1", "what changed since then has not all been read"
    world.failing.clear()
    assert counts(await world.sync(full=True)) == (0, 1, 0, 8, 1), "asked to read everything, it tries"
    place.unreadable.clear()
    place.pages["p03"] = "mended"
    assert counts(await world.sync()) == (0, 1, 0, 9, 0)


async def test_who_may_read_a_document_follows_the_place(world: World, place: Place) -> None:
    place.access["p01"] = EVERYONE
    await world.create()
    await world.work()
    world.indexed.clear()
    place.access["p01"] = Access.listed(groups=["hr"])
    source = await world.sync()
    assert counts(source) == (0, 1, 0, 9, 0)
    assert world.indexed == []
    found, _, _ = await world.catalog.list_documents(CORPUS.id, None, 100, "")
    assert {each.access for each in found if each.version.uri.endswith("p01.md")} == {Access.listed(groups=["hr"])}
    assert {each.access for each in found if not each.version.uri.endswith("p01.md")} == {EVERYONE}


@pytest.mark.parametrize("why", ["cannot be read", "is too large"])
async def test_who_may_read_a_document_follows_the_place_also_when_the_document_cannot_be_taken(
    world: World, place: Place, why: str
) -> None:
    await world.create()
    await world.work()
    place.access["p01"] = Access.listed(groups=["hr"])
    if why == "cannot be read":
        place.unreadable.add("p01")
    else:
        place.pages["p01"] = "long " * (1 << 18)
    source = await world.sync()
    assert counts(source) == (0, 0, 0, 9, 1)
    found, _, _ = await world.catalog.list_documents(CORPUS.id, None, 100, "")
    assert {each.access for each in found if each.version.uri.endswith("p01.md")} == {Access.listed(groups=["hr"])}
    assert {each.access for each in found if not each.version.uri.endswith("p01.md")} == {EVERYONE}


async def test_documents_handed_in_by_a_call_are_not_touched_nor_those_of_another_source(world: World, place: Place) -> None:
    await world.hand_in("p01", "handed in")
    await world.create()
    source = await world.work()
    assert counts(source) == (9, 0, 0, 0, 1)
    assert source.last_sync is not None
    assert b"DOCUMENT_BELONGS_TO_ANOTHER_SOURCE" in source.last_sync.failures[0].error
    assert (await world.texts())["p01"] == "handed in"
    other = await world.create(source="other")
    assert other.state is SourceState.SYNCING
    assert counts(await world.work("other")) == (0, 0, 0, 0, 10)
    operation = await world.hand_in("p02", "by a call")
    assert (operation.state, operation.failed) == (OperationState.SUCCEEDED, 1)
    place.pages.clear()
    await world.sync(confirm=True)
    assert await world.texts() == {"p01": "handed in"}


async def test_a_worker_that_is_lost_is_replaced_and_finished_items_are_not_done_again(
    world: World, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(*_: Any) -> None:
        pass

    place.delay = 0.1
    await world.create()
    await world.syncing.take_up()
    enough = asyncio.Event()
    indexing = asyncio.create_task(world.index(enough))
    await until(lambda: len(world.indexed) >= 3)
    # As kill -9 would: nothing is given back.
    with monkeypatch.context() as patched:
        patched.setattr(world.records, "give_back", nothing)
        await world.syncing.stop()
    enough.set()
    await indexing
    source = await world.work()
    assert counts(source) == (10, 0, 0, 0, 0)
    assert sorted(world.indexed) == sorted(place.pages)
    assert len(place.visits[1].known) >= 3
    operation = await world.operation(source)
    assert (operation.total, operation.succeeded) == (10, 10)


async def test_a_sync_that_loses_three_workers_is_set_aside(world: World) -> None:
    await world.create()
    for _ in range(3):
        assert await world.records.claim("lost", 0.001) is not None
        await asyncio.sleep(0.01)
        await world.catalog.reclaim(3)
    source = await world.records.get(CORPUS.id, "docs")
    assert source.state is SourceState.FAILED
    assert b"WORKER_LOST" in source.error


async def test_a_worker_told_to_stop_gives_its_sync_back(world: World, place: Place) -> None:
    place.delay = 0.1
    await world.create()
    await world.syncing.take_up()
    await until(lambda: bool(place.read))
    await world.syncing.stop()
    again = await world.records.claim("other", 10.0)
    assert again is not None
    assert place.closed == 1


async def test_a_paused_source_stops_at_once_and_is_taken_up_where_it_stood(world: World, place: Place) -> None:
    place.delay = 0.1
    await world.create()
    await world.syncing.take_up()
    await until(lambda: len(place.read) >= 4)
    paused = await world.sources.pause(CORPUS.id, "docs")
    assert paused.state is SourceState.PAUSED
    operation = await world.operation(paused)
    assert operation.state is OperationState.CANCELLED
    assert operation.done == operation.total
    with pytest.raises(SourcePaused):
        await world.sources.sync(CORPUS.id, "docs", full=False, confirm=False)
    await world.syncing.idle()
    seen = len(place.read)
    await asyncio.sleep(0.1)
    assert len(place.read) == seen < 10
    place.delay = 0.0
    assert (await world.sources.resume(CORPUS.id, "docs")).state is SourceState.IDLE
    await world.sync()
    assert await world.texts() == pages(10)


async def test_a_cancelled_operation_ends_the_sync(world: World, place: Place) -> None:
    place.delay = 0.1
    source = await world.create()
    await world.syncing.take_up()
    await until(lambda: len(place.read) >= 4)
    await world.documents.drop_blobs(await world.catalog.cancel(source.operation))
    assert (await world.operations.get(source.operation)).state is OperationState.CANCELLED
    assert (await world.records.get(CORPUS.id, "docs")).state is SourceState.IDLE


async def test_two_beats_and_two_workers_sync_once(world: World, place: Place) -> None:
    await world.create(SourceSpec(SPEC.place, interval_seconds=10.0))
    await world.work()
    await world.redis.zadd(f"{PREFIX}syncs:due", {f"{CORPUS.id}/docs": 1})
    begun = await asyncio.gather(*(world.syncing.begin_due() for _ in range(8)))
    assert sum(begun) == 1
    other = Syncing(world.tools, lambda record, tenant: world.place)
    taken = await asyncio.gather(world.syncing.take_up(), other.take_up(), other.take_up())
    assert sum(taken) == 1
    await world.work()
    await other.idle()
    assert len(place.visits) == 2
    due = await world.redis.zscore(f"{PREFIX}syncs:due", f"{CORPUS.id}/docs")
    assert due > time.time() * 1000, "what was missed is caught up once"


async def test_another_interval_holds_at_once(world: World) -> None:
    await world.create()
    source = await world.work()
    assert source.next_sync_time is None
    updated = await world.sources.update(
        CORPUS.id, "docs", SourceSpec(SPEC.place, interval_seconds=3600.0), frozenset({"interval_seconds"}), ""
    )
    assert updated.next_sync_time is not None
    assert 3500 < updated.next_sync_time - time.time() <= 3600
    updated = await world.sources.update(CORPUS.id, "docs", SourceSpec(SPEC.place), frozenset({"interval_seconds"}), "")
    assert updated.next_sync_time is None


async def test_another_place_has_everything_compared_and_moved(world: World, place: Place) -> None:
    await world.create()
    await world.work()
    moved = SourceSpec(PlaceRecord("directory", {"path": "/srv", "include": [], "exclude": [], "base_uri": "https://wiki.example.com/"}))
    await world.sources.update(CORPUS.id, "docs", moved, frozenset({"place"}), "")
    place.uri_prefix = "https://wiki.example.com/"
    source = await world.sync()
    assert place.visits[1].full
    assert place.visits[1].cursor == ""
    assert counts(source) == (10, 0, 10, 0, 0)
    assert all(uri.startswith("https://wiki.example.com/") for uri in await world.texts())
    assert source.document_count == 10


async def test_another_default_access_is_given_at_once(world: World) -> None:
    await world.create()
    await world.work()
    spec = SourceSpec(SPEC.place, default_access=Access.listed(groups=["staff"]))
    updated = await world.sources.update(CORPUS.id, "docs", spec, frozenset({"default_access"}), "")
    assert updated.state is SourceState.SYNCING
    assert counts(await world.work()) == (0, 10, 0, 0, 0)
    found, _, _ = await world.catalog.list_documents(CORPUS.id, None, 100, "")
    assert {each.access for each in found} == {Access.listed(groups=["staff"])}


async def test_deleting_a_source_leaves_its_documents_unless_they_are_to_go(world: World) -> None:
    await world.create()
    await world.work()
    assert await world.sources.delete(CORPUS.id, "docs", documents=False, request_id="r1") == 0
    assert await world.sources.delete(CORPUS.id, "docs", documents=False, request_id="r1") == 0
    with pytest.raises(SourceNotFound):
        await world.sources.get(CORPUS.id, "docs")
    assert len(await world.texts()) == 10
    await world.create(source="again")
    assert counts(await world.work("again")) == (0, 0, 0, 10, 0), "documents that nobody keeps are taken over"
    assert await world.sources.delete(CORPUS.id, "again", documents=True, request_id="r2") == 10
    assert await world.sources.delete(CORPUS.id, "again", documents=True, request_id="r2") == 10
    assert await world.texts() == {}
    left = [key async for key in world.redis.scan_iter(f"{PREFIX}source*")]
    assert left == []


async def test_a_deletion_that_was_interrupted_is_completed(world: World) -> None:
    await world.create()
    await world.work()
    await world.records.begin_delete(CORPUS.id, "docs", documents=True)
    assert await world.records.leaving() == [(CORPUS.id, "docs")]
    await world.sources.complete_deletions()
    assert await world.texts() == {}
    assert await world.records.leaving() == []


async def test_deleting_a_corpus_deletes_its_sources(world: World) -> None:
    await world.create(SourceSpec(SPEC.place, interval_seconds=60.0))
    await world.work()
    operation = await world.records.begin(CORPUS.id, "docs", full=False, confirm=False)
    await world.catalog.begin_forgetting(CORPUS.id)
    await world.catalog.forget_corpus(CORPUS.id, Request("", "", ""))
    assert (await world.operations.get(operation)).state is OperationState.CANCELLED
    left = [key async for key in world.redis.scan_iter(f"{PREFIX}s[oy][un]*")]
    assert left == []


async def test_a_document_deleted_by_hand_comes_back_with_the_next_sync(world: World, place: Place) -> None:
    await world.create()
    await world.work()
    found, _, _ = await world.catalog.list_documents(CORPUS.id, None, 1, "")
    await world.documents.delete(CORPUS.id, found[0].id, allow_missing=False, request_id="")
    assert len(await world.texts()) == 9
    assert counts(await world.sync()) == (1, 0, 0, 9, 0)
    assert await world.texts() == place.pages


async def test_a_sync_and_its_documents_are_in_the_trace_of_the_call_that_asked_for_it(world: World) -> None:
    with recorded_spans() as spans:
        with step("CreateSource"):
            await world.create()
        # Whoever happens to wake the worker has nothing to do with it.
        with step("process ingest"):
            await world.work()
        await world.syncing.idle()
    call, synced = spans.one("CreateSource").context, spans.one("sync source")
    assert spans.parent(synced) == "CreateSource"
    assert (synced.attributes or {})["corella.sync.ended"] == "done"
    documents, _, _ = await world.catalog.list_documents(CORPUS.id, None, 10, "")
    assert documents
    for document in documents:
        trace_id, span_id = document.version.traceparent.split("-")[1:3]
        assert (trace_id, span_id) == (format_trace_id(call.trace_id), format_span_id(synced.context.span_id))
