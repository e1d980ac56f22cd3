"""Makes text from outside harmless in Markdown: questions, documents and answers must not become links, pictures, HTML or table cells."""

from __future__ import annotations

import re
from collections.abc import Sequence

_SPECIAL = re.compile(r"([\\`*_\[\]|~$])|^([#+=-]|\d+(?=[.)]\s))")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u200b-\u200f\u202a-\u202e\u2066-\u2069]")
_ADDRESS = re.compile(r"(?i)\b(https?|ftp|mailto|www)(?=[:.])")


def plain(text: str, limit: int = 400) -> str:
    """`text` on one line, shown as it is whatever it holds, at most `limit` characters of it.

    Turning marks (Unicode's bidirectional controls) and invisible characters go; addresses lose what makes them clickable.
    """
    single = " ".join(_CONTROL.sub("", text).split())
    if len(single) > limit:
        single = single[: limit - 1].rstrip() + "…"
    escaped = _SPECIAL.sub(_escaped, single.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))
    # Renderers make links of bare addresses; a word joiner between scheme and colon stops them and cannot be seen.
    return _ADDRESS.sub("\\1\u2060", escaped).replace("@", "&#64;")


def _escaped(match: re.Match[str]) -> str:
    # The first group means something anywhere; the second only where a line begins, as a heading or an item of a list.
    return f"{match[0]}&#8288;" if match[0].isdigit() else f"\\{match[0]}"


def code(text: str, limit: int = 400) -> str:
    """`text` as code on one line: nothing in it means anything."""
    return f"`{' '.join(_CONTROL.sub('', text).replace('`', chr(39)).replace('|', '/').split())[:limit]}`"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of cells that are Markdown already. The first column is aligned left, the others right."""
    lines = [f"| {' | '.join(heads)} |", "|" + "|".join(["---"] + ["---:"] * (len(heads) - 1)) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def bullets(sentences: Sequence[str]) -> str:
    """A list of sentences that are Markdown already."""
    return "\n".join(f"- {sentence}" for sentence in sentences)
