"""Ids and names: the same thing gets the same id, different things different ones, and nothing else is taken for a name."""

from __future__ import annotations

import pytest

from services.chassis.errors import InvalidArgument
from services.retriever import names


@pytest.mark.parametrize(
    ("text", "good"), [("a", True), ("hand-book-2", True), ("a" * 40, True), ("a" * 41, False), ("", False), ("2a", False)]
)
@pytest.mark.parametrize("ending", ["", "-", "A", "_", "\n", "é"])
def test_corpus_ids_are_what_the_contract_says(text: str, good: bool, ending: str) -> None:
    assert names.is_corpus_id(text + ending) is (good and ending == "")


def test_a_chunk_keeps_its_id_when_others_come_before_it() -> None:
    before = names.chunk_ids("document", ["one", "two"])
    after = names.chunk_ids("document", ["zero", "one", "two"])
    assert after[1:] == before


def test_equal_chunks_of_a_document_have_different_ids() -> None:
    ids = names.chunk_ids("document", ["same", "same", "same"])
    assert len(set(ids)) == 3
    assert ids[:2] == names.chunk_ids("document", ["same", "same"])


def test_equal_chunks_of_two_documents_have_different_ids() -> None:
    assert names.chunk_ids("one", ["same"]) != names.chunk_ids("two", ["same"])


@pytest.mark.parametrize("name", ["", "corpora", "corpora/", "corpora/A", "x/handbook", "corpora/a/b", "corpora/a/documents/b"])
def test_what_is_no_corpus_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgument) as error:
        names.corpus_id_of(name, "parent")
    assert error.value.violations[0][0] == "parent"


@pytest.mark.parametrize("name", ["", "corpora/a/documents/", "corpora/a/documents", "corpora/a/other/b", "corpora/a/documents/b/chunks/c"])
def test_what_is_no_document_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgument):
        names.document_of(name, "name")


def test_names_and_their_parts_fit_together() -> None:
    made = names.document_id("https://docs.example.com/a")
    assert names.document_of(names.document_name("handbook", made), "name") == ("handbook", made)
    assert names.is_document_id(made)
    assert names.operation_id_of(f"operations/{made}") == made


def test_a_version_differs_by_everything_that_decides_how_it_is_indexed() -> None:
    base = ("sha", "title", "text/html", {"a": "1", "b": "2"}, "reader")
    assert names.version_digest(*base) == names.version_digest("sha", "title", "text/html", {"b": "2", "a": "1"}, "reader")
    others = [
        ("SHA", *base[1:]),
        ("sha", "other", *base[2:]),
        ("sha", "title", "text/plain", *base[3:]),
        ("sha", "title", "text/html", {"a": "1"}, "reader"),
        ("sha", "title", "text/html", {"a": "1", "b": "2"}, "other"),
    ]
    assert names.version_digest(*base) not in {names.version_digest(*other) for other in others}
