"""PDFs become pages whose anchors open them, under the headings that their bookmarks give."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import pytest
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import getSampleStyleSheet
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable, PageBreak, Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle

from services.retriever import structure
from services.retriever.anchors import with_anchor
from services.retriever.pdf_reader import read_pdf
from services.retriever.structure import DocumentHasNoText, Items, Section

STYLES = getSampleStyleSheet()
LOREM = (
    "The sensor measures soil moisture at one depth and reports it by radio to the hub, which passes it on. "
    "It is pushed into the ground by hand and stays there for years without a visit. "
)


def drawn(draw: Callable[[Canvas], None], **options: object) -> bytes:
    out = io.BytesIO()
    canvas = Canvas(out, pagesize=A4, **options)
    draw(canvas)
    canvas.save()
    return out.getvalue()


def pages(*lines: Sequence[str]) -> bytes:
    """One page for each list of lines, 14 points apart."""

    def draw(canvas: Canvas) -> None:
        for page in lines:
            for number, line in enumerate(page):
                canvas.drawString(72, 700 - 14 * number, line)
            canvas.showPage()

    return drawn(draw)


def flowing(*story: Flowable, decorate: Callable[..., None] = lambda *_: None) -> bytes:
    out = io.BytesIO()
    SimpleDocTemplate(out, pagesize=A4).build(list(story), onFirstPage=decorate, onLaterPages=decorate)
    return out.getvalue()


class Bookmarked(Paragraph):
    """A heading with a bookmark."""

    def __init__(self, text: str, level: int, title: str = "") -> None:
        super().__init__(text, STYLES[f"Heading{level + 1}"])
        self.level, self.bookmark = level, title or text

    def draw(self) -> None:
        self.canv.bookmarkPage(self.bookmark)
        self.canv.addOutlineEntry(self.bookmark, self.bookmark, self.level)
        super().draw()


def text(content: str) -> Paragraph:
    return Paragraph(content, STYLES["Normal"])


def sections(content: bytes) -> tuple[Section, ...]:
    return read_pdf(content).sections


def test_each_page_is_a_section_whose_anchor_opens_it() -> None:
    found = sections(pages(["First page."], ["Second page."], [], ["Fourth page."]))
    assert [(section.anchor, section.blocks) for section in found] == [
        ("page=1", ("First page.",)), ("page=2", ("Second page.",)), ("page=4", ("Fourth page.",)),
    ]  # fmt: skip
    assert all(section.heading_path == () for section in found)
    assert with_anchor("https://h/a.pdf", found[0].anchor) == "https://h/a.pdf#page=1"


def test_headings_are_the_bookmarks_where_their_titles_stand() -> None:
    found = sections(
        flowing(
            Bookmarked("1 Safety", 0, "Safety"), text("Read this first."),
            Bookmarked("1.1 Batteries", 1, "Batteries"), text("Tape the contacts."), PageBreak(),
            text("Store them dry."), Bookmarked("Disposal", 0), text("Send them back."),
        )
    )  # fmt: skip
    assert [(section.heading_path, section.anchor, section.blocks) for section in found] == [
        (("Safety",), "page=1", ("Read this first.",)),
        (("Safety", "Batteries"), "page=1", ("Tape the contacts.",)),
        (("Safety", "Batteries"), "page=2", ("Store them dry.",)),
        (("Disposal",), "page=2", ("Send them back.",)),
    ]


def test_without_bookmarks_no_heading_is_made_up() -> None:
    [section] = sections(flowing(Paragraph("Large title", STYLES["Title"]), text("A text.")))
    assert section.heading_path == ()
    assert section.blocks == ("Large title", "A text.")


def test_a_bookmark_whose_title_is_not_on_the_page_stands_at_its_top() -> None:
    [section] = sections(flowing(Bookmarked("What it says", 0, "What it is called"), text("A text.")))
    assert section.heading_path == ("What it is called",)
    assert section.blocks == ("What it says", "A text.")


def test_lines_of_a_paragraph_are_joined_and_paragraphs_stay_apart() -> None:
    found = sections(flowing(text(LOREM * 2), Spacer(1, 12), text(LOREM)))
    assert found[0].blocks == ((LOREM * 2).strip(), LOREM.strip())


def test_a_divided_word_is_whole_again_and_a_hyphen_of_its_own_stays() -> None:
    [section] = sections(pages(["The sensor reports its meas-", "urements by radio to the Brask-", "Hub, which passes them on."]))
    assert section.blocks == ("The sensor reports its measurements by radio to the Brask-Hub, which passes them on.",)


def test_lists_are_lists() -> None:
    lines = ["What is in the box:", "• one sensor", "• one strap", "• three cells, which are in a bag", "  of their own", "• a card"]
    [section] = sections(pages(lines))
    assert section.blocks == ("What is in the box:", "• one sensor\n• one strap\n• three cells, which are in a bag of their own\n• a card")
    assert isinstance(section.blocks[1], Items)


def test_a_table_with_lines_becomes_a_table_at_its_place() -> None:
    grid = Table(
        [["Product", "Rating"], ["Tolva 10", "IP54"], ["Murrow S", "IP68"]], style=TableStyle([("GRID", (0, 0), (-1, -1), 1, "black")])
    )
    [section] = sections(flowing(text("Before."), grid, text("After.")))
    assert section.blocks == ("Before.", "Product | Rating\nTolva 10 | IP54\nMurrow S | IP68", "After.")
    assert isinstance(section.blocks[1], structure.Table)


def test_a_frame_around_text_is_no_table() -> None:
    frame = Table([[text("Do not open the housing.")]], style=TableStyle([("BOX", (0, 0), (-1, -1), 1, "black")]))
    [section] = sections(flowing(text("Before."), frame, text("After.")))
    assert not any(isinstance(block, structure.Table | structure.Rows) for block in section.blocks)
    assert " ".join(" ".join(section.blocks).split()) == "Before. Do not open the housing. After."


def test_running_heads_and_page_numbers_are_dropped() -> None:
    def decorate(canvas: Canvas, document: SimpleDocTemplate) -> None:
        canvas.drawString(72, 810, "Hollinmere Instruments")
        canvas.drawString(280, 30, f"Page {document.page} of 4")

    story = [each for number in "ABCD" for each in (text(f"Text {number}."), PageBreak())]
    found = sections(flowing(*story, decorate=decorate))
    assert [section.blocks for section in found] == [("Text A.",), ("Text B.",), ("Text C.",), ("Text D.",)]


def test_what_two_pages_only_have_in_common_stays() -> None:
    assert [section.blocks for section in sections(pages(["Same."], ["Same."]))] == [("Same.",), ("Same.",)]


def test_a_sentence_that_goes_on_over_the_page_stays_where_it_began() -> None:
    found = sections(pages(["The cells last", "for eighteen"], ["months. Then they are changed."]))
    assert [(section.anchor, section.blocks) for section in found] == [
        ("page=1", ("The cells last for eighteen months.",)),
        ("page=2", ("Then they are changed.",)),
    ]


def test_pages_without_sentences_do_not_run_into_each_other() -> None:
    page = [f"word{number} and more words without an end" for number in range(40)]
    assert [section.anchor for section in sections(pages(page, page, page))] == ["page=1", "page=2", "page=3"]


def test_columns_are_read_one_after_the_other() -> None:
    def draw(canvas: Canvas) -> None:
        for column, words in enumerate((["Left column goes", "on here."], ["Right column is", "read last."])):
            for number, line in enumerate(words):
                canvas.drawString(72 + 260 * column, 700 - 14 * number, line)

    [section] = sections(drawn(draw))
    assert " ".join(" ".join(section.blocks).split()) == "Left column goes on here. Right column is read last."


@pytest.mark.parametrize(
    ("said", "title"),
    [
        ("Safety data sheet", "Safety data sheet"),
        ("Microsoft Word - Safety", "Safety"),
        ("sheet_v2_final.docx", ""),
        ("untitled", ""),
        ("", ""),
    ],
)
def test_the_title_is_what_the_pdf_says_unless_a_program_said_it(said: str, title: str) -> None:
    def draw(canvas: Canvas) -> None:
        canvas.setTitle(said)
        canvas.drawString(72, 700, "text")

    assert read_pdf(drawn(draw)).title == title


def test_a_pdf_that_only_its_owner_may_change_is_read() -> None:
    from reportlab.lib.pdfencrypt import StandardEncryption

    content = drawn(lambda canvas: canvas.drawString(72, 700, "text"), encrypt=StandardEncryption("", ownerPassword="o", canPrint=0))
    assert sections(content)[0].blocks == ("text",)


def test_a_scan_says_what_to_do() -> None:
    with pytest.raises(DocumentHasNoText, match=r"2 pages and no text.*OCR"):
        read_pdf(pages([], []))


def test_the_same_pdf_gives_the_same_sections() -> None:
    content = flowing(Bookmarked("A", 0), text(LOREM * 30))
    assert read_pdf(content) == read_pdf(content)
