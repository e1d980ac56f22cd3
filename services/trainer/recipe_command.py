"""The recipe's command line, for running a training by hand."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from services.trainer.domain import Architecture, Compression, Distillation, Hyperparameters, Method
from services.trainer.plan import Plan
from services.trainer.token_samples import read_samples
from services.trainer.training_defaults import Machine, SampleCounts, resolve
from services.trainer.training_events import Resumed, Said, Stepped, TrainingEvent, Waiting


def parse(arguments: Sequence[str]) -> Plan:
    """The plan the arguments describe; what they leave open is resolved as for a job."""
    parser = argparse.ArgumentParser(prog="python -m services.trainer.recipe")
    parser.add_argument("--base", required=True, help="folder of the base model")
    parser.add_argument("--data", required=True, help="folder with training.safetensors and validation.safetensors")
    parser.add_argument("--output", required=True, help="folder for checkpoints and result")
    parser.add_argument("--method", default="lora", choices=[method.value for method in Method])
    parser.add_argument("--epochs", type=float)
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--lora-rank", type=int)
    parser.add_argument("--batch-tokens", type=int)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--schedule", choices=["linear", "cosine", "constant"])
    parser.add_argument("--warmup-share", type=float)
    parser.add_argument("--weight-decay", type=float)
    parser.add_argument("--checkpoint-steps", type=int)
    parser.add_argument("--hidden-size", type=int, default=0)
    parser.add_argument("--layers", type=int, default=0)
    parser.add_argument("--heads", type=int, default=0)
    parser.add_argument("--teacher-layers", action="store_true", help="a new model begins with layers of the teacher or of the base model")
    parser.add_argument("--teacher", default="")
    parser.add_argument("--temperature", type=float, default=2.0)
    parser.add_argument("--alpha", type=float, default=0.5)
    parser.add_argument("--quantize-bits", type=int, default=0)
    parser.add_argument("--prune-share", type=float, default=0.0)
    parser.add_argument("--merge", action="store_true")
    given = parser.parse_args(arguments)
    method = Method(given.method)
    if method is Method.REPAIR and not (given.quantize_bits or given.prune_share):
        parser.error("--method repair needs --quantize-bits or --prune-share")
    resolved = resolve(
        Hyperparameters(
            learning_rate=given.learning_rate,
            epochs=given.epochs,
            lora_rank=given.lora_rank,
            batch_tokens=given.batch_tokens,
            seed=given.seed,
            learning_rate_schedule=given.schedule,
            warmup_share=given.warmup_share,
            weight_decay=given.weight_decay,
            checkpoint_steps=given.checkpoint_steps,
        ),
        method,
        SampleCounts.of(read_samples(Path(given.data) / "training.safetensors")),
        Machine(),
    )
    for name, source in resolved.sources.items():
        print(f"{name} = {getattr(resolved.settings, name)} ({source})")
    return Plan(
        job_id="by-hand",
        method=method,
        base_folder=given.base,
        data_url=given.data,
        output_url=given.output,
        settings=resolved.settings,
        teacher_folder=given.teacher,
        architecture=Architecture(
            hidden_size=given.hidden_size,
            layer_count=given.layers,
            head_count=given.heads,
            initialization="teacher_layers" if given.teacher_layers else "random",
        ),
        distillation=Distillation(given.teacher, given.temperature, given.alpha),
        compression=Compression(given.quantize_bits, given.prune_share),
        merge=given.merge,
    )


def show(event: TrainingEvent) -> None:
    """Prints an event as a line."""
    match event:
        case Stepped(step, total):
            validation = "" if step.validation_loss is None else f", validation {step.validation_loss:.4f}"
            speed = f"{step.learning_rate:.2e}, gradient {step.gradient_norm:.2f}, {step.tokens_per_second:,.0f} tokens/s"
            print(f"step {step.step}/{total}: loss {step.training_loss:.4f}{validation}, rate {speed}", flush=True)
        case Said(text) | Waiting(text):
            print(text, flush=True)
        case Resumed(step_number):
            print(f"goes on after step {step_number}", flush=True)
