"""Fragments of PromQL that the panels are put together from.

Every selector is bound to the namespaces chosen in Grafana. Those for metrics that each replica has for itself are also bound to the
instances chosen, by passing `INSTANCE`; what one process reports for all (the beats) is not.
"""

from __future__ import annotations

INSTANCE = 'instance=~"$instance"'
_NAMESPACE = 'namespace=~"$namespace"'
_RATE_WINDOW = "$__rate_interval"
_WHOLE_RANGE = "$__range"


def select(metric: str, *matchers: str) -> str:
    """A metric's series that match all of `matchers`."""
    return f"{metric}{{{', '.join((*matchers, _NAMESPACE))}}}"


def total(metric: str, *matchers: str, by: str = "") -> str:
    """The sum of a gauge, by labels (comma-separated)."""
    return f"{_sum(by)}({select(metric, *matchers)})"


def reported(metric: str, of: str, *matchers: str, by: str = "") -> str:
    """The sum of a gauge that a beat reports for the whole deployment, with one label `of`; two beats report the same twice."""
    return f"{_sum(by)}(max by (namespace, {of}) ({select(metric, *matchers)}))"


def rate(counter: str, *matchers: str, by: str = "") -> str:
    """A counter's growth per second."""
    return f"{_sum(by)}(rate({select(counter, *matchers)}[{_RATE_WINDOW}]))"


def growth(counter: str, *matchers: str, by: str = "") -> str:
    """A counter's growth over the whole time range shown."""
    return f"{_sum(by)}(increase({select(counter, *matchers)}[{_WHOLE_RANGE}]))"


def quantile(q: float, histogram: str, *matchers: str, by: str = "") -> str:
    """A quantile of a histogram; `histogram` without `_bucket`."""
    return f"histogram_quantile({q}, {rate(f'{histogram}_bucket', *matchers, by=f'le, {by}' if by else 'le')})"


def mean(histogram: str, *matchers: str, by: str = "") -> str:
    """The mean of what a histogram saw."""
    return f"{rate(f'{histogram}_sum', *matchers, by=by)} / {rate(f'{histogram}_count', *matchers, by=by)}"


def share(part: str, whole: str) -> str:
    """`part` of `whole`, 0 where nothing of the part ever happened, nothing where there was nothing of the whole."""
    return f"({part} or 0 * {whole}) / ({whole} > 0)"


def processes(service: str, by: str = "") -> str:
    """How many processes of a service report; `service` as in the resource attribute `service.name`, a regular expression."""
    count = f"count by ({by})" if by else "count"
    return f"{count} ({select('target_info', matches('service_name', service))})"


def equals(label: str, value: str) -> str:
    """A matcher."""
    return f'{label}="{value}"'


def matches(label: str, pattern: str) -> str:
    """A matcher by a regular expression, anchored at both ends."""
    return f'{label}=~"{pattern}"'


def or_zero(expression: str) -> str:
    """0 where a counter was never counted up, so that "never" is not shown as "no data"."""
    return f"({expression} or vector(0))"


def _sum(by: str) -> str:
    return f"sum by ({by})" if by else "sum"
