"""Cuts text into sentences, with the place of each in the text.

Prose is cut by `sentencex` (https://github.com/wikimedia/sentencex), which knows abbreviations of many languages. What documents hold
besides prose, such as list items, table rows and headings, is cut at its line ends first: a row is what a citation quotes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import sentencex

# A line that stands for itself: a list item, a table row (`| a | b |`, or `a | b` as the retriever writes it), a heading, or the line after
# an empty one.
_BREAK = re.compile(r"\n(?=[ \t]*(?:[-*+•]\s|\d{1,3}[.)]\s|\||#{1,6}\s|\n)|[^\n|]*\S \|(?:\s|$))|(?<=\|)[ \t]*\n|(?<=:)[ \t]*\n")
# A full stop that ends no sentence: `sentencex` cuts after the number of a list item and after "approx.", "max." and the like.
_UNFINISHED = re.compile(
    r"(?:^|\s)(?:\d{1,3}[.)]|[-*+•]|(?:approx|ca|max|min|incl|excl|resp|no|nos|fig|figs|vol|pp?|sec|dept)\.)\s*$", re.IGNORECASE
)

# A full stop after a unit does end one: "18 m/s. The contact", "24 V. It".
_AFTER_UNIT = re.compile(r"(?<=\d)\s?(?:[°µ]?[A-Za-z]{1,2}|[A-Za-z]{1,3}/[A-Za-z]{1,3})\.\s+(?=[A-Z])")


@dataclass(frozen=True)
class Sentence:
    """A sentence without the white space around it. `start` and `end` count characters of the text it was cut from."""

    text: str
    start: int
    end: int


def split(text: str, language: str = "en") -> list[Sentence]:
    """Return the sentences of `text` in order: list items, table rows and headings each stand for themselves.

    `language` is an ISO 639-1 code; one that is not known is cut as English.
    """
    sentences: list[Sentence] = []
    begin = 0
    stops = [match.end() for pattern in (_BREAK, _AFTER_UNIT) for match in pattern.finditer(text)]
    for stop in [*sorted(stops), len(text)]:
        sentences += _prose(text[begin:stop], begin, language)
        begin = stop
    return sentences


def _prose(text: str, offset: int, language: str) -> list[Sentence]:
    """Cut one block of running text that begins `offset` characters into the whole."""
    if not text.strip():
        return []
    found: list[Sentence] = []
    start = position = 0
    for piece in sentencex.segment(language, text):
        position += len(piece)
        if _UNFINISHED.search(text[start:position]) and position < len(text):
            continue
        _append(found, text, start, position, offset)
        start = position
    _append(found, text, start, len(text), offset)
    return found


def _append(found: list[Sentence], text: str, start: int, end: int, offset: int) -> None:
    piece = text[start:end]
    stripped = piece.strip()
    if stripped:
        begin = start + len(piece) - len(piece.lstrip())
        found.append(Sentence(stripped, offset + begin, offset + begin + len(stripped)))
