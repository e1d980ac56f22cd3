"""Wires the embedder: which class meets which port. The only place that knows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager

from services.chassis.server import Lifecycle
from services.chassis.telemetry import get_logger
from services.embedder import model_folder
from services.embedder.batcher import Batcher
from services.embedder.domain import InputType, ModelCard
from services.embedder.embedding import Embedder
from services.embedder.reranking import Reranker
from services.embedder.servicer import EmbedderServicer
from services.embedder.settings import EmbedderSettings

log = get_logger(__name__)

_BATCH_TOKENS = {"cpu": 1024, "cuda": 16_384}


@asynccontextmanager
async def build(settings: EmbedderSettings, lifecycle: Lifecycle) -> AsyncIterator[EmbedderServicer]:
    """Loads the models, warms them up, and yields the servicer. Raises `ModelRefused` when a folder cannot be served."""
    # Imported here: torch and transformers take seconds, which a wrong setting should not have to wait for.
    from services.embedder.transformers_encoder import CrossEncoder, EmbeddingEncoder, choose_device, choose_dtype, use_threads
    from services.embedder.transformers_tokenizer import FastTokenizer

    device = choose_device(settings.compute.device)
    dtype = choose_dtype(settings.compute.dtype, device)
    batch_tokens = settings.batching.batch_tokens or _BATCH_TOKENS[device]

    # One thread for both models: two computing at once would only take the cores from each other.
    executor = ThreadPoolExecutor(1, "model", initializer=use_threads, initargs=(settings.compute.threads,))
    run = asyncio.get_running_loop().run_in_executor

    async with AsyncExitStack() as stack:
        stack.callback(executor.shutdown, wait=True, cancel_futures=True)

        folder = await asyncio.to_thread(model_folder.read_embedding_folder, settings.model.folder, settings.model.max_tokens)
        encoder = await run(executor, EmbeddingEncoder, folder, device, dtype)
        tokenizer = FastTokenizer(folder.transformer, folder.max_tokens, lower_case=folder.lower_case)
        batcher = Batcher("embedding", encoder, executor, batch_tokens=batch_tokens, queue_tokens=settings.batching.queue_tokens)
        await stack.enter_async_context(batcher.running(lifecycle.fail))
        card = ModelCard(
            display_name=folder.path.resolve().name,
            fingerprint=folder.fingerprint,
            dimensions=encoder.dimensions,
            max_tokens=folder.max_tokens,
            normalized=folder.normalize,
            device=device,
            dtype=dtype,
        )
        embedder = Embedder(card, folder.prompts, tokenizer, batcher)

        reranker = None
        if (reranker_folder := settings.reranker.folder) is not None:
            longest = model_folder.longest(reranker_folder, settings.reranker.max_tokens)
            cross_encoder = await run(executor, CrossEncoder, reranker_folder, device, dtype)
            reranker_batcher = Batcher(
                "reranking", cross_encoder, executor, batch_tokens=batch_tokens, queue_tokens=settings.batching.queue_tokens
            )
            await stack.enter_async_context(reranker_batcher.running(lifecycle.fail))
            reranker_card = ModelCard(
                display_name=reranker_folder.resolve().name,
                fingerprint=await asyncio.to_thread(model_folder.fingerprint, reranker_folder),
                dimensions=1,
                max_tokens=longest,
                normalized=False,
                device=device,
                dtype=dtype,
            )
            reranker = Reranker(reranker_card, FastTokenizer(reranker_folder, longest), reranker_batcher)
            await reranker.rerank("warm up", ["the first computation is slow"], 0, truncate=True)

        await embedder.embed(["the first computation is slow"] * 8, InputType.DOCUMENT, truncate=True)
        log.info("model_ready", model=card.display_name, fingerprint=card.fingerprint, device=device, dtype=dtype)
        yield EmbedderServicer(embedder, reranker)
