"""The use case of answering with all it stands on, which does as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from pathlib import Path
from typing import ClassVar

from cryptography.fernet import Fernet

from services.generator.adapting import Adapting
from services.generator.admission import Admission
from services.generator.answering import Answering
from services.generator.composing import Composing
from services.generator.domain import (
    BASE,
    Adapter,
    AnswerRecord,
    EngineTimes,
    Evidence,
    Feedback,
    FinishReason,
    GenerationOptions,
    MemoryState,
    MemoryUnavailable,
    Message,
    Passage,
    Recollection,
    Summary,
    TextChunk,
    TextScore,
    Turn,
    Usage,
    UsageTotals,
)
from services.generator.events import Ask, Retrieval
from services.generator.fernet_tokens import FernetTokens
from services.generator.owning import Owner
from services.generator.ports import DesiredAdapter, SearchResult
from services.generator.redacting import without
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


class ToldEngine:
    """Writes what it is told, word by word; the summary of whatever it is given is always the same."""

    kind = "told"
    server: ClassVar[dict[str, str | int]] = {}
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
        self.times: EngineTimes | None = None

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
            yield TextChunk("", 10, 4, len(words), FinishReason.STOP, self.times)
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

    async def put_feedback(self, tenant: str, feedback: Feedback) -> str:
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
        return Adapter(name, digest or "d", "jobs/7", self.wanted.traceparent if self.wanted else ""), Path("/local")

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
