"""What permissions cost a search: `python -m bench.permissions` (a few minutes, `make bench-permissions`).

50,000 chunks of random words and random vectors of 384 dimensions in a Milvus Lite server as `make run` starts it, each chunk with one of
1,000 lists of readers over 200 groups. The same questions are asked without a filter and with those of callers of few and of many groups,
taking turns question by question, so that a machine that is slow for a while is slow for all. Beside them the way that suggests itself
first: the groups as an array field and `ARRAY_CONTAINS_ANY`. `--output` keeps the result.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from pymilvus import DataType, MilvusClient

from services.chassis.identity import Caller
from services.retriever import milvus_schema as layout
from services.retriever.access import Access, Readable
from services.retriever.domain import Chunk, Corpus, EmbeddingMode, Metric
from services.retriever.milvus_store import MilvusStore
from services.retriever.names import fresh_id

ROOT = Path(__file__).resolve().parent.parent
CHUNKS = 50_000
CHUNKS_OF_DOCUMENT = 8
DIMENSIONS = 384
GROUPS = 200
LISTS = 1_000
LIMIT = 100
"""Length of each list, as a search asks for it."""
QUESTIONS = 40
GOAL = 1.5
ARRAY = "groups"
_START_SECONDS = 60.0
_INDEX_SECONDS = 1_800.0


@dataclass(frozen=True)
class Way:
    """A way of asking, and how long each question took, in seconds."""

    name: str
    expression: str
    share: float
    """Of the chunks that it may find."""
    keyword: list[float]
    dense: list[float]


async def fill(store: MilvusStore, corpus: Corpus, lists: Sequence[Access], pick: random.Random, count: int) -> list[int]:
    """Writes the chunks, as ingestion writes them. Returns how many chunks have each list."""
    vocabulary = [f"word{number}" for number in range(5_000)]
    weights = [1 / (rank + 10) for rank in range(len(vocabulary))]
    vectors = np.random.default_rng(7)
    sizes = [0] * len(lists)
    for start in range(0, count, 1_000):
        rows = []
        for number in range(start, min(start + 1_000, count)):
            place = number // CHUNKS_OF_DOCUMENT % len(lists)
            sizes[place] += 1
            text = " ".join(pick.choices(vocabulary, weights, k=60))
            vector = vectors.standard_normal(DIMENSIONS, dtype=np.float32)
            document = f"{number // CHUNKS_OF_DOCUMENT:032x}"
            uri = f"https://docs.example.com/{document}"
            access = lists[place].id
            rows.append(Chunk(f"{number:032x}", document, "0", uri, "", "", (), text, 0, "section", {}, True, vector, access))
        await store.upsert(corpus, rows)
        print(f"\r{start + len(rows):,} chunks", end="", file=sys.stderr)
    print(file=sys.stderr)
    await store.settle(corpus)
    return sizes


def finish_indexes(folder: Path, name: str) -> None:
    """Waits until Milvus Lite has built the index of the vectors: it searches without it meanwhile, and says that it is there."""
    ends_at = time.monotonic() + _INDEX_SECONDS
    while not [path for path in folder.rglob("*") if name in str(path) and "vector" in path.name and "hnsw" in path.name]:
        if time.monotonic() > ends_at:
            raise SystemExit("Milvus Lite did not build its index.")
        time.sleep(1)
    time.sleep(5)


def callers(pick: random.Random) -> list[tuple[str, Caller]]:
    """Somebody of few groups, of some, and of many; and one that reads everything but nobody's."""
    names = [f"group {number}" for number in range(GROUPS)]
    made = [(f"a caller of {count} groups", Caller("x", user="x", groups=frozenset(pick.sample(names, count)))) for count in (1, 10, 60)]
    return [*made, ("reads everything", Caller("x", reads_everything=True))]


async def measure(store: MilvusStore, corpus: Corpus, ways: Sequence[Way], pick: random.Random, questions: int) -> None:
    """Puts every question in every way, in an order that changes."""

    async def timed(asked: Awaitable[object], times: list[float]) -> None:
        began = time.perf_counter()
        await asked
        times.append(time.perf_counter() - began)

    vectors = np.random.default_rng(8)
    for number in range(questions + 2):
        terms = " ".join(f"word{pick.randrange(600)}" for _ in range(5))
        vector = vectors.standard_normal(DIMENSIONS, dtype=np.float32)
        for way in pick.sample(ways, len(ways)):
            # The first two of each are not counted: indexes are loaded then.
            keyword, dense = (way.keyword, way.dense) if number >= 2 else ([], [])
            await timed(store.keyword(corpus, terms, LIMIT, way.expression), keyword)
            await timed(store.nearest(corpus, vector, LIMIT, way.expression), dense)


def array_alternative(  # noqa: PLR0917 each is a different thing
    uri: str, folder: Path, lists: Sequence[Access], caller: Caller, pick: random.Random, count: int, questions: int
) -> tuple[float, float]:
    """Median seconds of a dense search without a filter, and with `ARRAY_CONTAINS_ANY` on the groups as an array."""
    client = MilvusClient(uri=uri, timeout=900)
    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIMENSIONS)
    schema.add_field(ARRAY, DataType.ARRAY, element_type=DataType.VARCHAR, max_capacity=GROUPS, max_length=64)
    index = MilvusClient.prepare_index_params()
    index.add_index("vector", index_type="HNSW", metric_type="COSINE", params={"M": 16, "efConstruction": 200})
    client.create_collection("arrays", schema=schema, consistency_level="Strong")
    client.create_index("arrays", index, sync=False)
    client.load_collection("arrays")
    vectors = np.random.default_rng(7)
    for start in range(0, count, 1_000):
        rows = []
        for number in range(start, min(start + 1_000, count)):
            groups = sorted(lists[number // CHUNKS_OF_DOCUMENT % len(lists)].groups)
            rows.append({"id": number, "vector": vectors.standard_normal(DIMENSIONS, dtype=np.float32), ARRAY: groups})
        client.upsert("arrays", rows)
    client.flush("arrays")
    finish_indexes(folder, "arrays")
    wanted = ", ".join(f'"{group}"' for group in sorted(caller.groups))
    times: dict[str, list[float]] = {"": [], f"ARRAY_CONTAINS_ANY({ARRAY}, [{wanted}])": []}
    for number in range(questions + 2):
        vector = vectors.standard_normal(DIMENSIONS, dtype=np.float32).tolist()
        for expression in pick.sample(list(times), 2):
            began = time.perf_counter()
            client.search(
                "arrays", data=[vector], anns_field="vector", limit=LIMIT, filter=expression, search_params={"params": {"ef": 200}}
            )
            if number >= 2:
                times[expression].append(time.perf_counter() - began)
    client.close()
    plain, filtered = (statistics.median(each) for each in times.values())
    return plain, filtered


def report(ways: Sequence[Way], alternative: tuple[float, float] | None, arguments: argparse.Namespace, load: float) -> str:
    """The table."""
    size = f"{arguments.chunks:,} chunks of {DIMENSIONS} dimensions, {LISTS:,} lists of readers over {GROUPS} groups"
    machine = f"{platform.machine()}, {os.cpu_count()} cores, load {load:.1f} before and {os.getloadavg()[0]:.1f} at the end"
    lines = [
        "# What permissions cost a search",
        "",
        f"{size}, Milvus Lite, the best {LIMIT} · {machine} · {datetime.now(UTC):%Y-%m-%d}",
        "",
        f"`python -m bench.permissions`: {len(ways[0].keyword)} questions, each asked in every way, in changing order. In brackets the "
        f"ratio to the search without a filter; the goal is ×{GOAL:.1f} at most for the median.",
        "",
        "| | may find | keyword p50, ms | p95 | dense p50, ms | p95 |",
        "|---|---|---|---|---|---|",
    ]
    for way in ways:
        cells = []
        for times, base in ((way.keyword, ways[0].keyword), (way.dense, ways[0].dense)):
            for level in (50, 95):
                value, plain = np.percentile(times, level), np.percentile(base, level)
                cells.append(f"{value * 1e3:.1f} (×{value / plain:.2f})")
        lines.append(f"| {way.name} | {way.share:.0%} | {' | '.join(cells)} |")
    worst = max(
        statistics.median(getattr(way, name)) / statistics.median(getattr(ways[0], name))
        for way in ways[1:]
        for name in ("keyword", "dense")
    )
    lines += ["", f"The dearest median is ×{worst:.2f}: the goal is {'met' if worst <= GOAL else 'missed'}."]
    if alternative:
        unfiltered, filtered = alternative
        lines += [
            "",
            f"The same filter as `ARRAY_CONTAINS_ANY` on an array field (dense, a caller of 10 groups, {arguments.array_chunks:,} chunks): "
            f"{filtered * 1e3:.0f} ms, without it {unfiltered * 1e3:.0f} ms: ×{filtered / unfiltered:.1f}.",
        ]
    return "\n".join(lines) + "\n"


async def run(arguments: argparse.Namespace, uri: str, folder: Path) -> str:
    """Fills, asks, and says how long it took."""
    load, pick = os.getloadavg()[0], random.Random(7)
    names = [f"group {number}" for number in range(GROUPS)]
    lists = [Access.listed(groups=pick.sample(names, pick.choice((1, 1, 2, 3, 5)))) for _ in range(LISTS)]
    store = MilvusStore(uri, None, 900.0, cache_seconds=3_600)
    collection = layout.collection_of("bench", "model", fresh_id())
    corpus = Corpus("bench", "", 200, 32, Metric.COSINE, EmbeddingMode.EAGER, "model", DIMENSIONS, time.time(), collection)
    await store.create(corpus)
    sizes = await fill(store, corpus, lists, pick, arguments.chunks)
    await asyncio.to_thread(finish_indexes, folder, collection)
    ways = [Way("no filter", "", 1.0, [], [])]
    people = callers(pick)
    for name, caller in people:
        admitting = [access.allows(caller) for access in lists]
        ids = None if caller.reads_everything else frozenset({0, *(a.id for a, allowed in zip(lists, admitting, strict=True) if allowed)})
        share = sum(size for size, allowed in zip(sizes, admitting, strict=True) if allowed) / sum(sizes)
        ways.append(Way(f"{name}, {len(ids)} lists" if ids else name, Readable(ids).expression, share, [], []))
    await measure(store, corpus, ways, pick, arguments.questions)
    await store.drop(corpus.id)
    await store.close()
    alternative = None
    if arguments.array_chunks:
        alternative = await asyncio.to_thread(
            array_alternative, uri, folder, lists, people[1][1], pick, arguments.array_chunks, max(5, arguments.questions // 4)
        )
    return report(ways, alternative, arguments, load)


def main() -> None:
    """Starts Milvus Lite, measures, prints."""
    parser = argparse.ArgumentParser(description="What permissions cost a search.")
    parser.add_argument("--chunks", type=int, default=CHUNKS)
    parser.add_argument("--questions", type=int, default=QUESTIONS)
    parser.add_argument("--array-chunks", type=int, default=20_000, help="chunks for the alternative; 0 leaves it out")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        port = _free_port()
        command = [sys.executable, "-m", "services.retriever.local_milvus", "--data-dir", folder, "--port", str(port)]
        # All chunks are written out at once, so that the index is built once.
        environment = os.environ | {"MILVUS_LITE_MEMTABLE_MEMORY_LIMIT_BYTES": str(2 << 30)}
        with (Path(folder) / "log").open("wb") as log:
            server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        try:
            _wait_for(port)
            text = asyncio.run(run(arguments, f"http://127.0.0.1:{port}", Path(folder)))
        finally:
            server.kill()
            server.wait()
    print(text)
    if arguments.output:
        arguments.output.write_text(text)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int) -> None:
    ends_at = time.monotonic() + _START_SECONDS
    while time.monotonic() < ends_at:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise SystemExit("Milvus Lite did not start.")


if __name__ == "__main__":
    main()
