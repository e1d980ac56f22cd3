"""The trainer's clients against small real servers in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from corella.v1 import generator_pb2 as gen
from corella.v1 import retriever_pb2 as ret
from corella.v1.generator_pb2_grpc import GeneratorServiceServicer, add_GeneratorServiceServicer_to_server
from corella.v1.retriever_pb2_grpc import RetrieverServiceServicer, add_RetrieverServiceServicer_to_server
from services.chassis.channel import Remote
from services.chassis.errors import DeadlineExceeded, NotFound, ResourceExhausted, Unavailable, Unimplemented
from services.chassis.server import make_server
from services.chassis.settings import ClientSettings, ServerSettings
from services.generator.rules import RULES as GENERATOR_RULES
from services.retriever.rules import RULES as RETRIEVER_RULES
from services.trainer.domain import Message, Passage
from services.trainer.generator_teacher import GeneratorTeacher
from services.trainer.grpc_generator import GrpcGenerator
from services.trainer.grpc_retriever import GrpcRetriever

CHAT = (Message("system", "Be brief."), Message("user", "How long?"))
PASSAGE = Passage("It lasts 36 months.", "Manual", "https://x/m#w", ("Warranty",), "corpora/c/documents/d/chunks/1")
ADAPTER = "adapters/default/versions/1"


def passage_message(name: str, text: str = "text") -> ret.Passage:
    return ret.Passage(name=name, text=text)


class ToldGenerator(GeneratorServiceServicer):
    """Answers as it is told; `failures` are raised first, one a call."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.failures: list[Exception] = []
        self.failures_half_way: list[Exception] = []
        self.wait = asyncio.Event()
        self.wait.set()

    async def _begin(self, request: Any, *, waits: bool = True) -> None:
        self.requests.append(request)
        if self.failures:
            raise self.failures.pop(0)
        if waits:
            await self.wait.wait()

    async def Ask(self, request: gen.AskRequest, context: Any) -> AsyncIterator[gen.AskResponse]:
        await self._begin(request, waits=False)
        passage = ret.Passage(
            name=PASSAGE.name, title=PASSAGE.title, uri=PASSAGE.uri, heading_path=PASSAGE.heading_path, text=PASSAGE.text, score=0.5
        )
        yield gen.AskResponse(started=gen.AnswerStarted(answer="answers/1"))
        yield gen.AskResponse(passages=gen.PassagesFound(passages=[passage]))
        yield gen.AskResponse(delta=gen.TextDelta(text="36 months. "))
        if self.failures_half_way:
            raise self.failures_half_way.pop(0)
        await self.wait.wait()
        yield gen.AskResponse(delta=gen.TextDelta(text="I think."))
        citation = gen.Citation(number=1, uri=PASSAGE.uri, passage=PASSAGE.name)
        answer = gen.Answer(name="answers/1", text="36 months [1].", citations=[citation])
        yield gen.AskResponse(citations=gen.CitationsResolved(answer=answer))
        usage = gen.Usage(
            prompt_tokens=100,
            completion_tokens=7,
            retrieval_duration=Duration(nanos=250_000_000),
            time_to_first_token=Duration(nanos=100_000_000),
            generation_duration=Duration(seconds=1),
            total_duration=Duration(seconds=1, nanos=500_000_000),
        )
        yield gen.AskResponse(completion=gen.Completion(usage=usage, adapter=request.adapter))
        yield gen.AskResponse(memory=gen.Memory())

    async def Complete(self, request: gen.CompleteRequest, context: Any) -> AsyncIterator[gen.CompleteResponse]:
        await self._begin(request)
        yield gen.CompleteResponse(delta=gen.TextDelta(text=" A "))
        yield gen.CompleteResponse(delta=gen.TextDelta(text="lamp."))
        yield gen.CompleteResponse(
            completion=gen.Completion(usage=gen.Usage(prompt_tokens=9, completion_tokens=3), adapter=request.adapter)
        )

    async def GetGenerationModel(self, request: Any, context: Any) -> gen.GetGenerationModelResponse:
        await self._begin(request)
        model = gen.GenerationModel(display_name="small", context_tokens=2048, adapter=ADAPTER, fingerprint="ab", max_adapter_rank=16)
        return gen.GetGenerationModelResponse(model=model)

    async def RenderPrompt(self, request: gen.RenderPromptRequest, context: Any) -> gen.RenderPromptResponse:
        await self._begin(request)
        messages = [gen.ChatMessage(role=gen.CHAT_ROLE_SYSTEM, text="s"), gen.ChatMessage(role=gen.CHAT_ROLE_USER, text="u")]
        return gen.RenderPromptResponse(messages=messages, token_ids=[1, 2, 3], passage_count=1, answerability=0.75, refusal_threshold=0.25)

    async def CiteText(self, request: gen.CiteTextRequest, context: Any) -> gen.CiteTextResponse:
        await self._begin(request)
        return gen.CiteTextResponse(answer=gen.Answer(text="I do not know.", refused=True))

    async def GetUsage(self, request: gen.GetUsageRequest, context: Any) -> gen.GetUsageResponse:
        await self._begin(request)
        kinds = [("answer", True, 3), ("answer", False, 4), ("summary", False, 9)]
        return gen.GetUsageResponse(totals=[gen.UsageTotal(purpose=name, adapted=adapted, count=n) for name, adapted, n in kinds])

    async def ListFeedback(self, request: gen.ListFeedbackRequest, context: Any) -> gen.ListFeedbackResponse:
        await self._begin(request)
        number = int(request.page_token or 0)
        record = gen.FeedbackRecord(
            feedback=gen.Feedback(rating=gen.RATING_UP if number else gen.RATING_DOWN, create_time=Timestamp(seconds=100 + number)),
            question=f"q{number}",
            answer=gen.Answer(name=f"answers/{number}", text="t"),
            passages=[PASSAGE.name],
            corpus="corpora/c",
        )
        return gen.ListFeedbackResponse(records=[record], next_page_token=str(number + 1) if number < 2 else "")


class ToldRetriever(RetrieverServiceServicer):
    """Three documents, of which one is gone by the time its chunks are asked for."""

    def __init__(self) -> None:
        self.requests: list[Any] = []

    async def Search(self, request: ret.SearchRequest, context: Any) -> ret.SearchResponse:
        self.requests.append(request)
        return ret.SearchResponse(passages=[passage_message(f"{n}") for n in range(request.limit)])

    async def ListDocuments(self, request: ret.ListDocumentsRequest, context: Any) -> ret.ListDocumentsResponse:
        self.requests.append(request)
        names = {"": ["a", "gone"], "2": ["b"]}[request.page_token]
        documents = [ret.Document(name=f"{request.parent}/documents/{name}") for name in names]
        return ret.ListDocumentsResponse(documents=documents, next_page_token="" if request.page_token else "2")

    async def ListChunks(self, request: ret.ListChunksRequest, context: Any) -> ret.ListChunksResponse:
        if request.parent.endswith("gone"):
            raise NotFound("There is no such document.", reason="DOCUMENT_NOT_FOUND")
        chunk = passage_message(f"{request.parent}/chunks/{request.page_token or 0}")
        return ret.ListChunksResponse(chunks=[chunk], next_page_token="" if request.page_token else "1")

    async def BatchGetChunks(self, request: ret.BatchGetChunksRequest, context: Any) -> ret.BatchGetChunksResponse:
        self.requests.append(request)
        if request.parent == "corpora/gone":
            raise NotFound("There is no such corpus.", reason="CORPUS_NOT_FOUND")
        present = [name for name in request.names if not name.endswith("/missing")]
        return ret.BatchGetChunksResponse(chunks=[passage_message(name) for name in present])


@asynccontextmanager
async def serving(servicer: Any, add: Any, port: int = 0, seconds: float = 5.0) -> AsyncIterator[tuple[Remote, grpc.aio.Server, int]]:
    server, _health, port = make_server(
        ServerSettings(port=port), lambda s: add(servicer, s), "corella.v1.Told", {**GENERATOR_RULES, **RETRIEVER_RULES}
    )
    await server.start()
    remote = Remote("generator", ClientSettings(address=f"127.0.0.1:{port}", timeout_seconds=seconds))
    try:
        yield remote, server, port
    finally:
        await remote.close()
        await server.stop(0)


@pytest.fixture
async def told() -> AsyncIterator[tuple[ToldGenerator, GrpcGenerator]]:
    servicer = ToldGenerator()
    async with serving(servicer, add_GeneratorServiceServicer_to_server) as (remote, _, _):
        yield servicer, GrpcGenerator(remote, patience_seconds=10)


@pytest.fixture
async def documents() -> AsyncIterator[tuple[ToldRetriever, GrpcRetriever]]:
    servicer = ToldRetriever()
    async with serving(servicer, add_RetrieverServiceServicer_to_server) as (remote, _, _):
        yield servicer, GrpcRetriever(remote, patience_seconds=0)


async def test_an_answer_comes_whole_and_without_memory(told: tuple[ToldGenerator, GrpcGenerator]) -> None:
    servicer, generator = told
    asked = await generator.ask("How long?", "corpora/c", ADAPTER)
    assert servicer.requests[0].skip_memory
    assert asked.written.text == "36 months. I think."
    assert asked.written.adapter == ADAPTER
    assert (asked.written.prompt_tokens, asked.written.completion_tokens) == (100, 7)
    assert (asked.written.first_token_seconds, asked.written.engine_seconds) == (0.1, 1.0)
    assert (asked.retrieval_seconds, asked.total_seconds) == (0.25, 1.5)
    assert asked.cited.text == "36 months [1]."
    assert not asked.cited.refused
    assert asked.cited.citations == ((1, PASSAGE.uri, PASSAGE.name),)
    assert asked.passages == (PASSAGE,)


async def test_prompts_are_rendered_from_passages_and_from_chats(told: tuple[ToldGenerator, GrpcGenerator]) -> None:
    servicer, generator = told
    rendered = await generator.render_question("How long?", [PASSAGE])
    assert rendered.messages == (Message("system", "s"), Message("user", "u"))
    assert rendered.token_ids == (1, 2, 3)
    assert (rendered.passage_count, rendered.answerability, rendered.refusal_threshold) == (1, 0.75, 0.25)
    sent = servicer.requests[0].question.passages[0]
    assert (sent.text, list(sent.heading_path), sent.uri) == (PASSAGE.text, ["Warranty"], PASSAGE.uri)
    await generator.render_chat(CHAT)
    assert [each.role for each in servicer.requests[1].chat.messages] == [gen.CHAT_ROLE_SYSTEM, gen.CHAT_ROLE_USER]


async def test_model_and_citations_are_told(told: tuple[ToldGenerator, GrpcGenerator]) -> None:
    _, generator = told
    model = await generator.model()
    assert (model.display_name, model.fingerprint, model.adapter, model.max_adapter_rank, model.context_tokens) == (
        "small", "ab", ADAPTER, 16, 2048,
    )  # fmt: skip
    cited = await generator.cite("How long?", [PASSAGE], "For ever.")
    assert cited.refused


async def test_answers_are_counted_by_whomever_they_were_written(told: tuple[ToldGenerator, GrpcGenerator]) -> None:
    assert await told[1].answer_count() == 7


async def test_what_the_engine_cannot_tell_is_unimplemented_at_once(told: tuple[ToldGenerator, GrpcGenerator]) -> None:
    with pytest.raises(Unimplemented):
        await told[1].score(CHAT, "A lamp.")


async def test_feedback_comes_page_by_page_from_a_time_on(told: tuple[ToldGenerator, GrpcGenerator]) -> None:
    found = [record async for record in told[1].feedback(since=101.0)]
    assert [(record.question, record.rating, record.time, record.answer_id) for record in found] == [
        ("q1", "up", 101.0, "1"),
        ("q2", "up", 102.0, "2"),
    ]


async def test_the_generator_teaches_with_the_base_model(told: tuple[ToldGenerator, GrpcGenerator]) -> None:
    servicer, generator = told
    text = await GeneratorTeacher(generator).write(CHAT, 40, temperature=0.5, seed=7)
    assert text == "A lamp."
    request = servicer.requests[0]
    assert (request.adapter, request.generation.max_tokens, request.generation.temperature, request.generation.seed) == ("base", 40, 0.5, 7)


async def test_a_full_queue_is_waited_for(told: tuple[ToldGenerator, GrpcGenerator]) -> None:
    servicer, generator = told
    servicer.failures = [ResourceExhausted("full", retry_after_seconds=0.1), Unavailable("away", retry_after_seconds=0.1)]
    assert (await generator.complete(CHAT)).completion_tokens == 3
    assert len(servicer.requests) == 3


async def test_an_answer_that_breaks_off_is_asked_for_again_from_its_beginning(told: tuple[ToldGenerator, GrpcGenerator]) -> None:
    servicer, generator = told
    servicer.failures_half_way = [Unavailable("The engine stopped while it wrote.", retry_after_seconds=0.1)]
    assert (await generator.ask("How long?", "corpora/c")).written.text == "36 months. I think."


async def test_an_error_of_the_caller_is_not_repeated(told: tuple[ToldGenerator, GrpcGenerator]) -> None:
    servicer, generator = told
    servicer.failures = [NotFound("There is no such corpus.", reason="CORPUS_NOT_FOUND")]
    with pytest.raises(NotFound):
        await generator.ask("How long?", "corpora/none")
    assert len(servicer.requests) == 1


async def test_patience_ends() -> None:
    servicer = ToldGenerator()
    servicer.failures = [Unavailable("away", retry_after_seconds=5.0)] * 9
    async with serving(servicer, add_GeneratorServiceServicer_to_server) as (remote, _, _):
        with pytest.raises(Unavailable, match="away"):
            await GrpcGenerator(remote, patience_seconds=1).model()
    # The channel itself tries three times within a moment; nothing comes after the time the server asked for.
    assert len(servicer.requests) <= 3


async def test_every_call_has_a_deadline() -> None:
    servicer = ToldGenerator()
    servicer.wait.clear()
    async with serving(servicer, add_GeneratorServiceServicer_to_server) as (remote, _, _):
        with pytest.raises(DeadlineExceeded):
            await GrpcGenerator(remote, call_seconds=0.3).ask("How long?", "corpora/c")
        with pytest.raises(DeadlineExceeded):
            await GrpcGenerator(remote, call_seconds=0.3).model()
        servicer.wait.set()


async def test_a_generator_that_restarts_while_it_answers_is_asked_again() -> None:
    first, second = ToldGenerator(), ToldGenerator()
    first.wait.clear()
    async with serving(first, add_GeneratorServiceServicer_to_server, seconds=20) as (remote, server, port):
        generator = GrpcGenerator(remote, patience_seconds=30)
        asking = [asyncio.create_task(generator.ask("How long?", "corpora/c")) for _ in range(2)]
        rendering = asyncio.create_task(generator.render_chat(CHAT))
        while len(first.requests) < 3:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        await server.stop(0)
        await asyncio.sleep(0.5)
        async with serving(second, add_GeneratorServiceServicer_to_server, port):
            answers = await asyncio.wait_for(asyncio.gather(*asking, rendering), 20)
    assert answers[0].cited.text == "36 months [1]."
    assert len(second.requests) == 3


async def test_a_corpus_is_walked_through_in_order(documents: tuple[ToldRetriever, GrpcRetriever]) -> None:
    servicer, retriever = documents
    names = [passage.name async for passage in retriever.chunks("corpora/c")]
    assert names == [f"corpora/c/documents/{document}/chunks/{chunk}" for document in "ab" for chunk in "01"]
    assert all(request.state == ret.DOCUMENT_STATE_ACTIVE for request in servicer.requests)


async def test_existing_chunks_are_asked_for_by_corpus_and_in_batches(documents: tuple[ToldRetriever, GrpcRetriever]) -> None:
    servicer, retriever = documents
    many = [f"corpora/a/documents/d/chunks/{n}" for n in range(1001)]
    others = ["corpora/b/documents/d/chunks/1", "corpora/b/documents/d/chunks/missing", "corpora/gone/documents/d/chunks/1", "nonsense", ""]
    found = await retriever.existing([*others, *many, many[0]])
    assert list(found) == [others[0], *many]
    assert [(request.parent, len(request.names)) for request in servicer.requests] == [
        ("corpora/b", 2), ("corpora/gone", 1), ("corpora/a", 500), ("corpora/a", 500), ("corpora/a", 1),
    ]  # fmt: skip


async def test_a_search_is_what_answers_search(documents: tuple[ToldRetriever, GrpcRetriever]) -> None:
    servicer, retriever = documents
    found = await retriever.search("corpora/c", "q" * 5000, 4)
    assert len(found) == 4
    request = servicer.requests[0]
    assert (len(request.query), request.mode, request.fusion) == (4000, ret.SEARCH_MODE_UNSPECIFIED, ret.FUSION_UNSPECIFIED)
