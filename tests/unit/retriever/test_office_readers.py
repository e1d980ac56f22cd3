"""Word documents are read along their headings, presentations slide by slide; both with their lists and tables."""

from __future__ import annotations

import io
from typing import Any

import docx
import pytest
from docx.enum.style import WD_STYLE_TYPE
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls
from pptx import Presentation
from pptx.util import Inches

from services.retriever.docx_reader import read_docx
from services.retriever.pptx_reader import read_pptx
from services.retriever.structure import DocumentHasNoText, Items, Rows, Section, StructuredDocument, Table


def saved(document: Any) -> bytes:
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def word(document: Any) -> StructuredDocument:
    return read_docx(saved(document))


def blocks(document: Any) -> tuple[str, ...]:
    [section] = word(document).sections
    return section.blocks


# Word


def test_headings_make_sections_that_open_the_document() -> None:
    document = docx.Document()
    document.add_heading("Site survey", 0)
    document.add_paragraph("Why we came.")
    document.add_heading("Findings", 1)
    document.add_heading("Mast", 2)
    document.add_paragraph("The mast stands.")
    document.add_heading("Next steps", 1)
    document.add_paragraph("Come again.")
    read = word(document)
    assert read.title == "Site survey"
    assert read.sections == (
        Section(("Site survey",), "", ("Why we came.",)),
        Section(("Findings",), "", ()),
        Section(("Findings", "Mast"), "", ("The mast stands.",)),
        Section(("Next steps",), "", ("Come again.",)),
    )


def test_a_style_based_on_a_heading_and_an_outline_level_make_headings_too() -> None:
    document = docx.Document()
    style = document.styles.add_style("Chapter", WD_STYLE_TYPE.PARAGRAPH)
    style.base_style = document.styles["Heading 2"]
    document.add_paragraph("By style", style="Chapter")
    own = document.add_paragraph("By level")
    own._p.get_or_add_pPr().append(parse_xml(f'<w:outlineLvl {nsdecls("w")} w:val="0"/>'))
    document.add_paragraph("text")
    assert [section.heading_path for section in word(document).sections] == [("By style",), ("By level",)]


def test_lists_keep_their_depth_and_their_numbers() -> None:
    document = docx.Document()
    for text, style in [
        ("one", "List Bullet"), ("two", "List Bullet"), ("deeper", "List Bullet 2"), ("then", "List Number"), ("last", "List Number"),
    ]:  # fmt: skip
        document.add_paragraph(text, style=style)
    document.add_paragraph("After.")
    found = blocks(document)
    assert isinstance(found[0], Items)
    assert found[0].split("\n") == ["- one", "- two", "- deeper", "1. then", "2. last"]
    assert found[1] == "After."


def test_levels_of_one_list_are_indented() -> None:
    document = docx.Document()
    for text, level in [("a", 0), ("b", 1), ("c", 0)]:
        paragraph = document.add_paragraph(text, style="List Bullet")
        number = document.styles["List Bullet"].element.find(".//" + docx.oxml.ns.qn("w:numId")).get(docx.oxml.ns.qn("w:val"))
        paragraph._p.get_or_add_pPr().append(
            parse_xml(f'<w:numPr {nsdecls("w")}><w:ilvl w:val="{level}"/><w:numId w:val="{number}"/></w:numPr>')
        )
    assert blocks(document) == ("- a\n  - b\n- c",)


def test_tables_are_tables_with_the_header_that_they_say_they_have() -> None:
    document = docx.Document()
    for style in ("Table Grid", None):
        table = document.add_table(2, 2, style=style)
        for cell, text in zip(
            (cell for row in table.rows for cell in row.cells), ["Product", "IP", "Tolva 10", "IP54\nsplash"], strict=True
        ):
            cell.text = text
    look = table._tbl.tblPr.find(docx.oxml.ns.qn("w:tblLook"))
    look.set(docx.oxml.ns.qn("w:firstRow"), "0")
    look.set(docx.oxml.ns.qn("w:val"), "0000")
    found = blocks(document)
    assert found == ("Product | IP\nTolva 10 | IP54 splash",) * 2
    assert [type(block) for block in found] == [Table, Rows]


def test_a_table_within_a_table_is_text_of_its_cell() -> None:
    document = docx.Document()
    outer = document.add_table(2, 2)
    outer.cell(0, 0).text, outer.cell(0, 1).text, outer.cell(1, 0).text = "A", "B", "C"
    inner = outer.cell(1, 1).add_table(1, 2)
    inner.cell(0, 0).text, inner.cell(0, 1).text = "x", "y"
    assert blocks(document) == ("A | B\nC | x y",)


def test_what_was_deleted_is_left_out_and_what_was_inserted_is_read() -> None:
    document = docx.Document()
    paragraph = document.add_paragraph("The fee is ")
    for change in (
        f'<w:del {nsdecls("w")} w:id="1" w:author="a"><w:r><w:delText>10</w:delText></w:r></w:del>',
        f'<w:ins {nsdecls("w")} w:id="2" w:author="a"><w:r><w:t>12</w:t></w:r></w:ins>',
    ):
        paragraph._p.append(parse_xml(change))
    paragraph.add_run(" pounds.")
    assert blocks(document) == ("The fee is 12 pounds.",)


def test_text_of_links_boxes_and_content_controls_is_read_once() -> None:
    document = docx.Document()
    paragraph = document.add_paragraph("See ")
    paragraph._p.append(parse_xml(f'<w:hyperlink {nsdecls("w")} w:anchor="x"><w:r><w:t>the page</w:t></w:r></w:hyperlink>'))
    box = "<w:txbxContent><w:p><w:r><w:t>In a box.</w:t></w:r></w:p></w:txbxContent>"
    paragraph._p.append(
        parse_xml(
            f'<w:r {nsdecls("w")} xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"><mc:AlternateContent>'
            f'<mc:Choice Requires="wps">{box}</mc:Choice><mc:Fallback>{box}</mc:Fallback></mc:AlternateContent></w:r>'
        )
    )
    control = f"<w:sdt {nsdecls('w')}><w:sdtContent><w:p><w:r><w:t>Controlled.</w:t></w:r></w:p></w:sdtContent></w:sdt>"
    document.element.body.insert(1, parse_xml(control))
    assert blocks(document) == ("See the page", "In a box.", "Controlled.")


def test_a_word_document_without_text_is_refused() -> None:
    with pytest.raises(DocumentHasNoText):
        word(docx.Document())


# PowerPoint


def slides() -> Any:
    presentation = Presentation()
    first = presentation.slides.add_slide(presentation.slide_layouts[0])
    first.shapes.title.text = "Field week"
    first.placeholders[1].text = "Results"
    second = presentation.slides.add_slide(presentation.slide_layouts[1])
    second.shapes.title.text = "What we\vfound"
    frame = second.placeholders[1].text_frame
    frame.text = "Radio works"
    for text, level in [("Up to 4 km", 1), ("Cells last", 0)]:
        paragraph = frame.add_paragraph()
        paragraph.text, paragraph.level = text, level
    second.notes_slide.notes_text_frame.text = "Say that it rained."
    return presentation


def test_each_slide_is_a_section_whose_anchor_names_it() -> None:
    presentation = slides()
    presentation.slides.add_slide(presentation.slide_layouts[6])
    read = read_pptx(saved(presentation))
    assert read.sections == (
        Section(("Field week",), "slide=1", ("Results",)),
        Section(("What we found",), "slide=2", ("- Radio works\n  - Up to 4 km\n- Cells last", "Notes: Say that it rained.")),
    )
    assert isinstance(read.sections[1].blocks[0], Items)


def test_shapes_are_read_from_the_top_down_with_tables_and_groups() -> None:
    presentation = Presentation()
    slide = presentation.slides.add_slide(presentation.slide_layouts[6])

    def box(shapes: Any, text: str, top: float) -> None:
        shapes.add_textbox(Inches(1), Inches(top), Inches(3), Inches(1)).text_frame.text = text

    box(slide.shapes, "last", 6)
    table = slide.shapes.add_table(2, 2, Inches(1), Inches(3), Inches(4), Inches(1)).table
    for cell, text in zip((cell for row in table.rows for cell in row.cells), ["Product", "IP", "Tolva 10", "IP54"], strict=True):
        cell.text = text
    group = slide.shapes.add_group_shape()
    box(group.shapes, "first", 1)
    [section] = read_pptx(saved(presentation)).sections
    assert section == Section((), "slide=1", ("first", "Product | IP\nTolva 10 | IP54", "last"))
    assert isinstance(section.blocks[1], Table)


def test_a_presentation_without_text_is_refused() -> None:
    presentation = Presentation()
    presentation.slides.add_slide(presentation.slide_layouts[6])
    with pytest.raises(DocumentHasNoText):
        read_pptx(saved(presentation))
