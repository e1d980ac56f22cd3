"""What a log says of an exception: where and as what, never the text it broke on."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from services.chassis.settings import TelemetrySettings
from services.chassis.telemetry_logs import get_logger, setup_logging
from services.chassis.tracebacks import without_text

SECRET = "the salary of Ottoline Marsh"


class Refused(Exception):
    pass


def broken(kind: type[Exception] = Refused) -> Exception:
    try:
        try:
            raise KeyError(SECRET)
        except KeyError as error:
            raise kind(SECRET) from error
    except kind as error:
        return error


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def logged(monkeypatch: pytest.MonkeyPatch, form: str, *, capture_text: bool) -> str:
    shown = io.StringIO()
    monkeypatch.setattr("sys.stderr", shown)
    setup_logging("unit", TelemetrySettings(log_format=form, capture_text=capture_text))  # type: ignore[arg-type]
    for log in (get_logger("corella"), logging.getLogger("a.library")):
        try:
            raise broken()
        except Refused:
            log.exception("it_broke")
    return shown.getvalue()


@pytest.mark.parametrize("form", ["json", "console"])
def test_text_of_exceptions_is_logged_only_where_text_may_be(monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    assert SECRET not in logged(monkeypatch, form, capture_text=False)
    assert logged(monkeypatch, form, capture_text=True).count(SECRET) == 4


def test_where_it_broke_and_why_is_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    for line in logged(monkeypatch, "json", capture_text=False).splitlines():
        told = json.loads(line)
        assert told["event"] == "it_broke"
        for each in ("KeyError", "direct cause", "Refused", "in broken", "raise kind(SECRET) from error"):
            assert each in told["exception"]


def test_system_calls_tell_their_code_and_not_their_file() -> None:
    said = without_text(FileNotFoundError(2, "No such file or directory", f"/srv/{SECRET}"))
    assert said == "FileNotFoundError: [Errno 2] No such file or directory"


def test_each_of_a_group_is_shown_and_a_circle_ends() -> None:
    first, second = ValueError(SECRET), TypeError(SECRET)
    first.__context__, second.__context__ = second, first
    said = without_text(ExceptionGroup(SECRET, [first, second]))
    assert SECRET not in said
    assert "Of 2, exception 2" in said
    assert said.count("ValueError") == 1
