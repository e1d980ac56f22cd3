"""What a panel is here: a title, a sentence on what to do when it looks wrong, a unit, and queries."""

from __future__ import annotations

from dataclasses import dataclass
from string import ascii_uppercase

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as dashboard_builders
from grafana_foundation_sdk.builders import prometheus, stat, table, tempo, timeseries
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models.tempo import SearchTableType

from deploy.dashboards.promql import quantile

PROMETHEUS = dashboard.DataSourceRef(type_val="prometheus", uid="${prometheus}")
TEMPO = dashboard.DataSourceRef(type_val="tempo", uid="${tempo}")
_HEIGHT = 8
_STAT_HEIGHT = 4


@dataclass(frozen=True)
class Query:
    """One PromQL expression. `legend` may name labels as `{{label}}`. `exemplars`: show the traces behind a histogram's points."""

    expression: str
    legend: str = ""
    exemplars: bool = False


def latency(histogram: str, *matchers: str) -> tuple[Query, ...]:
    """Median and the slowest 5 and 1 of 100, with the traces behind the points."""
    # One query is enough to bring the exemplars: they are those of the buckets, whichever quantile is asked.
    return tuple(Query(quantile(q, histogram, *matchers), f"p{q * 100:.0f}", exemplars=q == 0.99) for q in (0.5, 0.95, 0.99))


def graph(
    title: str, wrong: str, unit: str, *queries: Query, width: int = 8, stacked: bool = False, most: float | None = None
) -> timeseries.Panel:
    """Curves over time. `wrong` says what to do when they look wrong; `most` is the axis' end, for shares."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(wrong)
        .datasource(PROMETHEUS)
        .unit(unit)
        .min(0)
        .span(width)
        .height(_HEIGHT)
        .line_width(1)
        .fill_opacity(25 if stacked else 5)
        .show_points(common.VisibilityMode.NEVER)
        .legend(
            common_builders.VizLegendOptions()
            .display_mode(common.LegendDisplayMode.LIST)
            .placement(common.LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING))
    )
    if stacked:
        panel.stacking(common_builders.StackingConfig().mode(common.StackingMode.NORMAL).group("A"))
    if most is not None:
        panel.max(most)
    for ref, query in zip(ascii_uppercase, queries, strict=False):
        panel.with_target(_target(query, ref).range())
    return panel


def number(
    title: str, wrong: str, unit: str, query: Query, *, width: int = 4, warn: float | None = None, alarm: float | None = None
) -> stat.Panel:
    """One number with its course behind it, yellow from `warn` and red from `alarm`."""
    steps = [dashboard.Threshold(value=None, color="green")]
    steps += [dashboard.Threshold(value=value, color=color) for value, color in ((warn, "yellow"), (alarm, "red")) if value is not None]
    return (
        stat.Panel()
        .title(title)
        .description(wrong)
        .datasource(PROMETHEUS)
        .unit(unit)
        .span(width)
        .height(_STAT_HEIGHT)
        .graph_mode(common.BigValueGraphMode.AREA)
        .color_mode(common.BigValueColorMode.VALUE)
        .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(dashboard_builders.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(steps))
        .with_target(_target(query, "A").range())
    )


def trace_table(title: str, wrong: str, traceql: str, *, width: int = 12) -> table.Panel:
    """Traces that a TraceQL query finds; a click on one shows it in the dashboard's trace panel."""
    query = (
        tempo.TempoQuery().query_type("traceql").query(traceql).limit(20).table_type(SearchTableType.TRACES).ref_id("A").datasource(TEMPO)
    )
    to_panel = (
        dashboard_builders.DashboardLink("Show below")
        .type(dashboard.DashboardLinkType.LINK)
        .url("/d/corella-questions?${__url_time_range}&${prometheus:queryparam}&${tempo:queryparam}&var-trace=${__value.raw}")
    )
    link = dashboard.DynamicConfigValue(id_val="links", value=[to_panel.build()])
    return (
        table.Panel()
        .title(title)
        .description(wrong)
        .datasource(TEMPO)
        .span(width)
        .height(_HEIGHT)
        .override_by_name("traceID", [link])
        .with_target(query)
    )


def trace_view(title: str, wrong: str, traceql: str) -> dashboard_builders.Panel:
    """One trace as a waterfall."""
    # The library has no builder for Grafana's own panel `traces`; the general one carries it.
    query = tempo.TempoQuery().query_type("traceql").query(traceql).limit(1).ref_id("A").datasource(TEMPO)
    return (
        dashboard_builders.Panel().type("traces").title(title).description(wrong).datasource(TEMPO).span(24).height(14).with_target(query)
    )


def _target(query: Query, ref: str) -> prometheus.Dataquery:
    target = prometheus.Dataquery().expr(query.expression).ref_id(ref).datasource(PROMETHEUS)
    if query.legend:
        target.legend_format(query.legend)
    return target.exemplar(True) if query.exemplars else target
