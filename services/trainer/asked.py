"""One held-out example as one version answered it, judged against its gold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from corella.evaluation.answer_metrics import exact_match, token_f1
from services.trainer.domain import DONT_KNOW, Example, StyleCheck
from services.trainer.ports import CitedText
from services.trainer.sources import is_right

Label = Literal["base", "serving", "candidate"]
Way = Literal["served", "tuned"]
"""`served`: as it is served, with retrieval. `tuned`: the question alone, answered from what the adapter has learnt."""


@dataclass(frozen=True)
class Asked:
    """One answer and what it is worth. Scores are shares, 0…1."""

    example_id: str
    version: Label
    way: Way
    text: str
    refused: bool
    f1: float
    """Token F1 against the best gold answer. A refusal scores 0."""
    exact: bool
    style: float | None
    """Share of what its style check asks for that the text has. None: the example has no style check."""
    citations_total: int = 0
    citations_right: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    retrieval_seconds: float = 0.0
    engine_seconds: float = 0.0
    seconds: float = 0.0
    """From sending the question to the whole answer, as a person would wait."""
    alone: bool = False
    """Asked while the gate asked nothing else, so that its engine seconds are those of one question."""
    log_likelihood: float | None = None
    """Of the gold response after the example's own prompt, in nats. None: not scored."""
    response_tokens: int = 0

    def with_score(self, log_likelihood: float, tokens: int) -> Asked:
        """The same with the gold response's log-likelihood."""
        return replace(self, log_likelihood=log_likelihood, response_tokens=tokens)


def gold_answers(example: Example) -> tuple[str, ...]:
    """All right answers, the first one first."""
    return (example.answer, *example.answers)


def gold_response(example: Example) -> str:
    """What the model is to write, markers of citations apart."""
    return example.answer if example.answerable else DONT_KNOW


def style_share(text: str, style: StyleCheck | None) -> float | None:
    """Share of the check's demands that `text` meets, 0…1: each phrase is one demand, the length is one. None: nothing is asked for."""
    if style is None:
        return None
    lowered = text.lower()
    met = [phrase.lower() in lowered for phrase in style.required_phrases]
    met += [phrase.lower() not in lowered for phrase in style.forbidden_phrases]
    if style.max_words is not None:
        met.append(len(text.split()) <= style.max_words)
    return sum(met) / len(met) if met else None


def judge(example: Example, version: Label, way: Way, cited: CitedText) -> Asked:
    """Compares a text with the example's gold."""
    gold = gold_answers(example)
    right = sum(_is_right(example.sources, uri, chunk) for _, uri, chunk in cited.citations)
    return Asked(
        example_id=example.id,
        version=version,
        way=way,
        text=cited.text,
        refused=cited.refused,
        f1=0.0 if cited.refused else token_f1(cited.text, gold),
        exact=not cited.refused and exact_match(cited.text, gold),
        style=style_share(cited.text, example.style),
        citations_total=len(cited.citations),
        citations_right=right,
    )


def _is_right(sources: Sequence[str], uri: str, chunk: str) -> bool:
    # Without gold sources a citation is right when the generator's own check let it stand: it only reports those.
    return is_right(uri, chunk, sources) if sources else True


def says_dont_know(text: str) -> bool:
    """Whether a text that no serving path has checked is a refusal."""
    return not text.strip() or text.strip().lower().startswith(DONT_KNOW.lower().rstrip("."))
