"""Settings of the embedder: `CORELLA_EMBEDDER_…`, such as `CORELLA_EMBEDDER_MODEL__FOLDER=/models/bge-small-en-v1.5`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from services.chassis.settings import Group, ServerSettings, ServiceSettings, service_config


class ModelSettings(Group):
    """The embedding model and what it runs on."""

    folder: Path = Field(
        Path(".corella/models/all-MiniLM-L6-v2"), description="Folder in sentence-transformers' layout, weights as safetensors."
    )
    max_tokens: int | None = Field(
        None, gt=2, description="Longest text taken, in tokens, special tokens included. Empty: what the model's own files say."
    )


class RerankerSettings(Group):
    """The reranking model. None while `folder` is empty."""

    folder: Path | None = Field(None, description="Folder of a cross-encoder with one output, weights as safetensors.")
    max_tokens: int | None = Field(
        None,
        gt=3,
        description="Longest query and text together, in tokens, special tokens included. Empty: what the model's own files say.",
    )


class ComputeSettings(Group):
    """What the models run on."""

    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="`auto`: CUDA where there is a GPU, else the CPU.")
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="`auto`: bfloat16 where the hardware multiplies it, else float32. Cosine between the two: above 0.9999."
    )
    threads: int = Field(0, ge=0, description="CPU threads of one computation. 0: as many as the process has cores.")


class BatchingSettings(Group):
    """How the calls of many clients are computed together."""

    batch_tokens: int = Field(
        0, ge=0, description="Tokens computed at once; what a query may have to wait for. 0: 1,024 on a CPU, 16,384 on a GPU."
    )
    queue_tokens: int = Field(
        262_144, gt=0, description="Tokens that may wait. Calls beyond that are refused; streams wait from half of it on."
    )


class EmbedderSettings(ServiceSettings):
    """All settings of the embedder."""

    model_config = service_config("EMBEDDER")

    server: ServerSettings = ServerSettings(port=15051)
    model: ModelSettings = ModelSettings()
    reranker: RerankerSettings = RerankerSettings()
    compute: ComputeSettings = ComputeSettings()
    batching: BatchingSettings = BatchingSettings()
