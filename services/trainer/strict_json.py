"""Reads one JSON object as RFC 8259 means it: no `NaN`, no key twice, no number beyond what a float holds, no endless nesting."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn


class LineInvalid(ValueError):
    """A line that is no example; `problems` are clauses that say why."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def json_object(text: str) -> dict[str, Any]:
    """The object in `text`. Raises `LineInvalid`."""
    try:
        given = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_no_twins)
    except LineInvalid:
        raise
    except RecursionError:
        raise LineInvalid(["is nested too deeply"]) from None
    except json.JSONDecodeError as error:
        raise LineInvalid([f"is not JSON: {error.msg} at character {error.pos + 1:,}"]) from None
    except ValueError:
        raise LineInvalid(["is not JSON: a number is too long"]) from None
    if not isinstance(given, dict):
        raise LineInvalid(["must be a JSON object"])
    return given


def _no_constant(constant: str) -> NoReturn:
    raise LineInvalid([f"`{constant}` is not a number of JSON"])


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    given = dict(pairs)
    if len(given) != len(pairs):
        keys = [key for key, _ in pairs]
        twin = next(key for position, key in enumerate(keys) if key in keys[:position])
        raise LineInvalid([f"`{shown(twin)}` stands there twice"])
    for value in given.values():
        if isinstance(value, float) and not math.isfinite(value):
            raise LineInvalid(["a number is too large"])
    return given


def shown(key: str) -> str:
    """A key as an error may show it: short, on one line, without what cannot be written."""
    return "".join(character if character.isprintable() else "?" for character in key[:40])
