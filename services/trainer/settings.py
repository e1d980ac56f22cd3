"""Settings of the trainer, of its worker and of its beat, from `CORELLA_TRAINER_…`."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr

from services.chassis.settings import ClientSettings, Group, ServerSettings, ServiceSettings, service_config


class LimitSettings(Group):
    """How much a caller may ask for."""

    dataset_max_bytes: int = Field(256 * 2**20, gt=0, description="Largest file of examples taken.")
    dataset_max_examples: int = Field(200_000, gt=0, description="Examples in one dataset.")
    line_max_bytes: int = Field(2**20, gt=0, description="Longest line of a file of examples.")
    max_queued_jobs: int = Field(20, ge=0, description="Jobs that may wait; beyond them QUEUE_FULL.")
    max_log_lines: int = Field(5000, gt=0, description="Lines of a job's log that are kept, the last ones.")


class RunningSettings(Group):
    """How jobs are run."""

    max_running_jobs: int = Field(1, gt=0, description="Jobs that run at the same time, over all workers.")
    lease_seconds: float = Field(20.0, gt=1, description="A worker that shows no sign of life for so long has lost its job.")
    max_running_builds: int = Field(2, gt=0, description="Datasets that are built at the same time, over all workers.")
    stall_seconds: float = Field(120.0, gt=1, description="A job without a sign of life for so long is STALLED.")
    hang_seconds: float = Field(900.0, gt=1, description="A driver without a sign of life for so long is ended, and its job resumed.")
    max_losses: int = Field(3, gt=0, description="A job that has lost so many drivers has FAILED.")
    niceness: int = Field(10, ge=0, le=19, description="How much training yields to serving on the same machine (Unix niceness).")
    schedule_seconds: float = Field(30.0, gt=0, description="How often the beat looks whether a schedule is due.")
    keep_jobs_days: float = Field(365.0, gt=0, description="How long jobs and evaluations are remembered after they ended.")


class RaySettings(Group):
    """The cluster that trains."""

    address: str = Field("", description="`ray://host:10001` or `host:6379`. Empty: a local one for the time of a job.")
    local_cpus: int = Field(0, ge=0, description="CPUs of a local one. 0: all of this machine.")
    wait_seconds: float = Field(3600.0, gt=0, description="Longest wait for room in the cluster.")
    worker_failures: int = Field(
        3, ge=0, description="Training workers that may die in one attempt; each time it resumes from the checkpoint."
    )


class TeacherSettings(Group):
    """Who may write examples beside the generator itself."""

    allowed_urls: tuple[str, ...] = Field((), description="Base URLs of OpenAI-compatible servers a caller may name.")
    api_key_file: Path | None = Field(None, description="File with the key that is sent to them.")
    timeout_seconds: float = Field(60.0, gt=0, description="Longest wait for one text.")


class GateDefaults(Group):
    """How a candidate is judged."""

    questions_at_once: int = Field(4, gt=0, description="Questions asked side by side.")
    cost_questions: int = Field(
        20, ge=0, description="Questions asked one at a time, and without passages too, to measure what each way of answering costs."
    )
    scored_examples: int = Field(20, ge=0, description="Held-out examples whose gold answer is scored; each costs a reading of its prompt.")


class PriceSettings(Group):
    """What the machines cost. With the defaults money is CPU-seconds, one for each core and second."""

    currency: str = Field("CPU-seconds", description="What the prices are in.")
    engine_second: float | None = Field(None, ge=0, description="One second of the engine. Empty: the number of cores of this machine.")
    retrieval_second: float = Field(1.0, ge=0, description="One second of retrieval.")
    training_second: float | None = Field(
        None, ge=0, description="One second of one training worker. Empty: the number of cores of this machine, shared by its workers."
    )


class TrainerSettings(ServiceSettings):
    """What the trainer needs to know."""

    model_config = service_config("TRAINER")

    server: ServerSettings = ServerSettings(port=15054)
    generator: ClientSettings = ClientSettings(address="127.0.0.1:15053", timeout_seconds=120)
    retriever: ClientSettings = ClientSettings(address="127.0.0.1:15052")
    redis_url: SecretStr = Field(SecretStr("redis://127.0.0.1:15061/0"), description="Records of jobs and datasets, queue, locks.")
    shelf_url: str = Field(
        ".corella/shelf",
        description="Where datasets, checkpoints, reports and adapters lie: a path or any fsspec URL. "
        "Shared with Ray's workers and the generators.",
    )
    base_model_folder: Path = Field(
        Path(".corella/models/SmolLM2-135M-Instruct"),
        description="Hugging Face folder of the model to tune, safetensors only. On Ray's workers too.",
    )
    limits: LimitSettings = LimitSettings()
    running: RunningSettings = RunningSettings()
    ray: RaySettings = RaySettings()
    teacher: TeacherSettings = TeacherSettings()
    gate: GateDefaults = GateDefaults()
    prices: PriceSettings = PriceSettings()
