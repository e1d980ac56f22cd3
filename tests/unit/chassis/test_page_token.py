"""Page tokens come back as they were given, and only to the request they belong to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis import page_token
from services.chassis.errors import InvalidArgument


@given(st.text(min_size=1), st.lists(st.text(), max_size=3))
def test_a_token_gives_back_its_position(position, bound_to):
    assert page_token.decode(page_token.encode(position, *bound_to), *bound_to) == position


def test_a_token_of_another_request_is_refused():
    token = page_token.encode("after-this", "corpora/a")
    with pytest.raises(InvalidArgument, match="other parameters"):
        page_token.decode(token, "corpora/b")


@given(st.text())
def test_anything_else_is_an_invalid_argument_and_never_another_error(text):
    try:
        page_token.decode(text)
    except InvalidArgument:
        return
    assert text == "" or text == page_token.encode(page_token.decode(text))


@pytest.mark.parametrize(("asked", "used"), [(0, 50), (7, 7), (1000, 1000), (5000, 1000)])
def test_page_sizes_are_bounded(asked, used):
    assert page_token.page_size(asked) == used


def test_a_negative_page_size_is_refused():
    with pytest.raises(InvalidArgument):
        page_token.page_size(-1)
