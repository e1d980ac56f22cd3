"""What the command line writes: tables and text for people, JSON for programs.

Text of documents and models is not trusted: a terminal would carry out control sequences in it. Everything shown passes `clean`.
"""

from __future__ import annotations

import json
import os
import re
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from rich.console import Console
    from rich.text import Text

# Control characters of C0 (but tab and line feed), DEL and C1, and the marks that turn the direction of writing round: with these a
# text could move the cursor, change the window's title, write the clipboard, or show a URL other than the one that opens.
_UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_OPENABLE = re.compile(r"(?:https?|file)://[^\s]+", re.IGNORECASE)


PIPE_WIDTH = 200


def clean(text: str) -> str:
    """The text without anything a terminal would obey. Line ends of other systems become line feeds."""
    return _UNSAFE.sub("", text.replace("\r\n", "\n"))


def line(text: str, at_most: int = 0) -> str:
    """The text on one line, cleaned, and cut to a number of characters where one is given."""
    flat = " ".join(clean(text).split())
    return flat if not at_most or len(flat) <= at_most else flat[: at_most - 1].rstrip() + "…"


def console(*, error: bool = False) -> Console:
    """A console that takes text as it is: no markup, no guessed colours."""
    from rich.console import Console

    made = Console(stderr=error, highlight=False, markup=False, emoji=False, soft_wrap=False)
    if not made.is_terminal and "COLUMNS" not in os.environ:
        # A file or a pipe has no edge at which tables would have to be cut.
        made.width = PIPE_WIDTH
    return made


def link(text: str, uri: str) -> Text:
    """Text that opens the URI when clicked (OSC 8), where the URI is one that a browser may open."""
    from rich.style import Style
    from rich.text import Text

    target = clean(uri)
    return Text(line(text), style=Style(link=target, underline=True) if _OPENABLE.fullmatch(target) else "")


def place(title: str, heading_path: Any) -> str:
    """Where in a document: `Title › Heading › Heading`. A first heading that repeats the title is left out."""
    parts = [line(title), *(line(heading) for heading in heading_path)]
    return " › ".join(part for index, part in enumerate(parts) if part and (index == 0 or part != parts[index - 1]))


def write_json(value: Message | dict[str, Any] | list[Any]) -> None:
    """One JSON value on one line of standard output. A protobuf message has the contract's field names."""
    if not isinstance(value, (dict, list)):
        value = to_dict(value)
    text = json.dumps(value, ensure_ascii=False)
    # JSON itself leaves DEL, C1 and the direction marks as they are; a program reads the same either way, a terminal does not.
    sys.stdout.write(_UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + "\n")
    sys.stdout.flush()


def to_dict(message: Message) -> dict[str, Any]:
    """A protobuf message as plain values, with the contract's field names, and with counts of zero."""
    from google.protobuf.json_format import MessageToDict

    return dict(MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True))


def enum_word(enum: Any, number: int) -> str:
    """An enum value as people say it: `DOCUMENT_STATE_ACTIVE` becomes `ACTIVE`."""
    name = str(enum.Name(number))
    prefix = re.sub(r"(?<!^)(?=[A-Z])", "_", enum.DESCRIPTOR.name).upper() + "_"
    return name.removeprefix(prefix)


def duration(seconds: float) -> str:
    """A time as people say it: `0.42 s`, `12 s`, `3 min 20 s`."""
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"


def size(count: float) -> str:
    """A number of bytes as people say it."""
    for unit in ("B", "KB", "MB", "GB"):
        if abs(count) < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError("the last unit takes every size")
