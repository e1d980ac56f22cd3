"""What tests of dashboards and alerts share: the builders can be imported, and where Prometheus' tools are."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

# `deploy` is no installed package: it is run from the root of the repository.
sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parent))


from prometheus_server import tool


@pytest.fixture(scope="session")
def promtool() -> Path:
    """promtool."""
    return tool("promtool")


@pytest.fixture(scope="session")
def prometheus_program() -> Path:
    """The Prometheus server."""
    return tool("prometheus")
