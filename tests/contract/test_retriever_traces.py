"""What a document, a search and a sync leave in traces, and what the beat reports of them: real Valkey and Milvus Lite, in this process."""

from __future__ import annotations

import re
import secrets
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode
from redis import Redis as BlockingRedis
from retriever_in_process import EVERYTHING, HereReader, Retriever, Servers, SilentQueue, WordEmbedder
from retriever_stack import RetrieverStack

sys.path.insert(0, str(Path(__file__).parents[1]))

from otlp_receiver import orphans, path
from span_recording import RecordedSpans, recorded_spans

from corella.tracing.spans import Span
from services.chassis.errors import Unavailable
from services.chassis.steps import current_traceparent, step
from services.retriever.domain import IndexWish, Query, SearchMode
from services.retriever.idempotency import Request
from services.retriever.index_building import IndexBuilding
from services.retriever.ingestion import Ingestion
from services.retriever.redis_catalog import PREFIX
from services.retriever.redis_indexing import RedisIndexing
from services.retriever.redis_sources import RedisSources
from services.retriever.reindexing import Reindexing
from services.retriever.settings import WorkerSettings
from services.retriever.source_domain import PlaceRecord, SourceSpec
from services.retriever.standing import Standing
from tests.waiting import until

MARKER = "Zanzibarium"
DATABASE = 7
"""Of the stack's Valkey: its own worker looks at 0."""


class Embedder(WordEmbedder):
    """Leaves a span for each call, as the real one's client does, and may be away."""

    def __init__(self) -> None:
        self.away = 0

    async def embed_documents(self, texts: Sequence[str], _fingerprint: str = "") -> tuple[np.ndarray, str]:
        with step("Embed"):
            if self.away:
                self.away -= 1
                raise Unavailable(f"cannot embed {texts[0]}")
            return await super().embed_documents(texts)


@pytest.fixture
def at(toy_stack: RetrieverStack) -> Servers:
    url = toy_stack.redis_url.removesuffix("/0") + f"/{DATABASE}"
    BlockingRedis.from_url(url).flushdb()
    return Servers(url, toy_stack.milvus_uri)


@pytest.fixture
async def retriever(at: Servers, tmp_path: Path) -> AsyncIterator[Retriever]:
    made = Retriever(at, tmp_path)
    made.embedder = Embedder()
    settings = WorkerSettings(retry_base_seconds=0.01)
    made.ingestion = Ingestion(made.store, made.catalog, made.blobs, made.embedder, sandbox=HereReader(), settings=settings)  # type: ignore[arg-type]
    yield made
    await made.close()


def below(spans: RecordedSpans, top: ReadableSpan) -> list[str]:
    """Paths of the spans of a trace, from its root."""
    by_id = {span.context.span_id: span for span in spans.all}
    paths = []
    for span in spans.all:
        if span.context.trace_id != top.context.trace_id:
            continue
        path, at = [span.name.partition(" corella_")[0]], span
        while at.parent is not None:
            assert at.parent.span_id in by_id, f"{at.name} is an orphan"
            at = by_id[at.parent.span_id]
            path.append(at.name.partition(" corella_")[0])
        paths.append(" > ".join(reversed(path)))
    return paths


async def hand_in(retriever: Retriever, corpus: str, name: str, text: str) -> None:
    with step(f"call of {name}"):
        await retriever.hand_in(corpus, (f"https://docs.example.com/{name}.md", text, None))


async def test_one_document_is_one_trace_also_when_it_is_worked_on_with_others(retriever: Retriever) -> None:
    await retriever.create("traced")
    with recorded_spans() as spans:
        for name in ("a", "b"):
            await hand_in(retriever, "traced", name, f"# {name}\n\n{MARKER} of {name}.\n")
        await retriever.work()
        await retriever.close()
    first, second = below(spans, spans.one("call of a")), below(spans, spans.one("call of b"))
    for paths, name in ((first, "a"), (second, "b")):
        top = f"call of {name} > ingest document"
        for wanted in (top, f"{top} > read document", f"{top} > chunk", f"{top} > embed", f"{top} > upsert"):
            assert paths.count(wanted) == 1, (wanted, paths)
    assert {(span.attributes or {}).get("db.stored_procedure.name") for span in spans.named("EVALSHA")} >= {"document FINISH", "LOCK"}
    assert "call of a > ingest document > embed > Embed" in first
    assert "call of a > ingest document > upsert > upsert" in first
    # Both were embedded and written in the same calls.
    owners = {span.name: span for span in spans.named("embed") if not span.links}
    assert [span.links[0].context.span_id for span in spans.named("embed") if span.links] == [owners["embed"].context.span_id]
    batch = spans.one("ingest documents")
    documents = spans.named("ingest document")
    assert {link.context.span_id for link in batch.links} == {span.context.span_id for span in documents}
    assert [(span.attributes or {})["corella.document.state"] for span in documents] == ["ACTIVE", "ACTIVE"]
    written = next(span for span in spans.all if span.name.startswith("upsert corella_"))
    attributes = written.attributes or {}
    assert (attributes["db.system.name"], attributes["db.operation.name"], attributes["db.operation.batch.size"]) == ("milvus", "upsert", 2)
    assert (attributes["server.address"], written.name) == ("127.0.0.1", f"upsert {attributes['db.collection.name']}")
    assert all(span.status.status_code is not StatusCode.ERROR for span in spans.all)
    assert MARKER not in spans.everything()


async def test_a_document_that_waits_for_the_embedder_and_one_that_fails_stay_in_their_traces(retriever: Retriever) -> None:
    await retriever.create("troubled")
    assert isinstance(retriever.embedder, Embedder)
    retriever.embedder.away = 1
    with recorded_spans() as spans:
        await hand_in(retriever, "troubled", "waits", f"# W\n\n{MARKER} waits.\n")
        await retriever.work()
        while len(spans.named("ingest document")) < 2:
            await retriever.work()
        await hand_in(retriever, "troubled", "empty", " \n ")
        await retriever.work()
    waited, retried, failed = spans.named("ingest document")
    assert waited.context.trace_id == retried.context.trace_id == spans.one("call of waits").context.trace_id
    assert [(span.attributes or {})["corella.document.state"] for span in (waited, retried, failed)] == ["PENDING", "ACTIVE", "FAILED"]
    assert [(span.attributes or {})["corella.document.retries"] for span in (waited, retried)] == [0, 1]
    assert [span.status.status_code for span in (waited, retried, failed)] == [StatusCode.ERROR, StatusCode.UNSET, StatusCode.ERROR]
    assert spans.parent(failed) == "call of empty"
    assert (failed.attributes or {})["error.type"]
    below(spans, waited)
    below(spans, failed)
    assert MARKER not in spans.everything()


async def test_a_search_shows_its_steps_and_not_its_words(retriever: Retriever) -> None:
    await retriever.create("searched")
    await hand_in(retriever, "searched", "a", f"# a\n\n{MARKER} is here.\n")
    await retriever.work()
    query = Query("searched", f"where is {MARKER}", 5, SearchMode.HYBRID, None, 0, 0, (), None, rerank=False)
    with recorded_spans() as spans, step("Search"):
        found = await retriever.retrieval.search(query, EVERYTHING)
    assert len(found.passages) == 1
    search = spans.one("search")
    paths = below(spans, search)
    assert paths.count("Search > search > search") == 2
    assert {"Search > search > embed question", "Search > search > query"} <= set(paths)
    lists = [(span.attributes or {}).get("corella.search.field") for span in spans.all if span.name.startswith("search corella_")]
    assert sorted(map(str, lists)) == ["bm25", "vector"]
    attributes = search.attributes or {}
    assert (attributes["corella.search.passages"], attributes["corella.search.overlap"]) == (1, 1.0)
    assert 0 < attributes["corella.search.top_score"] <= 1  # type: ignore[operator]
    assert MARKER not in spans.everything()
    with recorded_spans() as spans:
        await retriever.store.list_corpora()
    assert spans.all == (), "work of no trace leaves none"


async def test_a_sync_goes_on_in_the_trace_of_the_call_that_asked_for_it(retriever: Retriever) -> None:
    sources = RedisSources(retriever.redis)
    spec = SourceSpec(PlaceRecord("directory", {"path": "/x"}), interval_seconds=0.05)
    with step("CreateSource"):
        await sources.create("c", "s", spec, paused=False, request=Request("CreateSource", "", ""))
        asked = current_traceparent()
    first = await sources.claim("one", 5)
    assert first is not None
    assert first.traceparent == asked
    await sources.give_back(first, "one")
    again = await sources.claim("two", 5)
    assert again is not None
    assert again.traceparent == asked, "whoever takes it up goes on in the same trace"
    assert await sources.close(again, "two", "", 0)
    assert await sources.settle(again, "two", 5) == "DONE"
    time.sleep(0.06)
    with step("something else"):
        assert await sources.begin_due() == 1
    scheduled = await sources.claim("three", 5)
    assert scheduled is not None
    assert scheduled.traceparent == ""


def test_a_document_is_one_trace_over_all_processes_and_follows_what_its_call_was_sampled_as(toy_stack: RetrieverStack) -> None:
    toy_stack.create("processes")
    receiver = toy_stack.receiver
    assert receiver is not None
    quiet, failing = secrets.token_hex(16), secrets.token_hex(16)

    def hand_in(name: str, text: str, trace_id: str = "") -> None:
        # As a caller whose trace is not sampled sends it.
        metadata = [("traceparent", f"00-{trace_id}-{secrets.token_hex(8)}-00")] if trace_id else []
        toy_stack.wait(toy_stack.ingest("processes", [(f"https://docs.example.com/{name}.md", text)], metadata=metadata))

    hand_in("quiet", f"# Quiet\n\n{MARKER} one.\n", quiet)
    hand_in("failing", " \n ", failing)
    hand_in("seen", f"# Seen\n\n{MARKER} two.\n")
    names = {uri.rpartition("/")[2].removesuffix(".md"): document.name for uri, document in toy_stack.documents("processes").items()}

    def of(name: str, spans: list[Span]) -> list[Span]:
        return [span for span in spans if span.name == "ingest document" and span.attributes.get("corella.document") == names[name]]

    (document,) = of("seen", receiver.until(lambda spans: bool(of("seen", spans)), 20))
    spans = receiver.settled(document.trace_id, 40, 2.0)
    assert orphans(spans) == []
    paths = {" / ".join(path(spans, span)) for span in spans}
    call, worker = "retriever: corella.v1.RetrieverService/IngestDocuments", "retriever-worker"
    taken = f"{call} / {worker}: ingest document"
    assert {
        call,
        f"{call} / retriever: send ingest / {worker}: process ingest",
        f"{call} / retriever: send ingest / {worker}: process ingest / {worker}: ingest documents",
        f"{taken} / {worker}: read document",
        f"{taken} / {worker}: chunk / {worker}: corella.v1.EmbedderService/CountTokens",
        f"{taken} / {worker}: embed / {worker}: corella.v1.EmbedderService/Embed",
    } <= paths, "\n".join(sorted(paths))
    assert any(each.startswith(f"{taken} / {worker}: upsert / {worker}: upsert corella_") for each in paths)
    # The one that failed is told all the same, as the root of what is known of its trace; of the quiet one nothing is.
    (failed,) = of("failing", receiver.until(lambda spans: bool(of("failing", spans)), 10))
    assert (failed.trace_id, failed.parent_id, failed.attributes["error.type"]) == (failing, "", "DOCUMENT_HAS_NO_TEXT")
    assert orphans(receiver.trace(failing)) == []
    assert [span.name for span in receiver.trace(quiet) if span.attributes.get("corella.trace.kept") != "slow"] == []
    assert not any(MARKER in str(span) for span in receiver.spans)


def test_the_workers_metrics_are_those_of_its_processes(toy_stack: RetrieverStack) -> None:
    toy_stack.fill("measured", [("https://docs.example.com/m.md", "# M\n\nMeasured.\n")])
    wanted = (
        r'service_name="corella-retriever-worker"',
        r'corella_ingest_documents_total\{corella_child="\d",corella_document_state="ACTIVE"\} [1-9]',
        r'corella_ingest_chunks_total\{corella_child="\d",corella_vector="computed"\} [1-9]',
        r'corella_cache_lookups_total\{corella_cache="vectors",corella_cache_result="miss",corella_child="\d"\} [1-9]',
        r'corella_ingest_document_duration_seconds_count\{corella_child="\d",corella_document_state="ACTIVE"\} [1-9]',
    )

    def missing() -> list[str]:
        with urllib.request.urlopen(f"http://127.0.0.1:{toy_stack.worker_metrics_port}/metrics") as answer:
            said = re.sub(r"\{(.*?)\}", lambda found: "{" + ",".join(sorted(found[1].split(","))) + "}", answer.read().decode())
        return [each for each in wanted if not re.search(each, said)]

    # Children report one after the other, and some may have worked for other tests.
    until(lambda: not missing(), 30, "all of them in the worker's metrics", patience=1)


async def test_the_beat_reports_what_stands_over_all_corpora(retriever: Retriever, at: Servers) -> None:
    redis = BlockingRedis.from_url(at.redis_url, decode_responses=True)
    standing = Standing(redis)

    def shown(name: str) -> dict[object, float]:
        return {next(iter(attributes.values())): value for value, attributes in standing.look()[name]}

    nothing = {"PENDING": 0, "PROCESSING": 0, "ACTIVE": 0, "FAILED": 0, "DELETING": 0}
    assert shown("corella.documents") == nothing
    assert shown("corella.queue.oldest_age") == {"ingest": 0, "sync": 0, "reindex": 0}
    for corpus in ("standing-a", "acme.standing-b"):
        await retriever.create(corpus)
        for number in range(2):
            await hand_in(retriever, corpus, f"d{number}", f"# {number}\n\nText {number}.\n")
    await hand_in(retriever, "standing-a", "empty", " ")
    await RedisSources(retriever.redis).create(
        "only-a-source", "s", SourceSpec(PlaceRecord("directory", {"path": "/x"})), paused=False, request=Request("CreateSource", "", "")
    )
    time.sleep(0.02)
    assert shown("corella.documents") == nothing | {"PENDING": 5}
    assert shown("corella.queue.depth") == {"ingest": 5, "sync": 1, "reindex": 0}
    assert 0.02 <= shown("corella.queue.oldest_age")["ingest"] < 30
    assert shown("corella.sources")["SYNCING"] == 1
    await retriever.work()
    assert shown("corella.documents") == nothing | {"ACTIVE": 4, "FAILED": 1}
    assert shown("corella.queue.depth")["ingest"] == shown("corella.queue.oldest_age")["ingest"] == 0
    # A catalog of a version that kept no set of corpora: found once, when the beat begins.
    redis.delete(f"{PREFIX}corpora")
    assert {value: count for count, value in _states(Standing(redis))} == {"ACTIVE": 4, "FAILED": 1}
    assert redis.smembers(f"{PREFIX}corpora") == {"standing-a", "acme.standing-b", "only-a-source"}
    for corpus in ("standing-a", "acme.standing-b"):
        await retriever.corpora.delete(corpus, force=True, request_id="")
    assert redis.smembers(f"{PREFIX}corpora") == {"only-a-source"}
    assert shown("corella.documents") == nothing


def _states(standing: Standing) -> list[tuple[float, object]]:
    return [(count, each["corella.document.state"]) for count, each in standing.look()["corella.documents"] if count]


async def test_an_index_that_is_built_anew_names_the_call_that_asked_for_it(retriever: Retriever) -> None:
    await retriever.create("anew-model")
    await hand_in(retriever, "anew-model", "a", f"# a\n\n{MARKER}.\n")
    await retriever.work()
    indexing = RedisIndexing(retriever.redis)
    building = IndexBuilding(
        retriever.store, retriever.catalog, retriever.blobs, retriever.embedder, indexing,  # type: ignore[arg-type]
        sandbox=HereReader(), settings=WorkerSettings(), cache_seconds=0.0,  # type: ignore[arg-type]
    )  # fmt: skip
    reindexing = Reindexing(
        retriever.store, retriever.catalog, indexing, retriever.embedder,  # type: ignore[arg-type]
        queue=SilentQueue(), readers=retriever.readers, cache_seconds=0.0,  # type: ignore[arg-type]
    )  # fmt: skip
    with recorded_spans() as spans:
        with step("ReindexCorpus"):
            await reindexing.reindex("anew-model", IndexWish(), force=True, request_id="")
        while await building.work_once():
            pass
    asked = spans.one("ReindexCorpus").context
    assert len(spans.named("index documents anew")) == 1
    for batch in (*spans.named("index documents anew"), *spans.named("switch index")):
        assert batch.parent is None
        assert [(link.context.span_id, (link.attributes or {})["corella.link"]) for link in batch.links] == [
            (asked.span_id, "reindex.request")
        ]
    assert {spans.parent(spans.one(name)) for name in ("read document", "chunk")} == {"index documents anew"}
    assert MARKER not in spans.everything()
