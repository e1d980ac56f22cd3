"""Lexical analysis: the same terms for documents and queries, on any engine, for any input."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.retriever.analysis import MAX_TERM_CHARS, Analyser, analyse


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("How do I set the warranties?", "set warranti"),
        ("max_connections", "maxconnect max connect"),
        ("maxConnections", "maxconnect max connect"),
        ("HTTP-404 errors", "http404 http 404 error"),
        ("version 3.2", "version 3dot2 3 2"),
        ("v1.2.3", "v1dot2dot3 v1 2 3"),
        ("CreateDatasetImportJob", "createdatasetimportjob creat dataset import job"),
        ("APIs and URLs", "api url"),
        ("a well-known fact", "well known fact"),
        ("the company's", "compani"),
        ("C++ or C#", "cplusplus csharp"),
        ("naïve café ﬁle", "naiv cafe file"),
        ("cafe\u0301", "cafe"),
        ("日本語", "u26085u26412 u26412u35486"),
        ("字", "u23383"),
        ("한국어", "한국어"),
        ("नमस्ते दुनिया", "नमसत दनय"),
    ],
)
def test_terms(text, terms):
    assert analyse(text) == terms


@pytest.mark.parametrize("text", [None, "", "   ", "---", "_", "?!", "\ud800", "\x00", "\u0301"])
def test_nothing_to_search_for(text):
    assert analyse(text) == ""


def test_a_query_of_stop_words_keeps_them():
    assert analyse("Who am I?") == "who am i"
    assert analyse("Who am I, Bob?") == "bob"


def test_a_version_is_no_plain_number():
    assert "32" not in analyse("3.2").split()


def test_long_tokens_are_cut():
    assert analyse("x" * 5000) == "x" * MAX_TERM_CHARS


def test_language_decides_stemming_and_stop_words():
    assert analyse("Häuser und Gärten", "german") == "haus und gart"
    assert analyse("the running", "none") == "the running"
    with pytest.raises(ValueError, match="unknown language 'klingon'"):
        Analyser("klingon")


@given(st.text())
def test_terms_survive_any_tokenizer(text):
    """Splitting on spaces, on \\w+ (Milvus Lite) or on everything but letters and digits must give the same terms."""
    out = analyse(text)
    terms = out.split()
    assert re.findall(r"\w+", out.lower()) == terms
    assert re.findall(r"[^\W_]+", out) == terms


@given(st.text(st.characters(categories=["Lu", "Ll", "Nd", "Pd", "Pc", "Po", "Cs", "Mn", "Lo"])))
def test_odd_input_never_fails_and_is_repeatable(text):
    assert analyse(text) == analyse(text)


@given(st.text(alphabet="abcXYZ012_-. "), st.sampled_from(["alpha", "Beta2", "x_y"]))
def test_a_word_of_the_document_is_found_again(text, word):
    assert set(analyse(word).split()) <= set(analyse(f"{text} {word}").split())


def test_threads_share_an_analyser():
    texts = [f"stemming words number{n} quickly connections" for n in range(200)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(analyse, texts)) == [analyse(text) for text in texts]
