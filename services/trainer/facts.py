"""Chooses what of a corpus is asked about: passages spread over its documents, and in each the sentences that state a fact."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass

from services.trainer.domain import Passage
from services.trainer.words import content, names, numbers, words

MAX_PASSAGES_KEPT = 20_000
"""Passages of a corpus that are considered; of a larger one a random choice."""
FACTS_PER_PASSAGE = 4
MIN_WORDS, MAX_WORDS = 5, 40
"""Of a sentence that is asked about: shorter ones say little, longer ones say several things."""

_LINE_OF_ITS_OWN = re.compile(r"^\s*(?:[-*+•|#>]|\d{1,3}[.)]\s)")
_LIST_MARK = re.compile(r"^\s*(?:[-*+•]|\d{1,3}[.)])\s+")
_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"”’)]*\s+(?=[\"“‘(]?[A-Z0-9À-Þ])")
_ABBREVIATION = re.compile(r"(?:\b(?:approx|ca|max|min|incl|excl|no|fig|vol|e\.g|i\.e|etc|vs|Mr|Mrs|Ms|Dr|St)|\b[A-Z])\.$", re.IGNORECASE)
_REFERS_BACK = re.compile(
    r"^(?:it|they|this|that|these|those|he|she|his|her|its|their|there|here|then|both|such|if so|otherwise|however|also|after that)\b",
    re.IGNORECASE,
)
_LABEL = re.compile(r"^[\w ]{1,30}: ")
_PERSONAL = re.compile(r"\b(?:I|we|my|our|us|me)\b(?!\.)", re.IGNORECASE)
_MARKUP = re.compile(r"\*\*|__|`|\[([^\]]*)\]\([^)]*\)")


@dataclass(frozen=True)
class Fact:
    """A sentence of a passage."""

    passage: Passage
    sentence: str

    @property
    def document(self) -> str:
        """Name of the passage's document."""
        return document_of(self.passage.name)

    @property
    def place(self) -> str:
        """Title and headings: what the sentence is about."""
        parts = [self.passage.title, *(heading for heading in self.passage.heading_path if heading != self.passage.title)]
        return " > ".join(part for part in parts if part)


def document_of(chunk: str) -> str:
    """The document in the name of a chunk, `corpora/{corpus}/documents/{document}/chunks/{chunk}`."""
    return chunk.partition("/chunks/")[0]


async def chosen(passages: AsyncIterator[Passage], seed: int) -> list[Passage]:
    """The passages in the order in which they are asked about: by turns of the documents, each time another passage. Repeatable."""
    kept: list[tuple[str, Passage]] = []
    async for passage in passages:
        kept.append((_rank(seed, passage.name), passage))
        if len(kept) >= 2 * MAX_PASSAGES_KEPT:
            kept = sorted(kept, key=lambda pair: pair[0])[:MAX_PASSAGES_KEPT]
    turns: dict[str, int] = {}
    ordered: list[tuple[int, str, Passage]] = []
    for rank, passage in sorted(kept, key=lambda pair: pair[0])[:MAX_PASSAGES_KEPT]:
        document = document_of(passage.name)
        turn = turns[document] = turns.get(document, -1) + 1
        ordered.append((turn, rank, passage))
    return [passage for _, _, passage in sorted(ordered, key=lambda entry: entry[:2])]


def facts(passages: Sequence[Passage]) -> Iterator[Fact]:
    """What to ask about: the best sentence of each passage, then the second of each, and so on."""
    sentences = [(passage, stated(passage)) for passage in passages]
    for turn in range(FACTS_PER_PASSAGE):
        for passage, found in sentences:
            if turn < len(found):
                yield Fact(passage, found[turn])


def stated(passage: Passage) -> list[str]:
    """The sentences that state a fact by themselves, those with numbers and names first."""
    about = content(" ".join([passage.title, *passage.heading_path]))
    scored: list[tuple[float, int, str]] = []
    for position, sentence in enumerate(sentences(passage.text)):
        count = len(words(sentence))
        if not MIN_WORDS <= count <= MAX_WORDS or sentence[-1] not in ".!" or not sentence[0].isupper() or _LABEL.match(sentence):
            continue
        score = 2.0 * bool(numbers(sentence)) + bool(names(sentence)) + 0.5 * bool(content(sentence) & about)
        score -= bool(_PERSONAL.search(sentence))
        score -= 1.5 * bool(_REFERS_BACK.match(sentence)) + 0.5 * (count > MAX_WORDS // 2)
        scored.append((-score, position, sentence))
    return [sentence for _, _, sentence in sorted(scored)]


def sentences(text: str) -> list[str]:
    """Sentences of running text and of list items; headings and rows of tables are left out."""
    found: list[str] = []
    for block in _blocks(text):
        start = 0
        for match in _SENTENCE_END.finditer(block):
            if _ABBREVIATION.search(block[start : match.start()]):
                continue
            found.append(block[start : match.end()].strip())
            start = match.end()
        found.append(block[start:].strip())
    return [sentence for sentence in found if sentence]


def _blocks(text: str) -> Iterator[str]:
    """Paragraphs and list items, each on one line, without marks of Markdown."""
    lines: list[str] = []
    for line in [*text.splitlines(), ""]:
        if lines and (not line.strip() or _LINE_OF_ITS_OWN.match(line)):
            yield " ".join(lines)
            lines = []
        bare = line.strip()
        if bare and not bare.startswith(("|", "#", ">")) and " | " not in bare:
            lines.append(_MARKUP.sub(r"\1", _LIST_MARK.sub("", bare)))


def _rank(seed: int, name: str) -> str:
    return hashlib.sha256(f"{seed}:{name}".encode()).hexdigest()
