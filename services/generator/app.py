"""Wires the generator: the only place that knows which class meets which port."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.chassis.channel import Remote
from services.chassis.server import Lifecycle
from services.generator.admission import Admission
from services.generator.answering import Answering
from services.generator.completing import Completing
from services.generator.conversing import Conversing
from services.generator.fernet_tokens import FernetTokens, make_keys, read_keys
from services.generator.grpc_retriever import GrpcRetriever
from services.generator.openai_engine import OpenAiEngine
from services.generator.redis_answers import RedisAnswers
from services.generator.redis_conversations import RedisConversations
from services.generator.redis_gate import RedisGate
from services.generator.remembering import Remembering
from services.generator.servicer import GeneratorServicer
from services.generator.settings import GeneratorSettings
from services.generator.vllm_engine import VllmEngine


@asynccontextmanager
async def build(settings: GeneratorSettings, lifecycle: Lifecycle) -> AsyncIterator[GeneratorServicer]:
    """The servicer, with its engine loaded. Redis and the retriever may come later; the engine's death ends the process."""
    memory = settings.memory
    tokens = FernetTokens(_keys(settings), memory.token_expiry_hours * 3600)
    engine = _engine(settings, lifecycle)
    gate = RedisGate(settings.redis_url.get_secret_value(), memory)
    remote = Remote("retriever", settings.retriever)
    try:
        conversations = RedisConversations(gate, int(memory.conversation_expiry_hours * 3600), memory.kept_turns)
        answers = RedisAnswers(gate, int(settings.answer.keep_answers_days * 86_400))
        remembering = Remembering(engine, conversations, tokens, memory)
        admission = Admission(settings.engine.max_sequences, settings.engine.max_queued)
        answering = Answering(
            engine=engine,
            retriever=GrpcRetriever(remote),
            remembering=remembering,
            answers=answers,
            admission=admission,
            settings=settings.answer,
        )
        yield GeneratorServicer(answering, Completing(engine, remembering, admission), Conversing(conversations, answers, remembering))
    finally:
        await remote.close()
        await gate.close()
        await engine.close()


def _engine(settings: GeneratorSettings, lifecycle: Lifecycle) -> VllmEngine | OpenAiEngine:
    if settings.engine.kind == "openai":
        return OpenAiEngine(settings.openai)
    return VllmEngine.start(settings.vllm, settings.engine.max_sequences, lifecycle.fail)


def _keys(settings: GeneratorSettings) -> list[bytes]:
    path = settings.memory.token_keys_file
    if path is None:
        path = settings.state_folder / "summary-token.keys"
        make_keys(path)
    return read_keys(path)
