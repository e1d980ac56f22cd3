"""Computing the texts of concurrent calls together."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from services.embedder.domain import DeviceLost, ModelUnavailable, QueueFull, TextNotComputable, TokenizedText

BROKEN, NOT_FINITE = 666, 667


def text(first: int, length: int = 10) -> TokenizedText:
    return TokenizedText([first] * length, full_count=length)


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


async def test_vectors_come_back_in_the_order_of_the_call(batched: Any) -> None:
    async with batched.batcher(batch_tokens=12) as batcher:
        vectors = await batcher.compute([text(1, 3), text(2, 9), text(3, 5)])
    assert [vector.tolist() for vector in vectors] == [[1, 3], [2, 9], [3, 5]]


async def test_calls_that_arrive_while_the_model_computes_share_the_next_batch(batched: Any) -> None:
    batched.encoder.gate.clear()
    async with batched.batcher() as batcher:
        calls = [asyncio.create_task(batcher.compute([text(number)])) for number in range(6)]
        await until(lambda: batched.encoder.batches)
        await asyncio.sleep(0.02)
        batched.encoder.gate.set()
        await asyncio.gather(*calls)
    assert sum(map(len, batched.encoder.batches)) == 6
    assert len(batched.encoder.batches) <= 2


async def test_a_query_overtakes_a_long_call(batched: Any) -> None:
    batched.encoder.gate.clear()
    async with batched.batcher(batch_tokens=20) as batcher:
        long = asyncio.create_task(batcher.compute([text(1)] * 50))
        await until(lambda: batched.encoder.batches)
        query = asyncio.create_task(batcher.compute([text(9)], urgent=True))
        await asyncio.sleep(0)
        batched.encoder.gate.set()
        await asyncio.gather(long, query)
    assert batched.encoder.batches[1] == [9]


async def test_a_full_queue_refuses_and_says_when_to_retry(batched: Any) -> None:
    batched.encoder.gate.clear()
    async with batched.batcher(batch_tokens=10, queue_tokens=50) as batcher:
        first = asyncio.create_task(batcher.compute([text(1)] * 5))
        await until(lambda: batched.encoder.batches)
        with pytest.raises(QueueFull) as refused:
            await batcher.compute([text(2)] * 3)
        second = asyncio.create_task(batcher.compute([text(3)]))
        await asyncio.sleep(0)
        with pytest.raises(QueueFull):
            batcher.check_room()
        batched.encoder.gate.set()
        await asyncio.gather(first, second)
    assert refused.value.retry_after_seconds is not None
    assert refused.value.retry_after_seconds > 0
    assert [2] not in batched.encoder.batches


async def test_a_call_larger_than_the_queue_is_served_when_nothing_else_waits(batched: Any) -> None:
    async with batched.batcher(batch_tokens=20, queue_tokens=30) as batcher:
        assert len(await batcher.compute([text(1)] * 10)) == 10


async def test_patient_calls_wait_for_room_in_turn_and_leave_half_the_queue_to_others(batched: Any) -> None:
    batched.encoder.gate.clear()
    async with batched.batcher(batch_tokens=10, queue_tokens=100) as batcher:
        blocker = asyncio.create_task(batcher.compute([text(0)]))
        await until(lambda: batched.encoder.batches)
        streams = [asyncio.create_task(batcher.compute([text(number)] * 4, patient=True)) for number in range(1, 6)]
        await asyncio.sleep(0.02)
        other = asyncio.create_task(batcher.compute([text(99)] * 5))
        await asyncio.sleep(0.02)
        assert not other.done()
        batched.encoder.gate.set()
        results = await asyncio.gather(blocker, other, *streams)
    assert [len(result) for result in results] == [1, 5, 4, 4, 4, 4, 4]
    order = [batch[0] for batch in batched.encoder.batches]
    assert [order.index(number) for number in range(1, 6)] == sorted(order.index(number) for number in range(1, 6))


async def test_a_cancelled_calls_texts_are_never_computed(batched: Any) -> None:
    batched.encoder.gate.clear()
    async with batched.batcher(batch_tokens=10, queue_tokens=100) as batcher:
        running = asyncio.create_task(batcher.compute([text(1)]))
        await until(lambda: batched.encoder.batches)
        leaving = asyncio.create_task(batcher.compute([text(2)] * 9))
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        # Its room is free again at once.
        staying = asyncio.create_task(batcher.compute([text(3)] * 10))
        await asyncio.sleep(0)
        batched.encoder.gate.set()
        await asyncio.gather(running, staying)
    assert all(2 not in batch for batch in batched.encoder.batches)


async def test_waiting_for_room_can_be_cancelled(batched: Any) -> None:
    batched.encoder.gate.clear()
    async with batched.batcher(batch_tokens=10, queue_tokens=20) as batcher:
        blocker = asyncio.create_task(batcher.compute([text(1)] * 2))
        await until(lambda: batched.encoder.batches)
        leaving = asyncio.create_task(batcher.compute([text(2)] * 2, patient=True))
        await asyncio.sleep(0)
        leaving.cancel()
        staying = asyncio.create_task(batcher.compute([text(3)], patient=True))
        batched.encoder.gate.set()
        results = await asyncio.gather(blocker, leaving, staying, return_exceptions=True)
    assert isinstance(results[1], asyncio.CancelledError)
    assert [len(results[0]), len(results[2])] == [2, 1]


@pytest.mark.parametrize("bad", [BROKEN, NOT_FINITE])
async def test_a_broken_text_fails_its_own_call_only(batched: Any, bad: int) -> None:
    batched.encoder.gate.clear()
    async with batched.batcher() as batcher:
        first = asyncio.create_task(batcher.compute([text(0)]))
        await until(lambda: batched.encoder.batches)
        calls = [asyncio.create_task(batcher.compute([text(1), text(number)])) for number in (2, bad, 3, 4)]
        await asyncio.sleep(0)
        batched.encoder.gate.set()
        results = await asyncio.gather(*calls, return_exceptions=True)
        await first
    assert isinstance(results[1], TextNotComputable)
    assert results[1].metadata == {"index": "1"}
    assert [[vector.tolist() for vector in result] for result in (results[0], results[2], results[3])] == [
        [[1, 10], [2, 10]],
        [[1, 10], [3, 10]],
        [[1, 10], [4, 10]],
    ]


async def test_a_lost_device_fails_all_calls_and_asks_for_a_new_process(batched: Any) -> None:
    batched.encoder.gate.clear()
    batched.encoder.raises = DeviceLost("the device fell off the bus")
    async with batched.batcher(batch_tokens=10) as batcher:
        calls = [asyncio.create_task(batcher.compute([text(number)])) for number in range(3)]
        await until(lambda: batched.encoder.batches)
        batched.encoder.gate.set()
        results = await asyncio.gather(*calls, return_exceptions=True)
        with pytest.raises(ModelUnavailable):
            await batcher.compute([text(1)])
    assert all(isinstance(result, ModelUnavailable) for result in results)
    assert len(batched.failures) == 1
