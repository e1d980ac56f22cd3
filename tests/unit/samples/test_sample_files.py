"""The sample files can be read, their places are addressed, and they say nothing that the pages contradict."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.retriever.readers import read_document
from services.retriever.structure import StructuredDocument, Table

FILES = Path(__file__).resolve().parents[3] / "samples/files"
PAGES = FILES.parent / "pages"


def read(name: str) -> StructuredDocument:
    return read_document((FILES / name).read_bytes(), "", name)


def test_there_is_one_of_each_kind() -> None:
    assert {path.suffix for path in FILES.iterdir()} == {".pdf", ".docx", ".pptx", ".csv"}


@pytest.mark.parametrize(
    ("name", "title", "anchor"),
    [
        ("lithium-cells-safety-sheet.pdf", "Safety sheet for lithium cells", "page=3"),
        ("site-survey.docx", "Site survey before an installation", ""),
        ("partner-training.pptx", "Partner training: a day with the Brask Hub", "slide=4"),
        ("spare-parts.csv", "spare-parts.csv", "row=8-12"),
    ],
)
def test_each_has_a_title_and_its_last_section_an_address(name: str, title: str, anchor: str) -> None:
    document = read(name)
    assert document.title == title
    assert document.sections[-1].anchor == anchor


def test_the_safety_sheet_agrees_with_the_questions_about_batteries() -> None:
    table = next(
        block for section in read("lithium-cells-safety-sheet.pdf").sections for block in section.blocks if isinstance(block, Table)
    )
    told = (PAGES / "faq/batteries.md").read_text(encoding="utf-8")
    for row in table.split("\n")[1:]:
        product, _, _, changed = row.split(" | ")
        [line] = [line for line in told.split("\n") if line.startswith(f"| {product} |")]
        assert "ithium" in line
        assert line.endswith(f"| {changed} |")


def test_part_numbers_of_spare_parts_are_distinct_and_no_products() -> None:
    rows = [row for section in read("spare-parts.csv").sections for row in section.blocks[0].split("\n")[1:]]
    numbers = [row.split(" | ")[0] for row in rows]
    assert len(numbers) == len(set(numbers)) >= 10
    assert not any(number in path.read_text(encoding="utf-8") for number in numbers for path in PAGES.rglob("*.*"))
