"""Who may read: the rule, the one way to write it, and the number that stands for it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.chassis.identity import Caller
from services.retriever.access import EVERYONE, NOBODY, UNRESTRICTED, Access, Readable, access_id, access_of

ANNA = Caller("anna", user="anna", groups=frozenset({"staff", "board"}))
SERVICE = Caller("service", reads_everything=True)
NAMES = st.frozensets(st.text(min_size=1, max_size=12), max_size=5)


@pytest.mark.parametrize(
    ("access", "caller", "allowed"),
    [
        (EVERYONE, ANNA, True),
        (EVERYONE, Caller("nobody"), True),
        (NOBODY, ANNA, False),
        (NOBODY, SERVICE, False),
        (Access.listed(users=["anna"]), ANNA, True),
        (Access.listed(users=["Anna"]), ANNA, False),
        (Access.listed(groups=["staff", "sales"]), ANNA, True),
        (Access.listed(groups=["anna"]), ANNA, False),
        (Access.listed(users=["staff"]), ANNA, False),
        (Access.listed(users=[""]), Caller("nobody"), False),
        (Access.listed(), ANNA, False),
        (Access.listed(), SERVICE, False),
        (Access.listed(groups=["sales"]), SERVICE, True),
    ],
)
def test_who_is_allowed(access: Access, caller: Caller, allowed: bool) -> None:
    assert access.allows(caller) is allowed


@settings(deadline=None)
@given(NAMES, NAMES)
def test_what_is_written_is_read_as_it_was(users: frozenset[str], groups: frozenset[str]) -> None:
    access = Access.listed(users, groups)
    assert access_of(access.text) == (access if users or groups else NOBODY)
    assert access.text.isascii()
    assert all(line[:2] in {'u"', 'g"'} for line in access.text.split("\n")) or access.text == "nobody"


@settings(deadline=None)
@given(st.tuples(NAMES, NAMES), st.tuples(NAMES, NAMES))
def test_two_accesses_have_one_number_only_if_they_are_the_same(
    one: tuple[frozenset[str], frozenset[str]], other: tuple[frozenset[str], frozenset[str]]
) -> None:
    assert (Access.listed(*one).id == Access.listed(*other).id) is (one == other)


def test_the_numbers_of_everyone_and_nobody_are_fixed_and_no_list_has_them() -> None:
    assert (EVERYONE.id, NOBODY.id) == (0, -1)
    assert access_id('g"staff"') == 1 + int("b1dd1ba7e2a73", 16) == Access.listed(groups=["staff"]).id
    assert 0 < Access.listed(users=["anna"]).id <= 2**52


@pytest.mark.parametrize(
    ("readable", "expression", "admitted"),
    [
        (Readable(frozenset({0})), "access in [0]", {0}),
        (Readable(frozenset({7, 0, 3})), "access in [0, 3, 7]", {0, 3, 7}),
        (Readable(frozenset({0, -1})), "access in [-1, 0]", {0}),
        (Readable(None), "access >= 0", {0, 3, 7, 99}),
        (UNRESTRICTED, "access >= 0", {0, 3, 7, 99}),
    ],
)
def test_what_the_store_is_asked_is_what_is_allowed(readable: Readable, expression: str, admitted: set[int]) -> None:
    assert readable.expression == expression
    assert {number for number in (-1, 0, 3, 7, 99) if readable.admits(number)} == admitted
