"""What must go from a memory when documents are gone, or may no longer be read. Pure.

A turn stems from the chunks in its prompt, and from what the memory stemmed from that it leaned on; a summary from what its turns stem
from. A chunk's name follows from its content, so a passage that was taken out of a document is gone like one whose document is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import TypeVar

from services.generator.domain import Conversation, Recollection, Summary, Turn

MAX_SOURCES = 120
"""Chunks a memory may stem from, so that one question to the retriever checks all of them; older turns are let go beyond."""

Remembered = TypeVar("Remembered", Recollection, Conversation)


def sources_of(remembered: Recollection | Conversation) -> frozenset[str]:
    """Names of all chunks that a memory stems from."""
    return frozenset((*remembered.summary.sources, *(name for turn in remembered.turns for name in turn.sources)))


def union(*sources: Iterable[str]) -> tuple[str, ...]:
    """All names once, in their order."""
    return tuple(dict.fromkeys(name for each in sources for name in each))


def without(remembered: Remembered, gone: Collection[str]) -> Remembered:
    """The memory without every turn, and without the summary, that stem from a chunk in `gone`."""
    names = frozenset(gone)
    turns = tuple(turn for turn in remembered.turns if names.isdisjoint(turn.sources))
    summary = remembered.summary if names.isdisjoint(remembered.summary.sources) else Summary()
    return replace(remembered, turns=turns, summary=summary)


def bounded(recollection: Recollection) -> Recollection:
    """The latest of what is remembered that stems from at most `MAX_SOURCES` chunks; the summary is the first to go."""
    sources: frozenset[str] = frozenset()
    kept: list[Turn] = []
    for turn in reversed(recollection.turns):
        if len(sources | frozenset(turn.sources)) > MAX_SOURCES:
            break
        sources |= frozenset(turn.sources)
        kept.insert(0, turn)
    fits = len(sources | frozenset(recollection.summary.sources)) <= MAX_SOURCES
    return replace(recollection, turns=tuple(kept), summary=recollection.summary if fits else Summary())
