"""CSV becomes rows under the names of their columns, and each section says which rows it holds."""

from __future__ import annotations

import pytest

from services.retriever.csv_reader import MAX_ROWS, SECTION_CHARS, read_csv
from services.retriever.structure import DocumentHasNoText, DocumentTooLarge, DocumentUnreadable, Rows, Section, Table


def sections(text: str) -> tuple[Section, ...]:
    return read_csv(text.encode()).sections


def test_rows_stand_under_the_names_of_their_columns() -> None:
    [section] = sections("part,price\nHM-T10,49.00\nHM-T20,189.00\n")
    assert section.blocks == ("part | price\nHM-T10 | 49.00\nHM-T20 | 189.00",)
    assert isinstance(section.blocks[0], Table)
    assert section.anchor == "row=2-3"


def test_the_anchor_counts_rows_as_rfc_7111_does_the_header_among_them() -> None:
    found = sections("number,text\n" + "".join(f"{n},{'x' * 100}\n" for n in range(2, 12)))
    assert [section.anchor for section in found] == ["row=2-5", "row=6-9", "row=10-11"]
    for section in found:
        header, *rows = section.blocks[0].split("\n")
        assert header == "number | text"
        first, _, last = section.anchor.removeprefix("row=").partition("-")
        assert [int(row.split(" ")[0]) for row in rows] == list(range(int(first), int(last) + 1))
        assert len(section.blocks[0]) <= SECTION_CHARS + 20


def test_a_row_longer_than_a_section_has_one_of_its_own() -> None:
    found = sections(f"a,b\n1,{'x' * 2000}\n2,{'y' * 2000}\n")
    assert [section.anchor for section in found] == ["row=2", "row=3"]


@pytest.mark.parametrize("text", ["1,2\n3,4\n", "a,\nb,c\n", "a,a\nb,c\n", "a,2024\nb,c\n", "only,row\n", "a\nb,c\n"])
def test_a_header_is_not_made_up(text: str) -> None:
    [section] = sections(text)
    assert isinstance(section.blocks[0], Rows)
    assert section.anchor in ("row=1-2", "row=1")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(delimiter: str) -> None:
    text = f"name{delimiter}price\nA{delimiter}1\nB{delimiter}2\n"
    assert sections(text)[0].blocks == ("name | price\nA | 1\nB | 2",)


def test_decimal_commas_do_not_divide_a_file_of_semicolons() -> None:
    assert sections("name;price\nA;1,50\nB;2,50\n")[0].blocks == ("name | price\nA | 1,50\nB | 2,50",)


def test_fields_in_quotes_hold_delimiters_and_lines_and_empty_rows_are_passed_over() -> None:
    [section] = sections('name,note\r\nA,"x, ""y""\r\nz"\r\n,\r\n\r\nB,\r\n')
    assert section.blocks == ('name | note\nA | x, "y" z\nB |',)
    assert section.anchor == "row=2-5"


@pytest.mark.parametrize("text", ["", "\n\n", ",,\n,,\n", '""\n'])
def test_a_csv_without_text_is_refused(text: str) -> None:
    with pytest.raises(DocumentHasNoText):
        sections(text)


def test_bytes_that_are_not_utf_8_are_refused() -> None:
    with pytest.raises(DocumentUnreadable, match="UTF-8"):
        read_csv("Größe,Preis\n".encode("latin-1"))
    assert read_csv("\ufeffGröße,Preis\n1,2\n".encode()).sections[0].blocks == ("Größe | Preis\n1 | 2",)
    assert read_csv("a,b\n1,2\n".encode("utf-16")).sections[0].blocks == ("a | b\n1 | 2",)


def test_too_many_rows_are_refused() -> None:
    with pytest.raises(DocumentTooLarge, match="more than 100,000 rows"):
        sections("a\n" * (MAX_ROWS + 1))
