"""Fusion of a keyword list and a vector list into one, with the provenance of every hit.

Pure functions: no store, no clock, no randomness. Scores are "higher is better"; callers turn a store's distances
round first. The default and its parameters are measured: docs/decisions/0005-fusion-default.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

# Cormack, Clarke and Büttcher, "Reciprocal Rank Fusion outperforms Condorcet and individual rank learning methods",
# SIGIR 2009: k = 60 was fixed in their pilot and is the value everybody compares with.
RRF_K = 60

# The vector side's share in the weighted sum, one value for every query and corpus. See the decision record.
VECTOR_WEIGHT = 0.70

# The lowest score each side can give, which is what `weighted` normalises by: BM25 with the "+1" inside the logarithm
# is never negative; a cosine is never below -1.
KEYWORD_FLOOR = 0.0
VECTOR_FLOOR = -1.0

# How many hits to ask of each list before fusing. Fewer cost quality: see the decision record.
DEPTH = 100


@dataclass(frozen=True, slots=True)
class Hit:
    """One hit of one list."""

    id: str
    score: float


@dataclass(frozen=True, slots=True)
class FusedHit:
    """One fused hit and where it came from; ranks count from 1 and are None where a list did not have the hit."""

    id: str
    fused_score: float
    keyword_rank: int | None = None
    keyword_score: float | None = None
    vector_rank: int | None = None
    vector_score: float | None = None

    @property
    def in_both(self) -> bool:
        """Whether both searches found it."""
        return self.keyword_rank is not None and self.vector_rank is not None


@dataclass(frozen=True, slots=True)
class _Side:
    """One list, cleaned and ranked: id to (rank, score)."""

    places: dict[str, tuple[int, float]]
    floor: float

    @property
    def scores(self) -> list[float]:
        return [score for _, score in self.places.values()]

    def normaliser(self) -> Callable[[float], float]:
        """Map the floor to 0 and the best score to 1 ("theoretical min-max", see `weighted`)."""
        scores = self.scores
        top = max(scores, default=self.floor)
        low = min(self.floor, min(scores, default=self.floor))
        span = top - low
        # A list whose every score is the floor still prefers its members to strangers.
        return (lambda score: (score - low) / span) if span > 0 else (lambda score: 1.0)


def weighted(
    keyword: Iterable[Hit],
    vector: Iterable[Hit],
    *,
    vector_weight: float = VECTOR_WEIGHT,
    keyword_floor: float = KEYWORD_FLOOR,
    vector_floor: float = VECTOR_FLOOR,
) -> list[FusedHit]:
    """Order by the weighted sum of normalised scores: ``(1 - w) * keyword + w * vector``.

    Normalisation is theoretical min-max: (score - floor) / (best - floor), with the floor each score has by its
    definition instead of the list's lowest (Bruch, Gai and Ingber, "An Analysis of Fusion Functions for Hybrid
    Retrieval", ACM TOIS 42(1), 2023). Near-ties stay near-ties, also in the short lists that permissions leave.

    A hit missing from the keyword list counts as not matching (0). A hit missing from the vector list has some
    similarity all the same, at most the lowest listed, and counts as that.
    """
    if not 0.0 <= vector_weight <= 1.0:
        raise ValueError(f"vector_weight must lie between 0 and 1, not {vector_weight}")
    sides = _side(keyword, keyword_floor), _side(vector, vector_floor)
    return _fuse(*sides, _weighted_score(*sides, vector_weight))


def reciprocal_rank(keyword: Iterable[Hit], vector: Iterable[Hit], *, k: int = RRF_K) -> list[FusedHit]:
    """Order by the sum of ``1 / (k + rank)`` over the lists that have the hit (Cormack et al. 2009)."""
    if k < 0:
        raise ValueError(f"k must not be negative, not {k}")
    sides = _side(keyword, KEYWORD_FLOOR), _side(vector, VECTOR_FLOOR)
    return _fuse(*sides, _reciprocal_score(*sides, k))


def overlap(
    keyword: Iterable[Hit],
    vector: Iterable[Hit],
    *,
    vector_weight: float = VECTOR_WEIGHT,
    keyword_floor: float = KEYWORD_FLOOR,
    vector_floor: float = VECTOR_FLOOR,
) -> list[FusedHit]:
    """Hits found by both searches first, best weighted score first; then the others, some of each.

    The others follow by reciprocal rank, which without an overlap means taking turns: keyword's best, vector's best,
    keyword's second... Scores from 1 upwards mark the overlap.
    """
    if not 0.0 <= vector_weight <= 1.0:
        raise ValueError(f"vector_weight must lie between 0 and 1, not {vector_weight}")
    sides = _side(keyword, keyword_floor), _side(vector, vector_floor)
    both = sides[0].places.keys() & sides[1].places.keys()
    weight_of, rank_of = _weighted_score(*sides, vector_weight), _reciprocal_score(*sides, RRF_K)
    return _fuse(*sides, lambda id_: 1.0 + weight_of(id_) if id_ in both else rank_of(id_))


def keyword_only(keyword: Iterable[Hit]) -> list[FusedHit]:
    """Return the keyword list alone, its own scores as the fused ones."""
    side = _side(keyword, KEYWORD_FLOOR)
    return _fuse(side, _side((), VECTOR_FLOOR), lambda id_: side.places[id_][1])


def vector_only(vector: Iterable[Hit]) -> list[FusedHit]:
    """Return the vector list alone, its own scores as the fused ones."""
    side = _side(vector, VECTOR_FLOOR)
    return _fuse(_side((), KEYWORD_FLOOR), side, lambda id_: side.places[id_][1])


def _side(hits: Iterable[Hit], floor: float) -> _Side:
    """Rank by score, then id; the first of repeated ids counts; a score that is no number says nothing and is out."""
    usable: Sequence[Hit] = [hit for hit in hits if math.isfinite(hit.score)]
    places: dict[str, tuple[int, float]] = {}
    for hit in sorted(usable, key=lambda hit: (-hit.score, hit.id)):
        places.setdefault(hit.id, (len(places) + 1, hit.score))
    return _Side(places, floor)


def _weighted_score(keyword: _Side, vector: _Side, vector_weight: float) -> Callable[[str], float]:
    keyword_of, vector_of = keyword.normaliser(), vector.normaliser()
    keyword_absent = 0.0
    vector_absent = vector_of(min(vector.scores)) if vector.places else 0.0

    def score(id_: str) -> float:
        from_keyword = keyword_of(keyword.places[id_][1]) if id_ in keyword.places else keyword_absent
        from_vector = vector_of(vector.places[id_][1]) if id_ in vector.places else vector_absent
        return (1.0 - vector_weight) * from_keyword + vector_weight * from_vector

    return score


def _reciprocal_score(keyword: _Side, vector: _Side, k: int) -> Callable[[str], float]:
    return lambda id_: sum(1.0 / (k + side.places[id_][0]) for side in (keyword, vector) if id_ in side.places)


def _fuse(keyword: _Side, vector: _Side, score_of: Callable[[str], float]) -> list[FusedHit]:
    """Score every hit of either list and sort; ties go to the better keyword rank, then vector rank, then id."""
    fused = []
    for id_ in keyword.places.keys() | vector.places.keys():
        keyword_rank, keyword_score = keyword.places.get(id_, (None, None))
        vector_rank, vector_score = vector.places.get(id_, (None, None))
        fused.append(FusedHit(id_, score_of(id_), keyword_rank, keyword_score, vector_rank, vector_score))
    return sorted(fused, key=_order)


def _order(hit: FusedHit) -> tuple[float, float, float, str]:
    return (
        -hit.fused_score,
        hit.keyword_rank if hit.keyword_rank is not None else math.inf,
        hit.vector_rank if hit.vector_rank is not None else math.inf,
        hit.id,
    )
