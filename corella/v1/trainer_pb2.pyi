import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.rpc import status_pb2 as _status_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DatasetState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DATASET_STATE_UNSPECIFIED: _ClassVar[DatasetState]
    DATASET_STATE_BUILDING: _ClassVar[DatasetState]
    DATASET_STATE_READY: _ClassVar[DatasetState]
    DATASET_STATE_FAILED: _ClassVar[DatasetState]

class TrainingMethod(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TRAINING_METHOD_UNSPECIFIED: _ClassVar[TrainingMethod]
    TRAINING_METHOD_LORA: _ClassVar[TrainingMethod]
    TRAINING_METHOD_FULL: _ClassVar[TrainingMethod]
    TRAINING_METHOD_FROM_SCRATCH: _ClassVar[TrainingMethod]
    TRAINING_METHOD_DISTILLATION: _ClassVar[TrainingMethod]
    TRAINING_METHOD_REPAIR: _ClassVar[TrainingMethod]

class JobState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    JOB_STATE_UNSPECIFIED: _ClassVar[JobState]
    JOB_STATE_QUEUED: _ClassVar[JobState]
    JOB_STATE_WAITING_FOR_RESOURCES: _ClassVar[JobState]
    JOB_STATE_RUNNING: _ClassVar[JobState]
    JOB_STATE_EVALUATING: _ClassVar[JobState]
    JOB_STATE_STALLED: _ClassVar[JobState]
    JOB_STATE_SUCCEEDED: _ClassVar[JobState]
    JOB_STATE_REJECTED: _ClassVar[JobState]
    JOB_STATE_FAILED: _ClassVar[JobState]
    JOB_STATE_CANCELLED: _ClassVar[JobState]

class Initialization(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    INITIALIZATION_UNSPECIFIED: _ClassVar[Initialization]
    INITIALIZATION_RANDOM: _ClassVar[Initialization]
    INITIALIZATION_TEACHER_LAYERS: _ClassVar[Initialization]

class RejectionCause(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REJECTION_CAUSE_UNSPECIFIED: _ClassVar[RejectionCause]
    REJECTION_CAUSE_TOO_LITTLE_DATA: _ClassVar[RejectionCause]
    REJECTION_CAUSE_INCONSISTENT_DATA: _ClassVar[RejectionCause]
    REJECTION_CAUSE_LEAKING_DATA: _ClassVar[RejectionCause]
    REJECTION_CAUSE_UNDERFITTING: _ClassVar[RejectionCause]
    REJECTION_CAUSE_OVERFITTING: _ClassVar[RejectionCause]
    REJECTION_CAUSE_LEARNING_RATE_TOO_LOW: _ClassVar[RejectionCause]
    REJECTION_CAUSE_LEARNING_RATE_TOO_HIGH: _ClassVar[RejectionCause]
    REJECTION_CAUSE_RANK_TOO_SMALL: _ClassVar[RejectionCause]
    REJECTION_CAUSE_WRONG_OBJECTIVE: _ClassVar[RejectionCause]
    REJECTION_CAUSE_NO_EFFECT: _ClassVar[RejectionCause]
DATASET_STATE_UNSPECIFIED: DatasetState
DATASET_STATE_BUILDING: DatasetState
DATASET_STATE_READY: DatasetState
DATASET_STATE_FAILED: DatasetState
TRAINING_METHOD_UNSPECIFIED: TrainingMethod
TRAINING_METHOD_LORA: TrainingMethod
TRAINING_METHOD_FULL: TrainingMethod
TRAINING_METHOD_FROM_SCRATCH: TrainingMethod
TRAINING_METHOD_DISTILLATION: TrainingMethod
TRAINING_METHOD_REPAIR: TrainingMethod
JOB_STATE_UNSPECIFIED: JobState
JOB_STATE_QUEUED: JobState
JOB_STATE_WAITING_FOR_RESOURCES: JobState
JOB_STATE_RUNNING: JobState
JOB_STATE_EVALUATING: JobState
JOB_STATE_STALLED: JobState
JOB_STATE_SUCCEEDED: JobState
JOB_STATE_REJECTED: JobState
JOB_STATE_FAILED: JobState
JOB_STATE_CANCELLED: JobState
INITIALIZATION_UNSPECIFIED: Initialization
INITIALIZATION_RANDOM: Initialization
INITIALIZATION_TEACHER_LAYERS: Initialization
REJECTION_CAUSE_UNSPECIFIED: RejectionCause
REJECTION_CAUSE_TOO_LITTLE_DATA: RejectionCause
REJECTION_CAUSE_INCONSISTENT_DATA: RejectionCause
REJECTION_CAUSE_LEAKING_DATA: RejectionCause
REJECTION_CAUSE_UNDERFITTING: RejectionCause
REJECTION_CAUSE_OVERFITTING: RejectionCause
REJECTION_CAUSE_LEARNING_RATE_TOO_LOW: RejectionCause
REJECTION_CAUSE_LEARNING_RATE_TOO_HIGH: RejectionCause
REJECTION_CAUSE_RANK_TOO_SMALL: RejectionCause
REJECTION_CAUSE_WRONG_OBJECTIVE: RejectionCause
REJECTION_CAUSE_NO_EFFECT: RejectionCause

class Dataset(_message.Message):
    __slots__ = ("name", "display_name", "training_count", "validation_count", "held_out_count", "duplicate_count", "warnings", "fingerprint", "create_time", "state", "split", "corner_case_count", "dropped_count", "done_count", "total_count", "error")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    TRAINING_COUNT_FIELD_NUMBER: _ClassVar[int]
    VALIDATION_COUNT_FIELD_NUMBER: _ClassVar[int]
    HELD_OUT_COUNT_FIELD_NUMBER: _ClassVar[int]
    DUPLICATE_COUNT_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SPLIT_FIELD_NUMBER: _ClassVar[int]
    CORNER_CASE_COUNT_FIELD_NUMBER: _ClassVar[int]
    DROPPED_COUNT_FIELD_NUMBER: _ClassVar[int]
    DONE_COUNT_FIELD_NUMBER: _ClassVar[int]
    TOTAL_COUNT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    name: str
    display_name: str
    training_count: int
    validation_count: int
    held_out_count: int
    duplicate_count: int
    warnings: _containers.RepeatedScalarFieldContainer[str]
    fingerprint: str
    create_time: _timestamp_pb2.Timestamp
    state: DatasetState
    split: Split
    corner_case_count: int
    dropped_count: int
    done_count: int
    total_count: int
    error: _status_pb2.Status
    def __init__(self, name: _Optional[str] = ..., display_name: _Optional[str] = ..., training_count: _Optional[int] = ..., validation_count: _Optional[int] = ..., held_out_count: _Optional[int] = ..., duplicate_count: _Optional[int] = ..., warnings: _Optional[_Iterable[str]] = ..., fingerprint: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., state: _Optional[_Union[DatasetState, str]] = ..., split: _Optional[_Union[Split, _Mapping]] = ..., corner_case_count: _Optional[int] = ..., dropped_count: _Optional[int] = ..., done_count: _Optional[int] = ..., total_count: _Optional[int] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...

class Split(_message.Message):
    __slots__ = ("validation_share", "held_out_share", "folds", "seed")
    VALIDATION_SHARE_FIELD_NUMBER: _ClassVar[int]
    HELD_OUT_SHARE_FIELD_NUMBER: _ClassVar[int]
    FOLDS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    validation_share: float
    held_out_share: float
    folds: int
    seed: int
    def __init__(self, validation_share: _Optional[float] = ..., held_out_share: _Optional[float] = ..., folds: _Optional[int] = ..., seed: _Optional[int] = ...) -> None: ...

class Job(_message.Message):
    __slots__ = ("name", "display_name", "dataset", "method", "hyperparameters", "state", "progress", "error", "adapter", "evaluation", "create_time", "start_time", "end_time", "adapter_id", "hold", "gate", "search", "architecture", "distillation", "compression", "fold", "merge", "model_uri", "message", "queue_position", "attempt_count", "schedule", "trace_id", "usage")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    DATASET_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    HYPERPARAMETERS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    ADAPTER_FIELD_NUMBER: _ClassVar[int]
    EVALUATION_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    ADAPTER_ID_FIELD_NUMBER: _ClassVar[int]
    HOLD_FIELD_NUMBER: _ClassVar[int]
    GATE_FIELD_NUMBER: _ClassVar[int]
    SEARCH_FIELD_NUMBER: _ClassVar[int]
    ARCHITECTURE_FIELD_NUMBER: _ClassVar[int]
    DISTILLATION_FIELD_NUMBER: _ClassVar[int]
    COMPRESSION_FIELD_NUMBER: _ClassVar[int]
    FOLD_FIELD_NUMBER: _ClassVar[int]
    MERGE_FIELD_NUMBER: _ClassVar[int]
    MODEL_URI_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    QUEUE_POSITION_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_COUNT_FIELD_NUMBER: _ClassVar[int]
    SCHEDULE_FIELD_NUMBER: _ClassVar[int]
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    name: str
    display_name: str
    dataset: str
    method: TrainingMethod
    hyperparameters: Hyperparameters
    state: JobState
    progress: JobProgress
    error: _status_pb2.Status
    adapter: str
    evaluation: str
    create_time: _timestamp_pb2.Timestamp
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    adapter_id: str
    hold: bool
    gate: Gate
    search: SearchBudget
    architecture: Architecture
    distillation: Distillation
    compression: Compression
    fold: int
    merge: bool
    model_uri: str
    message: str
    queue_position: int
    attempt_count: int
    schedule: str
    trace_id: str
    usage: TrainingUsage
    def __init__(self, name: _Optional[str] = ..., display_name: _Optional[str] = ..., dataset: _Optional[str] = ..., method: _Optional[_Union[TrainingMethod, str]] = ..., hyperparameters: _Optional[_Union[Hyperparameters, _Mapping]] = ..., state: _Optional[_Union[JobState, str]] = ..., progress: _Optional[_Union[JobProgress, _Mapping]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., adapter: _Optional[str] = ..., evaluation: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., adapter_id: _Optional[str] = ..., hold: bool = ..., gate: _Optional[_Union[Gate, _Mapping]] = ..., search: _Optional[_Union[SearchBudget, _Mapping]] = ..., architecture: _Optional[_Union[Architecture, _Mapping]] = ..., distillation: _Optional[_Union[Distillation, _Mapping]] = ..., compression: _Optional[_Union[Compression, _Mapping]] = ..., fold: _Optional[int] = ..., merge: bool = ..., model_uri: _Optional[str] = ..., message: _Optional[str] = ..., queue_position: _Optional[int] = ..., attempt_count: _Optional[int] = ..., schedule: _Optional[str] = ..., trace_id: _Optional[str] = ..., usage: _Optional[_Union[TrainingUsage, _Mapping]] = ...) -> None: ...

class Hyperparameters(_message.Message):
    __slots__ = ("learning_rate", "epochs", "lora_rank", "batch_tokens", "seed", "worker_count", "learning_rate_schedule", "warmup_share", "weight_decay", "checkpoint_steps", "use_gpu")
    LEARNING_RATE_FIELD_NUMBER: _ClassVar[int]
    EPOCHS_FIELD_NUMBER: _ClassVar[int]
    LORA_RANK_FIELD_NUMBER: _ClassVar[int]
    BATCH_TOKENS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    WORKER_COUNT_FIELD_NUMBER: _ClassVar[int]
    LEARNING_RATE_SCHEDULE_FIELD_NUMBER: _ClassVar[int]
    WARMUP_SHARE_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_DECAY_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_STEPS_FIELD_NUMBER: _ClassVar[int]
    USE_GPU_FIELD_NUMBER: _ClassVar[int]
    learning_rate: float
    epochs: float
    lora_rank: int
    batch_tokens: int
    seed: int
    worker_count: int
    learning_rate_schedule: str
    warmup_share: float
    weight_decay: float
    checkpoint_steps: int
    use_gpu: bool
    def __init__(self, learning_rate: _Optional[float] = ..., epochs: _Optional[float] = ..., lora_rank: _Optional[int] = ..., batch_tokens: _Optional[int] = ..., seed: _Optional[int] = ..., worker_count: _Optional[int] = ..., learning_rate_schedule: _Optional[str] = ..., warmup_share: _Optional[float] = ..., weight_decay: _Optional[float] = ..., checkpoint_steps: _Optional[int] = ..., use_gpu: bool = ...) -> None: ...

class Architecture(_message.Message):
    __slots__ = ("hidden_size", "intermediate_size", "layer_count", "head_count", "key_value_head_count", "initialization")
    HIDDEN_SIZE_FIELD_NUMBER: _ClassVar[int]
    INTERMEDIATE_SIZE_FIELD_NUMBER: _ClassVar[int]
    LAYER_COUNT_FIELD_NUMBER: _ClassVar[int]
    HEAD_COUNT_FIELD_NUMBER: _ClassVar[int]
    KEY_VALUE_HEAD_COUNT_FIELD_NUMBER: _ClassVar[int]
    INITIALIZATION_FIELD_NUMBER: _ClassVar[int]
    hidden_size: int
    intermediate_size: int
    layer_count: int
    head_count: int
    key_value_head_count: int
    initialization: Initialization
    def __init__(self, hidden_size: _Optional[int] = ..., intermediate_size: _Optional[int] = ..., layer_count: _Optional[int] = ..., head_count: _Optional[int] = ..., key_value_head_count: _Optional[int] = ..., initialization: _Optional[_Union[Initialization, str]] = ...) -> None: ...

class Distillation(_message.Message):
    __slots__ = ("teacher", "temperature", "alpha")
    TEACHER_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    ALPHA_FIELD_NUMBER: _ClassVar[int]
    teacher: str
    temperature: float
    alpha: float
    def __init__(self, teacher: _Optional[str] = ..., temperature: _Optional[float] = ..., alpha: _Optional[float] = ...) -> None: ...

class Compression(_message.Message):
    __slots__ = ("quantize_bits", "prune_share")
    QUANTIZE_BITS_FIELD_NUMBER: _ClassVar[int]
    PRUNE_SHARE_FIELD_NUMBER: _ClassVar[int]
    quantize_bits: int
    prune_share: float
    def __init__(self, quantize_bits: _Optional[int] = ..., prune_share: _Optional[float] = ...) -> None: ...

class Gate(_message.Message):
    __slots__ = ("metric", "margin", "tolerances", "confidence", "max_examples")
    class TolerancesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    METRIC_FIELD_NUMBER: _ClassVar[int]
    MARGIN_FIELD_NUMBER: _ClassVar[int]
    TOLERANCES_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    MAX_EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    metric: str
    margin: float
    tolerances: _containers.ScalarMap[str, float]
    confidence: float
    max_examples: int
    def __init__(self, metric: _Optional[str] = ..., margin: _Optional[float] = ..., tolerances: _Optional[_Mapping[str, float]] = ..., confidence: _Optional[float] = ..., max_examples: _Optional[int] = ...) -> None: ...

class SearchBudget(_message.Message):
    __slots__ = ("trials", "duration")
    TRIALS_FIELD_NUMBER: _ClassVar[int]
    DURATION_FIELD_NUMBER: _ClassVar[int]
    trials: int
    duration: _duration_pb2.Duration
    def __init__(self, trials: _Optional[int] = ..., duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class JobProgress(_message.Message):
    __slots__ = ("step", "total_steps", "training_loss", "validation_loss", "tokens_per_second", "time_left", "phase", "done_count", "total_count")
    STEP_FIELD_NUMBER: _ClassVar[int]
    TOTAL_STEPS_FIELD_NUMBER: _ClassVar[int]
    TRAINING_LOSS_FIELD_NUMBER: _ClassVar[int]
    VALIDATION_LOSS_FIELD_NUMBER: _ClassVar[int]
    TOKENS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    TIME_LEFT_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    DONE_COUNT_FIELD_NUMBER: _ClassVar[int]
    TOTAL_COUNT_FIELD_NUMBER: _ClassVar[int]
    step: int
    total_steps: int
    training_loss: float
    validation_loss: float
    tokens_per_second: float
    time_left: _duration_pb2.Duration
    phase: str
    done_count: int
    total_count: int
    def __init__(self, step: _Optional[int] = ..., total_steps: _Optional[int] = ..., training_loss: _Optional[float] = ..., validation_loss: _Optional[float] = ..., tokens_per_second: _Optional[float] = ..., time_left: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., phase: _Optional[str] = ..., done_count: _Optional[int] = ..., total_count: _Optional[int] = ...) -> None: ...

class JobStep(_message.Message):
    __slots__ = ("step", "training_loss", "validation_loss", "learning_rate", "tokens_per_second", "gradient_norm")
    STEP_FIELD_NUMBER: _ClassVar[int]
    TRAINING_LOSS_FIELD_NUMBER: _ClassVar[int]
    VALIDATION_LOSS_FIELD_NUMBER: _ClassVar[int]
    LEARNING_RATE_FIELD_NUMBER: _ClassVar[int]
    TOKENS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    GRADIENT_NORM_FIELD_NUMBER: _ClassVar[int]
    step: int
    training_loss: float
    validation_loss: float
    learning_rate: float
    tokens_per_second: float
    gradient_norm: float
    def __init__(self, step: _Optional[int] = ..., training_loss: _Optional[float] = ..., validation_loss: _Optional[float] = ..., learning_rate: _Optional[float] = ..., tokens_per_second: _Optional[float] = ..., gradient_norm: _Optional[float] = ...) -> None: ...

class TrainingUsage(_message.Message):
    __slots__ = ("training_seconds", "evaluation_seconds", "tokens", "preparation_seconds")
    TRAINING_SECONDS_FIELD_NUMBER: _ClassVar[int]
    EVALUATION_SECONDS_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    PREPARATION_SECONDS_FIELD_NUMBER: _ClassVar[int]
    training_seconds: float
    evaluation_seconds: float
    tokens: int
    preparation_seconds: float
    def __init__(self, training_seconds: _Optional[float] = ..., evaluation_seconds: _Optional[float] = ..., tokens: _Optional[int] = ..., preparation_seconds: _Optional[float] = ...) -> None: ...

class Evaluation(_message.Message):
    __slots__ = ("name", "adapter", "accepted", "reasons", "metrics", "create_time", "job", "cause", "metric", "example_count", "canary_shift", "serving", "corner_case_metrics")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ADAPTER_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    EXAMPLE_COUNT_FIELD_NUMBER: _ClassVar[int]
    CANARY_SHIFT_FIELD_NUMBER: _ClassVar[int]
    SERVING_FIELD_NUMBER: _ClassVar[int]
    CORNER_CASE_METRICS_FIELD_NUMBER: _ClassVar[int]
    name: str
    adapter: str
    accepted: bool
    reasons: _containers.RepeatedScalarFieldContainer[str]
    metrics: _containers.RepeatedCompositeFieldContainer[MetricComparison]
    create_time: _timestamp_pb2.Timestamp
    job: str
    cause: RejectionCause
    metric: str
    example_count: int
    canary_shift: float
    serving: str
    corner_case_metrics: _containers.RepeatedCompositeFieldContainer[MetricComparison]
    def __init__(self, name: _Optional[str] = ..., adapter: _Optional[str] = ..., accepted: bool = ..., reasons: _Optional[_Iterable[str]] = ..., metrics: _Optional[_Iterable[_Union[MetricComparison, _Mapping]]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., job: _Optional[str] = ..., cause: _Optional[_Union[RejectionCause, str]] = ..., metric: _Optional[str] = ..., example_count: _Optional[int] = ..., canary_shift: _Optional[float] = ..., serving: _Optional[str] = ..., corner_case_metrics: _Optional[_Iterable[_Union[MetricComparison, _Mapping]]] = ...) -> None: ...

class MetricComparison(_message.Message):
    __slots__ = ("metric", "base", "serving", "candidate", "difference_low", "difference_high", "count", "lower_is_better", "role")
    METRIC_FIELD_NUMBER: _ClassVar[int]
    BASE_FIELD_NUMBER: _ClassVar[int]
    SERVING_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    DIFFERENCE_LOW_FIELD_NUMBER: _ClassVar[int]
    DIFFERENCE_HIGH_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    LOWER_IS_BETTER_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    metric: str
    base: float
    serving: float
    candidate: float
    difference_low: float
    difference_high: float
    count: int
    lower_is_better: bool
    role: str
    def __init__(self, metric: _Optional[str] = ..., base: _Optional[float] = ..., serving: _Optional[float] = ..., candidate: _Optional[float] = ..., difference_low: _Optional[float] = ..., difference_high: _Optional[float] = ..., count: _Optional[int] = ..., lower_is_better: bool = ..., role: _Optional[str] = ...) -> None: ...

class Adapter(_message.Message):
    __slots__ = ("name", "versions")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    name: str
    versions: _containers.RepeatedCompositeFieldContainer[AdapterVersion]
    def __init__(self, name: _Optional[str] = ..., versions: _Optional[_Iterable[_Union[AdapterVersion, _Mapping]]] = ...) -> None: ...

class AdapterVersion(_message.Message):
    __slots__ = ("name", "digest", "accepted", "serving", "job", "create_time", "rank", "base_fingerprint", "size_bytes")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    SERVING_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    BASE_FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    name: str
    digest: str
    accepted: bool
    serving: bool
    job: str
    create_time: _timestamp_pb2.Timestamp
    rank: int
    base_fingerprint: str
    size_bytes: int
    def __init__(self, name: _Optional[str] = ..., digest: _Optional[str] = ..., accepted: bool = ..., serving: bool = ..., job: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., rank: _Optional[int] = ..., base_fingerprint: _Optional[str] = ..., size_bytes: _Optional[int] = ...) -> None: ...

class ServingState(_message.Message):
    __slots__ = ("adapter", "digest", "generation", "update_time", "history", "request_ids")
    ADAPTER_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    HISTORY_FIELD_NUMBER: _ClassVar[int]
    REQUEST_IDS_FIELD_NUMBER: _ClassVar[int]
    adapter: str
    digest: str
    generation: int
    update_time: _timestamp_pb2.Timestamp
    history: _containers.RepeatedCompositeFieldContainer[PastServing]
    request_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, adapter: _Optional[str] = ..., digest: _Optional[str] = ..., generation: _Optional[int] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., history: _Optional[_Iterable[_Union[PastServing, _Mapping]]] = ..., request_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class PastServing(_message.Message):
    __slots__ = ("adapter", "digest")
    ADAPTER_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    adapter: str
    digest: str
    def __init__(self, adapter: _Optional[str] = ..., digest: _Optional[str] = ...) -> None: ...

class Trigger(_message.Message):
    __slots__ = ("min_new_examples", "cron", "once")
    MIN_NEW_EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    CRON_FIELD_NUMBER: _ClassVar[int]
    ONCE_FIELD_NUMBER: _ClassVar[int]
    min_new_examples: int
    cron: str
    once: bool
    def __init__(self, min_new_examples: _Optional[int] = ..., cron: _Optional[str] = ..., once: bool = ...) -> None: ...

class Schedule(_message.Message):
    __slots__ = ("name", "trigger", "sources", "split", "job", "last_run_time", "last_job", "next_run_time", "new_example_count", "run_count", "done")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TRIGGER_FIELD_NUMBER: _ClassVar[int]
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    SPLIT_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    LAST_RUN_TIME_FIELD_NUMBER: _ClassVar[int]
    LAST_JOB_FIELD_NUMBER: _ClassVar[int]
    NEXT_RUN_TIME_FIELD_NUMBER: _ClassVar[int]
    NEW_EXAMPLE_COUNT_FIELD_NUMBER: _ClassVar[int]
    RUN_COUNT_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    name: str
    trigger: Trigger
    sources: _containers.RepeatedCompositeFieldContainer[DatasetSource]
    split: Split
    job: Job
    last_run_time: _timestamp_pb2.Timestamp
    last_job: str
    next_run_time: _timestamp_pb2.Timestamp
    new_example_count: int
    run_count: int
    done: bool
    def __init__(self, name: _Optional[str] = ..., trigger: _Optional[_Union[Trigger, _Mapping]] = ..., sources: _Optional[_Iterable[_Union[DatasetSource, _Mapping]]] = ..., split: _Optional[_Union[Split, _Mapping]] = ..., job: _Optional[_Union[Job, _Mapping]] = ..., last_run_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., last_job: _Optional[str] = ..., next_run_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., new_example_count: _Optional[int] = ..., run_count: _Optional[int] = ..., done: bool = ...) -> None: ...

class DatasetSource(_message.Message):
    __slots__ = ("feedback", "corpus", "dataset")
    FEEDBACK_FIELD_NUMBER: _ClassVar[int]
    CORPUS_FIELD_NUMBER: _ClassVar[int]
    DATASET_FIELD_NUMBER: _ClassVar[int]
    feedback: FeedbackSource
    corpus: CorpusSource
    dataset: str
    def __init__(self, feedback: _Optional[_Union[FeedbackSource, _Mapping]] = ..., corpus: _Optional[_Union[CorpusSource, _Mapping]] = ..., dataset: _Optional[str] = ...) -> None: ...

class FeedbackSource(_message.Message):
    __slots__ = ("since",)
    SINCE_FIELD_NUMBER: _ClassVar[int]
    since: _timestamp_pb2.Timestamp
    def __init__(self, since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class CorpusSource(_message.Message):
    __slots__ = ("corpus", "max_examples", "unanswerable_share", "teacher", "seed")
    CORPUS_FIELD_NUMBER: _ClassVar[int]
    MAX_EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    UNANSWERABLE_SHARE_FIELD_NUMBER: _ClassVar[int]
    TEACHER_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    corpus: str
    max_examples: int
    unanswerable_share: float
    teacher: Teacher
    seed: int
    def __init__(self, corpus: _Optional[str] = ..., max_examples: _Optional[int] = ..., unanswerable_share: _Optional[float] = ..., teacher: _Optional[_Union[Teacher, _Mapping]] = ..., seed: _Optional[int] = ...) -> None: ...

class Teacher(_message.Message):
    __slots__ = ("base_url", "model")
    BASE_URL_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    base_url: str
    model: str
    def __init__(self, base_url: _Optional[str] = ..., model: _Optional[str] = ...) -> None: ...

class CreateDatasetRequest(_message.Message):
    __slots__ = ("start", "jsonl")
    START_FIELD_NUMBER: _ClassVar[int]
    JSONL_FIELD_NUMBER: _ClassVar[int]
    start: DatasetStart
    jsonl: bytes
    def __init__(self, start: _Optional[_Union[DatasetStart, _Mapping]] = ..., jsonl: _Optional[bytes] = ...) -> None: ...

class DatasetStart(_message.Message):
    __slots__ = ("display_name", "validation_share", "request_id", "split")
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    VALIDATION_SHARE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    SPLIT_FIELD_NUMBER: _ClassVar[int]
    display_name: str
    validation_share: float
    request_id: str
    split: Split
    def __init__(self, display_name: _Optional[str] = ..., validation_share: _Optional[float] = ..., request_id: _Optional[str] = ..., split: _Optional[_Union[Split, _Mapping]] = ...) -> None: ...

class CreateDatasetResponse(_message.Message):
    __slots__ = ("dataset",)
    DATASET_FIELD_NUMBER: _ClassVar[int]
    dataset: Dataset
    def __init__(self, dataset: _Optional[_Union[Dataset, _Mapping]] = ...) -> None: ...

class BuildDatasetRequest(_message.Message):
    __slots__ = ("display_name", "sources", "split", "request_id")
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    SPLIT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    display_name: str
    sources: _containers.RepeatedCompositeFieldContainer[DatasetSource]
    split: Split
    request_id: str
    def __init__(self, display_name: _Optional[str] = ..., sources: _Optional[_Iterable[_Union[DatasetSource, _Mapping]]] = ..., split: _Optional[_Union[Split, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class BuildDatasetResponse(_message.Message):
    __slots__ = ("dataset",)
    DATASET_FIELD_NUMBER: _ClassVar[int]
    dataset: Dataset
    def __init__(self, dataset: _Optional[_Union[Dataset, _Mapping]] = ...) -> None: ...

class GetDatasetRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetDatasetResponse(_message.Message):
    __slots__ = ("dataset",)
    DATASET_FIELD_NUMBER: _ClassVar[int]
    dataset: Dataset
    def __init__(self, dataset: _Optional[_Union[Dataset, _Mapping]] = ...) -> None: ...

class ListDatasetsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListDatasetsResponse(_message.Message):
    __slots__ = ("datasets", "next_page_token")
    DATASETS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    datasets: _containers.RepeatedCompositeFieldContainer[Dataset]
    next_page_token: str
    def __init__(self, datasets: _Optional[_Iterable[_Union[Dataset, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ListExamplesRequest(_message.Message):
    __slots__ = ("parent", "page_size", "page_token")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    parent: str
    page_size: int
    page_token: str
    def __init__(self, parent: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListExamplesResponse(_message.Message):
    __slots__ = ("examples", "next_page_token")
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    examples: _containers.RepeatedScalarFieldContainer[str]
    next_page_token: str
    def __init__(self, examples: _Optional[_Iterable[str]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class DeleteDatasetRequest(_message.Message):
    __slots__ = ("name", "allow_missing")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ALLOW_MISSING_FIELD_NUMBER: _ClassVar[int]
    name: str
    allow_missing: bool
    def __init__(self, name: _Optional[str] = ..., allow_missing: bool = ...) -> None: ...

class DeleteDatasetResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CreateJobRequest(_message.Message):
    __slots__ = ("job", "request_id")
    JOB_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    job: Job
    request_id: str
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class CreateJobResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: Job
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ...) -> None: ...

class GetJobRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetJobResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: Job
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ...) -> None: ...

class ListJobsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListJobsResponse(_message.Message):
    __slots__ = ("jobs", "next_page_token")
    JOBS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedCompositeFieldContainer[Job]
    next_page_token: str
    def __init__(self, jobs: _Optional[_Iterable[_Union[Job, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class WatchJobRequest(_message.Message):
    __slots__ = ("name", "after_step")
    NAME_FIELD_NUMBER: _ClassVar[int]
    AFTER_STEP_FIELD_NUMBER: _ClassVar[int]
    name: str
    after_step: int
    def __init__(self, name: _Optional[str] = ..., after_step: _Optional[int] = ...) -> None: ...

class WatchJobResponse(_message.Message):
    __slots__ = ("job", "steps")
    JOB_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    job: Job
    steps: _containers.RepeatedCompositeFieldContainer[JobStep]
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ..., steps: _Optional[_Iterable[_Union[JobStep, _Mapping]]] = ...) -> None: ...

class CancelJobRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class CancelJobResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: Job
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ...) -> None: ...

class GetJobLogRequest(_message.Message):
    __slots__ = ("name", "skip")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SKIP_FIELD_NUMBER: _ClassVar[int]
    name: str
    skip: int
    def __init__(self, name: _Optional[str] = ..., skip: _Optional[int] = ...) -> None: ...

class GetJobLogResponse(_message.Message):
    __slots__ = ("lines", "next_skip")
    LINES_FIELD_NUMBER: _ClassVar[int]
    NEXT_SKIP_FIELD_NUMBER: _ClassVar[int]
    lines: _containers.RepeatedScalarFieldContainer[str]
    next_skip: int
    def __init__(self, lines: _Optional[_Iterable[str]] = ..., next_skip: _Optional[int] = ...) -> None: ...

class GetJobReportRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetJobReportResponse(_message.Message):
    __slots__ = ("markdown", "pictures")
    MARKDOWN_FIELD_NUMBER: _ClassVar[int]
    PICTURES_FIELD_NUMBER: _ClassVar[int]
    markdown: str
    pictures: _containers.RepeatedCompositeFieldContainer[ReportPicture]
    def __init__(self, markdown: _Optional[str] = ..., pictures: _Optional[_Iterable[_Union[ReportPicture, _Mapping]]] = ...) -> None: ...

class ReportPicture(_message.Message):
    __slots__ = ("file_name", "content")
    FILE_NAME_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    file_name: str
    content: bytes
    def __init__(self, file_name: _Optional[str] = ..., content: _Optional[bytes] = ...) -> None: ...

class GetEvaluationRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetEvaluationResponse(_message.Message):
    __slots__ = ("evaluation",)
    EVALUATION_FIELD_NUMBER: _ClassVar[int]
    evaluation: Evaluation
    def __init__(self, evaluation: _Optional[_Union[Evaluation, _Mapping]] = ...) -> None: ...

class ListEvaluationsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListEvaluationsResponse(_message.Message):
    __slots__ = ("evaluations", "next_page_token")
    EVALUATIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    evaluations: _containers.RepeatedCompositeFieldContainer[Evaluation]
    next_page_token: str
    def __init__(self, evaluations: _Optional[_Iterable[_Union[Evaluation, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ListAdaptersRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListAdaptersResponse(_message.Message):
    __slots__ = ("adapters", "next_page_token")
    ADAPTERS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    adapters: _containers.RepeatedCompositeFieldContainer[Adapter]
    next_page_token: str
    def __init__(self, adapters: _Optional[_Iterable[_Union[Adapter, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class PromoteAdapterRequest(_message.Message):
    __slots__ = ("name", "request_id")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    name: str
    request_id: str
    def __init__(self, name: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class PromoteAdapterResponse(_message.Message):
    __slots__ = ("version",)
    VERSION_FIELD_NUMBER: _ClassVar[int]
    version: AdapterVersion
    def __init__(self, version: _Optional[_Union[AdapterVersion, _Mapping]] = ...) -> None: ...

class RollBackAdapterRequest(_message.Message):
    __slots__ = ("request_id",)
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    def __init__(self, request_id: _Optional[str] = ...) -> None: ...

class RollBackAdapterResponse(_message.Message):
    __slots__ = ("version",)
    VERSION_FIELD_NUMBER: _ClassVar[int]
    version: AdapterVersion
    def __init__(self, version: _Optional[_Union[AdapterVersion, _Mapping]] = ...) -> None: ...

class GetServingRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetServingResponse(_message.Message):
    __slots__ = ("serving",)
    SERVING_FIELD_NUMBER: _ClassVar[int]
    serving: ServingState
    def __init__(self, serving: _Optional[_Union[ServingState, _Mapping]] = ...) -> None: ...

class CreateScheduleRequest(_message.Message):
    __slots__ = ("schedule",)
    SCHEDULE_FIELD_NUMBER: _ClassVar[int]
    schedule: Schedule
    def __init__(self, schedule: _Optional[_Union[Schedule, _Mapping]] = ...) -> None: ...

class CreateScheduleResponse(_message.Message):
    __slots__ = ("schedule",)
    SCHEDULE_FIELD_NUMBER: _ClassVar[int]
    schedule: Schedule
    def __init__(self, schedule: _Optional[_Union[Schedule, _Mapping]] = ...) -> None: ...

class ListSchedulesRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListSchedulesResponse(_message.Message):
    __slots__ = ("schedules", "next_page_token")
    SCHEDULES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    schedules: _containers.RepeatedCompositeFieldContainer[Schedule]
    next_page_token: str
    def __init__(self, schedules: _Optional[_Iterable[_Union[Schedule, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class DeleteScheduleRequest(_message.Message):
    __slots__ = ("name", "allow_missing")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ALLOW_MISSING_FIELD_NUMBER: _ClassVar[int]
    name: str
    allow_missing: bool
    def __init__(self, name: _Optional[str] = ..., allow_missing: bool = ...) -> None: ...

class DeleteScheduleResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetCostRequest(_message.Message):
    __slots__ = ("question_count",)
    QUESTION_COUNT_FIELD_NUMBER: _ClassVar[int]
    question_count: int
    def __init__(self, question_count: _Optional[int] = ...) -> None: ...

class GetCostResponse(_message.Message):
    __slots__ = ("ways", "currency", "training_cost", "break_even_questions_tuned", "break_even_questions_both", "question_count", "prices", "evaluation", "notes")
    class PricesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    WAYS_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_FIELD_NUMBER: _ClassVar[int]
    TRAINING_COST_FIELD_NUMBER: _ClassVar[int]
    BREAK_EVEN_QUESTIONS_TUNED_FIELD_NUMBER: _ClassVar[int]
    BREAK_EVEN_QUESTIONS_BOTH_FIELD_NUMBER: _ClassVar[int]
    QUESTION_COUNT_FIELD_NUMBER: _ClassVar[int]
    PRICES_FIELD_NUMBER: _ClassVar[int]
    EVALUATION_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    ways: _containers.RepeatedCompositeFieldContainer[CostPerQuestion]
    currency: str
    training_cost: float
    break_even_questions_tuned: int
    break_even_questions_both: int
    question_count: int
    prices: _containers.ScalarMap[str, float]
    evaluation: str
    notes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, ways: _Optional[_Iterable[_Union[CostPerQuestion, _Mapping]]] = ..., currency: _Optional[str] = ..., training_cost: _Optional[float] = ..., break_even_questions_tuned: _Optional[int] = ..., break_even_questions_both: _Optional[int] = ..., question_count: _Optional[int] = ..., prices: _Optional[_Mapping[str, float]] = ..., evaluation: _Optional[str] = ..., notes: _Optional[_Iterable[str]] = ...) -> None: ...

class CostPerQuestion(_message.Message):
    __slots__ = ("way", "prompt_tokens", "completion_tokens", "retrieval_seconds", "engine_seconds", "running_cost", "training_cost", "total_cost", "answer_f1")
    WAY_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    COMPLETION_TOKENS_FIELD_NUMBER: _ClassVar[int]
    RETRIEVAL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    ENGINE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    RUNNING_COST_FIELD_NUMBER: _ClassVar[int]
    TRAINING_COST_FIELD_NUMBER: _ClassVar[int]
    TOTAL_COST_FIELD_NUMBER: _ClassVar[int]
    ANSWER_F1_FIELD_NUMBER: _ClassVar[int]
    way: str
    prompt_tokens: float
    completion_tokens: float
    retrieval_seconds: float
    engine_seconds: float
    running_cost: float
    training_cost: float
    total_cost: float
    answer_f1: float
    def __init__(self, way: _Optional[str] = ..., prompt_tokens: _Optional[float] = ..., completion_tokens: _Optional[float] = ..., retrieval_seconds: _Optional[float] = ..., engine_seconds: _Optional[float] = ..., running_cost: _Optional[float] = ..., training_cost: _Optional[float] = ..., total_cost: _Optional[float] = ..., answer_f1: _Optional[float] = ...) -> None: ...
