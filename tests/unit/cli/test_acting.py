"""Calling for somebody: what `--as-user` and its environment send, and what is said where that is not allowed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from services.chassis.acting import CALLER_KEY, decode
from services.chassis.errors import PermissionDenied
from services.chassis.identity import Caller

Run = Callable[..., Any]
ROLES = frozenset({"reader", "writer", "trainer"})


@pytest.fixture
def callers(retriever: Any) -> list[Caller | None]:
    """Whom each search was for."""
    found: list[Caller | None] = []
    search = retriever.Search

    def noting(request: Any, context: Any) -> Any:
        sent = [value for key, value in context.invocation_metadata() if key == CALLER_KEY]
        found.append(decode(sent[0]) if sent else None)
        return search(request, context)

    retriever.Search = noting
    return found


def test_without_options_nobody_is_named(callers: list[Caller | None], corella: Run) -> None:
    assert corella("search", "x").code == 0
    assert callers == [None]


def test_options_name_whom_to_call_for(callers: list[Caller | None], corella: Run) -> None:
    assert corella("--as-user", "ann", "--as-groups", "hr, entwicklung", "--as-tenant", "acme", "search", "x").code == 0
    assert callers == [Caller("ann", "acme", "ann", frozenset({"hr", "entwicklung"}), ROLES)]


def test_the_environment_does_the_same(callers: list[Caller | None], corella: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORELLA_AS_USER", "ann")
    monkeypatch.setenv("CORELLA_AS_GROUPS", "hr")
    assert corella("search", "x").code == 0
    assert callers == [Caller("ann", "default", "ann", frozenset({"hr"}), ROLES)]


def test_where_it_is_not_allowed_the_way_out_is_told(corella: Run, retriever: Any) -> None:
    retriever.error = PermissionDenied("Only a caller with the role `service` may act for somebody else.", reason="ACTING_NOT_ALLOWED")
    result = corella("--as-user", "ann", "search", "x")
    assert result.code != 0
    assert "Leave out --as-user" in result.err
