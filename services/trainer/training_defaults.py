"""Chooses what a caller left open about a training, and says of each value where it comes from.

The numbers are in docs/decisions/0012-training.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from services.trainer.domain import Hyperparameters, Method
from services.trainer.plan import Settings
from services.trainer.token_samples import TokenSample

GIVEN = "given"
_MEASURED = "chosen for a model of 135M on 100 to 500 examples"


@dataclass(frozen=True)
class SampleCounts:
    """What the defaults depend on of the training examples."""

    examples: int
    tokens: int

    @classmethod
    def of(cls, samples: Sequence[TokenSample]) -> SampleCounts:
        """Of these examples."""
        return cls(len(samples), sum(sample.length for sample in samples))


@dataclass(frozen=True)
class Machine:
    """What there is to train on, and the highest rank the generator serves."""

    gpus: int = 0
    max_rank: int = 16


@dataclass(frozen=True)
class Resolved:
    """Settings, and for each by its name where the value comes from."""

    settings: Settings
    sources: Mapping[str, str]


@dataclass(frozen=True)
class _Of:
    learning_rate: float
    learning_rate_source: str
    weight_decay: float
    epochs: float
    """For 500 examples and more."""
    schedule: str


_BY_METHOD = {
    Method.LORA: _Of(1e-3, _MEASURED, 0.0, 1, "linear"),
    Method.REPAIR: _Of(1e-3, "as for a LoRA", 0.0, 1, "linear"),
    Method.FULL: _Of(5e-5, "TRL's and transformers' default", 0.01, 1, "linear"),
    Method.DISTILLATION: _Of(1e-3, "as for a LoRA", 0.0, 2, "linear"),
    Method.FROM_SCRATCH: _Of(6e-4, "GPT-2 small in nanoGPT", 0.1, 10, "cosine"),
}


def resolve(given: Hyperparameters, method: Method, samples: SampleCounts, machine: Machine, *, new_model: bool = False) -> Resolved:
    """Settings with nothing left open. `new_model`: the student of a distillation is a new model, not a LoRA."""
    of = _BY_METHOD[Method.FROM_SCRATCH if new_model else method]
    epochs = given.epochs if given.epochs is not None else of.epochs * _more_epochs(samples.examples)
    batch = given.batch_tokens or _batch_tokens(samples.tokens)
    steps = max(1, round(epochs * samples.tokens / batch))
    chosen: dict[str, tuple[Any, str]] = {
        "learning_rate": (of.learning_rate, of.learning_rate_source),
        "epochs": (epochs, f"{of.epochs:g} for 500 examples, up to three times as many for fewer"),
        "lora_rank": (min(16, machine.max_rank), "16 or what is served at most"),
        "batch_tokens": (batch, "what makes about 60 steps of an epoch, 1,024 to 8,192"),
        "seed": (13, "as good as any"),
        "worker_count": (max(1, machine.gpus), "one for each GPU; one on CPUs, where it uses all cores"),
        "learning_rate_schedule": (of.schedule, "the usual one for this method"),
        "warmup_share": (0.05, "3 to 10 % are usual; short runs need a few steps"),
        "weight_decay": (of.weight_decay, "none for a LoRA, which begins at zero; else that of the source of the learning rate"),
        "checkpoint_steps": (min(50, max(1, steps // 10)), "a tenth of the run, at most 50 steps"),
        "use_gpu": (machine.gpus > 0, "whether there is one"),
    }
    values, sources = {}, {}
    for field in fields(Settings):
        wish = getattr(given, field.name)
        values[field.name], sources[field.name] = (wish, GIVEN) if wish is not None else chosen[field.name]
    return Resolved(Settings(**values), sources)


def _more_epochs(examples: int) -> int:
    """Few examples are gone over more often: 2 times below 300, 3 times below 150."""
    return 3 if examples < 150 else 2 if examples < 300 else 1


def _batch_tokens(tokens: int) -> int:
    wanted = tokens / 60
    # Powers of two, so that a few examples more or less do not change how the rest is learnt.
    return next((size for size in (1024, 2048, 4096) if wanted < size * 1.5), 8192)
