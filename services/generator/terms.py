"""What a text says, reduced to what can be compared: stemmed content words, numbers, names and negation.

Citing, refusing and making questions stand alone all compare texts; they do it with the same words.
"""

from __future__ import annotations

import math
import re
import threading
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import Stemmer

_local = threading.local()

# Words that carry no content of their own, with those that questions and polite turns are made of.
_STOP_WORDS = """
    a an and are as at be been being but by for from had has have having he her here hers him his how i if in into is it its itself me my
    of on or our ours she so such than that the their theirs them then there these they this those to too us was we were what when where
    which who whom whose why will with would you your yours am do does did doing done can could may might must shall should about above
    after again all also any because before below between both during each few further just more most other over own same some through
    under until up very while out off down only once not no nor never none s t d ll m re ve don doesn didn isn aren wasn weren won
    please thanks thank tell know give want need like get got make let one ones much many lot
    passage passages document documents according answer question context information provided
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())
_NUMBERS = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
_NUMBER_WORDS = {word: str(value) for value, word in enumerate(_NUMBERS.split())}
_NUMBER_WORDS |= {"seventeen": "17", "eighteen": "18", "nineteen": "19", "twenty": "20", "thirty": "30", "forty": "40", "fifty": "50"}
_NEGATION = re.compile(
    r"\b(?:not|no|never|none|neither|nor|cannot|without|nobody|nothing|unable|unless|except)\b|n['’]t\b",
    re.IGNORECASE,
)
_ASKS_NUMBER = re.compile(
    r"\bhow (?:many|much|long|far|often|old|deep|high|big|large|quickly|fast|wide|tall)\b|^\W*(?:since |until |from |by )?when\b"
    r"|\b(?:what|which) (?:year|date|century|decade|price|number|percent\w*|proportion|age|temperature|limit|rate|cost|size|speed)\b",
    re.IGNORECASE,
)
_ASKS_NAME = re.compile(r"\b(?:who|whose|whom|where)\b|\bwhich (?:person|king|author|company|city|country|team)\b", re.IGNORECASE)

# A code (letters, then digits: IP66, W3), a number (120,000; 4.0.5; 5:30), a word. Digits before letters are a number and its unit: 45p.
_TOKEN = re.compile(r"[^\W\d_]+\d+[^\W_]*|\d+(?:[.,:]\d+)*|[^\W\d_]+(?:['’][^\W\d_]+)?")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?:\D|$))")


@dataclass(frozen=True)
class Terms:
    """The terms of a text.

    `content`: stems of the content words, numbers and codes included, in order. `exact`: numbers and codes, normalised.
    `names`: stems of words written with a capital letter within a sentence. `negations`: how often it negates.
    """

    content: tuple[str, ...]
    exact: frozenset[str]
    names: frozenset[str]
    negations: int

    @property
    def words(self) -> frozenset[str]:
        """The content as a set."""
        return frozenset(self.content)


@lru_cache(maxsize=4096)
def terms(text: str) -> Terms:
    """Reduce `text` to its terms."""
    text = unicodedata.normalize("NFKC", text)
    content: list[str] = []
    exact: set[str] = set()
    names: set[str] = set()
    for match in _TOKEN.finditer(text):
        token = match.group()
        lower = token.lower()
        if lower in _NUMBER_WORDS:
            content.append(_NUMBER_WORDS[lower])
            if lower not in ("one", "zero"):  # "one of them" counts nothing
                exact.add(_NUMBER_WORDS[lower])
            continue
        if any(char.isdigit() for char in token):
            lower = _THOUSANDS.sub("", lower)
            content.append(lower)
            exact.add(lower)
            continue
        lower = re.sub(r"['’](?:s|re|ve|ll|d|m|t)?$", "", lower)
        if lower in STOP_WORDS or (len(lower) == 1 and lower.isascii()):
            continue
        stemmed = stem(lower)
        content.append(stemmed)
        if token[0].isupper() and not _begins_sentence(text, match.start()):
            names.add(stemmed)
    return Terms(tuple(content), frozenset(exact), frozenset(names), len(_NEGATION.findall(text)))


def asks_number(question: str) -> bool:
    """Tell whether `question` asks for a number or a date."""
    return bool(_ASKS_NUMBER.search(question))


def asks_name(question: str) -> bool:
    """Tell whether `question` asks for a person or a place."""
    return bool(_ASKS_NAME.search(question))


def stem(word: str) -> str:
    """Stem a lower-case word (Snowball "english")."""
    if not hasattr(_local, "stemmer"):
        _local.stemmer = Stemmer.Stemmer("english")  # the C object keeps a cache and is not safe to share between threads
    return str(_local.stemmer.stemWord(word))


def inverse_frequencies(texts: Iterable[str]) -> dict[str, float]:
    """Return ln(1 + N/n) for every term that stands in n of the N texts; `UNSEEN` is the key for a term in none."""
    counts: dict[str, int] = {}
    total = 0
    for text in texts:
        total += 1
        for term in terms(text).words:
            counts[term] = counts.get(term, 0) + 1
    weights = {term: math.log(1 + total / count) for term, count in counts.items()}
    weights[UNSEEN] = math.log(1 + 2 * max(total, 1))
    return weights


UNSEEN = ""
"""The key under which `inverse_frequencies` keeps the weight of a term that no text holds."""


def coverage(wanted: Iterable[str], held: frozenset[str] | set[str], weights: Mapping[str, float]) -> float:
    """Return the share of the weight of the `wanted` terms that is `held`, 0…1; 0 when nothing is wanted."""
    total = found = 0.0
    for term in set(wanted):
        weight = weights.get(term, weights.get(UNSEEN, 1.0))
        total += weight
        if term in held:
            found += weight
    return found / total if total else 0.0


def _begins_sentence(text: str, position: int) -> bool:
    before = text[:position].rstrip(" \t*_\"'“‘(")
    return not before or before[-1] in ".!?:;\n|#>-•"
