"""The renderings in examples/ are what the chart renders now, byte for byte, by the helm they were made with."""

from __future__ import annotations

import re

import pytest
from rendering import CHART, HELM_VERSION, PROFILES, ROOT, ValueSet, helm, render

pytestmark = pytest.mark.chart


@pytest.mark.parametrize("profile", PROFILES)
def test_the_committed_rendering_is_current(profile: str) -> None:
    now = render(ValueSet(f"committed-{profile}", profile)).text
    assert (CHART / "examples" / profile / "rendered.yaml").read_text() == now, "run `make chart-render` and look at what changed"


def test_helm_is_the_one_that_the_renderings_are_made_with() -> None:
    assert helm("version", "--short").stdout.startswith(f"{HELM_VERSION}+"), "run `make chart-tools`"
    assert re.search(r"^HELM_VERSION=(.*)$", (ROOT / "scripts/chart_tools.sh").read_text(), re.MULTILINE)[1] == HELM_VERSION  # type: ignore[index]
