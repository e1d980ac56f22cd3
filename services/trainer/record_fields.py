"""Records as JSON, field by field, and back: what is kept of a dataclass and its enums, tuples and nested dataclasses.

Fields that a record does not have yet take their defaults, so that records of an earlier version can be read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from functools import cache
from typing import Any, TypeVar, cast, get_type_hints

from pydantic import TypeAdapter

T = TypeVar("T")


@cache
def _adapters(kind: Any) -> dict[str, TypeAdapter[Any]]:
    hints = get_type_hints(kind)
    return {each.name: TypeAdapter(hints[each.name]) for each in fields(kind)}


def dump_fields(kind: type, values: Mapping[str, Any]) -> list[str]:
    """Names and JSON of some fields of `kind`, in turn, as Redis takes them for a hash."""
    adapters = _adapters(kind)
    flat: list[str] = []
    for name, value in values.items():
        flat += [name, adapters[name].dump_json(value).decode()]
    return flat


def dump_record(record: Any) -> list[str]:
    """All fields of a record."""
    return dump_fields(type(record), {each.name: getattr(record, each.name) for each in fields(record)})


def load_record(kind: type[T], stored: Mapping[str, str]) -> T:
    """The record of stored fields; what is not known is passed over."""
    adapters = _adapters(cast(Any, kind))
    return kind(**{name: adapters[name].validate_json(text) for name, text in stored.items() if name in adapters})


def load_fields(kind: type, stored: Mapping[str, str]) -> dict[str, Any]:
    """Some fields of a record; those that are not stored have their defaults. Fields without a default must be there if they are used."""
    adapters = _adapters(kind)
    defaults = {each.name: each.default for each in fields(kind) if each.default is not MISSING}
    return defaults | {name: adapters[name].validate_json(text) for name, text in stored.items()}


@cache
def _whole(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def dump_whole(record: Any) -> str:
    """A record as one text."""
    return str(_whole(cast(Any, type(record))).dump_json(record).decode())


def load_whole(kind: type[T], text: str) -> T:
    """The record in one text."""
    loaded: T = _whole(cast(Any, kind)).validate_json(text)
    return loaded
