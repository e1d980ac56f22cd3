"""Requests of the contract to what the service works with. Every violation of a request is collected before it is refused."""

from __future__ import annotations

import math
import re
from typing import Any

from corella.v1 import trainer_pb2 as pb
from services.chassis import page_token
from services.chassis.errors import InvalidArgument, Violation
from services.trainer.domain import (
    Architecture,
    Compression,
    CorpusSource,
    DatasetCopy,
    Distillation,
    FeedbackSource,
    GateSettings,
    Hyperparameters,
    JobSpec,
    Method,
    Schedule,
    SearchBudget,
    Source,
    Split,
    Trigger,
)
from services.trainer.scheduling import next_time

_ID = r"[0-9a-f]{16}"
_SLUG = r"[a-z](?:[a-z0-9-]{0,38}[a-z0-9])?"
_VERSION = re.compile(rf"adapters/{_SLUG}/versions/[a-z0-9][a-z0-9-]{{0,62}}")
_CORPUS = re.compile(rf"corpora/{_SLUG}")
_SCHEDULES = ("linear", "cosine", "constant")
_RANKS = (1, 2, 4, 8, 16, 32, 64, 128)
_MAX_NAME = 200
_REPAIR_MARGIN = -0.05
"""A repaired model is smaller than the one it is compared with; it need only come near."""


class Checker:
    """Collects violations."""

    def __init__(self) -> None:
        self.violations: list[Violation] = []

    def require(self, holds: bool, field: str, description: str) -> None:
        """Notes a violation unless `holds`."""
        if not holds:
            self.violations.append((field, description))

    def within(self, value: float, low: float, high: float, field: str) -> None:
        """Requires a finite number within two bounds, which count."""
        self.require(math.isfinite(value) and low <= value <= high, field, f"must be within {low:g} and {high:g}")

    def name(self, value: str, collection: str, field: str, pattern: str = _ID) -> str:
        """The id in `{collection}/{id}`."""
        match = re.fullmatch(rf"{collection}/({pattern})", value)
        self.require(match is not None, field, f"must be `{collection}/{{id}}`")
        return match.group(1) if match else ""

    def finish(self) -> None:
        """Raises `InvalidArgument` when anything was noted."""
        if self.violations:
            raise InvalidArgument.of(self.violations)


def resource_id(name: str, collection: str) -> str:
    """The id in a resource's name. Raises `InvalidArgument`."""
    check = Checker()
    found = check.name(name, collection, "name", _SLUG if collection == "schedules" else _ID)
    check.finish()
    return found


def version_name(name: str) -> str:
    """The name of a version of an adapter. Raises `InvalidArgument`."""
    if not _VERSION.fullmatch(name):
        raise InvalidArgument.of([("name", "must be `adapters/{adapter}/versions/{version}`")])
    return name


def request_id(given: str, *, required: bool = False) -> str:
    """A request id. Raises `InvalidArgument`."""
    check = Checker()
    check.require(len(given) <= 128, "request_id", "must have at most 128 characters")
    check.require(bool(given) or not required, "request_id", "must not be empty: without it a repeat would be done once more")
    check.finish()
    return given


def page(request: Any, listing: str) -> tuple[int, str]:
    """Page size and position of a list request. Raises `InvalidArgument`."""
    size, position = page_token.page_size(request.page_size), page_token.decode(request.page_token, listing)
    if not re.fullmatch(r"[0-9]*", position):
        raise InvalidArgument.of([("page_token", "is not a token of this service")])
    return size, position


def dataset_start(start: pb.DatasetStart) -> tuple[str, Split]:
    """Display name and split of a dataset. Raises `InvalidArgument`."""
    check = Checker()
    check.require(len(start.display_name) <= _MAX_NAME, "start.display_name", f"must have at most {_MAX_NAME} characters")
    split = _split(check, start.split, "start.split")
    if start.HasField("validation_share"):
        check.require(0 < start.validation_share < 1, "start.validation_share", "must be above 0 and below 1")
        split = Split(start.validation_share, split.held_out_share, split.folds, split.seed)
    request_id(start.request_id)
    check.finish()
    return start.display_name, split


def build_dataset(request: pb.BuildDatasetRequest, allowed_teachers: tuple[str, ...]) -> tuple[str, tuple[Source, ...], Split]:
    """Display name, sources and split. Raises `InvalidArgument`."""
    check = Checker()
    check.require(len(request.display_name) <= _MAX_NAME, "display_name", f"must have at most {_MAX_NAME} characters")
    check.require(1 <= len(request.sources) <= 20, "sources", "must hold 1 to 20 sources")
    sources = _sources(check, request.sources, "sources", allowed_teachers)
    split = _split(check, request.split, "split")
    request_id(request.request_id)
    check.finish()
    return request.display_name, sources, split


def job_spec(job: pb.Job, *, prefix: str = "job", needs_dataset: bool = True) -> JobSpec:
    """What a job is to do. Raises `InvalidArgument`."""
    check = Checker()
    spec = _job_spec(check, job, prefix, needs_dataset)
    check.finish()
    assert spec is not None
    return spec


def schedule(given: pb.Schedule, allowed_teachers: tuple[str, ...], now: float) -> Schedule:
    """A new schedule. Raises `InvalidArgument`."""
    check = Checker()
    schedule_id = check.name(given.name, "schedules", "schedule.name", _SLUG)
    trigger = Trigger(given.trigger.min_new_examples, " ".join(given.trigger.cron.split()), given.trigger.once)
    check.require(0 <= trigger.min_new_examples <= 1_000_000, "schedule.trigger.min_new_examples", "must be within 0 and 1,000,000")
    check.require(
        bool(trigger.min_new_examples or trigger.cron or trigger.once),
        "schedule.trigger",
        "must say when: a number of new examples, a calendar, or once",
    )
    check.require(len(given.sources) <= 20, "schedule.sources", "must hold at most 20 sources")
    sources = _sources(check, given.sources, "schedule.sources", allowed_teachers)
    split = _split(check, given.split, "schedule.split")
    spec = _job_spec(check, given.job, "schedule.job", False)
    next_run = None
    if trigger.cron:
        try:
            next_run = next_time(trigger.cron, now)
        except InvalidArgument as error:
            check.violations += [(f"schedule.{field}", what) for field, what in error.violations]
    check.finish()
    assert spec is not None
    return Schedule(schedule_id, trigger, sources, spec, now, split, next_run_time=next_run)


def _sources(check: Checker, given: Any, field: str, allowed_teachers: tuple[str, ...]) -> tuple[Source, ...]:
    sources: list[Source] = []
    for index, each in enumerate(given):
        where = f"{field}[{index}]"
        match each.WhichOneof("source"):
            case "feedback":
                sources.append(FeedbackSource(each.feedback.since.ToMicroseconds() / 1e6))
            case "corpus":
                sources.append(_corpus(check, each.corpus, f"{where}.corpus", allowed_teachers))
            case "dataset":
                sources.append(DatasetCopy(check.name(each.dataset, "datasets", f"{where}.dataset")))
            case _:
                check.require(False, where, "must name feedback, a corpus or a dataset")
    return tuple(sources)


def _corpus(check: Checker, given: pb.CorpusSource, field: str, allowed_teachers: tuple[str, ...]) -> CorpusSource:
    check.require(bool(_CORPUS.fullmatch(given.corpus)), f"{field}.corpus", "must be `corpora/{corpus}`")
    check.require(0 <= given.max_examples <= 100_000, f"{field}.max_examples", "must be within 1 and 100,000, or 0 for the default")
    share = given.unanswerable_share if given.HasField("unanswerable_share") else CorpusSource.unanswerable_share
    check.within(share, 0, 0.9, f"{field}.unanswerable_share")
    teacher = given.teacher
    # A caller must not be able to send documents to a server of their choosing.
    check.require(
        not teacher.base_url or teacher.base_url.rstrip("/") in {url.rstrip("/") for url in allowed_teachers},
        f"{field}.teacher.base_url",
        "is not among the teachers this deployment allows",
    )
    check.require(bool(teacher.model) == bool(teacher.base_url), f"{field}.teacher.model", "must be given exactly when `base_url` is")
    return CorpusSource(
        corpus=given.corpus,
        max_examples=given.max_examples or CorpusSource.max_examples,
        unanswerable_share=share,
        teacher_url=teacher.base_url,
        teacher_model=teacher.model,
        seed=given.seed if given.HasField("seed") else CorpusSource.seed,
    )


def _split(check: Checker, given: pb.Split, field: str) -> Split:
    default = Split()
    validation = given.validation_share if given.HasField("validation_share") else default.validation_share
    held_out = given.held_out_share if given.HasField("held_out_share") else default.held_out_share
    check.require(math.isfinite(validation) and 0 < validation < 1, f"{field}.validation_share", "must be above 0 and below 1")
    check.require(math.isfinite(held_out) and 0 <= held_out < 1, f"{field}.held_out_share", "must be 0 or more and below 1")
    check.require(given.folds == 0 or 2 <= given.folds <= 20, f"{field}.folds", "must be within 2 and 20, or 0 for none")
    return Split(validation, held_out, given.folds, given.seed if given.HasField("seed") else default.seed)


def _job_spec(check: Checker, job: pb.Job, prefix: str, needs_dataset: bool) -> JobSpec | None:
    before = len(check.violations)
    dataset_id = ""
    if needs_dataset:
        dataset_id = check.name(job.dataset, "datasets", f"{prefix}.dataset")
    else:
        check.require(not job.dataset, f"{prefix}.dataset", "must be empty: each run makes its own")
    check.require(len(job.display_name) <= _MAX_NAME, f"{prefix}.display_name", f"must have at most {_MAX_NAME} characters")
    check.require(job.method in pb.TrainingMethod.values(), f"{prefix}.method", "is not a method")
    method = Method(pb.TrainingMethod.Name(job.method or pb.TRAINING_METHOD_LORA).removeprefix("TRAINING_METHOD_").lower()) if (
        job.method in pb.TrainingMethod.values()
    ) else Method.LORA  # fmt: skip
    adapter_id = job.adapter_id or JobSpec.adapter_id
    check.require(bool(re.fullmatch(_SLUG, adapter_id)), f"{prefix}.adapter_id", "must be 1 to 40 of a-z, 0-9 and `-`, a letter first")
    hyperparameters = _hyperparameters(check, job.hyperparameters, f"{prefix}.hyperparameters")
    search = None
    if job.HasField("search"):
        seconds = job.search.duration.ToTimedelta().total_seconds() if job.search.HasField("duration") else 3600.0
        check.within(job.search.trials, 1, 64, f"{prefix}.search.trials")
        check.within(seconds, 1, 7 * 86_400, f"{prefix}.search.duration")
        search = SearchBudget(job.search.trials, seconds)
    check.require(0 <= job.fold < 20, f"{prefix}.fold", "must be within 0 and 19")
    check.require(not job.merge or method is Method.LORA, f"{prefix}.merge", "is for LoRA; the other methods make whole models")
    architecture = _architecture(check, job.architecture, f"{prefix}.architecture")
    distillation = _distillation(check, job.distillation, f"{prefix}.distillation")
    compression = _compression(check, job.compression, f"{prefix}.compression", method is Method.REPAIR)
    gate = _gate(check, job.gate, f"{prefix}.gate", method)
    if len(check.violations) > before:
        return None
    return JobSpec(
        dataset_id=dataset_id, display_name=job.display_name, method=method, hyperparameters=hyperparameters, adapter_id=adapter_id,
        hold=job.hold, gate=gate, search=search, architecture=architecture, distillation=distillation, compression=compression,
        fold=job.fold, merge=job.merge,
    )  # fmt: skip


def _hyperparameters(check: Checker, given: pb.Hyperparameters, field: str) -> Hyperparameters:
    values = {each.name: value for each, value in given.ListFields()}
    bounds = {
        "learning_rate": (1e-8, 10.0), "epochs": (0.01, 1000.0), "batch_tokens": (64, 10_000_000), "worker_count": (1, 1024),
        "warmup_share": (0.0, 0.9), "weight_decay": (0.0, 10.0), "checkpoint_steps": (1, 1_000_000), "seed": (0, 2**31 - 1),
    }  # fmt: skip
    for name, (low, high) in bounds.items():
        if name in values:
            check.within(values[name], low, high, f"{field}.{name}")
    if "lora_rank" in values:
        check.require(values["lora_rank"] in _RANKS, f"{field}.lora_rank", f"must be one of {', '.join(map(str, _RANKS))}")
    if "learning_rate_schedule" in values:
        check.require(
            values["learning_rate_schedule"] in _SCHEDULES, f"{field}.learning_rate_schedule", "must be linear, cosine or constant"
        )
    return Hyperparameters(**values)


def _architecture(check: Checker, given: pb.Architecture, field: str) -> Architecture:
    bounds = {
        "hidden_size": 16_384, "intermediate_size": 131_072, "layer_count": 256, "head_count": 256, "key_value_head_count": 256,
    }  # fmt: skip
    for name, high in bounds.items():
        check.within(getattr(given, name), 0, high, f"{field}.{name}")
    if given.hidden_size and given.head_count:
        check.require(given.hidden_size % given.head_count == 0, f"{field}.head_count", "must divide `hidden_size`")
    if given.head_count and given.key_value_head_count:
        check.require(given.head_count % given.key_value_head_count == 0, f"{field}.key_value_head_count", "must divide `head_count`")
    from_teacher = given.initialization == pb.INITIALIZATION_TEACHER_LAYERS
    return Architecture(
        given.hidden_size, given.intermediate_size, given.layer_count, given.head_count, given.key_value_head_count,
        "teacher_layers" if from_teacher else "random",
    )  # fmt: skip


def _distillation(check: Checker, given: pb.Distillation, field: str) -> Distillation:
    default = Distillation()
    temperature = given.temperature if given.HasField("temperature") else default.temperature
    alpha = given.alpha if given.HasField("alpha") else default.alpha
    check.within(temperature, 0.1, 100, f"{field}.temperature")
    check.within(alpha, 0, 1, f"{field}.alpha")
    return Distillation(given.teacher, temperature, alpha)


def _compression(check: Checker, given: pb.Compression, field: str, needed: bool) -> Compression:
    kind = given.WhichOneof("kind")
    check.require((kind is not None) == needed, field, "must be given for REPAIR, and only then")
    if kind == "quantize_bits":
        check.within(given.quantize_bits, 2, 8, f"{field}.quantize_bits")
        return Compression(quantize_bits=given.quantize_bits)
    if kind == "prune_share":
        check.require(0 < given.prune_share < 1, f"{field}.prune_share", "must be above 0 and below 1")
        return Compression(prune_share=given.prune_share)
    return Compression()


def _gate(check: Checker, given: pb.Gate, field: str, method: Method) -> GateSettings:
    default = GateSettings()
    repair = method is Method.REPAIR
    margin = given.margin if given.HasField("margin") else _REPAIR_MARGIN if repair else default.margin
    confidence = given.confidence if given.HasField("confidence") else 0.0 if repair else default.confidence
    check.within(margin, -1, 1, f"{field}.margin")
    check.within(confidence, 0, 1, f"{field}.confidence")
    check.within(given.max_examples, 0, 100_000, f"{field}.max_examples")
    check.require(len(given.metric) <= 64, f"{field}.metric", "must have at most 64 characters")
    for name, tolerance in given.tolerances.items():
        check.require(math.isfinite(tolerance) and tolerance >= 0, f"{field}.tolerances[{name}]", "must be 0 or more")
    return GateSettings(given.metric, margin, dict(given.tolerances), confidence, given.max_examples or default.max_examples)
