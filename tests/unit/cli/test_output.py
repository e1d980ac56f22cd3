"""What reaches a terminal: nothing a terminal would obey."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from corella.cli import output
from corella.v1 import operation_pb2, retriever_pb2

EVIL = {
    "a window title": "\x1b]0;owned\x07text",
    "colours": "\x1b[31mred\x1b[0m",
    "a C1 control sequence": "\x9b31mred",
    "a clipboard write": "\x1b]52;c;aGFjaw==\x07",
    "a carriage return that overwrites": "safe\rEVIL",
    "a backspace": "abc\x08\x08\x08xyz",
    "an OSC 8 link inside a link": "\x1b]8;;https://evil.example\x1b\\click\x1b]8;;\x1b\\",
    "text turned round": "invoice\u202efdp.exe",
    "an isolate": "a\u2066b\u2069",
    "a lone surrogate": "a\ud800b",
    "a line separator": "a\u2028b",
}


@pytest.mark.parametrize("text", EVIL.values(), ids=EVIL.keys())
def test_cleaned_text_holds_nothing_a_terminal_obeys(text: str) -> None:
    cleaned = output.clean(text)
    assert not any(ord(c) < 32 and c not in "\n\t" for c in cleaned)
    assert not any(0x7F <= ord(c) <= 0x9F or 0x202A <= ord(c) <= 0x202E or 0x2066 <= ord(c) <= 0x2069 for c in cleaned)
    assert cleaned.encode()


def test_cleaning_keeps_what_people_write() -> None:
    assert output.clean("Grüße — 20 °C\n\t“x” 你好 🙂\r\nend") == "Grüße — 20 °C\n\t“x” 你好 🙂\nend"


@pytest.mark.parametrize("text", EVIL.values(), ids=EVIL.keys())
def test_a_link_carries_none_of_it_in_text_or_target(text: str) -> None:
    written = io.StringIO()
    Console(file=written, force_terminal=True, width=200).print(output.link(text, f"https://docs.example/{text}"))
    # Rich's own sequences: the link, the underline, and their ends.
    rest = written.getvalue()
    for own in ("\x1b]8;", "\x1b\\", "\x1b[4m", "\x1b[0m"):
        rest = rest.replace(own, "")
    assert "\x1b" not in rest
    assert "\x07" not in rest
    assert "\x9b" not in rest


@pytest.mark.parametrize(
    ("uri", "opens"),
    [
        ("https://docs.example/a#b", True),
        ("file:///srv/docs/a%20b.md#c", True),
        ("javascript:alert(1)", False),
        ("ssh://root@host", False),
        ("https://docs.example/a b", False),
        ("", False),
    ],
)
def test_only_what_a_browser_may_open_becomes_a_link(uri: str, opens: bool) -> None:
    style = output.link("text", uri).style
    assert (getattr(style, "link", None) is not None) is opens


def test_json_is_one_line_and_reads_back_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    text = "a\nb\x1b[31m\x9b\u202e"
    output.write_json({"text": text})
    line = capsys.readouterr().out
    assert line.count("\n") == 1
    assert not {"\x1b", "\x9b", "\u202e"} & set(line)
    assert json.loads(line) == {"text": text}


def test_a_message_becomes_json_with_the_contracts_names_and_its_zeros(capsys: pytest.CaptureFixture[str]) -> None:
    output.write_json(operation_pb2.Operation(name="operations/1", done_count=0, total_count=3))
    read = json.loads(capsys.readouterr().out)
    assert (read["name"], read["done_count"], read["total_count"]) == ("operations/1", 0, 3)


@pytest.mark.parametrize(
    ("title", "headings", "expected"),
    [
        ("Warranty", ["Warranty", "Periods"], "Warranty › Periods"),
        ("Warranty", [], "Warranty"),
        ("", ["Periods"], "Periods"),
        ("A\nB", ["C\tD"], "A B › C D"),
    ],
)
def test_a_place_is_title_and_headings(title: str, headings: list[str], expected: str) -> None:
    assert output.place(title, headings) == expected


def test_enum_values_lose_their_prefix() -> None:
    assert output.enum_word(operation_pb2.OperationState, operation_pb2.OPERATION_STATE_WAITING_TO_RETRY) == "WAITING_TO_RETRY"
    assert output.enum_word(retriever_pb2.SearchMode, retriever_pb2.SEARCH_MODE_HYBRID) == "HYBRID"


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0.4249, "0.42 s"), (12.3, "12 s"), (119.6, "120 s"), (200, "3 min 20 s"), (3605, "60 min 05 s")]
)
def test_durations_read_well(seconds: float, expected: str) -> None:
    assert output.duration(seconds) == expected


@pytest.mark.parametrize(
    ("count", "expected"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 KB"), (250_000_000, "250 MB"), (5.5e12, "5500 GB")]
)
def test_sizes_read_well(count: float, expected: str) -> None:
    assert output.size(count) == expected
