"""Which tests may run beside one another.

`scripts/test.sh` runs all but the end-to-end tests in two processes (pytest-xdist). Tests of one file stay together, as do those that
share servers: each group starts its servers once.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

# Generators and trainers, each with an engine of its own; everything else of the contracts shares retrievers.
ENGINES = re.compile(r"tests/contract/test_(generator|trainer|training|job_run|schedules|forgetting|mutual_tls)")


def group_of(test: str) -> str:
    """Of a test, by its id. Tests of the same group run one after the other, in the same process."""
    file = test.partition("::")[0]
    if not file.startswith("tests/contract/"):
        return file
    return "contracts with engines" if ENGINES.match(file) else "contracts with stores"


class Groups(LoadScopeScheduling):
    """Gives a process whole groups. pytest-xdist's own way, marks and `--dist loadgroup`, does not see the marks from pytest 9.2 on."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Groups:
    """Asked by pytest-xdist."""
    return Groups(config, log)
