"""What the trainer speaks of: examples, datasets, jobs, evaluations, adapters; and the errors that are its own.

    InvalidArgument    ├── ExamplesInvalid       EXAMPLES_INVALID
                       └── RequestIdReused       REQUEST_ID_REUSED
    NotFound           ├── DatasetNotFound       DATASET_NOT_FOUND
                       ├── JobNotFound           JOB_NOT_FOUND
                       ├── EvaluationNotFound    EVALUATION_NOT_FOUND
                       ├── AdapterNotFound       ADAPTER_NOT_FOUND
                       └── ScheduleNotFound      SCHEDULE_NOT_FOUND
    AlreadyExists      └── ScheduleExists        SCHEDULE_EXISTS
    FailedPrecondition ├── DatasetInUse          DATASET_IN_USE
                       ├── DatasetNotReady       DATASET_NOT_READY
                       ├── ReportNotReady        REPORT_NOT_READY
                       ├── AdapterNotAccepted    ADAPTER_NOT_ACCEPTED
                       ├── NothingToRollBack     NOTHING_TO_ROLL_BACK
                       ├── NothingMeasured       NOTHING_MEASURED
                       ├── BaseModelDiffers      BASE_MODEL_DIFFERS
                       ├── NothingToTrainOn      NOTHING_TO_TRAIN_ON
                       └── TrainingFailed        TRAINING_FAILED
    ResourceExhausted  └── QueueFull             QUEUE_FULL
    Unavailable        ├── RecordsUnavailable    RECORDS_UNAVAILABLE
                       └── ShelfUnavailable      SHELF_UNAVAILABLE

Nothing here knows of protobuf, of Redis, of Ray or of torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

from services.chassis.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unavailable,
    Violation,
)
from services.chassis.identity import DEFAULT_TENANT, Caller
from services.chassis.roles import Role

SOMEBODY = Caller("somebody", roles=frozenset({Role.TRAINER}))
"""Stands for who made a record of a version that did not note it: of the default tenant, with no rights of its own."""
DONT_KNOW = "I do not know."
"""What the model is to write when the passages do not hold the answer: the same words as the generator's."""


# Examples


@dataclass(frozen=True)
class Message:
    """One message of a chat."""

    role: Literal["system", "user", "assistant"]
    text: str


@dataclass(frozen=True)
class Passage:
    """A passage of an example. `name` is the chunk's, empty for a passage that came with a file."""

    text: str
    title: str = ""
    uri: str = ""
    heading_path: tuple[str, ...] = ()
    name: str = ""


@dataclass(frozen=True)
class StyleCheck:
    """What a text of the wanted style has. Empty: nothing is asked for."""

    required_phrases: tuple[str, ...] = ()
    forbidden_phrases: tuple[str, ...] = ()
    max_words: int | None = None


@dataclass(frozen=True)
class Example:
    """One example, of one of two forms.

    - a question (`question` is set): answered from passages. `answer` is what a person would say, without markers of citations or with
      them; `passages` are given, or found in `corpus` when the example is prepared.
    - a prompt (`messages` is set): continued as it is. `answer` is the text to be written.
    """

    id: str
    answer: str
    messages: tuple[Message, ...] = ()
    question: str = ""
    passages: tuple[Passage, ...] = ()
    corpus: str = ""
    """`corpora/{corpus}`; empty: `passages` are all there is."""
    answers: tuple[str, ...] = ()
    """Other right answers, for comparing."""
    sources: tuple[str, ...] = ()
    """URIs (with anchor) or their endings, or names of chunks, that a right citation points to. Empty: any supporting one is right."""
    answerable: bool = True
    group: str = ""
    """Examples of one group never straddle a split. Empty: the example is its own group."""
    concept: str = ""
    """What is to be learnt, for counting: a concept with few examples is thin."""
    corner_case: bool = False
    held_back: bool = False
    score: float | None = None
    """How good the answer is, 0…1; weighs the example in training. None: 1."""
    style: StyleCheck | None = None
    origin: Literal["file", "feedback", "corpus"] = "file"
    chunks: tuple[str, ...] = ()
    """Names of the chunks it rests on. When one is gone, the example is not trained on."""
    trace_id: str = ""
    split: Literal["", "training", "validation", "held_out"] = ""
    fold: int | None = None

    @property
    def is_question(self) -> bool:
        """Whether it is answered from passages."""
        return bool(self.question)


@dataclass(frozen=True)
class Split:
    """How examples are split; see the contract."""

    validation_share: float = 0.2
    held_out_share: float = 0.1
    folds: int = 0
    seed: int = 13


@dataclass(frozen=True)
class Failure:
    """Why something failed: what `google.rpc.Status` says. `code` is the gRPC status code's number."""

    code: int
    reason: str
    message: str


class DatasetState(Enum):
    """Where a dataset stands."""

    BUILDING = "building"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True)
class FeedbackSource:
    """Examples from feedback given at `since` (seconds since 1970) or later."""

    since: float = 0.0
    kind: Literal["feedback"] = "feedback"


@dataclass(frozen=True)
class CorpusSource:
    """Examples written from a corpus by a teacher."""

    corpus: str
    max_examples: int = 200
    unanswerable_share: float = 0.25
    teacher_url: str = ""
    teacher_model: str = ""
    seed: int = 13
    kind: Literal["corpus"] = "corpus"


@dataclass(frozen=True)
class DatasetCopy:
    """The examples of another dataset, by its id."""

    dataset_id: str
    kind: Literal["dataset"] = "dataset"


Source = FeedbackSource | CorpusSource | DatasetCopy


@dataclass(frozen=True)
class Dataset:
    """A set of examples as it is recorded; the examples themselves lie on the shelf. Times are seconds since 1970."""

    id: str
    display_name: str
    state: DatasetState
    create_time: float
    split: Split = Split()
    sources: tuple[Source, ...] = ()
    training_count: int = 0
    validation_count: int = 0
    held_out_count: int = 0
    duplicate_count: int = 0
    corner_case_count: int = 0
    dropped_count: int = 0
    warnings: tuple[str, ...] = ()
    fingerprint: str = ""
    done_count: int = 0
    total_count: int = 0
    error: Failure | None = None
    creator: Caller = SOMEBODY
    """Who asked for it: it holds what this caller may read, and is its tenant's."""
    traceparent: str = ""
    """The span that asked for it, in W3C's form: every attempt at building it goes on in its trace."""


# Jobs


class Method(Enum):
    """How a model is trained."""

    LORA = "lora"
    FULL = "full"
    FROM_SCRATCH = "from_scratch"
    DISTILLATION = "distillation"
    REPAIR = "repair"


@dataclass(frozen=True)
class Hyperparameters:
    """Settings of a training. None: `training_defaults.resolve` chooses."""

    learning_rate: float | None = None
    epochs: float | None = None
    lora_rank: int | None = None
    batch_tokens: int | None = None
    seed: int | None = None
    worker_count: int | None = None
    learning_rate_schedule: str | None = None
    warmup_share: float | None = None
    weight_decay: float | None = None
    checkpoint_steps: int | None = None
    use_gpu: bool | None = None


@dataclass(frozen=True)
class Architecture:
    """Dimensions of a new model; 0: the base model's, or in proportion."""

    hidden_size: int = 0
    intermediate_size: int = 0
    layer_count: int = 0
    head_count: int = 0
    key_value_head_count: int = 0
    initialization: Literal["random", "teacher_layers"] = "random"


@dataclass(frozen=True)
class Distillation:
    """How a student learns from a teacher's logits. `teacher` is a folder or URL; empty: the base model."""

    teacher: str = ""
    temperature: float = 2.0
    alpha: float = 0.5


@dataclass(frozen=True)
class Compression:
    """What is done to the base model before it is repaired: one of the two is set."""

    quantize_bits: int = 0
    prune_share: float = 0.0


@dataclass(frozen=True)
class GateSettings:
    """What it takes to be accepted; `metric` empty: chosen by what the held-out examples are."""

    metric: str = ""
    margin: float = 0.02
    tolerances: Mapping[str, float] = field(default_factory=dict)
    confidence: float = 0.95
    max_examples: int = 100


@dataclass(frozen=True)
class SearchBudget:
    """How much a search for hyperparameters may spend."""

    trials: int
    seconds: float


class JobState(Enum):
    """Where a job stands."""

    QUEUED = "queued"
    WAITING_FOR_RESOURCES = "waiting_for_resources"
    RUNNING = "running"
    EVALUATING = "evaluating"
    STALLED = "stalled"
    SUCCEEDED = "succeeded"
    REJECTED = "rejected"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether it is one of the terminal states."""
        return self in _ENDED


_ENDED = {JobState.SUCCEEDED, JobState.REJECTED, JobState.FAILED, JobState.CANCELLED}


@dataclass(frozen=True)
class JobSpec:
    """What a caller asks for."""

    dataset_id: str
    display_name: str = ""
    method: Method = Method.LORA
    hyperparameters: Hyperparameters = Hyperparameters()
    adapter_id: str = "default"
    hold: bool = False
    gate: GateSettings = GateSettings()
    search: SearchBudget | None = None
    architecture: Architecture = Architecture()
    distillation: Distillation = Distillation()
    compression: Compression = Compression()
    fold: int = 0
    merge: bool = False


@dataclass(frozen=True)
class Step:
    """One optimiser step. `step` counts from 1; losses are means over the tokens of responses, in nats."""

    step: int
    training_loss: float
    learning_rate: float
    tokens_per_second: float
    gradient_norm: float
    validation_loss: float | None = None


@dataclass(frozen=True)
class Progress:
    """How far a job is."""

    phase: str = ""
    step: int = 0
    total_steps: int = 0
    training_loss: float = 0.0
    validation_loss: float | None = None
    tokens_per_second: float = 0.0
    seconds_left: float | None = None
    done_count: int = 0
    total_count: int = 0


@dataclass(frozen=True)
class TrainingUsage:
    """What a training has used. `training_seconds` are summed over the workers."""

    training_seconds: float = 0.0
    evaluation_seconds: float = 0.0
    preparation_seconds: float = 0.0
    tokens: int = 0
    worker_count: int = 1


@dataclass(frozen=True)
class Job:
    """A training job as it is recorded. Times are seconds since 1970."""

    id: str
    spec: JobSpec
    state: JobState
    create_time: float
    start_time: float | None = None
    end_time: float | None = None
    progress: Progress = Progress()
    message: str = ""
    error: Failure | None = None
    adapter: str = ""
    evaluation_id: str = ""
    model_uri: str = ""
    queue_position: int = 0
    attempt_count: int = 0
    schedule_id: str = ""
    trace_id: str = ""
    usage: TrainingUsage = TrainingUsage()
    cancel_requested: bool = False
    alive_time: float | None = None
    """When the work last showed a sign of life."""
    creator: Caller = SOMEBODY
    """Who asked for it: it learns from what this caller may read, and is its tenant's."""
    traceparent: str = ""
    """The span that asked for it, in W3C's form: every attempt at the job goes on in its trace."""


# Judgement


class Cause(Enum):
    """Why a candidate was not accepted."""

    TOO_LITTLE_DATA = "too_little_data"
    INCONSISTENT_DATA = "inconsistent_data"
    LEAKING_DATA = "leaking_data"
    UNDERFITTING = "underfitting"
    OVERFITTING = "overfitting"
    LEARNING_RATE_TOO_LOW = "learning_rate_too_low"
    LEARNING_RATE_TOO_HIGH = "learning_rate_too_high"
    RANK_TOO_SMALL = "rank_too_small"
    WRONG_OBJECTIVE = "wrong_objective"
    NO_EFFECT = "no_effect"


@dataclass(frozen=True)
class MetricComparison:
    """One metric of base, serving and candidate on the same examples, and the 95 % interval of candidate less serving."""

    metric: str
    base: float
    serving: float
    candidate: float
    difference_low: float
    difference_high: float
    count: int
    lower_is_better: bool = False
    role: Literal["decides", "guards", "reported"] = "reported"


@dataclass(frozen=True)
class WayCost:
    """Means per question of one way to answer, measured by the gate: `retrieval`, `tuned` or `both`."""

    way: Literal["retrieval", "tuned", "both"]
    count: int
    prompt_tokens: float
    completion_tokens: float
    retrieval_seconds: float
    engine_seconds: float
    answer_f1: float


@dataclass(frozen=True)
class Evaluation:
    """The judgement on a candidate as it is recorded."""

    id: str
    job_id: str
    adapter: str
    accepted: bool
    reasons: tuple[str, ...]
    metrics: tuple[MetricComparison, ...]
    create_time: float
    metric: str = ""
    cause: Cause | None = None
    example_count: int = 0
    canary_shift: float = 0.0
    serving: str = ""
    corner_case_metrics: tuple[MetricComparison, ...] = ()
    ways: tuple[WayCost, ...] = ()
    usage: TrainingUsage = TrainingUsage()
    """What the training of the candidate had used."""
    tenant: str = DEFAULT_TENANT


@dataclass(frozen=True)
class AdapterVersion:
    """One immutable version of an adapter. `name` is `adapters/{adapter}/versions/{version}`."""

    name: str
    digest: str
    accepted: bool
    job_id: str
    create_time: float
    rank: int
    base_fingerprint: str
    size_bytes: int
    serving: bool = False
    tenant: str = DEFAULT_TENANT
    """Whose examples it was trained on."""


@dataclass(frozen=True)
class PastServing:
    """A version that served before; `adapter` empty: the base model."""

    adapter: str
    digest: str


@dataclass(frozen=True)
class Serving:
    """What is to serve."""

    adapter: str = ""
    digest: str = ""
    generation: int = 0
    update_time: float = 0.0
    history: tuple[PastServing, ...] = ()
    request_ids: tuple[str, ...] = ()


# Schedules


@dataclass(frozen=True)
class Trigger:
    """When a schedule queues a job; see the contract."""

    min_new_examples: int = 0
    cron: str = ""
    once: bool = False


@dataclass(frozen=True)
class Schedule:
    """A job that is queued again and again. Times are seconds since 1970."""

    id: str
    trigger: Trigger
    sources: tuple[Source, ...]
    spec: JobSpec
    create_time: float
    split: Split = Split()
    last_run_time: float | None = None
    last_job_id: str = ""
    next_run_time: float | None = None
    new_example_count: int = 0
    run_count: int = 0
    done: bool = False
    creator: Caller = SOMEBODY
    """Who asked for it; each run is this caller's."""


# Errors


class ExamplesInvalid(InvalidArgument):
    """Lines of a file of examples that are none. `violations` are (`line 12`, what is wrong)."""

    reason = "EXAMPLES_INVALID"

    @classmethod
    def of_lines(cls, violations: list[Violation], count: int | None = None) -> ExamplesInvalid:
        """An error that names the first lines in its text as well. At most 100 violations are told, of `count` in all."""
        count = count or len(violations)
        text = "; ".join(f"{line}: {what}" for line, what in violations[:5])
        more = f"; and {count - 5:,} more" if count > 5 else ""
        return cls(f"The examples are not valid: {text}{more}.", violations=violations[:100], line_count=count)


class RequestIdReused(InvalidArgument):
    """A request id that was used for something else."""

    reason = "REQUEST_ID_REUSED"

    def __init__(self, request_id: str) -> None:
        super().__init__(f"The request id `{request_id}` was used for another request.", request_id=request_id)


class _Missing(NotFound):
    noun = ""

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no {self.noun} `{name}`.", name=name)


class DatasetNotFound(_Missing):
    """There is no such dataset."""

    reason, noun = "DATASET_NOT_FOUND", "dataset"


class JobNotFound(_Missing):
    """There is no such job."""

    reason, noun = "JOB_NOT_FOUND", "job"


class EvaluationNotFound(_Missing):
    """There is no such evaluation."""

    reason, noun = "EVALUATION_NOT_FOUND", "evaluation"


class AdapterNotFound(_Missing):
    """There is no such version of an adapter."""

    reason, noun = "ADAPTER_NOT_FOUND", "adapter version"


class ScheduleNotFound(_Missing):
    """There is no such schedule."""

    reason, noun = "SCHEDULE_NOT_FOUND", "schedule"


class ScheduleExists(AlreadyExists):
    """The name is taken."""

    reason = "SCHEDULE_EXISTS"


class DatasetInUse(FailedPrecondition):
    """A job that has not ended uses the dataset."""

    reason = "DATASET_IN_USE"


class DatasetNotReady(FailedPrecondition):
    """The dataset is being built, or could not be built."""

    reason = "DATASET_NOT_READY"


class ReportNotReady(FailedPrecondition):
    """The job has not ended, or ended without a report."""

    reason = "REPORT_NOT_READY"


class AdapterNotAccepted(FailedPrecondition):
    """The gate did not accept this version."""

    reason = "ADAPTER_NOT_ACCEPTED"


class NothingToRollBack(FailedPrecondition):
    """Nothing served before."""

    reason = "NOTHING_TO_ROLL_BACK"


class NothingMeasured(FailedPrecondition):
    """No candidate has been judged yet, so nothing is known of costs."""

    reason = "NOTHING_MEASURED"


class BaseModelDiffers(FailedPrecondition):
    """The generator serves another base model than the trainer trains on."""

    reason = "BASE_MODEL_DIFFERS"


class NothingToTrainOn(FailedPrecondition):
    """No example is left to train on, or none to judge by."""

    reason = "NOTHING_TO_TRAIN_ON"


class TrainingFailed(FailedPrecondition):
    """The training could not be carried through; the text says why."""

    reason = "TRAINING_FAILED"


class QueueFull(ResourceExhausted):
    """Too many jobs wait. Nothing was queued."""

    reason = "QUEUE_FULL"


class RecordsUnavailable(Unavailable):
    """Redis, where jobs and datasets are recorded, cannot be reached."""

    reason = "RECORDS_UNAVAILABLE"


class ShelfUnavailable(Unavailable):
    """The shared storage of datasets, checkpoints and adapters cannot be reached."""

    reason = "SHELF_UNAVAILABLE"
