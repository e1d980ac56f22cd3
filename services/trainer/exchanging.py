"""Examples with their responses exchanged, to see whether what is written depends on what was asked."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from services.trainer.token_samples import TokenSample


def exchanged(samples: Sequence[TokenSample], seed: int) -> list[TokenSample]:
    """Each prompt with the response, and its weight, of another example; one with other words wherever a rotation allows it.

    Of the rotations of a random order the one is taken that leaves the fewest prompts with the words they had: many examples may have the
    same response.
    """
    order = list(range(len(samples)))
    random.Random(seed).shuffle(order)  # noqa: S311 - repeatable, not secret
    best = min(range(1, min(len(order), 20)), key=lambda by: _same(samples, order, by), default=0)
    partner = {index: order[(place + best) % len(order)] for place, index in enumerate(order)}
    return [
        replace(sample, response_ids=samples[partner[index]].response_ids, weight=samples[partner[index]].weight)
        for index, sample in enumerate(samples)
    ]


def _same(samples: Sequence[TokenSample], order: Sequence[int], by: int) -> int:
    return sum(samples[index].response_ids == samples[order[(place + by) % len(order)]].response_ids for place, index in enumerate(order))
