"""What all dashboards have in common: data sources and variables to choose, links to one another, a time range."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard

from deploy.dashboards.panels import PROMETHEUS

TAG = "corella"


@dataclass(frozen=True)
class Section:
    """A titled row of panels."""

    title: str
    panels: Sequence[Builder[dashboard.Panel]]


@dataclass(frozen=True)
class Board:
    """One dashboard."""

    name: str
    """Part of its address and of its file's name."""
    title: str
    purpose: str
    """The sentence under the title: which question it answers."""
    sections: Sequence[Section]
    instances_of: str
    """A metric of the process whose replicas can be chosen under "Instance"."""
    text_boxes: Sequence[tuple[str, str, str]] = field(default=())
    """More variables: name, label, default."""
    range_start: str = "now-1h"

    @property
    def uid(self) -> str:
        """Its address in Grafana: /d/<uid>."""
        return f"{TAG}-{self.name}"

    def build(self) -> dashboard.Dashboard:
        """The dashboard as Grafana's model."""
        board = (
            builders.Dashboard(f"Corella / {self.title}")
            .uid(self.uid)
            .description(self.purpose)
            .tags([TAG])
            .time(self.range_start, "now")
            .refresh("30s")
            .timezone("browser")
            .readonly()
            .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
            .with_variable(builders.DatasourceVariable("prometheus").label("Metrics").type("prometheus"))
            .with_variable(builders.DatasourceVariable("tempo").label("Traces").type("tempo"))
            .with_variable(_values("namespace", "Namespace", "label_values(target_info, namespace)"))
            .with_variable(_values("instance", "Instance", f'label_values({self.instances_of}{{namespace=~"$namespace"}}, instance)'))
            .link(
                builders.DashboardLink("Corella")
                .type(dashboard.DashboardLinkType.DASHBOARDS)
                .tags([TAG])
                .as_dropdown(True)
                .include_vars(True)
                .keep_time(True)
            )
        )
        for name, label, default in self.text_boxes:
            option = dashboard.VariableOption(text=default, value=default)
            board.with_variable(builders.TextBoxVariable(name).label(label).default_value(default).current(option))
        for section in self.sections:
            board.with_row(builders.Row(section.title))
            for panel in section.panels:
                board.with_panel(panel)
        return _numbered(board.build())


def _values(name: str, label: str, query: str) -> builders.QueryVariable:
    everything = dashboard.VariableOption(selected=True, text="All", value="$__all")
    return (
        builders.QueryVariable(name)
        .label(label)
        .query({"query": query, "refId": name})
        .datasource(PROMETHEUS)
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboard.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        # Also where a Prometheus sets no such label.
        .all_value(".*")
        .current(everything)
    )


def _numbered(made: dashboard.Dashboard) -> dashboard.Dashboard:
    # Grafana numbers panels itself when it saves one, but a provisioned dashboard is never saved: links to a panel need the number.
    for number, panel in enumerate(made.panels or [], start=1):
        panel.id_val = number
    return made
