"""Service level objectives, and the recording rules and burn-rate alerts that follow from them.

Windows and factors: "The Site Reliability Workbook", chapter 5, "6: Multiwindow, Multi-Burn-Rate Alerts", table 5-8, for 30 days. An alert
needs the long window, so that a moment does not ring, and the short one, so that it ends soon after the trouble has.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from deploy.dashboards.questions import ASK, CALLS, FAULT, WRITTEN

SLOW_SECONDS = "10.0"
"""A bound of the histogram's buckets, as Prometheus writes it: with any other one there would be no such series."""


@dataclass(frozen=True)
class Objective:
    """What share of events is to be good. `bad` and `all` are counters with their matchers, without a window."""

    alert: str
    page: str
    """The runbook, without `.md`."""
    record: str
    target: float
    bad: str
    all: str
    minus: str = ""
    """Where the good are counted and not the bad: `bad` is all minus these."""
    summary: str = ""
    description: str = ""

    @property
    def budget(self) -> float:
        """The share that may be bad."""
        return round(1 - self.target, 6)


@dataclass(frozen=True)
class _Burn:
    """How fast the budget goes, over which windows."""

    factor: float
    long: str
    short: str


_PAGE = (_Burn(14.4, "1h", "5m"), _Burn(6, "6h", "30m"))
_TICKET = (_Burn(1, "3d", "6h"),)
_WINDOWS = ("5m", "30m", "1h", "6h", "3d")
_PACE_WORD = "PACE"  # labels that a rule adds itself are not known to its annotations
_LEAST_EVENTS = 20
"""Below so many events in the longest window of an alert a share says nothing."""

OBJECTIVES = (
    Objective(
        alert="CorellaAnswersFail",
        page="answers-fail",
        record="corella_answers_failed",
        target=0.995,
        bad=f"{CALLS}{{{ASK}, {FAULT}}}",
        all=f'{CALLS}{{{ASK}, rpc_response_status_code!="CANCELLED"}}',
        summary="Questions fail and the error budget of 30 days goes PACE.",
        description="{{ $value | humanizePercentage }} of the questions in namespace {{ $labels.namespace }} ended without an answer;"
        " 0.5 % may. Refusals count as answers.",
    ),
    Objective(
        alert="CorellaAnswersSlow",
        page="answers-slow",
        record="corella_answers_slow",
        target=0.95,
        bad="",
        all=f"corella_generator_answer_duration_seconds_count{{{WRITTEN}}}",
        minus=f'corella_generator_answer_duration_seconds_bucket{{{WRITTEN}, le="{SLOW_SECONDS}"}}',
        summary="Answers are slow and the budget of 30 days goes PACE.",
        description="{{ $value | humanizePercentage }} of the answers in namespace {{ $labels.namespace }} took longer than"
        f" {float(SLOW_SECONDS):g} s; 5 % may.",
    ),
    Objective(
        alert="CorellaIngestionFails",
        page="ingestion-fails",
        record="corella_documents_failed",
        target=0.98,
        bad='corella_ingest_documents_total{corella_document_state="FAILED"}',
        all="corella_ingest_documents_total",
        summary="Documents fail and the error budget of 30 days goes PACE.",
        description="{{ $value | humanizePercentage }} of the documents worked on in namespace {{ $labels.namespace }} became FAILED;"
        " 2 % may.",
    ),
)


def rules() -> dict[str, Any]:
    """The rules as a file of Prometheus' has them."""
    return {
        "groups": [
            {"name": "corella-objectives", "interval": "30s", "rules": [rule for one in OBJECTIVES for rule in _records(one)]},
            {"name": "corella-burn-rates", "rules": [rule for one in OBJECTIVES for rule in _alerts(one)]},
        ]
    }


def _records(objective: Objective) -> Iterator[dict[str, Any]]:
    for window in _WINDOWS:
        every = f"sum by (namespace) (rate({objective.all}[{window}]))"
        if objective.minus:
            bad = f"{every} - sum by (namespace) (rate({objective.minus}[{window}]))"
        else:
            # Where none was ever bad there is no such series.
            bad = f"sum by (namespace) (rate({objective.bad}[{window}])) or 0 * {every}"
        yield {"record": _record(objective, window), "expr": f"({bad}) / ({every} > 0)"}


def _alerts(objective: Objective) -> Iterator[dict[str, Any]]:
    for severity, burns, pace in (("critical", _PAGE, "fast"), ("warning", _TICKET, "steadily")):
        burning = " or ".join(f"({_burning(objective, burn)})" for burn in burns)
        events = f"sum by (namespace) (increase({objective.all}[{burns[-1].long}])) > {_LEAST_EVENTS}"
        yield {
            "alert": objective.alert,
            "expr": f"({burning}) and on (namespace) ({events})",
            "labels": {"severity": severity, "burn": pace},
            "annotations": {
                "summary": objective.summary.replace(_PACE_WORD, pace),
                "description": objective.description,
                "runbook_url": f"docs/runbooks/{objective.page}.md",
            },
        }


def _burning(objective: Objective, burn: _Burn) -> str:
    limit = round(burn.factor * objective.budget, 6)
    return f"{_record(objective, burn.long)} > {limit:g} and {_record(objective, burn.short)} > {limit:g}"


def _record(objective: Objective, window: str) -> str:
    return f"namespace:{objective.record}:ratio_rate{window}"
