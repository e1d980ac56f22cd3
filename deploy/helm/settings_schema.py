"""A settings class as a flat, closed JSON schema: `vllm.context_tokens` and so on, with types, bounds and descriptions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel

Schema = dict[str, Any]

_KEPT = (
    "type", "enum", "const", "pattern", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength",
    "maxLength",
    "minItems", "maxItems", "description", "items", "additionalProperties", "properties", "required", "propertyNames",
)  # fmt: skip


def settings_of(settings: type[BaseModel], left_out: Sequence[str] = ()) -> Schema:
    """The schema of what may be set. `left_out` names fields, or with a dot at the end all that begin so."""
    whole = settings.model_json_schema()
    found = {
        name: schema
        for name, schema in _fields(whole, whole.get("$defs", {}), "")
        if not any(name == each or (each.endswith(".") and name.startswith(each)) for each in left_out)
    }
    return {"type": "object", "additionalProperties": False, "properties": dict(sorted(found.items()))}


def _fields(schema: Schema, definitions: Schema, prefix: str) -> Iterator[tuple[str, Schema]]:
    for name, field in schema["properties"].items():
        described = _resolved(field, definitions)
        if "properties" in described:
            yield from _fields(described, definitions, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", _plain(described, definitions)


def _resolved(field: Schema, definitions: Schema) -> Schema:
    """A field without references, and without `null`, which a variable cannot say."""
    if "$ref" in field:
        return {**definitions[field["$ref"].rpartition("/")[2]], **{key: value for key, value in field.items() if key != "$ref"}}
    if "anyOf" in field:
        kinds = [each for each in field["anyOf"] if each.get("type") != "null"]
        if len(kinds) == 1:
            return {**_resolved(kinds[0], definitions), **{key: value for key, value in field.items() if key != "anyOf"}}
    return field


def _plain(field: Schema, definitions: Schema) -> Schema:
    kept = {key: field[key] for key in _KEPT if key in field}
    for key in ("items", "additionalProperties", "propertyNames"):
        if isinstance(kept.get(key), dict):
            kept[key] = _plain(_resolved(kept[key], definitions), definitions)
    if "properties" in kept:
        kept["properties"] = {name: _plain(_resolved(each, definitions), definitions) for name, each in kept["properties"].items()}
    return kept
