"""`corella datasets` and `corella feedback` against a trainer and a generator that say what the test tells them to."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from corella.cli import dataset_building
from corella.cli.dataset_building import place_of
from corella.cli.naming import adapter_version, full, served, short
from corella.v1 import generator_pb2, trainer_pb2
from services.chassis.errors import InvalidArgument, NotFound, Unavailable

Run = Callable[..., Any]
READY, BUILDING, FAILED = trainer_pb2.DATASET_STATE_READY, trainer_pb2.DATASET_STATE_BUILDING, trainer_pb2.DATASET_STATE_FAILED


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset_building.time, "sleep", lambda _seconds: None)


def ready(**fields: Any) -> trainer_pb2.Dataset:
    return trainer_pb2.Dataset(
        name="datasets/d1",
        state=READY,
        training_count=70,
        validation_count=20,
        held_out_count=10,
        warnings=["Few examples of x."],
        **fields,
    )


def files(tmp_path: Path) -> list[str]:
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    first.write_text('{"a": 1}\n{"a": 2}')
    second.write_text('{"a": 3}\n')
    return [str(first), str(second)]


def test_files_are_streamed_as_one_with_a_line_for_every_line(corella: Run, trainer: Any, tmp_path: Path) -> None:
    trainer.answers["CreateDataset"] = [trainer_pb2.CreateDatasetResponse(dataset=ready(duplicate_count=3))]
    result = corella("datasets", "create", *files(tmp_path), "--name", "Mine", "--held-out-share", "0", "--folds", "5", "--seed", "7")
    assert result.code == 0
    assert trainer.received == b'{"a": 1}\n{"a": 2}\n{"a": 3}\n'
    start = trainer.asked["CreateDataset"][0][0].start
    assert (start.display_name, start.split.held_out_share, start.split.folds, start.split.seed) == ("Mine", 0.0, 5, 7)
    assert start.split.HasField("held_out_share")
    assert not start.split.HasField("validation_share")
    assert start.request_id
    assert "70 training, 20 validation, 10 held out, 3 near-duplicates left out" in result.out
    assert "Few examples of x." in result.out


def test_large_files_go_in_pieces(corella: Run, trainer: Any, tmp_path: Path) -> None:
    text = ('{"a": "' + "x" * 90 + '"}\n') * 6000
    (tmp_path / "large.jsonl").write_text(text)
    trainer.answers["CreateDataset"] = [trainer_pb2.CreateDatasetResponse(dataset=ready())]
    assert corella("datasets", "create", str(tmp_path / "large.jsonl")).code == 0
    assert trainer.received == text.encode()
    assert max(len(part.jsonl) for part in trainer.asked["CreateDataset"][0]) <= dataset_building.PIECE_BYTES


def test_bad_lines_are_named_with_their_files_and_numbers(corella: Run, trainer: Any, tmp_path: Path) -> None:
    violations = [("line 2", "is not JSON"), ("line 3", "answer: is missing"), ("jsonl", "there are too many")]
    trainer.answers["CreateDataset"] = [
        InvalidArgument("The examples are not valid.", reason="EXAMPLES_INVALID", violations=violations, line_count=250)
    ]
    first, second = files(tmp_path)
    result = corella("datasets", "create", first, second)
    assert result.code == 1
    assert f"{first}:2: is not JSON" in result.err
    assert f"{second}:1: answer: is missing" in result.err
    assert "250 lines are not examples; nothing was stored. The first 3 are shown. (EXAMPLES_INVALID)" in result.err
    told = json.loads(corella("datasets", "create", first, second, "--json").out)["error"]
    assert [violation["field"] for violation in told["violations"]] == [f"{first}:2", f"{second}:1", "jsonl"]


@pytest.mark.parametrize(
    ("field", "place"),
    [
        ("line 1", "a:1"),
        ("line 3", "a:3"),
        ("line 4", "b:1"),
        ("line 9", "c:2"),
        ("line 9 score", "c:2 score"),
        ("split.folds", "split.folds"),
    ],
)
def test_a_line_of_the_stream_is_a_line_of_a_file(field: str, place: str) -> None:
    # b has four lines, and an empty file stands before c.
    assert place_of(field, [("a", 0), ("b", 3), ("empty", 7), ("c", 7)]) == place


def test_a_trainer_that_restarts_while_files_are_sent_makes_one_dataset(corella: Run, trainer: Any, tmp_path: Path) -> None:
    away = Unavailable("Redis is away.", reason="RECORDS_UNAVAILABLE")
    trainer.answers["CreateDataset"] = [away, trainer_pb2.CreateDatasetResponse(dataset=ready())]
    assert corella("datasets", "create", *files(tmp_path)).code == 0
    first, second = trainer.asked["CreateDataset"]
    assert first[0].start.request_id == second[0].start.request_id != ""


def test_a_dataset_is_built_from_all_that_was_named_and_waited_for(corella: Run, trainer: Any) -> None:
    building = trainer_pb2.Dataset(name="datasets/d1", state=BUILDING)
    trainer.answers["BuildDataset"] = [trainer_pb2.BuildDatasetResponse(dataset=building)]
    trainer.answers["GetDataset"] = [
        trainer_pb2.GetDatasetResponse(dataset=trainer_pb2.Dataset(name="datasets/d1", state=BUILDING, done_count=3, total_count=9)),
        Unavailable("Redis is away.", reason="RECORDS_UNAVAILABLE"),
        trainer_pb2.GetDatasetResponse(dataset=ready()),
    ]
    result = corella(
        "datasets", "build", "--feedback", "--since", "2026-11-01", "--corpus", "default", "--corpus", "legal", "--examples", "50",
        "--unanswerable-share", "0", "--teacher-url", "http://teacher/v1", "--teacher-model", "big", "--dataset", "d0", "--name", "All",
    )  # fmt: skip
    assert result.code == 0
    assert "datasets/d1  READY" in result.out
    [request] = trainer.asked["BuildDataset"]
    feedback, default, legal, dataset = request.sources
    assert feedback.feedback.since.ToDatetime(UTC) == datetime(2026, 11, 1, tzinfo=UTC)
    assert (default.corpus.corpus, legal.corpus.corpus, dataset.dataset) == ("corpora/default", "corpora/legal", "datasets/d0")
    assert (default.corpus.max_examples, default.corpus.unanswerable_share) == (50, 0.0)
    assert default.corpus.HasField("unanswerable_share")
    assert (default.corpus.teacher.base_url, default.corpus.teacher.model) == ("http://teacher/v1", "big")
    assert request.request_id


def test_a_dataset_that_could_not_be_built_says_why(corella: Run, trainer: Any) -> None:
    error = NotFound("There is no corpus `x`.", reason="CORPUS_NOT_FOUND").to_status()
    failed = trainer_pb2.Dataset(name="datasets/d1", state=FAILED, error=error)
    trainer.answers["BuildDataset"] = [trainer_pb2.BuildDatasetResponse(dataset=failed)]
    result = corella("datasets", "build", "--corpus", "x")
    assert result.code == 1
    assert "There is no corpus `x`." in result.out


def test_without_waiting_the_work_goes_on(corella: Run, trainer: Any) -> None:
    building = trainer_pb2.Dataset(name="datasets/d1", state=BUILDING)
    trainer.answers["BuildDataset"] = [trainer_pb2.BuildDatasetResponse(dataset=building)]
    result = corella("datasets", "build", "--feedback", "--no-wait")
    assert result.code == 0
    assert "BUILDING" in result.out
    assert "GetDataset" not in trainer.asked
    assert json.loads(corella("datasets", "build", "--feedback", "--no-wait", "--json").out)["state"] == "DATASET_STATE_BUILDING"


def test_ctrl_c_leaves_the_building_going_and_says_so(corella: Run, trainer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_seconds: float) -> None:
        raise KeyboardInterrupt

    trainer.answers["BuildDataset"] = [trainer_pb2.BuildDatasetResponse(dataset=trainer_pb2.Dataset(name="datasets/d1", state=BUILDING))]
    monkeypatch.setattr(dataset_building.time, "sleep", interrupted)
    result = corella("datasets", "build", "--feedback")
    assert result.code == 130
    assert "The work goes on: `corella datasets show d1` shows it." in result.err


@pytest.mark.parametrize(
    "arguments",
    [
        (), ("--since", "2026-11-01", "--dataset", "d"), ("--examples", "3", "--feedback"), ("--feedback", "--since", "yesterday"),
        ("--teacher-url", "http://x", "--dataset", "d"),
    ],
)  # fmt: skip
def test_sources_that_make_no_sense_are_wrong_use(corella: Run, trainer: Any, arguments: tuple[str, ...]) -> None:
    assert corella("datasets", "build", *arguments).code == 2
    assert trainer.asked == {}


def test_datasets_are_listed_over_all_pages(corella: Run, trainer: Any) -> None:
    def pages() -> list[Any]:
        return [
            trainer_pb2.ListDatasetsResponse(datasets=[ready(display_name="First")], next_page_token="more"),
            trainer_pb2.ListDatasetsResponse(datasets=[trainer_pb2.Dataset(name="datasets/d2", state=BUILDING)]),
        ]

    trainer.answers["ListDatasets"] = pages()
    result = corella("datasets", "list")
    assert "d1" in result.out
    assert "First" in result.out
    assert "BUILDING" in result.out
    trainer.answers["ListDatasets"] = pages()
    assert [json.loads(line)["name"] for line in corella("datasets", "list", "--json").out.splitlines()] == ["datasets/d1", "datasets/d2"]
    trainer.answers["ListDatasets"] = pages()
    assert len(corella("datasets", "list", "--json", "-n", "1").out.splitlines()) == 1


def test_examples_are_shown_of_one_split(corella: Run, trainer: Any) -> None:
    chat = [{"role": "user", "content": "Say it."}, {"role": "assistant", "content": "It."}]
    lines = [
        json.dumps({"id": "e1", "question": "How long?", "answer": "36\x1b[31m months", "split": "training"}),
        json.dumps({"id": "e2", "messages": chat, "split": "held_out", "corner_case": True}),
    ]
    trainer.answers["ListExamples"] = [trainer_pb2.ListExamplesResponse(examples=lines)]
    result = corella("datasets", "examples", "d1")
    assert "Q How long?" in result.out
    assert "A 36[31m months" in result.out
    held_out = corella("datasets", "examples", "d1", "--split", "held-out").out
    assert "How long?" not in held_out
    assert "held out, corner case" in held_out
    assert "Q Say it." in held_out
    assert "A It." in held_out
    assert [json.loads(line)["id"] for line in corella("datasets", "examples", "d1", "--json").out.splitlines()] == ["e1", "e2"]
    assert corella("datasets", "examples", "d1", "--split", "odd").code == 2


def test_a_dataset_is_shown_and_deleted_by_its_id(corella: Run, trainer: Any) -> None:
    trainer.answers["GetDataset"] = [trainer_pb2.GetDatasetResponse(dataset=ready(display_name="Mine"))]
    assert "datasets/d1  READY  Mine" in corella("datasets", "show", "d1").out
    assert trainer.asked["GetDataset"][0].name == "datasets/d1"
    assert "Deleted datasets/d1." in corella("datasets", "delete", "d1").out
    trainer.answers["GetDataset"] = [NotFound("There is no dataset `d1`.", reason="DATASET_NOT_FOUND")]
    assert "`corella datasets list`" in corella("datasets", "show", "d1").err


@pytest.mark.parametrize("leading", [(), ("give",)])
def test_feedback_is_given_with_or_without_the_word(corella: Run, generator: Any, leading: tuple[str, ...]) -> None:
    result = corella("feedback", *leading, "a1", "--down", "--correct", "48 months", "--comment", "outdated")
    assert result.code == 0
    assert "Stored answers/a1/feedback." in result.out
    [request] = generator.asked
    assert (request.parent, request.feedback.rating) == ("answers/a1", generator_pb2.RATING_DOWN)
    assert (request.feedback.corrected_text, request.feedback.comment) == ("48 months", "outdated")


def test_options_may_stand_before_the_answer(corella: Run, generator: Any) -> None:
    assert corella("feedback", "--up", "answers/a1").code == 0
    assert generator.asked[0].feedback.rating == generator_pb2.RATING_UP


@pytest.mark.parametrize("arguments", [("a1",), ("a1", "--up", "--down"), ("a1", "--comment", "x"), ("lsit",)])
def test_feedback_that_says_nothing_is_wrong_use(corella: Run, generator: Any, arguments: tuple[str, ...]) -> None:
    assert corella("feedback", *arguments).code == 2
    assert generator.asked == []


def test_feedback_is_listed_with_who_answered(corella: Run, generator: Any) -> None:
    generator.records = [
        generator_pb2.FeedbackRecord(
            feedback=generator_pb2.Feedback(name="answers/a/feedback", rating=generator_pb2.RATING_DOWN, corrected_text="48"),
            question="How long?",
            adapter="adapters/default/versions/3",
        ),
        generator_pb2.FeedbackRecord(feedback=generator_pb2.Feedback(rating=generator_pb2.RATING_UP), question="Where?"),
    ]
    rows = [line.split() for line in corella("feedback", "list").out.splitlines()]
    assert rows[1][2:] == ["down", "default/3", "How", "long?", "48"]
    assert rows[2][2:] == ["up", "base", "Where?"]
    assert len(corella("feedback", "list", "--json").out.splitlines()) == 2


def test_names_are_typed_and_read_in_short() -> None:
    assert full("jobs", "7") == full("jobs", "jobs/7") == "jobs/7"
    assert (short("jobs/7"), short("adapters/default/versions/3"), short("base"), short("")) == ("7", "default/3", "base", "")
    assert (served(""), served("adapters/default/versions/3")) == ("base", "default/3")
    assert adapter_version("default/3") == adapter_version("adapters/default/versions/3") == "adapters/default/versions/3"
