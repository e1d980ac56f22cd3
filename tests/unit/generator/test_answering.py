"""One question from beginning to end, with an engine and a retriever that do as they are told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from services.chassis.errors import NotFound, Unavailable
from services.chassis.identity import LOCAL, Caller, acting_for
from services.generator.adapting import Adapting
from services.generator.admission import Admission
from services.generator.answering import Answering
from services.generator.composing import Composing
from services.generator.domain import (
    BASE,
    Adapter,
    AnswerRecord,
    ContextTooLong,
    EngineUnavailable,
    Evidence,
    Feedback,
    FinishReason,
    GenerationOptions,
    MemoryState,
    MemoryUnavailable,
    Message,
    Passage,
    QueueFull,
    Recollection,
    RefusalReason,
    Summary,
    SummaryTokenInvalid,
    TextChunk,
    TextScore,
    Turn,
    Usage,
    UsageTotals,
)
from services.generator.events import Ask, Cited, Completed, Delta, Found, Remembered, Retrieval, Started
from services.generator.fernet_tokens import FernetTokens
from services.generator.owning import Owner
from services.generator.ports import DesiredAdapter, SearchResult
from services.generator.redacting import MAX_SOURCES, bounded, without
from services.generator.remembering import Remembering
from services.generator.settings import AnswerSettings, MemorySettings

PASSAGE = Passage(
    name="corpora/c/documents/d/chunks/1",
    document="corpora/c/documents/d",
    title="Falcon X200 manual",
    uri="https://x/falcon#warranty",
    heading_path=("Warranty",),
    text="The Falcon X200 has a warranty period of 36 months.",
)
OWNER = Owner("default", "token local")
SUPPORTED = "The Falcon X200 has a warranty period of 36 months."
ASK = Ask("How long is the warranty period of the Falcon X200?", "corpora/c")


@pytest.fixture(autouse=True)
def caller() -> Iterator[None]:
    with acting_for(LOCAL):
        yield


class ToldEngine:
    """Writes what it is told, word by word; the summary of whatever it is given is always the same."""

    kind = "told"
    display_name = "told-1"
    fingerprint = ""
    max_adapter_rank = 0
    special_tokens = ("<|im_start|>",)

    def __init__(self, text: str = SUPPORTED, context_tokens: int = 2048) -> None:
        self.text = text
        self.context_tokens = context_tokens
        self.prompts: list[Sequence[Message]] = []
        self.asked: list[Adapter] = []
        self.adapters: list[Adapter] = []
        self.active = 0
        self.wait = asyncio.Event()
        self.wait.set()
        self.failure: Exception | None = None

    def count_tokens(self, text: str) -> int:
        return len(text.split())

    def render(self, messages: Sequence[Message]) -> list[int]:
        return list(range(self.count_prompt_tokens(messages)))

    def count_prompt_tokens(self, messages: Sequence[Message]) -> int:
        return sum(self.count_tokens(each.text) for each in messages)

    async def score(self, messages: Sequence[Message], text: str, adapter: Adapter = BASE) -> TextScore:
        raise AssertionError("nothing is scored here")

    async def load_adapter(self, adapter: Adapter, folder: Path) -> None:
        self.adapters.append(adapter)

    async def unload_adapter(self, adapter: Adapter) -> None:
        self.adapters.remove(adapter)

    async def generate(self, messages: Sequence[Message], options: GenerationOptions, adapter: Adapter = BASE) -> AsyncIterator[TextChunk]:
        self.prompts.append(messages)
        self.asked.append(adapter)
        assert adapter == BASE or adapter in self.adapters
        summary = "Summarise" in messages[0].text
        words = ("A summary." if summary else self.text).split(" ")
        self.active += 1
        try:
            for number, word in enumerate(words):
                if self.failure is not None:
                    raise self.failure
                yield TextChunk(word if number == 0 else f" {word}", 10, 4, number + 1)
                await self.wait.wait()
            yield TextChunk("", 10, 4, len(words), FinishReason.STOP)
        finally:
            self.active -= 1


class ToldRetriever:
    """Finds what it is told."""

    def __init__(self, *passages: Passage) -> None:
        self.passages = passages
        self.evidence = Evidence(0.9, 1.0, 1)
        self.queries: list[str] = []
        self.failure: Exception | None = None
        self.checked: list[frozenset[str]] = []
        self.gone: frozenset[str] = frozenset()
        self.check_failure: Exception | None = None

    async def search(self, corpus: str, query: str, retrieval: Retrieval) -> SearchResult:
        self.queries.append(query)
        if self.failure is not None:
            raise self.failure
        return SearchResult(self.passages, self.evidence)

    async def readable(self, chunks: Collection[str]) -> frozenset[str]:
        self.checked.append(frozenset(chunks))
        if self.check_failure is not None:
            raise self.check_failure
        return frozenset(chunks) - self.gone


class DictStore:
    """Conversations and answers in dictionaries, or out of reach."""

    def __init__(self) -> None:
        self.turns: dict[str, list[Turn]] = {}
        self.summaries: dict[str, Summary] = {}
        self.records: list[AnswerRecord] = []
        self.down = False

    def _check(self) -> None:
        if self.down:
            raise MemoryUnavailable("down")

    async def recall(self, owner: Owner, conversation_id: str) -> Recollection:
        self._check()
        turns = tuple(self.turns.get(conversation_id, ()))
        summary = self.summaries.get(conversation_id, Summary())
        return Recollection(summary, turns, len(turns), MemoryState.RECALLED) if turns else Recollection()

    async def append(self, owner: Owner, conversation_id: str, turn: Turn) -> None:
        self._check()
        self.turns.setdefault(conversation_id, []).append(turn)

    async def put_summary(self, owner: Owner, conversation_id: str, summary: Summary) -> bool:
        self._check()
        self.summaries[conversation_id] = summary
        return True

    async def redact(self, owner: Owner, conversation_id: str, gone: Collection[str]) -> None:
        self._check()
        kept = without(await self.recall(owner, conversation_id), gone)
        self.turns[conversation_id] = list(kept.turns)
        if not kept.summary.text:
            self.summaries.pop(conversation_id, None)

    async def put(self, tenant: str, record: AnswerRecord) -> None:
        self._check()
        self.records.append(record)

    async def put_feedback(self, tenant: str, feedback: Feedback) -> None:
        raise AssertionError("no feedback is given here")


class UsageList:
    """What was counted, in order."""

    def __init__(self) -> None:
        self.added: list[tuple[str, bool, Usage]] = []

    def add(self, purpose: str, adapted: bool, usage: Usage) -> None:
        self.added.append((purpose, adapted, usage))

    async def totals(self) -> UsageTotals:
        raise AssertionError("nobody asks here")


class ToldShelf:
    """Has every version, and says of one that it is to serve."""

    def __init__(self) -> None:
        self.wanted: Adapter | None = None

    async def desired(self) -> DesiredAdapter | None:
        return None if self.wanted is None else DesiredAdapter(self.wanted.name, self.wanted.digest)

    async def fetch(self, name: str, digest: str = "") -> tuple[Adapter, Path]:
        return Adapter(name, digest or "d", "jobs/7"), Path("/local")

    async def forget(self, adapter: Adapter) -> None:
        pass

    async def keep_only(self, adapters: Collection[Adapter]) -> None:
        pass


class Stage:
    """The use case with all it stands on."""

    def __init__(self, engine: ToldEngine | None = None, retriever: ToldRetriever | None = None, slots: int = 2) -> None:
        self.engine = engine or ToldEngine()
        self.retriever = retriever or ToldRetriever(PASSAGE)
        self.store = DictStore()
        self.usage = UsageList()
        self.shelf = ToldShelf()
        self.adapting = Adapting(self.engine, self.shelf)
        self.tokens = FernetTokens([Fernet.generate_key()], 60)
        settings = MemorySettings(max_turns=2)
        self.remembering = Remembering(self.engine, self.store, self.tokens, settings, self.usage, retriever=self.retriever)  # type: ignore[arg-type]
        self.answering = Answering(
            engine=self.engine,
            retriever=self.retriever,
            remembering=self.remembering,
            answers=self.store,  # type: ignore[arg-type]
            admission=Admission(1, slots - 1),
            composing=Composing(self.engine, AnswerSettings()),
            usage=self.usage,
            adapting=self.adapting,
        )

    async def events(self, ask: Ask = ASK) -> list:
        return [event async for event in self.answering.ask(ask)]


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
