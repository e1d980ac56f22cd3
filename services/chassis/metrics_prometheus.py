"""OpenTelemetry's metrics as Prometheus families, with an exemplar on each histogram bucket.

opentelemetry-exporter-prometheus has no exemplars. Names follow OpenTelemetry's compatibility rules: dots become underscores, the unit is
appended, a counter ends with `_total`:

    rpc.server.call.duration, s        rpc_server_call_duration_seconds{rpc_method="…"}
    corella.usage.seconds, s           corella_usage_seconds_total
    corella.embedder.batch.tokens      corella_embedder_batch_tokens   (a unit in braces is a remark)
"""

from __future__ import annotations

import json
import re
import threading
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.metrics.export import (
    Histogram,
    HistogramDataPoint,
    MetricReader,
    MetricsData,
    NumberDataPoint,
    Sum,
)
from opentelemetry.sdk.metrics.export import Metric as Measured
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar
from prometheus_client.utils import floatToGoString

_UNITS = {
    "d": "days", "h": "hours", "min": "minutes", "s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds",
    "By": "bytes", "KiBy": "kibibytes", "MiBy": "mebibytes", "GiBy": "gibibytes", "%": "percent",
}  # fmt: skip
_PER = {"s": "second", "min": "minute", "h": "hour", "d": "day"}

Labels = dict[str, str]


class PrometheusReader(MetricReader):
    """A metric reader of OpenTelemetry's that reads when it is asked."""

    def __init__(self, attributes: Mapping[str, Any] | None = None) -> None:
        """`attributes` are the resource's: a process that has measured nothing yet shows that it is there, and as what."""
        super().__init__()
        self._attributes = attributes
        self._lock = threading.Lock()
        self._read: MetricsData | None = None
        # The SDK gives an exemplar to one reading only; scrapes by several, or one that was lost, must not cost it.
        self._exemplars: dict[tuple[str, tuple[tuple[str, str], ...], str], Exemplar] = {}

    def families(self) -> list[Metric]:
        """The families as they are now. May be called from several threads."""
        with self._lock:
            self.collect()
            read, self._read = self._read, None
            found = list(self._families(read)) if read is not None else []
            return found or ([_target(self._attributes)] if self._attributes is not None else [])

    def _receive_metrics(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **_: Any) -> None:
        self._read = metrics_data

    def shutdown(self, timeout_millis: float = 30_000, **_: Any) -> None:
        """Nothing is open."""

    def _families(self, read: MetricsData) -> Iterator[Metric]:
        for resource_metrics in read.resource_metrics:
            yield _target(resource_metrics.resource.attributes)
            for scope_metrics in resource_metrics.scope_metrics:
                for measured in scope_metrics.metrics:
                    yield self._family(measured)

    def _family(self, measured: Measured) -> Metric:
        counts = isinstance(measured.data, Sum) and measured.data.is_monotonic
        kind = "histogram" if isinstance(measured.data, Histogram) else "counter" if counts else "gauge"
        unit = "ratio" if measured.unit == "1" and kind == "gauge" else prometheus_unit(measured.unit or "")
        name = _name(measured.name)
        if kind == "counter":
            name = name.removesuffix("_total")
        family = Metric(name, measured.description or "", kind, unit)
        for point in measured.data.data_points:
            labels = _labels(point.attributes)
            if isinstance(point, HistogramDataPoint):
                self._add_histogram(family, labels, point)
            elif isinstance(point, NumberDataPoint):
                family.add_sample(f"{family.name}_total" if counts else family.name, labels, point.value)
        return family

    def _add_histogram(self, family: Metric, labels: Labels, point: HistogramDataPoint) -> None:
        bounds = [floatToGoString(bound) for bound in (*point.explicit_bounds, float("inf"))]
        series = (family.name, tuple(sorted(labels.items())))
        for one in point.exemplars:
            if one.trace_id and one.span_id:
                ids = {"trace_id": trace.format_trace_id(one.trace_id), "span_id": trace.format_span_id(one.span_id)}
                bound = bounds[bisect_left(point.explicit_bounds, one.value)]
                self._exemplars[*series, bound] = Exemplar(ids, one.value, one.time_unix_nano / 1e9)
        total = 0
        for bound, count in zip(bounds, point.bucket_counts, strict=True):
            total += count
            exemplar = self._exemplars.get((*series, bound))
            family.add_sample(f"{family.name}_bucket", {**labels, "le": bound}, total, exemplar=exemplar)
        family.add_sample(f"{family.name}_count", labels, total)
        family.add_sample(f"{family.name}_sum", labels, point.sum)


def _target(attributes: Any) -> Metric:
    target = Metric("target", "The process as OpenTelemetry describes it.", "info")
    target.add_sample("target_info", _labels(attributes), 1)
    return target


def prometheus_unit(unit: str) -> str:
    """How a UCUM unit is written in a Prometheus name; empty for a mere remark such as `{token}`."""
    unit = re.sub(r"\{.*?\}", "", unit)
    top, per, bottom = unit.partition("/")
    if per:
        return "_".join(filter(None, (_UNITS.get(top, _name(top)), "per", _PER.get(bottom, _name(bottom)))))
    return _UNITS.get(unit, "" if unit == "1" else _name(unit).strip("_"))


def _name(name: str) -> str:
    return re.sub(r"[^a-zA-Z0-9:]+", "_", name)


def _labels(attributes: Any) -> Labels:
    return {_name(key): value if isinstance(value, str) else json.dumps(value, default=str) for key, value in (attributes or {}).items()}


class PrometheusCollector(Collector):
    """What prometheus_client asks at each scrape."""

    def __init__(self, reader: PrometheusReader) -> None:
        self._reader = reader

    def collect(self) -> Iterator[Metric]:
        """The families as they are now."""
        return iter(self._reader.families())
