"""Errors keep code, reason, text, violations and delay through `google.rpc.Status` and back."""

from __future__ import annotations

import pytest

from corella.errors import RpcFailure
from services.chassis import errors

KINDS = [
    errors.InvalidArgument,
    errors.NotFound,
    errors.AlreadyExists,
    errors.FailedPrecondition,
    errors.PermissionDenied,
    errors.Unauthenticated,
    errors.ResourceExhausted,
    errors.Unavailable,
    errors.DeadlineExceeded,
    errors.Unimplemented,
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_survives_the_round_trip(kind):
    error = kind("What went wrong.", reason="A_REASON", violations=[("field", "text")], retry_after_seconds=2.5, corpus="legal")
    back = errors.from_failure(RpcFailure.from_status(error.to_status()))
    assert type(back) is kind
    assert (back.message, back.reason, back.violations) == ("What went wrong.", "A_REASON", (("field", "text"),))
    assert back.retry_after_seconds == 2.5
    assert back.metadata == {"corpus": "legal"}


def test_the_text_of_an_invalid_argument_names_the_first_five_violations():
    error = errors.InvalidArgument.of([(f"texts[{n}]", "is empty") for n in range(8)])
    assert "texts[4]: is empty" in error.message
    assert "and 3 more" in error.message
    assert len(error.violations) == 8
