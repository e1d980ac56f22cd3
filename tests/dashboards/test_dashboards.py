"""The dashboards as files: current, complete, and each panel says what to do."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from expressions import DASHBOARDS, ROOT, Expression, of_dashboards, of_keda, of_rules, panels, traceql
from traceql import attributes

from deploy.dashboards.catalog import BOARDS, OBJECTIVES_FILE, file_of, objectives_text, text_of
from deploy.dashboards.layout_picture import draw, picture_of

PANELS = [(path.stem, panel) for path in DASHBOARDS for panel in panels(path)]
IDS = [f"{name}: {panel['title']}" for name, panel in PANELS]
# What a person can do; a description must tell at least one of them to.
_ACTS = re.compile(
    r"\b(accept|act|add|allow|ask|check|choose|click|compare|confirm|convert|drain|evaluate|exclude|find|fix|follow|give|group|look|lower|move|open|"
    r"raise|read|roll|see|set|shorten|start|stop|switch|take|use|widen)\b",
    re.IGNORECASE,
)


def test_the_six_dashboards_are_there() -> None:
    assert [board.title for board in BOARDS] == [
        "Questions", "Retrieval quality", "Ingestion", "Generation and GPU", "Training", "Cost"
    ]  # fmt: skip
    assert {file_of(board) for board in BOARDS} == set(DASHBOARDS)


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
def test_the_committed_file_is_what_the_builder_writes(board: Any) -> None:
    assert file_of(board).read_text(encoding="utf-8") == text_of(board), "run `make dashboards`"


def test_the_committed_objectives_are_what_is_written() -> None:
    assert OBJECTIVES_FILE.read_text(encoding="utf-8") == objectives_text(), "run `make dashboards`"


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
def test_a_picture_of_the_layout_can_be_drawn_and_is_in_the_documentation(board: Any, tmp_path: Path) -> None:
    draw(board, tmp_path / "drawn.png")
    assert (tmp_path / "drawn.png").read_bytes().startswith(b"\x89PNG")
    assert picture_of(board).is_file(), "run `make dashboards`"
    assert f"pictures/{picture_of(board).name}" in (ROOT / "docs/observability.md").read_text()


@pytest.mark.parametrize(("name", "panel"), PANELS, ids=IDS)
def test_each_panel_says_what_to_do_when_it_looks_wrong(name: str, panel: dict[str, Any]) -> None:
    description = panel["description"]
    assert len(description) >= 40
    assert _ACTS.search(description), "tells nobody to do anything"
    assert description.endswith(".")
    for page in re.findall(r"\b([a-z-]+\.md)\b", description):
        assert (ROOT / "docs/runbooks" / page).is_file(), page
    for title in re.findall(r"“([^”]+)”", description):
        assert title.lower() in _known_words(name), f"“{title}” is nowhere"


def _known_words(name: str) -> set[str]:
    """What a description may put in quotation marks: titles of dashboards and panels, labels of variables, legends of its own panels."""
    titles = {panel["title"].lower() for _, panel in PANELS} | {board.title.lower() for board in BOARDS}
    legends = {
        word.lower() for at, panel in PANELS if at == name for target in panel["targets"] for word in [target.get("legendFormat", "")]
    }
    boxes = {label.lower() for board in BOARDS for _, label, _ in board.text_boxes}
    # Values of labels that legends are made of.
    return (
        titles
        | legends
        | boxes
        | {"answered", "refused", "failed", "dropped", "computed", "datasets", "training", "input", "output", "base"}
    )


@pytest.mark.parametrize(("name", "panel"), PANELS, ids=IDS)
def test_each_panel_has_a_unit_and_a_data_source_that_can_be_chosen(name: str, panel: dict[str, Any]) -> None:
    assert panel["datasource"]["uid"] in {"${prometheus}", "${tempo}"}
    if panel["datasource"]["type"] == "prometheus":
        assert panel["fieldConfig"]["defaults"]["unit"]


def test_ids_are_unique_and_panels_lie_side_by_side() -> None:
    for path in DASHBOARDS:
        every = json.loads(path.read_text())["panels"]
        assert len({panel["id"] for panel in every}) == len(every)
        cells = [
            (x, y)
            for panel in every
            for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
            for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
        ]
        assert len(cells) == len(set(cells)), f"{path.stem}: panels lie upon each other"
        assert max(x for x, _ in cells) < 24, f"{path.stem}: a panel reaches beyond the edge"


def test_variables_are_the_data_sources_the_namespace_and_the_instance() -> None:
    for path in DASHBOARDS:
        names = [variable["name"] for variable in json.loads(path.read_text())["templating"]["list"]]
        assert names[:4] == ["prometheus", "tempo", "namespace", "instance"]


def test_latencies_show_their_exemplars() -> None:
    with_exemplars = {IDS[at] for at, (_, panel) in enumerate(PANELS) if any(target.get("exemplar") for target in panel["targets"])}
    assert {
        "questions: Duration of an answer",
        "questions: Time to first token",
        "retrieval-quality: Duration of searches",
        "ingestion: From taken up to searchable or failed",
        "generation: Time to first token",
    } <= with_exemplars


def test_a_click_on_a_trace_leads_to_the_panel_that_shows_it() -> None:
    [table] = [panel for name, panel in PANELS if name == "questions" and panel["title"] == "Slow answers"]
    [override] = table["fieldConfig"]["overrides"]
    assert override["matcher"] == {"id": "byName", "options": "traceID"}
    assert "/d/corella-questions?" in override["properties"][0]["value"][0]["url"]
    assert "var-trace=${__value.raw}" in override["properties"][0]["value"][0]["url"]


def test_every_expression_is_promql(promtool: Path, tmp_path: Path) -> None:
    every = [*of_dashboards(), *of_rules(), *of_keda("corella")]
    assert len(every) > 150
    named = [{"record": f"expression_{number}", "expr": each.text} for number, each in enumerate(every)]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": named}]}))
    done = subprocess.run([promtool, "check", "rules", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_names_of_an_expressions_metrics_are_found() -> None:
    text = 'sum by (le, a_label) (rate(one_bucket{x="y_z"}[5m])) / on () group_left () (two:x:y > 0) unless three offset 15m or vector(0)'
    assert Expression("", text).metrics == {"one_bucket", "two:x:y", "three"}


@pytest.mark.parametrize("query", traceql(), ids=lambda query: query.place)
def test_each_trace_query_can_be_read(query: Expression) -> None:
    assert ("resource", "service.name") in attributes(query.text)


def test_the_reader_of_trace_queries_finds_attributes_and_refuses_what_is_none() -> None:
    query = '{ resource.service.name = "a.b" && duration > 5s && status = error } >> { span.gen_ai.usage.input_tokens > 10 || .x != nil }'
    assert attributes(query) == {("resource", "service.name"), ("span", "gen_ai.usage.input_tokens"), ("", "x")}
    for wrong in ('{ service = "x" }', "{ span.a = 1", 'span.a = "x"', "{ span.a = ? }"):
        with pytest.raises(ValueError):
            attributes(wrong)
