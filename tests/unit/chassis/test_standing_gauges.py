"""Gauges show what was found last, and nothing when nothing has been found for a while."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from services.chassis import standing_gauges
from services.chassis.standing_gauges import Found, StandingGauges


class Store:
    """Something that is looked at."""

    def __init__(self) -> None:
        self.depth = 3
        self.away = False

    def look(self) -> Found:
        if self.away:
            raise ConnectionError("away")
        return {"corella.depth": [(self.depth, {"queue": "a"})], "corella.ended": [(7, {})]}


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> InMemoryMetricReader:
    reader = InMemoryMetricReader()
    monkeypatch.setattr(standing_gauges, "meter", MeterProvider([reader]).get_meter("test"))
    return reader


def shown(reader: InMemoryMetricReader) -> dict[str, list[tuple[float, dict[str, object]]]]:
    data = reader.get_metrics_data()
    if data is None:
        return {}
    metrics = [metric for resource in data.resource_metrics for scope in resource.scope_metrics for metric in scope.metrics]
    return {metric.name: [(point.value, dict(point.attributes)) for point in metric.data.data_points] for metric in metrics}


def test_what_was_found_is_shown_until_the_next_look(reader: InMemoryMetricReader) -> None:
    store = Store()
    gauges = StandingGauges(store.look, "things")
    gauges.gauge("corella.depth", "{entry}", "Depth.")
    gauges.counter("corella.ended", "{entry}", "Ended.")
    assert shown(reader) == {}
    gauges.look()
    store.depth = 9
    assert shown(reader) == {"corella.depth": [(3, {"queue": "a"})], "corella.ended": [(7, {})]}
    gauges.look()
    assert shown(reader)["corella.depth"] == [(9, {"queue": "a"})]


def test_a_store_that_is_away_for_long_does_not_look_like_one_that_stands_still(
    reader: InMemoryMetricReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(standing_gauges.time, "monotonic", lambda: now)
    store = Store()
    gauges = StandingGauges(store.look, "things", interval_seconds=10)
    gauges.gauge("corella.depth", "{entry}", "Depth.")
    gauges.look()
    store.away, now = True, 1025.0
    gauges.look()
    assert shown(reader)["corella.depth"] == [(3, {"queue": "a"})]
    now = 1031.0
    assert shown(reader) == {}
    store.away = False
    gauges.look()
    assert shown(reader)["corella.depth"] == [(3, {"queue": "a"})]


def test_it_looks_by_itself(reader: InMemoryMetricReader) -> None:
    store = Store()
    gauges = StandingGauges(store.look, "things", interval_seconds=0.01)
    gauges.gauge("corella.depth", "{entry}", "Depth.")
    gauges.start()
    try:
        for _ in range(500):
            if shown(reader):
                break
            gauges._ended.wait(0.01)
        assert shown(reader)["corella.depth"] == [(3, {"queue": "a"})]
    finally:
        gauges.stop()
