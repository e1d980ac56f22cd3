"""Computes the texts of many concurrent calls together, off the event loop, without letting the queue grow without bound.

Everything but `Encoder.encode` happens on the event loop, so nothing here needs a lock. There is no waiting for a batch to fill: while one
batch is computed the next one gathers, so batches are as large as the load asks and an idle server answers at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import asynccontextmanager, contextmanager, suppress

import numpy as np
from opentelemetry import trace

from services.chassis.telemetry import get_logger
from services.embedder.batch_metrics import BatchMetrics
from services.embedder.batching import BatchQueue, Job, Piece
from services.embedder.domain import DeviceLost, ModelUnavailable, QueueFull, TextNotComputable, TokenizedText, Vectors
from services.embedder.ports import Encoder

log = get_logger(__name__)


class _Call(Job):
    """A job whose vectors somebody awaits."""

    def __init__(self, texts: Sequence[TokenizedText], urgent: bool) -> None:
        super().__init__(texts, urgent)
        self.vectors: list[Vectors | None] = [None] * len(texts)
        self.missing = len(texts)
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.span = trace.get_current_span()
        self.put_ns = time.time_ns()
        self.begun = False


class Batcher:
    """The queue before one model. `batch_tokens` bounds what is computed at once, `queue_tokens` what may wait."""

    def __init__(self, name: str, encoder: Encoder, executor: Executor, *, batch_tokens: int, queue_tokens: int) -> None:
        self._name = name
        self._encoder = encoder
        self._executor = executor
        self._batch_tokens = batch_tokens
        self._limit = queue_tokens
        self._queue = BatchQueue()
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._line = asyncio.Lock()
        self._failure: str | None = None
        self._seconds_per_token = 1e-4
        self._metrics = BatchMetrics(name, lambda: self._queue.waiting_tokens)

    @asynccontextmanager
    async def running(self, on_failure: Callable[[str], None]) -> AsyncIterator[None]:
        """Computes while inside. `on_failure` is told when only a new process can help."""
        task = asyncio.create_task(self._run(on_failure), name=f"batcher {self._name}")
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def check_room(self) -> None:
        """Raises `QueueFull` when not one more token may wait, so that no work is put into a call that will be refused."""
        if self._queue.waiting_tokens >= self._limit:
            raise self._full()

    async def compute(self, texts: Sequence[TokenizedText], *, urgent: bool = False, patient: bool = False) -> list[Vectors]:
        """The numbers of each text, in order. Cancelling takes the texts out of the queue.

        A call that finds no room raises `QueueFull`; a patient one waits until the queue is half empty, so that patient calls never cause
        others to be refused. A call larger than the whole queue is taken when nothing else waits. Raises `TextNotComputable`.
        """
        tokens = sum(len(text.ids) for text in texts)
        if patient:
            async with self._line:  # first come, first served
                while not self._fits(tokens, self._limit // 2):
                    self._room.clear()
                    await self._room.wait()
        elif not self._fits(tokens, self._limit):
            raise self._full()
        if self._failure is not None:
            raise ModelUnavailable(self._failure)
        call = _Call(texts, urgent)
        if not texts:
            return []
        self._queue.put(call)
        self._arrived.set()
        try:
            await call.done
        finally:
            with self._making_room():
                self._queue.discard(call)
        return [vector for vector in call.vectors if vector is not None]

    def _fits(self, tokens: int, limit: int) -> bool:
        return not self._queue or self._queue.waiting_tokens + tokens <= limit

    def _full(self) -> QueueFull:
        waiting = self._queue.waiting_tokens
        # Half of what waits will have been computed by then, as fast as the last batches were.
        seconds = min(max(waiting * self._seconds_per_token / 2, 0.1), 30.0)
        return QueueFull(f"{waiting} tokens are waiting and {self._limit} may; try again in {seconds:.1f} s.", retry_after_seconds=seconds)

    @contextmanager
    def _making_room(self) -> Iterator[None]:
        before = self._queue.waiting_tokens
        yield
        if self._queue.waiting_tokens < before:
            self._room.set()

    async def _run(self, on_failure: Callable[[str], None]) -> None:
        while True:
            await self._arrived.wait()
            with self._making_room():
                batch = self._queue.take(self._batch_tokens)
            if not batch:
                self._arrived.clear()
                continue
            try:
                await self._compute(batch)
            except Exception as error:
                log.exception("model_failed", model=self._name)
                self._failure = f"The model no longer computes: {error}"
                on_failure(self._failure)
                while batch:
                    self._fail_all(batch)
                    batch = self._queue.take(self._batch_tokens)
                return

    async def _compute(self, batch: list[Piece]) -> None:
        texts = [piece.text for piece in batch]
        tokens = sum(len(text.ids) for text in texts)
        calls = [call for call in {piece.job: None for piece in batch} if isinstance(call, _Call)]
        begun_ns = time.time_ns()
        for each in calls:
            if not each.begun:
                each.begun = True
                self._metrics.waited(each.span, each.put_ns, begun_ns)
        started = time.perf_counter()
        rows = await asyncio.get_running_loop().run_in_executor(self._executor, self._encode, texts)
        seconds = time.perf_counter() - started
        self._metrics.computed([each.span for each in calls], len(batch), tokens, begun_ns, begun_ns + int(seconds * 1e9))
        self._seconds_per_token += 0.2 * (seconds / max(tokens, 1) - self._seconds_per_token)
        for piece, row in zip(batch, rows, strict=True):
            call = piece.job
            if not isinstance(call, _Call) or call.done.done():
                continue  # cancelled, or another of its texts failed
            if row is None:
                where = f"text {piece.index + 1} of {len(call.texts)}"
                call.done.set_exception(TextNotComputable(f"The model cannot compute {where}.", index=piece.index))
                continue
            call.vectors[piece.index] = row
            call.missing -= 1
            if not call.missing:
                call.done.set_result(None)

    def _encode(self, texts: Sequence[TokenizedText]) -> list[Vectors | None]:
        """In the executor's thread. None for a text that the model fails on: the others of its batch are computed without it."""
        try:
            rows = self._encoder.encode(texts)
            return [row if np.isfinite(row).all() else None for row in rows]
        except DeviceLost:
            raise
        except Exception as error:
            # Halves find the text in few steps, and are the answer to a GPU without enough memory as well.
            if len(texts) > 1:
                middle = len(texts) // 2
                return self._encode(texts[:middle]) + self._encode(texts[middle:])
            log.exception("text_not_computable", model=self._name, tokens=len(texts[0].ids), error=type(error).__name__)
            return [None]

    def _fail_all(self, batch: list[Piece]) -> None:
        for piece in batch:
            call = piece.job
            if isinstance(call, _Call) and not call.done.done():
                call.done.set_exception(ModelUnavailable(self._failure or ""))
