"""What came of a training: the verdict, the table of what was measured, and the report as files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from corella.cli.dataset_building import Patience
from corella.cli.failures import FAILED, REJECTED, UserError
from corella.cli.naming import served, short
from corella.cli.output import console, duration, enum_word, line, to_dict
from corella.cli.training_view import failure_of
from corella.errors import RpcFailure
from corella.v1 import trainer_pb2, trainer_pb2_grpc

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,100}\.png")
VERDICTS = {
    trainer_pb2.JOB_STATE_SUCCEEDED: ("Accepted", "green"),
    trainer_pb2.JOB_STATE_REJECTED: ("Rejected", "red"),
    trainer_pb2.JOB_STATE_FAILED: ("Failed", "red"),
    trainer_pb2.JOB_STATE_CANCELLED: ("Cancelled", "yellow"),
}


def exit_code(job: trainer_pb2.Job) -> int:
    """0 for a job that was accepted, 3 for one that was rejected, 1 for any other."""
    return {trainer_pb2.JOB_STATE_SUCCEEDED: 0, trainer_pb2.JOB_STATE_REJECTED: REJECTED}.get(job.state, FAILED)


def evaluation_of(stub: trainer_pb2_grpc.TrainerServiceStub, job: trainer_pb2.Job) -> trainer_pb2.Evaluation | None:
    """The judgement on a job; None when it was not judged."""
    if not job.evaluation:
        return None
    found: trainer_pb2.Evaluation = patiently(lambda: stub.GetEvaluation(trainer_pb2.GetEvaluationRequest(name=job.evaluation)).evaluation)
    return found


def patiently(call: Any) -> Any:
    """The result of a call that may be repeated, across a restart of the trainer."""
    import grpc

    patience = Patience()
    while True:
        try:
            return call()
        except grpc.RpcError as error:
            patience.wait_or_raise(error)


def save_report(stub: trainer_pb2_grpc.TrainerServiceStub, job: str, folder: Path) -> list[Path]:
    """Writes the report of a job and its pictures into a folder, and returns the files, the report first.

    A picture's name is the server's word: one that could lead out of the folder is refused.
    """
    report = stub.GetJobReport(trainer_pb2.GetJobReportRequest(name=job))
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / "report.md"]
    files[0].write_text(report.markdown, encoding="utf-8")
    for picture in report.pictures:
        if not _FILE_NAME.fullmatch(picture.file_name):
            raise UserError(f"The report names a picture {line(picture.file_name, 80)!r}, which is no plain file name.")
        files.append(folder / picture.file_name)
        files[-1].write_bytes(picture.content)
    return files


def report_if_any(stub: trainer_pb2_grpc.TrainerServiceStub, job: trainer_pb2.Job, folder: Path) -> list[Path]:
    """As `save_report`, across a restart of the trainer; nothing for a job that ended without a report."""
    import grpc

    try:
        return list(patiently(lambda: save_report(stub, job.name, folder)))
    except grpc.RpcError as error:
        if RpcFailure.from_rpc_error(error).reason != "REPORT_NOT_READY":
            raise
        return []


def as_json(job: trainer_pb2.Job, evaluation: trainer_pb2.Evaluation | None, files: list[Path]) -> dict[str, Any]:
    """The outcome as plain values."""
    return {"job": to_dict(job), "evaluation": to_dict(evaluation) if evaluation else None, "report": [str(path) for path in files]}


def show_outcome(job: trainer_pb2.Job, evaluation: trainer_pb2.Evaluation | None, files: list[Path]) -> None:
    """The outcome for people."""
    out = console()
    verdict, style = VERDICTS.get(job.state, (enum_word(trainer_pb2.JobState, job.state), ""))
    what = short(job.adapter) if job.adapter else line(job.model_uri)
    out.print(f"{verdict}: {what}" if what else f"{verdict}.", style=style, soft_wrap=True)
    for text in (failure_of(job), line(job.message)):
        if text:
            out.print(text, soft_wrap=True)
    if evaluation:
        show_evaluation(evaluation)
    used = job.usage
    parts = [
        f"{duration(seconds)} {what}"
        for what, seconds in (
            ("of preparing", used.preparation_seconds), ("of training", used.training_seconds), ("of judging", used.evaluation_seconds),
        )
        if seconds
    ]  # fmt: skip
    if parts:
        out.print(" · ".join(parts) + (f" · {used.tokens:,} tokens learnt from" if used.tokens else ""), style="dim", soft_wrap=True)
    if files:
        out.print(f"Report: {files[0]}" + (f" with {_pictures(len(files) - 1)}" if len(files) > 1 else ""), soft_wrap=True)


def show_evaluation(evaluation: trainer_pb2.Evaluation) -> None:
    """The table of what was measured, and the reasons of the verdict."""
    out = console()
    if evaluation.metrics:
        out.print()
        out.print(_table(evaluation.metrics, served(evaluation.serving)))
    if evaluation.corner_case_metrics:
        out.print("\nCorner cases alone:")
        out.print(_table(evaluation.corner_case_metrics, served(evaluation.serving)))
    out.print()
    for reason in evaluation.reasons:
        out.print(f"- {line(reason)}", soft_wrap=True)
    if evaluation.cause:
        cause = enum_word(trainer_pb2.RejectionCause, evaluation.cause).lower().replace("_", " ")
        out.print(f"Most likely cause: {cause}.", soft_wrap=True)


def _table(metrics: Any, serving: str) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("metric", "base", f"serving ({serving})", "candidate", "difference (95 %)", "examples", "role"):
        table.add_column(heading, justify="left" if heading in {"metric", "role"} else "right", no_wrap=True)
    for one in metrics:
        # An interval on the wrong side of zero is a loss, one on the right side a gain.
        low, high = (-one.difference_high, -one.difference_low) if one.lower_is_better else (one.difference_low, one.difference_high)
        style = "green" if low > 0 else "red" if high < 0 else ""
        table.add_row(
            line(one.metric) + (" (less is better)" if one.lower_is_better else ""), number(one.base), number(one.serving),
            number(one.candidate), f"{signed(one.difference_low)} … {signed(one.difference_high)}", f"{one.count:,}", line(one.role),
            style=style,
        )  # fmt: skip
    return table


def number(value: float) -> str:
    """A measure with three digits that count after the point, fewer where it is large."""
    return f"{value:,.3f}" if abs(value) < 100 else f"{value:,.1f}"


def signed(value: float) -> str:
    """The same with its sign."""
    return ("+" if value >= 0 else "−") + number(abs(value))


def _pictures(count: int) -> str:
    return f"{count} picture{'' if count == 1 else 's'}"
