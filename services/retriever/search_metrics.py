"""What a search is measured by, beside its duration."""

from __future__ import annotations

from services.chassis.telemetry import SECONDS, meter
from services.retriever.domain import Found, Metric, SearchMode

_SHARES = tuple(part / 20 for part in range(1, 21))

_duration = meter.create_histogram(
    "corella.search.duration", unit="s", description="Duration of searches, by mode.", explicit_bucket_boundaries_advisory=SECONDS
)
_top_score = meter.create_histogram(
    "corella.search.top_score",
    description="How near the nearest chunk is, 0…1; for keyword searches the share of the question's terms in the first passage.",
    explicit_bucket_boundaries_advisory=_SHARES,
)
_overlap = meter.create_histogram(
    "corella.search.overlap",
    description="Share of the returned passages that both searches found, 0…1. Hybrid searches only.",
    explicit_bucket_boundaries_advisory=_SHARES,
)
_passages = meter.create_histogram(
    "corella.search.passages",
    unit="{passage}",
    description="Passages returned.",
    explicit_bucket_boundaries_advisory=(0, 1, 2, 3, 5, 8, 10, 20, 50, 100),
)


def top_score(found: Found) -> float | None:
    """How near the nearest chunk is to the question, 0…1; the same whichever fusion orders the passages. None: nothing was found.

    Fused scores would not do: they are relative to the best one.
    """
    nearest = found.evidence.top_vector_score
    if found.mode is SearchMode.KEYWORD:
        return found.evidence.top_term_coverage if found.passages else None
    if nearest is None:
        return None
    # The store gives a distance for L2, negative so that higher is nearer.
    return 1 / (1 - nearest) if found.corpus.metric is Metric.L2 else min(1.0, max(0.0, nearest))


def overlap(found: Found) -> float | None:
    """Share of the passages that both searches found, 0…1. None where there was only one search, or nothing was found."""
    if found.mode is not SearchMode.HYBRID or not found.passages:
        return None
    both = sum(passage.keyword_rank is not None and passage.vector_rank is not None for passage in found.passages)
    return both / len(found.passages)


def measure(found: Found) -> dict[str, str | int | float]:
    """Records a search, and returns the same as attributes of its span."""
    mode = {"corella.search.mode": found.mode.value}
    _duration.record(found.seconds["total"], mode)
    _passages.record(len(found.passages), mode)
    attributes: dict[str, str | int | float] = {"corella.search.passages": len(found.passages)}
    if (top := top_score(found)) is not None:
        _top_score.record(top, mode)
        attributes["corella.search.top_score"] = top
    if (share := overlap(found)) is not None:
        _overlap.record(share, mode)
        attributes["corella.search.overlap"] = share
    return attributes
