"""Checks every sentence of an answer against the passages, and says where it is written.

A marker of the model's is kept where the passage supports the sentence; where the model gave none, or wrong ones, the sentence is
attributed to the passage that supports it best; a sentence nothing supports is taken out. What is left is the answer; when nothing is
left, it is "I do not know.". What counts as support is in `support.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from services.generator.domain import DONT_KNOW, Citation, Passage, RefusalReason, Span
from services.generator.sentences import split
from services.generator.support import Reader, Support
from services.generator.terms import asks_number, terms

MIN_SUPPORT = 0.7
"""A sentence is supported from here on. This and the next are calibrated in docs/decisions/0009-citations.md."""
MIN_RELEVANCE = 0.3
"""An answer whose every sentence is written somewhere, but nowhere near the question, is none: the share of the question's content that
at least one of the supporting places must hold."""

_NUMBERS = r"[\[【]\s*(?:(?:passages?|sources?)\s*)?(\d{1,3}(?:\s*(?:[,;&]|and)\s*\d{1,3})*)\s*[\]】]"
_MARKER = re.compile(rf"\s*{_NUMBERS}", re.IGNORECASE)
# "36 months. [1]" is "36 months [1].": the marker belongs to the sentence it follows.
_LATE = re.compile(rf"((?<![.!?…])[.!?…]++[\"”’)]*)((?:[ \t]*{_NUMBERS})+)", re.IGNORECASE)
# A small model goes on with a passage of its own making, or with the next question.
_ECHO = re.compile(r"\n[ \t]*(?:\[\d+\][^\n]* > |(?:key sentences?|question):)", re.IGNORECASE)
_HEADING = re.compile(r"\s>(?:\s|$)")
_STOPS, _CLOSING = ".!?…:", "\"'”’)"
_DECLINED = re.compile(
    r"\bI (?:do not|don['’]t) know\b|\bI(?: am|['’]m) (?:not sure|sorry)\b|\bI (?:cannot|can['’]t|could not|am unable to) (?:find|answer)\b"
    r"|\b(?:passages?|documents?|context|text) (?:do|does|did)(?: not|n['’]t)"
    r" (?:\w+ )?(?:hold|contain|mention|provide|state|specify|say|give)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class CitedAnswer:
    """An answer as it counts. `text` has markers such as `[1]` in every sentence; `refusal_reason` is None exactly when it is an answer."""

    text: str
    citations: tuple[Citation, ...]
    refusal_reason: RefusalReason | None
    dropped_citation_count: int
    dropped_sentence_count: int


@dataclass(frozen=True)
class _Claim:
    """A sentence of the answer without its markers, the numbers they held, and whether it begins a line."""

    text: str
    numbers: tuple[int, ...]
    begins_line: bool


@dataclass
class _Cited:
    """What a passage has been cited for."""

    best: Support
    weakest: float
    relevance: float
    from_model: bool
    spans: list[Span]


def cite(text: str, passages: Sequence[Passage], question: str = "") -> CitedAnswer:
    """Resolve the answer `text` against `passages`, numbered from 1 as in the prompt.

    `question` (in its stand-alone form) helps to understand a short answer: "36 months" to "How long is the warranty of the Tolva 20?"
    must be supported by what a passage says of the Tolva 20.
    """
    reader = Reader(passages, question)
    written = ""
    cited: dict[int, _Cited] = {}
    said: set[str] = set()
    dropped_citations = dropped_sentences = declined = 0
    for claim in _claims(text):
        if _DECLINED.search(claim.text):
            declined += 1
            continue
        if _HEADING.search(claim.text) or claim.text.endswith("?"):  # a passage's heading, or a question: neither says anything
            dropped_sentences += 1
            continue
        marked = [support for number in claim.numbers if (support := reader.support(claim.text, number)).score >= MIN_SUPPORT]
        dropped_citations += len(claim.numbers) - len(marked)
        chosen = marked or [support for support in reader.supports(claim.text) if support.score >= MIN_SUPPORT][:1]
        if not chosen or claim.text.casefold() in said:
            dropped_sentences += 1
            continue
        said.add(claim.text.casefold())
        gap = "" if not written else "\n" if claim.begins_line else " "
        start = len(f"{written}{gap}".encode())
        written += gap + _with_markers(claim.text, [support.number for support in chosen])
        for support in chosen:
            entry = cited.setdefault(support.number, _Cited(support, support.score, support.relevance, bool(marked), []))
            entry.best = max(entry.best, support, key=lambda each: each.score)
            entry.weakest = min(entry.weakest, support.score)
            entry.relevance = max(entry.relevance, support.relevance)
            entry.from_model = entry.from_model and bool(marked)
            entry.spans.append(Span(start, len(written.encode())))
    if written and not _answers(question, written, cited.values()):
        dropped_sentences += len({span for entry in cited.values() for span in entry.spans})
        written = ""
    if not written:
        reason = RefusalReason.MODEL_DECLINED if declined else RefusalReason.UNSUPPORTED
        return CitedAnswer(DONT_KNOW, (), reason, dropped_citations, dropped_sentences)
    citations = tuple(_citation(passages[number - 1], entry) for number, entry in cited.items())
    return CitedAnswer(written, citations, None, dropped_citations, dropped_sentences)


def _answers(question: str, written: str, cited: Iterable[_Cited]) -> bool:
    """Tell whether what is written is near the question, and brings a number where one is asked for."""
    if not terms(question).words:
        return True
    if asks_number(question) and not terms(_MARKER.sub("", written)).exact - terms(question).exact:
        return False
    return max(entry.relevance for entry in cited) >= MIN_RELEVANCE


def _claims(text: str) -> list[_Claim]:
    """Cut the answer into sentences and take the markers out of them."""
    echo = _ECHO.search(text)
    text = _LATE.sub(r"\2\1", text[: echo.start()] if echo else text)
    claims: list[_Claim] = []
    position = 0
    for sentence in split(text):
        begins_line = "\n" in text[position : sentence.start]
        position = sentence.end
        numbers = [int(number) for match in _MARKER.finditer(sentence.text) for number in re.findall(r"\d+", match.group(1))]
        bare = _MARKER.sub("", sentence.text).strip()
        if re.search(r"\w", bare):
            claims.append(_Claim(bare, tuple(dict.fromkeys(numbers)), begins_line))
        elif claims and numbers:
            last = claims[-1]
            claims[-1] = _Claim(last.text, tuple(dict.fromkeys((*last.numbers, *numbers))), last.begins_line)
    return claims


def _with_markers(sentence: str, numbers: Sequence[int]) -> str:
    """Put the markers before the sentence's full stop."""
    markers = "".join(f"[{number}]" for number in numbers)
    closed = len(sentence.rstrip(_CLOSING))
    stopped = len(sentence[:closed].rstrip(_STOPS))
    cut = stopped if stopped < closed else len(sentence)  # a bracket or a quotation mark alone ends no sentence
    return f"{sentence[:cut]} {markers}{sentence[cut:]}"


def _citation(passage: Passage, entry: _Cited) -> Citation:
    return Citation(
        number=entry.best.number,
        uri=passage.uri,
        title=passage.title,
        heading_path=passage.heading_path,
        quote=entry.best.quote,
        passage=passage.name,
        spans=tuple(entry.spans),
        from_model=entry.from_model,
        support=entry.weakest,
    )
