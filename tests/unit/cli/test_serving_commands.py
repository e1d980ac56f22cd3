"""`corella adapters`, `schedules` and `cost`, and asking a version of choice, against services that say what the test tells them to."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from corella.evaluation.cost_picture import Way, crossings, draw, reach
from corella.v1 import generator_pb2, trainer_pb2
from services.chassis.errors import AlreadyExists, FailedPrecondition, Unavailable

Run = Callable[..., Any]
NAMES = [f"adapters/default/versions/{number}" for number in (1, 2, 3)]


def versions() -> trainer_pb2.ListAdaptersResponse:
    version = trainer_pb2.AdapterVersion
    return trainer_pb2.ListAdaptersResponse(
        adapters=[
            trainer_pb2.Adapter(
                name="adapters/default",
                versions=[
                    version(name=NAMES[2], accepted=False, job="jobs/j3", rank=16, size_bytes=9_800_000),
                    version(name=NAMES[1], accepted=True, serving=True, job="jobs/j2", rank=16, size_bytes=9_800_000),
                ],
            )
        ]
    )


def test_versions_are_listed_with_what_became_of_them(corella: Run, trainer: Any) -> None:
    trainer.answers["ListAdapters"] = [versions()]
    rows = [line.split() for line in corella("adapters", "list").out.splitlines()]
    assert rows[1][:6] == ["default/3", "no", "j3", "16", "9.8", "MB"]
    assert rows[2][:6] == ["default/2", "yes", "serves", "j2", "16", "9.8"]
    assert json.loads(corella("adapters", "list", "--json").out)["versions"][1]["serving"]
    trainer.answers["ListAdapters"] = [trainer_pb2.ListAdaptersResponse()]
    assert "`corella train DATASET`" in corella("adapters", "list").out


def test_a_version_is_promoted_by_its_short_name(corella: Run, trainer: Any) -> None:
    trainer.answers["PromoteAdapter"] = [trainer_pb2.PromoteAdapterResponse(version=trainer_pb2.AdapterVersion(name=NAMES[1]))]
    assert "default/2 is to serve" in corella("adapters", "promote", "default/2").out
    assert trainer.asked["PromoteAdapter"][0].name == NAMES[1]
    assert trainer.asked["PromoteAdapter"][0].request_id
    assert corella("adapters", "promote", "default").code == 2
    trainer.answers["PromoteAdapter"] = [FailedPrecondition("Not accepted.", reason="ADAPTER_NOT_ACCEPTED")]
    result = corella("adapters", "promote", "default/3")
    assert (result.code, "the report of a job says why" in result.err) == (1, True)


def test_rolling_back_names_what_serves_then(corella: Run, trainer: Any) -> None:
    trainer.answers["RollBackAdapter"] = [
        trainer_pb2.RollBackAdapterResponse(version=trainer_pb2.AdapterVersion(name=NAMES[0])),
        trainer_pb2.RollBackAdapterResponse(),
    ]
    assert "default/1 is to serve again" in corella("adapters", "rollback").out
    assert "base is to serve again" in corella("adapters", "rollback", "--request-id", "r2").out
    first, second = trainer.asked["RollBackAdapter"]
    assert first.request_id
    assert second.request_id == "r2"


def test_what_is_to_serve_is_compared_with_what_serves(corella: Run, trainer: Any, generator: Any) -> None:
    past = [trainer_pb2.PastServing(adapter=NAMES[0]), trainer_pb2.PastServing()]
    trainer.answers["GetServing"] = [trainer_pb2.GetServingResponse(serving=trainer_pb2.ServingState(adapter=NAMES[1], history=past))]
    generator.model = generator_pb2.GenerationModel(display_name="Small", adapter=NAMES[1], max_adapter_rank=16)
    result = corella("adapters", "serving")
    assert "To serve:  default/2" in result.out
    assert "Generator: default/2 on Small\n" in result.out
    assert "Before:    default/1, base" in result.out
    generator.model.adapter = ""
    assert "Generator: base on Small; it follows within seconds" in corella("adapters", "serving").out
    generator.model.max_adapter_rank = 0
    assert "serves no adapters" in corella("adapters", "serving").out
    told = json.loads(corella("adapters", "serving", "--json").out)
    assert (told["serving"]["adapter"], told["generator"]["display_name"]) == (NAMES[1], "Small")


def test_a_generator_that_is_away_hides_nothing_else(corella: Run, trainer: Any, generator: Any) -> None:
    trainer.answers["GetServing"] = [trainer_pb2.GetServingResponse(serving=trainer_pb2.ServingState(adapter=NAMES[1]))]
    generator.error = Unavailable("The engine cannot be reached.", reason="ENGINE_UNAVAILABLE")
    result = corella("adapters", "serving")
    assert result.code == 0
    assert "To serve:  default/2" in result.out
    assert "The engine cannot be reached." in result.out


@pytest.mark.parametrize(("named", "sent"), [("base", "base"), ("default/3", NAMES[2]), (NAMES[2], NAMES[2])])
def test_a_question_can_be_asked_of_a_version(corella: Run, generator: Any, named: str, sent: str) -> None:
    answered = "" if named == "base" else sent
    generator.events = [
        generator_pb2.AskResponse(started=generator_pb2.AnswerStarted(answer="answers/a1")),
        generator_pb2.AskResponse(completion=generator_pb2.Completion(model="Small", adapter=answered)),
    ]
    result = corella("ask", "How long?", "--adapter", named)
    assert generator.asked[0].adapter == sent
    assert ("Small + default/3 · answers/a1" if answered else "Small · answers/a1") in result.out
    assert corella("ask", "How long?", "--adapter", "odd").code == 2


def test_a_schedule_says_when_from_what_and_how(corella: Run, trainer: Any) -> None:
    made = trainer_pb2.Schedule(name="schedules/weekly", trigger=trainer_pb2.Trigger(min_new_examples=50, cron="0 3 * * 0"))
    made.next_run_time.FromJsonString("2026-11-29T03:00:00Z")
    trainer.answers["CreateSchedule"] = [trainer_pb2.CreateScheduleResponse(schedule=made)]
    result = corella(
        "schedules", "create", "weekly", "--min-new-examples", "50", "--cron", "0 3 * * 0", "--once", "--feedback", "--corpus", "default",
        "--held-out-share", "0.2", "--epochs", "2", "--margin", "0.05", "--adapter", "support", "--hold",
    )  # fmt: skip
    assert "Created schedules/weekly: 50 new examples or cron 0 3 * * 0. Next: 11-29 03:00 UTC." in result.out
    schedule = trainer.asked["CreateSchedule"][0].schedule
    assert schedule.name == "schedules/weekly"
    assert (schedule.trigger.min_new_examples, schedule.trigger.cron, schedule.trigger.once) == (50, "0 3 * * 0", True)
    assert [source.WhichOneof("source") for source in schedule.sources] == ["feedback", "corpus"]
    assert schedule.split.held_out_share == 0.2
    assert (schedule.job.dataset, schedule.job.adapter_id, schedule.job.hold) == ("", "support", True)
    assert (schedule.job.hyperparameters.epochs, schedule.job.gate.margin) == (2, 0.05)


def test_a_schedule_without_a_time_or_a_source_is_wrong_use(corella: Run, trainer: Any) -> None:
    assert corella("schedules", "create", "weekly", "--feedback").code == 2
    assert corella("schedules", "create", "weekly", "--once").code == 2
    assert trainer.asked == {}
    trainer.answers["CreateSchedule"] = [AlreadyExists("There is one.", reason="SCHEDULE_EXISTS")]
    assert "Choose another id" in corella("schedules", "create", "weekly", "--once", "--feedback").err


def test_schedules_are_listed_and_deleted(corella: Run, trainer: Any) -> None:
    source = trainer_pb2.DatasetSource
    weekly = trainer_pb2.Schedule(
        name="schedules/weekly", trigger=trainer_pb2.Trigger(cron="0 3 * * 0"), new_example_count=7, run_count=2, last_job="jobs/j2",
        sources=[source(feedback=trainer_pb2.FeedbackSource()), source(corpus=trainer_pb2.CorpusSource(corpus="corpora/default"))],
    )  # fmt: skip
    over = trainer_pb2.Schedule(
        name="schedules/x", trigger=trainer_pb2.Trigger(once=True), done=True, sources=[source(dataset="datasets/d1")]
    )
    trainer.answers["ListSchedules"] = [trainer_pb2.ListSchedulesResponse(schedules=[weekly, over])]
    rows = corella("schedules", "list").out.splitlines()
    for part in ("cron 0 3 * * 0", "feedback, corpus default", "j2"):
        assert part in rows[1]
    assert "done" in rows[2]
    assert "dataset d1" in rows[2]
    assert len(corella("schedules", "list", "--json").out.splitlines()) == 2
    assert "Deleted schedules/weekly." in corella("schedules", "delete", "weekly").out


def costs() -> trainer_pb2.GetCostResponse:
    way = trainer_pb2.CostPerQuestion
    return trainer_pb2.GetCostResponse(
        ways=[
            way(way="retrieval", prompt_tokens=510, completion_tokens=20, running_cost=2.4, total_cost=2.4, answer_f1=0.15),
            way(way="tuned", prompt_tokens=40, completion_tokens=15, running_cost=0.9, training_cost=3, total_cost=3.9, answer_f1=0.02),
            way(way="both", prompt_tokens=510, completion_tokens=16, running_cost=2.1, training_cost=3, total_cost=5.1, answer_f1=0.21),
        ],
        currency="CPU-seconds", training_cost=300, break_even_questions_tuned=200, question_count=100, prices={"engine_second": 2},
        evaluation="evaluations/e1", notes=["The machine was shared."],
    )  # fmt: skip


def test_costs_are_compared_way_by_way(corella: Run, trainer: Any) -> None:
    trainer.answers["GetCost"] = [costs()]
    result = corella("cost", "--questions", "100")
    assert trainer.asked["GetCost"][0].question_count == 100
    assert "tuned and retrieval" in result.out
    assert "Training cost 300, spread over 100 questions." in result.out
    assert "Tuning alone is cheaper than retrieval alone from 200 questions on." in result.out
    assert "Tuning with retrieval is cheaper than retrieval alone never." not in result.out
    assert "Tuning with retrieval is never cheaper than retrieval alone." in result.out
    assert "Prices: engine second 2.00" in result.out
    assert "- The machine was shared." in result.out
    assert len(json.loads(corella("cost", "--json").out)["ways"]) == 3


def test_nothing_measured_says_what_measures(corella: Run, trainer: Any) -> None:
    trainer.answers["GetCost"] = [FailedPrecondition("No candidate has been judged.", reason="NOTHING_MEASURED")]
    assert "`corella train DATASET`" in corella("cost").err


def test_costs_are_drawn(corella: Run, trainer: Any, tmp_path: Path) -> None:
    trainer.answers["GetCost"] = [costs()]
    picture = tmp_path / "new" / "cost.png"
    result = corella("cost", "--picture", str(picture), "--json")
    json.loads(result.out)
    assert "Picture: " in result.err
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert corella("cost", "--picture", "cost.pdf").code == 2


def test_without_matplotlib_it_is_said_before_anything_is_asked(corella: Run, trainer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = corella("cost", "--picture", "cost.png")
    assert (result.code, "matplotlib" in result.err) == (1, True)
    assert trainer.asked == {}


def test_ways_cross_where_training_is_paid_off(tmp_path: Path) -> None:
    ways = [Way("retrieval", 2.5), Way("tuned", 0.5, 300), Way("both", 2.5, 300)]
    [crossing] = crossings(ways)
    assert (crossing.way.name, crossing.questions, crossing.cost) == ("tuned", 150, 375)
    assert reach(ways, asked=10) == 300
    assert reach(ways[:1], asked=0) == 1
    draw(ways[:1], "$", tmp_path / "one.png")
    assert (tmp_path / "one.png").stat().st_size > 1000
