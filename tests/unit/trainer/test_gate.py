"""From answers to metrics, to differences, to a verdict."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sacrebleu.metrics import BLEU

from services.trainer.asked import Asked, Label, judge
from services.trainer.bootstrap import Median, Ratio, compare, draws
from services.trainer.domain import Example, GateSettings, Message, MetricComparison, StyleCheck
from services.trainer.gate import DEFAULT_TOLERANCES, LEAST_EXAMPLES, decide, default_metric
from services.trainer.gate_metrics import METRICS, Compared, compare_versions
from services.trainer.ports import CitedText
from services.trainer.sacrebleu_measure import corpus_bleu

RIGHT, WRONG = "https://docs.example/a.md", "https://docs.example/b.md"


def question(id: str, answerable: bool = True) -> Example:
    return Example(id=id, question="How long?", answer="36 months", answers=("three years",), sources=("a.md",), answerable=answerable)


def answered(example: Example, version: Label, text: str, *uris: str) -> Asked:
    if text == "":
        return judge(example, version, "served", CitedText("I do not know.", True))
    return judge(example, version, "served", CitedText(text, False, tuple((1, uri, "") for uri in uris)))


def by_metric(compared: tuple[Compared, ...]) -> dict[str, MetricComparison]:
    return {each.comparison.metric: each.comparison for each in compared}


# Metrics


def test_metrics_of_questions_are_those_of_their_definitions():
    examples = [question("a"), question("b"), question("c"), question("d", False), question("e", False)]
    a, b, c, d, e = examples
    base = [answered(each, "base", "nothing") for each in examples]
    candidate = [
        answered(a, "candidate", "36 months [1].", RIGHT, WRONG),
        answered(b, "candidate", "It is three years [1].", RIGHT),
        answered(c, "candidate", ""),
        answered(d, "candidate", ""),
        answered(e, "candidate", "12 months", WRONG),
    ]
    found = {name: one.candidate for name, one in by_metric(compare_versions(examples, [*base, *candidate])).items()}
    assert found["answer_f1"] == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert found["exact_match"] == pytest.approx(1 / 3)
    assert found["contains_gold"] == pytest.approx(2 / 3)
    assert found["citation_precision"] == pytest.approx(2 / 3), "citations under answerable questions only"
    assert found["citation_recall"] == pytest.approx(2 / 3)
    assert found["refusal_precision"] == 0.5
    assert found["refusal_recall"] == 0.5
    assert found["refusal_f1"] == 0.5


def test_what_cannot_be_measured_is_left_out():
    examples = [question(f"q{i}") for i in range(3)]
    asked = [answered(each, version, "36 months") for each in examples for version in ("base", "candidate")]  # type: ignore[arg-type]
    names = set(by_metric(compare_versions(examples, asked)))
    assert names == {"answer_f1", "exact_match", "contains_gold", "citation_recall", "latency_seconds", "completion_tokens"}


def test_without_answers_of_another_version_the_base_model_serves():
    examples = [question("a")]
    one = by_metric(compare_versions(examples, [answered(examples[0], "base", "x"), answered(examples[0], "candidate", "36 months")]))
    assert (one["answer_f1"].base, one["answer_f1"].serving, one["answer_f1"].candidate) == (0, 0, 1)
    served = [answered(examples[0], "serving", "three years")]
    asked = [answered(examples[0], "base", "x"), *served, answered(examples[0], "candidate", "36 months")]
    assert by_metric(compare_versions(examples, asked))["answer_f1"].serving == 1


def test_an_example_that_one_version_did_not_answer_does_not_count():
    examples = [question("a"), question("b")]
    asked = [answered(each, "base", "36 months") for each in examples] + [answered(examples[0], "candidate", "36 months")]
    assert by_metric(compare_versions(examples, asked))["answer_f1"].count == 1


def test_prompts_have_texts_styles_and_losses():
    style = StyleCheck(required_phrases=("regards",))
    example = Example(id="p", messages=(Message("user", "Write."),), answer="With kind regards from us", style=style)
    base = answered(example, "base", "Bye").with_score(-20.0, 10)
    candidate = answered(example, "candidate", "With kind regards from us").with_score(-5.0, 10)
    one = by_metric(compare_versions([example], [base, candidate]))
    assert (one["text_f1"].base, one["text_f1"].candidate) == (0, 1)
    assert one["text_bleu"].candidate == pytest.approx(1)
    assert one["style_match"].candidate == 1
    assert (one["response_loss"].base, one["response_loss"].candidate, one["response_loss"].lower_is_better) == (2.0, 0.5, True)
    assert "answer_f1" not in one


def test_bleu_is_sacrebleus_over_the_corpus_and_all_references():
    texts = ["the cat sat on the mat today", "a dog barked loudly at me", "hello"]
    references = [["the cat sat on a mat today", "cat on the mat"], ["a dog barked at me"], ["hello there"]]
    streams = [[each[0] for each in references], [each[1] if len(each) > 1 else None for each in references]]
    ours = corpus_bleu(texts, references).of(np.ones((1, 3)))[0]
    assert ours == pytest.approx(BLEU().corpus_score(texts, streams).score / 100)


def test_every_metric_says_what_it_is():
    assert all(metric.about for metric in METRICS.values())
    assert set(DEFAULT_TOLERANCES) <= set(METRICS)


# The bootstrap


def test_draws_have_as_many_examples_as_there_are_and_repeat():
    drawn = draws(7, 50)
    assert drawn.shape == (50, 7)
    assert (drawn.sum(axis=1) == 7).all()
    assert (drawn == draws(7, 50)).all()


def test_a_clear_difference_is_sure_and_none_is_not():
    before, after = Ratio(np.zeros(30), np.ones(30)), Ratio(np.full(30, 0.5), np.ones(30))
    found = compare(before, after, 30)
    assert (found.low, found.high, found.probability_higher) == (0.5, 0.5, 1.0)
    same = compare(after, after, 30)
    assert (same.low, same.high, same.probability_higher, same.probability_lower) == (0, 0, 0, 0)


def test_the_interval_has_the_width_theory_gives_it():
    values = np.random.default_rng(1).normal(0.1, 1, 400)
    found = compare(Ratio(np.zeros(400), np.ones(400)), Ratio(values, np.ones(400)), 400)
    half = 1.96 * values.std() / 20
    assert found.low == pytest.approx(values.mean() - half, abs=0.02)
    assert found.high == pytest.approx(values.mean() + half, abs=0.02)


def test_pairing_removes_what_both_have_in_common():
    hard = np.random.default_rng(2).uniform(0, 1, 50)
    found = compare(Ratio(hard, np.ones(50)), Ratio(hard + 0.05, np.ones(50)), 50)
    assert found.low == pytest.approx(0.05)


def test_a_ratio_is_recomputed_and_not_averaged():
    # One answer with one right citation, one with nine wrong ones: the precision is 1/10, not the mean of 1 and 0.
    assert Ratio(np.array([1.0, 0.0]), np.array([1.0, 9.0])).of(np.ones((1, 2)))[0] == pytest.approx(0.1)
    assert Ratio(np.zeros(2), np.zeros(2)).of(np.ones((1, 2)))[0] == 0


def test_a_median_follows_its_draw():
    measure = Median(np.array([5.0, 1.0, 3.0]))
    assert measure.of(np.array([[1.0, 1, 1], [0, 3, 0], [2, 1, 0]])).tolist() == [3, 1, 5]


# The verdict


def compared(
    metric: str = "answer_f1",
    serving: float = 0.4,
    candidate: float = 0.5,
    interval: tuple[float, float] | None = None,
    *,
    probability: float = 0.99,
    base: float | None = None,
    count: int = 50,
) -> Compared:
    low, high = interval or (candidate - serving - 0.01, candidate - serving + 0.01)
    lower = METRICS[metric].lower_is_better if metric in METRICS else False
    one = MetricComparison(metric, serving if base is None else base, serving, candidate, low, high, count, lower)
    return Compared(one, probability, 1 - probability)


QUESTIONS = [question(f"q{i}") for i in range(20)]


def test_better_by_the_margin_and_nowhere_worse_is_accepted():
    verdict = decide([compared(), compared("refusal_f1", 0.5, 0.48)], GateSettings(), 0.2, examples=QUESTIONS)
    assert verdict.accepted
    assert {one.metric: one.role for one in verdict.comparisons} == {"answer_f1": "decides", "refusal_f1": "guards"}
    assert "0.500, against 0.400" in verdict.reasons[0]


@pytest.mark.parametrize(
    ("change", "shift", "failed"),
    [
        ([compared(candidate=0.41)], 0.2, "margin"),
        ([compared(candidate=0.3)], 0.2, "margin"),
        ([compared(probability=0.9)], 0.2, "confidence"),
        ([compared(base=0.6)], 0.2, "base"),
        ([compared()], 0.0005, "canary"),
        ([compared()], float("nan"), "canary"),
        ([compared()], None, "canary"),
        ([compared(count=LEAST_EXAMPLES - 1)], 0.2, "examples"),
        ([], 0.2, "metric"),
        ([compared(), compared("refusal_f1", 0.8, 0.7)], 0.2, "guards"),
        ([compared(), compared("citation_precision", 0.8, 0.7)], 0.2, "guards"),
        ([compared(), compared("citation_recall", 0.8, 0.7)], 0.2, "guards"),
        ([compared(), compared("response_loss", 2.0, 2.3)], 0.2, "guards"),
        ([compared(), compared("latency_seconds", 1.0, 1.6)], 0.2, "guards"),
        ([compared(), compared("style_match", 0.9, 0.8)], 0.2, "guards"),
    ],
)
def test_each_condition_rejects_and_says_so(change: list[Compared], shift: float | None, failed: str):
    verdict = decide(change, GateSettings(), shift, examples=QUESTIONS)
    assert not verdict.accepted
    assert verdict.failed == (failed,)
    assert all(reason.endswith(".") for reason in verdict.reasons)


@pytest.mark.parametrize(
    "guard",
    [
        compared("refusal_f1", 0.8, 0.7, (-0.3, 0.1)),  # chance can do that
        compared("response_loss", 2.0, 2.19),  # within a tenth
        compared("latency_seconds", 1.0, 1.4),
        compared("exact_match", 0.5, 0.1),  # only reported
    ],
)
def test_a_guard_within_its_tolerance_or_within_chance_does_not_reject(guard: Compared):
    assert decide([compared(), guard], GateSettings(), 0.2, examples=QUESTIONS).accepted


def test_a_loss_that_may_be_chance_is_told_as_one():
    guards = [compared("refusal_f1", 0.8, 0.7, (-0.3, 0.1)), compared("citation_precision", 0.8, 0.8, (-0.1, 0.1))]
    verdict = decide([compared(), *guards], GateSettings(), 0.2, examples=QUESTIONS)
    assert verdict.accepted
    said = " ".join(verdict.reasons)
    assert "No guard is worse than tolerated (citation_precision)." in said
    assert "`refusal_f1` is 0.700, against 0.800 of what serves, which is more than tolerated" in said


def test_a_gross_loss_rejects_although_it_could_be_chance():
    verdict = decide([compared(), compared("refusal_f1", 0.8, 0.55, (-0.6, 0.1))], GateSettings(), 0.2, examples=QUESTIONS)
    assert verdict.broken_guards == ("refusal_f1",)


def test_the_caller_sets_margin_confidence_metric_and_tolerances():
    few = [compared(candidate=0.41, probability=0.8), compared("refusal_f1", 0.8, 0.7), compared("exact_match", 0.5, 0.4)]
    assert decide(few, GateSettings(margin=0.01, confidence=0.7, tolerances={"refusal_f1": 0.2}), 0.2, examples=QUESTIONS).accepted
    assert decide(few, GateSettings(margin=0.01, confidence=0.7), 0.2, examples=QUESTIONS).broken_guards == ("refusal_f1",)
    named = GateSettings(margin=0.01, confidence=0.7, tolerances={"refusal_f1": 0.2, "exact_match": 0.05})
    assert decide(few, named, 0.2, examples=QUESTIONS).broken_guards == ("exact_match",)
    loss = GateSettings(metric="response_loss", margin=0.1)
    better = replace(compared("response_loss", 2.0, 1.5), probability_better=0.99)
    assert decide([better], loss, 0.2, examples=QUESTIONS).accepted


def test_a_latency_that_compares_nothing_does_not_guard():
    slow = [compared(), compared("latency_seconds", 1.0, 9.0)]
    assert decide(slow, GateSettings(), 0.2, examples=QUESTIONS, unguarded={"latency_seconds"}).accepted


def test_an_unknown_metric_and_an_unmeasured_guard_are_named():
    verdict = decide([compared()], GateSettings(metric="nonsense"), 0.2, examples=QUESTIONS)
    assert "Known are answer_f1" in verdict.reasons[0]
    verdict = decide([compared()], GateSettings(tolerances={"style_match": 0.1}), 0.2, examples=QUESTIONS)
    assert verdict.accepted
    assert any("`style_match` was to guard" in reason for reason in verdict.reasons)


def test_the_metric_follows_what_the_examples_are():
    prompt = Example(id="p", messages=(Message("user", "Write."),), answer="x")
    assert default_metric([question("a"), prompt]) == "answer_f1"
    assert default_metric([question("a"), prompt, prompt]) == "text_f1"
    assert default_metric([question("a", False)]) == "refusal_f1"


def test_noise_alone_is_seldom_accepted():
    """Of 60 candidates that are as good as what serves on average, about one in twenty may look better; fewer reach the margin too."""
    random = np.random.default_rng(5)
    examples = [question(f"q{i}") for i in range(40)]
    accepted = 0
    for _ in range(60):
        asked = [
            replace(answered(example, version, "x"), f1=float(random.random() < 0.4))
            for example in examples
            for version in ("base", "candidate")  # type: ignore[attr-defined]
        ]
        accepted += decide(compare_versions(examples, asked, resamples=500), GateSettings(), 0.2, examples=examples).accepted
    assert accepted <= 6


def test_a_candidate_that_never_refuses_is_rejected_however_well_it_answers():
    examples = [question(f"q{i}", answerable=i % 3 != 0) for i in range(60)]
    asked = []
    for index, example in enumerate(examples):
        asked.append(answered(example, "base", "" if not example.answerable or index % 4 == 0 else "36 months [1].", RIGHT))
        asked.append(answered(example, "candidate", "36 months [1].", RIGHT))
    verdict = decide(compare_versions(examples, asked), GateSettings(), 0.2, examples=examples)
    assert verdict.broken_guards == ("refusal_f1",)
    assert verdict.failed == ("guards",)
