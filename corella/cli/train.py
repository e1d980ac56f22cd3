"""`corella train`: a job created, watched to its end, and its judgement shown."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from corella.cli import training_options as options
from corella.cli.context import Json, session

_HOW, _GATE, _NEW, _TEACHER, _SMALLER = (
    "How to train", "What it takes to be accepted", "A new model (from-scratch, distillation)", "A teacher (distillation)",
    "A smaller base model (repair)",
)  # fmt: skip


def train(
    ctx: typer.Context,
    dataset: Annotated[str, typer.Argument(help="Id of the dataset, or its name (datasets/…).")],
    method: options.Method = "",
    adapter: options.AdapterId = "",
    name: options.DisplayName = "",
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return when the job is queued.")] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder for the report. Default: reports/JOB.")] = None,
    epochs: options.Epochs = None,
    learning_rate: options.LearningRate = None,
    lora_rank: options.LoraRank = None,
    batch_tokens: options.BatchTokens = None,
    seed: options.Seed = None,
    workers: options.Workers = None,
    schedule: Annotated[str, typer.Option(help=f"Learning rate: {', '.join(options.SCHEDULES)}.", rich_help_panel=_HOW)] = "",
    warmup_share: Annotated[
        float | None, typer.Option(help="Share of the steps in which the learning rate rises.", rich_help_panel=_HOW)
    ] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Decoupled weight decay.", rich_help_panel=_HOW)] = None,
    checkpoint_steps: Annotated[int | None, typer.Option(help="Steps from checkpoint to checkpoint.", rich_help_panel=_HOW)] = None,
    gpu: options.Gpu = False,
    fold: Annotated[int, typer.Option(min=0, help="The fold to validate on, from 0, of a dataset with folds.", rich_help_panel=_HOW)] = 0,
    merge: options.Merge = False,
    gate_metric: options.GateMetric = "",
    margin: options.Margin = None,
    confidence: options.Confidence = None,
    max_examples: options.MaxExamples = 0,
    tolerance: Annotated[
        list[str] | None, typer.Option(help="metric=number: how much worse a guard may get. May be repeated.", rich_help_panel=_GATE)
    ] = None,
    hold: options.Hold = False,
    search_trials: options.SearchTrials = 0,
    search_minutes: options.SearchMinutes = 0.0,
    hidden_size: Annotated[int, typer.Option(min=0, help="Width. 0: the base model's.", rich_help_panel=_NEW)] = 0,
    intermediate_size: Annotated[
        int, typer.Option(min=0, help="Width of feed-forward layers. 0: in proportion.", rich_help_panel=_NEW)
    ] = 0,
    layers: Annotated[int, typer.Option(min=0, help="0: the base model's.", rich_help_panel=_NEW)] = 0,
    heads: Annotated[int, typer.Option(min=0, help="Attention heads. 0: in proportion.", rich_help_panel=_NEW)] = 0,
    key_value_heads: Annotated[int, typer.Option(min=0, help="Heads of keys and values. 0: in proportion.", rich_help_panel=_NEW)] = 0,
    init: Annotated[str, typer.Option(help=f"First weights: {', '.join(options.INITIALIZATIONS)}.", rich_help_panel=_NEW)] = "",
    teacher: Annotated[str, typer.Option(help="Folder or URL of the model. Default: the base model.", rich_help_panel=_TEACHER)] = "",
    temperature: Annotated[float | None, typer.Option(help="Default: 2.", rich_help_panel=_TEACHER)] = None,
    alpha: Annotated[float | None, typer.Option(help="Weight of the teacher, 0 to 1. Default: 0.5.", rich_help_panel=_TEACHER)] = None,
    quantize_bits: Annotated[int, typer.Option(min=0, max=8, help="Round weights to so many bits, 2 to 8.", rich_help_panel=_SMALLER)] = 0,
    prune_share: Annotated[
        float, typer.Option(min=0, max=1, help="Set this share of the weights to zero.", rich_help_panel=_SMALLER)
    ] = 0.0,
    as_json: Json = False,
) -> None:
    """Train on a dataset and let the gate judge. What is accepted serves within seconds; what is not changes nothing.

    Exit status 0: accepted, 3: rejected, 1: failed or cancelled, 130: you stopped watching with Ctrl-C, and the training goes on.
    With --json one object at the end: job, evaluation and the files of the report.
    """
    import uuid

    from corella.cli.jobs import finish, unreachable_is_a_failure
    from corella.cli.naming import short
    from corella.cli.output import console, write_json
    from corella.v1 import trainer_pb2

    job = options.JobOptions(
        method=method, adapter=adapter, name=name, epochs=epochs, learning_rate=learning_rate, lora_rank=lora_rank,
        batch_tokens=batch_tokens, seed=seed, workers=workers, schedule=schedule, warmup_share=warmup_share, weight_decay=weight_decay,
        checkpoint_steps=checkpoint_steps, gpu=gpu, gate_metric=gate_metric, margin=margin, confidence=confidence,
        max_examples=max_examples, tolerances=tuple(tolerance or ()), search_trials=search_trials, search_minutes=search_minutes,
        hold=hold, merge=merge, fold=fold, hidden_size=hidden_size, intermediate_size=intermediate_size, layers=layers, heads=heads,
        key_value_heads=key_value_heads, init=init, teacher=teacher, temperature=temperature, alpha=alpha, quantize_bits=quantize_bits,
        prune_share=prune_share,
    ).message(dataset)  # fmt: skip
    with unreachable_is_a_failure(), session(ctx).client() as corella:
        created = corella.trainer.CreateJob(trainer_pb2.CreateJobRequest(job=job, request_id=uuid.uuid4().hex)).job
        if detach:
            if as_json:
                write_json(created)
            else:
                console().print(f"Queued {created.name}: `corella jobs watch {short(created.name)}` shows it.", soft_wrap=True)
            return
        if not as_json:
            console(error=True).print(f"Training {created.name} on {created.dataset}.", soft_wrap=True)
        code = finish(corella.trainer, created.name, output, as_json=as_json)
    raise typer.Exit(code)
