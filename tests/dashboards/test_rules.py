"""The alerts: each fires for its cause and keeps silent otherwise, as promtool says, and each leads to a page that helps."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from expressions import ROOT, RULES, rules

ALERTS = [rule for rule in rules() if "alert" in rule]
CASES = sorted((Path(__file__).parent / "rules").glob("*.test.yaml"))
_SECTIONS = ("## What it means", "## Look first", "## What to do", "## It is over when")


def _id(alert: dict[str, Any]) -> str:
    return f"{alert['alert']} {alert['labels']['severity']}"


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.name)
def test_promtool_accepts_the_rules(path: Path, promtool: Path) -> None:
    done = subprocess.run([promtool, "check", "rules", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.name)
def test_alerts_fire_when_they_should_and_only_then(path: Path, promtool: Path) -> None:
    done = subprocess.run([promtool, "test", "rules", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.name)
def test_what_is_recorded_is_there_before_the_alerts_that_read_it(path: Path) -> None:
    """promtool takes the groups in a random order unless told one: an alert evaluated first sees the round before, or nothing at all."""
    case = yaml.safe_load(path.read_text())
    groups = [group for file in case["rule_files"] for group in yaml.safe_load((path.parent / file).read_text())["groups"]]
    recorded = {rule["record"]: group["name"] for group in groups for rule in group["rules"] if "record" in rule}
    order = {name: place for place, name in enumerate(case.get("group_eval_order", []))}
    for group in groups:
        for rule in group["rules"]:
            for record, origin in recorded.items():
                if origin != group["name"] and record in rule["expr"]:
                    assert order[origin] < order[group["name"]], f"{group['name']} reads {record} of {origin}"


@pytest.mark.parametrize("alert", ALERTS, ids=_id)
def test_each_alert_is_tested_both_ways(alert: dict[str, Any]) -> None:
    fires, silent = False, False
    for path in CASES:
        for case in yaml.safe_load(path.read_text())["tests"]:
            for check in case["alert_rule_test"]:
                if check["alertname"] == alert["alert"]:
                    severities = {each["exp_labels"]["severity"] for each in check["exp_alerts"]}
                    fires |= alert["labels"]["severity"] in severities
                    silent |= alert["labels"]["severity"] not in severities
    assert fires, "no case in which it fires"
    assert silent, "no case in which it does not"


@pytest.mark.parametrize("alert", ALERTS, ids=_id)
def test_each_alert_says_how_bad_what_and_where_to_read_on(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert alert["alert"].startswith("Corella")
    notes = alert["annotations"]
    assert len(notes["summary"]) > 20
    assert len(notes["description"]) > 40
    page = ROOT / notes["runbook_url"]
    assert page.parent == ROOT / "docs/runbooks"
    text = page.read_text()
    assert text.startswith(f"# {alert['alert']}\n"), f"{page.name} is about another alert"
    assert [section for section in _SECTIONS if section not in text] == []


def test_each_runbook_belongs_to_an_alert_and_is_listed() -> None:
    pages = {page.name for page in (ROOT / "docs/runbooks").glob("*.md")} - {"README.md"}
    assert pages == {Path(alert["annotations"]["runbook_url"]).name for alert in ALERTS}
    index = (ROOT / "docs/runbooks/README.md").read_text()
    assert [page for page in sorted(pages) if f"({page})" not in index] == []


def test_objectives_burn_as_the_workbook_says() -> None:
    """2 % of 30 days' budget in an hour, 5 % in six, 10 % in three days: 14.4, 6 and 1 times the rate that just lasts."""
    [fast] = [rule["expr"] for rule in ALERTS if _id(rule) == "CorellaAnswersFail critical"]
    assert "ratio_rate1h > 0.072 and namespace:corella_answers_failed:ratio_rate5m > 0.072" in fast
    assert "ratio_rate6h > 0.03 and namespace:corella_answers_failed:ratio_rate30m > 0.03" in fast
    [slow] = [rule["expr"] for rule in ALERTS if _id(rule) == "CorellaAnswersFail warning"]
    assert "ratio_rate3d > 0.005 and namespace:corella_answers_failed:ratio_rate6h > 0.005" in slow
