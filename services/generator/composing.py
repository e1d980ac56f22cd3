"""Composes prompts as this deployment serves them: one way for `Ask` and for those who must see what serving sees."""

from __future__ import annotations

from collections.abc import Sequence

from services.generator.domain import ContextTooLong, Passage, Style
from services.generator.ports import Engine
from services.generator.prompting import Prompt, compose
from services.generator.refusal import DEFAULT_THRESHOLD
from services.generator.settings import AnswerSettings

# The template's own tokens are few; 32 covers those of every model we know.
_TEMPLATE_TOKENS = 32


class Composing:
    """Composes for one engine with one deployment's settings. Cheap enough for the event loop, where the engine's tokenizer belongs:
    a Hugging Face tokenizer must not be used by two threads at once."""

    def __init__(self, engine: Engine, settings: AnswerSettings) -> None:
        self._engine = engine
        self._settings = settings

    @property
    def refusal_threshold(self) -> float:
        """Below this an answerability, 0…1, is refused unless the request says otherwise."""
        given = self._settings.refusal_threshold
        return DEFAULT_THRESHOLD if given is None else given

    def compose(self, question: str, passages: Sequence[Passage], *, style: Style, max_tokens: int, summary: str = "") -> Prompt:
        """The prompt for `question` in its stand-alone form, with room for an answer of `max_tokens`.

        `summary` is of earlier turns. Raises `ContextTooLong` when not even one sentence of the first passage fits.
        """
        engine, most = self._engine, self._settings.max_prompt_tokens
        room = engine.context_tokens - max_tokens - _TEMPLATE_TOKENS
        prompt = compose(
            question,
            passages,
            summary=summary,
            style=style,
            deployment_instruction=self._settings.instruction,
            budget_tokens=min(room, most),
            count_tokens=engine.count_tokens,
            special_tokens=engine.special_tokens,
        )
        if not prompt.passages:
            raise ContextTooLong(prompt.tokens, max_tokens, min(engine.context_tokens, most))
        return prompt
