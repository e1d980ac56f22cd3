"""`corella jobs`: trainings, how far they are, what came of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from corella.cli.context import Json, session
from corella.cli.failures import FAILED, UserError

if TYPE_CHECKING:
    from corella.v1 import trainer_pb2, trainer_pb2_grpc

app = typer.Typer(help="Follow and cancel trainings, and read their reports.", no_args_is_help=True)
JobArgument = Annotated[str, typer.Argument(help="Id or name (jobs/…).")]
REPORTS = Path("reports")
FOLLOW_SECONDS = 2.0


@app.command("list")
def list_jobs(
    ctx: typer.Context,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="How many at most. 0: all.")] = 20,
    as_json: Json = False,
) -> None:
    """List jobs, newest first. With --json one job a line."""
    from rich.table import Table

    from corella.cli.naming import short
    from corella.cli.output import console, enum_word, line, write_json
    from corella.cli.paging import every
    from corella.cli.training_view import failure_of, measures
    from corella.v1 import trainer_pb2

    with session(ctx).client() as corella:
        jobs = list(every(corella.trainer.ListJobs, trainer_pb2.ListJobsRequest(), "jobs", limit))
    if as_json:
        for job in jobs:
            write_json(job)
        return
    if not jobs:
        console().print("No job yet: `corella train DATASET` makes one.")
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("job", "method", "dataset", "state", "made", "adapter", ""):
        table.add_column(heading, no_wrap=bool(heading))
    for job in jobs:
        remark = failure_of(job) or ", ".join(measures(job)) or job.message or job.display_name
        table.add_row(
            short(job.name), enum_word(trainer_pb2.TrainingMethod, job.method).lower().replace("_", "-"), short(job.dataset),
            enum_word(trainer_pb2.JobState, job.state), f"{job.create_time.ToDatetime():%m-%d %H:%M}", short(job.adapter), line(remark, 70),
        )  # fmt: skip
    console().print(table)


@app.command("show")
def show_job(ctx: typer.Context, job: JobArgument, as_json: Json = False) -> None:
    """Show a job as it stands, with its judgement once there is one. Exit status 0, whatever came of it."""
    from corella.cli.naming import full, short
    from corella.cli.output import console, line, write_json
    from corella.cli.training_results import as_json as outcome
    from corella.cli.training_results import evaluation_of, show_outcome
    from corella.cli.training_view import ENDED, heading, measures
    from corella.v1 import trainer_pb2

    with session(ctx).client() as corella:
        found = corella.trainer.GetJob(trainer_pb2.GetJobRequest(name=full("jobs", job))).job
        evaluation = evaluation_of(corella.trainer, found)
    if as_json:
        write_json(outcome(found, evaluation, []))
        return
    out = console()
    made_by = f", by schedule {short(found.schedule)}" if found.schedule else ""
    out.print(f"{found.name}  on {found.dataset}{made_by}  {line(found.display_name)}".rstrip(), soft_wrap=True)
    if found.state in ENDED:
        show_outcome(found, evaluation, [])
    else:
        out.print("  ".join(part for part in (heading(found), *measures(found), line(found.message)) if part), soft_wrap=True)


@app.command("watch")
def watch_job(
    ctx: typer.Context,
    job: JobArgument,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder for the report. Default: reports/JOB.")] = None,
    as_json: Json = False,
) -> None:
    """Watch a job to its end, then show the judgement and save the report. Exit statuses as of `corella train`.

    With --json every change is one line, in the form of WatchJobResponse in trainer.proto, and the outcome is the last line.
    """
    from corella.cli.naming import full
    from corella.cli.output import write_json
    from corella.cli.training_view import follow
    from corella.v1 import trainer_pb2

    name = full("jobs", job)
    with unreachable_is_a_failure(), session(ctx).client() as corella:
        # A trainer that is away from the start is not waited for.
        corella.trainer.GetJob(trainer_pb2.GetJobRequest(name=name))
        if as_json:
            for response in follow(corella.trainer, name):
                write_json(response)
        code = finish(corella.trainer, name, output, as_json=as_json)
    raise typer.Exit(code)


@app.command("cancel")
def cancel_job(ctx: typer.Context, job: JobArgument, as_json: Json = False) -> None:
    """Ask a job to stop. One that has ended stays as it is."""
    from corella.cli.naming import full
    from corella.cli.output import console, enum_word, write_json
    from corella.cli.training_view import ENDED
    from corella.v1 import trainer_pb2

    with session(ctx).client() as corella:
        found = corella.trainer.CancelJob(trainer_pb2.CancelJobRequest(name=full("jobs", job))).job
    if as_json:
        write_json(found)
        return
    ended = found.state in ENDED
    state = enum_word(trainer_pb2.JobState, found.state)
    console().print(f"{found.name} has ended: {state}." if ended else f"{found.name} was asked to stop; it is {state}.", soft_wrap=True)


@app.command("log")
def show_log(
    ctx: typer.Context,
    job: JobArgument,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job has ended.")] = False,
    as_json: Json = False,
) -> None:
    """Show the log of a job. With --json every line is a JSON object."""
    import time

    from corella.cli.naming import full
    from corella.cli.output import clean, write_json
    from corella.cli.training_results import patiently
    from corella.cli.training_view import ENDED
    from corella.v1 import trainer_pb2

    name = full("jobs", job)
    request = trainer_pb2.GetJobLogRequest(name=name)
    with session(ctx).client() as corella:
        # A trainer that is away from the start is not waited for.
        corella.trainer.GetJob(trainer_pb2.GetJobRequest(name=name))
        while True:
            # Asked for before the lines: after the end no more come.
            ended = not follow or patiently(lambda: corella.trainer.GetJob(trainer_pb2.GetJobRequest(name=name))).job.state in ENDED
            page = patiently(lambda: corella.trainer.GetJobLog(request))
            for text in page.lines:
                write_json({"line": text}) if as_json else print(clean(text), flush=follow)
            more = bool(page.lines) and page.next_skip > request.skip
            request.skip = max(page.next_skip, request.skip)
            if ended and not more:
                return
            if not more:
                time.sleep(FOLLOW_SECONDS)


@app.command("report")
def save_report(
    ctx: typer.Context,
    job: JobArgument,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder for it. Default: reports/JOB.")] = None,
    as_json: Json = False,
) -> None:
    """Save the report of a job that has ended: report.md and its pictures."""
    from corella.cli.naming import full
    from corella.cli.output import console, write_json
    from corella.cli.training_results import save_report as save

    name = full("jobs", job)
    with session(ctx).client() as corella:
        files = save(corella.trainer, name, output or report_folder(name))
    if as_json:
        write_json({"report": [str(path) for path in files]})
    else:
        console().print("\n".join(str(path) for path in files), soft_wrap=True)


def finish(stub: trainer_pb2_grpc.TrainerServiceStub, name: str, output: Path | None, *, as_json: bool) -> int:
    """Watches a job to its end, shows what came of it, saves its report, and returns the exit status."""
    from corella.cli.output import write_json
    from corella.cli.training_results import as_json as outcome
    from corella.cli.training_results import evaluation_of, exit_code, report_if_any, show_outcome
    from corella.cli.training_view import watch

    job: trainer_pb2.Job = watch(stub, name, quiet=as_json)
    evaluation = evaluation_of(stub, job)
    files = report_if_any(stub, job, output or report_folder(name))
    if as_json:
        write_json(outcome(job, evaluation, files))
    else:
        show_outcome(job, evaluation, files)
    return exit_code(job)


def report_folder(job: str) -> Path:
    """Where a report goes when nothing else is said."""
    from corella.cli.naming import short

    return REPORTS / short(job)


@contextmanager
def unreachable_is_a_failure() -> Iterator[None]:
    """Turns a service that cannot be reached into exit status 1 for commands where 3 says that a training was rejected."""
    import grpc

    from corella.cli.failures import UNREACHABLE, describe

    try:
        yield
    except grpc.RpcError as error:
        told = describe(error)
        if told["exit_code"] != UNREACHABLE:
            raise
        raise UserError(told["message"], hint=told["hint"], reason=told["reason"], exit_code=FAILED) from error
