"""The training itself, straight down. By hand, on a folder with `training.safetensors` and `validation.safetensors`:

    python -m services.trainer.recipe --base .corella/models/SmolLM2-135M-Instruct --data DATA --output OUT
    python -m services.trainer.recipe --base … --data … --output … --method lora --epochs 2 --learning-rate 5e-4 --lora-rank 8
    python -m services.trainer.recipe --base … --data … --output … --method full
    python -m services.trainer.recipe --base … --data … --output … --method from_scratch --hidden-size 192 --layers 6 --teacher-layers
    python -m services.trainer.recipe --base … --data … --output … --method distillation --teacher FOLDER --temperature 2 --alpha 0.5
    python -m services.trainer.recipe --base … --data … --output … --method repair --quantize-bits 4       (or --prune-share 0.5)
    torchrun --nproc-per-node 2 -m services.trainer.recipe …                                               two workers, without Ray

The same command again goes on from the last checkpoint in OUT/checkpoints. The result is OUT/result. Services call `train` through
`ray_cluster.py`; there is no other training code than this.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

import torch

from services.trainer import checkpoints
from services.trainer.batching import epoch_steps, micro_batches, shards, step_count
from services.trainer.checkpoints import Checkpoint, flatten_adamw, restore_adamw
from services.trainer.compression import compress
from services.trainer.domain import Method, Step, TrainingFailed
from services.trainer.exchanging import exchanged
from services.trainer.losses import distillation_loss, response_loss
from services.trainer.models import Built, build, context_tokens, decoder_layers
from services.trainer.pacing import has_diverged, learning_rate, validation_steps
from services.trainer.packing import pack
from services.trainer.plan import Outcome, Plan
from services.trainer.results import write_adapter, write_model
from services.trainer.spending import Spending
from services.trainer.token_samples import TokenSample
from services.trainer.training_data import choose, loss_weight, training_and_validation
from services.trainer.training_events import Resumed, Said, Stepped, Stopped, TrainingEvent
from services.trainer.world import World

BETAS = (0.9, 0.99)
CLIP = 1.0
"""Longest gradient; a longer one is cut to it (Pascanu et al., 2013)."""
MICRO_TOKENS = 2048
"""Tokens that go through the model at once, for each worker. A LoRA on SmolLM2-135M keeps 1.7 MB for each until its way back."""


def train(
    plan: Plan,
    world: World,
    on_event: Callable[[TrainingEvent], None] = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Does one training as one of the workers of `world`, from its last checkpoint if it has one, and writes its result.

    `on_event` and `should_stop` are called by the first worker only, the latter once a step. Raises `Stopped` when it said so (the
    checkpoint is written), and `TrainingFailed` when there is nothing to train on or the plan cannot be carried out.
    """
    settings, base = plan.settings, f"{plan.output_url}/checkpoints"
    say = (lambda text: on_event(Said(text))) if world.first else (lambda text: None)
    if world.threads:
        torch.set_num_threads(world.threads)

    # Examples. Every worker reads all of them; who learns from which follows from the seed.
    training, validation = training_and_validation(plan.data_url, context_tokens(plan.base_folder), settings.seed)
    lengths = [sample.length for sample in training]
    per_epoch = step_count(lengths, settings.batch_tokens)
    total = max(1, round(settings.epochs * per_epoch))
    validate_at = validation_steps(total, settings.epochs * sum(lengths), sum(sample.length for sample in validation))

    # The model, and what of it is trained.
    built = build(plan, world.device)
    for weight in built.trained.values():
        world.take_firsts(weight.data)
    optimizer = torch.optim.AdamW(
        built.trained.values(), lr=settings.learning_rate, betas=BETAS, weight_decay=settings.weight_decay, fused=True
    )
    original: float | None = None
    parameters = sum(weight.numel() for weight in built.trained.values())
    say(f"{len(training):,} examples with {sum(lengths):,} tokens, {total:,} steps, {parameters:,} parameters trained")

    # From the last checkpoint, or from the start.
    steps: list[Step] = []
    tokens, spent = 0, Spending(plan.output_url, world)
    resumed = _resume(plan, base, world)
    if resumed is not None:
        for name, weight in built.trained.items():
            weight.data.copy_(resumed.trained[name])
        restore_adamw(optimizer, built.trained, resumed.optimizer)
        steps = [Step(**step) for step in resumed.state["steps"]]
        tokens, initial, original = resumed.state["tokens"], resumed.state["initial"], resumed.state["original"]
        spent.start(resumed.state["worker_seconds"])
        if world.first:
            on_event(Resumed(resumed.step))
    if plan.method is Method.REPAIR:
        if resumed is None:
            original = evaluate(built, validation, world)
        compress(decoder_layers(built.model).values(), plan.compression)
    if resumed is None:
        spent.start(0.0)
        initial = evaluate(built, validation, world)
        say(f"validation loss {initial:.4f} before the first step")

    # The steps.
    diverged = False
    while len(steps) < total and not diverged:
        number = len(steps) + 1
        epoch, place = divmod(number - 1, per_epoch)
        chosen = epoch_steps(lengths, settings.batch_tokens, settings.seed, epoch)[place]
        mine = [training[index] for index in shards(lengths, chosen, world.size)[world.rank]]
        rate = learning_rate(number, total, settings)
        for group in optimizer.param_groups:
            group["lr"] = rate
        began = time.monotonic()
        stop = world.first and should_stop()
        learned = learn(built, plan, mine, loss_weight(training[index] for index in chosen), world, stop)
        diverged = not (math.isfinite(learned.loss) and math.isfinite(learned.gradient_norm))
        if not diverged:
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        took = time.monotonic() - began
        step_tokens = sum(lengths[index] for index in chosen)
        step = Step(number, learned.loss, rate, step_tokens / took, learned.gradient_norm)
        if number in validate_at and not diverged:
            step = replace(step, validation_loss=evaluate(built, validation, world))
        if not diverged:
            steps, tokens = [*steps, step], tokens + step_tokens
            diverged = has_diverged(steps, initial)
        spent.note()
        if world.first and math.isfinite(step.training_loss):
            on_event(Stepped(step, total))
        if world.first and not diverged and number < total and (learned.stop or number % settings.checkpoint_steps == 0):
            state = {
                "plan": _lasting(plan), "steps": [asdict(step) for step in steps], "tokens": tokens, "initial": initial,
                "original": original, "worker_seconds": spent.worker_seconds,
            }  # fmt: skip
            trained = {name: weight.detach().cpu().contiguous() for name, weight in built.trained.items()}
            checkpoints.save(base, Checkpoint(number, trained, flatten_adamw(optimizer, built.trained), state))
        if learned.stop and number < total:
            raise Stopped(f"stopped after step {number} of {total}")

    # What came of it.
    if diverged:
        say(f"stopped after step {len(steps)}: the loss is no number, or far above where it began")
    final = (steps[-1].validation_loss if steps and not diverged else None) or evaluate(built, validation, world)
    seen = evaluate(built, choose(training, len(validation), settings.seed), world)
    shuffled = evaluate(built, exchanged(validation, settings.seed), world)
    say(f"validation loss {final:.4f} at the end, {seen:.4f} on examples seen, {shuffled:.4f} with the responses exchanged")
    result, merged = f"{plan.output_url}/result", ""
    kind = "model" if plan.method is Method.REPAIR else built.kind
    if world.first and all(bool(torch.isfinite(weight).all()) for weight in built.trained.values()):
        if kind == "adapter":
            write_adapter(built.model, plan.base_folder, result)
        else:
            write_model(built.model, plan.base_folder, result)
        if plan.method is Method.REPAIR:
            # Merged, the weights are no longer few-bit or sparse; for whoever wants that kept, the two parts lie beside it.
            write_model(built.model, plan.base_folder, f"{plan.output_url}/compressed", merge=False)
            write_adapter(built.model, plan.base_folder, f"{plan.output_url}/repair")
    if plan.merge and kind == "adapter":
        merged = f"{plan.output_url}/merged"
        if world.first:
            write_model(built.model, plan.base_folder, merged)
    return Outcome(
        kind=kind,
        result_url=result,
        merged_url=merged,
        steps=tuple(steps),
        initial_validation_loss=initial,
        final_validation_loss=final,
        final_training_loss=seen,
        shuffled_validation_loss=shuffled,
        diverged=diverged,
        tokens=tokens,
        worker_seconds=spent.worker_seconds,
        training_count=len(training),
        validation_count=len(validation),
        original_validation_loss=original,
        trainable_parameters=parameters,
    )


@dataclass(frozen=True)
class Learned:
    """What one step found, the same on every worker."""

    loss: float
    """Cross-entropy per token of a response, weighted."""
    gradient_norm: float
    """Before clipping."""
    stop: bool


def learn(built: Built, plan: Plan, mine: Sequence[TokenSample], weight: float, world: World, stop: bool) -> Learned:  # noqa: PLR0917
    """Leaves in the weights the gradient of the mean loss over all workers' tokens, clipped. `weight` is that of all their tokens; `stop`,
    said by any worker, is heard by all.

    Each worker's sum is divided by the weight of all, so adding the gradients up gives the mean, however the examples are dealt out.
    """
    entropy = torch.zeros((), device=world.device)
    for batch in micro_batches(mine, MICRO_TOKENS):
        packed = pack(batch, world.device)
        with built.arithmetic():
            if built.teacher is None:
                sums = response_loss(built.model, packed)
            else:
                sums = distillation_loss(built.model, built.teacher, packed, plan.distillation.temperature, plan.distillation.alpha)
        (sums.objective / weight).backward()
        entropy += sums.cross_entropy / weight
    weights = list(built.trained.values())
    stops = torch.tensor(float(stop), device=world.device)
    if world.size > 1:
        # One message for all gradients, the loss, and whether to stop.
        pieces = [torch.zeros_like(one) if one.grad is None else one.grad for one in weights]
        flat = world.add_up(torch.cat([*(piece.flatten() for piece in pieces), entropy.view(1), stops.view(1)]))
        for one, whole in zip(weights, flat[:-2].split([one.numel() for one in weights]), strict=True):
            one.grad = whole.view_as(one)
        entropy, stops = flat[-2], flat[-1]
    norm = torch.nn.utils.clip_grad_norm_(weights, CLIP)
    return Learned(float(entropy), float(norm), bool(stops))


def evaluate(built: Built, samples: Sequence[TokenSample], world: World) -> float:
    """Mean cross-entropy over the tokens of the responses, weighted, in nats; the workers share the examples."""
    mine = shards([sample.length for sample in samples], range(len(samples)), world.size)[world.rank]
    total = torch.zeros((), device=world.device)
    with torch.no_grad(), built.arithmetic():
        for batch in micro_batches([samples[index] for index in mine], 2 * MICRO_TOKENS):
            total += response_loss(built.model, pack(batch, world.device)).cross_entropy
    return float(world.add_up(total)) / loss_weight(samples)


def _lasting(plan: Plan) -> dict[str, object]:
    """What of a plan must be the same for a checkpoint to be of use; the number of workers, say, may change."""
    changing = {"worker_count", "use_gpu", "checkpoint_steps"}
    return {
        "method": plan.method.value,
        "settings": {name: value for name, value in asdict(plan.settings).items() if name not in changing},
        **{name: asdict(getattr(plan, name)) for name in ("architecture", "distillation", "compression")},
    }


def _resume(plan: Plan, url: str, world: World) -> Checkpoint | None:
    """The checkpoint to go on from. The first worker chooses, so that all take the same."""
    found = checkpoints.newest(url) if world.first else None
    if found is not None and found.state.get("plan") != _lasting(plan):
        found = None
    step = int(world.take_firsts(torch.tensor(found.step if found else 0, device=world.device)))
    if not step:
        return None
    return found or checkpoints.read(url, step)


def main(arguments: list[str]) -> int:
    """The command of the docstring. Returns the exit status."""
    from services.trainer.recipe_command import parse, show  # only by hand

    plan, world = parse(arguments), World.of_environment()
    try:
        outcome = train(plan, world, show)
    except TrainingFailed as error:
        print(error, file=sys.stderr)
        return 1
    if world.first:
        change = f"{outcome.initial_validation_loss:.4f} -> {outcome.final_validation_loss:.4f}"
        print(f"{outcome.kind} in {outcome.result_url}: validation loss {change}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
