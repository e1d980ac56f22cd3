"""What the chart makes of dashboards, data sources and alerts, as helm renders it."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
import yaml
from expressions import CHART, DASHBOARDS, rules
from prometheus_server import tool

pytestmark = pytest.mark.chart

SETTINGS = (
    "dashboards.enabled=true",
    "dashboards.annotations.team=search",
    "dashboards.datasources.enabled=true",
    "dashboards.datasources.prometheus.url=http://prometheus:9090",
    "dashboards.datasources.tempo.url=http://tempo:3200",
    "alerts.enabled=true",
    "alerts.labels.release=stack",
    "alerts.runbookBaseUrl=https://wiki.example/runbooks/",
)


def rendered(*settings: str, template: str) -> subprocess.CompletedProcess[str]:
    command = [str(tool("helm")), "template", "corella", str(CHART), "-f", str(CHART / "examples/laptop/values.yaml")]
    return subprocess.run(
        [*command, "--set", ",".join(settings), "--show-only", f"templates/{template}"], capture_output=True, text=True, check=False
    )


def objects(template: str) -> list[dict[str, Any]]:
    done = rendered(*SETTINGS, template=template)
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def test_each_dashboard_is_a_config_map_that_the_sidecar_finds() -> None:
    made = objects("dashboards.yaml")
    assert len({each["metadata"]["name"] for each in made}) == len(made) == len(DASHBOARDS)
    for each in made:
        assert each["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert each["metadata"]["annotations"] == {"grafana_folder": "Corella", "team": "search"}
        [(key, text)] = each["data"].items()
        # Nothing of it is taken for a template of helm's.
        assert json.loads(text) == json.loads((CHART / "dashboards" / key.removeprefix("corella-")).read_text())


def test_points_lead_to_traces_and_spans_to_metrics() -> None:
    [made] = objects("datasources.yaml")
    assert made["metadata"]["labels"]["grafana_datasource"] == "1"
    metrics, traces = yaml.safe_load(made["data"]["corella-datasources.yaml"])["datasources"]
    assert (metrics["type"], metrics["url"]) == ("prometheus", "http://prometheus:9090")
    assert metrics["jsonData"]["exemplarTraceIdDestinations"] == [{"name": "trace_id", "datasourceUid": traces["uid"]}]
    assert (traces["type"], traces["url"]) == ("tempo", "http://tempo:3200")
    assert traces["jsonData"]["tracesToMetrics"]["datasourceUid"] == metrics["uid"]
    assert "serviceMap" not in traces["jsonData"]


def test_data_sources_without_an_address_are_refused_in_words() -> None:
    done = rendered("dashboards.datasources.enabled=true", template="datasources.yaml")
    assert done.returncode != 0
    assert "set dashboards.datasources.prometheus.url" in done.stderr


def test_all_rules_are_in_the_prometheus_rule_with_their_runbooks_where_they_are_kept() -> None:
    [made] = objects("alerts.yaml")
    assert made["kind"] == "PrometheusRule"
    assert made["metadata"]["labels"]["release"] == "stack"
    found = [rule for group in made["spec"]["groups"] for rule in group["rules"]]
    assert [rule["expr"] for rule in found] == [rule["expr"] for rule in rules()]
    addresses = {rule["annotations"]["runbook_url"] for rule in found if "alert" in rule}
    assert all(address.startswith("https://wiki.example/runbooks/") and address.count("//") == 1 for address in addresses)
