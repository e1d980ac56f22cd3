"""Every method has a rule, and every rule a method: a new RPC that nobody thought about is refused, and fails here first."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest
from google.protobuf import descriptor_pool

from services.chassis.roles import Role, holds, rules_of
from services.chassis.server import methods_without_rule

ROOT = Path(__file__).parents[3]
SERVICES = ("embedder", "retriever", "generator", "trainer")


def methods() -> set[str]:
    """The methods of every contract in corella/v1."""
    found = set()
    for path in (ROOT / "corella" / "v1").glob("*_pb2.py"):
        module = importlib.import_module(f"corella.v1.{path.stem}")
        for service in module.DESCRIPTOR.services_by_name.values():
            found |= {f"{service.full_name}/{method.name}" for method in service.methods}
    return found


def all_rules() -> dict[str, Role]:
    """The rules of all services."""
    return {method: role for name in SERVICES for method, role in importlib.import_module(f"services.{name}.rules").RULES.items()}


def test_every_method_has_a_rule_and_every_rule_a_method():
    assert methods() == set(all_rules())


def test_a_method_without_a_rule_is_found_at_start():
    methods()
    service = "corella.v1.EmbedderService"
    rules = {method: role for method, role in all_rules().items() if not method.endswith("/Rerank")}
    assert methods_without_rule([service, "corella.v1.NotLoaded"], rules) == [f"{service}/Rerank"]
    assert descriptor_pool.Default().FindServiceByName(service)


def test_the_table_in_the_documentation_is_the_one_in_the_code():
    text = (ROOT / "docs" / "access.md").read_text()
    rows = re.findall(r"^\| `(\w+)/(\w+)` \| `(\w+)` \|", text, re.MULTILINE)
    assert {f"corella.v1.{service}/{method}": role for service, method, role in rows} == all_rules()
    assert len(rows) == len(all_rules())


@pytest.mark.parametrize(
    ("roles", "wanted", "held"),
    [
        ({"reader"}, Role.READER, True), ({"reader"}, Role.WRITER, False), ({"reader"}, Role.TRAINER, False),
        ({"writer"}, Role.READER, True), ({"writer"}, Role.TRAINER, False), ({"writer"}, Role.ADMIN, False),
        ({"trainer"}, Role.READER, True), ({"trainer"}, Role.WRITER, False), ({"trainer"}, Role.ADMIN, False),
        ({"admin"}, Role.WRITER, True), ({"admin"}, Role.TRAINER, True), ({"admin"}, Role.SERVICE, False),
        ({"service"}, Role.READER, False), ({"service"}, Role.SERVICE, True), (set(), Role.READER, False), ({"root"}, Role.READER, False),
    ],
)  # fmt: skip
def test_what_a_role_includes(roles: set[str], wanted: Role, held: bool):
    assert holds(roles, wanted) is held


def test_two_rules_for_one_method_are_a_mistake():
    with pytest.raises(ValueError, match="two rules"):
        rules_of("a.B", {Role.READER: "C D", Role.ADMIN: "D"})
