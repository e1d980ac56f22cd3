"""`corella schedules`: trainings that are queued again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from corella.cli import training_options as options
from corella.cli.context import Json, session
from corella.cli.failures import USAGE, UserError

if TYPE_CHECKING:
    from corella.v1 import trainer_pb2

app = typer.Typer(help="Train again when there are new examples, or by the calendar.", no_args_is_help=True)
ScheduleArgument = Annotated[str, typer.Argument(help="1 to 40 of a-z, 0-9 and -, beginning with a letter.")]
_WHEN = "When"


@app.command("create")
def create_schedule(
    ctx: typer.Context,
    schedule_id: ScheduleArgument,
    min_new_examples: Annotated[
        int, typer.Option(min=0, help="When so many new usable pieces of feedback have come. 0: never by that.", rich_help_panel=_WHEN)
    ] = 0,
    cron: Annotated[str, typer.Option(help="At these times (UTC), as “0 3 * * 0”: Sundays at three.", rich_help_panel=_WHEN)] = "",
    once: Annotated[bool, typer.Option("--once", help="Once, and no more; at once without the two above.", rich_help_panel=_WHEN)] = False,
    feedback: options.Feedback = False,
    since: options.Since = "",
    corpora: options.Corpora = None,
    examples: options.Examples = 0,
    unanswerable_share: options.UnanswerableShare = None,
    teacher_url: options.TeacherUrl = "",
    teacher_model: options.TeacherModel = "",
    datasets: options.Datasets = None,
    validation_share: options.ValidationShare = None,
    held_out_share: options.HeldOutShare = None,
    method: options.Method = "",
    adapter: options.AdapterId = "",
    name: options.DisplayName = "",
    epochs: options.Epochs = None,
    learning_rate: options.LearningRate = None,
    lora_rank: options.LoraRank = None,
    batch_tokens: options.BatchTokens = None,
    seed: options.Seed = None,
    workers: options.Workers = None,
    gpu: options.Gpu = False,
    merge: options.Merge = False,
    gate_metric: options.GateMetric = "",
    margin: options.Margin = None,
    confidence: options.Confidence = None,
    max_examples: options.MaxExamples = 0,
    search_trials: options.SearchTrials = 0,
    search_minutes: options.SearchMinutes = 0.0,
    hold: options.Hold = False,
    as_json: Json = False,
) -> None:
    """Make a schedule. Feedback and corpora are read anew for each run, and every run goes through the same gate."""
    from corella.cli.naming import full
    from corella.cli.output import write_json
    from corella.cli.training_sources import SourceOptions, split
    from corella.v1 import trainer_pb2

    if not (min_new_examples or cron or once):
        raise UserError("Say when: --min-new-examples N, --cron TIMES or --once.", exit_code=USAGE)
    sources = SourceOptions(
        datasets=tuple(datasets or ()), feedback=feedback, since=since, corpora=tuple(corpora or ()), examples=examples,
        unanswerable_share=unanswerable_share, teacher_url=teacher_url, teacher_model=teacher_model,
    ).messages()  # fmt: skip
    job = options.JobOptions(
        method=method, adapter=adapter, name=name, epochs=epochs, learning_rate=learning_rate, lora_rank=lora_rank,
        batch_tokens=batch_tokens, seed=seed, workers=workers, gpu=gpu, merge=merge, gate_metric=gate_metric, margin=margin,
        confidence=confidence, max_examples=max_examples, search_trials=search_trials, search_minutes=search_minutes, hold=hold,
    ).message()  # fmt: skip
    schedule = trainer_pb2.Schedule(
        name=full("schedules", schedule_id), trigger=trainer_pb2.Trigger(min_new_examples=min_new_examples, cron=cron, once=once),
        sources=sources, split=split(validation_share, held_out_share, 0, None), job=job,
    )  # fmt: skip
    with session(ctx).client() as corella:
        created = corella.trainer.CreateSchedule(trainer_pb2.CreateScheduleRequest(schedule=schedule)).schedule
    if as_json:
        write_json(created)
    else:
        _say_created(created)


@app.command("list")
def list_schedules(ctx: typer.Context, as_json: Json = False) -> None:
    """List schedules by name. With --json one schedule a line."""
    from rich.table import Table

    from corella.cli.naming import short
    from corella.cli.output import console, write_json
    from corella.cli.paging import every
    from corella.v1 import trainer_pb2

    with session(ctx).client() as corella:
        found = list(every(corella.trainer.ListSchedules, trainer_pb2.ListSchedulesRequest(), "schedules"))
    if as_json:
        for schedule in found:
            write_json(schedule)
        return
    if not found:
        console().print("No schedule yet: `corella schedules create ID` makes one.")
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("schedule", "when", "from", "new examples", "runs", "last", "last job", "next"):
        table.add_column(heading, justify="right" if heading in {"new examples", "runs"} else "left", no_wrap=heading != "from")
    for schedule in found:
        table.add_row(
            short(schedule.name), "done" if schedule.done else when(schedule.trigger), ", ".join(map(source, schedule.sources)),
            f"{schedule.new_example_count:,}", f"{schedule.run_count:,}", _moment(schedule, "last_run_time"),
            short(schedule.last_job), _moment(schedule, "next_run_time"), style="dim" if schedule.done else "",
        )  # fmt: skip
    console().print(table)


@app.command("delete")
def delete_schedule(
    ctx: typer.Context,
    schedule: ScheduleArgument,
    allow_missing: Annotated[bool, typer.Option("--allow-missing", help="Succeed although there is none.")] = False,
    as_json: Json = False,
) -> None:
    """Delete a schedule. Jobs it has queued go on."""
    from corella.cli.naming import full
    from corella.cli.output import console, write_json
    from corella.v1 import trainer_pb2

    request = trainer_pb2.DeleteScheduleRequest(name=full("schedules", schedule), allow_missing=allow_missing)
    with session(ctx).client() as corella:
        corella.trainer.DeleteSchedule(request)
    write_json({"deleted": [request.name]}) if as_json else console().print(f"Deleted {request.name}.", soft_wrap=True)


def _say_created(schedule: trainer_pb2.Schedule) -> None:
    from corella.cli.output import console

    due = _moment(schedule, "next_run_time")
    console().print(f"Created {schedule.name}: {when(schedule.trigger)}." + (f" Next: {due} UTC." if due else ""), soft_wrap=True)


def when(trigger: trainer_pb2.Trigger) -> str:
    """When a trigger is due, in words."""
    from corella.cli.output import line

    parts = [f"{trigger.min_new_examples:,} new examples"] if trigger.min_new_examples else []
    parts += [f"cron {line(trigger.cron)}"] if trigger.cron else []
    said = " or ".join(parts) or "at once"
    return f"once, {said}" if trigger.once else said


def source(one: trainer_pb2.DatasetSource) -> str:
    """A source of examples, in words."""
    from corella.cli.naming import short

    kind = one.WhichOneof("source")
    if kind == "corpus":
        return f"corpus {short(one.corpus.corpus)}"
    return f"dataset {short(one.dataset)}" if kind == "dataset" else str(kind or "")


def _moment(schedule: trainer_pb2.Schedule, field: str) -> str:
    return f"{getattr(schedule, field).ToDatetime():%m-%d %H:%M}" if schedule.HasField(field) else ""
