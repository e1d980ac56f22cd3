"""What a report is made of, and what it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from services.trainer.asked import Asked
from services.trainer.costing import CostReport
from services.trainer.diagnosing import Diagnosis
from services.trainer.domain import Example, Method, MetricComparison, TrainingUsage
from services.trainer.gate import Decision
from services.trainer.plan import Outcome, Settings


@dataclass(frozen=True)
class DatasetFacts:
    """What it was trained on."""

    name: str
    display_name: str = ""
    fingerprint: str = ""
    training_count: int = 0
    validation_count: int = 0
    held_out_count: int = 0
    corner_case_count: int = 0
    duplicate_count: int = 0
    dropped_count: int = 0
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Trial:
    """One training of a search. `values` are what was varied."""

    values: Mapping[str, float | str]
    validation_loss: float
    chosen: bool = False


@dataclass(frozen=True)
class ReportInput:
    """Everything a report tells. What there is none of is left out of it."""

    job_name: str
    method: Method
    dataset: DatasetFacts
    outcome: Outcome
    settings: Settings
    display_name: str = ""
    adapter: str = ""
    model_uri: str = ""
    base_model: str = ""
    serving: str = ""
    """What served when it was judged; empty: the base model."""
    decision: Decision | None = None
    diagnosis: Diagnosis | None = None
    canary_shift: float | None = None
    corner_comparisons: tuple[MetricComparison, ...] = ()
    examples: tuple[Example, ...] = ()
    """Those the answers in `asked` belong to."""
    asked: tuple[Asked, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    cost: CostReport | None = None
    usage: TrainingUsage = field(default_factory=TrainingUsage)
    compression: str = ""
    """For a repair, what was done to the base model. Example: `rounded to 4 bits`."""
    repair_comparisons: tuple[MetricComparison, ...] = ()
    """For a repair: `base` the whole model, `serving` the compressed one, `candidate` the repaired one."""
    trials: tuple[Trial, ...] = ()
    notes: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    """Libraries and machine, to repeat it."""


@dataclass(frozen=True)
class Report:
    """Markdown whose pictures are named as the keys of `pictures` (PNG)."""

    markdown: str
    pictures: Mapping[str, bytes]
