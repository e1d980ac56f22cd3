"""The JSON form of an example, read and written: a closed schema, every violation told. docs/examples.md describes it.

Files of callers and datasets on the shelf are lines of the same form; a file that was listed from a dataset can be given again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from services.trainer.domain import DONT_KNOW, Example, Passage
from services.trainer.example_fields import Fields, Problems
from services.trainer.strict_json import LineInvalid, json_object, shown

MAX_QUESTION = 4000
"""Characters of a question, passages of a question: as the generator takes them."""
MAX_PASSAGES = 5
MAX_ANSWER = 16_000
"""Characters of an answer, of a prompt, of one message, of a passage."""
MAX_PROMPT = 100_000
MAX_PASSAGE = 20_000
MAX_MESSAGES = 100
MAX_NAMES = 50
_ID_DIGITS = 16
# JSON lets them stand in a text; readers of lines, Python's among them, would cut there.
_LINE_ENDS = {ord(end): f"\\u{ord(end):04x}" for end in "\x85\u2028\u2029"}

_PROMPT, _CHAT, _QUESTION = "`prompt` and `response`", "`messages`", "`question`"
_FORMS = {"prompt": _PROMPT, "messages": _CHAT, "question": _QUESTION}
_COMMON = {
    "id",
    "group",
    "concept",
    "corner_case",
    "held_back",
    "score",
    "style",
    "trace_id",
    "answers",
    "origin",
    "chunks",
    "split",
    "fold",
}
_KEYS = {
    _PROMPT: {"prompt", "response"},
    _CHAT: {"messages"},
    _QUESTION: {"question", "answer", "context", "corpus", "sources", "answerable"},
}
_ELSEWHERE = {
    "history": "is not taken: an example is one question that stands alone; write the question as it would be asked without the history",
}


def from_json(text: str) -> Example:
    """The example in one line. Raises `LineInvalid` with everything that is wrong with it."""
    given = json_object(text)
    problems: Problems = []
    forms = [form for key, form in _FORMS.items() if key in given]
    if len(forms) != 1:
        raise LineInvalid([f"must have exactly one of {_PROMPT}, {_CHAT} or {_QUESTION}"])
    form = forms[0]
    fields = Fields(given, problems)
    for key in given:
        if key in _ELSEWHERE:
            problems.append(f"`{key}` {_ELSEWHERE[key]}")
        elif key not in _COMMON | _KEYS[form]:
            known = any(key in keys for keys in _KEYS.values())
            problems.append(f"`{shown(key)}` does not go with {form}" if known else f"`{shown(key)}` is not known")
    body: dict[str, Any]
    if form is _PROMPT:
        body = {"messages": fields.prompt("prompt", MAX_PROMPT), "answer": fields.text("response", MAX_ANSWER)}
    elif form is _CHAT:
        messages, answer = fields.chat("messages", MAX_MESSAGES, MAX_PROMPT, MAX_ANSWER)
        body = {"messages": messages, "answer": answer}
    else:
        body = _question(fields, given, problems)
    common: dict[str, Any] = {
        "id": fields.name("id"),
        "answers": fields.texts("answers", MAX_NAMES, MAX_ANSWER),
        "group": fields.name("group"),
        "concept": fields.optional_text("concept", MAX_QUESTION),
        "corner_case": fields.flag("corner_case", False),
        "held_back": fields.flag("held_back", False),
        "score": fields.score("score"),
        "style": fields.style("style"),
        "trace_id": fields.name("trace_id"),
        "origin": fields.choice("origin", ("file", "feedback", "corpus"), "file"),
        "chunks": fields.texts("chunks", MAX_NAMES, MAX_QUESTION),
        "split": fields.choice("split", ("", "training", "validation", "held_out"), ""),
        "fold": fields.whole("fold", 0, 1000),
    }
    if problems:
        raise LineInvalid(problems)
    example = Example(**body, **common)
    return example if example.id else replace(example, id=content_id(example))


def to_json(example: Example) -> str:
    """The line of an example, without its end. What is as by default is left out."""
    given: dict[str, Any] = {"id": example.id}
    if example.is_question:
        given |= {"question": example.question, "answer": example.answer, "answerable": example.answerable}
        given |= {"context": [_context(passage) for passage in example.passages]} if example.passages else {}
        given |= {"corpus": example.corpus} if example.corpus else {}
        given |= {"sources": list(example.sources)} if example.sources else {}
    else:
        messages = [{"role": message.role, "content": message.text} for message in example.messages]
        given |= {"messages": [*messages, {"role": "assistant", "content": example.answer}]}
    optional = {
        "answers": list(example.answers),
        "group": example.group,
        "concept": example.concept,
        "corner_case": example.corner_case,
        "held_back": example.held_back,
        "trace_id": example.trace_id,
        "origin": "" if example.origin == "file" else example.origin,
        "chunks": list(example.chunks),
        "split": example.split,
    }
    given |= {key: value for key, value in optional.items() if value}
    given |= {key: value for key, value in (("score", example.score), ("fold", example.fold)) if value is not None}
    if example.style is not None:
        style = {
            "required_phrases": list(example.style.required_phrases),
            "forbidden_phrases": list(example.style.forbidden_phrases),
            "max_words": example.style.max_words,
        }
        given["style"] = {key: value for key, value in style.items() if value}
    return json.dumps(given, ensure_ascii=False, separators=(",", ":")).translate(_LINE_ENDS)


def to_lines(examples: Iterable[Example]) -> bytes:
    """The examples as JSON lines, in their order."""
    return b"".join(to_json(example).encode() + b"\n" for example in examples)


def from_lines(content: bytes) -> list[Example]:
    """The examples of a file made by `to_lines`. Raises `LineInvalid` for the first line that is none."""
    return [from_json(line.decode()) for line in content.split(b"\n") if line]


def content_id(example: Example) -> str:
    """An id that follows from what is asked, from what, and the answer: 16 hexadecimal digits."""
    parts = [
        *(f"{message.role}\t{message.text}" for message in example.messages),
        example.question,
        example.corpus,
        *(f"{passage.name}\t{passage.uri}\t{passage.title}\t{passage.text}" for passage in example.passages),
        example.answer,
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:_ID_DIGITS]


def fingerprint(examples: Iterable[Example]) -> str:
    """SHA-256 over the examples in their order, in hexadecimal."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(to_json(example).encode() + b"\n")
    return digest.hexdigest()


def _question(fields: Fields, given: Mapping[str, Any], problems: Problems) -> dict[str, Any]:
    answerable = fields.flag("answerable", True)
    passages = fields.passages("context", MAX_PASSAGES, MAX_PASSAGE)
    corpus = fields.corpus("corpus")
    if not given.get("context") and not given.get("corpus"):
        problems.append("a question needs `context`, the passages to answer from, or `corpus`, where to search for them")
    if answerable:
        answer = fields.text("answer", MAX_ANSWER)
    else:
        # What stands there is what the model must not say.
        fields.optional_text("answer", MAX_ANSWER)
        answer = DONT_KNOW
    return {
        "question": fields.text("question", MAX_QUESTION),
        "answer": answer,
        "answerable": answerable,
        "passages": passages,
        "corpus": corpus,
        "sources": fields.texts("sources", MAX_NAMES, MAX_QUESTION),
    }


def _context(passage: Passage) -> str | dict[str, Any]:
    given = {
        "text": passage.text,
        "title": passage.title,
        "uri": passage.uri,
        "heading_path": list(passage.heading_path),
        "name": passage.name,
    }
    given = {key: value for key, value in given.items() if value}
    return passage.text if set(given) == {"text"} else given
