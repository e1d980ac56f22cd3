"""Corpus BLEU over the examples, through sacrebleu, so that the figure can be compared with others' (M. Post, A Call for Clarity, 2018).

BLEU is no mean over examples: matching and possible n-grams are summed first. The sums are what is resampled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.trainer.bootstrap import Floats

_ORDERS = 4


@dataclass(frozen=True)
class CorpusBleu:
    """`statistics`, shape (n, 10): matching n-grams of 1…4, possible ones of 1…4, length, length of the closest reference."""

    statistics: Floats

    def of(self, counts: Floats) -> Floats:
        """See `bootstrap.Measure`. 0…1."""
        from sacrebleu.metrics import BLEU

        values = []
        for row in counts @ self.statistics:
            right, possible = [round(each) for each in row[:_ORDERS]], [round(each) for each in row[_ORDERS : 2 * _ORDERS]]
            length, reference = round(row[-2]), round(row[-1])
            values.append(BLEU.compute_bleu(right, possible, length, reference, smooth_method="exp").score / 100 if length else 0.0)
        return np.array(values)


def corpus_bleu(texts: Sequence[str], references: Sequence[Sequence[str]]) -> CorpusBleu:
    """Counts the n-grams of each text against all of its references; tokenised as sacrebleu does by default (`13a`)."""
    # Imported here: starting the service does not need it.
    from sacrebleu.metrics import BLEU

    bleu = BLEU(effective_order=True)
    rows = []
    for text, right in zip(texts, references, strict=True):
        score = bleu.sentence_score(text, list(right))
        rows.append([*score.counts, *score.totals, score.sys_len, score.ref_len])
    return CorpusBleu(np.array(rows, dtype=np.float64))
