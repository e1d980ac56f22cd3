"""Which texts are computed next: a queue of calls' texts, taken out in batches of so many tokens.

- Queries go before documents, but never twice in a row while documents wait: a query waits for one batch at most that is not its own
  kind's, and documents are never starved.
- Within a kind, calls take turns, one text each, so that a long call slows a short one by no more than a batch.
- A call gives its longest texts first, and a batch is sorted by length: texts of like length are computed together.

Pure and single-threaded: `Batcher` owns one and calls it from the event loop only.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from services.embedder.domain import TokenizedText


@dataclass(eq=False)
class Job:
    """The texts of one call that are still to be taken, longest last."""

    texts: Sequence[TokenizedText]
    urgent: bool = False
    waiting: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.waiting = sorted(range(len(self.texts)), key=lambda index: len(self.texts[index].ids))


@dataclass(frozen=True)
class Piece:
    """One text of a batch, and whose it is."""

    job: Job
    index: int

    @property
    def text(self) -> TokenizedText:
        """The text itself."""
        return self.job.texts[self.index]


class BatchQueue:
    """Texts waiting to be computed. `waiting_tokens` says how many tokens they have."""

    def __init__(self) -> None:
        self._lanes: dict[bool, deque[Job]] = {True: deque(), False: deque()}
        self._urgent_last = False
        self.waiting_tokens = 0

    def __bool__(self) -> bool:
        return any(self._lanes.values())

    def put(self, job: Job) -> None:
        """Adds a call's texts."""
        if job.waiting:
            self._lanes[job.urgent].append(job)
            self.waiting_tokens += _tokens(job)

    def discard(self, job: Job) -> None:
        """Takes out what is still waiting of a call. Does nothing when nothing is."""
        if job.waiting:
            self._lanes[job.urgent].remove(job)
            self.waiting_tokens -= _tokens(job)
            job.waiting.clear()

    def take(self, batch_tokens: int) -> list[Piece]:
        """The next batch, shortest text first: at most `batch_tokens` tokens, but at least one text. Empty when nothing waits."""
        urgent = bool(self._lanes[True]) and not (self._urgent_last and self._lanes[False])
        self._urgent_last = urgent
        lane = self._lanes[urgent]
        batch: list[Piece] = []
        room = batch_tokens
        while lane:
            job = lane.popleft()
            piece = Piece(job, job.waiting[-1])
            if batch and len(piece.text.ids) > room:
                lane.appendleft(job)
                break
            room -= len(piece.text.ids)
            job.waiting.pop()
            if job.waiting:
                lane.append(job)
            batch.append(piece)
        self.waiting_tokens -= batch_tokens - room
        return sorted(batch, key=lambda piece: len(piece.text.ids))


def groups_of_like_length(lengths: Sequence[int], max_padding: float = 0.2) -> list[slice]:
    """Splits ascending lengths where padding to the longest would make up more than `max_padding` of a group."""
    groups: list[slice] = []
    start = total = 0
    for end, length in enumerate(lengths):
        total += length
        if end > start and total < (1 - max_padding) * length * (end - start + 1):
            groups.append(slice(start, end))
            start, total = end, length
    if lengths:
        groups.append(slice(start, len(lengths)))
    return groups


def _tokens(job: Job) -> int:
    return sum(len(job.texts[index].ids) for index in job.waiting)
