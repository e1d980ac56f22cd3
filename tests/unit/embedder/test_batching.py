"""Which texts are computed next."""

from __future__ import annotations

import pytest

from services.embedder.batching import BatchQueue, Job, groups_of_like_length
from services.embedder.domain import TokenizedText


def job(*lengths: int, urgent: bool = False) -> Job:
    return Job([TokenizedText([0] * length, full_count=length) for length in lengths], urgent)


def lengths(batch: list) -> list[int]:
    return [len(piece.text.ids) for piece in batch]


def drain(queue: BatchQueue, batch_tokens: int) -> list[list]:
    batches = []
    while batch := queue.take(batch_tokens):
        batches.append(batch)
    return batches


def test_a_batch_stays_within_its_tokens_and_ascends_in_length() -> None:
    queue = BatchQueue()
    queue.put(job(5, 9, 1, 7, 3))
    assert [lengths(batch) for batch in drain(queue, 12)] == [[9], [5, 7], [1, 3]]
    assert queue.waiting_tokens == 0
    assert not queue


def test_a_text_larger_than_a_batch_is_computed_alone() -> None:
    queue = BatchQueue()
    queue.put(job(50, 2))
    assert [lengths(batch) for batch in drain(queue, 10)] == [[50], [2]]


def test_calls_take_turns_so_a_short_one_does_not_wait_for_a_long_one() -> None:
    queue = BatchQueue()
    long, short = job(*[10] * 100), job(10)
    queue.put(long)
    queue.put(short)
    assert short in {piece.job for piece in queue.take(30)}


def test_queries_go_first_and_alone() -> None:
    queue = BatchQueue()
    documents, query = job(10, 10), job(3, urgent=True)
    queue.put(documents)
    queue.put(query)
    assert [piece.job for piece in queue.take(100)] == [query]
    assert [piece.job for piece in queue.take(100)] == [documents, documents]


def test_documents_get_every_second_batch_however_many_queries_come() -> None:
    queue = BatchQueue()
    queue.put(job(*[10] * 3))
    kinds = []
    for _ in range(6):
        queue.put(job(10, urgent=True))
        kinds.append(queue.take(10)[0].job.urgent)
    assert kinds == [True, False, True, False, True, False]


def test_discarding_takes_out_what_waits_and_nothing_else() -> None:
    queue = BatchQueue()
    gone, kept = job(10, 10, 10), job(4)
    queue.put(gone)
    queue.take(10)
    queue.put(kept)
    queue.discard(gone)
    queue.discard(gone)
    assert queue.waiting_tokens == 4
    assert [piece.job for piece in queue.take(100)] == [kept]


def test_every_text_is_taken_exactly_once() -> None:
    queue = BatchQueue()
    jobs = [job(*range(1, 20)), job(*range(5, 9), urgent=True), job(3), job()]
    for one in jobs:
        queue.put(one)
    taken = [(id(piece.job), piece.index) for batch in drain(queue, 17) for piece in batch]
    assert sorted(taken) == sorted((id(one), index) for one in jobs for index in range(len(one.texts)))


@pytest.mark.parametrize(
    ("ascending", "expected"),
    [
        ([], []),
        ([7], [[7]]),
        ([10, 10, 10], [[10, 10, 10]]),
        ([9, 10], [[9, 10]]),
        ([2, 10], [[2], [10]]),
        ([1, 1, 100, 101], [[1, 1], [100, 101]]),
    ],
)
def test_texts_padded_together_are_of_like_length(ascending: list[int], expected: list[list[int]]) -> None:
    assert [ascending[group] for group in groups_of_like_length(ascending)] == expected
