"""Citations: what supports a sentence stays, everything else goes."""

from __future__ import annotations

import time

import pytest

from services.generator.citing import CitedAnswer, cite
from services.generator.domain import DONT_KNOW, Passage, RefusalReason

QUESTION = "How long is the warranty of the Tolva 20?"
POLICY = Passage(
    "chunks/policy", "documents/policy", "Warranty policy", "https://example.com/policy#periods", ("Warranty periods",),
    "| Product | Warranty |\n|---|---|\n| Tolva 10 | 24 months |\n| Tolva 20 | 36 months |\n| Murrow S | 24 months |",
)  # fmt: skip
SHEET = Passage(
    "chunks/sheet", "documents/sheet", "Tolva 20", "https://example.com/tolva-20#warranty", ("Warranty",),
    "The warranty is 36 months. Register it within 60 days. The workshop in Ireland does not repair opened instruments.",
)  # fmt: skip
OTHER = Passage(
    "chunks/other", "documents/other", "Tolva 10", "https://example.com/tolva-10#warranty", ("Warranty",),
    "The warranty is 24 months. It cannot be extended.",
)  # fmt: skip
PASSAGES = (POLICY, SHEET, OTHER)


def answer(text: str, question: str = QUESTION) -> CitedAnswer:
    return cite(text, PASSAGES, question)


def numbers(cited: CitedAnswer) -> list[int]:
    return [citation.number for citation in cited.citations]


def test_a_right_marker_of_the_model_is_kept() -> None:
    cited = answer("The warranty of the Tolva 20 is 36 months [2].")
    assert cited.text == "The warranty of the Tolva 20 is 36 months [2]."
    (citation,) = cited.citations
    assert (citation.number, citation.uri, citation.passage, citation.from_model) == (2, SHEET.uri, SHEET.name, True)
    assert citation.quote == "The warranty is 36 months."
    assert cited.dropped_citation_count == 0


def test_a_wrong_marker_is_dropped_and_the_sentence_attributed_to_what_supports_it() -> None:
    cited = answer("The warranty of the Tolva 20 is 36 months [3].")
    assert numbers(cited) == [1]
    assert not cited.citations[0].from_model
    assert cited.dropped_citation_count == 1


def test_a_marker_of_a_passage_that_does_not_exist_is_dropped() -> None:
    cited = answer("The warranty of the Tolva 20 is 36 months [9].")
    assert 9 not in numbers(cited)
    assert "[9]" not in cited.text
    assert cited.dropped_citation_count == 1


@pytest.mark.parametrize("marker", [" [2].", ". [2]", " [Passage 2].", " 【2】.", "[2]."])
def test_markers_are_read_in_the_forms_models_write_them(marker: str) -> None:
    cited = answer(f"The warranty of the Tolva 20 is 36 months{marker}")
    assert cited.text == "The warranty of the Tolva 20 is 36 months [2]."


def test_one_sentence_can_have_two_sources() -> None:
    assert numbers(answer("The warranty of the Tolva 20 is 36 months [1, 2].")) == [1, 2]


def test_a_short_answer_is_understood_with_its_question() -> None:
    cited = answer("36 months")
    assert cited.text == "36 months [1]"
    assert cited.citations[0].quote == "| Tolva 20 | 36 months |"


@pytest.mark.parametrize(
    "claim",
    [
        "The warranty of the Tolva 20 is 48 months.",  # number
        "The warranty of the Falcon X200 is 36 months.",  # code
        "The workshop in Norway does not repair opened instruments.",  # name
        "The warranty of the Tolva 20 is not 36 months.",  # negation added
        "The workshop in Ireland does repair opened instruments.",  # negation taken away
        "24 months.",  # the row of another product
        "The sky over the harbour was full of gulls.",  # nothing of it
    ],
)
def test_what_no_passage_says_is_not_an_answer(claim: str) -> None:
    cited = answer(claim)
    assert (cited.text, cited.citations, cited.refusal_reason) == (DONT_KNOW, (), RefusalReason.UNSUPPORTED)


def test_an_unsupported_sentence_is_taken_out_and_the_rest_stays() -> None:
    cited = answer("The warranty of the Tolva 20 is 36 months. It glows in the dark.")
    assert cited.text == "The warranty of the Tolva 20 is 36 months [1]."
    assert cited.dropped_sentence_count == 1


def test_a_sentence_said_twice_is_said_once() -> None:
    cited = answer("The warranty of the Tolva 20 is 36 months. The warranty of the Tolva 20 is 36 months.")
    assert cited.text == "The warranty of the Tolva 20 is 36 months [1]."


@pytest.mark.parametrize(
    "text", ["I do not know.", "I don't know", "The passages do not mention the weight.", "I'm sorry, that is not there."]
)
def test_a_model_that_declines_is_taken_at_its_word(text: str) -> None:
    assert answer(text).refusal_reason is RefusalReason.MODEL_DECLINED


def test_an_empty_answer_is_unsupported() -> None:
    assert answer(" \n").refusal_reason is RefusalReason.UNSUPPORTED
    assert cite("The warranty is 36 months.", (), QUESTION).refusal_reason is RefusalReason.UNSUPPORTED


def test_what_is_written_somewhere_but_does_not_answer_is_no_answer() -> None:
    assert answer("It cannot be extended.", "What colour is the housing of the Murrow?").refusal_reason is RefusalReason.UNSUPPORTED
    no_number = answer(
        "The workshop in Ireland does not repair opened instruments.", "How many instruments does the workshop in Ireland repair?"
    )
    assert no_number.refusal_reason is RefusalReason.UNSUPPORTED


def test_spans_are_bytes_of_the_final_text() -> None:
    cited = answer("Für die Tolva 20: 36 months [2]. Register it within 60 days [2].", "")
    raw = cited.text.encode()
    spans = [raw[span.start : span.end].decode() for citation in cited.citations for span in citation.spans]
    assert spans == ["Register it within 60 days [2]."]
    assert cited.text == spans[0]
    both = answer("Tolva 20 – the warranty is 36 months [2]. Register it within 60 days [2].")
    raw = both.text.encode()
    assert [raw[span.start : span.end].decode() for span in both.citations[0].spans] == [
        "Tolva 20 – the warranty is 36 months [2].",
        "Register it within 60 days [2].",
    ]


def test_an_address_in_the_model_s_text_never_becomes_a_citation() -> None:
    cited = answer("The warranty of the Tolva 20 is 36 months, see https://evil.example/x [2].")
    assert all("evil" not in citation.uri for citation in cited.citations)


@pytest.mark.parametrize(
    "text", ["." * 8000, "!" * 4000 + "[1" * 2000, "\n" * 8000 + "x", "\n \t" * 3000, "[1] " * 2000, "." + " [1]" * 2000 + "x"]
)
def test_odd_text_is_read_in_little_time(text: str) -> None:
    began = time.perf_counter()
    answer(text)
    assert time.perf_counter() - began < 0.5


def test_a_sentence_may_end_in_a_bracket() -> None:
    assert answer("The warranty is 36 months (Tolva 20).").text == "The warranty is 36 months (Tolva 20) [1]."
    assert answer("The warranty of the Tolva 20 is 36 months (Tolva 20)").text == "The warranty of the Tolva 20 is 36 months (Tolva 20) [1]"


def test_a_row_as_the_retriever_writes_it_says_nothing_of_its_neighbour() -> None:
    rows = "Product | Warranty\nTolva 20 | 36 months\nMurrow S | 24 months\nMurrow Deep | 48 months\nOndel L5 | 60 months"
    table = Passage("t", "t", "Warranty policy", "https://docs.example/warranty", ("Warranty policy",), rows)
    question = "How long is the warranty of the Murrow Deep?"
    assert cite("The Murrow Deep has a warranty of 24 months.", [table], question).refusal_reason is RefusalReason.UNSUPPORTED
    right = cite("The Murrow Deep has a warranty of 48 months.", [table], question)
    assert right.text == "The Murrow Deep has a warranty of 48 months [1]."
    assert right.citations[0].quote == "Murrow Deep | 48 months"
