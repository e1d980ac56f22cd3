"""Names the most likely cause of a rejection, with the figures that speak for it, and where to look for something better.

The rules are asked in order and the first that holds is the cause: what makes the later figures meaningless comes first (a run that blew
up, examples that contradict each other), what they show in detail comes after, and what remains when nothing is wrong with the training
comes last. Losses are means over tokens of responses, in nats.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from services.trainer.canary import LEAST_SHIFT
from services.trainer.curves import falls_at_the_end, gradient_growth, lowest_validation_loss
from services.trainer.domain import Cause
from services.trainer.evidence import Evidence
from services.trainer.gate import LEAST_EXAMPLES

Direction = Literal["lower", "higher", "any"]
"""Where a search should look: less learning (rate, passes), more of it (rate, passes, rank), or both."""

RISEN = 1.2
"""A validation loss a fifth above where it began, with seen examples no better: not overfitting, which lowers the training loss."""
GRADIENT_GROWTH = 10.0
"""Gradient norms fall or stay as a loss falls; ten times what they were early on is a run that gets away."""
HARDLY_MOVED = 0.03
"""A share of the initial loss; less than this could be the order of the batches. A sensible rate takes off many times as much."""
ENOUGH_STEPS = 20
"""Optimiser steps from which a loss that does not move says something about the rate and not about the number of steps."""
ASSOCIATION = 0.05
"""A share of the initial loss. Exchanging the responses of examples that belong together costs far more than 5 % of it; where it costs
nothing, what is to be written does not depend on what is asked."""
LEARNT_BY_HEART = 0.3
"""A share of the initial loss. Below, the response is known whatever is asked (one fixed text, say), and exchanging proves nothing."""
NO_LANGUAGE = 6.0
"""Nats per token, a choice among 400 equally likely tokens. A model that knows no language begins above; one that does begins at 1 to 3."""
LITTLE_LANGUAGE = 3.5
"""Nats per token. Above, a model that began without a language has learnt which tokens are common and little of what follows what."""
UNSUPPORTED = 0.5
"""Share of answers that nothing in their passages supports."""
LEAK = 0.05
"""Near-duplicates of training examples, as a share of those validated and judged on."""
RISEN_FROM_LOWEST = 1.05
"""Validation loss at the end over its lowest: 5 % is more than it wavers between two measurements."""
SEEN_BELOW_UNSEEN = 0.6
"""Loss on seen examples over loss on unseen ones. Seen ones are always better; not by two fifths unless they are known by heart."""
FEW_EXAMPLES = 50
"""Below it, more examples help more than any setting; providers of tuning advise 50 to 100 as a beginning."""
SMALL_RANK = 4
"""Ranks above are what adapters commonly have, and seldom what limits them (Hu et al., LoRA, 2021, section 7.2)."""
STAYED_HIGH = 0.7
"""Final training loss over the initial validation loss, in a plateau: there was room to learn, and the adapter did not take it."""
LEARNT = 0.1
"""A share of the initial loss by which unseen examples got better: what the examples teach was learnt."""
MOSTLY_REFUSED = 0.5
"""Share of answerable questions the candidate does not answer."""


@dataclass(frozen=True)
class Diagnosis:
    """`evidence` and `advice` are sentences."""

    cause: Cause
    evidence: tuple[str, ...]
    direction: Direction
    advice: str


_ADVICE: dict[Cause, tuple[Direction, str]] = {
    Cause.TOO_LITTLE_DATA: ("lower", "Add examples, several for each concept; until then fewer passes and a lower rate do the least harm."),
    Cause.INCONSISTENT_DATA: (
        "any",
        "Look through the examples: does each answer belong to its question, and do its passages hold it? No setting makes up for that.",
    ),
    Cause.LEAKING_DATA: (
        "any",
        "Give examples that belong together one `group`, or hold others back, so that what is judged was never seen.",
    ),
    Cause.UNDERFITTING: ("higher", "Train longer (more epochs) or with a higher learning rate."),
    Cause.OVERFITTING: ("lower", "Fewer epochs, a lower learning rate or a smaller rank; or more examples."),
    Cause.LEARNING_RATE_TOO_LOW: ("higher", "Raise the learning rate, by a factor of 3 to 10 at first."),
    Cause.LEARNING_RATE_TOO_HIGH: ("lower", "Lower the learning rate, by a factor of 3 to 10 at first."),
    Cause.RANK_TOO_SMALL: ("higher", "Raise the rank of the adapter."),
    Cause.WRONG_OBJECTIVE: (
        "any",
        "Bring the examples closer to what is judged: the same form of question, passages with distractors, questions without an answer, "
        "answers as long as the wanted ones.",
    ),
    Cause.NO_EFFECT: ("any", "See whether the adapter fits the model that is served: its base, its target layers, its scale."),
}


def diagnose(evidence: Evidence) -> Diagnosis:
    """The most likely cause. There always is one: when no rule holds the training was too little to tell."""
    for cause, rule in _RULES:
        if sentences := rule(evidence):
            return _of(cause, sentences)
    return _of(Cause.UNDERFITTING, [_fall_sentence(evidence), "Nothing else stands out: it learnt something, and not enough to show."])


def _of(cause: Cause, sentences: Sequence[str]) -> Diagnosis:
    direction, advice = _ADVICE[cause]
    return Diagnosis(cause, tuple(sentences), direction, advice)


# The rules: sentences when it holds, nothing when it does not


def _blew_up(e: Evidence) -> list[str]:
    outcome = e.outcome
    rate = f"The learning rate was {e.settings.learning_rate:g}."
    if outcome.diverged or not math.isfinite(outcome.final_validation_loss):
        return [f"Training was stopped after {len(outcome.steps)} steps, because the loss was no number or far above where it began.", rate]
    growth = gradient_growth(outcome.steps)
    if e.fall < 0 and growth >= GRADIENT_GROWTH:
        return [_fall_sentence(e), f"Gradient norms grew to {growth:.0f} times what they were at first.", rate]
    seen_no_better = outcome.final_training_loss >= 0.9 * outcome.initial_validation_loss
    if outcome.final_validation_loss > RISEN * outcome.initial_validation_loss and seen_no_better:
        return [_fall_sentence(e), f"The examples it was trained on are no better either: {outcome.final_training_loss:.3f}.", rate]
    return []


def _no_effect(e: Evidence) -> list[str]:
    if e.canary_shift is None or e.canary_shift > LEAST_SHIFT or (_hardly_moved(e) and len(e.outcome.steps) >= ENOUGH_STEPS):
        return []
    return [
        f"With the adapter no canary text became more or less probable by more than {e.canary_shift:.1g} nats per token; {LEAST_SHIFT:g} "
        "would be an effect.",
        _fall_sentence(e),
    ]


def _no_language(e: Evidence) -> list[str]:
    """A new model in its first steps writes the same whatever is asked, which says nothing of the examples yet."""
    outcome = e.outcome
    if outcome.initial_validation_loss < NO_LANGUAGE or outcome.final_validation_loss < LITTLE_LANGUAGE:
        return []
    return [
        _fall_sentence(e),
        f"It began as a new model that knows no language, and {outcome.tokens:,} tokens are too few to learn one.",
    ]


def _inconsistent(e: Evidence) -> list[str]:
    outcome = e.outcome
    gap = (outcome.shuffled_validation_loss - outcome.final_validation_loss) / max(outcome.initial_validation_loss, 1e-9)
    by_heart = outcome.final_validation_loss < LEARNT_BY_HEART * outcome.initial_validation_loss
    sentences = []
    if outcome.validation_count >= 4 and gap < ASSOCIATION and not by_heart:
        sentences.append(
            "Responses do not depend on what is asked: exchanged among each other they have a loss of "
            f"{outcome.shuffled_validation_loss:.3f}, where they belong {outcome.final_validation_loss:.3f}; a difference of {gap:+.1%} of "
            f"the initial loss, and answers that belong to their questions differ by more than {ASSOCIATION:.0%}."
        )
    if e.unsupported_share > UNSUPPORTED:
        sentences.append(
            f"Nothing in the passages supports {e.unsupported_share:.0%} of the answers to train on; {e.kept_unsupported_count} such "
            "answers were trained on."
        )
    return sentences


def _leaking(e: Evidence) -> list[str]:
    unseen = e.outcome.validation_count + e.held_out_count
    if not e.leak_count or e.leak_count < LEAK * unseen:
        return []
    return [
        f"{e.leak_count} of the {unseen} examples to validate and judge on are near-duplicates of training examples, so their "
        "figures flatter.",
    ]


def _too_few_to_judge(e: Evidence) -> list[str]:
    if "examples" not in e.decision.failed:
        return []
    counts = [each.comparison.count for each in e.compared if each.comparison.metric == e.decision.metric]
    return [f"{counts[0] if counts else 0} held-out examples tell of `{e.decision.metric}`; the gate needs {LEAST_EXAMPLES}."]


def _memorised(e: Evidence) -> list[str]:
    """Seen examples far better than unseen ones, and these no longer getting better."""
    outcome = e.outcome
    lowest = lowest_validation_loss(outcome)
    risen = outcome.final_validation_loss > RISEN_FROM_LOWEST * lowest
    if outcome.final_training_loss >= SEEN_BELOW_UNSEEN * outcome.final_validation_loss or not (risen or e.fall < HARDLY_MOVED):
        return []
    then = f", {outcome.final_validation_loss / lowest - 1:.0%} above its lowest ({lowest:.3f})" if risen else ""
    return [
        f"At the end the loss is {outcome.final_training_loss:.3f} on seen examples and {outcome.final_validation_loss:.3f} on unseen "
        f"ones{then}.",
        f"It went over {e.training_example_count} examples {e.settings.epochs:g} times.",
    ]


def _memorised_few(e: Evidence) -> list[str]:
    return _memorised(e) if e.training_example_count < FEW_EXAMPLES else []


def _rate_too_low(e: Evidence) -> list[str]:
    if not _hardly_moved(e) or len(e.outcome.steps) < ENOUGH_STEPS:
        return []
    return [
        _fall_sentence(e),
        f"{len(e.outcome.steps)} steps with a learning rate of {e.settings.learning_rate:g} should have moved it by more "
        f"than {HARDLY_MOVED:.0%}.",
    ]


def _underfitting(e: Evidence) -> list[str]:
    if len(e.outcome.steps) < ENOUGH_STEPS and e.fall < LEARNT:
        return [_fall_sentence(e), f"It had {len(e.outcome.steps)} steps; below {ENOUGH_STEPS} little can be learnt."]
    still = falls_at_the_end(e.outcome.steps, e.outcome.initial_validation_loss)
    if still is None:
        return []
    return [_fall_sentence(e), f"It was still falling when training ended: {still}."]


def _rank_too_small(e: Evidence) -> list[str]:
    outcome = e.outcome
    if outcome.kind != "adapter" or e.settings.lora_rank > SMALL_RANK:
        return []
    if outcome.final_training_loss < STAYED_HIGH * outcome.initial_validation_loss:
        return []
    return [
        f"The loss levelled off at {outcome.final_training_loss:.3f} even on the examples it was trained on, from "
        f"{outcome.initial_validation_loss:.3f}; with rank {e.settings.lora_rank} there were few parameters to learn with"
        + (f" ({outcome.trainable_parameters:,})." if outcome.trainable_parameters else "."),
    ]


def _few(e: Evidence) -> list[str]:
    if e.training_example_count >= FEW_EXAMPLES:
        return []
    return [f"There were {e.training_example_count} examples to train on; below {FEW_EXAMPLES} more of them help most.", _fall_sentence(e)]


def _too_few_to_be_sure(e: Evidence) -> list[str]:
    if set(e.decision.failed) != {"confidence"}:
        return []
    one = next(each for each in e.compared if each.comparison.metric == e.decision.metric)
    return [
        f"It is better by {one.gain:+.3f} in `{e.decision.metric}`, and on {one.comparison.count} held-out examples that may be chance "
        f"(probability {one.probability_better:.3f} of being better): more held-out examples would tell.",
    ]


def _wrong_objective(e: Evidence) -> list[str]:
    if e.fall < LEARNT:
        return []
    sentences = [f"What the examples teach was learnt. {_fall_sentence(e)}"]
    deciding = next((each for each in e.compared if each.comparison.metric == e.decision.metric), None)
    if deciding is not None and {"margin", "confidence", "base"} & set(e.decision.failed):
        one = deciding.comparison
        sentences.append(f"The answers did not follow: `{one.metric}` is {one.candidate:.3f}, against {one.serving:.3f} of what serves.")
    if e.decision.broken_guards:
        sentences.append(f"It came at the cost of {', '.join(f'`{name}`' for name in e.decision.broken_guards)}.")
    if e.refused_share > MOSTLY_REFUSED:
        sentences.append(f"It does not answer {e.refused_share:.0%} of the questions that have an answer.")
    return sentences


_RULES: tuple[tuple[Cause, Callable[[Evidence], list[str]]], ...] = (
    (Cause.LEARNING_RATE_TOO_HIGH, _blew_up),
    (Cause.NO_EFFECT, _no_effect),
    (Cause.UNDERFITTING, _no_language),
    (Cause.INCONSISTENT_DATA, _inconsistent),
    (Cause.LEAKING_DATA, _leaking),
    (Cause.TOO_LITTLE_DATA, _too_few_to_judge),
    (Cause.TOO_LITTLE_DATA, _memorised_few),
    (Cause.OVERFITTING, _memorised),
    (Cause.LEARNING_RATE_TOO_LOW, _rate_too_low),
    (Cause.UNDERFITTING, _underfitting),
    (Cause.RANK_TOO_SMALL, _rank_too_small),
    (Cause.TOO_LITTLE_DATA, _few),
    (Cause.TOO_LITTLE_DATA, _too_few_to_be_sure),
    (Cause.WRONG_OBJECTIVE, _wrong_objective),
)


def _hardly_moved(e: Evidence) -> bool:
    """Neither unseen nor seen examples; unseen ones alone also stand still when it learns by heart."""
    seen_fall = 1 - e.outcome.final_training_loss / max(e.outcome.initial_validation_loss, 1e-9)
    return abs(e.fall) < HARDLY_MOVED and seen_fall < 3 * HARDLY_MOVED


def _fall_sentence(e: Evidence) -> str:
    outcome = e.outcome
    way = "fell" if e.fall > 0 else "rose" if e.fall < 0 else "stayed"
    return (
        f"The loss on unseen examples {way} from {outcome.initial_validation_loss:.3f} to {outcome.final_validation_loss:.3f} "
        f"({-e.fall:+.1%})."
    )
