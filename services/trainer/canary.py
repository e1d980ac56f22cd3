"""Proves that an adapter changes what the model computes, before anything is read into its answers.

An adapter that did not load, whose weights are zero, or whose layers do not match gives answers that look fine: the base model's.
"""

from __future__ import annotations

from collections.abc import Sequence

from services.chassis.errors import InvalidArgument, Unimplemented
from services.trainer.asked import gold_response
from services.trainer.domain import Example, Message
from services.trainer.ports import Generator

LEAST_SHIFT = 1e-3
"""Nats per token. Above what another order of additions does to the mean over a text, far below what an adapter does that was trained with
any effect: its loss falls by a tenth of a nat and more."""

FIXED_TEXTS: tuple[tuple[str, str], ...] = (
    ("What is the capital of France?", "The capital of France is Paris."),
    ("Summarise in one sentence: The meeting was moved to Tuesday.", "The meeting is now on Tuesday."),
    ("Say that you cannot help with this.", "I do not know."),
)
"""(prompt, text): the same at every gate, so that the shift of one adapter can be compared with another's."""


async def canary_shift(
    base: Generator, candidate: Generator, adapter: str, examples: Sequence[Example] = (), *, count: int = 3
) -> float | None:
    """Largest change of the mean log-probability of a token, over the fixed texts and up to `count` held-out ones; in nats.

    `base` and `candidate` are the same generator, except for a whole model, which is asked as the `base` of its own. None: the engine
    cannot score texts, so there is no proof. Raises the generator's errors.
    """
    texts: list[tuple[tuple[Message, ...], str]] = [((Message("user", prompt),), text) for prompt, text in FIXED_TEXTS]
    texts += [(_messages(example), gold_response(example)) for example in examples if gold_response(example).strip()][:count]
    largest: float | None = None
    for messages, text in texts:
        try:
            before, tokens = await base.score(messages, text, "base")
            after, _ = await candidate.score(messages, text, adapter)
        except Unimplemented:
            return None
        except InvalidArgument:
            # Too long for the model; the other texts will do.
            continue
        largest = max(largest or 0.0, abs(after - before) / max(tokens, 1))
    return largest


def _messages(example: Example) -> tuple[Message, ...]:
    return (Message("user", example.question),) if example.is_question else example.messages
