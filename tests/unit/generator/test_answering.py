"""One question from beginning to end, with an engine and a retriever that do as they are told."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from answering_stage import ASK, OWNER, PASSAGE, SUPPORTED, Stage, ToldEngine, ToldRetriever

from services.chassis.errors import NotFound, Unavailable
from services.chassis.identity import LOCAL, Caller, acting_for
from services.generator.domain import (
    Adapter,
    ContextTooLong,
    EngineUnavailable,
    Evidence,
    FinishReason,
    MemoryState,
    QueueFull,
    Recollection,
    RefusalReason,
    Summary,
    SummaryTokenInvalid,
    Turn,
)
from services.generator.events import Cited, Completed, Delta, Found, Remembered, Retrieval, Started
from services.generator.redacting import MAX_SOURCES, bounded


@pytest.fixture(autouse=True)
def caller() -> Iterator[None]:
    with acting_for(LOCAL):
        yield


async def test_events_come_in_the_contracts_order() -> None:
    events = await Stage().events()
    kinds = [type(event) for event in events]
    assert kinds == [Started, Found, *[Delta] * 10, Cited, Completed, Remembered]


NEW = Adapter("adapters/a/versions/2", "d2", "jobs/7")


async def test_an_answer_names_the_adapter_it_began_with_and_its_summary_is_the_base_models() -> None:
    stage = Stage()
    stage.shelf.wanted = Adapter("adapters/a/versions/1", "d1", "jobs/7")
    await stage.adapting.reconcile()
    events = []
    async for event in stage.answering.ask(ASK):
        events.append(event)
        if isinstance(event, Delta):
            stage.shelf.wanted = NEW
            await stage.adapting.reconcile()
    assert stage.adapting.serving == NEW
    completed = next(event for event in events if isinstance(event, Completed))
    assert (completed.adapter, completed.model) == ("adapters/a/versions/1", "told-1")
    assert stage.store.records[0].adapter == "adapters/a/versions/1"
    assert [adapter.name for adapter in stage.engine.asked] == ["adapters/a/versions/1", ""]


async def test_a_question_can_name_its_adapter_whatever_serves() -> None:
    stage = Stage()
    stage.shelf.wanted = NEW
    await stage.adapting.reconcile()
    for name, written_by in (("base", ""), ("adapters/a/versions/9", "adapters/a/versions/9"), ("", NEW.name)):
        events = await stage.events(replace(ASK, adapter=name))
        assert next(event for event in events if isinstance(event, Completed)).adapter == written_by


async def test_the_text_is_cited_with_the_uri_of_the_store() -> None:
    stage = Stage()
    cited = next(event for event in await stage.events() if isinstance(event, Cited))
    assert cited.answer.citations[0].uri == PASSAGE.uri
    assert stage.store.records[0].answer == cited.answer
    assert stage.store.records[0].passages == (PASSAGE.name,)


async def test_without_the_retriever_there_is_no_answer() -> None:
    stage = Stage()
    stage.retriever.failure = Unavailable("The retriever cannot be reached.", reason="RETRIEVER_UNAVAILABLE")
    with pytest.raises(Unavailable, match="retriever"):
        await stage.events()
    assert not stage.engine.prompts
    assert not stage.store.records


async def test_an_error_of_the_retriever_is_told_as_it_is() -> None:
    stage = Stage()
    stage.retriever.failure = NotFound("There is no corpus.", reason="CORPUS_NOT_FOUND")
    with pytest.raises(NotFound):
        await stage.events()


@pytest.mark.parametrize(
    ("passages", "evidence", "reason"),
    [
        ((), Evidence(None, 0.0, 0), RefusalReason.NO_PASSAGES),
        (
            (replace(PASSAGE, text="Bananas are yellow.", title="Fruit", heading_path=()),),
            Evidence(0.01, 0.0, 0),
            RefusalReason.WEAK_EVIDENCE,
        ),
    ],
)
async def test_poor_evidence_is_refused_without_the_model(passages: tuple, evidence: Evidence, reason: RefusalReason) -> None:
    stage = Stage(retriever=ToldRetriever(*passages))
    stage.retriever.evidence = evidence
    events = await stage.events()
    answer = next(event.answer for event in events if isinstance(event, Cited))
    assert (answer.text, answer.refusal_reason) == ("I do not know.", reason)
    assert not stage.engine.prompts
    completed = next(event for event in events if isinstance(event, Completed))
    assert completed.finish_reason is FinishReason.REFUSED


async def test_a_threshold_of_zero_asks_the_model_whatever_was_found() -> None:
    stage = Stage(retriever=ToldRetriever(replace(PASSAGE, text="Bananas are yellow.")))
    stage.retriever.evidence = Evidence(0.01, 0.0, 0)
    events = await stage.events(replace(ASK, retrieval=Retrieval(refusal_threshold=0.0)))
    assert stage.engine.prompts
    assert next(event.answer for event in events if isinstance(event, Cited)).refusal_reason is RefusalReason.UNSUPPORTED


async def test_the_answer_does_not_wait_for_the_summary() -> None:
    stage = Stage()
    events = stage.answering.ask(ASK)
    async for event in events:
        if isinstance(event, Completed):
            break
    assert len(stage.engine.prompts) == 1
    last = await anext(events)
    assert isinstance(last, Remembered)
    assert len(stage.engine.prompts) == 2


async def test_a_client_that_leaves_stops_the_engine() -> None:
    stage = Stage()
    stage.engine.wait.clear()
    first = asyncio.Event()

    async def client() -> None:
        async for event in stage.answering.ask(replace(ASK, conversation_id="c")):
            if isinstance(event, Delta):
                first.set()

    task = asyncio.create_task(client())
    await first.wait()
    assert stage.engine.active == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert stage.engine.active == 0
    assert not stage.store.turns


async def test_too_many_calls_are_refused_before_any_work() -> None:
    stage = Stage(slots=1)
    stage.engine.wait.clear()
    first = asyncio.create_task(stage.events())
    while not stage.engine.active:
        await asyncio.sleep(0)
    with pytest.raises(QueueFull):
        await stage.events()
    assert len(stage.retriever.queries) == 1
    stage.engine.wait.set()
    await first
    await stage.events()


async def test_a_conversation_is_recalled_and_extended() -> None:
    stage = Stage()
    ask = replace(ASK, conversation_id="c")
    await stage.events(ask)
    events = await stage.events(replace(ask, question="And for how long is it repaired?"))
    assert events[0].memory_state is MemoryState.RECALLED
    assert "falcon" in stage.retriever.queries[-1].lower()
    assert [turn.question for turn in stage.store.turns["c"]] == [ASK.question, "And for how long is it repaired?"]
    assert stage.store.summaries["c"] == Summary("A summary.", 2, 2, (PASSAGE.name,))
    assert events[-1].budget.exhausted


async def test_a_token_does_the_same_without_a_store() -> None:
    stage = Stage()
    stage.store.down = True
    token = (await stage.events())[-1].summary_token
    events = await stage.events(replace(ASK, question="And for how long is it repaired?", summary_token=token))
    assert events[0].memory_state is MemoryState.RECALLED
    assert "falcon" in stage.retriever.queries[-1].lower()
    assert stage.tokens.open(events[-1].summary_token, OWNER).turn_count == 2


async def test_a_bad_token_is_an_error_before_any_work() -> None:
    stage = Stage()
    with pytest.raises(SummaryTokenInvalid):
        await stage.events(replace(ASK, summary_token=b"x"))
    assert not stage.retriever.queries


async def test_a_store_that_is_down_degrades_the_memory_only() -> None:
    stage = Stage()
    stage.store.down = True
    events = await stage.events(replace(ASK, conversation_id="c"))
    assert events[0].memory_state is MemoryState.DEGRADED
    assert not next(event.answer for event in events if isinstance(event, Cited)).refused
    assert events[-1].state is MemoryState.DEGRADED
    assert events[-1].summary_token


async def test_without_memory_there_is_neither_summary_nor_token() -> None:
    stage = Stage()
    events = await stage.events(replace(ASK, skip_memory=True))
    assert len(stage.engine.prompts) == 1
    assert events[-1].summary_token is None


async def test_a_summary_that_fails_costs_the_summary_only() -> None:
    stage = Stage()
    events = []
    async for event in stage.answering.ask(replace(ASK, conversation_id="c")):
        events.append(event)
        if isinstance(event, Completed):
            stage.engine.failure = EngineUnavailable("gone")
    assert stage.tokens.open(events[-1].summary_token, OWNER).turns[-1].question == ASK.question
    assert "c" not in stage.store.summaries


async def test_an_answer_without_content_is_not_summarised() -> None:
    stage = Stage(retriever=ToldRetriever())
    await stage.events(replace(ASK, conversation_id="c"))
    assert not stage.engine.prompts


async def test_a_question_that_leaves_no_room_for_passages_is_too_long() -> None:
    stage = Stage(engine=ToldEngine(context_tokens=300))
    with pytest.raises(ContextTooLong):
        await stage.events(replace(ASK, question="warranty " * 400))


async def test_every_text_is_counted_by_what_it_was_for() -> None:
    stage = Stage()
    await stage.events()
    (answer, adapted, usage), (summary, _, of_summary) = stage.usage.added
    assert (answer, adapted, summary) == ("answer", False, "summary")
    assert (usage.prompt_tokens, usage.cached_prompt_tokens, usage.completion_tokens) == (10, 4, 10)
    assert usage.retrieval_seconds > 0
    assert of_summary.completion_tokens == 2


async def test_an_answer_refused_without_the_model_counts_as_an_answer_that_cost_no_tokens() -> None:
    stage = Stage(retriever=ToldRetriever())
    await stage.events(replace(ASK, skip_memory=True))
    [(purpose, _, usage)] = stage.usage.added
    assert (purpose, usage.prompt_tokens, usage.generation_seconds) == ("answer", 0, 0.0)


FOLLOW_UP = "And for how long is it repaired?"
CONVERSING = replace(ASK, conversation_id="c")
OTHER = replace(PASSAGE, name="corpora/c/documents/e/chunks/1")


async def test_without_memory_the_retriever_is_not_asked_about_it() -> None:
    stage = Stage()
    await stage.events(CONVERSING)
    assert stage.retriever.checked == []


async def test_memory_is_checked_by_one_question_before_it_is_used() -> None:
    stage = Stage()
    await stage.events(CONVERSING)
    stage.retriever.passages = (OTHER,)
    await stage.events(replace(CONVERSING, question=FOLLOW_UP))
    await stage.events(replace(CONVERSING, question=FOLLOW_UP))
    assert stage.retriever.checked == [frozenset({PASSAGE.name}), frozenset({PASSAGE.name, OTHER.name})]


async def test_a_turn_stems_from_its_passages_and_from_the_memory_it_leaned_on() -> None:
    stage = Stage()
    await stage.events(CONVERSING)
    stage.retriever.passages = (OTHER,)
    await stage.events(replace(CONVERSING, question=FOLLOW_UP))
    first, second = stage.store.turns["c"]
    assert first.sources == (PASSAGE.name,)
    assert set(second.sources) == {PASSAGE.name, OTHER.name}
    assert set(stage.store.summaries["c"].sources) == {PASSAGE.name, OTHER.name}
    assert set(stage.store.records[1].sources) == {PASSAGE.name, OTHER.name}


@pytest.mark.parametrize("by_token", [False, True])
async def test_what_may_no_longer_be_read_is_not_used_and_not_kept(by_token: bool) -> None:
    stage = Stage()
    first = await stage.events(replace(CONVERSING, conversation_id="" if by_token else "c"))
    stage.retriever.gone = frozenset({PASSAGE.name})
    stage.retriever.passages = (OTHER,)
    memory = {"summary_token": first[-1].summary_token} if by_token else {"conversation_id": "c"}
    events = await stage.events(replace(ASK, question=FOLLOW_UP, **memory))
    assert (events[0].memory_state, events[-1].state) == (MemoryState.REDACTED, MemoryState.REDACTED)
    assert "falcon" not in stage.retriever.queries[-1].lower()
    assert "A summary." not in str(stage.engine.prompts[2])
    assert "A summary." not in str(stage.engine.prompts[3:])
    kept = stage.tokens.open(events[-1].summary_token, OWNER)
    assert [turn.question for turn in kept.turns] == [FOLLOW_UP]
    assert PASSAGE.name not in (*kept.summary.sources, *kept.turns[0].sources)
    if not by_token:
        assert [turn.question for turn in stage.store.turns["c"]] == [FOLLOW_UP]
        assert PASSAGE.name not in stage.store.summaries["c"].sources
        # The record is clean now.
        assert (await stage.events(CONVERSING))[0].memory_state is MemoryState.RECALLED


@pytest.mark.parametrize("by_token", [False, True])
async def test_memory_that_cannot_be_checked_is_not_used(by_token: bool) -> None:
    stage = Stage()
    first = await stage.events(replace(CONVERSING, conversation_id="" if by_token else "c"))
    stage.retriever.check_failure = Unavailable("The retriever is away.")
    memory = {"summary_token": first[-1].summary_token} if by_token else {"conversation_id": "c"}
    written = len(stage.engine.prompts)
    events = await stage.events(replace(ASK, question=FOLLOW_UP, **memory))
    assert (events[0].memory_state, events[-1].state) == (MemoryState.DEGRADED, MemoryState.DEGRADED)
    assert "falcon" not in stage.retriever.queries[-1].lower()
    assert SUPPORTED not in str(stage.engine.prompts[written + 1 :]).replace(f"Answer: {SUPPORTED}", "", 1)
    assert [turn.question for turn in stage.tokens.open(events[-1].summary_token, OWNER).turns] == [FOLLOW_UP]
    stage.retriever.check_failure = None
    if not by_token:
        assert (await stage.events(CONVERSING))[0].memory_state is MemoryState.RECALLED


async def test_another_persons_token_is_an_error_before_any_work() -> None:
    stage = Stage()
    token = (await stage.events())[-1].summary_token
    queries = len(stage.retriever.queries)
    with acting_for(Caller("bob", user="bob")), pytest.raises(SummaryTokenInvalid):
        await stage.events(replace(ASK, summary_token=token))
    assert len(stage.retriever.queries) == queries


def test_a_memory_of_very_many_chunks_lets_the_oldest_go() -> None:
    turns = tuple(Turn(str(n), "a", sources=tuple(f"{n}-{m}" for m in range(MAX_SOURCES // 4))) for n in range(6))
    summary = Summary("all", 1, 6, tuple(name for turn in turns for name in turn.sources))
    kept = bounded(Recollection(summary, turns, 6, MemoryState.RECALLED))
    assert [turn.question for turn in kept.turns] == ["2", "3", "4", "5"]
    assert (kept.summary, kept.turn_count) == (Summary(), 6)
