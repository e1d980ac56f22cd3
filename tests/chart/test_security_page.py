"""docs/security.md shows who may connect to whom exactly as the chart's allow-list has it."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]


def test_the_pages_table_is_the_charts_allow_list():
    allowed: dict[str, set[str]] = {}
    for line in yaml.safe_load((ROOT / "deploy/helm/corella/files/allow-list.yaml").read_text())["connections"]:
        shown = f"({line['to']})" if line.get("when") else line["to"]
        allowed.setdefault(line["from"], set()).add(shown)
    page = (ROOT / "docs/security.md").read_text().partition("## Who may connect to whom")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (\S+) \| (.+) \|$", page, re.MULTILINE)
    told = {source: set(targets.split(", ")) for source, targets in rows if source != "from"}
    assert told == allowed
