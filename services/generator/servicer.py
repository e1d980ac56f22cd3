"""The contract's methods: messages in, messages out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

from corella.v1 import generator_pb2 as pb
from corella.v1.generator_pb2_grpc import GeneratorServiceServicer
from services.chassis import page_token
from services.generator import requests, responses
from services.generator.answering import Answering
from services.generator.completing import Completing
from services.generator.conversing import Conversing
from services.generator.forgetting import Forgetting
from services.generator.ports import UsageStore
from services.generator.rendering import Rendering


class GeneratorServicer(GeneratorServiceServicer):
    """Speaks `corella.v1.GeneratorService`."""

    def __init__(
        self,
        answering: Answering,
        completing: Completing,
        conversing: Conversing,
        rendering: Rendering,
        *,
        usage: UsageStore,
        forgetting: Forgetting,
    ) -> None:
        self._answering = answering
        self._completing = completing
        self._conversing = conversing
        self._rendering = rendering
        self._usage = usage
        self._forgetting = forgetting
        self.engine = completing.engine

    async def Ask(self, request: pb.AskRequest, context: Any) -> AsyncIterator[pb.AskResponse]:
        async with aclosing(self._answering.ask(requests.ask(request))) as events:  # type: ignore[type-var]
            async for event in events:
                yield responses.ask(event)

    async def Complete(self, request: pb.CompleteRequest, context: Any) -> AsyncIterator[pb.CompleteResponse]:
        async with aclosing(self._completing.complete(*requests.complete(request))) as events:  # type: ignore[type-var]
            async for event in events:
                yield responses.complete(event)

    async def Summarize(self, request: pb.SummarizeRequest, context: Any) -> pb.SummarizeResponse:
        summary, usage = await self._completing.summarize(*requests.summarize(request))
        return pb.SummarizeResponse(summary=summary, usage=responses.usage(usage))

    async def GetConversation(self, request: pb.GetConversationRequest, context: Any) -> pb.GetConversationResponse:
        found, budget = await self._conversing.get(requests.conversation_id(request.name))
        return pb.GetConversationResponse(conversation=responses.conversation(found, budget))

    async def ListConversations(self, request: pb.ListConversationsRequest, context: Any) -> pb.ListConversationsResponse:
        size, after = page_token.page_size(request.page_size), requests.position(request.page_token, "conversations")
        found, position = await self._conversing.page(size, after)
        conversations = [responses.conversation(each, budget) for each, budget in found]
        return pb.ListConversationsResponse(conversations=conversations, next_page_token=page_token.encode(position, "conversations"))

    async def DeleteConversation(self, request: pb.DeleteConversationRequest, context: Any) -> pb.DeleteConversationResponse:
        await self._conversing.delete(requests.conversation_id(request.name), request.allow_missing)
        return pb.DeleteConversationResponse()

    async def CreateFeedback(self, request: pb.CreateFeedbackRequest, context: Any) -> pb.CreateFeedbackResponse:
        stored = await self._conversing.give_feedback(requests.feedback(request, datetime.now(UTC)))
        return pb.CreateFeedbackResponse(feedback=responses.feedback(stored))

    async def ListFeedback(self, request: pb.ListFeedbackRequest, context: Any) -> pb.ListFeedbackResponse:
        size, after = page_token.page_size(request.page_size), requests.position(request.page_token, "feedback")
        found, position = await self._conversing.list_feedback(size, after)
        records = [responses.feedback_record(given, record) for given, record in found]
        return pb.ListFeedbackResponse(records=records, next_page_token=page_token.encode(position, "feedback"))

    async def GetGenerationModel(self, request: pb.GetGenerationModelRequest, context: Any) -> pb.GetGenerationModelResponse:
        return pb.GetGenerationModelResponse(model=responses.model(self.engine, self._completing.adapting.serving))

    async def ScoreText(self, request: pb.ScoreTextRequest, context: Any) -> pb.ScoreTextResponse:
        return responses.score(*await self._completing.score(*requests.score(request)))

    async def RenderPrompt(self, request: pb.RenderPromptRequest, context: Any) -> pb.RenderPromptResponse:
        content = requests.render(request)
        if isinstance(content, requests.Grounded):
            return responses.rendered(await self._rendering.question(content.question, content.passages, content.style))
        return responses.rendered(await self._rendering.chat(content))

    async def CiteText(self, request: pb.CiteTextRequest, context: Any) -> pb.CiteTextResponse:
        return responses.cited(await self._rendering.cite(*requests.cite(request)))

    async def GetUsage(self, request: pb.GetUsageRequest, context: Any) -> pb.GetUsageResponse:
        return responses.usage_totals(await self._usage.totals())

    async def ForgetDocument(self, request: pb.ForgetDocumentRequest, context: Any) -> pb.ForgetDocumentResponse:
        forgotten = await self._forgetting.forget(requests.document_name(request.name))
        return pb.ForgetDocumentResponse(traces=responses.traces(forgotten))

    async def AuditDocument(
        self, request: pb.GeneratorServiceAuditDocumentRequest, context: Any
    ) -> pb.GeneratorServiceAuditDocumentResponse:
        found = await self._forgetting.audit(requests.document_name(request.name))
        return pb.GeneratorServiceAuditDocumentResponse(name=request.name, traces=responses.traces(found))
