"""What is heard of a training while it runs."""

from __future__ import annotations

from dataclasses import dataclass

from services.trainer.domain import Step


@dataclass(frozen=True)
class Stepped:
    """A step was done."""

    step: Step
    total_steps: int


@dataclass(frozen=True)
class Waiting:
    """The cluster has no room yet; `text` is a sentence on what is missing."""

    text: str


@dataclass(frozen=True)
class Said:
    """A line for the log."""

    text: str


@dataclass(frozen=True)
class Resumed:
    """Goes on from the checkpoint after `step`; later steps are done again."""

    step: int


TrainingEvent = Stepped | Waiting | Said | Resumed


class Stopped(Exception):
    """Training was asked to stop, and has; its checkpoint is kept."""
