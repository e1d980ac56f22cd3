"""A model that needs no weights, for tests of what surrounds a model."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import numpy as np
import pytest

from services.embedder.batcher import Batcher
from services.embedder.domain import TokenizedText, Vectors

BROKEN, NOT_FINITE = 666, 667
"""Token ids that `FakeEncoder` fails on."""


class FakeEncoder:
    """A text's vector is [its first id, its length]. Computes only while `gate` is open, and remembers its batches."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.raises: Exception | None = None

    def encode(self, batch: Sequence[TokenizedText]) -> Vectors:
        self.batches.append([text.ids[0] for text in batch])
        self.gate.wait(10)
        if self.raises is not None:
            raise self.raises
        if any(BROKEN in text.ids for text in batch):
            raise RuntimeError("this text breaks the model")
        rows = [[np.nan if NOT_FINITE in text.ids else text.ids[0], len(text.ids)] for text in batch]
        return np.asarray(rows, dtype=np.float32)


class Batched:
    """Makes batchers around one `FakeEncoder`."""

    def __init__(self) -> None:
        self.encoder = FakeEncoder()
        self.failures: list[str] = []

    @asynccontextmanager
    async def batcher(self, batch_tokens: int = 100, queue_tokens: int = 1000) -> AsyncIterator[Batcher]:
        with ThreadPoolExecutor(1) as executor:
            made = Batcher("fake", self.encoder, executor, batch_tokens=batch_tokens, queue_tokens=queue_tokens)
            try:
                async with made.running(self.failures.append):
                    yield made
            finally:
                self.encoder.gate.set()


@pytest.fixture
def batched() -> Batched:
    return Batched()
