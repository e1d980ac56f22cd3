"""vLLM's times of a text as times of day. vLLM itself does not run here."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from services.generator.domain import EngineTimes
from services.generator.settings import VllmSettings
from services.generator.vllm_engine import engine_arguments, engine_times


def stats(queued: float, scheduled: float, first: float, last: float) -> SimpleNamespace:
    return SimpleNamespace(queued_ts=queued, scheduled_ts=scheduled, first_token_ts=first, last_token_ts=last)


def test_times_count_from_the_start_of_the_machine() -> None:
    start = time.time_ns() - time.monotonic_ns()
    now = time.monotonic()
    times = engine_times(stats(now, now + 0.5, now + 1, now + 2), start)
    assert times is not None
    assert abs(times.queued - time.time_ns()) < 1e9
    assert [round((each - times.queued) / 1e9, 6) for each in (times.scheduled, times.first_token, times.last_token)] == [0.5, 1, 2]


@pytest.mark.parametrize("given", [None, stats(0, 0, 0, 0), stats(5, 0, 0, 0), stats(5, 6, 0, 0)])
def test_what_has_not_happened_has_no_time(given: SimpleNamespace | None) -> None:
    assert engine_times(given, 0) is None


def test_all_that_is_known_is_told() -> None:
    assert engine_times(stats(1, 2, 3, 4), 10) == EngineTimes(10 + 10**9, 10 + 2 * 10**9, 10 + 3 * 10**9, 10 + 4 * 10**9)


def test_vllm_measures_and_names_the_model_as_spans_do() -> None:
    given = engine_arguments(VllmSettings(), 4)
    assert given["disable_log_stats"] is False
    assert given["served_model_name"] == "SmolLM2-135M-Instruct"
