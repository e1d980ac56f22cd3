"""Turns the options that say where examples come from, and how they are split, into messages."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from corella.cli.failures import USAGE, UserError

if TYPE_CHECKING:
    from corella.v1 import trainer_pb2


@dataclass(frozen=True)
class SourceOptions:
    """Where examples come from, as asked for on the command line."""

    datasets: tuple[str, ...] = ()
    feedback: bool = False
    since: str = ""
    corpora: tuple[str, ...] = ()
    examples: int = 0
    unanswerable_share: float | None = None
    teacher_url: str = ""
    teacher_model: str = ""

    def messages(self) -> list[trainer_pb2.DatasetSource]:
        """The sources, at least one. Raises `UserError` when none is named, or an option stands there without what it belongs to."""
        from corella.cli.naming import full
        from corella.client import corpus_name
        from corella.v1 import trainer_pb2

        self._check()
        sources = []
        if self.feedback:
            feedback = trainer_pb2.FeedbackSource()
            if self.since:
                feedback.since.FromDatetime(moment(self.since, "--since"))
            sources.append(trainer_pb2.DatasetSource(feedback=feedback))
        for corpus in self.corpora:
            source = trainer_pb2.CorpusSource(
                corpus=corpus_name(corpus), max_examples=self.examples, unanswerable_share=self.unanswerable_share
            )
            if self.teacher_url or self.teacher_model:
                source.teacher.CopyFrom(trainer_pb2.Teacher(base_url=self.teacher_url, model=self.teacher_model))
            sources.append(trainer_pb2.DatasetSource(corpus=source))
        sources += [trainer_pb2.DatasetSource(dataset=full("datasets", dataset)) for dataset in self.datasets]
        return sources

    def _check(self) -> None:
        if not (self.feedback or self.corpora or self.datasets):
            raise UserError("Name at least one source: --feedback, --corpus NAME or --dataset ID.", exit_code=USAGE)
        if self.since and not self.feedback:
            raise UserError("--since needs --feedback.", exit_code=USAGE)
        if not self.corpora and (self.examples or self.unanswerable_share is not None or self.teacher_url or self.teacher_model):
            raise UserError("--examples, --unanswerable-share and --teacher-… need --corpus.", exit_code=USAGE)


def split(validation_share: float | None, held_out_share: float | None, folds: int, seed: int | None) -> trainer_pb2.Split:
    """How examples are to be split; what is None the service chooses."""
    from corella.v1 import trainer_pb2

    return trainer_pb2.Split(validation_share=validation_share, held_out_share=held_out_share, folds=folds, seed=seed)


def moment(text: str, option: str) -> datetime:
    """A time as typed; UTC unless it says otherwise. Raises `UserError` when it is none."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise UserError(f"{option} takes a date or a time such as 2026-11-24T08:00, not {text!r}.", exit_code=USAGE) from error
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
