"""The generator as a teacher."""

from __future__ import annotations

from collections.abc import Sequence

from services.trainer.domain import Message
from services.trainer.grpc_generator import GrpcGenerator

BASE = "base"
"""The base model alone, whatever serves: a tuned model that taught itself would drift away from the documents."""


class GeneratorTeacher:
    """Writes with the model that the generator serves."""

    def __init__(self, generator: GrpcGenerator, adapter: str = BASE) -> None:
        """`adapter` is a version's name, `base`, or empty for what serves."""
        self._generator = generator
        self._adapter = adapter
        self.name = f"generator ({adapter or 'what serves'})"

    async def write(self, messages: Sequence[Message], max_tokens: int, *, temperature: float = 0.0, seed: int = 0) -> str:
        """A continuation of the chat, of at most `max_tokens` tokens. Raises as `GrpcGenerator.complete`."""
        written = await self._generator.complete(messages, self._adapter, max_tokens, temperature=temperature, seed=seed)
        return written.text.strip()

    async def close(self) -> None:
        """Nothing to do: the connection to the generator is not its own."""
