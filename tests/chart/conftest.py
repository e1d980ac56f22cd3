"""The chart without a cluster: rendered by helm, judged as data, and started as processes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from rendering import Rendering, ValueSet, render
from value_sets import VALUE_SETS


@pytest.fixture(params=VALUE_SETS, ids=lambda values: values.name)
def rendering(request: pytest.FixtureRequest) -> Rendering:
    """The chart with each of the value sets in turn."""
    values: ValueSet = request.param
    return render(values)
