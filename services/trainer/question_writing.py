"""Has a teacher write a question that a sentence answers, and the answer in short; and refuses what is no such question.

The prompts are made for the smallest of teachers: they show, they hardly explain. A large one does as well with them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from services.trainer.answer_spans import Wanted
from services.trainer.domain import Message
from services.trainer.facts import Fact
from services.trainer.words import content, names, numbers, overlap, words

QUESTION_TOKENS = 40
ANSWER_TOKENS = 40
MIN_WORDS, MAX_WORDS = 4, 30
"""Of a question."""
COPIED_SHARE = 0.8
"""A question that holds this share of the sentence's content tells its own answer."""
BACK_SHARE = 0.5
"""Of the content of what was wanted that the teacher's own answer must hold."""
SAME_SHARE = 0.85
"""Jaccard index of the content of two questions from which on they are the same."""

GROUNDED_SHARE = 0.7
"""Of the content of a question that stands in the sentence, its title or its headings."""

_ASK = "Write one question that the sentence answers. Name what it is about. Do not tell the answer."
_SHORTEN = "Answer the question with a few words of the sentence."


@dataclass(frozen=True)
class _Shown:
    place: str
    sentence: str
    answer: str
    begins: str
    question: str


_SHOWN = (
    _Shown("Lamp K3 > Battery", "The battery lasts 14 hours.", "14 hours", "How long", "How long does the battery of the Lamp K3 last?"),
    _Shown(
        "Reset the Orin valve", "Hold the green button until the light goes out to clear the alarm.",
        "Hold the green button until the light goes out", "How do I", "How do I clear the alarm of the Orin valve?",
    ),
    _Shown(
        "Expense policy > Approval", "Claims above 500 pounds are approved by the Head of Finance.",
        "Head of Finance", "What", "What role approves expense claims above 500 pounds?",
    ),
    _Shown("Courses", "A course has 12 places.", "12 places", "How many", "How many places does a course have?"),
    _Shown("Lamp K3 > Housing", "It works from -10 to 40 °C.", "-10 to 40 °C", "What", "What temperatures does the Lamp K3 work at?"),
    _Shown("Fire drills", "The next drill takes place on 4 May 2021.", "4 May 2021", "When", "When does the next fire drill take place?"),
    _Shown("Canteen > Prices", "A lunch costs £6.", "£6", "How much", "How much does a lunch cost in the canteen?"),
)  # fmt: skip
_LEADING = re.compile(r"^(?:question|q)\s*[:.]\s*|^[\"“'‘*\-\s]+", re.IGNORECASE)
_ASKS = re.compile(
    r"^(?:(?:in|on|at|to|for|from|by|with|under|of|after|before|until|within|about|against|into|up to)\s+)?"
    r"(?:what|which|who|whom|whose|when|where|why|how)\b",
    re.IGNORECASE,
)
_VAGUE = re.compile(
    r"\b(?:the|this|that) (?:sentence|passage|text|statement|title|document|section)\b|\bpurpose of the (?:sentence|question)\b",
    re.IGNORECASE,
)


def asking(fact: Fact, want: Wanted) -> list[Message]:
    """The chat after which the teacher writes a question that asks for what is wanted."""
    chat = [Message("system", _ASK)]
    for shown in _SHOWN:
        chat += [Message("user", _told(shown.place, shown.sentence, shown.answer, shown.begins)), Message("assistant", shown.question)]
    return [*chat, Message("user", _told(fact.place, fact.sentence, want.answer or fact.sentence.rstrip("."), want.begins))]


def shortening(fact: Fact, question: str) -> list[Message]:
    """The chat after which the teacher answers a question in short."""
    chat = [Message("system", _SHORTEN)]
    for shown in _SHOWN:
        chat += [Message("user", f"Sentence: {shown.sentence}\nQuestion: {shown.question}"), Message("assistant", shown.answer)]
    return [*chat, Message("user", f"Sentence: {fact.sentence}\nQuestion: {question}")]


def cleaned_question(written: str) -> str:
    """The first question in what the teacher wrote, on one line; empty when there is none."""
    head, mark, _ = " ".join(written.split()).partition("?")
    if not mark:
        return ""
    # "Sure. What is …" holds the question in its last sentence.
    head = re.split(r"(?<=[a-z][.!:])\s+", head)[-1]
    question = _LEADING.sub("", head).strip()
    return f"{question[:1].upper()}{question[1:]}?" if question else ""


def cleaned_answer(written: str, fact: Fact) -> str:
    """The short answer as words of the sentence itself; empty when it is none of them, or all."""
    lines = written.strip().splitlines()
    answer = lines[0].strip().strip("\"“”'‘’ ").removesuffix(".") if lines else ""
    start = fact.sentence.casefold().find(answer.casefold()) if answer else -1
    if start < 0 or len(words(answer)) > 0.7 * len(words(fact.sentence)) or not content(answer):
        return ""
    end = start + len(answer)
    inside = (start and fact.sentence[start - 1].isalnum()) or (end < len(fact.sentence) and fact.sentence[end].isalnum())
    return "" if inside else fact.sentence[start:end]


def leads_back(answer: str, want: Wanted) -> bool:
    """Whether the teacher, asked its own question, answers with what was wanted (round trip: Alberti et al., ACL 2019, P19-1620)."""
    given, wished = content(answer), content(want.answer)
    return not wished or (bool(given) and len(given & wished) / len(wished) >= BACK_SHARE)


def why_not(question: str, fact: Fact, want: Wanted) -> str:
    """Why a question is not taken, in a word or two; empty when it is."""
    asked, said, about = content(question), content(fact.sentence), content(fact.place)
    if not question or not _ASKS.match(question):
        return "no question"
    if not question.casefold().startswith(want.begins.casefold()):
        return "another question"
    if not MIN_WORDS <= len(words(question)) <= MAX_WORDS:
        return "length"
    if _VAGUE.search(question):
        return "vague"
    # Without a word of the title two of the sentence must tell what it is about; whether they do, searching shows.
    if not asked & said or (not asked & about and len(asked & said) < 2):
        return "off topic"
    if numbers(question) - numbers(f"{fact.place} {fact.sentence}") or names(question) - content(f"{fact.place} {fact.sentence}"):
        return "invented"
    if len(asked & (said | about)) < GROUNDED_SHARE * len(asked):
        return "not grounded"
    new = (content(want.answer) or said) - about
    if new and len(new & asked) / len(new) >= COPIED_SHARE:
        return "tells the answer"
    return ""


def is_same(question: str, earlier: frozenset[str]) -> bool:
    """Whether a question says what an earlier one, given by its content, said."""
    return overlap(content(question), earlier) >= SAME_SHARE


def _told(place: str, sentence: str, answer: str, begins: str) -> str:
    title = f"Title: {place}\n" if place else ""
    return f"{title}Sentence: {sentence}\nAnswer: {answer}\nQuestion that begins with: {begins}"
