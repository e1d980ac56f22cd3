"""Tells what is thin or odd about a dataset, in sentences for people. Nothing here refuses anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from services.trainer.domain import Example
from services.trainer.near_duplicates import asked
from services.trainer.splitting import HELD_OUT, TRAINING
from services.trainer.words import words

THIN_CONCEPT = 3
"""Training examples below which a concept is thin."""
FEW_EXAMPLES = 50
"""Training examples below which a LoRA of a small model seldom learns anything that generalises."""
FEW_HELD_OUT = 20
"""Held-out examples below which a difference has to be large to be told from chance."""
LONG_WORDS = 1500
"""Words of an example that may not fit into a context of 2,048 tokens, at 1.35 tokens a word."""
SMALL_KIND_SHARE = 0.05
_NAMED = 5


def warnings_for(examples: Sequence[Example]) -> list[str]:
    """Sentences about split examples."""
    found = [
        *_size(examples),
        *_thin_concepts(examples),
        *_one_sided(examples),
        *_contradictions(examples),
        *_long(examples),
        *_sources(examples),
        *_corner_cases(examples),
    ]
    return found


def _size(examples: Sequence[Example]) -> list[str]:
    found = []
    training = sum(example.split == TRAINING for example in examples)
    held_out = sum(example.split == HELD_OUT for example in examples)
    if training < FEW_EXAMPLES:
        found.append(f"There are only {training} examples to train on; below {FEW_EXAMPLES} a model seldom learns what generalises.")
    if not held_out:
        found.append("Nothing is held out: a candidate cannot be judged on examples that training never reads.")
    elif held_out < FEW_HELD_OUT:
        found.append(f"Only {held_out} examples are held out; below {FEW_HELD_OUT} small gains cannot be told from chance.")
    return found


def _thin_concepts(examples: Sequence[Example]) -> list[str]:
    counts = Counter(example.concept for example in examples if example.concept and example.split == TRAINING)
    concepts = {example.concept for example in examples if example.concept}
    thin = sorted((counts[concept], concept) for concept in concepts if counts[concept] < THIN_CONCEPT)
    if not thin:
        return []
    named = ", ".join(f"“{concept[:80]}” ({count})" for count, concept in thin[:_NAMED])
    more = f" and {len(thin) - _NAMED} more" if len(thin) > _NAMED else ""
    return [f"Concepts with fewer than {THIN_CONCEPT} examples to train on: {named}{more}."]


def _one_sided(examples: Sequence[Example]) -> list[str]:
    questions = [example for example in examples if example.is_question]
    if not questions:
        return []
    answerable = sum(example.answerable for example in questions)
    if not answerable:
        return ["No question can be answered: the model learns to refuse everything."]
    if answerable == len(questions):
        return ["Every question can be answered: the model may unlearn to say “I do not know.”."]
    if min(answerable, len(questions) - answerable) < SMALL_KIND_SHARE * len(questions):
        return [f"{answerable} of {len(questions)} questions can be answered: the other kind is rare."]
    return []


def _contradictions(examples: Sequence[Example]) -> list[str]:
    answers: dict[tuple[str, tuple[str, ...]], set[str]] = {}
    for example in examples:
        # The same question about other passages may well have another answer.
        key = (" ".join(words(asked(example))), tuple(passage.text for passage in example.passages))
        answers.setdefault(key, set()).add(" ".join(words(example.answer)))
    contrary = [key[0] for key, given in answers.items() if key[0] and len(given) > 1]
    if not contrary:
        return []
    noun = "prompt has" if len(contrary) == 1 else "prompts have"
    return [f"{len(contrary)} {noun} different answers in different examples, the first: “{contrary[0][:80]}”."]


def _long(examples: Sequence[Example]) -> list[str]:
    count = sum(_length(example) > LONG_WORDS for example in examples)
    return [f"{count} examples have more than {LONG_WORDS:,} words; those that do not fit into the context are left out."] if count else []


def _length(example: Example) -> int:
    texts = [asked(example), example.answer, *(passage.text for passage in example.passages)]
    # Counting spaces is enough here, and quick.
    return sum(text.count(" ") + 1 for text in texts)


def _sources(examples: Sequence[Example]) -> list[str]:
    questions = [example for example in examples if example.is_question and example.answerable]
    count = sum(not example.sources for example in questions)
    if not count:
        return []
    return [f"{count} of {len(questions)} answerable questions name no `sources`: any citation that supports the answer counts as right."]


def _corner_cases(examples: Sequence[Example]) -> list[str]:
    cases = [example for example in examples if example.corner_case]
    if cases and not any(example.split == HELD_OUT for example in cases):
        return ["No corner case is held out, so the gate cannot report on them."]
    return []
