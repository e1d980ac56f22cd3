"""Which tests may run beside one another.

`scripts/test.sh` runs all but the end-to-end tests in two processes (pytest-xdist). Tests of one file stay together, as do those that
share servers: each group starts its servers once.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
# Generators and trainers, each with an engine of its own; everything else of the contracts shares retrievers.
ENGINES = re.compile(r"contract/test_(generator|trainer|training|job_run|schedules|forgetting|mutual_tls)")


def group_of(file: Path) -> str:
    """Tests of the same group run one after the other, in the same process."""
    place = file.relative_to(TESTS).as_posix()
    if not place.startswith("contract/"):
        return place
    return "contracts with engines" if ENGINES.match(place) else "contracts with stores"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tells pytest-xdist (`--dist loadgroup`) the groups."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group(group_of(item.path)))
