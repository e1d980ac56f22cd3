"""Finds in a sentence the few words that a question can ask for, and how such a question begins.

"One charge lasts 95 hours."  ->  "95 hours", asked for by "How long"
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from services.trainer.domain import Passage
from services.trainer.facts import Fact, facts
from services.trainer.words import content

_NUMBER = r"(?:\d+(?:[.,]\d+)*|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|fifteen|twenty|thirty)"
_RANGE = rf"(?<![\w-])(?:(?:about|at least|at most|up to|more than|less than|within) )?{_NUMBER}(?: ?(?:to|–|-|and|or) ?{_NUMBER})?"
_MONTH = r"(?:January|February|March|April|May|June|July|August|September|October|November|December)"
_DAY = r"(?:Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday)"
# The kinds in the order in which they are tried: "36 months" is a duration before it is a count of something.
_KINDS: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "When",
        re.compile(rf"\b(?:(?:on|in|every|from|until|by) )?(?:\d{{1,2}} {_MONTH}(?: \d{{4}})?|{_MONTH}(?: \d{{4}})?|(?:19|20)\d\d\b)"),
    ),
    ("When", re.compile(rf"\b(?:(?:on|every|from) )?{_DAY}s?(?: (?:to|and) {_DAY}s?)?\b|\b(?:at|from|until) \d{{1,2}}[:.]\d\d\b")),
    ("How long", re.compile(rf"\b{_RANGE} (?:working |calendar |business )?(?:second|minute|hour|day|week|month|year)s?\b", re.IGNORECASE)),
    (
        "How much",
        re.compile(rf"[£€$] ?\d[\d,.]*\d|[£€$] ?\d|\b{_RANGE} ?(?:pounds?|euros?|dollars?|GBP|EUR|USD|p|pence)\b(?: (?:per|a) \w+)?"),
    ),
    ("What", re.compile(rf"(?<!\w){_RANGE} ?(?:°C|%|[mckµ]?m|[mk]?g|m?l|k?V|m?A|W|[kMG]?Hz|[kMGT]?B|bar|m/s|litres?|metres?)(?![\w/])")),
    ("How many", re.compile(rf"\b{_RANGE} (?:[a-z]+ )?[a-z]{{2,}}(?<!s)s\b")),
    ("What", re.compile(r"(?<=[a-z,] )(?:[A-Z][\w’'-]*\w)(?: (?:(?:of|and|the) )?[A-Z0-9][\w’'-]*)*")),
)
# "Tolva 10 sensors" counts no sensors: the number belongs to the name.
_PRODUCT = re.compile(r"(?<![.!?] )\b[A-Z]\w* $")
_IMPERATIVE = re.compile(
    r"^(?:press|hold|use|remove|install|open|close|choose|select|click|connect|hang|put|place|wait|turn|set|import|check|enter|send|ask|write"
    r"|report|download|upload|restart|reset|switch|charge|clean|keep|store|insert|fit|mount|tighten|follow|contact|update|run|start|stop|add)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Wanted:
    """What a question is to ask for: `answer`, words of the sentence, with a question that begins with `begins`.

    `answer` empty: the teacher chooses. `stands_alone`: the sentence may be the answer when no short one counts.
    """

    answer: str
    begins: str
    stands_alone: bool = True


def candidates_of(passages: Sequence[Passage]) -> Iterator[tuple[Fact, Wanted]]:
    """What to ask for, the surest first: words that can be asked for, then what to do, then whatever a sentence says.

    Each time by turns of the passages.
    """
    found = [(fact, wanted(fact.sentence, fact.place)) for fact in facts(passages)]
    for sure in (True, False):
        yield from ((fact, wants[0]) for fact, wants in found if wants[0].stands_alone is sure)
        yield from ((fact, want) for fact, wants in found for want in wants[1:] if want.stands_alone is sure)


def wanted(sentence: str, place: str, most: int = 2) -> list[Wanted]:
    """What of a sentence can be asked for, the best first; at least one entry. `place` is known already and no answer."""
    if _IMPERATIVE.match(sentence):
        return [Wanted("", "How do I")]
    return list(_spans(sentence, content(place)))[:most] or [Wanted("", "What", stands_alone=False)]


def _spans(sentence: str, known: frozenset[str]) -> Iterator[Wanted]:
    taken: list[tuple[int, int]] = []
    for begins, pattern in _KINDS:
        for match in pattern.finditer(sentence):
            start, end = match.span()
            if (
                _PRODUCT.search(sentence[:start])
                or any(start < other_end and other_start < end for other_start, other_end in taken)
                or not content(match.group()) - known
            ):
                continue
            taken.append((start, end))
            yield Wanted(match.group(), begins)
