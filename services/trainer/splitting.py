"""Splits examples into those to train on, to validate on, and to hold out, group by group, so that nothing leaks from side to side.

Groups are given out one after the other, the largest first, each to the side that is furthest behind its share, counted over all
examples and over each kind of them (answerable, unanswerable, prompt, corner case): the greedy way of scikit-learn's
`StratifiedGroupKFold`, with shares in place of equal folds.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from services.trainer.domain import Example, NothingToTrainOn, Split

TRAINING, VALIDATION, HELD_OUT = "training", "validation", "held_out"
_ALL = "all"


@dataclass(frozen=True)
class _Group:
    """Examples that stay together. `rank` orders groups by chance, repeatably."""

    members: tuple[int, ...]
    kinds: Counter[str]
    rank: str

    @property
    def size(self) -> int:
        return len(self.members)


@dataclass(frozen=True)
class Sides:
    """The examples of one job."""

    training: tuple[Example, ...]
    validation: tuple[Example, ...]
    held_out: tuple[Example, ...]


def split_examples(examples: Sequence[Example], groups: Sequence[int], split: Split) -> list[Example]:
    """The examples in their order, each with its side, and with its fold where there are folds.

    - Held out are the groups of examples marked `held_back`; without any, `held_out_share` of all. What was held out in the dataset an
      example comes from stays held out, and what was not is held out only when there is nothing else.
    - With folds, `fold` says which validates it, and the side is that of a job with fold 0.

    Raises `NothingToTrainOn` when a side that is wanted would be empty.
    """
    parts = _groups(examples, groups, split.seed)
    marked = any(example.held_back for example in examples)
    held = [part for part in parts if any(examples[index].held_back or examples[index].split == HELD_OUT for index in part.members)]
    rest = _without(parts, held)
    if not marked and split.held_out_share > 0:
        wanted = split.held_out_share * len(examples) - sum(part.size for part in held)
        held += _held_out(examples, rest, wanted, some_are=bool(held))
        rest = _without(rest, held)
    sides: dict[int, tuple[str, int | None]] = {index: (HELD_OUT, None) for part in held for index in part.members}
    if split.folds:
        if len(rest) < split.folds:
            raise NothingToTrainOn(_too_few(len(rest), f"{split.folds} folds"))
        for fold, chosen in enumerate(_dealt(rest, [1 / split.folds] * split.folds)):
            sides |= {index: (VALIDATION if fold == 0 else TRAINING, fold) for part in chosen for index in part.members}
    else:
        if len(rest) < 2:
            raise NothingToTrainOn(_too_few(len(rest), "training and validation"))
        share = split.validation_share
        for side, chosen in zip((TRAINING, VALIDATION), _dealt(rest, [1 - share, share]), strict=True):
            sides |= {index: (side, None) for part in chosen for index in part.members}
    return [
        replace(example, split=sides[index][0], fold=sides[index][1])  # type: ignore[arg-type]
        for index, example in enumerate(examples)
    ]


def sides_of(examples: Sequence[Example], fold: int | None = None) -> Sides:
    """The sides of split examples for a job; `fold` validates where there are folds (None: 0)."""
    held_out = tuple(example for example in examples if example.split == HELD_OUT)
    rest = [example for example in examples if example.split != HELD_OUT]

    def validates(example: Example) -> bool:
        return example.split == VALIDATION if example.fold is None else example.fold == (fold or 0)

    return Sides(
        training=tuple(example for example in rest if not validates(example)),
        validation=tuple(example for example in rest if validates(example)),
        held_out=held_out,
    )


def _groups(examples: Sequence[Example], groups: Sequence[int], seed: int) -> list[_Group]:
    members: dict[int, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    found = []
    for indices in members.values():
        kinds = Counter(kind for index in indices for kind in _kinds(examples[index]))
        rank = hashlib.sha256(f"{seed}:{min((examples[index].id, index) for index in indices)}".encode()).hexdigest()
        found.append(_Group(tuple(indices), kinds, rank))
    return sorted(found, key=lambda part: part.rank)


def _kinds(example: Example) -> list[str]:
    kind = "prompt" if not example.is_question else "answerable" if example.answerable else "unanswerable"
    return [_ALL, kind, *(["corner case"] if example.corner_case else [])]


def _held_out(examples: Sequence[Example], rest: Sequence[_Group], wanted: float, some_are: bool) -> list[_Group]:
    """Groups to hold out, of about `wanted` examples: of new ones as long as there are any. `some_are`: others are held out already."""
    new = [part for part in rest if not any(examples[index].split for index in part.members)]
    if some_are and (wanted < 0.5 or len(new) < 2):
        return []
    if len(rest) < 3:
        raise NothingToTrainOn(_too_few(len(rest), "training, validation and holding out"))
    candidates = new if len(new) > 1 else rest
    share = min(0.5, max(wanted, 1.0) / sum(part.size for part in candidates))
    chosen = _dealt(candidates, [1 - share, share])[1]
    # Two groups have to remain to train and to validate on.
    return chosen[: len(rest) - 2]


def _dealt(parts: Sequence[_Group], shares: Sequence[float]) -> list[list[_Group]]:
    """The groups, dealt to sides of about these shares. No side is empty when there are as many groups as sides."""
    total: Counter[str] = sum((part.kinds for part in parts), Counter())
    targets = [{kind: share * count for kind, count in total.items()} for share in shares]
    counts: list[Counter[str]] = [Counter() for _ in shares]
    dealt: list[list[_Group]] = [[] for _ in shares]
    left = sorted(parts, key=lambda part: (-part.size, part.rank))

    def give(part: _Group, side: int) -> None:
        dealt[side].append(part)
        counts[side].update(part.kinds)

    given = _firsts(left, targets, counts, give)
    for part in left:
        if part.rank not in given:
            give(part, min(range(len(shares)), key=lambda side: (_cost(part, counts[side], targets[side]), side)))
    for chosen in dealt:
        if not chosen and (donors := [other for other in dealt if len(other) > 1]):
            donor = max(donors, key=lambda other: sum(part.size for part in other))
            part = min(donor, key=lambda part: (part.size, part.rank))
            donor.remove(part)
            chosen.append(part)
    return dealt


def _firsts(
    parts: Sequence[_Group], targets: Sequence[dict[str, float]], counts: Sequence[Counter[str]], give: Callable[[_Group, int], None]
) -> set[str]:
    """Gives every side one small group of each kind, the rarest kinds first, as far as there are enough; returns their ranks."""
    given: set[str] = set()
    sides = sorted(range(len(targets)), key=lambda side: -targets[side][_ALL] if targets[side] else 0.0)
    kinds = sorted(
        {kind for target in targets for kind in target} - {_ALL}, key=lambda kind: (sum(kind in part.kinds for part in parts), kind)
    )
    for kind in kinds:
        for side in sides:
            if counts[side][kind]:
                continue
            small = [
                part for part in parts if part.rank not in given and kind in part.kinds and part.size <= max(1.0, 1.5 * targets[side][_ALL])
            ]
            if small:
                part = min(small, key=lambda part: (part.size, part.rank))
                give(part, side)
                given.add(part.rank)
    return given


def _cost(part: _Group, counts: Counter[str], target: dict[str, float]) -> float:
    """How much nearer to its target (negative) or further from it a side comes with a group: change of Σ (count − target)² / target."""
    return sum(
        ((counts[kind] + added - target[kind]) ** 2 - (counts[kind] - target[kind]) ** 2) / target[kind]
        for kind, added in part.kinds.items()
        if target[kind] > 0
    )


def _without(parts: Sequence[_Group], others: Sequence[_Group]) -> list[_Group]:
    gone = {part.members for part in others}
    return [part for part in parts if part.members not in gone]


def _too_few(count: int, purpose: str) -> str:
    there = "is 1 group" if count == 1 else f"are {count} groups"
    return (
        f"There {there} of examples, too few for {purpose}: examples of one group, and those that ask nearly the same, stay together. "
        "Add examples, or split with fewer sides."
    )
