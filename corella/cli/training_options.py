"""The options that say what to train on and how: shared by `train`, `schedules` and `datasets`, and turned into messages here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from corella.cli.failures import USAGE, UserError

if TYPE_CHECKING:
    from corella.v1 import trainer_pb2

METHODS = {
    "lora": "TRAINING_METHOD_LORA",
    "full": "TRAINING_METHOD_FULL",
    "from-scratch": "TRAINING_METHOD_FROM_SCRATCH",
    "distillation": "TRAINING_METHOD_DISTILLATION",
    "repair": "TRAINING_METHOD_REPAIR",
}
SCHEDULES = ("linear", "cosine", "constant")
INITIALIZATIONS = {"random": "INITIALIZATION_RANDOM", "teacher-layers": "INITIALIZATION_TEACHER_LAYERS"}

_HOW, _GATE, _SOURCES, _SPLIT = "How to train", "What it takes to be accepted", "Where the examples come from", "How they are split"

Method = Annotated[str, typer.Option("--method", "-m", help=f"{', '.join(METHODS)}. Default: lora.", rich_help_panel=_HOW)]
AdapterId = Annotated[str, typer.Option("--adapter", help="The adapter it becomes a version of. Default: default.")]
DisplayName = Annotated[str, typer.Option("--name", help="For people.")]
Epochs = Annotated[float | None, typer.Option(help="Passes over the examples.", rich_help_panel=_HOW)]
LearningRate = Annotated[float | None, typer.Option(help="Peak learning rate.", rich_help_panel=_HOW)]
LoraRank = Annotated[int | None, typer.Option(help="Rank of the LoRA.", rich_help_panel=_HOW)]
BatchTokens = Annotated[int | None, typer.Option(help="Tokens in one step, over all workers.", rich_help_panel=_HOW)]
Seed = Annotated[int | None, typer.Option(help="Makes the training repeatable.", rich_help_panel=_HOW)]
Workers = Annotated[int | None, typer.Option(help="Workers that train side by side.", rich_help_panel=_HOW)]
Gpu = Annotated[bool, typer.Option("--gpu", help="Each worker takes a GPU.", rich_help_panel=_HOW)]
GateMetric = Annotated[
    str, typer.Option(help="Metric that must get better. Default: answer_f1, or text_f1 without questions.", rich_help_panel=_GATE)
]
Margin = Annotated[float | None, typer.Option(help="By how much at least. Default: 0.02.", rich_help_panel=_GATE)]
Confidence = Annotated[
    float | None, typer.Option(help="How sure it must be that it is better at all. Default: 0.95.", rich_help_panel=_GATE)
]
MaxExamples = Annotated[int, typer.Option(min=0, help="Examples asked at most. 0: the default, 100.", rich_help_panel=_GATE)]
SearchTrials = Annotated[
    int, typer.Option(min=0, help="After a rejection: try so many other settings at most. 0: none.", rich_help_panel=_GATE)
]
SearchMinutes = Annotated[float, typer.Option(min=0, help="With --search-trials: for so long at most. Default: 60.", rich_help_panel=_GATE)]
Hold = Annotated[bool, typer.Option("--hold", help="When accepted, do not let it serve yet.", rich_help_panel=_GATE)]
Merge = Annotated[bool, typer.Option("--merge", help="Save the base model with the LoRA merged in as well.", rich_help_panel=_HOW)]

Datasets = Annotated[list[str] | None, typer.Option("--dataset", help="Another dataset. May be repeated.", rich_help_panel=_SOURCES)]
Feedback = Annotated[bool, typer.Option("--feedback", help="What people thought of answers.", rich_help_panel=_SOURCES)]
Since = Annotated[
    str, typer.Option(help="With --feedback: only from this time on, as 2026-11-24 or 2026-11-24T08:00 (UTC).", rich_help_panel=_SOURCES)
]
Corpora = Annotated[
    list[str] | None,
    typer.Option("--corpus", "-c", help="A corpus, about which a teacher writes. May be repeated.", rich_help_panel=_SOURCES),
]
Examples = Annotated[int, typer.Option(min=0, help="With --corpus: examples wanted. 0: the default, 200.", rich_help_panel=_SOURCES)]
UnanswerableShare = Annotated[
    float | None,
    typer.Option(min=0, max=1, help="With --corpus: share without an answer in the corpus. Default: 0.25.", rich_help_panel=_SOURCES),
]
TeacherUrl = Annotated[
    str, typer.Option(help="With --corpus: OpenAI-compatible server of the teacher. Default: the generator.", rich_help_panel=_SOURCES)
]
TeacherModel = Annotated[str, typer.Option(help="With --teacher-url: the model there.", rich_help_panel=_SOURCES)]

ValidationShare = Annotated[float | None, typer.Option(help="Share to validate on while training. Default: 0.2.", rich_help_panel=_SPLIT)]
HeldOutShare = Annotated[
    float | None, typer.Option(help="Share only the gate sees. Default: 0.1, or those marked held_back.", rich_help_panel=_SPLIT)
]
Folds = Annotated[int, typer.Option(min=0, max=20, help="Cut the rest into so many folds. 0: none.", rich_help_panel=_SPLIT)]
SplitSeed = Annotated[int | None, typer.Option("--seed", help="Makes the split repeatable. Default: 13.", rich_help_panel=_SPLIT)]


@dataclass(frozen=True)
class JobOptions:
    """A job as asked for on the command line. None, 0 and empty mean: as the service does it by itself."""

    method: str = ""
    adapter: str = ""
    name: str = ""
    epochs: float | None = None
    learning_rate: float | None = None
    lora_rank: int | None = None
    batch_tokens: int | None = None
    seed: int | None = None
    workers: int | None = None
    schedule: str = ""
    warmup_share: float | None = None
    weight_decay: float | None = None
    checkpoint_steps: int | None = None
    gpu: bool = False
    gate_metric: str = ""
    margin: float | None = None
    confidence: float | None = None
    max_examples: int = 0
    tolerances: tuple[str, ...] = ()
    search_trials: int = 0
    search_minutes: float = 0.0
    hold: bool = False
    merge: bool = False
    fold: int = 0
    hidden_size: int = 0
    intermediate_size: int = 0
    layers: int = 0
    heads: int = 0
    key_value_heads: int = 0
    init: str = ""
    teacher: str = ""
    temperature: float | None = None
    alpha: float | None = None
    quantize_bits: int = 0
    prune_share: float = 0.0

    def message(self, dataset: str = "") -> trainer_pb2.Job:
        """The job to create. Raises `UserError` for what no message can say; the rest the service checks."""
        from corella.cli.ingest import key_values
        from corella.cli.naming import full
        from corella.v1 import trainer_pb2

        if self.quantize_bits and self.prune_share:
            raise UserError("--quantize-bits and --prune-share exclude each other.", exit_code=USAGE)
        if self.search_minutes and not self.search_trials:
            raise UserError("--search-minutes needs --search-trials.", exit_code=USAGE)
        if self.schedule and self.schedule not in SCHEDULES:
            raise UserError(f"--schedule must be one of {', '.join(SCHEDULES)}.", exit_code=USAGE)
        job = trainer_pb2.Job(
            dataset=full("datasets", dataset) if dataset else "", display_name=self.name, adapter_id=self.adapter, hold=self.hold,
            merge=self.merge, fold=self.fold, method=one_of(METHODS, self.method, "--method"),
            hyperparameters=trainer_pb2.Hyperparameters(
                learning_rate=self.learning_rate, epochs=self.epochs, lora_rank=self.lora_rank, batch_tokens=self.batch_tokens,
                seed=self.seed, worker_count=self.workers, learning_rate_schedule=self.schedule or None, warmup_share=self.warmup_share,
                weight_decay=self.weight_decay, checkpoint_steps=self.checkpoint_steps,
            ),
            gate=trainer_pb2.Gate(
                metric=self.gate_metric, margin=self.margin, confidence=self.confidence, max_examples=self.max_examples,
                tolerances=_numbers(key_values(list(self.tolerances), "--tolerance"), "--tolerance"),
            ),
        )  # fmt: skip
        architecture = trainer_pb2.Architecture(
            hidden_size=self.hidden_size, intermediate_size=self.intermediate_size, layer_count=self.layers, head_count=self.heads,
            key_value_head_count=self.key_value_heads, initialization=one_of(INITIALIZATIONS, self.init, "--init"),
        )  # fmt: skip
        if self.gpu:
            job.hyperparameters.use_gpu = True
        # An empty group would say that a group was asked for.
        if architecture.ByteSize():
            job.architecture.CopyFrom(architecture)
        if self.teacher or self.temperature is not None or self.alpha is not None:
            job.distillation.CopyFrom(trainer_pb2.Distillation(teacher=self.teacher, temperature=self.temperature, alpha=self.alpha))
        if self.quantize_bits:
            job.compression.quantize_bits = self.quantize_bits
        elif self.prune_share:
            job.compression.prune_share = self.prune_share
        if self.search_trials:
            job.search.trials = self.search_trials
            job.search.duration.FromMilliseconds(int((self.search_minutes or 60.0) * 60_000))
        return job


def one_of(words: dict[str, str], word: str, option: str) -> Any:
    """The enum value's name behind a word of the command line; None for an empty word. Raises `UserError` for an unknown one."""
    if word and word not in words:
        raise UserError(f"{option} must be one of {', '.join(words)}.", exit_code=USAGE)
    return words[word] if word else None


def _numbers(pairs: dict[str, str], option: str) -> dict[str, float]:
    try:
        return {key: float(value) for key, value in pairs.items()}
    except ValueError as error:
        raise UserError(f"{option} takes metric=number: {error}.", exit_code=USAGE) from error
