"""Metadata conditions as Milvus expressions, in a form that no key and no value can break out of.

What a caller sends never enters an expression. A chunk carries labels: for every key and for every key with its value, the beginning
of a SHA-256. A condition asks whether the field holds one of them. Labels are hexadecimal, so there is nothing to escape, any
characters work, and the same expression runs on Milvus and on Milvus Lite.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from services.retriever.domain import Condition

LABELS_FIELD = "labels"
LABEL_DIGITS = 24
"""96 bits: two values of one corpus do not share a label by chance."""


def labels(metadata: Mapping[str, str]) -> str:
    """The labels of a document's metadata, each between blanks: ` k… v… k… v… `. Empty for no metadata."""
    found = [label for key, value in sorted(metadata.items()) for label in (key_label(key), value_label(key, value))]
    return f" {' '.join(found)} " if found else ""


def expression(conditions: Iterable[Condition]) -> str:
    """A Milvus expression that holds for chunks fulfilling every condition; empty for no condition."""
    return " and ".join(_one(condition) for condition in conditions)


def all_of(*expressions: str) -> str:
    """An expression that holds where all of these do; empty ones hold everywhere."""
    return " and ".join(f"({each})" for each in expressions if each)


def key_label(key: str) -> str:
    """Stands for the presence of a key."""
    return "k" + _digest("key", key)


def value_label(key: str, value: str) -> str:
    """Stands for a key having a value."""
    return "v" + _digest("value", str(len(key)), key, value)


def _one(condition: Condition) -> str:
    wanted = [value_label(condition.key, value) for value in condition.any_of] or [key_label(condition.key)]
    either = " or ".join(f'{LABELS_FIELD} like "% {label} %"' for label in wanted)
    return f"not ({either})" if condition.negate else f"({either})"


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:LABEL_DIGITS]
