"""Shows what serving would do with a prompt or a text, without writing anything: for training and evaluation.

Does not know about protobuf or vLLM.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from services.generator.citing import CitedAnswer, cite
from services.generator.composing import Composing
from services.generator.domain import Evidence, GenerationOptions, Message, Passage, Style
from services.generator.ports import Engine
from services.generator.refusal import answerability

_MAX_TOKENS = GenerationOptions().max_tokens


@dataclass(frozen=True)
class Rendered:
    """A prompt as it would be served. `token_ids` end where the model is to write, and are empty where no tokenizer is known.

    `passage_count` of the passages fit, from the first; `answerability` is 0…1, and 0 for a chat.
    """

    messages: tuple[Message, ...]
    token_ids: tuple[int, ...]
    passage_count: int
    answerability: float
    refusal_threshold: float


class Rendering:
    """Renders prompts and checks texts."""

    def __init__(self, engine: Engine, composing: Composing) -> None:
        self._engine = engine
        self._composing = composing

    async def question(self, question: str, passages: Sequence[Passage], style: Style) -> Rendered:
        """The prompt `Ask` makes of a first turn's question and these passages, with the default length of an answer.

        Raises `ContextTooLong`.
        """
        prompt = self._composing.compose(question, passages, style=style, max_tokens=_MAX_TOKENS)
        # How near the vectors were is known to a search only; the estimate then rests on the texts.
        probability = await asyncio.to_thread(answerability, question, passages, Evidence())
        return self._rendered(prompt.messages, len(prompt.passages), probability)

    async def chat(self, messages: tuple[Message, ...]) -> Rendered:
        """The prompt `Complete` makes of a chat."""
        return self._rendered(messages, 0, 0.0)

    async def cite(self, question: str, passages: Sequence[Passage], text: str) -> CitedAnswer:
        """What would count of a text the model had written. `question` may be empty."""
        return await asyncio.to_thread(cite, text, passages, question)

    def _rendered(self, messages: tuple[Message, ...], passages: int, probability: float) -> Rendered:
        ids = tuple(self._engine.render(messages))
        return Rendered(messages, ids, passages, probability, self._composing.refusal_threshold)
