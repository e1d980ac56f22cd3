"""The generator, over gRPC: what is served, how it answers, and what people said about it.

Every call has a deadline of its own and is repeated while the generator is full or away; see repeating.py.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any

from google.protobuf.duration_pb2 import Duration

from corella.v1 import generator_pb2 as pb
from corella.v1 import retriever_pb2
from corella.v1.generator_pb2_grpc import GeneratorServiceStub
from services.chassis.channel import Remote
from services.chassis.errors import Unavailable
from services.trainer.domain import Message, Passage
from services.trainer.ports import AskedAnswer, CitedText, FeedbackRecord, RenderedPrompt, ServedModel, Written
from services.trainer.repeating import DEFAULT_SECONDS, Repeating

_ROLES = {"system": pb.CHAT_ROLE_SYSTEM, "user": pb.CHAT_ROLE_USER, "assistant": pb.CHAT_ROLE_ASSISTANT}
_NAMES = {number: name for name, number in _ROLES.items()}
_RATINGS = {pb.RATING_UP: "up", pb.RATING_DOWN: "down"}
_PAGE = 200
_USAGE_SECONDS = 5.0


class GrpcGenerator:
    """Speaks `GeneratorService`. Every method raises the generator's own error, and `Unavailable` when patience is at its end."""

    def __init__(self, remote: Remote, *, call_seconds: float | None = None, patience_seconds: float = DEFAULT_SECONDS) -> None:
        """`call_seconds` bounds each try; without it the remote's own time-out does."""
        self._remote = remote
        self._stub = GeneratorServiceStub(remote.channel)
        self._call_seconds = call_seconds
        self._repeating = Repeating(patience_seconds)

    async def model(self) -> ServedModel:
        """The model that is served."""
        found = (await self._call(self._stub.GetGenerationModel, pb.GetGenerationModelRequest())).model
        return ServedModel(found.display_name, found.fingerprint, found.adapter, found.max_adapter_rank, found.context_tokens)

    async def render_question(self, question: str, passages: Sequence[Passage]) -> RenderedPrompt:
        """The prompt for a question with its passages, 1 to 5."""
        grounded = pb.GroundedQuestion(question=question, passages=[_passage_message(each) for each in passages])
        return _rendered(await self._call(self._stub.RenderPrompt, pb.RenderPromptRequest(question=grounded)))

    async def render_chat(self, messages: Sequence[Message]) -> RenderedPrompt:
        """The prompt for a chat."""
        chat = pb.Chat(messages=_messages(messages))
        return _rendered(await self._call(self._stub.RenderPrompt, pb.RenderPromptRequest(chat=chat)))

    async def cite(self, question: str, passages: Sequence[Passage], text: str) -> CitedText:
        """What counts of a text."""
        request = pb.CiteTextRequest(question=question, passages=[_passage_message(each) for each in passages], text=text)
        return _cited((await self._call(self._stub.CiteText, request)).answer)

    async def ask(self, question: str, corpus: str, adapter: str = "") -> AskedAnswer:
        """A whole answer, without memory. `written.text` is as the model wrote it, `cited` what counts of it."""
        request = pb.AskRequest(question=question, corpus=corpus, skip_memory=True, adapter=adapter)

        async def once() -> AskedAnswer:
            parts: list[str] = []
            passages: tuple[Passage, ...] = ()
            cited: CitedText | None = None
            completion: pb.Completion | None = None
            stream = self._remote.stream(self._stub.Ask, request, timeout_seconds=self._call_seconds)
            async with aclosing(stream) as events:  # type: ignore[type-var]
                async for event in events:
                    match event.WhichOneof("event"):
                        case "passages":
                            passages = tuple(_passage(each) for each in event.passages.passages)
                        case "delta":
                            parts.append(event.delta.text)
                        case "citations":
                            cited = _cited(event.citations.answer)
                        case "completion":
                            completion = event.completion
            if cited is None or completion is None:
                raise _broke_off()
            usage = completion.usage
            return AskedAnswer(
                written=_written("".join(parts), completion),
                cited=cited,
                passages=passages,
                retrieval_seconds=_seconds(usage.retrieval_duration),
                total_seconds=_seconds(usage.total_duration),
            )

        return await self._repeating.run(once)

    async def complete(
        self,
        messages: Sequence[Message],
        adapter: str = "",
        max_tokens: int = 96,
        *,
        temperature: float = 0.0,
        seed: int | None = None,
    ) -> Written:
        """The continuation of a chat."""
        options = pb.GenerationOptions(max_tokens=max_tokens, temperature=temperature, seed=seed)
        request = pb.CompleteRequest(messages=_messages(messages), generation=options, adapter=adapter)

        async def once() -> Written:
            parts: list[str] = []
            completion: pb.Completion | None = None
            stream = self._remote.stream(self._stub.Complete, request, timeout_seconds=self._call_seconds)
            async with aclosing(stream) as events:  # type: ignore[type-var]
                async for event in events:
                    if event.WhichOneof("event") == "completion":
                        completion = event.completion
                    else:
                        parts.append(event.delta.text)
            if completion is None:
                raise _broke_off()
            return _written("".join(parts), completion)

        return await self._repeating.run(once)

    async def score(self, messages: Sequence[Message], text: str, adapter: str = "") -> tuple[float, int]:
        """Log-likelihood of a text after a chat, in nats, and its number of tokens. Raises `Unimplemented` where the engine cannot tell."""
        request = pb.ScoreTextRequest(messages=_messages(messages), text=text, adapter=adapter)
        response = await self._call(self._stub.ScoreText, request)
        return response.log_likelihood, response.token_count

    async def feedback(self, since: float = 0.0) -> AsyncIterator[FeedbackRecord]:
        """Feedback given at `since` (seconds since 1970) or later, oldest first."""
        token = ""
        while True:
            page = await self._call(self._stub.ListFeedback, pb.ListFeedbackRequest(page_size=_PAGE, page_token=token))
            for record in page.records:
                found = _feedback(record)
                if found.time >= since:
                    yield found
            token = page.next_page_token
            if not token:
                return

    async def answer_count(self) -> int:
        """Questions answered since counting began, over all replicas. Not waited for: whoever asks can do without."""
        response = await self._remote.call(self._stub.GetUsage, pb.GetUsageRequest(), timeout_seconds=_USAGE_SECONDS)
        return sum(each.count for each in response.totals if each.purpose == "answer")

    async def _call(self, method: Any, request: Any) -> Any:
        return await self._repeating.run(lambda: self._remote.call(method, request, timeout_seconds=self._call_seconds))


def _broke_off() -> Unavailable:
    return Unavailable("The generator broke off before its answer was complete.", reason="GENERATOR_UNAVAILABLE")


def _messages(messages: Sequence[Message]) -> list[pb.ChatMessage]:
    return [pb.ChatMessage(role=_ROLES[each.role], text=each.text) for each in messages]


def _passage_message(passage: Passage) -> retriever_pb2.Passage:
    return retriever_pb2.Passage(
        name=passage.name, title=passage.title, uri=passage.uri, heading_path=passage.heading_path, text=passage.text
    )


def _passage(message: retriever_pb2.Passage) -> Passage:
    return Passage(message.text, message.title, message.uri, tuple(message.heading_path), message.name)


def _rendered(response: pb.RenderPromptResponse) -> RenderedPrompt:
    return RenderedPrompt(
        messages=tuple(Message(_NAMES[each.role], each.text) for each in response.messages),  # type: ignore[arg-type]
        token_ids=tuple(response.token_ids),
        passage_count=response.passage_count,
        answerability=response.answerability,
        refusal_threshold=response.refusal_threshold,
    )


def _cited(answer: pb.Answer) -> CitedText:
    return CitedText(answer.text, answer.refused, tuple((each.number, each.uri, each.passage) for each in answer.citations))


def _written(text: str, completion: pb.Completion) -> Written:
    usage = completion.usage
    return Written(
        text=text,
        adapter=completion.adapter,
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        first_token_seconds=_seconds(usage.time_to_first_token),
        engine_seconds=_seconds(usage.generation_duration),
    )


def _feedback(record: pb.FeedbackRecord) -> FeedbackRecord:
    given = record.feedback
    return FeedbackRecord(
        answer_id=record.answer.name.removeprefix("answers/"),
        rating=_RATINGS.get(given.rating, "unspecified"),
        corrected_text=given.corrected_text,
        time=given.create_time.ToNanoseconds() / 1e9,
        question=record.question,
        answer_text=record.answer.text,
        refused=record.answer.refused,
        passages=tuple(record.passages),
        corpus=record.corpus,
        adapter=record.adapter,
        trace_id=record.trace_id,
    )


def _seconds(duration: Duration) -> float:
    return duration.ToNanoseconds() / 1e9
