"""20,000 searches by random people against tables that say who may read what: no leak, and nothing missed that is allowed.

Slow because there are so many: a minute and a half. The long run (`make test-long`, or CORELLA_ORACLE_SEARCHES=…) does ten times as many.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from permission_world import WORDS, Place, Told, World, admits, fulfils
from retriever_in_process import Retriever, Servers, servers

from services.chassis.identity import Caller
from services.retriever.analysis import analyse
from services.retriever.domain import Chunk, Condition, DocumentNotFound, DocumentNotReadable, Query, SearchMode
from services.retriever.filters import all_of, expression
from services.retriever.names import document_id

SEARCHES = 20_000
BETWEEN_CHANGES = 80
ALL = 1_000
"""Longer than any list here, so that what is found is everything that is to be found."""
AT_ONCE = 6
KEYWORD, VECTOR, HYBRID = SearchMode.KEYWORD, SearchMode.VECTOR, SearchMode.HYBRID


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Servers, Path]]:
    folder = tmp_path_factory.mktemp("oracle")
    with servers(folder) as at:
        yield at, folder


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_no_search_returns_what_is_not_allowed_or_misses_what_is(running: tuple[Servers, Path]) -> None:
    """Some 90 seconds on two cores."""
    done = await examine(Retriever(*running), seed=1, searches=int(os.environ.get("CORELLA_ORACLE_SEARCHES", SEARCHES)))
    print(dict(done))
    assert min(done["allowed"], done["hidden"]) > done["searches"]


@pytest.mark.long
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("seed", range(2, 12))
async def test_no_search_of_many_more_does_either(running: tuple[Servers, Path], seed: int) -> None:
    done = await examine(Retriever(*running), seed=seed, searches=SEARCHES)
    assert done["searches"] >= SEARCHES


@pytest.mark.parametrize("forgotten", ["keyword", "nearest", "fetch", "positions", "count"])
async def test_a_store_that_forgot_the_filter_would_be_found_out(running: tuple[Servers, Path], forgotten: str) -> None:
    """The examination itself is examined: with the filter taken out of one place it must fail."""
    retriever = Retriever(*running)
    whole = getattr(retriever.store, forgotten)
    # Which argument of each method is the filter.
    place = {"keyword": 3, "nearest": 3, "fetch": 2, "positions": 4, "count": 1}[forgotten]
    # What a chunk says of itself is compared as well, so a hit that should not have been listed would fall at the next hurdle.
    blind = {"keyword": {"fetch": 2}, "nearest": {"fetch": 2}}.get(forgotten, {}) | {forgotten: place}

    def without_filter(method: Any, at: int) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            kept = [*arguments]
            if len(kept) > at:
                kept[at] = "access >= -1"
            return method(*kept, **options)

        return call

    assert callable(whole)
    for name, at in blind.items():
        setattr(retriever.store, name, without_filter(getattr(retriever.store, name), at))
    with pytest.MonkeyPatch.context() as patch:
        # `Readable.admits` is the second lock on the same door.
        patch.setattr("services.retriever.access.Readable.admits", lambda self, access: True)
        with pytest.raises(AssertionError, match=r"leak|outline|counts"):
            await examine(retriever, seed=3, searches=2_000)


async def examine(retriever: Retriever, *, seed: int, searches: int) -> Counter[str]:
    """Builds a world, changes it, and compares everything that returns something of a document with the tables."""
    world = World(retriever, seed)
    done: Counter[str] = Counter()
    try:
        await retriever.redis.flushall()
        for corpus in await retriever.store.list_corpora():
            await retriever.store.drop(corpus.id)
        await world.build(documents=7)
        round_number = 0
        while done["searches"] < searches:
            round_number += 1
            for _ in range(world.random.choice((1, 2))):
                await world.change()
            if world.random.random() < 0.4:
                await world.work()
            if round_number % 10 == 0:
                await retriever.warmer.work_once()
            # Rows that were not written out yet make every search of Milvus Lite four times as slow.
            for place in world.places:
                if round_number % 5 or round_number < 5:
                    await retriever.store.settle(await retriever.store.get(place.inner))
            await _searches(world, done)
            await _others(world, done)
        return done
    finally:
        await retriever.close()


async def _searches(world: World, done: Counter[str]) -> None:
    free = asyncio.Semaphore(AT_ONCE)

    async def one(place: Place, caller: Caller, words: list[str], conditions: tuple[Condition, ...], mode: SearchMode, whole: bool) -> None:
        async with free:
            found = await (_search if whole else _list)(world, place, caller, words, conditions, mode)
        allowed, hidden = _expected(place, caller, words, conditions)
        everything = allowed["all"]
        least = allowed["matching"] if mode is KEYWORD or place.lazy else everything
        most = allowed["matching"] if mode is KEYWORD else everything
        assert not found & hidden, f"leak: {caller} found {found & hidden} by {mode} in {place.inner}"
        assert found <= most, f"leak: {caller} found {found - most} by {mode} in {place.inner}"
        assert found >= least, f"missed: {caller} did not find {least - found} by {mode} in {place.inner}"
        done.update(searches=1, allowed=len(found), hidden=len(hidden))

    searches = []
    for _ in range(BETWEEN_CHANGES):
        pick, place = world.random, world.random.choice(world.places)
        # Some are put as a whole, through fusion and fetch; the others ask for one list, with the filter that a search makes.
        whole = pick.random() < 0.15
        mode = pick.choices((KEYWORD, VECTOR, HYBRID), weights=(6, 3, 2 if whole else 0))[0]
        words, conditions = pick.sample(WORDS, pick.choice((1, 1, 2))), world.condition()
        searches.append(one(place, world.caller(place.tenant), words, conditions, mode, whole))
    for outcome in await asyncio.gather(*searches, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome


Parts = frozenset[tuple[str, frozenset[str]]]
"""Chunks as (URI, words)."""


async def _search(
    world: World, place: Place, caller: Caller, words: list[str], conditions: tuple[Condition, ...], mode: SearchMode
) -> Parts:
    query = Query(place.inner, " ".join(words), ALL, mode, None, ALL, ALL, conditions, None, rerank=False)
    return frozenset(_part(passage.chunk) for passage in (await world.retriever.retrieval.search(query, caller)).passages)


async def _list(world: World, place: Place, caller: Caller, words: list[str], conditions: tuple[Condition, ...], mode: SearchMode) -> Parts:
    """One list of the store, under the filter that a search makes; in a lazy corpus by keyword, where vectors may be missing."""
    store = world.retriever.store
    corpus = await store.get(place.inner)
    readable = await world.retriever.readers.readable(place.inner, caller)
    where = all_of(readable.expression, expression(conditions))
    text = " ".join(words)
    if mode is KEYWORD or place.lazy:
        hits = await store.keyword(corpus, analyse(text), ALL, where)
    else:
        vector, _ = await world.retriever.embedder.embed_query(text)
        hits = await store.nearest(corpus, vector, ALL, where)
    known = _known_ids(world, place)
    missing = [hit.id for hit in hits if hit.id not in known]
    # Read without a filter: whatever the list held has to be explained.
    known |= {chunk.id: _part(chunk) for chunk in await store.fetch(corpus, missing)} if missing else {}
    return frozenset(known[hit.id] for hit in hits)


_IDS: dict[tuple[int, str], dict[str, tuple[str, frozenset[str]]]] = {}


def _known_ids(world: World, place: Place) -> dict[str, tuple[str, frozenset[str]]]:
    """What earlier searches found out about ids: an id follows from what the chunk says, so it never means anything else."""
    return _IDS.setdefault((id(world), place.inner), {})


def _part(chunk: Chunk) -> tuple[str, frozenset[str]]:
    return chunk.uri, frozenset(chunk.text.split())


def _expected(place: Place, caller: Caller, words: list[str], conditions: tuple[Condition, ...]) -> tuple[dict[str, Parts], Parts]:
    """Chunks that must be found, among all and among those that hold a word; and those that must not."""
    everything, matching, hidden = set(), set(), set()
    for told in place.told.values():
        if not told.answers:
            continue
        for section in told.sections:
            if not admits(told.rows, caller):
                hidden.add((told.uri, section))
            elif fulfils(told.kind, conditions):
                everything.add((told.uri, section))
                if section & set(words):
                    matching.add((told.uri, section))
    return {"all": frozenset(everything), "matching": frozenset(matching)}, frozenset(hidden)


async def _others(world: World, done: Counter[str]) -> None:
    """Everything else that returns, counts or betrays something."""
    place = world.random.choice(world.places)
    caller = world.caller(place.tenant)
    told = list(place.told.values())
    admin = "admin" in caller.roles
    shown = [each for each in told if admin or admits(each.access, caller)]
    rows = [each for each in told if each.answers and (admin or admits(each.rows, caller))]
    retriever = world.retriever

    _, counts = await retriever.corpora.get(caller, place.inner)
    expected = (len(shown), sum(len(set(each.sections)) for each in rows))
    assert (counts.documents, counts.chunks) == expected, f"counts: {counts} for {caller}, expected {expected}"

    listed, after = [], ""
    while True:
        page, after, total = await retriever.documents.list_documents(caller, place.inner, None, 4, after)
        listed += page
        assert total == len(shown), f"counts: {total} for {caller}, expected {len(shown)}"
        if not after:
            break
    assert [each.id for each in listed] == sorted(document_id(each.uri) for each in shown), f"outline: the list of {caller}"

    for each in world.random.sample(told, min(3, len(told))):
        await _one_document(world, place, caller, each)
    done.update(others=1)


async def _one_document(world: World, place: Place, caller: Caller, told: Told) -> None:
    name, retriever = document_id(told.uri), world.retriever
    may_read, admin = admits(told.access, caller), "admin" in caller.roles
    try:
        document, content = await retriever.documents.get(caller, place.inner, name, content=True)
        assert may_read, f"leak: {caller} got {told.uri}"
        assert document.version.metadata == {"kind": told.newest_kind}
        assert content
    except (DocumentNotFound, DocumentNotReadable) as error:
        assert not may_read, f"missed: {caller} did not get {told.uri}"
        assert admin == isinstance(error, DocumentNotReadable)  # noqa: PT017 which of the two depends on the caller
    stored = await retriever.store.positions(await retriever.store.get(place.inner), name, 0, ALL, "access >= -1")
    rows = frozenset(_part(chunk) for chunk in stored if admits(told.rows, caller))
    try:
        chunks, _ = await retriever.chunks.of_document(caller, place.inner, name, ALL, 0)
        assert may_read, f"leak: {caller} got chunks of {told.uri}"
        assert frozenset(map(_part, chunks)) == rows, f"leak: chunks of {told.uri} for {caller}"
    except (DocumentNotFound, DocumentNotReadable):
        assert not may_read
    named = await retriever.chunks.named(caller, place.inner, [(name, chunk.id) for chunk in stored])
    assert frozenset(map(_part, named.values())) == rows, f"leak: named chunks of {told.uri} for {caller}"
