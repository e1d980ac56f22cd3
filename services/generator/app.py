"""Wires the generator: the only place that knows which class meets which port."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from services.chassis.channel import Remote
from services.chassis.server import Lifecycle
from services.generator.adapter_checks import Limits
from services.generator.adapting import Adapting
from services.generator.admission import Admission
from services.generator.answering import Answering
from services.generator.completing import Completing
from services.generator.composing import Composing
from services.generator.conversing import Conversing
from services.generator.fernet_tokens import FernetTokens, make_keys, read_keys
from services.generator.forgetting import Forgetting
from services.generator.fsspec_shelf import FsspecShelf
from services.generator.grpc_retriever import GrpcRetriever
from services.generator.openai_engine import OpenAiEngine
from services.generator.redis_answers import RedisAnswers
from services.generator.redis_conversations import RedisConversations
from services.generator.redis_gate import RedisGate
from services.generator.redis_stems import RedisStems
from services.generator.redis_usage import RedisUsage
from services.generator.remembering import Remembering
from services.generator.rendering import Rendering
from services.generator.safetensors_headers import linear_shapes
from services.generator.servicer import GeneratorServicer
from services.generator.settings import GeneratorSettings
from services.generator.usage_metrics import MeasuredUsage
from services.generator.vllm_engine import VllmEngine


@asynccontextmanager
async def build(settings: GeneratorSettings, lifecycle: Lifecycle) -> AsyncIterator[GeneratorServicer]:
    """The servicer, with its engine loaded. Redis and the retriever may come later; the engine's death ends the process."""
    memory = settings.memory
    tokens = FernetTokens(_keys(settings), memory.token_expiry_hours * 3600)
    engine = _engine(settings, lifecycle)
    gate = RedisGate(settings.redis_url.get_secret_value(), memory)
    totals = RedisUsage(gate)
    usage = MeasuredUsage(totals)
    remote = Remote("retriever", settings.retriever)
    shelf = _shelf(settings, engine)
    adapting = Adapting(engine, shelf, max_candidates=settings.adapters.max_candidates, poll_seconds=settings.adapters.poll_seconds)
    sweeping: asyncio.Task[None] | None = None
    try:
        await _unless_ended(adapting.start(), lifecycle)
        conversations = RedisConversations(gate, int(memory.conversation_expiry_hours * 3600), memory.kept_turns)
        answers = RedisAnswers(gate, int(settings.answer.keep_answers_days * 86_400))
        retriever = GrpcRetriever(remote)
        remembering = Remembering(engine, conversations, tokens, memory, usage, retriever=retriever)
        composing = Composing(engine, settings.answer)
        admission = Admission(settings.engine.max_sequences, settings.engine.max_queued)
        answering = Answering(
            engine=engine,
            retriever=retriever,
            remembering=remembering,
            answers=answers,
            admission=admission,
            composing=composing,
            usage=usage,
            adapting=adapting,
        )
        forgetting = Forgetting(RedisStems(gate), conversations, answers, retriever, settings.forgetting)
        sweeping = asyncio.create_task(forgetting.run())
        yield GeneratorServicer(
            answering,
            Completing(engine, remembering, admission, usage, adapting),
            Conversing(conversations, answers, remembering, retriever),
            Rendering(engine, composing),
            usage=usage,
            forgetting=forgetting,
        )
    finally:
        if sweeping is not None:
            sweeping.cancel()
            await asyncio.wait((sweeping,))
        await adapting.close()
        if shelf is not None:
            shelf.close()
        await remote.close()
        await totals.close()
        await gate.close()
        await engine.close()


def _engine(settings: GeneratorSettings, lifecycle: Lifecycle) -> VllmEngine | OpenAiEngine:
    if settings.engine.kind == "openai":
        return OpenAiEngine(settings.openai)
    # The one that serves, the one that served before as long as texts need it, and those that requests name.
    slots = settings.adapters.max_candidates + 2 if settings.serves_adapters else 0
    return VllmEngine.start(settings.vllm, settings.engine.max_sequences, lifecycle.fail, slots)


def _shelf(settings: GeneratorSettings, engine: VllmEngine | OpenAiEngine) -> FsspecShelf | None:
    if not settings.adapters.shelf_url:
        return None
    limits = Limits(engine.max_adapter_rank, linear_shapes(settings.vllm.model_folder))
    return FsspecShelf(settings.adapters, limits, engine.fingerprint)


async def _unless_ended(starting: Coroutine[Any, Any, None], lifecycle: Lifecycle) -> None:
    """Waits until what is to serve serves, which may be long, or until the process is told to end, which then ends it at once."""
    task, ended = asyncio.create_task(starting), asyncio.create_task(lifecycle.ended())
    try:
        await asyncio.wait((task, ended), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise SystemExit(0 if lifecycle.failure is None else 1)
        task.result()
    finally:
        task.cancel()
        ended.cancel()


def _keys(settings: GeneratorSettings) -> list[bytes]:
    path = settings.memory.token_keys_file
    if path is None:
        path = settings.state_folder / "summary-token.keys"
        make_keys(path)
    return read_keys(path)
