"""Wires the trainer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.chassis.server import Lifecycle
from services.trainer.servicer import TrainerServicer
from services.trainer.settings import TrainerSettings


@asynccontextmanager
async def build(_settings: TrainerSettings, _lifecycle: Lifecycle) -> AsyncIterator[TrainerServicer]:
    """The servicer. There is nothing to open yet."""
    yield TrainerServicer()
