"""Draws a dashboard's layout for the documentation: where each panel stands, its title and unit. The numbers are Grafana's own grid."""

from __future__ import annotations

import textwrap
from pathlib import Path

from grafana_foundation_sdk.models import dashboard

from deploy.dashboards.board import Board

_PICTURES = Path(__file__).parents[2] / "docs/pictures"
_COLUMNS = 24
_INCHES_PER_COLUMN = 0.46
_INCHES_PER_ROW = 0.17
_COLORS = {"stat": "#e3edf7", "timeseries": "#f4f6f8", "table": "#f7f0e3", "traces": "#eef5e6"}
_WORDS = {"stat": "number", "timeseries": "graph", "table": "table", "traces": "trace"}


def picture_of(board: Board) -> Path:
    """The picture's file."""
    return _PICTURES / f"dashboard-{board.name}.png"


def draw(board: Board, path: Path) -> None:
    """Draws into a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    made = board.build()
    panels = [panel for panel in made.panels or [] if panel.grid_pos is not None]
    height = max(panel.grid_pos.y + panel.grid_pos.h for panel in panels)
    figure, axes = pyplot.subplots(figsize=(_COLUMNS * _INCHES_PER_COLUMN, height * _INCHES_PER_ROW + 0.5))
    axes.set_xlim(0, _COLUMNS)
    axes.set_ylim(height, -2.5)
    axes.axis("off")
    axes.text(0.1, -1.2, made.title, fontsize=13, fontweight="bold", va="center")
    for panel in panels:
        _draw_panel(axes, panel)
    figure.tight_layout(pad=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Without a date and a version in it the same layout gives the same file.
    figure.savefig(path, dpi=80, metadata={"Software": None})
    pyplot.close(figure)


def _draw_panel(axes: object, panel: dashboard.Panel | dashboard.RowPanel) -> None:
    from matplotlib.axes import Axes
    from matplotlib.patches import Rectangle

    assert isinstance(axes, Axes)
    at = panel.grid_pos
    assert at is not None
    title = panel.title or ""
    if isinstance(panel, dashboard.RowPanel):
        axes.text(0.1, at.y + 0.5, f"▾ {title}", fontsize=10, va="center", color="#334")
        return
    axes.add_patch(Rectangle((at.x + 0.06, at.y + 0.1), at.w - 0.12, at.h - 0.2, facecolor=_COLORS[panel.type_val], edgecolor="#9aa4ae"))
    text = "\n".join(textwrap.wrap(title, width=max(10, int(at.w * 4.6))))
    axes.text(at.x + 0.25, at.y + 0.5, text, fontsize=8, va="top", fontweight="bold")
    axes.text(at.x + at.w - 0.25, at.y + at.h - 0.5, _about(panel), fontsize=6.5, va="bottom", ha="right", color="#667")


def _about(panel: dashboard.Panel) -> str:
    defaults = panel.field_config.defaults if panel.field_config else None
    unit = (defaults.unit if defaults else None) or ""
    return _WORDS[panel.type_val] + (f", {unit}" if unit not in ("", "short") else "")
