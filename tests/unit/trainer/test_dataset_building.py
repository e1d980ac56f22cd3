from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest

from services.trainer.dataset_building import DatasetBuilding
from services.trainer.domain import (
    DONT_KNOW,
    CorpusSource,
    Dataset,
    DatasetCopy,
    DatasetState,
    Example,
    FeedbackSource,
    Message,
    NothingToTrainOn,
    Passage,
    Source,
    Split,
)
from services.trainer.feedback_examples import from_feedback
from services.trainer.ports import FeedbackRecord


class Documents:
    """A retriever that knows which chunks are there."""

    def __init__(self, *gone: str) -> None:
        self.gone = gone

    async def existing(self, names: Sequence[str]) -> dict[str, Passage]:
        return {
            name: Passage(f"Text of {name}.", f"Title {name}", f"https://x/{name}", (), name) for name in names if name not in self.gone
        }

    async def chunks(self, corpus: str) -> AsyncIterator[Passage]:
        return
        yield


class Serving:
    """A generator with feedback."""

    def __init__(self, *records: FeedbackRecord) -> None:
        self.records = records

    async def feedback(self, since: float = 0.0) -> AsyncIterator[FeedbackRecord]:
        for record in self.records:
            if record.time >= since:
                yield record


def record(number: int, **given: object) -> FeedbackRecord:
    base = FeedbackRecord(
        answer_id=f"answers/{number:032x}", rating="up", corrected_text="", time=float(number), question=f"What is item number {number}?",
        answer_text=f"Item {number} is blue [2].", refused=False, passages=("c1", "c2"), corpus="corpora/docs", adapter="", trace_id="t",
    )  # fmt: skip
    return replace(base, **given)  # type: ignore[arg-type]


async def given_feedback(*records: FeedbackRecord, gone: tuple[str, ...] = ()) -> tuple[list[Example], int, int]:
    found = await from_feedback(Serving(*records).feedback(), Documents(*gone))  # type: ignore[arg-type]
    return list(found.examples), found.dropped_count, found.useless_count


async def test_an_answer_with_a_thumb_up_is_an_example_with_what_it_cites() -> None:
    [example], _, _ = await given_feedback(record(1))
    assert (example.answer, example.answerable, example.origin, example.trace_id) == ("Item 1 is blue [2].", True, "feedback", "t")
    assert [passage.name for passage in example.passages] == ["c1", "c2"]
    assert example.passages[0].text == "Text of c1."
    assert example.sources == ("https://x/c2", "c2")
    assert (example.concept, example.chunks) == ("Title c2", ("c1", "c2"))


async def test_a_corrected_text_takes_the_answers_place() -> None:
    [example], _, _ = await given_feedback(record(1, rating="down", corrected_text=" It is red. "))
    assert (example.answer, example.sources) == ("It is red.", ())


@pytest.mark.parametrize("text", ["I do not know.", "i don’t know", "I don't know.", "I DO NOT KNOW"])
async def test_a_correction_to_not_knowing_is_an_unanswerable_question(text: str) -> None:
    [example], _, _ = await given_feedback(record(1, rating="down", corrected_text=text))
    assert (example.answer, example.answerable) == (DONT_KNOW, False)


async def test_a_thumb_down_without_a_correction_teaches_nothing() -> None:
    assert await given_feedback(record(1, rating="down"), record(2, rating="unspecified")) == ([], 0, 2)


async def test_of_several_opinions_on_an_answer_the_last_counts() -> None:
    examples, _, useless = await given_feedback(record(1), replace(record(1), corrected_text="Red.", time=2.0))
    assert [example.answer for example in examples] == ["Red."]
    assert useless == 1
    assert await given_feedback(record(1), replace(record(1), rating="down", time=2.0)) == ([], 0, 2)


async def test_feedback_on_passages_that_are_gone_is_dropped() -> None:
    assert await given_feedback(record(1), gone=("c1",)) == ([], 1, 0)


def prompts(count: int, start: int = 0) -> list[Example]:
    letters = "abcdefghij"
    texts = ["".join(letters[int(digit)] for digit in str(start + number)) for number in range(count)]
    return [Example(text, f"It is {text}.", messages=(Message("user", f"{text}a {text}b {text}c {text}d"),)) for text in texts]


def dataset(*sources: Source, **split: object) -> Dataset:
    return Dataset("d", "", DatasetState.BUILDING, 0.0, Split(**split), sources)  # type: ignore[arg-type]


async def test_sources_are_put_together_split_and_counted() -> None:
    told: list[tuple[int, int]] = []
    copied = [*prompts(40), *prompts(5)]

    async def copies(dataset_id: str) -> list[Example]:
        assert dataset_id == "other"
        return copied

    building = DatasetBuilding(Serving(*(record(number) for number in range(10))), Documents())  # type: ignore[arg-type]
    built = await building.build(dataset(FeedbackSource(since=5.0), DatasetCopy("other")), copies, lambda *counts: told.append(counts))
    assert len(built.examples) == 45
    assert built.duplicate_count == 5
    assert built.training_count + built.validation_count + built.held_out_count == 45
    assert built.held_out_count >= 4
    assert told == [(5, 5), (50, 50)]
    assert len(built.fingerprint) == 64
    assert len({example.id for example in built.examples}) == 45
    again = await building.build(dataset(FeedbackSource(since=5.0), DatasetCopy("other")), copies, lambda *counts: None)
    assert again == built


async def test_examples_of_documents_that_are_gone_are_dropped() -> None:
    examples = [*prompts(20), *(replace(each, chunks=("c1",)) for each in prompts(5, start=100))]
    examples += [replace(each, messages=(), question=each.id, passages=(Passage("x", name="c2"),)) for each in prompts(3, start=200)]
    building = DatasetBuilding(Serving(), Documents("c1", "c2"))  # type: ignore[arg-type]
    built = await building.arrange(examples, Split())
    assert (len(built.examples), built.dropped_count) == (20, 8)
    with pytest.raises(NothingToTrainOn, match="documents all of them rest on are gone"):
        await building.arrange(examples[20:], Split())


async def test_two_examples_of_one_id_get_ids_of_their_own() -> None:
    first, second, *rest = prompts(20)
    built = await DatasetBuilding(Serving(), Documents()).arrange([first, replace(second, id=first.id), *rest], Split())  # type: ignore[arg-type]
    assert len({example.id for example in built.examples}) == 20


class Idle:
    """A teacher that is never asked."""

    def __init__(self, closed: list[str]) -> None:
        self._closed = closed

    async def close(self) -> None:
        self._closed.append("teacher")


async def test_a_corpus_that_gives_too_little_is_told() -> None:
    async def copies(dataset_id: str) -> list[Example]:
        return prompts(20)

    closed: list[str] = []
    building = DatasetBuilding(Serving(), Documents(), lambda url, model: Idle(closed))  # type: ignore[arg-type, return-value]
    built = await building.build(dataset(DatasetCopy("x"), CorpusSource("corpora/docs")), copies, lambda *counts: None)
    assert built.warnings[0].startswith("Of 200 examples wanted from corpora/docs 0 could be written")
    assert closed == ["teacher"]


async def test_sources_without_examples_are_nothing_to_train_on() -> None:
    building = DatasetBuilding(Serving(), Documents())  # type: ignore[arg-type]
    with pytest.raises(NothingToTrainOn, match="hold no example"):
        await building.build(dataset(FeedbackSource()), None, lambda *counts: None)  # type: ignore[arg-type]
