"""Which tests may run beside one another.

`scripts/test.sh` runs all but the end-to-end tests in two processes (pytest-xdist). Tests of one file stay together, as do those that
share servers: each group starts its servers once.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

ROOT = Path(__file__).parents[1]
# Generators and trainers: one after the other, because each has an engine that takes all cores while it starts.
ENGINES = "contracts with engines"
WITH_ENGINES = re.compile(r"tests/contract/test_(generator|trainer|training|job_run|schedules|forgetting|mutual_tls)")
SHARED_STORES = re.compile(
    r"(?<![.\w])(retriever_stack|retriever_address|embedder_address|milvus_uri|valkey_url|toy_stack|toy_embedder)\b *[:,)]"
)
"""Fixtures of the whole run, in the parameters of a test."""


@cache
def group_of(file: str) -> str:
    """Of the tests in a file. Tests of the same group run one after the other, in the same process."""
    if WITH_ENGINES.match(file):
        return ENGINES
    if file.startswith("tests/contract/") and SHARED_STORES.search((ROOT / file).read_text(encoding="utf-8")):
        return "contracts with shared stores"
    return file


class Groups(LoadScopeScheduling):
    """Gives a process whole groups. pytest-xdist's own way, marks and `--dist loadgroup`, does not see the marks from pytest 9.2 on."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid.partition("::")[0])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest group begins first, so that nobody waits for it at the end."""
    items.sort(key=lambda item: group_of(item.nodeid.partition("::")[0]) != ENGINES)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Groups:
    """Asked by pytest-xdist."""
    return Groups(config, log)
