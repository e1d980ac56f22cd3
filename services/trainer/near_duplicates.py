"""Finds examples that are nearly the same: repeats are left out, and those that ask nearly the same belong to one group.

Candidates come from MinHash with locality-sensitive hashing (Broder, 1997; Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets",
chapter 3) and are then compared exactly, by the Jaccard index of their shingles.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from services.trainer.domain import Example
from services.trainer.words import content, numbers, overlap, words

THRESHOLD = 0.85
"""Jaccard index from which on two texts are nearly the same: one word changed in about 35."""
SHINGLE_WORDS = 3
BANDS, ROWS = 21, 6
"""A pair at the threshold is missed with probability (1 - 0.85^6)^21 = 0.00005; one at 0.5 is compared with probability 0.28."""
_SEED = 1

Shingles = frozenset[str]


@dataclass(frozen=True)
class Deduplicated:
    """`examples` are those kept, in their order; `groups[i]` is the group of the i-th, equal where examples must stay together."""

    examples: tuple[Example, ...]
    groups: tuple[int, ...]
    duplicate_count: int


def deduplicate(examples: Sequence[Example], threshold: float = THRESHOLD) -> Deduplicated:
    """Leaves out repeats, and joins what belongs together. Blocking: up to a minute for 100,000 examples.

    Of examples with the same content, and of near-duplicates, the one with the best score is kept, then the one with the longest answer,
    then the first. Near-duplicates are nearly the same in what is asked and answered as a whole and in the answer by itself, have the
    same instruction and passages, and hold the same numbers: "warranty of the Tolva 10" is not a repeat of "warranty of the Tolva 20".

    Together belong examples of the same `group`, those that are nearly the same as a whole, and those that ask nearly the same, be it in
    nearly the same words or with nearly the same words that carry content.
    """
    united = _Union(len(examples))
    repeats = _Union(len(examples))
    keys: dict[Hashable, int] = {}
    groups: dict[str, int] = {}
    for index, example in enumerate(examples):
        if example.group:
            united.join(groups.setdefault(example.group, index), index)
        first = keys.setdefault(_exact(example), index)
        united.join(first, index)
        repeats.join(first, index)
    # Exact repeats are compared once.
    distinct = sorted(set(keys.values()))
    answers = {index: shingles(examples[index].answer) for index in distinct}
    figures = {index: numbers(f"{asked(examples[index])} {examples[index].answer}") for index in distinct}
    for first, second in near_pairs(
        {index: shingles(f"{asked(examples[index])} {examples[index].answer}") for index in distinct}, threshold
    ):
        united.join(first, second)
        alike = _frame(examples[first]) == _frame(examples[second]) and figures[first] == figures[second]
        if alike and overlap(answers[first], answers[second]) >= threshold:
            repeats.join(first, second)
    for first, second in near_pairs({index: shingles(asked(examples[index])) for index in distinct}, threshold):
        united.join(first, second)
    # A short question that is put a little differently shares few runs of words, but what it is made of.
    for first, second in near_pairs({index: content(asked(examples[index])) for index in distinct}, threshold):
        united.join(first, second)
    kept = sorted(min(same, key=lambda index: _worth(examples[index], index)) for same in repeats.sets())
    return Deduplicated(
        examples=tuple(examples[index] for index in kept),
        groups=tuple(united.find(index) for index in kept),
        duplicate_count=len(examples) - len(kept),
    )


def near_pairs(texts: dict[int, Shingles], threshold: float) -> Iterator[tuple[int, int]]:
    """Pairs with a Jaccard index of at least `threshold`, found but for about one in 20,000; texts without a word have no partner."""
    # It takes a second to import.
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(params=(BANDS, ROWS), num_perm=BANDS * ROWS)
    keys = [key for key, found in texts.items() if found]
    hashed = MinHash.generator(([shingle.encode() for shingle in texts[key]] for key in keys), num_perm=BANDS * ROWS, seed=_SEED)
    for key, minhash in zip(keys, hashed, strict=True):
        for other in sorted(index.query(minhash)):
            if overlap(texts[key], texts[other]) >= threshold:
                yield other, key
        index.insert(key, minhash, check_duplication=False)


def asked(example: Example) -> str:
    """What is asked: the question, or the chat without its instruction, which many examples share."""
    return example.question or "\n".join(message.text for message in example.messages if message.role != "system")


def shingles(text: str) -> Shingles:
    """All runs of three words; a shorter text is one run."""
    found = words(text)
    if not found:
        return frozenset()
    return frozenset(" ".join(found[start : start + SHINGLE_WORDS]) for start in range(max(1, len(found) - SHINGLE_WORDS + 1)))


def _exact(example: Example) -> Hashable:
    return (_frame(example), " ".join(words(asked(example))) or asked(example), " ".join(words(example.answer)) or example.answer)


def _frame(example: Example) -> Hashable:
    """What has to be the very same in repeats: the form, the instruction, and what is answered from."""
    instruction = tuple(message.text for message in example.messages if message.role == "system")
    passages = tuple(sorted(passage.text for passage in example.passages))
    return (example.is_question, example.answerable, example.corpus, instruction, passages)


def _worth(example: Example, index: int) -> tuple[bool, float, int, int]:
    """What is held back, or was held out before, stays so, whatever else is better."""
    return (
        not (example.held_back or example.split == "held_out"),
        -(1.0 if example.score is None else example.score),
        -len(example.answer),
        index,
    )


class _Union:
    """Sets of indices that are joined (union-find). A set is known by its first member."""

    def __init__(self, size: int) -> None:
        self._parents = list(range(size))

    def find(self, index: int) -> int:
        while self._parents[index] != index:
            self._parents[index] = self._parents[self._parents[index]]
            index = self._parents[index]
        return index

    def join(self, first: int, second: int) -> None:
        first, second = sorted((self.find(first), self.find(second)))
        self._parents[second] = first

    def sets(self) -> Iterable[list[int]]:
        found: dict[int, list[int]] = {}
        for index in range(len(self._parents)):
            found.setdefault(self.find(index), []).append(index)
        return found.values()
