"""Words of a text as examples are compared by: normalised, without markers of citations; and those that carry content."""

from __future__ import annotations

import re
import unicodedata

# Han, kana and hangul are written without spaces: each character counts as a word.
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
_WORD = re.compile(rf"[{_UNSPACED}]|\d+(?:[.,:]\d+)*|[^\W{_UNSPACED}]+")
_MARKER = re.compile(r"\s*\[\d{1,3}(?:\s*[,;]\s*\d{1,3})*\]")
_STOP = """
    a an and are as at be been but by can could did do does for from had has have he her his how i if in into is it its many may me much
    must my no not of on or our she should so some such than that the their them then there these they this those to us was we were what
    when where which who whom whose why will with would you your
"""
_STOP_WORDS = frozenset(_STOP.split())
_ENDINGS = ("ing", "ied", "ies", "ed", "es", "s", "e", "y")
_SHORTEST_STEM = 3


def without_markers(text: str) -> str:
    """The text without `[1]`, `[2, 3]` and the like."""
    return _MARKER.sub("", text)


def words(text: str) -> list[str]:
    """All words in their order, in lower case."""
    return _WORD.findall(unicodedata.normalize("NFKC", without_markers(text)).casefold())


def numbers(text: str) -> frozenset[str]:
    """Words with a digit, `120,000` and `120000` being the same."""
    return frozenset(re.sub(r"(?<=\d),(?=\d{3}\b)", "", word) for word in words(text) if any(character.isdigit() for character in word))


def content(text: str) -> frozenset[str]:
    """Stems of the words that carry content. The stems are crude: they tell that two texts share a word, and nothing more."""
    return frozenset(
        _stem(word) for word in words(text) if word not in _STOP_WORDS and (len(word) > 1 or not word.isascii() or word.isdigit())
    )


def names(text: str) -> frozenset[str]:
    """Stems of the words written with a capital letter, but for the first word of the text and single letters."""
    found = re.finditer(r"[^\W\d_]\w*", without_markers(text))
    return frozenset(
        _stem(match.group().casefold())
        for position, match in enumerate(found)
        if position and len(match.group()) > 1 and match.group()[0].isupper() and match.group().casefold() not in _STOP_WORDS
    )


def overlap(first: frozenset[str], second: frozenset[str]) -> float:
    """Jaccard index of two sets, 0…1; 1 for two empty ones."""
    return len(first & second) / len(first | second) if first or second else 1.0


def _stem(word: str) -> str:
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= _SHORTEST_STEM:
            return word.removesuffix(ending)
    return word
