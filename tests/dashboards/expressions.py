"""All expressions that Corella ships: of dashboards, alerts and KEDA's triggers, with Grafana's variables put in; and what they name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy/helm/corella"
DASHBOARDS = sorted((CHART / "dashboards").glob("*.json"))
RULES = sorted((CHART / "alerts").glob("*.yaml"))

_VARIABLES = {"$__rate_interval": "10m", "$__range": "10m", "$namespace": ".*", "$instance": ".*"}
"""The windows hold all that a test does, however slow its machine is."""
_TRACE_VARIABLES = {"${slow}": "5s", "${adapter}": ".+"}
_LABELS_AND_STRINGS = re.compile(r"\{[^{}]*\}|\[[^\]]*\]|\"[^\"]*\"")
_GROUPING = re.compile(r"\b(?:by|on|without|ignoring|group_left|group_right)\s*\([^)]*\)")
_WORD = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*(?!\s*\()(?![a-zA-Z0-9_:])")
_SELECTOR = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{[^{}]*\})?")
_KEYWORDS = {"by", "on", "without", "ignoring", "group_left", "group_right", "and", "or", "unless", "bool", "offset", "d", "h", "m", "s"}


@dataclass(frozen=True)
class Expression:
    """One PromQL expression and where it stands."""

    place: str
    text: str
    """As Prometheus gets it."""

    @property
    def metrics(self) -> set[str]:
        """The metrics it names."""
        bare = re.sub(r"\boffset\s+\w+", "", _GROUPING.sub(" ", _LABELS_AND_STRINGS.sub(" ", self.text)))
        return {word for word in _WORD.findall(bare) if word not in _KEYWORDS}

    @property
    def selectors(self) -> set[str]:
        """The metrics it names with their matchers."""
        return {
            found[0] for found in _SELECTOR.finditer(re.sub(r"\[[^\]]*\]", " ", _GROUPING.sub(" ", self.text))) if found[1] in self.metrics
        }


def panels(dashboard: Path) -> list[dict[str, Any]]:
    """The panels of a dashboard's file, without the rows' titles."""
    return [panel for panel in json.loads(dashboard.read_text())["panels"] if panel["type"] != "row"]


def of_dashboards() -> Iterator[Expression]:
    """Of all panels."""
    for path in DASHBOARDS:
        for panel in panels(path):
            for target in panel["targets"]:
                if "expr" in target:
                    yield Expression(f"{path.stem}: {panel['title']}: {target['refId']}", _filled(target["expr"], _VARIABLES))


def rules() -> Iterator[dict[str, Any]]:
    """All rules of all files."""
    for path in RULES:
        for group in yaml.safe_load(path.read_text())["groups"]:
            yield from group["rules"]


def of_rules() -> Iterator[Expression]:
    """Of recording rules and alerts."""
    for rule in rules():
        severity = rule.get("labels", {}).get("severity", "")
        yield Expression(f"{rule.get('record') or rule['alert']} {severity}".strip(), rule["expr"])


def of_keda(namespace: str) -> Iterator[Expression]:
    """Of the triggers in the chart's template, for a release in `namespace`."""
    text = (CHART / "templates/autoscaling.yaml").read_text()
    found = re.findall(r"^(?:max|sum|avg)\(.*\)$", text, re.MULTILINE)
    assert found, "the template's queries are written otherwise now"
    for number, query in enumerate(found):
        yield Expression(f"keda {number}", query.replace("{{ .root.Release.Namespace }}", namespace))


def traceql() -> Iterator[Expression]:
    """The TraceQL queries of all panels; the one that is a trace's id is none."""
    for path in DASHBOARDS:
        for panel in panels(path):
            for target in panel["targets"]:
                if "query" in target and target["query"] != "${trace}":
                    yield Expression(f"{path.stem}: {panel['title']}", _filled(target["query"], _TRACE_VARIABLES))


def _filled(text: str, variables: dict[str, str]) -> str:
    for name, value in variables.items():
        text = text.replace(name, value)
    assert "$" not in text, f"a variable is not known: {text}"
    return text
