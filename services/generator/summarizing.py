"""Condenses a conversation: the prompt for the summary, within its budget, and what is kept of the model's text."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from services.generator.domain import DONT_KNOW, Message, Turn
from services.generator.prompting import neutralise
from services.generator.sentences import split

_TASK = "Summarise the conversation in one or two sentences. Keep names, products and numbers. Write only the summary."

# What a turn is about stands at its beginning; a long one must not push out all others, or itself.
_QUESTION = 400
_ANSWER = 800


def summary_messages(previous: str, turns: Sequence[Turn], budget_tokens: int, count_tokens: Callable[[str], int]) -> tuple[Message, ...]:
    """The prompt that condenses `turns`, oldest first, together with the `previous` summary.

    Turns without an answer say nothing worth keeping and are left out; of the others the latest that fit into `budget_tokens` are
    taken. Empty when nothing is left to condense.
    """
    beginning = f"Earlier: {neutralise(previous)}" if previous.strip() else ""
    left = budget_tokens - count_tokens(_TASK) - count_tokens(beginning)
    blocks: list[str] = []
    for turn in reversed([turn for turn in turns if turn.answer.strip() not in ("", DONT_KNOW)]):
        block = f"Person: {neutralise(turn.question[:_QUESTION])}\nAnswer: {neutralise(turn.answer[:_ANSWER])}"
        left -= count_tokens(block) + 1
        if left < 0:
            break
        blocks.insert(0, block)
    if not blocks:
        return ()
    return (Message("system", _TASK), Message("user", "\n".join([beginning, *blocks] if beginning else blocks)))


def tidy(text: str, ended: bool) -> str:
    """The model's text as a summary: on one line, each sentence once, without the last one when the model had not `ended` it."""
    sentences = [" ".join(sentence.text.split()) for sentence in split(text)]
    if not ended and len(sentences) > 1:
        sentences.pop()
    return " ".join(dict.fromkeys(sentences))
