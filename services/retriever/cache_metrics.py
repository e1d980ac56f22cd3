"""Counts what was found in the retriever's caches, and what had to be made."""

from __future__ import annotations

from services.chassis.telemetry import meter

CORPORA = "corpora"
"""What is remembered of a corpus."""
ACCESS = "access"
"""Which lists of readers admit a caller."""
VECTORS = "vectors"
"""Vectors of unchanged chunks, taken over when a document is indexed."""
LAZY_VECTORS = "lazy_vectors"
"""Vectors of keyword hits in lazy corpora; one that is missing is made while the search waits."""

_lookups = meter.create_counter("corella.cache.lookups", description="Look-ups in caches, by cache and result.")


def looked_up(cache: str, hits: int, misses: int) -> None:
    """Counts look-ups."""
    if hits:
        _lookups.add(hits, {"corella.cache": cache, "corella.cache.result": "hit"})
    if misses:
        _lookups.add(misses, {"corella.cache": cache, "corella.cache.result": "miss"})
