"""A process that has measured nothing yet is seen all the same: alerts on missing processes look for it."""

from __future__ import annotations

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource

from services.chassis.metrics_prometheus import PrometheusReader


def test_an_idle_process_shows_what_it_is_and_once_only_when_it_measures() -> None:
    resource = Resource({"service.name": "corella-retriever-worker"})
    reader = PrometheusReader(resource.attributes)
    provider = MeterProvider(resource=resource, metric_readers=[reader])
    for _ in range(2):
        [target] = [family for family in reader.families() if family.name == "target"]
        assert [(sample.name, sample.labels, sample.value) for sample in target.samples] == [
            ("target_info", {"service_name": "corella-retriever-worker"}, 1)
        ]
        provider.get_meter("corella").create_counter("corella.things").add(1)
    provider.shutdown()
