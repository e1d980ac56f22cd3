"""Decides which examples make up a step, which worker takes which of them, and what is computed side by side. Knows no torch.

    epoch    all examples, shuffled by (seed, epoch), cut into steps of about `batch_tokens`
    step     dealt out to the workers, so that each has about the same number of tokens
    shard    what one worker takes of a step, sorted so that prompts that begin alike lie together
    micro    a piece of a shard that is computed at once, one example behind the other without padding; what its prompts have in
             common at their beginning is computed once

Everything follows from its arguments, so every worker finds the same without being told, and a resumed run goes on where it was.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from services.trainer.token_samples import TokenSample

MIN_SHARED = 16
"""A common beginning shorter than this is not worth the bookkeeping."""


@dataclass(frozen=True)
class MicroBatch:
    """Examples computed at once. The first `shared` tokens are the same in all their prompts; at least one token of a prompt is its own."""

    samples: tuple[TokenSample, ...]
    shared: int

    @property
    def computed_tokens(self) -> int:
        """Tokens that go through the model."""
        return self.shared + sum(sample.length - self.shared for sample in self.samples)


def step_count(lengths: Sequence[int], batch_tokens: int) -> int:
    """Steps of one epoch: as many as make the mean step come nearest to `batch_tokens`, and not more than there are examples."""
    return max(1, min(len(lengths), round(sum(lengths) / batch_tokens)))


def epoch_steps(lengths: Sequence[int], batch_tokens: int, seed: int, epoch: int) -> list[list[int]]:
    """The examples, by index, of each step of an epoch. Every example is in one step, every step has one, all have about as many tokens."""
    order = list(range(len(lengths)))
    random.Random(f"{seed}/{epoch}").shuffle(order)  # noqa: S311 - repeatable, not secret
    count = step_count(lengths, batch_tokens)
    share = sum(lengths) / count
    steps: list[list[int]] = [[]]
    done = 0
    for place, index in enumerate(order):
        middle = done + lengths[index] / 2
        left = len(order) - place
        # Close a step when the next example's middle lies beyond its end, but leave no later step without an example.
        if steps[-1] and len(steps) < count and (middle > share * len(steps) or left <= count - len(steps)):
            steps.append([])
        steps[-1].append(index)
        done += lengths[index]
    return steps


def shards(lengths: Sequence[int], step: Sequence[int], workers: int) -> list[list[int]]:
    """Deals a step out: the longest first, each to the worker that has least. With fewer examples than workers some get none."""
    dealt: list[list[int]] = [[] for _ in range(workers)]
    loads = [0] * workers
    for index in sorted(step, key=lambda index: (-lengths[index], index)):
        lightest = loads.index(min(loads))
        dealt[lightest].append(index)
        loads[lightest] += lengths[index]
    return dealt


def micro_batches(samples: Sequence[TokenSample], max_tokens: int) -> list[MicroBatch]:
    """Cuts a shard into pieces of at most `max_tokens` computed tokens; an example longer than that is a piece of its own."""
    pieces: list[MicroBatch] = []
    for sample in sorted(samples, key=lambda sample: (sample.prompt_ids, sample.response_ids)):
        if pieces:
            # Sorted, so what the first and the last have in common at the beginning, all between have.
            together = (*pieces[-1].samples, sample)
            grown = MicroBatch(together, _shared(together[0], sample, limit=min(len(one.prompt_ids) for one in together) - 1))
            if grown.computed_tokens <= max_tokens:
                pieces[-1] = grown
                continue
        pieces.append(MicroBatch((sample,), 0))
    return pieces


def _shared(first: TokenSample, last: TokenSample, limit: int) -> int:
    """Length of the common beginning of two prompts, at most `limit`; 0 when it is not worth it."""
    length = 0
    for one, other in zip(first.prompt_ids[: max(limit, 0)], last.prompt_ids, strict=False):
        if one != other:
            break
        length += 1
    return length if length >= MIN_SHARED else 0
