"""Lexical analysis for keyword search: text in, space-joined index terms out.

The BM25 function of the store runs over a field of its own that holds the output of this module, and queries pass
through the same code. The store's tokenizer then only has to split on spaces, so Milvus Lite (which neither stems nor
knows stop words) and a Milvus server give the same terms. For that to hold, every term is alphanumeric only: no
underscore, hyphen or dot survives for one tokenizer to split and another to keep.

Steps: Unicode NFKC; words; compound identifiers as their parts and as one term; lower case; stop words; Snowball
stemming (https://snowballstem.org, Porter 1980 and its successor "english"); accents folded; CJK as bigrams, as in
Lucene's CJKBigramFilter.
"""

from __future__ import annotations

import re
import threading
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import Stemmer

# Recorded with every index: terms of another version do not match this version's queries.
ANALYSIS_VERSION = 1

MAX_TERM_CHARS = 64

# Function words. After the usual first two lines come those that questions are made of ("how do I ..."); dropping
# them too raised keyword search on every set measured (docs/decisions/0005-fusion-default.md).
ENGLISH_STOP_WORDS = frozenset(
    word
    for line in (
        "a an and are as at be but by for if in into is it no not of on or such that the their then there these they",
        "this to was will with",
        "what which who whom whose when where why how do does did doing can could should would i me my we our you your",
        "he she his her its them am been being were has have had having from about than so too very just also any some",
        "more most other over under again here own same those both each few only while during until because through",
        "between before after above below out up down off further all nor",
        "s t d m ll re ve don doesn didn isn aren wasn weren won wouldn couldn shouldn hasn haven hadn",
    )
    for word in line.split()
)

# Letters and digits, with the joiners that make identifiers and versions of them: max_connections, HTTP-404, 3.2.
# Python's \w leaves out combining marks, and with them the vowels of most Indic scripts.
_MARKS = "".join(chr(code) for code in range(0x10000) if unicodedata.category(chr(code)) in ("Mn", "Mc"))
_LETTERS = rf"(?:[^\W_][{re.escape(_MARKS)}]*)+"
_RUN = re.compile(rf"{_LETTERS}(?:[_.\-]{_LETTERS})*")
_PART = re.compile(_LETTERS)
# Names that would be left as a bare "c" or "f".
_SYMBOLIC = re.compile(r"\b(?:([Cc])\+\+|([CcFf])#)")
_VERSION_DOT = re.compile(r"(?<=\d)\.(?=\d)")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z](?!s(?![A-Za-z]))[a-z])")  # "APIs" stays whole
# Scripts written without spaces between words: Han, kana, and Thai, Lao, Khmer and Burmese.
_UNSPACED_RANGES = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_UNSPACED = re.compile(f"([{_UNSPACED_RANGES}]+)")

_local = threading.local()


def analyse(text: str | None, language: str = "english") -> str:
    """Return the index terms of ``text``, joined by single spaces; empty when there is nothing to search for.

    A text of stop words only keeps them, so that a query such as "who am I" is still a query.
    """
    return " ".join(analyser(language).terms(text))


@lru_cache(maxsize=32)
def analyser(language: str = "english") -> Analyser:
    """Return the shared analyser of ``language``: a Snowball algorithm's name, or ``none`` for no stemming."""
    return Analyser(language)


@dataclass(frozen=True)
class Analyser:
    """Analysis in one language. Stateless and safe to share between threads."""

    language: str = "english"

    def __post_init__(self) -> None:
        if self.language != "none" and self.language not in Stemmer.algorithms():
            raise ValueError(f"unknown language {self.language!r}: one of none, {', '.join(Stemmer.algorithms())}")

    def terms(self, text: str | None) -> list[str]:
        """Return the index terms of ``text`` in order, repeats kept (BM25 counts them)."""
        if not text:
            return []
        # Lone surrogates, as broken JSON escapes produce them, cannot be encoded and would stop the stemmer.
        text = unicodedata.normalize("NFKC", text.encode("utf-8", "ignore").decode("utf-8"))
        text = _SYMBOLIC.sub(lambda match: f"{match[1]}plusplus " if match[1] else f"{match[2]}sharp ", text)
        words = [word for run in _RUN.findall(text) for word in _words(run)]
        kept = [word for word in words if word not in self._stop_words] or words
        stemmed = kept if self.language == "none" else _stemmer(self.language).stemWords(kept)
        return [term for stem in stemmed if (term := _fold(stem))]

    @property
    def _stop_words(self) -> frozenset[str]:
        # In other languages BM25's inverse document frequency does what a stop list would.
        return ENGLISH_STOP_WORDS if self.language in ("english", "porter") else frozenset()


def _words(run: str) -> Iterator[str]:
    """Yield the lower-case words of one run of letters, digits and joiners."""
    parts = [camel for part in _PART.findall(run) for camel in _CAMEL.split(part)]
    if len(parts) > 1 and _is_identifier(run):
        # "3.2" must not become "32".
        yield "".join(_PART.findall(_VERSION_DOT.sub("dot", run))).lower()[:MAX_TERM_CHARS]
    for part in parts:
        for piece in _UNSPACED.split(part):
            if not piece:
                continue
            if _UNSPACED.fullmatch(piece):
                yield from _bigrams(piece)
            else:
                yield piece.lower()[:MAX_TERM_CHARS]


def _is_identifier(run: str) -> bool:
    """Tell ``max_connections``, ``maxConnections``, ``HTTP-404`` and ``3.2`` from prose such as ``well-known``."""
    return "_" in run or any(char.isdigit() for char in run) or _CAMEL.search(run) is not None


def _bigrams(piece: str) -> Iterator[str]:
    """Yield overlapping character pairs as numbers, which no tokenizer takes apart and no stemmer shortens."""
    codes = [f"u{ord(char)}" for char in piece]
    yield from (codes if len(codes) == 1 else (first + second for first, second in pairwise(codes)))


def _fold(term: str) -> str:
    """Strip accents and every other mark: "café" and "cafe" meet, and a mark is where some tokenizers split."""
    if term.isascii():
        return term
    letters = "".join(char for char in unicodedata.normalize("NFKD", term) if char.isalnum())
    return unicodedata.normalize("NFC", letters).lower()


def _stemmer(language: str) -> Stemmer.Stemmer:
    """Return this thread's stemmer: the C object keeps a cache and is not safe to share."""
    stemmers = _local.__dict__.setdefault("stemmers", {})
    if language not in stemmers:
        stemmers[language] = Stemmer.Stemmer(language)
    return stemmers[language]
