"""Steps, shards and micro-batches: every example once, the same load for every worker, nothing computed twice."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.trainer.batching import MIN_SHARED, epoch_steps, micro_batches, shards, step_count
from services.trainer.token_samples import TokenSample

lengths_lists = st.lists(st.integers(2, 600), min_size=1, max_size=120)


@given(lengths_lists, st.integers(64, 5000), st.integers(0, 9), st.integers(0, 3))
def test_an_epoch_has_every_example_once_and_no_empty_step(lengths: list[int], batch_tokens: int, seed: int, epoch: int) -> None:
    steps = epoch_steps(lengths, batch_tokens, seed, epoch)
    assert sorted(index for step in steps for index in step) == list(range(len(lengths)))
    assert all(steps)
    assert len(steps) == step_count(lengths, batch_tokens)


@given(lengths_lists, st.integers(64, 5000))
def test_steps_have_about_the_same_number_of_tokens(lengths: list[int], batch_tokens: int) -> None:
    steps = epoch_steps(lengths, batch_tokens, 0, 0)
    share = sum(lengths) / len(steps)
    if share > 4 * max(lengths):
        assert all(abs(sum(lengths[index] for index in step) - share) <= 2 * max(lengths) for step in steps)


def test_the_order_follows_from_seed_and_epoch() -> None:
    lengths = [50] * 40
    assert epoch_steps(lengths, 200, 7, 1) == epoch_steps(lengths, 200, 7, 1)
    assert epoch_steps(lengths, 200, 7, 1) != epoch_steps(lengths, 200, 7, 2)
    assert epoch_steps(lengths, 200, 7, 1) != epoch_steps(lengths, 200, 8, 1)


@given(lengths_lists, st.integers(1, 5))
def test_workers_share_a_step_evenly(lengths: list[int], workers: int) -> None:
    dealt = shards(lengths, range(len(lengths)), workers)
    assert sorted(index for shard in dealt for index in shard) == list(range(len(lengths)))
    loads = [sum(lengths[index] for index in shard) for shard in dealt]
    assert max(loads) - min(loads) <= max(lengths)


prompts = st.lists(st.integers(0, 1), min_size=1, max_size=60)


@given(st.lists(st.tuples(prompts, st.lists(st.integers(0, 9), min_size=1, max_size=5)), min_size=1, max_size=30), st.integers(20, 400))
def test_micro_batches_keep_every_example_and_the_limit(given_samples: list[tuple[list[int], list[int]]], limit: int) -> None:
    beginning = (7,) * 20
    samples = [TokenSample((*beginning, *prompt), tuple(response)) for prompt, response in given_samples]
    pieces = micro_batches(samples, limit)
    assert sorted((one for piece in pieces for one in piece.samples), key=str) == sorted(samples, key=str)
    for piece in pieces:
        assert len(piece.samples) == 1 or piece.computed_tokens <= limit
        assert piece.shared == 0 or piece.shared >= MIN_SHARED
        for sample in piece.samples:
            assert sample.prompt_ids[: piece.shared] == piece.samples[0].prompt_ids[: piece.shared]
            assert piece.shared < len(sample.prompt_ids)


def test_a_beginning_all_prompts_share_is_computed_once() -> None:
    samples = [TokenSample((*range(100), 200 + number), (1, 2)) for number in range(4)]
    (piece,) = micro_batches(samples, 1000)
    assert piece.shared == 100
    assert piece.computed_tokens == 100 + 4 * 3
