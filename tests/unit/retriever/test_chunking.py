"""Pieces keep to the budget, to their section and to sentences, and lose nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from tokenizers import Tokenizer

from services.retriever.chunking import ChunkingImpossible, cut, embedding_text
from services.retriever.readers import mime_type_for, read_document
from services.retriever.structure import Items, Piece, Rows, Section, StructuredDocument, Table

ROOT = Path(__file__).resolve().parents[3]
SAMPLES = sorted(p for p in (ROOT / "samples").rglob("*.*") if mime_type_for(p.name) and p.name != "README.md")
TOKENIZER = ROOT / ".corella/models/all-MiniLM-L6-v2/tokenizer.json"


def count_words(texts: Sequence[str]) -> list[int]:
    """Tokens of a simple tokenizer: words and single marks."""
    return [len(re.findall(r"\w+|[^\w\s]", text)) for text in texts]


@cache
def model_tokenizer() -> Tokenizer:
    if not TOKENIZER.is_file():
        pytest.skip("the embedding model has not been prepared")
    tokenizer = Tokenizer.from_file(str(TOKENIZER))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def count_model_tokens(texts: Sequence[str]) -> list[int]:
    return [len(e.ids) for e in model_tokenizer().encode_batch(list(texts), add_special_tokens=False)]


def document(*blocks: str, path: tuple[str, ...] = (), title: str = "") -> StructuredDocument:
    return StructuredDocument(title, (Section(path, "here", blocks),))


def texts(doc: StructuredDocument, max_tokens: int, overlap: int = 0) -> list[str]:
    return [piece.text for piece in cut(doc, max_tokens, overlap, count_words)]


def sentences(count: int) -> str:
    return " ".join(f"Sentence {n} has words." for n in range(count))  # five tokens each


def test_a_section_that_fits_is_one_piece() -> None:
    doc = document("One.", Items("- a\n- b"), path=("T", "S"), title="T")
    assert cut(doc, 32, 8, count_words) == (Piece(0, ("T", "S"), "here", "One.\n\n- a\n- b", "section"),)


def test_pieces_never_cross_a_heading_and_count_from_zero() -> None:
    doc = StructuredDocument("", (Section(("A",), "a", ("x.",)), Section(("A", "B"), "b", ("y.",), "comment")))
    assert [(p.index, p.anchor, p.text, p.kind) for p in cut(doc, 32, 8, count_words)] == [
        (0, "a", "x.", "section"), (1, "b", "y.", "comment"),
    ]  # fmt: skip


def test_a_long_paragraph_is_cut_between_sentences_with_whole_sentences_repeated() -> None:
    pieces = texts(document(sentences(9)), 20, 7)
    assert pieces[0] == sentences(4)
    assert pieces[1].startswith("Sentence 3 has words. Sentence 4")
    assert all(piece.endswith("words.") for piece in pieces)
    assert texts(document(sentences(9)), 20, 0)[1].startswith("Sentence 4")
    assert texts(document(sentences(9)), 20, -1) == texts(document(sentences(9)), 20, 0)


def test_abbreviations_do_not_end_a_sentence() -> None:
    pieces = texts(document("See Fig. 3 of Dr. Smith, e.g. the left one. Then look at No. 7 there."), 17)
    assert pieces == ["See Fig. 3 of Dr. Smith, e.g. the left one.", "Then look at No. 7 there."]


def test_a_sentence_over_the_budget_is_cut_between_words_and_a_word_between_characters() -> None:
    pieces = texts(document(" ".join(f"w{n}" for n in range(100))), 20)
    assert " ".join(pieces).split() == [f"w{n}" for n in range(100)]
    word = "x" * 5000  # one token, but more characters than a piece may have
    pieces = texts(document(word), 32)
    assert "".join(pieces) == word
    assert max(map(len, pieces)) <= 32 * 16


def test_an_accent_stays_with_its_letter() -> None:
    pieces = texts(document("e\u0301" * 3000), 32)
    assert len(pieces) > 1
    assert all(piece[0] == "e" for piece in pieces)


def test_a_block_that_fits_into_one_piece_is_not_cut_when_the_one_before_is_half_full() -> None:
    code = Rows("a = 1\nb = 2\nc = 3\nd = 4")
    assert texts(document(sentences(2), code), 20) == [sentences(2), code]


def test_a_list_is_cut_between_items_that_keep_their_second_lines() -> None:
    block = Items("\n".join(f"- item {n}\n  more" for n in range(6)))
    assert texts(document(block), 9) == [
        "- item 0\n  more\n- item 1\n  more",
        "- item 2\n  more\n- item 3\n  more",
        "- item 4\n  more\n- item 5\n  more",
    ]


def test_a_list_keeps_its_numbers_with_its_items() -> None:
    block = Items("\n".join(f"{n}. Do thing {n} now." for n in range(1, 9)))
    assert all(re.match(r"\d\. Do", piece) for piece in texts(document(block), 14))


def test_a_table_that_is_cut_has_its_header_in_every_piece_and_nothing_else_twice() -> None:
    rows = [f"row {n} | value {n}" for n in range(12)]
    pieces = texts(document("Intro.", Table("\n".join(["Name | Value", *rows]))), 20, 8)
    assert len(pieces) > 3
    assert all("Name | Value\n" in piece for piece in pieces)
    assert [line for piece in pieces for line in piece.split("\n") if line.startswith("row")] == rows


def test_a_header_that_would_take_the_place_of_the_rows_is_not_repeated() -> None:
    pieces = texts(document(Table("\n".join([" | ".join("abcdefghij"), *[f"row {n}" for n in range(12)]]))), 20)
    assert sum("a | b" in piece for piece in pieces) == 1


def test_a_row_over_the_budget_is_cut_too() -> None:
    pieces = texts(document(Table("H | I\n" + " ".join(f"w{n}" for n in range(60)) + "\nlast | row")), 20)
    assert {f"w{n}" for n in range(60)} <= set(" ".join(pieces).split())
    assert max(count_words(pieces)) <= 20


def test_code_is_not_repeated_by_overlap() -> None:
    lines = [f"line_{n}" for n in range(50)]
    assert "\n".join(texts(document(Rows("\n".join(lines))), 10, 5)).split("\n") == lines


def test_a_heading_without_text_lives_on_below_it_or_becomes_the_text() -> None:
    doc = StructuredDocument("T", (Section(("T",), "t", ()), Section(("T", "A"), "a", ("x",)), Section(("T", "B"), "b", ())))
    assert [(p.heading_path, p.text) for p in cut(doc, 32, 8, count_words)] == [(("T", "A"), "x"), (("T", "B"), "B")]


@pytest.mark.parametrize(
    ("title", "path", "expected"),
    [
        ("T", ("T", "S"), "T > S\ntext"),
        ("T", ("S",), "T > S\ntext"),
        ("", ("S",), "S\ntext"),
        ("T", (), "T\ntext"),
        ("", (), "text"),
        ("a " * 100, (), "a " * 58 + "a…\ntext"),
    ],
)
def test_the_embedded_text_begins_with_title_and_headings_once(title: str, path: tuple[str, ...], expected: str) -> None:
    assert embedding_text(title, path, "text") == expected


def test_headings_that_would_take_half_the_budget_are_left_out_from_the_outside() -> None:
    long = " ".join(["outer"] * 15)
    assert cut(document("x", path=(long, "inner")), 32, 0, count_words)[0].heading_path == ("inner",)
    assert cut(document("x", path=("top", long + " " + long)), 32, 0, count_words)[0].heading_path == ()


def test_a_title_that_leaves_no_room_is_refused_with_the_numbers() -> None:
    with pytest.raises(ChunkingImpossible, match="title alone has 30 tokens; a chunk of this corpus has 32"):
        cut(document("x", title="t " * 30), 32, 0, count_words)


def test_tokens_are_counted_twice_for_a_document() -> None:
    calls: list[int] = []

    def count(asked: Sequence[str]) -> list[int]:
        calls.append(len(asked))
        return count_words(asked)

    cut(document(*[sentences(30)] * 30, path=("A",)), 50, 10, count)
    assert len(calls) == 2


def test_a_tokenizer_that_counts_more_for_the_whole_than_for_its_parts_keeps_the_budget() -> None:
    def count(asked: Sequence[str]) -> list[int]:
        return [tokens + tokens // 8 for tokens in count_words(asked)]

    doc = document(*[sentences(7)] * 20, path=("A",))
    pieces = cut(doc, 40, 10, count)
    assert max(count([embedding_text("", p.heading_path, p.text) for p in pieces])) <= 40


WORDS = st.text('abc .!?,:|-\u0301日é\U0001f600"(', min_size=1, max_size=60)
BLOCKS = st.one_of(
    WORDS,
    st.lists(WORDS, min_size=1, max_size=12).map(" ".join),
    *(st.lists(WORDS, min_size=1, max_size=12).map("\n".join).map(kind) for kind in (Items, Table, Rows)),
).filter(str.strip)
SECTIONS = st.builds(
    Section,
    st.lists(st.text("xyz ", min_size=1, max_size=50).filter(str.strip), max_size=4).map(tuple),
    st.just("a"),
    st.lists(BLOCKS, max_size=6).map(tuple),
)
DOCUMENTS = st.builds(StructuredDocument, st.text("t ", max_size=20), st.lists(SECTIONS, min_size=1, max_size=4).map(tuple))


@pytest.mark.parametrize("count", [count_words, count_model_tokens])
def test_nothing_is_lost_the_budget_is_kept_and_pieces_are_always_the_same(count: Callable[[Sequence[str]], list[int]]) -> None:
    count([""])  # skips before the search begins, not within it

    @settings(max_examples=150, deadline=None)
    @given(DOCUMENTS, st.integers(32, 80), st.integers(-1, 20))
    def holds(doc: StructuredDocument, max_tokens: int, overlap: int) -> None:
        pieces = cut(doc, max_tokens, overlap, count)
        assert pieces == cut(doc, max_tokens, overlap, count)
        assert [p.index for p in pieces] == list(range(len(pieces)))
        assert all(p.text.strip() for p in pieces)
        assert all(tokens <= max_tokens for tokens in count([embedding_text(doc.title, p.heading_path, p.text) for p in pieces]))
        rest = iter("".join(p.text for p in pieces))
        for section in doc.sections:  # every character that is seen, in its order, among those of the pieces
            assert all(c in rest for block in section.blocks for c in block if not c.isspace())

    holds()


@pytest.mark.parametrize("path", SAMPLES, ids=lambda p: p.name)
@pytest.mark.parametrize("max_tokens", [32, 200])
def test_every_visible_word_of_the_samples_stands_in_a_piece_within_the_budget(path: Path, max_tokens: int) -> None:
    doc = read_document(path.read_bytes(), "", path.as_posix())
    pieces = cut(doc, max_tokens, max_tokens // 6, count_model_tokens)
    embedded = [embedding_text(doc.title, p.heading_path, p.text) for p in pieces]
    assert max(count_model_tokens(embedded)) <= max_tokens
    packed = path.suffix in {".pdf", ".docx", ".pptx"}  # their readers' own tests look at what is in them
    if max_tokens == 200 and not packed:  # shorter pieces may have to leave out outer headings
        assert set(re.findall(r"\w+", visible_text(path))) <= set(re.findall(r"\w+", " ".join(embedded)))


def visible_text(path: Path) -> str:
    """What a browser shows, by another way than the reader's."""
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        return " ".join(re.findall(r'"(?:description|body|summary|author|reporter|key)": "([^"]*)"', source))
    soup = BeautifulSoup(MarkdownIt("commonmark").enable("table").render(source) if path.suffix == ".md" else source, "html.parser")
    for element in soup(["head", "nav", "header", "footer", "script"]):
        if element.find("h1") is None:
            element.extract()
    for element in soup(["p", "li", "td", "th", "h1", "h2", "h3", "h4", "dt", "dd", "br", "pre"]):
        element.insert_after(" ")
    return soup.get_text()
