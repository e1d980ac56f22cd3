"""What the service works with, as messages of the contract."""

from __future__ import annotations

from dataclasses import fields

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2

from corella.errors import DOMAIN
from corella.v1 import trainer_pb2 as pb
from services.trainer import domain


def dataset(given: domain.Dataset) -> pb.Dataset:
    """A dataset."""
    return pb.Dataset(
        name=f"datasets/{given.id}",
        display_name=given.display_name,
        training_count=given.training_count,
        validation_count=given.validation_count,
        held_out_count=given.held_out_count,
        duplicate_count=given.duplicate_count,
        warnings=given.warnings,
        fingerprint=given.fingerprint,
        create_time=timestamp(given.create_time),
        state=f"DATASET_STATE_{given.state.name}",
        split=split(given.split),
        corner_case_count=given.corner_case_count,
        dropped_count=given.dropped_count,
        done_count=given.done_count,
        total_count=given.total_count,
        error=_status(given.error),
    )


def split(given: domain.Split) -> pb.Split:
    """How examples are split."""
    return pb.Split(validation_share=given.validation_share, held_out_share=given.held_out_share, folds=given.folds, seed=given.seed)


def job(given: domain.Job) -> pb.Job:
    """A job as it stands."""
    spec = given.spec
    search = None
    if spec.search is not None:
        search = pb.SearchBudget(trials=spec.search.trials, duration=_duration(spec.search.seconds))
    compression = pb.Compression()
    if spec.compression.quantize_bits:
        compression.quantize_bits = spec.compression.quantize_bits
    elif spec.compression.prune_share:
        compression.prune_share = spec.compression.prune_share
    message = pb.Job(
        name=f"jobs/{given.id}",
        display_name=spec.display_name,
        dataset=f"datasets/{spec.dataset_id}" if spec.dataset_id else "",
        method=f"TRAINING_METHOD_{spec.method.name}",
        hyperparameters=_hyperparameters(spec.hyperparameters),
        state=f"JOB_STATE_{given.state.name}",
        progress=_progress(given.progress),
        error=_status(given.error),
        adapter=given.adapter,
        evaluation=f"evaluations/{given.evaluation_id}" if given.evaluation_id else "",
        create_time=timestamp(given.create_time),
        start_time=timestamp(given.start_time),
        end_time=timestamp(given.end_time),
        adapter_id=spec.adapter_id,
        hold=spec.hold,
        gate=pb.Gate(
            metric=spec.gate.metric,
            margin=spec.gate.margin,
            tolerances=dict(spec.gate.tolerances),
            confidence=spec.gate.confidence,
            max_examples=spec.gate.max_examples,
        ),
        search=search,
        fold=spec.fold,
        merge=spec.merge,
        model_uri=given.model_uri,
        message=given.message,
        queue_position=given.queue_position,
        attempt_count=given.attempt_count,
        schedule=f"schedules/{given.schedule_id}" if given.schedule_id else "",
        trace_id=given.trace_id,
        usage=usage(given.usage),
    )
    if spec.method in {domain.Method.FROM_SCRATCH, domain.Method.DISTILLATION}:
        message.architecture.CopyFrom(_architecture(spec.architecture))
    if spec.method is domain.Method.DISTILLATION:
        given_distillation = spec.distillation
        message.distillation.CopyFrom(
            pb.Distillation(teacher=given_distillation.teacher, temperature=given_distillation.temperature, alpha=given_distillation.alpha)
        )
    if spec.method is domain.Method.REPAIR:
        message.compression.CopyFrom(compression)
    return message


def step(given: domain.Step) -> pb.JobStep:
    """One optimiser step."""
    return pb.JobStep(
        step=given.step,
        training_loss=given.training_loss,
        validation_loss=given.validation_loss,
        learning_rate=given.learning_rate,
        tokens_per_second=given.tokens_per_second,
        gradient_norm=given.gradient_norm,
    )


def usage(given: domain.TrainingUsage) -> pb.TrainingUsage:
    """What a training has used."""
    return pb.TrainingUsage(
        training_seconds=given.training_seconds,
        evaluation_seconds=given.evaluation_seconds,
        tokens=given.tokens,
        preparation_seconds=given.preparation_seconds,
    )


def evaluation(given: domain.Evaluation) -> pb.Evaluation:
    """A judgement."""
    return pb.Evaluation(
        name=f"evaluations/{given.id}",
        adapter=given.adapter,
        accepted=given.accepted,
        reasons=given.reasons,
        metrics=[_comparison(each) for each in given.metrics],
        create_time=timestamp(given.create_time),
        job=f"jobs/{given.job_id}",
        cause=f"REJECTION_CAUSE_{given.cause.name}" if given.cause else "REJECTION_CAUSE_UNSPECIFIED",
        metric=given.metric,
        example_count=given.example_count,
        canary_shift=given.canary_shift,
        serving=given.serving,
        corner_case_metrics=[_comparison(each) for each in given.corner_case_metrics],
    )


def version(given: domain.AdapterVersion) -> pb.AdapterVersion:
    """One version of an adapter."""
    return pb.AdapterVersion(
        name=given.name,
        digest=given.digest,
        accepted=given.accepted,
        serving=given.serving,
        job=f"jobs/{given.job_id}",
        create_time=timestamp(given.create_time),
        rank=given.rank,
        base_fingerprint=given.base_fingerprint,
        size_bytes=given.size_bytes,
    )


def schedule(given: domain.Schedule) -> pb.Schedule:
    """A schedule."""
    described = domain.Job("", given.spec, domain.JobState.QUEUED, 0.0)
    wanted = job(described)
    for output in ("name", "state", "create_time", "progress", "usage", "dataset"):
        wanted.ClearField(output)  # type: ignore[arg-type]
    return pb.Schedule(
        name=f"schedules/{given.id}",
        trigger=pb.Trigger(min_new_examples=given.trigger.min_new_examples, cron=given.trigger.cron, once=given.trigger.once),
        sources=[_source(each) for each in given.sources],
        split=split(given.split),
        job=wanted,
        last_run_time=timestamp(given.last_run_time),
        last_job=f"jobs/{given.last_job_id}" if given.last_job_id else "",
        next_run_time=timestamp(None if given.done else given.next_run_time),
        new_example_count=given.new_example_count,
        run_count=given.run_count,
        done=given.done,
    )


def timestamp(seconds: float | None) -> Timestamp | None:
    """A moment, from seconds since 1970."""
    if seconds is None:
        return None
    moment = Timestamp()
    moment.FromMicroseconds(round(seconds * 1e6))
    return moment


def _duration(seconds: float | None) -> Duration | None:
    if seconds is None:
        return None
    duration = Duration()
    duration.FromMicroseconds(round(seconds * 1e6))
    return duration


def _status(failure: domain.Failure | None) -> status_pb2.Status | None:
    if failure is None:
        return None
    status = status_pb2.Status(code=failure.code, message=failure.message)
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=failure.reason, domain=DOMAIN))
    return status


def _progress(given: domain.Progress) -> pb.JobProgress:
    return pb.JobProgress(
        step=given.step,
        total_steps=given.total_steps,
        training_loss=given.training_loss,
        validation_loss=given.validation_loss,
        tokens_per_second=given.tokens_per_second,
        time_left=_duration(given.seconds_left),
        phase=given.phase,
        done_count=given.done_count,
        total_count=given.total_count,
    )


def _hyperparameters(given: domain.Hyperparameters) -> pb.Hyperparameters:
    values = {each.name: getattr(given, each.name) for each in fields(given)}
    return pb.Hyperparameters(**{name: value for name, value in values.items() if value is not None})


def _architecture(given: domain.Architecture) -> pb.Architecture:
    from_teacher = given.initialization == "teacher_layers"
    return pb.Architecture(
        hidden_size=given.hidden_size,
        intermediate_size=given.intermediate_size,
        layer_count=given.layer_count,
        head_count=given.head_count,
        key_value_head_count=given.key_value_head_count,
        initialization=pb.INITIALIZATION_TEACHER_LAYERS if from_teacher else pb.INITIALIZATION_RANDOM,
    )


def _comparison(given: domain.MetricComparison) -> pb.MetricComparison:
    return pb.MetricComparison(**{each.name: getattr(given, each.name) for each in fields(given)})


def _source(given: domain.Source) -> pb.DatasetSource:
    match given:
        case domain.FeedbackSource():
            return pb.DatasetSource(feedback=pb.FeedbackSource(since=timestamp(given.since) if given.since else None))
        case domain.DatasetCopy():
            return pb.DatasetSource(dataset=f"datasets/{given.dataset_id}")
        case domain.CorpusSource():
            return pb.DatasetSource(
                corpus=pb.CorpusSource(
                    corpus=given.corpus,
                    max_examples=given.max_examples,
                    unanswerable_share=given.unanswerable_share,
                    teacher=pb.Teacher(base_url=given.teacher_url, model=given.teacher_model),
                    seed=given.seed,
                )
            )
