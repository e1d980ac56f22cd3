"""Dashboard "Training": jobs, their curves, and what the gate said. Reported by the trainer's beat from the records of jobs."""

from __future__ import annotations

from deploy.dashboards.board import Board, Section
from deploy.dashboards.panels import Query, graph, number
from deploy.dashboards.promql import equals, growth, matches, or_zero, rate, reported, select

_JOBS = "corella_jobs"
_QUEUE = 'corella_queue="training"'
_VERDICTS = "corella_job_verdicts_total"
_SLOT = "job {{corella_job_slot}}"

_OVERVIEW = Section(
    "Jobs",
    (
        number(
            "Running",
            "0 while some are queued: no worker takes them. Check the trainer's worker and Ray's free resources before you start another.",
            "short",
            Query(reported(_JOBS, "corella_job_state", 'corella_job_state=~"running|evaluating"')),
        ),
        number(
            "Queued",
            "If it stays, workers are busy or away: look at “Longest wait”, then start a worker or wait for the running job.",
            "short",
            Query(reported(_JOBS, "corella_job_state", 'corella_job_state=~"queued|waiting_for_resources"')),
        ),
        number(
            "Stalled",
            "Above 0: follow the page training-stalled.md; `corella jobs log` shows the last lines of the job.",
            "short",
            Query(reported(_JOBS, "corella_job_state", 'corella_job_state="stalled"')),
            alarm=1,
        ),
        number(
            "Longest wait",
            "If it grows by the clock, nothing takes jobs: check that the trainer's worker is there and that Ray answers.",
            "s",
            Query(f"max({select('corella_queue_oldest_age_seconds', _QUEUE)})"),
        ),
        number(
            "Accepted in this range",
            "If jobs end and none is accepted, read the report of the last one: it names the most likely cause; act on that first.",
            "short",
            Query(or_zero(growth(_VERDICTS, equals("corella_job_verdict", "accepted")))),
        ),
        number(
            "Rejected in this range",
            "Read the reports' diagnoses; several with the same cause call for another dataset rather than for another try.",
            "short",
            Query(or_zero(growth(_VERDICTS, equals("corella_job_verdict", "rejected")))),
        ),
    ),
)

_COURSE = Section(
    "Course of the running jobs",
    (
        graph(
            "Jobs by state",
            "If failed grows, read one job's log; if waiting_for_resources stays, Ray has fewer free processors "
            "or GPUs than a job asks for: check both.",
            "short",
            Query(reported(_JOBS, "corella_job_state", by="corella_job_state"), "{{corella_job_state}}"),
            stacked=True,
            width=12,
        ),
        graph(
            "Waiting, by queue",
            "If “datasets” grows, the teacher is slow or away: check the generator. If “training” does, add a worker or wait.",
            "short",
            Query(
                reported("corella_queue_depth", "corella_queue", matches("corella_queue", "training|datasets"), by="corella_queue"),
                "{{corella_queue}}",
            ),
            width=12,
        ),
        graph(
            "Loss",
            "Validation rising while training falls: stop the job and take fewer epochs. "
            "Both flat from the start: raise the learning rate.",
            "short",
            Query(select("corella_job_loss"), f"{{{{corella_loss}}}}, {_SLOT}"),
            width=12,
        ),
        graph(
            "Progress",
            "A line that stays level for minutes: the job computes nothing. "
            "Look at its log; it becomes STALLED by itself and is taken up again.",
            "percentunit",
            Query(f"{select('corella_job_step')} / ({select('corella_job_steps')} > 0)", _SLOT),
            width=12,
            most=1,
        ),
        graph(
            "Tokens per second",
            "If it is lower than for earlier jobs, workers share processors with something else: check Ray's placement and limits.",
            "short",
            Query(select("corella_job_tokens_per_second"), _SLOT),
            width=12,
        ),
        graph(
            "Verdicts of the gate",
            "If only rejections come, compare the datasets of the last accepted job with these, and read the guards in the reports.",
            "short",
            Query(rate(_VERDICTS, by="corella_job_verdict"), "{{corella_job_verdict}}"),
            stacked=True,
            width=12,
        ),
    ),
)

BOARD = Board(
    name="training",
    title="Training",
    purpose="Which jobs run, how do they learn, and what did the gate say?",
    sections=(_OVERVIEW, _COURSE),
    instances_of="corella_jobs",
    range_start="now-12h",
)
