"""Takes values out of JSON that others made: whatever is not of the type asked for counts as absent. Pure."""

from __future__ import annotations

import json
from typing import Any

Object = dict[str, Any]


def parsed(content: bytes) -> Any:
    """JSON, without `NaN`, and without a depth or a number that would break the reader. Raises ValueError."""
    try:
        return json.loads(content, parse_constant=_no_number)
    except RecursionError as exc:
        raise ValueError("nested too deeply") from exc


def at(value: Any, *path: str) -> Any:
    """What lies at the end of a path of names; None when any of them is missing."""
    for name in path:
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def text(value: Any, *path: str) -> str:
    """A string; empty when there is none."""
    found = at(value, *path)
    return found if isinstance(found, str) else ""


def identity(value: Any, *path: str) -> str:
    """An id: a string of few plain characters, or a number. Empty when there is none. Safe as a part of a path."""
    found = at(value, *path)
    if isinstance(found, int) and not isinstance(found, bool):
        found = str(found)
    if not isinstance(found, str) or not 0 < len(found) <= 128:
        return ""
    return found if all(c.isascii() and (c.isalnum() or c in "-_") for c in found) else ""


def number(value: Any, *path: str) -> int | None:
    """A whole number that is not negative; None when there is none."""
    found = at(value, *path)
    return found if isinstance(found, int) and not isinstance(found, bool) and found >= 0 else None


def objects(value: Any, *path: str) -> list[Object]:
    """The objects of a list; what is no object is left out."""
    found = at(value, *path)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def strings(value: Any, *path: str) -> list[str]:
    """The strings of a list."""
    found = at(value, *path)
    return [each for each in found if isinstance(each, str)] if isinstance(found, list) else []


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
