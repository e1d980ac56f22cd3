"""Requests of the contract to what the service works with. Every violation of a request is collected before it is refused."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from corella.v1 import generator_pb2 as pb
from corella.v1 import retriever_pb2
from services.chassis import page_token
from services.chassis.errors import InvalidArgument, Violation
from services.generator.domain import ADAPTER_VERSION, BASE_NAME, Feedback, GenerationOptions, Message, Passage, Rating, Style, Turn
from services.generator.events import Ask, Condition, Retrieval

MAX_QUESTION = 4000
_MAX_STYLE = 200
_MAX_INSTRUCTIONS = 1000
_MAX_TOKENS = 1024
_MAX_PASSAGES = 5
_MAX_TOKEN_BYTES = 65536
_MAX_CHAT_CHARACTERS = 1_000_000
_MAX_TEXT = 16_000
_MAX_HEADINGS = 32
_CORPUS = re.compile(r"corpora/[a-z]([a-z0-9-]{0,38}[a-z0-9])?")
_DOCUMENT = re.compile(r"(corpora/[a-z](?:[a-z0-9-]{0,38}[a-z0-9])?/documents/[A-Za-z0-9_-]{1,128})")
_CONVERSATION = re.compile(r"conversations/([A-Za-z0-9_-]{1,64})")
_ANSWER = re.compile(r"answers/([0-9a-f]{32})")
_ROLES = {pb.CHAT_ROLE_SYSTEM: "system", pb.CHAT_ROLE_USER: "user", pb.CHAT_ROLE_ASSISTANT: "assistant"}


@dataclass(frozen=True)
class Grounded:
    """A question with the passages it is to be answered from."""

    question: str
    passages: tuple[Passage, ...]
    style: Style


class _Checker:
    """Collects violations."""

    def __init__(self) -> None:
        self.violations: list[Violation] = []

    def require(self, holds: bool, field: str, description: str) -> None:
        if not holds:
            self.violations.append((field, description))

    def text(self, value: str, field: str, limit: int) -> None:
        self.require(len(value) <= limit, field, f"must have at most {limit:,} characters, has {len(value):,}")

    def name(self, value: str, pattern: re.Pattern[str], field: str, form: str) -> str:
        match = pattern.fullmatch(value)
        self.require(match is not None, field, f"must be `{form}`")
        return match.group(match.lastindex or 0) if match else ""

    def finish(self) -> None:
        if self.violations:
            raise InvalidArgument.of(self.violations)


def ask(request: pb.AskRequest) -> Ask:
    """Raises `InvalidArgument`."""
    check = _Checker()
    check.require(bool(request.question.strip()), "question", "must not be empty")
    check.text(request.question, "question", MAX_QUESTION)
    check.name(request.corpus, _CORPUS, "corpus", "corpora/{corpus}")
    conversation = ""
    if request.conversation:
        conversation = _conversation_id(check, request.conversation, "conversation")
        check.require(not request.summary_token, "summary_token", "must be empty when `conversation` is given")
    check.require(len(request.summary_token) <= _MAX_TOKEN_BYTES, "summary_token", f"must have at most {_MAX_TOKEN_BYTES:,} bytes")
    retrieval = _retrieval(check, request.retrieval)
    style = _style(check, request.style)
    options = _options(check, request.generation)
    adapter = _adapter(check, request.adapter)
    check.finish()
    return Ask(
        question=request.question.strip(),
        corpus=request.corpus,
        conversation_id=conversation,
        summary_token=request.summary_token,
        retrieval=retrieval,
        style=style,
        options=options,
        skip_memory=request.skip_memory,
        adapter=adapter,
    )


def complete(request: pb.CompleteRequest) -> tuple[tuple[Message, ...], GenerationOptions, str]:
    """The chat, the options and the adapter named. Raises `InvalidArgument`."""
    check = _Checker()
    messages = _messages(check, request.messages, "messages")
    options = _options(check, request.generation)
    adapter = _adapter(check, request.adapter)
    check.finish()
    return messages, options, adapter


def score(request: pb.ScoreTextRequest) -> tuple[tuple[Message, ...], str, str]:
    """The chat, the text and the adapter named. Raises `InvalidArgument`."""
    check = _Checker()
    messages = _messages(check, request.messages, "messages")
    check.require(bool(request.text), "text", "must not be empty")
    check.text(request.text, "text", _MAX_TEXT)
    adapter = _adapter(check, request.adapter)
    check.finish()
    return messages, request.text, adapter


def render(request: pb.RenderPromptRequest) -> Grounded | tuple[Message, ...]:
    """A question with its passages, or a chat. Raises `InvalidArgument`."""
    check = _Checker()
    content: Grounded | tuple[Message, ...] = ()
    match request.WhichOneof("content"):
        case "question":
            given = request.question
            check.require(bool(given.question.strip()), "question.question", "must not be empty")
            check.text(given.question, "question.question", MAX_QUESTION)
            passages = _passages(check, given.passages, "question.passages")
            content = Grounded(given.question.strip(), passages, _style(check, given.style, "question.style"))
        case "chat":
            content = _messages(check, request.chat.messages, "chat.messages")
        case _:
            check.require(False, "content", "must be `question` or `chat`")
    check.finish()
    return content


def cite(request: pb.CiteTextRequest) -> tuple[str, tuple[Passage, ...], str]:
    """The question, the passages and the text to check. Raises `InvalidArgument`."""
    check = _Checker()
    check.text(request.question, "question", MAX_QUESTION)
    passages = _passages(check, request.passages, "passages")
    check.text(request.text, "text", _MAX_TEXT)
    check.finish()
    return request.question.strip(), passages, request.text


def summarize(request: pb.SummarizeRequest) -> tuple[str, tuple[Turn, ...], int]:
    """Raises `InvalidArgument`."""
    check = _Checker()
    check.require(1 <= len(request.turns) <= 100, "turns", "must hold 1 to 100 turns")
    check.text(request.previous_summary, "previous_summary", 8000)
    for index, turn in enumerate(request.turns):
        check.require(bool(turn.question.strip()), f"turns[{index}].question", "must not be empty")
        check.text(turn.question, f"turns[{index}].question", MAX_QUESTION)
        check.text(turn.answer, f"turns[{index}].answer", 16_000)
    check.require(0 <= request.max_tokens <= 512, "max_tokens", "must be within 1 and 512, or 0 for the default")
    check.finish()
    turns = tuple(Turn(turn.question, turn.answer, turn.standalone_question) for turn in request.turns)
    return request.previous_summary, turns, request.max_tokens or 128


def conversation_id(name: str) -> str:
    """The id in `conversations/{conversation}`. Raises `InvalidArgument`."""
    check = _Checker()
    found = _conversation_id(check, name, "name")
    check.finish()
    return found


def document_name(name: str) -> str:
    """A document's name. Raises `InvalidArgument`."""
    check = _Checker()
    found = check.name(name, _DOCUMENT, "name", "corpora/{corpus}/documents/{document}")
    check.finish()
    return found


def position(token: str, listing: str) -> str:
    """Where the next page of a listing begins; empty for the first. Raises `InvalidArgument`."""
    found = page_token.decode(token, listing)
    if not re.fullmatch(r"[0-9]*", found):
        raise InvalidArgument.of([("page_token", "is not a token of this service")])
    return found


def feedback(request: pb.CreateFeedbackRequest, now: datetime) -> Feedback:
    """Feedback given `now`. Raises `InvalidArgument`."""
    check = _Checker()
    answer_id = check.name(request.parent, _ANSWER, "parent", "answers/{answer}")
    given = request.feedback
    check.require(given.rating in pb.Rating.values(), "feedback.rating", "is not a rating")
    check.require(bool(given.rating or given.corrected_text.strip()), "feedback", "must have a rating, a corrected text, or both")
    check.text(given.corrected_text, "feedback.corrected_text", 8000)
    check.text(given.comment, "feedback.comment", 4000)
    check.finish()
    return Feedback(answer_id, Rating(_suffix(pb.Rating, given.rating)), given.corrected_text, given.comment, now)


def _conversation_id(check: _Checker, name: str, field: str) -> str:
    return check.name(name, _CONVERSATION, field, "conversations/{conversation}` with an id of 1 to 64 letters, digits, `-` and `_")


def _adapter(check: _Checker, name: str) -> str:
    known = name in {"", BASE_NAME} or ADAPTER_VERSION.fullmatch(name) is not None
    check.require(known, "adapter", "must be `adapters/{adapter}/versions/{version}`, `base`, or empty for what serves")
    return name


def _retrieval(check: _Checker, given: pb.RetrievalOptions) -> Retrieval:
    check.require(given.mode in retriever_pb2.SearchMode.values(), "retrieval.mode", "is not a search mode")
    check.require(given.fusion in retriever_pb2.Fusion.values(), "retrieval.fusion", "is not a fusion")
    check.require(0 <= given.passage_limit <= _MAX_PASSAGES, "retrieval.passage_limit", "must be within 1 and 5, or 0 for the default")
    threshold = given.refusal_threshold if given.HasField("refusal_threshold") else None
    check.require(threshold is None or 0 <= threshold <= 1, "retrieval.refusal_threshold", "must be within 0 and 1")
    check.require(len(given.filter) <= 32, "retrieval.filter", "must hold at most 32 conditions")
    for index, condition in enumerate(given.filter):
        check.require(
            bool(re.fullmatch(r"[\w.-]{1,64}", condition.key, re.ASCII)),
            f"retrieval.filter[{index}].key",
            "must be 1 to 64 letters, digits, `_`, `-` and `.`",
        )
    if check.violations:
        return Retrieval()
    return Retrieval(
        mode=_suffix(retriever_pb2.SearchMode, given.mode),
        fusion=_suffix(retriever_pb2.Fusion, given.fusion),
        filter=tuple(Condition(each.key, tuple(each.any_of), each.negate) for each in given.filter),
        passage_limit=given.passage_limit or Retrieval().passage_limit,
        refusal_threshold=threshold,
    )


def _messages(check: _Checker, given: Sequence[pb.ChatMessage], name: str) -> tuple[Message, ...]:
    check.require(bool(given), name, "must hold at least one message")
    for index, message in enumerate(given):
        check.require(message.role in _ROLES, f"{name}[{index}].role", "must be system, user or assistant")
    if given:
        check.require(given[-1].role == pb.CHAT_ROLE_USER, name, "the last message must be the user's")
    # Counting tokens takes time; what is far too long for any context is refused before.
    check.text("".join(message.text for message in given), name, _MAX_CHAT_CHARACTERS)
    return () if check.violations else tuple(Message(_ROLES[each.role], each.text) for each in given)  # type: ignore[arg-type]


def _passages(check: _Checker, given: Sequence[retriever_pb2.Passage], name: str) -> tuple[Passage, ...]:
    check.require(1 <= len(given) <= _MAX_PASSAGES, name, f"must hold 1 to {_MAX_PASSAGES} passages, holds {len(given)}")
    for index, passage in enumerate(given[:_MAX_PASSAGES]):
        field = f"{name}[{index}]"
        check.require(bool(passage.text.strip()), f"{field}.text", "must not be empty")
        check.text(passage.text, f"{field}.text", _MAX_TEXT)
        for each in ("title", "uri", "name"):
            check.text(getattr(passage, each), f"{field}.{each}", MAX_QUESTION)
        check.require(len(passage.heading_path) <= _MAX_HEADINGS, f"{field}.heading_path", f"must hold at most {_MAX_HEADINGS} headings")
        check.text("".join(passage.heading_path), f"{field}.heading_path", MAX_QUESTION)
    return tuple(Passage(each.name, each.document, each.title, each.uri, tuple(each.heading_path), each.text) for each in given)


def _style(check: _Checker, given: pb.AnswerStyle, name: str = "style") -> Style:
    for field in ("style", "tone", "readability", "verbosity", "persona"):
        check.text(getattr(given, field), f"{name}.{field}", _MAX_STYLE)
    check.text(given.instructions, f"{name}.instructions", _MAX_INSTRUCTIONS)
    return Style(given.style, given.tone, given.readability, given.verbosity, given.persona, given.instructions)


def _options(check: _Checker, given: pb.GenerationOptions) -> GenerationOptions:
    default = GenerationOptions()
    temperature = given.temperature if given.HasField("temperature") else default.temperature
    top_p = given.top_p if given.HasField("top_p") else default.top_p
    check.require(0 <= given.max_tokens <= _MAX_TOKENS, "generation.max_tokens", "must be within 1 and 1,024, or 0 for the default")
    check.require(math.isfinite(temperature) and 0 <= temperature <= 2, "generation.temperature", "must be within 0 and 2")
    check.require(math.isfinite(top_p) and 0 < top_p <= 1, "generation.top_p", "must be above 0 and at most 1")
    return GenerationOptions(
        max_tokens=given.max_tokens or default.max_tokens,
        temperature=temperature,
        top_p=top_p,
        seed=given.seed if given.HasField("seed") else None,
    )


def _suffix(enum: Any, number: int) -> str:
    """`keyword` for SEARCH_MODE_KEYWORD."""
    prefix = enum.Name(0).removesuffix("UNSPECIFIED")
    return enum.Name(number).removeprefix(prefix).lower()
