"""Turns examples into token samples at the beginning of a job, through the serving path: the same retrieval, prompt and citations.

What a model is trained to write is what would count as an answer: the example's answer with the markers the generator sets, or "I do not
know." where the passages do not hold it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from services.trainer.dataset_building import with_existing_chunks
from services.trainer.distilling import Progress
from services.trainer.domain import DONT_KNOW, Example, Passage, TrainingFailed
from services.trainer.patience import each, patiently
from services.trainer.ports import Generator, RenderedPrompt, Retriever
from services.trainer.sources import is_right
from services.trainer.token_samples import TokenSample

PASSAGES = 4
"""As many as `Ask` searches for by default."""
MAX_UNSUPPORTED_SHARE = 0.5
"""With a larger share of answerable questions unsupported the check does not fit the data, and they are kept as they are."""
_BATCH = 64


class ResponseTokenizer(Protocol):
    """Token ids of what a model is to write, with the one that ends its turn."""

    def encode(self, text: str) -> tuple[int, ...]:
        """The ids."""
        ...


@dataclass(frozen=True)
class Prepared:
    """Samples with their examples, in the examples' order, and what became of the others.

    - `dropped_gone`: rest on a chunk that is not there any more; left out.
    - `unsupported`: answerable, but the passages do not support the answer; left out unless `kept_unsupported`.
    - `too_long`: more tokens than may be; left out.
    - `no_passages`: nothing was found for the question; left out.
    - `weightless`: of score 0; left out.
    - `refused_for_missing_source`: retrieval missed the sources, so the response is "I do not know."; among the samples.
    """

    samples: list[tuple[Example, TokenSample]]
    dropped_gone: int
    unsupported: int
    kept_unsupported: bool
    too_long: int
    refused_for_missing_source: int
    passages_by_example: Mapping[str, tuple[Passage, ...]]
    """By the example's id: the passages its prompt holds."""
    no_passages: int = 0
    weightless: int = 0


@dataclass(frozen=True)
class _Drafted:
    """An example with its prompt and the response; `fate` says what it is."""

    example: Example
    fate: Literal["taken", "unsupported", "missing source", "no passages"]
    prompt_ids: tuple[int, ...] = ()
    response: str = ""
    passages: tuple[Passage, ...] = ()


async def prepare(  # noqa: PLR0917
    examples: Sequence[Example],
    generator: Generator,
    retriever: Retriever,
    response_tokenizer: ResponseTokenizer,
    max_tokens: int,
    progress: Progress,
) -> Prepared:
    """The samples of `examples`, of at most `max_tokens` tokens each, prompt and response together.

    Deterministic as far as the services are. Raises `TrainingFailed` when the generator cannot tell tokens, and the services' errors.
    """
    weighty = [example for example in examples if example.score != 0]
    there = await with_existing_chunks(weighty, retriever)
    drafter = _Drafter(generator, retriever)
    drafts: list[_Drafted] = []
    progress(0, len(there))
    for start in range(0, len(there), _BATCH):
        drafts += await each(there[start : start + _BATCH], drafter.draft)
        progress(len(drafts), len(there))
    unsupported = sum(draft.fate == "unsupported" for draft in drafts)
    answerable = sum(draft.example.is_question and draft.example.answerable and draft.fate != "no passages" for draft in drafts)
    keep = unsupported > MAX_UNSUPPORTED_SHARE * answerable
    samples: list[tuple[Example, TokenSample]] = []
    too_long = 0
    for draft in drafts:
        if draft.fate == "no passages" or (draft.fate == "unsupported" and not keep):
            continue
        score = draft.example.score
        sample = TokenSample(draft.prompt_ids, response_tokenizer.encode(draft.response), 1.0 if score is None else score)
        if sample.length > max_tokens:
            too_long += 1
        else:
            samples.append((draft.example, sample))
    return Prepared(
        samples=samples,
        dropped_gone=len(weighty) - len(there),
        unsupported=unsupported,
        kept_unsupported=keep,
        too_long=too_long,
        refused_for_missing_source=sum(draft.fate == "missing source" for draft in drafts),
        passages_by_example={draft.example.id: draft.passages for draft in drafts if draft.passages},
        no_passages=sum(draft.fate == "no passages" for draft in drafts),
        weightless=len(examples) - len(weighty),
    )


class _Drafter:
    """Asks the serving path what an example looks like there."""

    def __init__(self, generator: Generator, retriever: Retriever) -> None:
        self._generator = generator
        self._retriever = retriever

    async def draft(self, example: Example) -> _Drafted:
        if not example.is_question:
            rendered = await patiently(lambda: self._generator.render_chat(example.messages))
            return _Drafted(example, "taken", _ids(rendered), example.answer)
        passages = example.passages
        if not passages:
            passages = await patiently(lambda: self._retriever.search(example.corpus, example.question, PASSAGES))
        if not passages:
            return _Drafted(example, "no passages")
        rendered = await patiently(lambda: self._generator.render_question(example.question, passages))
        prompt_ids = _ids(rendered)
        # An answer must not cite a passage that did not fit into the prompt.
        shown = tuple(passages[: rendered.passage_count or len(passages)])
        if not example.answerable:
            return _Drafted(example, "taken", prompt_ids, DONT_KNOW, shown)
        cited = await patiently(lambda: self._generator.cite(example.question, shown, example.answer))
        if not cited.refused:
            return _Drafted(example, "taken", prompt_ids, cited.text, shown)
        if example.sources and not any(is_right(passage.uri, passage.name, example.sources) for passage in shown):
            return _Drafted(example, "missing source", prompt_ids, DONT_KNOW, shown)
        return _Drafted(example, "unsupported", prompt_ids, example.answer, shown)


def _ids(rendered: RenderedPrompt) -> tuple[int, ...]:
    if not rendered.token_ids:
        raise TrainingFailed("The generator does not know its model's tokenizer, so nothing can be trained in the form it is served in.")
    return rendered.token_ids
