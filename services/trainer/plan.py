"""What one training is to do, whole and resolved, and what came of it: the two ends of the recipe."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from services.trainer.domain import Architecture, Compression, Distillation, Method, Step


@dataclass(frozen=True)
class Settings:
    """Hyperparameters with nothing left open; see `domain.Hyperparameters`."""

    learning_rate: float
    epochs: float
    lora_rank: int
    batch_tokens: int
    seed: int
    worker_count: int
    learning_rate_schedule: Literal["linear", "cosine", "constant"]
    warmup_share: float
    weight_decay: float
    checkpoint_steps: int
    use_gpu: bool


@dataclass(frozen=True)
class Plan:
    """One training. Folders named `…_folder` are on every worker's disk, those named `…_url` are on shared storage."""

    job_id: str
    method: Method
    base_folder: str
    data_url: str
    """Holds `training.safetensors` and `validation.safetensors`."""
    output_url: str
    """Checkpoints go to `checkpoints/` below it, the result to `result/`, a merged model to `merged/`."""
    settings: Settings
    teacher_folder: str = ""
    architecture: Architecture = field(default_factory=Architecture)
    distillation: Distillation = field(default_factory=Distillation)
    compression: Compression = field(default_factory=Compression)
    merge: bool = False

    def with_settings(self, **changes: Any) -> Plan:
        """The same with other hyperparameters."""
        return replace(self, settings=replace(self.settings, **changes))

    def to_json(self) -> str:
        """As text, for processes elsewhere."""
        return json.dumps({**asdict(self), "method": self.method.value})

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """The plan in a text made by `to_json`."""
        given = json.loads(text)
        return cls(
            **{
                **given,
                "method": Method(given["method"]),
                "settings": Settings(**given["settings"]),
                "architecture": Architecture(**given["architecture"]),
                "distillation": Distillation(**given["distillation"]),
                "compression": Compression(**given["compression"]),
            }
        )


@dataclass(frozen=True)
class Outcome:
    """What came of a training. Losses are means over the tokens of responses, in nats."""

    kind: Literal["adapter", "model"]
    result_url: str
    """Folder with `adapter_model.safetensors` and `adapter_config.json`, or a whole model."""
    merged_url: str
    """Folder with the base model and the adapter merged in; empty unless asked for."""
    steps: tuple[Step, ...]
    initial_validation_loss: float
    """Before the first step (of the compressed model, for a repair)."""
    final_validation_loss: float
    final_training_loss: float
    """At the end, on at most as many training examples as there are validation examples."""
    shuffled_validation_loss: float
    """At the end, on validation examples whose responses were exchanged among each other: near `final_validation_loss` when what is to be
    written does not depend on what was asked."""
    diverged: bool
    """Stopped early, because the loss was no number or far above where it began."""
    tokens: int
    """Learnt from, over all epochs; padding does not count."""
    worker_seconds: float
    """Seconds of training, summed over the workers, of all attempts."""
    training_count: int
    validation_count: int
    original_validation_loss: float | None = None
    """For a repair: of the base model before it was compressed."""
    trainable_parameters: int = 0
