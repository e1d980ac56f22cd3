"""What is asked of the services while telemetry's price is measured."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from bench.telemetry_ways import Way
from corella.v1 import embedder_pb2, generator_pb2, retriever_pb2
from corella.v1.embedder_pb2_grpc import EmbedderServiceStub
from corella.v1.generator_pb2_grpc import GeneratorServiceStub
from corella.v1.retriever_pb2_grpc import RetrieverServiceStub

ROOT = Path(__file__).resolve().parent.parent
CORPUS = "pages"
SCRAPE_EVERY_SECONDS = 15.0
"""Of turns: Prometheus's interval as the chart's PodMonitor sets it."""
_EXPORT_SECONDS = 1.2
"""After which what a turn left is exported."""
_TEXTS_A_CALL = 32
_WORDS_A_TEXT = 120


@dataclass(frozen=True)
class Load:
    """Calls of one kind: `call(stubs, number)` makes one."""

    name: str
    services: tuple[str, ...]
    """Those that it needs."""
    callers: int
    calls: int
    """In one turn."""
    rounds: int
    """Turns of each way between two starts of the services."""
    starts: int
    call: Callable[[dict[str, Any], int], Awaitable[Any]]


def _questions() -> list[str]:
    lines = (ROOT / "samples/questions.jsonl").read_text(encoding="utf-8").splitlines()
    return [one["question"] for one in map(json.loads, lines)][:40]


def _texts() -> list[str]:
    words = " ".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "samples/pages").rglob("*.md"))).split()
    return [" ".join(words[start : start + _WORDS_A_TEXT]) for start in range(0, len(words) - _WORDS_A_TEXT, _WORDS_A_TEXT)]


QUESTIONS = _questions()
TEXTS = _texts()


async def _ask(stubs: dict[str, Any], number: int) -> None:
    # Without a summary for a next question, which is more work of the model and as little of telemetry.
    request = generator_pb2.AskRequest(corpus=f"corpora/{CORPUS}", question=QUESTIONS[number % len(QUESTIONS)], skip_memory=True)
    async for _ in stubs["generator"].Ask(request, timeout=300):
        pass


async def _search(stubs: dict[str, Any], number: int) -> None:
    # A number in the query: vectors of known ones are kept.
    query = f"{QUESTIONS[number % len(QUESTIONS)]} {number}"
    await stubs["retriever"].Search(retriever_pb2.SearchRequest(corpus=f"corpora/{CORPUS}", query=query), timeout=60)


async def _embed_texts(stubs: dict[str, Any], number: int) -> None:
    texts = [TEXTS[(number * _TEXTS_A_CALL + place) % len(TEXTS)] for place in range(_TEXTS_A_CALL)]
    await stubs["embedder"].Embed(embedder_pb2.EmbedRequest(texts=texts, input_type=embedder_pb2.INPUT_TYPE_DOCUMENT), timeout=120)


async def _embed_query(stubs: dict[str, Any], number: int) -> None:
    query = QUESTIONS[number % len(QUESTIONS)]
    await stubs["embedder"].Embed(embedder_pb2.EmbedRequest(texts=[query], input_type=embedder_pb2.INPUT_TYPE_QUERY), timeout=60)


ASK = Load("Ask, a question of the samples", ("embedder", "retriever", "generator"), 4, 12, 3, 3, _ask)
SEARCH = Load("Search, hybrid", ("embedder", "retriever"), 4, 160, 3, 6, _search)
EMBED_TEXTS = Load(f"Embed, {_TEXTS_A_CALL} passages a call", ("embedder",), 2, 6, 2, 8, _embed_texts)
EMBED_QUERY = Load("Embed, one short query a call", ("embedder",), 8, 800, 3, 8, _embed_query)
LOADS = {"ask": ASK, "search": SEARCH, "passages": EMBED_TEXTS, "query": EMBED_QUERY}

_STUBS: dict[str, Any] = {"embedder": EmbedderServiceStub, "retriever": RetrieverServiceStub, "generator": GeneratorServiceStub}


async def turn(way: Way, load: Load) -> None:
    """A load on one way, with a scrape of its endpoints when it is time for one."""
    async with AsyncExitStack() as opened:
        stubs = {
            service: _STUBS[service](await opened.enter_async_context(grpc.aio.insecure_channel(way.addresses[service])))
            for service in load.services
        }
        left = iter(range(load.calls))

        async def caller() -> None:
            for number in left:
                await load.call(stubs, number)

        scrapes = []
        if way.unscraped_seconds >= SCRAPE_EVERY_SECONDS:
            way.unscraped_seconds = 0.0
            scrapes = [asyncio.to_thread(scrape, port) for port in way.metrics]
        cpu, began = way.cpu(), time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(load.callers)), *scrapes)
        seconds = time.perf_counter() - began
        # What is still to be exported is the price of this turn, not of another way's.
        await asyncio.sleep(_EXPORT_SECONDS)
        cpu = way.cpu() - cpu
    way.unscraped_seconds += seconds
    way.seconds[load.name].append(seconds)
    way.cpu_seconds[load.name].append(cpu)


def scrape(port: int) -> None:
    """As Prometheus does it."""
    asked = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    with urllib.request.urlopen(asked, timeout=10) as response:
        response.read()
