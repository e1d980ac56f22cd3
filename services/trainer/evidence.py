"""What is known of a candidate that was not accepted."""

from __future__ import annotations

from dataclasses import dataclass

from services.trainer.gate import Decision
from services.trainer.gate_metrics import Compared
from services.trainer.plan import Outcome, Settings


@dataclass(frozen=True)
class Evidence:
    """What is known of a rejected candidate. Shares are 0…1."""

    outcome: Outcome
    settings: Settings
    decision: Decision
    compared: tuple[Compared, ...]
    canary_shift: float | None
    held_out_count: int
    training_example_count: int
    unsupported_share: float = 0.0
    """Of the answers to train on, those nothing in their passages supports, before any was left out."""
    kept_unsupported_count: int = 0
    """Unsupported answers that were trained on all the same."""
    leak_count: int = 0
    """Validation and held-out examples that are near-duplicates of training examples."""
    refused_share: float = 0.0
    """Answerable held-out questions the candidate did not answer."""

    @property
    def fall(self) -> float:
        """By what share of the initial loss unseen examples got better; negative: worse."""
        return 1 - self.outcome.final_validation_loss / max(self.outcome.initial_validation_loss, 1e-9)
