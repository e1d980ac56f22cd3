"""The report: what a colleague reads first, and that nothing from outside becomes part of the page."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from services.trainer.asked import Label, judge
from services.trainer.costing import Prices, cost
from services.trainer.diagnosing import Diagnosis
from services.trainer.domain import Cause, Example, Method, MetricComparison, Step, StyleCheck, TrainingUsage, WayCost
from services.trainer.gate import Decision
from services.trainer.markdown import code, plain, table
from services.trainer.plan import Outcome, Settings
from services.trainer.ports import CitedText
from services.trainer.report_pictures import cost_picture, loss_picture, metric_picture
from services.trainer.reporting import DatasetFacts, ReportInput, Trial, write_report

SETTINGS = Settings(1e-3, 1.0, 16, 4096, 13, 1, "linear", 0.05, 0.0, 50, False)
STEPS = tuple(Step(i, 3.0 / i, 1e-3, 300, 1.0, 2.0 / i if i % 2 == 0 else None) for i in range(1, 9))
OUTCOME = Outcome("adapter", "", "", STEPS, 3.0, 1.5, 1.2, 2.5, False, 12_345, 300.0, 80, 20)
COMPARISONS = (
    MetricComparison("answer_f1", 0.2, 0.3, 0.5, 0.1, 0.3, 40, False, "decides"),
    MetricComparison("latency_seconds", 1.0, 1.0, 0.9, -0.2, 0.1, 40, True, "guards"),
)
ACCEPTED = Decision(True, "answer_f1", ("`answer_f1` is better.",), COMPARISONS)
REJECTED = Decision(False, "answer_f1", ("`answer_f1` is not better.",), COMPARISONS, ("margin",))
EVIL = "<img src=x onerror=alert(1)> [click](https://evil.example) | ![p](http://evil.example/p.png) `code`\n\n# Heading"


def given(**changes: object) -> ReportInput:
    data = DatasetFacts("datasets/d1", "Warranty", "ab12", 80, 20, 40, 5, 3, 1, ("The concept “battery” has 2 examples only.",))
    base = ReportInput("jobs/j1", Method.LORA, data, OUTCOME, SETTINGS, adapter="adapters/default/versions/2", decision=ACCEPTED)
    return replace(base, **changes)  # type: ignore[arg-type]


def asked(example: Example, version: Label, text: str):
    cited = CitedText("I do not know.", True) if not text else CitedText(text, False)
    return judge(example, version, "served", cited)


def test_the_verdict_is_the_first_line():
    assert write_report(given(display_name="Style of the house")).markdown.startswith("# Accepted – Style of the house\n")
    cause = Diagnosis(Cause.OVERFITTING, ("The loss rose.",), "lower", "Fewer epochs.")
    report = write_report(given(decision=REJECTED, diagnosis=cause)).markdown
    assert report.startswith("# Rejected: learnt by heart – jobs/j1\n")
    assert "- The loss rose." in report
    assert "**What to try next:** Fewer epochs." in report
    assert write_report(given(decision=None)).markdown.startswith("# Trained; not judged by the gate")


def test_it_tells_what_was_trained_on_measured_and_set():
    tried = (Trial({"learning_rate": 1e-3, "learning_rate_schedule": "cosine"}, 1.5, True), Trial({"learning_rate": 0.1}, float("inf")))
    report = write_report(given(trials=tried, versions={"torch": "2.13"})).markdown
    for part in (
        "| trained on | 80 of 80 |", "has 2 examples only",
        "| **answer\\_f1** | 0.200 | 0.300 | 0.500 | +0.200 | +0.100 to +0.300 | 40 | decides |",
        "latency\\_seconds ↓", "| `seed` | `13` |", "`ab12`", "## The search", "| **1.500**, taken | 0.001 | cosine |",
        "| inf | 0.1 |  |", "| torch | 2.13 |", "12,345",
    ):  # fmt: skip
        assert part in report


def test_pictures_are_named_in_the_text_and_are_png():
    ways = [WayCost("retrieval", 20, 500, 20, 0.1, 1.0, 0.3), WayCost("tuned", 20, 30, 10, 0.0, 0.3, 0.2)]
    costs = cost(ways, TrainingUsage(300), Prices("EUR", 1, 1, 1), 100)
    report = write_report(given(cost=costs))
    assert set(report.pictures) == {"loss.png", "metrics.png", "cost.png"}
    for name, content in report.pictures.items():
        assert f"]({name})" in report.markdown
        assert content.startswith(b"\x89PNG\r\n")
        width, height = struct.unpack(">II", content[16:24])
        assert 600 < width < 2000
        assert 300 < height < 2000


def test_what_there_is_none_of_is_left_out():
    report = write_report(given(decision=None, outcome=replace(OUTCOME, steps=())))
    assert report.pictures == {}
    for heading in ("Base, serving", "Corner cases", "Repair", "Before and after", "The search", "Why, most"):
        assert heading not in report.markdown


def test_what_changed_most_comes_first_and_bad_news_is_not_left_out():
    examples = [Example(id=f"q{i}", question=f"Question {i}?", answer="36 months") for i in range(30)]
    answers = []
    for index, example in enumerate(examples):
        answers.append(asked(example, "base", "36 months" if index >= 20 else "no"))
        answers.append(asked(example, "candidate", "" if index >= 28 else "36 months"))
    report = write_report(given(examples=tuple(examples), asked=tuple(answers))).markdown
    assert "20 of 30 answers got better, 2 worse, 8 stayed about the same. 12 of them" in report
    assert report.count("**better** ·") == 10
    assert report.count("**worse** ·") == 2
    assert report.index("**better** ·") < report.index("**worse** ·")


def test_unanswerable_questions_and_styles_are_told_apart():
    open_question = Example(id="u", question="Who won?", answer="", answerable=False)
    styled = Example(id="s", question="How?", answer="So", style=StyleCheck(required_phrases=("so",)))
    answers = [asked(open_question, "base", "Me."), asked(open_question, "candidate", "")]
    answers += [asked(styled, "base", "No"), asked(styled, "candidate", "So")]
    report = write_report(given(examples=(open_question, styled), asked=tuple(answers))).markdown
    assert "no answer in the passages: a refusal is right" in report
    assert "style 1.00" in report


def test_corner_cases_stand_apart():
    report = write_report(given(corner_comparisons=(replace(COMPARISONS[0], count=4, role="reported"),))).markdown
    assert "## Corner cases alone" in report
    assert "They are few" in report


def test_a_repair_shows_before_and_after():
    repaired = replace(OUTCOME, original_validation_loss=1.0, initial_validation_loss=3.0, final_validation_loss=1.5)
    report = write_report(given(outcome=repaired, method=Method.REPAIR, compression="rounded to 4 bits")).markdown
    assert "| 1.000 | 3.000 | 1.500 |" in report
    assert "Of the 2.000 nats that compression cost, tuning brought back 1.500 (75%)." in report


def test_text_from_outside_becomes_no_link_no_picture_no_html_and_no_cell():
    example = Example(id="q", question=EVIL, answer=EVIL)
    report = write_report(
        given(
            display_name=EVIL,
            dataset=DatasetFacts("datasets/d1", EVIL, warnings=(EVIL,)),
            examples=(example,),
            asked=(asked(example, "base", EVIL), asked(example, "candidate", "x")),
            skipped=((EVIL, EVIL),),
            versions={EVIL: EVIL},
        )
    ).markdown
    assert "<img" not in report
    assert "[click](" not in report
    assert "![p](" not in report
    assert "https://evil" not in report
    assert "\n# Heading" not in report
    assert report.count("\n# ") == 0


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a|b", r"a\|b"),
        ("two\nlines", "two lines"),
        ("# heading", r"\# heading"),
        ("- item", r"\- item"),
        ("5 - 3 = 2", "5 - 3 = 2"),
        ("<b>", "&lt;b&gt;"),
        ("a\u202eb\u200bc", "abc"),
        ("x" * 50, "x" * 50),
        ("me@here.example", "me&#64;here.example"),
    ],
)
def test_plain_text_stays_what_it_is(text: str, shown: str):
    assert plain(text) == shown


def test_long_text_is_cut_and_code_stays_code():
    assert len(plain("x" * 900, 100)) == 100
    assert code("a`b|c\nd") == "`a'b/c d`"
    assert table(["a", "b"], [["1", "2"]]) == "| a | b |\n|---|---:|\n| 1 | 2 |"


def test_pictures_are_drawn_of_what_is_odd():
    nan = float("nan")
    assert loss_picture((Step(1, nan, 1e-3, 0, nan),), nan)
    assert loss_picture(STEPS, 3.0)
    assert metric_picture(COMPARISONS[1:]) is None
    assert cost_picture(cost([], TrainingUsage(), Prices("EUR", 1, 1, 1), 1)) is None
    never = cost(
        [WayCost("retrieval", 1, 1, 1, 0, 1, 0), WayCost("both", 1, 1, 1, 0, 2, 0)], TrainingUsage(10), Prices("$ and $", 1, 1, 1), 5
    )
    assert cost_picture(never)
