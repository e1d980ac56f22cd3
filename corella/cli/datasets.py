"""`corella datasets`: examples to learn from and to judge by."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from corella.cli import training_options as options
from corella.cli.context import Json, session
from corella.cli.failures import FAILED, USAGE, UserError

if TYPE_CHECKING:
    from corella.v1 import trainer_pb2

app = typer.Typer(help="Make, show and delete sets of examples.", no_args_is_help=True)
DatasetArgument = Annotated[str, typer.Argument(help="Id or name (datasets/…).")]
SPLITS = ("training", "validation", "held_out")


@app.command("create")
def create_dataset(
    ctx: typer.Context,
    files: Annotated[list[Path], typer.Argument(help="JSON lines, one example a line.", exists=True, dir_okay=False, readable=True)],
    name: options.DisplayName = "",
    validation_share: options.ValidationShare = None,
    held_out_share: options.HeldOutShare = None,
    folds: options.Folds = 0,
    seed: options.SplitSeed = None,
    as_json: Json = False,
) -> None:
    """Make a dataset from files. A bad line is named with its file and number, and then nothing is stored."""
    from corella.cli.dataset_building import upload
    from corella.cli.training_sources import split
    from corella.v1 import trainer_pb2

    start = trainer_pb2.DatasetStart(display_name=name, split=split(validation_share, held_out_share, folds, seed))
    with session(ctx).client() as corella:
        dataset = upload(corella.trainer, files, start, quiet=as_json)
    _show(dataset, as_json)


@app.command("build")
def build_dataset(
    ctx: typer.Context,
    feedback: options.Feedback = False,
    since: options.Since = "",
    corpora: options.Corpora = None,
    examples: options.Examples = 0,
    unanswerable_share: options.UnanswerableShare = None,
    teacher_url: options.TeacherUrl = "",
    teacher_model: options.TeacherModel = "",
    datasets: options.Datasets = None,
    name: options.DisplayName = "",
    validation_share: options.ValidationShare = None,
    held_out_share: options.HeldOutShare = None,
    folds: options.Folds = 0,
    seed: options.SplitSeed = None,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Return when the work has begun.")] = False,
    as_json: Json = False,
) -> None:
    """Make a dataset from feedback, from a corpus, from other datasets, or from several of these. Exit status 1 if that fails."""
    import uuid

    from corella.cli.dataset_building import wait
    from corella.cli.training_sources import SourceOptions, split
    from corella.v1 import trainer_pb2

    sources = SourceOptions(
        datasets=tuple(datasets or ()), feedback=feedback, since=since, corpora=tuple(corpora or ()), examples=examples,
        unanswerable_share=unanswerable_share, teacher_url=teacher_url, teacher_model=teacher_model,
    ).messages()  # fmt: skip
    request = trainer_pb2.BuildDatasetRequest(
        display_name=name, sources=sources, split=split(validation_share, held_out_share, folds, seed), request_id=uuid.uuid4().hex
    )
    with session(ctx).client() as corella:
        dataset = corella.trainer.BuildDataset(request).dataset
        if not no_wait:
            dataset = wait(corella.trainer, dataset, quiet=as_json)
    _show(dataset, as_json)
    if dataset.state == trainer_pb2.DATASET_STATE_FAILED:
        raise typer.Exit(FAILED)


@app.command("list")
def list_datasets(
    ctx: typer.Context,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="How many at most. 0: all.")] = 50,
    as_json: Json = False,
) -> None:
    """List datasets, newest first. With --json one dataset a line."""
    from rich.table import Table

    from corella.cli.naming import short
    from corella.cli.output import console, enum_word, line, write_json
    from corella.cli.paging import every
    from corella.v1 import trainer_pb2

    with session(ctx).client() as corella:
        found = list(every(corella.trainer.ListDatasets, trainer_pb2.ListDatasetsRequest(), "datasets", limit))
    if as_json:
        for dataset in found:
            write_json(dataset)
        return
    if not found:
        console().print("No dataset yet: `corella datasets create FILE` or `corella datasets build` makes one.")
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    numbers = {"training", "validation", "held out", "warnings"}
    for heading in ("dataset", "state", "training", "validation", "held out", "warnings", "made", "name"):
        table.add_column(heading, justify="right" if heading in numbers else "left", no_wrap=heading != "name")
    for dataset in found:
        table.add_row(
            short(dataset.name), enum_word(trainer_pb2.DatasetState, dataset.state), f"{dataset.training_count:,}",
            f"{dataset.validation_count:,}", f"{dataset.held_out_count:,}", str(len(dataset.warnings) or ""),
            f"{dataset.create_time.ToDatetime():%m-%d %H:%M}", line(dataset.display_name),
        )  # fmt: skip
    console().print(table)


@app.command("show")
def show_dataset(ctx: typer.Context, dataset: DatasetArgument, as_json: Json = False) -> None:
    """Show a dataset: its counts, and what is thin or odd about it."""
    from corella.cli.naming import full
    from corella.v1 import trainer_pb2

    with session(ctx).client() as corella:
        found = corella.trainer.GetDataset(trainer_pb2.GetDatasetRequest(name=full("datasets", dataset))).dataset
    _show(found, as_json)


@app.command("examples")
def list_examples(
    ctx: typer.Context,
    dataset: DatasetArgument,
    split: Annotated[str, typer.Option(help=f"Only those of: {', '.join(SPLITS)}.")] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="How many at most. 0: all.")] = 20,
    as_json: Json = False,
) -> None:
    """Show the examples of a dataset. With --json one example a line, as `corella datasets create` takes them."""
    import json
    from itertools import islice

    from corella.cli.naming import full
    from corella.cli.output import write_json
    from corella.cli.paging import every
    from corella.v1 import trainer_pb2

    if split and split.replace("-", "_") not in SPLITS:
        raise UserError(f"--split must be one of {', '.join(SPLITS)}.", exit_code=USAGE)
    with session(ctx).client() as corella:
        # A split may begin far down the list, so pages are read until enough of it was found.
        request = trainer_pb2.ListExamplesRequest(parent=full("datasets", dataset))
        lines = every(corella.trainer.ListExamples, request, "examples", 0 if split else limit)
        found = (json.loads(text) for text in lines)
        wanted = (example for example in found if not split or example.get("split") == split.replace("-", "_"))
        for example in islice(wanted, limit or None):
            write_json(example) if as_json else _show_example(example)


@app.command("delete")
def delete_dataset(
    ctx: typer.Context,
    dataset: DatasetArgument,
    allow_missing: Annotated[bool, typer.Option("--allow-missing", help="Succeed although there is none.")] = False,
    as_json: Json = False,
) -> None:
    """Delete a dataset, for good. What was trained on it stays."""
    from corella.cli.naming import full
    from corella.cli.output import console, write_json
    from corella.v1 import trainer_pb2

    request = trainer_pb2.DeleteDatasetRequest(name=full("datasets", dataset), allow_missing=allow_missing)
    with session(ctx).client() as corella:
        corella.trainer.DeleteDataset(request)
    write_json({"deleted": [request.name]}) if as_json else console().print(f"Deleted {request.name}.", soft_wrap=True)


def _show(dataset: trainer_pb2.Dataset, as_json: bool) -> None:
    from corella.cli.output import console, enum_word, line, write_json
    from corella.errors import RpcFailure
    from corella.v1 import trainer_pb2

    if as_json:
        write_json(dataset)
        return
    out = console()
    state = enum_word(trainer_pb2.DatasetState, dataset.state)
    out.print("  ".join(part for part in (dataset.name, state, line(dataset.display_name)) if part), soft_wrap=True)
    if dataset.state == trainer_pb2.DATASET_STATE_FAILED:
        out.print(line(str(RpcFailure.from_status(dataset.error))), style="red", soft_wrap=True)
        return
    if dataset.state == trainer_pb2.DATASET_STATE_BUILDING:
        of = f" of {dataset.total_count:,}" if dataset.total_count else ""
        out.print(f"{dataset.done_count:,}{of} looked at so far; `corella datasets show` tells how it goes on.", soft_wrap=True)
        return
    counts = {
        "training": dataset.training_count, "validation": dataset.validation_count, "held out": dataset.held_out_count,
        "corner cases": dataset.corner_case_count, "near-duplicates left out": dataset.duplicate_count,
        "left out, document gone": dataset.dropped_count,
    }  # fmt: skip
    always = ("training", "validation", "held out")
    out.print(", ".join(f"{count:,} {what}" for what, count in counts.items() if count or what in always), soft_wrap=True)
    for warning in dataset.warnings:
        out.print(f"Warning: {line(warning)}", style="yellow", soft_wrap=True)


def _show_example(example: dict[str, Any]) -> None:
    from corella.cli.output import console, line

    out = console()
    marks = [str(example.get("split", "")).replace("_", " ")]
    marks += [f"fold {example['fold']}"] if example.get("fold") is not None else []
    marks += ["corner case"] if example.get("corner_case") else []
    out.print(line(f"{example.get('id', '')}  {', '.join(mark for mark in marks if mark)}"), style="dim", soft_wrap=True)
    messages = [str(message.get("content", "")) for message in example.get("messages", [])]
    # Of a chat the last message is what is to be learnt.
    asked, answer = (" / ".join(messages[:-1]), messages[-1]) if messages else (example.get("question", ""), example.get("answer", ""))
    out.print(f"  Q {line(str(asked), 300)}", soft_wrap=True)
    out.print(f"  A {line(str(answer), 300)}", soft_wrap=True)
